package phasim

import "github.com/haobox/haobox/internal/ksys"

// Observe is what ksysstatus would gather on the first node that is up.
func (w *World) Observe() ksys.Observation {
	o := ksys.Observation{Time: w.Clock(), FlagKnown: true, KsysWhy: "not simulated"}
	var local *Node
	for _, n := range w.Nodes {
		if n.Up && local == nil {
			local = n
		}
	}
	if local == nil {
		return o
	}
	o.Local = local.Name
	if w.Cluster != nil {
		o.ClusterName, o.ClusterType, o.Defined = w.Cluster.Name, w.Cluster.Type, w.Cluster.Nodes
		typ := "HA"
		if w.Cluster.Type == "LC" {
			typ = "DR"
		}
		o.Ksys, o.KsysWhy = ksys.KsysCluster{Name: w.Cluster.Name, State: "Online", Type: typ}, ""
		o.Reached = true
	}
	for _, n := range w.Nodes {
		if !n.Up {
			continue
		}
		v := ksys.NodeView{Name: w.FQDN(n), Manager: n.Manager, Daemon: ksys.Daemon{State: ksys.DaemonStateOf(n.VMR().State), PID: n.VMR().PID}}
		if l := w.Node(w.LeaderOf(n)); l != nil && !w.has(n, "leader unknown") {
			v.Leader = w.FQDN(l)
		}
		o.Nodes = append(o.Nodes, v)
	}
	for _, g := range w.Groups {
		o.GroupsKnown = true
		for _, p := range g.Nodes {
			o.Groups = append(o.Groups, ksys.GroupState{Group: g.Name, State: p.State, Node: p.Node})
		}
	}
	return o
}
