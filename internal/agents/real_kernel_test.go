package agents

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/haobox/haobox/internal/cmdtest"
	"github.com/haobox/haobox/platform/host"
	"github.com/haobox/haobox/platform/platformtest"
	netprobe "github.com/haobox/haobox/platform/probe"
	"github.com/haobox/haobox/platform/proc"
	"github.com/haobox/haobox/platform/testskip"
)

// The tests here run the servers that Debian ships. Each test has network,
// mount and process namespaces of its own: this binary starts itself again in
// them, with insideVariable set.
const insideVariable = "HAOBOX_TEST_INSIDE"

// Addresses of the service "web" inside.
const (
	webIP4 = "192.0.2.10"
	webIP6 = "2001:db8::10"
)

// inside reports whether the test runs in its namespaces; if not, it has run
// there when inside returns. bin needs the haobox binary in there.
func inside(t *testing.T, bin bool) bool {
	t.Helper()
	if os.Getenv(insideVariable) != "" {
		return true
	}
	testskip.IfForeign(t, "needs the servers of the build machine")
	testskip.IfShort(t, "starts real servers")
	t.Parallel()
	enter(t, bin)
	return false
}

// enter runs the test again in its namespaces.
func enter(t *testing.T, bin bool) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	vars := append(os.Environ(), insideVariable+"=1")
	if bin {
		root, err := filepath.Abs("../..")
		if err != nil {
			t.Fatal(err)
		}
		vars = append(vars, "HAOBOX_TEST_BINARY="+cmdtest.Build(t, root, "."))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	// The shell is the first process in there: it reaps what servers leave.
	cmd := exec.CommandContext(ctx, "unshare", "-m", "-n", "-p", "-f", "--mount-proc", "--kill-child",
		"sh", "-c", `"$0" "$@"; exit $?`, self, "-test.run=^"+t.Name()+"$", "-test.count=1", "-test.v", "-test.timeout=4m")
	cmd.Env = vars
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("--- PASS: "+t.Name())) {
		t.Errorf("in its namespaces: %v\n%s", err, out)
	} else {
		t.Logf("%s", out)
	}
}

// sh runs a program of the test's set-up.
func sh(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// private puts an empty file system over folders.
func private(t *testing.T, dirs ...string) {
	t.Helper()
	for _, d := range dirs {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
		sh(t, "mount", "-t", "tmpfs", "-o", "mode=755", "none", d)
	}
}

func put(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func appendTo(t *testing.T, name, text string) {
	t.Helper()
	old, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	put(t, name, string(old)+text)
}

// user makes a user and its group, if they are not there, for this test alone.
func user(t *testing.T, name string, id int) {
	t.Helper()
	for file, line := range map[string]string{
		"/etc/passwd": fmt.Sprintf("%s:x:%d:%[2]d::/:/usr/sbin/nologin\n", name, id),
		"/etc/group":  fmt.Sprintf("%s:x:%d:\n", name, id),
	} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains("\n"+string(text), "\n"+name+":") {
			copied := "/tmp/room/" + filepath.Base(file)
			put(t, copied, string(text)+line)
			sh(t, "mount", "--bind", copied, file)
		}
	}
}

// room makes what every server needs: addresses, empty run-time folders, and a
// cluster.conf whose service "web" has both addresses.
func room(t *testing.T) {
	t.Helper()
	private(t, "/etc/cluster", "/run/cluster", "/var/log/cluster", "/var/cache/cluster", "/tmp/room")
	for _, line := range []string{
		"link set lo up", "link add eth9 type veth peer name eth8",
		"link set eth9 address 02:00:00:00:00:6d", "link set eth9 up", "link set eth8 up",
		"addr add " + webIP4 + "/24 dev eth9", "-6 addr add " + webIP6 + "/64 dev eth9 nodad",
	} {
		sh(t, "ip", strings.Fields(line)...)
	}
	put(t, "/etc/cluster/cluster.conf", `<?xml version="1.0"?>
<cluster name="c" config_version="1"><rm>
<resources><ip address="`+webIP4+`/24" sleeptime="0"/></resources>
<service name="web"><ip ref="`+webIP4+`/24"><ip address="`+webIP6+`/64"/></ip></service>
<service name="bare"/>
</rm></cluster>
`)
}

// resource is an agent with its parameters.
type resource struct {
	t      *testing.T
	agent  *Agent
	params []string // "name=value"
	// out is what the last action printed.
	out string
}

// run runs an action in a dialect and returns its status.
func (r *resource) run(ocf bool, depth int, words ...string) int {
	r.t.Helper()
	vars := map[string]string{"OCF_RESOURCE_INSTANCE": r.agent.Type + ":T", "OCF_RESKEY_name": "T", "OCF_CHECK_LEVEL": strconv.Itoa(depth)}
	name := r.agent.Program()
	if ocf {
		name = r.agent.Type
		vars["OCF_RESOURCE_INSTANCE"] = "T"
		vars["OCF_RESKEY_CRM_meta_timeout"] = "60000"
		vars["OCF_RESKEY_CRM_meta_interval"] = "10000"
		delete(vars, "OCF_RESKEY_name")
	} else {
		vars["OCF_RESKEY_service_name"] = "web"
	}
	for _, p := range r.params {
		k, v, _ := strings.Cut(p, "=")
		vars["OCF_RESKEY_"+k] = v
		if ocf && k == "RGMANAGER_meta_timeout" {
			continue
		}
		if k == "name" && !ocf {
			vars["OCF_RESOURCE_INSTANCE"] = r.agent.Type + ":" + v
		}
	}
	var out platformtest.Buffer
	env := host.Env()
	env.Getenv = func(k string) string { return vars[k] }
	env.Stdout, env.Stderr, env.Log = &out, &out, nil
	began := time.Now()
	defer func() {
		r.out = out.String()
		if d := time.Since(began); d > 3*time.Second {
			r.t.Logf("%s %v %q took %v\n%s", name, words, r.params, d.Round(time.Second), r.out)
		}
	}()
	code := r.agent.Main(r.t.Context(), env, append([]string{name}, words...))
	return code
}

// want runs rgmanager's action and demands its status.
func (r *resource) want(code int, words ...string) {
	r.t.Helper()
	if got := r.run(false, 0, words...); got != code {
		r.t.Fatalf("%s %v: status %d, want %d\n%s", r.agent.Program(), words, got, code, r.out)
	}
}

// wantOCF runs Pacemaker's action.
func (r *resource) wantOCF(code int, words ...string) {
	r.t.Helper()
	if got := r.run(true, 0, words...); got != code {
		r.t.Fatalf("ocf:haobox:%s %v: status %d, want %d\n%s", r.agent.Type, words, got, code, r.out)
	}
}

// says demands a text in what the last action printed.
func (r *resource) says(text string) {
	r.t.Helper()
	if !strings.Contains(r.out, text) {
		r.t.Errorf("%s does not say %q:\n%s", r.agent.Program(), text, r.out)
	}
}

// call is a Call for looking at /proc.
func call() *Call { return &Call{Env: host.Env()} }

// running lists processes of a name.
func running(names ...string) []int {
	var out []int
	for _, p := range Processes(call()) {
		exe, _ := os.Readlink(procFile(p.PID, "exe"))
		for _, n := range names {
			if filepath.Base(exe) == n && Alive(call(), p.PID) {
				out = append(out, p.PID)
			}
		}
	}
	return out
}

// until waits for a condition.
func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	end := time.Now().Add(60 * time.Second)
	for !done() {
		if time.Now().After(end) {
			t.Fatalf("after 60 s still not: %s", what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// pidOf reads a pid file.
func pidOf(t *testing.T, file string) int {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// killed sends a signal and waits for the process's end.
func killed(t *testing.T, pid, signal int) {
	t.Helper()
	if err := proc.Kill(pid, signal); err != nil {
		t.Fatal(err)
	}
	until(t, fmt.Sprintf("process %d is gone", pid), func() bool { return !Alive(call(), pid) })
}

// reachable reports whether something listens at an address.
func reachable(address string, port int) bool {
	conn, err := net.DialTimeout("tcp", net.JoinHostPort(address, strconv.Itoa(port)), 2*time.Second)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

// life is what every server's agent must get right.
type life struct {
	resource
	pid      string // pid file
	programs []string
	port     int
	// restarted says that something starts the server again when it crashes.
	restarted bool
	// fellow is the pid file of a second server that belongs to it.
	fellow string
	// breakIt spoils the configuration and returns how to undo that.
	breakIt func() (undo func())
	// option is the parameter with more options of the program, and what it
	// holds in good times.
	option string
}

func (l *life) test() {
	t := l.t
	l.want(NotRunning, "status")
	l.want(OK, "stop")
	l.want(OK, "validate-all")
	l.want(OK, "start")
	l.want(OK, "status")
	if got := l.run(false, 10, "status"); got != OK {
		t.Fatalf("status at depth 10: %d\n%s", got, l.out)
	}
	l.want(OK, "monitor")
	before := pidOf(t, l.pid)
	l.want(OK, "start")
	if after := pidOf(t, l.pid); after != before {
		t.Errorf("a second start replaced process %d by %d", before, after)
	}
	for _, a := range []string{webIP4, webIP6} {
		if !reachable(a, l.port) {
			t.Errorf("nothing listens at %s port %d", a, l.port)
		}
	}
	if reachable("127.0.0.1", l.port) {
		t.Errorf("port %d is open at an address that is not the service's", l.port)
	}
	// The generated file is written again from its source.
	l.want(OK, "restart")
	if pidOf(t, l.pid) == before {
		t.Errorf("restart left process %d running", before)
	}

	// Killed behind the agent's back: in order, and without a chance.
	l.kill(SIGTERM)
	// Its last act may be after the removal of its pid file. Apache that has just
	// started may lose the signal.
	again := time.Now().Add(5 * time.Second)
	until(t, "the server is gone", func() bool {
		if text, err := os.ReadFile(l.pid); err == nil && time.Now().After(again) {
			if pid, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil && pid > 1 {
				_ = proc.Kill(pid, SIGTERM)
			}
			again = time.Now().Add(5 * time.Second)
		}
		_, err := os.Stat(l.pid)
		return err != nil && len(running(l.programs...)) == 0
	})
	l.want(NotRunning, "status")
	l.says("Service Is Not Running")
	l.want(OK, "stop")
	l.gone()
	l.want(OK, "start")
	l.kill(SIGKILL)
	if !l.restarted {
		l.want(Generic, "status")
		l.wantOCF(NotRunning, "monitor")
	}
	l.want(OK, "stop")
	l.want(OK, "stop")
	l.gone()
	l.want(NotRunning, "status")

	// Another program has the port.
	var listeners []net.Listener
	for _, a := range []string{webIP4, webIP6} {
		k, err := net.Listen("tcp", net.JoinHostPort(a, strconv.Itoa(l.port)))
		if err != nil {
			t.Fatal(err)
		}
		listeners = append(listeners, k)
	}
	if l.run(false, 0, "start") == OK {
		t.Errorf("start succeeds although port %d is taken:\n%s", l.port, l.out)
	}
	l.says("> Failed")
	l.want(OK, "stop")
	for _, k := range listeners {
		k.Close()
	}
	l.gone()

	undo := l.breakIt()
	if l.run(false, 0, "start") == OK {
		t.Errorf("start succeeds with a broken configuration:\n%s", l.out)
	}
	l.run(false, 0, "stop")
	l.gone()
	undo()
	l.want(OK, "start")
	l.want(OK, "stop")

	// What a shell would run is only text.
	old := l.params
	for _, evil := range []string{"`touch /tmp/room/evil`", "$(touch /tmp/room/evil)", ";touch /tmp/room/evil", "|touch /tmp/room/evil", "'\ntouch /tmp/room/evil\n'"} {
		l.params = append(append([]string{}, old...), l.option+"="+evil)
		l.run(false, 0, "start")
		l.run(false, 0, "stop")
		l.params = append(append([]string{}, old...), "name="+evil)
		l.run(false, 0, "start")
		l.run(false, 0, "stop")
	}
	l.params = old
	if _, err := os.Stat("/tmp/room/evil"); err == nil {
		t.Error("a parameter went through a shell")
	}
	l.gone()

	// Outside of a service, and in one without an address.
	l.params = append(append([]string{}, old...), "service_name=")
	l.want(BadArguments, "start")
	l.says("Is Not A Child Of A Service")
	l.params = old

	// Pacemaker's words.
	l.wantOCF(NotRunning, "monitor")
	l.wantOCF(OK, "stop")
	l.wantOCF(OK, "validate-all")
	l.wantOCF(OK, "start")
	l.wantOCF(OK, "start")
	l.wantOCF(OK, "monitor")
	if got := l.run(true, 10, "monitor"); got != OK {
		t.Errorf("monitor at depth 10 for Pacemaker: %d\n%s", got, l.out)
	}
	l.wantOCF(OK, "stop")
	l.wantOCF(OK, "stop")
	l.wantOCF(NotRunning, "monitor")
	l.gone()
}

// kill ends the server behind the agent's back.
func (l *life) kill(signal int) {
	l.t.Helper()
	if l.fellow != "" {
		killed(l.t, pidOf(l.t, l.fellow), signal)
	}
	killed(l.t, pidOf(l.t, l.pid), signal)
}

// gone demands that no process of the server is left.
func (l *life) gone() {
	l.t.Helper()
	if left := running(l.programs...); len(left) > 0 {
		l.t.Fatalf("processes %v of %v are left; the last action said\n%s", left, l.programs, l.out)
	}
}

// noAddress demands that a start in a service without an address fails.
func (l *life) noAddress() {
	l.t.Helper()
	old := l.params
	l.params = append(append([]string{}, old...), "service_name=bare")
	l.want(Generic, "start")
	l.says("No IP Addresses Found")
	l.params = old
}

// broken returns a breakIt that appends a line to a file.
func broken(t *testing.T, file, line string) func() func() {
	return func() func() {
		old, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		appendTo(t, file, line+"\n")
		return func() { put(t, file, string(old)) }
	}
}

func apacheLife(t *testing.T) *life {
	private(t, "/var/log/apache2", "/run/apache2", "/run/lock", "/var/www")
	put(t, "/var/www/html/index.html", "hello\n")
	// A copy of Debian's own configuration, because it is broken on the way.
	sh(t, "cp", "-a", "/etc/apache2", "/tmp/room/apache2")
	return &life{
		resource: resource{t: t, agent: Apache(proc.Kill, netprobe.Client{}), params: []string{"server_root=/tmp/room/apache2", "config_file=apache2.conf", "shutdown_wait=5"}},
		pid:      "/run/cluster/apache/apache:T.pid", programs: []string{"apache2"}, port: 80,
		breakIt: broken(t, "/tmp/room/apache2/apache2.conf", "Nonsense On"), option: "httpd_options",
	}
}

func TestReal_Apache(t *testing.T) {
	if !inside(t, false) {
		return
	}
	room(t)
	l := apacheLife(t)
	l.test()
	l.noAddress()
}

// TestReal_ApacheDetails has what only apache does.
func TestReal_ApacheDetails(t *testing.T) {
	if !inside(t, false) {
		return
	}
	room(t)
	l := apacheLife(t)
	conf := "/etc/cluster/apache/apache:T/httpd.conf"
	// As after a boot: its run-time folders are gone, or links to nothing.
	sh(t, "sed", "-i", "s,/var/run/apache2,/tmp/room/run/apache2,;s,/var/lock/apache2,/tmp/room/lock,", "/tmp/room/apache2/envvars")
	sh(t, "ln", "-s", "later/lock", "/tmp/room/lock")
	l.want(OK, "start")

	// The children of a main process that was killed hold the port: stop ends
	// them, or the start elsewhere would fail. The pid file is there before the
	// first child is.
	until(t, "the server has children", func() bool { return len(running("apache2")) > 1 })
	killed(t, pidOf(t, l.pid), SIGKILL)
	if len(running("apache2")) == 0 {
		t.Fatal("the server's children went with it: nothing is proved")
	}
	l.want(OK, "stop")
	l.gone()

	// A hand-edited file is left alone; without it a new one is made.
	appendTo(t, conf, "# edited\n")
	edit, _ := os.ReadFile(conf)
	l.want(OK, "start")
	l.says("is left alone")
	if now, _ := os.ReadFile(conf); !bytes.Equal(now, edit) {
		t.Error("a file that was edited by hand is written over")
	}
	l.want(OK, "stop")
	if err := os.Remove(conf); err != nil {
		t.Fatal(err)
	}
	l.want(OK, "start")
	if text, _ := os.ReadFile(conf); edited(string(text)) {
		t.Error("the new file is not marked as unedited")
	}

	// A broken file on the disk is a warning while the server runs, and a
	// reason for rgmanager, not for Pacemaker, to fail the stop.
	undo := l.breakIt()
	l.want(OK, "status")
	l.says("<warning>")
	l.want(Generic, "stop")
	l.wantOCF(OK, "stop")
	undo()
	l.gone()

	// Depth 10 asks the server: one that hangs does not pass.
	l.want(OK, "start")
	stop, cont := 19, 18 // SIGSTOP, SIGCONT
	until(t, "the server has its children", func() bool { return reachable(webIP4, 80) && len(running("apache2")) >= 3 })
	family := running("apache2")
	for _, p := range family {
		if err := proc.Kill(p, stop); err != nil {
			t.Fatal(err)
		}
	}
	l.want(OK, "status")
	if got := l.run(false, 10, "status"); got != Generic {
		t.Errorf("a server that does not answer has status %d at depth 10\n%s", got, l.out)
	}
	for _, p := range family {
		if err := proc.Kill(p, cont); err != nil {
			t.Fatal(err)
		}
	}
	if got := l.run(false, 10, "status"); got != OK {
		t.Errorf("a server that goes on has status %d at depth 10\n%s", got, l.out)
	}

	// A graceful stop lets a request end.
	slow := &net.Dialer{LocalAddr: nil, Timeout: time.Second}
	conn, err := slow.Dial("tcp", netip.AddrPortFrom(netip.MustParseAddr(webIP4), 80).String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := fmt.Fprintf(conn, "GET / HTTP/1.0\r\n"); err != nil {
		t.Fatal(err)
	}
	done := make(chan int, 1)
	second := l.resource
	go func() { done <- second.run(false, 0, "stop") }()
	until(t, "the server has closed its port", func() bool { return !reachable(webIP4, 80) })
	if _, err := fmt.Fprintf(conn, "\r\n"); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 64)
	_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	if n, err := conn.Read(answer); err != nil || !bytes.HasPrefix(answer[:n], []byte("HTTP/1.1 200")) {
		t.Errorf("a request that was under way is not answered: %q, %v", answer[:n], err)
	}
	if code := <-done; code != OK {
		t.Errorf("stop: status %d\n%s", code, second.out)
	}
	l.gone()
}

// TestReal_ApacheOCFTester lets resource-agents' ocf-tester judge the agent, and
// nothing but the installed binary by its link.
func TestReal_ApacheOCFTester(t *testing.T) {
	if !inside(t, true) {
		return
	}
	room(t)
	apacheLife(t)
	private(t, "/usr/lib/ocf/resource.d/haobox")
	agent := "/usr/lib/ocf/resource.d/haobox/apache"
	sh(t, "cp", os.Getenv("HAOBOX_TEST_BINARY"), "/usr/lib/ocf/resource.d/haobox/binary")
	if err := os.Symlink("binary", agent); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("ocf-tester", "-n", "web", "-o", "server_root=/tmp/room/apache2", "-o", "config_file=apache2.conf", agent).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "passed all tests") {
		t.Errorf("ocf-tester: %v\n%s", err, out)
	}
	t.Logf("%s", out)
	// Pacemaker finds it by its name and asks it about a configuration.
	crm := func(config string) ([]byte, error) {
		return exec.Command("crm_resource", "--validate", "--class=ocf", "--provider=haobox", "--agent=apache",
			"--option", "server_root=/tmp/room/apache2", "--option", "config_file="+config).CombinedOutput()
	}
	if out, err := crm("apache2.conf"); err != nil {
		t.Errorf("crm_resource: %v\n%s", err, out)
	}
	if out, err := crm("missing.conf"); err == nil {
		t.Errorf("crm_resource accepts a configuration that is not there:\n%s", out)
	}
}

// TestReal_Nginx is the README's example: a server without an agent of its own
// through its init script.
func TestReal_Nginx(t *testing.T) {
	if !inside(t, false) {
		return
	}
	private(t, "/run", "/var/log/nginx", "/var/lib/nginx")
	room(t)
	web := resource{t: t, agent: Script(), params: []string{"name=nginx", "file=/etc/init.d/nginx"}}
	web.want(Generic, "status") // the script's 3; for rgmanager a failure like any other
	web.wantOCF(NotRunning, "monitor")
	web.want(OK, "stop")
	for range 2 {
		web.want(OK, "start")
		web.want(OK, "start")
		web.want(OK, "status")
		web.wantOCF(OK, "monitor")
		until(t, "nginx answers", func() bool { return reachable(webIP4, 80) })
		for _, pid := range running("nginx") {
			killed(t, pid, SIGKILL)
		}
		web.want(Generic, "status")
		web.wantOCF(Generic, "monitor") // dead, but its pid file is there, also after stop
		web.want(OK, "stop")
		web.want(OK, "stop")
	}
	put(t, "/run/nginx.conf", "nonsense")
	sh(t, "mount", "--bind", "/run/nginx.conf", "/etc/nginx/nginx.conf")
	web.want(Generic, "start")
	web.says("returned 1")
	if n := running("nginx"); len(n) > 0 {
		t.Errorf("nginx runs (%v) with a broken configuration", n)
	}
}

func TestReal_Samba(t *testing.T) {
	if !inside(t, false) {
		return
	}
	room(t)
	private(t, "/var/log/samba", "/run/samba", "/var/lib/samba", "/var/cache/samba")
	if err := os.MkdirAll("/var/lib/samba/private", 0o700); err != nil {
		t.Fatal(err)
	}
	put(t, "/tmp/room/smb.conf", "[global]\n\tworkgroup = T\n\tinterfaces = lo\n\tlog file = /var/log/samba/%m\n\n[share]\n\tpath = /tmp\n")
	l := &life{
		resource: resource{t: t, agent: Samba(proc.Kill), params: []string{"config_file=/tmp/room/smb.conf"}},
		pid:      "/run/cluster/samba/samba:T/smbd.pid", fellow: "/run/cluster/samba/samba:T/nmbd.pid", programs: []string{"smbd", "nmbd"}, port: 445,
		breakIt: broken(t, "/tmp/room/smb.conf", "[broken"), option: "smbd_options",
	}
	l.test()
	l.noAddress()
	// One of two alone is a failure, and stop ends it.
	for _, victim := range []string{"smbd", "nmbd"} {
		l.want(OK, "start")
		killed(t, pidOf(t, "/run/cluster/samba/samba:T/"+victim+".pid"), SIGKILL)
		l.want(Generic, "status")
		l.want(OK, "stop")
		l.gone()
	}
	// Without NetBIOS there is no nmbd.
	put(t, "/tmp/room/smb.conf", "[global]\n\tDisable NetBIOS = Yes\n\tsmb ports = 445\n")
	l.want(OK, "start")
	if n := running("nmbd"); len(n) > 0 {
		t.Errorf("nmbd runs (%v) although NetBIOS is off", n)
	}
	l.want(OK, "status")
	l.want(OK, "stop")
	l.gone()
}

func TestReal_MySQL(t *testing.T) {
	if !inside(t, false) {
		return
	}
	room(t)
	private(t, "/run/mysqld", "/var/lib/mysql", "/var/log/mysql")
	sh(t, "chown", "mysql", "/run/mysqld", "/var/lib/mysql", "/var/log/mysql")
	sh(t, "mysql_install_db", "--user=mysql", "--datadir=/var/lib/mysql")
	put(t, "/tmp/room/my.cnf", "[mysqld]\ndatadir=/var/lib/mysql\nsocket=/run/mysqld/mysqld.sock\n[mysqld_safe]\nlog-error=/var/lib/mysql/err.log\n")
	l := &life{
		resource: resource{t: t, agent: MySQL(proc.Kill, netprobe.Client{}), params: []string{"config_file=/tmp/room/my.cnf", "startup_wait=30"}},
		pid:      "/run/cluster/mysql/mysql:T.pid", programs: []string{"mariadbd"}, port: 3306, restarted: true,
		breakIt: broken(t, "/tmp/room/my.cnf", "[mysqld]\nnonsense_variable=1"), option: "mysqld_options",
	}
	l.test()
	// mysqld_safe starts a server that crashed again, and stop ends both.
	l.want(OK, "start")
	first := pidOf(t, l.pid)
	killed(t, first, SIGKILL)
	until(t, "mysqld_safe has started the server again", func() bool {
		text, err := os.ReadFile(l.pid) // mysqld_safe removes it first
		pid := strings.TrimSpace(string(text))
		return err == nil && pid != "" && pid != strconv.Itoa(first) && l.run(false, 0, "status") == OK
	})
	l.want(OK, "stop")
	l.gone()
	// A listen address goes before those of the service.
	l.params = append(l.params, "listen_address=127.0.0.1")
	l.want(OK, "start")
	if !reachable("127.0.0.1", 3306) || reachable(webIP4, 3306) {
		t.Error("listen_address is not where the server listens")
	}
	l.want(OK, "stop")
	l.params = append(l.params, "listen_address=everywhere")
	l.want(BadArguments, "start")
}

func TestReal_Postgres(t *testing.T) {
	if !inside(t, false) {
		return
	}
	room(t)
	private(t, "/run/postgresql")
	data := "/tmp/room/data"
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	sh(t, "chown", "postgres", "/run/postgresql", data)
	programs, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil || len(programs) == 0 {
		t.Fatalf("no initdb: %v", err)
	}
	sh(t, "runuser", "-u", "postgres", "--", programs[len(programs)-1], "-D", data)
	l := &life{
		resource: resource{t: t, agent: Postgres(proc.Kill), params: []string{"config_file=" + data + "/postgresql.conf", "postmaster_options=-D " + data, "shutdown_wait=2"}},
		pid:      "/run/cluster/postgres-8/postgres-8:T.pid", programs: []string{"postgres"}, port: 5432,
		breakIt: broken(t, data+"/postgresql.conf", "nonsense = 1"), option: "postmaster_options",
	}
	l.test()
	l.noAddress()
	// A client that stays holds a smart shutdown up; then it is a fast one.
	l.want(OK, "start")
	client := exec.Command("psql", "-h", "/run/postgresql", "-U", "postgres", "-Atc", "select 'connected', pg_sleep(60)")
	if err := client.Start(); err != nil {
		t.Fatal(err)
	}
	until(t, "the client is connected", func() bool {
		out, _ := exec.Command("psql", "-h", "/run/postgresql", "-U", "postgres", "-Atc", "select count(*) from pg_stat_activity where query like '%pg_sleep(60)%' and pid <> pg_backend_pid()").Output()
		return strings.TrimSpace(string(out)) == "1"
	})
	l.want(OK, "stop")
	l.says("after signal 15")
	_ = client.Wait()
	l.gone()
}

func TestReal_Named(t *testing.T) {
	if !inside(t, false) {
		return
	}
	room(t)
	// Debian's own configuration: the options are in an included file.
	sh(t, "cp", "-a", "/etc/bind", "/tmp/room/bind")
	for _, f := range []string{"named.conf", "named.conf.default-zones"} {
		sh(t, "sed", "-i", "s#/etc/bind/#/tmp/room/bind/#", "/tmp/room/bind/"+f)
	}
	private(t, "/run/named")
	sh(t, "chown", "bind", "/run/named")
	l := &life{
		resource: resource{t: t, agent: BIND(proc.Kill), params: []string{"config_file=/tmp/room/bind/named.conf", "named_working_dir=/var/cache/bind"}},
		pid:      "/run/cluster/named/named:T.pid", programs: []string{"named"}, port: 53,
		breakIt: broken(t, "/tmp/room/bind/named.conf.options", "nonsense;"), option: "named_options",
	}
	l.test()
	l.noAddress()
	// It does not run as root.
	l.want(OK, "start")
	if status := statusUID(t, pidOf(t, l.pid)); status == "0" {
		t.Error("named runs as root")
	}
	l.want(OK, "stop")
}

// statusUID is the effective user of a process.
func statusUID(t *testing.T, pid int) string {
	t.Helper()
	text, err := os.ReadFile(procFile(pid, "status"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 2 && f[0] == "Uid:" {
			return f[2]
		}
	}
	return ""
}

func TestReal_NFSClient(t *testing.T) {
	if !inside(t, false) {
		return
	}
	room(t)
	private(t, "/var/lib/nfs")
	put(t, "/var/lib/nfs/etab", "")
	if err := os.MkdirAll("/tmp/room/a long path with blanks, so that the table wraps", 0o755); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ name, target, path, options string }{
		{"an address", "192.0.2.77", "/tmp/room", "rw,sync"},
		{"a network", "192.0.2.0/24", "/tmp/room", ""},
		{"a network with a mask", "192.0.2.0/255.255.255.0", "/tmp/room", "ro"},
		{"everybody", "*", "/tmp/room", "rw,fsid=9"},
		{"an IPv6 address", "2001:db8::77", "/tmp/room", "sec=sys"},
		{"a name", "localhost", "/tmp/room", ""},
		{"a netgroup", "@staff", "/tmp/room", ""},
		{"a long path", "192.0.2.77", "/tmp/room/a long path with blanks, so that the table wraps", "rw"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := resource{t: t, agent: NFSClient(net.DefaultResolver), params: []string{"target=" + tc.target, "path=" + tc.path, "fsid=42", "options=" + tc.options, "use_cache=1"}}
			r.want(NotRunning, "status")
			r.says("nfsclient:T is missing!")
			r.want(OK, "stop")
			r.want(OK, "validate-all")
			r.want(OK, "start")
			r.want(OK, "start")
			r.want(OK, "status")
			r.wantOCF(OK, "monitor")
			sh(t, "exportfs", "-ua")
			r.want(OK, "status") // from the cache
			if err := os.Remove("/var/cache/cluster/nfsclient-status-cache-web"); err != nil {
				t.Fatal(err)
			}
			r.want(NotRunning, "status")
			r.want(OK, "recover")
			r.want(OK, "status")
			r.want(OK, "stop")
			r.want(OK, "stop")
			r.wantOCF(NotRunning, "monitor")
			if out := sh(t, "exportfs", "-v"); out != "" {
				t.Errorf("still exported: %s", out)
			}
		})
	}
	for _, tc := range []struct{ name, param, says string }{
		{"an unknown option", "options=rw,bogus", "Export Option bogus invalid"},
		{"an option with a command", "options=rw,$(touch /tmp/room/evil)", "invalid"},
		{"a path that is none", "path=/tmp/room/none", "is no folder"},
		{"an option as target", "target=-a", "must be a host"},
		{"a line end", "target=a\nb", "control character"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := resource{t: t, agent: NFSClient(net.DefaultResolver), params: []string{"target=192.0.2.77", "path=/tmp/room", tc.param}}
			r.want(BadArguments, "start")
			r.says(tc.says)
		})
	}
	r := resource{t: t, agent: NFSClient(net.DefaultResolver), params: []string{"target=no.such.host.invalid;touch /tmp/room/evil", "path=/tmp/room"}}
	r.want(Generic, "start")
	r.says("did not export")
	r.params = append(r.params, "target=192.0.2.77", "allow_recover=no")
	r.want(Generic, "recover")
	if _, err := os.Stat("/tmp/room/evil"); err == nil {
		t.Error("a parameter went through a shell")
	}
}

// nfsRoom has the folders of the NFS programs, and the state on a file system
// of the service.
func nfsRoom(t *testing.T) {
	t.Helper()
	room(t)
	// All of /run: the lock of a machine's own rpcbind is beside its folder.
	private(t, "/var/lib/nfs", "/run", "/srv/state")
	private(t, "/run/rpcbind")
	for _, d := range []string{"sm", "sm.bak", "v4recovery"} {
		if err := os.Mkdir("/var/lib/nfs/"+d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	// Their packages make them; in the guest they are only unpacked.
	user(t, "statd", 106)
	user(t, "_rpc", 107)
	sh(t, "chown", "statd", "/var/lib/nfs/sm", "/var/lib/nfs/sm.bak")
}

// TestReal_NFSServer needs the kernel's NFS server and client.
func TestReal_NFSServer(t *testing.T) {
	if os.Getenv(insideVariable) == "" {
		testskip.IfNoGuestProgram(t, "rpc.nfsd", "exportfs", "rpcbind", "mount.nfs", "unshare", "ip")
		if text, err := os.ReadFile("/proc/filesystems"); err != nil || !strings.Contains(string(text), "\tnfsd\n") {
			// Mounting it loads the module where there is one.
			out, err := exec.Command("unshare", "-m", "mount", "-t", "nfsd", "nfsd", "/proc/fs/nfsd").CombinedOutput()
			if err != nil {
				testskip.Kernel(t, "nfsd", fmt.Sprintf("mount -t nfsd: %v: %s", err, strings.Join(strings.Fields(string(out)), " ")))
			}
		}
		enter(t, false)
		return
	}
	nfsRoom(t)
	server := resource{t: t, agent: NFSServer(proc.Kill), params: []string{"path=/srv/state"}}
	export := resource{t: t, agent: NFSExport(proc.Kill), params: []string{"path=/srv/state"}}
	export.want(Generic, "status")
	server.want(NotRunning, "status")
	server.want(OK, "stop")
	server.want(OK, "start")
	server.want(OK, "start")
	server.want(OK, "status")
	export.want(OK, "status")
	export.want(OK, "start")
	netFS(t)
	for _, p := range Processes(call()) {
		if p.Command == "rpc.mountd" {
			killed(t, p.PID, SIGKILL)
		}
	}
	server.want(Generic, "status")
	export.want(Generic, "status")
	server.want(OK, "recover")
	server.want(OK, "status")
	server.want(OK, "stop")
	server.want(OK, "stop")
	server.want(NotRunning, "status")
}

// netFS mounts what this machine exports, with the agent netfs.
func netFS(t *testing.T) {
	t.Helper()
	put(t, "/srv/state/export/hello", "hello")
	client := resource{t: t, agent: NFSClient(net.DefaultResolver), params: []string{"path=/srv/state/export", "target=127.0.0.1", "options=rw,no_root_squash,fsid=1,insecure"}}
	client.want(OK, "start")
	for _, v := range []struct {
		params []string
		depths []int
	}{
		{[]string{"fstype=nfs", "options=vers=3,nolock"}, []int{0, 10, 20}},
		// Version 4 opens no file for writing in the first 90 seconds of a
		// server, when clients claim their locks.
		{[]string{"fstype=nfs4"}, []int{0, 10}},
	} {
		mounted := resource{t: t, agent: NetFS(here()), params: append(v.params,
			"name=T", "host=127.0.0.1", "export=/srv/state/export", "mountpoint=/tmp/room/mnt", "force_unmount=1")}
		status := func(want int) {
			t.Helper()
			for _, depth := range v.depths {
				if got := mounted.run(false, depth, "status"); got != want {
					t.Errorf("%q: status at depth %d: %d, want %d\n%s", v.params, depth, got, want, mounted.out)
				}
			}
		}
		status(NotRunning)
		mounted.want(OK, "stop")
		mounted.want(OK, "start")
		mounted.want(OK, "start")
		status(OK)
		if text, err := os.ReadFile("/tmp/room/mnt/hello"); err != nil || string(text) != "hello" {
			t.Errorf("%q: read %q, %v", v.params, text, err)
		}
		sh(t, "umount", "/tmp/room/mnt")
		status(NotRunning)
		mounted.want(OK, "start")
		status(OK)
		mounted.want(OK, "stop")
		mounted.want(OK, "stop")
		status(NotRunning)
	}
	client.want(OK, "stop")
}

// TestReal_NFSServerState has the parts of nfsserver that need no NFS server in
// the kernel: the state, rpc.statd with its callout, and an honest failure.
func TestReal_NFSServerState(t *testing.T) {
	if !inside(t, true) {
		return
	}
	nfsRoom(t)
	private(t, "/usr/share/cluster")
	sh(t, "cp", os.Getenv("HAOBOX_TEST_BINARY"), "/usr/share/cluster/nfsserver.sh")
	server := resource{t: t, agent: NFSServer(proc.Kill), params: []string{"path=/srv/state", "statdport=4711"}}
	code := server.run(false, 0, "start")
	if text, err := os.ReadFile("/proc/filesystems"); err == nil && !strings.Contains(string(text), "\tnfsd\n") && code != Generic {
		t.Errorf("start without an NFS server in the kernel: %d\n%s", code, server.out)
	}
	var statd int
	for _, p := range Processes(call()) {
		if p.Command == "rpc.statd" && Alive(call(), p.PID) {
			statd = p.PID
		}
	}
	if statd == 0 {
		t.Fatalf("rpc.statd does not run\n%s", server.out)
	}
	line, err := os.ReadFile(procFile(statd, "cmdline"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"-P\x00/srv/state/.clumanager/nfs/statd", "-H\x00/usr/share/cluster/nfsserver.sh", "-p\x004711"} {
		if !bytes.Contains(line, []byte(want)) {
			t.Errorf("rpc.statd runs as %q, without %q", line, want)
		}
	}
	if text, err := os.ReadFile("/proc/self/mountinfo"); err != nil || !strings.Contains(string(text), " /var/lib/nfs/v4recovery ") {
		t.Errorf("the clients of NFS 4 are not kept with the service: %v", err)
	}
	server.want(OK, "add-client", "client1", "server")
	if _, err := os.Stat("/srv/state/.clumanager/nfs/statd/sm-ha/client1"); err != nil {
		t.Error(err)
	}
	server.want(BadArguments, "add-client", "../../evil")
	server.want(OK, "del-client", "client1", "server")
	server.want(OK, "del-client", "client1", "server")
	put(t, "/srv/state/.clumanager/nfs/statd/sm/client2", "")
	server.want(OK, "stop")
	if _, err := os.Stat("/srv/state/.clumanager/nfs/statd/sm-ha/client2"); err != nil {
		t.Errorf("a client that holds locks is forgotten: %v", err)
	}
	if Alive(call(), statd) {
		t.Error("rpc.statd goes on after stop")
	}
	if text, err := os.ReadFile("/proc/self/mountinfo"); err != nil || strings.Contains(string(text), " /var/lib/nfs/v4recovery ") {
		t.Errorf("the state is still mounted: %v", err)
	}
	server.want(OK, "stop")
	for _, bad := range []string{"nfspath=../x", "nfspath=/abs", "path=relative", "statdport=99999", "krbhost=-x"} {
		server.params = []string{"path=/srv/state", bad}
		server.want(BadArguments, "start")
	}
}

// libvirtRoom starts libvirtd with the drivers for QEMU and for tests.
func libvirtRoom(t *testing.T) {
	t.Helper()
	room(t)
	private(t, "/run/libvirt", "/var/log/libvirt", "/etc/libvirt", "/var/lib/libvirt", "/var/cache/libvirt")
	// The QEMU driver does not start without its user, which another package
	// makes.
	user(t, "libvirt-qemu", 64055)
	put(t, "/etc/libvirt/libvirtd.conf", "unix_sock_group = \"root\"\nauth_unix_ro = \"none\"\nauth_unix_rw = \"none\"\n")
	put(t, "/etc/libvirt/qemu.conf", "user = \"root\"\ngroup = \"root\"\nsecurity_driver = \"none\"\ncgroup_controllers = []\nnamespaces = []\nremember_owner = 0\nstdio_handler = \"file\"\n")
	cmd := exec.Command("/usr/sbin/libvirtd", "-f", "/etc/libvirt/libvirtd.conf", "-p", "/run/libvirt/pid")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = cmd.Wait() }()
	until(t, "libvirtd answers", func() bool { return exec.Command("virsh", "-c", "qemu:///system", "version").Run() == nil })
}

// TestReal_VM runs a guest of the right architecture: an endless loop at the
// place where QEMU for s390x starts a kernel.
func TestReal_VM(t *testing.T) {
	if !inside(t, false) {
		return
	}
	libvirtRoom(t)
	put(t, "/tmp/room/kernel", string(make([]byte, 0x10000))+"\xa7\xf4\x00\x00") // j .
	put(t, "/tmp/room/guests/g1.xml", `<domain type='qemu'><name>g1</name><memory unit='MiB'>64</memory><vcpu>1</vcpu>
<os><type arch='s390x' machine='s390-ccw-virtio'>hvm</type><kernel>/tmp/room/kernel</kernel></os>
<devices><emulator>/usr/bin/qemu-system-s390x</emulator></devices></domain>
`)
	r := resource{t: t, agent: VM(true), params: []string{"name=g1", "path=/none:/tmp/room/guests", "RGMANAGER_meta_timeout=2"}}
	qemu := func() []int { return running("qemu-system-s390x") }
	r.want(NotRunning, "status")
	r.want(OK, "stop")
	r.want(OK, "validate-all")
	r.want(OK, "start")
	first := qemu()
	if len(first) != 1 {
		t.Fatalf("processes of the guest: %v", first)
	}
	r.want(OK, "status")
	r.want(OK, "start")
	sh(t, "virsh", "-c", "qemu:///system", "suspend", "g1")
	r.want(OK, "status")
	sh(t, "virsh", "-c", "qemu:///system", "resume", "g1")
	killed(t, first[0], SIGKILL)
	until(t, "libvirt knows that the guest is gone", func() bool { return r.run(false, 0, "status") == NotRunning })
	r.want(OK, "start")

	// It takes no notice of a shutdown.
	r.params = append(r.params, "no_kill=1")
	r.want(Generic, "stop")
	r.says("no_kill forbids")
	r.params = append(r.params, "no_kill=0")
	r.want(OK, "stop")
	r.says("Destroying virtual machine g1")
	if left := qemu(); len(left) > 0 {
		t.Errorf("processes of the guest after stop: %v", left)
	}
	r.want(OK, "stop")

	// Saved and restored.
	r.want(OK, "start")
	r.params = append(r.params, "snapshot=/tmp/room/snap")
	r.want(OK, "stop")
	if _, err := os.Stat("/tmp/room/snap"); err != nil {
		t.Error(err)
	}
	r.want(NotRunning, "status")
	r.want(OK, "start")
	r.says("Restoring")
	if _, err := os.Stat("/tmp/room/snap"); err == nil {
		t.Error("a snapshot that is used up is kept")
	}
	r.params = append(r.params, "snapshot=")

	// The status program counts from check level 10 on.
	r.params = append(r.params, "status_program=/bin/sh -c 'exit 3'")
	r.want(OK, "status")
	if got := r.run(false, 10, "status"); got != 3 {
		t.Errorf("status at depth 10: %d, want the program's 3\n%s", got, r.out)
	}
	r.params = append(r.params, "status_program=")
	r.wantOCF(OK, "monitor")

	// Nobody listens at the other end; the guest stays.
	r.params = append(r.params, "migration_uri=qemu+tcp://127.0.0.1:1/system")
	r.want(migrateUncertain, "migrate", "node2")
	r.want(OK, "status")

	// Without libvirt the guest's process is what is known.
	libvirtd := running("libvirtd")
	if len(libvirtd) != 1 {
		t.Fatalf("processes of libvirtd: %v", libvirtd)
	}
	killed(t, libvirtd[0], SIGKILL)
	r.want(OK, "status")
	r.says("running without libvirt")
	r.want(OK, "start")
	r.want(Generic, "stop")
	for _, p := range qemu() {
		killed(t, p, SIGKILL)
	}
	// Now nothing is known, and a second guest is not risked.
	r.want(Generic, "status")
	r.want(Generic, "start")
	r.says("not known whether it runs")
}

// TestReal_VMTestDriver has a guest that obeys a shutdown: one of libvirt's own
// test driver.
func TestReal_VMTestDriver(t *testing.T) {
	if !inside(t, false) {
		return
	}
	libvirtRoom(t)
	// Its guests live as long as somebody is connected.
	hold := exec.Command("virsh", "-c", "test+unix:///default")
	in, err := hold.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := hold.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { in.Close(); _ = hold.Wait() }()
	fmt.Fprintln(in, "list")
	r := resource{t: t, agent: VM(true), params: []string{"name=test", "hypervisor_uri=test+unix:///default"}}
	until(t, "the driver's guest is there", func() bool { return r.run(false, 0, "status") == OK })
	r.want(OK, "stop")
	r.want(NotRunning, "status")
	r.want(OK, "stop")
	r.wantOCF(NotRunning, "monitor")
	r.want(OK, "start")
	r.want(OK, "start")
	r.want(OK, "status")
	r.params = append(r.params, "name=nobody")
	r.want(NotRunning, "status")
	r.want(Generic, "start")
	r.want(NotConfigured, "migrate", "node2")
}
