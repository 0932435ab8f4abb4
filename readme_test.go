package main

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/haobox/haobox/applets"
	"github.com/haobox/haobox/internal/clusterconf"
	"github.com/haobox/haobox/internal/goldentest"
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
	if goldentest.Updating() {
		if err := os.WriteFile("README.md", []byte(before+head+strings.Join(want, "\n")+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(strings.Join(want, "\n"), table); diff != "" {
		t.Errorf("the table of applets in README.md (-want +got):\n%s", diff)
	}
}

// TestReadme_Service: the service of the README is valid in a cluster, and every
// attribute is one of its agents.
func TestReadme_Service(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), "    <service ")
	service, _, closed := strings.Cut(rest, "</service>")
	if !found || !closed {
		t.Fatal("README.md has no <service>")
	}
	doc, err := clusterconf.Parse("README.md", []byte(`<cluster name="c" config_version="1">
<cman two_node="1" expected_votes="1"/>
<clusternodes><clusternode name="a" nodeid="1"><fence><method name="1"><device name="f"/></method></fence></clusternode>
<clusternode name="b" nodeid="2"><fence><method name="1"><device name="f"/></method></fence></clusternode></clusternodes>
<fencedevices><fencedevice name="f" agent="fence_zvmip"/></fencedevices>
<rm><service `+service+`</service></rm></cluster>`))
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range clusterconf.Validate(doc, clusterconf.Options{}).Issues {
		t.Errorf("%v", i)
	}
}

// TestReadme_Demo: the table of the README has the acts of the demonstration, whose
// own test runs it, and its commands have options that there are.
func TestReadme_Demo(t *testing.T) {
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), "requests lost\n")
	table, _, _ := strings.Cut(rest, "\n\n")
	var acts []string
	for row := range strings.Lines(table + "\n") {
		act, figures, ok := strings.Cut(strings.TrimSpace(row), "  ")
		if !ok || len(strings.FieldsFunc(figures, func(r rune) bool { return r == ' ' || r == 's' })) != 4 {
			t.Errorf("%q is no act with four figures", row)
		}
		acts = append(acts, act)
	}
	want := []string{"start of all nodes", "relocate by clusvcadm", "web server killed", "CNODE1 frozen", `CNODE1 back, nofailback="1"`, `nofailback="0"`}
	if diff := cmp.Diff(want, acts); !found || diff != "" {
		t.Errorf("the acts in README.md (-want +got):\n%s", diff)
	}
	help, _ := onNobody(t, t.TempDir(), "haobox", "demo", "service", "--help")
	for _, line := range strings.Split(string(text), "\n") {
		command, isDemo := strings.CutPrefix(line, "    bin/haobox demo service")
		command, _, _ = strings.Cut(command, "#")
		for _, word := range strings.Fields(command) {
			if isDemo && strings.HasPrefix(word, "--") && !strings.Contains(help, word+" ") {
				t.Errorf("README.md: %q: there is no %s:\n%s", line, word, help)
			}
		}
	}
}
