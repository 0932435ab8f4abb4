package agents

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path"
	"strings"
	"time"

	"github.com/haobox/haobox/platform"
)

// Times of postgres-8, below the 30 s that its metadata gives start and stop.
const (
	// postgresStartup is startup_wait when it is not given: the default of the
	// metadata.
	postgresStartup = 10 * time.Second
	// postgresSmart is for clients to end their sessions after SIGTERM, if
	// shutdown_wait is not given. Ours.
	postgresSmart = 10 * time.Second
	// postgresFast is for a shutdown that ends the sessions (SIGINT). Ours.
	postgresFast = 10 * time.Second
)

// Postgres runs a PostgreSQL server on the addresses of its service, as its
// own user. The generated configuration includes the given one and then sets
// listen_addresses and external_pid_file, so that relative names in the given
// file keep their meaning. Stop is a smart, then a fast, then an immediate
// shutdown (PostgreSQL documentation, "Shutting Down the Server").
func Postgres(kill Kill) *Agent {
	p := postgres{kill}
	return &Agent{Type: "postgres-8", Validate: p.verify, Start: p.start, Stop: p.stop, Status: p.status, InProcess: (*Call).checking}
}

type postgres struct{ kill Kill }

func (p postgres) server(c *Call) (*server, error) {
	inst, err := instanceFile(c)
	if err != nil {
		return nil, err
	}
	s := &server{kill: p.kill, pid: pidRoot + "/postgres-8/" + inst + ".pid", programs: []string{"postgres", "postmaster"}}
	s.own = func(c *Call) []int { return p.inData(c, s) }
	return s, nil
}

// inData lists the server's processes that work in the data folder. Each child
// of postmaster leads a process group of its own, and outlives a postmaster that
// was killed until it looks for it: on a shared disk it would write beside the
// server that was started elsewhere.
func (p postgres) inData(c *Call, s *server) []int {
	words, err := options(c, "postmaster_options")
	if err != nil {
		return nil
	}
	dir := dataFolder(words)
	if dir == "" {
		dir = dataDirectory(c)
	}
	if dir == "" {
		return nil
	}
	data, err := c.Env.FS.Stat(dir)
	if err != nil {
		return nil // nothing can be written to a folder that is not there
	}
	var out []int
	for _, proc := range Processes(c) {
		exe, err := c.Env.FS.Readlink(procFile(proc.PID, "exe"))
		if err != nil || !s.ours(exe) || !Alive(c, proc.PID) {
			continue
		}
		if cwd, err := c.Env.FS.Stat(procFile(proc.PID, "cwd")); err == nil && os.SameFile(cwd, data) {
			out = append(out, proc.PID)
		}
	}
	return out
}

// dataDirectory is the last data_directory of the configuration file, or "".
// Files that it includes are not read.
func dataDirectory(c *Call) string {
	text, err := readLimited(c, c.Param("config_file"), 1<<20)
	if err != nil {
		return ""
	}
	dir := ""
	for line := range strings.Lines(string(text)) {
		rest, ok := strings.CutPrefix(strings.TrimSpace(line), "data_directory")
		if !ok {
			continue
		}
		value := strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(rest), "="))
		if value, ok = strings.CutPrefix(value, "'"); !ok {
			continue
		}
		// A quote in the value is doubled; a comment may follow the last one.
		value = strings.ReplaceAll(value, "''", "\x00")
		if value, _, ok = strings.Cut(value, "'"); ok {
			dir = strings.ReplaceAll(value, "\x00", "'")
		}
	}
	return dir
}

func (p postgres) verify(_ context.Context, c *Call) error {
	c.Debugf("Verifying Configuration Of %s", c.Instance())
	if _, err := p.server(c); err != nil {
		return err
	}
	if err := inService(c); err != nil {
		return err
	}
	if user := c.Param("postmaster_user"); strings.HasPrefix(user, "-") || !isUser(c, user) {
		return Fail(BadArguments, "parameter postmaster_user of %s is %q; /etc/passwd has no such user", c.Instance(), user)
	}
	if _, err := options(c, "postmaster_options"); err != nil {
		return err
	}
	if _, err := c.Seconds("startup_wait", postgresStartup); err != nil {
		return err
	}
	if _, err := waitFor(c, postgresSmart); err != nil {
		return err
	}
	if err := needsSource(c, c.Param("config_file")); err != nil {
		return err
	}
	_, err := p.program(c)
	return err
}

// dataFolder is the value of -D in the options, or "".
func dataFolder(words []string) string {
	for i, w := range words {
		if w == "-D" && i+1 < len(words) {
			return words[i+1]
		}
		if d, ok := strings.CutPrefix(w, "-D"); ok && d != "" {
			return d
		}
	}
	return ""
}

// program is /usr/bin/postmaster or postgres, or that of the version that the
// database was made with where several are installed side by side.
func (p postgres) program(c *Call) (string, error) {
	words, err := options(c, "postmaster_options")
	if err != nil {
		return "", err
	}
	choices := []string{"/usr/bin/postmaster", "/usr/bin/postgres"}
	if dir := dataFolder(words); dir != "" {
		if v, err := readLimited(c, path.Join(dir, "PG_VERSION"), 64); err == nil {
			if v := strings.TrimSpace(string(v)); strings.Trim(v, "0123456789.") == "" && v != "" {
				choices = append([]string{"/usr/lib/postgresql/" + v + "/bin/postgres", "/usr/pgsql-" + v + "/bin/postgres", "/usr/lib/postgresql" + v + "/bin/postgres"}, choices...)
			}
		}
	}
	if p := firstFile(c, choices); p != "" {
		return p, nil
	}
	return "", Fail(NotInstalled, "no PostgreSQL server for %s; looked for %s", c.Instance(), strings.Join(choices, ", "))
}

func (p postgres) start(ctx context.Context, c *Call) error {
	s, err := p.server(c)
	if err != nil {
		return err
	}
	if done, err := s.begin(c); done || err != nil {
		return err
	}
	ips, err := someAddresses(c)
	if err != nil {
		return err
	}
	from, to := c.Param("config_file"), generated(c, "postgresql.conf")
	if err := generate(c, to, from, postgresConf(c, ips, s.pid), 0o644); err != nil {
		return err
	}
	program, err := p.program(c)
	if err != nil {
		return err
	}
	words, err := options(c, "postmaster_options")
	if err != nil {
		return err
	}
	wait, err := c.Seconds("startup_wait", postgresStartup)
	if err != nil {
		return err
	}
	user := c.Param("postmaster_user")
	if err := owned(ctx, c, path.Dir(s.pid), user); err != nil {
		return err
	}
	// runuser starts the program itself; su would put a shell in between.
	args := append([]string{"runuser", "-u", user, "--", program, "-c", "config_file=" + c.Env.FS.Path(to)}, words...)
	_, gone, log, err := background(ctx, c, platform.Cmd{
		Path: "runuser", Args: args, Dir: c.Env.FS.Path("/"),
		Env: []string{"PATH=" + Path, "LC_ALL=C", "HOME=/", "PGSYSCONFDIR=/etc/postgresql-common"},
	})
	if err == nil {
		err = s.await(ctx, c, max(wait, time.Second), gone)
	}
	if err != nil {
		c.Errorf("Starting Service %s > Failed: %v; last line of %s: %s", c.Instance(), err, log, lastLogged(c, log))
		return Quiet(max(Code(err), Generic))
	}
	c.Infof("Starting Service %s > Succeed", c.Instance())
	return nil
}

// postgresConf is the generated configuration. A quote in a value is doubled.
func postgresConf(c *Call, ips []netip.Addr, pid string) string {
	quote := func(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
	var b strings.Builder
	fmt.Fprintf(&b, "# Made from %s for %s. A file that is edited is left alone from then on.\n", c.Param("config_file"), c.Instance())
	fmt.Fprintf(&b, "include %s\n", quote(c.Env.FS.Path(c.Param("config_file"))))
	if len(ips) > 0 {
		text := make([]string, len(ips))
		for i, a := range ips {
			text[i] = a.String()
		}
		fmt.Fprintf(&b, "listen_addresses = %s\n", quote(strings.Join(text, ",")))
	}
	fmt.Fprintf(&b, "external_pid_file = %s\n", quote(c.Env.FS.Path(pid)))
	return b.String()
}

func (p postgres) stop(ctx context.Context, c *Call) error {
	s, err := p.server(c)
	if err != nil {
		return err
	}
	smart, err := waitFor(c, postgresSmart)
	if err != nil && c.Dialect != OCF {
		return err
	}
	return s.end(ctx, c, step{SIGTERM, smart}, step{sigINT, postgresFast}, step{SIGQUIT, lastWait})
}

func (p postgres) status(_ context.Context, c *Call) error {
	s, err := p.server(c)
	if err != nil {
		return err
	}
	return s.monitor(c)
}
