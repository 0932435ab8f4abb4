//go:build !linux

package proc

import "syscall"

// cgroup exists on Linux only.
type cgroup struct{}

func newCgroup(string) *cgroup { return nil }

func (*cgroup) join(*syscall.SysProcAttr) {}

func (*cgroup) kill() error { return nil }

func (*cgroup) release(bool) {}
