// Package fenceagent is the contract between a fence agent and those who call
// it (fenced, Pacemaker, dlm_controld, people): options on the command line
// and as key=value lines on standard input, actions, texts, exit statuses and
// metadata. It knows no device; package zvm below it does.
//
// Sources: the Fence Agent API (fence-agents), fence_node(8), the manual
// chapter 8, and runs of the Python agent fence_zvmip 4.12.1.
package fenceagent

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/haobox/haobox/internal/argv"
)

// Kind is the type of an option's value, as in the metadata's content element.
type Kind int

const (
	// String is any text.
	String Kind = iota
	// Integer is a decimal number.
	Integer
	// Seconds is a decimal number of seconds, a fraction allowed.
	Seconds
	// Boolean is 1, yes, on, true or 0, no, off, false; case does not matter.
	// On the command line it takes no value and means true.
	Boolean
	// Select is one of Option.Choices.
	Select
)

// Option is one option of an agent, under its names on standard input, on the
// command line and in the metadata.
type Option struct {
	// Name is the key on standard input and the parameter in the metadata.
	Name string
	// Aliases are further keys. Those in Deprecated stand in the metadata as
	// parameters of their own, obsoleted by Name.
	Aliases, Deprecated []string
	// Long is the long name on the command line, "" for an option that has
	// none; OtherLong are further ones. Short holds the one-letter names.
	Long      string
	OtherLong []string
	Short     string
	// Arg names the value in the usage text: "seconds" for --delay=[seconds].
	// A Boolean with an Arg takes a value on the command line as well.
	Arg  string
	Kind Kind
	// Bare leaves the value out of the usage text and the metadata, where
	// the Python agents do.
	Bare bool
	// Choices are the values of a Select.
	Choices []string
	// Default is the value when the option is not given, "" for none.
	Default string
	// Required is what the metadata says; the action decides what is needed.
	Required bool
	// Ignored options are accepted for the sake of old configurations. They
	// are not in the usage text.
	Ignored bool
	// Internal options are not in the metadata.
	Internal bool
	// Summary is one sentence without a final stop.
	Summary string
	// Redirect, if set, gives the name of the option that is really meant
	// when this one was spelled so on the command line.
	Redirect func(spelling, value string) string
}

// takesValue reports whether the option needs a value on the command line.
func (o *Option) takesValue() bool { return o.Kind != Boolean || o.Arg != "" }

// has reports whether key, in any case and with - for _, is one of the
// option's names on standard input.
func (o *Option) has(key string) bool {
	return o.Name == key || slices.Contains(o.Aliases, key) || slices.Contains(o.Deprecated, key) ||
		o.Long != "" && normal(o.Long) == key
}

// normal folds a key: lower case, and "-" equals "_".
func normal(key string) string { return strings.ReplaceAll(strings.ToLower(key), "-", "_") }

// find returns the option with the folded key.
func find(options []Option, key string) *Option {
	for i := range options {
		if options[i].has(key) {
			return &options[i]
		}
	}
	return nil
}

// spec is the options as getopt_long sees them.
func spec(options []Option) []argv.Option {
	out := make([]argv.Option, 0, len(options))
	for _, o := range options {
		if o.Long == "" && o.Short == "" {
			continue
		}
		a := argv.Option{Name: o.Long, Long: o.OtherLong, Short: o.Short}
		if o.Long == "" {
			a.Name, a.Hidden = o.Name, true
		}
		if o.takesValue() {
			a.Arity = argv.Required
		}
		out = append(out, a)
	}
	return out
}

// Values are the options that were given, by Option.Name, and the rest of
// what was found in the input. The last setting of an option wins, across its
// aliases.
type Values struct {
	options []Option
	set     map[string]string
	// Notes are remarks for the debug log: lines that were passed over.
	Notes []string
}

// Given returns an option's value and whether it was given.
func (v *Values) Given(name string) (string, bool) {
	s, ok := v.set[name]
	return s, ok
}

// Text returns an option's value or its default.
func (v *Values) Text(name string) string {
	if s, ok := v.set[name]; ok {
		return s
	}
	if o := find(v.options, name); o != nil {
		return o.Default
	}
	return ""
}

// Bool returns a Boolean's value. Text that is no boolean was refused or
// dropped when it was read.
func (v *Values) Bool(name string) bool {
	b, _ := ParseBool(v.Text(name))
	return b
}

// Int returns an Integer's value; Check has seen that it is one.
func (v *Values) Int(name string) int {
	n, _ := strconv.Atoi(v.Text(name))
	return n
}

// Duration returns the value of an option in Seconds.
func (v *Values) Duration(name string) time.Duration {
	d, _ := ParseSeconds(v.Text(name))
	return d
}

// Default sets an option that was not given, as the defaults file does.
func (v *Values) Default(name, value string) {
	if _, ok := v.set[name]; !ok {
		v.set[name] = value
	}
}

// ParseBool reads the words of the Fence Agent API for true and false.
func ParseBool(s string) (value, ok bool) {
	switch strings.ToLower(s) {
	case "1", "yes", "on", "true":
		return true, true
	case "0", "no", "off", "false":
		return false, true
	}
	return false, false
}

// maxSeconds bounds every option in seconds: a day. More is a slip of the
// finger, and a duration must not overflow.
const maxSeconds = 86400

// ParseSeconds reads a number of seconds from 0 to 86400, with or without a
// fraction and a final "s".
func ParseSeconds(s string) (time.Duration, bool) {
	f, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(s), "s"), 64)
	if err != nil || !(f >= 0 && f <= maxSeconds) {
		return 0, false
	}
	return time.Duration(f * float64(time.Second)), true
}
