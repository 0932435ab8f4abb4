// Package smapictl is the manual's RECYCLE EXEC (9.3) as a command: it calls
// one function of a SMAPI server and prints the return and reason code with
// their meaning. --trace writes the log that the EXEC writes.
package smapictl

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/haobox/haobox/applets/applet"
	"github.com/haobox/haobox/internal/argv"
	"github.com/haobox/haobox/internal/smapi"
	"github.com/haobox/haobox/platform"
	"github.com/haobox/haobox/platform/iucv"
	"github.com/haobox/haobox/platform/transport"
)

const (
	name    = "smapictl"
	summary = "call a z/VM SMAPI server and explain what it answers"
)

// Applet is the row of the table.
var Applet = applet.Applet{Name: name, Section: 8, Class: applet.Tool, Summary: summary, Run: run}

// Exit statuses, all our own.
const (
	exitRefused   = 1 // the server answered, and not with success
	exitUsage     = 2
	exitTransport = 3 // there is no answer
)

// The environment variables that stand for options.
const (
	connectVariable  = "SMAPI_CONNECT"
	userVariable     = "SMAPI_USER"
	passwordVariable = "SMAPI_PASSWORD"
)

// tool is one run of the command.
type tool struct {
	env platform.Env
	// out prints results; see output.go.
	out    printer
	log    *traceLog
	server transport.Endpoint
}

func run(ctx context.Context, env platform.Env, args []string) error {
	t := &tool{env: env}
	app := t.app()
	args, err := arrange(app, args)
	if err != nil {
		return applet.Exitf(exitUsage, "smapictl: %v; see 'smapictl --help'", err)
	}
	return app.RunContext(ctx, args)
}

// app builds the command line.
func (t *tool) app() *cli.App {
	usage := func(c *cli.Context, err error, _ bool) error {
		return applet.Exitf(exitUsage, "smapictl: %v; see 'smapictl --help'", err)
	}
	app := &cli.App{
		Name:      name,
		Usage:     summary,
		UsageText: "smapictl [options] COMMAND [options] [GUEST ...]",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "connect", Aliases: []string{"c"}, Value: "iucv:" + smapi.RequestServer,
				Usage: "`ENDPOINT` of the server: tcp:HOST[:PORT], tls:HOST[:PORT], iucv:GUEST[:PROGRAM], vsock:CID[:PORT] or unix:[NAME@]PATH; also " + connectVariable},
			&cli.StringFlag{Name: "user", Aliases: []string{"u"}, Usage: "`USER` id that the server knows; none over IUCV; also " + userVariable},
			&cli.StringFlag{Name: "password-file", Usage: "the password is the first line of `FILE`; also " + passwordVariable + " has a password"},
			&cli.StringFlag{Name: "password-script", Aliases: []string{"S"}, Usage: "the password is the first line that the shell command `SCRIPT` prints"},
			&cli.StringFlag{Name: "password", Aliases: []string{"p"}, Usage: "the `PASSWORD`, which everybody on this machine can read then"},
			&cli.StringFlag{Name: "ca", Usage: "trust the certificates in `FILE`, not the system's"},
			&cli.StringFlag{Name: "server-name", Usage: "the `NAME` that must be in the server's certificate, if not HOST"},
			&cli.BoolFlag{Name: "insecure", Usage: "trust any certificate"},
			&cli.StringFlag{Name: "timeout", Aliases: []string{"t"}, Value: smapi.DefaultExchangeLimit.String(),
				Usage: "`LIMIT` of a whole call with the connect, in seconds or as 1m30s"},
			&cli.BoolFlag{Name: "json", Usage: "print a JSON object per result, one a line"},
			&cli.StringFlag{Name: "trace", Usage: "log requests and responses to `FILE`, - for standard output"},
			helpFlag(),
		},
		Commands:             t.commands(),
		Action:               t.noCommand,
		Reader:               t.env.Stdin,
		Writer:               t.env.Stdout,
		ErrWriter:            t.env.Stderr,
		ExitErrHandler:       func(*cli.Context, error) {},
		OnUsageError:         usage,
		HideVersion:          true,
		HideHelp:             true,
		EnableBashCompletion: true,
	}
	for _, c := range app.Commands {
		c.OnUsageError = usage
		c.HideHelp = true
		c.Flags = append(c.Flags, helpFlag())
	}
	return app
}

// helpFlag is a flag of our own in the place of the library's, which is one
// variable for the whole process and is written to by every run.
func helpFlag() cli.Flag {
	return &cli.BoolFlag{Name: "help", Aliases: []string{"h"}, Usage: "show help", DisableDefaultText: true}
}

func (t *tool) noCommand(c *cli.Context) error {
	if c.Args().Present() {
		return applet.Exitf(exitUsage, "smapictl: no command is called '%s'; see 'smapictl --help'", c.Args().First())
	}
	return applet.Exitf(exitUsage, "smapictl: the command is missing; see 'smapictl --help'")
}

// arrange sorts a command line as getopt does: options may stand anywhere.
// Those of the whole command come first, then the subcommand with its own and
// its operands.
func arrange(app *cli.App, args []string) ([]string, error) {
	if slices.Contains(args, "--generate-bash-completion") {
		return args, nil
	}
	common := slices.DeleteFunc(optionsOf(app.Flags), func(o argv.Option) bool { return o.Name == "help" })
	all := slices.Clone(common)
	for _, c := range app.Commands {
		for _, o := range optionsOf(c.Flags) {
			if !slices.ContainsFunc(all, func(x argv.Option) bool { return x.Name == o.Name }) {
				all = append(all, o)
			}
		}
	}
	settings, operands, err := argv.Parse(all, args[1:])
	if err != nil {
		return nil, err
	}
	out, own := args[:1:1], []string(nil)
	for _, s := range settings {
		text := "--" + s.Name
		if s.HasValue {
			text += "=" + s.Value
		}
		if slices.ContainsFunc(common, func(o argv.Option) bool { return o.Name == s.Name }) || len(operands) == 0 {
			out = append(out, text)
		} else {
			own = append(own, text)
		}
	}
	if len(operands) == 0 {
		return out, nil
	}
	return slices.Concat(out, operands[:1], own, []string{"--"}, operands[1:]), nil
}

// optionsOf describes flags for package argv.
func optionsOf(flags []cli.Flag) []argv.Option {
	out := make([]argv.Option, 0, len(flags))
	for _, f := range flags {
		o := argv.Option{Name: f.Names()[0], Arity: argv.Required}
		if _, ok := f.(*cli.BoolFlag); ok {
			o.Arity = argv.None
		}
		for _, n := range f.Names()[1:] {
			o.Short += n
		}
		out = append(out, o)
	}
	return out
}

// client builds the client from the options. Every error is a usage error.
func (t *tool) client(c *cli.Context) (*smapi.Client, error) {
	text := t.value(c, "connect", connectVariable)
	endpoint, err := transport.Parse(text, transport.Defaults{Port: smapi.Port, Program: smapi.Program})
	if err != nil {
		return nil, applet.Exitf(exitUsage, "smapictl: --connect: %v", err)
	}
	limit, err := parseLimit(c.String("timeout"))
	if err != nil {
		return nil, applet.Exitf(exitUsage, "smapictl: --timeout: %v", err)
	}
	password, err := t.password(c)
	if err != nil {
		return nil, applet.Exitf(exitUsage, "smapictl: %v", err)
	}
	dialer := &transport.Dialer{
		Endpoint: endpoint, Clock: t.env.Clock,
		TLS: transport.ClientTLS{CAFile: c.String("ca"), Insecure: c.Bool("insecure"), ServerName: c.String("server-name")},
	}
	if dialer.TLS.CAFile != "" {
		dialer.TLS.CAFile = t.env.FS.Path(dialer.TLS.CAFile)
	}
	client := &smapi.Client{
		Dialer: smapi.DialFunc(dialer.Dial), User: t.value(c, "user", userVariable), Password: password,
		Self: t.self(endpoint), ExchangeLimit: limit, Clock: t.env.Clock, Log: t.env.Log,
	}
	t.server = endpoint
	t.out = printer{w: t.env.Stdout, json: c.Bool("json")}
	if file := c.String("trace"); file != "" {
		if t.log, err = openTrace(t.env, file); err != nil {
			return nil, applet.Exitf(exitUsage, "smapictl: --trace: %v", err)
		}
		client.Trace = t.log.message
	}
	return client, nil
}

// value is an option, or the environment variable if it is not given.
func (t *tool) value(c *cli.Context, option, variable string) string {
	if v := t.env.Getenv(variable); v != "" && !c.IsSet(option) {
		return v
	}
	return c.String(option)
}

// self is the user id the server knows this client by without a login.
func (t *tool) self(e transport.Endpoint) string {
	if e.Name != "" {
		return e.Name
	}
	sysinfo, err := t.env.FS.ReadFile("/proc/sysinfo")
	if err != nil {
		return "" // no Linux on IBM Z
	}
	guest, _ := iucv.Identity(string(sysinfo))
	return guest
}

// parseLimit reads seconds or a duration.
func parseLimit(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if n, nerr := strconv.ParseUint(s, 10, 31); nerr == nil {
		d, err = time.Duration(n)*time.Second, nil
	}
	if err != nil || d <= 0 {
		return 0, fmt.Errorf("'%s' is no time above 0 in seconds or as 1m30s", s)
	}
	return d, nil
}
