package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/haobox/haobox/applets"
	"github.com/haobox/haobox/platform"
	"github.com/haobox/haobox/platform/platformtest"
)

// TestApplets_Table checks the table itself: order, names, links.
func TestApplets_Table(t *testing.T) {
	t.Parallel()
	seen := map[string]string{}
	last := ""
	for _, e := range applets.All() {
		if e.Name <= last {
			t.Errorf("%s stands after %s: the table is sorted by name", e.Name, last)
		}
		last = e.Name
		for _, n := range append([]string{e.Name}, e.Aliases...) {
			if other, taken := seen[n]; taken {
				t.Errorf("%s and %s both answer to %s", other, e.Name, n)
			}
			seen[n] = e.Name
		}
		if !slices.Contains([]int{1, 5, 8}, e.Section) {
			t.Errorf("%s: manual section %d; it is 1, 5 or 8", e.Name, e.Section)
		}
		if e.Summary == "" || strings.HasSuffix(e.Summary, ".") || strings.Contains(e.Summary, "\n") {
			t.Errorf("%s: summary %q must be one line without a final stop", e.Name, e.Summary)
		}
		if e.Run == nil {
			t.Errorf("%s: no Run", e.Name)
		}
		if len(e.Links) == 0 {
			t.Errorf("%s: no place to install a link at", e.Name)
		}
	}
}

// TestApplets_Complete checks that each applet has its folder, its manual
// page, which mentions every alias and every flag of its help, and a script.
func TestApplets_Complete(t *testing.T) {
	t.Parallel()
	for _, e := range applets.All() {
		t.Run(e.Name, func(t *testing.T) {
			t.Parallel()
			if _, err := os.Stat(filepath.Join("applets", e.Name)); err != nil {
				t.Errorf("no folder of the command's name: %v", err)
			}
			if scripts, _ := filepath.Glob("testdata/" + e.Name + "_*.txtar"); len(scripts) == 0 {
				t.Errorf("no script testdata/%s_*.txtar", e.Name)
			}
			page := fmt.Sprintf("man/%s.%d", e.Name, e.Section)
			source, err := os.ReadFile(page)
			if err != nil {
				t.Fatalf("no manual page: %v", err)
			}
			for _, alias := range e.Aliases {
				if !strings.Contains(string(source), alias) {
					t.Errorf("%s does not mention the alias %s", page, alias)
				}
			}
			help := helpOf(t, e.Run)
			flags := helpFlags(help)
			if len(flags) == 0 {
				t.Errorf("--help shows no option at all:\n%s", help)
			}
			documented := pageFlags(source)
			for _, f := range flags {
				if !slices.Contains(documented, f) {
					t.Errorf("%s does not mention %s, which --help does", page, f)
				}
			}
		})
	}
}

// helpOf returns what "NAME --help" prints on standard output.
func helpOf(t *testing.T, run func(context.Context, platform.Env, []string) error) string {
	t.Helper()
	env := platformtest.NewEnv(t)
	if err := run(t.Context(), env.Env, []string{t.Name()[strings.LastIndex(t.Name(), "/")+1:], "--help"}); err != nil {
		t.Fatalf("--help: %v\n%s", err, env.Stderr.String())
	}
	if env.Stdout.String() == "" {
		t.Fatalf("--help prints nothing on standard output")
	}
	return env.Stdout.String()
}

// helpLine is a line that describes an option: blanks, then its spellings.
var helpLine = regexp.MustCompile(`(?m)^[ \t]+-.*$`)

// spelling is an option in such a line: at its start, or after a comma, a
// bar or "or".
var spelling = regexp.MustCompile(`(?:^[ \t]+|,[ \t]*|\|[ \t]*|[ \t]or[ \t]+)(--?[A-Za-z0-9?][-A-Za-z0-9_]*)`)

// helpFlags returns the options that a help text describes, as applet.Applet
// documents it.
func helpFlags(help string) []string {
	var out []string
	for _, line := range helpLine.FindAllString(help, -1) {
		// The description follows two blanks or a tab; it may mention others.
		indent := len(line) - len(strings.TrimLeft(line, " \t"))
		head := line
		if i := strings.IndexAny(line[indent:], "\t"); i >= 0 {
			head = line[:indent+i]
		}
		if i := strings.Index(head[indent:], "  "); i >= 0 {
			head = head[:indent+i]
		}
		for _, m := range spelling.FindAllStringSubmatch(head, -1) {
			if !slices.Contains(out, m[1]) {
				out = append(out, m[1])
			}
		}
	}
	return out
}

// pageFlags returns the options that an mdoc page marks with Fl.
func pageFlags(source []byte) []string {
	var out []string
	for line := range bytes.Lines(source) {
		if line[0] != '.' {
			continue
		}
		words := strings.Fields(strings.ReplaceAll(string(line[1:]), `\-`, "-"))
		dashes := "" // of the option that the next word names
		after := ""  // the word before
		for _, w := range words {
			switch {
			case w == "Fl" && after == "Fl":
				dashes += "-"
			case w == "Fl":
				dashes = "-"
			case strings.Trim(w, ",|;:.()[]") == "":
				// Fl a | b: a delimiter does not end the macro.
			case len(w) == 2 && w[0] >= 'A' && w[0] <= 'Z':
				dashes = ""
			case dashes != "":
				out = append(out, dashes+w)
				dashes = "-"
			}
			after = w
		}
	}
	return out
}

func TestHelpFlags(t *testing.T) {
	t.Parallel()
	help := "USAGE:\n   x [options] -not-this\n\nOPTIONS:\n" +
		"   --plug value, -n value  the guest; see --other\n" +
		"   --ssl, -z               TLS (default: false)\n" +
		"   -v, --verbose\tmore, -q less\n" +
		"   -o|--action=[action]    what to do\n" +
		"   --                      end of options\n"
	got := strings.Join(helpFlags(help), " ")
	if want := "--plug -n --ssl -z -v --verbose -o --action"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestPageFlags(t *testing.T) {
	t.Parallel()
	page := ".It Fl n , Fl -plug Ns = Ns Ar guest\n.Op Fl vz\nFl x\n.Fl Fl ssl\n.Fl a | b Ar c\n.It Fl \\-quiet\n"
	got := strings.Join(pageFlags([]byte(page)), " ")
	if want := "-n --plug -vz --ssl -a -b --quiet"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
