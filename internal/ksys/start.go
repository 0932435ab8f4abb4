package ksys

import (
	"fmt"
	"time"
)

// The start script's own limits; together with a stop's 40 s they stay below
// StartBudget, and that below the stabilization interval of 120 s. Ours.
const (
	startLockWait  = 5 * time.Second
	lockPoll       = 250 * time.Millisecond
	leaderRetry    = 2 * time.Second
	leaderPatience = 15 * time.Second
	stateRetry     = 2 * time.Second
	stateRetries   = 3
	activeWait     = 30 * time.Second
	activeStable   = 3 * time.Second
	activeGrace    = 3 * time.Second
	ensureWait     = 20 * time.Second
	maxStarts      = 2
	// recheckPatience is for the second look at the leader.
	recheckPatience = 8 * time.Second
)

type startPhase int

const (
	startLock startPhase = iota
	startLeader
	startEnsure
	startRestart
	startStopping
	startVerify
	startRecheck
)

// Start is the start script. On the group leader it restarts the daemon, also
// when it is already active, because the restart loads what was configured on
// the other node. Elsewhere it sees that the daemon runs and fails, so that
// PowerHA moves the group on.
type Start struct {
	Config Config
	Node   string

	begin, since, remoteAt time.Time
	recheckAt              time.Time
	phase                  startPhase
	leader                 Leader
	tries                  int
	stop                   stopper
	// code ends the call after startEnsure.
	code int
	flag FlagState

	oldPID, newPID        int
	starts                int
	firstStart, lastStart time.Time
	activeAt              time.Time
}

// Step implements Core.
func (s *Start) Step(now time.Time, ev Event) []Action {
	if _, ok := ev.(Begin); ok {
		s.begin = now
		return []Action{TryLock{}}
	}
	if w, ok := ev.(Woke); ok && w.Cancelled {
		return s.finish(StartCancelled, "CANCELLED", "by stopksys", "")
	}
	if now.Sub(s.begin) >= StartBudget {
		return s.finish(StartNotActive, "FAIL", "budget of 110 s used up", FlagFailed)
	}
	switch s.phase {
	case startLock:
		return s.lock(now, ev)
	case startLeader:
		return s.findLeader(now, ev)
	case startEnsure:
		return s.ensure(now, ev)
	case startRestart:
		return s.restart(now, ev)
	case startStopping:
		return s.stopping(now, ev)
	case startVerify:
		return s.verify(now, ev)
	}
	return s.recheck(now, ev)
}

// limit is what is left of the budget, at most d.
func (s *Start) limit(now time.Time, d time.Duration) time.Duration {
	return min(d, StartBudget-now.Sub(s.begin))
}

func (s *Start) lock(now time.Time, ev Event) []Action {
	switch ev := ev.(type) {
	case LockTried:
		switch {
		case ev.Err != nil:
			return unusable(ev.Err)
		case ev.OK:
			s.phase, s.since = startLeader, now
			return []Action{QueryLeader{s.limit(now, QueryLimit)}}
		case now.Sub(s.begin) >= startLockWait:
			return []Action{fault("another start or stop script holds the lock"), Finish{Code: ExitLocked, Verdict: "FAIL", Details: "lock=held node=" + s.Node}}
		}
		return []Action{Sleep{For: lockPoll, Watch: true}}
	}
	return []Action{TryLock{}}
}

func (s *Start) findLeader(now time.Time, ev Event) []Action {
	l, ok := ev.(LeaderSeen)
	if !ok {
		return []Action{QueryLeader{s.limit(now, QueryLimit)}}
	}
	s.leader = Leader(l)
	switch {
	case l.Missing:
		return s.finish(ExitMissing, "FAIL", "lssrc is missing", FlagFailed)
	case l.Where == LeaderLocal:
		return s.goLocal(now, nil)
	case l.Where == LeaderRemote:
		// PowerHA may start acquiring before RSCT has dropped a dead leader,
		// and "not the leader" on the only node left would leave the group in
		// ERROR: hence the second look.
		if s.remoteAt.IsZero() {
			s.remoteAt = now
		}
		if left := s.Config.LeaderConfirm - now.Sub(s.remoteAt); left > 0 {
			return []Action{Sleep{For: left, Watch: true}}
		}
		return s.goEnsure(now, StartNotLeader, FlagRejected, inform("not the group leader, "+l.Name+" is: the group moves on"))
	}
	if now.Sub(s.since) < leaderPatience {
		return []Action{Sleep{For: leaderRetry, Watch: true}}
	}
	why := "group leader " + s.leader.String()
	if s.Config.AssumeLocal {
		return s.goLocal(now, []Action{crit(why + ": going on as the leader, as configured")})
	}
	return s.goEnsure(now, StartLeaderUnknown, FlagFailed, crit(why))
}

// goEnsure sees that the daemon runs and then ends with code.
func (s *Start) goEnsure(now time.Time, code int, flag FlagState, note Action) []Action {
	s.phase, s.since, s.code, s.flag = startEnsure, now, code, flag
	return []Action{note, QueryDaemon{s.limit(now, QueryLimit)}}
}

func (s *Start) ensure(now time.Time, ev Event) []Action {
	verdict := "FAIL"
	if s.code == StartNotLeader {
		verdict = "NOT-LEADER"
	}
	switch ev := ev.(type) {
	case DaemonSeen:
		switch {
		case ev.State == DaemonDown, ev.State == DaemonStopping && now.Sub(s.since) >= ensureWait:
			return []Action{StartDaemon{s.limit(now, RequestLimit)}}
		case ev.State == DaemonStopping:
			return []Action{Sleep{For: pollEvery, Watch: true}}
		}
		return s.finish(s.code, verdict, "vmr="+ev.State.String(), s.flag)
	case RequestDone:
		done := s.finish(s.code, verdict, "vmr=started", s.flag)
		if ev.Err != nil {
			return append([]Action{fault(ev.Err.Error())}, done...)
		}
		return done
	}
	return []Action{QueryDaemon{s.limit(now, QueryLimit)}}
}

func (s *Start) goLocal(now time.Time, before []Action) []Action {
	s.phase = startRestart
	return append(before, QueryDaemon{s.limit(now, QueryLimit)})
}

func (s *Start) restart(now time.Time, ev Event) []Action {
	d, ok := ev.(DaemonSeen)
	if !ok {
		return []Action{QueryDaemon{s.limit(now, QueryLimit)}}
	}
	switch d.State {
	case DaemonAbsent:
		return s.finish(StartAbsent, "FAIL", "vmr=absent", FlagFailed)
	case DaemonActive:
		s.phase, s.oldPID, s.stop = startStopping, d.PID, stopper{pid: d.PID, since: now}
		return []Action{StopDaemon{Limit: s.limit(now, RequestLimit)}}
	case DaemonStopping:
		s.phase, s.oldPID, s.stop = startStopping, d.PID, stopper{pid: d.PID, since: now}
		return []Action{Sleep{For: pollEvery, Watch: true}}
	case DaemonDown:
		return s.startNow(now)
	}
	s.tries++
	switch {
	case s.tries <= stateRetries:
		return []Action{warn("state of " + DaemonName + " unknown: " + d.Why), Sleep{For: stateRetry, Watch: true}}
	case d.Missing:
		return s.finish(ExitMissing, "FAIL", "lssrc is missing", FlagFailed)
	}
	return s.finish(StartNotActive, "FAIL", "vmr=unknown", FlagFailed)
}

func (s *Start) stopping(now time.Time, ev Event) []Action {
	switch ev := ev.(type) {
	case RequestDone:
		if ev.Missing {
			return s.finish(ExitMissing, "FAIL", "stopsrc is missing", FlagFailed)
		}
		sleep := Sleep{For: pollEvery, Watch: true}
		if ev.Err != nil {
			return []Action{fault(ev.Err.Error()), sleep}
		}
		return []Action{sleep}
	case DaemonSeen:
		if ev.State == DaemonAbsent {
			return s.finish(StartAbsent, "FAIL", "vmr=absent", FlagFailed)
		}
		result, level := s.stop.look(now, Daemon(ev))
		switch {
		case result == stopGone:
			return s.startNow(now)
		case result == stopRespawned:
			s.phase, s.firstStart, s.lastStart = startVerify, now, now
			s.newPID, s.activeAt = ev.PID, now
			return []Action{inform("RMC started " + DaemonName + " again by itself"), Sleep{For: pollEvery, Watch: true}}
		case result == stopStuck:
			return s.finish(StartNotActive, "FAIL", "vmr="+ev.State.String()+" after stopsrc -c", FlagFailed)
		case level != "":
			return []Action{warn(DaemonName + " does not stop, trying stopsrc " + level), StopDaemon{Level: level, Limit: s.limit(now, RequestLimit)}}
		}
		return []Action{Sleep{For: pollEvery, Watch: true}}
	}
	return []Action{QueryDaemon{s.limit(now, QueryLimit)}}
}

func (s *Start) startNow(now time.Time) []Action {
	s.phase = startVerify
	if s.firstStart.IsZero() {
		s.firstStart = now
	}
	s.starts++
	s.lastStart, s.newPID, s.activeAt = now, 0, time.Time{}
	return []Action{StartDaemon{s.limit(now, RequestLimit)}}
}

func (s *Start) verify(now time.Time, ev Event) []Action {
	sleep := Sleep{For: pollEvery, Watch: true}
	switch ev := ev.(type) {
	case RequestDone:
		if ev.Missing {
			return s.finish(ExitMissing, "FAIL", "startsrc is missing", FlagFailed)
		}
		if ev.Err != nil {
			return []Action{fault(ev.Err.Error()), sleep}
		}
		return []Action{sleep}
	case DaemonSeen:
		waited := now.Sub(s.firstStart)
		switch {
		case ev.State == DaemonAbsent:
			return s.finish(StartAbsent, "FAIL", "vmr=absent", FlagFailed)
		case ev.State == DaemonActive:
			if ev.PID != s.newPID || s.activeAt.IsZero() {
				s.newPID, s.activeAt = ev.PID, now
			}
			if now.Sub(s.activeAt) >= activeStable {
				s.phase = startRecheck
				return []Action{QueryLeader{s.limit(now, QueryLimit)}}
			}
		case ev.State == DaemonDown && (!s.activeAt.IsZero() || now.Sub(s.lastStart) >= activeGrace):
			if s.starts < maxStarts {
				return append([]Action{warn(DaemonName + " fell back to inoperative, starting it again")}, s.startNow(now)...)
			}
			return s.finish(StartNotActive, "FAIL", "vmr=inoperative after two starts", FlagFailed)
		}
		if waited >= activeWait+activeStable {
			return s.finish(StartNotActive, "FAIL", "vmr="+ev.State.String()+" after 33 s", FlagFailed)
		}
		return []Action{sleep}
	}
	return []Action{QueryDaemon{s.limit(now, QueryLimit)}}
}

// recheck asks once more who leads: the restart took time. A half of a split
// domain that lost its quorum meanwhile must not report success.
func (s *Start) recheck(now time.Time, ev Event) []Action {
	l, ok := ev.(LeaderSeen)
	if !ok {
		return []Action{QueryLeader{s.limit(now, QueryLimit)}}
	}
	if s.recheckAt.IsZero() {
		s.recheckAt = now
	}
	s.leader = Leader(l)
	switch {
	case l.Where == LeaderRemote:
		return s.finish(StartLeaderMoved, "FAIL", "leader moved during the start", FlagRejected)
	case l.Where == LeaderUnknown && !s.Config.AssumeLocal && now.Sub(s.recheckAt) < recheckPatience:
		return []Action{Sleep{For: leaderRetry, Watch: true}}
	case l.Where == LeaderUnknown && !s.Config.AssumeLocal:
		return append([]Action{crit("group leader " + s.leader.String() + " after the restart")},
			s.finish(StartLeaderUnknown, "FAIL", "leader unknown after the restart", FlagFailed)...)
	}
	return s.finish(ExitOK, "OK", fmt.Sprintf("pid=%d->%d", s.oldPID, s.newPID), FlagStarted)
}

func (s *Start) finish(code int, verdict, details string, flag FlagState) []Action {
	var out []Action
	if flag != "" {
		out = append(out, MarkFlag{flag})
	}
	return append(out, Finish{Code: code, Verdict: verdict, Details: "node=" + s.Node + " leader=" + s.leader.String() + " " + details})
}
