package agents

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/haobox/haobox/platform"
)

// namedWait is shutdown_wait of named when it is not given: the default of
// rgmanager's agent.
const namedWait = 5 * time.Second

// BIND runs a BIND name server on the addresses of its service, with a
// configuration made from the given one: listen-on, listen-on-v6 and pid-file
// of its options are the resource's. It runs as the user named or bind, if
// there is one and named_options does not say another.
func BIND(kill Kill) *Agent {
	n := named{kill}
	return &Agent{Type: "named", Validate: n.verify, Start: n.start, Stop: n.stop, Status: n.status, InProcess: (*Call).checking}
}

type named struct{ kill Kill }

// server has its pid file in a folder of its own: named writes it as its own
// user, and makes a lock file beside it.
func (n named) server(c *Call) (*server, error) {
	inst, err := instanceFile(c)
	if err != nil {
		return nil, err
	}
	return &server{kill: n.kill, pid: pidRoot + "/named/" + inst + ".pid", programs: []string{"named", "named-sdb", "named_sdb"}}, nil
}

func (n named) program(c *Call) (string, error) {
	names := []string{"/usr/sbin/named"}
	if c.Bool("named_sdb") {
		names = []string{"/usr/sbin/named-sdb", "/usr/sbin/named_sdb"}
	}
	if p := firstFile(c, names); p != "" {
		return p, nil
	}
	return "", Fail(NotInstalled, "no %s; install BIND", strings.Join(names, " and no "))
}

func (n named) verify(ctx context.Context, c *Call) error {
	c.Debugf("Verifying Configuration Of %s", c.Instance())
	if _, err := n.server(c); err != nil {
		return err
	}
	if err := inService(c); err != nil {
		return err
	}
	if _, err := options(c, "named_options"); err != nil {
		return err
	}
	if _, err := waitFor(c, namedWait); err != nil {
		return err
	}
	if _, err := n.program(c); err != nil {
		return err
	}
	dir := c.Param("named_working_dir")
	if info, err := c.Env.FS.Stat(dir); err != nil || !info.IsDir() {
		return incomplete(c, "named_working_dir %q is no folder (%v)", dir, err)
	}
	file := c.Param("config_file")
	if err := needsSource(c, file); err != nil {
		return err
	}
	return n.check(ctx, c, file)
}

// check asks BIND's own checker, if it is installed.
func (n named) check(ctx context.Context, c *Call, file string) error {
	if _, err := c.Find("named-checkconf"); err != nil {
		return nil
	}
	c.Debugf("Checking Syntax Of The File %s", file)
	o, err := c.Run(ctx, platform.Cmd{
		Path: "named-checkconf", Args: []string{"named-checkconf", c.Env.FS.Path(file)},
		Dir: c.Env.FS.Path(c.Param("named_working_dir")), Limit: checkLimit,
	})
	if err != nil {
		return err
	}
	return checked(c, file, o)
}

func (n named) start(ctx context.Context, c *Call) error {
	s, err := n.server(c)
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
	from, to := c.Param("config_file"), generated(c, "named.conf")
	text, err := namedConf(c, from, ips, c.Env.FS.Path(s.pid))
	if err == nil {
		err = generate(c, to, from, text, inherited(c, from))
	}
	if err != nil {
		return err
	}
	words, err := options(c, "named_options")
	if err != nil {
		return err
	}
	program, err := n.program(c)
	if err != nil {
		return err
	}
	words, user := n.user(c, words)
	if err := owned(ctx, c, pidRoot+"/named", user); err != nil {
		return err
	}
	o, err := c.Run(ctx, platform.Cmd{
		Path: program, Args: append([]string{program, "-c", c.Env.FS.Path(to)}, words...),
		Dir: c.Env.FS.Path(c.Param("named_working_dir")), Limit: c.Budget(startLimit),
	})
	if err == nil && !o.OK() {
		err = fmt.Errorf("named: %s: %s; its own messages are in the system log", o.Ended(), o.Last())
	}
	if err == nil {
		err = s.await(ctx, c, c.Budget(startLimit), nil)
	}
	if err == nil {
		want := make([]netip.AddrPort, len(ips))
		for i, a := range ips {
			want[i] = netip.AddrPortFrom(a, 0)
		}
		if err = s.listening(ctx, c, want); err != nil {
			// Without its address it is of no use, and its pid file says that it runs.
			if e := s.end(ctx, c, step{SIGTERM, namedWait}); e != nil {
				c.Warnf("Stop named again: %v", e)
			}
		}
	}
	if err != nil {
		c.Errorf("Starting Service %s > Failed: %v", c.Instance(), err)
		return Quiet(max(Code(err), Generic))
	}
	c.Infof("Starting Service %s > Succeed", c.Instance())
	return nil
}

// user is the user that named runs as; the options get one if they have none.
func (n named) user(c *Call, words []string) ([]string, string) {
	for i, w := range words {
		if w == "-u" && i+1 < len(words) {
			return words, words[i+1]
		}
		if u, ok := strings.CutPrefix(w, "-u"); ok && u != "" {
			return words, u
		}
	}
	for _, u := range []string{"named", "bind"} {
		if isUser(c, u) {
			return append([]string{"-u", u}, words...), u
		}
	}
	return words, "root"
}

func (n named) stop(ctx context.Context, c *Call) error {
	s, err := n.server(c)
	if err != nil {
		return err
	}
	wait, err := waitFor(c, namedWait)
	if err != nil && c.Dialect != OCF {
		return err
	}
	return s.end(ctx, c, step{SIGTERM, wait})
}

func (n named) status(_ context.Context, c *Call) error {
	s, err := n.server(c)
	if err != nil {
		return err
	}
	return s.monitor(c)
}
