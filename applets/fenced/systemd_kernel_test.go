//go:build linux

package fenced_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/haobox/haobox/internal/cmdtest"
	"github.com/haobox/haobox/platform/corosync/corotest"
	"github.com/haobox/haobox/platform/systemd/systemdtest"
)

// TestUnit runs the shipped unit under a real systemd: it is started when the
// node is in the fence domain, comes back when it is killed, does not end by
// SIGTERM in the domain, reads its configuration again, leaves the domain
// when it is stopped, and stops with corosync.
func TestUnit(t *testing.T) {
	t.Parallel()
	corotest.Need(t)
	systemdtest.Need(t)
	unit, err := os.ReadFile("../../packaging/haobox-fenced.service")
	if err != nil {
		t.Fatal(err)
	}
	bin := cmdtest.Build(t, "../..", ".")
	const conf = `<cluster name="unit" config_version="1">
<totem token="1000"/>
<clusternodes><clusternode name="n1" nodeid="1"/></clusternodes>
<fence_daemon post_join_delay="0"/>
</cluster>
`
	m := systemdtest.Start(t, systemdtest.Options{
		Files: map[string]string{
			"/etc/hosts":                                "127.0.0.1 localhost\n10.77.0.1 n1\n",
			"/etc/cluster/cluster.conf":                 conf,
			"/etc/systemd/system/haobox-fenced.service": string(unit),
		},
		Binds: map[string]string{"/usr/sbin/cman_tool": bin, "/usr/sbin/fenced": bin, "/usr/sbin/fence_tool": bin},
		Setup: "ip link add br0 type bridge; ip addr add 10.77.0.1/24 dev br0; ip link set br0 up; rm -rf $ROOT/etc/corosync; mkdir $ROOT/etc/corosync",
	})
	run := func(want bool, name string, args ...string) string {
		t.Helper()
		out, err := m.Command(name, args...).CombinedOutput()
		if (err == nil) != want {
			t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
		}
		return strings.TrimSpace(string(out))
	}
	show := func(property string) string {
		t.Helper()
		return run(true, "systemctl", "show", "--value", "--property", property, "haobox-fenced")
	}
	eventually := func(what string, f func() bool) {
		t.Helper()
		for end := time.Now().Add(corotest.Patience); !f(); time.Sleep(100 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%s: not within %v", what, corotest.Patience)
			}
		}
	}
	inDomain := func() bool {
		out, err := m.Command("fence_tool", "ls").CombinedOutput()
		return err == nil && strings.Contains(string(out), "members       1 \n")
	}
	run(true, "systemd-analyze", "verify", "--man=no", "haobox-fenced.service")
	run(true, "cman_tool", "join", "-w", "-q", "-t", "60")

	run(true, "systemctl", "start", "haobox-fenced")
	if !inDomain() {
		t.Error("systemd calls it started before it is in the fence domain")
	}
	pid := show("MainPID")
	run(true, "kill", "-TERM", pid)
	run(true, "systemctl", "reload", "haobox-fenced")
	eventually("the log has the refused end and the reload", func() bool {
		out, _ := m.Command("fence_tool", "dump").CombinedOutput()
		return strings.Contains(string(out), "a member of the fence domain does not end") && strings.Contains(string(out), "the configuration is unchanged, version 1")
	})
	if got := show("MainPID"); got != pid {
		t.Errorf("SIGTERM ended a member: process %s, then %s", pid, got)
	}

	run(true, "kill", "-KILL", pid)
	eventually("it is started again, and in the domain", func() bool { got := show("MainPID"); return got != pid && got != "0" && inDomain() })

	run(true, "systemctl", "stop", "haobox-fenced")
	if state, result := show("ActiveState"), show("Result"); state != "inactive" || result != "success" {
		t.Errorf("after stop: %s, %s", state, result)
	}
	if inDomain() {
		t.Error("stopped, and in the fence domain")
	}
	run(true, "systemctl", "start", "haobox-fenced")
	run(true, "systemctl", "stop", "corosync")
	eventually("it stops with corosync", func() bool { return show("ActiveState") == "inactive" })
}
