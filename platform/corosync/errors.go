//go:build linux

package corosync

import (
	"errors"
	"fmt"
)

// What can happen to a connection. Answers of the daemon itself are of type
// Error.
var (
	// ErrNotRunning: nobody listens on the service's socket.
	ErrNotRunning = errors.New("corosync is not running")
	// ErrNotReady: the daemon runs but did not let clients in within the limit
	// (its first synchronisation is not over).
	ErrNotReady = errors.New("corosync is not ready for clients")
	// ErrNotAllowed: the daemon refuses this user. It lets in uid 0, gid 0 and
	// those named in a uidgid section of its configuration.
	ErrNotAllowed = errors.New("corosync refuses this user")
	// ErrNotDaemon: the process that listens runs under another user than root
	// or this process's own, so it is not trusted with file names.
	ErrNotDaemon = errors.New("the listener is not corosync")
	// ErrNoService: the daemon does not offer this service.
	ErrNoService = errors.New("corosync does not offer the service")
	// ErrLost: the daemon is gone, or dropped the connection.
	ErrLost = errors.New("connection to corosync lost")
	// ErrTimeout: no answer within the limit. The connection is closed.
	ErrTimeout = errors.New("no answer from corosync within the limit")
	// ErrProtocol: something was received that no corosync 3 sends.
	ErrProtocol = errors.New("not the protocol of corosync 3")
	// ErrOverrun: events were not read and exceeded Config.QueueLimit.
	ErrOverrun = errors.New("events of corosync were not read")
	// ErrClosed: Close was called.
	ErrClosed = errors.New("connection to corosync closed")
	// ErrTooBig: a message or name beyond its limit; nothing was sent.
	ErrTooBig = errors.New("too big for corosync")
)

// Error is an answer of the daemon: a cs_error_t of corotypes.h other than
// CS_OK. Compare with errors.Is.
type Error int32

// The answers that occur. The numbers are those of corotypes.h.
const (
	ok               Error = 1
	ErrLibrary       Error = 2
	ErrVersion       Error = 3
	ErrInit          Error = 4
	ErrTimedOut      Error = 5
	ErrTryAgain      Error = 6
	ErrInvalidParam  Error = 7
	ErrNoMemory      Error = 8
	ErrBadHandle     Error = 9
	ErrBusy          Error = 10
	ErrAccess        Error = 11
	ErrNotExist      Error = 12
	ErrNameTooLong   Error = 13
	ErrExist         Error = 14
	ErrNoSpace       Error = 15
	ErrInterrupt     Error = 16
	ErrNameNotFound  Error = 17
	ErrNoResources   Error = 18
	ErrNotSupported  Error = 19
	ErrBadOperation  Error = 20
	ErrFailed        Error = 21
	ErrMessage       Error = 22
	ErrQueueFull     Error = 23
	ErrQueueMissing  Error = 24
	ErrBadFlags      Error = 25
	ErrMessageTooBig Error = 26
	ErrNoSections    Error = 27
	ErrNoContext     Error = 28
	ErrTooManyGroups Error = 30
	ErrSecurity      Error = 100
)

func (e Error) Error() string {
	switch e {
	case ErrLibrary:
		return "corosync: library error"
	case ErrVersion:
		return "corosync: wrong version"
	case ErrInit:
		return "corosync: initialisation error"
	case ErrTimedOut:
		return "corosync: timed out"
	case ErrTryAgain:
		return "corosync: try again"
	case ErrInvalidParam:
		return "corosync: invalid argument"
	case ErrNoMemory:
		return "corosync: out of memory"
	case ErrBadHandle:
		return "corosync: bad handle"
	case ErrBusy:
		return "corosync: busy"
	case ErrAccess:
		return "corosync: access denied"
	case ErrNotExist:
		return "corosync: does not exist"
	case ErrNameTooLong:
		return "corosync: name too long"
	case ErrExist:
		return "corosync: exists already"
	case ErrNoSpace:
		return "corosync: no space"
	case ErrInterrupt:
		return "corosync: interrupted"
	case ErrNameNotFound:
		return "corosync: name not found"
	case ErrNoResources:
		return "corosync: no resources"
	case ErrNotSupported:
		return "corosync: not supported"
	case ErrBadOperation:
		return "corosync: bad operation"
	case ErrFailed:
		return "corosync: operation failed"
	case ErrMessage:
		return "corosync: message error"
	case ErrQueueFull:
		return "corosync: queue full"
	case ErrQueueMissing:
		return "corosync: no queue"
	case ErrBadFlags:
		return "corosync: bad flags"
	case ErrMessageTooBig:
		return "corosync: too big"
	case ErrNoSections:
		return "corosync: no more entries"
	case ErrNoContext:
		return "corosync: no such context"
	case ErrTooManyGroups:
		return "corosync: too many groups"
	case ErrSecurity:
		return "corosync: security error"
	}
	return fmt.Sprintf("corosync: error %d", int32(e))
}
