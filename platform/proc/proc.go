// Package proc starts and ends programs: the real platform.Runner.
package proc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/haobox/haobox/platform"
)

// outputGrace is how long Wait goes on reading output after the program's own
// end: a daemon that it left behind may hold the pipe open for ever.
const outputGrace = 500 * time.Millisecond

// Runner runs programs of this machine, each in a process group of its own.
type Runner struct{}

// Run starts cmd and waits for its end.
func (r Runner) Run(ctx context.Context, cmd platform.Cmd) (platform.Result, error) {
	p, err := r.Start(ctx, cmd)
	if err != nil {
		return platform.Result{ExitCode: -1}, err
	}
	return p.Wait()
}

// Start starts cmd.
func (Runner) Start(ctx context.Context, cmd platform.Cmd) (platform.Process, error) {
	cancel := context.CancelFunc(func() {})
	if cmd.Limit > 0 {
		ctx, cancel = context.WithTimeout(ctx, cmd.Limit)
	}
	p := &process{cancel: cancel, grace: cmd.Grace}
	if cmd.Contained || cmd.Group != "" {
		p.group = newCgroup(cmd.Group)
	}
	err := p.start(ctx, cmd)
	if err != nil && p.group != nil {
		// Kernels before 5.7 and emulators can not start it there.
		p.group.release(false)
		p.group = nil
		err = p.start(ctx, cmd)
	}
	if err != nil {
		cancel()
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	return p, nil
}

func (p *process) start(ctx context.Context, cmd platform.Cmd) error {
	c := exec.CommandContext(ctx, cmd.Path)
	if len(cmd.Args) > 0 {
		c.Args = cmd.Args
	}
	c.Env, c.Dir = cmd.Env, cmd.Dir
	c.Stdin, c.Stdout, c.Stderr = cmd.Stdin, cmd.Stdout, cmd.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if cmd.Private {
		if err := private(c.SysProcAttr); err != nil {
			return err
		}
	}
	if p.group != nil {
		p.group.join(c.SysProcAttr)
	}
	c.WaitDelay = outputGrace
	c.Cancel = p.end
	p.cmd = c
	if err := c.Start(); err != nil {
		return err
	}
	p.started = time.Now()
	return nil
}

type process struct {
	cmd     *exec.Cmd
	cancel  context.CancelFunc
	grace   time.Duration
	started time.Time
	group   *cgroup // or nil
	killed  atomic.Bool
	// ended is written by exec's watcher before Wait returns.
	ended bool
}

func (p *process) PID() int { return p.cmd.Process.Pid }

func (p *process) Signal(sig os.Signal) error {
	s, ok := sig.(syscall.Signal)
	if !ok {
		return fmt.Errorf("send %v to process %d: not a signal of this system", sig, p.PID())
	}
	if s != syscall.SIGKILL {
		return syscall.Kill(-p.PID(), s)
	}
	p.killed.Store(true)
	// Once it was waited for, its number may be another process's.
	var err error
	if p.cmd.Process.Signal(syscall.Signal(0)) == nil {
		err = killTree(p.PID())
	} else {
		err = syscall.Kill(-p.PID(), s)
	}
	if p.group != nil {
		// The tree as well: what a session manager has moved is not in there.
		err = errors.Join(err, p.group.kill())
	}
	return err
}

// end is called by os/exec when the context is done.
func (p *process) end() error {
	p.ended = true
	if p.grace <= 0 {
		return p.Signal(syscall.SIGKILL)
	}
	p.cmd.WaitDelay = p.grace + outputGrace
	err := p.Signal(syscall.SIGTERM)
	// The group is killed after the grace even if its leader went at once:
	// what it left behind was asked to go as well.
	time.AfterFunc(p.grace, func() {
		_ = p.Signal(syscall.SIGKILL)
		if p.group != nil {
			p.group.release(true)
		}
	})
	return err
}

func (p *process) Wait() (platform.Result, error) {
	defer p.cancel()
	err := p.cmd.Wait()
	if p.group != nil && (!p.ended || p.grace <= 0) { // else it is for end
		p.group.release(p.killed.Load())
	}
	res := platform.Result{Elapsed: time.Since(p.started), TimedOut: p.ended, ExitCode: -1}
	if st := p.cmd.ProcessState; st != nil {
		res.ExitCode = st.ExitCode()
		if ws, ok := st.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
			res.Signal = int(ws.Signal())
		}
	}
	var exit *exec.ExitError
	switch {
	case err == nil, errors.As(err, &exit), errors.Is(err, exec.ErrWaitDelay), p.ended:
		return res, nil
	}
	return res, fmt.Errorf("run %s: %w", p.cmd.Path, err)
}

// Kill sends a signal by its number to a process, or to a process group if pid
// is negative; 0 only asks whether it exists.
func Kill(pid, signal int) error {
	if pid == 0 || pid == -1 {
		return fmt.Errorf("send signal %d to process %d: that means many", signal, pid)
	}
	return syscall.Kill(pid, syscall.Signal(signal))
}
