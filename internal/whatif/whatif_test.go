package whatif_test

import (
	"flag"
	"os"
	"runtime/debug"
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

// TestReplay: a seed gives the same story every time, traced or not.
func TestReplay(t *testing.T) {
	t.Parallel()
	sameStory(t, 20, whatif.Scenario, "fenced starts")
}

// TestStories runs the stories of many seeds. A failure prints the seed; the
// flag -seed tells its story.
func TestStories(t *testing.T) {
	t.Parallel()
	if *seedFlag != 0 {
		tellOne(t, whatif.Scenario(*seedFlag))
		return
	}
	if sum := stories(t, count{usual: 20_000, short: 400, race: 500}, "-seed", whatif.Scenario); sum.Pauses == 0 && (*seedsFlag == 0 || *seedsFlag >= 400) && !t.Failed() {
		t.Error("never several machines paused at the same moment")
	}
}
