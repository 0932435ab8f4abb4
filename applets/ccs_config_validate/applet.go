// Package ccsconfigvalidate is ccs_config_validate: it checks a cluster.conf
// against its grammar, and its parts against each other.
package ccsconfigvalidate

import (
	"context"
	"fmt"
	"os"
	"strconv"

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
	name    = "ccs_config_validate"
	summary = "check a cluster.conf"
)

// Exit statuses of ccs_config_validate(8).
const (
	exitNotWellFormed = 1
	exitInvalid       = 3
	exitNoVersion     = 253
	exitOldVersion    = 254
	exitError         = 255 // usage, temporary file, no configuration
)

// loader is the only one of the cluster manager's loaders that there is here.
const loader = "xmlconfig"

func options() []argv.Option {
	return []argv.Option{
		{Name: "help", Short: "h"}, {Name: "version", Short: "V"}, {Name: "verbose", Short: "v"}, {Name: "quiet", Short: "q"},
		{Name: "file", Short: "f", Arity: argv.Required}, {Name: "load-file", Short: "l", Arity: argv.Required},
		{Name: "running", Short: "r"}, {Name: "loader", Short: "C", Arity: argv.Required},
		{Name: "no-update", Short: "u"}, {Name: "temp", Short: "t", Arity: argv.Required}, {Name: "keep", Short: "n"},
		{Name: "overwrite", Short: "o"}, {Name: "newer-than", Short: "R", Arity: argv.Required},
	}
}

func run(ctx context.Context, env platform.Env, args []string) error {
	t := &tool{env: env}
	canonical, err := argv.Canonical(options(), args[1:])
	if err != nil {
		return applet.Exitf(exitError, "Error: invalid options. %v", err)
	}
	app := &cli.App{
		Name: name, Usage: summary, UsageText: name + " [options]",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "version", Aliases: []string{"V"}, Usage: "print the version"},
			&cli.BoolFlag{Name: "verbose", Aliases: []string{"v"}, Usage: "say what is done"},
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "no word about a valid configuration, no warnings"},
			&cli.StringFlag{Name: "file", Aliases: []string{"f"}, Usage: "validate `FILE` as it is"},
			&cli.StringFlag{Name: "load-file", Aliases: []string{"l"}, Usage: "load `FILE` and validate what comes out"},
			&cli.BoolFlag{Name: "running", Aliases: []string{"r"}, Usage: "validate the running configuration"},
			&cli.StringFlag{Name: "loader", Aliases: []string{"C"}, Usage: "load with `LOADER`; there is " + loader + " alone"},
			&cli.BoolFlag{Name: "no-update", Aliases: []string{"u"}, Usage: "do not ask installed agents for unknown resource types"},
			&cli.StringFlag{Name: "temp", Aliases: []string{"t"}, Usage: "write what was loaded to `TMP`"},
			&cli.BoolFlag{Name: "keep", Aliases: []string{"n"}, Usage: "keep that file"},
			&cli.BoolFlag{Name: "overwrite", Aliases: []string{"o"}, Usage: "overwrite that file if it exists"},
			&cli.StringFlag{Name: "newer-than", Aliases: []string{"R"}, Usage: "require a config_version greater than `VERSION`"},
		},
		Action: t.action, Writer: env.Stdout, ErrWriter: env.Stderr, ExitErrHandler: func(*cli.Context, error) {},
		OnUsageError: func(_ *cli.Context, err error, _ bool) error {
			return applet.Exitf(exitError, "Error: invalid options. %v", err)
		},
		HideVersion: true, HideHelpCommand: true, EnableBashCompletion: true,
	}
	return app.RunContext(ctx, append([]string{name}, canonical...))
}

type tool struct{ env platform.Env }

func (t *tool) action(c *cli.Context) error {
	if c.Bool("version") {
		fmt.Fprintf(t.env.Stdout, "%s version %s\n", name, version.String())
		return nil
	}
	if err := exclusive(c, "file", "load-file", "running", "loader"); err != nil {
		return err
	}
	if err := exclusive(c, "verbose", "quiet"); err != nil {
		return err
	}
	if l := c.String("loader"); c.IsSet("loader") && l != loader {
		return applet.Exitf(exitError, "Unable to get the configuration: the loader '%s' is not known, there is %s", l, loader)
	}
	doc, err := t.load(c)
	if err != nil {
		return err
	}
	if err := t.newer(c, doc); err != nil {
		return err
	}
	if !c.IsSet("file") {
		if err := t.temporary(c, doc); err != nil {
			return err
		}
	}
	return t.validate(c, doc)
}

// exclusive refuses two of the options at once.
func exclusive(c *cli.Context, names ...string) error {
	given := ""
	for _, n := range names {
		switch {
		case !c.IsSet(n):
		case given != "":
			return applet.Exitf(exitError, "Error: invalid options. -%s can not be set together with -%s", letter(given), letter(n))
		default:
			given = n
		}
	}
	return nil
}

func letter(name string) string {
	for _, o := range options() {
		if o.Name == name {
			return o.Short
		}
	}
	return name
}

// load reads the file that the options name.
func (t *tool) load(c *cli.Context) (*xmldoc.Document, error) {
	file := clusterconf.File(t.env.Getenv)
	switch {
	case c.IsSet("file"):
		file = c.String("file")
	case c.IsSet("load-file"):
		file = c.String("load-file")
	case c.Bool("running"):
		file = clusterconf.RunningPath
	}
	t.say(c, "Reading "+file)
	text, err := clusterconf.Read(t.env.FS, file)
	if err != nil {
		return nil, applet.Exitf(exitError, "Unable to get the configuration: %v", err)
	}
	doc, err := clusterconf.Parse(file, text)
	if err != nil {
		fmt.Fprintln(t.env.Stderr, err)
		return nil, applet.Exit(exitNotWellFormed)
	}
	return doc, nil
}

func (t *tool) say(c *cli.Context, text string) {
	if c.Bool("verbose") {
		fmt.Fprintln(t.env.Stdout, text)
	}
}

// newer checks the version against that of -R.
func (t *tool) newer(c *cli.Context, doc *xmldoc.Document) error {
	if !c.IsSet("newer-than") {
		return nil
	}
	running, err := strconv.Atoi(c.String("newer-than"))
	if err != nil {
		return applet.Exitf(exitError, "Error: invalid options. -R needs a number, not '%s'", c.String("newer-than"))
	}
	offered, err := strconv.Atoi(doc.Root.Get("config_version"))
	if err != nil {
		return applet.Exitf(exitNoVersion, "Error: Unable to determine new config version!")
	}
	if clusterconf.CompareVersions(running, offered) != nil {
		return applet.Exitf(exitOldVersion, "Error: Configuration version is older than running config!")
	}
	return nil
}

// temporary leaves what was loaded in a file, if that is wanted.
func (t *tool) temporary(c *cli.Context, doc *xmldoc.Document) error {
	tmp := c.String("temp")
	if tmp == "" && c.Bool("keep") {
		tmp = fmt.Sprintf("/tmp/%s.%d", name, os.Getpid())
	}
	if tmp == "" {
		return nil
	}
	if _, err := t.env.FS.Lstat(tmp); err == nil && !c.Bool("overwrite") {
		return applet.Exitf(exitError, "Selected temporary file %s already exists\nUse -o to force overwrite (dangerous)", tmp)
	}
	host, _ := t.env.Hostname()
	loaded := clusterconf.Loaded(doc, clusterconf.Decode(doc).LocalNode(host))
	if err := t.env.FS.WriteFile(tmp, clusterconf.Dump(loaded), 0o600); err != nil {
		return applet.Exitf(exitError, "write the temporary file %s: %v", tmp, err)
	}
	if c.Bool("keep") {
		t.say(c, "The loaded configuration is in "+tmp)
		return nil
	}
	if err := t.env.FS.Remove(tmp); err != nil {
		return applet.Exitf(exitError, "remove the temporary file %s: %v", tmp, err)
	}
	return nil
}
