//go:build linux

package main

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
)

// sample is one measured value: seconds, percent of a core, or MiB.
type sample struct {
	Peer, Name string
	Round      int
	Value      float64
}

// row is a line of the table: a figure of ours and what it is compared with.
type row struct {
	what string
	// ours is one of our figures, or several that are added and subtracted
	// within each round.
	ours figure
	// peer and theirs are the other one's; "" compares with the limit alone.
	peer, theirs string
	// atLeast is by how much theirs is to exceed ours; 0 demands nothing.
	atLeast float64
	// atMost is an absolute limit of ours; 0 demands nothing.
	atMost float64
	unit   string
	digits int
}

// figure is a sum of values of one round, less others.
type figure struct {
	plus, minus []string
}

func one(name string) figure { return figure{plus: []string{name}} }

// rows are what issue and documentation demand.
func rows() []row {
	return []row{
		{what: "web server killed, 10 s monitor", ours: one("kill"), peer: pacemaker, theirs: "kill", atLeast: 40, unit: "s", digits: 3},
		{what: "web server killed, 1 s monitor", ours: one("kill"), peer: pacemaker, theirs: "kill-1s", atLeast: 5, unit: "s", digits: 3},
		{what: "service moved by command", ours: one("move"), peer: pacemaker, theirs: "move", atLeast: 5, unit: "s", digits: 3},
		{what: "address moved by command", ours: one("address"), peer: pacemaker, theirs: "address", unit: "s", digits: 3},
		{what: "address moved by command", ours: one("address"), peer: keepalived, theirs: "address", unit: "s", digits: 3},
		{what: "node crashed, in all", ours: one("crash"), peer: pacemaker, theirs: "crash", unit: "s", digits: 3},
		{what: "node crashed, in all", ours: one("crash"), peer: keepalived, theirs: "crash", unit: "s", digits: 3},
		{what: "  of it corosync's detection", ours: one("crash-ring"), peer: pacemaker, theirs: "crash-ring", unit: "s", digits: 3},
		{what: "  of it the fence agent", ours: one("crash-agent"), unit: "s", digits: 3},
		{what: "  of it everything else", ours: figure{plus: []string{"crash"}, minus: []string{"crash-ring", "crash-agent"}}, atMost: 0.150, unit: "s", digits: 3},
		{what: "processor, 100 addresses at 10 s", ours: one("cpu100"), peer: pacemaker, theirs: "cpu100", atLeast: 100, unit: "%", digits: 3},
		{what: "processor, 1,000 addresses at 10 s", ours: one("cpu1000"), atMost: 2, unit: "%", digits: 3},
		{what: "rgmanager's memory, 100 services", ours: one("memory"), atMost: 30, unit: "MiB", digits: 1},
	}
}

// values of a figure of a peer, one for each round that has all its parts.
func values(samples []sample, peer string, f figure) (out []float64) {
	rounds := map[int]map[string]float64{}
	last := 0
	for _, s := range samples {
		if s.Peer != peer {
			continue
		}
		if rounds[s.Round] == nil {
			rounds[s.Round] = map[string]float64{}
		}
		rounds[s.Round][s.Name] = s.Value
		last = max(last, s.Round)
	}
	for r := 1; r <= last; r++ {
		sum, whole := 0.0, true
		add := func(names []string, sign float64) {
			for _, n := range names {
				v, ok := rounds[r][n]
				whole = whole && ok
				sum += sign * v
			}
		}
		add(f.plus, 1)
		add(f.minus, -1)
		if whole {
			out = append(out, sum)
		}
	}
	return out
}

// median of some values; ok is false if there are none.
func median(v []float64) (m float64, ok bool) {
	if len(v) == 0 {
		return 0, false
	}
	v = slices.Sorted(slices.Values(v))
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2, true
	}
	return v[len(v)/2], true
}

// table prints the rows of which there is something.
func table(w io.Writer, samples []sample) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "case\thaobox\t(least to most)\tcompared with\tits figure\tratio\tdemanded")
	for _, r := range rows() {
		all := values(samples, haobox, r.ours)
		ours, ok := median(all)
		theirs, other := 0.0, false
		if r.peer != "" {
			theirs, other = median(values(samples, r.peer, one(r.theirs)))
		}
		if !ok && !other {
			continue
		}
		number := func(v float64, ok bool) string {
			if !ok {
				return "-"
			}
			return fmt.Sprintf("%.*f %s", r.digits, v, r.unit)
		}
		spread, ratio, demanded, peer := "", "-", "-", r.peer
		if ok {
			spread = fmt.Sprintf("%.*f to %.*f", r.digits, slices.Min(all), r.digits, slices.Max(all))
		}
		if ok && other && ours > 0 {
			ratio = fmt.Sprintf("%.1f", theirs/ours)
		}
		switch {
		case r.atLeast > 0:
			demanded = fmt.Sprintf("ratio %g", r.atLeast)
		case r.atMost > 0:
			demanded = fmt.Sprintf("%g %s", r.atMost, r.unit)
		}
		if peer == "" {
			peer = "-"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", r.what, number(ours, ok), spread, peer, number(theirs, other), ratio, demanded)
	}
	return t.Flush()
}
