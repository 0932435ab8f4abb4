package fencing

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/haobox/haobox/internal/cluster"
)

// Errors of messages.
var (
	// ErrBadMessage: a message that no fence daemon sends.
	ErrBadMessage = errors.New("not a message of a fence daemon")
	// ErrVersion: a message of another version of haobox, which this one does
	// not understand.
	ErrVersion = errors.New("message of another version of the fence daemon")
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
// the fields of the kind. Numbers are big-endian; texts are uint16 length and bytes; times
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

type encoder []byte

func (e *encoder) u8(x uint8)          { *e = append(*e, x) }
func (e *encoder) u32(x uint32)        { *e = binary.BigEndian.AppendUint32(*e, x) }
func (e *encoder) u64(x uint64)        { *e = binary.BigEndian.AppendUint64(*e, x) }
func (e *encoder) id(x cluster.NodeID) { e.u32(uint32(x)) }
func (e *encoder) text(s string) {
	s = s[:min(len(s), maxText)]
	*e = binary.BigEndian.AppendUint16(*e, uint16(len(s)))
	*e = append(*e, s...)
}
func (e *encoder) flag(b bool) {
	if b {
		e.u8(1)
	} else {
		e.u8(0)
	}
}
func (e *encoder) time(t time.Time) {
	if t.IsZero() {
		e.u64(0)
		return
	}
	e.u64(uint64(t.UnixNano()))
}

// decoder reads; after the first field that is not there everything is zero
// and bad is set.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) take(n int) []byte {
	if d.bad || len(d.b) < n {
		d.bad = true
		return nil
	}
	b := d.b[:n]
	d.b = d.b[n:]
	return b
}

func (d *decoder) u8() uint8 {
	if b := d.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (d *decoder) u32() uint32 {
	if b := d.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (d *decoder) u64() uint64 {
	if b := d.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (d *decoder) id() cluster.NodeID { return cluster.NodeID(d.u32()) }
func (d *decoder) flag() bool         { return d.u8() != 0 }

func (d *decoder) text() string {
	b := d.take(2)
	if b == nil {
		return ""
	}
	n := int(binary.BigEndian.Uint16(b))
	if n > maxText {
		d.bad = true
		return ""
	}
	return string(d.take(n))
}

func (d *decoder) time() time.Time {
	if n := int64(d.u64()); n != 0 {
		return time.Unix(0, n).UTC()
	}
	return time.Time{}
}

// count reads a number of things of at least size bytes each.
func (d *decoder) count(limit, size int) int {
	n := d.u32()
	if d.bad || uint64(n) > uint64(limit) || uint64(n)*uint64(size) > uint64(len(d.b)) {
		d.bad = true
		return 0
	}
	return int(n)
}

func (e *encoder) op(o Op) {
	e.id(o.Node)
	e.text(o.Name)
	e.id(o.Master)
	e.u8(uint8(o.How))
	e.u8(uint8(o.Method))
	e.u8(uint8(o.Device))
	e.text(o.Agent)
	e.u8(uint8(o.Code))
	e.flag(o.OK)
	e.time(o.Start)
	e.time(o.End)
	e.u32(uint32(o.Attempts))
	e.u8(uint8(o.Reason))
	e.text(o.Detail)
}

// opSize is the least size of an operation.
const opSize = 4 + 2 + 4 + 3 + 2 + 2 + 16 + 4 + 1 + 2

func (d *decoder) op() Op {
	return Op{
		Node: d.id(), Name: d.text(), Master: d.id(), How: How(d.u8()), Method: int(d.u8()), Device: int(d.u8()), Agent: d.text(),
		Code: Code(d.u8()), OK: d.flag(), Start: d.time(), End: d.time(), Attempts: int(d.u32()), Reason: Reason(d.u8()), Detail: d.text(),
	}
}

func (c command) encode() []byte {
	e := make(encoder, 0, 32)
	e.u8(version)
	e.u8(uint8(c.kind))
	e.time(c.time)
	switch c.kind {
	case kindJoin:
		e.u32(uint32(len(c.nodes)))
		for _, n := range c.nodes {
			e.id(n.id)
			e.text(n.name)
		}
	case kindStart, kindComplete, kindRaceAck:
		e.u64(c.change)
	case kindDone:
		e.id(c.node)
		e.u64(c.id)
		e.u8(uint8(c.how))
		e.op(c.op)
	case kindFailed:
		e.op(c.op)
	case kindExternal:
		e.id(c.node)
		e.u64(c.ring)
	case kindOverride:
		e.id(c.node)
		e.u64(c.id)
	case kindRace:
		e.u32(c.weight)
		e.id(c.master)
	}
	return e
}

func decodeCommand(b []byte) (command, error) {
	d := decoder{b: b}
	v := d.u8()
	c := command{kind: kind(d.u8())}
	if !d.bad && v != version {
		return c, fmt.Errorf("version %d, not %d: %w", v, version, ErrVersion)
	}
	c.time = d.time()
	switch c.kind {
	case kindClean, kindLeave, kindStale:
	case kindJoin:
		for range d.count(maxNodes, 6) {
			c.nodes = append(c.nodes, named{d.id(), d.text()})
		}
	case kindStart, kindComplete, kindRaceAck:
		c.change = d.u64()
	case kindDone:
		c.node, c.id, c.how, c.op = d.id(), d.u64(), How(d.u8()), d.op()
	case kindFailed:
		c.op = d.op()
	case kindExternal:
		c.node, c.ring = d.id(), d.u64()
	case kindOverride:
		c.node, c.id = d.id(), d.u64()
	case kindRace:
		c.weight, c.master = d.u32(), d.id()
	default:
		d.bad = true
	}
	if d.bad || len(d.b) > 0 {
		return command{}, fmt.Errorf("%d bytes of kind %d: %w", len(b), c.kind, ErrBadMessage)
	}
	return c, nil
}

// The snapshot: version uint8, then the fields of state in the order below;
// lists are uint32 length and elements.
func (s *state) encode() []byte {
	e := make(encoder, 0, 256)
	e.u8(version)
	e.u64(s.change)
	e.flag(s.joining)
	e.u64(s.raceVersion)
	e.u32(uint32(len(s.domain)))
	for _, m := range s.domain {
		e.id(m.node)
		e.u32(m.instance)
		e.flag(m.complete)
		e.u64(m.started)
		e.u64(m.ring)
		e.u32(m.weight)
		e.id(m.disk)
		e.u64(m.known)
	}
	e.u32(uint32(len(s.victims)))
	for _, v := range s.victims {
		e.id(v.node)
		e.text(v.name)
		e.u32(v.instance)
		e.flag(v.complete)
		e.u8(uint8(v.reason))
		e.u64(v.id)
		e.u64(v.ring)
		e.u64(v.life)
		e.flag(v.settled)
		e.u8(v.wins)
	}
	e.u32(uint32(len(s.records)))
	for _, r := range s.records {
		e.id(r.node)
		e.u8(uint8(r.fate))
		e.u64(r.off)
		e.id(r.master)
		e.u8(uint8(r.how))
		e.time(r.time)
	}
	e.u32(uint32(len(s.history)))
	for _, o := range s.history {
		e.op(o)
	}
	return e
}

func decodeState(b []byte) (*state, error) {
	d := decoder{b: b}
	if v := d.u8(); !d.bad && v != version {
		return nil, fmt.Errorf("snapshot of version %d, not %d: %w", v, version, ErrVersion)
	}
	s := &state{change: d.u64(), joining: d.flag(), raceVersion: d.u64()}
	for range d.count(maxNodes, 37) {
		s.domain = append(s.domain, member{d.id(), d.u32(), d.flag(), d.u64(), d.u64(), d.u32(), d.id(), d.u64()})
	}
	for range d.count(maxNodes, 38) {
		s.victims = append(s.victims, victim{d.id(), d.text(), d.u32(), d.flag(), Reason(d.u8()), d.u64(), d.u64(), d.u64(), d.flag(), d.u8()})
	}
	for range d.count(maxNodes, 26) {
		s.records = append(s.records, record{d.id(), fate(d.u8()), d.u64(), d.id(), How(d.u8()), d.time()})
	}
	for range d.count(maxOps, opSize) {
		s.history = append(s.history, d.op())
	}
	if d.bad || len(d.b) > 0 {
		return nil, fmt.Errorf("snapshot of %d bytes: %w", len(b), ErrBadMessage)
	}
	return s, nil
}
