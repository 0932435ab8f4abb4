//go:build linux

package rgmanager

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/haobox/haobox/internal/rgmctl"
	"github.com/haobox/haobox/platform/corosync/corotest"
)

// onCorosync puts the nodes on real daemons in namespaces. fenced is a fake
// that says what the test wants.
func (l *lab) onCorosync(quorum ...string) *corotest.Cluster {
	l.t.Helper()
	c := corotest.Start(l.t, corotest.Options{Nodes: len(l.nodes), Quorum: quorum})
	self, err := os.Executable()
	if err != nil {
		l.t.Fatal(err)
	}
	for i, m := range l.nodes {
		m.start = func(args ...string) *exec.Cmd { return c.Nodes[i].Command(self, args...) }
		if !l.whole {
			continue
		}
		for _, d := range []string{"/etc/cluster", "/var/log/cluster"} {
			l.mkdir(d)
			l.mkdir(m.root + d)
		}
		l.inside(c.Nodes[i], "mkdir -p /run/haobox; for d in /etc/cluster /var/log/cluster /run/haobox; do mount --bind %[1]s$d $d; done; mount --bind %[1]s /mnt", m.root)
	}
	l.fenced()
	for _, m := range l.nodes {
		m.run()
	}
	for _, m := range l.nodes {
		m.members(len(l.nodes))
	}
	return c
}

// inside runs a shell script in a node's namespaces.
func (l *lab) inside(n *corotest.Node, script string, args ...any) string {
	l.t.Helper()
	out, err := n.Command("sh", "-ec", fmt.Sprintf(script, args...)).CombinedOutput()
	if err != nil {
		l.t.Fatalf("node %d: %s: %v: %s", n.ID, fmt.Sprintf(script, args...), err, out)
	}
	return strings.TrimSpace(string(out))
}

// ring is the sequence of a node's ring.
func (m *machine) ring() uint64 {
	m.l.t.Helper()
	st, err := m.status()
	if err != nil {
		m.l.t.Fatal(err)
	}
	return st.Generation
}

const token = `<totem token="1000"/>`

// once fails the test if a service was started twice without a stop in between
// or an end of the node, which ends tells of.
func (l *lab) once(service string, ends map[int]string) {
	l.t.Helper()
	running := ""
	for i, e := range l.journal(service) {
		word, node, _ := strings.Cut(e, " ")
		if n, ok := ends[i]; ok && running == n {
			running = ""
		}
		switch {
		case word == "start" && running != "":
			l.t.Errorf("%s was started on %s while it ran on %s: %v", service, node, running, l.journal(service))
			return
		case word == "start":
			running = node
		case running == node:
			running = ""
		}
	}
}

// TestCorosync lets a cluster of three go through what clusters go through.
func TestCorosync(t *testing.T) {
	corotest.Need(t)
	t.Parallel()
	const domain = `<failoverdomains><failoverdomain name="d" ordered="1" nofailback="1">` +
		`<failoverdomainnode name="n1" priority="1"/><failoverdomainnode name="n2" priority="2"/><failoverdomainnode name="n3" priority="3"/></failoverdomain></failoverdomains>`
	const service = `<service name="web" domain="d" recovery="restart"><script name="web" file="/web"/></service>`
	l := newLab(t, 3, token, domain+service, "web")
	c := l.onCorosync()
	n1, n2, n3 := l.nodes[0], l.nodes[1], l.nodes[2]
	n3.in("web", rgmctl.StateStarted, 1)
	ends := map[int]string{} // before which entry of the journal a node was off
	off := func(m *machine, id uint32, by *machine) {
		ends[len(l.journal("web"))] = m.name
		l.say(id, "off", by.ring())
	}
	back := func(id uint32) { l.say(id, "member", 0) }
	home := func() {
		t.Helper()
		for _, m := range l.nodes {
			m.members(3)
		}
		if st, err := n1.status(); err != nil || st.Service("service:web").Owner != 1 {
			if a := n2.ask("relocate", "service:web", 1); a.Code != 0 || a.Owner != 1 {
				t.Fatalf("relocate web to n1: %+v, %v", a, err)
			}
		}
		n3.in("web", rgmctl.StateStarted, 1)
	}
	ok := true
	sub := func(name string, f func(t *testing.T)) {
		if ok {
			ok = t.Run(name, func(st *testing.T) {
				old := l.t
				l.t = st
				defer func() { l.t = old }()
				home()
				f(st)
				l.once("web", ends)
			})
		}
	}

	sub("rgmanager is killed and comes back", func(t *testing.T) {
		before, pid := l.journal("web"), n1.pid("web")
		n1.kill(syscall.SIGKILL)
		n2.members(2)
		n2.in("web", rgmctl.StateStarted, 1)
		n1.run()
		n1.members(3)
		n1.in("web", rgmctl.StateStarted, 1)
		if diff := cmp.Diff(before, l.journal("web")); diff != "" || n1.pid("web") != pid {
			t.Errorf("the service was touched (-want +got)\n%s", diff)
		}
	})

	sub("the node freezes and thaws", func(t *testing.T) {
		starts := len(l.journal("web"))
		c.Nodes[0].Freeze()
		n1.kill(syscall.SIGSTOP)
		c.Nodes[1].WaitMembers(2)
		n2.members(2)
		// Nobody touches its service: unknown is not off.
		n2.in("web", rgmctl.StateStarted, 1)
		if a := n2.ask("relocate", "service:web", 2); a.Code != -13 {
			t.Errorf("relocate from a node that is not known to be off: %+v", a)
		}
		if j := l.journal("web"); len(j) != starts {
			t.Errorf("touched before n1 is off: %v", j[starts:])
		}
		off(n1, 1, n2)
		n3.in("web", rgmctl.StateStarted, 2)
		// This one was not really off. It may stop, and nothing else.
		c.Nodes[0].Thaw()
		n1.kill(syscall.SIGCONT)
		n1.members(3)
		back(1)
		n1.in("web", rgmctl.StateStarted, 2)
		l.eventually("n1 stops what it does not own any more", func() error {
			if j := l.journal("web")[starts:]; !slices.Equal(j, []string{"start n2", "stop n1"}) {
				return errShort(j)
			}
			return nil
		})
		n2.members(3)
	})

	sub("rgmanager alone freezes and thaws", func(t *testing.T) {
		before := l.journal("web")
		n1.kill(syscall.SIGSTOP)
		n2.kill(syscall.SIGSTOP)
		n2.kill(syscall.SIGCONT)
		n1.kill(syscall.SIGCONT)
		for _, m := range l.nodes {
			m.members(3)
		}
		if diff := cmp.Diff(before, l.journal("web")); diff != "" {
			t.Errorf("the service was touched (-want +got)\n%s", diff)
		}
	})

	sub("the node crashes", func(t *testing.T) {
		starts := len(l.journal("web"))
		_ = syscall.Kill(n1.pid("web"), syscall.SIGKILL)
		n1.cmd.Process.Signal(syscall.SIGSTOP) // it is not to notice
		c.Nodes[0].Kill()
		n1.kill(syscall.SIGKILL)
		os.Remove(filepath.Join(n1.root, keptFile)) // gone with the machine
		n2.members(2)
		n2.in("web", rgmctl.StateStarted, 1)
		off(n1, 1, n2)
		n3.in("web", rgmctl.StateStarted, 2)
		if j := l.journal("web")[starts:]; !slices.Contains(j, "start n2") {
			t.Errorf("the journal has %v", j)
		}
		os.Remove(filepath.Join(l.shared, "web.n1.pid"))
		back(1)
		c.Nodes[0].Start()
		n1.run()
		n1.members(3)
		n1.in("web", rgmctl.StateStarted, 2)
	})

	sub("the node is cut off", func(t *testing.T) {
		starts := len(l.journal("web"))
		c.Nodes[0].Cut()
		// It loses quorum and stops by itself.
		n1.logged("#1: Quorum Dissolved")
		l.eventually("n1 stops its service", func() error {
			if j := l.journal("web")[starts:]; !slices.Equal(j, []string{"stop n1"}) {
				return errShort(j)
			}
			return nil
		})
		n2.members(2)
		n2.in("web", rgmctl.StateStarted, 1) // which n2 can not know
		off(n1, 1, n2)
		n3.in("web", rgmctl.StateStarted, 2)
		if a := n1.ask("enable", "service:web", 0); a.Code != -9 {
			t.Errorf("enable without quorum: %+v", a)
		}
		c.Nodes[0].Heal()
		back(1)
		n1.members(3)
		n1.in("web", rgmctl.StateStarted, 2)
		if j := l.journal("web")[starts:]; !slices.Equal(j, []string{"stop n1", "start n2"}) {
			t.Errorf("the journal has %v", j)
		}
	})

	sub("corosync dies under it", func(t *testing.T) {
		starts := len(l.journal("web"))
		c.Nodes[0].Kill()
		if err := n1.end(); err == nil {
			t.Error("rgmanager ended with status 0")
		}
		if j := l.journal("web")[starts:]; !slices.Equal(j, []string{"stop n1"}) {
			t.Errorf("the journal has %v", j)
		}
		n2.members(2)
		off(n1, 1, n2)
		n3.in("web", rgmctl.StateStarted, 2)
		c.Nodes[0].Start()
		back(1)
		n1.run()
		n1.members(3)
	})

	sub("a stop fails, and fencing resolves it", func(t *testing.T) {
		l.write(filepath.Join(l.shared, "fail.stop"), "", 0o644)
		defer os.Remove(filepath.Join(l.shared, "fail.stop"))
		if a := n2.ask("relocate", "service:web", 2); a.Code == 0 {
			t.Errorf("relocate: %+v", a)
		}
		n3.in("web", rgmctl.StateFailed, 0)
		n1.logged("#12: RG service:web failed to stop; intervention required")
		if a := n2.ask("enable", "service:web", 0); a.Code != -1 {
			t.Errorf("enable of a failed service: %+v", a)
		}
		os.Remove(filepath.Join(l.shared, "fail.stop"))
		if a := n2.ask("disable", "service:web", 0); a.Code != 0 {
			t.Errorf("disable: %+v", a)
		}
		if a := n1.ask("enable", "service:web", 0); a.Code != 0 || a.Owner != 1 {
			t.Errorf("enable: %+v", a)
		}
	})

	sub("quorum is lost and a stop fails: the node goes down hard", func(t *testing.T) {
		l.write(filepath.Join(l.shared, "fail.stop"), "", 0o644)
		c.Nodes[0].Cut()
		if err := n1.end(); err == nil || n1exit(err) != exitHardDown {
			t.Errorf("rgmanager ended with %v", err)
		}
		text, err := os.ReadFile(filepath.Join(l.shared, "down"))
		if err != nil || !strings.HasPrefix(string(text), "n1 ") {
			t.Errorf("the node did not go down: %q, %v", text, err)
		}
		_ = syscall.Kill(n1.pid("web"), syscall.SIGKILL)
		os.Remove(filepath.Join(l.shared, "fail.stop"))
		os.Remove(filepath.Join(l.shared, "web.n1.pid"))
		os.Remove(filepath.Join(n1.root, keptFile))
		n2.members(2)
		off(n1, 1, n2)
		n3.in("web", rgmctl.StateStarted, 2)
		c.Nodes[0].Heal()
		back(1)
		n1.run()
		n1.members(3)
	})

	sub("rolling restart", func(t *testing.T) {
		before := l.journal("web")
		for _, m := range l.nodes {
			m.kill(syscall.SIGKILL)
			m.run()
			m.members(3)
		}
		if diff := cmp.Diff(before, l.journal("web")); diff != "" {
			t.Errorf("killed and back, one after the other (-want +got)\n%s", diff)
		}
		for i, m := range l.nodes {
			m.kill(syscall.SIGTERM)
			if err := m.end(); err != nil {
				t.Errorf("%s: %v", m.name, err)
			}
			// In order: the others need no fencing.
			other := l.nodes[(i+1)%3]
			other.members(2)
			l.eventually("web is started elsewhere", func() error {
				st, err := other.status()
				if err != nil {
					return err
				}
				if g := st.Service("service:web"); g.State != rgmctl.StateStarted || g.Owner == uint32(i+1) {
					return errShort{g.StateName}
				}
				return nil
			})
			m.run()
			m.members(3)
		}
	})
}

func n1exit(err error) int {
	if e, ok := err.(*exec.ExitError); ok {
		return e.ExitCode()
	}
	return 0
}
