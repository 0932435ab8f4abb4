//go:build linux

package netif

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/haobox/haobox/platform"
)

// lister is a netlink socket for listings. It blocks: the kernel has the
// answer ready when the request was sent, and the library's sockets, which
// wait through the run time's poller, cost a process that asks twice and ends
// more than the whole rest of its work.
type lister struct {
	fd  int
	buf []byte
}

// listSize is the size of the buffer for one read: the kernel makes its parts
// of a listing at most 32 KiB large (netlink(7)).
const listSize = 1 << 15

func openLister() (*lister, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	limit := unix.NsecToTimeval(replyLimit.Nanoseconds())
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return &lister{fd: fd, buf: make([]byte, listSize)}, nil
}

func (l *lister) close() { unix.Close(l.fd) }

// list sends a request for a listing and hands each object over. If the kernel
// says that it changed meanwhile, the error is netlink.ErrDumpInterrupted.
func (l *lister) list(kind int, body nl.NetlinkRequestData, each func(syscall.NetlinkMessage) error) error {
	req := nl.NewNetlinkRequest(kind, unix.NLM_F_DUMP)
	req.AddData(body)
	if err := unix.Sendto(l.fd, req.Serialize(), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("ask the kernel: %w", err)
	}
	interrupted := false
	for {
		n, from, err := unix.Recvfrom(l.fd, l.buf, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return fmt.Errorf("wait for the kernel's answer: %w", err)
		}
		if a, ok := from.(*unix.SockaddrNetlink); !ok || a.Pid != 0 {
			continue // not from the kernel
		}
		msgs, err := syscall.ParseNetlinkMessage(l.buf[:n])
		if err != nil {
			return fmt.Errorf("read the kernel's answer: %w", err)
		}
		for _, m := range msgs {
			if m.Header.Seq != req.Seq {
				continue // the rest of an answer that was given up
			}
			interrupted = interrupted || m.Header.Flags&unix.NLM_F_DUMP_INTR != 0
			switch {
			case m.Header.Type == unix.NLMSG_ERROR || m.Header.Type == unix.NLMSG_DONE && len(m.Data) >= 4:
				// A negative errno in the machine's byte order, netlink(7).
				if len(m.Data) < 4 {
					return unix.EBADMSG
				}
				if code := int32(binary.NativeEndian.Uint32(m.Data)); code < 0 {
					return unix.Errno(-code)
				}
				fallthrough
			case m.Header.Type == unix.NLMSG_DONE:
				if interrupted {
					return netlink.ErrDumpInterrupted
				}
				return nil
			}
			if err := each(m); err != nil {
				return fmt.Errorf("read the kernel's answer: %w", err)
			}
		}
	}
}

func (l *lister) links() (out []platform.Link, err error) {
	err = l.list(unix.RTM_GETLINK, nl.NewIfInfomsg(unix.AF_UNSPEC), func(m syscall.NetlinkMessage) error {
		if len(m.Data) < unix.SizeofIfInfomsg {
			return unix.EBADMSG
		}
		h := unix.NlMsghdr(m.Header)
		have, err := netlink.LinkDeserialize(&h, m.Data)
		if err == nil {
			out = append(out, link(have))
		}
		return err
	})
	return out, err
}

func (l *lister) addrs() (out []platform.LinkAddr, err error) {
	err = l.list(unix.RTM_GETADDR, nl.NewIfAddrmsg(unix.AF_UNSPEC), func(m syscall.NetlinkMessage) error {
		if len(m.Data) < unix.SizeofIfAddrmsg {
			return unix.EBADMSG
		}
		a, ok, err := linkAddr(m.Data)
		if ok {
			out = append(out, a)
		}
		return err
	})
	return out, err
}

// linkAddr reads an RTM_NEWADDR message without its header, at least as long
// as struct ifaddrmsg. ok is false for what is no IP address.
func linkAddr(b []byte) (a platform.LinkAddr, ok bool, err error) {
	msg := nl.DeserializeIfAddrmsg(b)
	attrs, err := nl.ParseRouteAttr(b[unix.SizeofIfAddrmsg:])
	if err != nil {
		return a, false, err
	}
	flags := uint32(msg.IfAddrmsg.Flags)
	var local, peer netip.Addr
	for _, attr := range attrs {
		switch attr.Attr.Type {
		case unix.IFA_LOCAL:
			local, _ = netip.AddrFromSlice(attr.Value)
		case unix.IFA_ADDRESS:
			peer, _ = netip.AddrFromSlice(attr.Value)
		case unix.IFA_FLAGS:
			if len(attr.Value) >= 4 {
				flags = binary.NativeEndian.Uint32(attr.Value)
			}
		}
	}
	// rtnetlink(7): IFA_ADDRESS is the same as IFA_LOCAL, but on a
	// point-to-point interface it is the other end, which has the prefix. IPv6
	// has IFA_LOCAL only then.
	addr, bits := peer, int(msg.Prefixlen)
	if local.IsValid() && local != peer {
		addr, bits = local, local.BitLen()
	}
	p := netip.PrefixFrom(addr, bits)
	return platform.LinkAddr{
		Link: int(msg.Index), Prefix: p,
		Tentative: flags&unix.IFA_F_TENTATIVE != 0, Failed: flags&unix.IFA_F_DADFAILED != 0,
		Secondary: flags&unix.IFA_F_SECONDARY != 0 && addr.Is4(),
	}, p.IsValid(), nil
}
