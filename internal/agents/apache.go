package agents

import (
	"context"
	"fmt"
	"net/netip"
	"path"
	"strings"
	"time"

	"github.com/haobox/haobox/platform"
)

// Web asks a web server for a page.
type Web interface {
	// Get returns the status of the answer of the server at an address to
	// "GET page". The limit of ctx bounds it.
	Get(ctx context.Context, at netip.AddrPort, page string) (status int, err error)
}

const (
	// gracefulRest is for SIGTERM after a graceful stop was not enough. Ours.
	gracefulRest = 10 * time.Second
	// pageLimit is for one answer of the web server. Ours: two addresses that
	// hang still end within the 30 s that rgmanager gives a status at depth 10.
	pageLimit = 5 * time.Second
)

// Apache runs an Apache HTTP server on the addresses of its service: with a
// configuration that is made from the given one, in which each Listen has the
// service's addresses and the pid file is the resource's own (the manual,
// section 6.10, shows its log). For Pacemaker, without a service, the
// addresses stay as configured.
func Apache(kill Kill, web Web) *Agent {
	a := apache{kill, web}
	return &Agent{
		Type: "apache", Validate: a.verify,
		Start: a.start, Stop: a.stop, Status: a.status,
	}
}

type apache struct {
	kill Kill
	web  Web
}

func (a apache) server(c *Call) (*server, error) {
	inst, err := instanceFile(c)
	if err != nil {
		return nil, err
	}
	s := &server{kill: a.kill, pid: pidRoot + "/apache/" + inst + ".pid",
		programs: []string{"httpd", "apache2", "httpd-prefork", "httpd-worker", "httpd-event", "httpd.worker", "httpd.event"}}
	if p := c.Param("httpd"); p != "" {
		s.programs = append(s.programs, path.Base(p))
	}
	return s, nil
}

// config is the server's own configuration file.
func (a apache) config(c *Call) string {
	f := c.Param("config_file")
	if path.IsAbs(f) {
		return f
	}
	return path.Join(c.Param("server_root"), f)
}

// command is the server's program with what all its calls have in common.
func (a apache) command(c *Call, config string, words ...string) (platform.Cmd, error) {
	opts, err := options(c, "httpd_options")
	if err != nil {
		return platform.Cmd{}, err
	}
	root := c.Param("server_root")
	vars, err := envvars(c, root)
	if err != nil {
		return platform.Cmd{}, err
	}
	cmd := platform.Cmd{Env: []string{"PATH=" + Path, "LC_ALL=C", "HOME=/"}}
	for _, v := range vars {
		cmd.Env = append(cmd.Env, v.Name+"="+v.Value)
	}
	cmd.Path, err = a.program(c)
	args := append([]string{cmd.Path, "-D" + c.Name, "-d", root, "-f", config}, opts...)
	cmd.Args = append(args, words...)
	return cmd, err
}

func (a apache) program(c *Call) (string, error) {
	if p := c.Param("httpd"); p != "" {
		return p, nil
	}
	for _, p := range []string{"/usr/sbin/httpd", "/usr/sbin/apache2"} {
		if _, err := c.Env.FS.Stat(p); err == nil {
			return p, nil
		}
	}
	return "", Fail(NotInstalled, "no /usr/sbin/httpd and no /usr/sbin/apache2; install the web server or set the parameter httpd")
}

// verify checks what the server needs and asks it to check its configuration.
func (a apache) verify(ctx context.Context, c *Call) error {
	c.Debugf("Verifying Configuration Of %s", c.Instance())
	if _, err := a.server(c); err != nil {
		return err
	}
	if err := inService(c); err != nil {
		return err
	}
	root, file := c.Param("server_root"), a.config(c)
	if info, err := c.Env.FS.Stat(root); err != nil || !info.IsDir() {
		return incomplete(c, "server_root %q is no folder (%v)", root, err)
	}
	if _, err := readLimited(c, file, maxServerConf); err != nil {
		return incomplete(c, "configuration: %v", err)
	}
	c.Debugf("Checking Syntax Of The File %s", file)
	cmd, err := a.command(c, file, "-t")
	if err != nil {
		return err
	}
	// A check fails without them, and Debian makes them only for its own unit.
	if err := a.folders(c, cmd.Env); err != nil {
		return err
	}
	cmd.Limit = checkLimit
	o, err := c.Run(ctx, cmd)
	if err != nil {
		return err
	}
	return checked(c, file, o)
}

func (a apache) start(ctx context.Context, c *Call) error {
	s, err := a.server(c)
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
	from, to := a.config(c), generated(c, "httpd.conf")
	text, err := a.rewrite(c, from, ips, s.pid)
	if err == nil {
		err = generate(c, to, from, text, inherited(c, from))
	}
	if err != nil {
		return err
	}
	cmd, err := a.command(c, to, "-k", "start")
	if err != nil {
		return err
	}
	if err := a.folders(c, cmd.Env); err != nil {
		return err
	}
	cmd.Limit = c.Budget(startLimit)
	o, err := c.Run(ctx, cmd)
	if err == nil && !o.OK() {
		err = fmt.Errorf("%s: %s", o.Ended(), strings.Join(o.Lines(), "; "))
	}
	if err == nil {
		err = s.await(ctx, c, c.Budget(startLimit), nil)
	}
	if err != nil {
		c.Errorf("Starting Service %s > Failed: %v", c.Instance(), err)
		return Quiet(max(Code(err), Generic))
	}
	c.Infof("Starting Service %s > Succeed", c.Instance())
	return nil
}

// folders makes the run-time folders that Debian's start script makes.
func (a apache) folders(c *Call, env []string) error {
	for _, kv := range env {
		k, v, _ := strings.Cut(kv, "=")
		if (k == "APACHE_RUN_DIR" || k == "APACHE_LOCK_DIR") && path.IsAbs(v) {
			if to, err := c.Env.FS.Readlink(v); err == nil { // Debian's /var/lock is one to /run/lock
				if !path.IsAbs(to) {
					to = path.Join(path.Dir(v), to)
				}
				v = to
			}
			if err := c.Env.FS.MkdirAll(v, 0o755); err != nil {
				return Fail(Generic, "make the folder %s of %s: %w", k, c.Instance(), err)
			}
		}
	}
	return nil
}

// stop lets the requests that are served end, for shutdown_wait seconds, and
// then ends them. rgmanager's agent verifies the configuration first and fails
// with it; Pacemaker would fence the node for that, so there it only warns.
func (a apache) stop(ctx context.Context, c *Call) error {
	s, err := a.server(c)
	if err != nil {
		return err
	}
	if err := a.verify(ctx, c); err != nil {
		if c.Dialect != OCF {
			return err
		}
		c.Warnf("%v", err)
	}
	wait, err := waitFor(c, shutdownWait)
	if err != nil && c.Dialect != OCF {
		return err
	}
	if c.Dialect == OCF {
		wait = min(wait, c.Budget(startLimit)/2)
	}
	return s.end(ctx, c, step{sigWINCH, wait}, step{SIGTERM, gracefulRest})
}

func (a apache) status(ctx context.Context, c *Call) error {
	s, err := a.server(c)
	if err != nil {
		return err
	}
	if !c.Probe() {
		// A server that runs goes on with a file that somebody broke: taking it
		// down for that would make a warning an outage.
		if err := a.verify(ctx, c); err != nil {
			c.Warnf("%v", err)
		}
	}
	if err := s.monitor(c); err != nil {
		return err
	}
	if c.Depth >= 10 {
		return a.request(ctx, c)
	}
	return nil
}

// request asks the server at its addresses for its status page, and where that
// is closed for "/". An answer below 500 shows that it works.
func (a apache) request(ctx context.Context, c *Call) error {
	text, err := source(c, generated(c, "httpd.conf"))
	if err != nil {
		return err
	}
	vars, err := envvars(c, c.Param("server_root"))
	if err != nil {
		return err
	}
	sure, perhaps := listens(text, vars)
	ask := func(at netip.AddrPort) error {
		var last error
		for _, page := range []string{"/server-status?auto", "/"} {
			one, cancel := context.WithTimeout(ctx, pageLimit)
			status, err := a.web.Get(one, at, page)
			cancel()
			switch {
			case err != nil:
				return fmt.Errorf("no answer to GET %s: %w", page, err)
			case status < 400:
				return nil
			case status >= 500:
				last = fmt.Errorf("GET %s is answered with status %d", page, status)
			default:
				last = nil // it works and says that it does not show the page
			}
		}
		return last
	}
	for _, at := range sure {
		if err := ask(at); err != nil {
			return Fail(Generic, "Checking %s at %s > Failed: %w", c.Instance(), at, err)
		}
		c.Debugf("Checking %s at %s > Succeed", c.Instance(), at)
	}
	if len(sure) > 0 {
		return nil
	}
	for _, at := range perhaps {
		if err = ask(at); err == nil {
			c.Debugf("Checking %s at %s > Succeed", c.Instance(), at)
			return nil
		}
	}
	return Fail(Generic, "Checking %s > Failed: no address to ask in %s answers (%v)", c.Instance(), generated(c, "httpd.conf"), err)
}
