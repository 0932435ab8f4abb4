package cluster_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/haobox/haobox/internal/cluster"
)

// TestAssembler follows what corosync 3.1.7 was seen to report.
func TestAssembler(t *testing.T) {
	t.Parallel()
	m := func(n cluster.NodeID) cluster.Member { return cluster.Member{Node: n, Instance: uint32(n) * 10} }
	ch := func(r cluster.Reason, ids ...cluster.NodeID) (out []cluster.Change) {
		for _, id := range ids {
			out = append(out, cluster.Change{Member: m(id), Reason: r})
		}
		return out
	}
	ring := func(seq uint64) cluster.RingID { return cluster.RingID{Node: 1, Seq: seq} }
	type step struct {
		change *cluster.GroupChange
		ring   uint64
		msg    string
		want   []cluster.Event
	}
	a := &cluster.Assembler{Group: "g", Self: m(1)}
	for i, s := range []step{
		// The own join comes before the ring.
		{change: &cluster.GroupChange{Members: []cluster.Member{m(2), m(1)}, Joined: ch(cluster.Joined, 1)}},
		{ring: 4, want: []cluster.Event{cluster.View{Group: "g", Ring: ring(4), Members: []cluster.Member{m(1), m(2)}, Joined: ch(cluster.Joined, 1)}}},
		// Another process in the same ring.
		{change: &cluster.GroupChange{Members: []cluster.Member{m(1), m(2), m(3)}, Joined: ch(cluster.Joined, 3)},
			want: []cluster.Event{cluster.View{Group: "g", Ring: ring(4), Members: []cluster.Member{m(1), m(2), m(3)}, Joined: ch(cluster.Joined, 3)}}},
		{msg: "x", want: []cluster.Event{cluster.Message{Group: "g", From: m(2), Payload: []byte("x")}}},
		// A frozen node comes back: the others gone, the others there, the ring.
		{change: &cluster.GroupChange{Members: []cluster.Member{m(1)}, Left: ch(cluster.Failed, 3, 2)}},
		{change: &cluster.GroupChange{Members: []cluster.Member{m(1), m(2), m(3)}, Joined: ch(cluster.Merged, 2, 3)}},
		{msg: "held"},
		{ring: 12, want: []cluster.Event{
			cluster.View{Group: "g", Ring: ring(12), Members: []cluster.Member{m(1)}, Left: ch(cluster.Failed, 2, 3), Transitional: true},
			cluster.View{Group: "g", Ring: ring(12), Members: []cluster.Member{m(1), m(2), m(3)}, Joined: ch(cluster.Merged, 2, 3)},
			cluster.Message{Group: "g", From: m(2), Payload: []byte("held")}}},
		// A daemon stopped in order: its process first, the ring later.
		{change: &cluster.GroupChange{Members: []cluster.Member{m(1), m(3)}, Left: ch(cluster.Died, 2)},
			want: []cluster.Event{cluster.View{Group: "g", Ring: ring(12), Members: []cluster.Member{m(1), m(3)}, Left: ch(cluster.Died, 2)}}},
		{ring: 16},
	} {
		var got []cluster.Event
		switch {
		case s.change != nil:
			got = a.Change(*s.change)
		case s.ring != 0:
			got = a.Ring(ring(s.ring))
		default:
			got = a.Message(m(2), []byte(s.msg))
		}
		if diff := cmp.Diff(s.want, got); diff != "" {
			t.Errorf("step %d (-want +got):\n%s", i, diff)
		}
	}
}
