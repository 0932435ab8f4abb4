//go:build linux

package cmantool

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/haobox/haobox/applets/internal/confload"
	"github.com/haobox/haobox/applets/internal/engine"
	"github.com/haobox/haobox/internal/clusterconf"
	"github.com/haobox/haobox/internal/cmdtest"
	"github.com/haobox/haobox/internal/goldentest"
	"github.com/haobox/haobox/platform/corosync"
	"github.com/haobox/haobox/platform/corosync/corotest"
)

// lab is two nodes without corosync, with cluster.conf and cman_tool.
type lab struct {
	*corotest.Cluster
	t   *testing.T
	bin string
}

const clusterConf = `<cluster name="lab" config_version="%d">
  <cman two_node="1" expected_votes="1"/>
  <totem token="%d"/>
  <logging to_syslog="no" logfile="%s/log"/>
  <clusternodes>
    <clusternode name="n1" nodeid="1"/>
    <clusternode name="n2" nodeid="2"/>
  </clusternodes>
</cluster>
`

func newLab(t *testing.T, o corotest.Options) *lab {
	t.Helper()
	corotest.Need(t)
	o.Nodes, o.Idle = 2, true
	l := &lab{corotest.Start(t, o), t, cmdtest.Build(t, "../..", ".")}
	key := strings.Repeat("k", 256)
	for _, n := range l.Nodes {
		l.write(n, 1, 1000)
		for name, text := range map[string]string{"hosts": "10.77.0.1 n1\n10.77.0.2 n2\n", "authkey": key} {
			if err := os.WriteFile(filepath.Join(n.Dir, name), []byte(text), 0o400); err != nil {
				t.Fatal(err)
			}
		}
		// Nothing of the machine's own files is changed: all is mounted over,
		// in the node's mount namespace.
		for _, c := range [][]string{
			{"mount", "--bind", n.Dir + "/hosts", "/etc/hosts"},
			{"mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/etc/corosync"},
			{"cp", "-p", n.Dir + "/authkey", "/etc/corosync/authkey"},
		} {
			if out, err := n.Command(c[0], c[1:]...).CombinedOutput(); err != nil {
				t.Fatalf("%v: %v: %s", c, err, out)
			}
		}
		t.Cleanup(func() { // a daemon that cman_tool started is nobody's child
			n.Command("sh", "-c", "kill -9 $(cat /run/corosync.pid /var/run/corosync.pid 2>/dev/null) 2>/dev/null").Run()
		})
	}
	return l
}

// write writes a cluster.conf with a version and a token.
func (l *lab) write(n *corotest.Node, version, token int) {
	l.t.Helper()
	text := fmt.Sprintf(clusterConf, version, token, n.Dir)
	if err := os.WriteFile(filepath.Join(n.Dir, "cluster.conf"), []byte(text), 0o600); err != nil {
		l.t.Fatal(err)
	}
}

// run runs cman_tool on node id and returns its output and exit status.
func (l *lab) run(id int, args string) (out, errs string, code int) {
	l.t.Helper()
	return l.runWith(id, args)
}

func (l *lab) runWith(id int, args string, env ...string) (out, errs string, code int) {
	l.t.Helper()
	n := l.Nodes[id-1]
	cmd := n.Command(l.bin, append([]string{"cman_tool"}, strings.Fields(args)...)...)
	cmd.Env = append(os.Environ(), append(env, "COROSYNC_CLUSTER_CONFIG_FILE="+n.Dir+"/cluster.conf", "TZ=UTC")...)
	var o, e strings.Builder
	cmd.Stdout, cmd.Stderr = &o, &e
	err := cmd.Run()
	if exit, is := err.(*exec.ExitError); is {
		code = exit.ExitCode()
	} else if err != nil {
		l.t.Fatal(err)
	}
	return o.String(), e.String(), code
}

// ok runs a command that must succeed without a word on standard error.
func (l *lab) ok(id int, args string) string {
	l.t.Helper()
	out, errs, code := l.run(id, args)
	if code != 0 || errs != "" {
		l.t.Errorf("node %d: cman_tool %s: exit %d: %s", id, args, code, errs)
	}
	return out
}

// fails runs a command that must fail with a text.
func (l *lab) fails(id int, args string, code int, want string) {
	l.t.Helper()
	_, errs, got := l.run(id, args)
	if got != code || !strings.Contains(errs, want) {
		l.t.Errorf("node %d: cman_tool %s: exit %d, %q; want %d, %q", id, args, got, errs, code, want)
	}
}

// golden compares output in which times and generations are the same each run.
func golden(t *testing.T, name, got string) {
	t.Helper()
	for _, r := range [][2]string{
		{`(?m)^(Cluster Generation: )\d+$`, "${1}GEN"},
		{`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d`, "YYYY-MM-DD HH:MM:SS"},
		{`(?m)^( +\d   M )( +\d+)`, "${1}   INC"},
	} {
		got = regexp.MustCompile(r[0]).ReplaceAllString(got, r[1])
	}
	goldentest.Compare(t, filepath.Join("testdata", name+".golden"), got)
}

// TestCluster takes two nodes through the life of a cluster.
func TestCluster(t *testing.T) {
	l := newLab(t, corotest.Options{})
	for _, c := range []string{"status", "nodes", "version", "wait", "leave", "expected -e 1", "votes -v 1", "kill -n n2", "debug -d1"} {
		l.fails(1, c, 1, "cman_tool: Cannot open connection to cman, is it running ?")
	}
	l.ok(1, "join -w -q -t 60") // two_node: one vote is enough, and nobody is waited for
	l.fails(1, "join", 1, "cman_tool: Node is already active")
	if out := l.ok(1, "status"); !strings.Contains(out, "Nodes: 1\n") || !strings.Contains(out, "Flags: 2node \n") || !strings.Contains(out, "Quorum: 1  \n") {
		t.Errorf("alone:\n%s", out)
	}
	l.ok(2, "join -w -q -t 60")
	for _, n := range l.Nodes {
		n.WaitMembers(2)
	}
	golden(t, "status", l.ok(1, "status"))
	golden(t, "nodes", l.ok(1, "nodes"))
	golden(t, "nodes_addresses", l.ok(2, "nodes -a"))
	golden(t, "nodes_fields", l.ok(1, "nodes -F id,name,type,addr,votes,exp,state"))
	golden(t, "nodes_one", l.ok(1, "nodes -n n2"))
	if out := l.ok(1, "version"); out != "6.2.0 config 1\n" {
		t.Errorf("version: %q", out)
	}
	l.ok(1, "wait -q -t 5")
	l.ok(1, "debug -d1")
	l.ok(1, "debug -d0")
	l.fails(1, "services", 1, "Unable to invoke group_tool")

	// The conversation is encrypted, since there is a key.
	conf, err := l.Nodes[0].Command("cat", "/etc/corosync/corosync.conf").Output()
	if err != nil || !strings.Contains(string(conf), "crypto_cipher: aes256") {
		t.Errorf("corosync.conf: %v\n%s", err, conf)
	}

	l.fails(1, "expected -e 1", 1, "cman_tool: can't set expected votes: Invalid argument")
	l.fails(1, "votes -v 4294967297", 1, "argument to v (4294967297) is not an integer")
	l.fails(1, "votes -v 1 -n nobody", 1, "Can't set votes for node nobody : Node is not yet a cluster member")
	if _, errs, code := l.run(1, "kill -n nobody"); code != 0 || errs != "Can't kill node nobody : Node is not yet a cluster member\n" {
		t.Errorf("kill a stranger: exit %d, %q", code, errs)
	}

	// A new configuration: the old version is refused, the new one loaded.
	l.fails(1, "version -r -S", 1, "cman_tool: Not reloading, config version older or equal the running config")
	for _, n := range l.Nodes {
		l.write(n, 2, 1500)
	}
	l.fails(1, "version -r", 1, "ccs_sync failed.")
	// Nobody listens on node 2, so it is done there by hand.
	if _, errs, code := l.run(1, "version -r -S"); code != 0 || errs != "cman_tool: no daemon on node n2 could be told of the new configuration: run \"cman_tool version -r -S\" there\n" {
		t.Errorf("without daemons: exit %d, %q", code, errs)
	}
	l.run(2, "version -r -S")
	l.Eventually("the new version", func() error {
		for id := 1; id <= 2; id++ {
			if out := l.ok(id, "version"); out != "6.2.0 config 2\n" {
				return fmt.Errorf("node %d: %q", id, out)
			}
		}
		return nil
	})

	// With a daemon on node 2, one command is enough.
	if _, errs, code := l.run(2, "version -r -S"); code != 1 || !strings.Contains(errs, "older or equal") {
		t.Errorf("the same version: exit %d, %q", code, errs)
	}
	stop := l.listen(2)
	for _, n := range l.Nodes {
		l.write(n, 3, 2000)
	}
	l.ok(1, "version -r -S")
	for id, n := range l.Nodes {
		l.Eventually("the new version", func() error {
			if out := l.ok(id+1, "version"); out != "6.2.0 config 3\n" {
				return fmt.Errorf("node %d: %q", id+1, out)
			}
			return nil
		})
		for _, f := range []string{clusterconf.RunningPath, "/etc/corosync/corosync.conf"} {
			if text, err := n.Command("cat", f).Output(); err != nil || !strings.Contains(string(text), "2000") {
				t.Errorf("%s of node %d: %v\n%s", f, id+1, err, text)
			}
		}
	}
	if err := os.WriteFile(filepath.Join(l.Nodes[1].Dir, "cluster.conf"), []byte("<cluster"), 0o600); err != nil {
		t.Fatal(err)
	}
	l.write(l.Nodes[0], 4, 2000)
	if _, errs, code := l.run(1, "version -r -S"); code != 0 || !strings.HasPrefix(errs, "cman_tool: node n2 did not take the new configuration: ") || !strings.Contains(errs, "cluster.conf:1:") {
		t.Errorf("a bad file on the other node: exit %d, %q", code, errs)
	}
	stop()
	l.write(l.Nodes[1], 4, 2000)
	l.run(2, "version -r -S")

	l.ok(1, "kill -n n2")
	l.Nodes[0].WaitMembers(1)
	if out := l.ok(1, "nodes"); !strings.Contains(out, "   2   X      0                        n2\n") {
		t.Errorf("after kill:\n%s", out)
	}
	l.ok(2, "join -w -t 60")
	l.Nodes[0].WaitMembers(2)

	// A client refuses: the node stays, with its votes.
	allow := l.veto(2)
	l.fails(2, "leave remove", 1, "cman_tool: Error leaving cluster: Device or resource busy")
	l.fails(2, "leave remove -w -t 2", 2, "cman_tool: Timed-out waiting for cluster")
	if out := l.ok(1, "nodes -F id,votes,exp"); out != "1 1 2 \n2 1 2 \n" {
		t.Errorf("after a refusal:\n%s", out)
	}
	allow()
	l.ok(2, "leave remove -w -t 30")
	l.Nodes[0].WaitMembers(1)
	l.fails(2, "status", 1, "is it running ?")
	l.ok(1, "leave -w -t 30")
	l.fails(1, "status", 1, "is it running ?")
}

// listen does what a daemon on a node does, until stop.
func (l *lab) listen(id int) (stop func()) {
	l.t.Helper()
	err := l.Nodes[id-1].In(func() error {
		e, err := engine.OpenCorosync(l.t.Context(), corosync.Config{})
		if err != nil {
			return err
		}
		over, err := confload.Listen(e, func(int) error {
			_, errs, code := l.runWith(id, "version -r -S", confload.LocalVariable+"=1")
			if code != 0 {
				return errors.New(strings.TrimSpace(errs))
			}
			return nil
		})
		stop = func() { over(); e.Close() }
		return err
	})
	if err != nil {
		l.t.Fatal(err)
	}
	return stop
}

// veto refuses, as a daemon with services running does, to let corosync on a node
// stop, until allow.
func (l *lab) veto(id int) (allow func()) {
	l.t.Helper()
	err := l.Nodes[id-1].In(func() error {
		c, err := corosync.DialCfg(l.t.Context(), corosync.Config{})
		if err != nil {
			return err
		}
		over := make(chan struct{})
		go func() {
			defer close(over)
			for {
				ev, err := c.Next(l.t.Context())
				if err == nil && !ev.TimedOut {
					err = c.ReplyToShutdown(l.t.Context(), false)
				}
				if err != nil {
					return
				}
			}
		}()
		allow = func() { c.Close(); <-over }
		return c.TrackShutdown(l.t.Context())
	})
	if err != nil {
		l.t.Fatal(err)
	}
	return allow
}

// TestJoin_Refusals: what a bad configuration or key leads to, all before
// anything is started.
func TestJoin_Refusals(t *testing.T) {
	l := newLab(t, corotest.Options{})
	n := l.Nodes[0]
	conf := filepath.Join(n.Dir, "cluster.conf")
	good, err := os.ReadFile(conf)
	if err != nil {
		t.Fatal(err)
	}
	put := func(text string) {
		t.Helper()
		if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	with := func(old, text string) { put(strings.Replace(string(good), old, text, 1)) }

	put("<cluster")
	l.fails(1, "join", 1, "not well-formed")
	with(`<cman `, `<cmann `)
	l.fails(1, "join", 1, "cman_tool: Not joining, configuration is not valid")
	with(`name="n1"`, `name="elsewhere"`)
	l.fails(1, "join -n elsewhere", 1, "node name elsewhere does not stand for an address of this machine")
	with(`name="n1"`, `name="x1"`)
	l.fails(1, "join", 1, "cman_tool: Cannot find node name in cluster.conf")
	with(`nodeid="2"`, `nodeid="1"`)
	l.fails(1, "join -Dnone", 1, "nodeid 1 is used twice")
	with(`<cman two_node="1" expected_votes="1"/>`, `<quorumd label="q"/>`)
	with2, _ := os.ReadFile(conf)
	put(strings.Replace(string(with2), `nodeid="2"`, `nodeid="17"`, 1))
	l.fails(1, "join -Dnone", 1, "nodeid 17: with a quorum disk ids are 1 to 16")
	put(string(good))
	l.fails(1, "join -2 -e 2", 1, "expected_votes value (2) invalid in two node mode")
	if _, errs, code := l.runWith(1, "join", "CMAN_VOTES=3x"); code != 1 || !strings.Contains(errs, "CMAN_VOTES (3x) is not an integer") {
		t.Errorf("join with a bad variable: exit %d, %q", code, errs)
	}
	l.fails(1, "join -c sixteen-letters-", 1, "cman_tool: Invalid cluster name. It must be 15 characters or fewer")
	l.fails(1, "join -p 70000", 1, "argument to p (70000) must be between 1 and 65535")
	for _, c := range []struct{ sh, want string }{
		{"chmod 0440 /etc/corosync/authkey", "can be read or changed by others (mode 0440)"},
		{"chmod 0400 /etc/corosync/authkey; echo short >/etc/corosync/authkey", "has 6 bytes"},
	} {
		if out, err := n.Command("sh", "-c", c.sh).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", c.sh, err, out)
		}
		l.fails(1, "join", 1, c.want)
	}
	if err := os.Remove(conf); err != nil {
		t.Fatal(err)
	}
	l.fails(1, "join", 1, "cman_tool: read the configuration")
	l.fails(1, "status", 1, "is it running ?")

	// A stranger is told so. The daemon must run for that.
	if out, err := n.Command("rm", "/etc/corosync/authkey").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	put(string(good))
	if _, errs, code := l.run(1, "join -w -t 60"); code != 0 || !strings.Contains(errs, "neither encrypted nor authenticated") {
		t.Errorf("join without a key: exit %d, %q", code, errs)
	}
	if err := os.Chmod(l.bin, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := n.Command("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", l.bin, "cman_tool", "status")
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "cman_tool: Cannot open connection to cman, permission denied.") {
		t.Errorf("another user: %v, %s", err, out)
	}
	l.ok(1, "leave -w -t 30")
}
