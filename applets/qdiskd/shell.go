package qdiskd

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/haobox/haobox/applets/applet"
	"github.com/haobox/haobox/applets/internal/daemon"
	"github.com/haobox/haobox/internal/cluster"
	"github.com/haobox/haobox/internal/clusterconf"
	"github.com/haobox/haobox/internal/ctl"
	"github.com/haobox/haobox/internal/quorumdisk"
	"github.com/haobox/haobox/platform"
)

const (
	// group carries the hung calls that the original sent on port 178 of cman.
	group = "haobox:qdiskd"
	// registerLimit bounds the attempts to register the device: a change of
	// the membership refuses it for some token timeouts.
	registerLimit = 60 * time.Second
	registerPause = 200 * time.Millisecond
	// endLimit bounds what is done on the way out.
	endLimit = 2 * time.Second
	// logQueue is how many lines may wait for a log that does not take them:
	// the daemon never waits for it. Ours.
	logQueue = 1000
)

// machine is what the shell does to the machine; tests have their own.
type machine struct {
	// reboot takes the machine down at once; it returns only if that fails.
	reboot func() error
	// harden is called at the start and now and then: locked memory,
	// scheduling (quorumd's scheduler and priority).
	harden func(scheduler string, priority int) error
	// leave stops the cluster manager of this node.
	leave func(ctx context.Context) error
	// watchdog is fed with each heartbeat; nil for none.
	watchdog watchdog
	// run runs a heuristic.
	run func(ctx context.Context, program string) error
}

// watchdog is platform/watchdog.
type watchdog interface {
	Feed() error
	Stop() error
	Abandon()
}

// shell turns what happens into events of the core, and carries out its
// actions. All fields belong to the daemon's loop, but for those of the
// goroutine that does the I/O.
type shell struct {
	d      *daemon.Daemon
	clock  platform.Clock
	start  time.Time // of the clock that only grows
	setup  quorumdisk.Setup
	m      machine
	engine cluster.Engine
	device cluster.Device // nil on an engine without
	group  cluster.Group
	core   *quorumdisk.Core
	scores *quorumdisk.Heuristics
	io     *ioQueue
	timer  func()
	tick   func()
	runs   map[int]context.CancelFunc
	debug  bool
	over   bool
	// asked says that somebody wants the daemon to end, inOrder that it did so:
	// its votes were taken back.
	asked, inOrder bool

	report quorumdisk.Report
	cycles int
	status chan statusFile // the newest
	// unhardened is the fault of harden that is in the log.
	unhardened string
	refreshing atomic.Bool
	lines      chan quorumdisk.Log
	quit       chan struct{}
	idle       sync.WaitGroup
	ctx        context.Context
}

// newShell begins to work on a disk that is open. It is called in the loop.
func newShell(ctx context.Context, d *daemon.Daemon, e cluster.Engine, setup quorumdisk.Setup, disk quorumdisk.Disk, m machine) (*shell, error) {
	s := &shell{
		d: d, clock: d.Env.Clock, start: d.Env.Clock.Now(), setup: setup, m: m, engine: e, core: quorumdisk.New(setup.Config), runs: map[int]context.CancelFunc{},
		scores: quorumdisk.NewHeuristics(setup.Heuristics, setup.Interval, setup.TKO), status: make(chan statusFile, 1),
		lines: make(chan quorumdisk.Log, logQueue), quit: make(chan struct{}), ctx: ctx,
	}
	s.device, _ = e.(cluster.Device)
	s.io = newIO(disk)
	// Whatever hangs behind a log or a file must not hang the heartbeat.
	s.idle.Add(2)
	go s.writeLog()
	go s.writeStatus()
	d.OnStop(s.close)
	d.OnSignal(func(os.Signal) {
		s.asked = true
		s.step(quorumdisk.Stop{})
	})
	d.OnReload(s.reload)
	d.HandleFunc("GET /v1/status", s.serveStatus)
	d.HandleFunc("POST /v1/debug", func(w http.ResponseWriter, r *http.Request) {
		on := false
		if d.Loop.Do(r.Context(), func() { s.debug = !s.debug; on = s.debug }) == nil {
			ctl.Reply(w, map[string]bool{"debug": on})
		}
	})
	var err error
	if s.group, err = e.Join(group, func(ev cluster.Event) {
		if m, is := ev.(cluster.Message); is && len(m.Payload) == 4 {
			call := quorumdisk.Call(binary.BigEndian.Uint32(m.Payload))
			d.Loop.Post(func() { s.step(quorumdisk.PeerHung{Node: int(m.From.Node), Call: call}) })
		}
	}); err != nil {
		return nil, fmt.Errorf("join the group of the other daemons: %w", err)
	}
	if _, err := e.Watch(func(ev cluster.Event) { d.Loop.Post(func() { s.cluster(ev) }) }); err != nil {
		return nil, fmt.Errorf("watch the cluster: %w", err)
	}
	s.harden()
	s.step(quorumdisk.Start{})
	s.heuristics(s.scores.Tick(s.mono()))
	s.tick = d.Loop.After(time.Second, s.everySecond)
	return s, nil
}

// mono is the clock that only grows.
func (s *shell) mono() time.Duration { return s.clock.Now().Sub(s.start) }

func (s *shell) harden() {
	if s.m.harden == nil {
		return
	}
	text := ""
	if err := s.m.harden(s.setup.Scheduler, s.setup.Priority); err != nil {
		text = fmt.Sprintf("set_priority failed: %v", err)
	}
	// A machine that does not allow it will not do so half a minute later.
	if text != "" && text != s.unhardened {
		s.log(quorumdisk.Warning, text)
	}
	s.unhardened = text
}

// log queues a line.
func (s *shell) log(l quorumdisk.Level, text string) {
	select {
	case s.lines <- quorumdisk.Log{Level: l, Text: text}:
	default:
	}
}

func (s *shell) writeLog() {
	defer s.idle.Done()
	for {
		select {
		case l := <-s.lines:
			s.line(l)
			continue
		default:
		}
		select {
		case l := <-s.lines:
			s.line(l)
		case <-s.quit:
			return
		}
	}
}

// line hands a line to the log of all daemons.
func (s *shell) line(l quorumdisk.Log) { s.d.Line(logLevel(l.Level), l.Text) }

// logLevel is a level of syslog(3) as the common log has it.
func logLevel(l quorumdisk.Level) slog.Level {
	switch {
	case l <= quorumdisk.Critical:
		return daemon.LevelCritical
	case l == quorumdisk.Error:
		return slog.LevelError
	case l == quorumdisk.Warning:
		return slog.LevelWarn
	case l <= quorumdisk.Info:
		return slog.LevelInfo
	}
	return slog.LevelDebug
}

// statusFile is what is to be in the status file, and where that is; "-" is
// standard output.
type statusFile struct {
	path   string
	report quorumdisk.Report
}

// writeStatus rewrites the status file.
func (s *shell) writeStatus() {
	defer s.idle.Done()
	for f := range s.status {
		text := f.report.Status(func(at int64) string { return time.Unix(at, 0).Local().Format(time.ANSIC) })
		if f.path == "-" {
			fmt.Fprint(s.d.Env.Stdout, text)
			continue
		}
		if err := s.d.Env.FS.WriteFile(f.path, []byte(text), 0o644); err != nil {
			s.log(quorumdisk.Debug, fmt.Sprintf("write the status file: %v", err))
		}
	}
}

// reload takes over what can change while the daemon runs.
func (s *shell) reload(conf *clusterconf.Config) {
	next, logs, removed := s.setup.Reloaded(conf)
	for _, l := range logs {
		s.do(l)
	}
	if removed {
		s.asked = true
		s.step(quorumdisk.Stop{})
		return
	}
	s.setup = next
	s.step(quorumdisk.Reload{Config: next.Config})
	s.harden()
}

// cluster takes in what the engine says.
func (s *shell) cluster(ev cluster.Event) {
	switch ev := ev.(type) {
	case cluster.Membership:
		var m quorumdisk.Mask
		for _, id := range ev.Members {
			if id <= quorumdisk.MaxNodes {
				m = m.With(int(id))
			}
		}
		s.step(quorumdisk.Members{Ring: quorumdisk.Ring{Node: uint32(ev.Ring.Node), Seq: ev.Ring.Seq}, Nodes: m})
	case cluster.Lost:
		s.lost(ev.Err)
	}
}

// lost is the end without a cluster: its votes are gone with it.
func (s *shell) lost(err error) {
	s.log(quorumdisk.Critical, fmt.Sprintf("the cluster manager is gone: %v", err))
	s.stop(applet.Exitf(exitFailed, "%s: the cluster manager is gone: %w", name, err))
}

func (s *shell) stop(err error) {
	s.over = true
	s.d.Stop(err)
}

// step tells the core something and does what it wants.
func (s *shell) step(ev quorumdisk.Event) {
	if s.over {
		return
	}
	now := s.clock.Now()
	for _, a := range s.core.Step(quorumdisk.Time{Mono: now.Sub(s.start), Wall: now.Unix()}, ev) {
		if !s.do(a) {
			return
		}
	}
}

// do carries out one action and reports whether the next one may follow.
func (s *shell) do(a quorumdisk.Action) bool {
	switch a := a.(type) {
	case quorumdisk.ReadDisk:
		s.io.read(func(b *quorumdisk.Blocks) { s.d.Loop.Post(func() { s.step(quorumdisk.Read{Blocks: b}) }) })
	case quorumdisk.WriteBlock:
		s.io.write(a, func(err error) { s.d.Loop.Post(func() { s.step(quorumdisk.Wrote{Node: a.Node, Err: err}) }) })
	case quorumdisk.SetTimer:
		if s.timer != nil {
			s.timer()
		}
		s.timer = s.d.Loop.After(a.At-s.mono(), func() { s.step(quorumdisk.Timer{}) })
	case quorumdisk.Poll:
		return s.poll(a)
	case quorumdisk.Register:
		go s.register(s.setup.Name)
	case quorumdisk.Unregister:
		s.unregister()
	case quorumdisk.Kill:
		if admin, is := s.engine.(cluster.Admin); is {
			go s.kill(admin, a.Node, s.pollLimit())
		}
	case quorumdisk.Announce:
		if err := s.group.Send(binary.BigEndian.AppendUint32(nil, uint32(a.Call))); err != nil {
			s.log(quorumdisk.Debug, fmt.Sprintf("tell the other nodes: %v", err))
		}
	case quorumdisk.Log:
		if a.Level < quorumdisk.Debug || s.debug {
			s.log(a.Level, a.Text)
		}
	case quorumdisk.Publish:
		s.publish(a.Report)
	case quorumdisk.Alive:
		if s.m.watchdog != nil {
			if err := s.m.watchdog.Feed(); err != nil {
				s.log(quorumdisk.Error, err.Error())
			}
		}
	case quorumdisk.LeaveCluster:
		return s.leave()
	case quorumdisk.Reboot:
		return s.reboot(a.Reason)
	case quorumdisk.Exit:
		s.log(quorumdisk.Info, "ending: "+a.Reason)
		if a.Code != 0 {
			s.stop(applet.Exitf(a.Code, "%s: %s", name, a.Reason))
		} else {
			s.inOrder = s.asked
			s.stop(nil)
		}
		return false
	}
	return true
}

// pollLimit bounds a call of the cluster manager: when it takes longer, the
// others may already count without this node.
func (s *shell) pollLimit() time.Duration { return s.setup.Interval * time.Duration(s.setup.TKO) / 2 }

func (s *shell) poll(p quorumdisk.Poll) bool {
	if s.device == nil {
		return true
	}
	ctx, cancel := context.WithTimeout(s.ctx, s.pollLimit())
	defer cancel()
	err := s.device.PollDevice(ctx, s.setup.Name, p.Cast, cluster.RingID{Node: cluster.NodeID(p.Ring.Node), Seq: p.Ring.Seq})
	switch {
	case err == nil || errors.Is(err, cluster.ErrWrongRing): // the new ring is under way
		return true
	case s.ctx.Err() != nil:
		return false
	}
	s.lost(fmt.Errorf("vote of the quorum device: %w", err))
	return false
}

// register runs in a goroutine of its own.
func (s *shell) register(device string) {
	if s.device == nil {
		s.log(quorumdisk.Warning, "the cluster engine counts no votes of a quorum device: mastership only")
		s.d.Loop.Post(func() { s.step(quorumdisk.Registered{}) })
		return
	}
	ctx, cancel := context.WithTimeout(s.ctx, registerLimit)
	defer cancel()
	for {
		err := s.device.RegisterDevice(ctx, device)
		if err == nil {
			s.d.Loop.Post(func() { s.step(quorumdisk.Registered{}) })
			return
		}
		if errors.Is(err, cluster.ErrRefused) || errors.Is(err, cluster.ErrLost) || s.clock.Sleep(ctx, registerPause) != nil {
			s.d.Loop.Post(func() {
				if s.over {
					return
				}
				if s.setup.StopCman {
					s.log(quorumdisk.Critical, "Telling CMAN to leave the cluster; qdisk is not available")
					if !s.leave() {
						return
					}
				}
				s.stop(applet.Exitf(exitFailed, "%s: register the quorum device '%s': %w; quorum.device in corosync.conf must have model and votes, "+
					"and no other device may be registered (cman_tool join writes it)", name, device, err))
			})
			return
		}
	}
}

func (s *shell) unregister() {
	if s.device == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), endLimit)
	defer cancel()
	if err := s.device.UnregisterDevice(ctx, s.setup.Name); err != nil {
		s.log(quorumdisk.Error, fmt.Sprintf("unregister the quorum device: %v", err))
	}
}

// kill runs in a goroutine of its own. The node may be gone already.
func (s *shell) kill(admin cluster.Admin, node int, limit time.Duration) {
	ctx, cancel := context.WithTimeout(s.ctx, limit)
	defer cancel()
	if err := admin.Kill(ctx, cluster.NodeID(node), "evicted from the quorum disk"); err != nil {
		s.log(quorumdisk.Warning, fmt.Sprintf("end the cluster manager of node %d: %v", node, err))
	}
}

func (s *shell) leave() bool {
	if s.m.leave == nil {
		return true
	}
	ctx, cancel := context.WithTimeout(s.ctx, s.pollLimit())
	defer cancel()
	if err := s.m.leave(ctx); err != nil {
		s.log(quorumdisk.Critical, fmt.Sprintf("Could not leave the cluster - rebooting: %v", err))
		return s.reboot("could not leave the cluster")
	}
	return true
}

func (s *shell) reboot(reason string) bool {
	err := s.m.reboot()
	if s.m.watchdog != nil {
		s.m.watchdog.Abandon()
		s.m.watchdog = nil
	}
	s.stop(applet.Exitf(exitFailed, "%s: this node has to go down (%s), and still runs: %w", name, reason, err))
	return false
}

// publish keeps and shows a report.
func (s *shell) publish(r quorumdisk.Report) {
	s.report = r
	if s.cycles++; s.cycles%hardenCycles == 0 {
		s.harden()
	}
	if r.State >= quorumdisk.StateRunning || r.State == quorumdisk.StateNone {
		s.d.Ready(fmt.Sprintf("%s, master %d, score %d/%d", r.State, r.Master, r.Score, r.Max))
	}
	if s.setup.StatusFile == "" {
		return
	}
	select {
	case <-s.status: // only the newest counts
	default:
	}
	s.status <- statusFile{s.setup.StatusFile, r}
}

// hardenCycles is how often new threads get their priority: the Go run time
// rarely starts some.
const hardenCycles = 30

// everySecond looks after the heuristics, and for a configuration that another
// daemon or cman_tool took over, which must not hold up the heartbeat.
func (s *shell) everySecond() {
	if s.refreshing.CompareAndSwap(false, true) {
		go func() {
			s.d.Refresh()
			s.refreshing.Store(false)
		}()
	}
	s.heuristics(s.scores.Tick(s.mono()))
	s.tick = s.d.Loop.After(time.Second, s.everySecond)
}

func (s *shell) heuristics(all []quorumdisk.HeuristicAction) {
	for _, a := range all {
		switch a := a.(type) {
		case quorumdisk.Log:
			s.do(a)
		case quorumdisk.ScoreOf:
			s.step(quorumdisk.Score(a))
		case quorumdisk.EndHeuristic:
			s.runs[a.Index]()
		case quorumdisk.RunHeuristic:
			ctx, cancel := context.WithTimeout(s.ctx, s.scores.Limit+endLimit)
			s.runs[a.Index] = cancel
			program := s.scores.At(a.Index).Program
			go func() {
				err := s.m.run(ctx, program)
				cancel()
				s.d.Loop.Post(func() {
					if !s.over {
						s.heuristics(s.scores.Ended(a.Index, err == nil, fmt.Sprint(err)))
					}
				})
			}()
		}
	}
}

// statusAnswer is GET /v1/status.
type statusAnswer struct {
	Node       int                        `json:"node"`
	Master     int                        `json:"master"`
	State      string                     `json:"state"`
	Vote       bool                       `json:"vote"`
	Votes      int                        `json:"votes"`
	Score      int                        `json:"score"`
	MaxScore   int                        `json:"max_score"`
	Needed     int                        `json:"needed_score"`
	Visible    []int                      `json:"visible"`
	Quorate    []int                      `json:"quorate"`
	Device     string                     `json:"device"`
	Label      string                     `json:"label,omitempty"`
	BadCycles  int                        `json:"bad_cycles"`
	LastRead   float64                    `json:"last_read_seconds"`
	LastWrite  float64                    `json:"last_write_seconds"`
	Heuristics []quorumdisk.HeuristicDump `json:"heuristics"`
}

func (s *shell) serveStatus(w http.ResponseWriter, r *http.Request) {
	var a statusAnswer
	if s.d.Loop.Do(r.Context(), func() {
		p := s.report
		a = statusAnswer{Node: s.setup.Node, Master: p.Master, State: p.State.String(), Vote: s.core.Voting(), Votes: s.setup.Votes, Score: p.Score, MaxScore: p.Max,
			Needed: p.Needed, Visible: p.Visible.IDs(), Quorate: p.Quorate.IDs(), Device: s.setup.Device, Label: s.setup.Label, BadCycles: p.Errors,
			LastRead: p.LastRead.Seconds(), LastWrite: p.LastWrite.Seconds(), Heuristics: s.scores.Dump()}
	}) == nil {
		ctl.Reply(w, a)
	}
}

// close ends what newShell began. The disk may hang: it is left behind.
func (s *shell) close() {
	s.over = true
	for _, cancel := range s.runs {
		cancel()
	}
	switch {
	case s.m.watchdog == nil:
	case !s.inOrder && s.report.State >= quorumdisk.StateRunning:
		// The others take this node for running, and will evict it.
		s.log(quorumdisk.Critical, "this node did not leave the disk in order: its watchdog takes it down")
		s.m.watchdog.Abandon()
	default:
		if err := s.m.watchdog.Stop(); err != nil {
			s.log(quorumdisk.Error, fmt.Sprintf("stop the watchdog: %v", err))
		}
	}
	s.io.close()
	s.engine.Close()
	close(s.status)
	close(s.quit)
	ended := make(chan struct{})
	go func() { s.idle.Wait(); close(ended) }()
	t := time.NewTimer(endLimit)
	defer t.Stop()
	select {
	case <-ended:
	case <-t.C:
	}
}

// ioQueue does the calls of the disk one after the other in a goroutine, which
// may hang for as long as the disk does.
type ioQueue struct {
	disk quorumdisk.Disk
	buf  []byte
	mu   sync.Mutex
	jobs []func()
	over bool
	wake chan struct{}
}

func newIO(d quorumdisk.Disk) *ioQueue {
	q := &ioQueue{disk: d, buf: make([]byte, quorumdisk.ReadAllSize(d.SectorSize())), wake: make(chan struct{}, 1)}
	go q.run()
	return q
}

func (q *ioQueue) add(job func()) {
	q.mu.Lock()
	q.jobs = append(q.jobs, job)
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

func (q *ioQueue) read(done func(*quorumdisk.Blocks)) {
	q.add(func() { done(quorumdisk.ReadAll(q.disk, q.buf)) })
}

func (q *ioQueue) write(w quorumdisk.WriteBlock, done func(error)) {
	q.add(func() { done(quorumdisk.WriteStatus(q.disk, w.Node, w.Status)) })
}

func (q *ioQueue) close() {
	q.mu.Lock()
	q.over = true
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

func (q *ioQueue) run() {
	for {
		q.mu.Lock()
		jobs, over := q.jobs, q.over
		q.jobs = nil
		q.mu.Unlock()
		if over {
			return
		}
		for _, job := range jobs {
			job()
		}
		if len(jobs) == 0 {
			<-q.wake
		}
	}
}
