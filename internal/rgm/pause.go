package rgm

import (
	"time"

	"github.com/haobox/haobox/internal/clusterconf"
)

// Times of a Core.
const (
	// DefaultPause is half of corosync's shortest sensible token with some
	// nodes, 3 s. Ours.
	DefaultPause = 1500 * time.Millisecond
	// TickEvery is how often a Tick must come at least, with the default pause.
	// Ours: well below DefaultPause.
	TickEvery = 500 * time.Millisecond
	// shortestPause keeps a busy machine from taking each of its hiccups for a
	// pause. Ours: half of cman's shortest consensus, 200 ms.
	shortestPause = 100 * time.Millisecond
)

// PauseFor is Options.Pause for a configuration: half of the shortest time
// after which others may go on without a node that they do not hear of. That is
// the token in a cluster at rest, the consensus time when another node is just
// joining or leaving, and a cycle of the quorum disk, whose votes may count for
// others then. Ours; between 100 ms and DefaultPause.
func PauseFor(c *clusterconf.Config) time.Duration {
	limit := 2 * DefaultPause
	for _, t := range []time.Duration{c.Totem.Token, c.Totem.Consensus} {
		if t > 0 {
			limit = min(limit, t)
		}
	}
	if q := c.Quorumd; q != nil && q.Interval > 0 {
		limit = min(limit, q.Interval)
	}
	return max(limit/2, shortestPause)
}

// TickFor is how often a Tick must come for a pause to be told from the time
// between two of them.
func TickFor(pause time.Duration) time.Duration { return min(TickEvery, pause/3) }
