package ksys

import "time"

// stopLockWait is how long the stop script waits for a start script to give
// up; a start script looks for the request at least every 12 s. Ours.
const stopLockWait = 30 * time.Second

// maxRespawns is how many times a daemon that RMC starts again during the
// stop is stopped once more. Ours: a resource manager that is in demand comes
// back for ever, and then the standby state of the paper is reached.
const maxRespawns = 1

type stopPhase int

const (
	stopLock stopPhase = iota
	stopFirst
	stopStopping
	stopStarting
)

// Stop is the stop script. It works without RSCT and without a cluster
// manager, and it never asks for the leader: a node that lost the group must
// be able to stop driving recoveries whatever else is broken.
type Stop struct {
	Config Config
	Node   string

	begin    time.Time
	phase    stopPhase
	stop     stopper
	tries    int
	respawns int
}

// Step implements Core.
func (s *Stop) Step(now time.Time, ev Event) []Action {
	if _, ok := ev.(Begin); ok {
		s.begin = now
		return []Action{RequestCancel{}, TryLock{}}
	}
	if now.Sub(s.begin) >= StopBudget {
		return s.finish(StopUnknown, "FAIL", "budget of 90 s used up")
	}
	switch s.phase {
	case stopLock:
		return s.lock(now, ev)
	case stopFirst:
		return s.first(now, ev)
	case stopStopping:
		return s.stopping(now, ev)
	}
	if ev, ok := ev.(RequestDone); ok {
		if ev.Err != nil {
			return append([]Action{fault(ev.Err.Error())}, s.finish(ExitOK, "OK", "vmr=inoperative")...)
		}
		return s.finish(ExitOK, "OK", "vmr=restarted")
	}
	return nil
}

func (s *Stop) limit(now time.Time, d time.Duration) time.Duration {
	return min(d, StopBudget-now.Sub(s.begin))
}

func (s *Stop) lock(now time.Time, ev Event) []Action {
	t, ok := ev.(LockTried)
	switch {
	case !ok:
		return []Action{TryLock{}}
	case t.Err != nil:
		// Without the lock, but the daemon has to go.
		return append([]Action{fault("state folder unusable, stopping without the lock: " + t.Err.Error())}, s.begun(now)...)
	case t.OK:
		return s.begun(now)
	case now.Sub(s.begin) >= stopLockWait:
		return []Action{ClearCancel{}, fault("another start or stop script holds the lock"), Finish{Code: ExitLocked, Verdict: "FAIL", Details: "lock=held node=" + s.Node}}
	}
	return []Action{Sleep{For: lockPoll}}
}

func (s *Stop) begun(now time.Time) []Action {
	s.phase = stopFirst
	out := []Action{ClearCancel{}, RemoveFlag{}, RemoveCounter{}}
	if s.Config.StopMode == StopModeNone {
		return append(out, s.finish(ExitOK, "OK", "stop_mode=none")...)
	}
	return append(out, QueryDaemon{s.limit(now, QueryLimit)})
}

func (s *Stop) first(now time.Time, ev Event) []Action {
	d, ok := ev.(DaemonSeen)
	if !ok {
		return []Action{QueryDaemon{s.limit(now, QueryLimit)}}
	}
	switch d.State {
	case DaemonAbsent:
		return s.finish(ExitOK, "OK", "vmr=absent")
	case DaemonDown:
		return s.gone(now)
	case DaemonActive:
		s.phase, s.stop = stopStopping, stopper{pid: d.PID, since: now}
		return []Action{StopDaemon{Limit: s.limit(now, RequestLimit)}}
	case DaemonStopping:
		s.phase, s.stop = stopStopping, stopper{pid: d.PID, since: now}
		return []Action{Sleep{For: pollEvery}}
	}
	s.tries++
	switch {
	case s.tries <= stateRetries:
		return []Action{warn("state of " + DaemonName + " unknown: " + d.Why), Sleep{For: stateRetry}}
	case d.Missing:
		return s.finish(ExitMissing, "FAIL", "lssrc is missing")
	}
	return s.finish(StopUnknown, "FAIL", "vmr=unknown")
}

func (s *Stop) stopping(now time.Time, ev Event) []Action {
	switch ev := ev.(type) {
	case RequestDone:
		if ev.Missing {
			return s.finish(StopStuck, "FAIL", "stopsrc is missing")
		}
		sleep := Sleep{For: pollEvery}
		if ev.Err != nil {
			return []Action{fault(ev.Err.Error()), sleep}
		}
		return []Action{sleep}
	case DaemonSeen:
		result, level := s.stop.look(now, Daemon(ev))
		switch {
		case result == stopGone:
			return s.gone(now)
		case result == stopRespawned && s.respawns >= maxRespawns:
			return append([]Action{warn("RMC keeps starting " + DaemonName + ": it was restarted and stands by")},
				s.finish(ExitOK, "OK", "vmr=restarted by RMC")...)
		case result == stopRespawned:
			s.respawns++
			s.stop.pid = ev.PID
			return []Action{warn("RMC started " + DaemonName + " again during the stop"), StopDaemon{Limit: s.limit(now, RequestLimit)}}
		case result == stopStuck && ev.State == DaemonUnknown:
			return s.finish(StopUnknown, "FAIL", "vmr=unknown")
		case result == stopStuck:
			return s.finish(StopStuck, "FAIL", "vmr="+ev.State.String()+" after stopsrc -c")
		case level != "":
			return []Action{warn(DaemonName + " does not stop, trying stopsrc " + level), StopDaemon{Level: level, Limit: s.limit(now, RequestLimit)}}
		}
		return []Action{Sleep{For: pollEvery}}
	}
	return []Action{QueryDaemon{s.limit(now, QueryLimit)}}
}

// gone is reached when no daemon is left.
func (s *Stop) gone(now time.Time) []Action {
	if s.Config.StopMode != StopModeRestart {
		return s.finish(ExitOK, "OK", "vmr=inoperative")
	}
	s.phase = stopStarting
	return []Action{StartDaemon{s.limit(now, RequestLimit)}}
}

func (s *Stop) finish(code int, verdict, details string) []Action {
	return []Action{Finish{Code: code, Verdict: verdict, Details: "node=" + s.Node + " " + details}}
}
