package haobox

import (
	"encoding/json"
	"net/url"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/haobox/haobox/applets/applet"
	"github.com/haobox/haobox/internal/rgmctl"
)

// why is "haobox why SERVICE": the decisions that brought it where it is.
func (t tool) why() *cli.Command {
	return &cli.Command{
		Name:      "why",
		Usage:     "say why a service is where it is",
		ArgsUsage: "SERVICE",
		Description: "Asks rgmanager of this node for the decisions about a service, each with what it was based on. All nodes\n" +
			"have the same history.",
		Flags: []cli.Flag{&cli.BoolFlag{Name: "json", Usage: "print JSON"}},
		Action: func(c *cli.Context) error {
			if c.NArg() != 1 || c.Args().First() == "" {
				return applet.Exitf(exitUsage, "haobox why: the name of one service is needed")
			}
			client, err := rgmanagerClient(t.env)
			if err != nil {
				return fail("haobox why: %v", err)
			}
			var out rgmctl.Why
			path := "/v1/why?service=" + url.QueryEscape(rgmctl.FullName(c.Args().First()))
			if err := client.Do(c.Context, "GET", path, nil, &out); err != nil {
				return fail("haobox why: ask rgmanager: %v", err)
			}
			if c.Bool("json") {
				return t.json(out)
			}
			return t.print(out.Text(t.zone()))
		},
	}
}

// plan is "haobox plan EVENT": what would happen, without doing it.
func (t tool) plan() *cli.Command {
	return &cli.Command{
		Name:      "plan",
		Usage:     "say what would happen after an event, without doing it",
		ArgsUsage: "EVENT",
		Description: "EVENT is one of: kill NODE, leave NODE, fail SERVICE, enable SERVICE [NODE], disable SERVICE, stop SERVICE,\n" +
			"restart SERVICE, relocate SERVICE [NODE], migrate SERVICE NODE. Rgmanager of this node answers, from the running\n" +
			"state and by the code that would decide.",
		Flags: []cli.Flag{&cli.BoolFlag{Name: "json", Usage: "print JSON"}},
		Action: func(c *cli.Context) error {
			if c.NArg() == 0 {
				return applet.Exitf(exitUsage, "haobox plan: an event is needed, like 'kill CNODE1'")
			}
			client, err := rgmanagerClient(t.env)
			if err != nil {
				return fail("haobox plan: %v", err)
			}
			var out rgmctl.Plan
			in := rgmctl.PlanRequest{Event: strings.Join(c.Args().Slice(), " ")}
			if err := client.Do(c.Context, "POST", "/v1/plan", in, &out); err != nil {
				return fail("haobox plan: ask rgmanager: %v", err)
			}
			if c.Bool("json") {
				return t.json(out)
			}
			return t.print(out.Text())
		},
	}
}

func (t tool) json(v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return t.print(string(b) + "\n")
}

// zone is the local time zone: the one of TZ if it is set.
func (t tool) zone() *time.Location {
	if name := t.env.Getenv("TZ"); name != "" {
		if z, err := time.LoadLocation(strings.TrimPrefix(name, ":")); err == nil {
			return z
		}
	}
	return time.Local
}
