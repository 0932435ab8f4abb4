package rgm

import (
	"fmt"
	"strings"
)

// Dump writes what the core knows and does, for a dump file or a bug report.
func (c *Core) Dump() string {
	var b strings.Builder
	fmt.Fprintf(&b, "self %d.%d phase %d life %d ring %d current %v quorate %v suspect %v emergency %q lost %v leaving %v left %v updating %v holding %v config %d of %d\n",
		c.self.Node, c.self.Instance, c.phase, c.life, c.view.Ring.Seq, c.current(), c.quorate(), c.suspect, c.emergency, c.lost, c.leaving, c.left,
		c.updating, c.holding, c.polVersion(), c.st.policy.Version)
	for _, n := range c.st.nodes {
		fmt.Fprintf(&b, "node %d.%d %s life %d member %v joined %v quorate %v leaving %v known %v safe %v gone %d %v config %d\n",
			n.ID, n.Instance, n.Name, n.Life, n.Member, n.Joined, n.Quorate, n.Leaving, n.Known, n.Safe, n.GoneRing, n.Gone, n.Config)
	}
	for _, r := range c.st.ordered() {
		fmt.Fprintf(&b, "service %s %v owner %d.%d last %d epoch %d task %d then %d known %v queue %d tried %v failed on %d retry %d\n",
			r.Name, r.State, r.Owner, r.Instance, r.LastOwner, r.Epoch, r.Task, r.Then, r.Known, len(r.Queue), r.Tried, r.FailedOn, r.RetryAt)
	}
	for _, name := range c.localNames() {
		l := c.locals[name]
		fmt.Fprintf(&b, "local %s hands %v started %v stuck %v epoch %d report %d failed %v", name, l.hands, l.started, l.stuck, l.epoch, l.report, l.failed)
		if j := l.job; j != nil {
			fmt.Fprintf(&b, " job op %d why %d task %d agent %d kill %v", j.op, j.why, j.task, j.id, j.kill)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func (c *Core) polVersion() uint64 {
	if c.pol == nil {
		return 0
	}
	return c.pol.Version
}
