package restree

import (
	"fmt"

	"github.com/haobox/haobox/internal/xmldoc"
)

// Attr is an attribute of a resource.
type Attr struct {
	// Name as the rule spells it.
	Name string
	// Value is the configured or default value; for an inherited one it is
	// the specification of where it comes from.
	Value string
	// Inherited: the value is found in the tree, see Node.Value.
	Inherited bool
	// Primary, Unique, Required and Reconfig are the parameter's.
	Primary, Unique, Required, Reconfig bool
	// FromDefault: the configuration does not have it.
	FromDefault bool
}

// Resource is a parsed instance. It is in the tree as often as it is
// referenced.
type Resource struct {
	Rule *Rule
	// Attrs in the order of slots.
	Attrs []Attr
	// Actions is the rule's table with the changes of <action> elements.
	Actions []Action
	// Inline: defined where it is used, so nothing else can refer to it.
	Inline bool
	// Refs is the number of occurrences in the tree.
	Refs int
	// NeedStart, NeedStop and Reconfig are set by Delta.
	NeedStart, NeedStop, Reconfig bool
	// Incarnations is the number of started occurrences on this node.
	Incarnations int
	// Elem is where it is defined.
	Elem *xmldoc.Element

	nonCritical bool
}

// Attr returns the attribute with the name, or nil.
func (r *Resource) Attr(name string) *Attr {
	for i := range r.Attrs {
		if r.Attrs[i].Name == name {
			return &r.Attrs[i]
		}
	}
	return nil
}

// Value returns the value of an attribute that is not inherited, "" otherwise.
func (r *Resource) Value(name string) string {
	if a := r.Attr(name); a != nil && !a.Inherited {
		return a.Value
	}
	return ""
}

// Name is the value in slot 0: the primary attribute, or the first of a rule
// without one.
func (r *Resource) Name() string {
	if len(r.Attrs) == 0 {
		return ""
	}
	return r.Attrs[0].Value
}

// ID is "type:name".
func (r *Resource) ID() string { return r.Rule.Type + ":" + r.Name() }

// MaxRefs is how often it may be referenced, 0 for no limit.
func (r *Resource) MaxRefs() int { return r.Rule.MaxInstances }

// newResource reads an element as a resource of the rule. It returns nil for
// one that can not be loaded: a required or primary parameter has no value, or
// no parameter has one; missing names the parameter.
func newResource(rule *Rule, e *xmldoc.Element) (r *Resource, missing string) {
	r = &Resource{Rule: rule, Elem: e, Attrs: make([]Attr, 0, len(rule.Params))}
	for i := range rule.Params {
		p := &rule.Params[i]
		a := Attr{Name: p.Name, Primary: p.Primary, Unique: p.Unique, Required: p.Required, Reconfig: p.Reconfig}
		v, ok := e.Attr(p.Name)
		switch {
		case ok:
			a.Value = v
		case p.Inherit != "":
			a.Value, a.Inherited, a.FromDefault = p.Inherit, true, true
		case p.HasDefault:
			a.Value, a.FromDefault = p.Default, true
		case p.Required || p.Primary:
			return nil, p.Name
		default:
			continue
		}
		r.Attrs = append(r.Attrs, a)
	}
	if rule.OpenParams {
		for _, a := range e.Attrs {
			if rule.Param(a.Name) == nil && !special(a.Name) {
				r.Attrs = append(r.Attrs, Attr{Name: a.Name, Value: a.Value})
			}
		}
	}
	if len(r.Attrs) == 0 {
		return nil, ""
	}
	r.Actions = rule.Actions
	return r, ""
}

// special reports whether an attribute belongs to the manager, not the agent.
func special(name string) bool { return name == "ref" || len(name) > 2 && name[:2] == "__" }

// overrideActions applies the <action> children of the resource's element.
func (r *Resource) overrideActions() []Message {
	var msgs []Message
	own := false
	for _, n := range r.Elem.Nodes {
		if n.Element == nil || n.Element.Name != "action" || n.Element.Get("name") == "" {
			continue
		}
		if !own {
			r.Actions, own = append([]Action(nil), r.Actions...), true
		}
		o := parseOverride(n.Element)
		m, found := o.apply(r.Actions)
		msgs = append(msgs, m...)
		if !found && o.depth != anyDepth && o.hasTimeout && o.hasInterval {
			r.Actions = append(r.Actions, Action{Name: o.name, Depth: o.depth, Timeout: o.timeout, Interval: o.interval})
		}
	}
	return msgs
}

// index finds resources by what a reference may name, in constant time.
type index struct {
	primary  map[string]*Resource // type NUL value of the primary attribute
	fallback map[string]*Resource // type NUL value of any unique and required attribute
	taken    map[string]*Resource // type NUL attribute NUL value, primary or unique
}

func newIndex() index {
	return index{map[string]*Resource{}, map[string]*Resource{}, map[string]*Resource{}}
}

// find looks a reference up: by the primary attribute, else by any attribute
// that is both unique and required.
func (x *index) find(rule *Rule, value string) *Resource {
	key := rule.Type + "\x00" + value
	if r := x.primary[key]; r != nil {
		return r
	}
	return x.fallback[key]
}

// store adds r unless another of its type has the same value in a primary or
// unique attribute; then it returns that attribute and resource.
func (x *index) store(r *Resource) (*Attr, *Resource) {
	for i := range r.Attrs {
		a := &r.Attrs[i]
		if a.Inherited || !a.Primary && !a.Unique {
			continue
		}
		if other := x.taken[x.key(r, a)]; other != nil {
			return a, other
		}
	}
	for i := range r.Attrs {
		a := &r.Attrs[i]
		if a.Inherited {
			continue
		}
		if a.Primary || a.Unique {
			x.taken[x.key(r, a)] = r
		}
		key := r.Rule.Type + "\x00" + a.Value
		if a.Primary {
			x.primary[key] = r
		}
		if a.Unique && a.Required {
			if _, dup := x.fallback[key]; !dup {
				x.fallback[key] = r
			}
		}
	}
	return nil, nil
}

func (x *index) key(r *Resource, a *Attr) string {
	return r.Rule.Type + "\x00" + a.Name + "\x00" + a.Value
}

func collision(r *Resource, a *Attr) []Message {
	what := "Unique"
	if a.Primary {
		what = "Primary"
	}
	return []Message{
		{Kind: KindError, Text: fmt.Sprintf("%s attribute collision. type=%s attr=%s value=%s", what, r.Rule.Type, a.Name, a.Value)},
		{Kind: KindNote, Text: fmt.Sprintf("Error storing %s resource", r.Rule.Type)},
	}
}
