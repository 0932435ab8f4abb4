package phasim

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/haobox/haobox/internal/goldentest"
)

// The story is the same at every run and has the rows of the paper's tables
// 1 to 3 in their order.
func TestTellStory(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	if err := TellStory(&b); err != nil {
		t.Fatalf("%v\n%s", err, b.String())
	}
	goldentest.Compare(t, "testdata/story.golden", b.String())
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
