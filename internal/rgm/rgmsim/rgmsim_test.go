package rgmsim

import (
	"flag"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/haobox/haobox/internal/cluster"
	"github.com/haobox/haobox/internal/clusterconf"
	"github.com/haobox/haobox/internal/restree"
	"github.com/haobox/haobox/internal/rgm"
)

var (
	oneSeed   = flag.Int64("rgm.seed", -1, "run one seed and print its timeline")
	fenceSeed = flag.Int64("rgm.fenceseed", -1, "run one seed of TestFencing and print its timeline")
	diskSeed  = flag.Int64("rgm.diskseed", -1, "run one seed of TestDisk and print its timeline")
	allSeeds  = flag.Uint64("rgm.seeds", 0, "run so many seeds")
	from      = flag.Uint64("rgm.from", 0, "first seed")
)

// confs are the clusters that seeds run on in turn.
func confs() []string {
	return []string{
		// Three nodes, all kinds of domains and policies.
		`<cluster name="three" config_version="1"><clusternodes>
<clusternode name="a" nodeid="1"/><clusternode name="b" nodeid="2"/><clusternode name="c" nodeid="3"/></clusternodes>
<totem token="3000"/><rm>
<failoverdomains><failoverdomain name="ab" restricted="1" ordered="1"><failoverdomainnode name="a" priority="1"/><failoverdomainnode name="b" priority="2"/></failoverdomain>
<failoverdomain name="c" ordered="1" nofailback="1"><failoverdomainnode name="c" priority="1"/><failoverdomainnode name="a" priority="2"/></failoverdomain></failoverdomains>
<service name="web" domain="ab" recovery="relocate"><ip address="10.0.0.1"/><script name="s1" file="/s1"/></service>
<service name="db" domain="c" max_restarts="2" restart_expire_time="60"><fs name="f" device="/dev/d" mountpoint="/m"><script name="s2" file="/s2" VARIABLE="1"/></fs></service>
<service name="app" depend="service:db"><script name="s3" file="/s3"/></service></rm></cluster>`,
		// Two nodes, where each side has quorum in its own eyes.
		`<cluster name="two" config_version="1"><cman two_node="1" expected_votes="1"/><clusternodes>
<clusternode name="a" nodeid="1"/><clusternode name="b" nodeid="2"/></clusternodes><totem token="3000"/><rm>
<failoverdomains><failoverdomain name="d" ordered="1"><failoverdomainnode name="a" priority="1"/><failoverdomainnode name="b" priority="2"/></failoverdomain></failoverdomains>
<service name="web" domain="d"><ip address="10.0.0.1"/><script name="s1" file="/s1"/></service>
<service name="db" recovery="restart"><script name="s2" file="/s2" VARIABLE="1"/></service></rm></cluster>`,
		// Exclusive services, guests, optional parts.
		`<cluster name="four" config_version="1"><clusternodes>
<clusternode name="a" nodeid="1"/><clusternode name="b" nodeid="2"/><clusternode name="c" nodeid="3"/><clusternode name="d" nodeid="4"/></clusternodes>
<totem token="3000"/><rm CENTRAL>
<failoverdomains><failoverdomain name="v" ordered="1"><failoverdomainnode name="b" priority="1"/></failoverdomain></failoverdomains>
<service name="only" exclusive="1"><script name="s1" file="/s1"/></service>
<service name="parts" recovery="restart"><script name="s2" file="/s2"/><script name="s3" file="/s3" __independent_subtree="2" VARIABLE="1"/></service>
<vm name="guest" domain="v" migrate="live"/></rm></cluster>`,
	}
}

type scene struct {
	conf    *clusterconf.Config
	updates []*clusterconf.Config
}

func scenes(t testing.TB) []scene {
	var out []scene
	read := func(text string) *clusterconf.Config { return decode(t, text) }
	all := confs()
	all = append(all, all[2])
	for i, text := range all {
		text = strings.Replace(text, " CENTRAL", map[bool]string{true: ` central_processing="1"`}[i == 3], 1)
		first := strings.Replace(text, ` VARIABLE="1"`, "", 1)
		s := scene{conf: read(first)}
		// The second version changes a script in a service, the third the
		// service itself.
		v2 := strings.Replace(strings.Replace(text, `config_version="1"`, `config_version="2"`, 1), ` VARIABLE="1"`, ` service_name="x"`, 1)
		v3 := strings.Replace(strings.Replace(v2, `config_version="2"`, `config_version="3"`, 1), `<service name="web"`, `<service name="web" nfslock="1"`, 1)
		s.updates = append(s.updates, read(v2), read(v3))
		out = append(out, s)
	}
	return out
}

// together says in which seeds several nodes pause at the same time. It leaves
// those alone that found something before there was that.
func together(seed uint64) bool { return seed%5 >= 3 }

func runSeed(all []scene, rules restree.Rules, seed uint64, trace bool) *Result {
	s := all[seed%uint64(len(all))]
	return Run(Config{Conf: s.conf, Updates: s.updates, Rules: rules, Seed: seed, Faults: 50 * time.Second, Every: 4 * time.Second, Trace: trace, Together: together(seed)})
}

// TestSeeds runs random faults against whole clusters. A failure names its
// seed; -rgm.seed shows its timeline.
func TestSeeds(t *testing.T) {
	t.Parallel()
	all, rules := scenes(t), restree.Builtin()
	if *oneSeed >= 0 {
		r := runSeed(all, rules, uint64(*oneSeed), true)
		for _, l := range r.Lines {
			fmt.Println(l)
		}
		for _, v := range r.wrong() {
			t.Error(v)
		}
		return
	}
	seeds := uint64(20000)
	if raceDetector {
		seeds = 400
	}
	if testing.Short() {
		seeds = 200
	}
	if *allSeeds > 0 {
		seeds = *allSeeds
	}
	// Those that found something, once each: the last one with several pauses at a time.
	for i, seed := range []uint64{54486, 64106, 112927, 120090, 123332, 143952, 524998} {
		if together(seed) != (i >= 6) {
			t.Errorf("seed %d is another story than the one that found something", seed)
		}
		if bad := runSeed(all, rules, seed, false).wrong(); len(bad) > 0 {
			t.Errorf("seed %d: %s", seed, strings.Join(bad, "\n"))
		}
	}
	var next atomic.Uint64
	next.Store(*from)
	var bad atomic.Int32
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for {
				seed := next.Add(1) - 1
				if seed >= *from+seeds || bad.Load() >= 5 {
					return
				}
				if wrong := runSeed(all, rules, seed, false).wrong(); len(wrong) > 0 {
					bad.Add(1)
					t.Errorf("seed %d (go test ./internal/rgm/rgmsim -run TestSeeds -rgm.seed %d):\n%s", seed, seed, strings.Join(wrong, "\n"))
				}
			}
		})
	}
	wg.Wait()
}

// fenced adds a way of fencing to a configuration: z/VM systems as one cluster,
// one each, and others.
func fenced(text string, kind uint64) string {
	for i, name := range []string{"a", "b", "c", "d"} {
		device := `<device name="zvm" port="GUEST` + name + `"/>`
		switch {
		case kind%3 == 1 && i%2 == 1:
			device = `<device name="zvm2" port="GUEST` + name + `" action="off"/>`
		case kind%3 == 2 && i == 0:
			device = `<device name="other" port="1"/>`
		}
		node := `<clusternode name="` + name + `" nodeid="` + string(rune('1'+i)) + `"`
		text = strings.Replace(text, node+"/>", node+`><fence><method name="1">`+device+`</method></fence></clusternode>`, 1)
	}
	return strings.Replace(text, "<rm", `<fencedevices><fencedevice name="zvm" agent="fence_zvmip" ipaddr="ZVM1,ZVM2" login="U" passwd="P" agent_limit="90"/>
<fencedevice name="zvm2" agent="fence_zvm" ipaddr="ZVM3"/><fencedevice name="other" agent="fence_ipmilan" agent_limit="60"/></fencedevices>
<fence_daemon post_join_delay="3"/><rm`, 1)
}

// TestSeeds_Together: in some seeds several nodes pause at the same moment, and
// the network splits while they do.
func TestSeeds_Together(t *testing.T) {
	t.Parallel()
	all, rules := scenes(t), restree.Builtin()
	paused, split, seeds := 0, 0, uint64(200)
	if testing.Short() {
		seeds = 80
	}
	for seed := range seeds {
		if !together(seed) {
			continue
		}
		lines := runSeed(all, rules, seed, true).Lines
		for i, l := range lines {
			if i == 0 || !strings.HasSuffix(l.Text, "at the same time as others") || lines[i-1].At != l.At || lines[i-1].Node == l.Node {
				continue
			}
			paused++
			for _, later := range lines[i:] {
				if strings.HasSuffix(later.Text, "goes on") {
					break
				}
				if strings.HasPrefix(later.Text, "the network splits") {
					split++
				}
			}
		}
	}
	if paused == 0 || split == 0 {
		t.Errorf("%d times nodes paused at the same moment, %d times the network was split meanwhile", paused, split)
	}
}

// wrong is all that must not be.
func (r *Result) wrong() []string {
	if r.Failure != "" {
		return append([]string{"the run failed " + r.Failure}, r.Violations...)
	}
	return r.Violations
}

// fencedSeeds runs the seeds of a test with the code of fenced, one after the
// other, and returns their sum; or it tells the one of a flag.
func fencedSeeds(t *testing.T, one int64, replay string, seeds, few uint64, run func(seed uint64, trace bool) *Result) *Report {
	sum := &Report{}
	if one >= 0 {
		r := run(uint64(one), true)
		for _, l := range r.Lines {
			fmt.Println(l)
		}
		for _, v := range r.wrong() {
			t.Error(v)
		}
		return sum
	}
	if testing.Short() || raceDetector {
		seeds = few
	}
	if *allSeeds > 0 {
		seeds = *allSeeds
	}
	for seed, bad := *from, 0; seed < *from+seeds && bad < 5; seed++ {
		r := run(seed, false)
		if sum.Add(r); len(r.wrong()) > 0 {
			bad++
			t.Errorf("seed %d (go test ./internal/rgm/rgmsim -run %s -%s %d):\n%s", seed, t.Name(), replay, seed, strings.Join(r.wrong(), "\n"))
		}
	}
	t.Logf("%d faults", sum.Faults)
	return sum
}

func decode(t testing.TB, text string) *clusterconf.Config {
	doc, err := clusterconf.Parse("cluster.conf", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return clusterconf.Decode(doc)
}

// TestFencing runs seeds with the code of fenced, its methods and the z/VM
// agents below rgmanager.
func TestFencing(t *testing.T) {
	t.Parallel()
	rules := restree.Builtin()
	run := func(seed uint64, trace bool) *Result {
		conf := decode(t, fenced(strings.Replace(confs()[seed%3], " CENTRAL", "", 1), seed/3))
		return Run(Config{Conf: conf, Rules: rules, Seed: seed, Fencing: true, Calm: seed%2 == 0, Faults: 3 * time.Minute, Every: 8 * time.Second, Trace: trace, Together: together(seed)})
	}
	// The domain went on without each of two nodes: a person has to come.
	if wrong := run(1960, false).wrong(); len(wrong) > 0 {
		t.Errorf("seed 1960: %s", strings.Join(wrong, "\n"))
	}
	fencedSeeds(t, *fenceSeed, "rgm.fenceseed", 400, 24, run)
}

// withDisk adds a quorum disk to a configuration, of a kind that goes with it.
func withDisk(text string, kind uint64) string {
	text = strings.Replace(text, `<totem token="3000"/>`, `<totem token="12000"/>`, 1)
	if old := `<cman two_node="1" expected_votes="1"/>`; strings.Contains(text, old) {
		// The disk's one vote decides: that of the master, or of heuristics.
		disk := `<quorumd label="q"/><fence_daemon fence_race="qdisk"/>`
		if kind%2 == 1 {
			disk = `<quorumd device="/dev/q" votes="1" tko="4"><heuristic program="ping -c1 -w1 10.0.0.254" interval="2" tko="2"/></quorumd>`
		}
		return strings.Replace(text, old, `<cman expected_votes="3" quorum_dev_poll="12000"/>`+disk, 1)
	}
	nodes := strings.Count(text, "<clusternode ")
	disk := fmt.Sprintf(`<cman expected_votes="%d" quorum_dev_poll="12000"/><quorumd label="q" votes="%d" io_timeout="%d" stop_cman="%d" max_error_cycles="%d"/>`,
		2*nodes-1, nodes-1, kind%2, kind/2%2, 3*(kind/4%2))
	return strings.Replace(text, `<clusternodes>`, disk+`<clusternodes>`, 1)
}

// TestDisk runs seeds with a quorum disk beside the code of fenced: the core of
// qdiskd on every node, and faults of the disk, its ways and clocks.
func TestDisk(t *testing.T) {
	t.Parallel()
	rules := restree.Builtin()
	sum := fencedSeeds(t, *diskSeed, "rgm.diskseed", 60, 6, func(seed uint64, trace bool) *Result {
		text := fenced(strings.Replace(confs()[seed%3], " CENTRAL", "", 1), seed/3)
		if strings.Contains(text, "two_node") {
			text = strings.Replace(text, `<fence_daemon post_join_delay="3"/>`, "", 1)
		}
		conf := decode(t, withDisk(text, seed/3))
		if _, why := diskSetups(conf); why != "" {
			t.Fatal(why)
		}
		return Run(Config{Conf: conf, Rules: rules, Seed: seed, Fencing: true, Calm: seed%2 == 0, Faults: 4 * time.Minute, Every: 8 * time.Second, Trace: trace, Together: together(seed)})
	})
	if d := sum.Disk; *diskSeed < 0 && (d == nil || d.Faults == 0 || d.Masters == 0 || d.Evictions == 0 || d.Kills == 0) {
		t.Errorf("the disk was not played: %+v", d)
	}
}

// TestDisk_Lulls: times in which all is well are passed over, and yet are part
// of the story; a seed is the same story traced or not.
func TestDisk_Lulls(t *testing.T) {
	t.Parallel()
	run := func(trace bool) *Result {
		conf := decode(t, withDisk(fenced(confs()[0], 0), 0))
		return Run(Config{Conf: conf, Rules: restree.Builtin(), Seed: 1, Fencing: true, Calm: true, Faults: 6 * time.Hour, Every: time.Hour, Trace: trace})
	}
	r, again := run(true), run(false)
	if len(r.Violations) > 0 || r.Length < 6*time.Hour {
		t.Errorf("%v: %v", r, r.Violations)
	}
	var passed time.Duration
	for _, l := range r.Lines {
		if text, is := strings.CutPrefix(l.Text, "nothing happens for "); is {
			d, err := time.ParseDuration(text)
			if err != nil {
				t.Fatal(err)
			}
			passed += d
		}
	}
	if passed < 3*time.Hour {
		t.Errorf("of %v %v were passed over", r.Length, passed)
	}
	for _, s := range r.Services {
		if s.Total < 5*time.Hour || s.Up < 4*time.Hour {
			t.Errorf("%s ran %v of %v: what was passed over counts, too", s.Name, s.Up, s.Total)
		}
	}
	if diff := cmp.Diff(r.Services, again.Services); diff != "" {
		t.Errorf("the same seed untraced (-traced +untraced):\n%s", diff)
	}
}

// TestRun_Panic: what must not be in the simulation itself ends the run with its
// seed and one line, and the timeline says where.
func TestRun_Panic(t *testing.T) {
	t.Parallel()
	r := Run(Config{Seed: 7, Trace: true})
	if want := "0s into the story: runtime error: invalid memory address or nil pointer dereference"; r.Failure != want {
		t.Errorf("failed with %q, want %q", r.Failure, want)
	}
	if !slices.ContainsFunc(r.Lines, func(l Line) bool { return strings.Contains(l.Text, "rgmsim.(*world).play") }) {
		t.Errorf("the timeline does not say where: %v", r.Lines)
	}
	var report Report
	report.Add(r)
	var text strings.Builder
	if err := report.Text(&text); err != nil {
		t.Fatal(err)
	}
	if got := text.String(); !strings.Contains(got, "failed with seed 7, 0s into the story: runtime error") || strings.Contains(got, "Nothing happened") || report.Seeds != 0 {
		t.Errorf("the report of no run but one that failed:\n%s", got)
	}
}

// TestDisk_LeftOut: it is said why a quorum disk is not played.
func TestDisk_LeftOut(t *testing.T) {
	t.Parallel()
	two := `<cluster name="c" config_version="1">%s<clusternodes><clusternode name="a" nodeid="1"/><clusternode name="b" nodeid="2"/></clusternodes>
<rm><service name="s"><script name="s" file="/s"/></service></rm></cluster>`
	for _, tc := range []struct{ name, conf, want string }{
		{"two_node", `<cman two_node="1" expected_votes="1"/><quorumd label="q"/>`, "two_node and a quorum disk exclude each other"},
		{"no votes", `<quorumd label="q" votes="0"/>`, "it has no votes"},
		{"no device", `<quorumd/>`, "quorumd has neither label nor device"},
		{"a token that is too short", `<totem token="5000"/><quorumd label="q"/>`, "a token of 5000 ms is too short"},
		{"a poll that is too short", `<cman quorum_dev_poll="2000"/><quorumd label="q"/>`, "set quorum_dev_poll to more"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			conf := decode(t, fmt.Sprintf(two, tc.conf))
			text := strings.Join(Assumptions(conf), "\n")
			if !strings.Contains(text, "the quorum disk and its votes are left out: ") || !strings.Contains(text, tc.want) {
				t.Errorf("%q\nis said; %q is the reason", text, tc.want)
			}
			if r := Run(Config{Conf: conf, Rules: restree.Builtin(), Faults: time.Minute}); r.Disk != nil {
				t.Errorf("it is played: %+v", r.Disk)
			}
		})
	}
}

// TestRunsAgain: a service for which no node is left, by the rules of its own
// configuration, breaks no rule of ours when it does not run.
func TestRunsAgain(t *testing.T) {
	t.Parallel()
	script := func(name, attrs string) string {
		return fmt.Sprintf(`<service name="%[1]s" %[2]s><script name="%[1]s" file="/%[1]s"/></service>`, name, attrs)
	}
	alone := func(n int) string { return script(fmt.Sprint("x", n), fmt.Sprintf(`exclusive="%d"`, n)) }
	for _, tc := range []struct{ name, attrs, rm string }{
		{"more exclusive services than nodes", "", alone(1) + alone(2) + alone(3)},
		{"the same, centrally", `central_processing="1"`, alone(1) + alone(2) + alone(3)},
		{"a domain without nodes", "", `<failoverdomains><failoverdomain name="d" restricted="1"/></failoverdomains>` + script("s", `domain="d"`)},
		{"a dependency without its type", "", script("s", `depend="off"`) + script("off", `autostart="0"`)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			conf := decode(t, `<cluster name="c" config_version="1"><cman two_node="1" expected_votes="1"/><clusternodes><clusternode name="a" nodeid="1"/>
<clusternode name="b" nodeid="2"/></clusternodes><rm `+tc.attrs+`>`+tc.rm+`</rm></cluster>`)
			for seed := range uint64(3) {
				if r := Run(Config{Conf: conf, Rules: restree.Builtin(), Seed: seed, Faults: 10 * time.Minute, Every: time.Minute, Calm: true}); len(r.Violations) > 0 || r.Failure != "" {
					t.Errorf("seed %d: %v %s", seed, r.Violations, r.Failure)
				}
			}
		})
	}
	// Where there is room, it is found.
	w := &world{cfg: Config{Conf: &clusterconf.Config{}}, hosts: []*host{{id: 1}, {id: 2}},
		services: []*service{{name: "plain"}, {name: "strong", exclusive: 1}, {name: "weak", exclusive: 2},
			{name: "bound", domain: &restree.Domain{Restricted: true, Nodes: []restree.DomainNode{{ID: 2}}}}}}
	for _, tc := range []struct {
		name    string
		central bool
		runs    [2]string // on node 1 and 2
		want    bool
	}{
		{"plain", false, [2]string{"strong", ""}, true}, {"plain", false, [2]string{"strong", "weak"}, false}, {"plain", true, [2]string{"strong", "weak"}, false},
		{"plain", false, [2]string{"bound", "strong"}, true}, {"strong", false, [2]string{"plain", "weak"}, false}, {"strong", true, [2]string{"plain", "weak"}, true},
		{"weak", true, [2]string{"plain", "strong"}, false}, {"weak", false, [2]string{"plain", ""}, true},
		{"bound", false, [2]string{"", "plain"}, true}, {"bound", false, [2]string{"", "strong"}, false},
	} {
		w.cfg.Conf.RM.CentralProcessing = tc.central
		st := &rgm.Status{}
		for i, name := range tc.runs {
			st.Services = append(st.Services, rgm.ServiceStatus{Name: name, State: rgm.Started, Owner: cluster.NodeID(i + 1)})
		}
		if got := w.room(st, w.service(tc.name)); got != tc.want {
			t.Errorf("room for %s, central %v, beside %q: %v", tc.name, tc.central, tc.runs, got)
		}
	}
}
