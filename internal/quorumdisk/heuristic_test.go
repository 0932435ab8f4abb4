package quorumdisk

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/haobox/haobox/internal/clusterconf"
)

func TestHeuristics(t *testing.T) {
	t.Parallel()
	h := NewHeuristics([]Heuristic{{"a", 2, 2 * time.Second, 2}, {"b", 1, time.Second, 1}}, time.Second, 4)
	var got []string
	note := func(all []HeuristicAction) {
		for _, a := range all {
			got = append(got, fmt.Sprint(a))
		}
		got = append(got, "-")
	}
	note(h.Tick(0))
	note(h.Ended(0, true, ""))
	note(h.Ended(1, false, "x")) // it was down
	note(h.Tick(time.Second))
	note(h.Ended(1, true, ""))
	note(h.Tick(2 * time.Second))
	note(h.Ended(0, false, "x"))
	note(h.Ended(1, false, "x"))
	note(h.Tick(4 * time.Second))
	note(h.Ended(0, false, "x"))
	note(h.Tick(7 * time.Second)) // 1 runs for 3 s: not too long
	note(h.Tick(8 * time.Second))
	note(h.Ended(1, true, "")) // too late
	note(h.Ended(1, true, "")) // nobody asked
	note(h.Tick(9 * time.Second))
	note(h.Ended(0, false, "x"))
	note(h.Tick(13 * time.Second)) // too long again: nothing new
	note(h.Ended(1, false, "x"))
	note(h.Ended(0, true, ""))
	note(h.Tick(14 * time.Second))
	note(h.Ended(1, false, "x"))
	note(h.Tick(15 * time.Second))
	note(h.Tick(20 * time.Second)) // it was in time meanwhile
	want := []string{
		"{0}", "{1}", "{0 3}", "-",
		"{5 Heuristic: 'a' UP}", "{2 3}", "-",
		"-",
		"{1}", "-",
		"{5 Heuristic: 'b' UP}", "{3 3}", "-",
		"{0}", "{1}", "-",
		"{7 Heuristic: 'a': x}", "{7 Heuristic: 'a' missed (1/2)}", "-",
		"{7 Heuristic: 'b': x}", "{5 Heuristic: 'b' DOWN (1/1)}", "{2 3}", "-",
		"{0}", "{1}", "-",
		"{7 Heuristic: 'a': x}", "{5 Heuristic: 'a' DOWN (2/2)}", "{0 3}", "-",
		"{0}", "-",
		"{5 Heuristic: 'b' DOWN - Exceeded timeout of 3 seconds}", "{1}", "-",
		"-", "-",
		"{1}", "-", "-",
		"{0}", "{7 Heuristic: 'b' DOWN - Exceeded timeout of 3 seconds}", "{1}", "-",
		"-",
		"{5 Heuristic: 'a' UP}", "{2 3}", "-",
		"{1}", "-", "-",
		"{0}", "{1}", "-",
		"{5 Heuristic: 'a' DOWN - Exceeded timeout of 3 seconds}", "{0}", "{5 Heuristic: 'b' DOWN - Exceeded timeout of 3 seconds}", "{1}", "{0 3}", "-",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if d := h.Dump(); len(d) != 2 || d[1].Up || d[0].Program != "a" {
		t.Errorf("%+v", d)
	}
}

func TestHeuristics_None(t *testing.T) {
	t.Parallel()
	h := NewHeuristics(nil, time.Second, 4)
	if diff := cmp.Diff([]HeuristicAction{ScoreOf{1, 1}}, h.Tick(0)); diff != "" {
		t.Error(diff)
	}
	if all := h.Tick(time.Second); all != nil {
		t.Errorf("%v", all)
	}
}

func TestPrepare(t *testing.T) {
	t.Parallel()
	two := `<clusternodes><clusternode name="a" nodeid="1"/><clusternode name="b" nodeid="2"/></clusternodes>`
	three := `<clusternodes><clusternode name="a" nodeid="1"/><clusternode name="b" nodeid="2"/><clusternode name="c" nodeid="3"/></clusternodes>`
	heuristic := `<heuristic program="ping:10.0.0.1"/>`
	for _, tc := range []struct {
		name, text string
		node       int
		err        string
		log        string
		flags      uint32
	}{
		{"automatic", two + `<quorumd label="q"/>`, 1, "", "Enabling master-wins mode for simple two-node cluster", 0x731},
		{"votes set", three + `<quorumd label="q" votes="2"/>`, 1, "", "", 0x31},
		{"automatic with three nodes", three + `<quorumd label="q"/>`, 3, "", "", 0x231},
		{"master_wins with heuristics", two + `<quorumd label="q" master_wins="1" votes="1">` + heuristic + `</quorumd>`, 1, "", "Master-wins mode disabled", 0x31},
		{"no quorumd", two, 1, "there is no quorumd", "", 0},
		{"no label", two + `<quorumd/>`, 1, "neither label nor device", "", 0},
		{"17", two + `<quorumd label="q"/>`, 17, "slots for 1 to 16", "", 0},
		{"0", two + `<quorumd label="q"/>`, 0, "slots for 1 to 16", "", 0},
		{"a short token", two + `<totem token="5000"/><quorumd label="q"/>`, 1, "a token of 5000 ms is too short", "Token timeout 5000 is too fast to use with qdiskd!", 0},
		{"slow timings", two + `<quorumd label="q" interval="2" tko="10"/>`, 1, "too slow for the token", "Please set token timeout to at least", 0},
		{"a small tko", two + `<quorumd label="q" tko="3"/>`, 1, "", "Quorum disk TKO (3) is too low!", 0x731},
		{"votes that can not be found out", strings.Replace(two, `nodeid="2"`, `nodeid="2" votes="2"`, 1) + `<quorumd label="q"/>`, 1, "node b has 2 votes", "Set all node vote counts to 1 or specify qdiskd's votes", 0},
		{"one node", `<clusternodes><clusternode name="a" nodeid="1"/></clusternodes><quorumd label="q"/>`, 1, "the cluster has one node", "Unable to determine qdiskd votes automatically", 0},
		{"a long name", two + `<quorumd label="q" cman_label="` + strings.Repeat("x", 255) + `"/>`, 1, "255 bytes: at most 254", "", 0},
	} {
		doc, err := clusterconf.Parse("c", []byte(`<cluster name="c" config_version="1">`+tc.text+`</cluster>`))
		if err != nil {
			t.Fatal(err)
		}
		s, logs, err := Prepare(clusterconf.Decode(doc), tc.node)
		if (err == nil) != (tc.err == "") || err != nil && !strings.Contains(err.Error(), tc.err) {
			t.Errorf("%s: %v, want %q", tc.name, err, tc.err)
		}
		if tc.log != "" && !strings.Contains(fmt.Sprint(logs), tc.log) {
			t.Errorf("%s: no %q in %v", tc.name, tc.log, logs)
		}
		if tc.flags != 0 && s.RunFlags != tc.flags {
			t.Errorf("%s: run flags %x, want %x", tc.name, s.RunFlags, tc.flags)
		}
	}
}

// TestReloaded: what can change while qdiskd runs changes, and what can not is
// named.
func TestReloaded(t *testing.T) {
	t.Parallel()
	const nodes = `<clusternodes><clusternode name="a" nodeid="1"/><clusternode name="b" nodeid="2"/></clusternodes>`
	conf := func(text string) *clusterconf.Config {
		doc, err := clusterconf.Parse("c", []byte(`<cluster name="c" config_version="1">`+text+`</cluster>`))
		if err != nil {
			t.Fatal(err)
		}
		return clusterconf.Decode(doc)
	}
	for _, tc := range []struct {
		name, before, after string
		logs                []Log
		change              func(*Setup)
	}{
		{"nothing", `<quorumd label="q"/>` + nodes, `<quorumd label="q"/>` + nodes, nil, func(*Setup) {}},
		{"all that can", `<quorumd label="q"/>` + nodes,
			`<quorumd label="q" status_file="-" scheduler="fifo" priority="7" reboot="0" stop_cman="1" io_timeout="1" paranoid="1" allow_kill="0" max_error_cycles="9"/>` + nodes, nil,
			func(s *Setup) {
				s.StatusFile, s.Scheduler, s.Priority, s.MaxErrorCycles = "-", "fifo", 7, 9
				s.Reboot, s.StopCman, s.IOTimeout, s.Paranoid, s.AllowKill = false, true, true, true, false
			}},
		{"all that can not", `<quorumd label="q" reboot="0"/>` + nodes,
			`<totem token="90000"/><quorumd label="r" interval="2" tko="9" tko_up="4" upgrade_wait="3" master_wait="8" min_score="2" cman_label="n" reboot="1"><heuristic program="x"/></quorumd>` + nodes,
			[]Log{{Warning, "What is new in interval, tko, tko_up, upgrade_wait, master_wait, min_score, label, cman_label, reboot, heuristic of the quorum disk counts only after a restart of qdiskd"}},
			func(s *Setup) { s.VoteTimeout = 90 * time.Second }}, // the token's
		{"another device", `<quorumd device="/dev/a"/>` + nodes, `<quorumd device="/dev/b" cman_label="/dev/a"/>` + nodes,
			[]Log{{Warning, "What is new in device of the quorum disk counts only after a restart of qdiskd"}}, func(*Setup) {}},
		{"votes that are set, of a disk whose master wins by itself", `<quorumd label="q"/>` + nodes, `<quorumd label="q" votes="3"/>` + nodes,
			[]Log{{Notice, "The quorum disk has 3 votes now, it had 1"}},
			func(s *Setup) { s.Votes, s.MasterWins, s.RunFlags = 3, false, 0x231 }},
		{"votes of a disk whose master wins by wish", `<quorumd label="q" votes="1" master_wins="1"/>` + nodes, `<quorumd label="q" votes="2" master_wins="1"/>` + nodes,
			[]Log{{Notice, "The quorum disk has 2 votes now, it had 1"}}, func(s *Setup) { s.Votes = 2 }},
		{"votes that can not be found out", `<quorumd label="q"/>` + nodes, `<quorumd label="q"/>` + strings.Replace(nodes, `nodeid="2"`, `nodeid="2" votes="2"`, 1),
			[]Log{{Error, "b's vote count is 2"}, {Error, "Unable to determine new vote value; retaining old value of 1"}}, func(*Setup) {}},
		{"votes of one node", `<quorumd label="q"/>` + nodes, `<quorumd label="q"/><clusternodes><clusternode name="a" nodeid="1"/></clusternodes>`,
			[]Log{{Error, "Unable to determine new vote value; retaining old value of 1"}}, func(*Setup) {}},
		{"a disk that is not there any more", `<quorumd label="q"/>` + nodes, nodes,
			[]Log{{Critical, "Quorum device removed from the configuration.  Shutting down."}}, nil},
		{"neither label nor device any more", `<quorumd label="q"/>` + nodes, `<quorumd/>` + nodes,
			[]Log{{Critical, "Quorum device removed from the configuration.  Shutting down."}}, nil},
	} {
		s, _, err := Prepare(conf(tc.before), 1)
		if err != nil {
			t.Fatal(err)
		}
		if s.Name == "" {
			s.Device, s.Name = "/dev/found", "/dev/found" // what qdiskd does with a label
		}
		got, logs, removed := s.Reloaded(conf(tc.after))
		if diff := cmp.Diff(tc.logs, logs); diff != "" {
			t.Errorf("%s: (-want +got):\n%s", tc.name, diff)
		}
		if removed != (tc.change == nil) {
			t.Errorf("%s: removed %v", tc.name, removed)
		}
		if tc.change != nil {
			tc.change(&s)
		}
		if diff := cmp.Diff(s, got); diff != "" {
			t.Errorf("%s: (-want +got):\n%s", tc.name, diff)
		}
	}
}
