// Package disksim runs the cores of several nodes on one simulated quorum disk
// and one simulated cluster (clustersim), in virtual time. Everything is decided
// by a seed, faults included: late, failing, hanging and torn I/O, a node that
// loses its way to the disk, all that lose it, clocks that stand still or jump,
// daemons and nodes that freeze and go on, crashes, partitions.
//
// After every step of a node it checks what must never be: that two nodes count the
// disk's votes in rings that have no node in common, and that somebody counts
// them without an evicted node whose own still count. When the faults have
// ended, one master must come of it. A node that was frozen and goes on is in a
// ring of long ago until its cluster manager sees it; that ring has nodes in
// common with the one of the others, and is what fencing is for.
//
// A vote counts as corosync counts it: given in the ring of the moment, because
// a new ring waits for a new vote, and for VoteTimeout.
package disksim

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/haobox/haobox/internal/cluster"
	"github.com/haobox/haobox/internal/cluster/clustersim"
	"github.com/haobox/haobox/internal/quorumdisk"
)

// Config describes a run.
type Config struct {
	Seed uint64
	// Nodes is 1 to 16.
	Nodes int
	// Quorumdisk is the configuration of all nodes; Node and Incarnation are
	// filled in.
	Quorumdisk quorumdisk.Config
	// DeviceVotes are the disk's; 0 means one less than there are nodes.
	DeviceVotes int
	// Trace gets a line for each thing that happens, if it is set.
	Trace func(line string)
}

// deviceName is the device's name towards the cluster.
const deviceName = "disk"

// World is a simulation. It is for one goroutine.
type World struct {
	Sim   *clustersim.Sim
	Nodes []*Node // by id-1
	cfg   Config
	rng   *rand.Rand
	Disk  *Disk
	// Broken are the invariants that were violated.
	Broken []string
}

// Node is a machine with its daemon.
type Node struct {
	ID int
	// Core is nil while the daemon does not run.
	Core *quorumdisk.Core
	// Report is the last one of the daemon.
	Report quorumdisk.Report
	// Port is its way to the disk, Clock its wall clock.
	Port  *Port
	Clock *Clock

	w       *World
	life    int
	engine  cluster.Engine
	frozen  bool // the daemon alone
	backlog []func()
	timer   int

	registered bool
	cast       bool
	castRing   cluster.RingID
	castAt     time.Duration
}

// New builds a world in which no node runs.
func New(cfg Config) *World {
	votes := cfg.DeviceVotes
	if votes == 0 {
		votes = max(cfg.Nodes-1, 1)
	}
	c := clustersim.Config{Seed: cfg.Seed, DeviceVotes: votes, DeviceTimeout: cfg.Quorumdisk.VoteTimeout}
	w := &World{cfg: cfg, rng: rand.New(rand.NewPCG(cfg.Seed, 0x7164697364))}
	for id := 1; id <= cfg.Nodes; id++ {
		c.Nodes = append(c.Nodes, clustersim.NodeConfig{ID: cluster.NodeID(id), Name: fmt.Sprint("n", id)})
	}
	w.Sim = clustersim.New(c)
	w.Disk = NewDisk(w.Sim, w.rng)
	for id := 1; id <= cfg.Nodes; id++ {
		w.Nodes = append(w.Nodes, &Node{ID: id, w: w, Port: w.Disk.Port(), Clock: NewClock(w.Sim)})
	}
	return w
}

func (w *World) tracef(format string, args ...any) {
	if w.cfg.Trace != nil {
		w.cfg.Trace(fmt.Sprintf("%10.3f ", w.Sim.Now().Seconds()) + fmt.Sprintf(format, args...))
	}
}

// Jump sets the node's wall clock forward or, with a negative number, back.
func (n *Node) Jump(seconds int64) {
	n.Clock.Jump(seconds)
	n.w.tracef("node %d: clock jumps by %d s", n.ID, seconds)
}

// Up boots a node with its daemon.
func (n *Node) Up() {
	if n.engine != nil {
		return
	}
	w := n.w
	w.tracef("node %d: up", n.ID)
	n.life++
	w.Sim.Start(cluster.NodeID(n.ID))
	e, err := w.Sim.Engine(cluster.NodeID(n.ID))
	if err != nil {
		w.broken("node %d: no engine: %v", n.ID, err)
		return
	}
	n.engine = e
	n.Launch()
}

// Launch starts the daemon of a node that is up.
func (n *Node) Launch() {
	if n.engine == nil || n.Core != nil {
		return
	}
	w := n.w
	cfg := w.cfg.Quorumdisk
	cfg.Node, cfg.Incarnation = n.ID, quorumdisk.Incarnation(n.Clock.Wall()+int64(n.life))
	n.Core, n.frozen, n.backlog, n.Report = quorumdisk.New(cfg), false, nil, quorumdisk.Report{}
	n.life++
	life := n.life
	n.Port.Open(func() bool { return n.life == life }, func(ev quorumdisk.Event, next func()) {
		n.tell(life, ev)
		next()
	})
	if _, err := n.engine.Watch(func(ev cluster.Event) {
		switch ev := ev.(type) {
		case cluster.Membership:
			var m quorumdisk.Mask
			for _, id := range ev.Members {
				m = m.With(int(id))
			}
			n.tell(life, quorumdisk.Members{Ring: quorumdisk.Ring{Node: uint32(ev.Ring.Node), Seq: ev.Ring.Seq}, Nodes: m})
		case cluster.Lost:
			n.event(life, func() { n.engineLost() })
		}
	}); err != nil {
		n.engineLost()
		return
	}
	w.Sim.After(10*time.Millisecond, func() { n.tell(life, quorumdisk.Start{}) })
}

// engineLost: the cluster manager is gone, and the daemon goes with it; so does
// the node, soon.
func (n *Node) engineLost() {
	n.w.tracef("node %d: engine lost", n.ID)
	n.Down()
}

// Down crashes a node.
func (n *Node) Down() {
	if n.engine == nil {
		return
	}
	n.w.tracef("node %d: down", n.ID)
	n.w.Sim.Crash(cluster.NodeID(n.ID))
	n.engine, n.Core = nil, nil
	n.life++
	n.registered, n.cast = false, false
	n.frozen = false
	life := n.life
	n.w.Sim.After(time.Duration(5+n.w.rng.IntN(40))*time.Second, func() {
		if n.life == life {
			n.Up()
		}
	})
}

// exit ends the daemon alone. The cluster counts what it said last.
func (n *Node) exit(why string) {
	n.w.tracef("node %d: daemon ends: %s", n.ID, why)
	n.Core = nil
	n.life++
}

// event calls do in the daemon, later if it is frozen.
func (n *Node) event(life int, do func()) {
	if n.life != life {
		return
	}
	if n.frozen || n.w.Sim.Frozen(cluster.NodeID(n.ID)) {
		n.backlog = append(n.backlog, func() { n.event(life, do) })
		return
	}
	do()
}

func (n *Node) tell(life int, ev quorumdisk.Event) { n.event(life, func() { n.step(ev) }) }

// FreezeDaemon stops the daemon alone; Freeze the whole node.
func (n *Node) FreezeDaemon() { n.w.tracef("node %d: daemon frozen", n.ID); n.frozen = true }

// Freeze stops the node.
func (n *Node) Freeze() {
	if n.engine != nil {
		n.w.tracef("node %d: frozen", n.ID)
		n.w.Sim.Freeze(cluster.NodeID(n.ID))
	}
}

// Thaw lets node and daemon go on.
func (n *Node) Thaw() {
	if n.engine != nil && n.w.Sim.Frozen(cluster.NodeID(n.ID)) {
		n.w.tracef("node %d: thawed", n.ID)
		n.w.Sim.Thaw(cluster.NodeID(n.ID))
	}
	n.frozen = false
	all := n.backlog
	n.backlog = nil
	for _, do := range all {
		do()
	}
}

// step tells the core something and does what it wants.
func (n *Node) step(ev quorumdisk.Event) {
	if n.Core == nil {
		return
	}
	w, life := n.w, n.life
	defer w.check()
	for _, a := range n.Core.Step(quorumdisk.Time{Mono: w.Sim.Now(), Wall: n.Clock.Wall()}, ev) {
		switch a := a.(type) {
		case quorumdisk.ReadDisk:
			n.Port.Read()
		case quorumdisk.WriteBlock:
			n.Port.Write(a)
		case quorumdisk.SetTimer:
			n.timer++
			timer := n.timer
			w.Sim.At(a.At, func() {
				n.event(life, func() {
					if n.timer == timer {
						n.step(quorumdisk.Timer{})
					}
				})
			})
		case quorumdisk.Poll:
			if !n.poll(a) {
				n.engineLost()
				return
			}
		case quorumdisk.Register:
			if err := n.engine.(cluster.Device).RegisterDevice(context.Background(), deviceName); err != nil {
				n.engineLost()
				return
			}
			n.registered = true
			w.Sim.After(time.Millisecond, func() { n.tell(life, quorumdisk.Registered{}) })
		case quorumdisk.Unregister:
			n.registered, n.cast = false, false
			if err := n.engine.(cluster.Device).UnregisterDevice(context.Background(), deviceName); err != nil {
				n.engineLost()
				return
			}
		case quorumdisk.Kill:
			_ = n.engine.(cluster.Admin).Kill(context.Background(), cluster.NodeID(a.Node), "evicted") // it may be gone already
		case quorumdisk.Announce:
			for _, o := range w.Nodes {
				if o != n && o.engine != nil && slices.Equal(w.ringOf(o), w.ringOf(n)) {
					o.tell(o.life, quorumdisk.PeerHung{Node: n.ID, Call: a.Call})
				}
			}
		case quorumdisk.Log:
			w.tracef("node %d: %s", n.ID, a.Text)
		case quorumdisk.Publish:
			n.Report = a.Report
		case quorumdisk.Reboot:
			w.tracef("node %d: reboot: %s", n.ID, a.Reason)
			n.Down()
			return
		case quorumdisk.Exit:
			n.exit(a.Reason)
			return
		case quorumdisk.LeaveCluster:
			w.Sim.Stop(cluster.NodeID(n.ID))
		}
	}
}

// poll gives a vote and reports whether there is a cluster to give it to.
func (n *Node) poll(p quorumdisk.Poll) bool {
	ring := cluster.RingID{Node: cluster.NodeID(p.Ring.Node), Seq: p.Ring.Seq}
	err := n.engine.(cluster.Device).PollDevice(context.Background(), deviceName, p.Cast, ring)
	switch {
	case err == nil:
		if n.cast != p.Cast || n.castRing != ring {
			n.w.tracef("node %d: votes %v in ring %v", n.ID, p.Cast, ring)
		}
		n.cast, n.castRing, n.castAt = p.Cast, ring, n.w.Sim.Now()
	case errors.Is(err, cluster.ErrLost):
		return false
	case !errors.Is(err, cluster.ErrWrongRing):
		n.w.broken("node %d: poll: %v", n.ID, err)
	}
	return true
}

// SetPath changes a node's way to the disk. Calls that hung go on.
func (n *Node) SetPath(p Path) {
	n.w.tracef("node %d: way to the disk: %s", n.ID, p)
	n.Port.SetPath(p)
}

// ringOf are the members of the node's ring.
func (w *World) ringOf(n *Node) []cluster.NodeID {
	_, members := w.Sim.Ring(cluster.NodeID(n.ID))
	return members
}

// counts reports whether the disk's votes count on the node.
func (n *Node) counts() bool {
	if n.engine == nil || !n.registered || !n.cast || n.w.Sim.Now() >= n.castAt+n.w.cfg.Quorumdisk.VoteTimeout {
		return false
	}
	if n.w.Sim.Frozen(cluster.NodeID(n.ID)) {
		return false // it does nothing
	}
	ring, _ := n.w.Sim.Ring(cluster.NodeID(n.ID))
	return ring == n.castRing
}

func (w *World) broken(format string, args ...any) {
	text := fmt.Sprintf("at %.3f s: ", w.Sim.Now().Seconds()) + fmt.Sprintf(format, args...)
	w.tracef("BROKEN %s", text)
	w.Broken = append(w.Broken, text)
}

// check looks at the invariants. A vote begins to count only in a step.
func (w *World) check() {
	voters := make([]*Node, 0, quorumdisk.MaxNodes)
	for _, n := range w.Nodes {
		if n.cast && n.counts() {
			voters = append(voters, n)
		}
	}
	for i, a := range voters {
		for _, b := range voters[i+1:] {
			ra, rb := w.ringOf(a), w.ringOf(b)
			seesB, seesA := slices.Contains(ra, cluster.NodeID(b.ID)), slices.Contains(rb, cluster.NodeID(a.ID))
			switch {
			case !slices.ContainsFunc(ra, func(id cluster.NodeID) bool { return slices.Contains(rb, id) }):
				w.broken("the disk's votes count on node %d in %v and on node %d in %v", a.ID, ra, b.ID, rb)
			case a.Core != nil && b.Core != nil && (!seesB && a.Core.Evicted(b.ID) || !seesA && b.Core.Evicted(a.ID)):
				w.broken("the disk's votes count on nodes %d in %v and %d in %v, and one of them has evicted the other", a.ID, ra, b.ID, rb)
			}
		}
	}
}

// Run runs for a time and stops at the first violation.
func (w *World) Run(d time.Duration) {
	w.Sim.Until(d, func() bool { return len(w.Broken) > 0 })
}

// faults are what Chaos does to a node, or to all.
const faults = 14

// Chaos lets faults happen for a time, some of them at once, and runs it.
func (w *World) Chaos(d time.Duration) {
	for at := time.Duration(0); at < d; at += time.Duration(w.rng.Int64N(int64(20 * time.Second))) {
		w.Sim.After(at, w.fault)
	}
	w.Run(d)
}

func (w *World) fault() {
	n := w.Nodes[w.rng.IntN(len(w.Nodes))]
	// Around the limits in which the nodes reckon.
	span := time.Duration(w.rng.Int64N(int64(25 * time.Second)))
	later := func(do func()) { w.Sim.After(span, do) }
	switch w.rng.IntN(faults) {
	case 0:
		n.Down()
	case 1:
		n.Freeze()
		later(n.Thaw)
	case 2:
		n.FreezeDaemon()
		later(n.Thaw)
	case 3:
		n.SetPath(PathFails)
		later(func() { n.SetPath(PathGood) })
	case 4:
		n.SetPath(PathHangs)
		later(func() { n.SetPath(PathGood) })
	case 5: // all of them
		p := PathFails + Path(w.rng.IntN(2))
		for _, n := range w.Nodes {
			n.SetPath(p)
		}
		later(func() {
			for _, n := range w.Nodes {
				n.SetPath(PathGood)
			}
		})
	case 6:
		w.tracef("slow disk")
		w.Disk.Slow = time.Duration(w.rng.Int64N(int64(8*time.Second))) + 1
		later(func() { w.Disk.Slow = Brisk })
	case 7:
		w.tracef("torn writes")
		w.Disk.Torn = w.rng.Float64() / 2
		later(func() { w.Disk.Torn = 0 })
	case 8, 9:
		var a, b []cluster.NodeID
		for _, n := range w.Nodes {
			if w.rng.IntN(2) == 0 {
				a = append(a, cluster.NodeID(n.ID))
			} else {
				b = append(b, cluster.NodeID(n.ID))
			}
		}
		w.tracef("partition %v | %v", a, b)
		w.Sim.Partition(a, b)
		w.Sim.After(2*span, w.Sim.Heal)
	case 10:
		n.Clock.Stuck = true
		w.tracef("node %d: clock stuck", n.ID)
		later(func() { n.Clock.Stuck = false })
	case 11:
		n.Jump(w.rng.Int64N(7200) - 3600)
	case 12: // the daemon is stopped in order, and comes back
		if n.Core != nil {
			n.tell(n.life, quorumdisk.Stop{})
			later(n.Launch)
		}
	case 13: // the daemon is killed, or its score falls
		if w.rng.IntN(2) == 0 {
			if n.Core != nil {
				n.exit("killed")
				later(n.Launch)
			}
			break
		}
		n.tell(n.life, quorumdisk.Score{Score: 0, Max: 1})
		later(func() { n.tell(n.life, quorumdisk.Score{Score: 1, Max: 1}) })
	}
}

// Quiet ends all faults: paths, clocks, partitions, freezes; nodes that are
// down are booted.
func (w *World) Quiet() {
	w.tracef("quiet")
	w.Disk.Slow, w.Disk.Torn = 20*time.Millisecond, 0
	w.Sim.Heal()
	for _, n := range w.Nodes {
		n.Clock.Stuck = false
		n.SetPath(PathGood)
		n.Thaw()
		if n.engine != nil && n.Core == nil {
			n.Down()
		}
		n.Up()
	}
}

// Converged says why there is not exactly one master whose votes all nodes
// count, or nothing.
func (w *World) Converged() string {
	master := 0
	for _, n := range w.Nodes {
		switch {
		case n.Core == nil:
			return fmt.Sprintf("node %d: the daemon does not run", n.ID)
		case n.Report.Master == 0:
			return fmt.Sprintf("node %d sees no master", n.ID)
		case master != 0 && n.Report.Master != master:
			return fmt.Sprintf("node %d takes %d for the master, another one %d", n.ID, n.Report.Master, master)
		case n.counts() != (!w.cfg.Quorumdisk.MasterWins || n.Report.Master == n.ID):
			return fmt.Sprintf("node %d: votes count: %v", n.ID, n.counts())
		case len(w.ringOf(n)) != len(w.Nodes):
			return fmt.Sprintf("node %d is in the ring %v", n.ID, w.ringOf(n))
		}
		master = n.Report.Master
	}
	return ""
}
