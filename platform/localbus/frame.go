//go:build linux

package localbus

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// ErrProtocol: something came over the socket that no localbus sends.
var ErrProtocol = errors.New("not the protocol of the local engine")

// A frame on the socket: uint32 length of the head @0, uint32 length of the
// body @4, both big-endian, then the head as JSON and the body as it is.
const (
	frameLengths = 8
	// maxHead is room for the members of a group with hundreds of processes.
	maxHead = 1 << 20
)

// head says what a frame is. Kind decides which fields count.
type head struct {
	Kind    string   `json:"kind"`
	Version int      `json:"version,omitempty"`
	Group   string   `json:"group,omitempty"`
	From    Member   `json:"from,omitzero"`
	Node    Node     `json:"node,omitzero"`
	Ring    RingID   `json:"ring,omitzero"`
	Nodes   []Node   `json:"nodes,omitempty"`
	Members []Member `json:"members,omitempty"`
	Joined  []Change `json:"joined,omitempty"`
	Left    []Change `json:"left,omitempty"`
	Seq     uint64   `json:"seq,omitempty"`
	Merge   bool     `json:"merge,omitempty"`
	Observe bool     `json:"observe,omitempty"`
	Target  uint32   `json:"target,omitempty"`
	Error   string   `json:"error,omitempty"`
	// Lock is the inode of the hub's lock file, TokenMS its token in ms.
	Lock    uint64 `json:"lock,omitempty"`
	TokenMS int64  `json:"token,omitempty"`
	// ID ties an answer to its question. Op is what is wanted of a quorum
	// device; Devices are all that the sender knows, or the one that is meant.
	ID      uint64   `json:"id,omitempty"`
	Op      string   `json:"op,omitempty"`
	Devices []Device `json:"devices,omitempty"`
}

// Kinds of frames.
const (
	kindHello   = "hello"   // client: who it is, the newest ring and the device it knows
	kindWelcome = "welcome" // hub: the ring of the moment
	kindJoin    = "join"    // client
	kindLeave   = "leave"   // client
	kindSend    = "send"    // client
	kindBye     = "bye"     // client: it closes in order
	kindKill    = "kill"    // client: end a node
	kindDevice  = "device"  // client: about the quorum device of its node
	kindAnswer  = "answer"  // hub: to kill and device
	kindDevices = "devices" // hub: of all nodes
	kindKilled  = "killed"  // hub: this client is ended
	kindRing    = "ring"    // hub
	kindView    = "view"    // hub
	kindMessage = "message" // hub
	kindPing    = "ping"    // hub: it is alive
	kindPong    = "pong"    // client: so is it

	protocolVersion = 3
)

// writeFrame writes one frame.
func writeFrame(w io.Writer, h head, body []byte) error {
	b, err := json.Marshal(h)
	if err != nil {
		return err
	}
	out := make([]byte, frameLengths, frameLengths+len(b))
	binary.BigEndian.PutUint32(out, uint32(len(b)))
	binary.BigEndian.PutUint32(out[4:], uint32(len(body)))
	if _, err := w.Write(append(out, b...)); err != nil {
		return err
	}
	if len(body) > 0 {
		_, err = w.Write(body)
	}
	return err
}

// readFrame reads one frame. Memory grows with what comes, not with what the
// lengths announce.
func readFrame(r io.Reader) (h head, body []byte, err error) {
	var lengths [frameLengths]byte
	if _, err := io.ReadFull(r, lengths[:]); err != nil {
		return h, nil, err
	}
	n, m := binary.BigEndian.Uint32(lengths[:]), binary.BigEndian.Uint32(lengths[4:])
	if n > maxHead || m > MaxMessage {
		return h, nil, fmt.Errorf("frame of %d and %d bytes: %w", n, m, ErrProtocol)
	}
	b, err := readBytes(r, int(n))
	if err != nil {
		return h, nil, err
	}
	if err := json.Unmarshal(b, &h); err != nil {
		return h, nil, fmt.Errorf("%w (%v)", ErrProtocol, err)
	}
	body, err = readBytes(r, int(m))
	return h, body, err
}

// readBytes reads exactly n bytes.
func readBytes(r io.Reader, n int) ([]byte, error) {
	const most = 1 << 20
	if n <= most {
		b := make([]byte, n)
		_, err := io.ReadFull(r, b)
		return b, err
	}
	var buf bytes.Buffer
	got, err := io.CopyN(&buf, r, int64(n))
	if err == nil && got < int64(n) || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return buf.Bytes(), err
}
