// Package phaksyssetup is the administrator's command that builds, checks and
// removes the PowerHA cluster of the KSYS nodes: the paper's phaksyssetup.
package phaksyssetup

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/haobox/haobox/applets/applet"
	"github.com/haobox/haobox/internal/ksys"
	"github.com/haobox/haobox/internal/ksys/phasim"
	"github.com/haobox/haobox/internal/ksys/setup"
	"github.com/haobox/haobox/platform"
	"github.com/haobox/haobox/platform/src"
	"github.com/haobox/haobox/platform/statedir"
)

const (
	name    = "phaksyssetup"
	summary = "build, check and remove the PowerHA cluster of the KSYS nodes"
	// lockFile keeps two runs apart.
	lockFile = "phaksyssetup.lock"
)

// Applet is the row in the table.
var Applet = applet.Applet{Name: name, Section: 8, Class: applet.Tool, Summary: summary, Run: run}

func run(ctx context.Context, env platform.Env, args []string) error {
	d := setup.DefaultOptions()
	do := func(kind string) cli.ActionFunc {
		return func(c *cli.Context) error {
			if c.NArg() > 0 {
				return applet.Exitf(setup.ExitUsage, "%s: argument %q: there are create (without a word), plan, remove, fix-type and verify; see --help", name, c.Args().First())
			}
			if kind == "" && c.Bool("fix-scope") {
				return perform(c, env, "fix-type")
			}
			return perform(c, env, kind)
		}
	}
	usage := func(_ *cli.Context, err error, _ bool) error {
		return applet.Exitf(setup.ExitUsage, "%s: %v; see %s --help", name, err, name)
	}
	flags := []cli.Flag{
		&cli.StringFlag{Name: "type", Usage: "`ha` or standard, dr or linked"},
		&cli.StringFlag{Name: "nodes", Usage: "the `NODES` of a standard cluster, separated by commas"},
		&cli.StringFlag{Name: "disk", Usage: "the shared repository `DISK` of a standard cluster"},
		&cli.StringFlag{Name: "site1-nodes", Usage: "the `NODES` of the first site"},
		&cli.StringFlag{Name: "site1-disk", Usage: "the repository `DISK` of the first site"},
		&cli.StringFlag{Name: "site2-nodes", Usage: "the `NODES` of the second site"},
		&cli.StringFlag{Name: "site2-disk", Usage: "the repository `DISK` of the second site"},
		&cli.StringFlag{Name: "site1-name", Value: d.Site1.Name, Usage: "`NAME` of the first site"},
		&cli.StringFlag{Name: "site2-name", Value: d.Site2.Name, Usage: "`NAME` of the second site"},
		&cli.StringFlag{Name: "cluster-name", Usage: "`NAME` of the cluster, if not <first node>_cluster"},
		&cli.StringFlag{Name: "startup", Value: d.Startup, Usage: "startup `POLICY` of the group, OFAN or OHN"},
		&cli.StringFlag{Name: "start-mode", Usage: "`MODE` of the start script, background or foreground"},
		&cli.IntFlag{Name: "monitor-interval", Value: d.Interval, Usage: "`SECONDS` between two calls of the long-running monitor"},
		&cli.IntFlag{Name: "stabilization", Value: d.Stabilize, Usage: "`SECONDS` for the start"},
		&cli.IntFlag{Name: "restart-count", Value: d.Restarts, Usage: "restarts on the same node: `N`"},
		&cli.StringFlag{Name: "heartbeat", Usage: "`KIND` of heartbeat, unicast or multicast"},
		&cli.StringFlag{Name: "existing", Value: d.Existing, Usage: "what to do with an existing cluster: `reuse`, update or abort"},
		&cli.StringFlag{Name: "rhosts", Value: d.Rhosts, Usage: "`write` the nodes' addresses to /etc/cluster/rhosts, or keep it"},
		&cli.StringFlag{Name: "layout", Value: d.Layout, Usage: "install the scripts as `wrapper`, hardlink or copy"},
		&cli.BoolFlag{Name: "no-online", Usage: "do not bring the cluster online"},
		&cli.DurationFlag{Name: "wait", Value: d.Wait, Usage: "how `LONG` to wait for the resource group"},
		&cli.BoolFlag{Name: "dry-run", Usage: "print the commands and run none"},
		&cli.BoolFlag{Name: "probe", Usage: "with --dry-run: run the queries, and print only what they leave to do"},
		&cli.BoolFlag{Name: "resume", Usage: "go on after a failed step"},
		&cli.BoolFlag{Name: "rollback", Usage: "undo what this run added when a step fails"},
		&cli.StringFlag{Name: "progress", Value: "plain", Usage: "`FORM` of the progress on standard error: plain, json or none"},
		&cli.BoolFlag{Name: "paper-output", Usage: "print the paper's lines also where they are wrong"},
		&cli.BoolFlag{Name: "force-xml", Usage: "replace a ksysmgr.xml of an unknown form"},
		&cli.BoolFlag{Name: "fix-scope", Usage: "the same as fix-type"},
		&cli.BoolFlag{Name: "yes", Usage: "ask nothing"},
		&cli.BoolFlag{Name: "json", Usage: "progress and plan as JSON"},
	}
	sub := func(word, what string) *cli.Command {
		return &cli.Command{Name: word, Usage: what, Flags: flags, Action: do(word), OnUsageError: usage, HideHelpCommand: true}
	}
	app := &cli.App{
		Name: name, Usage: summary, UsageText: name + " [options] [plan | remove | fix-type | verify]",
		Flags: flags, Action: do(""), OnUsageError: usage,
		Commands: []*cli.Command{
			sub("plan", "print the commands as JSON and run none"),
			sub("remove", "delete the KSYS host groups and the PowerHA cluster"),
			sub("fix-type", "set the management scope and the cluster type HA"),
			sub("verify", "run PowerHA's verification"),
		},
		Reader: env.Stdin, Writer: env.Stdout, ErrWriter: env.Stderr, ExitErrHandler: func(*cli.Context, error) {},
		HideVersion: true, HideHelpCommand: true, EnableBashCompletion: true,
	}
	return app.RunContext(ctx, args)
}

// options reads the flags; a flag before the word counts like one behind it.
func options(c *cli.Context) (setup.Options, error) {
	o := setup.DefaultOptions()
	at := func(flag string) *cli.Context {
		for _, l := range c.Lineage() {
			if l.Command != nil && l.IsSet(flag) {
				return l
			}
		}
		return c
	}
	text := func(flag string) string { return at(flag).String(flag) }
	number := func(flag string) int { return at(flag).Int(flag) }
	yes := func(flag string) bool { return at(flag).Bool(flag) }
	switch t := text("type"); t {
	case "", "ha", "dr":
		o.Type = t
	case "standard":
		o.Type = "ha"
	case "linked":
		o.Type = "dr"
	default:
		return o, fmt.Errorf("--type %q: it is ha, standard, dr or linked", t)
	}
	o.Nodes, o.Disk = setup.SplitNodes(text("nodes")), text("disk")
	o.Site1 = setup.Site{Name: text("site1-name"), Nodes: setup.SplitNodes(text("site1-nodes")), Disk: text("site1-disk")}
	o.Site2 = setup.Site{Name: text("site2-name"), Nodes: setup.SplitNodes(text("site2-nodes")), Disk: text("site2-disk")}
	o.ClusterName, o.Startup, o.StartMode = text("cluster-name"), text("startup"), text("start-mode")
	o.Interval, o.Stabilize, o.Restarts = number("monitor-interval"), number("stabilization"), number("restart-count")
	o.Heartbeat, o.Existing, o.Rhosts, o.Layout = text("heartbeat"), text("existing"), text("rhosts"), text("layout")
	o.NoOnline, o.DryRun, o.Probe, o.Resume = yes("no-online"), yes("dry-run"), yes("probe"), yes("resume")
	o.Rollback, o.PaperOutput, o.ForceXML, o.Yes = yes("rollback"), yes("paper-output"), yes("force-xml"), yes("yes")
	o.Wait = at("wait").Duration("wait")
	if p := text("progress"); !slices.Contains([]string{"plain", "json", "none"}, p) {
		return o, fmt.Errorf("--progress %q: it is plain, json or none", p)
	}
	return o, nil
}

// perform runs one of the sequences.
func perform(c *cli.Context, env platform.Env, kind string) error {
	o, err := options(c)
	if err != nil {
		return applet.Exitf(setup.ExitUsage, "%s: %v", name, err)
	}
	env, open, err := phasim.Surroundings(env, openStore)
	if err != nil {
		return applet.Exitf(ksys.ExitStateDir, "%s: %v", name, err)
	}
	simulated := env.Getenv(ksys.EnvSimulation) != ""
	cfg, err := ksys.LoadConfig("", env.Getenv)
	if err != nil {
		return applet.Exitf(setup.ExitUsage, "%s: %v", name, err)
	}
	client := &src.Client{Runner: env.Runner, Dirs: cfg.Path, Env: ksys.ChildEnv(env.Getenv, cfg.Path), Scale: cfg.Timescale}
	have := func(cmd string) bool { _, err := client.Look(cmd); return err == nil }
	host, _ := env.Hostname()
	o.LocalNode = ksys.LocalNames(cfg.Node, host)[0]
	o.Root = simulated || os.Geteuid() == 0 && os.Getuid() == 0
	o.HavePHA, o.HaveLspv, o.HaveLslpp, o.HaveRemote = have("clmgr"), have("lspv"), have("lslpp"), have("cl_rsh")
	if kind == "plan" {
		o.DryRun = true
	}
	h := &setup.Host{
		Env: env, Progress: c.String("progress"), Quiet: simulated, NoJournal: o.DryRun,
		Run: func(ctx context.Context, limit time.Duration, see func([]byte), argv []string) (string, string, int, error) {
			var each func([]byte, bool)
			if see != nil {
				each = func(p []byte, _ bool) { see(p) }
			}
			out, err := client.Stream(ctx, limit, each, argv...)
			return out.Stdout, out.Stderr, out.Code, err
		},
		Resolve: resolver(simulated),
		Link: func(to string) error {
			self, err := os.Executable()
			if err != nil {
				return err
			}
			return os.Link(self, to)
		},
		Self: func() ([]byte, error) {
			self, err := os.Executable()
			if err != nil {
				return nil, err
			}
			return os.ReadFile(filepath.Clean(self))
		},
	}
	if c.Bool("json") {
		h.Progress = "json"
	}
	if !o.DryRun && kind != "verify" {
		store, err := open(env.FS.Path(cfg.StateDir))
		if err != nil {
			return applet.Exitf(ksys.ExitStateDir, "%s: %v", name, err)
		}
		release, err := store.Lock(lockFile, fmt.Sprintf("pid=%d\n", os.Getpid()))
		if err != nil {
			return applet.Exitf(setup.ExitLocked, "%s: another run is at work: %v", name, err)
		}
		defer release()
	}
	return sequence(c, env, h, o, kind)
}

func sequence(c *cli.Context, env platform.Env, h *setup.Host, o setup.Options, kind string) error {
	var plan []setup.PlanStep
	var core *setup.Core
	asJSON := kind == "plan" || o.DryRun && c.Bool("json")
	switch kind {
	case "remove":
		core = setup.Removal(o)
	case "fix-type":
		core = setup.FixScope(o)
	case "verify":
		core = setup.Verification(o)
	default:
		core = setup.Create(o, &plan)
		if asJSON {
			// The plan alone goes to standard output.
			h.Env.Stdout = env.Stderr
		}
	}
	code := h.Drive(c.Context, core)
	if code == setup.ExitOK && asJSON && plan != nil {
		e := json.NewEncoder(env.Stdout)
		e.SetIndent("", "  ")
		if err := e.Encode(plan); err != nil {
			return err
		}
	}
	return applet.Exit(code)
}

func openStore(path string) (ksys.Store, error) {
	d, err := statedir.Open(path)
	if err != nil {
		return nil, err
	}
	return d, nil
}

// resolver asks the system; below the simulator every node has an address.
func resolver(simulated bool) func(context.Context, string) ([]string, error) {
	if simulated {
		return phasim.Resolve
	}
	return func(ctx context.Context, host string) ([]string, error) {
		ctx, cancel := context.WithTimeout(ctx, ksys.QueryLimit)
		defer cancel()
		return net.DefaultResolver.LookupHost(ctx, host)
	}
}
