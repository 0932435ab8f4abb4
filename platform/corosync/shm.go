//go:build linux

package corosync

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// rings is the shared-memory way: one ring for each direction.
type rings struct {
	req, resp, ev ring
	files         []string // for leftovers
	sock          *net.UnixConn
	raw           syscall.RawConn
	// nudge writes the byte that wakes the daemon, without waiting; nudged is
	// its result. Both belong to the sender, the rest to the reader.
	nudge  func(fd uintptr) bool
	nudged error
	look   func(fd uintptr) bool
	looked int
	poll   [1]unix.PollFd
	got    [512]byte
}

// ringPrefix is put before a name that is not a path (libqb 1).
const ringPrefix = "/dev/shm/qb-"

// openRings maps the files that the daemon made for this connection.
func openRings(h handshake, sock *net.UnixConn) (*rings, error) {
	raw, err := sock.SyscallConn()
	if err != nil {
		return nil, err
	}
	s := &rings{sock: sock, raw: raw}
	s.nudge = func(fd uintptr) bool {
		_, s.nudged = unix.Write(int(fd), oneByte)
		return true
	}
	s.look = func(fd uintptr) bool {
		s.looked = 0
		s.poll[0] = unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}
		if n, err := unix.Poll(s.poll[:], shortMS); err == nil && n > 0 {
			s.looked, _ = unix.Read(int(fd), s.got[:])
		}
		return true
	}
	for _, x := range []struct {
		name string
		r    *ring
	}{{h.request, &s.req}, {h.response, &s.resp}, {h.event, &s.ev}} {
		name := x.name
		if !strings.HasPrefix(name, "/") {
			name = ringPrefix + name
		}
		hdrName := name + "-header"
		s.files = append(s.files, hdrName)
		hdr, err := mapFile(hdrName, ringHeaderSize)
		if err != nil {
			s.unmap()
			return nil, err
		}
		x.r.hdr = hdr // so that unmap finds it
		dataName, err := dataPath(hdr)
		if err != nil {
			s.unmap()
			return nil, err
		}
		if !strings.HasPrefix(dataName, "/") {
			dataName = ringPrefix + dataName
		}
		s.files = append(s.files, dataName)
		words := binary.NativeEndian.Uint32(hdr[offWords:])
		data, err := mapFile(dataName, int64(min(words, maxRingWords))*4)
		if err != nil {
			s.unmap()
			return nil, err
		}
		x.r.data = data
		if *x.r, err = newRing(hdr, data); err != nil {
			x.r.hdr, x.r.data = hdr, data
			s.unmap()
			return nil, err
		}
	}
	for _, r := range []*ring{&s.req, &s.resp, &s.ev} {
		atomic.AddUint32(r.word(offRefCount), 1)
	}
	return s, nil
}

// mapFile maps a file of at least size bytes.
func mapFile(name string, size int64) ([]byte, error) {
	f, err := os.OpenFile(name, os.O_RDWR|unix.O_NOFOLLOW, 0)
	if err != nil {
		// The usual reason: another mount of /dev/shm than the daemon's.
		return nil, fmt.Errorf("open ring: %w", err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("open ring: %w", err)
	}
	if !st.Mode().IsRegular() || st.Size() < size || size <= 0 {
		return nil, fmt.Errorf("ring %s of %d bytes, want %d: %w", name, st.Size(), size, ErrProtocol)
	}
	b, err := unix.Mmap(int(f.Fd()), 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map ring %s: %w", name, err)
	}
	return b, nil
}

func (s *rings) unmap() {
	for _, r := range []*ring{&s.req, &s.resp, &s.ev} {
		for _, b := range [][]byte{r.hdr, r.data} {
			if b != nil {
				unix.Munmap(b)
			}
		}
	}
}

// oneByte is what wakes the daemon; its value has no meaning.
var oneByte = []byte{0}

func (s *rings) send(deadline time.Time, parts [][]byte) error {
	done, err := s.req.put(parts...)
	if err != nil {
		return err
	}
	if !done {
		return ErrTryAgain
	}
	// After the semaphore was posted: the daemon looks at its value when the
	// byte comes.
	err = s.raw.Write(s.nudge)
	if err == nil {
		err = s.nudged
	}
	if errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EINTR) {
		// The socket is full. A deadline costs more than the byte, so it is
		// set only here.
		s.sock.SetWriteDeadline(deadline)
		_, err = s.sock.Write(oneByte)
		s.sock.SetWriteDeadline(time.Time{})
	}
	if err != nil {
		return lost(err)
	}
	return nil
}

func (s *rings) recv(deadline time.Time, stop func() bool) ([]byte, error) {
	if !spin(s.resp.tryWait) && !s.resp.wait(time.Until(deadline), stop) {
		if stop() {
			return nil, ErrLost // or a cancelled caller, with the same effect
		}
		return nil, ErrTimeout
	}
	return s.resp.take()
}

func (s *rings) flow() uint32 { return atomic.LoadUint32(s.req.word(offFlow)) }

func (s *rings) dropped() bool { return atomic.LoadUint32(s.req.word(offRefCount)) != 2 }

// shortMS is how long a caller waits in a system call of its own, in ms: a
// message's way round the ring is shorter, and the scheduler's way of waiting
// costs as much as that. Close and a cancelled context wait for its end.
const shortMS = 1

func (s *rings) step(caller bool, put func([]byte) error) error {
	n, err := 0, error(nil)
	if caller {
		s.looked = 0
		if err = s.raw.Read(s.look); err == nil {
			n = s.looked
		}
	}
	if n <= 0 && err == nil {
		n, err = s.sock.Read(s.got[:]) // also tells the end of the connection
	}
	if n > 0 {
		// One byte for each event, but bytes may come late, when their events
		// are taken already: so take all there are.
		for s.ev.tryWait() {
			ev, terr := s.ev.take()
			if terr == nil {
				terr = put(ev)
			}
			if terr != nil {
				return terr
			}
		}
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		return err
	}
	return ended(err)
}

// ended is why the socket of a connection gives no more.
func ended(err error) error {
	if errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, io.EOF) {
		return ErrLost
	}
	return lost(err)
}

func (s *rings) wake() { s.resp.wake(1 << 30) }

func (s *rings) leftovers() {
	for i := 0; i+1 < len(s.files); i += 2 {
		removeChannel(s.files[i], s.files[i+1])
	}
}

func (s *rings) close() {
	guarded(func() error {
		for _, r := range []*ring{&s.req, &s.resp, &s.ev} {
			atomic.StoreUint32(r.word(offRefCount), 0)
		}
		return nil
	})
	s.unmap()
}
