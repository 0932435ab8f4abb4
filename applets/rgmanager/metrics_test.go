//go:build linux

package rgmanager

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/haobox/haobox/internal/cluster"
	"github.com/haobox/haobox/internal/goldentest"
	"github.com/haobox/haobox/internal/ragent"
	"github.com/haobox/haobox/internal/rgm"
)

// page are the metrics of a node that has seen everything that is counted.
func page() (string, *metrics) {
	m := newMetrics()
	at := func(ms int) time.Time { return time.Unix(1270000000, 0).Add(time.Duration(ms) * time.Millisecond) }
	m.engine(at(0), cluster.Membership{Ring: cluster.RingID{Seq: 8}, Members: []cluster.NodeID{1, 2, 3}, Joined: []cluster.NodeID{1, 2, 3}})
	m.engine(at(0), cluster.Quorum{Quorate: true})
	record := func(state rgm.State, owner cluster.NodeID) rgm.Service {
		return rgm.Service{Name: "service:web", State: state, Owner: owner}
	}
	life := []struct {
		ms    int
		state rgm.State
	}{{0, rgm.Stopped}, {10, rgm.Starting}, {60, rgm.Started}, {5000, rgm.Error}, {5400, rgm.Recover}, {5410, rgm.Starting}, {5500, rgm.Started}, {9000, rgm.Stopping}, {9700, rgm.Stopped}}
	old := rgm.Service{}
	for _, s := range life {
		if s.state == rgm.Error {
			m.seen(at(s.ms-2), "service:web")
		}
		now := record(s.state, 1)
		m.changed(at(s.ms), rgm.Changed{Old: old, New: now})
		old = now
	}
	m.agent("apache", "start", ragent.Result{Elapsed: 80 * time.Millisecond})
	m.agent("apache", "status", ragent.Result{Elapsed: 2 * time.Millisecond})
	m.agent("apache", "status", ragent.Result{Elapsed: 3 * time.Millisecond, Exit: 7})
	m.agent("we\"ird\\", "stop", ragent.Result{Elapsed: 20 * time.Minute, Exit: 1, TimedOut: true})
	m.engine(at(10000), cluster.Membership{Ring: cluster.RingID{Seq: 12}, Members: []cluster.NodeID{1}, Left: []cluster.NodeID{2, 3}})
	m.safe(at(12500), 2, false)
	m.safe(at(12500), 3, true) // it left in order: nobody was fenced
	return string(m.text(rgm.Status{Self: 1, ConfigVersion: 7,
		Nodes: []rgm.NodeStatus{{ID: 1, Name: "n1"}, {ID: 2, Name: "n2", Waiting: true}},
		Services: []rgm.ServiceStatus{
			{Name: "service:web", State: rgm.Started, Owner: 1, OwnerName: "n1"},
			{Name: "vm:two", State: rgm.Disabled, Flags: rgm.Frozen, OwnerName: "none"},
		}})), m
}

// TestMetrics compares the page with a golden file and checks it against the
// rules of the text format 0.0.4 and of naming (Prometheus, "Exposition
// formats", "Metric and label naming").
func TestMetrics(t *testing.T) {
	t.Parallel()
	got, _ := page()
	got = regexp.MustCompile(`build_info\{version="[^"]*"\}`).ReplaceAllString(got, `build_info{version="V"}`)
	goldentest.Compare(t, "testdata/metrics.golden", got)
	if _, faults := parseMetrics(got); len(faults) > 0 {
		t.Errorf("not the text format:\n%s", strings.Join(faults, "\n"))
	}
}

// family is a metric with the names of its labels.
type family struct {
	kind   string
	labels map[string]bool
}

// parseMetrics reads the text format strictly.
func parseMetrics(text string) (families map[string]*family, faults []string) {
	families = map[string]*family{}
	name := regexp.MustCompile(`^[a-z][a-z0-9_]*$`)
	sample := regexp.MustCompile(`^([a-z][a-z0-9_]*)(?:\{((?:[a-z][a-z0-9_]*="(?:[^"\\\n]|\\[\\n"])*",?)*)\})? (\S+)$`)
	label := regexp.MustCompile(`([a-z][a-z0-9_]*)="((?:[^"\\\n]|\\[\\n"])*)"`)
	bad := func(line, format string, args ...any) {
		faults = append(faults, line+": "+fmt.Sprintf(format, args...))
	}
	seen, helped := map[string]bool{}, ""
	var current *family
	currentName := ""
	last, lastSet := map[string]float64{}, map[string]string{}
	if !strings.HasSuffix(text, "\n") {
		bad("the end", "no line end")
	}
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if rest, ok := strings.CutPrefix(line, "# HELP "); ok {
			n, help, _ := strings.Cut(rest, " ")
			if helped = n; !name.MatchString(n) || help == "" || families[n] != nil {
				bad(line, "a name, a help, once")
			}
			continue
		}
		if rest, ok := strings.CutPrefix(line, "# TYPE "); ok {
			n, kind, _ := strings.Cut(rest, " ")
			if n != helped || !slices.Contains([]string{"gauge", "counter", "histogram"}, kind) || (kind == "counter") != strings.HasSuffix(n, "_total") {
				bad(line, "after its help, of a kind that fits the name")
			}
			current, currentName = &family{kind, map[string]bool{}}, n
			families[n] = current
			continue
		}
		f := sample.FindStringSubmatch(line)
		if f == nil || current == nil {
			bad(line, "no sample")
			continue
		}
		n, suffix := f[1], ""
		if current.kind == "histogram" {
			n = strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(f[1], "_bucket"), "_sum"), "_count")
			suffix = strings.TrimPrefix(f[1], n)
		}
		if n != currentName {
			bad(line, "a sample of %s after the type of %s", n, currentName)
		}
		if seen[f[1]+"{"+f[2]] {
			bad(line, "twice")
		}
		seen[f[1]+"{"+f[2]] = true
		v, err := strconv.ParseFloat(f[3], 64)
		if err != nil {
			bad(line, "%v", err)
		}
		series := n
		for _, l := range label.FindAllStringSubmatch(f[2], -1) {
			current.labels[l[1]] = true
			if l[1] != "le" {
				series += "," + l[0]
			}
		}
		switch suffix {
		case "_bucket":
			if v < last[series] {
				bad(line, "fewer than in the bucket before")
			}
			last[series], lastSet[series] = v, f[2]
		case "_count":
			if v != last[series] || !strings.Contains(lastSet[series], `le="+Inf"`) {
				bad(line, "not the last bucket, or that has an end")
			}
		}
	}
	return families, faults
}

// TestMetrics_Used: alert rules and dashboard ask for nothing that rgmanager
// does not tell.
func TestMetrics_Used(t *testing.T) {
	t.Parallel()
	text, _ := page()
	families, _ := parseMetrics(text)
	used := regexp.MustCompile(`\b(haobox_[a-z0-9_]+)(?:\{([^}]*)\})?`)
	matcher := regexp.MustCompile(`([a-z_]+)\s*(?:=~|!~|!=|=)\s*"`)
	by := regexp.MustCompile(`\b(?:by|on)\s*\(([^)]*)\)`)
	legend := regexp.MustCompile(`\{\{\s*(?:\$labels\.)?([a-z_]+)\s*\}\}`)
	all := map[string]bool{"instance": true} // Prometheus adds it
	for _, f := range families {
		for l := range f.labels {
			all[l] = true
		}
	}
	// Every node counts all transitions: their sum over nodes is too much.
	summed := regexp.MustCompile(`sum(\s+by\s*\([^)]*\))?\s*\([^()]*\(?haobox_(service_transitions_total|service_started|service_state|node_waiting)`)
	check := func(where, expr string) {
		t.Helper()
		if m := summed.FindString(expr); m != "" {
			t.Errorf("%s: '%s...' counts each once per node", where, m)
		}
		for _, m := range used.FindAllStringSubmatch(expr, -1) {
			f, known := families[m[1]]
			if h := families[regexp.MustCompile(`_(bucket|sum|count)$`).ReplaceAllString(m[1], "")]; !known && h != nil && h.kind == "histogram" {
				f, known = h, true
			} else if known && f.kind == "histogram" {
				t.Errorf("%s: %s is a histogram: its series have _bucket, _sum or _count", where, m[1])
			}
			if !known {
				t.Errorf("%s: there is no metric %s", where, m[1])
				continue
			}
			for _, l := range matcher.FindAllStringSubmatch(m[2], -1) {
				if !f.labels[l[1]] {
					t.Errorf("%s: %s has no label %s", where, m[1], l[1])
				}
			}
		}
		for _, re := range []*regexp.Regexp{by, legend} {
			for _, m := range re.FindAllStringSubmatch(expr, -1) {
				for l := range strings.SplitSeq(m[1], ",") {
					if l = strings.TrimSpace(l); !all[l] {
						t.Errorf("%s: no metric has a label %s", where, l)
					}
				}
			}
		}
	}
	alerts, err := os.ReadFile("../../conf/alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(alerts)) {
		if strings.Contains(line, "expr:") {
			n++
		}
		if !strings.HasPrefix(strings.TrimSpace(line), "#") {
			check("alerts.yml", line)
		}
	}
	if n < 5 {
		t.Errorf("alerts.yml has %d rules", n)
	}
	text2, err := os.ReadFile("../../conf/grafana.json")
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr, LegendFormat string }
		}
	}
	if err := json.Unmarshal(text2, &board); err != nil || len(board.Panels) == 0 {
		t.Fatalf("grafana.json: %d panels, %v", len(board.Panels), err)
	}
	for _, p := range board.Panels {
		if len(p.Targets) == 0 {
			t.Errorf("grafana.json: %s shows nothing", p.Title)
		}
		for _, x := range p.Targets {
			check("grafana.json: "+p.Title, x.Expr)
			check("grafana.json: "+p.Title, x.LegendFormat)
		}
	}
}
