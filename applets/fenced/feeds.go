//go:build linux

package fenced

import (
	"context"
	"fmt"
	"time"

	"github.com/haobox/haobox/applets/internal/daemon"
	"github.com/haobox/haobox/internal/cluster"
	"github.com/haobox/haobox/internal/ctl"
	"github.com/haobox/haobox/internal/fencing"
	"github.com/haobox/haobox/platform/proc"
)

// checkFile is locked by a running fence_check.
const checkFile = "/var/run/fence_check.pid"

// weightWait is how long rgmanager may wait with its answer for another weight
// than the one that is known. Ours: one that hangs is noticed after this and
// pollLimit, and at rest a question costs ten times less than one each second.
const weightWait = 10 * time.Second

// poll asks other daemons of this node, again and again, what decides a fence
// race; a daemon that does not answer has nothing to say, nor has one that is not
// asked because it decides nothing. Where there is nothing to ask it waits.
func (s *shell) poll() {
	rgmanager, qdiskd := daemon.Client(s.d.Env, "rgmanager"), daemon.Client(s.d.Env, "qdiskd")
	rgmanager.Limit, qdiskd.Limit = weightWait+pollLimit, pollLimit
	var last struct {
		weight uint32
		master cluster.NodeID
	}
	for {
		select {
		case <-s.needs: // looked at now
		default:
		}
		var need fencing.Feeds
		if s.d.Loop.Do(s.ctx, func() {
			if need = s.core.Feeds(); need.Check {
				s.check()
			}
		}) != nil {
			return
		}
		var weight uint32
		if need.Weight {
			weight = s.weight(rgmanager, last.weight, !need.Check)
		}
		var disk struct {
			Master cluster.NodeID `json:"master"`
		}
		if !need.QuorumDisk || qdiskd.Do(s.ctx, "GET", "/v1/status", nil, &disk) != nil {
			disk.Master = 0
		}
		if weight != last.weight {
			last.weight = weight
			s.d.Loop.Post(func() { s.step(fencing.Weight{Weight: weight}) })
		}
		if disk.Master != last.master {
			last.master = disk.Master
			s.d.Loop.Post(func() { s.step(fencing.QuorumDisk{Master: disk.Master}) })
		}
		if need != (fencing.Feeds{}) {
			if s.d.Env.Clock.Sleep(s.ctx, pollEvery) != nil {
				return
			}
			continue
		}
		select {
		case <-s.needs:
		case <-s.ctx.Done():
			return
		}
	}
}

// weight asks rgmanager what its services are worth, 0 if it does not answer.
// With wait it need not answer as long as that is what is known; but it is not
// waited for when something else is to be asked from now on.
func (s *shell) weight(c *ctl.Client, known uint32, wait bool) uint32 {
	ctx, cancel := context.WithTimeout(s.ctx, pollLimit)
	path := "/v1/weight"
	if wait {
		cancel()
		ctx, cancel = context.WithCancel(s.ctx)
		path = fmt.Sprintf("%s?not=%d&wait=%d", path, known, weightWait/time.Second)
		go func() {
			select {
			case <-s.needs:
				cancel()
			case <-ctx.Done():
			}
		}()
	}
	defer cancel()
	var out struct {
		Weight uint32 `json:"weight"`
	}
	if c.Do(ctx, "GET", path, nil, &out) == nil {
		return out.Weight
	}
	if wait && ctx.Err() != nil {
		return known // given up
	}
	return 0
}

// check tells the core whether a fence_check runs, in the loop.
func (s *shell) check() {
	pid, locked := proc.FlockHolder(s.d.Env.FS.Path(checkFile))
	if !locked {
		pid = 0
	}
	if pid != s.checker && !s.over {
		s.checker = pid
		s.step(fencing.Check{PID: pid})
	}
}

// busy asks rgmanager whether it runs services here: leaving the fence domain
// would let others start them.
func busy(ctx context.Context, d *daemon.Daemon) bool {
	c := daemon.Client(d.Env, "rgmanager")
	c.Limit = pollLimit
	var weight struct {
		Weight uint32 `json:"weight"`
	}
	return c.Do(ctx, "GET", "/v1/weight", nil, &weight) == nil && weight.Weight > 0
}
