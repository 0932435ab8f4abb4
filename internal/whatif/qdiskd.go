package whatif

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/haobox/haobox/internal/cluster"
	"github.com/haobox/haobox/internal/fencing"
	"github.com/haobox/haobox/internal/quorumdisk"
	"github.com/haobox/haobox/internal/quorumdisk/disksim"
)

// Qdiskd is the Part of the quorum disk: the core of qdiskd on every node, and
// the disk of package disksim that they share.
type Qdiskd struct {
	disk *disksim.Disk
	// setups, ports and clocks are those of the machines, by node id-1.
	setups []quorumdisk.Setup
	ports  []*disksim.Port
	clocks []*disksim.Clock
	rand   *rand.Rand
	name   string // of the device
	// quorate is when each machine was last seen with quorum.
	quorate []time.Duration
}

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

func newQdiskd(w *World) *Qdiskd {
	q := &Qdiskd{quorate: make([]time.Duration, len(w.Machines)), rand: rand.New(rand.NewPCG(w.Scn.Seed, 3))}
	q.disk = disksim.NewDisk(w.Sim, q.rand)
	for _, m := range w.Machines {
		s, _, err := quorumdisk.Prepare(w.conf, int(m.ID))
		if err != nil {
			panic("whatif: the quorum disk: " + err.Error()) // a mistake in diskConf
		}
		q.name = s.Label
		q.setups, q.ports, q.clocks = append(q.setups, s), append(q.ports, q.disk.Port()), append(q.clocks, disksim.NewClock(w.Sim))
	}
	return q
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

// DiskDaemon is a life of qdiskd.
type DiskDaemon struct {
	part    *Qdiskd
	p       *Process
	core    *quorumdisk.Core
	group   cluster.Group
	report  quorumdisk.Report
	timer   int
	over    bool
	stopped bool // by SIGSTOP, the daemon alone
	backlog []func()
}

// diskGroup is the group in which the daemons talk of hung calls.
const diskGroup = "haobox:qdiskd"

// Start opens the disk and joins the group.
func (q *Qdiskd) Start(p *Process) Daemon {
	i, d := p.Machine.ID-1, &DiskDaemon{part: q, p: p}
	cfg := q.setups[i].Config
	cfg.Incarnation = quorumdisk.Incarnation(q.clocks[i].Wall()) // a stuck clock gives the same one again
	d.core = quorumdisk.New(cfg)
	q.ports[i].Open(p.Alive, func(ev quorumdisk.Event, next func()) {
		// A frozen node begins no call, but goes on with those that wait.
		p.After(0, func() {
			d.tell(ev)
			next()
		})
	})
	var err error
	if d.group, err = p.Engine.Join(diskGroup, func(ev cluster.Event) {
		if m, is := ev.(cluster.Message); is && p.alive && m.From != d.group.Self() {
			d.tell(quorumdisk.PeerHung{Node: int(m.From.Node), Call: quorumdisk.Call(binary.BigEndian.Uint32(m.Payload))})
		}
	}); err != nil {
		panic("whatif: join: " + err.Error()) // the engine was started a moment ago
	}
	if _, err = p.Engine.Watch(func(ev cluster.Event) {
		if m, is := ev.(cluster.Membership); is {
			var nodes quorumdisk.Mask
			for _, id := range m.Members {
				nodes = nodes.With(int(id))
			}
			d.tell(quorumdisk.Members{Ring: quorumdisk.Ring{Node: uint32(m.Ring.Node), Seq: m.Ring.Seq}, Nodes: nodes})
		}
	}); err != nil {
		panic("whatif: watch: " + err.Error())
	}
	p.After(10*time.Millisecond, func() { d.tell(quorumdisk.Start{}) })
	return d
}

// tell hands an event to the core, later if the daemon is stopped.
func (d *DiskDaemon) tell(ev quorumdisk.Event) {
	if d.stopped {
		d.backlog = append(d.backlog, func() { d.Step(ev) })
		return
	}
	d.Step(ev)
}

// proceed is SIGCONT.
func (d *DiskDaemon) proceed() {
	d.stopped = false
	late := d.backlog
	d.backlog = nil
	for _, do := range late {
		do()
	}
}

// Step hands an event to the core and does what it says.
func (d *DiskDaemon) Step(ev quorumdisk.Event) {
	p, w, i := d.p, d.p.Machine.World, d.p.Machine.ID-1
	if !p.alive || d.over {
		return
	}
	for _, a := range d.core.Step(quorumdisk.Time{Mono: w.Sim.Now(), Wall: d.part.clocks[i].Wall()}, ev) {
		if !d.act(a) || !p.alive {
			break
		}
	}
	d.part.Check(w)
}

// act does one thing and reports whether the next one may follow.
func (d *DiskDaemon) act(a quorumdisk.Action) bool {
	p, m, w := d.p, d.p.Machine, d.p.Machine.World
	port, device := d.part.ports[m.ID-1], d.p.Engine.(cluster.Device)
	ctx := context.Background()
	switch a := a.(type) {
	case quorumdisk.ReadDisk:
		port.Read()
	case quorumdisk.WriteBlock:
		if cluster.NodeID(a.Node) != m.ID {
			w.stats.Evictions++
		}
		port.Write(a)
	case quorumdisk.SetTimer:
		d.timer++
		timer := d.timer
		p.After(max(a.At-w.Sim.Now(), 0), func() {
			if d.timer == timer {
				d.tell(quorumdisk.Timer{})
			}
		})
	case quorumdisk.Poll:
		err := device.PollDevice(ctx, d.part.name, a.Cast, cluster.RingID{Node: cluster.NodeID(a.Ring.Node), Seq: a.Ring.Seq})
		if err != nil && !errors.Is(err, cluster.ErrWrongRing) {
			return d.failed("vote", err)
		}
	case quorumdisk.Register:
		if err := device.RegisterDevice(ctx, d.part.name); err != nil {
			return d.failed("register", err)
		}
		p.After(time.Millisecond, func() { d.tell(quorumdisk.Registered{}) })
	case quorumdisk.Unregister:
		if err := device.UnregisterDevice(ctx, d.part.name); err != nil {
			return d.failed("unregister", err)
		}
	case quorumdisk.Kill:
		target := w.Machine(cluster.NodeID(a.Node))
		p.Trace("kill %s: evicted", target.Name)
		if _, ring := w.Sim.Ring(m.ID); slices.Contains(ring, target.ID) {
			w.Sim.After(time.Millisecond, target.LoseEngine)
		}
	case quorumdisk.Announce:
		if err := d.group.Send(binary.BigEndian.AppendUint32(nil, uint32(a.Call))); err != nil {
			p.Trace("send: %v", err)
		}
	case quorumdisk.Log:
		if w.trace != nil {
			p.Trace("%s", a.Text)
		}
	case quorumdisk.Publish:
		d.publish(a.Report)
	case quorumdisk.Reboot:
		m.Reboot(a.Reason)
		return false
	case quorumdisk.LeaveCluster:
		m.LeaveCluster()
		// A person or systemd starts it again.
		m.after(time.Duration(w.Rand.Int64N(int64(30*time.Second))), m.startEngine)
		return false
	case quorumdisk.Exit:
		p.Trace("ends: %s", a.Reason)
		d.end()
		return false
	}
	return true
}

// failed is the end without a cluster to vote in.
func (d *DiskDaemon) failed(what string, err error) bool {
	if !errors.Is(err, cluster.ErrLost) {
		d.p.Machine.World.Violate("%s qdiskd: %s: %v", d.p.Machine.Name, what, err)
	}
	d.end()
	return false
}

// end ends the daemon; what runs it starts it again.
func (d *DiskDaemon) end() {
	m := d.p.Machine
	d.over = true
	d.p.After(0, d.p.Exit)
	m.after(time.Second+time.Duration(m.World.Rand.Int64N(int64(20*time.Second))), func() { m.StartDaemon(d.part) })
}

// publish tells fenced of the same node who is master; it asks about once a
// second.
func (d *DiskDaemon) publish(r quorumdisk.Report) {
	m := d.p.Machine
	if r.Master == r.Node && d.report.Master != r.Node {
		m.World.stats.Masters++
	}
	d.report = r
	m.after(time.Duration(m.World.Rand.Int64N(int64(time.Second))), func() {
		if f, _ := m.Daemon("fenced").(*FenceDaemon); f != nil {
			f.Step(fencing.QuorumDisk{Master: cluster.NodeID(r.Master)})
		}
	})
}

// Check is the rules of the disk: its votes never count, and nobody has quorum,
// in two parts of the cluster; and where they count without a node that was
// evicted, that node is down or silent: they do not count there. A frozen
// node does nothing; when it goes on it is in a ring of long ago, which has
// nodes in common with the others', until its engine and qdiskd have looked:
// ruleGrace.
func (q *Qdiskd) Check(w *World) {
	for i, a := range w.Machines {
		quorate, votes := w.votes(a)
		if quorate {
			q.quorate[i] = w.Sim.Now()
		}
		if !quorate && !votes {
			continue
		}
		_, ringA := w.Sim.Ring(a.ID)
		for _, b := range w.Machines[i+1:] {
			otherQuorate, otherVotes := w.votes(b)
			if !otherQuorate && !otherVotes {
				continue
			}
			_, ringB := w.Sim.Ring(b.ID)
			if slices.Equal(ringA, ringB) {
				continue
			}
			apart := !slices.ContainsFunc(ringA, func(id cluster.NodeID) bool { return slices.Contains(ringB, id) })
			switch {
			case apart && votes && otherVotes:
				w.Violate("the disk's votes count on %s in %v and on %s in %v", a.Name, ringA, b.Name, ringB)
			case apart && quorate && otherQuorate:
				w.Violate("%s in %v and %s in %v have quorum", a.Name, ringA, b.Name, ringB)
			case votes && otherVotes && !a.woke() && !b.woke() && (q.without(a, b, ringA) || q.without(b, a, ringB)):
				w.Violate("the disk's votes count on %s in %v and on %s in %v, and one has evicted the other", a.Name, ringA, b.Name, ringB)
			}
		}
	}
}

// without says that a machine goes on in its ring without another one that it
// has evicted.
func (q *Qdiskd) without(a, b *Machine, ring []cluster.NodeID) bool {
	d, _ := a.Daemon("qdiskd").(*DiskDaemon)
	return d != nil && d.core.Evicted(int(b.ID)) && !slices.Contains(ring, b.ID)
}

// woke says that a machine has just been thawed.
func (m *Machine) woke() bool { return m.thawed != 0 && m.World.Sim.Now() <= m.thawed+ruleGrace }

// justQuorate says that a machine had quorum so lately that its daemons may not
// know of the loss.
func (q *Qdiskd) justQuorate(w *World, id cluster.NodeID) bool {
	at := q.quorate[id-1]
	return at != 0 && w.Sim.Now() <= at+ruleGrace
}

// votes are what a machine that executes instructions has.
func (w *World) votes(m *Machine) (quorate, device bool) {
	if !m.Running || m.Frozen {
		return false, false
	}
	return w.Sim.Votes(m.ID)
}

// span is the longest time of a fault of the disk, around the limits in which
// the nodes reckon.
const span = 25 * time.Second

// Fault disturbs the disk, ways to it, clocks, or the daemon of a machine.
func (q *Qdiskd) Fault(w *World, m *Machine) {
	if w.Mended {
		return
	}
	w.stats.DiskFaults++
	i, r := m.ID-1, w.Rand
	d, _ := m.Daemon("qdiskd").(*DiskDaemon)
	last := time.Duration(r.Int64N(int64(span)))
	later := func(do func()) {
		w.Sim.After(last, func() {
			if !w.Mended {
				do()
			}
		})
	}
	switch k := r.IntN(14); {
	case k < 4:
		path := disksim.PathFails + disksim.Path(k%2)
		w.Trace("%s loses its way to the disk: %d", m.Name, path)
		q.ports[i].SetPath(path)
		later(func() { q.ports[i].SetPath(disksim.PathGood) })
	case k == 4:
		path := disksim.PathFails + disksim.Path(r.IntN(2))
		w.Trace("all lose their way to the disk: %d", path)
		q.all(path)
		later(func() { q.all(disksim.PathGood) })
	case k == 5:
		q.disk.Slow = 1 + time.Duration(r.Int64N(int64(8*time.Second)))
		w.Trace("the disk is slow: %v", q.disk.Slow)
		later(func() { q.disk.Slow = disksim.Brisk })
	case k == 6:
		w.Trace("writes are torn")
		q.disk.Torn = r.Float64() / 2
		later(func() { q.disk.Torn = 0 })
	case k < 9:
		w.Trace("%s clock is stuck", m.Name)
		q.clocks[i].Wall()
		q.clocks[i].Stuck = true
		later(func() { q.clocks[i].Stuck = false })
	case k == 9:
		by := r.Int64N(7200) - 3600
		w.Trace("%s clock jumps by %d s", m.Name, by)
		q.clocks[i].Jump(by)
	case d == nil || m.Frozen:
	case k == 10:
		w.Trace("%s qdiskd is killed", m.Name)
		w.stats.Kills++
		d.over = true
		d.p.Exit()
		m.after(last, func() { m.StartDaemon(q) })
	case k == 11:
		w.Trace("%s qdiskd gets SIGSTOP", m.Name)
		d.stopped = true
		d.p.After(last, d.proceed)
	case k == 12:
		w.Trace("%s qdiskd is stopped in order", m.Name)
		d.tell(quorumdisk.Stop{})
	default:
		w.Trace("%s heuristics fail", m.Name)
		d.tell(quorumdisk.Score{Score: 0, Max: 1})
		d.p.After(last, func() { d.tell(quorumdisk.Score{Score: 1, Max: 1}) })
	}
}

// all changes the way of all machines.
func (q *Qdiskd) all(path disksim.Path) {
	for _, p := range q.ports {
		p.SetPath(path)
	}
}

// beforeSplit prepares the split of two nodes: in some stories there is a master
// that both sides know, which is returned, and in others something happens to
// the disk about then. But one machine keeps all that it needs.
func (q *Qdiskd) beforeSplit(w *World) (master int) {
	m := w.Machines[w.Rand.IntN(len(w.Machines))]
	i, last := m.ID-1, time.Duration(w.Rand.Int64N(int64(span)))
	k := w.Rand.IntN(6)
	if k > 3 {
		// The lowest becomes master first; stopped in order, it is followed by
		// the other one, which stays it.
		if d, _ := w.Machines[0].Daemon("qdiskd").(*DiskDaemon); k == 5 && d != nil {
			w.run(30 * time.Second)
			d.tell(quorumdisk.Stop{})
			w.run(30 * time.Second)
		}
		why := ""
		if !w.until(diskLimit, func() bool { why = q.settled(w); return why == "" || len(w.violations) > 0 }) {
			w.Violate("two nodes and a disk: %s", why)
		}
		w.run(3 * time.Second) // fenced knows it, on both
		if d, _ := m.Daemon("qdiskd").(*DiskDaemon); d != nil {
			return d.report.Master
		}
		return 0
	}
	w.Sim.After(time.Duration(w.Rand.Int64N(int64(2*w.token))), func() {
		w.stats.DiskFaults++
		switch k {
		case 0, 1:
			w.Trace("%s loses its way to the disk: %d", m.Name, 1+k)
			q.ports[i].SetPath(disksim.PathFails + disksim.Path(k))
			w.Sim.After(last, func() { q.ports[i].SetPath(disksim.PathGood) })
		case 2:
			if d, _ := m.Daemon("qdiskd").(*DiskDaemon); d != nil {
				w.Trace("%s qdiskd is killed", m.Name)
				w.stats.Kills++
				d.over = true
				d.p.Exit()
				m.after(last, func() { m.StartDaemon(q) })
			}
		case 3:
			w.Trace("%s clock is stuck", m.Name)
			q.clocks[i].Stuck = true
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

// Mend makes disk, ways and clocks good, and starts daemons.
func (q *Qdiskd) Mend(w *World) {
	q.disk.Slow, q.disk.Torn = disksim.Brisk, 0
	q.all(disksim.PathGood)
	for _, c := range q.clocks {
		c.Stuck = false
	}
	for _, m := range w.Machines {
		if d, _ := m.Daemon("qdiskd").(*DiskDaemon); d != nil {
			d.p.After(0, func() {
				d.proceed()
				d.tell(quorumdisk.Score{Score: 1, Max: 1})
			})
		}
		if m.Running && m.engine {
			m.after(time.Second, func() { m.StartDaemon(q) })
		}
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
	if w.until(diskLimit, func() bool { why = q.settled(w); return why == "" || len(w.violations) > 0 }) {
		return
	}
	w.Violate("%v after the cluster was well: %s", diskLimit, why)
}

// settled says why there is not one master that all know, or nothing.
func (q *Qdiskd) settled(w *World) string {
	master := 0
	for i, m := range w.Machines {
		d, _ := m.Daemon("qdiskd").(*DiskDaemon)
		switch {
		case d == nil:
			return m.Name + " has no qdiskd"
		case d.report.Master == 0:
			return m.Name + " sees no master"
		case master != 0 && d.report.Master != master:
			return fmt.Sprintf("%s takes %d for the master, others %d", m.Name, d.report.Master, master)
		}
		master = d.report.Master
		if _, votes := w.votes(m); votes != (!q.setups[i].MasterWins || master == int(m.ID)) {
			return fmt.Sprintf("%s: the disk's votes count: %v", m.Name, votes)
		}
	}
	return ""
}
