//go:build linux

// Package cmantool is cman_tool: it brings this node into the cluster and out
// of it, shows the cluster and changes its votes. Output and errors are those
// of cman 3.2 where scripts read them; corosync 3 does the work.
package cmantool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/haobox/haobox/applets/applet"
	"github.com/haobox/haobox/applets/internal/engine"
	"github.com/haobox/haobox/internal/argv"
	"github.com/haobox/haobox/internal/cluster"
	"github.com/haobox/haobox/internal/cman"
	"github.com/haobox/haobox/internal/version"
	"github.com/haobox/haobox/platform"
	"github.com/haobox/haobox/platform/corosync"
)

// Applet is the table's row.
var Applet = applet.Applet{
	Name: "cman_tool", Section: 8, Class: applet.Tool,
	Summary: "join, leave and show the cluster",
	Run:     Run,
}

// Exit statuses of cman_tool(8).
const (
	exitError   = 1
	exitTimeout = 2
)

const (
	// callLimit bounds each question to corosync. cman_tool had no limit; a
	// stopped corosync would hold its callers for ever.
	callLimit = 30 * time.Second
	// pollEvery is the pause of wait and leave -w (cman_tool(8): each second).
	pollEvery = time.Second
	// maxList is how many nodes and fields are taken.
	maxList = 10
)

// options is getopt's m:n:v:e:2p:c:i:N:t:o:k:F:C:VAPwfqazh?XD::Sd::r:: of the
// original.
func options() []argv.Option {
	var out []argv.Option
	for _, c := range "mnveipcNtokFC" {
		out = append(out, argv.Option{Name: string(c), Short: string(c), Arity: argv.Required})
	}
	for _, c := range "2VAPwfqazXS" {
		out = append(out, argv.Option{Name: string(c), Short: string(c)})
	}
	for _, c := range "Ddr" {
		out = append(out, argv.Option{Name: string(c), Short: string(c), Arity: argv.Optional})
	}
	return append(out, argv.Option{Name: "help", Short: "h?"})
}

// tool is one call.
type tool struct {
	ctx  context.Context
	env  platform.Env
	name string // argv[0]

	command       string
	remove, force bool
	names         []string // -n
	format        []string // -F
	set           map[string]string
	numbers       map[string]int
}

// Run runs the command line args.
func Run(ctx context.Context, env platform.Env, args []string) error {
	t := &tool{ctx: ctx, env: env, name: args[0], set: map[string]string{}, numbers: map[string]int{}}
	done, err := t.parse(args[1:])
	if done || err != nil {
		return err
	}
	switch t.command {
	case "join":
		return t.join()
	case "leave":
		return t.leave()
	case "status", "nodes":
		return t.show()
	case "wait":
		return t.wait(0)
	case "version":
		return t.version()
	case "services":
		return t.services()
	case "debug":
		return t.debug()
	}
	return t.admin()
}

// commands of cman_tool(8).
var commands = []string{"join", "leave", "kill", "expected", "votes", "version", "wait", "status", "nodes", "services", "debug"}

// parse reads the command line. done means that all is said.
func (t *tool) parse(args []string) (done bool, err error) {
	settings, words, err := argv.Parse(options(), args)
	if err != nil {
		return true, t.getopt(err)
	}
	help := false
	for _, s := range settings {
		switch s.Name {
		case "V":
			fmt.Fprintf(t.env.Stdout, "cman_tool %s (haobox %s)\n", cman.ProtocolVersion, version.String())
			return true, nil
		case "help":
			help = true
		case "n":
			t.names = append(t.names, s.Value)
		case "F":
			t.format = append(t.format, strings.Split(s.Value, ",")...)
		case "v", "e", "p", "N", "t", "i":
			n, err := strconv.Atoi(s.Value)
			if err != nil {
				return true, t.die("argument to %s (%s) is not an integer", s.Name, s.Value)
			}
			if n < 0 {
				return true, t.die("argument to %s cannot be negative", s.Name)
			}
			t.numbers[s.Name] = n
		}
		t.set[s.Name] = s.Value
	}
	for _, w := range words {
		switch {
		case slices.Contains(commands, w) && t.command != "":
			return true, t.die("can't specify two operations")
		case slices.Contains(commands, w):
			t.command = w
		case w == "remove" && t.command == "leave":
			t.remove = true
		case w == "force" && t.command == "leave":
			t.force = true
		default:
			return true, t.die("unknown option %s", w)
		}
	}
	if help {
		io.WriteString(t.env.Stdout, helpText(t.command))
		return true, nil
	}
	switch {
	case t.command == "":
		return true, t.die("no operation specified")
	case len(t.names) > maxList || len(t.format) > maxList:
		return true, t.die("at most %d nodes and fields can be given", maxList)
	case t.has("t") && t.command == "join" && !t.has("w") && !t.has("q"):
		return true, t.die("timeout is only appropriate with wait")
	}
	return false, nil
}

func (t *tool) has(option string) bool { _, set := t.set[option]; return set }

// die is an error of cman_tool: its name and a text.
func (t *tool) die(format string, args ...any) error {
	return applet.Exitf(exitError, "%s: %s", t.name, fmt.Sprintf(format, args...))
}

// getopt words a fault of the command line as glibc does.
func (t *tool) getopt(err error) error {
	var s *argv.SyntaxError
	text := err.Error()
	if errors.As(err, &s) {
		letter := strings.TrimLeft(s.Spelling, "-")
		switch {
		case errors.Is(err, argv.ErrNoValue):
			text = fmt.Sprintf("option requires an argument -- '%s'", letter)
		case errors.Is(err, argv.ErrUnknown) && len(letter) == 1:
			text = fmt.Sprintf("invalid option -- '%s'", letter)
		}
	}
	return applet.Exitf(exitError, "%s: %s\nPlease use '-h' for usage.", t.name, text)
}

// open connects to corosync.
func (t *tool) open() (cluster.Engine, error) {
	e, err := engine.OpenCorosync(t.ctx, corosync.Config{Limit: callLimit})
	if err != nil {
		return nil, t.cannotOpen(err)
	}
	return e, nil
}

func (t *tool) cannotOpen(err error) error {
	switch {
	case errors.Is(err, corosync.ErrNotAllowed), errors.Is(err, os.ErrPermission):
		return t.die("Cannot open connection to cman, permission denied.")
	case errors.Is(err, cluster.ErrNotRunning), errors.Is(err, corosync.ErrNotRunning):
		return t.die("Cannot open connection to cman, is it running ?")
	}
	return t.die("Cannot open connection to cman: %v", err)
}

// text is an error as the old tool put it: by the errno of its daemon.
func text(err error) string {
	switch {
	case errors.Is(err, cluster.ErrNotMember):
		return "Node is not yet a cluster member"
	case errors.Is(err, cluster.ErrRefused):
		return "Invalid argument"
	case errors.Is(err, corosync.ErrBusy):
		return "Device or resource busy"
	case errors.Is(err, cluster.ErrLost), errors.Is(err, cluster.ErrNotRunning):
		return "Cluster software not started"
	}
	return err.Error()
}

// status asks for everything.
func (t *tool) status(e cluster.Engine) (cluster.Status, error) {
	s, err := e.Status(t.ctx)
	if err != nil {
		return s, t.die("Error getting status: %s", text(err))
	}
	return s, nil
}

// show is status and nodes.
func (t *tool) show() error {
	e, err := t.open()
	if err != nil {
		return err
	}
	defer e.Close()
	s, err := t.status(e)
	if err != nil {
		return err
	}
	out := cman.StatusText(s)
	if t.command == "nodes" {
		out = cman.NodesText(s, cman.NodesOptions{Addresses: t.has("a"), Names: t.names, Format: t.format, Zone: t.zone()})
	}
	if _, err := io.WriteString(t.env.Stdout, out); err != nil {
		return t.die("write the output: %v", err)
	}
	return nil
}

// zone is the local time zone: the one of TZ if it is set.
func (t *tool) zone() *time.Location {
	if name := t.env.Getenv("TZ"); name != "" {
		if z, err := time.LoadLocation(strings.TrimPrefix(name, ":")); err == nil {
			return z
		}
	}
	return time.Local
}
