//go:build linux

package cmantool

import (
	"context"
	"errors"
	"time"

	"github.com/haobox/haobox/applets/applet"
	"github.com/haobox/haobox/internal/cluster"
	"github.com/haobox/haobox/platform/corosync"
)

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
