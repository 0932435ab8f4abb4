//go:build !linux

package transport

import (
	"net"
	"syscall"
)

// PeerUID is not known on this system.
func PeerUID(net.Conn) (uid int, ok bool) { return 0, false }

func setBacklog(syscall.Conn, int) error { return nil }
