//go:build linux

package rgmanager

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/haobox/haobox/applets/applet"
	"github.com/haobox/haobox/applets/internal/daemon"
	"github.com/haobox/haobox/internal/ctl"
	"github.com/haobox/haobox/internal/ctl/ctltest"
	"github.com/haobox/haobox/internal/rgmctl"
	"github.com/haobox/haobox/platform/host"
	"github.com/haobox/haobox/platform/platformtest"
)

// daemonVariable makes the test binary be rgmanager.
const daemonVariable = "RGMANAGER_TEST_DAEMON"

func TestMain(m *testing.M) {
	// Started by rgmanager: one of our agents as a child.
	if typ, ok := strings.CutSuffix(filepath.Base(os.Args[0]), ".sh"); ok {
		os.Exit(newNative().byType[typ].Main(context.Background(), host.Env(), os.Args))
	}
	if os.Getenv(daemonVariable) == "1" {
		os.Exit(applet.Status(Run(context.Background(), host.Env(), os.Args), os.Stderr))
	}
	// Tests here wait for daemons more than they compute.
	flag.Parse()
	parallel := false
	flag.Visit(func(f *flag.Flag) { parallel = parallel || f.Name == "test.parallel" })
	if !parallel {
		if err := flag.Set("test.parallel", "5"); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

// sh runs a script, with args put into its text, to its good end, and returns
// what it printed.
func sh(t *testing.T, script string, args ...any) string {
	t.Helper()
	out, err := exec.Command("sh", "-ec", fmt.Sprintf(script, args...)).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", script, err, out)
	}
	return strings.TrimSpace(string(out))
}

// patience bounds each wait for something that must come on a busy machine.
const patience = time.Minute

// script is a service as a script: a process in the background, and a line in
// a journal that all nodes share for each start and stop. Files beside it make
// it fail: fail.start, fail.stop and hang.stop.
const script = `#!/bin/sh
S=%[1]s N=%[2]s G=%[3]s
P=$S/$G.$N.pid
case $1 in
start)
	[ -e $S/fail.start ] && exit 1
	echo "$G start $N" >>$S/journal
	setsid sleep 100000 >/dev/null 2>&1 </dev/null &
	echo $! >$P;;
stop)
	[ -e $S/hang.stop ] && exec sleep 100000
	[ -e $S/fail.stop ] && exit 1
	if [ -f $P ]; then
		kill $(cat $P) 2>/dev/null
		rm -f $P
		echo "$G stop $N" >>$S/journal
	fi;;
status) grep -q '^State:.[^Z]' /proc/$(cat $P)/status;;
esac
`

// lab is a cluster of rgmanagers that are processes.
type lab struct {
	t      *testing.T
	dir    string
	shared string
	nodes  []*machine
	// whole: the nodes' root folder is that of this machine, as agents that
	// mount want it, with their own folders on the usual places, and root on
	// /mnt.
	whole bool
}

// machine is a node of it.
type machine struct {
	l     *lab
	name  string
	root  string
	env   []string
	start func(args ...string) *exec.Cmd
	cmd   *exec.Cmd
	done  chan error
	fence *fakeFenced
}

// newLab makes the folders for nodes n1, n2, ...; conf is the content of
// <cluster> after the nodes, and services the names of script services that it
// has.
func newLab(t *testing.T, nodes int, extra, rm string, services ...string) *lab {
	t.Helper()
	dir := platformtest.ShortDir(t)
	l := &lab{t: t, dir: dir, shared: filepath.Join(dir, "s")}
	t.Cleanup(l.killServices)
	l.mkdir(l.shared)
	for i := range nodes {
		m := &machine{l: l, name: fmt.Sprintf("n%d", i+1)}
		m.root = filepath.Join(dir, m.name)
		l.mkdir(filepath.Join(m.root, "etc/cluster"))
		l.mkdir(filepath.Join(m.root, "run/haobox"))
		for _, s := range services {
			l.write(filepath.Join(m.root, s), fmt.Sprintf(script, l.shared, m.name, s), 0o755)
		}
		m.env = []string{daemonVariable + "=1", "HAOBOX_ROOT=" + m.root, "HAOBOX_NODE=" + m.name, "PATH=" + os.Getenv("PATH"),
			HardDownVariable + "=" + filepath.Join(m.root, "down")}
		l.write(filepath.Join(m.root, "down"), fmt.Sprintf("#!/bin/sh\necho \"%s $1\" >>%s/down\n", m.name, l.shared), 0o755)
		l.nodes = append(l.nodes, m)
	}
	l.configure(1, extra, rm)
	t.Cleanup(func() {
		for _, m := range l.nodes {
			m.kill(syscall.SIGKILL)
			if t.Failed() {
				text, _ := os.ReadFile(filepath.Join(m.root, "stderr")) // without one: nothing
				t.Logf("log of %s:\n%s", m.name, text[max(0, len(text)-6000):])
			}
		}
	})
	return l
}

func (l *lab) mkdir(dir string) {
	l.t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		l.t.Fatal(err)
	}
}

func (l *lab) write(file, text string, mode os.FileMode) {
	l.t.Helper()
	if err := os.WriteFile(file, []byte(text), mode); err != nil {
		l.t.Fatal(err)
	}
}

// machines makes the nodes whole.
func (l *lab) machines() *lab {
	l.whole = true
	for _, m := range l.nodes {
		m.env = slices.DeleteFunc(m.env, func(s string) bool { return strings.HasPrefix(s, "HAOBOX_ROOT=") })
	}
	return l
}

// configure writes cluster.conf on all nodes.
func (l *lab) configure(version int, extra, rm string) {
	l.t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "<cluster name=\"lab\" config_version=\"%d\">\n%s<clusternodes>\n", version, extra)
	for i, m := range l.nodes {
		fmt.Fprintf(&b, "<clusternode name=\"%s\" nodeid=\"%d\" votes=\"1\"/>\n", m.name, i+1)
	}
	fmt.Fprintf(&b, "</clusternodes>\n<rm>%s</rm>\n</cluster>\n", rm)
	for _, m := range l.nodes {
		l.write(filepath.Join(m.root, "etc/cluster/cluster.conf"), b.String(), 0o600)
	}
}

// local puts the nodes on the embedded engine.
func (l *lab) local() *lab {
	for _, m := range l.nodes {
		m.env = append(m.env, daemon.EngineVariable+"=local:"+filepath.Join(l.dir, "bus"))
		m.start = func(args ...string) *exec.Cmd { return exec.Command("/proc/self/exe", args...) }
	}
	return l
}

// killServices ends what services left running.
func (l *lab) killServices() {
	files, _ := filepath.Glob(filepath.Join(l.shared, "*.pid"))
	for _, f := range files {
		text, _ := os.ReadFile(f)
		var pid int
		if _, err := fmt.Sscan(string(text), &pid); err == nil && pid > 1 {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

// run starts rgmanager.
func (m *machine) run(args ...string) {
	m.l.t.Helper()
	m.cmd = m.start(append([]string{"-f", "-d"}, args...)...)
	m.cmd.Env = m.env
	out, err := os.OpenFile(filepath.Join(m.root, "stderr"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		m.l.t.Fatal(err)
	}
	defer out.Close()
	m.cmd.Stderr = out
	if err := m.cmd.Start(); err != nil {
		m.l.t.Fatal(err)
	}
	m.done = make(chan error, 1)
	go func(c *exec.Cmd, done chan error) { done <- c.Wait() }(m.cmd, m.done)
}

// kill sends a signal; SIGKILL is waited for.
func (m *machine) kill(sig syscall.Signal) {
	if m.cmd == nil {
		return
	}
	_ = m.cmd.Process.Signal(sig) // it may be gone
	if sig == syscall.SIGKILL {
		<-m.done
		m.cmd = nil
	}
}

// end waits for the end of a daemon that was told to end.
func (m *machine) end() error {
	m.l.t.Helper()
	select {
	case err := <-m.done:
		m.cmd = nil
		return err
	case <-time.After(patience):
		m.l.t.Fatalf("%s: rgmanager does not end", m.name)
	}
	return nil
}

func (m *machine) client() *ctl.Client {
	env := platformtest.NewEnv(m.l.t)
	env.FS = host.NewFS(m.root)
	c := daemon.Client(env.Env, Name)
	c.Limit = patience
	return c
}

func (m *machine) status() (st rgmctl.Status, err error) {
	err = m.client().Do(m.l.t.Context(), "GET", "/v1/status", nil, &st)
	return st, err
}

// ask makes a request and returns its code.
func (m *machine) ask(action, service string, target uint32) rgmctl.Answer {
	m.l.t.Helper()
	var a rgmctl.Answer
	if err := m.client().Do(m.l.t.Context(), "POST", "/v1/request", rgmctl.Request{Service: service, Action: action, Target: target}, &a); err != nil {
		m.l.t.Fatalf("%s: %s %s: %v", m.name, action, service, err)
	}
	return a
}

// eventually looks again and again until f gives no error.
func (l *lab) eventually(what string, f func() error) {
	l.t.Helper()
	err := errors.New("not looked")
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if err = f(); err == nil {
			return
		}
	}
	l.t.Fatalf("%s: %v", what, err)
}

// in waits until a node sees a service in a state, on a node or on none.
func (m *machine) in(service string, state int, owner uint32) {
	m.l.t.Helper()
	m.l.eventually(fmt.Sprintf("%s sees %s %s on %d", m.name, service, rgmctl.StateString(state), owner), func() error {
		st, err := m.status()
		if err != nil {
			return err
		}
		g := st.Service("service:" + service)
		if g == nil || g.State != state || g.Owner != owner {
			return fmt.Errorf("it is %+v", g)
		}
		return nil
	})
}

// members waits until a node sees that many rgmanagers.
func (m *machine) members(want int) {
	m.l.t.Helper()
	m.l.eventually(fmt.Sprintf("%s sees %d rgmanagers", m.name, want), func() error {
		st, err := m.status()
		if err != nil {
			return err
		}
		n := 0
		for _, x := range st.Nodes {
			if x.RGManager {
				n++
			}
		}
		if n != want || !st.Quorate && want > 0 {
			return fmt.Errorf("it sees %d, quorate %v", n, st.Quorate)
		}
		return nil
	})
}

// journal are the starts and stops of a service so far.
func (l *lab) journal(service string) []string {
	text, _ := os.ReadFile(filepath.Join(l.shared, "journal"))
	var out []string
	for line := range strings.Lines(string(text)) {
		if s, ok := strings.CutPrefix(line, service+" "); ok {
			out = append(out, strings.TrimSpace(s))
		}
	}
	return out
}

// pid is the process of a service on a node.
func (m *machine) pid(service string) int {
	m.l.t.Helper()
	text, err := os.ReadFile(filepath.Join(m.l.shared, service+"."+m.name+".pid"))
	if err != nil {
		m.l.t.Fatal(err)
	}
	pid := 0
	if _, err := fmt.Sscan(string(text), &pid); err != nil {
		m.l.t.Fatal(err)
	}
	return pid
}

// log is the log file's lines without time and name, and without those of the
// level debug that are not the original's.
func (m *machine) log() []string {
	return m.file(filepath.Join(m.root, "var/log/cluster/rgmanager.log"))
}

func (m *machine) file(name string) []string {
	text, _ := os.ReadFile(name) // none: no lines
	var out []string
	for line := range strings.Lines(string(text)) {
		if _, s, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " "+Name+" "); ok {
			out = append(out, s)
		}
	}
	return out
}

// logged waits for a line.
func (m *machine) logged(line string) {
	m.l.t.Helper()
	m.l.eventually(m.name+" logs "+line, func() error {
		if !slices.ContainsFunc(m.log(), func(s string) bool { return strings.Contains(s, line) }) {
			return errors.New("it does not")
		}
		return nil
	})
}

// fakeFenced answers GET /v1/events as fenced does.
type fakeFenced struct {
	mu    sync.Mutex
	nodes []fenceState
	more  chan struct{}
}

// fenced starts one on each node. The nodes are members at first.
func (l *lab) fenced() {
	l.t.Helper()
	for _, m := range l.nodes {
		f := &fakeFenced{more: make(chan struct{})}
		m.fence = f
		for i, x := range l.nodes {
			f.nodes = append(f.nodes, fenceState{ID: uint32(i + 1), Name: x.name, State: "member"})
		}
		mux := http.NewServeMux()
		mux.HandleFunc("GET /v1/events", func(w http.ResponseWriter, r *http.Request) {
			write := ctl.Stream(w)
			for {
				f.mu.Lock()
				all, more := slices.Clone(f.nodes), f.more
				f.mu.Unlock()
				for _, n := range all {
					if write(n) != nil {
						return
					}
				}
				select {
				case <-more:
				case <-r.Context().Done():
					return
				}
			}
		})
		ctltest.Serve(l.t, m.root, "fenced", mux)
	}
}

// say tells all nodes what fenced knows of one.
func (l *lab) say(id uint32, state string, ring uint64) {
	for _, m := range l.nodes {
		m.fence.mu.Lock()
		m.fence.nodes[id-1].State, m.fence.nodes[id-1].Ring = state, ring
		close(m.fence.more)
		m.fence.more = make(chan struct{})
		m.fence.mu.Unlock()
	}
}

// page is an answer as it is.
func (m *machine) page(path string) string {
	m.l.t.Helper()
	c := m.client()
	conn, err := c.Dial(m.l.t.Context())
	if err != nil {
		m.l.t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET %s HTTP/1.0\r\n\r\n", path)
	var b strings.Builder
	buf := make([]byte, 1<<16)
	for {
		n, err := conn.Read(buf)
		b.Write(buf[:n])
		if err != nil {
			return b.String()
		}
	}
}
