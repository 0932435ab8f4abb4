package agents

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// listening waits until the server listens at all addresses; port 0 is any.
func (s *server) listening(ctx context.Context, c *Call, want []netip.AddrPort) error {
	if len(want) == 0 {
		return nil
	}
	pid, _, err := s.look(c)
	if err != nil {
		return err
	}
	var missing []netip.AddrPort
	if c.Poll(ctx, pollInterval, lastWait, func() bool {
		missing = nil
		for _, at := range want {
			if !hasListener(c, pid, at) {
				missing = append(missing, at)
			}
		}
		return len(missing) == 0
	}) {
		return nil
	}
	return fmt.Errorf("%s (process %d) does not listen at %v: is the address on this node, and the port free?", s.programs[0], pid, missing)
}

// hasListener reports whether a process listens for TCP connections at an
// address; port 0 is any.
func hasListener(c *Call, pid int, at netip.AddrPort) bool {
	table := "net/tcp"
	if at.Addr().Is6() {
		table = "net/tcp6"
	}
	for _, f := range listeners(c, pid, table) {
		a, ok := procAddress(f[1])
		if ok && (a.Addr() == at.Addr().WithZone("") || a.Addr().IsUnspecified()) && (at.Port() == 0 || at.Port() == a.Port()) {
			return true
		}
	}
	return false
}

// endpoint is where a process listens: for "unix" or "tcp". ok is false if it
// does not listen at all. An unspecified address is that of the loopback.
func endpoint(c *Call, pid int) (network, address string, ok bool) {
	for _, f := range listeners(c, pid, "net/unix") {
		if len(f) > 7 && strings.HasPrefix(f[7], "/") {
			return "unix", f[7], true
		}
	}
	for _, table := range []string{"net/tcp", "net/tcp6"} {
		for _, f := range listeners(c, pid, table) {
			a, ok := procAddress(f[1])
			if !ok {
				continue
			}
			if a.Addr().IsUnspecified() {
				local := netip.AddrFrom4([4]byte{127, 0, 0, 1})
				if a.Addr().Is6() {
					local = netip.IPv6Loopback()
				}
				a = netip.AddrPortFrom(local, a.Port())
			}
			return "tcp", a.String(), true
		}
	}
	return "", "", false
}

// listeners are the lines, in fields, of a table of sockets that are listening
// sockets of a process (proc(5), /proc/net/tcp and /proc/net/unix).
func listeners(c *Call, pid int, table string) [][]string {
	entries, err := c.Env.FS.ReadDir(procFile(pid, "fd"))
	if err != nil {
		return nil
	}
	own := map[string]bool{}
	for _, e := range entries {
		if to, err := c.Env.FS.Readlink(procFile(pid, "fd/"+e.Name())); err == nil {
			if inode, ok := strings.CutPrefix(to, "socket:["); ok {
				own[strings.TrimSuffix(inode, "]")] = true
			}
		}
	}
	text, err := c.Env.FS.ReadFile(procFile(pid, table))
	if err != nil {
		return nil
	}
	// TCP: the state 0A is TCP_LISTEN. Unix: the flag is __SO_ACCEPTCON.
	state, value, inode := 3, "0A", 9
	if table == "net/unix" {
		state, value, inode = 3, "00010000", 6
	}
	var out [][]string
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > inode && f[state] == value && own[f[inode]] {
			out = append(out, f)
		}
	}
	return out
}

// procAddress reads "0100007F:0035": words of 32 bits as the machine holds
// them, and the port as a number.
func procAddress(s string) (netip.AddrPort, bool) {
	addr, port, ok := strings.Cut(s, ":")
	n, err := strconv.ParseUint(port, 16, 16)
	if !ok || err != nil || len(addr) != 8 && len(addr) != 32 {
		return netip.AddrPort{}, false
	}
	raw := make([]byte, 0, 16)
	for i := 0; i < len(addr); i += 8 {
		word, err := strconv.ParseUint(addr[i:i+8], 16, 32)
		if err != nil {
			return netip.AddrPort{}, false
		}
		raw = binary.NativeEndian.AppendUint32(raw, uint32(word))
	}
	a, _ := netip.AddrFromSlice(raw)
	return netip.AddrPortFrom(a, uint16(n)), true
}
