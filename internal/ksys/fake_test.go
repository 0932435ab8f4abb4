package ksys

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/haobox/haobox/platform/platformtest"
)

// system is a fake of SRC and RSCT: a daemon and a leader that change with
// the time of the fake clock, and a record of the commands.
type system struct {
	clock *platformtest.Clock
	began time.Time
	// state and pid are the daemon's; stopTakes and startTakes delay it.
	state      string
	pid        int
	until      time.Time
	next       string
	stopTakes  time.Duration
	startTakes time.Duration
	// stuck never leaves "stopping"; failStarts is how many starts end
	// inoperative; respawn lets RMC start it again at once.
	stuck      bool
	failStarts int
	respawn    bool
	statusErr  error
	// leader is what GroupLeader answers at a time since the beginning.
	leader    func(since time.Duration) (string, uint64, error)
	offline   bool
	probes    []error
	calls     []string
	onCall    func(call string)
	startErr  error
	queryTook time.Duration
}

func newSystem(clock *platformtest.Clock) *system {
	return &system{clock: clock, began: clock.Now(), state: "active", pid: 100, stopTakes: 2 * time.Second,
		leader: func(time.Duration) (string, uint64, error) { return "n1", 0, nil }}
}

func (s *system) call(text string) {
	s.calls = append(s.calls, text)
	if s.onCall != nil {
		s.onCall(text)
	}
	if s.queryTook > 0 {
		s.clock.Advance(s.queryTook)
	}
	if !s.until.IsZero() && !s.clock.Now().Before(s.until) {
		s.until = time.Time{}
		s.become(s.next)
	}
}

func (s *system) become(state string) {
	s.state = state
	switch {
	case state == "inoperative" && s.respawn:
		s.state = "active"
		s.pid += 2
	case state == "inoperative":
		s.pid = 0
	case state == "active" && s.failStarts > 0:
		s.failStarts--
		s.state, s.pid = "inoperative", 0
	case state == "active":
		s.pid = 200 + 2*len(s.calls)
	}
}

func (s *system) Subsystem(context.Context, string, time.Duration) (string, int, error) {
	s.call("status")
	if s.statusErr != nil {
		return "", 0, s.statusErr
	}
	return s.state, s.pid, nil
}

func (s *system) GroupLeader(context.Context, time.Duration) (string, uint64, int, error) {
	s.call("leader")
	name, id, err := s.leader(s.clock.Now().Sub(s.began))
	return name, id, 1, err
}

func (s *system) DomainOnline(context.Context, time.Duration) (bool, bool) {
	s.call("domain")
	return !s.offline, true
}

func (s *system) Start(context.Context, string, time.Duration) error {
	s.call("start")
	if s.startErr != nil {
		return s.startErr
	}
	if s.startTakes > 0 {
		s.until, s.next = s.clock.Now().Add(s.startTakes), "active"
		return nil
	}
	s.become("active")
	return nil
}

func (s *system) Stop(_ context.Context, _, level string, _ time.Duration) error {
	s.call(strings.TrimSpace("stop " + level))
	if s.state == "active" {
		s.state = "stopping"
	}
	if !s.stuck && s.until.IsZero() {
		s.until, s.next = s.clock.Now().Add(s.stopTakes), "inoperative"
	}
	return nil
}

func (s *system) Answers(context.Context, string, time.Duration) error {
	s.call("probe")
	if len(s.probes) == 0 {
		return nil
	}
	err := s.probes[0]
	s.probes = s.probes[1:]
	return err
}

func (s *system) BootTime(context.Context, time.Duration) (string, error) {
	s.call("who")
	return "", fs.ErrNotExist
}

func (s *system) SendLog(context.Context, string, string, string, time.Duration) error { return nil }

// memory is a state folder in memory.
type memory struct {
	clock   *platformtest.Clock
	files   map[string][]byte
	changed map[string]time.Time
	// unsafe files give an error on Read; full refuses to write.
	unsafe map[string]bool
	full   bool
	// holder is the note of another process that holds the lock.
	holder string
	onLock func()
	// canceller: another process holds the request to give up.
	canceller bool
}

func newMemory(clock *platformtest.Clock) *memory {
	return &memory{clock: clock, files: map[string][]byte{}, changed: map[string]time.Time{}, unsafe: map[string]bool{}}
}

type kindError struct{ unsafe, locked bool }

func (e kindError) Error() string { return fmt.Sprintf("unsafe %v locked %v", e.unsafe, e.locked) }
func (e kindError) Unsafe() bool  { return e.unsafe }
func (e kindError) Locked() bool  { return e.locked }

var errFull = errors.New("no space left on device")

func (m *memory) Read(name string) ([]byte, time.Time, error) {
	if m.unsafe[name] {
		return nil, time.Time{}, kindError{unsafe: true}
	}
	data, ok := m.files[name]
	if !ok {
		return nil, time.Time{}, fs.ErrNotExist
	}
	return data, m.changed[name], nil
}

func (m *memory) Create(name string, data []byte) error {
	if _, ok := m.files[name]; ok || m.unsafe[name] {
		return fs.ErrExist
	}
	return m.Replace(name, data)
}

func (m *memory) Replace(name string, data []byte) error {
	if m.full {
		return errFull
	}
	m.files[name], m.changed[name] = data, m.clock.Now()
	delete(m.unsafe, name)
	return nil
}

func (m *memory) Remove(name string) error {
	if _, ok := m.files[name]; !ok && !m.unsafe[name] {
		return fs.ErrNotExist
	}
	delete(m.files, name)
	delete(m.unsafe, name)
	return nil
}

func (m *memory) Lock(name, note string) (func(), error) {
	if name == CancelFile {
		if m.canceller {
			return nil, kindError{locked: true}
		}
		if err := m.Replace(name, []byte(note)); err != nil {
			return nil, err
		}
		return func() {}, nil
	}
	if m.onLock != nil {
		m.onLock()
	}
	if m.holder != "" {
		return nil, kindError{locked: true}
	}
	return func() {}, nil
}

func (m *memory) Holder(name string) (string, bool, error) {
	if name == CancelFile {
		return "", m.canceller, nil
	}
	return m.holder, m.holder != "", nil
}

// rig is a Runtime over fakes.
type rig struct {
	*Runtime
	sys *system
	mem *memory
	env *platformtest.Env
	log []string
}

func newRig(t *testing.T) *rig {
	t.Helper()
	env := platformtest.NewEnv(t)
	g := &rig{env: env, sys: newSystem(env.Clock), mem: newMemory(env.Clock)}
	g.Runtime = &Runtime{
		Applet: "script", Config: DefaultConfig(), Env: env.Env, Commands: g.sys, Store: g.mem, Serial: true,
		Local: Local{Names: []string{"n1"}}, Boot: "boot-1", PID: 4711,
		Log: func(l slog.Level, text string) { g.log = append(g.log, priority(l)+" "+text) },
	}
	return g
}

// flag writes a flag file of this node and boot.
func (g *rig) flag(s FlagState) {
	f := Flag{Node: "n1", State: s, Created: g.env.Clock.Now(), Boot: "boot-1", PID: 1}
	g.mem.files[FlagFile], g.mem.changed[FlagFile] = f.Encode(), g.env.Clock.Now()
}

// flagState is the state in the flag file, "" without one.
func (g *rig) flagState() FlagState {
	data, ok := g.mem.files[FlagFile]
	if !ok {
		return ""
	}
	f, _ := ParseFlag(data, time.Time{})
	return f.State
}

func (g *rig) count(call string) int {
	n := 0
	for _, c := range g.sys.calls {
		if c == call {
			n++
		}
	}
	return n
}

// took is the virtual time since the rig was made.
func (g *rig) took() time.Duration { return g.env.Clock.Now().Sub(g.sys.began) }
