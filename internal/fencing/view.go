package fencing

import (
	"slices"

	"github.com/haobox/haobox/internal/cluster"
)

// Info returns what fence_tool ls shows.
func (c *Core) Info() Info {
	mine := c.mine()
	in := Info{Joined: mine != nil, Complete: mine != nil && mine.complete && c.ready(), Wait: c.wait, Current: c.usable && !c.over, Stale: c.stale}
	if in.Master = c.master; !in.Joined {
		in.Master = 0
	}
	if c.blocked && c.wait == WaitFencing {
		in.Wait = WaitQuorum
	}
	in.Members = nodes(c.st.domain)
	for _, v := range c.st.victims {
		in.Victims = append(in.Victims, v.node)
	}
	for _, running := range []bool{true, false} {
		for _, j := range c.jobs {
			if in.VictimNow == 0 && j.running == running && j.attempt > 0 && j.done == nil {
				in.VictimNow = j.node
			}
		}
	}
	for _, id := range c.known() {
		n := NodeInfo{ID: id, Name: c.name(id), Member: c.st.member(id) != nil, Victim: c.st.victim(id) != nil}
		if r := c.find(id); r != nil {
			n.LastMaster, n.LastHow, n.LastTime = r.master, r.how, r.time
		}
		in.Nodes = append(in.Nodes, n)
	}
	return in
}

// Nodes returns every node as rgmanager sees it, sorted by id.
func (c *Core) Nodes() []NodeView {
	out := make([]NodeView, 0, len(c.cfg.Nodes))
	ring := c.ring
	if !c.ready() {
		ring = 0
	}
	for _, id := range c.known() {
		n := NodeView{ID: id, Name: c.name(id), State: StateUnknown, Ring: ring}
		r := c.find(id)
		if r != nil {
			n.Off = r.off
		}
		switch {
		case !c.ready():
		case c.st.member(id) != nil:
			m := c.st.member(id)
			if n.Instance = m.instance; m.complete {
				n.State = StateMember
			}
		case c.st.victim(id) != nil:
			n.State, n.Instance = StateVictim, c.st.victim(id).instance
		case r != nil && r.fate == fateOff:
			n.State = StateOff
		case r != nil && r.fate == fateLeft:
			n.State = StateLeft
		}
		since, here := c.since[id], slices.Contains(c.members.Members, id)
		if n.State == StateOff && ring >= since && (since > r.off || here && since == r.off) {
			// It came back, and its daemon did not: what is known is of the life
			// before, also when it is gone again.
			n.Ring = since - 1
		}
		out = append(out, n)
	}
	return out
}

// Feeds says what the core has to be told again and again: what decides races by
// the policy of the configuration, which has to be known before there is one, and
// while somebody is to be fenced whether a fence_check runs. Beyond that a
// fence_check has to be told of, by Check, before what may make a victim.
func (c *Core) Feeds() Feeds {
	return Feeds{Weight: c.cfg.Race == RaceServices, QuorumDisk: c.cfg.Race == RaceQdisk, Check: len(c.st.victims) > 0}
}

// Stale says that the domain went on without this node: see Info.
func (c *Core) Stale() bool { return c.stale }

// Transfers counts how often the state was taken over from others: what Nodes
// said before is void then.
func (c *Core) Transfers() uint64 { return c.transfers }

// Revision grows whenever Nodes, Info or History may say something else.
func (c *Core) Revision() uint64 { return c.revision }

// History returns the last HistorySize operations of the domain, oldest first.
// The slice is the caller's.
func (c *Core) History() []Op { return slices.Clone(c.st.history) }

// known are the ids of all nodes of the configuration and of the state, sorted.
func (c *Core) known() []cluster.NodeID {
	ids := make([]cluster.NodeID, 0, len(c.cfg.Nodes)+len(c.st.domain)+len(c.st.victims)+len(c.st.records))
	for _, n := range c.cfg.Nodes {
		ids = append(ids, n.ID)
	}
	for _, m := range c.st.domain {
		ids = append(ids, m.node)
	}
	for _, v := range c.st.victims {
		ids = append(ids, v.node)
	}
	for _, r := range c.st.records {
		ids = append(ids, r.node)
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

func (c *Core) find(id cluster.NodeID) *record {
	for i := range c.st.records {
		if c.st.records[i].node == id {
			return &c.st.records[i]
		}
	}
	return nil
}
