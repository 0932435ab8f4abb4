package probe

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"
)

// ErrNoEcho is the answer to a ping that never came.
var ErrNoEcho = errors.New("no answer to the ping")

// Ping sends one echo request (RFC 792, RFC 4443) and waits for its answer. It
// needs root. ctx bounds it and must have a deadline.
func (Client) Ping(ctx context.Context, at netip.Addr) error {
	network, request, answer := "ip4:icmp", byte(8), byte(0)
	if at.Is6() && !at.Is4In6() {
		network, request, answer = "ip6:ipv6-icmp", 128, 129
	}
	conn, err := new(net.Dialer).DialContext(ctx, network, at.Unmap().String())
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	// The process and a number that does not come twice soon name the request.
	id, seq := uint16(os.Getpid()), uint16(time.Now().UnixMicro())
	b := make([]byte, 16)
	b[0] = request
	binary.BigEndian.PutUint16(b[4:], id)
	binary.BigEndian.PutUint16(b[6:], seq)
	copy(b[8:], "haobox")
	if request == 8 { // the kernel does it for IPv6
		binary.BigEndian.PutUint16(b[2:], checksum(b))
	}
	if _, err := conn.Write(b); err != nil {
		return err
	}
	buf := make([]byte, 1500)
	for {
		// ReadFrom gives the packet without the header of IPv4; Read would not.
		n, _, err := conn.(*net.IPConn).ReadFrom(buf)
		if err != nil {
			if ctx.Err() != nil {
				return fmt.Errorf("%s: %w", at, ErrNoEcho)
			}
			return err
		}
		p := buf[:n]
		if len(p) >= 8 && p[0] == answer && binary.BigEndian.Uint16(p[4:]) == id && binary.BigEndian.Uint16(p[6:]) == seq {
			return nil
		}
	}
}

// checksum is that of RFC 1071.
func checksum(b []byte) uint16 {
	sum := uint32(0)
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}

// Connect opens and closes a TCP connection: somebody listens. ctx bounds it.
func (Client) Connect(ctx context.Context, address string) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	return conn.Close()
}
