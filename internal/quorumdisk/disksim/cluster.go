package disksim

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/haobox/haobox/internal/cluster"
	"github.com/haobox/haobox/internal/cluster/clustersim"
	"github.com/haobox/haobox/internal/quorumdisk"
)

// Host is a machine of the simulation around a Cluster.
type Host interface {
	// Executes says that it runs and is not frozen; Woke that it was thawed
	// within the last RuleGrace.
	Executes() bool
	Woke() bool
	// After has do called in d, in this life of the machine; while it is frozen
	// it waits.
	After(d time.Duration, do func())
	// Daemon is the one that runs, or nil; StartDaemon has it started in d.
	Daemon() *Daemon
	StartDaemon(d time.Duration)
	// LoseEngine ends its cluster engine, LeaveCluster in order; Reboot takes
	// it down at once.
	LoseEngine()
	LeaveCluster()
	Reboot(reason string)
	// Publish is what its qdiskd says to others of the same machine.
	Publish(quorumdisk.Report)
}

// Member is what a node has of the disk, over all its lives.
type Member struct {
	ID    cluster.NodeID
	Name  string
	Host  Host
	Setup quorumdisk.Setup
	Port  *Port
	Clock *Clock

	c *Cluster
	// quorate is when it was last seen with quorum.
	quorate time.Duration
	// fails and hangs are its heuristics that do so at the moment.
	fails, hangs []bool
}

// Cluster is a quorum disk with a qdiskd on every node, for simulations of whole
// clusters: the daemons, faults, and the rules of the disk. The fields are set
// before the first Add.
type Cluster struct {
	Sim *clustersim.Sim
	// Disk is the shared one, NewDisk.
	Disk *Disk
	// Rand is for faults and delays.
	Rand *rand.Rand
	// Span is the longest time of a fault, Slowest that of a call of a slow disk.
	Span, Slowest time.Duration
	// Trace writes a line of the story, Violate says that a rule was broken.
	Trace, Violate func(format string, args ...any)
	// Mended says that faults are over.
	Mended  func() bool
	Members []*Member
	Stats   Stats

	name   string // of the device
	voters []voter
}

// Stats counts what happened.
type Stats struct {
	// Faults of the disk; kills of daemons; masters that were elected; notices of
	// eviction.
	Faults    int `json:"faults"`
	Kills     int `json:"kills"`
	Masters   int `json:"masters"`
	Evictions int `json:"evictions"`
}

// Add adds another simulation's counts.
func (s *Stats) Add(o Stats) {
	s.Faults, s.Kills, s.Masters, s.Evictions = s.Faults+o.Faults, s.Kills+o.Kills, s.Masters+o.Masters, s.Evictions+o.Evictions
}

// RuleGrace is how long the news of a change may be on its way inside a node
// and between nodes before a rule is broken; the simulated engine needs a few
// milliseconds.
const RuleGrace = 30 * time.Millisecond

// Add adds a node. name is the disk's towards the cluster.
func (c *Cluster) Add(id cluster.NodeID, node, name string, s quorumdisk.Setup, h Host) *Member {
	m := &Member{ID: id, Name: node, Host: h, Setup: s, Port: c.Disk.Port(), Clock: NewClock(c.Sim), c: c,
		fails: make([]bool, len(s.Heuristics)), hangs: make([]bool, len(s.Heuristics))}
	c.name = name
	c.Members = append(c.Members, m)
	return m
}

// Member returns a node, or nil.
func (c *Cluster) Member(id cluster.NodeID) *Member {
	for _, m := range c.Members {
		if m.ID == id {
			return m
		}
	}
	return nil
}

// Check is the rules of the disk: its votes never count, and nobody has quorum,
// in two parts of the cluster; and where they count without a node that was
// evicted, that node is down or silent: they do not count there. A frozen
// node does nothing; when it goes on it is in a ring of long ago, which has
// nodes in common with the others', until its engine and qdiskd have looked:
// RuleGrace.
func (c *Cluster) Check() {
	c.voters = c.voters[:0]
	for _, m := range c.Members {
		if quorate, votes := m.votes(); quorate || votes {
			if quorate {
				m.quorate = c.Sim.Now()
			}
			id, ring := c.Sim.Ring(m.ID)
			c.voters = append(c.voters, voter{m, quorate, votes, id, ring})
		}
	}
	for i := range c.voters {
		for j := range c.voters[i+1:] {
			if a, b := &c.voters[i], &c.voters[i+1+j]; a.id != b.id && !slices.Equal(a.ring, b.ring) {
				c.compare(a, b)
			}
		}
	}
}

// voter is a member for which the votes of the disk count, or that has quorum.
type voter struct {
	*Member
	quorate, votes bool
	id             cluster.RingID
	ring           []cluster.NodeID
}

// compare looks at two of them in different rings.
func (c *Cluster) compare(a, b *voter) {
	apart := !slices.ContainsFunc(a.ring, func(id cluster.NodeID) bool { return slices.Contains(b.ring, id) })
	switch {
	case apart && a.votes && b.votes:
		c.Violate("the disk's votes count on %s in %v and on %s in %v", a.Name, a.ring, b.Name, b.ring)
	case apart && a.quorate && b.quorate:
		c.Violate("%s in %v and %s in %v have quorum", a.Name, a.ring, b.Name, b.ring)
	case a.votes && b.votes && !a.Host.Woke() && !b.Host.Woke() && (a.without(b.Member, a.ring) || b.without(a.Member, b.ring)):
		c.Violate("the disk's votes count on %s in %v and on %s in %v, and one has evicted the other", a.Name, a.ring, b.Name, b.ring)
	}
}

// without says that a node goes on in its ring without another one that it has
// evicted.
func (m *Member) without(o *Member, ring []cluster.NodeID) bool {
	d := m.Host.Daemon()
	return d != nil && d.core.Evicted(int(o.ID)) && !slices.Contains(ring, o.ID)
}

// JustQuorate says that a node had quorum so lately that its daemons may not
// know of the loss.
func (m *Member) JustQuorate() bool {
	return m.quorate != 0 && m.c.Sim.Now() <= m.quorate+RuleGrace
}

// votes are what a machine that executes instructions has.
func (m *Member) votes() (quorate, device bool) {
	if !m.Host.Executes() {
		return false, false
	}
	return m.c.Sim.Votes(m.ID)
}

// Fault disturbs the disk, ways to it, clocks, or the daemon of a node.
func (c *Cluster) Fault(m *Member) {
	if c.Mended() {
		return
	}
	c.Stats.Faults++
	r, d := c.Rand, m.Host.Daemon()
	last := time.Duration(r.Int64N(int64(c.Span)))
	later := func(do func()) {
		c.Sim.After(last, func() {
			if !c.Mended() {
				do()
			}
		})
	}
	switch k := r.IntN(14); {
	case k < 4:
		path := PathFails + Path(k%2)
		c.Trace("%s loses its way to the disk: %s", m.Name, path)
		m.Port.SetPath(path)
		later(func() { m.Port.SetPath(PathGood) })
	case k == 4:
		path := PathFails + Path(r.IntN(2))
		c.Trace("all lose their way to the disk: %s", path)
		c.all(path)
		later(func() { c.all(PathGood) })
	case k == 5:
		c.Disk.Slow = 1 + time.Duration(r.Int64N(int64(c.Slowest)))
		c.Trace("the disk is slow: %v", c.Disk.Slow)
		later(func() { c.Disk.Slow = Brisk })
	case k == 6:
		c.Trace("writes are torn")
		c.Disk.Torn = r.Float64() / 2
		later(func() { c.Disk.Torn = 0 })
	case k < 9:
		c.Trace("%s clock is stuck", m.Name)
		m.Clock.Wall()
		m.Clock.Stuck = true
		later(func() { m.Clock.Stuck = false })
	case k == 9:
		by := r.Int64N(7200) - 3600
		c.Trace("%s clock jumps by %d s", m.Name, by)
		m.Clock.Jump(by)
	case d == nil || !m.Host.Executes():
	case k == 10:
		m.Kill(last)
	case k == 11:
		c.Trace("%s qdiskd gets SIGSTOP", m.Name)
		d.stopped = true
		d.life.After(last, d.proceed)
	case k == 12:
		c.Trace("%s qdiskd is stopped in order", m.Name)
		d.Tell(quorumdisk.Stop{})
	default:
		c.failHeuristics(m, d, last)
	}
}

// failHeuristics has one fail or hang for a while; without any, the score alone
// is too low.
func (c *Cluster) failHeuristics(m *Member, d *Daemon, last time.Duration) {
	if len(m.fails) == 0 {
		c.Trace("%s heuristics fail", m.Name)
		d.Tell(quorumdisk.Score{Score: 0, Max: 1})
		d.life.After(last, func() { d.Tell(quorumdisk.Score{Score: 1, Max: 1}) })
		return
	}
	i, what, bad := c.Rand.IntN(len(m.fails)), "fails", m.fails
	if c.Rand.IntN(3) == 0 {
		what, bad = "hangs", m.hangs
	}
	c.Trace("%s heuristic '%s' %s", m.Name, m.Setup.Heuristics[i].Program, what)
	bad[i] = true
	c.Sim.After(last, func() { bad[i] = false })
}

// Kill ends the daemon of a node without a word; it is started again later.
func (m *Member) Kill(later time.Duration) {
	d := m.Host.Daemon()
	if d == nil {
		return
	}
	m.c.Trace("%s qdiskd is killed", m.Name)
	m.c.Stats.Kills++
	d.kill()
	m.Host.StartDaemon(later)
}

// all changes the way of all machines.
func (c *Cluster) all(path Path) {
	for _, m := range c.Members {
		m.Port.SetPath(path)
	}
}

// Mend makes disk, ways, clocks and heuristics good, and starts daemons.
func (c *Cluster) Mend() {
	c.Disk.Slow, c.Disk.Torn = Brisk, 0
	c.all(PathGood)
	for _, m := range c.Members {
		m.Clock.Stuck = false
		clear(m.fails)
		clear(m.hangs)
	}
	for _, m := range c.Members {
		if d := m.Host.Daemon(); d != nil {
			d.life.After(0, func() {
				d.proceed()
				if d.scores == nil {
					d.Tell(quorumdisk.Score{Score: 1, Max: 1})
				}
			})
		}
		m.Host.StartDaemon(time.Second)
	}
}

// Faulty says that a fault of the disk lasts.
func (c *Cluster) Faulty() bool {
	return c.Disk.Slow > Brisk || c.Disk.Torn > 0 || slices.ContainsFunc(c.Members, func(m *Member) bool {
		d := m.Host.Daemon()
		return m.Port.path != PathGood || m.Clock.Stuck || slices.Contains(m.fails, true) || slices.Contains(m.hangs, true) || d == nil || d.stopped
	})
}

// Settled says why there is not one master that all know, or nothing.
func (c *Cluster) Settled() string {
	master := 0
	for _, m := range c.Members {
		d := m.Host.Daemon()
		switch {
		case d == nil:
			return m.Name + " has no qdiskd"
		case d.report.Master == 0:
			return m.Name + " sees no master"
		case master != 0 && d.report.Master != master:
			return fmt.Sprintf("%s takes %d for the master, others %d", m.Name, d.report.Master, master)
		}
		master = d.report.Master
		if _, votes := m.votes(); votes != (!m.Setup.MasterWins || master == int(m.ID)) {
			return fmt.Sprintf("%s: the disk's votes count: %v", m.Name, votes)
		}
	}
	return ""
}
