//go:build linux

package qdiskd

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/haobox/haobox/internal/clusterconf"
	"github.com/haobox/haobox/internal/cmdtest"
	"github.com/haobox/haobox/internal/quorumdisk"
	"github.com/haobox/haobox/platform/blockdev"
	"github.com/haobox/haobox/platform/blockdev/looptest"
	"github.com/haobox/haobox/platform/corosync/corotest"
)

// BenchmarkCycle_Memory is the running daemon on a real corosync, with 16 nodes
// that write heartbeats: what it has resident and, of that, locked. The goal for
// that is 12 MiB.
func BenchmarkCycle_Memory(b *testing.B) {
	corotest.Need(b)
	binary := cmdtest.Build(b, "../..", ".")
	path, _ := looptest.New(b, 1<<20, 512)
	disk, err := blockdev.Open(path, blockdev.Options{Write: true})
	if err != nil {
		b.Fatal(err)
	}
	defer disk.Close()
	if err := quorumdisk.Format(disk, quorumdisk.Header{Label: "bench"}, 1, nil); err != nil {
		b.Fatal(err)
	}
	c := corotest.Start(b, corotest.Options{Nodes: 1, Quorum: []string{"expected_votes: 31", "device {", "model: test", "votes: 15", "timeout: 20000", "sync_timeout: 2000", "}"}})
	n := c.Nodes[0]
	conf, status := filepath.Join(n.Dir, "cluster.conf"), filepath.Join(n.Dir, "status")
	var nodes strings.Builder
	for id := 1; id <= quorumdisk.MaxNodes; id++ {
		fmt.Fprintf(&nodes, "<clusternode name=\"n%d\" nodeid=\"%d\"/>", id, id)
	}
	if err := os.WriteFile(conf, []byte(`<cluster name="corotest" config_version="1"><cman expected_votes="31"/><logging to_logfile="no" to_syslog="no"/>
<clusternodes>`+nodes.String()+`</clusternodes><quorumd device="`+path+`" votes="15" tko="4" status_file="`+status+`"/></cluster>`), 0o600); err != nil {
		b.Fatal(err)
	}
	cmd := n.Command(binary, "qdiskd", "-f", "--no-reboot")
	cmd.Env = append(os.Environ(), clusterconf.PathVariable+"="+conf)
	var log bytes.Buffer
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Signal(unix.SIGTERM)
		if err := cmd.Wait(); err != nil || b.Failed() {
			b.Errorf("qdiskd: %v\n%s", err, &log)
		}
	}()
	var resident, locked float64
	for b.Loop() {
		c.Eventually("all 16 nodes are up", func() error {
			for id := 2; id <= quorumdisk.MaxNodes; id++ {
				s := quorumdisk.Status{Updater: uint32(id), Node: uint32(id), Timestamp: uint64(time.Now().Unix()), State: quorumdisk.StateRunning, Incarnation: 5}
				if err := quorumdisk.WriteStatus(disk, id, s); err != nil {
					b.Fatal(err)
				}
			}
			text, err := os.ReadFile(status)
			if err != nil || !strings.Contains(string(text), "Visible Set: { 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 }") {
				return fmt.Errorf("%v\n%s", err, text)
			}
			return nil
		})
		// nsenter(1) became the daemon.
		_, kib := memory(b, cmd.Process.Pid)
		resident, locked = max(resident, float64(kib)), max(locked, float64(lockedPages(b, cmd.Process.Pid)))
	}
	b.ReportMetric(resident, "resident-KiB")
	b.ReportMetric(locked, "locked-KiB")
	if locked == 0 || locked > maxLocked {
		b.Errorf("%v KiB are locked, the goal is at most %d", locked, maxLocked)
	}
}

// lockedPages is how much of a process's memory is resident and locked, in KiB
// (proc_pid_smaps(5)). VmLck also counts addresses that were never used.
func lockedPages(t testing.TB, pid int) (kib int) {
	t.Helper()
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(maps)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "Locked:" {
			n, err := strconv.Atoi(f[1])
			if err != nil {
				t.Fatal(err)
			}
			kib += n
		}
	}
	return kib
}
