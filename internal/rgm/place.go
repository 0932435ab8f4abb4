package rgm

import (
	"fmt"
	"slices"

	"github.com/haobox/haobox/internal/cluster"
)

// Verdict says why a node was or was not taken for a service.
type Verdict uint8

// The verdicts.
const (
	Fits Verdict = iota
	NotMember
	NotQuorate
	NodeLeaving
	OtherConfig
	NotInDomain
	ExclusiveThere
	NotEmpty
	TriedBefore
	LowerPriority
	BusierNode
)

// String returns the verdict as a phrase.
func (v Verdict) String() string {
	texts := [...]string{"chosen", "rgmanager is not running there", "no quorum there", "is shutting down",
		"has another configuration", "not in the restricted failover domain", "runs an exclusive service",
		"runs services, and this one is exclusive", "was tried already", "is less preferred by the failover domain",
		"equally preferred, but runs more or has the lower number"}
	if int(v) < len(texts) {
		return texts[v]
	}
	return "?"
}

// Candidate is a node that was looked at for a service.
type Candidate struct {
	Node cluster.NodeID `json:"node"`
	// Score: 0 illegal, 1 good, 2 better, 3 best (rgmanager's failover domain
	// scores); 2 more for an empty node and an exclusive service.
	Score   int     `json:"score"`
	Running int     `json:"running"`
	Verdict Verdict `json:"verdict"`
}

// score is how well a failover domain likes a node for a service, among the
// nodes that are there.
func (s *state) score(r *record, id cluster.NodeID, online []cluster.NodeID) int {
	p := s.pol(r)
	if !slices.Contains(online, id) {
		return 0
	}
	if p.Domain == "" {
		return 3
	}
	d := s.policy.domain(p.Domain)
	if d == nil {
		return 3
	}
	best, any := 100, false
	for _, n := range online {
		if prio, in := d.priority(n); in {
			best, any = min(best, prio), true
		}
	}
	own, in := d.priority(id)
	owned := d.NoFailback && r.State.Running() && r.Owner != 0 && slices.Contains(online, r.Owner)
	switch {
	case !in && d.Restricted:
		return 0
	case !any:
		return 3
	case !in:
		return 1
	case own > best:
		if d.Ordered && !(owned && r.Owner == id) {
			return 2
		}
		return 3
	}
	if owned && r.Owner != id {
		return 2
	}
	return 3
}

// load counts what runs on each node: services that are started or starting,
// and those of them that are exclusive.
type load struct{ running, exclusive map[cluster.NodeID]int }

// loads counts all services but one.
func (s *state) loads() load {
	l := load{map[cluster.NodeID]int{}, map[cluster.NodeID]int{}}
	for _, r := range s.records {
		if r.Owner != 0 && r.State != Failed {
			l.running[r.Owner]++
			if s.pol(r).Exclusive > 0 {
				l.exclusive[r.Owner]++
			}
		}
	}
	return l
}

func (s *state) usableNodes() (out []cluster.NodeID) {
	for _, n := range s.nodes {
		if s.usable(n) {
			out = append(out, n.ID)
		}
	}
	return out
}

// candidates looks at all nodes for a service, in the order of their ids, and
// returns the one to take, 0 for none. The best score wins, then the node that
// runs less, then the higher number. l may be nil.
func (s *state) candidates(r *record, l *load) (best cluster.NodeID, all []Candidate) {
	if l == nil {
		x := s.loads()
		l = &x
	}
	online := s.usableNodes()
	exclusive := s.pol(r).Exclusive > 0
	all = make([]Candidate, 0, len(s.nodes))
	at := -1
	for _, n := range s.nodes {
		running, excl := l.running[n.ID], l.exclusive[n.ID]
		if r.Owner == n.ID && r.State != Failed {
			running--
			if exclusive {
				excl--
			}
		}
		c := Candidate{Node: n.ID, Running: running}
		switch {
		case !n.Member || !n.Joined && n.Quorate:
			c.Verdict = NotMember
		case !n.Quorate:
			c.Verdict = NotQuorate
		case n.Leaving:
			c.Verdict = NodeLeaving
		case !s.usable(n):
			c.Verdict = OtherConfig
		case slices.Contains(r.Tried, n.ID):
			c.Verdict = TriedBefore
		default:
			if c.Score = s.score(r, n.ID, online); c.Score == 0 {
				c.Verdict = NotInDomain
				break
			}
			if excl > 0 {
				c.Verdict, c.Score = ExclusiveThere, 0
				break
			}
			if exclusive {
				if running > 0 {
					c.Verdict, c.Score = NotEmpty, 0
					break
				}
				c.Score += 2
			}
			c.Verdict = Fits
			if at >= 0 && (all[at].Score > c.Score || all[at].Score == c.Score && all[at].Running < running) {
				break
			}
			at = len(all)
		}
		all = append(all, c)
	}
	if at < 0 {
		return 0, all
	}
	for i := range all {
		if all[i].Verdict != Fits || i == at {
			continue
		}
		all[i].Verdict = LowerPriority
		if all[i].Score == all[at].Score {
			all[i].Verdict = BusierNode
		}
	}
	return all[at].Node, all
}

// may reports whether a node may be given a service, and if not why.
func (s *state) may(r *record, id cluster.NodeID) Verdict {
	_, all := s.candidates(r, nil)
	for _, c := range all {
		if c.Node == id {
			if c.Score > 0 {
				return Fits
			}
			return c.Verdict
		}
	}
	return NotMember
}

// dependOK reports whether what a service needs is there.
func (s *state) dependOK(r *record) bool {
	dep := s.pol(r).Depend
	if dep == "" {
		return true
	}
	d := s.records[dep]
	return d == nil || d.State == Started
}

// canDepend is dependOK for a start: what ran on a node that is gone counts no
// more.
func (s *state) canDepend(r *record) bool {
	d := s.records[s.pol(r).Depend]
	return s.dependOK(r) && (d == nil || !s.ownerLost(d))
}

// evaluate looks at all services after a node came (up), went, or became safe.
func (s *state) evaluate(id cluster.NodeID, up bool) {
	if s.locked || len(s.usableNodes()) == 0 {
		return
	}
	if s.policy.Central && s.fire(trigger{Class: classNode, NodeID: int(id), NodeState: number(up)}) {
		return
	}
	l := s.loads()
	for _, r := range s.ordered() {
		if r.Task != noTask || r.Flags&Frozen != 0 {
			continue
		}
		switch {
		case r.State == Stopped:
			s.considerWith(r, &l)
		case up && r.State == Started && r.Owner != id && !s.ownerLost(r) && s.usable(s.node(id)):
			s.considerBetter(r, id)
		}
	}
}

func number(b bool) int {
	if b {
		return 1
	}
	return 0
}

// consider starts a stopped service if it may and can.
func (s *state) consider(r *record) {
	l := s.loads()
	s.considerWith(r, &l)
}

func (s *state) considerWith(r *record, l *load) {
	p := s.pol(r)
	if r.State != Stopped || r.Task != noTask || r.Flags&Frozen != 0 || r.Removed || s.locked {
		return
	}
	if r.Transition == 0 && !p.Autostart && !r.Known {
		s.set(r, func() { r.State = Disabled })
		s.decide(Decision{Service: r.Name, From: Stopped, To: Disabled, Why: "autostart is off"})
		return
	}
	if blocked := s.unknownNodes(); !r.Known && len(blocked) > 0 {
		s.decide(Decision{Service: r.Name, From: Stopped, To: Stopped,
			Why: "it is not known whether it runs on " + s.names(blocked) + ", which is not there and not known to be off"})
		return
	}
	if !s.canDepend(r) {
		s.log(s.lowest(), LevelDebug, r, "Skipping RG %s: Dependency missing", r.Name)
		s.decide(Decision{Service: r.Name, From: Stopped, To: Stopped, Why: "needs " + p.Depend + ", which is not started"})
		return
	}
	best, all := s.candidates(r, l)
	if best == 0 && s.policy.Central && p.Exclusive > 0 && s.displace(r) {
		return
	}
	if best == 0 {
		if slices.ContainsFunc(all, func(c Candidate) bool { return c.Verdict == ExclusiveThere || c.Verdict == NotEmpty }) {
			r.RetryAt = s.now + int64(RetryAfter.Seconds())
		}
		s.decide(Decision{Service: r.Name, From: Stopped, To: Stopped, Why: "no node may run it", Candidates: all})
		if !r.Claims {
			s.answer(r, NotExclusive)
		}
		return
	}
	why := "best node of its failover domain"
	if p.Domain == "" {
		why = "best node, it has no failover domain"
	}
	s.start(r, best, why, all)
	l.running[best]++
	if p.Exclusive > 0 {
		l.exclusive[best]++
	}
}

func (s *state) names(ids []cluster.NodeID) string {
	out := ""
	for i, id := range ids {
		if i > 0 {
			out += ", "
		}
		out += s.nodeName(id)
	}
	return out
}

// considerBetter moves a service to a node that came and is liked better.
func (s *state) considerBetter(r *record, id cluster.NodeID) {
	// A node that has not got a new configuration yet is there all the same.
	var online []cluster.NodeID
	for _, n := range s.nodes {
		if n.alive() && n.Quorate && !n.Leaving {
			online = append(online, n.ID)
		}
	}
	mine, theirs := s.score(r, r.Owner, online), s.score(r, id, online)
	if theirs <= mine || s.may(r, id) != Fits {
		return
	}
	word := "Relocating"
	migrate := s.pol(r).Migratory
	if migrate {
		word = "Migrating"
	}
	s.log(r.Owner, LevelNotice, r, "%s %s to better node %s", word, r.Name, s.nodeName(id))
	_, all := s.candidates(r, nil)
	s.decide(Decision{Service: r.Name, From: r.State, To: Stopping, Node: id, Why: "its failover domain likes " + s.nodeName(id) + " better", Candidates: all})
	if migrate {
		s.migrate(r, id)
		return
	}
	r.endWalk()
	r.Target, r.Origin = id, r.Owner
	s.stop(r, thenRelocate, Stopping)
}

// start gives a service to a node, as a decision of its own.
func (s *state) start(r *record, id cluster.NodeID, why string, all []Candidate) {
	if s.look(r, id) {
		return
	}
	was := r.State
	s.decide(Decision{Service: r.Name, From: was, To: Starting, Node: id, Why: why, Candidates: all})
	text := "Starting stopped service %s"
	switch was {
	case Recover:
		text = "Recovering failed service %s"
	case Disabled, Uninitialized:
		text = "Starting disabled service %s"
	}
	s.log(id, LevelNotice, r, text, r.Name)
	restarts := uint32(0)
	if was == Recover {
		restarts = r.Restarts + 1
	}
	s.set(r, func() { r.State, r.Owner, r.Restarts = Starting, id, restarts })
	r.Instance, r.RetryAt, r.FailedOn = s.node(id).Instance, 0, 0
	s.give(r, taskStart)
}

func (s *state) startOn(r *record, id cluster.NodeID, why string) {
	_, all := s.candidates(r, nil)
	s.start(r, id, why, all)
}

// stop makes the owner stop a service; state is Stopping, or Error as a part of
// a recovery.
func (s *state) stop(r *record, next then, state State) {
	s.log(r.Owner, LevelNotice, r, "Stopping service %s", r.Name)
	s.set(r, func() { r.State = state })
	r.Then = next
	s.give(r, taskStop)
}

func (s *state) startDone(r *record, ok bool) {
	if ok {
		home, asker := r.Home, r.Kind
		r.Known, r.RetryAt = true, 0
		s.serial++
		r.StartedAt = s.serial
		s.set(r, func() { r.State = Started })
		s.log(r.Owner, LevelNotice, r, "Service %s started", r.Name)
		if r.Origin != 0 && r.Origin != r.Owner {
			s.log(r.Origin, LevelNotice, r, "Service %s is now running on member %d", r.Name, r.Owner)
		}
		res := OK
		if home && asker != 0 {
			res = Restored
		}
		s.answer(r, res)
		r.endWalk()
		s.started(r)
		return
	}
	s.log(r.Owner, LevelWarning, r, "#68: Failed to start %s; return value: 1", r.Name)
	s.cause = "start of " + r.Name + " on " + s.nodeName(r.Owner) + " failed"
	r.Known = true
	r.Tried = append(r.Tried, r.Owner)
	s.stop(r, thenRelocate, Error)
}

// stopDone is what follows a stop.
func (s *state) stopDone(r *record, ok bool) {
	defer func() { r.Looked = false }()
	owner, recovering := r.Owner, r.State == Error
	if !ok {
		switch {
		case r.WasFailed:
			s.log(owner, LevelAlert, r, "Marking %s as 'disabled', but some resources may still be allocated!", r.Name)
			was := r.State
			s.set(r, func() { r.LastOwner, r.Owner, r.State = owner, 0, Disabled; r.Flags &^= Partial })
			s.decide(Decision{Service: r.Name, From: was, To: Disabled, Why: "asked for, though its stop failed again"})
			s.answer(r, Warning)
			r.endWalk()
		default:
			if len(r.Tried) > 0 {
				s.log(owner, LevelCrit, r, "#13: Service %s failed to stop cleanly", r.Name)
			} else {
				s.log(owner, LevelCrit, r, "#12: RG %s failed to stop; intervention required", r.Name)
			}
			res := Fail
			if r.Then == thenRelocate {
				res = Abort
			}
			s.markFailed(r, res)
		}
		return
	}
	end := Stopped
	switch {
	case r.Then == thenDisabled:
		end = Disabled
	case recovering:
		end = Recover
	}
	r.Known, r.Instance = true, 0
	if r.WasFailed {
		r.FailedOn = 0
	}
	s.set(r, func() { r.LastOwner, r.Owner, r.State = owner, 0, end; r.Flags &^= Partial })
	s.log(owner, LevelNotice, r, "Service %s is %s", r.Name, end)
	switch r.Then {
	case thenStopped, thenDisabled:
		if r.Then == thenDisabled {
			r.RestartTimes = nil
		}
		s.decide(Decision{Service: r.Name, From: Stopping, To: end, Why: "stopped on " + s.nodeName(owner)})
		s.answer(r, OK)
		r.endWalk()
	case thenEvaluate:
		r.endWalk()
		s.consider(r)
	case thenRemove:
		s.drop(r)
	case thenRestart:
		r.Then = thenRelocate
		if s.may(r, owner) == Fits && s.canDepend(r) {
			s.startOn(r, owner, "restart was asked for")
		} else {
			r.Tried = append(r.Tried, owner)
			s.walk(r)
		}
	case thenRelocate:
		if recovering && len(r.Tried) > 0 {
			s.log(owner, LevelWarning, r, "#71: Relocating failed service %s", r.Name)
		}
		s.walk(r)
	case thenRecover:
		if s.policy.Central && !r.Removed {
			// The table of events comes first.
			r.endWalk()
			final := s.fire(trigger{Class: classService, Service: r.Name, ServiceState: int(Recover)})
			if r.State != Recover || r.Task != noTask {
				return
			}
			if final {
				s.set(r, func() { r.State = Stopped })
				s.decide(Decision{Service: r.Name, From: Recover, To: Stopped, Why: "an event leaves the default policy out"})
				return
			}
		}
		s.recover(r, owner)
	}
}

// markFailed: it could not be stopped, and nobody may start it.
func (s *state) markFailed(r *record, res Result) {
	owner, was := r.Owner, r.State
	if owner == 0 {
		owner = r.LastOwner
	}
	r.Task = noTask
	s.set(r, func() { r.LastOwner, r.Owner, r.State = owner, 0, Failed; r.Flags &^= Partial })
	r.FailedOn, r.Known, r.Instance = owner, true, 0
	s.log(owner, LevelNotice, r, "Service %s is failed", r.Name)
	s.log(owner, LevelAlert, r, "#2: Service %s returned failure code.  Last Owner: %s", r.Name, s.nodeName(owner))
	s.log(owner, LevelAlert, r, "#4: Administrator intervention required.")
	s.decide(Decision{Service: r.Name, From: was, To: Failed, Why: "could not be stopped on " + s.nodeName(owner)})
	s.answer(r, res)
	r.endWalk()
}

// recover is what the recovery policy does with a service that failed on a node
// and was stopped there.
func (s *state) recover(r *record, owner cluster.NodeID) {
	p := s.pol(r)
	if r.Removed {
		s.drop(r)
		return
	}
	r.endWalk()
	policy, why := p.Recovery, "recovery policy "+p.Recovery.String()
	if policy == recoverRestart || policy == recoverRestartDisable {
		r.RestartTimes = slices.DeleteFunc(r.RestartTimes, func(t int64) bool {
			return p.RestartExpire > 0 && s.now-t >= int64(p.RestartExpire)
		})
		switch {
		case p.MaxRestarts == 0 || len(r.RestartTimes) < p.MaxRestarts:
		case policy == recoverRestartDisable:
			s.log(owner, LevelNotice, r, "Restart threshold for %s exceeded; disabling", r.Name)
			policy = recoverDisable
			why += fmt.Sprintf(", and max_restarts is %d", p.MaxRestarts)
		default:
			s.log(owner, LevelNotice, r, "Restart threshold for %s exceeded; attempting to relocate", r.Name)
			policy = recoverRelocate
		}
	}
	switch {
	case policy == recoverDisable:
		r.RestartTimes = nil
		s.set(r, func() { r.State = Disabled })
		s.log(owner, LevelNotice, r, "Service %s is disabled", r.Name)
		s.decide(Decision{Service: r.Name, From: Recover, To: Disabled, Why: why})
		s.answer(r, OK)
	case !s.canDepend(r):
		s.log(owner, LevelInfo, r, "Dependency for %s missing during recovery; marking as stopped", r.Name)
		s.set(r, func() { r.State = Stopped })
		s.decide(Decision{Service: r.Name, From: Recover, To: Stopped, Why: "needs " + p.Depend + ", which is not started"})
		s.answer(r, Depend)
	case policy == recoverRelocate:
		r.RestartTimes = nil
		r.Tried = []cluster.NodeID{owner}
		if s.policy.Central {
			r.Tried, r.Origin = nil, owner // the last owner comes last
		}
		s.walk(r)
	default:
		if p.MaxRestarts > 0 {
			r.RestartTimes = append(r.RestartTimes, s.now)
		}
		if v := s.may(r, owner); v != Fits {
			r.Tried = []cluster.NodeID{owner}
			s.walk(r)
			return
		}
		r.Then = thenRelocate
		s.startOn(r, owner, why)
	}
}

// walk starts a service on the next node that is left: the preferred one, then
// the best. When none is left a relocation goes back to where it began.
func (s *state) walk(r *record) {
	p := s.pol(r)
	r.Then = thenRelocate
	switch {
	case r.Removed:
		s.drop(r)
		return
	case s.locked:
		s.exhausted(r, Again, "services are locked", nil)
		return
	case !s.canDepend(r):
		s.exhausted(r, Depend, "needs "+p.Depend+", which is not started", nil)
		return
	}
	if r.Origin != 0 && !slices.Contains(r.Tried, r.Origin) && !r.Home {
		// Not back to where it comes from, while there are others.
		r.Tried = append(r.Tried, r.Origin)
	}
	best, all := s.candidates(r, nil)
	if t := r.Target; t != 0 && !slices.Contains(r.Tried, t) && s.may(r, t) == Fits {
		best = t
	}
	if best != 0 {
		s.start(r, best, "next node", all)
		return
	}
	if o := r.Origin; o != 0 && !r.Home {
		r.Home = true
		r.Tried = remove(r.Tried, o)
		if s.may(r, o) == Fits {
			s.log(o, LevelWarning, r, "#70: Failed to relocate %s; restarting locally", r.Name)
			s.startOn(r, o, "nobody else could start it")
			return
		}
	}
	res := Fail
	if !slices.ContainsFunc(all, func(c Candidate) bool { return c.Verdict != ExclusiveThere && c.Verdict != NotEmpty }) {
		res = NotExclusive
	}
	s.exhausted(r, res, "no node could start it", all)
}

// exhausted ends a walk without success: it stays stopped, and is tried again
// when something changes or after RetryAfter.
func (s *state) exhausted(r *record, res Result, why string, all []Candidate) {
	was := r.State
	s.set(r, func() { r.State = Stopped })
	r.RetryAt = s.now + int64(RetryAfter.Seconds())
	s.decide(Decision{Service: r.Name, From: was, To: Stopped, Why: why, Candidates: all})
	s.answer(r, res)
	r.endWalk()
}

func (s *state) migrate(r *record, id cluster.NodeID) {
	r.endWalk()
	r.Target = id
	s.log(r.Owner, LevelNotice, r, "Migrating %s to %s", r.Name, s.nodeName(id))
	s.set(r, func() { r.State = Migrating })
	s.give(r, taskMigrate)
}

// migrateDone takes the agent's status: 150 still running here, 6 does not
// know how, 7 not migrated for another reason without harm (rgmanager's vm).
func (s *state) migrateDone(r *record, ok bool, code int) {
	owner, target := r.Owner, r.Target
	if !ok {
		s.log(owner, LevelErr, r, "Migration of %s to %s failed; return code %d", r.Name, s.nodeName(target), code)
		res := Fail
		switch code {
		case 7:
		case 6:
			res = Invalid
		case 150:
			res = Restored
		default:
			s.markFailed(r, Fail)
			return
		}
		s.set(r, func() { r.State = Started })
		s.decide(Decision{Service: r.Name, From: Migrating, To: Started, Node: owner, Why: fmt.Sprintf("the migration failed with %d and it still runs", code)})
		s.answer(r, res)
		r.endWalk()
		return
	}
	s.log(owner, LevelNotice, r, "Migration of %s to %s completed", r.Name, s.nodeName(target))
	n := s.node(target)
	s.set(r, func() { r.LastOwner, r.Owner, r.State = owner, target, Started })
	r.Instance = n.Instance
	r.Epoch++
	s.decide(Decision{Service: r.Name, From: Migrating, To: Started, Node: target, Why: "migrated from " + s.nodeName(owner)})
	s.answer(r, OK)
	r.endWalk()
}

// drop forgets a service that is in no configuration any more.
func (s *state) drop(r *record) {
	s.answer(r, NoService)
	for _, q := range r.Queue {
		s.replies = append(s.replies, reply{q.From, q.id, NoService, 0})
	}
	delete(s.records, r.Name)
	s.order = nil
	s.changes = append(s.changes, Changed{Old: r.Service})
}
