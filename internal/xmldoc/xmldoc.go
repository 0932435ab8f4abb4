// Package xmldoc is a document model for configuration files that people
// write by hand: every element and attribute knows its line and column, and
// an edited document is written back with everything that was not edited
// exactly as it was, comments, order, quotes and line breaks included.
//
//	doc, err := xmldoc.Parse("/etc/cluster/cluster.conf", text)
//	doc.Root.SetAttr("config_version", "30")
//	os.WriteFile(name, doc.Bytes(), 0o640)
//
// Tokens come from encoding/xml; on top of it the package checks what that
// decoder lets pass (duplicate attributes, several roots, text outside the
// root, depth) and cuts start tags into their attributes. It knows nothing of
// cluster.conf, of schemas or of namespaces: a prefix is part of the name.
//
// A document is safe for concurrent readers; an edit needs it alone.
package xmldoc

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// The causes of a *SyntaxError.
var (
	// ErrSyntax is text that is not well-formed XML.
	ErrSyntax = errors.New("not well-formed")
	// ErrTooDeep is an element below more than MaxDepth others.
	ErrTooDeep = errors.New("nested too deep")
	// ErrTooLong is a document of more than MaxSize bytes.
	ErrTooLong = errors.New("document too long")
	// ErrEncoding is a document in an encoding that is not read here.
	ErrEncoding = errors.New("encoding not supported")
)

const (
	// MaxDepth is the greatest nesting of elements, the limit that libxml2
	// documents for its parser (xmlParserMaxDepth).
	MaxDepth = 256
	// MaxSize is the greatest length of a document in bytes. Ours: a file of
	// 10,000 services has about 5 MiB.
	MaxSize = 64 << 20
)

// Pos is a place in a file. Lines and columns count from 1; columns count
// characters. The zero value is the place of something that was added by an
// edit.
type Pos struct {
	File         string
	Line, Column int
}

// String returns "file:line:column", or "file" for something that is not in it.
func (p Pos) String() string {
	if p.Line == 0 {
		return p.File
	}
	return p.File + ":" + strconv.Itoa(p.Line) + ":" + strconv.Itoa(p.Column)
}

// SyntaxError is a document that can not be read. Its text is one line.
type SyntaxError struct {
	Pos Pos
	// Path is the element in which reading ended, "/" outside the root.
	Path string
	// Text says what was found.
	Text string
	Err  error
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("%v: %s: %v: %s", e.Pos, e.Path, e.Err, e.Text)
}

func (e *SyntaxError) Unwrap() error { return e.Err }

// Kind says what a Node is.
type Kind uint8

const (
	// KindElement is an element; Node.Element is set.
	KindElement Kind = iota
	// KindText is character data, white space and CDATA sections included.
	KindText
	// KindOther is a comment, a processing instruction or a declaration.
	KindOther
)

// Node is one piece of content, in document order.
type Node struct {
	Kind    Kind
	Element *Element
	// Raw is the text of everything but elements, as it is written in the
	// file ("<!-- old -->", "a &amp; b").
	Raw string
	// Text is Raw with its references resolved, for KindText.
	Text string
}

// Attr is an attribute.
type Attr struct {
	Name, Value string
	off         int    // of the name in the source, -1 if added
	raw         string // as written, with the white space before it; "" once changed
	lead        string // that white space
}

// Element is an element with its content.
type Element struct {
	Name   string
	Attrs  []Attr
	Nodes  []Node
	Parent *Element

	doc    *Document
	off    int    // of '<', -1 if added
	tail   string // white space before '>' or '/>' of the start tag
	empty  bool   // written as <a/>
	endRaw string // the end tag as written, "" if there is none yet
}

// Document is a parsed file.
type Document struct {
	// Name is the file's name in positions.
	Name string
	Root *Element

	nodes    []Node // prolog, root, epilog
	src      string // the text in UTF-8, without a byte order mark
	lines    []int  // offsets of line starts
	bom      bool
	encoding string // a declared single-byte encoding, "" for UTF-8
}

// Bytes returns the document as it is to be written to a file: in the
// encoding it was read in, with the text of what was not edited unchanged.
func (d *Document) Bytes() []byte {
	var b strings.Builder
	b.Grow(len(d.src) + 256)
	for _, n := range d.nodes {
		n.write(&b)
	}
	out := b.String()
	if d.encoding != "" {
		return encodeLatin1(out)
	}
	if d.bom {
		out = byteOrderMark + out
	}
	return []byte(out)
}

// Clone returns a copy that can be edited without changing d. Positions stay
// those of the original until the copy is written and read again.
func (d *Document) Clone() *Document {
	c := *d
	c.nodes = slices.Clone(d.nodes)
	for i, n := range c.nodes {
		if n.Kind == KindElement {
			c.Root = n.Element.clone(&c, nil)
			c.nodes[i].Element = c.Root
		}
	}
	return &c
}

func (e *Element) clone(doc *Document, parent *Element) *Element {
	c := *e
	c.doc, c.Parent = doc, parent
	c.Attrs = slices.Clone(e.Attrs)
	c.Nodes = slices.Clone(e.Nodes)
	for i, n := range c.Nodes {
		if n.Kind == KindElement {
			c.Nodes[i].Element = n.Element.clone(doc, &c)
		}
	}
	return &c
}

func (n Node) write(b *strings.Builder) {
	if n.Kind == KindElement {
		n.Element.write(b)
	} else {
		b.WriteString(n.Raw)
	}
}

func (e *Element) write(b *strings.Builder) {
	b.WriteByte('<')
	b.WriteString(e.Name)
	for _, a := range e.Attrs {
		if a.raw != "" {
			b.WriteString(a.raw)
			continue
		}
		if a.lead == "" {
			a.lead = " "
		}
		b.WriteString(a.lead)
		b.WriteString(a.Name)
		b.WriteString(`="`)
		escape(b, a.Value)
		b.WriteByte('"')
	}
	b.WriteString(e.tail)
	if len(e.Nodes) == 0 && (e.empty || e.endRaw == "") {
		b.WriteString("/>")
		return
	}
	b.WriteByte('>')
	for _, n := range e.Nodes {
		n.write(b)
	}
	if e.endRaw != "" {
		b.WriteString(e.endRaw)
	} else {
		b.WriteString("</" + e.Name + ">")
	}
}

// Escape returns s as it is written inside a double-quoted attribute or as
// character data.
func Escape(s string) string {
	var b strings.Builder
	escape(&b, s)
	return b.String()
}

func escape(b *strings.Builder, s string) {
	for _, r := range s {
		switch r {
		case '&':
			b.WriteString("&amp;")
		case '<':
			b.WriteString("&lt;")
		case '>':
			b.WriteString("&gt;")
		case '"':
			b.WriteString("&quot;")
		case '\'':
			b.WriteString("&apos;")
		case '\t', '\n', '\r':
			b.WriteString("&#" + strconv.Itoa(int(r)) + ";")
		default:
			b.WriteRune(r)
		}
	}
}

// Attr returns the value of the attribute name and whether it is there.
func (e *Element) Attr(name string) (string, bool) {
	for i := range e.Attrs {
		if e.Attrs[i].Name == name {
			return e.Attrs[i].Value, true
		}
	}
	return "", false
}

// Get returns the value of the attribute name, "" if it is not there.
func (e *Element) Get(name string) string {
	v, _ := e.Attr(name)
	return v
}

// Elements returns the child elements in document order.
func (e *Element) Elements() []*Element {
	out := make([]*Element, 0, len(e.Nodes)/2)
	for i := range e.Nodes {
		if e.Nodes[i].Kind == KindElement {
			out = append(out, e.Nodes[i].Element)
		}
	}
	return out
}

// ChildrenNamed returns the child elements with exactly this name, in
// document order.
func (e *Element) ChildrenNamed(name string) []*Element {
	var out []*Element
	for i := range e.Nodes {
		if c := e.Nodes[i].Element; c != nil && c.Name == name {
			out = append(out, c)
		}
	}
	return out
}

// Child returns the first child element with exactly this name, or nil. It may
// be called on nil, so that Child calls can be chained.
func (e *Element) Child(name string) *Element {
	if e == nil {
		return nil
	}
	for i := range e.Nodes {
		if c := e.Nodes[i].Element; c != nil && c.Name == name {
			return c
		}
	}
	return nil
}

// Text returns the character data directly inside e, joined.
func (e *Element) Text() string {
	var b strings.Builder
	for _, n := range e.Nodes {
		if n.Kind == KindText {
			b.WriteString(n.Text)
		}
	}
	return b.String()
}

// Pos returns where e begins. It may be called on nil.
func (e *Element) Pos() Pos {
	if e == nil {
		return Pos{}
	}
	return e.doc.pos(e.off)
}

// AttrPos returns where the attribute name begins, or e's place without one.
func (e *Element) AttrPos(name string) Pos {
	if e == nil {
		return Pos{}
	}
	for i := range e.Attrs {
		if e.Attrs[i].Name == name && e.Attrs[i].off >= 0 {
			return e.doc.pos(e.Attrs[i].off)
		}
	}
	return e.Pos()
}

// Offset returns where e begins, in bytes, or -1 for an added element. It
// orders what was found in a document. It may be called on nil.
func (e *Element) Offset() int {
	if e == nil {
		return -1
	}
	return e.off
}

// Path returns the XPath of e. A number follows a name that the parent has
// more than once: "/cluster/clusternodes/clusternode[2]/fence".
func (e *Element) Path() string {
	if e == nil {
		return "/"
	}
	var parts []string
	for ; e != nil; e = e.Parent {
		step := e.Name
		if e.Parent != nil {
			n, all := 0, 0
			for i := range e.Parent.Nodes {
				if c := e.Parent.Nodes[i].Element; c != nil && c.Name == e.Name {
					all++
					if c == e {
						n = all
					}
				}
			}
			if all > 1 {
				step += "[" + strconv.Itoa(n) + "]"
			}
		}
		parts = append(parts, step)
	}
	slices.Reverse(parts)
	return "/" + strings.Join(parts, "/")
}

// pos turns an offset into a place.
func (d *Document) pos(off int) Pos {
	if off < 0 || d == nil {
		return Pos{File: d.name()}
	}
	line, found := slices.BinarySearch(d.lines, off)
	if !found {
		line--
	}
	return Pos{File: d.Name, Line: line + 1, Column: utf8.RuneCountInString(d.src[d.lines[line]:off]) + 1}
}

func (d *Document) name() string {
	if d == nil {
		return ""
	}
	return d.Name
}
