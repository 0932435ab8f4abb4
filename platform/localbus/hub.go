//go:build linux

package localbus

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"
)

// hub orders everything. Its state is under one lock; each client has a
// goroutine that reads and one that writes.
type hub struct {
	lock     *os.File
	lockPath string
	inode    uint64 // of lock
	token    time.Duration
	listener *net.UnixListener
	idle     sync.WaitGroup

	mu      sync.Mutex
	clients []*client
	seq     uint64
	groups  map[string][]Member
	devices []*hubDevice
	over    bool
	stopped chan struct{} // closed when over is set
}

// client is one process.
type client struct {
	conn net.Conn
	node Node
	self Member
	// members are its memberships.
	members []membership
	bye     bool
	// observer only looks on.
	observer bool
	// heard is when its last frame came.
	heard time.Time

	mu     sync.Mutex // guards the fields below
	out    []frame
	queued int
	closed bool
	wake   chan struct{}
}

type membership struct {
	group string
	Member
}

type frame struct {
	h    head
	body []byte
}

// startHub listens; the caller holds the lock file's lock, which the hub keeps.
func startHub(dir string, lock *os.File, token time.Duration) (*hub, error) {
	inode, err := inodeOf(lock.Stat())
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, socketName)
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, err
	}
	h := &hub{lock: lock, lockPath: filepath.Join(dir, lockName), inode: inode, token: token, listener: l,
		groups: map[string][]Member{}, stopped: make(chan struct{})}
	h.idle.Add(2)
	go h.accept()
	go h.ping()
	return h, nil
}

// inodeOf tells files apart that had the same name.
func inodeOf(info os.FileInfo, err error) (uint64, error) {
	if err != nil {
		return 0, err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, os.ErrInvalid
	}
	return st.Ino, nil
}

// rules reports whether this hub still orders anything. One that was silent for
// a token, because its process was stopped, has been replaced: what it says
// from then on would be of another cluster. h.mu is held.
func (h *hub) rules() bool {
	if h.over {
		return false
	}
	inode, err := inodeOf(os.Stat(h.lockPath))
	if err == nil && inode == h.inode {
		return true
	}
	h.depose()
	return false
}

// depose ends a hub that has been replaced, without a word to anybody: its
// clients find the next one. h.mu is held.
func (h *hub) depose() {
	h.over = true
	close(h.stopped)
	h.listener.SetUnlinkOnClose(false) // the name is that of the next
	h.listener.Close()
	for _, c := range h.clients {
		c.end()
	}
}

// deposed reports whether the hub has ended by itself.
func (h *hub) deposed() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.over
}

// stop ends the hub; the lock is given up last.
func (h *hub) stop() {
	h.mu.Lock()
	if h.rules() {
		h.over = true
		close(h.stopped)
		h.listener.Close() // removes the socket
		for _, c := range h.clients {
			c.finish() // what is queued still goes out
		}
	}
	h.mu.Unlock()
	h.idle.Wait()
	h.lock.Close()
}

// ping tells all clients that the hub is alive, and lets those go that were
// silent for a token: they are stopped, and so is their node if none of its
// processes runs.
func (h *hub) ping() {
	defer h.idle.Done()
	tick := time.NewTicker(h.token / pingsPerToken)
	defer tick.Stop()
	last := time.Now()
	for {
		select {
		case <-h.stopped:
			return
		case <-tick.C:
		}
		h.mu.Lock()
		now := time.Now()
		// After a pause of its own, in which nobody else was declared the hub,
		// it is the hub that has not listened.
		paused := now.Sub(last) > h.token/2
		last = now
		if h.rules() {
			for _, c := range h.clients {
				if paused {
					c.heard = now
				}
			}
			silent := h.silent(now)
			for _, c := range silent {
				c.end()
			}
			h.drop(silent)
			h.toAll(head{Kind: kindPing})
		}
		h.mu.Unlock()
	}
}

// silent are the clients that were not heard for a token. The processes of a node
// that is stopped were last heard one after the other: they are waited for, so
// that the node fails and not first one of its processes. One that is stopped
// alone is known by the others of its node going on without it. h.mu is held.
func (h *hub) silent(now time.Time) (out []*client) {
	for _, c := range h.clients {
		if now.Sub(c.heard) <= h.token {
			continue
		}
		if wait := slices.ContainsFunc(h.clients, func(o *client) bool {
			return o.node.ID == c.node.ID && !o.observer && now.Sub(o.heard) <= h.token && o.heard.Sub(c.heard) <= h.token/2
		}); !wait {
			out = append(out, c)
		}
	}
	return out
}

// dismiss lets a client of this process go in order.
func (h *hub) dismiss(self Member) {
	h.mu.Lock()
	i := slices.IndexFunc(h.clients, func(c *client) bool { return c.self == self })
	var c *client
	if i >= 0 {
		c = h.clients[i]
		c.bye = true
	}
	h.mu.Unlock()
	if c != nil {
		h.remove(c)
	}
}

func (h *hub) accept() {
	defer h.idle.Done()
	for {
		conn, err := h.listener.Accept()
		if err != nil {
			return
		}
		if !peerAllowed(conn) {
			conn.Close()
			continue
		}
		h.idle.Add(1)
		go h.serve(conn)
	}
}

// serve reads one client's frames.
func (h *hub) serve(conn net.Conn) {
	defer h.idle.Done()
	r := bufio.NewReader(conn)
	conn.SetReadDeadline(time.Now().Add(writeLimit))
	hello, _, err := readFrame(r)
	if err != nil || hello.Kind != kindHello || hello.Version != protocolVersion || hello.Node.ID == 0 {
		writeFrame(conn, head{Kind: kindAnswer, Error: fmt.Sprintf("expected a hello of version %d", protocolVersion)}, nil)
		conn.Close()
		return
	}
	conn.SetReadDeadline(time.Time{})
	c := &client{conn: conn, node: hello.Node, self: hello.From, observer: hello.Observe, wake: make(chan struct{}, 1)}
	if !h.add(c, hello.Seq, hello.Devices) {
		conn.Close()
		return
	}
	h.idle.Add(1)
	go c.writer(&h.idle, max(h.token, writeLimit))
	for {
		f, body, err := readFrame(r)
		if err != nil || !h.handle(c, f, body) {
			break
		}
	}
	// One that was dropped before is still to read why: its writer closes.
	h.remove(c)
}

// add takes a client in. A node that was not there makes a new ring.
func (h *hub) add(c *client, seq uint64, devices []Device) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.rules() {
		return false
	}
	c.heard = time.Now()
	known := c.observer || h.present(c.node.ID)
	older := seq > h.seq // it has seen a later ring than this hub: a new one
	h.seq = max(h.seq, seq)
	others := slices.Clone(h.clients)
	h.clients = append(h.clients, c)
	if !c.observer {
		h.adopt(c.node.ID, devices)
	}
	if !known || older {
		h.seq++
	}
	c.node.Since, c.node.At = h.seq, c.heard.Unix()
	for _, o := range others { // of several processes the first brought the node
		if o.node.ID == c.node.ID && !o.observer {
			c.node.Since, c.node.At = o.node.Since, o.node.At
		}
	}
	if !known || older {
		for _, o := range others {
			o.put(head{Kind: kindRing, Ring: h.ring(), Nodes: h.nodes(), Devices: h.deviceList()}, nil)
		}
	}
	c.put(head{Kind: kindWelcome, Ring: h.ring(), Nodes: h.nodes(), Devices: h.deviceList(), Lock: h.inode, TokenMS: h.token.Milliseconds()}, nil)
	return true
}

// remove lets a client go.
func (h *hub) remove(c *client) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if slices.Contains(h.clients, c) {
		c.end()
		if h.rules() {
			h.drop([]*client{c})
		}
	}
}

// drop lets clients go together, with their groups and, if they were the last
// of a node, with the node: then it has failed for all of them. h.mu is held.
func (h *hub) drop(gone []*client) {
	before := len(h.nodes())
	h.clients = slices.DeleteFunc(h.clients, func(c *client) bool { return slices.Contains(gone, c) })
	if nodes := h.nodes(); len(nodes) != before {
		h.seq++
		h.devices = slices.DeleteFunc(h.devices, func(d *hubDevice) bool {
			return !slices.ContainsFunc(nodes, func(n Node) bool { return n.ID == d.Node })
		})
		if len(h.clients) > 0 {
			h.toAll(head{Kind: kindRing, Ring: h.ring(), Nodes: nodes, Devices: h.deviceList()})
		}
	}
	for _, c := range gone {
		reason := Died
		switch {
		case c.bye:
			reason = Left
		case !h.present(c.node.ID):
			reason = Failed
		}
		for _, m := range c.members {
			h.leave(m, reason)
		}
	}
}

// present reports whether a node is there.
func (h *hub) present(node uint32) bool {
	return slices.ContainsFunc(h.clients, func(c *client) bool { return c.node.ID == node && !c.observer })
}

// nodes are those that are there, sorted.
func (h *hub) nodes() []Node {
	var out []Node
	for _, c := range h.clients {
		if !c.observer && !slices.ContainsFunc(out, func(n Node) bool { return n.ID == c.node.ID }) {
			out = append(out, c.node)
		}
	}
	slices.SortFunc(out, func(a, b Node) int { return int(int64(a.ID) - int64(b.ID)) })
	return out
}

func (h *hub) ring() RingID {
	n := h.nodes()
	if len(n) == 0 {
		return RingID{Seq: h.seq}
	}
	return RingID{Node: n[0].ID, Seq: h.seq}
}

func (h *hub) toAll(f head) {
	for _, c := range h.clients {
		c.put(f, nil)
	}
}

// toGroup sends to the members of a group and to those that were in it.
func (h *hub) toGroup(name string, f head, body []byte, also *client) {
	for _, c := range h.clients {
		if c == also || slices.ContainsFunc(c.members, func(m membership) bool { return m.group == name }) {
			c.put(f, body)
		}
	}
}

// handle does what a client asks for; false ends it.
func (h *hub) handle(c *client, f head, body []byte) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.rules() {
		return false
	}
	if !slices.Contains(h.clients, c) {
		return false // dropped
	}
	c.heard = time.Now()
	m := membership{f.Group, f.From}
	in := slices.Contains(c.members, m)
	switch f.Kind {
	case kindJoin:
		if in || c.observer || f.Group == "" || f.From.Node != c.node.ID || slices.Contains(h.groups[f.Group], f.From) {
			return false
		}
		c.members = append(c.members, m)
		h.groups[f.Group] = append(h.groups[f.Group], f.From)
		slices.SortFunc(h.groups[f.Group], func(a, b Member) int {
			if a.Node != b.Node {
				return int(int64(a.Node) - int64(b.Node))
			}
			return int(int64(a.Instance) - int64(b.Instance))
		})
		reason := Joined
		if f.Merge {
			reason = Merged
		}
		h.view(f.Group, head{Joined: []Change{{f.From, reason}}}, nil)
	case kindLeave:
		if !in {
			return false
		}
		h.leave(m, Left)
	case kindSend:
		if !in {
			return false
		}
		h.toGroup(f.Group, head{Kind: kindMessage, Group: f.Group, From: f.From}, body, nil)
	case kindDevice:
		if c.observer {
			return false
		}
		c.put(head{Kind: kindAnswer, ID: f.ID, Error: h.ask(c, f)}, nil)
	case kindPong:
	case kindBye:
		c.bye = true
		return false
	case kindKill:
		answer := head{Kind: kindAnswer, ID: f.ID, Error: fmt.Sprintf("node %d", f.Target)}
		var killed []*client
		for _, o := range h.clients {
			if o.node.ID == f.Target {
				answer.Error = ""
				o.put(head{Kind: kindKilled}, nil)
				killed = append(killed, o)
			}
		}
		c.put(answer, nil) // also if it is one of them
		for _, o := range killed {
			o.finish()
		}
		h.drop(killed)
	default:
		return false
	}
	return true
}

// leave takes a member out of its group.
func (h *hub) leave(m membership, reason Reason) {
	all := h.groups[m.group]
	i := slices.Index(all, m.Member)
	if i < 0 {
		return
	}
	h.groups[m.group] = slices.Delete(slices.Clone(all), i, i+1)
	var owner *client
	for _, c := range h.clients {
		if i := slices.Index(c.members, m); i >= 0 {
			c.members = slices.Delete(c.members, i, i+1)
			owner = c
		}
	}
	h.view(m.group, head{Left: []Change{{m.Member, reason}}}, owner)
}

func (h *hub) view(name string, f head, also *client) {
	f.Kind, f.Group, f.Ring, f.Members = kindView, name, h.ring(), slices.Clone(h.groups[name])
	h.toGroup(name, f, nil, also)
}

// put queues a frame for a client; one that does not read is dropped.
func (c *client) put(h head, body []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	if h.Kind == kindPing {
		// Before what waits, but for the welcome: who reads slowly is alive, and
		// must not answer late.
		at := 0
		if len(c.out) > 0 && c.out[0].h.Kind == kindWelcome {
			at = 1
		}
		c.out = slices.Insert(c.out, at, frame{h, body})
	} else {
		c.out = append(c.out, frame{h, body})
	}
	if c.queued += len(body); c.queued > maxQueue {
		c.closed = true
		c.conn.Close()
	}
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// finish ends the client when what is queued is written.
func (c *client) finish() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// end ends the client at once.
func (c *client) end() {
	c.finish()
	c.conn.Close()
}

// writeBatch is how many frames are taken off the queue at once: a ping may
// come before the next ones.
const writeBatch = 64

// writer writes what is queued, each frame within limit.
func (c *client) writer(idle *sync.WaitGroup, limit time.Duration) {
	defer idle.Done()
	w := bufio.NewWriter(c.conn)
	for range c.wake {
		for {
			c.mu.Lock()
			n := min(len(c.out), writeBatch)
			out, closed := c.out[:n:n], c.closed
			if c.out = c.out[n:]; len(c.out) == 0 {
				c.out = nil // and not what was in it
			}
			c.mu.Unlock()
			if len(out) == 0 {
				if closed {
					c.conn.Close()
					return
				}
				break
			}
			for _, f := range out {
				c.conn.SetWriteDeadline(time.Now().Add(limit))
				if err := writeFrame(w, f.h, f.body); err != nil {
					c.end()
					return
				}
				c.mu.Lock()
				c.queued -= len(f.body)
				c.mu.Unlock()
			}
			if err := w.Flush(); err != nil {
				c.end()
				return
			}
		}
	}
}
