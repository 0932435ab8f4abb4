package clusterconf

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/haobox/haobox/internal/goldentest"
	"github.com/haobox/haobox/internal/restree"
	"github.com/haobox/haobox/internal/xmldoc"
	"github.com/haobox/haobox/platform/testskip"
)

const rngFile = "../../conf/cluster.rng"

func TestRelaxNG_File(t *testing.T) {
	t.Parallel()
	got := RelaxNG(restree.Builtin())
	goldentest.Compare(t, rngFile, string(got))
}

// corpus returns the test files: their prefix says what is to be expected. ok
// has no issue, warn only warnings, err a contradiction but keeps the grammar,
// bad breaks the grammar, xml is not well-formed.
func corpus(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/corpus/*.conf")
	if err != nil || len(files) < 60 {
		t.Fatalf("%d files in the corpus, %v; there should be 60", len(files), err)
	}
	return files
}

func kindOf(file string) string {
	kind, _, _ := strings.Cut(filepath.Base(file), "-")
	return kind
}

// TestCorpus compares every finding of every file with the golden file, and
// its verdict with the file's name.
func TestCorpus(t *testing.T) {
	t.Parallel()
	var all strings.Builder
	rules := restree.Builtin()
	for _, file := range corpus(t) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Base(file)
		fmt.Fprintf(&all, "# %s\n", name)
		doc, err := Parse(name, text)
		var syn *xmldoc.SyntaxError
		if kindOf(file) == "xml" {
			if !errors.As(err, &syn) {
				t.Errorf("%s: got %v, want a syntax error", name, err)
				continue
			}
			fmt.Fprintf(&all, "%v\n", err)
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		r := Validate(doc, Options{Rules: rules})
		for _, i := range r.Issues {
			line := i.String()
			if strings.ContainsAny(line, "\n\r") || strings.Contains(line, "SECRETPW") || strings.Contains(line, "HUSHHUSH") {
				t.Errorf("%s: not one line without secrets: %q", name, line)
			}
			all.WriteString(line + "\n")
		}
		got := "ok"
		switch {
		case !r.SchemaValid():
			got = "bad"
		case !r.Valid():
			got = "err"
		case len(r.Issues) > 0:
			got = "warn"
		}
		if want := kindOf(file); got != want {
			t.Errorf("%s: the verdict is %q:\n%v", name, got, r.Issues)
		}
		if diff := cmp.Diff(string(text), string(doc.Bytes())); diff != "" {
			t.Errorf("%s: written differently (-want +got)\n%s", name, diff)
		}
	}
	goldentest.Compare(t, "testdata/corpus.golden", all.String())
}

// TestCorpus_XmllintAgrees demands of xmllint with conf/cluster.rng the same
// verdict on the grammar as of Validate, file by file.
func TestCorpus_XmllintAgrees(t *testing.T) {
	t.Parallel()
	testskip.IfForeign(t, "xmllint is a program of this machine, and its verdict does not depend on ours")
	xmllint, err := exec.LookPath("xmllint")
	if err != nil {
		t.Fatalf("xmllint is missing (Debian: libxml2-utils): %v", err)
	}
	files := corpus(t)
	// libxml2 needs twice the time for each further optional attribute that an
	// element has, so the files of the corpus have at most nine.
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, xmllint, append([]string{"--noout", "--relaxng", rngFile}, files...)...)
	cmd.Stderr = &stderr
	_ = cmd.Run() // the status is that of the last file with a fault
	verdicts := map[string]string{}
	for line := range strings.Lines(stderr.String()) {
		line = strings.TrimSpace(line)
		if f, ok := strings.CutSuffix(line, " validates"); ok {
			verdicts[f] = "valid"
		} else if f, ok := strings.CutSuffix(line, " fails to validate"); ok {
			verdicts[f] = "invalid"
		}
	}
	for _, file := range files {
		want := "valid"
		switch kindOf(file) {
		case "bad":
			want = "invalid"
		case "xml":
			want = "" // not even parsed
		}
		if got := verdicts[file]; got != want {
			t.Errorf("%s: xmllint says %q, we say %q", file, got, want)
		}
	}
	if t.Failed() {
		t.Log(stderr.String())
	}
}

// The manual page names every element and attribute of the grammar but those
// of the resource types, which their agents document.
func TestManualPage_Complete(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../man/cluster.conf.5")
	if err != nil {
		t.Fatal(err)
	}
	words := map[string]bool{}
	for _, w := range strings.FieldsFunc(string(text), func(r rune) bool {
		return !strings.ContainsRune("_-", r) && (r < '0' || r > 'z' || r > '9' && r < 'A' || r > 'Z' && r < 'a')
	}) {
		words[w] = true
	}
	g := newGrammar(restree.Builtin())
	for _, key := range g.order {
		d := g.defs[key]
		if strings.Contains(key, ":") {
			continue
		}
		if !words[d.name] {
			t.Errorf("element %s is missing", d.name)
		}
		for _, a := range d.attrs {
			if !words[a.name] {
				t.Errorf("attribute %s of %s is missing", a.name, d.name)
			}
		}
	}
}

// A finding is one line of some length, whatever the names in the file are.
func TestValidate_FindingsAreShortLines(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 1<<20) + "&#10;"
	text := `<cluster name="zc" config_version="1"><clusternodes><clusternode name="` + long + `" nodeid="1"/><clusternode name="` + long + `" nodeid="1"/></clusternodes>` +
		`<rm ` + strings.Repeat("y", 1<<20) + `="1"><service name="` + long + `" domain="` + long + `" depend="` + long + `"/></rm></cluster>`
	doc, err := Parse("f", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	issues := Validate(doc, Options{}).Issues
	if len(issues) < 8 {
		t.Errorf("%d findings: %v", len(issues), issues)
	}
	for _, i := range issues {
		if s := i.String(); len(s) > 4096 || strings.Contains(s, "\n") {
			t.Errorf("%d bytes: %.300q", len(s), s)
		}
	}
}
