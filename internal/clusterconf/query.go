package clusterconf

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/antchfx/xpath"

	"github.com/haobox/haobox/internal/xmldoc"
)

// The outcomes of a query other than a value.
var (
	// ErrNoData is a path that nothing in the file has.
	//lint:ignore ST1005 the text of the system's error, which scripts see
	ErrNoData = errors.New("No data available")
	// ErrBadQuery is a path that is no path.
	//lint:ignore ST1005 likewise
	ErrBadQuery = errors.New("Invalid argument")
)

// Query answers an XPath as ccs_tool does: an attribute gives its value, an
// element its first text, which is mostly empty, and a path that ends in @* or
// child::* the first such thing as name=value.
func Query(doc *xmldoc.Document, path string) (value string, err error) {
	defer func() {
		if r := recover(); r != nil { // the library panics on some expressions
			value, err = "", fmt.Errorf("%w: %v", ErrBadQuery, r)
		}
	}()
	expr, err := xpath.Compile(path)
	if err != nil {
		return "", fmt.Errorf("%w: %v", ErrBadQuery, err)
	}
	switch v := expr.Evaluate(&navigator{doc: doc}).(type) {
	case *xpath.NodeIterator:
		if !v.MoveNext() {
			return "", ErrNoData
		}
		n := v.Current().(*navigator)
		value = n.answer()
		if strings.HasSuffix(path, "@*") || strings.HasSuffix(path, "child::*") {
			value = n.LocalName() + "=" + value
		}
		return value, nil
	case bool:
		return strconv.FormatBool(v), nil
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64), nil
	case string:
		return v, nil
	}
	return "", ErrNoData
}

// QueryLite answers a path of the reduced language: names separated by
// slashes, each with at most one predicate [n] or [@a="b"], and at the end
// possibly @name.
func QueryLite(doc *xmldoc.Document, path string) (string, error) {
	rest, ok := strings.CutPrefix(path, "/")
	if !ok {
		return "", ErrBadQuery
	}
	list := []*xmldoc.Element{doc.Root}
	first := true
	for rest != "" {
		var step string
		step, rest = cutStep(rest)
		if attr, ok := strings.CutPrefix(step, "@"); ok && rest == "" && !first {
			for _, e := range list {
				if v, ok := e.Attr(attr); ok {
					return v, nil
				}
			}
			return "", ErrNoData
		}
		name, pred, err := splitPredicate(step)
		if err != nil {
			return "", err
		}
		var next []*xmldoc.Element
		if first {
			if doc.Root.Name == name {
				next = list
			}
			first = false
		} else {
			for _, e := range list {
				next = append(next, e.ChildrenNamed(name)...)
			}
		}
		if list = pred(next); len(list) == 0 {
			return "", ErrNoData
		}
	}
	if first {
		return "", ErrBadQuery
	}
	return firstText(list[0]), nil
}

// cutStep cuts the first step off a path; a slash inside quotes belongs to it.
func cutStep(path string) (step, rest string) {
	quoted := false
	for i := range len(path) {
		switch path[i] {
		case '"':
			quoted = !quoted
		case '/':
			if !quoted {
				return path[:i], path[i+1:]
			}
		}
	}
	return path, ""
}

type selection func([]*xmldoc.Element) []*xmldoc.Element

// splitPredicate returns a step's name and what selects among the elements.
func splitPredicate(step string) (string, selection, error) {
	name, pred, has := strings.Cut(step, "[")
	if !has {
		if name == "" {
			return "", nil, ErrBadQuery
		}
		return name, func(l []*xmldoc.Element) []*xmldoc.Element { return l }, nil
	}
	pred, ok := strings.CutSuffix(pred, "]")
	if !ok || name == "" {
		return "", nil, ErrBadQuery
	}
	if n, err := strconv.Atoi(pred); err == nil && n >= 1 {
		return name, func(l []*xmldoc.Element) []*xmldoc.Element {
			if n > len(l) {
				return nil
			}
			return l[n-1 : n]
		}, nil
	}
	attr, value, ok := strings.Cut(pred, "=")
	if !ok || !strings.HasPrefix(attr, "@") || len(value) < 2 || value[0] != '"' || value[len(value)-1] != '"' {
		return "", nil, ErrBadQuery
	}
	attr, value = attr[1:], value[1:len(value)-1]
	return name, func(l []*xmldoc.Element) []*xmldoc.Element {
		var out []*xmldoc.Element
		for _, e := range l {
			if v, ok := e.Attr(attr); ok && v == value {
				out = append(out, e)
			}
		}
		return out
	}, nil
}

// firstText is the first character data of e that is more than white space.
func firstText(e *xmldoc.Element) string {
	for _, n := range e.Nodes {
		if n.Kind == xmldoc.KindText {
			return strings.TrimSpace(n.Text)
		}
	}
	return ""
}

// navigator walks a document for the XPath library. e is nil at the document
// itself; attr is 1 plus the index of an attribute; text is 1 plus the index
// of a text node of e.
type navigator struct {
	doc        *xmldoc.Document
	e          *xmldoc.Element
	attr, text int
}

func (n *navigator) answer() string {
	if n.attr == 0 && n.text == 0 && n.e != nil {
		return firstText(n.e)
	}
	return n.Value()
}

func (n *navigator) NodeType() xpath.NodeType {
	switch {
	case n.e == nil:
		return xpath.RootNode
	case n.attr > 0:
		return xpath.AttributeNode
	case n.text > 0:
		return xpath.TextNode
	}
	return xpath.ElementNode
}

func (n *navigator) LocalName() string {
	switch {
	case n.e == nil || n.text > 0:
		return ""
	case n.attr > 0:
		return n.e.Attrs[n.attr-1].Name
	}
	return n.e.Name
}

func (n *navigator) Prefix() string { return "" }

func (n *navigator) Value() string {
	switch {
	case n.e == nil:
		return deepText(n.doc.Root)
	case n.attr > 0:
		return n.e.Attrs[n.attr-1].Value
	case n.text > 0:
		return n.e.Nodes[n.text-1].Text
	}
	return deepText(n.e)
}

func deepText(e *xmldoc.Element) string {
	var b strings.Builder
	for _, n := range e.Nodes {
		if n.Element != nil {
			b.WriteString(deepText(n.Element))
		} else if n.Kind == xmldoc.KindText {
			b.WriteString(n.Text)
		}
	}
	return b.String()
}

func (n *navigator) Copy() xpath.NodeNavigator {
	c := *n
	return &c
}

func (n *navigator) MoveToRoot() { n.e, n.attr, n.text = nil, 0, 0 }

func (n *navigator) MoveToParent() bool {
	switch {
	case n.attr > 0 || n.text > 0:
		n.attr, n.text = 0, 0
		return true
	case n.e == nil:
		return false
	}
	n.e = n.e.Parent
	return true
}

func (n *navigator) MoveToNextAttribute() bool {
	if n.e == nil || n.text > 0 || n.attr >= len(n.e.Attrs) {
		return false
	}
	n.attr++
	return true
}

func (n *navigator) MoveToChild() bool {
	switch {
	case n.attr > 0 || n.text > 0:
		return false
	case n.e == nil:
		n.e = n.doc.Root
		return true
	}
	return n.step(n.e, 0, 1)
}

// step goes to the first element or text among parent's nodes from index i in
// direction d.
func (n *navigator) step(parent *xmldoc.Element, i, d int) bool {
	for ; i >= 0 && i < len(parent.Nodes); i += d {
		switch x := parent.Nodes[i]; x.Kind {
		case xmldoc.KindElement:
			n.e, n.text = x.Element, 0
			return true
		case xmldoc.KindText:
			n.e, n.text = parent, i+1
			return true
		}
	}
	return false
}

// place returns where n is among its parent's nodes.
func (n *navigator) place() (*xmldoc.Element, int) {
	if n.text > 0 {
		return n.e, n.text - 1
	}
	if n.e == nil || n.attr > 0 || n.e.Parent == nil {
		return nil, 0
	}
	for i := range n.e.Parent.Nodes {
		if n.e.Parent.Nodes[i].Element == n.e {
			return n.e.Parent, i
		}
	}
	return nil, 0
}

func (n *navigator) MoveToNext() bool {
	p, i := n.place()
	return p != nil && n.step(p, i+1, 1)
}

func (n *navigator) MoveToPrevious() bool {
	p, i := n.place()
	return p != nil && n.step(p, i-1, -1)
}

func (n *navigator) MoveToFirst() bool {
	p, _ := n.place()
	return p != nil && n.step(p, 0, 1)
}

func (n *navigator) MoveTo(other xpath.NodeNavigator) bool {
	o, ok := other.(*navigator)
	if !ok || o.doc != n.doc {
		return false
	}
	*n = *o
	return true
}
