package haobox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/haobox/haobox/applets/applet"
	"github.com/haobox/haobox/internal/ctl"
	"github.com/haobox/haobox/internal/fencing"
	"github.com/haobox/haobox/platform"
)

// freezeToken is how long a frozen node goes unnoticed in the story, in ms;
// cman's default is 10 s.
const freezeToken = 2500

// nodeRemoved are the lines of fenced's log of which the first one about a failed
// CNODE1 is one: engine and group tell of it in no fixed order.
var nodeRemoved = []string{"cluster node 1 removed", " join left 1"}

// freezeConf is the manual's figure 1 for the story: the cluster's version, the
// token, the port of the simulated z/VM.
const freezeConf = `<cluster name="ZCLUSTER" config_version="1">
  <cman two_node="1" expected_votes="1"/>
  <totem token="%d"/>
  <logging debug="on" to_syslog="no"/>
  <clusternodes>
    <clusternode name="CNODE1" nodeid="1">
      <fence><method name="ZVMFENCE"><device name="ZVMPPOWER" port="CNODE1"/></method></fence>
    </clusternode>
    <clusternode name="CNODE2" nodeid="2">
      <fence><method name="ZVMFENCE"><device name="ZVMPPOWER" port="CNODE2"/></method></fence>
    </clusternode>
  </clusternodes>
  <fencedevices>
    <fencedevice name="ZVMPPOWER" agent="fence_zvmip" ipaddr="127.0.0.1" ipport="%s" disable_ssl="1" login="CMANAGER" passwd="SECRET"/>
  </fencedevices>
  <fence_daemon post_join_delay="60" fence_race="none"/>
</cluster>
`

func (t tool) demoFreeze() *cli.Command {
	return &cli.Command{
		Name:  "freeze",
		Usage: "freeze one of two nodes, and see the other one fence it",
		Action: func(c *cli.Context) error {
			ctx, cancel := context.WithTimeout(c.Context, demoLimit)
			defer cancel()
			if err := t.freezeStory(ctx); err != nil {
				return fail("haobox demo freeze: %v", err)
			}
			return nil
		},
	}
}

// demoNode is a node of the story: a process of fenced.
type demoNode struct {
	name, dir string
	proc      platform.Process
	ended     chan struct{}
	errs      bytes.Buffer
	client    ctl.Client
}

// freezeStory runs section 5.6 of the manual: CNODE1 stops answering, CNODE2
// finds out, and has z/VM force it off and log it on again.
func (t tool) freezeStory(ctx context.Context) error {
	if !slices.ContainsFunc(t.all, func(e applet.Entry) bool { return e.Answers("fenced") }) {
		return errors.New("there is no fenced for this system")
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find the running binary: %w", err)
	}
	dir, err := os.MkdirTemp("", "demo-")
	if err != nil {
		return fmt.Errorf("make a folder: %w", err)
	}
	tidy, err := t.guarded(ctx, self, dir)
	if err != nil {
		return err
	}
	defer tidy()
	s := &story{out: t.env.Stdout, now: t.env.Clock.Now, start: t.env.Clock.Now()}
	s.heading("haobox demo: a node freezes, and the other one fences it (the manual 5.6)")
	z, err := t.startZVM(ctx, self, dir, "127.0.0.1", "CNODE1,CNODE2", demoLogoff, "--on-logoff", `kill -s KILL -- -$(cat "`+dir+`/$1.pid"); true`)
	if err != nil {
		return err
	}
	defer z.stop()
	s.tell("smapid", "a simulated z/VM; CNODE1 and CNODE2 are logged on")

	// CNODE2 first: it then is the hub of the embedded engine.
	nodes := [2]*demoNode{{name: "CNODE2", dir: dir + "/n2"}, {name: "CNODE1", dir: dir + "/n1"}}
	for _, n := range nodes {
		conf := filepath.Join(n.dir, "etc/cluster")
		if err := os.MkdirAll(conf, 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(conf+"/cluster.conf", fmt.Appendf(nil, freezeConf, freezeToken, z.port), 0o600); err != nil {
			return err
		}
		if err := t.startNode(ctx, self, dir, n); err != nil {
			return err
		}
		defer n.kill()
	}
	survivor, victim := nodes[0], nodes[1]
	members := func(n *demoNode, want int) error {
		return t.eventually(ctx, fmt.Sprintf("%s sees %d members of the fence domain", n.name, want), func() bool {
			var in fencing.Info
			return n.client.Do(ctx, "GET", "/v1/domain", nil, &in) == nil && in.Joined && len(in.Members) == want && in.Wait == fencing.WaitNone
		})
	}
	for _, n := range nodes {
		if err := members(n, 2); err != nil {
			return err
		}
	}
	s.tell("fenced", "CNODE1 and CNODE2 are the fence domain")

	s.heading("#CP SLEEP on the console of CNODE1")
	frozen := t.env.Clock.Now()
	if err := victim.proc.Signal(syscall.SIGSTOP); err != nil {
		return fmt.Errorf("freeze %s: %w", victim.name, err)
	}
	s.tell("CNODE1", "is frozen: its processes are there, and answer nobody")
	var op fencing.Op
	if err := t.eventually(ctx, "CNODE2 fences CNODE1", func() bool {
		var all []fencing.Op
		if survivor.client.Do(ctx, "GET", "/v1/history", nil, &all) != nil {
			return false
		}
		i := slices.IndexFunc(all, func(o fencing.Op) bool { return o.Name == victim.name && o.OK })
		if i >= 0 {
			op = all[i]
		}
		return i >= 0
	}); err != nil {
		return err
	}
	s.at(op.Start, "CNODE2", "has heard nothing for %.3f s, and fences CNODE1", op.Start.Sub(frozen).Seconds())
	s.at(op.End, "CNODE2", "%s says that CNODE1 is off, after %.3f s", op.Agent, op.End.Sub(op.Start).Seconds())
	<-victim.ended
	s.tell("CNODE1", "what was frozen is gone: it will touch nothing any more")
	if err := t.startNode(ctx, self, dir, victim); err != nil {
		return err
	}
	if err := members(survivor, 2); err != nil {
		return err
	}
	s.tell("CNODE1", "has booted and joined the fence domain")

	s.heading("/var/log/cluster/fenced.log of CNODE2 (the manual's figure 20)")
	log, err := os.ReadFile(survivor.dir + "/var/log/cluster/fenced.log")
	if err != nil {
		return err
	}
	t.printLines(string(log), nodeRemoved, "receive_complete")
	lines, err := z.log(ctx)
	if err != nil {
		return err
	}
	s.heading("The operator's log of the simulated z/VM (figure 21)")
	for _, l := range lines {
		fmt.Fprintln(t.env.Stdout, l.Line)
	}
	fmt.Fprintln(t.env.Stdout)
	return nil
}

// printLines prints a log from the line with one of first to the next one with
// last.
func (t tool) printLines(log string, first []string, last string) {
	on := false
	for _, l := range strings.Split(strings.TrimSpace(log), "\n") {
		if on = on || slices.ContainsFunc(first, func(f string) bool { return strings.Contains(l, f) }); on {
			fmt.Fprintln(t.env.Stdout, l)
		}
		if on && strings.Contains(l, last) {
			return
		}
	}
}

// startNode starts a node's fenced, and notes its process for the logoff hook.
func (t tool) startNode(ctx context.Context, self, dir string, n *demoNode) error {
	run := n.dir + "/r" // short: a socket's path may have 107 bytes
	socket := run + "/haobox/fenced.sock"
	n.client.Dial = func(ctx context.Context) (net.Conn, error) { return new(net.Dialer).DialContext(ctx, "unix", socket) }
	n.errs.Reset()
	var err error
	n.proc, err = t.env.Runner.Start(ctx, platform.Cmd{
		Path: self, Args: []string{"fenced", "-D", "-q", "--join"}, Stderr: &n.errs,
		Env: append(t.env.Environ(), "HAOBOX_ENGINE=local:"+dir+"/bus", "HAOBOX_NODE="+n.name, "HAOBOX_RUN="+run, "HAOBOX_ROOT="+n.dir,
			marked(dir), "PATH=/nowhere"), // fenced is the agent itself, whatever else is installed
	})
	if err != nil {
		return err
	}
	n.ended = make(chan struct{})
	go func(p platform.Process, ended chan struct{}) {
		_, _ = p.Wait()
		close(ended)
	}(n.proc, n.ended)
	if err := os.WriteFile(filepath.Join(dir, n.name+".pid"), fmt.Appendln(nil, n.proc.PID()), 0o600); err != nil {
		return err
	}
	if err := t.eventually(ctx, "fenced of "+n.name+" answers", func() bool {
		return n.client.Do(ctx, "GET", "/v1/domain", nil, nil) == nil
	}); err != nil {
		n.kill()
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(n.errs.String()))
	}
	return nil
}

// kill ends a node, frozen or not.
func (n *demoNode) kill() {
	_ = n.proc.Signal(syscall.SIGKILL)
	<-n.ended
}

// eventually looks again and again, at most for readyLimit.
func (t tool) eventually(ctx context.Context, what string, look func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, readyLimit)
	defer cancel()
	for !look() {
		if t.env.Clock.Sleep(ctx, 20*time.Millisecond) != nil {
			return fmt.Errorf("waited for %v until %s", readyLimit, what)
		}
	}
	return nil
}
