package phasim

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/haobox/haobox/internal/ksys"
)

// Sim runs the Manager and the scripts' own cores over a World in virtual
// time, in one goroutine: the code that decides in production, with
// everything around it simulated. The same World and settings give the same
// Trace.
type Sim struct {
	World   *World
	Manager *Manager
	// Config is that of every script.
	Config ksys.Config
	// Trace has a line per event; Calls one per script that ended.
	Trace []string
	Calls []string
	// Watch, if set, is called after each event.
	Watch func(s *Sim)
	// Done, if set, is called for each script that ended by itself.
	Done func(s *Sim, c ScriptCall)

	queue []pending
	seq   int
	procs []*proc
	files map[string]*disk
	known map[string]bool // nodes that the manager takes for up
	// expelled nodes were lost while they ran (a split): they join again
	// only after the boot that the split policy forces on them.
	expelled map[string]int
}

// ScriptCall is one script that ended.
type ScriptCall struct {
	Node, Script string
	Code         int
	// Epoch is the placement for which it was run, Now the current one.
	Epoch, Now int
	Details    string
}

// pending is something due at a time; seq keeps the order of equals.
type pending struct {
	at  int64
	seq int
	do  func()
}

// disk is a node's state folder.
type disk struct {
	files  map[string]simFile
	holder *proc
}

type simFile struct {
	data    []byte
	changed time.Time
}

// proc is a running script.
type proc struct {
	node   *Node
	script string
	id     int
	epoch  int
	core   ksys.Core
	boots  int
	over   bool
	pid    int
}

// NewSim returns a simulation of the defined cluster of w.
func NewSim(w *World, s Settings, c ksys.Config) *Sim {
	sim := &Sim{World: w, Config: c, files: map[string]*disk{}, known: map[string]bool{}, expelled: map[string]int{}}
	names := make([]string, 0, len(w.Nodes))
	for _, n := range w.Nodes {
		names = append(names, n.Name)
		sim.files[n.Name] = &disk{files: map[string]simFile{}}
		sim.known[n.Name] = n.Up
	}
	sim.Manager = &Manager{Settings: s, Nodes: names}
	return sim
}

// Online starts the cluster services on the nodes that are up.
func (s *Sim) Online() {
	var up []string
	for _, n := range s.World.Nodes {
		if n.Up {
			up = append(up, n.Name)
		}
	}
	s.at(s.World.Now, func() { s.tell(ClusterOnline{Up: up}) })
}

// Send tells the manager something now.
func (s *Sim) Send(ev any) { s.at(s.World.Now, func() { s.tell(ev) }) }

func (s *Sim) at(t int64, do func()) {
	s.seq++
	s.queue = append(s.queue, pending{t, s.seq, do})
}

// RunUntil runs everything up to the virtual time t, or until stop says so.
func (s *Sim) RunUntil(t int64, stop func() bool) {
	for {
		next := int64(-1)
		at := -1
		for i, p := range s.queue {
			if at < 0 || p.at < s.queue[at].at || p.at == s.queue[at].at && p.seq < s.queue[at].seq {
				at, next = i, p.at
			}
		}
		due, found := s.World.nextDue()
		worldFirst := found && (at < 0 || due <= next)
		if worldFirst {
			next = due
		}
		if next < 0 || next > t {
			s.World.AdvanceTo(t)
			return
		}
		if worldFirst {
			s.World.AdvanceTo(max(due, s.World.Now))
			s.flush()
			s.notice()
		} else {
			s.World.AdvanceTo(max(next, s.World.Now))
			do := s.queue[at].do
			s.queue = slices.Delete(s.queue, at, at+1)
			do()
		}
		s.flush()
		if s.Watch != nil {
			s.Watch(s)
		}
		if stop != nil && stop() {
			return
		}
	}
}

// flush moves the World's own trace into ours.
func (s *Sim) flush() {
	s.Trace = append(s.Trace, s.World.Trace...)
	s.World.Trace = nil
}

func (s *Sim) trace(format string, args ...any) {
	s.Trace = append(s.Trace, fmt.Sprintf("T+%06d ", s.World.Now/1000)+fmt.Sprintf(format, args...))
}

// notice ends the scripts of nodes that died, and tells the manager about
// nodes that it lost or that joined.
func (s *Sim) notice() {
	w := s.World
	for _, p := range s.procs {
		if !p.over && (!p.node.Up || p.node.Boots != p.boots) {
			s.end(p)
		}
	}
	for _, n := range w.Nodes {
		joined := n.Up && n.Manager == "ST_STABLE"
		if boots, ok := s.expelled[n.Name]; ok && n.Boots == boots {
			continue
		}
		delete(s.expelled, n.Name)
		if s.known[n.Name] == joined {
			continue
		}
		s.known[n.Name] = joined
		if joined {
			s.at(w.Now, func() { s.tell(NodeJoined{n.Name}) })
			continue
		}
		if !n.Up {
			s.at(w.Now+s.Manager.Settings.Detect.Milliseconds(), func() {
				s.World.event(fmt.Sprintf("NODE_DOWN_COMPLETE on node %d", n.Number))
				s.tell(NodeLost{n.Name})
			})
		}
	}
}

// Expel makes the manager lose a node that still runs.
func (s *Sim) Expel(node string) {
	s.known[node] = false
	s.expelled[node] = s.World.Node(node).Boots
	s.tell(NodeLost{node})
}

// tell gives the manager an event and carries out what it wants.
func (s *Sim) tell(ev any) {
	for _, a := range s.Manager.Step(s.World.Clock(), ev) {
		switch a := a.(type) {
		case SetState:
			s.World.Place(ksys.ResourceGroup, a.Node, a.State)
			s.trace("group %s on %s", a.State, a.Node)
		case SetTimer:
			s.at(s.World.Now+a.At.Sub(s.World.Clock()).Milliseconds(), func() { s.tell(TimerDue{a.ID}) })
		case RunScript:
			s.start(a)
		}
	}
}

// start begins a script.
func (s *Sim) start(r RunScript) {
	n := s.World.Node(r.Node)
	if n == nil || !n.Up {
		return // the node is dead and PowerHA has not noticed: no answer comes
	}
	p := &proc{node: n, script: r.Script, id: r.ID, epoch: s.Manager.Epoch, boots: n.Boots, pid: 10000 + r.ID}
	switch r.Script {
	case "startupmonksys":
		p.core = &ksys.Startup{Policy: s.Config.Policy}
	case "startksys":
		p.core = &ksys.Start{Config: s.Config, Node: n.Name}
	case "stopksys":
		p.core = &ksys.Stop{Config: s.Config, Node: n.Name}
	default:
		p.core = &ksys.Longrun{Config: s.Config, Node: n.Name}
	}
	s.procs = append(slices.DeleteFunc(s.procs, func(p *proc) bool { return p.over }), p)
	if r.Limit > 0 {
		s.at(s.World.Now+r.Limit.Milliseconds(), func() {
			if !p.over {
				s.end(p)
				s.trace("%s %s killed: no answer within %v", n.Name, p.script, r.Limit)
				s.tell(ScriptDone{ID: p.id, Hung: true})
			}
		})
	}
	s.step(p, ksys.Begin{})
}

// end stops a script without a result.
func (s *Sim) end(p *proc) {
	p.over = true
	if d := s.files[p.node.Name]; d.holder == p {
		d.holder = nil
	}
}

// step gives a script's core an event and schedules the answer to its last
// action.
func (s *Sim) step(p *proc, ev ksys.Event) {
	if p.over {
		return
	}
	for _, a := range p.core.Step(s.World.Clock(), ev) {
		if f, ok := a.(ksys.Finish); ok {
			s.end(p)
			c := ScriptCall{p.node.Name, p.script, f.Code, p.epoch, s.Manager.Epoch, f.Details}
			s.Calls = append(s.Calls, fmt.Sprintf("%s %s %d", c.Node, c.Script, c.Code))
			s.trace("%s %s rc=%d %q", c.Node, c.Script, c.Code, f.Verdict+" "+f.Details)
			if s.Done != nil {
				s.Done(s, c)
			}
			s.tell(ScriptDone{ID: p.id, Code: f.Code})
			return
		}
		s.do(p, a)
	}
}

// answer schedules an event for a script after d.
func (s *Sim) answer(p *proc, d time.Duration, make func() ksys.Event) {
	s.at(s.World.Now+d.Milliseconds(), func() {
		if !p.over {
			s.step(p, make())
		}
	})
}

// do carries out one action in virtual time.
func (s *Sim) do(p *proc, a ksys.Action) {
	w, d := s.World, s.files[p.node.Name]
	full, readonly := w.has(p.node, "fs full"), w.has(p.node, "fs readonly")
	put := func(name string, data []byte) error {
		switch {
		case readonly:
			return errReadOnly
		case full:
			return errNoSpace
		}
		d.files[name] = simFile{data, w.Clock()}
		return nil
	}
	remove := func(name string) {
		if !readonly {
			delete(d.files, name)
		}
	}
	now := func(ev ksys.Event) { s.answer(p, 0, func() ksys.Event { return ev }) }
	command := func(name string, limit time.Duration, make func(a Answer) ksys.Event, argv ...string) {
		ans := w.Exec(Call{Node: p.node.Name, Argv: append([]string{name}, argv...), Scope: "2"})
		took := ans.Took
		if ans.Hang {
			took = limit
		}
		s.answer(p, took, func() ksys.Event { return make(ans) })
	}
	request := func(ans Answer) ksys.Event {
		switch {
		case ans.Hang:
			return ksys.RequestDone{Err: errHang}
		case ans.Code == codeMissing:
			return ksys.RequestDone{Missing: true, Err: errMissing}
		case ans.Code != 0 && !strings.Contains(ans.Stderr, "0513-029") && !strings.Contains(ans.Stderr, "0513-004"):
			return ksys.RequestDone{Err: fmt.Errorf("exit status %d: %s", ans.Code, firstLine(ans.Stderr))}
		}
		return ksys.RequestDone{}
	}
	switch a := a.(type) {
	case ksys.ReadFlag:
		f, ok := d.files[ksys.FlagFile]
		seen := ksys.FlagSeen{}
		if ok {
			seen.Verdict, seen.State, seen.Why = ksys.JudgeFlag(f.data, f.changed, p.node.Name, p.node.BootID(), w.Clock(), s.Config.FlagMaxAge)
		}
		now(seen)
	case ksys.CreateFlag:
		if _, ok := d.files[ksys.FlagFile]; ok {
			now(ksys.FlagCreated{Exists: true})
			return
		}
		f := ksys.Flag{Node: p.node.Name, State: a.State, Created: w.Clock(), Boot: p.node.BootID(), PID: p.pid}
		now(ksys.FlagCreated{Err: put(ksys.FlagFile, f.Encode())})
	case ksys.MarkFlag:
		if f, ok := d.files[ksys.FlagFile]; ok {
			if flag, ok := ksys.ParseFlag(f.data, f.changed); ok {
				flag.State = a.State
				_ = put(ksys.FlagFile, flag.Encode())
			}
		}
	case ksys.RemoveFlag:
		remove(ksys.FlagFile)
	case ksys.TryLock:
		free := d.holder == nil
		if free {
			d.holder = p
		}
		now(ksys.LockTried{OK: free})
	case ksys.LookLock:
		h := d.holder
		seen := ksys.LockSeen{Busy: h != nil}
		if h != nil {
			seen.By = h.script
		}
		now(seen)
	case ksys.RequestCancel:
		_ = put(ksys.CancelFile, []byte(fmt.Sprint(p.pid)))
	case ksys.ClearCancel:
		remove(ksys.CancelFile)
	case ksys.QueryDaemon:
		command("lssrc", a.Limit, func(ans Answer) ksys.Event { return ksys.DaemonSeen(s.daemon(p.node, ans)) }, "-s", ksys.DaemonName)
	case ksys.QueryLeader:
		command("lssrc", a.Limit, func(ans Answer) ksys.Event { return ksys.LeaderSeen(s.leader(p.node, ans)) }, "-ls", "IBM.ConfigRM")
	case ksys.QueryBoth:
		one := w.Exec(Call{Node: p.node.Name, Argv: []string{"lssrc", "-s", ksys.DaemonName}})
		command("lssrc", a.Limit, func(ans Answer) ksys.Event {
			return ksys.BothSeen{Daemon: s.daemon(p.node, one), Leader: s.leader(p.node, ans)}
		}, "-ls", "IBM.ConfigRM")
	case ksys.StartDaemon:
		command("startsrc", a.Limit, request, "-s", ksys.DaemonName)
	case ksys.StopDaemon:
		argv := []string{"-s", ksys.DaemonName}
		if a.Level != "" {
			argv = append([]string{a.Level}, argv...)
		}
		command("stopsrc", a.Limit, request, argv...)
	case ksys.ProbeDaemon:
		command("lssrc", a.Limit, func(ans Answer) ksys.Event {
			if ans.Hang || ans.Code != 0 {
				return ksys.RequestDone{Err: errHang}
			}
			return ksys.RequestDone{}
		}, "-ls", ksys.DaemonName)
	case ksys.LoadCounter:
		now(ksys.CounterSeen(ksys.ParseCounter(d.files[ksys.CounterFile].data)))
	case ksys.SaveCounter:
		_ = put(ksys.CounterFile, a.Counter.Encode())
	case ksys.RemoveCounter:
		remove(ksys.CounterFile)
	case ksys.Sleep:
		s.answer(p, a.For, func() ksys.Event {
			_, cancel := d.files[ksys.CancelFile]
			return ksys.Woke{Cancelled: a.Watch && cancel && s.alive(d.files[ksys.CancelFile])}
		})
	}
}

var (
	errHang    = errors.New("no answer")
	errMissing = errors.New("not found")
)

// alive reports whether the writer of a request to give up still runs.
func (s *Sim) alive(f simFile) bool {
	for _, p := range s.procs {
		if !p.over && fmt.Sprint(p.pid) == string(f.data) {
			return true
		}
	}
	return false
}

// daemon reads the simulated state; the text and its parser are platform/src's
// business and tested there.
func (s *Sim) daemon(n *Node, a Answer) ksys.Daemon {
	switch {
	case a.Hang:
		return ksys.Daemon{Why: "timeout"}
	case a.Code == codeMissing:
		return ksys.Daemon{Missing: true, Why: "missing"}
	}
	for line := range strings.Lines(a.Stdout) {
		f := strings.Fields(line)
		if len(f) < 3 || f[0] != ksys.DaemonName {
			continue
		}
		d := ksys.Daemon{State: ksys.DaemonStateOf(f[len(f)-1])}
		if len(f) == 4 {
			fmt.Sscan(f[2], &d.PID)
		}
		return d
	}
	return ksys.Daemon{Why: "garbled"}
}

func (s *Sim) leader(n *Node, a Answer) ksys.Leader {
	switch {
	case a.Hang:
		return ksys.Leader{Why: "timeout"}
	case a.Code == codeMissing:
		return ksys.Leader{Missing: true, Why: "missing"}
	}
	_, rest, ok := strings.Cut(a.Stdout, "   GroupLeader: ")
	name, _, _ := strings.Cut(rest, ",")
	switch {
	case a.Code != 0:
		return ksys.Leader{Why: "configrm-down"}
	case !ok || name == "":
		return ksys.Leader{Why: "no-line"}
	case !ksys.SameHost(name, n.Name):
		return ksys.Leader{Where: ksys.LeaderRemote, Name: name}
	case s.World.has(n, "domain pending") || s.World.has(n, "domain offline"):
		return ksys.Leader{Name: name, Why: "domain-not-online"}
	}
	return ksys.Leader{Where: ksys.LeaderLocal, Name: name}
}

// Status is the cluster as ksysstatus sees it.
func (s *Sim) Status() ksys.Report { return ksys.Judge(s.World.Observe(), false) }
