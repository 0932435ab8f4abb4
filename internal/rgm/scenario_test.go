package rgm_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/haobox/haobox/internal/cluster"
	"github.com/haobox/haobox/internal/cluster/clustersim"
	"github.com/haobox/haobox/internal/clusterconf"
	"github.com/haobox/haobox/internal/goldentest"
	"github.com/haobox/haobox/internal/restree"
	"github.com/haobox/haobox/internal/rgm"
)

// TestScenarios plays the files of testdata/scenarios: what happens to a small
// cluster, one line each, and in the golden file what it did. The lines:
//
//	nodes a b c [two_node]          the cluster; the first line
//	rm ATTRIBUTES                   begins <rm>, up to a line "end"
//	boot a                          a machine with its engine alone
//	start a b | crash a | die a     machines and processes of rgmanager
//	freeze a | thaw a | split a | heal | lose a (its engine) | resume a
//	fence a | left a                what fenced says of a node
//	shutdown a [keep]
//	fail ACTION RESOURCE on NODE [with CODE] | mend
//	break RESOURCE on NODE          its checks fail until it is started again
//	slow DURATION RESOURCE on NODE  how long its agents take there
//	check SERVICE on NODE           a watcher asks for a check
//	move GUEST NODE                 somebody moves or starts it by hand
//	ask NODE WORD [SERVICE] [on NODE] [best] [&]   & waits for nothing
//	update ATTRIBUTES               a new <rm>, up to "end"; then: config NODE...
//	wait DURATION | show | why SERVICE | plan EVENT
func TestScenarios(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/scenarios/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			p := &play{t: t, broken: map[string]bool{}, fails: map[string]int{}, guest: map[string]string{}, slow: map[string]time.Duration{}, version: 1}
			p.run(string(text))
			goldentest.Compare(t, strings.TrimSuffix(file, ".txt")+".golden", p.out.String())
		})
	}
}

// play is a scenario that is played.
type play struct {
	t       *testing.T
	out     strings.Builder
	names   []string
	sim     *clustersim.Sim
	conf    *clusterconf.Config
	head    string
	procs   map[string]*actor
	kept    map[string][]rgm.Kept
	broken  map[string]bool
	fails   map[string]int
	version int
	asked   uint64
	guest   map[string]string // where guests run
	slow    map[string]time.Duration
}

// actor is a process of rgmanager.
type actor struct {
	p     *play
	name  string
	core  *rgm.Core
	e     cluster.Engine
	g     cluster.Group
	early []rgm.Event
	dead  bool
	queue []rgm.Event
	busy  bool
	up    bool // joined once: what it did before is not told
}

func (p *play) id(name string) cluster.NodeID {
	i := slices.Index(p.names, name)
	if i < 0 {
		p.t.Fatalf("no node %q", name)
	}
	return cluster.NodeID(i + 1)
}

func (p *play) run(text string) {
	lines := strings.Split(text, "\n")
	for i := 0; i < len(lines); i++ {
		line := strings.TrimSpace(lines[i])
		if line == "" {
			continue
		}
		if line[0] == '#' {
			fmt.Fprintln(&p.out, line)
			continue
		}
		w := strings.Fields(line)
		if w[0] == "rm" || w[0] == "update" {
			begin := i + 1
			for strings.TrimSpace(lines[i]) != "end" {
				i++
			}
			if w[0] == "update" {
				p.version++
				fmt.Fprintf(&p.out, "> configuration %d\n", p.version)
			}
			p.parse(strings.Join(w[1:], " "), strings.Join(lines[begin:i], "\n"))
			continue
		}
		fmt.Fprintln(&p.out, ">", line)
		p.do(w)
	}
}

func (p *play) parse(attrs, rm string) {
	doc, err := clusterconf.Parse("cluster.conf", []byte(fmt.Sprintf(p.head, p.version)+"<rm "+attrs+">"+rm+"</rm></cluster>"))
	if err != nil {
		p.t.Fatal(err)
	}
	p.conf = clusterconf.Decode(doc)
}

func (p *play) do(w []string) {
	sim := p.sim
	switch w[0] {
	case "nodes":
		two := slices.Contains(w, "two_node")
		cfg := clustersim.Config{Token: 2 * time.Second, TwoNode: two}
		p.head = `<cluster name="c" config_version="%d"><clusternodes>`
		for _, n := range w[1:] {
			if n != "two_node" {
				p.names = append(p.names, n)
				p.head += fmt.Sprintf(`<clusternode name="%s" nodeid="%d"/>`, n, len(p.names))
				cfg.Nodes = append(cfg.Nodes, clustersim.NodeConfig{ID: cluster.NodeID(len(p.names)), Name: n})
			}
		}
		p.head += "</clusternodes>"
		p.sim, p.procs, p.kept = clustersim.New(cfg), map[string]*actor{}, map[string][]rgm.Kept{}
		return
	case "start":
		for _, n := range w[1:] {
			sim.Start(p.id(n))
		}
		sim.Run(time.Second)
		for _, n := range w[1:] {
			p.start(n)
		}
	case "boot":
		sim.Start(p.id(w[1]))
	case "crash":
		p.procs[w[1]].dead = true
		delete(p.procs, w[1])
		delete(p.kept, w[1])
		sim.Crash(p.id(w[1]))
		sim.Run(3 * time.Second)
	case "die":
		a := p.procs[w[1]]
		a.dead = true
		delete(p.procs, w[1])
		sim.Kill(a.e)
	case "lose":
		sim.Lose(p.id(w[1]))
	case "resume":
		p.start(w[1])
	case "freeze":
		sim.Freeze(p.id(w[1]))
		sim.Run(3 * time.Second)
	case "thaw":
		sim.Thaw(p.id(w[1]))
	case "split":
		var part []cluster.NodeID
		for _, n := range w[1:] {
			part = append(part, p.id(n))
		}
		sim.Partition(part)
		sim.Run(3 * time.Second)
	case "heal":
		sim.Heal()
	case "fence", "left":
		for _, n := range p.names {
			if a := p.procs[n]; a != nil && n != w[1] && !sim.Frozen(p.id(n)) {
				st, err := a.e.Status(p.t.Context())
				if err == nil && !slices.Contains(st.Members(), p.id(w[1])) {
					a.step(rgm.NodeSafe{Node: p.id(w[1]), Ring: st.Ring.Seq, Left: w[0] == "left"})
				}
			}
		}
	case "shutdown":
		p.procs[w[1]].step(rgm.Shutdown{Keep: len(w) > 2})
	case "fail":
		code := 1
		if len(w) > 6 {
			code, _ = strconv.Atoi(w[6])
		}
		p.fails[w[1]+" "+w[2]+" "+w[4]] = code
	case "mend":
		clear(p.fails)
	case "break":
		p.broken[w[1]+" "+w[3]] = true
	case "slow":
		d, err := time.ParseDuration(w[1])
		if err != nil {
			p.t.Fatal(err)
		}
		p.slow[w[2]+" "+w[4]] = d
	case "check":
		p.procs[w[3]].step(rgm.Check{Service: w[1]})
	case "move":
		p.guest[w[1]] = w[2]
	case "ask":
		if w[len(w)-1] == "&" {
			p.ask(w[1 : len(w)-1])
			return
		}
		p.ask(w[1:])
	case "config":
		for _, n := range w[1:] {
			p.procs[n].step(rgm.Config{Config: p.conf, Set: p.conf.Set(restree.Builtin())})
		}
	case "wait":
		d, err := time.ParseDuration(w[1])
		if err != nil {
			p.t.Fatal(err)
		}
		sim.Run(d)
		return
	case "show":
		p.show()
		return
	case "why":
		a := p.any()
		for l := range strings.Lines(explained(a.core.Why(w[1]), p.name)) {
			fmt.Fprint(&p.out, "    ", l)
		}
		return
	case "plan":
		a := p.any()
		plan, err := a.core.Plan(strings.Join(w[1:], " "), p.now())
		if err != nil {
			fmt.Fprintln(&p.out, "    ", err)
			return
		}
		fmt.Fprintf(&p.out, "    %s (if %s) %s\n", plan.Event, plan.Assumed, plan.Result)
		for i, b := range plan.Before {
			fmt.Fprintf(&p.out, "    %s: %s on %s -> %s on %s\n", b.Name, b.StateText, p.name(b.Owner), plan.After[i].StateText, p.name(plan.After[i].Owner))
		}
		return
	default:
		p.t.Fatalf("unknown line %q", w)
	}
	sim.Run(3 * time.Second)
}

func (p *play) name(id cluster.NodeID) string {
	if id == 0 {
		return "nobody"
	}
	return p.names[id-1]
}

func (p *play) any() *actor {
	for _, n := range p.names {
		if a := p.procs[n]; a != nil && a.core.Ready() && !p.sim.Frozen(p.id(n)) {
			return a
		}
	}
	p.t.Fatal("no node works")
	return nil
}

func (p *play) show() {
	st := p.any().core.Status()
	for _, s := range st.Services {
		owner := s.OwnerName
		if owner == "" {
			if owner = "(" + s.LastOwnerName + ")"; owner == "()" {
				owner = "-"
			}
		}
		flags := ""
		if f := s.Flags.Letters(); f != "" {
			flags = " [" + f + "]"
		}
		fmt.Fprintf(&p.out, "    %-16s %-6s %s%s\n", s.Name, owner, s.StateText, flags)
	}
	if st.Locked {
		fmt.Fprintln(&p.out, "    locked")
	}
}

func (p *play) ask(w []string) {
	words := map[string]rgm.Kind{"enable": rgm.Enable, "disable": rgm.Disable, "stop": rgm.UserStop, "restart": rgm.Restart, "relocate": rgm.Relocate,
		"migrate": rgm.Migrate, "freeze": rgm.Freeze, "unfreeze": rgm.Unfreeze, "lock": rgm.Lock, "unlock": rgm.Unlock, "query": rgm.QueryLock,
		"convalesce": rgm.Convalesce, "start": rgm.StartRequest, "idle": rgm.AssumeIdleRequest}
	r := rgm.Request{Kind: words[w[1]]}
	if r.Kind == 0 {
		p.t.Fatalf("unknown request %q", w[1])
	}
	for i := 2; i < len(w); i++ {
		switch w[i] {
		case "on":
			i++
			r.Target = p.id(w[i])
		case "best":
			r.Best = true
		default:
			r.Service = w[i]
		}
	}
	p.asked++
	p.procs[w[0]].step(rgm.Client{ID: p.asked, Request: r})
}

func (p *play) now() time.Time { return time.Unix(1_000_000, 0).UTC().Add(p.sim.Now()) }

func (p *play) start(name string) {
	a := &actor{p: p, name: name}
	var err error
	if a.e, err = p.sim.Engine(p.id(name)); err != nil {
		p.t.Fatal(err)
	}
	event := func(ev cluster.Event) {
		if a.core == nil {
			a.early = append(a.early, rgm.Engine{Event: ev})
			return
		}
		a.step(rgm.Engine{Event: ev})
	}
	if a.g, err = a.e.Join(rgm.Group, event); err != nil {
		p.t.Fatal(err)
	}
	a.core = rgm.New(rgm.Options{Self: a.g.Self(), Name: name, Kept: p.kept[name], Pause: time.Second})
	p.procs[name] = a
	a.step(rgm.Config{Config: p.conf, Set: p.conf.Set(restree.Builtin())})
	if _, err := a.e.Watch(event); err != nil {
		p.t.Fatal(err)
	}
	a.tick()
}

// tick ticks as a process does, unless its node is frozen.
func (a *actor) tick() {
	a.p.sim.After(rgm.TickEvery, func() {
		if a.dead {
			return
		}
		if !a.p.sim.Frozen(a.p.id(a.name)) {
			a.step(rgm.Tick{})
		}
		a.tick()
	})
}

func (a *actor) say(format string, args ...any) {
	fmt.Fprintf(&a.p.out, "%s "+format+"\n", append([]any{a.name}, args...)...)
}

func (a *actor) step(ev rgm.Event) {
	a.queue = append(a.queue, ev)
	if a.busy {
		return
	}
	a.busy = true
	for len(a.queue) > 0 && !a.dead {
		ev := a.queue[0]
		a.queue = a.queue[1:]
		for _, x := range a.core.Step(a.p.now(), ev) {
			if a.act(x); a.dead {
				break
			}
		}
		a.up = a.up || a.core.Ready()
	}
	a.busy = false
}

func (a *actor) act(x rgm.Action) {
	p := a.p
	switch x := x.(type) {
	case rgm.Send:
		_ = a.g.Send(x.Payload)
	case rgm.RunAgent:
		id := x.Call.Node.ID()
		exit := p.fails[x.Call.Action+" "+id+" "+a.name]
		switch {
		case x.Call.Action == "start" && exit == 0:
			delete(p.broken, id+" "+a.name)
		case x.Call.Action == "status" && (p.broken[id+" "+a.name] || strings.HasPrefix(id, "vm:") && p.guest[id] != a.name):
			exit = 7
		}
		// What is done before it joins is not told, unless it matters.
		told := a.up || x.Call.Action == "stop" && p.guest[id] == a.name
		if exit == 0 && strings.HasPrefix(id, "vm:") {
			switch x.Call.Action {
			case "start":
				p.guest[id] = a.name
			case "stop":
				if p.guest[id] == a.name {
					p.guest[id] = ""
				}
			case "migrate":
				p.guest[id] = x.Call.Target
			}
		}
		if told && (x.Call.Action != "status" || exit != 0) && !strings.HasPrefix(id, "service:") {
			what := x.Call.Action + " " + id
			if x.Call.Target != "" {
				what += " to " + x.Call.Target
			}
			if exit != 0 {
				what += fmt.Sprintf(" (returns %d)", exit)
			}
			a.say(". %s", what)
		}
		end := func() {
			if !a.dead {
				a.step(rgm.AgentEnded{ID: x.ID, Exit: exit})
			}
		}
		var later func()
		later = func() {
			if p.sim.Frozen(p.id(a.name)) {
				p.sim.After(100*time.Millisecond, later)
				return
			}
			end()
		}
		p.sim.After(max(50*time.Millisecond, p.slow[id+" "+a.name]), later)
	case rgm.Log:
		boot := slices.Contains([]string{"Resource Group Manager Starting", "Loading Service Data", "Initializing Services", "Services Initialized"}, x.Text) ||
			strings.HasPrefix(x.Text, "I am node")
		if x.Level >= rgm.LevelInfo && !boot {
			a.say("| %s", x.Text)
		}
	case rgm.Reply:
		where := ""
		if x.Owner != 0 {
			where = ", on " + p.name(x.Owner)
		}
		a.say("= %d %s%s", int(x.Result), x.Result, where)
	case rgm.Save:
		p.kept[a.name] = x.Kept
	case rgm.HardDown:
		a.say("! goes down hard")
		a.dead = true
		delete(p.procs, a.name)
		p.sim.Crash(p.id(a.name))
	case rgm.Leave:
		_ = a.g.Leave()
	case rgm.Exit:
		a.say("! exit %d", x.Code)
		a.dead = true
		delete(p.procs, a.name)
		_ = a.e.Close()
	}
}

// explained writes decisions down, oldest first, without their times. name turns a
// node's number into its name.
func explained(all []rgm.Decision, name func(cluster.NodeID) string) string {
	var b strings.Builder
	for i := range all {
		d := &all[i]
		fmt.Fprintf(&b, "#%d %s", d.Serial, d.Service)
		switch {
		case d.To == 0:
			fmt.Fprintf(&b, " (%s)", d.From)
		case d.From != d.To:
			fmt.Fprintf(&b, ": %s -> %s", d.From, d.To)
		default:
			fmt.Fprintf(&b, " stays %s", d.From)
		}
		if d.Node != 0 {
			fmt.Fprintf(&b, " on %s", name(d.Node))
		}
		fmt.Fprintf(&b, "\n    because: %s\n", d.Why)
		if d.Cause != "" && d.Cause != d.Why {
			fmt.Fprintf(&b, "    after:   %s\n", d.Cause)
		}
		for _, c := range d.Candidates {
			fmt.Fprintf(&b, "    %-16s score %d, runs %d: %s\n", name(c.Node), c.Score, c.Running, d.Verdict(c))
		}
	}
	return b.String()
}
