// Package probe asks servers whether they answer. Of a web server it reads the
// status line of one answer to HTTP/1.0 (RFC 1945): a port that speaks TLS
// answers that with status 400 (Apache, nginx), so there is no TLS here. It
// follows nothing and keeps nothing, and it does without net/http, whose start
// would cost a resource agent more than the request. Of a server that speaks
// first it reads the first bytes.
package probe

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// ErrNotHTTP is an answer that is not one of HTTP.
var ErrNotHTTP = errors.New("answer is no HTTP")

// maxStatusLine is the longest status line that is read, in bytes. Ours.
const maxStatusLine = 4096

// maxGreeting is the longest greeting that is read, in bytes. Ours.
const maxGreeting = 1024

// Client asks servers. Its zero value is ready; safe for concurrent use.
type Client struct{}

// Get sends "GET page" to the server at an address and returns the status of
// its answer, 100 to 999. ctx bounds it all.
func (Client) Get(ctx context.Context, at netip.AddrPort, page string) (int, error) {
	if strings.ContainsAny(page, " \r\n") || !strings.HasPrefix(page, "/") {
		return 0, fmt.Errorf("ask %s for %q: no path of a page", at, page)
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", at.String())
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	// The context's end, by its deadline or otherwise, ends reads and writes.
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.0\r\nHost: %s\r\nUser-Agent: haobox\r\nConnection: close\r\n\r\n", page, at); err != nil {
		return 0, err
	}
	line, err := bufio.NewReader(io.LimitReader(conn, maxStatusLine)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, err
	}
	return status(line)
}

// Greeting connects to a server, by "tcp" or "unix", and returns the first bytes
// that it sends of its own accord. ctx bounds it all.
func (Client) Greeting(ctx context.Context, network, address string) ([]byte, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	buf := make([]byte, maxGreeting)
	n, err := conn.Read(buf)
	if n > 0 {
		return buf[:n], nil
	}
	return nil, fmt.Errorf("read the greeting of %s: %w", address, err)
}

// status reads "HTTP/1.1 200 OK".
func status(line string) (int, error) {
	f := strings.Fields(line)
	if len(f) < 2 || !strings.HasPrefix(f[0], "HTTP/") || len(f[1]) != 3 {
		return 0, fmt.Errorf("%w: %.40q", ErrNotHTTP, line)
	}
	n, err := strconv.ParseUint(f[1], 10, 16)
	if err != nil || n < 100 {
		return 0, fmt.Errorf("%w: %.40q", ErrNotHTTP, line)
	}
	return int(n), nil
}
