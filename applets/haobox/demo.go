package haobox

import (
	"fmt"
	"io"
	"time"

	"github.com/urfave/cli/v2"
)

// demo is the group of demonstrations; without a name the first is shown.
func (t tool) demo() *cli.Command {
	c := &cli.Command{
		Name:        "demo",
		Usage:       "show what haobox does, on this machine alone",
		Description: "Without a name, the first one is shown. Nothing is installed, nothing leaves this machine, and nothing is left.",
		Subcommands: append([]*cli.Command{t.demoFence(), t.demoFreeze(), t.demoKsys(), t.demoService()}, t.demoParts()...),
		Action:      func(c *cli.Context) error { return t.tellFence(c.Context, demoLogoff) },
	}
	for _, sub := range c.Subcommands {
		sub.OnUsageError = usageError
	}
	return c
}

// story prints a demonstration: lines with the time since its start.
type story struct {
	out   io.Writer
	start time.Time
	now   func() time.Time
}

// tell prints what happened now, by whom.
func (s *story) tell(who, format string, args ...any) {
	s.at(s.now(), who, format, args...)
}

// at prints what happened at a time.
func (s *story) at(when time.Time, who, format string, args ...any) {
	fmt.Fprintf(s.out, "%8.3f s  %-12s %s\n", when.Sub(s.start).Seconds(), who, fmt.Sprintf(format, args...))
}

// show prints a line that somebody said, below the one told.
func (s *story) show(line string) { fmt.Fprintf(s.out, "%10s  %12s | %s\n", "", "", line) }

// heading starts a part of the story.
func (s *story) heading(text string) { fmt.Fprintf(s.out, "\n%s\n\n", text) }
