// Package smapid is the simulated z/VM as a service. The systems are in
// internal/smapi/zvmsim, the service in its package simd, the configuration in
// simconf; here are the options, the network and the control socket.
package smapid

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/haobox/haobox/applets/applet"
	"github.com/haobox/haobox/internal/smapi/zvmsim/simconf"
	"github.com/haobox/haobox/internal/smapi/zvmsim/simd"
	"github.com/haobox/haobox/internal/version"
	"github.com/haobox/haobox/platform"
	"github.com/haobox/haobox/platform/transport"
)

// Applet is the command.
var Applet = applet.Applet{
	Name: "smapid", Section: 8, Class: applet.Daemon,
	Summary: summary,
	Run:     run,
}

const summary = "simulate z/VM systems with their SMAPI servers"

// Exit statuses of our own.
const (
	exitFailed = 1
	exitUsage  = 2
)

// controlVariable names the control socket for both sides.
const controlVariable = "SMAPID_CONTROL"

func run(ctx context.Context, env platform.Env, args []string) error {
	var f simconf.Flags
	var quiet bool
	app := &cli.App{
		Name:  "smapid",
		Usage: summary,
		UsageText: "smapid --listen tcp:127.0.0.1:44444 --guests CNODE1,CNODE2 --authorize CMANAGER:SECRET\n" +
			"smapid --config FILE [option ...]\nsmapid ctl [--control PATH] COMMAND [argument ...]",
		Flags: append(daemonFlags(&f), &cli.BoolFlag{Name: "quiet", Usage: "do not print the operator's log", Destination: &quiet}),
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return applet.Exitf(exitUsage, "smapid: unexpected argument '%s'; see 'smapid --help'", c.Args().First())
			}
			takeDurations(c, &f)
			return serve(c.Context, env, f, quiet)
		},
		Commands:                  []*cli.Command{ctlCommand(ctx, env)},
		Reader:                    env.Stdin,
		Writer:                    env.Stdout,
		ErrWriter:                 env.Stderr,
		ExitErrHandler:            func(*cli.Context, error) {},
		OnUsageError:              usageError,
		HideVersion:               true,
		HideHelpCommand:           true,
		EnableBashCompletion:      true,
		DisableSliceFlagSeparator: true,
	}
	return app.RunContext(ctx, args)
}

// usageError turns a fault that urfave/cli found into one line.
func usageError(_ *cli.Context, err error, _ bool) error {
	return applet.Exitf(exitUsage, "smapid: %v; see 'smapid --help'", err)
}

// daemonFlags are the options of the service.
func daemonFlags(f *simconf.Flags) []cli.Flag {
	text := func(to *string, name, usage string) cli.Flag {
		return &cli.StringFlag{Name: name, Usage: usage, Destination: to}
	}
	list := func(to *[]string, name, usage string) cli.Flag {
		return &cli.StringSliceFlag{Name: name, Usage: usage, Action: func(_ *cli.Context, v []string) error {
			*to = v
			return nil
		}}
	}
	return []cli.Flag{
		text(&f.Config, "config", "read the systems from the YAML `FILE`"),
		list(&f.Listen, "listen", "serve SMAPI at `ENDPOINT`: tcp:HOST:PORT, tls:HOST:PORT, unix:PATH, vsock:PORT or iucv:PROGRAM, with the options ,member=NAME ,peer=USERID ,tls=FAULT; may be repeated"),
		text(&f.Guests, "guests", "`NAMES` of guests with commas between them, logged on; NAME=off is not"),
		list(&f.Authorize, "authorize", "let `USER:PASSWORD` do everything; may be repeated"),
		text(&f.AuthList, "authlist", "read the AUTHLIST of all members from `FILE`"),
		text(&f.NameList, "namelist", "read the NAMELIST of all members from `FILE`"),
		list(&f.Faults, "fault", "add a `FAULT`, such as function=Image_Deactivate,count=2,do=lost-answer; may be repeated"),
		list(&f.Switches, "switch", "set the switch `NAME[=VALUE]`; may be repeated"),
		&cli.DurationFlag{Name: "logoff-delay", Usage: "a forced logoff takes `TIME` (1.5s)"},
		&cli.DurationFlag{Name: "logoff-spread", Usage: "and a random part of up to `TIME` (0)"},
		&cli.DurationFlag{Name: "logon-delay", Usage: "an activation takes `TIME` (500ms)"},
		&cli.DurationFlag{Name: "answer-delay", Usage: "a request takes `TIME` (0)"},
		text(&f.OnLogoff, "on-logoff", "run `COMMAND` when a guest is logged off, and report the logoff only when it is done"),
		text(&f.OnLogon, "on-logon", "run `COMMAND` when a guest is activated"),
		&cli.DurationFlag{Name: "hook-limit", Usage: "end such a command after `TIME` (30s)"},
		text(&f.Control, "control", "answer 'smapid ctl' on the unix socket `PATH` (SMAPID_CONTROL)"),
		text(&f.State, "state", "keep the state of guests and members in `FILE`"),
		text(&f.Audit, "audit", "append a line of JSON for every request to `FILE`"),
		text(&f.ReadyFile, "ready-file", "write the endpoints to `FILE` when all are open"),
		text(&f.CertFile, "tls-cert", "show the certificate in `FILE` (PEM) instead of one that is made"),
		text(&f.KeyFile, "tls-key", "with its key in `FILE`"),
		list(&f.CertNames, "tls-name", "make the certificate for `NAME` or address; may be repeated"),
		text(&f.CAFile, "tls-write-cert", "write the certificates that clients have to trust to `FILE`"),
		text(&f.Seed, "seed", "start random decisions at `NUMBER` (0)"),
		text(&f.Rate, "clock-rate", "let time run `FACTOR` times as fast (1)"),
	}
}

// takeDurations copies the durations that were given.
func takeDurations(c *cli.Context, f *simconf.Flags) {
	take := func(name string) *time.Duration {
		if !c.IsSet(name) {
			return nil
		}
		d := c.Duration(name)
		return &d
	}
	f.Logoff, f.LogoffSpread = take("logoff-delay"), take("logoff-spread")
	f.Logon, f.Answer = take("logon-delay"), take("answer-delay")
	f.HookLimit = c.Duration("hook-limit")
}

// serve runs the service.
func serve(ctx context.Context, env platform.Env, f simconf.Flags, quiet bool) error {
	if f.Control == "" {
		f.Control = env.Getenv(controlVariable)
	}
	setup, err := f.Setup(env.FS.ReadFile)
	if err != nil {
		return applet.Exitf(exitUsage, "smapid: %w", err)
	}
	cfg := simd.Config{
		Setup: setup, Network: network{}, Runner: env.Runner, FS: env.FS, Clock: env.Clock, Environ: os.Environ(),
		Out: env.Stdout, Err: env.Stderr, Log: env.Stdout, Version: version.String(),
		Ready: func() { notify("READY=1") },
	}
	if quiet {
		cfg.Log = io.Discard
	}
	if setup.Control != "" {
		if cfg.Control, err = controlListener(ctx, env.FS.Path(setup.Control)); err != nil {
			return applet.Exitf(exitFailed, "smapid: open the control socket: %w", err)
		}
		defer cfg.Control.Close()
	}
	defer notify("STOPPING=1")
	if err := simd.Run(ctx, cfg); err != nil {
		return applet.Exitf(exitFailed, "smapid: %w", err)
	}
	return nil
}

// controlListener opens the control socket: for root and this user only.
func controlListener(ctx context.Context, path string) (net.Listener, error) {
	e, err := transport.ParseListen("unix:"+path, transport.Defaults{})
	if err != nil {
		return nil, err
	}
	l, err := transport.Listen(ctx, e, nil)
	if err != nil {
		return nil, fmt.Errorf("unix socket %s: %w", path, err)
	}
	return transport.OwnerOnly(l), nil
}
