//go:build linux

package localbus

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"
	"time"
)

// hub orders everything. Its state is under one lock; each client has a
// goroutine that reads and one that writes.
type hub struct {
	token    time.Duration // Config.Token
	lock     *os.File
	listener net.Listener
	idle     sync.WaitGroup

	mu      sync.Mutex
	clients []*client
	seq     uint64
	groups  map[string][]Member
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
func startHub(path string, lock *os.File, token time.Duration) (*hub, error) {
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, err
	}
	h := &hub{token: token, lock: lock, listener: l, groups: map[string][]Member{}, stopped: make(chan struct{})}
	h.idle.Add(2)
	go h.accept()
	go h.ping()
	return h, nil
}

// stop ends the hub; the lock is given up last.
func (h *hub) stop() {
	h.mu.Lock()
	h.over = true
	close(h.stopped)
	h.listener.Close() // removes the socket
	for _, c := range h.clients {
		c.finish() // what is queued still goes out
	}
	h.mu.Unlock()
	h.idle.Wait()
	h.lock.Close()
}

// ping tells all clients that the hub is alive.
func (h *hub) ping() {
	defer h.idle.Done()
	tick := time.NewTicker(pingEvery)
	defer tick.Stop()
	for {
		select {
		case <-h.stopped:
			return
		case <-tick.C:
			h.mu.Lock()
			h.toAll(head{Kind: kindPing})
			h.mu.Unlock()
		}
	}
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
	defer conn.Close()
	r := bufio.NewReader(conn)
	conn.SetReadDeadline(time.Now().Add(writeLimit))
	hello, _, err := readFrame(r)
	if err != nil || hello.Kind != kindHello || hello.Version != protocolVersion || hello.Node.ID == 0 {
		writeFrame(conn, head{Kind: kindAnswer, Error: "expected a hello of version 1"}, nil)
		return
	}
	conn.SetReadDeadline(time.Time{})
	c := &client{conn: conn, node: hello.Node, self: hello.From, wake: make(chan struct{}, 1)}
	if !h.add(c, hello.Seq) {
		return
	}
	h.idle.Add(1)
	go c.writer(&h.idle)
	for {
		if h.token > 0 {
			conn.SetReadDeadline(time.Now().Add(max(h.token, 2*pingEvery)))
		}
		f, body, err := readFrame(r)
		if err != nil || !h.handle(c, f, body) {
			break
		}
	}
	h.remove(c)
}

// add takes a client in. A node that was not there makes a new ring.
func (h *hub) add(c *client, seq uint64) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.over {
		return false
	}
	known := slices.ContainsFunc(h.clients, func(o *client) bool { return o.node.ID == c.node.ID })
	older := seq > h.seq // it has seen a later ring than this hub: a new one
	h.seq = max(h.seq, seq)
	others := slices.Clone(h.clients)
	h.clients = append(h.clients, c)
	if !known || older {
		h.seq++
		for _, o := range others {
			o.put(head{Kind: kindRing, Ring: h.ring(), Nodes: h.nodes()}, nil)
		}
	}
	c.put(head{Kind: kindWelcome, Ring: h.ring(), Nodes: h.nodes()}, nil)
	return true
}

// remove lets a client go, with its groups and, if it was its node's last one,
// with its node.
func (h *hub) remove(c *client) {
	h.mu.Lock()
	defer h.mu.Unlock()
	i := slices.Index(h.clients, c)
	if i < 0 {
		return
	}
	h.clients = slices.Delete(h.clients, i, i+1)
	c.end()
	if h.over {
		return
	}
	last := !slices.ContainsFunc(h.clients, func(o *client) bool { return o.node.ID == c.node.ID })
	reason := Died
	switch {
	case c.bye:
		reason = Left
	case last:
		reason = Failed
	}
	if last {
		h.seq++
		if len(h.clients) > 0 {
			h.toAll(head{Kind: kindRing, Ring: h.ring(), Nodes: h.nodes()})
		}
	}
	for _, m := range c.members {
		h.leave(m, reason)
	}
}

// nodes are those that are there, sorted.
func (h *hub) nodes() []Node {
	var out []Node
	for _, c := range h.clients {
		if !slices.ContainsFunc(out, func(n Node) bool { return n.ID == c.node.ID }) {
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
	m := membership{f.Group, f.From}
	in := slices.Contains(c.members, m)
	switch f.Kind {
	case kindPong:
	case kindJoin:
		if in || f.Group == "" || f.From.Node != c.node.ID || slices.Contains(h.groups[f.Group], f.From) {
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
	case kindBye:
		c.bye = true
		return false
	case kindKill:
		answer := head{Kind: kindAnswer, Error: fmt.Sprintf("node %d", f.Target)}
		for _, o := range h.clients {
			if o.node.ID == f.Target {
				answer.Error = ""
				o.put(head{Kind: kindKilled}, nil)
				o.finish()
			}
		}
		c.put(answer, nil)
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
	c.out = append(c.out, frame{h, body})
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

// writer writes what is queued.
func (c *client) writer(idle *sync.WaitGroup) {
	defer idle.Done()
	w := bufio.NewWriter(c.conn)
	for range c.wake {
		for {
			c.mu.Lock()
			out, closed := c.out, c.closed
			c.out = nil
			c.mu.Unlock()
			if len(out) == 0 {
				if closed {
					c.conn.Close()
					return
				}
				break
			}
			c.conn.SetWriteDeadline(time.Now().Add(writeLimit))
			for _, f := range out {
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
