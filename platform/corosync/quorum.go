//go:build linux

package corosync

import (
	"context"
	"fmt"
)

// Quorum is a connection to the service that tells whether this node's part of
// the cluster is quorate, and who is in it.
type Quorum struct{ *Conn }

// Requests and events of service quorum (ipc_quorum.h).
const (
	quorumGet        = 0
	quorumTrackStart = 1
	quorumTrackStop  = 2
	quorumType       = 3
	quorumModelType  = 4

	quorumOldEvent   = 3
	quorumStateEvent = 6
	quorumNodesEvent = 7
)

// Track flags (CS_TRACK_* of corotypes.h).
const (
	trackChanges = 2
)

// QuorumEvent is one of QuorumState and RingChange.
type QuorumEvent interface{ quorumEvent() }

// QuorumState says whether this part is quorate, as of a ring.
type QuorumState struct {
	Quorate bool
	Ring    RingID
	Members []uint32
}

// RingChange says who is in the ring. It comes before the QuorumState with the
// same ring id.
type RingChange struct {
	Ring                  RingID
	Members, Joined, Left []uint32
}

func (QuorumState) quorumEvent() {}
func (RingChange) quorumEvent()  {}

// DialQuorum connects to the quorum service of corosync 3.1 or newer.
func DialQuorum(ctx context.Context, cfg Config) (*Quorum, error) {
	c, err := dial(ctx, "quorum", smallMessages, cfg)
	if err != nil {
		return nil, err
	}
	// Model 1: events with ring ids and separate lists of nodes.
	req := newRequest(quorumModelType, 24, 0)
	req.u32(16, 1)
	if _, err := c.do(ctx, req); err != nil {
		c.Close()
		return nil, wrap(err, "choose the kind of quorum events")
	}
	return &Quorum{c}, nil
}

// Quorate reports whether this part of the cluster is quorate. A frozen node
// that comes back never sees itself lose quorum: act on rings and groups too.
func (c *Quorum) Quorate(ctx context.Context) (bool, error) {
	r, err := c.do(ctx, newRequest(quorumGet, 16, 0))
	if err != nil {
		return false, wrap(err, "ask for quorum")
	}
	q := r.u32(24)
	return q != 0, r.err("quorum")
}

// HasProvider reports whether quorum is computed at all; without a provider
// the cluster is always quorate.
func (c *Quorum) HasProvider(ctx context.Context) (bool, error) {
	r, err := c.do(ctx, newRequest(quorumType, 16, 0))
	if err != nil {
		return false, wrap(err, "ask for the quorum provider")
	}
	t := r.u32(24)
	return t != 0, r.err("quorum provider")
}

// Track asks for the present state and each change, through Next.
func (c *Quorum) Track(ctx context.Context) error {
	req := newRequest(quorumTrackStart, 24, 0)
	req.u32(16, trackChanges)
	_, err := c.do(ctx, req)
	return wrap(err, "track quorum")
}

// Untrack ends Track.
func (c *Quorum) Untrack(ctx context.Context) error {
	_, err := c.do(ctx, newRequest(quorumTrackStop, 16, 0))
	return wrap(err, "end tracking quorum")
}

// Next waits for the next event.
func (c *Quorum) Next(ctx context.Context) (QuorumEvent, error) {
	for {
		b, err := c.next(ctx)
		if err != nil {
			return nil, err
		}
		ev, err := decodeQuorum(b)
		if err != nil {
			c.fail(err)
			return nil, err
		}
		if ev != nil {
			return ev, nil
		}
	}
}

func decodeQuorum(b []byte) (QuorumEvent, error) {
	id, _, err := header(b)
	if err != nil {
		return nil, err
	}
	r := reply{b: b}
	switch id {
	case quorumOldEvent:
		ev := QuorumState{Quorate: r.u32(24) != 0, Ring: RingID{Seq: r.u64(32)}, Members: r.nodes(44, r.u32(40))}
		return ev, r.err("quorum notification")
	case quorumStateEvent:
		ev := QuorumState{Quorate: r.u32(24) != 0, Ring: r.ringID(32), Members: r.nodes(52, r.u32(48))}
		return ev, r.err("quorum state")
	case quorumNodesEvent:
		members, joined, left := r.u32(40), r.u32(48), r.u32(56)
		if n := uint64(members) + uint64(joined) + uint64(left); n*4 > uint64(len(b)) {
			return nil, fmt.Errorf("decode lists of %d nodes in %d bytes: %w", n, len(b), ErrProtocol)
		}
		// The lists begin right after the last count, unaligned.
		ev := RingChange{Ring: r.ringID(24), Members: r.nodes(60, members)}
		ev.Joined = r.nodes(60+4*int(members), joined)
		ev.Left = r.nodes(60+4*int(members+joined), left)
		return ev, r.err("ring change")
	}
	return nil, nil
}
