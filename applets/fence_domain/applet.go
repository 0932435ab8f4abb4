//go:build linux

// Package fencedomain lets a lock manager that fences by itself (dlm_controld 4)
// leave that to fenced: it is called for a node id, as an agent of
// "fence_all", and ends when the fence domain knows that the node is off.
package fencedomain

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/haobox/haobox/applets/applet"
	"github.com/haobox/haobox/applets/internal/daemon"
	"github.com/haobox/haobox/internal/fencing"
	"github.com/haobox/haobox/platform"
)

// Applet is the command.
var Applet = applet.Applet{
	Name: "fence_domain", Section: 8, Class: applet.Agent,
	Summary: "wait until fenced has fenced a node, for dlm_controld",
	Run:     run,
}

const exitFailed = 1

const (
	// defaultLimit bounds the wait: ours. dlm_controld has no limit of its own
	// and tries again.
	defaultLimit = time.Hour
	// maxInput bounds standard input: ours.
	maxInput = 64 << 10
)

const help = `Usage:

fence_domain NODEID
fence_domain <input

Wait until the fence daemons of the cluster know that a node is off. The input
is that of a fence agent, lines of name=value: node=NODEID, and timeout=SECONDS
(3600) after which it fails. Nothing is switched off or on by it.

  -h   this text
`

var (
	errNoNode = errors.New("no node: node=NODEID is missing")
	errLeft   = errors.New("it left the fence domain before it failed: nobody fences it")
	errEnded  = errors.New("fenced ended")
)

// request is what is asked.
type request struct {
	node   uint64
	action string
	limit  time.Duration
}

func run(ctx context.Context, env platform.Env, args []string) error {
	if len(args) > 1 && (args[1] == "-h" || args[1] == "--help") {
		_, err := io.WriteString(env.Stdout, help)
		return err
	}
	r, err := parse(env.Stdin, args[1:])
	if err == nil {
		if r.action == "on" { // unfencing: fenced lets a node in, nobody else
			return nil
		}
		err = wait(ctx, env, r)
	}
	if err != nil {
		return applet.Exitf(exitFailed, "fence_domain: %w", err)
	}
	return nil
}

// parse reads the command line, or standard input without one.
func parse(in io.Reader, args []string) (request, error) {
	r := request{limit: defaultLimit}
	lines := bufio.NewScanner(io.LimitReader(in, maxInput))
	if len(args) > 0 {
		if len(args) > 1 {
			return r, fmt.Errorf("%d arguments, want a node id", len(args))
		}
		lines = bufio.NewScanner(strings.NewReader("node=" + args[0]))
	}
	for lines.Scan() {
		name, value, _ := strings.Cut(strings.TrimSpace(lines.Text()), "=")
		n, err := strconv.ParseUint(value, 10, 32)
		switch name {
		case "node":
			if err != nil || n == 0 {
				return r, fmt.Errorf("node=%q is no node id", value)
			}
			r.node = n
		case "timeout":
			if err != nil || n == 0 {
				return r, fmt.Errorf("timeout=%q is no number of seconds", value)
			}
			r.limit = time.Duration(n) * time.Second
		case "action":
			r.action = value
		}
	}
	if err := lines.Err(); err != nil {
		return r, err
	}
	if r.node == 0 {
		return r, errNoNode
	}
	return r, nil
}

// errSafe ends the stream.
var errSafe = errors.New("off")

// wait follows the node's state. It is off when fenced says so, or when it has
// been off since the wait began and is back already. A node that is a member at
// the beginning has failed for others only: fenced will see it, too.
func wait(ctx context.Context, env platform.Env, r request) error {
	ctx, cancel := context.WithTimeout(ctx, r.limit)
	defer cancel()
	first := true
	var off uint64
	err := daemon.Client(env, "fenced").Lines(ctx, "/v1/events", func(line []byte) error {
		var n fencing.NodeView
		if err := json.Unmarshal(line, &n); err != nil {
			return fmt.Errorf("read fenced's answer: %w", err)
		}
		if uint64(n.ID) != r.node || n.Ring == 0 {
			return nil
		}
		if first {
			first, off = false, n.Off
		}
		switch {
		case n.State == fencing.StateOff, n.Off > off:
			return errSafe
		case n.State == fencing.StateLeft:
			return errLeft
		}
		return nil
	})
	switch {
	case errors.Is(err, errSafe):
		return nil
	case err == nil:
		err = errEnded
	case ctx.Err() != nil:
		err = fmt.Errorf("it is not known to be off after %v", r.limit)
	}
	return fmt.Errorf("wait for the fencing of node %d: %w", r.node, err)
}
