package whatif_test

import (
	"flag"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/haobox/haobox/internal/whatif"
)

var (
	seedFlag  = flag.Uint64("seed", 0, "replay the story of this seed with its trace, and no other")
	seedsFlag = flag.Uint64("seeds", 0, "how many seeds to run, on all processors; 0 means the usual number")
	firstFlag = flag.Uint64("first", 1, "the first seed")
)

// Stories make much garbage and keep little.
func TestMain(m *testing.M) {
	debug.SetGCPercent(800)
	os.Exit(m.Run())
}

// replay returns the story of a seed as text.
func replay(seed uint64) (whatif.Result, string) {
	var b strings.Builder
	r := whatif.Run(whatif.Scenario(seed), func(line string) { b.WriteString(line + "\n") })
	return r, b.String()
}

// TestReplay: a seed gives the same story every time, traced or not.
func TestReplay(t *testing.T) {
	t.Parallel()
	for seed := uint64(1); seed <= 20; seed++ {
		a, story := replay(seed)
		b, again := replay(seed)
		quiet := whatif.Run(whatif.Scenario(seed), nil)
		if story != again || a.Took != b.Took {
			t.Fatalf("seed %d gives two stories", seed)
		}
		if quiet.Stats != a.Stats || quiet.Took != a.Took {
			t.Fatalf("seed %d without a trace: %+v after %v; with it: %+v after %v", seed, quiet.Stats, quiet.Took, a.Stats, a.Took)
		}
		if !strings.Contains(story, "fenced starts") {
			t.Fatalf("seed %d: not a story:\n%s", seed, story)
		}
	}
}

// TestStories runs the stories of many seeds. A failure prints the seed; the
// flag -seed tells its story.
func TestStories(t *testing.T) {
	t.Parallel()
	if *seedFlag != 0 {
		r, story := replay(*seedFlag)
		t.Logf("\n%s%+v", story, r.Stats)
		if len(r.Violations) > 0 {
			t.Error(strings.Join(r.Violations, "\n"))
		}
		return
	}
	seeds := uint64(20_000)
	if testing.Short() {
		seeds = 400
	} else if raced {
		seeds = 500
	}
	if *seedsFlag > 0 {
		seeds = *seedsFlag
	}
	var next, bad atomic.Uint64
	next.Store(*firstFlag)
	var mu sync.Mutex
	var sum whatif.Stats
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			var mine whatif.Stats
			for seed := next.Add(1) - 1; seed < *firstFlag+seeds && bad.Load() < 5; seed = next.Add(1) - 1 {
				r := whatif.Run(whatif.Scenario(seed), nil)
				mine.Add(r.Stats)
				if len(r.Violations) > 0 {
					bad.Add(1)
					t.Errorf("seed %d: %s", seed, strings.Join(r.Violations, "\n"))
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
}
