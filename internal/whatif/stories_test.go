package whatif_test

import (
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/haobox/haobox/internal/whatif"
)

// tell runs a story and returns it as text, too.
func tell(scn whatif.Scn) (whatif.Result, string) {
	var b strings.Builder
	r := whatif.Run(scn, func(line string) { b.WriteString(line + "\n") })
	return r, b.String()
}

// tellOne shows the story of a flag's seed.
func tellOne(t *testing.T, scn whatif.Scn) {
	r, story := tell(scn)
	t.Logf("\n%s%+v", story, r.Stats)
	if len(r.Violations) > 0 {
		t.Error(strings.Join(r.Violations, "\n"))
	}
}

// sameStory runs the stories of the first seeds, traced or not, and wants each
// to be the same every time, with a line that says what it is about.
func sameStory(t *testing.T, seeds uint64, scenario func(uint64) whatif.Scn, line string) {
	for seed := uint64(1); seed <= seeds; seed++ {
		a, story := tell(scenario(seed))
		b, again := tell(scenario(seed))
		quiet := whatif.Run(scenario(seed), nil)
		if story != again || a.Took != b.Took {
			t.Fatalf("seed %d gives two stories", seed)
		}
		if quiet.Stats != a.Stats || quiet.Took != a.Took {
			t.Fatalf("seed %d without a trace: %+v after %v; with it: %+v after %v", seed, quiet.Stats, quiet.Took, a.Stats, a.Took)
		}
		if !strings.Contains(story, line) {
			t.Fatalf("seed %d: not a story with %q:\n%s", seed, line, story)
		}
	}
}

// count is how many seeds a test runs.
type count struct{ usual, short, race uint64 }

// stories runs the stories of many seeds on all processors and sums up what
// happened. A failure names the flag that tells its story.
func stories(t *testing.T, n count, replay string, scenario func(uint64) whatif.Scn) (sum whatif.Stats) {
	seeds := n.usual
	switch {
	case *seedsFlag > 0:
		seeds = *seedsFlag
	case testing.Short():
		seeds = n.short
	case raced:
		seeds = n.race
	}
	var next, bad atomic.Uint64
	next.Store(*firstFlag)
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			var mine whatif.Stats
			for seed := next.Add(1) - 1; seed < *firstFlag+seeds && bad.Load() < 5; seed = next.Add(1) - 1 {
				r := whatif.Run(scenario(seed), nil)
				mine.Add(r.Stats)
				if len(r.Violations) > 0 {
					bad.Add(1)
					t.Errorf("seed %d (-run %s %s %d): %s", seed, t.Name(), replay, seed, strings.Join(r.Violations, "\n"))
				}
				if n := seed - *firstFlag + 1; n%100_000 == 0 {
					t.Logf("%d seeds", n)
				}
			}
			mu.Lock()
			sum.Add(mine)
			mu.Unlock()
		})
	}
	wg.Wait()
	t.Logf("%d seeds: %+v", seeds, sum)
	return sum
}
