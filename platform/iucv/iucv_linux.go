package iucv

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/mdlayher/socket"
	"golang.org/x/sys/unix"

	"github.com/haobox/haobox/platform"
)

// ConnectLimit bounds one attempt to connect when the context has no deadline:
// the time that the z/VM cloud connector of Feilong waits.
const ConnectLimit = 60 * time.Second

// pauses are the waits before each further attempt, those of Feilong. The
// request server answers so while it starts or while many clients come at once.
var pauses = [...]time.Duration{
	0, 0, time.Second, time.Second, 2 * time.Second, 2 * time.Second,
	8 * time.Second, 8 * time.Second, 16 * time.Second, 32 * time.Second,
}

// Dialer connects to a program in another guest. Safe for concurrent use.
type Dialer struct {
	// Guest and Program say where to; they are folded to upper case.
	Guest, Program string
	// Clock measures the pauses between attempts; nil is the machine's.
	Clock platform.Clock
	// connect makes one attempt; nil is the kernel's.
	connect func(ctx context.Context, to unix.SockaddrIUCV, limit time.Duration) (net.Conn, error)
}

// Dial connects. A refusal and a lack of connections may pass, so it tries
// again up to ten times as long as the deadline of ctx leaves time for it;
// every other error is final.
func (d *Dialer) Dial(ctx context.Context) (net.Conn, error) {
	guest, err := padded("guest", d.Guest)
	if err != nil {
		return nil, fmt.Errorf("connect over IUCV: %w", err)
	}
	program, err := padded("program", d.Program)
	if err != nil {
		return nil, fmt.Errorf("connect over IUCV: %w", err)
	}
	connect, clock := d.connect, d.Clock
	if connect == nil {
		connect = connectOnce
	}
	if clock == nil {
		clock = platform.SystemClock{}
	}
	to := unix.SockaddrIUCV{UserID: guest, Name: program}
	for attempt := 0; ; attempt++ {
		limit := ConnectLimit
		if end, ok := ctx.Deadline(); ok {
			limit = time.Until(end)
		}
		conn, err := connect(ctx, to, limit)
		if err == nil {
			return conn, nil
		}
		err = fmt.Errorf("connect to %s over IUCV: %w", trimmed(to), err)
		if ctx.Err() != nil || !passing(err) || attempt == len(pauses) {
			return nil, err
		}
		if end, ok := ctx.Deadline(); ok && time.Until(end) <= pauses[attempt] {
			return nil, err
		}
		if clock.Sleep(ctx, pauses[attempt]) != nil {
			return nil, err
		}
	}
}

// passing reports whether a further attempt may succeed. EINTR is a signal to
// this process: with a time limit set the kernel does not restart the call.
func passing(err error) bool {
	return errors.Is(err, ErrRefused) || errors.Is(err, ErrBusy) || errors.Is(err, unix.EINTR)
}

// connectOnce makes one attempt with a new socket.
//
// The socket must not be in nonblocking mode yet: af_iucv then gives up the
// path at once and answers EAGAIN. So the call blocks, bounded by SO_SNDTIMEO,
// in a goroutine of its own, which ends with the call; if ctx ends before,
// it closes the socket. It does not bind: z/VM vouches for the guest's name
// anyway, and the kernel gives an unbound socket a name that no other has.
func connectOnce(ctx context.Context, to unix.SockaddrIUCV, limit time.Duration) (net.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	fd, err := open()
	if err != nil {
		return nil, err
	}
	tv := unix.NsecToTimeval(max(limit, time.Millisecond).Nanoseconds())
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &tv); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("setsockopt", err)
	}
	done := make(chan error)
	go func() {
		err := unix.Connect(fd, &to)
		select {
		case done <- err:
		case <-ctx.Done():
			unix.Close(fd) // Dial has left or is about to: nobody takes the socket
		}
	}()
	select {
	case err = <-done:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if err != nil {
		unix.Close(fd)
		return nil, explain("connect", err)
	}
	return newConn(fd, addrOf(&to))
}

// open returns a stream socket in blocking mode.
func open() (int, error) {
	fd, err := unix.Socket(unix.AF_IUCV, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, explain("socket", err)
	}
	return fd, nil
}

// explain turns an errno of af_iucv into one of the package's errors.
func explain(call string, err error) error {
	if errno := unix.Errno(0); errors.As(err, &errno) {
		err = errno // package socket has named the call already
	}
	why := error(nil)
	switch {
	case errors.Is(err, unix.EAFNOSUPPORT), call == "socket" && errors.Is(err, unix.EPROTONOSUPPORT):
		why = ErrNoSupport
	case errors.Is(err, unix.ENODEV), errors.Is(err, unix.EBADFD), errors.Is(err, unix.EPROTO):
		// Without z/VM the socket can only use the HiperSockets transport: it
		// then wants a bind before it connects, and a bind finds no device.
		why = ErrNotZVM
	case errors.Is(err, unix.ENETUNREACH):
		why = ErrNotLoggedOn
	case errors.Is(err, unix.EACCES) && call == "connect":
		why = ErrNoAuthority
	case errors.Is(err, unix.EAGAIN):
		why = ErrBusy
	case errors.Is(err, unix.ECONNREFUSED):
		why = ErrRefused
	}
	err = os.NewSyscallError(call, err)
	if why == nil {
		return err
	}
	return fmt.Errorf("%w (%w)", why, err)
}

// Conn is a connection. Safe for concurrent use as a net.Conn is.
type Conn struct {
	*socket.Conn
	local, remote Addr
}

// LocalAddr returns this end.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr returns the other end; its Guest is vouched for by z/VM.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// newConn hands a connected socket to the poller of the runtime. It owns fd,
// also when it fails.
func newConn(fd int, remote Addr) (net.Conn, error) {
	s, err := socket.New(fd, "iucv")
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	c := &Conn{Conn: s, remote: remote}
	if sa, err := s.Getsockname(); err == nil {
		c.local = addrOf(sa)
	}
	return c, nil
}

// addrOf turns the kernel's address into ours.
func addrOf(sa unix.Sockaddr) Addr {
	if i, ok := sa.(*unix.SockaddrIUCV); ok {
		return Addr{strings.TrimRight(i.UserID, " \x00"), strings.TrimRight(i.Name, " \x00")}
	}
	return Addr{}
}

func trimmed(sa unix.SockaddrIUCV) Addr { return addrOf(&sa) }

// Listener accepts connections from programs in other guests.
type Listener struct {
	socket *socket.Conn
	addr   Addr
	// ctx ends with Close and with it Accept.
	ctx   context.Context
	close context.CancelFunc
}

// Listen waits for connections to a program name of this guest.
func Listen(program string) (*Listener, error) {
	name, err := padded("program", program)
	if err != nil {
		return nil, fmt.Errorf("listen over IUCV: %w", err)
	}
	fd, err := open()
	if err != nil {
		return nil, fmt.Errorf("listen as %s over IUCV: %w", strings.TrimRight(name, " "), err)
	}
	s, err := socket.New(fd, "iucv")
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	// The guest's own name: on z/VM the kernel takes it from the hypervisor.
	err = s.Bind(&unix.SockaddrIUCV{Name: name})
	if err == nil {
		err = s.Listen(unix.SOMAXCONN)
	}
	if err != nil {
		s.Close()
		return nil, fmt.Errorf("listen as %s over IUCV: %w", strings.TrimRight(name, " "), explain("bind", err))
	}
	l := &Listener{socket: s, addr: Addr{Program: strings.TrimRight(name, " ")}}
	if sa, err := s.Getsockname(); err == nil {
		l.addr = addrOf(sa)
	}
	l.ctx, l.close = context.WithCancel(context.Background())
	return l, nil
}

// Accept waits for the next connection, a *Conn. After Close the error is
// net.ErrClosed.
func (l *Listener) Accept() (net.Conn, error) {
	s, sa, err := l.socket.Accept(l.ctx, 0)
	if err != nil {
		if l.ctx.Err() != nil {
			err = net.ErrClosed
		}
		return nil, fmt.Errorf("accept over IUCV: %w", err)
	}
	return &Conn{Conn: s, local: l.addr, remote: addrOf(sa)}, nil
}

// Close ends Accept.
func (l *Listener) Close() error {
	l.close()
	return l.socket.Close()
}

// Addr returns the name that connections go to.
func (l *Listener) Addr() net.Addr { return l.addr }
