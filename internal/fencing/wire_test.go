package fencing

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/haobox/haobox/internal/cluster"
	"github.com/haobox/haobox/internal/goldentest"
)

var everything = cmp.Exporter(func(reflect.Type) bool { return true })

func drawTime(t *rapid.T, label string) time.Time {
	if n := rapid.Int64Range(0, 1<<60).Draw(t, label); n > 0 {
		return time.Unix(0, n).UTC()
	}
	return time.Time{}
}

func drawID(t *rapid.T, label string) cluster.NodeID {
	return cluster.NodeID(rapid.Uint32().Draw(t, label))
}

func drawText(t *rapid.T, label string) string {
	return rapid.StringN(0, 20, 60).Draw(t, label)
}

func drawOp(t *rapid.T) Op {
	return Op{
		Node: drawID(t, "node"), Name: drawText(t, "name"), Master: drawID(t, "master"), How: How(rapid.IntRange(0, 4).Draw(t, "how")),
		Method: rapid.IntRange(0, 7).Draw(t, "method"), Device: rapid.IntRange(0, 7).Draw(t, "device"), Agent: drawText(t, "agent"),
		Code: Code(rapid.IntRange(0, 14).Draw(t, "code")), OK: rapid.Bool().Draw(t, "ok"), Start: drawTime(t, "start"), End: drawTime(t, "end"),
		Attempts: rapid.IntRange(0, 1<<30).Draw(t, "attempts"), Reason: Reason(rapid.IntRange(0, 3).Draw(t, "reason")), Detail: drawText(t, "detail"),
	}
}

// TestCommand_RoundTrip: what is encoded comes back, and nothing shorter does.
func TestCommand_RoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c := command{kind: kind(rapid.IntRange(int(kindClean), int(kindStale)).Draw(t, "kind")), time: drawTime(t, "time")}
		switch c.kind {
		case kindJoin:
			for range rapid.IntRange(0, 5).Draw(t, "nodes") {
				c.nodes = append(c.nodes, named{drawID(t, "id"), drawText(t, "name")})
			}
		case kindStart, kindComplete, kindRaceAck:
			c.change = rapid.Uint64().Draw(t, "change")
		case kindDone:
			c.node, c.id, c.how, c.op = drawID(t, "victim"), rapid.Uint64().Draw(t, "id"), HowAgent, drawOp(t)
		case kindFailed:
			c.op = drawOp(t)
		case kindExternal:
			c.node, c.ring = drawID(t, "victim"), rapid.Uint64().Draw(t, "ring")
		case kindOverride:
			c.node, c.id = drawID(t, "victim"), rapid.Uint64().Draw(t, "id")
		case kindRace:
			c.weight, c.master = rapid.Uint32().Draw(t, "weight"), drawID(t, "master")
		}
		b := c.encode()
		got, err := decodeCommand(b)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c, got, everything); diff != "" {
			t.Fatalf("(-want +got)\n%s", diff)
		}
		if _, err := decodeCommand(b[:rapid.IntRange(0, len(b)-1).Draw(t, "cut")]); !errors.Is(err, ErrBadMessage) {
			t.Fatalf("a cut command gives %v", err)
		}
		if _, err := decodeCommand(append(b, 0)); !errors.Is(err, ErrBadMessage) {
			t.Fatalf("a long command gives %v", err)
		}
	})
}

func drawState(t *rapid.T) *state {
	s := &state{change: rapid.Uint64().Draw(t, "change"), joining: rapid.Bool().Draw(t, "joining"), raceVersion: rapid.Uint64().Draw(t, "race")}
	few := rapid.IntRange(0, 3)
	for range few.Draw(t, "domain") {
		s.domain = append(s.domain, member{drawID(t, "id"), rapid.Uint32().Draw(t, "instance"), rapid.Bool().Draw(t, "complete"), rapid.Uint64().Draw(t, "started"),
			rapid.Uint64().Draw(t, "ring"), rapid.Uint32().Draw(t, "weight"), drawID(t, "disk"), rapid.Uint64().Draw(t, "known")})
	}
	for range few.Draw(t, "victims") {
		s.victims = append(s.victims, victim{drawID(t, "id"), drawText(t, "name"), rapid.Uint32().Draw(t, "instance"), rapid.Bool().Draw(t, "complete"),
			ReasonNode, rapid.Uint64().Draw(t, "fate"), rapid.Uint64().Draw(t, "ring"), rapid.Uint64().Draw(t, "life"), rapid.Bool().Draw(t, "settled"), uint8(rapid.IntRange(0, 15).Draw(t, "wins"))})
	}
	for range few.Draw(t, "records") {
		s.records = append(s.records, record{drawID(t, "id"), fateOff, rapid.Uint64().Draw(t, "off"), drawID(t, "master"), HowMember, drawTime(t, "time")})
	}
	for range few.Draw(t, "history") {
		s.history = append(s.history, drawOp(t))
	}
	return s
}

func TestState_RoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := drawState(t)
		b := s.encode()
		got, err := decodeState(b)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(s, got, everything); diff != "" {
			t.Fatalf("(-want +got)\n%s", diff)
		}
		if _, err := decodeState(b[:rapid.IntRange(0, len(b)-1).Draw(t, "cut")]); !errors.Is(err, ErrBadMessage) {
			t.Fatalf("a cut state gives %v", err)
		}
	})
}

// TestCommand_Bytes pins the wire format of version 1.
func TestCommand_Bytes(t *testing.T) {
	t.Parallel()
	c := command{kind: kindOverride, time: time.Unix(0, 0x0102030405060708), node: 2, id: 3}
	want := []byte{1, 9, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3}
	if diff := cmp.Diff(want, c.encode()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if _, err := decodeCommand([]byte{2, 1}); !errors.Is(err, ErrVersion) {
		t.Errorf("another version gives %v", err)
	}
	if _, err := decodeState([]byte{2}); !errors.Is(err, ErrVersion) {
		t.Errorf("a state of another version gives %v", err)
	}
}

// FuzzCommand: no message makes the decoder panic or a state machine fall over.
func FuzzCommand(f *testing.F) {
	for k := kindClean; k <= kindStale; k++ {
		f.Add(command{kind: k, node: 2, nodes: []named{{2, "CNODE2"}}, op: Op{Name: "CNODE2"}}.encode())
	}
	f.Add([]byte{1, byte(kindJoin), 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := decodeCommand(b)
		if err != nil {
			return
		}
		one := cluster.Member{Node: 1, Instance: 1}
		v := cluster.View{Ring: cluster.RingID{Node: 1, Seq: 4}, Members: []cluster.Member{one}}
		s := &state{}
		s.apply(one, v, c)
		s.apply(one, v, command{kind: kindJoin, nodes: []named{{2, "CNODE2"}, {1, "CNODE1"}}})
		s.apply(one, v, c)
		if _, err := decodeState(s.encode()); err != nil {
			t.Fatalf("after %+v: %v", c, err)
		}
	})
}

func FuzzState(f *testing.F) {
	f.Add((&state{}).encode())
	f.Add((&state{domain: []member{{node: 1}}, victims: []victim{{node: 2}}, records: []record{{node: 3}}, history: []Op{{Node: 4}}}).encode())
	f.Add(append((&state{}).encode()[:18], 0xff, 0xff, 0xff, 0xff))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := decodeState(b)
		if err != nil {
			return
		}
		if again, err := decodeState(s.encode()); err != nil || !cmp.Equal(s, again, everything) {
			t.Fatalf("%v", err)
		}
	})
}

// TestHistory_Limit: old operations go, failures in a row are one.
func TestHistory_Limit(t *testing.T) {
	t.Parallel()
	s := &state{}
	for i := range HistorySize + 10 {
		s.remember(Op{Node: cluster.NodeID(i), OK: true})
	}
	if len(s.history) != HistorySize || s.history[0].Node != 10 {
		t.Errorf("%d operations from node %d on", len(s.history), s.history[0].Node)
	}
	s.history = nil
	for _, o := range []Op{{Node: 1, Attempts: 1}, {Node: 2, Attempts: 1}, {Node: 1, Attempts: 1}, {Node: 1, Code: CodeAgent, Attempts: 1}, {Node: 1, OK: true, Attempts: 1}, {Node: 1, Code: CodeAgent, Attempts: 1}} {
		s.remember(o)
	}
	var got []int
	for _, o := range s.history {
		got = append(got, o.Attempts)
	}
	if diff := cmp.Diff([]int{2, 1, 1, 1, 1}, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// TestRank: whatever two sides of a split know, as long as it can happen, their
// turns differ.
func TestRank(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		weights := [2]uint32{rapid.Uint32Range(0, 2).Draw(t, "w1"), rapid.Uint32Range(0, 2).Draw(t, "w2")}
		disks := [2]cluster.NodeID{cluster.NodeID(rapid.IntRange(0, 2).Draw(t, "d1")), cluster.NodeID(rapid.IntRange(0, 2).Draw(t, "d2"))}
		cfg := Config{Race: Race(rapid.IntRange(1, 3).Draw(t, "race")), TwoNode: true, Nodes: []Node{{ID: 1, Delay: time.Duration(rapid.IntRange(0, 9).Draw(t, "delay")) * time.Second}, {ID: 2}}}.withDefaults()
		// One log of commands; each side has seen a part of it, and what a
		// side has not seen the other has not confirmed.
		var log []func(s *state)
		join := func(id cluster.NodeID) func(s *state) {
			return func(s *state) { s.domain = append(s.domain, member{node: id, instance: uint32(id)}) }
		}
		log = append(log, join(1), join(2))
		version := uint64(0)
		ack := func(id cluster.NodeID, v uint64) func(s *state) {
			return func(s *state) { s.member(id).known = v }
		}
		sizes := []int{}
		for i := range 2 {
			version++
			log = append(log, func(s *state) { s.raceVersion++; s.domain[i].weight, s.domain[i].disk = weights[i], disks[i] })
			sizes = append(sizes, len(log))
			first := cluster.NodeID(rapid.IntRange(1, 2).Draw(t, "first"))
			log = append(log, ack(first, version), ack(3-first, version))
		}
		seen := [2]int{rapid.IntRange(2, len(log)).Draw(t, "seen by 1"), rapid.IntRange(2, len(log)).Draw(t, "seen by 2")}
		// A side has confirmed only what it has seen: cut the other's log
		// before a confirmation that cannot be there.
		for side := range 2 {
			for pos := 2; pos < seen[side]; pos++ {
				probe := &state{}
				for _, do := range log[:pos+1] {
					do(probe)
				}
				other := probe.member(cluster.NodeID(2 - side))
				if other.known > 0 && seen[1-side] < sizes[other.known-1] {
					seen[side] = pos
					break
				}
			}
		}
		var rank [2]int
		for side := range 2 {
			s := &state{}
			for _, do := range log[:seen[side]] {
				do(s)
			}
			settled, wins := s.race([]cluster.NodeID{cluster.NodeID(2 - side)})
			rank[side] = cfg.rank(&victim{reason: ReasonNode, settled: settled, wins: wins})
		}
		if rank[0] == rank[1] {
			t.Fatalf("both sides have rank %d; seen %v of %d", rank[0], seen, len(log))
		}
	})
}

// TestTurn: the arithmetic of the package comment.
func TestTurn(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		cfg  Config
		want time.Duration
	}{
		{"the defaults of cman", Config{}, 15 * time.Second},
		{"a short token", Config{Token: time.Second}, 6 * time.Second},
		{"configured", Config{RaceDelay: 8 * time.Second, Token: time.Second}, 8 * time.Second},
		{"with the delay of a node", Config{Token: time.Second, Nodes: []Node{{ID: 1}, {ID: 2, Delay: 4 * time.Second}}}, 10 * time.Second},
	} {
		cfg := tc.cfg.withDefaults()
		if got := cfg.turn(); got != tc.want {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
	}
	cfg := Config{Race: RaceLowest, Token: time.Second}.withDefaults()
	base := time.Unix(100, 0)
	for _, tc := range []struct {
		name string
		v    victim
		at   time.Duration
		want bool
		next time.Duration
	}{
		{"the winner at once", victim{reason: ReasonNode, settled: true, wins: 1 << RaceLowest}, 0, true, 0},
		{"the winner in the first half of its turn", victim{reason: ReasonNode, settled: true, wins: 1 << RaceLowest}, 3 * time.Second, true, 3 * time.Second},
		{"but not in the second", victim{reason: ReasonNode, settled: true, wins: 1 << RaceLowest}, 4 * time.Second, false, 12 * time.Second},
		{"nor in the other's turn", victim{reason: ReasonNode, settled: true, wins: 1 << RaceLowest}, 7 * time.Second, false, 12 * time.Second},
		{"the loser waits", victim{reason: ReasonNode, settled: true}, 0, false, 6 * time.Second},
		{"for its turn", victim{reason: ReasonNode, settled: true}, 6 * time.Second, true, 6 * time.Second},
		{"in doubt the lower waits two turns", victim{reason: ReasonNode, wins: 1 << RaceLowest}, 0, false, 12 * time.Second},
		{"and the higher three", victim{reason: ReasonNode}, 0, false, 18 * time.Second},
		{"there is no race with a dead daemon", victim{reason: ReasonProcess}, 0, true, 0},
	} {
		ok, next := cfg.mayStart(&tc.v, base, base.Add(tc.at))
		if ok != tc.want || next.Sub(base) != tc.next {
			t.Errorf("%s: %v at %v, want %v at %v", tc.name, ok, next.Sub(base), tc.want, tc.next)
		}
	}
}

// TestWire_Golden pins every command and the snapshot of version 1, with a value
// of its own in each field: nodes of different builds understand each other.
func TestWire_Golden(t *testing.T) {
	t.Parallel()
	at := func(n int64) time.Time { return time.Unix(n, n).UTC() }
	op := Op{Node: 2, Name: "CNODE2", Master: 1, How: HowAgent, Method: 3, Device: 4, Agent: "fence_zvmip", Code: CodeAgent, OK: true,
		Start: at(5), End: at(6), Attempts: 7, Reason: ReasonNode, Detail: strings.Repeat("x", maxText+1)}
	var out strings.Builder
	for k := kindClean; k <= kindStale; k++ {
		c := command{kind: k, change: 1<<40 + 8, node: 9, id: 10, ring: 11, how: HowMember, op: op, nodes: []named{{12, "a"}, {13, ""}}, weight: 14, master: 15, time: at(16)}
		fmt.Fprintf(&out, "command %d: %x\n", k, c.encode())
	}
	s := &state{change: 17, joining: true, raceVersion: 18,
		domain:  []member{{node: 19, instance: 20, complete: true, started: 21, ring: 22, weight: 23, disk: 24, known: 25}, {node: 26}},
		victims: []victim{{node: 27, name: "b", instance: 28, complete: true, reason: ReasonProcess, id: 29, ring: 30, life: 31, settled: true, wins: 5}},
		records: []record{{node: 32, fate: fateOff, off: 33, master: 34, how: HowAgent, time: at(35)}},
		history: []Op{op, {}},
	}
	fmt.Fprintf(&out, "snapshot: %x\n", s.encode())
	goldentest.Compare(t, "testdata/wire.golden", out.String())
}
