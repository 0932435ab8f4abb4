package explain

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/haobox/haobox/internal/clusterconf"
	"github.com/haobox/haobox/internal/restree"
)

func service(c *clusterconf.Config, set *restree.Set, n *restree.Node) Service {
	get := func(name string) string {
		v, _ := n.Value(name)
		return v
	}
	s := Service{ID: n.ID(), Domain: get("domain"), RunsOn: []string{}, Elsewhere: true, Recovery: strings.ToLower(get("recovery")), Depends: get("depend"),
		Exclusive: get("exclusive") == "yes" || restree.Atoi(get("exclusive")) > 0, Addresses: []string{}, StopOrder: []string{}}
	auto, set1 := n.Value("autostart")
	s.Autostart = !set1 || auto != "no" && restree.Atoi(auto) != 0
	if !slices.Contains([]string{"relocate", "disable", "restart-disable"}, s.Recovery) {
		s.Recovery = "restart"
	}
	d := set.Domain(s.Domain)
	if d == nil {
		for _, x := range c.Nodes {
			s.RunsOn = append(s.RunsOn, x.Name)
		}
		s.Elsewhere = false
	} else {
		for _, x := range ranked(*d) {
			if c.Node(x.Name) != nil {
				s.RunsOn = append(s.RunsOn, x.Name)
			}
		}
		s.Elsewhere = !d.Restricted && len(s.RunsOn) < len(c.Nodes)
	}
	s.Tree = tree(set, n)
	n.All(func(x *restree.Node) {
		if x.Resource.Rule.Type == "ip" {
			s.Addresses = append(s.Addresses, x.Resource.Name())
		}
	})
	restree.OperateNode(restree.Stop, n, restree.Shell{Run: func(call restree.Call) int {
		s.StopOrder = append(s.StopOrder, call.Node.ID())
		return 0
	}})
	s.Failures = outcomes(c, d, n, &s)
	return s
}

// tree describes a resource and what is below it, in start order.
func tree(set *restree.Set, top *restree.Node) Resource {
	// The order is what a start would do; it is asked of the tree itself.
	order := map[*restree.Node]int{}
	restree.OperateNode(restree.Start, top, restree.Shell{Run: func(call restree.Call) int {
		order[call.Node] = len(order) + 1
		return 0
	}})
	var describe func(n *restree.Node) Resource
	describe = func(n *restree.Node) Resource {
		r := Resource{ID: n.ID(), What: what(n), Checks: checks(n), Mark: mark(n), Shared: n.Resource.Refs > 1}
		children := slices.Clone(n.Children)
		slices.SortStableFunc(children, func(a, b *restree.Node) int { return order[a] - order[b] })
		for _, c := range children {
			r.Children = append(r.Children, describe(c))
		}
		return r
	}
	return describe(top)
}

// what says in a few words what a resource is about.
func what(n *restree.Node) string {
	var parts []string
	add := func(format, name string) {
		if v, ok := n.Value(name); ok && v != "" {
			parts = append(parts, fmt.Sprintf(format, v))
		}
	}
	switch n.Resource.Rule.Type {
	case "service":
		return ""
	case "fs", "clusterfs":
		add("%s", "device")
		add("on %s", "mountpoint")
		add("(%s)", "fstype")
	case "netfs":
		add("%s", "host")
		add("export %s", "export")
		add("on %s", "mountpoint")
	case "lvm":
		add("volume group %s", "vg_name")
		add("volume %s", "lv_name")
	case "script":
		add("%s", "file")
	case "systemd":
		add("unit %s", "unit")
	case "ocf":
		add("agent %s", "agent")
	case "nfsclient":
		add("%s", "path")
		add("for %s", "target")
	case "nfsexport", "nfsserver":
		add("%s", "path")
	case "apache", "mysql", "postgres-8", "named", "samba", "openldap":
		add("configuration %s", "config_file")
	}
	if len(parts) == 0 {
		return n.Resource.Rule.Short
	}
	return strings.Join(parts, " ")
}

// checks are the status checks that are ever run, by depth.
func checks(n *restree.Node) []string {
	var out []string
	for _, a := range n.Actions {
		if a.Name == "status" && a.Interval > 0 {
			s := "every " + span(time.Duration(a.Interval)*time.Second)
			if a.Depth > 0 {
				s += fmt.Sprintf(" at depth %d", a.Depth)
			}
			out = append(out, s)
		}
	}
	return out
}

func mark(n *restree.Node) string {
	limit := ""
	if n.MaxRestarts > 0 {
		limit = fmt.Sprintf(", at most %s in %s", plural(n.MaxRestarts, "restart"), span(n.RestartWindow))
	}
	switch {
	case n.NonCritical:
		return "non-critical: the service goes on without it" + limit
	case n.Independent:
		return "independent: restarted in place" + limit
	}
	return ""
}

// outcomes say what happens on each kind of failure.
func outcomes(c *clusterconf.Config, d *restree.Domain, n *restree.Node, s *Service) []Outcome {
	var out []Outcome
	add := func(when, then string) { out = append(out, Outcome{when, then}) }
	add("a resource fails its check", resourceFailure(n, s))
	n.All(func(x *restree.Node) {
		switch {
		case x.NonCritical && x.MaxRestarts == 0:
			add(x.ID()+" fails", "it is stopped with what is below it and stays so; the service goes on and is marked partial, until 'clusvcadm -c' or a restart")
		case x.NonCritical:
			add(x.ID()+" fails", "it is restarted in place; over its limit it is stopped and the service goes on without it")
		case x.Independent:
			add(x.ID()+" fails", "it is restarted in place with what is below it; the rest of the service is not touched")
		}
	})
	if alone(s) {
		add("it does not start", "what was started is stopped again; there is no other node to try, so it stays stopped until the membership changes")
	} else {
		add("it does not start", "what was started is stopped again, and it is tried on the other nodes"+where(s)+"; if none can, it stays stopped until the membership changes")
	}
	add("it does not stop", "it is marked failed and is started nowhere until a person looks at it ('clusvcadm -d') or its node is fenced")
	add("its node fails", nodeFailure(c, s))
	add("its node comes back", failback(d, s))
	add("the cluster loses quorum", "it is stopped")
	if s.Depends != "" {
		add(s.Depends+" stops", "it is stopped too, and started again after it")
	}
	return out
}

func where(s *Service) string {
	if len(s.RunsOn) == 0 {
		return ""
	}
	return " of " + strings.Join(s.RunsOn, ", ")
}

// alone reports whether one node at most may run the service.
func alone(s *Service) bool { return len(s.RunsOn) < 2 && !s.Elsewhere }

func resourceFailure(n *restree.Node, s *Service) string {
	times := restree.Atoi(value(n, "max_restarts"))
	window := restree.ParseTime(value(n, "restart_expire_time"))
	limit := ""
	if times > 0 {
		limit = "; after " + plural(times, "restart")
		if window > 0 {
			limit += " within " + span(time.Duration(window)*time.Second)
		}
	}
	switch {
	case s.Recovery == "relocate" && alone(s):
		return "the service is stopped; there is no other node for it"
	case s.Recovery == "relocate":
		return "the service is stopped and started on another node" + where(s)
	case s.Recovery == "disable":
		return "the service is stopped and disabled: a person has to enable it"
	}
	last := "; if that fails, on another node" + where(s)
	if alone(s) {
		last = "; if that fails, it stays stopped"
	}
	if limit != "" && s.Recovery == "restart-disable" {
		limit += " it is disabled"
	} else if limit != "" {
		limit += " it moves to another node"
	}
	return "the service is stopped and started on the same node" + limit + last
}

func value(n *restree.Node, name string) string {
	v, _ := n.Value(name)
	return v
}

func nodeFailure(c *clusterconf.Config, s *Service) string {
	text := fmt.Sprintf("noticed after %s, fenced, and only then started on another node", span(c.Totem.Token+c.Totem.Consensus))
	if len(s.RunsOn) > 1 {
		return text + where(s)
	}
	if !alone(s) {
		return text
	}
	return fmt.Sprintf("noticed after %s; there is no other node for it, so it waits for this one", span(c.Totem.Token+c.Totem.Consensus))
}

func failback(d *restree.Domain, s *Service) string {
	switch {
	case d == nil:
		return "the service stays where it is"
	case d.NoFailback:
		return "the service stays where it is (nofailback)"
	case d.Ordered:
		return "the service moves back if that node has the better priority"
	case s.Elsewhere:
		return "the service moves back if it had to leave the domain"
	}
	return "the service stays where it is"
}
