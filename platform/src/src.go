// Package src runs the commands of the AIX System Resource Controller (SRC)
// and of RSCT and reads what they print: lssrc, startsrc, stopsrc, the status
// block of IBM.ConfigRM and lsrpdomain. RSCT brings the same commands to
// Linux, so the package works on both.
//
// Commands are started from an argument vector, never through a shell, and
// found only in the folders that the caller names. What they print decides,
// not their exit status: the status of SRC commands is not uniform.
//
//	c := src.Client{Runner: env.Runner, Dirs: []string{"/usr/bin"}}
//	state, pid, err := c.Subsystem(ctx, "IBM.VMR", 10*time.Second)
package src

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/haobox/haobox/platform"
)

// The ways a command can fail to give an answer. A command that is missing
// is fs.ErrNotExist, one that took too long context.DeadlineExceeded.
var (
	// ErrGarbled: the command ran but its output has no known form.
	ErrGarbled = errors.New("output has no known form")
	// ErrSignal: a signal ended the command.
	ErrSignal = errors.New("ended by a signal")
	// ErrDaemonDown: the resource manager that should answer is not running
	// (message 0513-036).
	ErrDaemonDown = errors.New("resource manager is not running")
	// ErrNoLeader: the status names no group leader.
	ErrNoLeader = errors.New("no group leader")
	// ErrRefused: SRC did not accept a start or stop request.
	ErrRefused = errors.New("request refused")
)

const (
	// maxOutput bounds what is kept of each stream of a command. Ours: a
	// status of a large domain is a few KiB.
	maxOutput = 1 << 20
	// killGrace is the time between SIGTERM and SIGKILL for a command that
	// exceeded its limit. Ours.
	killGrace = 2 * time.Second
)

// Client runs commands. The zero value finds none. Safe for concurrent use.
type Client struct {
	Runner platform.Runner
	// Dirs are the only folders commands are looked up in, in order.
	Dirs []string
	// Env is the whole environment of every command, as KEY=value.
	Env []string
	// Scale divides every limit; 0 means 1. Only simulations set it.
	Scale float64
}

// Output is what a command printed, and its exit status.
type Output struct {
	Stdout, Stderr string
	// Code is the exit status, -1 if it did not exit by itself.
	Code int
	// Cut says that a stream was longer than is kept.
	Cut bool
}

// Text is both streams, for messages that can be on either.
func (o Output) Text() string { return o.Stdout + o.Stderr }

// Look returns the path of a command; the error is fs.ErrNotExist when no
// folder of Dirs holds an executable file of that name.
func (c *Client) Look(name string) (string, error) {
	if filepath.IsAbs(name) {
		if executable(name) {
			return name, nil
		}
		return "", fmt.Errorf("look up %s: %w", name, fs.ErrNotExist)
	}
	for _, d := range c.Dirs {
		if p := filepath.Join(d, name); filepath.IsAbs(d) && executable(p) {
			return p, nil
		}
	}
	return "", fmt.Errorf("look up %s in %s: %w", name, strings.Join(c.Dirs, ":"), fs.ErrNotExist)
}

func executable(name string) bool {
	st, err := os.Stat(name)
	return err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0
}

// Run runs a command and returns what it printed. The error is nil whenever
// the command exited by itself, whatever its status; the output is returned
// with an error too, as far as there is any.
func (c *Client) Run(ctx context.Context, limit time.Duration, argv ...string) (Output, error) {
	return c.run(ctx, limit, nil, argv)
}

// Stream is Run with each piece of output also handed to see as it arrives.
func (c *Client) Stream(ctx context.Context, limit time.Duration, see func(p []byte, stderr bool), argv ...string) (Output, error) {
	return c.run(ctx, limit, see, argv)
}

func (c *Client) run(ctx context.Context, limit time.Duration, see func([]byte, bool), argv []string) (Output, error) {
	if len(argv) == 0 {
		return Output{Code: -1}, fmt.Errorf("run a command: %w", fs.ErrInvalid)
	}
	path, err := c.Look(argv[0])
	if err != nil {
		return Output{Code: -1}, err
	}
	if c.Scale > 0 {
		limit = time.Duration(float64(limit) / c.Scale)
	}
	out, errw := &bounded{see: see}, &bounded{see: see, stderr: true}
	env := c.Env
	if scoped(filepath.Base(path)) {
		env = append(env[:len(env):len(env)], "CT_MANAGEMENT_SCOPE=2")
	}
	res, err := c.Runner.Run(ctx, platform.Cmd{
		Path: path, Args: append([]string{path}, argv[1:]...), Env: env, Dir: "/",
		Stdout: out, Stderr: errw, Limit: limit, Grace: killGrace,
	})
	o := Output{Stdout: out.b.String(), Stderr: errw.b.String(), Code: res.ExitCode, Cut: out.cut || errw.cut}
	line := strings.Join(argv, " ")
	switch {
	case errors.Is(err, fs.ErrPermission):
		return o, fmt.Errorf("run %s: %w", line, fs.ErrNotExist)
	case err != nil:
		return o, fmt.Errorf("run %s: %w", line, err)
	case res.TimedOut && ctx.Err() != nil:
		return o, fmt.Errorf("run %s: %w", line, ctx.Err())
	case res.TimedOut:
		return o, fmt.Errorf("run %s: no answer within %v: %w", line, limit, context.DeadlineExceeded)
	case res.Signal != 0:
		return o, fmt.Errorf("run %s: %w %d", line, ErrSignal, res.Signal)
	}
	return o, nil
}

// scoped reports whether a command needs the management scope of the peer
// domain in its environment: the paper's first limitation.
func scoped(name string) bool {
	switch name {
	case "lsrpdomain", "startrpdomain", "stoprpdomain", "lsrsrc", "chrsrc", "ksysmgr":
		return true
	}
	return false
}

// bounded keeps the first maxOutput bytes of a stream. Only the goroutine
// that copies the stream writes to it.
type bounded struct {
	b      strings.Builder
	see    func([]byte, bool)
	stderr bool
	cut    bool
}

func (w *bounded) Write(p []byte) (int, error) {
	keep := min(len(p), maxOutput-w.b.Len())
	w.b.Write(p[:keep])
	w.cut = w.cut || keep < len(p)
	if w.see != nil {
		w.see(p, w.stderr)
	}
	return len(p), nil
}

// Subsystem returns the state of a subsystem (Active, Inoperative, Stopping
// or Absent) and its process id, 0 if it has none. Any other answer is an
// error and not a state.
func (c *Client) Subsystem(ctx context.Context, name string, limit time.Duration) (state string, pid int, err error) {
	o, err := c.Run(ctx, limit, "lssrc", "-s", name)
	// The text counts even when the status is not zero or the run was cut.
	s, perr := ParseSubsystem(o.Text(), name)
	switch {
	case err != nil:
		return "", 0, err
	case perr != nil:
		return "", 0, fmt.Errorf("state of %s: %w", name, perr)
	}
	return s.State, s.PID, nil
}

// Answers asks the daemon itself for its long status (lssrc -ls); a process
// that hangs does not answer although SRC calls it active.
func (c *Client) Answers(ctx context.Context, name string, limit time.Duration) error {
	o, err := c.Run(ctx, limit, "lssrc", "-ls", name)
	switch {
	case err != nil:
		return err
	case strings.Contains(o.Text(), "0513-036"):
		return fmt.Errorf("long status of %s: %w", name, ErrDaemonDown)
	case o.Code != 0:
		return fmt.Errorf("long status of %s: exit status %d", name, o.Code)
	}
	return nil
}

// Start asks SRC to start a subsystem. That it runs already (0513-029) is
// success; so is any message that names a new process (0513-059).
func (c *Client) Start(ctx context.Context, name string, limit time.Duration) error {
	o, err := c.Run(ctx, limit, "startsrc", "-s", name)
	switch t := o.Text(); {
	case err != nil:
		return err
	case strings.Contains(t, "0513-029"), strings.Contains(t, "0513-059"):
		return nil
	case o.Code != 0:
		return fmt.Errorf("start %s: exit status %d, %q: %w", name, o.Code, FirstLine(t), ErrRefused)
	}
	return nil
}

// Stop asks SRC to stop a subsystem. level is "" for a normal stop, "-f" for
// a forced one, or "-c" to cancel it: SIGTERM, and after the subsystem's own
// grace time SIGKILL, both sent by SRC. That it is down already (0513-004)
// or not defined (0513-085) is success.
func (c *Client) Stop(ctx context.Context, name, level string, limit time.Duration) error {
	argv := []string{"stopsrc", "-s", name}
	if level != "" {
		argv = []string{"stopsrc", level, "-s", name}
	}
	o, err := c.Run(ctx, limit, argv...)
	switch t := o.Text(); {
	case err != nil:
		return err
	case strings.Contains(t, "0513-044"), strings.Contains(t, "0513-004"), strings.Contains(t, "0513-085"):
		return nil
	case o.Code != 0:
		return fmt.Errorf("stop %s: exit status %d, %q: %w", name, o.Code, FirstLine(t), ErrRefused)
	}
	return nil
}

// GroupLeader returns the leader of the RSCT peer domain as IBM.ConfigRM
// names it: host name, RSCT node id (0 if not printed) and node number.
func (c *Client) GroupLeader(ctx context.Context, limit time.Duration) (name string, id uint64, number int, err error) {
	o, err := c.Run(ctx, limit, "lssrc", "-ls", "IBM.ConfigRM")
	if err != nil {
		return "", 0, 0, err
	}
	l, err := ParseLeader(o.Text())
	return l.Name, l.ID, l.Number, err
}

// DomainOnline reports whether one of the listed peer domains is online.
// known is false when lsrpdomain is missing, fails or lists none.
func (c *Client) DomainOnline(ctx context.Context, limit time.Duration) (online, known bool) {
	o, err := c.Run(ctx, limit, "lsrpdomain")
	if err != nil || o.Code != 0 {
		return false, false
	}
	for _, d := range ParseDomains(o.Stdout) {
		known = true
		online = online || d.OpState == "Online"
	}
	return online, known
}

// BootTime returns what "who -b" says about the last boot, without blanks, as
// a name for this boot on systems that have no boot id.
func (c *Client) BootTime(ctx context.Context, limit time.Duration) (string, error) {
	o, err := c.Run(ctx, limit, "who", "-b")
	if err != nil {
		return "", err
	}
	_, when, ok := strings.Cut(o.Stdout, "system boot")
	f := strings.Fields(when)
	if !ok || len(f) == 0 {
		return "", fmt.Errorf("time of the last boot: %w", ErrGarbled)
	}
	return strings.Join(f, "-"), nil
}

// SendLog hands one line to logger(1), for systems without a syslog socket.
func (c *Client) SendLog(ctx context.Context, priority, tag, text string, limit time.Duration) error {
	o, err := c.Run(ctx, limit, "logger", "-p", priority, "-t", tag, text)
	if err == nil && o.Code != 0 {
		err = fmt.Errorf("run logger: exit status %d", o.Code)
	}
	return err
}
