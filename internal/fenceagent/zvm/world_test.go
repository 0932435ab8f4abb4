package zvm

import (
	"container/heap"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/haobox/haobox/internal/fenceagent"
	"github.com/haobox/haobox/internal/smapi"
)

// world is a handful of z/VM systems in virtual time, as small as the core
// can tell: one guest, which may be active on one member. It is the oracle of
// the tests; package zvmsim is the full simulation.
type world struct {
	now     time.Time
	known   bool // the guest is in the directory
	members []system
	// logoff and logon are how long the guest takes.
	logoff, logon time.Duration
	// faults happen to calls in turn; a call without one is answered well
	// after a millisecond.
	faults []fault
	calls  []Call
	log    []string
	// wasOff says that the guest was off at some time since the start.
	wasOff     bool
	activation int
}

type system struct {
	power power
	until time.Time // end of stopping or starting
	// dead never answers; closed refuses connections.
	dead, closed bool
	lines        []string // states by SSI_Query
	noDirectory  bool
}

type power int

const (
	powerOff power = iota
	powerOn
	powerStopping
	powerStarting
	powerCycling
)

// fault is what happens to one call.
type fault struct {
	function string // "" for any
	// kind is "refuse" (not connected), "lose" (done, answer lost), "drop"
	// (not done, answer lost), "lie" (answered, not done), "code".
	kind        string
	ret, reason int
	names       []string // that come with the code
	delay       time.Duration
}

var (
	errRefused = &smapi.TransportError{Function: "X", Kind: smapi.ErrConnect, Err: errors.New("connection refused")}
	errLost    = &smapi.TransportError{Function: "X", Kind: smapi.ErrLost, Err: smapi.ErrTimeout}
)

func newWorld(members ...power) *world {
	w := &world{now: time.Date(2013, 12, 31, 14, 38, 23, 0, time.UTC), known: true, logoff: 1500 * time.Millisecond, logon: 500 * time.Millisecond}
	for _, p := range members {
		w.members = append(w.members, system{power: p, lines: nil})
	}
	return w
}

// plan is the agent's default plan for the world.
func (w *world) plan(action string) Plan {
	p := Plan{
		Action: action, Guest: "CNODE1", ForceTime: "IMMED", MissingAsOff: true,
		LookLimit: 10 * time.Second, CallLimit: 10 * time.Second, PowerTimeout: 20 * time.Second,
		PollInterval: time.Second, OnAttempts: 1,
	}
	if action == fenceagent.On {
		p.OnAttempts = 2
	}
	for i := range w.members {
		p.Members = append(p.Members, fmt.Sprintf("ZVM%d", i+1))
	}
	return p
}

// settle moves the guests on to the present.
func (w *world) settle() {
	for i := range w.members {
		s := &w.members[i]
		for !s.until.IsZero() && !w.now.Before(s.until) {
			switch s.power {
			case powerStopping:
				s.power, s.until = powerOff, time.Time{}
				w.wasOff = true
			case powerCycling:
				s.power, s.until = powerStarting, s.until.Add(w.logon)
				w.wasOff = true
			case powerStarting:
				s.power, s.until = powerOn, time.Time{}
				w.activation++
			}
		}
	}
}

func (w *world) active() bool {
	return slices.ContainsFunc(w.members, func(s system) bool {
		return s.power == powerOn || s.power == powerStopping || s.power == powerCycling
	})
}

// serve is what a member makes of a call, without faults.
func (w *world) serve(c Call) Answer {
	s := &w.members[c.Member]
	a := Answer{ID: c.ID}
	code := func(ret, reason int) Answer { a.Return, a.Reason = ret, reason; return a }
	switch c.Function {
	case smapi.ImageStatusQuery:
		switch s.power {
		case powerOff, powerStarting:
			return code(0, 12)
		case powerOn, powerCycling:
			a.Names = []string{"CNODE1"}
			return a
		}
		return code(200, 16)
	case smapi.ImageDeactivate:
		switch s.power {
		case powerOn, powerCycling:
			s.power, s.until = powerStopping, w.now.Add(w.logoff)
			w.settle()
			return code(0, 0)
		case powerStopping:
			return code(200, 16)
		case powerStarting:
			s.power, s.until = powerOff, time.Time{}
		}
		return code(200, 12)
	case smapi.ImageRecycle:
		if s.power != powerOn {
			return code(200, 12)
		}
		s.power, s.until = powerCycling, w.now.Add(w.logoff)
		w.settle()
		return code(0, 0)
	case smapi.ImageActivate:
		switch {
		case !w.known:
			return code(200, 4)
		case s.power == powerStopping:
			return code(200, 16)
		case s.power != powerOff || w.active():
			return code(200, 8)
		}
		s.power, s.until = powerStarting, w.now.Add(w.logon)
		w.settle()
		return code(0, 0)
	case smapi.ImageQueryActivateTime:
		if s.power == powerOff || s.power == powerStarting {
			return code(200, 12)
		}
		a.Names = []string{fmt.Sprint(w.activation)}
		return a
	case smapi.ImageNameQueryDM:
		if s.noDirectory {
			return code(500, 8)
		}
		a.Names = []string{"CMANAGER", "CNODE2"}
		if w.known {
			a.Names = append(a.Names, "CNODE1")
		}
		return a
	case smapi.ImageQueryDM:
		switch {
		case s.noDirectory:
			return code(500, 8)
		case !w.known:
			return code(400, 4)
		}
		return a
	case smapi.SSIQuery:
		a.Names = s.lines
		return a
	}
	return code(900, 12)
}

// pending is an answer on its way.
type pending struct {
	at time.Time
	a  Answer
}

type queue []pending

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].at.Before(q[j].at) }
func (q queue) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(x any)        { *q = append(*q, x.(pending)) }
func (q *queue) Pop() any {
	old := *q
	x := old[len(old)-1]
	*q = old[:len(old)-1]
	return x
}

// answer decides when a call is answered and how.
func (w *world) answer(c Call) pending {
	f := fault{delay: time.Millisecond}
	if len(w.faults) > 0 && (w.faults[0].function == "" || w.faults[0].function == c.Function) {
		f, w.faults = w.faults[0], w.faults[1:]
	}
	s := &w.members[c.Member]
	silence := pending{w.now.Add(c.Limit), Answer{ID: c.ID, Err: errLost}}
	at := w.now.Add(f.delay)
	switch {
	case s.closed, f.kind == "refuse":
		return pending{at, Answer{ID: c.ID, Err: errRefused}}
	case s.dead:
		return silence
	case f.kind == "lie":
		return pending{at, Answer{ID: c.ID}}
	case f.kind == "code":
		return pending{at, Answer{ID: c.ID, Return: f.ret, Reason: f.reason, Names: f.names}}
	case f.kind == "drop":
		return pending{at, Answer{ID: c.ID, Err: errLost}}
	}
	a := w.serve(c)
	if f.kind == "lose" {
		a = Answer{ID: c.ID, Err: errLost}
	}
	if f.delay > c.Limit {
		return silence
	}
	return pending{at, a}
}

// fataler is the part of testing.TB and rapid.T that run needs.
type fataler interface {
	Fatalf(format string, args ...any)
}

// run drives the core to its end and returns the outcome and the time it
// took. It fails the test if the core stands still.
func (w *world) run(t fataler, p Plan) (Outcome, time.Duration) {
	w.settle()
	w.wasOff = !w.active()
	core := NewCore(p)
	start := w.now
	var q queue
	var a *Answer
	for steps := 0; steps < 20_000; steps++ {
		acts := core.Step(w.now, a)
		w.log = append(w.log, acts.Warnings...)
		if acts.Done != nil {
			return *acts.Done, w.now.Sub(start)
		}
		for _, c := range acts.Calls {
			w.calls = append(w.calls, c)
			heap.Push(&q, w.answer(c))
		}
		if len(q) > 0 && !q[0].at.After(acts.Wake) {
			next := heap.Pop(&q).(pending)
			w.advance(next.at)
			a = &next.a
			continue
		}
		if !acts.Wake.After(w.now) {
			t.Fatalf("the core wants to be woken at %v, which is not after %v; calls %s", acts.Wake, w.now, w.functions())
		}
		w.advance(acts.Wake)
		a = nil
	}
	t.Fatalf("no end after 20000 steps and %v: %s", w.now.Sub(start), w.functions())
	return Outcome{}, 0
}

func (w *world) advance(to time.Time) {
	if to.After(w.now) {
		w.now = to
	}
	w.settle()
}

// functions is the calls that were made, in short.
func (w *world) functions() string {
	var out []string
	for _, c := range w.calls {
		name := strings.TrimPrefix(c.Function, "Image_")
		if len(w.members) > 1 {
			name = fmt.Sprintf("%s@%d", name, c.Member+1)
		}
		out = append(out, name)
	}
	return strings.Join(slices.Compact(out), " ")
}
