package clustersim_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/haobox/haobox/internal/cluster"
	"github.com/haobox/haobox/internal/cluster/clustersim"
	"github.com/haobox/haobox/internal/cluster/enginetest"
)

func factory(seed uint64) enginetest.Factory {
	return func(t *testing.T, o enginetest.Options) *enginetest.Cluster {
		cfg := clustersim.Config{TwoNode: o.TwoNode, Token: time.Second, Seed: seed}
		for i := range o.Nodes {
			cfg.Nodes = append(cfg.Nodes, clustersim.NodeConfig{ID: cluster.NodeID(i + 1), Name: fmt.Sprint("n", i+1)})
		}
		s := clustersim.New(cfg)
		for i := range o.Nodes {
			s.Start(cluster.NodeID(i + 1))
		}
		s.Run(time.Second)
		const long = 5 * time.Second
		return &enginetest.Cluster{
			Open: s.Engine,
			Until: func(what string, done func() bool) {
				t.Helper()
				if !s.Until(time.Minute, done) {
					t.Fatalf("seed %d: after a minute still not: %s", seed, what)
				}
			},
			End: s.Kill, Kill: s.Lose, Stop: s.Stop,
			Start:    func(id cluster.NodeID) { s.Start(id) },
			Freeze:   func(id cluster.NodeID) { s.Freeze(id); s.Run(long) },
			Thaw:     s.Thaw,
			Cut:      func(id cluster.NodeID) { s.Partition([]cluster.NodeID{id}); s.Run(long) },
			Heal:     func(cluster.NodeID) { s.Heal() },
			Messages: 300,
		}
	}
}

func TestEngine(t *testing.T) {
	t.Parallel()
	seeds := uint64(20)
	if testing.Short() {
		seeds = 3
	}
	for seed := range seeds {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			enginetest.Run(t, true, factory(seed))
		})
	}
}
