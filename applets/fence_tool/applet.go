//go:build linux

// Package fencetool is fence_tool(8): join, leave and show the fence domain.
package fencetool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/haobox/haobox/applets/applet"
	"github.com/haobox/haobox/applets/internal/daemon"
	"github.com/haobox/haobox/applets/internal/oldcli"
	"github.com/haobox/haobox/internal/argv"
	"github.com/haobox/haobox/internal/cluster"
	"github.com/haobox/haobox/internal/ctl"
	"github.com/haobox/haobox/internal/fencing"
	"github.com/haobox/haobox/platform"
	"github.com/haobox/haobox/platform/corosync"
	"github.com/haobox/haobox/platform/proc"
)

// Applet is the command.
var Applet = applet.Applet{
	Name: "fence_tool", Section: 8, Class: applet.Tool,
	Summary: "join, leave and show the fence domain",
	Run:     run,
}

const (
	exitError = 1
	// pause between two looks, and every how many of them something is said:
	// fence_tool(8).
	pause    = time.Second
	sayEvery = 10
	// callLimit bounds each question to the cluster.
	callLimit = 10 * time.Second
)

const pidFile = "/var/run/fenced.pid"

const help = `Usage:

fence_tool <ls|join|leave|dump> [options]

Commands:
  ls               show the state of the fence domain
  join             join the fence domain
  leave            leave the fence domain
  dump             show what fenced logged, debug lines too

Options:
  -n        show all nodes; for ls
  -t SECS   try so long to reach the cluster (0), -1 for ever; for join
  -q SECS   wait so long for quorum (0); for join
  -m SECS   wait so long for all nodes of cluster.conf (0); for join
  -w SECS   wait so long for the result (0); for join and leave
  -h        this text
  -V        version
`

// tool is one call.
type tool struct {
	ctx  context.Context
	env  platform.Env
	name string
	op   string
	all  bool
	// The waits in seconds; -1 is for ever.
	connect, quorum, members, result int
}

func run(ctx context.Context, env platform.Env, args []string) error {
	t := &tool{ctx: ctx, env: env, name: args[0]}
	if done, err := t.parse(args[1:]); done || err != nil {
		return err
	}
	switch t.op {
	case "ls":
		return t.ls()
	case "join":
		return t.join()
	case "leave":
		return t.leave()
	}
	return t.dump()
}

func (t *tool) parse(args []string) (done bool, err error) {
	settings, words, err := argv.Parse(oldcli.Options("nt:q:m:w:hV"), args)
	if err != nil {
		return true, oldcli.Fault(t.name, err)
	}
	for _, s := range settings {
		if done, err := oldcli.Said(t.env.Stdout, t.name, help, s); done {
			return true, err
		}
		switch s.Name {
		case "n":
			t.all = true
		default:
			to := map[string]*int{"t": &t.connect, "q": &t.quorum, "m": &t.members, "w": &t.result}[s.Name]
			if *to, err = strconv.Atoi(s.Value); err != nil || *to < -1 {
				return true, t.die("-%s is '%s': it is a number of seconds", s.Name, s.Value)
			}
		}
	}
	for _, w := range words {
		if !slices.Contains([]string{"ls", "join", "leave", "dump"}, w) {
			return true, t.die("unknown option %s", w)
		}
		t.op = w
	}
	if t.op == "" {
		return true, t.die("no operation specified")
	}
	return false, nil
}

// die is an error of fence_tool: its name and a text.
func (t *tool) die(format string, args ...any) error {
	return applet.Exitf(exitError, "%s: %s", t.name, fmt.Sprintf(format, args...))
}

// cannot is an error about somebody who does not answer: that it needs root is
// said, other reasons are not.
func (t *tool) cannot(what string, err error) error {
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, cluster.ErrDenied) {
		return t.die("%s: permission denied, only root may", what)
	}
	return t.die("%s", what)
}

// say is a line on standard error while waiting.
func (t *tool) say(format string, args ...any) {
	fmt.Fprintf(t.env.Stderr, "%s: %s\n", t.name, fmt.Sprintf(format, args...))
}

// until looks once a second until look says that it is done, at most seconds
// (-1 for ever). Every ten times it says what it waits for.
func (t *tool) until(seconds int, waiting string, look func() bool) bool {
	for n := 0; ; n++ {
		if look() {
			return true
		}
		if seconds >= 0 && n >= seconds || t.env.Clock.Sleep(t.ctx, pause) != nil {
			return false
		}
		if (n+1)%sayEvery == 0 {
			t.say("%s", waiting)
		}
	}
}

func (t *tool) fenced() *ctl.Client { return daemon.Client(t.env, "fenced") }

func (t *tool) domain() (in fencing.Info, err error) {
	err = t.fenced().Do(t.ctx, "GET", "/v1/domain", nil, &in)
	return in, err
}

// ls prints the domain. Where there is none, it prints nothing.
func (t *tool) ls() error {
	in, err := t.domain()
	if err != nil || !in.Joined {
		return applet.Exit(exitError)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "fence domain\nmember count  %d\nvictim count  %d\nvictim now    %d\nmaster nodeid %d\nwait state    %s\nmembers       ",
		len(in.Members), len(in.Victims), in.VictimNow, in.Master, in.Wait)
	for _, id := range in.Members {
		fmt.Fprintf(&b, "%d ", id)
	}
	b.WriteByte('\n')
	if t.all {
		b.WriteString("all nodes\n")
		bit := map[bool]int{true: 1}
		for _, n := range in.Nodes {
			fmt.Fprintf(&b, "nodeid %d member %d victim %d last fence master %d how %s\n", n.ID, bit[n.Member], bit[n.Victim], n.LastMaster, n.LastHow)
		}
	}
	b.WriteByte('\n')
	_, err = io.WriteString(t.env.Stdout, b.String())
	return err
}

func (t *tool) dump() error {
	err := t.fenced().Lines(t.ctx, "/v1/dump", func(line []byte) error {
		_, err := t.env.Stdout.Write(append(line, '\n'))
		return err
	})
	if err != nil {
		return t.cannot("dump: can't communicate with fenced", err)
	}
	return nil
}

// running says whether fenced is, by its lock file.
func (t *tool) running() error {
	pid, err := proc.PIDHolder(t.env.FS.Path(pidFile))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return t.die("fenced not running, no lockfile")
	case err != nil:
		return t.die("fenced not running, get lockfile: %v", err)
	case pid == 0:
		return t.die("fenced not running, unlocked lockfile")
	}
	return nil
}

// join waits for what was asked for, and joins.
func (t *tool) join() error {
	var e cluster.Engine
	var err error
	if !t.until(t.connect, "retrying cman connection", func() bool {
		conf, why := daemon.RunningConfig(t.env) // for the embedded engine
		if e, err = daemon.Observe(t.ctx, t.env, conf, corosync.Config{Limit: callLimit}); err != nil {
			err = errors.Join(err, why)
		}
		return err == nil
	}) {
		return t.cannot("can't connect to cman", err)
	}
	defer e.Close()
	if t.quorum != 0 && !t.until(t.quorum, "delaying for quorum", func() bool {
		st, err := e.Status(t.ctx)
		return err == nil && st.Quorate
	}) {
		t.say("continuing without quorum")
	}
	if t.members != 0 && !t.until(t.members, "delaying for members", func() bool {
		conf, err := daemon.RunningConfig(t.env)
		st, errStatus := e.Status(t.ctx)
		if err != nil || errStatus != nil {
			return false
		}
		for _, n := range conf.Nodes {
			if !slices.Contains(st.Members(), cluster.NodeID(n.ID)) {
				return false
			}
		}
		return true
	}) {
		t.say("continuing without all members")
	}
	if err := t.running(); err != nil {
		return err
	}
	if err := t.fenced().Do(t.ctx, "POST", "/v1/join", nil, nil); err != nil {
		return t.cannot("join: can't communicate with fenced", err)
	}
	t.wait("join", true)
	return nil
}

// wait waits for the result. That it does not come is no failure: fence_tool(8).
func (t *tool) wait(op string, joined bool) {
	if t.result == 0 {
		return
	}
	if !t.until(t.result, "waiting for fenced to "+op+" the fence group.", func() bool {
		in, err := t.domain()
		return err == nil && in.Joined == joined
	}) {
		t.say("%s not complete", op)
	}
}

// leave leaves the domain if nothing relies on it.
func (t *tool) leave() error {
	if t.active() {
		return t.die("cannot leave due to active systems")
	}
	err := t.fenced().Do(t.ctx, "POST", "/v1/leave", nil, nil)
	var refused *ctl.Error
	switch {
	case errors.As(err, &refused):
		t.say("%v", refused)
		return t.die("cannot leave due to active systems")
	case err != nil:
		return t.cannot("leave: can't communicate with fenced", err)
	}
	t.wait("leave", false)
	return nil
}
