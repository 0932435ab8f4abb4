//go:build linux

package rgmanager

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unicode"

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
	m.run("--metrics", "127.0.0.1:0")
	m.in("web", rgmctl.StateStarted, 1)
	first := m.pid("web")

	// What Prometheus gets is what the control socket gives, and nothing else
	// is to be had there.
	m.logged("metrics: http://127.0.0.1:")
	at := slices.IndexFunc(m.log(), func(s string) bool { return strings.HasPrefix(s, "metrics: ") })
	url := strings.TrimPrefix(m.log()[at], "metrics: ")
	for target, want := range map[string]int{url: 200, strings.TrimSuffix(url, "metrics") + "status": 404} {
		r, err := http.Get(target)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r.Body)
		r.Body.Close()
		if err != nil || r.StatusCode != want {
			t.Errorf("GET %s: %s, %v", target, r.Status, err)
		}
		if _, faults := parseMetrics(string(text)); want == 200 && len(faults) > 0 {
			t.Errorf("not the text format:\n%s", strings.Join(faults, "\n"))
		}
	}

	// A process that dies is noticed long before the next check, due in 30 s.
	m.watches("web", first)
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
	at = slices.Index(log, want[0])
	if at < 0 {
		t.Fatalf("%q is not in the log", want[0])
	}
	got := slices.DeleteFunc(slices.Clone(log[at:]), func(s string) bool {
		// When processes are looked for is a matter of chance.
		return strings.HasPrefix(s, "[") || strings.HasPrefix(s, "something happened") || strings.HasPrefix(s, "watching ")
	})
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

	// fenced asks what the services here are worth, and when that changes.
	client := m.client()
	weight := func(query string) (out rgmctl.Weight, err error) {
		err = client.Do(t.Context(), "GET", "/v1/weight"+query, nil, &out)
		return out, err
	}
	for _, query := range []string{"", "?not=0&wait=30", "?not=1&wait=0", "?not=1&wait=1"} {
		if w, err := weight(query); err != nil || w.Weight != 1 {
			t.Errorf("weight%s: %+v, %v", query, w, err)
		}
	}
	for _, query := range []string{"?not=1", "?wait=1", "?not=x&wait=1", "?not=1&wait=-1", "?not=1&wait=61", "?not=1&wait=1s"} {
		if w, err := weight(query); err == nil {
			t.Errorf("weight%s: %+v", query, w)
		}
	}
	other := make(chan rgmctl.Weight, 1)
	go func() {
		// Again and again, as fenced does: the machine may be slow.
		for {
			w, err := weight("?not=1&wait=30")
			if err != nil {
				t.Error(err)
			}
			if err != nil || w.Weight != 1 {
				other <- w
				return
			}
		}
	}()
	if a := m.ask("disable", "service:web", 0); a.Code != 0 {
		t.Errorf("disable web: %d (%s)", a.Code, a.Text)
	}
	if w := <-other; w.Weight != 0 {
		t.Errorf("weight without services: %+v", w)
	}
	if a := m.ask("enable", "service:web", 0); a.Code != 0 {
		t.Errorf("enable web: %d (%s)", a.Code, a.Text)
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
	m.watches("web", pid)
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

	var plan rgmctl.Plan
	if err := m.client().Do(t.Context(), "POST", "/v1/plan", rgmctl.PlanRequest{Event: "disable web"}, &plan); err != nil ||
		len(plan.After) != 1 || plan.After[0].State != rgmctl.StateDisabled {
		t.Errorf("plan: %+v, %v", plan, err)
	}
	var why rgmctl.Why
	if err := m.client().Do(t.Context(), "GET", "/v1/why?service=web", nil, &why); err != nil || why.Service.Owner != 1 {
		t.Errorf("why: %+v, %v", why, err)
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

// watches waits until a node watches a process of a script.
func (m *machine) watches(script string, pid int) {
	m.l.t.Helper()
	m.l.eventually(fmt.Sprintf("process %d of %s is watched", pid, script), func() error {
		for _, line := range m.log() {
			// Those of other tests on this machine may be in the list.
			if _, list, ok := strings.Cut(line, "watching the processes of script:"+script+": ["); ok &&
				slices.Contains(strings.Fields(strings.TrimSuffix(list, "]")), strconv.Itoa(pid)) {
				return nil
			}
		}
		return errShort(m.log())
	})
}

// TestReload changes the configuration under a running service: only what
// changed is touched.
func TestReload(t *testing.T) {
	t.Parallel()
	real(t)
	service := func(name, more string) string {
		return `<service name="` + name + `"` + more + `><script name="` + name + `" file="/` + name + `"/></service>`
	}
	l := newLab(t, 2, "", service("a", "")+service("b", "")+service("gone", ""), "a", "b", "gone", "fresh", "more").local()
	n1, n2 := l.nodes[0], l.nodes[1]
	for _, m := range l.nodes {
		m.run()
	}
	for _, m := range l.nodes {
		m.members(2)
	}
	state := func(m *machine, name string) *rgmctl.Service {
		st, err := m.status()
		if err != nil {
			t.Fatal(err)
		}
		return st.Service("service:" + name)
	}
	for _, s := range []string{"a", "b", "gone"} {
		l.eventually(s+" runs", func() error {
			if g := state(n1, s); g == nil || g.State != rgmctl.StateStarted {
				return errShort{s}
			}
			return nil
		})
	}
	a := len(l.journal("a"))
	b := len(l.journal("b"))
	// a: only its recovery policy; b: another attribute, so it restarts.
	// It gets a resource, too, that it could do without.
	with := strings.Replace(service("a", ` recovery="relocate"`), "</service>", `<script name="more" file="/more" __independent_subtree="2"/></service>`, 1)
	l.configure(2, "", with+service("b", ` max_restarts="3" restart_expire_time="60"`)+service("fresh", ""))
	for _, m := range l.nodes {
		m.kill(syscall.SIGHUP)
	}
	l.eventually("the new service runs", func() error {
		if g := state(n2, "fresh"); g == nil || g.State != rgmctl.StateStarted {
			return errShort{"fresh"}
		}
		if g := state(n2, "gone"); g != nil {
			return errShort{"gone " + g.StateName}
		}
		if g := state(n2, "b"); g.State != rgmctl.StateStarted || len(l.journal("b")) < b+2 {
			return errShort(l.journal("b"))
		}
		return nil
	})
	if j := l.journal("a"); len(j) != a {
		t.Errorf("a was touched: %v", j)
	}
	// What came to a service that runs is watched as the rest of it, and again
	// when it was repaired.
	owner := l.nodes[state(n1, "a").Owner-1]
	for range 2 {
		l.eventually("a whole", func() error {
			if j := l.journal("more"); len(j)%2 == 0 {
				return errShort(j)
			}
			return nil
		})
		pid := owner.pid("more")
		owner.watches("more", pid)
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		l.eventually("a in part", func() error {
			if g := state(n1, "a"); g.Flags != rgmctl.FlagPartial {
				return errShort{fmt.Sprint(g)}
			}
			return nil
		})
		if x := owner.ask("convalesce", "service:a", 0); x.Code != 0 {
			t.Errorf("convalesce: %+v", x)
		}
	}
	if j := l.journal("a"); len(j) != a {
		t.Errorf("a was touched: %v", j)
	}
	if j := l.journal("gone"); !strings.HasPrefix(j[len(j)-1], "stop ") {
		t.Errorf("gone was not stopped: %v", j)
	}
	// A bad file changes nothing.
	l.configure(3, "<nonsense", service("a", ""))
	n1.kill(syscall.SIGHUP)
	n1.logged("keeping the running configuration")
	if st, err := n1.status(); err != nil || st.ConfigVersion != 2 {
		t.Errorf("version %d, %v", st.ConfigVersion, err)
	}
}

// TestHangingStop: an agent that does not come back is ended after its limit,
// and the service has failed.
func TestHangingStop(t *testing.T) {
	t.Parallel()
	real(t)
	l := newLab(t, 1, "", `<service name="web"><script name="web" file="/web" __enforce_timeouts="1"><action name="stop" timeout="1s"/></script></service>`, "web").local()
	m := l.nodes[0]
	m.run()
	m.in("web", rgmctl.StateStarted, 1)
	l.write(filepath.Join(l.shared, "hang.stop"), "", 0o644)
	if a := m.ask("disable", "service:web", 0); a.Code != -1 {
		t.Errorf("disable: %+v", a)
	}
	m.in("web", rgmctl.StateFailed, 0)
	m.logged(`stop on script:web timed out after 1 seconds`)
	os.Remove(filepath.Join(l.shared, "hang.stop"))
	if a := m.ask("disable", "service:web", 0); a.Code != 0 {
		t.Errorf("disable a failed service: %+v", a)
	}
	m.in("web", rgmctl.StateDisabled, 0)
}

// odd is an agent of somebody else that does everything wrong. Files say what.
const odd = `#!/bin/sh
S=%s
case $1 in
meta-data) cat <<END
<resource-agent name="odd"><parameters><parameter name="name" primary="1"/></parameters>
<actions><action name="start" timeout="9"/><action name="stop" timeout="9"/><action name="status" interval="1" timeout="9"/></actions></resource-agent>
END
;;
start) # a daemon that keeps the agent's output, and noise
	sleep 100000 & echo $! >$S/odd.$$.pid; echo start >>$S/odd
	head -c 3000000 /dev/urandom; exit 0;;
status)
	if [ -e $S/bad ]; then rm $S/bad; head -c 3000000 /dev/urandom; printf 'x\033[31m\001forged\n'; yes line | head -n 20000; exit 200; fi
	exit 0;;
stop) echo stop >>$S/odd; if [ -e $S/killed ]; then kill -9 $$; fi; exit 0;;
esac
`

// TestNonsense: whatever an agent does, its service goes on or fails, and
// rgmanager looks after the others.
func TestNonsense(t *testing.T) {
	t.Parallel()
	real(t)
	l := newLab(t, 1, "", web+`<service name="odd"><odd name="o"/></service>`, "web").local()
	m := l.nodes[0]
	dir := filepath.Join(m.root, "usr/share/cluster")
	l.mkdir(dir)
	l.write(filepath.Join(dir, "odd.sh"), fmt.Sprintf(odd, l.shared), 0o755)
	l.write(filepath.Join(dir, "noise.sh"), "#!/bin/sh\nhead -c 3000000 /dev/urandom\nexit 255\n", 0o755)
	l.write(filepath.Join(dir, "broken.sh"), "#!/bin/sh\necho '<resource-agent name=\"broken\"><parameters'\n", 0o755)
	l.write(filepath.Join(dir, "script.sh~"), "not run", 0o755)
	m.run()
	m.in("odd", rgmctl.StateStarted, 1)
	m.in("web", rgmctl.StateStarted, 1)
	seen := func(want string) {
		t.Helper()
		l.eventually("the agent sees "+want, func() error {
			text, _ := os.ReadFile(filepath.Join(l.shared, "odd"))
			if got := strings.Join(strings.Fields(string(text)), " "); got != want {
				return errShort{got}
			}
			return nil
		})
	}
	seen("stop start") // the stop of everything at the start of the daemon
	l.write(filepath.Join(l.shared, "bad"), "", 0o644)
	seen("stop start stop start")
	m.logged(`status on odd "o" returned 200 (unspecified)`)
	m.logged("more lines of output were dropped")
	m.in("odd", rgmctl.StateStarted, 1)
	l.write(filepath.Join(l.shared, "killed"), "", 0o644)
	if a := m.ask("stop", "service:odd", 0); a.Code != -1 {
		t.Errorf("stop: %+v", a)
	}
	m.logged("stop on odd:o was ended by signal 9")
	m.in("odd", rgmctl.StateFailed, 0)
	m.in("web", rgmctl.StateStarted, 1)
	text, err := os.ReadFile(filepath.Join(m.root, "var/log/cluster/rgmanager.log"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if i := strings.IndexFunc(strings.TrimSuffix(line, "\n"), unicode.IsControl); i >= 0 || len(line) > 5000 || !strings.Contains(line, " "+Name+" ") {
			t.Fatalf("in the log: %.300q", line)
		}
	}
}

// TestStrictExit: the original's way. The process that watches the daemon takes
// the node down when the daemon is killed.
func TestStrictExit(t *testing.T) {
	t.Parallel()
	real(t)
	testskip.IfShort(t, "the watchdog waits 3 s for an administrator's killall")
	l := newLab(t, 1, "", web, "web").local()
	m := l.nodes[0]
	m.cmd = m.start("-f", "--strict-exit")
	m.cmd.Env = m.env
	if err := m.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	m.done = make(chan error, 1)
	go func(c *exec.Cmd, done chan error) { done <- c.Wait() }(m.cmd, m.done)
	m.in("web", rgmctl.StateStarted, 1)
	text, err := os.ReadFile(filepath.Join(m.root, "run/rgmanager.pid"))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid == m.cmd.Process.Pid {
		t.Fatalf("the daemon is process %q, the watchdog %d: %v", text, m.cmd.Process.Pid, err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := m.end(); n1exit(err) != exitHardDown {
		t.Errorf("the watchdog ended with %v", err)
	}
	down, err := os.ReadFile(filepath.Join(l.shared, "down"))
	if err != nil || string(down) != "n1 Daemon died\n" {
		t.Errorf("the node did not go down: %q, %v", down, err)
	}
	// The next one begins from nothing: it stops the service before it starts it.
	before := len(l.journal("web"))
	m.run("--strict-exit")
	m.in("web", rgmctl.StateStarted, 1)
	if j := l.journal("web")[before:]; !slices.Equal(j, []string{"stop n1", "start n1"}) {
		t.Errorf("the journal has %v", j)
	}
}
