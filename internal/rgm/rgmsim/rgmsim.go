// Package rgmsim runs the resource group managers of a whole cluster in virtual
// time on one cluster.conf: the cores of production on a simulated engine
// (package clustersim), with simulated resource agents, machines and fencing.
// Faults come at random from a seed, and what must never happen is watched at
// every step:
//
//	result := rgmsim.Run(rgmsim.Config{Conf: cfg, Rules: rules, Seed: 7, Faults: time.Hour})
//	for _, v := range result.Violations { ... }
//
// Equal seeds and configurations give equal runs. A quorum disk of the
// configuration is played with the core of qdiskd on every node (package
// disksim). What it leaves out: real agents, the content of services, and, unless
// Config.Fencing is set, the daemons of fencing.
package rgmsim

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/haobox/haobox/internal/cluster"
	"github.com/haobox/haobox/internal/cluster/clustersim"
	"github.com/haobox/haobox/internal/clusterconf"
	"github.com/haobox/haobox/internal/quorumdisk/disksim"
	"github.com/haobox/haobox/internal/restree"
	"github.com/haobox/haobox/internal/rgm"
	"github.com/haobox/haobox/internal/smapi/zvmsim"
)

// Config describes a run.
type Config struct {
	Conf *clusterconf.Config
	// Rules of the resource types; they are not changed.
	Rules restree.Rules
	// Updates are later versions of the configuration, which some runs switch
	// to one after the other.
	Updates []*clusterconf.Config
	Seed    uint64
	// Faults is how long faults happen; afterwards everything is repaired and
	// the services have Settle (0 means DefaultSettle) to be well again.
	Faults, Settle time.Duration
	// Every is the mean time between faults; 0 means 12 s.
	Every time.Duration
	// Trace keeps a timeline and the spans for a picture.
	Trace bool
	// Calm leaves out what only people do: requests, and restarts of daemons.
	Calm bool
	// Together adds pauses of several nodes at the same time, while the network
	// splits or others fail.
	Together bool
	// Fencing runs the code of fenced, its methods and the z/VM agents; if not,
	// a machine is fenced after a random time, by any quorate part that does not
	// see it. See Assumptions.
	Fencing bool
	// Stop, if set, is asked at every step; true ends the run (Result.Stopped).
	Stop func() bool
}

// DefaultSettle is longer than the slowest repair: a boot (60 s), a fencing
// that begins then, retries of services (RetryAfter), twice.
const DefaultSettle = 8 * time.Minute

// Line is an entry of the timeline.
type Line struct {
	At time.Duration
	// Node is 0 for what is outside of all nodes.
	Node cluster.NodeID
	// Fault: made by the simulation; otherwise it is a line of the node's log.
	Fault bool
	Level slog.Level
	Text  string
}

// Span is a bar of the picture: a service that runs on a node, or a node that
// is "off" or "frozen".
type Span struct {
	Node     cluster.NodeID
	What     string
	From, To time.Duration
}

// ServiceStats is what became of a service.
type ServiceStats struct {
	Name string
	// Up is how long it ran, of the time since it first ran; Longest is its
	// longest outage.
	Up, Total, Longest time.Duration
	Outages, Moves     int
}

// Result is a finished run.
type Result struct {
	Seed       uint64
	Violations []string
	Services   []ServiceStats
	Faults     int
	Length     time.Duration
	Lines      []Line
	Spans      []Span
	// Failure says in one line why the run ended too early: the simulation itself
	// is wrong, or a core panics. The timeline has the rest. The other results
	// mean nothing then.
	Failure string
	// Stopped: Config.Stop ended the run, and the other results mean nothing.
	Stopped bool
	// Disk counts what happened to the quorum disk; nil without one.
	Disk *disksim.Stats
}

// world is a run.
type world struct {
	cfg      Config
	sim      *clustersim.Sim
	rng      *rand.Rand
	hosts    []*host
	services []*service
	res      *Result
	calm     bool // faults are over
	seen     map[string]bool
	version  int // of Updates
	faults   int
	fenceBad time.Duration // fencing fails until then
	askID    uint64
	looking  bool
	quiet    time.Duration    // no faults until then
	fences   *fences          // nil without Config.Fencing
	disk     *disksim.Cluster // nil without a quorum disk
	parted   bool
	// skipped is the time of the story that was passed over (pass).
	skipped time.Duration
}

// service is what the world knows of one.
type service struct {
	name      string
	parts     []string // resources with a start action
	checked   []string // those of them with a status action
	domain    *restree.Domain
	autostart bool
	depend    string
	exclusive int // 0 for not
	policy    string
	maybe     map[cluster.NodeID]bool // where it may run, as far as anybody can know

	node      cluster.NodeID // where it runs wholly, 0 for nowhere
	last      cluster.NodeID
	since     time.Duration // of the present state
	began     bool
	first     time.Duration
	stats     ServiceStats
	keepOnAdd bool // not stopped when rgmanager starts
}

// host is a machine.
type host struct {
	w       *world
	id      cluster.NodeID
	name    string
	power   bool
	life    int
	engine  bool
	proc    *proc
	kept    []rgm.Kept
	parts   map[string]condition
	late    []func() // what waits while it is frozen
	paused  bool     // since its rgmanager was last stepped
	offRing uint64   // known to be off as of this ring; 0 for not
	offNow  bool
	startBad, stopBad,
	slow map[string]time.Duration // agents fail or hang until then
	offFrom, frozenFrom time.Duration
	thawedAt            time.Duration
	engineFrom          time.Duration // when its engine started
	shooting            bool
	fenced              *fdaemon
	qdiskd              *qdaemon
	guest               string // of z/VM, "" if it is none
	shot                bool   // switched off by fencing, and not on since
}

// condition of a part of a service on a host.
type condition uint8

const (
	down condition = iota
	partly
	up
	broken // runs, but a check fails
)

// proc is a process of rgmanager.
type proc struct {
	h       *host
	core    *rgm.Core
	engine  cluster.Engine
	group   cluster.Group
	early   []cluster.Event
	dead    bool
	quorate bool
	ring    ring
	runs    map[uint64]*run
	wake    uint64
	told    map[cluster.NodeID]uint64 // that a host is off as of a ring
	conf    int                       // the version it has, -1 for none yet
	doing   bool
	waiting []rgm.Event
}

// run is an agent that runs.
type run struct{ over bool }

// staleLag is how long the engine may take to tell a node what others know
// already: some of clustersim's delays of 1 ms.
const staleLag = 20 * time.Millisecond

// epoch is the time of day at which runs begin.
func epoch() time.Time { return time.Unix(1_000_000_000, 0).UTC() }

// crashed ends a run in which the simulation itself is wrong, or a core panics.
func (w *world) crashed(why any, stack []byte) {
	at := w.elapsed().Round(time.Millisecond)
	text, _, _ := strings.Cut(fmt.Sprint(why), "\n")
	w.res.Failure = fmt.Sprintf("%v into the story: %s", at, text)
	w.line(0, true, slog.LevelError, "the story can not go on: %s", text)
	for line := range strings.Lines(string(stack)) {
		w.line(0, true, rgm.LevelDebug, "%s", strings.TrimSuffix(line, "\n"))
	}
	w.res.Length = w.elapsed()
}

// Run runs one seed. It does not panic: see Result.Failure.
func Run(cfg Config) (r *Result) {
	if cfg.Settle <= 0 {
		cfg.Settle = DefaultSettle
	}
	if cfg.Every <= 0 {
		cfg.Every = 12 * time.Second
	}
	w := &world{cfg: cfg, sim: clustersim.New(clustersim.Config{}), rng: rand.New(rand.NewPCG(cfg.Seed, 0x72676d)), res: &Result{Seed: cfg.Seed}, seen: map[string]bool{}}
	defer func() {
		if p := recover(); p != nil {
			w.crashed(p, debug.Stack())
			r = w.res
		}
	}()
	w.play()
	return w.res
}

// play is the run.
func (w *world) play() {
	cfg, c := w.cfg, w.cfg.Conf
	sc := clustersim.Config{TwoNode: c.Cman.TwoNode && len(c.Nodes) == 2, Seed: cfg.Seed, Token: c.Totem.Token, Consensus: c.Totem.Consensus}
	setups, why := diskSetups(c)
	if c.Cman.ExpectedVotes > 0 && (c.Quorumd == nil || why == "") {
		sc.Expected = c.Cman.ExpectedVotes
	}
	if setups != nil {
		sc.DeviceVotes, sc.DeviceTimeout = c.DeviceVotes(), c.Cman.QuorumDevPoll
	}
	for _, n := range c.Nodes {
		sc.Nodes = append(sc.Nodes, clustersim.NodeConfig{ID: cluster.NodeID(n.ID), Name: n.Name, Votes: n.Votes})
		w.hosts = append(w.hosts, &host{w: w, id: cluster.NodeID(n.ID), name: n.Name})
	}
	slices.SortFunc(w.hosts, func(a, b *host) int { return int(a.id) - int(b.id) })
	w.sim = clustersim.New(sc)
	w.learn(c)
	if cfg.Fencing {
		w.fences = newFences(w)
	}
	if setups != nil {
		w.addDisk(setups)
		w.cfg.Settle += diskSettle * c.Quorumd.MasterRecovery()
	}
	for _, h := range w.hosts {
		w.sim.After(w.upTo(3*time.Second), func() { h.boot() })
	}
	start := 20 * time.Second
	end := start + cfg.Faults
	w.sim.At(start, func() { w.nextFault(end) })
	if w.run(end); w.res.Stopped {
		return
	}
	w.repair()
	w.settle()
	if w.judge(); len(w.res.Violations) > 0 {
		w.dump()
	}
	w.finish()
}

// elapsed is the time of the story.
func (w *world) elapsed() time.Duration { return w.sim.Now() + w.skipped }

// run goes on until a time of the story.
func (w *world) run(end time.Duration) {
	if w.disk == nil && w.cfg.Stop == nil {
		w.sim.Run(end - w.elapsed())
		return
	}
	w.sim.Until(end-w.elapsed(), func() bool {
		if w.disk != nil {
			w.disk.Check()
		}
		w.res.Stopped = w.res.Stopped || w.cfg.Stop != nil && w.cfg.Stop()
		return w.elapsed() >= end || w.res.Stopped
	})
}

// now is what daemons take for the time of day.
func (w *world) now() time.Time { return epoch().Add(w.sim.Now()) }

// upTo is a random time up to d.
func (w *world) upTo(d time.Duration) time.Duration { return time.Duration(w.rng.Int64N(int64(d) + 1)) }

// between is a random time.
func (w *world) between(a, b time.Duration) time.Duration { return a + w.upTo(b-a) }

func (w *world) chance(percent int) bool { return w.rng.IntN(100) < percent }

// learn takes the services of a configuration over.
func (w *world) learn(c *clusterconf.Config) {
	set := c.Set(w.cfg.Rules)
	for _, n := range set.Tree {
		s := w.service(n.ID())
		if s == nil {
			s = &service{name: n.ID(), maybe: map[cluster.NodeID]bool{}}
			s.stats.Name = n.ID()
			w.services = append(w.services, s)
		}
		s.parts, s.checked, s.keepOnAdd = nil, nil, n.KeepOnAdd()
		n.All(func(x *restree.Node) {
			if x.Resource.Rule.HasAction("start") && !slices.Contains(s.parts, x.ID()) {
				s.parts = append(s.parts, x.ID())
				if x.Resource.Rule.HasAction("status") {
					s.checked = append(s.checked, x.ID())
				}
			}
		})
		s.domain = nil
		if v, ok := n.Value("domain"); ok {
			s.domain = set.Domain(v)
		}
		a, ok := n.Value("autostart")
		s.autostart = !ok || a != "0" && a != "no"
		if s.depend, _ = n.Value("depend"); s.depend != "" && !strings.Contains(s.depend, ":") {
			s.depend = "service:" + s.depend
		}
		x, _ := n.Value("exclusive")
		if s.exclusive = max(restree.Atoi(x), 0); strings.EqualFold(x, "yes") {
			s.exclusive = 1
		}
		s.policy, _ = n.Value("recovery")
	}
}

// allows: the failover domain does not keep it from a node.
func (s *service) allows(id cluster.NodeID) bool {
	return s.domain == nil || !s.domain.Restricted ||
		slices.ContainsFunc(s.domain.Nodes, func(n restree.DomainNode) bool { return cluster.NodeID(n.ID) == id })
}

func (w *world) service(name string) *service {
	for _, s := range w.services {
		if s.name == name {
			return s
		}
	}
	return nil
}

func (w *world) host(id cluster.NodeID) *host {
	for _, h := range w.hosts {
		if h.id == id {
			return h
		}
	}
	return nil
}

func (w *world) line(id cluster.NodeID, fault bool, level slog.Level, format string, args ...any) {
	if w.cfg.Trace {
		w.res.Lines = append(w.res.Lines, Line{w.elapsed(), id, fault, level, fmt.Sprintf(format, args...)})
	}
}

// violation keeps what must not happen, each kind of it once.
func (w *world) violation(rule, format string, args ...any) {
	text := fmt.Sprintf("%v %s: ", w.elapsed().Round(time.Millisecond), rule) + fmt.Sprintf(format, args...)
	w.line(0, true, slog.LevelError, "VIOLATION %s", text)
	if !w.seen[rule] {
		w.seen[rule] = true
		w.res.Violations = append(w.res.Violations, text)
	}
}

// boot switches a machine on.
func (h *host) boot() {
	if f := h.w.fences; f != nil && f.hv != nil && h.guest != "" && f.hv.State(h.guest) != zvmsim.On {
		f.hv.Do(zvmsim.LogOn{Guest: h.guest}) // changed has the rest
		return
	}
	h.powerOn()
}

func (h *host) powerOn() {
	if h.power {
		return
	}
	h.shot = false
	h.w.line(h.id, true, rgm.LevelInfo, "%s boots", h.name)
	h.span("off", h.offFrom)
	h.power, h.offNow, h.offRing = true, false, 0
	h.life++
	h.parts = map[string]condition{}
	h.startBad, h.stopBad, h.slow = map[string]time.Duration{}, map[string]time.Duration{}, map[string]time.Duration{}
	h.kept, h.late, h.paused = nil, nil, false
	for _, s := range h.w.services {
		if s.keepOnAdd {
			delete(s.maybe, h.id)
		}
	}
	h.w.sim.Start(h.id)
	h.engine, h.engineFrom = true, h.w.elapsed()
	life := h.life
	h.startDaemons()
	h.w.sim.After(h.w.between(500*time.Millisecond, 2*time.Second), func() { h.startProc(life) })
}

// off switches a machine off, at once.
func (h *host) off(why string) {
	if !h.power {
		return
	}
	h.w.line(h.id, true, rgm.LevelInfo, "%s is off: %s", h.name, why)
	h.endSpans()
	h.power, h.engine = false, false
	h.life++
	h.offFrom = h.w.elapsed()
	if h.w.sim.Frozen(h.id) {
		h.span("frozen", h.frozenFrom)
	}
	h.late = nil
	if h.proc != nil {
		h.proc.end()
	}
	if h.fenced != nil {
		h.fenced.end()
	}
	h.qdiskd.end()
	h.w.sim.Crash(h.id)
	clear(h.parts)
	h.w.observe()
}

// bootLater lets a machine come back.
func (h *host) bootLater() {
	life := h.life
	h.w.sim.After(h.w.between(20*time.Second, 60*time.Second), func() {
		if h.life == life {
			h.boot()
		}
	})
}

// run does something on the machine now, or when it is thawed.
func (h *host) run(do func()) {
	if h.power && h.w.sim.Frozen(h.id) {
		h.late = append(h.late, do)
		return
	}
	do()
}

// startProc starts rgmanager.
func (h *host) startProc(life int) {
	h.run(func() {
		if h.life != life || h.proc != nil || !h.power || !h.engine {
			return
		}
		e, err := h.w.sim.Engine(h.id)
		if err != nil {
			return
		}
		p := &proc{h: h, engine: e, runs: map[uint64]*run{}, told: map[cluster.NodeID]uint64{}}
		if p.group, err = e.Join(rgm.Group, p.event); err != nil {
			return
		}
		h.proc = p
		p.core = rgm.New(rgm.Options{Self: p.group.Self(), Name: h.name, Kept: h.kept, Pause: h.w.pause()})
		h.paused = false
		p.conf = -1
		if n := h.w.cfg.Conf.NodeByID(int(h.id)); h.w.fences == nil || len(n.Methods) == 0 {
			p.configure()
		}
		if d := h.fenced; d != nil {
			clear(d.told)
			h.After(time.Millisecond, d.tell)
		}
		for _, o := range h.w.hosts {
			if o.offNow {
				p.step(rgm.NodeSafe{Node: o.id, Ring: o.offRing})
			}
		}
		if _, err := e.Watch(p.event); err != nil {
			return
		}
	})
}

// configure gives rgmanager the newest configuration; with fences the first one
// comes when fenced has joined its domain.
func (p *proc) configure() {
	if w := p.h.w; p.conf < w.version {
		p.conf = w.version
		conf := w.conf()
		p.step(rgm.Config{Config: conf, Set: conf.Set(w.cfg.Rules)})
	}
}

// conf is the newest configuration.
func (w *world) conf() *clusterconf.Config {
	if w.version > 0 {
		return w.cfg.Updates[w.version-1]
	}
	return w.cfg.Conf
}

// pause is Options.Pause.
func (w *world) pause() time.Duration { return rgm.PauseFor(w.cfg.Conf) }

// kill ends rgmanager without a word, and its agents with it.
func (p *proc) kill() {
	p.end()
	p.h.w.sim.Kill(p.engine)
}

func (p *proc) end() {
	if !p.dead && p.core != nil {
		// Not from within one of its jobs.
		p.h.w.sim.After(0, p.core.Close)
	}
	p.dead = true
	if p.h.proc == p {
		p.h.proc = nil
	}
}

func (p *proc) event(ev cluster.Event) {
	if p.core == nil {
		p.early = append(p.early, ev)
		return
	}
	switch ev := ev.(type) {
	case cluster.Membership:
		p.ring.seq, p.ring.members, p.ring.since = ev.Ring.Seq, ev.Members, p.h.w.sim.Now()
		if p.h.w.disk != nil {
			p.ring.quorate = false // nobody knows before the disk was heard
		}
		p.h.w.lookSoon()
	case cluster.Quorum:
		p.quorate, p.ring.quorate = ev.Quorate, ev.Quorate
		p.h.w.lookSoon()
	case cluster.Lost:
		p.quorate, p.ring.quorate = false, false
	}
	p.step(rgm.Engine{Event: ev})
}

// step steps the core. Steps do not nest: what an action causes at once waits.
func (p *proc) step(ev rgm.Event) {
	p.waiting = append(p.waiting, ev)
	if p.doing {
		return
	}
	p.doing = true
	for len(p.waiting) > 0 && !p.dead {
		ev := p.waiting[0]
		p.waiting = p.waiting[1:]
		if !p.h.paused {
			p.core.Alive(p.h.w.now())
		}
		p.h.paused = false
		for _, a := range p.core.Step(p.h.w.now(), ev) {
			if p.dead {
				break
			}
			p.act(a)
		}
	}
	p.doing = false
	if !p.dead {
		p.weigh()
		p.sleep()
	}
}

// sleep has the core woken when something is due.
func (p *proc) sleep() {
	p.wake++
	n := p.wake
	sick := false
	for _, c := range p.h.parts {
		sick = sick || c == broken
	}
	at, any := p.core.Wake(sick)
	if !any {
		return
	}
	d := max(at.Sub(p.h.w.now()), 10*time.Millisecond)
	p.h.w.sim.After(d, func() {
		p.h.run(func() {
			if !p.dead && p.wake == n {
				p.step(rgm.Tick{})
			}
		})
	})
}

func (p *proc) act(a rgm.Action) {
	h, w := p.h, p.h.w
	switch a := a.(type) {
	case rgm.Send:
		// A group that is left or lost takes nothing more.
		_ = p.group.Send(a.Payload)
	case rgm.RunAgent:
		p.agent(a)
	case rgm.KillAgent:
		if r := p.runs[a.ID]; r != nil {
			life := h.life
			w.sim.After(w.upTo(100*time.Millisecond), func() {
				h.run(func() {
					if !r.over && h.life == life && !p.dead {
						r.over = true
						p.step(rgm.AgentEnded{ID: a.ID, Exit: 1})
					}
				})
			})
		}
	case rgm.Log:
		if w.cfg.Trace && a.Level >= rgm.LevelInfo {
			w.line(h.id, false, a.Level, "%s", a.Text)
		}
	case rgm.Save:
		h.kept = a.Kept
	case rgm.HardDown:
		h.off("it went down by itself: " + a.Reason)
		h.bootLater()
	case rgm.Leave:
		_ = p.group.Leave()
	case rgm.Exit:
		p.end()
		_ = p.engine.Close()
		life := h.life
		w.sim.After(w.between(time.Second, 5*time.Second), func() { h.startProc(life) })
	}
}

// agent runs a resource agent.
func (p *proc) agent(a rgm.RunAgent) {
	h, w := p.h, p.h.w
	s := w.service(a.Service)
	part := a.Call.Node.ID()
	key := a.Service + "/" + part
	now := w.sim.Now()
	d := w.between(20*time.Millisecond, 1500*time.Millisecond)
	exit := 0
	switch a.Call.Action {
	case "start":
		w.checkStart(p, s)
		s.maybe[h.id] = true
		h.set(key, partly)
		if now < h.startBad[a.Service] {
			exit = 1
		}
	case "stop":
		d = w.between(20*time.Millisecond, time.Second)
		if h.parts[key] != down && now < h.stopBad[a.Service] {
			exit = 1
		}
	case "status":
		d = w.upTo(30 * time.Millisecond)
		if c := h.parts[key]; c != up {
			exit = 7
		}
	}
	if now < h.slow[a.Service] && a.Call.Action != "status" {
		d = w.between(2*time.Second, 40*time.Second)
	}
	r := &run{}
	p.runs[a.ID] = r
	life := h.life
	w.sim.After(d, func() {
		h.run(func() {
			if r.over || h.life != life || p.dead {
				return
			}
			r.over = true
			delete(p.runs, a.ID)
			switch {
			case a.Call.Action == "start" && exit == 0:
				h.set(key, up)
			case a.Call.Action == "stop" && exit == 0:
				h.set(key, down)
				s.settle(h)
			case a.Call.Action == "migrate":
				if !h.migrated(s, a.Call.Target) {
					exit = 150 // it still runs here
				}
			}
			p.step(rgm.AgentEnded{ID: a.ID, Exit: exit})
		})
	})
}

// migrated moves all of a service to another host, if that is there.
func (h *host) migrated(s *service, target string) bool {
	for _, o := range h.w.hosts {
		if o.name != target || !o.power || h.w.sim.Frozen(o.id) {
			continue
		}
		for _, part := range s.parts {
			h.set(s.name+"/"+part, down)
			o.set(s.name+"/"+part, up)
		}
		s.maybe[o.id] = true
		s.settle(h)
		return true
	}
	return false
}

// set changes the condition of a part.
func (h *host) set(key string, c condition) {
	if c == down {
		delete(h.parts, key)
	} else {
		h.parts[key] = c
	}
	h.w.observe()
}

// settle forgets that a service may run on a host where all of it was stopped.
func (s *service) settle(h *host) {
	for _, part := range s.parts {
		if h.parts[s.name+"/"+part] != down {
			return
		}
	}
	delete(s.maybe, h.id)
}

// checkStart is what has to hold whenever something of a service is started.
func (w *world) checkStart(p *proc, s *service) {
	h := p.h
	for id := range s.maybe {
		if id == h.id {
			continue
		}
		o := w.host(id)
		for _, part := range s.parts {
			if o.power && o.parts[s.name+"/"+part] != down {
				w.violation("two nodes", "%s is started on %s while %s of it runs on %s", s.name, h.name, part, o.name)
			}
		}
		w.violation("before fencing", "%s is started on %s while it is not known that %s does not run it", s.name, h.name, o.name)
	}
	if !p.quorate {
		w.violation("without quorum", "%s is started on %s", s.name, h.name)
	}
	if !s.allows(h.id) {
		w.violation("restricted domain", "%s is started on %s", s.name, h.name)
	}
	// With two_node both sides of a split go on. A pause below the limit can not
	// be noticed; the simulated engine leaves a node out at once when another
	// one boots meanwhile, where corosync waits for its consensus timeout.
	short := h.thawedAt != 0 && w.elapsed()-h.thawedAt < staleLag && h.thawedAt-h.frozenFrom <= w.pause()
	if mine, ok := w.ringOf(h); ok && !w.cfg.Conf.Cman.TwoNode && !short {
		for _, o := range w.hosts {
			if r, ok := w.ringOf(o); ok && o != h && r.quorate && r.seq > mine.seq && w.sim.Now()-r.since > staleLag && !slices.Contains(r.members, h.id) {
				w.violation("stale node", "%s starts something of %s while the cluster went on without it", h.name, s.name)
			}
		}
	}
}
