//go:build linux

// Package localbus carries the embedded cluster engine: several processes on
// one machine, each with the identity of a node, that see each other and send
// messages to groups in one order. It is for trials, demonstrations and tests,
// and for a single node without corosync. It never leaves the machine: the
// only socket is a unix one, for its owner alone.
//
// One of the processes is the hub. It holds a lock file and orders everything.
// When it ends another takes the lock, and the rest connect to that one. For
// them it looks like a moment in which everybody was alone: the others are
// reported as failed and as merged at once, so that replicated state is agreed
// on anew.
//
// A node is there as long as one process with its identity is connected. A
// process that ends without a word has died; if it was the last one of its
// node, the node has failed. So has a node whose processes are all stopped
// (SIGSTOP) for a token. When they go on they find out, as after the end of the
// hub, that they were alone. A stopped hub is replaced: another process puts a
// lock file of its own in the place of the old one, and the old hub looks whether
// the file is still its own before it says anything.
package localbus

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

var (
	// ErrLost: there was no hub for Config.Takeover, or the node was killed.
	ErrLost = errors.New("the local engine is gone")
	// ErrClosed: Close was called.
	ErrClosed = errors.New("closed")
	// ErrNotJoined: the group was not joined, or left.
	ErrNotJoined = errors.New("not a member of the group")
	// ErrJoined: the group was joined before.
	ErrJoined = errors.New("a member of the group already")
	// ErrTooBig: a message beyond MaxMessage.
	ErrTooBig = errors.New("message too big")
	// ErrNoNode: no such node is there.
	ErrNoNode = errors.New("no such node")
	// ErrTimeout: no answer of the hub within the limit.
	ErrTimeout = errors.New("no answer of the hub")
)

const (
	// MaxMessage is the most bytes of one message.
	MaxMessage = 64 << 20
	// DefaultTakeover is how long members wait for a new hub: a lock changes
	// hands within milliseconds, a loaded machine needs more.
	DefaultTakeover = 10 * time.Second

	// retryPause is the pause between two looks for a hub.
	retryPause = 10 * time.Millisecond
	// maxQueue is how many bytes may wait for one client before the hub drops
	// it, or for its own reader before a client gives up.
	maxQueue = 256 << 20
	// writeLimit bounds one write: a stopped process must not stop the others.
	writeLimit = 5 * time.Second
	// DefaultToken is after what time a silent process is taken for stopped:
	// cman's token (cman(5)).
	DefaultToken = 10 * time.Second
	// minToken is the least: a busy machine lets processes wait for a second.
	minToken = 2 * time.Second
	// pingsPerToken is how often in that time the hub asks for a sign of life.
	pingsPerToken = 5

	lockName     = "hub.lock"
	takeoverName = "hub.takeover"
	socketName   = "hub.sock"
)

// Node is the identity of a node.
type Node struct {
	ID   uint32 `json:"id"`
	Name string `json:"name,omitempty"`
	// Since is the number of the ring in which the node came, and At the time in
	// seconds since 1970, as the hub of the moment saw it. They count in a Ring
	// only; 0 is not known.
	Since uint64 `json:"since,omitempty"`
	At    int64  `json:"at,omitempty"`
}

// Member is a process in a group; Instance tells its lives apart.
type Member struct {
	Node     uint32 `json:"node"`
	Instance uint32 `json:"instance"`
}

// RingID names a membership: the lowest node and a number that grows.
type RingID struct {
	Node uint32 `json:"node"`
	Seq  uint64 `json:"seq"`
}

// Reason is why a member came or went.
type Reason int

// The reasons.
const (
	Joined Reason = iota + 1 // came by Join
	Merged                   // came back after the hub changed
	Left                     // went by Leave or Close
	Died                     // its process ended
	Failed                   // its node ended
)

// Change is a member that came or went.
type Change struct {
	Member
	Reason Reason `json:"reason"`
}

// Event is one of Ring, View, Message and Devices.
type Event interface{ busEvent() }

// Ring is a change of the nodes. The first event is one.
type Ring struct {
	ID    RingID
	Nodes []Node // sorted by id
	// Devices are the quorum devices of the nodes, as in an event of that name.
	Devices []Device
	// Others were lost together with the hub, and those in Nodes found again.
	NewHub bool
}

// View is a change of a group. Transitional says that the next view follows
// at once.
type View struct {
	Group        string
	Ring         RingID
	Members      []Member // sorted
	Joined, Left []Change
	Transitional bool
}

// Message is a message to a group.
type Message struct {
	Group   string
	From    Member
	Payload []byte
}

// Devices are the quorum devices of all nodes, after one has changed.
type Devices []Device

func (Devices) busEvent() {}
func (Ring) busEvent()    {}
func (View) busEvent()    {}
func (Message) busEvent() {}

// Config says where the bus is and who this process is.
type Config struct {
	// Dir holds the socket and the lock file. It is made with mode 0700 if it
	// is missing.
	Dir string
	// Node is the node this process belongs to. ID 1 or more.
	Node Node
	// Observe only looks on: the process makes its node no member, joins no
	// group, and never becomes the hub. Without a hub Open fails at once.
	Observe bool
	// Takeover is how long to wait for a hub; 0 means DefaultTakeover.
	Takeover time.Duration
	// Token is after what time a silent process counts as stopped: the hub lets
	// a silent client go, and clients replace a silent hub. The hub's counts. 0
	// means DefaultToken; less than 2 s are 2 s.
	Token time.Duration
}

// Bus is a connection of a process. Methods are safe for concurrent use,
// except that Next has one caller at a time.
type Bus struct {
	cfg  Config
	self Member // names this connection to a hub in this process
	done chan struct{}
	idle sync.WaitGroup

	mu     sync.Mutex
	conn   net.Conn // nil while there is no hub
	hub    *hub     // if this process is it
	groups []*group
	ring   RingID
	lock   uint64        // inode of the hub's lock file
	token  time.Duration // of the hub
	err    error
	events []Event
	queued int
	ready  chan struct{}
	// devices is what the hub said last; calls wait for its answers.
	devices  []Device
	calls    map[uint64]chan head
	lastCall uint64
}

// group is a group that was joined.
type group struct {
	name    string
	self    Member
	members []Member
	joined  bool // its own join came back
	leaving bool
	// mine are messages that were sent and did not come back yet.
	mine [][]byte
}

// instances gives each membership of this process a name of its own.
var instances atomic.Uint32

// newInstance is the process id and a counter above it: pids have 22 bits
// (PID_MAX_LIMIT of the kernel's threads.h).
func newInstance() uint32 { return instances.Add(1)<<22 | uint32(os.Getpid()) }

// Open connects to the hub, or becomes it.
func Open(ctx context.Context, cfg Config) (*Bus, error) {
	if cfg.Node.ID == 0 {
		return nil, fmt.Errorf("node id 0: %w", ErrNoNode)
	}
	if cfg.Takeover <= 0 {
		cfg.Takeover = DefaultTakeover
	}
	if cfg.Token <= 0 {
		cfg.Token = DefaultToken
	}
	cfg.Token = max(cfg.Token, minToken)
	if !cfg.Observe {
		if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
			return nil, err
		}
	}
	b := &Bus{cfg: cfg, self: Member{cfg.Node.ID, newInstance()}, done: make(chan struct{}), ready: make(chan struct{}, 1), calls: map[uint64]chan head{}}
	ctx, cancel := context.WithTimeout(ctx, cfg.Takeover)
	defer cancel()
	conn, h, err := b.connect(ctx, 0)
	if err != nil {
		return nil, fmt.Errorf("open the local engine in %s: %w", cfg.Dir, err)
	}
	b.conn = conn
	b.follow(h)
	b.event(Ring{ID: h.Ring, Nodes: h.Nodes, Devices: h.Devices}, 0)
	b.ring, b.devices = h.Ring, h.Devices
	b.idle.Add(1)
	go b.read(conn)
	return b, nil
}

// follow keeps what a welcome says of the hub.
func (b *Bus) follow(h head) {
	b.lock = h.Lock
	if b.token = time.Duration(h.TokenMS) * time.Millisecond; b.token <= 0 {
		b.token = DefaultToken
	}
}

// connect finds a hub or becomes it, until ctx ends. silent is the lock of a hub
// that has said nothing for a token; 0 means none.
func (b *Bus) connect(ctx context.Context, silent uint64) (net.Conn, head, error) {
	for {
		if silent != 0 && !b.cfg.Observe {
			b.usurp(silent)
		}
		lock, _ := inodeOf(os.Stat(filepath.Join(b.cfg.Dir, lockName)))
		conn, welcome, err := b.attempt(ctx)
		if err == nil || errors.Is(err, ErrProtocol) || errors.Is(err, os.ErrPermission) || b.cfg.Observe {
			return conn, welcome, err
		}
		silent = 0
		if errors.Is(err, os.ErrDeadlineExceeded) {
			silent = lock // it let us in and said nothing
		}
		b.lead()
		select {
		case <-ctx.Done():
			return nil, head{}, err
		case <-b.done:
			return nil, head{}, ErrClosed
		case <-time.After(retryPause):
		}
	}
}

// attempt makes one connection.
func (b *Bus) attempt(ctx context.Context) (net.Conn, head, error) {
	b.mu.Lock()
	last, devices := b.ring, b.ownDevices()
	b.mu.Unlock()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", filepath.Join(b.cfg.Dir, socketName))
	if err != nil {
		return nil, head{}, err
	}
	limit := time.Now().Add(b.cfg.Token)
	if t, set := ctx.Deadline(); set && t.Before(limit) {
		limit = t
	}
	conn.SetDeadline(limit)
	err = writeFrame(conn, head{Kind: kindHello, Version: protocolVersion, Node: b.cfg.Node, From: b.self, Seq: last.Seq, Devices: devices, Observe: b.cfg.Observe}, nil)
	var h head
	if err == nil {
		h, _, err = readFrame(conn)
	}
	if err == nil && h.Kind != kindWelcome {
		err = fmt.Errorf("%q instead of a welcome %s: %w", h.Kind, h.Error, ErrProtocol)
	}
	if err != nil {
		conn.Close()
		return nil, head{}, err
	}
	conn.SetDeadline(time.Time{})
	return conn, h, nil
}

// mayLead reports whether this process is no hub; b.mu is held.
func (b *Bus) mayLead() bool {
	if b.hub != nil && b.hub.deposed() {
		b.hub.stop()
		b.hub = nil
	}
	return b.hub == nil && b.err == nil
}

// lead makes this process the hub if nobody is.
func (b *Bus) lead() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.mayLead() {
		return
	}
	name := filepath.Join(b.cfg.Dir, lockName)
	lock, err := lockFile(name, 0)
	if err != nil {
		return // another one is, or will be in a moment
	}
	ours, err := inodeOf(lock.Stat())
	theirs, terr := inodeOf(os.Stat(name))
	if err != nil || terr != nil || ours != theirs {
		lock.Close() // replaced between the two
		return
	}
	b.start(lock)
}

// usurp makes this process the hub in the place of a silent one, if that still
// has the lock file.
func (b *Bus) usurp(silent uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.mayLead() {
		return
	}
	// One at a time; the others find the new hub.
	gate, err := lockFile(filepath.Join(b.cfg.Dir, takeoverName), 0)
	if err != nil {
		return
	}
	defer gate.Close()
	name := filepath.Join(b.cfg.Dir, lockName)
	if now, err := inodeOf(os.Stat(name)); err != nil || now != silent {
		return
	}
	next := fmt.Sprintf("%s.%d", name, b.self.Instance)
	lock, err := lockFile(next, unix.O_EXCL)
	if err != nil {
		return
	}
	if err := os.Rename(next, name); err != nil {
		os.Remove(next)
		lock.Close()
		return
	}
	b.start(lock)
}

// lockFile opens a file and locks it, without waiting.
func lockFile(name string, flags int) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|flags, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// start starts the hub; b.mu is held.
func (b *Bus) start(lock *os.File) {
	h, err := startHub(b.cfg.Dir, lock, b.cfg.Token)
	if err != nil {
		lock.Close()
		return
	}
	b.hub = h
}

// read takes frames until the connection and all that follow it are gone.
func (b *Bus) read(conn net.Conn) {
	defer b.idle.Done()
	for {
		err := b.frames(conn)
		conn.Close()
		if errors.Is(err, ErrLost) || errors.Is(err, ErrProtocol) {
			b.fail(err)
			return
		}
		silent := uint64(0)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			silent = b.lock // only this goroutine changes it
		}
		if conn = b.reconnect(silent); conn == nil {
			return
		}
	}
}

// frames handles what comes from one hub.
func (b *Bus) frames(conn net.Conn) error {
	r := bufio.NewReaderSize(conn, 1<<16)
	for {
		if err := b.await(conn, r); err != nil {
			return err
		}
		h, body, err := readFrame(r)
		if err != nil {
			return err
		}
		b.mu.Lock()
		err = b.frame(h, body)
		b.mu.Unlock()
		if err != nil {
			return err
		}
	}
}

// await waits for the first byte of a frame, and gives all of it a token. A
// deadline that has long passed is no silence of the hub: this process was
// stopped, and what came in between, or the end, is still to be read.
func (b *Bus) await(conn net.Conn, r *bufio.Reader) error {
	for {
		limit := time.Now().Add(b.token)
		conn.SetReadDeadline(limit)
		_, err := r.Peek(1)
		if errors.Is(err, os.ErrDeadlineExceeded) && time.Since(limit) > b.token/4 {
			continue
		}
		conn.SetReadDeadline(time.Now().Add(b.token))
		return err
	}
}

// frame handles one; b.mu is held.
func (b *Bus) frame(h head, body []byte) error {
	switch h.Kind {
	case kindPing:
		b.post(head{Kind: kindPong}, nil)
	case kindKilled:
		return fmt.Errorf("node killed: %w", ErrLost)
	case kindAnswer:
		if answer := b.calls[h.ID]; answer != nil {
			answer <- h // it has room for the only one
			delete(b.calls, h.ID)
		}
	case kindRing:
		b.ring, b.devices = h.Ring, h.Devices
		b.eventLocked(Ring{ID: h.Ring, Nodes: h.Nodes, Devices: h.Devices}, 0)
	case kindDevices:
		b.devices = h.Devices
		b.eventLocked(Devices(h.Devices), 0)
	case kindView:
		g := b.group(h.Group)
		if g == nil {
			return nil
		}
		own := slices.ContainsFunc(h.Joined, func(c Change) bool { return c.Member == g.self })
		v := View{Group: h.Group, Ring: h.Ring, Members: h.Members, Joined: h.Joined, Left: h.Left}
		if own && g.joined {
			b.merge(g, v)
			return nil
		}
		if !own && !g.joined {
			return nil
		}
		g.joined, g.members = true, h.Members
		b.eventLocked(v, 0)
		if !slices.Contains(h.Members, g.self) {
			b.groups = slices.DeleteFunc(b.groups, func(o *group) bool { return o == g })
		}
	case kindMessage:
		g := b.group(h.Group)
		if g == nil || !g.joined {
			return nil
		}
		if h.From == g.self && len(g.mine) > 0 {
			g.mine = g.mine[1:]
		}
		b.eventLocked(Message{Group: h.Group, From: h.From, Payload: body}, len(body))
	}
	if b.queued > maxQueue {
		return fmt.Errorf("events were not read: %w", ErrLost)
	}
	return nil
}

// merge reports that the others were lost with the hub, and found again.
func (b *Bus) merge(g *group, now View) {
	v := View{Group: g.name, Ring: now.Ring, Members: []Member{g.self}}
	for _, m := range g.members {
		if m != g.self {
			v.Left = append(v.Left, Change{m, Failed})
		}
	}
	w := View{Group: g.name, Ring: now.Ring, Members: now.Members}
	for _, m := range now.Members {
		if m != g.self {
			w.Joined = append(w.Joined, Change{m, Merged})
		}
	}
	g.members = now.Members
	v.Transitional = len(w.Joined) > 0
	if len(v.Left) > 0 {
		b.eventLocked(v, 0)
	}
	if len(w.Joined) > 0 {
		b.eventLocked(w, 0)
	}
}

// reconnect finds the next hub and joins the groups again; nil if there is
// none.
func (b *Bus) reconnect(silent uint64) net.Conn {
	b.mu.Lock()
	b.conn = nil
	b.dropCalls()
	if b.err != nil {
		b.mu.Unlock()
		return nil
	}
	// What this process sent and did not see come back: some of the others may
	// have it, so it must not be sent again. It counts here, where nobody else
	// is now.
	for _, g := range b.groups {
		for _, m := range g.mine {
			if g.joined {
				b.eventLocked(Message{Group: g.name, From: g.self, Payload: m}, len(m))
			}
		}
		g.mine = nil
	}
	b.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), b.cfg.Takeover)
	defer cancel()
	conn, h, err := b.connect(ctx, silent)
	if err != nil {
		b.fail(fmt.Errorf("%w (%v)", ErrLost, err))
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil {
		conn.Close()
		return nil
	}
	b.conn, b.ring, b.devices = conn, h.Ring, h.Devices
	b.follow(h)
	b.eventLocked(Ring{ID: h.Ring, Nodes: h.Nodes, Devices: h.Devices, NewHub: true}, 0)
	for _, g := range slices.Clone(b.groups) {
		if g.leaving {
			// It left the old hub, which is gone: nobody else is there to know.
			v := View{Group: g.name, Ring: h.Ring, Left: []Change{{g.self, Left}}}
			for _, m := range g.members {
				if m != g.self {
					v.Left = append(v.Left, Change{m, Failed})
				}
			}
			b.eventLocked(v, 0)
			b.groups = slices.DeleteFunc(b.groups, func(o *group) bool { return o == g })
			continue
		}
		b.post(head{Kind: kindJoin, Group: g.name, From: g.self, Merge: g.joined}, nil)
		for _, m := range g.mine {
			b.post(head{Kind: kindSend, Group: g.name, From: g.self}, m)
		}
	}
	return conn
}

// post writes a frame to the hub; b.mu is held, so frames keep their order. A
// write that fails is the end of the hub, which read sees too.
func (b *Bus) post(h head, body []byte) {
	if b.conn == nil {
		return
	}
	b.conn.SetWriteDeadline(time.Now().Add(max(b.token, writeLimit)))
	if err := writeFrame(b.conn, h, body); err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			b.conn.Close()
		}
		b.conn = nil // what the hub said before it closed is still to be read
	}
}

func (b *Bus) group(name string) *group {
	for _, g := range b.groups {
		if g.name == name {
			return g
		}
	}
	return nil
}

func (b *Bus) event(ev Event, size int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.eventLocked(ev, size)
}

func (b *Bus) eventLocked(ev Event, size int) {
	b.events = append(b.events, ev)
	b.queued += size
	select {
	case b.ready <- struct{}{}:
	default:
	}
}

// fail ends the bus once.
func (b *Bus) fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil {
		return
	}
	b.err = err
	close(b.done)
	if b.conn != nil {
		b.conn.Close()
	}
}

// Join enters a group and returns this process's name in it.
func (b *Bus) Join(name string) (Member, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.err != nil:
		return Member{}, b.err
	case b.group(name) != nil:
		return Member{}, fmt.Errorf("join %s: %w", name, ErrJoined)
	}
	g := &group{name: name, self: Member{b.cfg.Node.ID, newInstance()}}
	b.groups = append(b.groups, g)
	b.post(head{Kind: kindJoin, Group: name, From: g.self}, nil)
	return g.self, nil
}

// Leave leaves a group. The view without this process is the group's last
// event.
func (b *Bus) Leave(name string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	g := b.group(name)
	switch {
	case b.err != nil:
		return b.err
	case g == nil || g.leaving:
		return fmt.Errorf("leave %s: %w", name, ErrNotJoined)
	}
	g.leaving = true
	b.post(head{Kind: kindLeave, Group: name, From: g.self}, nil)
	return nil
}

// Send sends a message to a group. The payload must not be changed afterwards.
func (b *Bus) Send(name string, payload []byte) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	g := b.group(name)
	switch {
	case b.err != nil:
		return b.err
	case g == nil || g.leaving:
		return fmt.Errorf("send to %s: %w", name, ErrNotJoined)
	case len(payload) > MaxMessage:
		return fmt.Errorf("send %d bytes: %w", len(payload), ErrTooBig)
	}
	g.mine = append(g.mine, payload)
	b.post(head{Kind: kindSend, Group: name, From: g.self}, payload)
	return nil
}

// Kill ends all processes' connections of a node; they get ErrLost, the others
// see the node fail.
func (b *Bus) Kill(ctx context.Context, node uint32) error {
	a, err := b.call(ctx, head{Kind: kindKill, Target: node})
	switch {
	case errors.Is(err, errHubGone), errors.Is(err, ErrTimeout):
		return fmt.Errorf("kill node %d: %w", node, ErrTimeout)
	case err != nil:
		return err
	case a.Error != "":
		return fmt.Errorf("%s: %w", a.Error, ErrNoNode)
	}
	return nil
}

// Err says why the bus is of no use any more; nil while it is.
func (b *Bus) Err() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err
}

// IsHub reports whether this process is the hub.
func (b *Bus) IsHub() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.hub != nil
}

// Next waits for the next event. What came before the end is still delivered.
func (b *Bus) Next(ctx context.Context) (Event, error) {
	for {
		b.mu.Lock()
		if len(b.events) > 0 {
			ev := b.events[0]
			b.events[0] = nil
			b.events = b.events[1:]
			if m, is := ev.(Message); is {
				b.queued -= len(m.Payload)
			}
			b.mu.Unlock()
			return ev, nil
		}
		err := b.err
		b.mu.Unlock()
		if err != nil {
			return nil, err
		}
		select {
		case <-b.ready:
		case <-b.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Close leaves everything in order. If this process is the hub, another takes
// over. The error is always nil.
func (b *Bus) Close() error {
	b.mu.Lock()
	if b.err == nil {
		b.post(head{Kind: kindBye}, nil)
	}
	if h := b.hub; h != nil && b.err == nil {
		b.mu.Unlock()
		h.dismiss(b.self) // not left to chance: the hub stops right after
		b.mu.Lock()
	}
	b.mu.Unlock()
	b.fail(ErrClosed)
	b.end()
	return nil
}

// Abandon ends the connection without a word, as the end of the process would.
func (b *Bus) Abandon() {
	b.mu.Lock()
	h := b.hub
	b.mu.Unlock()
	if h != nil { // first, or it would tell the others of the rest
		h.mu.Lock()
		if !h.over {
			h.depose()
		}
		h.mu.Unlock()
	}
	b.fail(ErrClosed)
	b.end()
}

// end waits for the goroutines.
func (b *Bus) end() {
	b.idle.Wait()
	b.mu.Lock()
	h := b.hub
	b.hub = nil
	b.mu.Unlock()
	if h != nil {
		h.stop()
	}
}

// peerAllowed reports whether the other side of a unix socket may be here: the
// same user, or root.
func peerAllowed(c net.Conn) bool {
	u, isUnix := c.(*net.UnixConn)
	if !isUnix {
		return false
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return false
	}
	allowed := false
	raw.Control(func(fd uintptr) {
		cred, err := unix.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, unix.SO_PEERCRED)
		allowed = err == nil && (cred.Uid == 0 || int(cred.Uid) == os.Geteuid())
	})
	return allowed
}
