package zvm

import (
	"context"
	"errors"
	"fmt"

	"github.com/haobox/haobox/internal/fenceagent"
	"github.com/haobox/haobox/internal/smapi"
)

// result is a return and reason code of a function.
type result struct {
	function    string
	ret, reason int
}

func (r result) is(ret, reason int) bool { return r.ret == ret && r.reason == reason }

// permanent reports whether the same request will be refused again, so that
// asking on until the deadline is a waste of the caller's time.
func (r result) permanent() bool {
	switch smapi.Classify(r.function, r.ret, r.reason) {
	case smapi.Permanent, smapi.Credentials, smapi.Privilege:
		return true
	}
	return false
}

// fault is what a caller of the agent is told about the codes.
func (r result) fault(where string) *fenceagent.FaultError {
	name, meaning := smapi.Describe(r.function, r.ret, r.reason)
	f := fenceagent.StatusUnknown
	switch class := smapi.Classify(r.function, r.ret, r.reason); {
	case class == smapi.Credentials:
		f = fenceagent.LoginDenied
	case class == smapi.Privilege:
		f = fenceagent.PrivilegesMissing
	case r.function == smapi.ImageActivate:
		f = fenceagent.WaitingOn
	case r.function == smapi.ImageDeactivate || r.function == smapi.ImageRecycle:
		f = fenceagent.WaitingOff
	}
	return &fenceagent.FaultError{Fault: f,
		Detail: fmt.Sprintf("%sSMAPI %s returned %d/%d (%s: %s)", where, r.function, r.ret, r.reason, name, meaning)}
}

// hopeless is implemented by errors of a transport that stay: no such address
// family in this kernel, a certificate that is not trusted.
type hopeless interface{ Permanent() bool }

// permanent reports whether an error of the transport stays.
func permanent(err error) bool {
	var h hopeless
	return errors.As(err, &h) && h.Permanent() || errors.Is(err, smapi.ErrRequest)
}

// transportFault is what a caller of the agent is told about an exchange
// with the server at address that gave no answer.
func transportFault(address string, err error) *fenceagent.FaultError {
	f, hint := fenceagent.LoginDenied, ""
	if errors.Is(err, smapi.ErrTimeout) {
		hint = "; login_timeout and shell_timeout set the limits"
	}
	switch {
	case errors.Is(err, smapi.ErrConnect):
	case errors.Is(err, smapi.ErrTimeout), errors.Is(err, context.DeadlineExceeded):
		f = fenceagent.TimedOut
	case errors.Is(err, smapi.ErrLost), errors.Is(err, smapi.ErrProtocol):
		f = fenceagent.ConnectionLost
	}
	return &fenceagent.FaultError{Fault: f, Detail: address + ": " + err.Error() + hint}
}
