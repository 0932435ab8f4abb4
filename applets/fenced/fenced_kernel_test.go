//go:build linux

package fenced_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/haobox/haobox/internal/cmdtest"
	"github.com/haobox/haobox/platform/corosync/corotest"
	"github.com/haobox/haobox/platform/platformtest"
)

// lab is three nodes with corosync, fenced and a cluster.conf; their guests are
// on one simulated z/VM, and a guest's logoff kills what runs on its node, as it
// would.
type lab struct {
	*corotest.Cluster
	t    *testing.T
	bin  string
	zvm  string // folder of smapid
	pass string // what cluster.conf says
}

const labConf = `<cluster name="lab" config_version="%d">
  <totem token="1000"/>
  <logging debug="on" to_syslog="no"/>
  <clusternodes>
    <clusternode name="n1" nodeid="1"><fence><method name="1"><device name="zvm" port="GUEST1"/></method></fence></clusternode>
    <clusternode name="n2" nodeid="2"><fence><method name="1"><device name="zvm" port="GUEST2"/></method></fence></clusternode>
    <clusternode name="n3" nodeid="3"><fence><method name="1"><device name="zvm" port="GUEST3"/></method></fence></clusternode>
  </clusternodes>
  <fencedevices><fencedevice name="zvm" agent="fence_zvmip" ipaddr="unix:%s/smapi" login="CMANAGER" passwd="%s"/></fencedevices>
  <fence_daemon post_join_delay="3" post_fail_delay="0" retry_max="3"/>
</cluster>
`

func newLab(t *testing.T, bin string) *lab {
	t.Helper()
	dir := platformtest.ShortDir(t)
	l := &lab{corotest.Start(t, corotest.Options{Nodes: 3}), t, bin, dir, "SECRET"}
	l.startZVM()
	for _, n := range l.Nodes {
		l.conf(n, 1)
		l.startFenced(n)
	}
	for i := range l.Nodes {
		l.wait(i+1, "all are in the fence domain", func(s string) bool { return strings.Contains(s, "members       1 2 3 ") }, "fence_tool", "ls")
	}
	t.Cleanup(func() {
		if !t.Failed() {
			return
		}
		for _, n := range l.Nodes {
			b, _ := os.ReadFile(filepath.Join(n.Dir, "root/var/log/cluster/fenced.log"))
			t.Logf("fenced.log of node %d:\n%s", n.ID, b)
		}
	})
	return l
}

// startZVM starts smapid with the nodes' guests.
func (l *lab) startZVM() {
	l.t.Helper()
	// The hook kills the node's daemons, frozen or not.
	var hook strings.Builder
	hook.WriteString("#!/bin/sh\ncase $SMAPID_GUEST in\n")
	for _, n := range l.Nodes {
		fmt.Fprintf(&hook, "GUEST%d) kill -9 $(cat %s/pids); true;;\n", n.ID, n.Dir)
	}
	hook.WriteString("esac\n")
	if err := os.WriteFile(filepath.Join(l.zvm, "hook"), []byte(hook.String()), 0o755); err != nil {
		l.t.Fatal(err)
	}
	cmd := exec.Command(l.bin, "smapid", "--listen", "unix:"+l.zvm+"/smapi", "--guests", "GUEST1,GUEST2,GUEST3", "--authorize", "CMANAGER:SECRET",
		"--control", l.zvm+"/ctl", "--logoff-delay", "10ms", "--logon-delay", "10ms", "--quiet", "--on-logoff", l.zvm+"/hook")
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	l.Eventually("smapid is up", func() error { return exec.Command(l.bin, "smapid", "ctl", "--control", l.zvm+"/ctl", "status").Run() })
}

// zvmCtl changes the simulator.
func (l *lab) zvmCtl(args ...string) {
	l.t.Helper()
	if out, err := exec.Command(l.bin, append([]string{"smapid", "ctl", "--control", l.zvm + "/ctl"}, args...)...).CombinedOutput(); err != nil {
		l.t.Fatalf("smapid ctl %v: %v: %s", args, err, out)
	}
}

// conf writes a node's cluster.conf.
func (l *lab) conf(n *corotest.Node, version int) {
	l.t.Helper()
	file := filepath.Join(n.Dir, "root/etc/cluster/cluster.conf")
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		l.t.Fatal(err)
	}
	if err := os.WriteFile(file, fmt.Appendf(nil, labConf, version, l.zvm, l.pass), 0o600); err != nil {
		l.t.Fatal(err)
	}
}

// env is that of a node's commands: its own root and /run, visible here.
func (l *lab) env(n *corotest.Node) []string {
	return append(os.Environ(), "HAOBOX_ROOT="+n.Dir+"/root", "HAOBOX_RUN="+n.Dir+"/run", "PATH=/usr/bin:/bin")
}

// startFenced starts the daemon of a node, in the fence domain. There is no
// fence_zvmip in its PATH: it is the agent itself.
func (l *lab) startFenced(n *corotest.Node) {
	l.t.Helper()
	l.launch(n)
	l.Eventually(fmt.Sprintf("fenced of node %d is up", n.ID), func() error {
		pid, err := os.ReadFile(n.Dir + "/run/fenced.pid")
		if err != nil {
			return err
		}
		if err := os.WriteFile(n.Dir+"/pids", fmt.Appendf(nil, "%d %s", n.PID, pid), 0o600); err != nil {
			return err
		}
		return l.command(n, "curl", "-sf", "--unix-socket", n.Dir+"/run/haobox/fenced.sock", "http://x/v1/domain").Run()
	})
}

// launch starts the daemon and does not wait for it.
func (l *lab) launch(n *corotest.Node) {
	n.Daemon(fmt.Sprintf("HAOBOX_ROOT=%[1]s/root HAOBOX_RUN=%[1]s/run PATH=/usr/bin:/bin exec %[2]s fenced -D --join", n.Dir, l.bin))
}

// fencedPID is the process of a node's fenced.
func (l *lab) fencedPID(id int) int {
	b, err := os.ReadFile(l.Nodes[id-1].Dir + "/run/fenced.pid")
	if err != nil {
		l.t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		l.t.Fatal(err)
	}
	return pid
}

func (l *lab) command(n *corotest.Node, name string, args ...string) *exec.Cmd {
	cmd := n.Command(name, args...)
	cmd.Env = l.env(n)
	return cmd
}

// run runs an applet on a node.
func (l *lab) run(id int, args ...string) (string, error) {
	out, err := l.command(l.Nodes[id-1], l.bin, args...).CombinedOutput()
	return string(out), err
}

// wait waits until what an applet prints on a node is as wanted.
func (l *lab) wait(id int, what string, want func(string) bool, args ...string) {
	l.t.Helper()
	l.Eventually(fmt.Sprintf("node %d: %s", id, what), func() error {
		out, err := l.run(id, args...)
		if !want(out) {
			return fmt.Errorf("%v: %s", err, out)
		}
		return nil
	})
}

// fenced waits until a node's history says that victim is off, by agent.
func (l *lab) fenced(id int, victim string, times int) {
	l.t.Helper()
	l.wait(id, victim+" was fenced", func(s string) bool {
		return strings.Count(s, `"how":"agent","ok":true`) >= times
	}, "fence_history", "--json", "--node", victim)
}

// dead is what a guest's logoff leaves: nothing.
func (l *lab) dead(id int) {
	l.t.Helper()
	pid := l.Nodes[id-1].PID
	l.Eventually(fmt.Sprintf("corosync of node %d is killed", id), func() error {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err == nil && !strings.Contains(string(b), ") Z ") {
			return fmt.Errorf("process %d is alive: %s", pid, b)
		}
		return nil
	})
}

// back boots a node that was fenced.
func (l *lab) back(id int) {
	l.t.Helper()
	n := l.Nodes[id-1]
	l.dead(id)
	n.Wait()
	n.Start()
	l.startFenced(n)
	for i := range l.Nodes {
		l.wait(i+1, "all are back", func(s string) bool { return strings.Contains(s, "members       1 2 3 ") }, "fence_tool", "ls")
	}
}

func (l *lab) log(id int) string {
	b, err := os.ReadFile(filepath.Join(l.Nodes[id-1].Dir, "root/var/log/cluster/fenced.log"))
	if err != nil {
		l.t.Fatal(err)
	}
	return string(b)
}

// attempts counts the failed ones in the output of fence_history --json.
func attempts(history string) (n int) {
	for _, line := range strings.Split(history, "\n") {
		var op struct {
			OK       bool `json:"ok"`
			Attempts int  `json:"attempts"`
		}
		if json.Unmarshal([]byte(line), &op) == nil && !op.OK {
			n += op.Attempts
		}
	}
	return n
}

// TestKernel_Fencing has a cluster of three for each story; they mostly wait.
func TestKernel_Fencing(t *testing.T) {
	corotest.Need(t)
	bin := cmdtest.Build(t, "../..", ".")
	for _, tc := range []struct {
		name string
		run  func(*testing.T, *lab)
	}{{"crash and freeze", crashAndFreeze}, {"partition, and two at once", partitionAndTwoAtOnce},
		{"wrong password", wrongPasswordIsCorrected}, {"the next master takes over", theNextMasterTakesOver},
		{"dlm_controld", dlmControld}} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			tc.run(t, newLab(t, bin))
		})
	}
}

// crashAndFreeze: the node comes back and is a member again.
func crashAndFreeze(t *testing.T, l *lab) {

	// A member of the fence domain does not let corosync stop.
	if out, err := l.command(l.Nodes[0], "/usr/sbin/corosync-cfgtool", "-H").CombinedOutput(); !strings.Contains(string(out), "Could not shutdown") {
		t.Errorf("corosync stops: %v: %s", err, out)
	}
	l.wait(1, "corosync was not let go", func(s string) bool { return strings.Contains(s, "no to cman shutdown") }, "fence_tool", "dump")

	// All could be fenced, says the master; others do not say.
	if out, err := l.run(1, "fence_check"); err != nil || strings.Count(out, " method 1: success\n") != 3 {
		t.Errorf("fence_check: %v: %s", err, out)
	}
	if out, err := l.run(2, "fence_check"); err == nil || !strings.Contains(out, "node is not fence master") {
		t.Errorf("fence_check on node 2: %v: %s", err, out)
	}

	// Who is not root is told so.
	for _, c := range []struct{ command, want string }{
		{"dump", "fence_tool: dump: can't communicate with fenced: permission denied, only root may\n"},
		{"leave", "fence_tool: leave: can't communicate with fenced: permission denied, only root may\n"},
		{"join", "fence_tool: can't connect to cman: permission denied, only root may\n"},
	} {
		out, err := l.command(l.Nodes[0], "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", l.bin, "fence_tool", c.command).CombinedOutput()
		if err == nil || string(out) != c.want {
			t.Errorf("fence_tool %s as nobody: %v: %s", c.command, err, out)
		}
	}

	// A crash: the node's daemons are gone. The lowest survivor fences it.
	syscall.Kill(l.fencedPID(3), syscall.SIGKILL)
	l.Nodes[2].Signal(syscall.SIGKILL)
	for _, id := range []int{1, 2} {
		l.fenced(id, "n3", 1)
	}
	if log := l.log(2); strings.Contains(log, "fencing node n3") || !strings.Contains(log, "fencing deferred to n1") {
		t.Errorf("node 2 did not defer to node 1:\n%s", log)
	}
	for _, want := range []string{"fencing node n3\n", "fence n3 dev 0.0 agent fence_zvmip result: success\n", "fence n3 success\n"} {
		if !strings.Contains(l.log(1), want) {
			t.Errorf("log of node 1 lacks %q", want)
		}
	}
	l.back(3)

	// A freeze of the master: the next one fences it, and what was frozen is
	// killed by the logoff before it could go on.
	syscall.Kill(l.fencedPID(1), syscall.SIGSTOP)
	l.Nodes[0].Freeze()
	l.fenced(2, "n1", 1)
	l.fenced(3, "n1", 1)
	l.dead(1)
	l.back(1)

	// A person fences a node; fenced learns of it and does not fence it again.
	if out, err := l.run(1, "fence_node", "-v", "n2"); err != nil || !strings.Contains(out, "fence n2 dev 0.0 agent fence_zvmip result: success\nfence n2 success\n") {
		t.Errorf("fence_node: %v: %s", err, out)
	}
	l.dead(2)
	for _, id := range []int{1, 3} {
		l.wait(id, "n2 was fenced by hand", func(s string) bool {
			return strings.Contains(s, "nodeid 2 member 0 victim 0 last fence master 0 how external\n")
		}, "fence_tool", "ls", "-n")
	}
	if log := l.log(1) + l.log(3); strings.Contains(log, "fencing node n2") {
		t.Errorf("n2 was fenced again:\n%s", log)
	}
}

// partitionAndTwoAtOnce: what quorum decides.
func partitionAndTwoAtOnce(t *testing.T, l *lab) {

	// A partition, 2 | 1: the majority fences; the other side has no quorum and
	// fences nobody.
	l.Nodes[1].Cut()
	l.fenced(1, "n2", 1)
	l.dead(2)
	l.Nodes[1].Heal()
	if log := l.log(2); strings.Contains(log, "fencing node") && strings.LastIndex(log, "fencing node") > strings.LastIndex(log, "removed seq") {
		t.Errorf("the minority fenced:\n%s", log)
	}
	l.back(2)

	// Both others at once: no quorum, so nothing happens, until one is back and
	// makes it; then the missing one is fenced.
	for _, id := range []int{2, 3} {
		syscall.Kill(l.fencedPID(id), syscall.SIGKILL)
	}
	l.Nodes[1].Signal(syscall.SIGKILL)
	l.Nodes[2].Signal(syscall.SIGKILL)
	l.wait(1, "waits for quorum", func(s string) bool { return strings.Contains(s, "wait state    quorum") }, "fence_tool", "ls")
	l.Nodes[1].Wait()
	l.Nodes[1].Start()
	l.startFenced(l.Nodes[1])
	l.fenced(1, "n3", 1)
	l.back(3)
}

// wrongPasswordIsCorrected: the agent fails, twice at least, with the
// password of cluster.conf, until somebody corrects it and reloads.
func wrongPasswordIsCorrected(t *testing.T, l *lab) {
	l.pass = "WRONG"
	reload := func(version int) {
		t.Helper()
		for i, n := range l.Nodes {
			l.conf(n, version)
			syscall.Kill(l.fencedPID(i+1), syscall.SIGHUP)
		}
		for i := range l.Nodes {
			l.wait(i+1, "has the new configuration", func(s string) bool {
				return strings.Contains(s, fmt.Sprintf("new configuration, version %d", version))
			}, "fence_tool", "dump")
		}
	}
	reload(2)
	l.Nodes[2].Freeze()
	l.wait(2, "two attempts failed", func(s string) bool { return attempts(s) >= 2 }, "fence_history", "--json")
	if !strings.Contains(l.log(1), "fence n3 failed\n") {
		t.Error("no failed attempt in the log")
	}
	if strings.Contains(l.log(1), "WRONG") {
		t.Error("the password is in the log")
	}
	l.pass = "SECRET"
	for _, n := range l.Nodes[:2] {
		l.conf(n, 3)
	}
	syscall.Kill(l.fencedPID(1), syscall.SIGHUP)
	syscall.Kill(l.fencedPID(2), syscall.SIGHUP)
	l.fenced(2, "n3", 1)
	l.dead(3)
}

// theNextMasterTakesOver: the master's fenced is killed while its
// agent runs. The next one fences both the victim and the node whose fence
// daemon died and did not come back in time.
func theNextMasterTakesOver(t *testing.T, l *lab) {
	// SMAPI is silent for the first attempt.
	l.zvmCtl("fault", "function=Image_Deactivate,count=1,do=silence")
	l.Nodes[2].Freeze()
	l.wait(1, "fencing begins", func(s string) bool { return strings.Contains(s, "fencing node n3") }, "fence_tool", "dump")
	syscall.Kill(l.fencedPID(1), syscall.SIGKILL)
	// It may be back in time or not: on a busy machine its node is fenced, too.
	l.launch(l.Nodes[0])
	l.fenced(2, "n3", 1)
	l.dead(3)
	if !strings.Contains(l.log(2), "fencing node n3") {
		t.Errorf("node 2 did not take over:\n%s", l.log(2))
	}
}
