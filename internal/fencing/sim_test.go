package fencing_test

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/haobox/haobox/internal/cluster"
	"github.com/haobox/haobox/internal/cluster/clustersim"
	"github.com/haobox/haobox/internal/fencing"
)

// lab is a cluster of fence daemons in virtual time. Attempts end as the test
// says.
type lab struct {
	t       *testing.T
	sim     *clustersim.Sim
	cfg     fencing.Config
	nodes   map[cluster.NodeID]*node
	level   slog.Level
	attempt func(by, victim cluster.NodeID) (fencing.Result, time.Duration)
	fenced  []string
	nojoin  bool // daemons do not join the domain
}

type node struct {
	lab     *lab
	id      cluster.NodeID
	engine  cluster.Engine
	group   cluster.Group
	core    *fencing.Core
	log     []string
	runs    map[int]bool
	exit    bool
	open    bool
	killed  []cluster.NodeID
	unfence int
	life    int
}

var epoch = time.Date(2013, 12, 31, 14, 38, 23, 0, time.UTC)

func newLab(t *testing.T, n int) *lab {
	l := &lab{t: t, nodes: map[cluster.NodeID]*node{}, level: slog.LevelInfo}
	sc := clustersim.Config{TwoNode: n == 2, Token: time.Second}
	for i := 1; i <= n; i++ {
		name := fmt.Sprintf("CNODE%d", i)
		sc.Nodes = append(sc.Nodes, clustersim.NodeConfig{ID: cluster.NodeID(i), Name: name})
		l.cfg.Nodes = append(l.cfg.Nodes, fencing.Node{ID: cluster.NodeID(i), Name: name, Methods: true})
	}
	l.cfg.TwoNode = n == 2
	l.cfg.PostJoinDelay = 6 * time.Second
	l.cfg.Token = time.Second
	l.sim = clustersim.New(sc)
	l.attempt = func(by, victim cluster.NodeID) (fencing.Result, time.Duration) { return success(l), time.Second }
	return l
}

func success(l *lab) fencing.Result {
	now := epoch.Add(l.sim.Now())
	return fencing.Result{OK: true, Entries: []fencing.Entry{{Agent: "fence_zvmip", Code: fencing.CodeSuccess, Start: now, End: now}}}
}

func failure(l *lab) fencing.Result {
	now := epoch.Add(l.sim.Now())
	return fencing.Result{Entries: []fencing.Entry{{Agent: "fence_zvmip", Code: fencing.CodeAgent, Start: now, End: now}}}
}

// boot starts a node and its daemon.
func (l *lab) boot(ids ...cluster.NodeID) {
	l.t.Helper()
	for _, id := range ids {
		l.sim.Start(id)
		l.daemon(id)
	}
}

func (l *lab) daemon(id cluster.NodeID) *node {
	l.t.Helper()
	n := &node{lab: l, id: id, runs: map[int]bool{}}
	if old := l.nodes[id]; old != nil {
		n.log, n.life = old.log, old.life+1
	}
	l.nodes[id] = n
	var err error
	if n.engine, err = l.sim.Engine(id); err != nil {
		l.t.Fatal(err)
	}
	if n.group, err = n.engine.Join(fencing.Group, func(ev cluster.Event) { n.step(fencing.Cluster{Event: ev}) }); err != nil {
		l.t.Fatal(err)
	}
	n.core = fencing.New(l.cfg, n.group.Self())
	if _, err = n.engine.Watch(func(ev cluster.Event) { n.step(fencing.Cluster{Event: ev}) }); err != nil {
		l.t.Fatal(err)
	}
	if !l.nojoin {
		n.step(fencing.Join{})
	}
	return n
}

func (n *node) step(ev fencing.Event) {
	l := n.lab
	if l.nodes[n.id] != n || n.exit {
		return
	}
	for _, a := range n.core.Step(epoch.Add(l.sim.Now()), ev) {
		switch a := a.(type) {
		case fencing.Send:
			if err := n.group.Send(a.Payload); err != nil {
				n.log = append(n.log, "send: "+err.Error())
			}
		case fencing.Log:
			if a.Level >= l.level {
				n.log = append(n.log, a.Text)
			}
		case fencing.Fence:
			n.runs[a.Run] = true
			r, d := l.attempt(n.id, a.Node)
			l.sim.After(d, func() {
				if n.runs[a.Run] && l.nodes[n.id] == n && !n.exit && !l.sim.Frozen(n.id) {
					delete(n.runs, a.Run)
					if r.OK {
						l.fenced = append(l.fenced, fmt.Sprintf("%d by %d", a.Node, n.id))
						l.sim.Thaw(a.Node)
						l.sim.Crash(a.Node)
						if v := l.nodes[a.Node]; v != nil {
							v.exit = true
						}
					}
					n.step(fencing.Ended{Run: a.Run, Result: r})
				}
			})
		case fencing.Cancel:
			delete(n.runs, a.Run)
		case fencing.Override:
			n.open = a.Open
		case fencing.Kill:
			n.killed = append(n.killed, a.Node)
			n.engine.(cluster.Admin).Kill(l.t.Context(), a.Node, a.Reason)
		case fencing.Unfence:
			n.unfence++
		case fencing.Exit:
			n.exit = true
		}
	}
	if at := n.core.Next(); !at.IsZero() {
		l.sim.At(at.Sub(epoch), func() {
			if !l.sim.Frozen(n.id) {
				n.step(fencing.Tick{})
			}
		})
	}
}

// crash switches a node off as a power cut does.
func (l *lab) crash(id cluster.NodeID) {
	l.sim.Crash(id)
	l.nodes[id].exit = true
}

func (l *lab) run(d time.Duration) { l.sim.Run(d) }

// state returns what a node knows of all nodes: "1:member 2:off".
func (l *lab) state(id cluster.NodeID) string {
	var out []string
	for _, v := range l.nodes[id].core.Nodes() {
		out = append(out, fmt.Sprintf("%d:%s", v.ID, v.State))
	}
	return strings.Join(out, " ")
}

func (l *lab) want(id cluster.NodeID, state string) {
	l.t.Helper()
	if got := l.state(id); got != state {
		l.t.Errorf("node %d knows %q, want %q\n%s", id, got, state, strings.Join(l.nodes[id].log, "\n"))
	}
}

func (l *lab) wantFenced(want ...string) {
	l.t.Helper()
	if !slices.Equal(l.fenced, want) {
		l.t.Errorf("fenced %v, want %v", l.fenced, want)
	}
}

func TestCore_CrashIsFencedByOne(t *testing.T) {
	t.Parallel()
	l := newLab(t, 3)
	l.boot(1, 2, 3)
	l.run(20 * time.Second)
	l.want(1, "1:member 2:member 3:member")
	l.wantFenced()
	l.crash(2)
	l.run(20 * time.Second)
	l.want(1, "1:member 2:off 3:member")
	l.want(3, "1:member 2:off 3:member")
	l.wantFenced("2 by 1")
	l.boot(2)
	l.run(20 * time.Second)
	l.want(2, "1:member 2:member 3:member")
	l.wantFenced("2 by 1")
}

func TestCore_TwoNodes(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	l.boot(1, 2)
	l.run(20 * time.Second)
	l.want(1, "1:member 2:member")
	l.crash(1)
	l.run(20 * time.Second)
	l.want(2, "1:off 2:member")
	l.wantFenced("1 by 2")
}

func TestCore_Startup(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		change func(c *fencing.Config)
		fenced []string
		state  string
	}{
		{"a node that is not there is fenced after post_join_delay", func(*fencing.Config) {}, []string{"3 by 1"}, "1:member 2:member 3:off"},
		{"not with clean_start", func(c *fencing.Config) { c.CleanStart = true }, nil, "1:member 2:member 3:unknown"},
		{"not without a method with skip_undefined", func(c *fencing.Config) { c.SkipUndefined = true; c.Nodes[2].Methods = false }, nil, "1:member 2:member 3:unknown"},
		{"never with a delay of -1", func(c *fencing.Config) { c.PostJoinDelay = fencing.Forever }, nil, "1:unknown 2:unknown 3:victim"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, 3)
			tc.change(&l.cfg)
			l.boot(1, 2)
			l.run(5 * time.Second)
			l.wantFenced()
			l.run(60 * time.Second)
			l.wantFenced(tc.fenced...)
			l.want(1, tc.state)
			l.want(2, tc.state)
		})
	}
}

// TestCore_LateJoinerFencesNobody: the domain is there already.
func TestCore_LateJoinerFencesNobody(t *testing.T) {
	t.Parallel()
	l := newLab(t, 3)
	l.cfg.CleanStart = true
	l.boot(1, 2)
	l.run(20 * time.Second)
	l.cfg.CleanStart = false
	l.nodes[2].step(fencing.Leave{})
	l.run(5 * time.Second)
	l.want(1, "1:member 2:left 3:unknown")
	l.nodes[2].step(fencing.Join{})
	l.run(30 * time.Second)
	l.want(1, "1:member 2:member 3:unknown")
	l.wantFenced()
}

// TestCore_Modified: one of two victims comes back, so the delay begins anew and
// is the longer one.
func TestCore_Modified(t *testing.T) {
	t.Parallel()
	l := newLab(t, 5)
	l.level = slog.LevelDebug
	l.cfg.PostFailDelay = 4 * time.Second
	l.boot(1, 2, 3, 4, 5)
	l.run(20 * time.Second)
	l.crash(4)
	l.crash(5)
	l.run(2200 * time.Millisecond)
	l.nojoin = true
	l.boot(5)
	l.run(5500 * time.Millisecond)
	l.wantFenced()
	l.run(20 * time.Second)
	l.wantFenced("4 by 1")
	if log := strings.Join(l.nodes[1].log, "\n"); !strings.Contains(log, "CNODE4 not a cluster member after 6 sec post_join_delay (modified)") || !strings.Contains(log, "delay of 6s leaves 1 victims") {
		t.Errorf("%s", log)
	}
}

// TestCore_NextMaster: the master fails in the middle, the next one takes over
// both victims.
func TestCore_NextMaster(t *testing.T) {
	t.Parallel()
	l := newLab(t, 5)
	l.attempt = func(by, victim cluster.NodeID) (fencing.Result, time.Duration) { return success(l), 5 * time.Second }
	l.boot(1, 2, 3, 4, 5)
	l.run(20 * time.Second)
	l.crash(5)
	l.run(3 * time.Second)
	if in := l.nodes[1].core.Info(); in.VictimNow != 5 || in.Wait != fencing.WaitFencing || in.Master != 1 {
		t.Errorf("%+v", in)
	}
	l.crash(1)
	l.run(30 * time.Second)
	slices.Sort(l.fenced)
	l.wantFenced("1 by 2", "5 by 2")
	l.want(3, "1:off 2:member 3:member 4:member 5:off")
}

// TestCore_DaemonKilled: the daemon of the master is killed; it comes back
// within its grace and is no victim, and another one fences the node meanwhile.
func TestCore_DaemonKilled(t *testing.T) {
	t.Parallel()
	l := newLab(t, 3)
	l.boot(1, 2, 3)
	l.run(20 * time.Second)
	l.attempt = func(by, victim cluster.NodeID) (fencing.Result, time.Duration) { return success(l), 3 * time.Second }
	l.crash(3)
	l.run(2 * time.Second)
	l.sim.Kill(l.nodes[1].engine)
	l.nodes[1].exit = true
	l.run(time.Second)
	l.want(2, "1:victim 2:member 3:victim")
	l.daemon(1)
	l.run(20 * time.Second)
	l.wantFenced("3 by 2")
	l.want(2, "1:member 2:member 3:off")
	if len(l.nodes[2].killed) > 0 {
		t.Errorf("killed %v", l.nodes[2].killed)
	}
	// One that does not come back is killed and fenced.
	l.sim.Kill(l.nodes[1].engine)
	l.nodes[1].exit = true
	l.run(20 * time.Second)
	if !slices.Contains(l.nodes[2].killed, 1) {
		t.Errorf("killed %v", l.nodes[2].killed)
	}
	l.wantFenced("3 by 2", "1 by 2")
}

// TestCore_Rejoin: a victim that is back before it was shot is let go.
func TestCore_Rejoin(t *testing.T) {
	t.Parallel()
	l := newLab(t, 3)
	l.cfg.PostFailDelay = 10 * time.Second
	l.boot(1, 2, 3)
	l.run(20 * time.Second)
	l.crash(2)
	l.run(3 * time.Second)
	l.want(1, "1:member 2:victim 3:member")
	l.boot(2)
	l.run(30 * time.Second)
	l.want(1, "1:member 2:member 3:member")
	l.wantFenced()
	if n := l.nodes[1].core.Info().Nodes[1]; n.LastHow != fencing.HowMember || n.LastTime.IsZero() {
		t.Errorf("%+v", n)
	}
}

// TestCore_RejoinDuringAttempt: the attempt is ended, and its result does not
// count for a later failure.
func TestCore_RejoinDuringAttempt(t *testing.T) {
	t.Parallel()
	l := newLab(t, 3)
	l.boot(1, 2, 3)
	l.run(20 * time.Second)
	l.attempt = func(by, victim cluster.NodeID) (fencing.Result, time.Duration) { return success(l), 20 * time.Second }
	l.crash(2)
	l.run(3 * time.Second)
	l.boot(2)
	l.run(5 * time.Second)
	if len(l.nodes[1].runs) != 0 {
		t.Error("the attempt goes on")
	}
	l.want(1, "1:member 2:member 3:member")
	// What the dead attempt says now is not heard.
	l.crash(2)
	l.run(2 * time.Second)
	l.nodes[1].step(fencing.Ended{Run: 1, Result: success(l)})
	l.run(time.Second)
	l.want(1, "1:member 2:victim 3:member")
}

// TestCore_Frozen: a node that was frozen comes back: it is fenced, and fences
// nobody, although nothing told it that it lost quorum.
func TestCore_Frozen(t *testing.T) {
	t.Parallel()
	l := newLab(t, 3)
	l.boot(1, 2, 3)
	l.run(20 * time.Second)
	fails := true
	l.attempt = func(by, victim cluster.NodeID) (fencing.Result, time.Duration) {
		if fails {
			return failure(l), time.Second
		}
		return success(l), time.Second
	}
	l.sim.Freeze(1)
	l.run(10 * time.Second)
	l.want(2, "1:victim 2:member 3:member")
	l.sim.Thaw(1)
	l.run(2 * time.Second)
	if n := l.nodes[1]; !n.exit && !n.core.Stale() || len(n.runs) > 0 {
		t.Errorf("node 1 acts: %+v\n%s", n.core.Info(), strings.Join(n.log, "\n"))
	}
	l.want(2, "1:victim 2:member 3:member")
	if !slices.Contains(l.nodes[2].killed, 1) {
		t.Error("node 1 was not told to end")
	}
	fails = false
	l.run(60 * time.Second)
	l.want(3, "1:off 2:member 3:member")
	l.wantFenced("1 by 2")
}

// TestCore_NoQuorum: fencing waits for quorum.
func TestCore_NoQuorum(t *testing.T) {
	t.Parallel()
	l := newLab(t, 3)
	l.boot(1, 2, 3)
	l.run(20 * time.Second)
	l.crash(2)
	l.crash(3)
	l.run(60 * time.Second)
	l.wantFenced()
	if in := l.nodes[1].core.Info(); in.Wait != fencing.WaitQuorum || len(in.Victims) != 2 {
		t.Errorf("%+v", in)
	}
	l.boot(2)
	l.run(60 * time.Second)
	l.wantFenced("3 by 1")
	l.want(2, "1:member 2:member 3:off")
}

// TestCore_OneHopelessVictim does not hold up the others.
func TestCore_OneHopelessVictim(t *testing.T) {
	t.Parallel()
	l := newLab(t, 5)
	l.boot(1, 2, 3, 4, 5)
	l.run(20 * time.Second)
	l.attempt = func(by, victim cluster.NodeID) (fencing.Result, time.Duration) {
		if victim == 4 {
			return failure(l), 10 * time.Second
		}
		return success(l), time.Second
	}
	l.crash(4)
	l.crash(5)
	l.run(20 * time.Second)
	l.want(1, "1:member 2:member 3:member 4:victim 5:off")
}

// TestCore_Override: a person vouches, at any node of the domain.
func TestCore_Override(t *testing.T) {
	t.Parallel()
	l := newLab(t, 3)
	l.boot(1, 2, 3)
	l.run(20 * time.Second)
	l.attempt = func(by, victim cluster.NodeID) (fencing.Result, time.Duration) { return failure(l), time.Second }
	l.crash(2)
	l.run(2 * time.Second)
	if l.nodes[1].open {
		t.Error("the FIFO is there before the first attempt has failed")
	}
	l.run(time.Second)
	if !l.nodes[1].open || l.nodes[3].open {
		t.Errorf("FIFO at the master %v, elsewhere %v", l.nodes[1].open, l.nodes[3].open)
	}
	l.nodes[3].step(fencing.Ack{Name: "CNODE1"})
	l.nodes[3].step(fencing.Ack{Name: "CNODE"})
	l.run(time.Second)
	l.want(1, "1:member 2:victim 3:member")
	l.nodes[3].step(fencing.Ack{Name: "cnode2"})
	l.run(time.Second)
	l.want(1, "1:member 2:off 3:member")
	if log := strings.Join(l.nodes[3].log, "\n"); !strings.Contains(log, "fence CNODE2 overridden by administrator intervention") {
		t.Errorf("%s", log)
	}
	if l.nodes[1].open || len(l.nodes[1].runs) > 0 {
		t.Error("it goes on")
	}
	if h := l.nodes[1].core.History(); h[len(h)-1].How != fencing.HowOverride || h[len(h)-1].Master != 3 {
		t.Errorf("%+v", h)
	}
}

// TestCore_External: fence_node elsewhere counts for the life of the node that
// was known when it began, and for no later one.
func TestCore_External(t *testing.T) {
	t.Parallel()
	start := func(t *testing.T) *lab {
		l := newLab(t, 3)
		l.boot(1, 2, 3)
		l.run(20 * time.Second)
		return l
	}
	ringOf := func(l *lab) uint64 { return l.nodes[3].core.Nodes()[1].Ring }
	t.Run("of a victim", func(t *testing.T) {
		t.Parallel()
		l := start(t)
		l.attempt = func(by, victim cluster.NodeID) (fencing.Result, time.Duration) { return failure(l), time.Second }
		before := ringOf(l)
		l.crash(2)
		l.run(5 * time.Second)
		l.nodes[3].step(fencing.External{Node: 2, Ring: before})
		l.run(time.Second)
		l.want(1, "1:member 2:off 3:member")
	})
	t.Run("before its failure is noticed", func(t *testing.T) {
		t.Parallel()
		l := start(t)
		before := ringOf(l)
		l.crash(2)
		l.nodes[3].step(fencing.External{Node: 2, Ring: before})
		l.run(10 * time.Second)
		l.want(1, "1:member 2:off 3:member")
		l.wantFenced()
	})
	t.Run("of an earlier life", func(t *testing.T) {
		t.Parallel()
		l := start(t)
		before := ringOf(l)
		l.crash(2)
		l.run(10 * time.Second)
		l.boot(2)
		l.run(20 * time.Second)
		l.nodes[3].step(fencing.External{Node: 2, Ring: before})
		l.attempt = func(by, victim cluster.NodeID) (fencing.Result, time.Duration) { return failure(l), time.Second }
		l.sim.Freeze(2)
		l.run(10 * time.Second)
		l.nodes[3].step(fencing.External{Node: 2, Ring: before})
		l.run(5 * time.Second)
		l.want(1, "1:member 2:victim 3:member")
	})
}

// TestCore_History goes to those who join.
func TestCore_History(t *testing.T) {
	t.Parallel()
	l := newLab(t, 3)
	l.boot(1, 2, 3)
	l.run(20 * time.Second)
	for range 2 {
		l.crash(3)
		l.run(10 * time.Second)
		l.boot(3)
		l.run(20 * time.Second)
	}
	want := l.nodes[1].core.History()
	if len(want) != 2 {
		t.Fatalf("%+v", want)
	}
	for _, id := range []cluster.NodeID{2, 3} {
		if got := l.nodes[id].core.History(); !slices.Equal(got, want) {
			t.Errorf("node %d: %+v, want %+v", id, got, want)
		}
	}
}

// TestCore_TwoDomains: two nodes that never saw each other, each with a domain
// of its own. One of them has to go when they meet, and cannot talk itself out
// of it.
func TestCore_TwoDomains(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	l.cfg.CleanStart = true
	l.sim.Partition([]cluster.NodeID{1})
	l.boot(1, 2)
	l.run(20 * time.Second)
	l.want(1, "1:member 2:unknown")
	l.want(2, "1:unknown 2:member")
	l.sim.Heal()
	l.run(60 * time.Second)
	if len(l.fenced) != 1 {
		t.Errorf("fenced %v\n%s\n\n%s", l.fenced, strings.Join(l.nodes[1].log, "\n"), strings.Join(l.nodes[2].log, "\n"))
	}
}

// TestCore_FreshNodeDoesNotWin: a node boots while it is cut off. It is quorate
// by itself, in a newer ring than the domain has; but it gives way.
func TestCore_FreshNodeDoesNotWin(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	l.boot(1, 2)
	l.run(20 * time.Second)
	l.crash(2)
	l.run(20 * time.Second)
	l.wantFenced("2 by 1")
	l.sim.Partition([]cluster.NodeID{1})
	l.boot(2)
	l.run(3 * time.Second) // within its post_join_delay
	if in := l.nodes[2].core.Info(); !in.Joined || in.Complete || len(in.Victims) != 1 {
		t.Fatalf("not the situation to be tested: %+v", in)
	}
	l.sim.Heal()
	l.run(60 * time.Second)
	l.wantFenced("2 by 1")
	l.want(1, "1:member 2:member")
	l.want(2, "1:member 2:member")
}

// TestCore_ResultDuringMerge: an attempt that ends in the moment in which the
// daemons agree on what is current is not lost.
func TestCore_ResultDuringMerge(t *testing.T) {
	t.Parallel()
	for offset := time.Duration(0); offset < 8*time.Millisecond; offset += 250 * time.Microsecond {
		l := newLab(t, 5)
		l.boot(1, 2, 3, 4)
		l.run(20 * time.Second)
		attempts := 0
		l.attempt = func(by, victim cluster.NodeID) (fencing.Result, time.Duration) {
			attempts++
			return success(l), 5 * time.Second
		}
		l.crash(4)
		for attempts == 0 {
			l.run(time.Millisecond)
		}
		l.sim.Partition([]cluster.NodeID{5})
		l.boot(5)
		l.run(5*time.Second - 8*time.Millisecond + offset)
		l.sim.Heal()
		l.run(30 * time.Second)
		if l.want(1, "1:member 2:member 3:member 4:off 5:member"); attempts != 1 {
			t.Errorf("offset %v: %d attempts", offset, attempts)
		}
	}
}

// TestCore_OutsideTheDomain: a node that left and then failed is not off.
func TestCore_OutsideTheDomain(t *testing.T) {
	t.Parallel()
	l := newLab(t, 3)
	l.boot(1, 2, 3)
	l.run(20 * time.Second)
	l.nodes[3].step(fencing.Leave{})
	l.run(time.Second)
	l.want(1, "1:member 2:member 3:left")
	l.crash(3)
	l.run(10 * time.Second)
	l.want(1, "1:member 2:member 3:unknown")
	l.wantFenced()
}

// TestCore_Races: two nodes that are well lose each other.
func TestCore_Races(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		race   fencing.Race
		before func(l *lab)
		fenced string
	}{
		{"the lower node by lowest", fencing.RaceLowest, func(l *lab) { l.nodes[2].step(fencing.Weight{Weight: 9}) }, "2 by 1"},
		{"the heavier by services", fencing.RaceServices, func(l *lab) { l.nodes[2].step(fencing.Weight{Weight: 9}) }, "1 by 2"},
		{"a tie goes to the lower", fencing.RaceServices, func(l *lab) {
			l.nodes[2].step(fencing.Weight{Weight: 9})
			l.nodes[1].step(fencing.Weight{Weight: 9})
		}, "2 by 1"},
		{"the master of the quorum disk", fencing.RaceQdisk, func(l *lab) {
			l.nodes[1].step(fencing.QuorumDisk{Master: 2})
			l.nodes[2].step(fencing.QuorumDisk{Master: 2})
		}, "1 by 2"},
		{"one that does not see the disk does not matter", fencing.RaceQdisk, func(l *lab) { l.nodes[2].step(fencing.QuorumDisk{Master: 2}) }, "1 by 2"},
		{"two masters are none", fencing.RaceQdisk, func(l *lab) {
			l.nodes[1].step(fencing.QuorumDisk{Master: 1})
			l.nodes[2].step(fencing.QuorumDisk{Master: 2})
		}, "2 by 1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, 2)
			l.cfg.Race = tc.race
			l.boot(1, 2)
			l.run(20 * time.Second)
			tc.before(l)
			l.run(time.Second)
			l.sim.Partition([]cluster.NodeID{1})
			l.run(3 * time.Minute)
			l.wantFenced(tc.fenced)
		})
	}
	t.Run("the loser's turn comes if the winner is dead", func(t *testing.T) {
		t.Parallel()
		l := newLab(t, 2)
		l.cfg.Race = fencing.RaceLowest
		l.boot(1, 2)
		l.run(20 * time.Second)
		l.crash(1)
		l.run(6 * time.Second)
		l.wantFenced()
		l.run(3 * time.Second)
		l.wantFenced("1 by 2")
		if log := strings.Join(l.nodes[2].log, "\n"); !strings.Contains(log, "fence race with CNODE1 by lowest: the other side goes first, waiting 6s") {
			t.Errorf("%s", log)
		}
	})
	t.Run("a delay favours a node without a race", func(t *testing.T) {
		t.Parallel()
		l := newLab(t, 2)
		l.cfg.Nodes[1].Delay = 5 * time.Second
		l.boot(1, 2)
		l.run(20 * time.Second)
		l.sim.Partition([]cluster.NodeID{1})
		l.run(3 * time.Minute)
		l.wantFenced("1 by 2")
	})
}
