//go:build linux

package vsock

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/haobox/haobox/platform/testskip"
)

// loopback listens and skips the test where the kernel carries nothing to this
// machine's own context id, after having checked the error.
func loopback(t *testing.T) (net.Listener, uint32) {
	t.Helper()
	testskip.IfEmulated(t, "the emulator translates vsock addresses only in part")
	l, err := Listen(0)
	if err != nil {
		if !errors.Is(err, ErrNoSupport) {
			t.Fatalf("Listen: %v", err)
		}
		testskip.Kernel(t, "vsock", err.Error())
	}
	t.Cleanup(func() { l.Close() })
	port, ok := PortOf(l)
	if !ok || port == 0 {
		t.Fatalf("listener at %v has no port", l.Addr())
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	conn, err := Dial(ctx, Local, port)
	if err != nil {
		// A guest whose vsock device is there sends it to the host, which does
		// not answer for this context id.
		if !errors.Is(err, ErrNoTransport) && !errors.Is(err, ErrNoAnswer) {
			t.Fatalf("Dial: %v, want ErrNoTransport or ErrNoAnswer", err)
		}
		testskip.Kernel(t, "vsock_loopback", err.Error())
	}
	conn.Close()
	if c, err := l.Accept(); err != nil {
		t.Fatal(err)
	} else {
		c.Close()
	}
	return l, port
}

func TestKernel_Exchange(t *testing.T) {
	l, port := loopback(t)
	done := make(chan error, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			done <- err
			return
		}
		defer conn.Close()
		if cid, ok := Peer(conn); !ok || cid != Local {
			t.Errorf("peer is %d, %v; want %d", cid, ok, Local)
		}
		_, err = io.Copy(conn, io.LimitReader(conn, 4))
		done <- err
	}()
	conn, err := Dial(t.Context(), Local, port)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(conn, "ping"); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(conn)
	if err != nil || string(got) != "ping" {
		t.Errorf("read %q, %v", got, err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestKernel_Deadline(t *testing.T) {
	l, port := loopback(t)
	conn, err := Dial(t.Context(), Local, port)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if c, err := l.Accept(); err != nil {
		t.Fatal(err)
	} else {
		defer c.Close()
	}
	conn.SetDeadline(time.Unix(1, 0))
	var ne net.Error
	if _, err := conn.Read(make([]byte, 1)); !errors.As(err, &ne) || !ne.Timeout() {
		t.Errorf("read after the deadline: %v, want a timeout", err)
	}
}

func TestKernel_NobodyListens(t *testing.T) {
	l, port := loopback(t)
	l.Close()
	if _, err := Dial(t.Context(), Local, port); !errors.Is(err, ErrNoListener) {
		t.Errorf("error %v, want ErrNoListener", err)
	}
}
