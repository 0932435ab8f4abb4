//go:build linux

package cmantool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/haobox/haobox/applets/applet"
	"github.com/haobox/haobox/internal/cluster"
	"github.com/haobox/haobox/platform/corosync"
	"github.com/haobox/haobox/platform/systemd"
)

// leave stops corosync in order. Clients that have services running may refuse.
func (t *tool) leave() error {
	e, err := t.open()
	if err != nil {
		return err
	}
	defer e.Close()
	stay := func() {}
	if t.remove {
		// The votes of this node must not count for the others any more.
		if stay, err = t.giveUpVotes(e); err != nil {
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
	pid := 0
	for {
		err := t.shutdown(ctx, how, &pid)
		switch {
		case err == nil, errors.Is(err, corosync.ErrLost), errors.Is(err, corosync.ErrNotRunning):
			if t.has("w") {
				return t.gone(ctx, pid)
			}
			return nil
		case ctx.Err() == nil && (!t.has("w") || !errors.Is(err, corosync.ErrBusy) && !errors.Is(err, corosync.ErrExist)):
			stay()
			return t.die("Error leaving cluster: %s", text(err))
		}
		if t.env.Clock.Sleep(ctx, pollEvery) != nil {
			stay()
			return applet.Exitf(exitTimeout, "%s: Timed-out waiting for cluster", t.name)
		}
	}
}

// giveUpVotes makes the others' quorum what it is without this node. stay puts
// everything back, for a node that may not go.
func (t *tool) giveUpVotes(e cluster.Engine) (stay func(), err error) {
	nothing := func() {}
	s, err := e.Status(t.ctx)
	if err != nil {
		return nothing, err
	}
	own, _ := s.Node(s.Local)
	do := e.(cluster.Admin)
	if len(s.Members()) < 2 {
		return nothing, nil
	}
	stay = func() {
		ctx := context.WithoutCancel(t.ctx) // also when it was interrupted
		err := do.SetVotes(ctx, s.Local, own.Votes)
		if err == nil {
			err = do.SetExpected(ctx, s.Expected)
		}
		if err != nil {
			fmt.Fprintf(t.env.Stderr, "%s: this node stays, but without its %d votes of %d expected: %s\n", t.name, own.Votes, s.Expected, text(err))
		}
	}
	if err = do.SetVotes(t.ctx, s.Local, 0); err != nil {
		return nothing, err
	}
	if err = do.SetExpected(t.ctx, max(s.Total-own.Votes, 1)); err != nil {
		stay()
		return nothing, err
	}
	return stay, nil
}

// shutdown asks corosync to stop, and notes its process.
func (t *tool) shutdown(ctx context.Context, how corosync.Shutdown, pid *int) error {
	c, err := corosync.DialCfg(ctx, corosync.Config{Limit: callLimit})
	if err != nil {
		return err
	}
	defer c.Close()
	*pid = c.DaemonPID()
	return c.TryShutdown(ctx, how)
}

// gone waits until corosync lets nobody in any more, its process has ended and
// systemd has noticed: a join right after it would fail before that.
func (t *tool) gone(ctx context.Context, pid int) error {
	for {
		c, err := corosync.DialCfg(ctx, corosync.Config{Limit: callLimit})
		if err == nil {
			c.Close()
		}
		if errors.Is(err, corosync.ErrNotRunning) && t.ended(pid) && !stopping(ctx) {
			return nil
		}
		if t.env.Clock.Sleep(ctx, pollEvery/10) != nil {
			return applet.Exitf(exitTimeout, "%s: Timed-out waiting for cluster", t.name)
		}
	}
}

// ended reports whether a process is gone or waits for its parent only.
func (t *tool) ended(pid int) bool {
	if pid <= 0 {
		return true // in a process namespace that cannot be seen from here
	}
	stat, err := t.env.FS.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	i := bytes.LastIndexByte(stat, ')')
	return i >= 0 && bytes.HasPrefix(stat[i+1:], []byte(" Z"))
}

// stopping reports whether systemd is still busy with the end of corosync.
func stopping(ctx context.Context) bool {
	if !systemd.Running() {
		return false
	}
	_, active, _, err := systemd.Manager{}.State(ctx, corosyncUnit)
	return err == nil && active == "deactivating"
}
