package fencing

import (
	"log/slog"
	"strconv"
	"time"

	"github.com/haobox/haobox/internal/cluster"
)

// Group is the group that all fence daemons of a cluster are in. Being in it is
// not being in the fence domain: that is what Join asks for.
const Group = "haobox:fenced"

// Forever as a delay means that it never ends by time (-1 in cluster.conf).
const Forever time.Duration = -1

// Config is what the core has to know of cluster.conf. See ConfigOf.
type Config struct {
	// Nodes are all nodes of the configuration, sorted by ID.
	Nodes []Node
	// TwoNode says that one vote is enough in a cluster of two nodes, so that
	// both sides of a split are quorate.
	TwoNode bool
	// PostJoinDelay and PostFailDelay are the delays before fencing, or Forever.
	PostJoinDelay, PostFailDelay time.Duration
	// CleanStart: no startup fencing. SkipUndefined: none of nodes without a
	// method.
	CleanStart, SkipUndefined bool
	// OverrideTime is the pause after a failed attempt, in which a person may
	// answer; the pauses then double up to RetryMax. 0 means 3 s and 30 s.
	OverrideTime, RetryMax time.Duration
	// CheckDelay is how long fencing waits for a running fence_check.
	CheckDelay time.Duration
	// Race decides who shoots first if the cluster splits into two quorate
	// halves, and RaceDelay how much later the other may: see the package
	// comment. A RaceDelay of 0 is computed from Token and OffTime.
	Race      Race
	RaceDelay time.Duration
	// Token is the longest time that the halves of a split notice it one after
	// the other; 0 means 10 s, cman's default. OffTime is the time from the
	// decision to fence to the moment the victim is off; 0 means 5 s.
	Token, OffTime time.Duration
	// Unheard is the shortest pause of this node after which quorum may be lost
	// although nothing that the node did or heard says so; 0 means Token, which
	// is right where only the others can take it away.
	Unheard time.Duration
	// Unfence says that this node has unfence devices, to be run before it
	// joins.
	Unfence bool
}

// Node is a node of the configuration.
type Node struct {
	ID   cluster.NodeID
	Name string
	// Delay is added before this node is fenced: it favours the node.
	Delay time.Duration
	// Methods says that there is a method to fence it.
	Methods bool
}

// Race is a policy for fence races.
type Race uint8

// The policies, by the words of fence_daemon/@fence_race.
const (
	RaceNone     Race = iota // both halves shoot at once
	RaceServices             // the half that runs the heavier services shoots first
	RaceLowest               // the half with the lowest node id
	RaceQdisk                // the half with the master of the quorum disk
)

var raceWords = [...]string{"none", "services", "lowest", "qdisk"}

// String returns the word of cluster.conf.
func (r Race) String() string {
	if int(r) < len(raceWords) {
		return raceWords[r]
	}
	return "race " + strconv.Itoa(int(r))
}

// ParseRace returns the policy of a word.
func ParseRace(word string) (Race, bool) {
	for i, w := range raceWords {
		if w == word {
			return Race(i), true
		}
	}
	return RaceNone, false
}

// Code is the result of one device (fenced(8)); 0 is not used.
type Code uint8

// The codes; up to 10 they are those of the original.
const (
	CodeSuccess      Code = 1
	CodeAgent        Code = 2
	CodeFork         Code = 3
	CodeConfig       Code = 4
	CodeNoMethod     Code = 5
	CodeNoDevice     Code = 6
	CodeConfigAgent  Code = 7
	CodeConfigArgs   Code = 8
	CodeConfigMethod Code = 9
	CodeConfigDevice Code = 10
	CodeMethodNumber Code = 11
	CodeStatusOn     Code = 12
	CodeStatusOff    Code = 13
	CodeStatusError  Code = 14
)

// String returns the text of log lines.
func (c Code) String() string {
	words := [...]string{"", "success", "error from agent", "error from fork", "error from ccs", "error no method", "error no device",
		"error config agent", "error config args", "error config method", "error config device",
		"error method number", "status on", "status off", "status error"}
	if c >= 1 && int(c) < len(words) {
		return words[c]
	}
	return "error unknown"
}

// Entry is one device of an attempt.
type Entry struct {
	// Method and Device count from 0, as in log lines "dev M.D".
	Method, Device int
	// Agent is "" where no agent was found.
	Agent      string
	Code       Code
	Start, End time.Time
	// Detail is one line more of what went wrong, or "". Nothing secret.
	Detail string
}

// Line is the log line of a device: "CNODE1 dev 0.0 agent fence_zvmip result:
// success".
func (e Entry) Line(name string) string {
	agent := e.Agent
	if agent == "" {
		agent = "none"
	}
	return name + " dev " + strconv.Itoa(e.Method) + "." + strconv.Itoa(e.Device) + " agent " + agent + " result: " + e.Code.String()
}

// Result is how an attempt to fence a node ended: OK means that the node is
// known to be off.
type Result struct {
	OK      bool
	Entries []Entry
}

// How says what ended a victim, with the numbers of the original.
type How uint8

// The ways in which a node stops being a victim.
const (
	HowNone     How = 0
	HowAgent    How = 1 // an agent said that it is off
	HowMember   How = 2 // it came back as a clean member
	HowOverride How = 3 // a person said so
	HowExternal How = 4 // fence_node, elsewhere
)

// String returns the word of fence_tool ls.
func (h How) String() string {
	words := [...]string{"none", "agent", "member", "override", "external"}
	if int(h) < len(words) {
		return words[h]
	}
	return "unknown"
}

// Reason says why a node became a victim.
type Reason uint8

// The reasons.
const (
	ReasonStartup Reason = iota + 1 // never seen since the domain began
	ReasonNode                      // its node failed
	ReasonProcess                   // its fence daemon ended, the node is there
)

// String returns the words of the history.
func (r Reason) String() string {
	switch r {
	case ReasonStartup:
		return "not seen at start"
	case ReasonNode:
		return "node failed"
	case ReasonProcess:
		return "fence daemon failed"
	}
	return "unknown"
}

// Op is an entry of the replicated history.
type Op struct {
	Node cluster.NodeID `json:"node"`
	Name string         `json:"name"`
	// Master is the node that did it.
	Master cluster.NodeID `json:"master"`
	How    How            `json:"how"`
	// Method and Device count from 0, as in log lines; of the last device that
	// was tried.
	Method int    `json:"method"`
	Device int    `json:"device"`
	Agent  string `json:"agent"`
	Code   Code   `json:"code"`
	OK     bool   `json:"ok"`
	// Start and End are the wall clock of the master.
	Start time.Time `json:"start"`
	End   time.Time `json:"end"`
	// Attempts is how many attempts in a row ended in this way.
	Attempts int    `json:"attempts"`
	Reason   Reason `json:"reason"`
	Detail   string `json:"detail,omitempty"`
}

// HistorySize is how many operations are remembered.
const HistorySize = 1000

// NodeState is what the domain knows of a node.
type NodeState string

// States of a node, as rgmanager reads them.
const (
	// StateMember: in the fence domain, and has been through a whole change. Only
	// then may anything run on the node that relies on fencing: until then there
	// may be nodes that run and were not heard of, and if the node is cut off now,
	// it comes back as one that did nothing.
	StateMember NodeState = "member"
	// StateVictim: to be fenced.
	StateVictim NodeState = "victim"
	// StateOff: fenced, and not back yet.
	StateOff NodeState = "off"
	// StateLeft: left the domain in order.
	StateLeft NodeState = "left"
	// StateUnknown: none of these, or about to become a member. Unknown is not
	// off.
	StateUnknown NodeState = "unknown"
)

// NodeView is a node as rgmanager sees it. A failed node is safe when State is
// off or left and Ring is at or past the ring in which it was seen to go, or
// when Off is: that one survives the node's coming back.
type NodeView struct {
	ID    cluster.NodeID `json:"id"`
	Name  string         `json:"name"`
	State NodeState      `json:"state"`
	// Ring is the last ring whose consequences are in State; 0 while this node
	// does not know the state of the domain. Of a node that was off and came
	// back to the cluster without its daemon it is a ring before that.
	Ring uint64 `json:"ring"`
	// Off is the ring in which the node was last known to be off.
	Off uint64 `json:"off"`
	// Instance is that of its daemon in Group as a member or victim; 0 if none
	// is known.
	Instance uint32 `json:"-"`
}

// WaitState is the state of the newest change, with the numbers of the
// original.
type WaitState int

// States of a change.
const (
	WaitNone     WaitState = 0
	WaitQuorum   WaitState = 1
	WaitMessages WaitState = 2
	WaitFencing  WaitState = 3
)

// String returns the words of fence_tool ls.
func (w WaitState) String() string {
	words := [...]string{"none", "quorum", "messages", "fencing"}
	if w >= 0 && int(w) < len(words) {
		return words[w]
	}
	return strconv.Itoa(int(w))
}

// Info is what fence_tool ls shows.
type Info struct {
	// Joined says that this node is in the domain, Complete that it has been
	// through a whole change: see StateMember.
	Joined   bool             `json:"joined"`
	Complete bool             `json:"complete"`
	Members  []cluster.NodeID `json:"members"`
	Victims  []cluster.NodeID `json:"victims"`
	// VictimNow is the victim of the attempt that runs; between attempts, one
	// of those that are tried again.
	VictimNow cluster.NodeID `json:"victim_now"`
	Master    cluster.NodeID `json:"master"`
	Wait      WaitState      `json:"wait"`
	// Current says that this node knows the state of the domain; Stale that the
	// cluster went on without it, and it must be started anew.
	Current bool `json:"current"`
	Stale   bool `json:"stale"`
	// Nodes are all nodes, for fence_tool ls -n.
	Nodes []NodeInfo `json:"nodes"`
}

// NodeInfo is a line of fence_tool ls -n.
type NodeInfo struct {
	ID         cluster.NodeID `json:"id"`
	Name       string         `json:"name"`
	Member     bool           `json:"member"`
	Victim     bool           `json:"victim"`
	LastMaster cluster.NodeID `json:"last_master"`
	LastHow    How            `json:"last_how"`
	LastTime   time.Time      `json:"last_time"`
}

// Feeds are the events of this name that the core needs now: see Core.Feeds.
type Feeds struct{ Weight, QuorumDisk, Check bool }

// Event is what happens to the core.
type Event interface{ event() }

type (
	// Tick is the passing of time: see Core.Next.
	Tick struct{}
	// Cluster is an event of the engine: of the group Group, and of the watch.
	// The order between the two does not matter.
	Cluster struct{ cluster.Event }
	// Join asks to join the fence domain (fence_tool join).
	Join struct{}
	// Leave asks to leave it (fence_tool leave). Whether file systems or
	// services are in use is for the shell to find out before.
	Leave struct{}
	// Ended answers Fence.
	Ended struct {
		Run    int
		Result Result
	}
	// Unfenced answers Unfence. No devices is OK.
	Unfenced struct{ Result Result }
	// Ack says that a person vouches for a victim being off
	// (fence_ack_manual). The name is compared without case.
	Ack struct{ Name string }
	// External says that a node was fenced by somebody else (fence_node). Ring
	// is the Ring of the node's NodeView from before that began, on this node: it
	// tells which life of the node ended.
	External struct {
		Node cluster.NodeID
		Ring uint64
	}
	// Weight is the weight of the services that run on this node.
	Weight struct{ Weight uint32 }
	// QuorumDisk is the node that this node sees as the master of the quorum
	// disk; 0 for none.
	QuorumDisk struct{ Master cluster.NodeID }
	// Check says that a fence_check is running as a process; 0 that none is.
	Check struct{ PID int }
	// Reconfigured is a new configuration.
	Reconfigured struct{ Config Config }
)

func (Tick) event()         {}
func (Cluster) event()      {}
func (Join) event()         {}
func (Leave) event()        {}
func (Ended) event()        {}
func (Unfenced) event()     {}
func (Ack) event()          {}
func (External) event()     {}
func (Weight) event()       {}
func (QuorumDisk) event()   {}
func (Check) event()        {}
func (Reconfigured) event() {}

// Action is what the shell does.
type Action interface{ action() }

type (
	// Send sends a message to Group.
	Send struct{ Payload []byte }
	// Fence begins an attempt to fence a node. It is answered by Ended with the
	// same Run. Several may run at once, one for each victim.
	Fence struct {
		Run  int
		Node cluster.NodeID
		Name string
		// Attempt counts from 1.
		Attempt int
	}
	// Cancel ends an attempt: its agents are killed and its result does not
	// count.
	Cancel struct{ Run int }
	// Unfence runs this node's unfence devices; answered by Unfenced.
	Unfence struct{}
	// Kill asks the engine to end a node's engine (cluster.Admin.Kill). It is
	// not fencing.
	Kill struct {
		Node   cluster.NodeID
		Reason string
	}
	// Override says whether the FIFO of fence_ack_manual is to be there; what
	// is written to it comes as Ack.
	Override struct{ Open bool }
	// StopCheck ends a fence_check that held fencing up for too long.
	StopCheck struct{ PID int }
	// Log is a line for the log file; Level is that of the original.
	Log struct {
		Level slog.Level
		Text  string
	}
	// Exit ends the daemon: the engine is lost (Err says why), the group was left
	// (nil), or the others speak another version.
	Exit struct{ Err error }
)

func (Send) action()      {}
func (Fence) action()     {}
func (Cancel) action()    {}
func (Unfence) action()   {}
func (Kill) action()      {}
func (Override) action()  {}
func (StopCheck) action() {}
func (Log) action()       {}
func (Exit) action()      {}
