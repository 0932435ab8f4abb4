package transport

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/haobox/haobox/platform/iucv"
	"github.com/haobox/haobox/platform/vsock"
)

var testDefaults = Defaults{Port: 44444, Program: "DMSRSRQU"}

func TestParse(t *testing.T) {
	t.Parallel()
	tests := []struct {
		in   string
		want Endpoint
		text string
	}{
		{"tcp:zvm1.example.com:1234", Endpoint{Scheme: TCP, Host: "zvm1.example.com", Port: 1234}, "tcp:zvm1.example.com:1234"},
		{"tcp:zvm1", Endpoint{Scheme: TCP, Host: "zvm1", Port: 44444}, "tcp:zvm1:44444"},
		{"tcp:zvm1:", Endpoint{Scheme: TCP, Host: "zvm1", Port: 44444}, "tcp:zvm1:44444"},
		{"TCP:127.0.0.1:1", Endpoint{Scheme: TCP, Host: "127.0.0.1", Port: 1}, "tcp:127.0.0.1:1"},
		{"tcp:[::1]:1", Endpoint{Scheme: TCP, Host: "::1", Port: 1}, "tcp:[::1]:1"},
		{"tcp:[::1]", Endpoint{Scheme: TCP, Host: "::1", Port: 44444}, "tcp:[::1]:44444"},
		{"tcp:fe80::1%eth0", Endpoint{Scheme: TCP, Host: "fe80::1%eth0", Port: 44444}, "tcp:[fe80::1%eth0]:44444"},
		{"tcp4:zvm1:1", Endpoint{Scheme: TCP, Family: 4, Host: "zvm1", Port: 1}, "tcp4:zvm1:1"},
		{"tls6:zvm1:1", Endpoint{Scheme: TLS, Family: 6, Host: "zvm1", Port: 1}, "tls6:zvm1:1"},
		{"iucv:vsmreqiu", Endpoint{Scheme: IUCV, Host: "VSMREQIU", Program: "DMSRSRQU"}, "iucv:VSMREQIU:DMSRSRQU"},
		{"iucv:OVIRTADM:prog", Endpoint{Scheme: IUCV, Host: "OVIRTADM", Program: "PROG"}, "iucv:OVIRTADM:PROG"},
		{"vsock:2:5000", Endpoint{Scheme: VSock, CID: 2, Port: 5000}, "vsock:2:5000"},
		{"vsock:host", Endpoint{Scheme: VSock, CID: 2, Port: 44444}, "vsock:2:44444"},
		{"vsock:local:4294967294", Endpoint{Scheme: VSock, CID: 1, Port: 4294967294}, "vsock:1:4294967294"},
		{"unix:/run/smapi.sock", Endpoint{Scheme: Unix, Host: "/run/smapi.sock"}, "unix:/run/smapi.sock"},
		{"unix:CNODE1@/run/s.sock", Endpoint{Scheme: Unix, Host: "/run/s.sock", Name: "CNODE1"}, "unix:CNODE1@/run/s.sock"},
		{"unix:/run/a@b", Endpoint{Scheme: Unix, Host: "/run/a@b"}, "unix:/run/a@b"},
		{"unix:@abstract", Endpoint{Scheme: Unix, Host: "abstract"}, "unix:abstract"},
	}
	for _, tc := range tests {
		t.Run(tc.in, func(t *testing.T) {
			t.Parallel()
			got, err := Parse(tc.in, testDefaults)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if got.String() != tc.text {
				t.Errorf("text %q, want %q", got, tc.text)
			}
			again, err := Parse(got.String(), Defaults{})
			if diff := cmp.Diff(got, again); diff != "" || err != nil {
				t.Errorf("parsed again, error %v (-want +got):\n%s", err, diff)
			}
		})
	}
}

func TestParse_Faults(t *testing.T) {
	t.Parallel()
	for _, in := range []string{
		"", "zvm1", "zvm1:44444", "http://zvm1", "udp:zvm1:1", "unix4:/x", "vsock6:2:1", "iucv4:A:B",
		"tcp:", "tcp::1", "tcp:zvm1:0", "tcp:zvm1:65536", "tcp:zvm1:-1", "tcp:zvm1:smapi", "tcp:zvm1:1 ",
		"tcp:[::1", "tcp:[::1]1", "tcp:a b:1", "tls://zvm1:1",
		"iucv:", "iucv::X", "vsock:", "vsock:x:1", "vsock:2:x", "vsock:4294967296:1", "unix:",
	} {
		t.Run(in, func(t *testing.T) {
			t.Parallel()
			if got, err := Parse(in, testDefaults); !errors.Is(err, ErrEndpoint) {
				t.Errorf("got %+v, %v; want ErrEndpoint", got, err)
			}
		})
	}
	for _, in := range []string{"tcp:zvm1", "iucv:VSMREQIU", "vsock:2", "tls:[::1]"} {
		if got, err := Parse(in, Defaults{}); !errors.Is(err, ErrEndpoint) {
			t.Errorf("%s without defaults: got %+v, %v; want ErrEndpoint", in, got, err)
		}
	}
}

func TestParseListen(t *testing.T) {
	t.Parallel()
	tests := []struct {
		in   string
		want Endpoint
		text string
	}{
		{"tcp:127.0.0.1:0", Endpoint{Scheme: TCP, Host: "127.0.0.1"}, "tcp:127.0.0.1:0"},
		{"tcp::44444", Endpoint{Scheme: TCP, Port: 44444}, "tcp::44444"},
		{"tls6:[::]:1", Endpoint{Scheme: TLS, Family: 6, Host: "::", Port: 1}, "tls6:[::]:1"},
		{"iucv:", Endpoint{Scheme: IUCV, Program: "DMSRSRQU"}, "iucv:DMSRSRQU"},
		{"iucv:abc", Endpoint{Scheme: IUCV, Program: "ABC"}, "iucv:ABC"},
		{"vsock:0", Endpoint{Scheme: VSock, CID: vsock.Any}, "vsock:0"},
		{"vsock:", Endpoint{Scheme: VSock, CID: vsock.Any, Port: 44444}, "vsock:44444"},
		{"unix:/run/x", Endpoint{Scheme: Unix, Host: "/run/x"}, "unix:/run/x"},
	}
	for _, tc := range tests {
		t.Run(tc.in, func(t *testing.T) {
			t.Parallel()
			got, err := ParseListen(tc.in, testDefaults)
			if diff := cmp.Diff(tc.want, got); diff != "" || err != nil {
				t.Errorf("error %v (-want +got):\n%s", err, diff)
			}
			if got.String() != tc.text {
				t.Errorf("text %q, want %q", got, tc.text)
			}
		})
	}
	for _, in := range []string{"", "tcp:x:y", "iucv:A:B", "vsock:2:1", "vsock:-1", "unix:"} {
		if got, err := ParseListen(in, testDefaults); !errors.Is(err, ErrEndpoint) {
			t.Errorf("%s: got %+v, %v; want ErrEndpoint", in, got, err)
		}
	}
}

func TestParse_AnyTextIsRefusedOrStable(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		scheme := rapid.SampledFrom([]string{"", "tcp:", "tls4:", "tcp6:", "iucv:", "vsock:", "unix:"}).Draw(t, "scheme")
		e, err := Parse(scheme+rapid.StringMatching(`[A-Za-z0-9:.\[\]@/ -]{0,20}`).Draw(t, "rest"), testDefaults)
		if err != nil {
			return
		}
		again, err := Parse(e.String(), Defaults{})
		if err != nil || again != e {
			t.Fatalf("%+v is written %q, which is read as %+v, %v", e, e.String(), again, err)
		}
	})
}

func TestMark(t *testing.T) {
	t.Parallel()
	var p interface{ Permanent() bool }
	for _, err := range lasting() {
		if got := mark(fmt.Errorf("connect: %w", err)); !errors.As(got, &p) || !errors.Is(got, err) {
			t.Errorf("%v is not marked, or lost", err)
		}
	}
	for _, err := range []error{ErrNoHandshake, io.EOF, iucv.ErrBusy, iucv.ErrRefused, iucv.ErrNotLoggedOn, vsock.ErrNoListener} {
		if errors.As(mark(err), &p) {
			t.Errorf("%v may pass and is marked", err)
		}
	}
}
