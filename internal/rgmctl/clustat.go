package rgmctl

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

const (
	// DefaultWidth is the width of clustat's text when standard output is no
	// terminal.
	DefaultWidth = 80
	// maxName is the widest column of names.
	maxName = 64
	// stateWidth is the column of the state.
	stateWidth = 14
	// xmlVersion is the version attribute that scripts of rgmanager 3 find.
	xmlVersion = "4.1.1"
)

// View says what clustat shows.
type View struct {
	// Width is that of the terminal in columns; 0 means DefaultWidth.
	Width int
	// Member and Service restrict the output to one; Service is a full name.
	Member, Service string
	Long            bool
	// Now and Zone are those of the first line and of the times.
	Now  time.Time
	Zone *time.Location
}

// ctime is the layout of ctime(3), without the line end.
const ctime = "Mon Jan _2 15:04:05 2006"

func (v *View) time(t time.Time) string {
	zone := v.Zone
	if zone == nil {
		zone = time.Local
	}
	return t.In(zone).Format(ctime)
}

// pad is printf's %-*.*s.
func pad(s string, width, precision int) string {
	s = cut(s, precision)
	if n := width - len(s); n > 0 {
		s += strings.Repeat(" ", n)
	}
	return s
}

func cut(s string, n int) string {
	if len(s) > n {
		return s[:max(n, 0)]
	}
	return s
}

// Text is clustat's plain and long output.
func (s *Status) Text(v View) string {
	if v.Width <= 0 {
		v.Width = DefaultWidth
	}
	var b strings.Builder
	if v.Member != "" {
		s.members(&b, v)
		return b.String()
	}
	if v.Service == "" {
		fmt.Fprintf(&b, "Cluster Status for %s @ %s\n", s.Cluster, v.time(v.Now))
		quorate := "Inquorate"
		if s.Quorate {
			quorate = "Quorate"
		}
		fmt.Fprintf(&b, "Member Status: %s\n\n", quorate)
		s.members(&b, v)
		b.WriteByte('\n')
	}
	if len(s.Services) == 0 {
		return b.String()
	}
	if v.Long {
		s.long(&b, v)
	} else {
		s.table(&b, v)
	}
	return b.String()
}

// members is the table of nodes.
func (s *Status) members(b *strings.Builder, v View) {
	w := min(max(v.Width/2, 1), maxName)
	fmt.Fprintf(b, " %s%-4.4s %s\n", pad("Member Name", w, w), "ID", "Status")
	fmt.Fprintf(b, " %s%-4.4s %s\n", pad("------ ----", w, w), "----", "------")
	for _, n := range s.sortedNodes() {
		if v.Member != "" && n.Name != v.Member {
			continue
		}
		fmt.Fprintf(b, " %s %4d %s\n", pad(n.Name, w, w), n.ID, n.words())
	}
}

func (s *Status) sortedNodes() []Node {
	nodes := slices.DeleteFunc(slices.Clone(s.Nodes), func(n Node) bool { return n.Estranged && !n.Online })
	slices.SortStableFunc(nodes, func(a, b Node) int { return int(int64(a.ID) - int64(b.ID)) })
	return nodes
}

func (n *Node) words() string {
	out := "Offline"
	if n.Online {
		out = "Online"
	}
	for _, f := range []struct {
		set  bool
		word string
	}{
		{n.Local, "Local"}, {n.Estranged, "Estranged"},
		{n.RGManager && !n.Master && !n.Worker, "rgmanager"},
		{n.RGManager && n.Master, "RG-Master"}, {n.RGManager && n.Worker && !n.Master, "RG-Worker"},
		{n.QDisk, "Quorum Disk"},
	} {
		if f.set {
			out += ", " + f.word
		}
	}
	return out
}

// showsLast reports whether a state shows its last owner.
func showsLast(state int) bool {
	switch state {
	case StateStopped, StateDisabled, StateError, StateFailed:
		return true
	}
	return false
}

func (s *Status) table(b *strings.Builder, v View) {
	a := min(max((v.Width-20)/2, 3), maxName)
	row := func(name, owner, state string) {
		fmt.Fprintf(b, " %s %s %s\n", pad(name, a, a), pad(owner, a, a), pad(state, stateWidth, stateWidth))
	}
	row("Service Name", "Owner (Last)", "State")
	row("------- ----", "----- ------", "-----")
	for _, g := range s.sortedServices(v.Service) {
		owner := s.NodeName(g.Owner)
		if showsLast(g.State) {
			owner = "(" + cut(s.NodeName(g.LastOwner), a-2) + ")"
		}
		row(g.Name, owner, g.stateField())
	}
}

// stateField is the state with the letters of its flags.
func (g *Service) stateField() string {
	letters := ""
	if g.Flags&FlagFrozen != 0 {
		letters += "Z"
	}
	if g.Flags&FlagPartial != 0 {
		letters += "P"
	}
	state := StateString(g.State)
	if letters == "" {
		return state
	}
	w := stateWidth - (2 + len(letters))
	return pad(state, w, w) + "[" + letters + "]"
}

func (s *Status) sortedServices(only string) []Service {
	var out []Service
	for _, g := range s.Services {
		if only == "" || g.Name == only {
			out = append(out, g)
		}
	}
	slices.SortStableFunc(out, func(a, b Service) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func (s *Status) long(b *strings.Builder, v View) {
	b.WriteString("Service Information\n------- -----------\n\n")
	for _, g := range s.sortedServices(v.Service) {
		names := strings.Join(FlagNames(g.Flags), ", ")
		if names == "" {
			names = "none"
		}
		fmt.Fprintf(b, "Service Name      : %s\n", g.Name)
		fmt.Fprintf(b, "  Current State   : %s (%d)\n", StateString(g.State), g.State)
		fmt.Fprintf(b, "  Flags           : %s (%d)\n", names, g.Flags)
		fmt.Fprintf(b, "  Owner           : %s\n", s.NodeName(g.Owner))
		fmt.Fprintf(b, "  Last Owner      : %s\n", s.NodeName(g.LastOwner))
		fmt.Fprintf(b, "  Last Transition : %s\n\n", v.time(transition(g.Transition)))
	}
}

// transition is the time of a record; one that was never touched has 0.
func transition(t time.Time) time.Time {
	if t.IsZero() {
		return time.Unix(0, 0)
	}
	return t
}

// attr escapes an attribute's value.
func attr(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;",
		"\n", "&#10;", "\t", "&#9;", "\r", "&#13;").Replace(s) // which would be blanks to whoever reads it
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}

// XML is the output of clustat -x.
func (s *Status) XML(v View) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line(`<?xml version="1.0"?>`)
	line(`<clustat version="%s">`, xmlVersion)
	if v.Member == "" && v.Service == "" {
		line(`  <cluster name="%s" id="%d" generation="%d"/>`, attr(s.Cluster), s.ID, s.Generation)
		// An inquorate cluster has a line end here, in the original too.
		after := ""
		if !s.Quorate {
			after = "\n"
		}
		line(`  <quorum quorate="%d"%s groupmember="%d"/>`, bit(s.Quorate), after, bit(s.GroupMember))
	}
	if v.Service == "" {
		line(`  <nodes>`)
		for _, n := range s.sortedNodes() {
			if v.Member != "" && n.Name != v.Member {
				continue
			}
			line(`    <node name="%s" state="%d" local="%d" estranged="%d" rgmanager="%d" rgmanager_master="%d" qdisk="%d" nodeid="0x%08x"/>`,
				attr(n.Name), bit(n.Online), bit(n.Local), bit(n.Estranged), bit(n.RGManager), bit(n.Master), bit(n.QDisk), n.ID)
		}
		line(`  </nodes>`)
	}
	if v.Member == "" && len(s.Services) > 0 {
		line(`  <groups>`)
		for _, g := range s.sortedServices(v.Service) {
			t := transition(g.Transition)
			line(`    <group name="%s" state="%d" state_str="%s" flags="%d" flags_str="%s" owner="%s" last_owner="%s" restarts="%d" last_transition="%d" last_transition_str="%s"/>`,
				attr(g.Name), g.State, StateString(g.State), g.Flags, strings.Join(FlagNames(g.Flags), " "),
				attr(s.NodeName(g.Owner)), attr(s.NodeName(g.LastOwner)), g.Restarts, t.Unix(), v.time(t))
		}
		line(`  </groups>`)
	}
	line(`</clustat>`)
	return b.String()
}

// JSON is the output of clustat --json: Status, with names beside the ids,
// restricted as the text is.
func (s *Status) JSON(v View) (string, error) {
	out := *s
	out.Nodes = s.sortedNodes()
	if v.Member != "" {
		out.Nodes = slices.DeleteFunc(out.Nodes, func(n Node) bool { return n.Name != v.Member })
	}
	out.Services = s.sortedServices(v.Service)
	for i := range out.Services {
		g := &out.Services[i]
		g.StateName = StateString(g.State)
		g.OwnerName, g.LastOwnerName = s.NodeName(g.Owner), s.NodeName(g.LastOwner)
	}
	b, err := json.MarshalIndent(out, "", "  ")
	return string(b) + "\n", err
}
