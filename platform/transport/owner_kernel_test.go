//go:build linux

package transport

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/haobox/haobox/platform/testskip"
)

// strangerVariable holds the socket that this test binary connects to when it
// is started as another user.
const strangerVariable = "HAOBOX_TEST_STRANGER"

// TestKernel_Stranger is the other user of TestKernel_OwnerOnly: it prints
// what it reads.
func TestKernel_Stranger(t *testing.T) {
	path := os.Getenv(strangerVariable)
	if path == "" {
		return // it has nothing to test by itself
	}
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(conn)
	os.Stdout.WriteString("read " + string(got) + "\n")
	if err != nil && !errors.Is(err, syscall.ECONNRESET) {
		t.Fatal(err)
	}
}

func TestKernel_OwnerOnly(t *testing.T) {
	t.Parallel()
	testskip.IfEmulated(t, "starts this program again as another user")
	stranger := uint32(65534)
	if os.Getuid() != 0 {
		// Without root there is no other user to become; that one's own
		// connections get through is tested all the same.
		stranger = uint32(os.Getuid())
	}
	dir, err := os.MkdirTemp("", "owner")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "ctl")
	l, err := Listen(t.Context(), Endpoint{Scheme: Unix, Host: path}, nil)
	if err != nil {
		t.Fatal(err)
	}
	only := OwnerOnly(l)
	t.Cleanup(func() { only.Close() })
	// The rights of the file alone must not be what keeps others out.
	for name, mode := range map[string]os.FileMode{dir: 0o755, path: 0o666} {
		if err := os.Chmod(name, mode); err != nil {
			t.Fatal(err)
		}
	}
	go func() {
		for {
			conn, err := only.Accept()
			if err != nil {
				return
			}
			conn.Write([]byte("welcome"))
			conn.Close()
		}
	}()
	// The test binary lies where only root may enter.
	program := filepath.Join(dir, "stranger")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(program, text, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		uid  uint32
		want string
	}{{uint32(os.Getuid()), "read welcome\n"}, {stranger, "read \n"}} {
		if tc.uid == uint32(os.Getuid()) {
			tc.want = "read welcome\n"
		}
		cmd := exec.Command(program, "-test.run=^TestKernel_Stranger$")
		cmd.Env = append(os.Environ(), strangerVariable+"="+path)
		cmd.Dir = "/"
		if tc.uid != uint32(os.Getuid()) {
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: tc.uid, Gid: tc.uid}}
		}
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.HasPrefix(string(out), tc.want) {
			t.Errorf("user %d: %v, %q, want %q", tc.uid, err, out, tc.want)
		}
	}
}

func TestKernel_BacklogFills(t *testing.T) {
	t.Parallel()
	testskip.IfEmulated(t, "asks the kernel to change a queue")
	l, err := Listen(t.Context(), Endpoint{Scheme: TCP, Host: "127.0.0.1"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	if err := l.Backlog(0); err != nil {
		t.Fatal(err)
	}
	// The first connection is put into the queue; one more may get through
	// while the kernel looks at its length.
	var last error
	for n := 0; n < 4 && last == nil; n++ {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", l.Addr().String())
		cancel()
		if err == nil {
			t.Cleanup(func() { conn.Close() })
		}
		last = err
	}
	if !errors.Is(last, os.ErrDeadlineExceeded) && !errors.Is(last, context.DeadlineExceeded) {
		t.Errorf("the last connect gave %v, want a timeout", last)
	}
}

func TestReset(t *testing.T) {
	t.Parallel()
	l, err := Listen(t.Context(), Endpoint{Scheme: TCP, Host: "127.0.0.1"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	Reset(server)
	if _, err := client.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("read gave %v, want a reset", err)
	}
}
