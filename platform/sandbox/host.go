//go:build linux

package sandbox

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A Host is a machine on the bridge without processes: a network namespace, with
// its own neighbour table, in which this process makes connections. Safe for
// concurrent use.
type Host struct {
	there, here *os.File // namespaces: the host's, this process's
	// using is held while a thread is on the host, and by Close.
	using  sync.RWMutex
	closed bool
}

// NewHost makes a host on the bridge of this stage: its eth0, which has the address
// at, is connected to port. It is gone after Close, or with the process.
func NewHost(port string, at netip.Prefix) (*Host, error) {
	h := &Host{}
	var err error
	if h.here, err = os.Open(threadNet); err != nil {
		return nil, fmt.Errorf("open the network namespace: %w", err)
	}
	if err := h.make(); err != nil {
		h.Close()
		return nil, err
	}
	err = plug(port, MAC(at.Addr()), netlink.NsFd(h.there.Fd()))
	if err == nil {
		err = h.in(func() error { return configure(cable, at) })
	}
	if err != nil {
		h.Close()
		return nil, err
	}
	return h, nil
}

// threadNet is the network namespace of the calling thread (namespaces(7)).
const threadNet = "/proc/thread-self/ns/net"

// make unshares a thread's network for a moment, and keeps what it got.
func (h *Host) make() (err error) {
	h.using.RLock()
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		h.using.RUnlock()
		return fmt.Errorf("make a network namespace: %w", err)
	}
	if h.there, err = os.Open(threadNet); err != nil {
		err = fmt.Errorf("open a new network namespace: %w", err)
	}
	return h.back(err)
}

// enter moves the calling thread to the host, and keeps the goroutine on it
// until back.
func (h *Host) enter() error {
	h.using.RLock()
	if h.closed {
		h.using.RUnlock()
		return net.ErrClosed
	}
	runtime.LockOSThread()
	if err := unix.Setns(int(h.there.Fd()), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		h.using.RUnlock()
		return fmt.Errorf("enter the host's network namespace: %w", err)
	}
	return nil
}

// back undoes enter, and passes an error on. A thread that cannot go back stays
// locked, and ends with its goroutine.
func (h *Host) back(err error) error {
	defer h.using.RUnlock()
	if e := unix.Setns(int(h.here.Fd()), unix.CLONE_NEWNET); e != nil {
		return fmt.Errorf("leave the host's network namespace: %w", e)
	}
	runtime.UnlockOSThread()
	return err
}

// in runs f, which must not start goroutines, on the host.
func (h *Host) in(f func() error) error {
	if err := h.enter(); err != nil {
		return err
	}
	return h.back(f())
}

// DialContext connects from the host, as net.Dialer.DialContext does. address
// has an IP address, not a name: looking up a name takes threads of its own.
func (h *Host) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	if _, err := netip.ParseAddrPort(address); err != nil {
		return nil, fmt.Errorf("connect from a host of the sandbox: %w", err)
	}
	// A socket belongs to the namespace in which it was made. That is the case
	// when Control runs, in the goroutine of the call; the rest may take long, and
	// needs no thread.
	left := false
	leave := func() error { left = true; return h.back(nil) }
	d := net.Dialer{Control: func(string, string, syscall.RawConn) error { return leave() }}
	if err := h.enter(); err != nil {
		return nil, err
	}
	conn, err := d.DialContext(ctx, network, address)
	if !left {
		if e := leave(); e != nil && err == nil {
			err = e
		}
	}
	return conn, err
}

// Neighbour is the hardware address that the host believes an address of its
// network to have (arp(7)), or nil while it knows none.
func (h *Host) Neighbour(of netip.Addr) (mac net.HardwareAddr, err error) {
	err = h.in(func() error {
		link, err := netlink.LinkByName(cable)
		if err != nil {
			return fmt.Errorf("find the interface %s: %w", cable, err)
		}
		all, err := netlink.NeighList(link.Attrs().Index, netlink.FAMILY_ALL)
		if err != nil {
			return fmt.Errorf("read the neighbour table: %w", err)
		}
		for _, n := range all {
			if ip, ok := netip.AddrFromSlice(n.IP); ok && ip.Unmap() == of && len(n.HardwareAddr) > 0 && n.State&(netlink.NUD_FAILED|netlink.NUD_INCOMPLETE) == 0 {
				mac = n.HardwareAddr
			}
		}
		return nil
	})
	return mac, err
}

// Close takes the host away, as soon as its connections are closed as well. What
// is called afterwards fails with net.ErrClosed.
func (h *Host) Close() {
	h.using.Lock()
	defer h.using.Unlock()
	h.closed = true
	for _, f := range []*os.File{h.there, h.here} {
		if f != nil {
			_ = f.Close()
		}
	}
}
