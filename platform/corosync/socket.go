//go:build linux

package corosync

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sockets is the way of "system { qb_ipc_type: socket }": datagrams, and a
// small shared file with counters: for each of request, response and event the
// number of messages sent and not yet received, and a flow control word.
type sockets struct {
	ctl  []byte
	file string
	req  *net.UnixConn // requests out, answers in
	ev   *net.UnixConn // events in
	max  int
	sock *net.UnixConn // carries nothing but its end
	stop atomic.Bool
}

// Offsets in the control file, all int32.
const (
	controlSize     = 24
	offRequestSent  = 0
	offRequestFlow  = 4
	offResponseSent = 8
	offEventSent    = 16
)

func openSockets(h handshake, sock *net.UnixConn) (*sockets, error) {
	s := &sockets{file: h.request, max: h.maxMsg, sock: sock}
	var err error
	if s.ctl, err = mapFile(h.request, controlSize); err != nil {
		return nil, err
	}
	if s.req, err = s.pair(h.response+"-response", h.response+"-request"); err == nil {
		s.ev, err = s.pair(h.response+"-event", h.response+"-event-tx")
	}
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// pair binds one name and connects it to another.
func (s *sockets) pair(local, remote string) (*net.UnixConn, error) {
	if len(local) > sunPathLen-1 || len(remote) > sunPathLen-1 {
		return nil, fmt.Errorf("socket name of %d bytes: %w", max(len(local), len(remote)), ErrProtocol)
	}
	c, err := net.DialUnix("unixgram",
		&net.UnixAddr{Name: abstractName(local), Net: "unixgram"},
		&net.UnixAddr{Name: abstractName(remote), Net: "unixgram"})
	if err != nil {
		return nil, fmt.Errorf("connect datagram sockets: %w", err)
	}
	return c, errors.Join(c.SetReadBuffer(s.max), c.SetWriteBuffer(s.max))
}

func (s *sockets) word(off int) *int32 { return (*int32)(unsafe.Pointer(&s.ctl[off])) }

func (s *sockets) send(deadline time.Time, parts [][]byte) error {
	var msg []byte
	for _, p := range parts {
		msg = append(msg, p...)
	}
	s.req.SetWriteDeadline(deadline)
	switch _, err := s.req.Write(msg); {
	case errors.Is(err, syscall.ENOBUFS), errors.Is(err, syscall.EAGAIN):
		return ErrTryAgain
	case err != nil:
		return lost(err)
	}
	atomic.AddInt32(s.word(offRequestSent), 1)
	return nil
}

func (s *sockets) recv(deadline time.Time, stop func() bool) ([]byte, error) {
	for {
		s.req.SetReadDeadline(earlier(deadline, time.Now().Add(waitSlice)))
		b, err := s.read(s.req, offResponseSent)
		switch {
		case err == nil:
			return b, nil
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return nil, lost(err)
		case stop():
			return nil, ErrLost
		case time.Until(deadline) <= 0:
			return nil, ErrTimeout
		}
	}
}

// read takes one datagram, whose size is asked for first.
func (s *sockets) read(c *net.UnixConn, counter int) ([]byte, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	var b []byte
	var serr error
	err = raw.Read(func(fd uintptr) bool {
		n, _, err := unix.Recvfrom(int(fd), nil, unix.MSG_PEEK|unix.MSG_TRUNC)
		if err == nil {
			b = make([]byte, min(n, s.max))
			_, _, err = unix.Recvfrom(int(fd), b, 0)
		}
		serr = err
		return !errors.Is(err, unix.EAGAIN)
	})
	if err == nil {
		err = serr
	}
	if err != nil {
		return nil, err
	}
	atomic.AddInt32(s.word(counter), -1)
	return b, nil
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func (s *sockets) flow() uint32  { return uint32(atomic.LoadInt32(s.word(offRequestFlow))) }
func (s *sockets) dropped() bool { return false } // only the socket's end tells

func (s *sockets) run(put func([]byte) error) error {
	// The end of the stream socket is the end of the connection.
	over := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, s.sock)
		if err == nil {
			err = io.EOF
		}
		s.stop.Store(true)
		s.ev.SetReadDeadline(time.Now())
		over <- err
	}()
	for {
		b, err := s.read(s.ev, offEventSent)
		if err == nil {
			err = put(b)
		}
		if err != nil {
			s.sock.Close()
			cause := <-over
			if s.stop.Load() && errors.Is(err, os.ErrDeadlineExceeded) {
				return ended(cause)
			}
			return err
		}
	}
}

// wake has nothing to do: recv looks up by itself.
func (s *sockets) wake() {}

func (s *sockets) leftovers() { removeChannel(s.file) }

func (s *sockets) close() {
	for _, c := range []*net.UnixConn{s.req, s.ev} {
		if c != nil {
			c.Close()
		}
	}
	if s.ctl != nil {
		unix.Munmap(s.ctl)
	}
}
