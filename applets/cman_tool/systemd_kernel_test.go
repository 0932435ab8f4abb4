//go:build linux

package cmantool

import (
	"strings"
	"testing"

	"github.com/haobox/haobox/internal/cmdtest"
	"github.com/haobox/haobox/platform/corosync/corotest"
	"github.com/haobox/haobox/platform/systemd/systemdtest"
)

// TestJoin_ThroughSystemd: where systemd runs, corosync is its unit, and what
// systemd says of a start that failed is told.
func TestJoin_ThroughSystemd(t *testing.T) {
	corotest.Need(t)
	systemdtest.Need(t)
	m := systemdtest.Start(t, systemdtest.Options{
		Files: map[string]string{
			"/etc/hosts": "127.0.0.1 localhost\n10.77.0.1 n1\n",
			"/etc/cluster/cluster.conf": `<cluster name="unit" config_version="1">
<totem token="1000"/>
<clusternodes><clusternode name="n1" nodeid="1"/></clusternodes>
</cluster>
`,
		},
		Binds: map[string]string{"/usr/sbin/cman_tool": cmdtest.Build(t, "../..", ".")},
		Setup: "ip link add br0 type bridge; ip addr add 10.77.0.1/24 dev br0; ip link set br0 up; rm -rf $ROOT/etc/corosync; mkdir $ROOT/etc/corosync",
	})
	run := func(want bool, name string, args ...string) string {
		t.Helper()
		out, err := m.Command(name, args...).CombinedOutput()
		if (err == nil) != want {
			t.Errorf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	run(true, "cman_tool", "join", "-w", "-q", "-t", "60")
	if out := run(true, "cman_tool", "status"); !strings.Contains(out, "Membership state: Cluster-Member\n") || !strings.Contains(out, "Cluster Name: unit\n") {
		t.Errorf("status:\n%s", out)
	}
	if out := run(true, "systemctl", "is-active", "corosync.service"); out != "active\n" {
		t.Errorf("after join: %q", out)
	}
	run(true, "cman_tool", "leave", "-w", "-t", "60")
	run(false, "systemctl", "is-active", "corosync.service")
	run(false, "cman_tool", "status")

	run(true, "sh", "-ec", "mkdir -p /etc/systemd/system/corosync.service.d; "+
		`printf '[Service]\nExecStart=\nExecStart=/bin/false\n' >/etc/systemd/system/corosync.service.d/test.conf; systemctl daemon-reload`)
	if out := run(false, "cman_tool", "join"); !strings.Contains(out, "cman_tool: corosync died: start corosync.service: the job ended as") || !strings.Contains(out, "systemctl status corosync.service") {
		t.Errorf("a start that fails: %s", out)
	}
}
