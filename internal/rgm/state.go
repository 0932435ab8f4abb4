package rgm

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/haobox/haobox/internal/cluster"
)

// task is what the owner of a service has to do with it.
type task uint8

const (
	noTask task = iota
	taskStart
	taskStop
	taskMigrate
	taskConvalesce
	taskLook // of those in record.Look: does it run there?
	taskLast
)

// then is what follows a stop.
type then uint8

const (
	thenStopped  then = iota // a person wanted it stopped
	thenDisabled             // or disabled
	thenEvaluate             // it may run elsewhere, or here later
	thenRecover              // the recovery policy decides
	thenRelocate             // the next node of a walk
	thenRestart              // the same node
	thenRemove               // it is not in the configuration any more
	thenLast
)

// record is a service in the replicated state: the public part and the plan.
type record struct {
	Service
	// Instance is the owner's process.
	Instance uint32
	// Epoch counts what the owner was told to do.
	Epoch uint64
	Task  task
	Then  then
	// Cause is why the owner was told: what follows from its answer has the same
	// cause.
	Cause string
	// Target is the preferred node of a walk, or of a migration.
	Target cluster.NodeID
	// Origin is where a relocation began; 0 for other walks.
	Origin cluster.NodeID
	// Home: the start on Origin after everything else failed.
	Home bool
	// Tried are the nodes where this walk failed.
	Tried []cluster.NodeID
	// WasFailed: this stop is the disabling of a failed service.
	WasFailed bool
	// Asker and Ask are the request that waits for the outcome; Asker 0 if
	// none does.
	Asker cluster.Member
	Ask   uint64
	Kind  Kind
	// FailedOn is where a failed service may still be running, also after it was
	// disabled and its stop failed once more.
	FailedOn cluster.NodeID
	// Removed: not in the configuration any more.
	Removed bool
	// Known: it runs nowhere without this state knowing. If not, it is not
	// started while there are nodes of which it is not known what they run.
	Known bool
	// RetryAt is when to try again what nobody could start, Unix seconds; 0
	// for never.
	RetryAt int64
	// Claims: a weaker exclusive service was stopped for it.
	Claims bool
	// StartedAt orders starts, for dependencies. RestartTimes are those that
	// count against max_restarts.
	StartedAt    uint64
	RestartTimes []int64
	// Look are the members that have yet to say whether a guest runs there,
	// LookFor where it is to be started if not. Looked: nobody had it a moment
	// ago.
	Look    []cluster.NodeID
	LookFor cluster.NodeID
	Looked  bool
	Queue   []queued
}

// queued is a request that waits for another one of its service.
type queued struct {
	From cluster.Member
	requestMsg
}

// node is a node in the replicated state.
type node struct {
	ID       cluster.NodeID
	Name     string
	Instance uint32
	// Life is that of its last join.
	Life uint32
	// Member of the group. Joined: it is ready, and its part is quorate.
	Member, Joined, Quorate, Leaving bool
	// Known: what it runs is known, or that it runs nothing. Of a node that
	// failed it is not: its part of the cluster may go on.
	Known bool
	// For one that is no member: the ring in which it went and why, and
	// whether it is known to be off since.
	GoneRing uint64
	Gone     cluster.Reason
	Safe     bool
	Config   uint64
	Sum      uint64
}

// state is the replicated machine. Everything in it is the same on all
// members. It implements cluster.Machine for a Core.
type state struct {
	policy  *policy
	nodes   []*node // sorted by id
	records map[string]*record
	locked  bool
	ring    uint64
	serial  uint64 // of starts and decisions
	began   int64  // when the first member came, Unix seconds
	history []Decision
	nextDec uint64

	// What follows is not part of the state: what the last command left to do.
	now     int64
	from    cluster.Member
	notes   []note
	replies []reply
	changes []Changed
	self    cluster.NodeID
	cause   string // of the decisions of the present command
	index   map[string]int
	order   []*record // cache of ordered
	firing  bool
	// behind: members are gone and no command has said so yet. Nothing is given
	// to start then: what they are about to do is not known.
	behind bool
	fresh  int // changes that central processing has looked at
}

// note is a line for the log of one node, or of all for 0.
type note struct {
	node    cluster.NodeID // whose log it is for, 0: everybody's
	about   cluster.NodeID // the node that it is about, 0: whose log it is
	level   slog.Level
	text    string
	service string
}

type reply struct {
	to     cluster.Member
	id     uint64
	result Result
	owner  cluster.NodeID
}

func newState() *state {
	return &state{policy: &policy{}, records: map[string]*record{}}
}

func (s *state) node(id cluster.NodeID) *node {
	for _, n := range s.nodes {
		if n.ID == id {
			return n
		}
	}
	return nil
}

func (s *state) ensureNode(id cluster.NodeID) *node {
	if n := s.node(id); n != nil {
		return n
	}
	n := &node{ID: id, Name: fmt.Sprintf("node%d", id)}
	for _, x := range s.policy.Nodes {
		if x.ID == id {
			n.Name = x.Name
		}
	}
	s.nodes = append(s.nodes, n)
	slices.SortFunc(s.nodes, func(a, b *node) int { return int(a.ID) - int(b.ID) })
	return n
}

func (s *state) nodeName(id cluster.NodeID) string {
	if n := s.node(id); n != nil {
		return n.Name
	}
	if id == 0 {
		return "none"
	}
	return fmt.Sprintf("node%d", id)
}

// usable reports whether a node may be given something to start.
func (s *state) usable(n *node) bool {
	return !s.behind && n != nil && n.Member && n.Joined && n.Quorate && !n.Leaving && n.Config == s.policy.Version && n.Sum == s.policy.Sum
}

// alive reports whether a node is there to act on what it owns.
func (n *node) alive() bool { return n != nil && n.Member && n.Joined }

// waiting: it is gone, or has to join anew, and what it owned may still run.
func (s *state) ownerLost(r *record) bool {
	if r.Owner == 0 {
		return false
	}
	n := s.node(r.Owner)
	return !n.alive() || n.Instance != r.Instance
}

// unknownNodes are those of which it is not known whether they run something
// from before this state began.
func (s *state) unknownNodes() (out []cluster.NodeID) {
	for _, n := range s.nodes {
		if !n.Known {
			out = append(out, n.ID)
		}
	}
	return out
}

func (s *state) log(at cluster.NodeID, level slog.Level, r *record, format string, args ...any) {
	n := note{node: at, level: level, text: fmt.Sprintf(format, args...)}
	if r != nil {
		n.service = r.Name
	}
	s.notes = append(s.notes, n)
}

// logNode is log about another node.
func (s *state) logNode(at, about cluster.NodeID, level slog.Level, format string, args ...any) {
	s.log(at, level, nil, format, args...)
	s.notes[len(s.notes)-1].about = about
}

// lowest is the node that speaks for all.
func (s *state) lowest() cluster.NodeID {
	for _, n := range s.nodes {
		if n.alive() {
			return n.ID
		}
	}
	return 0
}

// set changes the public part of a record.
func (s *state) set(r *record, change func()) {
	old := r.Service
	change()
	if old != r.Service {
		if old.State != r.State {
			r.Transition = s.now
		}
		s.changes = append(s.changes, Changed{Old: old, New: r.Service})
	}
}

// give tells an owner what to do.
func (s *state) give(r *record, t task) {
	r.Task, r.Cause = t, s.cause
	r.Epoch++
}

// answer ends the request that waits for a service.
func (s *state) answer(r *record, res Result) {
	if r.Asker.Node != 0 {
		s.replies = append(s.replies, reply{r.Asker, r.Ask, res, r.Owner})
	}
	r.Asker, r.Ask, r.Kind = cluster.Member{}, 0, 0
}

// settleWalk forgets a walk that came to its end.
func (r *record) endWalk() {
	r.Target, r.Origin, r.Home, r.Tried, r.WasFailed, r.Then = 0, 0, false, nil, false, thenStopped
}

// services in the order of the tree, with central processing in that of their
// priorities; those that are in no configuration any more come last, by name.
func (s *state) ordered() []*record {
	if s.order != nil {
		return s.order
	}
	out := make([]*record, 0, len(s.records))
	for i := range s.policy.Services {
		if r := s.records[s.policy.Services[i].Name]; r != nil {
			out = append(out, r)
		}
	}
	if s.policy.Central {
		slices.SortStableFunc(out, func(a, b *record) int { return s.pol(a).Priority - s.pol(b).Priority })
	}
	if len(out) < len(s.records) {
		n := len(out)
		for _, r := range s.records {
			if _, listed := s.index[r.Name]; !listed {
				out = append(out, r)
			}
		}
		slices.SortFunc(out[n:], func(a, b *record) int { return strings.Compare(a.Name, b.Name) })
	}
	s.order = out
	return out
}

// pol is the policy of a service; for one that was removed an empty one.
func (s *state) pol(r *record) *svcPolicy {
	if i, ok := s.index[r.Name]; ok {
		return &s.policy.Services[i]
	}
	return &svcPolicy{Name: r.Name}
}

func (s *state) setPolicy(p *policy) {
	s.policy, s.order = p, nil
	s.index = make(map[string]int, len(p.Services))
	for i := range p.Services {
		s.index[p.Services[i].Name] = i
	}
}
