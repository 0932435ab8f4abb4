//go:build linux

package daemon

import (
	"context"
	"sync"
	"time"

	"github.com/haobox/haobox/platform"
)

// Loop runs functions one after the other in one goroutine, in the order in
// which they were posted. Safe for concurrent use.
type Loop struct {
	clock  platform.Clock
	mu     sync.Mutex
	queue  []func()
	over   bool
	wake   chan struct{}
	ended  chan struct{}
	timers *timers // nil with another clock than the machine's
}

func newLoop(clock platform.Clock) *Loop {
	l := &Loop{clock: clock, wake: make(chan struct{}, 1), ended: make(chan struct{})}
	if _, real := clock.(platform.SystemClock); real {
		l.timers = &timers{post: l.Post}
	}
	return l
}

// Post queues f and does not wait. After the end of the loop f is dropped.
func (l *Loop) Post(f func()) {
	l.mu.Lock()
	if !l.over {
		l.queue = append(l.queue, f)
	}
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// Do runs f in the loop and waits for its end. It must not be called in the
// loop. The error is that of ctx, or context.Canceled after the end of the
// loop; f may then still run.
func (l *Loop) Do(ctx context.Context, f func()) error {
	done := make(chan struct{})
	l.Post(func() { defer close(done); f() })
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-l.ended:
		return context.Canceled
	}
}

// After runs f in the loop after d. stop, called in the loop, makes sure that
// f does not run any more.
func (l *Loop) After(d time.Duration, f func()) (stop func()) {
	stopped := false
	run := func() {
		if !stopped {
			stopped = true
			f()
		}
	}
	if l.timers != nil {
		if drop, ok := l.timers.add(d, run); ok {
			return func() { stopped = true; drop() }
		}
	}
	c, release := l.clock.After(d)
	off := make(chan struct{})
	go func() {
		defer release()
		select {
		case <-c:
			l.Post(run)
		case <-off:
		case <-l.ended:
		}
	}()
	return func() {
		if !stopped {
			stopped = true
			close(off)
		}
	}
}

func (l *Loop) run(ctx context.Context) {
	defer close(l.ended)
	if l.timers != nil {
		defer l.timers.close()
	}
	for {
		l.mu.Lock()
		all := l.queue
		l.queue = nil
		if ctx.Err() != nil {
			l.over = true
			l.mu.Unlock()
			return
		}
		l.mu.Unlock()
		for _, f := range all {
			if ctx.Err() != nil {
				break
			}
			f()
		}
		if len(all) > 0 {
			continue
		}
		select {
		case <-l.wake:
		case <-ctx.Done():
		}
	}
}
