// Package ksysstatus is the paper's "validation of PowerHA cluster stability"
// as one command.
package ksysstatus

import (
	"context"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/haobox/haobox/applets/applet"
	"github.com/haobox/haobox/applets/internal/ksysmachine"
	"github.com/haobox/haobox/internal/ksys"
	"github.com/haobox/haobox/internal/ksys/phasim"
	"github.com/haobox/haobox/platform"
	"github.com/haobox/haobox/platform/src"
)

const (
	name    = "ksysstatus"
	summary = "show whether KSYS and its PowerHA cluster are healthy"
)

// Applet is the row in the table.
var Applet = applet.Applet{Name: name, Section: 8, Class: applet.Tool, Summary: summary, Run: run}

func run(ctx context.Context, env platform.Env, args []string) error {
	app := &cli.App{
		Name: name, Usage: summary, UsageText: name + " [options]",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "json", Usage: "print one JSON document"},
			&cli.IntFlag{Name: "watch", Usage: "repeat every `SECONDS` until interrupted"},
			&cli.BoolFlag{Name: "preconfig", Usage: "the check before KSYS is configured: the daemon must be active everywhere"},
			&cli.BoolFlag{Name: "local", Usage: "ask this node alone"},
			&cli.IntFlag{Name: "timeout", Value: 20, Usage: "give up after `SECONDS`"},
		},
		Action: func(c *cli.Context) error { return show(c, env) },
		OnUsageError: func(_ *cli.Context, err error, _ bool) error {
			return applet.Exitf(ksys.ExitUsage, "%s: %v; see %s --help", name, err, name)
		},
		Writer: env.Stdout, ErrWriter: env.Stderr, ExitErrHandler: func(*cli.Context, error) {},
		HideVersion: true, HideHelpCommand: true, EnableBashCompletion: true,
	}
	return app.RunContext(ctx, args)
}

func show(c *cli.Context, env platform.Env) error {
	timeout, watch := c.Int("timeout"), c.Int("watch")
	switch {
	case c.NArg() > 0:
		return applet.Exitf(ksys.ExitUsage, "%s: argument %q: there are none; see %s --help", name, c.Args().First(), name)
	case timeout < 1 || timeout > 3600 || watch < 0 || watch > 86400:
		return applet.Exitf(ksys.ExitUsage, "%s: --timeout is 1 to 3600 seconds, --watch up to 86400", name)
	}
	env, open, err := phasim.Surroundings(env, ksysmachine.OpenStore)
	if err != nil {
		return applet.Exitf(ksys.ExitStateDir, "%s: %v", name, err)
	}
	var client *src.Client
	machine := ksysmachine.Machine()
	machine.OpenStore = open
	machine.Commands = func(run platform.Runner, dirs, childEnv []string, scale float64) ksys.Commands {
		client = &src.Client{Runner: run, Dirs: dirs, Env: childEnv, Scale: scale}
		return client
	}
	r := ksys.NewRuntime(c.Context, env, machine, name, true)
	g := &gatherer{client: client, runtime: r, local: c.Bool("local"), limit: time.Duration(timeout) * time.Second}
	for {
		report, installed := g.report(c.Context, c.Bool("preconfig"))
		text := []byte(report.Table())
		if c.Bool("json") {
			text = report.JSON()
		}
		if _, err := env.Stdout.Write(text); err != nil {
			return err
		}
		code := report.ExitCode()
		if !installed && !c.Bool("local") {
			return applet.Exitf(ksys.ExitNoCluster, "%s: PowerHA SystemMirror is not installed: no clmgr, clcmd and clRGinfo; --local asks this node alone", name)
		}
		if watch == 0 || env.Clock.Sleep(c.Context, time.Duration(watch)*time.Second) != nil {
			return applet.Exit(code)
		}
	}
}
