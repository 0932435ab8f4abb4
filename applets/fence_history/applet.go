//go:build linux

// Package fencehistory shows what was fenced, by whom and how: the history that
// the fence daemons of the cluster keep together.
package fencehistory

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/haobox/haobox/applets/applet"
	"github.com/haobox/haobox/applets/internal/daemon"
	"github.com/haobox/haobox/internal/clusterconf"
	"github.com/haobox/haobox/internal/fencing"
	"github.com/haobox/haobox/platform"
)

// Applet is the command.
var Applet = applet.Applet{
	Name: "fence_history", Section: 8, Class: applet.Tool,
	Summary: summary,
	Run:     run,
}

const summary = "show what was fenced, by whom and how"

// Exit statuses of our own.
const (
	exitFailed = 1
	exitUsage  = 2
)

func run(ctx context.Context, env platform.Env, args []string) error {
	app := &cli.App{
		Name: "fence_history", Usage: summary, UsageText: "fence_history [--follow] [--json] [--node NAME]",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "follow", Aliases: []string{"f"}, Usage: "go on with what happens, until interrupted"},
			&cli.BoolFlag{Name: "json", Usage: "print an object of JSON for each operation, one a line"},
			&cli.StringFlag{Name: "node", Usage: "only what happened to the node `NAME`"},
		},
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return applet.Exitf(exitUsage, "fence_history: unexpected argument '%s'; see 'fence_history --help'", c.Args().First())
			}
			conf, _ := daemon.RunningConfig(env) // only for names
			return show(c, env, conf)
		},
		Reader: env.Stdin, Writer: env.Stdout, ErrWriter: env.Stderr,
		ExitErrHandler: func(*cli.Context, error) {},
		OnUsageError: func(_ *cli.Context, err error, _ bool) error {
			return applet.Exitf(exitUsage, "fence_history: %v; see 'fence_history --help'", err)
		},
		HideVersion: true, HideHelpCommand: true, EnableBashCompletion: true,
	}
	return app.RunContext(ctx, args)
}

// object is an operation as JSON for scripts: words in the place of numbers.
type object struct {
	Node     string    `json:"node"`
	NodeID   uint32    `json:"nodeid"`
	By       string    `json:"by"`
	ByID     uint32    `json:"by_nodeid"`
	Reason   string    `json:"reason"`
	How      string    `json:"how"`
	OK       bool      `json:"ok"`
	Result   string    `json:"result"`
	Method   int       `json:"method"`
	Device   int       `json:"device"`
	Agent    string    `json:"agent"`
	Attempts int       `json:"attempts"`
	Start    time.Time `json:"start"`
	End      time.Time `json:"end"`
	Detail   string    `json:"detail,omitempty"`
}

func objectOf(op fencing.Op, conf *clusterconf.Config) object {
	by := fmt.Sprintf("node %d", op.Master)
	if conf != nil {
		if n := conf.NodeByID(int(op.Master)); n != nil {
			by = n.Name
		}
	}
	result := ""
	if op.Code != 0 {
		result = op.Code.String()
	}
	return object{Node: op.Name, NodeID: uint32(op.Node), By: by, ByID: uint32(op.Master), Reason: op.Reason.String(), How: op.How.String(), OK: op.OK,
		Result: result, Method: op.Method, Device: op.Device, Agent: op.Agent, Attempts: op.Attempts, Start: op.Start, End: op.End, Detail: op.Detail}
}

func show(c *cli.Context, env platform.Env, conf *clusterconf.Config) error {
	client := daemon.Client(env, "fenced")
	wanted := func(op fencing.Op) bool {
		return c.String("node") == "" || strings.EqualFold(c.String("node"), op.Name)
	}
	if !c.Bool("follow") {
		var all []fencing.Op
		if err := client.Do(c.Context, "GET", "/v1/history", nil, &all); err != nil {
			return applet.Exitf(exitFailed, "fence_history: ask fenced: %w", err)
		}
		w := io.Writer(env.Stdout)
		table := tabwriter.NewWriter(env.Stdout, 0, 8, 2, ' ', 0)
		if !c.Bool("json") {
			w = table
			io.WriteString(w, header)
		}
		for _, op := range all {
			if wanted(op) {
				if err := line(w, objectOf(op, conf), c.Bool("json")); err != nil {
					return err
				}
			}
		}
		return table.Flush()
	}
	err := client.Lines(c.Context, "/v1/history?follow=1", func(b []byte) error {
		var op fencing.Op
		if err := json.Unmarshal(b, &op); err != nil {
			return fmt.Errorf("read fenced's answer: %w", err)
		}
		if !wanted(op) {
			return nil
		}
		table := tabwriter.NewWriter(env.Stdout, 0, 8, 2, ' ', 0)
		if err := line(table, objectOf(op, conf), c.Bool("json")); err != nil {
			return err
		}
		return table.Flush()
	})
	switch {
	case c.Context.Err() != nil:
		return nil // interrupted, as it should be
	case err != nil:
		return applet.Exitf(exitFailed, "fence_history: ask fenced: %w", err)
	}
	return applet.Exitf(exitFailed, "fence_history: fenced ended")
}

const header = "END\tNODE\tRESULT\tHOW\tBY\tTOOK\tTRIES\tDEVICE\tAGENT\tREASON\n"

// line writes an operation.
func line(w io.Writer, o object, asJSON bool) error {
	if asJSON {
		b, err := json.Marshal(o)
		if err != nil {
			return err
		}
		_, err = w.Write(append(b, '\n'))
		return err
	}
	result := "failed"
	if o.OK {
		result = "off"
	}
	if o.How == fencing.HowMember.String() {
		result = "came back"
	}
	agent, device := "-", "-"
	if o.Agent != "" {
		agent, device = o.Agent, fmt.Sprintf("%d.%d", o.Method, o.Device)
	}
	reason := o.Reason
	if !o.OK && o.Detail != "" {
		reason += ": " + o.Detail
	}
	_, err := fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s\t%s\n", o.End.Local().Format(time.DateTime), o.Node, result, o.How, o.By,
		o.End.Sub(o.Start).Round(time.Millisecond), o.Attempts, device, agent, reason)
	return err
}
