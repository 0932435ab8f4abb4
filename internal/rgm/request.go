package rgm

import (
	"fmt"
	"strings"

	"github.com/haobox/haobox/internal/cluster"
)

// request does what a person asks, or puts it behind what is being done.
func (s *state) request(q queued) {
	done := func(res Result) {
		var owner cluster.NodeID
		if r := s.records[q.Service]; r != nil {
			owner = r.Owner
		}
		s.replies = append(s.replies, reply{q.From, q.id, res, owner})
	}
	switch q.Kind {
	case Lock, Unlock:
		if s.locked != (q.Kind == Lock) {
			s.locked = q.Kind == Lock
			word := "Unlocked"
			if s.locked {
				word = "Locked"
			}
			s.log(0, LevelNotice, nil, "Resource Groups %s", word)
			if !s.locked {
				s.evaluate(0, true)
			}
		}
		done(OK)
		return
	case AssumeIdleRequest:
		if n := s.node(q.Target); n == nil || n.Member || n.Known {
			done(Invalid)
			return
		}
		who := q.Service
		if who == "" {
			who = "somebody"
		}
		s.log(0, LevelWarning, nil, "%s on %s says that %s runs no services", who, s.nodeName(q.From.Node), s.nodeName(q.Target))
		s.assume(q.Target, who+" says that "+s.nodeName(q.Target)+" runs no services")
		done(OK)
		return
	case QueryLock:
		if s.locked {
			done(Yes)
		} else {
			done(No)
		}
		return
	}
	r := s.records[q.Service]
	switch {
	case r == nil || r.Removed:
		done(NoService)
		return
	case s.behind:
		done(Again)
		return
	case s.ownerLost(r):
		done(FencePending)
		return
	case r.Task != noTask:
		start := q.Kind == Enable || q.Kind == StartRequest || q.Kind == Relocate
		switch {
		case r.Kind == Relocate && start:
			done(Deadlock)
		case len(r.Queue) >= maxQueue:
			done(Again)
		default:
			r.Queue = append(r.Queue, q)
		}
		return
	}
	if res, over := s.serve(r, q); over {
		done(res)
	}
}

// wait makes the request wait for the outcome of what it began.
func (r *record) wait(q queued) { r.Asker, r.Ask, r.Kind = q.From, q.id, q.Kind }

// serve begins a request on a service that is not busy. over says that the
// result is known already; the history has it if nothing was done.
func (s *state) serve(r *record, q queued) (res Result, over bool) {
	asked := s.nextDec + 1
	s.decide(Decision{Service: r.Name, From: r.State, Why: "asked to " + strings.TrimPrefix(q.Kind.word(), "user ") + s.where(q.Request)})
	if res, over = s.begin(r, q); over && res != OK {
		s.amend(asked, ": "+res.String())
	}
	return res, over
}

// cause is a request as the cause of what follows. Those of the table of events
// come from no node.
func (q queued) cause() string {
	if q.From.Node == 0 {
		return "request " + q.Kind.word()
	}
	return fmt.Sprintf("request %s from node %d", q.Kind.word(), q.From.Node)
}

// where says for which node something is asked, if for any.
func (s *state) where(q Request) string {
	switch {
	case q.Target == 0:
		return ""
	case q.Kind == Relocate || q.Kind == Migrate:
		return " to " + s.nodeName(q.Target)
	}
	return " on " + s.nodeName(q.Target)
}

func (s *state) begin(r *record, q queued) (res Result, over bool) {
	frozen := r.Flags&Frozen != 0
	switch q.Kind {
	case Freeze, Unfreeze:
		switch r.State {
		case Stopped, Started, Disabled:
		default:
			return Again, true
		}
		s.set(r, func() {
			if q.Kind == Freeze {
				r.Flags |= Frozen
			} else {
				r.Flags &^= Frozen
			}
		})
		if q.Kind == Unfreeze && r.State == Stopped {
			s.consider(r)
		}
		return OK, true
	case Enable, StartRequest:
		return s.serveEnable(r, q)
	}
	if frozen {
		return IsFrozen, true
	}
	switch q.Kind {
	case Disable, UserStop:
		return s.serveStop(r, q)
	case Restart:
		switch r.State {
		case Started:
			// Differs from rgmanager, whose lock holds back the start alone: it
			// stops the service, answers the same, and leaves it stopped
			// (clusvcadm(8), docs/adr/0013).
			if s.locked {
				return Again, true
			}
			r.endWalk()
			r.wait(q)
			s.stop(r, thenRestart, Stopping)
			return 0, false
		case Stopped, Recover, Error:
			q.Kind = Enable
			return s.serveEnable(r, q)
		}
		return Fail, true
	case Relocate:
		return s.serveRelocate(r, q)
	case Migrate:
		return s.serveMigrate(r, q)
	case Convalesce:
		switch {
		case r.State != Started && (r.State == Starting || r.State == Stopping || r.State == Recover || r.State == Migrating || r.State == Error):
			return Again, true
		case r.State != Started:
			return Invalid, true
		case r.Flags&Partial == 0:
			return Running, true
		}
		r.wait(q)
		s.give(r, taskConvalesce)
		return 0, false
	}
	return Invalid, true
}

func (s *state) serveEnable(r *record, q queued) (Result, bool) {
	switch {
	case r.Flags&Frozen != 0:
		return IsFrozen, true
	case r.State == Failed:
		s.log(q.From.Node, LevelErr, r, "#43: Service %s has failed; can not start.", r.Name)
		return Fail, true
	case r.State == Migrating || r.State.Running() || r.State == Stopping || r.State == Checking:
		return Running, true
	case r.State == Disabled && q.Kind == StartRequest:
		return Fail, true
	case s.locked:
		return Again, true
	case !r.Known && len(s.unknownNodes()) > 0:
		return FencePending, true
	case !s.canDepend(r):
		return Depend, true
	}
	r.endWalk()
	target := q.Target
	if target == 0 && !q.Best {
		target = q.From.Node
	}
	best, all := s.candidates(r, nil)
	if target != 0 && target != best {
		switch s.may(r, target) {
		case Fits:
			best = target
		case NotInDomain:
			return Fail, true
		case NotMember, NotQuorate, NodeLeaving:
			if q.Target != 0 {
				return NoNode, true
			}
		}
	}
	if best == 0 && s.policy.Central && s.pol(r).Exclusive > 0 && s.displace(r) {
		s.set(r, func() { r.State = Stopped })
		r.wait(q)
		return 0, false
	}
	if best == 0 {
		for _, c := range all {
			if c.Verdict == ExclusiveThere || c.Verdict == NotEmpty {
				return NotExclusive, true
			}
		}
		return NotRunnable, true
	}
	r.wait(q)
	s.start(r, best, "enable was asked for", all)
	return 0, false
}

func (s *state) serveStop(r *record, q queued) (Result, bool) {
	next := thenStopped
	if q.Kind == Disable {
		next = thenDisabled
	}
	switch r.State {
	case Stopped, Recover, Error:
		r.RetryAt = 0
		if next == thenStopped {
			s.set(r, func() { r.State = Stopped })
			return OK, true
		}
		s.set(r, func() { r.State = Disabled })
		s.log(q.From.Node, LevelNotice, r, "Service %s is disabled", r.Name)
		return OK, true
	case Disabled, Uninitialized:
		if next == thenDisabled {
			s.log(q.From.Node, LevelNotice, r, "Disabling disabled service %s", r.Name)
		}
		if next != thenDisabled || r.FailedOn == 0 {
			return OK, true
		}
		// Its stop failed, and is tried once more.
	case Failed:
		if next != thenDisabled {
			return Fail, true
		}
		s.log(q.From.Node, LevelDebug, r, "Stopping failed service %s", r.Name)
	}
	if r.State == Failed || r.State == Disabled {
		on := s.node(r.FailedOn)
		r.endWalk()
		r.WasFailed = true
		r.wait(q)
		if !on.alive() {
			// Nobody can be asked to stop it: the person takes it on himself.
			s.set(r, func() { r.Owner = r.FailedOn })
			s.stopDoneFailed(r)
			return 0, false
		}
		s.set(r, func() { r.Owner = on.ID })
		r.Instance = on.Instance
		s.stop(r, thenDisabled, Stopping)
		return 0, false
	}
	r.endWalk()
	r.wait(q)
	s.stop(r, next, Stopping)
	return 0, false
}

func (s *state) stopDoneFailed(r *record) {
	r.Then = thenDisabled
	s.stopDone(r, false)
}

func (s *state) serveRelocate(r *record, q queued) (Result, bool) {
	switch {
	case r.State == Disabled || r.State == Uninitialized:
		return Invalid, true
	case r.State == Failed:
		return Fail, true
	case s.locked:
		return Again, true
	case r.State != Started:
		q.Kind, q.Best = Enable, q.Target == 0
		return s.serveEnable(r, q)
	case q.Target == r.Owner:
		// Where it is to be, it is: a stop would only cost an outage.
		return OK, true
	}
	target := q.Target
	if target != 0 {
		switch s.may(r, target) {
		case ExclusiveThere, NotEmpty:
			return Depend, true
		case Fits:
		default:
			target = 0
		}
	}
	r.endWalk()
	r.wait(q)
	r.Target, r.Origin = target, r.Owner
	s.stop(r, thenRelocate, Stopping)
	return 0, false
}

func (s *state) serveMigrate(r *record, q queued) (Result, bool) {
	n := s.node(q.Target)
	switch {
	case !s.pol(r).Migratory || n == nil:
		return Invalid, true
	case !s.usable(n):
		return NoNode, true
	case r.Owner == n.ID && r.State == Started:
		return OK, true
	case r.State != Started:
		switch r.State {
		case Starting, Stopping, Migrating, Recover, Error:
			return Again, true
		}
		return Fail, true
	case s.may(r, n.ID) != Fits:
		return Depend, true
	}
	s.migrate(r, n.ID)
	r.wait(q)
	return 0, false
}

// started considers what depends on a service that came up.
func (s *state) started(r *record) {
	s.cause = r.Name + " started"
	for _, o := range s.ordered() {
		if s.pol(o).Depend == r.Name && o.State == Stopped {
			s.consider(o)
		}
	}
}

// settle does what follows from the state by itself, until nothing does.
func (s *state) settle() {
	for range len(s.records) + 2 {
		again := false
		var triggered []Changed
		if s.policy.Central {
			triggered, s.fresh = s.changes[min(s.fresh, len(s.changes)):], len(s.changes)
		}
		for _, c := range triggered {
			if c.Old.State != c.New.State {
				again = s.serviceEvent(c.New) || again
			}
		}
		if s.policy.Central {
			again = s.fresh < len(s.changes) || again
		}
		for _, r := range s.ordered() {
			if s.follow(r) {
				again = true
			}
		}
		if !again {
			return
		}
	}
}

// follow does for one service what follows by itself; false for nothing.
func (s *state) follow(r *record) bool {
	if r.Task != noTask || s.ownerLost(r) {
		return false
	}
	p := s.pol(r)
	running := r.State == Started
	switch owner := s.node(r.Owner); {
	case r.Removed && !running && r.State != Failed:
		s.drop(r)
		return true
	case r.Removed && running:
		s.cause = "it was removed from the configuration"
		r.Flags &^= Frozen
		s.stop(r, thenRemove, Stopping)
		return true
	case running && owner.Leaving && r.Flags&Frozen == 0:
		s.cause = "node " + owner.Name + " leaves"
		s.stop(r, thenEvaluate, Stopping)
		return true
	case running && r.Flags&Frozen == 0 && !s.dependOK(r) && !(s.policy.Central && p.DependSoft):
		s.log(r.Owner, LevelWarning, r, "Stopping service %s: Dependency missing", r.Name)
		s.cause = "needs " + p.Depend + ", which is not started"
		s.decide(Decision{Service: r.Name, From: r.State, To: Stopping, Why: s.cause})
		s.stop(r, thenEvaluate, Stopping)
		return true
	}
	if len(r.Queue) > 0 {
		q := r.Queue[0]
		r.Queue = r.Queue[1:]
		s.cause = q.cause()
		if res, over := s.serve(r, q); over {
			s.replies = append(s.replies, reply{q.From, q.id, res, r.Owner})
		}
		return true
	}
	return false
}
