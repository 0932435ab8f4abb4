package transport

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/haobox/haobox/platform/testskip"
)

// listen parses and listens; the listener is closed with the test.
func listen(t *testing.T, text string, config *tls.Config) *Listener {
	t.Helper()
	e, err := ParseListen(text, Defaults{})
	if err != nil {
		t.Fatal(err)
	}
	l, err := Listen(t.Context(), e, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// serve gives every connection of l to f and closes it then.
func serve(t *testing.T, l net.Listener, f func(net.Conn)) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			f(conn)
			conn.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
}

// echo sends back what it gets, with the peer's name in front.
func echo(conn net.Conn) {
	name, _ := PeerName(conn)
	io.WriteString(conn, name+">")
	io.Copy(conn, conn)
}

// roundTrip sends a message with a zero byte through an echo and returns what
// came back.
func roundTrip(t *testing.T, d Dialer) string {
	t.Helper()
	conn, err := d.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	const msg = "\x00\x01ping"
	if _, err := io.WriteString(conn, msg); err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	for !strings.HasSuffix(got.String(), msg) {
		if _, err := io.CopyN(&got, conn, 1); err != nil {
			t.Fatalf("got %q, then %v", got.String(), err)
		}
	}
	return strings.TrimSuffix(got.String(), msg)
}

func TestTransport_TCP(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"tcp:127.0.0.1:0", "tcp4:127.0.0.1:0", "tcp:localhost:0"} {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			l := listen(t, text, nil)
			serve(t, l, echo)
			if l.Endpoint.Port == 0 {
				t.Errorf("endpoint %s has no port", l.Endpoint)
			}
			roundTrip(t, Dialer{Endpoint: l.Endpoint})
		})
	}
}

func TestTransport_TCP6(t *testing.T) {
	t.Parallel()
	e := Endpoint{Scheme: TCP, Family: 6, Host: "::1"}
	l, err := Listen(t.Context(), e, nil)
	if errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EAFNOSUPPORT) {
		testskip.Kernel(t, "ipv6", err.Error())
	}
	if err != nil {
		t.Fatal(err)
	}
	serve(t, l, echo)
	roundTrip(t, Dialer{Endpoint: l.Endpoint})
	// The other family does not find it.
	other := l.Endpoint
	other.Family, other.Host = 4, "127.0.0.1"
	if _, err := (&Dialer{Endpoint: other}).Dial(t.Context()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("IPv4: error %v, want a refusal", err)
	}
	other.Host = "::1"
	if _, err := (&Dialer{Endpoint: other}).Dial(t.Context()); err == nil {
		t.Error("an IPv6 address is dialled with IPv4 only")
	}
}

func TestTransport_Unix(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "s")
	l := listen(t, "unix:"+path, nil)
	serve(t, l, echo)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != os.ModeSocket|0o600 {
		t.Errorf("mode %v, want a socket with 0600", info.Mode())
	}
	for _, tc := range []struct{ endpoint, want string }{
		{"unix:" + path, ">"},
		{"unix:CNODE1@" + path, "CNODE1>"},
	} {
		e, err := Parse(tc.endpoint, Defaults{})
		if err != nil {
			t.Fatal(err)
		}
		if got := roundTrip(t, Dialer{Endpoint: e}); got != tc.want {
			t.Errorf("%s: the server sees the name %q, want %q", tc.endpoint, got, tc.want)
		}
	}
	if _, err := Listen(t.Context(), l.Endpoint, nil); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("second listener: error %v, want EADDRINUSE", err)
	}
}

func TestTransport_UnixReplacesStaleSocket(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	next := listen(t, "unix:"+path, nil)
	serve(t, next, echo)
	roundTrip(t, Dialer{Endpoint: next.Endpoint})
}

func TestTransport_UnixLeavesFilesAlone(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "s")
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(t.Context(), Endpoint{Scheme: Unix, Host: path}, nil); err == nil {
		t.Error("listens in the place of a regular file")
	}
	if got, _ := os.ReadFile(path); string(got) != "precious" {
		t.Errorf("the file is now %q", got)
	}
}

func TestTransport_NobodyListens(t *testing.T) {
	t.Parallel()
	l := listen(t, "tcp:127.0.0.1:0", nil)
	l.Close()
	for _, e := range []Endpoint{l.Endpoint, {Scheme: TLS, Host: "127.0.0.1", Port: l.Endpoint.Port}} {
		_, err := (&Dialer{Endpoint: e}).Dial(t.Context())
		if !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("%s: error %v, want a refusal", e, err)
		}
	}
	_, err := (&Dialer{Endpoint: Endpoint{Scheme: Unix, Host: filepath.Join(t.TempDir(), "s")}}).Dial(t.Context())
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("unix: error %v, want that it does not exist", err)
	}
	if _, err := (&Dialer{}).Dial(t.Context()); !errors.Is(err, ErrEndpoint) {
		t.Errorf("empty endpoint: error %v", err)
	}
}

// tlsServer serves an echo with the certificate of s and returns its endpoint
// and the file of its certificate.
func tlsServer(t *testing.T, s ServerTLS) (Endpoint, string) {
	t.Helper()
	config, certificate, err := s.Config(Endpoint{Scheme: TLS, Host: "127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, certificate, 0o600); err != nil {
		t.Fatal(err)
	}
	l := listen(t, "tls:127.0.0.1:0", config)
	serve(t, l, echo)
	return l.Endpoint, ca
}

func TestTransport_TLS(t *testing.T) {
	t.Parallel()
	day := 24 * time.Hour
	elsewhere := ServerTLS{Names: []string{"zvm9.example.com"}}
	tests := []struct {
		name   string
		server ServerTLS
		// client gets CAFile from the server's certificate unless noCA is set.
		client ClientTLS
		noCA   bool
		want   error
	}{
		{"good", ServerTLS{}, ClientTLS{}, false, nil},
		{"good, own name given", elsewhere, ClientTLS{ServerName: "zvm9.example.com"}, false, nil},
		{"unknown authority", ServerTLS{}, ClientTLS{}, true, ErrUntrusted},
		{"wrong host", elsewhere, ClientTLS{}, false, ErrWrongHost},
		{"expired", ServerTLS{NotBefore: time.Now().Add(-9 * day), NotAfter: time.Now().Add(-day)}, ClientTLS{}, false, ErrExpired},
		{"not yet valid", ServerTLS{NotBefore: time.Now().Add(day)}, ClientTLS{}, false, ErrExpired},
		{"TLS 1.1 only", ServerTLS{MaxVersion: tls.VersionTLS11}, ClientTLS{}, false, ErrTLSVersion},
		{"TLS 1.1 only is refused also when insecure", ServerTLS{MaxVersion: tls.VersionTLS11}, ClientTLS{Insecure: true}, true, ErrTLSVersion},
		{"TLS 1.2 only", ServerTLS{MaxVersion: tls.VersionTLS12}, ClientTLS{}, false, nil},
		{"insecure, unknown authority", ServerTLS{}, ClientTLS{Insecure: true}, true, nil},
		{"insecure, wrong host", elsewhere, ClientTLS{Insecure: true}, true, nil},
		{"insecure, expired", ServerTLS{NotBefore: time.Now().Add(-9 * day), NotAfter: time.Now().Add(-day)}, ClientTLS{Insecure: true}, true, nil},
		{"no file of authorities", ServerTLS{}, ClientTLS{CAFile: "/nonexistent/ca.pem"}, true, ErrCAFile},
		{"file without authorities", ServerTLS{}, ClientTLS{CAFile: "transport_test.go"}, true, ErrCAFile},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			e, ca := tlsServer(t, tc.server)
			d := Dialer{Endpoint: e, TLS: tc.client}
			if !tc.noCA {
				d.TLS.CAFile = ca
			}
			if tc.want == nil {
				roundTrip(t, d)
				return
			}
			conn, err := d.Dial(t.Context())
			if !errors.Is(err, tc.want) {
				t.Errorf("error %v, want %v", err, tc.want)
			}
			if conn != nil {
				t.Error("gives a connection with the error")
			}
			if err != nil && strings.Contains(err.Error(), "\n") {
				t.Errorf("error of more than one line: %q", err)
			}
		})
	}
}

func TestTransport_TLSWithCertificateFiles(t *testing.T) {
	t.Parallel()
	// A pair of files as the openssl command writes them.
	pair, err := selfSigned([]string{"localhost", "127.0.0.1"}, time.Time{}, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	cert, key := writePair(t, pair)
	e, ca := tlsServer(t, ServerTLS{CertFile: cert, KeyFile: key})
	roundTrip(t, Dialer{Endpoint: e, TLS: ClientTLS{CAFile: ca}})
	if _, _, err := (ServerTLS{CertFile: cert}).Config(e); err == nil {
		t.Error("no error for a certificate without a key")
	}
}

func TestTransport_PlainServerOnTLSPort(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		serve func(net.Conn)
		want  error
		text  string
	}{
		{"closes at once", func(net.Conn) {}, ErrNoHandshake, "disable_ssl=1"},
		{"reads and closes", func(c net.Conn) { io.CopyN(io.Discard, c, 4) }, ErrNoHandshake, "disable_ssl=1"},
		{
			"answers with a SMAPI error", func(c net.Conn) {
				io.CopyN(io.Discard, c, 4)
				c.Write([]byte{0, 0, 0x27, 0x19, 0, 0, 0, 12, 0, 0, 0x27, 0x19, 0, 0, 3, 0x84, 0, 0, 0, 36})
				io.Copy(io.Discard, c)
			}, ErrPlainServer, "disable_ssl=1",
		},
		{"says nothing", func(c net.Conn) { io.Copy(io.Discard, c) }, context.DeadlineExceeded, "disable_ssl=1"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			l := listen(t, "tcp:127.0.0.1:0", nil)
			serve(t, l, tc.serve)
			e := l.Endpoint
			e.Scheme = TLS
			limit := 20 * time.Second
			if tc.want == context.DeadlineExceeded {
				limit = time.Second
			}
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			_, err := (&Dialer{Endpoint: e}).Dial(ctx)
			if !errors.Is(err, tc.want) || !strings.Contains(err.Error(), tc.text) {
				t.Errorf("error %v, want %v and a text with %q", err, tc.want, tc.text)
			}
		})
	}
}

func TestListen_TLSNeedsACertificate(t *testing.T) {
	t.Parallel()
	if l, err := Listen(t.Context(), Endpoint{Scheme: TLS, Host: "127.0.0.1"}, nil); err == nil {
		l.Close()
		t.Error("listens without a certificate")
	}
}

func TestServerTLS_NamesOfThisMachine(t *testing.T) {
	t.Parallel()
	got := strings.Join(machineNames("zvm1.example.com"), " ")
	for _, want := range []string{"localhost", "127.0.0.1", "::1", "zvm1.example.com"} {
		if !strings.Contains(got, want) {
			t.Errorf("names %q lack %q", got, want)
		}
	}
	for _, host := range []string{"", "0.0.0.0", "::"} {
		for _, n := range machineNames(host) {
			if n == "" || n == "0.0.0.0" || n == "::" {
				t.Errorf("a listener at %q has the name %q", host, n)
			}
		}
	}
}

// writePair writes a certificate and its key as PEM files.
func writePair(t *testing.T, pair tls.Certificate) (cert, key string) {
	t.Helper()
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	der, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(cert, encodeChain(pair.Certificate), 0o600); err != nil {
		t.Fatal(err)
	}
	block := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	if err := os.WriteFile(key, block, 0o600); err != nil {
		t.Fatal(err)
	}
	return cert, key
}
