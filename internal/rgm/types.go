package rgm

import (
	"slices"
	"strings"
	"time"

	"github.com/haobox/haobox/internal/cluster"
)

// Group is the name of the group that all rgmanagers of a cluster are in.
const Group = "haobox:rgmanager"

// State is the state of a service, with rgmanager's numbers.
type State uint8

// The states of a service.
const (
	Stopped       State = 110
	Starting      State = 111
	Started       State = 112
	Stopping      State = 113
	Failed        State = 114
	Uninitialized State = 115
	Checking      State = 116
	// Error: it is being stopped because something of it failed.
	Error State = 117
	// Recover: stopped after a failure, and about to be started again.
	Recover   State = 118
	Disabled  State = 119
	Migrating State = 120
)

// String returns the word that clustat shows.
func (s State) String() string {
	words := [...]string{"stopped", "starting", "started", "stopping", "failed", "uninitialized", "checking",
		"recoverable", "recovering", "disabled", "migrating"}
	if s < Stopped || int(s-Stopped) >= len(words) {
		return "Unknown"
	}
	return words[s-Stopped]
}

// Running reports whether a service in this state counts as running, for
// exclusive services and the like: started or starting.
func (s State) Running() bool { return s == Started || s == Starting }

// Flags of a service.
type Flags uint32

// The flags, with rgmanager's numbers.
const (
	Frozen  Flags = 1
	Partial Flags = 2
)

// Names returns the names of the flags that are set.
func (f Flags) Names() []string {
	var out []string
	if f&Frozen != 0 {
		out = append(out, "frozen")
	}
	if f&Partial != 0 {
		out = append(out, "partial")
	}
	return out
}

// Letters returns the letters that clustat shows, "ZP" for both.
func (f Flags) Letters() string {
	s := ""
	if f&Frozen != 0 {
		s += "Z"
	}
	if f&Partial != 0 {
		s += "P"
	}
	return s
}

// Service is the state record of a service.
type Service struct {
	// Name is "type:name".
	Name  string
	State State
	// Owner and LastOwner are 0 for none.
	Owner, LastOwner cluster.NodeID
	// Restarts in a row after failures.
	Restarts uint32
	// Transition is when the state last changed, in Unix seconds; 0 for a
	// service that nobody touched yet.
	Transition int64
	Flags      Flags
}

// Kind is what a request asks for, with rgmanager's numbers.
type Kind uint16

// The requests of clusvcadm. Lock, Unlock and QueryLock have no service.
const (
	StartRequest Kind = 2
	Disable      Kind = 5
	Restart      Kind = 8
	Enable       Kind = 11
	Relocate     Kind = 13
	UserStop     Kind = 17
	Lock         Kind = 19
	Unlock       Kind = 20
	QueryLock    Kind = 21
	Migrate      Kind = 22
	Freeze       Kind = 23
	Unfreeze     Kind = 24
	Convalesce   Kind = 26
	// AssumeIdleRequest is a person's word that the node Target, a member of
	// the cluster without rgmanager, runs no service; Request.Service says who
	// that is. Ours.
	AssumeIdleRequest Kind = 100
)

// String returns the name that rgmanager logs.
func (k Kind) String() string {
	names := [...]string{"success", "fail", "start", "stop", "status", "disable", "stop (recovery)", "start (recovery)",
		"restart", "exiting", "initialize", "enable", "status inquiry", "relocate", "conditional stop", "conditional start",
		"remote start", "user stop", "stop (shutdown)", "locking", "unlocking", "lock status inquiry", "migrate",
		"Unknown", "Unknown", "out of band service status inquiry", "convalesce"}
	if int(k) < len(names) {
		return names[k]
	}
	if k == 999 {
		return "none"
	}
	return "Unknown"
}

// word names a request in the history of decisions, also those for which
// rgmanager has no name.
func (k Kind) word() string {
	switch k {
	case Freeze:
		return "freeze"
	case Unfreeze:
		return "unfreeze"
	case AssumeIdleRequest:
		return "idle"
	}
	return k.String()
}

// Request is what a person or a program asks of the cluster.
type Request struct {
	Kind Kind
	// Service is "type:name"; "" for Lock, Unlock and QueryLock.
	Service string
	// Target is the preferred node, 0 for none. Enable without a target means
	// the node that got the request, unless Best is set.
	Target cluster.NodeID
	// Best: enable it where its failover domain likes it best (clusvcadm -F).
	Best bool
}

// Result is what became of a request, with rgmanager's numbers.
type Result int

// The results.
const (
	OK           Result = 0
	Yes          Result = 1
	No           Result = 2
	Fail         Result = -1
	Abort        Result = -2
	Forward      Result = -3
	NoService    Result = -4
	Deadlock     Result = -5
	Again        Result = -6
	Depend       Result = -7
	Invalid      Result = -8
	NoQuorum     Result = -9
	Running      Result = -10
	IsFrozen     Result = -11
	NoNode       Result = -12
	FencePending Result = -13
	ScriptError  Result = -14
	NotRunnable  Result = -15
	NotExclusive Result = -16
	Restored     Result = -17
	Permission   Result = -18
	Warning      Result = -19
)

// String returns the text that clusvcadm prints.
func (r Result) String() string {
	switch r {
	case Yes:
		return "Yes"
	case No:
		return "No"
	}
	texts := [...]string{"Success", "Failure", "Aborted; service failed", "Service not mastered locally", "Service does not exist",
		"Operation would cause a deadlock", "Temporary failure; try again", "Operation violates dependency rule",
		"Invalid operation for resource", "Operation requires quorum", "Service is already running", "Failure: Service is frozen",
		"Target node dead / nonexistent", "Fencing operation pending; try again later", "S/Lang Script Error", "Service not runnable",
		"Service not runnable: cannot run exclusive", "Failed; service running on original owner", "Permission denied",
		"Warning; see system logs"}
	if r > 0 || int(-r) >= len(texts) {
		return "Unknown"
	}
	return texts[-r]
}

// ExitCode is clusvcadm's exit status for the result.
func (r Result) ExitCode() int {
	if r == Running {
		return 0
	}
	return int(r) & 0xff
}

// Status is what clustat and others show, as of the last step.
type Status struct {
	Self cluster.NodeID `json:"self"`
	// Current says that the state is that of the cluster; if not, the services
	// are the last that was known.
	Current bool `json:"current"`
	Quorate bool `json:"quorate"`
	Locked  bool `json:"locked"`
	// Ring is the sequence of the ring of the last view.
	Ring          uint64          `json:"ring"`
	ConfigVersion int             `json:"configVersion"`
	Nodes         []NodeStatus    `json:"nodes"`
	Services      []ServiceStatus `json:"services"`
}

// NodeStatus is a node as rgmanager sees it.
type NodeStatus struct {
	ID   cluster.NodeID `json:"id"`
	Name string         `json:"name"`
	// RGManager: its rgmanager is a working member.
	RGManager bool `json:"rgmanager"`
	// Waiting: it is gone and not known to be off; its services wait.
	Waiting       bool `json:"waiting"`
	Leaving       bool `json:"leaving"`
	ConfigVersion int  `json:"configVersion"`
}

// ServiceStatus is a service in a Status.
type ServiceStatus struct {
	Name          string         `json:"name"`
	State         State          `json:"state"`
	StateText     string         `json:"stateText"`
	Owner         cluster.NodeID `json:"owner"`
	OwnerName     string         `json:"ownerName"`
	LastOwner     cluster.NodeID `json:"lastOwner"`
	LastOwnerName string         `json:"lastOwnerName"`
	Restarts      uint32         `json:"restarts"`
	// Transition is in Unix seconds, 0 for never.
	Transition int64    `json:"transition"`
	Flags      Flags    `json:"flags"`
	FlagNames  []string `json:"flagNames"`
}

// Kept is a service that a process of rgmanager had in its hands on this node,
// for the next process (Save, Options.Kept).
type Kept struct {
	Name string `json:"name"`
	// Started: it was wholly started. Otherwise something of it may run.
	Started bool `json:"started"`
	// Owner epoch of the start.
	Epoch uint64 `json:"epoch"`
}

// byName sorts services as clustat does.
func byName(a, b ServiceStatus) int { return strings.Compare(a.Name, b.Name) }

func unix(t time.Time) int64 { return t.Unix() }

func remove[T comparable](s []T, x T) []T {
	return slices.DeleteFunc(s, func(y T) bool { return x == y })
}
