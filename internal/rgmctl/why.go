package rgmctl

import (
	"fmt"
	"strings"
	"time"
)

// Plan is the answer to POST /v1/plan: what would happen, and nothing done.
type Plan struct {
	// Event is the event in other words, Assumed on what conditions.
	Event   string `json:"event"`
	Assumed string `json:"assumed"`
	// Result is the answer to a request.
	Result string `json:"result,omitempty"`
	// Before and After are the services that would change.
	Before    []Service  `json:"before"`
	After     []Service  `json:"after"`
	Decisions []Decision `json:"decisions"`
}

// PlanRequest is the body of POST /v1/plan: "kill CNODE1".
type PlanRequest struct {
	Event string `json:"event"`
}

// where says where a service is.
func (g *Service) where() string {
	text := StateString(g.State)
	switch {
	case g.Owner != 0:
		text += " on " + g.OwnerName
	case g.LastOwner != 0 && g.LastOwnerName != "":
		text += ", last on " + g.LastOwnerName
	}
	if names := FlagNames(g.Flags); len(names) > 0 {
		text += " (" + strings.Join(names, ", ") + ")"
	}
	return text
}

// Text is the output of "haobox why". zone is where times are shown.
func (w *Why) Text(zone *time.Location) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s is %s", w.Service.Name, w.Service.where())
	if !w.Service.Transition.IsZero() {
		fmt.Fprintf(&b, " since %s", w.Service.Transition.In(zone).Format(time.DateTime))
	}
	if w.Service.Restarts == 1 {
		b.WriteString(", after a restart")
	} else if w.Service.Restarts > 1 {
		fmt.Fprintf(&b, ", after %d restarts in a row", w.Service.Restarts)
	}
	b.WriteString(".\n")
	if len(w.Decisions) == 0 {
		b.WriteString("\nNo decision about it is known any more.\n")
	}
	for _, d := range w.Decisions {
		b.WriteByte('\n')
		layout := time.DateTime
		if d.Time.Nanosecond() != 0 {
			layout += ".000"
		}
		fmt.Fprintf(&b, "%s  %s\n", d.Time.In(zone).Format(layout), d.Cause)
		d.write(&b)
	}
	return b.String()
}

// write is a decision below its cause.
func (d *Decision) write(b *strings.Builder) {
	b.WriteString("    ")
	if d.From == d.To {
		b.WriteString(d.From)
	} else {
		fmt.Fprintf(b, "%s -> %s", d.From, d.To)
	}
	if d.Node != "" {
		b.WriteString(" on " + d.Node)
	}
	fmt.Fprintf(b, ": %s\n", d.Why)
	width := 0
	for _, c := range d.Candidates {
		width = max(width, len(c.Node))
	}
	for _, c := range d.Candidates {
		fmt.Fprintf(b, "        %-*s  score %d, runs %d: %s\n", width, c.Node, c.Score, c.Running, c.Verdict)
	}
}

// Text is the output of "haobox plan".
func (p *Plan) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "If %s:\n", p.Event)
	if p.Result != "" {
		fmt.Fprintf(&b, "  the answer is: %s\n", p.Result)
	}
	width := 0
	for _, g := range p.After {
		width = max(width, len(g.Name))
	}
	for i := range p.After {
		before := "new"
		for j := range p.Before {
			if p.Before[j].Name == p.After[i].Name {
				before = p.Before[j].where()
			}
		}
		fmt.Fprintf(&b, "  %-*s  %s  =>  %s\n", width, p.After[i].Name, before, p.After[i].where())
	}
	if len(p.After) == 0 {
		b.WriteString("  no service changes its place\n")
	}
	if len(p.Decisions) > 0 {
		b.WriteString("\nThe decisions:\n")
	}
	for i := range p.Decisions {
		d := &p.Decisions[i]
		fmt.Fprintf(&b, "\n  %s, because %s\n", d.Service, d.Cause)
		d.write(&b)
	}
	fmt.Fprintf(&b, "\nAssumed: %s. Nothing was done.\n", p.Assumed)
	return b.String()
}
