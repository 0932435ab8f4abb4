//go:build linux

package rgmanager

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/haobox/haobox/applets/internal/daemon"
	"github.com/haobox/haobox/internal/cluster"
	"github.com/haobox/haobox/internal/rgm"
)

// fenceRetry is the pause before fenced is asked again. Ours: a failed node's
// services wait for it.
const fenceRetry = 500 * time.Millisecond

// fencing listens to fenced: a failed node's services move when it says that
// the node is off, never after a time.
type fencing struct {
	s    *shell
	self cluster.NodeID
	name string
	// joined: services may be managed. In the loop.
	joined bool
	then   func()
}

// fenceState is a node as fenced sees it.
type fenceState struct {
	ID    uint32 `json:"id"`
	Name  string `json:"name"`
	State string `json:"state"`
	Ring  uint64 `json:"ring"`
}

func newFencing(s *shell, self cluster.NodeID, name string) *fencing {
	return &fencing{s: s, self: self, name: name}
}

// begin listens. then is called in the loop when this node has joined the fence
// domain, or at once if its configuration has no fence device for it.
func (f *fencing) begin(then func()) {
	f.then = then
	if n := f.s.d.Conf().Node(f.name); n == nil || len(n.Methods) == 0 {
		f.join()
	} else {
		f.s.d.Infof("Waiting for fence domain join operation to complete")
	}
	go func() {
		client := daemon.Client(f.s.d.Env, "fenced")
		silent := false
		for f.s.ctx.Err() == nil {
			err := client.Lines(f.s.ctx, "/v1/events", func(line []byte) error {
				var n fenceState
				if err := json.Unmarshal(line, &n); err != nil {
					return fmt.Errorf("read what fenced says: %w", err)
				}
				silent = false
				f.s.d.Loop.Post(func() { f.node(n) })
				return nil
			})
			if err != nil && !silent {
				silent = true // said once, until it answers again
				f.s.d.Debugf("fenced: %v", err)
			}
			_ = f.s.d.Env.Clock.Sleep(f.s.ctx, fenceRetry)
		}
	}()
}

func (f *fencing) join() {
	if !f.joined {
		f.joined = true
		f.then()
	}
}

func (f *fencing) node(n fenceState) {
	switch n.State {
	case "off", "left":
		f.s.metrics.safe(f.s.d.Env.Clock.Now(), cluster.NodeID(n.ID), n.State == "left")
		f.s.step(rgm.NodeSafe{Node: cluster.NodeID(n.ID), Ring: n.Ring, Left: n.State == "left"})
	case "member":
		if cluster.NodeID(n.ID) == f.self && !f.joined {
			f.s.d.Infof("Fence domain joined")
			f.join()
		}
	}
}
