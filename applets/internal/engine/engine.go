//go:build linux

// Package engine makes a cluster.Engine out of what the machine has: the
// corosync daemon, or the embedded engine. It is the assembly that several
// applets share, and the only place where the leaves of platform meet
// internal/cluster.
//
// There is no reconnecting. When corosync goes, all groups and watches get
// Lost: for a daemon of the cluster that is the loss of membership, and it has
// to decide what to do before it opens a new engine.
package engine

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/haobox/haobox/internal/cluster"
	"github.com/haobox/haobox/platform"
)

// openPause is the pause between two attempts of Wait.
const openPause = 200 * time.Millisecond

// Wait opens an engine as soon as there is one. open is tried again while it
// says cluster.ErrNotRunning; ctx ends that.
func Wait(ctx context.Context, clock platform.Clock, open func(context.Context) (cluster.Engine, error)) (cluster.Engine, error) {
	for {
		e, err := open(ctx)
		if err == nil || !errors.Is(err, cluster.ErrNotRunning) {
			return e, err
		}
		if clock.Sleep(ctx, openPause) != nil {
			return nil, err
		}
	}
}

// watches are the functions that Watch was given, and the events that a new one
// gets first.
type watches struct {
	mu         sync.Mutex
	all        []*watch
	membership cluster.Membership
	quorum     cluster.Quorum
	over       error
}

// watch is one of them. Its lock is held while deliver runs.
type watch struct {
	mu      sync.Mutex
	stopped bool
	deliver func(cluster.Event)
}

func (w *watch) tell(ev cluster.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.stopped {
		w.deliver(ev)
	}
}

// add subscribes and delivers the present state.
func (s *watches) add(deliver func(cluster.Event)) (func(), error) {
	w := &watch{deliver: deliver}
	w.mu.Lock() // later events wait for the first two
	defer w.mu.Unlock()
	s.mu.Lock()
	if s.over != nil {
		s.mu.Unlock()
		return nil, s.over
	}
	s.all = append(s.all, w)
	m, q := s.membership, s.quorum
	s.mu.Unlock()
	m.Joined, m.Left = nil, nil
	deliver(m)
	deliver(q)
	return func() {
		w.mu.Lock()
		w.stopped = true
		w.mu.Unlock()
		s.mu.Lock()
		defer s.mu.Unlock()
		for i, o := range s.all {
			if o == w {
				s.all = append(s.all[:i:i], s.all[i+1:]...)
				return
			}
		}
	}, nil
}

// tell keeps and delivers an event.
func (s *watches) tell(ev cluster.Event) {
	s.mu.Lock()
	switch ev := ev.(type) {
	case cluster.Membership:
		s.membership = ev
	case cluster.Quorum:
		s.quorum = ev
	}
	all := s.all[:len(s.all):len(s.all)]
	s.mu.Unlock()
	for _, w := range all {
		w.tell(ev)
	}
}

// end ends all watches; with lost they are told.
func (s *watches) end(err error, lost bool) {
	s.mu.Lock()
	if s.over != nil {
		s.mu.Unlock()
		return
	}
	s.over = err
	all := s.all
	s.all = nil
	s.mu.Unlock()
	for _, w := range all {
		if lost {
			w.tell(cluster.Lost{Err: err})
		}
		w.mu.Lock()
		w.stopped = true
		w.mu.Unlock()
	}
}

// state is the last membership and quorum.
func (s *watches) state() (cluster.Membership, cluster.Quorum, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.membership, s.quorum, s.over
}

// lostf is cluster.ErrLost with a reason.
func lostf(err error) error { return fmt.Errorf("%w (%v)", cluster.ErrLost, err) }
