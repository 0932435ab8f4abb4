package haobox

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/haobox/haobox/applets/applet"
	"github.com/haobox/haobox/internal/cluster"
	"github.com/haobox/haobox/internal/clusterconf"
	"github.com/haobox/haobox/internal/restree"
	"github.com/haobox/haobox/internal/rgm/rgmsim"
)

// exitViolated: something happened in the simulation that must never happen.
const exitViolated = 3

// maxHours bounds a run, ours: a hundred years and more, which a time.Duration
// of 292 years holds with all that comes behind it.
const maxHours = 1000000

// simulate is "haobox simulate FILE": the services of a cluster.conf through
// random failures in virtual time.
func (t tool) simulate() *cli.Command {
	return &cli.Command{
		Name:      "simulate",
		Usage:     "run the services of a cluster.conf through random failures in virtual time",
		ArgsUsage: "[FILE]",
		Description: "The code of rgmanager, fenced and qdiskd decides, and that of the z/VM agents fences; nodes, z/VM, other fence\n" +
			"devices, the quorum disk and resource agents are simulated, and nothing is touched. The default is " + clusterconf.Path + ".\n" +
			"The status is 3 if something happened that must never happen.",
		Flags: []cli.Flag{
			&cli.Uint64Flag{Name: "seeds", Value: 20, Usage: "`NUMBER` of runs"},
			&cli.Uint64Flag{Name: "from", Usage: "`SEED` of the first run"},
			&cli.Float64Flag{Name: "hours", Value: 720, Usage: "`HOURS` with faults in each run"},
			&cli.DurationFlag{Name: "every", Value: 4 * time.Hour, Usage: "mean `TIME` between faults of the cluster"},
			&cli.BoolFlag{Name: "people", Usage: "people restart daemons and move services, too"},
			&cli.Uint64Flag{Name: "seed", Usage: "run this `SEED` alone"},
			&cli.BoolFlag{Name: "trace", Usage: "print what happened, with --seed"},
			&cli.StringFlag{Name: "svg", Usage: "draw what happened into `FILE`, with --seed"},
			&cli.BoolFlag{Name: "json", Usage: "print the report as JSON"},
		},
		Action: t.runSimulation,
	}
}

func (t tool) runSimulation(c *cli.Context) error {
	one := c.IsSet("seed")
	switch {
	case c.NArg() > 1:
		return applet.Exitf(exitUsage, "haobox simulate: one file at a time, not %d", c.NArg())
	case !one && (c.Bool("trace") || c.IsSet("svg")):
		return applet.Exitf(exitUsage, "haobox simulate: --trace and --svg show one run; say which with --seed")
	case c.Bool("json") && c.Bool("trace"):
		return applet.Exitf(exitUsage, "haobox simulate: --trace is for people and --json for programs: one of them at a time")
	case c.Uint64("seeds") == 0 || !(c.Float64("hours") > 0) || c.Duration("every") < time.Second:
		return applet.Exitf(exitUsage, "haobox simulate: --seeds and --hours must be more than 0, and --every at least 1s")
	case c.Float64("hours") > maxHours:
		return applet.Exitf(exitUsage, "haobox simulate: --hours must be at most %d: more runs (--seeds) see more than one long one", maxHours)
	}
	cfg, err := t.simulated(c)
	if err != nil {
		return err
	}
	seeds := rgmsim.Seeds{Config: cfg, From: c.Uint64("from"), Count: c.Uint64("seeds")}
	if one {
		seeds.From, seeds.Count = c.Uint64("seed"), 1
	}
	report, last := simulateAll(c.Context, newBar(t.env.Stderr, seeds.Count), seeds)
	if c.Context.Err() != nil {
		last = nil // what it would show is not the whole run
	}
	if c.Bool("trace") && last != nil {
		if err := last.Timeline(t.env.Stdout); err != nil {
			return fmt.Errorf("haobox simulate: write the timeline: %w", err)
		}
	}
	if file := c.String("svg"); file != "" && last != nil {
		if err := draw(file, cfg.Conf, last); err != nil {
			return fail("haobox simulate: draw the run: %v", err)
		}
	}
	write := report.Text
	if c.Bool("json") {
		write = func(w io.Writer) error { return json.NewEncoder(w).Encode(report) }
	}
	if err := write(t.env.Stdout); err != nil {
		return fmt.Errorf("haobox simulate: write the report: %w", err)
	}
	if err := verdict(report); err != nil || c.Context.Err() == nil {
		return err
	}
	return fail("haobox simulate: interrupted after %d of %d runs; the report is of those", report.Seeds, seeds.Count)
}

// verdict is how a report ends: a simulation that failed itself says nothing of
// the cluster.
func verdict(r *rgmsim.Report) error {
	if len(r.Failures) > 0 {
		f := r.Failures[0]
		return fail("haobox simulate: seed %d: the simulation itself failed %s; please report the file and the seed", f.Seed, f.Text)
	}
	if n := len(r.Violations); n > 0 {
		return applet.Exitf(exitViolated, "haobox simulate: %d times something happened that must not; please report the file and a seed", n)
	}
	return nil
}

// simulated reads the configuration.
func (t tool) simulated(c *cli.Context) (rgmsim.Config, error) {
	file := clusterconf.File(t.env.Getenv)
	if c.NArg() == 1 {
		file = c.Args().First()
	}
	text, err := clusterconf.Read(t.env.FS, file)
	if err != nil {
		return rgmsim.Config{}, fail("haobox simulate: read the configuration: %v", err)
	}
	doc, err := clusterconf.Parse(file, text)
	if err != nil {
		return rgmsim.Config{}, fail("%v", err)
	}
	conf := clusterconf.Decode(doc)
	cfg := rgmsim.Config{Conf: conf, Rules: restree.Builtin(), Faults: time.Duration(c.Float64("hours") * float64(time.Hour)),
		Every: c.Duration("every"), Calm: !c.Bool("people"), Trace: c.IsSet("seed"), Together: true, Fencing: true}
	if err := cfg.Check(); err != nil {
		return cfg, fail("haobox simulate: %s: %v", file, err)
	}
	report := clusterconf.Validate(doc, clusterconf.Options{Rules: cfg.Rules})
	if i := slices.IndexFunc(report.Issues, func(i clusterconf.Issue) bool { return i.Class != clusterconf.Warning }); i >= 0 {
		fmt.Fprintf(t.env.Stderr, "haobox simulate: the daemons would refuse this file: %v (ccs_config_validate prints all faults)\n", report.Issues[i])
	}
	return cfg, nil
}

// simulateAll runs all seeds, on all processors, and adds them up in order. When
// ctx ends, the runs end, and what they would have said is left out. The result
// is that of the last run, nil without one.
func simulateAll(ctx context.Context, bar *bar, seeds rgmsim.Seeds) (*rgmsim.Report, *rgmsim.Result) {
	var ended atomic.Bool
	defer context.AfterFunc(ctx, func() { ended.Store(true) })()
	seeds.Stop = ended.Load
	type run struct {
		i uint64
		*rgmsim.Result
	}
	workers := min(uint64(runtime.GOMAXPROCS(0)), seeds.Count)
	results := make(chan run, workers)
	var next atomic.Uint64
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < seeds.Count && !ended.Load(); i = next.Add(1) - 1 {
				results <- run{i, seeds.Run(i)}
			}
		})
	}
	go func() { wg.Wait(); close(results) }()
	report := &rgmsim.Report{Services: []rgmsim.SummaryLine{}, Violations: []rgmsim.Violation{}, Assumed: rgmsim.Assumptions(seeds.Conf)}
	var last *rgmsim.Result
	early := map[uint64]*rgmsim.Result{} // those before them still run
	done := uint64(0)
	for r := range results {
		if r.Stopped {
			continue
		}
		early[r.i] = r.Result
		for x := early[done]; x != nil; x = early[done] {
			report.Add(x)
			last = x
			delete(early, done)
			done++
			bar.show(done)
		}
	}
	for _, i := range slices.Sorted(maps.Keys(early)) { // after one that was stopped
		report.Add(early[i])
	}
	bar.end()
	return report, last
}

func draw(file string, conf *clusterconf.Config, r *rgmsim.Result) (err error) {
	names := map[cluster.NodeID]string{}
	for _, n := range conf.Nodes {
		names[cluster.NodeID(n.ID)] = n.Name
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := f.Close(); err == nil {
			err = cerr
		}
	}()
	return r.SVG(f, names)
}

// bar is a progress bar on a terminal; on anything else it is silent.
type bar struct {
	w     io.Writer
	total uint64
	shown uint64
}

func newBar(w io.Writer, total uint64) *bar {
	b := &bar{total: total}
	if f, is := w.(*os.File); is {
		if info, err := f.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
			b.w = w
		}
	}
	return b
}

func (b *bar) show(done uint64) {
	const width = 40
	if k := uint64(float64(done) / float64(b.total) * width); b.w != nil && (k > b.shown || done == 1) {
		b.shown = k
		fmt.Fprintf(b.w, "\r[%s%s] %d of %d", strings.Repeat("=", int(k)), strings.Repeat(" ", width-int(k)), done, b.total)
	}
}

func (b *bar) end() {
	if b.w != nil {
		fmt.Fprint(b.w, "\r\x1b[K")
	}
}
