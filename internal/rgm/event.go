package rgm

import (
	"log/slog"
	"time"

	"github.com/haobox/haobox/internal/cluster"
	"github.com/haobox/haobox/internal/clusterconf"
	"github.com/haobox/haobox/internal/restree"
)

// Options are what a Core knows from the beginning.
type Options struct {
	// Self is this process in the group. Name is the node's name.
	Self cluster.Member
	Name string
	// Kept are the services that the process before this one left, from the
	// last Save; nil after a boot. They are checked and adopted if all is well.
	Kept []Kept
	// SkipInit leaves out stopping every service once at the start (option -N).
	SkipInit bool
	// Pause is how long the time between two steps may be before the node
	// takes itself for one that was paused, and proves that it still belongs
	// to the cluster before it touches anything (PauseFor). It must be longer
	// than the time between two Ticks (TickFor). 0 means DefaultPause.
	Pause time.Duration
	// AssumeIdle is how long the members of the cluster whose rgmanager is not
	// there are waited for after the first one of the group came, until they are
	// taken to run no service. 0 means for ever: until their rgmanager comes,
	// they are known to be off, or a person says so (AssumeIdleRequest). A
	// process that was killed, or is still stopping after its engine ended, may
	// have left services running for any time.
	AssumeIdle time.Duration
	// Debug logs what rgmanager logs at its debug level, too.
	Debug bool
}

// RetryAfter is how long a service waits that no node could start, before it
// is tried again without any other reason. Ours; rgmanager waits for the next
// change of members.
const RetryAfter = 60 * time.Second

// Event is something that happens to a Core.
type Event interface{ rgmEvent() }

// Engine is an event of the group or of the watch of the cluster engine: View,
// Message, Membership, Quorum, Lost.
type Engine struct{ Event cluster.Event }

// Config is a configuration that was read and found good: the first one, or a
// newer one. The set must be a new one for each event; the core owns it.
type Config struct {
	Config *clusterconf.Config
	Set    *restree.Set
}

// NodeSafe says that fenced knows a node to be off, as of a ring.
type NodeSafe struct {
	Node cluster.NodeID
	// Ring is the sequence of the last ring that fenced has taken into account.
	Ring uint64
	// Left: the node is not off, but left the fence domain in order. It is
	// enough for a node whose rgmanager stopped its services or that is gone
	// from the cluster, not for one whose rgmanager ended and left services
	// running.
	Left bool
}

// AgentEnded is the end of a RunAgent.
type AgentEnded struct {
	ID   uint64
	Exit int
}

// Check asks for a status check at once: a watcher saw that something of a
// service changed. Resource is "type:name", "" for all of the service.
type Check struct{ Service, Resource string }

// Client is a request that came in on this node. It gets one Reply.
type Client struct {
	ID      uint64
	Request Request
}

// Shutdown ends the daemon: it stops its services, which others then start.
// With Keep it leaves them running for the next process on this node.
type Shutdown struct{ Keep bool }

// Tick is time that passed.
type Tick struct{}

func (Engine) rgmEvent()     {}
func (Config) rgmEvent()     {}
func (NodeSafe) rgmEvent()   {}
func (AgentEnded) rgmEvent() {}
func (Check) rgmEvent()      {}
func (Client) rgmEvent()     {}
func (Shutdown) rgmEvent()   {}
func (Tick) rgmEvent()       {}

// Action is something that a Core wants to be done.
type Action interface{ rgmAction() }

// Send sends a message to the group.
type Send struct{ Payload []byte }

// RunAgent runs a resource agent and gives back its end as AgentEnded.
type RunAgent struct {
	// ID is new for each run.
	ID      uint64
	Service string
	Call    restree.Call
	// Silent: a failure is not worth a notice (the stop of everything at the
	// start, or a status check of something that was not started).
	Silent bool
}

// KillAgent ends a run that takes too long to wait for: its AgentEnded is still
// expected.
type KillAgent struct{ ID uint64 }

// Log writes a line, in rgmanager's words. Levels are those of slog with
// Notice and those above Error below.
type Log struct {
	Level   slog.Level
	Text    string
	Service string
	Node    cluster.NodeID
}

// Levels between and above those of slog, for syslog's.
const (
	LevelDebug   = slog.LevelDebug
	LevelInfo    = slog.LevelInfo
	LevelNotice  = slog.Level(2)
	LevelWarning = slog.LevelWarn
	LevelErr     = slog.LevelError
	LevelCrit    = slog.Level(12)
	LevelAlert   = slog.Level(16)
	LevelEmerg   = slog.Level(20)
)

// Reply answers a Client event.
type Reply struct {
	ID     uint64
	Result Result
	// Owner is where the service is now, 0 for nowhere.
	Owner cluster.NodeID
}

// Changed tells that a service changed, on every node. Old is the zero value
// for a new service, New for a removed one.
type Changed struct{ Old, New Service }

// Save keeps the services in this node's hands for the next process. It must be
// done before the actions that follow. A file that does not survive a boot is
// the place.
type Save struct{ Kept []Kept }

// HardDown makes the node go down at once without stopping anything: it has
// to be gone and could not stop its services.
type HardDown struct{ Reason string }

// Leave leaves the group in order. Exit ends the process; nothing follows it.
type Leave struct{}

// Exit ends the process with a status.
type Exit struct{ Code int }

func (Send) rgmAction()      {}
func (RunAgent) rgmAction()  {}
func (KillAgent) rgmAction() {}
func (Log) rgmAction()       {}
func (Reply) rgmAction()     {}
func (Changed) rgmAction()   {}
func (Save) rgmAction()      {}
func (HardDown) rgmAction()  {}
func (Leave) rgmAction()     {}
func (Exit) rgmAction()      {}
