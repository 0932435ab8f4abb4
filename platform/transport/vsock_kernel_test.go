//go:build linux

package transport

import (
	"errors"
	"testing"

	"github.com/haobox/haobox/platform/testskip"
	"github.com/haobox/haobox/platform/vsock"
)

func TestKernel_VSock(t *testing.T) {
	testskip.IfEmulated(t, "the emulator translates vsock addresses only in part")
	e, err := ParseListen("vsock:0", Defaults{})
	if err != nil {
		t.Fatal(err)
	}
	l, err := Listen(t.Context(), e, nil)
	if errors.Is(err, vsock.ErrNoSupport) {
		testskip.Kernel(t, "vsock", err.Error())
	}
	if err != nil {
		t.Fatal(err)
	}
	serve(t, l, echo)
	if l.Endpoint.Port == 0 {
		t.Fatalf("endpoint %s has no port", l.Endpoint)
	}
	to := l.Endpoint
	to.CID = vsock.Local
	conn, err := (&Dialer{Endpoint: to}).Dial(t.Context())
	if errors.Is(err, vsock.ErrNoTransport) || errors.Is(err, vsock.ErrNoAnswer) {
		testskip.Kernel(t, "vsock_loopback", err.Error())
	}
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	roundTrip(t, Dialer{Endpoint: to})
}

// TestKernel_IUCV checks that Listen and Dial report what package iucv found,
// with a nil interface.
func TestKernel_IUCV(t *testing.T) {
	e := Endpoint{Scheme: IUCV, Host: "HAOBOXNO", Program: "HAOBOXT"}
	if conn, err := (&Dialer{Endpoint: e}).Dial(t.Context()); err == nil || conn != nil {
		t.Errorf("Dial: %v, %v", conn, err)
	}
	l, err := Listen(t.Context(), e, nil)
	if (l == nil) != (err != nil) {
		t.Errorf("Listen: %v, %v", l, err)
	}
	if l != nil {
		l.Close() // a z/VM guest
	}
}
