package disksim

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/haobox/haobox/internal/quorumdisk"
)

var (
	seed = flag.Uint64("seed", 0, "replay one seed of TestSeeds and print it")
	// slowdown divides the seeds under the race detector, which has nothing to
	// find here.
	slowdown = 1
	seeds    = flag.Int("seeds", 0, "how many seeds TestSeeds runs; 0 means 20000, or 150 with -short")
)

// base is a configuration with the defaults of qdisk(5) for a token of 10 s.
func base() quorumdisk.Config {
	return quorumdisk.Config{Interval: time.Second, TKO: 4, TKOUp: 2, UpgradeWait: 2, MasterWait: 3, Reboot: true, AllowKill: true, VoteTimeout: 10 * time.Second}
}

// random is a configuration of a seed.
func random(seed uint64) Config {
	r := rand.New(rand.NewPCG(seed, 1))
	q := base()
	q.TKO = 3 + r.IntN(4)
	q.TKOUp = max(2, q.TKO/3)
	q.MasterWait = max(q.TKO/2, q.TKOUp+1)
	q.UpgradeWait = 1 + r.IntN(2)
	q.IOTimeout, q.Paranoid, q.AllowKill = r.IntN(4) == 0, r.IntN(8) == 0, r.IntN(4) != 0
	q.Reboot = r.IntN(4) != 0
	if r.IntN(6) == 0 {
		q.MaxErrorCycles = 3
	}
	c := Config{Seed: seed, Nodes: 2 + r.IntN(3), Quorumdisk: q}
	if c.Nodes == 2 {
		c.Quorumdisk.MasterWins = r.IntN(2) == 0
	}
	return c
}

// life is one run: faults for a while, then peace. It returns what went wrong.
func life(c Config) string {
	w := New(c)
	for _, n := range w.Nodes {
		w.Sim.After(time.Duration(w.rng.Int64N(int64(3*time.Second))), n.Up)
	}
	w.Chaos(90 * time.Second)
	if len(w.Broken) == 0 {
		// A node that is evicted or waits for its boot takes up to a minute,
		// and the next one may have waited for it.
		for range 8 {
			w.Quiet()
			w.Run(25 * time.Second)
			if len(w.Broken) > 0 || w.Converged() == "" {
				break
			}
		}
	}
	if len(w.Broken) > 0 {
		return strings.Join(w.Broken, "; ")
	}
	return w.Converged()
}

// TestSeeds: never two parts that count the disk's votes, whatever happens, and
// one master in the end.
func TestSeeds(t *testing.T) {
	t.Parallel()
	if *seed != 0 {
		c := random(*seed)
		c.Trace = func(line string) { fmt.Println(line) }
		if fault := life(c); fault != "" {
			t.Errorf("seed %d: %s", *seed, fault)
		}
		return
	}
	total := 20000
	if testing.Short() {
		total = 150
	}
	total /= slowdown
	if *seeds > 0 {
		total = *seeds
	}
	var next, failed atomic.Int64
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for failed.Load() < 5 {
				s := next.Add(1)
				if s > int64(total) {
					return
				}
				if fault := life(random(uint64(s))); fault != "" {
					failed.Add(1)
					t.Errorf("seed %d: %s (go test -run TestSeeds -seed %d replays it)", s, fault, s)
				}
			}
		})
	}
	wg.Wait()
}
