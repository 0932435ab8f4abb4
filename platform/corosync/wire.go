//go:build linux

package corosync

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// Every integer on the wire is in the machine's own order: client and daemon
// share the machine.

// Headers of libqb's qbipc_common.h: int32 id @0, int32 size @8; answers and
// events add int32 error @16. Each field has an 8-byte slot.
const (
	requestHeader = 16
	replyHeader   = 24
)

// request builds a message: every field at its fixed offset, the rest zero. It
// always has the full size of its structure, because the daemon does not check
// whether a message is long enough for its type.
type request []byte

// newRequest returns a message of size bytes whose header says that extra more
// bytes follow.
func newRequest(id int32, size, extra int) request {
	r := make(request, size)
	r.i32(0, id)
	r.i32(8, int32(size+extra))
	return r
}

func (r request) id() int32            { return int32(binary.NativeEndian.Uint32(r)) }
func (r request) i32(off int, v int32) { binary.NativeEndian.PutUint32(r[off:], uint32(v)) }
func (r request) u32(off int, v uint32) {
	binary.NativeEndian.PutUint32(r[off:], v)
}
func (r request) u64(off int, v uint64) { binary.NativeEndian.PutUint64(r[off:], v) }
func (r request) text(off int, s string) {
	copy(r[off:], s)
}

// ringID puts a ring id: uint32 nodeid @0, uint64 seq @8.
func (r request) ringID(off int, id RingID) {
	r.u32(off, id.Node)
	r.u64(off+8, id.Seq)
}

// RingID names a configuration of the ring: the lowest node id in it and a
// number that grows with every change. It is the same on all its members.
type RingID struct {
	Node uint32
	Seq  uint64
}

func (r RingID) String() string { return fmt.Sprintf("%d.%x", r.Node, r.Seq) }

// reply reads a message. The first access beyond its end sets short; the
// values read from then on are zero.
type reply struct {
	b     []byte
	short bool
}

func (r *reply) bytes(off, n int) []byte {
	if off < 0 || n < 0 || off > len(r.b) || n > len(r.b)-off {
		r.short = true
		return nil
	}
	return r.b[off : off+n]
}

func (r *reply) u8(off int) uint8 {
	if b := r.bytes(off, 1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reply) u32(off int) uint32 {
	if b := r.bytes(off, 4); b != nil {
		return binary.NativeEndian.Uint32(b)
	}
	return 0
}

func (r *reply) i32(off int) int32 { return int32(r.u32(off)) }

func (r *reply) u64(off int) uint64 {
	if b := r.bytes(off, 8); b != nil {
		return binary.NativeEndian.Uint64(b)
	}
	return 0
}

// text reads a NUL-terminated string in a field of n bytes.
func (r *reply) text(off, n int) string {
	b := r.bytes(off, n)
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
}

// counted16 reads a mar_name_t: uint16 length @0, bytes[256] @8.
func (r *reply) counted16(off int) string {
	b := r.bytes(off, 264)
	if b == nil {
		return ""
	}
	n := int(binary.NativeEndian.Uint16(b))
	if n > 256 {
		r.short = true
		return ""
	}
	return string(b[8 : 8+n])
}

// counted32 reads a mar_cpg_name_t: uint32 length @0, bytes[128] @8.
func (r *reply) counted32(off int) string {
	b := r.bytes(off, 136)
	if b == nil {
		return ""
	}
	n := binary.NativeEndian.Uint32(b)
	if n > 128 {
		r.short = true
		return ""
	}
	return string(b[8 : 8+n])
}

func (r *reply) ringID(off int) RingID { return RingID{Node: r.u32(off), Seq: r.u64(off + 8)} }

// nodes reads n node ids. The count is checked against the message before
// anything is allocated.
func (r *reply) nodes(off int, n uint32) []uint32 {
	if uint64(n)*4 > uint64(len(r.b)) {
		r.short = true
		return nil
	}
	b := r.bytes(off, int(n)*4)
	if len(b) == 0 {
		return nil
	}
	out := make([]uint32, n)
	for i := range out {
		out[i] = binary.NativeEndian.Uint32(b[4*i:])
	}
	return out
}

// err reports a message that was too short for what it said it holds.
func (r *reply) err(what string) error {
	if r.short {
		return fmt.Errorf("decode %s of %d bytes: %w", what, len(r.b), ErrProtocol)
	}
	return nil
}

// header checks the header of an answer or event and returns its id and error.
func header(b []byte) (id int32, code Error, err error) {
	if len(b) < replyHeader {
		return 0, 0, fmt.Errorf("decode header of %d bytes: %w", len(b), ErrProtocol)
	}
	if size := int32(binary.NativeEndian.Uint32(b[8:])); size < replyHeader || int(size) > len(b) {
		return 0, 0, fmt.Errorf("decode header: size %d in a message of %d bytes: %w", size, len(b), ErrProtocol)
	}
	return int32(binary.NativeEndian.Uint32(b)), Error(binary.NativeEndian.Uint32(b[16:])), nil
}
