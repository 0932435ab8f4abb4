package restree

import (
	"bufio"
	"fmt"
	"io"
	"strings"
)

// The functions below print what rg_test prints, byte for byte.

// PrintRules prints all rules, sorted.
func PrintRules(w io.Writer, rules Rules) {
	b := bufio.NewWriter(w)
	defer b.Flush()
	for _, r := range rules {
		r.print(b)
	}
}

func (r *Rule) print(b *bufio.Writer) {
	fmt.Fprintf(b, "Resource Rules for \"%s\"\n", r.Type)
	if r.MaxInstances > 0 {
		fmt.Fprintf(b, "Max instances: %d\n", r.MaxInstances)
	}
	fmt.Fprintf(b, "Agent: %s\n", r.Agent)
	flags := ""
	if r.InitOnAdd {
		flags += "init_on_add "
	}
	if r.DestroyOnDelete {
		flags += "destroy_on_delete "
	}
	if flags == "" {
		flags = "(none)"
	}
	fmt.Fprintf(b, "Flags: %s\n", flags)
	b.WriteString("Attributes:\n")
	for i := range r.Params {
		p := &r.Params[i]
		fmt.Fprintf(b, "  %s%s", p.Name, flagList(p.Primary, "primary", p.Unique, "unique", p.Required, "required", p.Inherit != "", "inherit", p.Reconfig, "reconfig"))
		switch {
		case p.Inherit != "":
			fmt.Fprintf(b, " default=\"%s\"", p.Inherit)
		case p.HasDefault:
			fmt.Fprintf(b, " default=\"%s\"", p.Default)
		}
		b.WriteByte('\n')
	}
	if len(r.Params) == 0 {
		b.WriteString("  - None -\n")
	}
	b.WriteString("Actions:\n")
	for _, a := range r.Actions {
		fmt.Fprintf(b, "  %s\n", a.Name)
		if a.Timeout != 0 {
			fmt.Fprintf(b, "    Timeout (hint): %d seconds\n", a.Timeout)
		}
		if a.Depth != 0 {
			fmt.Fprintf(b, "    OCF Check Depth (status/monitor): %d seconds\n", a.Depth)
		}
		if a.Interval != 0 {
			fmt.Fprintf(b, "    Check Interval: %d seconds\n", a.Interval)
		}
	}
	b.WriteString("Explicitly defined child resource types:\n")
	for _, c := range r.Children {
		b.WriteString("  " + c.Type)
		if c.Forbid {
			b.WriteString(" (forbidden)")
		} else if c.Start > 0 || c.Stop > 0 {
			b.WriteString(" [")
			if c.Start > 0 {
				fmt.Fprintf(b, " startlevel = %d", c.Start)
			}
			if c.Stop > 0 {
				fmt.Fprintf(b, " stoplevel = %d", c.Stop)
			}
			b.WriteString(" ] ")
		}
		b.WriteByte('\n')
	}
	if len(r.Children) == 0 {
		b.WriteString("  - None -\n")
	}
	b.WriteByte('\n')
}

// flagList formats pairs of a condition and a word as " [ a b ]", or "".
func flagList(pairs ...any) string {
	s := ""
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i].(bool) {
			s += " " + pairs[i+1].(string)
		}
	}
	if s == "" {
		return ""
	}
	return " [" + s + " ]"
}

// PrintResources prints the list of resources.
func PrintResources(w io.Writer, list []*Resource) {
	b := bufio.NewWriter(w)
	defer b.Flush()
	for _, r := range list {
		fmt.Fprintf(b, "Resource type: %s", r.Rule.Type)
		for _, f := range []struct {
			on   bool
			word string
		}{{r.Inline, "INLINE"}, {r.NeedStart, "NEEDSTART"}, {r.NeedStop, "NEEDSTOP"}, {r.Reconfig, "RECONFIG"}} {
			if f.on {
				b.WriteString(" [" + f.word + "]")
			}
		}
		b.WriteByte('\n')
		if m := r.MaxRefs(); m > 0 {
			fmt.Fprintf(b, "Instances: %d/%d\n", r.Refs, m)
		}
		fmt.Fprintf(b, "Agent: %s\n", r.Rule.Agent)
		b.WriteString("Attributes:\n")
		for i := range r.Attrs {
			a := &r.Attrs[i]
			b.WriteString("  " + a.Name)
			inherit := ""
			if a.Inherited {
				inherit = fmt.Sprintf("inherit(\"%s\")", a.Value)
			} else {
				b.WriteString(" = " + a.Value)
			}
			b.WriteString(flagList(a.Primary, "primary", a.Unique, "unique", a.Required, "required", a.Reconfig, "reconfig", a.Inherited, inherit))
			b.WriteByte('\n')
		}
		b.WriteByte('\n')
	}
}

// PrintTree prints the tree.
func PrintTree(w io.Writer, tree []*Node) {
	b := bufio.NewWriter(w)
	defer b.Flush()
	for _, n := range tree {
		n.print(b, 0)
	}
}

func (n *Node) print(b *bufio.Writer, depth int) {
	indent := strings.Repeat("  ", depth)
	b.WriteString(indent + n.Resource.Rule.Type)
	b.WriteString(flagList(n.NeedStop, "NEEDSTOP", n.NeedStart, "NEEDSTART", n.Independent, "INDEPENDENT", n.Reconfig, "RECONFIG",
		n.EnforceTimeouts, "ENFORCE-TIMEOUTS", n.NonCritical, "NON-CRITICAL"))
	b.WriteString(" {\n")
	for _, v := range n.Values() {
		if v.Null {
			v.Value = "(null)"
		}
		fmt.Fprintf(b, "%s  %s = \"%s\";\n", indent, v.Name, v.Value)
	}
	for _, c := range n.Children {
		c.print(b, depth+1)
	}
	b.WriteString(indent + "}\n")
}

// PrintDomains prints the failover domains.
func PrintDomains(w io.Writer, domains []Domain) {
	b := bufio.NewWriter(w)
	defer b.Flush()
	for _, d := range domains {
		flags := ""
		if d.Ordered {
			flags += "Ordered "
		}
		if d.Restricted {
			flags += "Restricted "
		}
		if d.NoFailback {
			flags += "No Failback"
		}
		if flags == "" {
			flags = "none"
		}
		fmt.Fprintf(b, "Failover domain: %s\nFlags: %s\n", d.Name, flags)
		for _, n := range d.Nodes {
			fmt.Fprintf(b, "  Node %s (id %d, priority %d)\n", n.Name, n.ID, n.Priority)
		}
	}
}

// PrintEvents prints the event triggers by priority.
func PrintEvents(w io.Writer, events []Event) {
	b := bufio.NewWriter(w)
	defer b.Flush()
	for p := 1; p <= 100; p++ {
		first := true
		for i := range events {
			e := &events[i]
			if e.Priority != p {
				continue
			}
			if first {
				fmt.Fprintf(b, "Event Priority Level %d:\n", p)
				first = false
			}
			fmt.Fprintf(b, "  Name: %s\n    %s\n", e.Name, e.describe())
			if e.File != "" {
				fmt.Fprintf(b, "    File: %s\n", e.File)
			} else {
				b.WriteString("    Inline script.\n")
			}
		}
	}
}
