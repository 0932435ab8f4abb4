// Package wire writes and reads the bytes of what our daemons send each other:
// numbers are big-endian, a truth is one byte, a text is uint16 length and bytes,
// a list uint32 length and elements. What the fields are, and a version in front
// of them, is the business of the package that has the message.
//
//	w := wire.NewWriter(nil, 255)
//	w.U8(version)
//	w.Text(name)
//
//	r := wire.NewReader(b, 255, ErrMessage)
//	version, name := r.U8(), r.Text()
//	err := r.End()
package wire

import (
	"encoding/binary"
	"fmt"

	"github.com/haobox/haobox/internal/cluster"
)

// Writer builds a message. It has no errors: what it is given is ours. Not for
// concurrent use.
type Writer struct {
	b       []byte
	maxText int
}

// NewWriter appends to b, which it owns from then on. Texts are cut to maxText
// bytes, at most 65535.
func NewWriter(b []byte, maxText int) Writer { return Writer{b: b, maxText: maxText} }

// Bytes is what was written.
func (w *Writer) Bytes() []byte { return w.b }

// U8 writes 1 byte.
func (w *Writer) U8(x uint8) { w.b = append(w.b, x) }

// U16 writes 2 bytes.
func (w *Writer) U16(x uint16) { w.b = binary.BigEndian.AppendUint16(w.b, x) }

// U32 writes 4 bytes.
func (w *Writer) U32(x uint32) { w.b = binary.BigEndian.AppendUint32(w.b, x) }

// U64 writes 8 bytes.
func (w *Writer) U64(x uint64) { w.b = binary.BigEndian.AppendUint64(w.b, x) }

// I64 writes 8 bytes, two's complement.
func (w *Writer) I64(x int64) { w.U64(uint64(x)) }

// Bool writes 1 byte, 0 or 1.
func (w *Writer) Bool(x bool) {
	if x {
		w.U8(1)
	} else {
		w.U8(0)
	}
}

// Node writes the number of a node, 4 bytes.
func (w *Writer) Node(x cluster.NodeID) { w.U32(uint32(x)) }

// Text writes a text, cut if it is too long.
func (w *Writer) Text(s string) {
	s = s[:min(len(s), w.maxText)]
	w.U16(uint16(len(s)))
	w.b = append(w.b, s...)
}

// Count writes the length of a list; its elements follow.
func (w *Writer) Count(n int) { w.U32(uint32(n)) }

// Reader takes a message apart that may hold anything. After the first fault
// everything it returns is zero, so that its user asks for the error once, at
// the end. It allocates only what the message's own length bears out. Not for
// concurrent use.
type Reader struct {
	b       []byte
	maxText int
	bad     error
	err     error
}

// NewReader reads b. A text of more than maxText bytes is a fault; every fault
// wraps bad.
func NewReader(b []byte, maxText int, bad error) Reader {
	return Reader{b: b, maxText: maxText, bad: bad}
}

// Fail makes the message a faulty one, for the reason that format and args give,
// unless it is already.
func (r *Reader) Fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), r.bad)
	}
}

// Err is the first fault so far, or nil.
func (r *Reader) Err() error { return r.err }

// End is the first fault; bytes that are left over are one.
func (r *Reader) End() error {
	if len(r.b) > 0 {
		r.Fail("%d bytes too many", len(r.b))
	}
	return r.err
}

func (r *Reader) take(n int) []byte {
	if len(r.b) < n {
		r.Fail("%d bytes are missing", n-len(r.b))
	}
	if r.err != nil {
		return nil
	}
	out := r.b[:n]
	r.b = r.b[n:]
	return out
}

// U8 reads what Writer.U8 wrote, and so on.
func (r *Reader) U8() uint8 {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

// U16 reads 2 bytes.
func (r *Reader) U16() uint16 {
	if b := r.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

// U32 reads 4 bytes.
func (r *Reader) U32() uint32 {
	if b := r.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

// U64 reads 8 bytes.
func (r *Reader) U64() uint64 {
	if b := r.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// I64 reads 8 bytes, two's complement.
func (r *Reader) I64() int64 { return int64(r.U64()) }

// Bool reads 1 byte; all but 0 is true.
func (r *Reader) Bool() bool { return r.U8() != 0 }

// Node reads the number of a node.
func (r *Reader) Node() cluster.NodeID { return cluster.NodeID(r.U32()) }

// Text reads a text.
func (r *Reader) Text() string {
	n := int(r.U16())
	if n > r.maxText {
		r.Fail("a text of %d bytes", n)
	}
	return string(r.take(n))
}

// Count reads the length of a list that has at most limit elements of at least
// size bytes each; the rest of the message must be long enough for them.
func (r *Reader) Count(limit, size int) int {
	n := r.U32()
	if uint64(n) > uint64(limit) || uint64(n)*uint64(size) > uint64(len(r.b)) {
		r.Fail("a list of %d", n)
	}
	if r.err != nil {
		return 0
	}
	return int(n)
}
