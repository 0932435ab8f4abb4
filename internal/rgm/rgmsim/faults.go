package rgmsim

import (
	"fmt"
	"slices"
	"time"

	"github.com/haobox/haobox/internal/cluster"
	"github.com/haobox/haobox/internal/rgm"
)

// ring is what a host's engine says.
type ring struct {
	seq     uint64
	quorate bool
	members []cluster.NodeID
	since   time.Duration
}

func (w *world) ringOf(h *host) (ring, bool) {
	if !h.power || !h.engine || w.sim.Frozen(h.id) || h.proc == nil {
		return ring{}, false
	}
	return h.proc.ring, h.proc.ring.seq != 0
}

// lookSoon has watchFencing called in a second.
func (w *world) lookSoon() {
	if !w.looking && w.fences == nil {
		w.looking = true
		w.sim.After(time.Second, w.watchFencing)
	}
}

// watchFencing looks who misses whom, and shoots.
func (w *world) watchFencing() {
	w.looking = false
	for _, h := range w.hosts {
		if h.shooting {
			continue
		}
		missed := false
		for _, by := range w.hosts {
			r, ok := w.ringOf(by)
			if !ok || !r.quorate || slices.Contains(r.members, h.id) || by == h {
				continue
			}
			missed = true
			if !h.offNow {
				w.shoot(by, h)
			}
			break
		}
		if missed {
			w.lookSoon()
			if h.offNow {
				w.tellSafe(h)
			}
		}
	}
}

// shoot tries to switch a host off after a while.
func (w *world) shoot(by, h *host) {
	h.shooting = true
	w.sim.After(w.between(300*time.Millisecond, 8*time.Second), func() {
		h.shooting = false
		r, ok := w.ringOf(by)
		switch {
		case !ok || !r.quorate || slices.Contains(r.members, h.id):
			return // it came back, or the one that shoots is gone itself
		case w.sim.Now() < w.fenceBad:
			w.line(by.id, true, rgm.LevelInfo, "fencing of %s fails", h.name)
			return
		}
		was := h.power
		h.off("fenced by " + by.name)
		h.offNow, h.offRing = true, r.seq
		for _, s := range w.services {
			delete(s.maybe, h.id)
		}
		w.line(by.id, true, rgm.LevelInfo, "%s is fenced", h.name)
		w.tellSafe(h)
		if was {
			h.bootLater()
		}
	})
}

// tellSafe tells everybody that a host is off, as of the ring in which its
// fencing is known.
func (w *world) tellSafe(h *host) {
	for _, o := range w.hosts {
		p := o.proc
		if p == nil {
			continue
		}
		r, ok := w.ringOf(o)
		if !ok || slices.Contains(r.members, h.id) {
			continue
		}
		h.offRing = max(h.offRing, r.seq)
		seq := r.seq
		if p.told[h.id] == seq {
			continue
		}
		p.told[h.id] = seq
		life := h.life
		w.sim.After(w.upTo(20*time.Millisecond), func() {
			o.run(func() {
				if h.life == life && o.proc == p {
					p.step(rgm.NodeSafe{Node: h.id, Ring: seq})
				}
			})
		})
	}
}

// nextFault makes faults until the end.
func (w *world) nextFault(end time.Duration) {
	if w.elapsed() >= end {
		return
	}
	if w.sim.Now() >= w.quiet {
		w.fault()
	}
	d := w.upTo(2 * w.cfg.Every)
	if lull := w.lull(); w.disk != nil && d > lull {
		w.sim.After(lull, func() { w.pass(d-lull, end) })
		return
	}
	w.sim.After(d, func() { w.nextFault(end) })
}

func (w *world) anyHost() *host       { return w.hosts[w.rng.IntN(len(w.hosts))] }
func (w *world) anyService() *service { return w.services[w.rng.IntN(len(w.services))] }

// fault makes one thing go wrong, or a person do something.
func (w *world) fault() {
	if len(w.services) == 0 {
		return
	}
	h, s, now := w.anyHost(), w.anyService(), w.sim.Now()
	w.faults++
	if w.disk != nil && w.chance(diskFaults) {
		w.disk.Fault(w.disk.Members[w.rng.IntN(len(w.disk.Members))])
		return
	}
	if w.cfg.Together && len(w.hosts) > 1 && w.chance(togetherFaults) {
		w.pauseSome()
		return
	}
	note := func(format string, args ...any) { w.line(h.id, true, rgm.LevelInfo, format, args...) }
	n := w.rng.IntN(100)
	if w.cfg.Calm && n >= 78 {
		n = w.rng.IntN(78)
	}
	switch {
	case n < 10:
		if h.power {
			h.off("it crashed")
			h.bootLater()
		}
	case n < 22:
		if h.power && !w.sim.Frozen(h.id) {
			note("%s is frozen", h.name)
			h.freeze()
			h.thawIn(w.between(200*time.Millisecond, 40*time.Second))
		}
	case n < 30:
		w.split()
	case n < 46:
		// Something of a service ends by itself.
		if o := w.host(s.node); o != nil && len(s.checked) > 0 {
			part := s.checked[w.rng.IntN(len(s.checked))]
			w.line(o.id, true, rgm.LevelInfo, "%s of %s fails", part, s.name)
			o.set(s.name+"/"+part, broken)
			if o.proc != nil {
				p := o.proc
				w.sim.After(w.upTo(10*time.Second), func() {
					o.run(func() {
						if !p.dead {
							p.step(rgm.Check{Service: s.name})
						}
					})
				})
			}
		}
	case n < 52:
		if h.power {
			note("%s can not be started on %s for a while", s.name, h.name)
			h.startBad[s.name] = now + w.upTo(30*time.Second)
		}
	case n < 54:
		if h.power {
			note("%s can not be stopped on %s for a while", s.name, h.name)
			h.stopBad[s.name] = now + w.upTo(15*time.Second)
		}
	case n < 60:
		if h.power {
			note("agents of %s on %s are slow for a while", s.name, h.name)
			h.slow[s.name] = now + w.upTo(20*time.Second)
		}
	case n < 66:
		w.line(0, true, rgm.LevelInfo, "fencing fails for a while")
		if w.fences != nil {
			w.fences.fail(w.upTo(2 * time.Minute))
			return
		}
		w.fenceBad = now + w.upTo(30*time.Second)
	case n < 70:
		if h.power && h.engine && !w.sim.Frozen(h.id) {
			h.loseEngine()
		}
	case n < 72 && w.fences != nil:
		if d := h.fenced; d != nil && !w.sim.Frozen(h.id) {
			note("fenced of %s is killed", h.name)
			d.end()
			w.sim.Kill(d.engine)
			h.After(w.between(200*time.Millisecond, 5*time.Second), h.startFenced)
		}
	case n < 78:
		if p := h.proc; p != nil && !w.sim.Frozen(h.id) {
			note("rgmanager of %s is killed", h.name)
			p.kill()
			life := h.life
			w.sim.After(w.between(200*time.Millisecond, 5*time.Second), func() { h.startProc(life) })
		}
	case n < 82:
		if p := h.proc; p != nil && !w.sim.Frozen(h.id) {
			keep := w.chance(50)
			note("rgmanager of %s is restarted, services kept: %v", h.name, keep)
			p.step(rgm.Shutdown{Keep: keep})
		}
	case n < 84:
		w.update()
	default:
		w.person(h, s)
	}
}

// togetherFaults of a hundred faults are pauses of several nodes, with
// Config.Together.
const togetherFaults = 8

// pauseSome pauses several nodes at the same moment, or all, as the hypervisor
// does that they have in common. Around that the network may split, and one that
// goes on may crash.
func (w *world) pauseSome() {
	all := w.rng.Perm(len(w.hosts))
	k := 2 + w.rng.IntN(len(all)-1)
	last := w.between(200*time.Millisecond, 40*time.Second)
	if w.chance(40) { // before, while they are paused, or as they go on
		w.sim.After(w.upTo(last+last/4), w.splitUnlessOver)
		if w.chance(50) {
			w.split()
		}
	}
	at := w.upTo(3 * time.Second)
	same := w.chance(50)
	w.sim.After(at, func() {
		if w.calm {
			return
		}
		for _, i := range all[:k] {
			h := w.hosts[i]
			d := last
			if !same {
				d = w.between(200*time.Millisecond, last)
			}
			if h.power && !w.sim.Frozen(h.id) {
				w.line(h.id, true, rgm.LevelInfo, "%s is frozen, at the same time as others", h.name)
				h.freeze()
				h.thawIn(d)
			}
		}
	})
	if k < len(all) && w.chance(30) {
		h := w.hosts[all[k]]
		w.sim.After(at+w.upTo(last), func() {
			if !w.calm && h.power {
				h.off("it crashed")
				h.bootLater()
			}
		})
	}
}

// thawIn lets a host go on in a while, in this life.
func (h *host) thawIn(d time.Duration) {
	life := h.life
	h.w.sim.After(d, func() {
		if h.life == life {
			h.thaw()
		}
	})
}

// split cuts the network in two for a while.
func (w *world) split() {
	k := 1 + w.rng.IntN(max(len(w.hosts)-1, 1))
	var part []cluster.NodeID
	for _, i := range w.rng.Perm(len(w.hosts))[:k] {
		part = append(part, w.hosts[i].id)
	}
	slices.Sort(part)
	w.line(0, true, rgm.LevelInfo, "the network splits: %v on one side", part)
	w.parted = true
	w.sim.Partition(part)
	w.sim.After(w.between(time.Second, 40*time.Second), func() {
		w.line(0, true, rgm.LevelInfo, "the network is whole again")
		w.parted = false
		w.sim.Heal()
	})
}

func (w *world) splitUnlessOver() {
	if !w.calm {
		w.split()
	}
}

func (h *host) loseEngine() {
	w := h.w
	if !h.power || !h.engine || w.sim.Frozen(h.id) {
		return
	}
	w.line(h.id, true, rgm.LevelInfo, "the cluster engine of %s ends", h.name)
	h.engine = false
	w.sim.Lose(h.id)
	h.engineEnded()
}

// engineEnded: the machine goes on without its engine, which is started again.
func (h *host) engineEnded() {
	h.qdiskd.end()
	life := h.life
	h.w.sim.After(h.w.between(5*time.Second, 30*time.Second), func() {
		if h.life == life && !h.engine {
			h.restartEngine()
		}
	})
}

// quorate is what rgmanager of the host was told.
func (h *host) quorate() bool { return h.proc == nil || h.proc.quorate }

// update gives all nodes the next configuration, one after the other.
func (w *world) update() {
	if w.version >= len(w.cfg.Updates) {
		return
	}
	conf := w.cfg.Updates[w.version]
	w.version++
	version := w.version
	w.learn(conf)
	w.line(0, true, rgm.LevelInfo, "configuration %d", conf.Version)
	for _, h := range w.hosts {
		p := h.proc
		w.sim.After(w.upTo(3*time.Second), func() {
			h.run(func() {
				if p != nil && !p.dead && p.conf >= 0 {
					p.conf = max(p.conf, version)
					p.step(rgm.Config{Config: conf, Set: conf.Set(w.cfg.Rules)})
				}
			})
		})
	}
}

// person does something with a service.
func (w *world) person(h *host, s *service) {
	if s.keepOnAdd && w.chance(40) {
		w.byHand(s)
		return
	}
	kinds := []rgm.Kind{rgm.Relocate, rgm.Restart, rgm.Disable, rgm.Enable, rgm.UserStop, rgm.Freeze, rgm.Unfreeze, rgm.Lock, rgm.Unlock, rgm.Migrate, rgm.Convalesce}
	r := rgm.Request{Kind: kinds[w.rng.IntN(len(kinds))], Service: s.name}
	if w.chance(50) {
		r.Target = w.anyHost().id
	}
	if r.Kind == rgm.Disable && w.failed(s) {
		return // the person would have to look after what may still run
	}
	if r.Kind == rgm.Lock || r.Kind == rgm.Unlock {
		r.Service, r.Target = "", 0
	}
	w.ask(h, r)
}

// byHand: somebody moves a guest without rgmanager, at a moment when all is
// well and stays so until it is noticed.
func (w *world) byHand(s *service) {
	h := w.host(s.node)
	to := w.anyHost()
	if h == nil || to == h || w.parted || w.disk != nil && (w.disk.Faulty() || w.disk.Settled() != "") {
		return
	}
	for _, o := range w.hosts {
		r, ok := w.ringOf(o)
		if !ok || o.shooting || !o.proc.core.Ready() || len(r.members) != len(w.hosts) {
			return
		}
	}
	st := h.proc.core.Status()
	if slices.ContainsFunc(st.Nodes, func(n rgm.NodeStatus) bool { return n.Leaving }) {
		return // nobody would find it there
	}
	for _, x := range st.Services {
		if x.Name == s.name && (x.State != rgm.Started || x.Owner != h.id || x.Flags&rgm.Frozen != 0) {
			return // or nobody would look after it
		}
	}
	w.line(0, true, rgm.LevelInfo, "somebody moves %s from %s to %s by hand", s.name, h.name, to.name)
	h.migrated(s, to.name)
	w.quiet = w.sim.Now() + 20*time.Second
	p := h.proc
	var check func()
	check = func() {
		h.run(func() {
			if p.dead {
				return
			}
			p.step(rgm.Check{Service: s.name})
			// Checks of what is well are left out, but this may have been broken off.
			if h.parts[s.name+"/"+s.parts[0]] == down && slices.ContainsFunc(p.core.Status().Services, func(x rgm.ServiceStatus) bool {
				return x.Name == s.name && x.State == rgm.Started && x.Owner == h.id
			}) {
				w.sim.After(missedAgain, check)
			}
		})
	}
	w.sim.After(w.upTo(2*time.Second), check)
}

// missedAgain is when a guest that is not where it was is checked again: the
// interval of vm's status.
const missedAgain = 30 * time.Second

// failed reports whether some node takes the service for failed.
func (w *world) failed(s *service) bool {
	for _, h := range w.hosts {
		if h.proc == nil {
			continue
		}
		for _, x := range h.proc.core.Status().Services {
			if x.Name == s.name && (x.State == rgm.Failed || x.State == rgm.Error || x.State == rgm.Stopping) {
				return true
			}
		}
	}
	return false
}

func (w *world) ask(h *host, r rgm.Request) {
	if p := h.proc; p != nil && !w.sim.Frozen(h.id) {
		w.line(h.id, true, rgm.LevelInfo, "somebody on %s asks to %s %s", h.name, r.Kind, r.Service)
		w.askID++
		p.step(rgm.Client{ID: w.askID, Request: r})
	}
}

func (h *host) freeze() {
	h.endSpans()
	h.frozenFrom = h.w.elapsed()
	h.w.sim.Freeze(h.id)
	h.paused = true
	h.w.observe()
}

func (h *host) thaw() {
	if !h.w.sim.Frozen(h.id) {
		return
	}
	h.w.line(h.id, true, rgm.LevelInfo, "%s goes on", h.name)
	h.span("frozen", h.frozenFrom)
	h.thawedAt = h.w.elapsed()
	h.w.sim.Thaw(h.id)
	late := h.late
	h.late = nil
	for _, do := range late {
		do()
	}
	h.w.observe()
}

func (h *host) restartEngine() {
	h.w.line(h.id, true, rgm.LevelInfo, "the cluster engine of %s starts", h.name)
	h.engine, h.engineFrom = true, h.w.elapsed()
	h.w.sim.Start(h.id)
	life := h.life
	h.startDaemons()
	h.w.sim.After(h.w.between(time.Second, 3*time.Second), func() { h.startProc(life) })
}

// repair ends all faults.
func (w *world) repair() {
	w.calm = true
	w.line(0, true, rgm.LevelInfo, "all faults end")
	w.parted = false
	w.sim.Heal()
	w.fenceBad = 0
	if w.fences != nil {
		w.fences.mend()
	}
	if w.disk != nil {
		w.disk.Mend()
	}
	for _, h := range w.hosts {
		if h.power {
			h.thaw()
			if !h.engine {
				h.restartEngine()
			}
			clear(h.startBad)
			clear(h.stopBad)
			clear(h.slow)
		}
	}
	// People undo what people did.
	for i := range 4 {
		w.sim.After(time.Duration(i)*time.Minute+90*time.Second, func() {
			if w.fences != nil && i > 0 {
				w.fences.operate()
			}
			for _, h := range w.hosts {
				if h.proc == nil || !h.proc.core.Ready() {
					continue
				}
				if w.version > 0 {
					conf := w.cfg.Updates[w.version-1]
					for _, o := range w.hosts {
						if o.proc != nil {
							o.proc.step(rgm.Config{Config: conf, Set: conf.Set(w.cfg.Rules)})
						}
					}
				}
				st := h.proc.core.Status()
				if st.Locked {
					w.ask(h, rgm.Request{Kind: rgm.Unlock})
				}
				for _, x := range st.Services {
					if x.Flags&rgm.Frozen != 0 {
						w.ask(h, rgm.Request{Kind: rgm.Unfreeze, Service: x.Name})
					}
					if x.Flags&rgm.Partial != 0 {
						w.ask(h, rgm.Request{Kind: rgm.Convalesce, Service: x.Name})
					}
					if s := w.service(x.Name); s != nil && s.autostart && (x.State == rgm.Disabled || x.State == rgm.Stopped && i > 0) {
						w.ask(h, rgm.Request{Kind: rgm.Enable, Service: x.Name, Best: true})
					}
				}
				break
			}
		})
	}
}

// judge looks whether everything is well again.
func (w *world) judge() {
	if w.disk != nil {
		if why := w.disk.Settled(); why != "" {
			w.violation("quorum disk", "%v after the faults ended %s", w.cfg.Settle, why)
		}
	}
	var st *rgm.Status
	for _, h := range w.hosts {
		switch {
		case !h.power || h.proc == nil || !h.proc.core.Ready():
			w.violation("back again", "%s is not a working member %v after the faults ended", h.name, w.cfg.Settle)
		case st == nil:
			x := h.proc.core.Status()
			st = &x
		default:
			x := h.proc.core.Status()
			for i := range x.Services {
				if i >= len(st.Services) || x.Services[i].State != st.Services[i].State || x.Services[i].Owner != st.Services[i].Owner {
					w.violation("one state", "%s and %s differ about %s", h.name, w.hosts[0].name, x.Services[i].Name)
				}
			}
		}
	}
	if st == nil {
		return
	}
	for _, x := range st.Services {
		s := w.service(x.Name)
		if s == nil || !s.autostart {
			continue
		}
		switch {
		case x.State == rgm.Failed:
		case x.State == rgm.Started && s.node == x.Owner:
		case x.State == rgm.Started:
			w.violation("runs again", "%s is called started on %s, but does not run there", x.Name, x.OwnerName)
		case s.depend != "" && w.notRunning(st, s.depend), !w.room(st, s):
		default:
			w.violation("runs again", "%s is %s %v after the faults ended", x.Name, x.StateText, w.cfg.Settle)
		}
	}
}

// room: some node may run a service that does not run. Exclusive ones take a node
// for themselves; with central processing they also get that of a weaker one,
// which has a larger number.
func (w *world) room(st *rgm.Status, s *service) bool {
	return slices.ContainsFunc(w.hosts, func(h *host) bool {
		return s.allows(h.id) && !slices.ContainsFunc(st.Services, func(x rgm.ServiceStatus) bool {
			o := w.service(x.Name)
			if o == nil || o == s || x.State != rgm.Started || x.Owner != h.id {
				return false
			}
			weaker := w.cfg.Conf.RM.CentralProcessing && o.exclusive > s.exclusive
			return s.exclusive > 0 && !weaker || s.exclusive == 0 && o.exclusive > 0
		})
	})
}

func (w *world) notRunning(st *rgm.Status, name string) bool {
	for _, x := range st.Services {
		if x.Name == name {
			return x.State != rgm.Started
		}
	}
	return false
}

// observe follows which services run.
func (w *world) observe() {
	now := w.elapsed()
	for _, s := range w.services {
		var at cluster.NodeID
		for _, h := range w.hosts {
			if !h.power || w.sim.Frozen(h.id) {
				continue
			}
			all := len(s.parts) > 0
			for _, part := range s.parts {
				all = all && h.parts[s.name+"/"+part] == up
			}
			if all {
				at = h.id
			}
		}
		if at == s.node {
			continue
		}
		w.account(s, now)
		if s.node != 0 && w.cfg.Trace {
			w.res.Spans = append(w.res.Spans, Span{s.node, s.name, s.since, now})
		}
		if s.node = at; at != 0 {
			if s.last != 0 && s.last != at {
				s.stats.Moves++
			}
			if !s.began {
				s.began, s.first = true, now
			}
			s.last = at
		} else if s.began {
			s.stats.Outages++
		}
		s.since = now
	}
}

func (w *world) account(s *service, now time.Duration) {
	if !s.began {
		return
	}
	if d := now - s.since; s.node != 0 {
		s.stats.Up += d
	} else {
		s.stats.Longest = max(s.stats.Longest, d)
	}
}

func (h *host) span(what string, from time.Duration) {
	if h.w.cfg.Trace && h.w.elapsed() > from {
		h.w.res.Spans = append(h.w.res.Spans, Span{h.id, what, from, h.w.elapsed()})
	}
}

func (h *host) endSpans() {}

// finish closes the books.
func (w *world) finish() {
	now := w.elapsed()
	for _, s := range w.services {
		w.account(s, now)
		if s.node != 0 && w.cfg.Trace {
			w.res.Spans = append(w.res.Spans, Span{s.node, s.name, s.since, now})
		}
		if s.began {
			s.stats.Total = now - s.first
		}
		w.res.Services = append(w.res.Services, s.stats)
	}
	for _, h := range w.hosts {
		if !h.power {
			h.span("off", h.offFrom)
		}
		if h.proc != nil {
			h.proc.dead = true
			h.proc.core.Close()
		}
	}
	w.res.Faults, w.res.Length = w.faults, now
	if w.disk != nil {
		w.res.Disk = &w.disk.Stats
	}
}

// String is the result in one line.
func (r *Result) String() string {
	return fmt.Sprintf("seed %d: %d faults in %v, %d violations", r.Seed, r.Faults, r.Length, len(r.Violations))
}

// dump shows all cores in the timeline.
func (w *world) dump() {
	for _, h := range w.hosts {
		if h.proc != nil {
			w.line(h.id, true, rgm.LevelDebug, "%s", h.proc.core.Dump())
		}
	}
}
