//go:build unix

package statedir

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

func isUnsafe(err error) bool {
	var u interface{ Unsafe() bool }
	return errors.As(err, &u) && u.Unsafe()
}

func open(t *testing.T) *Dir {
	t.Helper()
	d, err := Open(filepath.Join(t.TempDir(), "run"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestOpen_RefusesWhatOthersCouldChange(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		make func(t *testing.T, base string) string
	}{
		{"symbolic link", func(t *testing.T, base string) string {
			must(t, os.Mkdir(filepath.Join(base, "real"), 0o700))
			must(t, os.Symlink("real", filepath.Join(base, "run")))
			return filepath.Join(base, "run")
		}},
		{"writable by the group", func(t *testing.T, base string) string {
			p := filepath.Join(base, "run")
			must(t, os.Mkdir(p, 0o700))
			must(t, os.Chmod(p, 0o770))
			return p
		}},
		{"parent writable by anybody", func(t *testing.T, base string) string {
			p := filepath.Join(base, "p")
			must(t, os.Mkdir(p, 0o700))
			must(t, os.Chmod(p, 0o777))
			return filepath.Join(p, "run")
		}},
		{"a file", func(t *testing.T, base string) string {
			p := filepath.Join(base, "run")
			must(t, os.WriteFile(p, nil, 0o600))
			return p
		}},
		{"relative path", func(*testing.T, string) string { return "run" }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			d, err := Open(tc.make(t, t.TempDir()))
			if !isUnsafe(err) {
				t.Errorf("opened %v, error %v", d, err)
			}
		})
	}
}

func TestRead_RefusesUnsafeFiles(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		make func(t *testing.T, d *Dir, p string)
	}{
		{"symbolic link", func(t *testing.T, d *Dir, p string) { must(t, os.Symlink("/etc/passwd", p)) }},
		{"FIFO without blocking", func(t *testing.T, d *Dir, p string) { must(t, unix.Mkfifo(p, 0o600)) }},
		{"two links", func(t *testing.T, d *Dir, p string) {
			must(t, os.WriteFile(p, nil, 0o600))
			must(t, os.Link(p, p+"2"))
		}},
		{"writable by others", func(t *testing.T, d *Dir, p string) {
			must(t, os.WriteFile(p, nil, 0o600))
			must(t, os.Chmod(p, 0o622))
		}},
		{"too large", func(t *testing.T, d *Dir, p string) {
			must(t, os.WriteFile(p, bytes.Repeat([]byte("x"), MaxFile+1), 0o600))
		}},
		{"folder", func(t *testing.T, d *Dir, p string) { must(t, os.Mkdir(p, 0o700)) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			d := open(t)
			tc.make(t, d, d.Path("flag"))
			if _, _, err := d.Read("flag"); !isUnsafe(err) {
				t.Errorf("error %v", err)
			}
		})
	}
	d := open(t)
	if _, _, err := d.Read("flag"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
}

func TestCreate_ExactlyOneOfManyWins(t *testing.T) {
	t.Parallel()
	d := open(t)
	var wg sync.WaitGroup
	var won atomic.Int32
	for range 20 {
		wg.Go(func() {
			switch err := d.Create("flag", []byte("x\n")); {
			case err == nil:
				won.Add(1)
			case !errors.Is(err, fs.ErrExist):
				t.Errorf("loser got %v", err)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 {
		t.Errorf("%d winners", won.Load())
	}
	st, err := os.Stat(d.Path("flag"))
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, error %v", st.Mode(), err)
	}
}

func TestReplace_LeavesNoTemporaryFileAndNoTarget(t *testing.T) {
	t.Parallel()
	d := open(t)
	victim := filepath.Join(t.TempDir(), "victim")
	must(t, os.WriteFile(victim, []byte("keep"), 0o644))
	must(t, os.Symlink(victim, d.Path("flag")))
	must(t, d.Replace("flag", []byte("new")))
	data, _, err := d.Read("flag")
	if err != nil || string(data) != "new" {
		t.Errorf("read %q, %v", data, err)
	}
	if got, _ := os.ReadFile(victim); string(got) != "keep" {
		t.Errorf("target of the link became %q", got)
	}
	list, _ := os.ReadDir(filepath.Dir(d.Path("flag")))
	if len(list) != 1 {
		t.Errorf("files left: %v", list)
	}
}

func TestNames_StayInsideTheFolder(t *testing.T) {
	t.Parallel()
	d := open(t)
	for _, n := range []string{"", "../x", "a/b"} {
		if err := d.Create(n, nil); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%q: %v", n, err)
		}
	}
}

func TestAppendRotated(t *testing.T) {
	t.Parallel()
	p := filepath.Join(t.TempDir(), "log")
	for i := range 6 {
		must(t, AppendRotated(p, strings.Repeat(string(rune('a'+i)), 9)+"\n", 10, 3))
	}
	for name, want := range map[string]string{"log": "f", "log.1": "e", "log.2": "d", "log.3": "c"} {
		got, err := os.ReadFile(filepath.Join(filepath.Dir(p), name))
		if err != nil || string(got) != strings.Repeat(want, 9)+"\n" {
			t.Errorf("%s holds %q, %v", name, got, err)
		}
	}
	if _, err := os.Stat(p + ".4"); !errors.Is(err, fs.ErrNotExist) {
		t.Error("more than three old files are kept")
	}
	link := filepath.Join(t.TempDir(), "link")
	must(t, os.Symlink(p, link))
	if err := AppendRotated(link, "x\n", 10, 3); err == nil {
		t.Error("followed a link")
	}
}
