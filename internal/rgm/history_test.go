package rgm

import (
	"testing"
	"time"
)

// TestHeard: a decision has a time in milliseconds where this process heard of it
// by a clock that agrees with its second.
func TestHeard(t *testing.T) {
	t.Parallel()
	const second = 1270000000
	at := func(ms int64) time.Time { return time.UnixMilli(second*1000 + ms) }
	h := heard{first: 5} // it came when there were four
	h.upTo(4, at(0))
	h.upTo(6, at(123))
	h.upTo(6, at(500))
	h.upTo(7, at(1999))
	h.upTo(8, at(2000))
	h.upTo(9, at(-1000))
	h.upTo(10, at(-1001))
	for _, tc := range []struct {
		name   string
		serial uint64
		want   int64
	}{
		{"from before its time", 4, 0},
		{"its first", 5, 123}, {"two at a time", 6, 123},
		{"a second later", 7, 1999}, {"too late", 8, 0}, {"a clock that is behind", 9, -1000}, {"too far behind", 10, 0},
		{"not heard of", 11, 0},
	} {
		want := int64(0)
		if tc.want != 0 {
			want = second*1000 + tc.want
		}
		if got := h.of(Decision{Serial: tc.serial, At: second}); got != want {
			t.Errorf("%s: %d, want %d", tc.name, got, want)
		}
	}
	h.upTo(10*maxHistory, at(7))
	if len(h.at) >= 2*maxHistory {
		t.Errorf("%d times are kept", len(h.at))
	}
	for _, serial := range []uint64{10*maxHistory - maxHistory + 1, 10 * maxHistory} {
		if got := h.of(Decision{Serial: serial, At: second}); got != second*1000+7 {
			t.Errorf("decision %d of %d: %d", serial, 10*maxHistory, got)
		}
	}
	if got := h.of(Decision{Serial: 6, At: second}); got != 0 {
		t.Errorf("one that is long forgotten: %d", got)
	}
}
