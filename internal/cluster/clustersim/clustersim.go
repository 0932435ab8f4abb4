// Package clustersim is a cluster.Engine in virtual time, for tests and for
// simulations of a whole cluster: nothing happens but in Step, Run and Until,
// everything is decided by the seed, and faults are calls (Crash, Freeze,
// Partition and so on).
//
// It keeps the promises of corosync's extended virtual synchrony as
// corosync 3.1 was seen to keep them: agreed order; nodes that move together
// to a new ring have delivered the same messages before; a message whose sender
// is cut off may or may not be delivered, but alike on all nodes that stay
// together; a node that was frozen finds the others gone and back in one go,
// and its quorum never in doubt. The vote of a quorum device is good for the
// ring in which it was given; a new ring says nothing of quorum before the
// device was polled in it, or is given up. What it leaves out: the pause of
// messages meanwhile.
//
// A Sim and the engines of its nodes are for one goroutine.
package clustersim

import (
	"container/heap"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/haobox/haobox/internal/cluster"
)

// Config describes the simulated cluster.
type Config struct {
	Nodes []NodeConfig
	// TwoNode makes one vote enough in a cluster of two.
	TwoNode bool
	// Expected votes; 0 means the sum of the nodes' and the device's votes.
	Expected int
	// DeviceVotes are those of a quorum device; 0 means there is none.
	DeviceVotes int
	// DeviceTimeout is how long a device counts after a poll; 0 means 10 s,
	// the default of quorum.device.timeout.
	DeviceTimeout time.Duration
	// Token is how long silence lasts before a node is declared failed; 0
	// means 10 s, cman's default. Consensus is the time the survivors then
	// need; 0 means a fifth of Token.
	Token, Consensus time.Duration
	// Delay is the longest time a message takes to be ordered and again to be
	// delivered; 0 means 1 ms.
	Delay time.Duration
	Seed  uint64
}

// NodeConfig is a node of the configuration.
type NodeConfig struct {
	ID    cluster.NodeID
	Name  string
	Votes int // 0 means 1
}

// Sim is a simulated cluster. All its nodes are down at first.
type Sim struct {
	cfg      Config
	rng      *rand.Rand
	now      time.Duration
	serial   uint64
	queue    events
	nodes    map[cluster.NodeID]*node
	ids      []cluster.NodeID // sorted
	seq      uint64           // of the newest ring
	instance uint32
	expected int
	// tags give each node the part of the network it is in.
	tags map[cluster.NodeID]int
}

// node is a machine with its engine.
type node struct {
	sim     *Sim
	id      cluster.NodeID
	name    string
	votes   int
	life    int // how often it was started
	up      bool
	frozen  bool
	ring    *ring
	next    int           // index into ring.log of what is to be delivered
	due     time.Duration // of the last delivery put on: they keep their order
	told    time.Duration // the same for watches
	groups  map[string][]cluster.Member
	outbox  []entry // what the ring has not ordered yet
	sent    time.Duration
	engines []*engine
	joined  map[cluster.NodeID]time.Duration // when it saw members join
	incarn  map[cluster.NodeID]uint64
	quorate bool
	backlog []func() // what came while it was frozen
	device  device
}

// device is the quorum device of a node.
type device struct {
	name              string
	alive, cast, wins bool
	polls             uint64
	ring              cluster.RingID // of the last poll
}

// ring is a membership with its order of messages.
type ring struct {
	id      cluster.RingID
	members []cluster.NodeID
	log     []entry
}

// entry is something in the agreed order: a message, or a process that joins
// or leaves a group.
type entry struct {
	group   string
	from    cluster.Member
	payload []byte
	change  cluster.Reason // 0 for a message
}

// engine is one process's connection.
type engine struct {
	n       *node
	watches []*watch
	groups  []*group
	err     error // why it is of no use any more
}

type watch struct {
	deliver func(cluster.Event)
	stopped bool
}

type group struct {
	e       *engine
	name    string
	self    cluster.Member
	deliver func(cluster.Event)
	// joined: its own join was delivered. leaving: nothing more is sent.
	// gone: no more events.
	joined, leaving, gone bool
}

// New returns a simulation at time 0.
func New(cfg Config) *Sim {
	if cfg.Token <= 0 {
		cfg.Token = 10 * time.Second
	}
	if cfg.Consensus <= 0 {
		cfg.Consensus = cfg.Token / 5
	}
	if cfg.Delay <= 0 {
		cfg.Delay = time.Millisecond
	}
	if cfg.DeviceTimeout <= 0 {
		cfg.DeviceTimeout = 10 * time.Second
	}
	s := &Sim{cfg: cfg, rng: rand.New(rand.NewPCG(cfg.Seed, 0x636c7573)), nodes: map[cluster.NodeID]*node{}, tags: map[cluster.NodeID]int{}}
	for _, c := range cfg.Nodes {
		n := &node{sim: s, id: c.ID, name: c.Name, votes: max(c.Votes, 1)}
		s.nodes[c.ID] = n
		s.ids = append(s.ids, c.ID)
		s.expected += n.votes
	}
	slices.Sort(s.ids)
	s.expected += cfg.DeviceVotes
	if cfg.Expected > 0 {
		s.expected = cfg.Expected
	}
	return s
}

// Now is the virtual time since the start.
func (s *Sim) Now() time.Duration { return s.now }

// event is something that happens at a time; serial orders those of one time.
type event struct {
	at     time.Duration
	serial uint64
	do     func()
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at < e[j].at || e[i].at == e[j].at && e[i].serial < e[j].serial
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	last := len(*e) - 1
	x := (*e)[last]
	(*e)[last] = event{}
	*e = (*e)[:last]
	return x
}

// At has do called at a time; a time that is past means now.
func (s *Sim) At(at time.Duration, do func()) {
	s.serial++
	heap.Push(&s.queue, event{max(at, s.now), s.serial, do})
}

// After has do called in d from now.
func (s *Sim) After(d time.Duration, do func()) { s.At(s.now+d, do) }

// Step makes the next thing happen; false if there is none.
func (s *Sim) Step() bool {
	if len(s.queue) == 0 {
		return false
	}
	e := heap.Pop(&s.queue).(event)
	s.now = e.at
	e.do()
	return true
}

// Run makes everything of the next d happen.
func (s *Sim) Run(d time.Duration) {
	end := s.now + d
	for len(s.queue) > 0 && s.queue[0].at <= end {
		s.Step()
	}
	s.now = end
}

// Until runs until done says so, at most for limit; it returns what done says
// at the end.
func (s *Sim) Until(limit time.Duration, done func() bool) bool {
	end := s.now + limit
	for !done() {
		if len(s.queue) == 0 || s.queue[0].at > end {
			s.now = end
			return done()
		}
		s.Step()
	}
	return true
}

func (s *Sim) delay() time.Duration { return 1 + time.Duration(s.rng.Int64N(int64(s.cfg.Delay))) }

// Start switches the engine of a node on. It is a ring of its own at first and
// finds the others soon.
func (s *Sim) Start(id cluster.NodeID) {
	n := s.nodes[id]
	if n == nil || n.up {
		return
	}
	*n = node{sim: s, id: n.id, name: n.name, votes: n.votes, life: n.life + 1, up: true, groups: map[string][]cluster.Member{},
		joined: map[cluster.NodeID]time.Duration{id: s.now}, incarn: map[cluster.NodeID]uint64{}}
	n.ring = s.newRing([]cluster.NodeID{id})
	n.incarn[id] = n.ring.id.Seq
	n.count()
	s.After(s.cfg.Delay+s.cfg.Token/10, s.reform)
}

// Crash switches a node off: its processes are gone with it, and hear nothing.
func (s *Sim) Crash(id cluster.NodeID) { s.down(id, nil) }

// Lose ends the engine of a node (its corosync, say) while its processes go
// on: they get Lost. The others see the node fail.
func (s *Sim) Lose(id cluster.NodeID) { s.down(id, cluster.ErrLost) }

func (s *Sim) down(id cluster.NodeID, why error) {
	n := s.nodes[id]
	if n == nil || !n.up {
		return
	}
	n.end(why)
	n.up, n.ring = false, nil
	s.detect()
}

// Stop ends the engine of a node in order: its processes get Lost, the others
// see them as Died and the node go without waiting for the token.
func (s *Sim) Stop(id cluster.NodeID) {
	n := s.nodes[id]
	if n == nil || !n.up || n.frozen {
		return
	}
	n.end(cluster.ErrLost)
	life := n.ring
	var gone func()
	gone = func() {
		if len(n.outbox) > 0 && n.ring == life && !s.broken(n.ring) {
			s.After(s.cfg.Delay, gone)
			return
		}
		n.up, n.ring = false, nil
		s.reform()
	}
	s.After(2*s.cfg.Delay, gone)
}

// Freeze stops a node as a paused virtual machine stops: nothing runs on it,
// and nothing tells it.
func (s *Sim) Freeze(id cluster.NodeID) {
	if n := s.nodes[id]; n != nil && n.up && !n.frozen {
		n.frozen = true
		s.detect()
	}
}

// Thaw lets a frozen node go on.
func (s *Sim) Thaw(id cluster.NodeID) {
	n := s.nodes[id]
	if n == nil || !n.frozen {
		return
	}
	n.frozen = false
	late := n.backlog
	n.backlog = nil
	for _, do := range late {
		do()
	}
	s.resume()
}

// Ring is the membership that a node is in, as Status has it but without the
// cost; the members are sorted and must not be changed. It is empty for a node
// that is down.
func (s *Sim) Ring(id cluster.NodeID) (cluster.RingID, []cluster.NodeID) {
	n := s.nodes[id]
	if n == nil || !n.up {
		return cluster.RingID{}, nil
	}
	return n.ring.id, n.ring.members
}

// Votes reports whether a node has quorum and whether the votes of its quorum
// device count, as its engine sees it. While a new ring waits for the device it
// has neither. A node that is down has none.
func (s *Sim) Votes(id cluster.NodeID) (quorate, device bool) {
	n := s.nodes[id]
	if n == nil || !n.up || n.waits() {
		return false, false
	}
	return n.quorate, n.device.counts(n.ring)
}

// Frozen reports whether a node is frozen, for processes that have timers of
// their own.
func (s *Sim) Frozen(id cluster.NodeID) bool { return s.nodes[id].frozen }

// Partition splits the network: nodes of one list see each other, and nobody
// else. Nodes that are not named are one further part.
func (s *Sim) Partition(parts ...[]cluster.NodeID) {
	clear(s.tags)
	for i, p := range parts {
		for _, id := range p {
			s.tags[id] = i + 1
		}
	}
	s.detect()
}

// Heal ends all partitions.
func (s *Sim) Heal() {
	clear(s.tags)
	s.resume()
}

// Kill ends the process that holds an engine, without a word.
func (s *Sim) Kill(e cluster.Engine) {
	x := e.(*engine)
	x.end(nil)
	x.n.engines = slices.DeleteFunc(x.n.engines, func(o *engine) bool { return o == x })
}

// resume goes on after a fault has ended: what waits is sent if the ring was not
// given up meanwhile, and rings that can see each other merge.
func (s *Sim) resume() {
	for _, id := range s.ids {
		n := s.nodes[id]
		n.kick()
		if r := n.ring; n.up && !n.frozen && !s.broken(r) {
			n.due = max(n.due, s.now+s.delay())
			s.At(n.due, func() {
				n.run(func() {
					for n.ring == r && n.next < len(r.log) {
						n.take()
					}
				})
			})
		}
	}
	s.After(s.cfg.Delay, s.reform)
}

// detect makes silence noticed after the token and the consensus.
func (s *Sim) detect() { s.After(s.cfg.Token+s.cfg.Consensus, s.reform) }

// parts are the nodes that can talk to each other at the moment, each list
// sorted, in the order of their lowest node.
func (s *Sim) parts() [][]cluster.NodeID {
	byTag := map[int]int{}
	var out [][]cluster.NodeID
	for _, id := range s.ids {
		n := s.nodes[id]
		if !n.up || n.frozen {
			continue
		}
		i, seen := byTag[s.tags[id]]
		if !seen {
			i = len(out)
			byTag[s.tags[id]] = i
			out = append(out, nil)
		}
		out[i] = append(out[i], id)
	}
	return out
}

// broken says that the token of a ring does not come round.
func (s *Sim) broken(r *ring) bool {
	for _, id := range r.members {
		if n := s.nodes[id]; n.ring != r || n.frozen || s.tags[id] != s.tags[r.members[0]] {
			return true
		}
	}
	return false
}

func (s *Sim) newRing(members []cluster.NodeID) *ring {
	s.seq += 4 // as corosync counts
	return &ring{id: cluster.RingID{Node: members[0], Seq: s.seq}, members: members}
}

// reform gives each part of the network its ring.
func (s *Sim) reform() {
	for _, p := range s.parts() {
		r := s.nodes[p[0]].ring
		same := slices.Equal(p, r.members)
		for _, id := range p {
			same = same && s.nodes[id].ring == r
		}
		if !same {
			s.form(p)
		}
	}
}

// form moves nodes to a new ring.
func (s *Sim) form(members []cluster.NodeID) {
	next := s.newRing(members)
	// Nodes that come from one ring deliver the same before they go on.
	var resend []entry
	var olds []*ring
	from := map[cluster.NodeID]*ring{}
	groups := map[string][]cluster.Member{} // of the new ring
	for _, id := range members {
		r := s.nodes[id].ring
		from[id] = r
		if slices.Contains(olds, r) {
			continue
		}
		olds = append(olds, r)
		var together []*node
		for _, m := range members {
			if s.nodes[m].ring == r {
				together = append(together, s.nodes[m])
			}
		}
		resend = append(resend, s.flush(r, together)...)
		for name, all := range together[0].groups {
			for _, m := range all {
				if slices.Contains(members, m.Node) && s.nodes[m.Node].ring == r {
					groups[name] = append(groups[name], m)
				}
			}
		}
	}
	for name := range groups {
		slices.SortFunc(groups[name], cluster.Member.Compare)
	}
	for _, id := range members {
		s.nodes[id].move(next, from, groups)
	}
	for _, e := range resend {
		next.order(s, e)
	}
	for _, id := range members {
		s.nodes[id].kick()
	}
}

// flush delivers what is certain of a ring that ends to those that leave it
// together, and returns what must be sent again: messages of theirs that did
// not make it. What the others sent last is lost or not, by chance.
func (s *Sim) flush(r *ring, together []*node) (resend []entry) {
	low := 0
	for _, n := range together {
		low = max(low, n.next)
	}
	cut := low + s.rng.IntN(len(r.log)-low+1)
	for _, n := range together {
		for n.ring == r && n.next < cut {
			n.take()
		}
	}
	for _, e := range r.log[cut:] {
		if slices.ContainsFunc(together, func(n *node) bool { return n.id == e.from.Node }) {
			resend = append(resend, e)
		}
	}
	return resend
}

// order puts an entry into the agreed order and on its way.
func (r *ring) order(s *Sim, e entry) {
	r.log = append(r.log, e)
	for _, id := range r.members {
		n := s.nodes[id]
		n.due = max(n.due, s.now+s.delay())
		s.At(n.due, func() {
			n.run(func() {
				// What is under way when the token is lost arrives or not;
				// the rest is settled when the next ring forms.
				if n.ring == r && n.next < len(r.log) && !(s.broken(r) && s.rng.IntN(2) == 0) {
					n.take()
				}
			})
		})
	}
}

// run does something on a node now, or when it is thawed.
func (n *node) run(do func()) {
	if n.frozen {
		n.backlog = append(n.backlog, do)
		return
	}
	do()
}

// post puts an entry on the way to the ring.
func (n *node) post(e entry) {
	n.outbox = append(n.outbox, e)
	n.pumpLater()
}

func (n *node) pumpLater() {
	n.sent = max(n.sent, n.sim.now+n.sim.delay())
	n.sim.At(n.sent, func() { n.run(n.pump) })
}

func (n *node) pump() {
	if n.up && len(n.outbox) > 0 && !n.sim.broken(n.ring) {
		e := n.outbox[0]
		n.outbox = n.outbox[1:]
		n.ring.order(n.sim, e)
	}
}

// kick makes everything that waits go out.
func (n *node) kick() {
	for range n.outbox {
		n.pumpLater()
	}
}

// locals are this node's processes in a group.
func (n *node) locals(name string) (all []*group) {
	for _, e := range n.engines {
		for _, g := range e.groups {
			if g.name == name && !g.gone {
				all = append(all, g)
			}
		}
	}
	return all
}

// take delivers the next entry of the ring.
func (n *node) take() {
	e := n.ring.log[n.next]
	n.next++
	at := slices.Index(n.groups[e.group], e.from)
	switch {
	case e.change == 0:
		if at < 0 {
			return // left meanwhile
		}
		for _, g := range n.locals(e.group) {
			if g.joined {
				g.deliver(cluster.Message{Group: e.group, From: e.from, Payload: e.payload})
			}
		}
		return
	case e.change == cluster.Joined && at < 0:
		n.groups[e.group] = append(slices.Clone(n.groups[e.group]), e.from)
		slices.SortFunc(n.groups[e.group], cluster.Member.Compare)
	case e.change != cluster.Joined && at >= 0:
		n.groups[e.group] = slices.Delete(slices.Clone(n.groups[e.group]), at, at+1)
	default:
		return
	}
	v := cluster.View{Group: e.group, Ring: n.ring.id, Members: slices.Clone(n.groups[e.group])}
	change := []cluster.Change{{Member: e.from, Reason: e.change}}
	if e.change == cluster.Joined {
		v.Joined = change
	} else {
		v.Left = change
	}
	for _, g := range n.locals(e.group) {
		g.joined = g.joined || g.self == e.from
		if g.joined {
			if g.self == e.from && e.change != cluster.Joined {
				g.gone = true
			}
			g.deliver(v)
		}
	}
}

// move brings a node to a new ring.
func (n *node) move(next *ring, from map[cluster.NodeID]*ring, groups map[string][]cluster.Member) {
	old := from[n.id]
	together := func(id cluster.NodeID) bool { return from[id] == old }
	before := n.groups
	n.ring, n.next, n.groups = next, 0, map[string][]cluster.Member{}
	for name, all := range groups {
		n.groups[name] = slices.Clone(all)
	}
	mb := cluster.Membership{Ring: next.id, Members: slices.Clone(next.members)}
	for _, id := range old.members {
		if !together(id) {
			mb.Left = append(mb.Left, id)
			delete(n.joined, id)
			delete(n.incarn, id)
		}
	}
	for _, id := range next.members {
		if !together(id) {
			mb.Joined = append(mb.Joined, id)
			n.joined[id], n.incarn[id] = n.sim.now, next.id.Seq
		}
	}
	var names []string
	for name := range before {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		var stay []cluster.Member
		var left, came []cluster.Change
		for _, m := range before[name] {
			if together(m.Node) {
				stay = append(stay, m)
			} else {
				left = append(left, cluster.Change{Member: m, Reason: cluster.Failed})
			}
		}
		for _, m := range groups[name] {
			if !together(m.Node) {
				came = append(came, cluster.Change{Member: m, Reason: cluster.Merged})
			}
		}
		for _, g := range n.locals(name) {
			if g.joined && len(left) > 0 {
				g.deliver(cluster.View{Group: name, Ring: next.id, Members: slices.Clone(stay), Left: left, Transitional: len(came) > 0})
			}
			if g.joined && !g.gone && len(came) > 0 {
				g.deliver(cluster.View{Group: name, Ring: next.id, Members: slices.Clone(groups[name]), Joined: came})
			}
		}
	}
	n.tell(mb)
	n.recount(true)
}

// tell delivers an event to all watches, a moment later.
func (n *node) tell(ev cluster.Event) {
	life := n.life
	n.told = max(n.told, n.sim.now+n.sim.delay())
	n.sim.At(n.told, func() {
		n.run(func() {
			if !n.up || n.life != life {
				return
			}
			for _, e := range slices.Clone(n.engines) {
				for _, w := range slices.Clone(e.watches) {
					if !w.stopped {
						w.deliver(ev)
					}
				}
			}
		})
	})
}

// total are the votes that a node sees.
func (n *node) total() int {
	sum := 0
	for _, id := range n.ring.members {
		sum += n.sim.nodes[id].votes
	}
	if n.device.counts(n.ring) {
		sum += n.sim.cfg.DeviceVotes
	}
	return sum
}

// counts says that the device's votes count in a ring.
func (d *device) counts(r *ring) bool { return d.alive && d.cast && d.ring == r.id }

// waits says that the ring of the node waits for a word of the device.
func (n *node) waits() bool { return n.device.alive && n.device.ring != n.ring.id }

func (n *node) needed() int {
	return cluster.QuorumNeeded(n.sim.expected, n.total(), n.sim.cfg.TwoNode, len(n.ring.members))
}

func (n *node) count() {
	n.quorate = n.total() >= n.needed()
	if n.device.alive && n.device.wins && !n.quorate {
		for _, id := range n.ring.members {
			d := n.sim.nodes[id].device
			n.quorate = n.quorate || d.counts(n.ring) && d.wins
		}
	}
}

// recount tells the watches if quorum changed, or in any case.
func (n *node) recount(always bool) {
	if n.waits() {
		return
	}
	was := n.quorate
	n.count()
	if always || was != n.quorate {
		n.tell(cluster.Quorum{Ring: n.ring.id, Quorate: n.quorate})
	}
}

// recountAll follows a change of votes.
func (s *Sim) recountAll() {
	for _, id := range s.ids {
		if n := s.nodes[id]; n.up {
			n.recount(false)
		}
	}
}

// end ends all processes' connections of a node.
func (n *node) end(why error) {
	all := n.engines
	n.engines = nil // one that hears of its end may close others
	for _, e := range all {
		e.end(why)
	}
}

// Engine returns a connection of a process on a node.
func (s *Sim) Engine(id cluster.NodeID) (cluster.Engine, error) {
	n := s.nodes[id]
	if n == nil || !n.up {
		return nil, cluster.ErrNotRunning
	}
	e := &engine{n: n}
	n.engines = append(n.engines, e)
	return e, nil
}

// end takes a process's connection away; with why set it is told.
func (e *engine) end(why error) {
	for _, g := range e.groups {
		if g.gone {
			continue
		}
		g.gone = true
		if !g.leaving {
			e.n.post(entry{group: g.name, from: g.self, change: cluster.Died})
		}
		if why != nil {
			g.deliver(cluster.Lost{Err: why})
		}
	}
	for _, w := range e.watches {
		if !w.stopped && why != nil {
			w.deliver(cluster.Lost{Err: why})
		}
		w.stopped = true
	}
	e.groups, e.watches = nil, nil
	if e.err = why; why == nil {
		e.err = cluster.ErrNotJoined
	}
}

func (e *engine) Local() cluster.Node { return cluster.Node{ID: e.n.id, Name: e.n.name} }

func (e *engine) Watch(deliver func(cluster.Event)) (func(), error) {
	if e.err != nil {
		return nil, e.err
	}
	w := &watch{deliver: deliver}
	e.watches = append(e.watches, w)
	n := e.n
	n.told = max(n.told, n.sim.now+n.sim.delay())
	n.sim.At(n.told, func() {
		n.run(func() {
			if !w.stopped {
				w.deliver(cluster.Membership{Ring: n.ringID(), Members: n.ringMembers()})
			}
			if !w.stopped && (n.ring == nil || !n.waits()) {
				w.deliver(cluster.Quorum{Ring: n.ringID(), Quorate: n.quorate})
			}
		})
	})
	return func() { w.stopped = true }, nil
}

func (n *node) ringID() cluster.RingID {
	if n.ring == nil {
		return cluster.RingID{}
	}
	return n.ring.id
}

func (n *node) ringMembers() []cluster.NodeID {
	if n.ring == nil {
		return nil
	}
	return slices.Clone(n.ring.members)
}

func (e *engine) Join(name string, deliver func(cluster.Event)) (cluster.Group, error) {
	if e.err != nil {
		return nil, e.err
	}
	if slices.ContainsFunc(e.groups, func(g *group) bool { return g.name == name && !g.gone }) {
		return nil, fmt.Errorf("join group %s twice: %w", name, cluster.ErrRefused)
	}
	e.n.sim.instance++
	g := &group{e: e, name: name, self: cluster.Member{Node: e.n.id, Instance: e.n.sim.instance}, deliver: deliver}
	e.groups = append(e.groups, g)
	e.n.post(entry{group: name, from: g.self, change: cluster.Joined})
	return g, nil
}

func (g *group) Self() cluster.Member { return g.self }

func (g *group) Send(payload []byte) error {
	switch {
	case g.e.err != nil:
		return g.e.err
	case g.leaving || g.gone:
		return cluster.ErrNotJoined
	case len(payload) > cluster.MaxMessage:
		return cluster.ErrTooBig
	}
	g.e.n.post(entry{group: g.name, from: g.self, payload: payload})
	return nil
}

func (g *group) Leave() error {
	if g.e.err != nil {
		return g.e.err
	}
	if g.leaving || g.gone {
		return cluster.ErrNotJoined
	}
	g.leaving = true
	g.e.n.post(entry{group: g.name, from: g.self, change: cluster.Left})
	return nil
}

func (e *engine) Close() error {
	if e.err != nil {
		return nil
	}
	for _, g := range e.groups {
		if !g.leaving && !g.gone {
			g.Leave()
		}
		g.gone = true
	}
	e.end(nil)
	e.n.engines = slices.DeleteFunc(e.n.engines, func(o *engine) bool { return o == e })
	return nil
}

func (e *engine) Status(context.Context) (cluster.Status, error) {
	if e.err != nil {
		return cluster.Status{}, e.err
	}
	n, s := e.n, e.n.sim
	st := cluster.Status{
		Engine: "clustersim", Cluster: "simulated", Local: n.id, Ring: n.ring.id, Quorate: n.quorate, TwoNode: s.cfg.TwoNode,
		Expected: s.expected, Total: n.total(), Needed: n.needed(), DeviceName: n.device.name,
	}
	if n.device.alive {
		st.DeviceVotes = s.cfg.DeviceVotes
	}
	for _, id := range s.ids {
		ns := cluster.NodeStatus{Node: cluster.Node{ID: id, Name: s.nodes[id].name}, State: cluster.NodeDead, Votes: s.nodes[id].votes, Expected: s.expected}
		if slices.Contains(n.ring.members, id) {
			ns.State, ns.Incarnation, ns.JoinedAt = cluster.NodeMember, n.incarn[id], time.Unix(0, 0).UTC().Add(n.joined[id])
		}
		st.Nodes = append(st.Nodes, ns)
	}
	return st, nil
}

var (
	_ cluster.Device = (*engine)(nil)
	_ cluster.Admin  = (*engine)(nil)
)

func (e *engine) RegisterDevice(_ context.Context, name string) error {
	d := &e.n.device
	switch {
	case e.err != nil:
		return e.err
	case e.n.sim.cfg.DeviceVotes == 0 || d.name != "" && d.name != name:
		return cluster.ErrRefused
	}
	d.name = name
	return nil
}

func (e *engine) PollDevice(_ context.Context, name string, cast bool, ring cluster.RingID) error {
	n := e.n
	d := &n.device
	switch {
	case e.err != nil:
		return e.err
	case d.name != name || name == "":
		return cluster.ErrRefused
	case ring != n.ring.id:
		return cluster.ErrWrongRing
	}
	waited := n.waits()
	d.alive, d.cast, d.ring = true, cast, ring
	d.polls++
	polls, life := d.polls, n.life
	n.sim.After(n.sim.cfg.DeviceTimeout, func() {
		n.run(func() {
			if n.up && n.life == life && n.device.polls == polls {
				waited := n.waits()
				n.device.alive, n.device.cast = false, false
				n.recount(waited)
				n.sim.recountAll()
			}
		})
	})
	n.recount(waited)
	n.sim.recountAll()
	return nil
}

func (e *engine) MasterWins(_ context.Context, name string, allow bool) error {
	if e.err != nil || e.n.device.name != name {
		return cluster.ErrRefused
	}
	e.n.device.wins = allow
	e.n.sim.recountAll()
	return nil
}

func (e *engine) UnregisterDevice(_ context.Context, name string) error {
	if e.err != nil || e.n.device.name != name {
		return cluster.ErrRefused
	}
	waited := e.n.waits()
	e.n.device = device{}
	e.n.recount(waited)
	e.n.sim.recountAll()
	return nil
}

func (e *engine) SetExpected(_ context.Context, votes int) error {
	if e.err != nil {
		return e.err
	}
	n, total := e.n, e.n.total()
	if votes < total || n.quorate && total < cluster.QuorumNeeded(votes, total, n.sim.cfg.TwoNode, len(n.ring.members)) {
		return fmt.Errorf("expected votes %d: %w", votes, cluster.ErrRefused)
	}
	n.sim.expected = votes
	n.sim.recountAll()
	return nil
}

func (e *engine) SetVotes(_ context.Context, id cluster.NodeID, votes int) error {
	if e.err != nil {
		return e.err
	}
	n := e.n.sim.nodes[id]
	if n == nil {
		return cluster.ErrNotMember
	}
	n.votes = votes
	e.n.sim.recountAll()
	return nil
}

func (e *engine) Kill(_ context.Context, id cluster.NodeID, _ string) error {
	if e.err != nil {
		return e.err
	}
	if !slices.Contains(e.n.ring.members, id) {
		return cluster.ErrNotMember
	}
	s := e.n.sim
	s.After(s.delay(), func() { s.Lose(id) })
	return nil
}
