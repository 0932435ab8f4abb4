//go:build !linux

package proc

import "syscall"

// killTree kills a process group. Differs from Linux: a descendant in a group
// of its own stays.
func killTree(leader int) error { return syscall.Kill(-leader, syscall.SIGKILL) }

// KillMarked does nothing. Differs from Linux: nothing tells what environment a
// process was started with.
func KillMarked(string) {}
