package transport

import (
	"crypto/rand"
	"errors"
	"net"
	"strings"

	"github.com/haobox/haobox/platform/iucv"
)

// peerPrefix starts the address of a client that tells its name, in the
// abstract name space of unix sockets, see unix(7).
const peerPrefix = "@haobox/peer/"

// localName is the address a client of a unix socket binds to in order to tell
// its name without a byte on the connection, as IUCV does. Anybody may claim
// any name so: it is for tests, demonstrations and simulators.
func localName(name string) (*net.UnixAddr, error) {
	if strings.ContainsAny(name, "/\x00") || len(name) > 32 {
		return nil, errors.New("the name before '@' is too long or has a '/'")
	}
	return &net.UnixAddr{Name: peerPrefix + name + "/" + rand.Text(), Net: "unix"}, nil
}

// PeerName returns the name that the other end of an accepted connection has
// by its transport: the z/VM guest of an IUCV connection, or what a client of
// a unix socket called itself. ok is false if it has none.
func PeerName(conn net.Conn) (name string, ok bool) {
	switch a := conn.RemoteAddr().(type) {
	case iucv.Addr:
		return a.Guest, a.Guest != ""
	case *net.UnixAddr:
		if rest, ok := strings.CutPrefix(a.Name, peerPrefix); ok {
			name, _, ok = strings.Cut(rest, "/")
			return name, ok && name != ""
		}
	}
	return "", false
}
