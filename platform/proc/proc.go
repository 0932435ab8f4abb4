// Package proc starts and ends programs: the real platform.Runner.
package proc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
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
	c := exec.CommandContext(ctx, cmd.Path)
	if len(cmd.Args) > 0 {
		c.Args = cmd.Args
	}
	c.Env, c.Dir = cmd.Env, cmd.Dir
	c.Stdin, c.Stdout, c.Stderr = cmd.Stdin, cmd.Stdout, cmd.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if cmd.Private {
		if err := private(c.SysProcAttr); err != nil {
			cancel()
			return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
		}
	}
	c.WaitDelay = outputGrace
	p := &process{cmd: c, cancel: cancel, grace: cmd.Grace}
	c.Cancel = p.end
	if err := c.Start(); err != nil {
		cancel()
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	p.started = time.Now()
	return p, nil
}

type process struct {
	cmd     *exec.Cmd
	cancel  context.CancelFunc
	grace   time.Duration
	started time.Time
	// ended is written by exec's watcher before Wait returns.
	ended bool
}

func (p *process) PID() int { return p.cmd.Process.Pid }

func (p *process) Signal(sig os.Signal) error {
	s, ok := sig.(syscall.Signal)
	if !ok {
		return fmt.Errorf("send %v to process %d: not a signal of this system", sig, p.PID())
	}
	// Once it was waited for, its number may be another process's.
	if s == syscall.SIGKILL && p.cmd.Process.Signal(syscall.Signal(0)) == nil {
		return killTree(p.PID())
	}
	return syscall.Kill(-p.PID(), s)
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
	time.AfterFunc(p.grace, func() { _ = p.Signal(syscall.SIGKILL) })
	return err
}

func (p *process) Wait() (platform.Result, error) {
	defer p.cancel()
	err := p.cmd.Wait()
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
