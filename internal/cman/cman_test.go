package cman_test

import (
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"github.com/haobox/haobox/internal/cluster"
	"github.com/haobox/haobox/internal/cman"
	"github.com/haobox/haobox/internal/goldentest"
)

func golden(t *testing.T, name, got string) {
	t.Helper()
	goldentest.Compare(t, filepath.Join("testdata", name+".golden"), got)
}

// example is the cluster of cman_tool(8) as far as corosync 3 has it.
func example() cluster.Status {
	at := time.Date(2010, 5, 4, 10, 13, 36, 0, time.UTC)
	return cluster.Status{
		Engine: "corosync", Cluster: "zc", ConfigVersion: 3, Local: 1, Ring: cluster.RingID{Node: 1, Seq: 1<<32 + 8}, Quorate: true,
		Expected: 3, Total: 3, Needed: 2, DeviceVotes: 1, DeviceName: "/dev/sdb1",
		Nodes: []cluster.NodeStatus{
			{Node: cluster.Node{ID: 1, Name: "CNODE1"}, State: cluster.NodeMember, Votes: 1, Expected: 3, Addresses: []string{"10.0.0.1", "10.1.0.1"}, Incarnation: 100, JoinedAt: at},
			{Node: cluster.Node{ID: 2, Name: "CNODE2"}, State: cluster.NodeDead, Votes: 1, Expected: 3, Addresses: []string{"10.0.0.2"}},
			{Node: cluster.Node{ID: 3, Name: "CNODE3"}, State: cluster.NodeLeaving, Votes: 2, Expected: 3},
			{Node: cluster.Node{ID: 4, Name: "CNODE4"}, State: cluster.NodeJoining},
			{Node: cluster.Node{ID: 5, Name: "CNODE5"}, State: 9},
		},
	}
}

func TestStatusText(t *testing.T) {
	t.Parallel()
	s := example()
	golden(t, "status", cman.StatusText(s))
	s.Quorate, s.TwoNode, s.DeviceName, s.DeviceVotes, s.Needed = false, true, "", 0, 1
	golden(t, "status_blocked", cman.StatusText(s))
	golden(t, "status_nothing", cman.StatusText(cluster.Status{}))
}

func TestNodesText(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]cman.NodesOptions{
		"nodes":           {},
		"nodes_addresses": {Addresses: true},
		"nodes_one":       {Names: []string{"CNODE2"}},
		"nodes_unknown":   {Names: []string{"nobody"}},
		"nodes_fields":    {Format: []string{"id", "name", "type", "addr", "votes", "exp", "state", "nonsense"}},
	} {
		o.Zone = time.UTC
		golden(t, name, cman.NodesText(example(), o))
	}
}

func TestFindLocal(t *testing.T) {
	t.Parallel()
	addr := netip.MustParseAddr
	reverse := func(a netip.Addr) []string {
		if a == addr("10.0.0.2") {
			return []string{"cnode2.example.org."}
		}
		return nil
	}
	lookup := func(name string) []netip.Addr {
		if name == "heartbeat3" {
			return []netip.Addr{addr("::ffff:10.0.0.3")}
		}
		return nil
	}
	for _, tc := range []struct {
		name       string
		configured []string
		n          cman.Names
		want       string
	}{
		{"exactly", []string{"cnode1", "cnode1.example.org"}, cman.Names{Host: "cnode1.example.org"}, "cnode1.example.org"},
		{"without domain", []string{"cnode1"}, cman.Names{Host: "cnode1.example.org"}, "cnode1"},
		{"by the short part", []string{"cnode1.cluster"}, cman.Names{Host: "cnode1"}, "cnode1.cluster"},
		{"by a reverse name", []string{"cnode2.example.org"}, cman.Names{Host: "x", Local: []netip.Addr{addr("10.0.0.2")}}, "cnode2.example.org"},
		{"by the short reverse name", []string{"cnode2"}, cman.Names{Host: "x", Local: []netip.Addr{addr("10.0.0.2")}}, "cnode2"},
		{"by address", []string{"10.0.0.9"}, cman.Names{Host: "x", Local: []netip.Addr{addr("10.0.0.9")}}, "10.0.0.9"},
		{"by resolving", []string{"heartbeat3"}, cman.Names{Host: "x", Local: []netip.Addr{addr("10.0.0.3")}}, "heartbeat3"},
		{"as wanted", []string{"cnode1", "cnode2"}, cman.Names{Wanted: "cnode2", Host: "cnode1"}, "cnode2"},
		{"wanted but not there", []string{"cnode1"}, cman.Names{Wanted: "cnode2", Host: "cnode1"}, ""},
		{"not at all", []string{"cnode1"}, cman.Names{Host: "x"}, ""},
		{"an address has no short part", []string{"10.0.0.9"}, cman.Names{Host: "10"}, ""},
	} {
		tc.n.Reverse, tc.n.Lookup = reverse, lookup
		got, found := cman.FindLocal(tc.configured, tc.n)
		if got != tc.want || found != (tc.want != "") {
			t.Errorf("%s: got %q, %v, want %q", tc.name, got, found, tc.want)
		}
	}
}
