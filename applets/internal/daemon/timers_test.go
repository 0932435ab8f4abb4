//go:build linux

package daemon

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/haobox/haobox/platform"
)

// Timers of the machine's clock come in their order, those of the same time as
// they were set, and what is stopped or comes after the end does not.
func TestLoop_MachineTimers(t *testing.T) {
	t.Parallel()
	l := newLoop(platform.SystemClock{})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); l.run(ctx) }()
	var got []string
	note := func(s string) func() { return func() { got = append(got, s) } }
	fired := make(chan struct{})
	if err := l.Do(ctx, func() {
		l.After(time.Hour, note("never"))
		l.After(30*time.Millisecond, func() {
			note("third")()
			l.After(0, func() { note("fourth")(); close(fired) })
		})
		stops := []func(){l.After(0, note("stopped")), l.After(time.Millisecond, note("stopped"))}
		l.After(10*time.Millisecond, note("first"))
		l.After(20*time.Millisecond, note("second"))
		for _, stop := range stops {
			stop()
		}
	}); err != nil {
		t.Fatal(err)
	}
	<-fired
	cancel()
	<-done
	l.After(0, note("after the end"))()
	if diff := cmp.Diff([]string{"first", "second", "third", "fourth"}, got); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
}

func TestTimers_SameTimeAndDrop(t *testing.T) {
	t.Parallel()
	x := &timers{post: func(func()) {}}
	defer x.close()
	var stops []func()
	for range 1000 {
		stop, ok := x.add(time.Hour, func() {})
		if !ok {
			t.Fatal("this machine has no timer")
		}
		stops = append(stops, stop)
	}
	x.mu.Lock()
	sorted := slices.IsSortedFunc(x.all, func(a, b *timer) int { return a.at.Compare(b.at) })
	x.mu.Unlock()
	if !sorted {
		t.Error("the timers are not in order")
	}
	for _, stop := range stops {
		stop()
		stop()
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.all) > 0 {
		t.Errorf("%d stopped timers are kept", len(x.all))
	}
}

// Should the alarm fail, no timer is lost.
func TestTimers_AlarmFails(t *testing.T) {
	t.Parallel()
	var ran sync.WaitGroup
	ran.Add(2)
	x := &timers{post: func(f func()) { f() }}
	defer x.close()
	if _, ok := x.add(20*time.Millisecond, ran.Done); !ok {
		t.Fatal("this machine has no timer")
	}
	if _, ok := x.add(30*time.Millisecond, ran.Done); !ok {
		t.Fatal("this machine has no timer")
	}
	x.alarm.Close()
	ran.Wait()
	<-x.ended
	if _, ok := x.add(0, func() {}); ok {
		t.Error("a timer was taken that nothing would wake")
	}
}
