package clusterconf

import (
	"bytes"
	"fmt"
	"math"
	"strings"

	"github.com/haobox/haobox/internal/restree"
	"github.com/haobox/haobox/internal/xmldoc"
)

// RelaxNG writes the grammar of cluster.conf for these resource types in the
// XML syntax of RELAX NG. conf/cluster.rng is that of the built-in types.
func RelaxNG(rules restree.Rules) []byte {
	w := rngWriter{g: newGrammar(rules)}
	w.line(`<?xml version="1.0" encoding="UTF-8"?>`)
	w.line(`<!-- The grammar of cluster.conf(5), for example for xmllint. It is written by`)
	w.line(`     go test ./internal/clusterconf -run TestRelaxNG_File -update -->`)
	w.open(`<grammar xmlns="http://relaxng.org/ns/structure/1.0" datatypeLibrary="http://www.w3.org/2001/XMLSchema-datatypes">`)
	w.line(`<start><ref name="cluster"/></start>`)
	for _, key := range w.g.order {
		w.element(key, w.g.defs[key])
	}
	w.shared()
	w.close(`</grammar>`)
	return w.b.Bytes()
}

type rngWriter struct {
	g     *grammar
	b     bytes.Buffer
	depth int
}

func (w *rngWriter) line(format string, args ...any) {
	w.b.WriteString(strings.Repeat("  ", w.depth))
	fmt.Fprintf(&w.b, format, args...)
	w.b.WriteByte('\n')
}

func (w *rngWriter) open(format string, args ...any) {
	w.line(format, args...)
	w.depth++
}

func (w *rngWriter) close(tag string) {
	w.depth--
	w.line("%s", tag)
}

// ref is the name of a definition: an XML name without the colon of a key.
func ref(key string) string { return strings.ReplaceAll(key, ":", ".") }

func (w *rngWriter) element(key string, d *elemDef) {
	w.open(`<define name="%s">`, ref(key))
	w.open(`<element name="%s">`, d.name)
	if d.use {
		// A reference, beside which everything else is ignored, or a
		// definition with what it requires.
		w.open(`<choice>`)
		w.open(`<group>`)
		w.line(`<attribute name="ref"/>`)
		w.attributes(d, func(a *attrDef) bool { return a.required }, true)
		w.close(`</group>`)
		w.open(`<group>`)
		w.attributes(d, func(a *attrDef) bool { return a.required }, false)
		w.close(`</group>`)
		w.close(`</choice>`)
		w.attributes(d, func(a *attrDef) bool { return !a.required }, false)
	} else {
		w.attributes(d, func(*attrDef) bool { return true }, false)
	}
	if d.rule != nil {
		w.line(`<ref name="occurrence"/>`)
	}
	w.others(d)
	w.content(d)
	w.close(`</element>`)
	w.close(`</define>`)
}

// shared writes what every resource in a service has in common.
func (w *rngWriter) shared() {
	w.open(`<define name="occurrence">`)
	for _, a := range occurrence() {
		w.open(`<optional>`)
		w.attribute(&a)
		w.close(`</optional>`)
	}
	w.close(`</define>`)
	w.open(`<define name="inside">`)
	w.interleave(w.g.inside)
	w.close(`</define>`)
}

// attributes writes those attributes of d that which selects; loose makes
// them all optional. Those of an occurrence are written elsewhere.
func (w *rngWriter) attributes(d *elemDef, which func(*attrDef) bool, loose bool) {
	for i := range d.attrs {
		a := &d.attrs[i]
		switch {
		case !which(a), d.rule != nil && strings.HasPrefix(a.name, "__"):
		case a.required && !loose:
			w.attribute(a)
		default:
			w.open(`<optional>`)
			w.attribute(a)
			w.close(`</optional>`)
		}
	}
}

// others allows attributes of other names.
func (w *rngWriter) others(d *elemDef) {
	if !d.open {
		return
	}
	w.open(`<zeroOrMore>`)
	w.open(`<attribute>`)
	w.open(`<anyName>`)
	w.open(`<except>`)
	if d.use {
		w.line(`<name>ref</name>`)
	}
	for _, a := range d.attrs {
		w.line(`<name>%s</name>`, a.name)
	}
	w.close(`</except>`)
	w.close(`</anyName>`)
	w.line(`<text/>`)
	w.close(`</attribute>`)
	w.close(`</zeroOrMore>`)
}

func (w *rngWriter) attribute(a *attrDef) {
	if a.typ == anyText {
		w.line(`<attribute name="%s"/>`, a.name)
		return
	}
	w.open(`<attribute name="%s">`, a.name)
	switch a.typ {
	case nonEmpty:
		w.line(`<data type="string"><param name="minLength">1</param></data>`)
	case shortText:
		w.line(`<data type="string"><param name="minLength">1</param><param name="maxLength">%d</param></data>`, a.max)
	case integer:
		w.number(math.MinInt32, math.MaxInt32)
	case natural:
		w.number(0, math.MaxInt32)
	case positive:
		w.number(1, math.MaxInt32)
	case ranged:
		w.number(1, a.max)
	case oneOf:
		w.open(`<choice>`)
		for _, v := range a.values {
			w.line(`<value type="string">%s</value>`, xmldoc.Escape(v))
		}
		w.close(`</choice>`)
	case scheduler:
		w.line(`<data type="string"><param name="pattern">[rRfFoO].*</param></data>`)
	case idName:
		w.line(`<data type="ID"/>`)
	case idRef:
		w.line(`<data type="IDREF"/>`)
	}
	w.close(`</attribute>`)
}

func (w *rngWriter) number(low, high int) {
	w.line(`<data type="integer"><param name="minInclusive">%d</param><param name="maxInclusive">%d</param></data>`, low, high)
}

// content writes the children of d, in any order.
func (w *rngWriter) content(d *elemDef) {
	switch {
	case d.text:
		w.line(`<text/>`)
	case d.use:
		w.line(`<ref name="inside"/>`)
	case len(d.children) == 0:
		w.line(`<empty/>`)
	default:
		w.interleave(d.children)
	}
}

func (w *rngWriter) interleave(children []childDef) {
	w.open(`<interleave>`)
	var repeated []childDef
	for _, c := range children {
		switch {
		case c.many:
			repeated = append(repeated, c)
		case c.required:
			w.line(`<ref name="%s"/>`, ref(c.def))
		default:
			w.line(`<optional><ref name="%s"/></optional>`, ref(c.def))
		}
	}
	if len(repeated) > 0 {
		w.open(`<zeroOrMore>`)
		w.open(`<choice>`)
		for _, c := range repeated {
			w.line(`<ref name="%s"/>`, ref(c.def))
		}
		w.close(`</choice>`)
		w.close(`</zeroOrMore>`)
	}
	w.close(`</interleave>`)
}
