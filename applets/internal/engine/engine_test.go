//go:build linux

package engine

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/haobox/haobox/internal/cluster"
	"github.com/haobox/haobox/internal/cluster/enginetest"
	"github.com/haobox/haobox/platform/platformtest"
)

// patience only ends a test that hangs: 15,000 messages took more than a minute
// beside the tests of other packages and the race detector.
const patience = 4 * time.Minute

// until looks again and again.
func until(t *testing.T) func(what string, done func() bool) {
	return func(what string, done func() bool) {
		t.Helper()
		for deadline := time.Now().Add(patience); !done(); time.Sleep(2 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("still not: %s", what)
			}
		}
	}
}

// localCluster has one process that only holds each node's place, as a daemon
// would.
func localCluster(t *testing.T, o enginetest.Options) *enginetest.Cluster {
	cfg := LocalConfig{Dir: t.TempDir(), Cluster: "test", TwoNode: o.TwoNode}
	for i := range o.Nodes {
		cfg.Nodes = append(cfg.Nodes, LocalNode{Node: cluster.Node{ID: cluster.NodeID(i + 1), Name: fmt.Sprint("n", i+1)}})
	}
	open := func(id cluster.NodeID) (cluster.Engine, error) {
		c := cfg
		c.Node = id
		return OpenLocal(t.Context(), c)
	}
	// One more process of node 1 is the hub, so that no fault of a test ends it.
	if o.Nodes > 0 {
		hub, err := open(1)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { hub.Close() })
	}
	start := func(id cluster.NodeID) {
		e, err := open(id)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { e.Close() })
	}
	for i := range o.Nodes {
		start(cluster.NodeID(i + 1))
	}
	messages := 0
	if testing.Short() {
		messages = 300
	}
	return &enginetest.Cluster{
		Open: open, Until: until(t), Start: start, Messages: messages,
		End: func(e cluster.Engine) { e.(*localEngine).abandon() },
		Kill: func(id cluster.NodeID) {
			e, err := open(1)
			if err != nil {
				t.Fatal(err)
			}
			defer e.Close()
			if err := e.(cluster.Admin).Kill(t.Context(), id, "test"); err != nil {
				t.Error(err)
			}
		},
	}
}

func TestLocal(t *testing.T) {
	t.Parallel()
	enginetest.Run(t, true, localCluster)
}

// TestLocal_NextHub: replicated state survives the end of the process that
// orders everything.
func TestLocal_NextHub(t *testing.T) {
	t.Parallel()
	cfg := LocalConfig{Dir: t.TempDir(), Nodes: []LocalNode{{Node: cluster.Node{ID: 1, Name: "a"}}, {Node: cluster.Node{ID: 2, Name: "b"}}, {Node: cluster.Node{ID: 3, Name: "c"}}}}
	open := func(id cluster.NodeID) cluster.Engine {
		c := cfg
		c.Node = id
		e, err := OpenLocal(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { e.Close() })
		return e
	}
	hub, two, three := open(1), open(2), open(3)
	views := make(chan cluster.View, 100)
	rings := make(chan cluster.Membership, 100)
	if _, err := two.Join("g", func(ev cluster.Event) {
		if v, is := ev.(cluster.View); is {
			views <- v
		}
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := three.Join("g", func(cluster.Event) {}); err != nil {
		t.Fatal(err)
	}
	if _, err := two.Watch(func(ev cluster.Event) {
		if m, is := ev.(cluster.Membership); is {
			rings <- m
		}
	}); err != nil {
		t.Fatal(err)
	}
	for v := range views {
		if len(v.Members) == 2 {
			break
		}
	}
	hub.(*localEngine).abandon()
	var last uint64
	for m := range rings {
		if m.Ring.Seq < last {
			t.Errorf("ring %v after sequence %d", m.Ring, last)
		}
		last = m.Ring.Seq
		if len(m.Members) == 2 && m.Members[0] == 2 {
			break
		}
	}
	var seen []string
	for v := range views {
		seen = append(seen, fmt.Sprint(len(v.Members), v.Transitional))
		if len(v.Members) == 2 {
			break
		}
	}
	if s := fmt.Sprint(seen); s != "[1 true 2 false]" && s != "[1 false 2 false]" {
		t.Errorf("views %s", s)
	}
}

// TestLocal_StrangerIsRefused: a node that the configuration does not have.
func TestLocal_StrangerIsRefused(t *testing.T) {
	t.Parallel()
	_, err := OpenLocal(t.Context(), LocalConfig{Dir: t.TempDir(), Node: 4})
	if !errors.Is(err, cluster.ErrNotMember) {
		t.Errorf("got %v, want ErrNotMember", err)
	}
}

// TestWait opens as soon as there is something, and gives up with its context.
func TestWait(t *testing.T) {
	t.Parallel()
	clock := platformtest.NewClock()
	n := 0
	open := func(context.Context) (cluster.Engine, error) {
		if n++; n < 4 {
			return nil, fmt.Errorf("attempt %d: %w", n, cluster.ErrNotRunning)
		}
		return nil, nil
	}
	if _, err := Wait(t.Context(), clock, open); err != nil || n != 4 || clock.Slept != 3*openPause {
		t.Errorf("%v after %d attempts and %v", err, n, clock.Slept)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	n = 0
	if _, err := Wait(ctx, clock, open); !errors.Is(err, cluster.ErrNotRunning) {
		t.Errorf("given up: %v", err)
	}
	n = 0
	refused := func(context.Context) (cluster.Engine, error) { n++; return nil, cluster.ErrRefused }
	if _, err := Wait(t.Context(), clock, refused); !errors.Is(err, cluster.ErrRefused) || n != 1 {
		t.Errorf("another error: %v after %d attempts", err, n)
	}
}
