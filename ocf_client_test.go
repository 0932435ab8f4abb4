package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/haobox/haobox/internal/cmdtest"
	"github.com/haobox/haobox/platform/testskip"
)

// ocfFolder is where Pacemaker looks for agents of ours.
const ocfFolder = "/usr/lib/ocf/resource.d/haobox"

// TestOCF_Pacemaker lets two programs of the other side judge our agents:
// ocf-tester of resource-agents, which starts, stops and checks them with good
// and bad parameters, and crm_resource of Pacemaker, which finds the agent by
// its name and asks it about a configuration. They run in namespaces of their
// own, where ocfFolder has our agents.
func TestOCF_Pacemaker(t *testing.T) {
	t.Parallel()
	testskip.IfForeign(t, "ocf-tester, crm_resource, mkfs and mount")
	if os.Geteuid() != 0 {
		t.Fatal("not root; namespaces and mounts need it")
	}
	binary := cmdtest.Build(t, ".", ".")
	disk, point, script := filepath.Join(t.TempDir(), "disk"), t.TempDir(), filepath.Join(t.TempDir(), "svc")
	if err := os.WriteFile(script, []byte("#!/bin/sh\ncase $1 in\nstart) touch $0.on ;;\nstop) rm -f $0.on ;;\nstatus) [ -e $0.on ] || exit 3 ;;\nesac\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	// The folder may not be there, and what is put there is not to stay.
	// ocf-tester asks for metadata as a user without rights.
	setup := "set -e; mount -t tmpfs none /usr/lib/ocf/resource.d; mkdir " + ocfFolder + "; cp " + binary + " " + ocfFolder + "/../haobox.bin; " +
		"for a in ip fs script; do ln -s ../haobox.bin " + ocfFolder + "/$a; done; " +
		"ip link set lo up; ip link add v0 type veth peer name v1; ip link set v0 up; ip link set v1 up; ip address add 192.0.2.1/24 dev v0; "
	for _, tc := range []struct {
		name, before, agent, params, bad, after string
	}{
		{"ip", "", "ip", "address=192.0.2.9/24", "address=nonsense", "test \"$(ip -o address show dev v0 to 192.0.2.0/24 | wc -l)\" = 1"},
		{"fs", fmt.Sprintf("truncate -s 16M %s; mkfs.ext4 -q %[1]s; dev=$(losetup -f --show %[1]s); trap 'losetup -d $dev' EXIT; ", disk),
			"fs", "device=$dev mountpoint=" + point + " fstype=ext4", "device=$dev mountpoint=relative", "! mountpoint -q " + point},
		{"script", "", "script", "file=" + script, "file=/nonexistent", "test ! -e " + script + ".on"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			option := func(flag, params string) string {
				out := ""
				for _, p := range strings.Fields(params) {
					out += " " + flag + " " + p
				}
				return out
			}
			crm := "crm_resource --validate --class=ocf --provider=haobox --agent=" + tc.agent
			steps := setup + tc.before +
				"ocf-tester -n test" + option("-o", tc.params) + " " + ocfFolder + "/" + tc.agent + "; " + tc.after + "; " +
				crm + option("--option", tc.params) + "; " +
				"if " + crm + option("--option", tc.bad) + "; then echo a wrong configuration is accepted; exit 1; fi"
			cmd := exec.Command("unshare", "--mount", "--net", "--", "bash", "-c", steps)
			// Not our own "ip", which the scripts of this package have in PATH.
			cmd.Env = append(os.Environ(), "PATH=/usr/sbin:/usr/bin:/sbin:/bin")
			out, err := cmd.CombinedOutput()
			if err != nil || !strings.Contains(string(out), "passed all tests") {
				t.Errorf("%s: %v\n%s", tc.agent, err, out)
			}
		})
	}
}
