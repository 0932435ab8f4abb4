// Package goldentest compares what a test produced with golden files: files of
// the tree that hold what is expected, are reviewed like code, and are written
// anew by
//
//	go test -run TestX ./internal/smapi -update
package goldentest

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files, and what else the tests keep in the tree")

// Updating reports whether the flag -update was given, for a test that keeps
// something else than a whole file up to date.
func Updating() bool { return *update }

// Compare fails the test if got is not what the file holds; with -update it
// writes the file, and its folder, first. A file that is not there ends the
// test.
func Compare(t testing.TB, file, got string) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}
