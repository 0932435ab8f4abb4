package ksys

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// FlagState is how far the start on this node has come.
type FlagState string

// The states of the flag file.
const (
	FlagRequested FlagState = "requested"
	FlagStarted   FlagState = "started"
	FlagRejected  FlagState = "rejected"
	FlagFailed    FlagState = "failed"
)

// flagMagic is the first line of a flag file that we wrote.
const flagMagic = "haobox-ksys 1"

// futureTolerance is how far in the future a flag may have been created. Ours:
// more than any clock correction that is not a jump.
const futureTolerance = time.Minute

// Flag is the content of the paper's temporary file: it tells the startup
// monitor that the start script was asked for on this node.
type Flag struct {
	Node    string
	State   FlagState
	Created time.Time
	// Boot is the boot id, "-" if this system has none.
	Boot string
	PID  int
}

// Encode returns the file's content.
func (f Flag) Encode() []byte {
	return fmt.Appendf(nil, "%s\nnode=%s\nstate=%s\ncreated=%s\nboot=%s\npid=%d\n",
		flagMagic, f.Node, f.State, f.Created.UTC().Format(time.RFC3339), f.Boot, f.PID)
}

// ParseFlag reads a flag file. An empty file, or one without our first line,
// is what a plain "touch" in a shell script leaves: requested, with the time
// of the file, no node and no boot id. ok is false when the first line is
// ours but the rest is not whole.
func ParseFlag(data []byte, changed time.Time) (f Flag, ok bool) {
	lines := strings.Split(string(data), "\n")
	if lines[0] != flagMagic {
		return Flag{State: FlagRequested, Created: changed}, true
	}
	seen := 0
	for _, line := range lines[1:] {
		key, value, found := strings.Cut(line, "=")
		if !found || value == "" {
			continue
		}
		var err error
		bit := 0
		switch key {
		case "node":
			f.Node, bit = value, 1
		case "state":
			f.State, bit = FlagState(value), 2
			ok := f.State == FlagRequested || f.State == FlagStarted || f.State == FlagRejected || f.State == FlagFailed
			if !ok {
				return f, false
			}
		case "created":
			f.Created, err = time.Parse(time.RFC3339, value)
			bit = 4
		case "boot":
			f.Boot, bit = value, 8
		case "pid":
			f.PID, err = strconv.Atoi(value)
			bit = 16
		}
		if err != nil || seen&bit != 0 {
			return f, false
		}
		seen |= bit
	}
	return f, seen == 31
}

// FlagVerdict is what the startup monitor makes of a flag file.
type FlagVerdict int

// The verdicts.
const (
	// FlagAbsent: there is none.
	FlagAbsent FlagVerdict = iota
	// FlagFresh: made on this node since it booted, not long ago.
	FlagFresh
	// FlagStale: left over from another node, boot or time. It must not make
	// PowerHA skip the start script, because then the daemon would go on with
	// an old configuration.
	FlagStale
	// FlagUnsafe: not a file that only we could have made.
	FlagUnsafe
)

// String returns the word used in messages.
func (v FlagVerdict) String() string {
	return [...]string{"absent", "fresh", "stale", "unsafe"}[v]
}

// JudgeFlag decides whether the content of a flag file counts now on the
// node. why says what makes it stale.
func JudgeFlag(data []byte, changed time.Time, node, boot string, now time.Time, maxAge time.Duration) (v FlagVerdict, s FlagState, why string) {
	f, ok := ParseFlag(data, changed)
	age := now.Sub(f.Created)
	switch {
	case !ok:
		return FlagStale, "", "incomplete"
	case f.Node != "" && !SameHost(f.Node, node):
		return FlagStale, f.State, "of node " + f.Node
	case f.Boot != "" && f.Boot != "-" && boot != "-" && f.Boot != boot:
		return FlagStale, f.State, "of another boot"
	case age > maxAge:
		return FlagStale, f.State, fmt.Sprintf("%.0f s old", age.Seconds())
	case age < -futureTolerance:
		return FlagStale, f.State, fmt.Sprintf("%.0f s in the future", -age.Seconds())
	}
	return FlagFresh, f.State, ""
}

// Counter is the long-running monitor's memory between two calls.
type Counter struct {
	// Unknown is the number of consecutive results that proved nothing.
	Unknown int
	// Verdict is the last one, and Logged when it last went to the log.
	Verdict string
	Logged  time.Time
}

// Encode returns the file's content.
func (c Counter) Encode() []byte {
	return fmt.Appendf(nil, "unknown=%d\nverdict=%s\nlogged=%d\n", c.Unknown, c.Verdict, c.Logged.Unix())
}

// ParseCounter reads the file; anything unreadable counts as nothing.
func ParseCounter(data []byte) Counter {
	var c Counter
	for line := range strings.Lines(string(data)) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		switch key {
		case "unknown":
			n, err := strconv.Atoi(value)
			if err != nil || n < 0 {
				return Counter{}
			}
			c.Unknown = n
		case "verdict":
			c.Verdict = value
		case "logged":
			n, err := strconv.ParseInt(value, 10, 64)
			if err != nil {
				return Counter{}
			}
			c.Logged = time.Unix(n, 0)
		}
	}
	return c
}
