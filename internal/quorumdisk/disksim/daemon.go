package disksim

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"time"

	"github.com/haobox/haobox/internal/cluster"
	"github.com/haobox/haobox/internal/quorumdisk"
)

// Life is a process of qdiskd, as the simulation around it has it.
type Life interface {
	// Alive says that it runs, frozen or not.
	Alive() bool
	// After has do called in d if the process is alive by then; while the
	// machine is frozen it waits.
	After(d time.Duration, do func())
	// Exit ends it without a word.
	Exit()
	Log(quorumdisk.Log)
}

// Daemon is the core of qdiskd in a process of a simulated machine.
type Daemon struct {
	m       *Member
	life    Life
	engine  cluster.Engine
	core    *quorumdisk.Core
	scores  *quorumdisk.Heuristics
	group   cluster.Group
	report  quorumdisk.Report
	timer   int
	over    bool
	stopped bool // by SIGSTOP, the daemon alone
	backlog []func()
}

// daemonGroup is the group in which the daemons talk of hung calls.
const daemonGroup = "haobox:qdiskd"

// Start begins a life of the daemon: it opens the disk and joins the group. An
// error says that the engine is of no use.
func (m *Member) Start(life Life, engine cluster.Engine) (*Daemon, error) {
	d := &Daemon{m: m, life: life, engine: engine}
	cfg := m.Setup.Config
	cfg.Incarnation = quorumdisk.Incarnation(m.Clock.Wall()) // a stuck clock gives the same one again
	d.core = quorumdisk.New(cfg)
	m.Port.Open(life.Alive, func(ev quorumdisk.Event, next func()) {
		// A frozen node begins no call, but goes on with those that wait.
		life.After(0, func() {
			d.Tell(ev)
			next()
		})
	})
	var err error
	if d.group, err = engine.Join(daemonGroup, func(ev cluster.Event) {
		if msg, is := ev.(cluster.Message); is && life.Alive() && msg.From != d.group.Self() {
			d.Tell(quorumdisk.PeerHung{Node: int(msg.From.Node), Call: quorumdisk.Call(binary.BigEndian.Uint32(msg.Payload))})
		}
	}); err != nil {
		return nil, err
	}
	if _, err = engine.Watch(func(ev cluster.Event) {
		switch ev := ev.(type) {
		case cluster.Membership:
			var nodes quorumdisk.Mask
			for _, id := range ev.Members {
				nodes = nodes.With(int(id))
			}
			d.Tell(quorumdisk.Members{Ring: quorumdisk.Ring{Node: uint32(ev.Ring.Node), Seq: ev.Ring.Seq}, Nodes: nodes})
		case cluster.Lost:
			d.over = true
		}
	}); err != nil {
		return nil, err
	}
	life.After(10*time.Millisecond, func() { d.Tell(quorumdisk.Start{}) })
	if len(m.Setup.Heuristics) > 0 {
		d.scores = quorumdisk.NewHeuristics(m.Setup.Heuristics, m.Setup.Interval, m.Setup.TKO)
		d.score()
	}
	return d, nil
}

// Master is the node that it takes for the master, 0 for none.
func (d *Daemon) Master() int { return d.report.Master }

// run does something in the daemon now, or when it is no longer stopped.
func (d *Daemon) run(do func()) {
	if d.stopped {
		d.backlog = append(d.backlog, do)
		return
	}
	do()
}

// Tell hands an event to the core, later if the daemon is stopped.
func (d *Daemon) Tell(ev quorumdisk.Event) { d.run(func() { d.step(ev) }) }

// proceed is SIGCONT.
func (d *Daemon) proceed() {
	d.stopped = false
	late := d.backlog
	d.backlog = nil
	for _, do := range late {
		do()
	}
}

// step hands an event to the core and does what it says.
func (d *Daemon) step(ev quorumdisk.Event) {
	if !d.life.Alive() || d.over {
		return
	}
	for _, a := range d.core.Step(quorumdisk.Time{Mono: d.m.c.Sim.Now(), Wall: d.m.Clock.Wall()}, ev) {
		if !d.act(a) || !d.life.Alive() {
			break
		}
	}
	d.m.c.Check()
}

// act does one thing and reports whether the next one may follow.
func (d *Daemon) act(a quorumdisk.Action) bool {
	m, c := d.m, d.m.c
	ctx, device := context.Background(), d.engine.(cluster.Device)
	switch a := a.(type) {
	case quorumdisk.ReadDisk:
		m.Port.Read()
	case quorumdisk.WriteBlock:
		if cluster.NodeID(a.Node) != m.ID {
			c.Stats.Evictions++
		}
		m.Port.Write(a)
	case quorumdisk.SetTimer:
		d.timer++
		timer := d.timer
		d.life.After(max(a.At-c.Sim.Now(), 0), func() {
			if d.timer == timer {
				d.Tell(quorumdisk.Timer{})
			}
		})
	case quorumdisk.Poll:
		err := device.PollDevice(ctx, c.name, a.Cast, cluster.RingID{Node: cluster.NodeID(a.Ring.Node), Seq: a.Ring.Seq})
		if err != nil && !errors.Is(err, cluster.ErrWrongRing) {
			return d.failed("vote", err)
		}
	case quorumdisk.Register:
		if err := device.RegisterDevice(ctx, c.name); err != nil {
			return d.failed("register", err)
		}
		d.life.After(time.Millisecond, func() { d.Tell(quorumdisk.Registered{}) })
	case quorumdisk.Unregister:
		if err := device.UnregisterDevice(ctx, c.name); err != nil {
			return d.failed("unregister", err)
		}
	case quorumdisk.Kill:
		target := c.Member(cluster.NodeID(a.Node))
		if target == nil {
			break
		}
		d.life.Log(quorumdisk.Log{Level: quorumdisk.Notice, Text: "kill " + target.Name + ": evicted"})
		if _, ring := c.Sim.Ring(m.ID); slices.Contains(ring, target.ID) {
			c.Sim.After(time.Millisecond, target.Host.LoseEngine)
		}
	case quorumdisk.Announce:
		if err := d.group.Send(binary.BigEndian.AppendUint32(nil, uint32(a.Call))); err != nil {
			d.life.Log(quorumdisk.Log{Level: quorumdisk.Debug, Text: "send: " + err.Error()})
		}
	case quorumdisk.Log:
		d.life.Log(a)
	case quorumdisk.Publish:
		if a.Report.Master == a.Report.Node && d.report.Master != a.Report.Node {
			c.Stats.Masters++
		}
		d.report = a.Report
		m.Host.Publish(a.Report)
	case quorumdisk.Reboot:
		m.Host.Reboot(a.Reason)
		return false
	case quorumdisk.LeaveCluster:
		m.Host.LeaveCluster()
		return false
	case quorumdisk.Exit:
		d.life.Log(quorumdisk.Log{Level: quorumdisk.Info, Text: "ends: " + a.Reason})
		d.end()
		return false
	}
	return true
}

// failed is the end without a cluster to vote in.
func (d *Daemon) failed(what string, err error) bool {
	if !errors.Is(err, cluster.ErrLost) {
		d.m.c.Violate("%s qdiskd: %s: %v", d.m.Name, what, err)
	}
	d.end()
	return false
}

// end ends the daemon; what runs it starts it again.
func (d *Daemon) end() {
	d.over = true
	d.life.After(0, d.life.Exit)
	d.m.Host.StartDaemon(time.Second + time.Duration(d.m.c.Rand.Int64N(int64(20*time.Second))))
}

// kill ends it without a word.
func (d *Daemon) kill() {
	d.over = true
	d.life.Exit()
}

// score runs the heuristics, once a second.
func (d *Daemon) score() {
	d.run(func() { d.heuristics(d.scores.Tick(d.m.c.Sim.Now())) })
	d.life.After(time.Second, d.score)
}

func (d *Daemon) heuristics(all []quorumdisk.HeuristicAction) {
	ended := func(i int, after time.Duration, ok bool) {
		d.life.After(after, func() { d.run(func() { d.heuristics(d.scores.Ended(i, ok, "it failed")) }) })
	}
	for _, a := range all {
		switch a := a.(type) {
		case quorumdisk.RunHeuristic:
			if d.m.hangs[a.Index] {
				continue
			}
			ended(a.Index, time.Duration(1+d.m.c.Rand.Int64N(int64(maxHeuristic))), !d.m.fails[a.Index])
		case quorumdisk.EndHeuristic:
			ended(a.Index, time.Millisecond, false)
		case quorumdisk.Log:
			d.life.Log(a)
		case quorumdisk.ScoreOf:
			d.step(quorumdisk.Score(a))
		}
	}
}

// maxHeuristic is the longest run of a heuristic that does not hang.
const maxHeuristic = 300 * time.Millisecond
