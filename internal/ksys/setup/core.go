// Package setup builds the PowerHA cluster for the KSYS nodes and takes it
// down again, as the paper's phaksyssetup does: the same questions, the same
// PowerHA resources in the same order. It differs where the paper's script
// stops at the first fault: everything is checked first, every finished step
// is recognised and not done twice, and a run that failed can go on.
//
// The sequences are cores: Core.Step takes an Event and returns one Action.
// They are written as straight code that runs as a coroutine (iter.Pull), so
// that a sequence of forty questions and commands reads from top to bottom;
// between two Steps nothing runs. Host carries the actions out.
package setup

import (
	"iter"
	"time"
)

// Exit statuses of phaksyssetup.
const (
	ExitOK        = 0
	ExitInvalid   = 2  // answers or flags are wrong; nothing was changed
	ExitFilesets  = 3  // a fileset is missing
	ExitUndecided = 4  // it cannot be told whether a cluster exists
	ExitExisting  = 5  // another cluster exists
	ExitStep      = 6  // a step failed
	ExitUsage     = 64 // command line
	ExitNoPowerHA = 69 // PowerHA SystemMirror is not installed
	ExitLocked    = 75 // another run is at work
)

// Action is something the sequence wants done. Except for Print, Tell,
// Report and Finish it is answered by an Event.
type Action interface{ action() }

// Event is an answer. Begin is the first one.
type Event interface{ event() }

// The actions.
type (
	// Print writes to standard output, Tell to standard error.
	Print struct{ Text string }
	Tell  struct{ Text string }
	// Ask prints a prompt and reads a line.
	Ask struct{ Prompt string }
	// Exec runs a command. Pass shows its output as it comes.
	Exec struct {
		Argv  []string
		Limit time.Duration
		Pass  bool
	}
	// Read reads a file, Save replaces it atomically; Backup keeps the old
	// one beside it. Script installs a wrapper, link or copy.
	Read struct{ Path string }
	Save struct {
		Path   string
		Data   []byte
		Mode   uint32
		Backup bool
	}
	Script struct{ Name, Layout string }
	Remove struct{ Path string }
	// Resolve asks for a host's addresses.
	Resolve struct{ Name string }
	// Pause waits.
	Pause struct{ For time.Duration }
	// Report is the progress of a step: Result is "" at its begin.
	Report struct {
		Number, Of   int
		Name, Result string
	}
	// Finish ends the sequence.
	Finish struct{ Code int }
)

// The events.
type (
	Begin  struct{}
	Done   struct{ Err error }
	Answer struct {
		Text string
		EOF  bool
	}
	Ran struct {
		Stdout, Stderr string
		Code           int
		// Missing: not installed. Err: it gave no status (time, signal).
		Missing bool
		Err     error
	}
	Content struct {
		Data   []byte
		Exists bool
		Err    error
	}
	Addresses struct {
		List []string
		Err  error
	}
)

func (Print) action()   {}
func (Tell) action()    {}
func (Ask) action()     {}
func (Exec) action()    {}
func (Read) action()    {}
func (Save) action()    {}
func (Script) action()  {}
func (Remove) action()  {}
func (Resolve) action() {}
func (Pause) action()   {}
func (Report) action()  {}
func (Finish) action()  {}

func (Begin) event()     {}
func (Done) event()      {}
func (Answer) event()    {}
func (Ran) event()       {}
func (Content) event()   {}
func (Addresses) event() {}

// Text is what a command printed, both streams.
func (r Ran) Text() string { return r.Stdout + r.Stderr }

// OK reports an exit status of 0.
func (r Ran) OK() bool { return r.Err == nil && !r.Missing && r.Code == 0 }

// Core is one sequence. Use one per run; call Stop at the end.
type Core struct {
	run  func(c *Core) int
	next func() (Action, bool)
	stop func()
	give func(Action) bool
	in   Event
	now  time.Time
}

// newCore returns a Core that runs the sequence.
func newCore(run func(c *Core) int) *Core { return &Core{run: run} }

// Step gives the answer to the last action (Begin at first) and returns the
// next one. After Finish it returns Finish again.
func (c *Core) Step(now time.Time, ev Event) Action {
	c.now, c.in = now, ev
	if c.next == nil {
		c.next, c.stop = iter.Pull(func(yield func(Action) bool) {
			c.give = yield
			defer func() {
				// A sequence that was stopped in the middle unwinds by panic.
				if r := recover(); r != nil && r != errStopped {
					panic(r)
				}
			}()
			code := c.run(c)
			for c.give(Finish{code}) {
			}
		})
	}
	a, ok := c.next()
	if !ok {
		return Finish{ExitStep}
	}
	return a
}

// Stop ends the coroutine.
func (c *Core) Stop() {
	if c.stop != nil {
		c.stop()
	}
}

type stopped struct{}

var errStopped any = stopped{}

// do hands out an action and returns its answer.
func (c *Core) do(a Action) Event {
	if !c.give(a) {
		panic(errStopped)
	}
	return c.in
}

func (c *Core) print(text string) { c.do(Print{text}) }
func (c *Core) tell(text string)  { c.do(Tell{text}) }

func (c *Core) exec(a Exec) Ran {
	r, _ := c.do(a).(Ran)
	return r
}
