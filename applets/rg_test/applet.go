// Package rgtest is rg_test: it shows what rgmanager makes of a cluster.conf
// and of the resource agents, tries an operation, or really runs it. Its
// output is that of the original, byte for byte (rg_test of rgmanager 3.2,
// with the tree lines of 3.0.12).
package rgtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/urfave/cli/v2"

	"github.com/haobox/haobox/applets/applet"
	"github.com/haobox/haobox/internal/restree"
	"github.com/haobox/haobox/internal/xmldoc"
	"github.com/haobox/haobox/platform"
)

// Applet is the table's row.
var Applet = applet.Applet{
	Name: "rg_test", Section: 8, Class: applet.Tool,
	Summary: summary,
	Run:     Run,
}

const summary = "show and try what rgmanager makes of a cluster.conf"

// Exit statuses of the original.
const (
	exitUsage  = 1
	exitFailed = 255
)

const usage = `usage: rg_test [agent_path] <args..>

	test <configfile> [args..]
		start <type> <resource>
		status <type> <resource>
		stop <type> <resource>

	delta <configfile1> <configfile2>

	rules

`

// Run runs the command line args. Options do not exist but for help; every
// word belongs to a mode.
func Run(ctx context.Context, env platform.Env, args []string) error {
	app := &cli.App{
		Name: "rg_test", Usage: summary,
		UsageText: "rg_test [agent_dir ...] rules\n" +
			"rg_test [agent_dir ...] test|noop FILE [start|stop|status|migrate TYPE NAME [NODE]]\n" +
			"rg_test [agent_dir ...] delta OLD NEW",
		Writer: env.Stdout, ErrWriter: env.Stderr, ExitErrHandler: func(*cli.Context, error) {},
		HideVersion: true, HideHelpCommand: true, EnableBashCompletion: true,
		OnUsageError: func(*cli.Context, error, bool) error { return badUsage(env) },
		Action: func(c *cli.Context) error {
			return (&tool{ctx: ctx, env: env, b: &bytes.Buffer{}}).run(c.Args().Slice())
		},
	}
	return app.RunContext(ctx, args)
}

func badUsage(env platform.Env) error {
	fmt.Fprint(env.Stdout, usage)
	return applet.Exit(exitUsage)
}

// tool is one call.
type tool struct {
	ctx context.Context
	env platform.Env
	dir string // the agent directory, "" if none is named
	// b collects standard output until an agent is run.
	b *bytes.Buffer
}

func (t *tool) run(args []string) error {
	for len(args) > 0 {
		info, err := t.env.FS.Stat(args[0])
		if err != nil || !info.IsDir() {
			break
		}
		fmt.Fprintf(t.env.Stderr, "Using %s as resource agent path\n", args[0])
		t.dir, args = args[0], args[1:]
	}
	if len(args) == 0 {
		return badUsage(t.env)
	}
	err := t.mode(args)
	t.flush()
	return err
}

func (t *tool) flush() {
	t.env.Stdout.Write(t.b.Bytes())
	t.b.Reset()
}

func (t *tool) mode(args []string) error {
	switch args[0] {
	case "rules":
		t.progress("Running in rules mode.")
		rules := t.rules()
		t.progress(fmt.Sprintf("Loaded %d resource rules", len(rules)))
		restree.PrintRules(t.b, rules)
		return nil
	case "test", "noop":
		t.progress("Running in test mode.")
		return t.test(args[1:], args[0] == "noop")
	case "delta":
		t.progress("Running in resource tree delta test mode.")
		return t.delta(args[1:])
	}
	return badUsage(t.env)
}

func (t *tool) progress(text string) { fmt.Fprintln(t.env.Stderr, text) }

// agents is the agent directory.
func (t *tool) agents() string {
	if t.dir == "" {
		return restree.AgentDir
	}
	return t.dir
}

// rules runs the agents. A missing folder means no rules, as ever, if it is
// named; without a name the rules are those that rgmanager works with.
func (t *tool) rules() restree.Rules {
	rules, err := restree.LoadRules(t.ctx, t.env.FS, t.env.Runner, t.agents(), t.say)
	if err != nil && (t.dir != "" || !errors.Is(err, fs.ErrNotExist)) {
		t.progress("rg_test: " + err.Error())
	}
	if t.dir == "" {
		rules.Complete()
	}
	return rules
}

func (t *tool) say(m restree.Message) {
	if m.Kind == restree.KindStderr {
		t.progress(m.String())
		return
	}
	t.b.WriteString(m.String())
	if !m.NoNewline {
		t.b.WriteByte('\n')
	}
}

func (t *tool) sayAll(list []restree.Message) {
	for _, m := range list {
		t.say(m)
	}
}

// parse reads a configuration; the place of a fault goes to standard error,
// which is not part of the compared output.
func (t *tool) parse(args []string, i int) *xmldoc.Document {
	if i >= len(args) {
		fmt.Fprintln(t.b, "Error parsing (null)")
		return nil
	}
	text, err := t.env.FS.ReadFile(args[i])
	if err == nil {
		var doc *xmldoc.Document
		if doc, err = xmldoc.Parse(args[i], text); err == nil {
			return doc
		}
	}
	t.progress("rg_test: " + err.Error())
	fmt.Fprintf(t.b, "Error parsing %s\n", args[i])
	return nil
}

// test shows a configuration, or runs an operation on a resource of it.
func (t *tool) test(args []string, noop bool) error {
	rules := t.rules()
	doc := t.parse(args, 0)
	if doc == nil {
		return nil
	}
	set := restree.Load(rules, doc.Root)
	t.sayAll(set.Messages)
	if len(args) > 1 {
		return t.operate(set, args[1:], noop)
	}
	t.progress(fmt.Sprintf("Loaded %d resource rules", len(rules)))
	if len(set.Resources) > 0 {
		t.b.WriteString("=== Resources List ===\n")
		restree.PrintResources(t.b, set.Resources)
	}
	if len(set.Tree) > 0 {
		t.b.WriteString("=== Resource Tree ===\n")
		restree.PrintTree(t.b, set.Tree)
	}
	if len(set.Domains) > 0 {
		t.b.WriteString("=== Failover Domains ===\n")
		restree.PrintDomains(t.b, set.Domains)
	}
	t.b.WriteString("=== Event Triggers ===\n")
	restree.PrintEvents(t.b, set.Events)
	return nil
}
