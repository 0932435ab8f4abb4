package rgmctl

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func decision() Decision {
	return Decision{Serial: 7, Service: "service:web", Time: time.Unix(1270000000, 0), Cause: "node CNODE1 is off", Why: "best of the domain d",
		From: "stopped", To: "starting", Node: "CNODE2", Candidates: []Candidate{
			{Node: "CNODE1", Verdict: "rgmanager is not running there"}, {Node: "CNODE2", Score: 3, Running: 2, Verdict: "chosen"}}}
}

func TestWhy_Text(t *testing.T) {
	t.Parallel()
	w := Why{Service: Service{Name: "service:web", State: StateStarted, Owner: 2, OwnerName: "CNODE2", Restarts: 2, Flags: FlagFrozen, Transition: time.Unix(1270000001, 0)},
		Decisions: []Decision{decision(), {Time: time.UnixMilli(1270000002034), Cause: "request", Why: "asked to freeze", From: "started", To: "started"}}}
	want := `service:web is started on CNODE2 (frozen) since 2010-03-31 01:46:41, after 2 restarts in a row.

2010-03-31 01:46:40  node CNODE1 is off
    stopped -> starting on CNODE2: best of the domain d
        CNODE1  score 0, runs 0: rgmanager is not running there
        CNODE2  score 3, runs 2: chosen

2010-03-31 01:46:42.034  request
    started: asked to freeze
`
	if diff := cmp.Diff(want, w.Text(time.UTC)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	w = Why{Service: Service{Name: "service:x", State: StateStarted, Owner: 2, OwnerName: "CNODE2", Restarts: 1}}
	if got := w.Text(time.UTC); !strings.HasPrefix(got, "service:x is started on CNODE2, after a restart.\n") {
		t.Errorf("after one restart: %s", got)
	}
	w = Why{Service: Service{Name: "service:x", State: StateStopped}}
	if diff := cmp.Diff("service:x is stopped.\n\nNo decision about it is known any more.\n", w.Text(time.UTC)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestPlan_Text(t *testing.T) {
	t.Parallel()
	p := Plan{Event: "CNODE1 fails", Assumed: "it is fenced", Decisions: []Decision{decision()},
		Before: []Service{{Name: "service:web", State: StateStarted, Owner: 1, OwnerName: "CNODE1"}},
		After:  []Service{{Name: "service:web", State: StateStarted, Owner: 2, OwnerName: "CNODE2"}}}
	want := `If CNODE1 fails:
  service:web  started on CNODE1  =>  started on CNODE2

The decisions:

  service:web, because node CNODE1 is off
    stopped -> starting on CNODE2: best of the domain d
        CNODE1  score 0, runs 0: rgmanager is not running there
        CNODE2  score 3, runs 2: chosen

Assumed: it is fenced. Nothing was done.
`
	if diff := cmp.Diff(want, p.Text()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}
