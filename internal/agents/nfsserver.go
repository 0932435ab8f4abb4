package agents

import (
	"context"
	"path"
	"slices"
	"strings"

	"github.com/haobox/haobox/platform"
)

// NFSServer runs the NFS server of the node with its state on a file system of
// the service: the list of clients that hold locks, and the clients of version
// 4, move with the service. rpc.statd calls the agent back (add-client,
// del-client, rpc.statd(8), option -H).
func NFSServer(kill Kill) *Agent {
	n := nfsServer{kill}
	return &Agent{
		Type: "nfsserver", Validate: n.verify, Start: n.start, Stop: n.stop, Status: n.status,
		More: []Named{
			{Name: "add-client", Do: func(_ context.Context, c *Call) error { return n.client(c, true) }},
			{Name: "del-client", Do: func(_ context.Context, c *Call) error { return n.client(c, false) }},
		},
	}
}

type nfsServer struct{ kill Kill }

const (
	varNFS = "/var/lib/nfs"
	// maxClients bounds the clients in a list. Ours.
	maxClients = 100_000
)

// base is the folder of the state.
func (n nfsServer) base(c *Call) string { return path.Join(c.Param("path"), c.Param("nfspath")) }

func (n nfsServer) verify(_ context.Context, c *Call) error {
	dir := c.Param("path")
	if info, err := c.Env.FS.Stat(dir); !path.IsAbs(dir) || err != nil || !info.IsDir() {
		return Fail(BadArguments, "nfsserver:%s: path %q is no folder (%v)", c.Name, dir, err)
	}
	if p := c.Param("nfspath"); path.IsAbs(p) || !pathLocal(p) {
		return Fail(BadArguments, "nfsserver:%s: nfspath %q must be a relative path below %s", c.Name, p, dir)
	}
	if p := c.Param("statdport"); p != "" {
		if _, ok := listenPort(p); !ok || strings.Contains(p, ":") {
			return Fail(BadArguments, "nfsserver:%s: statdport is %q; it must be a port from 1 to 65535", c.Name, p)
		}
	}
	if h := c.Param("krbhost"); strings.HasPrefix(h, "-") || strings.ContainsAny(h, " \t\n/") {
		return Fail(BadArguments, "nfsserver:%s: krbhost is %q; it must be a host name", c.Name, h)
	}
	return nil
}

// pathLocal reports whether a relative path stays below where it starts.
func pathLocal(p string) bool {
	p = path.Clean(p)
	return p != "." && p != ".." && !strings.HasPrefix(p, "../")
}

// binds are the folders of the state and where the programs look for them.
func (n nfsServer) binds(c *Call) [][2]string {
	var out [][2]string
	for _, d := range []string{"statd", "v4recovery"} {
		if info, err := c.Env.FS.Stat(varNFS + "/" + d); err == nil && info.IsDir() {
			out = append(out, [2]string{n.base(c) + "/" + d, varNFS + "/" + d})
		}
	}
	return out
}

func (n nfsServer) start(ctx context.Context, c *Call) error {
	if n.status(ctx, c) == nil {
		return nil
	}
	c.Infof("Starting NFS Server %s", c.Name)
	if err := n.tree(ctx, c); err != nil {
		return err
	}
	for _, b := range n.binds(c) {
		if n.bound(c, b[1]) {
			continue
		}
		if _, err := c.Must(ctx, QueryLimit, "mount", "--bind", "--", c.Env.FS.Path(b[0]), c.Env.FS.Path(b[1])); err != nil {
			return err
		}
	}
	if err := n.endStatd(ctx, c); err != nil {
		return err
	}
	if err := n.statd(ctx, c); err != nil {
		return err
	}
	if err := nfsStart(ctx, c); err != nil {
		c.Errorf("Failed to start NFS Server %s", c.Name)
		return err
	}
	c.Infof("Started NFS Server %s", c.Name)
	return nil
}

// tree makes the folders and files of the state, with the owner of the node's
// own state, because rpc.statd runs as that user.
func (n nfsServer) tree(ctx context.Context, c *Call) error {
	base := n.base(c)
	for _, d := range []string{"statd/sm", "statd/sm.bak", "statd/sm-ha", "v4recovery"} {
		if err := c.Env.FS.MkdirAll(base+"/"+d, 0o755); err != nil {
			return Fail(Generic, "make the state of %s: %w", c.Instance(), err)
		}
	}
	for _, f := range []string{"etab", "xtab", "rmtab"} {
		file, err := c.Env.FS.OpenFile(base+"/"+f, appendFlags, 0o644)
		if err != nil {
			return Fail(Generic, "make the state of %s: %w", c.Instance(), err)
		}
		if err := file.Close(); err != nil {
			return Fail(Generic, "make the state of %s: %w", c.Instance(), err)
		}
	}
	for _, like := range []string{varNFS + "/statd", varNFS + "/sm"} {
		if _, err := c.Env.FS.Stat(like); err == nil && !n.bound(c, like) {
			_, err := c.Must(ctx, QueryLimit, "chown", "-R", "--reference="+c.Env.FS.Path(like), "--", c.Env.FS.Path(base+"/statd"))
			return err
		}
	}
	return nil
}

// endStatd ends an rpc.statd that was started for something else: it keeps its
// list on this node.
func (n nfsServer) endStatd(ctx context.Context, c *Call) error {
	running := func() bool { return !slices.Contains(nfsMissing(c), "rpc.statd") }
	for _, p := range Processes(c) {
		if p.Command != "rpc.statd" {
			continue
		}
		if err := n.kill(p.PID, SIGTERM); err != nil && Alive(c, p.PID) {
			return Fail(Generic, "end rpc.statd (process %d): %w", p.PID, err)
		}
	}
	if !c.Poll(ctx, pollInterval, lastWait, func() bool { return !running() }) {
		return Fail(Generic, "rpc.statd does not end")
	}
	return nil
}

// statd starts rpc.statd with the service's state and this agent as callout.
func (n nfsServer) statd(ctx context.Context, c *Call) error {
	args := []string{"rpc.statd", "-P", c.Env.FS.Path(n.base(c) + "/statd")}
	callout := ""
	for _, f := range []string{"/usr/share/cluster/nfsserver.sh", "/usr/lib/ocf/resource.d/haobox/nfsserver"} {
		if _, err := c.Env.FS.Stat(f); err == nil {
			callout = c.Env.FS.Path(f)
			break
		}
	}
	if callout == "" {
		c.Warnf("The agent is installed neither for rgmanager nor for Pacemaker: rpc.statd can not report its clients to it")
	} else {
		args = append(args, "-H", callout)
	}
	if p := c.Param("statdport"); p != "" {
		args = append(args, "-p", p)
	}
	if h := c.Param("krbhost"); h != "" {
		args = append(args, "-n", h)
	}
	if err := portmap(ctx, c); err != nil {
		return err
	}
	o, err := c.Run(ctx, platform.Cmd{Path: "rpc.statd", Args: args, Limit: QueryLimit, Env: c.Environ()})
	if err != nil {
		return err
	}
	if !o.OK() {
		return Fail(Generic, "rpc.statd: %s; its own messages are in the system log", o.Ended())
	}
	return nil
}

func (n nfsServer) stop(ctx context.Context, c *Call) error {
	c.Infof("Stopping NFS Server %s", c.Name)
	if err := nfsStop(ctx, c, n.kill); err != nil {
		c.Errorf("Failed to stop NFS Server %s", c.Name)
		return err
	}
	if c.Param("path") != "" && n.verify(ctx, c) == nil {
		n.save(c)
	}
	DropLocks(c, n.kill)
	for _, b := range n.binds(c) {
		if !n.bound(c, b[1]) {
			continue
		}
		if _, err := c.Must(ctx, QueryLimit, "umount", "--", c.Env.FS.Path(b[1])); err != nil {
			return err
		}
	}
	c.Infof("Stopped NFS Server %s", c.Name)
	return nil
}

// save adds the clients that statd watches to the list that moves along.
func (n nfsServer) save(c *Call) {
	sm, err := c.Env.FS.ReadDir(n.base(c) + "/statd/sm")
	if err != nil && !isMissing(err) {
		c.Warnf("Save the list of NFS clients: %v", err)
	}
	for _, e := range sm[:min(len(sm), maxClients)] {
		if err := n.mark(c, e.Name(), true); err != nil {
			c.Warnf("Save the list of NFS clients: %v", err)
			return
		}
	}
}

// bound reports whether something is mounted at a folder.
func (n nfsServer) bound(c *Call, folder string) bool {
	mounts, err := Mounts(c)
	return err == nil && at(mounts, c.Env.FS.Path(folder)) != nil
}

func (n nfsServer) status(_ context.Context, c *Call) error {
	missing := nfsMissing(c)
	if len(missing) == 0 {
		return nil
	}
	say := c.Errorf
	if !c.checking() || c.Probe() {
		say = c.Debugf
	}
	for _, d := range missing {
		say("NFS daemon %s is not running.", d)
	}
	if len(missing) == len(nfsDaemons()) || slices.Contains(missing, "nfsd") {
		return Quiet(NotRunning)
	}
	return Quiet(Generic)
}

// client is a callout of rpc.statd: the words are the action, the client's name
// and the server's.
func (n nfsServer) client(c *Call, add bool) error {
	if len(c.Args) == 0 {
		return Fail(BadArguments, "%s needs the name of a client", c.Action)
	}
	if err := n.verify(context.Background(), c); err != nil {
		return err
	}
	return n.mark(c, c.Args[0], add)
}

// mark keeps or drops a client's name as a file. Names come from the network.
func (n nfsServer) mark(c *Call, client string, add bool) error {
	if client == "" || client[0] == '.' || len(client) > 255 || strings.ContainsAny(client, "/\x00\n") {
		return Fail(BadArguments, "%q is no name of an NFS client", client)
	}
	file := n.base(c) + "/statd/sm-ha/" + client
	if !add {
		if err := c.Env.FS.Remove(file); err != nil && !isMissing(err) {
			return Fail(Generic, "drop NFS client %s: %w", client, err)
		}
		return nil
	}
	f, err := c.Env.FS.OpenFile(file, appendFlags, 0o644)
	if err != nil {
		return Fail(Generic, "keep NFS client %s: %w", client, err)
	}
	return f.Close()
}
