package whatif_test

import (
	"testing"

	"github.com/haobox/haobox/internal/whatif"
)

// TestDisksReplay: a seed gives the same story every time, traced or not.
func TestDisksReplay(t *testing.T) {
	t.Parallel()
	sameStory(t, 6, whatif.DiskScenario, "qdiskd: Assuming master role")
}

// TestDisks runs stories with a quorum disk beside fenced, some with services
// too: its votes never count in two parts of the cluster, who is evicted is down
// or silent before others count without it, and in the end one master is left.
func TestDisks(t *testing.T) {
	t.Parallel()
	if *seedFlag != 0 {
		tellOne(t, whatif.DiskScenario(*seedFlag))
		return
	}
	sum := stories(t, count{usual: 1000, short: 40, race: 60}, "-seed", whatif.DiskScenario)
	if *seedsFlag != 0 && *seedsFlag < 40 || t.Failed() {
		return
	}
	for _, n := range []struct {
		what string
		n    int
	}{{"faults of the disk", sum.DiskFaults}, {"masters", sum.Masters}, {"evictions", sum.Evictions}, {"reboots", sum.Reboots}, {"fenced nodes", sum.Successes}} {
		if n.n == 0 {
			t.Errorf("there were no %s: the stories test nothing", n.what)
		}
	}
}
