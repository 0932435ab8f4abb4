package phasim

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// The story is the same at every run and has the rows of the paper's tables
// 1 to 3 in their order.
func TestTellStory(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	if err := TellStory(&b); err != nil {
		t.Fatalf("%v\n%s", err, b.String())
	}
	const golden = "testdata/story.golden"
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), b.String()); d != "" {
		t.Errorf("story (-want +got):\n%s", d)
	}
	// The paper's tables, as printed there.
	tables := []string{
		"KSYS 7001 Active Yes", "KSYS 7002 Active No", // table 1
		"KSYS 7001 Inoperative No", "KSYS 7002 Active Yes", // table 2
		"KSYS 7001 Inoperative No", "KSYS 7002 Inoperative Yes", // table 3
		"KSYS 7001 Inoperative No", "KSYS 7002 Active Yes",
	}
	var got []string
	for line := range strings.Lines(b.String()) {
		if f := strings.Fields(line); len(f) == 4 && f[0] == "KSYS" && strings.HasPrefix(f[1], "700") {
			got = append(got, strings.Join(f, " "))
		}
	}
	if d := cmp.Diff(tables, got); d != "" {
		t.Errorf("tables (-paper +story):\n%s", d)
	}
	for _, line := range []string{"IBM.VMR          rsct_rm          15466956     active", "IBM.VMR          rsct_rm          13238600     active",
		"IBM.VMR          rsct_rm          20840732     active", "IBM.VMR          rsct_rm          7799180      active"} {
		if !strings.Contains(b.String(), line) {
			t.Errorf("the figures' line is missing: %s", line)
		}
	}
}
