//go:build linux

package qdiskd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/haobox/haobox/applets/internal/daemon"
	"github.com/haobox/haobox/applets/internal/engine"
	"github.com/haobox/haobox/internal/cluster"
	"github.com/haobox/haobox/internal/quorumdisk"
	"github.com/haobox/haobox/platform"
	"github.com/haobox/haobox/platform/blockdev"
	"github.com/haobox/haobox/platform/blockdev/looptest"
	"github.com/haobox/haobox/platform/corosync"
	"github.com/haobox/haobox/platform/corosync/corotest"
	"github.com/haobox/haobox/platform/host"
	"github.com/haobox/haobox/platform/platformtest"
)

// world is a cluster of real corosync daemons and one disk, a loop device. The
// daemons of the disk run in this process, each with an engine inside its node.
type world struct {
	t     *testing.T
	c     *corotest.Cluster
	dev   string
	votes int
	wins  bool
	nodes []*member
}

// member is a node's qdiskd.
type member struct {
	w      *world
	n      *corotest.Node
	disk   *valve
	dog    *dog
	env    *platformtest.Env
	engine cluster.Engine
	sh     *shell
	d      *daemon.Daemon
	sig    chan os.Signal
	ended  chan error
	down   atomic.Bool // reboot was called
	unfit  atomic.Bool // the heuristic fails
}

// dog is a watchdog that would take the node down when it is not fed.
type dog struct {
	fed                atomic.Int64
	stopped, abandoned atomic.Bool
}

func (d *dog) Feed() error { d.fed.Add(1); return nil }
func (d *dog) Stop() error { d.stopped.Store(true); return nil }
func (d *dog) Abandon()    { d.abandoned.Store(true) }

// inside is an engine whose later connections are made inside the node, too.
type inside struct {
	cluster.Engine
	cluster.Device
	cluster.Admin
	n *corotest.Node
}

func (e inside) Join(name string, deliver func(cluster.Event)) (g cluster.Group, err error) {
	err = e.n.In(func() (err error) { g, err = e.Engine.Join(name, deliver); return err })
	return g, err
}

func (e inside) RegisterDevice(ctx context.Context, name string) error {
	return e.n.In(func() error { return e.Device.RegisterDevice(ctx, name) })
}

// valve is a way to the disk that can be closed: calls then hang.
type valve struct {
	*blockdev.Device
	mu     sync.Mutex
	open   *sync.Cond
	closed bool
}

func newValve(d *blockdev.Device) *valve {
	v := &valve{Device: d}
	v.open = sync.NewCond(&v.mu)
	return v
}

func (v *valve) set(closed bool) {
	v.mu.Lock()
	v.closed = closed
	v.mu.Unlock()
	v.open.Broadcast()
}

func (v *valve) wait() {
	v.mu.Lock()
	defer v.mu.Unlock()
	for v.closed {
		v.open.Wait()
	}
}

func (v *valve) ReadAt(b []byte, at int64) error { v.wait(); return v.Device.ReadAt(b, at) }

func (v *valve) WriteAt(b []byte, at int64) error { v.wait(); return v.Device.WriteAt(b, at) }

func newWorld(t *testing.T, nodes, votes, sector int, wins bool) *world {
	t.Helper()
	corotest.Need(t)
	w := &world{t: t, votes: votes, wins: wins}
	w.dev, _ = looptest.New(t, 1<<20, sector)
	d, err := blockdev.Open(w.dev, blockdev.Options{Write: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := quorumdisk.Format(d, quorumdisk.Header{Label: "QDISK", Host: "test"}, uint64(time.Now().Unix()), nil); err != nil {
		t.Fatal(err)
	}
	d.Close()
	w.c = corotest.Start(t, corotest.Options{Nodes: nodes, Quorum: []string{
		fmt.Sprint("expected_votes: ", nodes+votes), "device {", "model: test", fmt.Sprint("votes: ", votes), "timeout: 3000", "sync_timeout: 3000", "}"}})
	for _, n := range w.c.Nodes {
		m := &member{w: w, n: n}
		w.nodes = append(w.nodes, m)
		m.start()
	}
	return w
}

// start runs the daemon.
func (m *member) start() {
	t := m.w.t
	t.Helper()
	dev, err := blockdev.Open(m.w.dev, blockdev.Options{Write: true})
	if err != nil {
		t.Fatal(err)
	}
	m.disk = newValve(dev)
	if err := m.n.In(func() error {
		e, err := engine.OpenCorosync(context.Background(), corosync.Config{})
		if err == nil {
			m.engine = inside{e, e.(cluster.Device), e.(cluster.Admin), m.n}
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	m.env = platformtest.NewEnv(t)
	m.env.Env.FS, m.env.Env.Clock = host.NewFS(platformtest.ShortDir(t)), platform.SystemClock{}
	setup := quorumdisk.Setup{Config: quorumdisk.Config{
		Node: int(m.n.ID), Interval: 150 * time.Millisecond, TKO: 6, TKOUp: 2, UpgradeWait: 1, MasterWait: 3, MasterWins: m.w.wins, AllowKill: true, Reboot: true,
		VoteTimeout: 3 * time.Second, Incarnation: quorumdisk.Incarnation(time.Now().UnixMilli()),
	}, Votes: m.w.votes, Device: m.w.dev, Name: "QDISK", StatusFile: "/run/qdisk.status",
		Heuristics: []quorumdisk.Heuristic{{Program: "fit", Score: 1, Interval: time.Second, TKO: 1}}}
	m.down.Store(false)
	m.dog = &dog{}
	mach := machine{
		watchdog: m.dog,
		reboot:   func() error { m.down.Store(true); return errors.New("not in a test") },
		run: func(context.Context, string) error {
			if m.unfit.Load() {
				return errors.New("unfit")
			}
			return nil
		},
	}
	m.sig, m.ended = make(chan os.Signal), make(chan error, 1)
	up := make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		m.ended <- daemon.Run(ctx, m.env.Env, daemon.Config{Name: name, Signals: m.sig, Foreground: true, NoConfig: true}, func(ctx context.Context, d *daemon.Daemon) (err error) {
			m.d = d
			m.sh, err = newShell(ctx, d, m.engine, setup, m.disk, mach)
			if err == nil {
				m.sh.debug = true
			}
			up <- err
			return err
		})
	}()
	t.Cleanup(func() {
		m.disk.set(false)
		cancel()
		dev.Close()
		if t.Failed() {
			t.Logf("node %d:\n%s", m.n.ID, m.env.Stderr)
		}
	})
	if err := <-up; err != nil {
		t.Fatal(err)
	}
}

// stop ends the daemon in order.
func (m *member) stop() {
	m.w.t.Helper()
	m.sig <- os.Interrupt
	if err := <-m.ended; err != nil {
		m.w.t.Errorf("node %d: %v", m.n.ID, err)
	}
	if m.dog.fed.Load() == 0 || !m.dog.stopped.Load() || m.dog.abandoned.Load() {
		m.w.t.Errorf("node %d: its watchdog was fed %d times, disarmed %v, abandoned %v", m.n.ID, m.dog.fed.Load(), m.dog.stopped.Load(), m.dog.abandoned.Load())
	}
}

func (m *member) status() (a statusAnswer) {
	_ = daemon.Client(m.env.Env, name).Do(context.Background(), "GET", "/v1/status", nil, &a)
	return a
}

// quorate asks corosync; TestManual reads what corosync-quorumtool prints, which
// takes too long to be done again and again.
func (m *member) quorate() (total int, quorate bool) {
	ctx, cancel := context.WithTimeout(context.Background(), corotest.Patience)
	defer cancel()
	_ = m.n.In(func() error { // without an answer it is not quorate
		v, err := corosync.DialVoteQuorum(ctx, corosync.Config{})
		if err != nil {
			return err
		}
		defer v.Close()
		info, err := v.Info(ctx, 0)
		total, quorate = int(info.Total), info.Flags&corosync.FlagQuorate != 0
		return err
	})
	return total, quorate
}

// master waits until these nodes agree on a master and all have votes in total,
// and returns it.
func (w *world) master(total int, ids ...int) *member {
	w.t.Helper()
	found := 0
	w.c.Eventually(fmt.Sprintf("nodes %v have a master and %d votes", ids, total), func() error {
		found = 0
		for _, id := range ids {
			m := w.nodes[id-1]
			s := m.status()
			switch {
			case s.Master == 0 || found != 0 && s.Master != found:
				return fmt.Errorf("node %d: master %d", id, s.Master)
			}
			found = s.Master
			if n, q := m.quorate(); n != total || !q {
				return fmt.Errorf("node %d: %d votes, quorate %v", id, n, q)
			}
		}
		return nil
	})
	return w.nodes[found-1]
}

// TestThreeNodes: the disk has two votes, one less than there are nodes. The
// master alone goes on when the cable breaks, and the two others do not; every
// node comes and goes in turn without a moment without quorum; and the disk keeps
// the last man standing quorate.
func TestThreeNodes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 3, 2, 4096, false)
	m := w.master(5, 1, 2, 3)
	out, err := m.n.Command("corosync-quorumtool").CombinedOutput()
	if lines := strings.Join(strings.Fields(string(out)), " "); !strings.Contains(lines, "A,V,NMW") || !strings.Contains(lines, "0 2 QDISK") && !strings.Contains(lines, "Qdevice") {
		t.Errorf("corosync-quorumtool: %v\n%s", err, out)
	}
	text, err := m.env.FS.ReadFile("/run/qdisk.status")
	if err != nil || !strings.Contains(string(text), "Current state: Master\n") || !strings.Contains(string(text), "Quorate Set: { 1 2 3 }\n") {
		t.Errorf("status file: %v\n%s", err, text)
	}
	m.n.Cut()
	m.n.WaitMembers(1)
	w.c.Eventually("the master alone is quorate", func() error {
		if n, q := m.quorate(); n != 3 || !q {
			return fmt.Errorf("%d votes, quorate %v", n, q)
		}
		return nil
	})
	for _, o := range w.nodes {
		if o == m {
			continue
		}
		o.n.WaitMembers(2)
		w.c.Eventually("the others are not", func() error {
			if n, q := o.quorate(); n != 2 || q {
				return fmt.Errorf("node %d: %d votes, quorate %v", o.n.ID, n, q)
			}
			return nil
		})
		if o.down.Load() {
			t.Errorf("node %d was told to go down", o.n.ID)
		}
	}
	m.n.Heal()
	w.master(5, 1, 2, 3)

	// A rolling restart: whoever looks always finds quorum.
	watch, lost := w.nodes[2], atomic.Bool{}
	stopWatch, err := watch.engine.Watch(func(ev cluster.Event) {
		if q, is := ev.(cluster.Quorum); is && !q.Quorate {
			lost.Store(true)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range []*member{w.nodes[0], w.nodes[1]} {
		o.stop()
		w.c.Eventually("the others have a master", func() error {
			if s := watch.status(); s.Master == 0 || s.Master == int(o.n.ID) || slices.Contains(s.Visible, int(o.n.ID)) {
				return fmt.Errorf("master %d, visible %v", s.Master, s.Visible)
			}
			return nil
		})
		o.start()
		w.master(5, 1, 2, 3)
	}
	stopWatch()
	if lost.Load() {
		t.Error("quorum was lost during a rolling restart")
	}
	m = w.master(5, 1, 2, 3)
	last := w.nodes[2]
	if last == m {
		last = w.nodes[1]
	}
	for _, o := range w.nodes {
		if o != last {
			// The daemon in this process ends with its engine.
			o.n.Kill()
			if err := <-o.ended; err == nil || !strings.Contains(err.Error(), "the cluster manager is gone") {
				t.Errorf("node %d without corosync: %v", o.n.ID, err)
			}
		}
	}
	if w.master(3, int(last.n.ID)) != last {
		t.Error("the last node is not master")
	}
}

// masterWins waits until one of two nodes is master and alone has the disk's vote.
func (w *world) masterWins() (m, other *member) {
	w.t.Helper()
	w.c.Eventually("the master alone has the disk's vote", func() error {
		id := w.nodes[0].status().Master
		if id == 0 || w.nodes[1].status().Master != id {
			return errors.New("no master")
		}
		m, other = w.nodes[id-1], w.nodes[2-id]
		a, qa := m.quorate()
		b, qb := other.quorate()
		if a != 3 || b != 2 || !qa || !qb {
			return fmt.Errorf("%d votes on the master, %d on the other node", a, b)
		}
		return nil
	})
	return m, other
}

// TestTwoNodes: the master alone has the disk's vote. With a score that is too low
// it lets go of that, and goes down. With a disk that is frozen under it, it takes
// its vote back by itself, is evicted, and has to go down when the disk answers
// again.
func TestTwoNodes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2, 1, 512, true)
	m, other := w.masterWins()
	m.unfit.Store(true)
	if err := <-m.ended; err == nil || !m.down.Load() {
		t.Errorf("it ends with %v", err)
	}
	if !m.dog.abandoned.Load() || m.dog.stopped.Load() {
		t.Errorf("the watchdog of a node that has to go down: abandoned %v, disarmed %v", m.dog.abandoned.Load(), m.dog.stopped.Load())
	}
	if log := m.env.Stderr.String(); !strings.Contains(log, "Heuristic: 'fit' DOWN (1/1)") || !strings.Contains(log, "Score insufficient for master operation (0/1; required=1); downgrading") {
		t.Errorf("log:\n%s", log)
	}
	w.c.Eventually("the other node is master and votes", func() error {
		if s := other.status(); s.Master != int(other.n.ID) || !s.Vote {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
	m.unfit.Store(false)
	m.start()
	m, other = w.masterWins()
	m.disk.set(true)
	w.c.Eventually("the other node is master", func() error {
		if s := other.status(); s.Master != int(other.n.ID) || !s.Vote {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
	if s := m.status(); s.Vote {
		t.Error("the frozen node still votes")
	}
	if !strings.Contains(m.env.Stderr.String(), "withdrawing its votes") {
		t.Error("the frozen node does not say so")
	}
	fed := m.dog.fed.Load()
	w.c.Eventually("the frozen node is evicted", func() error {
		s, err := quorumdisk.ReadStatus(other.disk.Device, int(m.n.ID))
		if err == nil && s.State != quorumdisk.StateEvicted {
			err = fmt.Errorf("state %v", s.State)
		}
		return err
	})
	// No heartbeat on the disk, no food: a hardware watchdog takes it down.
	if now := m.dog.fed.Load(); now != fed || fed == 0 || other.dog.fed.Load() == 0 {
		t.Errorf("the watchdog of the frozen node was fed %d times, and %d times more without its disk", fed, now-fed)
	}
	if m.dog.stopped.Load() {
		t.Error("the watchdog of the frozen node was disarmed")
	}
	m.disk.set(false)
	w.c.Eventually("the node is told to go down, or its cluster manager is ended", func() error {
		select {
		case err := <-m.ended:
			m.ended <- err
			return nil
		default:
			return errors.New("its daemon runs")
		}
	})
	log := other.env.Stderr.String()
	if !strings.Contains(log, fmt.Sprintf("Writing eviction notice for node %d", m.n.ID)) || !strings.Contains(log, "Assuming master role") {
		t.Errorf("log of the other node:\n%s", log)
	}
}

// newBoot is a daemon that does nothing, until the test ends.
func newBoot(t *testing.T) (*boot, *platformtest.Env) {
	t.Helper()
	env := platformtest.NewEnv(t)
	root, err := os.MkdirTemp("", "qd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(root) })
	env.Env.FS, env.Env.Clock = host.NewFS(root), platform.SystemClock{}
	up, ended := make(chan *daemon.Daemon, 1), make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		ended <- daemon.Run(ctx, env.Env, daemon.Config{Name: name, Signals: make(chan os.Signal), Foreground: true, NoConfig: true}, func(_ context.Context, d *daemon.Daemon) error {
			up <- d
			return nil
		})
	}()
	t.Cleanup(func() { cancel(); <-ended })
	select {
	case d := <-up:
		d.Env.FS = host.NewFS("") // the machine's devices
		return &boot{d: d}, env
	case err := <-ended:
		ended <- err
		t.Fatal(err)
	}
	return nil, nil
}
