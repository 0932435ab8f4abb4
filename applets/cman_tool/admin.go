//go:build linux

package cmantool

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/haobox/haobox/applets/applet"
	"github.com/haobox/haobox/internal/cluster"
	"github.com/haobox/haobox/platform"
	"github.com/haobox/haobox/platform/corosync"
)

// admin is kill, expected and votes.
func (t *tool) admin() error {
	switch {
	case t.command == "kill" && len(t.names) == 0:
		return t.die("No node name specified")
	case t.command == "expected" && !t.has("e"):
		return t.die("expected votes must be given with -e")
	case t.command == "votes" && !t.has("v"):
		return t.die("votes must be given with -v")
	}
	e, err := t.open()
	if err != nil {
		return err
	}
	defer e.Close()
	do := e.(cluster.Admin)
	switch t.command {
	case "expected":
		if err := do.SetExpected(t.ctx, t.numbers["e"]); err != nil {
			return t.die("can't set expected votes: %s", text(err))
		}
	case "votes":
		node := e.Local()
		if len(t.names) > 0 {
			if node, err = t.find(e, t.names[0]); err != nil {
				return t.die("Can't set votes for node %s : %s", t.names[0], text(err))
			}
		}
		if err := do.SetVotes(t.ctx, node.ID, t.numbers["v"]); err != nil && len(t.names) > 0 {
			return t.die("Can't set votes for node %s : %s", node.Name, text(err))
		} else if err != nil {
			return t.die("can't set votes: %s", text(err))
		}
	case "kill":
		for _, name := range t.names {
			node, err := t.find(e, name)
			if err == nil {
				err = do.Kill(t.ctx, node.ID, "cman_tool kill")
			}
			if err != nil {
				fmt.Fprintf(t.env.Stderr, "Can't kill node %s : %s\n", name, text(err))
			}
		}
	}
	return nil
}

// find returns the node of a name.
func (t *tool) find(e cluster.Engine, name string) (cluster.Node, error) {
	s, err := e.Status(t.ctx)
	if err != nil {
		return cluster.Node{}, err
	}
	for _, n := range s.Nodes {
		if n.Name == name {
			return n.Node, nil
		}
	}
	return cluster.Node{}, cluster.ErrNotMember
}

// wait waits for membership, with -q for quorum, at most -t seconds. grace is
// how long corosync may be missing before that is an error.
func (t *tool) wait(grace time.Duration) error {
	ctx := t.ctx
	if n := t.numbers["t"]; n > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(n)*time.Second)
		defer cancel()
	}
	begin := t.env.Clock.Now()
	for {
		e, err := t.connect(ctx)
		if err == nil {
			s, serr := e.Status(ctx)
			e.Close()
			if serr == nil && (s.Quorate || !t.has("q")) {
				return nil
			}
		} else if t.env.Clock.Now().Sub(begin) >= grace && ctx.Err() == nil {
			return t.cannotOpen(err)
		}
		if t.env.Clock.Sleep(ctx, pollEvery) != nil {
			if t.ctx.Err() != nil {
				return t.ctx.Err()
			}
			return applet.Exitf(exitTimeout, "%s: Timed-out waiting for cluster", t.name)
		}
	}
}

// services shows the groups.
func (t *tool) services() error {
	res, err := t.env.Runner.Run(t.ctx, platform.Cmd{Path: "group_tool", Args: []string{"group_tool", "ls"},
		Stdout: t.env.Stdout, Stderr: t.env.Stderr, Limit: callLimit})
	if err != nil {
		return t.die("Unable to invoke group_tool")
	}
	if !res.OK() {
		return applet.Exit(max(res.ExitCode, exitError))
	}
	return nil
}

// debug switches corosync's debug messages: any bit of the mask is on.
func (t *tool) debug() error {
	mask, err := strconv.ParseUint(t.set["d"], 0, 32)
	if t.has("d") && t.set["d"] != "" && err != nil {
		return t.die("argument to d (%s) is not an integer", t.set["d"])
	}
	c, err := corosync.DialCMap(t.ctx, corosync.Config{Limit: callLimit})
	if err != nil {
		return t.cannotOpen(err)
	}
	defer c.Close()
	value := "off"
	if mask != 0 {
		value = "on"
	}
	if err := c.Set(t.ctx, "logging.debug", corosync.Text(value)); err != nil {
		return t.die("Error setting debug: %v", err)
	}
	return nil
}
