package agents

import (
	"context"
	"errors"
	"path"
	"strings"
	"time"

	"github.com/haobox/haobox/platform"
)

// Times of vm.
const (
	// vmWait is for a guest to shut down, and again to be destroyed, if the
	// manager gives no time: that of rgmanager's agent. A status program after a
	// start has as long.
	vmWait = 60 * time.Second
	// vmPoll is between two looks at a guest. rgmanager's agent looks each 5 s;
	// ours more often, because a look costs little.
	vmPoll = time.Second
	// statusProgramPoll is between two calls of the status program on start, as
	// in rgmanager's agent.
	statusProgramPoll = 5 * time.Second
)

// migrateUncertain is the status of a migration that failed while the guest
// goes on where it was; rgmanager then leaves it there.
const migrateUncertain = 150

// VM runs a guest of libvirt, through virsh. root says whether the process is
// root.
func VM(root bool) *Agent {
	v := vm{root}
	nothing := func(context.Context, *Call) error { return nil }
	return &Agent{
		Type: "vm", Validate: v.validate, Start: v.start, Stop: v.stop, Status: v.status,
		Recover: nothing, Reload: nothing,
		More: []Named{
			{Name: "migrate", Do: v.migrate},
			{Name: "migrate_to", Do: v.migrate},
			{Name: "migrate_from", Do: v.status},
		},
	}
}

type vm struct{ root bool }

// guest is a validated guest.
type guest struct {
	vm
	c *Call
	// kind is the hypervisor: "qemu", "xen", "lxc", "test".
	kind, uri string
	// xml is the file that describes it, or "" if libvirt knows it.
	xml string
}

// virsh runs one command of virsh.
func (g *guest) virsh(ctx context.Context, limit time.Duration, args ...string) (Output, error) {
	return g.c.Exec(ctx, limit, "virsh", append([]string{"-q", "-c", g.uri, "--"}, args...)...)
}

func (v vm) validate(ctx context.Context, c *Call) error {
	_, err := v.guest(ctx, c)
	return err
}

// guest checks what every action needs. The statuses are those of validate-all;
// see act.
func (v vm) guest(ctx context.Context, c *Call) (*guest, error) {
	if !v.root {
		code := Generic
		if c.Dialect == OCF {
			code = Permission
		}
		return nil, Fail(code, "Cannot control %s as non-root user", c.Instance())
	}
	name := c.Param("name")
	if name == "" || strings.HasPrefix(name, "-") || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == '/' || r == 0x7f }) {
		return nil, Fail(BadArguments, "name of the guest is %q; it must not start with - and must have no slash or control character", name)
	}
	if u := c.Param("use_virsh"); u != "" && !Yes(u) {
		return nil, Fail(BadArguments, "%s: use_virsh is %q, but the xm command of Xen is gone and only virsh is supported", c.Instance(), u)
	}
	switch m := c.Param("migrate"); m {
	case "live", "pause", "":
	default:
		return nil, Fail(BadArguments, "%s: parameter migrate is %q; it must be live or pause", c.Instance(), m)
	}
	for _, p := range []string{"snapshot", "xmlfile"} {
		if f := c.Param(p); f != "" && !path.IsAbs(f) {
			return nil, Fail(BadArguments, "%s: parameter %s is %q; it must be an absolute path", c.Instance(), p, f)
		}
	}
	if _, err := options(c, "migrate_options"); err != nil {
		return nil, err
	}
	if _, err := c.Find("virsh"); err != nil {
		return nil, err
	}
	g := &guest{vm: v, c: c, kind: c.Param("hypervisor"), uri: c.Param("hypervisor_uri"), xml: c.Param("xmlfile")}
	switch g.kind {
	case "auto", "":
		if err := g.detect(ctx); err != nil {
			return nil, err
		}
	case "qemu", "xen", "test", "lxc":
	default:
		return nil, Fail(BadArguments, "%s: hypervisor is %q; it must be auto, qemu or xen", c.Instance(), g.kind)
	}
	if g.uri == "auto" || g.uri == "" {
		g.uri = g.kind + ":///system"
		if g.kind == "xen" {
			g.uri = "xen:///"
		}
	}
	return g, g.find()
}

// detect asks virsh which hypervisor there is. If libvirt does not answer, it
// is taken for KVM: status then looks for the guest's process.
func (g *guest) detect(ctx context.Context) error {
	args := []string{"-q"}
	if g.uri != "auto" && g.uri != "" {
		args = append(args, "-c", g.uri)
		if kind, _, ok := strings.Cut(g.uri, ":"); ok {
			// "qemu+ssh://..."
			g.kind, _, _ = strings.Cut(kind, "+")
			return nil
		}
	}
	o, err := g.c.Exec(ctx, checkLimit, "virsh", append(args, "version")...)
	if err != nil {
		return err
	}
	g.kind = "qemu"
	for _, l := range o.Lines() {
		if h, ok := strings.CutPrefix(strings.ToLower(l), "running hypervisor: "); ok {
			h, _, _ = strings.Cut(h, " ")
			if h == "xen" || h == "lxc" || h == "test" {
				g.kind = h
			}
		}
	}
	return nil
}

// find looks for the guest's description in the folders of the parameter path:
// NAME or NAME.xml.
func (g *guest) find() error {
	list := g.c.Param("path")
	if g.xml != "" || list == "" {
		return nil
	}
	for _, dir := range strings.Split(list, ":") {
		if !path.IsAbs(dir) {
			continue
		}
		for _, f := range []string{path.Join(dir, g.c.Param("name")), path.Join(dir, g.c.Param("name")+".xml")} {
			text, err := readLimited(g.c, f, maxServerConf)
			if err != nil {
				continue
			}
			if !strings.HasPrefix(strings.TrimSpace(string(text)), "<") {
				return Fail(BadArguments, "%s: %s is no XML; the configuration files of xm are not supported", g.c.Instance(), f)
			}
			g.xml = f
			return nil
		}
	}
	return nil
}

// act is guest for the actions: any fault is status 2 to rgmanager.
func (v vm) act(ctx context.Context, c *Call) (*guest, error) {
	g, err := v.guest(ctx, c)
	if err != nil && c.Dialect != OCF {
		return nil, &Error{Code: BadArguments, Err: err}
	}
	return g, err
}

// vmState is what is known of a guest.
type vmState uint8

const (
	vmUnknown vmState = iota
	vmRunning
	vmPaused
	vmOff
	vmOther // libvirt names a state that is neither up nor down
)

// state asks libvirt, and if it does not answer looks for the guest's process.
func (g *guest) state(ctx context.Context) (vmState, string) {
	o, err := g.virsh(ctx, QueryLimit, "domstate", "--domain", g.c.Param("name"))
	if err != nil {
		return vmUnknown, err.Error()
	}
	text := strings.ToLower(o.Text)
	if o.OK() {
		switch s := strings.TrimSpace(strings.ToLower(o.Stdout)); s {
		case "running", "idle", "no state", "blocked":
			return vmRunning, s
		case "paused":
			return vmPaused, s
		case "shut off":
			return vmOff, s
		default:
			return vmOther, s
		}
	}
	if strings.Contains(text, "failed to get domain") || strings.Contains(text, "domain not found") || strings.Contains(text, "no domain with") {
		return vmOff, "unknown to libvirt"
	}
	if g.kind == "qemu" {
		if pid := g.process(); pid != 0 {
			return vmRunning, "running without libvirt"
		}
	}
	return vmUnknown, o.Last()
}

// process finds QEMU's process of the guest: its argument after -name is the
// guest, alone or as guest=NAME. It is 0 if there is none.
func (g *guest) process() int {
	for _, p := range Processes(g.c) {
		if !strings.HasPrefix(p.Command, "qemu") && !strings.HasPrefix(p.Command, "kvm") && !strings.HasPrefix(p.Command, "CPU ") {
			continue
		}
		line, err := g.c.Env.FS.ReadFile(procFile(p.PID, "cmdline"))
		if err != nil {
			continue
		}
		words := strings.Split(string(line), "\x00")
		for i, w := range words[:max(len(words)-1, 0)] {
			if w != "-name" {
				continue
			}
			name, _, _ := strings.Cut(words[i+1], ",")
			if name == g.c.Param("name") || name == "guest="+g.c.Param("name") {
				return p.PID
			}
		}
	}
	return 0
}

func (v vm) status(ctx context.Context, c *Call) error {
	g, err := v.act(ctx, c)
	if err != nil {
		return err
	}
	switch s, text := g.state(ctx); s {
	case vmRunning, vmPaused:
		c.Debugf("Virtual machine %s is %s", c.Name, text)
	case vmOff:
		c.Debugf("Virtual machine %s is %s", c.Name, text)
		return Quiet(NotRunning)
	case vmOther:
		return Fail(Generic, "Virtual machine %s is %s", c.Name, text)
	default:
		return Fail(Generic, "Virtual machine %s: indeterminate status: %s", c.Name, text)
	}
	if c.Depth >= 10 {
		return g.program(ctx)
	}
	return nil
}

// program runs the status program, if there is one.
func (g *guest) program(ctx context.Context) error {
	words, err := options(g.c, "status_program")
	if err != nil || len(words) == 0 || len(words) == 1 && words[0] == "0" {
		return err
	}
	o, err := g.c.Run(ctx, platform.Cmd{Path: words[0], Args: words, Limit: QueryLimit, Env: g.c.Environ()})
	if err != nil {
		return err
	}
	if o.OK() {
		return nil
	}
	return Fail(max(o.ExitCode, Generic), "status program of %s: %s: %s", g.c.Instance(), o.Ended(), o.Last())
}

func (v vm) start(ctx context.Context, c *Call) error {
	g, err := v.act(ctx, c)
	if err != nil {
		return err
	}
	switch s, text := g.state(ctx); s {
	case vmRunning, vmPaused:
		c.Infof("Virtual machine %s is already %s", c.Name, text)
		return nil
	case vmUnknown:
		// A second instance would ruin its disk.
		return Fail(Generic, "Virtual machine %s is not started, because it is not known whether it runs: %s", c.Name, text)
	}
	if err := g.boot(ctx); err != nil {
		return err
	}
	if words, err := options(c, "status_program"); err != nil || len(words) == 0 || words[0] == "0" {
		return nil
	}
	var last error
	if !c.Poll(ctx, statusProgramPoll, c.Budget(vmWait), func() bool { last = g.program(ctx); return last == nil }) {
		return Fail(Generic, "Virtual machine %s was started, but its status program does not succeed: %w", c.Name, last)
	}
	return nil
}

// boot restores the guest from its snapshot, or starts it.
func (g *guest) boot(ctx context.Context) error {
	c := g.c
	limit := c.Budget(ActionLimit)
	if snap := g.snapshot(); snap != "" {
		if _, err := c.Env.FS.Stat(snap); err == nil {
			c.Infof("Restoring virtual machine %s from %s", c.Name, snap)
			o, err := g.virsh(ctx, limit, "restore", "--file", c.Env.FS.Path(snap))
			if err != nil {
				return err
			}
			if !o.OK() {
				return Fail(Generic, "restore virtual machine %s from %s: %s", c.Name, snap, o.Last())
			}
			if err := c.Env.FS.Remove(snap); err != nil {
				return Fail(Generic, "remove the snapshot of %s, which is used up: %w", c.Name, err)
			}
			return nil
		}
	}
	args := []string{"start", "--domain", c.Param("name")}
	if g.xml != "" {
		args = []string{"create", "--file", c.Env.FS.Path(g.xml)}
	}
	c.Infof("Starting virtual machine %s", c.Name)
	o, err := g.virsh(ctx, limit, args...)
	if err != nil {
		return err
	}
	if !o.OK() {
		return Fail(Generic, "start virtual machine %s: %s: %s", c.Name, o.Ended(), o.Last())
	}
	return nil
}

// snapshot is the file that a stop saves the guest to: the parameter, or a file
// of the guest's name in the folder that the parameter names.
func (g *guest) snapshot() string {
	snap := g.c.Param("snapshot")
	if snap == "" {
		return ""
	}
	if info, err := g.c.Env.FS.Stat(snap); err == nil && info.IsDir() {
		return path.Join(snap, g.c.Param("name"))
	}
	return snap
}

func (v vm) stop(ctx context.Context, c *Call) error {
	g, err := v.act(ctx, c)
	if err != nil {
		return err
	}
	s, text := g.state(ctx)
	switch s {
	case vmOff:
		return nil
	case vmUnknown:
		return Fail(Generic, "Virtual machine %s: it is not known whether it runs: %s", c.Name, text)
	}
	if snap := g.snapshot(); snap != "" {
		c.Infof("Saving virtual machine %s to %s", c.Name, snap)
		o, err := g.virsh(ctx, c.Budget(ActionLimit), "save", "--domain", c.Param("name"), "--file", c.Env.FS.Path(snap))
		if err == nil && o.OK() {
			if s, _ := g.state(ctx); s == vmOff {
				return nil
			}
		}
		c.Warnf("Save virtual machine %s: %s (%v); it is shut down instead", c.Name, o.Last(), err)
	}
	wait := vmWait
	if c.Timeout > 0 {
		wait = c.Timeout
		if c.Dialect == OCF {
			wait = c.Timeout / 2 // Pacemaker insists: half is for destroy
		}
	}
	off := func() bool { s, _ := g.state(ctx); return s == vmOff }
	if s != vmPaused {
		c.Infof("Shutting down virtual machine %s", c.Name)
		o, err := g.virsh(ctx, QueryLimit, "shutdown", "--domain", c.Param("name"))
		if err != nil {
			return err
		}
		if !o.OK() {
			c.Warnf("Shut down virtual machine %s: %s", c.Name, o.Last())
		}
		if c.Poll(ctx, vmPoll, wait, off) {
			return nil
		}
	}
	if c.Bool("no_kill") {
		return Fail(Generic, "Virtual machine %s did not shut down within %v, and no_kill forbids to destroy it", c.Name, wait)
	}
	c.Warnf("Destroying virtual machine %s", c.Name)
	o, err := g.virsh(ctx, QueryLimit, "destroy", "--domain", c.Param("name"))
	if err != nil {
		return err
	}
	if c.Poll(ctx, vmPoll, min(wait, vmWait), off) {
		return nil
	}
	return Fail(Generic, "Virtual machine %s could not be destroyed: %s", c.Name, o.Last())
}

// migrate moves the guest to another node: the word after the action, or what
// Pacemaker says.
func (v vm) migrate(ctx context.Context, c *Call) error {
	g, err := v.act(ctx, c)
	if err != nil {
		return err
	}
	target := c.Env.Getenv("OCF_RESKEY_CRM_meta_migrate_target")
	if len(c.Args) > 0 {
		target = c.Args[0]
	}
	if bad := func(r rune) bool { return r <= ' ' || strings.ContainsRune("/\\?#%@\"'", r) }; target == "" || target[0] == '-' || strings.ContainsFunc(target, bad) {
		return Fail(BadArguments, "%s: migrate needs the name of a node, not %q", c.Instance(), target)
	}
	host, err := g.mapped(target)
	if err != nil {
		return err
	}
	uri := c.Param("migration_uri")
	switch {
	case uri != "" && uri != "auto":
	case g.kind == "xen":
		uri = "xenmigr://%s/"
	default:
		uri = g.kind + "+ssh://%s/system"
	}
	uri = strings.ReplaceAll(uri, "%s", host)
	args := []string{"migrate"}
	if c.Param("migrate") != "pause" {
		args = append(args, "--live")
	}
	more, err := options(c, "migrate_options")
	if err != nil {
		return err
	}
	tunnelled := g.kind == "qemu" && c.Bool("tunnelled")
	if tunnelled {
		args = append(args, "--tunnelled", "--p2p")
	}
	args = append(append(args, more...), c.Param("name"), uri)
	if g.kind == "qemu" && !tunnelled {
		args = append(args, "tcp:"+host)
	}
	c.Infof("Migrating virtual machine %s to %s", c.Name, target)
	o, err := g.virsh(ctx, c.Budget(ActionLimit), args...)
	if err != nil {
		return err
	}
	if o.OK() {
		return nil
	}
	cause := Fail(Generic, "migrate virtual machine %s to %s: %s: %s", c.Name, target, o.Ended(), o.Last())
	if strings.Contains(o.Text, "does not exist") || strings.Contains(o.Text, "Domain not found") ||
		strings.Contains(o.Text, "failed to get domain") {
		return &Error{Code: NotConfigured, Err: errors.Unwrap(cause)}
	}
	if s, _ := g.state(ctx); c.Dialect != OCF && (s == vmRunning || s == vmPaused) {
		return &Error{Code: migrateUncertain, Err: errors.Unwrap(cause)}
	}
	return cause
}

// mapped is the host to migrate to for a node: "node:host,node:host".
func (g *guest) mapped(node string) (string, error) {
	host := node
	for _, pair := range strings.Split(g.c.Param("migration_mapping"), ",") {
		if n, h, ok := strings.Cut(strings.TrimSpace(pair), ":"); ok && n == node && h != "" {
			host = h
		}
	}
	if host[0] == '-' || strings.ContainsAny(host, " /\\?#@") {
		return "", Fail(BadArguments, "%s: migration_mapping gives %q for %s; it must be a host", g.c.Instance(), host, node)
	}
	return host, nil
}
