package rgmsim

import (
	"errors"
	"fmt"
)

// ErrNothing: a configuration with nothing to simulate.
var ErrNothing = errors.New("nothing to simulate")

// Check says whether a configuration can be simulated.
func (c Config) Check() error {
	ids := map[int]bool{}
	for _, n := range c.Conf.Nodes {
		if n.ID <= 0 || ids[n.ID] {
			return fmt.Errorf("node %s has no number of its own (nodeid): %w", n.Name, ErrNothing)
		}
		ids[n.ID] = true
	}
	switch {
	case len(ids) == 0:
		return fmt.Errorf("it has no nodes: %w", ErrNothing)
	case len(c.Conf.Set(c.Rules).Tree) == 0:
		return fmt.Errorf("it has no services: %w", ErrNothing)
	}
	return nil
}

// Seeds are runs of one configuration.
type Seeds struct {
	Config
	From, Count uint64
}

// Run runs one of them, counted from 0.
func (s Seeds) Run(i uint64) *Result {
	cfg := s.Config
	cfg.Seed = s.From + i
	return Run(cfg)
}
