//go:build linux

package fenced_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// dlmScript starts the real dlm_controld in namespaces, with the "fence_all"
// line that "haobox export --to dlm" names. This machine's kernel need not
// have a lock manager: what the daemon lists are plain folders, and there are no
// lock spaces. Whom it fences it decides with corosync alone. It wants devices
// of the numbers in /proc/misc; that of the locks it also waits for, and once
// there is something it reads whole requests and blocks in the middle of one. So
// that one is a device that is open and never has anything to read: the master
// of a terminal. $1 is the node's folder, $2 haobox.
const dlmScript = `exec >"$1/dlm.log" 2>&1
set -e
mkdir "$1/dev" "$1/agents"
mount -t tmpfs -o mode=755 tmpfs "$1/dev"
mkdir "$1/dev/shm" "$1/dev/misc"
mount --bind /dev/shm "$1/dev/shm"
mknod -m 666 "$1/dev/null" c 1 3
mknod -m 666 "$1/dev/zero" c 1 5
mknod -m 666 "$1/dev/urandom" c 1 9
mknod "$1/dev/misc/dlm-control" c 1 3
mknod "$1/dev/misc/dlm-monitor" c 1 3
mkdir "$1/dev/misc/pts"
mount -t devpts devpts "$1/dev/misc/pts"
mknod "$1/dev/misc/dlm_plock" c 5 2
printf '  3 dlm-control\n  3 dlm-monitor\n  2 dlm_plock\n' >"$1/misc"
mount --rbind "$1/dev" /dev
mount --bind "$1/misc" /proc/misc
mount -t tmpfs tmpfs /sys/kernel
mkdir -p /sys/kernel/config/dlm/cluster/comms /sys/kernel/config/dlm/cluster/spaces /sys/kernel/dlm
mkdir -p /etc/dlm
mount -t tmpfs tmpfs /etc/dlm
printf 'enable_fencing=1\nenable_startup_fencing=0\nenable_plock=0\npost_join_delay=1\nfence_all %s\n' "$1/agents/fence_domain" >/etc/dlm/dlm.conf
ln -s "$2" "$1/agents/fence_domain"
export HAOBOX_ROOT="$1/root" HAOBOX_RUN="$1/run"
exec dlm_controld -D
`

// dlmControld: dlm_controld 4 leaves fencing to fenced. A node dies, the lock
// manager asks fence_domain and is told when the guest is off, which fenced does
// once.
func dlmControld(t *testing.T, l *lab) {
	log := func(id int) string {
		text, _ := os.ReadFile(filepath.Join(l.Nodes[id-1].Dir, "dlm.log"))
		return string(text)
	}
	status := func(id int, what string, want func(text string) bool) {
		t.Helper()
		l.Eventually(fmt.Sprintf("dlm_controld of node %d: %s", id, what), func() error {
			out, err := l.Nodes[id-1].Command("timeout", "5", "dlm_tool", "status").CombinedOutput()
			if err != nil || !want(string(out)) {
				return fmt.Errorf("%v\n%s\n%s", err, out, log(id))
			}
			return nil
		})
	}
	// line is what dlm_tool says of a node: "node 3 X add 5 rem 9 fail 9 fence 9 at 1 TIME".
	line := func(text string, id int) []string {
		for s := range strings.Lines(text) {
			if f := strings.Fields(s); len(f) > 2 && f[0] == "node" && f[1] == fmt.Sprint(id) {
				return f
			}
		}
		return make([]string, 3)
	}
	script := filepath.Join(l.zvm, "dlm")
	if err := os.WriteFile(script, []byte(dlmScript), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, n := range l.Nodes {
		n.Daemon(fmt.Sprintf("exec unshare --mount sh %s %s %s", script, n.Dir, l.bin))
	}
	for _, n := range l.Nodes {
		status(int(n.ID), "all three are members", func(s string) bool {
			return line(s, 1)[2] == "M" && line(s, 2)[2] == "M" && line(s, 3)[2] == "M"
		})
	}
	l.Nodes[2].Kill()
	for _, id := range []int{1, 2} {
		status(id, "node 3 is fenced", func(s string) bool {
			f := line(s, 3)
			return len(f) > 10 && f[2] == "X" && f[9] == "fence" && f[10] != "0"
		})
	}
	l.fenced(1, "n3", 1)
	if out, err := l.run(1, "fence_history", "--json", "--node", "n3"); err != nil || strings.Count(out, `"how":"agent"`) != 1 {
		t.Errorf("n3 is fenced once by fenced, not by each of the two: %v\n%s", err, out)
	}
	if text := log(1); !strings.Contains(text, "fence_all "+l.Nodes[0].Dir+"/agents/fence_domain") || !strings.Contains(text, "result 0 exit status") {
		t.Errorf("dlm_controld of node 1 has not asked fence_domain:\n%s", text)
	}
}
