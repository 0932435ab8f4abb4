//go:build linux

package corosync

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/haobox/haobox/platform/testskip"
)

// field is a value at its place: n is the width in bytes.
type field struct {
	off, n int
	v      uint64
}

// fields builds a message of size bytes independently of the code under test.
func fields(size int, all []field, texts map[int]string) []byte {
	b := make([]byte, size)
	for _, f := range all {
		switch f.n {
		case 1:
			b[f.off] = byte(f.v)
		case 2:
			native.PutUint16(b[f.off:], uint16(f.v))
		case 4:
			native.PutUint32(b[f.off:], uint32(f.v))
		case 8:
			native.PutUint64(b[f.off:], f.v)
		}
	}
	for off, s := range texts {
		copy(b[off:], s)
	}
	return b
}

// TestRequests_Layout compares every request with the layout of the daemon's
// headers, in this machine's byte order: run as s390x it proves the other one.
func TestRequests_Layout(t *testing.T) {
	t.Parallel()
	type conns struct {
		m *CMap
		g *Cfg
		p *CPG
		q *Quorum
		v *VoteQuorum
	}
	ctx := context.Background()
	ring := RingID{Node: 3, Seq: 0x1122334455}
	const key, group, dev = "haobox.key", "haobox:g", "/dev/q"
	tests := []struct {
		name  string
		call  func(c conns) error
		size  int
		want  []field
		texts map[int]string
	}{
		{"cmap set", func(c conns) error { return c.m.Set(ctx, key, Text("abcde")) }, 301,
			[]field{{0, 4, 0}, {16, 2, 10}, {280, 8, 5}, {288, 1, 11}}, map[int]string{24: key, 296: "abcde"}},
		{"cmap delete", func(c conns) error { return c.m.Delete(ctx, key) }, 280, []field{{0, 4, 1}, {16, 2, 10}}, map[int]string{24: key}},
		{"cmap get", func(c conns) error { _, err := c.m.Get(ctx, key); return err }, 288,
			[]field{{0, 4, 2}, {16, 2, 10}, {280, 8, 16384}}, map[int]string{24: key}},
		{"cmap adjust", func(c conns) error { return c.m.Adjust(ctx, key, -2) }, 288,
			[]field{{0, 4, 3}, {16, 2, 10}, {280, 4, math.MaxUint32 - 1}}, map[int]string{24: key}},
		{"cmap track", func(c conns) error { _, err := c.m.Track(ctx, key, Prefix|Added, 77); return err }, 296,
			[]field{{0, 4, 7}, {16, 2, 10}, {280, 4, 12}, {288, 8, 77}}, map[int]string{24: key}},
		{"cmap untrack", func(c conns) error { return c.m.Untrack(ctx, 1<<40) }, 24, []field{{0, 4, 8}, {16, 8, 1 << 40}}, nil},
		{"cmap statistics", func(c conns) error { return c.m.Statistics(ctx) }, 24, []field{{0, 4, 9}, {16, 4, 1}}, nil},
		{"cfg links", func(c conns) error { _, err := c.g.Links(ctx); return err }, 16, []field{{0, 4, 0}}, nil},
		{"cfg kill", func(c conns) error { return c.g.Kill(ctx, 2, "gone") }, 288,
			[]field{{0, 4, 2}, {16, 4, 2}, {24, 2, 4}}, map[int]string{26: "gone"}},
		{"cfg shutdown", func(c conns) error { return c.g.TryShutdown(ctx, ShutdownImmediate) }, 24, []field{{0, 4, 3}, {16, 4, 2}}, nil},
		{"cfg shutdown reply", func(c conns) error { return c.g.ReplyToShutdown(ctx, true) }, 24, []field{{0, 4, 4}, {16, 4, 1}}, nil},
		{"cfg addresses", func(c conns) error { _, err := c.g.Addresses(ctx, 9); return err }, 24, []field{{0, 4, 5}, {16, 4, 9}}, nil},
		{"cfg local node", func(c conns) error { _, err := c.g.LocalNode(ctx); return err }, 16, []field{{0, 4, 6}}, nil},
		{"cfg reload", func(c conns) error { return c.g.Reload(ctx) }, 16, []field{{0, 4, 7}}, nil},
		{"cfg reopen logs", func(c conns) error { return c.g.ReopenLogs(ctx) }, 16, []field{{0, 4, 8}}, nil},
		{"cfg node status", func(c conns) error { _, err := c.g.Node(ctx, 2); return err }, 32, []field{{0, 4, 9}, {16, 4, 2}, {24, 4, 1}}, nil},
		{"cfg track", func(c conns) error { return c.g.TrackShutdown(ctx) }, 24, []field{{0, 4, 10}}, nil},
		{"cfg untrack", func(c conns) error { return c.g.UntrackShutdown(ctx) }, 16, []field{{0, 4, 11}}, nil},
		{"cpg join", func(c conns) error { return c.p.Join(ctx, group, 4711) }, 168,
			[]field{{0, 4, 0}, {16, 4, 8}, {152, 4, 4711}, {160, 4, 1}}, map[int]string{24: group}},
		{"cpg leave", func(c conns) error { return c.p.Leave(ctx, group, 4711) }, 160,
			[]field{{0, 4, 1}, {16, 4, 8}, {152, 4, 4711}}, map[int]string{24: group}},
		{"cpg multicast", func(c conns) error { return c.p.Multicast(ctx, []byte("payload")) }, 47,
			[]field{{0, 4, 2}, {24, 4, 2}, {32, 4, 7}}, map[int]string{40: "payload"}},
		{"cpg members", func(c conns) error { _, err := c.p.Members(ctx, group); return err }, 152,
			[]field{{0, 4, 3}, {16, 4, 8}}, map[int]string{24: group}},
		{"cpg local node", func(c conns) error { _, err := c.p.LocalNode(ctx); return err }, 16, []field{{0, 4, 4}}, nil},
		{"cpg finalize", func(c conns) error { return c.p.Finalize(ctx) }, 16, []field{{0, 4, 8}}, nil},
		{"quorum get", func(c conns) error { _, err := c.q.Quorate(ctx); return err }, 16, []field{{0, 4, 0}}, nil},
		{"quorum track", func(c conns) error { return c.q.Track(ctx) }, 24, []field{{0, 4, 1}, {16, 4, 2}}, nil},
		{"quorum untrack", func(c conns) error { return c.q.Untrack(ctx) }, 16, []field{{0, 4, 2}}, nil},
		{"quorum type", func(c conns) error { _, err := c.q.HasProvider(ctx); return err }, 16, []field{{0, 4, 3}}, nil},
		{"votes info", func(c conns) error { _, err := c.v.Info(ctx, 5); return err }, 24, []field{{0, 4, 0}, {16, 4, 5}}, nil},
		{"votes expected", func(c conns) error { return c.v.SetExpected(ctx, 5) }, 24, []field{{0, 4, 1}, {16, 4, 5}}, nil},
		{"votes set", func(c conns) error { return c.v.SetVotes(ctx, 2, 7) }, 24, []field{{0, 4, 2}, {16, 4, 7}, {20, 4, 2}}, nil},
		{"votes track", func(c conns) error { return c.v.Track(ctx) }, 32, []field{{0, 4, 3}, {24, 4, 2}}, nil},
		{"votes untrack", func(c conns) error { return c.v.Untrack(ctx) }, 16, []field{{0, 4, 4}}, nil},
		{"device register", func(c conns) error { return c.v.RegisterDevice(ctx, dev) }, 272, []field{{0, 4, 5}}, map[int]string{16: dev}},
		{"device unregister", func(c conns) error { return c.v.UnregisterDevice(ctx, dev) }, 272, []field{{0, 4, 6}}, map[int]string{16: dev}},
		{"device rename", func(c conns) error { return c.v.RenameDevice(ctx, dev, "new") }, 528, []field{{0, 4, 7}}, map[int]string{16: dev, 271: "new"}},
		{"device poll", func(c conns) error { return c.v.PollDevice(ctx, dev, true, ring) }, 296,
			[]field{{0, 4, 8}, {272, 4, 1}, {280, 4, 3}, {288, 8, 0x1122334455}}, map[int]string{16: dev}},
		{"device master wins", func(c conns) error { return c.v.MasterWins(ctx, dev, true) }, 280,
			[]field{{0, 4, 9}, {272, 4, 1}}, map[int]string{16: dev}},
	}
	f := newFake(t)
	f.answer = func(c *fakeConn, req []byte) {
		if !bytes.HasSuffix(req, []byte("payload")) {
			c.respondWith(ok, make([]byte, 10300))
		}
	}
	var c conns
	for _, dial := range []func() (interface{ Close() error }, error){
		func() (_ interface{ Close() error }, err error) {
			c.m, err = DialCMap(ctx, f.config())
			return c.m, err
		},
		func() (_ interface{ Close() error }, err error) { c.g, err = DialCfg(ctx, f.config()); return c.g, err },
		func() (_ interface{ Close() error }, err error) {
			c.q, err = DialQuorum(ctx, f.config())
			return c.q, err
		},
		func() (_ interface{ Close() error }, err error) {
			c.v, err = DialVoteQuorum(ctx, f.config())
			return c.v, err
		},
		func() (_ interface{ Close() error }, err error) { c.p, err = DialCPG(ctx, f.config()); return c.p, err },
	} {
		conn, err := dial()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
	}
	for _, tc := range tests {
		before := len(f.requests())
		if err := tc.call(c); err != nil {
			t.Errorf("%s: %v", tc.name, err)
		}
		for len(f.requests()) == before { // a multicast has no answer to wait for
			syscall.Syscall(syscall.SYS_SCHED_YIELD, 0, 0, 0)
		}
		want := fields(tc.size, append(tc.want, field{8, 4, uint64(tc.size)}), tc.texts)
		if diff := cmp.Diff(want, f.requests()[before]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.name, diff)
		}
	}
}

// cat joins bytes.
func cat(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// eventSeeds are events as the daemon's headers lay them out, and what they
// mean.
func eventSeeds() []struct {
	name string
	b    []byte
	want any
} {
	group := map[int]string{32: "haobox:g"}
	ring := RingID{Node: 2, Seq: 1 << 33}
	return []struct {
		name string
		b    []byte
		want any
	}{
		{"cpg change", fields(184+4*24, []field{{0, 4, 4}, {8, 4, 280}, {16, 4, 1}, {24, 4, 8}, {160, 4, 2}, {168, 4, 1}, {176, 4, 1},
			{184, 4, 1}, {192, 4, 10}, {208, 4, 2}, {216, 4, 20}, // members
			{232, 4, 3}, {240, 4, 30}, {248, 4, 3}, // left
			{256, 4, 2}, {264, 4, 20}, {272, 4, 1}, // joined
		}, group), ConfChg{Group: "haobox:g", Members: []Process{{1, 10}, {2, 20}},
			Joined: []Moved{{Process{2, 20}, ReasonJoin}}, Left: []Moved{{Process{3, 30}, ReasonNodeDown}}}},
		{"cpg message", fields(187, []field{{0, 4, 5}, {8, 4, 187}, {16, 4, 1}, {24, 4, 8}, {160, 4, 3}, {168, 4, 2}, {176, 4, 20}},
			map[int]string{32: "haobox:g", 184: "abc"}), Message{Group: "haobox:g", From: Process{2, 20}, Payload: []byte("abc")}},
		{"cpg ring", fields(52, []field{{0, 4, 13}, {8, 4, 52}, {16, 4, 1}, {24, 4, 2}, {32, 8, 1 << 33}, {40, 4, 2}, {44, 4, 1}, {48, 4, 2}}, nil),
			Ring{ID: ring, Members: []uint32{1, 2}}},
		{"quorum state", fields(60, []field{{0, 4, 6}, {8, 4, 60}, {16, 4, 1}, {24, 4, 1}, {32, 4, 2}, {40, 8, 1 << 33}, {48, 4, 2}, {52, 4, 1}, {56, 4, 2}}, nil),
			QuorumState{Quorate: true, Ring: ring, Members: []uint32{1, 2}}},
		{"quorum notification of old", fields(56, []field{{0, 4, 3}, {8, 4, 56}, {16, 4, 1}, {24, 4, 1}, {32, 8, 12}, {40, 4, 2}, {44, 4, 1}, {48, 4, 2}}, nil),
			QuorumState{Quorate: true, Ring: RingID{Seq: 12}, Members: []uint32{1, 2}}},
		{"quorum nodes", fields(76, []field{{0, 4, 7}, {8, 4, 76}, {16, 4, 1}, {24, 4, 2}, {32, 8, 1 << 33}, {40, 4, 1}, {48, 4, 1}, {56, 4, 2},
			{60, 4, 1}, {64, 4, 1}, {68, 4, 3}, {72, 4, 4}}, nil),
			RingChange{Ring: ring, Members: []uint32{1}, Joined: []uint32{1}, Left: []uint32{3, 4}}},
		{"votes state", fields(64, []field{{0, 4, 3}, {8, 4, 64}, {16, 4, 1}, {24, 4, 1}, {32, 8, 5}, {40, 4, 2}, {48, 4, 1}, {52, 4, 1}, {56, 4, 0}, {60, 4, 2}}, nil),
			VoteState{Quorate: true, Nodes: []VoteNode{{1, NodeMember}, {0, NodeDead}}}},
		{"votes expected", fields(40, []field{{0, 4, 4}, {8, 4, 40}, {16, 4, 1}, {32, 4, 3}}, nil), ExpectedVotes{3}},
		{"votes nodes", fields(64, []field{{0, 4, 5}, {8, 4, 64}, {16, 4, 1}, {32, 4, 2}, {40, 8, 1 << 33}, {48, 4, 2}, {56, 4, 1}, {60, 4, 2}}, nil),
			VoteNodes{Ring: ring, Members: []uint32{1, 2}}},
		{"cmap change", fields(342, []field{{0, 4, 9}, {8, 4, 342}, {16, 4, 1}, {24, 8, 77}, {32, 2, 3}, {296, 4, 2}, {304, 1, 11}, {312, 1, 11},
			{320, 8, 4}, {328, 8, 2}}, map[int]string{40: "a.b", 336: "new\x00o\x00"}),
			Change{Cookie: 77, Key: "a.b", Kind: Modified, New: Value{String, []byte("new\x00")}, Old: Value{String, []byte("o\x00")}}},
		{"shutdown", fields(32, []field{{0, 4, 10}, {8, 4, 32}, {16, 4, 5}, {24, 4, 1}}, nil), ShutdownEvent{How: ShutdownRegardless, TimedOut: true}},
	}
}

// decodeAs decodes b as an event of the service that the seed's name begins with.
func decodeAs(service string, b []byte) (any, error) {
	switch service {
	case "cpg":
		return (&CPG{}).decode(b)
	case "quorum":
		return decodeQuorum(b)
	case "votes":
		return decodeVote(b)
	case "cmap":
		ev, _, err := decodeChange(b)
		return ev, err
	}
	ev, _, err := decodeShutdown(b)
	return ev, err
}

func TestEvents_Layout(t *testing.T) {
	t.Parallel()
	for _, tc := range eventSeeds() {
		service, _, _ := strings.Cut(tc.name, " ")
		got, err := decodeAs(service, tc.b)
		if diff := cmp.Diff(tc.want, got); diff != "" || err != nil {
			t.Errorf("%s (-want +got):\n%s%v", tc.name, diff, err)
		}
		for n := range len(tc.b) - 7 { // some end with padding
			short := bytes.Clone(tc.b[:n])
			if n >= replyHeader {
				native.PutUint32(short[8:], uint32(n))
			}
			if _, err := decodeAs(service, short); !errors.Is(err, ErrProtocol) {
				t.Errorf("%s cut to %d bytes: %v, want ErrProtocol", tc.name, n, err)
				break
			}
		}
	}
}

func TestAnswers_Layout(t *testing.T) {
	t.Parallel()
	links := fields(10272, []field{{24, 4, 2}}, map[int]string{32: "0 10.0.0.1", 160: "1 10.1.0.1", 2080: "n3", 2592: "n1"})
	if got, err := decodeLinks(reply{b: links}); err != nil || !cmp.Equal(got, []Link{{"0 10.0.0.1", "n3"}, {"1 10.1.0.1", "n1"}}) {
		t.Errorf("links %v, %v", got, err)
	}
	addr := fields(64, []field{{24, 4, 10}, {28, 4, 2}, {32, 1, 0xfd}, {47, 1, 1}, {48, 1, 0xfd}, {63, 1, 2}}, nil)
	if got, err := decodeAddresses(reply{b: addr}); err != nil || !cmp.Equal(got, []netip.Addr{netip.MustParseAddr("fd00::1"), netip.MustParseAddr("fd00::2")}, cmpopts.EquateComparable(netip.Addr{})) {
		t.Errorf("addresses %v, %v", got, err)
	}
	node := fields(4200, []field{{24, 4, 1}, {28, 4, 2}, {32, 1, 1}, {40 + 520, 1, 1}, {40 + 521, 1, 1}, {40 + 524, 4, 1446}}, map[int]string{40 + 528: "10.0.0.1", 40 + 784: "10.0.0.2"})
	want := NodeStatus{Node: 2, Reachable: true, Links: []NodeLink{{Number: 1, Enabled: true, Connected: true, MTU: 1446, Source: "10.0.0.1", Destination: "10.0.0.2"}}}
	if got, err := decodeNodeStatus(reply{b: node}); err != nil || !cmp.Equal(got, want) {
		t.Errorf("node %+v, %v", got, err)
	}
	info := fields(320, []field{{24, 4, 1}, {28, 4, 1}, {32, 4, 2}, {36, 4, 3}, {40, 4, 4}, {44, 4, 5}, {48, 4, 6}, {52, 4, 962}, {56, 4, 7}}, map[int]string{60: "dev"})
	wantInfo := VoteInfo{1, NodeMember, 2, 3, 4, 5, 6, FlagQuorate | FlagDeviceRegistered | FlagDeviceAlive | FlagDeviceCasts | FlagDeviceMasterWins, 7, "dev"}
	if got, err := decodeVoteInfo(reply{b: info}); err != nil || got != wantInfo {
		t.Errorf("votes %+v, %v", got, err)
	}
	for _, n := range []int{0, 24, 39, 100, 314} {
		if _, err := decodeVoteInfo(reply{b: info[:n]}); !errors.Is(err, ErrProtocol) {
			t.Errorf("votes cut to %d bytes: %v", n, err)
		}
	}
	for name, err := range map[string]error{
		"17 links": func() error {
			_, err := decodeLinks(reply{b: fields(10272, []field{{24, 4, 17}}, nil)})
			return err
		}(),
		"4 billion addresses": func() error {
			_, err := decodeAddresses(reply{b: fields(64, []field{{28, 4, math.MaxUint32}}, nil)})
			return err
		}(),
		"value beyond the limit": func() error {
			_, err := decodeValue(reply{b: fields(64, []field{{24, 8, math.MaxUint64}}, nil)})
			return err
		}(),
	} {
		if !errors.Is(err, ErrProtocol) {
			t.Errorf("%s: %v, want ErrProtocol", name, err)
		}
	}
}

func TestValue_Text(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		v    Value
		want string
		n    uint64
		ok   bool
	}{
		{Value{Int8, []byte{0xff}}, "-1", 0, false},
		{Value{Uint8, []byte{0xff}}, "255", 255, true},
		{Value{Int16, native.AppendUint16(nil, 0xfffe)}, "-2", 0, false},
		{Value{Int32, native.AppendUint32(nil, 7)}, "7", 7, true},
		{Value{Int64, native.AppendUint64(nil, math.MaxUint64)}, "-1", 0, false},
		{Value{Uint64, native.AppendUint64(nil, 1<<40)}, "1099511627776", 1 << 40, true},
		{Value{Double, native.AppendUint64(nil, math.Float64bits(1.5))}, "1.500000", 0, false},
		{Value{Float, native.AppendUint32(nil, math.Float32bits(-2))}, "-2.000000", 0, false},
		{Value{String, []byte("x\x00")}, "x", 0, false},
		{Value{Binary, []byte{1, 2}}, "0102", 0, false},
		{Value{Uint32, []byte{1}}, "01", 0, false},
	} {
		if got := tc.v.String(); got != tc.want {
			t.Errorf("%v: text %q, want %q", tc.v.Bytes, got, tc.want)
		}
		if n, isInt := tc.v.Uint(); n != tc.n || isInt != tc.ok {
			t.Errorf("%v: number %d, %v", tc.v.Bytes, n, isInt)
		}
	}
}

// aligned is memory as a mapping has it: a slice on the stack may begin
// anywhere, which s390x does not forgive.
func aligned(n int) []byte {
	words := make([]uint64, n/8+1)
	return unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), 8*len(words))[:n]
}

// TestRing_Model compares a ring with a plain queue.
func TestRing_Model(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		words := rapid.Uint32Range(4, 64).Draw(t, "words")
		hdr := aligned(ringHeaderSize)
		native.PutUint32(hdr[offWords:], words)
		r, err := newRing(hdr, aligned(int(words)*4))
		if err != nil {
			t.Fatal(err)
		}
		var model [][]byte
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			if rapid.Bool().Draw(t, "put") {
				msg := rapid.SliceOfN(rapid.Byte(), 0, r.capacity()).Draw(t, "message")
				cut := rapid.IntRange(0, len(msg)).Draw(t, "cut")
				done, err := r.put(msg[:cut], msg[cut:])
				if err != nil {
					t.Fatal(err)
				}
				if done {
					model = append(model, msg)
				} else if len(model) == 0 {
					t.Fatalf("no room for %d bytes in an empty ring of %d words", len(msg), words)
				}
				continue
			}
			if got := r.tryWait(); got != (len(model) > 0) {
				t.Fatalf("unit %v with %d messages", got, len(model))
			} else if got {
				msg, err := r.take()
				if err != nil || !bytes.Equal(msg, model[0]) {
					t.Fatalf("took %x, %v, want %x", msg, err, model[0])
				}
				model = model[1:]
			}
		}
		if _, err := r.put(make([]byte, r.capacity()+1)); !errors.Is(err, ErrTooBig) {
			t.Fatalf("beyond the capacity: %v", err)
		}
	})
}

// TestRing_Wakes: a waiter is woken by a post, and by wake to look at its stop
// condition.
func TestRing_Wakes(t *testing.T) {
	t.Parallel()
	hdr := aligned(ringHeaderSize)
	native.PutUint32(hdr[offWords:], 64)
	r, err := newRing(hdr, aligned(256))
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan []byte, 1)
	go func() {
		if !r.wait(time.Hour, func() bool { return false }) {
			t.Error("no unit")
		}
		b, err := r.take()
		if err != nil {
			t.Error(err)
		}
		got <- b
	}()
	if _, err := r.put([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if b := <-got; string(b) != "hello" {
		t.Errorf("got %q", b)
	}
	var stop atomic.Bool
	done := make(chan bool, 1)
	go func() { done <- r.wait(time.Hour, stop.Load) }()
	stop.Store(true)
	r.wake(1 << 30)
	if <-done {
		t.Error("a unit out of nothing")
	}
	if d := *r.sem(); d != 0 {
		t.Errorf("semaphore %#x after all, want 0", d)
	}
	if r.wait(time.Nanosecond, func() bool { return false }) {
		t.Error("a unit out of nothing")
	}
}

func TestDial_BadHandshakes(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		f    func(f *fake)
		want error
	}{
		{"not yet, and then it works", func(f *fake) { f.handshakes = []int32{-11, -11} }, nil},
		{"not allowed", func(f *fake) { f.handshakes = []int32{-13} }, ErrNotAllowed},
		{"no such service", func(f *fake) { f.handshakes = []int32{-38} }, ErrNoService},
		{"no descriptors left", func(f *fake) { f.handshakes = []int32{-24} }, syscall.EMFILE},
		{"cut off", func(f *fake) { f.cut = 100 }, ErrLost},
		{"another version: its size", func(f *fake) { f.reply = func(b []byte) { native.PutUint32(b[8:], handshakeReply+8) } }, ErrProtocol},
		{"another version: its id", func(f *fake) { f.reply = func(b []byte) { native.PutUint32(b, 1) } }, ErrProtocol},
		{"another kind of connection", func(f *fake) { f.reply = func(b []byte) { native.PutUint32(b[24:], 7) } }, ErrProtocol},
		{"messages of 4 GiB", func(f *fake) { f.reply = func(b []byte) { native.PutUint32(b[28:], math.MaxUint32) } }, ErrProtocol},
		{"no names", func(f *fake) { f.reply = func(b []byte) { clear(b[40:]) } }, ErrProtocol},
		{"files that are not there", func(f *fake) { f.reply = func(b []byte) { copy(b[40:], "/nonexistent/x\x00") } }, os.ErrNotExist},
		{"short header", func(f *fake) { f.files = func(c *fakeConn) { os.Truncate(c.names[1]+"-header", 8000) } }, ErrProtocol},
		{"short data", func(f *fake) { f.files = func(c *fakeConn) { os.Truncate(c.names[2]+"-data", 8000) } }, ErrProtocol},
		{"no words", func(f *fake) { f.files = func(c *fakeConn) { native.PutUint32(c.req.hdr[offWords:], 0) } }, ErrProtocol},
		{"4 billion words", func(f *fake) { f.files = func(c *fakeConn) { native.PutUint32(c.req.hdr[offWords:], math.MaxUint32) } }, ErrProtocol},
		{"name of the data without end", func(f *fake) {
			f.files = func(c *fakeConn) { copy(c.req.hdr[offDataPath:offRefCount], bytes.Repeat([]byte("x"), pathSize)) }
		}, ErrProtocol},
		{"a folder as data", func(f *fake) {
			f.files = func(c *fakeConn) { copy(c.req.hdr[offDataPath:], f.dir+"\x00") }
		}, syscall.EISDIR},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t)
			tc.f(f)
			c, err := DialCfg(context.Background(), f.config())
			if err == nil {
				c.Close()
			}
			if !errors.Is(err, tc.want) {
				t.Errorf("got %v, want %v", err, tc.want)
			}
		})
	}
}

// TestConn_GarbageInAnswers: whatever the daemon writes, a call ends with a
// named error and the connection with it.
func TestConn_GarbageInAnswers(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		answer func(c *fakeConn, req []byte)
		want   error
	}{
		{"magic", func(c *fakeConn, req []byte) {
			c.resp.put(message(0, ok, nil))
		}, nil},
		{"chunk that is being written", func(c *fakeConn, req []byte) {
			native.PutUint32(c.resp.data[4:], magicWriting)
			c.resp.post()
		}, ErrProtocol},
		{"chunk beyond the ring", func(c *fakeConn, req []byte) {
			native.PutUint32(c.resp.data, math.MaxUint32)
			native.PutUint32(c.resp.data[4:], magicValid)
			c.resp.post()
		}, ErrProtocol},
		{"index beyond the ring", func(c *fakeConn, req []byte) {
			atomic.StoreUint32(c.resp.word(offReadPt), math.MaxUint32)
			c.resp.post()
		}, ErrProtocol},
		{"answer without header", func(c *fakeConn, req []byte) { c.resp.put([]byte("short")) }, ErrProtocol},
		{"size below the header", func(c *fakeConn, req []byte) {
			m := message(0, ok, nil)
			native.PutUint32(m[8:], 3)
			c.resp.put(m)
		}, ErrProtocol},
		{"size beyond the message", func(c *fakeConn, req []byte) {
			m := message(0, ok, nil)
			native.PutUint32(m[8:], 1<<30)
			c.resp.put(m)
		}, ErrProtocol},
		{"negative size", func(c *fakeConn, req []byte) {
			m := message(0, ok, nil)
			native.PutUint32(m[8:], math.MaxUint32)
			c.resp.put(m)
		}, ErrProtocol},
		{"answer shorter than its type", func(c *fakeConn, req []byte) { c.respondWith(ok, nil) }, ErrProtocol},
		{"the daemon lets go", func(c *fakeConn, req []byte) { c.sock.Close() }, ErrLost},
		{"its error", func(c *fakeConn, req []byte) { c.respondWith(ErrBusy, nil) }, ErrBusy},
		{"an error nobody knows", func(c *fakeConn, req []byte) { c.respondWith(99, nil) }, Error(99)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t)
			f.answer = tc.answer
			c, err := DialCfg(context.Background(), f.config())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if tc.want == nil {
				if err := c.ReopenLogs(context.Background()); err != nil {
					t.Error(err)
				}
				return
			}
			if _, err = c.LocalNode(context.Background()); !errors.Is(err, tc.want) {
				t.Errorf("got %v, want %v", err, tc.want)
			}
		})
	}
}

// TestConn_TruncatedRing: pages that are gone end the connection, not the
// process.
func TestConn_TruncatedRing(t *testing.T) {
	t.Parallel()
	testskip.IfEmulated(t, "the emulator does not turn a fault of the host's mapping into the guest's signal")
	f := newFake(t)
	f.answer = func(c *fakeConn, req []byte) {
		c.truncate()
		c.sock.Write(oneByte)
	}
	c, err := DialCfg(context.Background(), f.config())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.LocalNode(context.Background()); !errors.Is(err, ErrLost) {
		t.Errorf("got %v, want ErrLost", err)
	}
	c.Close()
	if _, err := c.LocalNode(context.Background()); err == nil {
		t.Error("a closed connection answered")
	}
}

func TestConn_GarbageInEvents(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		send func(c *fakeConn)
		want error
	}{
		{"chunk beyond the ring", func(c *fakeConn) {
			native.PutUint32(c.ev.data, math.MaxUint32)
			native.PutUint32(c.ev.data[4:], magicValid)
			c.ev.post()
			c.sock.Write(oneByte)
		}, ErrProtocol},
		{"group name beyond its field", func(c *fakeConn) {
			c.event(fields(184, []field{{0, 4, 5}, {8, 4, 184}, {16, 4, 1}, {24, 4, 129}}, nil))
		}, ErrProtocol},
		{"counts beyond the message", func(c *fakeConn) {
			c.event(fields(184, []field{{0, 4, 4}, {8, 4, 184}, {16, 4, 1}, {160, 4, math.MaxUint32}}, nil))
		}, ErrProtocol},
		{"more events than may wait", func(c *fakeConn) {
			for range 40 {
				c.event(message(99, ok, make([]byte, 100)))
			}
		}, ErrOverrun},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t)
			cfg := f.config()
			cfg.QueueLimit = 2000
			c, err := DialCPG(context.Background(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			tc.send(f.conn())
			if errors.Is(tc.want, ErrOverrun) {
				<-c.Done()
			}
			if _, err := c.Next(context.Background()); !errors.Is(err, tc.want) {
				t.Errorf("got %v, want %v", err, tc.want)
			}
			<-c.Done()
			if err := c.Multicast(context.Background(), nil); err == nil {
				t.Error("the connection still takes messages")
			}
		})
	}
}

// TestConn_UnknownEventsAreIgnored: later versions may send more.
func TestConn_UnknownEventsAreIgnored(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	c, err := DialCPG(context.Background(), f.config())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	seeds := eventSeeds()
	f.conn().event(message(99, ok, []byte("later")))
	f.conn().event(append(bytes.Clone(seeds[0].b), "longer than today"...))
	ev, err := c.Next(context.Background())
	if diff := cmp.Diff(seeds[0].want, ev); diff != "" || err != nil {
		t.Errorf("(-want +got):\n%s%v", diff, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := c.Next(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// TestConn_FlowControl: what the daemon does not want now waits, the rest goes.
func TestConn_FlowControl(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.answer = func(c *fakeConn, req []byte) {
		if request(req).id() != cpgMulticast {
			c.respondWith(ok, make([]byte, 8))
		}
	}
	c, err := DialCPG(context.Background(), f.config())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	flow := func(v uint32) { atomic.StoreUint32(f.conn().req.word(offFlow), v) }
	soon := func() context.Context {
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		t.Cleanup(cancel)
		return ctx
	}
	flow(flowNoMulticast)
	if err := c.Multicast(soon(), []byte("x")); !errors.Is(err, ErrTryAgain) {
		t.Errorf("multicast while the membership changes: %v", err)
	}
	if _, err := c.LocalNode(context.Background()); err != nil {
		t.Errorf("other request: %v", err)
	}
	flow(1)
	if _, err := c.LocalNode(soon()); !errors.Is(err, ErrTryAgain) {
		t.Errorf("closed: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := c.LocalNode(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	flow(flowOpen)
	if _, err := c.LocalNode(context.Background()); err != nil {
		t.Errorf("open again: %v", err)
	}
	if n := len(f.requests()); n != 2 {
		t.Errorf("%d requests reached the daemon, want 2", n)
	}
}

// TestConn_TryAgainIsRetried: so does its answer.
func TestConn_TryAgainIsRetried(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	n := 0
	f.answer = func(c *fakeConn, req []byte) {
		if n++; n < 5 {
			c.respondWith(ErrTryAgain, nil)
			return
		}
		c.respondWith(ok, native.AppendUint32(nil, 42))
	}
	c, err := DialCfg(context.Background(), f.config())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if id, err := c.LocalNode(context.Background()); id != 42 || err != nil {
		t.Errorf("node %d, %v", id, err)
	}
}

func TestConn_LimitsOfRequests(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	ctx := context.Background()
	m, err := DialCMap(ctx, f.config())
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	v := &VoteQuorum{m.Conn}
	p := &CPG{Conn: m.Conn}
	for name, err := range map[string]error{
		"key":         m.Delete(ctx, strings.Repeat("k", 256)),
		"value":       m.Set(ctx, "k.k", Text(strings.Repeat("v", 16385))),
		"group":       p.Join(ctx, strings.Repeat("g", 129), 0),
		"no group":    p.Leave(ctx, "", 0),
		"device":      v.RegisterDevice(ctx, strings.Repeat("d", 255)),
		"device name": v.RegisterDevice(ctx, "a\x00b"),
		"new name":    v.RenameDevice(ctx, "a", ""),
	} {
		if !errors.Is(err, ErrTooBig) {
			t.Errorf("%s: %v, want ErrTooBig", name, err)
		}
	}
	if len(f.requests()) != 0 {
		t.Error("something was sent")
	}
}

func TestCPG_Fragments(t *testing.T) {
	t.Parallel()
	frag := func(node, total, kind uint32, text string) []byte {
		return fields(200+len(text), []field{{0, 4, 17}, {8, 4, uint64(200 + len(text))}, {16, 4, 1}, {24, 4, 1}, {160, 4, uint64(total)},
			{168, 4, uint64(len(text))}, {176, 4, uint64(node)}, {184, 4, 1}, {192, 4, uint64(kind)}}, map[int]string{32: "g", 200: text})
	}
	gone := fields(208, []field{{0, 4, 4}, {8, 4, 208}, {16, 4, 1}, {24, 4, 1}, {176, 4, 1}, {184, 4, 2}, {192, 4, 1}, {200, 4, 3}}, map[int]string{32: "g"})
	for _, tc := range []struct {
		name string
		in   [][]byte
		want []string
	}{
		{"in three parts", [][]byte{frag(1, 6, 1, "ab"), frag(1, 6, 2, "cd"), frag(1, 6, 3, "ef")}, []string{"1 abcdef"}},
		{"two senders at a time", [][]byte{frag(1, 4, 1, "ab"), frag(2, 4, 1, "xy"), frag(1, 4, 3, "cd"), frag(2, 4, 3, "zw")}, []string{"1 abcd", "2 xyzw"}},
		{"a new start drops the old one", [][]byte{frag(1, 4, 1, "ab"), frag(1, 4, 1, "AB"), frag(1, 4, 3, "CD")}, []string{"1 ABCD"}},
		{"without a beginning", [][]byte{frag(1, 4, 2, "ab"), frag(1, 4, 3, "cd")}, nil},
		{"longer than announced", [][]byte{frag(1, 3, 1, "ab"), frag(1, 3, 3, "cd"), frag(1, 2, 1, "x"), frag(1, 2, 3, "y")}, []string{"1 xy"}},
		{"shorter than announced", [][]byte{frag(1, 9, 1, "ab"), frag(1, 9, 3, "cd")}, nil},
		{"beyond the limit", [][]byte{frag(1, MaxMessage+1, 1, "ab"), frag(1, MaxMessage+1, 3, "cd")}, nil},
		{"a sender that left", [][]byte{frag(2, 4, 1, "ab"), gone, frag(2, 4, 3, "cd")}, []string{"left"}},
	} {
		c := &CPG{}
		var got []string
		for _, b := range tc.in {
			ev, err := c.decode(b)
			if err != nil {
				t.Errorf("%s: %v", tc.name, err)
			}
			switch ev := ev.(type) {
			case Message:
				got = append(got, fmt.Sprintf("%d %s", ev.From.Node, ev.Payload))
			case ConfChg:
				got = append(got, "left")
			}
		}
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.name, diff)
		}
		if len(c.parts) != 0 {
			t.Errorf("%s: %d unfinished messages are kept", tc.name, len(c.parts))
		}
	}
}

func TestErrors_AreDistinct(t *testing.T) {
	t.Parallel()
	seen := map[string]Error{}
	for e := range Error(101) {
		if prev, twice := seen[e.Error()]; twice {
			t.Errorf("%d and %d have the same text %q", prev, e, e.Error())
		}
		seen[e.Error()] = e
	}
	if got := (RingID{1, 171}).String(); got != "1.ab" {
		t.Errorf("ring id %s, as the daemon logs it: 1.ab", got)
	}
}

// FuzzEvents: no bytes of the daemon make a decoder panic or allocate beyond
// them.
func FuzzEvents(f *testing.F) {
	for _, s := range eventSeeds() {
		f.Add(s.b)
	}
	f.Add([]byte{})
	f.Add(fields(184, []field{{0, 4, 4}, {8, 4, 184}, {160, 4, math.MaxUint32}, {168, 4, math.MaxUint32}}, nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, service := range []string{"cpg", "quorum", "votes", "cmap", "shutdown"} {
			decodeAs(service, b)
		}
		decodeLinks(reply{b: b})
		decodeAddresses(reply{b: b})
		decodeNodeStatus(reply{b: b})
		decodeVoteInfo(reply{b: b})
		decodeValue(reply{b: b})
		decodeHandshake(b)
	})
}

// FuzzRing: a ring with any content gives messages no longer than itself, or
// an error.
func FuzzRing(f *testing.F) {
	f.Add(uint32(0), uint32(0), uint32(1), []byte("0123456789abcdef0123456789abcdef"))
	f.Add(uint32(3), uint32(7), uint32(2), cat(native.AppendUint32(nil, 8), native.AppendUint32(nil, magicValid), make([]byte, 40)))
	f.Add(uint32(math.MaxUint32), uint32(0), uint32(1), make([]byte, 64))
	f.Fuzz(func(t *testing.T, w, rd, sem uint32, data []byte) {
		data = data[:len(data)/4*4]
		hdr := aligned(ringHeaderSize)
		native.PutUint32(hdr[offWritePt:], w)
		native.PutUint32(hdr[offReadPt:], rd)
		native.PutUint32(hdr[offWords:], uint32(len(data)/4))
		mem := aligned(len(data))
		copy(mem, data)
		r, err := newRing(hdr, mem)
		if err != nil {
			return
		}
		*r.sem() = uint64(sem % 8)
		for range 8 {
			if !r.tryWait() {
				break
			}
			msg, err := r.take()
			if err != nil {
				break
			}
			if len(msg) > len(data) {
				t.Fatalf("%d bytes out of %d", len(msg), len(data))
			}
		}
		r.put([]byte("probe"))
	})
}
