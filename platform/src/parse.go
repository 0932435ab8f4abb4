package src

import (
	"strconv"
	"strings"
)

// The states of a subsystem.
const (
	Active      = "active"
	Inoperative = "inoperative"
	// Stopping is also what SRC prints as "warned to stop".
	Stopping = "stopping"
	// Absent: SRC does not know the subsystem (0513-085).
	Absent = "absent"
)

// Subsystem is one line of lssrc.
type Subsystem struct {
	Name, Group string
	// PID is 0 when the subsystem has no process.
	PID   int
	State string
}

// ParseSubsystem reads the output of "lssrc -s NAME": a header and
// " %-16s %-16s %-12s %s" with subsystem, group, process id and status. Group
// and process id can be empty. After mkssys or chssys there can be two lines
// for one name; the one with a process counts, else the last.
func ParseSubsystem(text, name string) (Subsystem, error) {
	var found Subsystem
	ok, absent := false, false
	for line := range strings.Lines(text) {
		if strings.Contains(line, "0513-085") {
			absent = true
			continue
		}
		f := strings.Fields(line)
		if len(f) < 2 || f[0] != name {
			continue
		}
		s := Subsystem{Name: name}
		rest := f[1:]
		switch last := rest[len(rest)-1]; {
		case last == "active", last == "inoperative", last == "stopping":
			s.State, rest = last, rest[:len(rest)-1]
		case len(rest) >= 3 && strings.Join(rest[len(rest)-3:], " ") == "warned to stop":
			s.State, rest = Stopping, rest[:len(rest)-3]
		default:
			continue
		}
		if n := len(rest); n > 0 {
			if pid, err := strconv.Atoi(rest[n-1]); err == nil && pid > 0 {
				s.PID, rest = pid, rest[:n-1]
			}
		}
		if len(rest) > 0 {
			s.Group = rest[0]
		}
		if !ok || s.PID != 0 || found.PID == 0 {
			found, ok = s, true
		}
	}
	switch {
	case ok:
		return found, nil
	case absent:
		return Subsystem{Name: name, State: Absent}, nil
	}
	return Subsystem{}, ErrGarbled
}

// Leader is the group leader line of "lssrc -ls IBM.ConfigRM".
type Leader struct {
	Name string
	// ID is the RSCT node id, 0 if it was not printed.
	ID uint64
	// Number is the node number, 0 if it was not printed.
	Number int
}

// ParseLeader reads the leader as the paper's pipeline does (grep -w
// GroupLeader, first line, cut at the first comma, then what follows the
// first colon), and the two fields behind it:
//
//	GroupLeader: node03, 0x7903784ce20081d5, 2
//
// The error is ErrDaemonDown, ErrNoLeader or ErrGarbled.
func ParseLeader(text string) (Leader, error) {
	for line := range strings.Lines(text) {
		if !hasWord(line, "GroupLeader") {
			continue
		}
		fields := strings.Split(strings.TrimSpace(line), ",")
		_, name, ok := strings.Cut(fields[0], ":")
		if name = strings.TrimSpace(name); !ok || noName(name) {
			return Leader{}, ErrNoLeader
		}
		// The pipeline cuts at the second colon too.
		if name, _, _ = strings.Cut(name, ":"); name == "" {
			return Leader{}, ErrNoLeader
		}
		l := Leader{Name: strings.TrimSpace(name)}
		if len(fields) > 1 {
			hex, found := strings.CutPrefix(strings.ToLower(strings.TrimSpace(fields[1])), "0x")
			if id, err := strconv.ParseUint(hex, 16, 64); found && err == nil {
				l.ID = id
			}
		}
		if len(fields) > 2 {
			if n, err := strconv.Atoi(strings.TrimSpace(fields[2])); err == nil && n > 0 {
				l.Number = n
			}
		}
		return l, nil
	}
	switch {
	case strings.Contains(text, "0513-036"), strings.Contains(text, "0513-004"), strings.Contains(text, "0513-085"):
		return Leader{}, ErrDaemonDown
	case strings.Contains(text, "IBM.ConfigRM"):
		return Leader{}, ErrNoLeader
	}
	return Leader{}, ErrGarbled
}

// noName reports whether a field stands for "none".
func noName(s string) bool {
	return s == "" || s[0] == '<' || strings.EqualFold(s, "none") || strings.Trim(s, "-") == ""
}

// hasWord is grep -w: word is there and no letter, digit or underscore
// stands beside it.
func hasWord(line, word string) bool {
	for at := 0; ; {
		i := strings.Index(line[at:], word)
		if i < 0 {
			return false
		}
		start, end := at+i, at+i+len(word)
		if (start == 0 || !wordByte(line[start-1])) && (end == len(line) || !wordByte(line[end])) {
			return true
		}
		at = start + 1
	}
}

func wordByte(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// Domain is one line of lsrpdomain.
type Domain struct {
	Name string
	// OpState is Online, Offline, Pending online, Pending offline and so on.
	OpState string
}

// ParseDomains reads lsrpdomain: a header "Name OpState RSCTActiveVersion
// MixedVersions TSPort GSPort" and one line per domain. OpState can be two
// words, so the line is read from both ends.
func ParseDomains(text string) []Domain {
	var out []Domain
	header := false
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) >= 2 && f[0] == "Name" && f[1] == "OpState" {
			header = true
			continue
		}
		// name, at least one word of state, and the four fields behind it
		if !header || len(f) < 6 {
			continue
		}
		out = append(out, Domain{Name: f[0], OpState: strings.Join(f[1:len(f)-4], " ")})
	}
	return out
}

// FirstLine is the first line of text that is not blank, without blanks
// around it, for messages.
func FirstLine(text string) string {
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			return line
		}
	}
	return ""
}
