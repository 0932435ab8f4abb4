//go:build linux

package proc

import (
	"context"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/haobox/haobox/platform"
	"github.com/haobox/haobox/platform/testskip"
)

func TestStart_Private(t *testing.T) {
	t.Parallel()
	testskip.IfEmulated(t, "the emulator cannot start a second program")
	if os.Geteuid() != 0 {
		t.Fatal("not root; namespaces need it")
	}
	var out strings.Builder
	res, err := Runner{}.Run(context.Background(), platform.Cmd{
		Path: "/bin/sh", Args: []string{"sh", "-c", "echo $$; for n in mnt net pid; do readlink /proc/self/ns/$n; done"}, Stdout: &out, Private: true,
	})
	if err != nil || !res.OK() {
		t.Fatalf("Run: %v, %+v", err, res)
	}
	lines := strings.Fields(out.String())
	// /proc is still the outer one, so /proc/self of the new process namespace is
	// what the outer one calls it.
	if len(lines) != 4 || lines[0] != "1" {
		t.Fatalf("output %q, want process number 1 and three namespaces", out.String())
	}
	for i, ns := range []string{"mnt", "net", "pid"} {
		own, err := os.Readlink("/proc/self/ns/" + ns)
		if err != nil {
			t.Fatal(err)
		}
		if lines[i+1] == own || !strings.HasPrefix(lines[i+1], ns+":[") {
			t.Errorf("its %s namespace is %s, this process's %s", ns, lines[i+1], own)
		}
	}
}

func TestStopTree_KillTree(t *testing.T) {
	t.Parallel()
	testskip.IfEmulated(t, "the emulator cannot start a second program")
	// ":" because a shell may turn into its last command.
	p, err := Runner{}.Start(context.Background(), platform.Cmd{Path: "/bin/sh", Args: []string{"sh", "-c", "setsid sleep 1000 & sleep 1000; :"}})
	if err != nil {
		t.Fatal(err)
	}
	for len(Tree(p.PID())) < 3 { // the test's own limit ends this
		runtime.Gosched()
	}
	stopped := StopTree(p.PID())
	if len(stopped) != 3 {
		t.Errorf("stopped %v, want 3 processes", stopped)
	}
	if err := KillTree(p.PID()); err != nil {
		t.Error(err)
	}
	if res, err := p.Wait(); err != nil || res.Signal != 9 {
		t.Errorf("Wait: %+v, %v", res, err)
	}
}
