// Package ksys keeps the KSYS daemon of IBM VM Recovery Manager available
// under PowerHA SystemMirror, as the paper "Achieving KSYS high availability
// through IBM PowerHA" describes it: what the startup monitor, the start and
// stop scripts and the long-running monitor decide, how the cluster is set up
// and removed, and what its health is.
//
// Everything that decides is a Core: a plain struct whose Step takes the time
// and an Event and returns Actions. It reads no clock and does no input or
// output. Runtime.Run carries the actions out on a machine; the simulator in
// phasim carries them out in virtual time.
//
// Facts that the paper does not print are assumptions about AIX; they are
// configuration keys, so that a real system can correct them.
package ksys

import "time"

// The names that the paper fixes.
const (
	// DaemonName is the KSYS daemon's subsystem.
	DaemonName = "IBM.VMR"
	// ResourceGroup is the PowerHA resource group that carries KSYS.
	ResourceGroup = "ksysRG"
	// Controller is the application controller.
	Controller = "ksysctrler"
	// StartupMonitor and LongrunMonitor are the application monitors.
	StartupMonitor = "ksysmonstartup"
	LongrunMonitor = "ksysmonlongrun"
	// FileCollection keeps the scripts equal on all nodes.
	FileCollection = "ksysfiles"
	// ScriptDir is where PowerHA finds the scripts.
	ScriptDir = "/opt/IBM/ksys/samples/pha"
	// ConfigXML is where KSYS reads its cluster's name, state and type.
	ConfigXML = "/var/ksys/config/ksysmgr.xml"
)

// The files of the state folder.
const (
	FlagFile    = "ksysmon.start"
	LockFile    = "ksys.lock"
	CancelFile  = "stop.request"
	CounterFile = "longrun.state"
)

// Limits. Each budget is below the PowerHA limit that the call lives under:
// the stabilization interval of 120 s and the monitor interval of 60 s.
const (
	QueryLimit   = 10 * time.Second // status queries; ours
	RequestLimit = 15 * time.Second // startsrc and stopsrc; ours
	BootLimit    = 2 * time.Second  // who -b; ours

	StartupBudget = 10 * time.Second
	StartBudget   = 110 * time.Second
	StopBudget    = 90 * time.Second
	LongrunBudget = 45 * time.Second
)

// Exit statuses. PowerHA only tells zero from the rest; the values are for
// people and tests.
const (
	ExitOK        = 0
	ExitStateDir  = 70 // state folder unusable
	ExitLocked    = 75 // lock not obtained
	ExitMissing   = 127
	ExitUsage     = 64
	ExitNoCluster = 69 // PowerHA SystemMirror is not installed

	StartupCreated    = 1 // flag absent, created
	StartupReplaced   = 2 // flag stale or unsafe, replaced
	StartupNotStarted = 5 // strict policy: start script not finished, or it failed

	StartNotLeader     = 1
	StartNotActive     = 2
	StartAbsent        = 3
	StartLeaderUnknown = 4
	StartLeaderMoved   = 5
	StartCancelled     = 6

	StopStuck   = 1
	StopUnknown = 2

	LongrunNotLeader = 1
	LongrunNotActive = 2
	LongrunProbe     = 3
	LongrunUnknown   = 4
)

// DaemonState is what SRC says about a subsystem.
type DaemonState int

// The states; the zero value is the one that proves nothing.
const (
	DaemonUnknown DaemonState = iota
	DaemonActive
	DaemonDown
	DaemonStopping
	DaemonAbsent
)

// String returns the word used in messages.
func (s DaemonState) String() string {
	switch s {
	case DaemonActive:
		return "active"
	case DaemonDown:
		return "inoperative"
	case DaemonStopping:
		return "stopping"
	case DaemonAbsent:
		return "absent"
	}
	return "unknown"
}

// DaemonStateOf is the state for a word of lssrc; any other is DaemonUnknown.
func DaemonStateOf(word string) DaemonState {
	for s := DaemonActive; s <= DaemonAbsent; s++ {
		if s.String() == word {
			return s
		}
	}
	return DaemonUnknown
}

// Daemon is one look at the daemon.
type Daemon struct {
	State DaemonState
	// PID is 0 when there is no process.
	PID int
	// Missing says that lssrc itself is not there.
	Missing bool
	// Why explains DaemonUnknown.
	Why string
}

// Where is where the group leader is, seen from this node.
type Where int

// The places; the zero value is the one that proves nothing.
const (
	LeaderUnknown Where = iota
	LeaderLocal
	LeaderRemote
)

// Leader is one look at the group leader.
type Leader struct {
	Where Where
	// Name is the leader's name as it was printed.
	Name string
	// Missing says that lssrc itself is not there.
	Missing bool
	// Why explains LeaderUnknown: missing, timeout, configrm-down, no-line,
	// garbled, domain-not-online, failed.
	Why string
}

// String is the leader's name, or unknown with the reason.
func (l Leader) String() string {
	if l.Where == LeaderUnknown {
		if l.Why == "" {
			return "unknown"
		}
		return "unknown:" + l.Why
	}
	return l.Name
}
