// Package quorumdisk is the quorum disk of the cluster suite: its format on
// disk, byte for byte that of mkqdisk and qdiskd of releases 3.0.12 to 3.2, and
// the core that decides who is master, who is evicted and whose votes count
// (qdisk(5), qdiskd(8), mkqdisk(8)).
//
// A disk has one header and sixteen status blocks, one per node id. Every block
// is one logical sector: an envelope in little-endian order, then a payload
// whose integers are big-endian but for one field. Encoders write zeros where
// the originals left what was in memory; nothing compares those bytes, but
// checksums cover them.
//
// The package does no input or output of its own: disks are handed in as a
// Disk. Package platform/blockdev has the real ones.
package quorumdisk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

const (
	// MaxNodes is how many slots a disk has; node ids are 1 to MaxNodes.
	MaxNodes = 16
	// MaxLabel is the most characters of a label. mkqdisk(8) says 127, but the
	// field has room for these and a NUL.
	MaxLabel = 118

	// slotSize is the distance of two blocks with sectors up to that size.
	slotSize = 4096
	// endSlot is the slot at whose start the device must not end before.
	endSlot = 18
	// maxSector is the largest sector that is accepted, ours: no disk has more.
	maxSector = 65536
)

// The envelope, at the start of every block. All integers are little-endian.
//
//	offset size field
//	0      4    magic
//	4      4    CRC of these 32 bytes with this field zero
//	8      4    CRC of the payload
//	12     4    length of the payload
//	16     8    view, always 0
//	24     8    time of the write, Unix seconds
//
// The CRC is that of zlib (crc32.IEEE).
const (
	envelopeMagic = 0x00DEBB1E
	envelopeSize  = 32
)

// The payload of the header block. All integers are big-endian.
//
//	offset size field
//	0      4    magic
//	4      4    version
//	8      8    time of creation, Unix seconds
//	16     128  host, NUL terminated
//	144    120  label, NUL terminated
//	264    4    sector size at creation, version 2 only
//	268    4    0; readers keep their own sector size there
const (
	headerMagic    = 0xEB7A62C2
	headerMagicOld = 0x39119FCD // Red Hat Cluster Manager 1.2
	headerVersion2 = 0x389FABC4
	headerSize     = 272
	hostSize       = 128
	labelSize      = 120
)

// The payload of a status block. Integers are big-endian but the incarnation,
// which the original wrote as its machine had it: little-endian.
//
//	offset size field
//	0      4    magic
//	4      4    node that wrote the block
//	8      8    time of the write, Unix seconds: the heartbeat
//	16     4    node that the block is of
//	20     4    0
//	24     1    state
//	25     1    0
//	26     2    flags, always 0
//	28     2    score, always 0
//	30     2    highest score, always 0
//	32     4+4  average time of a write: seconds, microseconds
//	40     4+4  time of a write before the last one
//	48     8    incarnation (little-endian)
//	56     2    message
//	58     2    its sequence
//	60     4    its argument
//	64     8    nodes that this one sees: bit id-1
//	72     8    nodes of the master's part of the cluster
const (
	statusMagic    = 0x47BACEF8
	statusMagicOld = 0xF1840DCE
	statusSize     = 80
)

// The faults of a block, as errors of Decode functions.
var (
	// ErrShort: less than an envelope, or a payload that ends too early.
	ErrShort = errors.New("block is too short")
	// ErrHeaderCRC: the envelope's checksum is wrong: not a block, or torn.
	ErrHeaderCRC = errors.New("checksum of the block's header is wrong")
	// ErrMagic: the envelope is whole, but not one of a quorum disk.
	ErrMagic = errors.New("wrong magic number")
	// ErrDataCRC: the payload's checksum is wrong.
	ErrDataCRC = errors.New("checksum of the block's data is wrong")
	// ErrOldDisk: a disk of Red Hat Cluster Manager 1.2.
	ErrOldDisk = errors.New("disk of Red Hat Cluster Manager 1.2")
	// ErrZeroCRC: a checksum came out as 0, which the format does not allow.
	ErrZeroCRC = errors.New("checksum is 0")
	// ErrLabel: a label with a NUL or of more than MaxLabel bytes.
	ErrLabel = errors.New("label is too long or has a NUL")
)

// Offset is where the block of a node starts, in bytes; node 0 is the disk's
// header.
func Offset(node, sector int) int64 { return int64(max(slotSize, sector)) * int64(node) }

// MinSize is the least size of a disk in bytes.
func MinSize(sector int) int64 { return Offset(endSlot, sector) }

// Header is the disk's header.
type Header struct {
	// Created is when, in Unix seconds.
	Created uint64
	Host    string
	Label   string
	// Version2 says that SectorSize is recorded.
	Version2   bool
	SectorSize uint32
}

// State is what a node says of itself, or the master of it.
type State uint8

// States of qdiskd.
const (
	StateNone         State = 0 // stopped, or its score is too low
	StateEvicted      State = 1
	StateInitializing State = 2
	StateRunning      State = 5
	StateMaster       State = 6
	StateExiting      State = 7 // a master that waits for the next one; 3.2 only
)

// String is the state as mkqdisk prints it.
func (s State) String() string {
	switch s {
	case StateNone:
		return "None"
	case StateEvicted:
		return "Evicted"
	case StateInitializing:
		return "Initializing"
	case StateRunning:
		return "Running"
	case StateMaster:
		return "Master"
	}
	return "ILLEGAL"
}

// Message is what a node says in an election.
type Message uint16

// Messages of qdiskd. A node never sends MessageNack or MessageMask.
const (
	MessageNone Message = 0
	MessageBid  Message = 1
	MessageAck  Message = 2
	MessageNack Message = 3
	MessageMask Message = 4
)

func (m Message) String() string {
	switch m {
	case MessageNone:
		return "none"
	case MessageBid:
		return "bid"
	case MessageAck:
		return "ack"
	case MessageNack:
		return "nack"
	case MessageMask:
		return "mask"
	}
	return fmt.Sprintf("message %d", uint16(m))
}

// Mask is a set of nodes: bit id-1.
type Mask uint64

// MaskOf is the set of these ids. Others than 1 to 64 are left out.
func MaskOf(ids ...int) (m Mask) {
	for _, id := range ids {
		m = m.With(id)
	}
	return m
}

// Has reports whether the node is in the set.
func (m Mask) Has(id int) bool { return id >= 1 && id <= 64 && m&(1<<(id-1)) != 0 }

// With is the set and the node.
func (m Mask) With(id int) Mask {
	if id < 1 || id > 64 {
		return m
	}
	return m | 1<<(id-1)
}

// Without is the set without the node.
func (m Mask) Without(id int) Mask { return m &^ MaskOf(id) }

// IDs are the nodes of the set, sorted.
func (m Mask) IDs() []int {
	ids := []int{}
	for id := 1; id <= 64; id++ {
		if m.Has(id) {
			ids = append(ids, id)
		}
	}
	return ids
}

// Elapsed is a time span as it lies on the disk.
type Elapsed struct{ Seconds, Micros uint32 }

// Status is a node's status block.
type Status struct {
	// Updater is the node that wrote it: another one than Node only for an
	// eviction, 0 for mkqdisk.
	Updater uint32
	// Timestamp is the heartbeat: it counts that it changes, not what it says.
	Timestamp       uint64 // Unix seconds
	Node            uint32
	State           State
	Flags           uint16
	Score, MaxScore uint16
	AverageWrite    Elapsed
	LastWrite       Elapsed
	// Incarnation is made by Incarnation; it tells apart two lives of a node.
	Incarnation uint64
	Message     Message
	Sequence    uint16
	Argument    uint32
	Online      Mask
	// MasterMask is the part of the cluster whose nodes may vote; from a master only.
	MasterMask Mask
}

// Incarnation is the token of a daemon that started at a time, in Unix seconds.
func Incarnation(start int64) uint64 { return uint64(uint32(start))<<32 | uint64(uint32(start)) }

// EncodeHeader returns the header block: one sector. now is the time of the
// write in Unix seconds.
func EncodeHeader(h Header, sector int, now uint64) ([]byte, error) {
	if len(h.Label) > MaxLabel || bytes.IndexByte([]byte(h.Label), 0) >= 0 {
		return nil, fmt.Errorf("label of %d bytes: %w", len(h.Label), ErrLabel)
	}
	if err := checkSector(sector); err != nil {
		return nil, err
	}
	b := make([]byte, sector)
	p := b[envelopeSize:]
	binary.BigEndian.PutUint32(p[0:], headerMagic)
	binary.BigEndian.PutUint64(p[8:], h.Created)
	copy(p[16:16+hostSize-1], h.Host) // the last byte stays NUL
	copy(p[144:144+labelSize-1], h.Label)
	if h.Version2 {
		binary.BigEndian.PutUint32(p[4:], headerVersion2)
		binary.BigEndian.PutUint32(p[264:], h.SectorSize)
	}
	return b, seal(b, headerSize, now)
}

// EncodeStatus returns a status block: one sector.
func EncodeStatus(s Status, sector int) ([]byte, error) {
	if err := checkSector(sector); err != nil {
		return nil, err
	}
	b := make([]byte, sector)
	p := b[envelopeSize:]
	binary.BigEndian.PutUint32(p[0:], statusMagic)
	binary.BigEndian.PutUint32(p[4:], s.Updater)
	binary.BigEndian.PutUint64(p[8:], s.Timestamp)
	binary.BigEndian.PutUint32(p[16:], s.Node)
	p[24] = byte(s.State)
	binary.BigEndian.PutUint16(p[26:], s.Flags)
	binary.BigEndian.PutUint16(p[28:], s.Score)
	binary.BigEndian.PutUint16(p[30:], s.MaxScore)
	binary.BigEndian.PutUint32(p[32:], s.AverageWrite.Seconds)
	binary.BigEndian.PutUint32(p[36:], s.AverageWrite.Micros)
	binary.BigEndian.PutUint32(p[40:], s.LastWrite.Seconds)
	binary.BigEndian.PutUint32(p[44:], s.LastWrite.Micros)
	binary.LittleEndian.PutUint64(p[48:], s.Incarnation)
	binary.BigEndian.PutUint16(p[56:], uint16(s.Message))
	binary.BigEndian.PutUint16(p[58:], s.Sequence)
	binary.BigEndian.PutUint32(p[60:], s.Argument)
	// A mask is an array of bytes on the disk, the lowest ids first.
	binary.LittleEndian.PutUint64(p[64:], uint64(s.Online))
	binary.LittleEndian.PutUint64(p[72:], uint64(s.MasterMask))
	return b, seal(b, statusSize, s.Timestamp)
}

func checkSector(sector int) error {
	if sector < envelopeSize+headerSize || sector > maxSector {
		return fmt.Errorf("sector of %d bytes: %w", sector, ErrShort)
	}
	return nil
}

// seal writes the envelope of a block whose payload is in place.
func seal(b []byte, length int, now uint64) error {
	data := crc32.ChecksumIEEE(b[envelopeSize : envelopeSize+length])
	binary.LittleEndian.PutUint32(b[0:], envelopeMagic)
	binary.LittleEndian.PutUint32(b[4:], 0)
	binary.LittleEndian.PutUint32(b[8:], data)
	binary.LittleEndian.PutUint32(b[12:], uint32(length))
	binary.LittleEndian.PutUint64(b[16:], 0)
	binary.LittleEndian.PutUint64(b[24:], now)
	head := crc32.ChecksumIEEE(b[:envelopeSize])
	binary.LittleEndian.PutUint32(b[4:], head)
	if data == 0 || head == 0 {
		return ErrZeroCRC
	}
	return nil
}

// mismatch is a value that is not what it has to be.
type mismatch struct {
	err       error
	want, got uint32
}

func (m *mismatch) Error() string {
	return fmt.Sprintf("%v: 0x%08x, not 0x%08x", m.err, m.got, m.want)
}

func (m *mismatch) Unwrap() error { return m.err }

// open checks a block and returns its payload, in which bytes that the block
// does not have are zero. payload is how many are wanted.
func open(b []byte, payload int) ([]byte, error) {
	if len(b) < envelopeSize {
		return nil, fmt.Errorf("%w: %d bytes, the envelope has %d", ErrShort, len(b), envelopeSize)
	}
	var head [envelopeSize]byte
	copy(head[:], b)
	want := binary.LittleEndian.Uint32(head[4:])
	clear(head[4:8])
	if got := crc32.ChecksumIEEE(head[:]); got != want {
		return nil, &mismatch{ErrHeaderCRC, want, got}
	}
	if got := binary.LittleEndian.Uint32(b); got != envelopeMagic {
		return nil, &mismatch{ErrMagic, envelopeMagic, got}
	}
	length := uint64(binary.LittleEndian.Uint32(b[12:]))
	data := b[envelopeSize:]
	// Like the original, a length beyond the block is not checked but cut.
	if length <= uint64(len(data)) {
		data = data[:length]
		want := binary.LittleEndian.Uint32(b[8:])
		if got := crc32.ChecksumIEEE(data); got != want {
			return nil, &mismatch{ErrDataCRC, want, got}
		}
	}
	out := make([]byte, payload)
	copy(out, data)
	return out, nil
}

// DecodeHeader reads a header block.
func DecodeHeader(b []byte) (Header, error) {
	p, err := open(b, headerSize)
	if err != nil {
		return Header{}, err
	}
	switch got := binary.BigEndian.Uint32(p); got {
	case headerMagic:
	case headerMagicOld:
		return Header{}, ErrOldDisk
	default:
		return Header{}, &mismatch{ErrMagic, headerMagic, got}
	}
	h := Header{
		Created: binary.BigEndian.Uint64(p[8:]), Host: text(p[16 : 16+hostSize]), Label: text(p[144 : 144+labelSize]),
		Version2: binary.BigEndian.Uint32(p[4:]) == headerVersion2,
	}
	if h.Version2 {
		h.SectorSize = binary.BigEndian.Uint32(p[264:])
	}
	return h, nil
}

// text is what stands before the first NUL.
func text(b []byte) string {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
}

// DecodeStatus reads a status block. Like the original it accepts any magic
// number in the payload: that of Red Hat Cluster Manager differs.
func DecodeStatus(b []byte) (Status, error) {
	p, err := open(b, statusSize)
	if err != nil {
		return Status{}, err
	}
	return Status{
		Updater: binary.BigEndian.Uint32(p[4:]), Timestamp: binary.BigEndian.Uint64(p[8:]), Node: binary.BigEndian.Uint32(p[16:]),
		State: State(p[24]), Flags: binary.BigEndian.Uint16(p[26:]), Score: binary.BigEndian.Uint16(p[28:]), MaxScore: binary.BigEndian.Uint16(p[30:]),
		AverageWrite: Elapsed{binary.BigEndian.Uint32(p[32:]), binary.BigEndian.Uint32(p[36:])},
		LastWrite:    Elapsed{binary.BigEndian.Uint32(p[40:]), binary.BigEndian.Uint32(p[44:])},
		Incarnation:  binary.LittleEndian.Uint64(p[48:]),
		Message:      Message(binary.BigEndian.Uint16(p[56:])), Sequence: binary.BigEndian.Uint16(p[58:]), Argument: binary.BigEndian.Uint32(p[60:]),
		Online: Mask(binary.LittleEndian.Uint64(p[64:])), MasterMask: Mask(binary.LittleEndian.Uint64(p[72:])),
	}, nil
}
