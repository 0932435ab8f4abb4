//go:build linux

// Package cmantool is cman_tool: it brings this node into the cluster and out
// of it, shows the cluster and changes its votes. Output and errors are those
// of cman 3.2 where scripts read them; corosync 3 does the work.
package cmantool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/haobox/haobox/applets/applet"
	"github.com/haobox/haobox/applets/internal/daemon"
	"github.com/haobox/haobox/applets/internal/engine"
	"github.com/haobox/haobox/internal/cluster"
	"github.com/haobox/haobox/internal/cman"
	"github.com/haobox/haobox/platform"
	"github.com/haobox/haobox/platform/corosync"
)

// Applet is the table's row.
var Applet = applet.Applet{
	Name: "cman_tool", Section: 8, Class: applet.Tool,
	Summary: "join, leave and show the cluster",
	Run:     Run,
}

// Exit statuses of cman_tool(8).
const (
	exitError   = 1
	exitTimeout = 2
)

const (
	// callLimit bounds each question to corosync. cman_tool had no limit; a
	// stopped corosync would hold its callers for ever.
	callLimit = 30 * time.Second
	// pollEvery is the pause of wait and leave -w (cman_tool(8): each second).
	pollEvery = time.Second
	// maxList is how many nodes and fields are taken.
	maxList = 10
)

// tool is one call.
type tool struct {
	ctx  context.Context
	env  platform.Env
	name string // argv[0]

	command       string
	remove, force bool
	names         []string // -n
	format        []string // -F
	set           map[string]string
	numbers       map[string]int
}

// Run runs the command line args.
func Run(ctx context.Context, env platform.Env, args []string) error {
	t := &tool{ctx: ctx, env: env, name: args[0], set: map[string]string{}, numbers: map[string]int{}}
	done, err := t.parse(args[1:])
	if done || err != nil {
		return err
	}
	if t.onCorosync() && !daemon.OnCorosync(t.env) {
		return t.die("%s is for corosync; the nodes of the embedded engine (%s) come and go with their daemons", t.command, daemon.EngineVariable)
	}
	switch t.command {
	case "join":
		return t.join()
	case "leave":
		return t.leave()
	case "status", "nodes":
		return t.show()
	case "wait":
		return t.wait(0)
	case "version":
		return t.version()
	case "services":
		return t.services()
	case "debug":
		return t.debug()
	}
	return t.admin()
}

// onCorosync reports whether the command is one to corosync, whatever the engine
// of the daemons is.
func (t *tool) onCorosync() bool {
	switch t.command {
	case "join", "leave", "debug":
		return true
	}
	return t.command == "version" && t.has("r")
}

func (t *tool) has(option string) bool { _, set := t.set[option]; return set }

// die is an error of cman_tool: its name and a text.
func (t *tool) die(format string, args ...any) error {
	return applet.Exitf(exitError, "%s: %s", t.name, fmt.Sprintf(format, args...))
}

// connect opens the engine. On the embedded one it only looks on, so that nothing
// becomes a member by being asked about.
func (t *tool) connect(ctx context.Context) (cluster.Engine, error) {
	if daemon.OnCorosync(t.env) {
		return engine.OpenCorosync(ctx, corosync.Config{Limit: callLimit})
	}
	conf, err := daemon.RunningConfig(t.env)
	if err != nil {
		return nil, err
	}
	return daemon.Observe(ctx, t.env, conf, corosync.Config{})
}

// open connects to the cluster.
func (t *tool) open() (cluster.Engine, error) {
	e, err := t.connect(t.ctx)
	if err != nil {
		return nil, t.cannotOpen(err)
	}
	return e, nil
}

// cannotOpen words what the original said for the two usual reasons, and more
// for the others.
func (t *tool) cannotOpen(err error) error {
	switch {
	case errors.Is(err, cluster.ErrDenied), errors.Is(err, corosync.ErrNotAllowed), errors.Is(err, os.ErrPermission):
		return t.die("Cannot open connection to cman, permission denied.")
	case errors.Is(err, cluster.ErrNotRunning), errors.Is(err, corosync.ErrNotRunning):
		return t.die("Cannot open connection to cman, is it running ?")
	}
	return t.die("Cannot open connection to cman: %v", err)
}

// text is an error as the old tool put it: by the errno of its daemon.
func text(err error) string {
	switch {
	case errors.Is(err, cluster.ErrNotMember):
		return "Node is not yet a cluster member"
	case errors.Is(err, cluster.ErrRefused):
		return "Invalid argument"
	case errors.Is(err, corosync.ErrBusy):
		return "Device or resource busy"
	case errors.Is(err, cluster.ErrLost), errors.Is(err, cluster.ErrNotRunning):
		return "Cluster software not started"
	}
	return err.Error()
}

// status asks for everything.
func (t *tool) status() (cluster.Status, error) {
	s, err := engine.Ask(t.ctx, callLimit, t.connect)
	if err != nil {
		return s, t.cannotOpen(err)
	}
	return s, nil
}

// show is status and nodes.
func (t *tool) show() error {
	s, err := t.status()
	if err != nil {
		return err
	}
	out := cman.StatusText(s)
	if t.command == "nodes" {
		out = cman.NodesText(s, cman.NodesOptions{Addresses: t.has("a"), Names: t.names, Format: t.format, Zone: t.zone()})
	}
	if _, err := io.WriteString(t.env.Stdout, out); err != nil {
		return t.die("write the output: %v", err)
	}
	return nil
}

// zone is the local time zone: the one of TZ if it is set.
func (t *tool) zone() *time.Location {
	if name := t.env.Getenv("TZ"); name != "" {
		if z, err := time.LoadLocation(strings.TrimPrefix(name, ":")); err == nil {
			return z
		}
	}
	return time.Local
}
