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
	"github.com/haobox/haobox/platform/corosync"
	"github.com/haobox/haobox/platform/corosync/corotest"
)

// inside is an engine whose connections are made in a node's namespaces.
type inside struct {
	*corosyncEngine
	n *corotest.Node
}

func (e inside) Join(name string, deliver func(cluster.Event)) (g cluster.Group, err error) {
	err = e.n.In(func() (err error) { g, err = e.corosyncEngine.Join(name, deliver); return err })
	return g, err
}

func (e inside) Status(ctx context.Context) (st cluster.Status, err error) {
	err = e.n.In(func() (err error) { st, err = e.corosyncEngine.Status(ctx); return err })
	return st, err
}

// end closes the connections without a word.
func (e inside) end() {
	e.closed.Store(true)
	e.groupMu.Lock()
	for _, g := range e.groups {
		g.quiet.Store(true)
		g.conn.Close()
	}
	e.groupMu.Unlock()
	e.closeConns()
	e.idle.Wait()
}

func open(ctx context.Context, n *corotest.Node) (cluster.Engine, error) {
	var e cluster.Engine
	err := n.In(func() (err error) { e, err = OpenCorosync(ctx, corosync.Config{}); return err })
	if err != nil {
		return nil, err
	}
	return inside{e.(*corosyncEngine), n}, nil
}

func corosyncCluster(t *testing.T, o enginetest.Options) *enginetest.Cluster {
	if o.Nodes == 0 { // only what faults there are
		f := func(cluster.NodeID) {}
		return &enginetest.Cluster{Kill: f, Stop: f, Start: f, Freeze: f, Thaw: f, Cut: f, Heal: f}
	}
	opts := corotest.Options{Nodes: o.Nodes}
	if o.TwoNode {
		opts.Quorum = []string{"two_node: 1", "wait_for_all: 0"}
	}
	c := corotest.Start(t, opts)
	node := func(id cluster.NodeID) *corotest.Node { return c.Nodes[id-1] }
	return &enginetest.Cluster{
		Open: func(id cluster.NodeID) (cluster.Engine, error) {
			if int(id) > len(c.Nodes) {
				return nil, cluster.ErrNotMember
			}
			return open(t.Context(), node(id))
		},
		Until:  until(t),
		End:    func(e cluster.Engine) { e.(inside).end() },
		Kill:   func(id cluster.NodeID) { node(id).Kill() },
		Stop:   func(id cluster.NodeID) { node(id).Stop() },
		Start:  func(id cluster.NodeID) { node(id).Start() },
		Freeze: func(id cluster.NodeID) { node(id).Freeze() },
		Thaw:   func(id cluster.NodeID) { node(id).Thaw() },
		Cut:    func(id cluster.NodeID) { node(id).Cut() },
		Heal:   func(id cluster.NodeID) { node(id).Heal() },
	}
}

func TestCorosync(t *testing.T) {
	corotest.Need(t)
	enginetest.Run(t, false, corosyncCluster)
}

func TestCorosync_NotRunning(t *testing.T) {
	corotest.Need(t)
	c := corotest.Start(t, corotest.Options{Idle: true})
	if _, err := open(t.Context(), c.Nodes[0]); !errors.Is(err, cluster.ErrNotRunning) {
		t.Errorf("got %v, want ErrNotRunning", err)
	}
}

// TestAsk_Corosync: a status, and the absence of one, from a live, a frozen and
// a dead daemon.
func TestAsk_Corosync(t *testing.T) {
	corotest.Need(t)
	c := corotest.Start(t, corotest.Options{})
	n := c.Nodes[0]
	ask := func(limit time.Duration) (cluster.Status, error) {
		return Ask(t.Context(), limit, func(ctx context.Context) (cluster.Engine, error) { return open(ctx, n) })
	}
	st, err := ask(AskLimit)
	if err != nil || st.Engine != "corosync" || !st.Quorate || fmt.Sprint(st.Nodes[0].Addresses) != "[10.77.0.1]" {
		t.Errorf("%+v, %v", st, err)
	}
	why := func(limit time.Duration, want cluster.Absence) {
		t.Helper()
		_, err := ask(limit)
		var u *cluster.Unavailable
		if !errors.As(err, &u) || u.Why != want {
			t.Errorf("got %v, want %v", err, want)
		}
	}
	n.Freeze()
	why(300*time.Millisecond, cluster.Silent)
	n.Thaw()
	n.Kill()
	why(AskLimit, cluster.NotRunning)
}

// TestCorosync_DeviceAndVotes: what qdiskd and cman_tool ask of the engine.
func TestCorosync_DeviceAndVotes(t *testing.T) {
	corotest.Need(t)
	c := corotest.Start(t, corotest.Options{Nodes: 2, Quorum: []string{"device {", "  model: haobox", "  votes: 1", "}"}})
	e, err := open(t.Context(), c.Nodes[0])
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	ctx := t.Context()
	in := func(f func() error) error { return c.Nodes[0].In(f) }
	d, admin := e.(cluster.Device), e.(cluster.Admin)
	if err := in(func() error { return d.RegisterDevice(ctx, "disk") }); err != nil {
		t.Fatal(err)
	}
	st, err := e.Status(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.PollDevice(ctx, "disk", true, cluster.RingID{Node: 9, Seq: 9}); !errors.Is(err, cluster.ErrWrongRing) {
		t.Errorf("poll with another ring: %v", err)
	}
	if err := d.PollDevice(ctx, "disk", true, st.Ring); err != nil {
		t.Fatal(err)
	}
	c.Eventually("the device's vote", func() error {
		st, err := e.Status(ctx)
		if err != nil || st.Total != 3 || st.DeviceName != "disk" || st.DeviceVotes != 1 || st.Cluster != "corotest" {
			return fmt.Errorf("%+v, %v", st, err)
		}
		return nil
	})
	if err := d.MasterWins(ctx, "disk", true); err != nil {
		t.Error(err)
	}
	if err := d.RegisterDevice(ctx, "other"); !errors.Is(err, cluster.ErrRefused) {
		t.Errorf("a second device: %v", err)
	}
	if err := d.UnregisterDevice(ctx, "disk"); err != nil {
		t.Error(err)
	}
	if err := admin.SetExpected(ctx, 1); !errors.Is(err, cluster.ErrRefused) {
		t.Errorf("expected votes below the total: %v", err)
	}
	if err := admin.SetVotes(ctx, 9, 1); !errors.Is(err, cluster.ErrNotMember) {
		t.Errorf("votes of a stranger: %v", err)
	}
	if err := admin.SetVotes(ctx, 2, 2); err != nil {
		t.Error(err)
	}
	c.Eventually("node 2 with 2 votes, times and addresses", func() error {
		st, err := e.Status(ctx)
		n, _ := st.Node(2)
		if err != nil || n.Votes != 2 || n.JoinedAt.IsZero() || n.Incarnation == 0 || fmt.Sprint(n.Addresses) != "[10.77.0.2]" || n.Name != "n2" {
			return fmt.Errorf("%+v, %v", n, err)
		}
		return nil
	})
	if err := admin.Kill(ctx, 9, "test"); !errors.Is(err, cluster.ErrNotMember) {
		t.Errorf("kill a stranger: %v", err)
	}
	if err := admin.Kill(ctx, 2, "test"); err != nil {
		t.Error(err)
	}
	c.Nodes[1].Wait()
}
