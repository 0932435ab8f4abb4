//go:build linux

package blockdev_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/haobox/haobox/platform/blockdev"
	"github.com/haobox/haobox/platform/blockdev/looptest"
)

const size = 256 << 10

func TestDevice_SectorSizes(t *testing.T) {
	t.Parallel()
	for _, sector := range []int{512, 4096} {
		path, file := looptest.New(t, size, sector)
		d, err := blockdev.Open(path, blockdev.Options{Write: true})
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		if d.SectorSize() != sector || d.Size() != size {
			t.Errorf("sectors of %d, %d bytes", d.SectorSize(), d.Size())
		}
		want := bytes.Repeat([]byte("haobox:)"), sector/8)
		if err := d.WriteAt(want, 4096); err != nil {
			t.Fatal(err)
		}
		// What is written is in the file at once, around the caches.
		all, err := os.ReadFile(file)
		if err != nil || !bytes.Equal(all[4096:4096+sector], want) {
			t.Errorf("sector %d: not in the file (%v)", sector, err)
		}
		got := make([]byte, sector)
		if err := d.ReadAt(got, 4096); err != nil || !bytes.Equal(got, want) {
			t.Errorf("sector %d: read back %q, %v", sector, got[:8], err)
		}
		for _, bad := range []struct {
			n  int
			at int64
		}{{sector, 1}, {sector / 2, 0}, {sector, -int64(sector)}} {
			if err := d.ReadAt(make([]byte, bad.n), bad.at); !errors.Is(err, blockdev.ErrAlign) {
				t.Errorf("%d bytes at %d: %v", bad.n, bad.at, err)
			}
		}
		if err := d.ReadAt(make([]byte, 2*sector), size-int64(sector)); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("beyond the end: %v", err)
		}
	}
}

func TestDevice_ReadOnly(t *testing.T) {
	t.Parallel()
	path, _ := looptest.New(t, size, 512)
	d, err := blockdev.Open(path, blockdev.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := d.WriteAt(make([]byte, 512), 0); !errors.Is(err, unix.EBADF) {
		t.Errorf("write: %v", err)
	}
}

// TestDevice_Vanishes: the device loses its end.
func TestDevice_Vanishes(t *testing.T) {
	t.Parallel()
	path, file := looptest.New(t, size, 512)
	d, err := blockdev.Open(path, blockdev.Options{Write: true})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := os.Truncate(file, 4096); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.IoctlSetInt(int(f.Fd()), unix.LOOP_SET_CAPACITY, 0); err != nil {
		t.Fatal(err)
	}
	if err := d.ReadAt(make([]byte, 512), 65536); err == nil {
		t.Error("a read of what is gone succeeds")
	}
}

func TestScan_FindsLoopDevice(t *testing.T) {
	t.Parallel()
	path, _ := looptest.New(t, size, 512)
	all, err := blockdev.Scan(blockdev.SystemRoots(func(p string) string { return p }))
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(all, func(d blockdev.Info) bool { return slices.Contains(d.Paths, path) })
	if i < 0 || !all[i].Candidate() || all[i].Number.Major != 7 {
		t.Errorf("%s is not among %+v", path, all)
	}
}

func TestUses(t *testing.T) {
	t.Parallel()
	roots := blockdev.SystemRoots(func(p string) string { return p })
	at := func(offset int64, text string) func(*os.File) {
		return func(f *os.File) { f.WriteAt([]byte(text), offset) }
	}
	md := "\xfc\x4e\x2b\xa9"
	for _, tc := range []struct {
		name string
		make func(*os.File)
		hold bool
		want string
	}{
		{"nothing", nil, false, ""},
		{"a physical volume", func(f *os.File) { at(512, "LABELONE")(f); at(512+24, "LVM2 001")(f) }, false, "a physical volume of LVM"},
		{"half a label of LVM", at(512, "LABELONE"), false, ""},
		{"a superblock of md 1.2", at(4096, md), false, "a member of a RAID array"},
		{"a superblock of md 1.1", at(0, md), false, "a member of a RAID array"},
		{"a superblock of md 1.0", at(size-8192, md), false, "a member of a RAID array"},
		{"a superblock of md 0.90 of a big-endian machine", at(size-65536, "\xa9\x2b\x4e\xfc"), false, "a member of a RAID array"},
		{"claimed", nil, true, "claimed by the kernel, or one of its partitions is"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			for _, sector := range []int{512, 4096} {
				path, _ := looptest.New(t, size, sector)
				if tc.make != nil {
					f, err := os.OpenFile(path, os.O_RDWR|os.O_SYNC, 0)
					if err != nil {
						t.Fatal(err)
					}
					tc.make(f)
					f.Close()
				}
				if tc.hold {
					f, err := os.OpenFile(path, os.O_RDONLY|unix.O_EXCL, 0)
					if err != nil {
						t.Fatal(err)
					}
					defer f.Close()
				}
				uses, err := blockdev.Uses(path, roots)
				if got := strings.Join(uses, ", "); got != tc.want || err != nil {
					t.Errorf("sectors of %d: %q, %v; want %q", sector, got, err, tc.want)
				}
			}
		})
	}
}

func TestUses_Swap(t *testing.T) {
	t.Parallel()
	path, _ := looptest.New(t, size, 512)
	roots := blockdev.SystemRoots(func(p string) string { return p })
	proc := t.TempDir()
	if err := os.MkdirAll(proc+"/self", 0o755); err != nil {
		t.Fatal(err)
	}
	n, err := blockdev.NumberOf(path)
	if err != nil {
		t.Fatal(err)
	}
	mounts := "26 1 " + n.String() + ` / /mnt/a\040b rw - ext4 /dev/x rw` + "\n"
	for name, text := range map[string]string{"self/mountinfo": mounts, "swaps": "Filename Type\n" + path + " partition 1 0 -2\n"} {
		if err := os.WriteFile(proc+"/"+name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	roots.Proc = proc
	uses, err := blockdev.Uses(path, roots)
	if got := strings.Join(uses, ", "); got != "mounted on /mnt/a b, swap space" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	roots.Proc = proc + "/none"
	if _, err := blockdev.Uses(path, roots); err == nil {
		t.Error("nothing is known of mounts, and it is called unused")
	}
}
