package haobox

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/urfave/cli/v2"
)

var errNoArguments = errors.New("it takes no arguments")

// demo is the group of demonstrations; without a name the first is shown.
func (t tool) demo() *cli.Command {
	c := &cli.Command{
		Name:        "demo",
		Usage:       "show what haobox does, on this machine alone",
		Description: "Without a name, the first one is shown. Nothing is installed, nothing leaves this machine, and nothing is left.",
		Subcommands: append([]*cli.Command{t.demoFence(), t.demoFreeze(), t.demoKsys(), t.demoService(), t.demoGuard()}, t.demoParts()...),
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return usageError(c, fmt.Errorf("there is no demonstration %q", c.Args().First()), true)
			}
			return t.tellFence(c.Context, demoLogoff)
		},
	}
	for _, sub := range c.Subcommands {
		sub.OnUsageError = usageError
	}
	return c
}

// story prints a demonstration: lines with the time since its start. One
// goroutine at a time tells.
type story struct {
	out   io.Writer
	start time.Time
	now   func() time.Time
	// live: a terminal, where a line may be taken back; color: it may have colours.
	live, color bool

	waits   time.Time // since when, zero: it does not
	pending string    // the line of waiting that stands on the terminal
}

// Control sequences of a terminal (ECMA-48): CR and EL, SGR.
const (
	clearLine = "\r\x1b[K"
	bold      = "\x1b[1m"
	faint     = "\x1b[2m"
	plain     = "\x1b[m"
)

// tell prints what happened now, by whom.
func (s *story) tell(who, format string, args ...any) {
	s.at(s.now(), who, format, args...)
}

// at prints what happened at a time.
func (s *story) at(when time.Time, who, format string, args ...any) {
	s.rest()
	fmt.Fprintf(s.out, "%8.3f s  %-12s %s\n", when.Sub(s.start).Seconds(), who, fmt.Sprintf(format, args...))
}

// paint is a text in a colour, if there are any.
func (s *story) paint(color, text string) string {
	if !s.color {
		return text
	}
	return color + text + plain
}

// rest takes back what waiting has shown.
func (s *story) rest() {
	s.waits = time.Time{}
	if s.live && s.pending != "" {
		fmt.Fprint(s.out, clearLine)
	}
	s.pending = ""
}

// show prints a line that somebody said, below the one told.
func (s *story) show(line string) { fmt.Fprintf(s.out, "%10s  %12s | %s\n", "", "", line) }

// heading starts a part of the story.
func (s *story) heading(text string) {
	s.rest()
	fmt.Fprintf(s.out, "\n%s\n\n", s.paint(bold, text))
}
