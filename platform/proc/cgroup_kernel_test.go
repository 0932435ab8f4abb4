//go:build linux

package proc

import (
	"bytes"
	"context"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/haobox/haobox/platform"
	"github.com/haobox/haobox/platform/testskip"
)

// TestContained: what has left the group and the session of its program and has
// lost its parent is killed with it, but goes on if the program ends by itself.
func TestContained(t *testing.T) {
	t.Parallel()
	testskip.IfEmulated(t, "the emulator can not start a program in a control group")
	probe := newCgroup("")
	if probe == nil {
		mounts, _ := os.ReadFile("/proc/self/mountinfo")
		testskip.Kernel(t, "cgroup2", "no control group can be made; mounted are:\n"+string(mounts))
	}
	kill, err := os.OpenFile(filepath.Join(probe.dir, "cgroup.kill"), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	probe.release(false)
	// The program was waited for while another goroutine killed it.
	if _, err := kill.WriteString("1"); err == nil || unlessGone(err) != nil || probe.kill() != nil {
		t.Errorf("killing what is gone: %v", err)
	}
	kill.Close()
	left := filepath.Join(probe.parent, cgroupPrefix+"0.1") // there is no process 0
	if err := os.Mkdir(left, 0o755); err != nil {
		t.Fatal(err)
	}
	if sweep(probe.parent); os.Remove(left) == nil {
		t.Error("what a dead process left is left")
	}
	for _, tc := range []struct {
		name string
		// end ends the program, which waits for gate.
		end  func(p platform.Process, cancel func(), gate string) error
		dies bool
	}{
		{"context", func(_ platform.Process, cancel func(), _ string) error { cancel(); return nil }, true},
		{"killed", func(p platform.Process, _ func(), _ string) error { return p.Signal(os.Kill) }, true},
		{"ends by itself", func(_ platform.Process, _ func(), gate string) error { return os.WriteFile(gate, []byte("go\n"), 0) }, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			for _, fifo := range []string{"gate", "ready", "never"} {
				if err := syscall.Mkfifo(filepath.Join(dir, fifo), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			p, err := Runner{}.Start(ctx, platform.Cmd{
				Path: "/bin/sh", Dir: dir, Contained: true, Env: []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"},
				Args: []string{"sh", "-c", `setsid sh -c '(exec sh -c "echo \$\$ >ready; read x <never") &'; read x <gate`},
			})
			if err != nil {
				t.Fatal(err)
			}
			group := p.(*process).group
			text, err := os.ReadFile(filepath.Join(dir, "ready"))
			if err != nil {
				t.Fatal(err)
			}
			orphan, err := strconv.Atoi(string(bytes.TrimSpace(text)))
			if err != nil {
				t.Fatal(err)
			}
			defer syscall.Kill(orphan, syscall.SIGKILL)
			if parent, ok := parentOf(strconv.Itoa(orphan)); !ok || parent == p.PID() {
				t.Errorf("the orphan's parent is %d", parent)
			}
			if err := tc.end(p, cancel, filepath.Join(dir, "gate")); err != nil {
				t.Fatal(err)
			}
			if res, err := p.Wait(); err != nil || res.OK() == tc.dies {
				t.Errorf("%+v, %v", res, err)
			}
			if _, err := os.Stat(group.dir); !os.IsNotExist(err) {
				t.Errorf("the group is left: %v", err)
			}
			if alive := running(orphan); alive == tc.dies {
				t.Errorf("the orphan lives: %v", alive)
			}
			if tc.dies {
				return
			}
			own, err := os.ReadFile("/proc/self/cgroup")
			if err != nil {
				t.Fatal(err)
			}
			its, err := os.ReadFile("/proc/" + strconv.Itoa(orphan) + "/cgroup")
			if i := bytes.Index(own, []byte("0::")); err != nil || i < 0 || !strings.Contains(string(its), string(own[i:])) {
				t.Errorf("the orphan is in %s, %v; want it in %s", its, err, own)
			}
		})
	}
}

// TestGroup: what a program leaves behind is in the group with its name, which
// goes with it, when the next program ends.
func TestGroup(t *testing.T) {
	t.Parallel()
	testskip.IfEmulated(t, "the emulator can not start a program in a control group")
	probe := newCgroup("")
	if probe == nil {
		testskip.Kernel(t, "cgroup2", "no control group can be made")
	}
	probe.release(false)
	name := "script:" + t.Name() + "/" + filepath.Base(t.TempDir())
	dir := filepath.Join(probe.parent, platform.GroupPrefix+url.PathEscape(name))
	run := func(script string) string {
		t.Helper()
		var out strings.Builder
		res, err := Runner{}.Run(context.Background(), platform.Cmd{Path: "/bin/sh", Args: []string{"sh", "-c", script}, Stdout: &out, Group: name})
		if err != nil || !res.OK() {
			t.Fatalf("%+v, %v", res, err)
		}
		return strings.TrimSpace(out.String())
	}
	// A group that something is left in stays, and goes with the next program.
	pid, err := strconv.Atoi(run("sleep 1000 >/dev/null 2>&1 & echo $!"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); err != nil {
		t.Errorf("the group of what is left: %v", err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for { // the test's own limit ends this
		run(":")
		if _, err := os.Stat(dir); os.IsNotExist(err) {
			return
		}
	}
}

// running reports whether a process is there and more than a zombie (proc(5)).
func running(pid int) bool {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	return err == nil && len(fields) > 0 && !bytes.ContainsAny(fields[0], "ZX")
}

// BenchmarkContained is what a control group costs.
func BenchmarkContained(b *testing.B) {
	for _, contained := range []bool{false, true} {
		b.Run(strconv.FormatBool(contained), func(b *testing.B) {
			for b.Loop() {
				if res, err := (Runner{}).Run(b.Context(), platform.Cmd{Path: "/bin/true", Contained: contained}); err != nil || !res.OK() {
					b.Fatal(res, err)
				}
			}
		})
	}
}
