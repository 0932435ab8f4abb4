package haobox

import (
	"errors"
	"testing"

	"github.com/haobox/haobox/applets/applet"
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
