package proc

import "syscall"

// private adds what platform.Cmd.Private says.
func private(a *syscall.SysProcAttr) error {
	a.Cloneflags = syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWPID
	a.Pdeathsig = syscall.SIGKILL
	return nil
}
