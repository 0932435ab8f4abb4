//go:build linux

package iucv

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/haobox/haobox/platform/testskip"
)

// supported skips the test where the kernel has no AF_IUCV, after having
// checked that Dial and Listen say so.
func supported(t *testing.T) {
	t.Helper()
	testskip.IfEmulated(t, "the emulator answers for the s390x kernel's socket families")
	fd, err := open()
	if err == nil {
		unix.Close(fd)
		return
	}
	if !errors.Is(err, ErrNoSupport) {
		t.Fatalf("socket: %v, want ErrNoSupport", err)
	}
	if _, err := (&Dialer{Guest: "VSMREQIU", Program: "DMSRSRQU"}).Dial(t.Context()); !errors.Is(err, ErrNoSupport) {
		t.Errorf("Dial: %v, want ErrNoSupport", err)
	}
	if _, err := Listen("HAOBOX"); !errors.Is(err, ErrNoSupport) {
		t.Errorf("Listen: %v, want ErrNoSupport", err)
	}
	testskip.Kernel(t, "af_iucv", err.Error())
}

// TestKernel_Border goes as far as a kernel without z/VM lets it: the socket
// exists, connect and bind find no IUCV below it.
func TestKernel_Border(t *testing.T) {
	supported(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	conn, err := (&Dialer{Guest: "VSMREQIU", Program: "DMSRSRQU"}).Dial(ctx)
	if err == nil {
		conn.Close() // a z/VM guest with a SMAPI server
	}
	t.Logf("Dial: %v", err)
	l, lerr := Listen("HAOBOXT")
	if lerr == nil {
		t.Cleanup(func() { l.Close() })
	}
	t.Logf("Listen: %v", lerr)
	if errors.Is(err, ErrNotZVM) != errors.Is(lerr, ErrNotZVM) {
		t.Errorf("Dial says %v, Listen says %v: only one of them finds z/VM", err, lerr)
	}
}

// TestKernel_Loopback connects to a listener of the same guest. It needs z/VM
// and the authority to connect to oneself.
func TestKernel_Loopback(t *testing.T) {
	supported(t)
	l, err := Listen("HAOBOXL")
	if errors.Is(err, ErrNotZVM) {
		testskip.Kernel(t, "iucv", err.Error())
	}
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	self := l.Addr().(Addr)
	accepted := make(chan net.Conn, 1)
	go func() {
		defer close(accepted)
		if c, err := l.Accept(); err == nil {
			accepted <- c
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	c, err := (&Dialer{Guest: self.Guest, Program: self.Program}).Dial(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s, ok := <-accepted
	if !ok {
		t.Fatal("nothing was accepted")
	}
	defer s.Close()
	if got := s.RemoteAddr().(Addr).Guest; got != self.Guest {
		t.Errorf("peer is %q, want %q", got, self.Guest)
	}
	deadline := time.Now().Add(20 * time.Second)
	c.SetDeadline(deadline)
	s.SetDeadline(deadline)
	if _, err := c.Write([]byte("ping")); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 8)
	if n, err := s.Read(buf); err != nil || string(buf[:n]) != "ping" {
		t.Errorf("read %q, %v", buf[:n], err)
	}
}
