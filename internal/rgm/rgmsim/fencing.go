package rgmsim

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/haobox/haobox/internal/cluster"
	"github.com/haobox/haobox/internal/clusterconf"
	"github.com/haobox/haobox/internal/fenceagent"
	"github.com/haobox/haobox/internal/fenceagent/zvm"
	"github.com/haobox/haobox/internal/fencing"
	"github.com/haobox/haobox/internal/fencing/method"
	"github.com/haobox/haobox/internal/quorumdisk/disksim"
	"github.com/haobox/haobox/internal/rgm"
	"github.com/haobox/haobox/internal/smapi/zvmsim"
	"github.com/haobox/haobox/internal/whatif/vmsim"
)

// fences is the real way of fencing: fenced's core on every host, the methods
// of the configuration, and below them the core of fence_zvmip and simulated
// z/VM systems. Devices of other kinds are assumed to work most of the time.
type fences struct {
	w  *world
	hv *vmsim.Hypervisor // nil if no node has a device of z/VM
	// lives says in which life of its host each process of fenced began.
	lives map[cluster.Member]int
	// lastBad is when z/VM or a device last began to fail.
	lastBad time.Duration
}

// fdaemon is a process of fenced.
type fdaemon struct {
	h       *host
	core    *fencing.Core
	engine  cluster.Engine
	group   cluster.Group
	dead    bool
	doing   bool
	waiting []fencing.Event
	wake    time.Duration
	weight  int
	seen    uint64
	// transfers counts the states that it took over.
	transfers uint64
	runs      map[int]func() // kill an attempt
	// lives are those of victims when they became so, told is what rgmanager
	// heard.
	lives map[cluster.NodeID]int
	told  map[cluster.NodeID]rgm.NodeSafe
}

// zvmDevice reports whether an agent is one of ours for z/VM, with the systems
// that it asks and the guest, from the arguments of its device.
func zvmDevice(c *clusterconf.Config, d clusterconf.Device) (agent string, in vmsim.Input) {
	var text strings.Builder
	for _, f := range c.FenceDevices {
		if f.Name == d.Name {
			agent = f.Agent
			for _, a := range f.Args {
				fmt.Fprintf(&text, "%s=%s\n", a.Name, a.Value)
			}
		}
	}
	for _, a := range d.Args {
		fmt.Fprintf(&text, "%s=%s\n", a.Name, a.Value)
	}
	return agent, input(agent, text.String())
}

func isZVM(agent string) bool {
	name := agent[strings.LastIndexByte(agent, '/')+1:]
	return name == zvm.IP || name == zvm.IUCV
}

// input is what an agent reads, with its defaults.
func input(agent, stdin string) vmsim.Input {
	in := vmsim.ReadInput(stdin)
	if len(in.Members) == 0 && strings.HasSuffix(agent, zvm.IUCV) {
		in.Members = []string{zvm.ServerGuest}
	}
	in.Port = strings.ToUpper(in.Port)
	return in
}

// Assumptions says in one line each how nodes are fenced in a simulation of a
// configuration, and what of it is not simulated.
func Assumptions(c *clusterconf.Config) (out []string) {
	var real, systems, assumed, none []string
	add := func(list *[]string, x string) {
		if !slices.Contains(*list, x) {
			*list = append(*list, x)
		}
	}
	for _, n := range c.Nodes {
		if len(n.Methods) == 0 {
			none = append(none, n.Name)
		}
		for _, m := range n.Methods {
			for _, d := range m.Devices {
				if agent, in := zvmDevice(c, d); isZVM(agent) {
					add(&real, n.Name)
					for _, s := range in.Members {
						add(&systems, s)
					}
				} else {
					add(&assumed, d.Name+" ("+agent+")")
				}
			}
		}
	}
	if len(real) > 0 {
		out = append(out, fmt.Sprintf("%s: fenced by the code of the z/VM agents, at simulated systems %s", strings.Join(real, ", "), strings.Join(systems, ", ")))
	}
	if len(assumed) > 0 {
		out = append(out, fmt.Sprintf("assumed of %s: switches its node off within 8 s, and fails for a while at random", strings.Join(assumed, ", ")))
	}
	if len(none) > 0 {
		out = append(out, fmt.Sprintf("%s: no fence method; services of it wait until it comes back", strings.Join(none, ", ")))
	}
	return append(out, diskAssumptions(c)...)
}

func newFences(w *world) *fences {
	f := &fences{w: w, lives: map[cluster.Member]int{}}
	c := w.cfg.Conf
	var members []string
	var guests []vmsim.Guest
	for _, n := range c.Nodes {
		h := w.host(cluster.NodeID(n.ID))
		for _, m := range n.Methods {
			for _, d := range m.Devices {
				agent, in := zvmDevice(c, d)
				if !isZVM(agent) || in.Port == "" || len(in.Members) == 0 {
					continue
				}
				for _, s := range in.Members {
					if !slices.Contains(members, s) {
						members = append(members, s)
					}
				}
				if h.guest == "" && !slices.ContainsFunc(guests, func(g vmsim.Guest) bool { return g.Name == in.Port }) {
					h.guest = in.Port
					guests = append(guests, vmsim.Guest{Name: in.Port, Member: in.Members[0]})
				}
			}
		}
	}
	if len(guests) > 0 {
		delays := zvmsim.Delays{Logoff: time.Second, LogoffSpread: 3 * time.Second, Logon: time.Second, Answer: 5 * time.Millisecond, AnswerSpread: 50 * time.Millisecond}
		hv, err := vmsim.New(w.sim, epoch(), w.cfg.Seed, members, guests, delays, f.changed)
		if err != nil {
			// Names that z/VM does not know: these devices count as others.
			for _, h := range w.hosts {
				h.guest = ""
			}
			return f
		}
		f.hv = hv
	}
	return f
}

// changed follows what z/VM does with a guest.
func (f *fences) changed(a zvmsim.Changed) {
	for _, h := range f.w.hosts {
		if h.guest != a.Guest {
			continue
		}
		switch a.To {
		case zvmsim.Off:
			f.down(h, "z/VM logged it off")
		case zvmsim.On:
			h.powerOn()
		}
	}
}

// down: a host was switched off from outside, by fencing.
func (f *fences) down(h *host, why string) {
	w := f.w
	was := h.power
	h.off(why)
	for _, s := range w.services {
		delete(s.maybe, h.id)
	}
	h.shot = true
	// Of two nodes that lose each other one survives. That says nothing of a
	// node that was frozen, which finds the other one gone and shoots later, nor
	// of two that came up without each other.
	race, _ := fencing.ParseRace(w.cfg.Conf.FenceDaemon.Race)
	if was && len(w.hosts) == 2 && race != fencing.RaceNone {
		o := w.hosts[0]
		if o == h {
			o = w.hosts[1]
		}
		calm := func(t time.Duration) bool { return t == 0 || w.elapsed()-t > time.Minute }
		if o.shot && !o.power && calm(f.lastBad) && calm(h.thawedAt) && calm(o.thawedAt) && calm(h.frozenFrom) && calm(o.frozenFrom) &&
			calm(h.engineFrom) && calm(o.engineFrom) {
			w.violation("fence race", "%s and %s shot each other", w.hosts[0].name, w.hosts[1].name)
		}
	}
	h.bootLater()
}

// fail has SMAPI of one system, or all other devices, fail for a while.
func (f *fences) fail(d time.Duration) {
	w := f.w
	f.lastBad = w.elapsed() + d
	w.fenceBad = w.sim.Now() + d
	if f.hv == nil {
		return
	}
	member := f.hv.Members[w.rng.IntN(len(f.hv.Members))]
	state := []zvmsim.MemberState{zvmsim.MemberNoService, zvmsim.MemberHung, zvmsim.MemberFull}[w.rng.IntN(3)]
	f.hv.Do(zvmsim.SetMember{Member: member, State: state})
	w.sim.After(d, func() { f.hv.Do(zvmsim.SetMember{Member: member, State: zvmsim.MemberUp}) })
}

// mend ends that.
func (f *fences) mend() {
	if f.hv == nil {
		return
	}
	for _, m := range f.hv.Members {
		f.hv.Do(zvmsim.SetMember{Member: m, State: zvmsim.MemberUp})
	}
}

// operate: where the fence domain went on without each of the nodes, one after
// the other, nobody is left to deal with them. A person starts them anew.
func (f *fences) operate() {
	for _, h := range f.w.hosts {
		if h.power && (h.fenced == nil || !h.fenced.core.Stale()) {
			return
		}
	}
	for _, h := range f.w.hosts {
		if h.power {
			h.off("a person starts it anew")
			h.bootLater()
		}
	}
}

// After has do called in d, in this life of the host; while it is frozen it
// waits (vmsim.Machine).
func (h *host) After(d time.Duration, do func()) {
	life := h.life
	h.w.sim.After(d, func() {
		if h.life == life {
			h.run(func() {
				if h.life == life && h.power {
					do()
				}
			})
		}
	})
}

// startFenced starts fenced on a host.
func (h *host) startFenced() {
	if h.w.fences == nil || h.fenced != nil || !h.power || !h.engine {
		return
	}
	e, err := h.w.sim.Engine(h.id)
	if err != nil {
		return
	}
	d := &fdaemon{h: h, engine: e, runs: map[int]func(){}, lives: map[cluster.NodeID]int{}, told: map[cluster.NodeID]rgm.NodeSafe{}}
	var early []cluster.Event
	event := func(ev cluster.Event) {
		if d.core == nil {
			early = append(early, ev)
			return
		}
		d.step(fencing.Cluster{Event: ev})
	}
	if d.group, err = e.Join(fencing.Group, event); err != nil {
		return
	}
	d.core = fencing.New(fencing.ConfigOf(h.w.cfg.Conf, h.id), d.group.Self())
	h.w.fences.lives[d.group.Self()] = h.life
	h.fenced = d
	for _, ev := range early {
		d.step(fencing.Cluster{Event: ev})
	}
	if _, err := e.Watch(event); err != nil {
		d.end()
		return
	}
	d.step(fencing.Join{})
}

func (d *fdaemon) end() {
	d.dead = true
	for _, run := range d.sortedRuns() {
		d.runs[run]()
	}
	if d.h.fenced == d {
		d.h.fenced = nil
	}
}

func (d *fdaemon) sortedRuns() (out []int) {
	for run := range d.runs {
		out = append(out, run)
	}
	slices.Sort(out)
	return out
}

// step steps the core; what an action causes at once waits.
func (d *fdaemon) step(ev fencing.Event) {
	d.waiting = append(d.waiting, ev)
	if d.doing || d.dead {
		return
	}
	d.doing = true
	for len(d.waiting) > 0 && !d.dead {
		ev := d.waiting[0]
		d.waiting = d.waiting[1:]
		for _, a := range d.core.Step(d.h.w.now(), ev) {
			if !d.dead {
				d.act(a)
			}
		}
	}
	d.doing = false
	if d.dead {
		return
	}
	if at := d.core.Next(); !at.IsZero() {
		when := at.Sub(epoch())
		d.wake = when
		d.h.After(max(when-d.h.w.sim.Now(), 0), func() {
			if d.wake == when && !d.dead {
				d.step(fencing.Tick{})
			}
		})
	}
	if r := d.core.Revision(); r != d.seen {
		d.seen = r
		d.look()
	}
}

func (d *fdaemon) act(a fencing.Action) {
	h, w := d.h, d.h.w
	switch a := a.(type) {
	case fencing.Send:
		_ = d.group.Send(a.Payload) // nobody is left to hear it
	case fencing.Log:
		if a.Level >= rgm.LevelInfo {
			w.line(h.id, false, a.Level, "fenced: %s", a.Text)
		}
	case fencing.Fence:
		d.fence(a)
	case fencing.Cancel:
		if kill := d.runs[a.Run]; kill != nil {
			delete(d.runs, a.Run)
			kill()
		}
	case fencing.Kill:
		o := w.host(a.Node)
		w.sim.After(time.Millisecond, o.loseEngine)
	case fencing.Unfence:
		h.After(0, func() { d.step(fencing.Unfenced{Result: fencing.Result{OK: true}}) })
	case fencing.Exit:
		d.end()
		w.sim.After(0, func() { _ = d.engine.Close() }) // it may be ending just now
		h.After(w.between(time.Second, 5*time.Second), h.startFenced)
	}
}

// fence runs the methods of the configuration at a victim.
func (d *fdaemon) fence(a fencing.Fence) {
	h, w := d.h, d.h.w
	victim := w.host(a.Node)
	if w.disk == nil && !d.quorate() && h.quorate() {
		w.violation("fencing without quorum", "%s fences %s", h.name, victim.name)
	}
	// The votes of a disk come and go without a new ring: fenced may not have
	// heard of it yet.
	if w.disk != nil && !d.quorate() && !w.disk.Member(h.id).JustQuorate() {
		h.After(disksim.RuleGrace, func() {
			if d.runs[a.Run] != nil && !d.dead && !d.quorate() {
				w.violation("fencing without quorum", "%s fences %s", h.name, victim.name)
			}
		})
	}
	ended := func(r fencing.Result) {
		delete(d.runs, a.Run)
		if !d.dead {
			d.step(fencing.Ended{Run: a.Run, Result: r})
		}
	}
	w.line(h.id, true, rgm.LevelInfo, "%s begins to fence %s", h.name, victim.name)
	kill, err := vmsim.RunMethods(h, w.now, w.cfg.Conf, victim.name, h.name, func(a method.Start, over func(method.Ended)) func() {
		return d.agent(victim, a, over)
	}, ended)
	if err != nil { // no methods
		h.After(5*time.Millisecond, func() { ended(fencing.Result{}) })
		kill = func() {}
	}
	d.runs[a.Run] = kill
}

// quorate is what the engine says; true if that is gone.
func (d *fdaemon) quorate() bool {
	st, err := d.engine.Status(context.Background())
	return err != nil || st.Quorate
}

// agent runs an agent.
func (d *fdaemon) agent(victim *host, a method.Start, over func(method.Ended)) (kill func()) {
	h, w := d.h, d.h.w
	in := input(a.Agent, string(a.Stdin))
	if isZVM(a.Agent) && w.fences.hv != nil && in.Port != "" {
		return w.fences.hv.StartAgent(h, in.Members, in.Port, in.Action, func(o zvm.Outcome) {
			e := method.Ended{}
			switch {
			case o.Err != nil:
				e.Exit, e.Detail = 1, o.Err.Error()
			case in.Action == fenceagent.Status && !o.On:
				e.Exit = 2
			}
			over(e)
		})
	}
	killed := false
	h.After(w.between(500*time.Millisecond, 8*time.Second), func() {
		if killed {
			return
		}
		e := method.Ended{}
		switch {
		case w.sim.Now() < w.fenceBad:
			e.Exit, e.Detail = 1, "the device does not answer"
		case in.Action == fenceagent.Status:
			if !victim.power {
				e.Exit = 2
			}
		case in.Action == fenceagent.On:
			victim.boot()
		default:
			w.fences.down(victim, "switched off by "+a.Agent)
		}
		over(e)
	})
	return func() { killed = true }
}

// look hands on what fenced says of nodes, and holds it against the truth.
func (d *fdaemon) look() {
	h, w := d.h, d.h.w
	if t := d.core.Transfers(); t != d.transfers {
		d.transfers = t // what was said before is void
		clear(d.lives)
	}
	for _, n := range d.core.Nodes() {
		o := w.host(n.ID)
		if n.Ring == 0 || o == nil {
			continue
		}
		switch n.State {
		case fencing.StateVictim:
			if n.Instance != 0 {
				d.lives[n.ID] = w.fences.lives[cluster.Member{Node: n.ID, Instance: n.Instance}]
			}
		case fencing.StateOff:
			if life, seen := d.lives[n.ID]; seen && life != 0 && o.power && o.life == life {
				w.violation("called off", "fenced of %s calls %s off, which runs", h.name, o.name)
			}
			delete(d.lives, n.ID)
		default:
			delete(d.lives, n.ID)
		}
	}
	d.tell()
}

// tell is what rgmanager of the same host hears.
func (d *fdaemon) tell() {
	h := d.h
	p := h.proc
	if p == nil || p.dead || p.core == nil {
		return
	}
	for _, n := range d.core.Nodes() {
		if n.Ring == 0 {
			continue
		}
		switch n.State {
		case fencing.StateMember:
			if n.ID == h.id {
				p.configure()
			}
		case fencing.StateOff, fencing.StateLeft:
			ev := rgm.NodeSafe{Node: n.ID, Ring: n.Ring, Left: n.State == fencing.StateLeft}
			if d.told[n.ID] != ev {
				d.told[n.ID] = ev
				h.w.line(h.id, true, rgm.LevelInfo, "rgmanager hears that %s is %s as of ring %d", h.w.host(n.ID).name, n.State, n.Ring)
				p.step(ev)
			}
		}
	}
}

// weigh tells fenced what the services here are worth in a race.
func (p *proc) weigh() {
	if d := p.h.fenced; d != nil && !d.dead {
		if n := p.core.Weight(); n != d.weight {
			d.weight = n
			p.h.After(time.Millisecond, func() {
				if !d.dead {
					d.step(fencing.Weight{Weight: uint32(n)})
				}
			})
		}
	}
}
