package smapi

import (
	"fmt"
	"io"
	"log/slog"
)

// Secret is a password. Everything that prints, logs or marshals one gives
// Masked in its place; only Reveal gives the text. A Secret in an unexported
// field of a printed struct is out of fmt's reach: do not print such a struct.
type Secret string

// Masked is what is shown for a password that is set.
const Masked = "********"

// Reveal returns the password itself.
func (s Secret) Reveal() string { return string(s) }

// String returns Masked, or "" for an empty password.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return Masked
}

// GoString returns what String does, in quotes.
func (s Secret) GoString() string { return `"` + s.String() + `"` }

// Format writes what String returns for every verb, also %x and %q.
func (s Secret) Format(f fmt.State, verb rune) {
	if verb == 'v' && f.Flag('#') {
		io.WriteString(f, s.GoString())
		return
	}
	io.WriteString(f, s.String())
}

// LogValue keeps the password out of logs.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText keeps the password out of JSON and XML.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
