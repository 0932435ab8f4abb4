//go:build linux

package corosync_test

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/haobox/haobox/platform/corosync"
	"github.com/haobox/haobox/platform/corosync/corotest"
)

// limited is a context for one test step: it only ends when something hangs.
func limited(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), corotest.Patience)
	t.Cleanup(cancel)
	return ctx
}

// in dials inside a node.
func in[C interface{ Close() error }](t *testing.T, n *corotest.Node, dial func(context.Context, corosync.Config) (C, error), cfg corosync.Config) C {
	t.Helper()
	var c C
	if err := n.In(func() (err error) { c, err = dial(limited(t), cfg); return err }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// both runs f with daemons that use rings and with daemons that use sockets.
func both(t *testing.T, o corotest.Options, f func(t *testing.T, c *corotest.Cluster)) {
	for _, sockets := range []bool{false, true} {
		name := "rings"
		if sockets {
			name = "sockets"
		}
		t.Run(name, func(t *testing.T) {
			o := o
			o.Sockets = sockets
			f(t, corotest.Start(t, o))
		})
	}
}

func TestServices_Answer(t *testing.T) {
	corotest.Need(t)
	both(t, corotest.Options{Nodes: 2}, func(t *testing.T, c *corotest.Cluster) {
		ctx := limited(t)
		n := c.Nodes[0]

		m := in(t, n, corosync.DialCMap, corosync.Config{})
		name, err := m.String(ctx, "totem.cluster_name")
		if err != nil || name != "corotest" {
			t.Errorf("cluster name %q, %v", name, err)
		}
		if tok, err := m.Uint(ctx, "runtime.config.totem.token"); err != nil || tok != 1000 {
			t.Errorf("token %d, %v", tok, err)
		}
		if _, err := m.Get(ctx, "no.such.key"); !errors.Is(err, corosync.ErrNotExist) {
			t.Errorf("missing key: %v", err)
		}
		if err := m.Set(ctx, "nodelist.node.0.name", corosync.Text("x")); !errors.Is(err, corosync.ErrAccess) {
			t.Errorf("read-only key: %v", err)
		}
		if _, err := m.Track(ctx, "haobox.", corosync.Prefix|corosync.Added|corosync.Modified|corosync.Deleted, 42); err != nil {
			t.Fatal(err)
		}
		long := strings.Repeat("z", 16000)
		for _, step := range []error{
			m.Set(ctx, "haobox.test", corosync.Text("one")), m.Set(ctx, "haobox.test", corosync.Text(long)),
			m.Set(ctx, "haobox.number", corosync.Number(7)), m.Adjust(ctx, "haobox.number", -2),
		} {
			if step != nil {
				t.Fatal(step)
			}
		}
		keys, err := m.Keys(ctx, "haobox.")
		if diff := cmp.Diff([]string{"haobox.number", "haobox.test"}, keys); diff != "" || err != nil {
			t.Errorf("keys (-want +got):\n%s%v", diff, err)
		}
		if v, err := m.String(ctx, "haobox.test"); v != long || err != nil {
			t.Errorf("long value: %d bytes, %v", len(v), err)
		}
		if err := m.Delete(ctx, "haobox.test"); err != nil {
			t.Error(err)
		}
		var got []string
		for range 5 {
			ch, err := m.Next(ctx)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, fmt.Sprintf("%d %d %s %.3s %.3s", ch.Cookie, ch.Kind, ch.Key, ch.Old, ch.New))
		}
		want := []string{"42 4 haobox.test  one", "42 2 haobox.test one zzz", "42 4 haobox.number  7", "42 2 haobox.number 7 5", "42 1 haobox.test zzz "}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("changes (-want +got):\n%s", diff)
		}
		st := in(t, n, corosync.DialCMap, corosync.Config{})
		if err := st.Statistics(ctx); err != nil {
			t.Error(err)
		}
		if keys, err := st.Keys(ctx, "stats.srp."); err != nil || len(keys) == 0 {
			t.Errorf("statistics: %d keys, %v", len(keys), err)
		}

		g := in(t, n, corosync.DialCfg, corosync.Config{})
		if id, err := g.LocalNode(ctx); id != 1 || err != nil {
			t.Errorf("local node %d, %v", id, err)
		}
		c.Eventually("both links up", func() error {
			links, err := g.Links(ctx)
			if diff := cmp.Diff([]corosync.Link{{Name: "0 10.77.0.1", Status: "n3"}}, links); err != nil || diff != "" {
				return fmt.Errorf("links (-want +got):\n%s%v", diff, err)
			}
			return nil
		})
		if a, err := g.Addresses(ctx, 2); err != nil || fmt.Sprint(a) != "[10.77.0.2]" {
			t.Errorf("addresses of node 2: %v, %v", a, err)
		}
		node, err := g.Node(ctx, 2)
		if err != nil || !node.Reachable || len(node.Links) != 1 || node.Links[0].Destination != "10.77.0.2" || !node.Links[0].Connected {
			t.Errorf("state of node 2: %+v, %v", node, err)
		}
		if err := g.Kill(ctx, 9, "test"); !errors.Is(err, corosync.ErrNotExist) {
			t.Errorf("kill a stranger: %v", err)
		}
		if err := g.ReopenLogs(ctx); err != nil {
			t.Error(err)
		}

		q := in(t, n, corosync.DialQuorum, corosync.Config{})
		if yes, err := q.Quorate(ctx); !yes || err != nil {
			t.Errorf("quorate %v, %v", yes, err)
		}
		if yes, err := q.HasProvider(ctx); !yes || err != nil {
			t.Errorf("provider %v, %v", yes, err)
		}
		if err := q.Track(ctx); err != nil {
			t.Fatal(err)
		}
		seen := map[string]bool{}
		for len(seen) < 2 {
			ev, err := q.Next(ctx)
			if err != nil {
				t.Fatal(err)
			}
			switch ev := ev.(type) {
			case corosync.QuorumState:
				seen["state"] = ev.Quorate && cmp.Equal(ev.Members, []uint32{1, 2}) && ev.Ring.Node == 1
			case corosync.RingChange:
				seen["ring"] = cmp.Equal(ev.Members, []uint32{1, 2}) && ev.Ring.Seq > 0
			}
		}
		if !seen["state"] || !seen["ring"] {
			t.Errorf("events of the present state: %v", seen)
		}
		if err := q.Untrack(ctx); err != nil {
			t.Error(err)
		}

		v := in(t, n, corosync.DialVoteQuorum, corosync.Config{})
		info, err := v.Info(ctx, 0)
		wantInfo := corosync.VoteInfo{Node: 1, State: corosync.NodeMember, Votes: 1, Expected: 2, HighestExpected: 2, Total: 2, Quorum: 2, Flags: corosync.FlagQuorate}
		if diff := cmp.Diff(wantInfo, info); diff != "" || err != nil {
			t.Errorf("votes (-want +got):\n%s%v", diff, err)
		}
		if _, err := v.Info(ctx, 77); !errors.Is(err, corosync.ErrNotExist) {
			t.Errorf("votes of a stranger: %v", err)
		}
		if err := v.SetExpected(ctx, 1); !errors.Is(err, corosync.ErrInvalidParam) {
			t.Errorf("expected below total: %v", err)
		}
		if err := v.SetVotes(ctx, 77, 1); !errors.Is(err, corosync.ErrNameNotFound) {
			t.Errorf("votes for a stranger: %v", err)
		}
		if err := v.Track(ctx); err != nil {
			t.Fatal(err)
		}
		if err := v.SetVotes(ctx, 2, 3); err != nil {
			t.Error(err)
		}
		c.Eventually("votes of node 2", func() error {
			info, err := v.Info(ctx, 2)
			if err != nil || info.Votes != 3 {
				return fmt.Errorf("%+v, %v", info, err)
			}
			return nil
		})
		if err := v.Untrack(ctx); err != nil {
			t.Error(err)
		}
		// corosync 3.1.7 registers a device without a section for it; what
		// it gets is no votes.
		if err := v.RegisterDevice(ctx, "x"); err != nil {
			t.Errorf("device without a section in the configuration: %v", err)
		}
		if info, err := v.Info(ctx, 0); err != nil || info.DeviceVotes != 0 {
			t.Errorf("device without a section in the configuration: %+v, %v", info, err)
		}

		p := in(t, n, corosync.DialCPG, corosync.Config{})
		if err := p.Join(ctx, "haobox:test", 0); err != nil {
			t.Fatal(err)
		}
		if err := p.Join(ctx, "haobox:other", 0); !errors.Is(err, corosync.ErrExist) {
			t.Errorf("second group on a connection: %v", err)
		}
		group{p, t}.members(1)
		if got, err := p.Members(ctx, "haobox:test"); err != nil || len(got) != 1 || got[0] != (corosync.Process{Node: 1, PID: uint32(os.Getpid())}) {
			t.Errorf("members %v, %v", got, err)
		}
		if got, err := p.Groups(ctx); err != nil || len(got) != 1 || got[0].Group != "haobox:test" {
			t.Errorf("groups %v, %v", got, err)
		}
		if id, err := p.LocalNode(ctx); id != 1 || err != nil {
			t.Errorf("local node %d, %v", id, err)
		}
		if err := p.Leave(ctx, "haobox:test", 0); err != nil {
			t.Error(err)
		}
		if err := p.Finalize(ctx); err != nil {
			t.Error(err)
		}
	})
}

func TestDial_WithoutDaemon(t *testing.T) {
	corotest.Need(t)
	c := corotest.Start(t, corotest.Options{Idle: true})
	err := c.Nodes[0].In(func() error {
		_, err := corosync.DialCfg(limited(t), corosync.Config{})
		return err
	})
	if !errors.Is(err, corosync.ErrNotRunning) {
		t.Errorf("got %v, want ErrNotRunning", err)
	}
}

// TestDial_RefusesStrangers: another user gets a clear answer, and neither
// files nor sockets stay behind.
func TestDial_RefusesStrangers(t *testing.T) {
	corotest.Need(t)
	c := corotest.Start(t, corotest.Options{})
	err := c.Nodes[0].In(func() error {
		// Only this thread changes its user: the raw system calls do not go
		// through the runtime.
		for _, call := range [][4]uintptr{{syscall.SYS_SETGROUPS, 0, 0, 0}, {syscall.SYS_SETRESGID, 65534, 65534, 65534}, {syscall.SYS_SETRESUID, 65534, 65534, 65534}} {
			if _, _, e := syscall.RawSyscall(call[0], call[1], call[2], call[3]); e != 0 {
				return e
			}
		}
		_, err := corosync.DialCfg(limited(t), corosync.Config{})
		return err
	})
	if !errors.Is(err, corosync.ErrNotAllowed) {
		t.Errorf("got %v, want ErrNotAllowed", err)
	}
}

// TestDial_DistrustsStrangers: a listener of another user is not believed.
func TestDial_DistrustsStrangers(t *testing.T) {
	corotest.Need(t)
	c := corotest.Start(t, corotest.Options{Idle: true})
	listening := make(chan error, 1)
	go func() {
		listening <- c.Nodes[0].In(func() error {
			if _, _, e := syscall.RawSyscall(syscall.SYS_SETRESUID, 65534, 65534, 65534); e != 0 {
				return e
			}
			l, err := net.Listen("unix", corosync.Address("cmap"))
			if err == nil {
				t.Cleanup(func() { l.Close() })
			}
			return err
		})
	}()
	if err := <-listening; err != nil {
		t.Fatal(err)
	}
	err := c.Nodes[0].In(func() error {
		_, err := corosync.DialCMap(limited(t), corosync.Config{})
		return err
	})
	if !errors.Is(err, corosync.ErrNotDaemon) {
		t.Errorf("got %v, want ErrNotDaemon", err)
	}
}

// descriptors counts this process's open files.
func descriptors(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

// mappings counts the rings that this process has mapped.
func mappings(t *testing.T) int {
	t.Helper()
	b, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(b), "/dev/shm/qb-")
}

// TestConn_LeaksNothing makes 1,000 connections and counts what is left.
func TestConn_LeaksNothing(t *testing.T) {
	corotest.Need(t)
	both(t, corotest.Options{}, func(t *testing.T, c *corotest.Cluster) {
		n := c.Nodes[0]
		round := func(count int) {
			err := n.In(func() error {
				for i := range count {
					var (
						conn interface{ Close() error }
						err  error
					)
					switch i % 3 {
					case 0:
						conn, err = corosync.DialCPG(limited(t), corosync.Config{})
						if err == nil {
							err = conn.(*corosync.CPG).Join(limited(t), "haobox:leak", uint32(i+1))
						}
					case 1:
						conn, err = corosync.DialQuorum(limited(t), corosync.Config{})
						if err == nil {
							err = conn.(*corosync.Quorum).Track(limited(t))
						}
					default:
						conn, err = corosync.DialCMap(limited(t), corosync.Config{})
					}
					if err != nil {
						return fmt.Errorf("connection %d: %w", i, err)
					}
					conn.Close()
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		round(20) // whatever is made once
		fds, maps := descriptors(t), mappings(t)
		goroutines := runtime.NumGoroutine()
		round(1000)
		c.Eventually("goroutines ended", func() error {
			if g := runtime.NumGoroutine(); g > goroutines {
				return fmt.Errorf("%d goroutines, %d before", g, goroutines)
			}
			return nil
		})
		if got := descriptors(t); got > fds {
			t.Errorf("%d descriptors, %d before", got, fds)
		}
		if got := mappings(t); got > maps {
			t.Errorf("%d mappings, %d before", got, maps)
		}
		// The daemon removes its files as well.
		c.Eventually("no files left", func() error {
			out, err := n.Command("sh", "-c", "ls /dev/shm | grep -v blackbox | grep qb- | wc -l").Output()
			if s := strings.TrimSpace(string(out)); err != nil || s != "0" {
				return fmt.Errorf("%s folders, %v", s, err)
			}
			return nil
		})
	})
}

// group is a member of a group and what it saw.
type group struct {
	*corosync.CPG
	t *testing.T
}

// pids gives each membership of this process a name of its own.
var pids atomic.Uint32

func join(t *testing.T, n *corotest.Node, name string) group {
	t.Helper()
	g := group{in(t, n, corosync.DialCPG, corosync.Config{}), t}
	if err := g.Join(limited(t), name, 1000+pids.Add(1)); err != nil {
		t.Fatal(err)
	}
	return g
}

// until reads events until want says so.
func (g group) until(want func(corosync.CPGEvent) bool) corosync.CPGEvent {
	g.t.Helper()
	ctx := limited(g.t)
	for {
		ev, err := g.Next(ctx)
		if err != nil {
			g.t.Fatal(err)
		}
		if want(ev) {
			return ev
		}
	}
}

// members waits for a change that leaves n members.
func (g group) members(n int) corosync.ConfChg {
	g.t.Helper()
	return g.until(func(ev corosync.CPGEvent) bool {
		c, is := ev.(corosync.ConfChg)
		return is && len(c.Members) == n
	}).(corosync.ConfChg)
}

func TestCPG_AgreedOrder(t *testing.T) {
	corotest.Need(t)
	const each = 5000
	both(t, corotest.Options{Nodes: 2}, func(t *testing.T, c *corotest.Cluster) {
		a, b := join(t, c.Nodes[0], "haobox:order"), join(t, c.Nodes[1], "haobox:order")
		a.members(2)
		var wg sync.WaitGroup
		var sums [2][]byte
		for i, g := range []group{a, b} {
			wg.Add(2)
			go func() {
				defer wg.Done()
				rng := rand.New(rand.NewPCG(1, uint64(i)))
				for k := range each {
					msg := make([]byte, 8+rng.IntN(1500))
					binary.BigEndian.PutUint64(msg, uint64(k))
					if err := g.Multicast(limited(t), msg); err != nil {
						t.Error(err)
						return
					}
				}
			}()
			go func() {
				defer wg.Done()
				h := sha256.New()
				var next [3]uint64
				for got := 0; got < 2*each; {
					ev, err := g.Next(limited(t))
					if err != nil {
						t.Error(err)
						return
					}
					m, is := ev.(corosync.Message)
					if !is {
						continue
					}
					got++
					if k := binary.BigEndian.Uint64(m.Payload); k != next[m.From.Node] {
						t.Errorf("node %d: message %d of node %d, want %d", i+1, k, m.From.Node, next[m.From.Node])
						return
					}
					next[m.From.Node]++
					fmt.Fprintf(h, "%d %x\n", m.From.Node, m.Payload)
				}
				sums[i] = h.Sum(nil)
			}()
		}
		wg.Wait()
		if diff := cmp.Diff(sums[0], sums[1]); diff != "" {
			t.Errorf("the orders differ (-node 1 +node 2):\n%s", diff)
		}
	})
}

func TestCPG_BigMessages(t *testing.T) {
	corotest.Need(t)
	both(t, corotest.Options{Nodes: 2}, func(t *testing.T, c *corotest.Cluster) {
		a, b := join(t, c.Nodes[0], "haobox:big"), join(t, c.Nodes[1], "haobox:big")
		a.members(2)
		rng := rand.NewChaCha8([32]byte{1})
		for _, size := range []int{0, 1, 100 << 10, corosync.FragmentSize, corosync.FragmentSize + 1, 5 << 20} {
			msg := make([]byte, size)
			rng.Read(msg)
			sent := make(chan error, 1)
			go func() { sent <- a.Multicast(limited(t), msg) }()
			for i, g := range []group{a, b} {
				got := g.until(func(ev corosync.CPGEvent) bool { _, is := ev.(corosync.Message); return is }).(corosync.Message)
				if sha256.Sum256(got.Payload) != sha256.Sum256(msg) || got.From.Node != 1 {
					t.Errorf("%d bytes: node %d got %d bytes from node %d", size, i+1, len(got.Payload), got.From.Node)
				}
			}
			if err := <-sent; err != nil {
				t.Fatal(err)
			}
		}
		if err := a.Multicast(limited(t), make([]byte, corosync.MaxMessage+1)); !errors.Is(err, corosync.ErrTooBig) {
			t.Errorf("beyond the limit: %v", err)
		}
	})
}

// TestCPG_NodesComeAndGo: what a survivor sees of each way to go.
func TestCPG_NodesComeAndGo(t *testing.T) {
	corotest.Need(t)
	c := corotest.Start(t, corotest.Options{Nodes: 2, Quorum: []string{"two_node: 1", "wait_for_all: 0"}})
	one, two := c.Nodes[0], c.Nodes[1]
	a := join(t, one, "haobox:go")
	a.members(1)

	left := func(want corosync.Reason) {
		t.Helper()
		ev := a.members(1)
		if len(ev.Left) != 1 || ev.Left[0].Node != 2 || ev.Left[0].Reason != want {
			t.Errorf("left %v, want node 2 by %v", ev.Left, want)
		}
	}
	b := join(t, two, "haobox:go")
	a.members(2)
	b.Close()
	left(corosync.ReasonProcDown)

	b = join(t, two, "haobox:go")
	a.members(2)
	b.members(2)
	if err := b.Leave(limited(t), "haobox:go", 1000+pids.Load()); err != nil {
		t.Fatal(err)
	}
	left(corosync.ReasonLeave)
	if own := b.members(1); len(own.Left) != 1 || own.Left[0].Node != 2 || own.Members[0].Node != 1 {
		t.Errorf("the leaver itself: %+v", own)
	}

	b = join(t, two, "haobox:go")
	a.members(2)
	two.Kill()
	left(corosync.ReasonNodeDown)
	for {
		if _, err := b.Next(limited(t)); err != nil {
			if !errors.Is(err, corosync.ErrLost) {
				t.Errorf("client of a killed daemon: %v", err)
			}
			break
		}
	}
	two.Start()
	two.WaitMembers(2)

	join(t, two, "haobox:go")
	a.members(2)
	two.Stop()
	left(corosync.ReasonProcDown)
	two.Start()
	two.WaitMembers(2)

	// A frozen daemon is declared failed, and comes back as it was.
	b = join(t, two, "haobox:go")
	a.members(2)
	b.members(2)
	two.Freeze()
	left(corosync.ReasonNodeDown)
	two.Thaw()
	if ev := a.members(2); len(ev.Joined) != 1 || ev.Joined[0].Reason != corosync.ReasonNodeUp {
		t.Errorf("after the thaw: joined %v", ev.Joined)
	}
	if ev := b.members(1); len(ev.Left) != 1 || ev.Left[0].Reason != corosync.ReasonNodeDown {
		t.Errorf("the frozen node itself: left %v", ev.Left)
	}
	b.members(2)

	// A cut cable is the same for both.
	two.Cut()
	left(corosync.ReasonNodeDown)
	b.members(1)
	two.Heal()
	a.members(2)
	b.members(2)

	// Killed by its peer, it exits without a word.
	g := in(t, one, corosync.DialCfg, corosync.Config{})
	if err := g.Kill(limited(t), 2, "test"); err != nil {
		t.Fatal(err)
	}
	left(corosync.ReasonNodeDown)
	two.Wait()
}

// TestConn_FrozenDaemon: a call has a limit, and the connection is of no use
// afterwards.
func TestConn_FrozenDaemon(t *testing.T) {
	corotest.Need(t)
	both(t, corotest.Options{}, func(t *testing.T, c *corotest.Cluster) {
		n := c.Nodes[0]
		g := in(t, n, corosync.DialCfg, corosync.Config{Limit: 2 * time.Second})
		cancelled := in(t, n, corosync.DialCfg, corosync.Config{})
		n.Freeze()
		if _, err := g.LocalNode(limited(t)); !errors.Is(err, corosync.ErrTimeout) {
			t.Errorf("call to a frozen daemon: %v", err)
		}
		if _, err := g.LocalNode(limited(t)); !errors.Is(err, corosync.ErrTimeout) {
			t.Errorf("next call: %v", err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
		defer cancel()
		if _, err := cancelled.LocalNode(ctx); err == nil {
			t.Error("a cancelled call succeeded")
		}
		err := n.In(func() error {
			_, err := corosync.DialCfg(limited(t), corosync.Config{Limit: 300 * time.Millisecond})
			return err
		})
		if !errors.Is(err, corosync.ErrTimeout) {
			t.Errorf("connect to a frozen daemon: %v", err)
		}
		n.Thaw()
		again := in(t, n, corosync.DialCfg, corosync.Config{})
		if id, err := again.LocalNode(limited(t)); id != 1 || err != nil {
			t.Errorf("after the thaw: node %d, %v", id, err)
		}
	})
}

// TestConn_DaemonDiesInACall: the caller does not wait for its limit.
func TestConn_DaemonDiesInACall(t *testing.T) {
	corotest.Need(t)
	both(t, corotest.Options{}, func(t *testing.T, c *corotest.Cluster) {
		n := c.Nodes[0]
		g := in(t, n, corosync.DialCfg, corosync.Config{Limit: time.Hour})
		n.Freeze()
		got := make(chan error, 1)
		go func() {
			_, err := g.LocalNode(context.Background())
			got <- err
		}()
		n.Kill()
		select {
		case err := <-got:
			if !errors.Is(err, corosync.ErrLost) {
				t.Errorf("got %v, want ErrLost", err)
			}
		case <-limited(t).Done():
			t.Error("the call still waits")
		}
		<-g.Done()
		if !errors.Is(g.Err(), corosync.ErrLost) {
			t.Errorf("Err() = %v", g.Err())
		}
	})
}

// TestConn_CleansUpAfterACrash: the files of a killed daemon's connections go,
// those of clean ends too.
func TestConn_CleansUpAfterACrash(t *testing.T) {
	corotest.Need(t)
	if os.Getenv("COROTEST_INSIDE") == "1" {
		insideCrash(t)
		return
	}
	both(t, corotest.Options{}, func(t *testing.T, c *corotest.Cluster) {
		n := c.Nodes[0]
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		cmd := n.Command(self, "-test.run=^TestConn_CleansUpAfterACrash$")
		cmd.Env = append(os.Environ(), "COROTEST_INSIDE=1", fmt.Sprintf("COROTEST_PID=%d", n.PID))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	})
}

// insideCrash runs as a process of the node: it kills the daemon and looks at
// /dev/shm.
func insideCrash(t *testing.T) {
	var pid int
	fmt.Sscan(os.Getenv("COROTEST_PID"), &pid)
	ctx := limited(t)
	m, err := corosync.DialCMap(ctx, corosync.Config{})
	if err != nil {
		t.Fatal(err)
	}
	p, err := corosync.DialCPG(ctx, corosync.Config{})
	if err != nil {
		t.Fatal(err)
	}
	before, _ := filepath.Glob("/dev/shm/qb-*-*/*")
	if len(before) == 0 {
		t.Error("no files of two connections in /dev/shm")
	}
	if m.DaemonPID() != pid {
		t.Errorf("daemon pid %d, want %d", m.DaemonPID(), pid)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	m.Close() // races with the end of the daemon: whoever sees it cleans up
	<-p.Done()
	p.Close()
	after, _ := filepath.Glob("/dev/shm/qb-*-*/qb-*-cpg-*")
	if len(after) != 0 {
		t.Errorf("left behind: %v", after)
	}
}

// TestQDevice_Votes: the device of this node adds its votes while it is
// polled, and keeps the survivor quorate.
func TestQDevice_Votes(t *testing.T) {
	corotest.Need(t)
	const name = "/dev/disk/by-id/dasd-qdisk"
	c := corotest.Start(t, corotest.Options{Nodes: 2, Quorum: []string{
		"device {", "  model: haobox", "  votes: 1", "  timeout: 3000", "  sync_timeout: 5000", "}"}})
	ctx := limited(t)
	v := in(t, c.Nodes[0], corosync.DialVoteQuorum, corosync.Config{})
	if err := v.Track(ctx); err != nil {
		t.Fatal(err)
	}
	if err := v.RegisterDevice(ctx, name); err != nil {
		t.Fatal(err)
	}
	if err := v.RegisterDevice(ctx, name); err != nil {
		t.Errorf("again: %v", err)
	}
	if err := v.RegisterDevice(ctx, "other"); !errors.Is(err, corosync.ErrExist) {
		t.Errorf("another name: %v", err)
	}
	nodes := func(want int) corosync.RingID {
		t.Helper()
		for {
			ev, err := v.Next(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if r, is := ev.(corosync.VoteNodes); is && len(r.Members) == want {
				return r.Ring
			}
		}
	}
	ring := nodes(2)
	if err := v.PollDevice(ctx, name, true, corosync.RingID{Node: 9, Seq: 9}); !errors.Is(err, corosync.ErrMessage) {
		t.Errorf("poll with a wrong ring: %v", err)
	}
	if err := v.PollDevice(ctx, name, true, ring); err != nil {
		t.Fatal(err)
	}
	if err := v.MasterWins(ctx, name, true); err != nil {
		t.Error(err)
	}
	info, err := v.Info(ctx, 0)
	want := corosync.FlagQuorate | corosync.FlagDeviceRegistered | corosync.FlagDeviceAlive | corosync.FlagDeviceCasts | corosync.FlagDeviceMasterWins
	if err != nil || info.Total != 3 || info.DeviceVotes != 1 || info.DeviceName != name || info.Flags != want {
		t.Errorf("votes with the device: %+v, %v", info, err)
	}

	// The peer dies; the poll with the new ring keeps quorum.
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Add(1)
	go func() { // the old ring is polled until the new one is known
		defer wg.Done()
		for tick := time.NewTicker(500 * time.Millisecond); ; {
			select {
			case <-tick.C:
				if err := v.PollDevice(ctx, name, true, ring); err != nil && !errors.Is(err, corosync.ErrMessage) {
					t.Error(err)
				}
			case <-stop:
				return
			}
		}
	}()
	c.Nodes[1].Kill()
	newRing := nodes(1)
	close(stop)
	wg.Wait()
	if err := v.PollDevice(ctx, name, true, newRing); err != nil {
		t.Fatal(err)
	}
	q := in(t, c.Nodes[0], corosync.DialQuorum, corosync.Config{})
	if yes, err := q.Quorate(ctx); !yes || err != nil {
		t.Errorf("the survivor with the device: quorate %v, %v", yes, err)
	}
	if err := v.RenameDevice(ctx, name, "renamed"); err != nil {
		t.Error(err)
	}
	c.Eventually("the new name", func() error {
		if info, err := v.Info(ctx, 0); err != nil || info.DeviceName != "renamed" {
			return fmt.Errorf("%+v, %v", info, err)
		}
		return nil
	})
	if err := v.UnregisterDevice(ctx, "renamed"); err != nil {
		t.Error(err)
	}
	c.Eventually("quorum lost without the device", func() error {
		if yes, err := q.Quorate(ctx); yes || err != nil {
			return fmt.Errorf("quorate %v, %v", yes, err)
		}
		return nil
	})
}

// TestCfg_Shutdown: a tracker can refuse an ordered stop, and a client of the
// stopped daemon hears of it.
func TestCfg_Shutdown(t *testing.T) {
	corotest.Need(t)
	c := corotest.Start(t, corotest.Options{})
	ctx := limited(t)
	n := c.Nodes[0]
	tracker, asker := in(t, n, corosync.DialCfg, corosync.Config{}), in(t, n, corosync.DialCfg, corosync.Config{})
	if err := tracker.TrackShutdown(ctx); err != nil {
		t.Fatal(err)
	}
	answer := func(how corosync.Shutdown, yes bool) error {
		t.Helper()
		done := make(chan error, 1)
		go func() { done <- asker.TryShutdown(ctx, how) }()
		ev, err := tracker.Next(ctx)
		if err != nil || ev.How != how {
			t.Errorf("asked %+v, %v", ev, err)
		}
		if err := tracker.ReplyToShutdown(ctx, yes); err != nil {
			t.Error(err)
		}
		return <-done
	}
	if err := answer(corosync.ShutdownRequest, false); !errors.Is(err, corosync.ErrBusy) {
		t.Errorf("refused stop: %v", err)
	}
	if err := asker.Reload(ctx); err != nil {
		t.Errorf("reload: %v", err)
	}
	if err := answer(corosync.ShutdownRequest, true); err != nil && !errors.Is(err, corosync.ErrLost) {
		t.Errorf("agreed stop: %v", err)
	}
	n.Wait()
	<-tracker.Done()
}

// TestBeside_CTools runs next to the daemon's own tools, which use the same
// services.
func TestBeside_CTools(t *testing.T) {
	corotest.Need(t)
	c := corotest.Start(t, corotest.Options{Nodes: 2})
	a := join(t, c.Nodes[0], "haobox:beside")
	a.members(1)
	m := in(t, c.Nodes[0], corosync.DialCMap, corosync.Config{})
	if err := m.Set(limited(t), "haobox.beside", corosync.Text("here")); err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct{ cmd, want string }{
		{"corosync-quorumtool -s", "Quorate:          Yes"},
		{"corosync-cfgtool -s", "10.77.0.1"},
		{"corosync-cmapctl haobox.beside", "haobox.beside (str) = here"},
		{"corosync-cpgtool", "haobox:beside"},
	} {
		args := strings.Fields(x.cmd)
		out, err := c.Nodes[0].Command(args[0], args[1:]...).CombinedOutput()
		if err != nil || !strings.Contains(string(out), x.want) {
			t.Errorf("%s: %v, want %q in\n%s", x.cmd, err, x.want, out)
		}
	}
	if err := a.Multicast(limited(t), []byte("still here")); err != nil {
		t.Error(err)
	}
	a.until(func(ev corosync.CPGEvent) bool { _, is := ev.(corosync.Message); return is })
}

// TestBeside_Pacemaker runs groups next to a Pacemaker on the same corosync:
// it becomes one cluster with a leader, and the groups go on.
func TestBeside_Pacemaker(t *testing.T) {
	corotest.Need(t)
	if _, err := exec.LookPath("pacemakerd"); err != nil {
		t.Fatal("pacemakerd is not installed: tools/setup does it")
	}
	c := corotest.Start(t, corotest.Options{Nodes: 2, Quorum: []string{"two_node: 1", "wait_for_all: 0"}})
	a, b := join(t, c.Nodes[0], "haobox:beside"), join(t, c.Nodes[1], "haobox:beside")
	a.members(2)
	for _, n := range c.Nodes {
		n.Daemon("mkdir -p /run/pm/lib /run/pm/log; chown -R hacluster:haclient /run/pm\n" +
			"mkdir -p /run/crm /run/pacemaker; chown hacluster:haclient /run/crm /run/pacemaker\n" +
			"mount --bind /run/pm/lib /var/lib/pacemaker; mount --bind /run/pm/log /var/log/pacemaker\n" +
			"mkdir /run/pm/lib/blackbox /run/pm/lib/cib /run/pm/lib/cores /run/pm/lib/pengine; chown -R hacluster:haclient /run/pm\n" +
			"exec pacemakerd -f")
	}
	c.Eventually("pacemaker is one cluster", func() error {
		out, err := c.Nodes[0].Command("crm_mon", "-1").CombinedOutput()
		if err != nil || !strings.Contains(string(out), "Online: [ n1 n2 ]") {
			return fmt.Errorf("%v: %s", err, out)
		}
		return nil
	})
	for i := range 100 {
		if err := a.Multicast(limited(t), fmt.Append(nil, i)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 100 {
		m := b.until(func(ev corosync.CPGEvent) bool { _, is := ev.(corosync.Message); return is }).(corosync.Message)
		if string(m.Payload) != fmt.Sprint(i) {
			t.Fatalf("message %q, want %d", m.Payload, i)
		}
	}
	g, err := a.Groups(limited(t))
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]int{}
	for _, m := range g {
		names[strings.TrimRight(m.Group, "\x00")]++ // Pacemaker counts the end of the string
	}
	if names["haobox:beside"] != 2 || names["crmd"] != 2 {
		t.Errorf("groups %v", names)
	}
}
