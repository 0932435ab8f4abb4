//go:build linux

package daemon

import (
	"slices"
	"sync"
	"time"

	"github.com/haobox/haobox/platform/alarm"
)

// timers are what a Loop is to run later, on the machine's clock. One alarm
// serves them all: daemons at rest do little but wait for a time. The goroutine
// that waits for it begins with the first timer and ends with close.
type timers struct {
	post func(func())

	mu     sync.Mutex // guards the fields below, and what the alarm is set to
	alarm  *alarm.Alarm
	failed bool // there is no alarm, and never will be
	closed bool
	all    []*timer // in the order in which they are due
	ended  chan struct{}
}

type timer struct {
	at  time.Time
	run func()
}

// add has run posted after d. false means that this machine has no timer for
// us; otherwise stop drops it, unless it is posted already.
func (t *timers) add(d time.Duration, run func()) (stop func(), ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return func() {}, true
	}
	if t.alarm == nil && !t.failed {
		a, err := alarm.New()
		if t.failed = err != nil; err == nil {
			t.alarm, t.ended = a, make(chan struct{})
			go t.wait(a)
		}
	}
	if t.failed {
		return nil, false
	}
	x := &timer{time.Now().Add(d), run}
	// Behind those of the same time.
	i, _ := slices.BinarySearchFunc(t.all, x.at, func(o *timer, at time.Time) int {
		if o.at.After(at) {
			return 1
		}
		return -1
	})
	if i == 0 && t.alarm.Set(d) != nil {
		return nil, false
	}
	t.all = slices.Insert(t.all, i, x)
	return func() { t.drop(x) }, true
}

// drop leaves the alarm as it is: it may ring for nothing.
func (t *timers) drop(x *timer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if i := slices.Index(t.all, x); i >= 0 {
		t.all = slices.Delete(t.all, i, i+1)
	}
}

// wait posts what is due, until close. Without it a daemon would not notice its
// own pauses: should the alarm ever fail, package time takes over.
func (t *timers) wait(a *alarm.Alarm) {
	defer close(t.ended)
	for err := a.Wait(); err == nil; {
		t.mu.Lock()
		now, n := time.Now(), 0
		for n < len(t.all) && !t.all[n].at.After(now) {
			t.post(t.all[n].run)
			n++
		}
		t.all = slices.Delete(t.all, 0, n)
		if len(t.all) > 0 {
			err = a.Set(t.all[0].at.Sub(now))
		}
		t.mu.Unlock()
		if err == nil {
			err = a.Wait()
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.failed = true
	for _, x := range t.all {
		time.AfterFunc(time.Until(x.at), func() { t.post(x.run) })
	}
	t.all = nil
}

// close drops all timers.
func (t *timers) close() {
	t.mu.Lock()
	t.closed, t.all = true, nil
	a := t.alarm
	t.mu.Unlock()
	if a != nil {
		a.Close()
		<-t.ended
	}
}
