package restree

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/haobox/haobox/internal/xmldoc"
)

// State is the condition of a node of the tree.
type State uint8

// The conditions, with rgmanager's numbers.
const (
	Stopped State = iota
	Started
	Failed
	// Disabled: a non-critical subtree that was stopped after a failure and
	// stays stopped.
	Disabled
)

// String returns "stopped", "started", "failed" or "disabled".
func (s State) String() string {
	return [...]string{"stopped", "started", "failed", "disabled"}[s&3]
}

// Node is one occurrence of a resource in the tree. An operation owns it while
// it runs; between operations it may be read by anyone.
type Node struct {
	Resource *Resource
	Parent   *Node
	Children []*Node
	// Actions is this occurrence's copy of the action table.
	Actions []Action
	// Elem is the occurrence: the inline definition, or what has the ref.
	Elem *xmldoc.Element

	// Independent: a failure below is recovered in place. NonCritical, which
	// includes it: the service goes on without this subtree.
	Independent, NonCritical bool
	// EnforceTimeouts: the agent is ended when its action's timeout is over.
	EnforceTimeouts bool
	// MaxFailures status failures within FailureWindow are tolerated; without
	// both there is no counter.
	MaxFailures   int
	FailureWindow time.Duration
	// MaxRestarts in-place restarts of an independent subtree within
	// RestartWindow are tolerated; without both there is no counter.
	MaxRestarts   int
	RestartWindow time.Duration

	// NeedStart, NeedStop and Reconfig say what a reload or a failed check
	// left to do. Quiesce: stop it and leave it stopped.
	NeedStart, NeedStop, Reconfig, Quiesce bool
	// State is the condition on this machine.
	State State

	xpath    string
	failures []time.Time
	restarts []time.Time
	checked  []time.Time // per entry of Actions: when it was last run
	last     int         // the last check's exit status
	hasLast  bool
}

// ID is "type:name" of its resource.
func (n *Node) ID() string { return n.Resource.ID() }

// Value resolves an attribute in the tree. It reports false for an attribute
// that is not there, and for an inherited one that no ancestor gives.
func (n *Node) Value(name string) (string, bool) {
	if a := n.Resource.Attr(name); a != nil {
		return n.resolve(a)
	}
	return "", false
}

// Resolve returns the value of an attribute of n's resource.
func (n *Node) resolve(a *Attr) (string, bool) {
	for a.Inherited {
		typ, name, typed := strings.Cut(a.Value, "%")
		if !typed {
			name = a.Value
		}
		n = n.Parent
		for typed && n != nil && n.Resource.Rule.Type != typ {
			n = n.Parent
		}
		if n == nil {
			return "", false
		}
		if a = n.Resource.Attr(name); a == nil {
			return "", false
		}
	}
	return a.Value, true
}

// Resolved is an attribute as it is in the tree.
type Resolved struct {
	Name, Value string
	// Null: an inherited attribute that no ancestor gives.
	Null bool
	// Inherited and FromDefault say that the element itself does not have it.
	Inherited, FromDefault bool
}

// Values returns all attributes in the order of slots.
func (n *Node) Values() []Resolved {
	out := make([]Resolved, 0, len(n.Resource.Attrs))
	for i := range n.Resource.Attrs {
		a := &n.Resource.Attrs[i]
		v, ok := n.resolve(a)
		out = append(out, Resolved{a.Name, v, !ok, a.Inherited, a.FromDefault})
	}
	return out
}

// Environ returns the whole environment of the agent for an action at a depth,
// as KEY=value: agents of rgmanager get nothing else, not even a PATH.
// root is the agent directory.
func (n *Node) Environ(root, action string, depth int) []string {
	env := make([]string, 0, len(n.Resource.Attrs)+8)
	for _, v := range n.Values() {
		if !v.Null {
			env = append(env, "OCF_RESKEY_"+v.Name+"="+v.Value)
		}
	}
	// Others that are started: the count without this occurrence.
	others := n.Resource.Incarnations
	if n.State == Started || n.State == Failed {
		others = max(others-1, 0)
	}
	timeout := 0
	if a := findAction(n.Actions, action, depth); a != nil && !n.EnforceTimeouts {
		timeout = a.Timeout
	}
	return append(env,
		"OCF_RESKEY_RGMANAGER_meta_refcnt="+strconv.Itoa(others),
		"OCF_RESKEY_RGMANAGER_meta_timeout="+strconv.Itoa(timeout),
		"OCF_RESOURCE_INSTANCE="+n.ID(),
		"OCF_RESOURCE_TYPE="+n.Resource.Rule.Type,
		"OCF_RA_VERSION_MAJOR=1", "OCF_RA_VERSION_MINOR=0",
		"OCF_ROOT="+root,
		"OCF_CHECK_LEVEL="+strconv.Itoa(depth),
	)
}

// All calls f for n and everything below, parents first, in the order of the
// tree.
func (n *Node) All(f func(*Node)) {
	f(n)
	for _, c := range n.Children {
		c.All(f)
	}
}

// Set is a loaded configuration: what is below <rm>.
type Set struct {
	Rules Rules
	// Resources: shared ones by rule and document, then inline ones as the
	// tree was built.
	Resources []*Resource
	// Tree holds the top level resource groups.
	Tree    []*Node
	Domains []Domain
	Events  []Event
	// Messages is what loading had to say, in order.
	Messages []Message
	// Faults is the same for people: with a place in the file.
	Faults []Fault

	index index
}

// FaultKind says why a part of the configuration is not used.
type FaultKind uint8

// The kinds of faults.
const (
	// FaultMissing: a required or primary attribute has no value.
	FaultMissing FaultKind = iota
	// FaultCollision: a value that must be unique is used twice.
	FaultCollision
	// FaultDangling: a reference to nothing.
	FaultDangling
	// FaultInlineRef: a reference to a resource that is defined inline.
	FaultInlineRef
	// FaultMaxRefs: referenced more often than the type allows.
	FaultMaxRefs
	// FaultLost: an element that is not read because of a fault before it.
	FaultLost
	// FaultForbidden: a child type that the parent's rule forbids.
	FaultForbidden
)

// Fault is an element that loading leaves out.
type Fault struct {
	Kind FaultKind
	Elem *xmldoc.Element
	// Attr is the attribute concerned, or "".
	Attr string
	// Value is what was found.
	Value string
	// Other is the resource that collides.
	Other *Resource
	Rule  *Rule
}

// Load reads everything below <rm> of the root element <cluster>. It never
// fails: what can not be used is left out, with a message and a fault. rules
// are changed by <resource-defaults>; hand in a Clone to keep them.
func Load(rules Rules, cluster *xmldoc.Element) *Set {
	s := &Set{Rules: rules, index: newIndex()}
	s.Messages = append(s.Messages, ApplyDefaults(rules, cluster)...)
	s.load(cluster)
	return s
}

// LoadDelta reads the second file of "rg_test delta": its resource defaults
// are applied to the first file's rules, where they have no effect on it, and
// the messages compare with those. [quirk]
func LoadDelta(first, rules Rules, cluster *xmldoc.Element) *Set {
	s := &Set{Rules: rules, index: newIndex()}
	s.Messages = append(s.Messages, ApplyDefaults(first, cluster)...)
	s.load(cluster)
	return s
}

func (s *Set) load(cluster *xmldoc.Element) {
	rm := cluster.Child("rm")
	if cluster.Name != "cluster" {
		rm = nil
	}
	if rm != nil {
		s.loadResources(rm)
		s.Tree = s.build(nil, rm, "/cluster/rm")
		s.loadDomains(rm, cluster)
	}
	s.loadEvents(rm, cluster)
}

// ApplyDefaults changes the defaults of rules as <resource-defaults> says.
func ApplyDefaults(rules Rules, cluster *xmldoc.Element) []Message {
	defaults := cluster.Child("rm").Child("resource-defaults")
	if defaults == nil {
		return nil
	}
	var msgs []Message
	for _, r := range rules {
		e := defaults.Child(r.Type)
		if e == nil {
			continue
		}
		for i := range r.Params {
			p := &r.Params[i]
			v, ok := e.Attr(p.Name)
			if !ok || p.Primary || p.Unique {
				continue
			}
			old, had := p.Default, p.HasDefault
			if p.Inherit != "" {
				old, had = p.Inherit, true
			}
			switch {
			case had && old == v:
			case had:
				msgs = append(msgs, Message{Text: fmt.Sprintf("changing default for %s attr %s from %s to %s", r.Type, p.Name, old, v)})
			default:
				msgs = append(msgs, Message{Text: fmt.Sprintf("setting default for %s attr %s to %s", r.Type, p.Name, v)})
			}
			p.Inherit, p.Default, p.HasDefault = "", v, true
		}
	}
	return msgs
}

func (s *Set) say(kind Kind, format string, args ...any) {
	s.Messages = append(s.Messages, Message{Kind: kind, Text: fmt.Sprintf(format, args...)})
}

func (s *Set) fault(f Fault) { s.Faults = append(s.Faults, f) }

// loadResources reads <resources>: for each rule its elements in turn. The
// first that can not be loaded ends its type. [quirk]
func (s *Set) loadResources(rm *xmldoc.Element) {
	shared := rm.Child("resources")
	if shared == nil {
		return
	}
	byType := make(map[string][]*xmldoc.Element, len(s.Rules))
	for _, e := range shared.Elements() {
		byType[e.Name] = append(byType[e.Name], e)
	}
	for _, rule := range s.Rules {
		for i, e := range byType[rule.Type] {
			r, missing := newResource(rule, e)
			if r == nil {
				s.fault(Fault{Kind: FaultMissing, Elem: e, Attr: missing, Rule: rule})
				s.lost(byType[rule.Type][i+1:], rule)
				break
			}
			s.Messages = append(s.Messages, r.overrideActions()...)
			s.store(r)
		}
	}
}

func (s *Set) lost(elems []*xmldoc.Element, rule *Rule) {
	for _, e := range elems {
		s.fault(Fault{Kind: FaultLost, Elem: e, Rule: rule})
	}
}

// store adds a resource to the list, or says what it collides with.
func (s *Set) store(r *Resource) bool {
	if a, other := s.index.store(r); a != nil {
		s.Messages = append(s.Messages, collision(r, a)...)
		s.fault(Fault{Kind: FaultCollision, Elem: r.Elem, Attr: a.Name, Value: a.Value, Other: other, Rule: r.Rule})
		return false
	}
	s.Resources = append(s.Resources, r)
	return true
}

// outcome is what became of an element that should be a node.
type outcome uint8

const (
	built outcome = iota
	skipped
	notLoadable
)

// build makes the nodes for the children of e, in rgmanager's order: first the
// declared child types in the order of the rule, then everything else in the
// order of the document.
func (s *Set) build(parent *Node, e *xmldoc.Element, xpath string) []*Node {
	var out []*Node
	children := e.Elements()
	var declared []Child
	if parent != nil {
		declared = parent.Resource.Rule.Children
	}
	if len(children) == 0 {
		return nil
	}
	for _, c := range declared {
		rule := s.Rules.Find(c.Type)
		if c.Forbid || rule == nil {
			continue
		}
		count := 0
		for _, child := range children {
			if child.Name != c.Type {
				continue
			}
			count++
			n, res := s.node(parent, rule, child, xpath+"/"+c.Type+"["+strconv.Itoa(count)+"]")
			if res == notLoadable {
				s.lostAfter(children, child, func(x *xmldoc.Element) bool { return x.Name == c.Type })
				break
			}
			if res == built {
				out = append(out, n)
			}
		}
	}
	for i, child := range children {
		rule := s.Rules.Find(child.Name)
		if rule == nil {
			continue
		}
		if j := slices.IndexFunc(declared, func(c Child) bool { return c.Type == child.Name }); j >= 0 {
			if declared[j].Forbid {
				s.fault(Fault{Kind: FaultForbidden, Elem: child, Rule: rule})
			}
			continue
		}
		path := xpath + "/child::*[" + strconv.Itoa(i+1) + "]"
		n, res := s.node(parent, rule, child, path)
		if res == notLoadable {
			s.say(KindNote, "No resource found @ %s", path)
			s.lostAfter(children, child, func(x *xmldoc.Element) bool {
				return s.Rules.Find(x.Name) != nil && !slices.ContainsFunc(declared, func(c Child) bool { return c.Type == x.Name })
			})
			break
		}
		if res == built {
			out = append(out, n)
		}
	}
	return out
}

func (s *Set) lostAfter(children []*xmldoc.Element, bad *xmldoc.Element, concerns func(*xmldoc.Element) bool) {
	after := false
	for _, c := range children {
		if after && concerns(c) {
			s.fault(Fault{Kind: FaultLost, Elem: c, Rule: s.Rules.Find(c.Name)})
		}
		after = after || c == bad
	}
}

// node makes the node for one element, with everything below it.
func (s *Set) node(parent *Node, rule *Rule, e *xmldoc.Element, xpath string) (*Node, outcome) {
	var r *Resource
	if ref, ok := e.Attr("ref"); ok {
		switch r = s.index.find(rule, ref); {
		case r == nil:
			s.say(KindError, "Reference to nonexistent resource %s (type %s)", ref, rule.Type)
			s.fault(Fault{Kind: FaultDangling, Elem: e, Attr: "ref", Value: ref, Rule: rule})
			return nil, skipped
		case r.Inline:
			s.say(KindError, "Reference to inlined resource %s (type %s) is illegal", ref, rule.Type)
			s.fault(Fault{Kind: FaultInlineRef, Elem: e, Attr: "ref", Value: ref, Other: r, Rule: rule})
			return nil, skipped
		}
	} else {
		var missing string
		if r, missing = newResource(rule, e); r == nil {
			s.fault(Fault{Kind: FaultMissing, Elem: e, Attr: missing, Rule: rule})
			return nil, notLoadable
		}
		r.Inline = true
		s.Messages = append(s.Messages, r.overrideActions()...)
		if !s.store(r) {
			return nil, skipped
		}
	}
	if m := r.MaxRefs(); m > 0 && r.Refs >= m {
		s.say(KindWarning, "Max references exceeded for resource %s (type %s)", r.Attrs[0].Name, rule.Type)
		s.fault(Fault{Kind: FaultMaxRefs, Elem: e, Attr: "ref", Value: r.Name(), Other: r, Rule: rule})
		return nil, skipped
	}
	r.Refs++
	n := &Node{Resource: r, Parent: parent, Elem: e, Actions: slices.Clone(r.Actions), xpath: xpath}
	n.checked = make([]time.Time, len(n.Actions))
	s.specials(n)
	n.Children = s.build(n, e, xpath)
	return n, built
}

// specials reads the attributes that belong to an occurrence, beside a ref too.
func (s *Set) specials(n *Node) {
	if v, ok := n.Elem.Attr("__independent_subtree"); ok && n.Parent != nil {
		switch {
		case strings.EqualFold(v, "yes"), Atoi(v) == 1:
			n.Independent = true
		case strings.EqualFold(v, "non-critical"), Atoi(v) == 2:
			n.Independent, n.NonCritical = true, true
		}
	}
	// The mark is kept on the resource: an occurrence that finds it there, or
	// brings it to one that was referenced before, clears it. The occurrence
	// that was read first keeps its own. [quirk]
	r := n.Resource
	switch {
	case r.Refs > 1 && (r.nonCritical || n.NonCritical):
		s.say(KindNote, "Non-critical flag for %s is being cleared due to multiple references.", r.ID())
		r.nonCritical = false
		if n.NonCritical {
			n.NonCritical, n.Independent = false, false
		}
	case n.NonCritical:
		r.nonCritical = true
	}
	if v, ok := n.Elem.Attr("__enforce_timeouts"); ok {
		n.EnforceTimeouts = strings.EqualFold(v, "yes") || Atoi(v) > 0
	}
	n.MaxFailures, n.FailureWindow = counter(n.Elem, "__max_failures", "__failure_expire_time")
	if n.Independent {
		n.MaxRestarts, n.RestartWindow = counter(n.Elem, "__max_restarts", "__restart_expire_time")
	}
}

// counter reads a number and a window; without both there is no counter.
func counter(e *xmldoc.Element, number, window string) (int, time.Duration) {
	n, w := Atoi(e.Get(number)), ParseTime(e.Get(window))
	if n <= 0 || w <= 0 {
		return 0, 0
	}
	return n, time.Duration(w) * time.Second
}

// Find returns the resource that a reference of the type and value means, as
// rg_test looks it up, or nil.
func (s *Set) Find(typ, value string) *Resource {
	rule := s.Rules.Find(typ)
	if rule == nil {
		return nil
	}
	return s.index.find(rule, value)
}

// TopLevel returns the resource group "type:name", or nil.
func (s *Set) TopLevel(typ, name string) *Node {
	for _, n := range s.Tree {
		if strings.EqualFold(n.Resource.Rule.Type, typ) && n.Resource.Name() == name {
			return n
		}
	}
	return nil
}
