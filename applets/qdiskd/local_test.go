//go:build linux

package qdiskd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/haobox/haobox/applets/internal/daemon"
	"github.com/haobox/haobox/applets/internal/engine"
	"github.com/haobox/haobox/internal/cluster"
	"github.com/haobox/haobox/internal/quorumdisk"
	"github.com/haobox/haobox/platform"
	"github.com/haobox/haobox/platform/blockdev"
	"github.com/haobox/haobox/platform/host"
	"github.com/haobox/haobox/platform/platformtest"
)

// localPatience bounds the waits of these tests: an emulated machine is slow.
const localPatience = 2 * time.Minute

// localDaemon is a node's qdiskd on the embedded engine.
type localDaemon struct {
	env   *platformtest.Env
	sig   chan os.Signal
	ended chan error
	// watch is what another process of the node sees.
	watch cluster.Engine
}

func (l *localDaemon) votes() string {
	st, err := l.watch.Status(context.Background())
	return fmt.Sprint(st.Total, " of ", st.Expected, ", ", st.Quorate, ", ", st.DeviceName, " ", st.DeviceVotes, ", ", err)
}

func (l *localDaemon) status() (a statusAnswer) {
	_ = daemon.Client(l.env.Env, name).Do(context.Background(), "GET", "/v1/status", nil, &a)
	return a
}

// TestLocal_FileAsDisk: two nodes of the embedded engine with a file as their
// disk elect a master and count its vote, and the other one follows when it leaves
// in order.
func TestLocal_FileAsDisk(t *testing.T) {
	t.Parallel()
	dir := platformtest.ShortDir(t)
	image := filepath.Join(dir, "disk")
	if err := os.WriteFile(image, make([]byte, quorumdisk.MinSize(512)), 0o600); err != nil {
		t.Fatal(err)
	}
	open := func() *blockdev.Device {
		d, err := blockdev.Open(image, blockdev.Options{Write: true, File: 512})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { d.Close() })
		return d
	}
	if err := quorumdisk.Format(open(), quorumdisk.Header{Label: "file"}, 1, nil); err != nil {
		t.Fatal(err)
	}
	local := engine.LocalConfig{Dir: filepath.Join(dir, "bus"), Cluster: "test", DeviceVotes: 1, DeviceTimeout: time.Minute, Expected: 3, Nodes: []engine.LocalNode{
		{Node: cluster.Node{ID: 1, Name: "a"}}, {Node: cluster.Node{ID: 2, Name: "b"}}}}
	start := func(id int) *localDaemon {
		t.Helper()
		l := &localDaemon{env: platformtest.NewEnv(t), sig: make(chan os.Signal), ended: make(chan error, 1)}
		root := filepath.Join(dir, string(rune('0'+id)))
		if err := os.Mkdir(root, 0o700); err != nil {
			t.Fatal(err)
		}
		l.env.Env.FS, l.env.Env.Clock = host.NewFS(root), platform.SystemClock{}
		c := local
		c.Node = cluster.NodeID(id)
		e, err := engine.OpenLocal(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		if l.watch, err = engine.OpenLocal(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.watch.Close() })
		setup := quorumdisk.Setup{Config: quorumdisk.Config{Node: id, Interval: 100 * time.Millisecond, TKO: 20, TKOUp: 2, UpgradeWait: 1, MasterWait: 3,
			Reboot: true, VoteTimeout: time.Minute, Incarnation: uint64(id)}, Votes: 1, Name: "file", StatusFile: "/run/status"}
		up := make(chan error, 1)
		ctx, cancel := context.WithCancel(context.Background())
		go func() {
			l.ended <- daemon.Run(ctx, l.env.Env, daemon.Config{Name: name, Signals: l.sig, Foreground: true, NoConfig: true}, func(ctx context.Context, d *daemon.Daemon) error {
				_, err := newShell(ctx, d, e, setup, open(), machine{reboot: func() error { return errors.Join(errNoReboot, killNode(e)) },
					harden: func(string, int) error { return errors.New("not allowed") }})
				up <- err
				return err
			})
		}()
		t.Cleanup(cancel)
		if err := <-up; err != nil {
			t.Fatal(err)
		}
		return l
	}
	wait := func(what string, done func() bool) {
		t.Helper()
		for deadline := time.Now().Add(localPatience); !done(); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("still not: %s", what)
			}
		}
	}
	all := []*localDaemon{start(1), start(2)}
	master := 0
	wait("both know one master that counts both in", func() bool {
		a, b := all[0].status(), all[1].status()
		master = a.Master
		return master != 0 && b.Master == master && len(a.Quorate) == 2 && len(b.Visible) == 2
	})
	first, other := all[master-1], all[2-master]
	for _, l := range all {
		wait("its vote counts", func() bool { return l.votes() == "3 of 3, true, file 1, <nil>" })
	}
	first.sig <- os.Interrupt
	if err := <-first.ended; err != nil {
		t.Errorf("the master ends with %v", err)
	}
	wait("it took its vote along", func() bool { return first.votes() == "2 of 3, true,  0, <nil>" })
	first.watch.Close()
	wait("the other node is master, and quorate alone", func() bool {
		return other.status().Master == 3-master && other.votes() == "2 of 3, true, file 1, <nil>"
	})
	for _, l := range all {
		if n := strings.Count(l.env.Stderr.String(), "set_priority failed: not allowed"); n != 1 {
			t.Errorf("it is in the log %d times that the machine does not allow priorities", n)
		}
	}
	// Somebody else evicts it: the node goes down, which is its engine here. Its
	// own heartbeat may overwrite a notice.
	disk := open()
	wait("the evicted node goes down", func() bool {
		select {
		case err := <-other.ended:
			if err == nil || !strings.Contains(err.Error(), "evicted by node 7") && !strings.Contains(err.Error(), "the cluster manager is gone") {
				t.Errorf("it ends with %v", err)
			}
			return true
		default:
			notice := quorumdisk.Status{Updater: 7, Node: uint32(3 - master), State: quorumdisk.StateEvicted}
			return quorumdisk.WriteStatus(disk, 3-master, notice) != nil
		}
	})
}
