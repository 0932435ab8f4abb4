//go:build linux

package corosync

import (
	"encoding/binary"
	"fmt"
	"strings"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A ring is libqb's qb_ringbuffer in shared memory: a header file and a data
// file. The header:
//
//	offset width meaning
//	0      4     write_pt: index of the next word to write
//	4      4     read_pt: index of the next word to read
//	8      4     word_size: number of 32-bit words of the data
//	12     4096  path of the header file
//	4108   4096  path of the data file
//	8204   4     reference count: 2 while both sides hold the ring
//	8208   32    semaphore (glibc's sem_t, shared between processes)
//	8240   4     user word: on the request ring the daemon's flow control
//
// A chunk is a word with the payload's length in bytes, a word with a magic
// number, and the payload padded to a whole word. All in the machine's order.
const (
	ringHeaderSize = 8252
	offWritePt     = 0
	offReadPt      = 4
	offWords       = 8
	offDataPath    = 4108
	pathSize       = 4096
	offRefCount    = 8204
	offSem         = 8208
	offFlow        = 8240

	magicValid    = 0xA1A1A1A1
	magicWriting  = 0xA110CED0
	magicConsumed = 0xD0D0D0D0

	// chunkMargin is what must be free beyond the payload: the chunk's two
	// words and one more.
	chunkMargin = 12
	// maxRingWords bounds what a header may claim: 1 GiB, a thousand times
	// the usual size.
	maxRingWords = 1 << 28
)

// ring is one direction of a connection. There is one producer and one
// consumer; the caller serialises its side.
type ring struct {
	hdr  []byte
	data []byte
	// words is word_size, read once: what a broken daemon writes there later
	// has no effect.
	words uint32
}

// newRing takes mapped memory: the header at least ringHeaderSize bytes, both
// aligned to 8 bytes.
func newRing(hdr, data []byte) (ring, error) {
	if len(hdr) < ringHeaderSize {
		return ring{}, fmt.Errorf("ring header of %d bytes: %w", len(hdr), ErrProtocol)
	}
	if uintptr(unsafe.Pointer(unsafe.SliceData(hdr)))%8 != 0 || uintptr(unsafe.Pointer(unsafe.SliceData(data)))%8 != 0 {
		return ring{}, fmt.Errorf("ring at an odd address: %w", ErrProtocol)
	}
	words := binary.NativeEndian.Uint32(hdr[offWords:])
	if words < 4 || words > maxRingWords || uint64(len(data)) < uint64(words)*4 {
		return ring{}, fmt.Errorf("ring of %d words in %d bytes: %w", words, len(data), ErrProtocol)
	}
	return ring{hdr, data, words}, nil
}

// dataPath is the name of the data file that a header holds.
func dataPath(hdr []byte) (string, error) {
	if len(hdr) < ringHeaderSize {
		return "", fmt.Errorf("ring header of %d bytes: %w", len(hdr), ErrProtocol)
	}
	p, _, ok := strings.Cut(string(hdr[offDataPath:offDataPath+pathSize]), "\x00")
	if !ok || p == "" {
		return "", fmt.Errorf("ring header without the name of its data: %w", ErrProtocol)
	}
	return p, nil
}

// word is a field of the header that both sides change.
func (r *ring) word(off int) *uint32 { return (*uint32)(unsafe.Pointer(&r.hdr[off])) }

// cell is word i of the data.
func (r *ring) cell(i uint32) *uint32 { return (*uint32)(unsafe.Pointer(&r.data[int(i)*4])) }

// sem is the 64-bit word of the semaphore: its low half is the value, its high
// half the number of waiters.
func (r *ring) sem() *uint64 { return (*uint64)(unsafe.Pointer(&r.hdr[offSem])) }

// futexWord is the low half of the semaphore, on which waiters sleep.
func (r *ring) futexWord() *uint32 {
	if binary.NativeEndian.Uint16([]byte{0, 1}) == 1 {
		return r.word(offSem + 4) // big-endian: the low half comes second
	}
	return r.word(offSem)
}

// post adds one unit and wakes a waiter if there is one.
func (r *ring) post() {
	if old := atomic.AddUint64(r.sem(), 1) - 1; old>>32 != 0 {
		r.wake(1)
	}
}

// wake wakes n sleepers without giving them a unit.
func (r *ring) wake(n uintptr) {
	// The word is shared between processes: not FUTEX_PRIVATE_FLAG.
	unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(r.futexWord())), 1 /* FUTEX_WAKE */, n, 0, 0, 0)
}

// tryWait takes one unit if there is one.
func (r *ring) tryWait() bool {
	for {
		d := atomic.LoadUint64(r.sem())
		if uint32(d) == 0 {
			return false
		}
		if atomic.CompareAndSwapUint64(r.sem(), d, d-1) {
			return true
		}
	}
}

// waitSlice is the longest sleep without a look at the stop condition: a wake
// that comes just before the sleep would be lost otherwise.
const waitSlice = 100 * time.Millisecond

// wait takes one unit. It gives up, without one, when stop says so or after
// limit.
func (r *ring) wait(limit time.Duration, stop func() bool) bool {
	if r.tryWait() {
		return true
	}
	if stop() {
		return false
	}
	deadline := time.Now().Add(limit)
	// Registered as a waiter, or the daemon does not wake us.
	atomic.AddUint64(r.sem(), 1<<32)
	for {
		d := atomic.LoadUint64(r.sem())
		if uint32(d) > 0 {
			if atomic.CompareAndSwapUint64(r.sem(), d, d-1-1<<32) {
				return true
			}
			continue
		}
		left := time.Until(deadline)
		if left <= 0 || stop() {
			atomic.AddUint64(r.sem(), ^uint64(1<<32-1)) // minus 1<<32
			return false
		}
		ts := unix.NsecToTimespec(int64(min(left, waitSlice)))
		unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(r.futexWord())), 0, /* FUTEX_WAIT */
			0, uintptr(unsafe.Pointer(&ts)), 0, 0)
	}
}

// index reads write_pt or read_pt.
func (r *ring) index(off int) (uint32, error) {
	i := atomic.LoadUint32(r.word(off))
	if i >= r.words {
		return 0, fmt.Errorf("ring index %d of %d: %w", i, r.words, ErrProtocol)
	}
	return i, nil
}

// free is the number of bytes that can be written.
func (r *ring) free(w, rd uint32) int {
	switch {
	case w > rd:
		return int(r.words-(w-rd)-1) * 4
	case w < rd:
		return int(rd-w-1) * 4
	case uint32(atomic.LoadUint64(r.sem())) > 0:
		return 0
	}
	return int(r.words) * 4
}

// capacity is the largest payload that fits into an empty ring.
func (r *ring) capacity() int { return int(r.words)*4 - chunkMargin }

// next is the word after a chunk of n bytes at p.
func (r *ring) next(p uint32, n int) uint32 {
	return uint32((uint64(p) + 2 + uint64(n+3)/4) % uint64(r.words))
}

// put writes one chunk made of parts. It returns false if there is no room.
func (r *ring) put(parts ...[]byte) (bool, error) {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	w, err := r.index(offWritePt)
	if err != nil {
		return false, err
	}
	rd, err := r.index(offReadPt)
	if err != nil {
		return false, err
	}
	if n > r.capacity() {
		return false, fmt.Errorf("%d bytes into a ring of %d: %w", n, r.capacity(), ErrTooBig)
	}
	if r.free(w, rd) < n+chunkMargin {
		return false, nil
	}
	magic := r.cell((w + 1) % r.words)
	atomic.StoreUint32(r.cell(w), 0)
	atomic.StoreUint32(magic, magicWriting)
	size := int(r.words) * 4
	at := int((w+2)%r.words) * 4
	for _, p := range parts {
		for len(p) > 0 {
			k := copy(r.data[at:size], p)
			p = p[k:]
			at = (at + k) % size
		}
	}
	atomic.StoreUint32(r.cell(w), uint32(n))
	atomic.StoreUint32(r.word(offWritePt), r.next(w, n))
	atomic.StoreUint32(magic, magicValid)
	r.post()
	return true, nil
}

// take copies one chunk out, for which the caller already has a unit of the
// semaphore. Nothing is allocated before the length is checked.
func (r *ring) take() ([]byte, error) {
	rd, err := r.index(offReadPt)
	if err != nil {
		r.post()
		return nil, err
	}
	magic := r.cell((rd + 1) % r.words)
	if m := atomic.LoadUint32(magic); m != magicValid {
		r.post()
		return nil, fmt.Errorf("chunk with magic %#x: %w", m, ErrProtocol)
	}
	n := atomic.LoadUint32(r.cell(rd))
	if uint64(n) > uint64(r.capacity()) {
		r.post()
		return nil, fmt.Errorf("chunk of %d bytes in a ring of %d: %w", n, r.capacity(), ErrProtocol)
	}
	out := make([]byte, n)
	size := int(r.words) * 4
	at := int((rd+2)%r.words) * 4
	k := copy(out, r.data[at:size])
	copy(out[k:], r.data[:size])
	atomic.StoreUint32(r.cell(rd), 0)
	atomic.StoreUint32(magic, magicConsumed)
	atomic.StoreUint32(r.word(offReadPt), r.next(rd, int(n)))
	return out, nil
}
