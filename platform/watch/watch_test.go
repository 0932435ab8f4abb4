package watch

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestPending: each key is told once, in order, however often it came.
func TestPending(t *testing.T) {
	t.Parallel()
	p := newPending()
	for _, k := range []string{"b", "b", "a"} {
		p.add(k)
	}
	p.add()
	<-p.Changed()
	if diff := cmp.Diff([]string{"a", "b"}, p.Take()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	select {
	case <-p.Changed():
		t.Error("something changed after all was taken")
	default:
	}
	if got := p.Take(); len(got) > 0 {
		t.Errorf("told twice: %v", got)
	}
}
