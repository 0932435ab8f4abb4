package transport

import (
	"context"
	"fmt"
	"net"

	"github.com/haobox/haobox/platform"
	"github.com/haobox/haobox/platform/iucv"
	"github.com/haobox/haobox/platform/vsock"
)

// Dialer connects to one endpoint. Safe for concurrent use.
type Dialer struct {
	Endpoint Endpoint
	// TLS is for an endpoint with TLS; its zero value verifies against the
	// system's authorities.
	TLS ClientTLS
	// Clock measures pauses between attempts; nil is the machine's.
	Clock platform.Clock
}

// NewDialer returns the dialer for the endpoint of a server. The error wraps
// ErrEndpoint or ErrCAFile, so that a wrong option is known before it matters.
func NewDialer(text string, def Defaults, tls ClientTLS) (*Dialer, error) {
	e, err := Parse(text, def)
	if err != nil {
		return nil, err
	}
	if e.Scheme == TLS {
		if _, err := tls.config(e.Host); err != nil {
			return nil, err
		}
	}
	return &Dialer{Endpoint: e, TLS: tls}, nil
}

// Dial connects, with TLS up to the end of the handshake. A host with several
// addresses is tried at all of them, both families in parallel. ctx bounds it
// all. An error that the next attempt would meet again has a method Permanent
// that returns true.
func (d *Dialer) Dial(ctx context.Context) (net.Conn, error) {
	conn, err := d.connect(ctx)
	if err != nil {
		return nil, mark(err)
	}
	return conn, nil
}

func (d *Dialer) connect(ctx context.Context) (net.Conn, error) {
	e := d.Endpoint
	switch e.Scheme {
	case TCP:
		return new(net.Dialer).DialContext(ctx, e.network(), e.address())
	case TLS:
		config, err := d.TLS.config(e.Host)
		if err != nil {
			return nil, fmt.Errorf("connect to %s with TLS: %w", e.address(), err)
		}
		conn, err := new(net.Dialer).DialContext(ctx, e.network(), e.address())
		if err != nil {
			return nil, err
		}
		return handshake(ctx, conn, config, e)
	case IUCV:
		return (&iucv.Dialer{Guest: e.Host, Program: e.Program, Clock: d.Clock}).Dial(ctx)
	case VSock:
		return vsock.Dial(ctx, e.CID, e.Port)
	case Unix:
		dialer := net.Dialer{}
		if e.Name != "" {
			local, err := localName(e.Name)
			if err != nil {
				return nil, fmt.Errorf("connect to %s: %w", e, err)
			}
			dialer.LocalAddr = local
		}
		return dialer.DialContext(ctx, "unix", e.Host)
	}
	return nil, fmt.Errorf("connect to %q: %w", e.String(), ErrEndpoint)
}
