package fenceagent

import (
	"fmt"
	"strings"
)

// Description is what an agent says of itself.
type Description struct {
	// Name is the name it was called by.
	Name string
	// Short is a few words, Long some paragraphs separated by blank lines.
	Short, Long string
	URL         string
	Options     []Option
}

// mixed is the option as the metadata's getopt element and the usage text
// write it: "-o, --action=[action]".
func (o *Option) mixed() string {
	var names []string
	if o.Short != "" {
		names = append(names, "-"+o.Short[:1])
	}
	if o.Long != "" {
		long := "--" + o.Long
		if o.takesValue() && !o.Bare {
			long += "=[" + o.Arg + "]"
		}
		names = append(names, long)
	}
	return strings.Join(names, ", ")
}

// contentType is the metadata's word for the option's kind. A Boolean with a
// value on the command line is a "string" there, as the Python agents have it.
func (o *Option) contentType() string {
	switch o.Kind {
	case Integer:
		return "integer"
	case Seconds:
		return "second"
	case Boolean:
		if o.Arg == "" {
			return "boolean"
		}
	case Select:
		return "select"
	}
	return "string"
}

// XML is the metadata document. With manpage set, longdesc keeps its
// paragraphs marked up for a manual page.
func (d *Description) XML(manpage bool) string {
	var b strings.Builder
	esc := strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;", "'", "&apos;")
	fmt.Fprintf(&b, "<?xml version=\"1.0\" ?>\n<resource-agent name=\"%s\" shortdesc=\"%s\">\n", esc.Replace(d.Name), esc.Replace(d.Short))
	long := d.Long
	if manpage {
		long = ".P\n" + strings.ReplaceAll(long, "\n\n", "\n.P\n")
	}
	fmt.Fprintf(&b, "<longdesc>%s</longdesc>\n<vendor-url>%s</vendor-url>\n<parameters>\n", esc.Replace(long), esc.Replace(d.URL))
	for i := range d.Options {
		o := &d.Options[i]
		if o.Internal {
			continue
		}
		for _, old := range o.Deprecated {
			o.parameter(&b, esc, old, ` deprecated="1"`)
		}
		attr := ""
		if len(o.Deprecated) > 0 {
			attr = fmt.Sprintf(` obsoletes="%s"`, o.Deprecated[0])
		}
		o.parameter(&b, esc, o.Name, attr)
	}
	b.WriteString("</parameters>\n<actions>\n")
	for _, a := range actions {
		attr := ""
		if a == On {
			attr = ` automatic="0"`
		}
		fmt.Fprintf(&b, "\t<action name=\"%s\"%s/>\n", a, attr)
	}
	b.WriteString("</actions>\n</resource-agent>\n")
	return b.String()
}

// parameter writes the option under one of its names.
func (o *Option) parameter(b *strings.Builder, esc *strings.Replacer, name, attr string) {
	required := 0
	if o.Required {
		required = 1
	}
	fmt.Fprintf(b, "\t<parameter name=\"%s\" unique=\"0\" required=\"%d\"%s>\n", name, required, attr)
	fmt.Fprintf(b, "\t\t<getopt mixed=\"%s\" />\n", esc.Replace(o.mixed()))
	fmt.Fprintf(b, "\t\t<content type=\"%s\"", o.contentType())
	if o.Default != "" {
		fmt.Fprintf(b, " default=\"%s\"", esc.Replace(o.Default))
	}
	if o.Kind == Select {
		b.WriteString(">\n")
		for _, c := range o.Choices {
			fmt.Fprintf(b, "\t\t\t<option value=\"%s\" />\n", esc.Replace(c))
		}
		b.WriteString("\t\t</content>\n")
	} else {
		b.WriteString(" />\n")
	}
	fmt.Fprintf(b, "\t\t<shortdesc lang=\"en\">%s</shortdesc>\n\t</parameter>\n", esc.Replace(o.Summary))
}

// Columns of the usage text: options start after three blanks, texts at
// usageText, lines end before usageWidth.
const (
	usageText  = 34
	usageWidth = 80
)

// Usage is the text of --help.
func (d *Description) Usage() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Usage:\n\t%s [options]\nOptions:\n", d.Name)
	for i := range d.Options {
		o := &d.Options[i]
		if o.Ignored || o.mixed() == "" {
			continue
		}
		text := o.Summary
		switch {
		case o.Kind == Select:
			text += " (" + strings.Join(o.Choices, "|") + ")"
		case o.Name == "action":
			text += " (" + strings.Join(actions, "|") + ")"
		}
		if o.Default != "" {
			text += " (default " + o.Default + ")"
		}
		head := "   " + o.mixed()
		column := len(head)
		b.WriteString(head)
		for i, word := range strings.Fields(text) {
			switch {
			case i == 0 && column < usageText:
				b.WriteString(strings.Repeat(" ", usageText-column))
				column = usageText
			case i == 0 || column+1+len(word) > usageWidth:
				b.WriteString("\n" + strings.Repeat(" ", usageText))
				column = usageText
			default:
				b.WriteByte(' ')
				column++
			}
			b.WriteString(word)
			column += len(word)
		}
		b.WriteByte('\n')
	}
	return b.String()
}
