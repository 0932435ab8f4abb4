package restree

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/haobox/haobox/conf"
	"github.com/haobox/haobox/internal/goldentest"
	"github.com/haobox/haobox/internal/xmldoc"
)

func cluster(t testing.TB, rm string) *xmldoc.Element {
	t.Helper()
	text := `<cluster name="zc" config_version="1"><clusternodes><clusternode name="CNODE1" nodeid="1"/>` +
		`<clusternode name="CNODE2" nodeid="2"/></clusternodes><rm>` + rm + `</rm></cluster>`
	doc, err := xmldoc.Parse("cluster.conf", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return doc.Root
}

func load(t testing.TB, rm string) *Set { return Load(Builtin(), cluster(t, rm)) }

// said returns the messages as rg_test prints them.
func said(s *Set) string {
	var b strings.Builder
	for _, m := range s.Messages {
		b.WriteString(m.String() + "\n")
	}
	return b.String()
}

// script runs op and returns the calls, "Node ..." lines and the result. fail
// names calls ("start ip:10.0.0.1") with their exit status.
func script(s *Set, op Op, target *Resource, now time.Time, fail map[string]int) string {
	var b strings.Builder
	res := s.Operate(op, target, Shell{
		Now:  func() time.Time { return now },
		Note: func(_ Kind, text string) { b.WriteString(text + "\n") },
		Run: func(c Call) int {
			call := c.Action + " " + c.Node.ID()
			if c.Depth > 0 {
				call += fmt.Sprintf(" depth %d", c.Depth)
			}
			exit := fail[c.Action+" "+c.Node.ID()]
			if exit != 0 {
				call += fmt.Sprintf(" -> %d", exit)
			}
			b.WriteString(call + "\n")
			return exit
		},
	})
	fmt.Fprintf(&b, "= %d\n", res)
	return b.String()
}

func lines(s ...string) string { return strings.Join(s, "\n") + "\n" }

func same(t *testing.T, what, got, want string) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got)\n%s", what, diff)
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	goldentest.Compare(t, filepath.Join("testdata", name+".golden"), got)
}

func TestBuiltin_EveryMetadataFileIsARule(t *testing.T) {
	t.Parallel()
	rules := Builtin()
	if len(rules) != len(conf.AgentNames()) {
		t.Fatalf("%d rules of %d files", len(rules), len(conf.AgentNames()))
	}
	for _, name := range conf.AgentNames() {
		text, _ := conf.AgentMetadata(name)
		r, msgs, err := ParseRule(name, text)
		if err != nil || len(msgs) > 0 {
			t.Errorf("%s: %v %v", name, err, msgs)
			continue
		}
		if r.Short == "" || r.Long == "" {
			t.Errorf("%s: no description", name)
		}
		for _, a := range []string{"start", "stop", "meta-data", "validate-all"} {
			if !r.HasAction(a) {
				t.Errorf("%s: no action %s", name, a)
			}
		}
		// Metadata is the inverse of ParseRule.
		again, _, err := ParseRule(name, r.Metadata())
		if diff := cmp.Diff(r, again); err != nil || diff != "" {
			t.Errorf("%s: after Metadata: %v (-want +got)\n%s", name, err, diff)
		}
		ocf, _, err := ParseRule(name, r.OCF())
		if err != nil || !ocf.HasAction("monitor") && r.HasAction("monitor") || ocf.HasAction("status") {
			t.Errorf("%s: OCF metadata: %v %+v", name, err, ocf)
		}
	}
}

func TestPrintRules(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	PrintRules(&b, Builtin())
	golden(t, "rules", b.String())
}

func TestParseRule_Quirks(t *testing.T) {
	t.Parallel()
	wrap := func(params, rest string) string {
		return `<resource-agent name="x"><parameters>` + params + `</parameters>` + rest + `</resource-agent>`
	}
	for _, tc := range []struct {
		name, text string
		want       string // parameters, or the message
		err        error
	}{
		{name: "the primary parameter takes slot 0 and sends the first to the end",
			text: wrap(`<parameter name="a"/><parameter name="b"/><parameter name="c" primary="1"/><parameter name="d"/>`, ""), want: "c b a d"},
		{name: "a parameter of the same name replaces the first in its place",
			text: wrap(`<parameter name="a" unique="1"/><parameter name="b"/><parameter name="a" required="yes"/>`, ""), want: "a b"},
		{name: "two primaries", text: wrap(`<parameter name="a" primary="1"/><parameter name="b" primary="1"/>`, ""),
			want: "Error: Multiple primary definitions for resource type x", err: ErrTwoPrimaries},
		{name: "inherited and required", text: wrap(`<parameter name="a" inherit="b" required="1"/>`, ""),
			want: "Error: Can not inherit and be primary, unique, or required", err: ErrInherit},
		{name: "reserved", text: `<resource-agent name="action"/>`, want: "Error: Resource type 'action' is reserved", err: ErrReserved},
		{name: "no name", text: `<resource-agent/>`, err: ErrNoRule},
		{name: "something else", text: `<html name="x"/>`, err: ErrNoRule},
		{name: "not XML", text: `Usage: x {start|stop}`, err: xmldoc.ErrSyntax},
		{name: "empty output", text: "", err: xmldoc.ErrSyntax},
		{name: "the same action twice", want: "Replacing action 'status' depth 10: timeout: 5->0 interval: 60->1",
			text: wrap("", `<actions><action name="status" depth="10" timeout="5" interval="1m"/><action name="STATUS" depth="10" timeout="0" interval="0"/></actions>`)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r, msgs, err := ParseRule("x.sh", []byte(tc.text))
			if !errors.Is(err, tc.err) {
				t.Fatalf("got %v, want %v", err, tc.err)
			}
			var got []string
			for _, m := range msgs {
				got = append(got, m.String())
			}
			if r != nil {
				for _, p := range r.Params {
					got = append(got, p.Name)
				}
			}
			same(t, "result", strings.Join(got, " "), tc.want)
		})
	}
}

func TestParseTime(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		in   string
		want int
	}{
		{"", 0}, {"5", 5}, {"90s", 90}, {"1h30m", 5400}, {"1H 30", 3630}, {"2w1d", 15 * 86400}, {"1y", 365 * 86400}, {"10x", 0},
		{"10x5", 5}, {"2147483647", 2147483647}, {"2147483648", 0}, {"99999999h", 0}, {"1y99999999999", 0}, {"-5", 5}, {"2147483647s1s", 0},
	} {
		if got := ParseTime(tc.in); got != tc.want {
			t.Errorf("%q: got %d, want %d", tc.in, got, tc.want)
		}
	}
}

func TestAtoi(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		in   string
		want int
	}{{"", 0}, {" 12x", 12}, {"-3", -3}, {"+4", 4}, {"yes", 0}, {"99999999999999999999", 1<<31 - 1}, {"0x10", 0}} {
		if got := Atoi(tc.in); got != tc.want {
			t.Errorf("%q: got %d, want %d", tc.in, got, tc.want)
		}
	}
}

const web = `<resources>
  <fs name="f" device="/dev/vg/lv" mountpoint="/srv"/><script name="s" file="/etc/init.d/s"/>
 </resources>
 <service name="web"><script ref="s"/><apache name="a"/><ip address="10.0.0.1"/><fs ref="f"/><lvm name="l" vg_name="vg"/></service>`

func TestLevels(t *testing.T) {
	t.Parallel()
	s := load(t, web)
	same(t, "messages", said(s), "")
	rg := s.Find("service", "web")
	same(t, "start", script(s, Start, rg, time.Time{}, nil), lines("start service:web", "start lvm:l", "start fs:f", "start ip:10.0.0.1", "start script:s", "start apache:a", "= 0"))
	same(t, "status", script(s, Status, rg, time.Time{}, nil), lines("status lvm:l", "status fs:f depth 20", "status ip:10.0.0.1 depth 10", "status script:s", "status apache:a depth 10", "= 0"))
	same(t, "stop", script(s, Stop, rg, time.Time{}, nil), lines("stop apache:a", "stop script:s", "stop ip:10.0.0.1", "stop fs:f", "stop lvm:l", "stop service:web", "= 0"))
}

// The conditional operations take the unlevelled children first and backward,
// and go by the start level in both directions.
func TestConditionalOrder(t *testing.T) {
	t.Parallel()
	s := load(t, web+`<service name="q"><apache name="b"/><mysql name="m"/><ip address="10.0.0.2"/><script name="z" file="/z"/></service>`)
	for _, n := range s.Tree[1].Children {
		n.NeedStart, n.NeedStop = true, true
	}
	want := []string{"mysql:m", "apache:b", "ip:10.0.0.2", "script:z"}
	for _, tc := range []struct {
		op         Op
		word, verb string
	}{{CondStop, "CONDSTOP", "stop"}, {CondStart, "CONDSTART", "start"}} {
		var w []string
		for _, id := range want {
			w = append(w, "Node "+id+" - "+tc.word, tc.verb+" "+id)
		}
		same(t, tc.word, script(s, tc.op, s.Tree[1].Resource, time.Time{}, nil), lines(append(w, "= 0")...))
	}
}

func TestStart_FailureEndsIt(t *testing.T) {
	t.Parallel()
	s := load(t, web)
	same(t, "start", script(s, Start, s.Tree[0].Resource, time.Time{}, map[string]int{"start fs:f": 1}),
		lines("start service:web", "start lvm:l", "start fs:f -> 1", "= 1"))
	if st := s.Tree[0].Children[1].State; st != Failed {
		t.Errorf("fs is %v", st)
	}
	// Status 5 leaves the node stopped, and then counts as a successful stop.
	s = load(t, web)
	fail := map[string]int{"start lvm:l": 5, "stop lvm:l": 5, "stop script:s": 1}
	same(t, "start", script(s, Start, s.Tree[0].Resource, time.Time{}, fail), lines("start service:web", "start lvm:l -> 5", "= 1"))
	same(t, "stop goes on", script(s, Stop, s.Tree[0].Resource, time.Time{}, fail),
		lines("stop apache:a", "stop script:s -> 1", "stop ip:10.0.0.1", "stop fs:f", "stop lvm:l -> 5", "stop service:web", "= 1"))
	if st := s.Tree[0].State; st != Failed {
		t.Errorf("service is %v after a failed stop below", st)
	}
}

func TestOperate_EveryOccurrence(t *testing.T) {
	t.Parallel()
	s := load(t, `<resources><script name="s" file="/s"/><clusterfs name="g" device="/dev/g" mountpoint="/g"/></resources>
	 <service name="a"><clusterfs ref="g"><script ref="s"/></clusterfs></service><service name="b"><script ref="s"/></service>`)
	same(t, "start", script(s, Start, s.Find("script", "s"), time.Time{}, nil), lines("start script:s", "start script:s", "= 0"))
	if n := s.Find("script", "s").Incarnations; n != 2 {
		t.Errorf("incarnations %d, want 2", n)
	}
	same(t, "by the unique and required attribute", s.Find("script", "/s").ID(), "script:s")
	env := strings.Join(s.Tree[1].Children[0].Environ("/usr/share/cluster", "start", 0), "\n")
	for _, want := range []string{"OCF_RESKEY_service_name=b", "OCF_RESKEY_RGMANAGER_meta_refcnt=1", "OCF_RESOURCE_INSTANCE=script:s", "OCF_CHECK_LEVEL=0"} {
		if !strings.Contains(env, want) {
			t.Errorf("no %s in\n%s", want, env)
		}
	}
}

func TestLoad_Messages(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, rm, want string }{
		{"collision of the primary attribute", `<resources><script name="s" file="/a"/><script name="s" file="/b"/></resources>`,
			lines("Error: Primary attribute collision. type=script attr=name value=s", "Error storing script resource")},
		{"collision of a unique attribute", `<resources><script name="s" file="/a"/><script name="t" file="/a"/></resources>`,
			lines("Error: Unique attribute collision. type=script attr=file value=/a", "Error storing script resource")},
		{"dangling reference", `<service name="a"><script ref="no"/><ip address="1.1.1.1"/></service>`,
			lines("Error: Reference to nonexistent resource no (type script)")},
		{"reference to an inline resource", `<service name="a"><script name="s" file="/s"/></service><service name="b"><script ref="s"/></service>`,
			lines("Error: Reference to inlined resource s (type script) is illegal")},
		{"too many references", `<resources><ip address="1.1.1.1"/></resources><service name="a"><ip ref="1.1.1.1"/></service><service name="b"><ip ref="1.1.1.1"/></service>`,
			lines("Warning: Max references exceeded for resource address (type ip)")},
		{"a broken top level element ends the list", `<failoverdomains/><service name="a"/><service/><service name="c"/>`,
			lines("No resource found @ /cluster/rm/child::*[3]")},
		{"path below an undeclared child", `<service name="a"><apache name="x"><apache/></apache></service>`,
			lines("No resource found @ /cluster/rm/child::*[1]/child::*[1]/child::*[1]")},
		{"path below a declared child", `<service name="a"><ip address="1.1.1.1"/><fs name="f" device="d" mountpoint="m"><apache/></fs></service>`,
			lines("No resource found @ /cluster/rm/child::*[1]/fs[1]/child::*[1]")},
		{"a broken shared resource ends its type in silence", `<resources><script name="s"/><script name="t" file="/t"/></resources><service name="a"><script ref="t"/></service>`,
			lines("Error: Reference to nonexistent resource t (type script)")},
		{"action overrides", `<service name="a"><fs name="f" device="d" mountpoint="m"><action name="status" depth="*" interval="10"/><action name="start" timeout="7"/><action name="status" depth="5" timeout="1" interval="2"/></fs></service>`,
			lines("Replacing action 'status' depth 0: interval: 60->10", "Replacing action 'status' depth 10: interval: 30->10",
				"Replacing action 'status' depth 20: interval: 60->10", "Replacing action 'start' depth 0: timeout: 900->7 ")},
		{"non-critical mark on the first of three", `<resources><script name="s" file="/s"/></resources><service name="a"><script ref="s" __independent_subtree="2"/></service><service name="b"><script ref="s"/><script ref="s"/></service>`,
			lines("Non-critical flag for script:s is being cleared due to multiple references.")},
		{"non-critical mark on the second", `<resources><script name="s" file="/s"/></resources><service name="a"><script ref="s"/></service><service name="b"><script ref="s" __independent_subtree="non-critical"/></service>`,
			lines("Non-critical flag for script:s is being cleared due to multiple references.")},
		{"resource defaults", `<resource-defaults><ip monitor_link="0" nfslock="service%nfslock" address="x" family="inet"/><fs force_unmount="1" nfslock="1"/></resource-defaults>`,
			lines("setting default for fs attr force_unmount to 1", "changing default for fs attr nfslock from nfslock to 1",
				"setting default for ip attr family to inet", "changing default for ip attr monitor_link from 1 to 0")},
		{"names of elements compare without case beyond the declared ones", `<Service name="a"><IP address="1.1.1.1"/></Service>`, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			same(t, "messages", said(load(t, tc.rm)), tc.want)
		})
	}
}

func TestTree_Text(t *testing.T) {
	t.Parallel()
	s := load(t, `<failoverdomains>
  <failoverdomain name="d" ordered="1" restricted="1" nofailback="1"><failoverdomainnode name="CNODE2" priority="2"/><failoverdomainnode name="GONE" priority="101"/></failoverdomain>
  <failoverdomain name="e" ordered="yes"><failoverdomainnode name="CNODE1" priority="1"/></failoverdomain>
 </failoverdomains>
 <events><event name="n" class="node" node="CNODE2" node_state="down" priority="3" file="/x.sl"/>
  <event name="s" class="service" service="service:w" service_state="recovering" priority="3">notice("x");</event>
  <event name="c" class="config" file="/x"/><event name="bad" priority="0" file="/x"/><event name="any" file="/y"/></events>
 <resources><clusterfs name="g" device="/dev/g" mountpoint="/g"/><ip address="10.1.1.1/24" nfslock="0"/></resources>
 <service name="w" domain="d" nfslock="1">
  <clusterfs ref="g" __independent_subtree="2"><nfsexport name="x"><nfsclient name="c" target="*"/></nfsexport></clusterfs>
  <ip ref="10.1.1.1/24" __enforce_timeouts="yes"/>
  <fs name="f" device="/dev/f" mountpoint="/f" __independent_subtree="yes"/>
 </service>
 <vm name="guest" autostart="0"/>`)
	var b bytes.Buffer
	PrintResources(&b, s.Resources)
	PrintTree(&b, s.Tree)
	PrintDomains(&b, s.Domains)
	PrintEvents(&b, s.Events)
	golden(t, "tree", said(s)+b.String())
}

func TestInheritance_OnlyThroughParentsThatHaveIt(t *testing.T) {
	t.Parallel()
	s := load(t, `<service name="w" nfslock="7"><fs name="f" device="d" mountpoint="/m"><nfsexport name="x"><nfsclient name="c" target="t"/></nfsexport></fs>
	<nfsexport name="y"/></service>`)
	fs := s.Tree[0].Children[0]
	client := fs.Children[0].Children[0]
	for _, tc := range []struct {
		name, attr string
		node       *Node
		want       string
		ok         bool
	}{
		{"from the parent of the parent", "path", client, "/m", true},
		{"from an ancestor of a type", "svcname", client, "w", true},
		{"parent's attribute of the same name", "nfslock", fs, "7", true},
		{"absent in the parent", "fsid", client, "", false},
		{"parent does not have it", "path", s.Tree[0].Children[1], "", false},
	} {
		if v, ok := tc.node.Value(tc.attr); v != tc.want || ok != tc.ok {
			t.Errorf("%s: got %q %v, want %q %v", tc.name, v, ok, tc.want, tc.ok)
		}
	}
}

func TestStatus_SubtreesAndCounters(t *testing.T) {
	t.Parallel()
	base := time.Unix(1000, 0)
	down := map[string]int{"status script:s": 1}
	run := func(attrs string, checks int) (string, *Set) {
		s := load(t, `<service name="w"><script name="s" file="/s" `+attrs+`/></service>`)
		var out strings.Builder
		script(s, Start, s.Tree[0].Resource, base, nil)
		for i := range checks {
			out.WriteString(script(s, Status, s.Tree[0].Resource, base.Add(time.Duration(i+1)*30*time.Second), down))
		}
		return out.String(), s
	}
	bad := "status script:s -> 1"
	for _, tc := range []struct {
		name, attrs string
		checks      int
		want        []string
	}{
		{"plain", "", 1, []string{bad, "= 1"}},
		{"independent", `__independent_subtree="1"`, 2, []string{bad, "= 2", bad, "= 2"}},
		{"independent with a limit of one", `__independent_subtree="1" __max_restarts="1" __restart_expire_time="1h"`, 2, []string{bad, "= 2", bad, "= 1"}},
		{"a limit without a window counts nothing", `__independent_subtree="1" __max_restarts="1"`, 2, []string{bad, "= 2", bad, "= 2"}},
		{"the window is over", `__independent_subtree="1" __max_restarts="1" __restart_expire_time="30"`, 2, []string{bad, "= 2", bad, "= 2"}},
		{"non-critical", `__independent_subtree="2"`, 1, []string{bad, "= 6"}},
		{"non-critical with a limit of one", `__independent_subtree="2" __max_restarts="1" __restart_expire_time="1h"`, 2, []string{bad, "= 2", bad, "= 6"}},
		{"tolerated failures", `__max_failures="2" __failure_expire_time="1h"`, 3, []string{bad, "= 0", bad, "= 0", bad, "= 1"}},
		{"tolerated failures expire", `__max_failures="1" __failure_expire_time="30"`, 3, []string{bad, "= 0", bad, "= 0", bad, "= 0"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got, _ := run(tc.attrs, tc.checks)
			same(t, "checks", got, lines(tc.want...))
		})
	}
}

func TestStatus_IntervalsAndLastResult(t *testing.T) {
	t.Parallel()
	at := func(sec int) time.Time { return time.Unix(int64(1000+sec), 0) }
	s := load(t, `<service name="w"><fs name="f" device="d" mountpoint="m"/></service>`)
	rg := s.Tree[0].Resource
	script(s, Start, rg, at(0), nil)
	for _, tc := range []struct {
		sec  int
		exit int
		want string
	}{
		{29, 0, "= 0\n"},
		{30, 0, "status fs:f depth 10\n= 0\n"},
		{59, 0, "= 0\n"},
		{60, 0, "status fs:f depth 20\n= 0\n"},
		{61, 7, "status fs:f depth 10 -> 7\n= 1\n"}, // depth 0 and 10 are due as well: the deepest is taken
		{62, 7, "status fs:f -> 7\n= 1\n"},
		{63, 0, "= 1\n"}, // nothing is due: the last result
	} {
		same(t, fmt.Sprint(tc.sec), script(s, Status, rg, at(tc.sec), map[string]int{"status fs:f": tc.exit}), tc.want)
	}
	if d, ok := s.Tree[0].Due(at(63)); !ok || d != 28*time.Second {
		t.Errorf("next check in %v %v, want 28s", d, ok)
	}
}

func TestNonCritical_StopsAndConvalesces(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 0)
	s := load(t, `<service name="w"><script name="s" file="/s" __independent_subtree="2"><apache name="a"/></script><script name="t" file="/t"/></service>`)
	rg := s.Tree[0].Resource
	script(s, Start, rg, now, nil)
	now = now.Add(time.Hour)
	same(t, "status", script(s, Status, rg, now, map[string]int{"status script:s": 1}),
		lines("status script:s -> 1", "status script:t", "= 6"))
	same(t, "condstop", script(s, CondStop, rg, now, map[string]int{"stop script:s": 1}), lines(
		"Node script:s - CONDSTOP", "stop apache:a", "stop script:s -> 1", "Failed to stop subtree script:s during non-critical recovery operation", "= 4"))
	same(t, "condstart", script(s, CondStart, rg, now, nil), "= 0\n")
	same(t, "a disabled subtree is not checked", script(s, Status, rg, now.Add(time.Minute), nil), lines("status script:t", "= 0"))
	same(t, "start leaves it alone", script(s, Start, rg, now, nil), lines("start service:w", "start script:t", "= 0"))
	same(t, "convalesce", script(s, Convalesce, rg, now, nil), lines("Node script:s - Convalesce", "start script:s", "start apache:a", "= 0"))
}

func TestRecover(t *testing.T) {
	t.Parallel()
	s := load(t, `<service name="w"><nfsexport name="x" path="/x"/></service>`)
	rg := s.Tree[0].Resource
	same(t, "status", script(s, Status, rg, time.Time{}, map[string]int{"status nfsexport:x": 1}), lines("status nfsexport:x -> 1", "recover nfsexport:x", "= 0"))
}

func TestMigrate_TopLevelOnly(t *testing.T) {
	t.Parallel()
	s := load(t, `<vm name="g"/><service name="w"><vm name="h"/></service>`)
	same(t, "vm", script(s, Migrate, s.Find("vm", "g"), time.Time{}, nil), lines("migrate vm:g", "= 0"))
	same(t, "inner vm", script(s, Migrate, s.Find("vm", "h"), time.Time{}, nil), "= 0\n")
}

// Stepping an operation gives the same calls as running it, and closing one
// half way leaves no goroutine behind.
func TestOperation_Steps(t *testing.T) {
	t.Parallel()
	s := load(t, web)
	o := s.Begin(Start, s.Tree[0].Resource, Shell{})
	var got []string
	for step, ok := o.Next(); ok; step, ok = o.Next() {
		got = append(got, step.Action+" "+step.Node.ID())
		step.Exit = 0
		if step.Node.ID() == "ip:10.0.0.1" {
			step.Exit = 1
		}
	}
	o.Close()
	if o.Result() != Failure {
		t.Errorf("result %d", o.Result())
	}
	same(t, "calls", lines(got...), lines("start service:web", "start lvm:l", "start fs:f", "start ip:10.0.0.1"))
	o = s.Begin(Stop, s.Tree[0].Resource, Shell{})
	o.Next()
	o.Close()
	if _, ok := o.Next(); ok {
		t.Error("a step after Close")
	}
}

func TestDelta_Marks(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, old, now, want string }{
		{"no change", web, web, ""},
		{"a reconfig attribute", `<service name="a" autostart="0"><script name="s" file="/s"/></service>`, `<service name="a"><script name="s" file="/s"/></service>`,
			lines("new service:a NEEDSTART RECONFIG")},
		{"an attribute that needs a restart", `<service name="a"><script name="s" file="/s"/></service>`, `<service name="a"><script name="s" file="/t"/></service>`,
			lines("old script:s NEEDSTOP", "new script:s NEEDSTART")},
		{"removed and added", `<service name="a"><script name="s" file="/s"/></service>`, `<service name="b"><script name="s" file="/s"/></service>`,
			lines("old service:a NEEDSTOP", "new service:b NEEDSTART")},
		{"moved to another parent", `<service name="a"><fs name="f" device="d" mountpoint="m"/><script name="s" file="/s"/></service>`,
			`<service name="a"><fs name="f" device="d" mountpoint="m"><script name="s" file="/s"/></fs></service>`,
			lines("old script:s NEEDSTOP", "new script:s NEEDSTART")},
		{"order", `<service name="a"><apache name="x"/><apache name="y"/></service>`, `<service name="a"><apache name="y"/><apache name="x"/></service>`, ""},
		{"action overrides and special attributes", `<service name="a"><apache name="x"/></service>`,
			`<service name="a"><apache name="x" __independent_subtree="1"><action name="start" timeout="9"/></apache></service>`, ""},
		{"an inherited value becomes a plain one", `<service name="a"><script name="s" file="/s"/></service>`, `<service name="a"><script name="s" file="/s" service_name="a"/></service>`,
			lines("old script:s NEEDSTOP", "new script:s NEEDSTART")},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			old, now := load(t, tc.old), load(t, tc.now)
			Delta(old, now)
			same(t, "marks", marks("old", old)+marks("new", now), tc.want)
		})
	}
}

func marks(which string, s *Set) string {
	var b strings.Builder
	for _, n := range s.Tree {
		n.All(func(n *Node) {
			flags := flagList(n.NeedStop, "NEEDSTOP", n.NeedStart, "NEEDSTART", n.Reconfig, "RECONFIG")
			if flags != "" {
				b.WriteString(which + " " + n.ID() + strings.TrimSuffix(strings.TrimPrefix(flags, " ["), " ]") + "\n")
			}
		})
	}
	return b.String()
}

func TestDelta_KeepsConditions(t *testing.T) {
	t.Parallel()
	old, now := load(t, web), load(t, web)
	script(old, Start, old.Tree[0].Resource, time.Unix(1, 0), nil)
	old.Tree[0].Children[0].State = Disabled
	Delta(old, now)
	if now.Tree[0].State != Started || now.Tree[0].Children[0].State != Disabled {
		t.Errorf("conditions lost: %v %v", now.Tree[0].State, now.Tree[0].Children[0].State)
	}
	if n := now.Find("ip", "10.0.0.1").Incarnations; n != 1 {
		t.Errorf("incarnations %d", n)
	}
}

func TestKeepOnAddAndDelete(t *testing.T) {
	t.Parallel()
	s := load(t, `<vm name="g"/><vm name="h"><script name="s" file="/s"/></vm><service name="a"/>`)
	var got []string
	for _, n := range s.Tree {
		got = append(got, fmt.Sprint(n.KeepOnAdd(), n.KeepOnDelete()))
	}
	same(t, "keep", strings.Join(got, ","), "true true,false false,false false")
}

// TestNode_AdoptAndRecheck: what a check finds running is counted, and a check
// that is not due yet can be asked for.
func TestNode_AdoptAndRecheck(t *testing.T) {
	t.Parallel()
	set := load(t, `<service name="a"><ip address="10.0.0.1"/></service>`)
	now := time.Unix(1000, 0)
	check := func() (calls []int) {
		o := BeginNode(Status, set.Tree[0], Shell{Now: func() time.Time { return now }})
		defer o.Close()
		for step, ok := o.Next(); ok; step, ok = o.Next() {
			calls = append(calls, step.Depth)
			step.Exit = 0
		}
		return calls
	}
	if got := check(); len(got) != 1 || got[0] != 10 {
		t.Errorf("the first check ran at depths %v, want the deepest", got)
	}
	set.Tree[0].Adopt()
	if n := set.Tree[0].Children[0].Resource.Incarnations; n != 1 {
		t.Errorf("%d instances are counted, want 1", n)
	}
	now = now.Add(time.Second)
	check() // the shallow one was due as well
	if got := check(); len(got) != 0 {
		t.Errorf("checks at %v, none is due", got)
	}
	set.Tree[0].All((*Node).Recheck)
	if got := check(); len(got) != 1 || got[0] != 0 {
		t.Errorf("after Recheck checks ran at %v, want the shallow one", got)
	}
}
