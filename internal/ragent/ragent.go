// Package ragent runs resource agents for a manager: our own in this process
// or as a child, shell agents of rgmanager, and, through the agents "ocf" and
// "systemd", agents of Pacemaker and units. Whatever the agent is or does, a
// run ends within a limit, its output becomes lines of the log, and its result
// is one exit status:
//
//	r := ragent.Runner{Env: env, Dir: restree.AgentDir, Native: registry}
//	shell.Run = func(c restree.Call) int { return r.Run(ctx, ragent.FromCall(c)).Exit }
//
// It does not decide what is run when; that is package restree.
package ragent

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/haobox/haobox/internal/agents"
	"github.com/haobox/haobox/internal/clusterconf"
	"github.com/haobox/haobox/internal/restree"
	"github.com/haobox/haobox/platform"
)

// Limits of a run that has none of its own. rgmanager waits for ever unless
// __enforce_timeouts is set; these are long enough for what the action's hint
// promises tenfold, and end a manager's wait for something that will not come.
const (
	// CheckLimit is for status checks and everything that changes nothing.
	CheckLimit = 10 * time.Minute
	// ActionLimit is for start, stop, recover, reload and migrate: longer than
	// the start of the slowest agent (SAPDatabase, 1800 s).
	ActionLimit = 2 * time.Hour
	// hintFactor is by how much a run may exceed the timeout of its metadata.
	hintFactor = 10
	// killWait is how long a killed agent gets to disappear; rgmanager 3.2.
	killWait = time.Second
)

// Job is one run of an agent.
type Job struct {
	// Type and Name of the resource; Program is the agent's file name in the
	// agent directory, "ip.sh".
	Type, Name, Program string
	// Service is the full name of the service that the resource belongs to.
	Service string
	// Action, the check level, and the node to migrate to.
	Action string
	Depth  int
	Target string
	// Params are the attributes that have a value, in the order of slots.
	Params []agents.Param
	// Environ is the whole environment of a program.
	Environ []string
	// Others is the number of other started instances on this node.
	Others int
	// Timeout is that of the action table. Enforced makes it the limit.
	Timeout  time.Duration
	Enforced bool
	// Silent: a failure is expected and not worth a notice (a status check of
	// what was not started).
	Silent bool
}

// FromCall turns a step of an operation on a resource tree into a job. dir is
// the agent directory.
func FromCall(c restree.Call, dir string) Job {
	n := c.Node
	j := Job{
		Type: n.Resource.Rule.Type, Name: n.Resource.Name(), Program: n.Resource.Rule.Agent,
		Action: c.Action, Depth: c.Depth, Target: c.Target, Environ: n.Environ(dir, c.Action, c.Depth),
		Others: n.Resource.Incarnations, Timeout: c.Timeout, Enforced: c.Enforced,
		Silent: c.Action == "status" && n.State != restree.Started,
	}
	top := n
	for top.Parent != nil {
		top = top.Parent
	}
	j.Service = top.ID()
	if n.State == restree.Started || n.State == restree.Failed {
		j.Others = max(j.Others-1, 0)
	}
	for _, v := range n.Values() {
		if !v.Null {
			j.Params = append(j.Params, agents.Param{Name: v.Name, Value: v.Value})
		}
	}
	return j
}

// Limit is how long the job may take.
func (j Job) Limit() time.Duration {
	if j.Enforced && j.Timeout > 0 {
		return j.Timeout
	}
	base := ActionLimit
	if j.looks() {
		base = CheckLimit
	}
	return max(base, hintFactor*j.Timeout)
}

// looks reports whether the job changes nothing.
func (j Job) looks() bool {
	switch j.Action {
	case "status", "monitor", "validate-all", "verify-all", "meta-data":
		return true
	}
	return false
}

// nodeVariables say where the files of a node are: / and /run of several nodes
// on one machine, and cluster.conf.
var nodeVariables = [...]string{"HAOBOX_ROOT", "HAOBOX_RUN", clusterconf.PathVariable}

// Result is how a run ended.
type Result struct {
	// Exit is the agent's status, 0 for success. It is Generic for an agent
	// that was ended, ended by a signal or could not be run.
	Exit int
	// TimedOut: the limit was over. Stuck: it did not even go when killed.
	TimedOut, Stuck bool
	// BrokenOff: the caller's context ended it, so Exit says nothing of the
	// resource.
	BrokenOff bool
	// Signal ended it, or 0.
	Signal int
	// InProcess: no program was started.
	InProcess bool
	Elapsed   time.Duration
}

// Text is what rgmanager prints for a status: 7 and above are "unspecified".
func Text(exit int) string {
	switch exit {
	case agents.OK:
		return "success"
	case agents.Generic:
		return "generic error"
	case agents.BadArguments:
		return "invalid argument(s)"
	case agents.Unimplemented:
		return "function not implemented"
	case agents.Permission:
		return "insufficient privileges"
	case agents.NotInstalled:
		return "program not installed"
	case agents.NotConfigured:
		return "program not configured"
	}
	return "unspecified"
}

// Runner runs agents. Safe for concurrent use.
type Runner struct {
	// Env is the machine. Env.Runner must start programs in process groups of
	// their own.
	Env platform.Env
	// Dir is the agent directory, restree.AgentDir.
	Dir string
	// Native finds our own agent of a type; nil means there are none.
	Native func(typ string) *agents.Agent
	// Self is this program, to run our agents as children; "" means
	// /proc/self/exe.
	Self string
	// Remember is how long it is remembered that the agent directory has no
	// agent that comes before ours; 0 means that it is looked for in each run.
	Remember time.Duration
	// Log gets the messages about a job, with "[type] " in front of those of
	// agents; nil means Env.Log.
	Log func(j Job, level slog.Level, text string)

	mu   sync.Mutex
	ours map[string]time.Time // when it was seen that a file is none, or ours
}

func (r *Runner) log(j Job, level slog.Level, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if r.Log != nil {
		r.Log(j, level, text)
		return
	}
	if r.Env.Log != nil {
		r.Env.Log.Log(context.Background(), level, text)
	}
}

// Run runs an agent and waits for its end, or for the limit. ctx ends it
// early, with the same means as the limit. That is no fault: a check that is
// broken off is in the log for debugging only, anything else is a warning, for
// something may be half done.
func (r *Runner) Run(ctx context.Context, j Job) Result {
	start := r.Env.Clock.Now()
	res := r.dispatch(ctx, j)
	res.Elapsed = r.Env.Clock.Now().Sub(start)
	switch {
	case res.BrokenOff:
		level := slog.LevelWarn
		if j.looks() {
			level = slog.LevelDebug
		}
		r.log(j, level, "%s on %s:%s was broken off", j.Action, j.Type, j.Name)
	case res.Exit != agents.OK && !j.Silent:
		r.log(j, agents.LevelNotice, `%s on %s "%s" returned %d (%s)`, j.Action, j.Type, j.Name, res.Exit, Text(res.Exit))
	}
	return res
}

// dispatch chooses the way. An agent that an administrator put into the agent
// directory has precedence over ours of the same name.
func (r *Runner) dispatch(ctx context.Context, j Job) Result {
	file := path.Join(r.Dir, j.Program)
	ours := r.native(j.Type)
	switch {
	case ours != nil && !r.precedes(file):
	case r.exists(file):
		return r.child(ctx, j, platform.Cmd{Path: r.Env.FS.Path(file), Args: r.words(file, j), Env: j.Environ}, false)
	default:
		r.log(j, slog.LevelError, "%s of %s:%s: there is no agent %s", j.Action, j.Type, j.Name, file)
		return Result{Exit: agents.NotInstalled}
	}
	c, err := r.call(ours, j)
	if err != nil {
		r.log(j, slog.LevelError, "%s of %s:%s: %v", j.Action, j.Type, j.Name, err)
		return Result{Exit: agents.Generic}
	}
	if ours.InProcess != nil && ours.InProcess(c) {
		return r.inside(ctx, ours, c, j)
	}
	self := r.Self
	if self == "" {
		self = "/proc/self/exe"
	}
	env := append(append([]string{}, j.Environ...), agents.LogVariable+"=parent")
	for _, name := range nodeVariables {
		if v := r.Env.Getenv(name); v != "" {
			env = append(env, name+"="+v) // it belongs to the same node
		}
	}
	return r.child(ctx, j, platform.Cmd{Path: self, Args: r.words(ours.Program(), j), Env: env}, true)
}

func (r *Runner) native(typ string) *agents.Agent {
	if r.Native == nil {
		return nil
	}
	return r.Native(typ)
}

func (r *Runner) exists(file string) bool {
	info, err := r.Env.FS.Stat(file)
	return err == nil && info.Mode().IsRegular()
}

// precedes is foreign with Remember.
func (r *Runner) precedes(file string) bool {
	if r.Remember <= 0 {
		return r.foreign(file)
	}
	now := r.Env.Clock.Now()
	r.mu.Lock()
	at, known := r.ours[file]
	r.mu.Unlock()
	if known && now.Sub(at) < r.Remember {
		return false
	}
	if r.foreign(file) {
		return true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ours == nil {
		r.ours = map[string]time.Time{}
	}
	r.ours[file] = now
	return false
}

// maxLinks is how many symlinks from an agent to its program are followed.
const maxLinks = 8

// foreign reports whether the file is there and is not this program.
func (r *Runner) foreign(file string) bool {
	info, err := r.Env.FS.Stat(file)
	if err != nil {
		return false
	}
	if self, err := os.Stat("/proc/self/exe"); err == nil && os.SameFile(info, self) {
		return false
	}
	for range maxLinks {
		if path.Base(file) == "haobox" {
			return false
		}
		target, err := r.Env.FS.Readlink(file)
		if err != nil {
			return true
		}
		if !path.IsAbs(target) {
			target = path.Join(path.Dir(file), target)
		}
		file = target
	}
	return true
}

func (r *Runner) words(program string, j Job) []string {
	w := []string{program, j.Action}
	if j.Target != "" {
		w = append(w, j.Target)
	}
	return w
}

func (r *Runner) call(a *agents.Agent, j Job) (*agents.Call, error) {
	c, err := a.NewCallFor(r.Env, j.Action, j.Depth, j.Name, j.Params)
	if err != nil {
		return nil, err
	}
	c.Others, c.Self = j.Others, r.Self
	if !j.Enforced {
		c.Timeout = j.Timeout
	}
	if j.Target != "" {
		c.Args = []string{j.Target}
	}
	c.Log = func(level slog.Level, text string) { r.log(j, level, "[%s] %s", j.Type, text) }
	return c, nil
}

// inside runs one of our agents in this process. One that does not heed its
// context is left behind after the limit; one that panics is a failure, not
// the end of the manager.
func (r *Runner) inside(ctx context.Context, a *agents.Agent, c *agents.Call, j Job) Result {
	limit := j.Limit()
	if log, caller := c.Log, ctx; j.looks() {
		c.Log = func(level slog.Level, text string) {
			if caller.Err() != nil { // what it says now is about that
				level = slog.LevelDebug
			}
			log(level, text)
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	expired, stop := r.Env.Clock.After(limit)
	defer stop()
	done := make(chan int, 1)
	go func() {
		code := agents.Generic
		defer func() {
			if p := recover(); p != nil {
				r.log(j, slog.LevelError, "[%s] %s of %s:%s: the agent broke off: %v", j.Type, j.Action, j.Type, j.Name, p)
			}
			done <- code
		}()
		code = a.Do(ctx, c)
	}()
	out := Result{Exit: agents.Generic, InProcess: true}
	select {
	case out.Exit = <-done:
		out.BrokenOff = out.Exit != agents.OK && ctx.Err() != nil // it was told first
		return out
	case <-expired:
		r.timeout(j, limit)
		out.TimedOut = true
	case <-ctx.Done():
		out.BrokenOff = true
	}
	cancel()
	grace, stop := r.Env.Clock.After(killWait)
	defer stop()
	select {
	case <-done:
	case <-grace:
		r.log(j, slog.LevelError, "Task %s of %s:%s did not end when told to", j.Action, j.Type, j.Name)
		out.Stuck = true
	}
	return out
}

func (r *Runner) timeout(j Job, limit time.Duration) {
	r.log(j, slog.LevelError, "%s on %s:%s timed out after %d seconds", j.Action, j.Type, j.Name, int(limit/time.Second))
}

// child runs a program. native says that it is ours and puts levels in front
// of its lines without logging them itself.
func (r *Runner) child(ctx context.Context, j Job, cmd platform.Cmd, native bool) Result {
	out := &agents.LineWriter{Line: func(line string) { r.line(j, line, native) }}
	cmd.Stdout, cmd.Stderr, cmd.Contained = out, out, true
	if !j.looks() {
		// What it leaves running is watched, and found by this.
		cmd.Group = j.Type + ":" + j.Name
	}
	// The limit is kept here, not by the runner: a program in an
	// uninterruptible wait does not go when it is killed.
	limit := j.Limit()
	expired, stop := r.Env.Clock.After(limit)
	defer stop()
	p, err := r.Env.Runner.Start(context.WithoutCancel(ctx), cmd)
	if err != nil {
		r.log(j, slog.LevelError, "%s of %s:%s: %v", j.Action, j.Type, j.Name, err)
		return Result{Exit: agents.Generic}
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
	defer func() {
		if n := out.Close(); n > 0 {
			r.log(j, slog.LevelWarn, "[%s] %d more lines of output were dropped", j.Type, n)
		}
	}()
	result := Result{Exit: agents.Generic}
	select {
	case e := <-done:
		return r.ended(j, e.res, e.err)
	case <-expired:
		r.timeout(j, limit)
		result.TimedOut = true
	case <-ctx.Done():
		result.BrokenOff = true
	}
	if err := p.Signal(os.Kill); err != nil {
		r.log(j, slog.LevelDebug, "kill process group %d of %s on %s:%s: %v", p.PID(), j.Action, j.Type, j.Name, err)
	}
	grace, stopGrace := r.Env.Clock.After(killWait)
	defer stopGrace()
	select {
	case e := <-done:
		result.Signal = e.res.Signal
	case <-grace:
		r.log(j, slog.LevelError, "Task %s PID %d did not exit after SIGKILL", j.Action, p.PID())
		result.Stuck = true
	}
	return result
}

func (r *Runner) ended(j Job, res platform.Result, err error) Result {
	switch {
	case err != nil:
		r.log(j, slog.LevelError, "%s of %s:%s: %v", j.Action, j.Type, j.Name, err)
		return Result{Exit: agents.Generic}
	case res.Signal != 0:
		r.log(j, slog.LevelError, "%s on %s:%s was ended by signal %d", j.Action, j.Type, j.Name, res.Signal)
		return Result{Exit: agents.Generic, Signal: res.Signal}
	case res.ExitCode < 0:
		return Result{Exit: agents.Generic}
	}
	return Result{Exit: res.ExitCode}
}

// line puts a line of an agent's output into the log. Shell agents of
// rgmanager print "<level> text" or "<digit> text" for what they have sent to
// the log themselves: that is for debugging only.
func (r *Runner) line(j Job, line string, native bool) {
	level, text, tagged := cutLevel(line)
	switch {
	case tagged && !native:
		level = slog.LevelDebug
	case !tagged:
		level = slog.LevelInfo
		if j.Silent {
			level = slog.LevelDebug
		}
	}
	who := j.Type
	if !native {
		who += ":" + j.Name
	}
	r.log(j, level, "[%s] %s", who, text)
}

// cutLevel splits "<err> text".
func cutLevel(line string) (slog.Level, string, bool) {
	rest, ok := strings.CutPrefix(line, "<")
	if !ok {
		return 0, line, false
	}
	word, text, ok := strings.Cut(rest, ">")
	if !ok {
		return 0, line, false
	}
	if n, err := strconv.Atoi(word); err == nil && n >= 0 && n < len(syslogLevels) {
		return syslogLevels[n], strings.TrimSpace(text), true
	}
	if l, ok := agents.Level(word); ok {
		return l, strings.TrimSpace(text), true
	}
	return 0, line, false
}

// syslogLevels are the numbers of clulog(8) -s.
var syslogLevels = [...]slog.Level{
	agents.LevelAlert, agents.LevelAlert, slog.LevelError + 4, slog.LevelError,
	slog.LevelWarn, agents.LevelNotice, slog.LevelInfo, slog.LevelDebug,
}
