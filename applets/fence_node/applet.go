//go:build linux

// Package fencenode is fence_node(8): fence a node now, with the methods and
// devices of cluster.conf, or let it in again, or ask for its status. What is
// run is decided by internal/fencing/method.
package fencenode

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/haobox/haobox/applets/applet"
	"github.com/haobox/haobox/applets/internal/daemon"
	"github.com/haobox/haobox/applets/internal/fenceexec"
	"github.com/haobox/haobox/applets/internal/oldcli"
	"github.com/haobox/haobox/internal/argv"
	"github.com/haobox/haobox/internal/cluster"
	"github.com/haobox/haobox/internal/fencing"
	"github.com/haobox/haobox/internal/fencing/method"
	"github.com/haobox/haobox/platform"
	"github.com/haobox/haobox/platform/corosync"
)

// Applet is the command.
var Applet = applet.Applet{
	Name: "fence_node", Section: 8, Class: applet.Tool,
	Summary: "fence a node with the methods of cluster.conf",
	Run:     run,
}

// Exit statuses of fence_node(8).
const (
	exitFailed    = 1
	exitUndefined = 2
)

const (
	// connectTries with connectPause between them: fence_node(8).
	connectTries = 3
	connectPause = time.Second
	// callLimit bounds each question to the cluster.
	callLimit = 10 * time.Second
)

const help = `Usage:

fence_node [options] [node]

Fence a node, with the methods of cluster.conf in order. Everything but this
text is printed on standard error.

  -U        unfence the node; without a name, this one
  -S        ask for the status, by all devices of all methods
  -m NUMBER ask only method NUMBER, from 1; with -S
  -v        say how each device did; -vv also with its arguments
  -e 0|1    tell fenced that the node was fenced (1)
  -h        this text
  -V        version
`

// tool is one call.
type tool struct {
	env     platform.Env
	name    string // argv[0]
	node    string // as typed
	mode    method.Mode
	method  int
	verbose int
	tell    bool
}

func run(ctx context.Context, env platform.Env, args []string) error {
	t := &tool{env: env, name: args[0], tell: true}
	if done, err := t.parse(args[1:]); done || err != nil {
		return err
	}
	conf, err := daemon.RunningConfig(env)
	if err != nil {
		return applet.Exitf(exitFailed, "%s: %w", t.name, err)
	}
	e, err := t.connect(ctx)
	if err != nil {
		return err
	}
	defer e.Close()
	local := e.Local().Name
	if n := conf.NodeByID(int(e.Local().ID)); n != nil {
		local = n.Name
	}
	if t.node == "" {
		if t.mode != method.ModeUnfence {
			return applet.Exitf(exitFailed, "%s: no node name specified", t.name)
		}
		t.node = local
	}
	run, actions, err := method.New(env.Clock.Now(), t.mode, conf, t.node, method.Options{Local: local, Method: t.method})
	if err != nil {
		return applet.Exitf(exitFailed, "%s: %w", t.name, err)
	}
	victim := conf.Node(run.Victim())
	ring := uint64(0)
	if victim != nil && t.tell && t.mode == method.ModeFence {
		ring = t.ring(ctx, cluster.NodeID(victim.ID))
	}
	done := fenceexec.Runner{Env: env}.All(ctx, run, actions)
	t.entries(run, done)
	if done.Result.OK && victim != nil && t.tell && t.mode == method.ModeFence {
		t.external(ctx, cluster.NodeID(victim.ID), ring)
	}
	return t.report(done)
}

func (t *tool) parse(args []string) (done bool, err error) {
	settings, words, err := argv.Parse(oldcli.Options("UvSm:e:hV"), args)
	if err != nil {
		return true, oldcli.Fault(t.name, err)
	}
	for _, s := range settings {
		if done, err := oldcli.Said(t.env.Stdout, t.name, help, s); done {
			return true, err
		}
		switch s.Name {
		case "U":
			t.mode = method.ModeUnfence
		case "S":
			t.mode = method.ModeStatus
		case "v":
			t.verbose++
		case "e":
			t.tell = s.Value != "0"
		case "m":
			n, err := strconv.Atoi(s.Value)
			if err != nil || n < 1 {
				return true, applet.Exitf(exitFailed, "%s: -m is %q: it is the number of a method, from 1", t.name, s.Value)
			}
			t.method = n
		}
	}
	switch {
	case len(words) > 1:
		return true, applet.Exitf(exitFailed, "%s: unknown option %s", t.name, words[1])
	case t.method > 0 && t.mode != method.ModeStatus:
		return true, applet.Exitf(exitFailed, "%s: -m goes with -S only", t.name)
	case len(words) == 1:
		t.node = words[0]
	case t.mode != method.ModeUnfence:
		return true, applet.Exitf(exitFailed, "%s: no node name specified", t.name)
	}
	return false, nil
}

// connect opens the engine.
func (t *tool) connect(ctx context.Context) (cluster.Engine, error) {
	conf, _ := daemon.RunningConfig(t.env) // for the embedded engine
	for try := 1; ; try++ {
		e, err := daemon.Observe(ctx, t.env, conf, corosync.Config{Limit: callLimit})
		if err == nil {
			return e, nil
		}
		if !errors.Is(err, cluster.ErrNotRunning) || try == connectTries || t.env.Clock.Sleep(ctx, connectPause) != nil {
			return nil, applet.Exitf(exitFailed, "%s: cannot connect to cman", t.name)
		}
	}
}

// ring is what fenced knows of the node before it is fenced; 0 without fenced.
func (t *tool) ring(ctx context.Context, id cluster.NodeID) uint64 {
	var nodes []fencing.NodeView
	if daemon.Client(t.env, "fenced").Do(ctx, "GET", "/v1/nodes", nil, &nodes) != nil {
		return 0
	}
	for _, n := range nodes {
		if n.ID == id {
			return n.Ring
		}
	}
	return 0
}

// external tells fenced. That fenced is not there is no fault.
func (t *tool) external(ctx context.Context, id cluster.NodeID, ring uint64) {
	if ring == 0 {
		return
	}
	in := struct {
		Node cluster.NodeID `json:"node"`
		Ring uint64         `json:"ring"`
	}{id, ring}
	if err := daemon.Client(t.env, "fenced").Do(ctx, "POST", "/v1/external", in, nil); err != nil {
		fmt.Fprintf(t.env.Stderr, "%s: tell fenced: %v\n", t.name, err)
	}
}

func (t *tool) action() string { return [...]string{"fence", "unfence", "status"}[t.mode] }

// entries prints what each device did.
func (t *tool) entries(run *method.Run, done method.Done) {
	if t.verbose == 0 && (t.mode != method.ModeStatus || done.Result.OK || done.Undefined) {
		return
	}
	for _, e := range done.Result.Entries {
		fmt.Fprintf(t.env.Stderr, "%s %s\n", t.action(), e.Line(t.node))
		if t.verbose < 2 {
			continue
		}
		for _, a := range run.Args() {
			if a.Method == e.Method && a.Device == e.Device {
				fmt.Fprintf(t.env.Stderr, "agent args: %s\n", a.Text)
			}
		}
		if e.Detail != "" {
			fmt.Fprintf(t.env.Stderr, "agent says: %s\n", e.Detail)
		}
	}
	if done.Overflow > 0 {
		fmt.Fprintf(t.env.Stderr, "fence_node log overflow %d\n", done.Overflow)
	}
}

// report prints and logs the result.
func (t *tool) report(done method.Done) error {
	text, code, logged := "failed", exitFailed, true
	switch {
	case done.Undefined:
		text, code, logged = "undefined", exitUndefined, t.mode == method.ModeFence
	case done.Result.OK && t.mode == method.ModeStatus && done.Off:
		text, code = "success off", 0
	case done.Result.OK && t.mode == method.ModeStatus:
		text, code = "success on", 0
	case done.Result.OK:
		text, code = "success", 0
	case t.mode == method.ModeStatus:
		text = "failed -1"
	}
	line := t.action() + " " + t.node + " " + text
	fmt.Fprintln(t.env.Stderr, line)
	if logged {
		t.env.Log.With(platform.AppletKey, "fence_node").Error(line)
	}
	return applet.Exit(code)
}
