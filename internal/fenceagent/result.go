package fenceagent

import (
	"fmt"
	"strings"
	"time"
)

// Exit statuses of an agent. Callers know no others.
const (
	ExitOK     = 0
	ExitFailed = 1
	// ExitOff is the answer "off" of the status action.
	ExitOff = 2
)

// Fault is a reason for a failure that has a text of its own in the Fence
// Agent API. Whatever the fault, the exit status is ExitFailed.
type Fault int

const (
	// GenericError is the fault without a better name.
	GenericError Fault = iota
	// LoginDenied: no connection, or user id or password refused.
	LoginDenied
	// ConnectionLost: the device went away in the middle.
	ConnectionLost
	// TimedOut: no answer in time.
	TimedOut
	// WaitingOn: the guest was not seen on in time.
	WaitingOn
	// WaitingOff: the guest was not seen off in time.
	WaitingOff
	// StatusUnknown: the device did not say on or off.
	StatusUnknown
	// PrivilegesMissing: the user may not do this.
	PrivilegesMissing
)

// String is the text that scripts look for in the log.
func (f Fault) String() string {
	switch f {
	case LoginDenied:
		return "Unable to connect/login to fencing device"
	case ConnectionLost:
		return "Connection lost"
	case TimedOut:
		return "Connection timed out"
	case WaitingOn:
		return "Failed: Timed out waiting to power ON"
	case WaitingOff:
		return "Failed: Timed out waiting to power OFF"
	case StatusUnknown:
		return "Failed: Unable to obtain correct plug status or plug is not available"
	case PrivilegesMissing:
		return "Failed: The user does not have the correct privileges to do the requested action."
	}
	return "Failed: Generic error"
}

// FaultError is a failed action: the fault's text for scripts, and what
// happened in detail for people.
type FaultError struct {
	Fault  Fault
	Detail string
}

func (e *FaultError) Error() string {
	if e.Detail == "" {
		return e.Fault.String()
	}
	return e.Fault.String() + ": " + e.Detail
}

// logTime is the time stamp of the Python agents' log lines.
const logTime = "2006-01-02 15:04:05"

// LogLine is one line as the Python agents log it on standard error:
// "2013-12-31 14:38:23,004 ERROR: text". Line breaks in text become blanks.
func LogLine(now time.Time, level, text string) string {
	text = strings.Join(strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' }), " ")
	return fmt.Sprintf("%s,%03d %s: %s\n", now.Format(logTime), now.Nanosecond()/1e6, level, text)
}
