package zvmsim

import (
	"encoding/binary"

	"github.com/haobox/haobox/internal/smapi"
)

// Bytes returns what is to be sent for s: the right bytes of the reply, bent
// as Wire says.
func (s *Send) Bytes() []byte {
	var b []byte
	if s.ID {
		b = smapi.AppendRequestID(b, s.Response.RequestID)
	}
	if !s.Body {
		return b
	}
	w := &s.Wire
	start := len(b)
	if w.Garbage != nil {
		b = append(b, w.Garbage...)
	} else {
		b = smapi.AppendResponse(b, s.Response)
		w.bend(b[start:])
	}
	if w.Cut && w.CutAt < len(b)-start {
		b = b[:start+w.CutAt]
	}
	return b
}

// responseHead is the size of a response before the data: output length,
// request id, return and reason code.
const responseHead = 16

// bend changes the lengths in a response.
func (w *Wire) bend(resp []byte) {
	change := func(at int, l Lie) {
		if l.Kind != LieNone && at+4 <= len(resp) {
			binary.BigEndian.PutUint32(resp[at:], l.apply(binary.BigEndian.Uint32(resp[at:])))
		}
	}
	change(0, w.Length)
	if w.ArrayAt >= 0 {
		change(responseHead+w.ArrayAt, w.Array)
	}
}
