package enginetest

import (
	"sync"
	"testing"

	"github.com/haobox/haobox/internal/cluster"
)

// Stranger is a process in a group of replicas whose state and commands are of
// another kind than the others': that of another version. Safe for concurrent
// use.
type Stranger struct {
	t        testing.TB
	group    cluster.Group
	stop     func()
	snapshot []byte

	mu      sync.Mutex
	replica *cluster.Replica
	// early are events from before there was a replica.
	early []cluster.Event
	over  bool
}

// NewStranger joins a group. snapshot is what it gives to those who take its state
// over; that of others it takes without a look.
func NewStranger(t testing.TB, e cluster.Engine, group string, snapshot []byte) *Stranger {
	t.Helper()
	s := &Stranger{t: t, snapshot: snapshot}
	g, err := e.Join(group, s.event)
	if err != nil {
		t.Fatal(err)
	}
	s.group = g
	stop, err := e.Watch(func(ev cluster.Event) {
		if _, is := ev.(cluster.Quorum); is {
			s.event(ev)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	s.stop = stop
	s.mu.Lock()
	defer s.mu.Unlock()
	s.replica = cluster.NewReplica(stateOf{s}, g.Self())
	for _, ev := range s.early {
		s.step(ev)
	}
	return s
}

// event is called by the engine.
func (s *Stranger) event(ev cluster.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.over:
	case s.replica == nil:
		s.early = append(s.early, ev)
	default:
		s.step(ev)
	}
}

// step needs the lock.
func (s *Stranger) step(ev cluster.Event) {
	if _, lost := ev.(cluster.Lost); lost {
		s.over = true
		return
	}
	send, err := s.replica.Step(ev)
	for _, b := range send {
		if err == nil {
			err = s.group.Send(b)
		}
	}
	if err != nil {
		s.t.Errorf("stranger: %v", err)
	}
}

// Members is how many processes are in the group, 0 while its state is not that of
// the others.
func (s *Stranger) Members() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.replica.Current() {
		return 0
	}
	return len(s.replica.View().Members)
}

// Say sends a command.
func (s *Stranger) Say(command []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.group.Send(s.replica.Command(command)); err != nil {
		s.t.Errorf("stranger: send: %v", err)
	}
}

// Leave leaves the group in order.
func (s *Stranger) Leave() {
	s.mu.Lock()
	s.over = true
	s.mu.Unlock()
	s.stop()
	if err := s.group.Leave(); err != nil {
		s.t.Errorf("stranger: leave: %v", err)
	}
}

// stateOf is the Stranger as its replica sees it.
type stateOf struct{ s *Stranger }

func (stateOf) Apply(cluster.Member, []byte) {}
func (m stateOf) Snapshot() []byte           { return m.s.snapshot }
func (stateOf) Restore([]byte, bool)         {}
func (stateOf) Changed(cluster.View, bool)   {}
func (stateOf) Dropped([]byte)               {}
