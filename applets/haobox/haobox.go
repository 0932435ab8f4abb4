// Package haobox is the applet that looks after the others: it lists them,
// installs and removes their symlinks, and has the commands that are about
// the cluster and not about one old command's contract, one file each. It is
// also the applet to read first when adding one.
package haobox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/haobox/haobox/applets/applet"
	"github.com/haobox/haobox/internal/version"
	"github.com/haobox/haobox/platform"
)

// Name and Summary are its row in the table; the table itself is handed to
// Run, because it holds this applet too.
const (
	Name    = "haobox"
	Summary = "list, install and try the applets of this binary"
)

// Exit statuses of our own; the other applets have their old ones.
const (
	exitFailed = 1
	exitUsage  = 2
)

// tool is what the subcommands share.
type tool struct {
	env platform.Env
	all []applet.Entry
}

// Run runs "haobox ARGS" over the table all.
func Run(ctx context.Context, env platform.Env, all []applet.Entry, args []string) error {
	t := tool{env: env, all: all}
	app := &cli.App{
		Name:      Name,
		Usage:     Summary,
		UsageText: "haobox [--list | --list-full | --version]\nhaobox COMMAND [options]\nhaobox APPLET [the applet's own options]",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "list", Usage: "print the names of all applets, one a line"},
			&cli.BoolFlag{Name: "list-full", Usage: "print name, class, section, aliases, links and summary, separated by tabs"},
			&cli.BoolFlag{Name: "version", Usage: "print the version"},
		},
		Commands:             []*cli.Command{t.corosyncConf(), t.demo(), t.explain(), t.export(), t.idle(), t.install(), t.plan(), t.qdisk(), t.simulate(), t.uninstall(), t.why()},
		Action:               t.root,
		Reader:               env.Stdin,
		Writer:               env.Stdout,
		ErrWriter:            env.Stderr,
		ExitErrHandler:       func(*cli.Context, error) {},
		OnUsageError:         usageError,
		HideVersion:          true,
		HideHelpCommand:      true,
		EnableBashCompletion: true,
	}
	for _, c := range app.Commands {
		c.OnUsageError = usageError
		if len(c.Subcommands) == 0 {
			c.Before = optionsFirst
		}
	}
	return app.RunContext(ctx, args)
}

// optionsFirst refuses an option behind another word: the library takes it for one
// more word.
func optionsFirst(c *cli.Context) error {
	for _, word := range c.Args().Tail() {
		if len(word) > 1 && word[0] == '-' {
			return applet.Exitf(exitUsage, "%s: options come first: %s belongs before %s", c.Command.HelpName, word, c.Args().First())
		}
	}
	return nil
}

// usageError turns a fault that urfave/cli found into one line.
func usageError(c *cli.Context, err error, _ bool) error {
	help := c.App.Name
	if c.Command != nil && c.Command.HelpName != "" {
		help = c.Command.HelpName
	}
	return applet.Exitf(exitUsage, "%s: %v; see '%s --help'", c.App.Name, err, help)
}

// root is "haobox" without a command.
func (t tool) root(c *cli.Context) error {
	switch {
	case c.Bool("version"):
		return t.print("haobox " + version.String() + "\n")
	case c.Bool("list"), c.Bool("list-full"):
		return t.print(t.listing(c.Bool("list-full")))
	case c.Args().Present():
		return applet.Exitf(exitUsage, "haobox: no command and no applet is called '%s'; 'haobox --list' prints the applets, 'haobox --help' the commands", c.Args().First())
	}
	return cli.ShowAppHelp(c)
}

func (t tool) print(text string) error {
	if _, err := io.WriteString(t.env.Stdout, text); err != nil {
		return fmt.Errorf("haobox: write the output: %w", err)
	}
	return nil
}

// listing is the output of --list and --list-full.
func (t tool) listing(full bool) string {
	var b strings.Builder
	for _, e := range t.all {
		b.WriteString(e.Name)
		if full {
			fmt.Fprintf(&b, "\t%s\t%d\t%s\t%s\t%s", e.Class, e.Section, strings.Join(e.Aliases, ","), strings.Join(e.Links, ","), e.Summary)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// fail is an error of the tool itself, status 1.
func fail(format string, args ...any) error { return applet.Exitf(exitFailed, format, args...) }

// joined is several faults as one error of status 1, or nil.
func joined(errs []error) error {
	if err := errors.Join(errs...); err != nil {
		return &applet.ExitError{Code: exitFailed, Err: err}
	}
	return nil
}
