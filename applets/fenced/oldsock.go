//go:build linux

package fenced

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"time"

	"github.com/haobox/haobox/internal/cluster"
	"github.com/haobox/haobox/internal/fencing"
	"github.com/haobox/haobox/platform/host"
	"github.com/haobox/haobox/platform/transport"
)

// The sockets of the original, in the abstract name space, for old tools on the
// same machine. The address has the NUL after the name: fence_tool(8). A header
// of 32 bytes in host order goes before what else there is:
//
//	0  4  magic      8  4  command   16  4  total length   24  8  not used
//	4  4  version   12  4  option    20  4  data, signed
const (
	oldCommands = "fenced_sock"
	oldQueries  = "fenced_query_sock"
	oldHeader   = 32
	oldMagic    = 0x0FE11CED
	oldVersion  = 0x00010001 // the upper half must match

	oldJoin        = 1
	oldLeave       = 2
	oldDump        = 3
	oldExternal    = 4
	oldNodeInfo    = 5
	oldDomainInfo  = 6
	oldDomainNodes = 7

	// optionAll is the option of oldDomainNodes that asks for all nodes.
	optionAll = 1
	// oldName is the length of the name that comes with oldExternal.
	oldName = 256
	// oldGroupMode is that of a cluster without groupd.
	oldGroupMode = 3
	// oldLimit bounds a request: ours.
	oldLimit = 10 * time.Second

	enoent = 2 // ENOENT: the domain is not joined
	e2big  = 7
)

// errOldRequest: not a request of the old tools.
var errOldRequest = errors.New("not a request of fence_tool")

// oldRequest is a header.
type oldRequest struct {
	command, option uint32
	length          uint32
	data            int32
}

// decodeOld reads a header. Its length field counts the header, too.
func decodeOld(b []byte) (oldRequest, error) {
	order := binary.NativeEndian
	if len(b) != oldHeader || order.Uint32(b) != oldMagic || order.Uint32(b[4:])>>16 != oldVersion>>16 {
		return oldRequest{}, errOldRequest
	}
	r := oldRequest{command: order.Uint32(b[8:]), option: order.Uint32(b[12:]), length: order.Uint32(b[16:]), data: int32(order.Uint32(b[20:]))}
	if r.length > oldHeader+oldName {
		return oldRequest{}, errOldRequest
	}
	return r, nil
}

// reply is the answer to r with a body.
func (r oldRequest) reply(data int32, body []byte) []byte {
	order := binary.NativeEndian
	b := make([]byte, oldHeader, oldHeader+len(body))
	order.PutUint32(b, oldMagic)
	order.PutUint32(b[4:], oldVersion)
	order.PutUint32(b[8:], r.command)
	order.PutUint32(b[12:], r.option)
	order.PutUint32(b[16:], uint32(oldHeader+len(body)))
	order.PutUint32(b[20:], uint32(data))
	return append(b, body...)
}

// serveOld answers at the old sockets, unless /run is relocated: their names are
// there once on a machine (in a network namespace, to be precise).
func (s *shell) serveOld() {
	if s.d.Env.Getenv(host.RunVariable) != "" || s.d.Env.Getenv(host.RootVariable) != "" {
		return
	}
	for _, name := range []string{oldCommands, oldQueries} {
		l, err := new(net.ListenConfig).Listen(s.ctx, "unix", "@"+name+"\x00")
		if err != nil {
			s.d.Warnf("no old socket %s: %v", name, err)
			continue
		}
		context.AfterFunc(s.ctx, func() { l.Close() })
		go s.acceptOld(transport.OwnerOnly(l), name == oldQueries)
	}
}

func (s *shell) acceptOld(l net.Listener, queries bool) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(oldLimit))
			s.answerOld(conn, queries)
		}()
	}
}

// answerOld takes one request; commands get no reply.
func (s *shell) answerOld(conn io.ReadWriter, queries bool) {
	head := make([]byte, oldHeader)
	if _, err := io.ReadFull(conn, head); err != nil {
		return
	}
	r, err := decodeOld(head)
	if err != nil {
		s.d.Debugf("old socket: %v", err)
		return
	}
	if !queries {
		s.oldCommand(r, conn)
		return
	}
	var out []byte
	if s.d.Loop.Do(s.ctx, func() { out = s.oldQuery(r) }) == nil {
		conn.Write(out)
	}
}

func (s *shell) oldCommand(r oldRequest, conn io.Reader) {
	switch r.command {
	case oldJoin:
		_ = s.d.Loop.Do(s.ctx, func() { s.step(fencing.Join{}) })
	case oldLeave:
		if !busy(s.ctx, s.d) {
			_ = s.d.Loop.Do(s.ctx, func() { s.step(fencing.Leave{}) })
		}
	case oldExternal:
		b := make([]byte, oldName)
		n, err := io.ReadFull(conn, b)
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			return
		}
		name, _, _ := strings.Cut(string(b[:n]), "\x00")
		_ = s.d.Loop.Do(s.ctx, func() {
			for _, v := range s.core.Nodes() {
				if v.Name == name {
					s.step(fencing.External{Node: v.ID, Ring: v.Ring})
				}
			}
		})
	}
}

// oldQuery is the answer to a query, in the loop.
func (s *shell) oldQuery(r oldRequest) []byte {
	in := s.core.Info()
	if r.command == oldDump {
		return r.reply(0, s.d.Dump())
	}
	if !in.Joined {
		return r.reply(-enoent, nil)
	}
	order := binary.NativeEndian
	switch r.command {
	case oldNodeInfo:
		id := cluster.NodeID(r.data)
		if id == 0 {
			id = s.self.ID
		}
		for _, n := range in.Nodes {
			if n.ID == id {
				return r.reply(0, oldNode(n))
			}
		}
		return r.reply(-enoent, nil)
	case oldDomainInfo:
		var b []byte
		for _, v := range []int{oldGroupMode, len(in.Members), len(in.Victims), int(in.Master), int(in.VictimNow), int(in.Wait)} {
			b = order.AppendUint32(b, uint32(int32(v)))
		}
		return r.reply(0, b)
	case oldDomainNodes:
		var b []byte
		count := int32(0)
		for _, n := range in.Nodes {
			if !n.Member && r.option != optionAll {
				continue
			}
			if count == r.data {
				return r.reply(-e2big, b)
			}
			count, b = count+1, append(b, oldNode(n)...)
		}
		return r.reply(count, b)
	}
	return r.reply(-enoent, nil)
}

// oldNode is a record of 32 bytes: id, member, victim, last master, last how,
// padding, and the time in seconds since 1970.
func oldNode(n fencing.NodeInfo) []byte {
	order := binary.NativeEndian
	bit := map[bool]uint32{true: 1}
	b := order.AppendUint32(nil, uint32(n.ID))
	b = order.AppendUint32(b, bit[n.Member])
	b = order.AppendUint32(b, bit[n.Victim])
	b = order.AppendUint32(b, uint32(n.LastMaster))
	b = order.AppendUint32(b, uint32(n.LastHow))
	b = order.AppendUint32(b, 0)
	when := uint64(0)
	if !n.LastTime.IsZero() {
		when = uint64(n.LastTime.Unix())
	}
	return order.AppendUint64(b, when)
}
