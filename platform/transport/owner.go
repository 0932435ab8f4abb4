package transport

import (
	"crypto/tls"
	"net"
	"os"
)

// OwnerOnly returns l without the connections of other users: on a unix socket
// only root and the user of this process get through, by the credentials that
// the kernel vouches for (SO_PEERCRED, see unix(7)). Where the kernel does not
// tell, the access rights of the socket alone decide.
func OwnerOnly(l net.Listener) net.Listener { return ownerOnly{l} }

type ownerOnly struct{ net.Listener }

func (o ownerOnly) Accept() (net.Conn, error) {
	for {
		conn, err := o.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if uid, ok := PeerUID(conn); ok && uid != 0 && uid != os.Getuid() {
			conn.Close()
			continue
		}
		return conn, nil
	}
}

// Reset ends a connection without an orderly close: over TCP, also below TLS,
// the other side gets a reset. Other transports are closed.
func Reset(conn net.Conn) {
	if t, ok := conn.(*tls.Conn); ok {
		// Without the alert that closes TLS.
		conn = t.NetConn()
	}
	if t, ok := conn.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
	conn.Close()
}

// Backlog changes how many connections wait to be accepted; with 0 the kernel
// drops those after the first, so that clients wait for a connection. It does
// nothing on transports other than TCP and unix sockets, and on systems other
// than Linux.
func (l *Listener) Backlog(n int) error {
	switch raw := l.base.(type) {
	case *net.TCPListener:
		return setBacklog(raw, n)
	case *net.UnixListener:
		return setBacklog(raw, n)
	}
	return nil
}
