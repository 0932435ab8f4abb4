//go:build linux

package corosync

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

// CPG is a connection to the service of closed process groups. It belongs to
// one group at most: after Leave it cannot join again, dial another.
type CPG struct {
	*Conn
	// parts are the unfinished big messages by sender. Only Next uses it.
	parts []partial
	// big is held while a fragmented message is sent.
	big chan struct{}
}

// Requests and events of service cpg (ipc_cpg.h).
const (
	cpgJoin      = 0
	cpgLeave     = 1
	cpgMulticast = 2
	cpgMembers   = 3
	cpgLocal     = 4
	cpgIterInit  = 5
	cpgIterNext  = 6
	cpgIterEnd   = 7
	cpgFinalize  = 8
	cpgPartial   = 12

	cpgConfChgEvent = 4
	cpgDeliverEvent = 5
	cpgTotemEvent   = 13
	cpgPartialEvent = 17

	cpgAgreed    = 2 // CPG_TYPE_AGREED
	cpgMaxName   = 128
	cpgAddress   = 24
	cpgFirst     = 1
	cpgMiddle    = 2
	cpgLast      = 3
	cpgMaxNodes  = 384
	cpgWithTotem = 1 // also deliver the ring's membership after the join
)

// Sizes of group messages, in bytes.
const (
	// FragmentSize is the most that goes out as one message of the daemon:
	// 1 MiB less what the headers may take. More is split.
	FragmentSize = 1<<20 - 1024
	// MaxMessage is the largest message of a group. It is the same on every
	// node, so that all of them refuse the same messages.
	MaxMessage = 64 << 20
)

// Process names a member of a group.
type Process struct{ Node, PID uint32 }

// Reason is why a process joined or left a group (cpg_reason_t of cpg.h).
type Reason uint32

// The reasons of cpg.h.
const (
	ReasonJoin     Reason = 1
	ReasonLeave    Reason = 2
	ReasonNodeDown Reason = 3
	ReasonNodeUp   Reason = 4 // a part of the group came back with its node
	ReasonProcDown Reason = 5
)

func (r Reason) String() string {
	switch r {
	case ReasonJoin:
		return "join"
	case ReasonLeave:
		return "leave"
	case ReasonNodeDown:
		return "node down"
	case ReasonNodeUp:
		return "node up"
	case ReasonProcDown:
		return "process down"
	}
	return fmt.Sprintf("reason %d", uint32(r))
}

// Moved is a process that joined or left, and why.
type Moved struct {
	Process
	Reason Reason
}

// CPGEvent is one of ConfChg, Message or Ring. All members of a group see
// the same sequence of the first two while they are members together.
type CPGEvent interface{ cpgEvent() }

// ConfChg is a change of the group. Members has those that joined, and not
// those that left.
type ConfChg struct {
	Group        string
	Members      []Process
	Joined, Left []Moved
}

// Message is a message to the group. A sender gets its own as well.
type Message struct {
	Group   string
	From    Process
	Payload []byte
}

// Ring is a change of the ring under all groups.
type Ring struct {
	ID      RingID
	Members []uint32
}

func (ConfChg) cpgEvent() {}
func (Message) cpgEvent() {}
func (Ring) cpgEvent()    {}

// partial is a message of which not all fragments have come.
type partial struct {
	from  Process
	total uint32
	// drop says that the message is too big and its fragments are ignored.
	drop bool
	buf  []byte
}

// DialCPG connects to the groups.
func DialCPG(ctx context.Context, cfg Config) (*CPG, error) {
	c, err := dial(ctx, "cpg", fullMessages, cfg)
	if err != nil {
		return nil, err
	}
	return &CPG{Conn: c, big: make(chan struct{}, 1)}, nil
}

// groupRequest starts a request with a mar_cpg_name_t at 16.
func groupRequest(id int32, group string, size int) (request, error) {
	if group == "" || len(group) > cpgMaxName {
		return nil, fmt.Errorf("group name of %d bytes: %w", len(group), ErrTooBig)
	}
	req := newRequest(id, size, 0)
	req.u32(16, uint32(len(group)))
	req.text(24, group)
	return req, nil
}

// Join enters the group. The pid names this member within its node and group;
// the daemon takes what it is told. 0 means this process's own. The Ring of
// the moment and the ConfChg with the own entry follow as events, possibly
// before Join returns.
func (c *CPG) Join(ctx context.Context, group string, pid uint32) error {
	if pid == 0 {
		pid = uint32(os.Getpid())
	}
	req, err := groupRequest(cpgJoin, group, 168)
	if err != nil {
		return err
	}
	req.u32(152, pid)
	req.u32(160, cpgWithTotem)
	_, err = c.do(ctx, req)
	return wrap(err, "join group "+group)
}

// Leave leaves the group. The ConfChg with the own entry in Left follows.
func (c *CPG) Leave(ctx context.Context, group string, pid uint32) error {
	if pid == 0 {
		pid = uint32(os.Getpid())
	}
	req, err := groupRequest(cpgLeave, group, 160)
	if err != nil {
		return err
	}
	req.u32(152, pid)
	_, err = c.do(ctx, req)
	return wrap(err, "leave group "+group)
}

// Multicast sends payload to the joined group in agreed order. It waits while
// the daemon cannot take it: while the membership changes, or its queue is
// full. Without a joined group the daemon drops it silently. Messages above
// FragmentSize go in parts, between which those of others may come; they
// count as sent with their last part.
func (c *CPG) Multicast(ctx context.Context, payload []byte) error {
	if len(payload) > MaxMessage {
		return fmt.Errorf("multicast %d bytes, at most %d: %w", len(payload), MaxMessage, ErrTooBig)
	}
	if len(payload) > FragmentSize {
		return wrap(c.fragments(ctx, payload), fmt.Sprintf("multicast %d bytes", len(payload)))
	}
	// The header of this request has 24 bytes, not 16.
	req := newRequest(cpgMulticast, 40, len(payload))
	req.u32(24, cpgAgreed)
	req.u32(32, uint32(len(payload)))
	return wrap(c.post(ctx, req, payload), fmt.Sprintf("multicast %d bytes", len(payload)))
}

// fragments sends a big message; a change of the membership in between makes
// the daemon ask for a new start.
func (c *CPG) fragments(ctx context.Context, payload []byte) error {
	// One at a time: fragments of two messages of one sender must not mix.
	select {
	case c.big <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	case <-c.done:
		return c.Err()
	}
	defer func() { <-c.big }()
again:
	for at := 0; at < len(payload); at += FragmentSize {
		part := payload[at:min(at+FragmentSize, len(payload))]
		kind := uint32(cpgMiddle)
		if at == 0 {
			kind = cpgFirst
		} else if at+len(part) == len(payload) {
			kind = cpgLast
		}
		req := newRequest(cpgPartial, 56, len(part))
		req.u32(24, cpgAgreed)
		req.u32(32, uint32(len(payload)))
		req.u32(40, uint32(len(part)))
		req.u32(48, kind)
		_, err := c.do(ctx, req, part)
		if errors.Is(err, ErrInterrupt) {
			select {
			case <-time.After(retryMost):
			case <-c.done:
				return c.Err()
			}
			goto again
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Members returns the members of a group as this node knows them.
func (c *CPG) Members(ctx context.Context, group string) ([]Process, error) {
	req, err := groupRequest(cpgMembers, group, 152)
	if err != nil {
		return nil, err
	}
	r, err := c.do(ctx, req)
	if err != nil {
		return nil, wrap(err, "ask for the members of group "+group)
	}
	moved := r.addresses(32, r.u32(24))
	out := make([]Process, len(moved))
	for i, m := range moved {
		out[i] = m.Process
	}
	return out, r.err("members of a group")
}

// GroupMember is a member of any group.
type GroupMember struct {
	Group string
	Process
}

// Groups lists the members of all groups of the cluster.
func (c *CPG) Groups(ctx context.Context) (all []GroupMember, err error) {
	req := newRequest(cpgIterInit, 160, 0)
	req.u32(152, 3)
	r, err := c.do(ctx, req)
	if err != nil {
		return nil, wrap(err, "list groups")
	}
	handle := r.u64(24)
	if err := r.err("list of groups"); err != nil {
		return nil, err
	}
	defer func() {
		end := newRequest(cpgIterEnd, 24, 0)
		end.u64(16, handle)
		if _, eerr := c.do(ctx, end); err == nil {
			err = wrap(eerr, "end list of groups")
		}
	}()
	next := newRequest(cpgIterNext, 24, 0)
	next.u64(16, handle)
	for {
		r, err := c.do(ctx, next)
		if errors.Is(err, ErrNoSections) {
			return all, nil
		}
		if err != nil {
			return nil, wrap(err, "list groups")
		}
		m := GroupMember{r.counted32(24), Process{r.u32(160), r.u32(164)}}
		if err := r.err("list of groups"); err != nil {
			return nil, err
		}
		all = append(all, m)
	}
}

// LocalNode returns the id of this node.
func (c *CPG) LocalNode(ctx context.Context) (uint32, error) {
	r, err := c.do(ctx, newRequest(cpgLocal, 16, 0))
	if err != nil {
		return 0, wrap(err, "ask for the local node id")
	}
	id := r.u32(24)
	return id, r.err("local node id")
}

// Finalize says good-bye; Close follows.
func (c *CPG) Finalize(ctx context.Context) error {
	_, err := c.do(ctx, newRequest(cpgFinalize, 16, 0))
	return wrap(err, "finalize cpg")
}

// Next waits for the next event of the group.
func (c *CPG) Next(ctx context.Context) (CPGEvent, error) {
	for {
		b, err := c.next(ctx)
		if err != nil {
			return nil, err
		}
		ev, err := c.decode(b)
		if err != nil {
			c.fail(err)
			return nil, err
		}
		if ev != nil {
			return ev, nil
		}
	}
}

// addresses reads n entries of uint32 nodeid @0, uint32 pid @8, uint32
// reason @16.
func (r *reply) addresses(off int, n uint32) []Moved {
	if n > cpgMaxNodes || uint64(n)*cpgAddress > uint64(len(r.b)) {
		r.short = true
		return nil
	}
	if n == 0 {
		return nil
	}
	out := make([]Moved, n)
	for i := range out {
		at := off + i*cpgAddress
		out[i] = Moved{Process{r.u32(at), r.u32(at + 8)}, Reason(r.u32(at + 16))}
	}
	return out
}

// decode turns a message of the daemon into an event, or into nil if it is
// unknown or one of several parts.
func (c *CPG) decode(b []byte) (CPGEvent, error) {
	id, _, err := header(b)
	if err != nil {
		return nil, err
	}
	r := reply{b: b}
	switch id {
	case cpgConfChgEvent:
		ev := ConfChg{Group: r.counted32(24)}
		members, joined, left := r.u32(160), r.u32(168), r.u32(176)
		// The counts come as members, joined, left; the lists as members,
		// left, joined.
		for _, m := range r.addresses(184, members) {
			ev.Members = append(ev.Members, m.Process)
		}
		at := 184 + int(min(members, cpgMaxNodes))*cpgAddress
		ev.Left = r.addresses(at, left)
		at += int(min(left, cpgMaxNodes)) * cpgAddress
		ev.Joined = r.addresses(at, joined)
		if err := r.err("change of a group"); err != nil {
			return nil, err
		}
		for _, m := range ev.Left {
			c.forget(m.Process)
		}
		return ev, nil
	case cpgDeliverEvent:
		ev := Message{Group: r.counted32(24), From: Process{r.u32(168), r.u32(176)}}
		n := r.u32(160)
		if n > fullMessages {
			return nil, fmt.Errorf("decode group message of %d bytes: %w", n, ErrProtocol)
		}
		ev.Payload = r.bytes(184, int(n))
		return ev, r.err("group message")
	case cpgTotemEvent:
		ev := Ring{ID: r.ringID(24), Members: r.nodes(44, r.u32(40))}
		return ev, r.err("ring change")
	case cpgPartialEvent:
		group, from := r.counted32(24), Process{r.u32(176), r.u32(184)}
		total, n, kind := r.u32(160), r.u32(168), r.u32(192)
		if n > fullMessages {
			return nil, fmt.Errorf("decode fragment of %d bytes: %w", n, ErrProtocol)
		}
		frag := r.bytes(200, int(n))
		if err := r.err("fragment"); err != nil {
			return nil, err
		}
		if full := c.assemble(from, total, kind, frag); full != nil {
			return Message{Group: group, From: from, Payload: full}, nil
		}
	}
	return nil, nil
}

// forget drops the unfinished message of a sender.
func (c *CPG) forget(p Process) {
	for i := range c.parts {
		if c.parts[i].from == p {
			c.parts = append(c.parts[:i], c.parts[i+1:]...)
			return
		}
	}
}

// assemble adds a fragment and returns the message if it is complete. Memory
// grows with what has come, not with what was announced. A message that does
// not fit together is dropped as a whole, as all members do.
func (c *CPG) assemble(from Process, total, kind uint32, frag []byte) []byte {
	if kind == cpgFirst {
		c.forget(from)
		c.parts = append(c.parts, partial{from: from, total: total, drop: total > MaxMessage})
	}
	for i := range c.parts {
		p := &c.parts[i]
		if p.from != from {
			continue
		}
		if p.total != total || uint64(len(p.buf))+uint64(len(frag)) > uint64(total) {
			p.drop, p.buf = true, nil
		}
		if !p.drop {
			p.buf = append(p.buf, frag...)
		}
		if kind != cpgLast {
			return nil
		}
		full, complete := p.buf, !p.drop && uint32(len(p.buf)) == p.total
		c.forget(from)
		if complete {
			return full
		}
		return nil
	}
	return nil // the first part was before our time
}
