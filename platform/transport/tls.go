package transport

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"
)

// The reasons why TLS does not come about. The texts say what can be done;
// ssl_ca, ssl_insecure and disable_ssl are the fence agents' names for it.
var (
	// ErrPlainServer: the server does not speak TLS.
	ErrPlainServer = errors.New("the server does not speak TLS on this port: use the TLS port, or connect without TLS (tcp:, disable_ssl=1)")
	// ErrNoHandshake: the server ended the connection in the handshake.
	ErrNoHandshake = errors.New("the server ended the connection in the TLS handshake: perhaps it does not speak TLS on this port (tcp:, disable_ssl=1)")
	// ErrUntrusted: no trusted authority signed the server's certificate.
	ErrUntrusted = errors.New("the server's certificate is signed by an unknown authority: give the authority's certificate (ssl_ca=FILE)")
	// ErrWrongHost: the certificate belongs to another host.
	ErrWrongHost = errors.New("the server's certificate is for another host: connect by a name in the certificate")
	// ErrExpired: the certificate is out of its time.
	ErrExpired = errors.New("the server's certificate is not valid at this time: renew it, or set the clock right")
	// ErrTLSVersion: the server speaks only versions below 1.2.
	ErrTLSVersion = errors.New("the server has no TLS version from 1.2 on: enable one there")
	// ErrCAFile: the file with the authorities' certificates is unusable.
	ErrCAFile = errors.New("no certificate authorities")
)

// ClientTLS says how a client checks a server.
type ClientTLS struct {
	// CAFile is a file of PEM certificates to trust in place of the system's.
	// Without it, SSL_CERT_FILE and SSL_CERT_DIR choose the system's.
	CAFile string
	// Insecure trusts any certificate.
	Insecure bool
	// ServerName is the name to check and to ask for; "" is the host.
	ServerName string
}

// config builds the configuration for a server at host.
func (c ClientTLS) config(host string) (*tls.Config, error) {
	// A zone is not part of the address that a certificate names.
	host, _, _ = strings.Cut(host, "%")
	config := &tls.Config{
		ServerName: host, InsecureSkipVerify: c.Insecure,
		// TLS 1.2: what the Python fence_zvmip asks for, and z/VM 6.4 has.
		MinVersion: tls.VersionTLS12,
	}
	if c.ServerName != "" {
		config.ServerName = c.ServerName
	}
	if c.CAFile == "" || c.Insecure {
		return config, nil
	}
	text, err := os.ReadFile(c.CAFile)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCAFile, err)
	}
	config.RootCAs = x509.NewCertPool()
	if !config.RootCAs.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%w: %s has no certificate in PEM form", ErrCAFile, c.CAFile)
	}
	return config, nil
}

// handshake makes a TLS connection of conn, which it owns.
func handshake(ctx context.Context, conn net.Conn, config *tls.Config, e Endpoint) (net.Conn, error) {
	c := tls.Client(conn, config)
	if err := c.HandshakeContext(ctx); err != nil {
		conn.Close()
		if ctx.Err() != nil {
			// The server accepted the connection and then said nothing, as a
			// plain server does that waits for the rest of a request.
			return nil, fmt.Errorf("connect to %s: no answer to the TLS handshake: perhaps the server does not speak TLS on this port (tcp:, disable_ssl=1): %w",
				e.address(), ctx.Err())
		}
		return nil, fmt.Errorf("connect to %s: %w", e.address(), explainTLS(err))
	}
	return c, nil
}

// explainTLS puts what can be done in front of the error of a handshake.
func explainTLS(err error) error {
	var (
		header    tls.RecordHeaderError
		authority x509.UnknownAuthorityError
		host      x509.HostnameError
		invalid   x509.CertificateInvalidError
		why       error
	)
	switch {
	case errors.As(err, &header):
		why = ErrPlainServer
	case errors.As(err, &host):
		why = ErrWrongHost
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		why = ErrExpired
	case errors.As(err, &authority), errors.As(err, &invalid):
		why = ErrUntrusted
	case strings.Contains(err.Error(), "protocol version not supported"),
		strings.Contains(err.Error(), "unsupported protocol version"):
		// The server's alert, or its choice of a version that was not
		// offered. Package crypto/tls has no exported value for either.
		why = ErrTLSVersion
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF),
		errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		why = ErrNoHandshake
	default:
		return fmt.Errorf("TLS handshake: %w", err)
	}
	return fmt.Errorf("%w (%w)", why, err)
}

// ServerTLS says which certificate a listener shows.
type ServerTLS struct {
	// CertFile and KeyFile are PEM files; without them a certificate is made
	// that is its own authority and lives as long as the process.
	CertFile, KeyFile string
	// Names are the host names and addresses of a certificate that is made.
	// None means those of this machine: localhost, the loopback addresses,
	// the host name, and Host of the endpoint.
	Names []string
	// NotBefore and NotAfter bound it; zero means an hour ago and ten years
	// from now. They are for servers that are to be refused.
	NotBefore, NotAfter time.Time
	// MaxVersion limits the version, to try clients; 0 is no limit. A version
	// below 1.2 becomes the lowest too.
	MaxVersion uint16
}

// Config returns the configuration for Listen at e, and the certificate in PEM
// form, which a client gives as its CAFile.
func (s ServerTLS) Config(e Endpoint) (config *tls.Config, certificate []byte, err error) {
	config = &tls.Config{MinVersion: tls.VersionTLS12, MaxVersion: s.MaxVersion}
	if s.MaxVersion != 0 {
		config.MinVersion = min(config.MinVersion, s.MaxVersion)
	}
	if s.CertFile != "" || s.KeyFile != "" {
		pair, err := tls.LoadX509KeyPair(s.CertFile, s.KeyFile)
		if err != nil {
			return nil, nil, fmt.Errorf("load certificate %s with key %s: %w", s.CertFile, s.KeyFile, err)
		}
		config.Certificates = []tls.Certificate{pair}
		return config, encodeChain(pair.Certificate), nil
	}
	names := s.Names
	if len(names) == 0 {
		names = machineNames(e.Host)
	}
	pair, err := selfSigned(names, s.NotBefore, s.NotAfter)
	if err != nil {
		return nil, nil, fmt.Errorf("make a certificate for %q: %w", names, err)
	}
	config.Certificates = []tls.Certificate{pair}
	return config, encodeChain(pair.Certificate), nil
}

// machineNames are the names that clients may use for a listener at host.
func machineNames(host string) []string {
	names := []string{"localhost", "127.0.0.1", "::1"}
	if name, err := os.Hostname(); err == nil {
		names = append(names, name)
	}
	if ip := net.ParseIP(host); host != "" && (ip == nil || !ip.IsUnspecified()) && !slices.Contains(names, host) {
		names = append(names, host)
	}
	return names
}

// selfSigned makes a key and a certificate for the names.
func selfSigned(names []string, from, to time.Time) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return tls.Certificate{}, err
	}
	if from.IsZero() {
		from = time.Now().Add(-time.Hour)
	}
	if to.IsZero() {
		to = time.Now().AddDate(10, 0, 0)
	}
	template := x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: names[0], Organization: []string{"haobox"}},
		NotBefore:    from, NotAfter: to,
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true, IsCA: true,
	}
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, n)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, &key.PublicKey, key)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

// encodeChain returns certificates in PEM form.
func encodeChain(chain [][]byte) []byte {
	var out bytes.Buffer
	for _, der := range chain {
		pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: der})
	}
	return out.Bytes()
}
