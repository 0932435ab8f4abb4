// Package cluster says what fenced, rgmanager and qdiskd stand on: an Engine
// that knows the members of the cluster, whether this part of it is quorate,
// and that carries messages to groups in an order all members agree on.
//
// Engines are made elsewhere: from a corosync daemon (package coroengine with
// platform/corosync below), on one machine (platform/localbus), and in virtual
// time (package clustersim). Package enginetest has the tests that all of
// them pass.
//
// Replica, built on a group, keeps a state machine the same on all members,
// with state transfer to those that join or come back.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

var (
	// ErrLost: the engine's daemon is gone or let go of this process. For a
	// daemon of the cluster this is the loss of membership of its node.
	ErrLost = errors.New("the cluster engine is gone")
	// ErrNotRunning: there is no engine to connect to.
	ErrNotRunning = errors.New("the cluster engine is not running")
	// ErrDenied: the engine runs and does not talk to this user.
	ErrDenied = errors.New("the cluster engine does not talk to this user")
	// ErrSilent: the engine runs and did not answer within the limit. It comes
	// with ErrLost: what was asked has no answer, and nothing more is expected.
	ErrSilent = errors.New("no answer from the cluster engine")
	// ErrNotJoined: the group was left, or its engine closed.
	ErrNotJoined = errors.New("not a member of the group")
	// ErrNotMember: the node is not a member of the cluster.
	ErrNotMember = errors.New("node is not a member")
	// ErrRefused: the engine does not do it with these values (expected votes
	// below the present votes, a device that the configuration does not have).
	ErrRefused = errors.New("refused by the cluster engine")
	// ErrWrongRing: the ring changed; act on the new one.
	ErrWrongRing = errors.New("not the ring of the moment")
	// ErrTooBig: a message beyond MaxMessage.
	ErrTooBig = errors.New("message too big")
	// ErrBusy: too much is waiting to be sent.
	ErrBusy = errors.New("too many messages wait to be sent")
)

const (
	// MaxMessage is the most bytes of one message, on every engine.
	MaxMessage = 64<<20 - 4096
	// MaxWaiting is how many bytes may wait to be sent to a group.
	MaxWaiting = 2 * MaxMessage
)

// NodeID is a node's number in the configuration, 1 or more. 0 stands for the
// quorum device or for no node.
type NodeID uint32

// RingID names a membership of the cluster: equal on all of its members,
// different on the sides of a partition, and growing in Seq.
type RingID struct {
	Node NodeID // the lowest member
	Seq  uint64
}

func (r RingID) String() string { return fmt.Sprintf("%d.%x", r.Node, r.Seq) }

// Member is a process in a group.
type Member struct {
	Node NodeID
	// Instance tells apart several lives of the group on a node; no value
	// comes twice while its node is up.
	Instance uint32
}

// Compare orders members by node and instance.
func (m Member) Compare(o Member) int {
	switch {
	case m.Node != o.Node:
		return int(int64(m.Node) - int64(o.Node))
	case m.Instance != o.Instance:
		return int(int64(m.Instance) - int64(o.Instance))
	}
	return 0
}

// Reason is why a member joined or left.
type Reason int

// Reasons. Joined and Merged are for members that come, the others for those that go.
const (
	// Joined: the process entered the group.
	Joined Reason = iota + 1
	// Merged: the node came back together with its process, which was never
	// told to stop: after a partition or a pause. Its state may be stale.
	Merged
	// Left: the process left the group in order.
	Left
	// Died: the process ended without leaving; its node is alive, or stopped
	// in order.
	Died
	// Failed: the node is gone without a word. It may still be running.
	Failed
)

func (r Reason) String() string {
	switch r {
	case Joined:
		return "joined"
	case Merged:
		return "merged"
	case Left:
		return "left"
	case Died:
		return "died"
	case Failed:
		return "failed"
	}
	return fmt.Sprintf("reason %d", int(r))
}

// Change is a member that came or went, and why.
type Change struct {
	Member
	Reason Reason
}

// Event is one of View, Message, Membership, Quorum and Lost.
type Event interface{ event() }

// View is a change of a group. Its members see the same views and messages in
// the same order for as long as they are members together. The first view of a
// group has this process in Joined.
type View struct {
	Group string
	// Ring is the membership of the cluster in which the view holds.
	Ring RingID
	// Members are sorted and have those that joined. The view in which this
	// process leaves does not have it.
	Members      []Member
	Joined, Left []Change
	// Transitional says that the next view of the same ring follows at once:
	// a paused node comes back and learns in one go that it lost the others
	// and that they are there. Nothing must be decided on it.
	Transitional bool
}

// Has reports whether m is a member.
func (v View) Has(m Member) bool { return slices.Contains(v.Members, m) }

// Message is a message to a group, also to its sender. No message of a member
// comes after the view in which it left.
type Message struct {
	Group   string
	From    Member
	Payload []byte
}

// Membership is a change of the cluster's members: the first one has the
// members of the moment. A node that was paused and comes back finds the
// others in Left and in Joined at once: they went on without it.
type Membership struct {
	Ring         RingID
	Members      []NodeID
	Joined, Left []NodeID
}

// Quorum says whether this part of the cluster is quorate as of a ring. A
// paused node that comes back need not see that it lost quorum: act on rings
// and views as well.
type Quorum struct {
	Ring    RingID
	Quorate bool
}

// Lost is the last event of a group or a watch when the engine is gone.
type Lost struct{ Err error }

func (View) event()       {}
func (Message) event()    {}
func (Membership) event() {}
func (Quorum) event()     {}
func (Lost) event()       {}

// Engine is a connection of one process to the cluster on its node. Functions
// given to Watch and Join are called for one event at a time, in order, and
// should not wait long; they may call Group.Send. Groups and watches are
// independent of each other in time: correlate them by ring ids. Safe for
// concurrent use.
type Engine interface {
	// Local is this node. It does not change while the engine lives.
	Local() Node
	// Watch calls deliver with Membership and Quorum events, beginning with
	// those of the moment, until stop is called or Lost is delivered. stop
	// waits for a running call, so deliver must not call it.
	Watch(deliver func(Event)) (stop func(), err error)
	// Join enters a group (haobox:fenced, for instance); deliver gets its View
	// and Message events, and Lost. A process is in a group once.
	Join(group string, deliver func(Event)) (Group, error)
	// Status is what the engine knows of the cluster at the moment.
	Status(ctx context.Context) (Status, error)
	// Close leaves all groups and ends all watches, without further events.
	Close() error
}

// Group is a membership in a group. Safe for concurrent use.
type Group interface {
	// Self is this process in the group.
	Self() Member
	// Send queues a message to all members, this one included, and does not
	// wait. Messages of one member keep their order. A message is delivered to
	// all members of the next views that this process is in, or lost together
	// with the membership. The payload must not be changed afterwards.
	Send(payload []byte) error
	// Leave leaves the group in order. The view without this process is the
	// last event. It must not be called by the group's deliver function.
	Leave() error
}

// Device is implemented by engines that take the votes of a quorum disk. A
// device's votes count on the node that casts them, so every node casts for
// itself.
type Device interface {
	// RegisterDevice makes the device of this node known.
	RegisterDevice(ctx context.Context, name string) error
	// PollDevice says that the device is alive and whether it votes for this
	// node. It must come at once after each Membership, with its ring, and
	// then more often than the configured limit.
	PollDevice(ctx context.Context, name string, cast bool, ring RingID) error
	// MasterWins lets a node whose device votes be quorate by that alone.
	MasterWins(ctx context.Context, name string, allow bool) error
	// UnregisterDevice takes the device and its votes away at once.
	UnregisterDevice(ctx context.Context, name string) error
}

// Admin is implemented by engines whose cluster can be changed by a command.
type Admin interface {
	// SetExpected changes the expected votes of the whole cluster.
	SetExpected(ctx context.Context, votes int) error
	// SetVotes changes a node's votes, for the whole cluster.
	SetVotes(ctx context.Context, node NodeID, votes int) error
	// Kill makes a node's engine end at once. It is not fencing.
	Kill(ctx context.Context, node NodeID, reason string) error
}

// Node names a node of the configuration.
type Node struct {
	ID   NodeID
	Name string
}

// NodeState is what the engine knows of a node.
type NodeState int

// States of a node, with the numbers of cman.
const (
	NodeUnknown NodeState = 0
	NodeJoining NodeState = 1
	NodeMember  NodeState = 2
	NodeDead    NodeState = 3
	NodeLeaving NodeState = 4
)

// Status is the cluster at a moment, as clustat, cman_tool, modclusterd and
// luci show it.
type Status struct {
	Engine        string // "corosync", "local", "clustersim"
	Cluster       string
	ConfigVersion uint64
	Local         NodeID
	Ring          RingID
	Quorate       bool
	TwoNode       bool
	// Votes: expected of the whole cluster, the total of the members with the
	// device's while it votes here, and how many make quorum.
	Expected, Total, Needed int
	DeviceVotes             int // those of a device that is alive on this node
	DeviceName              string
	// Nodes are all of the configuration or ever seen, sorted by id, without
	// the device.
	Nodes []NodeStatus
}

// NodeStatus is a node in a Status.
type NodeStatus struct {
	Node
	State NodeState
	Votes int
	// Expected is what this node holds as expected votes, 0 if unknown.
	Expected int
	// Addresses are those of its links.
	Addresses []string
	// Incarnation is the sequence of the ring in which it joined, 0 if it is no
	// member or that was before our time.
	Incarnation uint64
	// JoinedAt is when it was seen to join: by this node on corosync, by the
	// hub on the embedded engine. Zero if unknown.
	JoinedAt time.Time
}

// Node returns the status of a node by id.
func (s Status) Node(id NodeID) (NodeStatus, bool) {
	i := slices.IndexFunc(s.Nodes, func(n NodeStatus) bool { return n.ID == id })
	if i < 0 {
		return NodeStatus{}, false
	}
	return s.Nodes[i], true
}

// Members returns the ids of the members, sorted.
func (s Status) Members() []NodeID {
	var ids []NodeID
	for _, n := range s.Nodes {
		if n.State == NodeMember {
			ids = append(ids, n.ID)
		}
	}
	return ids
}

// QuorumNeeded is how many votes make quorum, by cman's rule (cman_tool(8),
// "expected" and "votes"): more than half of the expected votes and of those
// that are there; one vote in a cluster of two nodes that is configured so.
func QuorumNeeded(expected, total int, twoNode bool, members int) int {
	if twoNode && members <= 2 {
		return 1
	}
	return max((expected+2)/2, (total+2)/2)
}
