package agents

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/haobox/haobox/platform"
	"github.com/haobox/haobox/platform/platformtest"
	"github.com/haobox/haobox/platform/proc"
	"github.com/haobox/haobox/platform/testskip"
)

// realEnv is the machine itself, with output and log captured.
func realEnv(t *testing.T) *platformtest.Env {
	t.Helper()
	env := platformtest.NewEnv(t)
	env.Env.FS, env.Env.Runner, env.Env.Clock = hostFS(), proc.Runner{}, platform.SystemClock{}
	return env
}

// runTool runs a program of the machine or fails the test.
func runTool(t *testing.T, words ...string) string {
	t.Helper()
	out, err := exec.Command(words[0], words[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(words, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// loopDevice is a loop device of that size with what mkfs made on it.
func loopDevice(t *testing.T, size int64, mkfs ...string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "disk")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if len(mkfs) > 0 {
		runTool(t, append(mkfs, file)...)
	}
	dev := runTool(t, "losetup", "-f", "--show", file)
	t.Cleanup(func() { _ = exec.Command("losetup", "-d", dev).Run() })
	return dev
}

// fsCase is a resource on a real device.
type fsCase struct {
	t      *testing.T
	env    *platformtest.Env
	agent  *Agent
	point  string
	params []string
}

func newFS(t *testing.T, agent *Agent, device string, params ...string) *fsCase {
	t.Helper()
	point := filepath.Join(t.TempDir(), "new", "mp")
	t.Cleanup(func() { _ = exec.Command("umount", "-l", point).Run() })
	return &fsCase{t, realEnv(t), agent, point, append([]string{"name=x", "mountpoint=" + point, "device=" + device}, params...)}
}

func (f *fsCase) want(code int, action string, depth int, more ...string) {
	f.t.Helper()
	if got := do(f.t, f.env, f.agent, RGManager, action, depth, append(more, f.params...)...); got != code {
		f.t.Errorf("%s at %d: %d, want %d\n%s", action, depth, got, code, f.env.Stdout)
	}
}

func here() Machine {
	return Machine{Kill: proc.Kill, Reboot: func() error { return os.ErrPermission }, PID: os.Getpid(), Parent: os.Getppid()}
}

const mib = 1 << 20

func TestFS_Cycle(t *testing.T) {
	t.Parallel()
	testskip.IfForeign(t, "mkfs, losetup and mount")
	for _, tc := range []struct {
		name   string
		size   int64
		mkfs   []string
		params []string
		// by is the device as the configuration has it; "" is its path.
		by string
	}{
		{"ext4", 16 * mib, []string{"mkfs.ext4", "-q"}, []string{"fstype=ext4"}, ""},
		{"ext4 that is checked before", 16 * mib, []string{"mkfs.ext4", "-q"}, []string{"fstype=ext4", "force_fsck=1"}, ""},
		{"the type is found out", 16 * mib, []string{"mkfs.ext4", "-q"}, nil, ""},
		{"xfs", 320 * mib, []string{"mkfs.xfs", "-q"}, []string{"fstype=xfs"}, ""},
		{"by label", 16 * mib, []string{"mkfs.ext4", "-q", "-L", "haobox-a"}, []string{"fstype=ext4"}, "LABEL=haobox-a"},
		{"by UUID", 16 * mib, []string{"mkfs.ext4", "-q", "-U", "6f1f6f3e-8f0b-4f0e-9a0e-2b6a3a6f0a11"}, []string{"fstype=ext4"}, "UUID=6f1f6f3e-8f0b-4f0e-9a0e-2b6a3a6f0a11"},
		{"a cluster file system's agent", 16 * mib, []string{"mkfs.ext4", "-q"}, []string{"fstype=ext4", "force_unmount=1"}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			device := loopDevice(t, tc.size, tc.mkfs...)
			if tc.by != "" {
				device = tc.by
			}
			agent := FS(here())
			if strings.Contains(tc.name, "cluster") {
				// The kernel here has no gfs2; all but the type is the same.
				agent = mounter{here(), "clusterfs", []string{"ext4"}}.agent()
			}
			f := newFS(t, agent, device, tc.params...)
			f.want(NotRunning, "status", 0)
			f.want(OK, "stop", 0)
			f.want(OK, "start", 0)
			f.want(OK, "start", 0)
			for _, depth := range []int{0, 10, 20} {
				f.want(OK, "status", depth)
			}
			f.want(OK, "status", 20, "quick_status=1")
			if left, _ := filepath.Glob(f.point + "/.check*"); len(left) > 0 {
				t.Errorf("the check leaves %v behind", left)
			}
			// Behind the agent's back.
			runTool(t, "umount", f.point)
			f.want(NotRunning, "status", 0)
			f.want(OK, "start", 0)
			f.want(OK, "stop", 0)
			f.want(OK, "stop", 0)
			f.want(NotRunning, "status", 0)
			f.want(OK, "start", 0)
			runTool(t, "mount", "-o", "remount,ro", f.point)
			f.want(OK, "status", 20)
			f.want(OK, "stop", 0)
		})
	}
}

func TestFS_BrokenDevice(t *testing.T) {
	t.Parallel()
	testskip.IfForeign(t, "mkfs, losetup and mount")
	f := newFS(t, FS(here()), loopDevice(t, 16*mib), "fstype=ext4")
	f.want(Generic, "start", 0)
	if out := f.env.Stdout.String(); !strings.Contains(out, "failed, error=32") {
		t.Errorf("output:\n%s", out)
	}
	f.want(OK, "stop", 0)
}

// holder starts a program that keeps a file of the folder open and its working
// folder there, deaf to the signals that trap names, and waits until it does.
func holder(t *testing.T, dir, trap string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", trap+"exec 3>held; echo ready; read x <&4")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Dir, cmd.ExtraFiles = dir, []*os.File{r, r}
	var stderr platformtest.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r.Close()
	t.Cleanup(func() { w.Close(); _ = cmd.Process.Kill(); _ = cmd.Wait() })
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatalf("the program that holds the file system: %q, %v; %v %s", line, err, cmd.Wait(), stderr.String())
	}
	return cmd
}

func TestFS_ForceUnmount(t *testing.T) {
	t.Parallel()
	testskip.IfForeign(t, "mkfs, losetup and mount")
	for _, tc := range []struct {
		name, trap string
		want       []string
	}{
		{"a process that goes when asked", "", []string{"<warning> SIGTERM to process"}},
		{"a process that must be killed", "trap '' TERM; ", []string{"<warning> SIGTERM to process", "<warning> SIGKILL to process"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			f := newFS(t, FS(here()), loopDevice(t, 16*mib, "mkfs.ext4", "-q"), "fstype=ext4")
			f.want(OK, "start", 0)
			cmd := holder(t, f.point, tc.trap)
			done := make(chan error, 1)
			go func() { done <- cmd.Wait() }()
			f.want(OK, "stop", 0, "force_unmount=1")
			if err := <-done; err == nil {
				t.Error("the process ended by itself")
			}
			out := f.env.Stdout.String()
			for _, w := range tc.want {
				if !strings.Contains(out, w) {
					t.Errorf("no %q in:\n%s", w, out)
				}
			}
			f.want(NotRunning, "status", 0)
		})
	}
}

// TestFS_Busy: without force_unmount nobody is killed, and the stop fails with
// the names of those who are in the way.
func TestFS_Busy(t *testing.T) {
	t.Parallel()
	testskip.IfForeign(t, "mkfs, losetup and mount")
	f := newFS(t, FS(here()), loopDevice(t, 16*mib, "mkfs.ext4", "-q"), "fstype=ext4")
	f.want(OK, "start", 0)
	holder(t, f.point, "")
	f.env.Env.Clock = f.env.Clock // for the pauses between the tries
	f.want(Generic, "stop", 0)
	if out := f.env.Stdout.String(); !strings.Contains(out, "(sh) still uses "+f.point+": cwd") {
		t.Errorf("output:\n%s", out)
	}
	f.want(OK, "status", 0)
}

// TestFS_Hung: a file system that does not answer fails the check in time,
// though the program that looks can not even be killed.
func TestFS_Hung(t *testing.T) {
	t.Parallel()
	testskip.IfForeign(t, "mkfs, losetup and mount")
	f := newFS(t, FS(here()), loopDevice(t, 16*mib, "mkfs.ext4", "-q"), "fstype=ext4")
	f.want(OK, "start", 0)
	if out, err := exec.Command("fsfreeze", "-f", f.point).CombinedOutput(); err != nil {
		t.Fatalf("freeze: %v\n%s", err, out)
	}
	thaw := func() { _ = exec.Command("fsfreeze", "-u", f.point).Run() }
	defer thaw()
	var list []Param
	for _, p := range f.params {
		k, v, _ := strings.Cut(p, "=")
		list = append(list, Param{k, v})
	}
	c, err := f.agent.NewCallFor(f.env.Env, "monitor", 20, "x", list)
	if err != nil {
		t.Fatal(err)
	}
	c.Dialect, c.Timeout = OCF, time.Second
	if got := f.agent.Do(t.Context(), c); got != Generic {
		t.Errorf("status of a frozen file system: %d", got)
	}
	if out := f.env.Stderr.String(); !strings.Contains(out, "Mount point is not accessible!") {
		t.Errorf("messages:\n%s", out)
	}
	thaw()
	eventually(t, "the check of the thawed file system", func() string {
		if do(t, f.env, f.agent, RGManager, "status", 20, f.params...) == 0 {
			return "good"
		}
		return "bad"
	}, "good")
	f.want(OK, "stop", 0, "force_unmount=1")
}
