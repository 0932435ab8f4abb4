//go:build linux

// Package rt keeps a daemon running when its machine is short of memory or
// processor time: locked memory and real-time scheduling.
package rt

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strconv"
	"strings"

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

// Trim gives back the memory that the start needed and the work does not: free
// memory of the heap, and pages of the program that come back from its file when
// they are touched. Call it before LockMemory.
func Trim() error {
	debug.FreeOSMemory()
	text, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return fmt.Errorf("list the mappings: %w", err)
	}
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return fmt.Errorf("find the program: %w", err)
	}
	if fixed, err := fixedAddress(); err != nil || !fixed {
		return err
	}
	for line := range strings.Lines(string(text)) {
		// 00400000-00a1b000 r-xp 00000000 fe:00 1234   /usr/sbin/haobox
		f := strings.Fields(line)
		if len(f) != 6 || f[5] != exe || !strings.HasPrefix(f[1], "r-") {
			continue
		}
		var from, to uintptr
		if n, err := fmt.Sscanf(f[0], "%x-%x", &from, &to); err != nil || n != 2 {
			continue
		}
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, from, to-from, unix.MADV_DONTNEED); errno != 0 {
			return fmt.Errorf("give back pages of the program: %w", errno)
		}
	}
	return nil
}

// fixedAddress reports whether the program was linked for one address (ET_EXEC
// of elf(5)). Otherwise pages that look like those of the file were changed when
// it was loaded, and would not come back.
func fixedAddress() (bool, error) {
	f, err := os.Open("/proc/self/exe")
	if err != nil {
		return false, err
	}
	defer f.Close()
	var head [18]byte
	if _, err := io.ReadFull(f, head[:]); err != nil {
		return false, err
	}
	const etExec = 2
	return binary.NativeEndian.Uint16(head[16:]) == etExec, nil
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
