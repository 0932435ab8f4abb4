//go:build linux

package alarm

import (
	"testing"
	"time"
)

func newAlarm(t *testing.T) *Alarm {
	t.Helper()
	a, err := New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	return a
}

func set(t *testing.T, a *Alarm, d time.Duration) {
	t.Helper()
	if err := a.Set(d); err != nil {
		t.Fatal(err)
	}
}

func TestAlarm_NeverEarly(t *testing.T) {
	t.Parallel()
	a := newAlarm(t)
	for _, d := range []time.Duration{-time.Second, 0, 1, time.Millisecond, 30 * time.Millisecond} {
		from := time.Now()
		set(t, a, d)
		if err := a.Wait(); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(from); took < d {
			t.Errorf("%v rang after %v", d, took)
		}
	}
}

func TestAlarm_LastSetCounts(t *testing.T) {
	t.Parallel()
	a := newAlarm(t)
	rang := make(chan error, 1)
	set(t, a, time.Hour)
	go func() { rang <- a.Wait() }()
	set(t, a, 2*time.Hour)
	set(t, a, time.Millisecond) // whether Wait has begun or not
	if err := <-rang; err != nil {
		t.Fatal(err)
	}
}

func TestAlarm_CloseEndsWait(t *testing.T) {
	t.Parallel()
	a := newAlarm(t)
	set(t, a, time.Hour)
	rang := make(chan error, 1)
	go func() { rang <- a.Wait() }()
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-rang; err == nil {
		t.Error("a closed timer rang")
	}
	if err := a.Set(0); err == nil {
		t.Error("a closed timer was set")
	}
}
