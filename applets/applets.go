// Package applets holds the table of every command in the binary and finds
// the one a command line asks for. It imports the applets and nothing else of
// haobox, so the table stays the one place to look.
package applets

import (
	"context"
	"path"
	"strings"

	"github.com/haobox/haobox/applets/applet"
	"github.com/haobox/haobox/applets/haobox"
	"github.com/haobox/haobox/platform"
)

// ExitNotFound is the status for a name that is no applet, as a shell gives
// it for a command that is not found.
const ExitNotFound = 127

// All returns the table sorted by name: the applets of every system and those
// of this one. It is a function and not a variable so that no code runs at
// start and haobox itself can list it.
func All() []applet.Entry {
	return merge(common(), native())
}

// merge joins two sorted tables into one.
func merge(a, b []applet.Entry) []applet.Entry {
	out := make([]applet.Entry, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		if a[0].Name < b[0].Name {
			out, a = append(out, a[0]), a[1:]
		} else {
			out, b = append(out, b[0]), b[1:]
		}
	}
	return append(append(out, a...), b...)
}

// Find returns the applet with the given name or alias. A linear scan over
// well under a hundred names takes about a microsecond.
func Find(name string) (*applet.Applet, bool) {
	for _, e := range All() {
		if e.Answers(name) {
			return e.Applet, true
		}
	}
	return nil, false
}

// Main runs the applet chosen by argv: by the base name of argv[0], else, for
// a binary with a name that is no applet (haobox-1.2, a test binary), by
// argv[1]. The name it was called by is what the applet gets as args[0].
func Main(ctx context.Context, env platform.Env, argv []string) error {
	if len(argv) == 0 {
		return applet.Exitf(ExitNotFound, "haobox: called without a name; call it as haobox or as an applet")
	}
	name := base(argv[0])
	a, ok := Find(name)
	if (!ok || a.Name == haobox.Name) && len(argv) > 1 {
		if inner, found := Find(base(argv[1])); found {
			a, ok, argv = inner, true, argv[1:]
			name = base(argv[0])
		}
	}
	if !ok && strings.HasPrefix(name, haobox.Name) {
		a, ok = Find(haobox.Name)
	}
	if !ok {
		return applet.Exitf(ExitNotFound, "%s: no applet of this name; 'haobox --list' prints those in this binary", name)
	}
	return a.Run(ctx, env, append([]string{name}, argv[1:]...))
}

// base is the last element of a path as a command is called; a login shell's
// leading "-" is dropped.
func base(arg string) string { return strings.TrimPrefix(path.Base(arg), "-") }
