package rgm

import "github.com/haobox/haobox/internal/cluster"

// Decision is one decision about a service, with its inputs. Decisions are
// part of the replicated state; the last maxHistory are kept.
type Decision struct {
	Serial uint64 `json:"serial"`
	// At is the time of the member that gave rise to it, Unix seconds.
	At      int64  `json:"at"`
	Service string `json:"service"`
	// Cause is the event.
	Cause string `json:"cause"`
	// From and To are states; To is 0 for a request that was only asked.
	From State `json:"from"`
	To   State `json:"to"`
	// Node is the one chosen or meant, 0 for none.
	Node cluster.NodeID `json:"node"`
	Why  string         `json:"why"`
	// Candidates are the nodes that were looked at, if any were.
	Candidates []Candidate `json:"candidates,omitempty"`
}

// decide keeps a decision. One that only says again why nothing can be done is
// kept once.
func (s *state) decide(d Decision) {
	if d.From == d.To && d.Node == 0 {
		for i := len(s.history) - 1; i >= 0 && i >= len(s.history)-64; i-- {
			if h := &s.history[i]; h.Service == d.Service {
				if h.From == d.From && h.To == d.To && h.Why == d.Why {
					return
				}
				break
			}
		}
	}
	s.nextDec++
	d.Serial, d.At, d.Cause = s.nextDec, s.now, s.cause
	s.history = append(s.history, d)
	if len(s.history) >= 2*maxHistory { // seldom, it moves all of them
		s.history = append(s.history[:0], s.kept()...)
	}
}

// kept is the history that counts.
func (s *state) kept() []Decision { return s.history[max(0, len(s.history)-maxHistory):] }
