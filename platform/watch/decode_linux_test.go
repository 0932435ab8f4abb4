package watch

import "testing"

func FuzzDecodeAddr(f *testing.F) {
	f.Add([]byte{})
	f.Add(make([]byte, 8))
	f.Add([]byte{2, 24, 0, 0, 1, 0, 0, 0, 8, 0, 2, 0, 10, 0, 0, 1})
	f.Add([]byte{2, 24, 0, 0, 1, 0, 0, 0, 255, 255, 2, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		if a, _, ok := decodeAddr(b); ok != a.IsValid() {
			t.Errorf("address %v, %v", a, ok)
		}
	})
}

func TestUnescape(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{"/a": "/a", `/a\040b`: "/a b", `/a\134040`: `/a\040`, `/a\0`: `/a\0`, `\999x`: `\999x`} {
		if got := unescape(in); got != want {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
}
