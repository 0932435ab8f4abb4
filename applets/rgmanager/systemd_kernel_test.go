//go:build linux

package rgmanager

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/haobox/haobox/internal/cmdtest"
	"github.com/haobox/haobox/platform/corosync/corotest"
	"github.com/haobox/haobox/platform/systemd/systemdtest"
)

// TestUnits runs the units of qdiskd, fenced and rgmanager under a real systemd: a
// restart of rgmanager and its death leave services running, and the next process
// adopts what it has checked; with --strict-exit it does as the original did.
// What the journal has of it carries fields.
func TestUnits(t *testing.T) {
	corotest.Need(t)
	systemdtest.Need(t)
	t.Parallel()
	bin := cmdtest.Build(t, "../..", ".")
	disk := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(disk, make([]byte, 10<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("losetup", "-f", "--show", disk).CombinedOutput()
	if err != nil {
		t.Fatalf("losetup: %v: %s", err, out)
	}
	device := strings.TrimSpace(string(out))
	t.Cleanup(func() { exec.Command("losetup", "-d", device).Run() })
	files := map[string]string{
		"/etc/hosts": "127.0.0.1 localhost\n10.77.0.1 n1\n",
		"/etc/cluster/cluster.conf": `<cluster name="unit" config_version="1">
<totem token="10000"/>
<clusternodes><clusternode name="n1" nodeid="1"><fence><method name="m"><device name="d"/></method></fence></clusternode></clusternodes>
<fencedevices><fencedevice name="d" agent="fence_test"/></fencedevices>
<fence_daemon post_join_delay="0"/>
<quorumd device="` + device + `" interval="1" tko="3" votes="1"/>
<rm><service name="web"><script name="web" file="/web"/></service></rm>
</cluster>
`,
		"/web": `#!/bin/sh
case $1 in
start) setsid sleep 100000 >/dev/null 2>&1 </dev/null & echo $! >/run/web.pid; echo start >>/journal;;
stop) if [ -f /run/web.pid ]; then kill $(cat /run/web.pid); rm -f /run/web.pid; echo stop >>/journal; fi;;
status) grep -q '^State:.[^Z]' /proc/$(cat /run/web.pid)/status;;
esac
`,
		"/down": "#!/bin/sh\necho down >>/journal\n",
	}
	for _, u := range []string{"haobox-qdiskd.service", "haobox-fenced.service", "haobox-rgmanager.service"} {
		text, err := os.ReadFile("../../packaging/" + u)
		if err != nil {
			t.Fatal(err)
		}
		files["/etc/systemd/system/"+u] = string(text)
	}
	binds := map[string]string{}
	for _, p := range []string{"cman_tool", "mkqdisk", "qdiskd", "fenced", "fence_tool", "rgmanager", "clustat", "clusvcadm"} {
		binds["/usr/sbin/"+p] = bin
	}
	m := systemdtest.Start(t, systemdtest.Options{Files: files, Binds: binds,
		Setup: "ip link add br0 type bridge; ip addr add 10.77.0.1/24 dev br0; ip link set br0 up; rm -rf $ROOT/etc/corosync; mkdir $ROOT/etc/corosync; " +
			"chmod 755 $ROOT/web $ROOT/down; rm -rf $ROOT/usr/share/cluster; touch $ROOT" + device + "; mount --bind " + device + " $ROOT" + device})
	run := func(name string, args ...string) string {
		t.Helper()
		cmd := m.Command("timeout", append([]string{strconv.Itoa(int(patience.Seconds())), name}, args...)...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
		}
		return strings.TrimSpace(string(out))
	}
	eventually := func(what string, f func() error) {
		t.Helper()
		err := errors.New("not looked")
		for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
			if err = f(); err == nil {
				return
			}
		}
		t.Fatalf("%s: %v", what, err)
	}
	started := func() {
		t.Helper()
		eventually("web is started", func() error {
			out, err := m.Command("clustat", "-s", "web").CombinedOutput()
			if err == nil && !strings.Contains(string(out), " started ") {
				err = errors.New(string(out))
			}
			return err
		})
	}
	mainPID := func() string { return run("systemctl", "show", "-P", "MainPID", "haobox-rgmanager") }
	// journal are the starts and stops of the service.
	journal := func(want ...string) {
		t.Helper()
		if got := strings.Fields(run("cat", "/journal")); !slices.Equal(got, want) {
			t.Errorf("the service saw %v, want %v", got, want)
		}
	}
	run("cman_tool", "join", "-w", "-t", "60") // the disk's vote is needed for quorum
	run("mkqdisk", "-y", "-c", device, "-l", "unit")
	run("systemctl", "start", "haobox-qdiskd")
	if out := run("cman_tool", "status"); !strings.Contains(out, "Quorum device votes: 1\n") {
		t.Errorf("the quorum disk does not vote:\n%s", out)
	}
	// Type=notify: the start ends when it is a working member.
	run("systemctl", "start", "haobox-rgmanager")
	if out := run("systemctl", "is-active", "haobox-qdiskd", "haobox-fenced", "haobox-rgmanager"); out != "active\nactive\nactive" {
		t.Errorf("the units are %q", out)
	}
	started()
	service, first := run("cat", "/run/web.pid"), mainPID()

	run("systemctl", "restart", "haobox-rgmanager")
	started()
	second := mainPID()
	if second == first {
		t.Error("rgmanager was not restarted")
	}
	journal("start")

	run("systemctl", "kill", "-s", "KILL", "--kill-who=main", "haobox-rgmanager")
	eventually("systemd starts it again", func() error {
		if p := mainPID(); p == "0" || p == second {
			return errors.New("process " + p)
		}
		return nil
	})
	started()
	journal("start")

	// Adopted is not believed: what died meanwhile is found and repaired.
	third := mainPID()
	run("sh", "-c", "kill -KILL "+third+" "+service)
	eventually("the service is started again", func() error {
		if p := run("cat", "/journal"); !strings.HasSuffix(p, "stop\nstart") {
			return errors.New(p)
		}
		return nil
	})
	started()
	if p := run("cat", "/run/web.pid"); p == service {
		t.Error("the service's process is the dead one")
	}
	run("sh", "-c", "kill -KILL $(cat /run/web.pid)")
	eventually("the service is started again", func() error {
		if p := run("cat", "/journal"); !strings.HasSuffix(p, "start\nstop\nstart\nstop\nstart") {
			return errors.New(p)
		}
		return nil
	})
	started()

	run("systemctl", "reload", "haobox-rgmanager")
	run("systemctl", "stop", "haobox-rgmanager")
	journal("start", "stop", "start", "stop", "start", "stop")

	// The original's way.
	run("sh", "-c", "mkdir -p /etc/sysconfig; printf 'RGMGR_OPTS=--strict-exit\\nHAOBOX_HARD_DOWN=/down\\n' >/etc/sysconfig/rgmanager")
	run("systemctl", "start", "haobox-rgmanager")
	started()
	run("systemctl", "restart", "haobox-rgmanager")
	started()
	journal("start", "stop", "start", "stop", "start", "stop", "start", "stop", "start")
	run("sh", "-c", "kill -KILL $(cat /run/rgmanager.pid)")
	eventually("the watchdog takes the node down", func() error {
		if p := run("cat", "/journal"); !strings.Contains(p, "down") {
			return errors.New(p)
		}
		return nil
	})
	run("systemctl", "stop", "haobox-rgmanager", "haobox-fenced", "haobox-qdiskd")
	for _, u := range []string{"haobox-fenced", "haobox-qdiskd"} {
		if out := run("systemctl", "show", "-P", "Result", u); out != "success" {
			t.Errorf("%s ended as %q", u, out)
		}
	}

	// The fields, on every line about one.
	type entry struct {
		Message  any    `json:"MESSAGE"`
		Service  string `json:"SERVICE"`
		Node     string `json:"NODE"`
		Resource string `json:"RESOURCE"`
	}
	want := map[string]entry{
		"Starting stopped service service:web":              {Service: "service:web", Node: "n1"},
		"Service service:web started":                       {Service: "service:web", Node: "n1"},
		"[script] Executing /web start":                     {Service: "service:web", Node: "n1", Resource: "script:web"},
		`status on script "web" returned 1 (generic error)`: {Service: "service:web", Node: "n1", Resource: "script:web"},
		"State change: Local UP":                            {Node: "n1"},
	}
	for line := range strings.Lines(run("journalctl", "-b", "--no-pager", "-o", "json", "-t", "rgmanager")) {
		var e entry
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		text, _ := e.Message.(string)
		if w, ok := want[text]; ok {
			delete(want, text)
			if w.Message = e.Message; e != w {
				t.Errorf("in the journal: %+v, want %+v", e, w)
			}
		}
		if e.Resource == "" && strings.HasPrefix(text, "[") || e.Service == "" && strings.Contains(text, "service:") {
			t.Errorf("in the journal: %+v", e)
		}
	}
	for text := range want {
		t.Errorf("not in the journal: %s", text)
	}
}
