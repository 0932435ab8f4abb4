//go:build linux

package corosync

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
)

// Cfg is a connection to the daemon's configuration and control service.
type Cfg struct{ *Conn }

// Requests and events of service cfg (ipc_cfg.h).
const (
	cfgRingStatus    = 0
	cfgKill          = 2
	cfgTryShutdown   = 3
	cfgReplyShutdown = 4
	cfgAddresses     = 5
	cfgLocal         = 6
	cfgReload        = 7
	cfgReopenLogs    = 8
	cfgNodeStatus    = 9
	cfgTrackStart    = 10
	cfgTrackStop     = 11
	cfgShutdownEvent = 10

	cfgMaxLinks     = 16
	cfgLinkName     = 128
	cfgLinkStatus   = 512
	cfgNodeLinks    = 8
	cfgLinkRecord   = 520
	cfgMaxReason    = 255
	cfgMaxAddresses = 16
)

// DialCfg connects to the control service.
func DialCfg(ctx context.Context, cfg Config) (*Cfg, error) {
	c, err := dial(ctx, "cfg", smallMessages, cfg)
	if err != nil {
		return nil, err
	}
	return &Cfg{c}, nil
}

// LocalNode returns the id of this node.
func (c *Cfg) LocalNode(ctx context.Context) (uint32, error) {
	r, err := c.do(ctx, newRequest(cfgLocal, 16, 0))
	if err != nil {
		return 0, wrap(err, "ask for the local node id")
	}
	id := r.u32(24)
	return id, r.err("local node id")
}

// Link is one link of the ring as the daemon describes it: its number and
// local address in Name ("0 10.77.0.1"), and one character for each node in
// the order of ids: n for this node, d for no link, ? for unknown, else a digit
// with bit 0 enabled, bit 1 connected, bit 2 dynamic.
type Link struct{ Name, Status string }

// Links returns the state of all links.
func (c *Cfg) Links(ctx context.Context) ([]Link, error) {
	r, err := c.do(ctx, newRequest(cfgRingStatus, 16, 0))
	if err != nil {
		return nil, wrap(err, "ask for the state of links")
	}
	return decodeLinks(r)
}

func decodeLinks(r reply) ([]Link, error) {
	n := r.u32(24)
	if n > cfgMaxLinks {
		return nil, fmt.Errorf("decode %d links: %w", n, ErrProtocol)
	}
	out := make([]Link, n)
	for i := range out {
		out[i].Name = r.text(32+i*cfgLinkName, cfgLinkName)
		out[i].Status = r.text(32+cfgMaxLinks*cfgLinkName+i*cfgLinkStatus, cfgLinkStatus)
	}
	return out, r.err("links")
}

// Kill makes the daemon of a member exit at once. The others notice by the
// loss of the token. It is not fencing: the node goes on running. A node that
// is not a member gives ErrNotExist.
func (c *Cfg) Kill(ctx context.Context, node uint32, reason string) error {
	req := newRequest(cfgKill, 288, 0)
	req.u32(16, node)
	reason = reason[:min(len(reason), cfgMaxReason)]
	binary.NativeEndian.PutUint16(req[24:], uint16(len(reason))) // cs_name_t is packed
	req.text(26, reason)
	_, err := c.do(ctx, req)
	return wrap(err, fmt.Sprintf("kill node %d", node))
}

// Shutdown is how an ordered stop treats the clients that track it.
type Shutdown uint32

// The kinds of an ordered stop (corosync_cfg_shutdown_flags_t of cfg.h).
const (
	ShutdownRequest    Shutdown = 0 // ask all, one no is enough to stay
	ShutdownRegardless Shutdown = 1 // ask all, but go in any case
	ShutdownImmediate  Shutdown = 2 // ask nobody
)

// TryShutdown stops the daemon of this node. The answer takes as long as the
// trackers take, at most cfg.shutdown_timeout (5 s). ErrBusy: a tracker said
// no; ErrExist: another stop is being decided.
func (c *Cfg) TryShutdown(ctx context.Context, how Shutdown) error {
	req := newRequest(cfgTryShutdown, 24, 0)
	req.u32(16, uint32(how))
	_, err := c.do(ctx, req)
	return wrap(err, "stop corosync")
}

// ReplyToShutdown answers a ShutdownEvent on the connection that got it.
func (c *Cfg) ReplyToShutdown(ctx context.Context, yes bool) error {
	req := newRequest(cfgReplyShutdown, 24, 0)
	if yes {
		req.u32(16, 1)
	}
	_, err := c.do(ctx, req)
	return wrap(err, "answer a stop of corosync")
}

// Addresses returns a node's addresses, one for each link; node 0 is this one.
func (c *Cfg) Addresses(ctx context.Context, node uint32) ([]netip.Addr, error) {
	req := newRequest(cfgAddresses, 24, 0)
	req.u32(16, node)
	r, err := c.do(ctx, req)
	if err != nil {
		return nil, wrap(err, fmt.Sprintf("ask for the addresses of node %d", node))
	}
	return decodeAddresses(r)
}

func decodeAddresses(r reply) ([]netip.Addr, error) {
	family, n := r.u32(24), r.u32(28)
	if n > cfgMaxAddresses {
		return nil, fmt.Errorf("decode %d addresses: %w", n, ErrProtocol)
	}
	out := make([]netip.Addr, 0, n)
	for i := range int(n) {
		b := r.bytes(32+16*i, 16)
		if b == nil {
			break
		}
		const inet = 2 // AF_INET; AF_INET6 is 10
		if family == inet {
			out = append(out, netip.AddrFrom4([4]byte(b)))
		} else {
			out = append(out, netip.AddrFrom16([16]byte(b)))
		}
	}
	return out, r.err("addresses")
}

// Reload makes all nodes read their configuration file again.
func (c *Cfg) Reload(ctx context.Context) error {
	_, err := c.do(ctx, newRequest(cfgReload, 16, 0))
	return wrap(err, "reload corosync's configuration")
}

// ReopenLogs makes the daemon open its log files again.
func (c *Cfg) ReopenLogs(ctx context.Context) error {
	_, err := c.do(ctx, newRequest(cfgReopenLogs, 16, 0))
	return wrap(err, "reopen corosync's logs")
}

// NodeStatus is what this node knows of the way to another.
type NodeStatus struct {
	Node              uint32
	Reachable, Remote bool
	Links             []NodeLink
}

// NodeLink is one knet link to a node; links that are not configured are left
// out.
type NodeLink struct {
	Number                      int
	Enabled, Connected, Dynamic bool
	MTU                         uint32
	Source, Destination         string
}

// Node returns the state of the links to a node.
func (c *Cfg) Node(ctx context.Context, node uint32) (NodeStatus, error) {
	req := newRequest(cfgNodeStatus, 32, 0)
	req.u32(16, node)
	req.u32(24, 1)
	r, err := c.do(ctx, req)
	if err != nil {
		return NodeStatus{}, wrap(err, fmt.Sprintf("ask for the state of node %d", node))
	}
	return decodeNodeStatus(r)
}

func decodeNodeStatus(r reply) (NodeStatus, error) {
	st := NodeStatus{Node: r.u32(28), Reachable: r.u8(32) != 0, Remote: r.u8(33) != 0}
	for i := range cfgNodeLinks {
		at := 40 + i*cfgLinkRecord
		l := NodeLink{
			Number: i, Enabled: r.u8(at) != 0, Connected: r.u8(at+1) != 0, Dynamic: r.u8(at+2) != 0,
			MTU: r.u32(at + 4), Source: r.text(at+8, 256), Destination: r.text(at+264, 256),
		}
		if l.Enabled || l.Source != "" {
			st.Links = append(st.Links, l)
		}
	}
	return st, r.err("node status")
}

// ShutdownEvent asks a tracker whether the daemon may stop. A tracker that
// does not answer in time (TimedOut) counted as a no.
type ShutdownEvent struct {
	How      Shutdown
	TimedOut bool
}

// TrackShutdown makes this connection one of those that are asked before the
// daemon stops. The questions come through Next and are answered with
// ReplyToShutdown.
func (c *Cfg) TrackShutdown(ctx context.Context) error {
	_, err := c.do(ctx, newRequest(cfgTrackStart, 24, 0))
	return wrap(err, "track stops of corosync")
}

// UntrackShutdown ends TrackShutdown.
func (c *Cfg) UntrackShutdown(ctx context.Context) error {
	_, err := c.do(ctx, newRequest(cfgTrackStop, 16, 0))
	return wrap(err, "end tracking stops of corosync")
}

// Next waits for the next question.
func (c *Cfg) Next(ctx context.Context) (ShutdownEvent, error) {
	for {
		b, err := c.next(ctx)
		if err != nil {
			return ShutdownEvent{}, err
		}
		ev, known, err := decodeShutdown(b)
		if err != nil {
			c.fail(err)
			return ev, err
		}
		if known {
			return ev, nil
		}
	}
}

func decodeShutdown(b []byte) (ev ShutdownEvent, known bool, err error) {
	id, code, err := header(b)
	if err != nil || id != cfgShutdownEvent {
		return ev, false, err
	}
	r := reply{b: b}
	ev = ShutdownEvent{How: Shutdown(r.u32(24)), TimedOut: code == ErrTimedOut}
	return ev, true, r.err("shutdown event")
}
