//go:build linux

// Package rt keeps a daemon running when its machine is short of memory or
// processor time: locked memory and real-time scheduling.
package rt

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// LockMemory locks what this process uses in memory, now and later, page by
// page as it is touched (mlockall(2), MCL_ONFAULT): the Go run time reserves
// far more than it uses.
func LockMemory() error {
	if err := unix.Mlockall(unix.MCL_CURRENT | unix.MCL_FUTURE | unix.MCL_ONFAULT); err != nil {
		return fmt.Errorf("lock the memory: %w", err)
	}
	return nil
}

// Policy is a class of scheduling (sched(7)).
type Policy int

// Policies.
const (
	Other Policy = iota
	RoundRobin
	FIFO
)

// Schedule gives all threads of this process a policy; priority is 1 to 99 for
// RoundRobin and FIFO, a nice value for Other. Programs that it starts get the
// ordinary one again (SCHED_RESET_ON_FORK), and so do threads that the Go run
// time starts later: call it again now and then.
func Schedule(p Policy, priority int) error {
	attr := unix.SchedAttr{Size: unix.SizeofSchedAttr, Flags: unix.SCHED_FLAG_RESET_ON_FORK}
	switch p {
	case RoundRobin:
		attr.Policy, attr.Priority = unix.SCHED_RR, uint32(max(priority, 1))
	case FIFO:
		attr.Policy, attr.Priority = unix.SCHED_FIFO, uint32(max(priority, 1))
	default:
		attr.Policy, attr.Nice = unix.SCHED_NORMAL, int32(priority)
	}
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return fmt.Errorf("list the threads: %w", err)
	}
	for _, e := range tasks {
		tid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		// A thread may have ended meanwhile.
		if err := unix.SchedSetAttr(tid, &attr, 0); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("set the scheduling of a thread: %w", err)
		}
	}
	return nil
}
