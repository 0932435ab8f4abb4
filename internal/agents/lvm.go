package agents

import (
	"context"
	"encoding/xml"
	"errors"
	"slices"
	"strings"
	"time"
)

// LVM activates a volume group, or one logical volume of it, on one node at a
// time. Who may activate it is decided, in this order, by lvmlockd (a shared
// volume group), by the cluster flag (clvmd), or by a tag with the node's name.
func LVM(m Machine) *Agent {
	a := lvmAgent{m}
	return &Agent{Type: "lvm", Start: a.start, Stop: a.stop, Status: a.status, Validate: a.validate}
}

type lvmAgent struct{ Machine }

// lvmRetries and lvmPause are how often and with what pause stop deactivates:
// udev may have a volume open for a moment after it was unmounted. Ours.
const (
	lvmRetries = 10
	lvmPause   = 500 * time.Millisecond
)

// volumes is what vgs and lvs say of a resource.
type volumes struct {
	clustered, shared bool
	// tags of the volume group, or of the logical volume if one is given.
	tags []string
	// names of logical volumes; active are those that are on this node.
	names, active []string
	// total is how many logical volumes the group has.
	total int
}

func (l lvmAgent) validate(_ context.Context, c *Call) error {
	for _, p := range [...]string{"vg_name", "lv_name"} {
		v := c.Param(p)
		// lvm(8), "Valid names".
		bad := strings.ContainsFunc(v, func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("+_.-", r)
		})
		if bad || strings.HasPrefix(v, "-") || v == "." || v == ".." {
			return Fail(BadArguments, "parameter %s of %s is %q; it must be letters, digits and +_.- and not begin with a hyphen", p, c.Instance(), v)
		}
	}
	return nil
}

// name is "vg" or "vg/lv", as the commands take it.
func (l lvmAgent) name(c *Call) string {
	if lv := c.Param("lv_name"); lv != "" {
		return c.Param("vg_name") + "/" + lv
	}
	return c.Param("vg_name")
}

// look asks LVM. A volume group that is not there is NotInstalled.
func (l lvmAgent) look(ctx context.Context, c *Call) (*volumes, error) {
	vg, lv := c.Param("vg_name"), c.Param("lv_name")
	o, err := c.Exec(ctx, QueryLimit, "vgs", "--noheadings", "--separator", "|", "-o", "vg_attr,vg_tags,lock_type", vg)
	if err != nil {
		return nil, err
	}
	f := strings.Split(strings.TrimSpace(lastLine(o.Stdout)), "|")
	if !o.OK() || len(f) != 3 || len(f[0]) < 6 {
		return nil, Fail(NotInstalled, "HA LVM:  Unable to find volume group %q: %s", vg, o.Last())
	}
	v := &volumes{clustered: f[0][5] == 'c', shared: f[2] == "dlm" || f[2] == "sanlock", tags: list(f[1])}
	v.shared = v.shared || f[0][5] == 's'
	if o, err = c.Must(ctx, QueryLimit, "lvs", "--noheadings", "--separator", "|", "-o", "lv_name,lv_attr,lv_tags", vg); err != nil {
		return nil, err
	}
	found := lv == ""
	for line := range strings.Lines(o.Stdout) {
		f := strings.Split(strings.TrimSpace(line), "|")
		if len(f) != 3 || len(f[1]) < 5 {
			continue
		}
		if v.total++; lv != "" && f[0] != lv {
			continue
		}
		if found = true; lv != "" {
			v.tags = list(f[2])
		}
		v.names = append(v.names, f[0])
		if f[1][4] == 'a' {
			v.active = append(v.active, f[0])
		}
	}
	if !found {
		return nil, Fail(NotInstalled, "HA LVM:  Unable to find logical volume %q in volume group %q", lv, vg)
	}
	return v, nil
}

func lastLine(s string) string {
	s = strings.TrimRight(s, "\n")
	return s[strings.LastIndexByte(s, '\n')+1:]
}

func list(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' })
}

// node is this node's name in the cluster: the one of cluster.conf that is the
// host's, with or without its domain, else the host's.
func (l lvmAgent) node(c *Call) (string, error) {
	host, err := c.Env.Hostname()
	if err != nil {
		return "", err
	}
	text, err := c.Env.FS.ReadFile(clusterFile(c))
	if err != nil {
		return host, nil
	}
	var conf struct {
		Nodes []struct {
			Name string `xml:"name,attr"`
		} `xml:"clusternodes>clusternode"`
	}
	if xml.Unmarshal(text, &conf) != nil {
		return host, nil
	}
	short, _, _ := strings.Cut(host, ".")
	found := host
	for _, n := range conf.Nodes {
		if n.Name == host {
			return host, nil
		}
		if s, _, _ := strings.Cut(n.Name, "."); s == short {
			found = n.Name
		}
	}
	return found, nil
}

// member reports whether a node is in the cluster now. Not to know is an
// error: a node that may run must not lose its volumes.
func (l lvmAgent) member(ctx context.Context, c *Call, node string) (bool, error) {
	if c.Dialect == OCF {
		o, err := c.Must(ctx, QueryLimit, "crm_node", "-p")
		return err == nil && slices.Contains(strings.Fields(o.Stdout), node), err
	}
	o, err := c.Must(ctx, QueryLimit, "clustat", "-xm")
	if err != nil {
		return false, err
	}
	var stat struct {
		Nodes []struct {
			Name  string `xml:"name,attr"`
			State string `xml:"state,attr"`
		} `xml:"nodes>node"`
	}
	if err := xml.Unmarshal([]byte(o.Stdout), &stat); err != nil {
		return false, err
	}
	if len(stat.Nodes) == 0 {
		return false, errors.New("clustat lists no nodes")
	}
	for _, n := range stat.Nodes {
		if n.Name == node {
			return n.State == "1", nil
		}
	}
	return false, nil
}

// improper checks what must be so for tags to keep other nodes away: at boot a
// node activates its own volumes only.
func (l lvmAgent) improper(ctx context.Context, c *Call, node string) error {
	o, err := c.Exec(ctx, QueryLimit, "lvmconfig", "activation/volume_list")
	if err != nil {
		return err
	}
	// volume_list=["rootvg","@node1"]
	_, value, ok := strings.Cut(strings.TrimSpace(o.Stdout), "=")
	if !o.OK() || !ok {
		return Fail(Generic, "HA LVM:  Improper setup detected: activation/volume_list is not set in lvm.conf; it must list this node's own volume groups and \"@%s\"", node)
	}
	entries := strings.FieldsFunc(value, func(r rune) bool { return strings.ContainsRune(`[]", `, r) })
	vg := c.Param("vg_name")
	switch {
	case !slices.Contains(entries, "@"+node):
		return Fail(Generic, "HA LVM:  Improper setup detected: \"@%s\" is missing from activation/volume_list in lvm.conf", node)
	case slices.Contains(entries, vg) || slices.Contains(entries, l.name(c)) || slices.Contains(entries, "@*"):
		return Fail(Generic, "HA LVM:  Improper setup detected: %s is in activation/volume_list in lvm.conf, so every node activates it", vg)
	}
	l.oldInitrd(c)
	return nil
}

// oldInitrd warns of an initial RAM disk with an older lvm.conf in it.
func (l lvmAgent) oldInitrd(c *Call) {
	conf, err := c.Env.FS.Stat("/etc/lvm/lvm.conf")
	entries, dirErr := c.Env.FS.ReadDir("/boot")
	if err != nil || dirErr != nil {
		return
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), "initr") {
			continue
		}
		if info, err := e.Info(); err == nil && info.ModTime().After(conf.ModTime()) {
			return
		}
	}
	c.Warnf("HA LVM:  Improper setup detected: no initial RAM disk in /boot is newer than lvm.conf; make it again")
}

func (l lvmAgent) start(ctx context.Context, c *Call) error {
	v, err := l.look(ctx, c)
	if err != nil {
		return err
	}
	what, vg := l.name(c), c.Param("vg_name")
	c.Infof("Starting volume group, %s", what)
	command := "vgchange"
	if c.Param("lv_name") != "" {
		command = "lvchange"
	}
	switch {
	case v.shared:
		// lvmlockd(8): start the lock space, then activate exclusively.
		if _, err := c.Must(ctx, ActionLimit, "vgchange", "--lockstart", vg); err != nil {
			return err
		}
		_, err := c.Must(ctx, ActionLimit, command, "-aey", what)
		return err
	case v.clustered:
		if o, err := c.Exec(ctx, QueryLimit, "clvmd", "-V"); err != nil || !o.OK() {
			return Fail(Generic, "HA LVM:  Improper setup detected: %s is clustered and clvmd is not here; convert it: vgchange --lock-type dlm %s", vg, vg)
		}
		_, err := c.Must(ctx, ActionLimit, command, "-aey", what)
		return err
	}
	node, err := l.node(c)
	if err != nil {
		return err
	}
	if err := l.improper(ctx, c, node); err != nil {
		return err
	}
	if lv := c.Param("lv_name"); lv != "" && v.total > 1 {
		return Fail(Generic, "HA LVM:  %s has %d logical volumes; with lv_name there must be one only, because others change the group as well", vg, v.total)
	}
	if err := l.claim(ctx, c, v, node); err != nil {
		return err
	}
	o, err := c.Exec(ctx, ActionLimit, command, "-ay", what)
	if err != nil {
		return err
	}
	if !o.OK() && command == "vgchange" {
		c.Warnf("vgchange -ay %s: %s; trying again without the volumes that are gone", what, o.Last())
		if _, err := c.Must(ctx, ActionLimit, "vgreduce", "--removemissing", "--mirrorsonly", vg); err != nil {
			c.Warnf("%v", err)
		}
		if o, err = c.Exec(ctx, ActionLimit, command, "-ay", what); err != nil {
			return err
		}
	}
	if !o.OK() {
		return Fail(Generic, "HA LVM:  Failed to activate %s: %s", what, o.Last())
	}
	if v, err = l.look(ctx, c); err != nil {
		return err
	}
	return l.allActive(c, v)
}

func (l lvmAgent) allActive(c *Call, v *volumes) error {
	for _, n := range v.names {
		if !slices.Contains(v.active, n) {
			return Fail(Generic, "HA LVM:  Logical volume %s/%s is not active", c.Param("vg_name"), n)
		}
	}
	return nil
}

// claim puts this node's tag on, if nobody who lives has one there.
func (l lvmAgent) claim(ctx context.Context, c *Call, v *volumes, node string) error {
	what := l.name(c)
	command := l.change(c)
	for _, t := range v.tags {
		if t == node {
			continue
		}
		alive, err := l.member(ctx, c, t)
		if err != nil {
			return Fail(Generic, "HA LVM:  %s belongs to %s, and it is not known whether that node runs: %w", what, t, err)
		}
		if alive {
			return Fail(Generic, "HA LVM:  %s belongs to %s, which is a member of the cluster; unable to activate it", what, t)
		}
		c.Noticef("Owner of %s is not in the cluster: taking it from %s", what, t)
		if _, err := c.Must(ctx, ActionLimit, command, "--deltag", t, what); err != nil {
			return err
		}
	}
	if slices.Contains(v.tags, node) {
		return nil
	}
	_, err := c.Must(ctx, ActionLimit, command, "--addtag", node, what)
	return err
}

func (l lvmAgent) change(c *Call) string {
	if c.Param("lv_name") != "" {
		return "lvchange"
	}
	return "vgchange"
}

func (l lvmAgent) stop(ctx context.Context, c *Call) error {
	if err := l.validate(ctx, c); err != nil {
		return err
	}
	v, err := l.look(ctx, c)
	if err != nil {
		if Code(err) == NotInstalled && c.Dialect == OCF {
			return nil
		}
		return err
	}
	what := l.name(c)
	off := "-an"
	if v.clustered {
		off = "-aln"
	}
	if len(v.active) > 0 {
		c.Noticef("Deactivating %s", what)
		var last Output
		gone := c.Poll(ctx, lvmPause, lvmRetries*lvmPause, func() bool {
			if last, err = c.Exec(ctx, ActionLimit, l.change(c), off, what); err != nil {
				return true
			}
			v, err = l.look(ctx, c)
			return err != nil || len(v.active) == 0
		})
		if err != nil {
			return err
		}
		if !gone {
			c.Errorf("HA LVM:  Unable to deactivate %s: %s are active: %s", what, strings.Join(v.active, ", "), last.Last())
			if c.Bool("self_fence") {
				selfFence(ctx, c, l.Machine, "Unable to deactivate "+what+" - REBOOTING")
			}
			return Quiet(Generic)
		}
	}
	if v.shared || v.clustered {
		return nil
	}
	node, err := l.node(c)
	if err != nil {
		return err
	}
	if err := l.improper(ctx, c, node); err != nil {
		c.Warnf("%v", err)
	}
	if !slices.Contains(v.tags, node) {
		return nil
	}
	c.Noticef("Removing ownership tag (%s) from %s", node, what)
	_, err = c.Must(ctx, ActionLimit, l.change(c), "--deltag", node, what)
	return err
}

func (l lvmAgent) status(ctx context.Context, c *Call) error {
	if err := l.validate(ctx, c); err != nil {
		return err
	}
	c.Noticef("Getting status")
	v, err := l.look(ctx, c)
	if err != nil {
		if Code(err) == NotInstalled {
			return Fail(NotRunning, "%w", errors.Unwrap(err))
		}
		return err
	}
	if v.clustered && !v.shared {
		return nil
	}
	if len(v.active) == 0 && len(v.names) > 0 {
		return Fail(NotRunning, "HA LVM:  %s is not active", l.name(c))
	}
	if err := l.allActive(c, v); err != nil {
		return err
	}
	if v.shared {
		if len(v.names) == 0 {
			return nil
		}
		return l.nodes(c, v)
	}
	node, err := l.node(c)
	if err != nil {
		return err
	}
	if len(v.tags) == 0 && len(v.names) == 0 {
		return Fail(NotRunning, "HA LVM:  %s belongs to nobody", l.name(c))
	}
	if !slices.Equal(v.tags, []string{node}) {
		c.Errorf("HA LVM:  %s is active, but its tags are [%s] and not %s: deactivating it", l.name(c), strings.Join(v.tags, " "), node)
		if _, err := c.Must(ctx, ActionLimit, l.change(c), "-an", l.name(c)); err != nil {
			c.Errorf("%v", err)
		}
		return Quiet(Generic)
	}
	return l.nodes(c, v)
}

// nodes checks the symlinks of the logical volumes in /dev.
func (l lvmAgent) nodes(c *Call, v *volumes) error {
	for _, n := range v.names {
		link := "/dev/" + c.Param("vg_name") + "/" + n
		if _, err := c.Env.FS.Stat(link); err != nil {
			return Fail(Generic, "HA LVM:  %s is active, but %w", n, err)
		}
	}
	return nil
}
