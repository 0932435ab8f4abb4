package agents

import (
	"context"
	"fmt"
	"path"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/haobox/haobox/platform"
)

// Folders of the agents that run servers; rgmanager's agents use the same.
const (
	pidRoot  = "/var/run/cluster"
	confRoot = "/etc/cluster"
	logRoot  = "/var/log/cluster"
)

const (
	// shutdownWait is how long a server may take to end when shutdown_wait is
	// not given or 0: the default of rgmanager's agents.
	shutdownWait = 20 * time.Second
	// startLimit is for a server's program to go to the background, and for
	// its pid file to appear then. Ours: agents of rgmanager have no limit.
	startLimit = 60 * time.Second
	// checkLimit is for a server's check of its configuration. Ours: below the
	// 10 s that rgmanager gives a status.
	checkLimit = 8 * time.Second
	// lastWait is between a stronger signal and the verdict. Ours.
	lastWait = 5 * time.Second
	// pollInterval is between two looks at a process that starts or ends.
	pollInterval = 100 * time.Millisecond
	// reuseSlack is how much later than its pid file a process must have
	// started to be another one. Ours: more than a step of the clock by NTP.
	reuseSlack = time.Minute
)

// Numbers of further signals that agents send to servers.
const (
	sigINT   = 2
	sigWINCH = 28
)

// server is what the agents of servers with a pid file have in common: texts,
// file names, what running means, and how to end one.
type server struct {
	kill Kill
	// programs are the base names of its executables.
	programs []string
	// pid is the pid file's path.
	pid string
	// second is one of a pair of servers whose first one says what happens.
	second bool
	// own lists more processes that belong to it although no pid file says so.
	own func(c *Call) []int
}

// instanceFile checks that the resource's name can be a part of paths and of
// configuration files, and returns "type:name".
func instanceFile(c *Call) (string, error) {
	bad := func(r rune) bool { return unicode.IsControl(r) || strings.ContainsRune("/\\\"'%$\ufffd", r) }
	if c.Name == "" {
		return "", Fail(BadArguments, "no name for the %s resource", c.Type)
	}
	if strings.ContainsFunc(c.Name, bad) || len(c.Name) > 200 {
		return "", Fail(BadArguments, "name of the %s resource is %q; it names files, so it must have no slash, quote, backslash, $, %% or control character and at most 200 bytes", c.Type, c.Name)
	}
	return c.Instance(), nil
}

// inService checks that the resource belongs to a service. Pacemaker has none.
func inService(c *Call) error {
	if c.Param("service_name") == "" && c.Dialect != OCF {
		return Fail(BadArguments, "Service %s Is Not A Child Of A Service", c.Instance())
	}
	return nil
}

// pidState is what a pid file says.
type pidState uint8

const (
	pidNone  pidState = iota // no file, or an empty one
	pidStale                 // of a process that has ended
	pidAlive                 // of a process that runs
)

// look reads the pid file. A file that can not be read or understood is an
// error: what is unknown is not off.
func (s *server) look(c *Call) (pid int, state pidState, err error) {
	info, err := c.Env.FS.Stat(s.pid)
	if isMissing(err) {
		return 0, pidNone, nil
	}
	if err != nil {
		return 0, pidNone, Fail(Generic, "look at pid file %s: %w", s.pid, err)
	}
	if !info.Mode().IsRegular() || info.Size() > 4096 {
		return 0, pidNone, Fail(Generic, "pid file %s is no small file but %v of %d bytes; remove it when the server is down", s.pid, info.Mode().Type(), info.Size())
	}
	text, err := c.Env.FS.ReadFile(s.pid)
	if isMissing(err) {
		return 0, pidNone, nil
	}
	if err != nil {
		return 0, pidNone, Fail(Generic, "read pid file %s: %w", s.pid, err)
	}
	first, _, _ := strings.Cut(strings.TrimSpace(string(text)), "\n")
	if first == "" {
		return 0, pidNone, nil
	}
	n, err := strconv.ParseUint(strings.TrimSpace(first), 10, 31)
	if err != nil || n < 2 {
		return 0, pidNone, Fail(Generic, "pid file %s holds %q, which is no process; remove it when the server is down", s.pid, first)
	}
	pid = int(n)
	if !Alive(c, pid) || s.reused(c, pid, info.ModTime()) {
		return pid, pidStale, nil
	}
	return pid, pidAlive, nil
}

// reused reports whether pid is surely another program's by now: it is none of
// the server's programs and started after the pid file was written.
func (s *server) reused(c *Call, pid int, written time.Time) bool {
	exe, err := c.Env.FS.Readlink(procFile(pid, "exe"))
	if err != nil || s.ours(exe) {
		return false
	}
	started, ok := startTime(c, pid)
	return ok && started.After(written.Add(reuseSlack))
}

// ours reports whether an executable is one of the server's.
func (s *server) ours(exe string) bool {
	exe = path.Base(strings.TrimSuffix(exe, " (deleted)"))
	for _, p := range s.programs {
		if exe == p {
			return true
		}
	}
	return false
}

// ticks is USER_HZ, the unit of times in /proc (proc(5)), the same on all
// systems that haobox is built for.
const ticks = 100

// startTime is when a process started, from /proc.
func startTime(c *Call, pid int) (time.Time, bool) {
	f := statFields(c, pid)
	system, err := c.Env.FS.ReadFile("/proc/stat")
	if len(f) < 20 || err != nil {
		return time.Time{}, false
	}
	_, rest, ok := strings.Cut(string(system), "\nbtime ")
	boot, _, _ := strings.Cut(rest, "\n")
	b, err1 := strconv.ParseInt(boot, 10, 64)
	t, err2 := strconv.ParseInt(f[19], 10, 64)
	if !ok || err1 != nil || err2 != nil {
		return time.Time{}, false
	}
	return time.Unix(b+t/ticks, 0), true
}

// statFields are the fields of /proc/PID/stat from the third, the state, on.
func statFields(c *Call, pid int) []string {
	text, err := c.Env.FS.ReadFile(procFile(pid, "stat"))
	if err != nil {
		return nil
	}
	return strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
}

func procFile(pid int, name string) string { return "/proc/" + strconv.Itoa(pid) + "/" + name }

// left lists processes of the server whose main process has ended: those in
// its process group that run one of its programs, and its own.
func (s *server) left(c *Call, leader int) []int {
	out := s.group(c, leader)
	if s.own != nil {
		out = append(out, s.own(c)...)
	}
	return out
}

// group lists the processes of a process group that run one of the server's
// programs, but for the leader.
func (s *server) group(c *Call, leader int) []int {
	var out []int
	for _, pid := range members(c, leader) {
		if exe, err := c.Env.FS.Readlink(procFile(pid, "exe")); err == nil && pid != leader && s.ours(exe) {
			out = append(out, pid)
		}
	}
	return out
}

// members lists the processes of a process group that are alive.
func members(c *Call, group int) []int {
	if group < 2 {
		return nil
	}
	var out []int
	for _, p := range Processes(c) {
		if f := statFields(c, p.PID); len(f) > 2 && f[2] == strconv.Itoa(group) && Alive(c, p.PID) {
			out = append(out, p.PID)
		}
	}
	return out
}

// monitor is status without the configuration: the pid file and its process. It
// looks at the run-time folder and at /proc alone, which can not block.
func (s *server) monitor(c *Call) error {
	c.Debugf("Monitoring Service %s", c.Instance())
	pid, state, err := s.look(c)
	if err == nil && state == pidAlive {
		c.Debugf("Monitoring Service %s > Service Is Running", c.Instance())
		return nil
	}
	say := c.Errorf
	if c.Action != "status" && c.Action != "monitor" || c.Probe() {
		say = c.Debugf // a start or a probe only wants to know
	}
	switch {
	case err != nil:
		c.Errorf("%v", err)
		return Quiet(Generic)
	case state == pidNone:
		say("Checking Existence Of File %s [%s] > Failed", s.pid, c.Instance())
		say("Monitoring Service %s > Service Is Not Running", c.Instance())
		return Quiet(NotRunning)
	}
	say("Monitoring Service %s > Service Is Not Running: process %d has ended and left %s", c.Instance(), pid, s.pid)
	if c.Dialect == OCF {
		return Quiet(NotRunning)
	}
	return Quiet(Generic)
}

// begin opens a start: done is true if the server runs already. It makes the
// folder of the pid file and removes a stale one.
func (s *server) begin(c *Call) (done bool, err error) {
	err = s.monitor(c)
	if err == nil {
		return true, nil
	}
	pid, state, lookErr := s.look(c)
	if lookErr != nil {
		c.Errorf("Starting Service %s > Failed", c.Instance())
		return false, Quiet(Generic)
	}
	if !s.second {
		c.Infof("Starting Service %s", c.Instance())
	}
	if state == pidAlive {
		c.Errorf("Checking Non-Existence of PID File %s [%s] > Failed - PID File Exists For %s", s.pid, c.Instance(), c.Instance())
		return false, Quiet(Generic)
	}
	if err := c.Env.FS.MkdirAll(path.Dir(s.pid), 0o755); err != nil {
		return false, Fail(Generic, "make the folder of pid file %s: %w", s.pid, err)
	}
	if state == pidStale {
		c.Warnf("Removing stale pid file %s of process %d", s.pid, pid)
	}
	if err := c.Env.FS.Remove(s.pid); err != nil && !isMissing(err) {
		return false, Fail(Generic, "remove stale pid file %s: %w", s.pid, err)
	}
	return false, nil
}

// await waits for the pid file of a server that was just started.
func (s *server) await(ctx context.Context, c *Call, limit time.Duration, gone func() bool) error {
	up := func() bool { _, state, err := s.look(c); return err == nil && state == pidAlive }
	c.Poll(ctx, pollInterval, limit, func() bool { return up() || gone != nil && gone() })
	if up() {
		return nil
	}
	if gone != nil && gone() {
		return fmt.Errorf("the program ended before there was a process in %s", s.pid)
	}
	return fmt.Errorf("no running process in %s after %v", s.pid, limit)
}

// step is a signal and the time a server may take to obey.
type step struct {
	signal int
	wait   time.Duration
}

// end stops the server: the signals in turn, until the process has ended. What
// was started by a main process that is gone is ended as well.
func (s *server) end(ctx context.Context, c *Call, steps ...step) error {
	inst := c.Instance()
	if !s.second {
		c.Infof("Stopping Service %s", inst)
	}
	pid, state, err := s.look(c)
	switch {
	case err != nil:
		c.Errorf("Stopping Service %s > Failed: %v", inst, err)
		return Quiet(Generic)
	case state == pidNone:
		say := c.Errorf
		if c.Dialect == OCF {
			say = c.Infof // Pacemaker stops what does not run as a matter of course
		}
		say("Checking Existence Of File %s [%s] > Failed - File Doesn't Exist", s.pid, inst)
	case state == pidAlive:
		for _, st := range steps {
			if err := s.kill(pid, st.signal); err != nil && Alive(c, pid) {
				c.Errorf("Stopping Service %s > Failed: send signal %d to process %d: %v", inst, st.signal, pid, err)
				return Quiet(Generic)
			}
			again := c.Env.Clock.Now().Add(lastWait)
			if c.Poll(ctx, pollInterval, st.wait, func() bool {
				if now := c.Env.Clock.Now(); st.signal == SIGTERM && now.After(again) {
					// A server that was just starting may have lost the first one.
					_ = s.kill(pid, st.signal)
					again = now.Add(lastWait)
				}
				return !Alive(c, pid)
			}) {
				break
			}
			c.Warnf("Stopping Service %s: process %d goes on %v after signal %d", inst, pid, st.wait, st.signal)
		}
		if Alive(c, pid) {
			c.Errorf("Stopping Service %s > Failed - Timeout Error", inst)
			return Quiet(Generic)
		}
	}
	if !s.sweep(ctx, c, pid) {
		c.Errorf("Stopping Service %s > Failed - Timeout Error", inst)
		return Quiet(Generic)
	}
	if _, state, err := s.look(c); err == nil && state == pidStale {
		if err := c.Env.FS.Remove(s.pid); err != nil && !isMissing(err) {
			c.Warnf("Remove pid file %s: %v", s.pid, err)
		}
	}
	if !s.second {
		c.Infof("Stopping Service %s > Succeed", inst)
	}
	return nil
}

// sweep ends what a dead main process left behind and reports whether all of
// it is gone.
func (s *server) sweep(ctx context.Context, c *Call, leader int) bool {
	for _, st := range []step{{SIGTERM, lastWait}, {SIGKILL, lastWait}} {
		left := s.left(c, leader)
		if len(left) == 0 {
			return true
		}
		c.Warnf("Sending signal %d to %d processes that %s left behind: %v", st.signal, len(left), c.Instance(), left)
		for _, pid := range left {
			if err := s.kill(pid, st.signal); err != nil && Alive(c, pid) {
				c.Warnf("Send signal %d to process %d: %v", st.signal, pid, err)
			}
		}
		if c.Poll(ctx, pollInterval, st.wait, func() bool { return len(s.left(c, leader)) == 0 }) {
			return true
		}
	}
	return false
}

// waitFor is shutdown_wait. 0 stands for the default: a stop that does not wait
// could not know its result.
func waitFor(c *Call, def time.Duration) (time.Duration, error) {
	d, err := c.Seconds("shutdown_wait", def)
	if d == 0 {
		d = def
	}
	return d, err
}

// background starts a program that stays, in its own process group, with its
// output appended to a file below /var/log/cluster. gone reports whether it has
// ended; nothing stops it when the action ends.
func background(ctx context.Context, c *Call, cmd platform.Cmd) (p platform.Process, gone func() bool, log string, err error) {
	real, err := c.Find(cmd.Path)
	if err != nil {
		return nil, nil, "", err
	}
	cmd.Path = real
	log = logRoot + "/" + c.Type + "/" + c.Instance() + ".log"
	if err := c.Env.FS.MkdirAll(path.Dir(log), 0o755); err != nil {
		return nil, nil, "", Fail(Generic, "make the folder of %s: %w", log, err)
	}
	// A file and no pipe, because the program outlives its reader.
	f, err := c.Env.FS.OpenFile(log, appendFlags, 0o640)
	if err != nil {
		return nil, nil, "", Fail(Generic, "open the log %s: %w", log, err)
	}
	defer f.Close()
	cmd.Stdout, cmd.Stderr = f, f
	p, err = c.Env.Runner.Start(context.WithoutCancel(ctx), cmd)
	if err != nil {
		return nil, nil, "", &Error{Code: NotInstalled, Err: err}
	}
	done := make(chan struct{})
	// It ends with the program, or with this process.
	go func() { _, _ = p.Wait(); close(done) }()
	return p, func() bool {
		select {
		case <-done:
			return true
		default:
			return false
		}
	}, log, nil
}

// lastLogged is the last line of a file that is not blank, for messages.
func lastLogged(c *Call, name string) string {
	text, err := c.Env.FS.ReadFile(name)
	if err != nil {
		return ""
	}
	lines := Output{Text: string(text[max(0, len(text)-4096):])}.Lines()
	if len(lines) == 0 {
		return ""
	}
	return lines[len(lines)-1]
}

// Words splits options as a shell does, without anything that a shell would
// replace or run: blanks separate, quotes and backslashes hold together.
func Words(text string) ([]string, error) {
	var out []string
	var b strings.Builder
	open, quote, escaped := false, rune(0), false
	for _, r := range text {
		switch {
		case escaped:
			if quote == '"' && r != '"' && r != '\\' {
				b.WriteByte('\\')
			}
			b.WriteRune(r)
			escaped = false
		case r == '\\' && quote != '\'':
			open, escaped = true, true
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			b.WriteRune(r)
		case r == '\'' || r == '"':
			open, quote = true, r
		case r == ' ' || r == '\t' || r == '\n':
			if open {
				out = append(out, b.String())
				b.Reset()
				open = false
			}
		default:
			open = true
			b.WriteRune(r)
		}
	}
	if quote != 0 || escaped {
		return nil, fmt.Errorf("%q ends inside a quote", text)
	}
	if open {
		out = append(out, b.String())
	}
	return out, nil
}

// options are the words of a parameter.
func options(c *Call, name string) ([]string, error) {
	v := c.Param(name)
	if strings.ContainsRune(v, 0) {
		return nil, Fail(BadArguments, "parameter %s of %s holds a NUL character", name, c.Instance())
	}
	words, err := Words(v)
	if err != nil {
		return nil, Fail(BadArguments, "parameter %s of %s: %w", name, c.Instance(), err)
	}
	return words, nil
}
