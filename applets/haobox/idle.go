package haobox

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/haobox/haobox/applets/applet"
	"github.com/haobox/haobox/internal/rgmctl"
)

// idle is "haobox idle NODE": a person vouches that a member of the cluster
// without rgmanager runs no services.
func (t tool) idle() *cli.Command {
	return &cli.Command{
		Name:      "idle",
		Usage:     "say that a node without rgmanager runs no services",
		ArgsUsage: "NODE",
		Description: "Services that may run on NODE, because its rgmanager is not there to say so, are not started elsewhere. This\n" +
			"is your word that nothing of them runs there; if something does, it runs twice and may destroy its data. Look first.\n" +
			"Without -y the name of the node has to be typed again. For a node that is off there is fence_ack_manual.",
		Flags:  []cli.Flag{&cli.BoolFlag{Name: "y", Usage: "do not ask: you have looked"}},
		Action: t.vouchIdle,
	}
}

// maxAnswer bounds what is read of an answer, ours: a node's name with room.
const maxAnswer = 1024

func (t tool) vouchIdle(c *cli.Context) error {
	if c.NArg() != 1 {
		return applet.Exitf(exitUsage, "haobox idle: the name of one node is needed")
	}
	client, err := rgmanagerClient(t.env)
	if err != nil {
		return fail("haobox idle: %v", err)
	}
	var st rgmctl.Status
	if err := client.Do(c.Context, "GET", "/v1/status", nil, &st); err != nil {
		return fail("haobox idle: ask rgmanager: %v", err)
	}
	name := c.Args().First()
	n := st.Node(name)
	switch {
	case n == nil || n.QDisk:
		return fail("haobox idle: '%s' is not a node of the cluster; clustat lists them", name)
	case n.RGManager:
		return fail("haobox idle: rgmanager runs on %s and knows what it runs; to move its services away: rgmanager's stop there, or clusvcadm -r", n.Name)
	case !n.Online:
		return fail("haobox idle: %s is not a member of the cluster; if it is off, tell fenced: fence_ack_manual %s", n.Name, n.Name)
	}
	if !c.Bool("y") {
		if err := t.confirm(n.Name); err != nil {
			return err
		}
	}
	var a rgmctl.Answer
	if err := client.Do(c.Context, "POST", "/v1/idle", rgmctl.Idle{Node: n.ID, By: t.who()}, &a); err != nil {
		return fail("haobox idle: tell rgmanager: %v", err)
	}
	switch a.Code {
	case rgmctl.CodeSuccess:
		return t.print(fmt.Sprintf("%s runs no services, by your word. Services that waited for it are started.\n", n.Name))
	case rgmctl.CodeInvalid:
		return t.print(fmt.Sprintf("Nothing waits for %s.\n", n.Name))
	}
	return fail("haobox idle: %s: %s", n.Name, rgmctl.ResultText(a.Code))
}

// confirm has the person type the node's name.
func (t tool) confirm(name string) error {
	question := fmt.Sprintf("If something of a service runs on %[1]s, it will run twice and may destroy its data.\n"+
		"Did you look on %[1]s, and nothing runs there? Then type its name: ", name)
	if err := t.print(question); err != nil {
		return err
	}
	line, err := bufio.NewReader(io.LimitReader(t.env.Stdin, maxAnswer)).ReadString('\n')
	if err != nil && err != io.EOF {
		return fail("haobox idle: read the answer: %v", err)
	}
	if strings.TrimSpace(line) != name {
		return fail("haobox idle: that is not '%s'; nothing was said to rgmanager", name)
	}
	return nil
}

// who is the person, for the log.
func (t tool) who() string {
	user := t.env.Getenv("USER")
	if user == "" {
		user = "root"
	}
	if sudo := t.env.Getenv("SUDO_USER"); sudo != "" && sudo != user {
		user = sudo + " as " + user
	}
	return user
}
