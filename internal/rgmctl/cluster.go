package rgmctl

import (
	"slices"

	"github.com/haobox/haobox/internal/cluster"
	"github.com/haobox/haobox/internal/clusterconf"
)

// FromCluster is the part of a Status that does not need rgmanager: the nodes
// of the configuration merged with those of the engine. Without a
// configuration all nodes count as configured.
func FromCluster(s cluster.Status, cfg *clusterconf.Config) *Status {
	out := &Status{Cluster: s.Cluster, Generation: s.Ring.Seq, Quorate: s.Quorate, Local: uint32(s.Local)}
	if out.Cluster == "" && cfg != nil {
		out.Cluster = cfg.Name
	}
	out.ID = clusterconf.ClusterID(out.Cluster)
	for _, n := range s.Nodes {
		x := Node{ID: uint32(n.ID), Name: n.Name, Online: n.State == cluster.NodeMember, Local: n.ID == s.Local}
		if cfg != nil {
			if c := cfg.NodeByID(int(n.ID)); c != nil {
				x.Name = c.Name
			} else {
				x.Estranged = cfg.Node(n.Name) == nil
			}
		}
		out.Nodes = append(out.Nodes, x)
	}
	if cfg != nil {
		for _, c := range cfg.Nodes {
			if !slices.ContainsFunc(out.Nodes, func(n Node) bool { return n.ID == uint32(c.ID) || n.Name == c.Name }) {
				out.Nodes = append(out.Nodes, Node{ID: uint32(c.ID), Name: c.Name})
			}
		}
	}
	if s.DeviceName != "" {
		out.Nodes = append(out.Nodes, Node{Name: s.DeviceName, Online: s.DeviceVotes > 0, QDisk: true})
	}
	return out
}

// LiveOnly leaves out the nodes that are not online (clustat -f).
func (s *Status) LiveOnly() {
	s.Nodes = slices.DeleteFunc(s.Nodes, func(n Node) bool { return !n.Online })
}
