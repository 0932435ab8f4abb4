// Package smapi speaks the wire protocol of the z/VM Systems Management API:
// the codec for both sides, a client, and the meaning of the return and reason
// codes. It follows IBM's "Systems Management Application Programming" and the
// exchange that the manual's RECYCLE EXEC makes (the manual 9.3).
//
// One request is one connection: connect, send the request, read the request
// id, read the response, close. All integers are four bytes, most significant
// first, unless said otherwise; a string is its length as such an integer and
// then its bytes, in ASCII:
//
//	request    offset  size  field
//	           0       4     length of all that follows
//	           4       4+f   function name
//	           ..      4+u   user id, 0 to 8 bytes; empty over IUCV
//	           ..      4+p   password, 0 to 200 bytes; empty over IUCV
//	           ..      4+t   target, 1 to 8 bytes or a list name of 1 to 64;
//	                         absent for Check_Authentication
//	           ..      n     parameters of the function
//	request id 0       4     sent at once: accepted, not yet executed
//	response   0       4     length of all that follows, at least 12
//	           4       4     request id
//	           8       4     return code
//	           12      4     reason code
//	           16      n     output of the function
//
// The package opens no connections: a Dialer is handed in, and package
// platform/transport has one for TCP, TLS, IUCV, vsock and unix sockets.
//
//	c := smapi.Client{Dialer: dialer, User: "CMANAGER", Password: password}
//	power, err := c.ImageStatus(ctx, "CNODE1")
package smapi

import (
	"context"
	"io"
	"time"
)

// Conn is a connection to a SMAPI server. A net.Conn is one.
type Conn interface {
	io.ReadWriteCloser
	// SetDeadline makes reads and writes fail from t on; a time in the past
	// ends those that wait. It may be called while others read or write.
	SetDeadline(t time.Time) error
}

// Dialer opens connections to one SMAPI server. Safe for concurrent use.
type Dialer interface {
	Dial(ctx context.Context) (Conn, error)
}

// Port is the TCP port that z/VM's default SMAPI configuration uses, also in
// the manual's RECYCLE EXEC.
const Port = 44444

// The limits of a request's fields in bytes.
const (
	MaxUserLength     = 8
	MaxPasswordLength = 200
	MaxNameLength     = 8
	MaxListLength     = 64
	MaxForceLength    = 12
)

// Program is the name by which z/VM's SMAPI request servers listen over IUCV.
const Program = "DMSRSRQU"

// RequestServer is the guest that serves requests over IUCV in z/VM's default
// SMAPI configuration.
const RequestServer = "VSMREQIU"

// DialFunc makes a Dialer of a function, such as a method Dial that returns a
// net.Conn.
func DialFunc[C Conn](dial func(ctx context.Context) (C, error)) Dialer {
	return dialFunc(func(ctx context.Context) (Conn, error) {
		conn, err := dial(ctx)
		if err != nil {
			return nil, err // not a nil C inside the interface
		}
		return conn, nil
	})
}

type dialFunc func(ctx context.Context) (Conn, error)

func (f dialFunc) Dial(ctx context.Context) (Conn, error) { return f(ctx) }
