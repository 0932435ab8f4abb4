package clustersim_test

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/haobox/haobox/internal/cluster"
	"github.com/haobox/haobox/internal/cluster/clustersim"
)

// list is a machine that keeps all commands.
type list struct {
	all     []string
	current bool
	view    cluster.View
	voids   int
	dropped []string
}

func (l *list) Apply(from cluster.Member, c []byte) {
	l.all = append(l.all, fmt.Sprintf("%d:%s", from.Node, c))
}
func (l *list) Snapshot() []byte { b, _ := json.Marshal(l.all); return b }
func (l *list) Restore(b []byte, replaced bool) {
	l.all = nil
	json.Unmarshal(b, &l.all)
	if replaced {
		l.voids++
	}
}
func (l *list) Changed(v cluster.View, current bool) { l.view, l.current = v, current }
func (l *list) Dropped(c []byte)                     { l.dropped = append(l.dropped, string(c)) }

// proc is a daemon with a replica.
type proc struct {
	e    cluster.Engine
	g    cluster.Group
	r    *cluster.Replica
	l    *list
	lost bool
}

func start(t *testing.T, s *clustersim.Sim, id cluster.NodeID) *proc {
	t.Helper()
	p := &proc{l: &list{}}
	var err error
	if p.e, err = s.Engine(id); err != nil {
		t.Fatal(err)
	}
	if p.g, err = p.e.Join("haobox:x", p.step(t)); err != nil {
		t.Fatal(err)
	}
	p.r = cluster.NewReplica(p.l, p.g.Self())
	if _, err = p.e.Watch(p.step(t)); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *proc) step(t *testing.T) func(cluster.Event) {
	return func(ev cluster.Event) {
		if _, is := ev.(cluster.Lost); is {
			p.lost = true
			return
		}
		send, err := p.r.Step(ev)
		if err != nil {
			t.Error(err)
		}
		for _, b := range send {
			if err := p.g.Send(b); err != nil {
				t.Error(err)
			}
		}
	}
}

// TestReplica_RandomFaults runs random faults against replicas: current ones
// that see each other never differ, and in the end all are equal. The last
// argument of a failure is the seed.
func TestReplica_RandomFaults(t *testing.T) {
	t.Parallel()
	seeds := uint64(400)
	if testing.Short() {
		seeds = 40
	}
	voids, drops := 0, 0
	for seed := range seeds {
		v, d := randomFaults(t, seed)
		voids, drops = voids+v, drops+d
		if t.Failed() {
			return
		}
	}
	if voids == 0 || drops == 0 {
		t.Errorf("%d stale states and %d dropped commands: the faults do not bite", voids, drops)
	}
}

func randomFaults(t *testing.T, seed uint64) (voids, drops int) {
	rng := rand.New(rand.NewPCG(seed, 7))
	n := 2 + rng.IntN(4)
	cfg := clustersim.Config{Token: time.Second, Seed: seed, TwoNode: n == 2}
	ids := []cluster.NodeID{}
	for i := range n {
		ids = append(ids, cluster.NodeID(i+1))
		cfg.Nodes = append(cfg.Nodes, clustersim.NodeConfig{ID: ids[i], Name: fmt.Sprint("n", i+1)})
	}
	s := clustersim.New(cfg)
	procs := map[cluster.NodeID]*proc{}
	up := map[cluster.NodeID]bool{}
	var trace []string
	log := func(format string, args ...any) {
		trace = append(trace, fmt.Sprintf("%v ", s.Now())+fmt.Sprintf(format, args...))
	}
	compare := func() {
		for _, a := range ids {
			for _, b := range ids {
				p, q := procs[a], procs[b]
				if p == nil || q == nil || a >= b || !p.l.current || !q.l.current || s.Frozen(a) || s.Frozen(b) || !cmp.Equal(p.l.view.Members, q.l.view.Members) || p.l.view.Ring != q.l.view.Ring {
					continue
				}
				k := min(len(p.l.all), len(q.l.all))
				if !slices.Equal(p.l.all[:k], q.l.all[:k]) {
					t.Fatalf("nodes %d and %d are current in the same view with different states\n%s\n%s\nseed %d", a, b, cmp.Diff(p.l.all, q.l.all), strings.Join(trace, "\n"), seed)
				}
			}
		}
	}
	for _, id := range ids {
		s.Start(id)
		up[id] = true
		procs[id] = start(t, s, id)
	}
	for step := range 60 {
		id := ids[rng.IntN(n)]
		p := procs[id]
		switch what := rng.IntN(20); {
		case what < 10:
			if p != nil && !s.Frozen(id) { // also while it is not current
				for k := range 1 + rng.IntN(5) {
					if err := p.g.Send(p.r.Command(fmt.Appendf(nil, "%d.%d", step, k))); err != nil {
						t.Fatal(err)
					}
				}
			}
		case what < 12 && up[id]:
			log("freeze %d", id)
			s.Freeze(id)
		case what < 14 && up[id]:
			log("thaw %d", id)
			s.Thaw(id)
		case what == 14:
			cut := rng.IntN(n) + 1
			log("partition %v", ids[:cut])
			s.Partition(slices.Clone(ids[:cut]))
		case what < 17:
			log("heal")
			s.Heal()
		case what == 17 && up[id]:
			log("crash %d", id)
			s.Crash(id)
			up[id], procs[id] = false, nil
		case what == 18 && up[id] && p != nil && !s.Frozen(id):
			log("process %d ends", id)
			p.e.Close()
			procs[id] = nil
		case !up[id]:
			log("start %d", id)
			s.Start(id)
			up[id] = true
			procs[id] = start(t, s, id)
		case p == nil && !s.Frozen(id):
			log("process %d starts", id)
			procs[id] = start(t, s, id)
		}
		for end := s.Now() + time.Duration(rng.IntN(2500))*time.Millisecond; s.Now() < end && s.Step(); {
			compare()
		}
	}
	log("end")
	s.Heal()
	for _, id := range ids {
		if s.Frozen(id) {
			s.Thaw(id)
		}
		if !up[id] {
			s.Start(id)
		}
		if procs[id] == nil {
			procs[id] = start(t, s, id)
		}
	}
	s.Run(10 * time.Second)
	first := procs[1]
	for _, id := range ids {
		p := procs[id]
		if !p.l.current || !slices.Equal(p.l.all, first.l.all) || len(p.l.view.Members) != n {
			t.Fatalf("node %d, current %v, view %v:\n%s\n%s\nseed %d", id, p.l.current, p.l.view.Members, cmp.Diff(first.l.all, p.l.all), strings.Join(trace, "\n"), seed)
		}
		if p.lost {
			t.Errorf("node %d lost its engine, seed %d", id, seed)
		}
		voids += p.l.voids
		drops += len(p.l.dropped)
	}
	// No command twice.
	seen := map[string]bool{}
	for _, c := range first.l.all {
		if seen[c] {
			t.Fatalf("command %s twice, seed %d", c, seed)
		}
		seen[c] = true
	}
	return voids, drops
}

// fresh is a list that counts for nothing while it is empty.
type fresh struct{ list }

func (f *fresh) Fresh() bool { return len(f.all) == 0 }

// TestReplica_Fresh: a node that starts cut off, and is quorate by itself in a
// newer ring, does not outweigh those that have a history.
func TestReplica_Fresh(t *testing.T) {
	t.Parallel()
	s := clustersim.New(clustersim.Config{TwoNode: true, Nodes: []clustersim.NodeConfig{{ID: 1}, {ID: 2}}})
	begin := func(id cluster.NodeID) (*proc, *fresh) {
		s.Start(id)
		f := &fresh{}
		p := &proc{l: &f.list}
		p.e, _ = s.Engine(id)
		var err error
		if p.g, err = p.e.Join("haobox:x", p.step(t)); err != nil {
			t.Fatal(err)
		}
		p.r = cluster.NewReplica(f, p.g.Self())
		if _, err = p.e.Watch(p.step(t)); err != nil {
			t.Fatal(err)
		}
		return p, f
	}
	s.Partition([]cluster.NodeID{1}, []cluster.NodeID{2})
	two, _ := begin(2)
	s.Run(5 * time.Second)
	if err := two.g.Send(two.r.Command([]byte("old"))); err != nil {
		t.Fatal(err)
	}
	one, _ := begin(1)
	s.Run(5 * time.Second)
	if one.r.View().Ring.Seq <= two.r.View().Ring.Seq || !one.l.current {
		t.Fatalf("node 1 in %v, node 2 in %v, current %v: not the situation to be tested", one.r.View().Ring, two.r.View().Ring, one.l.current)
	}
	s.Heal()
	s.Run(30 * time.Second)
	for _, p := range []*proc{one, two} {
		if want := []string{"2:old"}; !p.l.current || !slices.Equal(p.l.all, want) || p.l.voids > 0 {
			t.Errorf("node %d: current %v, has %v, want %v, lost its state %d times", p.g.Self().Node, p.l.current, p.l.all, want, p.l.voids)
		}
	}
}

// TestReplica_BadFrames: what no replica sent is an error and changes nothing.
func TestReplica_BadFrames(t *testing.T) {
	t.Parallel()
	self := cluster.Member{Node: 1, Instance: 1}
	for _, b := range [][]byte{nil, {'x'}, {'c', 1}, {'h', 1, 2}, append([]byte{'h'}, make([]byte, 60)...)} {
		l := &list{}
		r := cluster.NewReplica(l, self)
		if _, err := r.Step(cluster.View{Group: "g", Ring: cluster.RingID{Node: 1, Seq: 4}, Members: []cluster.Member{self}, Joined: []cluster.Change{{Member: self, Reason: cluster.Joined}}}); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Step(cluster.Message{From: self, Payload: b}); err == nil {
			t.Errorf("%x was taken", b)
		}
		if len(l.all) != 0 {
			t.Errorf("%x changed the state", b)
		}
	}
}

// FuzzReplica: no message makes a replica panic, whatever its state.
func FuzzReplica(f *testing.F) {
	f.Add([]byte{'c', 0}, []byte{'s'})
	f.Add([]byte{'h'}, append([]byte{'s'}, binary.BigEndian.AppendUint32(make([]byte, 8), 1<<31)...))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		one, two := cluster.Member{Node: 1, Instance: 1}, cluster.Member{Node: 2, Instance: 2}
		r := cluster.NewReplica(&list{}, two)
		other := cluster.NewReplica(&list{}, one)
		v := cluster.View{Group: "g", Ring: cluster.RingID{Node: 1, Seq: 4}, Members: []cluster.Member{one, two}, Joined: []cluster.Change{{Member: two, Reason: cluster.Joined}}}
		mine, _ := r.Step(v)
		theirs, _ := other.Step(v)
		step := func(from cluster.Member, b []byte) {
			r.Step(cluster.Message{From: from, Payload: b})
			r.Step(cluster.Quorum{Ring: cluster.RingID{Seq: uint64(len(b))}, Quorate: true})
		}
		step(one, a)
		step(one, theirs[0])
		step(two, mine[0]) // now it waits for a snapshot of node 1
		step(one, a)
		step(one, append([]byte{'s'}, b...))
		step(two, b)
	})
}
