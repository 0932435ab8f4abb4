// Package argv reads command lines the way the old commands did, with
// getopt_long(3) of the GNU C library: short flags may be clustered (-vvq),
// values attached or separate (-oCNODE, -o CNODE, --plug=X, --plug X), long
// names shortened to a unique prefix, options may follow operands, and "--"
// ends the options. urfave/cli parses flags as Go does; Canonical turns an old
// command line into one that it understands.
package argv

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Arity says whether an option takes a value.
type Arity int

const (
	// None takes no value.
	None Arity = iota
	// Required takes the rest of a cluster or the next argument.
	Required
	// Optional takes only an attached value (-xVALUE, --name=VALUE).
	Optional
)

// Option is one option of a command line.
type Option struct {
	// Name is the canonical long name, without dashes.
	Name string
	// Long are further long names.
	Long []string
	// Short holds the one-letter names, one per byte.
	Short string
	Arity Arity
	// Hidden options exist on the command line only by their short names.
	Hidden bool
}

// Setting is one option as it was given.
type Setting struct {
	// Name is the option's canonical name.
	Name string
	// Spelling is how it was written: "-o" or "--action".
	Spelling string
	// Value is its value; HasValue tells an empty one from none.
	Value    string
	HasValue bool
}

// The causes of a *SyntaxError.
var (
	ErrUnknown   = errors.New("unknown option")
	ErrAmbiguous = errors.New("ambiguous option")
	ErrNoValue   = errors.New("option needs a value")
	ErrValue     = errors.New("option takes no value")
)

// SyntaxError is a fault of a command line.
type SyntaxError struct {
	// Spelling is the option as it was written, without its value.
	Spelling string
	// Candidates are the names an ambiguous prefix could mean.
	Candidates []string
	Err        error
}

func (e *SyntaxError) Error() string {
	if len(e.Candidates) > 0 {
		return fmt.Sprintf("%v '%s' (could be --%s)", e.Err, e.Spelling, strings.Join(e.Candidates, ", --"))
	}
	return fmt.Sprintf("%v '%s'", e.Err, e.Spelling)
}

func (e *SyntaxError) Unwrap() error { return e.Err }

// Parse splits args (without the command's name) into settings in the order
// given and operands. The error is a *SyntaxError for the first fault.
func Parse(options []Option, args []string) (settings []Setting, operands []string, err error) {
	for i := 0; i < len(args); i++ {
		arg := args[i]
		// next takes the value of an option from the following argument.
		next := func(spelling string) (string, error) {
			if i+1 >= len(args) {
				return "", &SyntaxError{Spelling: spelling, Err: ErrNoValue}
			}
			i++
			return args[i], nil
		}
		switch {
		case arg == "--":
			return settings, append(operands, args[i+1:]...), nil
		case strings.HasPrefix(arg, "--"):
			s, err := long(options, arg[2:], next)
			if err != nil {
				return nil, nil, err
			}
			settings = append(settings, s)
		case len(arg) > 1 && arg[0] == '-':
			s, err := cluster(options, arg[1:], next)
			if err != nil {
				return nil, nil, err
			}
			settings = append(settings, s...)
		default:
			operands = append(operands, arg)
		}
	}
	return settings, operands, nil
}

// long reads one "--name" or "--name=value", given without the dashes.
func long(options []Option, arg string, next func(string) (string, error)) (Setting, error) {
	name, value, attached := strings.Cut(arg, "=")
	s := Setting{Spelling: "--" + name, Value: value, HasValue: attached}
	o, err := findLong(options, name)
	if err != nil {
		return s, err
	}
	s.Name = o.Name
	switch {
	case o.Arity == None && attached:
		return s, &SyntaxError{Spelling: s.Spelling, Err: ErrValue}
	case o.Arity == Required && !attached:
		s.Value, err = next(s.Spelling)
		s.HasValue = true
	}
	return s, err
}

// findLong returns the option with the long name, or the only one for which
// it is a prefix. An exact name wins over longer ones.
func findLong(options []Option, name string) (*Option, error) {
	var found *Option
	var candidates []string
	several := false
	for i := range options {
		o := &options[i]
		if o.Hidden {
			continue
		}
		if o.hasLong(name) {
			return o, nil
		}
		for _, n := range append([]string{o.Name}, o.Long...) {
			if name == "" || !strings.HasPrefix(n, name) {
				continue
			}
			candidates = append(candidates, n)
			several = several || found != nil && found != o
			found = o
		}
	}
	switch {
	case found == nil:
		return nil, &SyntaxError{Spelling: "--" + name, Err: ErrUnknown}
	case several:
		return nil, &SyntaxError{Spelling: "--" + name, Candidates: candidates, Err: ErrAmbiguous}
	}
	return found, nil
}

func (o *Option) hasLong(name string) bool {
	return o.Name == name || slices.Contains(o.Long, name)
}

// cluster reads the short options of one argument, given without the dash.
func cluster(options []Option, arg string, next func(string) (string, error)) ([]Setting, error) {
	var out []Setting
	for i := 0; i < len(arg); i++ {
		s := Setting{Spelling: "-" + arg[i:i+1]}
		o := findShort(options, arg[i])
		if o == nil {
			return nil, &SyntaxError{Spelling: s.Spelling, Err: ErrUnknown}
		}
		s.Name = o.Name
		rest := arg[i+1:]
		switch {
		case o.Arity == None:
			out = append(out, s)
			continue
		case rest != "":
			s.Value, s.HasValue = rest, true
		case o.Arity == Required:
			v, err := next(s.Spelling)
			if err != nil {
				return nil, err
			}
			s.Value, s.HasValue = v, true
		}
		return append(out, s), nil
	}
	return out, nil
}

func findShort(options []Option, c byte) *Option {
	for i := range options {
		if strings.IndexByte(options[i].Short, c) >= 0 {
			return &options[i]
		}
	}
	return nil
}

// Canonical rewrites args so that a parser of Go flags reads what getopt_long
// would: options first, each as "--name" or "--name=value" under its canonical
// name, then "--" and the operands.
func Canonical(options []Option, args []string) ([]string, error) {
	settings, operands, err := Parse(options, args)
	if err != nil {
		return nil, err
	}
	out := make([]string, 0, len(settings)+len(operands)+1)
	for _, s := range settings {
		if s.HasValue {
			out = append(out, "--"+s.Name+"="+s.Value)
		} else {
			out = append(out, "--"+s.Name)
		}
	}
	return append(append(out, "--"), operands...), nil
}
