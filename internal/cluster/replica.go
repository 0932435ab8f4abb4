package cluster

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// ErrBadFrame: a message of a group that no Replica sent.
var ErrBadFrame = errors.New("not a message of a replica")

// Machine is the state that a Replica keeps the same on all members. Its
// methods are called by Step only, one at a time.
type Machine interface {
	// Apply changes the state by a command. It must depend on nothing but the
	// state and the arguments.
	Apply(from Member, command []byte)
	// Snapshot returns the state.
	Snapshot() []byte
	// Restore replaces the state. replaced says that there was a state which
	// is now void: the cluster went on without this member.
	Restore(snapshot []byte, replaced bool)
	// Changed tells of a view. current says whether this member's state is that
	// of the cluster; if not, nothing must be decided on it until the Changed
	// that says so.
	Changed(v View, current bool)
	// Dropped returns a command of this member that will not be applied by
	// anyone, because it was sent from a state that became void.
	Dropped(command []byte)
}

// Fresh is implemented by machines that can tell that nothing would be lost with
// their state, because nobody has acted on it yet. Such a state never counts
// against that of another part of the cluster, however new the ring it was
// quorate in: a node that starts while it is cut off must not outweigh a cluster
// that has been running for months.
type Fresh interface {
	Fresh() bool
}

// Replica keeps a Machine the same on all members of a group. It is a core:
// events go in, messages to send come out, and nothing else happens.
//
// When members come, all members of the view say which history their state has
// (hello). The histories of a part that stayed together are equal; after a
// partition they differ, and one is chosen: the one that was last known to be
// quorate, then the one of more members, then that of the lowest member. Its
// lowest member sends its state as of that point in the order, and those with
// another history, or none, take it over. Commands carry the history they were
// sent from; those of a void one are dropped everywhere.
//
// It is not safe for concurrent use.
type Replica struct {
	m    Machine
	self Member

	view View
	// current says that the state is that of the members with the same
	// history.
	current bool
	// rank says what the state is worth.
	rank rank
	// chain is the history: an entry for each time members came or failed,
	// newest last. first is the number of its first entry, counted from the
	// beginning of the history.
	chain []era
	first uint64
	// since is the number of the first era from which commands of a member
	// count.
	since map[Member]uint64
	// quorate are the sequences of rings that were quorate, newest last.
	quorate []uint64

	// round is the agreement under way; nil if there is none.
	round map[Member]hello
	// transfer says that a snapshot of donor is under way, to this member
	// (waiting) or to others.
	transfer, waiting bool
	donor             Member
	// held are commands after the point of the snapshot.
	held []Message
	out  [][]byte
}

// era is a stretch of history without failures: the sequence of the ring it
// began in, and a sum over how it began and all eras before it. Parts of a
// partition have different eras even if both end up in one ring, and keep them
// apart through whatever follows.
type era struct {
	seq uint64
	sum uint64
}

// rank is what a state is worth in an agreement.
type rank uint8

const (
	none    rank = iota // never had one
	void                // had one, and it was decided that it does not count
	current             // its history is one of those to choose from
)

// hello is what a member says of its state.
type hello struct {
	tag     uint64
	rank    rank
	quorate uint64
	last    era
}

// Kinds of frames, the first byte of each message.
const (
	frameCommand  = 'c'
	frameHello    = 'h'
	frameSnapshot = 's'

	// maxEras bounds the history that is kept. A command from before it is
	// dropped, by all alike.
	maxEras = 32
	// maxQuorate bounds how many rings are remembered as quorate.
	maxQuorate = 32
)

// NewReplica returns a replica of m for the member self of a group. m has its
// initial state.
func NewReplica(m Machine, self Member) *Replica {
	return &Replica{m: m, self: self, since: map[Member]uint64{}}
}

// Current reports whether the state is that of the cluster.
func (r *Replica) Current() bool { return r.current }

// View is the last view.
func (r *Replica) View() View { return r.view }

// Command returns the message that carries a command to all replicas.
func (r *Replica) Command(command []byte) []byte {
	b := make([]byte, 1, 1+16+len(command))
	b[0] = frameCommand
	b = appendEra(b, r.last())
	return append(b, command...)
}

// Step takes one event of the group, or a Quorum event of the engine, and
// returns the messages to send. A message that is no frame gives ErrBadFrame
// and changes nothing.
func (r *Replica) Step(ev Event) (send [][]byte, err error) {
	switch ev := ev.(type) {
	case View:
		r.viewChange(ev)
	case Message:
		err = r.message(ev)
	case Quorum:
		if ev.Quorate && (len(r.quorate) == 0 || ev.Ring.Seq > r.quorate[len(r.quorate)-1]) {
			r.quorate = append(r.quorate, ev.Ring.Seq)
			r.quorate = r.quorate[max(0, len(r.quorate)-maxQuorate):]
		}
	}
	send, r.out = r.out, nil
	return send, err
}

func (r *Replica) last() era {
	if len(r.chain) == 0 {
		return era{}
	}
	return r.chain[len(r.chain)-1]
}

// begin starts a new era, with an agreement or, for each part on its own,
// after a failure.
func (r *Replica) begin(failure bool) {
	last, e := r.last(), era{seq: r.view.Ring.Seq, sum: fnvStart}
	for _, x := range []uint64{last.seq, last.sum, e.seq, uint64(r.view.Members[0].Node), uint64(r.view.Members[0].Instance)} {
		e.sum = fnv(e.sum, x)
	}
	if failure {
		e.sum = fnv(e.sum, 1)
	}
	r.chain = append(r.chain, e)
	if n := len(r.chain) - maxEras; n > 0 {
		r.chain, r.first = slices.Clone(r.chain[n:]), r.first+uint64(n)
	}
}

// fnv adds a number to an FNV-1a sum of 64 bits.
func fnv(h, x uint64) uint64 {
	for range 8 {
		h = (h ^ x&0xff) * 1099511628211
		x >>= 8
	}
	return h
}

const fnvStart = 14695981039346656037

// now is the number of the newest era.
func (r *Replica) now() uint64 { return r.first + uint64(len(r.chain)) - 1 }

func (r *Replica) viewChange(v View) {
	r.view = v
	failed := false
	for _, c := range v.Left {
		delete(r.since, c.Member)
		failed = failed || c.Reason == Failed
	}
	if !v.Has(r.self) {
		r.current = false
		r.m.Changed(v, false)
		return
	}
	if failed && r.rank == current {
		// The parts of a partition have different histories from here on.
		r.begin(true)
	}
	merged := slices.ContainsFunc(v.Joined, func(c Change) bool { return c.Reason == Merged })
	if f, is := r.m.(Fresh); is && merged && f.Fresh() {
		r.rank = none
	}
	// A change in the middle of an agreement or transfer starts it anew.
	if len(v.Joined) > 0 || r.round != nil || r.transfer {
		r.round, r.transfer, r.waiting, r.held = map[Member]hello{}, false, false, nil
		r.out = append(r.out, r.hello().encode())
	}
	// While others are brought up to it the state stays current, but not when
	// a part of the cluster came back: its state may be the one that counts.
	if r.rank != current || merged {
		r.current = false
	}
	r.m.Changed(v, r.current && !v.Transitional)
}

// hello says what this member's state is, as of the view.
func (r *Replica) hello() hello {
	h := hello{tag: tag(r.view), rank: r.rank, last: r.last()}
	for _, seq := range r.quorate {
		if seq < r.view.Ring.Seq {
			h.quorate = seq
		}
	}
	return h
}

// tag stands for a view in the messages about it: a sum of its ring and
// members.
func tag(v View) uint64 {
	h := fnv(fnv(fnvStart, uint64(v.Ring.Node)), v.Ring.Seq)
	for _, m := range v.Members {
		h = fnv(h, uint64(m.Node)<<32|uint64(m.Instance))
	}
	return h
}

func (r *Replica) message(ev Message) error {
	if len(ev.Payload) == 0 {
		return fmt.Errorf("message of node %d: %w", ev.From.Node, ErrBadFrame)
	}
	switch body := ev.Payload[1:]; ev.Payload[0] {
	case frameCommand:
		if len(body) < 16 {
			return fmt.Errorf("command of %d bytes from node %d: %w", len(body), ev.From.Node, ErrBadFrame)
		}
		if r.waiting {
			r.held = append(r.held, ev)
			return nil
		}
		r.command(ev)
	case frameHello:
		h, err := decodeHello(body)
		if err != nil {
			return fmt.Errorf("hello of node %d: %w", ev.From.Node, err)
		}
		if r.round == nil || h.tag != tag(r.view) || !r.view.Has(ev.From) {
			return nil // of a view that is gone
		}
		r.round[ev.From] = h
		if len(r.round) == len(r.view.Members) {
			r.agree()
		}
	case frameSnapshot:
		if !r.transfer || ev.From != r.donor {
			return nil // of an agreement that is gone
		}
		r.transfer = false
		if r.waiting {
			return r.restore(body)
		}
	default:
		return fmt.Errorf("frame %#x of node %d: %w", ev.Payload[0], ev.From.Node, ErrBadFrame)
	}
	return nil
}

// command applies a command if it was sent from this history.
func (r *Replica) command(ev Message) {
	e, command := decodeEra(ev.Payload[1:]), ev.Payload[17:]
	since, known := r.since[ev.From]
	for i := len(r.chain) - 1; i >= 0 && known && r.rank == current; i-- {
		if r.chain[i] == e && r.first+uint64(i) >= since {
			r.m.Apply(ev.From, command)
			return
		}
	}
	if ev.From == r.self {
		r.m.Dropped(command)
	}
}

// agree chooses the history that counts. All members do it at the same point
// of the order with the same hellos.
func (r *Replica) agree() {
	type candidate struct {
		hello
		low   Member
		count int
	}
	var best candidate
	for i, m := range r.view.Members { // sorted: the first of a history is its lowest
		c := candidate{hello: r.round[m], low: m, count: 1}
		if c.rank == current {
			c.count = 0
			for _, o := range r.view.Members {
				if h := r.round[o]; h.rank == current && h.last == c.last {
					c.count++
					c.quorate = max(c.quorate, h.quorate)
				}
			}
		}
		if i == 0 || c.rank > best.rank || c.rank == best.rank &&
			(c.quorate > best.quorate || c.quorate == best.quorate && c.count > best.count) {
			best = c
		}
	}
	mine := r.self == best.low || best.rank == current && r.rank == current && r.last() == best.last
	r.round, r.donor = nil, best.low
	r.transfer = best.rank != current && len(r.view.Members) > 1 || best.rank == current && best.count < len(r.view.Members)
	if !mine {
		r.current, r.waiting = false, true
		if r.rank == current {
			r.rank = void
		}
		return
	}
	r.current, r.rank = true, current
	r.begin(false)
	for _, m := range r.view.Members {
		if _, old := r.since[m]; !old {
			r.since[m] = r.now()
		}
	}
	if r.self == r.donor && r.transfer {
		r.out = append(r.out, r.snapshot())
	}
	r.m.Changed(r.view, true)
}

// snapshot is the state and what belongs to it: the history and since when
// each member is in it.
func (r *Replica) snapshot() []byte {
	b := []byte{frameSnapshot}
	b = binary.BigEndian.AppendUint64(b, r.first)
	b = binary.BigEndian.AppendUint32(b, uint32(len(r.chain)))
	for _, e := range r.chain {
		b = appendEra(b, e)
	}
	b = binary.BigEndian.AppendUint32(b, uint32(len(r.view.Members)))
	for _, m := range r.view.Members {
		b = binary.BigEndian.AppendUint32(b, uint32(m.Node))
		b = binary.BigEndian.AppendUint32(b, m.Instance)
		b = binary.BigEndian.AppendUint64(b, r.since[m])
	}
	return append(b, r.m.Snapshot()...)
}

func (r *Replica) restore(b []byte) error {
	if len(b) < 12 {
		return fmt.Errorf("snapshot of %d bytes: %w", len(b), ErrBadFrame)
	}
	first, n := binary.BigEndian.Uint64(b), binary.BigEndian.Uint32(b[8:])
	b = b[12:]
	if n == 0 || n > maxEras || len(b) < int(n)*16+4 {
		return fmt.Errorf("snapshot with %d eras: %w", n, ErrBadFrame)
	}
	chain := make([]era, n)
	for i := range chain {
		chain[i] = decodeEra(b[16*i:])
	}
	b = b[16*n:]
	n = binary.BigEndian.Uint32(b)
	b = b[4:]
	if uint64(n)*16 > uint64(len(b)) {
		return fmt.Errorf("snapshot with %d members: %w", n, ErrBadFrame)
	}
	since := make(map[Member]uint64, n)
	for i := range int(n) {
		e := b[16*i:]
		since[Member{NodeID(binary.BigEndian.Uint32(e)), binary.BigEndian.Uint32(e[4:])}] = binary.BigEndian.Uint64(e[8:])
	}
	r.first, r.chain, r.since = first, chain, since
	replaced := r.rank == void
	r.waiting, r.current, r.rank = false, true, current
	r.m.Restore(b[16*n:], replaced)
	held := r.held
	r.held = nil
	for _, ev := range held {
		r.command(ev)
	}
	r.m.Changed(r.view, true)
	return nil
}

// An era on the wire: uint64 sequence @0, uint64 sum @8, both
// big-endian, as all of these frames.
func appendEra(b []byte, e era) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(b, e.seq), e.sum)
}

func decodeEra(b []byte) era {
	return era{binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])}
}

// A hello: uint64 tag @0, uint8 rank @8, uint64 quorate @9, era @17.
const helloSize = 33

func (h hello) encode() []byte {
	b := []byte{frameHello}
	b = binary.BigEndian.AppendUint64(b, h.tag)
	b = append(b, byte(h.rank))
	b = binary.BigEndian.AppendUint64(b, h.quorate)
	return appendEra(b, h.last)
}

func decodeHello(b []byte) (hello, error) {
	if len(b) != helloSize || rank(b[8]) > current {
		return hello{}, fmt.Errorf("%d bytes: %w", len(b), ErrBadFrame)
	}
	return hello{binary.BigEndian.Uint64(b), rank(b[8]), binary.BigEndian.Uint64(b[9:]), decodeEra(b[17:])}, nil
}
