package whatif

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/haobox/haobox/internal/cluster"
	"github.com/haobox/haobox/internal/fencing"
	"github.com/haobox/haobox/internal/quorumdisk/disksim"
)

// Fenced is the Part of the fence daemon.
type Fenced struct {
	cfg fencing.Config
	// lives says in which life of its node each instance of a daemon began, and
	// newest is the last instance of each node.
	lives  map[cluster.Member]int
	newest map[cluster.NodeID]uint32
	// vouched are lives that a person wrongly said were over.
	vouched map[life]bool
	// relied are the instances that were members for somebody: what relies on
	// fencing may have run beside them.
	relied map[cluster.Member]bool
	// left are the instances that were told to leave the domain.
	left     map[cluster.Member]bool
	attempts []*attempt
	// began is when the last attempt to fence began.
	began time.Duration
}

type life struct {
	node cluster.NodeID
	n    int
}

// Name returns "fenced".
func (*Fenced) Name() string { return "fenced" }

// FenceDaemon is a life of the fence daemon.
type FenceDaemon struct {
	part  *Fenced
	p     *Process
	core  *fencing.Core
	group cluster.Group
	// stopped are the members that it saw leave the group in order.
	stopped map[cluster.Member]bool
	// Exited says that the core wanted to.
	Exited    bool
	override  bool
	running   map[int]*attempt
	revision  uint64
	transfers uint64
	known     map[cluster.NodeID]known
	wasSelf   bool
	wake      time.Duration
}

// Core is the core, for other daemons to ask what its control socket would say.
func (d *FenceDaemon) Core() *fencing.Core { return d.core }

// known is what a daemon last said of a node.
type known struct {
	fencing.NodeView
	// life is that which must be over before the node may be called off; 0 for
	// no rule.
	life int
}

// attempt is an attempt to fence a node.
type attempt struct {
	d      *FenceDaemon
	victim *Machine
	kill   func()
	over   bool
}

// Start joins the group, and then the domain.
func (f *Fenced) Start(p *Process) (Daemon, error) {
	d := &FenceDaemon{part: f, p: p, running: map[int]*attempt{}, known: map[cluster.NodeID]known{}, stopped: map[cluster.Member]bool{}}
	step := func(ev cluster.Event) {
		if v, is := ev.(cluster.View); is {
			for _, c := range v.Left {
				if c.Reason == cluster.Left && d.known[c.Node].State == fencing.StateMember {
					d.stopped[c.Member] = true
				}
			}
		}
		if p.alive {
			d.Step(fencing.Cluster{Event: ev})
		}
	}
	var err error
	if d.group, err = p.Engine.Join(fencing.Group, step); err != nil {
		return nil, fmt.Errorf("join the group: %w", err)
	}
	self := d.group.Self()
	f.lives[self] = p.Machine.Life
	f.newest[self.Node] = self.Instance
	d.core = fencing.New(f.cfg, self)
	if _, err = p.Engine.Watch(step); err != nil {
		return nil, fmt.Errorf("watch the cluster: %w", err)
	}
	d.Step(fencing.Join{})
	return d, nil
}

// Step hands an event to the core and does what it says.
func (d *FenceDaemon) Step(ev fencing.Event) {
	p, w := d.p, d.p.Machine.World
	for _, a := range d.core.Step(p.Now(), ev) {
		switch a := a.(type) {
		case fencing.Send:
			if err := d.group.Send(a.Payload); err != nil {
				p.Trace("send: %v", err)
			}
		case fencing.Log:
			if w.trace != nil {
				p.Trace("%s", a.Text)
			}
		case fencing.Fence:
			d.fence(a)
		case fencing.Cancel:
			if at := d.running[a.Run]; at != nil {
				delete(d.running, a.Run)
				w.stats.Cancels++
				at.end()
			}
		case fencing.Override:
			d.override = a.Open
		case fencing.Kill:
			target := w.Machine(a.Node)
			p.Trace("kill %s: %s", target.Name, a.Reason)
			w.Sim.After(time.Millisecond, target.LoseEngine)
		case fencing.Unfence:
			p.After(0, func() { d.Step(fencing.Unfenced{Result: fencing.Result{OK: true}}) })
		case fencing.Exit:
			d.Exited = true
			p.Trace("exits: %v", a.Err)
			p.After(0, p.Exit)
		}
	}
	if at := d.core.Next(); !at.IsZero() {
		when := at.Sub(epoch)
		d.wake = when
		p.After(max(when-w.Sim.Now(), 0), func() {
			if d.wake == when {
				d.Step(fencing.Tick{})
			}
		})
	}
	if r := d.core.Revision(); r != d.revision {
		d.revision = r
		d.examine()
	}
}

func (a *attempt) end() {
	if a.over {
		return
	}
	a.over = true
	a.kill()
	f := a.d.part
	f.attempts = slices.DeleteFunc(f.attempts, func(o *attempt) bool { return o == a })
}

// fence begins an attempt: the machine's agents run.
func (d *FenceDaemon) fence(a fencing.Fence) {
	w := d.p.Machine.World
	w.stats.Attempts++
	d.part.began = w.Sim.Now()
	at := &attempt{d: d, victim: w.Machine(a.Node), kill: func() {}}
	d.running[a.Run] = at
	d.part.attempts = append(d.part.attempts, at)
	d.p.Trace("attempt %d at %s", a.Attempt, at.victim.Name)
	if k := d.known[a.Node]; k.Instance != 0 && d.stopped[cluster.Member{Node: a.Node, Instance: k.Instance}] {
		w.Violate("%s fences %s, whose fenced was stopped in order", d.p.Machine.Name, at.victim.Name)
	}
	d.judge(at)
	at.kill = runMethods(d.p.Machine, at.victim, func(r fencing.Result) {
		// The agents may outlive the daemon; nobody hears them then.
		if at.over {
			return
		}
		at.end()
		if d.running[a.Run] != at || !d.p.alive {
			return
		}
		delete(d.running, a.Run)
		if r.OK {
			w.stats.Successes++
		} else {
			w.stats.Failures++
		}
		if w.trace != nil {
			for _, e := range r.Entries {
				d.p.Trace("%s %s", e.Line(at.victim.Name), e.Detail)
			}
			d.p.Trace("attempt at %s ended, off %v", at.victim.Name, r.OK)
		}
		d.Step(fencing.Ended{Run: a.Run, Result: r})
	})
}

// judge holds the beginning of an attempt against the rules.
func (d *FenceDaemon) judge(at *attempt) {
	w, m := d.p.Machine.World, d.p.Machine
	ring := func(x *FenceDaemon) (cluster.RingID, bool) {
		st, err := x.p.Engine.Status(context.Background())
		return st.Ring, err == nil && st.Quorate
	}
	before, quorateNow := ring(d)
	if q := w.qdiskd(); q != nil {
		// The votes of the disk come and go without a new ring.
		quorateNow = quorateNow || q.justQuorate(m.ID)
	}
	var others []*attempt // of nodes that are together with this one
	for _, o := range d.part.attempts {
		if theirs, _ := ring(o.d); o != at && o.victim == at.victim && o.d.p.alive && !o.d.p.Machine.Frozen && theirs == before {
			others = append(others, o)
		}
	}
	w.Sim.After(disksim.RuleGrace, func() {
		if at.over || !d.p.alive || m.Frozen {
			return
		}
		mine, quorate := ring(d)
		if !quorate && !quorateNow {
			w.Violate("%s fences %s without quorum", m.Name, at.victim.Name)
		}
		for _, o := range others {
			if o.over || !o.d.p.alive || o.d.p.Machine.Frozen {
				continue
			}
			if theirs, _ := ring(o.d); theirs == mine {
				w.Violate("%s and %s fence %s at the same time", m.Name, o.d.p.Machine.Name, at.victim.Name)
			}
		}
		for _, x := range w.Machines {
			o, _ := x.Daemon("fenced").(*FenceDaemon)
			if o == nil || o == d || x.Frozen {
				continue
			}
			if theirs, _ := ring(o); theirs != mine || mine != before || !slices.Contains(o.core.Info().Members, x.ID) || !o.core.Info().Current {
				continue
			}
			if k := o.known[m.ID]; k.Ring != 0 && k.State == fencing.StateVictim && k.Instance == d.group.Self().Instance {
				w.Violate("%s fences %s, but %s is a victim itself, as %s knows", m.Name, at.victim.Name, m.Name, x.Name)
			}
		}
	})
}

// examine compares what the daemon says of all nodes with what it said before
// and with the truth.
func (d *FenceDaemon) examine() {
	w := d.p.Machine.World
	nodes := d.core.Nodes()
	self := false
	if t := d.core.Transfers(); t != d.transfers {
		d.transfers, d.wasSelf = t, false
		clear(d.known)
		clear(d.stopped)
	}
	for _, n := range nodes {
		self = self || n.ID == d.p.Machine.ID && n.State == fencing.StateMember
	}
	var info *fencing.Info
	for _, n := range nodes {
		old, seen := d.known[n.ID]
		if n.Ring == 0 {
			// It does not say anything at the moment.
			continue
		}
		m := w.Machine(n.ID)
		now := known{n, old.life}
		if n.State == fencing.StateMember {
			d.part.relied[cluster.Member{Node: n.ID, Instance: n.Instance}] = true
		}
		switch {
		case n.State == fencing.StateMember, n.State == fencing.StateVictim && n.Instance != 0:
			now.life = d.part.lives[cluster.Member{Node: n.ID, Instance: n.Instance}]
		case n.State == fencing.StateVictim && old.State != fencing.StateVictim:
			if now.life = 0; seen && old.State == fencing.StateUnknown && m.Running {
				now.life = m.Life
			}
		case n.State == fencing.StateOff && (old.State == fencing.StateVictim || old.State == fencing.StateMember):
			if m.Running && m.Life == old.life && !d.part.vouched[life{n.ID, m.Life}] {
				w.Violate("%s says that %s is off, but it runs", d.p.Machine.Name, m.Name)
			}
		case !self || !d.wasSelf || old.Instance == 0 || n.State == fencing.StateVictim || n.State == fencing.StateOff:
		case old.State == fencing.StateMember && d.part.left[cluster.Member{Node: n.ID, Instance: old.Instance}]:
			// It left in order.
		case old.State == fencing.StateVictim, old.State == fencing.StateMember:
			// Only by a daemon that was started anew, or had never been relied
			// on, may a node that was either become something else than off.
			if info == nil {
				in := d.core.Info()
				info = &in
			}
			back := d.part.newest[n.ID] != old.Instance || !d.part.relied[cluster.Member{Node: n.ID, Instance: old.Instance}]
			for _, i := range info.Nodes {
				if i.ID == n.ID && (i.LastHow != fencing.HowMember || !back) {
					w.Violate("%s forgets %s: it was %s, is %s, last how %s, back %v", d.p.Machine.Name, m.Name, old.State, n.State, i.LastHow, back)
				}
			}
		}
		d.known[n.ID] = now
	}
	d.wasSelf = self
	if d.core.Stale() {
		w.stats.Stale++
	}
}

// Fault kills daemons, changes weights, and lets persons vouch for victims.
func (f *Fenced) Fault(w *World, m *Machine) {
	d, _ := m.Daemon("fenced").(*FenceDaemon)
	switch k := w.Rand.IntN(10); {
	case d == nil || m.Frozen:
	case k < 3:
		w.Trace("%s fenced is killed", m.Name)
		w.stats.Kills++
		d.p.Exit()
		// systemd or a person starts it again, or not for a long time.
		m.after(time.Duration(w.Rand.Int64N(int64(20*time.Second))), func() { m.StartDaemon(f) })
	case k < 7:
		d.Step(fencing.Weight{Weight: uint32(w.Rand.IntN(4))})
	case k < 8 && w.Scn.Disk: // qdiskd says who is master
	case k < 8:
		d.Step(fencing.QuorumDisk{Master: cluster.NodeID(w.Rand.IntN(len(w.Machines) + 1))})
	case k == 8 && w.Rand.IntN(2) == 0:
		// The daemon is stopped in order, and started again later.
		w.Trace("%s fenced is stopped", m.Name)
		f.left[d.group.Self()] = true
		_ = d.group.Leave()
		d.p.After(time.Second, func() {
			d.p.Exit()
			m.after(time.Duration(w.Rand.Int64N(int64(20*time.Second))), func() { m.StartDaemon(f) })
		})
	case k < 9:
		// fence_tool leave, and join again some time later.
		w.Trace("%s leaves the domain", m.Name)
		f.left[d.group.Self()] = true
		d.Step(fencing.Leave{})
		d.p.After(time.Duration(w.Rand.Int64N(int64(15*time.Second))), func() {
			w.Trace("%s joins the domain again", m.Name)
			d.Step(fencing.Join{})
		})
	default:
		f.vouch(w)
	}
}

// vouch lets a person say that a victim is off, where fenced asks for it. Most
// look first.
func (f *Fenced) vouch(w *World) {
	for _, m := range w.Machines {
		d, _ := m.Daemon("fenced").(*FenceDaemon)
		if d == nil || m.Frozen || !d.override {
			continue
		}
		for _, id := range d.core.Info().Victims {
			x := w.Machine(id)
			if x.Running && w.Rand.IntN(8) > 0 {
				continue
			}
			w.Trace("a person at %s vouches for %s (it runs: %v)", m.Name, x.Name, x.Running)
			w.stats.Overrides++
			if x.Running {
				w.stats.WrongOverrides++
				f.vouched[life{id, x.Life}] = true
			}
			d.Step(fencing.Ack{Name: strings.ToLower(x.Name)})
			return
		}
	}
}

// Mend starts daemons that were killed.
func (f *Fenced) Mend(w *World) {
	for _, m := range w.Machines {
		if m.Running && m.engine {
			m.after(time.Second, func() { m.StartDaemon(f) })
		}
	}
}

// settled says that all is well: every machine runs, all are members of one
// domain and know it, and nobody is a victim.
func (f *Fenced) settled(w *World) string {
	for _, m := range w.Machines {
		d, _ := m.Daemon("fenced").(*FenceDaemon)
		switch {
		case !m.Running:
			return m.Name + " does not run"
		case m.Frozen:
			return m.Name + " is frozen"
		case d == nil:
			return m.Name + " has no fenced"
		}
		in := d.core.Info()
		switch {
		case !in.Current || in.Stale:
			return m.Name + " does not know the domain"
		case len(in.Members) != len(w.Machines):
			return m.Name + " does not see all in the domain"
		case len(in.Victims) > 0:
			return m.Name + " has victims"
		case in.Wait != fencing.WaitNone:
			return m.Name + " waits for " + in.Wait.String()
		}
	}
	return ""
}
