package quorumdisk

import (
	"errors"
	"fmt"
	"time"
)

// Config is what the core needs of the element quorumd of cluster.conf
// (qdisk(5)), defaults applied, and of the machine.
type Config struct {
	// Node is this node's id, 1 to MaxNodes.
	Node int
	// Interval is the time of a cycle. TKO is how many cycles a node may be
	// silent, TKOUp how many it must be heard before it counts, UpgradeWait how
	// many cycles pass before a node may bid, MasterWait how many a bid lasts
	// at least.
	Interval                            time.Duration
	TKO, TKOUp, UpgradeWait, MasterWait int
	// MinScore is the score that a node needs; 0 means more than half.
	MinScore int
	// MasterWins: only the master's vote of the device counts, on its node.
	MasterWins bool
	Reboot     bool // when the score is too low
	StopCman   bool // leave the cluster when the daemon cannot work
	IOTimeout  bool // reboot when the disk is silent for TKO cycles
	Paranoid   bool // reboot when a cycle takes that long
	AllowKill  bool // let the cluster end an evicted node
	// MaxErrorCycles is how many bad cycles in a row end the daemon; 0 for any.
	MaxErrorCycles int
	// VoteTimeout is how long the cluster counts the device's votes on a node
	// after that node's last word: quorum.device.timeout of corosync.conf(5).
	VoteTimeout time.Duration
	// Incarnation tells this life of the daemon from others; see Incarnation.
	Incarnation uint64
}

// Validate returns all faults of a configuration, joined.
func (c Config) Validate() error {
	var errs []error
	fault := func(bad bool, format string, args ...any) {
		if bad {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	fault(c.Node < 1 || c.Node > MaxNodes, "node id %d: a quorum disk has slots for 1 to %d", c.Node, MaxNodes)
	fault(c.Interval <= 0, "interval %v: it must be more than 0", c.Interval)
	fault(c.TKO < 1, "tko %d: it must be 1 or more", c.TKO)
	fault(c.TKOUp < 1 || c.UpgradeWait < 0 || c.MasterWait < 1, "tko_up %d, upgrade_wait %d, master_wait %d: too small", c.TKOUp, c.UpgradeWait, c.MasterWait)
	fault(c.VoteTimeout < c.limit(), "the votes of the disk last %v, but a node is evicted after %v: set quorum_dev_poll to more than interval x tko", c.VoteTimeout, c.limit())
	return errors.Join(errs...)
}

// limit is how long a node may be silent before others may act on it.
func (c Config) limit() time.Duration { return c.Interval * time.Duration(c.TKO) }

// fresh is for how long after its last good cycle a node may renew its vote:
// one cycle, and one more that is late. Whoever counts without the node must
// wait for this and for VoteTimeout. Ours.
func (c Config) fresh() time.Duration { return 2 * c.Interval }

// Time is a moment: Mono only grows, by whatever clock measures intervals, and
// Wall is in Unix seconds and may do anything.
type Time struct {
	Mono time.Duration
	Wall int64
}

// Ring names a membership of the cluster; it is cluster.RingID.
type Ring struct {
	Node uint32
	Seq  uint64
}

// Event is what a Core is told: one of the types below.
type Event interface{ qdiskEvent() }

// Events.
type (
	// Start comes first, and once.
	Start struct{}
	// Timer is the time that SetTimer asked for, or earlier.
	Timer struct{}
	// Read is the answer to ReadDisk.
	Read struct{ Blocks *Blocks }
	// Wrote is the answer to WriteBlock; answers come in order.
	Wrote struct {
		Node int
		Err  error
	}
	// Members is a new membership of the cluster. Nodes that have no slot are
	// left out.
	Members struct {
		Ring  Ring
		Nodes Mask
	}
	// Score is that of the heuristics; it is 1 of 1 as long as none was told.
	Score struct{ Score, Max int }
	// Registered is the answer to Register.
	Registered struct{}
	// Reload changes what can be changed while running.
	Reload struct{ Config Config }
	// Stop asks for an end in order.
	Stop struct{}
	// PeerHung is what another node says with Announce.
	PeerHung struct {
		Node int
		Call Call
	}
)

func (Start) qdiskEvent()      {}
func (Timer) qdiskEvent()      {}
func (Read) qdiskEvent()       {}
func (Wrote) qdiskEvent()      {}
func (Members) qdiskEvent()    {}
func (Score) qdiskEvent()      {}
func (Registered) qdiskEvent() {}
func (Reload) qdiskEvent()     {}
func (Stop) qdiskEvent()       {}
func (PeerHung) qdiskEvent()   {}

// Action is what a Core wants done. Actions are carried out in their order, and
// none after one that failed.
type Action interface{ qdiskAction() }

// Actions.
type (
	// ReadDisk asks for all status blocks: Read. It does not hold up other
	// actions; neither does WriteBlock.
	ReadDisk struct{}
	// WriteBlock writes the block of a node, after all that was asked before:
	// Wrote.
	WriteBlock struct {
		Node   int
		Status Status
	}
	// SetTimer replaces the one before.
	SetTimer struct{ At time.Duration }
	// Poll tells the cluster that the device is alive on this node and whether
	// it votes here. It is done before what follows. If it fails because the
	// ring is another one, a Members event is under way; after any other
	// failure the daemon is no part of the cluster any more.
	Poll struct {
		Ring Ring
		Cast bool
	}
	// Register makes the device known to the cluster: Registered.
	Register struct{}
	// Unregister takes it away with its votes.
	Unregister struct{}
	// Kill makes the cluster manager of another node end. It may fail.
	Kill struct{ Node int }
	// Announce tells the other nodes that a call hangs.
	Announce struct{ Call Call }
	// Log is a line in the words of the original.
	Log struct {
		Level Level
		Text  string
	}
	// Publish is what there is to know of this node, once a cycle.
	Publish struct{ Report Report }
	// Alive says that the node's heartbeat is on the disk: it feeds a hardware
	// watchdog.
	Alive struct{}
	// Reboot takes the machine down at once.
	Reboot struct{ Reason string }
	// LeaveCluster stops the cluster manager of this node.
	LeaveCluster struct{}
	// Exit is the last action of a Core. Code is the exit status.
	Exit struct {
		Code   int
		Reason string
	}
)

func (ReadDisk) qdiskAction()     {}
func (WriteBlock) qdiskAction()   {}
func (SetTimer) qdiskAction()     {}
func (Poll) qdiskAction()         {}
func (Register) qdiskAction()     {}
func (Unregister) qdiskAction()   {}
func (Kill) qdiskAction()         {}
func (Announce) qdiskAction()     {}
func (Log) qdiskAction()          {}
func (Publish) qdiskAction()      {}
func (Alive) qdiskAction()        {}
func (Reboot) qdiskAction()       {}
func (LeaveCluster) qdiskAction() {}
func (Exit) qdiskAction()         {}

// Level is a priority of syslog(3).
type Level int

// Levels.
const (
	Emergency Level = iota
	Alert
	Critical
	Error
	Warning
	Notice
	Info
	Debug
)

// Call is a call of the disk, with the numbers that the original sent.
type Call uint32

// Calls.
const (
	CallRead  Call = 1
	CallWrite Call = 2
	CallSeek  Call = 3
)

func (c Call) String() string {
	switch c {
	case CallRead:
		return "read"
	case CallWrite:
		return "write"
	case CallSeek:
		return "seek"
	}
	return fmt.Sprintf("call %d", uint32(c))
}

// Report is what there is to know of a node at the end of a cycle.
type Report struct {
	Node                int
	Wall                int64
	Score, Max, Needed  int
	State               State
	Initializing        Mask // others
	Visible             Mask // with this node
	Master              int  // 0 for none
	Quorate             Mask // the master's part of the cluster
	Cast                bool // this node's vote as it was last given
	Errors              int  // bad cycles in a row
	Incarnation         uint64
	LastRead, LastWrite time.Duration // since then, at the time of the report
}

// Status writes the status file of qdisk(5); ctime gives a time in the form of
// ctime(3).
func (r Report) Status(ctime func(int64) string) string {
	set := func(m Mask) string {
		text := "{ "
		for _, id := range m.IDs() {
			text += fmt.Sprint(id, " ")
		}
		return text + "}"
	}
	text := fmt.Sprintf("Time Stamp: %s\nNode ID: %d\nScore: %d/%d (Minimum required = %d)\nCurrent state: %s\nInitializing Set: %s\nVisible Set: %s\n",
		ctime(r.Wall), r.Node, r.Score, r.Max, r.Needed, r.State, set(r.Initializing), set(r.Visible))
	switch {
	case r.State == StateInitializing:
	case r.Master == 0:
		text += "Master Node ID: (none)\n"
	default:
		text += fmt.Sprintf("Master Node ID: %d\nQuorate Set: %s\n", r.Master, set(r.Quorate))
	}
	return text + "\n"
}

// phase is where a Core is in its life.
type phase int

const (
	phaseNew phase = iota
	phaseInit
	phaseRegister
	phaseRun
	phaseLast // the last block is being written
	phaseEnd
)

// slot is what is known of another node.
type slot struct {
	internal State // what this node thinks of it; the disk's below
	disk     State
	// inc is its life that counts, evil one that was evicted.
	inc, evil, diskInc uint64
	updater            uint32
	timestamp          uint64
	known              bool // read at least once
	misses, seen       int
	// changes counts heartbeats since the first look; that one may be of long ago.
	changes int
	// lastActive is when its heartbeat was last seen to change while it could
	// have had a vote, or the first look.
	lastActive time.Duration
	message    Message
	seq        uint16
	argument   uint32
	masterMask Mask
}

// up reports whether the node counts.
func (s *slot) up() bool { return s.internal >= StateInitializing && s.internal != StateExiting }

// alive reports whether the node must be reckoned with in an election: it is
// up, or it was heard lately without being up yet. The original did not look
// at the latter, and two nodes could elect themselves at once.
func (s *slot) alive(tko int) bool {
	return s.up() || s.disk >= StateInitializing && s.disk != StateExiting && s.changes > 0 && s.misses <= tko && (s.evil == 0 || s.evil != s.diskInc)
}

// Core decides for one node: heartbeats, who is up, who is master, who is
// evicted, and whether the votes of the disk count here. It is qdiskd(8)
// without a disk, a clock or a cluster. Not safe for concurrent use.
//
// What makes two sides that both count the disk's votes impossible, beyond the
// original:
//
//   - A node renews its vote only after a good read and a good write of its
//     own, and takes it back when the disk was silent for TKO cycles, however
//     long a call hangs.
//   - It votes only in a membership that has the master whose mask names it,
//     and with every new membership it decides anew.
//   - Before it accepts a bid of a node outside of its membership it takes its
//     vote back.
//   - When a node fell silent outside of the membership of a new master, nobody
//     there votes before that node's vote must have run out (VoteTimeout).
type Core struct {
	cfg   Config
	phase phase
	slots [MaxNodes + 1]slot // by id; that of this node is not used

	ring       Ring
	members    Mask
	haveRing   bool
	registered bool
	score, max int

	// This node as it is written.
	state     State
	message   Message
	seq       uint16
	argument  uint32
	online    Mask
	mask      Mask // master mask
	timestamp uint64
	wall      int64
	upgrade   int // cycles until it may bid
	bidAge    int
	initLeft  int

	// The cycle under way.
	cycleStart time.Duration
	nextCycle  time.Duration
	idle       bool // waits for nextCycle
	reading    bool
	readBegan  time.Duration
	writes     []pendingWrite
	bad        bool // an error in this cycle
	badCycles  int
	hungTold   bool

	faults [faultsOf]fault // by what they are of: see faultOf…

	lastRead, lastWrite time.Duration // when the last good one began
	writeTimes          []time.Duration
	writeNext           int

	master    int           // found in the last cycle, 0 for none
	masters   int           // how many were found
	holdUntil time.Duration // no vote before
	heldFor   int           // the master for which that was reckoned
	cast      bool          // as last told
	castRing  Ring
	castAt    time.Duration // of the last vote

	stopping bool
	exitLeft int // cycles that a master waits for its successor
	out      []Action
}

type pendingWrite struct {
	node  int
	began time.Duration
}

// New returns a core. The configuration must be valid.
func New(cfg Config) *Core { return &Core{cfg: cfg, score: 1, max: 1} }

// Step tells the core something and returns what to do.
func (c *Core) Step(now Time, ev Event) []Action {
	c.out = nil
	if c.phase == phaseEnd {
		return nil
	}
	switch ev := ev.(type) {
	case Start:
		c.start(now)
	case Timer:
		if c.idle && now.Mono >= c.nextCycle {
			c.begin(now)
		}
	case Read:
		c.read(now, ev.Blocks)
	case Wrote:
		c.wrote(now, ev)
	case Members:
		c.ring, c.members, c.haveRing = ev.Ring, ev.Nodes, true
		c.raiseHold()
		c.vote(now, newRing)
	case Score:
		c.score, c.max = ev.Score, ev.Max
	case Registered:
		c.registered = true
		c.phase = phaseRun
		c.vote(now, newRing)
		c.begin(now)
	case Reload:
		c.reload(ev.Config)
	case Stop:
		c.stop(now)
	case PeerHung:
		if ev.Node >= 1 && ev.Node <= MaxNodes && ev.Node != c.cfg.Node {
			if again, due := c.due(now, faultOfPeer+ev.Node, "a call hangs"); due {
				c.logf(Warning, "qdiskd on node %d reports hung %s()%s", ev.Node, ev.Call, again)
			}
			c.slots[ev.Node].misses = 0
		}
	}
	if c.phase != phaseEnd && c.phase != phaseNew {
		c.watch(now)
	}
	return c.out
}

func (c *Core) do(a Action) { c.out = append(c.out, a) }

func (c *Core) logf(l Level, format string, args ...any) { c.do(Log{l, fmt.Sprintf(format, args...)}) }

// What faults are of: the blocks of the nodes from 1, all of them at once, the
// writing of this node's, and of notices, cycles that take too long, calls that
// hang, what the others say of theirs, and members without the daemon.
const (
	faultOfAll    = 0
	faultOfWrite  = MaxNodes + 1
	faultOfNotice = MaxNodes + 2
	faultOfCycle  = MaxNodes + 3
	faultOfCall   = MaxNodes + 4
	faultOfPeer   = MaxNodes + 4           // and its id
	faultOfAbsent = faultOfPeer + MaxNodes // and its id
	faultsOf      = faultOfAbsent + MaxNodes + 1
)

// faultFirst is when a fault that lasts is in the log again, and how long it has
// to be away to be a new one; after that the pauses double up to faultMax. Ours:
// the original wrote a line in every cycle, for each block.
const (
	faultFirst = time.Minute
	faultMax   = time.Hour
)

// fault is one that was met and is in the log.
type fault struct {
	text        string
	since, seen time.Duration
	next, pause time.Duration
}

// fault logs a fault if it is a new or another one, or if it is time again.
func (c *Core) fault(now Time, of int, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if again, due := c.due(now, of, text); due {
		c.logf(Error, "%s%s", text, again)
	}
}

// due reports whether a fault is to be in the log now, and how the line ends
// that says it again. Two faults of one kind are the same if their texts are.
func (c *Core) due(now Time, of int, text string) (again string, due bool) {
	f := &c.faults[of]
	switch {
	case text != f.text || now.Mono-f.seen >= faultFirst:
		*f = fault{text: text, since: now.Mono, next: now.Mono + faultFirst, pause: faultFirst}
		due = true
	case now.Mono >= f.next:
		f.pause = min(2*f.pause, faultMax)
		f.next = now.Mono + f.pause
		again, due = fmt.Sprintf(" (for %s)", seconds(now.Mono-f.since)), true
	}
	f.seen = now.Mono
	return again, due
}

// start writes the first heartbeat.
func (c *Core) start(now Time) {
	if c.phase != phaseNew {
		return
	}
	c.logf(Info, "Quorum Daemon Initializing")
	c.phase, c.state, c.initLeft = phaseInit, StateInitializing, c.cfg.TKO
	c.lastRead, c.lastWrite = now.Mono, now.Mono
	c.cycleStart = now.Mono
	c.heartbeat(now)
}

// begin starts a cycle.
func (c *Core) begin(now Time) {
	c.idle, c.bad, c.hungTold = false, false, false
	c.cycleStart = now.Mono
	c.reading, c.readBegan = true, now.Mono
	c.do(ReadDisk{})
}

// watch sets the timer and looks after the disk while nothing else happens.
func (c *Core) watch(now Time) {
	limit, silent := c.cfg.limit(), c.silent(now)
	if c.phase == phaseRun && silent >= limit && c.cast {
		// Others may evict this node from now on, and count without it.
		c.logf(Critical, "The quorum disk has been silent for %s; withdrawing its votes", seconds(silent))
		c.poll(now, false)
	}
	if c.phase == phaseRun && c.cfg.IOTimeout {
		for _, w := range []struct {
			since time.Duration
			what  string
		}{{c.lastWrite, "send a heartbeat within"}, {c.lastRead, "read from qdisk within"}} {
			if d := now.Mono - w.since; d >= limit {
				c.logf(Emergency, "Failed to %s %s (%s) - REBOOTING", w.what, plural(limit), micros(d))
				c.reboot("the quorum disk is silent")
				return
			}
		}
	}
	if c.phase == phaseLast && now.Mono-c.cycleStart >= limit {
		c.end(0, "the last block could not be written")
		return
	}
	next := now.Mono + c.cfg.Interval
	if c.idle {
		next = c.nextCycle
	} else if at, call := c.pending(); call != 0 {
		// Half of the time until eviction (the original's I/O watchdog).
		tell := at + limit/2
		if now.Mono >= tell && !c.hungTold {
			c.hungTold = true
			// A disk whose calls take so long again and again is in the log as
			// other faults are; the others hear of each.
			if again, due := c.due(now, faultOfCall, "a call hangs"); due {
				c.logf(Warning, "qdiskd: %s (system call) has hung for %d seconds%s", call, int((now.Mono-at)/time.Second), again)
				c.logf(Warning, "In %d more seconds, we will be evicted", int((at+limit-now.Mono)/time.Second))
			}
			c.do(Announce{call})
		}
		if !c.hungTold {
			next = min(next, tell)
		}
	}
	for _, at := range []time.Duration{c.lastWrite + limit, c.lastRead + limit, c.holdUntil} {
		if at > now.Mono {
			next = min(next, at)
		}
	}
	c.do(SetTimer{next})
}

// pending is the call of the disk that is under way, and since when.
func (c *Core) pending() (time.Duration, Call) {
	switch {
	case c.reading:
		return c.readBegan, CallRead
	case len(c.writes) > 0:
		return c.writes[0].began, CallWrite
	}
	return 0, 0
}

// reboot ends everything.
func (c *Core) reboot(reason string) {
	c.withdraw(Time{})
	c.do(Reboot{reason})
	c.phase = phaseEnd
}

// end is the end without a reboot.
func (c *Core) end(code int, reason string) {
	if c.registered {
		c.do(Unregister{})
		c.registered = false
	}
	c.do(Exit{code, reason})
	c.phase = phaseEnd
}

// reload takes what can change (qdisk(5)).
func (c *Core) reload(n Config) {
	was := c.cfg
	c.cfg.StopCman, c.cfg.IOTimeout, c.cfg.Paranoid, c.cfg.AllowKill = n.StopCman, n.IOTimeout, n.Paranoid, n.AllowKill
	c.cfg.MaxErrorCycles = n.MaxErrorCycles
	c.cfg.Reboot = was.Reboot && n.Reboot // it can only be switched off
	c.cfg.VoteTimeout = max(was.VoteTimeout, n.VoteTimeout)
	if was.MasterWins && !n.MasterWins {
		c.logf(Warning, "Vote count changed! Disabling master-wins")
		c.cfg.MasterWins = false
	}
}

// stop is the end in order.
func (c *Core) stop(now Time) {
	switch {
	case c.stopping || c.phase == phaseLast:
		return
	case c.phase == phaseNew:
		c.end(0, "stopped before the start")
		return
	case c.phase != phaseRun:
		c.logf(Info, "Shutdown request received during initialization")
		c.last(now)
		return
	}
	c.stopping = true
	if c.cfg.MasterWins && c.state == StateMaster {
		// The other node would lose quorum until it has elected itself.
		c.state = StateExiting
		c.exitLeft = 2*c.cfg.TKO + c.cfg.UpgradeWait + c.cfg.MasterWait
		return
	}
	c.last(now)
}

// last leaves: first the votes go, then the slot.
func (c *Core) last(now Time) {
	if c.registered {
		c.logf(Info, "Unregistering quorum device.")
		c.do(Unregister{})
		c.registered, c.cast = false, false
	}
	c.phase, c.idle, c.cycleStart = phaseLast, false, now.Mono
	c.state, c.message, c.mask, c.online = StateNone, MessageNone, 0, 0
	c.seq++
	if c.reading {
		return // read goes on with it
	}
	c.heartbeat(now)
}

// heartbeat writes this node's block.
func (c *Core) heartbeat(now Time) {
	// The others look for a change, so there is one even if the clock stands
	// still or was set back.
	next := uint64(max(now.Wall, 0))
	if now.Wall == c.wall || next == c.timestamp {
		next = c.timestamp + 1
	}
	c.timestamp, c.wall = next, now.Wall
	s := Status{
		Updater: uint32(c.cfg.Node), Timestamp: c.timestamp, Node: uint32(c.cfg.Node), State: c.state, Incarnation: c.cfg.Incarnation,
		Message: c.message, Sequence: c.seq, Argument: c.argument, Online: c.online, MasterMask: c.mask,
	}
	s.AverageWrite, s.LastWrite = c.times()
	c.write(now, c.cfg.Node, s)
}

func (c *Core) write(now Time, node int, s Status) {
	c.writes = append(c.writes, pendingWrite{node, now.Mono})
	c.do(WriteBlock{node, s})
}

// times are the mean of the last writes and the one before the last.
func (c *Core) times() (mean, before Elapsed) {
	var sum time.Duration
	for _, d := range c.writeTimes {
		sum += d
	}
	n := len(c.writeTimes)
	if n == 0 {
		return
	}
	mean = elapsed(sum / time.Duration(n))
	if n > 1 {
		before = elapsed(c.writeTimes[(c.writeNext+n-2)%n])
	}
	return mean, before
}

// maxWriteTimes is how many writes the mean is of (qdiskd).
const maxWriteTimes = 60

func (c *Core) tookWrite(d time.Duration) {
	if len(c.writeTimes) < maxWriteTimes {
		c.writeTimes = append(c.writeTimes, d)
		c.writeNext = len(c.writeTimes) % maxWriteTimes
		return
	}
	c.writeTimes[c.writeNext] = d
	c.writeNext = (c.writeNext + 1) % maxWriteTimes
}

func elapsed(d time.Duration) Elapsed {
	return Elapsed{uint32(d / time.Second), uint32(d % time.Second / time.Microsecond)}
}

// wrote goes on after a write.
func (c *Core) wrote(now Time, ev Wrote) {
	if len(c.writes) == 0 || c.writes[0].node != ev.Node {
		return // not asked for
	}
	began := c.writes[0].began
	c.writes = c.writes[1:]
	if ev.Err != nil {
		c.bad = true
		if ev.Node == c.cfg.Node {
			c.fault(now, faultOfWrite, "Error writing to quorum disk: %v", ev.Err)
		} else {
			c.fault(now, faultOfNotice, "Error writing the eviction notice of node %d: %v", ev.Node, ev.Err)
		}
	}
	if ev.Node != c.cfg.Node {
		return
	}
	if ev.Err == nil {
		c.lastWrite = began
		c.tookWrite(now.Mono - began)
		c.do(Alive{})
	}
	switch {
	case c.phase == phaseLast:
		if len(c.writes) == 0 && !c.reading {
			c.end(0, "stopped")
		}
		return
	case c.phase == phaseRun:
		c.vote(now, afterWrite)
	}
	c.finish(now)
}

// finish ends a cycle.
func (c *Core) finish(now Time) {
	c.publish(now)
	took := now.Mono - c.cycleStart
	if c.cfg.Paranoid && c.phase == phaseRun && took > c.cfg.limit() {
		c.logf(Emergency, "Failed to complete a cycle within %s (%s) - REBOOTING", plural(c.cfg.limit()), micros(took))
		c.reboot("a cycle took too long")
		return
	}
	switch {
	case !c.bad:
		c.badCycles = 0
	default:
		c.badCycles++
		if c.cfg.MaxErrorCycles > 0 && !c.cfg.IOTimeout && c.badCycles >= c.cfg.MaxErrorCycles {
			c.logf(Alert, "Too many I/O errors; giving up.")
			c.end(0, "too many I/O errors")
			return
		}
	}
	c.idle, c.nextCycle = true, c.cycleStart+c.cfg.Interval
	if took >= c.cfg.Interval {
		text := fmt.Sprintf("qdisk cycle took more than %s to complete", plural(c.cfg.Interval))
		if again, due := c.due(now, faultOfCycle, text); due {
			c.logf(Warning, "%s (%s)%s", text, micros(took), again)
		}
		c.nextCycle = now.Mono + c.cfg.Interval
	}
}

func (c *Core) publish(now Time) {
	r := Report{
		Node: c.cfg.Node, Wall: now.Wall, Score: c.score, Max: c.max, Needed: c.needed(), State: c.state, Visible: MaskOf(c.cfg.Node),
		Cast: c.cast, Errors: c.badCycles, Incarnation: c.cfg.Incarnation, LastRead: now.Mono - c.lastRead, LastWrite: now.Mono - c.lastWrite,
	}
	for id := 1; id <= MaxNodes; id++ {
		s := &c.slots[id]
		if id == c.cfg.Node {
			continue
		}
		if s.disk == StateInitializing && s.changes > 0 {
			r.Initializing = r.Initializing.With(id)
		}
		if s.internal >= StateRunning {
			r.Visible = r.Visible.With(id)
		}
	}
	switch {
	case c.state == StateMaster:
		r.Master, r.Quorate = c.cfg.Node, c.mask
	case c.master != 0 && c.master != c.cfg.Node:
		r.Master, r.Quorate = c.master, c.slots[c.master].masterMask
	}
	c.do(Publish{r})
}

// needed is the score that a node needs.
func (c *Core) needed() int {
	if c.cfg.MinScore > 0 {
		return c.cfg.MinScore
	}
	return c.max/2 + 1
}

// read goes on with what is on the disk.
func (c *Core) read(now Time, all *Blocks) {
	if !c.reading || all == nil {
		return
	}
	c.reading = false
	if c.phase == phaseLast {
		c.heartbeat(now)
		return
	}
	broken := 0
	for id := 1; id <= MaxNodes; id++ {
		if all.Node(id).Err != nil {
			broken++
		}
	}
	for id := 1; id <= MaxNodes; id++ {
		b := all.Node(id)
		if b.Err != nil {
			switch {
			case broken < MaxNodes:
				c.fault(now, id, "Error reading node ID block %d: %v", id, b.Err)
			case id == 1:
				c.fault(now, faultOfAll, "Error reading node ID block 1 and all others: %v", b.Err)
			}
			// What is torn is no heartbeat of that node, and no fault of the way
			// to the disk. What the disk does not give says nothing of the node.
			switch {
			case !content(b.Err):
				c.bad = true
			case id != c.cfg.Node:
				c.missed(id)
			}
			continue
		}
		if id == c.cfg.Node {
			if c.own(b.Status) {
				return
			}
			continue
		}
		c.look(now, id, b.Status)
	}
	if !c.bad {
		c.lastRead = c.readBegan
	}
	c.transitions(now)
	if c.phase == phaseInit {
		c.initialize(now)
		return
	}
	if c.rate(now) {
		return
	}
	c.elect(now)
	if c.state == StateExiting && c.exitLeft <= 0 {
		c.last(now)
		return
	}
	c.vote(now, beforeWrite)
	c.heartbeat(now)
}

// content reports whether the fault is in what was read.
func content(err error) bool {
	return errors.Is(err, ErrHeaderCRC) || errors.Is(err, ErrDataCRC) || errors.Is(err, ErrMagic)
}

// own looks at this node's block and reports whether this is the end.
func (c *Core) own(s Status) bool {
	if s.Updater == 0 || int(s.Updater) == c.cfg.Node {
		return false
	}
	if s.State == StateEvicted {
		c.logf(Emergency, "Evicted by node %d - REBOOTING", s.Updater)
		c.reboot(fmt.Sprintf("evicted by node %d", s.Updater))
		return true
	}
	// The original stopped itself with SIGSTOP, and was evicted for it.
	c.logf(Emergency, "Unhandled state: %d", s.State)
	c.end(exitFailed, fmt.Sprintf("node %d wrote state %d into this node's block", s.Updater, s.State))
	return true
}

// exitFailed is the exit status after a failure (qdiskd(8)).
const exitFailed = 255

// missed counts a cycle without a heartbeat.
func (c *Core) missed(id int) {
	s := &c.slots[id]
	if s.internal == StateNone && s.disk < StateInitializing {
		return
	}
	s.misses++
	if s.misses > 1 && s.internal != StateNone {
		c.logf(Debug, "Node %d missed an update (%d/%d)", id, s.misses, c.cfg.TKO)
	}
}

// look takes in the block of another node.
func (c *Core) look(now Time, id int, b Status) {
	s := &c.slots[id]
	s.disk, s.updater, s.diskInc = b.State, b.Updater, b.Incarnation
	s.message, s.seq, s.argument, s.masterMask = b.Message, b.Sequence, b.Argument, b.MasterMask
	switch {
	case !s.known:
		s.known, s.timestamp, s.lastActive = true, b.Timestamp, now.Mono
		if b.State >= StateInitializing {
			s.seen++
		}
	case b.Updater != uint32(id): // a notice of eviction is not its heartbeat
	case b.State < StateInitializing:
		s.timestamp = b.Timestamp
	case b.Timestamp == s.timestamp:
		c.missed(id)
	default:
		s.misses, s.timestamp = 0, b.Timestamp
		s.seen++
		s.changes++
		if b.State >= StateRunning {
			s.lastActive = now.Mono
		}
	}
}

// transitions are the rules of qdiskd, the first that fits for each node.
func (c *Core) transitions(now Time) {
	c.online = 0
	for id := 1; id <= MaxNodes; id++ {
		if id != c.cfg.Node && c.slots[id].known {
			c.transition(now, id)
		}
	}
}

func (c *Core) transition(now Time, id int) {
	s := &c.slots[id]
	switch {
	case s.internal == StateExiting:
		c.logf(Info, "Node %d is about to leave", id)
		s.internal = StateNone
		return
	case s.internal >= StateEvicted && s.disk <= StateEvicted || s.inc != 0 && s.inc != s.diskInc:
		if s.disk == StateEvicted {
			c.logf(Notice, "Node %d evicted", id)
		} else {
			c.logf(Notice, "Node %d shutdown", id)
			s.evil = 0
		}
		s.inc, s.seen, s.misses, s.changes, s.internal = 0, 0, 0, 0, StateNone
		return
	case s.misses > c.cfg.TKO && s.disk >= StateInitializing && s.internal != StateNone:
		if s.up() {
			c.logf(Debug, "Node %d DOWN", id)
			s.seen = 0
		}
		s.internal, s.evil = StateEvicted, s.inc
		if c.state == StateMaster {
			c.logf(Notice, "Writing eviction notice for node %d", id)
			c.evict(now, id)
		}
		return
	case s.evil != 0 && s.evil == s.diskInc && s.updater == uint32(id) && s.disk >= StateInitializing && s.misses == 0:
		c.logf(Critical, "Node %d is undead.", id)
		c.logf(Alert, "Writing eviction notice (again) for node %d", id)
		c.evict(now, id)
		return
	case s.seen > c.cfg.TKOUp && s.internal < StateInitializing && s.disk >= StateInitializing && s.disk != StateExiting && (s.evil == 0 || s.evil != s.diskInc):
		c.logf(Debug, "Node %d is UP", id)
		s.inc, s.evil, s.internal = s.diskInc, 0, StateRunning
		if s.disk != StateMaster {
			s.internal = s.disk
		}
		c.online = c.online.With(id)
		return
	case s.internal == StateRunning && s.disk == StateMaster:
		c.logf(Info, "Node %d is the master", id)
		s.internal = StateMaster
	case s.up():
		s.internal = s.disk
	default:
		return
	}
	if s.inc == 0 {
		s.inc = s.diskInc
	}
	if s.up() {
		c.online = c.online.With(id)
	}
}

// evict writes a notice into a node's block.
func (c *Core) evict(now Time, id int) {
	c.write(now, id, Status{Updater: uint32(c.cfg.Node), Timestamp: uint64(max(now.Wall, 0)), Node: uint32(id), State: StateEvicted})
	if c.cfg.AllowKill && c.members.Has(id) {
		c.do(Kill{id})
	}
}

// initialize is a cycle of the time before this node takes part.
func (c *Core) initialize(now Time) {
	if !c.bad {
		c.initLeft--
	}
	if c.initLeft > 0 {
		c.heartbeat(now)
		return
	}
	c.logf(Info, "Initial score %d/%d", c.score, c.max)
	c.logf(Info, "Initialization complete")
	if c.cfg.MinScore > c.max {
		c.logf(Warning, "Minimum score (%d) is impossible to achieve (heuristic total = %d)", c.cfg.MinScore, c.max)
	}
	if c.cfg.StopCman && c.score < c.needed() {
		c.logf(Critical, "Telling CMAN to leave the cluster; qdisk is not available")
		c.do(LeaveCluster{})
		c.end(exitFailed, "the score is too low at the start")
		return
	}
	c.state, c.phase = StateNone, phaseRegister
	c.do(Register{})
}

// rate compares the score with what is needed, and reports whether this is the
// end.
func (c *Core) rate(now Time) bool {
	needed := c.needed()
	if c.score < needed {
		if c.state >= StateRunning {
			c.logf(Notice, "Score insufficient for master operation (%d/%d; required=%d); downgrading", c.score, c.max, needed)
			c.state, c.message, c.mask = StateNone, MessageNone, 0
			c.seq++
			c.withdraw(now)
			if c.cfg.Reboot {
				c.reboot("the score is too low")
				return true
			}
		}
		return false
	}
	c.online = c.online.With(c.cfg.Node)
	switch {
	case c.state == StateNone:
		c.logf(Notice, "Score sufficient for master operation (%d/%d; required=%d); upgrading", c.score, c.max, needed)
		c.state, c.upgrade, c.message = StateRunning, c.cfg.UpgradeWait, MessageNone
		c.seq++
	case c.state == StateRunning && c.upgrade > 0:
		c.upgrade--
	}
	return false
}

// find looks for masters and for the lowest node that could be one.
func (c *Core) find() (lowest int) {
	c.master, c.masters = 0, 0
	for id := 1; id <= MaxNodes; id++ {
		running, master := false, false
		if id == c.cfg.Node {
			running, master = c.state >= StateRunning && c.state != StateExiting, c.state == StateMaster
		} else {
			s := &c.slots[id]
			running = s.internal == StateRunning || s.internal == StateMaster
			master = running && s.disk == StateMaster
			if !running && s.disk == StateMaster && s.known {
				if s.alive(c.cfg.TKO) {
					master = true // not up yet, but it is there
				} else if s.misses <= c.cfg.TKO+1 {
					c.logf(Debug, "Node %d is marked master, but is dead.", id)
				}
			}
		}
		if running && lowest == 0 {
			lowest = id
		}
		if master {
			c.masters++
			if c.master == 0 {
				c.master = id
			}
		}
	}
	return lowest
}

// elect is a cycle's part in the election.
func (c *Core) elect(now Time) {
	lowest := c.find()
	me := c.cfg.Node
	late := c.silent(now) >= c.cfg.limit()
	switch {
	case c.state == StateMaster && c.master != me:
		c.logf(Warning, "Master conflict: abdicating")
		c.abdicate(now)
	case c.state == StateMaster && late:
		// The others may have gone on without this node; what it knows of
		// being master is old.
		c.logf(Critical, "The quorum disk was out of reach for too long: abdicating")
		c.abdicate(now)
		c.master = 0
	}
	if c.state == StateExiting {
		c.exiting()
		return
	}
	if c.master != 0 && c.master != me && c.message != MessageNone {
		c.message, c.argument = MessageNone, 0
		c.seq++
	}
	switch {
	case c.state != StateRunning || late:
	case c.master == 0 && c.message == MessageBid:
		c.bid(now)
	case c.master == 0 && lowest == me && c.upgrade == 0:
		c.logf(Debug, "Making bid for master")
		c.message, c.argument, c.bidAge = MessageBid, 0, 0
		c.seq++
	case c.master == 0:
		c.ack(now)
	}
	if c.master != 0 && c.master != c.heldFor {
		c.heldFor = c.master
		c.raiseHold()
	}
	if c.state == StateMaster {
		c.mask = c.online & c.members.With(me)
		c.mask = c.mask.With(me)
		c.absent(now)
	} else {
		c.mask = 0
	}
}

// absent names the members of the cluster that do not use the disk: they have
// quorum only with the votes of nodes.
func (c *Core) absent(now Time) {
	for _, id := range c.members.IDs() {
		if id == c.cfg.Node || id > MaxNodes {
			continue
		}
		if s := &c.slots[id]; s.up() || s.disk >= StateInitializing && s.misses <= c.cfg.TKO {
			continue
		}
		if again, due := c.due(now, faultOfAbsent+id, "absent"); due {
			c.logf(Info, "node %d is up but not running qdiskd%s", id, again)
		}
	}
}

func (c *Core) abdicate(now Time) {
	c.state, c.message, c.upgrade, c.mask = StateRunning, MessageNone, c.cfg.UpgradeWait, 0
	c.seq++
	c.withdraw(now)
}

// bidder is the lowest node below this one that wants to be master, or 0.
func (c *Core) bidder() int {
	for id := 1; id < c.cfg.Node; id++ {
		if s := &c.slots[id]; s.internal >= StateRunning && s.message == MessageBid && s.misses <= c.cfg.TKO {
			return id
		}
	}
	return 0
}

// ack accepts a bid.
func (c *Core) ack(now Time) {
	id := c.bidder()
	if id == 0 {
		if c.message == MessageAck {
			c.message, c.argument = MessageNone, 0
		}
		return
	}
	if !c.members.Has(id) {
		// It will count without this side. The vote must be gone before the
		// word is on the disk.
		c.withdraw(now)
	}
	c.message, c.argument, c.seq = MessageAck, uint32(id), c.slots[id].seq
}

// bid goes on with this node's bid.
func (c *Core) bid(now Time) {
	if c.bidder() != 0 {
		c.ack(now)
		return
	}
	c.bidAge++
	alive, acks := 0, 0
	for id := 1; id <= MaxNodes; id++ {
		s := &c.slots[id]
		if id == c.cfg.Node || !s.alive(c.cfg.TKO) {
			continue
		}
		alive++
		if s.argument != uint32(c.cfg.Node) || s.seq != c.seq || s.internal < StateRunning {
			continue
		}
		switch s.message {
		case MessageAck:
			acks++
		case MessageNack:
			c.message, c.argument = MessageNone, 0
			return
		}
	}
	if acks < alive || c.bidAge < c.cfg.MasterWait {
		return
	}
	c.logf(Info, "Assuming master role")
	c.state, c.message, c.argument = StateMaster, MessageNone, 0
	c.master, c.masters = c.cfg.Node, 1
}

// raiseHold makes this node wait with its vote until those of nodes that fell
// silent outside of its membership must have run out. It is reckoned for a new
// master and for a new membership: nodes that fall silent later had no vote,
// because they had not this master.
func (c *Core) raiseHold() {
	c.holdUntil = 0
	for id := 1; id <= MaxNodes; id++ {
		s := &c.slots[id]
		switch {
		case id == c.cfg.Node, !s.known, c.members.Has(id), s.up():
			continue // in the same part, or it has accepted this master
		case s.disk == StateNone:
			continue // it took its vote back before it wrote that
		}
		c.holdUntil = max(c.holdUntil, s.lastActive+c.cfg.VoteTimeout+c.cfg.fresh())
	}
}

// exiting is a master that waits for its successor.
func (c *Core) exiting() {
	c.mask = 0
	others := false
	for id := 1; id <= MaxNodes; id++ {
		s := &c.slots[id]
		if id == c.cfg.Node {
			continue
		}
		if s.internal == StateMaster && s.disk == StateMaster {
			c.logf(Debug, "New master elected: %d", id)
			c.exitLeft = 0
			return
		}
		others = others || s.internal >= StateRunning
	}
	if !others {
		c.logf(Debug, "No other nodes are active. Exiting")
		c.exitLeft = 0
		return
	}
	c.exitLeft--
}

// Voting reports whether the disk's votes were given to this node, and not yet
// taken back.
func (c *Core) Voting() bool { return c.cast }

// Evicted reports whether this node has declared another one dead that did not
// leave in order and has not come back.
func (c *Core) Evicted(id int) bool {
	return id >= 1 && id <= MaxNodes && (c.slots[id].internal == StateEvicted || c.slots[id].evil != 0)
}

// entitled reports whether the device's votes belong to this node, and keep
// whether a vote that stands may go on standing although it is not renewed.
func (c *Core) entitled(now Time) (cast, keep bool) {
	if c.masters > 1 || c.score < c.needed() {
		return false, false
	}
	held := now.Mono < c.holdUntil
	switch {
	case c.state == StateMaster:
		return !held, true
	case c.state == StateExiting:
		return false, true
	case c.state != StateRunning || c.cfg.MasterWins:
		return false, false
	case c.master == 0:
		// An election in this part of the cluster takes less time than the
		// votes last, so it does not cost quorum.
		return false, true
	}
	m := &c.slots[c.master]
	mine := m.internal == StateMaster && m.masterMask.Has(c.cfg.Node) && c.members.Has(c.master)
	return mine && !held, mine
}

// moment is when a vote is given.
type moment int

const (
	// beforeWrite: only to take it back.
	beforeWrite moment = iota
	// afterWrite: with the heartbeat on the disk.
	afterWrite
	// newRing: at once, because the cluster waits for it.
	newRing
)

// vote tells the cluster what the votes of the device are worth here.
func (c *Core) vote(now Time, m moment) {
	if c.phase != phaseRun || !c.registered || !c.haveRing {
		return
	}
	cast, keep := c.entitled(now)
	switch silent := c.silent(now); {
	case silent >= c.cfg.limit():
		cast, keep = false, false
	case silent > c.cfg.fresh() || c.bad:
		cast, keep = false, cast || keep
	}
	// A vote that is not renewed must end before the cluster takes the device
	// for dead.
	keep = keep && c.cast && c.castRing == c.ring && now.Mono < c.castAt+c.cfg.VoteTimeout-c.cfg.Interval
	switch {
	case m == newRing:
		c.poll(now, cast)
	case cast && m == afterWrite:
		c.poll(now, true)
	case cast, keep:
	case m == afterWrite || c.cast:
		c.poll(now, false)
	}
}

// silent is for how long the disk has not answered well.
func (c *Core) silent(now Time) time.Duration {
	return max(now.Mono-c.lastWrite, now.Mono-c.lastRead)
}

// withdraw takes a vote back at once.
func (c *Core) withdraw(now Time) {
	if c.registered && c.haveRing && c.cast {
		c.poll(now, false)
	}
}

func (c *Core) poll(now Time, cast bool) {
	c.cast, c.castRing = cast, c.ring
	if cast {
		c.castAt = now.Mono
	}
	c.do(Poll{c.ring, cast})
}

// seconds is a duration for a log line.
func seconds(d time.Duration) string { return plural(d.Round(time.Second)) }

// plural is "1 second", "4 seconds".
func plural(d time.Duration) string {
	n := int(d / time.Second)
	if n == 1 {
		return "1 second"
	}
	return fmt.Sprintf("%d seconds", n)
}

// micros is the form "%d.%06d" of the original.
func micros(d time.Duration) string {
	return fmt.Sprintf("%d.%06d", d/time.Second, d%time.Second/time.Microsecond)
}
