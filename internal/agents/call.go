package agents

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/haobox/haobox/internal/restree"
	"github.com/haobox/haobox/platform"
)

// Dialect is who calls, and so what words, statuses and messages mean.
type Dialect uint8

const (
	// RGManager runs NAME.sh.
	RGManager Dialect = iota
	// OCF is Pacemaker.
	OCF
	// InProcess is our rgmanager without a program in between.
	InProcess
)

// Param is a parameter of a resource.
type Param struct{ Name, Value string }

// Call is one action on one resource. It belongs to one goroutine.
type Call struct {
	// Env is the machine. Env.Getenv is not for parameters.
	Env     platform.Env
	Dialect Dialect
	// Type and Name of the resource. Name is the value of the primary
	// parameter, or Pacemaker's name of the resource.
	Type, Name string
	Action     string
	// Args are the words after the action ("migrate NODE").
	Args []string
	// Depth is the check level: 0, 10 or 20.
	Depth int
	// Timeout is how long the manager waits, or 0 if it does not say.
	Timeout time.Duration
	// Others is the number of other started instances on this node.
	Others int
	// Params that have a value, in the order of the metadata.
	Params []Param
	// Log gets the agent's messages; nil means those of the dialect.
	Log func(level slog.Level, text string)
	// Self is the program to start for parts that may hang; "" means this one.
	Self string

	rule *restree.Rule
}

// Instance is "type:name", the form of rgmanager's logs and file names.
func (c *Call) Instance() string { return c.Type + ":" + c.Name }

// Lookup returns a parameter's value, or its default. ok is false if there is
// neither.
func (c *Call) Lookup(name string) (value string, ok bool) {
	for i := range c.Params {
		if c.Params[i].Name == name {
			return c.Params[i].Value, true
		}
	}
	if c.rule != nil {
		if p := c.rule.Param(name); p != nil {
			return p.Default, p.HasDefault
		}
	}
	return "", false
}

// Param returns a parameter's value or default, "" without either.
func (c *Call) Param(name string) string {
	v, _ := c.Lookup(name)
	return v
}

// Bool reads a switch: yes, true, on and numbers but 0 are true, in any case
// (rgmanager's agents take "yes" and 1; the fs family later also on and true).
func (c *Call) Bool(name string) bool { return Yes(c.Param(name)) }

// Yes is the truth of a switch's value.
func Yes(v string) bool {
	switch v = strings.ToLower(strings.TrimSpace(v)); v {
	case "yes", "y", "true", "on":
		return true
	}
	n, err := strconv.Atoi(v)
	return err == nil && n != 0
}

// Seconds reads a number of seconds; def stands for none.
func (c *Call) Seconds(name string, def time.Duration) (time.Duration, error) {
	v := strings.TrimSpace(c.Param(name))
	if v == "" {
		return def, nil
	}
	n, err := strconv.Atoi(strings.TrimSuffix(v, "s"))
	if err != nil || n < 0 || n > maxSeconds {
		return 0, Fail(BadArguments, "parameter %s of %s is %q; it must be a number of seconds from 0 to %d", name, c.Instance(), v, maxSeconds)
	}
	return time.Duration(n) * time.Second, nil
}

// maxSeconds is the longest time a parameter may ask for: a day. Ours.
const maxSeconds = 86400

// missing says which required parameter has no value.
func (c *Call) missing() error {
	if c.rule == nil {
		return nil
	}
	for i := range c.rule.Params {
		p := &c.rule.Params[i]
		if p.Required && c.Param(p.Name) == "" {
			code := BadArguments
			if c.Dialect == OCF {
				code = NotConfigured
			}
			return Fail(code, "no parameter %q for %s: %s", p.Name, c.Instance(), strings.ToLower(p.Short))
		}
	}
	return nil
}

// self is the program to start for parts that run beside this one.
func (c *Call) self() string {
	if c.Self != "" {
		return c.Self
	}
	return "/proc/self/exe"
}

// checking reports whether the action is a status check.
func (c *Call) checking() bool { return c.Action == "status" || c.Action == "monitor" }

// Probe reports whether Pacemaker only asks whether the resource runs here
// (a monitor without an interval), as it does on every node before it starts
// anything.
func (c *Call) Probe() bool {
	if c.Dialect != OCF || c.Action != "monitor" {
		return false
	}
	i := c.Env.Getenv("OCF_RESKEY_CRM_meta_interval")
	return i == "" || i == "0"
}

// Limits of programs that agents start.
const (
	// QueryLimit is for programs that only look: lvs, findfs, exportfs -v. Ours.
	QueryLimit = 30 * time.Second
	// ActionLimit is for programs that change something, if the manager gives
	// no time: the start timeout of fs, the longest of the common agents.
	ActionLimit = 900 * time.Second
	// LongLimit is for programs that somebody else wrote and that say nothing
	// about their time. Ours: ragent.ActionLimit.
	LongLimit = 2 * time.Hour
	// outputSize is how much output of a program is kept, in bytes. Ours.
	outputSize = 1 << 20
)

// Path is the environment that programs of an agent get: rgmanager's agents
// set it themselves, because they get none.
const Path = "/bin:/sbin:/usr/bin:/usr/sbin"

// Output is what a program did.
type Output struct {
	platform.Result
	// Text is standard output and standard error as they came, without the
	// last line end; Stdout is standard output alone.
	Text, Stdout string
}

// Lines are the lines of the text that are not blank.
func (o Output) Lines() []string {
	var out []string
	for l := range strings.Lines(o.Text) {
		if l = strings.TrimRight(l, " \t\r\n"); l != "" {
			out = append(out, l)
		}
	}
	return out
}

// Last is the last line of the text: usually the reason of a failure.
func (o Output) Last() string {
	if l := o.Lines(); len(l) > 0 {
		return l[len(l)-1]
	}
	return o.Ended()
}

// Ended says in words how the program ended.
func (o Output) Ended() string {
	switch {
	case o.TimedOut:
		return fmt.Sprintf("did not end within %v", o.Elapsed.Round(time.Second))
	case o.Signal != 0:
		return fmt.Sprintf("ended by signal %d", o.Signal)
	}
	return fmt.Sprintf("exit status %d", o.ExitCode)
}

// Exec runs a program of the machine with the words as they are: there is no
// shell in between. name is a path or is looked up in Path. The environment is
// PATH, LC_ALL=C and HOME=/. The error is nil whenever the program was
// started; NotInstalled if there is none.
func (c *Call) Exec(ctx context.Context, limit time.Duration, name string, args ...string) (Output, error) {
	return c.Run(ctx, platform.Cmd{Limit: limit, Path: name, Args: append([]string{name}, args...)})
}

// Run is Exec for a command with other surroundings: Cmd.Env nil means that of
// Exec. Output writers are set by Run.
func (c *Call) Run(ctx context.Context, cmd platform.Cmd) (Output, error) {
	path, err := c.Find(cmd.Path)
	if err != nil {
		return Output{}, err
	}
	cmd.Path = path
	if cmd.Env == nil {
		cmd.Env = []string{"PATH=" + Path, "LC_ALL=C", "HOME=/"}
	}
	// The instance is how rgmanager finds the processes that are left.
	if instance := "OCF_RESOURCE_INSTANCE=" + c.Instance(); !slices.Contains(cmd.Env, instance) {
		cmd.Env = append(slices.Clip(cmd.Env), instance)
	}
	if cmd.Limit == 0 {
		cmd.Limit = ActionLimit
	}
	var both, out capture
	both.left, out.left = outputSize, outputSize
	cmd.Stdout, cmd.Stderr = tee{&out, &both}, &both
	if cmd.Args == nil {
		cmd.Args = []string{cmd.Path}
	}
	res, err := c.guard(ctx, cmd)
	o := Output{Result: res, Text: strings.TrimRight(both.String(), "\n"), Stdout: out.String()}
	return o, notRun(err)
}

// notRun gives the error of a program that could not be run its code.
func notRun(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return &Error{Code: NotInstalled, Err: err}
	}
	return &Error{Code: Generic, Err: err}
}

// Stream is Run with the output handed over line by line as it comes. Output
// holds no text then.
func (c *Call) Stream(ctx context.Context, cmd platform.Cmd, line func(string)) (Output, error) {
	path, err := c.Find(cmd.Path)
	if err != nil {
		return Output{}, err
	}
	cmd.Path = path
	if cmd.Limit == 0 {
		cmd.Limit = LongLimit
	}
	w := &LineWriter{Line: line}
	cmd.Stdout, cmd.Stderr = w, w
	res, err := c.guard(ctx, cmd)
	if n := w.Close(); n > 0 {
		c.Warnf("%d more lines of output of %s were dropped", n, cmd.Args[0])
	}
	return Output{Result: res}, notRun(err)
}

// killWait is how long a killed program gets to disappear; rgmanager 3.2 gives
// an agent as long.
const killWait = time.Second

// guard runs a program and returns when it has ended, or when it was killed at
// the end of its limit, even if it does not go: in an uninterruptible wait (a
// device or server that is gone) it can not.
func (c *Call) guard(ctx context.Context, cmd platform.Cmd) (platform.Result, error) {
	limit := cmd.Limit
	cmd.Limit = 0
	expired, stop := c.Env.Clock.After(limit)
	defer stop()
	// An agent that is a program has been put there as a whole.
	if c.Dialect == InProcess && !c.checking() {
		cmd.Group = c.Instance()
	}
	p, err := c.Env.Runner.Start(context.WithoutCancel(ctx), cmd)
	if err != nil {
		return platform.Result{ExitCode: -1}, err
	}
	type end struct {
		res platform.Result
		err error
	}
	done := make(chan end, 1)
	go func() {
		res, err := p.Wait()
		done <- end{res, err}
	}()
	select {
	case e := <-done:
		return e.res, e.err
	case <-expired:
	case <-ctx.Done():
	}
	_ = p.Signal(os.Kill) // it may be gone by now
	gone, stopGone := c.Env.Clock.After(killWait)
	defer stopGone()
	res := platform.Result{ExitCode: -1, TimedOut: true, Elapsed: limit}
	select {
	case e := <-done:
		res.Signal = e.res.Signal
	case <-gone:
		c.Errorf("%s (process %d) does not go, even when killed", cmd.Args[0], p.PID())
	}
	return res, nil
}

// Find returns the real path of a program: of an absolute name, or of one in
// the folders of Path.
func (c *Call) Find(name string) (string, error) {
	if strings.HasPrefix(name, "/proc/self/") {
		return name, nil
	}
	if strings.Contains(name, "/") {
		return c.Env.FS.Path(name), nil
	}
	for _, dir := range strings.Split(Path, ":") {
		p := dir + "/" + name
		if info, err := c.Env.FS.Stat(p); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0 {
			return c.Env.FS.Path(p), nil
		}
	}
	return "", Fail(NotInstalled, "no program %s in %s; install the package that has it", name, Path)
}

// tee writes to two buffers that one stream fills alone.
type tee struct{ a, b *capture }

func (t tee) Write(p []byte) (int, error) {
	_, _ = t.a.Write(p)
	return t.b.Write(p)
}

// Must is Exec for a program whose failure is the action's: the error says
// what was run and the last line it printed.
func (c *Call) Must(ctx context.Context, limit time.Duration, name string, args ...string) (Output, error) {
	o, err := c.Exec(ctx, limit, name, args...)
	if err == nil && !o.OK() {
		err = Fail(Generic, "%s %s: %s: %s", name, strings.Join(args, " "), o.Ended(), o.Last())
	}
	return o, err
}

// Sleep waits; it ends early with the context's error.
func (c *Call) Sleep(ctx context.Context, d time.Duration) error { return c.Env.Clock.Sleep(ctx, d) }

// pollFirst is the part of an interval after which Poll looks again first; each
// time it waits twice as long. Ours: most servers start and end in some
// milliseconds, which somebody waits for.
const pollFirst = 20

// Poll calls done until it is true or the limit is over, in the end once in an
// interval, and reports whether it was true.
func (c *Call) Poll(ctx context.Context, interval, limit time.Duration, done func() bool) bool {
	end := c.Env.Clock.Now().Add(limit)
	for pause := interval / pollFirst; ; pause = min(2*pause, interval) {
		if done() {
			return true
		}
		left := end.Sub(c.Env.Clock.Now())
		if left <= 0 || c.Sleep(ctx, min(pause, left)) != nil {
			return done()
		}
	}
}

// Budget is the time for the whole action: what the manager gives, less a
// margin to end in order, else def.
func (c *Call) Budget(def time.Duration) time.Duration {
	if c.Timeout <= 0 {
		return def
	}
	return c.Timeout - min(c.Timeout/10, 2*time.Second)
}

// capture keeps the first bytes that are written. Safe for concurrent use,
// because two streams write to it.
type capture struct {
	mu   sync.Mutex
	buf  bytes.Buffer
	left int
}

func (b *capture) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := min(len(p), b.left)
	b.buf.Write(p[:n])
	b.left -= n
	return len(p), nil
}

func (b *capture) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
