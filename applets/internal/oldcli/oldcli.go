// Package oldcli words the faults of command lines as the tools of the cluster
// suite do, which read them with getopt(3) of glibc.
package oldcli

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/haobox/haobox/applets/applet"
	"github.com/haobox/haobox/internal/argv"
	"github.com/haobox/haobox/internal/version"
)

// SuiteVersion is the release of the cluster suite whose behaviour the tools
// have; the first word of their version lines.
const SuiteVersion = "3.1.8"

// Version is the output of -V.
func Version(name string) string {
	return fmt.Sprintf("%s %s (haobox %s)\n", name, SuiteVersion, version.String())
}

// Options makes the options of a getopt string such as "gcj:hV"; -h is also
// --help.
func Options(letters string) (out []argv.Option) {
	for i := 0; i < len(letters); i++ {
		o := argv.Option{Name: letters[i : i+1], Short: letters[i : i+1]}
		if o.Name == "h" {
			o.Name = "help"
		}
		if i+1 < len(letters) && letters[i+1] == ':' {
			o.Arity = argv.Required
			i++
		}
		out = append(out, o)
	}
	return out
}

// Said answers -h with the text help, and -V. done means that s was one of them.
func Said(out io.Writer, name, help string, s argv.Setting) (done bool, err error) {
	switch s.Name {
	case "help":
		_, err = io.WriteString(out, help)
	case "V":
		_, err = io.WriteString(out, Version(name))
	default:
		return false, nil
	}
	return true, err
}

// Fault is a fault that argv found, with exit status 1.
func Fault(name string, err error) error {
	var s *argv.SyntaxError
	text := err.Error()
	if errors.As(err, &s) {
		letter := strings.TrimLeft(s.Spelling, "-")
		switch {
		case errors.Is(err, argv.ErrNoValue):
			text = fmt.Sprintf("option requires an argument -- '%s'", letter)
		case errors.Is(err, argv.ErrUnknown) && len(letter) == 1:
			text = fmt.Sprintf("invalid option -- '%s'", letter)
		case errors.Is(err, argv.ErrUnknown):
			text = fmt.Sprintf("unrecognized option '%s'", s.Spelling)
		}
	}
	return applet.Exitf(1, "%s: %s\nPlease use '-h' for usage.", name, text)
}
