package wire_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/haobox/haobox/internal/cluster"
	"github.com/haobox/haobox/internal/wire"
)

var errBad = errors.New("not a message of this test")

// message has one field of each kind.
type message struct {
	A uint8
	B uint16
	C uint32
	D uint64
	E int64
	F bool
	G cluster.NodeID
	H string
	I []uint8
}

const (
	maxText = 20
	maxList = 5
)

func (m message) encode() []byte {
	w := wire.NewWriter([]byte("head"), maxText)
	w.U8(m.A)
	w.U16(m.B)
	w.U32(m.C)
	w.U64(m.D)
	w.I64(m.E)
	w.Bool(m.F)
	w.Node(m.G)
	w.Text(m.H)
	w.Count(len(m.I))
	for _, x := range m.I {
		w.U8(x)
	}
	return w.Bytes()
}

func decode(b []byte) (message, error) {
	r := wire.NewReader(b, maxText, errBad)
	m := message{A: r.U8(), B: r.U16(), C: r.U32(), D: r.U64(), E: r.I64(), F: r.Bool(), G: r.Node(), H: r.Text()}
	for range r.Count(maxList, 1) {
		m.I = append(m.I, r.U8())
	}
	return m, r.End()
}

// TestBytes pins the order and the size of each kind of field.
func TestBytes(t *testing.T) {
	t.Parallel()
	m := message{A: 1, B: 0x203, C: 0x4050607, D: 0x8090a0b0c0d0e0f, E: -2, F: true, G: 0x10111213, H: "text", I: []uint8{20, 21}}
	want := []byte("head\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\xff\xff\xff\xff\xff\xff\xff\xfe\x01\x10\x11\x12\x13\x00\x04text\x00\x00\x00\x02\x14\x15")
	if diff := cmp.Diff(want, m.encode()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// TestRoundTrip: what is written comes back, cut where it is too long; nothing
// shorter and nothing longer does.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := message{rapid.Uint8().Draw(t, "a"), rapid.Uint16().Draw(t, "b"), rapid.Uint32().Draw(t, "c"), rapid.Uint64().Draw(t, "d"), rapid.Int64().Draw(t, "e"),
			rapid.Bool().Draw(t, "f"), cluster.NodeID(rapid.Uint32().Draw(t, "g")), rapid.String().Draw(t, "h"), rapid.SliceOfN(rapid.Uint8(), 0, maxList).Draw(t, "i")}
		b := bytes.TrimPrefix(m.encode(), []byte("head"))
		got, err := decode(b)
		if err != nil {
			t.Fatal(err)
		}
		m.H = m.H[:min(len(m.H), maxText)]
		if len(m.I) == 0 {
			m.I = nil
		}
		if diff := cmp.Diff(m, got); diff != "" {
			t.Fatalf("(-want +got)\n%s", diff)
		}
		if _, err := decode(b[:rapid.IntRange(0, len(b)-1).Draw(t, "cut")]); !errors.Is(err, errBad) {
			t.Fatalf("a cut message gives %v", err)
		}
		if _, err := decode(append(b, 0)); !errors.Is(err, errBad) {
			t.Fatalf("a long message gives %v", err)
		}
	})
}

// TestReader_Faults: the first fault is named, and everything after it is zero.
func TestReader_Faults(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		b    string
		read func(r *wire.Reader)
		want string
	}{
		{"too short", "\x01\x02", func(r *wire.Reader) { r.U32() }, "2 bytes are missing"},
		{"something is left over", "\x01\x02", func(r *wire.Reader) { r.U8() }, "1 bytes too many"},
		{"a text that is too long", "\x00\x15" + strings.Repeat("x", 21), func(r *wire.Reader) { r.Text() }, "a text of 21 bytes"},
		{"a text that is not there", "\x00\x14xx", func(r *wire.Reader) { r.Text() }, "18 bytes are missing"},
		{"a list above its limit", "\x00\x00\x00\x06xxxxxx", func(r *wire.Reader) { r.Count(maxList, 1) }, "a list of 6"},
		{"a list longer than the message", "\x00\x00\x00\x04xxxxxxx", func(r *wire.Reader) { r.Count(maxList, 2) }, "a list of 4"},
		{"its user's own", "\x01", func(r *wire.Reader) { r.Fail("kind %d", r.U8()); r.Fail("another") }, "kind 1"},
	} {
		r := wire.NewReader([]byte(tc.b), maxText, errBad)
		tc.read(&r)
		err := r.End()
		if !errors.Is(err, errBad) || err.Error() != tc.want+": "+errBad.Error() {
			t.Errorf("%s: %v, want %s", tc.name, err, tc.want)
		}
		if x, s, n := r.U8(), r.Text(), r.Count(1, 0); x != 0 || s != "" || n != 0 {
			t.Errorf("%s: %d, %q, %d were read after the fault", tc.name, x, s, n)
		}
		if again := r.Err(); again != err {
			t.Errorf("%s: first %v, then %v", tc.name, err, again)
		}
	}
}

// FuzzReader: nothing makes it panic, and what it takes is written the same.
func FuzzReader(f *testing.F) {
	f.Add([]byte{})
	f.Add(message{H: "text", F: true, I: []uint8{1}}.encode()[4:])
	f.Add(append(message{}.encode()[4:30], 0xff, 0xff, 0xff, 0xff, 0xff, 0xff))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decode(b)
		if err != nil {
			return
		}
		if again, err := decode(m.encode()[4:]); err != nil || !cmp.Equal(m, again) {
			t.Fatalf("%v, then %v, %v", m, again, err)
		}
	})
}
