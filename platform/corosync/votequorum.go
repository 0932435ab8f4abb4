//go:build linux

package corosync

import (
	"context"
	"fmt"
	"strings"
)

// VoteQuorum is a connection to the service that counts votes.
type VoteQuorum struct{ *Conn }

// Requests and events of service votequorum (ipc_votequorum.h).
const (
	voteGetInfo       = 0
	voteSetExpected   = 1
	voteSetVotes      = 2
	voteTrackStart    = 3
	voteTrackStop     = 4
	voteRegister      = 5
	voteUnregister    = 6
	voteUpdate        = 7
	votePoll          = 8
	voteMasterWins    = 9
	voteQuorumEvent   = 3
	voteExpectedEvent = 4
	voteNodesEvent    = 5

	voteNameSize = 255
)

// VoteFlags are the flags of a node (VOTEQUORUM_INFO_* of votequorum.h).
type VoteFlags uint32

// The flags of votequorum.h. Those of the device are of the node asked for.
const (
	FlagTwoNode          VoteFlags = 1
	FlagQuorate          VoteFlags = 2
	FlagWaitForAll       VoteFlags = 4
	FlagLastManStanding  VoteFlags = 8
	FlagAutoTieBreaker   VoteFlags = 16
	FlagAllowDownscale   VoteFlags = 32
	FlagDeviceRegistered VoteFlags = 64
	FlagDeviceAlive      VoteFlags = 128
	FlagDeviceCasts      VoteFlags = 256
	FlagDeviceMasterWins VoteFlags = 512
)

// NodeState is a node as votequorum knows it.
type NodeState uint32

// The states of votequorum.h.
const (
	NodeMember  NodeState = 1
	NodeDead    NodeState = 2
	NodeLeaving NodeState = 3
)

// VoteInfo is what votequorum knows of a node and of the cluster.
type VoteInfo struct {
	Node                             uint32
	State                            NodeState
	Votes, Expected, HighestExpected uint32
	// Total has the device's votes while this node's client casts them.
	Total, Quorum uint32
	Flags         VoteFlags
	DeviceVotes   uint32
	DeviceName    string
}

// VoteEvent is one of VoteState, ExpectedVotes and VoteNodes.
type VoteEvent interface{ voteEvent() }

// VoteState lists every node ever seen, with its state. Node 0 is the quorum
// device.
type VoteState struct {
	Quorate bool
	Nodes   []VoteNode
}

// VoteNode is an entry of VoteState.
type VoteNode struct {
	Node  uint32
	State NodeState
}

// ExpectedVotes says that the expected votes changed.
type ExpectedVotes struct{ Votes uint32 }

// VoteNodes says who is in the ring. A quorum device must be polled with this
// ring id at once: the synchronisation of the node waits for it.
type VoteNodes struct {
	Ring    RingID
	Members []uint32
}

func (VoteState) voteEvent()     {}
func (ExpectedVotes) voteEvent() {}
func (VoteNodes) voteEvent()     {}

// DialVoteQuorum connects to the votes. ErrNoService: the configuration has no
// "provider: corosync_votequorum".
func DialVoteQuorum(ctx context.Context, cfg Config) (*VoteQuorum, error) {
	c, err := dial(ctx, "votequorum", smallMessages, cfg)
	if err != nil {
		return nil, err
	}
	return &VoteQuorum{c}, nil
}

// Info returns the votes as one node sees them; node 0 is this one. An unknown
// node gives ErrNotExist.
func (c *VoteQuorum) Info(ctx context.Context, node uint32) (VoteInfo, error) {
	req := newRequest(voteGetInfo, 24, 0)
	req.u32(16, node)
	r, err := c.do(ctx, req)
	if err != nil {
		return VoteInfo{}, wrap(err, fmt.Sprintf("ask for the votes of node %d", node))
	}
	return decodeVoteInfo(r)
}

func decodeVoteInfo(r reply) (VoteInfo, error) {
	v := VoteInfo{
		Node: r.u32(24), State: NodeState(r.u32(28)), Votes: r.u32(32), Expected: r.u32(36), HighestExpected: r.u32(40),
		Total: r.u32(44), Quorum: r.u32(48), Flags: VoteFlags(r.u32(52)), DeviceVotes: r.u32(56), DeviceName: r.text(60, voteNameSize),
	}
	return v, r.err("votes")
}

// SetExpected changes the expected votes of the whole cluster. ErrInvalidParam:
// the result would be below the present votes, or would lose quorum.
func (c *VoteQuorum) SetExpected(ctx context.Context, votes uint32) error {
	req := newRequest(voteSetExpected, 24, 0)
	req.u32(16, votes)
	_, err := c.do(ctx, req)
	return wrap(err, fmt.Sprintf("set expected votes to %d", votes))
}

// SetVotes changes the votes of a node, for the whole cluster; node 0 is this
// one. ErrNameNotFound: no such node; ErrInvalidParam: the result makes no sense.
func (c *VoteQuorum) SetVotes(ctx context.Context, node, votes uint32) error {
	req := newRequest(voteSetVotes, 24, 0)
	req.u32(16, votes)
	req.u32(20, node)
	_, err := c.do(ctx, req)
	return wrap(err, fmt.Sprintf("set votes of node %d to %d", node, votes))
}

// Track asks for the present state and each change, through Next.
func (c *VoteQuorum) Track(ctx context.Context) error {
	req := newRequest(voteTrackStart, 32, 0)
	req.u32(24, trackChanges)
	_, err := c.do(ctx, req)
	return wrap(err, "track votes")
}

// Untrack ends Track.
func (c *VoteQuorum) Untrack(ctx context.Context) error {
	_, err := c.do(ctx, newRequest(voteTrackStop, 16, 0))
	return wrap(err, "end tracking votes")
}

// deviceRequest starts a request with the device's name at 16.
func deviceRequest(id int32, name string, size int) (request, error) {
	if name == "" || len(name) >= voteNameSize || strings.IndexByte(name, 0) >= 0 {
		return nil, fmt.Errorf("quorum device name of %d bytes: %w", len(name), ErrTooBig)
	}
	req := newRequest(id, size, 0)
	req.text(16, name)
	return req, nil
}

// RegisterDevice makes this node's quorum device known. The configuration must
// have quorum.device.model and votes, or the answer is ErrAccess. ErrExist:
// another name is registered. Registering the same name again is no error.
func (c *VoteQuorum) RegisterDevice(ctx context.Context, name string) error {
	return c.device(ctx, voteRegister, name, 272, "register quorum device ", nil)
}

// UnregisterDevice takes the device and its votes away at once. A client that
// only disconnects leaves that to quorum.device.timeout.
func (c *VoteQuorum) UnregisterDevice(ctx context.Context, name string) error {
	return c.device(ctx, voteUnregister, name, 272, "unregister quorum device ", nil)
}

// RenameDevice changes the device's name.
func (c *VoteQuorum) RenameDevice(ctx context.Context, from, to string) error {
	if to == "" || len(to) >= voteNameSize {
		return fmt.Errorf("quorum device name of %d bytes: %w", len(to), ErrTooBig)
	}
	return c.device(ctx, voteUpdate, from, 528, "rename quorum device ", func(r request) { r.text(271, to) })
}

// PollDevice says that the device is alive, and whether it votes for this
// node. It must come more often than quorum.device.timeout, and at once after
// each VoteNodes with its ring id. Another ring id gives ErrMessage.
func (c *VoteQuorum) PollDevice(ctx context.Context, name string, cast bool, ring RingID) error {
	return c.device(ctx, votePoll, name, 296, "poll quorum device ", func(r request) {
		if cast {
			r.u32(272, 1)
		}
		r.ringID(280, ring)
	})
}

// MasterWins allows (or forbids) this node to be quorate although short of
// votes, as long as a member that has it allowed too casts its device's vote.
func (c *VoteQuorum) MasterWins(ctx context.Context, name string, allow bool) error {
	return c.device(ctx, voteMasterWins, name, 280, "set master wins of quorum device ", func(r request) {
		if allow {
			r.u32(272, 1)
		}
	})
}

func (c *VoteQuorum) device(ctx context.Context, id int32, name string, size int, what string, fill func(request)) error {
	req, err := deviceRequest(id, name, size)
	if err != nil {
		return err
	}
	if fill != nil {
		fill(req)
	}
	_, err = c.do(ctx, req)
	return wrap(err, what+name)
}

// Next waits for the next event.
func (c *VoteQuorum) Next(ctx context.Context) (VoteEvent, error) {
	for {
		b, err := c.next(ctx)
		if err != nil {
			return nil, err
		}
		ev, err := decodeVote(b)
		if err != nil {
			c.fail(err)
			return nil, err
		}
		if ev != nil {
			return ev, nil
		}
	}
}

func decodeVote(b []byte) (VoteEvent, error) {
	id, _, err := header(b)
	if err != nil {
		return nil, err
	}
	r := reply{b: b}
	switch id {
	case voteQuorumEvent:
		n := r.u32(40)
		if uint64(n)*8 > uint64(len(b)) {
			return nil, fmt.Errorf("decode states of %d nodes in %d bytes: %w", n, len(b), ErrProtocol)
		}
		ev := VoteState{Quorate: r.u32(24) != 0}
		for i := range int(n) {
			ev.Nodes = append(ev.Nodes, VoteNode{r.u32(48 + 8*i), NodeState(r.u32(52 + 8*i))})
		}
		return ev, r.err("vote state")
	case voteExpectedEvent:
		ev := ExpectedVotes{r.u32(32)}
		return ev, r.err("expected votes")
	case voteNodesEvent:
		ev := VoteNodes{Ring: r.ringID(32), Members: r.nodes(56, r.u32(48))}
		return ev, r.err("nodes with votes")
	}
	return nil, nil
}
