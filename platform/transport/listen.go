package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/haobox/haobox/platform/iucv"
	"github.com/haobox/haobox/platform/vsock"
)

// Listener accepts connections at an endpoint.
type Listener struct {
	net.Listener
	// Endpoint is where, with the port that it really has.
	Endpoint Endpoint
	// base is the listener below TLS.
	base net.Listener
}

// Listen waits for connections at e. config is the certificate for a TLS
// endpoint, from ServerTLS.Config; others do not use it. The handshake happens
// in the first read or write of a connection, so a deadline bounds it. A unix
// socket is accessible for its owner only (mode 0600), replaces one that
// nobody listens at any more, and is removed by Close.
func Listen(ctx context.Context, e Endpoint, config *tls.Config) (*Listener, error) {
	out := &Listener{Endpoint: e}
	var err error
	switch e.Scheme {
	case TCP, TLS:
		if e.Scheme == TLS && config == nil {
			return nil, fmt.Errorf("listen at %s: no certificate", e)
		}
		out.Listener, err = new(net.ListenConfig).Listen(ctx, e.network(), e.address())
		if err != nil {
			return nil, err
		}
		if a, ok := out.Addr().(*net.TCPAddr); ok {
			out.Endpoint.Port = uint32(a.Port)
		}
		out.base = out.Listener
		if e.Scheme == TLS {
			out.Listener = tls.NewListener(out.Listener, config)
		}
	case IUCV:
		out.Listener, err = listenIUCV(e.Program)
	case VSock:
		if out.Listener, err = vsock.Listen(e.Port); err == nil {
			out.Endpoint.Port, _ = vsock.PortOf(out.Listener)
		}
	case Unix:
		out.Listener, err = listenUnix(ctx, e.Host)
		out.base = out.Listener
	default:
		err = fmt.Errorf("listen at %q: %w", e.String(), ErrEndpoint)
	}
	if err != nil {
		return nil, err
	}
	return out, nil
}

// listenIUCV keeps a nil pointer out of the interface.
func listenIUCV(program string) (net.Listener, error) {
	l, err := iucv.Listen(program)
	if err != nil {
		return nil, err
	}
	return l, nil
}

// staleLimit bounds the question whether anybody listens at a unix socket; on
// one machine the answer is there at once, unless its queue is full.
const staleLimit = time.Second

// listenUnix listens at path with mode 0600.
func listenUnix(ctx context.Context, path string) (net.Listener, error) {
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() == os.ModeSocket {
		if err := removeStale(ctx, path); err != nil {
			return nil, err
		}
	}
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		// Linux gives the file the mode of the socket, so there is no moment
		// at which others could connect. Elsewhere this may fail; there the
		// Chmod below does it.
		return c.Control(func(fd uintptr) { _ = syscall.Fchmod(int(fd), 0o600) })
	}}
	l, err := config.Listen(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil && path[0] != '@' {
		l.Close()
		return nil, err
	}
	return l, nil
}

// removeStale removes a socket that nobody listens at.
func removeStale(ctx context.Context, path string) error {
	ctx, cancel := context.WithTimeout(ctx, staleLimit)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if err == nil {
		conn.Close()
		return fmt.Errorf("listen at unix socket %s: %w: another process listens there", path, syscall.EADDRINUSE)
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		return os.Remove(path)
	}
	return err
}
