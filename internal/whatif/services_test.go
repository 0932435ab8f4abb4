package whatif_test

import (
	"flag"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/haobox/haobox/internal/whatif"
)

var serviceSeed = flag.Uint64("service-seed", 0, "replay this seed of TestServices with its trace, and no other")

// TestServices runs stories with rgmanager beside fenced: nothing is started
// that may still run on a node, and in the end all services run.
func TestServices(t *testing.T) {
	t.Parallel()
	story := func(seed uint64, trace func(string)) whatif.Result {
		scn := whatif.Scenario(seed)
		scn.Services = true
		return whatif.Run(scn, trace)
	}
	if *serviceSeed != 0 {
		var b strings.Builder
		r := story(*serviceSeed, func(line string) { b.WriteString(line + "\n") })
		t.Logf("\n%s%+v", b.String(), r.Stats)
		if len(r.Violations) > 0 {
			t.Error(strings.Join(r.Violations, "\n"))
		}
		return
	}
	seeds := uint64(1000)
	if testing.Short() {
		seeds = 60
	} else if raced {
		seeds = 150
	}
	if *seedsFlag > 0 {
		seeds = *seedsFlag
	}
	var next, bad atomic.Uint64
	next.Store(*firstFlag)
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for seed := next.Add(1) - 1; seed < *firstFlag+seeds && bad.Load() < 5; seed = next.Add(1) - 1 {
				if r := story(seed, nil); len(r.Violations) > 0 {
					bad.Add(1)
					t.Errorf("seed %d (-run TestServices -service-seed %d): %s", seed, seed, strings.Join(r.Violations, "\n"))
				}
			}
		})
	}
	wg.Wait()
}
