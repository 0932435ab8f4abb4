package rgm

import (
	"fmt"
	"slices"
	"strings"

	"github.com/haobox/haobox/internal/cluster"
	"github.com/haobox/haobox/internal/restree"
)

// trigger is an <event> of central processing: what to do when something
// happens. Differs from rgmanager, whose events are S/Lang scripts: see
// docs/adr/0013. The text of the element has one order per line or between
// semicolons: enable, start, disable, stop, restart, relocate, freeze,
// unfreeze or convalesce with a service, and optionally "on NODE" or "best";
// "final" ends the processing of the event, the default policy included.
type trigger struct {
	Name                       string
	Class                      uint8
	NodeID, NodeState          int
	Service                    string
	ServiceState, ServiceOwner int
	Orders                     []order
	Final                      bool
}

type order struct {
	Kind    Kind
	Service string
	On      cluster.NodeID
	Best    bool
}

// newTriggers reads the events of a configuration in the order of their
// priorities. What is not in the language is left out.
func newTriggers(set *restree.Set, p *policy) []trigger {
	var out []trigger
	for prio := 1; prio <= 100; prio++ {
		for i := range set.Events {
			if e := &set.Events[i]; e.Priority == prio && e.File == "" {
				if t, err := parseTrigger(e, p); err == nil {
					out = append(out, t)
				}
			}
		}
	}
	return out
}

// triggerFaults says which events are not in the language.
func triggerFaults(set *restree.Set, p *policy) (out []string) {
	for i := range set.Events {
		e := &set.Events[i]
		if e.File == restree.DefaultEventScript {
			continue // the built-in one is the default policy
		}
		if e.File != "" {
			out = append(out, fmt.Sprintf("event %s: script %s is not run; write orders into the element", e.Name, e.File))
		} else if _, err := parseTrigger(e, p); err != nil {
			out = append(out, fmt.Sprintf("event %s: %v", e.Name, err))
		}
	}
	return out
}

func parseTrigger(e *restree.Event, p *policy) (trigger, error) {
	t := trigger{Name: e.Name, Class: uint8(e.Class), NodeID: e.NodeID, NodeState: e.NodeState,
		Service: e.Service, ServiceState: e.ServiceState, ServiceOwner: e.ServiceOwner}
	for _, line := range strings.FieldsFunc(e.Script, func(r rune) bool { return r == '\n' || r == ';' }) {
		w := strings.Fields(line)
		if len(w) == 0 {
			continue
		}
		if w[0] == "final" && len(w) == 1 {
			t.Final = true
			continue
		}
		o := order{Kind: orderKind(w[0])}
		if o.Kind == 0 || len(w) < 2 {
			return t, fmt.Errorf("%q is not an order", strings.TrimSpace(line))
		}
		if o.Service = w[1]; !strings.Contains(o.Service, ":") {
			o.Service = "service:" + o.Service
		}
		switch rest := w[2:]; {
		case len(rest) == 0:
		case len(rest) == 1 && rest[0] == "best":
			o.Best = true
		case len(rest) == 2 && rest[0] == "on":
			for _, n := range p.Nodes {
				if n.Name == rest[1] {
					o.On = n.ID
				}
			}
			if o.On == 0 {
				return t, fmt.Errorf("no node %q", rest[1])
			}
		default:
			return t, fmt.Errorf("%q is not an order", strings.TrimSpace(line))
		}
		t.Orders = append(t.Orders, o)
	}
	if len(t.Orders) == 0 && !t.Final {
		return t, fmt.Errorf("no orders")
	}
	return t, nil
}

func orderKind(word string) Kind {
	switch word {
	case "enable":
		return Enable
	case "start":
		return StartRequest
	case "disable":
		return Disable
	case "stop":
		return UserStop
	case "restart":
		return Restart
	case "relocate":
		return Relocate
	case "freeze":
		return Freeze
	case "unfreeze":
		return Unfreeze
	case "convalesce":
		return Convalesce
	}
	return 0
}

func (w *writer) triggers(all []trigger) {
	w.Count(len(all))
	for _, t := range all {
		w.Text(t.Name)
		w.U8(t.Class)
		w.U32(uint32(int32(t.NodeID)))
		w.U32(uint32(int32(t.NodeState)))
		w.Text(t.Service)
		w.U32(uint32(int32(t.ServiceState)))
		w.U32(uint32(int32(t.ServiceOwner)))
		w.Bool(t.Final)
		w.Count(len(t.Orders))
		for _, o := range t.Orders {
			w.U16(uint16(o.Kind))
			w.Text(o.Service)
			w.Node(o.On)
			w.Bool(o.Best)
		}
	}
}

func (r *reader) triggers() (out []trigger) {
	for range r.Count(maxServices, 26) {
		t := trigger{Name: r.Text(), Class: r.U8(), NodeID: int(int32(r.U32())), NodeState: int(int32(r.U32())),
			Service: r.Text(), ServiceState: int(int32(r.U32())), ServiceOwner: int(int32(r.U32())), Final: r.Bool()}
		for range r.Count(maxServices, 9) {
			t.Orders = append(t.Orders, order{Kind(r.U16()), r.Text(), r.Node(), r.Bool()})
		}
		out = append(out, t)
	}
	return out
}

const (
	classAny     = uint8(restree.AnyEvent)
	classNode    = uint8(restree.NodeEvent)
	classService = uint8(restree.ServiceEvent)
)

// fire runs the orders of the events that fit; true says that the default
// policy is left out.
func (s *state) fire(ev trigger) bool {
	if s.firing {
		return false // what an order does is no event for the table
	}
	s.firing = true
	defer func() { s.firing = false }()
	for _, t := range s.policy.Triggers {
		if !t.fits(ev) {
			continue
		}
		for _, o := range t.Orders {
			s.cause = "event " + t.Name
			s.request(queued{From: cluster.Member{}, requestMsg: requestMsg{Request: Request{Kind: o.Kind, Service: o.Service, Target: o.On, Best: o.Best || o.On == 0}}})
		}
		if t.Final {
			return true
		}
	}
	return false
}

func (t *trigger) fits(ev trigger) bool {
	if t.Class != classAny && t.Class != ev.Class {
		return false
	}
	is := func(want, have int) bool { return want < 0 || want == have }
	switch t.Class {
	case classNode:
		return is(t.NodeID, ev.NodeID) && is(t.NodeState, ev.NodeState)
	case classService:
		return (t.Service == "" || t.Service == ev.Service) && is(t.ServiceState, ev.ServiceState) && is(t.ServiceOwner, ev.ServiceOwner)
	}
	return true
}

// serviceEvent is what central processing does when a service changed; true if
// it did anything.
func (s *state) serviceEvent(c Service) bool {
	if c.State == Recover {
		return false // its events came when it was stopped
	}
	before := len(s.changes)
	final := s.fire(trigger{Class: classService, Service: c.Name, ServiceState: int(c.State), ServiceOwner: int(c.Owner)})
	if final {
		return len(s.changes) > before
	}
	// A stop of a service with a number of exclusiveness of 2 or more does not
	// last: only disabling it does. The stronger come first.
	var waiting []*record
	for _, r := range s.ordered() {
		if x := s.pol(r).Exclusive; r.State == Stopped && r.Task == noTask && (r.Claims || x >= 2 && r.Known && r.RetryAt == 0) {
			waiting = append(waiting, r)
		}
	}
	slices.SortStableFunc(waiting, func(a, b *record) int { return s.pol(a).Exclusive - s.pol(b).Exclusive })
	for _, r := range waiting {
		if !r.Claims {
			s.log(s.lowest(), LevelInfo, r, "Restarting stopped exclusive priority %d service %s", s.pol(r).Exclusive, r.Name)
			s.cause = "a stopped exclusive service is started again"
		}
		s.consider(r)
		switch {
		case r.State != Stopped:
			r.Claims = false
		case !r.Claims:
			r.RetryAt = s.now + int64(RetryAfter.Seconds())
		}
	}
	return len(s.changes) > before
}

// displace makes room for an exclusive service of central processing: the first
// weaker exclusive one that runs on a node it may use is stopped. The service
// is considered again when that is done.
func (s *state) displace(r *record) bool {
	online := s.usableNodes()
	for _, o := range s.ordered() {
		x := s.pol(o).Exclusive
		if o.State != Started || o.Task != noTask || o.Flags&Frozen != 0 || x <= s.pol(r).Exclusive || s.score(r, o.Owner, online) == 0 {
			continue
		}
		s.log(o.Owner, LevelInfo, o, "STOPPING service %s because %s is a higher priority.", o.Name, r.Name)
		s.decide(Decision{Service: o.Name, From: Started, To: Stopping, Why: r.Name + " is exclusive and has a stronger claim"})
		r.Claims = true
		o.endWalk()
		s.stop(o, thenStopped, Stopping)
		return true
	}
	return false
}
