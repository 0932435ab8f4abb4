package main

import (
	"os"
	"testing"

	"github.com/haobox/haobox/applets"
	"github.com/haobox/haobox/internal/cmdtest"
	"github.com/haobox/haobox/internal/goldentest"
)

func TestMain(m *testing.M) { cmdtest.Main(m, names(), run) }

// names are all names that the binary answers to.
func names() []string {
	var out []string
	for _, e := range applets.All() {
		out = append(append(out, e.Name), e.Aliases...)
	}
	return out
}

// TestScripts runs testdata/*.txtar: the applets as commands.
func TestScripts(t *testing.T) {
	t.Parallel()
	scripts, err := os.ReadDir("testdata")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("no scripts in testdata: %v", err)
	}
	cmdtest.Scripts(t, "testdata", names(), goldentest.Updating())
}
