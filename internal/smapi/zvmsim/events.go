package zvmsim

import (
	"time"

	"github.com/haobox/haobox/internal/smapi"
)

// ConnID names a connection of a client; the shell gives each a number of its
// own.
type ConnID uint64

// An Event is something that happens to the core. See Core.Step.
type Event interface{ event() }

// Tick does nothing but bring the core up to the time of the step.
type Tick struct{}

// Connect is a client at the door of a member. The core answers with Close if
// it is turned away.
type Connect struct {
	Conn ConnID
	// Member is whose server it is; "" means the first of the first system.
	Member string
	// Peer is the user id of the client as CP vouches for it, over IUCV or
	// what stands for it; else empty.
	Peer string
	// Remote is the client's address for the audit.
	Remote string
}

// Request is a request that was read from a connection.
type Request struct {
	Conn    ConnID
	Request smapi.Request
	// Err is the error of smapi.ReadRequest if it has an answer.
	Err error
}

// Hangup says that the client has gone. A request that was read is executed
// all the same.
type Hangup struct{ Conn ConnID }

// HalfClose says that the client sends no more; it may still read.
type HalfClose struct{ Conn ConnID }

// HookDone says that the command for a Hook action has ended.
type HookDone struct {
	Ticket uint64
	// Err is why it is not known to have done its work.
	Err error
}

// LogOff and LogOn are what an operator does on the console, with the delays
// and hooks of the real thing. System may be empty if the guest's name is
// unique.
type (
	LogOff struct {
		System, Guest string
		// By is who did it; "" means OPERATOR.
		By string
	}
	LogOn struct {
		System, Guest string
		// Member is where; "" means where it was last.
		Member string
		By     string
	}
)

// Die ends a guest at once, as when its system shut itself down or crashed.
// No hook is asked for: it tells what has happened already.
type Die struct{ System, Guest string }

// SetGuest puts a guest into a state at once and without hooks, Off or On.
// Member is as in LogOn.
type SetGuest struct {
	System, Guest, Member string
	State                 State
}

// SetMember changes the state of a member.
type SetMember struct {
	Member string
	State  MemberState
}

// AddFault adds a rule; the core answers with FaultAdded.
type AddFault struct{ Fault Fault }

// RemoveFault removes the rule with that ID; 0 removes all.
type RemoveFault struct{ ID int }

// SetAuthority replaces the AUTHLIST and NAMELIST of a member.
type SetAuthority struct {
	Member             string
	AuthList, NameList []byte
}

func (Tick) event()         {}
func (Connect) event()      {}
func (Request) event()      {}
func (Hangup) event()       {}
func (HalfClose) event()    {}
func (HookDone) event()     {}
func (LogOff) event()       {}
func (LogOn) event()        {}
func (Die) event()          {}
func (SetGuest) event()     {}
func (SetMember) event()    {}
func (AddFault) event()     {}
func (RemoveFault) event()  {}
func (SetAuthority) event() {}

// An Action is what the core wants done. See Core.Step.
type Action interface{ action() }

// Send is a part of a reply.
type Send struct {
	Conn ConnID
	// ID and Body say which parts: the request id, the response or both.
	ID, Body bool
	Response smapi.Response
	// Wire is how it is sent.
	Wire Wire
}

// Wire is how the bytes of a reply differ from what they should be.
type Wire struct {
	// OneByte sends every byte in a write of its own, with a pause after each.
	OneByte bool
	Pause   time.Duration
	// Length and Array change lengths; ArrayAt is the offset of the array's
	// length in Response.Data, or -1 if there is none.
	Length, Array Lie
	ArrayAt       int
	// Garbage is sent instead of the response if it is not nil.
	Garbage []byte
	// Cut sends only the first CutAt bytes of the response.
	Cut   bool
	CutAt int
}

// Push is an event for a subscriber.
type Push struct {
	Conn  ConnID
	Event smapi.Event
}

// Close ends a connection after what was sent before.
type Close struct {
	Conn ConnID
	How  End
	// Refused says that the client was turned away at the door: with
	// EndSilence it waits there for ever.
	Refused bool
}

// Hook asks for the command of a guest. Commands of one guest run one after
// the other, in the order of the actions; HookDone answers.
type Hook struct {
	Ticket                uint64
	System, Member, Guest string
	// Event is On or Off: the state that the guest goes into.
	Event State
}

// Changed says that a guest went from one state to another.
type Changed struct {
	Time                  time.Time
	System, Member, Guest string
	From, To              State
	// By is who caused it: a worker server with the user who asked it,
	// OPERATOR or the guest itself.
	By string
}

// MemberChanged says that a member changed its state.
type MemberChanged struct {
	Time   time.Time
	Member string
	State  MemberState
}

// Operator is a line of a member's operator log, with its time, as in the
// manual's figure 21.
type Operator struct {
	Time         time.Time
	Member, Line string
}

// Warning is something that the person who runs the simulator should know.
type Warning struct {
	Time time.Time
	Text string
}

// FaultAdded gives the ID of a rule.
type FaultAdded struct{ ID int }

// Refused says that the event of the step could not be carried out.
type Refused struct{ Err error }

// Audit is what became of one request. There is one for each that was read.
type Audit struct {
	// Time is when the request came, Latency how long the answer took.
	Time    time.Time
	Latency time.Duration
	Member  string
	Peer    string
	Remote  string
	Worker  string
	// RequestID is the id it was given.
	RequestID uint32
	Function  string
	User      string
	Target    string
	Return    int
	Reason    int
	// Answered says that a response was sent, whatever became of it. Executed
	// says that the request's work was done; one that asks for nothing but an
	// answer is executed when that was worked out.
	Answered, Executed bool
	// Fault is the rule that applied, 0 for none.
	Fault int
}

func (Send) action()          {}
func (Push) action()          {}
func (Close) action()         {}
func (Hook) action()          {}
func (Changed) action()       {}
func (MemberChanged) action() {}
func (Operator) action()      {}
func (Warning) action()       {}
func (FaultAdded) action()    {}
func (Refused) action()       {}
func (Audit) action()         {}
