package fencing

import (
	"testing"

	"github.com/haobox/haobox/internal/cluster"
)

// newState is a domain of the nodes 1 to 3, all complete, instance 10 times the
// id, in ring 4.
func newState() (*state, cluster.View) {
	s := &state{change: 3}
	v := cluster.View{Ring: cluster.RingID{Node: 1, Seq: 4}}
	for id := cluster.NodeID(1); id <= 3; id++ {
		m := cluster.Member{Node: id, Instance: uint32(id) * 10}
		v.Members = append(v.Members, m)
		s.domain = append(s.domain, member{node: id, instance: m.Instance, complete: true, started: 3, ring: 4})
	}
	return s, v
}

func gone(v cluster.View, seq uint64, m cluster.Member, why cluster.Reason) cluster.View {
	out := cluster.View{Ring: cluster.RingID{Node: 1, Seq: seq}, Left: []cluster.Change{{Member: m, Reason: why}}}
	for _, o := range v.Members {
		if o != m {
			out.Members = append(out.Members, o)
		}
	}
	return out
}

func come(v cluster.View, seq uint64, m cluster.Member) cluster.View {
	return cluster.View{Ring: cluster.RingID{Node: 1, Seq: seq}, Members: append(append([]cluster.Member{}, v.Members...), m), Joined: []cluster.Change{{Member: m, Reason: cluster.Joined}}}
}

// TestState_LaterLife: what is said of a victim does not count for the next time
// that its node fails.
func TestState_LaterLife(t *testing.T) {
	t.Parallel()
	for _, k := range []kind{kindDone, kindOverride} {
		s, v := newState()
		one, three, again := v.Members[0], v.Members[2], cluster.Member{Node: 3, Instance: 31}
		v = gone(v, 8, three, cluster.Failed)
		s.view(v)
		old := *s.victim(3)
		v = come(v, 12, again)
		s.view(v)
		s.apply(again, v, command{kind: kindJoin})
		if s.victim(3) != nil || s.member(3) == nil {
			t.Fatal("node 3 is not back")
		}
		v = gone(v, 16, again, cluster.Failed)
		s.view(v)
		s.apply(one, v, command{kind: k, node: 3, id: old.id, how: HowAgent})
		if s.victim(3) == nil {
			t.Errorf("kind %d for the first life ends the second", k)
		}
		s.apply(one, v, command{kind: k, node: 3, id: s.victim(3).id, how: HowAgent})
		if s.victim(3) != nil || s.record(3).off != 16 || s.record(3).fate != fateOff {
			t.Errorf("kind %d: %+v", k, s.record(3))
		}
	}
}

// TestState_Trust: who may say what.
func TestState_Trust(t *testing.T) {
	t.Parallel()
	s, v := newState()
	one, three := v.Members[0], v.Members[2]
	stranger := cluster.Member{Node: 9, Instance: 90}
	s.apply(stranger, v, command{kind: kindJoin})
	if s.member(9) != nil {
		t.Error("a member of no view joined the domain")
	}
	failed := gone(v, 8, three, cluster.Failed)
	s.view(failed)
	id := s.victim(3).id
	// It merges: the same instance, which was relied on.
	back := come(failed, 12, three)
	s.view(back)
	for _, k := range []kind{kindClean, kindJoin, kindLeave} {
		s.apply(three, back, command{kind: k})
		if s.victim(3) == nil || s.member(3) != nil {
			t.Fatalf("kind %d lets a stale node go", k)
		}
	}
	s.apply(three, back, command{kind: kindDone, node: 3, id: id, how: HowAgent})
	s.apply(three, back, command{kind: kindOverride, node: 3, id: id})
	if s.victim(3) == nil {
		t.Error("a stale node says that it is off")
	}
	s.apply(one, back, command{kind: kindComplete, change: s.change})
	if !s.member(1).complete || s.victim(3) == nil {
		t.Error("a change is complete although there is a victim")
	}
	// Taking a view twice changes nothing.
	n := s.change
	s.view(failed)
	if s.change != n || len(s.victims) != 1 {
		t.Errorf("change %d, victims %+v", s.change, s.victims)
	}
}

// TestState_NotBesideAVictim: a node that joins while another one may live
// elsewhere is complete only when that one is off. Until then nothing runs on it,
// so that what the other one still believes of it does no harm.
func TestState_NotBesideAVictim(t *testing.T) {
	t.Parallel()
	s, v := newState()
	one, two, three, four := v.Members[0], v.Members[1], v.Members[2], cluster.Member{Node: 4, Instance: 40}
	v = gone(v, 8, three, cluster.Failed)
	s.view(v)
	v = come(v, 12, four)
	s.view(v)
	s.apply(four, v, command{kind: kindJoin})
	complete := func() bool {
		for _, m := range []cluster.Member{one, two, four} {
			s.apply(m, v, command{kind: kindStart, change: s.change})
		}
		s.apply(one, v, command{kind: kindComplete, change: s.change})
		return s.member(4).complete
	}
	if complete() {
		t.Error("it is a whole member while there is a victim")
	}
	s.apply(one, v, command{kind: kindDone, node: 3, id: s.victim(3).id, how: HowAgent})
	if !complete() {
		t.Error("it is none when the victim is off")
	}
}

// TestState_ExternalOfAnotherTime: what was fenced before this domain began, or
// before the one who says so was in it, is no news.
func TestState_ExternalOfAnotherTime(t *testing.T) {
	t.Parallel()
	one, two := cluster.Member{Node: 1, Instance: 10}, cluster.Member{Node: 2, Instance: 20}
	v := cluster.View{Ring: cluster.RingID{Node: 1, Seq: 56}, Members: []cluster.Member{one}}
	s := &state{}
	s.apply(one, v, command{kind: kindJoin, nodes: []named{{3, "CNODE3"}}})
	v = come(v, 60, two)
	s.view(v)
	s.apply(two, v, command{kind: kindExternal, node: 3, ring: 60})
	if s.victim(3) == nil {
		t.Error("taken from a daemon that is not in the domain")
	}
	s.apply(two, v, command{kind: kindJoin})
	for _, tc := range []struct {
		from cluster.Member
		ring uint64
		want bool
	}{{one, 48, false}, {two, 48, false}, {two, 56, false}, {one, 56, true}} {
		if s.apply(tc.from, v, command{kind: kindExternal, node: 3, ring: tc.ring}); (s.victim(3) == nil) != tc.want {
			t.Errorf("from node %d as of ring %d: victim %v", tc.from.Node, tc.ring, s.victim(3))
		}
	}
}

// TestState_Departures: what each reason makes of a node.
func TestState_Departures(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		why    cluster.Reason
		leave  bool // the domain, before
		victim Reason
		fate   fate
	}{
		{"a failed node", cluster.Failed, false, ReasonNode, fateUnknown},
		{"a daemon that ended", cluster.Died, false, ReasonProcess, fateUnknown},
		{"an orderly departure", cluster.Left, false, 0, fateLeft},
		{"an orderly departure after leaving the domain", cluster.Left, true, 0, fateLeft},
		{"a failure after leaving the domain", cluster.Failed, true, 0, fateUnknown},
	} {
		s, v := newState()
		three := v.Members[2]
		if tc.leave {
			s.apply(three, v, command{kind: kindLeave})
		}
		s.view(gone(v, 8, three, tc.why))
		got := Reason(0)
		if x := s.victim(3); x != nil {
			got = x.reason
		}
		if got != tc.victim || s.record(3).fate != tc.fate || s.member(3) != nil {
			t.Errorf("%s: victim for %v, fate %v", tc.name, got, s.record(3).fate)
		}
	}
}
