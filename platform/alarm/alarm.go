//go:build linux

// Package alarm is a clock that wakes one goroutine for the price of one
// context switch. Go's own timers wake two threads each: the one that runs the
// timer, and the runtime's monitor (sysmon), which sleeps until the next timer,
// too, looks around several times, and sleeps again. For a daemon at rest that
// looks at its watch some times a second, this is most of what it costs. A
// timerfd_create(2) wakes the network poller alone.
//
// The limits of deeds, which are hardly ever reached, stay with package time.
package alarm

import (
	"fmt"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Alarm rings once after each Set. Set and Close are safe for concurrent use;
// Wait has one caller.
type Alarm struct {
	f   *os.File
	raw syscall.RawConn
}

// New returns an Alarm that is not set.
func New() (*Alarm, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("create a timer: %w", err)
	}
	a := &Alarm{f: os.NewFile(uintptr(fd), "timerfd")}
	if a.raw, err = a.f.SyscallConn(); err != nil {
		a.f.Close()
		return nil, fmt.Errorf("create a timer: %w", err)
	}
	return a, nil
}

// Set makes it ring after d, at once if d is not positive, and not at the time
// of an earlier Set. The clock is that of package time, CLOCK_MONOTONIC. It
// fails after Close.
func (a *Alarm) Set(d time.Duration) error {
	// Zero would disarm it.
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(max(d, 1)))}
	var errno syscall.Errno
	err := a.raw.Control(func(fd uintptr) {
		// Raw: a system call that the runtime knows of wakes its monitor. This
		// one and the read below do not block.
		_, _, errno = unix.RawSyscall6(unix.SYS_TIMERFD_SETTIME, fd, 0, uintptr(unsafe.Pointer(&spec)), 0, 0, 0)
	})
	if err == nil && errno != 0 {
		err = errno
	}
	if err != nil {
		return fmt.Errorf("set a timer: %w", err)
	}
	return nil
}

// Wait waits until it rings. It fails after Close.
func (a *Alarm) Wait() error {
	var count uint64
	var errno syscall.Errno
	err := a.raw.Read(func(fd uintptr) bool {
		_, _, errno = unix.RawSyscall(unix.SYS_READ, fd, uintptr(unsafe.Pointer(&count)), unsafe.Sizeof(count))
		return errno != unix.EAGAIN
	})
	if err == nil && errno != 0 {
		err = errno
	}
	if err != nil {
		return fmt.Errorf("wait for a timer: %w", err)
	}
	return nil
}

// Close ends it, and a Wait under way.
func (a *Alarm) Close() error { return a.f.Close() }
