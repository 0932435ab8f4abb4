//go:build linux

// Package fenced is fenced(8): the fence daemon. internal/fencing decides,
// internal/fencing/method turns an attempt into runs of agents, and
// applets/internal/daemon is the shell around; here are the options, what is
// done for each action of the core, and the control sockets.
//
// The order of its end: the domain was left, or the engine is gone; the group is
// left and the engine closed, and agents under way are ended. Another node takes
// over their victims.
package fenced

import (
	"context"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/haobox/haobox/applets/applet"
	"github.com/haobox/haobox/applets/internal/daemon"
	"github.com/haobox/haobox/applets/internal/oldcli"
	"github.com/haobox/haobox/internal/argv"
	"github.com/haobox/haobox/internal/clusterconf"
	"github.com/haobox/haobox/internal/fencing"
	"github.com/haobox/haobox/platform"
)

// Applet is the command.
var Applet = applet.Applet{
	Name: "fenced", Section: 8, Class: applet.Daemon,
	Summary: "fence daemon: make sure that failed nodes are off",
	Run:     run,
}

// name is of the control socket, the log and the pid file.
const name = "fenced"

// Limits of fenced(8).
const (
	lineMax = 126
	dumpMax = 254
	// minOverride is the least -R in seconds.
	minOverride = 3
)

const help = `Usage:

fenced [options]

  -D        stay in the foreground, log everything to standard error
  -L        write debug lines to the log file
  -g NUMBER compatibility with cluster2; only 0 works
  -r PATH   a folder that must be empty at the start; may be repeated,
            and "-r -" drops the default ones
  -c        no fencing at the start: all nodes are clean
  -s        no fencing at the start of nodes without a method
  -q        no D-Bus signals
  -j SECS   delay before fencing after a node joined (6); -1 for ever
  -f SECS   delay before fencing after a node failed (0); -1 for ever
  -R SECS   wait for a manual override after a failed attempt (3)
  -O PATH   the pipe for it (/var/run/cluster/fenced_override)
  --join    join the fence domain at once, as "fence_tool join" does
  -h        this text
  -V        version

What is given here is not read from cluster.conf.
`

// options are the command line.
type options struct {
	foreground, debug, quiet, join bool
	clean, skip                    bool
	postJoin, postFail, override   *time.Duration
	path                           string
	dirs                           []string
	noDirs                         bool
}

func run(ctx context.Context, env platform.Env, args []string) error {
	o := options{debug: env.Getenv("FENCED_DEBUG") != ""}
	if done, err := o.parse(env.Stdout, args[0], args[1:]); done || err != nil {
		return err
	}
	return daemon.Run(ctx, env, daemon.Config{Name: name, Args: args, Foreground: o.foreground, Debug: o.debug, LineMax: lineMax, DumpMax: dumpMax, OneProcessor: true},
		func(ctx context.Context, d *daemon.Daemon) error { return start(ctx, d, o) })
}

// parse reads the command line; done means that all is said.
func (o *options) parse(out io.Writer, called string, args []string) (done bool, err error) {
	list := append(oldcli.Options("Lg:cj:f:DR:O:hVsr:q"), argv.Option{Name: "join"})
	settings, words, err := argv.Parse(list, args)
	if err != nil {
		return true, oldcli.Fault(called, err)
	}
	if len(words) > 0 {
		return true, applet.Exitf(1, "%s: unknown option %s", called, words[0])
	}
	for _, s := range settings {
		if done, err := oldcli.Said(out, called, help, s); done {
			return true, err
		}
		switch s.Name {
		case "D":
			o.foreground = true
		case "L":
			o.debug = true
		case "c":
			o.clean = true
		case "s":
			o.skip = true
		case "q":
			o.quiet = true
		case "join":
			o.join = true
		case "O":
			o.path = s.Value
		case "g":
			if s.Value != "0" {
				return true, applet.Exitf(1, "%s: -g %s: there is no cluster2 to be compatible with; only 0 works", called, s.Value)
			}
		case "r":
			o.noDirs = true
			if s.Value != "-" {
				o.dirs = append(o.dirs, s.Value)
			}
		case "j", "f", "R":
			to := map[string]**time.Duration{"j": &o.postJoin, "f": &o.postFail, "R": &o.override}[s.Name]
			if *to, err = seconds(s.Name, s.Value); err != nil {
				return true, applet.Exitf(1, "%s: %w", called, err)
			}
		}
	}
	return false, nil
}

// seconds reads a delay: -1 is for ever.
func seconds(option, value string) (*time.Duration, error) {
	n, err := strconv.ParseInt(value, 10, 32) // an int of the original
	least := int64(-1)
	if option == "R" {
		least = minOverride
	}
	if err != nil || n < least {
		return nil, fmt.Errorf("-%s is %q: it is a number of seconds, at least %d", option, value, least)
	}
	d := time.Duration(n) * time.Second
	if n < 0 {
		d = fencing.Forever
	}
	return &d, nil
}

// over puts the command line over the configuration.
func (o *options) over(c fencing.Config) fencing.Config {
	c.CleanStart = c.CleanStart || o.clean
	c.SkipUndefined = o.skip // skip_undefined of the file is not read
	for _, x := range []struct {
		to   *time.Duration
		from *time.Duration
	}{{&c.PostJoinDelay, o.postJoin}, {&c.PostFailDelay, o.postFail}, {&c.OverrideTime, o.override}} {
		if x.from != nil {
			*x.to = *x.from
		}
	}
	return c
}

func (o *options) overridePath(c *clusterconf.Config) string {
	if o.path != "" {
		return o.path
	}
	return c.FenceDaemon.OverridePath
}

// uncontrolled looks for what still relies on fencing: a lock space or a file
// system of a cluster that this daemon knows nothing of. A node with such must
// be fenced and must not look clean.
func (o *options) uncontrolled(fs platform.FS) error {
	dirs := o.dirs
	if !o.noDirs {
		dirs = []string{"/sys/kernel/dlm", "/sys/fs/gfs2", "/sys/fs/gfs"}
	}
	for _, dir := range dirs {
		list, err := fs.ReadDir(dir)
		if err != nil {
			continue // not there: nothing of the kind
		}
		for _, e := range list {
			if strings.HasPrefix(dir, "/sys/fs/gfs") && nolock(fs, path.Join(dir, e.Name())) {
				continue
			}
			return fmt.Errorf("found uncontrolled entry %s/%s", dir, e.Name())
		}
	}
	return nil
}

// nolock reports whether a mounted file system is used by one node alone.
func nolock(fs platform.FS, dir string) bool {
	b, err := fs.ReadFile(path.Join(dir, "lock_module", "proto_name"))
	return err == nil && strings.TrimSpace(string(b)) == "lock_nolock"
}
