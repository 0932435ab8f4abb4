package rgm

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/haobox/haobox/internal/cluster"
	"github.com/haobox/haobox/internal/wire"
)

// Version of the messages and of what is decided on them. Members of a group
// have the same one: decisions must be the same everywhere.
const Version = 1

var (
	// ErrVersion: a message or a state of another version.
	ErrVersion = errors.New("another version of rgmanager")
	// ErrMessage: a message that no rgmanager sends.
	ErrMessage = errors.New("not a message of rgmanager")
)

// command is a kind of message.
type command uint8

const (
	cmdView    command = iota + 1 // what a member sees of the group
	cmdJoin                       // a member is ready, and what it runs
	cmdConfig                     // a newer configuration
	cmdHave                       // a member has loaded it
	cmdSafe                       // a node is off
	cmdAssume                     // a node without rgmanager runs nothing
	cmdDone                       // a task came to its end
	cmdFail                       // a status check failed
	cmdPartial                    // non-critical parts were left stopped
	cmdChanged                    // a service has to restart for its new configuration
	cmdRequest                    // of a person
	cmdLeaving                    // a member wants to go
	cmdRetry                      // services that could not start are to be tried again
	cmdPing                       // proves that a member belongs to the cluster
	cmdLooked                     // whether a guest runs on a member
	cmdLast
)

// Limits of what is decoded. A service's name is at most restree.RGNameMax
// long in a configuration; longer ones are cut nowhere, only refused here.
const (
	maxName     = 4096
	maxServices = 1 << 16
	maxNodes    = 1 << 10
	maxQueue    = 16
	maxHistory  = 2000
)

// A message: 'R' @0, 'G' @1, uint8 version @2, uint8 command @3, int64 time in
// Unix seconds @4, then the body. A snapshot: 'R' @0, 'S' @1, uint8 version @2,
// then the state. Numbers, texts and lists are as in package wire.
const headerSize = 12

// writer builds a message.
type writer struct{ wire.Writer }

func newWriter(cmd command, now int64) *writer {
	w := &writer{wire.NewWriter([]byte{'R', 'G', Version, byte(cmd)}, maxName)}
	w.I64(now)
	return w
}

func (w *writer) nodes(ids []cluster.NodeID) {
	w.Count(len(ids))
	for _, id := range ids {
		w.Node(id)
	}
}

// reader takes a body apart.
type reader struct{ wire.Reader }

func newReader(b []byte) *reader { return &reader{wire.NewReader(b, maxName, ErrMessage)} }

func (r *reader) nodes() []cluster.NodeID {
	n := r.Count(maxNodes, 4)
	if n == 0 {
		return nil
	}
	out := make([]cluster.NodeID, n)
	for i := range out {
		out[i] = r.Node()
	}
	return out
}

// open takes the header of a message off.
func open(b []byte) (cmd command, at int64, r *reader, err error) {
	if len(b) < 3 || b[0] != 'R' || b[1] != 'G' {
		return 0, 0, nil, fmt.Errorf("%d bytes: %w", len(b), ErrMessage)
	}
	if b[2] != Version { // whose header may be another one
		return 0, 0, nil, fmt.Errorf("%w: it speaks version %d, this one %d", ErrVersion, b[2], Version)
	}
	if len(b) < headerSize {
		return 0, 0, nil, fmt.Errorf("%d bytes: %w", len(b), ErrMessage)
	}
	cmd = command(b[3])
	if cmd == 0 || cmd >= cmdLast {
		return 0, 0, nil, fmt.Errorf("command %d: %w", cmd, ErrMessage)
	}
	return cmd, int64(binary.BigEndian.Uint64(b[4:])), newReader(b[headerSize:]), nil
}

// The bodies. Each has encode and decode as a pair.

type viewMsg struct {
	ring    uint64
	quorate bool
	members []cluster.Member
	// gone says why former members are not in it.
	gone []cluster.Change
}

func (m viewMsg) encode(now int64) []byte {
	w := newWriter(cmdView, now)
	w.U64(m.ring)
	w.Bool(m.quorate)
	w.Count(len(m.members))
	for _, x := range m.members {
		w.Node(x.Node)
		w.U32(x.Instance)
	}
	w.Count(len(m.gone))
	for _, x := range m.gone {
		w.Node(x.Node)
		w.U32(x.Instance)
		w.U8(uint8(x.Reason))
	}
	return w.Bytes()
}

func decodeView(r *reader) (m viewMsg, err error) {
	m.ring, m.quorate = r.U64(), r.Bool()
	for range r.Count(maxNodes, 8) {
		m.members = append(m.members, cluster.Member{Node: r.Node(), Instance: r.U32()})
	}
	for range r.Count(maxNodes, 9) {
		m.gone = append(m.gone, cluster.Change{Member: cluster.Member{Node: r.Node(), Instance: r.U32()}, Reason: cluster.Reason(r.U8())})
	}
	return m, r.End()
}

type joinMsg struct {
	// life tells the joins of one process apart.
	life uint32
	// leaving: it only comes to say that it runs nothing any more.
	leaving bool
	config  uint64
	sum     uint64
	running []string // started, checked
	failed  []string // could not be stopped
	partial []string // of those that run, without some optional parts
}

func (m joinMsg) encode(now int64) []byte {
	w := newWriter(cmdJoin, now)
	w.U32(m.life)
	w.Bool(m.leaving)
	w.U64(m.config)
	w.U64(m.sum)
	w.texts(m.running)
	w.texts(m.failed)
	w.texts(m.partial)
	return w.Bytes()
}

func (w *writer) texts(s []string) {
	w.Count(len(s))
	for _, x := range s {
		w.Text(x)
	}
}

func (r *reader) texts() (out []string) {
	for range r.Count(maxServices, 2) {
		out = append(out, r.Text())
	}
	return out
}

func decodeJoin(r *reader) (m joinMsg, err error) {
	m = joinMsg{r.U32(), r.Bool(), r.U64(), r.U64(), r.texts(), r.texts(), r.texts()}
	return m, r.End()
}

type haveMsg struct{ config, sum uint64 }

func (m haveMsg) encode(now int64) []byte {
	w := newWriter(cmdHave, now)
	w.U64(m.config)
	w.U64(m.sum)
	return w.Bytes()
}

func decodeHave(r *reader) (m haveMsg, err error) {
	m = haveMsg{r.U64(), r.U64()}
	return m, r.End()
}

type safeMsg struct {
	node cluster.NodeID
	ring uint64
	left bool
}

func (m safeMsg) encode(now int64) []byte {
	w := newWriter(cmdSafe, now)
	w.Node(m.node)
	w.U64(m.ring)
	w.Bool(m.left)
	return w.Bytes()
}

func decodeSafe(r *reader) (m safeMsg, err error) {
	m = safeMsg{r.Node(), r.U64(), r.Bool()}
	return m, r.End()
}

func assumeMsg(now int64, id cluster.NodeID) []byte {
	w := newWriter(cmdAssume, now)
	w.Node(id)
	return w.Bytes()
}

// doneMsg is the end of a task, and with other commands something else about a
// service at an epoch.
type doneMsg struct {
	service string
	epoch   uint64
	ok      bool
	// code is the agent's status for a migration.
	code int32
}

func (m doneMsg) encode(cmd command, now int64) []byte {
	w := newWriter(cmd, now)
	w.Text(m.service)
	w.U64(m.epoch)
	w.Bool(m.ok)
	w.U32(uint32(m.code))
	return w.Bytes()
}

func decodeDone(r *reader) (m doneMsg, err error) {
	m = doneMsg{r.Text(), r.U64(), r.Bool(), int32(r.U32())}
	return m, r.End()
}

type requestMsg struct {
	id uint64
	Request
}

func (m requestMsg) encode(now int64) []byte {
	w := newWriter(cmdRequest, now)
	w.request(m)
	return w.Bytes()
}

func (w *writer) request(m requestMsg) {
	w.U64(m.id)
	w.U16(uint16(m.Kind))
	w.Text(m.Service)
	w.Node(m.Target)
	w.Bool(m.Best)
}

func (r *reader) request() requestMsg {
	return requestMsg{r.U64(), Request{Kind(r.U16()), r.Text(), r.Node(), r.Bool()}}
}

func decodeRequest(r *reader) (m requestMsg, err error) {
	m = r.request()
	return m, r.End()
}

func pingMsg(now int64, n uint64) []byte {
	w := newWriter(cmdPing, now)
	w.U64(n)
	return w.Bytes()
}
