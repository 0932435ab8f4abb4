//go:build linux

// Package corotest runs real corosync daemons for tests: each node in a
// network and mount namespace of its own, all on one bridge in a further
// namespace. Nothing of it has a name on the machine, and everything goes when
// the test process ends, even if it is killed: the shells that keep the
// namespaces end with their standard input.
package corotest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/haobox/haobox/platform/corosync"
	"github.com/haobox/haobox/platform/testskip"
)

// Patience bounds every wait of the helpers: a loaded machine may take several
// token timeouts to form a ring.
const Patience = 60 * time.Second

// Options describe a cluster. The zero value is one node.
type Options struct {
	// Nodes is how many there are; node N has the id N, the name nN and the
	// address 10.77.0.N.
	Nodes int
	// TokenMS is the token timeout in ms; 0 means 1000. Smaller values make
	// members come and go on a loaded machine.
	TokenMS int
	// Votes of node N at index N-1; missing means 1.
	Votes []int
	// Quorum are further lines of the quorum section.
	Quorum []string
	// Links is how many networks there are, 0 and 1 mean one; node N has the
	// address 10.77.L.N in network L, which counts from 0. The configuration of
	// this package uses the first only.
	Links int
	// Sockets makes the daemon talk to its clients through sockets.
	Sockets bool
	// Conf replaces the whole configuration of a node.
	Conf func(node int) string
	// Idle leaves the daemons stopped.
	Idle bool
}

// Cluster is a set of nodes.
type Cluster struct {
	Nodes []*Node
	hub   *keeper
	links int
	t     testing.TB
}

// Node is one node. Its daemon may be running or not.
type Node struct {
	ID uint32
	// Dir is a folder of the node's own, visible inside and outside.
	Dir string
	// PID is the daemon's process id, 0 before its first start.
	PID    int
	keeper *keeper
	c      *Cluster
}

// keeper is a shell that holds namespaces and starts a daemon on demand.
type keeper struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

const hubScript = `
for i in $(seq 0 $(($1 - 1))); do
  ip link add br$i type bridge stp_state 0 forward_delay 0 mcast_snooping 0 && ip link set br$i up || exit 1
done
echo ready
while read -r x; do :; done
`

const nodeScript = `
mount -t tmpfs tmpfs /run && mount -t tmpfs tmpfs /var/lib/corosync &&
mount -t tmpfs -o mode=1777 tmpfs /dev/shm && ip link set lo up || exit 1
echo ready
p=
while read -r x; do
  case $x in
  start) corosync -f -c "$1/corosync.conf" >>"$1/stderr" 2>&1 </dev/null & p=$!; echo $p;;
  wait) wait $p; echo $?;;
  daemon) sh "$1/daemon" >>"$1/daemon.log" 2>&1 </dev/null & echo $!;;
  esac
done
# The test itself may have a thread here.
me=$(readlink /proc/self/ns/net)
for i in 1 2 3; do
  for d in /proc/[0-9]*; do
    if [ "$d" != /proc/$$ ] && [ "$d" != /proc/$PPID ] && [ "$(readlink $d/ns/net)" = "$me" ]; then kill -9 ${d#/proc/}; fi
  done
done 2>/dev/null
`

// Need ends t where a cluster of this package cannot run: skipped on
// foreign machines and with -short, failed where the machine lacks something that
// tools/setup or a root shell gives.
func Need(t testing.TB) {
	t.Helper()
	testskip.IfForeign(t, "corosync of this machine")
	testskip.IfShort(t, "real daemons need some seconds to form a ring")
	if os.Geteuid() != 0 {
		t.Fatal("network and mount namespaces need root")
	}
	for _, p := range []string{"corosync", "ip", "unshare", "nsenter"} {
		if _, err := exec.LookPath(p); err != nil {
			t.Fatalf("%s is not installed: tools/setup does it", p)
		}
	}
}

// Start builds the cluster and, unless Idle is set, waits until all nodes are
// in one ring. It is taken down at the end of the test. The caller has
// called Need.
func Start(t testing.TB, o Options) *Cluster {
	t.Helper()
	c := &Cluster{t: t, links: max(o.Links, 1)}
	c.hub = c.keep(exec.Command("unshare", "-n", "sh", "-c", hubScript, "sh", strconv.Itoa(max(o.Links, 1))))
	for i := range max(o.Nodes, 1) {
		n := &Node{ID: uint32(i + 1), Dir: filepath.Join(t.TempDir()), c: c}
		conf := o.conf(n)
		if o.Conf != nil {
			conf = o.Conf(i + 1)
		}
		if err := os.WriteFile(filepath.Join(n.Dir, "corosync.conf"), []byte(conf), 0o644); err != nil {
			t.Fatal(err)
		}
		n.keeper = c.keep(exec.Command("unshare", "-n", "-m", "--propagation", "private", "sh", "-c", nodeScript, "sh", n.Dir))
		pid := strconv.Itoa(n.keeper.cmd.Process.Pid)
		for l := range max(o.Links, 1) {
			v, eth := n.cable(l), fmt.Sprint("eth", l)
			c.ip(c.hub, "link", "add", v, "type", "veth", "peer", "name", eth, "netns", pid)
			c.ip(c.hub, "link", "set", v, "master", fmt.Sprint("br", l), "up")
			c.ip(n.keeper, "addr", "add", fmt.Sprintf("10.77.%d.%d/24", l, n.ID), "dev", eth)
			c.ip(n.keeper, "link", "set", eth, "up")
		}
		c.Nodes = append(c.Nodes, n)
	}
	t.Cleanup(func() {
		if !t.Failed() {
			return
		}
		for _, n := range c.Nodes {
			log, _ := os.ReadFile(filepath.Join(n.Dir, "log"))
			t.Logf("log of node %d:\n%s", n.ID, log[max(0, len(log)-4000):])
		}
	})
	if o.Idle {
		return c
	}
	for _, n := range c.Nodes {
		n.Start()
	}
	for _, n := range c.Nodes {
		n.WaitMembers(len(c.Nodes))
	}
	return c
}

// keep starts a keeper and waits until it is ready.
func (c *Cluster) keep(cmd *exec.Cmd) *keeper {
	c.t.Helper()
	in, err := cmd.StdinPipe()
	if err != nil {
		c.t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		c.t.Fatal(err)
	}
	var errs strings.Builder
	cmd.Stderr = &errs
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	k := &keeper{cmd: cmd, in: in, out: bufio.NewReader(out)}
	if line, _ := k.out.ReadString('\n'); line != "ready\n" {
		in.Close()
		cmd.Wait()
		c.t.Fatalf("start a node: %s", errs.String())
	}
	c.t.Cleanup(func() {
		in.Close()
		cmd.Wait()
	})
	return k
}

// ip runs ip(8) in the network namespace of a keeper.
func (c *Cluster) ip(k *keeper, args ...string) {
	c.t.Helper()
	cmd := exec.Command("nsenter", append([]string{"-t", strconv.Itoa(k.cmd.Process.Pid), "-n", "ip"}, args...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		c.t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// conf is the configuration of a node: knet without encryption.
func (o Options) conf(n *Node) string {
	token := o.TokenMS
	if token == 0 {
		token = 1000
	}
	b := &strings.Builder{}
	fmt.Fprintf(b, "totem {\n  version: 2\n  cluster_name: corotest\n  transport: knet\n  crypto_cipher: none\n  crypto_hash: none\n"+
		"  token: %d\n  token_coefficient: 0\n}\nnodelist {\n", token)
	for i := range max(o.Nodes, 1) {
		fmt.Fprintf(b, "  node {\n    ring0_addr: 10.77.0.%d\n    nodeid: %d\n    name: n%d\n", i+1, i+1, i+1)
		if i < len(o.Votes) {
			fmt.Fprintf(b, "    quorum_votes: %d\n", o.Votes[i])
		}
		b.WriteString("  }\n")
	}
	b.WriteString("}\nquorum {\n  provider: corosync_votequorum\n")
	for _, l := range o.Quorum {
		fmt.Fprintf(b, "  %s\n", l)
	}
	fmt.Fprintf(b, "}\nlogging {\n  to_stderr: no\n  to_syslog: no\n  to_logfile: yes\n  logfile: %s/log\n  timestamp: hires\n}\n", n.Dir)
	if o.Sockets {
		b.WriteString("system {\n  qb_ipc_type: socket\n}\n")
	}
	return b.String()
}

// ask gives the keeper an order and returns its answer.
func (n *Node) ask(order string) int {
	n.c.t.Helper()
	fmt.Fprintln(n.keeper.in, order)
	line, err := n.keeper.out.ReadString('\n')
	if err != nil {
		n.c.t.Fatalf("node %d: %s: %v", n.ID, order, err)
	}
	v, _ := strconv.Atoi(strings.TrimSpace(line))
	return v
}

// Start starts the daemon and waits until it lets clients in.
func (n *Node) Start() {
	n.c.t.Helper()
	n.PID = n.ask("start")
	n.c.Eventually(fmt.Sprintf("node %d lets clients in", n.ID), func() error {
		return n.In(func() error {
			m, err := corosync.DialCMap(context.Background(), corosync.Config{})
			if err != nil {
				return err
			}
			return m.Close()
		})
	})
}

// Kill ends the daemon with SIGKILL and waits for its end.
func (n *Node) Kill() { n.Signal(syscall.SIGKILL); n.ask("wait") }

// Stop ends the daemon in order and waits for its end.
func (n *Node) Stop() { n.Signal(syscall.SIGTERM); n.ask("wait") }

// Wait waits for the end of a daemon that ends by itself.
func (n *Node) Wait() { n.ask("wait") }

// Freeze and Thaw stop the daemon and let it go on.
func (n *Node) Freeze() { n.Signal(syscall.SIGSTOP) }

// Thaw lets a frozen daemon go on.
func (n *Node) Thaw() { n.Signal(syscall.SIGCONT) }

// Signal sends a signal to the daemon.
func (n *Node) Signal(sig syscall.Signal) {
	n.c.t.Helper()
	if err := syscall.Kill(n.PID, sig); err != nil {
		n.c.t.Fatalf("signal node %d: %v", n.ID, err)
	}
}

// cable is the node's end of a link at the hub.
func (n *Node) cable(link int) string { return fmt.Sprintf("v%dl%d", n.ID, link) }

// Cut takes the node's cables out, or those of some links only.
func (n *Node) Cut(links ...int) { n.cables("down", links) }

// Heal plugs them in again.
func (n *Node) Heal(links ...int) { n.cables("up", links) }

func (n *Node) cables(state string, links []int) {
	n.c.t.Helper()
	if len(links) == 0 {
		for l := range n.c.links {
			links = append(links, l)
		}
	}
	for _, l := range links {
		n.c.ip(n.c.hub, "link", "set", n.cable(l), state)
	}
}

// In runs f on a thread inside the node's namespaces. Connections that f makes
// stay usable afterwards; files that they open later do not belong to the node.
func (n *Node) In(f func() error) error {
	pid := n.keeper.cmd.Process.Pid
	done := make(chan error, 1)
	go func() {
		// Never unlocked: the thread ends with the goroutine.
		runtime.LockOSThread()
		if err := enter(pid); err != nil {
			done <- fmt.Errorf("enter node %d: %w", n.ID, err)
			return
		}
		done <- f()
	}()
	return <-done
}

func enter(pid int) error {
	// A thread that shares its working folder with others cannot change its mounts.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return err
	}
	for _, ns := range []struct {
		name string
		kind int
	}{{"net", unix.CLONE_NEWNET}, {"mnt", unix.CLONE_NEWNS}} {
		f, err := os.Open(fmt.Sprintf("/proc/%d/ns/%s", pid, ns.name))
		if err != nil {
			return err
		}
		err = unix.Setns(int(f.Fd()), ns.kind)
		f.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// Command is a program that runs inside the node's namespaces.
func (n *Node) Command(name string, args ...string) *exec.Cmd {
	return exec.Command("nsenter", append([]string{"-t", strconv.Itoa(n.keeper.cmd.Process.Pid), "-n", "-m", "--", name}, args...)...)
}

// Stranger is a program that runs on the nodes' networks without being a node:
// in the network namespace of the bridges br0, br1, ...
func (c *Cluster) Stranger(name string, args ...string) *exec.Cmd {
	return exec.Command("nsenter", append([]string{"-t", strconv.Itoa(c.hub.cmd.Process.Pid), "-n", "--", name}, args...)...)
}

// Daemon runs a shell script in the background of the node. Like everything in
// the node's network namespace it is killed at the end of the test.
func (n *Node) Daemon(script string) {
	n.c.t.Helper()
	if err := os.WriteFile(filepath.Join(n.Dir, "daemon"), []byte(script), 0o600); err != nil {
		n.c.t.Fatal(err)
	}
	n.ask("daemon")
}

// WaitMembers waits until the node is in a ring of that many.
func (n *Node) WaitMembers(want int) {
	n.c.t.Helper()
	n.c.Eventually(fmt.Sprintf("node %d in a ring of %d", n.ID, want), func() error {
		return n.In(func() error {
			ctx, cancel := context.WithTimeout(context.Background(), Patience)
			defer cancel()
			q, err := corosync.DialQuorum(ctx, corosync.Config{})
			if err != nil {
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
				if r, is := ev.(corosync.RingChange); is && len(r.Members) == want {
					return nil
				}
			}
		})
	})
}

// pollPause is the pause between two looks of Eventually.
const pollPause = 20 * time.Millisecond

// Eventually looks again and again until f gives no error, and fails the test
// after Patience.
func (c *Cluster) Eventually(what string, f func() error) {
	c.t.Helper()
	err := errors.New("not looked")
	for deadline := time.Now().Add(Patience); time.Now().Before(deadline); time.Sleep(pollPause) {
		if err = f(); err == nil {
			return
		}
	}
	c.t.Fatalf("%s: %v", what, err)
}
