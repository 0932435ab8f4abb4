//go:build linux

package netif

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"

	"github.com/haobox/haobox/platform"
)

// The duplicate address check. RFC 5227 waits for 5 to 7 seconds, for
// configuration without a person; an owner of the address that is alive answers
// at once. Probe asks three times in 60 ms, because a service waits for it.
const (
	probeCount = 3
	probeFirst = 10 * time.Millisecond // and 20, and 30
)

// ethernet is the length of a link-layer address that ARP and neighbour
// discovery work with here.
func ethernet(l *platform.Link) bool { return len(l.HW) == hwSize && !l.NoARP && !l.Loopback }

// listen opens a packet socket on an interface.
func listen(l *platform.Link, protocol int) (*packet.Conn, error) {
	c, err := packet.Listen(&net.Interface{Index: l.Index, Name: l.Name, HardwareAddr: l.HW}, packet.Datagram, protocol, nil)
	if err != nil {
		return nil, fmt.Errorf("open a packet socket on %s: %w", l.Name, err)
	}
	return c, nil
}

// Probe asks the neighbours whether somebody has the address, for 60 ms. It
// returns the link-layer address of who does, or "". On an interface without
// neighbours that could be asked nobody does.
func (n *Net) Probe(ctx context.Context, l *platform.Link, a netip.Addr) (string, error) {
	return ask(ctx, l, a, probeCount, func(i int) time.Duration { return time.Duration(i+1) * probeFirst }, owner, l.HW)
}

// Claimed asks once whether somebody else has an address that is here, and waits
// for the whole time. Only a neighbour that answers counts, none that is asking,
// and nothing that comes from this machine's own interfaces.
func (n *Net) Claimed(ctx context.Context, l *platform.Link, a netip.Addr, wait time.Duration) (string, error) {
	state, err := n.State()
	if err != nil {
		return "", err
	}
	own := [][]byte{l.HW}
	for i := range state.Links {
		own = append(own, state.Links[i].HW)
	}
	answers := func(b []byte, from net.Addr, a netip.Addr, own ...[]byte) net.HardwareAddr {
		if a.Is4() {
			if p, err := decodeARP(b); err != nil || p.op != arpReply || !bytes.Equal(p.targetHW[:], l.HW) {
				return nil
			}
		} else if p, err := decodeNDP(b); err != nil || p.typ != advertisement {
			return nil
		}
		return owner(b, from, a, own...)
	}
	return ask(ctx, l, a, 1, func(int) time.Duration { return wait }, answers, own...)
}

// ask sends probes, waits after each, and returns who claims the address by what
// it says or asks itself, or "".
func ask(ctx context.Context, l *platform.Link, a netip.Addr, count int, wait func(int) time.Duration,
	claims func([]byte, net.Addr, netip.Addr, ...[]byte) net.HardwareAddr, own ...[]byte,
) (string, error) {
	if !ethernet(l) {
		return "", nil
	}
	var hw [hwSize]byte
	copy(hw[:], l.HW)
	protocol, frame, to := unix.ETH_P_ARP, []byte(nil), net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	if a.Is4() {
		// RFC 5227, section 1.1: the sender's protocol address is 0.
		frame = arp{op: arpRequest, senderHW: hw, sender: netip.IPv4Unspecified(), target: a}.encode()
	} else {
		group := solicited(a)
		protocol, to = unix.ETH_P_IPV6, groupHW(group)
		frame = ndp{typ: solicitation, src: netip.IPv6Unspecified(), dst: group, target: a}.encode()
	}
	c, err := listen(l, protocol)
	if err != nil {
		return "", err
	}
	defer closeLater(c)
	if a.Is6() {
		// To see others who try the same address at this moment.
		if err := c.JoinGroup(to); err != nil {
			return "", fmt.Errorf("join group %v on %s: %w", to, l.Name, err)
		}
	}
	stop := context.AfterFunc(ctx, func() { _ = c.SetReadDeadline(time.Now()) })
	defer stop()
	buf := make([]byte, 2048) // what is longer is neither ARP nor a claim
	for i := range count {
		if _, err := c.WriteTo(frame, &packet.Addr{HardwareAddr: to}); err != nil {
			return "", fmt.Errorf("probe for %v on %s: %w", a, l.Name, err)
		}
		if err := c.SetReadDeadline(time.Now().Add(wait(i))); err != nil {
			return "", fmt.Errorf("probe for %v on %s: %w", a, l.Name, err)
		}
		for ctx.Err() == nil {
			k, from, err := c.ReadFrom(buf)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil {
				return "", fmt.Errorf("wait for the owner of %v on %s: %w", a, l.Name, err)
			}
			if who := claims(buf[:k], from, a, own...); who != nil {
				return who.String(), nil
			}
		}
		if err := ctx.Err(); err != nil {
			return "", err
		}
	}
	// On a busy machine the time may be over before what came in it was read.
	return waiting(c, buf, func(b []byte, from net.Addr) net.HardwareAddr { return claims(b, from, a, own...) })
}

// waiting looks through what has come and was not read yet.
func waiting(c *packet.Conn, buf []byte, claims func([]byte, net.Addr) net.HardwareAddr) (who string, err error) {
	raw, err := c.SyscallConn()
	if err == nil {
		err = c.SetReadDeadline(time.Time{})
	}
	if err != nil {
		return "", err
	}
	err = raw.Read(func(fd uintptr) bool {
		for {
			n, from, err := unix.Recvfrom(int(fd), buf, unix.MSG_DONTWAIT)
			if err != nil {
				return true // there is nothing more
			}
			at := &packet.Addr{}
			if l, ok := from.(*unix.SockaddrLinklayer); ok {
				at.HardwareAddr = append(at.HardwareAddr, l.Addr[:min(int(l.Halen), len(l.Addr))]...)
			}
			if hw := claims(buf[:n], at); hw != nil {
				who = hw.String()
				return true
			}
		}
	})
	return who, err
}

// closeLater closes a packet socket behind the caller's back: the kernel lets
// all processors pass by before it is gone, which takes some 10 ms.
func closeLater(c *packet.Conn) { go func() { _ = c.Close() }() }

// owner returns who claims the address in a packet, or nil.
func owner(b []byte, from net.Addr, a netip.Addr, own ...[]byte) net.HardwareAddr {
	var hw []byte
	if a.Is4() {
		p, err := decodeARP(b)
		if err != nil || p.sender != a && !(p.sender == netip.IPv4Unspecified() && p.target == a && p.op == arpRequest) {
			return nil
		}
		hw = p.senderHW[:]
	} else {
		p, err := decodeNDP(b)
		if err != nil || p.target != a || p.typ == solicitation && p.src != netip.IPv6Unspecified() {
			return nil
		}
		if hw = p.hw; hw == nil {
			if f, ok := from.(*packet.Addr); ok {
				hw = f.HardwareAddr
			}
		}
	}
	if len(hw) == 0 || slices.ContainsFunc(own, func(o []byte) bool { return bytes.Equal(o, hw) }) {
		return nil
	}
	return append(net.HardwareAddr(nil), hw...)
}

// Announce tells the neighbours once that the address is here: for IPv4 as a
// gratuitous ARP request and as a reply, because some take one and some the
// other (RFC 5227, section 3), for IPv6 as an unsolicited advertisement (RFC
// 4861, section 7.2.6). An interface without neighbours needs none.
func (n *Net) Announce(l *platform.Link, a netip.Addr) error {
	if !ethernet(l) {
		return nil
	}
	var own [hwSize]byte
	copy(own[:], l.HW)
	protocol, to := unix.ETH_P_ARP, net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	var frames [][]byte
	if a.Is4() {
		frames = [][]byte{
			arp{op: arpRequest, senderHW: own, sender: a, target: a}.encode(),
			arp{op: arpReply, senderHW: own, sender: a, targetHW: own, target: a}.encode(),
		}
	} else {
		all := netip.IPv6LinkLocalAllNodes()
		protocol, to = unix.ETH_P_IPV6, groupHW(all)
		frames = [][]byte{ndp{typ: advertisement, src: a, dst: all, target: a, hw: l.HW}.encode()}
	}
	c, err := listen(l, protocol)
	if err != nil {
		return err
	}
	defer closeLater(c)
	for _, f := range frames {
		if _, err := c.WriteTo(f, &packet.Addr{HardwareAddr: to}); err != nil {
			return fmt.Errorf("announce %v on %s: %w", a, l.Name, err)
		}
	}
	return nil
}

// pingInterval is how long an echo request may be under way before it is
// repeated. Ours: the kernel gives a new IPv6 address its route a moment after
// it has said that it is there.
const pingInterval = 200 * time.Millisecond

// Ping sends echo requests from the address to itself and waits for an answer:
// the address works on this node.
func (n *Net) Ping(ctx context.Context, a netip.Addr, limit time.Duration) error {
	network, request, reply := "ip4:icmp", byte(8), byte(0) // RFC 792
	if a.Is6() {
		network, request, reply = "ip6:ipv6-icmp", 128, 129 // RFC 4443
	}
	c, err := (&net.ListenConfig{}).ListenPacket(ctx, network, a.String())
	if err != nil {
		return fmt.Errorf("ping %v: %w", a, err)
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Now()) })
	defer stop()
	end := time.Now().Add(limit)
	// Identifier: this process; sequence: of no interest.
	id := uint16(os.Getpid())
	msg := make([]byte, 16)
	msg[0] = request
	binary.BigEndian.PutUint16(msg[4:], id)
	binary.BigEndian.PutUint64(msg[8:], uint64(time.Now().UnixNano()))
	if a.Is4() {
		binary.BigEndian.PutUint16(msg[2:], sum16(msg)) // for IPv6 the kernel does it
	}
	buf := make([]byte, 1500)
	for ctx.Err() == nil && time.Now().Before(end) {
		if _, err := c.WriteTo(msg, &net.IPAddr{IP: a.AsSlice(), Zone: a.Zone()}); err != nil {
			return fmt.Errorf("ping %v: %w", a, err)
		}
		if err := c.SetReadDeadline(time.Now().Add(min(pingInterval, time.Until(end)))); err != nil {
			return fmt.Errorf("ping %v: %w", a, err)
		}
		for {
			k, _, err := c.ReadFrom(buf)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil {
				return fmt.Errorf("ping %v: %w", a, err)
			}
			if k >= 16 && buf[0] == reply && bytes.Equal(buf[4:16], msg[4:16]) {
				return nil
			}
		}
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("ping %v: %w", a, err)
	}
	return fmt.Errorf("ping %v: no answer within %v", a, limit)
}

// sum16 is the internet checksum, RFC 1071, of an even number of bytes.
func sum16(b []byte) uint16 {
	var sum uint32
	for ; len(b) > 1; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}
