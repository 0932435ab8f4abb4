//go:build linux

package engine

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/haobox/haobox/internal/cluster"
)

// TestLocal_Device: the votes of a quorum device on the embedded engine. They
// count on the node that casts them, for all its processes, in the ring in which
// they were cast, and while the device is polled; also when another process
// orders everything.
func TestLocal_Device(t *testing.T) {
	t.Parallel()
	cfg := LocalConfig{Dir: t.TempDir(), DeviceVotes: 1, DeviceTimeout: time.Hour, Expected: 3,
		Nodes: []LocalNode{{Node: cluster.Node{ID: 1, Name: "a"}}, {Node: cluster.Node{ID: 2, Name: "b"}}}}
	open := func(id cluster.NodeID, change func(*LocalConfig)) cluster.Engine {
		t.Helper()
		c := cfg
		c.Node = id
		if change != nil {
			change(&c)
		}
		e, err := OpenLocal(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { e.Close() })
		return e
	}
	ctx, wait := t.Context(), until(t)
	hub, disk, other := open(2, nil), open(1, nil), open(1, nil)
	device := disk.(cluster.Device)
	status := func(e cluster.Engine) cluster.Status {
		t.Helper()
		st, err := e.Status(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return st
	}
	show := func(e cluster.Engine) string {
		st := status(e)
		return fmt.Sprint(st.Total, " of ", st.Expected, ", ", st.Needed, " needed, ", st.Quorate, ", ", st.DeviceName, " ", st.DeviceVotes)
	}
	is := func(e cluster.Engine, want string) {
		t.Helper()
		wait(want, func() bool { return show(e) == want })
	}
	var mu sync.Mutex
	var told []string
	if _, err := other.Watch(func(ev cluster.Event) {
		mu.Lock()
		defer mu.Unlock()
		switch ev := ev.(type) {
		case cluster.Membership:
			told = append(told, fmt.Sprint(len(ev.Members), " members"))
		case cluster.Quorum:
			told = append(told, fmt.Sprint("quorate ", ev.Quorate))
		}
	}); err != nil {
		t.Fatal(err)
	}
	forget := func() {
		mu.Lock()
		defer mu.Unlock()
		told = nil
	}
	hears := func(last string) {
		t.Helper()
		wait("the other process hears: "+last, func() bool {
			mu.Lock()
			defer mu.Unlock()
			return strings.HasSuffix(strings.Join(told, ", "), last)
		})
	}
	poll := func(cast bool) error { return device.PollDevice(ctx, "disk", cast, status(disk).Ring) }

	if err := poll(true); !errors.Is(err, cluster.ErrNotMember) {
		t.Errorf("poll before it is registered: %v", err)
	}
	if err := device.RegisterDevice(ctx, "disk"); err != nil {
		t.Fatal(err)
	}
	if err := device.RegisterDevice(ctx, "disk"); err != nil {
		t.Errorf("the same again: %v", err)
	}
	if err := other.(cluster.Device).RegisterDevice(ctx, "other"); !errors.Is(err, cluster.ErrRefused) {
		t.Errorf("another device of the node: %v", err)
	}
	if err := device.PollDevice(ctx, "other", true, status(disk).Ring); !errors.Is(err, cluster.ErrRefused) {
		t.Errorf("poll of another device: %v", err)
	}
	if err := device.PollDevice(ctx, "disk", true, cluster.RingID{Node: 9, Seq: 9}); !errors.Is(err, cluster.ErrWrongRing) {
		t.Errorf("poll in another ring: %v", err)
	}
	is(other, "2 of 3, 2 needed, true, disk 0")
	if err := poll(true); err != nil {
		t.Fatal(err)
	}
	is(disk, "3 of 3, 2 needed, true, disk 1")
	is(other, "3 of 3, 2 needed, true, disk 1")
	is(hub, "2 of 3, 2 needed, true,  0")

	// The other node goes, with the process that orders everything: nothing is
	// known of quorum before the device has spoken in the new ring.
	forget()
	hub.(*localEngine).abandon()
	wait("the other node is gone", func() bool { return len(status(other).Members()) == 1 && len(status(disk).Members()) == 1 })
	if err := poll(true); err != nil && !errors.Is(err, cluster.ErrWrongRing) {
		t.Fatal(err)
	}
	wait("it votes in the last ring", func() bool { return poll(true) == nil && show(other) == "2 of 3, 2 needed, true, disk 1" })
	hears("1 members, quorate true")
	if err := poll(false); err != nil {
		t.Fatal(err)
	}
	is(other, "1 of 3, 2 needed, false, disk 1")
	hears("1 members, quorate true, quorate false")

	// A node comes back; its own device is one more, and master wins.
	back := open(2, nil)
	if err := back.(cluster.Device).RegisterDevice(ctx, "disk"); err != nil {
		t.Fatal(err)
	}
	wait("both vote", func() bool {
		return poll(true) == nil && back.(cluster.Device).PollDevice(ctx, "disk", true, status(back).Ring) == nil && show(disk) == "3 of 3, 2 needed, true, disk 1"
	})
	is(back, "3 of 3, 2 needed, true, disk 1")
	if err := device.UnregisterDevice(ctx, "disk"); err != nil {
		t.Fatal(err)
	}
	is(disk, "2 of 3, 2 needed, true,  0")
	is(back, "3 of 3, 2 needed, true, disk 1")
	back.Close()
	is(disk, "1 of 3, 2 needed, false,  0")

	// A device that is not polled dies.
	mortal := open(1, func(c *LocalConfig) { c.DeviceTimeout = time.Millisecond }).(cluster.Device)
	if err := mortal.RegisterDevice(ctx, "disk"); err != nil {
		t.Fatal(err)
	}
	forget()
	if err := mortal.PollDevice(ctx, "disk", true, status(disk).Ring); err != nil {
		t.Fatal(err)
	}
	hears("quorate true, quorate false")
	is(disk, "1 of 3, 2 needed, false, disk 0")
	if err := mortal.MasterWins(ctx, "disk", true); err != nil {
		t.Error(err)
	}

	none := open(1, func(c *LocalConfig) { c.DeviceVotes = 0 }).(cluster.Device)
	if err := none.RegisterDevice(ctx, "disk"); !errors.Is(err, cluster.ErrRefused) {
		t.Errorf("a device that cluster.conf does not have: %v", err)
	}
}

// TestLocal_Observe: who only looks on makes no member and no cluster, and a node
// that fails has failed although it is looked at as.
func TestLocal_Observe(t *testing.T) {
	t.Parallel()
	cfg := LocalConfig{Dir: t.TempDir() + "/bus", Nodes: []LocalNode{{Node: cluster.Node{ID: 1, Name: "a"}}, {Node: cluster.Node{ID: 2, Name: "b"}}}}
	open := func(id cluster.NodeID, observe bool) (cluster.Engine, error) {
		c := cfg
		c.Node, c.Observe = id, observe
		e, err := OpenLocal(t.Context(), c)
		if err == nil {
			t.Cleanup(func() { e.Close() })
		}
		return e, err
	}
	if _, err := open(1, true); !errors.Is(err, cluster.ErrNotRunning) {
		t.Errorf("there is nothing to look at: %v", err)
	}
	one, err := open(1, false)
	if err != nil {
		t.Fatal(err)
	}
	look, err := open(2, true)
	if err != nil {
		t.Fatal(err)
	}
	members := func(e cluster.Engine) string {
		st, err := e.Status(t.Context())
		return fmt.Sprint(st.Members(), st.Local, err)
	}
	if got := members(look); got != "[1] 2 <nil>" {
		t.Errorf("it sees %s", got)
	}
	if err := look.(cluster.Device).RegisterDevice(t.Context(), "disk"); err == nil {
		t.Error("an observer has a device")
	}
	var reason cluster.Reason
	var mu sync.Mutex
	if _, err := one.Join("g", func(ev cluster.Event) {
		if v, is := ev.(cluster.View); is && len(v.Left) > 0 {
			mu.Lock()
			reason = v.Left[0].Reason
			mu.Unlock()
		}
	}); err != nil {
		t.Fatal(err)
	}
	two, err := open(2, false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := two.Join("g", func(cluster.Event) {}); err != nil {
		t.Fatal(err)
	}
	again, err := open(2, true)
	if err != nil {
		t.Fatal(err)
	}
	wait := until(t)
	wait("both are members", func() bool { return members(one) == "[1 2] 1 <nil>" && members(again) == "[1 2] 2 <nil>" })
	// Since when they are there, the hub says: not who asks, nor a second process.
	joined := func(e cluster.Engine) string {
		st, err := e.Status(t.Context())
		return fmt.Sprintf("%v %d %v %d %v", err, st.Nodes[0].Incarnation, st.Nodes[0].JoinedAt, st.Nodes[1].Incarnation, st.Nodes[1].JoinedAt)
	}
	first := joined(one)
	if st, err := one.Status(t.Context()); err != nil || st.Nodes[0].Incarnation != 1 || st.Nodes[1].Incarnation != 2 {
		t.Errorf("they joined with %+v, %v", st.Nodes, err)
	}
	second, err := open(1, false)
	if err != nil {
		t.Fatal(err)
	}
	late, err := open(2, true)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range []cluster.Engine{two, again, second, late} {
		if got := joined(e); got != first {
			t.Errorf("another sees that they joined with %s, want %s", got, first)
		}
	}
	second.Close()
	two.(*localEngine).abandon()
	wait("it has failed", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return reason == cluster.Failed && members(again) == "[1] 2 <nil>"
	})
	one.Close()
	wait("there is nothing left to look at", func() bool { return strings.Contains(members(again), "gone") })
}

// TestLocal_MasterWins: a node whose device votes, or is in the ring of one that
// does, is quorate although votes are missing.
func TestLocal_MasterWins(t *testing.T) {
	t.Parallel()
	cfg := LocalConfig{Dir: t.TempDir(), DeviceVotes: 1, Expected: 9, Node: 1, Nodes: []LocalNode{{Node: cluster.Node{ID: 1, Name: "a"}}, {Node: cluster.Node{ID: 2, Name: "b"}}}}
	var all []cluster.Engine
	for id := cluster.NodeID(1); id <= 2; id++ {
		cfg.Node = id
		e, err := OpenLocal(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { e.Close() })
		all = append(all, e)
	}
	wait := until(t)
	for i, e := range all {
		d := e.(cluster.Device)
		if err := d.RegisterDevice(t.Context(), "disk"); err != nil {
			t.Fatal(err)
		}
		if err := d.MasterWins(t.Context(), "disk", true); err != nil {
			t.Fatal(err)
		}
		wait("the poll is taken", func() bool {
			st, err := e.Status(t.Context())
			return err == nil && d.PollDevice(t.Context(), "disk", i == 0, st.Ring) == nil
		})
	}
	for _, e := range all {
		wait("quorate", func() bool { st, err := e.Status(t.Context()); return err == nil && st.Quorate && st.Total < st.Needed })
	}
	if err := all[0].(cluster.Device).UnregisterDevice(t.Context(), "disk"); err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		wait("not quorate", func() bool { st, err := e.Status(t.Context()); return err == nil && !st.Quorate })
	}
}
