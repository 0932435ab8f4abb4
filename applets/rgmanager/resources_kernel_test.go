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

// storm is how many services start at once.
const storm = 200

// TestResources lets a service with a real file system and a real address go
// through what happens to them, on two real daemons; then 200 services start at
// once and survive the restart of each node.
func TestResources(t *testing.T) {
	corotest.Need(t)
	t.Parallel()
	dir := t.TempDir()
	sh(t, "truncate -s 4M %[1]s/disk; mkfs.ext2 -q %[1]s/disk; mkdir %[1]s/data", dir)
	device := sh(t, "losetup -f --show %s/disk", dir)
	t.Cleanup(func() { exec.Command("losetup", "-d", device).Run() })
	point := filepath.Join(dir, "data")
	const address = "10.77.0.100"

	const domain = `<failoverdomains><failoverdomain name="d" ordered="1" nofailback="1">` +
		`<failoverdomainnode name="n1" priority="1"/><failoverdomainnode name="n2" priority="2"/></failoverdomain>` +
		`<failoverdomain name="one" restricted="1"><failoverdomainnode name="n1"/></failoverdomain></failoverdomains>`
	rm := func(fs, more string) string {
		return domain + fmt.Sprintf(`<service name="data" domain="d" recovery="restart"><fs name="disk" device="%s" mountpoint="%s" fstype="ext2"%s/>`+
			`<ip address="%s/24"/><script name="data" file="/mnt/data"/></service>`, device, point, fs, address) + more
	}
	const slow = `<service name="slow" domain="one"><script name="slow" file="/mnt/slow" __enforce_timeouts="1"><action name="stop" timeout="3s"/></script></service>`
	var many strings.Builder
	for i := range storm {
		fmt.Fprintf(&many, `<service name="s%d"><script name="s%d" file="/mnt/s%d"/></service>`, i, i, i)
	}
	const cman = token + `<cman two_node="1" expected_votes="1"/>`
	l := newLab(t, 2, cman, rm("", ""), "data", "slow").machines()
	for _, m := range l.nodes {
		for i := range storm {
			l.write(filepath.Join(m.root, fmt.Sprint("s", i)), fmt.Sprintf("#!/bin/sh\n[ $1 = status ] || echo \"s%d $1 %s\" >>%s/journal\n", i, m.name, l.shared), 0o755)
		}
	}
	c := l.onCorosync("two_node: 1", "wait_for_all: 0")
	n1, n2 := l.nodes[0], l.nodes[1]
	n2.in("data", rgmctl.StateStarted, 1)
	has := func(node int) error {
		if out := l.inside(c.Nodes[node], "ip -o addr show; cat /proc/mounts"); !strings.Contains(out, address+"/24") || !strings.Contains(out, point) {
			return errShort(strings.Split(out, "\n"))
		}
		return nil
	}
	// again waits until the service was stopped and started on a node after the
	// journal had that many entries.
	again := func(before int, want ...string) {
		t.Helper()
		l.eventually(fmt.Sprintf("the journal goes on with %v", want), func() error {
			if j := l.journal("data")[before:]; !slices.Equal(j, want) {
				return errShort(j)
			}
			return nil
		})
	}
	ok := true
	act := func(name string, f func(t *testing.T, before int)) {
		if ok {
			ok = t.Run(name, func(st *testing.T) {
				old := l.t
				l.t = st
				defer func() { l.t = old }()
				n2.in("data", rgmctl.StateStarted, 1)
				f(st, len(l.journal("data")))
			})
		}
	}
	settled := func() { // recovered on n1, all of it
		t.Helper()
		n2.in("data", rgmctl.StateStarted, 1)
		l.eventually("n1 has all of the service", func() error { return has(0) })
	}

	act("the service's process is killed", func(t *testing.T, before int) {
		if err := syscall.Kill(n1.pid("data"), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		again(before, "stop n1", "start n1")
		settled()
	})

	act("the address is taken away", func(t *testing.T, before int) {
		l.inside(c.Nodes[0], "ip addr del %s/24 dev eth0", address)
		again(before, "stop n1", "start n1")
		settled()
	})

	act("the file system is unmounted", func(t *testing.T, before int) {
		l.inside(c.Nodes[0], "umount %s", point)
		again(before, "stop n1", "start n1")
		settled()
	})

	act("a stranger has the address", func(t *testing.T, before int) {
		if a := n2.ask("stop", "service:data", 0); a.Code != 0 {
			t.Fatalf("stop: %+v", a)
		}
		if out, err := c.Stranger("ip", "addr", "add", address+"/24", "dev", "br0").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		// Within a second of the stop the address is not asked for before the
		// start; what looks behind it finds the stranger then, and rgmanager
		// that the address is gone.
		if a := n1.ask("enable", "service:data", 0); a.Code != -1 && a.Code != 0 {
			t.Errorf("enable: %+v", a)
		}
		// Tried on both, and running on none: what was started is stopped.
		n1.in("data", rgmctl.StateStopped, 0)
		for i, m := range l.nodes {
			m.logged("[ip] IPv4 address collision " + address + ": ")
			m.logged("#68: Failed to start service:data; return value: 1")
			if out := l.inside(c.Nodes[i], "ip -o addr show; cat /proc/mounts"); strings.Contains(out, address) || strings.Contains(out, point) {
				t.Errorf("%s still has a part of it:\n%s", m.name, out)
			}
		}
		if out, err := c.Stranger("ip", "addr", "del", address+"/24", "dev", "br0").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if a := n1.ask("enable", "service:data", 0); a.Code != 0 || a.Owner != 1 {
			t.Errorf("enable: %+v", a)
		}
		settled()
	})

	// hold keeps the file system busy.
	hold := func() *exec.Cmd {
		cmd := c.Nodes[0].Command("sh", "-c", "cd "+point+"; echo holds; exec sleep 100000")
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill() })
		if _, err := out.Read(make([]byte, 8)); err != nil {
			t.Fatal(err)
		}
		return cmd
	}

	act("the disk can not be unmounted", func(t *testing.T, before int) {
		holder := hold()
		if a := n2.ask("relocate", "service:data", 2); a.Code != -2 {
			t.Errorf("relocate: %+v", a)
		}
		n2.in("data", rgmctl.StateFailed, 0)
		n1.logged("(sleep) still uses " + point + ": cwd")
		n1.logged("#12: RG service:data failed to stop; intervention required")
		if a := n2.ask("enable", "service:data", 0); a.Code != -1 {
			t.Errorf("enable of a failed service: %+v", a)
		}
		again(before, "stop n1") // and started nowhere
		if out := l.inside(c.Nodes[1], "cat /proc/mounts"); strings.Contains(out, point) {
			t.Errorf("n2 mounts what n1 has not unmounted:\n%s", out)
		}
		_ = holder.Process.Kill()
		_ = holder.Wait()
		if a := n1.ask("disable", "service:data", 0); a.Code != 0 {
			t.Errorf("disable: %+v", a)
		}
		if a := n1.ask("enable", "service:data", 0); a.Code != 0 || a.Owner != 1 {
			t.Errorf("enable: %+v", a)
		}
		settled()
	})

	reload := func(version int, rm string) {
		t.Helper()
		l.configure(version, cman, rm)
		for _, m := range l.nodes {
			m.kill(syscall.SIGHUP)
		}
		for _, m := range l.nodes {
			l.eventually(fmt.Sprintf("%s has version %d", m.name, version), func() error {
				st, err := m.status()
				if err == nil && st.ConfigVersion != version {
					err = fmt.Errorf("it has %d", st.ConfigVersion)
				}
				return err
			})
		}
	}

	act("the configuration changes, and who holds the disk is killed", func(t *testing.T, before int) {
		reload(2, rm(` force_unmount="1"`, slow))
		n2.in("slow", rgmctl.StateStarted, 1)
		again(before) // it can change without a restart
		holder := hold()
		if a := n2.ask("relocate", "service:data", 2); a.Code != 0 || a.Owner != 2 {
			t.Errorf("relocate: %+v", a)
		}
		if err := holder.Wait(); err == nil {
			t.Error("the holder was not killed")
		}
		n1.in("data", rgmctl.StateStarted, 2)
		if a := n2.ask("relocate", "service:data", 1); a.Code != 0 || a.Owner != 1 {
			t.Errorf("relocate: %+v", a)
		}
		settled()
	})

	act("an agent hangs on stop", func(t *testing.T, before int) {
		l.write(filepath.Join(l.shared, "hang.stop"), "", 0o644)
		defer os.Remove(filepath.Join(l.shared, "hang.stop"))
		if a := n2.ask("disable", "service:slow", 0); a.Code != -1 {
			t.Errorf("disable: %+v", a)
		}
		n2.in("slow", rgmctl.StateFailed, 0)
		n1.logged("stop on script:slow timed out after 3 seconds")
		os.Remove(filepath.Join(l.shared, "hang.stop"))
		if a := n2.ask("disable", "service:slow", 0); a.Code != 0 {
			t.Errorf("disable: %+v", a)
		}
	})

	all := func(m *machine, owner uint32) {
		t.Helper()
		l.eventually("all services run", func() error {
			st, err := m.status()
			if err != nil {
				return err
			}
			for _, g := range st.Services {
				if g.Name == "service:slow" {
					continue
				}
				if g.State != rgmctl.StateStarted || owner != 0 && g.Owner != owner {
					return errShort{g.Name, g.StateName, g.OwnerName}
				}
			}
			if len(st.Services) != storm+2 {
				return errShort{fmt.Sprint(len(st.Services), " services")}
			}
			return nil
		})
	}

	act("200 services start at once", func(t *testing.T, before int) {
		reload(3, rm(` force_unmount="1"`, slow+many.String()))
		for _, m := range l.nodes {
			all(m, 0)
		}
		if diff := cmp.Diff([]string{}, l.journal("data")[before:]); diff != "" {
			t.Errorf("what did not change was touched (-want +got)\n%s", diff)
		}
	})

	act("each node restarts, one after the other", func(t *testing.T, before int) {
		for i, m := range l.nodes {
			m.kill(syscall.SIGTERM)
			if err := m.end(); err != nil {
				t.Errorf("%s: %v", m.name, err)
			}
			c.Nodes[i].Stop()
			all(l.nodes[1-i], uint32(2-i))
			c.Nodes[i].Start()
			m.run()
			for _, x := range l.nodes {
				x.members(2)
			}
		}
		for _, m := range l.nodes {
			all(m, 0)
		}
		again(before, "stop n1", "start n2", "stop n2", "start n1")
		for i := range storm {
			l.once(fmt.Sprint("s", i), nil)
		}
	})
}
