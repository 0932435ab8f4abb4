package fencing

import (
	"slices"
	"time"

	"github.com/haobox/haobox/internal/cluster"
)

// race decides the fence race between the members of the domain that failed and
// those that stay, for every policy: bit p of wins says that those that stay
// win by policy p. settled says that all members of the domain are known to
// have known the same input; see waitOf for what that is good for.
func (s *state) race(failed []cluster.NodeID) (settled bool, wins uint8) {
	var low, lowFailed cluster.NodeID
	var weight, weightFailed uint64
	var disk cluster.NodeID // the master, if all that say something say the same
	doubt := false
	settled = true
	for _, m := range s.domain { // sorted: the first of each side is its lowest
		if slices.Contains(failed, m.node) {
			weightFailed += uint64(m.weight)
			if lowFailed == 0 {
				lowFailed = m.node
			}
		} else {
			weight += uint64(m.weight)
			if low == 0 {
				low = m.node
			}
		}
		doubt = doubt || m.disk != 0 && disk != 0 && m.disk != disk
		if m.disk != 0 {
			disk = m.disk
		}
		settled = settled && m.known == s.raceVersion
	}
	lowest := low != 0 && low < lowFailed
	services, qdisk := lowest, lowest
	if weight != weightFailed {
		services = weight > weightFailed
	}
	if m := s.member(disk); m != nil && !doubt {
		qdisk = !slices.Contains(failed, disk)
	}
	for p, w := range [...]bool{RaceNone: true, RaceServices: services, RaceLowest: lowest, RaceQdisk: qdisk} {
		if w {
			wins |= 1 << p
		}
	}
	return settled, wins
}

// Defaults of the arithmetic of fence races.
const (
	defaultToken   = 10 * time.Second // cman's token
	defaultOffTime = 5 * time.Second  // ours: agent, SMAPI and a forced logoff take one or two
	// raceTurns is how many turns a round of a race has: one for each rank.
	raceTurns = 4
)

// turn is how long the turn of one side of a race lasts. c has its defaults.
func (c *Config) turn() time.Duration {
	d := c.RaceDelay
	if d <= 0 {
		d = c.Token + c.OffTime
	}
	longest := time.Duration(0)
	for _, n := range c.Nodes {
		longest = max(longest, n.Delay)
	}
	return d + longest
}

// rank is the place of this side in the race against a victim: how many turns
// it waits.
//
// Both sides of a split must come to different ranks from what each of them
// knows. The input is replicated, but a change of it can have reached one side
// and not the other. So every member confirms what it has, and the input is
// settled for a side that has seen all confirmations. If one side is settled,
// the other one has the same input or is in the middle of a change, never more
// than that; two settled sides have the same input. Unsettled sides come after
// settled ones, and among themselves by the lowest node.
func (c *Config) rank(v *victim) int {
	if c.Race == RaceNone || v.reason == ReasonProcess {
		return 0
	}
	policy, first := c.Race, 0
	if !v.settled {
		policy, first = RaceLowest, 2
	}
	if v.wins&(1<<policy) != 0 {
		return first
	}
	return first + 1
}

// mayStart says whether an attempt against a victim may begin at a time, base
// being when its delay ended without the race: in the first half of a turn of
// this side's. If not, it says when.
func (c *Config) mayStart(v *victim, base, now time.Time) (bool, time.Time) {
	if c.Race == RaceNone || v.reason == ReasonProcess {
		return !now.Before(base), base
	}
	turn := c.turn()
	first := base.Add(time.Duration(c.rank(v)) * turn)
	if now.Before(first) {
		return false, first
	}
	// Two settled sides have every other turn; with four, retries of a side
	// whose other side is gone would wait for nobody most of the time.
	round := 2 * turn
	if !v.settled {
		round = raceTurns * turn
	}
	in := now.Sub(first) % round
	if in <= turn/2 {
		return true, now
	}
	return false, now.Add(round - in)
}
