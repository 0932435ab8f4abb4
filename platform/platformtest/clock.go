package platformtest

import (
	"context"
	"slices"
	"sync"
	"time"
)

// Clock is a clock that stands still until it is moved. With Auto set, a
// Sleep moves it by itself and returns at once: right for code that runs in
// one goroutine. Safe for concurrent use.
type Clock struct {
	mu     sync.Mutex
	now    time.Time
	timers []*timer
	// Auto lets Sleep advance the clock.
	Auto bool
	// Slept is the sum of all Sleep calls.
	Slept time.Duration
}

type timer struct {
	at time.Time
	c  chan time.Time
}

// NewClock returns a clock at Epoch that advances by itself.
func NewClock() *Clock { return &Clock{now: Epoch, Auto: true} }

// Now returns the clock's time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Advance moves the clock and delivers the timers that became due, in order.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	slices.SortStableFunc(c.timers, func(a, b *timer) int { return a.at.Compare(b.at) })
	for len(c.timers) > 0 && !c.timers[0].at.After(c.now) {
		c.timers[0].c <- c.timers[0].at
		c.timers = c.timers[1:]
	}
}

// Sleep waits until the clock has moved by d.
func (c *Clock) Sleep(ctx context.Context, d time.Duration) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c.mu.Lock()
	c.Slept += max(d, 0)
	auto := c.Auto
	c.mu.Unlock()
	if auto {
		c.Advance(max(d, 0))
		return nil
	}
	ch, stop := c.After(d)
	defer stop()
	select {
	case <-ch:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// After returns a channel that delivers when the clock has moved by d.
func (c *Clock) After(d time.Duration) (<-chan time.Time, func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := &timer{at: c.now.Add(d), c: make(chan time.Time, 1)}
	if d <= 0 {
		t.c <- t.at
		return t.c, func() {}
	}
	c.timers = append(c.timers, t)
	return t.c, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.timers = slices.DeleteFunc(c.timers, func(x *timer) bool { return x == t })
	}
}
