package rgm

import (
	"slices"
	"time"

	"github.com/haobox/haobox/internal/cluster"
	"github.com/haobox/haobox/internal/restree"
)

// Guests can be moved without rgmanager being asked. Before one is started,
// and before one that failed a check is given up, all other members look
// whether it runs there: it is adopted where it is (rgmanager 3.2 asks them one
// by one). The state of the service stays what it was meanwhile, and its task
// is taskLook.

// LookLimit is how long a member may look for a guest; then it has not found
// it. rgmanager's limit for an answer.
const LookLimit = 10 * time.Second

// lookers are the members that can be asked about a service.
func (s *state) lookers(r *record, but cluster.NodeID) (out []cluster.NodeID) {
	if !s.pol(r).Migratory {
		return nil
	}
	for _, n := range s.nodes {
		if n.alive() && n.Quorate && n.ID != but {
			out = append(out, n.ID)
		}
	}
	return out
}

// look begins to look for a guest; false if nobody can. target is where it is
// to be started if nobody has it, 0 if it failed on its owner.
func (s *state) look(r *record, target cluster.NodeID) bool {
	but := target
	if but == 0 {
		but = r.Owner
	}
	who := s.lookers(r, but)
	var doubt []cluster.NodeID
	if target == 0 && s.pol(r).Migratory {
		// What is missed here may be where nobody can look now: lookGone waits
		// for these.
		for _, n := range s.nodes {
			if !n.Member && !n.Safe && n.Gone == cluster.Failed {
				doubt = append(doubt, n.ID)
			}
		}
	}
	if r.Looked || len(who)+len(doubt) == 0 {
		r.Looked = false
		return false
	}
	if len(doubt) > 0 {
		s.log(r.Owner, LevelNotice, r, "Service %s waits until %s is known to be off, where it may run", r.Name, s.names(doubt))
		s.decide(Decision{Service: r.Name, From: r.State, To: r.State, Why: "it may run on " + s.names(doubt) + ", and waits until that is known to be off"})
	}
	r.Look, r.LookFor = append(who, doubt...), target
	slices.Sort(r.Look)
	s.give(r, taskLook)
	return true
}

// cannotLook are the members of the cluster without rgmanager, where a guest may
// have been moved by hand and nobody can be asked. When their rgmanager ended, or
// was not there, they were known to run nothing: so the guest is started, and a
// person is told.
func (c *Core) cannotLook(r *record) (out []cluster.NodeID) {
	if !c.st.pol(r).Migratory {
		return nil
	}
	for _, id := range c.members {
		if !c.st.node(id).alive() {
			out = append(out, id)
		}
	}
	return out
}

// JoinLimit is how long the failure of a guest waits for rgmanagers that are
// about to join. They join within a second or two; one that has to stop
// services first may take longer than anybody wants to wait.
const JoinLimit = 10 * time.Second

// waitsForLookers: a guest that is not well on its owner may have been moved, to
// a node whose rgmanager can be asked as soon as it has joined: after a pause of
// several nodes each of them joins anew.
func (c *Core) waitsForLookers(l *local, r *record) bool {
	end := l.failedAt.Add(JoinLimit)
	if !c.now.Before(end) || !c.st.pol(r).Migratory || !slices.ContainsFunc(c.st.nodes, func(n *node) bool { return n.Member && !n.Joined }) {
		return false
	}
	if end.Before(c.dueAt) {
		c.dueAt = end
	}
	return true
}

// applyLooked takes what a member found.
func (s *state) applyLooked(m doneMsg) {
	r, n := s.records[m.service], s.node(s.from.Node)
	if r == nil || r.Task != taskLook || r.Epoch != m.epoch || !slices.Contains(r.Look, s.from.Node) || !n.alive() || n.Instance != s.from.Instance {
		return
	}
	r.Look = remove(r.Look, n.ID)
	if m.ok {
		s.found(r, n)
		return
	}
	s.looked(r)
}

// found: the guest runs on a node that is not its owner.
func (s *state) found(r *record, n *node) {
	was, owner := r.State, r.Owner
	s.cause = r.Name + " was looked for"
	s.endLook(r)
	s.log(n.ID, LevelNotice, r, "Service %s is found running on member %d", r.Name, n.ID)
	s.set(r, func() {
		if owner != 0 {
			r.LastOwner = owner
		}
		r.State, r.Owner, r.Restarts = Started, n.ID, 0
		r.Flags &^= Partial
	})
	s.serial++
	r.Instance, r.Known, r.RetryAt, r.FailedOn, r.StartedAt = n.Instance, true, 0, 0, s.serial
	s.decide(Decision{Service: r.Name, From: was, To: Started, Node: n.ID, Why: "it runs there already, though rgmanager did not start it"})
	s.answer(r, OK)
	r.endWalk()
	s.started(r)
}

// looked goes on when all that were asked have looked in vain.
func (s *state) looked(r *record) {
	if len(r.Look) > 0 {
		return
	}
	target := r.LookFor
	s.cause = r.Cause
	s.endLook(r)
	r.Looked = true
	defer func() { r.Looked = r.Looked && r.State == Error }()
	switch n := s.node(target); {
	case target == 0 && s.ownerLost(r):
	case target == 0:
		// What follows its stop need not look again.
		s.stop(r, thenRecover, Error)
	case r.Removed:
		s.drop(r)
	case s.locked, r.Flags&Frozen != 0:
		s.exhausted(r, Again, "services are locked", nil)
	case !r.Known && len(s.unknownNodes()) > 0:
		s.exhausted(r, FencePending, "it is not known whether it runs on "+s.names(s.unknownNodes()), nil)
	case !s.canDepend(r):
		s.exhausted(r, Depend, "needs "+s.pol(r).Depend+", which is not started", nil)
	case s.usable(n) && s.may(r, target) == Fits:
		s.startOn(r, target, "no other member runs it")
	default:
		s.walk(r)
	}
}

func (s *state) endLook(r *record) { r.Task, r.Look, r.LookFor = noTask, nil, 0 }

// lookGone: nodes went while they looked. One that failed may run the guest
// until it is known to be off or joins anew; of one that left in order, or
// whose rgmanager ended, the answer is no.
func (s *state) lookGone() {
	for _, r := range s.ordered() {
		if r.Task != taskLook {
			continue
		}
		before := len(r.Look)
		r.Look = slices.DeleteFunc(r.Look, func(id cluster.NodeID) bool {
			n := s.node(id)
			return n == nil || !n.Member && (n.Safe || n.Gone != cluster.Failed)
		})
		if len(r.Look) < before && !s.ownerLost(r) {
			s.looked(r)
		}
	}
}

// lookOn runs the check that this node was asked for.
func (c *Core) lookOn(l *local, r *record) {
	if l.lookEpoch == r.Epoch || l.report != 0 || c.holding || c.updating {
		return
	}
	l.lookEpoch, l.lookSince = r.Epoch, c.now
	c.looks = append(c.looks, l)
	if l.node == nil {
		l.node = c.tree[l.name]
	}
	if l.node == nil {
		c.reportLook(l, r.Epoch, false) // not in this node's configuration
		return
	}
	c.begin(l, restree.StatusInquiry, forLook, noTask, "")
}

func (c *Core) reportLook(l *local, epoch uint64, found bool) {
	c.report(l, cmdLooked, epoch, found, 0)
	c.touched = append(c.touched, l)
}

// lookLate ends the looks that take too long.
func (c *Core) lookLate() {
	var late []*local
	c.looks = slices.DeleteFunc(c.looks, func(l *local) bool {
		over := c.now.Sub(l.lookSince) >= LookLimit
		if over {
			late = append(late, l)
		}
		return over
	})
	for _, l := range late {
		if j := l.job; j != nil && j.why == forLook && !j.kill {
			c.log(LevelWarning, l.name, "Looking for %s took longer than %v", l.name, LookLimit)
			c.abandon(j)
		}
	}
}
