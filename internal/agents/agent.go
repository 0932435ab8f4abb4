package agents

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/haobox/haobox/internal/restree"
)

// Exit statuses of agents, OCF resource agent API 1.0, "Exit status codes".
// rgmanager takes all but OK as a failure.
const (
	OK            = 0
	Generic       = 1
	BadArguments  = 2
	Unimplemented = 3
	Permission    = 4
	NotInstalled  = 5
	NotConfigured = 6
	NotRunning    = 7
)

// Action is the work of an agent for one word. nil is success; an *Error
// carries its exit status, any other error is Generic.
type Action func(ctx context.Context, c *Call) error

// Agent is a resource agent. It holds no state of a resource: what counts is
// read from the machine each time. Safe for concurrent use; not to be copied.
type Agent struct {
	// Type is the resource type, "ip". The metadata is that of the program
	// Type.sh in package conf.
	Type string
	// Start succeeds if the resource runs already, Stop if it does not run.
	Start, Stop Action
	// Status looks at Call.Depth. A resource that is cleanly not running is
	// an *Error with NotRunning.
	Status Action
	// Validate checks the parameters and what must be installed, and changes
	// nothing. It runs before Start, too. It may be nil.
	Validate Action
	// Recover repairs a resource in place; nil means Stop, then Start. It is
	// offered only if the metadata has the action.
	Recover Action
	// Reload takes changed parameters over without a restart. nil means that
	// there is nothing to do.
	Reload Action
	// More are further words: "migrate", "verify-all", callbacks.
	More []Named
	// Stopped is the status of rgmanager's "status" for a resource that is
	// not running; 0 means NotRunning. rgmanager's agents differ.
	Stopped int
	// InProcess reports whether an action ends soon whatever the machine
	// does, so that a daemon may call it instead of running the program. nil
	// means never.
	InProcess func(c *Call) bool

	once    sync.Once
	rule    *restree.Rule
	ruleErr error
}

// Named is an action with its word.
type Named struct {
	Name string
	Do   Action
}

// Program is the agent's name for rgmanager: "ip.sh".
func (a *Agent) Program() string { return a.Type + ".sh" }

// Rule is the agent's metadata. It is not to be changed.
func (a *Agent) Rule() (*restree.Rule, error) {
	a.once.Do(func() {
		var ok bool
		if a.rule, ok = restree.BuiltinRule(a.Program()); !ok {
			a.ruleErr = fmt.Errorf("agent %s has no metadata in this binary", a.Type)
		}
	})
	return a.rule, a.ruleErr
}

// Error is a failure with an exit status.
type Error struct {
	Code int
	Err  error
}

// Fail returns an *Error. The text is one line for the log.
func Fail(code int, format string, args ...any) error {
	return &Error{Code: code, Err: fmt.Errorf(format, args...)}
}

// Quiet returns an *Error that has been logged already.
func Quiet(code int) error { return &Error{Code: code} }

func (e *Error) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("exit status %d", e.Code)
	}
	return e.Err.Error()
}

func (e *Error) Unwrap() error { return e.Err }

// Code is the exit status that an action's result stands for.
func Code(err error) int {
	var e *Error
	switch {
	case err == nil:
		return OK
	case errors.As(err, &e) && e.Code != 0:
		return e.Code
	}
	return Generic
}

// action finds the work for a word. Both managers' words are understood
// whoever calls.
func (a *Agent) action(word string) Action {
	switch word {
	case "start":
		return a.start
	case "stop":
		return a.Stop
	case "status", "monitor":
		return a.Status
	case "validate-all":
		return a.validate
	case "restart":
		return a.restart
	case "recover":
		if a.Recover != nil {
			return a.Recover
		}
		return a.restart
	case "reload", "reconfig", "reload-agent":
		if a.Reload != nil {
			return a.Reload
		}
		return func(context.Context, *Call) error { return nil }
	}
	for _, n := range a.More {
		if n.Name == word {
			return n.Do
		}
	}
	return nil
}

func (a *Agent) validate(ctx context.Context, c *Call) error {
	if a.Validate == nil {
		return nil
	}
	return a.Validate(ctx, c)
}

func (a *Agent) start(ctx context.Context, c *Call) error {
	if err := a.validate(ctx, c); err != nil {
		return err
	}
	return a.Start(ctx, c)
}

func (a *Agent) restart(ctx context.Context, c *Call) error {
	if err := a.Stop(ctx, c); err != nil {
		return err
	}
	return a.start(ctx, c)
}

// Do runs an action, logs its failure and returns the exit status in the
// dialect of the call. Words that the agent does not know give Unimplemented.
func (a *Agent) Do(ctx context.Context, c *Call) int {
	do := a.action(c.Action)
	if do == nil {
		c.Errorf("unknown action %q", c.Action)
		return Unimplemented
	}
	if err := c.missing(); err != nil && c.Action != "stop" {
		c.Errorf("%v", err)
		return Code(err)
	}
	err := do(ctx, c)
	var e *Error
	if err != nil && !(errors.As(err, &e) && e.Err == nil) {
		c.failure(err)
	}
	code := Code(err)
	if code == NotRunning && a.Stopped != 0 && c.Dialect != OCF && c.checking() {
		return a.Stopped
	}
	return code
}
