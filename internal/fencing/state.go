package fencing

import (
	"cmp"
	"slices"
	"time"

	"github.com/haobox/haobox/internal/cluster"
)

// state is what all fence daemons of the group have alike. It changes by the
// group's views and by commands, in the agreed order, and by nothing else.
type state struct {
	// change is the number of the newest change of the domain.
	change uint64
	// joining says that a node joined since a change was complete.
	joining bool
	// raceVersion counts the changes of what decides races: weights, the quorum
	// disk, and which delay goes before fencing.
	raceVersion uint64
	domain      []member // sorted by node, as all lists here
	victims     []victim
	records     []record
	history     []Op // oldest first

	// notes are what happened, for the log and for the core; not part of the
	// state.
	notes []note
}

// member is a node in the domain.
type member struct {
	node     cluster.NodeID
	instance uint32
	// complete: it has been through a whole change before.
	complete bool
	// started is the newest change it is ready for.
	started uint64
	// ring is the one in which it joined: its life began before.
	ring uint64
	// weight of its services, and disk, the master of the quorum disk as it
	// sees it, are the input to fence races; known is the newest version of all
	// nodes' input that it is known to have.
	weight uint32
	disk   cluster.NodeID
	known  uint64
}

// victim is a node to be fenced.
type victim struct {
	node     cluster.NodeID
	name     string // "" if the configuration names it
	instance uint32
	complete bool
	reason   Reason
	// id names this fate of the node: a number of a change.
	id uint64
	// ring is the one in which it failed; life is one in which it lived, or may
	// have: that of ring for a node that was never seen.
	ring, life uint64
	// settled and wins are the outcome of the fence race against it: see
	// race.go.
	settled bool
	wins    uint8
}

// fate is what became of a node that is neither member nor victim.
type fate uint8

const (
	fateUnknown fate = iota
	fateOff
	fateLeft
)

// record is what is remembered of a node.
type record struct {
	node cluster.NodeID
	fate fate
	// off is the ring in which it was last known to be off.
	off    uint64
	master cluster.NodeID
	how    How
	time   time.Time
}

// note is something that happened to the state.
type note struct {
	kind noteKind
	node cluster.NodeID
	how  How
	by   cluster.NodeID
}

type noteKind uint8

const (
	noteJoined noteKind = iota // to the domain
	noteLeft
	noteDown    // its node failed
	noteProcess // its daemon failed
	noteVictim
	noteDone
	noteOutside // failed while not in the domain
)

func (s *state) note(k noteKind, node cluster.NodeID) {
	s.notes = append(s.notes, note{kind: k, node: node})
}

func (s *state) member(id cluster.NodeID) *member {
	for i := range s.domain {
		if s.domain[i].node == id {
			return &s.domain[i]
		}
	}
	return nil
}

func (s *state) victim(id cluster.NodeID) *victim {
	for i := range s.victims {
		if s.victims[i].node == id {
			return &s.victims[i]
		}
	}
	return nil
}

// record returns a node's record, made if it is not there.
func (s *state) record(id cluster.NodeID) *record {
	i, ok := slices.BinarySearchFunc(s.records, id, func(r record, id cluster.NodeID) int { return cmp.Compare(r.node, id) })
	if !ok {
		s.records = slices.Insert(s.records, i, record{node: id})
	}
	return &s.records[i]
}

func (s *state) remove(id cluster.NodeID) {
	s.domain = slices.DeleteFunc(s.domain, func(m member) bool { return m.node == id })
}

func (s *state) addVictim(v victim) {
	if s.victim(v.node) != nil {
		return
	}
	i, _ := slices.BinarySearchFunc(s.victims, v.node, func(v victim, id cluster.NodeID) int { return cmp.Compare(v.node, id) })
	s.victims = slices.Insert(s.victims, i, v)
	s.note(noteVictim, v.node)
}

// endVictim takes a victim away: its node is off, or a clean member again.
func (s *state) endVictim(id cluster.NodeID, how How, by cluster.NodeID, at time.Time, ring uint64) {
	s.victims = slices.DeleteFunc(s.victims, func(v victim) bool { return v.node == id })
	r := s.record(id)
	r.master, r.how, r.time = by, how, at
	if r.fate = fateUnknown; how != HowMember {
		r.fate, r.off = fateOff, ring
	}
	s.notes = append(s.notes, note{kind: noteDone, node: id, how: how, by: by})
}

// established says that a member of the domain has been through a whole change:
// there is nobody to be fenced at the start.
func (s *state) established() bool {
	return slices.ContainsFunc(s.domain, func(m member) bool { return m.complete })
}

// master is the node that fences: the lowest that is complete, else the lowest;
// 0 if the domain is empty.
func (s *state) master() (id cluster.NodeID, complete bool) {
	for _, m := range s.domain {
		if m.complete {
			return m.node, true
		}
	}
	if len(s.domain) > 0 {
		return s.domain[0].node, false
	}
	return 0, false
}

// view takes the departures of a view. Taking it twice changes nothing.
func (s *state) view(v cluster.View) {
	var failed []cluster.NodeID
	gone := false
	for _, c := range v.Left {
		m := s.member(c.Node)
		inDomain := m != nil && m.instance == c.Instance
		switch {
		case inDomain && c.Reason == cluster.Left:
			s.note(noteLeft, c.Node)
			s.remove(c.Node)
			s.record(c.Node).fate = fateLeft
			gone = true
		case inDomain:
			failed = append(failed, c.Node)
		case m != nil || s.victim(c.Node) != nil:
			// An old life of a node that is known of.
		case c.Reason == cluster.Left:
			if r := s.record(c.Node); r.fate == fateUnknown {
				r.fate = fateLeft
			}
		default:
			// Not in the domain: nobody will fence it, and nobody knows what
			// it did.
			s.record(c.Node).fate = fateUnknown
			s.note(noteOutside, c.Node)
		}
	}
	if len(failed) == 0 && !gone {
		return
	}
	s.change++
	settled, wins := s.race(failed)
	for _, id := range failed {
		m := *s.member(id)
		vi := victim{node: id, instance: m.instance, complete: m.complete, reason: ReasonNode, id: s.change, ring: v.Ring.Seq, life: m.ring, settled: settled, wins: wins}
		if slices.ContainsFunc(v.Left, func(c cluster.Change) bool {
			return c.Node == id && c.Instance == m.instance && c.Reason == cluster.Died
		}) {
			vi.reason = ReasonProcess
			s.note(noteProcess, id)
		} else {
			s.note(noteDown, id)
		}
		s.addVictim(vi)
	}
	for _, id := range failed {
		s.remove(id)
	}
}

// apply takes a command of a member of the group in the view v.
func (s *state) apply(from cluster.Member, v cluster.View, c command) {
	if !v.Has(from) {
		return
	}
	self := s.member(from.Node)
	if self != nil && self.instance != from.Instance {
		self = nil
	}
	switch c.kind {
	case kindClean:
		s.clean(from, c.time)
	case kindJoin:
		if self == nil && s.clean(from, c.time) {
			s.join(from, v, c)
		}
	case kindLeave:
		if self != nil {
			s.remove(from.Node)
			s.record(from.Node).fate = fateLeft
			s.change++
			s.note(noteLeft, from.Node)
		}
	case kindExternal:
		if self != nil {
			s.external(self, v, c)
		}
	case kindStale:
		if self == nil && s.victim(from.Node) == nil {
			// It ran in a domain that this one has not heard of.
			s.change++
			s.note(noteDown, from.Node)
			s.addVictim(victim{node: from.Node, instance: from.Instance, complete: true, reason: ReasonNode, id: s.change, ring: v.Ring.Seq,
				life: v.Ring.Seq, settled: true, wins: 1<<RaceServices | 1<<RaceLowest | 1<<RaceQdisk})
		}
	}
	if self == nil {
		return // what follows is for members of the domain
	}
	switch c.kind {
	case kindStart:
		if c.change <= s.change {
			self.started = max(self.started, c.change)
		}
	case kindComplete:
		if c.change == s.change && len(s.victims) == 0 {
			if s.joining {
				s.joining = false
				s.raceVersion++
			}
			for i := range s.domain {
				m := &s.domain[i]
				m.complete = m.complete || m.started == s.change
			}
		}
	case kindDone:
		if x := s.victim(c.node); x != nil && x.id == c.id {
			s.remember(c.op)
			s.endVictim(c.node, c.how, from.Node, c.time, max(v.Ring.Seq, x.ring))
		}
	case kindFailed:
		s.remember(c.op)
	case kindOverride:
		if x := s.victim(c.node); x != nil && x.id == c.id {
			s.remember(Op{Node: c.node, Name: x.name, Master: from.Node, How: HowOverride, OK: true, Start: c.time, End: c.time, Attempts: 1, Reason: x.reason})
			s.endVictim(c.node, HowOverride, from.Node, c.time, max(v.Ring.Seq, x.ring))
		}
	case kindRace:
		if self.weight != c.weight || self.disk != c.master {
			self.weight, self.disk = c.weight, c.master
			s.raceVersion++
		}
	case kindRaceAck:
		if c.change <= s.raceVersion {
			self.known = max(self.known, c.change)
		}
	}
}

// clean lets a node go that is back with a new fence daemon. It reports whether
// the daemon is to be trusted: one that was in the domain when it failed is not.
func (s *state) clean(from cluster.Member, at time.Time) bool {
	x := s.victim(from.Node)
	if x != nil && x.instance == from.Instance && x.complete {
		return false
	}
	if x != nil {
		by, _ := s.master()
		s.endVictim(from.Node, HowMember, by, at, 0)
	}
	s.record(from.Node).fate = fateUnknown
	if s.member(from.Node) != nil {
		// A second daemon of one node cannot be; the first one failed, and its
		// view is on its way.
		return false
	}
	return true
}

func (s *state) join(from cluster.Member, v cluster.View, c command) {
	fresh := !s.established()
	i, _ := slices.BinarySearchFunc(s.domain, from.Node, func(m member, id cluster.NodeID) int { return cmp.Compare(m.node, id) })
	s.domain = slices.Insert(s.domain, i, member{node: from.Node, instance: from.Instance, ring: v.Ring.Seq})
	s.change++
	s.joining = true
	s.raceVersion++
	s.note(noteJoined, from.Node)
	if !fresh {
		return
	}
	for _, n := range c.nodes {
		if s.member(n.id) != nil || s.victim(n.id) != nil || s.record(n.id).fate != fateUnknown ||
			slices.ContainsFunc(v.Members, func(m cluster.Member) bool { return m.Node == n.id }) {
			continue
		}
		wins := uint8(0)
		if from.Node < n.id {
			wins = 1<<RaceServices | 1<<RaceLowest | 1<<RaceQdisk
		}
		s.addVictim(victim{node: n.id, name: n.name, reason: ReasonStartup, id: s.change, ring: v.Ring.Seq, life: v.Ring.Seq, settled: true, wins: wins})
	}
}

// external takes the news that a victim was fenced by fence_node. It counts for
// the life of the node that was known before that began, and for no other. The
// member that says so must have been in this domain by then: rings of another
// one are numbers of another sequence.
func (s *state) external(by *member, v cluster.View, c command) {
	if x := s.victim(c.node); x != nil && x.life <= c.ring && by.ring <= c.ring {
		s.remember(Op{Node: c.node, Name: x.name, How: HowExternal, OK: true, Start: c.time, End: c.time, Attempts: 1, Reason: x.reason})
		s.endVictim(c.node, HowExternal, 0, c.time, max(v.Ring.Seq, x.ring))
	}
}

// remember adds an operation to the history. Failures in a row that differ in
// nothing but their times are one entry.
func (s *state) remember(o Op) {
	if n := len(s.history); !o.OK {
		for i := n - 1; i >= 0; i-- {
			last := &s.history[i]
			if last.Node != o.Node {
				continue
			}
			if !last.OK && last.Master == o.Master && last.Method == o.Method && last.Device == o.Device && last.Agent == o.Agent &&
				last.Code == o.Code && last.Detail == o.Detail && last.Reason == o.Reason {
				last.Attempts += o.Attempts
				last.End = o.End
				return
			}
			break
		}
	}
	s.history = append(s.history, o)
	if n := len(s.history) - HistorySize; n > 0 {
		s.history = slices.Clone(s.history[n:])
	}
}

// nodes are the ids of members.
func nodes(list []member) []cluster.NodeID {
	var out []cluster.NodeID
	for _, m := range list {
		out = append(out, m.node)
	}
	return out
}
