// Package enginetest has the tests that every cluster.Engine passes: agreed
// order, agreement on views, state transfer, nothing from a member after its
// departure, quorum. An engine's package gives a Factory and calls Run.
package enginetest

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/haobox/haobox/internal/cluster"
)

// Options say what cluster a test needs.
type Options struct {
	Nodes   int // with the ids 1, 2, ... and one vote each
	TwoNode bool
}

// Cluster is what a Factory makes: a cluster whose nodes are all up and in one
// ring. Faults that an engine cannot have are nil, and the tests that need them
// do not exist for it.
type Cluster struct {
	// Open returns an engine of a new process on a node.
	Open func(cluster.NodeID) (cluster.Engine, error)
	// Until lets time pass until done says so, and fails the test after a limit.
	Until func(what string, done func() bool)
	// End ends the process that holds an engine, without a word.
	End func(cluster.Engine)
	// Kill ends a node's engine without a word, Stop in order; Start brings it
	// back, and returns when it can be opened.
	Kill, Stop, Start func(cluster.NodeID)
	// Freeze pauses a node's engine for longer than the others wait for it.
	Freeze, Thaw func(cluster.NodeID)
	// Cut takes a node off the network for as long; Heal puts it back.
	Cut, Heal func(cluster.NodeID)
	// Big is the size of the largest message to try, in bytes; 0 means 5 MB.
	Big int
	// Messages is how many messages each node sends to compare the orders; 0
	// means 5,000, sent by all nodes at a time.
	Messages int
}

// Factory makes a cluster for one test, and takes it down at its end. With 0
// nodes it only says which faults there are.
type Factory func(t *testing.T, o Options) *Cluster

// Run runs all tests on an engine.
func Run(t *testing.T, parallel bool, f Factory) {
	can := f(t, Options{})
	for _, tc := range []struct {
		name string
		o    Options
		need bool
		run  func(t *testing.T, c *Cluster)
	}{
		{"AgreedOrder", Options{Nodes: 3}, true, agreedOrder},
		{"BigMessages", Options{Nodes: 2}, true, bigMessages},
		{"JoinAndLeave", Options{Nodes: 3}, true, joinAndLeave},
		{"ProcessDies", Options{Nodes: 2}, true, processDies},
		{"Watch", Options{Nodes: 2}, true, watchOnly},
		{"Status", Options{Nodes: 3}, true, status},
		{"Errors", Options{Nodes: 1}, true, misuse},
		{"StateTransfer", Options{Nodes: 3}, true, stateTransfer},
		{"NodeFails", Options{Nodes: 3}, can.Kill != nil, nodeFails},
		{"NodeFailsUnderLoad", Options{Nodes: 3}, can.Kill != nil, failsUnderLoad},
		{"NodeStops", Options{Nodes: 3}, can.Stop != nil, nodeStops},
		{"QuorumLost", Options{Nodes: 3}, can.Kill != nil, quorumLost},
		{"TwoNode", Options{Nodes: 2, TwoNode: true}, can.Kill != nil, twoNode},
		{"Frozen", Options{Nodes: 3}, can.Freeze != nil, frozen},
		{"Partition", Options{Nodes: 3}, can.Cut != nil, partition},
	} {
		if !tc.need {
			continue
		}
		t.Run(tc.name, func(t *testing.T) {
			if parallel {
				t.Parallel()
			}
			tc.run(t, f(t, tc.o))
		})
	}
}

// recorder writes down what a member of a group sees. Its methods are safe for
// concurrent use.
type recorder struct {
	t      *testing.T
	name   string
	engine cluster.Engine
	group  cluster.Group
	hook   func(cluster.Event)

	mu  sync.Mutex
	log []cluster.Event
}

// open joins a group on a node through a new process.
func (c *Cluster) open(t *testing.T, id cluster.NodeID, group string) *recorder {
	t.Helper()
	r := &recorder{}
	c.join(t, r, id, group)
	return r
}

// join fills a recorder, which may have a hook, and joins with it. Events can
// come before join returns.
func (c *Cluster) join(t *testing.T, r *recorder, id cluster.NodeID, group string) {
	t.Helper()
	e, err := c.Open(id)
	if err != nil {
		t.Fatalf("open node %d: %v", id, err)
	}
	t.Cleanup(func() { e.Close() })
	if got := e.Local().ID; got != id {
		t.Fatalf("local node %d, want %d", got, id)
	}
	r.t, r.name, r.engine = t, fmt.Sprintf("node %d", id), e
	r.mu.Lock() // group is set before the first event is looked at
	r.group, err = e.Join(group, r.deliver)
	r.mu.Unlock()
	if err != nil {
		t.Fatalf("join on node %d: %v", id, err)
	}
}

func (r *recorder) deliver(ev cluster.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	kept := ev
	if m, is := ev.(cluster.Message); is && len(m.Payload) > 4096 {
		sum := sha256.Sum256(m.Payload) // keep what is recorded small
		m.Payload = sum[:]
		kept = m
	}
	r.log = append(r.log, kept)
	if r.hook != nil {
		r.hook(ev)
	}
}

func (r *recorder) events() []cluster.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.log)
}

func (r *recorder) messages() (all []cluster.Message) {
	for _, ev := range r.events() {
		if m, is := ev.(cluster.Message); is {
			all = append(all, m)
		}
	}
	return all
}

// view is the last one.
func (r *recorder) view() (last cluster.View) {
	for _, ev := range r.events() {
		if v, is := ev.(cluster.View); is {
			last = v
		}
	}
	return last
}

// lost reports whether the last event is Lost.
func (r *recorder) lost() bool {
	all := r.events()
	if len(all) == 0 {
		return false
	}
	_, is := all[len(all)-1].(cluster.Lost)
	return is
}

func (r *recorder) send(payload []byte) {
	r.t.Helper()
	if err := r.group.Send(payload); err != nil {
		r.t.Errorf("%s: send: %v", r.name, err)
	}
}

// members waits until the view of all recorders has n members.
func (c *Cluster) members(n int, all ...*recorder) {
	c.Until(fmt.Sprintf("a view of %d members", n), func() bool {
		for _, r := range all {
			if v := r.view(); len(v.Members) != n || v.Transitional {
				return false
			}
		}
		return true
	})
}

// delivered waits until all have n messages.
func (c *Cluster) delivered(n int, all ...*recorder) {
	c.Until(fmt.Sprintf("%d messages", n), func() bool {
		for _, r := range all {
			if len(r.messages()) < n {
				return false
			}
		}
		return true
	})
}

// segment is what came between a view and the next.
type segment struct {
	key, next string
	messages  []string
}

// key names a view alike on all its members. Members that merge see different
// changes for the same view.
func key(v cluster.View) string {
	k := fmt.Sprintf("%v %v", v.Ring, v.Members)
	for _, c := range slices.Concat(v.Joined, v.Left) {
		if c.Reason == cluster.Joined || c.Reason == cluster.Left || c.Reason == cluster.Died {
			k += fmt.Sprintf(" %v", c)
		}
	}
	return k
}

// check holds what was recorded against the promises of the engine.
func check(t *testing.T, all ...*recorder) {
	t.Helper()
	segments := make([][]segment, len(all))
	for i, r := range all {
		var prev cluster.View
		lost := false
		for n, ev := range r.events() {
			if lost {
				t.Errorf("%s: event %d after Lost: %T", r.name, n, ev)
			}
			switch ev := ev.(type) {
			case cluster.Lost:
				lost = true
			case cluster.Message:
				if !prev.Has(ev.From) {
					t.Errorf("%s: message %q of %v, not a member of %v", r.name, ev.Payload, ev.From, prev.Members)
				}
				s := &segments[i][len(segments[i])-1]
				s.messages = append(s.messages, fmt.Sprintf("%v %x", ev.From, ev.Payload))
			case cluster.View:
				want := slices.Clone(prev.Members)
				for _, c := range ev.Left {
					at := slices.Index(want, c.Member)
					if at < 0 && prev.Group != "" {
						t.Errorf("%s: %v left without being there", r.name, c.Member)
						continue
					}
					if at >= 0 {
						want = slices.Delete(want, at, at+1)
					}
				}
				for _, c := range ev.Joined {
					want = append(want, c.Member)
				}
				slices.SortFunc(want, cluster.Member.Compare)
				// The first view has those that were there before.
				if prev.Group != "" && !slices.Equal(want, ev.Members) {
					t.Errorf("%s: view %v after %v with joined %v, left %v", r.name, ev.Members, prev.Members, ev.Joined, ev.Left)
				}
				if !slices.IsSortedFunc(ev.Members, cluster.Member.Compare) {
					t.Errorf("%s: view not sorted: %v", r.name, ev.Members)
				}
				if prev.Group == "" && !slices.ContainsFunc(ev.Joined, func(c cluster.Change) bool { return c.Member == r.group.Self() }) {
					t.Errorf("%s: first view without the own join: %+v", r.name, ev)
				}
				if ev.Ring.Seq < prev.Ring.Seq {
					t.Errorf("%s: ring %v after %v", r.name, ev.Ring, prev.Ring)
				}
				if n := len(segments[i]); n > 0 {
					segments[i][n-1].next = key(ev)
				}
				segments[i] = append(segments[i], segment{key: key(ev)})
				prev = ev
			}
		}
	}
	for i := range all {
		for j := range i {
			agree(t, all[i].name, all[j].name, segments[i], segments[j])
		}
	}
}

// agree compares what two members saw while they were members together.
func agree(t *testing.T, a, b string, sa, sb []segment) {
	t.Helper()
	for _, x := range sa {
		for _, y := range sb {
			if x.key != y.key {
				continue
			}
			if x.next == y.next && x.next != "" {
				if !slices.Equal(x.messages, y.messages) {
					t.Errorf("%s and %s went from view %s to %s with different messages:\n%s", a, b, x.key, x.next, cmp.Diff(x.messages, y.messages))
				}
				continue
			}
			// One went elsewhere (or the test ended): what both have is in the
			// same order.
			n := min(len(x.messages), len(y.messages))
			if !slices.Equal(x.messages[:n], y.messages[:n]) {
				t.Errorf("%s and %s saw different messages in view %s:\n%s", a, b, x.key, cmp.Diff(x.messages[:n], y.messages[:n]))
			}
		}
	}
}

func agreedOrder(t *testing.T, c *Cluster) {
	each := c.Messages
	if each == 0 {
		each = 5000
	}
	var all []*recorder
	for id := range cluster.NodeID(3) {
		all = append(all, c.open(t, id+1, "haobox:order"))
	}
	c.members(3, all...)
	var wg sync.WaitGroup
	for i, r := range all {
		wg.Add(1)
		send := func() {
			defer wg.Done()
			for k := range each {
				msg := binary.BigEndian.AppendUint32(nil, uint32(k))
				r.send(append(msg, bytes.Repeat([]byte{byte(i)}, k%700)...))
			}
		}
		if c.Messages != 0 {
			send() // one goroutine only, in virtual time
		} else {
			go send()
		}
	}
	wg.Wait()
	c.delivered(3*each, all...)
	next := map[cluster.NodeID]uint32{}
	for _, m := range all[0].messages() {
		if k := binary.BigEndian.Uint32(m.Payload); k != next[m.From.Node] {
			t.Fatalf("message %d of node %d, want %d", k, m.From.Node, next[m.From.Node])
		}
		next[m.From.Node]++
	}
	check(t, all...)
}

func bigMessages(t *testing.T, c *Cluster) {
	a, b := c.open(t, 1, "haobox:big"), c.open(t, 2, "haobox:big")
	c.members(2, a, b)
	big := c.Big
	if big == 0 {
		big = 5_000_000
	}
	var want []string
	for i, size := range []int{0, 1, 1 << 20, big, 1} {
		msg := bytes.Repeat([]byte{byte(i + 1)}, size)
		sum := sha256.Sum256(msg)
		if size <= 4096 {
			want = append(want, string(msg))
		} else {
			want = append(want, string(sum[:]))
		}
		a.send(msg)
	}
	c.delivered(len(want), a, b)
	for _, r := range []*recorder{a, b} {
		var got []string
		for _, m := range r.messages() {
			got = append(got, string(m.Payload))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", r.name, diff)
		}
	}
	if err := a.group.Send(make([]byte, cluster.MaxMessage+1)); err == nil {
		t.Error("a message beyond the limit was taken")
	}
	check(t, a, b)
}

// reasons are why the members of a change are in it.
func reasons(all []cluster.Change) string {
	s := ""
	for _, c := range all {
		s += fmt.Sprintf("%d %v,", c.Node, c.Reason)
	}
	return s
}

func joinAndLeave(t *testing.T, c *Cluster) {
	a := c.open(t, 1, "haobox:come")
	c.members(1, a)
	other := c.open(t, 2, "haobox:other")
	b := c.open(t, 2, "haobox:come")
	c.members(2, a, b)
	d := c.open(t, 3, "haobox:come")
	c.members(3, a, b, d)
	if got := reasons(a.view().Joined); got != "3 joined," {
		t.Errorf("joined %q", got)
	}
	b.send([]byte("last words"))
	if err := b.group.Leave(); err != nil {
		t.Fatal(err)
	}
	c.members(2, a, d)
	if got := reasons(a.view().Left); got != "2 left," {
		t.Errorf("left %q", got)
	}
	c.Until("the leaver's last view", func() bool { return len(b.view().Left) == 1 && !b.view().Has(b.group.Self()) })
	if err := b.group.Send([]byte("late")); err == nil {
		t.Error("a message after Leave was taken")
	}
	// Back again on the same engine, as another life.
	again := &recorder{t: t, name: "node 2 again", engine: b.engine}
	g, err := b.engine.Join("haobox:come", again.deliver)
	if err != nil {
		t.Fatal(err)
	}
	again.mu.Lock()
	again.group = g
	again.mu.Unlock()
	c.members(3, a, d, again)
	if g.Self() == b.group.Self() {
		t.Error("two lives with the same name")
	}
	d.engine.Close()
	c.members(2, a, again)
	if got := reasons(a.view().Left); got != "3 left," && got != "3 died," {
		t.Errorf("closed engine: left %q", got)
	}
	if n := len(other.view().Members); n != 1 {
		t.Errorf("another group has %d members", n)
	}
	check(t, a, b, d, again)
}

func processDies(t *testing.T, c *Cluster) {
	a, b := c.open(t, 1, "haobox:die"), c.open(t, 2, "haobox:die")
	c.members(2, a, b)
	c.End(b.engine)
	c.members(1, a)
	if got := reasons(a.view().Left); got != "2 died," {
		t.Errorf("left %q", got)
	}
	a.send([]byte("alone"))
	c.delivered(1, a)
	check(t, a)
}

// watcher writes down membership and quorum.
type watcher struct {
	mu   sync.Mutex
	log  []cluster.Event
	stop func()
}

func (c *Cluster) watch(t *testing.T, e cluster.Engine) *watcher {
	t.Helper()
	w := &watcher{}
	stop, err := e.Watch(func(ev cluster.Event) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.log = append(w.log, ev)
	})
	if err != nil {
		t.Fatal(err)
	}
	w.stop = stop
	return w
}

// state is the last membership and quorum, valid when their rings agree.
func (w *watcher) state() (m cluster.Membership, q cluster.Quorum, lost bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, ev := range w.log {
		switch ev := ev.(type) {
		case cluster.Membership:
			m = ev
		case cluster.Quorum:
			q = ev
		case cluster.Lost:
			lost = true
		}
	}
	return m, q, lost
}

// quorum waits for a membership of n with quorum as of the same ring.
func (c *Cluster) quorum(n int, quorate bool, all ...*watcher) {
	c.Until(fmt.Sprintf("%d members, quorate %v", n, quorate), func() bool {
		for _, w := range all {
			if m, q, _ := w.state(); len(m.Members) != n || q.Ring != m.Ring || q.Quorate != quorate {
				return false
			}
		}
		return true
	})
}

func watchOnly(t *testing.T, c *Cluster) {
	e, err := c.Open(1)
	if err != nil {
		t.Fatal(err)
	}
	w := c.watch(t, e)
	c.quorum(2, true, w)
	st, err := e.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	m, _, _ := w.state()
	if !st.Quorate || st.Total != 2 || st.Expected != 2 || st.Needed != 2 || st.Local != 1 || st.Ring != m.Ring {
		t.Errorf("status %+v, ring %v", st, m.Ring)
	}
	if diff := cmp.Diff([]cluster.NodeID{1, 2}, st.Members()); diff != "" {
		t.Errorf("members (-want +got):\n%s", diff)
	}
	w.stop()
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	if _, _, lost := w.state(); lost {
		t.Error("Lost after stop and Close")
	}
}

// status is what commands show: complete for members, and for a failed node.
func status(t *testing.T, c *Cluster) {
	e, err := c.Open(2)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	w := c.watch(t, e)
	c.quorum(3, true, w)
	look := func(members int) (st cluster.Status) {
		t.Helper()
		c.Until(fmt.Sprintf("a status with %d members", members), func() bool {
			if st, err = e.Status(t.Context()); err != nil {
				t.Fatal(err)
			}
			return len(st.Members()) == members && st.Total == members
		})
		m, q, _ := w.state()
		if st.Engine == "" || st.Cluster == "" || st.Local != 2 || st.Quorate != q.Quorate || st.TwoNode || st.Expected != 3 || st.Needed != 2 || st.DeviceName != "" || st.DeviceVotes != 0 {
			t.Errorf("status %+v", st)
		}
		if st.Ring != m.Ring {
			t.Errorf("ring %v, the watch says %v", st.Ring, m.Ring)
		}
		if len(st.Nodes) != 3 {
			t.Fatalf("nodes %+v", st.Nodes)
		}
		for i, n := range st.Nodes {
			member := slices.Contains(m.Members, n.ID)
			if n.ID != cluster.NodeID(i+1) || n.Name == "" || n.Votes != 1 || member != (n.State == cluster.NodeMember) {
				t.Errorf("node %+v", n)
			}
			if member == n.JoinedAt.IsZero() || member == (n.Incarnation == 0) || n.Incarnation > st.Ring.Seq {
				t.Errorf("ring %v: node %d joined with %d at %v", st.Ring, n.ID, n.Incarnation, n.JoinedAt)
			}
		}
		return st
	}
	before := look(3)
	if c.Kill == nil {
		return
	}
	c.Kill(3)
	c.quorum(2, true, w)
	if st := look(2); st.Nodes[0].Incarnation != before.Nodes[0].Incarnation || st.Nodes[2].State != cluster.NodeDead {
		t.Errorf("after a failure: %+v", st.Nodes)
	}
	c.Start(3)
	c.quorum(3, true, w)
	if st := look(3); st.Nodes[2].Incarnation <= before.Ring.Seq || st.Nodes[0].Incarnation != before.Nodes[0].Incarnation {
		t.Errorf("after it came back: %+v, before %+v", st.Nodes, before.Nodes)
	}
}

func misuse(t *testing.T, c *Cluster) {
	if _, err := c.Open(77); err == nil {
		t.Error("a node that does not exist was opened")
	}
	a := c.open(t, 1, "haobox:misuse")
	c.members(1, a)
	if _, err := a.engine.Join("haobox:misuse", func(cluster.Event) {}); err == nil {
		t.Error("joined a group twice")
	}
	if err := a.group.Leave(); err != nil {
		t.Error(err)
	}
	if err := a.group.Leave(); err == nil {
		t.Error("left twice")
	}
	if err := a.engine.Close(); err != nil {
		t.Error(err)
	}
	if err := a.engine.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
	if _, err := a.engine.Join("haobox:after", func(cluster.Event) {}); err == nil {
		t.Error("joined on a closed engine")
	}
	if _, err := a.engine.Watch(func(cluster.Event) {}); err == nil {
		t.Error("watched on a closed engine")
	}
}

func nodeFails(t *testing.T, c *Cluster) {
	var all []*recorder
	for id := range cluster.NodeID(3) {
		all = append(all, c.open(t, id+1, "haobox:fail"))
	}
	c.members(3, all...)
	w := c.watch(t, all[0].engine)
	c.quorum(3, true, w)
	c.Kill(3)
	c.Until("Lost on the failed node", all[2].lost)
	c.members(2, all[0], all[1])
	if got := reasons(all[0].view().Left); got != "3 failed," {
		t.Errorf("left %q", got)
	}
	if err := all[2].group.Send([]byte("x")); err == nil {
		t.Error("a message without an engine was taken")
	}
	c.quorum(2, true, w)
	if m, _, _ := w.state(); !cmp.Equal(m.Left, []cluster.NodeID{3}) || m.Ring != all[0].view().Ring {
		t.Errorf("membership %+v, view of ring %v", m, all[0].view().Ring)
	}
	c.Start(3)
	c.quorum(3, true, w)
	back := c.open(t, 3, "haobox:fail")
	c.members(3, all[0], all[1], back)
	if got := reasons(all[0].view().Joined); got != "3 joined," {
		t.Errorf("joined %q", got)
	}
	check(t, append(all, back)...)
}

func failsUnderLoad(t *testing.T, c *Cluster) {
	var all []*recorder
	for id := range cluster.NodeID(3) {
		all = append(all, c.open(t, id+1, "haobox:load"))
	}
	c.members(3, all...)
	const batch = 200
	for k := range batch {
		for _, r := range all {
			r.send(fmt.Appendf(nil, "%s %d", r.name, k))
		}
	}
	c.delivered(batch/4, all[0])
	c.Kill(3)
	for k := range batch {
		for _, r := range all[:2] {
			r.send(fmt.Appendf(nil, "%s late %d", r.name, k))
		}
	}
	c.members(2, all[0], all[1])
	count := func(r *recorder) int {
		n := 0
		for _, m := range r.messages() {
			if m.From.Node != 3 {
				n++
			}
		}
		return n
	}
	c.Until("all messages of the survivors", func() bool { return count(all[0]) == 4*batch && count(all[1]) == 4*batch })
	check(t, all...)
}

func nodeStops(t *testing.T, c *Cluster) {
	var all []*recorder
	for id := range cluster.NodeID(3) {
		all = append(all, c.open(t, id+1, "haobox:stop"))
	}
	c.members(3, all...)
	c.Stop(2)
	c.members(2, all[0], all[2])
	if got := reasons(all[0].view().Left); got != "2 died," {
		t.Errorf("left %q", got)
	}
	c.Until("Lost on the stopped node", all[1].lost)
	check(t, all...)
}

func quorumLost(t *testing.T, c *Cluster) {
	a := c.open(t, 1, "haobox:quorum")
	w := c.watch(t, a.engine)
	c.quorum(3, true, w)
	c.Kill(2)
	c.quorum(2, true, w)
	c.Kill(3)
	c.quorum(1, false, w)
	c.Start(2)
	c.quorum(2, true, w)
	rings := map[cluster.RingID]bool{}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, ev := range w.log {
		if m, is := ev.(cluster.Membership); is {
			if rings[m.Ring] {
				t.Errorf("ring %v twice", m.Ring)
			}
			rings[m.Ring] = true
		}
	}
}

func twoNode(t *testing.T, c *Cluster) {
	e, err := c.Open(1)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	w := c.watch(t, e)
	c.quorum(2, true, w)
	c.Kill(2)
	c.quorum(1, true, w)
	st, err := e.Status(t.Context())
	if err != nil || !st.TwoNode || st.Needed != 1 || st.Total != 1 {
		t.Errorf("status %+v, %v", st, err)
	}
}

// frozen: a node that was declared failed comes back, and is told so.
func frozen(t *testing.T, c *Cluster) {
	var all []*recorder
	for id := range cluster.NodeID(3) {
		all = append(all, c.open(t, id+1, "haobox:frozen"))
	}
	c.members(3, all...)
	c.Freeze(1)
	c.members(2, all[1], all[2])
	all[1].send([]byte("while you were away"))
	c.delivered(1, all[1], all[2])
	c.Thaw(1)
	c.members(3, all[1], all[2])
	// Its last view had three members, too.
	c.Until("the frozen node has the view of the others", func() bool {
		return all[0].view().Ring == all[1].view().Ring && !all[0].view().Transitional
	})
	if got := reasons(all[1].view().Joined); got != "1 merged," {
		t.Errorf("joined %q", got)
	}
	left := ""
	for _, ev := range all[0].events() {
		if v, is := ev.(cluster.View); is {
			left += reasons(v.Left)
		}
	}
	if left != "2 failed,3 failed," {
		t.Errorf("the frozen node saw %q leave", left)
	}
	all[0].send([]byte("back"))
	c.delivered(1, all[0])
	check(t, all...)
}

// machine is a replicated list: a hash of all commands in their order, and
// their number.
type machine struct {
	replica           *cluster.Replica
	sum               [32]byte
	count             int
	restored, voided  int
	current           bool
	droppedByReplicas []string
}

func (m *machine) Apply(from cluster.Member, command []byte) {
	m.sum = sha256.Sum256(slices.Concat(m.sum[:], binary.BigEndian.AppendUint32(nil, uint32(from.Node)), command))
	m.count++
}

func (m *machine) Snapshot() []byte {
	// Large enough to need several messages of corosync.
	return append(binary.BigEndian.AppendUint64(m.sum[:], uint64(m.count)), make([]byte, 3<<20)...)
}

func (m *machine) Restore(b []byte, replaced bool) {
	m.sum, m.count = [32]byte(b), int(binary.BigEndian.Uint64(b[32:]))
	m.restored++
	if replaced {
		m.voided++
	}
}

func (m *machine) Changed(_ cluster.View, current bool) { m.current = current }
func (m *machine) Dropped(command []byte) {
	m.droppedByReplicas = append(m.droppedByReplicas, string(command))
}

// replicated is a process that keeps a machine.
type replicated struct {
	*recorder
	m *machine
}

func (c *Cluster) replica(t *testing.T, id cluster.NodeID) *replicated {
	t.Helper()
	p := &replicated{recorder: &recorder{}, m: &machine{}}
	p.hook = p.step
	c.join(t, p.recorder, id, "haobox:state")
	// Quorum comes from another source; Step is for one at a time.
	if _, err := p.engine.Watch(func(ev cluster.Event) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.step(ev)
	}); err != nil {
		t.Fatal(err)
	}
	return p
}

// step is called with the recorder's lock held.
func (p *replicated) step(ev cluster.Event) {
	if p.m.replica == nil {
		p.m.replica = cluster.NewReplica(p.m, p.group.Self())
	}
	send, err := p.m.replica.Step(ev)
	if err != nil {
		p.t.Errorf("%s: %v", p.name, err)
	}
	for _, b := range send {
		if err := p.group.Send(b); err != nil {
			p.t.Errorf("%s: %v", p.name, err)
		}
	}
}

// command replicates a command.
func (p *replicated) command(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.m.replica == nil {
		p.t.Errorf("%s: no view yet", p.name)
		return
	}
	if err := p.group.Send(p.m.replica.Command([]byte(text))); err != nil {
		p.t.Errorf("%s: %v", p.name, err)
	}
}

// state is the machine's state and whether it is current.
func (p *replicated) state() (machine, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return *p.m, p.m.current
}

// same waits until all have the same current state with n commands.
func (c *Cluster) same(n int, all ...*replicated) {
	c.Until(fmt.Sprintf("the same state of %d commands", n), func() bool {
		first, _ := all[0].state()
		for _, p := range all {
			if m, current := p.state(); !current || m.sum != first.sum || m.count != n {
				return false
			}
		}
		return true
	})
}

func stateTransfer(t *testing.T, c *Cluster) {
	a := c.replica(t, 1)
	c.same(0, a)
	for i := range 50 {
		a.command(fmt.Sprint("early ", i))
	}
	c.same(50, a)
	// Commands go on while others join.
	b := c.replica(t, 2)
	for i := range 50 {
		a.command(fmt.Sprint("during ", i))
	}
	c.same(100, a, b)
	d := c.replica(t, 3)
	for i := range 50 {
		b.command(fmt.Sprint("more ", i))
		a.command(fmt.Sprint("and ", i))
	}
	c.same(200, a, b, d)
	if m, _ := d.state(); m.restored != 1 || m.voided != 0 {
		t.Errorf("restored %d times, voided %d", m.restored, m.voided)
	}
	// The one that had it first leaves; the state stays.
	if err := a.group.Leave(); err != nil {
		t.Error(err)
	}
	c.members(2, b.recorder, d.recorder)
	d.command("after")
	c.same(201, b, d)
	if m, _ := b.state(); m.restored != 1 {
		t.Errorf("restored %d times", m.restored)
	}
}

// partition: the side with quorum is right, and the other takes its state.
func partition(t *testing.T, c *Cluster) {
	a, b, d := c.replica(t, 1), c.replica(t, 2), c.replica(t, 3)
	c.same(0, a, b, d)
	a.command("together")
	c.same(1, a, b, d)
	w := c.watch(t, b.engine)
	c.Cut(1)
	c.members(1, a.recorder)
	c.members(2, b.recorder, d.recorder)
	c.quorum(2, true, w)
	a.command("stale one")
	a.command("stale two")
	b.command("right")
	c.same(2, b, d)
	c.Until("the stale side's own commands", func() bool { m, _ := a.state(); return m.count == 3 })
	c.Heal(1)
	c.members(3, a.recorder, b.recorder, d.recorder)
	c.same(2, a, b, d)
	if m, _ := a.state(); m.voided != 1 {
		t.Errorf("the stale side was told %d times", m.voided)
	}
	if m, _ := b.state(); m.restored > 1 {
		t.Errorf("the right side was restored %d times", m.restored)
	}
	a.command("again together")
	c.same(3, a, b, d)
}
