//go:build linux

package rgmanager

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/haobox/haobox/applets/applet"
	"github.com/haobox/haobox/applets/internal/daemon"
	"github.com/haobox/haobox/internal/agents"
	"github.com/haobox/haobox/internal/cluster"
	"github.com/haobox/haobox/internal/clusterconf"
	"github.com/haobox/haobox/internal/ragent"
	"github.com/haobox/haobox/internal/restree"
	"github.com/haobox/haobox/internal/rgm"
	"github.com/haobox/haobox/platform"
	"github.com/haobox/haobox/platform/power"
	"github.com/haobox/haobox/platform/systemd"
)

const (
	// engineLimit is how long the start waits for corosync. Ours: a boot may
	// take that long; systemd starts the daemon again.
	engineLimit = 10 * time.Minute
	// keptFile holds what is in this node's hands, for the next process. It
	// must not survive a boot.
	keptFile = daemon.RunDir + "/rgmanager.services"
	// refreshEvery is how often it is looked for a configuration that another
	// daemon took over. Ours: ticks come more often with a short token.
	refreshEvery = time.Second
	// maxKept bounds it, ours: 16,000 services of 63 bytes.
	maxKept = 4 << 20
	// Unit is the unit of systemd.
	Unit = "haobox-rgmanager.service"
)

// shell is the daemon around a core. What has no lock belongs to the loop.
type shell struct {
	d   *daemon.Daemon
	o   options
	ctx context.Context

	engine   cluster.Engine
	group    cluster.Group
	name     string // this node's; nothing that reads it runs before join
	core     *rgm.Core
	rules    restree.Rules
	set      *restree.Set // of the newest configuration that the core got
	native   *native
	pool     *pool
	watch    *watching
	metrics  *metrics
	fence    *fencing
	hardDown func(reason string)

	refreshed time.Time    // when it was last looked for another configuration
	last      atomic.Int64 // when the core was last stepped, for other goroutines
	base      time.Time
	stepping  bool
	queue     []rgm.Event
	nextAsk   uint64
	asked     map[uint64]chan<- rgm.Reply
	ready     bool
	weighed   chan struct{}  // closed when the weight of the services may have changed
	told      clusterconf.RM // what the log has of them
}

func newShell(d *daemon.Daemon, o options) *shell {
	s := &shell{d: d, o: o, asked: map[uint64]chan<- rgm.Reply{}, base: d.Env.Clock.Now(), metrics: newMetrics(), weighed: make(chan struct{})}
	s.hardDown = s.goDown
	return s
}

// start runs in the loop.
func (s *shell) start(ctx context.Context) error {
	s.ctx = ctx
	// Newest first: watcher, agents, group and engine end in this order.
	s.d.OnStop(func() {
		if s.group != nil {
			_ = s.group.Leave() // left already, or gone with the engine
		}
		if s.engine != nil {
			s.engine.Close()
		}
	})
	s.native = newNative()
	agentCtx, endAgents := context.WithCancel(context.WithoutCancel(ctx))
	s.d.OnStop(func() { s.pool.close(endAgents) })
	s.pool = &pool{s: s, ctx: agentCtx, pause: s.pause(), all: map[uint64]*agentRun{}, runner: ragent.Runner{
		Env: s.d.Env, Dir: restree.AgentDir, Native: func(t string) *agents.Agent { return s.native.byType[t] },
		Remember: agentsEvery, Log: s.agentLine,
	}}
	var err error
	if s.watch, err = newWatching(s); err != nil {
		return err
	}
	s.d.OnStop(func() { s.watch.close(); s.native.close() })
	s.rules = s.loadRules()
	s.routes()
	if s.o.metrics != "" {
		if err := s.listenMetrics(); err != nil {
			return err
		}
	}
	s.d.OnSignal(func(os.Signal) { s.end() })
	s.d.Infof("Waiting for CMAN to start")
	go func() {
		e, err := s.d.OpenEngine(ctx, engineLimit)
		s.d.Loop.Post(func() {
			if err == nil {
				err = s.join(e)
			}
			if err != nil {
				s.d.Stop(fmt.Errorf("join the cluster: %w", err))
			}
		})
	}()
	s.d.Started()
	return nil
}

// loadRules asks the agents of the machine for their metadata; ours are known
// without.
func (s *shell) loadRules() restree.Rules {
	rules, err := restree.LoadRules(s.ctx, s.d.Env.FS, s.d.Env.Runner, restree.AgentDir, func(m restree.Message) {
		if m.Kind == restree.KindError || m.Kind == restree.KindWarning {
			s.d.Errorf("%s", m.Text)
		}
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.d.Errorf("%v", err)
	}
	rules.Complete()
	s.d.Debugf("%d rules loaded", len(rules))
	return rules
}

// join enters the group.
func (s *shell) join(e cluster.Engine) error {
	s.engine = e
	conf := s.d.Conf()
	name := e.Local().Name
	if n := conf.NodeByID(int(e.Local().ID)); n != nil {
		name = n.Name
	}
	var kept []rgm.Kept
	if !s.o.strict {
		kept = s.kept()
	}
	// Events wait in the loop until the core is there.
	group, err := e.Join(rgm.Group, func(ev cluster.Event) { s.d.Loop.Post(func() { s.event(ev) }) })
	if err != nil {
		return err
	}
	s.group = group
	s.name = name
	s.core = rgm.New(rgm.Options{Self: group.Self(), Name: name, Kept: kept, SkipInit: s.o.skipInit, Pause: s.pause(), Debug: true})
	if _, err := e.Watch(func(ev cluster.Event) { s.d.Loop.Post(func() { s.event(ev) }) }); err != nil {
		return err
	}
	s.fence = newFencing(s, cluster.NodeID(e.Local().ID), name)
	s.d.OnReload(s.configure)
	s.fence.begin(func() { s.configure(s.d.Conf()) })
	s.tick()
	return nil
}

// pause is how long a pause of this process makes the core prove that it still
// belongs to the cluster. An embedded engine without a token in cluster.conf
// notices no failures by silence.
func (s *shell) pause() time.Duration { return rgm.PauseFor(s.d.Conf()) }

func (s *shell) event(ev cluster.Event) {
	s.metrics.engine(s.d.Env.Clock.Now(), ev)
	s.step(rgm.Engine{Event: ev})
}

// tick keeps the core's time.
func (s *shell) tick() {
	if now := s.d.Env.Clock.Now(); now.Sub(s.refreshed) >= refreshEvery {
		s.refreshed = now
		s.d.Refresh()
	}
	s.step(rgm.Tick{})
	s.d.Loop.After(rgm.TickFor(s.pool.pause), s.tick)
}

// configure hands a configuration to the core.
func (s *shell) configure(c *clusterconf.Config) {
	if !s.fence.joined {
		return // the first one comes when the fence domain is joined
	}
	if c.RM.Disabled {
		s.d.Line(rgm.LevelNotice, "Resource Group Manager Disabled")
		s.step(rgm.Shutdown{})
		return
	}
	if rm := c.RM; rm.StatusPollSet && rm.StatusPollInterval != s.told.StatusPollInterval {
		s.d.Line(rgm.LevelNotice, fmt.Sprintf("Status Polling Interval set to %d", rm.StatusPollInterval/time.Second))
	}
	if rm := c.RM; rm.StatusChildMax > 0 && rm.StatusChildMax != s.told.StatusChildMax {
		s.d.Line(rgm.LevelNotice, fmt.Sprintf("Status Child Max set to %d", rm.StatusChildMax))
	}
	s.told = c.RM
	set := c.Set(s.rules.Clone())
	for _, m := range set.Messages {
		if m.Kind == restree.KindError || m.Kind == restree.KindWarning || m.Kind == restree.KindStderr {
			s.d.Errorf("%s", m.Text)
		}
	}
	s.set = set
	s.step(rgm.Config{Config: c, Set: set})
}

// stepped is when the core was last stepped.
func (s *shell) stepped() time.Time { return s.base.Add(time.Duration(s.last.Load())) }

// step steps the core and executes what comes of it. Events that come up on the
// way wait for their turn.
func (s *shell) step(ev rgm.Event) {
	s.queue = append(s.queue, ev)
	if s.stepping || s.core == nil {
		return
	}
	s.stepping = true
	defer func() { s.stepping = false }()
	for len(s.queue) > 0 {
		ev := s.queue[0]
		s.queue = s.queue[1:]
		now := s.d.Env.Clock.Now()
		s.last.Store(int64(now.Sub(s.base)))
		s.execute(s.core.Step(now, ev))
	}
	s.pool.next()
	if !s.ready && s.core.Ready() {
		s.ready = true
		s.d.Ready("member of the cluster, services are managed")
	}
}

// execute executes actions in their order. Only the last Save of a step is
// written, in the place of the first: what is to be begun is in it, and what has
// ended is so already.
func (s *shell) execute(actions []rgm.Action) {
	var save *rgm.Save
	for _, a := range actions {
		if x, ok := a.(rgm.Save); ok {
			save = &x
		}
	}
	for _, a := range actions {
		switch a := a.(type) {
		case rgm.Send:
			if err := s.group.Send(a.Payload); err != nil {
				s.d.Errorf("send to the other rgmanagers: %v", err)
			}
		case rgm.RunAgent:
			s.pool.begin(a)
		case rgm.KillAgent:
			s.pool.kill(a.ID)
		case rgm.Log:
			s.log(a)
		case rgm.Reply:
			if c := s.asked[a.ID]; c != nil {
				delete(s.asked, a.ID)
				c <- a
			}
		case rgm.Changed:
			s.changed(a)
		case rgm.Save:
			if save != nil {
				s.save(save.Kept)
				save = nil
			}
		case rgm.HardDown:
			s.hardDown(a.Reason)
		case rgm.Leave:
			if err := s.group.Leave(); err != nil {
				s.d.Debugf("leave the group: %v", err)
			}
		case rgm.Exit:
			s.d.Stop(applet.Exit(a.Code))
		}
	}
}

// log writes a line of the core. The journal gets what it is about as fields.
func (s *shell) log(a rgm.Log) {
	name := s.name
	if a.Node != s.group.Self().Node {
		name = strconv.Itoa(int(a.Node))
		if n := s.d.Conf().NodeByID(int(a.Node)); n != nil {
			name = n.Name
		}
	}
	attrs := []slog.Attr{slog.String("node", name)}
	if a.Service != "" {
		attrs = append(attrs, slog.String("service", a.Service))
	}
	s.d.Line(a.Level, a.Text, attrs...)
}

// agentLine writes a line about the run of an agent. Any goroutine.
func (s *shell) agentLine(j ragent.Job, level slog.Level, text string) {
	s.line(level, j.Service, j.Type+":"+j.Name, text)
}

// line writes a line about a resource on this node.
func (s *shell) line(level slog.Level, service, resource, text string) {
	s.d.Line(level, text, slog.String("node", s.name), slog.String("service", service), slog.String("resource", resource))
}

func (s *shell) changed(a rgm.Changed) {
	s.metrics.changed(s.d.Env.Clock.Now(), a)
	s.watch.changed(a)
	s.reweigh()
}

// kept reads what the process before this one had in its hands.
func (s *shell) kept() []rgm.Kept {
	f, err := s.d.Env.FS.Open(keptFile)
	if err != nil {
		return nil
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Size() > maxKept {
		s.d.Errorf("read %s: it has more than %d bytes; every service is stopped and started", keptFile, maxKept)
		return nil
	}
	var kept []rgm.Kept
	if err := json.NewDecoder(f).Decode(&kept); err != nil {
		s.d.Errorf("read %s: %v; every service is stopped and started", keptFile, err)
		return nil
	}
	return kept
}

func (s *shell) save(kept []rgm.Kept) {
	if kept == nil {
		kept = []rgm.Kept{}
	}
	text, err := json.Marshal(kept)
	if err == nil {
		err = s.d.Env.FS.WriteFile(keptFile, text, 0o600)
	}
	if err != nil {
		s.d.Errorf("keep the list of services for the next process: %v", err)
	}
}

// end is SIGTERM: the services go to other nodes; when systemd only restarts
// the daemon they stay.
func (s *shell) end() {
	if s.core == nil {
		s.d.Stop(nil)
		return
	}
	keep := false
	if !s.o.strict && s.d.Env.Getenv("INVOCATION_ID") != "" {
		var err error
		if keep, err = systemd.Restarting(s.ctx, Unit); err != nil {
			s.d.Debugf("%v", err)
		}
	}
	s.step(rgm.Shutdown{Keep: keep})
}

// HardDownVariable says what takes this node down at once when it can not stop
// its services: "reboot", the default on corosync; "exit", the default on the
// embedded engine, only ends this process; or the path of a program.
const HardDownVariable = "HAOBOX_HARD_DOWN"

func (s *shell) goDown(reason string) {
	s.d.Stop(takeDown(s.d.Env, reason, power.Reboot))
}

// takeDown takes this node down as HardDownVariable says. It returns if that
// did not work, or only the process is to end.
func takeDown(env platform.Env, reason string, reboot func() error) error {
	how := env.Getenv(HardDownVariable)
	if how == "" {
		how = "reboot"
		if v := env.Getenv(daemon.EngineVariable); v != "" && v != "corosync" {
			how = "exit"
		}
	}
	var err error
	switch how {
	case "reboot":
		err = reboot()
	case "exit":
	default:
		_, err = env.Runner.Run(context.Background(), platform.Cmd{Path: how, Args: []string{how, reason}, Limit: hardDownLimit})
	}
	if err != nil {
		return applet.Exitf(exitHardDown, "rgmanager: %s; take this node down: %w", reason, err)
	}
	return applet.Exitf(exitHardDown, "rgmanager: %s", reason)
}

const (
	// exitHardDown is ours.
	exitHardDown = 3
	// hardDownLimit bounds the program that takes the node down, ours.
	hardDownLimit = 10 * time.Second
)
