package rgm

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/haobox/haobox/internal/cluster"
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
// then the state. All numbers are big-endian; a text is uint16 length and
// bytes, a list uint32 length and elements, except where said otherwise.
const headerSize = 12

// writer builds a body.
type writer struct{ b []byte }

func newWriter(cmd command, now int64) *writer {
	w := &writer{b: []byte{'R', 'G', Version, byte(cmd)}}
	w.i64(now)
	return w
}

func (w *writer) u8(x uint8)   { w.b = append(w.b, x) }
func (w *writer) u16(x uint16) { w.b = binary.BigEndian.AppendUint16(w.b, x) }
func (w *writer) u32(x uint32) { w.b = binary.BigEndian.AppendUint32(w.b, x) }
func (w *writer) u64(x uint64) { w.b = binary.BigEndian.AppendUint64(w.b, x) }
func (w *writer) i64(x int64)  { w.u64(uint64(x)) }
func (w *writer) bool(x bool) {
	if x {
		w.u8(1)
	} else {
		w.u8(0)
	}
}
func (w *writer) node(x cluster.NodeID) { w.u32(uint32(x)) }
func (w *writer) text(s string) {
	s = s[:min(len(s), maxName)]
	w.u16(uint16(len(s)))
	w.b = append(w.b, s...)
}
func (w *writer) nodes(ids []cluster.NodeID) {
	w.u32(uint32(len(ids)))
	for _, id := range ids {
		w.node(id)
	}
}

// reader takes a body apart. After a fault everything it returns is zero, and
// err is set.
type reader struct {
	b   []byte
	err error
}

func (r *reader) take(n int) []byte {
	if r.err == nil && len(r.b) < n {
		r.err = fmt.Errorf("%d bytes are missing: %w", n-len(r.b), ErrMessage)
	}
	if r.err != nil {
		return nil
	}
	out := r.b[:n]
	r.b = r.b[n:]
	return out
}

func (r *reader) u8() uint8 {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) u16() uint16 {
	if b := r.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (r *reader) u32() uint32 {
	if b := r.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (r *reader) u64() uint64 {
	if b := r.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (r *reader) i64() int64           { return int64(r.u64()) }
func (r *reader) bool() bool           { return r.u8() != 0 }
func (r *reader) node() cluster.NodeID { return cluster.NodeID(r.u32()) }
func (r *reader) text() string {
	n := int(r.u16())
	if n > maxName && r.err == nil {
		r.err = fmt.Errorf("a text of %d bytes: %w", n, ErrMessage)
	}
	return string(r.take(n))
}

// count reads the length of a list whose elements have at least size bytes.
func (r *reader) count(limit, size int) int {
	n := r.u32()
	if r.err == nil && (uint64(n) > uint64(limit) || uint64(n)*uint64(size) > uint64(len(r.b))) {
		r.err = fmt.Errorf("a list of %d: %w", n, ErrMessage)
	}
	if r.err != nil {
		return 0
	}
	return int(n)
}

func (r *reader) nodes() []cluster.NodeID {
	n := r.count(maxNodes, 4)
	if n == 0 {
		return nil
	}
	out := make([]cluster.NodeID, n)
	for i := range out {
		out[i] = r.node()
	}
	return out
}

// end is the error of all that was read, also if something is left over.
func (r *reader) end() error {
	if r.err == nil && len(r.b) > 0 {
		r.err = fmt.Errorf("%d bytes too many: %w", len(r.b), ErrMessage)
	}
	return r.err
}

// open takes the header of a message off.
func open(b []byte) (cmd command, at int64, r *reader, err error) {
	if len(b) < headerSize || b[0] != 'R' || b[1] != 'G' {
		return 0, 0, nil, fmt.Errorf("%d bytes: %w", len(b), ErrMessage)
	}
	if b[2] != Version {
		return 0, 0, nil, fmt.Errorf("version %d, this is %d: %w", b[2], Version, ErrVersion)
	}
	cmd = command(b[3])
	if cmd == 0 || cmd >= cmdLast {
		return 0, 0, nil, fmt.Errorf("command %d: %w", cmd, ErrMessage)
	}
	return cmd, int64(binary.BigEndian.Uint64(b[4:])), &reader{b: b[headerSize:]}, nil
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
	w.u64(m.ring)
	w.bool(m.quorate)
	w.u32(uint32(len(m.members)))
	for _, x := range m.members {
		w.node(x.Node)
		w.u32(x.Instance)
	}
	w.u32(uint32(len(m.gone)))
	for _, x := range m.gone {
		w.node(x.Node)
		w.u32(x.Instance)
		w.u8(uint8(x.Reason))
	}
	return w.b
}

func decodeView(r *reader) (m viewMsg, err error) {
	m.ring, m.quorate = r.u64(), r.bool()
	for range r.count(maxNodes, 8) {
		m.members = append(m.members, cluster.Member{Node: r.node(), Instance: r.u32()})
	}
	for range r.count(maxNodes, 9) {
		m.gone = append(m.gone, cluster.Change{Member: cluster.Member{Node: r.node(), Instance: r.u32()}, Reason: cluster.Reason(r.u8())})
	}
	return m, r.end()
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
	w.u32(m.life)
	w.bool(m.leaving)
	w.u64(m.config)
	w.u64(m.sum)
	w.texts(m.running)
	w.texts(m.failed)
	w.texts(m.partial)
	return w.b
}

func (w *writer) texts(s []string) {
	w.u32(uint32(len(s)))
	for _, x := range s {
		w.text(x)
	}
}

func (r *reader) texts() (out []string) {
	for range r.count(maxServices, 2) {
		out = append(out, r.text())
	}
	return out
}

func decodeJoin(r *reader) (m joinMsg, err error) {
	m = joinMsg{r.u32(), r.bool(), r.u64(), r.u64(), r.texts(), r.texts(), r.texts()}
	return m, r.end()
}

type haveMsg struct{ config, sum uint64 }

func (m haveMsg) encode(now int64) []byte {
	w := newWriter(cmdHave, now)
	w.u64(m.config)
	w.u64(m.sum)
	return w.b
}

func decodeHave(r *reader) (m haveMsg, err error) {
	m = haveMsg{r.u64(), r.u64()}
	return m, r.end()
}

type safeMsg struct {
	node cluster.NodeID
	ring uint64
	left bool
}

func (m safeMsg) encode(now int64) []byte {
	w := newWriter(cmdSafe, now)
	w.node(m.node)
	w.u64(m.ring)
	w.bool(m.left)
	return w.b
}

func decodeSafe(r *reader) (m safeMsg, err error) {
	m = safeMsg{r.node(), r.u64(), r.bool()}
	return m, r.end()
}

func assumeMsg(now int64, id cluster.NodeID) []byte {
	w := newWriter(cmdAssume, now)
	w.node(id)
	return w.b
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
	w.text(m.service)
	w.u64(m.epoch)
	w.bool(m.ok)
	w.u32(uint32(m.code))
	return w.b
}

func decodeDone(r *reader) (m doneMsg, err error) {
	m = doneMsg{r.text(), r.u64(), r.bool(), int32(r.u32())}
	return m, r.end()
}

type requestMsg struct {
	id uint64
	Request
}

func (m requestMsg) encode(now int64) []byte {
	w := newWriter(cmdRequest, now)
	w.request(m)
	return w.b
}

func (w *writer) request(m requestMsg) {
	w.u64(m.id)
	w.u16(uint16(m.Kind))
	w.text(m.Service)
	w.node(m.Target)
	w.bool(m.Best)
}

func (r *reader) request() requestMsg {
	return requestMsg{r.u64(), Request{Kind(r.u16()), r.text(), r.node(), r.bool()}}
}

func decodeRequest(r *reader) (m requestMsg, err error) {
	m = r.request()
	return m, r.end()
}

func pingMsg(now int64, n uint64) []byte {
	w := newWriter(cmdPing, now)
	w.u64(n)
	return w.b
}
