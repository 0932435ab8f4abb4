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

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/haobox/haobox/internal/quorumdisk"
	"github.com/haobox/haobox/platform/blockdev"
	"github.com/haobox/haobox/platform/blockdev/looptest"
	"github.com/haobox/haobox/platform/platformtest"
)

// counted counts the calls of a disk.
type counted struct {
	*blockdev.Device
	reads, writes int
}

func (c *counted) ReadAt(b []byte, at int64) error { c.reads++; return c.Device.ReadAt(b, at) }

func (c *counted) WriteAt(b []byte, at int64) error { c.writes++; return c.Device.WriteAt(b, at) }

// sixteen is the master of 16 nodes on a loop device; cycle is one cycle of it,
// beat a heartbeat of the others.
func sixteen(t testing.TB, sector int) (d *counted, cycle, beat func()) {
	t.Helper()
	path, _ := looptest.New(t, 1<<20, sector)
	dev, err := blockdev.Open(path, blockdev.Options{Write: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dev.Close() })
	d = &counted{Device: dev}
	if err := quorumdisk.Format(d, quorumdisk.Header{Label: "bench"}, 1, nil); err != nil {
		t.Fatal(err)
	}
	core := quorumdisk.New(quorumdisk.Config{Node: 1, Interval: time.Second, TKO: 4, TKOUp: 2, UpgradeWait: 1, MasterWait: 3, VoteTimeout: 10 * time.Second, Incarnation: 1})
	buf := make([]byte, quorumdisk.ReadAllSize(sector))
	now := quorumdisk.Time{Wall: 1_300_000_000}
	state, seq := quorumdisk.StateNone, uint16(0)
	var step func(ev quorumdisk.Event)
	step = func(ev quorumdisk.Event) {
		for _, a := range core.Step(now, ev) {
			switch a := a.(type) {
			case quorumdisk.ReadDisk:
				step(quorumdisk.Read{Blocks: quorumdisk.ReadAll(d, buf)})
			case quorumdisk.WriteBlock:
				state, seq = a.Status.State, a.Status.Sequence
				step(quorumdisk.Wrote{Node: a.Node, Err: quorumdisk.WriteStatus(d, a.Node, a.Status)})
			case quorumdisk.Register:
				step(quorumdisk.Registered{})
			}
		}
	}
	// The others write by another open file, which nobody counts.
	beat = func() {
		for id := 2; id <= quorumdisk.MaxNodes; id++ {
			s := quorumdisk.Status{Updater: uint32(id), Node: uint32(id), Timestamp: uint64(now.Wall), State: quorumdisk.StateRunning, Incarnation: 5,
				Message: quorumdisk.MessageAck, Argument: 1, Sequence: seq}
			if err := quorumdisk.WriteStatus(dev, id, s); err != nil {
				t.Fatal(err)
			}
		}
	}
	step(quorumdisk.Members{Ring: quorumdisk.Ring{Node: 1, Seq: 4}, Nodes: 0xffff})
	step(quorumdisk.Start{})
	cycle = func() {
		now.Mono += time.Second
		now.Wall++
		step(quorumdisk.Timer{})
	}
	for range 30 {
		if state == quorumdisk.StateMaster {
			return d, cycle, beat
		}
		beat()
		cycle()
	}
	t.Fatal("it does not become master of 16 nodes")
	return nil, nil, nil
}

// TestCycle_Calls: one write and at most two reads for 16 nodes.
func TestCycle_Calls(t *testing.T) {
	t.Parallel()
	for _, sector := range []int{512, 4096} {
		d, cycle, beat := sixteen(t, sector)
		for range 3 {
			beat()
			d.reads, d.writes = 0, 0
			cycle()
			if d.writes != 1 || d.reads < 1 || d.reads > 2 {
				t.Errorf("sectors of %d: %d reads and %d writes", sector, d.reads, d.writes)
			}
		}
	}
}

// BenchmarkCycle is a cycle of a master of 16 nodes on a loop device. The goal
// is 0.5 ms of processor time.
func BenchmarkCycle(b *testing.B) {
	d, cycle, beat := sixteen(b, 512)
	cpu := func() time.Duration {
		var u unix.Rusage
		if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	d.reads, d.writes = 0, 0
	var used time.Duration
	n := 0
	for b.Loop() {
		b.StopTimer()
		beat()
		before := cpu()
		b.StartTimer()
		cycle()
		used += cpu() - before
		n++
	}
	b.ReportMetric(float64(used)/float64(n)/1e6, "cpu-ms/op")
	b.ReportMetric(float64(d.reads)/float64(n), "reads/op")
	b.ReportMetric(float64(d.writes)/float64(n), "writes/op")
}

// TestDisk_Refused: what qdiskd says of disks that it can not use.
func TestDisk_Refused(t *testing.T) {
	t.Parallel()
	make := func(sector int, h *quorumdisk.Header) string {
		path, _ := looptest.New(t, 1<<20, sector)
		if h == nil {
			return path
		}
		d, err := blockdev.Open(path, blockdev.Options{Write: true})
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		if err := quorumdisk.WriteHeader(d, *h, 1); err != nil {
			t.Fatal(err)
		}
		return path
	}
	label := func(s string) string { return fmt.Sprint(s, os.Getpid()) }
	good := make(512, &quorumdisk.Header{Label: label("good"), Version2: true, SectorSize: 512})
	make(512, &quorumdisk.Header{Label: label("twice"), Version2: true, SectorSize: 512})
	make(512, &quorumdisk.Header{Label: label("twice"), Version2: true, SectorSize: 512})
	sectorsAt := make(4096, &quorumdisk.Header{Label: label("sectors"), Version2: true, SectorSize: 512})
	sectors := make(4096, &quorumdisk.Header{Version2: true, SectorSize: 512})
	blank := make(512, nil)
	readOnly := make(512, &quorumdisk.Header{Version2: true, SectorSize: 512})
	setReadOnly(t, readOnly)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, device, label string
		want                string
		log                 string
	}{
		{"a good label", "", label("good"), "", "Quorum Partition: " + good + " Label: " + label("good")},
		{"a good device", good, "", "", ""},
		{"an unknown label", "", label("none"), "Unable to match label '" + label("none") + "' to any device", ""},
		{"a label for another sector size", "", label("sectors"), "Unable to match label", sectorsAt + ": the sector size recorded on the disk is not that of the device: 512, not 4096"},
		{"two with the same label", "", label("twice"), "", "2 matches found for label '" + label("twice") + "'; please use 'device=' instead!"},
		{"a device for another sector size", sectors, "", "Specified device " + sectors + " does not match kernel's reported sector size (512 != 4096)", ""},
		{"a blank device", blank, "", "Specified partition " + blank + " does not have a qdisk label", ""},
		{"a read-only device", readOnly, "", "the device is read-only", ""},
		{"a file", file, "", "not a block device", ""},
		{"nothing", file + "x", "", "no such file", ""},
	} {
		b, env := newBoot(t)
		d, err := b.disk(&quorumdisk.Setup{Device: tc.device, Label: tc.label}, false)
		if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", tc.name, err, tc.want)
		}
		if !strings.Contains(env.Stderr.String(), tc.log) {
			t.Errorf("%s: no line %q in %q", tc.name, tc.log, env.Stderr)
		}
		if d != nil {
			d.(*blockdev.Device).Close()
		}
	}
}

// TestLeave is stop_cman without a disk: the node leaves the cluster, and if it
// cannot it goes down.
func TestLeave(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name        string
		left, after error
		want        []string
	}{
		{"it leaves", nil, nil, []string{"leave"}},
		{"it can not leave", errors.New("nobody there"), errNoReboot, []string{"leave", "reboot"}},
	} {
		b, env := newBoot(t)
		clock := platformtest.NewClock()
		b.d.Env.Clock = clock
		var got []string
		err := b.leave(t.Context(), machine{
			leave:  func(context.Context) error { got = append(got, "leave"); return tc.left },
			reboot: func() error { got = append(got, "reboot"); return errNoReboot },
		})
		if diff := cmp.Diff(tc.want, got); diff != "" || !errors.Is(err, tc.after) {
			t.Errorf("%s: %v (-want +got):\n%s", tc.name, err, diff)
		}
		if rebooted := tc.after != nil; rebooted != strings.Contains(env.Stderr.String(), "Could not leave the cluster - rebooting: nobody there") || rebooted != (clock.Slept == rebootPause) {
			t.Errorf("%s: after %v its log is %q", tc.name, clock.Slept, env.Stderr)
		}
	}
}

// setReadOnly makes the kernel refuse writes (BLKROSET of linux/fs.h) until the
// end of the test: the next user of the loop device would find it so.
func setReadOnly(t *testing.T, path string) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(f.Fd()), unix.BLKROSET, 1); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		defer f.Close()
		if err := unix.IoctlSetPointerInt(int(f.Fd()), unix.BLKROSET, 0); err != nil {
			t.Error(err)
		}
	})
}
