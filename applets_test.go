package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/haobox/haobox/applets"
	"github.com/haobox/haobox/applets/applet"
	"github.com/haobox/haobox/internal/restree"
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
	for _, e := range applets.All() {
		t.Run(e.Name, func(t *testing.T) {
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
			documented := pageFlags(source)
			help := helpOf(t, e.Applet)
			calls := [][]string{nil}
			for _, c := range helpCommands(help) {
				calls = append(calls, []string{c})
			}
			for _, call := range calls {
				help := helpOf(t, e.Applet, call...)
				flags := helpFlags(help)
				if len(flags) == 0 {
					t.Errorf("%s --help shows no option at all:\n%s", strings.Join(call, " "), help)
				}
				for _, f := range flags {
					if !slices.Contains(documented, f) {
						t.Errorf("%s does not mention %s, which %s --help does", page, f, strings.Join(append([]string{e.Name}, call...), " "))
					}
				}
			}
			for _, c := range calls[1:] {
				if !strings.Contains(string(source), c[0]) {
					t.Errorf("%s does not mention the command %s", page, c[0])
				}
			}
		})
	}
}

// alone is for a test that runs an applet in this process: urfave/cli writes
// package variables at every run. It fails a test that is parallel.
func alone(t *testing.T) {
	t.Helper()
	t.Setenv("HAOBOX_TEST_ALONE", "1") // panics in a parallel test
}

// helpOf returns what "NAME [COMMAND] --help" prints on standard output.
func helpOf(t *testing.T, a *applet.Applet, command ...string) string {
	t.Helper()
	alone(t)
	env := platformtest.NewEnv(t)
	args := append(append([]string{a.Name}, command...), "--help")
	if err := a.Run(t.Context(), env.Env, args); err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, env.Stderr.String())
	}
	if env.Stdout.String() == "" {
		t.Fatalf("%s prints nothing on standard output", strings.Join(args, " "))
	}
	return env.Stdout.String()
}

// helpCommands returns the commands of a help text: the first words of the
// lines below "COMMANDS:", to the next empty line.
func helpCommands(help string) []string {
	_, list, ok := strings.Cut(help, "COMMANDS:\n")
	if !ok {
		return nil
	}
	list, _, _ = strings.Cut(list, "\n\n")
	var out []string
	for line := range strings.Lines(list) {
		if f := strings.Fields(line); len(f) > 0 && f[0][0] != '-' {
			out = append(out, strings.TrimSuffix(f[0], ","))
		}
	}
	return out
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

func TestHelpCommands(t *testing.T) {
	t.Parallel()
	help := "USAGE:\n   x [options]\n\nCOMMANDS:\n   install     copy\n   ctl, c      talk\n\nOPTIONS:\n   --help, -h  show help\n"
	if got, want := strings.Join(helpCommands(help), " "), "install ctl"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
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

// TestPageParameters: the page of a resource agent names every parameter of its
// metadata. Those of <service> and <vm> are in cluster.conf(5).
func TestPageParameters(t *testing.T) {
	t.Parallel()
	service, ok := restree.BuiltinRule("service.sh")
	if !ok {
		t.Fatal("no rule of service.sh")
	}
	checked := 0
	for _, e := range applets.All() {
		rule, ok := restree.BuiltinRule(e.Name)
		if !ok {
			continue
		}
		page, err := os.ReadFile(fmt.Sprintf("man/%s.%d", e.Name, e.Section))
		if err != nil {
			t.Error(err)
			continue
		}
		for _, p := range rule.Params {
			if service.Param(p.Name) != nil && (e.Name == "service.sh" || e.Name == "vm.sh") {
				continue
			}
			if checked++; !strings.Contains(string(page), p.Name) {
				t.Errorf("man/%s.%d does not name the parameter %s", e.Name, e.Section, p.Name)
			}
		}
	}
	if checked < 100 {
		t.Errorf("only %d parameters were looked for", checked)
	}
}
