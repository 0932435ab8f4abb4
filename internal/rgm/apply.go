package rgm

import (
	"fmt"
	"slices"

	"github.com/haobox/haobox/internal/cluster"
)

// apply changes the state by a command. The error is that of a message that
// can not be read; it changes nothing.
func (s *state) apply(from cluster.Member, view cluster.View, b []byte) error {
	cmd, at, r, err := open(b)
	if err != nil {
		return err
	}
	s.now, s.from = at, from
	s.behind = slices.ContainsFunc(s.nodes, func(n *node) bool {
		return n.Member && !view.Has(cluster.Member{Node: n.ID, Instance: n.Instance})
	})
	switch cmd {
	case cmdView:
		var m viewMsg
		if m, err = decodeView(r); err == nil {
			s.applyView(m, view)
		}
	case cmdJoin:
		var m joinMsg
		if m, err = decodeJoin(r); err == nil {
			s.applyJoin(m)
		}
	case cmdConfig:
		var p *policy
		if p, err = decodeConfig(r); err == nil {
			s.applyConfig(p)
		}
	case cmdHave:
		var m haveMsg
		if m, err = decodeHave(r); err == nil {
			s.applyHave(m)
		}
	case cmdSafe:
		var m safeMsg
		if m, err = decodeSafe(r); err == nil {
			s.applySafe(m)
		}
	case cmdAssume:
		id := r.Node()
		if err = r.End(); err == nil {
			s.applyAssume(id)
		}
	case cmdDone, cmdFail, cmdPartial, cmdChanged:
		var m doneMsg
		if m, err = decodeDone(r); err == nil {
			s.applyService(cmd, m)
		}
	case cmdLooked:
		var m doneMsg
		if m, err = decodeDone(r); err == nil {
			s.applyLooked(m)
		}
	case cmdRequest:
		var m requestMsg
		if m, err = decodeRequest(r); err == nil {
			q := queued{from, m}
			s.cause = q.cause()
			s.request(q)
		}
	case cmdLeaving:
		if err = r.End(); err == nil {
			s.applyLeaving()
		}
	case cmdRetry:
		if err = r.End(); err == nil {
			s.applyRetry()
		}
	case cmdPing:
		r.U64()
		if err = r.End(); err == nil && !s.witnessed(view) {
			s.doubtGone(view.Ring.Seq)
		}
	}
	if err != nil {
		return fmt.Errorf("message %d of node %d: %w", cmd, from.Node, err)
	}
	s.settle()
	return nil
}

// applyView takes over the members of the group. Every member sends what it
// sees; what does not fit the view in which it arrives is of an older one, and
// from the second on they change only whether the sender has quorum.
func (s *state) applyView(m viewMsg, view cluster.View) {
	if m.ring != view.Ring.Seq || !slices.Equal(m.members, view.Members) {
		return
	}
	if s.began == 0 {
		s.began = s.now
	}
	s.ring, s.behind = m.ring, false
	var downs []*node
	for _, x := range m.members {
		n := s.ensureNode(x.Node)
		if !n.Member || n.Instance != x.Instance {
			if n.Member && !slices.ContainsFunc(m.gone, func(g cluster.Change) bool {
				return g.Node == n.ID && g.Instance == n.Instance && g.Reason != cluster.Failed
			}) {
				s.doubt(n) // it went and came in one go
			}
			*n = node{ID: n.ID, Name: n.Name, Instance: x.Instance, Member: true, Known: n.Known}
		}
	}
	for _, n := range s.nodes {
		if n.Member && !slices.Contains(m.members, cluster.Member{Node: n.ID, Instance: n.Instance}) {
			reason := cluster.Failed
			for _, g := range m.gone {
				if g.Node == n.ID && g.Instance == n.Instance {
					reason = g.Reason
				}
			}
			if n.Joined || n.Quorate {
				s.logNode(0, n.ID, LevelInfo, "State change: %s DOWN", n.Name)
			}
			n.Member, n.Joined, n.Quorate, n.Leaving, n.Safe = false, false, false, false, false
			n.GoneRing, n.Gone = m.ring, reason
			if reason == cluster.Failed {
				s.doubt(n)
			}
			downs = append(downs, n)
		}
	}
	if n := s.node(s.from.Node); n != nil && n.Member && n.Instance == s.from.Instance && n.Quorate != m.quorate {
		n.Quorate = m.quorate
		if !m.quorate {
			// It stops what it runs and joins again when it may.
			n.Joined = false
			if !slices.ContainsFunc(s.nodes, func(o *node) bool { return o.Member && o.Quorate }) {
				s.doubtGone(s.ring)
			}
		}
	}
	for _, n := range downs {
		s.cause = fmt.Sprintf("node %s %s", n.Name, goneText(n.Gone))
		for _, r := range s.ordered() {
			if r.Owner == n.ID && r.Asker.Node != 0 {
				s.log(r.Asker.Node, LevelErr, r, "#XX: Cancelling relocation: Target node down")
				s.answer(r, Fail)
			}
			if r.Owner == n.ID && s.ownerLost(r) {
				s.decide(Decision{Service: r.Name, From: r.State, To: r.State, Node: 0, Why: "waits until " + n.Name + " is known to be off"})
			}
		}
		s.evaluate(n.ID, false)
	}
	s.lookGone()
}

// doubt: a node failed. Its part of the cluster may be quorate in its own eyes,
// and start what is not started; what is owned here it will not.
func (s *state) doubt(n *node) {
	n.Known = false
	for _, r := range s.records {
		r.Known = r.Known && r.Owner != 0
	}
}

// witnessed: another member than the one that was paused has worked with this
// state all the time. If not, others may have gone on with another one and be
// gone with it.
func (s *state) witnessed(view cluster.View) bool {
	return slices.ContainsFunc(s.nodes, func(o *node) bool {
		return o.ID != s.from.Node && o.alive() && view.Has(cluster.Member{Node: o.ID, Instance: o.Instance})
	})
}

// doubtGone: nobody here is quorate any more, or was there for a while, so another
// part of the cluster may be quorate, or have been, with nodes that were off when
// they were last heard of. What is said of them counts again as of a ring.
func (s *state) doubtGone(ring uint64) {
	for _, n := range s.nodes {
		if !n.Member {
			n.Known, n.Safe, n.GoneRing = false, false, max(n.GoneRing, ring)
		}
	}
	for _, r := range s.records {
		r.Known = r.Known && r.Owner != 0
	}
}

func goneText(r cluster.Reason) string {
	switch r {
	case cluster.Left:
		return "left in order"
	case cluster.Died:
		return "lost its rgmanager"
	}
	return "failed"
}

// applyJoin makes a member ready. It says what it runs; all else that it owned
// it does not run.
func (s *state) applyJoin(m joinMsg) {
	n := s.node(s.from.Node)
	if n == nil || !n.Member || n.Joined && m.life <= n.Life || n.Instance != s.from.Instance || !n.Quorate {
		return
	}
	n.Joined, n.Known, n.Leaving, n.Safe = true, true, m.leaving, true
	n.Config, n.Sum, n.Life = m.config, m.sum, m.life
	s.cause = "node " + n.Name + " joined"
	for _, o := range s.nodes {
		if o.ID == n.ID {
			s.log(o.ID, LevelInfo, nil, "State change: Local UP")
		} else if o.alive() {
			s.logNode(o.ID, n.ID, LevelInfo, "State change: %s UP", n.Name)
		}
	}
	for _, r := range s.ordered() {
		runs, failed := slices.Contains(m.running, r.Name), slices.Contains(m.failed, r.Name)
		switch {
		case r.Owner == n.ID && failed:
			s.markFailed(r, Fail)
		case r.Owner == n.ID && runs && r.Task != taskStop:
			was := r.State
			r.Instance, r.Known = n.Instance, true
			s.endTask(r)
			s.set(r, func() { r.State, r.Flags = Started, withPartial(r.Flags, slices.Contains(m.partial, r.Name)) })
			s.decide(Decision{Service: r.Name, From: was, To: Started, Node: n.ID, Why: "was left running and is adopted"})
		case r.Owner == n.ID && runs:
			r.Instance = n.Instance
			s.give(r, taskStop)
		case r.Owner == n.ID:
			s.ownerStopped(r, "does not run on "+n.Name+" any more")
		case r.Owner == 0 && !r.Known && r.State != Failed && runs:
			was := r.State
			s.endTask(r)
			r.Instance, r.Known = n.Instance, true
			s.set(r, func() {
				r.State, r.Owner, r.Flags = Started, n.ID, withPartial(r.Flags, slices.Contains(m.partial, r.Name))
			})
			s.decide(Decision{Service: r.Name, From: was, To: Started, Node: n.ID, Why: "was left running and is adopted"})
		case r.Owner == 0 && !r.Known && r.State != Failed && failed:
			r.LastOwner, r.Known = n.ID, true
			s.markFailed(r, Fail)
		}
	}
	s.evaluate(n.ID, true)
}

func withPartial(f Flags, partial bool) Flags {
	if partial {
		return f | Partial
	}
	return f &^ Partial
}

// endTask forgets what the owner had to do, and what should have followed.
func (s *state) endTask(r *record) {
	s.endLook(r)
	s.answer(r, Again)
	r.endWalk()
}

// ownerStopped: the owner does not run it any more, without having said so by
// a stop: it is off, or has joined anew.
func (s *state) ownerStopped(r *record, why string) {
	n := s.node(r.Owner)
	s.log(s.lowest(), LevelDebug, r, "Marking %s on down member %d as stopped", r.Name, r.Owner)
	was, follow, target := r.State, r.Then, r.Target
	removed, migrating := r.Removed, r.Task == taskMigrate
	stopping := r.Task == taskStop
	s.endTask(r)
	s.set(r, func() { r.LastOwner, r.Owner, r.State = r.Owner, 0, Stopped; r.Flags &^= Partial })
	// Others that failed with the owner may have taken it over from it before
	// anybody here could know.
	r.Instance, r.Known = 0, len(s.unknownNodes()) == 0
	s.decide(Decision{Service: r.Name, From: was, To: Stopped, Why: why})
	switch {
	case removed:
		s.drop(r)
	case stopping && follow == thenDisabled:
		s.set(r, func() { r.State = Disabled })
	case migrating && target != n.ID:
		// The guest may be there already; its agent finds out.
		t := s.node(target)
		r.Known = true
		if t.alive() {
			s.startOn(r, target, "the migration from "+n.Name+" may have been completed")
			return
		}
		s.set(r, func() { r.State, r.Owner = Started, target })
		s.decide(Decision{Service: r.Name, From: Stopped, To: Started, Node: target, Why: "the migration from " + n.Name + " may have been completed"})
	}
}

// applyConfig takes over a newer configuration.
func (s *state) applyConfig(p *policy) {
	if p.Version < s.policy.Version || p.Version == s.policy.Version && len(s.policy.Nodes) > 0 {
		return
	}
	s.setPolicy(p)
	s.cause = fmt.Sprintf("configuration %d", p.Version)
	for _, x := range p.Nodes {
		s.ensureNode(x.ID).Name = x.Name
	}
	for _, n := range s.nodes {
		// A node that nobody has seen yet went, if at all, before this ring.
		if !n.Member && n.GoneRing == 0 {
			n.GoneRing, n.Gone = s.ring, cluster.Failed
		}
	}
	for i := range p.Services {
		name := p.Services[i].Name
		r := s.records[name]
		if r == nil {
			r = &record{Service: Service{Name: name, State: Stopped}}
			s.records[name] = r
			s.order = nil
			s.changes = append(s.changes, Changed{New: r.Service})
		}
		r.Removed = false
	}
	for _, r := range s.ordered() {
		if _, ok := s.index[r.Name]; !ok {
			r.Removed = true
		}
	}
}

// applyHave: a member has the configuration.
func (s *state) applyHave(m haveMsg) {
	n := s.node(s.from.Node)
	if !n.alive() || n.Instance != s.from.Instance {
		return
	}
	n.Config, n.Sum = m.config, m.sum
	if s.usable(n) {
		s.cause = fmt.Sprintf("configuration %d on %s", m.config, n.Name)
		s.evaluate(n.ID, true)
	}
}

// applySafe: a node that is gone is off.
func (s *state) applySafe(m safeMsg) {
	n := s.node(m.node)
	if n == nil || n.Member || n.Safe || m.ring < n.GoneRing || m.left && !s.leftIsEnough(n) {
		return
	}
	n.Safe, n.Known = true, true
	s.cause = "node " + n.Name + " is off"
	if m.left {
		s.cause = "node " + n.Name + " left in order"
	}
	for _, r := range s.ordered() {
		switch {
		case r.Owner == n.ID:
			s.ownerStopped(r, s.cause)
		case r.State == Failed && r.FailedOn == n.ID && !m.left:
			s.log(s.lowest(), LevelNotice, r, "Service %s is stopped: %s, where it could not be stopped, is off", r.Name, n.Name)
			r.FailedOn = 0
			s.set(r, func() { r.State = Stopped })
			s.decide(Decision{Service: r.Name, From: Failed, To: Stopped, Why: s.cause})
		case r.State == Disabled && r.FailedOn == n.ID && !m.left:
			r.FailedOn = 0
		}
	}
	s.lookGone()
	s.evaluate(n.ID, false)
}

// leftIsEnough: having left the fence domain in order says that a node runs
// nothing, but not if this state knows of services there: its rgmanager ended
// without stopping them.
func (s *state) leftIsEnough(n *node) bool {
	for _, r := range s.records {
		if r.Owner == n.ID {
			return false
		}
	}
	return true
}

// applyAssume: a member of the cluster whose rgmanager is not there runs nothing
// from before.
func (s *state) applyAssume(id cluster.NodeID) {
	if n := s.node(id); n != nil && !n.Known && !n.Member {
		s.assume(id, "rgmanager does not run on "+n.Name)
	}
}

func (s *state) assume(id cluster.NodeID, cause string) {
	s.node(id).Known = true
	s.cause = cause
	s.evaluate(id, false)
}

func (s *state) applyLeaving() {
	n := s.node(s.from.Node)
	if !n.alive() || n.Instance != s.from.Instance || n.Leaving {
		return
	}
	n.Leaving = true
	s.cause = "node " + n.Name + " leaves"
	for _, o := range s.nodes {
		if o.alive() && o.ID != n.ID {
			s.logNode(o.ID, n.ID, LevelNotice, "Member %d shutting down", n.ID)
		}
	}
}

func (s *state) applyRetry() {
	s.cause = "retry"
	for _, r := range s.ordered() {
		if r.RetryAt != 0 && r.RetryAt <= s.now && r.State == Stopped && r.Task == noTask {
			r.RetryAt = 0
			s.consider(r)
		}
	}
}

// applyService takes what the owner of a service has to say of it.
func (s *state) applyService(cmd command, m doneMsg) {
	r := s.records[m.service]
	if r == nil || r.Owner != s.from.Node || r.Instance != s.from.Instance || r.Epoch != m.epoch {
		return // of what is over
	}
	switch cmd {
	case cmdDone:
		t := r.Task
		s.cause, r.Task, r.Cause = r.Cause, noTask, ""
		switch t {
		case taskStart:
			s.startDone(r, m.ok)
		case taskStop:
			s.stopDone(r, m.ok)
		case taskMigrate:
			s.migrateDone(r, m.ok, int(m.code))
		case taskConvalesce:
			if m.ok {
				s.set(r, func() { r.Flags &^= Partial })
				s.answer(r, OK)
			} else {
				s.answer(r, Fail)
			}
		}
	case cmdFail:
		if r.State == Started && r.Task == noTask && r.Flags&Frozen == 0 {
			s.cause = "status check of " + r.Name + " failed"
			if !s.look(r, 0) {
				s.stop(r, thenRecover, Error)
			}
		}
	case cmdPartial:
		if r.State == Started {
			s.set(r, func() { r.Flags |= Partial })
		}
	case cmdChanged:
		if r.State == Started && r.Task == noTask {
			s.cause = "its configuration changed"
			s.stop(r, thenEvaluate, Stopping)
		}
	}
}
