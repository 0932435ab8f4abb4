package whatif

import (
	"fmt"
	"slices"
	"time"

	"github.com/haobox/haobox/internal/cluster"
	"github.com/haobox/haobox/internal/clusterconf"
	"github.com/haobox/haobox/internal/fencing"
	"github.com/haobox/haobox/internal/restree"
	"github.com/haobox/haobox/internal/rgm"
)

// Rgmanager is the Part of the resource group manager: its core, resource
// agents that take a while, and what fenced of the same node says. Package
// rgmsim has more kinds of faults of services, and no fenced.
type Rgmanager struct {
	conf  *clusterconf.Config
	rules restree.Rules
	// maybe are the lives of machines in which something of a service may run.
	maybe map[string]map[life]bool
	// parts that run, by life and "service/resource".
	parts map[life]map[string]bool
	kept  map[life][]rgm.Kept
	cores []*rgm.Core
}

// services is the part of a cluster.conf that Rgmanager is about.
const services = `<rm><failoverdomains><failoverdomain name="d" ordered="1"><failoverdomainnode name="CNODE1" priority="1"/>` +
	`<failoverdomainnode name="CNODE2" priority="2"/></failoverdomain></failoverdomains>` +
	`<service name="web" domain="d"><ip address="10.0.0.1"/><script name="w" file="/w"/></service>` +
	`<service name="db" recovery="relocate"><script name="d" file="/d"/></service></rm>`

func newRgmanager(conf *clusterconf.Config) *Rgmanager {
	return &Rgmanager{conf: conf, rules: restree.Builtin(), maybe: map[string]map[life]bool{}, parts: map[life]map[string]bool{}, kept: map[life][]rgm.Kept{}}
}

// Name returns "rgmanager".
func (*Rgmanager) Name() string { return "rgmanager" }

// GroupDaemon is a life of rgmanager.
type GroupDaemon struct {
	part    *Rgmanager
	p       *Process
	core    *rgm.Core
	group   cluster.Group
	life    life
	quorate bool
	queue   []rgm.Event
	busy    bool
	told    map[cluster.NodeID]rgm.NodeSafe
	// configured: this node has been in the fence domain; before that
	// rgmanager manages nothing.
	configured bool
}

// Start joins the group and begins to listen to fenced.
func (r *Rgmanager) Start(p *Process) (Daemon, error) {
	d := &GroupDaemon{part: r, p: p, life: life{p.Machine.ID, p.Machine.Life}, told: map[cluster.NodeID]rgm.NodeSafe{}}
	if r.parts[d.life] == nil {
		r.parts[d.life] = map[string]bool{}
	}
	step := func(ev cluster.Event) {
		if !p.alive {
			return
		}
		if q, is := ev.(cluster.Quorum); is {
			d.quorate = q.Quorate
		}
		d.Step(rgm.Engine{Event: ev})
	}
	var err error
	if d.group, err = p.Engine.Join(rgm.Group, step); err != nil {
		return nil, fmt.Errorf("join the group: %w", err)
	}
	d.core = rgm.New(rgm.Options{Self: d.group.Self(), Name: p.Machine.Name, Kept: r.kept[d.life], Pause: rgm.PauseFor(r.conf)})
	r.cores = append(r.cores, d.core)
	if _, err = p.Engine.Watch(step); err != nil {
		return nil, fmt.Errorf("watch the cluster: %w", err)
	}
	d.tick()
	return d, nil
}

// tick listens to fenced and lets time pass.
func (d *GroupDaemon) tick() {
	d.listen()
	d.Step(rgm.Tick{})
	d.p.After(rgm.TickFor(rgm.PauseFor(d.part.conf))/2, d.tick)
}

// listen hands on what fenced says of nodes, as of a ring, if it is news.
func (d *GroupDaemon) listen() {
	f, _ := d.p.Machine.Daemon("fenced").(*FenceDaemon)
	if f == nil {
		return
	}
	for _, n := range f.core.Nodes() {
		if !d.configured && n.ID == d.life.node && n.State == fencing.StateMember {
			d.configured = true
			d.Step(rgm.Config{Config: d.part.conf, Set: d.part.conf.Set(d.part.rules)})
		}
		if n.Ring == 0 || n.State != fencing.StateOff && n.State != fencing.StateLeft {
			continue
		}
		ev := rgm.NodeSafe{Node: n.ID, Ring: n.Ring, Left: n.State == fencing.StateLeft}
		if d.told[n.ID] != ev {
			d.told[n.ID] = ev
			d.Step(ev)
		}
	}
}

// Step hands an event to the core and does what it says.
func (d *GroupDaemon) Step(ev rgm.Event) {
	d.queue = append(d.queue, ev)
	if d.busy {
		return
	}
	d.busy = true
	for len(d.queue) > 0 && d.p.alive {
		ev := d.queue[0]
		d.queue = d.queue[1:]
		for _, a := range d.core.Step(d.p.Now(), ev) {
			if d.p.alive {
				d.act(a)
			}
		}
	}
	d.busy = false
}

func (d *GroupDaemon) act(a rgm.Action) {
	p, w := d.p, d.p.Machine.World
	switch a := a.(type) {
	case rgm.Send:
		if err := d.group.Send(a.Payload); err != nil {
			p.Trace("send: %v", err)
		}
	case rgm.RunAgent:
		d.agent(a)
	case rgm.Log:
		if w.trace != nil && a.Level >= rgm.LevelInfo {
			p.Trace("%s", a.Text)
		}
	case rgm.Save:
		d.part.kept[d.life] = a.Kept
	case rgm.HardDown:
		p.Machine.Halt()
	case rgm.Leave, rgm.Exit:
		p.After(0, p.Exit)
	}
}

// agent runs a resource agent, which takes a while and does not fail.
func (d *GroupDaemon) agent(a rgm.RunAgent) {
	w, r := d.p.Machine.World, d.part
	key := a.Service + "/" + a.Call.Node.ID()
	parts := r.parts[d.life]
	exit := 0
	switch a.Call.Action {
	case "start":
		d.judge(a.Service)
		if r.maybe[a.Service] == nil {
			r.maybe[a.Service] = map[life]bool{}
		}
		r.maybe[a.Service][d.life] = true
		parts[key] = true
	case "status":
		exit = 7 * (1 - bit(parts[key]))
	}
	d.p.After(time.Duration(w.Rand.Int64N(int64(400*time.Millisecond))), func() {
		if a.Call.Action == "stop" {
			delete(parts, key)
			if !slices.ContainsFunc(r.running(d.life), func(s string) bool { return s == a.Service }) {
				delete(r.maybe[a.Service], d.life)
			}
		}
		d.Step(rgm.AgentEnded{ID: a.ID, Exit: exit})
	})
}

// running lists the services of which something runs in a life, once per part.
func (r *Rgmanager) running(l life) (out []string) {
	for key := range r.parts[l] {
		for i := range key {
			if key[i] == '/' {
				out = append(out, key[:i])
				break
			}
		}
	}
	return out
}

// judge is what has to hold when something of a service is started: no other
// machine runs any of it, nor can it, for all that anybody may know.
func (d *GroupDaemon) judge(service string) {
	w, f := d.p.Machine.World, d.p.Machine.World.fenced()
	for l := range d.part.maybe[service] {
		m := w.Machine(l.node)
		switch {
		case l == d.life || f.vouched[l]:
		case m.Running && m.Life == l.n:
			w.Violate("%s starts %s, which runs on %s", d.p.Machine.Name, service, m.Name)
		}
	}
	if !d.quorate {
		w.Violate("%s starts %s without quorum", d.p.Machine.Name, service)
	}
}

// Fault ends something of a service, or kills rgmanager.
func (r *Rgmanager) Fault(w *World, m *Machine) {
	d, _ := m.Daemon("rgmanager").(*GroupDaemon)
	if d == nil || m.Frozen {
		return
	}
	if w.Rand.IntN(2) == 0 {
		w.Trace("%s rgmanager is killed", m.Name)
		w.stats.Kills++
		d.p.Exit()
		m.after(time.Duration(w.Rand.Int64N(int64(5*time.Second))), func() { m.StartDaemon(r) })
	}
}

// Mend starts daemons that were killed.
func (r *Rgmanager) Mend(w *World) {
	for _, m := range w.Machines {
		if m.Running && m.engine {
			m.after(time.Second, func() { m.StartDaemon(r) })
		}
	}
}

// Check has nothing to look at that is not looked at when something starts.
func (*Rgmanager) Check(*World) {}

// End looks whether all services run, some time after the cluster was well.
func (r *Rgmanager) End(w *World) {
	defer func() {
		for _, c := range r.cores {
			c.Close()
		}
	}()
	if len(w.violations) > 0 || w.Scn.Split {
		return
	}
	why := ""
	if w.Sim.Until(5*time.Minute, func() bool { why = r.settled(w); return why == "" || len(w.violations) > 0 }) {
		return
	}
	w.Violate("5 minutes after the cluster was well: %s", why)
}

func (r *Rgmanager) settled(w *World) string {
	for _, m := range w.Machines {
		d, _ := m.Daemon("rgmanager").(*GroupDaemon)
		if d == nil || !d.core.Ready() {
			return m.Name + " has no working rgmanager"
		}
		for _, s := range d.core.Status().Services {
			if s.State == rgm.Failed {
				continue
			}
			if s.State != rgm.Started {
				return s.Name + " is " + s.StateText
			}
			if o := w.Machine(s.Owner); !slices.Contains(r.running(life{o.ID, o.Life}), s.Name) {
				return s.Name + " does not run on " + o.Name
			}
		}
	}
	return ""
}
