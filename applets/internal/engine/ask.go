//go:build linux

package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/haobox/haobox/internal/cluster"
)

// AskLimit is the most that Ask waits where its caller has no other limit: a
// call waits while the membership changes, 22 s with cman's default token of
// 10 s and its consensus.
const AskLimit = 30 * time.Second

// Ask opens an engine, asks it for the whole state of the cluster, and closes
// it: members with states, incarnations and addresses, votes and quorum, the
// device, the version of the configuration. It is what commands that only look
// at the cluster use, on any engine. It does not wait for an engine to start.
//
// Ask returns within limit, also when the engine does not. Its error is a
// *cluster.Unavailable, with what to tell people, or that of ctx.
func Ask(ctx context.Context, limit time.Duration, open func(context.Context) (cluster.Engine, error)) (cluster.Status, error) {
	within, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	type answer struct {
		status cluster.Status
		err    error
	}
	// An engine that hangs is left behind: the caller goes on, or ends.
	got := make(chan answer, 1)
	go func() {
		var a answer
		e, err := open(within)
		if err == nil {
			a.status, err = e.Status(within)
		}
		a.err = err
		got <- a
		if e != nil {
			e.Close() // its good-byes need not be waited for
		}
	}()
	var a answer
	select {
	case a = <-got:
	case <-within.Done():
		a.err = within.Err()
	}
	switch {
	case a.err == nil:
		return a.status, nil
	case ctx.Err() != nil:
		return cluster.Status{}, ctx.Err()
	case within.Err() != nil || errors.Is(a.err, context.DeadlineExceeded):
		a.err = fmt.Errorf("%w: %w within %v (%v)", cluster.ErrLost, cluster.ErrSilent, limit, a.err)
	}
	return cluster.Status{}, cluster.NewUnavailable(a.err)
}
