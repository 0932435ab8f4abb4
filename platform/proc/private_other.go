//go:build !linux

package proc

import (
	"errors"
	"syscall"
)

// errPrivate: platform.Cmd.Private where there are no namespaces.
var errPrivate = errors.New("this system has no private namespaces")

func private(*syscall.SysProcAttr) error { return errPrivate }
