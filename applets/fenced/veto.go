//go:build linux

package fenced

import (
	"github.com/haobox/haobox/applets/internal/daemon"
	"github.com/haobox/haobox/platform/corosync"
)

// veto answers when corosync asks whether it may stop: not while this node is in
// the fence domain, whose others would fence it. An order that does not ask
// (corosync-cfgtool -H --force, SIGTERM) is obeyed.
func (s *shell) veto() {
	if !daemon.OnCorosync(s.d.Env) {
		return
	}
	c, err := corosync.DialCfg(s.ctx, corosync.Config{})
	if err == nil {
		defer c.Close()
		err = c.TrackShutdown(s.ctx)
	}
	for err == nil {
		var ev corosync.ShutdownEvent
		if ev, err = c.Next(s.ctx); err != nil || ev.TimedOut {
			continue
		}
		joined := true
		if err = s.d.Loop.Do(s.ctx, func() { joined = s.core.Info().Joined }); err != nil {
			break
		}
		if joined {
			s.d.Debugf("no to cman shutdown")
		}
		err = c.ReplyToShutdown(s.ctx, !joined)
	}
	if s.ctx.Err() == nil { // the watch of the engine says it, too
		s.d.Debugf("not asked before corosync stops: %v", err)
	}
}
