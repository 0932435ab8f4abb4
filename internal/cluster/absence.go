package cluster

import (
	"errors"
	"fmt"
)

// Absence is why there is no Status of the cluster. None of its values says
// anything of the other nodes, nor that the services of this one have ended.
type Absence int

// Why an engine gives no status.
const (
	// Fault is anything else; the error says more.
	Fault Absence = iota
	// NotRunning: this node is no member, because its engine does not run.
	NotRunning
	// Denied: the engine runs and does not talk to this user.
	Denied
	// Silent: the engine runs and does not answer within the limit. It may be
	// stopped, and the others may have gone on without this node.
	Silent
	// Gone: the engine ended while it was asked. This node is no member.
	Gone
)

// AbsenceOf sorts an error of opening an engine or of asking it.
func AbsenceOf(err error) Absence {
	switch {
	case errors.Is(err, ErrNotRunning):
		return NotRunning
	case errors.Is(err, ErrDenied):
		return Denied
	case errors.Is(err, ErrSilent): // which is lost as well
		return Silent
	case errors.Is(err, ErrLost):
		return Gone
	}
	return Fault
}

// Unavailable is the error of asking for the status of the cluster: one line
// for people, and the cause for errors.Is.
type Unavailable struct {
	Why Absence
	Err error
}

// NewUnavailable sorts err.
func NewUnavailable(err error) *Unavailable { return &Unavailable{AbsenceOf(err), err} }

func (u *Unavailable) Unwrap() error { return u.Err }

func (u *Unavailable) Error() string {
	switch u.Why {
	case NotRunning:
		return `the cluster engine does not run on this node; "cman_tool join" or "systemctl start corosync" starts it`
	case Denied:
		return "the cluster engine does not talk to this user; run the command as root, or name the user in uidgid of its configuration"
	case Silent:
		return "the cluster engine does not answer; it may be stopped, and what it would say is unknown: look at its process and its log"
	case Gone:
		return "the cluster engine ended while it was asked; this node is no member any more: its log says why"
	}
	return fmt.Sprintf("ask the cluster engine: %v", u.Err)
}
