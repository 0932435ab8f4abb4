//go:build linux

package watch_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/haobox/haobox/platform"
	"github.com/haobox/haobox/platform/netif/netlabtest"
	"github.com/haobox/haobox/platform/proc"
	"github.com/haobox/haobox/platform/testskip"
	"github.com/haobox/haobox/platform/watch"
)

// limit bounds each wait for something that must come.
const limit = time.Minute

func open(t *testing.T, cfg watch.Config) watch.Watcher {
	t.Helper()
	testskip.IfEmulated(t, "epoll, pidfds and rtnetlink need the real system calls")
	w, err := watch.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	return w
}

func set(t *testing.T, w watch.Watcher, key string, targets ...watch.Target) {
	t.Helper()
	if err := w.Set(key, targets); err != nil {
		t.Fatal(err)
	}
}

func expect(t *testing.T, w watch.Watcher, want ...string) {
	t.Helper()
	var got []string
	for len(got) < len(want) {
		select {
		case <-w.Changed():
			got = append(got, w.Take()...)
		case <-time.After(limit):
			t.Fatalf("told of %v, want %v", got, want)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("(-want +got)\n%s", diff)
	}
}

func TestProcesses(t *testing.T) {
	t.Parallel()
	w := open(t, watch.Config{})
	start := func(args ...string) *exec.Cmd {
		c := exec.Command(args[0], args[1:]...)
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
		return c
	}
	a, b, c := start("sleep", "1000"), start("sleep", "1000"), start("sleep", "1000")
	set(t, w, "a", watch.Target{Kind: watch.Process, PID: a.Process.Pid})
	set(t, w, "b", watch.Target{Kind: watch.Process, PID: b.Process.Pid})
	set(t, w, "c", watch.Target{Kind: watch.Process, PID: c.Process.Pid})
	_ = b.Process.Kill() // not yet waited for: a zombie is an end, too
	expect(t, w, "b")
	set(t, w, "a") // forgotten
	_ = a.Process.Kill()
	_ = c.Process.Kill()
	expect(t, w, "c")
	_ = c.Wait()
	set(t, w, "gone", watch.Target{Kind: watch.Process, PID: c.Process.Pid})
	expect(t, w, "gone")
}

func TestAddresses(t *testing.T) {
	lab := netlabtest.New(t, "a")
	var w watch.Watcher
	lab.In("a", func() { w = open(t, watch.Config{}) })
	lab.Address("a", "eth0", "192.0.2.50/24", "2001:db8::50/64")
	set(t, w, "ip:4", watch.Target{Kind: watch.Address, Name: "192.0.2.50"})
	set(t, w, "ip:6", watch.Target{Kind: watch.Address, Name: "2001:DB8:0::50"})
	h := lab.Handle("a")
	link, err := h.LinkByName("eth0")
	if err != nil {
		t.Fatal(err)
	}
	// What the making of the network had to say is over when an address that
	// goes after it has been told of.
	remove := func(prefix string) {
		t.Helper()
		lab.In("a", func() {
			if out, err := exec.Command("ip", "address", "del", prefix, "dev", link.Attrs().Name).CombinedOutput(); err != nil {
				t.Fatalf("remove %s: %v: %s", prefix, err, out)
			}
		})
	}
	until := func(key string) {
		t.Helper()
		for {
			select {
			case <-w.Changed():
				for _, k := range w.Take() {
					if k == key {
						return
					}
				}
			case <-time.After(limit):
				t.Fatalf("not told of %s", key)
			}
		}
	}
	remove("192.0.2.50/24")
	until("ip:4")
	remove("2001:db8::50/64")
	until("ip:6")
	lab.Down("a", "eth0")
	until("ip:4")
	lab.Up("a", "eth0")
	until("ip:6")
	if err := w.Set("x", []watch.Target{{Kind: watch.Address, Name: "no address"}}); err == nil {
		t.Error("watched what is no address")
	}
}

func TestMounts(t *testing.T) {
	t.Parallel()
	testskip.IfEmulated(t, "mounts need the real system calls")
	if os.Geteuid() != 0 {
		t.Fatal("not root; mounting needs it")
	}
	dir := filepath.Join(t.TempDir(), "a b") // the table has \040
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("none", dir, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	w := open(t, watch.Config{})
	set(t, w, "fs:a", watch.Target{Kind: watch.Mount, Name: dir})
	other := t.TempDir()
	if err := unix.Mount("none", other, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	if err := unix.Unmount(other, 0); err != nil {
		t.Fatal(err)
	}
	if err := unix.Unmount(dir, 0); err != nil {
		t.Fatal(err)
	}
	expect(t, w, "fs:a")
	set(t, w, "fs:never", watch.Target{Kind: watch.Mount, Name: "/there/is/no/such/mount"})
	expect(t, w, "fs:never")
}

// TestMounts_EachIsTold: no change goes untold, however fast they come, also
// while more is asked for. The table is not read without being told here.
func TestMounts_EachIsTold(t *testing.T) {
	t.Parallel()
	testskip.IfEmulated(t, "mounts need the real system calls")
	if os.Geteuid() != 0 {
		t.Fatal("not root; mounting needs it")
	}
	w := open(t, watch.Config{MountsEvery: 24 * time.Hour})
	a, b := t.TempDir(), t.TempDir()
	mount := func(dir string) {
		t.Helper()
		if err := unix.Mount("none", dir, "tmpfs", 0, ""); err != nil {
			t.Fatal(err)
		}
	}
	umount := func(dir string) {
		t.Helper()
		if err := unix.Unmount(dir, 0); err != nil {
			t.Fatal(err)
		}
	}
	for range 200 {
		mount(a)
		set(t, w, "fs:a", watch.Target{Kind: watch.Mount, Name: a})
		mount(b)
		set(t, w, "fs:b", watch.Target{Kind: watch.Mount, Name: b})
		umount(b)
		umount(a)
		set(t, w, "fs:b", watch.Target{Kind: watch.Mount, Name: "/"})
		told := map[string]bool{}
		for !told["fs:a"] {
			select {
			case <-w.Changed():
				for _, k := range w.Take() {
					told[k] = true
				}
			case <-time.After(limit):
				t.Fatalf("told of %v only", told)
			}
		}
	}
}

// A mount that goes without the kernel's word is noticed when the table is read
// the next time, whatever else happens meanwhile.
func TestMount_Untold(t *testing.T) {
	t.Parallel()
	testskip.IfEmulated(t, "the emulator's mount table")
	dir := t.TempDir()
	table, other := filepath.Join(dir, "table"), filepath.Join(dir, "other")
	if err := os.Symlink("/proc/self/mountinfo", table); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(other, []byte("1 1 0:1 / /else rw - tmpfs tmpfs rw\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w := open(t, watch.Config{MountInfo: table, MountsEvery: 10 * time.Millisecond})
	set(t, w, "fs:root", watch.Target{Kind: watch.Mount, Name: "/"})
	if err := os.Rename(other, table); err != nil {
		t.Fatal(err)
	}
	expect(t, w, "fs:root")
}

func TestUnits(t *testing.T) {
	t.Parallel()
	tell := make(chan string)
	w := open(t, watch.Config{Units: func(ctx context.Context, changed func(string)) error {
		for {
			select {
			case u := <-tell:
				changed(u)
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}})
	set(t, w, "systemd:nginx", watch.Target{Kind: watch.Unit, Name: "nginx.service"})
	set(t, w, "systemd:cups", watch.Target{Kind: watch.Unit, Name: "cups.service"})
	tell <- "other.service"
	tell <- "nginx.service"
	expect(t, w, "systemd:nginx")
	tell <- ""
	expect(t, w, "systemd:cups", "systemd:nginx")
}

// unique is an instance of this run of a test alone: what an earlier run has
// killed may be a zombie of its group still.
func unique(name string) string { return fmt.Sprint(name, os.Getpid(), "-", time.Now().UnixNano()) }

// TestFind finds a daemon that an agent left behind, and no worker of it.
func TestFind(t *testing.T) {
	t.Parallel()
	testskip.IfEmulated(t, "environ of other processes")
	id := unique("script:find-")
	// The shell in between ends, so that the daemon has another parent.
	c := exec.Command("sh", "-c", "setsid sh -c 'sleep 1000 & echo $$; wait' & sleep 0")
	c.Env = append(os.Environ(), "OCF_RESOURCE_INSTANCE="+id)
	r, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	c.Stdout = out
	if err := c.Run(); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 32)
	n, err := r.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	pid := 0
	for _, d := range buf[:n-1] {
		pid = 10*pid + int(d-'0')
	}
	t.Cleanup(func() { _ = unix.Kill(-pid, unix.SIGKILL) })
	all, err := watch.Processes("/proc")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]int{pid}, all[id]); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// A server that writes over its environment, as nginx does, is found by its
// control group.
func TestFind_Group(t *testing.T) {
	t.Parallel()
	testskip.IfEmulated(t, "programs of other machines have no group")
	testskip.IfForeign(t, "its control groups")
	if os.Geteuid() != 0 {
		t.Fatal("not root; control groups need it")
	}
	id := unique("script:group/")
	var out strings.Builder
	res, err := proc.Runner{}.Run(context.Background(), platform.Cmd{
		Path: "/bin/sh", Args: []string{"sh", "-c", "setsid env -i sleep 1000 >/dev/null 2>&1 & echo $!"}, Stdout: &out, Group: id,
	})
	if err != nil || !res.OK() {
		t.Fatalf("%+v, %v", res, err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(out.String()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Kill(pid, unix.SIGKILL) })
	if text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid)); !strings.Contains(string(text), platform.GroupPrefix) {
		testskip.Kernel(t, "cgroup2", "no control group can be made")
	}
	all, err := watch.Processes("/proc")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]int{pid}, all[id]); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}
