//go:build linux

package blockdev_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/haobox/haobox/platform/blockdev"
)

func TestOpen_Files(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(path, make([]byte, 8192), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := blockdev.Open(path, blockdev.Options{}); !errors.Is(err, blockdev.ErrNotBlock) {
		t.Errorf("a file: %v", err)
	}
	// To open the FIFO would wait for a writer.
	fifo := path + ".fifo"
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, other := range []string{"/dev/null", fifo, filepath.Dir(path)} {
		for _, o := range []blockdev.Options{{}, {File: 512}, {File: 512, Write: true}} {
			if _, err := blockdev.Open(other, o); !errors.Is(err, blockdev.ErrNotBlock) {
				t.Errorf("%s, %+v: %v", other, o, err)
			}
		}
	}
	if _, err := blockdev.Open(path+"x", blockdev.Options{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("nothing: %v", err)
	}
	d, err := blockdev.Open(path, blockdev.Options{Write: true, File: 512})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	want := bytes.Repeat([]byte{7}, 1024)
	if err := d.WriteAt(want, 512); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 1024)
	if err := d.ReadAt(got, 512); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%v", err)
	}
}

// slow answers when it is told.
type slow struct {
	answer chan error
	wrote  []byte
}

func (s *slow) SectorSize() int { return 512 }

func (s *slow) ReadAt(b []byte, _ int64) error {
	err := <-s.answer
	b[0] = 1
	return err
}

func (s *slow) WriteAt(b []byte, _ int64) error {
	err := <-s.answer
	s.wrote = append([]byte(nil), b...)
	return err
}

// TestLimited_HungDevice: the caller goes on, nobody touches its buffer later,
// and the device is of use again when it has answered.
func TestLimited_HungDevice(t *testing.T) {
	t.Parallel()
	d := &slow{answer: make(chan error)}
	l := blockdev.Limit(d, 5*time.Millisecond)
	b := make([]byte, 512)
	if err := l.ReadAt(b, 0); !errors.Is(err, blockdev.ErrTimeout) {
		t.Fatalf("a read that hangs: %v", err)
	}
	if err := l.WriteAt(b, 0); !errors.Is(err, blockdev.ErrStuck) || !l.Stuck() {
		t.Errorf("the next call: %v", err)
	}
	d.answer <- nil
	for l.Stuck() {
		time.Sleep(time.Millisecond)
	}
	if b[0] != 0 {
		t.Error("a call that was given up wrote into the caller's buffer")
	}
	l = blockdev.Limit(d, time.Minute)
	done := make(chan error)
	go func() { done <- l.WriteAt([]byte("new"), 0) }()
	d.answer <- os.ErrPermission
	if err := <-done; !errors.Is(err, os.ErrPermission) || string(d.wrote) != "new" {
		t.Errorf("%q, %v", d.wrote, err)
	}
}

// TestScan_Tree walks folders that look like those of a machine.
func TestScan_Tree(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	numbers := map[string]blockdev.Number{}
	disk := func(name string, major, minor uint32, paths ...string) {
		write("devices/"+name+"/dev", fmt.Sprintf("%d:%d\n", major, minor))
		write("devices/"+name+"/removable", "0\n")
		for _, p := range paths {
			write("dev/"+p, "")
			numbers[filepath.Join(root, "dev", p)] = blockdev.Number{Major: major, Minor: minor}
		}
	}
	disk("dasda", 94, 0, "dasda", "disk/by-path/ccw-0.0.0200")
	disk("dasda/dasda1", 94, 1, "dasda1")
	disk("md0", 9, 0, "md0")
	disk("sda", 8, 0, "sda", ".hidden")
	disk("sda/sda1", 8, 1, "sda1")
	disk("sdb", 8, 16, "sdb")
	disk("sdb/sdb1", 8, 17, "sdb1")
	disk("sdc", 8, 32)
	write("devices/sda/holders/dm-0/x", "")
	write("devices/sdb/sdb1/slaves/y/x", "")
	write("devices/sdb/removable", "1\n")
	write("proc/mdstat", "Personalities : [raid1]\nmd0 : active raid1 sdb1[1] sdq9[0](F)\n      100 blocks\nmd1 : inactive sdc[0]\n")
	if err := os.MkdirAll(filepath.Join(root, "sys/block"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, n := range []string{"dasda", "md0", "sda", "sdb", "sdc", "gone"} {
		if err := os.Symlink("../../devices/"+n, filepath.Join(root, "sys/block", n)); err != nil {
			t.Fatal(err)
		}
	}
	// A loop of symlinks below a device is not walked into.
	if err := os.Symlink("..", filepath.Join(root, "devices/sdc/subsystem")); err != nil {
		t.Fatal(err)
	}
	all, err := blockdev.Scan(blockdev.Roots{Sys: filepath.Join(root, "sys"), Dev: filepath.Join(root, "dev"), Proc: filepath.Join(root, "proc"),
		Number: func(p string) (blockdev.Number, bool) { n, ok := numbers[p]; return n, ok }})
	if err != nil {
		t.Fatal(err)
	}
	type row struct {
		Name            string
		Paths           int
		Holders, Slaves int
		Removable       bool
		RAID            blockdev.RAID
		Candidate       bool
	}
	var got []row
	for _, d := range all {
		got = append(got, row{d.Name, len(d.Paths), d.Holders, d.Slaves, d.Removable, d.RAID, d.Candidate()})
	}
	want := []row{
		{"dasda", 2, 0, 0, false, blockdev.NoRAID, true},
		{"dasda1", 1, 0, 0, false, blockdev.NoRAID, true},
		{"md0", 1, 0, 0, false, blockdev.Array, false},
		{"sda", 1, 1, 0, false, blockdev.NoRAID, false},
		{"sda1", 1, 1, 0, false, blockdev.NoRAID, false},
		{"sdb", 1, 0, 0, true, blockdev.NoRAID, true},
		{"sdb1", 1, 0, 1, false, blockdev.Part, false},
		{"sdc", 0, 0, 0, false, blockdev.NoRAID, false},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if want := filepath.Join(root, "dev/dasda"); all[0].Paths[0] != want {
		t.Errorf("dasda is called %s, want %s", all[0].Paths[0], want)
	}
	if _, err := blockdev.Scan(blockdev.Roots{Sys: filepath.Join(root, "none")}); err == nil {
		t.Error("no /sys/block, and no error")
	}
}
