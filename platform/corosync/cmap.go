//go:build linux

package corosync

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"
)

// CMap is a connection to the daemon's run-time key/value store. Keys are
// local to the node and vanish with the daemon.
type CMap struct{ *Conn }

// Requests and events of service cmap (ipc_cmap.h).
const (
	cmapSet        = 0
	cmapDelete     = 1
	cmapGet        = 2
	cmapAdjust     = 3
	cmapIterInit   = 4
	cmapIterNext   = 5
	cmapIterEnd    = 6
	cmapTrackAdd   = 7
	cmapTrackDel   = 8
	cmapSetMap     = 9
	cmapTrackEvent = 9

	cmapMaxValue = 16384
	cmapMaxKey   = 255
)

// Type is the type of a cmap value (cmap_value_types_t of cmap.h).
type Type uint8

// The types of cmap.h.
const (
	Int8   Type = 1
	Uint8  Type = 2
	Int16  Type = 3
	Uint16 Type = 4
	Int32  Type = 5
	Uint32 Type = 6
	Int64  Type = 7
	Uint64 Type = 8
	Float  Type = 9
	Double Type = 10
	String Type = 11
	Binary Type = 12
)

// Value is a value of the store: bytes in the machine's order, strings with
// the NUL that the daemon adds.
type Value struct {
	Type  Type
	Bytes []byte
}

// Text makes a value of type String.
func Text(s string) Value { return Value{String, []byte(s)} }

// Number makes a value of type Uint32.
func Number(n uint32) Value { return Value{Uint32, binary.NativeEndian.AppendUint32(nil, n)} }

// Uint returns the value of an integer type as a number. Negative values and
// other types give false.
func (v Value) Uint() (uint64, bool) {
	n, signed := uint64(0), v.Type%2 == 1
	switch {
	case (v.Type == Int8 || v.Type == Uint8) && len(v.Bytes) == 1:
		n = uint64(v.Bytes[0])
		if signed && int8(n) < 0 {
			return 0, false
		}
	case (v.Type == Int16 || v.Type == Uint16) && len(v.Bytes) == 2:
		n = uint64(binary.NativeEndian.Uint16(v.Bytes))
		if signed && int16(n) < 0 {
			return 0, false
		}
	case (v.Type == Int32 || v.Type == Uint32) && len(v.Bytes) == 4:
		n = uint64(binary.NativeEndian.Uint32(v.Bytes))
		if signed && int32(n) < 0 {
			return 0, false
		}
	case (v.Type == Int64 || v.Type == Uint64) && len(v.Bytes) == 8:
		n = binary.NativeEndian.Uint64(v.Bytes)
		if signed && int64(n) < 0 {
			return 0, false
		}
	default:
		return 0, false
	}
	return n, true
}

// String returns the value as text.
func (v Value) String() string {
	if n, isInt := v.Uint(); isInt {
		return strconv.FormatUint(n, 10)
	}
	switch {
	case v.Type == Int8 && len(v.Bytes) == 1:
		return strconv.Itoa(int(int8(v.Bytes[0])))
	case v.Type == Int16 && len(v.Bytes) == 2:
		return strconv.Itoa(int(int16(binary.NativeEndian.Uint16(v.Bytes))))
	case v.Type == Int32 && len(v.Bytes) == 4:
		return strconv.Itoa(int(int32(binary.NativeEndian.Uint32(v.Bytes))))
	case v.Type == Int64 && len(v.Bytes) == 8:
		return strconv.FormatInt(int64(binary.NativeEndian.Uint64(v.Bytes)), 10)
	case v.Type == Float && len(v.Bytes) == 4:
		return strconv.FormatFloat(float64(math.Float32frombits(binary.NativeEndian.Uint32(v.Bytes))), 'f', 6, 32)
	case v.Type == Double && len(v.Bytes) == 8:
		return strconv.FormatFloat(math.Float64frombits(binary.NativeEndian.Uint64(v.Bytes)), 'f', 6, 64)
	case v.Type == String:
		return string(bytes.TrimRight(v.Bytes, "\x00"))
	}
	return fmt.Sprintf("%x", v.Bytes)
}

// DialCMap connects to the store.
func DialCMap(ctx context.Context, cfg Config) (*CMap, error) {
	c, err := dial(ctx, "cmap", smallMessages, cfg)
	if err != nil {
		return nil, err
	}
	return &CMap{c}, nil
}

// Statistics switches the connection to the statistics map (keys stats.*). It
// must come first on a connection.
func (c *CMap) Statistics(ctx context.Context) error {
	req := newRequest(cmapSetMap, 24, 0)
	req.i32(16, 1)
	_, err := c.do(ctx, req)
	return wrap(err, "switch cmap to statistics")
}

// keyRequest starts a request with a mar_name_t at 16.
func keyRequest(id int32, key string, size, extra int) (request, error) {
	if len(key) > cmapMaxKey {
		return nil, fmt.Errorf("cmap key of %d bytes: %w", len(key), ErrTooBig)
	}
	req := newRequest(id, size, extra)
	binary.NativeEndian.PutUint16(req[16:], uint16(len(key)))
	req.text(24, key)
	return req, nil
}

// Get returns the value of a key. A key that does not exist gives ErrNotExist.
func (c *CMap) Get(ctx context.Context, key string) (Value, error) {
	req, err := keyRequest(cmapGet, key, 288, 0)
	if err != nil {
		return Value{}, err
	}
	req.u64(280, cmapMaxValue)
	r, err := c.do(ctx, req)
	if err != nil {
		return Value{}, wrap(err, "get cmap key "+key)
	}
	return decodeValue(r)
}

func decodeValue(r reply) (Value, error) {
	n := r.u64(24)
	v := Value{Type: Type(r.u8(32))}
	if n > cmapMaxValue {
		return Value{}, fmt.Errorf("cmap value of %d bytes: %w", n, ErrProtocol)
	}
	v.Bytes = r.bytes(40, int(n))
	return v, r.err("cmap value")
}

// String returns the value of a key as text; a key that does not exist gives
// ErrNotExist.
func (c *CMap) String(ctx context.Context, key string) (string, error) {
	v, err := c.Get(ctx, key)
	return v.String(), err
}

// Uint returns the value of an integer key.
func (c *CMap) Uint(ctx context.Context, key string) (uint64, error) {
	v, err := c.Get(ctx, key)
	if err != nil {
		return 0, err
	}
	n, isInt := v.Uint()
	if !isInt {
		return 0, fmt.Errorf("get cmap key %s: %q is no number: %w", key, v, ErrInvalidParam)
	}
	return n, nil
}

// Set creates or changes a key. Read-only keys (nodelist.*, runtime.config.* and others)
// give ErrAccess.
func (c *CMap) Set(ctx context.Context, key string, v Value) error {
	if len(v.Bytes) > cmapMaxValue {
		return fmt.Errorf("set cmap key %s to %d bytes: %w", key, len(v.Bytes), ErrTooBig)
	}
	req, err := keyRequest(cmapSet, key, 296, len(v.Bytes))
	if err != nil {
		return err
	}
	req.u64(280, uint64(len(v.Bytes)))
	req[288] = byte(v.Type)
	_, err = c.do(ctx, req, v.Bytes)
	return wrap(err, "set cmap key "+key)
}

// Delete removes a key.
func (c *CMap) Delete(ctx context.Context, key string) error {
	req, err := keyRequest(cmapDelete, key, 280, 0)
	if err != nil {
		return err
	}
	_, err = c.do(ctx, req)
	return wrap(err, "delete cmap key "+key)
}

// Adjust adds step to an integer key.
func (c *CMap) Adjust(ctx context.Context, key string, step int32) error {
	req, err := keyRequest(cmapAdjust, key, 288, 0)
	if err != nil {
		return err
	}
	req.i32(280, step)
	_, err = c.do(ctx, req)
	return wrap(err, "adjust cmap key "+key)
}

// Keys lists the keys that begin with prefix, in the store's (alphabetical)
// order.
func (c *CMap) Keys(ctx context.Context, prefix string) (keys []string, err error) {
	req, err := keyRequest(cmapIterInit, prefix, 280, 0)
	if err != nil {
		return nil, err
	}
	r, err := c.do(ctx, req)
	if err != nil {
		return nil, wrap(err, "list cmap keys "+prefix)
	}
	handle := r.u64(24)
	if err := r.err("cmap iterator"); err != nil {
		return nil, err
	}
	defer func() {
		end := newRequest(cmapIterEnd, 24, 0)
		end.u64(16, handle)
		if _, eerr := c.do(ctx, end); err == nil {
			err = wrap(eerr, "end list of cmap keys")
		}
	}()
	next := newRequest(cmapIterNext, 24, 0)
	next.u64(16, handle)
	for {
		r, err := c.do(ctx, next)
		if errors.Is(err, ErrNoSections) {
			return keys, nil
		}
		if err != nil {
			return nil, wrap(err, "list cmap keys "+prefix)
		}
		key := r.counted16(24)
		if err := r.err("cmap key"); err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
}

// Change is what happened to a tracked key; a Value without bytes is absent.
type Change struct {
	Cookie   uint64
	Key      string
	Kind     TrackKind // Added, Deleted or Modified
	New, Old Value
}

// TrackKind is a set of changes to a key (CMAP_TRACK_* of cmap.h).
type TrackKind int32

// Kinds of changes, and Prefix for a tracker of all keys with a prefix.
const (
	Deleted  TrackKind = 1
	Modified TrackKind = 2
	Added    TrackKind = 4
	Prefix   TrackKind = 8
)

// Track asks for the changes of a key, or of all with a prefix. They arrive
// through Next with the cookie. It returns the tracker's handle for Untrack.
func (c *CMap) Track(ctx context.Context, key string, kinds TrackKind, cookie uint64) (uint64, error) {
	req, err := keyRequest(cmapTrackAdd, key, 296, 0)
	if err != nil {
		return 0, err
	}
	req.i32(280, int32(kinds))
	req.u64(288, cookie)
	r, err := c.do(ctx, req)
	if err != nil {
		return 0, wrap(err, "track cmap key "+key)
	}
	h := r.u64(24)
	return h, r.err("cmap tracker")
}

// Untrack ends a tracker.
func (c *CMap) Untrack(ctx context.Context, handle uint64) error {
	req := newRequest(cmapTrackDel, 24, 0)
	req.u64(16, handle)
	_, err := c.do(ctx, req)
	return wrap(err, "end cmap tracker")
}

// Next waits for the next change of a tracked key.
func (c *CMap) Next(ctx context.Context) (Change, error) {
	for {
		b, err := c.next(ctx)
		if err != nil {
			return Change{}, err
		}
		ch, known, err := decodeChange(b)
		if err != nil {
			c.fail(err)
			return Change{}, err
		}
		if known {
			return ch, nil
		}
	}
}

// decodeChange reads event 9: uint64 cookie @24, key @32, int32 kind @296,
// uint8 new type @304, old type @312, uint64 new length @320, old length @328,
// new value @336 and the old one right after it.
func decodeChange(b []byte) (ch Change, known bool, err error) {
	id, _, err := header(b)
	if err != nil || id != cmapTrackEvent {
		return ch, false, err
	}
	r := reply{b: b}
	ch = Change{Cookie: r.u64(24), Key: r.counted16(32), Kind: TrackKind(r.i32(296))}
	ch.New.Type, ch.Old.Type = Type(r.u8(304)), Type(r.u8(312))
	n, o := r.u64(320), r.u64(328)
	if n > cmapMaxValue || o > cmapMaxValue {
		return ch, false, fmt.Errorf("cmap change of %d and %d bytes: %w", n, o, ErrProtocol)
	}
	ch.New.Bytes = r.bytes(336, int(n))
	ch.Old.Bytes = r.bytes(336+int(n), int(o))
	return ch, true, r.err("cmap change")
}

// wrap says what was attempted.
func wrap(err error, what string) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}
