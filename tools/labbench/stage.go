//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/haobox/haobox/platform"
	"github.com/haobox/haobox/platform/corosync"
	"github.com/haobox/haobox/platform/proc"
	"github.com/haobox/haobox/platform/sandbox"
)

const (
	// stageDir is where the nodes' folders are: a place that every system has.
	stageDir = "/mnt"
	// stageAddress is where the client and the simulated z/VM are.
	stageAddress = "10.77.0.254"
	bits         = "/16"
	zvmPort      = "44444"
	// webAddress is the address of the service, vipAddress the one that is a
	// service of its own, for which webPort answers on each node.
	webAddress = "10.77.1.1"
	vipAddress = "10.77.1.2"
	vipPort    = "81"
	// token is corosync's, in milliseconds: its default is 3000, the
	// orientation of the comparison was measured with this one.
	token = 1000
	// patience bounds every wait: Pacemaker needs half a minute to start,
	// and minutes for 100 addresses on a busy machine.
	patience = 6 * time.Minute
	lookTick = 20 * time.Millisecond
	// settle is the pause before each act, so that what the one before began
	// is over.
	settle = 2 * time.Second
)

// eventually looks again and again until f gives no error.
func eventually(ctx context.Context, what string, f func() error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		err := f()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", what, err)
		case <-time.After(lookTick):
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// lab is the stage: it has the bridge, the client, the simulated z/VM and the
// nodes of one peer at a time.
type lab struct {
	options
	round int
	peer  string
	nodes [2]*node
	vm    *exec.Cmd
}

// node is a machine of namespaces.
type node struct {
	ID    int
	Name  string
	Dir   string
	Port  string // the stage's end of its cable
	Addr  string
	Binds []sandbox.Bind
	// Programs run on it from its start.
	Programs []sandbox.Program

	p     platform.Process
	ended chan struct{}
}

// stage measures everything and writes samples to standard output.
func stage(ctx context.Context, text string) error {
	l := &lab{}
	if err := json.Unmarshal([]byte(text), &l.options); err != nil {
		return err
	}
	if err := sandbox.Stage(stageDir, netip.MustParsePrefix(stageAddress+bits)); err != nil {
		return err
	}
	var errs []error
	for l.round = 1; l.round <= l.Rounds; l.round++ {
		for _, p := range peers() {
			if !l.options.peer(p.name) {
				continue
			}
			l.peer = p.name
			if err := p.run(l, ctx); err != nil {
				errs = append(errs, fmt.Errorf("round %d: %s: %w", l.round, p.name, err))
				fmt.Fprintln(os.Stderr, "labbench:", errs[len(errs)-1])
				l.tail()
			}
			l.end()
		}
	}
	return errors.Join(errs...)
}

// add hands a value to the process outside.
func (l *lab) add(name string, value float64) {
	s := sample{Peer: l.peer, Name: name, Round: l.round, Value: value}
	text, _ := json.Marshal(s)
	fmt.Println(string(text))
	fmt.Fprintf(os.Stderr, "round %d: %-10s %-14s %.3f\n", l.round, l.peer, name, value)
}

// newNode makes the folders of a node.
func (l *lab) newNode(id int) (*node, error) {
	name := fmt.Sprint("n", id)
	n := &node{ID: id, Name: name, Dir: filepath.Join(stageDir, name), Port: fmt.Sprint("v", id), Addr: fmt.Sprint("10.77.0.", id)}
	owner := func(string) (int, int) { return 0, 0 }
	if u, err := user.Lookup("hacluster"); err == nil {
		uid, _ := strconv.Atoi(u.Uid)
		gid, _ := strconv.Atoi(u.Gid)
		owner = func(d string) (int, int) {
			if strings.Contains(d, "pacemaker") || strings.Contains(d, "/crm") {
				return uid, gid
			}
			return 0, 0
		}
	}
	for _, d := range []string{"run", "run/crm", "run/pacemaker", "log", "log/nginx", "log/cluster", "log/pacemaker", "log/corosync", "shm",
		"pacemaker", "pacemaker/cib", "pacemaker/pengine", "pacemaker/cores", "pacemaker/blackbox", "corosync", "etc/corosync", "etc/cluster", "etc/nginx"} {
		path := filepath.Join(n.Dir, d)
		if err := os.MkdirAll(path, 0o755); err != nil {
			return nil, err
		}
		uid, gid := owner("/" + d)
		if err := os.Chown(path, uid, gid); err != nil {
			return nil, err
		}
	}
	if err := os.Chmod(filepath.Join(n.Dir, "shm"), 0o1777); err != nil {
		return nil, err
	}
	bind := func(from, at string) {
		if _, err := os.Lstat(at); err == nil {
			n.Binds = append(n.Binds, sandbox.Bind{From: filepath.Join(n.Dir, from), At: at})
		}
	}
	bind("run", "/run")
	bind("log", "/var/log")
	bind("shm", "/dev/shm")
	bind("pacemaker", "/var/lib/pacemaker")
	bind("corosync", "/var/lib/corosync")
	bind("etc/corosync", "/etc/corosync")
	bind("etc/nginx", "/etc/nginx")
	n.Binds = append(n.Binds, sandbox.Bind{From: filepath.Join(n.Dir, "etc/cluster"), At: "/etc/cluster"})
	if _, err := os.Lstat(agentPath); err == nil {
		n.Binds = append(n.Binds, sandbox.Bind{From: l.Haobox, At: agentPath})
	}
	// Its processes find nothing of the machine's.
	return n, errors.Join(
		n.write("etc/nginx/nginx.conf", fmt.Sprintf(nginxConf, name)),
		n.write("etc/corosync/corosync.conf", corosyncConf()),
	)
}

// agentPath is where Pacemaker and fenced look for the fence agent. It is ours
// for both.
const agentPath = "/usr/sbin/fence_zvmip"

const nginxConf = `worker_processes 1;
pid /run/nginx.pid;
error_log /var/log/nginx/error.log;
events {}
http {
  access_log off;
  client_body_temp_path /run/nginx-1; proxy_temp_path /run/nginx-2; fastcgi_temp_path /run/nginx-3; uwsgi_temp_path /run/nginx-4; scgi_temp_path /run/nginx-5;
  server { listen 80; location / { return 200 "%s\n"; } }
}
`

func corosyncConf() string {
	b := &strings.Builder{}
	fmt.Fprintf(b, "totem {\n  version: 2\n  cluster_name: lab\n  transport: knet\n  crypto_cipher: none\n  crypto_hash: none\n  token: %d\n  token_coefficient: 0\n}\nnodelist {\n", token)
	for i := 1; i <= 2; i++ {
		fmt.Fprintf(b, "  node {\n    ring0_addr: 10.77.0.%d\n    nodeid: %d\n    name: n%d\n  }\n", i, i, i)
	}
	b.WriteString("}\nquorum {\n  provider: corosync_votequorum\n  two_node: 1\n  wait_for_all: 0\n}\n" +
		"logging {\n  to_stderr: no\n  to_syslog: no\n  to_logfile: yes\n  logfile: /var/log/corosync/corosync.log\n  timestamp: hires\n}\n")
	return b.String()
}

func (n *node) write(name, text string) error {
	return os.WriteFile(filepath.Join(n.Dir, name), []byte(text), 0o644)
}

func (n *node) read(name string) string {
	text, _ := os.ReadFile(filepath.Join(n.Dir, name))
	return string(text)
}

// program adds one that runs on the node from its start.
func (n *node) program(path string, args ...string) {
	n.Programs = append(n.Programs, sandbox.Program{
		Path: path, Args: append([]string{filepath.Base(path)}, args...), Output: filepath.Join(n.Dir, "log", "out"), Env: environ,
	})
}

// environ is that of all programs of the nodes.
var environ = []string{
	"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/", "LC_ALL=C", "HAOBOX_ENGINE=corosync",
	// The daemons stay in the foreground and log as under systemd.
	"NOTIFY_SOCKET=/run/notify",
	// A node that can not stop something would reboot: not this machine.
	"HAOBOX_HARD_DOWN=/bin/true",
}

// prepare makes two nodes with corosync, for a peer's programs to be added.
func (l *lab) prepare(withCorosync bool) error {
	for i := range l.nodes {
		n, err := l.newNode(i + 1)
		if err != nil {
			return err
		}
		if withCorosync {
			n.program("/usr/sbin/corosync", "-f")
			n.program(l.Self, partRing, filepath.Join(n.Dir, "ring"))
		}
		n.program(l.Self, partWeb, ":"+vipPort, n.Name)
		l.nodes[i] = n
	}
	return nil
}

// boot starts the simulated z/VM and the nodes.
func (l *lab) boot(ctx context.Context) error {
	ready := filepath.Join(stageDir, "zvm")
	_ = os.Remove(ready)
	l.vm = exec.Command(l.Haobox, "smapid", "--listen", "tcp:"+stageAddress+":"+zvmPort, "--guests", "N1,N2",
		"--authorize", "CMANAGER:SECRET", "--quiet", "--ready-file", ready, "--on-logoff", l.Self+" "+partOff+" "+stageDir+` "$1"`)
	l.vm.Stderr = os.Stderr
	if err := l.vm.Start(); err != nil {
		return err
	}
	if err := eventually(ctx, "smapid is ready", func() error { _, err := os.Stat(ready); return err }); err != nil {
		return err
	}
	for _, n := range l.nodes {
		text, err := json.Marshal(n)
		if err != nil {
			return err
		}
		out, err := os.Create(filepath.Join(n.Dir, "log", "node"))
		if err != nil {
			return err
		}
		n.p, err = proc.Runner{}.Start(context.WithoutCancel(ctx), platform.Cmd{Path: l.Self, Args: []string{"labbench", partNode, string(text)}, Stdout: out, Stderr: out, Private: true})
		out.Close()
		if err != nil {
			return err
		}
		n.ended = make(chan struct{})
		go func() { _, _ = n.p.Wait(); close(n.ended) }()
		if err := os.WriteFile(filepath.Join(stageDir, strings.ToUpper(n.Name)+".pid"), fmt.Append(nil, n.p.PID()), 0o600); err != nil {
			return err
		}
		if err := sandbox.Plug(n.Port, netip.MustParseAddr(n.Addr), n.p.PID()); err != nil {
			return err
		}
	}
	return nil
}

// end takes everything of a peer away.
func (l *lab) end() {
	for i, n := range l.nodes {
		if n == nil {
			continue
		}
		n.off()
		if l.Keep != "" {
			to := filepath.Join(l.Keep, fmt.Sprintf("%d-%s-%s", l.round, l.peer, n.Name))
			if os.MkdirAll(to, 0o755) == nil {
				_ = exec.Command("cp", "-r", filepath.Join(n.Dir, "log"), filepath.Join(n.Dir, "ring"), to).Run()
			}
		}
		_ = os.RemoveAll(n.Dir)
		l.nodes[i] = nil
	}
	if l.vm != nil {
		_ = l.vm.Process.Kill()
		_ = l.vm.Wait()
		l.vm = nil
	}
}

// tail shows the ends of the logs after a failure.
func (l *lab) tail() {
	for _, n := range l.nodes {
		if n == nil {
			continue
		}
		for _, f := range []string{"node", "out", "cluster/rgmanager.log", "pacemaker/pacemaker.log"} {
			lines := strings.Split(strings.TrimSpace(n.read("log/"+f)), "\n")
			for _, t := range lines[max(0, len(lines)-15):] {
				if t != "" {
					fmt.Fprintf(os.Stderr, "%s %s: %s\n", n.Name, f, t)
				}
			}
		}
	}
}

// off cuts the node's power: the wire first, for a network may outlive its
// processes and answer for its addresses, then every process.
func (n *node) off() {
	if n.p == nil {
		return
	}
	_ = sandbox.Unplug(n.Port)
	_ = n.p.Signal(syscall.SIGKILL)
	<-n.ended
	n.p = nil
}

// command runs a program on the node.
func (n *node) command(ctx context.Context, words ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "nsenter", append([]string{"-t", strconv.Itoa(n.p.PID()), "-m", "-n", "-p", "--"}, words...)...)
	cmd.Env = environ
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", strings.Join(words, " "), err, bytes.TrimSpace(out))
	}
	return string(out), err
}

// node of a name, and the other one.
func (l *lab) node(name string) (n, other *node, err error) {
	for i, n := range l.nodes {
		if n != nil && n.Name == name {
			return n, l.nodes[1-i], nil
		}
	}
	return nil, nil, fmt.Errorf("there is no node %q", name)
}

// killWeb kills all processes of nginx at once.
func (n *node) killWeb() error {
	found := 0
	for _, pid := range proc.Tree(n.p.PID()) {
		if comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)); string(comm) == "nginx\n" && syscall.Kill(pid, syscall.SIGKILL) == nil {
			found++
		}
	}
	if found == 0 {
		return fmt.Errorf("%s runs no nginx", n.Name)
	}
	return nil
}

// kill measures the death of the web server, at a moment that has nothing to do
// with when the peer looks at it.
func (l *lab) kill(ctx context.Context, name string, interval time.Duration) error {
	c := newClient(ctx, "http://"+webAddress+"/")
	defer c.close()
	on, err := c.served(ctx, time.Now(), "", false)
	if err != nil {
		return err
	}
	pause(ctx, settle+rand.N(interval))
	n, _, err := l.node(on)
	if err != nil {
		return err
	}
	from := time.Now()
	if err := n.killWeb(); err != nil {
		return err
	}
	if _, err := c.served(ctx, from, "", true); err != nil {
		return err
	}
	return l.report(c, name, from)
}

func (l *lab) report(c *client, name string, from time.Time) error {
	d, ok := outage(c.over(), from)
	if !ok {
		return fmt.Errorf("%s: there was no outage", name)
	}
	l.add(name, d.Seconds())
	return nil
}

// move measures a move to the other node by move.
func (l *lab) move(ctx context.Context, name, url string, move func(from, to *node) error) error {
	c := newClient(ctx, url)
	defer c.close()
	on, err := c.served(ctx, time.Now(), "", false)
	if err != nil {
		return err
	}
	pause(ctx, settle)
	n, to, err := l.node(on)
	if err != nil {
		return err
	}
	from := time.Now()
	if err := move(n, to); err != nil {
		return err
	}
	if _, err := c.served(ctx, from, to.Name, false); err != nil {
		return err
	}
	return l.report(c, name, from)
}

// crash measures the loss of the service's node. It reports when corosync on
// the other one told of it; zero if there is no corosync.
func (l *lab) crash(ctx context.Context, url string) (from, ring time.Time, survivor *node, err error) {
	c := newClient(ctx, url)
	defer c.close()
	on, err := c.served(ctx, time.Now(), "", false)
	if err != nil {
		return from, ring, nil, err
	}
	pause(ctx, settle)
	n, to, err := l.node(on)
	if err != nil {
		return from, ring, nil, err
	}
	from = time.Now()
	n.off()
	if _, err := c.served(ctx, from, to.Name, true); err != nil {
		return from, ring, to, err
	}
	return from, ringAfter(to.read("ring"), from), to, l.report(c, "crash", from)
}

// ringAfter is the first line of a node's file of rings after a time: Unix
// time in nanoseconds, and how many members.
func ringAfter(text string, from time.Time) time.Time {
	for line := range strings.Lines(text) {
		var ns int64
		var members int
		if n, _ := fmt.Sscan(line, &ns, &members); n == 2 && members == 1 {
			if at := time.Unix(0, ns); at.After(from) {
				return at
			}
		}
	}
	return time.Time{}
}

// What follows are the parts that run on a node.

// nodeMain is process 1 of a node.
func nodeMain(ctx context.Context, text string) error {
	var n node
	if err := json.Unmarshal([]byte(text), &n); err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := sandbox.Node(limited, netip.MustParsePrefix(n.Addr+bits), n.Binds); err != nil {
		return err
	}
	return sandbox.Init(ctx, n.Programs)
}

// ringMain writes down when corosync tells of a new ring.
func ringMain(ctx context.Context, path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	var q *corosync.Quorum
	if err := eventually(ctx, "corosync lets clients in", func() error {
		q, err = corosync.DialQuorum(ctx, corosync.Config{})
		return err
	}); err != nil {
		return err
	}
	defer q.Close()
	if err := q.Track(ctx); err != nil {
		return err
	}
	for {
		ev, err := q.Next(ctx)
		if err != nil {
			return err
		}
		if r, is := ev.(corosync.RingChange); is {
			fmt.Fprintf(f, "%d %d\n", time.Now().UnixNano(), len(r.Members))
		}
	}
}

// offMain is the simulated z/VM's logoff of a guest.
func offMain(dir, guest string) error {
	text, err := os.ReadFile(filepath.Join(dir, guest+".pid"))
	if err != nil {
		return err
	}
	pid, err := strconv.Atoi(string(text))
	if err != nil || pid < 2 {
		return fmt.Errorf("%s.pid is %q", guest, text)
	}
	_ = sandbox.Unplug("v" + strings.TrimPrefix(guest, "N"))
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return err
	}
	return nil
}

// webMain answers with the name of the node.
func webMain(address, name string) error {
	return http.ListenAndServe(address, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, name) }))
}
