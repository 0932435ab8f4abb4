package rgmsim

import (
	"cmp"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/haobox/haobox/internal/cluster"
	"github.com/haobox/haobox/internal/clusterconf"
	"github.com/haobox/haobox/internal/fencing"
	"github.com/haobox/haobox/internal/quorumdisk"
	"github.com/haobox/haobox/internal/quorumdisk/disksim"
	"github.com/haobox/haobox/internal/restree"
	"github.com/haobox/haobox/internal/rgm"
	"github.com/haobox/haobox/internal/xmldoc"
)

const (
	// diskFaults of a hundred faults are those of the quorum disk, if there is
	// one.
	diskFaults = 35
	// diskSpan and diskSlow are, in times that a node may be silent on the disk
	// (interval x tko), the longest fault and half of the longest call.
	diskSpan, diskSlow = 4, 3
	// diskSettle is, in times that a new master takes, what a cluster needs to
	// be well beyond DefaultSettle: nodes that are evicted boot, are found up,
	// and may be evicted once more by those that were silent meanwhile.
	diskSettle = 8
)

// qdaemon is a process of qdiskd (disksim.Life).
type qdaemon struct {
	h      *host
	core   *disksim.Daemon
	engine cluster.Engine
	dead   bool
}

// diskSetups is what qdiskd of each node would run with, or why the quorum disk
// of a configuration is left out. Both are empty if there is none.
func diskSetups(c *clusterconf.Config) (all []quorumdisk.Setup, why string) {
	switch {
	case c.Quorumd == nil:
		return nil, ""
	case c.Cman.TwoNode:
		return nil, "two_node and a quorum disk exclude each other"
	case c.DeviceVotes() <= 0:
		return nil, "it has no votes"
	}
	for _, n := range c.Nodes {
		s, _, err := quorumdisk.Prepare(c, n.ID)
		if err != nil {
			return nil, "qdiskd would not start: " + err.Error()
		}
		all = append(all, s)
	}
	return all, ""
}

// diskAssumptions says how the quorum disk of a configuration is simulated.
func diskAssumptions(c *clusterconf.Config) []string {
	setups, why := diskSetups(c)
	switch {
	case why != "":
		return []string{"the quorum disk and its votes are left out: " + why}
	case setups == nil:
		return nil
	}
	q := c.Quorumd
	what := fmt.Sprintf("the quorum disk: the code of qdiskd on every node, with %d votes, interval %v, tko %d; the disk is simulated", q.Votes, q.Interval, q.TKO)
	if n := len(q.Heuristics); n > 0 {
		what += fmt.Sprintf(", and so are %d heuristics: they take up to 0.3 s and fail or hang at random", n)
	}
	return []string{what, fmt.Sprintf("times of more than %v in which all is well are passed over at once", lullFor(c))}
}

// addDisk adds the quorum disk.
func (w *world) addDisk(setups []quorumdisk.Setup) {
	q := w.cfg.Conf.Quorumd
	silent := q.Interval * time.Duration(q.TKO)
	rng := rand.New(rand.NewPCG(w.cfg.Seed, 0x6469736b))
	w.disk = &disksim.Cluster{Sim: w.sim, Disk: disksim.NewDisk(w.sim, rng), Rand: rng, Span: diskSpan * silent, Slowest: silent * diskSlow / 2,
		Trace:   func(format string, args ...any) { w.line(0, true, rgm.LevelInfo, format, args...) },
		Violate: func(format string, args ...any) { w.violation("quorum disk", format, args...) },
		Mended:  func() bool { return w.calm }}
	for i, n := range w.cfg.Conf.Nodes {
		s := setups[i]
		w.disk.Add(cluster.NodeID(n.ID), n.Name, cmp.Or(s.Name, s.Device, s.Label), s, diskHost{w.host(cluster.NodeID(n.ID))})
	}
}

// diskHost is a host as disksim wants it.
type diskHost struct{ *host }

// Executes says that it runs and is not frozen.
func (h diskHost) Executes() bool { return h.power && h.engine && !h.w.sim.Frozen(h.id) }

// Woke says that it has just been thawed.
func (h diskHost) Woke() bool {
	return h.thawedAt != 0 && h.w.elapsed() <= h.thawedAt+disksim.RuleGrace
}

// Daemon is the qdiskd that runs, or nil.
func (h diskHost) Daemon() *disksim.Daemon {
	if h.qdiskd == nil {
		return nil
	}
	return h.qdiskd.core
}

// StartDaemon starts it in d.
func (h diskHost) StartDaemon(d time.Duration) { h.After(d, h.startDisk) }

// LoseEngine ends the cluster engine.
func (h diskHost) LoseEngine() { h.loseEngine() }

// LeaveCluster ends it in order; a person or systemd starts it again.
func (h diskHost) LeaveCluster() {
	if !h.power || !h.engine || h.w.sim.Frozen(h.id) {
		return
	}
	h.w.line(h.id, true, rgm.LevelInfo, "%s leaves the cluster", h.name)
	h.engine = false
	h.w.sim.Stop(h.id)
	h.engineEnded()
}

// Reboot takes the machine down at once; it comes back.
func (h diskHost) Reboot(reason string) {
	h.off("its qdiskd reboots it: " + reason)
	h.bootLater()
}

// Publish tells fenced who is master; it asks about once a second.
func (h diskHost) Publish(r quorumdisk.Report) {
	h.After(time.Duration(h.w.disk.Rand.Int64N(int64(time.Second))), func() {
		if d := h.fenced; d != nil && !d.dead {
			d.step(fencing.QuorumDisk{Master: cluster.NodeID(r.Master)})
		}
	})
}

// startDaemons starts what goes with the engine, each a moment later.
func (h *host) startDaemons() {
	if h.w.fences != nil {
		h.After(h.w.upTo(300*time.Millisecond), h.startFenced)
	}
	if h.w.disk != nil {
		h.After(h.w.upTo(300*time.Millisecond), h.startDisk)
	}
}

// startDisk starts qdiskd on a host.
func (h *host) startDisk() {
	if h.w.disk == nil || h.qdiskd != nil || !h.power || !h.engine {
		return
	}
	e, err := h.w.sim.Engine(h.id)
	if err != nil {
		return
	}
	h.qdiskd = &qdaemon{h: h, engine: e}
	if h.qdiskd.core, err = h.w.disk.Member(h.id).Start(h.qdiskd, e); err != nil {
		h.qdiskd.end() // the engine is ending; it comes with the next one
	}
}

// end ends the process; nil is none.
func (q *qdaemon) end() {
	if q != nil && !q.dead {
		q.dead = true
		q.h.qdiskd = nil
	}
}

// Alive says that it runs, frozen or not.
func (q *qdaemon) Alive() bool { return !q.dead }

// After has do called in d if the process is alive by then.
func (q *qdaemon) After(d time.Duration, do func()) {
	q.h.After(d, func() {
		if !q.dead {
			do()
		}
	})
}

// Exit ends it without a word.
func (q *qdaemon) Exit() {
	if !q.dead {
		q.end()
		q.h.w.sim.Kill(q.engine)
	}
}

// Log is a line of its log.
func (q *qdaemon) Log(l quorumdisk.Log) {
	level := slog.LevelError
	switch {
	case l.Level > quorumdisk.Info:
		return
	case l.Level > quorumdisk.Warning:
		level = rgm.LevelInfo
	case l.Level == quorumdisk.Warning:
		level = slog.LevelWarn
	}
	q.h.w.line(q.h.id, false, level, "qdiskd: %s", l.Text)
}

// shortestLull is longer than what a cluster needs after a fault; see lullFor.
const shortestLull = 3 * time.Minute

// lullFor is how long nothing happens before the rest of a time in which all is
// well is passed over: with a quorum disk every second of it costs. What
// rgmanager remembers of restarts must be over by then.
func lullFor(c *clusterconf.Config) time.Duration {
	d := shortestLull
	var look func(*xmldoc.Element)
	look = func(e *xmldoc.Element) {
		for _, name := range []string{"restart_expire_time", "__restart_expire_time", "__failure_expire_time"} {
			d = max(d, time.Duration(restree.ParseTime(e.Get(name)))*time.Second)
		}
		for _, child := range e.Elements() {
			look(child)
		}
	}
	look(c.Doc.Root)
	return d
}

func (w *world) lull() time.Duration { return lullFor(w.cfg.Conf) }

// pass passes the rest of a time without faults over, as soon as all is well:
// everything stands still, but for the clock of the story.
func (w *world) pass(left time.Duration, end time.Duration) {
	const again = 10 * time.Second
	switch {
	case left > again && !w.well():
		w.sim.After(again, func() { w.pass(left-again, end) })
	case left > again:
		left = min(left, end-w.elapsed())
		w.line(0, true, rgm.LevelInfo, "nothing happens for %v", left.Round(time.Second))
		w.skipped += left
		w.nextFault(end)
	default:
		w.sim.After(left, func() { w.nextFault(end) })
	}
}

// settle lets the cluster become well. With a disk it goes on only as long as it
// is not, once people have done what they do then.
func (w *world) settle() {
	end := w.elapsed() + w.cfg.Settle
	if w.disk == nil {
		w.run(end)
		return
	}
	const people, again = 5 * time.Minute, 10 * time.Second
	w.run(min(w.elapsed()+people, end))
	for w.elapsed() < end && !w.well() {
		w.run(min(w.elapsed()+again, end))
	}
}

// well says that nothing is wrong and nothing under way.
func (w *world) well() bool {
	if w.parted || w.sim.Now() < w.fenceBad || w.disk.Faulty() || w.disk.Settled() != "" {
		return false
	}
	return !slices.ContainsFunc(w.hosts, func(h *host) bool { return !h.well() })
}

func (h *host) well() bool {
	if !h.power || !h.engine || h.w.sim.Frozen(h.id) || h.shooting || h.proc == nil || len(h.proc.runs) > 0 || !h.proc.core.Ready() || !h.proc.quorate {
		return false
	}
	if h.w.fences != nil {
		if h.fenced == nil {
			return false
		}
		if in := h.fenced.core.Info(); !in.Current || in.Stale || len(in.Members) != len(h.w.hosts) || len(in.Victims) > 0 || in.Wait != fencing.WaitNone {
			return false
		}
	}
	for _, c := range h.parts {
		if c != up {
			return false
		}
	}
	return !slices.ContainsFunc(h.proc.core.Status().Services, func(s rgm.ServiceStatus) bool {
		return s.State != rgm.Started && s.State != rgm.Failed && s.State != rgm.Disabled
	})
}
