package fencing

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/haobox/haobox/internal/cluster"
)

// Limits and defaults.
const (
	// defaultOverrideTime is override_time of fenced(8).
	defaultOverrideTime = 3 * time.Second
	// defaultRetryMax bounds the pause between attempts. Ours: the pause
	// doubles from override_time, and a z/VM that was down for a minute is asked
	// again soon after it is back.
	defaultRetryMax = 30 * time.Second
	// processGrace is how long a node whose fence daemon failed may take to come
	// back with a new one before it is killed. The original waits as long in a
	// cluster of two. It ends when the node itself leaves the cluster: nothing
	// will come back then.
	processGrace = 5 * time.Second
	// loggedRetries are the attempts logged in full.
	loggedRetries = 4
	// stillEvery is how often a victim that cannot be fenced is in the log: 600
	// retries of the original's 3 s.
	stillEvery = 30 * time.Minute
	// externalLimit is how long the word of fence_node waits for its node to be
	// called failed. Ours: longer than any token, and short, because nothing
	// but the ring tells lives of a node apart.
	externalLimit = time.Minute
	// defaultCheckDelay is fence_check_delay.
	defaultCheckDelay = 5 * time.Second
)

// Core is the fence daemon of one node: it decides, its shell acts. It has no
// clock, starts nothing and waits for nothing. Not safe for concurrent use.
type Core struct {
	cfg     Config
	self    cluster.Member
	replica *cluster.Replica
	st      *state
	now     time.Time
	next    time.Time
	// pausedUntil is set when this node was paused while there were victims.
	pausedUntil time.Time
	out         []Action

	// usable says that st is the state of the domain. stateful that this daemon
	// was in the domain for a whole change, so that others may rely on what it
	// did; stale that it was, and that the domain went on without it. over ends
	// it all.
	usable, stateful, stale, over bool
	revision, transfers           uint64

	members  cluster.Membership
	since    map[cluster.NodeID]uint64 // ring in which a node last became a member
	quorum   cluster.Quorum
	needView uint64 // ring of the view that a Membership made known
	ring     uint64 // last ring taken into account
	// gained says that the last change of the members brought quorum.
	gained, wasQuorate bool

	wantJoin, wantLeave bool
	unfence             unfencing
	weight              uint32
	disk                cluster.NodeID
	checkPID            int
	sent                sent
	foreign             []cluster.Member // those that speak another version, one of a node

	cycle   uint64 // the change that wait is about
	counts  string // of the change, as the log has them
	wait    WaitState
	blocked bool // fencing waits for quorum
	notSaid bool // "not quorate" is in the log
	// said is the domain as the log has it, and the ring that it was last in.
	said struct {
		domain []cluster.NodeID
		ring   cluster.RingID
		open   bool // the domain changed, and its ring is not in the log yet
	}
	deferred bool
	master   cluster.NodeID
	delay    delay
	jobs     []*job
	run      int
	override bool
	killed   []killed
	external []external
}

// external is the word of fence_node on this node, until its node is a victim.
type external struct {
	node  cluster.NodeID
	ring  uint64
	until time.Time
}

// sent is what was sent to the group and not yet seen to come back.
type sent struct {
	clean, join, leave, stale bool
	start, complete           uint64
	race                      bool
	weight                    uint32
	disk                      cluster.NodeID
	ack                       uint64
	acked                     bool
}

type unfencing uint8

const (
	unfenceNot unfencing = iota
	unfenceRuns
	unfenceDone
)

// delay is what goes before the fencing of the victims of a change.
type delay struct {
	cycle   uint64
	running bool
	kind    string
	length  time.Duration
	start   time.Time
	count   int
	quorate int
	check   time.Time // fence_check is waited for until then
}

// job is the fencing of a victim by this node.
type job struct {
	id   uint64
	node cluster.NodeID
	seen time.Time // when this node knew of the victim
	// released says that the delay is over, base when the victim may be fenced
	// but for the race, and grace when that may be at the earliest while the node
	// is in the cluster.
	released    bool
	base, grace time.Time
	attempt     int
	running     bool
	run         int
	started     time.Time
	next        time.Time
	// done is the operation that made it off, if it did.
	done     *Op
	sentDone bool
	result   string // of the last attempt, for the limits of logging
	still    time.Time
	told     bool // the wait for the race is in the log
}

// killed is a node whose engine was told to end, in a ring.
type killed struct {
	node cluster.NodeID
	ring uint64
}

// New returns the core of the daemon that is the member self of Group.
func New(cfg Config, self cluster.Member) *Core {
	c := &Core{cfg: cfg.withDefaults(), self: self, st: &state{}, since: map[cluster.NodeID]uint64{}}
	c.replica = cluster.NewReplica((*machine)(c), self)
	return c
}

func (c Config) withDefaults() Config {
	if c.OverrideTime <= 0 {
		c.OverrideTime = defaultOverrideTime
	}
	if c.RetryMax <= 0 {
		c.RetryMax = defaultRetryMax
	}
	c.RetryMax = max(c.RetryMax, c.OverrideTime)
	if c.CheckDelay <= 0 {
		c.CheckDelay = defaultCheckDelay
	}
	if c.Token <= 0 {
		c.Token = defaultToken
	}
	if c.OffTime <= 0 {
		c.OffTime = defaultOffTime
	}
	if c.Unheard <= 0 || c.Unheard > c.Token {
		c.Unheard = c.Token
	}
	c.Nodes = slices.Clone(c.Nodes)
	slices.SortFunc(c.Nodes, func(a, b Node) int { return int(int64(a.ID) - int64(b.ID)) })
	return c
}

// machine is the core as the replica's state machine.
type machine Core

func (m *machine) Apply(from cluster.Member, b []byte) {
	c := (*Core)(m)
	cmd, err := decodeCommand(b)
	switch {
	case errors.Is(err, ErrVersion):
		if !slices.Contains(c.foreign, from) { // said once
			c.foreign = append(slices.DeleteFunc(c.foreign, func(m cluster.Member) bool { return m.Node == from.Node }), from)
			c.log(slog.LevelError, "node %d is not heard: %v: install the same haobox", from.Node, err)
		}
		return
	case err != nil:
		c.log(slog.LevelError, "message of node %d ignored: %v", from.Node, err)
		return
	}
	c.revision++
	victim := c.st.victim(cmd.node)
	switch cmd.kind {
	case kindStart:
		c.log(slog.LevelDebug, "receive_start %d:%d len %d", from.Node, cmd.change, len(b))
		if cmd.change == c.st.change {
			c.log(slog.LevelDebug, "match_change %d:%d matches cg %d", from.Node, cmd.change, c.st.change)
		}
	case kindComplete:
		c.log(slog.LevelDebug, "receive_complete %d:%d len %d", from.Node, cmd.change, len(b))
	case kindDone:
		c.log(slog.LevelDebug, "receive_victim_done %d:%d flags 2 len %d", from.Node, c.st.change, len(b))
	}
	c.st.apply(from, c.replica.View(), cmd)
	if cmd.kind == kindDone && victim != nil && c.st.victim(cmd.node) == nil {
		c.log(slog.LevelDebug, "receive_victim_done %d:%d remove victim %d time %d how %d", from.Node, c.st.change, cmd.node, cmd.op.End.Unix(), cmd.how)
	}
	if cmd.kind == kindOverride && victim != nil && c.st.victim(cmd.node) == nil {
		c.log(slog.LevelWarn, "fence %s overridden by administrator intervention", c.name(cmd.node))
	}
	if mine := c.mine(); mine != nil && mine.complete {
		c.stateful = true
	}
}

func (m *machine) Snapshot() []byte { return (*Core)(m).st.encode() }

func (m *machine) Restore(b []byte, replaced bool) {
	c := (*Core)(m)
	st, err := decodeState(b)
	if err != nil {
		if errors.Is(err, ErrVersion) {
			c.log(slog.LevelError, "fenced ends: %v: install the others' haobox", err)
		} else {
			c.log(slog.LevelError, "state of the fence domain not understood: %v", err)
		}
		c.end(err)
		return
	}
	c.st, c.sent, c.cycle, c.wait = st, sent{}, 0, WaitNone
	c.revision++
	c.transfers++
	c.dropJobs()
	if replaced && c.stateful {
		c.stale = true
		c.log(slog.LevelError, "the cluster went on without this node: it does nothing until it is started anew")
	}
}

func (m *machine) Changed(v cluster.View, current bool) {
	c := (*Core)(m)
	c.usable = current
	c.revision++
	c.st.view(v)
}

func (m *machine) Dropped(b []byte) {
	c := (*Core)(m)
	c.sent = sent{}
	for _, j := range c.jobs {
		j.sentDone = false
	}
	if cmd, err := decodeCommand(b); err == nil && (cmd.kind == kindOverride || cmd.kind == kindExternal) {
		c.log(slog.LevelWarn, "word about %s was lost while the cluster changed: say it again", c.name(cmd.node))
	}
}

// Fresh says that nothing would be lost with this state: see cluster.Replica.
func (m *machine) Fresh() bool { return !m.stateful }

// Step takes an event at a time and returns what to do. Times must not go
// backwards.
func (c *Core) Step(now time.Time, ev Event) []Action {
	if gap := now.Sub(c.now); len(c.jobs) > 0 && gap >= c.cfg.Unheard {
		// The engine may have news that this Step does not know of. It needs a
		// token to hear that the others call this node failed, and has at hand
		// what ended by itself, such as the votes of a quorum disk.
		wait := c.cfg.Unheard
		if gap >= c.cfg.Token {
			wait = c.cfg.Token
		}
		c.pausedUntil = later(c.pausedUntil, now.Add(wait))
		c.log(slog.LevelDebug, "paused for %s, waiting for news of the cluster", gap.Round(time.Millisecond))
	}
	c.now, c.next = now, time.Time{}
	before := c.shown()
	if !c.over {
		c.take(ev)
		c.decide()
	}
	if c.shown() != before {
		c.revision++
	}
	if len(c.jobs) > 0 {
		c.wake(c.now.Add(c.cfg.Unheard / 4)) // to notice a pause
	}
	out := c.out
	c.out = nil
	return out
}

// shown is what Info and Nodes show beside the state.
type shown struct {
	ready, blocked bool
	wait           WaitState
	master         cluster.NodeID
	ring           uint64
}

func (c *Core) shown() shown { return shown{c.ready(), c.blocked, c.wait, c.master, c.ring} }

// Next is when Step is to be called with a Tick at the latest; zero for never.
func (c *Core) Next() time.Time { return c.next }

func (c *Core) take(ev Event) {
	switch ev := ev.(type) {
	case Cluster:
		c.engine(ev.Event)
	case Join:
		c.wantJoin, c.wantLeave = true, false
	case Leave:
		c.wantJoin, c.wantLeave = false, true
	case Ended:
		c.ended(ev)
	case Unfenced:
		c.unfenced(ev.Result)
	case Ack:
		c.ack(ev.Name)
	case External:
		c.external = append(c.external, external{ev.Node, ev.Ring, c.now.Add(externalLimit)})
	case Weight:
		c.weight = ev.Weight
	case QuorumDisk:
		c.disk = ev.Master
	case Check:
		c.checkPID = ev.PID
	case Reconfigured:
		c.revision++
		c.cfg = ev.Config.withDefaults()
	}
}

func (c *Core) engine(ev cluster.Event) {
	switch ev := ev.(type) {
	case cluster.Lost:
		c.log(slog.LevelError, "cluster is down, exiting")
		if c.mine() != nil {
			c.log(slog.LevelError, "domain abandoned")
		}
		c.end(ev.Err)
		return
	case cluster.Membership:
		for _, id := range ev.Left {
			c.log(slog.LevelDebug, "cluster node %d removed seq %d", id, ev.Ring.Seq)
			if v := c.replica.View(); v.Ring.Seq < ev.Ring.Seq && hasNode(v, id) {
				c.needView = ev.Ring.Seq
			}
		}
		for _, id := range ev.Members {
			if c.since[id] == 0 || slices.Contains(ev.Joined, id) {
				c.since[id] = ev.Ring.Seq
			}
		}
		for _, id := range ev.Joined {
			c.log(slog.LevelDebug, "cluster node %d added seq %d", id, ev.Ring.Seq)
		}
		c.members = ev
		c.revision++
		return
	case cluster.Quorum:
		c.gained = ev.Quorate && !c.wasQuorate
		c.wasQuorate, c.quorum = ev.Quorate, ev
	}
	send, err := c.replica.Step(ev)
	if err != nil {
		c.log(slog.LevelError, "message ignored: %v", err)
	}
	if v, is := ev.(cluster.View); is && !v.Has(c.self) {
		c.end(nil) // the shell left the group
		return
	}
	for _, b := range send {
		c.out = append(c.out, Send{b})
	}
}

// end stops everything.
func (c *Core) end(err error) {
	c.dropJobs()
	c.setOverride(false)
	c.over, c.usable = true, false
	c.revision++
	c.out = append(c.out, Exit{err})
}

func (c *Core) decide() {
	c.tell()
	if !c.ready() {
		if c.stale {
			c.dropJobs()
			c.setOverride(false)
			if c.usable && !c.over && !c.sent.stale && c.st.victim(c.self.Node) == nil {
				c.sent.stale = true
				c.send(command{kind: kindStale})
			}
		}
		return
	}
	c.greet()
	c.tellExternal()
	c.change()
	c.setOverride(slices.ContainsFunc(c.jobs, func(j *job) bool { return j.attempt > 0 && !j.running && j.done == nil }))
}

// ready says that this node knows the state of the domain and may act on it.
func (c *Core) ready() bool { return c.usable && !c.stale && !c.over }

func (c *Core) mine() *member {
	if m := c.st.member(c.self.Node); m != nil && m.instance == c.self.Instance {
		return m
	}
	return nil
}

// tellDomain logs a change of the domain as the original does, which has a
// group of its own for it. Nodes outside hear nothing of that group.
func (c *Core) tellDomain() {
	now := nodes(c.st.domain)
	before := c.said.domain
	if slices.Equal(now, before) {
		return
	}
	c.said.domain = now
	if !slices.Contains(now, c.self.Node) && !slices.Contains(before, c.self.Node) {
		return
	}
	without := func(a, b []cluster.NodeID) []cluster.NodeID {
		return slices.DeleteFunc(slices.Clone(a), func(id cluster.NodeID) bool { return slices.Contains(b, id) })
	}
	joined, left := without(now, before), without(before, now)
	c.log(slog.LevelDebug, "fenced:default conf %d %d %d memb%s join%s left%s", len(now), len(joined), len(left), ids(now), ids(joined), ids(left))
	c.said.open = true
}

// tellRing logs the ring in which the domain is now: until then it was in the
// last one.
func (c *Core) tellRing() {
	v := c.replica.View()
	if old := c.said.ring; old != v.Ring && old != (cluster.RingID{}) {
		c.log(slog.LevelDebug, "check_ringid cluster %d cpg %d:%d", c.members.Ring.Seq, old.Node, old.Seq)
	}
	c.said.ring = v.Ring
	if c.said.open {
		c.said.open = false
		c.log(slog.LevelDebug, "fenced:default ring %d:%d %d memb%s", v.Ring.Node, v.Ring.Seq, len(c.said.domain), ids(c.said.domain))
	}
}

func ids(list []cluster.NodeID) string {
	var b strings.Builder
	for _, id := range list {
		fmt.Fprintf(&b, " %d", id)
	}
	return b.String()
}

// tell logs what happened to the state.
func (c *Core) tell() {
	c.tellDomain()
	// Who came and went, then the sum of it, then what follows from it.
	joined, removed, failed := 0, 0, 0
	for _, n := range c.st.notes {
		switch n.kind {
		case noteJoined:
			joined++
			c.log(slog.LevelDebug, "add_change cg %d joined nodeid %d", c.st.change, n.node)
		case noteLeft:
			removed++
			c.log(slog.LevelDebug, "add_change cg %d remove nodeid %d reason 2", c.st.change, n.node)
		case noteDown:
			removed, failed = removed+1, failed+1
			c.log(slog.LevelDebug, "add_change cg %d remove nodeid %d reason 3", c.st.change, n.node)
		case noteProcess:
			removed, failed = removed+1, failed+1
			c.log(slog.LevelDebug, "add_change cg %d remove nodeid %d reason 5", c.st.change, n.node)
		}
	}
	if joined+removed > 0 {
		c.log(slog.LevelDebug, "add_change cg %d m %d j %d r %d f %d", c.st.change, len(c.st.domain), joined, removed, failed)
	}
	for _, n := range c.st.notes {
		switch n.kind {
		case noteVictim:
			c.log(slog.LevelDebug, "add_victims node %d", n.node)
		case noteOutside:
			c.log(slog.LevelInfo, "node %d failed outside the fence domain: it is not fenced, and its state is unknown", n.node)
		case noteDone:
			if j := c.job(n.node); j != nil && (n.how == HowMember || n.how == HowExternal) {
				c.log(slog.LevelDebug, "averting fence of node %s cluster member %d cpg member %d external %d", c.name(n.node),
					bit(slices.Contains(c.members.Members, n.node)), bit(hasNode(c.replica.View(), n.node)), bit(n.how == HowExternal))
			}
		}
	}
	c.st.notes = nil
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}

func hasNode(v cluster.View, id cluster.NodeID) bool {
	return slices.ContainsFunc(v.Members, func(m cluster.Member) bool { return m.Node == id })
}

// greet tells the group of this daemon, and joins and leaves the domain.
func (c *Core) greet() {
	mine := c.mine()
	if mine == nil && !c.sent.clean {
		c.sent.clean = true
		c.send(command{kind: kindClean})
	}
	if mine != nil {
		c.sent.join = false
	} else {
		c.sent.leave = false
		if c.wantLeave {
			c.wantLeave = false
		}
	}
	switch {
	case mine == nil && c.wantJoin && !c.sent.join && len(c.members.Members) > 0:
		if c.cfg.Unfence && c.unfence != unfenceDone {
			if c.unfence == unfenceNot {
				c.unfence = unfenceRuns
				c.out = append(c.out, Unfence{})
			}
			return
		}
		c.sent.join = true
		c.send(command{kind: kindJoin, nodes: c.candidates()})
	case mine != nil && c.wantLeave && !c.sent.leave:
		c.sent.leave = true
		c.send(command{kind: kindLeave})
	}
	if mine == nil {
		return
	}
	if mine.weight == c.weight && mine.disk == c.disk {
		c.sent.race = false
	} else if !c.sent.race || c.sent.weight != c.weight || c.sent.disk != c.disk {
		c.sent.race, c.sent.weight, c.sent.disk = true, c.weight, c.disk
		c.send(command{kind: kindRace, weight: c.weight, master: c.disk})
	}
	if mine.known != c.st.raceVersion && !(c.sent.acked && c.sent.ack == c.st.raceVersion) {
		c.sent.acked, c.sent.ack = true, c.st.raceVersion
		c.send(command{kind: kindRaceAck, change: c.st.raceVersion})
	}
}

// tellExternal passes the word of fence_node on, once its node is a victim. That
// is before this node says that it is ready for the change, so that nobody has
// begun to fence.
func (c *Core) tellExternal() {
	member := c.mine() != nil
	c.external = slices.DeleteFunc(c.external, func(x external) bool {
		if member && c.st.victim(x.node) != nil {
			c.send(command{kind: kindExternal, node: x.node, ring: x.ring})
			return true
		}
		return !c.now.Before(x.until)
	})
}

// candidates are the nodes to be fenced if the domain begins with this node.
func (c *Core) candidates() (out []named) {
	if c.cfg.CleanStart {
		return nil
	}
	for _, n := range c.cfg.Nodes {
		if n.ID != c.self.Node && !slices.Contains(c.members.Members, n.ID) && (n.Methods || !c.cfg.SkipUndefined) {
			out = append(out, named{n.ID, n.Name})
		}
	}
	return out
}

func (c *Core) unfenced(r Result) {
	if c.unfence != unfenceRuns {
		return
	}
	name := c.name(c.self.Node)
	for _, e := range r.Entries {
		level := slog.LevelDebug
		if e.Code != CodeSuccess {
			level = slog.LevelError
		}
		c.log(level, "unfence %s", e.Line(name))
	}
	if !r.OK {
		c.unfence, c.wantJoin = unfenceNot, false
		c.log(slog.LevelError, "unfence %s failed: not joining the fence domain", name)
		return
	}
	c.unfence = unfenceDone
	c.log(slog.LevelInfo, "unfence %s success", name)
}

// consistent says that the engine's members and the group's view are about the
// same ring: the one may be told before the other.
func (c *Core) consistent() bool {
	v := c.replica.View()
	return v.Ring.Seq <= c.members.Ring.Seq && v.Ring.Seq >= c.needView &&
		!slices.ContainsFunc(v.Members, func(m cluster.Member) bool { return !slices.Contains(c.members.Members, m.Node) })
}

func (c *Core) quorate() bool { return c.quorum.Quorate && c.quorum.Ring == c.members.Ring }

// change takes this node through the states of the newest change.
func (c *Core) change() {
	if c.consistent() {
		c.ring = max(c.ring, c.members.Ring.Seq)
	}
	mine := c.mine()
	if mine == nil {
		c.wait, c.cycle, c.blocked = WaitNone, 0, false
		c.dropJobs()
		return
	}
	if c.cycle != c.st.change {
		c.cycle, c.wait, c.notSaid, c.deferred, c.blocked = c.st.change, WaitQuorum, false, false, false
	}
	v := c.replica.View()
	if c.wait == WaitQuorum {
		if !c.consistent() {
			return
		}
		if !c.quorate() {
			if !c.notSaid && c.quorum.Ring == c.members.Ring {
				c.notSaid = true
				c.log(slog.LevelDebug, "check_quorum not quorate")
			}
			return
		}
		c.tellRing()
		c.log(slog.LevelDebug, "check_ringid done cluster %d cpg %d:%d", c.members.Ring.Seq, v.Ring.Node, v.Ring.Seq)
		c.log(slog.LevelDebug, "check_quorum done")
		if c.sent.start != c.cycle {
			c.sent.start = c.cycle
			failed := 0
			for _, x := range c.st.victims {
				failed += bit(x.id == c.cycle)
			}
			c.counts = fmt.Sprintf("started %d m %d j %d r %d f %d", mine.started, len(c.st.domain), bit(c.st.joining), failed, failed)
			c.log(slog.LevelDebug, "send_start %d:%d flags %d %s", c.self.Node, c.cycle, bit(!mine.complete)|bit(mine.complete)<<1, c.counts)
			c.send(command{kind: kindStart, change: c.cycle})
		}
		c.wait = WaitMessages
	}
	if c.wait == WaitMessages {
		if slices.ContainsFunc(c.st.domain, func(m member) bool { return m.started != c.cycle }) {
			return
		}
		c.log(slog.LevelDebug, "wait_messages cg %d got all %d", c.cycle, len(c.st.domain))
		master, complete := c.st.master()
		word := "low"
		if complete {
			word = "complete"
		}
		c.log(slog.LevelDebug, "set_master from %d to %s node %d", c.master, word, master)
		c.master, c.wait = master, WaitFencing
	}
	if c.master != c.self.Node {
		c.dropJobs()
		if c.wait == WaitFencing && len(c.st.victims) > 0 {
			c.log(slog.LevelInfo, "fencing deferred to %s", c.name(c.master))
		}
		c.wait = WaitNone
		return
	}
	if c.wait == WaitFencing {
		c.fence()
	}
}

// fence is the work of the master.
func (c *Core) fence() {
	c.jobs = slices.DeleteFunc(c.jobs, func(j *job) bool {
		v := c.st.victim(j.node)
		gone := v == nil || v.id != j.id
		if gone && j.running {
			c.out = append(c.out, Cancel{j.run})
		}
		return gone
	})
	if len(c.st.victims) == 0 {
		c.blocked, c.wait = false, WaitNone
		c.delay.running = false
		c.complete()
		return
	}
	for i := range c.st.victims {
		v := &c.st.victims[i]
		if c.job(v.node) == nil {
			c.jobs = append(c.jobs, &job{id: v.id, node: v.node, seen: c.now})
		}
	}
	slices.SortFunc(c.jobs, func(a, b *job) int { return int(int64(a.node) - int64(b.node)) })
	if c.blocked = !c.consistent() || !c.quorate(); c.blocked {
		return
	}
	c.hold()
	for _, j := range c.jobs {
		c.attempt(j)
	}
	if !slices.ContainsFunc(c.jobs, func(j *job) bool { return !j.sentDone }) {
		c.complete()
	}
}

// complete ends the change, once. Sent right behind the word about the last
// victim it arrives behind it, and no victim comes without a new change.
func (c *Core) complete() {
	if c.sent.complete != c.cycle {
		c.sent.complete = c.cycle
		c.log(slog.LevelDebug, "send_complete %d:%d flags 2 %s", c.self.Node, c.cycle, c.counts)
		c.send(command{kind: kindComplete, change: c.cycle})
	}
}

// hold is the delay before fencing. Only those that wait for it are held.
func (c *Core) hold() {
	d := &c.delay
	held := 0
	for _, j := range c.jobs {
		held += bit(!j.released)
	}
	if held == 0 {
		d.running = false
		return
	}
	if d.cycle != c.cycle || !d.running {
		if c.checkPID != 0 {
			if d.check.IsZero() {
				d.check = c.now.Add(c.cfg.CheckDelay)
				c.log(slog.LevelDebug, "delay fencing for fence_check_pid %d", c.checkPID)
			}
			if c.now.Before(d.check) {
				c.wake(d.check)
				return
			}
			c.log(slog.LevelDebug, "kill fence_check_pid %d delay %d", c.checkPID, seconds(c.cfg.CheckDelay))
			c.out = append(c.out, StopCheck{c.checkPID})
			c.checkPID = 0
		}
		*d = delay{cycle: c.cycle, running: true, kind: "post_fail_delay", length: c.cfg.PostFailDelay, start: c.now, count: held, quorate: bit(c.gained)}
		if c.st.joining || c.gained {
			d.kind, d.length = "post_join_delay", c.cfg.PostJoinDelay
		}
		c.log(slog.LevelDebug, "delay %s %d quorate_from_last_update %d", d.kind, seconds(d.length), d.quorate)
	}
	if held < d.count {
		// Some came back: the others may be on their way too.
		d.count, d.start = held, c.now
		if d.length != Forever && (c.cfg.PostJoinDelay == Forever || c.cfg.PostJoinDelay > d.length) {
			d.kind, d.length = "post_join_delay (modified)", c.cfg.PostJoinDelay
		}
	}
	if d.length == Forever {
		return
	}
	end := d.start.Add(d.length)
	if c.now.Before(end) {
		c.wake(end)
		return
	}
	if d.length > 0 {
		c.log(slog.LevelDebug, "delay of %ds leaves %d victims", seconds(d.length), held)
	}
	for _, j := range c.jobs {
		if !j.released {
			j.released = true
			j.base, j.grace = c.base(j, end)
			c.log(slog.LevelDebug, "%s not a cluster member after %d sec %s", c.name(j.node), seconds(d.length), d.kind)
		}
	}
	d.running, d.check = false, time.Time{}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// base is when a victim may be fenced, but for the race: after the delays, and
// grace the same for a node whose fence daemon alone failed. A side of a race that
// is in doubt waits from the longer of the two delays of the configuration,
// because the other side may have chosen that one.
func (c *Core) base(j *job, end time.Time) (base, grace time.Time) {
	v := c.st.victim(j.node)
	if c.cfg.Race != RaceNone && !v.settled {
		end = later(end, c.delay.start.Add(max(c.cfg.PostJoinDelay, c.cfg.PostFailDelay)))
	}
	if grace = end; v.reason == ReasonProcess {
		grace = later(end, j.seen.Add(processGrace))
	}
	for _, n := range c.cfg.Nodes {
		if n.ID == j.node {
			end, grace = end.Add(n.Delay), grace.Add(n.Delay)
		}
	}
	return end, grace
}

func seconds(d time.Duration) int {
	if d == Forever {
		return -1
	}
	return int(d / time.Second)
}

// attempt begins the next attempt to fence a victim if it is time.
func (c *Core) attempt(j *job) {
	v := c.st.victim(j.node)
	name := c.name(j.node)
	if j.done != nil {
		if !j.sentDone {
			j.sentDone = true
			c.log(slog.LevelDebug, "send_victim_done cg %d flags 2 victim nodeid %d", c.cycle, j.node)
			c.send(command{kind: kindDone, node: j.node, id: j.id, how: HowAgent, op: *j.done})
		}
		return
	}
	if !j.released {
		return
	}
	base := j.base
	if slices.Contains(c.members.Members, j.node) {
		base = j.grace
	}
	if first := later(base, c.pausedUntil); c.now.Before(first) {
		c.wake(first)
		return
	}
	c.kill(v)
	if j.running {
		return
	}
	ok, at := c.cfg.mayStart(v, base, c.now)
	if j.next.After(at) {
		ok, at = !c.now.Before(j.next), j.next
	}
	if !ok {
		if !j.told && j.attempt == 0 && c.cfg.rank(v) > 0 {
			j.told = true
			c.log(slog.LevelInfo, "fence race with %s by %s: the other side goes first, waiting %s", name, c.raceText(v), at.Sub(c.now))
		}
		c.wake(at)
		return
	}
	c.run++
	j.attempt++
	j.running, j.run, j.started = true, c.run, c.now
	c.revision++
	switch {
	case j.attempt <= loggedRetries:
		c.log(slog.LevelInfo, "fencing node %s", name)
		j.still = c.now.Add(stillEvery)
	case !c.now.Before(j.still):
		c.log(slog.LevelInfo, "fencing node %s still retrying", name)
		j.still = c.now.Add(stillEvery)
	}
	c.out = append(c.out, Fence{Run: j.run, Node: j.node, Name: name, Attempt: j.attempt})
}

func (c *Core) raceText(v *victim) string {
	if !v.settled {
		return "node id (" + c.cfg.Race.String() + " was just changing)"
	}
	return c.cfg.Race.String()
}

// kill ends the engine of a victim that is there: its fence daemon failed, or it
// came back without having been started anew. That is not fencing; it makes its
// daemons stop.
func (c *Core) kill(v *victim) {
	stale := c.replica.View().Has(cluster.Member{Node: v.node, Instance: v.instance})
	k := killed{v.node, c.members.Ring.Seq}
	if v.reason != ReasonProcess && !stale || !slices.Contains(c.members.Members, v.node) || slices.Contains(c.killed, k) {
		return
	}
	c.killed = append(slices.DeleteFunc(c.killed, func(o killed) bool { return o.node == v.node }), k)
	c.log(slog.LevelInfo, "telling cman to remove nodeid %d from cluster", v.node)
	reason := v.reason.String()
	if stale {
		reason = "came back without a restart"
	}
	c.out = append(c.out, Kill{v.node, reason})
}

// ended takes the result of an attempt.
func (c *Core) ended(ev Ended) {
	i := slices.IndexFunc(c.jobs, func(j *job) bool { return j.running && j.run == ev.Run })
	if i < 0 {
		return
	}
	j := c.jobs[i]
	j.running = false
	c.revision++
	name := c.name(j.node)
	op := Op{Node: j.node, Name: name, Master: c.self.Node, OK: ev.Result.OK, Start: j.started, End: c.now, Attempts: 1}
	if v := c.st.victim(j.node); v != nil {
		op.Reason = v.reason
	}
	var lines strings.Builder
	for _, e := range ev.Result.Entries {
		lines.WriteString(e.Line(name) + "\n")
		op.Method, op.Device, op.Agent, op.Code, op.Detail = e.Method, e.Device, e.Agent, e.Code, e.Detail
	}
	if loud := j.attempt <= loggedRetries || lines.String() != j.result; loud || ev.Result.OK {
		for _, e := range ev.Result.Entries {
			level := slog.LevelDebug
			if e.Code != CodeSuccess {
				level = slog.LevelError
			}
			c.log(level, "fence %s", e.Line(name))
		}
		word := "failed"
		if ev.Result.OK {
			word = "success"
		}
		c.log(slog.LevelError, "fence %s %s", name, word)
	}
	j.result = lines.String()
	if ev.Result.OK {
		op.How = HowAgent
		j.done = &op
		return
	}
	pause := c.pause(j.attempt)
	j.next = c.now.Add(pause)
	c.log(slog.LevelDebug, "fence %s attempt %d failed, next in %s", name, j.attempt, pause)
	if c.ready() {
		c.send(command{kind: kindFailed, op: op})
	}
}

// pause is the time between a failed attempt and the next one.
func (c *Core) pause(attempt int) time.Duration {
	p := c.cfg.OverrideTime
	for ; attempt > 1 && p < c.cfg.RetryMax; attempt-- {
		p *= 2
	}
	return min(p, c.cfg.RetryMax)
}

func (c *Core) ack(name string) {
	for _, v := range c.st.victims {
		if !strings.EqualFold(c.name(v.node), name) {
			continue
		}
		if !c.ready() || c.mine() == nil {
			c.log(slog.LevelWarn, "override of %s ignored: this node is not in the fence domain", name)
			return
		}
		c.send(command{kind: kindOverride, node: v.node, id: v.id})
		return
	}
	c.log(slog.LevelDebug, "override of %q ignored: no such victim", name)
}

func (c *Core) dropJobs() {
	for _, j := range c.jobs {
		if j.running {
			c.out = append(c.out, Cancel{j.run})
		}
	}
	c.jobs, c.delay = nil, delay{}
}

func (c *Core) job(id cluster.NodeID) *job {
	for _, j := range c.jobs {
		if j.node == id {
			return j
		}
	}
	return nil
}

func (c *Core) setOverride(open bool) {
	if c.override != open {
		c.override = open
		c.out = append(c.out, Override{open})
	}
}

// wake asks for a Tick.
func (c *Core) wake(at time.Time) {
	if c.next.IsZero() || at.Before(c.next) {
		c.next = at
	}
}

func (c *Core) send(cmd command) {
	cmd.time = c.now
	c.out = append(c.out, Send{c.replica.Command(cmd.encode())})
}

func (c *Core) log(level slog.Level, format string, args ...any) {
	c.out = append(c.out, Log{level, fmt.Sprintf(format, args...)})
}

func (c *Core) name(id cluster.NodeID) string {
	for _, n := range c.cfg.Nodes {
		if n.ID == id {
			return n.Name
		}
	}
	if v := c.st.victim(id); v != nil && v.name != "" {
		return v.name
	}
	return fmt.Sprintf("node%d", id)
}
