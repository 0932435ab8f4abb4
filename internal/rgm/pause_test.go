package rgm

import (
	"strings"
	"testing"
	"time"

	"github.com/haobox/haobox/internal/cluster"
	"github.com/haobox/haobox/internal/clusterconf"
)

// TestPauseFor: a pause is one long before others may have acted.
func TestPauseFor(t *testing.T) {
	t.Parallel()
	nodes := func(n int) string {
		s := "<clusternodes>"
		for _, name := range []string{"a", "b", "c"}[:n] {
			s += `<clusternode name="` + name + `" nodeid="` + string(name[0]-'a'+'1') + `"/>`
		}
		return s + "</clusternodes>"
	}
	for _, tc := range []struct {
		name, conf string
		want       time.Duration
	}{
		{"three nodes with defaults: token 10 s", nodes(3), 1500 * time.Millisecond},
		{"a short token", nodes(3) + `<totem token="1000"/>`, 500 * time.Millisecond},
		{"two nodes with defaults: consensus 2 s", nodes(2), time.Second},
		{"two nodes, token 3 s: consensus 600 ms", nodes(2) + `<totem token="3000"/>`, 300 * time.Millisecond},
		{"two nodes, token 1 s: consensus 200 ms", nodes(2) + `<totem token="1000"/>`, 100 * time.Millisecond},
		{"a consensus of its own", nodes(3) + `<totem token="5000" consensus="900"/>`, 450 * time.Millisecond},
		{"a quorum disk with a cycle of 1 s", nodes(3) + `<quorumd label="q" interval="1"/>`, 500 * time.Millisecond},
		{"a consensus that nobody can keep", nodes(3) + `<totem token="1000" consensus="1"/>`, 100 * time.Millisecond},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			doc, err := clusterconf.Parse("cluster.conf", []byte(`<cluster name="c" config_version="1">`+tc.conf+`</cluster>`))
			if err != nil {
				t.Fatal(err)
			}
			got := PauseFor(clusterconf.Decode(doc))
			if got != tc.want {
				t.Errorf("pause %v, want %v", got, tc.want)
			}
			if tick := TickFor(got); 3*tick > got && tick > TickEvery {
				t.Errorf("a tick every %v is too seldom", tick)
			}
		})
	}
}

// TestCore_PauseWithDisk: a node that has quorum with the votes of the disk alone
// hears its own message at once after a pause. That proves nothing: it waits
// until its engine has said whether those votes are over.
func TestCore_PauseWithDisk(t *testing.T) {
	t.Parallel()
	ring := cluster.RingID{Node: 1, Seq: 4}
	for _, lost := range []bool{false, true} {
		t.Run(map[bool]string{false: "quorum is kept", true: "quorum is lost"}[lost], func(t *testing.T) {
			t.Parallel()
			const limit = 500 * time.Millisecond
			a := newAloneWith(t, strings.Replace(oneNode, "<rm>", `<quorumd label="q" votes="1"/><rm>`, 1), Options{Pause: limit})
			a.now = a.now.Add(10 * time.Second)
			runs := a.runs
			a.step(Check{Service: "service:web"})
			if a.runs != runs {
				t.Fatal("an agent ran when the message of the node was back")
			}
			if at, any := a.c.Wake(false); !any || at != a.now.Add(limit) {
				t.Errorf("it wants to be woken %v at %v, want %v", any, at, a.now.Add(limit))
			}
			a.now = a.now.Add(time.Millisecond)
			if lost {
				a.step(Engine{cluster.Quorum{Ring: ring}})
			}
			checked := a.runs
			for range 3 {
				a.now = a.now.Add(limit / 3)
				a.step(Tick{})
			}
			a.step(Check{Service: "service:web"})
			if ran := a.runs > checked; ran == lost {
				t.Errorf("a check ran after that: %v", ran)
			}
		})
	}
}

// TestCore_Pause: after a pause of the limit nothing is run before a message
// of the node's own came back to it; after a shorter one checks go on.
func TestCore_Pause(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name        string
		limit, gone time.Duration
		waits       bool
	}{
		{"shorter than the consensus allows", 300 * time.Millisecond, 250 * time.Millisecond, false},
		{"longer than that, shorter than half a token", 300 * time.Millisecond, 700 * time.Millisecond, true},
		{"the same with the token alone", 1500 * time.Millisecond, 700 * time.Millisecond, false},
		{"longer than half a token", 1500 * time.Millisecond, 1600 * time.Millisecond, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			a := newAloneWith(t, oneNode, Options{Pause: tc.limit})
			a.now = a.now.Add(50 * time.Millisecond)
			a.step(Check{Service: "service:none"})
			a.now = a.now.Add(tc.gone)
			var ping [][]byte
			ran := false
			for _, x := range a.c.Step(a.now, Check{Service: "service:web"}) {
				switch x := x.(type) {
				case RunAgent:
					ran = true
				case Send:
					ping = append(ping, x.Payload)
				}
			}
			if ran == tc.waits {
				t.Fatalf("an agent ran at once: %v", ran)
			}
			for _, b := range ping {
				for _, x := range a.c.Step(a.now, Engine{cluster.Message{Group: Group, From: a.self, Payload: b}}) {
					_, is := x.(RunAgent)
					ran = ran || is
				}
			}
			if !ran {
				t.Error("no agent ran after the node had proved that it belongs to the cluster")
			}
		})
	}
}
