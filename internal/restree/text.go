package restree

import (
	"math"
	"strings"
)

// Kind says where a Message belongs.
type Kind uint8

const (
	// KindNote is information ("Replacing action ...").
	KindNote Kind = iota
	// KindWarning and KindError are faults of the configuration; loading goes on.
	KindWarning
	KindError
	// KindStderr is a fault that rg_test prints on standard error.
	KindStderr
)

// Message is what loading has to say.
type Message struct {
	Kind Kind
	// Text has no level in front of it: a daemon logs it like this.
	Text string
	// NoNewline: rg_test prints no line end after it.
	NoNewline bool
}

// String returns the message as rg_test prints it, without a line end.
func (m Message) String() string {
	switch m.Kind {
	case KindWarning:
		return "Warning: " + m.Text
	case KindError:
		return "Error: " + m.Text
	}
	return m.Text
}

// Atoi reads the leading digits of s after white space and a sign, as atoi(3)
// does, and keeps within 32 bits. What is no number is 0.
func Atoi(s string) int {
	s = strings.TrimLeft(s, " \t\n\v\f\r")
	neg := false
	if s != "" && (s[0] == '-' || s[0] == '+') {
		neg, s = s[0] == '-', s[1:]
	}
	n := 0
	for i := 0; i < len(s) && s[i] >= '0' && s[i] <= '9'; i++ {
		n = min(n*10+int(s[i]-'0'), math.MaxInt32)
	}
	if neg {
		return -n
	}
	return n
}

// ParseTime reads a time expression and returns seconds: numbers with the
// units s, m, h, d, w and y (365 days) in any case, added up; a number without
// a unit counts as seconds only at the end. Other characters contribute
// nothing. What exceeds 2147483647, alone or with its unit, makes it all 0, as
// in rgmanager 3.2.
func ParseTime(s string) int {
	total, num := 0, 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= '0' && c <= '9' {
			if num = num*10 + int(c-'0'); num > math.MaxInt32 {
				return 0
			}
			continue
		}
		part := num * unitSeconds(c)
		if part > math.MaxInt32 {
			return 0
		}
		total += part
		num = 0
	}
	if total += num; total > math.MaxInt32 {
		return 0
	}
	return total
}

func unitSeconds(c byte) int {
	switch c {
	case 's', 'S':
		return 1
	case 'm', 'M':
		return 60
	case 'h', 'H':
		return 3600
	case 'd', 'D':
		return 24 * 3600
	case 'w', 'W':
		return 7 * 24 * 3600
	case 'y', 'Y':
		return 365 * 24 * 3600
	}
	return 0
}
