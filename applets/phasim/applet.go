// Package phasim is the command line of the simulated AIX, RSCT and PowerHA
// environment. By the name of a simulated command it is that command, and
// only below a simulation, so that it never stands in for a real one.
package phasim

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/haobox/haobox/applets/applet"
	"github.com/haobox/haobox/internal/ksys"
	"github.com/haobox/haobox/internal/ksys/phasim"
	"github.com/haobox/haobox/platform"
	"github.com/haobox/haobox/platform/statedir"
)

const (
	name    = "phasim"
	summary = "simulate AIX, RSCT and PowerHA for the KSYS scripts"
)

// Applet is the row in the table; its aliases are the simulated commands.
var Applet = applet.Applet{Name: name, Section: 8, Class: applet.Tool, Summary: summary, Run: run}

const (
	exitFailed = 1
	exitUsage  = 2
	// signalBase is what a shell adds to the number of a signal.
	signalBase = 128
)

func run(ctx context.Context, env platform.Env, args []string) error {
	if slices.Contains(phasim.Names(), args[0]) {
		return applet.Exit(phasim.Command(ctx, env, openStore, args))
	}
	usage := func(_ *cli.Context, err error, _ bool) error {
		return applet.Exitf(exitUsage, "%s: %v; see %s --help", name, err, name)
	}
	t := &tool{env: env}
	sub := func(word, args, what string, do func(c *cli.Context) error, flags ...cli.Flag) *cli.Command {
		return &cli.Command{Name: word, ArgsUsage: args, Usage: what, Action: do, Flags: flags, OnUsageError: usage, HideHelpCommand: true}
	}
	app := &cli.App{
		Name: name, Usage: summary, UsageText: name + " [--dir DIR] COMMAND",
		Flags: []cli.Flag{&cli.StringFlag{Name: "dir", Usage: "`DIR` of the simulation; also PHASIM_DIR"}},
		Commands: []*cli.Command{
			sub("init", "DIR", "make a simulation", t.init,
				&cli.StringFlag{Name: "nodes", Value: "ksys7001,ksys7002", Usage: "`NAMES` of the nodes"},
				&cli.StringFlag{Name: "type", Value: "ha", Usage: "`ha` or dr"},
				&cli.StringFlag{Name: "domain", Value: phasim.DefaultSuffix, Usage: "domain `SUFFIX` of the nodes"},
				&cli.Uint64Flag{Name: "seed", Value: 1, Usage: "`NUMBER` that decides delays and process ids"},
				&cli.BoolFlag{Name: "defined", Usage: "with the cluster of phaksyssetup, online"}),
			sub("run", "", "call the scripts as PowerHA would", t.run,
				&cli.Float64Flag{Name: "speed", Usage: "virtual `SECONDS` per real one; 0: the time moves only with the scripts"},
				&cli.StringFlag{Name: "scenario", Usage: "a built-in `NAME`; 'list' lists them"},
				&cli.StringFlag{Name: "until", Value: "600", Usage: "`CONDITION` to end at: seconds, or as for assert"},
				&cli.BoolFlag{Name: "normalize", Usage: "leave times and process ids out of the log"}),
			sub("show", "", "print the simulated cluster", t.show),
			sub("exec", "NODE COMMAND...", "run a command on a node", t.exec, &cli.Float64Flag{Name: "speed", Usage: "virtual `SECONDS` per real one"}),
			sub("step", "SECONDS", "let time pass", t.step),
			sub("inject", "NODE WHAT [VALUE]", "inject a fault; without words, list them", t.inject,
				&cli.Float64Flag{Name: "after", Usage: "in `SECONDS`"}, &cli.Float64Flag{Name: "for", Usage: "end it after `SECONDS`"}),
			sub("assert", "EXPRESSION", "fail unless it is true: leader=NODE, group=NODE, vmr:NODE=STATE, up:NODE=yes|no", t.assert),
		},
		Writer: env.Stdout, ErrWriter: env.Stderr, ExitErrHandler: func(*cli.Context, error) {},
		OnUsageError: usage, HideVersion: true, HideHelpCommand: true, EnableBashCompletion: true,
		Action: func(c *cli.Context) error {
			return applet.Exitf(exitUsage, "%s: command %q: unknown; see %s --help", name, c.Args().First(), name)
		},
	}
	return app.RunContext(ctx, args)
}

func openStore(path string) (ksys.Store, error) {
	d, err := statedir.Open(path)
	if err != nil {
		return nil, err
	}
	return d, nil
}

// tool is one run of the command.
type tool struct{ env platform.Env }

// open opens the simulation that the command line or the environment names.
func (t *tool) open(c *cli.Context, speed float64) (*phasim.Dir, error) {
	dir := c.String("dir")
	if dir == "" {
		dir = t.env.Getenv(phasim.EnvDir)
	}
	if dir == "" {
		return nil, applet.Exitf(exitUsage, "%s: which simulation? give --dir or PHASIM_DIR", name)
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	return phasim.OpenDir(t.env, openStore, abs, speed)
}

func (t *tool) init(c *cli.Context) error {
	if c.NArg() != 1 {
		return applet.Exitf(exitUsage, "%s init: one folder is needed", name)
	}
	dir, err := filepath.Abs(c.Args().First())
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	o := phasim.Options{Nodes: strings.Split(c.String("nodes"), ","), Type: c.String("type"), Suffix: c.String("domain"), Seed: c.Uint64("seed")}
	if err := phasim.Init(t.env, openStore, dir, self, o); err != nil {
		return err
	}
	if !c.Bool("defined") {
		return nil
	}
	d, err := phasim.OpenDir(t.env, openStore, dir, 0)
	if err != nil {
		return err
	}
	return d.With(func(w *phasim.World) error {
		w.Define()
		for _, n := range w.Nodes {
			x := ksys.NewConfigXML(ksys.KsysCluster{Name: w.Cluster.Name, State: "Online", Type: strings.ToUpper(w.Type)})
			if err := d.Write(n.Name, ksys.ConfigXML, x); err != nil {
				return err
			}
		}
		return nil
	})
}

func (t *tool) run(c *cli.Context) error {
	var sc phasim.Scenario
	switch s := c.String("scenario"); s {
	case "":
	case "list":
		for _, sc := range phasim.Scenarios() {
			fmt.Fprintf(t.env.Stdout, "%-24s %s\n", sc.Name, sc.About)
		}
		return nil
	default:
		var err error
		if sc, err = phasim.FindScenario(s); err != nil {
			return applet.Exitf(exitUsage, "%s run: %v", name, err)
		}
	}
	d, err := t.open(c, c.Float64("speed"))
	if err != nil {
		return err
	}
	seconds, stop := sc.Until, func(*phasim.World) bool { return false }
	if sc.Name == "" {
		if seconds, err = strconv.Atoi(c.String("until")); err != nil {
			if _, err := holds(&phasim.World{}, c.String("until")); err != nil {
				return applet.Exitf(exitUsage, "%s run: --until: %v", name, err)
			}
			const day = 86400
			seconds = day
			stop = func(w *phasim.World) bool { ok, _ := holds(w, c.String("until")); return ok }
		}
	}
	if err := d.With(func(w *phasim.World) error { return sc.Prepare(w) }); err != nil {
		return err
	}
	l := &phasim.Loop{Dir: d, Env: t.env, Settings: phasim.DefaultSettings(), Out: t.env.Stdout, Normalize: c.Bool("normalize")}
	if err := l.Run(c.Context, seconds, stop); err != nil {
		return err
	}
	if sc.Name != "" {
		return sc.Check(l.Calls)
	}
	return nil
}

func (t *tool) show(c *cli.Context) error {
	d, err := t.open(c, 0)
	if err != nil {
		return err
	}
	return d.With(func(w *phasim.World) error {
		fmt.Fprintf(t.env.Stdout, "T+%06d\n%s", w.Now/1000, ksys.Judge(w.Observe(), false).Table())
		for _, f := range w.Faults {
			fmt.Fprintf(t.env.Stdout, "FAULT %s %s %s\n", f.Node, f.What, f.Value)
		}
		return nil
	})
}

func (t *tool) exec(c *cli.Context) error {
	if c.NArg() < 2 {
		return applet.Exitf(exitUsage, "%s exec: a node and a command are needed", name)
	}
	d, err := t.open(c, c.Float64("speed"))
	if err != nil {
		return err
	}
	node, argv := c.Args().First(), c.Args().Tail()
	var childEnv []string
	err = d.With(func(w *phasim.World) error {
		n := w.Node(node)
		if n == nil {
			return fmt.Errorf("%s exec: no node %s", name, node)
		}
		if !n.Up {
			return fmt.Errorf("%s exec: node %s is down", name, node)
		}
		childEnv = d.NodeEnv(w, n)
		return nil
	})
	if err != nil {
		return err
	}
	cmd := argv[0]
	if script := path.Join(d.Root(node), ksys.ScriptDir, cmd); !strings.Contains(cmd, "/") {
		switch {
		case slices.Contains(phasim.Names(), cmd):
			cmd = path.Join(d.Path, "bin", cmd)
		case exists(script):
			cmd = script
		case cmd == "sh":
			cmd = "/bin/sh"
		default:
			cmd = path.Join(d.Path, "bin/haobox")
			argv = append([]string{"haobox"}, argv...)
		}
	}
	// In this process group, so that it can read from the terminal.
	child := exec.CommandContext(c.Context, cmd, argv[1:]...)
	child.Env, child.Stdin, child.Stdout, child.Stderr = childEnv, t.env.Stdin, t.env.Stdout, t.env.Stderr
	err = child.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
			return applet.Exit(signalBase + int(ws.Signal()))
		}
		return applet.Exit(exit.ExitCode())
	case err != nil:
		return fmt.Errorf("%s exec: %w", name, err)
	}
	return nil
}

func exists(p string) bool { _, err := os.Stat(p); return err == nil }

func (t *tool) step(c *cli.Context) error {
	s, err := strconv.ParseFloat(c.Args().First(), 64)
	if err != nil || s < 0 || s > 1e7 {
		return applet.Exitf(exitUsage, "%s step: %q is not a number of seconds", name, c.Args().First())
	}
	d, err := t.open(c, 0)
	if err != nil {
		return err
	}
	return d.With(func(w *phasim.World) error { w.AdvanceTo(w.Now + int64(s*1000)); return nil })
}

func (t *tool) inject(c *cli.Context) error {
	d, err := t.open(c, 0)
	if err != nil {
		return err
	}
	after, lasting := seconds(c.Float64("after")), seconds(c.Float64("for"))
	return d.With(func(w *phasim.World) error {
		i, err := w.ParseInjection(c.Args().First(), c.Args().Tail(), after, lasting)
		if err != nil {
			return applet.Exitf(exitUsage, "%s: %v", name, err)
		}
		if strings.HasPrefix(i.What, "flag ") {
			return attack(t.env, d, w, i)
		}
		w.Inject(i)
		return nil
	})
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

func (t *tool) assert(c *cli.Context) error {
	d, err := t.open(c, 0)
	if err != nil {
		return err
	}
	return d.With(func(w *phasim.World) error {
		for _, e := range c.Args().Slice() {
			ok, err := holds(w, e)
			if err != nil {
				return applet.Exitf(exitUsage, "%s assert: %v", name, err)
			}
			if !ok {
				return applet.Exitf(exitFailed, "%s assert: %s does not hold", name, e)
			}
		}
		return nil
	})
}

// holds evaluates one expression.
func holds(w *phasim.World, expr string) (bool, error) {
	key, want, ok := strings.Cut(expr, "=")
	what, node, _ := strings.Cut(key, ":")
	n := w.Node(node)
	switch {
	case !ok || want == "":
	case what == "leader" && node == "":
		return len(w.Parts) > 0 && w.Parts[0].Leader == want, nil
	case what == "group" && node == "":
		return w.Placed(ksys.ResourceGroup, want) == "ONLINE", nil
	case what == "vmr" && node != "":
		return n != nil && n.VMR().State == want, nil
	case what == "up" && node != "" && (want == "yes" || want == "no"):
		return n != nil && n.Up == (want == "yes"), nil
	}
	return false, fmt.Errorf("expression %q: the forms are leader=NODE, group=NODE, vmr:NODE=STATE, up:NODE=yes", expr)
}
