//go:build linux

package corosync

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"
)

// empty waits until the daemon's side sees that all events were read.
func (c *fakeConn) empty() {
	c.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		if atomic.LoadUint32(c.ev.word(offReadPt)) == atomic.LoadUint32(c.ev.word(offWritePt)) {
			return
		}
		if time.Now().After(deadline) {
			c.t.Fatal("events are left in the ring")
		}
	}
}

// TestConn_ReadsWithoutCaller: the daemon is not made to keep events when
// nobody waits for them, neither before the first call nor after one.
func TestConn_ReadsWithoutCaller(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	c, err := DialCPG(context.Background(), f.config())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ev := eventSeeds()[0].b
	for range 3 {
		for range 5 {
			f.conn().event(ev)
			f.conn().empty()
		}
		for range 5 {
			if _, err := c.Next(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
		if _, err := c.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("nothing to read: %v", err)
		}
		cancel()
	}
}

// TestConn_TakesTurns: no event is lost, doubled or overlooked, whoever reads
// it and whenever a caller gives up.
func TestConn_TakesTurns(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	c, err := DialCPG(context.Background(), f.config())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	const all = 3000
	fc := f.conn()
	go func() {
		rng := rand.New(rand.NewPCG(1, 2))
		for i := range all {
			b := newRequest(cpgDeliverEvent, 184+4, 0)
			b.u32(24, 1)
			b.text(32, "g")
			b.u32(160, 4)
			b.u32(184, uint32(i))
			fc.event(b)
			if i%64 == 63 {
				fc.empty() // the ring holds some hundreds
			}
			if rng.IntN(20) == 0 {
				time.Sleep(time.Duration(rng.IntN(int(absence / 4))))
			}
		}
	}()
	rng := rand.New(rand.NewPCG(3, 4))
	for got := uint32(0); got < all; {
		ctx, cancel := context.Background(), context.CancelFunc(func() {})
		if rng.IntN(3) == 0 {
			ctx, cancel = context.WithTimeout(ctx, time.Duration(rng.IntN(int(time.Millisecond))))
		}
		ev, err := c.Next(ctx)
		cancel()
		if errors.Is(err, context.DeadlineExceeded) {
			if rng.IntN(10) == 0 {
				time.Sleep(time.Duration(rng.IntN(int(2 * absence))))
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if n := native.Uint32(ev.(Message).Payload); n != got {
			t.Fatalf("event %d, want %d", n, got)
		}
		got++
	}
}

// TestConn_CloseEndsWaitingCaller: also while the caller itself reads.
func TestConn_CloseEndsWaitingCaller(t *testing.T) {
	t.Parallel()
	for range 100 {
		f := newFake(t)
		c, err := DialCPG(context.Background(), f.config())
		if err != nil {
			t.Fatal(err)
		}
		over := make(chan error)
		go func() {
			_, err := c.Next(context.Background())
			over <- err
		}()
		c.Close()
		if err := <-over; !errors.Is(err, ErrClosed) {
			t.Fatalf("got %v, want ErrClosed", err)
		}
	}
}
