package netif

import (
	"encoding/binary"
	"errors"
	"net/netip"
)

// ARP packet for IPv4 over Ethernet, RFC 826; all fields big-endian:
//
//	offset width
//	0      2     hardware type, 1
//	2      2     protocol type, 0x0800
//	4      1     hardware length, 6
//	5      1     protocol length, 4
//	6      2     operation: 1 request, 2 reply
//	8      6     sender hardware address
//	14     4     sender protocol address
//	18     6     target hardware address
//	24     4     target protocol address
const (
	arpSize    = 28
	arpRequest = 1
	arpReply   = 2
	hwSize     = 6
)

// errNotARP is a packet that is not ARP for IPv4 over Ethernet.
var errNotARP = errors.New("not ARP for IPv4 over Ethernet")

// arp is an ARP packet.
type arp struct {
	op                 uint16
	senderHW, targetHW [hwSize]byte
	sender, target     netip.Addr // IPv4
}

func (a arp) encode() []byte {
	b := make([]byte, arpSize)
	binary.BigEndian.PutUint16(b[0:], 1)
	binary.BigEndian.PutUint16(b[2:], 0x0800)
	b[4], b[5] = hwSize, 4
	binary.BigEndian.PutUint16(b[6:], a.op)
	copy(b[8:], a.senderHW[:])
	copy(b[14:], a.sender.AsSlice())
	copy(b[18:], a.targetHW[:])
	copy(b[24:], a.target.AsSlice())
	return b
}

// decodeARP reads a packet; what follows the 28 bytes is padding.
func decodeARP(b []byte) (arp, error) {
	if len(b) < arpSize || binary.BigEndian.Uint16(b[0:]) != 1 || binary.BigEndian.Uint16(b[2:]) != 0x0800 || b[4] != hwSize || b[5] != 4 {
		return arp{}, errNotARP
	}
	a := arp{op: binary.BigEndian.Uint16(b[6:]), sender: netip.AddrFrom4([4]byte(b[14:18])), target: netip.AddrFrom4([4]byte(b[24:28]))}
	copy(a.senderHW[:], b[8:14])
	copy(a.targetHW[:], b[18:24])
	return a, nil
}

// Neighbour discovery, RFC 4861 sections 4.3 and 4.4: an IPv6 header of 40
// bytes, then big-endian:
//
//	offset width
//	0      1     type: 135 solicitation, 136 advertisement
//	1      1     code, 0
//	2      2     checksum
//	4      4     flags of an advertisement (0x20000000 override)
//	8      16    target address
//	24     8     option: type (2 target link-layer address), length 1, address
const (
	ipv6Size      = 40
	ndpSize       = 24
	ndpOption     = 8
	icmpv6        = 58
	solicitation  = 135
	advertisement = 136
	override      = 0x20
	// hopLimit proves that a packet comes from this link.
	hopLimit = 255
)

// errNotNDP is a packet that is no neighbour solicitation or advertisement.
var errNotNDP = errors.New("not a neighbour solicitation or advertisement")

// ndp is a neighbour solicitation or advertisement in its IPv6 packet.
type ndp struct {
	typ      byte
	src, dst netip.Addr // IPv6
	target   netip.Addr
	// hw is the target's link-layer address of an advertisement; empty for none.
	hw []byte
}

func (p ndp) encode() []byte {
	size := ndpSize
	if len(p.hw) == hwSize {
		size += ndpOption
	}
	b := make([]byte, ipv6Size+size)
	b[0] = 6 << 4
	binary.BigEndian.PutUint16(b[4:], uint16(size))
	b[6], b[7] = icmpv6, hopLimit
	copy(b[8:], p.src.AsSlice())
	copy(b[24:], p.dst.AsSlice())
	m := b[ipv6Size:]
	m[0] = p.typ
	if p.typ == advertisement {
		m[4] = override
	}
	copy(m[8:], p.target.AsSlice())
	if len(p.hw) == hwSize {
		m[24], m[25] = 2, 1
		copy(m[26:], p.hw)
	}
	binary.BigEndian.PutUint16(m[2:], checksum(b))
	return b
}

// checksum of an IPv6 packet with an ICMPv6 message, RFC 4443 section 2.3; the
// checksum field counts as it is: 0 gives the value to put there, and over a
// complete packet the result is 0.
func checksum(b []byte) uint16 {
	var sum uint32
	add := func(p []byte) {
		for len(p) > 1 {
			sum += uint32(binary.BigEndian.Uint16(p))
			p = p[2:]
		}
		if len(p) == 1 {
			sum += uint32(p[0]) << 8
		}
	}
	add(b[8:ipv6Size])
	add(b[ipv6Size:])
	sum += uint32(len(b)-ipv6Size) + icmpv6
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}

// decodeNDP reads a packet and checks what RFC 4861, section 7.1, demands.
func decodeNDP(b []byte) (ndp, error) {
	if len(b) < ipv6Size+ndpSize || b[0]>>4 != 6 || b[6] != icmpv6 || b[7] != hopLimit {
		return ndp{}, errNotNDP
	}
	size := int(binary.BigEndian.Uint16(b[4:]))
	if size < ndpSize || len(b) < ipv6Size+size {
		return ndp{}, errNotNDP
	}
	b = b[:ipv6Size+size]
	m := b[ipv6Size:]
	if m[0] != solicitation && m[0] != advertisement || m[1] != 0 || checksum(b) != 0 {
		return ndp{}, errNotNDP
	}
	p := ndp{typ: m[0], src: netip.AddrFrom16([16]byte(b[8:24])), dst: netip.AddrFrom16([16]byte(b[24:40])), target: netip.AddrFrom16([16]byte(m[8:24]))}
	for o := m[ndpSize:]; len(o) >= ndpOption; {
		n := int(o[1]) * ndpOption
		if n == 0 || n > len(o) {
			return ndp{}, errNotNDP
		}
		if o[0] == 2 && n == ndpOption {
			p.hw = append([]byte(nil), o[2:8]...)
		}
		o = o[n:]
	}
	return p, nil
}

// solicited is the group that an address is asked for in, RFC 4291 section
// 2.7.1, and the Ethernet group for an IPv6 group, RFC 2464 section 7.
func solicited(a netip.Addr) netip.Addr {
	b := a.As16()
	return netip.AddrFrom16([16]byte{0xff, 2, 11: 1, 12: 0xff, 13: b[13], 14: b[14], 15: b[15]})
}

func groupHW(a netip.Addr) []byte {
	b := a.As16()
	return []byte{0x33, 0x33, b[12], b[13], b[14], b[15]}
}
