//go:build linux

package fenced

import (
	"context"

	"github.com/haobox/haobox/applets/internal/daemon"
	"github.com/haobox/haobox/internal/cluster"
	"github.com/haobox/haobox/internal/fencing"
	"github.com/haobox/haobox/platform/proc"
)

// checkFile is locked by a running fence_check.
const checkFile = "/var/run/fence_check.pid"

// poll asks other daemons of this node, again and again, what decides a fence
// race; a daemon that does not answer has nothing to say.
func (s *shell) poll() {
	rgmanager, qdiskd := daemon.Client(s.d.Env, "rgmanager"), daemon.Client(s.d.Env, "qdiskd")
	rgmanager.Limit, qdiskd.Limit = pollLimit, pollLimit
	var lastWeight uint32
	var lastMaster cluster.NodeID
	lastPID := 0
	for {
		var weight struct {
			Weight uint32 `json:"weight"`
		}
		if rgmanager.Do(s.ctx, "GET", "/v1/weight", nil, &weight) != nil {
			weight.Weight = 0
		}
		var disk struct {
			Master cluster.NodeID `json:"master"`
		}
		if qdiskd.Do(s.ctx, "GET", "/v1/status", nil, &disk) != nil {
			disk.Master = 0
		}
		pid, locked := proc.FlockHolder(s.d.Env.FS.Path(checkFile))
		if !locked {
			pid = 0
		}
		if weight.Weight != lastWeight {
			lastWeight = weight.Weight
			s.d.Loop.Post(func() { s.step(fencing.Weight{Weight: weight.Weight}) })
		}
		if disk.Master != lastMaster {
			lastMaster = disk.Master
			s.d.Loop.Post(func() { s.step(fencing.QuorumDisk{Master: disk.Master}) })
		}
		if pid != lastPID {
			lastPID = pid
			s.d.Loop.Post(func() { s.step(fencing.Check{PID: pid}) })
		}
		if s.d.Env.Clock.Sleep(s.ctx, pollEvery) != nil {
			return
		}
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
