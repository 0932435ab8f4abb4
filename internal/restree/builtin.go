package restree

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"github.com/haobox/haobox/internal/xmldoc"
)

// Builtin returns the rules of the resource types that haobox knows by
// itself, without running an agent. Each call returns a new set.
func Builtin() Rules {
	rules := Rules{}
	rules.Complete()
	return rules
}

// Complete adds the rules of Builtin of which there is none of the type yet.
func (r *Rules) Complete() {
	for i := range builtinRules {
		if r.Find(builtinRules[i].Type) == nil {
			r.Add(builtinRules[i].clone())
		}
	}
}

// BuiltinRule returns the rule of one agent by the name of its program
// ("ip.sh"). It is not to be changed. The table is compiled in (rules.go), so
// that an agent does not read XML at each status check.
func BuiltinRule(program string) (*Rule, bool) {
	for i := range builtinRules {
		if builtinRules[i].Agent == program {
			return &builtinRules[i], true
		}
	}
	return nil, false
}

// Metadata returns the rule as the metadata of an rgmanager agent. ParseRule
// reads it back.
func (r *Rule) Metadata() []byte { return r.emit(false) }

// OCF returns the rule as the metadata of an OCF agent for Pacemaker: times
// have units, there are the actions that OCF requires instead of rgmanager's
// own, and what only rgmanager reads is left out.
func (r *Rule) OCF() []byte { return r.emit(true) }

// ocfTimeout stands for an action without a limit, which Pacemaker does not
// have: 20 minutes, longer than the start of any agent here but SAPDatabase.
const ocfTimeout = 1200

func (r *Rule) emit(ocf bool) []byte {
	var b bytes.Buffer
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	version := r.Version
	if version == "" {
		version = "1.0"
	}
	line(`<?xml version="1.0"?>`)
	line(`<!DOCTYPE resource-agent SYSTEM "ra-api-1.dtd">`)
	if ocf {
		line(`<resource-agent name="%s" version="%s">`, esc(r.Type), esc(version))
	} else {
		line(`<resource-agent name="%s">`, esc(r.Type))
	}
	line("  <version>%s</version>", esc(version))
	line("  <longdesc lang=\"en\">%s</longdesc>", esc(r.Long))
	line("  <shortdesc lang=\"en\">%s</shortdesc>", esc(r.Short))
	line("  <parameters>")
	for i := range r.Params {
		r.Params[i].emit(line, ocf)
	}
	line("  </parameters>")
	line("  <actions>")
	for _, a := range r.Actions {
		a.emit(line, ocf)
	}
	line("  </actions>")
	if !ocf {
		r.emitSpecial(line)
	}
	line("</resource-agent>")
	return b.Bytes()
}

func esc(s string) string { return xmldoc.Escape(s) }

func (p *Param) emit(line func(string, ...any), ocf bool) {
	attrs := ""
	add := func(on bool, name, value string) {
		if on {
			attrs += " " + name + `="` + esc(value) + `"`
		}
	}
	if ocf {
		// Pacemaker has no primary parameter: the name of a resource is its own.
		add(true, "unique", strconv.Itoa(btoi(p.Unique)))
		add(true, "required", strconv.Itoa(btoi(p.Required)))
	} else {
		add(p.Primary, "primary", "1")
		add(p.Unique, "unique", "1")
		add(p.Required, "required", "1")
		add(p.Reconfig, "reconfig", "1")
		add(p.Inherit != "", "inherit", p.Inherit)
	}
	line(`    <parameter name="%s"%s>`, esc(p.Name), attrs)
	line("      <longdesc lang=\"en\">%s</longdesc>", esc(p.Long))
	line("      <shortdesc lang=\"en\">%s</shortdesc>", esc(p.Short))
	typ := p.ContentType
	if typ == "" {
		typ = "string"
	}
	def := ""
	if p.HasDefault {
		def = ` default="` + esc(p.Default) + `"`
	}
	line(`      <content type="%s"%s/>`, esc(typ), def)
	line("    </parameter>")
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (a Action) emit(line func(string, ...any), ocf bool) {
	if ocf && a.Name == "migrate" {
		// Pacemaker has two words for it, and migrates only if it finds both.
		for _, a.Name = range []string{"migrate_to", "migrate_from"} {
			a.emit(line, ocf)
		}
		return
	}
	attrs, unit := "", ""
	timeout := a.Timeout
	if ocf {
		unit = "s"
		if a.Name == "status" || a.Name == "reconfig" || a.Name == "recover" || a.Name == "verify-all" {
			return // rgmanager's words; monitor stands for status
		}
		if timeout == 0 {
			timeout = ocfTimeout
		}
	}
	if a.Depth != 0 {
		attrs += ` depth="` + strconv.Itoa(a.Depth) + `"`
	}
	attrs += ` timeout="` + strconv.Itoa(timeout) + unit + `"`
	if a.Interval != 0 {
		attrs += ` interval="` + strconv.Itoa(a.Interval) + unit + `"`
	}
	line(`    <action name="%s"%s/>`, esc(a.Name), attrs)
}

func (r *Rule) emitSpecial(line func(string, ...any)) {
	line(`  <special tag="rgmanager">`)
	var attrs []string
	if r.MaxInstances > 0 {
		attrs = append(attrs, fmt.Sprintf(`maxinstances="%d"`, r.MaxInstances))
	}
	if !r.InitOnAdd {
		attrs = append(attrs, `init_on_add="0"`)
	}
	if !r.DestroyOnDelete {
		attrs = append(attrs, `destroy_on_delete="0"`)
	}
	if r.OpenParams {
		attrs = append(attrs, `any="1"`)
	}
	if len(attrs) > 0 {
		line("    <attributes %s/>", strings.Join(attrs, " "))
	}
	for _, c := range r.Children {
		s := ""
		if c.Forbid {
			s = ` forbid="1"`
		}
		if c.Start > 0 {
			s += fmt.Sprintf(` start="%d"`, c.Start)
		}
		if c.Stop > 0 {
			s += fmt.Sprintf(` stop="%d"`, c.Stop)
		}
		line(`    <child type="%s"%s/>`, esc(c.Type), s)
	}
	line("  </special>")
}
