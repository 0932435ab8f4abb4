package clusterconf

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/haobox/haobox/internal/restree"
	"github.com/haobox/haobox/internal/xmldoc"
)

const (
	// minQdiskToken is the shortest explicit token that qdiskd works with.
	minQdiskToken = 10 * time.Second
	// minTKO is the shortest patience that qdiskd does not call too low.
	minTKO = 4
	// maxMethods and maxDevices are how many of each are used (fenced(8)).
	maxMethods = 8
	maxDevices = 8
)

// contradictions checks the parts of a file against each other.
func (v *validator) contradictions() {
	c := Decode(v.doc)
	v.controls(v.doc.Root)
	v.nodes(c)
	v.votes(c)
	v.quorumDisk(c)
	v.network(c)
	v.fencing(c)
	set := c.Set(v.opt.Rules.Clone())
	v.treeFaults(set)
	v.domains(c, set)
	v.groups(c, set)
	v.dependencies(set)
	v.addresses(set)
	v.timesOf(set)
	v.eventTriggers()
}

// controls finds control characters in values, which XML allows as &#10; and the
// like. A fence agent reads lines, so that one in a node's name or in an argument
// would be the begin of another argument.
func (v *validator) controls(e *xmldoc.Element) {
	for _, a := range e.Attrs {
		if !strings.ContainsFunc(a.Value, unicode.IsControl) {
			continue
		}
		switch e.Name {
		case "clusternode", "fencedevice", "device":
			v.add(Contradiction, e, a.Name, "a line break or another control character: a fence agent would read what follows as a further argument", "text in one line", a.Value)
		default:
			v.add(Warning, e, a.Name, "a line break or another control character", "", a.Value)
		}
	}
	for _, c := range e.Elements() {
		v.controls(c)
	}
}

// twice calls dup for every element whose key was there before.
func twice[T any](list []T, key func(T) string, dup func(again, first T)) {
	seen := make(map[string]T, len(list))
	for _, x := range list {
		k := key(x)
		if k == "" {
			continue
		}
		if first, ok := seen[k]; ok {
			dup(x, first)
			continue
		}
		seen[k] = x
	}
}

func (v *validator) nodes(c *Config) {
	twice(c.Nodes, func(n Node) string { return n.Name }, func(n, first Node) {
		v.err(n.Elem, "name", "node %s is there already, in line %d", n.Name, first.Elem.Pos().Line)
	})
	twice(c.Nodes, func(n Node) string {
		if n.ID <= 0 {
			return "" // the grammar has said so
		}
		return fmt.Sprint(n.ID)
	}, func(n, first Node) {
		v.err(n.Elem, "nodeid", "nodeid %d is that of node %s in line %d", n.ID, first.Name, first.Elem.Pos().Line)
	})
	if nodes := c.Doc.Root.Child("clusternodes"); nodes != nil && len(c.Nodes) == 0 {
		v.warn(nodes, "", "no node: nothing can join this cluster")
	}
	with := 0
	for _, n := range c.Nodes {
		if c.Quorumd != nil && n.ID > MaxDiskNode {
			v.err(n.Elem, "nodeid", "nodeid %d: with a quorum disk ids are 1 to %d", n.ID, MaxDiskNode)
		}
		if n.AltName != nil {
			with++
		}
	}
	for _, n := range c.Nodes {
		if with > 0 && n.AltName == nil {
			v.warn(n.Elem, "", "no altname, but other nodes have one: the second ring does not reach this node")
		}
		if a := n.AltName; a != nil && a.Name == n.Name {
			v.err(a.Elem, "name", "the second ring has the name of the first")
		}
		if all := n.Elem.ChildrenNamed("altname"); len(all) > maxAltNames {
			v.err(all[maxAltNames], "", "node %s has %d altname elements: with its own name there are at most %d links", n.Name, len(all), maxAltNames+1)
		}
	}
}

func (v *validator) votes(c *Config) {
	cman := c.Doc.Root.Child("cman")
	if c.Cman.TwoNode {
		if len(c.Nodes) != 2 {
			v.err(cman, "two_node", "two_node is set, but there are %d nodes", len(c.Nodes))
		}
		for _, n := range c.Nodes {
			if n.Votes != 1 {
				v.err(n.Elem, "votes", "two_node is set, but the node has %d votes and not 1", n.Votes)
			}
		}
		if c.Quorumd != nil {
			v.err(cman, "two_node", "two_node is set together with a quorum disk: with it one vote is quorum whatever the disk says; remove it and set expected_votes to %d",
				c.NodeVotes()+c.DeviceVotes())
		}
		if c.Cman.ExpectedVotes > 1 {
			v.warn(cman, "expected_votes", "expected_votes should be 1 with two_node")
		}
	}
	if len(c.Nodes) == 2 && !c.Cman.TwoNode && c.Quorumd == nil {
		v.warn(c.Doc.Root, "", "two nodes without two_node and without a quorum disk: when one fails the other loses quorum and everything stops")
	}
	all := c.NodeVotes() + c.DeviceVotes()
	switch want := c.Cman.ExpectedVotes; {
	case c.Cman.TwoNode || want == 0:
	case want > all:
		v.warn(cman, "expected_votes", "expected_votes is %d, but all nodes and the quorum disk have %d votes together: it is never reached, and quorum is %d", want, all, c.Quorum(all))
	case want < all:
		v.warn(cman, "expected_votes", "expected_votes is %d, but all nodes and the quorum disk have %d votes together: parts of the cluster could each have quorum for themselves", want, all)
	}
	if c.Cman.ExpectedVotes == 0 && c.DeviceVotes() > 0 && !c.Cman.TwoNode {
		v.warn(c.Quorumd.Elem, "", "expected_votes is not set: it counts the nodes alone (%d), without the %d votes of the quorum disk", c.NodeVotes(), c.DeviceVotes())
	}
}

func (v *validator) quorumDisk(c *Config) {
	q := c.Quorumd
	if q == nil {
		return
	}
	if q.Device == "" && q.Label == "" {
		v.err(q.Elem, "", "the quorum disk has neither label nor device")
	}
	if q.Device != "" && q.Label != "" {
		v.warn(q.Elem, "device", "device is not used: label wins")
	}
	if q.VotesAuto {
		for _, n := range c.Nodes {
			if n.Votes != 1 {
				v.err(n.Elem, "votes", "the node has %d votes, so the votes of the quorum disk can not be found out: set votes of quorumd, or one vote for every node", n.Votes)
			}
		}
	}
	if c.Totem.TokenSet && c.Totem.Token < minQdiskToken {
		v.warn(c.Doc.Root.Child("totem"), "token", "a token of %d ms is too short for a quorum disk: qdiskd refuses less than %d ms",
			c.Totem.Token.Milliseconds(), minQdiskToken.Milliseconds())
	}
	if r := q.MasterRecovery(); r >= c.Totem.Token {
		v.warn(q.Elem, "", "the quorum disk is too slow for the token: interval x (tko + master_wait + upgrade_wait) is %d ms, the token %d ms; set the token to at least %d ms",
			r.Milliseconds(), c.Totem.Token.Milliseconds(), (r + q.Interval).Milliseconds())
	}
	if cman, cycle := c.Doc.Root.Child("cman"), q.Interval*time.Duration(q.TKO); (reader{cman}).has("quorum_dev_poll") && c.Cman.QuorumDevPoll < cycle {
		v.warn(cman, "quorum_dev_poll", "%d ms are too short: qdiskd refuses less than interval x tko, which is %d ms", c.Cman.QuorumDevPoll.Milliseconds(), cycle.Milliseconds())
	}
	if q.TKO < minTKO {
		v.warn(q.Elem, "tko", "a tko of %d is too low: a short delay of the disk evicts a node", q.TKO)
	}
	hs := q.Elem.ChildrenNamed("heuristic")
	if len(hs) > maxHeuristics {
		v.warn(hs[maxHeuristics], "", "%d heuristics: only the first %d are used", len(hs), maxHeuristics)
	}
	total := 0
	for _, h := range q.Heuristics {
		total += h.Score
	}
	if total = max(total, 1); q.MinScore > total {
		v.warn(q.Elem, "min_score", "a score of %d is never reached: all heuristics together give %d", q.MinScore, total)
	}
	if q.MasterWinsSet && (reader{q.Elem}).flag("master_wins", false) && !q.MasterWins {
		v.warn(q.Elem, "master_wins", "master_wins has no effect with heuristics or more than two nodes")
	}
}

func (v *validator) network(c *Config) {
	cman := c.Doc.Root.Child("cman")
	if cman == nil {
		return
	}
	addr := map[string]netip.Addr{}
	for _, name := range []string{"multicast", "altmulticast"} {
		e := cman.Child(name)
		if e == nil || e.Get("addr") == "" {
			continue
		}
		a, err := netip.ParseAddr(e.Get("addr"))
		switch {
		case err != nil:
			v.add(Contradiction, e, "addr", "not an IP address", "a multicast address", e.Get("addr"))
		case !a.IsMulticast() && a != netip.AddrFrom4([4]byte{255, 255, 255, 255}):
			v.add(Contradiction, e, "addr", "not a multicast address", "224.0.0.0 to 239.255.255.255, or ff00::/8", e.Get("addr"))
		default:
			addr[name] = a
		}
	}
	port := c.Cman.Port
	alt := reader{cman.Child("altmulticast")}.num("port", defaultPort)
	if a, ok := addr["altmulticast"]; ok && a == addr["multicast"] && alt >= port-1 && alt <= port+1 {
		v.err(cman.Child("altmulticast"), "addr", "both rings use %v and ports next to each other", a)
	}
}

func (v *validator) fencing(c *Config) {
	used := map[string]bool{}
	for _, n := range c.Nodes {
		if len(n.Methods) == 0 {
			v.warn(n.Elem, "", "no fence method for node %s: when it fails, nothing that it ran is started elsewhere until a person confirms that it is off", n.Name)
		}
		if len(n.Methods) > maxMethods {
			v.warn(n.Methods[maxMethods].Elem, "", "%d methods: only the first %d are used", len(n.Methods), maxMethods)
		}
		twice(n.Methods, func(m Method) string { return m.Name }, func(m, first Method) {
			v.err(m.Elem, "name", "method %s of node %s is there already, in line %d: the first is used twice and this one never", m.Name, n.Name, first.Elem.Pos().Line)
		})
		for _, m := range n.Methods {
			if len(m.Devices) == 0 {
				v.warn(m.Elem, "", "a method without a device never succeeds")
			}
			v.deviceList(c, n, m.Devices, used)
		}
		v.deviceList(c, n, n.Unfence, used)
		for _, d := range n.Unfence {
			if a := d.Elem.Get("action"); a != "on" && a != "enable" {
				v.warn(d.Elem, "action", "unfencing without action=\"on\": the agent's default turns the node off")
			}
		}
	}
	for _, fd := range c.FenceDevices {
		if fd.Name != "" && !used[fd.Name] {
			v.warn(fd.Elem, "", "fence device %s is not used by any node", fd.Name)
		}
		if fd.Agent != "" && v.opt.HasAgent != nil && !v.opt.HasAgent(fd.Agent) {
			v.warn(fd.Elem, "agent", "the fence agent %s is not installed here", fd.Agent)
		}
	}
	if c.FenceDaemon.CleanStart {
		v.warn(c.Doc.Root.Child("fence_daemon"), "clean_start", "clean_start: nodes that are not seen at the start are taken for off without fencing")
	}
	if fd := c.Doc.Root.Child("fence_daemon"); fd != nil {
		for _, name := range []string{"post_join_delay", "post_fail_delay", "override_time"} {
			if (reader{fd}).num(name, 0) < 0 {
				v.warn(fd, name, "a negative number is ignored in the file; -1 works on the command line alone")
			}
		}
	}
}

func (v *validator) deviceList(c *Config, n Node, list []Device, used map[string]bool) {
	if len(list) > maxDevices {
		v.warn(list[maxDevices].Elem, "", "%d devices: only the first %d are used", len(list), maxDevices)
	}
	for _, d := range list {
		used[d.Name] = true
		fd := c.FenceDevice(d.Name)
		if fd == nil {
			continue
		}
		if size := len(FenceArgs(d, *fd, n.Name)); size > MaxFenceArgs {
			v.err(d.Elem, "", "the arguments for the agent are %d bytes long, at most %d are possible", size, MaxFenceArgs)
		}
	}
}

// treeFaults reports what loading the resources leaves out.
func (v *validator) treeFaults(set *restree.Set) {
	for _, f := range set.Faults {
		typ := f.Rule.Type
		switch f.Kind {
		case restree.FaultMissing:
			// The grammar names the attribute; rgmanager does more than that.
			if f.Elem.Parent != nil && f.Elem.Parent.Name == "rm" {
				v.err(f.Elem, "", "this %s can not be loaded, and no other below it in the file", typ)
			}
		case restree.FaultCollision:
			v.add(Contradiction, f.Elem, f.Attr, fmt.Sprintf("%s %q is used in line %d already: this %s is left out", f.Attr, clip(f.Value), f.Other.Elem.Pos().Line, typ), "")
		case restree.FaultDangling:
			v.err(f.Elem, f.Attr, "reference to %s %q, which is not among the resources", typ, clip(f.Value))
		case restree.FaultInlineRef:
			v.err(f.Elem, f.Attr, "reference to %s %q, which is defined inside a service (line %d); only those in resources can be shared", typ, clip(f.Value), f.Other.Elem.Pos().Line)
		case restree.FaultMaxRefs:
			v.err(f.Elem, f.Attr, "%s %q is used more than %s: this use is left out", typ, clip(f.Value), times(f.Rule.MaxInstances))
		case restree.FaultLost:
			v.err(f.Elem, "", "this %s is left out because of the fault before it", typ)
		case restree.FaultForbidden:
			v.warn(f.Elem, "", "a %s is never used inside a %s: it is left out", typ, f.Elem.Parent.Name)
		}
	}
	for _, top := range set.Tree {
		top.All(func(n *restree.Node) {
			if _, isRef := n.Elem.Attr("ref"); isRef {
				for _, a := range n.Elem.Attrs {
					if n.Resource.Rule.Param(a.Name) != nil {
						v.warn(n.Elem, a.Name, "%s is ignored beside ref", a.Name)
					}
				}
			}
		})
	}
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

func (v *validator) domains(c *Config, set *restree.Set) {
	outer := c.Doc.Root.Child("rm").Child("failoverdomains")
	if outer == nil {
		return
	}
	list := outer.ChildrenNamed("failoverdomain")
	twice(list, func(e *xmldoc.Element) string { return strings.ToLower(e.Get("name")) }, func(e, first *xmldoc.Element) {
		v.err(e, "name", "failover domain %s is there already, in line %d: this one and all that follow are not read", clip(e.Get("name")), first.Pos().Line)
	})
	for _, e := range list {
		members := e.ChildrenNamed("failoverdomainnode")
		twice(members, func(m *xmldoc.Element) string { return strings.ToLower(m.Get("name")) }, func(m, first *xmldoc.Element) {
			v.err(m, "name", "node %s is in this domain already, in line %d: this one and all that follow are not read", clip(m.Get("name")), first.Pos().Line)
		})
		for _, m := range members {
			if name := m.Get("name"); name != "" && c.Node(name) == nil {
				v.err(m, "name", "node %q is not in clusternodes", clip(name))
			}
			if _, has := m.Attr("priority"); has && !(reader{e}).flag("ordered", false) {
				v.warn(m, "priority", "the priority is not used: the domain is not ordered")
			}
		}
	}
}

// groups checks the services and virtual machines themselves.
func (v *validator) groups(c *Config, set *restree.Set) {
	for _, n := range set.Tree {
		if len(n.ID()) > restree.RGNameMax {
			v.err(n.Elem, "name", "the name %s is longer than %d bytes with its type", clip(n.ID()), restree.RGNameMax)
		}
		if d, ok := n.Value("domain"); ok && d != "" {
			v.liveable(c, set, n, d)
		}
		switch r, _ := n.Value("recovery"); strings.ToLower(r) {
		case "", "restart", "relocate", "disable", "restart-disable":
		default:
			v.add(Warning, n.Elem, "recovery", "unknown recovery policy: it counts as restart", "restart, relocate, disable, restart-disable", r)
		}
		if n.Resource.Rule.Type == "service" && len(n.Children) == 0 {
			v.warn(n.Elem, "", "service %s has no resource: it is up wherever it is", n.Resource.Name())
		}
		n.All(func(x *restree.Node) {
			if x.Resource.Rule.Type != "apache" && x.Resource.Rule.Type != "samba" || x.Parent == nil {
				return
			}
			if !slices.ContainsFunc(n.Children, func(y *restree.Node) bool { return y.Resource.Rule.Type == "ip" }) {
				v.warn(x.Elem, "", "%s listens on the addresses of its service, but that has no ip resource", x.Resource.Rule.Type)
			}
		})
	}
}

// liveable checks that some node can run the group.
func (v *validator) liveable(c *Config, set *restree.Set, n *restree.Node, name string) {
	d := set.Domain(name)
	if d == nil {
		v.err(n.Elem, "domain", "failover domain %q does not exist", clip(name))
		return
	}
	for _, m := range d.Nodes {
		if c.Node(m.Name) != nil {
			return
		}
	}
	if d.Restricted {
		v.warn(n.Elem, "domain", "restricted failover domain %s has no node of this cluster: %s never runs", d.Name, n.ID())
	} else {
		v.warn(n.Elem, "domain", "failover domain %s has no node of this cluster: it has no effect", d.Name)
	}
}

// dependencies checks depend attributes: targets, and cycles.
func (v *validator) dependencies(set *restree.Set) {
	target := map[*restree.Node]*restree.Node{}
	byName := make(map[string]*restree.Node, len(set.Tree))
	for _, n := range set.Tree {
		byName[n.ID()] = n
	}
	for _, n := range set.Tree {
		dep, ok := n.Value("depend")
		if !ok || dep == "" {
			continue
		}
		if !strings.Contains(dep, ":") {
			dep = "service:" + dep
		}
		t := byName[dep]
		if t == nil {
			v.err(n.Elem, "depend", "depends on %q, which does not exist", clip(dep))
			continue
		}
		target[n] = t
	}
	state := map[*restree.Node]int{} // 1 on the way, 2 done
	for _, n := range set.Tree {
		var way []*restree.Node
		for x := n; x != nil && state[x] != 2; x = target[x] {
			if state[x] == 1 {
				v.cycle(way[slices.Index(way, x):])
				break
			}
			state[x] = 1
			way = append(way, x)
		}
		for _, x := range way {
			state[x] = 2
		}
	}
}

func (v *validator) cycle(way []*restree.Node) {
	names := make([]string, 0, len(way)+1)
	for _, n := range append(slices.Clone(way), way[0]) {
		names = append(names, n.ID())
	}
	const shown = 8
	if len(names) > shown {
		names = append(names[:shown:shown], "...")
	}
	v.err(way[0].Elem, "depend", "dependency cycle: %s: none of them can start", strings.Join(names, " -> "))
}

// addresses finds virtual addresses that are there twice: the same text is a
// collision already, "10.0.0.1" and "10.0.0.1/24" are not.
func (v *validator) addresses(set *restree.Set) {
	var ips []*restree.Resource
	for _, r := range set.Resources {
		if r.Rule.Type == "ip" {
			ips = append(ips, r)
		}
	}
	seen := map[netip.Addr]*restree.Resource{}
	for _, r := range ips {
		text := r.Value("address")
		a, ok := parseAddr(text)
		if _, bits, cut := strings.Cut(text, "/"); ok && cut {
			_, err := netip.ParsePrefix(text)
			if err != nil {
				v.add(Contradiction, r.Elem, "address", "the prefix length is wrong", fmt.Sprintf("0 to %d", a.BitLen()), bits)
				continue
			}
		}
		if !ok {
			v.add(Contradiction, r.Elem, "address", "not an IP address", "an IPv4 or IPv6 address, with /length", text)
			continue
		}
		if first := seen[a]; first != nil {
			v.warn(r.Elem, "address", "address %v is that of line %d too: two services would fight for it", a, first.Elem.Pos().Line)
			continue
		}
		seen[a] = r
	}
}

// timesOf checks time expressions, which are 0 where they make no sense.
func (v *validator) timesOf(set *restree.Set) {
	check := func(e *xmldoc.Element, attr string) {
		text, ok := e.Attr(attr)
		if !ok || text == "" {
			return
		}
		if strings.Trim(text, "0123456789smhdwySMHDWY ") != "" {
			v.add(Warning, e, attr, "not a time: what is not understood counts as 0", "numbers with the units s, m, h, d, w, y", text)
		}
	}
	for _, n := range set.Tree {
		check(n.Elem, "restart_expire_time")
		n.All(func(x *restree.Node) {
			check(x.Elem, "__failure_expire_time")
			check(x.Elem, "__restart_expire_time")
			pair := func(number, window string) {
				_, a := x.Elem.Attr(number)
				_, b := x.Elem.Attr(window)
				if a != b {
					v.warn(x.Elem, "", "%s and %s work together only: one of them is missing", number, window)
				}
			}
			pair("__max_failures", "__failure_expire_time")
			pair("__max_restarts", "__restart_expire_time")
			if _, ok := x.Elem.Attr("__independent_subtree"); ok && x.Parent == nil {
				v.warn(x.Elem, "__independent_subtree", "__independent_subtree has no effect at the top")
			}
		})
	}
	for _, r := range set.Resources {
		for _, a := range r.Elem.ChildrenNamed("action") {
			check(a, "timeout")
			check(a, "interval")
		}
	}
}

func (v *validator) eventTriggers() {
	outer := v.doc.Root.Child("rm").Child("events")
	if outer == nil {
		return
	}
	for _, e := range outer.ChildrenNamed("event") {
		if c := e.Get("class"); c == "config" || c == "reconfig" {
			v.warn(e, "class", "events of class %s are known but never delivered: the event is left out", c)
		}
		if e.Get("file") == "" && strings.TrimSpace(e.Text()) == "" {
			v.err(e, "", "event %s has neither a file nor a script", clip(e.Get("name")))
		}
	}
}
