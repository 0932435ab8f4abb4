// Package fenceexport writes the fencing of a cluster.conf(5) for others: as
// commands of pcs and crm, as XML of Pacemaker's CIB, and as dlm.conf(5). What
// has no counterpart is said in comments.
//
// A fence device becomes one stonith resource, with a map from nodes to plugs,
// for all nodes whose device lines differ in the plug alone; methods become
// levels of the topology.
package fenceexport

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/haobox/haobox/internal/clusterconf"
	"github.com/haobox/haobox/internal/xmldoc"
)

var (
	// ErrFormat: there is no such format.
	ErrFormat = errors.New("the formats are pacemaker, pcs, crm and dlm")
	// ErrNothing: no node has a method with a fence device.
	ErrNothing = errors.New("no fence device is used by any node: there is nothing to export")
	// ErrWord: crmsh has no way to write a value.
	ErrWord = errors.New("crm has no way to write this value; pcs and pacemaker have")
	// ErrName: the name of a node, a fence device or an agent is no plain word.
	ErrName = errors.New("a name with blanks or with characters that mean something to a shell cannot be exported")
)

// Formats are the words for Export.
func Formats() []string { return []string{"pacemaker", "pcs", "crm", "dlm"} }

// Export returns the configuration in a format. Without secrets, passwords are
// variables of the shell ($ZVM_PASSWD), or words in capitals where no shell
// reads the text.
func Export(c *clusterconf.Config, format string, secrets bool) (string, error) {
	x := exporter{conf: c, secrets: secrets}
	if err := x.names(); err != nil {
		return "", err
	}
	switch format {
	case "pcs", "crm", "pacemaker":
		x.shell = format != "pacemaker"
		x.resources()
		if len(x.all) == 0 {
			return "", fmt.Errorf("%v: %w", c.Doc.Root.Pos(), ErrNothing)
		}
		switch format {
		case "pcs":
			x.pcs()
		case "crm":
			if err := x.crm(); err != nil {
				return "", err
			}
		default:
			return x.cib(), nil
		}
	case "dlm":
		x.dlm()
	default:
		return "", fmt.Errorf("export to %q: %w", format, ErrFormat)
	}
	return x.text(), nil
}

type exporter struct {
	conf    *clusterconf.Config
	secrets bool
	shell   bool
	// all are the resources; levels, by node, have their names.
	all    []*resource
	levels []level
	notes  []string
	hidden []string // fence devices whose password is not in the text
	shown  []string // and those whose password is
	b      strings.Builder
}

// resource is a stonith resource.
type resource struct {
	name, agent string
	params      []clusterconf.Arg
	key         string
	hosts       []host
}

type host struct {
	node, plug string
	delay      time.Duration // of the node
}

type level struct {
	node    string
	index   int
	devices []string
}

// names looks whether all names are plain words: they stand in commands.
func (x *exporter) names() error {
	plain := func(at xmldoc.Pos, what, name string) error {
		if strings.ContainsAny(name, " '\"`$&|;<>()*?[]{}#~!\\") || strings.ContainsFunc(name, unicode.IsControl) {
			return fmt.Errorf("%v: %s %q: %w", at, what, name, ErrName)
		}
		return nil
	}
	var all []error
	for _, n := range x.conf.Nodes {
		all = append(all, plain(n.Elem.Pos(), "clusternode", n.Name))
	}
	for _, d := range x.conf.FenceDevices {
		all = append(all, plain(d.Elem.Pos(), "fencedevice", d.Name), plain(d.Elem.Pos(), "agent", d.Agent))
	}
	return errors.Join(all...)
}

// whole reports whether all devices of a method are there. Without one of them
// the others are no proof that the node is off: all of a method must succeed.
func (x *exporter) whole(node string, m clusterconf.Method) bool {
	for _, d := range m.Devices {
		if fd := x.conf.FenceDevice(d.Name); fd == nil || fd.Agent == "" {
			x.note("node %s, method %s is left out: the fence device %s is not there or has no agent", node, m.Name, d.Name)
			return false
		}
	}
	return true
}

func (x *exporter) note(format string, args ...any) {
	n := fmt.Sprintf(format, args...)
	if !slices.Contains(x.notes, n) {
		x.notes = append(x.notes, n)
	}
}

// resources makes the stonith resources and levels.
func (x *exporter) resources() {
	if r := x.conf.FenceDaemon.Race; r != "" && r != "none" && len(x.conf.Nodes) == 2 {
		x.note("fence_race=%q has no counterpart: when the two nodes lose each other, pcmk_delay_base of one of them or the property priority-fencing-delay decides", r)
	}
	for _, n := range x.conf.Nodes {
		if len(n.Methods) == 0 {
			x.note("node %s has no method: nothing can fence it", n.Name)
		}
		for i, m := range n.Methods {
			if !x.whole(n.Name, m) {
				continue
			}
			l := level{node: n.Name, index: i + 1}
			for _, d := range m.Devices {
				fd := x.conf.FenceDevice(d.Name)
				if a := action(d, *fd); a == "on" || a == "enable" {
					x.note("node %s, method %s: Pacemaker switches all devices of a level off, and then on, by itself; the ones with action=%q are left out", n.Name, m.Name, a)
					continue
				}
				r := x.resource(n, d, *fd, x.again(m, d.Name))
				if !slices.Contains(l.devices, r.name) {
					l.devices = append(l.devices, r.name)
				}
				if i == 0 && len(l.devices) == 1 { // once, before the first attempt
					r.host(n.Name).delay = n.FenceDelay
				}
			}
			if len(l.devices) > 0 {
				x.levels = append(x.levels, l)
			}
		}
		if len(n.Unfence) > 0 {
			x.note("node %s is let in again by unfence devices: Pacemaker does it itself for agents that say so in their metadata (meta provides=unfencing)", n.Name)
		}
	}
}

// action is what is configured; the last one counts.
func action(d clusterconf.Device, fd clusterconf.FenceDevice) string {
	out := ""
	for _, l := range [][]clusterconf.Arg{d.Args, fd.Args} {
		for _, a := range l {
			if a.Name == "action" || a.Name == "option" {
				out = strings.ToLower(a.Value)
			}
		}
	}
	return out
}

// again reports whether a method switches a device on again.
func (x *exporter) again(m clusterconf.Method, device string) bool {
	return slices.ContainsFunc(m.Devices, func(d clusterconf.Device) bool {
		fd := x.conf.FenceDevice(d.Name)
		return d.Name == device && fd != nil && (action(d, *fd) == "on" || action(d, *fd) == "enable")
	})
}

// resource finds or makes the resource for a node's device.
func (x *exporter) resource(n clusterconf.Node, d clusterconf.Device, fd clusterconf.FenceDevice, again bool) *resource {
	plug := ""
	var params []clusterconf.Arg
	seen := map[string]int{}
	set := func(name, value string) {
		if i, ok := seen[name]; ok {
			params[i].Value = value // agents take the last
			return
		}
		seen[name] = len(params)
		params = append(params, clusterconf.Arg{Name: name, Value: value})
	}
	for _, a := range slices.Concat(d.Args, fd.Args) {
		switch a.Name {
		case "port", "plug":
			plug = a.Value
		case "agent", "nodename", "action", "option":
		case "verify":
			if a.Value == "1" {
				x.note("fence device %s: verify has no counterpart; Pacemaker believes the agent's exit status", d.Name)
			}
		case "agent_limit":
			for _, what := range []string{"reboot", "off"} {
				set("pcmk_"+what+"_timeout", a.Value+"s")
			}
		default:
			set(a.Name, a.Value)
		}
	}
	if !again && (action(d, fd) == "off" || action(d, fd) == "disable") {
		set("pcmk_reboot_action", "off")
	}
	key := d.Name
	for _, p := range params {
		key += "\x00" + p.Name + "=" + p.Value
	}
	r := &resource{}
	count := 0
	for _, o := range x.all {
		if o.key == key {
			r = o
		}
		if o.name == d.Name || strings.HasPrefix(o.name, d.Name+"-") {
			count++
		}
	}
	if r.key == "" {
		r = &resource{name: d.Name, agent: base(fd.Agent), key: key, params: x.hide(d.Name, params)}
		if count > 0 {
			r.name += "-" + strconv.Itoa(count+1)
		}
		x.all = append(x.all, r)
	}
	h := host{node: n.Name, plug: plug}
	if o := r.host(h.node); o == nil || o.plug != plug {
		if o != nil {
			// Another plug of the same device: a resource of its own.
			r2 := &resource{name: r.name + "-" + n.Name + "-" + strconv.Itoa(len(x.all)+1), agent: r.agent, key: key + "\x00" + plug, params: r.params, hosts: []host{h}}
			x.all = append(x.all, r2)
			return r2
		}
		r.hosts = append(r.hosts, h)
	}
	return r
}

// host is the entry of a node, or nil.
func (r *resource) host(node string) *host {
	for i := range r.hosts {
		if r.hosts[i].node == node {
			return &r.hosts[i]
		}
	}
	return nil
}

func base(agent string) string { return agent[strings.LastIndex(agent, "/")+1:] }

// hide replaces secrets.
func (x *exporter) hide(device string, params []clusterconf.Arg) []clusterconf.Arg {
	out := slices.Clone(params)
	for i, a := range out {
		if a.String() == a.Name+"="+a.Value || a.Value == "" {
			continue
		}
		list := &x.shown
		if !x.secrets {
			list = &x.hidden
			out[i].Value = variable(device, a.Name)
			if x.shell {
				out[i].Value = "\x00" + out[i].Value
			}
		}
		if !slices.Contains(*list, device) {
			*list = append(*list, device)
		}
	}
	return out
}

// variable is the name that stands for a secret.
func variable(device, arg string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, strings.ToUpper(device+"_"+arg))
}

// quote is a word for the shell. A leading NUL marks a variable.
func quote(name, value string) string {
	if v, is := strings.CutPrefix(value, "\x00"); is {
		return name + "=\"$" + v + "\""
	}
	if value != "" && strings.IndexFunc(value, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_-./:,%@+", r))
	}) < 0 {
		return name + "=" + value
	}
	return name + "='" + strings.ReplaceAll(value, "'", `'\''`) + "'"
}

// all are the parameters, with those that say which nodes the resource fences,
// and when.
func (r *resource) all() []clusterconf.Arg {
	var names, pairs, delays []string
	plugs := true
	for _, h := range r.hosts {
		if h.delay > 0 {
			delays = append(delays, fmt.Sprintf("%s:%ds", h.node, int(h.delay/time.Second)))
		}
		names = append(names, h.node)
		pairs = append(pairs, h.node+":"+h.plug)
		plugs = plugs && h.plug != ""
	}
	hosts := clusterconf.Arg{Name: "pcmk_host_list", Value: strings.Join(names, " ")}
	if plugs {
		hosts = clusterconf.Arg{Name: "pcmk_host_map", Value: strings.Join(pairs, ";")}
	}
	out := append(slices.Clone(r.params), hosts)
	if len(delays) > 0 {
		out = append(out, clusterconf.Arg{Name: "pcmk_delay_base", Value: strings.Join(delays, ";")})
	}
	return out
}

// needsLevels reports whether a topology is needed: a node with more than one
// device.
func (x *exporter) needsLevels() bool {
	seen := map[string]bool{}
	for _, l := range x.levels {
		if seen[l.node] || len(l.devices) > 1 {
			return true
		}
		seen[l.node] = true
	}
	return false
}

func (x *exporter) pcs() {
	for _, r := range x.all {
		fmt.Fprintf(&x.b, "pcs stonith create %s %s", r.name, r.agent)
		for _, p := range r.all() {
			x.b.WriteString(" " + quote(p.Name, p.Value))
		}
		x.b.WriteString("\n")
	}
	if x.needsLevels() {
		for _, l := range x.levels {
			fmt.Fprintf(&x.b, "pcs stonith level add %d %s %s\n", l.index, l.node, strings.Join(l.devices, " "))
		}
	}
	x.b.WriteString("pcs property set stonith-enabled=true\n")
}

// crmWord is a value as crmsh wants it: it takes its arguments apart once more,
// with quotes and backslashes, and puts only what has a blank into quotes itself.
// Seen with crmsh 4.4.
func crmWord(v string) (string, error) {
	single, double := strings.Contains(v, "'"), strings.Contains(v, `"`)
	switch {
	case strings.HasPrefix(v, "\x00"): // a variable
		return v, nil
	case strings.ContainsAny(v, "\t\r\n"):
		return "", ErrWord
	case !strings.Contains(v, " "):
		return strings.NewReplacer(`\`, `\\`, `'`, `\'`, `"`, `\"`).Replace(v), nil
	case single && double:
		return "", ErrWord
	case double: // crmsh takes the other quotes, in which backslashes are plain
		return v, nil
	}
	return strings.ReplaceAll(v, `\`, `\\`), nil
}

func (x *exporter) crm() error {
	if len(x.hidden) > 0 {
		x.note(`crm reads quotes and backslashes in values once more: in a password without a blank, put a backslash in front of each`)
	}
	for _, r := range x.all {
		fmt.Fprintf(&x.b, "crm configure primitive %s stonith:%s params", r.name, r.agent)
		for _, p := range r.all() {
			v, err := crmWord(p.Value)
			if err != nil {
				return fmt.Errorf("fence device %s: %s: %w", r.name, p.Name, err)
			}
			x.b.WriteString(" " + quote(p.Name, v))
		}
		x.b.WriteString(" op monitor interval=60s\n")
	}
	if x.needsLevels() {
		x.b.WriteString("crm configure fencing_topology")
		last := ""
		for _, l := range x.levels {
			if l.node != last {
				x.b.WriteString(" " + l.node + ":")
				last = l.node
			}
			x.b.WriteString(" " + strings.Join(l.devices, ","))
		}
		x.b.WriteString("\n")
	}
	x.b.WriteString("crm configure property stonith-enabled=true\n")
	return nil
}

// cib is the part of the CIB, for cibadmin --modify --allow-create.
func (x *exporter) cib() string {
	root := xmldoc.NewElement("configuration")
	resources := root.Append(xmldoc.NewElement("resources"))
	for _, r := range x.all {
		p := resources.Append(xmldoc.NewElement("primitive"))
		p.SetAttr("id", r.name)
		p.SetAttr("class", "stonith")
		p.SetAttr("type", r.agent)
		attrs := p.Append(xmldoc.NewElement("instance_attributes"))
		attrs.SetAttr("id", r.name+"-instance_attributes")
		for _, a := range r.all() {
			nv := attrs.Append(xmldoc.NewElement("nvpair"))
			nv.SetAttr("id", r.name+"-"+a.Name)
			nv.SetAttr("name", a.Name)
			nv.SetAttr("value", a.Value)
		}
		op := p.Append(xmldoc.NewElement("operations")).Append(xmldoc.NewElement("op"))
		op.SetAttr("id", r.name+"-monitor-interval-60s")
		op.SetAttr("name", "monitor")
		op.SetAttr("interval", "60s")
	}
	if x.needsLevels() {
		topology := root.Append(xmldoc.NewElement("fencing-topology"))
		for _, l := range x.levels {
			e := topology.Append(xmldoc.NewElement("fencing-level"))
			e.SetAttr("id", fmt.Sprintf("fl-%s-%d", l.node, l.index))
			e.SetAttr("target", l.node)
			e.SetAttr("index", strconv.Itoa(l.index))
			e.SetAttr("devices", strings.Join(l.devices, ","))
		}
	}
	var b strings.Builder
	b.WriteString("<!--\n")
	for _, n := range x.comments("the CIB, /var/lib/pacemaker/cib/cib.xml, which every user of the cluster can read with cibadmin") {
		b.WriteString("  " + strings.ReplaceAll(n, "--", "- -") + "\n")
	}
	b.WriteString("-->\n")
	writeXML(&b, root, 0)
	return b.String()
}

func writeXML(b *strings.Builder, e *xmldoc.Element, depth int) {
	indent := strings.Repeat("  ", depth)
	b.WriteString(indent + "<" + e.Name)
	escape := strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;")
	for _, a := range e.Attrs {
		b.WriteString(" " + a.Name + `="` + escape.Replace(a.Value) + `"`)
	}
	list := e.Elements()
	if len(list) == 0 {
		b.WriteString("/>\n")
		return
	}
	b.WriteString(">\n")
	for _, c := range list {
		writeXML(b, c, depth+1)
	}
	b.WriteString(indent + "</" + e.Name + ">\n")
}

// comments are the notes and what is to be said about passwords.
func (x *exporter) comments(where string) []string {
	out := []string{fmt.Sprintf("Fencing of the cluster %s, cluster.conf version %d.", x.conf.Name, x.conf.Version)}
	for _, d := range x.hidden {
		out = append(out, fmt.Sprintf("The password of %s is left out; it would end up in %s. A password_script keeps it out of there.", d, where))
	}
	for _, d := range x.shown {
		out = append(out, fmt.Sprintf("WARNING: the password of %s is in this text, and ends up in %s. A password_script keeps it out of there.", d, where))
	}
	out = append(out, x.notes...)
	for i, n := range out { // a line end would end the comment
		out[i] = strings.Map(func(r rune) rune {
			if unicode.IsControl(r) {
				return ' '
			}
			return r
		}, n)
	}
	return out
}

func (x *exporter) text() string {
	where := "the CIB, /var/lib/pacemaker/cib/cib.xml, which every user of the cluster can read, and on the way in the list of processes"
	if len(x.all) == 0 {
		where = "/etc/dlm/dlm.conf: make that mode 0600"
	}
	var b strings.Builder
	for _, n := range x.comments(where) {
		b.WriteString("# " + n + "\n")
	}
	return b.String() + x.b.String()
}

// dlm writes dlm.conf.
func (x *exporter) dlm() {
	d := x.conf.DLM
	bit := map[bool]int{true: 1}
	fmt.Fprintf(&x.b, "log_debug=%d\nenable_fencing=%d\nenable_plock=%d\nplock_ownership=%d\n", bit[d.LogDebug], bit[d.EnableFencing], bit[d.EnablePlock], bit[d.PlockOwnership])
	if d.Protocol == "tcp" || d.Protocol == "sctp" {
		fmt.Fprintf(&x.b, "protocol=%s\n", d.Protocol)
	}
	if !d.EnableFencing {
		return
	}
	if j := x.conf.FenceDaemon.PostJoinDelay; j >= 0 {
		fmt.Fprintf(&x.b, "post_join_delay=%d\n", int(j/time.Second))
	}
	x.b.WriteString("\n# Where fenced runs, it does the fencing, and dlm_controld waits for it:\n# fence_all /usr/sbin/fence_domain\n# Without it, dlm_controld does the same by itself:\n")
	var devices, connects, unfence []string
	add := func(list *[]string, s string) {
		if !slices.Contains(*list, s) {
			*list = append(*list, s)
		}
	}
	if r := x.conf.FenceDaemon.Race; r != "" && r != "none" && len(x.conf.Nodes) == 2 {
		x.note("fence_race=%q has no counterpart: give the devices of one node a delay", r)
	}
	for _, n := range x.conf.Nodes {
		if len(n.Methods) == 0 {
			x.note("node %s has no method: nothing can fence it", n.Name)
		}
		if n.FenceDelay > 0 {
			x.note("node %s: the delay of its fence element has no counterpart; its devices may have one, if their agents know it", n.Name)
		}
		last := -1
		for mi, m := range n.Methods {
			lines := x.dlmMethod(n, m)
			for di, l := range lines {
				name := l.device
				if len(lines) > 1 { // all of them: the same name with a number
					name = fmt.Sprintf("%s_%d:%d", n.Name, mi+1, di+1)
				} else if prefix := fmt.Sprintf("connect %s node=%d", name, n.ID); slices.ContainsFunc(connects, func(c string) bool {
					return c != prefix+l.own && strings.HasPrefix(c+" ", prefix+" ")
				}) { // another plug of the same device
					name = fmt.Sprintf("%s_%d", n.Name, mi+1)
				}
				line := fmt.Sprintf("device %s %s%s", name, l.agent, l.args)
				add(&devices, line)
				add(&connects, fmt.Sprintf("connect %s node=%d%s", name, n.ID, l.own))
				if at := slices.Index(devices, line); at < last {
					x.note("node %s: its devices are tried in the order in which they stand here, not in that of its methods", n.Name)
				} else {
					last = at
				}
			}
		}
		for _, dev := range n.Unfence {
			add(&unfence, "unfence "+dev.Name)
		}
	}
	for _, u := range unfence {
		name := strings.TrimPrefix(u, "unfence ")
		if !slices.ContainsFunc(devices, func(d string) bool { return strings.Fields(d)[1] == name }) {
			x.note("unfence by %s is left out: no method uses this device alone", name)
		}
	}
	// A device, then its connections, then unfence: dlm.conf(5).
	for _, line := range devices {
		name := strings.Fields(line)[1]
		x.b.WriteString("\n" + line + "\n")
		for _, c := range connects {
			if strings.Fields(c)[1] == name {
				x.b.WriteString(c + "\n")
			}
		}
		if slices.Contains(unfence, "unfence "+name) {
			x.b.WriteString("unfence " + name + "\n")
		}
	}
}

// dlmLine is a device of a method: the agent with its arguments, and those of the
// node.
type dlmLine struct{ device, agent, args, own string }

// dlmMethod are the lines of a method, none if not all of it can be written.
func (x *exporter) dlmMethod(n clusterconf.Node, m clusterconf.Method) (out []dlmLine) {
	if !x.whole(n.Name, m) {
		return nil
	}
	for _, d := range m.Devices {
		fd := x.conf.FenceDevice(d.Name)
		if a := action(d, *fd); a == "on" || a == "enable" {
			x.note("node %s, method %s: the devices with action=%q are left out, since dlm_controld runs all at the same time: the node stays off", n.Name, m.Name, a)
			continue
		}
		// The fence device's are the last that agents get from fenced, and count;
		// those of the connection are from dlm_controld.
		own := slices.DeleteFunc(slices.Clone(d.Args), func(a clusterconf.Arg) bool {
			return slices.ContainsFunc(fd.Args, func(b clusterconf.Arg) bool { return a.Name == b.Name })
		})
		args, ok := x.dlmWords(fd.Args, d.Name)
		node, ok2 := x.dlmWords(own, d.Name)
		if !ok || !ok2 {
			x.note("node %s, method %s is left out: a value of the fence device %s has a blank, which dlm.conf has no way to write", n.Name, m.Name, d.Name)
			return nil
		}
		out = append(out, dlmLine{d.Name, fd.Agent, args, node})
	}
	if len(out) > 1 && slices.ContainsFunc(m.Devices, func(d clusterconf.Device) bool {
		a := action(d, *x.conf.FenceDevice(d.Name))
		return a == "" || a == "reboot" || a == "cycle"
	}) {
		x.note("node %s, method %s: dlm_controld runs its devices at the same time; only with action=\"off\" is the node surely off at the end", n.Name, m.Name)
	}
	return out
}

// dlmWords are arguments as dlm.conf has them; false if it cannot.
func (x *exporter) dlmWords(args []clusterconf.Arg, device string) (string, bool) {
	out := ""
	for _, a := range x.hide(device, args) {
		switch a.Name {
		case "name", "agent":
			continue
		case "verify", "agent_limit":
			x.note("fence device %s: %s has no counterpart", device, a.Name)
			continue
		}
		if strings.ContainsFunc(a.Value, unicode.IsSpace) {
			return "", false
		}
		out += " " + a.Name + "=" + a.Value
	}
	return out, true
}
