package explain

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// JSON writes the page as one JSON object.
func (p *Page) JSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(p)
}

// Text writes the page for people.
func (p *Page) Text(w io.Writer) error {
	b := bufio.NewWriter(w)
	t := printer{b}
	t.line("Cluster %s, version %d, id %d, multicast %s", p.Cluster, p.Version, p.ClusterID, p.Multicast)
	t.nodes(p)
	t.quorum(p)
	t.fencing(p)
	t.domains(p)
	for i := range p.Services {
		t.service(&p.Services[i])
	}
	t.head("Findings")
	if len(p.Findings) == 0 {
		t.line("  Nothing is wrong, and nothing looks dangerous.")
	}
	for _, f := range p.Findings {
		t.line("  %s", f)
	}
	return b.Flush()
}

type printer struct{ b *bufio.Writer }

func (t printer) line(format string, args ...any) { fmt.Fprintf(t.b, format+"\n", args...) }

func (t printer) head(title string) {
	t.line("\n%s\n%s", title, strings.Repeat("-", len([]rune(title))))
}

func (t printer) nodes(p *Page) {
	t.head("Nodes")
	for _, n := range p.Nodes {
		second := ""
		if n.AltName != "" {
			second = ", second ring " + n.AltName
		}
		t.line("  %s: node %d, %s%s", n.Name, n.ID, plural(n.Votes, "vote"), second)
	}
	if len(p.Nodes) == 0 {
		t.line("  none")
	}
}

func (t printer) quorum(p *Page) {
	q := p.Quorum
	t.head("Quorum")
	t.line("  Expected votes: %d (%s). The nodes have %d, the quorum disk has %d.", q.Expected, q.ExpectedWhy, q.NodeVotes, q.DiskVotes)
	if q.TwoNode {
		t.line("  Two-node mode: one vote is quorum. Who loses the other node fences it and goes on.")
	} else {
		t.line("  Quorum: %s, more than half of the expected and of the present ones.", plural(q.Quorum, "vote"))
	}
	for _, c := range q.Cases {
		disk := ""
		if p.Disk != nil {
			disk = ", disk counts"
			if !c.Disk {
				disk = ", disk does not count"
			}
		}
		verdict := "quorate"
		if !c.Quorate {
			verdict = "no quorum: services are stopped"
		}
		down := plural(c.Down, "node") + " down"
		if c.Down == 0 {
			down = "all nodes up"
		}
		t.line("    %s%s: %s, %s", down, disk, plural(c.Votes, "vote"), verdict)
	}
	if d := p.Disk; d != nil {
		auto := ""
		if d.VotesAuto {
			auto = " (one less than there are nodes)"
		}
		t.line("  Quorum disk: %s, %s%s.", d.Where, plural(d.Votes, "vote"), auto)
		t.line("    Each node writes every %s; one that misses more than %d in a row is evicted, after %s. A new master is there after %s.", d.Interval, d.TKO, d.Evicts, d.Recovery)
		if d.MasterWins {
			t.line("    The vote goes to the master alone: of two nodes that lose each other one wins.")
		}
		for _, h := range d.Heuristics {
			t.line("    Heuristic %s", h)
		}
		if len(d.Heuristics) > 0 {
			t.line("    A node with a score below %d of %d gives up its vote and reboots.", d.MinScore, d.MaxScore)
		}
	}
}

func (t printer) fencing(p *Page) {
	t.head("Fencing")
	f := p.Failure
	t.line("  A node that does not answer is out after %s (token) and %s (consensus).", f.Token, f.Consensus)
	t.line("  It is fenced %s later; at the start of the cluster, missing nodes after %s.", f.FailDelay, f.JoinDelay)
	for _, n := range p.Nodes {
		if len(n.Methods) == 0 {
			t.line("  %s: no method. Its services wait until a person says that it is off (fence_ack_manual %s).", n.Name, n.Name)
			continue
		}
		for i, m := range n.Methods {
			first := "first"
			if i > 0 {
				first = "if that fails"
			}
			t.line("  %s, %s: %s", n.Name, first, m.Name)
			for _, u := range m.Devices {
				t.line("    %s", u)
			}
		}
		for _, u := range n.Unfence {
			t.line("  %s is let in again by %s", n.Name, u)
		}
	}
	t.line("  If every method fails it begins again, for ever, with %s for a person to confirm through %s.", f.OverrideTime, f.Override)
	for _, d := range p.Devices {
		t.line("  Device %s: %s", d.Name, strings.TrimSpace(d.Agent+" "+strings.Join(d.Args, " ")))
	}
}

// String is "device (agent) arguments".
func (u Use) String() string {
	return strings.TrimSpace(u.Device + " (" + u.Agent + ") " + strings.Join(u.Args, " "))
}

func (t printer) domains(p *Page) {
	if len(p.Domains) == 0 {
		return
	}
	t.head("Failover domains")
	for _, d := range p.Domains {
		words := []string{"unordered"}
		if d.Ordered {
			words[0] = "ordered"
		}
		if d.Restricted {
			words = append(words, "restricted to these nodes")
		}
		if d.NoFailback {
			words = append(words, "no failback")
		}
		t.line("  %s: %s; %s", d.Name, strings.Join(d.Nodes, ", "), strings.Join(words, ", "))
	}
}

func (t printer) service(s *Service) {
	t.head("Service " + s.ID)
	on := strings.Join(s.RunsOn, ", ")
	if on == "" {
		on = "no node"
	}
	if s.Elsewhere {
		on += "; elsewhere if none of them is there"
	}
	if s.Domain != "" {
		on += " (domain " + s.Domain + ")"
	}
	t.line("  Runs on: %s", on)
	start := "starts by itself when there is quorum"
	if !s.Autostart {
		start = "waits for a person to enable it"
	}
	if s.Exclusive {
		start += "; only on a node that runs nothing else"
	}
	if s.Depends != "" {
		start += "; after " + s.Depends
	}
	t.line("  Start: %s", start)
	t.line("  Recovery: %s", s.Recovery)
	t.line("  In start order:")
	t.resource(&s.Tree, 2)
	t.line("  Stop order: %s", strings.Join(s.StopOrder, ", "))
	t.line("  What happens when")
	for _, o := range s.Failures {
		t.line("    %s:", o.When)
		t.line("      %s.", o.Then)
	}
}

func (t printer) resource(r *Resource, depth int) {
	var notes []string
	if r.What != "" {
		notes = append(notes, r.What)
	}
	if len(r.Checks) > 0 {
		notes = append(notes, "checked "+strings.Join(r.Checks, ", "))
	}
	if r.Mark != "" {
		notes = append(notes, r.Mark)
	}
	if r.Shared {
		notes = append(notes, "shared")
	}
	line := strings.Repeat("  ", depth) + r.ID
	if len(notes) > 0 {
		line += ": " + strings.Join(notes, "; ")
	}
	t.line("%s", line)
	for i := range r.Children {
		t.resource(&r.Children[i], depth+1)
	}
}
