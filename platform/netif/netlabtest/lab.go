//go:build linux

// Package netlabtest builds small networks out of network namespaces for
// tests: nodes, each in a namespace of its own with an interface eth0, on one
// bridge in another namespace that also has an address. It needs root and the
// kernel's veth and bridge.
package netlabtest

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/haobox/haobox/platform/testskip"
)

// Hub is the name of the namespace with the bridge br0.
const Hub = "hub"

// Lab is a set of namespaces. It belongs to the goroutine of the test, whose
// thread goes from one to the other.
type Lab struct {
	t     testing.TB
	home  netns.NsHandle
	spots []spot
}

type spot struct {
	name string
	ns   netns.NsHandle
	h    *netlink.Handle
}

// New builds a network with the nodes. Node i (from 1) has i and i+100 as host
// parts of 192.0.2.0/24 and 2001:db8::/64 on eth0; the hub has 254 and fe.
// The calling goroutine stays locked to its thread, which ends with it.
func New(t testing.TB, nodes ...string) *Lab {
	t.Helper()
	testskip.IfEmulated(t, "network namespaces and rtnetlink need the real system calls")
	if os.Geteuid() != 0 {
		t.Fatal("not root; network namespaces need it")
	}
	runtime.LockOSThread() // never unlocked: the thread is not to be used again
	l := &Lab{t: t}
	home, err := netns.Get()
	l.must("look at the network namespace", err)
	l.home = home
	t.Cleanup(func() {
		_ = netns.Set(l.home)
		for _, s := range l.spots {
			s.h.Close()
			s.ns.Close()
		}
		l.home.Close()
	})
	for _, name := range append([]string{Hub}, nodes...) {
		ns, err := netns.New()
		l.must("make a network namespace", err)
		h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		l.must("open netlink", err)
		l.spots = append(l.spots, spot{name, ns, h})
		l.up(h, "lo")
	}
	hub := l.spots[0]
	l.Add(Hub, &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}})
	l.address(hub.h, "br0", "192.0.2.254/24", "2001:db8::fe/64")
	for i, s := range l.spots[1:] {
		port := fmt.Sprintf("p%d", i+1)
		l.Cable(s.name, "eth0", Hub, port)
		br, err := hub.h.LinkByName("br0")
		l.must("find br0", err)
		p, err := hub.h.LinkByName(port)
		l.must("find "+port, err)
		l.must("plug "+port, hub.h.LinkSetMaster(p, br))
		l.address(s.h, "eth0", fmt.Sprintf("192.0.2.%d/24", i+1), fmt.Sprintf("2001:db8::%x/64", i+1))
	}
	l.In(Hub, func() {})
	return l
}

// Cable connects two interfaces, each end up in its namespace.
func (l *Lab) Cable(a, ifa, b, ifb string) {
	l.t.Helper()
	from, to := l.spot(a), l.spot(b)
	l.Add(a, &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: ifa}, PeerName: ifb, PeerNamespace: netlink.NsFd(to.ns)})
	l.up(to.h, ifb)
	l.up(from.h, ifa)
}

// Add makes an interface and sets it up. A kernel that can not make this kind
// skips the test.
func (l *Lab) Add(node string, link netlink.Link) {
	l.t.Helper()
	s := l.spot(node)
	if err := s.h.LinkAdd(link); err != nil {
		if errors.Is(err, unix.EOPNOTSUPP) {
			testskip.Kernel(l.t, module(link.Type()), fmt.Sprintf("make interface %s: %v", link.Attrs().Name, err))
		}
		l.must("make interface "+link.Attrs().Name, err)
	}
	l.up(s.h, link.Attrs().Name)
}

// module is the kernel module of a kind of interface.
func module(kind string) string {
	switch kind {
	case "bond":
		return "bonding"
	case "vlan":
		return "8021q"
	}
	return kind
}

// Handle is netlink inside a node.
func (l *Lab) Handle(node string) *netlink.Handle { return l.spot(node).h }

// In runs f with the thread inside a node.
func (l *Lab) In(node string, f func()) {
	l.t.Helper()
	l.must("enter "+node, netns.Set(l.spot(node).ns))
	f()
	l.must("return", netns.Set(l.home))
}

// HW is the link-layer address of an interface.
func (l *Lab) HW(node, name string) string {
	l.t.Helper()
	link, err := l.spot(node).h.LinkByName(name)
	l.must("find "+name, err)
	return link.Attrs().HardwareAddr.String()
}

// Learn makes the hub believe that an address is at a link-layer address, as
// if it had just been told so.
func (l *Lab) Learn(a, hw string) {
	l.t.Helper()
	br, err := l.spots[0].h.LinkByName("br0")
	l.must("find br0", err)
	mac, err := net.ParseMAC(hw)
	l.must("read "+hw, err)
	l.must("learn "+a, l.spots[0].h.NeighSet(&netlink.Neigh{LinkIndex: br.Attrs().Index, IP: net.ParseIP(a), HardwareAddr: mac, State: netlink.NUD_REACHABLE}))
}

// Neighbour is where the hub believes an address to be, or "".
func (l *Lab) Neighbour(a string) string {
	l.t.Helper()
	br, err := l.spots[0].h.LinkByName("br0")
	l.must("find br0", err)
	list, err := l.spots[0].h.NeighList(br.Attrs().Index, netlink.FAMILY_ALL)
	l.must("list neighbours", err)
	ip := net.ParseIP(a)
	for _, n := range list {
		if n.IP.Equal(ip) {
			return n.HardwareAddr.String()
		}
	}
	return ""
}

// Addresses lists the global addresses of an interface, blank separated.
func (l *Lab) Addresses(node, name string) string {
	l.t.Helper()
	s := l.spot(node)
	link, err := s.h.LinkByName(name)
	l.must("find "+name, err)
	list, err := s.h.AddrList(link, netlink.FAMILY_ALL)
	l.must("list addresses", err)
	var out []string
	for _, a := range list {
		if p, err := netip.ParsePrefix(a.IPNet.String()); err == nil && !p.Addr().IsLinkLocalUnicast() {
			out = append(out, a.IPNet.String())
		}
	}
	return strings.Join(out, " ")
}

// Down takes an interface down, Up sets it up.
func (l *Lab) Down(node, name string) {
	l.t.Helper()
	link, err := l.spot(node).h.LinkByName(name)
	l.must("find "+name, err)
	l.must("take "+name+" down", l.spot(node).h.LinkSetDown(link))
}

// Up sets an interface up.
func (l *Lab) Up(node, name string) {
	l.t.Helper()
	l.up(l.spot(node).h, name)
}

// Address adds addresses that are valid at once.
func (l *Lab) Address(node, name string, prefixes ...string) {
	l.t.Helper()
	l.address(l.spot(node).h, name, prefixes...)
}

func (l *Lab) address(h *netlink.Handle, name string, prefixes ...string) {
	l.t.Helper()
	link, err := h.LinkByName(name)
	l.must("find "+name, err)
	for _, p := range prefixes {
		a, err := netlink.ParseAddr(p)
		l.must("read "+p, err)
		if a.IP.To4() == nil {
			a.Flags = unix.IFA_F_NODAD
		}
		l.must("add "+p, h.AddrAdd(link, a))
	}
}

func (l *Lab) up(h *netlink.Handle, name string) {
	l.t.Helper()
	link, err := h.LinkByName(name)
	l.must("find "+name, err)
	l.must("set "+name+" up", h.LinkSetUp(link))
}

func (l *Lab) spot(name string) spot {
	l.t.Helper()
	for _, s := range l.spots {
		if s.name == name {
			return s
		}
	}
	l.t.Fatalf("no node %s in the lab", name)
	return spot{}
}

func (l *Lab) must(what string, err error) {
	l.t.Helper()
	if err != nil {
		l.t.Fatalf("%s: %v", what, err)
	}
}
