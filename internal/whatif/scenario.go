package whatif

import (
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/haobox/haobox/internal/cluster"
	"github.com/haobox/haobox/internal/cluster/clustersim"
	"github.com/haobox/haobox/internal/clusterconf"
	"github.com/haobox/haobox/internal/fencing"
	"github.com/haobox/haobox/internal/smapi/zvmsim"
	"github.com/haobox/haobox/internal/whatif/vmsim"
)

// Scn is a story to be run.
type Scn struct {
	Seed  uint64
	Nodes int
	// Race is the policy; with Split the story is one split of two nodes whose
	// devices work, and one of them has to survive it.
	Race  fencing.Race
	Split bool
	// Steps is how many faults happen.
	Steps int
	// Off makes the agents switch guests off and not on again.
	Off bool
	// Together adds pauses of several nodes at the same time.
	Together bool
	// Services makes rgmanager a part of the story, Disk a quorum disk.
	Services, Disk bool
}

// Scenario returns the story of a seed.
func Scenario(seed uint64) Scn {
	r := rand.New(rand.NewPCG(seed, 0x7768617469660a))
	s := Scn{Seed: seed, Nodes: 2 + r.IntN(4), Race: fencing.Race(r.IntN(4)), Steps: 5 + r.IntN(20), Off: r.IntN(2) == 0}
	s.Together = seed%5 >= 3
	if seed%4 == 0 {
		s.Split, s.Nodes, s.Off, s.Race = true, 2, true, fencing.Race(1+r.IntN(3))
	}
	return s
}

// DiskScenario returns the story of a seed with a quorum disk in it, and in some
// with services.
func DiskScenario(seed uint64) Scn {
	s := Scenario(seed)
	s.Disk, s.Services = true, !s.Split && seed%3 == 0
	if s.Nodes == 2 && seed%8 < 6 {
		s.Race = fencing.RaceQdisk
	}
	return s
}

// Result is how a story ended.
type Result struct {
	Scn        Scn
	Violations []string
	Stats      Stats
	// Took is the virtual time.
	Took time.Duration
}

// shortToken is the simulated cluster's, to make stories short. A quorum disk
// needs a longer one.
const shortToken = time.Second

// Run runs a story. trace, if not nil, gets its lines. If the simulation itself
// is wrong, or a core panics, that is a violation, too.
func Run(scn Scn, trace func(string)) (r Result) {
	defer func() {
		if p := recover(); p != nil {
			r = Result{Scn: scn, Violations: []string{fmt.Sprintf("the story can not go on: %v\n%s", p, debug.Stack())}}
		}
	}()
	w, err := newWorld(scn, trace)
	if err != nil {
		return Result{Scn: scn, Violations: []string{"the simulation itself: " + err.Error()}}
	}
	w.Trace("seed %d: %+v", scn.Seed, scn)
	for _, m := range w.Machines {
		w.HV.Do(zvmsim.SetGuest{Guest: m.Name, State: zvmsim.On})
	}
	if scn.Split {
		w.split()
	} else {
		w.story()
	}
	for _, c := range w.checkers {
		c.End(w)
	}
	if q := w.qdiskd(); q != nil {
		w.stats.Add(Stats{DiskFaults: q.Stats.Faults, Kills: q.Stats.Kills, Masters: q.Stats.Masters, Evictions: q.Stats.Evictions})
	}
	return Result{Scn: scn, Violations: w.violations, Stats: w.stats, Took: w.Sim.Now()}
}

func newWorld(scn Scn, trace func(string)) (*World, error) {
	w := &World{Scn: scn, trace: trace, Rand: rand.New(rand.NewPCG(scn.Seed, 1)), token: shortToken}
	quorumDisk := ""
	if scn.Disk {
		quorumDisk, w.token = diskConf(scn)
	}
	sc := clustersim.Config{TwoNode: scn.Nodes == 2 && !scn.Disk, Token: w.token, Seed: scn.Seed}
	members := []string{"ZVM1"}
	if w.Rand.IntN(3) == 0 && !scn.Split {
		members = append(members, "ZVM2")
	}
	for i := range scn.Nodes {
		id := cluster.NodeID(i + 1)
		m := &Machine{World: w, ID: id, Name: fmt.Sprintf("CNODE%d", id)}
		w.Machines = append(w.Machines, m)
		sc.Nodes = append(sc.Nodes, clustersim.NodeConfig{ID: id, Name: m.Name})
	}
	text := w.clusterConf(members, quorumDisk)
	doc, err := clusterconf.Parse("cluster.conf", []byte(text))
	if err != nil {
		return nil, fmt.Errorf("%w\n%s", err, text)
	}
	w.conf = clusterconf.Decode(doc)
	if scn.Disk {
		sc.DeviceVotes, sc.DeviceTimeout = w.conf.DeviceVotes(), w.conf.Cman.QuorumDevPoll
	}
	w.Sim = clustersim.New(sc)
	w.Trace("%s", text)
	delays := zvmsim.Delays{Logoff: time.Duration(w.Rand.IntN(1500)) * time.Millisecond, LogoffSpread: time.Second,
		Logon: 500 * time.Millisecond, Answer: time.Millisecond, AnswerSpread: 20 * time.Millisecond}
	if w.Rand.IntN(8) == 0 && !scn.Split {
		delays.LogoffSpread = 40 * time.Second // longer than the agent waits
	}
	var guests []vmsim.Guest
	for i, m := range w.Machines {
		guests = append(guests, vmsim.Guest{Name: m.Name, Member: members[i%len(members)]})
	}
	if w.HV, err = vmsim.New(w.Sim, epoch, scn.Seed, members, guests, delays, w.guestChanged); err != nil {
		return nil, fmt.Errorf("the simulated z/VM: %w", err)
	}
	w.Parts = []Part{&Fenced{cfg: fencing.ConfigOf(w.conf, 1), lives: map[cluster.Member]int{}, newest: map[cluster.NodeID]uint32{}, vouched: map[life]bool{}, relied: map[cluster.Member]bool{}, left: map[cluster.Member]bool{}}}
	if scn.Disk {
		q, err := newQdiskd(w)
		if err != nil {
			return nil, err
		}
		w.Parts = append(w.Parts, q)
	}
	if scn.Services {
		w.Parts = append(w.Parts, newRgmanager(w.conf))
	}
	for _, p := range w.Parts {
		if c, is := p.(Checker); is {
			w.checkers = append(w.checkers, c)
		}
	}
	return w, nil
}

// clusterConf writes the cluster.conf of the story. Guests may run on any member
// of the z/VM cluster, so that every member is asked, in one device or in one
// device for each.
func (w *World) clusterConf(members []string, quorumDisk string) string {
	scn, action := w.Scn, ""
	if scn.Off {
		action = ` action="off"`
	}
	var b strings.Builder
	// The engine notices silence after token and consensus in one.
	silence := (w.token + w.token/5).Milliseconds()
	fmt.Fprintf(&b, "<cluster name=\"whatif\" config_version=\"1\">\n<totem token=\"%d\" consensus=\"%d\"/>\n", silence, silence)
	b.WriteString(quorumDisk)
	if scn.Nodes == 2 && !scn.Disk {
		b.WriteString("<cman two_node=\"1\" expected_votes=\"1\"/>\n")
	}
	failDelay := 0
	if w.Rand.IntN(4) == 0 {
		failDelay = w.Rand.IntN(4)
	}
	fmt.Fprintf(&b, "<fence_daemon post_join_delay=\"6\" post_fail_delay=\"%d\" fence_race=\"%s\"/>\n<clusternodes>\n", failDelay, scn.Race)
	single, backup := w.Rand.IntN(2) == 0, w.Rand.IntN(4) == 0 && !scn.Split
	for _, m := range w.Machines {
		delay := ""
		if w.Rand.IntN(8) == 0 {
			delay = fmt.Sprintf(" delay=\"%d\"", w.Rand.IntN(5))
		}
		fmt.Fprintf(&b, "<clusternode name=\"%s\" nodeid=\"%d\"><fence%s>", m.Name, m.ID, delay)
		if backup {
			fmt.Fprintf(&b, "<method name=\"old\"><device name=\"old\" port=\"%s\"%s verify=\"1\"/></method>", m.Name, action)
		}
		b.WriteString("<method name=\"zvm\">")
		if single {
			fmt.Fprintf(&b, "<device name=\"all\" port=\"%s\"%s/>", m.Name, action)
		} else {
			for _, member := range members {
				fmt.Fprintf(&b, "<device name=\"%s\" port=\"%s\"%s/>", member, m.Name, action)
			}
		}
		b.WriteString("</method></fence></clusternode>\n")
	}
	b.WriteString("</clusternodes>\n<fencedevices>\n")
	for _, member := range members {
		fmt.Fprintf(&b, "<fencedevice name=\"%s\" agent=\"fence_zvmip\" ipaddr=\"%s\" agent_limit=\"60\"/>\n", member, member)
	}
	for _, agent := range [][2]string{{"all", "fence_zvmip"}, {"old", badAgent}} {
		fmt.Fprintf(&b, "<fencedevice name=\"%s\" agent=\"%s\" ipaddr=\"%s\" agent_limit=\"60\"/>\n", agent[0], agent[1], strings.Join(members, ","))
	}
	b.WriteString("</fencedevices>\n")
	if scn.Services {
		b.WriteString(services)
	}
	b.WriteString("</cluster>\n")
	return b.String()
}

// run lets the story go on.
func (w *World) run(d time.Duration) {
	end := w.Sim.Now() + d
	w.until(d, func() bool { return len(w.violations) > 0 })
	if rest := end - w.Sim.Now(); rest > 0 && len(w.violations) == 0 {
		w.Sim.Run(rest)
	}
}

// until is Sim.Until with the rules.
func (w *World) until(limit time.Duration, done func() bool) bool {
	return w.Sim.Until(limit, func() bool {
		for _, c := range w.checkers {
			c.Check(w)
		}
		return done()
	})
}

func (w *World) fenced() *Fenced { return w.Parts[0].(*Fenced) }

// story is the general story: faults, then mending.
func (w *World) story() {
	if w.Rand.IntN(3) > 0 { // else the faults begin while all start
		w.run(15 * time.Second)
	}
	for range w.Scn.Steps {
		if len(w.violations) > 0 {
			return
		}
		if q := w.qdiskd(); q != nil && w.Rand.IntN(2) == 0 {
			q.Fault(w, w.Machines[w.Rand.IntN(len(w.Machines))])
		} else {
			w.fault()
		}
		pause := 6 * w.token
		if w.Scn.Disk {
			pause = 2 * w.token // often within the limits of the disk
		}
		w.run(time.Duration(w.Rand.Int64N(int64(pause))))
	}
	w.mend()
	f := w.fenced()
	why, look := "", time.Duration(0)
	// The bound: retries pause for half a minute, agents take 20 s, guests up
	// to 40 s, and the operator looks every 10 s.
	if !w.until(20*time.Minute, func() bool {
		if len(w.violations) > 0 {
			return true
		}
		if w.Sim.Now() < look {
			return false
		}
		look = w.Sim.Now() + 200*time.Millisecond // often enough
		why = f.settled(w)
		return why == ""
	}) {
		w.Violate("20 minutes after all faults were mended: %s", why)
	}
}

// split is the story of a race: two nodes that are well lose each other, while
// what decides the race is changing.
func (w *World) split() {
	f := w.fenced()
	if !w.until(5*time.Minute, func() bool { return f.settled(w) == "" }) {
		w.Violate("two nodes do not get together: %s", f.settled(w))
		return
	}
	master := 0
	if q := w.qdiskd(); q != nil {
		master = q.beforeSplit(w)
	}
	for range w.Rand.IntN(6) {
		w.Sim.After(time.Duration(w.Rand.Int64N(int64(20*time.Millisecond))), func() {
			m := w.Machines[w.Rand.IntN(2)]
			d, _ := m.Daemon("fenced").(*FenceDaemon)
			switch {
			case w.Scn.Disk && (d == nil || w.Scn.Race == fencing.RaceQdisk):
				return // the disk decides, and an evicted node may be down
			case w.Scn.Race == fencing.RaceQdisk:
				d.Step(fencing.QuorumDisk{Master: cluster.NodeID(1 + w.Rand.IntN(2))})
				return
			}
			d.Step(fencing.Weight{Weight: uint32(w.Rand.IntN(3))})
		})
	}
	w.run(time.Duration(w.Rand.Int64N(int64(25 * time.Millisecond))))
	w.stats.Partitions++
	w.Trace("split")
	split := w.Sim.Now()
	w.Sim.Partition([]cluster.NodeID{1})
	w.run(3 * time.Minute)
	alive := 0
	for _, m := range w.Machines {
		alive += bit(m.Running)
	}
	if alive != 1 {
		w.Violate("%d of 2 nodes survived the split", alive)
		return
	}
	w.stats.RaceWon++
	if master != 0 {
		w.qdiskd().afterSplit(w, master, split)
	}
	for _, m := range w.Machines {
		if m.Running && f.settledAlone(m) {
			return
		}
	}
	w.Violate("the node that survived does not know that the other is off")
}

// settledAlone says that a machine's daemon knows that all others are off.
func (f *Fenced) settledAlone(m *Machine) bool {
	d, _ := m.Daemon("fenced").(*FenceDaemon)
	return d != nil && !slices.ContainsFunc(d.core.Nodes(), func(n fencing.NodeView) bool { return n.ID != m.ID && n.State != fencing.StateOff })
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}

// fault makes one thing go wrong, or right.
func (w *World) fault() {
	if w.Scn.Together && w.Rand.IntN(6) == 0 {
		w.pauseSome()
		return
	}
	m := w.Machines[w.Rand.IntN(len(w.Machines))]
	switch k := w.Rand.IntN(25); {
	case k < 3:
		w.stats.Crashes++
		w.Trace("%s crashes", m.Name)
		w.HV.Do(zvmsim.Die{Guest: m.Name})
	case k == 3:
		w.stats.Crashes++
		m.Halt()
	case k < 7:
		m.Freeze()
		if w.Rand.IntN(3) > 0 {
			life := m.Life
			w.Sim.After(time.Duration(w.Rand.Int64N(int64(8*time.Second))), func() {
				if m.Life == life {
					m.Thaw()
				}
			})
		}
	case k < 9:
		m.Thaw()
	case k < 11:
		w.stats.Partitions++
		var part []cluster.NodeID
		for _, o := range w.Machines {
			if w.Rand.IntN(2) == 0 {
				part = append(part, o.ID)
			}
		}
		w.Trace("partition %v", part)
		w.Sim.Partition(part)
	case k < 14:
		w.Trace("partitions heal")
		w.Sim.Heal()
	case k < 16:
		w.stats.Outages++
		member := w.HV.Members[w.Rand.IntN(len(w.HV.Members))]
		states := []zvmsim.MemberState{zvmsim.MemberUp, zvmsim.MemberNoService, zvmsim.MemberHung, zvmsim.MemberFull}
		state := states[w.Rand.IntN(len(states))]
		w.Trace("z/VM: SMAPI of %s is %s", member, state)
		w.HV.Do(zvmsim.SetMember{Member: member, State: state})
	case k < 18:
		texts := []string{"do=lost-answer,count=3", "do=not-executed,count=2", "do=drop,count=3", "do=silence,count=2", "do=garbage,count=2",
			"do=code,rc=396,rs=1,count=4", "do=truncate,at=7,count=2", "do=late,delay=2s,count=1", "do=refuse,count=4", "do=reset,count=2", "do=one-byte,count=9"}
		text := texts[w.Rand.IntN(len(texts))]
		rule, err := zvmsim.ParseFault(text)
		if err != nil {
			w.Violate("the simulation itself: %v", err)
			return
		}
		w.Trace("z/VM: fault %s", text)
		w.HV.Do(zvmsim.AddFault{Fault: rule})
	case k < 20:
		if w.HV.State(m.Name) == zvmsim.Off {
			w.Trace("the operator starts %s", m.Name)
			w.HV.Do(zvmsim.LogOn{Guest: m.Name})
		}
	case k == 20:
		m.LoseEngine()
		if w.Rand.IntN(2) == 0 {
			w.stats.EngineRestarts++
			m.after(time.Duration(w.Rand.Int64N(int64(10*time.Second))), m.startEngine)
		}
	case k == 22:
		w.fenceNode(m)
	case k == 21:
		// A node is out of order and cannot be fenced: somebody has to come.
		w.Trace("%s breaks down, and SMAPI with it", m.Name)
		w.stats.Crashes++
		w.HV.Do(zvmsim.Die{Guest: m.Name})
		for _, member := range w.HV.Members {
			w.HV.Do(zvmsim.SetMember{Member: member, State: zvmsim.MemberNoService})
		}
		w.Sim.After(time.Duration(5+w.Rand.IntN(30))*time.Second, func() {
			for _, p := range w.Parts {
				if f, is := p.(*Fenced); is && !w.Mended {
					f.vouch(w)
				}
			}
		})
	default:
		for _, p := range w.Parts {
			if f, is := p.(Faulty); is {
				f.Fault(w, m)
			}
		}
	}
}

// pauseSome freezes several machines at the same moment, or all, as the
// hypervisor does that they have in common; they thaw together or one after the
// other. Around that the network may split, and one that goes on may crash.
func (w *World) pauseSome() {
	r := w.Rand
	all := r.Perm(len(w.Machines))
	k := 2 + r.IntN(len(all)-1)
	last := time.Duration(1 + r.Int64N(int64(8*w.token)))
	later := func(d time.Duration, do func()) {
		w.Sim.After(d, func() {
			if !w.Mended {
				do()
			}
		})
	}
	split := func() {
		var part []cluster.NodeID
		for _, i := range r.Perm(len(all))[:1+r.IntN(len(all)-1)] {
			part = append(part, w.Machines[i].ID)
		}
		w.stats.Partitions++
		w.Trace("partition %v", part)
		w.Sim.Partition(part)
		later(time.Duration(r.Int64N(int64(8*w.token))), func() {
			w.Trace("partitions heal")
			w.Sim.Heal()
		})
	}
	if r.IntN(3) == 0 {
		split()
	}
	if r.IntN(3) == 0 {
		later(time.Duration(r.Int64N(int64(last+last/4)+1)), split)
	}
	at, same := time.Duration(r.Int64N(int64(2*w.token))), r.IntN(2) == 0
	later(at, func() {
		w.stats.Pauses++
		for _, i := range all[:k] {
			m, d := w.Machines[i], last
			if !same {
				d = time.Duration(1 + r.Int64N(int64(last)))
			}
			m.Freeze()
			life := m.Life
			w.Sim.After(d, func() {
				if m.Life == life {
					m.Thaw()
				}
			})
		}
	})
	if k < len(all) && r.IntN(3) == 0 {
		m := w.Machines[all[k]]
		later(at+time.Duration(r.Int64N(int64(last))), func() {
			w.stats.Crashes++
			w.Trace("%s crashes", m.Name)
			w.HV.Do(zvmsim.Die{Guest: m.Name})
		})
	}
}

// fenceNode is fence_node on one node, of any other: the agents run, and fenced
// is told.
func (w *World) fenceNode(m *Machine) {
	d, _ := m.Daemon("fenced").(*FenceDaemon)
	victim := w.Machines[w.Rand.IntN(len(w.Machines))]
	if d == nil || m.Frozen || victim == m {
		return
	}
	w.Trace("fence_node %s on %s", victim.Name, m.Name)
	w.stats.FenceNodes++
	var ring uint64
	for _, n := range d.core.Nodes() {
		if n.ID == victim.ID {
			ring = n.Ring
		}
	}
	runMethods(m, victim, func(r fencing.Result) {
		w.Trace("fence_node %s: off %v, as of ring %d", victim.Name, r.OK, ring)
		if d, _ := m.Daemon("fenced").(*FenceDaemon); r.OK && ring != 0 && d != nil {
			// A person may take a while.
			m.after(time.Duration(w.Rand.Int64N(int64(5*time.Second))), func() {
				if d.p.alive {
					d.Step(fencing.External{Node: victim.ID, Ring: ring})
				}
			})
		}
	})
}

// mend ends all faults but what has happened to nodes; an operator goes round
// from then on.
func (w *World) mend() {
	w.Mended = true
	w.Trace("all faults are mended")
	w.Sim.Heal()
	w.HV.Do(zvmsim.RemoveFault{})
	smapi := func() {
		w.Trace("z/VM: SMAPI is up")
		for _, m := range w.HV.Members {
			w.HV.Do(zvmsim.SetMember{Member: m, State: zvmsim.MemberUp})
		}
	}
	trouble := map[cluster.NodeID]int{}
	if w.Rand.IntN(10) == 0 {
		// z/VM takes longer, and fencing has to be patient.
		for _, m := range w.HV.Members {
			w.HV.Do(zvmsim.SetMember{Member: m, State: zvmsim.MemberNoService})
		}
		w.Sim.After(time.Duration(w.Rand.Int64N(int64(4*time.Minute))), func() {
			clear(trouble)
			smapi()
		})
	} else {
		smapi()
	}
	for _, p := range w.Parts {
		if f, is := p.(Faulty); is {
			f.Mend(w)
		}
	}
	var round func()
	round = func() {
		for _, m := range w.Machines {
			w.operate(m, trouble)
		}
		w.Sim.After(10*time.Second, round)
	}
	w.Sim.After(10*time.Second, round)
}

// patience is how many rounds of 10 s the operator gives the cluster to deal with
// a node by itself: pauses of half a minute between attempts, agents that hang for
// a minute, and guests that take 40 s to log off while the agent waits for 20.
const patience = 30

// operate is what an operator does who looks at a node: start what is off; and
// what hangs for minutes although the cluster should have dealt with it is
// started anew.
func (w *World) operate(m *Machine, trouble map[cluster.NodeID]int) {
	state := w.HV.State(m.Name)
	if state == zvmsim.Off {
		w.Trace("the operator starts %s", m.Name)
		w.HV.Do(zvmsim.LogOn{Guest: m.Name})
		return
	}
	d, _ := m.Daemon("fenced").(*FenceDaemon)
	bad := state == zvmsim.On && (!m.Running || m.Frozen || !m.engine || d == nil || d.core.Stale())
	if !bad {
		trouble[m.ID] = 0
		return
	}
	if trouble[m.ID]++; trouble[m.ID] < patience {
		return
	}
	trouble[m.ID] = 0
	for _, o := range w.Machines {
		if f, _ := o.Daemon("fenced").(*FenceDaemon); f != nil && !o.Frozen && f.core.Info().Complete && f.core.Info().Wait == fencing.WaitFencing &&
			f.known[m.ID].State == fencing.StateVictim {
			w.Violate("%s has not fenced %s, although nothing has been wrong for five minutes", o.Name, m.Name)
		}
	}
	w.Trace("the operator forces %s off", m.Name)
	w.HV.Do(zvmsim.LogOff{Guest: m.Name})
}
