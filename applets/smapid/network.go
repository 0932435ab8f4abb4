package smapid

import (
	"context"
	"crypto/tls"
	"net"
	"time"

	"github.com/haobox/haobox/internal/smapi"
	"github.com/haobox/haobox/internal/smapi/zvmsim/simd"
	"github.com/haobox/haobox/platform/transport"
)

// network is the machine's network for the simulator.
type network struct{}

// defaults are what an endpoint may leave out.
func defaults() transport.Defaults {
	return transport.Defaults{Port: smapi.Port, Program: smapi.Program}
}

// Listen opens an endpoint, with what is to be wrong with its TLS.
func (network) Listen(ctx context.Context, endpoint string, cert simd.Certificate, fault simd.TLSFault) (net.Listener, string, []byte, error) {
	e, err := transport.ParseListen(endpoint, defaults())
	if err != nil {
		return nil, "", nil, err
	}
	var config *tls.Config
	var certificate []byte
	if e.Scheme == transport.TLS {
		s := transport.ServerTLS{CertFile: cert.CertFile, KeyFile: cert.KeyFile, Names: cert.Names}
		now := time.Now()
		switch fault {
		case simd.TLSExpired:
			s.CertFile, s.KeyFile = "", ""
			s.NotBefore, s.NotAfter = now.AddDate(-1, 0, 0), now.AddDate(0, 0, -1)
		case simd.TLSWrongHost:
			s.CertFile, s.KeyFile = "", ""
			s.Names = []string{"elsewhere.invalid"}
		case simd.TLSUnknownCA:
			s.CertFile, s.KeyFile = "", ""
		case simd.TLSOld:
			s.MaxVersion = tls.VersionTLS11
		}
		if config, certificate, err = s.Config(e); err != nil {
			return nil, "", nil, err
		}
	}
	open := e
	if fault == simd.TLSPlain {
		open.Scheme = transport.TCP
	}
	l, err := transport.Listen(ctx, open, config)
	if err != nil {
		return nil, "", nil, err
	}
	e.Port = l.Endpoint.Port
	return l, e.String(), certificate, nil
}

// PeerName is the name that the transport vouches for.
func (network) PeerName(conn net.Conn) (string, bool) { return transport.PeerName(conn) }

// Reset ends a connection with a reset, where there is one.
func (network) Reset(conn net.Conn) { transport.Reset(conn) }

// Backlog limits the queue of connections; where that cannot be done, clients
// see a server that accepts and never answers.
func (network) Backlog(l net.Listener, n int) {
	if t, ok := l.(*transport.Listener); ok {
		_ = t.Backlog(n)
	}
}
