package whatif_test

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/haobox/haobox/internal/whatif"
)

// TestDisksReplay: a seed gives the same story every time, traced or not.
func TestDisksReplay(t *testing.T) {
	t.Parallel()
	for seed := uint64(1); seed <= 6; seed++ {
		tell := func() (whatif.Result, string) {
			var b strings.Builder
			r := whatif.Run(whatif.DiskScenario(seed), func(line string) { b.WriteString(line + "\n") })
			return r, b.String()
		}
		a, story := tell()
		if _, again := tell(); story != again {
			t.Fatalf("seed %d gives two stories", seed)
		}
		if quiet := whatif.Run(whatif.DiskScenario(seed), nil); quiet.Stats != a.Stats || quiet.Took != a.Took {
			t.Fatalf("seed %d without a trace: %+v after %v; with it: %+v after %v", seed, quiet.Stats, quiet.Took, a.Stats, a.Took)
		}
		if !strings.Contains(story, "qdiskd: Assuming master role") {
			t.Fatalf("seed %d: nobody becomes master of the disk:\n%s", seed, story)
		}
	}
}

// TestDisks runs stories with a quorum disk beside fenced, some with services
// too: its votes never count in two parts of the cluster, who is evicted is down
// or silent before others count without it, and in the end one master is left.
func TestDisks(t *testing.T) {
	t.Parallel()
	if *seedFlag != 0 {
		var b strings.Builder
		r := whatif.Run(whatif.DiskScenario(*seedFlag), func(line string) { b.WriteString(line + "\n") })
		t.Logf("\n%s%+v", b.String(), r.Stats)
		if len(r.Violations) > 0 {
			t.Error(strings.Join(r.Violations, "\n"))
		}
		return
	}
	seeds := uint64(1000)
	if testing.Short() {
		seeds = 40
	} else if raced {
		seeds = 60
	}
	if *seedsFlag > 0 {
		seeds = *seedsFlag
	}
	var next, bad atomic.Uint64
	next.Store(*firstFlag)
	var mu sync.Mutex
	var sum whatif.Stats
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			var mine whatif.Stats
			for seed := next.Add(1) - 1; seed < *firstFlag+seeds && bad.Load() < 5; seed = next.Add(1) - 1 {
				r := whatif.Run(whatif.DiskScenario(seed), nil)
				mine.Add(r.Stats)
				if len(r.Violations) > 0 {
					bad.Add(1)
					t.Errorf("seed %d (-run TestDisks -seed %d): %s", seed, seed, strings.Join(r.Violations, "\n"))
				}
			}
			mu.Lock()
			sum.Add(mine)
			mu.Unlock()
		})
	}
	wg.Wait()
	t.Logf("%d seeds: %+v", seeds, sum)
	if seeds >= 40 && bad.Load() == 0 {
		for _, n := range []struct {
			what string
			n    int
		}{{"faults of the disk", sum.DiskFaults}, {"masters", sum.Masters}, {"evictions", sum.Evictions}, {"reboots", sum.Reboots}, {"fenced nodes", sum.Successes}} {
			if n.n == 0 {
				t.Errorf("there were no %s: the stories test nothing", n.what)
			}
		}
	}
}
