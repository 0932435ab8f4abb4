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
	n.step(fencing.Join{})
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
				if n.runs[a.Run] && l.nodes[n.id] == n && !l.sim.Frozen(n.id) {
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
