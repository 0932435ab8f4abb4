package rgm

import (
	"time"

	"github.com/haobox/haobox/internal/cluster"
)

// Decision is one decision about a service, with its inputs. Decisions are
// part of the replicated state; the last maxHistory are kept.
type Decision struct {
	Serial uint64 `json:"serial"`
	// At is the time of the member that gave rise to it, Unix seconds.
	At int64 `json:"at"`
	// Heard is the same moment by the clock of this node: Unix milliseconds, or 0
	// where that is not known, because this process was not there or the clocks
	// differ by a second. It is no part of the replicated state.
	Heard   int64  `json:"-"`
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

// Verdict says in words what became of a candidate. The node that was taken was
// not always the best one: a person or the recovery policy may have named it.
func (d *Decision) Verdict(c Candidate) string {
	best := c.Verdict == Fits || c.Verdict == LowerPriority || c.Verdict == BusierNode
	switch {
	case c.Node == d.Node && best:
		return Fits.String()
	case c.Verdict == Fits && d.Node != 0:
		return "would be the best"
	}
	return c.Verdict.String()
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

// amend adds to the reason of a decision of this moment.
func (s *state) amend(serial uint64, text string) {
	for i := len(s.history) - 1; i >= 0 && s.history[i].Serial >= serial; i-- {
		if s.history[i].Serial == serial {
			s.history[i].Why += text
		}
	}
}

// kept is the history that counts.
func (s *state) kept() []Decision { return s.history[max(0, len(s.history)-maxHistory):] }

// heard are the times at which a process heard of decisions, by its own clock.
type heard struct {
	first uint64  // the serial number of at[0]
	at    []int64 // Unix milliseconds
}

// upTo notes the time of all decisions up to a serial number that have none yet.
func (h *heard) upTo(serial uint64, now time.Time) {
	for h.first+uint64(len(h.at)) <= serial {
		h.at = append(h.at, now.UnixMilli())
	}
	if n := len(h.at) - maxHistory; n >= maxHistory { // seldom, it moves all of them
		h.at, h.first = append(h.at[:0], h.at[n:]...), h.first+uint64(n)
	}
}

// of is what Decision.Heard says.
func (h *heard) of(d Decision) int64 {
	if d.Serial < h.first || d.Serial-h.first >= uint64(len(h.at)) {
		return 0
	}
	ms := h.at[d.Serial-h.first]
	if off := ms - 1000*d.At; off < -1000 || off >= 2000 { // At was cut to a second
		return 0
	}
	return ms
}
