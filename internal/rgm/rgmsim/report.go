package rgmsim

import (
	"bufio"
	"fmt"
	"html"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/haobox/haobox/internal/cluster"
	"github.com/haobox/haobox/internal/quorumdisk/disksim"
)

// Report sums up many runs.
type Report struct {
	Seeds      int           `json:"seeds"`
	Hours      float64       `json:"hours"` // of all runs together
	Faults     int           `json:"faults"`
	Services   []SummaryLine `json:"services"`
	Violations []Violation   `json:"violations"`
	// Failures are runs that ended too early (Result.Failure); nothing else
	// counts them.
	Failures []Violation `json:"failures,omitempty"`
	// Disk sums up the quorum disk; nil if none was played.
	Disk *disksim.Stats `json:"disk,omitempty"`
	// Assumed is what was not simulated, one line each (Assumptions).
	Assumed []string `json:"assumed,omitempty"`
}

// SummaryLine is a service over all runs.
type SummaryLine struct {
	Name string `json:"name"`
	// Availability is 0 to 1.
	Availability float64 `json:"availability"`
	Outages      int     `json:"outages"`
	// Longest outage in seconds, and the seed that had it.
	Longest     float64 `json:"longestSeconds"`
	LongestSeed uint64  `json:"longestSeed"`
	Moves       int     `json:"moves"`

	up, total time.Duration
}

// Violation is something that must never happen and did.
type Violation struct {
	Seed uint64 `json:"seed"`
	Text string `json:"text"`
}

// Add adds a run that was not stopped. Add runs in the order of their seeds for
// equal reports.
func (r *Report) Add(x *Result) {
	if x.Failure != "" {
		r.Failures = append(r.Failures, Violation{x.Seed, x.Failure})
		return
	}
	r.Seeds++
	r.Hours += x.Length.Hours()
	r.Faults += x.Faults
	if x.Disk != nil {
		if r.Disk == nil {
			r.Disk = &disksim.Stats{}
		}
		r.Disk.Add(*x.Disk)
	}
	for _, v := range x.Violations {
		r.Violations = append(r.Violations, Violation{x.Seed, v})
	}
	for _, s := range x.Services {
		i := slices.IndexFunc(r.Services, func(l SummaryLine) bool { return l.Name == s.Name })
		if i < 0 {
			i = len(r.Services)
			r.Services = append(r.Services, SummaryLine{Name: s.Name})
		}
		l := &r.Services[i]
		l.up, l.total = l.up+s.Up, l.total+s.Total
		if l.total > 0 {
			l.Availability = float64(l.up) / float64(l.total)
		}
		if s.Longest.Seconds() > l.Longest {
			l.Longest, l.LongestSeed = s.Longest.Seconds(), x.Seed
		}
		l.Outages += s.Outages
		l.Moves += s.Moves
	}
}

// Text writes the report for people.
func (r *Report) Text(w io.Writer) error {
	b := bufio.NewWriter(w)
	fmt.Fprintf(b, "%d runs, %s of the cluster's life, %d faults\n\n", r.Seeds, span(r.Hours), r.Faults)
	if len(r.Assumed) > 0 {
		fmt.Fprintf(b, "In it:\n  %s\n\n", strings.Join(r.Assumed, "\n  "))
	}
	fmt.Fprintf(b, "%-24s %13s %8s %15s %7s\n", "Service", "Availability", "Outages", "Longest (seed)", "Moves")
	for _, s := range r.Services {
		longest := fmt.Sprintf("%v (%d)", time.Duration(s.Longest*float64(time.Second)).Round(100*time.Millisecond), s.LongestSeed)
		fmt.Fprintf(b, "%-24s %11.4f %% %8d %15s %7d\n", s.Name, 100*s.Availability, s.Outages, longest, s.Moves)
	}
	if d := r.Disk; d != nil {
		fmt.Fprintf(b, "\nQuorum disk: %d of the faults, masters elected %d times, notices of eviction written %d times\n", d.Faults, d.Masters, d.Evictions)
	}
	for _, f := range r.Failures {
		fmt.Fprintf(b, "\nThe simulation itself failed with seed %d, %s\n", f.Seed, f.Text)
	}
	switch {
	case r.Seeds == 0:
	case len(r.Violations) == 0:
		fmt.Fprintln(b, "\nNothing happened that must not happen.")
	default:
		fmt.Fprintln(b, "\nThis must never happen, and did:")
		for _, v := range r.Violations {
			fmt.Fprintf(b, "  seed %d at %s\n", v.Seed, v.Text)
		}
	}
	return b.Flush()
}

func span(hours float64) string {
	switch {
	case hours >= 2*24*365:
		return fmt.Sprintf("%.1f years", hours/24/365)
	case hours >= 2*24:
		return fmt.Sprintf("%.1f days", hours/24)
	}
	return fmt.Sprintf("%.1f hours", hours)
}

// Timeline writes what happened in a run that was traced.
func (x *Result) Timeline(w io.Writer) error {
	b := bufio.NewWriter(w)
	fmt.Fprintf(b, "seed %d: seconds, node, and what happened; * is the simulation's doing\n", x.Seed)
	for _, l := range x.Lines {
		fmt.Fprintln(b, l)
	}
	return b.Flush()
}

// SVG draws a traced run: a lane for each node, in it a row for each service
// that ran there, and behind them when the node was off or frozen. names are
// those of the nodes.
func (x *Result) SVG(w io.Writer, names map[cluster.NodeID]string) error {
	const left, width, row, legend, legendRow = 140, 1200, 16, 8, 14
	b := bufio.NewWriter(w)
	var services []string
	for _, s := range x.Services {
		services = append(services, s.Name)
	}
	top := 60 + (len(services)-1)/legend*legendRow
	lane := row*len(services) + 14
	ids := slices.Sorted(maps.Keys(names))
	height := top + lane*len(ids) + 40
	at := func(d time.Duration) float64 { return left + width*d.Seconds()/max(x.Length, time.Second).Seconds() }
	fmt.Fprintf(b, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" font-family=\"sans-serif\" font-size=\"11\">\n", left+width+20, height)
	fmt.Fprintf(b, "<rect width=\"100%%\" height=\"100%%\" fill=\"#ffffff\"/>\n<text x=\"10\" y=\"20\" font-size=\"15\">seed %d, %v, %d faults</text>\n", x.Seed, x.Length, x.Faults)
	for i, s := range services {
		dx, dy := left+i%legend*150, 28+i/legend*legendRow
		fmt.Fprintf(b, "<rect x=\"%d\" y=\"%d\" width=\"10\" height=\"10\" fill=\"%s\"/><text x=\"%d\" y=\"%d\">%s</text>\n", dx, dy, color(i), dx+14, dy+9, html.EscapeString(s))
	}
	for i, id := range ids {
		y := top + i*lane
		fmt.Fprintf(b, "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" fill=\"#f2f4f7\"/>\n<text x=\"10\" y=\"%d\" font-size=\"13\">%s</text>\n",
			left, y, width, lane-6, y+lane/2, html.EscapeString(names[id]))
	}
	draw := func(background bool) {
		for _, s := range x.Spans {
			i := slices.Index(ids, s.Node)
			k := slices.Index(services, s.What)
			if i < 0 || (k < 0) != background {
				continue
			}
			y, h, fill := top+i*lane, lane-6, "#444b57"
			switch {
			case k >= 0:
				y, h, fill = y+4+k*row, row-3, color(k)
			case s.What == "frozen":
				fill = "#9fc5f8"
			}
			fmt.Fprintf(b, "<rect x=\"%.1f\" y=\"%d\" width=\"%.1f\" height=\"%d\" fill=\"%s\"><title>%s on %s, %v to %v</title></rect>\n",
				at(s.From), y, max(at(s.To)-at(s.From), 0.5), h, fill, html.EscapeString(s.What), html.EscapeString(names[s.Node]),
				s.From.Round(time.Millisecond), s.To.Round(time.Millisecond))
		}
	}
	draw(true)
	draw(false)
	for _, l := range x.Lines {
		if !l.Fault {
			continue
		}
		y := top - 8
		if i := slices.Index(ids, l.Node); i >= 0 {
			y = top + i*lane - 1
		}
		fill := "#c0392b"
		if strings.HasPrefix(l.Text, "VIOLATION") {
			fill = "#ff00ff"
		}
		fmt.Fprintf(b, "<circle cx=\"%.1f\" cy=\"%d\" r=\"3\" fill=\"%s\"><title>%v %s</title></circle>\n", at(l.At), y, fill, l.At.Round(time.Millisecond), html.EscapeString(l.Text))
	}
	for i := range 11 {
		d := x.Length * time.Duration(i) / 10
		fmt.Fprintf(b, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\" fill=\"#555\">%v</text>\n", at(d), height-16, d.Round(time.Second))
	}
	fmt.Fprintln(b, "</svg>")
	return b.Flush()
}

func color(i int) string {
	colors := [...]string{"#2e7d32", "#1565c0", "#ef6c00", "#6a1b9a", "#00838f", "#ad1457", "#827717", "#4e342e"}
	return colors[i%len(colors)]
}
