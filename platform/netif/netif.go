//go:build linux

// Package netif reads and changes addresses of network interfaces over
// rtnetlink (rtnetlink(7), through github.com/vishvananda/netlink), and talks
// to the neighbours: probes and announcements of ARP (RFC 826, RFC 5227) and
// of IPv6 neighbour discovery (RFC 4861, RFC 4862), and a local echo request.
//
// All sockets belong to the network namespace of the thread that calls Open,
// Probe, Announce or Ping.
package netif

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
	"unsafe"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/haobox/haobox/platform"
)

const (
	// replyLimit bounds each wait for the kernel's answer. Ours: it answers
	// within microseconds.
	replyLimit = 5 * time.Second
	// dumpTries is how often a listing is repeated that changed meanwhile.
	dumpTries = 5
)

// Net is a connection to rtnetlink. Safe for concurrent use.
type Net struct {
	mu sync.Mutex
	l  *lister
	h  calls
	// events, if open, tells when the last listing is out of date.
	events *nl.NetlinkSocket
	last   *platform.Network
	buf    []byte
}

// calls are the methods of a *netlink.Handle that are used. A field of that
// type itself would make all its 250 methods part of the binary, 0.9 MB: the
// linker has to assume that text/template, of urfave/cli, calls them by name.
type calls struct {
	AddrList               func(netlink.Link, int) ([]netlink.Addr, error)
	AddrAdd, AddrDel       func(netlink.Link, *netlink.Addr) error
	RouteListFiltered      func(family int, filter *netlink.Route, mask uint64) ([]netlink.Route, error)
	RouteAdd, RouteReplace func(*netlink.Route) error
	Close                  func()
}

func callsOf(h *netlink.Handle) calls {
	return calls{
		AddrList: h.AddrList, AddrAdd: h.AddrAdd, AddrDel: h.AddrDel,
		RouteListFiltered: h.RouteListFiltered, RouteAdd: h.RouteAdd, RouteReplace: h.RouteReplace, Close: h.Close,
	}
}

// Open connects. With watch, State asks the kernel again only after something
// has changed: for a process that looks often. Without, the socket for changes
// is opened by the first one.
func Open(watch bool) (*Net, error) {
	n := &Net{}
	if watch {
		s, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR)
		if err != nil {
			return nil, fmt.Errorf("listen to changes of network interfaces: %w", err)
		}
		n.events, n.buf = s, make([]byte, 1<<16)
	}
	var err error
	if n.l, err = openLister(); err == nil && watch {
		_, err = n.calls()
	}
	if err != nil {
		n.Close()
		return nil, fmt.Errorf("open a netlink socket: %w", err)
	}
	return n, nil
}

// calls opens the socket for changes.
func (n *Net) calls() (calls, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.h.Close == nil {
		h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err == nil {
			if err = h.SetSocketTimeout(replyLimit); err != nil {
				h.Close()
			}
		}
		if err != nil {
			return calls{}, fmt.Errorf("open a netlink socket: %w", err)
		}
		n.h = callsOf(h)
	}
	return n.h, nil
}

// Close closes the sockets.
func (n *Net) Close() {
	if n.events != nil {
		n.events.Close()
	}
	if n.l != nil {
		n.l.close()
	}
	if n.h.Close != nil {
		n.h.Close()
	}
}

// State lists interfaces and addresses. The result is not to be changed.
func (n *Net) State() (*platform.Network, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	// The events are taken off before the listing: one that comes during it
	// makes the next call list again.
	if !n.changed() && n.last != nil {
		return n.last, nil
	}
	n.last = nil
	links, err := dump(n.l.links)
	if err != nil {
		return nil, fmt.Errorf("list network interfaces: %w", err)
	}
	addrs, err := dump(n.l.addrs)
	if err != nil {
		return nil, fmt.Errorf("list network addresses: %w", err)
	}
	s := &platform.Network{Links: links, Addrs: addrs}
	if n.events != nil {
		n.last = s
	}
	return s, nil
}

// changed takes all events off the queue and reports whether there was one, or
// whether some were lost. Without events everything may have changed.
func (n *Net) changed() bool {
	if n.events == nil {
		return true
	}
	changed := false
	for {
		// Raw: it does not block, and a system call that Go's run time knows of
		// wakes its monitor, which costs ten times as much as the look.
		_, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(n.events.GetFd()), uintptr(unsafe.Pointer(&n.buf[0])), uintptr(len(n.buf)), unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case unix.EAGAIN:
			return changed
		case unix.EINTR:
		case 0, unix.ENOBUFS:
			changed = true
		default:
			return true
		}
	}
}

// dump repeats a listing that the kernel marked as inconsistent.
func dump[T any](list func() ([]T, error)) ([]T, error) {
	for try := 1; ; try++ {
		out, err := list()
		if !errors.Is(err, netlink.ErrDumpInterrupted) || try == dumpTries {
			return out, err
		}
	}
}

func link(l netlink.Link) platform.Link {
	a := l.Attrs()
	kind := l.Type()
	if kind == "device" {
		kind = ""
	}
	out := platform.Link{
		// The library's is a part of the message, whose buffer is used again.
		Index: a.Index, Name: a.Name, HW: slices.Clone(a.HardwareAddr), Kind: kind, Master: a.MasterIndex,
		Up: a.RawFlags&unix.IFF_UP != 0, Carrier: a.RawFlags&unix.IFF_LOWER_UP != 0,
		Loopback: a.RawFlags&unix.IFF_LOOPBACK != 0, NoARP: a.RawFlags&unix.IFF_NOARP != 0,
	}
	// With a namespace id the parent's index means an interface elsewhere.
	if a.NetNsID < 0 {
		out.Parent = a.ParentIndex
	}
	return out
}

// prefix turns a net.IPNet into a netip.Prefix.
func prefix(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	a, ok := netip.AddrFromSlice(n.IP)
	if !ok {
		return netip.Prefix{}, false
	}
	bits, _ := n.Mask.Size()
	if a.Is4In6() && bits > 32 {
		bits -= 96
	}
	return netip.PrefixFrom(a.Unmap(), bits), true
}

func ipnet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// Add adds an address without label and broadcast address. IPv6 addresses are
// valid at once: the kernel does not look for duplicates, Probe does. One that
// is there already is no error.
func (n *Net) Add(index int, p netip.Prefix) error {
	h, err := n.calls()
	if err != nil {
		return err
	}
	a := &netlink.Addr{IPNet: ipnet(p), LinkIndex: index, Broadcast: net.IPv4zero}
	if p.Addr().Is6() {
		a.Flags = unix.IFA_F_NODAD
	} else if p.Addr().IsLoopback() {
		a.Scope = unix.RT_SCOPE_HOST // the kernel takes no other beside 127.0.0.1
	}
	if err := h.AddrAdd(nil, a); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("add %v to interface %d: %w", p, index, err)
	}
	return nil
}

// Remove removes an address. What the kernel takes along with it and belongs
// to others is put back: secondary addresses of the network, routes of the
// interface, and routes that preferred the address as source, which then use
// another one. An address that is not there is no error.
func (n *Net) Remove(index int, p netip.Prefix) error {
	h, err := n.calls()
	if err != nil {
		return err
	}
	family := netlink.FAMILY_V4
	if p.Addr().Is6() {
		family = netlink.FAMILY_V6
	}
	addrsBefore, err := dump(func() ([]netlink.Addr, error) { return h.AddrList(byIndex(index), family) })
	if err != nil {
		return fmt.Errorf("list addresses of interface %d: %w", index, err)
	}
	routesBefore, err := dump(func() ([]netlink.Route, error) { return h.routes(index, family) })
	if err != nil {
		return fmt.Errorf("list routes of interface %d: %w", index, err)
	}
	if err := h.AddrDel(nil, &netlink.Addr{IPNet: ipnet(p), LinkIndex: index}); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
		return fmt.Errorf("remove %v from interface %d: %w", p, index, err)
	}
	var faults []error
	addrsAfter, err := dump(func() ([]netlink.Addr, error) { return h.AddrList(byIndex(index), family) })
	if err != nil {
		return fmt.Errorf("list addresses of interface %d: %w", index, err)
	}
	for i := range addrsBefore {
		a := &addrsBefore[i]
		q, ok := prefix(a.IPNet)
		if !ok || q.Addr() == p.Addr() || hasAddr(addrsAfter, q) {
			continue
		}
		a.Flags &^= unix.IFA_F_SECONDARY | unix.IFA_F_PERMANENT
		a.ValidLft, a.PreferedLft = 0, 0
		if a.Broadcast == nil {
			a.Broadcast = net.IPv4zero
		}
		if err := h.AddrAdd(nil, a); err != nil && !errors.Is(err, unix.EEXIST) {
			faults = append(faults, fmt.Errorf("put %v back on interface %d: %w", q, index, err))
		}
	}
	return errors.Join(append(faults, h.restore(index, family, p, routesBefore)...)...)
}

// routes lists the unicast routes through an interface, of every table but the
// kernel's own "local".
func (h calls) routes(index, family int) ([]netlink.Route, error) {
	return h.RouteListFiltered(family, &netlink.Route{LinkIndex: index, Type: unix.RTN_UNICAST, Table: unix.RT_TABLE_UNSPEC},
		netlink.RT_FILTER_OIF|netlink.RT_FILTER_TYPE|netlink.RT_FILTER_TABLE)
}

// restore puts routes back that went with the address p.
func (h calls) restore(index, family int, p netip.Prefix, before []netlink.Route) []error {
	after, err := dump(func() ([]netlink.Route, error) { return h.routes(index, family) })
	if err != nil {
		return []error{fmt.Errorf("list routes of interface %d: %w", index, err)}
	}
	state, err := dump(func() ([]netlink.Addr, error) { return h.AddrList(byIndex(index), family) })
	if err != nil {
		return []error{fmt.Errorf("list addresses of interface %d: %w", index, err)}
	}
	var faults []error
	for i := range before {
		r := before[i]
		if has(after, &r) {
			continue
		}
		if r.Src != nil && r.Src.Equal(net.IP(p.Addr().AsSlice())) {
			r.Src = nil
		}
		connected := r.Gw == nil && r.Dst != nil && r.Protocol == unix.RTPROT_KERNEL
		if connected && !covers(state, r.Dst) {
			continue // the network of the address alone
		}
		r.Flags &^= int(unix.RTNH_F_LINKDOWN) | int(unix.RTNH_F_DEAD)
		if err := h.RouteAdd(&r); err != nil && !errors.Is(err, unix.EEXIST) {
			faults = append(faults, fmt.Errorf("put the route to %v through interface %d back: %w", r.Dst, index, err))
		}
	}
	return faults
}

func byIndex(index int) netlink.Link {
	return &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: index}}
}

func hasAddr(list []netlink.Addr, p netip.Prefix) bool {
	for i := range list {
		if q, ok := prefix(list[i].IPNet); ok && q == p {
			return true
		}
	}
	return false
}

// has reports whether the list has a route of the same destination, gateway,
// table and metric.
func has(list []netlink.Route, r *netlink.Route) bool {
	for i := range list {
		o := &list[i]
		if o.Table == r.Table && o.Priority == r.Priority && o.Gw.Equal(r.Gw) && sameNet(o.Dst, r.Dst) {
			return true
		}
	}
	return false
}

func sameNet(a, b *net.IPNet) bool {
	pa, aok := prefix(a)
	pb, bok := prefix(b)
	return aok == bok && pa == pb
}

// covers reports whether an address of the interface is in the network.
func covers(list []netlink.Addr, dst *net.IPNet) bool {
	for i := range list {
		if dst.Contains(list[i].IP) {
			return true
		}
	}
	return false
}

// PreferSource makes the address the source of what is sent through the routes
// of its network and through gateways in it.
func (n *Net) PreferSource(index int, p netip.Prefix) error {
	h, err := n.calls()
	if err != nil {
		return err
	}
	family := netlink.FAMILY_V4
	if p.Addr().Is6() {
		family = netlink.FAMILY_V6
	}
	list, err := dump(func() ([]netlink.Route, error) { return h.routes(index, family) })
	if err != nil {
		return fmt.Errorf("list routes of interface %d: %w", index, err)
	}
	src := net.IP(p.Addr().AsSlice())
	var faults []error
	for _, r := range list {
		through := r.Gw
		if through == nil {
			if r.Dst == nil || !r.Dst.Contains(src) {
				continue
			}
		} else if !ipnet(p).Contains(through) {
			continue
		}
		if r.Src.Equal(src) {
			continue
		}
		r.Src = src
		if err := h.RouteReplace(&r); err != nil {
			faults = append(faults, fmt.Errorf("make %v the source of the route to %v: %w", p.Addr(), r.Dst, err))
		}
	}
	return errors.Join(faults...)
}
