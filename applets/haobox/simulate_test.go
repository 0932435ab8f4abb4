package haobox

import (
	"context"
	"errors"
	"io"
	"math"
	"testing"
	"time"

	"github.com/haobox/haobox/applets/applet"
	"github.com/haobox/haobox/internal/clusterconf"
	"github.com/haobox/haobox/internal/restree"
	"github.com/haobox/haobox/internal/rgm/rgmsim"
)

// TestSimulate_Verdict: a broken rule and a simulation that fails itself are told
// apart, and who reports the second one is given its seed.
func TestSimulate_Verdict(t *testing.T) {
	t.Parallel()
	good, bad, broken := rgmsim.Report{Seeds: 1}, rgmsim.Report{Seeds: 1}, rgmsim.Report{}
	bad.Add(&rgmsim.Result{Seed: 3, Violations: []string{"1s two nodes: web"}})
	broken.Add(rgmsim.Run(rgmsim.Config{Seed: 7}))
	for _, tc := range []struct {
		name string
		r    rgmsim.Report
		code int
		text string
	}{
		{"nothing", good, 0, ""},
		{"a rule", bad, exitViolated, "haobox simulate: 1 times something happened that must not; please report the file and a seed"},
		{"the simulation", broken, exitFailed, "haobox simulate: seed 7: the simulation itself failed 0s into the story: runtime error: invalid memory address or nil pointer dereference; please report the file and the seed"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			err := verdict(&tc.r)
			var exit *applet.ExitError
			switch {
			case tc.code == 0:
				if err != nil {
					t.Error(err)
				}
			case !errors.As(err, &exit) || exit.Code != tc.code || err.Error() != tc.text:
				t.Errorf("%v (%+v), want %d %q", err, exit, tc.code, tc.text)
			}
		})
	}
}

// TestSimulate_Interrupted: the runs end when somebody has seen enough, however
// many and however long they were to be, and nothing is said of what was not
// played to its end.
func TestSimulate_Interrupted(t *testing.T) {
	t.Parallel()
	doc, err := clusterconf.Parse("cluster.conf", []byte(`<cluster name="c" config_version="1"><clusternodes>
<clusternode name="a" nodeid="1"/><clusternode name="b" nodeid="2"/></clusternodes>
<rm><service name="web"><script name="s" file="/s"/></service></rm></cluster>`))
	if err != nil {
		t.Fatal(err)
	}
	seeds := rgmsim.Seeds{Config: rgmsim.Config{Conf: clusterconf.Decode(doc), Rules: restree.Builtin(), Every: time.Hour, Faults: time.Hour}}
	for _, tc := range []struct {
		name   string
		count  uint64
		faults time.Duration
		ended  bool
	}{
		{"all were played", 9, time.Hour, false},
		{"before any began", 9, maxHours * time.Hour, true},
		{"more than memory could hold", math.MaxUint64, maxHours * time.Hour, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			s := seeds
			s.Count, s.Faults = tc.count, tc.faults
			if tc.ended {
				cancel()
			}
			report, last := simulateAll(ctx, newBar(io.Discard, s.Count), s)
			switch {
			case tc.ended && (report.Seeds != 0 || last != nil):
				t.Errorf("%d runs, the last one %v", report.Seeds, last)
			case !tc.ended && (report.Seeds != 9 || last == nil || last.Seed != 8):
				t.Errorf("%d runs, the last one %v", report.Seeds, last)
			}
		})
	}
}
