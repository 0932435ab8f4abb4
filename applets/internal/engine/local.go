//go:build linux

package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"time"

	"github.com/haobox/haobox/internal/cluster"
	"github.com/haobox/haobox/platform/localbus"
)

// LocalConfig describes the embedded engine. All processes of the machine use
// the same, but for Node.
type LocalConfig struct {
	// Dir holds the socket, for instance /run/haobox/local.
	Dir string
	// Cluster is the cluster's name, Version that of its configuration.
	Cluster string
	Version int
	// Node is the node this process belongs to; it is one of Nodes.
	Node cluster.NodeID
	// Nodes are all of the configuration, with their votes; 0 votes means 1.
	Nodes   []LocalNode
	TwoNode bool
	// Observe only looks on: the node becomes no member by it.
	Observe bool
	// Takeover is how long to wait for another hub; 0 means 10 s.
	Takeover time.Duration
	// Token is after what time a stopped process counts as gone; 0 means 10 s.
	Token time.Duration
	// DeviceVotes are those of a quorum device; 0 means that none may be
	// registered. DeviceTimeout is how long it lives after a poll, 0 for 10 s, the
	// default of quorum.device.timeout. Expected are the expected votes of the
	// cluster; 0 means those of the nodes.
	DeviceVotes   int
	DeviceTimeout time.Duration
	Expected      int
}

// LocalNode is a node of the embedded engine.
type LocalNode struct {
	cluster.Node
	Votes int
}

// localEngine is an engine on the local bus.
type localEngine struct {
	cfg   LocalConfig
	local cluster.Node
	bus   *localbus.Bus
	watches
	idle   sync.WaitGroup
	cancel context.CancelFunc

	mu     sync.Mutex
	groups []*busGroup
	// nodes are those of the last ring.
	nodes []localbus.Node
	// devices are the quorum devices as of the last event.
	devices []localbus.Device
	err     error
}

// defaultDeviceTimeout is that of quorum.device.timeout (votequorum(5)).
const defaultDeviceTimeout = 10 * time.Second

// OpenLocal connects to the embedded engine, or starts it in this process.
func OpenLocal(ctx context.Context, cfg LocalConfig) (cluster.Engine, error) {
	i := slices.IndexFunc(cfg.Nodes, func(n LocalNode) bool { return n.ID == cfg.Node })
	if i < 0 {
		return nil, fmt.Errorf("open the local engine as node %d: %w", cfg.Node, cluster.ErrNotMember)
	}
	if cfg.DeviceTimeout <= 0 {
		cfg.DeviceTimeout = defaultDeviceTimeout
	}
	local := cfg.Nodes[i].Node
	bus, err := localbus.Open(ctx, localbus.Config{Dir: cfg.Dir, Observe: cfg.Observe, Takeover: cfg.Takeover, Token: cfg.Token, Node: localbus.Node{ID: uint32(local.ID), Name: local.Name}})
	switch {
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("%w (%v)", cluster.ErrDenied, err)
	case err != nil:
		return nil, fmt.Errorf("%w (%v)", cluster.ErrNotRunning, err)
	}
	e := &localEngine{cfg: cfg, local: local, bus: bus}
	ev, err := bus.Next(ctx) // the ring of the moment
	if err != nil {
		bus.Close()
		return nil, translateLocal(err)
	}
	e.ring(ev.(localbus.Ring))
	var run context.Context
	run, e.cancel = context.WithCancel(context.Background())
	e.idle.Add(1)
	go e.run(run)
	return e, nil
}

func translateLocal(err error) error {
	is := func(target error) bool { return errors.Is(err, target) }
	switch {
	case err == nil:
		return nil
	case is(localbus.ErrNotJoined), is(localbus.ErrClosed):
		return fmt.Errorf("%w (%v)", cluster.ErrNotJoined, err)
	case is(localbus.ErrJoined), is(localbus.ErrOtherDevice):
		return fmt.Errorf("%w (%v)", cluster.ErrRefused, err)
	case is(localbus.ErrTooBig):
		return fmt.Errorf("%w (%v)", cluster.ErrTooBig, err)
	case is(localbus.ErrWrongRing):
		return fmt.Errorf("%w (%v)", cluster.ErrWrongRing, err)
	case is(localbus.ErrNoNode), is(localbus.ErrNoDevice):
		return fmt.Errorf("%w (%v)", cluster.ErrNotMember, err)
	}
	return lostf(err)
}

// busGroup is a membership in a group.
type busGroup struct {
	e       *localEngine
	name    string
	self    cluster.Member
	deliver func(cluster.Event)
}

// run delivers all events.
func (e *localEngine) run(ctx context.Context) {
	defer e.idle.Done()
	for {
		ev, err := e.bus.Next(ctx)
		if err != nil {
			closed := ctx.Err() != nil
			e.mu.Lock()
			e.err = translateLocal(err)
			groups := e.groups
			e.groups = nil
			e.mu.Unlock()
			for _, g := range groups {
				if !closed {
					g.deliver(cluster.Lost{Err: e.err})
				}
			}
			e.watches.end(e.err, !closed)
			return
		}
		if ctx.Err() != nil {
			continue
		}
		switch ev := ev.(type) {
		case localbus.Ring:
			e.ring(ev)
		case localbus.Devices:
			e.mu.Lock()
			e.devices = ev
			e.mu.Unlock()
			e.recount()
		case localbus.View:
			if g := e.group(ev.Group); g != nil {
				v := cluster.View{Group: ev.Group, Ring: localRing(ev.Ring), Joined: localChanges(ev.Joined), Left: localChanges(ev.Left), Transitional: ev.Transitional}
				for _, m := range ev.Members {
					v.Members = append(v.Members, localMember(m))
				}
				if !v.Has(g.self) {
					e.mu.Lock()
					e.groups = slices.DeleteFunc(e.groups, func(o *busGroup) bool { return o == g })
					e.mu.Unlock()
				}
				g.deliver(v)
			}
		case localbus.Message:
			if g := e.group(ev.Group); g != nil {
				g.deliver(cluster.Message{Group: ev.Group, From: localMember(ev.From), Payload: ev.Payload})
			}
		}
	}
}

func (e *localEngine) group(name string) *busGroup {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, g := range e.groups {
		if g.name == name {
			return g
		}
	}
	return nil
}

func localRing(r localbus.RingID) cluster.RingID {
	return cluster.RingID{Node: cluster.NodeID(r.Node), Seq: r.Seq}
}

func localMember(m localbus.Member) cluster.Member {
	return cluster.Member{Node: cluster.NodeID(m.Node), Instance: m.Instance}
}

func localChanges(all []localbus.Change) (out []cluster.Change) {
	for _, c := range all {
		r := cluster.Failed
		switch c.Reason {
		case localbus.Joined:
			r = cluster.Joined
		case localbus.Merged:
			r = cluster.Merged
		case localbus.Left:
			r = cluster.Left
		case localbus.Died:
			r = cluster.Died
		}
		out = append(out, cluster.Change{Member: localMember(c.Member), Reason: r})
	}
	return out
}

// ring turns the nodes that are there into membership and quorum.
func (e *localEngine) ring(r localbus.Ring) {
	before, _, _ := e.watches.state()
	m := cluster.Membership{Ring: localRing(r.ID)}
	for _, n := range r.Nodes {
		id := cluster.NodeID(n.ID)
		m.Members = append(m.Members, id)
		if !slices.Contains(before.Members, id) || r.NewHub && id != e.local.ID {
			m.Joined = append(m.Joined, id)
		}
	}
	for _, id := range before.Members {
		if !slices.Contains(m.Members, id) || r.NewHub && id != e.local.ID {
			m.Left = append(m.Left, id)
		}
	}
	e.mu.Lock()
	e.devices, e.nodes = r.Devices, r.Nodes
	e.mu.Unlock()
	e.watches.tell(m)
	e.recount()
}

// counted are the votes of a node's part of the cluster.
type counted struct {
	total, needed, expected int
	quorate                 bool
	device                  localbus.Device // of this node; no name for none
	// waits: the ring has nothing to say of quorum before the device was polled
	// in it, or is dead.
	waits bool
}

// count counts as votequorum does: a device's votes count on the node that casts
// them, in the ring in which it does; with master wins a node is quorate if any
// member's device votes so.
func (e *localEngine) count(m cluster.Membership) (c counted) {
	for _, n := range e.cfg.Nodes {
		v := max(n.Votes, 1)
		c.expected += v
		if slices.Contains(m.Members, n.ID) {
			c.total += v
		}
	}
	if e.cfg.Expected > 0 {
		c.expected = e.cfg.Expected
	}
	e.mu.Lock()
	devices := e.devices
	e.mu.Unlock()
	wins := false
	for _, d := range devices {
		votes := d.Alive && d.Cast && localRing(d.Ring) == m.Ring
		wins = wins || votes && d.Wins && slices.Contains(m.Members, cluster.NodeID(d.Node))
		if cluster.NodeID(d.Node) != e.local.ID {
			continue
		}
		c.device, c.waits = d, d.Alive && localRing(d.Ring) != m.Ring
		if votes {
			c.total += e.cfg.DeviceVotes
		}
	}
	c.needed = cluster.QuorumNeeded(c.expected, c.total, e.cfg.TwoNode, len(m.Members))
	c.quorate = c.total >= c.needed || c.device.Alive && c.device.Wins && wins
	return c
}

// recount tells of quorum, if it changed or the ring is a new one.
func (e *localEngine) recount() {
	m, q, _ := e.watches.state()
	if c := e.count(m); !c.waits && (q.Ring != m.Ring || q.Quorate != c.quorate) {
		e.watches.tell(cluster.Quorum{Ring: m.Ring, Quorate: c.quorate})
	}
}

func (e *localEngine) Local() cluster.Node { return e.local }

func (e *localEngine) Watch(deliver func(cluster.Event)) (func(), error) {
	return e.watches.add(deliver)
}

func (e *localEngine) Join(name string, deliver func(cluster.Event)) (cluster.Group, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.err != nil {
		return nil, e.err
	}
	m, err := e.bus.Join(name)
	if err != nil {
		return nil, translateLocal(err)
	}
	g := &busGroup{e: e, name: name, self: localMember(m), deliver: deliver}
	e.groups = append(e.groups, g)
	return g, nil
}

func (g *busGroup) Self() cluster.Member { return g.self }

// current reports whether the group is not left; the bus knows groups by name,
// and the next life has the same one.
func (g *busGroup) current() bool {
	g.e.mu.Lock()
	defer g.e.mu.Unlock()
	return g.e.err != nil || slices.Contains(g.e.groups, g)
}

func (g *busGroup) Send(payload []byte) error {
	if !g.current() {
		return cluster.ErrNotJoined
	}
	if len(payload) > cluster.MaxMessage {
		return fmt.Errorf("send %d bytes: %w", len(payload), cluster.ErrTooBig)
	}
	return translateLocal(g.e.bus.Send(g.name, payload))
}

func (g *busGroup) Leave() error {
	if !g.current() {
		return cluster.ErrNotJoined
	}
	return translateLocal(g.e.bus.Leave(g.name))
}

// Kill ends a node's processes' engines. The reason is not passed on.
func (e *localEngine) Kill(ctx context.Context, node cluster.NodeID, _ string) error {
	return translateLocal(e.bus.Kill(ctx, uint32(node)))
}

// SetExpected is refused: the embedded engine counts by its configuration.
func (e *localEngine) SetExpected(context.Context, int) error { return cluster.ErrRefused }

// SetVotes is refused as well.
func (e *localEngine) SetVotes(context.Context, cluster.NodeID, int) error { return cluster.ErrRefused }

func (e *localEngine) Status(context.Context) (cluster.Status, error) {
	m, q, err := e.watches.state()
	if err != nil {
		return cluster.Status{}, err
	}
	c := e.count(m)
	st := cluster.Status{Engine: "local", Cluster: e.cfg.Cluster, ConfigVersion: uint64(max(e.cfg.Version, 0)), Local: e.local.ID, Ring: m.Ring, Quorate: q.Quorate && q.Ring == m.Ring, TwoNode: e.cfg.TwoNode,
		Total: c.total, Needed: c.needed, Expected: c.expected, DeviceName: c.device.Name}
	if c.device.Alive {
		st.DeviceVotes = e.cfg.DeviceVotes
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, n := range e.cfg.Nodes {
		ns := cluster.NodeStatus{Node: n.Node, State: cluster.NodeDead, Votes: max(n.Votes, 1), Expected: st.Expected}
		if slices.Contains(m.Members, n.ID) {
			ns.State = cluster.NodeMember
			e.joinedAt(&ns)
		}
		st.Nodes = append(st.Nodes, ns)
	}
	slices.SortFunc(st.Nodes, func(a, b cluster.NodeStatus) int { return int(int64(a.ID) - int64(b.ID)) })
	return st, nil
}

// joinedAt fills in what the hub says of a node; e.mu is held.
func (e *localEngine) joinedAt(ns *cluster.NodeStatus) {
	for _, n := range e.nodes {
		if cluster.NodeID(n.ID) == ns.ID && n.At != 0 {
			ns.JoinedAt, ns.Incarnation = time.Unix(n.At, 0), n.Since
		}
	}
}

// RegisterDevice makes the quorum device of this node known to all its processes.
func (e *localEngine) RegisterDevice(ctx context.Context, name string) error {
	if e.cfg.DeviceVotes == 0 {
		return fmt.Errorf("register the quorum device %s: there is none in cluster.conf, or it has no votes: %w", name, cluster.ErrRefused)
	}
	return e.deviceError(e.bus.RegisterDevice(ctx, name, e.cfg.DeviceTimeout))
}

// PollDevice casts a vote, or none, in a ring.
func (e *localEngine) PollDevice(ctx context.Context, name string, cast bool, ring cluster.RingID) error {
	return e.deviceError(e.bus.PollDevice(ctx, name, cast, localbus.RingID{Node: uint32(ring.Node), Seq: ring.Seq}))
}

// MasterWins makes the vote of the device enough.
func (e *localEngine) MasterWins(ctx context.Context, name string, allow bool) error {
	return e.deviceError(e.bus.MasterWins(ctx, name, allow))
}

// UnregisterDevice takes the device away.
func (e *localEngine) UnregisterDevice(ctx context.Context, name string) error {
	return e.deviceError(e.bus.UnregisterDevice(ctx, name))
}

// deviceError leaves alone what only says that the hub did not answer: another
// one may.
func (e *localEngine) deviceError(err error) error {
	if err == nil || e.bus.Err() == nil && !errors.Is(err, localbus.ErrNoDevice) && !errors.Is(err, localbus.ErrOtherDevice) && !errors.Is(err, localbus.ErrWrongRing) {
		return err
	}
	return translateLocal(err)
}

func (e *localEngine) Close() error {
	e.cancel()
	e.bus.Close()
	e.idle.Wait()
	return nil
}

// abandon ends the engine as the end of its process would, for tests.
func (e *localEngine) abandon() {
	e.cancel()
	e.bus.Abandon()
	e.idle.Wait()
}
