package simd

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/haobox/haobox/internal/smapi/zvmsim"
	"github.com/haobox/haobox/platform"
)

// DefaultHookLimit bounds a hook: ours. A power switch or the end of a
// container takes seconds.
const DefaultHookLimit = 30 * time.Second

// hookGrace is the time between SIGTERM and SIGKILL for a hook that takes too
// long.
const hookGrace = 2 * time.Second

// Command is the command of a hook. It gets the guest, the event ("logoff" or
// "logon") and the member as arguments, and in its environment SMAPID_GUEST,
// SMAPID_EVENT, SMAPID_MEMBER and SMAPID_SYSTEM.
type Command struct {
	// Args is a program with its first arguments.
	Args []string
}

// ParseCommand reads a command as it is given in one string: a single word is
// a program; everything else is text for the shell, which has the arguments as
// $1, $2 and $3. An empty text is no command.
func ParseCommand(text string) Command {
	switch {
	case strings.TrimSpace(text) == "":
		return Command{}
	case strings.ContainsAny(text, " \t\n$&|;<>()`\"'\\*?#~="):
		return Command{Args: []string{"/bin/sh", "-c", text, "smapid"}}
	}
	return Command{Args: []string{text}}
}

// IsZero reports whether there is no command.
func (c Command) IsZero() bool { return len(c.Args) == 0 }

// GuestHooks are the commands of one guest.
type GuestHooks struct {
	// System may be empty if the guest's name is unique.
	System, Guest     string
	OnLogoff, OnLogon Command
}

// hooks runs the commands of guests: for one guest one after the other, for
// several at the same time.
type hooks struct {
	runner  platform.Runner
	limit   time.Duration
	environ []string
	// command finds the command for a hook.
	command func(zvmsim.Hook) Command
	// done is told the result.
	done func(zvmsim.HookDone)
	log  func(format string, args ...any)

	mu sync.Mutex
	// queues has an entry for each guest with hooks that have not ended.
	queues map[string][]zvmsim.Hook
	wg     sync.WaitGroup
}

// add queues a hook and returns at once.
func (h *hooks) add(ctx context.Context, hook zvmsim.Hook) {
	key := hook.System + "/" + hook.Guest
	h.mu.Lock()
	defer h.mu.Unlock()
	q, running := h.queues[key]
	h.queues[key] = append(q, hook)
	if !running {
		h.wg.Go(func() { h.work(ctx, key) })
	}
}

// work runs the hooks of one guest until none is left.
func (h *hooks) work(ctx context.Context, key string) {
	for {
		h.mu.Lock()
		q := h.queues[key]
		if len(q) == 0 {
			delete(h.queues, key)
			h.mu.Unlock()
			return
		}
		hook := q[0]
		h.queues[key] = q[1:]
		h.mu.Unlock()
		err := h.run(ctx, hook)
		if err != nil {
			h.log("%v", err)
		}
		h.done(zvmsim.HookDone{Ticket: hook.Ticket, Err: err})
	}
}

// eventName is what a hook is told.
func eventName(s zvmsim.State) string {
	if s == zvmsim.Off {
		return "logoff"
	}
	return "logon"
}

// run runs one hook and waits for its end.
func (h *hooks) run(ctx context.Context, hook zvmsim.Hook) error {
	c := h.command(hook)
	if c.IsZero() {
		return nil
	}
	event := eventName(hook.Event)
	args := append(append([]string(nil), c.Args...), hook.Guest, event, hook.Member)
	out := &capped{left: maxHookOutput}
	res, err := h.runner.Run(ctx, platform.Cmd{
		Path: c.Args[0], Args: args,
		Env: append(append([]string(nil), h.environ...),
			"SMAPID_GUEST="+hook.Guest, "SMAPID_EVENT="+event, "SMAPID_MEMBER="+hook.Member, "SMAPID_SYSTEM="+hook.System),
		Stdout: out, Stderr: out, Limit: h.limit, Grace: hookGrace,
	})
	what := fmt.Sprintf("%s hook of guest %s (%s)", event, hook.Guest, strings.Join(c.Args, " "))
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", what, err)
	case ctx.Err() != nil:
		return fmt.Errorf("%s: %w", what, ctx.Err())
	case res.TimedOut:
		return fmt.Errorf("%s: not done after %v%s", what, h.limit, out)
	case !res.OK():
		return fmt.Errorf("%s: exit status %d%s", what, res.ExitCode, out)
	}
	return nil
}

// maxHookOutput is how much of a hook's output is kept for a message, in
// bytes: ours.
const maxHookOutput = 1 << 10

// capped keeps the first bytes that are written to it.
type capped struct {
	mu   sync.Mutex
	buf  bytes.Buffer
	left int
}

var _ io.Writer = (*capped)(nil)

func (c *capped) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := min(len(p), c.left)
	c.left -= n
	c.buf.Write(p[:n])
	return len(p), nil
}

// String is what was kept, on one line and after a colon.
func (c *capped) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	text := strings.Join(strings.Fields(c.buf.String()), " ")
	if text == "" {
		return ""
	}
	return ": " + text
}
