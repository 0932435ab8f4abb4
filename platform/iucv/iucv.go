// Package iucv opens stream sockets over the Inter-User Communication Vehicle
// of z/VM: Linux's AF_IUCV, by which one guest reaches a program in another
// without a network, and by which z/VM itself vouches for the name of the
// peer. See "Device Drivers, Features, and Commands", AF_IUCV, and iucv(7) of
// the s390-tools.
//
// It exists in a Linux kernel for IBM Z and works in a guest of z/VM only.
// Elsewhere the errors say so.
package iucv

import (
	"errors"
	"fmt"
	"net"
	"strings"
)

// The reasons why there is no connection. The texts say what can be done.
var (
	// ErrNoSupport: the kernel has no AF_IUCV.
	ErrNoSupport = errors.New("this kernel has no IUCV sockets: run 'modprobe af_iucv' (on Linux for IBM Z; it works in a z/VM guest only)")
	// ErrNotZVM: the kernel has AF_IUCV, but there is no z/VM below it.
	ErrNotZVM = errors.New("this Linux does not run in a z/VM guest, so it has no IUCV: reach the server over TCP instead (fence_zvmip)")
	// ErrNotLoggedOn: the guest to connect to is not there.
	ErrNotLoggedOn = errors.New("that guest is not logged on: start it (XAUTOLOG) or check the name")
	// ErrNoAuthority: the directory entry does not allow the connection.
	ErrNoAuthority = errors.New("z/VM does not allow it: add the statement IUCV ANY, or IUCV with that guest's name, to the directory entry of this guest")
	// ErrBusy: this guest or the other has no connection left, or the other
	// side did not accept in time.
	ErrBusy = errors.New("no IUCV connection is free: it was not accepted in time, or MAXCONN in the directory entry of this guest or that one is reached")
	// ErrRefused: the other guest runs no such program, or has severed the
	// connection.
	ErrRefused = errors.New("that guest does not accept the connection: no program of that name listens there, or it is restarting")
)

// NameLength is the length of guest and program names, padded with blanks.
const NameLength = 8

// Addr is one end of a connection.
type Addr struct {
	// Guest is a z/VM user id, Program the name that a program listens by.
	// Neither has trailing blanks.
	Guest, Program string
}

// Network returns "iucv".
func (a Addr) Network() string { return "iucv" }

// String returns GUEST:PROGRAM.
func (a Addr) String() string { return a.Guest + ":" + a.Program }

var _ net.Addr = Addr{}

// padded returns an upper-case name of exactly NameLength bytes. The kernel
// folds a guest's name itself, but not a program's.
func padded(what, name string) (string, error) {
	name = strings.ToUpper(strings.TrimRight(name, " "))
	if name == "" || len(name) > NameLength {
		return "", fmt.Errorf("%s name %q: it has 1 to %d characters", what, name, NameLength)
	}
	for i := range len(name) {
		if name[i] <= ' ' || name[i] > '~' {
			return "", fmt.Errorf("%s name %q: it has characters that are not printable ASCII", what, name)
		}
	}
	return name + strings.Repeat(" ", NameLength-len(name)), nil
}

// Identity finds the name of this z/VM guest and of its system in the text of
// /proc/sysinfo. Both are "" where Linux does not run directly on z/VM.
func Identity(sysinfo string) (guest, system string) {
	var name, program string
	for line := range strings.Lines(sysinfo) {
		key, value, ok := strings.Cut(line, ":")
		if !ok {
			continue
		}
		value = strings.TrimSpace(value)
		switch strings.Join(strings.Fields(key), " ") {
		case "VM00 Name":
			name = value
		case "VM00 Control Program":
			program = value
		case "LPAR Name":
			system = value
		}
	}
	if !strings.HasPrefix(program, "z/VM") {
		return "", ""
	}
	return name, system
}
