// Package ccsconfigdump is ccs_config_dump: it prints the configuration as the
// cluster manager has it after loading.
package ccsconfigdump

import (
	"context"
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/haobox/haobox/applets/applet"
	"github.com/haobox/haobox/internal/argv"
	"github.com/haobox/haobox/internal/clusterconf"
	"github.com/haobox/haobox/internal/version"
	"github.com/haobox/haobox/platform"
)

// Applet is the command.
var Applet = applet.Applet{
	Name: name, Section: 8, Class: applet.Tool,
	Summary: summary,
	Run:     run,
}

const (
	name    = "ccs_config_dump"
	summary = "print the loaded cluster configuration"
	// exitError is the status of every failure, which the original does not
	// explain; ours says why on standard error.
	exitError = 255
)

func run(ctx context.Context, env platform.Env, args []string) error {
	canonical, err := argv.Canonical([]argv.Option{{Name: "help", Short: "h"}, {Name: "version", Short: "V"}, {Name: "running", Short: "r"}}, args[1:])
	if err != nil {
		return applet.Exitf(exitError, "%s: %v", name, err)
	}
	app := &cli.App{
		Name: name, Usage: summary, UsageText: name + " [options]",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "running", Aliases: []string{"r"}, Usage: "the running configuration instead of the file"},
			&cli.BoolFlag{Name: "version", Aliases: []string{"V"}, Usage: "print the version"},
		},
		Action: func(c *cli.Context) error {
			if c.Bool("version") {
				fmt.Fprintf(env.Stdout, "%s version %s\n", name, version.String())
				return nil
			}
			return dump(env, c.Bool("running"))
		},
		Writer: env.Stdout, ErrWriter: env.Stderr, ExitErrHandler: func(*cli.Context, error) {},
		OnUsageError: func(_ *cli.Context, err error, _ bool) error { return applet.Exitf(exitError, "%s: %v", name, err) },
		HideVersion:  true, HideHelpCommand: true, EnableBashCompletion: true,
	}
	return app.RunContext(ctx, append([]string{name}, canonical...))
}

func dump(env platform.Env, running bool) error {
	file := clusterconf.File(env.Getenv)
	if running {
		file = clusterconf.RunningPath
	}
	text, err := clusterconf.Read(env.FS, file)
	if err != nil {
		return applet.Exitf(exitError, "%s: read the configuration: %v", name, err)
	}
	doc, err := clusterconf.Parse(file, text)
	if err != nil {
		return applet.Exitf(exitError, "%v", err)
	}
	host, _ := env.Hostname() // without a name there is no nodename to add
	loaded := clusterconf.Loaded(doc, clusterconf.Decode(doc).LocalNode(host))
	if _, err := env.Stdout.Write(clusterconf.Dump(loaded)); err != nil {
		return applet.Exitf(exitError, "%s: write the output: %v", name, err)
	}
	return nil
}
