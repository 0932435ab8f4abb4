package probe

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// serve answers the connections of a listener with a text each.
func serve(t *testing.T, answer string, hang bool) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	t.Cleanup(func() { close(stop); l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				if hang {
					<-stop
					return
				}
				// Read the request, so that closing does not reset it.
				for r := bufio.NewReader(c); ; {
					if line, err := r.ReadString('\n'); err != nil || line == "\r\n" {
						break
					}
				}
				io.WriteString(c, answer)
			}()
		}
	}()
	return netip.MustParseAddrPort(l.Addr().String())
}

func TestGet_Answers(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, answer string
		want         int
		err          error
	}{
		{"fine", "HTTP/1.1 200 OK\r\n\r\nhello", 200, nil},
		{"forbidden", "HTTP/1.1 403 Forbidden\r\n\r\n", 403, nil},
		{"without a reason and an end of line", "HTTP/1.0 500", 500, nil},
		{"another protocol", "SSH-2.0-OpenSSH_9.2\r\n", 0, ErrNotHTTP},
		{"nothing", "", 0, ErrNotHTTP},
		{"a status that is no number", "HTTP/1.1 2x0 OK\r\n", 0, ErrNotHTTP},
		{"a line without end", "HTTP/1.1" + strings.Repeat("x", 10000), 0, ErrNotHTTP},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got, err := Client{}.Get(t.Context(), serve(t, tc.answer, false), "/")
			if got != tc.want || !errors.Is(err, tc.err) {
				t.Errorf("Get gives %d, %v; want %d, %v", got, err, tc.want, tc.err)
			}
		})
	}
}

func TestGet_HangingServer(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := (Client{}).Get(ctx, serve(t, "", true), "/"); err == nil {
		t.Error("a server that says nothing is taken for a good one")
	}
}

func TestGet_Page(t *testing.T) {
	t.Parallel()
	for _, page := range []string{"", "x", "/ HTTP/1.0\r\nX: y"} {
		if _, err := (Client{}).Get(t.Context(), netip.MustParseAddrPort("127.0.0.1:1"), page); err == nil || !strings.Contains(err.Error(), "no path") {
			t.Errorf("page %q is asked for: %v", page, err)
		}
	}
}

func TestGreeting(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for _, hello := range []string{"hello", ""} {
			c, err := l.Accept()
			if err != nil {
				return
			}
			io.WriteString(c, hello)
			c.Close()
		}
	}()
	got, err := Client{}.Greeting(t.Context(), "tcp", l.Addr().String())
	if string(got) != "hello" || err != nil {
		t.Errorf("greeting %q, %v", got, err)
	}
	if got, err := (Client{}).Greeting(t.Context(), "tcp", l.Addr().String()); !errors.Is(err, io.EOF) {
		t.Errorf("a server that says nothing: %q, %v", got, err)
	}
	if _, err := (Client{}).Greeting(t.Context(), "unix", t.TempDir()+"/none"); err == nil {
		t.Error("a greeting of nobody")
	}
	at := serve(t, "", true)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := (Client{}).Greeting(ctx, "tcp", at.String()); err == nil {
		t.Error("a greeting of a server that hangs")
	}
}
