package fenceagent

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/haobox/haobox/internal/argv"
	"github.com/haobox/haobox/platform"
)

// Limits of standard input. fenced sends at most 4095 bytes; Pacemaker has no
// limit of its own.
const (
	maxInput = 64 << 10
	maxLine  = 64 << 10
	// InputIdle is how long an agent waits for the next byte of its standard
	// input: a caller that keeps the pipe open must not stop a fence for ever.
	InputIdle = 10 * time.Second
)

// ErrUsage is wrapped by every fault of the options; the agent then points to
// its help.
var ErrUsage = errors.New("usage")

// UsageError is a fault in what the caller asked for.
type UsageError struct{ Text string }

func (e *UsageError) Error() string { return e.Text }
func (e *UsageError) Unwrap() error { return ErrUsage }

func usagef(format string, args ...any) error {
	return &UsageError{Text: fmt.Sprintf(format, args...)}
}

// FromArgs reads the command line, without the agent's name.
func FromArgs(options []Option, args []string) (*Values, error) {
	settings, operands, err := argv.Parse(spec(options), args)
	if err != nil {
		return nil, usagef("Parse error: %v", err)
	}
	v := &Values{options: options, set: map[string]string{}}
	verbose := 0
	for _, s := range settings {
		o := find(options, normal(s.Name))
		if o.Redirect != nil {
			o = find(options, o.Redirect(s.Spelling, s.Value))
		}
		value := s.Value
		if !s.HasValue {
			value = "1"
			if o.Name == "verbose" {
				verbose++
				value = strconv.Itoa(min(verbose, 1))
				v.set["verbose_level"] = strconv.Itoa(verbose)
			}
		}
		if err := v.put(o, value, true); err != nil {
			return nil, err
		}
	}
	for _, op := range operands {
		if strings.HasPrefix(op, "-") {
			return nil, usagef("Parse error: '%s' stands after '--'; options go before it", op)
		}
		v.Notes = append(v.Notes, fmt.Sprintf("operand '%s' is ignored", op))
	}
	return v, nil
}

// quiet are the keys that callers send and an agent does not need.
func quiet(key string) bool {
	switch key {
	case "agent", "name", "nodename", "node", "fail_time", "stonith_timeout", "priority", "provides":
		return true
	}
	return strings.HasPrefix(key, "pcmk_") || strings.HasPrefix(key, "crm_")
}

// FromStdin reads key=value lines to the end of r. If r falls silent for
// InputIdle without ending, what has come counts, but only if it says what to
// do: the rest could have been an action other than the default.
func FromStdin(options []Option, r io.Reader, clock platform.Clock) (*Values, error) {
	type chunk struct {
		data []byte
		err  error
	}
	chunks := make(chan chunk)
	quit := make(chan struct{})
	defer close(quit)
	// This goroutine may stay in Read until the process ends: a pipe that is
	// kept open cannot be told to stop.
	go func() {
		for {
			buf := make([]byte, 4096)
			n, err := r.Read(buf)
			select {
			case chunks <- chunk{buf[:n], err}:
			case <-quit:
				return
			}
			if err != nil {
				return
			}
		}
	}()
	var text []byte
	for len(text) <= maxInput {
		idle, stop := clock.After(InputIdle)
		select {
		case c := <-chunks:
			stop()
			text = append(text, c.data...)
			if c.err == io.EOF {
				return FromText(options, text)
			}
			if c.err != nil {
				return nil, usagef("Parse error: cannot read standard input: %v", c.err)
			}
		case <-idle:
			v, err := FromText(options, text)
			if err == nil {
				if _, given := v.Given("action"); !given {
					err = usagef("Parse error: standard input fell silent for %v before it ended or named an action", InputIdle)
				}
			}
			return v, err
		}
	}
	return FromText(options, text) // too long
}

// FromText reads key=value lines. Blank lines, lines that start with # and
// lines without = are passed over; blanks around key and value do not count;
// one pair of enclosing double quotes is dropped; keys fold case and take -
// for _. A key that looks like a misspelt "action" is an error: falling
// through to the default, a reboot, would be the worst reading of a slip.
func FromText(options []Option, text []byte) (*Values, error) {
	if len(text) > maxInput {
		return nil, usagef("Parse error: more than %d bytes on standard input", maxInput)
	}
	v := &Values{options: options, set: map[string]string{}}
	for n, line := range bytes.Split(text, []byte("\n")) {
		if err := v.line(n+1, strings.Trim(string(line), " \t\r\v\f")); err != nil {
			return nil, err
		}
	}
	return v, nil
}

// line reads one line, number n.
func (v *Values) line(n int, line string) error {
	if line == "" || line[0] == '#' {
		return nil
	}
	if strings.IndexByte(line, 0) >= 0 {
		return usagef("Parse error: line %d of standard input has a NUL byte", n)
	}
	key, value, ok := strings.Cut(line, "=")
	key, value = normal(strings.TrimSpace(key)), strings.TrimSpace(value)
	if len(value) > 1 && value[0] == '"' && value[len(value)-1] == '"' {
		value = value[1 : len(value)-1]
	}
	o := find(v.options, key)
	switch {
	case !ok || o == nil:
		if misspeltAction(key) {
			return usagef("Parse error: line %d of standard input, '%s', looks like a misspelt action=; nothing was done", n, clip(line))
		}
		if !quiet(key) {
			v.Notes = append(v.Notes, fmt.Sprintf("line %d of standard input is ignored: unknown option '%s'", n, clip(key)))
		}
		return nil
	case value == "" && o.Kind != String:
		v.Notes = append(v.Notes, fmt.Sprintf("line %d of standard input is ignored: %s has no value", n, o.Name))
		return nil
	}
	return v.put(o, value, false)
}

// misspeltAction reports whether an unknown key, or the words of a line
// without =, is within two slips of "action" or "option", or has one of them
// as its first word.
func misspeltAction(key string) bool {
	letters := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' {
			return r
		}
		return -1
	}, key)
	first, _, _ := strings.Cut(strings.TrimLeft(key, " \t_.:;,-'\""), " ")
	for _, want := range []string{"action", "option"} {
		if editDistance(letters, want) <= 2 || strings.HasPrefix(first, want) {
			return true
		}
	}
	return false
}

// editDistance counts the insertions, deletions, changes and swaps of
// neighbours that turn a into b (optimal string alignment). Long texts are
// cut: they are far from any option.
func editDistance(a, b string) int {
	if len(a) > 32 {
		return len(a)
	}
	d := make([][]int, len(a)+1)
	for i := range d {
		d[i] = make([]int, len(b)+1)
		d[i][0] = i
	}
	for j := range d[0] {
		d[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			change := 1
			if a[i-1] == b[j-1] {
				change = 0
			}
			d[i][j] = min(d[i-1][j]+1, d[i][j-1]+1, d[i-1][j-1]+change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d[i][j] = min(d[i][j], d[i-2][j-2]+1)
			}
		}
	}
	return d[len(a)][len(b)]
}

// clip shortens text of the caller for a message and cuts what stands after
// the first =: it could be a password under a misspelt key.
func clip(s string) string {
	if k, _, ok := strings.Cut(s, "="); ok {
		s = k + "=…"
	}
	if len(s) > 40 {
		s = s[:40] + "…"
	}
	return s
}

// put stores a value after checking its type. A boolean that is none is
// refused on the command line and dropped with a note on standard input, as
// the Python agents do.
func (v *Values) put(o *Option, value string, strict bool) error {
	switch o.Kind {
	case Boolean:
		b, ok := ParseBool(value)
		switch {
		case ok && b:
			value = "1"
		case ok:
			value = "0"
		case strict && o.Arg != "":
			return usagef("Failed: %s must be true or false, not '%s'", o.Name, clip(value))
		default:
			v.Notes = append(v.Notes, fmt.Sprintf("%s is ignored: '%s' is neither true nor false", o.Name, clip(value)))
			return nil
		}
	case Integer:
		if n, err := strconv.Atoi(value); err != nil || n < 0 {
			return usagef("Failed: The value of %s must be a whole number from 0 on, not '%s'", o.Name, clip(value))
		}
	case Seconds:
		if _, ok := ParseSeconds(value); !ok {
			return usagef("Failed: The value of %s must be a number of seconds from 0 to %d, not '%s'", o.Name, maxSeconds, clip(value))
		}
	case Select:
		value = strings.ToLower(value)
		if !slices.Contains(o.Choices, value) {
			return usagef("Failed: The value of %s must be one of %s, not '%s'", o.Name, strings.Join(o.Choices, ", "), clip(value))
		}
	}
	v.set[o.Name] = value
	return nil
}
