package ksys

import (
	"log/slog"
	"time"
)

// Core is one call of a script: what to do next, given what was seen. Step is
// called first with Begin, then once with the answer to each action that has
// one. Of the actions returned by one Step at most the last has an answer; a
// Finish ends the call. A Core is used once, by one goroutine.
type Core interface {
	Step(now time.Time, ev Event) []Action
}

// Event is something a Core is told.
type Event interface{ event() }

// Action is something a Core wants done.
type Action interface{ action() }

// The events.
type (
	// Begin starts the call.
	Begin struct{}
	// FlagSeen answers ReadFlag. Err says that the state folder is unusable.
	FlagSeen struct {
		Verdict FlagVerdict
		State   FlagState
		Why     string
		Err     error
	}
	// FlagCreated answers CreateFlag: it exists already, or it cannot be made.
	FlagCreated struct {
		Exists bool
		Err    error
	}
	// LockTried answers TryLock. Err says that the state folder is unusable.
	LockTried struct {
		OK  bool
		Err error
	}
	// LockSeen answers LookLock: a live holder within its budget.
	LockSeen struct {
		Busy bool
		By   string
	}
	// DaemonSeen answers QueryDaemon.
	DaemonSeen Daemon
	// LeaderSeen answers QueryLeader.
	LeaderSeen Leader
	// BothSeen answers QueryBoth.
	BothSeen struct {
		Daemon Daemon
		Leader Leader
	}
	// RequestDone answers StartDaemon, StopDaemon and ProbeDaemon.
	RequestDone struct {
		Missing bool
		Err     error
	}
	// CounterSeen answers LoadCounter.
	CounterSeen Counter
	// Woke answers Sleep.
	Woke struct{ Cancelled bool }
)

// The actions.
type (
	// ReadFlag reads and judges the flag file.
	ReadFlag struct{}
	// CreateFlag makes the flag file if there is none.
	CreateFlag struct{ State FlagState }
	// MarkFlag changes the state of a flag file that exists.
	MarkFlag struct{ State FlagState }
	// RemoveFlag removes the flag file, whatever it is.
	RemoveFlag struct{}
	// TryLock takes the lock of this node's start and stop scripts if it is
	// free; it is released at the end of the call.
	TryLock struct{}
	// LookLock asks who holds the lock.
	LookLock struct{}
	// RequestCancel asks a running start script to give up; ClearCancel takes
	// that back.
	RequestCancel struct{}
	ClearCancel   struct{}
	// QueryDaemon, QueryLeader and QueryBoth ask for the daemon's state and
	// the group leader; QueryBoth asks for both at the same time.
	QueryDaemon struct{ Limit time.Duration }
	QueryLeader struct{ Limit time.Duration }
	QueryBoth   struct{ Limit time.Duration }
	// StartDaemon and StopDaemon ask SRC; Level is "", "-f" or "-c".
	StartDaemon struct{ Limit time.Duration }
	StopDaemon  struct {
		Level string
		Limit time.Duration
	}
	// ProbeDaemon asks the daemon itself.
	ProbeDaemon struct{ Limit time.Duration }
	// LoadCounter, SaveCounter and RemoveCounter handle the long-running
	// monitor's memory.
	LoadCounter   struct{}
	SaveCounter   struct{ Counter Counter }
	RemoveCounter struct{}
	// Sleep waits; with Watch it also looks for a request to give up.
	Sleep struct {
		For   time.Duration
		Watch bool
	}
	// Note writes to the log.
	Note struct {
		Level slog.Level
		Text  string
	}
	// Finish ends the call with an exit status and its line of output. Quiet
	// keeps a repeated success out of the log.
	Finish struct {
		Code    int
		Verdict string
		Details string
		Quiet   bool
	}
)

func (Begin) event()       {}
func (FlagSeen) event()    {}
func (FlagCreated) event() {}
func (LockTried) event()   {}
func (LockSeen) event()    {}
func (DaemonSeen) event()  {}
func (LeaderSeen) event()  {}
func (BothSeen) event()    {}
func (RequestDone) event() {}
func (CounterSeen) event() {}
func (Woke) event()        {}

func (ReadFlag) action()      {}
func (CreateFlag) action()    {}
func (MarkFlag) action()      {}
func (RemoveFlag) action()    {}
func (TryLock) action()       {}
func (LookLock) action()      {}
func (RequestCancel) action() {}
func (ClearCancel) action()   {}
func (QueryDaemon) action()   {}
func (QueryLeader) action()   {}
func (QueryBoth) action()     {}
func (StartDaemon) action()   {}
func (StopDaemon) action()    {}
func (ProbeDaemon) action()   {}
func (LoadCounter) action()   {}
func (SaveCounter) action()   {}
func (RemoveCounter) action() {}
func (Sleep) action()         {}
func (Note) action()          {}
func (Finish) action()        {}

// LevelCrit is the level of syslog's "crit": something that root must see,
// such as a planted file or a leader that nobody can name.
const LevelCrit = slog.LevelError + 4

func crit(text string) Note   { return Note{LevelCrit, text} }
func fault(text string) Note  { return Note{slog.LevelError, text} }
func warn(text string) Note   { return Note{slog.LevelWarn, text} }
func inform(text string) Note { return Note{slog.LevelInfo, text} }

// stopper escalates a stop: the normal request, after 20 s a forced one,
// after 10 s more a cancel, which SRC ends with SIGKILL, and 10 s for that.
// The times are ours; together they stay below the scripts' budgets.
type stopper struct {
	pid   int
	since time.Time
	level int
}

const (
	forceAfter  = 20 * time.Second
	cancelAfter = 30 * time.Second
	stuckAfter  = 40 * time.Second
	pollEvery   = time.Second
)

type stopResult int

const (
	stopWait stopResult = iota
	stopGone
	// stopRespawned: another process than the one being stopped is active.
	// RMC starts resource managers on demand.
	stopRespawned
	stopStuck
)

// look judges one look at the daemon; a level that is not "" is to be sent.
func (s *stopper) look(now time.Time, d Daemon) (stopResult, string) {
	switch {
	case d.State == DaemonDown, d.State == DaemonAbsent:
		return stopGone, ""
	case d.State == DaemonActive && d.PID != 0 && d.PID != s.pid:
		return stopRespawned, ""
	}
	if s.pid == 0 {
		s.pid = d.PID
	}
	switch waited := now.Sub(s.since); {
	case s.level == 0 && waited >= forceAfter:
		s.level = 1
		return stopWait, "-f"
	case s.level == 1 && waited >= cancelAfter:
		s.level = 2
		return stopWait, "-c"
	case s.level == 2 && waited >= stuckAfter:
		return stopStuck, ""
	}
	return stopWait, ""
}
