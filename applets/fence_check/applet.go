//go:build linux

// Package fencecheck is fence_check(8): ask all fence devices of all nodes for
// their status, so that faults are known before a node must be fenced.
package fencecheck

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"time"

	"github.com/haobox/haobox/applets/applet"
	"github.com/haobox/haobox/applets/internal/daemon"
	"github.com/haobox/haobox/applets/internal/fenceexec"
	"github.com/haobox/haobox/applets/internal/oldcli"
	"github.com/haobox/haobox/internal/argv"
	"github.com/haobox/haobox/internal/cluster"
	"github.com/haobox/haobox/internal/clusterconf"
	"github.com/haobox/haobox/internal/fencing"
	"github.com/haobox/haobox/internal/fencing/method"
	"github.com/haobox/haobox/platform"
	"github.com/haobox/haobox/platform/corosync"
	"github.com/haobox/haobox/platform/proc"
)

// Applet is the command.
var Applet = applet.Applet{
	Name: "fence_check", Section: 8, Class: applet.Tool,
	Summary: "check that all nodes could be fenced",
	Run:     run,
}

// Exit statuses of fence_check(8).
const (
	exitError    = 1
	exitNoCman   = 2
	exitNotReady = 3
	exitLocked   = 4
	exitFailed   = 5
)

const (
	lockFile = "/var/run/fence_check.pid" // fenced looks at it
	logFile  = "/var/log/cluster/fence_check.log"
	// callLimit bounds each question to the cluster.
	callLimit = 10 * time.Second
)

const help = `Usage:

fence_check [-d] [-v] [-e] [-f]

Ask the fence devices of all nodes for their status, from the fence master.

  -d   no log file
  -v   tell of every check
  -e   show the agents' arguments where something failed
  -f   do not ask whether the cluster and the fence domain are in order
  -h   this text
  -V   version
`

// tool is one call.
type tool struct {
	env                           platform.Env
	noLog, verbose, shown, forced bool
	out                           io.Writer
}

func run(ctx context.Context, env platform.Env, args []string) error {
	t := &tool{env: env, out: env.Stdout}
	settings, words, err := argv.Parse(oldcli.Options("dvefhV"), args[1:])
	if err != nil || len(words) > 0 {
		io.WriteString(env.Stderr, help)
		return applet.Exit(exitError)
	}
	for _, s := range settings {
		switch s.Name {
		case "help":
			_, err := io.WriteString(env.Stdout, help)
			return err
		case "V":
			_, err := fmt.Fprintf(env.Stdout, "fence_check version %s", oldcli.Version("")[1:])
			return err
		case "d":
			t.noLog = true
		case "v":
			t.verbose = true
		case "e":
			t.shown = true
		case "f":
			t.forced = true
		}
	}
	if !t.noLog {
		_ = env.FS.MkdirAll(path.Dir(logFile), 0o755)
		f, err := env.FS.OpenFile(logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
		if err != nil {
			return applet.Exitf(exitError, "fence_check: open the log: %w", err)
		}
		defer f.Close()
		t.out = io.MultiWriter(env.Stdout, f)
	}
	t.print("fence_check run at %s pid: %d", env.Clock.Now().Format(time.UnixDate), os.Getpid())
	_ = env.FS.MkdirAll(path.Dir(lockFile), 0o755)
	release, pid, err := proc.Flock(env.FS.Path(lockFile))
	switch {
	case errors.Is(err, proc.ErrLocked):
		t.print("Another process (%d) is holding the lock", pid)
		return applet.Exit(exitLocked)
	case err != nil:
		return applet.Exitf(exitError, "fence_check: %w", err)
	}
	defer release()
	conf, err := daemon.RunningConfig(env)
	if err != nil {
		return applet.Exitf(exitError, "fence_check: %w", err)
	}
	failed := false
	for i := range conf.Nodes {
		n := &conf.Nodes[i]
		if err := t.check(ctx, conf); err != nil {
			return err
		}
		for m := range min(len(n.Methods), method.MaxMethods) {
			ok := t.test(ctx, conf, n.Name, m+1)
			failed = failed || !ok
			if ctx.Err() != nil {
				t.print("Unable to perform fence_check: interrupted")
				return applet.Exit(exitError)
			}
		}
		if len(n.Methods) == 0 && t.verbose {
			t.print("Node %s has no method", n.Name)
		}
	}
	if failed {
		return applet.Exit(exitFailed)
	}
	return nil
}

func (t *tool) print(format string, args ...any) { fmt.Fprintf(t.out, format+"\n", args...) }

// unable is a check that failed.
func (t *tool) unable(code int, reason string) error {
	t.print("Unable to perform fence_check: %s", reason)
	return applet.Exit(code)
}

// check looks whether the cluster is in order and this node is to do it.
func (t *tool) check(ctx context.Context, conf *clusterconf.Config) error {
	if t.forced {
		return nil
	}
	tell := func(what string) {
		if t.verbose {
			t.print("Checking if %s", what)
		}
	}
	tell("cman is running")
	e, err := daemon.Observe(ctx, t.env, conf, corosync.Config{Limit: callLimit})
	if err != nil {
		return t.unable(exitNoCman, "cman is not running")
	}
	defer e.Close()
	tell("node is quorate")
	st, err := e.Status(ctx)
	if err != nil {
		return t.unable(exitNoCman, "cman is not running")
	}
	if !st.Quorate {
		return t.unable(exitNotReady, "node is not quorate")
	}
	tell("node is in fence domain")
	var in fencing.Info
	if err := daemon.Client(t.env, "fenced").Do(ctx, "GET", "/v1/domain", nil, &in); err != nil || !in.Joined {
		return t.unable(exitNotReady, "node is not part of the fence domain")
	}
	tell("node is fence master")
	if in.Master != cluster.NodeID(e.Local().ID) {
		return t.unable(exitNotReady, "node is not fence master")
	}
	tell("real fencing is in progress")
	if len(in.Victims) > 0 {
		return t.unable(exitNotReady, "real fencing operation in progress")
	}
	return nil
}

// test asks one method of a node.
func (t *tool) test(ctx context.Context, conf *clusterconf.Config, node string, m int) bool {
	run, actions, err := method.New(t.env.Clock.Now(), method.ModeStatus, conf, node, method.Options{Method: m})
	if err != nil {
		return false
	}
	done := fenceexec.Runner{Env: t.env}.All(ctx, run, actions)
	if done.Result.OK {
		t.print("Testing %s method %d: success", node, m)
		return true
	}
	t.print("Testing %s method %d: FAILED", node, m)
	for _, e := range done.Result.Entries {
		if e.Code == fencing.CodeStatusOn || e.Code == fencing.CodeStatusOff {
			continue
		}
		t.print("status %s", e.Line(node))
		if e.Detail != "" {
			t.print("agent says: %s", e.Detail)
		}
		for _, a := range run.Args() {
			if t.shown && a.Method == e.Method && a.Device == e.Device {
				t.print("agent args: %s", a.Text)
			}
		}
	}
	return false
}
