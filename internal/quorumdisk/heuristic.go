package quorumdisk

import (
	"fmt"
	"time"
)

// Heuristic is a program, or a look of our own, that earns score (qdisk(5)).
type Heuristic struct {
	Program  string
	Score    int
	Interval time.Duration
	// TKO is how many misses in a row make a heuristic fail that was up.
	TKO int
}

// Heuristics decides when heuristics run and what they are worth. A run that
// takes longer than Limit counts as failed at once, and once more when it ends.
// Not safe for concurrent use.
type Heuristics struct {
	// Limit is the longest run.
	Limit time.Duration
	all   []heuristic
	told  bool
	last  ScoreOf
}

type heuristic struct {
	Heuristic
	up            bool
	misses        int
	running, late bool
	// hangs says that its last run was too long, which is in the log.
	hangs       bool
	began, next time.Duration
}

// ScoreOf is a score and the highest possible one.
type ScoreOf struct{ Score, Max int }

// HeuristicAction is one of RunHeuristic, EndHeuristic, Log and ScoreOf.
type HeuristicAction interface{ heuristicAction() }

// RunHeuristic starts a heuristic, EndHeuristic kills its run. Either way
// Ended is to be called once per run.
type (
	RunHeuristic struct{ Index int }
	EndHeuristic struct{ Index int }
)

func (RunHeuristic) heuristicAction() {}
func (EndHeuristic) heuristicAction() {}
func (Log) heuristicAction()          {}
func (ScoreOf) heuristicAction()      {}

// NewHeuristics returns heuristics that are all down. Without any the score is
// 1 of 1. interval and tko are those of the daemon: a run may take as long as
// the daemon may be silent, less a cycle.
func NewHeuristics(all []Heuristic, interval time.Duration, tko int) *Heuristics {
	h := &Heuristics{Limit: max(interval*time.Duration(tko-1), time.Second)}
	for _, x := range all {
		h.all = append(h.all, heuristic{Heuristic: x})
	}
	return h
}

// At returns a heuristic.
func (h *Heuristics) At(i int) Heuristic { return h.all[i].Heuristic }

// Dump is what there is to know of a heuristic.
type HeuristicDump struct {
	Program string `json:"program"`
	Score   int    `json:"score"`
	Up      bool   `json:"up"`
	Misses  int    `json:"misses"`
	TKO     int    `json:"tko"`
	Running bool   `json:"running"`
}

// Dump is the state of all.
func (h *Heuristics) Dump() []HeuristicDump {
	out := []HeuristicDump{}
	for _, x := range h.all {
		out = append(out, HeuristicDump{x.Program, x.Score, x.up, x.misses, x.TKO, x.running})
	}
	return out
}

// Tick is called every second, with a clock that only grows.
func (h *Heuristics) Tick(now time.Duration) []HeuristicAction {
	var out []HeuristicAction
	for i := range h.all {
		x := &h.all[i]
		switch {
		case x.running && !x.late && now-x.began > h.Limit:
			level := Notice
			if x.hangs {
				level = Debug // nothing new
			}
			x.late, x.hangs, x.up, x.misses = true, true, false, x.TKO
			out = append(out, Log{level, fmt.Sprintf("Heuristic: '%s' DOWN - Exceeded timeout of %d seconds", x.Program, int(h.Limit/time.Second))}, EndHeuristic{i})
		case !x.running && now >= x.next:
			x.running, x.late, x.began, x.next = true, false, now, now+x.Interval
			out = append(out, RunHeuristic{i})
		}
	}
	return h.score(out)
}

// Ended is called when a run is over; why says how it failed.
func (h *Heuristics) Ended(i int, ok bool, why string) []HeuristicAction {
	x := &h.all[i]
	if !x.running {
		return nil
	}
	x.running = false
	if x.hangs = x.late; x.late {
		ok, x.late = false, false
	}
	var out []HeuristicAction
	switch {
	case ok:
		if !x.up {
			out = append(out, Log{Notice, fmt.Sprintf("Heuristic: '%s' UP", x.Program)})
		}
		x.up, x.misses = true, 0
	case x.up:
		out = append(out, Log{Debug, fmt.Sprintf("Heuristic: '%s': %s", x.Program, why)})
		if x.misses++; x.misses >= x.TKO {
			x.up = false
			out = append(out, Log{Notice, fmt.Sprintf("Heuristic: '%s' DOWN (%d/%d)", x.Program, x.misses, x.TKO)})
		} else {
			out = append(out, Log{Debug, fmt.Sprintf("Heuristic: '%s' missed (%d/%d)", x.Program, x.misses, x.TKO)})
		}
	}
	return h.score(out)
}

// score appends the score if it is another one.
func (h *Heuristics) score(out []HeuristicAction) []HeuristicAction {
	s := ScoreOf{}
	for _, x := range h.all {
		s.Max += x.Score
		if x.up {
			s.Score += x.Score
		}
	}
	if len(h.all) == 0 {
		s = ScoreOf{1, 1}
	}
	if h.told && s == h.last {
		return out
	}
	h.told, h.last = true, s
	return append(out, s)
}
