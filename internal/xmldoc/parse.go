package xmldoc

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"golang.org/x/text/encoding/charmap"
)

const byteOrderMark = "\ufeff"

// Parse reads a document. name is used in positions only. The error is a
// *SyntaxError for the first fault: what follows a broken tag can not be
// judged.
//
// Entities beyond the five of XML are refused, so a document can neither
// grow on reading nor name other files.
func Parse(name string, text []byte) (*Document, error) {
	p := &parser{doc: &Document{Name: name, lines: []int{0}}}
	if len(text) > MaxSize {
		return nil, p.fail(-1, ErrTooLong, fmt.Sprintf("%d bytes, at most %d are read", len(text), MaxSize))
	}
	if err := p.source(text); err != nil {
		return nil, err
	}
	if err := p.read(); err != nil {
		return nil, err
	}
	return p.doc, nil
}

type parser struct {
	doc   *Document
	dec   *xml.Decoder
	cur   *Element // the innermost open element
	depth int
}

// source sets the document's text in UTF-8 and its line starts.
func (p *parser) source(text []byte) error {
	s := string(text)
	if strings.HasPrefix(s, "\xfe\xff") || strings.HasPrefix(s, "\xff\xfe") || strings.HasPrefix(s, "<\x00") || strings.HasPrefix(s, "\x00<") {
		return p.fail(-1, ErrEncoding, "found UTF-16; allowed: UTF-8, US-ASCII, ISO-8859-1")
	}
	s, p.doc.bom = strings.CutPrefix(s, byteOrderMark)
	switch enc := declaredEncoding(s); strings.ToLower(enc) {
	case "", "utf-8", "utf8", "us-ascii", "ascii":
	case "iso-8859-1", "iso8859-1", "latin1", "latin-1":
		utf, err := charmap.ISO8859_1.NewDecoder().String(s)
		if err != nil {
			return p.fail(-1, ErrEncoding, err.Error())
		}
		s, p.doc.encoding = utf, enc
	default:
		return p.fail(-1, ErrEncoding, fmt.Sprintf("found %q; allowed: UTF-8, US-ASCII, ISO-8859-1", enc))
	}
	p.doc.src = s
	for i := 0; i < len(s); i++ {
		if s[i] == '\n' {
			p.doc.lines = append(p.doc.lines, i+1)
		}
	}
	return nil
}

// declaredEncoding returns the encoding in an XML declaration, "" without one.
func declaredEncoding(s string) string {
	if !strings.HasPrefix(s, "<?xml") {
		return ""
	}
	decl, _, _ := strings.Cut(s, "?>")
	_, rest, ok := strings.Cut(decl, "encoding")
	if !ok {
		return ""
	}
	rest = strings.TrimLeft(rest, " \t\r\n=")
	if rest == "" || rest[0] != '"' && rest[0] != '\'' {
		return ""
	}
	value, _, _ := strings.Cut(rest[1:], rest[:1])
	return value
}

// encodeLatin1 writes what ISO-8859-1 does not have as character references.
func encodeLatin1(s string) []byte {
	out := make([]byte, 0, len(s))
	for _, r := range s {
		if b, ok := charmap.ISO8859_1.EncodeRune(r); ok {
			out = append(out, b)
		} else {
			out = append(out, "&#"+strconv.Itoa(int(r))+";"...)
		}
	}
	return out
}

// fail returns a *SyntaxError at the offset, or for the whole file below 0.
func (p *parser) fail(off int, cause error, text string) error {
	return &SyntaxError{Pos: p.doc.pos(off), Path: p.cur.Path(), Text: text, Err: cause}
}

func (p *parser) read() error {
	src := p.doc.src
	p.dec = xml.NewDecoder(strings.NewReader(src))
	p.dec.Strict = true
	p.dec.CharsetReader = func(_ string, r io.Reader) (io.Reader, error) { return r, nil } // src is UTF-8
	for {
		start := int(p.dec.InputOffset())
		tok, err := p.dec.RawToken()
		end := int(p.dec.InputOffset())
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return p.decoderError(min(end, len(src)), err)
		}
		switch t := tok.(type) {
		case xml.StartElement:
			err = p.open(t, start, end)
		case xml.EndElement:
			err = p.close(t, start, end)
		case xml.CharData:
			err = p.add(Node{Kind: KindText, Raw: src[start:end], Text: string(t)}, start)
		default:
			err = p.add(Node{Kind: KindOther, Raw: src[start:end]}, start)
		}
		if err != nil {
			return err
		}
	}
	if p.cur != nil {
		return p.fail(len(src), ErrSyntax, fmt.Sprintf("the file ends inside <%s> of line %d", p.cur.Name, p.cur.Pos().Line))
	}
	if p.doc.Root == nil {
		return p.fail(-1, ErrSyntax, "no root element")
	}
	return nil
}

// decoderError turns an error of encoding/xml into one of ours.
func (p *parser) decoderError(off int, err error) error {
	text := err.Error()
	var syn *xml.SyntaxError
	if errors.As(err, &syn) {
		text = syn.Msg
	}
	return p.fail(off, ErrSyntax, strings.Join(strings.Fields(text), " "))
}

// add appends content to the open element, or to the document outside of it.
func (p *parser) add(n Node, off int) error {
	if p.cur != nil {
		p.cur.Nodes = append(p.cur.Nodes, n)
		return nil
	}
	if n.Kind == KindText && strings.TrimSpace(n.Text) != "" {
		lead := len(n.Raw) - len(strings.TrimLeft(n.Raw, " \t\r\n"))
		return p.fail(off+lead, ErrSyntax, "text outside the root element")
	}
	p.doc.nodes = append(p.doc.nodes, n)
	return nil
}

func rawName(n xml.Name) string {
	if n.Space != "" {
		return n.Space + ":" + n.Local
	}
	return n.Local
}

// open begins an element; src[start:end] is its start tag.
func (p *parser) open(t xml.StartElement, start, end int) error {
	if p.cur == nil && p.doc.Root != nil {
		return p.fail(start, ErrSyntax, fmt.Sprintf("a second root element <%s> after </%s>", rawName(t.Name), p.doc.Root.Name))
	}
	e := &Element{Name: rawName(t.Name), Parent: p.cur, doc: p.doc, off: start}
	if p.depth++; p.depth > MaxDepth {
		return p.fail(start, ErrTooDeep, fmt.Sprintf("<%s> is below %d elements, at most %d are read", e.Name, p.depth-1, MaxDepth))
	}
	if err := p.attrs(e, t.Attr, start, end); err != nil {
		return err
	}
	n := Node{Kind: KindElement, Element: e}
	if p.cur == nil {
		p.doc.Root = e
		p.doc.nodes = append(p.doc.nodes, n)
	} else {
		p.cur.Nodes = append(p.cur.Nodes, n)
	}
	p.cur = e
	return nil
}

// attrs cuts the start tag src[start:end] into its attributes. The decoder
// has checked its form and resolved the values, in the same order.
func (p *parser) attrs(e *Element, values []xml.Attr, start, end int) error {
	src := p.doc.src
	i := start + 1 + len(e.Name)
	if len(values) > 0 {
		e.Attrs = make([]Attr, 0, len(values))
	}
	for _, v := range values {
		from := i
		i = skipSpace(src, i, end)
		at := i
		name := rawName(v.Name)
		i = skipSpace(src, i+len(name), end)
		i = skipSpace(src, i+1, end) // "="
		if i >= end || src[i] != '"' && src[i] != '\'' {
			return p.fail(at, ErrSyntax, "attribute "+name+" without a quoted value")
		}
		close := strings.IndexByte(src[i+1:end], src[i])
		if close < 0 {
			return p.fail(at, ErrSyntax, "attribute "+name+" without its closing quote")
		}
		raw := src[i+1 : i+1+close]
		i += close + 2
		if at == from {
			return p.fail(at, ErrSyntax, "no white space before attribute "+name)
		}
		if _, dup := e.Attr(name); dup {
			return p.fail(at, ErrSyntax, fmt.Sprintf("attribute %s twice in <%s>", name, e.Name))
		}
		if strings.ContainsAny(raw, "\t\r\n") {
			v.Value = normalise(raw)
		}
		e.Attrs = append(e.Attrs, Attr{Name: name, Value: v.Value, off: at, raw: src[from:i], lead: src[from:at]})
	}
	e.tail = strings.TrimSuffix(src[i:end], ">")
	e.tail, e.empty = strings.CutSuffix(e.tail, "/")
	return nil
}

func skipSpace(s string, i, end int) int {
	for i < end && (s[i] == ' ' || s[i] == '\t' || s[i] == '\r' || s[i] == '\n') {
		i++
	}
	return i
}

// normalise resolves an attribute value that is written with tabs or line
// breaks: each stands for a blank, those given as references stay (XML 1.0,
// 3.3.3). The decoder has checked the references.
func normalise(raw string) string {
	raw = strings.ReplaceAll(raw, "\r\n", "\n")
	raw = strings.Map(func(r rune) rune {
		if r == '\t' || r == '\n' || r == '\r' {
			return ' '
		}
		return r
	}, raw)
	dec := xml.NewDecoder(strings.NewReader(`<a b="` + strings.ReplaceAll(raw, `"`, "&quot;") + `"/>`))
	if tok, err := dec.RawToken(); err == nil {
		if t, ok := tok.(xml.StartElement); ok && len(t.Attr) == 1 {
			return t.Attr[0].Value
		}
	}
	return raw
}

// close ends the open element; start == end for the end of <a/>.
func (p *parser) close(t xml.EndElement, start, end int) error {
	name := rawName(t.Name)
	switch {
	case p.cur == nil:
		return p.fail(start, ErrSyntax, fmt.Sprintf("</%s> without a start tag", name))
	case p.cur.Name != name:
		return p.fail(start, ErrSyntax, fmt.Sprintf("</%s> where </%s> is expected, to end <%s> of line %d",
			name, p.cur.Name, p.cur.Name, p.cur.Pos().Line))
	}
	if start != end {
		p.cur.endRaw = p.doc.src[start:end]
	}
	p.depth--
	p.cur = p.cur.Parent
	return nil
}
