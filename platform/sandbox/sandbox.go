//go:build linux

// Package sandbox makes machines that are only namespaces (namespaces(7)): a
// stage with a bridge, and nodes on it with a cable each. The programs are
// started with platform.Cmd.Private; what is here they call themselves, as
// process 1 of their namespaces:
//
//	sandbox.Stage("/mnt", netip.MustParsePrefix("172.17.16.254/24")) // the stage
//	sandbox.Plug("v1", address.Addr(), pid)                           // the stage, for a node
//	sandbox.NewHost("c1", address)                                    // the stage, for a client
//	sandbox.Node(ctx, address, binds)                                 // the node
//	sandbox.Init(ctx, programs)                                       // the node
//
// Nothing of it outlives the processes: the kernel ends the interfaces, mounts
// and loop devices with the last of them. It is no jail: user ids, host name and
// all folders that are not named stay the machine's.
package sandbox

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	bridge = "br0"
	// cable is the interface of a node.
	cable = "eth0"
	// tick is the time between two looks at what has no event. Ours.
	tick = 10 * time.Millisecond
	// reapEvery finds a child whose SIGCHLD came together with another's. Ours.
	reapEvery = time.Second
)

// Stage makes this process's namespaces a place for nodes: an empty folder in
// memory at dir, and a bridge with the address at, on which Plug connects them.
func Stage(dir string, at netip.Prefix) error {
	if err := own(); err != nil {
		return err
	}
	if err := unix.Mount("haobox", dir, "tmpfs", 0, "mode=0755"); err != nil {
		return &os.PathError{Op: "mount a file system in memory at", Path: dir, Err: err}
	}
	// Without an address of its own a bridge takes the lowest of its ports', and
	// another one when that is unplugged: nobody would find the stage any more.
	br := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: bridge, HardwareAddr: MAC(at.Addr())}}
	if err := netlink.LinkAdd(br); err != nil {
		return fmt.Errorf("make the bridge %s: %w", bridge, err)
	}
	return configure(bridge, at)
}

// MAC is the hardware address of whoever has an IP address of the sandbox: a
// locally administered one (IEEE 802, section 8.4) that ends with the last four
// bytes of it.
func MAC(of netip.Addr) net.HardwareAddr {
	b := of.AsSlice()
	return append(net.HardwareAddr{2, 0}, b[max(0, len(b)-4):]...)
}

// own separates this process's mounts from its parent's, shows its own
// processes in /proc, and has the loopback interface up.
func own() error {
	if os.Getpid() != 1 {
		return errors.New("set up namespaces: this process has none of its own")
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make the mounts private: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	if err != nil {
		return fmt.Errorf("set up the loopback interface: %w", err)
	}
	return nil
}

// configure gives an interface an address and sets it up.
func configure(name string, at netip.Prefix) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find the interface %s: %w", name, err)
	}
	addr := &netlink.Addr{IPNet: &net.IPNet{IP: at.Addr().AsSlice(), Mask: net.CIDRMask(at.Bits(), at.Addr().BitLen())}}
	if err := netlink.AddrAdd(link, addr); err != nil {
		return fmt.Errorf("give %s to %s: %w", at, name, err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("set up the interface %s: %w", name, err)
	}
	return nil
}

// Plug connects the node whose process 1 has the number pid here: its eth0, which
// gets the hardware address of at, to port, an interface of the stage. A cable
// that port had before is taken away.
func Plug(port string, at netip.Addr, pid int) error {
	return plug(port, MAC(at), netlink.NsPid(pid))
}

// plug connects eth0 of a namespace, which netlink takes as a process number or
// an open file (veth(4)).
func plug(port string, mac net.HardwareAddr, namespace any) error {
	_ = Unplug(port)
	veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: port}, PeerName: cable, PeerHardwareAddr: mac, PeerNamespace: namespace}
	if err := netlink.LinkAdd(veth); err != nil {
		return fmt.Errorf("make the cable %s: %w", port, err)
	}
	br, err := netlink.LinkByName(bridge)
	if err != nil {
		return fmt.Errorf("find the bridge %s: %w", bridge, err)
	}
	if err := netlink.LinkSetMaster(veth, br); err != nil {
		return fmt.Errorf("connect the cable %s: %w", port, err)
	}
	return netlink.LinkSetUp(veth)
}

// Unplug takes a cable away, both its ends. A node that dies keeps its network,
// and answers for its addresses, until the kernel comes to take that down; without
// a cable nobody hears it.
func Unplug(port string) error {
	link, err := netlink.LinkByName(port)
	if err != nil {
		return fmt.Errorf("find the cable %s: %w", port, err)
	}
	return netlink.LinkDel(link)
}

// A Bind shows the folder From in the place of At. Where there is no At, the
// folder above it is one of the node's own that shows what the machine's has, and
// From.upper and From.work, beside From on the stage, hold the difference.
type Bind struct{ From, At string }

func (b Bind) mount() error {
	if _, err := os.Lstat(b.At); errors.Is(err, os.ErrNotExist) {
		above, upper, work := filepath.Dir(b.At), b.From+".upper", b.From+".work"
		for _, d := range []string{upper, work} {
			if err := os.MkdirAll(d, 0o755); err != nil {
				return err
			}
		}
		if err := unix.Mount("overlay", above, "overlay", 0, "lowerdir="+above+",upperdir="+upper+",workdir="+work); err != nil {
			return &os.PathError{Op: "mount an overlay at", Path: above, Err: err}
		}
		if err := os.MkdirAll(b.At, 0o755); err != nil {
			return err
		}
	}
	if err := unix.Mount(b.From, b.At, "", unix.MS_BIND, ""); err != nil {
		return &os.PathError{Op: "show " + b.From + " at", Path: b.At, Err: err}
	}
	return nil
}

// Node makes this process's namespaces a node: folders of its own in the place of
// the machine's, and the address at on eth0, for which it waits until ctx ends.
func Node(ctx context.Context, at netip.Prefix, binds []Bind) error {
	if err := own(); err != nil {
		return err
	}
	for _, b := range binds {
		if err := b.mount(); err != nil {
			return err
		}
	}
	for {
		if _, err := netlink.LinkByName(cable); err == nil {
			return configure(cable, at)
		}
		select {
		case <-time.After(tick):
		case <-ctx.Done():
			return fmt.Errorf("wait for the interface %s: %w", cable, ctx.Err())
		}
	}
}

// A Program is one that Init starts.
type Program struct {
	Path string
	Args []string // with argv[0]
	Env  []string
	// Output is the file that gets its output, appended.
	Output string
}

// Init starts programs, and adopts and buries what they leave behind, as
// process 1 of a machine does. It returns when ctx ends, with nil, or one of the
// programs does. It takes all children of the process: nobody else may wait for
// one.
func Init(ctx context.Context, programs []Program) error {
	// Outside a process namespace of its own, too, orphans come here.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("adopt orphans: %w", err)
	}
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGCHLD)
	defer signal.Stop(ended)
	names := map[int]string{}
	for _, p := range programs {
		out, err := os.OpenFile(p.Output, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		child, err := os.StartProcess(p.Path, p.Args, &os.ProcAttr{Env: p.Env, Files: []*os.File{nil, out, out}})
		out.Close()
		if err != nil {
			return err
		}
		names[child.Pid] = p.Args[0]
		_ = child.Release() // it is waited for below
	}
	for {
		select {
		case <-ended:
		case <-time.After(reapEvery):
		case <-ctx.Done():
			return nil
		}
		for {
			var status unix.WaitStatus
			pid, err := unix.Wait4(-1, &status, unix.WNOHANG, nil)
			if err == unix.EINTR {
				continue
			}
			if err != nil || pid <= 0 {
				break
			}
			if name, ok := names[pid]; ok {
				return fmt.Errorf("%s has ended: exit status %d, signal %d", name, status.ExitStatus(), max(status.Signal(), 0))
			}
		}
	}
}

// Fits reports why a folder is no place for files of so many bytes, among them
// programs (mount(8), "noexec"); nil means that it is one.
func Fits(dir string, bytes uint64) error {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return &os.PathError{Op: "look at", Path: dir, Err: err}
	}
	switch {
	case st.Flags&unix.ST_NOEXEC != 0:
		return fmt.Errorf("%s: no program may be run there (noexec)", dir)
	case st.Bavail*uint64(st.Bsize) < bytes:
		return fmt.Errorf("%s: %w", dir, unix.ENOSPC)
	}
	return nil
}

// Loop makes a file a block device. The device is gone when the file returned
// is closed and nothing has it mounted any more.
func Loop(path string) (*os.File, error) {
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer control.Close()
	back, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer back.Close()
	// Another program may take the free one first.
	for range 16 {
		var n int
		if n, err = unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE); err != nil {
			return nil, fmt.Errorf("find a free loop device: %w", err)
		}
		var dev *os.File
		if dev, err = os.OpenFile(fmt.Sprintf("/dev/loop%d", n), os.O_RDWR, 0); err != nil {
			return nil, err
		}
		config := unix.LoopConfig{Fd: uint32(back.Fd())}
		config.Info.Flags = unix.LO_FLAGS_AUTOCLEAR
		if err = unix.IoctlLoopConfigure(int(dev.Fd()), &config); err == nil {
			return dev, nil
		}
		dev.Close()
		if !errors.Is(err, unix.EBUSY) {
			break
		}
	}
	return nil, fmt.Errorf("make %s a loop device: %w", path, err)
}
