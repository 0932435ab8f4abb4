package platform

import "net/netip"

// Network is the state of the network interfaces at one moment.
type Network struct {
	Links []Link
	// Addrs in the kernel's order.
	Addrs []LinkAddr
}

// Link is a network interface.
type Link struct {
	Index int
	Name  string
	// HW is the link-layer address, empty if there is none.
	HW []byte
	// Up is the administrator's state; Carrier is the kernel's word on the
	// link below. A driver that can not tell always has Carrier.
	Up, Carrier bool
	// Loopback; NoARP interfaces have nobody to ask (OSA cards and
	// HiperSockets in layer 3 mode answer for themselves).
	Loopback, NoARP bool
	// Kind is the kernel's word, "bond", "bridge", "vlan", "veth", or "".
	Kind string
	// Parent is the index of the interface below a VLAN and the like, 0 if
	// there is none in this network namespace.
	Parent int
	// Master is the index of the bond, team or bridge that it is a port of,
	// or 0.
	Master int
}

// LinkAddr is an address of an interface.
type LinkAddr struct {
	// Link is the interface's index.
	Link int
	// Prefix is the address, not masked, with its prefix length.
	Prefix netip.Prefix
	// Tentative and Failed are states of IPv6 duplicate address detection.
	Tentative, Failed bool
	// Secondary: another address of the same network came first.
	Secondary bool
}

// Link returns the interface with the index, or nil.
func (n *Network) Link(index int) *Link {
	for i := range n.Links {
		if n.Links[i].Index == index {
			return &n.Links[i]
		}
	}
	return nil
}

// Find returns the entry of an address, whatever its prefix length, or nil.
func (n *Network) Find(a netip.Addr) *LinkAddr {
	for i := range n.Addrs {
		if n.Addrs[i].Prefix.Addr() == a {
			return &n.Addrs[i]
		}
	}
	return nil
}

// HasLink reports whether packets can leave through the interface: it has a
// carrier, so has what is below a VLAN, and a bond, team or bridge with ports
// has one with a carrier. (A bond without link monitoring keeps its own
// carrier when all its ports lose theirs.)
func (n *Network) HasLink(index int) bool { return n.hasLink(index, maxStack) }

// maxStack is how many interfaces may be stacked: the kernel's
// MAX_NEST_DEV, linux/netdevice.h.
const maxStack = 8

func (n *Network) hasLink(index, depth int) bool {
	l := n.Link(index)
	if l == nil || !l.Carrier || depth == 0 {
		return false
	}
	if l.Parent != 0 && l.Parent != index && l.Kind != "veth" {
		if p := n.Link(l.Parent); p != nil && !n.hasLink(l.Parent, depth-1) {
			return false
		}
	}
	ports, alive := 0, false
	for i := range n.Links {
		if n.Links[i].Master == index {
			ports++
			alive = alive || n.Links[i].Up && n.hasLink(n.Links[i].Index, depth-1)
		}
	}
	return ports == 0 || alive
}

// Slave reports whether the interface is a port of a bond or team: addresses
// belong on its master.
func (n *Network) Slave(l *Link) bool {
	if l.Master == 0 {
		return false
	}
	m := n.Link(l.Master)
	return m != nil && (m.Kind == "bond" || m.Kind == "team")
}
