// Package applet is the contract between main, the table of applets and each
// applet folder. It imports nothing of haobox but the seam types, because the
// table imports the applets and the applets import this.
package applet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/haobox/haobox/platform"
)

// Class says how an applet is run; tests and the install command use it.
type Class int

const (
	// Tool is a command for people and scripts.
	Tool Class = iota
	// Agent is started by a cluster manager for one action: no forks, a start
	// budget of 3 ms, result in the exit status.
	Agent
	// Daemon stays until it is told to stop.
	Daemon
)

// String returns "tool", "agent" or "daemon".
func (c Class) String() string {
	switch c {
	case Agent:
		return "agent"
	case Daemon:
		return "daemon"
	}
	return "tool"
}

// Applet is one command of the binary. Values are static data: an applet that
// is not called costs nothing but its bytes.
type Applet struct {
	// Name is the command's exact name and the name of its folder.
	Name string
	// Section is the manual section of its page: 1, 5 or 8.
	Section int
	Class   Class
	// Summary is one line for listings, without a final stop.
	Summary string
	// Run does the work. args[0] is the name it was called by, without a
	// path; the rest are its arguments. The result is nil for exit status 0,
	// an *ExitError for a status of the applet's own contract, and any other
	// error for status 1 with the error's text as one line on standard error.
	//
	// The argument --help alone succeeds and prints on standard output, among
	// other things, a line per option: blanks, then all spellings of the
	// option ("   -n, --plug value  the guest"), then two blanks or a tab and
	// the description. Commands of an applet stand below a line "COMMANDS:",
	// one a line, up to an empty line; each answers --help in the same way.
	// The test of the manual pages and the shell completion read these lines;
	// nothing else lists an applet's options.
	Run func(ctx context.Context, env platform.Env, args []string) error
}

// Entry is a row of the table: an applet and where it is found.
type Entry struct {
	*Applet
	// Aliases are other names it answers to ("startksys.sh", "clurgmgrd").
	Aliases []string
	// Links are the places "haobox install" puts a symlink: relative to the
	// prefix ("sbin/fence_zvm"), or absolute below the root folder.
	Links []string
}

// Answers reports whether name is the applet's name or one of its aliases.
func (e Entry) Answers(name string) bool {
	return e.Name == name || slices.Contains(e.Aliases, name)
}

// ExitError carries an exit status that is part of a contract. With Err set,
// main prints it as one line on standard error; without, the applet has said
// what there is to say.
type ExitError struct {
	Code int
	Err  error
}

// Exit returns an *ExitError with the status code and no text; nil for 0.
func Exit(code int) error {
	if code == 0 {
		return nil
	}
	return &ExitError{Code: code}
}

// Exitf returns an *ExitError with the status code and a formatted text.
func Exitf(code int, format string, args ...any) error {
	return &ExitError{Code: code, Err: fmt.Errorf(format, args...)}
}

func (e *ExitError) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("exit status %d", e.Code)
	}
	return e.Err.Error()
}

func (e *ExitError) Unwrap() error { return e.Err }

// Status is the exit status of a process whose Run gave err. What is still to
// be said of it goes to stderr as one line.
func Status(err error, stderr io.Writer) int {
	var exit *ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		if exit.Err != nil {
			fmt.Fprintln(stderr, exit.Err)
		}
		return exit.Code
	}
	fmt.Fprintln(stderr, err)
	return 1
}
