package watch

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFake(t *testing.T) {
	t.Parallel()
	w := NewFake()
	if err := w.Set("b", []Target{{Kind: Process, PID: 1}}); err != nil {
		t.Fatal(err)
	}
	if err := w.Set("a", []Target{{Kind: Mount, Name: "/m"}}); err != nil {
		t.Fatal(err)
	}
	for _, k := range []string{"b", "b", "a", "unknown"} {
		w.Fire(k)
	}
	<-w.Changed()
	if diff := cmp.Diff([]string{"a", "b"}, w.Take()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if got := w.Take(); len(got) > 0 {
		t.Errorf("told twice: %v", got)
	}
	if err := w.Set("a", nil); err != nil {
		t.Fatal(err)
	}
	w.Fire("a")
	if got := w.Take(); len(got) > 0 {
		t.Errorf("told of what was forgotten: %v", got)
	}
}
