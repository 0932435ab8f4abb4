//go:build !linux

package iucv

import (
	"context"
	"fmt"
	"net"

	"github.com/haobox/haobox/platform"
)

// Dialer connects to a program in another guest on Linux.
type Dialer struct {
	Guest, Program string
	Clock          platform.Clock
}

// Dial fails with ErrNoSupport.
func (d *Dialer) Dial(context.Context) (net.Conn, error) {
	return nil, fmt.Errorf("connect to %v over IUCV: %w", Addr{d.Guest, d.Program}, ErrNoSupport)
}

// Listen fails with ErrNoSupport.
func Listen(program string) (net.Listener, error) {
	if _, err := padded("program", program); err != nil {
		return nil, fmt.Errorf("listen over IUCV: %w", err)
	}
	return nil, fmt.Errorf("listen as %s over IUCV: %w", program, ErrNoSupport)
}
