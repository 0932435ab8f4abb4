package proc

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
)

// detachedVariable tells a process that it is the daemon that Detach started;
// its file descriptor 3 is the pipe to say so.
const detachedVariable = "HAOBOX_DETACHED"

const detachedFD = 3

// Detach starts this program again with the same arguments as a daemon: in a
// session of its own, without a terminal. It waits until that calls the
// function of Detached, or ends: then code is its exit status.
func Detach(args []string) (code int, err error) {
	r, w, err := os.Pipe()
	if err != nil {
		return 1, err
	}
	defer r.Close()
	c := exec.Command("/proc/self/exe")
	c.Args = args
	c.Env = append(os.Environ(), detachedVariable+"=1")
	c.Stdout, c.Stderr = os.Stdout, os.Stderr
	c.ExtraFiles = []*os.File{w}
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = c.Start()
	w.Close()
	if err != nil {
		return 1, fmt.Errorf("start the daemon: %w", err)
	}
	if n, _ := r.Read(make([]byte, 1)); n == 1 {
		return 0, nil
	}
	var exit *exec.ExitError
	if err := c.Wait(); errors.As(err, &exit) && exit.ExitCode() > 0 {
		return exit.ExitCode(), nil
	} else if err != nil {
		return 1, err
	}
	return 0, nil
}

// Detached reports whether this process was started by Detach. ready, which is
// never nil, lets Detach return and takes standard input, output and error away,
// and the files that are copies of them: who waits for the end of the starter's
// output would wait for the daemon's.
func Detached() (is bool, ready func(copies ...*os.File)) {
	if os.Getenv(detachedVariable) != "1" {
		return false, func(...*os.File) {}
	}
	os.Unsetenv(detachedVariable) // not for our children
	syscall.CloseOnExec(detachedFD)
	return true, func(copies ...*os.File) {
		pipe := os.NewFile(detachedFD, "ready")
		_, _ = pipe.Write([]byte{1})
		pipe.Close()
		_ = os.Chdir("/")
		null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
		if err != nil {
			return
		}
		defer null.Close()
		for fd := range 3 {
			_ = syscall.Dup3(int(null.Fd()), fd, 0)
		}
		for _, f := range copies {
			_ = syscall.Dup3(int(null.Fd()), int(f.Fd()), syscall.O_CLOEXEC)
		}
	}
}
