package platformtest

import (
	"context"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"sync"

	"github.com/haobox/haobox/platform"
)

// Program is what the fake Runner does for one program.
type Program struct {
	// Stdout and Stderr are what it prints.
	Stdout, Stderr string
	Result         platform.Result
	// Err is why it could not be started.
	Err error
	// Do, if set, runs instead: it sees the whole command.
	Do func(ctx context.Context, cmd platform.Cmd) (platform.Result, error)
}

// Runner is a fake platform.Runner. Safe for concurrent use.
type Runner struct {
	mu sync.Mutex
	// Programs by base name of Cmd.Path; a name that is missing fails to start.
	Programs map[string]Program
	// Calls are the argument vectors of all commands, in order. While programs
	// that were started may still run, use Started.
	Calls [][]string
}

// Started returns the argument vectors of all commands so far, in order.
func (r *Runner) Started() [][]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.Calls)
}

// Run runs the program of that name.
func (r *Runner) Run(ctx context.Context, cmd platform.Cmd) (platform.Result, error) {
	r.note(cmd)
	return r.run(ctx, cmd)
}

// note records a call.
func (r *Runner) note(cmd platform.Cmd) {
	args := cmd.Args
	if args == nil {
		args = []string{cmd.Path}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Calls = append(r.Calls, slices.Clone(args))
}

func (r *Runner) run(ctx context.Context, cmd platform.Cmd) (platform.Result, error) {
	r.mu.Lock()
	p, ok := r.Programs[path.Base(cmd.Path)]
	r.mu.Unlock()
	failed := platform.Result{ExitCode: -1}
	switch {
	case !ok:
		return failed, fmt.Errorf("start %s: %w", cmd.Path, os.ErrNotExist)
	case p.Err != nil:
		return failed, fmt.Errorf("start %s: %w", cmd.Path, p.Err)
	case p.Do != nil:
		return p.Do(ctx, cmd)
	}
	if cmd.Stdout != nil {
		io.WriteString(cmd.Stdout, p.Stdout)
	}
	if cmd.Stderr != nil {
		io.WriteString(cmd.Stderr, p.Stderr)
	}
	return p.Result, nil
}

// Start runs the program in a goroutine; Wait gives its result.
func (r *Runner) Start(ctx context.Context, cmd platform.Cmd) (platform.Process, error) {
	r.note(cmd)
	p := &process{done: make(chan struct{})}
	ctx, p.cancel = context.WithCancel(ctx)
	go func() {
		defer close(p.done)
		p.res, p.err = r.run(ctx, cmd)
	}()
	return p, nil
}

type process struct {
	done   chan struct{}
	cancel context.CancelFunc
	res    platform.Result
	err    error
}

func (p *process) PID() int { return 4711 }

// Signal ends the program's context, whatever the signal.
func (p *process) Signal(os.Signal) error { p.cancel(); return nil }

func (p *process) Wait() (platform.Result, error) {
	<-p.done
	p.cancel()
	return p.res, p.err
}
