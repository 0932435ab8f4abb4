package main

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/haobox/haobox/applets"
)

// TestReadme_Applets checks the README's table of applets against the one of
// the binary; go test -run TestReadme -update . rewrites it.
func TestReadme_Applets(t *testing.T) {
	t.Parallel()
	const head, end = "| applet | what it is | installed as |\n|---|---|---|\n", "\n\n"
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), head)
	if !ok {
		t.Fatalf("README.md has no table that starts with %q", head)
	}
	table, after, _ := strings.Cut(rest, end)
	var want []string
	for _, e := range applets.All() {
		links := make([]string, len(e.Links))
		for i, l := range e.Links {
			links[i] = "`" + l + "`"
		}
		want = append(want, fmt.Sprintf("| [`%s`](man/%s.%d) | %s | %s |", e.Name, e.Name, e.Section, e.Summary, strings.Join(links, " ")))
	}
	if *update {
		if err := os.WriteFile("README.md", []byte(before+head+strings.Join(want, "\n")+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(strings.Join(want, "\n"), table); diff != "" {
		t.Errorf("the table of applets in README.md (-want +got):\n%s", diff)
	}
}
