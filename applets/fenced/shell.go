//go:build linux

package fenced

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/haobox/haobox/applets/internal/daemon"
	"github.com/haobox/haobox/applets/internal/fenceexec"
	"github.com/haobox/haobox/applets/internal/oldcli"
	"github.com/haobox/haobox/internal/cluster"
	"github.com/haobox/haobox/internal/clusterconf"
	"github.com/haobox/haobox/internal/fencing"
	"github.com/haobox/haobox/internal/fencing/method"
	"github.com/haobox/haobox/platform/bus"
	"github.com/haobox/haobox/platform/fifo"
	"github.com/haobox/haobox/platform/proc"
)

const (
	// engineLimit is how long the daemon waits for the engine; the original
	// tries 3 times, a second apart.
	engineLimit = 3 * time.Second
	// pollEvery is how often rgmanager or qdiskd is asked where it decides a
	// race, and how often a fence_check is looked for while there are victims:
	// ours.
	pollEvery = time.Second
	// pollLimit bounds each question.
	pollLimit = 2 * time.Second
	// killLimit bounds the engine's answer to a kill.
	killLimit = 10 * time.Second
	// overridePause is the least time between two reads of the pipe: ours,
	// against one who floods it.
	overridePause = 100 * time.Millisecond
)

// shell carries out what the core decides. All fields belong to the loop.
type shell struct {
	d      *daemon.Daemon
	ctx    context.Context
	o      options
	engine cluster.Engine
	group  cluster.Group
	core   *fencing.Core
	self   cluster.Node

	timer    func()
	attempts map[int]context.CancelFunc
	pipe     *fifo.FIFO
	watchers map[*watcher]bool
	nodes    []fencing.NodeView // as the watchers know them
	over     bool
	feeds    fencing.Feeds // that the core was last seen to need
	checker  int           // the fence_check that runs, or 0
	needs    chan struct{} // wakes poll when feeds changed; not of the loop
}

func start(ctx context.Context, d *daemon.Daemon, o options) error {
	s := &shell{d: d, ctx: ctx, o: o, attempts: map[int]context.CancelFunc{}, watchers: map[*watcher]bool{}, needs: make(chan struct{}, 1)}
	d.Infof("fenced %s started", oldcli.SuiteVersion)
	if err := o.uncontrolled(d.Env.FS); err != nil {
		d.Errorf("%v", err)
		return err
	}
	var err error
	if s.engine, err = d.OpenEngine(ctx, engineLimit); err != nil {
		d.Errorf("cman_is_active error: %v", err)
		return err
	}
	d.OnStop(func() { s.engine.Close() })
	s.self = s.engine.Local()
	if n := d.Conf().NodeByID(int(s.self.ID)); n != nil {
		s.self.Name = n.Name
	} else {
		return fmt.Errorf("node %d is not in the configuration", s.self.ID)
	}
	d.Debugf("our_nodeid %d our_name %s", s.self.ID, s.self.Name)
	deliver := func(ev cluster.Event) { d.Loop.Post(func() { s.event(ev) }) }
	if s.group, err = s.engine.Join(fencing.Group, deliver); err != nil {
		return fmt.Errorf("join the group of fence daemons: %w", err)
	}
	s.core = fencing.New(s.config(d.Conf()), s.group.Self())
	if _, err := s.engine.Watch(deliver); err != nil {
		return fmt.Errorf("watch the cluster: %w", err)
	}
	d.OnReload(func(c *clusterconf.Config) { s.step(fencing.Reconfigured{Config: s.config(c)}) })
	d.OnSignal(s.signal)
	s.serve()
	s.serveOld()
	go s.poll()
	go s.veto()
	d.Started()
	if o.join {
		s.step(fencing.Join{})
	}
	return nil
}

// config is what the core has to know.
func (s *shell) config(c *clusterconf.Config) fencing.Config {
	return s.o.over(fencing.ConfigOf(c, s.self.ID))
}

// signal is SIGTERM: ignored in a fence domain, as fenced(8) says; a member that
// went without leaving would be fenced.
func (s *shell) signal(os.Signal) {
	if s.core.Info().Joined {
		s.d.Warnf("a member of the fence domain does not end; use 'fence_tool leave' first")
		return
	}
	s.d.Stop(nil)
}

// event takes an event of the engine.
func (s *shell) event(ev cluster.Event) {
	if v, is := ev.(cluster.View); is && !v.Transitional {
		s.logView(v)
	}
	switch ev.(type) {
	case cluster.View, cluster.Message: // it may make a victim
		s.check()
	}
	s.step(fencing.Cluster{Event: ev})
}

// logView writes the lines of the original for a change of the group.
func (s *shell) logView(v cluster.View) {
	ids := func(list []cluster.Change) string {
		var b strings.Builder
		for _, c := range list {
			fmt.Fprintf(&b, " %d", c.Node)
		}
		return b.String()
	}
	var members strings.Builder
	for _, m := range v.Members {
		fmt.Fprintf(&members, " %d", m.Node)
	}
	s.d.Debugf("fenced:daemon conf %d %d %d memb%s join%s left%s", len(v.Members), len(v.Joined), len(v.Left), members.String(), ids(v.Joined), ids(v.Left))
	s.d.Debugf("fenced:daemon ring %d:%d %d memb%s", v.Ring.Node, v.Ring.Seq, len(v.Members), members.String())
}

// step hands an event to the core and carries out what it wants.
func (s *shell) step(ev fencing.Event) {
	if s.over {
		return
	}
	actions := s.core.Step(s.d.Env.Clock.Now(), ev)
	for _, a := range actions {
		s.act(a)
	}
	if s.timer != nil {
		s.timer()
		s.timer = nil
	}
	if at := s.core.Next(); !at.IsZero() && !s.over {
		s.timer = s.d.Loop.After(max(at.Sub(s.d.Env.Clock.Now()), 0), func() {
			s.timer = nil
			s.step(fencing.Tick{})
		})
	}
	s.publish()
	s.ready()
	if feeds := s.core.Feeds(); feeds != s.feeds {
		s.feeds = feeds
		select {
		case s.needs <- struct{}{}:
		default:
		}
	}
}

// ready tells systemd when the daemon is what it was started for.
func (s *shell) ready() {
	in := s.core.Info()
	if !in.Current || in.Stale || s.o.join && !in.Joined {
		return
	}
	text := "not in the fence domain"
	if in.Joined {
		text = fmt.Sprintf("in the fence domain, %d members, %d victims", len(in.Members), len(in.Victims))
	}
	s.d.Ready(text)
}

func (s *shell) act(a fencing.Action) {
	switch a := a.(type) {
	case fencing.Send:
		if err := s.group.Send(a.Payload); err != nil {
			s.d.Errorf("send to the fence daemons: %v", err)
		}
	case fencing.Fence:
		s.fence(a)
	case fencing.Cancel:
		if cancel := s.attempts[a.Run]; cancel != nil {
			cancel()
		}
	case fencing.Unfence:
		s.unfence()
	case fencing.Kill:
		s.kill(a)
	case fencing.Override:
		s.override(a.Open)
	case fencing.StopCheck:
		_ = proc.Kill(a.PID, 15)
	case fencing.Log:
		s.d.Line(a.Level, a.Text)
	case fencing.Exit:
		s.over = true
		for _, cancel := range s.attempts {
			cancel()
		}
		s.override(false)
		// The exit status is 0 whatever ended the daemon: fenced(8).
		s.d.Stop(nil)
	}
}

// fence begins an attempt. The configuration is looked at anew for each.
func (s *shell) fence(a fencing.Fence) {
	s.d.Refresh()
	conf := s.d.Conf()
	run, actions, err := method.Fence(s.d.Env.Clock.Now(), conf, a.Name, method.Options{Local: s.self.Name})
	if err != nil {
		s.d.Errorf("%v", err)
		s.d.Loop.Post(func() { s.step(fencing.Ended{Run: a.Run}) })
		return
	}
	ctx, cancel := context.WithCancel(s.ctx)
	s.attempts[a.Run] = cancel
	go func() {
		defer cancel()
		done := s.runner().All(ctx, run, actions)
		s.d.Loop.Post(func() {
			delete(s.attempts, a.Run)
			if done.Overflow > 0 {
				s.d.Errorf("fence_node log overflow %d", done.Overflow)
			}
			for _, e := range done.Result.Entries {
				if e.Detail != "" {
					s.d.Line(slog.LevelDebug, fmt.Sprintf("fence %s dev %d.%d: %s", a.Name, e.Method, e.Device, e.Detail))
				}
			}
			s.signalBus(a, done.Result.OK)
			s.step(fencing.Ended{Run: a.Run, Result: done.Result})
		})
	}()
}

func (s *shell) runner() fenceexec.Runner {
	return fenceexec.Runner{Env: s.d.Env, Debugf: s.d.Debugf}
}

// signalBus sends the D-Bus signal of fenced(8), for failures too.
func (s *shell) signalBus(a fencing.Fence, ok bool) {
	if s.o.quiet {
		return
	}
	result := int32(1)
	if ok {
		result = 0
	}
	go func() {
		if err := bus.Emit(s.ctx, "/com/redhat/cluster/fence", "com.redhat.cluster.fence.FenceNode", a.Name, int32(a.Node), result); err != nil {
			s.d.Debugf("no D-Bus signal: %v", err)
		}
	}()
}

func (s *shell) unfence() {
	run, actions, err := method.New(s.d.Env.Clock.Now(), method.ModeUnfence, s.d.Conf(), s.self.Name, method.Options{})
	if err != nil {
		s.d.Loop.Post(func() { s.step(fencing.Unfenced{}) })
		return
	}
	go func() {
		done := s.runner().All(s.ctx, run, actions)
		if done.Undefined { // nothing to do is fine
			done.Result = fencing.Result{OK: true}
		}
		s.d.Loop.Post(func() { s.step(fencing.Unfenced{Result: done.Result}) })
	}()
}

// kill asks the engine to end a node. It does not wait in the loop.
func (s *shell) kill(a fencing.Kill) {
	admin, can := s.engine.(cluster.Admin)
	if !can {
		return
	}
	go func() {
		ctx, cancel := context.WithTimeout(s.ctx, killLimit)
		defer cancel()
		if err := admin.Kill(ctx, a.Node, a.Reason); err != nil && !errors.Is(err, context.Canceled) {
			s.d.Errorf("remove nodeid %d from cluster: %v", a.Node, err)
		}
	}()
}

// override opens and closes the pipe of fence_ack_manual.
func (s *shell) override(open bool) {
	if !open {
		if s.pipe != nil {
			s.pipe.Close()
			s.pipe = nil
		}
		return
	}
	if s.pipe != nil {
		return
	}
	file := s.o.overridePath(s.d.Conf())
	if file == "" {
		return
	}
	_ = s.d.Env.FS.MkdirAll(path.Dir(file), 0o755)
	pipe, err := fifo.Make(s.d.Env.FS.Path(file))
	if err != nil {
		s.d.Errorf("no manual override: %v", err)
		return
	}
	s.pipe = pipe
	go func() {
		for {
			words, err := pipe.Next()
			if err != nil {
				return
			}
			s.d.Loop.Post(func() {
				for _, w := range words {
					s.ack(w)
				}
			})
			if s.d.Env.Clock.Sleep(s.ctx, overridePause) != nil {
				return
			}
		}
	}()
}

// ack takes a name that a person wrote. Anything but the name of a victim is
// ignored.
func (s *shell) ack(name string) bool {
	in := s.core.Info()
	for _, n := range in.Nodes {
		if strings.EqualFold(n.Name, name) && slices.Contains(in.Victims, n.ID) {
			s.step(fencing.Ack{Name: n.Name})
			return true
		}
	}
	s.d.Debugf("override of %.64q ignored: no victim has this name", name)
	return false
}
