package xmldoc

import (
	"slices"
	"strings"
)

// NewElement returns an element that is in no document yet. attrs are names
// and values in turn.
func NewElement(name string, attrs ...string) *Element {
	e := &Element{Name: name, off: -1}
	for i := 0; i+1 < len(attrs); i += 2 {
		e.SetAttr(attrs[i], attrs[i+1])
	}
	return e
}

// New returns a document with the given root and an XML declaration.
func New(name string, root *Element) *Document {
	d := &Document{Name: name, Root: root, lines: []int{0}, nodes: []Node{
		{Kind: KindOther, Raw: `<?xml version="1.0"?>`},
		{Kind: KindText, Raw: "\n", Text: "\n"},
		{Kind: KindElement, Element: root},
		{Kind: KindText, Raw: "\n", Text: "\n"},
	}}
	root.adopt(d)
	return d
}

func (e *Element) adopt(d *Document) {
	e.doc = d
	for _, n := range e.Nodes {
		if n.Kind == KindElement {
			n.Element.adopt(d)
		}
	}
}

// SetAttr gives the attribute name the value; a new one goes to the end.
func (e *Element) SetAttr(name, value string) {
	for i := range e.Attrs {
		a := &e.Attrs[i]
		if a.Name != name {
			continue
		}
		if a.Value != value {
			a.Value, a.raw = value, ""
		}
		return
	}
	// A start tag with one attribute per line goes on like that.
	lead := " "
	if n := len(e.Attrs); n > 0 && e.Attrs[n-1].lead != "" {
		lead = e.Attrs[n-1].lead
	}
	e.Attrs = append(e.Attrs, Attr{Name: name, Value: value, off: -1, lead: lead})
}

// RemoveAttr removes the attribute name and reports whether it was there.
func (e *Element) RemoveAttr(name string) bool {
	n := len(e.Attrs)
	e.Attrs = slices.DeleteFunc(e.Attrs, func(a Attr) bool { return a.Name == name })
	return len(e.Attrs) < n
}

// Append adds c as the last child of e, on a line of its own, indented like
// its siblings, and returns c.
func (e *Element) Append(c *Element) *Element {
	c.Parent = e
	c.adopt(e.doc)
	indent := e.childIndent()
	at := len(e.Nodes)
	if at > 0 && e.Nodes[at-1].blank() && strings.Contains(e.Nodes[at-1].Raw, "\n") {
		at-- // before the line break that precedes the end tag
	} else {
		e.Nodes = append(e.Nodes, text(e.indent()))
	}
	e.Nodes = slices.Insert(e.Nodes, at, text(indent), Node{Kind: KindElement, Element: c})
	e.empty = false
	return c
}

// Prepend adds c as the first child of e and returns c.
func (e *Element) Prepend(c *Element) *Element {
	if len(e.Elements()) == 0 {
		return e.Append(c)
	}
	c.Parent = e
	c.adopt(e.doc)
	e.Nodes = slices.Insert(e.Nodes, 0, text(e.childIndent()), Node{Kind: KindElement, Element: c})
	return c
}

// Remove takes the child c out of e with the white space before it, and
// reports whether it was there. Comments stay. An element left with nothing
// but white space becomes an empty one.
func (e *Element) Remove(c *Element) bool {
	i := slices.IndexFunc(e.Nodes, func(n Node) bool { return n.Element == c })
	if i < 0 {
		return false
	}
	from := i
	if from > 0 && e.Nodes[from-1].blank() {
		from--
	}
	e.Nodes = slices.Delete(e.Nodes, from, i+1)
	if !slices.ContainsFunc(e.Nodes, func(n Node) bool { return !n.blank() }) {
		e.Nodes = nil
		e.endRaw, e.empty = "", true
	}
	c.Parent = nil
	return true
}

func text(s string) Node { return Node{Kind: KindText, Raw: s, Text: s} }

func (n Node) blank() bool { return n.Kind == KindText && strings.TrimSpace(n.Raw) == "" }

// childIndent is the white space before a child of e: that of the last child
// on a line of its own, else one step more than e's.
func (e *Element) childIndent() string {
	for i := len(e.Nodes) - 1; i > 0; i-- {
		if e.Nodes[i].Kind == KindElement && e.Nodes[i-1].blank() && strings.Contains(e.Nodes[i-1].Raw, "\n") {
			ws := e.Nodes[i-1].Raw
			return ws[strings.LastIndexByte(ws, '\n'):]
		}
	}
	step := "  "
	if in := e.indent(); strings.HasSuffix(in, "\t") {
		step = "\t"
	}
	return e.indent() + step
}

// indent is the line break and white space before e, and so before its end tag.
func (e *Element) indent() string {
	if e.Parent == nil {
		return "\n"
	}
	nodes := e.Parent.Nodes
	for i := range nodes {
		if nodes[i].Element == e && i > 0 && nodes[i-1].blank() {
			if at := strings.LastIndexByte(nodes[i-1].Raw, '\n'); at >= 0 {
				return nodes[i-1].Raw[at:]
			}
		}
	}
	depth := 0
	for p := e.Parent; p != nil; p = p.Parent {
		depth++
	}
	return "\n" + strings.Repeat("  ", depth)
}
