package haobox

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/haobox/haobox/platform"
)

func TestClient_LossesAndReturn(t *testing.T) {
	t.Parallel()
	zero := time.Unix(1000, 0)
	at := func(ms int) time.Time { return zero.Add(time.Duration(ms) * time.Millisecond) }
	// One that hangs until its limit is lost, even if later ones are answered
	// before it is given up.
	probes := []probe{
		{at(0), at(3), true}, {at(10), at(14), true}, {at(20), at(520), false}, {at(30), at(31), false},
		{at(40), at(43), true}, {at(50), at(52), false}, {at(60), at(64), true}, {at(70), at(71), true},
	}
	for _, tc := range []struct {
		name         string
		probes       []probe
		from         int
		lost         int
		back         time.Time
		after        int
		settledAfter bool
	}{
		{"all of them", probes, 0, 3, at(64), 60, true},
		{"only those made since", probes, 45, 1, at(64), 45, true},
		{"none lost: the first answer", probes, 55, 0, at(64), 70, false},
		{"one that is under way is no loss, and nothing is settled", []probe{{sent: at(0)}, {at(10), at(12), true}}, 0, 0, at(12), 0, false},
		{"no answer at all", probes[2:4], 0, 2, time.Time{}, 0, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c := newClient("http://192.0.2.1/", platform.SystemClock{}, nil)
			c.probes = tc.probes
			lost, back := c.since(at(tc.from))
			if lost != tc.lost || !back.Equal(tc.back) {
				t.Errorf("since: %d lost, back at %v; want %d, %v", lost, back, tc.lost, tc.back)
			}
			if got := c.settled(at(tc.after)); got != tc.settledAfter {
				t.Errorf("settled after %d ms: %v, want %v", tc.after, got, tc.settledAfter)
			}
		})
	}
}

func TestStory_Table(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	zero := time.Unix(1000, 0)
	(&story{out: &out}).table([]act{
		{name: "start", start: zero, back: zero.Add(1500 * time.Millisecond)},
		{name: "frozen", start: zero, detected: zero.Add(2 * time.Second), fenced: zero.Add(4 * time.Second), back: zero.Add(5 * time.Second), lost: 466, counted: true},
		{name: "nothing", start: zero, counted: true},
	})
	want := "" +
		"  act                                detected after  fenced after  back after  requests lost\n" +
		"  start                                           -             -     1.500 s              -\n" +
		"  frozen                                    2.000 s       4.000 s     5.000 s            466\n" +
		"  nothing                                         -             -           -              0\n\n" +
		"  All from the start of the act. Detected: rgmanager of CNODE2, asked every 10 ms, shows the fault.\n" +
		"  Fenced: the agent has seen CNODE1 off. Back: the first answer after the last lost request.\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}
}
