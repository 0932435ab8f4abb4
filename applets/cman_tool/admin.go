//go:build linux

package cmantool

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"time"

	"github.com/haobox/haobox/applets/applet"
	"github.com/haobox/haobox/internal/cluster"
	"github.com/haobox/haobox/internal/clusterconf"
	"github.com/haobox/haobox/internal/cman"
	"github.com/haobox/haobox/internal/corosyncconf"
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
		e, err := t.open()
		if err == nil {
			s, serr := e.Status(ctx)
			e.Close()
			if serr == nil && (s.Quorate || !t.has("q")) {
				return nil
			}
		} else if t.env.Clock.Now().Sub(begin) >= grace && ctx.Err() == nil {
			return err
		}
		if t.env.Clock.Sleep(ctx, pollEvery) != nil {
			if t.ctx.Err() != nil {
				return t.ctx.Err()
			}
			return applet.Exitf(exitTimeout, "%s: Timed-out waiting for cluster", t.name)
		}
	}
}

// leave stops corosync in order. Clients that have services running may refuse.
func (t *tool) leave() error {
	e, err := t.open()
	if err != nil {
		return err
	}
	defer e.Close()
	if t.remove {
		// The votes of this node must not count for the others any more.
		if err := t.giveUpVotes(e); err != nil {
			return t.die("Error leaving cluster: %s", text(err))
		}
	}
	how := corosync.ShutdownRequest
	if t.force {
		how = corosync.ShutdownRegardless
	}
	ctx := t.ctx
	if n := t.numbers["t"]; n > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(n)*time.Second)
		defer cancel()
	}
	for {
		err := t.shutdown(ctx, how)
		switch {
		case err == nil, errors.Is(err, corosync.ErrLost), errors.Is(err, corosync.ErrNotRunning):
			if t.has("w") {
				return t.gone(ctx)
			}
			return nil
		case !t.has("w") || !errors.Is(err, corosync.ErrBusy) && !errors.Is(err, corosync.ErrExist):
			return t.die("Error leaving cluster: %s", text(err))
		}
		if t.env.Clock.Sleep(ctx, pollEvery) != nil {
			return applet.Exitf(exitTimeout, "%s: Timed-out waiting for cluster", t.name)
		}
	}
}

// giveUpVotes makes the others' quorum what it is without this node.
func (t *tool) giveUpVotes(e cluster.Engine) error {
	s, err := e.Status(t.ctx)
	if err != nil {
		return err
	}
	own, _ := s.Node(s.Local)
	do := e.(cluster.Admin)
	if len(s.Members()) < 2 {
		return nil
	}
	if err := do.SetVotes(t.ctx, s.Local, 0); err != nil {
		return err
	}
	return do.SetExpected(t.ctx, max(s.Total-own.Votes, 1))
}

func (t *tool) shutdown(ctx context.Context, how corosync.Shutdown) error {
	c, err := corosync.DialCfg(ctx, corosync.Config{Limit: callLimit})
	if err != nil {
		return err
	}
	defer c.Close()
	return c.TryShutdown(ctx, how)
}

// gone waits until corosync lets nobody in any more.
func (t *tool) gone(ctx context.Context) error {
	for {
		c, err := corosync.DialCfg(ctx, corosync.Config{Limit: callLimit})
		if errors.Is(err, corosync.ErrNotRunning) {
			return nil
		}
		if err == nil {
			c.Close()
		}
		if t.env.Clock.Sleep(ctx, pollEvery/10) != nil {
			return applet.Exitf(exitTimeout, "%s: Timed-out waiting for cluster", t.name)
		}
	}
}

// version shows the running version of the configuration, or with -r loads a
// new one.
func (t *tool) version() error {
	e, err := t.open()
	if err != nil {
		return err
	}
	defer e.Close()
	s, err := t.status(e)
	if err != nil {
		return err
	}
	if !t.has("r") {
		fmt.Fprintf(t.env.Stdout, "%s config %d\n", cman.ProtocolVersion, s.ConfigVersion)
		return nil
	}
	if t.set["r"] != "" {
		fmt.Fprintln(t.env.Stderr, "Warning: specifying a version for the -r flag is deprecated and no longer used")
	}
	cfg, err := t.load()
	if err != nil {
		return err
	}
	if cfg.Version <= 0 {
		return t.die("Unable to retrive the new config version")
	}
	if clusterconf.CompareVersions(int(s.ConfigVersion), cfg.Version) != nil {
		return t.die("Not reloading, config version older or equal the running config")
	}
	if err := t.validate(cfg, "Not reloading, configuration is not valid"); err != nil {
		return err
	}
	conf, err := t.translate(cfg, e.Local().Name)
	if err != nil {
		return err
	}
	if !t.has("S") {
		res, err := t.env.Runner.Run(t.ctx, platform.Cmd{Path: "ccs_sync", Stdout: t.env.Stdout, Stderr: t.env.Stderr, Limit: syncLimit})
		if err != nil || !res.OK() {
			return t.die("ccs_sync failed.\nIf you have distributed the config file yourself, try re-running with -S")
		}
	}
	if err := t.install(conf); err != nil {
		return err
	}
	c, err := corosync.DialCfg(t.ctx, corosync.Config{Limit: callLimit})
	if err == nil {
		defer c.Close()
		err = c.Reload(t.ctx)
	}
	if err != nil {
		return t.die("Error loading configuration in corosync/cman: %v", err)
	}
	return nil
}

// syncLimit bounds ccs_sync, which asks each node in turn.
const syncLimit = 2 * time.Minute

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

// install writes corosync.conf. A file that was not made here is kept beside
// it, once.
func (t *tool) install(conf []byte) error {
	const kept = corosyncconf.Path + ".before-haobox"
	old, err := t.env.FS.ReadFile(corosyncconf.Path)
	switch {
	case err == nil && !corosyncconf.Ours(old):
		if _, err := t.env.FS.Stat(kept); errors.Is(err, fs.ErrNotExist) {
			if err := t.env.FS.WriteFile(kept, old, 0o644); err != nil {
				return t.die("keep %s: %v", corosyncconf.Path, err)
			}
		}
	case err != nil && !errors.Is(err, os.ErrNotExist):
		return t.die("read %s: %v", corosyncconf.Path, err)
	}
	if err := t.env.FS.MkdirAll("/etc/corosync", 0o755); err != nil {
		return t.die("write %s: %v", corosyncconf.Path, err)
	}
	if err := t.env.FS.WriteFile(corosyncconf.Path, conf, 0o644); err != nil {
		return t.die("write %s: %v", corosyncconf.Path, err)
	}
	return nil
}
