// Package vsock opens stream sockets between a virtual machine and its host:
// AF_VSOCK, see vsock(7). An address is a context id (1 the same machine,
// 2 the host, others the guests of the host) and a port of 32 bits. The
// sockets are those of github.com/mdlayher/vsock; this package makes their
// errors say what can be done.
package vsock

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"

	"github.com/mdlayher/vsock"
)

// The context ids that have a name.
const (
	Any   = 1<<32 - 1
	Local = vsock.Local
	Host  = vsock.Host
)

// The reasons why there is no connection. The texts say what can be done.
var (
	// ErrNoSupport: the kernel has no AF_VSOCK.
	ErrNoSupport = errors.New("this kernel has no vsock: run 'modprobe vsock'")
	// ErrNoTransport: nothing carries vsock to that context id.
	ErrNoTransport = errors.New("nothing carries vsock to that context id: load vsock_loopback for 1, " +
		"vmw_vsock_virtio_transport in a guest that has a vsock device, vhost_vsock on its host")
	// ErrNoAnswer: the connect timed out in the kernel, after two seconds.
	ErrNoAnswer = errors.New("no answer from that context id: there is no such machine, or, for 1, vsock_loopback is not loaded")
	// ErrNoListener: the other side has no listener at that port.
	ErrNoListener = errors.New("nothing listens at that port")
)

// Dial connects to a port of the machine with the context id cid.
func Dial(ctx context.Context, cid, port uint32) (net.Conn, error) {
	c, err := vsock.DialContext(ctx, cid, port, nil)
	if err != nil {
		if ctx.Err() != nil {
			return nil, fmt.Errorf("connect to vsock %d:%d: %w", cid, port, ctx.Err())
		}
		return nil, fmt.Errorf("connect to vsock %d:%d: %w", cid, port, explain(err))
	}
	return c, nil
}

// Listen waits for connections to a port, from the host, from guests and from
// this machine. Port 0 is any free one; Addr of the listener tells.
func Listen(port uint32) (net.Listener, error) {
	l, err := vsock.ListenContextID(Any, port, nil)
	if err != nil {
		return nil, fmt.Errorf("listen at vsock port %d: %w", port, explain(err))
	}
	return l, nil
}

// Peer returns the context id of the other end of a connection of this
// package.
func Peer(c net.Conn) (cid uint32, ok bool) {
	a, ok := c.RemoteAddr().(*vsock.Addr)
	if !ok {
		return 0, false
	}
	return a.ContextID, true
}

// PortOf returns the port of a listener of this package.
func PortOf(l net.Listener) (port uint32, ok bool) {
	a, ok := l.Addr().(*vsock.Addr)
	if !ok {
		return 0, false
	}
	return a.Port, true
}

// explain puts what can be done in front of an errno.
func explain(err error) error {
	why := error(nil)
	switch {
	case errors.Is(err, syscall.EAFNOSUPPORT):
		why = ErrNoSupport
	case errors.Is(err, syscall.ENODEV), errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		why = ErrNoTransport
	case errors.Is(err, syscall.ETIMEDOUT):
		why = ErrNoAnswer
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.ECONNREFUSED):
		// virtio answers a connect to a free port with a reset.
		why = ErrNoListener
	default:
		return err
	}
	return fmt.Errorf("%w (%w)", why, err)
}
