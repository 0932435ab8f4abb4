// Package rgmctl is what rgmanager's control socket and its tools share: the
// objects of the socket, the layouts of clustat(8) and the words of
// clusvcadm(8).
//
// Output is that of rgmanager 3.2 to the byte; what is new (JSON) has forms of
// its own.
package rgmctl

import (
	"strings"
	"time"
)

// States of a service, with the numbers of rgmanager's state record.
const (
	StateStopped       = 110
	StateStarting      = 111
	StateStarted       = 112
	StateStopping      = 113
	StateFailed        = 114
	StateUninitialized = 115
	StateCheck         = 116
	StateError         = 117
	StateRecover       = 118
	StateDisabled      = 119
	StateMigrate       = 120
)

// Flags of a service.
const (
	FlagFrozen  = 1
	FlagPartial = 2
)

// StateString is a state in words; "Unknown" for a number that is none.
func StateString(n int) string {
	names := [...]string{"stopped", "starting", "started", "stopping", "failed", "uninitialized",
		"checking", "recoverable", "recovering", "disabled", "migrating"}
	if i := n - StateStopped; i >= 0 && i < len(names) {
		return names[i]
	}
	return "Unknown"
}

// FlagNames are the names of the flags that are set, in order.
func FlagNames(flags uint32) []string {
	var out []string
	if flags&FlagFrozen != 0 {
		out = append(out, "frozen")
	}
	if flags&FlagPartial != 0 {
		out = append(out, "partial")
	}
	return out
}

// Status is the answer to GET /v1/status.
type Status struct {
	Cluster string `json:"cluster"`
	// ID is cman's cluster id, Generation the sequence of the ring.
	ID         int    `json:"id"`
	Generation uint64 `json:"generation"`
	Quorate    bool   `json:"quorate"`
	Local      uint32 `json:"local"`
	// GroupMember: rgmanager runs on this node.
	GroupMember bool `json:"groupMember"`
	// Locked: no service is started (clusvcadm -l).
	Locked        bool      `json:"locked,omitempty"`
	ConfigVersion int       `json:"configVersion,omitempty"`
	Nodes         []Node    `json:"nodes"`
	Services      []Service `json:"services,omitempty"`
	// Error says why there are no services.
	Error string `json:"error,omitempty"`
}

// Node is a member of the cluster or a node of its configuration.
type Node struct {
	ID     uint32 `json:"id"`
	Name   string `json:"name"`
	Online bool   `json:"online"`
	Local  bool   `json:"local,omitempty"`
	// Estranged: it is online and not in the configuration.
	Estranged bool `json:"estranged,omitempty"`
	RGManager bool `json:"rgmanager,omitempty"`
	// Master and Worker are set with central processing.
	Master bool `json:"master,omitempty"`
	Worker bool `json:"worker,omitempty"`
	// QDisk: it is the quorum disk.
	QDisk bool `json:"qdisk,omitempty"`
}

// Service is a resource group.
type Service struct {
	Name       string    `json:"name"` // "service:web"
	State      int       `json:"state"`
	StateName  string    `json:"stateName"`
	Flags      uint32    `json:"flags"`
	Owner      uint32    `json:"owner"`
	LastOwner  uint32    `json:"lastOwner"`
	Restarts   uint32    `json:"restarts"`
	Transition time.Time `json:"transition"`
	// OwnerName and LastOwnerName are for readers of the JSON.
	OwnerName     string `json:"ownerName,omitempty"`
	LastOwnerName string `json:"lastOwnerName,omitempty"`
}

// Request is the body of POST /v1/request: something to do with a service.
type Request struct {
	Service string `json:"service"`
	// Action is "enable", "disable", "stop", "restart", "relocate",
	// "migrate", "freeze", "unfreeze" or "convalesce".
	Action string `json:"action"`
	// Target is the preferred node, 0 for none.
	Target uint32 `json:"target,omitempty"`
	// ByDomain: the failover domain decides where to (clusvcadm -e -F).
	ByDomain bool `json:"byDomain,omitempty"`
}

// Answer is what a request came to.
type Answer struct {
	// Code is rgmanager's result code, 0 or negative.
	Code int `json:"code"`
	// Owner is the node that the service runs on now.
	Owner uint32 `json:"owner,omitempty"`
	// Text is the code in words.
	Text string `json:"text"`
}

// Lock is the body of POST /v1/lock, and the answer: whether services are
// locked. Lock null only asks.
type Lock struct {
	Lock   *bool `json:"lock,omitempty"`
	Locked bool  `json:"locked"`
}

// Idle is the body of POST /v1/idle: a person's word that a member of the
// cluster without rgmanager runs no services. By says who that is, for the logs.
type Idle struct {
	Node uint32 `json:"node"`
	By   string `json:"by"`
}

// Weight is the answer to GET /v1/weight: what this node's services are worth
// in a fence race.
type Weight struct {
	Weight int `json:"weight"`
}

// Why is the answer to GET /v1/why?service=NAME: where a service is, and the
// decisions that brought it there, oldest first.
type Why struct {
	Service   Service    `json:"service"`
	Decisions []Decision `json:"decisions"`
}

// Decision is one decision about a service, with its inputs.
type Decision struct {
	Serial  uint64 `json:"serial"`
	Service string `json:"service"`
	// Time has milliseconds if the rgmanager that was asked was there; otherwise
	// they are 0.
	Time time.Time `json:"time"`
	// Cause is the event, Why the reason of what was decided.
	Cause string `json:"cause"`
	Why   string `json:"why"`
	From  string `json:"from"`
	To    string `json:"to"`
	// Node is the one chosen or meant, "" for none.
	Node string `json:"node,omitempty"`
	// Candidates are the nodes that were looked at.
	Candidates []Candidate `json:"candidates,omitempty"`
}

// Candidate is a node that was looked at for a service.
type Candidate struct {
	Node string `json:"node"`
	// Score is 0 illegal, 1 good, 2 better, 3 best, by the failover domain.
	Score   int    `json:"score"`
	Running int    `json:"running"`
	Verdict string `json:"verdict"`
}

// Codes of answers that the tools treat specially.
const (
	CodeSuccess = 0
	CodeFail    = -1
	CodeInvalid = -8
	CodeRunning = -10
)

// ResultText is a result code in words, as clusvcadm prints it.
func ResultText(code int) string {
	switch code {
	case 0:
		return "Success"
	case 1:
		return "Yes"
	case 2:
		return "No"
	case -1:
		return "Failure"
	case -2:
		return "Aborted; service failed"
	case -3:
		return "Service not mastered locally"
	case -4:
		return "Service does not exist"
	case -5:
		return "Operation would cause a deadlock"
	case -6:
		return "Temporary failure; try again"
	case -7:
		return "Operation violates dependency rule"
	case -8:
		return "Invalid operation for resource"
	case -9:
		return "Operation requires quorum"
	case -10:
		return "Service is already running"
	case -11:
		return "Failure: Service is frozen"
	case -12:
		return "Target node dead / nonexistent"
	case -13:
		return "Fencing operation pending; try again later"
	case -14:
		return "S/Lang Script Error"
	case -15:
		return "Service not runnable"
	case -16:
		return "Service not runnable: cannot run exclusive"
	case -17:
		return "Failed; service running on original owner"
	case -18:
		return "Permission denied"
	case -19:
		return "Warning; see system logs"
	}
	return "Unknown"
}

// FullName puts "service:" in front of a name without a type.
func FullName(name string) string {
	if name == "" || strings.Contains(name, ":") {
		return name
	}
	return "service:" + name
}

// NodeName is the name of a node: "none" for 0, "unknown" for one that is not
// in the list.
func (s *Status) NodeName(id uint32) string {
	if id == 0 {
		return "none"
	}
	for i := range s.Nodes {
		if s.Nodes[i].ID == id {
			return s.Nodes[i].Name
		}
	}
	return "unknown"
}

// Node finds a node by name, or nil.
func (s *Status) Node(name string) *Node {
	for i := range s.Nodes {
		if s.Nodes[i].Name == name {
			return &s.Nodes[i]
		}
	}
	return nil
}

// Service finds a service by its full name, or nil.
func (s *Status) Service(name string) *Service {
	for i := range s.Services {
		if s.Services[i].Name == name {
			return &s.Services[i]
		}
	}
	return nil
}

// Closest returns the names that share the longest beginning with name, and
// none if not even the first letter is shared.
func (s *Status) Closest(name string) []string {
	best := 0
	var out []string
	for _, n := range s.Nodes {
		l := 0
		for l < len(name) && l < len(n.Name) && name[l] == n.Name[l] {
			l++
		}
		switch {
		case l == 0 || l < best:
		case l > best:
			best, out = l, []string{n.Name}
		default:
			out = append(out, n.Name)
		}
	}
	return out
}
