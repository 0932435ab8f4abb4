package whatif

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/haobox/haobox/internal/cluster"
	"github.com/haobox/haobox/internal/fencing"
	"github.com/haobox/haobox/internal/quorumdisk"
	"github.com/haobox/haobox/internal/quorumdisk/disksim"
)

// Qdiskd is the Part of the quorum disk: the core of qdiskd on every node, and
// the disk of package disksim that they share.
type Qdiskd struct{ *disksim.Cluster }

// diskConf writes the elements of cluster.conf that make a quorum disk which
// leaves a last man standing, and returns the token that goes with it.
func diskConf(scn Scn) (text string, token time.Duration) {
	r := rand.New(rand.NewPCG(scn.Seed, 2))
	flag := func(set bool) int { return bit(set) }
	tko := 4 + r.IntN(3)
	up := max(2, tko/3)
	upgrade, master := 1+r.IntN(2), max(tko/2, up+1)
	token = max(10, time.Duration(tko+upgrade+master+1)) * time.Second
	errs := 0
	if r.IntN(6) == 0 {
		errs = 3
	}
	text = fmt.Sprintf("<cman expected_votes=\"%d\" quorum_dev_poll=\"%d\"/>\n", 2*scn.Nodes-1, token.Milliseconds())
	text += fmt.Sprintf("<quorumd label=\"whatif\" interval=\"1\" tko=\"%d\" tko_up=\"%d\" upgrade_wait=\"%d\" master_wait=\"%d\" votes=\"%d\" "+
		"reboot=\"%d\" allow_kill=\"%d\" io_timeout=\"%d\" paranoid=\"%d\" stop_cman=\"%d\" max_error_cycles=\"%d\" master_wins=\"%d\"/>\n",
		tko, up, upgrade, master, scn.Nodes-1, flag(r.IntN(4) > 0), flag(r.IntN(4) > 0), flag(r.IntN(4) == 0), flag(r.IntN(8) == 0),
		flag(r.IntN(8) == 0), errs, flag(scn.Nodes == 2 && r.IntN(2) == 0))
	return text, token
}

// diskSpan is the longest time of a fault of the disk, around the limits in
// which the nodes reckon; slowest is the longest call of a slow one.
const (
	diskSpan = 25 * time.Second
	slowest  = 8 * time.Second
)

func newQdiskd(w *World) (*Qdiskd, error) {
	q := &Qdiskd{&disksim.Cluster{Sim: w.Sim, Disk: disksim.NewDisk(w.Sim, rand.New(rand.NewPCG(w.Scn.Seed, 3))), Rand: w.Rand, Span: diskSpan, Slowest: slowest,
		Trace: w.Trace, Violate: w.Violate, Mended: func() bool { return w.Mended }}}
	for _, m := range w.Machines {
		s, _, err := quorumdisk.Prepare(w.conf, int(m.ID))
		if err != nil {
			return nil, fmt.Errorf("the quorum disk: %w", err)
		}
		q.Add(m.ID, m.Name, s.Label, s, &diskHost{m, q})
	}
	return q, nil
}

// qdiskd is the Part of the quorum disk, or nil.
func (w *World) qdiskd() *Qdiskd {
	for _, p := range w.Parts {
		if q, is := p.(*Qdiskd); is {
			return q
		}
	}
	return nil
}

// Name returns "qdiskd".
func (*Qdiskd) Name() string { return "qdiskd" }

// Start opens the disk and joins the group.
func (q *Qdiskd) Start(p *Process) (Daemon, error) {
	return q.Members[p.Machine.ID-1].Start(diskLife{p}, p.Engine)
}

// diskLife is a Process as disksim wants it.
type diskLife struct{ *Process }

// Log is a line of the story.
func (l diskLife) Log(a quorumdisk.Log) { l.Trace("%s", a.Text) }

// diskHost is a Machine as disksim wants it.
type diskHost struct {
	*Machine
	q *Qdiskd
}

// Executes says that the machine runs and is not frozen.
func (h *diskHost) Executes() bool { return h.Running && !h.Frozen }

// Woke says that it has just been thawed.
func (h *diskHost) Woke() bool {
	return h.thawed != 0 && h.World.Sim.Now() <= h.thawed+disksim.RuleGrace
}

// Daemon is the qdiskd that runs, or nil.
func (h *diskHost) Daemon() *disksim.Daemon {
	d, _ := h.Machine.Daemon("qdiskd").(*disksim.Daemon)
	return d
}

// StartDaemon starts it in d, if the engine does not do so.
func (h *diskHost) StartDaemon(d time.Duration) {
	if h.Running && h.engine {
		h.after(d, func() { h.Machine.StartDaemon(h.q) })
	}
}

// LeaveCluster stops the engine; a person or systemd starts it again.
func (h *diskHost) LeaveCluster() {
	h.Machine.LeaveCluster()
	h.after(time.Duration(h.World.Rand.Int64N(int64(30*time.Second))), h.startEngine)
}

// Publish tells fenced of the same node who is master; it asks about once a
// second.
func (h *diskHost) Publish(r quorumdisk.Report) {
	h.after(time.Duration(h.World.Rand.Int64N(int64(time.Second))), func() {
		if f, _ := h.Machine.Daemon("fenced").(*FenceDaemon); f != nil {
			f.Step(fencing.QuorumDisk{Master: cluster.NodeID(r.Master)})
		}
	})
}

// justQuorate says that a machine had quorum so lately that its daemons may not
// know of the loss.
func (q *Qdiskd) justQuorate(id cluster.NodeID) bool { return q.Member(id).JustQuorate() }

// Fault disturbs the disk, ways to it, clocks, or the daemon of a machine.
func (q *Qdiskd) Fault(_ *World, m *Machine) { q.Cluster.Fault(q.Member(m.ID)) }

// Mend ends all that.
func (q *Qdiskd) Mend(*World) { q.Cluster.Mend() }

// Check looks whether the rules of the disk hold.
func (q *Qdiskd) Check(*World) { q.Cluster.Check() }

// beforeSplit prepares the split of two nodes: in some stories there is a master
// that both sides know, which is returned, and in others something happens to
// the disk about then. But one machine keeps all that it needs.
func (q *Qdiskd) beforeSplit(w *World) (master int) {
	m := w.Machines[w.Rand.IntN(len(w.Machines))]
	mine, last := q.Member(m.ID), time.Duration(w.Rand.Int64N(int64(diskSpan)))
	k := w.Rand.IntN(6)
	if k > 3 {
		// The lowest becomes master first; stopped in order, it is followed by
		// the other one, which stays it.
		if d := q.Members[0].Host.Daemon(); k == 5 && d != nil {
			w.run(30 * time.Second)
			d.Tell(quorumdisk.Stop{})
			w.run(30 * time.Second)
		}
		why := ""
		if !w.until(diskLimit, func() bool { why = q.Settled(); return why == "" || len(w.violations) > 0 }) {
			w.Violate("two nodes and a disk: %s", why)
		}
		w.run(3 * time.Second) // fenced knows it, on both
		if d := mine.Host.Daemon(); d != nil {
			return d.Master()
		}
		return 0
	}
	w.Sim.After(time.Duration(w.Rand.Int64N(int64(2*w.token))), func() {
		q.Stats.Faults++
		switch k {
		case 0, 1:
			w.Trace("%s loses its way to the disk: %s", m.Name, disksim.PathFails+disksim.Path(k))
			mine.Port.SetPath(disksim.PathFails + disksim.Path(k))
			w.Sim.After(last, func() { mine.Port.SetPath(disksim.PathGood) })
		case 2:
			mine.Kill(last)
		case 3:
			w.Trace("%s clock is stuck", m.Name)
			mine.Clock.Stuck = true
		}
	})
	return 0
}

// afterSplit holds a split against the rules of the quorum disk: the side with
// the master goes on, and with fence_race="qdisk" it is the first in the race.
func (q *Qdiskd) afterSplit(w *World, master int, split time.Duration) {
	if m := w.Machines[master-1]; !m.Running {
		w.Violate("%s had the master of the disk and did not survive the split", m.Name)
	}
	// The engine notices; post_fail_delay is up to 3 s, a node's delay up to
	// 4 s; who is second waits for a turn, which is longer than all that.
	noticed, first := w.token+w.token/5, 8*time.Second
	if began := w.fenced().began; w.Scn.Race == fencing.RaceQdisk && began > split+noticed+first {
		w.Violate("CNODE%d has the master of the disk and fences %v after the split: as if it came second", master, began-split)
	}
}

// diskLimit is how long after the cluster is well the disk may need: nodes that
// start, are found up, and the election.
const diskLimit = 5 * time.Minute

// End looks whether there is one master, whose votes count where they should.
func (q *Qdiskd) End(w *World) {
	if len(w.violations) > 0 || w.Scn.Split {
		return
	}
	why := ""
	if w.until(diskLimit, func() bool { why = q.Settled(); return why == "" || len(w.violations) > 0 }) {
		return
	}
	w.Violate("%v after the cluster was well: %s", diskLimit, why)
}
