package agents

import (
	"context"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// nfsWait is for the daemons of the NFS server to appear or go. Ours: nfsd
// ends its threads within a second or so.
const nfsWait = 15 * time.Second

// nfsDaemons must run for exports to be served (the names as in /proc/PID/comm).
func nfsDaemons() []string { return []string{"nfsd", "rpc.mountd", "rpc.statd"} }

// nfsMissing lists the daemons that do not run.
func nfsMissing(c *Call) []string {
	running := Processes(c)
	var out []string
	for _, d := range nfsDaemons() {
		runs := slices.ContainsFunc(running, func(p Process) bool { return p.Command == d && Alive(c, p.PID) })
		if d == "nfsd" && !runs {
			runs = nfsThreads(c)
		}
		if !runs {
			out = append(out, d)
		}
	}
	return out
}

// nfsThreads reports whether the kernel has threads of the server for this
// network namespace (nfsd(7), "threads"); in a container they are no processes.
func nfsThreads(c *Call) bool {
	text, err := c.Env.FS.ReadFile("/proc/fs/nfsd/threads")
	if err != nil {
		return false
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(text)))
	return err == nil && n > 0
}

// nfsStart starts the node's NFS server: its systemd unit where systemd runs,
// else the programs themselves.
func nfsStart(ctx context.Context, c *Call) error {
	if unit := nfsUnit(c); unit != "" {
		for _, u := range []string{"rpc-statd.service", unit} {
			if _, err := c.Must(ctx, c.Budget(ActionLimit), "systemctl", "start", "--", u); err != nil {
				return err
			}
		}
	} else {
		missing := nfsMissing(c)
		if err := portmap(ctx, c); err != nil {
			return err
		}
		for _, d := range []struct {
			name string
			args []string
		}{
			{"rpc.statd", nil},
			// 8 threads: the default of nfsd(8).
			{"rpc.nfsd", []string{"8"}},
			{"rpc.mountd", nil},
		} {
			daemon := d.name
			if daemon == "rpc.nfsd" {
				daemon = "nfsd"
			}
			if !slices.Contains(missing, daemon) {
				continue
			}
			if daemon == "nfsd" {
				nfsMount(ctx, c)
			}
			if _, err := c.Must(ctx, QueryLimit, d.name, d.args...); err != nil {
				return err
			}
		}
	}
	var missing []string
	if !c.Poll(ctx, pollInterval, nfsWait, func() bool { missing = nfsMissing(c); return len(missing) == 0 }) {
		return Fail(Generic, "NFS daemon %s is not running after its start", strings.Join(missing, ", "))
	}
	return nil
}

// portmap starts rpcbind where it does not run: rpc.statd registers there and
// ends without a word if it can not. The NFS server's stop leaves it alone.
func portmap(ctx context.Context, c *Call) error {
	if slices.ContainsFunc(Processes(c), func(p Process) bool { return p.Command == "rpcbind" && Alive(c, p.PID) }) {
		return nil
	}
	_, err := c.Must(ctx, QueryLimit, "rpcbind")
	return err
}

// nfsMount mounts the file system of nfsd where nothing else did; rpc.nfsd
// says itself what it lacks.
func nfsMount(ctx context.Context, c *Call) {
	if _, err := c.Env.FS.Stat("/proc/fs/nfsd/threads"); err == nil {
		return
	}
	if o, err := c.Exec(ctx, QueryLimit, "mount", "-t", "nfsd", "nfsd", "/proc/fs/nfsd"); err != nil || !o.OK() {
		c.Warnf("Mount the nfsd file system: %s (%v)", o.Last(), err)
	}
}

// nfsStop stops the node's NFS server; with it what it exports is not served
// any more.
func nfsStop(ctx context.Context, c *Call, kill Kill) error {
	if unit := nfsUnit(c); unit != "" {
		for _, u := range []string{unit, "rpc-statd.service"} {
			if _, err := c.Must(ctx, c.Budget(ActionLimit), "systemctl", "stop", "--", u); err != nil {
				return err
			}
		}
	} else {
		missing := nfsMissing(c)
		if !slices.Contains(missing, "nfsd") {
			if _, err := c.Must(ctx, QueryLimit, "rpc.nfsd", "0"); err != nil {
				return err
			}
		}
		for _, p := range Processes(c) {
			if p.Command != "rpc.mountd" && p.Command != "rpc.statd" {
				continue
			}
			if err := kill(p.PID, SIGTERM); err != nil && Alive(c, p.PID) {
				return Fail(Generic, "end %s (process %d): %w", p.Command, p.PID, err)
			}
		}
	}
	var left []string
	gone := func() bool {
		missing := nfsMissing(c)
		left = slices.DeleteFunc(nfsDaemons(), func(d string) bool { return slices.Contains(missing, d) })
		return len(left) == 0
	}
	if !c.Poll(ctx, pollInterval, nfsWait, gone) {
		return Fail(Generic, "NFS daemon %s still runs after its stop", strings.Join(left, ", "))
	}
	return nil
}

// nfsUnit is the unit of the NFS server if systemd runs here and has it, else "".
func nfsUnit(c *Call) string {
	if _, err := c.Env.FS.Stat("/run/systemd/system"); err != nil {
		return ""
	}
	for _, u := range []string{"nfs-server.service", "nfs-kernel-server.service", "nfsserver.service"} {
		for _, dir := range []string{"/etc/systemd/system/", "/usr/lib/systemd/system/", "/lib/systemd/system/"} {
			if _, err := c.Env.FS.Stat(dir + u); err == nil {
				return u
			}
		}
	}
	return ""
}

// NFSExport holds the place of a path below a file system. It exports nothing
// itself; it sees to it that the NFS server runs.
func NFSExport(kill Kill) *Agent {
	ensure := func(ctx context.Context, c *Call) error {
		missing := nfsMissing(c)
		if len(missing) == 0 {
			return nil
		}
		for _, d := range missing {
			c.Errorf("NFS daemon %s is not running.", d)
		}
		c.Errorf("Restarting NFS daemons")
		return nfsStart(ctx, c)
	}
	return &Agent{
		Type:  "nfsexport",
		Start: ensure,
		Stop: func(ctx context.Context, c *Call) error {
			// The clients below have been unexported; an NFS server that can not
			// be started does not keep the path.
			if c.Dialect == OCF {
				return nil
			}
			return ensure(ctx, c)
		},
		Status: func(_ context.Context, c *Call) error {
			missing := nfsMissing(c)
			for _, d := range missing {
				if c.Probe() {
					c.Debugf("NFS daemon %s is not running.", d)
				} else {
					c.Errorf("NFS daemon %s is not running.", d)
				}
			}
			if len(missing) > 0 {
				return Quiet(NotRunning)
			}
			return nil
		},
		Stopped:   Generic,
		InProcess: (*Call).checking,
	}
}

// NFSClient exports a path to a host, network or netgroup.
func NFSClient(find Reverse) *Agent {
	n := nfsClient{find}
	return &Agent{
		Type: "nfsclient", Validate: n.verify, Start: n.start, Stop: n.stop,
		Status: n.status, Recover: n.recover,
	}
}

// Reverse finds the names of an address and the addresses of a name.
type Reverse interface {
	LookupAddr(ctx context.Context, address string) (names []string, err error)
	LookupHost(ctx context.Context, name string) (addresses []string, err error)
}

type nfsClient struct{ find Reverse }

const (
	// cacheAge is how long a cached export table is good: that of rgmanager's
	// agent.
	cacheAge  = 30 * time.Second
	cacheRoot = "/var/cache/cluster"
	// lookupLimit bounds the name service in a status. Ours: below the 5 s that
	// the metadata gives it.
	lookupLimit = 2 * time.Second
)

// exportOptions are the options of exports(5). A "=" at the end means that the
// option has a value; with a "?" before it, it may have one.
func exportOptions() []string {
	return []string{
		"secure", "insecure", "rw", "ro", "async", "sync", "wdelay", "no_wdelay", "hide", "nohide", "crossmnt",
		"subtree_check", "no_subtree_check", "auth_nlm", "no_auth_nlm", "secure_locks", "insecure_locks", "mountpoint?=", "mp?=",
		"fsid=", "refer=", "replicas=", "pnfs", "no_pnfs", "security_label", "nordirplus", "reexport=", "fsuidmap=",
		"root_squash", "no_root_squash", "all_squash", "no_all_squash", "anonuid=", "anongid=", "sec=", "xprtsec=",
		"acl", "no_acl", "no_auth", "nocrossmnt", "fslocations=", "link_relative", "link_absolute", "map_identity", "map_daemon", "map_static=", "squash_uids=", "squash_gids=",
	}
}

// knownOption reports whether one word of the options is one of exports(5).
func knownOption(word string) bool {
	name, value, has := strings.Cut(word, "=")
	for _, o := range exportOptions() {
		switch {
		case o == word && !strings.HasSuffix(o, "="),
			strings.HasSuffix(o, "?=") && name == strings.TrimSuffix(o, "?="),
			strings.HasSuffix(o, "=") && name == strings.TrimSuffix(o, "=") && has && value != "":
			return true
		}
	}
	return false
}

// exportArgs are the options for exportfs: the file system id first, unless the
// options have one.
func (n nfsClient) exportArgs(c *Call) string {
	opts := strings.Trim(c.Param("options"), ", ")
	if id := c.Param("fsid"); id != "" && !slices.ContainsFunc(strings.Split(opts, ","), func(o string) bool { return strings.HasPrefix(o, "fsid=") }) {
		opts = strings.TrimSuffix("fsid="+id+","+opts, ",")
	}
	return opts
}

// what is the export as exportfs wants it.
func (n nfsClient) what(c *Call) string { return bracketed(c.Param("target")) + ":" + c.Param("path") }

// bracketed puts the brackets around an IPv6 address that exportfs wants.
func bracketed(target string) string {
	bare, _, _ := strings.Cut(target, "/")
	if a, err := netip.ParseAddr(bare); err == nil && a.Is6() {
		return "[" + bare + "]" + strings.TrimPrefix(target, bare)
	}
	return target
}

// canonical is a client in the form in which clients are compared: without
// brackets, with a prefix length instead of an IPv4 mask, in lower case.
func canonical(client string) string {
	client = strings.ToLower(strings.TrimSuffix(strings.NewReplacer("[", "", "]", "").Replace(client), "."))
	addr, mask, ok := strings.Cut(client, "/")
	if !ok {
		if a, err := netip.ParseAddr(client); err == nil {
			return a.String()
		}
		return client
	}
	a, err := netip.ParseAddr(addr)
	if err != nil {
		return client
	}
	if m, err := netip.ParseAddr(mask); err == nil && m.Is4() {
		bits := 0
		for _, b := range m.As4() {
			for ; b&0x80 != 0; b <<= 1 {
				bits++
			}
		}
		mask = strconv.Itoa(bits)
	}
	n, err := strconv.Atoi(mask)
	if err != nil {
		return client
	}
	return netip.PrefixFrom(a, n).Masked().String()
}

func (n nfsClient) verify(_ context.Context, c *Call) error {
	for _, p := range []string{"target", "path", "options", "fsid"} {
		if v := c.Param(p); strings.ContainsFunc(v, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return Fail(BadArguments, "parameter %s of %s holds a control character: %q", p, c.Instance(), v)
		}
	}
	if strings.HasPrefix(c.Param("target"), "-") {
		return Fail(BadArguments, "parameter target of %s is %q; it must be a host, network, netgroup or *", c.Instance(), c.Param("target"))
	}
	if o := strings.Trim(c.Param("options"), ", "); o != "" {
		for _, w := range strings.Split(o, ",") {
			if w = strings.TrimSpace(w); !knownOption(w) {
				return Fail(BadArguments, "Export Option %s invalid", w)
			}
		}
	}
	dir := c.Param("path")
	if info, err := c.Env.FS.Stat(dir); dir == "" || !path.IsAbs(dir) || err != nil || !info.IsDir() {
		return Fail(BadArguments, "nfsclient:%s: path %q is no folder (%v)", c.Name, dir, err)
	}
	return nil
}

func (n nfsClient) start(ctx context.Context, c *Call) error {
	args := []string{"-i"}
	opts := n.exportArgs(c)
	if opts != "" {
		args = append(args, "-o", opts)
	}
	c.Infof("Adding export: %s (%s)", n.what(c), opts)
	n.forget(c)
	// exportfs ends with 0 although it could not resolve the target, and with 1
	// although it exported, where its table was missing.
	var last string
	for range 2 {
		o, err := c.Exec(ctx, QueryLimit, "exportfs", append(args, n.what(c))...)
		if err != nil {
			return err
		}
		if last = o.Last(); !o.OK() {
			continue
		}
		list, err := n.exports(ctx, c, false)
		if err != nil {
			return err
		}
		if n.exportedAs(ctx, c, list) != "" {
			return nil
		}
	}
	return Fail(Generic, "exportfs did not export %s: %s", n.what(c), last)
}

// stop removes the export if it is there, under the name that it has there.
func (n nfsClient) stop(ctx context.Context, c *Call) error {
	n.forget(c)
	if c.Param("target") == "" || c.Param("path") == "" || strings.HasPrefix(c.Param("target"), "-") {
		return nil // can not have been exported
	}
	list, err := n.exports(ctx, c, false)
	if err != nil {
		if Code(err) == NotInstalled {
			return nil
		}
		return err
	}
	name := n.exportedAs(ctx, c, list)
	if name == "" {
		c.Debugf("%s is not exported", n.what(c))
		return nil
	}
	c.Infof("Removing export: %s", n.what(c))
	if o, err := c.Exec(ctx, QueryLimit, "exportfs", "-u", n.what(c)); err != nil {
		return err
	} else if !o.OK() {
		c.Debugf("exportfs -u %s: %s", n.what(c), o.Last())
	}
	if list, err = n.exports(ctx, c, false); err != nil {
		return err
	}
	if n.exportedAs(ctx, c, list) == "" {
		return nil
	}
	// Its table has another name for the target.
	if _, err := c.Must(ctx, QueryLimit, "exportfs", "-u", bracketed(name)+":"+c.Param("path")); err != nil {
		return err
	}
	if list, err = n.exports(ctx, c, false); err == nil && n.exportedAs(ctx, c, list) != "" {
		err = Fail(Generic, "%s is still exported after exportfs -u", n.what(c))
	}
	return err
}

func (n nfsClient) status(ctx context.Context, c *Call) error {
	list, err := n.exports(ctx, c, c.Bool("use_cache"))
	if err != nil {
		if Code(err) == NotInstalled && c.Probe() {
			return Quiet(NotRunning)
		}
		return err
	}
	if n.exportedAs(ctx, c, list) != "" {
		return nil
	}
	if c.Probe() {
		c.Debugf("nfsclient:%s is missing!", c.Name)
	} else {
		c.Errorf("nfsclient:%s is missing!", c.Name)
	}
	return Quiet(NotRunning)
}

func (n nfsClient) recover(ctx context.Context, c *Call) error {
	if v := strings.ToLower(c.Param("allow_recover")); v == "0" || v == "no" || v == "false" {
		return Fail(Generic, "nfsclient:%s: recovery in place is not allowed (allow_recover)", c.Name)
	}
	if err := n.stop(ctx, c); err != nil {
		return err
	}
	if err := n.verify(ctx, c); err != nil {
		return err
	}
	return n.start(ctx, c)
}

// export is one line of "exportfs -v".
type export struct{ path, client string }

// exports reads the export table, with cached one that other clients of the
// service have read a moment ago.
func (n nfsClient) exports(ctx context.Context, c *Call, cached bool) ([]export, error) {
	file := n.cache(c)
	if cached && file != "" {
		if info, err := c.Env.FS.Stat(file); err == nil {
			age := c.Env.Clock.Now().Sub(info.ModTime())
			if text, err := readLimited(c, file, outputSize); err == nil && age >= 0 && age < cacheAge {
				return parseExports(string(text)), nil
			}
		}
	}
	o, err := c.Must(ctx, QueryLimit, "exportfs", "-v")
	if err != nil {
		return nil, err
	}
	if cached && file != "" {
		err := c.Env.FS.MkdirAll(cacheRoot, 0o755)
		if err == nil {
			err = c.Env.FS.WriteFile(file, []byte(o.Stdout), 0o600)
		}
		if err != nil {
			c.Warnf("Cache the export table: %v", err)
		}
	}
	return parseExports(o.Stdout), nil
}

// cache is the file of the service's cached table, or "" without a service.
func (n nfsClient) cache(c *Call) string {
	s := c.Param("service_name")
	if s == "" || strings.ContainsAny(s, "/\x00") {
		return ""
	}
	return cacheRoot + "/nfsclient-status-cache-" + s
}

// forget drops the cached table, which this action makes wrong.
func (n nfsClient) forget(c *Call) {
	if f := n.cache(c); f != "" && c.Bool("use_cache") {
		if err := c.Env.FS.Remove(f); err != nil && !isMissing(err) {
			c.Warnf("Remove the cached export table: %v", err)
		}
	}
}

// parseExports reads "exportfs -v": a path, blanks, and CLIENT(OPTIONS); after a
// long path the client is on the next line. <world> is *. Paths may hold
// blanks and, as \nnn, other characters.
func parseExports(text string) []export {
	var out []export
	pending := ""
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, " \t\r\n")
		if line == "" {
			continue
		}
		name, rest := "", line
		if line[0] == '/' {
			i := strings.LastIndexAny(line, " \t")
			if i < 0 || !strings.HasSuffix(line, ")") {
				pending = line
				continue
			}
			name, rest = strings.TrimRight(line[:i], " \t"), line[i+1:]
		} else {
			name, rest = pending, strings.TrimSpace(line)
		}
		pending = ""
		client, _, ok := strings.Cut(rest, "(")
		if !ok || name == "" {
			continue
		}
		if client == "<world>" {
			client = "*"
		}
		out = append(out, export{unescape(name), client})
	}
	return out
}

// exportedAs is the name that the export table has for the target, or "". The
// table may have a name for an address, or an address for a name.
func (n nfsClient) exportedAs(ctx context.Context, c *Call, list []export) string {
	target, dir := c.Param("target"), path.Clean(c.Param("path"))
	var clients []string
	for _, e := range list {
		if path.Clean(e.path) == dir {
			clients = append(clients, e.client)
		}
	}
	same := func(names []string) string {
		for _, name := range names {
			for _, cl := range clients {
				if canonical(name) == canonical(cl) {
					return cl
				}
			}
		}
		return ""
	}
	if found := same([]string{target}); found != "" || len(clients) == 0 || n.find == nil {
		return found
	}
	if strings.ContainsAny(target, "*?@/") {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, lookupLimit)
	defer cancel()
	if a, err := netip.ParseAddr(strings.Trim(target, "[]")); err == nil {
		names, _ := n.find.LookupAddr(ctx, a.String())
		return same(names)
	}
	addresses, _ := n.find.LookupHost(ctx, target)
	if found := same(addresses); found != "" {
		return found
	}
	var names []string
	for _, a := range addresses[:min(len(addresses), 4)] {
		more, _ := n.find.LookupAddr(ctx, a)
		names = append(names, more...)
	}
	return same(names)
}
