// Package transport dials and listens by the text of an endpoint, so that a
// command has one option for all the ways to a server:
//
//	tcp:HOST:PORT        TCP; tcp4: and tcp6: are one family only
//	tls:HOST:PORT        TLS over TCP; tls4: and tls6: likewise
//	iucv:GUEST:PROGRAM   a program in another z/VM guest
//	vsock:CID:PORT       a virtual machine's host, or the other way round
//	unix:PATH            a socket in the file system; unix:NAME@PATH tells
//	                     the server a name, see PeerName
//
// An IPv6 address stands in brackets when a port follows. To listen, HOST may
// be empty (all addresses), an IUCV endpoint is iucv:PROGRAM, a vsock endpoint
// is vsock:PORT, and port 0 is any free one.
//
// The package knows nothing of what is spoken on a connection.
package transport

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/haobox/haobox/platform/vsock"
)

// The schemes of an endpoint.
const (
	TCP   = "tcp"
	TLS   = "tls"
	IUCV  = "iucv"
	VSock = "vsock"
	Unix  = "unix"
)

// ErrEndpoint: the text is no endpoint.
var ErrEndpoint = errors.New("not an endpoint")

// Endpoint says where to connect or listen.
type Endpoint struct {
	// Scheme is one of the constants above.
	Scheme string
	// Family is 4 or 6 for that IP version only, 0 for both.
	Family int
	// Host is a host name or address, a z/VM guest, or a path.
	Host string
	// Port is a TCP or vsock port.
	Port uint32
	// CID is the context id of a vsock endpoint.
	CID uint32
	// Program is the name an IUCV program listens by.
	Program string
	// Name is what a client of a unix socket calls itself; see PeerName.
	Name string
}

// Defaults fill what an endpoint leaves out.
type Defaults struct {
	// Port is for TCP, TLS and vsock; 0 makes the port required.
	Port uint32
	// Program is for IUCV; "" makes it required.
	Program string
}

// Parse reads the endpoint of a server to connect to. The error wraps
// ErrEndpoint.
func Parse(text string, def Defaults) (Endpoint, error) {
	e, rest, err := cutScheme(text)
	if err != nil {
		return e, err
	}
	switch e.Scheme {
	case TCP, TLS:
		err = e.hostPort(rest, def)
		if err == nil && e.Host == "" {
			err = errors.New("the host is missing")
		}
		if err == nil && e.Port == 0 {
			err = errors.New("port 0 is only for a listener")
		}
	case IUCV:
		e.Host, e.Program, _ = strings.Cut(rest, ":")
		e.Host, e.Program = strings.ToUpper(e.Host), strings.ToUpper(e.Program)
		if e.Program == "" {
			e.Program = def.Program
		}
		switch {
		case e.Host == "":
			err = errors.New("the guest is missing")
		case e.Program == "":
			err = errors.New("the program is missing")
		}
	case VSock:
		cid, port, found := strings.Cut(rest, ":")
		if e.CID, err = parseCID(cid); err == nil {
			e.Port, err = parsePort(port, found, def.Port, 32)
		}
	case Unix:
		if name, path, ok := strings.Cut(rest, "@"); ok && !strings.Contains(name, "/") {
			e.Name, rest = name, path
		}
		e.Host = rest
		if e.Host == "" {
			err = errors.New("the path is missing")
		}
	}
	return e, e.fault(text, err)
}

// ParseListen reads the endpoint of a listener. The error wraps ErrEndpoint.
func ParseListen(text string, def Defaults) (Endpoint, error) {
	e, rest, err := cutScheme(text)
	if err != nil {
		return e, err
	}
	switch e.Scheme {
	case TCP, TLS:
		err = e.hostPort(rest, def)
	case IUCV:
		if e.Program = strings.ToUpper(rest); e.Program == "" {
			e.Program = def.Program
		}
		switch {
		case e.Program == "":
			err = errors.New("the program is missing")
		case strings.Contains(e.Program, ":"):
			err = errors.New("a listener is iucv:PROGRAM; the guest is always this one")
		}
	case VSock:
		e.CID = vsock.Any
		e.Port, err = parsePort(rest, rest != "", def.Port, 32)
	case Unix:
		if e.Host = rest; e.Host == "" {
			err = errors.New("the path is missing")
		}
	}
	return e, e.fault(text, err)
}

func (e Endpoint) fault(text string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%q: %w: %w", text, ErrEndpoint, err)
}

// cutScheme takes the scheme, with its family, off the front.
func cutScheme(text string) (Endpoint, string, error) {
	scheme, rest, found := strings.Cut(text, ":")
	e := Endpoint{Scheme: strings.ToLower(scheme)}
	if base, ok := strings.CutSuffix(e.Scheme, "4"); ok {
		e.Scheme, e.Family = base, 4
	} else if base, ok := strings.CutSuffix(e.Scheme, "6"); ok {
		e.Scheme, e.Family = base, 6
	}
	switch {
	case !found:
	case e.Scheme == TCP, e.Scheme == TLS:
		return e, rest, nil
	case e.Family == 0 && (e.Scheme == IUCV || e.Scheme == VSock || e.Scheme == Unix):
		return e, rest, nil
	}
	return Endpoint{}, "", e.fault(text, errors.New("the scheme is none of tcp, tls, iucv, vsock and unix"))
}

// hostPort reads HOST, HOST:PORT, [HOST] or [HOST]:PORT. An IPv6 address
// without brackets is a host without a port.
func (e *Endpoint) hostPort(s string, def Defaults) (err error) {
	host, port, hasPort := s, "", false
	switch {
	case strings.HasPrefix(s, "["):
		end := strings.IndexByte(s, ']')
		if end < 0 {
			return errors.New("']' is missing")
		}
		host, port = s[1:end], s[end+1:]
		if port, hasPort = strings.CutPrefix(port, ":"); !hasPort && port != "" {
			return errors.New("after ']' comes ':' and the port")
		}
	case strings.Count(s, ":") == 1:
		host, port, hasPort = strings.Cut(s, ":")
	}
	if strings.ContainsAny(host, " \t\r\n/@[]") {
		return fmt.Errorf("%q is not a host name or address", host)
	}
	e.Host = host
	e.Port, err = parsePort(port, hasPort, def.Port, 16)
	return err
}

// parsePort reads a port of the given number of bits.
func parsePort(s string, given bool, def uint32, bits int) (uint32, error) {
	if !given || s == "" && def != 0 {
		if def == 0 {
			return 0, errors.New("the port is missing")
		}
		return def, nil
	}
	n, err := strconv.ParseUint(s, 10, bits)
	if err != nil {
		return 0, fmt.Errorf("port %q is not a number from 0 to %d", s, uint64(1)<<bits-1)
	}
	return uint32(n), nil
}

// parseCID reads a context id: a number, "local" or "host".
func parseCID(s string) (uint32, error) {
	switch s {
	case "local":
		return vsock.Local, nil
	case "host":
		return vsock.Host, nil
	}
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("context id %q is not a number, 'local' or 'host'", s)
	}
	return uint32(n), nil
}

// String returns the text of the endpoint, with everything spelled out.
func (e Endpoint) String() string {
	scheme := e.Scheme
	if e.Family != 0 {
		scheme += strconv.Itoa(e.Family)
	}
	port := strconv.FormatUint(uint64(e.Port), 10)
	switch e.Scheme {
	case IUCV:
		if e.Host == "" {
			return scheme + ":" + e.Program
		}
		return scheme + ":" + e.Host + ":" + e.Program
	case VSock:
		if e.CID == vsock.Any {
			return scheme + ":" + port
		}
		return scheme + ":" + strconv.FormatUint(uint64(e.CID), 10) + ":" + port
	case Unix:
		if e.Name != "" {
			return scheme + ":" + e.Name + "@" + e.Host
		}
		return scheme + ":" + e.Host
	}
	return scheme + ":" + net.JoinHostPort(e.Host, port)
}

// network is the name of the network for package net.
func (e Endpoint) network() string {
	if e.Family != 0 {
		return "tcp" + strconv.Itoa(e.Family)
	}
	return "tcp"
}

// address is HOST:PORT for package net.
func (e Endpoint) address() string {
	return net.JoinHostPort(e.Host, strconv.FormatUint(uint64(e.Port), 10))
}
