package rgm

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/haobox/haobox/internal/cluster"
	"github.com/haobox/haobox/internal/goldentest"
)

// messages are one of each kind.
func messages(t testing.TB) [][]byte {
	conf := parse(t, oneNode)
	p := newPolicy(conf.Config, conf.Set)
	m := cluster.Member{Node: 1, Instance: 7}
	return [][]byte{
		viewMsg{ring: 4, quorate: true, members: []cluster.Member{m, {Node: 2, Instance: 9}}, gone: []cluster.Change{{Member: cluster.Member{Node: 3, Instance: 1}, Reason: cluster.Died}}}.encode(1000),
		joinMsg{life: 1, config: 1, sum: p.Sum, running: []string{"service:web"}, failed: []string{"service:off"}, partial: []string{"service:web"}}.encode(1001),
		configMsg(1002, p), haveMsg{1, p.Sum}.encode(1003), safeMsg{2, 8, true}.encode(1004), assumeMsg(1005, 2),
		doneMsg{"service:web", 3, true, 150}.encode(cmdDone, 1006), doneMsg{"service:web", 3, false, 0}.encode(cmdFail, 1006),
		requestMsg{5, Request{Relocate, "service:web", 2, true}}.encode(1007), newWriter(cmdLeaving, 1008).Bytes(), newWriter(cmdRetry, 1009).Bytes(), pingMsg(1010, 3),
	}
}

// rich is a state with something of everything.
func rich(t testing.TB) *state {
	s := newState()
	view := cluster.View{Ring: cluster.RingID{Node: 1, Seq: 4}, Members: []cluster.Member{{Node: 1, Instance: 7}, {Node: 2, Instance: 9}}}
	for _, b := range messages(t) {
		if err := s.apply(cluster.Member{Node: 1, Instance: 7}, view, b); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range s.records {
		r.Cause = "a cause"
		r.Tried, r.RestartTimes, r.Flags = []cluster.NodeID{1, 2}, []int64{5, 6}, Frozen|Partial
		r.Queue = []queued{{cluster.Member{Node: 2, Instance: 9}, requestMsg{4, Request{Enable, r.Name, 1, false}}}}
	}
	return s
}

// TestSnapshot_RoundTrip: a restored state is the state, to the byte.
func TestSnapshot_RoundTrip(t *testing.T) {
	t.Parallel()
	s := rich(t)
	b := s.snapshot()
	got, err := restore(b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(s.records, got.records, cmp.Exporter(func(reflect.Type) bool { return true })); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(s.history, got.history); diff != "" || len(s.history) == 0 {
		t.Errorf("history (-want +got):\n%s", diff)
	}
	if !bytes.Equal(got.snapshot(), b) {
		t.Error("the copy's snapshot differs")
	}
}

// TestOtherVersion: what another version sends is named and changes nothing.
func TestOtherVersion(t *testing.T) {
	t.Parallel()
	s := rich(t)
	before := s.snapshot()
	for _, v := range []byte{0, Version + 1, 255} {
		for _, b := range messages(t) {
			b[2] = v
			if err := s.apply(cluster.Member{Node: 2, Instance: 9}, cluster.View{}, b); !errors.Is(err, ErrVersion) {
				t.Errorf("version %d gave %v", v, err)
			}
		}
		b := bytes.Clone(before)
		b[2] = v
		if _, err := restore(b); !errors.Is(err, ErrVersion) {
			t.Errorf("a snapshot of version %d gave %v", v, err)
		}
	}
	if !bytes.Equal(s.snapshot(), before) {
		t.Error("the state changed")
	}
}

// TestCore_RefusesOtherState: a process that joins a group with the state of
// another version says so and ends, and touches nothing.
func TestCore_RefusesOtherState(t *testing.T) {
	t.Parallel()
	old := rich(t).snapshot()
	old[2] = Version + 1
	self := cluster.Member{Node: 2, Instance: 9}
	c := New(Options{Self: self})
	machine{c}.Restore(old, false)
	var exit, touched bool
	for _, a := range append(c.Step(time.Unix(1, 0), parse(t, oneNode)), c.Step(time.Unix(2, 0), Tick{})...) {
		switch a := a.(type) {
		case Exit:
			exit = a.Code != 0
		case RunAgent, HardDown:
			touched = true
		}
	}
	if !exit || touched {
		t.Errorf("exit %v, touched something %v", exit, touched)
	}
}

// TestMessages_Truncated: no prefix of a message is taken for one.
func TestMessages_Truncated(t *testing.T) {
	t.Parallel()
	for _, b := range messages(t) {
		for n := range b {
			if n == headerSize && len(b) == headerSize {
				continue
			}
			if err := newState().apply(cluster.Member{Node: 1, Instance: 7}, cluster.View{}, b[:n]); err == nil {
				t.Errorf("%d of %d bytes of command %d were taken", n, len(b), b[3])
			}
		}
		if err := newState().apply(cluster.Member{}, cluster.View{}, append(bytes.Clone(b), 0)); err == nil {
			t.Errorf("command %d was taken with a byte too many", b[3])
		}
	}
}

// FuzzApply: no message makes the state panic, and what it leaves can be
// written and read.
func FuzzApply(f *testing.F) {
	for _, b := range messages(f) {
		f.Add(b, b)
	}
	// A list that claims to be longer than the message.
	f.Add([]byte{'R', 'G', Version, byte(cmdJoin), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255}, []byte{})
	f.Fuzz(func(t *testing.T, a, b []byte) {
		s := rich(t)
		view := cluster.View{Ring: cluster.RingID{Node: 1, Seq: 4}, Members: []cluster.Member{{Node: 1, Instance: 7}, {Node: 2, Instance: 9}}}
		for i, m := range [][]byte{a, b, a} {
			_ = s.apply(cluster.Member{Node: cluster.NodeID(1 + i%2), Instance: uint32(7 + 2*(i%2))}, view, m)
		}
		if _, err := restore(s.snapshot()); err != nil {
			t.Fatalf("the state can not be read back: %v", err)
		}
	})
}

// FuzzRestore: no snapshot makes the decoder panic; what it takes is stable.
func FuzzRestore(f *testing.F) {
	f.Add(rich(f).snapshot())
	f.Add([]byte{'R', 'S', Version})
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := restore(b)
		if err != nil {
			return
		}
		again, err := restore(s.snapshot())
		if err != nil || !bytes.Equal(again.snapshot(), s.snapshot()) {
			t.Fatalf("it is not stable: %v", err)
		}
	})
}

// TestTexts: the words that scripts read.
func TestTexts(t *testing.T) {
	t.Parallel()
	want := "Success|Failure|Aborted; service failed|Service not mastered locally|Service does not exist|Operation would cause a deadlock|" +
		"Temporary failure; try again|Operation violates dependency rule|Invalid operation for resource|Operation requires quorum|" +
		"Service is already running|Failure: Service is frozen|Target node dead / nonexistent|Fencing operation pending; try again later|" +
		"S/Lang Script Error|Service not runnable|Service not runnable: cannot run exclusive|Failed; service running on original owner|" +
		"Permission denied|Warning; see system logs|Unknown|"
	got := ""
	for r := OK; r >= -20; r-- {
		got += r.String() + "|"
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("results (-want +got):\n%s", diff)
	}
	for r, code := range map[Result]int{OK: 0, Fail: 255, NoService: 252, Invalid: 248, Warning: 237, Running: 0} {
		if r.ExitCode() != code {
			t.Errorf("%v exits with %d, want %d", r, r.ExitCode(), code)
		}
	}
	states := ""
	for s := Stopped; s <= Migrating+1; s++ {
		states += s.String() + " "
	}
	if states != "stopped starting started stopping failed uninitialized checking recoverable recovering disabled migrating Unknown " {
		t.Errorf("states %q", states)
	}
	if got := fmt.Sprint(Enable, Relocate, UserStop, Freeze, Convalesce, Kind(999), Kind(77)); got != "enable relocate user stop Unknown convalesce none Unknown" {
		t.Errorf("requests %q", got)
	}
}

// big is a cluster of 16 nodes with 1,000 services, all started.
func big(t testing.TB) (*state, cluster.View) {
	s := newState()
	view := cluster.View{Ring: cluster.RingID{Node: 1, Seq: 4}}
	p := &policy{Version: 1}
	for id := cluster.NodeID(1); id <= 16; id++ {
		p.Nodes = append(p.Nodes, nodeName{id, fmt.Sprintf("lnx%02d", id)})
		view.Members = append(view.Members, cluster.Member{Node: id, Instance: uint32(id)})
	}
	for i := range 20 {
		d := domain{Name: fmt.Sprintf("domain-%d", i), Ordered: true, Restricted: i%2 == 0}
		for k := range 8 {
			d.Nodes = append(d.Nodes, domainNode{cluster.NodeID((i+k)%16 + 1), k + 1})
		}
		p.Domains = append(p.Domains, d)
	}
	for i := range 1000 {
		p.Services = append(p.Services, svcPolicy{Name: fmt.Sprintf("service:application-%04d", i), Autostart: true, Domain: fmt.Sprintf("domain-%d", i%20)})
	}
	run := planner{st: s, now: 1000, view: view}
	one := &node{ID: 1, Instance: 1}
	run.send(one, configMsg(1000, p))
	for _, m := range view.Members {
		n := &node{ID: m.Node, Instance: m.Instance}
		run.send(n, viewMsg{ring: 4, quorate: true, members: view.Members}.encode(1000))
	}
	for _, m := range view.Members {
		run.send(&node{ID: m.Node, Instance: m.Instance}, joinMsg{life: 1, config: 1}.encode(1000))
	}
	run.finish()
	if run.err != nil {
		t.Fatal(run.err)
	}
	for _, r := range s.records {
		if r.State != Started {
			t.Fatalf("%s is %v", r.Name, r.State)
		}
	}
	return s, view
}

// TestBig_Size: the state of 1,000 services on 16 nodes fits into 1 MiB, after
// decisions about all of them.
func TestBig_Size(t *testing.T) {
	t.Parallel()
	s, view := big(t)
	run := planner{st: s, now: 2000, view: view}
	for _, id := range []cluster.NodeID{3, 4} {
		run.lose(s.node(id))
		run.finish()
	}
	if run.err != nil {
		t.Fatal(run.err)
	}
	if n := len(s.snapshot()); n > 1<<20 {
		t.Errorf("the snapshot has %d bytes", n)
	}
	for _, r := range s.records {
		if r.State != Started || r.Owner == 3 || r.Owner == 4 {
			t.Errorf("%s is %v on %d", r.Name, r.State, r.Owner)
		}
	}
}

// BenchmarkNodeLoss is one placement decision: a node of 16 is gone and off, and
// its services out of 1,000 find new owners.
func BenchmarkNodeLoss(b *testing.B) {
	s, view := big(b)
	snap := s.snapshot()
	for b.Loop() {
		b.StopTimer()
		st, err := restore(snap)
		if err != nil {
			b.Fatal(err)
		}
		run := planner{st: st, now: 2000, view: view}
		b.StartTimer()
		run.lose(st.node(3))
	}
}

// BenchmarkSnapshot writes the state of 1,000 services.
func BenchmarkSnapshot(b *testing.B) {
	s, _ := big(b)
	n := 0
	for b.Loop() {
		n = len(s.snapshot())
	}
	b.ReportMetric(float64(n)/(1<<20), "MiB")
}

// TestWire_Golden pins every message and the snapshot of version 1, with a value
// of its own in each field: nodes of different builds understand each other.
func TestWire_Golden(t *testing.T) {
	t.Parallel()
	p := &policy{Version: 1, Sum: 1<<40 + 2, Central: true, Nodes: []nodeName{{3, "a"}, {4, ""}},
		Domains: []domain{{Name: "d", Ordered: true, Nodes: []domainNode{{5, 6}, {7, 8}}}, {Name: "e", Restricted: true, NoFailback: true}},
		Services: []svcPolicy{{Name: "service:s", Autostart: true, Exclusive: 9, Recovery: recoverDisable, Depend: "service:t", DependSoft: true,
			MaxRestarts: 10, RestartExpire: 11, Priority: -12, Domain: "d"}, {Name: "vm:g", Migratory: true}},
		Triggers: []trigger{{Name: "n", Class: classService, NodeID: -1, NodeState: 13, Service: "service:s", ServiceState: 14, ServiceOwner: -15, Final: true,
			Orders: []order{{Kind: Relocate, Service: "vm:g", On: 16, Best: true}, {Kind: Enable}}}},
	}
	one := cluster.Member{Node: 17, Instance: 18}
	request := requestMsg{19, Request{Migrate, "vm:g", 20, true}}
	var out strings.Builder
	for _, b := range [][]byte{
		viewMsg{ring: 21, quorate: true, members: []cluster.Member{one, {Node: 22}}, gone: []cluster.Change{{Member: one, Reason: cluster.Left}}}.encode(23),
		joinMsg{life: 24, leaving: true, config: 25, sum: 26, running: []string{"a", ""}, failed: []string{"b"}, partial: []string{"c"}}.encode(27),
		configMsg(-28, p), haveMsg{29, 30}.encode(31), safeMsg{32, 33, true}.encode(34), assumeMsg(35, 36),
		doneMsg{strings.Repeat("x", maxName+1), 37, true, -38}.encode(cmdDone, 39), doneMsg{"service:s", 40, false, 41}.encode(cmdLooked, 42),
		request.encode(43), newWriter(cmdLeaving, 44).Bytes(), newWriter(cmdRetry, 45).Bytes(), pingMsg(46, 47),
	} {
		fmt.Fprintf(&out, "message %d: %x\n", b[3], b)
	}
	s := newState()
	s.setPolicy(p)
	s.locked, s.ring, s.serial, s.began, s.nextDec = true, 48, 49, 50, 51
	s.nodes = []*node{{ID: 52, Name: "a", Instance: 53, Life: 54, Member: true, Quorate: true, Known: true, GoneRing: 55, Gone: cluster.Died, Config: 56, Sum: 57},
		{ID: 58, Joined: true, Leaving: true, Safe: true}}
	s.records = map[string]*record{
		"service:s": {Service: Service{Name: "service:s", State: Started, Owner: 59, LastOwner: 60, Restarts: 61, Transition: 62, Flags: Frozen}, Instance: 63, Epoch: 64,
			Task: taskLast - 1, Then: thenLast - 1, Target: 65, Origin: 66, Home: true, Tried: []cluster.NodeID{67, 68}, Removed: true, Asker: one, Ask: 69, Kind: Relocate,
			FailedOn: 70, Claims: true, RetryAt: 71, StartedAt: 72, RestartTimes: []int64{73, -74}, Look: []cluster.NodeID{75}, LookFor: 76,
			Queue: []queued{{one, request}, {cluster.Member{Node: 77}, requestMsg{}}}},
		"vm:g": {Service: Service{Name: "vm:g", State: Stopped, Flags: Partial}, WasFailed: true, Known: true, Looked: true},
	}
	s.history = []Decision{{Serial: 78, At: 79, Service: "vm:g", Cause: "c", From: Stopped, To: Starting, Node: 80, Why: "w",
		Candidates: []Candidate{{81, 82, 1 << 17, 2}, {Node: 83}}}, {}}
	fmt.Fprintf(&out, "snapshot: %x\n", s.snapshot())
	goldentest.Compare(t, "testdata/wire.golden", out.String())
}
