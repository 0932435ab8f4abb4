package agents

import (
	"context"
	"fmt"
	"net/netip"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/haobox/haobox/platform"
)

// mysqlStartup is startup_wait when it is not given: the default of
// rgmanager's agent.
const mysqlStartup = 30 * time.Second

// Greeter asks a server that speaks first.
type Greeter interface {
	// Greeting connects by "tcp" or "unix" and returns what the server sends of
	// its own accord. The limit of ctx bounds it.
	Greeting(ctx context.Context, network, address string) ([]byte, error)
}

// MySQL runs a MySQL or MariaDB server on listen_address, or on the addresses
// of its service, below mysqld_safe, which starts it again when it crashes.
// Where a package has no mysqld_safe, the server is started itself.
func MySQL(kill Kill, greeter Greeter) *Agent {
	m := mysql{kill, greeter}
	return &Agent{Type: "mysql", Validate: m.verify, Start: m.start, Stop: m.stop, Status: m.status, InProcess: (*Call).checking}
}

type mysql struct {
	kill    Kill
	greeter Greeter
}

func (m mysql) server(c *Call) (*server, error) {
	inst, err := instanceFile(c)
	if err != nil {
		return nil, err
	}
	s := &server{kill: m.kill, pid: pidRoot + "/mysql/" + inst + ".pid", programs: []string{"mysqld", "mariadbd"}}
	// A server that mysqld_safe was just starting has no pid file yet.
	s.own = func(c *Call) []int { return s.group(c, m.guard(c, s)) }
	return s, nil
}

// guard is the file with the process of mysqld_safe.
func (s *server) guard() string { return strings.TrimSuffix(s.pid, ".pid") + ".safe" }

func (m mysql) verify(_ context.Context, c *Call) error {
	c.Debugf("Verifying Configuration Of %s", c.Instance())
	if _, err := m.server(c); err != nil {
		return err
	}
	if err := inService(c); err != nil {
		return err
	}
	if a := c.Param("listen_address"); a != "" {
		if _, err := netip.ParseAddr(a); err != nil {
			return Fail(BadArguments, "parameter listen_address of %s is %q; it must be an IP address", c.Instance(), a)
		}
	}
	if _, err := c.Seconds("startup_wait", mysqlStartup); err != nil {
		return err
	}
	if _, err := waitFor(c, shutdownWait); err != nil {
		return err
	}
	if _, err := options(c, "mysqld_options"); err != nil {
		return err
	}
	if _, err := m.program(c); err != nil {
		return err
	}
	return needsSource(c, c.Param("config_file"))
}

func (m mysql) program(c *Call) (string, error) {
	if p := firstFile(c, []string{"/usr/bin/mysqld_safe", "/usr/bin/mariadbd-safe", "/usr/sbin/mysqld", "/usr/libexec/mysqld", "/usr/sbin/mariadbd"}); p != "" {
		return p, nil
	}
	return "", Fail(NotInstalled, "no /usr/bin/mysqld_safe and no server of its own for %s; install MySQL or MariaDB", c.Instance())
}

// bind is what the server listens on: the parameter, or the service's addresses
// (a list needs MySQL 8.0.13 or MariaDB 10.11), or "" for none.
func (m mysql) bind(c *Call) (string, error) {
	found, err := addresses(c)
	if err != nil {
		return "", err
	}
	if a := c.Param("listen_address"); a != "" {
		return a, nil
	}
	text := make([]string, len(found))
	for i, a := range found {
		text[i] = a.String()
	}
	return strings.Join(text, ","), nil
}

func (m mysql) start(ctx context.Context, c *Call) error {
	s, err := m.server(c)
	if err != nil {
		return err
	}
	if done, err := s.begin(c); done || err != nil {
		return err
	}
	if pid := m.guarding(c, s); pid != 0 {
		c.Errorf("Starting Service %s > Failed - mysqld_safe (process %d) of an earlier start still runs; stop the resource first", c.Instance(), pid)
		return Quiet(Generic)
	}
	address, err := m.bind(c)
	if err != nil {
		return err
	}
	program, err := m.program(c)
	if err != nil {
		return err
	}
	wait, err := c.Seconds("startup_wait", mysqlStartup)
	if err != nil {
		return err
	}
	words, err := options(c, "mysqld_options")
	if err != nil {
		return err
	}
	args := []string{program, "--defaults-file=" + c.Param("config_file"), "--pid-file=" + c.Env.FS.Path(s.pid)}
	if address != "" { // MariaDB does not start with an empty one
		args = append(args, "--bind-address="+address)
	}
	safe := strings.HasSuffix(program, "safe")
	if !safe {
		args = append(args, "--user=mysql")
	}
	if err := m.folder(ctx, c, words); err != nil {
		return err
	}
	p, gone, log, err := background(ctx, c, platform.Cmd{
		Path: program, Args: append(args, words...), Dir: c.Env.FS.Path("/"),
		Env: []string{"PATH=" + Path, "LC_ALL=C", "HOME=/"},
	})
	if err == nil && safe {
		err = c.Env.FS.WriteFile(s.guard(), fmt.Appendf(nil, "%d\n", p.PID()), 0o644)
	}
	if err == nil {
		err = s.await(ctx, c, max(wait, time.Second), gone)
	}
	if err != nil {
		c.Errorf("Starting Service %s > Failed - Timeout Error: %v; last line of %s: %s; the server's own messages are in its error log or the system log", c.Instance(), err, log, lastLogged(c, log))
		return Quiet(max(Code(err), Generic))
	}
	m.ready(ctx, c, s, max(wait, time.Second))
	c.Infof("Starting Service %s > Succeed", c.Instance())
	return nil
}

// ready waits until the server greets its clients: it writes its pid file long
// before, and until then MariaDB hangs when it is told to end.
func (m mysql) ready(ctx context.Context, c *Call, s *server, limit time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	greets := func() bool {
		pid, state, err := s.look(c)
		if err != nil || state != pidAlive {
			return true
		}
		network, address, ok := endpoint(c, pid)
		if !ok {
			return false
		}
		_, err = m.greeter.Greeting(ctx, network, address)
		return err == nil
	}
	if !c.Poll(ctx, pollInterval, limit, greets) {
		c.Warnf("The server of %s runs, but does not answer after %v; it may be recovering its tables", c.Instance(), limit)
	}
}

// folder lets the server write its pid file: it does so as its own user.
func (m mysql) folder(ctx context.Context, c *Call, words []string) error {
	user := "mysql"
	for i, w := range words {
		if u, ok := strings.CutPrefix(w, "--user="); ok {
			user = u
		} else if (w == "--user" || w == "-u") && i+1 < len(words) {
			user = words[i+1]
		}
	}
	return owned(ctx, c, pidRoot+"/mysql", user)
}

// owned gives a folder to a user, if there is such a user.
func owned(ctx context.Context, c *Call, dir, user string) error {
	if !isUser(c, user) {
		return nil
	}
	o, err := c.Exec(ctx, QueryLimit, "chown", "--", user, c.Env.FS.Path(dir))
	if err != nil {
		return err
	}
	if !o.OK() {
		return Fail(Generic, "give %s to user %s: %s", dir, user, o.Last())
	}
	return nil
}

// isUser reports whether /etc/passwd has the user.
func isUser(c *Call, user string) bool {
	text, err := readLimited(c, "/etc/passwd", maxServerConf)
	return err == nil && user != "" && strings.Contains("\n"+string(text), "\n"+user+":")
}

// guard is the process of mysqld_safe in its file, alive or not, or 0.
func (m mysql) guard(c *Call, s *server) int {
	text, err := readLimited(c, s.guard(), 64)
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid < 2 {
		return 0
	}
	return pid
}

// guarding is the process of mysqld_safe if it runs, or 0.
func (m mysql) guarding(c *Call, s *server) int {
	pid := m.guard(c, s)
	if !Alive(c, pid) {
		return 0
	}
	// Its name may be another program's by now.
	line, err := c.Env.FS.ReadFile(procFile(pid, "cmdline"))
	if err != nil || !strings.Contains(string(line), "safe\x00") || !strings.Contains(string(line), path.Base(s.pid)) {
		return 0
	}
	return pid
}

// stop ends the server; mysqld_safe ends when the server has ended in order. If
// the server had crashed, mysqld_safe may be about to start it again: then it
// is ended first (it takes no signal but SIGKILL).
func (m mysql) stop(ctx context.Context, c *Call) error {
	s, err := m.server(c)
	if err != nil {
		return err
	}
	wait, err := waitFor(c, shutdownWait)
	if err != nil && c.Dialect != OCF {
		return err
	}
	if _, state, err := s.look(c); err == nil && state != pidAlive {
		m.endGuard(ctx, c, s, 0)
	} else {
		// mysqld_safe may have started it a moment ago; MariaDB hangs when it is
		// told to end while it starts.
		m.ready(ctx, c, s, lastWait)
	}
	if err := s.end(ctx, c, step{SIGTERM, wait}); err != nil {
		return err
	}
	m.endGuard(ctx, c, s, lastWait)
	if pid := m.guarding(c, s); pid != 0 {
		return Fail(Generic, "Stopping Service %s > Failed: mysqld_safe (process %d) does not end", c.Instance(), pid)
	}
	if err := c.Env.FS.Remove(s.guard()); err != nil && !isMissing(err) {
		c.Warnf("Remove %s: %v", s.guard(), err)
	}
	return nil
}

// endGuard waits for the end of mysqld_safe, and then ends it with all that it
// has started: a server on its way may not even have the server's name yet.
func (m mysql) endGuard(ctx context.Context, c *Call, s *server, patience time.Duration) {
	if c.Poll(ctx, pollInterval, patience, func() bool { return m.guarding(c, s) == 0 }) {
		return
	}
	pid := m.guarding(c, s)
	if pid == 0 {
		return
	}
	// background has made it the leader of a process group.
	if err := m.kill(-pid, SIGKILL); err != nil && Alive(c, pid) {
		c.Warnf("Send SIGKILL to mysqld_safe (process group %d): %v", pid, err)
	}
	c.Poll(ctx, pollInterval, lastWait, func() bool { return len(members(c, pid)) == 0 })
}

func (m mysql) status(_ context.Context, c *Call) error {
	s, err := m.server(c)
	if err != nil {
		return err
	}
	return s.monitor(c)
}
