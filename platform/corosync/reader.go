//go:build linux

package corosync

import (
	"context"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// absence is how long after the last call for an event the connection's own
// goroutine goes back to reading. What is not read until then waits in the
// ring, which holds a megabyte.
const absence = 10 * time.Millisecond

// stepper is a way of events that can be read one wake-up at a time, by
// whoever has the turn.
type stepper interface {
	// step waits until the socket says that there are events, and reads them.
	// The socket's read deadline ends it with os.ErrDeadlineExceeded.
	// A caller is in a hurry; the goroutine is not.
	step(caller bool, put func([]byte) error) error
}

// runner is a way of events that one goroutine reads until the connection ends;
// run returns why.
type runner interface {
	run(put func([]byte) error) error
}

// turn says who reads events: the caller that waits for one, or while there is
// none the connection's own goroutine, so that the daemon never has to keep
// them. A caller that reads for itself needs no second goroutine to be woken,
// which costs as much as the daemon needs to carry a message.
type turn struct {
	taken chan struct{} // held by the reader
	// waiting: a caller is in next; calls counts how often one was, and left
	// tells the goroutine of the first end of such a call.
	waiting atomic.Bool
	calls   atomic.Uint64
	left    chan struct{}

	mu     sync.Mutex // guards kicked, together with the socket's read deadline
	kicked bool
}

// longAgo is a deadline that has passed.
func longAgo() time.Time { return time.Unix(1, 0) }

// kick makes the one whose turn it is give it up.
func (c *Conn) kick() {
	c.turn.mu.Lock()
	defer c.turn.mu.Unlock()
	c.turn.kicked = true
	c.sock.SetReadDeadline(longAgo())
}

// start is for the one who has just taken the turn. The goroutine may not
// begin when a caller waits: it would take back the kick that is meant for it.
func (c *Conn) start(caller bool) bool {
	t := &c.turn
	t.mu.Lock()
	defer t.mu.Unlock()
	if !caller && t.waiting.Load() {
		return false
	}
	if t.kicked {
		t.kicked = false
		c.sock.SetReadDeadline(time.Time{})
	}
	return true
}

// readHere reads events for the caller of next until there are some, the
// connection has ended or ctx is over; next looks which.
func (c *Conn) readHere(ctx context.Context, s stepper) {
	t := &c.turn
	t.waiting.Store(true)
	defer func() {
		t.calls.Add(1)
		t.waiting.Store(false)
		select {
		case t.left <- struct{}{}:
		default:
		}
	}()
	select {
	case t.taken <- struct{}{}:
	default:
		c.kick()
		select {
		case t.taken <- struct{}{}:
		case <-c.done:
			return
		case <-ctx.Done():
			return
		}
	}
	defer func() { <-t.taken }()
	c.mu.Lock()
	found := len(c.events) > 0 || c.err != nil // since next looked
	c.mu.Unlock()
	if found {
		return
	}
	c.start(true)
	if ctx.Done() != nil {
		over := make(chan struct{})
		stop := context.AfterFunc(ctx, func() { c.kick(); close(over) })
		defer func() {
			if !stop() {
				<-over
			}
		}()
	}
	if err := guarded(func() error { return s.step(true, c.put) }); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		c.ended(err)
	}
}

// readThere is the connection's own goroutine.
func (c *Conn) readThere(s stepper) {
	t := &c.turn
	for {
		select {
		case t.taken <- struct{}{}:
		case <-c.done:
			return
		}
		err := error(os.ErrDeadlineExceeded)
		if c.start(false) {
			err = guarded(func() error {
				for {
					if err := s.step(false, c.put); err != nil {
						return err
					}
				}
			})
		}
		<-t.taken
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			c.ended(err)
			return
		}
		if !c.absent() {
			return
		}
	}
}

// absent waits until no caller of next has come for a while; false means that
// the connection has ended.
func (c *Conn) absent() bool {
	t := &c.turn
	for {
		select {
		case <-t.left:
		case <-c.done:
			return false
		}
		for calls := t.calls.Load(); ; {
			pause := time.NewTimer(absence)
			select {
			case <-pause.C:
			case <-c.done:
				pause.Stop()
				return false
			}
			if t.waiting.Load() {
				break // its end tells again
			}
			now := t.calls.Load()
			if now == calls {
				return true
			}
			calls = now
		}
	}
}
