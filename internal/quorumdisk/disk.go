package quorumdisk

import (
	"errors"
	"fmt"
)

// Disk is a block device as this package needs it. Offsets and lengths are
// whole sectors. Its errors name the device.
type Disk interface {
	// SectorSize is the logical sector size in bytes.
	SectorSize() int
	// ReadAt fills b from an offset; an end of the device before that is an error.
	ReadAt(b []byte, offset int64) error
	WriteAt(b []byte, offset int64) error
}

// ErrSectorSize: the disk was made with another sector size than it has now.
var ErrSectorSize = errors.New("the sector size recorded on the disk is not that of the device")

// SizeError says which sizes differ.
type SizeError struct{ Recorded, Kernel int }

func (e *SizeError) Error() string {
	return fmt.Sprintf("%v: %d, not %d", ErrSectorSize, e.Recorded, e.Kernel)
}

func (e *SizeError) Unwrap() error { return ErrSectorSize }

// Probe reads the header without any check of its sector size.
func Probe(d Disk) (Header, error) {
	b := make([]byte, d.SectorSize())
	if err := d.ReadAt(b, 0); err != nil {
		return Header{}, err
	}
	return DecodeHeader(b)
}

// Check returns a *SizeError if the header was made for another sector size.
// A header of version 1 has none recorded and fits all.
func (h Header) Check(sector int) error {
	if h.Version2 && int(h.SectorSize) != sector {
		return &SizeError{Recorded: int(h.SectorSize), Kernel: sector}
	}
	return nil
}

// WriteHeader writes the disk's header. now is in Unix seconds.
func WriteHeader(d Disk, h Header, now uint64) error {
	b, err := EncodeHeader(h, d.SectorSize(), now)
	if err != nil {
		return err
	}
	return d.WriteAt(b, 0)
}

// ReadStatus reads the block of one node.
func ReadStatus(d Disk, node int) (Status, error) {
	b := make([]byte, d.SectorSize())
	if err := d.ReadAt(b, Offset(node, len(b))); err != nil {
		return Status{}, err
	}
	return DecodeStatus(b)
}

// WriteStatus writes the block of one node.
func WriteStatus(d Disk, node int, s Status) error {
	if node < 1 || node > MaxNodes {
		return fmt.Errorf("node id %d: a quorum disk has slots for 1 to %d", node, MaxNodes)
	}
	b, err := EncodeStatus(s, d.SectorSize())
	if err != nil {
		return err
	}
	return d.WriteAt(b, Offset(node, len(b)))
}

// Blocks are the status blocks of all nodes as they were read in one cycle;
// node N is at index N-1.
type Blocks [MaxNodes]Block

// Block is one of them. With Err set the rest means nothing.
type Block struct {
	Status Status
	Err    error
}

// Node is the block of a node.
func (b *Blocks) Node(id int) *Block { return &b[id-1] }

// ReadAll reads all status blocks with one call of the disk. buf is its
// buffer, of ReadAllSize bytes; with nil a new one is used. If the one call
// fails, the blocks are read singly, so that one bad sector takes away no more
// than its node.
func ReadAll(d Disk, buf []byte) *Blocks {
	sector := d.SectorSize()
	if len(buf) < ReadAllSize(sector) {
		buf = make([]byte, ReadAllSize(sector))
	}
	buf = buf[:ReadAllSize(sector)]
	all := &Blocks{}
	whole := d.ReadAt(buf, Offset(1, sector))
	step := int(Offset(1, sector))
	for i := range all {
		b := buf[i*step : i*step+sector]
		if whole != nil {
			if all[i].Err = d.ReadAt(b, Offset(i+1, sector)); all[i].Err != nil {
				continue
			}
		}
		all[i].Status, all[i].Err = DecodeStatus(b)
	}
	return all
}

// ReadAllSize is the size of the buffer of ReadAll in bytes.
func ReadAllSize(sector int) int {
	return int(Offset(MaxNodes, sector)) - int(Offset(1, sector)) + sector
}

// Format makes a quorum disk: the header and the status blocks of all nodes,
// in state None. started is called before each block is written. now is in
// Unix seconds. The header comes first, so that a disk that was not finished
// is found and shows what is missing.
func Format(d Disk, h Header, now uint64, started func(node int)) error {
	h.Version2, h.SectorSize, h.Created = true, uint32(d.SectorSize()), now
	if err := WriteHeader(d, h, now); err != nil {
		return err
	}
	for id := 1; id <= MaxNodes; id++ {
		if started != nil {
			started(id)
		}
		if err := WriteStatus(d, id, Status{Timestamp: now, Node: uint32(id)}); err != nil {
			return &NodeError{Node: id, Err: err}
		}
	}
	return nil
}

// NodeError is a fault of a node's block.
type NodeError struct {
	Node int
	Err  error
}

func (e *NodeError) Error() string { return fmt.Sprintf("block of node %d: %v", e.Node, e.Err) }

func (e *NodeError) Unwrap() error { return e.Err }
