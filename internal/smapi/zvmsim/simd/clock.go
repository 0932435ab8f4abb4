package simd

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/haobox/haobox/platform"
)

// MaxRate is how much faster than the machine's a Clock may run: ours.
const MaxRate = 10000

// ErrClock: a clock cannot run so.
var ErrClock = errors.New("the clock runs forward, at a rate above 0 and at most 10000")

// Clock is a platform.Clock for a simulated system: it can run faster or
// slower than the machine's and jump forward. Safe for concurrent use.
type Clock struct {
	real platform.Clock

	mu   sync.Mutex
	rate float64
	// At the time from of the machine it was at.
	from, at time.Time
	// changed is closed when rate or at have changed.
	changed chan struct{}
}

// NewClock returns a clock that shows the machine's time and runs at rate
// times its speed; 0 means 1.
func NewClock(real platform.Clock, rate float64) (*Clock, error) {
	if rate == 0 {
		rate = 1
	}
	if !validRate(rate) {
		return nil, ErrClock
	}
	now := real.Now()
	return &Clock{real: real, rate: rate, from: now, at: now, changed: make(chan struct{})}, nil
}

func validRate(rate float64) bool { return rate > 0 && rate <= MaxRate }

// Now returns the time of the simulated system.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now()
}

func (c *Clock) now() time.Time {
	return c.at.Add(time.Duration(float64(c.real.Now().Sub(c.from)) * c.rate))
}

// Rate returns how much faster than the machine's it runs.
func (c *Clock) Rate() float64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rate
}

// Advance makes the clock jump forward.
func (c *Clock) Advance(d time.Duration) error {
	if d < 0 {
		return ErrClock
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.change(d, c.rate)
	return nil
}

// SetRate changes the speed from now on.
func (c *Clock) SetRate(rate float64) error {
	if !validRate(rate) {
		return ErrClock
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.change(0, rate)
	return nil
}

// change starts a new stretch of time, jump later. Called with mu held.
func (c *Clock) change(jump time.Duration, rate float64) {
	c.at = c.now().Add(jump)
	c.from = c.real.Now()
	c.rate = rate
	close(c.changed)
	c.changed = make(chan struct{})
}

// state returns the time, what it takes on the machine's clock for d to pass,
// and what tells of a change.
func (c *Clock) state(d time.Duration) (now time.Time, wait time.Duration, changed <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	wait = time.Duration(float64(d) / c.rate)
	if d > 0 && wait < 1 {
		wait = 1
	}
	return c.now(), wait, c.changed
}

// After returns a channel that delivers when d has passed on this clock, also
// if the clock is changed meanwhile.
func (c *Clock) After(d time.Duration) (<-chan time.Time, func()) {
	ctx, cancel := context.WithCancel(context.Background())
	out := make(chan time.Time, 1)
	go func() {
		if c.Sleep(ctx, d) == nil {
			out <- c.Now()
		}
	}()
	return out, cancel
}

// Sleep waits until d has passed on this clock or ctx is done.
func (c *Clock) Sleep(ctx context.Context, d time.Duration) error {
	end := c.Now().Add(d)
	for {
		now, _, _ := c.state(0)
		left := end.Sub(now)
		if left <= 0 {
			return ctx.Err()
		}
		_, wait, changed := c.state(left)
		due, stop := c.real.After(wait)
		select {
		case <-due:
		case <-changed:
		case <-ctx.Done():
		}
		stop()
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}
