package rgm

import (
	"testing"

	"github.com/haobox/haobox/internal/cluster"
)

// trio is a state of three nodes with one service that runs on node 1.
func trio(t *testing.T) (*planner, *record) {
	p := &policy{Version: 1, Services: []svcPolicy{{Name: "service:web", Autostart: true}}}
	run := &planner{st: newState(), now: 1000, view: cluster.View{Ring: cluster.RingID{Node: 1, Seq: 4}}}
	for id := cluster.NodeID(1); id <= 3; id++ {
		p.Nodes = append(p.Nodes, nodeName{id, "lnx" + string(rune('0'+id))})
		run.view.Members = append(run.view.Members, cluster.Member{Node: id, Instance: uint32(id)})
	}
	run.send(&node{ID: 1, Instance: 1}, configMsg(1000, p))
	for id := cluster.NodeID(1); id <= 3; id++ {
		run.send(&node{ID: id, Instance: uint32(id)}, viewMsg{ring: 4, quorate: true, members: run.view.Members}.encode(1000))
	}
	for id := cluster.NodeID(1); id <= 3; id++ {
		run.send(&node{ID: id, Instance: uint32(id)}, joinMsg{life: 1, config: 1}.encode(1000))
	}
	run.finish()
	run.send(run.st.node(3), requestMsg{1, Request{Kind: Relocate, Service: "service:web", Target: 1}}.encode(1000))
	run.finish()
	r := run.st.records["service:web"]
	if run.err != nil || r.State != Started || r.Owner != 1 {
		t.Fatalf("%v on %d: %v", r.State, r.Owner, run.err)
	}
	return run, r
}

// see lets node 3 say what the group is now.
func see(run *planner, ring uint64, reason cluster.Reason, members ...cluster.Member) {
	var gone []cluster.Change
	for _, m := range run.view.Members {
		gone = append(gone, cluster.Change{Member: m, Reason: reason})
	}
	run.view.Ring.Seq, run.view.Members = ring, members
	run.send(&node{ID: 3, Instance: 3}, viewMsg{ring: ring, quorate: true, members: members, gone: gone}.encode(1001))
}

// TestState_StaleSafe: that a node was off as of an older ring says nothing.
func TestState_StaleSafe(t *testing.T) {
	t.Parallel()
	run, r := trio(t)
	see(run, 12, cluster.Failed, cluster.Member{Node: 2, Instance: 2}, cluster.Member{Node: 3, Instance: 3})
	run.send(run.st.node(3), safeMsg{node: 1, ring: 8}.encode(1002))
	if r.Owner != 1 || r.Task != noTask {
		t.Fatalf("it was taken over by node %d on an old word", r.Owner)
	}
	run.send(run.st.node(3), safeMsg{node: 1, ring: 12}.encode(1002))
	if r.Owner == 1 || r.State != Starting {
		t.Errorf("it is %v on node %d", r.State, r.Owner)
	}
}

// TestState_LeftIsNotOff: a node whose rgmanager died and that left the fence
// domain in order may still run what it ran.
func TestState_LeftIsNotOff(t *testing.T) {
	t.Parallel()
	run, r := trio(t)
	see(run, 12, cluster.Died, cluster.Member{Node: 2, Instance: 2}, cluster.Member{Node: 3, Instance: 3})
	run.send(run.st.node(3), safeMsg{node: 1, ring: 16, left: true}.encode(1002))
	if r.Owner != 1 || r.Task != noTask {
		t.Fatalf("it was taken over by node %d", r.Owner)
	}
}

// TestState_OwnerMayHavePassedItOn: two nodes fail together. That the owner is
// back without the service does not say that it runs nowhere: the other one may
// have taken it over from it.
func TestState_OwnerMayHavePassedItOn(t *testing.T) {
	t.Parallel()
	run, r := trio(t)
	see(run, 12, cluster.Failed, cluster.Member{Node: 3, Instance: 3})
	again := cluster.Member{Node: 1, Instance: 11}
	see(run, 16, cluster.Failed, again, cluster.Member{Node: 3, Instance: 3})
	run.send(&node{ID: 1, Instance: 11}, viewMsg{ring: 16, quorate: true, members: run.view.Members}.encode(1003))
	run.send(&node{ID: 1, Instance: 11}, joinMsg{life: 1, config: 1}.encode(1003))
	if r.State != Stopped || r.Owner != 0 {
		t.Fatalf("it is %v on node %d", r.State, r.Owner)
	}
	run.send(run.st.node(3), safeMsg{node: 2, ring: 16}.encode(1004))
	if r.State != Starting {
		t.Errorf("it is %v although all is known", r.State)
	}
}

// TestState_WordsOfThePast: what an owner says of an earlier task, or another
// process or node of a task, changes nothing.
func TestState_WordsOfThePast(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		from node
		age  uint64 // epochs
		cmd  command
		ok   bool
		want State
	}{
		{"the owner", node{ID: 1, Instance: 1}, 0, cmdDone, true, Stopped},
		{"of an earlier task", node{ID: 1, Instance: 1}, 1, cmdDone, true, Stopping},
		{"of an earlier task, which failed", node{ID: 1, Instance: 1}, 1, cmdDone, false, Stopping},
		{"the process before", node{ID: 1, Instance: 9}, 0, cmdDone, true, Stopping},
		{"another node", node{ID: 2, Instance: 2}, 0, cmdDone, true, Stopping},
		{"a check that failed meanwhile", node{ID: 1, Instance: 1}, 0, cmdFail, false, Stopping},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			run, r := trio(t)
			run.send(run.st.node(3), requestMsg{2, Request{Kind: UserStop, Service: "service:web"}}.encode(1001))
			if r.State != Stopping {
				t.Fatalf("it is %v", r.State)
			}
			run.send(&tc.from, doneMsg{service: r.Name, epoch: r.Epoch - tc.age, ok: tc.ok}.encode(tc.cmd, 1002))
			if r.State != tc.want {
				t.Errorf("it is %v, want %v", r.State, tc.want)
			}
		})
	}
}

// TestState_PausedAlone: a node was paused, and nobody who worked meanwhile is
// left. What it knew of nodes that were off is void, if there was a new ring.
func TestState_PausedAlone(t *testing.T) {
	t.Parallel()
	two, three := cluster.Member{Node: 2, Instance: 2}, cluster.Member{Node: 3, Instance: 3}
	for _, tc := range []struct {
		name    string
		members []cluster.Member
		known   bool
	}{
		{"alone", []cluster.Member{three}, false},
		{"with a new process of another node", []cluster.Member{{Node: 2, Instance: 9}, three}, false},
		{"with one that worked all the time", []cluster.Member{two, three}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			run, _ := trio(t)
			see(run, 12, cluster.Failed, two, three)
			run.send(run.st.node(3), safeMsg{node: 1, ring: 12}.encode(1002))
			run.view.Ring.Seq, run.view.Members = 20, tc.members
			run.send(&node{ID: 3, Instance: 3}, pingMsg(1003, 1))
			if got := run.st.node(1).Known; got != tc.known {
				t.Fatalf("what the node that was off runs is known: %v", got)
			}
			run.send(&node{ID: 3, Instance: 3}, safeMsg{node: 1, ring: 12}.encode(1004))
			if got := run.st.node(1).Known; got != tc.known {
				t.Errorf("an old word counts: %v", got)
			}
			run.send(&node{ID: 3, Instance: 3}, safeMsg{node: 1, ring: 20}.encode(1005))
			if !run.st.node(1).Known {
				t.Error("a new word does not count")
			}
		})
	}
}
