package rgm

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/haobox/haobox/internal/cluster"
	"github.com/haobox/haobox/internal/restree"
)

// phase is how far this node is on its way to being a working member.
type phase uint8

const (
	// phaseWait: for the state, for quorum or for a configuration.
	phaseWait phase = iota
	// phaseInit: stops what should not run here, checks what was left running.
	phaseInit
	// phaseJoining: it said what it runs.
	phaseJoining
	// phaseReady: it does what it is told.
	phaseReady
)

// StopLimit is how long a node that has to stop everything, because it lost
// quorum or the engine, may take before it goes down hard. Ours: twice the 60 s
// that the slowest usual stop (a guest, then its end by force) takes.
const StopLimit = 2 * time.Minute

// hintAfter is how long services wait for a node before the log says what a
// person can do. Ours: longer than rgmanager takes to start.
const hintAfter = 15 * time.Second

// Core is one node's resource group manager. See the package's comment.
type Core struct {
	opt  Options
	self cluster.Member
	st   *state
	rep  *cluster.Replica
	now  time.Time
	last time.Time // the step before
	out  []Action

	view        cluster.View
	gone        []cluster.Change // why members went, newest last
	members     []cluster.NodeID // of the engine, as of membersRing
	membersRing uint64
	quorum      cluster.Quorum
	// hadQuorum: it was quorate as of the last ring it was told of.
	hadQuorum bool
	// worthy: the state knows something. rated is what the replica was told.
	worthy bool
	rated  cluster.Quorum

	phase phase
	life  uint32 // how often it set out to join
	// emergency says why everything is being stopped; "" if it is not.
	emergency      string
	emergencySince time.Time
	lost           bool // the engine is gone
	inited         bool // everything was stopped once
	suspect        bool // was paused, and has not proved that it belongs to the cluster
	nonce, proved  uint64
	// heardBy is when the engine has said what ended by itself in a pause.
	heardBy      time.Time
	refused      error // the group speaks another version
	shutdown     *Shutdown
	leaving      bool // said so
	left, exited bool

	config  *Config // in use
	pol     *policy
	next    *Config // to be used
	nextPol *policy
	// updating: jobs wait, or the changed resources are being stopped and
	// started.
	updating  bool
	holding   bool // a new configuration waits until no job runs
	tree      map[string]*restree.Node
	names     []string // of locals, sorted
	freshAt   time.Time
	waitsFor  string    // what was logged
	hintAt    time.Time // when to say what a person can do about it
	seenSince map[cluster.NodeID]time.Time

	// scan: all services have to be looked at, not only those that were touched;
	// dueAt is when one is due by time. could is what was allowed before.
	scan, could bool
	dueAt       time.Time
	// looks are the services that were looked for, until LookLimit is over.
	looks   []*local
	keepAt  time.Time
	touched []*local
	held    []*job // which wait for leave to go on

	locals  map[string]*local
	jobs    map[uint64]*job
	nextJob uint64
	saved   []Kept
	asked   map[uint64]bool
	safe    map[cluster.NodeID]NodeSafe
	// sent are the commands that are on their way, by what they are about.
	sent  map[string]bool
	heard heard
}

// New returns the core of a process that is about to join the group.
func New(opt Options) *Core {
	if opt.Pause <= 0 {
		opt.Pause = DefaultPause
	}
	c := &Core{opt: opt, self: opt.Self, st: newState(), locals: map[string]*local{}, jobs: map[uint64]*job{}, asked: map[uint64]bool{},
		safe: map[cluster.NodeID]NodeSafe{}, sent: map[string]bool{}, heard: heard{first: 1}, seenSince: map[cluster.NodeID]time.Time{}, saved: slices.Clone(opt.Kept)}
	c.st.self = opt.Self.Node
	c.rep = cluster.NewReplica(machine{c}, opt.Self)
	return c
}

// Step takes an event and returns what is to be done.
func (c *Core) Step(now time.Time, ev Event) []Action {
	if c.exited {
		return nil
	}
	c.now = now
	if !c.last.IsZero() && now.Sub(c.last) > c.opt.Pause {
		c.suspect = true
		c.nonce++
		delete(c.sent, "ping")
		if c.config != nil && c.config.Config.Quorumd != nil {
			// The votes of the disk may count for others by now. A node that
			// has quorum with them alone hears its own message whatever has
			// happened; the engine has at hand that they are over.
			c.heardBy = now.Add(c.opt.Pause)
		}
	}
	c.last = now
	switch ev.(type) {
	case AgentEnded, Check, Tick, NodeSafe, Client:
	default:
		c.scan = true
	}
	switch ev := ev.(type) {
	case Engine:
		c.engine(ev.Event)
	case Config:
		c.configure(ev)
	case NodeSafe:
		if !c.obsolete(ev) {
			c.safe[ev.Node] = ev
		}
	case AgentEnded:
		c.agentEnded(ev)
	case Check:
		c.check(ev)
	case Client:
		c.client(ev)
	case Shutdown:
		if c.shutdown == nil {
			c.shutdown = &ev
			c.log(LevelNotice, "", "Shutting down")
		}
	}
	c.react()
	out := c.out
	c.out = nil
	return out
}

// Next is when a Tick is due at the latest.
func (c *Core) Next() time.Time { return c.now.Add(TickFor(c.opt.Pause)) }

// Alive is a Tick of a process with nothing to do at that time: the node was
// not paused until now. Simulations use it to leave out ticks.
func (c *Core) Alive(now time.Time) {
	if !c.last.IsZero() {
		c.last = now
	}
}

// Wake is when something is due by time alone, and false if nothing is.
// Without checks, those of healthy services are left out.
func (c *Core) Wake(checks bool) (at time.Time, any bool) {
	add := func(t time.Time) {
		if !any || t.Before(at) {
			at, any = t, true
		}
	}
	if c.emergency != "" {
		add(c.emergencySince.Add(StopLimit + time.Second))
	}
	if c.suspect && c.heardBy.After(c.now) {
		add(c.heardBy)
	}
	if c.phase == phaseReady && c.st.lowest() == c.self.Node {
		for _, r := range c.st.ordered() {
			if r.RetryAt != 0 && r.State == Stopped && r.Task == noTask {
				add(time.Unix(r.RetryAt+1, 0))
			}
		}
		if c.opt.AssumeIdle > 0 && len(c.st.unknownNodes()) > 0 {
			add(c.now.Add(time.Second))
		}
	}
	if checks {
		for _, l := range c.locals {
			if l.started && l.job == nil && !l.due.IsZero() {
				add(l.due)
			}
		}
	}
	for _, l := range c.locals {
		if l.job != nil && l.job.why == forLook {
			add(l.lookSince.Add(LookLimit))
		}
	}
	return at, any
}

// Close frees what jobs under way hold, without ending their agents. A Core
// whose process goes on without it, as in a simulation, needs it.
func (c *Core) Close() {
	c.exited = true
	for _, l := range c.locals {
		if l.job != nil && l.job.o != nil {
			l.job.o.Close()
		}
	}
}

func (c *Core) do(a Action) { c.out = append(c.out, a) }

func (c *Core) log(level slog.Level, service, format string, args ...any) {
	if level < LevelInfo && !c.opt.Debug {
		return
	}
	c.logNode(0, level, service, fmt.Sprintf(format, args...))
}

// logNode writes a line that is about a node, 0 for this one.
func (c *Core) logNode(about cluster.NodeID, level slog.Level, service, text string) {
	if level < LevelInfo && !c.opt.Debug {
		return
	}
	if about == 0 {
		about = c.self.Node
	}
	c.do(Log{Level: level, Text: text, Service: service, Node: about})
}

// engine takes an event of the cluster engine.
func (c *Core) engine(ev cluster.Event) {
	switch ev := ev.(type) {
	case cluster.Membership:
		c.members, c.membersRing = ev.Members, ev.Ring.Seq
		for _, id := range ev.Members {
			if c.obsolete(c.safe[id]) {
				delete(c.safe, id)
			}
		}
		for _, id := range ev.Members {
			if _, ok := c.seenSince[id]; !ok {
				c.seenSince[id] = c.now
			}
		}
		for id := range c.seenSince {
			if !slices.Contains(ev.Members, id) {
				delete(c.seenSince, id)
			}
		}
		return
	case cluster.Lost:
		hands := slices.ContainsFunc(c.localNames(), func(name string) bool { return c.locals[name].hands })
		switch {
		case c.lost:
		case c.left && !hands:
			c.finish(0) // it was on its way out
		default:
			c.lost = true
			c.log(LevelWarning, "", "#67: Shutting down uncleanly")
			c.alarm("the cluster engine is gone")
		}
		return
	case cluster.Quorum:
		c.quorum = ev
		switch {
		case !ev.Quorate && c.hadQuorum:
			c.log(LevelEmerg, "", "#1: Quorum Dissolved")
			c.alarm("quorum was lost")
		case ev.Quorate && !c.hadQuorum && c.inited:
			c.log(LevelNotice, "", "Quorum Regained")
		}
		c.hadQuorum = ev.Quorate
	case cluster.View:
		for _, g := range ev.Left {
			c.gone = append(remove(c.gone, g), g)
		}
		c.gone = c.gone[max(0, len(c.gone)-64):]
	}
	if _, is := ev.(cluster.Quorum); is {
		return // see rate
	}
	if !c.lost {
		send, err := c.rep.Step(ev)
		if err != nil {
			c.log(LevelErr, "", "%v", err)
		}
		for _, b := range send {
			c.do(Send{Payload: b})
		}
	}
}

// rate tells the replica of quorum once the state is worth something. With
// two_node a node that boots alone is quorate at once; what it knows then, which
// is nothing, must not count for more than the state of a node that worked.
func (c *Core) rate() {
	if c.rated == c.quorum || c.quorum.Ring.Seq == 0 || !c.rep.Current() {
		return
	}
	if !c.worthy {
		c.worthy = len(c.st.records) > 0 && len(c.st.unknownNodes()) == 0
		for _, r := range c.st.records {
			c.worthy = c.worthy || r.Known
		}
		if !c.worthy {
			return
		}
	}
	c.rated = c.quorum
	if _, err := c.rep.Step(c.quorum); err != nil {
		c.log(LevelErr, "", "%v", err)
	}
}

// alarm begins to stop everything.
func (c *Core) alarm(why string) {
	if c.emergency == "" {
		c.emergency, c.emergencySince = why, c.now
	}
	c.phase = phaseWait
	clear(c.sent)
}

// machine is the Core as its replica sees it.
type machine struct{ c *Core }

func (m machine) Apply(from cluster.Member, b []byte) {
	c := m.c
	if err := c.st.apply(from, c.view, b); err != nil {
		if errors.Is(err, ErrVersion) {
			if who := fmt.Sprint("version ", from); !c.sent[who] {
				c.sent[who] = true
				c.logNode(from.Node, LevelErr, "", fmt.Sprintf("rgmanager of %s is not heard: %v; install the same haobox on all nodes", c.st.nodeName(from.Node), err))
			}
		} else {
			c.log(LevelErr, "", "%v", err)
		}
	}
	c.collect()
	if from == c.self {
		c.applied(b)
	}
}

func (m machine) Snapshot() []byte { return m.c.st.snapshot() }

func (m machine) Restore(b []byte, replaced bool) {
	c := m.c
	st, err := restore(b)
	if err != nil {
		c.refused = fmt.Errorf("the state of the group: %w", err)
		what := ""
		if errors.Is(err, ErrVersion) {
			what = ": install the haobox that the other nodes have, or stop their rgmanagers first"
		}
		c.log(LevelErr, "", "%v; rgmanager ends%s", c.refused, what)
		return
	}
	c.worthy = false
	old := c.st
	st.self = c.self.Node
	c.st, c.heard = st, heard{first: st.nextDec + 1}
	for _, r := range st.ordered() {
		was := Service{}
		if o := old.records[r.Name]; o != nil {
			was = o.Service
		}
		if was != r.Service {
			c.do(Changed{Old: was, New: r.Service})
		}
	}
	if replaced {
		// The cluster went on without this node: what it runs is its own only
		// if the state says so.
		if c.inited {
			c.log(LevelWarning, "", "The cluster went on without this node; checking what it may keep")
		}
		c.phase = phaseWait
		for _, id := range slices.Sorted(maps.Keys(c.asked)) {
			c.do(Reply{ID: id, Result: Again})
		}
		clear(c.asked)
	}
	clear(c.sent)
}

func (m machine) Changed(v cluster.View, current bool) {
	m.c.view = v
	delete(m.c.sent, "view")
	if !v.Has(m.c.self) && m.c.left {
		m.c.finish(0)
	}
}

func (m machine) Dropped(b []byte) {
	if cmd, _, r, err := open(b); err == nil && cmd == cmdRequest {
		if q, err := decodeRequest(r); err == nil && m.c.asked[q.id] {
			delete(m.c.asked, q.id)
			m.c.do(Reply{ID: q.id, Result: Again})
		}
	}
	m.c.applied(b)
}

// applied: a command of this node came through, or will never.
func (c *Core) applied(b []byte) {
	cmd, _, r, err := open(b)
	if err != nil {
		return
	}
	switch cmd {
	case cmdView:
		delete(c.sent, "view")
	case cmdJoin:
		delete(c.sent, "join")
		if me := c.me(); c.phase == phaseJoining && (me == nil || !me.Joined) {
			// It came after the word that quorum was lost for a moment, which was
			// under way when this node found itself quorate: it asks again.
			c.phase = phaseWait
		}
	case cmdConfig:
		delete(c.sent, "config")
	case cmdHave:
		delete(c.sent, "have")
	case cmdLeaving:
		delete(c.sent, "leaving")
	case cmdRetry:
		delete(c.sent, "retry")
	case cmdSafe, cmdAssume:
		delete(c.sent, fmt.Sprint(cmd, r.Node()))
	case cmdPing:
		n := r.U64()
		delete(c.sent, "ping")
		c.proved = max(c.proved, n)
	case cmdDone, cmdFail, cmdPartial, cmdChanged:
		if m, err := decodeDone(r); err == nil {
			if l := c.locals[m.service]; l != nil && l.epoch == m.epoch {
				l.reported(cmd)
			}
		}
	case cmdLooked:
		if m, err := decodeDone(r); err == nil {
			if l := c.locals[m.service]; l != nil && l.lookEpoch == m.epoch {
				l.reported(cmd)
			}
		}
	}
}

// collect turns what a command left to do into actions.
func (c *Core) collect() {
	s := c.st
	for _, n := range s.notes {
		if n.node == 0 || n.node == c.self.Node {
			c.logNode(n.about, n.level, n.service, n.text)
		}
	}
	for _, r := range s.replies {
		if r.to == c.self && c.asked[r.id] {
			delete(c.asked, r.id)
			c.do(Reply{ID: r.id, Result: r.result, Owner: r.owner})
		}
	}
	for _, x := range s.changes {
		c.do(x)
	}
	c.heard.upTo(s.nextDec, c.now)
	s.notes, s.replies, s.changes, s.fresh = nil, nil, nil, 0
}

// command sends a command; what is known to be on its way is not sent twice.
func (c *Core) command(key string, b []byte) {
	if key != "" {
		if c.sent[key] {
			return
		}
		c.sent[key] = true
	}
	c.do(Send{Payload: c.rep.Command(b)})
}

// current: the state is that of the cluster, as far as this node can know.
func (c *Core) current() bool { return c.rep.Current() && !c.view.Transitional && c.refused == nil }

// quorate: this node's part of the cluster is quorate as of the ring of the
// last view.
func (c *Core) quorate() bool {
	return c.quorum.Quorate && c.quorum.Ring.Seq >= c.view.Ring.Seq && !c.lost
}

// mayAct: agents may be run on behalf of the cluster.
func (c *Core) mayAct() bool {
	return c.current() && c.quorate() && !c.suspect && c.emergency == ""
}

// MayAct says, after a Step, whether agents that start something may begin now:
// this node is of the cluster's mind, has quorum and has proved since its last
// pause that it still belongs. What must not run any more has been killed by
// the actions of that Step.
func (c *Core) MayAct() bool { return c.mayAct() }

func (c *Core) me() *node {
	n := c.st.node(c.self.Node)
	if n == nil || n.Instance != c.self.Instance {
		return nil
	}
	return n
}

// react does everything that follows from what is known now.
func (c *Core) react() {
	if c.suspect && c.proved >= c.nonce && !c.now.Before(c.heardBy) {
		c.suspect = false
	}
	if c.emergency == "" && !c.inited && c.config != nil && c.quorum.Ring.Seq != 0 && !c.quorum.Quorate && len(c.saved) > 0 {
		c.alarm("the process before this one left services running, and there is no quorum")
	}
	if c.emergency != "" && c.config != nil {
		c.stopAll()
	}
	if c.refused != nil {
		c.giveUp()
		return
	}
	if c.current() && !c.lost && !c.left {
		if c.suspect && c.proved < c.nonce {
			c.command("ping", pingMsg(unix(c.now), c.nonce))
		}
		c.tellView()
		c.tellSafe()
		c.tellConfig()
		if me := c.me(); me != nil && me.Joined && me.Life == c.life && c.phase == phaseJoining {
			c.phase = phaseReady
			c.freshAt = c.now
		} else if c.phase == phaseReady && (me == nil || !me.Joined) {
			c.phase = phaseWait
		}
		c.enter()
		c.housekeeping()
	}
	c.rate()
	c.work()
	c.end()
}

// tellView says what this node sees of the group, unless the state has it.
func (c *Core) tellView() {
	if c.quorum.Ring.Seq < c.view.Ring.Seq || !c.view.Has(c.self) {
		return
	}
	q := c.quorate()
	same := c.st.ring == c.view.Ring.Seq
	if me := c.me(); me == nil || me.Quorate != q {
		same = false
	}
	for _, n := range c.st.nodes {
		same = same && n.Member == c.view.Has(cluster.Member{Node: n.ID, Instance: n.Instance})
	}
	for _, m := range c.view.Members {
		if n := c.st.node(m.Node); n == nil || n.Instance != m.Instance {
			same = false
		}
	}
	if same {
		return
	}
	m := viewMsg{ring: c.view.Ring.Seq, quorate: q, members: c.view.Members}
	for _, g := range c.gone {
		if !c.view.Has(g.Member) {
			m.gone = append(m.gone, g)
		}
	}
	c.command("view", m.encode(unix(c.now)))
}

// obsolete: the word that a node is off is of a ring that it is a member of. It
// was off, and its engine is up again; what it runs now is another matter. A word
// of a ring that this node has not heard of yet is kept.
func (c *Core) obsolete(s NodeSafe) bool {
	return !s.Left && s.Ring <= c.membersRing && slices.Contains(c.members, s.Node)
}

// tellSafe says which nodes are off.
func (c *Core) tellSafe() {
	for _, n := range c.st.nodes {
		s, ok := c.safe[n.ID]
		if !ok || !s.Left && slices.Contains(c.members, n.ID) || n.Member || n.Safe || s.Ring < n.GoneRing || c.st.ring != c.view.Ring.Seq || s.Left && !c.st.leftIsEnough(n) {
			continue
		}
		c.command(fmt.Sprint(cmdSafe, n.ID), safeMsg{n.ID, s.Ring, s.Left}.encode(unix(c.now)))
	}
}

// tellConfig spreads a newer configuration, and says that this node has it.
func (c *Core) tellConfig() {
	p := c.pol
	if c.nextPol != nil {
		p = c.nextPol
	}
	if p == nil {
		return
	}
	if p.Version > c.st.policy.Version || len(c.st.policy.Nodes) == 0 {
		c.command("config", configMsg(unix(c.now), p))
	}
	if me := c.me(); c.phase == phaseReady && me != nil && c.next == nil && !c.updating && (me.Config != c.pol.Version || me.Sum != c.pol.Sum) {
		c.command("have", haveMsg{c.pol.Version, c.pol.Sum}.encode(unix(c.now)))
	}
}

// housekeeping is what the lowest member does for all.
func (c *Core) housekeeping() {
	if c.phase != phaseReady || c.now.Before(c.keepAt) || c.st.lowest() != c.self.Node || !c.mayAct() {
		return
	}
	c.keepAt = c.now.Add(time.Second)
	unknown := c.st.unknownNodes()
	if names := c.st.names(unknown); names != c.waitsFor {
		if c.waitsFor = names; names != "" {
			c.log(LevelNotice, "", "Services wait until rgmanager runs on %s, or it is known to be off", names)
		}
		c.hintAt = c.now.Add(hintAfter)
	}
	if idle := c.idleNames(); idle != "" && !c.hintAt.IsZero() && !c.now.Before(c.hintAt) {
		c.hintAt = time.Time{}
		c.log(LevelNotice, "", "If you know that nothing of them runs there, say so: haobox idle %s", idle)
	}
	for _, id := range unknown {
		n := c.st.node(id)
		since, there := c.seenSince[id]
		if !n.Member && there && c.opt.AssumeIdle > 0 && c.now.Sub(since) >= c.opt.AssumeIdle && c.now.Sub(c.freshAt) >= c.opt.AssumeIdle {
			c.command(fmt.Sprint(cmdAssume, id), assumeMsg(unix(c.now), id))
		}
	}
	for _, r := range c.st.ordered() {
		if r.RetryAt != 0 && r.RetryAt <= unix(c.now) && r.State == Stopped && r.Task == noTask {
			c.command("retry", newWriter(cmdRetry, unix(c.now)).Bytes())
			break
		}
	}
}

// idleNames are the nodes that a person can vouch for: members of the cluster,
// but not of the group. For others there is fence_ack_manual.
func (c *Core) idleNames() string {
	var ids []cluster.NodeID
	for _, id := range c.st.unknownNodes() {
		if n := c.st.node(id); !n.Member && slices.Contains(c.members, id) {
			ids = append(ids, id)
		}
	}
	return c.st.names(ids)
}

func (c *Core) warnDomains(p *policy) {
	for i := range p.Services {
		if s := &p.Services[i]; s.Domain != "" && p.domain(s.Domain) == nil {
			c.log(LevelWarning, s.Name, "#66: Domain '%s' specified for resource group %s nonexistent!", s.Domain, s.Name)
		}
	}
}

func (c *Core) setTree(set *restree.Set) {
	c.tree = make(map[string]*restree.Node, len(set.Tree))
	for _, n := range set.Tree {
		c.tree[n.ID()] = n
	}
}

func (c *Core) client(ev Client) {
	switch {
	case c.lost || !c.quorum.Quorate:
		c.do(Reply{ID: ev.ID, Result: NoQuorum})
	case !c.current() || c.phase != phaseReady || c.shutdown != nil:
		c.do(Reply{ID: ev.ID, Result: Again})
	case ev.Request.Kind == AssumeIdleRequest && !slices.Contains(c.members, ev.Request.Target):
		c.do(Reply{ID: ev.ID, Result: NoNode}) // fence_ack_manual is for those
	default:
		c.asked[ev.ID] = true
		c.command("", requestMsg{ev.ID, ev.Request}.encode(unix(c.now)))
	}
}

// configure takes a new configuration.
func (c *Core) configure(ev Config) {
	p := newPolicy(ev.Config, ev.Set)
	switch {
	case c.config == nil:
		c.config, c.pol = &ev, p
		c.log(LevelInfo, "", "I am node #%d", c.self.Node)
		c.log(LevelNotice, "", "Resource Group Manager Starting")
		c.log(LevelInfo, "", "Loading Service Data")
		if p.Central {
			c.log(LevelNotice, "", "Centralized Event Processing enabled")
			for _, f := range triggerFaults(ev.Set, p) {
				c.log(LevelErr, "", "%s", f)
			}
		}
		c.setTree(ev.Set)
		c.warnDomains(p)
		for _, n := range ev.Set.Tree {
			c.local(n.ID()).node = n
		}
		for _, k := range c.opt.Kept {
			l := c.local(k.Name)
			l.hands, l.started, l.epoch = true, k.Started, k.Epoch
		}
	case p.Version <= c.pol.Version:
		if p.Sum != c.pol.Sum || p.Version < c.pol.Version {
			c.log(LevelErr, "", "configuration %d is not taken: version %d is in use and it is not newer", p.Version, c.pol.Version)
		}
	default:
		c.log(LevelNotice, "", "Reconfiguring")
		c.warnDomains(p)
		c.next, c.nextPol = &ev, p
	}
}

// giveUp leaves a group that this process can not belong to.
func (c *Core) giveUp() {
	if !c.left {
		c.left = true
		c.do(Leave{})
		c.finish(1)
	}
}

func (c *Core) finish(code int) {
	if !c.exited {
		c.exited = true
		c.log(LevelNotice, "", "Exiting")
		c.do(Exit{Code: code})
	}
}

// Status is the state as of the last step.
func (c *Core) Status() Status {
	s := c.st
	st := Status{Self: c.self.Node, Current: c.current(), Quorate: c.quorate(), Locked: s.locked, Ring: c.view.Ring.Seq, ConfigVersion: int(s.policy.Version)}
	for _, n := range s.nodes {
		waiting := false
		if !n.Member && !n.Safe {
			waiting = !n.Known
			for _, r := range s.records {
				waiting = waiting || r.Owner == n.ID
			}
		}
		st.Nodes = append(st.Nodes, NodeStatus{ID: n.ID, Name: n.Name, RGManager: n.alive(), Waiting: waiting, Leaving: n.Leaving, ConfigVersion: int(n.Config)})
	}
	name := func(id cluster.NodeID) string {
		if id == 0 {
			return ""
		}
		return s.nodeName(id)
	}
	for _, r := range s.ordered() {
		st.Services = append(st.Services, ServiceStatus{Name: r.Name, State: r.State, StateText: r.State.String(), Owner: r.Owner, OwnerName: name(r.Owner),
			LastOwner: r.LastOwner, LastOwnerName: name(r.LastOwner), Restarts: r.Restarts, Transition: r.Transition, Flags: r.Flags, FlagNames: r.Flags.Names()})
	}
	slices.SortFunc(st.Services, byName)
	return st
}

// Weight is what this node's services count in a fence race: 1 for each that it
// runs, and for one with a priority attribute (1 the highest) 100 less that
// number, at least 1.
func (c *Core) Weight() int {
	sum := 0
	for _, r := range c.st.records {
		if r.Owner != c.self.Node || !r.State.Running() {
			continue
		}
		w := 1
		if p := c.st.pol(r).Priority; p > 0 {
			w = max(100-p, 1)
		}
		sum += w
	}
	return sum
}

// Ready reports whether this node is a working member of the group.
func (c *Core) Ready() bool { return c.phase == phaseReady && c.current() && c.quorate() }

// Why returns the decisions about a service that are still known, oldest first.
func (c *Core) Why(service string) []Decision {
	var out []Decision
	for _, d := range c.st.kept() {
		if d.Service == service {
			d.Candidates, d.Heard = slices.Clone(d.Candidates), c.heard.of(d)
			out = append(out, d)
		}
	}
	return out
}

// History returns all decisions that are still known, oldest first.
func (c *Core) History() []Decision { return slices.Clone(c.st.kept()) }
