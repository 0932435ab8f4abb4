//go:build linux

// Package rgmanager is the daemon rgmanager: it runs the services of
// cluster.conf, each on one node, and moves them when something fails. What is
// to be done is decided by package rgm; this is what does it: agents, the
// engine, the results of fenced, the control socket, logs and metrics.
//
// Everything that touches the core runs in the daemon's loop. At the end,
// after the loop: agents that still run are ended, the watcher is closed, the
// group is left, the engine closed.
package rgmanager

import (
	"context"
	"fmt"
	"io"
	"path"

	"github.com/haobox/haobox/applets/applet"
	"github.com/haobox/haobox/applets/internal/daemon"
	"github.com/haobox/haobox/internal/argv"
	"github.com/haobox/haobox/platform"
)

// Applet is the table's row.
var Applet = applet.Applet{
	Name: Name, Section: 8, Class: applet.Daemon,
	Summary: "run the services of the cluster",
	Run:     Run,
}

// Name is the daemon's name, whatever it is called by (clurgmgrd).
const Name = "rgmanager"

// Exit statuses of the original.
const (
	exitUsage    = 1
	exitDisabled = 2
	exitArgument = 255
)

const usage = `usage: rgmanager [options]
    -f             stay in the foreground, and log to standard error, too
    -d             debug: log everything, no watchdog
    -w             no watchdog
    -N             do not stop all services once at the start
    -q             accepted: there are no D-Bus signals
    -C 0|1         attached argument; accepted: there is one way of locking
    --strict-exit  as the original: a stop or restart of the daemon stops its
                   services, and when it is killed this machine is rebooted
    --metrics ADDR answer GET /v1/metrics on this TCP address, too
    -h, --help     this text
`

// options are the command line's.
type options struct {
	foreground, debug, noWatchdog, skipInit, strict bool
	metrics                                         string
}

func flags() []argv.Option {
	out := []argv.Option{
		{Name: "C", Short: "C", Arity: argv.Optional}, {Name: "strict-exit"},
		{Name: "metrics", Arity: argv.Required}, {Name: "help", Short: "h"},
	}
	for _, c := range "fdwNq" {
		out = append(out, argv.Option{Name: string(c), Short: string(c)})
	}
	return out
}

// Run runs the command line args.
func Run(ctx context.Context, env platform.Env, args []string) error {
	o, done, err := parse(env, args)
	if done || err != nil {
		return err
	}
	return run(ctx, env, args, o, daemon.Config{})
}

// run is Run with the daemon's surroundings, which tests change.
func run(ctx context.Context, env platform.Env, args []string, o options, cfg daemon.Config) error {
	if conf, err := daemon.RunningConfig(env); err == nil && conf.RM.Disabled {
		return applet.Exitf(exitDisabled, "rgmanager disabled in configuration; not starting")
	}
	cfg.Name, cfg.Args, cfg.Foreground, cfg.Debug = Name, args, o.foreground, o.debug
	cfg.LineMax, cfg.OneProcessor = 4096, true
	if o.strict && !o.noWatchdog && !o.debug && cfg.Signals == nil && env.Getenv(guardedVariable) == "" {
		return guard(ctx, env, args, o)
	}
	return daemon.Run(ctx, env, cfg, func(ctx context.Context, d *daemon.Daemon) error {
		return newShell(d, o).start(ctx)
	})
}

func parse(env platform.Env, args []string) (o options, done bool, err error) {
	settings, _, err := argv.Parse(flags(), args[1:])
	if err != nil {
		fmt.Fprintf(env.Stderr, "%s: %v; -h prints the options\n", path.Base(args[0]), err)
		return o, true, applet.Exit(exitUsage)
	}
	o.debug = env.Getenv("RGMANAGER_DEBUG") != ""
	for _, s := range settings {
		switch s.Name {
		case "help":
			io.WriteString(env.Stdout, usage)
			return o, true, nil
		case "f":
			o.foreground = true
		case "d":
			o.debug = true
		case "w":
			o.noWatchdog = true
		case "N":
			o.skipInit = true
		case "strict-exit":
			o.strict = true
		case "metrics":
			o.metrics = s.Value
		case "C":
			if s.Value != "0" && s.Value != "1" {
				return o, true, applet.Exitf(exitArgument, "Unknown argument for -C: argument must be 1 or 0")
			}
		}
	}
	return o, false, nil
}
