package watch

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Config says what the machine's Watcher uses.
type Config struct {
	// MountInfo is the mount table; "" means /proc/self/mountinfo.
	MountInfo string
	// MountsEvery is how often the mount table is read without being told, as
	// long as there are mounts to watch; 0 means 10 s.
	MountsEvery time.Duration
	// Units calls changed with the name of each unit whose state changed, and
	// with "" when some changes may have been missed, until ctx is done or it
	// fails. nil: units are not watched.
	Units func(ctx context.Context, changed func(unit string)) error
}

// unitsPause is the pause before units are watched again after a failure.
// Ours: polling covers the time in between.
const unitsPause = 5 * time.Second

// machine is the Watcher of this machine. One goroutine waits for the kernel;
// sources are opened when there is the first target for them.
type machine struct {
	*pending
	cfg  Config
	ep   int
	wake int

	mu      sync.Mutex
	closed  bool
	targets map[string][]Target
	count   int
	// byName finds keys by target: addresses, mounts and units.
	byName  map[Target]map[string]bool
	procs   map[int32]process // pidfd to its key
	links   map[int32]bool    // interface index: it has a carrier
	net     int               // netlink socket, -1 if none
	mounts  int               // the mount table, -1 if it is not open
	read    time.Time         // when it was read last
	present map[string]bool   // mount points that are there

	done   chan struct{}
	cancel context.CancelFunc
	ctx    context.Context
	units  bool
	wg     sync.WaitGroup
}

type process struct {
	key string
	pid int
}

// Open returns the Watcher of this machine. It belongs to the network
// namespace of the calling thread.
func Open(cfg Config) (Watcher, error) {
	if cfg.MountInfo == "" {
		cfg.MountInfo = "/proc/self/mountinfo"
	}
	if cfg.MountsEvery == 0 {
		cfg.MountsEvery = mountsEvery
	}
	ctx, cancel := context.WithCancel(context.Background())
	m := &machine{pending: newPending(), cfg: cfg, ep: -1, wake: -1, net: -1, mounts: -1, targets: map[string][]Target{},
		byName: map[Target]map[string]bool{}, procs: map[int32]process{}, links: map[int32]bool{},
		done: make(chan struct{}), ctx: ctx, cancel: cancel}
	var err error
	if m.ep, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		cancel()
		return nil, fmt.Errorf("watch resources: epoll: %w", err)
	}
	if m.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err == nil {
		err = m.wait(m.wake, unix.EPOLLIN)
	}
	if err == nil {
		// Opened now, because it belongs to this thread's namespace.
		err = m.openNet()
	}
	if err != nil {
		cancel()
		m.release()
		return nil, fmt.Errorf("watch resources: %w", err)
	}
	go m.run()
	return m, nil
}

func (m *machine) wait(fd int, events uint32) error {
	return unix.EpollCtl(m.ep, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: events, Fd: int32(fd)})
}

func (m *machine) openNet() error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open a netlink socket: %w", err)
	}
	groups := uint32(1<<(unix.RTNLGRP_LINK-1) | 1<<(unix.RTNLGRP_IPV4_IFADDR-1) | 1<<(unix.RTNLGRP_IPV6_IFADDR-1))
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		unix.Close(fd)
		return fmt.Errorf("listen to changes of network interfaces: %w", err)
	}
	m.net = fd
	return m.wait(fd, unix.EPOLLIN)
}

// Set implements Watcher.
func (m *machine) Set(key string, targets []Target) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return errors.New("watch resources: closed")
	}
	m.forget(key)
	var faults []error
	var kept []Target
	for _, t := range targets {
		if m.count >= MaxTargets {
			faults = append(faults, fmt.Errorf("watch %s: %d targets are watched already", key, m.count))
			break
		}
		if err := m.begin(key, &t); err != nil {
			faults = append(faults, fmt.Errorf("watch %s: %w", key, err))
			continue
		}
		kept = append(kept, t)
		m.count++
	}
	if len(kept) > 0 {
		m.targets[key] = kept
	}
	return errors.Join(faults...)
}

func (m *machine) begin(key string, t *Target) error {
	switch t.Kind {
	case Address:
		a, err := netip.ParseAddr(t.Name)
		if err != nil {
			return err
		}
		t.Name = a.WithZone("").Unmap().String()
	case Process:
		fd, err := unix.PidfdOpen(t.PID, 0)
		if errors.Is(err, unix.ESRCH) {
			m.add(key)
			return nil
		}
		if err != nil {
			return fmt.Errorf("process %d: %w", t.PID, err)
		}
		m.procs[int32(fd)] = process{key, t.PID}
		if err := m.wait(fd, unix.EPOLLIN); err != nil {
			delete(m.procs, int32(fd))
			unix.Close(fd)
			return fmt.Errorf("process %d: %w", t.PID, err)
		}
		return nil
	case Mount:
		if m.mounts < 0 {
			// The kernel keeps the number of the last change that was told
			// with the open file, and the first poll of it takes the event. An
			// os.File would be polled by Go's runtime, too.
			fd, err := unix.Open(m.cfg.MountInfo, unix.O_RDONLY|unix.O_CLOEXEC, 0)
			if err != nil {
				return &os.PathError{Op: "open", Path: m.cfg.MountInfo, Err: err}
			}
			if err := m.wait(fd, unix.EPOLLPRI); err != nil {
				unix.Close(fd)
				return fmt.Errorf("%s: %w", m.cfg.MountInfo, err)
			}
			m.mounts = fd
			m.nudge() // it is read from time to time from now on
		}
		// Read each time: what was mounted before this call is in it. What
		// others lost since the last time is told to them.
		if err := m.readMounts(); err != nil {
			return err
		}
		if !m.present[t.Name] {
			m.add(key)
		}
	case Unit:
		if m.cfg.Units == nil {
			return errors.New("units are not watched on this machine")
		}
		if !m.units {
			m.units = true
			m.wg.Add(1)
			go m.watchUnits()
		}
	default:
		return fmt.Errorf("kind %d is not known", t.Kind)
	}
	keys := m.byName[Target{Kind: t.Kind, Name: t.Name}]
	if keys == nil {
		keys = map[string]bool{}
		m.byName[Target{Kind: t.Kind, Name: t.Name}] = keys
	}
	keys[key] = true
	return nil
}

// forget drops the targets of a key.
func (m *machine) forget(key string) {
	for _, t := range m.targets[key] {
		m.count--
		name := Target{Kind: t.Kind, Name: t.Name}
		if keys := m.byName[name]; keys != nil {
			if delete(keys, key); len(keys) == 0 {
				delete(m.byName, name)
			}
		}
	}
	for fd, p := range m.procs {
		if p.key == key {
			m.endProcess(fd)
		}
	}
	delete(m.targets, key)
}

func (m *machine) endProcess(fd int32) {
	delete(m.procs, fd)
	unix.Close(int(fd)) // and out of the epoll set with it
}

// fire tells about the keys of a target.
func (m *machine) fire(t Target) {
	for k := range m.byName[t] {
		m.add(k)
	}
}

// fireKind tells about everything of a kind.
func (m *machine) fireKind(k Kind) {
	for t := range m.byName {
		if t.Kind == k {
			m.fire(t)
		}
	}
}

// over reports whether the process of a pidfd has ended.
func over(fd int32) bool {
	n, err := unix.Poll([]unix.PollFd{{Fd: fd, Events: unix.POLLIN}}, 0)
	return n > 0 || err != nil
}

// mountsEvery is how often the mount table is read without being told. Ours:
// nothing is known to go untold, and a wake-up costs more than the read.
const mountsEvery = 10 * time.Second

// patience is how long run may sleep, in milliseconds as epoll_wait(2) has
// them: for ever if only the kernel has something to tell.
func (m *machine) patience() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mounts < 0 {
		return -1
	}
	left := min(time.Until(m.read.Add(m.cfg.MountsEvery)), time.Hour)
	return int(max(left+time.Millisecond-1, 0) / time.Millisecond)
}

// nudge wakes run.
func (m *machine) nudge() {
	one := make([]byte, 8)
	binary.NativeEndian.PutUint64(one, 1)
	_, _ = unix.Write(m.wake, one)
}

func (m *machine) run() {
	defer close(m.done)
	events := make([]unix.EpollEvent, 64)
	buf := make([]byte, 1<<16)
	for {
		n, err := unix.EpollWait(m.ep, events, m.patience())
		if errors.Is(err, unix.EINTR) {
			continue
		}
		m.mu.Lock()
		if m.closed || err != nil {
			m.mu.Unlock()
			return
		}
		if m.mounts >= 0 && time.Since(m.read) >= m.cfg.MountsEvery {
			_ = m.readMounts() // told to all if it fails
		}
		for _, ev := range events[:max(n, 0)] {
			switch p, isProcess := m.procs[ev.Fd]; {
			case isProcess && over(ev.Fd):
				m.add(p.key)
				m.endProcess(ev.Fd)
			case isProcess: // the number was another process's a moment ago
			case int(ev.Fd) == m.net:
				m.readNet(buf)
			case int(ev.Fd) == m.mounts:
				_ = m.readMounts()
			case int(ev.Fd) == m.wake:
				_, _ = unix.Read(m.wake, buf[:8])
			}
		}
		m.mu.Unlock()
	}
}

// readNet takes all messages off the socket.
func (m *machine) readNet(buf []byte) {
	for {
		n, _, err := unix.Recvfrom(m.net, buf, unix.MSG_DONTWAIT)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.ENOBUFS): // some were lost
			m.fireKind(Address)
			continue
		case err != nil:
			return
		}
		for b := buf[:n]; len(b) >= unix.NLMSG_HDRLEN; {
			// Netlink is in the machine's own order.
			l, typ := int(binary.NativeEndian.Uint32(b)), binary.NativeEndian.Uint16(b[4:])
			if l < unix.NLMSG_HDRLEN || l > len(b) {
				break
			}
			m.message(typ, b[unix.NLMSG_HDRLEN:l])
			b = b[min((l+3)&^3, len(b)):]
		}
	}
}

// message looks at one message of rtnetlink(7).
func (m *machine) message(typ uint16, b []byte) {
	switch typ {
	case unix.RTM_DELADDR, unix.RTM_NEWADDR:
		a, flags, ok := decodeAddr(b)
		if ok && (typ == unix.RTM_DELADDR || flags&unix.IFA_F_DADFAILED != 0) {
			m.fire(Target{Kind: Address, Name: a.String()})
		}
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		// struct ifinfomsg: family u8, pad u8, type u16, index i32 @4, flags u32 @8.
		if len(b) < unix.SizeofIfInfomsg {
			return
		}
		index, flags := int32(binary.NativeEndian.Uint32(b[4:])), binary.NativeEndian.Uint32(b[8:])
		up := typ == unix.RTM_NEWLINK && flags&unix.IFF_UP != 0 && flags&unix.IFF_LOWER_UP != 0
		if was, known := m.links[index]; known && was == up {
			return // statistics, addresses of bridges and the like
		}
		m.links[index] = up
		if typ == unix.RTM_DELLINK {
			delete(m.links, index)
		}
		m.fireKind(Address)
	}
}

// decodeAddr reads struct ifaddrmsg (family u8, prefixlen u8, flags u8, scope
// u8, index u32) and its attributes IFA_LOCAL or IFA_ADDRESS, and IFA_FLAGS.
func decodeAddr(b []byte) (a netip.Addr, flags uint32, ok bool) {
	if len(b) < unix.SizeofIfAddrmsg {
		return a, 0, false
	}
	flags = uint32(b[2])
	local := false
	for b = b[unix.SizeofIfAddrmsg:]; len(b) >= unix.SizeofRtAttr; {
		l, typ := int(binary.NativeEndian.Uint16(b)), binary.NativeEndian.Uint16(b[2:])
		if l < unix.SizeofRtAttr || l > len(b) {
			break
		}
		v := b[unix.SizeofRtAttr:l]
		switch typ {
		case unix.IFA_LOCAL:
			if x, good := netip.AddrFromSlice(v); good {
				a, local = x, true
			}
		case unix.IFA_ADDRESS:
			if x, good := netip.AddrFromSlice(v); good && !local {
				a = x
			}
		case unix.IFA_FLAGS:
			if len(v) == 4 {
				flags = binary.NativeEndian.Uint32(v)
			}
		}
		b = b[min((l+3)&^3, len(b)):]
	}
	return a.Unmap(), flags, a.IsValid()
}

// readMounts finds out which mounts have gone.
func (m *machine) readMounts() error {
	m.read = time.Now()
	now, err := mountPoints(m.cfg.MountInfo)
	if err != nil {
		m.fireKind(Mount)
		return err
	}
	for t := range m.byName {
		if t.Kind == Mount && m.present[t.Name] && !now[t.Name] {
			m.fire(t)
		}
	}
	m.present = now
	return nil
}

// mountPoints reads the fifth field of each line, with its octal escapes.
func mountPoints(file string) (map[string]bool, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	out := map[string]bool{}
	for line := range bytes.Lines(text) {
		f := bytes.Fields(line)
		if len(f) > 4 {
			out[unescape(string(f[4]))] = true
		}
	}
	return out, nil
}

// unescape turns \040 and the like back.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+4 <= len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// watchUnits keeps the subscription to systemd. After each gap everything may
// have changed.
func (m *machine) watchUnits() {
	defer m.wg.Done()
	for {
		_ = m.cfg.Units(m.ctx, func(unit string) {
			m.mu.Lock()
			defer m.mu.Unlock()
			if unit == "" {
				m.fireKind(Unit)
				return
			}
			m.fire(Target{Kind: Unit, Name: unit})
		})
		t := time.NewTimer(unitsPause)
		select {
		case <-m.ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
	}
}

// Close implements Watcher.
func (m *machine) Close() {
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return
	}
	m.closed = true
	m.mu.Unlock()
	m.cancel()
	m.nudge()
	<-m.done
	m.wg.Wait()
	m.release()
}

func (m *machine) release() {
	for fd := range m.procs {
		m.endProcess(fd)
	}
	for _, fd := range []int{m.mounts, m.net, m.wake, m.ep} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}
