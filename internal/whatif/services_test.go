package whatif_test

import (
	"flag"
	"testing"

	"github.com/haobox/haobox/internal/whatif"
)

var serviceSeed = flag.Uint64("service-seed", 0, "replay this seed of TestServices with its trace, and no other")

// TestServices runs stories with rgmanager beside fenced: nothing is started
// that may still run on a node, and in the end all services run.
func TestServices(t *testing.T) {
	t.Parallel()
	scenario := func(seed uint64) whatif.Scn {
		scn := whatif.Scenario(seed)
		scn.Services = true
		return scn
	}
	if *serviceSeed != 0 {
		tellOne(t, scenario(*serviceSeed))
		return
	}
	stories(t, count{usual: 1000, short: 60, race: 150}, "-service-seed", scenario)
}
