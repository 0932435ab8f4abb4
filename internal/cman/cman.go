// Package cman has what cman_tool(8) prints and how it names things: layouts to
// the byte, the local node's name, the words of a command line.
package cman

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/haobox/haobox/internal/cluster"
	"github.com/haobox/haobox/internal/clusterconf"
)

// ProtocolVersion is what cman 3 printed as its version; scripts compare it.
const ProtocolVersion = "6.2.0"

// noTime stands where a join time is not known: the width of one.
const noTime = "                   "

// StatusText is "cman_tool status". What cman knew and corosync 3 does not
// have (active subsystems, bound ports, multicast addresses) keeps its line.
func StatusText(s cluster.Status) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	local, _ := s.Node(s.Local)
	member, state := "No", "Not-in-Cluster"
	if slices.Contains(s.Members(), s.Local) {
		member, state = "Yes", "Cluster-Member"
	}
	line("Version: %s", ProtocolVersion)
	line("Config Version: %d", s.ConfigVersion)
	line("Cluster Name: %s", s.Cluster)
	line("Cluster Id: %d", clusterconf.ClusterID(s.Cluster))
	line("Cluster Member: %s", member)
	line("Cluster Generation: %d", uint32(s.Ring.Seq))
	line("Membership state: %s", state)
	line("Nodes: %d", len(s.Members()))
	line("Expected votes: %d", s.Expected)
	if s.DeviceName != "" {
		line("Quorum device votes: %d", s.DeviceVotes)
	}
	line("Total votes: %d", s.Total)
	line("Node votes: %d", local.Votes)
	blocked := " "
	if !s.Quorate {
		blocked = "Activity blocked"
	}
	line("Quorum: %d %s", s.Needed, blocked)
	line("Active subsystems: 0")
	flags := ""
	if s.TwoNode {
		flags = "2node "
	}
	line("Flags: %s", flags)
	line("Ports Bound: 0  ")
	line("Node name: %s", local.Name)
	line("Node ID: %d", s.Local)
	line("Multicast addresses: ")
	addresses := ""
	for _, a := range local.Addresses {
		addresses += a + " "
	}
	line("Node addresses: %s", addresses)
	return b.String()
}

// NodesOptions are those of "cman_tool nodes".
type NodesOptions struct {
	Addresses bool
	// Names are the nodes to show; none means all.
	Names []string
	// Format are the fields of -F; none means the table.
	Format []string
	// Zone is where times are shown.
	Zone *time.Location
}

// NodesText is "cman_tool nodes". The quorum device is node 0.
func NodesText(s cluster.Status, o NodesOptions) string {
	var b strings.Builder
	if len(o.Format) == 0 {
		b.WriteString("Node  Sts   Inc   Joined               Name\n")
	}
	nodes := slices.Clone(s.Nodes)
	if s.DeviceName != "" {
		nodes = append(nodes, cluster.NodeStatus{Node: cluster.Node{Name: s.DeviceName}, State: cluster.NodeMember, Votes: s.DeviceVotes})
	}
	slices.SortFunc(nodes, func(a, b cluster.NodeStatus) int { return int(int64(a.ID) - int64(b.ID)) })
	for _, n := range nodes {
		if len(o.Names) > 0 && !slices.Contains(o.Names, n.Name) {
			continue
		}
		if len(o.Format) > 0 {
			for _, f := range o.Format {
				if v, known := field(n, f); known {
					b.WriteString(v + " ")
				}
			}
			b.WriteByte('\n')
			continue
		}
		at := noTime
		if n.State == cluster.NodeMember && !n.JoinedAt.IsZero() {
			zone := o.Zone
			if zone == nil {
				zone = time.Local
			}
			at = n.JoinedAt.In(zone).Format("2006-01-02 15:04:05")
		}
		letter, _ := stateOf(n.State)
		fmt.Fprintf(&b, "%4d   %c  %5d   %s  %s\n", n.ID, letter, n.Incarnation, at, n.Name)
		if o.Addresses && len(n.Addresses) > 0 {
			b.WriteString("       Addresses: ")
			for _, a := range n.Addresses {
				b.WriteString(a + " ")
			}
			b.WriteByte('\n')
		}
	}
	return b.String()
}

// stateOf is a state as a letter and as a word.
func stateOf(s cluster.NodeState) (letter rune, word string) {
	switch s {
	case cluster.NodeJoining:
		return 'X', "Joining"
	case cluster.NodeMember:
		return 'M', "Member"
	case cluster.NodeDead:
		return 'X', "Dead"
	case cluster.NodeLeaving:
		return 'X', "Leaving"
	}
	return '?', "Unknown"
}

// field is one field of -F.
func field(n cluster.NodeStatus, name string) (string, bool) {
	letter, word := stateOf(n.State)
	switch name {
	case "id":
		return fmt.Sprint(n.ID), true
	case "name":
		return n.Name, true
	case "type":
		return string(letter), true
	case "addr":
		return strings.Join(n.Addresses, ","), true
	case "votes":
		return fmt.Sprint(n.Votes), true
	case "exp":
		return fmt.Sprint(n.Expected), true
	case "state":
		return word, true
	}
	return "", false
}

// Names is how the local node finds itself in the configuration.
type Names struct {
	// Wanted is the name of -n or CMAN_NODENAME; "" means none.
	Wanted string
	// Host is the kernel's name of this machine.
	Host string
	// Local are the addresses of this machine.
	Local []netip.Addr
	// Reverse resolves an address to names, Lookup a name to addresses; both
	// may fail.
	Reverse func(netip.Addr) []string
	Lookup  func(string) []netip.Addr
}

// FindLocal returns the name of this node in the configuration, by the order of
// cman(5): exactly; without domain; by the short part of a configured name; by
// the names of the local addresses; by the addresses as text; by what the
// configured names resolve to.
func FindLocal(configured []string, n Names) (string, bool) {
	name := n.Wanted
	if name == "" {
		name = n.Host
	}
	short := func(s string) string { s, _, _ = strings.Cut(s, "."); return s }
	exact := func(s string) (string, bool) { return s, s != "" && slices.Contains(configured, s) }
	byShort := func(s string) (string, bool) {
		for _, c := range configured {
			if s != "" && short(c) == short(s) && !isAddress(c) {
				return c, true
			}
		}
		return "", false
	}
	for _, try := range []func() (string, bool){
		func() (string, bool) { return exact(name) },
		func() (string, bool) { return exact(short(name)) },
		func() (string, bool) { return byShort(name) },
	} {
		if s, found := try(); found {
			return s, true
		}
	}
	if n.Wanted != "" {
		return "", false
	}
	for _, a := range n.Local {
		for _, r := range n.Reverse(a) {
			r = strings.TrimSuffix(r, ".")
			if s, found := exact(r); found {
				return s, true
			}
			if s, found := exact(short(r)); found {
				return s, true
			}
		}
	}
	for _, a := range n.Local {
		if s, found := exact(a.String()); found {
			return s, true
		}
	}
	for _, c := range configured {
		if Resolves(c, n) {
			return c, true
		}
	}
	return "", false
}

// Resolves reports whether a configured name stands for a local address.
func Resolves(name string, n Names) bool {
	if a, err := netip.ParseAddr(name); err == nil {
		return slices.Contains(n.Local, a.Unmap())
	}
	for _, a := range n.Lookup(name) {
		if slices.Contains(n.Local, a.Unmap()) {
			return true
		}
	}
	return false
}

func isAddress(s string) bool { _, err := netip.ParseAddr(s); return err == nil }
