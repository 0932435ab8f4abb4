package clusterconf

import (
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/haobox/haobox/internal/restree"
	"github.com/haobox/haobox/internal/xmldoc"
)

// Class says how bad a finding is.
type Class uint8

const (
	// Schema is a breach of the grammar: what "xmllint --relaxng" finds too.
	// The daemons ignore what they do not know.
	Schema Class = iota
	// Contradiction is allowed by the grammar, but can not be what anybody
	// wants: a daemon would refuse the file or leave a part of it out.
	Contradiction
	// Warning is legal but dangerous.
	Warning
)

// String returns "schema", "error" or "warning".
func (c Class) String() string { return [...]string{"schema", "error", "warning"}[c%3] }

// Issue is one finding.
type Issue struct {
	Class Class
	Pos   xmldoc.Pos
	// Path is the XPath of the element, with "/@name" for an attribute.
	Path string
	// Text says what is wrong. For Schema it begins as libxml2 words it.
	Text string
	// Found is the value in question if HasFound is set; secrets are not in
	// it. Allowed is what may stand there, "" if there is nothing to say.
	Found, Allowed string
	HasFound       bool

	elem *xmldoc.Element
	attr string
}

// place fills in where the issue is. It is done last, for those that are kept:
// a path costs a look at all siblings.
func (i *Issue) place() {
	i.Path, i.Pos = i.elem.Path(), i.elem.Pos()
	if i.attr != "" {
		i.Path += "/@" + clip(i.attr)
		i.Pos = i.elem.AttrPos(i.attr)
	}
}

// String returns the issue as one line: "file:line:column: path: text".
func (i Issue) String() string {
	var b strings.Builder
	b.WriteString(i.Pos.String() + ": " + i.Path + ": ")
	switch i.Class {
	case Schema:
		b.WriteString("Relax-NG validity error : ")
	default:
		b.WriteString(i.Class.String() + ": ")
	}
	b.WriteString(i.Text)
	switch {
	case i.HasFound && i.Allowed != "":
		fmt.Fprintf(&b, " (found %q; allowed: %s)", i.Found, i.Allowed)
	case i.HasFound:
		fmt.Fprintf(&b, " (found %q)", i.Found)
	case i.Allowed != "":
		fmt.Fprintf(&b, " (allowed: %s)", i.Allowed)
	}
	return b.String()
}

// Report is everything that Validate found, in the order of the file.
type Report struct {
	Issues []Issue
}

// Valid reports whether there are no breaches of the grammar and no
// contradictions.
func (r *Report) Valid() bool {
	return !slices.ContainsFunc(r.Issues, func(i Issue) bool { return i.Class != Warning })
}

// SchemaValid reports whether the grammar is kept: the verdict of
// "xmllint --relaxng conf/cluster.rng".
func (r *Report) SchemaValid() bool {
	return !slices.ContainsFunc(r.Issues, func(i Issue) bool { return i.Class == Schema })
}

// Options are what Validate may know beyond the file. The zero value is fine.
type Options struct {
	// Rules are the resource types; nil means those of restree.Builtin.
	Rules restree.Rules
	// HasAgent reports whether a fence agent can be started; nil means that
	// nobody looks.
	HasAgent func(agent string) bool
}

// Parse reads a file. The error is a *xmldoc.SyntaxError with one line of text.
func Parse(name string, text []byte) (*xmldoc.Document, error) { return xmldoc.Parse(name, text) }

// MaxIssues is how many findings are kept: more help nobody, and a file of
// nothing but faults must not fill the memory. Ours.
const MaxIssues = 1000

// Validate checks a document against the grammar and then its parts against
// each other. It reads the whole file and stops at nothing.
func Validate(doc *xmldoc.Document, opt Options) *Report {
	if opt.Rules == nil {
		opt.Rules = restree.Builtin()
	}
	v := &validator{g: newGrammar(opt.Rules), opt: opt, doc: doc}
	if doc.Root.Name != "cluster" {
		v.schema(doc.Root, "", "Expecting element cluster, got "+doc.Root.Name, "cluster", doc.Root.Name)
	} else {
		v.element(doc.Root, v.g.defs["cluster"])
		v.references()
		v.contradictions()
	}
	slices.SortStableFunc(v.issues, func(a, b Issue) int { return a.elem.Offset() - b.elem.Offset() })
	return &Report{v.keep()}
}

// keep returns the issues that are shown, with their places.
func (v *validator) keep() []Issue {
	list := v.issues
	left := len(list) - MaxIssues
	if left > 0 {
		class := Warning
		for _, i := range list[MaxIssues:] {
			class = min(class, i.Class)
		}
		list = append(list[:MaxIssues:MaxIssues], Issue{Class: class, elem: v.doc.Root, Text: fmt.Sprintf("%d more faults are not shown", left)})
	}
	for i := range list {
		list[i].place()
	}
	return list
}

type validator struct {
	g      *grammar
	opt    Options
	doc    *xmldoc.Document
	issues []Issue
}

// add records a finding about e, or about its attribute attr. found is a value
// that is in question, if any.
func (v *validator) add(class Class, e *xmldoc.Element, attr, text, allowed string, found ...string) {
	i := Issue{Class: class, Text: oneLine(text), Allowed: allowed, elem: e, attr: attr}
	if len(found) > 0 {
		i.Found, i.HasFound = clip(found[0]), true
		if secret(attr) {
			i.Found = "***"
		}
	}
	v.issues = append(v.issues, i)
}

// oneLine is a text with names of the file in it, which may be of any length and
// hold line breaks, as it can be printed after "file:line:column: ".
func oneLine(text string) string {
	const longest = 600 // two names of 255 bytes and a sentence
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, text)
	if r := []rune(text); len(r) > longest {
		return string(r[:longest]) + "..."
	}
	return text
}

// clip keeps a value short: nobody wants a page of it in a fault.
func clip(s string) string {
	const longest = 80
	if r := []rune(s); len(r) > longest {
		return string(r[:longest]) + "..."
	}
	return s
}

func (v *validator) schema(e *xmldoc.Element, attr, text, allowed string, found ...string) {
	v.add(Schema, e, attr, text, allowed, found...)
}

func (v *validator) err(e *xmldoc.Element, attr, format string, args ...any) {
	v.add(Contradiction, e, attr, fmt.Sprintf(format, args...), "")
}

func (v *validator) warn(e *xmldoc.Element, attr, format string, args ...any) {
	v.add(Warning, e, attr, fmt.Sprintf(format, args...), "")
}

// element checks one element against its definition, and what is below it.
func (v *validator) element(e *xmldoc.Element, d *elemDef) {
	_, isRef := e.Attr("ref")
	isRef = isRef && d.use
	for i := range e.Attrs {
		a := &e.Attrs[i]
		def := d.attr(a.Name)
		switch {
		case def != nil:
			if !def.accepts(a.Value) {
				v.schema(e, a.Name, fmt.Sprintf("Element %s failed to validate attribute %s", e.Name, a.Name), def.allowed(), a.Value)
			}
		case d.open || isRef && a.Name == "ref":
		default:
			v.schema(e, a.Name, fmt.Sprintf("Invalid attribute %s for element %s%s", a.Name, e.Name, remark(e.Name, a.Name)),
				attrNames(d), a.Value)
		}
	}
	for i := range d.attrs {
		a := &d.attrs[i]
		if _, ok := e.Attr(a.name); !ok && a.required && !isRef {
			allowed := a.allowed()
			if d.use {
				allowed += ", or a ref to a shared resource"
			}
			v.schema(e, "", fmt.Sprintf("Element %s needs the attribute %s", e.Name, a.name), allowed)
		}
	}
	v.children(e, d)
}

// remark explains attributes that daemons read although the grammar does not
// have them, and those of older versions.
func remark(elem, attr string) string {
	switch elem + "/" + attr {
	case "quorumd/log_level", "quorumd/log_facility":
		return " (deprecated: use logging_daemon name=\"QDISKD\")"
	case "fence_daemon/fence_check_delay", "cman/max_queued", "cman/startup_config_timeout":
		return " (the daemon reads it, but it is not part of the schema)"
	}
	return ""
}

func attrNames(d *elemDef) string {
	if len(d.attrs) == 0 {
		return "no attribute"
	}
	names := make([]string, len(d.attrs))
	for i, a := range d.attrs {
		names[i] = a.name
	}
	return strings.Join(names, ", ")
}

func (v *validator) children(e *xmldoc.Element, d *elemDef) {
	var seen []string
	for i := range e.Nodes {
		n := &e.Nodes[i]
		if n.Kind == xmldoc.KindText && !d.text && strings.TrimSpace(n.Text) != "" {
			v.schema(e, "", fmt.Sprintf("Did not expect text in element %s content", e.Name), "elements only", strings.Join(strings.Fields(n.Text), " "))
		}
		c := n.Element
		if c == nil {
			continue
		}
		def, many := v.child(d, c.Name)
		switch {
		case def == nil:
			v.schema(c, "", fmt.Sprintf("Did not expect element %s there", c.Name), v.childNames(d))
			continue
		case !many && slices.Contains(seen, c.Name):
			v.schema(c, "", fmt.Sprintf("Extra element %s in interleave", c.Name), "one "+c.Name)
		}
		if !many {
			seen = append(seen, c.Name)
		}
		v.element(c, def)
	}
	for _, c := range d.children {
		if name := v.g.defs[c.def].name; c.required && !slices.Contains(seen, name) {
			v.schema(e, "", fmt.Sprintf("Element %s needs an element %s", e.Name, name), "one "+name)
		}
	}
}

func (v *validator) child(d *elemDef, name string) (def *elemDef, many bool) {
	for _, c := range d.children {
		if x := v.g.defs[c.def]; x.name == name {
			return x, c.many
		}
	}
	return nil, false
}

func (v *validator) childNames(d *elemDef) string {
	if len(d.children) == 0 {
		return "no element"
	}
	names := make([]string, len(d.children))
	for i, c := range d.children {
		names[i] = v.g.defs[c.def].name
	}
	return strings.Join(names, ", ")
}

// references checks IDs: the names of fence devices.
func (v *validator) references() {
	ids := map[string]*xmldoc.Element{}
	for _, outer := range v.doc.Root.ChildrenNamed("fencedevices") {
		for _, e := range outer.ChildrenNamed("fencedevice") {
			name, ok := e.Attr("name")
			if !ok {
				continue
			}
			if first := ids[name]; first != nil {
				v.schema(e, "name", "ID "+clip(name)+" already defined", fmt.Sprintf("a name other than that of line %d", first.Pos().Line), name)
				continue
			}
			ids[name] = e
		}
	}
	v.devices(func(d *xmldoc.Element) {
		if name, ok := d.Attr("name"); ok && ids[name] == nil {
			v.schema(d, "name", fmt.Sprintf("IDREF attribute name references an unknown ID %q", clip(name)), "the name of a fencedevice", name)
		}
	})
}

// devices calls f for every <device>.
func (v *validator) devices(f func(*xmldoc.Element)) {
	for _, nodes := range v.doc.Root.ChildrenNamed("clusternodes") {
		for _, n := range nodes.ChildrenNamed("clusternode") {
			for _, fence := range n.ChildrenNamed("fence") {
				for _, m := range fence.ChildrenNamed("method") {
					for _, d := range m.ChildrenNamed("device") {
						f(d)
					}
				}
			}
			for _, u := range n.ChildrenNamed("unfence") {
				for _, d := range u.ChildrenNamed("device") {
					f(d)
				}
			}
		}
	}
}

// secret reports whether an attribute holds something that must not be shown.
func secret(attr string) bool {
	a := strings.ToLower(attr)
	for _, word := range []string{"passw", "passphrase", "secret", "community", "passwd"} {
		if strings.Contains(a, word) && !strings.HasSuffix(a, "_script") {
			return true
		}
	}
	return false
}

// Secret reports whether an attribute's value must not be shown or logged.
func Secret(attr string) bool { return secret(attr) }

// UnknownTypes returns the names of elements that stand where a resource
// stands but are no resource type of these rules, each once. The grammar has
// no place for them; an installed agent may know them.
func UnknownTypes(doc *xmldoc.Document, rules restree.Rules) []string {
	var out []string
	var look func(e *xmldoc.Element)
	look = func(e *xmldoc.Element) {
		for _, c := range e.Elements() {
			if c.Name != "action" && rules.Find(c.Name) == nil && !slices.Contains(out, c.Name) {
				out = append(out, c.Name)
			}
			look(c)
		}
	}
	if rm := doc.Root.Child("rm"); rm != nil {
		for _, c := range rm.Elements() {
			if c.Name == "resources" || rules.Find(c.Name) != nil {
				look(c)
			}
		}
	}
	return out
}
