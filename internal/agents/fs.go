package agents

import (
	"context"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/haobox/haobox/platform"
)

// Machine is what the storage agents need beside files and programs.
type Machine struct {
	Kill Kill
	// Reboot reboots at once, without an orderly shutdown. It returns only if
	// it can not.
	Reboot func() error
	// PID of this process, and of the one that started it: neither is killed.
	PID, Parent int
}

// Numbers of rgmanager's fs agents.
const (
	mountTries  = 3
	mountPause  = 3 * time.Second
	umountTries = 3
	umountPause = 5 * time.Second
	// syncLimit bounds the sync before a node reboots itself. Ours: a device
	// that is gone would hold it for ever.
	syncLimit = 5 * time.Second
	// accessLimit bounds the look into a mounted file system: twice the timeout
	// of the deeper checks in the metadata, because that is a hint for
	// rgmanager, and a busy device is not a dead one.
	accessLimit = 60 * time.Second
	// umountLimit bounds one umount. Ours: a device with much unwritten data
	// needs minutes.
	umountLimit = 10 * time.Minute
	// noLook makes umount(8) take the mount point as it stands: else it looks at
	// what is mounted there first, and hangs while that does not answer.
	noLook = "-c"
)

// Statuses of the action that looks into a file system, and the word for it.
const (
	accessWord     = "access"
	noDirectory    = 10
	readFailed     = 11
	writeFailed    = 12
	writablePrefix = ".check_writable."
	// writableTries is how many names are tried that a check left behind.
	writableTries = 10
)

// mounter is an agent that mounts something.
type mounter struct {
	Machine
	// kind is the resource type: fs, clusterfs or netfs.
	kind string
	// types that it mounts; empty is also right.
	types []string
}

// FS mounts a file system that one node uses at a time.
func FS(m Machine) *Agent {
	return mounter{m, "fs", []string{"ext2", "ext3", "ext4", "btrfs", "jfs", "xfs", "reiserfs", "vfat", "tmpfs", "vxfs"}}.agent()
}

// ClusterFS mounts a file system that all nodes may have mounted.
func ClusterFS(m Machine) *Agent { return mounter{m, "clusterfs", []string{"gfs", "gfs2"}}.agent() }

// NetFS mounts a file system of another machine.
func NetFS(m Machine) *Agent { return mounter{m, "netfs", []string{"nfs", "nfs4", "cifs"}}.agent() }

func (m mounter) agent() *Agent {
	return &Agent{
		Type:  m.kind,
		Start: m.start, Stop: m.stop, Status: m.status, Validate: m.validate,
		More: []Named{{accessWord, m.access}},
		// A check reads the mount table; what may hang is done by a program
		// that is killed or left behind.
		InProcess: (*Call).checking,
	}
}

func (m mounter) validate(_ context.Context, c *Call) error {
	bad := BadArguments
	if c.Dialect == OCF {
		bad = NotConfigured
	}
	point := c.Param("mountpoint")
	if !path.IsAbs(point) {
		return Fail(bad, "parameter mountpoint of %s is %q; it must begin with /", c.Instance(), point)
	}
	if t := c.Param("fstype"); t != "" && !slices.Contains(m.types, t) {
		return Fail(bad, "parameter fstype of %s is %q; it must be one of %s", c.Instance(), t, strings.Join(m.types, ", "))
	}
	if o := c.Param("options"); strings.ContainsFunc(o, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return Fail(bad, "parameter options of %s is %q; it must be mount options separated by commas, without blanks", c.Instance(), o)
	}
	if m.kind == "netfs" {
		if h := c.Param("host"); strings.HasPrefix(h, "-") || strings.ContainsAny(h, " \t\n") {
			return Fail(bad, "parameter host of %s is %q; it must be a name or address", c.Instance(), h)
		}
		return nil
	}
	d := c.Param("device")
	for _, prefix := range [...]string{"/", "LABEL=", "UUID=", "PARTLABEL=", "PARTUUID="} {
		if strings.HasPrefix(d, prefix) {
			return nil
		}
	}
	if c.Param("fstype") == "tmpfs" && !strings.HasPrefix(d, "-") {
		return nil
	}
	return Fail(bad, "parameter device of %s is %q; it must be a path, LABEL= or UUID=", c.Instance(), d)
}

// device finds what is to be mounted. missing is the status if it is not there.
func (m mounter) device(ctx context.Context, c *Call, missing int) (string, error) {
	d := c.Param("device")
	switch {
	case m.kind == "netfs" && c.Param("fstype") == "cifs":
		return "//" + c.Param("host") + "/" + strings.TrimPrefix(c.Param("export"), "/"), nil
	case m.kind == "netfs":
		h := c.Param("host")
		if strings.Contains(h, ":") && !strings.HasPrefix(h, "[") {
			h = "[" + h + "]"
		}
		return h + ":" + c.Param("export"), nil
	case c.Param("fstype") == "tmpfs":
		return d, nil
	case !strings.HasPrefix(d, "/"):
		return c.tagged(ctx, d, missing)
	}
	real := c.real(d)
	info, err := c.Env.FS.Stat(real)
	switch {
	case err != nil:
		return "", Fail(missing, "%s: device %s: %w", c.Instance(), d, err)
	case info.Mode()&iofs.ModeDevice == 0 || info.Mode()&iofs.ModeCharDevice != 0:
		return "", Fail(missing, "%s: %s is no block device", c.Instance(), d)
	}
	return real, nil
}

// tagged finds the block device with a tag (LABEL=data). udev knows it; where
// there is no udev, every device is looked at. The cache of libblkid is not
// used: for two seconds it believes that a device is what it was.
func (c *Call) tagged(ctx context.Context, tag string, missing int) (string, error) {
	key, value, _ := strings.Cut(tag, "=")
	link := "/dev/disk/by-" + strings.ToLower(key) + "/" + value
	if !strings.ContainsAny(value, "/\\ ") {
		if real := c.real(link); real != link {
			return real, nil
		}
	}
	o, err := c.Exec(ctx, QueryLimit, "blkid", "-c", "/dev/null", "-o", "device", "-t", tag)
	if err != nil {
		return "", err
	}
	found := ""
	for _, d := range strings.Fields(o.Stdout) {
		// The paths of a multipath device have its tags, too.
		if found == "" || strings.HasPrefix(d, "/dev/mapper/") {
			found = d
		}
	}
	if found == "" {
		return "", Fail(missing, "%s: no device with %s", c.Instance(), tag)
	}
	return c.real(found), nil
}

// mounted finds the device in the mount table: at the right place first.
func (m mounter) mounted(c *Call, device string) (here *Mount, elsewhere string, inUse bool, err error) {
	mounts, err := Mounts(c)
	if err != nil {
		return nil, "", false, err
	}
	point := m.point(c, mounts)
	same := func(x *Mount) bool {
		switch {
		case m.kind == "netfs":
			return strings.TrimRight(x.Source, "/") == strings.TrimRight(device, "/")
		case c.Param("fstype") == "tmpfs":
			return x.Type == "tmpfs" && x.Point == point
		}
		return c.sameDevice(x, device)
	}
	if x := at(mounts, point); x != nil {
		if same(x) {
			return x, "", false, nil
		}
		inUse = true
	}
	for i := range mounts {
		if same(&mounts[i]) {
			return nil, mounts[i].Point, inUse, nil
		}
	}
	return nil, "", inUse, nil
}

// point is the mount point as the kernel has it. What is mounted there is not
// looked at: while its server or device is gone, that would hang.
func (m mounter) point(c *Call, mounts []Mount) string {
	return c.place(c.Param("mountpoint"), mounts)
}

func (m mounter) start(ctx context.Context, c *Call) error {
	var err error
	for try := range mountTries {
		if try > 0 {
			c.Noticef("Trying again in %v: %v", mountPause, err)
			if c.Sleep(ctx, mountPause) != nil {
				break
			}
		}
		var e *Error
		if err = m.mount(ctx, c); err == nil || errors.As(err, &e) && e.Code != Generic {
			break
		}
	}
	return err
}

func (m mounter) mount(ctx context.Context, c *Call) error {
	device, err := m.device(ctx, c, BadArguments)
	if err != nil {
		return err
	}
	point := path.Clean(c.Param("mountpoint"))
	// Before the look at the folder, which a dead file system there would hold.
	here, elsewhere, inUse, err := m.mounted(c, device)
	switch {
	case err != nil:
		return err
	case here != nil:
		c.Debugf("%s already mounted on %s", device, point)
		return nil
	case inUse && (elsewhere == "" || m.kind != "fs"):
		return Fail(BadArguments, "Cannot mount %s on %s, the device or mount point is already in use!", device, point)
	}
	info, err := c.Env.FS.Stat(point)
	switch {
	case errors.Is(err, iofs.ErrNotExist):
		c.Infof("creating mount point %s for device %s", point, device)
		if err := c.Env.FS.MkdirAll(point, 0o755); err != nil {
			return Fail(BadArguments, "%s: create mount point %s: %w", c.Instance(), point, err)
		}
	case err != nil:
		return fmt.Errorf("%s: look at mount point %s: %w", c.Instance(), point, err)
	case !info.IsDir():
		return Fail(BadArguments, "%s: mount point %s exists but is not a directory", c.Instance(), point)
	}
	if elsewhere != "" && m.kind == "fs" {
		c.Warnf("Device %s is mounted on %s instead of %s", device, elsewhere, point)
		return nil
	}
	fstype, options := c.Param("fstype"), c.Param("options")
	if m.kind == "netfs" {
		if fstype == "" {
			fstype = "nfs"
		}
		if options == "" {
			options = "sync,soft,noac"
			if fstype == "cifs" {
				options = "guest"
			}
		}
	}
	if m.kind == "fs" {
		if err := fsck(ctx, c, device, fstype); err != nil {
			return err
		}
	}
	args := []string{}
	if fstype != "" {
		args = append(args, "-t", fstype)
	}
	if options != "" {
		args = append(args, "-o", options)
	}
	args = append(args, device, point)
	c.Infof("mounting %s on %s", device, point)
	c.Debugf("mount %s", strings.Join(args, " "))
	o, err := c.Exec(ctx, ActionLimit, "mount", args...)
	if err != nil {
		return err
	}
	if !o.OK() {
		return Fail(Generic, "'mount %s' failed, error=%d: %s", strings.Join(args, " "), o.ExitCode, o.Last())
	}
	m.after(ctx, c, point, options)
	return nil
}

// fsck checks a file system whose kind has no journal, or if it is asked for.
func fsck(ctx context.Context, c *Call, device, fstype string) error {
	switch fstype {
	case "ext2", "minix", "vfat", "msdos", "":
	case "tmpfs":
		return nil
	default:
		if !c.Bool("force_fsck") {
			return nil
		}
	}
	o, err := c.Exec(ctx, ActionLimit, "fsck", "-p", device)
	var e *Error
	switch {
	case errors.As(err, &e) && e.Code == NotInstalled:
		c.Warnf("%s is not checked: %v", device, err)
		return nil
	case err != nil:
		return err
	}
	log := "/var/log/cluster/" + path.Base(device) + ".fsck.log"
	// fsck(8): 0 no errors, 1 errors corrected.
	if o.TimedOut || o.Signal != 0 || o.ExitCode > 1 {
		if err := c.Env.FS.MkdirAll(path.Dir(log), 0o755); err == nil {
			_ = c.Env.FS.WriteFile(log, []byte(o.Text+"\n"), 0o600)
		}
		_, _ = c.Exec(ctx, QueryLimit, "blockdev", "--flushbufs", device)
		return Fail(Generic, "'fsck -p %s' failed, error=%d; check %s for errors", device, o.ExitCode, log)
	}
	_ = c.Env.FS.Remove(log)
	return nil
}

// after does what belongs to a mount that has worked; nothing of it fails the
// start.
func (m mounter) after(ctx context.Context, c *Call, point, options string) {
	if m.kind == "fs" && c.Bool("nfslock") {
		list := point + "/.clumanager/statd/sm"
		if err := c.Env.FS.MkdirAll(list, 0o755); err != nil {
			c.Warnf("keep the list of NFS clients on %s: %v", point, err)
		} else {
			copyFiles(c, list, statdList(c))
		}
	}
	user, group := hasOption(options, "quota") || hasOption(options, "usrquota"), hasOption(options, "grpquota")
	if m.kind != "fs" || !user && !group {
		return
	}
	for file, on := range map[string]bool{"quota.user": user, "quota.group": group} {
		if !on {
			continue
		}
		f, err := c.Env.FS.OpenFile(point+"/"+file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err == nil {
			err = f.Close()
		}
		if err != nil && !errors.Is(err, iofs.ErrExist) {
			c.Warnf("create %s/%s: %v", point, file, err)
		}
	}
	for _, words := range [][]string{{"quotacheck", "-ugm", point}, {"quotaon", point}} {
		if _, err := c.Must(ctx, ActionLimit, words[0], words[1:]...); err != nil {
			c.Warnf("quotas on %s: %v", point, err)
			return
		}
	}
}

// statdList is where rpc.statd keeps the names of clients.
func statdList(c *Call) string {
	if _, err := c.Env.FS.Stat("/var/lib/nfs/statd/sm"); err == nil {
		return "/var/lib/nfs/statd/sm"
	}
	return "/var/lib/nfs/sm"
}

// copyFiles copies the files of a folder that another one does not have.
func copyFiles(c *Call, from, to string) {
	entries, err := c.Env.FS.ReadDir(from)
	if err != nil {
		return
	}
	for _, e := range entries {
		if !e.Type().IsRegular() {
			continue
		}
		if _, err := c.Env.FS.Stat(to + "/" + e.Name()); err == nil {
			continue
		}
		text, err := c.Env.FS.ReadFile(from + "/" + e.Name())
		if err == nil {
			if err = c.Env.FS.MkdirAll(to, 0o755); err == nil {
				err = c.Env.FS.WriteFile(to+"/"+e.Name(), text, 0o600)
			}
		}
		if err != nil {
			c.Warnf("copy the list of NFS clients from %s to %s: %v", from, to, err)
			return
		}
	}
}

func (m mounter) stop(ctx context.Context, c *Call) error {
	if err := m.validate(ctx, c); err != nil {
		return err
	}
	switch {
	case m.kind == "clusterfs" && c.Others > 0:
		c.Debugf("Not unmounting %s - still in use by %d other service(s)", c.Instance(), c.Others)
		return nil
	case m.kind == "clusterfs" && !c.Bool("force_unmount") && c.Dialect != OCF:
		c.Debugf("Not unmounting %s: force_unmount is not set", c.Instance())
		return nil
	case m.kind == "netfs" && c.Bool("no_unmount"):
		c.Debugf("Not unmounting %s: no_unmount is set", c.Instance())
		return nil
	}
	mounts, err := Mounts(c)
	if err != nil {
		return err
	}
	point := m.point(c, mounts)
	device, err := m.device(ctx, c, NotInstalled)
	if err != nil {
		// The device is gone; what was mounted from it may still be there.
		x := at(mounts, point)
		if x == nil {
			if c.Dialect == OCF {
				return nil
			}
			return err
		}
		device = x.Source
	}
	// Of several mounts on top of each other each is taken off.
	for try := 1; ; try++ {
		here, _, _, err := m.mounted(c, device)
		if err != nil {
			return err
		}
		if here == nil {
			c.Infof("%s is not mounted", device)
			return nil
		}
		if try == 1 {
			m.before(ctx, c, here, point)
		}
		c.Infof("unmounting %s", point)
		o, err := c.Exec(ctx, umountLimit, "umount", noLook, point)
		if err != nil {
			return err
		}
		if o.OK() {
			try = min(try, umountTries-1)
			continue
		}
		if nested := m.nested(c, point); len(nested) > 0 {
			c.Warnf("mounted below %s: %s", point, strings.Join(nested, ", "))
		}
		if try == umountTries {
			return m.giveUp(ctx, c, point, o)
		}
		c.Warnf("umount %s: %s", point, o.Last())
		if c.Bool("force_unmount") {
			m.force(ctx, c, here, try)
		}
		c.Poll(ctx, 50*time.Millisecond, umountPause, func() bool {
			if x, _, _, err := m.mounted(c, device); err == nil && x == nil {
				return true // "umount -f" of m.force
			}
			if !c.Bool("force_unmount") || len(Users(c, here, m.PID)) > 0 {
				return false
			}
			// A process that ends can not be seen here any more a moment
			// before it lets go of its files, and one that looks at the files
			// of others holds them for that long.
			o, err := c.Exec(ctx, umountLimit, "umount", noLook, point)
			return err != nil || o.OK()
		})
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

func (m mounter) nested(c *Call, point string) []string {
	mounts, err := Mounts(c)
	if err != nil {
		return nil
	}
	return below(mounts, point)
}

// before does what must be done while it is still mounted.
func (m mounter) before(ctx context.Context, c *Call, here *Mount, point string) {
	switch m.kind {
	case "fs":
		if c.Bool("nfslock") {
			copyFiles(c, statdList(c), point+"/.clumanager/statd/sm")
		}
		if o := c.Param("options"); strings.Contains(o, "quota") {
			if _, err := c.Must(ctx, QueryLimit, "quotaoff", point); err != nil {
				c.Warnf("quotas on %s: %v", point, err)
			}
		}
	case "clusterfs":
		if c.Bool("nfslock") {
			c.Warnf("Dropping node-wide NFS locks")
			DropLocks(c, m.Kill)
		}
		if _, err := c.Must(ctx, QueryLimit, "blockdev", "--flushbufs", here.Source); err != nil {
			c.Debugf("%v", err)
		}
	case "netfs":
		if !c.Bool("self_fence") || here.Type == "cifs" {
			return
		}
		o, err := c.Exec(ctx, QueryLimit, "rpcinfo", "-t", c.Param("host"), "nfs")
		if err != nil {
			c.Warnf("the NFS server is not asked: %v", err)
		} else if !o.OK() {
			m.reboot(ctx, c, "NFS server not responding - REBOOTING")
		}
	}
}

// force makes the users of a mount go: with SIGTERM first, with SIGKILL then.
func (m mounter) force(ctx context.Context, c *Call, here *Mount, try int) {
	word, signal := "SIGTERM", SIGTERM
	if try > 1 {
		word, signal = "SIGKILL", SIGKILL
	}
	users := Users(c, here, m.PID)
	users = slices.DeleteFunc(users, func(u User) bool { return u.PID == m.Parent })
	c.Warnf("Sending %s to processes on %s", word, here.Point)
	for _, u := range users {
		c.Warnf("%s to process %d (%s): %s %s", word, u.PID, u.Command, u.What, u.Path)
		if err := m.Kill(u.PID, signal); err != nil {
			c.Debugf("%s to process %d: %v", word, u.PID, err)
		}
	}
	if m.kind == "netfs" && here.Type != "cifs" {
		if _, err := c.Must(ctx, umountLimit, "umount", "-f", noLook, here.Point); err != nil {
			c.Warnf("%v", err)
		}
		return
	}
	if c.Bool("nfslock") {
		c.Warnf("Dropping node-wide NFS locks")
		DropLocks(c, m.Kill)
	}
	if c.Bool("nfsrestart") {
		restartNFS(ctx, c, here.Point)
	}
}

// restartNFS makes the kernel's NFS server let go of a file system, and gives
// back what else was exported.
func restartNFS(ctx context.Context, c *Call, point string) {
	c.Warnf("Restarting the NFS server to free %s", point)
	table, err := c.Env.FS.ReadFile("/var/lib/nfs/etab")
	if err != nil {
		c.Warnf("read the list of exports: %v", err)
	}
	if _, err := c.Must(ctx, ActionLimit, "systemctl", "try-restart", "nfs-server.service"); err != nil {
		c.Warnf("%v", err)
	}
	// "PATH<tab>CLIENT(OPTIONS)", exports(5).
	for line := range strings.Lines(string(table)) {
		dir, rest, ok := strings.Cut(strings.TrimSpace(line), "\t")
		client, options, ok2 := strings.Cut(strings.TrimSuffix(rest, ")"), "(")
		if dir = unescape(dir); !ok || !ok2 || dir == point || strings.HasPrefix(dir, point+"/") {
			continue
		}
		if _, err := c.Must(ctx, QueryLimit, "exportfs", "-i", "-o", options, client+":"+dir); err != nil {
			c.Warnf("%v", err)
		}
	}
}

// giveUp is the end of a stop that did not work.
func (m mounter) giveUp(ctx context.Context, c *Call, point string, o Output) error {
	if mounts, err := Mounts(c); err == nil {
		if x := at(mounts, point); x != nil {
			for _, u := range Users(c, x, m.PID) {
				c.Errorf("process %d (%s) still uses %s: %s %s", u.PID, u.Command, point, u.What, u.Path)
			}
		}
	}
	c.Errorf("'umount %s' failed, error=%d", point, o.ExitCode)
	if c.Bool("self_fence") {
		m.reboot(ctx, c, "umount failed - REBOOTING")
	}
	return Quiet(Generic)
}

// reboot makes this node go down hard: nothing else can free its resources.
func (m mounter) reboot(ctx context.Context, c *Call, why string) {
	selfFence(ctx, c, m.Machine, why)
}

func selfFence(ctx context.Context, c *Call, m Machine, why string) {
	c.Alertf("%s", why)
	_, _ = c.Exec(ctx, syncLimit, "sync")
	if err := m.Reboot(); err != nil {
		c.Alertf("reboot: %v", err)
	}
}

func (m mounter) status(ctx context.Context, c *Call) error {
	c.Debugf("Checking fs %q, level %d", c.Name, c.Depth)
	if err := m.validate(ctx, c); err != nil {
		return err
	}
	device, err := m.device(ctx, c, NotRunning)
	if err != nil {
		return err
	}
	here, _, _, err := m.mounted(c, device)
	if err != nil {
		return err
	}
	if here == nil {
		return Fail(NotRunning, "%s: %s is not mounted on %s", c.Instance(), device, c.Param("mountpoint"))
	}
	if c.Bool("quick_status") {
		return nil
	}
	depth := c.Depth
	if here.ReadOnly || hasOption(c.Param("options"), "ro") {
		depth = min(depth, 19)
	}
	limit := accessLimit
	if c.Dialect == OCF {
		limit = c.Budget(accessLimit)
	}
	o, err := c.Run(ctx, platform.Cmd{Path: c.self(), Args: []string{m.kind + ".sh", accessWord}, Limit: limit,
		Env: []string{"OCF_RESKEY_mountpoint=" + here.Point, "OCF_RESKEY_name=" + c.Name, "OCF_RESOURCE_INSTANCE=" + c.Instance(),
			"OCF_CHECK_LEVEL=" + strconv.Itoa(depth), LogVariable + "=parent",
			// Required, but of no interest to it.
			"OCF_RESKEY_device=" + device, "OCF_RESKEY_host=" + c.Param("host"), "OCF_RESKEY_export=" + c.Param("export")}})
	point := c.Param("mountpoint")
	why := strings.TrimPrefix(o.Last(), "<err> ")
	switch {
	case err != nil:
		return err
	case o.OK():
		return nil
	case o.TimedOut:
		return Fail(Generic, "%s: %s does not answer within %v: Mount point is not accessible!", c.Instance(), point, limit)
	case o.ExitCode == noDirectory:
		return Fail(Generic, "%s: %s is not a directory: %s", c.Instance(), point, why)
	case o.ExitCode == readFailed:
		return Fail(Generic, "%s: failed read test on [%s]: %s", c.Instance(), point, why)
	case o.ExitCode == writeFailed:
		c.Errorf("%s: failed write test on [%s]: %s", c.Instance(), point, why)
		return Fail(Generic, "%s: Mount point is not accessible!", c.Instance())
	}
	return Fail(Generic, "%s: look into %s: %s: %s", c.Instance(), point, o.Ended(), why)
}

// access is the action of the program that status starts: it looks into the
// file system, as deep as the check level says, and may hang.
func (m mounter) access(_ context.Context, c *Call) error {
	point := c.Param("mountpoint")
	info, err := c.Env.FS.Stat(point)
	if err != nil {
		return Fail(noDirectory, "%w", err)
	}
	if !info.IsDir() {
		return Fail(noDirectory, "%v", info.Mode().Type())
	}
	if c.Depth < 10 {
		return nil
	}
	if _, err := c.Env.FS.ReadDir(point); err != nil {
		return Fail(readFailed, "%w", err)
	}
	if c.Depth < 20 {
		return nil
	}
	host, err := c.Env.Hostname()
	if err != nil {
		return Fail(writeFailed, "find the host name: %w", err)
	}
	var f platform.File
	var file string
	for i := range writableTries {
		// O_EXCL: neither somebody else's file nor a link to one.
		file = fmt.Sprintf("%s/%s%s.%d.%d", strings.TrimSuffix(point, "/"), writablePrefix, host, m.PID, i)
		f, err = c.Env.FS.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if !errors.Is(err, iofs.ErrExist) {
			break
		}
	}
	if err != nil {
		return Fail(writeFailed, "%w", err)
	}
	_, err = io.WriteString(f, host+"\n")
	err = errors.Join(err, f.Sync(), f.Close(), c.Env.FS.Remove(file))
	if err != nil {
		return Fail(writeFailed, "%w", err)
	}
	return nil
}
