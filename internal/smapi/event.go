package smapi

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"strings"

	"golang.org/x/text/encoding/charmap"
)

// Event is one event of a subscription.
type Event struct {
	// Type is GuestEvents for those of z/VM itself; programs send others with
	// Event_Stream_Add.
	Type int
	Data []byte
}

// AppendEvent appends an event in wire form: length of what follows, type and
// data.
func AppendEvent(dst []byte, e Event) []byte {
	dst = AppendInt4(dst, uint32(4+len(e.Data)))
	dst = AppendInt4(dst, uint32(int32(e.Type)))
	return append(dst, e.Data...)
}

// GuestEvents is the type of events that come from CP's *VMEVENT service.
const GuestEvents = 0

// GuestEvent is an event of a guest, as *VMEVENT has it ("CP Programming
// Services", VM event system service).
type GuestEvent struct {
	// Class is 0 for events of a guest.
	Class int
	Kind  GuestEventKind
	Guest string
	// Extra is what follows for some kinds.
	Extra []byte
}

// GuestEventKind is what happened to a guest.
type GuestEventKind int

// The kinds that have been seen on a system: a guest that is logged on gives
// GuestLogon and GuestRunnable.
const (
	GuestLogon    GuestEventKind = 0
	GuestLogoff   GuestEventKind = 1
	GuestRunnable GuestEventKind = 5
)

// String returns "logon", "logoff", "runnable" or the number.
func (k GuestEventKind) String() string {
	switch k {
	case GuestLogon:
		return "logon"
	case GuestLogoff:
		return "logoff"
	case GuestRunnable:
		return "runnable"
	}
	return fmt.Sprintf("event %d", int(k))
}

// guestEventSize is the size of a guest event without extra data: class and
// kind of two bytes each, and the user id in EBCDIC, padded with blanks.
const guestEventSize = 2 + 2 + 8

// EncodeGuestEvents makes one event of several guest events, as z/VM bundles
// them.
func EncodeGuestEvents(list ...GuestEvent) Event {
	var b []byte
	for _, g := range list {
		b = binary.BigEndian.AppendUint16(b, uint16(g.Class))
		b = binary.BigEndian.AppendUint16(b, uint16(g.Kind))
		for i := range 8 {
			c := byte(0x40) // a blank in EBCDIC
			if i < len(g.Guest) {
				c, _ = charmap.CodePage037.EncodeRune(rune(g.Guest[i]))
			}
			b = append(b, c)
		}
		b = append(b, g.Extra...)
	}
	return Event{Type: GuestEvents, Data: b}
}

// DecodeGuestEvents takes an event of the type GuestEvents apart. Only the
// kinds above are known to have no extra data; another kind is understood if
// it is the last one. The error is an ErrMalformed, with the guest events
// before the fault.
func DecodeGuestEvents(e Event) ([]GuestEvent, error) {
	if e.Type != GuestEvents {
		return nil, fmt.Errorf("%w: event type %d is none of guests", ErrMalformed, e.Type)
	}
	var list []GuestEvent
	for d := (decoder{b: e.Data}); len(d.b) > 0; {
		b := d.take(guestEventSize)
		if d.err != nil {
			return list, fmt.Errorf("guest event: %w", d.err)
		}
		g := GuestEvent{
			Class: int(binary.BigEndian.Uint16(b)),
			Kind:  GuestEventKind(binary.BigEndian.Uint16(b[2:])),
			Guest: decodeUserID(b[4:]),
		}
		known := g.Class == 0 && (g.Kind == GuestLogon || g.Kind == GuestLogoff || g.Kind == GuestRunnable)
		// Two bytes are the most that any kind has.
		switch {
		case known:
		case len(d.b) <= 2:
			g.Extra = d.take(uint32(len(d.b)))
		default:
			return list, fmt.Errorf("%w: guest event of class %d, kind %d has no known length", ErrMalformed, g.Class, g.Kind)
		}
		list = append(list, g)
	}
	return list, nil
}

// decodeUserID reads a user id in EBCDIC. The letters and digits of EBCDIC are
// above 0x80, so a name without such a byte has been translated already (a
// name of special characters alone is not told apart).
func decodeUserID(b []byte) string {
	var s strings.Builder
	ebcdic := false
	for _, c := range b {
		ebcdic = ebcdic || c >= 0x80
	}
	for _, c := range b {
		r := rune(c)
		if ebcdic {
			r = charmap.CodePage037.DecodeByte(c)
		}
		s.WriteRune(r)
	}
	return strings.TrimRight(s.String(), " \x00")
}

// Subscribe calls f for every event that matches key until ctx ends, f returns
// an error, which is returned, or the server ends it. An empty key matches all
// events. ExchangeLimit applies until the server has accepted the request; the
// wait for events has no limit. The data of an event belongs to f.
func (c *Client) Subscribe(ctx context.Context, key string, f func(Event) error) error {
	x, err := c.start(ctx, Request{Function: EventSubscribe, Target: c.self(), Params: AppendString(nil, key)})
	if err != nil {
		return err
	}
	defer x.close()
	x.unlimited()
	for first := true; ; first = false {
		var body []byte
		err := x.read(func(r io.Reader) (err error) {
			body, err = readFrame(r, smallOutput)
			return err
		})
		if err != nil {
			return err
		}
		d := decoder{b: body}
		kind := d.int4()
		if first && len(body) == minResponse && kind == x.id {
			// A refusal has the shape of any response.
			ret, reason := int(int32(d.int4())), int(int32(d.int4()))
			if ret == 0 {
				continue
			}
			return &ResultError{Function: EventSubscribe, Return: ret, Reason: reason}
		}
		if err := f(Event{Type: int(int32(kind)), Data: d.b}); err != nil {
			return err
		}
	}
}

// readFrame reads a length of at least 4 and as many bytes.
func readFrame(r io.Reader, limit int) ([]byte, error) {
	n, err := readRequestID(r)
	switch {
	case err == io.EOF:
		return nil, fmt.Errorf("the server ended the subscription: %w", err)
	case err != nil:
		return nil, err
	case n < 4 || uint64(n) > uint64(limit):
		return nil, fmt.Errorf("%w: event of %d bytes", ErrProtocol, n)
	}
	b, err := readN(r, int(n))
	return b, unexpected(err)
}

// Unsubscribe ends the subscription of this user.
func (c *Client) Unsubscribe(ctx context.Context) error {
	_, err := c.call(ctx, EventUnsubscribe, c.self(), nil)
	return err
}

// AddEvent sends an event to all subscribers.
func (c *Client) AddEvent(ctx context.Context, e Event) error {
	params := append(AppendInt4(nil, uint32(int32(e.Type))), e.Data...)
	_, err := c.call(ctx, EventStreamAdd, c.self(), params)
	return err
}
