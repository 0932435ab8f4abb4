package restree

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/haobox/haobox/internal/xmldoc"
)

// The causes for which metadata gives no rule.
var (
	// ErrNoRule is XML that is not the metadata of a resource agent.
	ErrNoRule = errors.New("no resource agent metadata")
	// ErrReserved is an agent whose type is the word "action".
	ErrReserved = errors.New("resource type is reserved")
	// ErrTwoPrimaries is a second parameter with primary="1".
	ErrTwoPrimaries = errors.New("more than one primary parameter")
	// ErrInherit is an inherited parameter that is primary, unique or required.
	ErrInherit = errors.New("inherited parameter is primary, unique or required")
)

// MaxLevel is the greatest start or stop level of a child type.
const MaxLevel = 100

// Param is a parameter that an agent declares.
type Param struct {
	Name string
	// Primary marks the identity of a resource; a rule has at most one.
	Primary bool
	// Unique: no two resources of the type share a value.
	Unique bool
	// Required: a resource without it is invalid.
	Required bool
	// Reconfig: a change of the value needs no restart.
	Reconfig bool
	// Inherit is where the value comes from if it is not set: "attr" or
	// "type%attr"; "" for a parameter that is not inherited.
	Inherit string
	// Default is the value if nothing else gives one; HasDefault tells an
	// empty one from none.
	Default    string
	HasDefault bool
	// ContentType is "string", "integer" or "boolean".
	ContentType string
	Short, Long string
}

// Action is an entry of an action table. Times are in seconds.
type Action struct {
	Name string
	// Depth is the check level of status and monitor.
	Depth int
	// Timeout is a hint unless __enforce_timeouts is set; 0 means none.
	Timeout int
	// Interval between status checks; 0 means it is never run by itself.
	Interval int
}

// Child is a child type that a rule declares.
type Child struct {
	Type string
	// Start and Stop are the levels, 1 to MaxLevel; 0 means none.
	Start, Stop int
	// Forbid: elements of this type below the resource are ignored.
	Forbid bool
}

// Rule is what the manager knows of a resource type: the metadata of its
// agent. Rules are not changed once resources were loaded with them.
type Rule struct {
	Type string
	// Agent is the base name of the agent's program ("ip.sh").
	Agent string
	// Params in the order of slots: the primary one is the first.
	Params  []Param
	Actions []Action
	// Children in the order of declaration.
	Children []Child
	// MaxInstances is how often a resource may be referenced; 0 for no limit.
	MaxInstances int
	// InitOnAdd and DestroyOnDelete say whether adding and deleting a top
	// level element stops the resource. They are honoured only for childless
	// ones with a migrate action.
	InitOnAdd, DestroyOnDelete bool
	// OpenParams: the agent also takes attributes that it does not declare,
	// in the order of the document. Ours, for agents that wrap others:
	// <special tag="rgmanager"><attributes any="1"/>.
	OpenParams bool
	// Short, Long and Version are the agent's descriptions of itself.
	Short, Long, Version string
}

// Param returns the parameter with the name, or nil.
func (r *Rule) Param(name string) *Param {
	for i := range r.Params {
		if r.Params[i].Name == name {
			return &r.Params[i]
		}
	}
	return nil
}

// Child returns the declaration of the child type, or nil. Types compare
// without case.
func (r *Rule) Child(typ string) *Child {
	if r == nil {
		return nil
	}
	for i := range r.Children {
		if strings.EqualFold(r.Children[i].Type, typ) {
			return &r.Children[i]
		}
	}
	return nil
}

// HasAction reports whether the table has an entry of that name at depth 0,
// compared without case: what decides whether the agent is run for it.
func (r *Rule) HasAction(name string) bool { return findAction(r.Actions, name, 0) != nil }

func findAction(table []Action, name string, depth int) *Action {
	for i := range table {
		if table[i].Depth == depth && strings.EqualFold(table[i].Name, name) {
			return &table[i]
		}
	}
	return nil
}

// clone copies what loading and defaults may change.
func (r *Rule) clone() *Rule {
	c := *r
	c.Params = slices.Clone(r.Params)
	c.Actions = slices.Clone(r.Actions)
	return &c
}

// ParseRule reads the metadata that an agent printed. agent is the name of
// its program. Messages are what the loader has to say about it; a rule that
// comes with an error is void.
func ParseRule(agent string, text []byte) (*Rule, []Message, error) {
	doc, err := xmldoc.Parse(agent, text)
	if err != nil {
		return nil, nil, err
	}
	root := doc.Root
	typ, ok := root.Attr("name")
	if root.Name != "resource-agent" || !ok || typ == "" {
		return nil, nil, fmt.Errorf("%s: %w: <%s> without a name", agent, ErrNoRule, root.Name)
	}
	if typ == "action" {
		return nil, []Message{{Kind: KindError, Text: "Resource type 'action' is reserved", NoNewline: true}},
			fmt.Errorf("%s: %w: action", agent, ErrReserved)
	}
	r := &Rule{
		Type: typ, Agent: agent, InitOnAdd: true, DestroyOnDelete: true,
		Version: strings.TrimSpace(childText(root, "version")),
		Short:   words(childText(root, "shortdesc")), Long: words(childText(root, "longdesc")),
	}
	var msgs []Message
	void := func(m Message, err error) (*Rule, []Message, error) {
		return nil, append(msgs, m), fmt.Errorf("%s: %w: type %s", agent, err, typ)
	}
	primary := false
	for _, e := range elementsOf(root, "parameters", "parameter") {
		p, ok := parseParam(e)
		if !ok {
			continue
		}
		if p.Inherit != "" && (p.Primary || p.Unique || p.Required) {
			return void(Message{Kind: KindError, Text: "Can not inherit and be primary, unique, or required"}, ErrInherit)
		}
		old := r.Param(p.Name)
		if p.Primary && primary && (old == nil || !old.Primary) {
			return void(Message{Kind: KindError, Text: "Multiple primary definitions for resource type " + typ}, ErrTwoPrimaries)
		}
		if old != nil {
			primary = primary && !old.Primary || p.Primary
			*old = p
			continue
		}
		r.Params = append(r.Params, p)
		if p.Primary {
			// The primary one goes to slot 0; what was there takes the slot
			// that it would have had.
			primary = true
			last := len(r.Params) - 1
			r.Params[0], r.Params[last] = r.Params[last], r.Params[0]
		}
	}
	for _, e := range elementsOf(root, "actions", "action") {
		if name := e.Get("name"); name != "" {
			msgs = append(msgs, r.declare(e, name)...)
		}
	}
	for _, s := range root.ChildrenNamed("special") {
		if s.Get("tag") == "rgmanager" {
			r.parseSpecial(s)
		}
	}
	return r, msgs, nil
}

// elementsOf returns all root/outer/inner elements.
func elementsOf(root *xmldoc.Element, outer, inner string) []*xmldoc.Element {
	var out []*xmldoc.Element
	for _, o := range root.ChildrenNamed(outer) {
		out = append(out, o.ChildrenNamed(inner)...)
	}
	return out
}

func childText(e *xmldoc.Element, name string) string {
	if c := e.Child(name); c != nil {
		return c.Text()
	}
	return ""
}

// words joins the words of a description that is broken over lines.
func words(s string) string { return strings.Join(strings.Fields(s), " ") }

func parseParam(e *xmldoc.Element) (Param, bool) {
	p := Param{
		Name: e.Get("name"), Primary: metaBool(e.Get("primary")), Unique: metaBool(e.Get("unique")),
		Required: metaBool(e.Get("required")), Reconfig: metaBool(e.Get("reconfig")), Inherit: e.Get("inherit"),
		Short: words(childText(e, "shortdesc")), Long: words(childText(e, "longdesc")),
	}
	if c := e.Child("content"); c != nil {
		p.ContentType = c.Get("type")
		p.Default, p.HasDefault = c.Attr("default")
	}
	if p.Inherit != "" {
		p.Default, p.HasDefault = "", false
	}
	return p, p.Name != ""
}

// metaBool reads a flag of metadata: a number other than 0 or a word with "y".
func metaBool(s string) bool { return Atoi(s) != 0 || strings.HasPrefix(s, "y") }

// declare adds an action of the metadata, or merges it into one of the same
// name and depth.
func (r *Rule) declare(e *xmldoc.Element, name string) []Message {
	a := Action{Name: name}
	if checks(name) {
		a.Depth = Atoi(e.Get("depth"))
	}
	timeout, hasTimeout := e.Attr("timeout")
	interval, hasInterval := e.Attr("interval")
	if hasTimeout {
		a.Timeout = ParseTime(timeout)
	}
	if hasInterval {
		a.Interval = max(ParseTime(interval), 1)
	}
	o := override{name: name, depth: a.Depth, timeout: a.Timeout, interval: a.Interval, hasTimeout: hasTimeout, hasInterval: hasInterval}
	msgs, found := o.apply(r.Actions)
	if !found {
		r.Actions = append(r.Actions, a)
	}
	return msgs
}

// checks reports whether an action of that name has depths.
func checks(name string) bool {
	return strings.EqualFold(name, "status") || strings.EqualFold(name, "monitor")
}

// anyDepth is the depth of an override that concerns every entry of its name.
const anyDepth = -1

// override is a change to an action table.
type override struct {
	name                    string
	depth                   int
	timeout, interval       int
	hasTimeout, hasInterval bool
}

// parseOverride reads an <action> below a resource.
func parseOverride(e *xmldoc.Element) override {
	o := override{name: e.Get("name"), depth: anyDepth}
	if depth, ok := e.Attr("depth"); ok && depth != "*" && checks(o.name) {
		o.depth = Atoi(depth)
	}
	var s string
	if s, o.hasTimeout = e.Attr("timeout"); o.hasTimeout {
		o.timeout = ParseTime(s)
	}
	if s, o.hasInterval = e.Attr("interval"); o.hasInterval {
		o.interval = max(ParseTime(s), 1)
	}
	return o
}

// apply changes the matching entries in place and reports whether there were any.
func (o override) apply(table []Action) (msgs []Message, found bool) {
	for i := range table {
		a := &table[i]
		if !strings.EqualFold(a.Name, o.name) || o.depth != anyDepth && o.depth != a.Depth {
			continue
		}
		found = true
		text := fmt.Sprintf("Replacing action '%s' depth %d: ", a.Name, a.Depth)
		if o.hasTimeout {
			text += fmt.Sprintf("timeout: %d->%d ", a.Timeout, o.timeout)
			a.Timeout = o.timeout
		}
		if o.hasInterval {
			text += fmt.Sprintf("interval: %d->%d", a.Interval, o.interval)
			a.Interval = o.interval
		}
		msgs = append(msgs, Message{Kind: KindNote, Text: text})
	}
	return msgs, found
}

func (r *Rule) parseSpecial(s *xmldoc.Element) {
	if a := s.Child("attributes"); a != nil {
		if v, ok := a.Attr("maxinstances"); ok {
			r.MaxInstances = max(Atoi(v), 0)
		}
		if v, ok := a.Attr("init_on_add"); ok {
			r.InitOnAdd = metaBool(v)
		}
		if v, ok := a.Attr("destroy_on_delete"); ok {
			r.DestroyOnDelete = metaBool(v)
		}
		r.OpenParams = metaBool(a.Get("any"))
	}
	for _, e := range s.ChildrenNamed("child") {
		if typ := e.Get("type"); typ != "" {
			r.Children = append(r.Children, Child{
				Type: typ, Start: level(e.Get("start")), Stop: level(e.Get("stop")), Forbid: Atoi(e.Get("forbid")) != 0,
			})
		}
	}
}

// level reads a start or stop level; what is outside 1 to MaxLevel is none.
func level(s string) int {
	if n := Atoi(s); n >= 1 && n <= MaxLevel {
		return n
	}
	return 0
}

// Rules is a set of rules, sorted by type without case.
type Rules []*Rule

// Find returns the rule of a type, compared without case, or nil.
func (rs Rules) Find(typ string) *Rule {
	if i, ok := rs.search(typ); ok {
		return rs[i]
	}
	return nil
}

func (rs Rules) search(typ string) (int, bool) {
	return slices.BinarySearchFunc(rs, typ, func(r *Rule, t string) int {
		return strings.Compare(strings.ToLower(r.Type), strings.ToLower(t))
	})
}

// Add stores a rule in its place. A type that is there already stays, and the
// message says so.
func (rs *Rules) Add(r *Rule) (Message, bool) {
	i, dup := rs.search(r.Type)
	if dup {
		return Message{Kind: KindStderr, Text: "Error storing " + r.Type + ": Duplicate"}, false
	}
	*rs = slices.Insert(*rs, i, r)
	return Message{}, true
}

// Clone returns a copy whose defaults can be changed independently.
func (rs Rules) Clone() Rules {
	out := make(Rules, len(rs))
	for i, r := range rs {
		out[i] = r.clone()
	}
	return out
}
