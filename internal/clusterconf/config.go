package clusterconf

import (
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"time"

	"github.com/haobox/haobox/internal/restree"
	"github.com/haobox/haobox/internal/xmldoc"
)

const (
	// Path is where the file is.
	Path = "/etc/cluster/cluster.conf"
	// PathVariable overrides it, as cman(8) documents.
	PathVariable = "COROSYNC_CLUSTER_CONFIG_FILE"
	// RunningPath is where daemons keep a copy of the file that they run
	// with. It is what "the running configuration" means to the tools.
	RunningPath = "/run/haobox/cluster.conf"
	// MaxDiskNode is the highest node id with a quorum disk, which has 16
	// slots (qdisk(5)).
	MaxDiskNode = 16
)

// File is the configuration file of a machine with this environment: the one
// that PathVariable names, or Path.
func File(getenv func(string) string) string {
	if v := getenv(PathVariable); v != "" {
		return v
	}
	return Path
}

// RunningFile is the file with the configuration that a node runs with: the
// copy that daemons keep, or, where exists says that there is none, File.
func RunningFile(getenv func(string) string, exists func(file string) bool) string {
	if exists(RunningPath) {
		return RunningPath
	}
	return File(getenv)
}

// Config is the meaning of a file: what it says, and defaults for what it
// leaves out. It is read-only after Decode.
type Config struct {
	Name    string
	Version int
	Nodes   []Node
	Cman    Cman
	Totem   Totem
	// Quorumd is nil without a quorum disk.
	Quorumd      *Quorumd
	FenceDaemon  FenceDaemon
	FenceDevices []FenceDevice
	DLM          DLM
	// GroupdCompat is group/@groupd_compat.
	GroupdCompat int
	RM           RM

	// Doc is where it all comes from.
	Doc *xmldoc.Document
}

// Node is a clusternode.
type Node struct {
	Name  string
	ID    int
	Votes int
	// Weight is for the DLM, -1 if it is not set.
	Weight  int
	AltName *AltName
	// FenceDelay is the wait before this node is fenced.
	FenceDelay time.Duration
	// Methods of fencing, in order of trial.
	Methods []Method
	// Unfence are the devices that let the node in again; all are run.
	Unfence []Device
	Elem    *xmldoc.Element
}

// AltName is a node's name on the second ring.
type AltName struct {
	Name, Mcast string
	Port, TTL   int
	Elem        *xmldoc.Element
}

// Method is a way to fence a node: all its devices, in order.
type Method struct {
	Name    string
	Devices []Device
	Elem    *xmldoc.Element
}

// Device is a use of a fence device.
type Device struct {
	Name string
	// Args are all attributes but the name, in the order of the file.
	Args []Arg
	Elem *xmldoc.Element
}

// FenceDevice is a fence device with its agent.
type FenceDevice struct {
	Name, Agent string
	// Args are all attributes but the name, agent included, in the order of
	// the file.
	Args []Arg
	Elem *xmldoc.Element
}

// Arg is an argument of a fence agent.
type Arg struct{ Name, Value string }

// String returns name=value, without the value of a secret.
func (a Arg) String() string {
	if secret(a.Name) {
		return a.Name + "=***"
	}
	return a.Name + "=" + a.Value
}

// LogValue is String, for slog.
func (a Arg) LogValue() slog.Value { return slog.StringValue(a.String()) }

// FenceArgs returns what a fence agent reads on its standard input for a
// device: the device's attributes, nodename unless the text has "nodename="
// already, then the fence device's attributes. Nothing is overridden or left
// out: a name in both places is there twice (fenced(8)). The text holds
// secrets.
func FenceArgs(d Device, fd FenceDevice, victim string) []byte {
	var b strings.Builder
	for _, a := range d.Args {
		b.WriteString(a.Name + "=" + a.Value + "\n")
	}
	if !strings.Contains(b.String(), "nodename=") {
		b.WriteString("nodename=" + victim + "\n")
	}
	for _, a := range fd.Args {
		b.WriteString(a.Name + "=" + a.Value + "\n")
	}
	return []byte(b.String())
}

// MaxFenceArgs is the longest text for a fence agent in bytes (fenced(8)).
const MaxFenceArgs = 4095

// Cman is the element cman.
type Cman struct {
	TwoNode bool
	// ExpectedVotes is the configured value, 0 if there is none; see
	// Config.ExpectedVotes.
	ExpectedVotes int
	// QuorumDevPoll is how long a quorum device may be silent.
	QuorumDevPoll   time.Duration
	ShutdownTimeout time.Duration
	CCSDPoll        time.Duration
	Port            int
	// ClusterID is the configured or computed id of the cluster.
	ClusterID int
	Transport string
	Broadcast bool
	KeyFile   string
	// Disallowed enables the disallowed mode.
	Disallowed bool
	// Multicast addresses of the rings, configured or computed.
	Multicast, AltMulticast string
	TTL                     int
}

// Totem is the element totem.
type Totem struct {
	Token     time.Duration
	TokenSet  bool // the file has it
	Join      time.Duration
	Consensus time.Duration
	RRPMode   string
	SecAuth   bool
}

// Quorumd is the element quorumd. Times are as configured or, if they are not,
// computed from the token as qdisk(5) says.
type Quorumd struct {
	Interval                              time.Duration
	TKO, TKOUp, UpgradeWait, MasterWait   int
	Votes                                 int
	VotesAuto                             bool // not configured: one less than there are nodes
	MinScore                              int
	Device, Label, CmanLabel, StatusFile  string
	Scheduler                             string
	Priority                              int
	Reboot, StopCman, IOTimeout, Paranoid bool
	AllowKill, UseUptime                  bool
	MasterWins, MasterWinsSet             bool
	MaxErrorCycles                        int
	Heuristics                            []Heuristic
	Elem                                  *xmldoc.Element
}

// MasterRecovery is how long a new master takes at least: it must be less than
// the token.
func (q *Quorumd) MasterRecovery() time.Duration {
	return q.Interval * time.Duration(q.TKO+q.MasterWait+q.UpgradeWait)
}

// Heuristic is a program that earns score.
type Heuristic struct {
	Program  string
	Score    int
	Interval time.Duration
	TKO      int
	Elem     *xmldoc.Element
}

// FenceDaemon is the element fence_daemon. A delay of -1 s means for ever.
type FenceDaemon struct {
	PostJoinDelay, PostFailDelay time.Duration
	OverrideTime                 time.Duration
	OverridePath                 string
	CleanStart, SkipUndefined    bool
	CheckDelay                   time.Duration
	// Race is fence_race: who shoots first when the cluster splits into two
	// quorate halves. RaceDelay is how much later the other may, 0 for what
	// follows from the token.
	Race      string
	RaceDelay time.Duration
	// RetryMax bounds the pause between attempts, 0 for fenced's default.
	RetryMax time.Duration
}

// DLM is the element dlm, with gfs_controld for what it leaves out.
type DLM struct {
	Protocol                                                string
	LogDebug                                                bool
	EnableFencing, EnableQuorum, EnableDeadlk, EnablePlock  bool
	PlockDebug, PlockOwnership                              bool
	PlockRateLimit                                          int
	DropResourcesTime, DropResourcesCount, DropResourcesAge int // ms, number, ms
	TimeWarn                                                int // centiseconds, 0 for the kernel's default
}

// RM are the attributes of the element rm.
type RM struct {
	Present bool
	// StatusPollInterval is 10 s, or with StatusPollSet what the file says:
	// then no service is checked more often, whatever its agents want.
	StatusPollInterval time.Duration
	StatusPollSet      bool
	// StatusChildMax is 0 for no limit.
	StatusChildMax int
	// StatusMax is how many clients may ask for the state of services at a time,
	// at least 3, or 0 for no limit. Differs from rgmanager: 5 without the
	// attribute.
	StatusMax            int
	TransitionThrottling time.Duration
	CentralProcessing    bool
	Disabled             bool
	// LogLevel is the legacy level, -1 if there is none.
	LogLevel    int
	LogFacility string
}

// Node returns the node with exactly this name, or nil.
func (c *Config) Node(name string) *Node {
	for i := range c.Nodes {
		if c.Nodes[i].Name == name {
			return &c.Nodes[i]
		}
	}
	return nil
}

// NodeByID returns the node with the id, or nil.
func (c *Config) NodeByID(id int) *Node {
	for i := range c.Nodes {
		if c.Nodes[i].ID == id {
			return &c.Nodes[i]
		}
	}
	return nil
}

// FenceDevice returns the fence device with the name, or nil.
func (c *Config) FenceDevice(name string) *FenceDevice {
	for i := range c.FenceDevices {
		if c.FenceDevices[i].Name == name {
			return &c.FenceDevices[i]
		}
	}
	return nil
}

// NodeVotes is the sum of the votes of all nodes.
func (c *Config) NodeVotes() int {
	sum := 0
	for _, n := range c.Nodes {
		sum += n.Votes
	}
	return sum
}

// DeviceVotes is the votes of the quorum disk, 0 without one.
func (c *Config) DeviceVotes() int {
	if c.Quorumd == nil {
		return 0
	}
	return c.Quorumd.Votes
}

// ExpectedVotes is the configured number, else the sum of the nodes' votes.
func (c *Config) ExpectedVotes() int {
	if c.Cman.ExpectedVotes > 0 {
		return c.Cman.ExpectedVotes
	}
	return c.NodeVotes()
}

// Quorum is the number of votes that is needed when total votes are present:
// more than half of the expected and of the present ones; 1 with two_node and
// no more than two members (cman(5)).
func (c *Config) Quorum(total int) int {
	if c.Cman.TwoNode && len(c.Nodes) <= 2 {
		return 1
	}
	return max((c.ExpectedVotes()+2)/2, (total+2)/2)
}

// ClusterID is the id that cman computes from a cluster's name: 32 bit
// arithmetic, of which the low 16 bits remain.
func ClusterID(name string) int {
	var h uint32
	for i := 0; i < len(name); i++ {
		h = h*2 + uint32(name[i])
	}
	return int(h & 0xFFFF)
}

// HashClusterID is the stronger id of hash_cluster_id: FNV-1a of 32 bits,
// folded to 16.
func HashClusterID(name string) int {
	h := uint32(2166136261)
	for i := 0; i < len(name); i++ {
		h = (h ^ uint32(name[i])) * 16777619
	}
	return int(h>>16 ^ h&0xFFFF)
}

// MulticastAddress is the address that cman computes for a cluster id. The
// second ring has that of id+1. The last byte is modulo 255, not 256. [quirk]
func MulticastAddress(id int) string {
	return fmt.Sprintf("239.192.%d.%d", id>>8&0xFF, id%255)
}

// Set loads the resources of the configuration with these rules, which are
// changed by resource-defaults.
func (c *Config) Set(rules restree.Rules) *restree.Set { return restree.Load(rules, c.Doc.Root) }

// parseAddr reads an IP address with an optional prefix length, as the
// parameter of a virtual address is written.
func parseAddr(s string) (netip.Addr, bool) {
	host, _, _ := strings.Cut(s, "/")
	a, err := netip.ParseAddr(host)
	return a.Unmap(), err == nil
}
