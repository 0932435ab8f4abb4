package fifo

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestFIFO(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "override")
	for range 2 { // the second replaces one that was left behind
		f, err := Make(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, tc := range []struct{ in, want string }{
			{"CNODE1\n", "CNODE1"}, {"CNODE1\nCNODE2\n", "CNODE1,CNODE2"}, {"\x01x", "x"}, {strings.Repeat("x", 127), strings.Repeat("x", 127)},
			{strings.Repeat("x", 128) + "\ny", "y"}, {"no newline", "no newline"}, {"\n", ""},
			{strings.Repeat("\x00", 4000) + strings.Repeat("a\n", 100) + "CNODE1\n", strings.Repeat("a,", 63) + "CNODE1"},
		} {
			if err := os.WriteFile(path, []byte(tc.in), 0); err != nil {
				t.Fatal(err)
			}
			if got, err := f.Next(); strings.Join(got, ",") != tc.want || err != nil {
				t.Errorf("%q gave %q, %v", tc.in, got, err)
			}
		}
		ended := make(chan error)
		go func() {
			_, err := f.Next()
			ended <- err
		}()
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("mode %v, %v", info, err)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
		if err := <-ended; err == nil {
			t.Error("Next after Close gave no error")
		}
		if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("after Close: %v", err)
		}
		if f, err = Make(path); err != nil {
			t.Fatal(err)
		}
		f.f.Close() // and the pipe stays
	}
}

func TestMake_Strangers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file, link := filepath.Join(dir, "file"), filepath.Join(dir, "link")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, link, dir} {
		if _, err := Make(path); !errors.Is(err, ErrNotOurs) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if b, err := os.ReadFile(file); string(b) != "precious" || err != nil {
		t.Errorf("the file has %q, %v", b, err)
	}
	if _, err := Make(filepath.Join(dir, "none", "x")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without a folder: %v", err)
	}
}
