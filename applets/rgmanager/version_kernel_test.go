//go:build linux

package rgmanager

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/haobox/haobox/applets/internal/daemon"
	"github.com/haobox/haobox/internal/cluster/enginetest"
	"github.com/haobox/haobox/internal/rgm"
	"github.com/haobox/haobox/internal/rgmctl"
	"github.com/haobox/haobox/platform/corosync"
	"github.com/haobox/haobox/platform/host"
	"github.com/haobox/haobox/platform/platformtest"
)

// TestAnotherVersion: a process of a version that is to come joins those that run,
// is not heard, and touches nothing; then it is there first, and rgmanager of this
// version ends without touching anything. Each says why, once.
func TestAnotherVersion(t *testing.T) {
	t.Parallel()
	real(t)
	l := newLab(t, 2, `<cman two_node="1" expected_votes="1"/>`, web, "web").local()
	n1, n2 := l.nodes[0], l.nodes[1]
	for _, m := range l.nodes {
		m.run()
	}
	for _, m := range l.nodes {
		m.members(2)
	}
	n2.kill(syscall.SIGTERM)
	if err := n2.end(); err != nil {
		t.Fatal(err)
	}
	n1.members(1)
	n1.in("web", rgmctl.StateStarted, 1)

	env := platformtest.NewEnv(t)
	env.Env.FS = host.NewFS(n2.root)
	env.Env.Getenv = func(name string) string {
		for _, kv := range n2.env {
			if v, ok := strings.CutPrefix(kv, name+"="); ok {
				return v
			}
		}
		return ""
	}
	conf, err := daemon.ReadConfig(env.Env, "/etc/cluster/cluster.conf", true)
	if err != nil {
		t.Fatal(err)
	}
	engine, err := daemon.OpenEngine(t.Context(), env.Env, conf, corosync.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer engine.Close()
	future := byte(rgm.Version + 1)
	stranger := enginetest.NewStranger(t, engine, rgm.Group, []byte{'R', 'S', future, 1, 2, 3})
	group := func(n int) {
		t.Helper()
		l.eventually(fmt.Sprintf("the group has %d members", n), func() error {
			if got := stranger.Members(); got != n {
				return fmt.Errorf("there are %d", got)
			}
			return nil
		})
	}
	lines := func(m *machine, with string) []string {
		return slices.DeleteFunc(m.log(), func(s string) bool { return !strings.Contains(s, with) })
	}
	group(2)
	before := l.journal("web")
	for i := range byte(3) {
		stranger.Say([]byte{'R', 'G', future, i, 0, 0})
	}
	n1.logged("is not heard")
	// It is a process on that node, but no rgmanager for this one.
	n1.members(1)
	if a := n1.ask("freeze", "service:web", 0); a.Code != 0 {
		t.Errorf("freeze: %+v", a)
	}
	if a := n1.ask("unfreeze", "service:web", 0); a.Code != 0 {
		t.Errorf("unfreeze: %+v", a)
	}
	n1.in("web", rgmctl.StateStarted, 1)
	want := []string{"rgmanager of n2 is not heard: another version of rgmanager: it speaks version 2, this one 1; install the same haobox on all nodes"}
	if diff := cmp.Diff(want, lines(n1, "version")); diff != "" {
		t.Errorf("the log (-want +got)\n%s", diff)
	}
	if diff := cmp.Diff(before, l.journal("web")); diff != "" {
		t.Errorf("the service (-want +got)\n%s", diff)
	}

	// The other way round: the state of the group is that of the future.
	n1.kill(syscall.SIGKILL)
	group(1)
	n1.run()
	err = n1.end()
	if n1exit(err) != 1 {
		t.Errorf("rgmanager ended with %v, want exit status 1", err)
	}
	want = append(want, "the state of the group: another version of rgmanager: it is of version 2, this one speaks 1; rgmanager ends: install the haobox that the other nodes have, or stop their rgmanagers first")
	if diff := cmp.Diff(want, lines(n1, "version")); diff != "" {
		t.Errorf("the log (-want +got)\n%s", diff)
	}
	if diff := cmp.Diff(before, l.journal("web")); diff != "" {
		t.Errorf("the service (-want +got)\n%s", diff)
	}
	if err := syscall.Kill(n1.pid("web"), 0); err != nil {
		t.Errorf("the service's process: %v", err)
	}

	// When the future is gone this version finds what it had left running.
	stranger.Leave()
	n1.run()
	n1.in("web", rgmctl.StateStarted, 1)
	if diff := cmp.Diff(before, l.journal("web")); diff != "" {
		t.Errorf("the service (-want +got)\n%s", diff)
	}
}
