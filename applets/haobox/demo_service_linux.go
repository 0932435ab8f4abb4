package haobox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/haobox/haobox/applets/applet"
	"github.com/haobox/haobox/internal/clusterconf"
	"github.com/haobox/haobox/internal/ctl"
	"github.com/haobox/haobox/platform"
	"github.com/haobox/haobox/platform/proc"
	"github.com/haobox/haobox/platform/sandbox"
)

const (
	// exitNoStage is the status of the stage that could not be set up.
	exitNoStage = 3
	// stageAddress is where the simulated z/VM is.
	stageAddress = "172.17.16.254/24"
	// clientHost is the last part of the client's address.
	clientHost = 100
	// serviceAddress is that of the manual's figure 1.
	serviceAddress = "172.17.16.3"
	// loopbackAddress stands for it where no address can be added.
	loopbackAddress = "127.17.16.3"
	// engineVariable, which daemons read, and its value for corosync.
	engineVariable = "HAOBOX_ENGINE"
	corosyncEngine = "corosync"
	// leastRoom is what the smaller story may write, in bytes; it is a tenth, most
	// of it logs. Ours.
	leastRoom = 4 << 20
	// longestRoom is how long its folder may be: a socket's path has at most 107
	// bytes (unix(7)), and this story adds "/d-0123456789/n1/r/haobox/rgmanager.sock".
	longestRoom = 107 - 40
	// mkfsLimit bounds making a file system of 16 MiB.
	mkfsLimit = 20 * time.Second
)

// daemonFolders are where a distribution has corosync.
var daemonFolders = []string{"/usr/sbin", "/sbin"}

// tellService tells the whole story in namespaces, or the smaller one where they
// can not be had.
func (t tool) tellService(ctx context.Context, o serviceOptions) error {
	if !slices.ContainsFunc(t.all, func(e applet.Entry) bool { return e.Answers("rgmanager") }) {
		return errNoCluster
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find the running binary: %w", err)
	}
	if o.corosync && !corosyncInstalled() {
		return fmt.Errorf("--corosync: there is no corosync in %s; install it, or tell the story without --corosync", strings.Join(daemonFolders, " or "))
	}
	smaller := func(why string) error {
		if o.corosync {
			return fmt.Errorf("--corosync: no namespaces for its nodes: %s", why)
		}
		return t.loopbackStory(ctx, self, o, why)
	}
	switch {
	case o.loopback:
		return smaller("--loopback was given")
	case os.Geteuid() != 0:
		return smaller(`they need root, or "unshare -Ur" before the command`)
	}
	run := ctx
	if !o.keep {
		var cancel context.CancelFunc
		run, cancel = context.WithTimeout(ctx, serviceLimit)
		defer cancel()
	}
	var errs strings.Builder
	res, err := t.env.Runner.Run(run, platform.Cmd{
		Path: self, Args: []string{Name, "demo", "service-stage", stageFolder(self), strconv.FormatBool(o.keep), strconv.FormatBool(o.corosync), strconv.Itoa(o.nodes)},
		Stdout: t.env.Stdout, Stderr: &errs, Private: true, Grace: stopGrace,
	})
	switch {
	case errors.Is(err, syscall.EPERM):
		return smaller("this process may not make any (CAP_SYS_ADMIN)")
	case errors.Is(err, syscall.ENOSYS), errors.Is(err, syscall.EINVAL), errors.Is(err, syscall.ENOSPC):
		var no syscall.Errno
		errors.As(err, &no)
		return smaller("the kernel gives none (" + no.Error() + ")")
	case err != nil:
		return err
	case res.ExitCode == exitNoStage:
		return smaller(strings.TrimSpace(errs.String()))
	}
	if ctx.Err() == nil { // else it says the same as this process
		fmt.Fprint(t.env.Stderr, errs.String())
	}
	switch {
	case ctx.Err() != nil && o.keep:
		return nil
	case ctx.Err() != nil:
		return errors.New("interrupted")
	case res.TimedOut:
		return fmt.Errorf("it took longer than %v", serviceLimit)
	case !res.OK():
		return applet.Exit(exitFailed) // it said why
	}
	return nil
}

// corosyncInstalled reports whether a node would find corosync.
func corosyncInstalled() bool {
	return slices.ContainsFunc(daemonFolders, func(dir string) bool {
		info, err := os.Stat(dir + "/corosync")
		return err == nil && info.Mode()&0o111 != 0
	})
}

// stageFolder is an empty place for the story's files, which only its own
// processes see: a folder that every system has, and that does not hide the
// binary.
func stageFolder(self string) string {
	for _, dir := range []string{"/mnt", "/srv", "/media"} {
		if info, err := os.Lstat(dir); err == nil && info.IsDir() && !strings.HasPrefix(self, dir+"/") {
			return dir
		}
	}
	return "/opt"
}

// demoParts are the processes of the story.
func (t tool) demoParts() []*cli.Command {
	part := func(name string, args int, run func(ctx context.Context, arg func(int) string) error) *cli.Command {
		return &cli.Command{Name: name, Hidden: true, Usage: "a process of demo service", Action: func(c *cli.Context) error {
			if c.NArg() < args {
				return applet.Exitf(exitUsage, "haobox demo %s: only 'haobox demo service' starts it", name)
			}
			return run(c.Context, c.Args().Get)
		}}
	}
	return []*cli.Command{
		part("service-stage", 4, func(ctx context.Context, arg func(int) string) error {
			nodes, _ := strconv.Atoi(arg(3))
			o := serviceOptions{keep: arg(1) == "true", corosync: arg(2) == "true", nodes: nodes}
			if err := o.valid(); err != nil {
				return fail("haobox demo service-stage: %v", err)
			}
			return t.stage(ctx, arg(0), o)
		}),
		part("service-node", 2, func(ctx context.Context, arg func(int) string) error { return t.node(ctx, arg(0), arg(1), arg(2)) }),
		part("service-off", 2, func(ctx context.Context, arg func(int) string) error { return t.powerOff(ctx, arg(0), arg(1)) }),
		part("service-freeze", 2, func(_ context.Context, arg func(int) string) error {
			pid, err := nodePID(arg(0), arg(1))
			if err == nil {
				proc.StopTree(pid)
			}
			return err
		}),
		part("service-web", 2, func(ctx context.Context, arg func(int) string) error { return t.serveFiles(ctx, arg(0), arg(1)) }),
	}
}

// stage is the process that has the bridge, the client, the simulated z/VM and
// the nodes.
func (t tool) stage(ctx context.Context, dir string, o serviceOptions) error {
	outer, _ := os.Readlink("/proc/self") // its number outside
	if err := sandbox.Stage(dir, netip.MustParsePrefix(stageAddress)); err != nil {
		return applet.Exitf(exitNoStage, "%v", err)
	}
	self, err := os.Executable()
	if err != nil {
		return fail("haobox demo service: find the running binary: %v", err)
	}
	x := &scene{tool: t, self: self, dir: dir, private: true, outer: outer, corosync: o.corosync}
	x.vm, _, _ = strings.Cut(stageAddress, "/")
	x.address = serviceAddress + ":80"
	x.web = x.chooseWeb()
	host, err := sandbox.NewHost("c1", netip.MustParsePrefix(fmt.Sprintf("172.17.16.%d/24", clientHost)))
	if err != nil {
		return fail("haobox demo service: make the client's host: %v", err)
	}
	defer host.Close()
	x.host = host
	if err := x.tell(ctx, o); err != nil {
		return fail("haobox demo service: %v", err)
	}
	return nil
}

// loopbackStory is the story without root: no namespaces, so one network for
// both nodes, and nothing that is mounted.
func (t tool) loopbackStory(ctx context.Context, self string, o serviceOptions, why string) error {
	dir, err := t.room()
	if err != nil {
		return err
	}
	tidy, err := t.guarded(ctx, self, dir)
	if err != nil {
		return err
	}
	defer tidy()
	port, err := freePort(loopbackAddress)
	if err != nil {
		return err
	}
	x := &scene{tool: t, self: self, dir: dir, vm: "127.0.0.1", address: loopbackAddress + ":" + port}
	x.web = x.ownWeb()
	x.without("namespaces: %s", why)
	x.without("so the nodes are processes on the loopback interface;")
	x.without("the address %s as a resource: %s is everywhere already;", serviceAddress, loopbackAddress)
	x.without("the file system: only root can mount one;")
	x.without("apache2 and nginx: the web server is the demo's own")
	return x.tell(ctx, o)
}

// room makes a folder for the smaller story: where a few files have room, a
// script may be run, and the path of a socket is short enough.
func (t tool) room() (dir string, err error) {
	var faults []string
	for _, parent := range []string{os.TempDir(), t.env.Getenv("XDG_RUNTIME_DIR"), "/dev/shm", "/var/tmp"} {
		if parent == "" {
			continue
		}
		err := sandbox.Fits(parent, leastRoom)
		if err == nil && len(parent) > longestRoom {
			err = fmt.Errorf("%s: the name is too long for that of a socket", parent)
		}
		if err == nil {
			if dir, err = os.MkdirTemp(parent, "d-"); err == nil {
				return dir, nil
			}
		}
		faults = append(faults, err.Error())
	}
	return "", fmt.Errorf("no folder for the story's files (TMPDIR can name one): %s", strings.Join(faults, "; "))
}

// freePort is a port that nobody listens on at the moment.
func freePort(address string) (string, error) {
	l, err := net.Listen("tcp", address+":0")
	if err != nil {
		return "", fmt.Errorf("find a free port at %s: %w", address, err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, err
}

// member is a node of the story: a process, and what it has started.
type member struct {
	name, dir, port, address string
	proc                     platform.Process
	ended                    chan struct{}
	rgmanager, fenced        ctl.Client
}

// members: the first is the hub of the embedded engine, and never frozen.
func (x *scene) members(n int) []*member {
	var out []*member
	for _, i := range []int{2, 1, 3}[:n] {
		host := i
		if i == 3 {
			host = 4 // 172.17.16.3 is the service's
		}
		m := &member{
			name: fmt.Sprint("CNODE", i), dir: fmt.Sprint(x.dir, "/n", i), port: fmt.Sprint("v", i),
			address: fmt.Sprintf("172.17.16.%d/24", host),
		}
		out = append(out, m)
		dial := func(name string) func(context.Context) (net.Conn, error) {
			return func(ctx context.Context) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "unix", m.dir+"/r/haobox/"+name+".sock")
			}
		}
		m.rgmanager.Dial, m.fenced.Dial = dial("rgmanager"), dial("fenced")
	}
	return out
}

// boot starts a node and connects it.
func (x *scene) boot(ctx context.Context, m *member) error {
	run := m.dir + "/r"
	if err := os.RemoveAll(run); err != nil {
		return err
	}
	for _, d := range []string{run, m.dir + "/var/log/cluster", m.dir + "/var/lib/corosync", m.dir + "/etc/corosync", m.dir + "/shm"} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	args := []string{Name, "demo", "service-node", x.dir, m.name}
	if x.private {
		args = append(args, m.address)
	}
	errs, err := os.OpenFile(m.dir+"/node.err", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer errs.Close()
	if m.proc, err = x.env.Runner.Start(ctx, platform.Cmd{Path: x.self, Args: args, Env: x.environ(m), Stderr: errs, Private: x.private}); err != nil {
		return err
	}
	m.ended = make(chan struct{})
	go func(p platform.Process, ended chan struct{}) {
		_, _ = p.Wait()
		close(ended)
	}(m.proc, m.ended)
	if err := os.WriteFile(filepath.Join(x.dir, m.name+".pid"), fmt.Append(nil, m.proc.PID()), 0o600); err != nil {
		return err
	}
	if x.private {
		return sandbox.Plug(m.port, netip.MustParsePrefix(m.address).Addr(), m.proc.PID())
	}
	return nil
}

// environ is the environment of a node's programs, and of tools that ask it.
func (x *scene) environ(m *member) []string {
	out := []string{
		"PATH=" + x.dir + "/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/", "LC_ALL=C", "TZ=" + x.env.Getenv("TZ"),
		"TERM=" + x.env.Getenv("TERM"), engineVariable + "=" + x.engine(), "HAOBOX_NODE=" + m.name,
		// A node that can not stop something would reboot: not this machine.
		"HAOBOX_HARD_DOWN=/bin/true", marked(x.dir),
	}
	if x.private {
		return append(out, clusterconf.PathVariable+"="+m.conf())
	}
	return append(out, "HAOBOX_ROOT="+m.dir, "HAOBOX_RUN="+m.dir+"/r")
}

// engine is what keeps the nodes together, as HAOBOX_ENGINE names it.
func (x *scene) engine() string {
	if x.corosync {
		return corosyncEngine
	}
	return "local:" + x.dir + "/bus"
}

func (m *member) conf() string { return m.dir + "/etc/cluster/cluster.conf" }

// node is process 1 of a node: it starts the daemons. address is "" without
// namespaces.
func (t tool) node(ctx context.Context, dir, name, address string) error {
	self, err := os.Executable()
	if err != nil {
		return fail("haobox demo service: find the running binary: %v", err)
	}
	own := dir + "/n" + strings.TrimPrefix(name, "CNODE")
	if address != "" {
		at, err := netip.ParsePrefix(address)
		if err != nil {
			return fail("haobox demo service: %v", err)
		}
		limited, cancel := context.WithTimeout(ctx, actLimit)
		defer cancel()
		binds := []sandbox.Bind{{From: own + "/r", At: "/run"}, {From: own + "/var/log", At: "/var/log"}, {From: own + "/etc/cluster", At: "/etc/cluster"}}
		onCorosync := t.env.Getenv(engineVariable) == corosyncEngine
		if onCorosync {
			binds = append(binds, sandbox.Bind{From: own + "/shm", At: "/dev/shm"}, sandbox.Bind{From: own + "/etc/corosync", At: "/etc/corosync"},
				sandbox.Bind{From: own + "/var/lib/corosync", At: "/var/lib/corosync"}, sandbox.Bind{From: dir + "/hosts", At: "/etc/hosts"})
		}
		if err := sandbox.Node(limited, at, binds); err != nil {
			return fail("haobox demo service: %s: %v", name, err)
		}
		if onCorosync {
			if err := t.joinCorosync(limited, self, name); err != nil {
				return fail("haobox demo service: %s: %v", name, err)
			}
		}
	}
	err = sandbox.Init(ctx, []sandbox.Program{
		{Path: self, Args: []string{"fenced", "-D", "-q", "--join"}, Env: t.env.Environ(), Output: own + "/fenced.err"},
		{Path: self, Args: []string{"rgmanager", "-f"}, Env: t.env.Environ(), Output: own + "/rgmanager.err"},
	})
	if err != nil {
		return fail("haobox demo service: %s: %v", name, err)
	}
	return nil
}

// joinCorosync is what an administrator does first on a node.
func (t tool) joinCorosync(ctx context.Context, self, name string) error {
	var out strings.Builder
	res, err := t.env.Runner.Run(ctx, platform.Cmd{Path: self, Args: []string{"cman_tool", "join", "-w", "-n", name}, Stdout: &out, Stderr: &out})
	if err == nil && !res.OK() {
		err = fmt.Errorf("cman_tool join: exit status %d: %s", res.ExitCode, strings.TrimSpace(out.String()))
	}
	return err
}

// powerOff is the simulated z/VM's logoff of a guest: the network is gone first,
// then all processes.
func (t tool) powerOff(ctx context.Context, dir, name string) error {
	pid, err := nodePID(dir, name)
	if err != nil {
		return err
	}
	_ = sandbox.Unplug("v" + strings.TrimPrefix(name, "CNODE")) // there is none on loopback addresses
	if err := proc.KillTree(pid); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fail("haobox demo service: end %s: %v", name, err)
	}
	return t.eventually(ctx, name+" is gone", func() bool { return syscall.Kill(pid, 0) != nil })
}

// nodePID is the number of a node's first process.
func nodePID(dir, name string) (pid int, err error) {
	text, err := os.ReadFile(filepath.Join(dir, name+".pid"))
	if err != nil {
		return 0, fail("haobox demo service: there is no node %s: %v", name, err)
	}
	if _, err := fmt.Sscan(string(text), &pid); err != nil || pid < 2 {
		return 0, fail("haobox demo service: %s.pid is %q, which is no process number", name, text)
	}
	return pid, nil
}

// serveFiles is the demo's own web server.
func (t tool) serveFiles(ctx context.Context, address, dir string) error {
	// A group of its own, by which the script ends it.
	if err := syscall.Setpgid(0, 0); err != nil && !errors.Is(err, syscall.EPERM) {
		return fail("haobox demo service: make a process group: %v", err)
	}
	s := &http.Server{Addr: address, Handler: http.FileServer(http.Dir(dir)), ReadHeaderTimeout: readyLimit}
	stop := context.AfterFunc(ctx, func() { _ = s.Close() })
	defer stop()
	if err := s.ListenAndServe(); err != nil && !errors.Is(err, http.ErrServerClosed) {
		return fail("haobox demo service: serve %s at %s: %v", dir, address, err)
	}
	return nil
}

// command runs an applet as on a node, and returns what it prints.
func (x *scene) command(ctx context.Context, m *member, args ...string) (string, error) {
	var out strings.Builder
	env := x.environ(m)
	if x.private {
		env = append(env, "HAOBOX_RUN="+m.dir+"/r") // the node has it as /run
	}
	res, err := x.env.Runner.Run(ctx, platform.Cmd{Path: x.self, Args: args, Env: env, Stdout: &out, Stderr: &out, Limit: readyLimit})
	if err == nil && !res.OK() {
		err = fmt.Errorf("%s: exit status %d: %s", strings.Join(args, " "), res.ExitCode, strings.TrimSpace(out.String()))
	}
	return out.String(), err
}

// killWeb kills the web server of a node, and reports how many processes it had.
func (x *scene) killWeb(m *member) int {
	n := 0
	for _, pid := range proc.Tree(m.proc.PID()) {
		line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err == nil && strings.Contains(string(line), x.web.mark) && proc.Kill(pid, int(syscall.SIGKILL)) == nil {
			n++
		}
	}
	return n
}

// dumpLogs helps who must find out why the story stopped.
func (x *scene) dumpLogs(to io.Writer) {
	for _, m := range x.nodes {
		for _, f := range []string{"node.err", "fenced.err", "rgmanager.err", "var/log/cluster/corosync.log"} {
			text, _ := os.ReadFile(filepath.Join(m.dir, f))
			lines := strings.Split(strings.TrimSpace(string(text)), "\n")
			for _, l := range lines[max(0, len(lines)-12):] {
				if l != "" {
					fmt.Fprintf(to, "%s %s: %s\n", m.name, f, l)
				}
			}
		}
	}
}
