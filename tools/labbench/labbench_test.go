//go:build linux

package main

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"
)

// asked makes requests, one every 10 ms, each over 1 ms later: n1, n2, or - for
// a lost one, which takes 300 ms.
func asked(words string) (all []probe, at func(i int) time.Time) {
	start := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	at = func(i int) time.Time { return start.Add(time.Duration(i) * askEvery) }
	for i, w := range strings.Fields(words) {
		p := probe{sent: at(i), done: at(i).Add(time.Millisecond), node: w}
		if w == "-" {
			p.node, p.done = "", at(i).Add(askLimit)
		}
		all = append(all, p)
	}
	return all, at
}

func TestOutage(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, words string
		from        int
		want        time.Duration
		ok          bool
	}{
		{"one loss", "n1 n1 - n1 n1", 0, 20 * time.Millisecond, true},
		{"two gaps are one outage", "n1 - n1 - - n2 n2", 1, 50 * time.Millisecond, true},
		{"a loss before does not count", "n1 - n1 - n1", 2, 20 * time.Millisecond, true},
		{"nothing lost", "n1 n1 n1", 0, 0, false},
		{"nothing lost, another node", "n1 n1 n2 n2", 1, 10 * time.Millisecond, true},
		{"not over", "n1 n1 - -", 0, 0, false},
		{"no answer before", "- - n1", 0, 0, false},
		{"nothing at all", "", 0, 0, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			all, at := asked(tc.words)
			if got, ok := outage(all, at(tc.from)); got != tc.want || ok != tc.ok {
				t.Errorf("outage is %v, %v; want %v, %v", got, ok, tc.want, tc.ok)
			}
		})
	}
}

func TestCalm(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("n1 ", calmAnswers)
	for _, tc := range []struct {
		name, words string
		from        int
		want        string
	}{
		{"all from one", "- " + long, 1, "n1"},
		{"some of them too early", "- " + long, 2, ""},
		{"a loss among them", long + "-", 0, ""},
		{"another node among them", long + "n2", 0, ""},
		{"too few", "n1 n1", 0, ""},
	} {
		all, at := asked(tc.words)
		if got := calm(all, at(tc.from)); got != tc.want {
			t.Errorf("%s: calm is %q, want %q", tc.name, got, tc.want)
		}
	}
}

func TestOver_EndsAtTheFirstThatIsNot(t *testing.T) {
	t.Parallel()
	all, _ := asked("n1 n1 n1 n1")
	all[2].done = time.Time{}
	c := &client{all: all}
	if got := len(c.over()); got != 2 {
		t.Errorf("over has %d requests, want 2", got)
	}
}

func TestValues_MedianAndTable(t *testing.T) {
	t.Parallel()
	var samples []sample
	add := func(peer, name string, v ...float64) {
		for i, x := range v {
			samples = append(samples, sample{Peer: peer, Name: name, Round: i + 1, Value: x})
		}
	}
	add(haobox, "kill", 0.1, 0.3, 0.2)
	add(pacemaker, "kill", 8, 9)
	add(haobox, "crash", 3, 3.5, 9)
	add(haobox, "crash-ring", 2, 2)
	add(haobox, "crash-agent", 0.5, 0.5)
	rest := figure{plus: []string{"crash"}, minus: []string{"crash-ring", "crash-agent"}}
	// The third round lacks two of its parts.
	if got := values(samples, haobox, rest); len(got) != 2 || math.Abs(got[0]-0.5) > 1e-9 || math.Abs(got[1]-1) > 1e-9 {
		t.Errorf("values are %v, want 0.5 and 1", got)
	}
	if _, ok := median(nil); ok {
		t.Error("there is a median of nothing")
	}
	v := []float64{4, 1, 3, 2}
	if m, ok := median(v); !ok || m != 2.5 || v[0] != 4 {
		t.Errorf("median is %v, %v of %v; want 2.5 and the values as they were", m, ok, v)
	}
	var out strings.Builder
	if err := table(&out, samples); err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	for line := range strings.Lines(out.String()) {
		got[strings.Join(strings.Fields(line), " ")] = true
	}
	for _, want := range []string{
		"web server killed, 10 s monitor 0.200 s 0.100 to 0.300 pacemaker 8.500 s 42.5 ratio 40",
		"of it everything else 0.750 s 0.500 to 1.000 - - - 0.15 s",
	} {
		if !got[want] {
			t.Errorf("the table lacks %q:\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String(), "memory") {
		t.Errorf("the table has a row without figures:\n%s", out.String())
	}
}

func TestProcText(t *testing.T) {
	t.Parallel()
	if got, want := childTime("42 (a ) b) S 1 42 42 0 -1 4194560 1 2 3 4 100 200 7 8 20 0 1"), 150*time.Millisecond; got != want {
		t.Errorf("childTime is %v, want %v", got, want)
	}
	for _, bad := range []string{"", "42 (x", "42 (x) S 1"} {
		if got := childTime(bad); got != 0 {
			t.Errorf("childTime of %q is %v", bad, got)
		}
	}
	if got := schedstat("1500000 20 3\n"); got != 1500*time.Microsecond {
		t.Errorf("schedstat is %v", got)
	}
	if got := schedstat(""); got != 0 {
		t.Errorf("schedstat of nothing is %v", got)
	}
	if got := kib("VmPeak:\t 9 kB\nVmRSS:\t  2048 kB\n", "VmRSS:"); got != 2048 {
		t.Errorf("kib is %d, want 2048", got)
	}
	from := time.Unix(100, 0)
	text := "50000000000 1\nnonsense\n110000000000 2\n120000000000 1\n"
	if got := ringAfter(text, from); !got.Equal(time.Unix(120, 0)) {
		t.Errorf("ringAfter is %v, want the ring of one member after the time", got)
	}
}

func TestWords(t *testing.T) {
	t.Parallel()
	if got, err := words("only", "", peerNames); err != nil || len(got) != len(peerNames) {
		t.Errorf("nothing means %v, %v; want all", got, err)
	}
	if got, err := words("only", "keepalived,haobox", peerNames); err != nil || fmt.Sprint(got) != "[keepalived haobox]" {
		t.Errorf("words are %v, %v", got, err)
	}
	if _, err := words("cases", "kill,mvoe", caseNames); err == nil || !strings.Contains(err.Error(), `"mvoe"`) {
		t.Errorf("the error of a wrong word is %v", err)
	}
	var o options
	if err := json.Unmarshal([]byte(`{"Cases":["kill"]}`), &o); err != nil || !o.has("kill") || o.has("move") {
		t.Errorf("options are %+v, %v", o, err)
	}
}

func TestConfigurations_AreXML(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"cluster.conf": conf(storyServices+manyServices(3), "none"),
		"cib":          cib("<group id=\"web\">" + ipPrimitive("a", address(0), 10) + nginxPrimitive + "</group>"),
	} {
		var any struct {
			Inner string `xml:",innerxml"`
		}
		if err := xml.Unmarshal([]byte(text), &any); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	seen := map[string]bool{}
	for i := range 1000 {
		seen[address(i)] = true
	}
	if len(seen) != 1000 {
		t.Errorf("1,000 addresses are %d", len(seen))
	}
}
