//go:build linux

package blockdev

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Number is a device number.
type Number struct{ Major, Minor uint32 }

func (n Number) String() string { return fmt.Sprintf("%d:%d", n.Major, n.Minor) }

// NumberOf returns the number of the block device behind a path.
func NumberOf(path string) (Number, error) {
	st, err := os.Stat(path)
	if err != nil {
		return Number{}, err
	}
	n, is := number(st)
	if !is {
		return Number{}, fmt.Errorf("%s: %w", path, ErrNotBlock)
	}
	return n, nil
}

func number(st os.FileInfo) (Number, bool) {
	sys, is := st.Sys().(*unixStat)
	if !is || st.Mode()&os.ModeDevice == 0 || st.Mode()&os.ModeCharDevice != 0 {
		return Number{}, false
	}
	return Number{unix.Major(uint64(sys.Rdev)), unix.Minor(uint64(sys.Rdev))}, true
}

// RAID says what md(4) does with a device.
type RAID int

// Values of RAID.
const (
	NoRAID RAID = iota
	Array       // an array itself
	Part        // a member of an active array
)

// Info is a block device that sysfs has.
type Info struct {
	Number Number
	// Name is the kernel's: "sda1".
	Name string
	// Paths in /dev, nodes and symlinks, in the order of the walk.
	Paths []string
	// Holders is how many devices stand on this one or, for a partition, on
	// its disk; Slaves is on how many this one stands.
	Holders, Slaves int
	Removable       bool
	RAID            RAID
}

// Candidate reports whether a shared disk may be on the device: somebody can
// open it, and nothing of this machine stands on it (mkqdisk(8)).
func (i Info) Candidate() bool { return len(i.Paths) > 0 && i.Holders == 0 && i.RAID == NoRAID }

// Roots are the folders that Scan reads; tests have their own.
type Roots struct {
	Sys, Dev, Proc string
	// Number tells the device number of a path in Dev; nil means the
	// kernel's.
	Number func(path string) (Number, bool)
}

// SystemRoots are those of the machine below a root folder, as platform.FS
// gives it with Path("/").
func SystemRoots(path func(string) string) Roots {
	return Roots{Sys: path("/sys"), Dev: path("/dev"), Proc: path("/proc")}
}

// maxDepth bounds the walks, ours: sysfs and devfs have four levels.
const maxDepth = 8

// Scan lists the block devices in the order of sysfs. What cannot be read is
// left out: a device may go away meanwhile. Only a missing /sys/block is an
// error.
func Scan(r Roots) ([]Info, error) {
	block := filepath.Join(r.Sys, "block")
	entries, err := os.ReadDir(block)
	if err != nil {
		return nil, fmt.Errorf("list the block devices: %w", err)
	}
	s := scanner{roots: r, index: map[Number]int{}}
	for _, e := range entries {
		// These are symlinks into /sys/devices; below no more are followed.
		if dir, err := filepath.EvalSymlinks(filepath.Join(block, e.Name())); err == nil {
			s.sysfs(dir, e.Name(), 0, 0)
		}
	}
	if r.Number == nil {
		s.roots.Number = func(path string) (Number, bool) {
			n, err := NumberOf(path)
			return n, err == nil
		}
	}
	s.dev(r.Dev, 0)
	s.md()
	return s.all, nil
}

type scanner struct {
	roots Roots
	all   []Info
	index map[Number]int
}

// sysfs notes the device whose folder this is, and those below.
func (s *scanner) sysfs(dir, name string, holders, depth int) {
	entries, err := os.ReadDir(dir)
	if err != nil || depth > maxDepth {
		return
	}
	if n, ok := parseNumber(readLine(filepath.Join(dir, "dev"))); ok {
		// On a partition of a disk that is held nothing may be done either.
		holders = max(holders, count(filepath.Join(dir, "holders")))
		if _, seen := s.index[n]; !seen {
			s.index[n] = len(s.all)
			s.all = append(s.all, Info{Number: n, Name: name, Holders: holders, Slaves: count(filepath.Join(dir, "slaves")),
				Removable: readLine(filepath.Join(dir, "removable")) == "1"})
		}
	}
	for _, e := range entries {
		if e.IsDir() {
			s.sysfs(filepath.Join(dir, e.Name()), e.Name(), holders, depth+1)
		}
	}
}

// dev attaches the paths of /dev: in a folder first what stands in it, so that
// the kernel's own name comes before those in /dev/disk.
func (s *scanner) dev(dir string, depth int) {
	entries, err := os.ReadDir(dir)
	if err != nil || depth > maxDepth {
		return
	}
	for _, e := range entries {
		if e.IsDir() || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		path := filepath.Join(dir, e.Name())
		if n, is := s.roots.Number(path); is {
			if i, known := s.index[n]; known {
				s.all[i].Paths = append(s.all[i].Paths, path)
			}
		}
	}
	for _, e := range entries {
		if e.IsDir() && !strings.HasPrefix(e.Name(), ".") {
			s.dev(filepath.Join(dir, e.Name()), depth+1)
		}
	}
}

// md marks arrays and their members by /proc/mdstat:
//
//	md0 : active raid1 sdb1[1] sda1[0](F)
func (s *scanner) md() {
	text, err := os.ReadFile(filepath.Join(s.roots.Proc, "mdstat"))
	if err != nil {
		return
	}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) < 4 || f[1] != ":" || f[2] != "active" {
			continue
		}
		s.mark(f[0], Array)
		for _, m := range f[3:] {
			if name, _, is := strings.Cut(m, "["); is {
				s.mark(name, Part)
			}
		}
	}
}

func (s *scanner) mark(name string, as RAID) {
	if i := slices.IndexFunc(s.all, func(d Info) bool { return d.Name == name }); i >= 0 {
		s.all[i].RAID = as
	}
}

func readLine(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

func count(dir string) int {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0
	}
	return len(entries)
}

func parseNumber(text string) (Number, bool) {
	major, minor, ok := strings.Cut(text, ":")
	a, err1 := strconv.ParseUint(major, 10, 32)
	b, err2 := strconv.ParseUint(minor, 10, 32)
	return Number{uint32(a), uint32(b)}, ok && err1 == nil && err2 == nil
}
