package fencing

import (
	"errors"
	"fmt"
	"time"

	"github.com/haobox/haobox/internal/cluster"
	"github.com/haobox/haobox/internal/wire"
)

// Errors of messages.
var (
	// ErrBadMessage: a message that no fence daemon sends.
	ErrBadMessage = errors.New("not a message of a fence daemon")
	// ErrVersion: a message or a state of another version of haobox, which this one
	// does not understand.
	ErrVersion = errors.New("another version of fenced")
)

// version is the first byte of commands and snapshots.
const version = 1

// kind is the second byte of a command.
type kind uint8

const (
	kindClean    kind = iota + 1 // this daemon is new: its node is no victim
	kindJoin                     // join the domain; with who is to be fenced if it is new
	kindLeave                    // leave the domain
	kindStart                    // ready for a change
	kindDone                     // a victim is one no more
	kindFailed                   // an attempt failed
	kindComplete                 // a change is done
	kindExternal                 // fence_node fenced a node
	kindOverride                 // a person vouches for a victim
	kindRace                     // what decides races has changed
	kindRaceAck                  // and is known
	kindStale                    // this daemon was in another domain: its node is to be fenced
)

// command is a message: version uint8 @0, kind uint8 @1, time int64 @2, then
// the fields of the kind. Numbers, texts and lists are as in package wire; times are
// int64 nanoseconds since 1970, 0 for none.
type command struct {
	kind kind
	// change of kindStart and kindComplete; version of kindRace and kindRaceAck.
	change uint64
	// node and id name a victim; ring is that of kindExternal.
	node cluster.NodeID
	id   uint64
	ring uint64
	how  How
	op   Op
	// nodes are the candidates of kindJoin.
	nodes []named
	// weight and master are what kindRace tells.
	weight uint32
	master cluster.NodeID
	// time is the sender's wall clock.
	time time.Time
}

type named struct {
	id   cluster.NodeID
	name string
}

const (
	maxText  = 255   // bytes of a name or detail; node names have at most 254
	maxNodes = 4096  // nodes in a message; corosync has no more than a hundred or so
	maxOps   = 10000 // operations in a snapshot, for future versions
)

// encoder and decoder are those of package wire, with times.
type encoder struct{ wire.Writer }

func newEncoder(size int) *encoder { return &encoder{wire.NewWriter(make([]byte, 0, size), maxText)} }

func (e *encoder) time(t time.Time) {
	if t.IsZero() {
		e.U64(0)
		return
	}
	e.I64(t.UnixNano())
}

type decoder struct{ wire.Reader }

func newDecoder(b []byte) *decoder { return &decoder{wire.NewReader(b, maxText, ErrBadMessage)} }

func (d *decoder) time() time.Time {
	if n := d.I64(); n != 0 {
		return time.Unix(0, n).UTC()
	}
	return time.Time{}
}

func (e *encoder) op(o Op) {
	e.Node(o.Node)
	e.Text(o.Name)
	e.Node(o.Master)
	e.U8(uint8(o.How))
	e.U8(uint8(o.Method))
	e.U8(uint8(o.Device))
	e.Text(o.Agent)
	e.U8(uint8(o.Code))
	e.Bool(o.OK)
	e.time(o.Start)
	e.time(o.End)
	e.U32(uint32(o.Attempts))
	e.U8(uint8(o.Reason))
	e.Text(o.Detail)
}

// opSize is the least size of an operation.
const opSize = 4 + 2 + 4 + 3 + 2 + 2 + 16 + 4 + 1 + 2

func (d *decoder) op() Op {
	return Op{
		Node: d.Node(), Name: d.Text(), Master: d.Node(), How: How(d.U8()), Method: int(d.U8()), Device: int(d.U8()), Agent: d.Text(),
		Code: Code(d.U8()), OK: d.Bool(), Start: d.time(), End: d.time(), Attempts: int(d.U32()), Reason: Reason(d.U8()), Detail: d.Text(),
	}
}

func (c command) encode() []byte {
	e := newEncoder(32)
	e.U8(version)
	e.U8(uint8(c.kind))
	e.time(c.time)
	switch c.kind {
	case kindJoin:
		e.Count(len(c.nodes))
		for _, n := range c.nodes {
			e.Node(n.id)
			e.Text(n.name)
		}
	case kindStart, kindComplete, kindRaceAck:
		e.U64(c.change)
	case kindDone:
		e.Node(c.node)
		e.U64(c.id)
		e.U8(uint8(c.how))
		e.op(c.op)
	case kindFailed:
		e.op(c.op)
	case kindExternal:
		e.Node(c.node)
		e.U64(c.ring)
	case kindOverride:
		e.Node(c.node)
		e.U64(c.id)
	case kindRace:
		e.U32(c.weight)
		e.Node(c.master)
	}
	return e.Bytes()
}

func decodeCommand(b []byte) (command, error) {
	d := newDecoder(b)
	v := d.U8()
	c := command{kind: kind(d.U8())}
	if d.Err() == nil && v != version {
		return c, fmt.Errorf("%w: it speaks version %d, this one %d", ErrVersion, v, version)
	}
	c.time = d.time()
	switch c.kind {
	case kindClean, kindLeave, kindStale:
	case kindJoin:
		for range d.Count(maxNodes, 6) {
			c.nodes = append(c.nodes, named{d.Node(), d.Text()})
		}
	case kindStart, kindComplete, kindRaceAck:
		c.change = d.U64()
	case kindDone:
		c.node, c.id, c.how, c.op = d.Node(), d.U64(), How(d.U8()), d.op()
	case kindFailed:
		c.op = d.op()
	case kindExternal:
		c.node, c.ring = d.Node(), d.U64()
	case kindOverride:
		c.node, c.id = d.Node(), d.U64()
	case kindRace:
		c.weight, c.master = d.U32(), d.Node()
	default:
		d.Fail("there is no such kind")
	}
	if err := d.End(); err != nil {
		return command{}, fmt.Errorf("%d bytes of kind %d: %w", len(b), c.kind, err)
	}
	return c, nil
}

// The snapshot: version uint8, then the fields of state in the order below.
func (s *state) encode() []byte {
	e := newEncoder(256)
	e.U8(version)
	e.U64(s.change)
	e.Bool(s.joining)
	e.U64(s.raceVersion)
	e.Count(len(s.domain))
	for _, m := range s.domain {
		e.Node(m.node)
		e.U32(m.instance)
		e.Bool(m.complete)
		e.U64(m.started)
		e.U64(m.ring)
		e.U32(m.weight)
		e.Node(m.disk)
		e.U64(m.known)
	}
	e.Count(len(s.victims))
	for _, v := range s.victims {
		e.Node(v.node)
		e.Text(v.name)
		e.U32(v.instance)
		e.Bool(v.complete)
		e.U8(uint8(v.reason))
		e.U64(v.id)
		e.U64(v.ring)
		e.U64(v.life)
		e.Bool(v.settled)
		e.U8(v.wins)
	}
	e.Count(len(s.records))
	for _, r := range s.records {
		e.Node(r.node)
		e.U8(uint8(r.fate))
		e.U64(r.off)
		e.Node(r.master)
		e.U8(uint8(r.how))
		e.time(r.time)
	}
	e.Count(len(s.history))
	for _, o := range s.history {
		e.op(o)
	}
	return e.Bytes()
}

func decodeState(b []byte) (*state, error) {
	d := newDecoder(b)
	if v := d.U8(); d.Err() == nil && v != version {
		return nil, fmt.Errorf("%w: it is of version %d, this one speaks %d", ErrVersion, v, version)
	}
	s := &state{change: d.U64(), joining: d.Bool(), raceVersion: d.U64()}
	for range d.Count(maxNodes, 37) {
		s.domain = append(s.domain, member{d.Node(), d.U32(), d.Bool(), d.U64(), d.U64(), d.U32(), d.Node(), d.U64()})
	}
	for range d.Count(maxNodes, 38) {
		s.victims = append(s.victims, victim{d.Node(), d.Text(), d.U32(), d.Bool(), Reason(d.U8()), d.U64(), d.U64(), d.U64(), d.Bool(), d.U8()})
	}
	for range d.Count(maxNodes, 26) {
		s.records = append(s.records, record{d.Node(), fate(d.U8()), d.U64(), d.Node(), How(d.U8()), d.time()})
	}
	for range d.Count(maxOps, opSize) {
		s.history = append(s.history, d.op())
	}
	if err := d.End(); err != nil {
		return nil, fmt.Errorf("snapshot of %d bytes: %w", len(b), err)
	}
	return s, nil
}
