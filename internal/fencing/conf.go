package fencing

import (
	"github.com/haobox/haobox/internal/cluster"
	"github.com/haobox/haobox/internal/clusterconf"
)

// ConfigOf returns the configuration of the fence daemon of the node self. What
// the command line says is the caller's to put over it.
func ConfigOf(c *clusterconf.Config, self cluster.NodeID) Config {
	fd := c.FenceDaemon
	out := Config{
		TwoNode: c.Cman.TwoNode, PostJoinDelay: fd.PostJoinDelay, PostFailDelay: fd.PostFailDelay,
		CleanStart: fd.CleanStart, SkipUndefined: fd.SkipUndefined, OverrideTime: fd.OverrideTime, RetryMax: fd.RetryMax,
		CheckDelay: fd.CheckDelay, RaceDelay: fd.RaceDelay, Token: c.Totem.Token,
	}
	if c.Quorumd != nil {
		// What a qdiskd says of the disk's votes lasts for a cycle or
		// quorum_dev_poll; but a pause may come at the end of that, when the
		// daemon has been dead or its disk silent for long.
		out.Unheard = min(c.Quorumd.Interval, c.Totem.Token)
	}
	out.Race, _ = ParseRace(fd.Race)
	for _, n := range c.Nodes {
		out.Nodes = append(out.Nodes, Node{ID: cluster.NodeID(n.ID), Name: n.Name, Delay: n.FenceDelay, Methods: len(n.Methods) > 0})
		if n.ID == int(self) {
			out.Unfence = len(n.Unfence) > 0
		}
	}
	return out.withDefaults()
}
