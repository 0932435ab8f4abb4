//go:build linux

package rgmanager

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/haobox/haobox/internal/rgmctl"
	"github.com/haobox/haobox/platform/testskip"
)

const web = `<service name="web" recovery="restart"><script name="web" file="/web"/></service>`

func real(t *testing.T) {
	t.Helper()
	testskip.IfForeign(t, "pidfds, sh and setsid of this machine")
}

// TestLife is the life of a service on one node: start, the death of its
// process, requests, the death of rgmanager, the end.
func TestLife(t *testing.T) {
	t.Parallel()
	real(t)
	l := newLab(t, 1, "", web, "web").local()
	m := l.nodes[0]
	m.run()
	m.in("web", rgmctl.StateStarted, 1)
	first := m.pid("web")

	// A process that dies is noticed long before the next check, due in 30 s.
	if err := syscall.Kill(first, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	l.eventually("the service runs again", func() error {
		if j := l.journal("web"); len(j) < 3 {
			return errShort(j)
		}
		return nil
	})
	m.in("web", rgmctl.StateStarted, 1)
	want := []string{
		`status on script "web" returned 1 (generic error)`,
		"Stopping service service:web",
		"Service service:web is recovering",
		"Recovering failed service service:web",
		"Service service:web started",
	}
	log := m.log()
	at := slices.Index(log, want[0])
	if at < 0 {
		t.Fatalf("%q is not in the log", want[0])
	}
	got := slices.DeleteFunc(slices.Clone(log[at:]), func(s string) bool { return strings.HasPrefix(s, "[") || strings.HasPrefix(s, "something happened") })
	if diff := cmp.Diff(want, got[:min(len(want), len(got))]); diff != "" {
		t.Errorf("the log of a recovery (-want +got)\n%s", diff)
	}

	for _, tc := range []struct {
		action, service string
		code            int
	}{
		{"enable", "web", -10}, {"enable", "none", -4}, {"freeze", "web", 0}, {"stop", "web", -11}, {"unfreeze", "web", 0},
		{"convalesce", "web", -10}, {"migrate", "web", -8}, {"relocate", "web", -17}, {"restart", "web", 0},
		{"stop", "web", 0}, {"stop", "web", 0}, {"enable", "web", 0}, {"disable", "web", 0}, {"relocate", "web", -8}, {"enable", "web", 0},
	} {
		if a := m.ask(tc.action, "service:"+tc.service, 0); a.Code != tc.code {
			t.Errorf("%s %s: %d (%s), want %d", tc.action, tc.service, a.Code, a.Text, tc.code)
		}
	}
	m.in("web", rgmctl.StateStarted, 1)

	// rgmanager is killed: the service does not notice.
	before, pid := len(l.journal("web")), m.pid("web")
	m.kill(syscall.SIGKILL)
	m.run()
	m.in("web", rgmctl.StateStarted, 1)
	if j := l.journal("web"); len(j) != before || m.pid("web") != pid {
		t.Errorf("the service was touched: %v", j[before:])
	}
	// It is watched again.
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	l.eventually("the service runs again", func() error {
		if j := l.journal("web"); len(j) < before+2 {
			return errShort(j)
		}
		return nil
	})
	m.in("web", rgmctl.StateStarted, 1)
	if page := m.page("/v1/metrics"); !strings.Contains(page, "haobox_service_started{service=\"service:web\"} 1\n") || !strings.Contains(page, "haobox_phase_seconds_count{phase=\"detect\"}") {
		t.Errorf("metrics:\n%s", page)
	}

	// Killed together with the service: the new one finds out.
	m.kill(syscall.SIGKILL)
	if err := syscall.Kill(m.pid("web"), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	m.run()
	m.in("web", rgmctl.StateStarted, 1)
	if err := syscall.Kill(m.pid("web"), 0); err != nil {
		t.Errorf("the service's process: %v", err)
	}

	m.kill(syscall.SIGTERM)
	if err := m.end(); err != nil {
		t.Errorf("the end: %v", err)
	}
	if j := l.journal("web"); j[len(j)-1] != "stop n1" {
		t.Errorf("the service was not stopped: %v", j)
	}
	if _, err := os.Stat(filepath.Join(m.root, "run/rgmanager.pid")); err == nil {
		t.Error("the pid file is left")
	}
}

type errShort []string

func (e errShort) Error() string { return "only " + strings.Join(e, ", ") }
