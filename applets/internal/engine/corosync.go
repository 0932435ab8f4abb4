//go:build linux

package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/haobox/haobox/internal/cluster"
	"github.com/haobox/haobox/platform/corosync"
)

// leaveLimit bounds the good-byes of Close: the connection's end says it as
// well.
const leaveLimit = 2 * time.Second

// corosyncEngine is an engine on the corosync daemon of this node.
type corosyncEngine struct {
	cfg   corosync.Config
	local cluster.Node
	watches
	quorumConn *corosync.Quorum
	cmap       *corosync.CMap
	ctl        *corosync.Cfg
	idle       sync.WaitGroup

	groupMu sync.Mutex
	groups  []*cpgGroup
	voteMu  sync.Mutex
	votes   *corosync.VoteQuorum
	closed  atomic.Bool
}

// instances makes the process ids that name memberships: corosync takes any
// number, and two lives of one process in a group must differ.
var instances atomic.Uint32

// OpenCorosync connects to the corosync daemon of this node. Without one it
// returns cluster.ErrNotRunning.
func OpenCorosync(ctx context.Context, cfg corosync.Config) (_ cluster.Engine, err error) {
	e := &corosyncEngine{cfg: cfg}
	defer func() {
		if err != nil {
			e.closeConns()
			err = fmt.Errorf("open corosync: %w", translate(err))
		}
	}()
	if e.ctl, err = corosync.DialCfg(ctx, cfg); err != nil {
		return nil, err
	}
	if e.cmap, err = corosync.DialCMap(ctx, cfg); err != nil {
		return nil, err
	}
	id, err := e.ctl.LocalNode(ctx)
	if err != nil {
		return nil, err
	}
	names, err := e.nodeList(ctx)
	if err != nil {
		return nil, err
	}
	e.local = cluster.Node{ID: cluster.NodeID(id), Name: nameOf(names, cluster.NodeID(id))}
	if e.quorumConn, err = corosync.DialQuorum(ctx, cfg); err != nil {
		return nil, err
	}
	if err = e.quorumConn.Track(ctx); err != nil {
		return nil, err
	}
	for e.watches.membership.Members == nil || e.watches.quorum.Ring != e.watches.membership.Ring {
		ev, err := e.quorumConn.Next(ctx)
		if err != nil {
			return nil, err
		}
		e.watches.tell(quorumEvent(ev))
	}
	e.remember(ctx, e.watches.membership)
	e.idle.Add(1)
	go e.watchQuorum()
	return e, nil
}

// translate gives the errors of the daemon the meaning that internal/cluster
// knows.
func translate(err error) error {
	is := func(all ...error) bool {
		return slices.ContainsFunc(all, func(target error) bool { return errors.Is(err, target) })
	}
	switch {
	case err == nil:
		return nil
	case is(corosync.ErrNotRunning, corosync.ErrNotReady):
		return fmt.Errorf("%w (%v)", cluster.ErrNotRunning, err)
	case is(corosync.ErrNotAllowed):
		return fmt.Errorf("%w (%w)", cluster.ErrDenied, err)
	case is(corosync.ErrTimeout):
		return fmt.Errorf("%w: %w (%v)", cluster.ErrLost, cluster.ErrSilent, err)
	case is(corosync.ErrLost, corosync.ErrProtocol, corosync.ErrOverrun, corosync.ErrClosed):
		return lostf(err)
	case is(corosync.ErrNotExist, corosync.ErrNameNotFound):
		return fmt.Errorf("%w (%v)", cluster.ErrNotMember, err)
	case is(corosync.ErrInvalidParam, corosync.ErrAccess, corosync.ErrExist):
		return fmt.Errorf("%w (%v)", cluster.ErrRefused, err)
	case is(corosync.ErrMessage):
		return fmt.Errorf("%w (%v)", cluster.ErrWrongRing, err)
	case is(corosync.ErrTooBig):
		return fmt.Errorf("%w (%v)", cluster.ErrTooBig, err)
	}
	return err
}

func ringID(r corosync.RingID) cluster.RingID {
	return cluster.RingID{Node: cluster.NodeID(r.Node), Seq: r.Seq}
}

func nodeIDs(ids []uint32) []cluster.NodeID {
	var out []cluster.NodeID
	for _, id := range ids {
		out = append(out, cluster.NodeID(id))
	}
	slices.Sort(out)
	return out
}

func quorumEvent(ev corosync.QuorumEvent) cluster.Event {
	switch ev := ev.(type) {
	case corosync.RingChange:
		return cluster.Membership{Ring: ringID(ev.Ring), Members: nodeIDs(ev.Members), Joined: nodeIDs(ev.Joined), Left: nodeIDs(ev.Left)}
	case corosync.QuorumState:
		return cluster.Quorum{Ring: ringID(ev.Ring), Quorate: ev.Quorate}
	}
	return nil
}

// watchQuorum is the goroutine of the quorum connection.
func (e *corosyncEngine) watchQuorum() {
	defer e.idle.Done()
	for {
		ev, err := e.quorumConn.Next(context.Background())
		if err != nil {
			e.watches.end(lostf(err), !e.closed.Load())
			return
		}
		out := quorumEvent(ev)
		if m, is := out.(cluster.Membership); is {
			ctx, cancel := context.WithTimeout(context.Background(), leaveLimit)
			e.remember(ctx, m)
			cancel()
		}
		e.watches.tell(out)
	}
}

func (e *corosyncEngine) Local() cluster.Node { return e.local }

func (e *corosyncEngine) Watch(deliver func(cluster.Event)) (func(), error) {
	if e.closed.Load() {
		return nil, cluster.ErrNotJoined
	}
	return e.watches.add(deliver)
}

// cpgGroup is a membership in a group, with a connection of its own.
type cpgGroup struct {
	e       *corosyncEngine
	name    string
	self    cluster.Member
	conn    *corosync.CPG
	deliver func(cluster.Event)
	// ended is closed when nothing is delivered any more.
	ended chan struct{}
	quiet atomic.Bool // Close was called: deliver nothing

	mu      sync.Mutex
	out     [][]byte
	waiting int // bytes in out
	leaving bool
	err     error
	wake    chan struct{}
}

func (e *corosyncEngine) Join(name string, deliver func(cluster.Event)) (cluster.Group, error) {
	if e.closed.Load() {
		return nil, cluster.ErrNotJoined
	}
	e.groupMu.Lock()
	defer e.groupMu.Unlock()
	for _, g := range e.groups {
		if g.name == name && !g.finished() {
			return nil, fmt.Errorf("join group %s twice: %w", name, cluster.ErrRefused)
		}
	}
	ctx := context.Background() // every call has the limit of the connection
	conn, err := corosync.DialCPG(ctx, e.cfg)
	if err != nil {
		return nil, fmt.Errorf("join group %s: %w", name, translate(err))
	}
	// 22 bits are the most a process id has (PID_MAX_LIMIT of the kernel).
	pid := instances.Add(1)<<22 | uint32(os.Getpid())
	g := &cpgGroup{e: e, name: name, self: cluster.Member{Node: e.local.ID, Instance: pid}, conn: conn, deliver: deliver,
		ended: make(chan struct{}), wake: make(chan struct{}, 1)}
	if err := conn.Join(ctx, name, pid); err != nil {
		conn.Close()
		return nil, translate(err)
	}
	e.groups = append(slices.DeleteFunc(e.groups, func(o *cpgGroup) bool {
		select {
		case <-o.ended:
			return true
		default:
			return false
		}
	}), g)
	e.idle.Add(2)
	go g.receive()
	go g.transmit()
	return g, nil
}

func (g *cpgGroup) Self() cluster.Member { return g.self }

func (g *cpgGroup) Send(payload []byte) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.err != nil:
		return g.err
	case g.leaving:
		return cluster.ErrNotJoined
	case len(payload) > cluster.MaxMessage:
		return fmt.Errorf("send %d bytes: %w", len(payload), cluster.ErrTooBig)
	case g.waiting+len(payload) > cluster.MaxWaiting:
		return cluster.ErrBusy
	}
	g.out = append(g.out, payload)
	g.waiting += len(payload)
	g.nudge()
	return nil
}

func (g *cpgGroup) nudge() {
	select {
	case g.wake <- struct{}{}:
	default:
	}
}

func (g *cpgGroup) Leave() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.err != nil:
		return g.err
	case g.leaving:
		return cluster.ErrNotJoined
	}
	g.leaving = true // transmit leaves when what waits is sent
	g.nudge()
	return nil
}

// transmit sends what waits. It ends with the connection.
func (g *cpgGroup) transmit() {
	defer g.e.idle.Done()
	for {
		g.mu.Lock()
		var next []byte
		send, leave := len(g.out) > 0, g.leaving
		if send {
			next, g.out[0] = g.out[0], nil
			g.out = g.out[1:]
			g.waiting -= len(next)
		}
		g.mu.Unlock()
		switch {
		case send:
			if g.again(func(ctx context.Context) error { return g.conn.Multicast(ctx, next) }) != nil {
				return // receive sees it too
			}
			continue
		case leave:
			g.again(func(ctx context.Context) error { return g.conn.Leave(ctx, g.name, g.self.Instance) })
			return
		}
		select {
		case <-g.wake:
		case <-g.conn.Done():
			return
		}
	}
}

// again repeats a call that the daemon does not take because the membership
// changes: however long that takes, it ends or the connection does.
func (g *cpgGroup) again(f func(context.Context) error) error {
	for {
		err := f(context.Background())
		if !errors.Is(err, corosync.ErrTryAgain) {
			if err != nil && g.conn.Err() == nil {
				g.conn.Close() // a message is lost: so is the membership
			}
			return err
		}
	}
}

// receive delivers what comes. It ends with the connection, or when this
// process has left.
func (g *cpgGroup) receive() {
	defer g.e.idle.Done()
	defer close(g.ended)
	defer g.conn.Close()
	a := &cluster.Assembler{Group: g.name, Self: g.self}
	for {
		ev, err := g.conn.Next(context.Background())
		if err != nil {
			g.finish(lostf(err))
			if !g.quiet.Load() {
				g.deliver(cluster.Lost{Err: lostf(err)})
			}
			return
		}
		var out []cluster.Event
		switch ev := ev.(type) {
		case corosync.ConfChg:
			out = a.Change(cluster.GroupChange{Members: members(ev.Members), Joined: changes(ev.Joined), Left: changes(ev.Left)})
		case corosync.Message:
			out = a.Message(member(ev.From), ev.Payload)
		case corosync.Ring:
			out = a.Ring(ringID(ev.ID))
		}
		for _, ev := range out {
			v, is := ev.(cluster.View)
			over := is && !v.Has(g.self) && !v.Transitional
			if over {
				// Before it is told: it may join again at once.
				g.finish(cluster.ErrNotJoined)
			}
			if !g.quiet.Load() {
				g.deliver(ev)
			}
			if over {
				return
			}
		}
	}
}

// finished reports whether the membership is over.
func (g *cpgGroup) finished() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.err != nil
}

// finish makes Send fail from now on.
func (g *cpgGroup) finish(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.err == nil {
		g.err = err
	}
	g.nudge()
}

func member(p corosync.Process) cluster.Member {
	return cluster.Member{Node: cluster.NodeID(p.Node), Instance: p.PID}
}

func members(all []corosync.Process) (out []cluster.Member) {
	for _, p := range all {
		out = append(out, member(p))
	}
	return out
}

func changes(all []corosync.Moved) (out []cluster.Change) {
	for _, m := range all {
		c := cluster.Change{Member: member(m.Process)}
		switch m.Reason {
		case corosync.ReasonJoin:
			c.Reason = cluster.Joined
		case corosync.ReasonNodeUp:
			c.Reason = cluster.Merged
		case corosync.ReasonLeave:
			c.Reason = cluster.Left
		case corosync.ReasonProcDown:
			c.Reason = cluster.Died
		default:
			c.Reason = cluster.Failed // unknown is not in order
		}
		out = append(out, c)
	}
	return out
}

func (e *corosyncEngine) Close() error {
	if e.closed.Swap(true) {
		return nil
	}
	e.groupMu.Lock()
	groups := e.groups
	e.groupMu.Unlock()
	for _, g := range groups {
		g.quiet.Store(true)
		g.Leave()
	}
	for _, g := range groups {
		t := time.NewTimer(leaveLimit)
		select {
		case <-g.ended:
		case <-t.C:
		}
		t.Stop()
		g.conn.Close()
	}
	e.closeConns()
	e.idle.Wait()
	return nil
}

func (e *corosyncEngine) closeConns() {
	if e.quorumConn != nil {
		e.quorumConn.Close()
	}
	if e.cmap != nil {
		e.cmap.Close()
	}
	if e.ctl != nil {
		e.ctl.Close()
	}
	e.voteMu.Lock()
	defer e.voteMu.Unlock()
	if e.votes != nil {
		e.votes.Close()
	}
}

// voting returns the connection to the votes.
func (e *corosyncEngine) voting(ctx context.Context) (*corosync.VoteQuorum, error) {
	e.voteMu.Lock()
	defer e.voteMu.Unlock()
	if e.closed.Load() {
		return nil, cluster.ErrNotJoined
	}
	if e.votes == nil || e.votes.Err() != nil {
		v, err := corosync.DialVoteQuorum(ctx, e.cfg)
		if err != nil {
			return nil, translate(err)
		}
		if e.votes != nil {
			e.votes.Close()
		}
		e.votes = v
	}
	return e.votes, nil
}

func (e *corosyncEngine) vote(ctx context.Context, f func(*corosync.VoteQuorum) error) error {
	v, err := e.voting(ctx)
	if err != nil {
		return err
	}
	return translate(f(v))
}

func (e *corosyncEngine) RegisterDevice(ctx context.Context, name string) error {
	return e.vote(ctx, func(v *corosync.VoteQuorum) error { return v.RegisterDevice(ctx, name) })
}

func (e *corosyncEngine) UnregisterDevice(ctx context.Context, name string) error {
	return e.vote(ctx, func(v *corosync.VoteQuorum) error { return v.UnregisterDevice(ctx, name) })
}

func (e *corosyncEngine) PollDevice(ctx context.Context, name string, cast bool, ring cluster.RingID) error {
	return e.vote(ctx, func(v *corosync.VoteQuorum) error {
		return v.PollDevice(ctx, name, cast, corosync.RingID{Node: uint32(ring.Node), Seq: ring.Seq})
	})
}

func (e *corosyncEngine) MasterWins(ctx context.Context, name string, allow bool) error {
	return e.vote(ctx, func(v *corosync.VoteQuorum) error { return v.MasterWins(ctx, name, allow) })
}

func (e *corosyncEngine) SetExpected(ctx context.Context, votes int) error {
	return e.vote(ctx, func(v *corosync.VoteQuorum) error { return v.SetExpected(ctx, uint32(max(votes, 0))) })
}

func (e *corosyncEngine) SetVotes(ctx context.Context, node cluster.NodeID, votes int) error {
	return e.vote(ctx, func(v *corosync.VoteQuorum) error { return v.SetVotes(ctx, uint32(node), uint32(max(votes, 0))) })
}

func (e *corosyncEngine) Kill(ctx context.Context, node cluster.NodeID, reason string) error {
	return translate(e.ctl.Kill(ctx, uint32(node), reason))
}
