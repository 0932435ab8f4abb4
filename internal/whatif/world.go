package whatif

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/haobox/haobox/internal/cluster"
	"github.com/haobox/haobox/internal/cluster/clustersim"
	"github.com/haobox/haobox/internal/clusterconf"
	"github.com/haobox/haobox/internal/smapi/zvmsim"
	"github.com/haobox/haobox/internal/whatif/vmsim"
)

// epoch is the time of day at which every story begins; which one is of no
// importance.
var epoch = time.Unix(1388500703, 0).UTC()

// Part is a kind of daemon that runs on every node.
type Part interface {
	Name() string
	// Start begins a life of the daemon. It is called in the middle of the
	// story, with the engine of the node running.
	// An error means that the simulation itself is wrong.
	Start(p *Process) (Daemon, error)
}

// Daemon is a daemon's life, as others on its node and rules see it. What it
// is depends on the Part.
type Daemon any

// Faulty is a Part that has faults of its own. Fault makes one happen, now or a
// little later, on a machine that may be down.
type Faulty interface {
	Fault(w *World, m *Machine)
	// Mend ends all of them.
	Mend(w *World)
}

// Checker is a Part with rules of its own. Check is called after every event of
// the story, End when it is over; they call World.Violate.
type Checker interface {
	Check(w *World)
	End(w *World)
}

// World is everything. It is for one goroutine.
type World struct {
	Sim      *clustersim.Sim
	HV       *vmsim.Hypervisor
	Machines []*Machine // by node id, from 1
	Parts    []Part
	Rand     *rand.Rand
	Scn      Scn
	// Mended says that the second part of the story has begun.
	Mended bool

	conf       *clusterconf.Config
	token      time.Duration
	trace      func(string)
	violations []string
	checkers   []Checker
	stats      Stats
}

// Stats counts what happened, so that a test can see that the faults bite.
type Stats struct {
	Crashes, Freezes, Thaws, Partitions, Outages, Kills, Overrides, WrongOverrides     int
	Attempts, Successes, Failures, Cancels, Stale, RaceWon, EngineRestarts, FenceNodes int

	// Pauses are those of several machines at the same moment.
	Pauses int

	// Of the quorum disk: faults, masters that were elected, notices of
	// eviction, and machines that rebooted.
	DiskFaults, Masters, Evictions, Reboots int
}

// Add adds another story's counts.
func (s *Stats) Add(o Stats) {
	for _, p := range []struct {
		a *int
		b int
	}{{&s.Crashes, o.Crashes}, {&s.Freezes, o.Freezes}, {&s.Thaws, o.Thaws}, {&s.Partitions, o.Partitions}, {&s.Outages, o.Outages},
		{&s.Kills, o.Kills}, {&s.Overrides, o.Overrides}, {&s.WrongOverrides, o.WrongOverrides}, {&s.Attempts, o.Attempts},
		{&s.Successes, o.Successes}, {&s.Failures, o.Failures}, {&s.Cancels, o.Cancels}, {&s.Stale, o.Stale},
		{&s.RaceWon, o.RaceWon}, {&s.EngineRestarts, o.EngineRestarts},
		{&s.FenceNodes, o.FenceNodes}, {&s.Pauses, o.Pauses},
		{&s.DiskFaults, o.DiskFaults}, {&s.Masters, o.Masters}, {&s.Evictions, o.Evictions}, {&s.Reboots, o.Reboots}} {
		*p.a += p.b
	}
}

// Now is the time of day in the story.
func (w *World) Now() time.Time { return epoch.Add(w.Sim.Now()) }

// Trace writes a line of the story, if somebody reads it.
func (w *World) Trace(format string, args ...any) {
	if w.trace != nil {
		w.trace(fmt.Sprintf("%9.3f  ", w.Sim.Now().Seconds()) + fmt.Sprintf(format, args...))
	}
}

// Violate says that a rule was broken.
func (w *World) Violate(format string, args ...any) {
	text := fmt.Sprintf("%9.3f  ", w.Sim.Now().Seconds()) + fmt.Sprintf(format, args...)
	if w.trace != nil {
		w.trace("VIOLATION " + text)
	}
	w.violations = append(w.violations, text)
}

// Machine returns the machine of a node.
func (w *World) Machine(id cluster.NodeID) *Machine { return w.Machines[id-1] }

// Machine is a guest of z/VM as a node of the cluster.
type Machine struct {
	World *World
	ID    cluster.NodeID
	Name  string // of the node and of the guest
	// Life counts how often it was started; Running says that it executes
	// instructions, or would if it were thawed.
	Life    int
	Running bool
	Frozen  bool
	// engine says that its cluster engine runs.
	engine    bool
	processes []*Process
	backlog   []func()
	// since is when it was last started or stopped.
	since time.Duration
	// thawed is when it was last thawed.
	thawed time.Duration
}

// Process is a life of a daemon.
type Process struct {
	Machine *Machine
	Part    Part
	Engine  cluster.Engine
	Daemon  Daemon
	alive   bool
}

// Alive says that the process runs, frozen or not.
func (p *Process) Alive() bool { return p.alive }

// Now is the time of day.
func (p *Process) Now() time.Time { return p.Machine.World.Now() }

// After has do called in d, if the process is alive by then. While the node is
// frozen it waits.
func (p *Process) After(d time.Duration, do func()) {
	p.Machine.after(d, func() {
		if p.alive {
			do()
		}
	})
}

// Exit ends the process, without a word to the group.
func (p *Process) Exit() {
	if !p.alive {
		return
	}
	m := p.Machine
	p.alive = false
	m.processes = slices.DeleteFunc(m.processes, func(o *Process) bool { return o == p })
	if p.Engine != nil {
		m.World.Sim.Kill(p.Engine)
	}
}

// Trace writes a line of the story.
func (p *Process) Trace(format string, args ...any) {
	if p.Machine.World.trace != nil {
		p.Machine.World.Trace("%s %s: %s", p.Machine.Name, p.Part.Name(), fmt.Sprintf(format, args...))
	}
}

// guestChanged follows what z/VM does with a guest.
func (w *World) guestChanged(a zvmsim.Changed) {
	i := slices.IndexFunc(w.Machines, func(m *Machine) bool { return m.Name == a.Guest })
	m := w.Machines[i]
	w.Trace("z/VM: %s is %s, by %s", a.Guest, a.To, a.By)
	switch a.To {
	case zvmsim.Off:
		m.stopped()
	case zvmsim.On:
		m.booted()
	}
}

// After has do called in d in this life of the machine, or when it is thawed.
func (m *Machine) After(d time.Duration, do func()) { m.after(d, do) }

// after has do called in d in this life of the machine, or when it is thawed.
func (m *Machine) after(d time.Duration, do func()) {
	life := m.Life
	m.World.Sim.After(d, func() {
		switch {
		case !m.Running || m.Life != life:
		case m.Frozen:
			m.backlog = append(m.backlog, do)
		default:
			do()
		}
	})
}

// Daemon returns the daemon of a name that runs on the machine, or nil.
func (m *Machine) Daemon(name string) Daemon {
	for _, p := range m.processes {
		if p.Part.Name() == name {
			return p.Daemon
		}
	}
	return nil
}

// Process returns the process of a daemon, or nil.
func (m *Machine) Process(name string) *Process {
	for _, p := range m.processes {
		if p.Part.Name() == name {
			return p
		}
	}
	return nil
}

// booted follows the guest coming on.
func (m *Machine) booted() {
	m.Life++
	m.Running, m.since = true, m.World.Sim.Now()
	m.World.Trace("%s boots, life %d", m.Name, m.Life)
	boot := 500*time.Millisecond + time.Duration(m.World.Rand.Int64N(int64(2*time.Second)))
	m.after(boot, m.startEngine)
}

// startEngine starts the engine and then the daemons, each a moment later.
func (m *Machine) startEngine() {
	if m.engine || !m.Running {
		return
	}
	m.engine = true
	m.World.Trace("%s engine starts", m.Name)
	m.World.Sim.Start(m.ID)
	for _, part := range m.World.Parts {
		m.after(time.Duration(m.World.Rand.Int64N(int64(time.Second))), func() { m.StartDaemon(part) })
	}
}

// StartDaemon begins a life of a daemon unless one runs.
func (m *Machine) StartDaemon(part Part) {
	if !m.Running || !m.engine || m.Process(part.Name()) != nil {
		return
	}
	e, err := m.World.Sim.Engine(m.ID)
	if err != nil {
		return
	}
	p := &Process{Machine: m, Part: part, Engine: e, alive: true}
	m.processes = append(m.processes, p)
	m.World.Trace("%s %s starts", m.Name, part.Name())
	if p.Daemon, err = part.Start(p); err != nil {
		m.World.Violate("the simulation itself: %s of %s: %v", part.Name(), m.Name, err)
		p.Exit()
	}
}

// stopped follows the end of the machine, whatever the reason.
func (m *Machine) stopped() {
	if !m.Running {
		return
	}
	m.Running, m.since = false, m.World.Sim.Now()
	m.engine = false
	m.Frozen, m.backlog = false, nil
	all := m.processes
	m.processes = nil
	for _, p := range all {
		p.alive = false
	}
	m.World.Sim.Crash(m.ID)
	if m.World.Sim.Frozen(m.ID) {
		m.World.Sim.Thaw(m.ID)
	}
}

// Halt ends the machine as a kernel panic does: the guest stays logged on.
func (m *Machine) Halt() {
	if m.Running {
		m.World.Trace("%s halts", m.Name)
		m.stopped()
	}
}

// rebootTime is the longest time from a reboot to the kernel's start; what
// follows is that of every start.
const rebootTime = 5 * time.Second

// Reboot takes the machine down at once; its guest stays logged on and starts
// anew, unless somebody logs it off meanwhile.
func (m *Machine) Reboot(reason string) {
	w := m.World
	if !m.Running {
		return
	}
	w.Trace("%s reboots: %s", m.Name, reason)
	w.stats.Reboots++
	m.stopped()
	life := m.Life
	w.Sim.After(time.Duration(w.Rand.Int64N(int64(rebootTime))), func() {
		if m.Life == life && !m.Running && w.HV.State(m.Name) == zvmsim.On {
			m.booted()
		}
	})
}

// Freeze pauses the machine; nothing tells it.
func (m *Machine) Freeze() {
	if m.Running && !m.Frozen {
		m.World.Trace("%s freezes", m.Name)
		m.Frozen = true
		m.World.Sim.Freeze(m.ID)
		m.World.stats.Freezes++
	}
}

// Thaw lets it go on.
func (m *Machine) Thaw() {
	if !m.Running || !m.Frozen {
		return
	}
	m.World.Trace("%s thaws", m.Name)
	m.World.stats.Thaws++
	m.Frozen, m.thawed = false, m.World.Sim.Now()
	late := m.backlog
	m.backlog = nil
	m.World.Sim.Thaw(m.ID)
	for _, do := range late {
		m.after(0, do)
	}
}

// LoseEngine ends the cluster engine; the machine and what runs on it go on.
func (m *Machine) LoseEngine() {
	if m.engine && !m.Frozen {
		m.World.Trace("%s loses its engine", m.Name)
		m.World.Sim.Lose(m.ID)
		m.lostEngine()
	}
}

// LeaveCluster stops the cluster engine in order, and with it all daemons.
func (m *Machine) LeaveCluster() {
	if m.engine && !m.Frozen {
		m.World.Trace("%s leaves the cluster", m.Name)
		m.World.Sim.Stop(m.ID)
		m.lostEngine()
	}
}

func (m *Machine) lostEngine() {
	m.engine = false
	for _, p := range slices.Clone(m.processes) {
		p.Exit()
	}
}
