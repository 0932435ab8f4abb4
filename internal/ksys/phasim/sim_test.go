package phasim

import (
	"flag"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/haobox/haobox/internal/ksys"
)

var (
	seeds     = flag.Int("seeds", 150, "number of random histories per configuration")
	firstSeed = flag.Uint64("seed", 1, "first seed of the random histories")
)

func world(t testing.TB, seed uint64, nodes ...string) *World {
	t.Helper()
	w, err := New(Options{Nodes: nodes, Seed: seed})
	if err != nil {
		t.Fatal(err)
	}
	w.Define()
	return w
}

// scenarioSeeds is how often each scenario runs, with another seed each time.
const scenarioSeeds = 50

func TestScenarios(t *testing.T) {
	t.Parallel()
	for _, sc := range Scenarios() {
		t.Run(sc.Name, func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(scenarioSeeds) {
				w := world(t, seed, n1, n2)
				if err := sc.Prepare(w); err != nil {
					t.Fatal(err)
				}
				s := NewSim(w, DefaultSettings(), ksys.DefaultConfig())
				s.Online()
				s.RunUntil(int64(sc.Until)*1000, nil)
				if err := sc.Check(s.Calls); err != nil {
					t.Fatalf("seed %d: %v\n%s", seed, err, strings.Join(s.Trace, "\n"))
				}
				node, online, _ := s.Manager.Group()
				if !online {
					node = ""
				}
				if node != sc.Owner {
					t.Fatalf("seed %d: the group is on %q, want %q", seed, node, sc.Owner)
				}
				if r := s.Status(); r.Result != sc.Result {
					t.Fatalf("seed %d: status %v, want %v\n%s", seed, r.Result, sc.Result, r.Table())
				}
			}
		})
	}
}

// The same seed gives the same history, to the last line.
func TestSim_Repeats(t *testing.T) {
	t.Parallel()
	run := func() []string {
		s := newHistory(t, 7, 3, ksys.PolicyStrict, true).run()
		return s.Trace
	}
	if d := cmp.Diff(run(), run()); d != "" {
		t.Errorf("two runs differ:\n%s", d)
	}
}

// history is one random sequence of faults over a cluster, with the
// invariants of the issue checked at every event.
type history struct {
	t       testing.TB
	seed    uint64
	sim     *Sim
	rng     *World // its generator decides the faults
	nodes   []string
	strict  bool
	success map[int]string // epoch -> node whose start script succeeded
	began   map[int]bool   // epochs in which a start script succeeded or failed
	seen    int            // lines of the trace that were checked
	lastBad int64          // when the leader last was not healthy, ms
	leader  string
	errorAt int64
	// ambush: the next start script is hit while it runs.
	ambush bool
}

// operatorDelay is how long a group stays in ERROR until the operator acts,
// and perNode the longest that one node can hold the group without being
// able to carry it: two stabilization intervals, two monitor calls and their
// interval, two stops and a start.
const (
	operatorDelay = 300_000
	perNode       = (2*120 + 2*45 + 60 + 2*90 + 110) * 1000
)

func newHistory(t testing.TB, seed uint64, nodes int, policy ksys.Policy, background bool) *history {
	h := &history{t: t, seed: seed, strict: policy == ksys.PolicyStrict, success: map[int]string{}, began: map[int]bool{}}
	for i := range nodes {
		h.nodes = append(h.nodes, fmt.Sprintf("n%d", i+1))
	}
	w := world(t, seed, h.nodes...)
	h.rng = &World{Rand: seed*7919 + 13}
	c := ksys.DefaultConfig()
	c.Policy = policy
	settings := DefaultSettings()
	settings.Background = background
	h.sim = NewSim(w, settings, c)
	h.sim.Watch = func(*Sim) { h.check() }
	h.sim.Done = func(_ *Sim, c ScriptCall) { h.ended(c) }
	return h
}

func (h *history) fail(format string, args ...any) {
	h.t.Helper()
	trace := h.sim.Trace
	if len(trace) > 120 {
		trace = trace[len(trace)-120:]
	}
	h.t.Fatalf("seed %d, %d nodes, T+%d: %s\n%s", h.seed, len(h.nodes), h.sim.World.Now/1000, fmt.Sprintf(format, args...), strings.Join(trace, "\n"))
}

func (h *history) n(limit int) int { return int(h.rng.random() % uint64(limit)) }

// inject draws one fault.
func (h *history) inject() {
	node := h.nodes[h.n(len(h.nodes))]
	other := h.nodes[h.n(len(h.nodes))]
	lasting := time.Duration(5+h.n(120)) * time.Second
	var what string
	switch h.n(19) {
	case 0, 1:
		what = "vmr crash"
	case 2:
		what = fmt.Sprintf("vmr stuck-stopping %d", 5+h.n(60))
	case 3:
		what = fmt.Sprintf("vmr fail-start %d", 1+h.n(3))
	case 4:
		what = "vmr flap"
	case 5, 6:
		what = "leader move " + other
	case 7:
		what = "leader unknown"
	case 8, 9, 10:
		what = fmt.Sprintf("node reboot %d", 20+h.n(400))
	case 11:
		what = []string{"cmd lssrc timeout", "cmd lssrc slow 4", "cmd startsrc slow 12", "cmd stopsrc rc 3"}[h.n(4)]
	case 12:
		what = "configrm down"
	case 13:
		what = "domain pending"
	case 14:
		what = fmt.Sprintf("clock jump %d", h.n(4000)-2000)
	case 15:
		what = "fs full"
	case 16:
		h.sim.Send(MoveGroup{})
		h.ambush = true
		return
	case 17:
		h.ambush = true
		return
	default:
		h.split(node, 0)
		return
	}
	w := h.sim.World
	i, err := w.ParseInjection(node, strings.Fields(what), 0, lasting)
	if err != nil {
		h.t.Fatal(err)
	}
	h.sim.at(w.Now, func() { w.Inject(i); h.sim.notice() })
}

// split cuts one node off. Its half of the domain has no quorum, and PowerHA
// on it is rebooted by the split policy; the others take the node for lost
// before that.
func (h *history) split(loser string, after int64) {
	w, s := h.sim.World, h.sim
	if !w.Node(loser).Up {
		return
	}
	var rest []string
	for _, n := range h.nodes {
		if n != loser {
			rest = append(rest, n)
		}
	}
	halt := int64(15+h.n(40)) * 1000
	s.at(w.Now+after, func() {
		w.Inject(Injection{At: w.Now, Node: loser, What: "domain pending", For: halt})
		w.Inject(Injection{At: w.Now, Node: "*", What: "split", Value: strings.Join(rest, ",") + "|" + loser})
		boots := w.Node(loser).Boots
		s.at(w.Now+s.Manager.Settings.Detect.Milliseconds(), func() {
			if w.Node(loser).Boots == boots {
				s.Expel(loser)
			}
		})
		s.at(w.Now+halt, func() {
			if n := w.Node(loser); n.Up && n.Boots == boots {
				w.Inject(Injection{At: w.Now, Node: loser, What: "node reboot", Value: "60"})
			}
			w.Inject(Injection{At: w.Now, Node: "*", What: "heal"})
			s.notice()
		})
	})
}

// ended checks what a script's end may mean.
func (h *history) ended(c ScriptCall) {
	if c.Script != "startksys" {
		return
	}
	h.began[c.Epoch] = true
	if c.Code != ksys.ExitOK {
		return
	}
	// Invariant 1: at most one node's start script reports success while one
	// placement of the group is in force.
	if before, ok := h.success[c.Now]; ok && before != c.Node {
		h.fail("start scripts of %s and %s both succeeded in epoch %d", before, c.Node, c.Now)
	}
	h.success[c.Now] = c.Node
}

// check looks at the state after an event.
func (h *history) check() {
	s := h.sim
	w := s.World
	// Invariant 3: the group never comes online without a start script in
	// this placement; under the strict policy, only after its success.
	for ; h.seen < len(s.Trace); h.seen++ {
		if !strings.Contains(s.Trace[h.seen], " group ONLINE on ") {
			continue
		}
		begun := h.began[s.Manager.Epoch] || s.Manager.Settings.Background && h.starting(s.Manager.Epoch)
		if !begun {
			h.fail("online in epoch %d without a start script", s.Manager.Epoch)
		}
		if node, _, _ := s.Manager.Group(); h.strict && h.success[s.Manager.Epoch] != node {
			h.fail("strict policy: online on %s, but the start succeeded on %q", node, h.success[s.Manager.Epoch])
		}
	}
	h.strike()
	// Invariant 2: with a healthy leader the group is online there within a
	// bound.
	leader := h.healthyLeader()
	if leader == "" || leader != h.leader {
		h.leader, h.lastBad = leader, w.Now
	}
	node, online, failed := s.Manager.Group()
	if failed {
		if h.errorAt == 0 {
			h.errorAt = w.Now
		}
		if w.Now-h.errorAt >= operatorDelay {
			h.errorAt = 0
			s.Send(Operator{})
		}
	} else {
		h.errorAt = 0
	}
	if online && node == leader {
		h.lastBad = w.Now
	}
	if bound := int64(operatorDelay + (len(h.nodes)+1)*perNode); leader != "" && w.Now-h.lastBad > bound {
		h.fail("leader %s is healthy for %d s, but the group is on %q (online %v, error %v)", leader, (w.Now-h.lastBad)/1000, node, online, failed)
	}
}

// strike hits a start script that has just begun: its daemon is slow to
// stop, and while it waits the operator moves the group, or the node is cut
// off and the others take over before it is halted.
func (h *history) strike() {
	s, w := h.sim, h.sim.World
	if !h.ambush {
		return
	}
	for _, p := range s.procs {
		if p.over || p.script != "startksys" {
			continue
		}
		h.ambush = false
		n := p.node.Name
		w.Inject(Injection{At: w.Now, Node: n, What: "vmr stuck-stopping", Value: fmt.Sprint(10 + h.n(30))})
		if h.n(2) == 0 {
			s.at(w.Now+int64(10+h.n(20))*1000, func() { s.tell(MoveGroup{}) })
		} else {
			h.split(n, int64(1+h.n(12))*1000)
		}
		return
	}
}

// starting reports whether a start script of the epoch runs or ran.
func (h *history) starting(epoch int) bool {
	for _, p := range h.sim.procs {
		if p.script == "startksys" && p.epoch == epoch {
			return true
		}
	}
	return false
}

// healthyLeader is the leader if nothing at all is wrong with it.
func (h *history) healthyLeader() string {
	w := h.sim.World
	if len(w.Parts) != 1 || w.Parts[0].Leader == "" {
		return ""
	}
	n := w.Node(w.Parts[0].Leader)
	v := n.VMR()
	if !n.Up || n.Manager != "ST_STABLE" || v.StuckUntil > w.Now || v.FailStarts > 0 || v.Flap {
		return ""
	}
	for _, f := range w.Faults {
		if f.Node == n.Name {
			return ""
		}
	}
	return n.Name
}

// run is two hours with about a dozen faults, and then the time in which the
// cluster has to recover.
func (h *history) run() *Sim {
	s := h.sim
	s.Online()
	for range 8 + h.n(10) {
		s.RunUntil(s.World.Now+int64(h.n(900))*1000, nil)
		h.inject()
		if h.n(3) == 0 {
			h.inject() // two at once
		}
	}
	// The watch runs at events; a group in ERROR has none of its own.
	quiet := s.World.Now + int64(2*operatorDelay+(len(h.nodes)+2)*perNode)
	for s.World.Now < quiet {
		s.RunUntil(s.World.Now+30_000, nil)
		h.check()
	}
	if r := s.Status(); r.Result == ksys.HealthFail || r.Result == ksys.HealthUnknown {
		h.fail("after the faults the status is %v:\n%s", r.Result, r.Table())
	}
	return s
}

// TestWhatIf runs random histories of two and three nodes and checks the
// invariants at every event. -seeds and -seed make it longer or repeat one.
func TestWhatIf(t *testing.T) {
	t.Parallel()
	for _, nodes := range []int{2, 3} {
		for _, policy := range []ksys.Policy{ksys.PolicyPaper, ksys.PolicyStrict} {
			for _, background := range []bool{false, true} {
				t.Run(fmt.Sprintf("%d nodes/%s/background=%v", nodes, policy, background), func(t *testing.T) {
					t.Parallel()
					n := *seeds
					if testing.Short() {
						n = min(n, 40)
					}
					for i := range uint64(n) {
						newHistory(t, *firstSeed+i, nodes, policy, background).run()
					}
				})
			}
		}
	}
}
