package ksys

import (
	"fmt"
	"time"
)

// The long-running monitor's own limits. Ours: the whole call stays below its
// budget of 45 s, so that PowerHA's signal for a hung monitor at 60 s is never
// how it ends.
const (
	longrunRetry   = 3 * time.Second
	longrunRetries = 3
	longrunReserve = 13 * time.Second
	probeMisses    = 2
	// logEvery is how often an unchanged success is logged.
	logEvery = time.Hour
)

// Longrun is the long-running monitor. The paper's rule is: it deletes the
// temporary file, and fails when this node is not the group leader or the
// daemon is not active.
type Longrun struct {
	Config Config
	Node   string

	begin   time.Time
	loaded  Counter
	counter Counter
	look    BothSeen
	tries   int
	misses  int
}

// Step implements Core.
func (s *Longrun) Step(now time.Time, ev Event) []Action {
	switch ev := ev.(type) {
	case Begin:
		s.begin = now
		return []Action{RemoveFlag{}, LookLock{}}
	case LockSeen:
		if ev.Busy {
			return []Action{Finish{Code: ExitOK, Verdict: "SKIP", Details: "restart-in-progress by=" + ev.By + " node=" + s.Node}}
		}
		return []Action{LoadCounter{}}
	case CounterSeen:
		s.loaded, s.counter = Counter(ev), Counter(ev)
		return s.ask(now)
	case Woke:
		return s.ask(now)
	case BothSeen:
		s.look = ev
		return s.judge(now)
	case RequestDone:
		if ev.Err == nil {
			return s.finish(now, ExitOK, "OK")
		}
		s.misses++
		if s.misses < probeMisses && s.left(now) > 0 {
			return []Action{ProbeDaemon{min(QueryLimit, s.left(now))}}
		}
		return append([]Action{fault("deep probe: " + ev.Err.Error())}, s.finish(now, LongrunProbe, "FAIL")...)
	}
	return nil
}

func (s *Longrun) left(now time.Time) time.Duration { return LongrunBudget - now.Sub(s.begin) }

func (s *Longrun) ask(now time.Time) []Action {
	return []Action{QueryBoth{min(QueryLimit, s.left(now))}}
}

func (s *Longrun) judge(now time.Time) []Action {
	d, l := s.look.Daemon, s.look.Leader
	switch {
	case l.Where == LeaderRemote:
		s.counter.Unknown = 0
		return s.finish(now, LongrunNotLeader, "FAIL")
	case d.State == DaemonDown, d.State == DaemonStopping, d.State == DaemonAbsent:
		s.counter.Unknown = 0
		return s.finish(now, LongrunNotActive, "FAIL")
	case l.Where == LeaderLocal && d.State == DaemonActive:
		s.counter.Unknown = 0
		if s.Config.DeepProbe && s.left(now) > 0 {
			return []Action{ProbeDaemon{min(QueryLimit, s.left(now))}}
		}
		return s.finish(now, ExitOK, "OK")
	}
	// A command that is not installed does not appear within seconds.
	missing := d.Missing && l.Missing
	if !missing && s.tries < longrunRetries && s.left(now) > longrunReserve {
		s.tries++
		return []Action{Sleep{For: longrunRetry}}
	}
	s.counter.Unknown++
	if s.counter.Unknown <= s.Config.UnknownTolerance {
		return append([]Action{warn("state unknown, tolerated")}, s.finish(now, ExitOK, "WARN")...)
	}
	code := LongrunUnknown
	if d.Missing {
		code = ExitMissing
	}
	return append([]Action{crit("group leader " + l.String() + ", " + DaemonName + " " + d.State.String())}, s.finish(now, code, "FAIL")...)
}

func (s *Longrun) finish(now time.Time, code int, verdict string) []Action {
	details := fmt.Sprintf("node=%s leader=%s vmr=%s", s.Node, s.look.Leader, s.look.Daemon.State)
	since := now.Sub(s.counter.Logged)
	quiet := code == ExitOK && s.counter.Verdict == verdict && since >= 0 && since < logEvery
	s.counter.Verdict = verdict
	if !quiet {
		s.counter.Logged = now
	}
	done := Finish{Code: code, Verdict: verdict, Details: details, Quiet: quiet}
	if s.counter == s.loaded {
		// A call that is like the one before need not wait for the disk.
		return []Action{done}
	}
	return []Action{SaveCounter{s.counter}, done}
}
