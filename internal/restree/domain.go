package restree

import (
	"fmt"
	"strings"

	"github.com/haobox/haobox/internal/xmldoc"
)

// Domain is a failover domain.
type Domain struct {
	Name                            string
	Ordered, Restricted, NoFailback bool
	Nodes                           []DomainNode
	Elem                            *xmldoc.Element
}

// DomainNode is a member of a failover domain.
type DomainNode struct {
	Name string
	// ID is the node's nodeid, -1 for a name that is not in <clusternodes>.
	ID int
	// Priority is 1 to 100, 0 for none.
	Priority int
}

// Domain returns the failover domain with the name, compared without case, or
// nil.
func (s *Set) Domain(name string) *Domain {
	for i := range s.Domains {
		if strings.EqualFold(s.Domains[i].Name, name) {
			return &s.Domains[i]
		}
	}
	return nil
}

// loadDomains reads the failover domains. A domain that has no name or was
// defined before ends the list, and a node likewise those of its domain.
func (s *Set) loadDomains(rm, cluster *xmldoc.Element) {
	outer := rm.Child("failoverdomains")
	if outer == nil {
		return
	}
	ids := nodeIDs(cluster)
	for _, e := range outer.ChildrenNamed("failoverdomain") {
		name := e.Get("name")
		if name == "" {
			return
		}
		if s.Domain(name) != nil {
			s.say(KindStderr, "#31: Domain %s defined multiple times", name)
			return
		}
		d := Domain{Name: name, Ordered: Atoi(e.Get("ordered")) != 0, Restricted: Atoi(e.Get("restricted")) != 0,
			NoFailback: Atoi(e.Get("nofailback")) != 0, Elem: e}
		s.domainNodes(&d, e, ids)
		s.Domains = append(s.Domains, d)
	}
}

func (s *Set) domainNodes(d *Domain, e *xmldoc.Element, ids map[string]int) {
	seen := map[string]bool{}
	for _, x := range e.ChildrenNamed("failoverdomainnode") {
		n := DomainNode{Name: x.Get("name")}
		if n.Name == "" {
			return
		}
		key := strings.ToLower(n.Name)
		if seen[key] {
			s.say(KindStderr, "#30: Node %s defined multiple times in domain %s", n.Name, d.Name)
			return
		}
		seen[key] = true
		var ok bool
		if n.ID, ok = ids[n.Name]; !ok {
			n.ID = -1
			s.say(KindStderr, "Node %s of failover domain %s is not in clusternodes", n.Name, d.Name)
		}
		if p := Atoi(x.Get("priority")); d.Ordered && p >= 1 && p <= 100 {
			n.Priority = p
		}
		d.Nodes = append(d.Nodes, n)
	}
}

func nodeIDs(cluster *xmldoc.Element) map[string]int {
	ids := map[string]int{}
	nodes := cluster.Child("clusternodes")
	if nodes == nil {
		return ids
	}
	for _, n := range nodes.ChildrenNamed("clusternode") {
		if _, dup := ids[n.Get("name")]; !dup {
			if id, ok := n.Attr("nodeid"); ok {
				ids[n.Get("name")] = Atoi(id)
			}
		}
	}
	return ids
}

// EventClass is what an event trigger waits for.
type EventClass uint8

// The classes of events.
const (
	AnyEvent EventClass = iota
	NodeEvent
	ServiceEvent
)

// Event is a trigger for the scripts of central processing.
type Event struct {
	Name     string
	Class    EventClass
	Priority int
	// File is the script's path, or "" with an inline Script.
	File, Script string

	// NodeID and NodeState (1 up, 0 down) are -1 for any; so are NodeClean and
	// NodeLocal.
	NodeID, NodeState, NodeClean, NodeLocal int
	// Service is "type:name", "" for any.
	Service string
	// ServiceState is the number of a state, -1 for any.
	ServiceState int
	// ServiceOwner is a node id, -1 for any.
	ServiceOwner int
	Elem         *xmldoc.Element
}

const (
	// defaultEventPriority is that of an event without one.
	defaultEventPriority = 99
	// DefaultEventScript is what the built-in event Default runs.
	DefaultEventScript = "/usr/share/cluster/default_event_script.sl"
)

// loadEvents reads the event triggers and adds the built-in one. An event
// without a name ends the list, an invalid one is left out.
func (s *Set) loadEvents(rm, cluster *xmldoc.Element) {
	if outer := rm.Child("events"); outer != nil {
		ids := nodeIDs(cluster)
		for _, e := range outer.ChildrenNamed("event") {
			if e.Get("name") == "" {
				break
			}
			if ev, ok := s.event(e, ids); ok {
				s.Events = append(s.Events, ev)
			}
		}
	}
	def := newEvent("Default")
	def.Priority, def.File = 100, DefaultEventScript
	s.Events = append(s.Events, def)
}

func newEvent(name string) Event {
	return Event{Name: name, Priority: defaultEventPriority, NodeID: -1, NodeState: -1, NodeClean: -1, NodeLocal: -1,
		ServiceState: -1, ServiceOwner: -1}
}

func (s *Set) event(e *xmldoc.Element, ids map[string]int) (Event, bool) {
	ev := newEvent(e.Get("name"))
	ev.Elem, ev.File = e, e.Get("file")
	if ev.File == "" {
		ev.Script = e.Text()
	}
	if v, ok := e.Attr("priority"); ok {
		if ev.Priority = Atoi(v); ev.Priority < 1 || ev.Priority > 100 {
			s.say(KindStderr, "event %s: priority %s invalid", ev.Name, v)
			return ev, false
		}
	}
	if ev.File == "" && strings.TrimSpace(ev.Script) == "" {
		s.say(KindStderr, "event %s: no file and no script", ev.Name)
		return ev, false
	}
	number := func(attr string) int {
		if v, ok := e.Attr(attr); ok {
			return Atoi(v)
		}
		return -1
	}
	switch class := e.Get("class"); class {
	case "":
	case "node":
		ev.Class = NodeEvent
		ev.NodeID, ev.NodeClean, ev.NodeLocal = number("node_id"), number("node_clean"), number("node_local")
		if name, ok := e.Attr("node"); ok && ev.NodeID < 0 {
			if id, known := ids[name]; known {
				ev.NodeID = id
			}
		}
		switch v := e.Get("node_state"); strings.ToLower(v) {
		case "":
		case "up":
			ev.NodeState = 1
		case "down":
			ev.NodeState = 0
		default:
			ev.NodeState = Atoi(v)
		}
	case "service", "resource", "rg":
		ev.Class = ServiceEvent
		ev.Service = e.Get("service")
		if v := e.Get("service_state"); v != "" {
			if ev.ServiceState = stateNumber(v); ev.ServiceState < 0 {
				ev.ServiceState = Atoi(v)
			}
		}
		if v := e.Get("service_owner"); v != "" {
			ev.ServiceOwner = owner(v, ids)
		}
	default: // "config" and "reconfig" are known and refused as well
		s.say(KindStderr, "event %s: class %s unrecognized", ev.Name, class)
		return ev, false
	}
	return ev, true
}

// owner reads service_owner: a node name gives its id; digits give 0 or 1,
// whatever the number. [quirk]
func owner(v string, ids map[string]int) int {
	if id, ok := ids[v]; ok {
		return id
	}
	if strings.Trim(v, "0123456789") == "" {
		return min(Atoi(v), 1)
	}
	return -1
}

// states are the names of resource group states by number, from 110 up
// (rgmanager's state record).
const firstState = 110

func stateNames() []string {
	return []string{"stopped", "starting", "started", "stopping", "failed", "uninitialized", "checking", "recoverable", "recovering", "disabled", "migrating"}
}

func stateNumber(name string) int {
	for i, s := range stateNames() {
		if strings.EqualFold(s, name) {
			return firstState + i
		}
	}
	return -1
}

func stateName(n int) string {
	if i := n - firstState; i >= 0 && i < len(stateNames()) {
		return stateNames()[i]
	}
	return "Unknown"
}

// describe is the event's middle line in rg_test.
func (e *Event) describe() string {
	switch e.Class {
	case NodeEvent:
		return fmt.Sprintf("Node %d State %d", e.NodeID, e.NodeState)
	case ServiceEvent:
		name := e.Service
		if name == "" {
			name = "(null)"
		}
		return fmt.Sprintf("RG %s State %s", name, stateName(e.ServiceState))
	}
	return "(Any event)"
}

// RGNameMax is the longest name of a resource group in bytes, with "type:".
const RGNameMax = 63
