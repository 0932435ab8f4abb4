// Package ccstool is ccs_tool: it shows and edits a cluster.conf. Comments,
// order and everything that is not edited stay as they are.
package ccstool

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/haobox/haobox/applets/applet"
	"github.com/haobox/haobox/internal/argv"
	"github.com/haobox/haobox/internal/clusterconf"
	"github.com/haobox/haobox/internal/version"
	"github.com/haobox/haobox/internal/xmldoc"
	"github.com/haobox/haobox/platform"
)

// Applet is the command.
var Applet = applet.Applet{
	Name: name, Section: 8, Class: applet.Tool,
	Summary: summary,
	Run:     run,
}

const (
	name    = "ccs_tool"
	summary = "show and edit a cluster.conf"
)

// Exit statuses of ccs_tool(8).
const (
	exitFailed      = 1
	exitQueryFailed = 255
)

// newFileMode is that of a file that ccs_tool makes: it may hold passwords.
const newFileMode fs.FileMode = 0o640

func run(ctx context.Context, env platform.Env, args []string) error {
	t := &tool{env: env}
	app := &cli.App{
		Name: name, Usage: summary, UsageText: name + " [-h | -V | -verbose] COMMAND [options] [arguments]",
		Flags: []cli.Flag{
			// With a command of this name the library adds no such option.
			&cli.BoolFlag{Name: "help", Aliases: []string{"h"}, Usage: "print the commands"},
			&cli.BoolFlag{Name: "V", Usage: "print the version"},
			&cli.BoolFlag{Name: "verbose", Usage: "say what is done"},
		},
		Commands: t.commands(), Action: t.root,
		Writer: env.Stdout, ErrWriter: env.Stderr, ExitErrHandler: func(*cli.Context, error) {},
		OnUsageError: usageError,
		HideVersion:  true, HideHelpCommand: true, EnableBashCompletion: true,
	}
	words := args[1:]
	global := 0
	for global < len(words) && slices.Contains([]string{"-h", "--help", "-help", "-V", "-verbose", "--verbose"}, words[global]) {
		global++
	}
	line := append([]string{name}, words[:global]...)
	if global < len(words) {
		command := words[global]
		i := slices.IndexFunc(app.Commands, func(c *cli.Command) bool { return c.Name == command })
		if i < 0 {
			return applet.Exitf(exitFailed, "Unknown command, %s.\nTry 'ccs_tool help' for help.", command)
		}
		rest, err := argv.Canonical(optionsOf(app.Commands[i]), words[global+1:])
		if err != nil {
			return applet.Exitf(exitFailed, "ccs_tool %s: %v", command, err)
		}
		line = append(append(line, command), rest...)
	}
	return app.RunContext(ctx, line)
}

// optionsOf describes the flags of a command for getopt's way of writing them.
func optionsOf(c *cli.Command) []argv.Option {
	out := []argv.Option{{Name: "help", Short: "h"}}
	for _, f := range c.Flags {
		names := f.Names()
		o := argv.Option{Name: names[0]}
		for _, n := range names {
			if len(n) == 1 {
				o.Short += n
			}
		}
		if _, flag := f.(*cli.BoolFlag); !flag {
			o.Arity = argv.Required
		}
		out = append(out, o)
	}
	return out
}

func usageError(c *cli.Context, err error, _ bool) error {
	return applet.Exitf(exitFailed, "%s: %v", c.App.Name, err)
}

type tool struct{ env platform.Env }

// root is ccs_tool without a command.
func (t *tool) root(c *cli.Context) error {
	if c.Bool("V") {
		fmt.Fprintf(t.env.Stdout, "ccs_tool version %s\n", version.String())
		return nil
	}
	return cli.ShowAppHelp(c)
}

// defaultFile is the installed configuration.
func (t *tool) defaultFile() string { return clusterconf.File(t.env.Getenv) }

// input reads the file of -c.
func (t *tool) input(c *cli.Context) (*xmldoc.Document, error) {
	file := c.String("config")
	if file == "" {
		file = t.defaultFile()
	}
	text, err := clusterconf.Read(t.env.FS, file)
	if err != nil {
		return nil, applet.Exitf(exitFailed, "ccs_tool: read the configuration: %v", err)
	}
	doc, err := clusterconf.Parse(file, text)
	if err != nil {
		return nil, applet.Exitf(exitFailed, "%v", err)
	}
	return doc, nil
}

// edit reads the file, changes it, increments its version and writes it. A
// change that breaks the grammar of a file that kept it is refused.
func (t *tool) edit(c *cli.Context, change func(doc *xmldoc.Document) error) error {
	doc, err := t.input(c)
	if err != nil {
		return err
	}
	was := clusterconf.Validate(doc, clusterconf.Options{}).SchemaValid()
	if err := change(doc); err != nil {
		var refused clusterconf.EditError
		if errors.As(err, &refused) {
			return applet.Exitf(exitFailed, "%v", err)
		}
		return err
	}
	clusterconf.Bump(doc)
	if was {
		// Read again, so that what is found has its place in the new file.
		again, err := clusterconf.Parse(doc.Name, doc.Bytes())
		if err != nil {
			return applet.Exitf(exitFailed, "ccs_tool: the changed file can not be read: %v", err)
		}
		for _, i := range clusterconf.Validate(again, clusterconf.Options{}).Issues {
			if i.Class == clusterconf.Schema {
				return applet.Exitf(exitFailed, "ccs_tool: nothing was changed, because the file would be invalid: %v", i)
			}
		}
	}
	return t.output(c, doc)
}

// output writes a document to the file of -o, keeping what was there.
func (t *tool) output(c *cli.Context, doc *xmldoc.Document) error {
	out := c.String("output")
	if out == "" {
		out = doc.Name
	}
	if out == "-" {
		_, err := t.env.Stdout.Write(doc.Bytes())
		return err
	}
	mode := newFileMode
	target := clusterconf.Target(t.env.FS, out)
	info, err := t.env.FS.Stat(target)
	if err == nil && !info.Mode().IsRegular() {
		return applet.Exitf(exitFailed, "ccs_tool: write the configuration: %s is no file; use -o - for standard output", out)
	}
	if old, err := t.env.FS.ReadFile(target); err == nil {
		mode = info.Mode().Perm()
		if err := t.env.FS.WriteFile(out+".old", old, mode); err != nil {
			return applet.Exitf(exitFailed, "ccs_tool: keep the previous file: %v", err)
		}
	}
	if err := t.env.FS.WriteFile(target, doc.Bytes(), mode); err != nil {
		return applet.Exitf(exitFailed, "ccs_tool: write the configuration: %v", err)
	}
	return nil
}

// query answers an XPath of the installed configuration.
func (t *tool) query(c *cli.Context) error {
	if c.NArg() != 1 {
		return applet.Exitf(exitFailed, "usage: ccs_tool query [-n] XPATH")
	}
	text, err := clusterconf.Read(t.env.FS, t.defaultFile())
	if err != nil {
		return applet.Exitf(exitFailed, "Unable to connect to ccs: %v", err)
	}
	doc, err := clusterconf.Parse(t.defaultFile(), text)
	if err != nil {
		return applet.Exitf(exitFailed, "%v", err)
	}
	ask := clusterconf.Query
	if c.Bool("lite") {
		ask = clusterconf.QueryLite
	}
	value, err := ask(doc, c.Args().First())
	if err != nil {
		return applet.Exitf(exitQueryFailed, "Query failed: %v", strings.ReplaceAll(err.Error(), "\n", " "))
	}
	fmt.Fprintln(t.env.Stdout, value)
	return nil
}
