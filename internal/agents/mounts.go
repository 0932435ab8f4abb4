package agents

import (
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Mount is a line of /proc/self/mountinfo, proc(5).
type Mount struct {
	ID, Parent int
	// Device is "major:minor".
	Device string
	// Point is where it is mounted, Source what is mounted.
	Point, Source, Type string
	// ReadOnly is the mount's own or the file system's option.
	ReadOnly bool
}

// errMountinfo is a line that is no line of mountinfo.
var errMountinfo = errors.New("not a line of mountinfo")

// Mounts reads the mount table of this process.
func Mounts(c *Call) ([]Mount, error) {
	text, err := c.Env.FS.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("read the mount table: %w", err)
	}
	var out []Mount
	for line := range strings.Lines(string(text)) {
		m, err := parseMount(strings.TrimSuffix(line, "\n"))
		if err != nil {
			return nil, fmt.Errorf("read the mount table: %q: %w", line, err)
		}
		out = append(out, m)
	}
	return out, nil
}

// parseMount reads
//
//	36 35 98:0 /root /mnt rw,noatime master:1 - ext3 /dev/root rw,errors=continue
func parseMount(line string) (Mount, error) {
	head, tail, ok := strings.Cut(line, " - ")
	h, t := strings.Split(head, " "), strings.Split(tail, " ")
	if !ok || len(h) < 6 || len(t) < 2 {
		return Mount{}, errMountinfo
	}
	m := Mount{Device: h[2], Point: unescape(h[4]), Type: t[0], Source: unescape(t[1])}
	var err1, err2 error
	m.ID, err1 = strconv.Atoi(h[0])
	m.Parent, err2 = strconv.Atoi(h[1])
	if err1 != nil || err2 != nil {
		return Mount{}, errMountinfo
	}
	m.ReadOnly = hasOption(h[5], "ro") || len(t) > 2 && hasOption(t[2], "ro")
	return m, nil
}

// unescape turns the \ooo of mountinfo into bytes.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func hasOption(list, option string) bool {
	return slices.Contains(strings.Split(list, ","), option)
}

// at returns the mount that is seen at a place, the last one there, or nil.
func at(mounts []Mount, point string) *Mount {
	for i := range slices.Backward(mounts) {
		if mounts[i].Point == point {
			return &mounts[i]
		}
	}
	return nil
}

// below lists what is mounted under a place.
func below(mounts []Mount, point string) []string {
	var out []string
	for _, m := range mounts {
		if strings.HasPrefix(m.Point, strings.TrimSuffix(point, "/")+"/") {
			out = append(out, m.Point)
		}
	}
	return out
}

// real resolves symlinks as far as they lead, below the root folder.
func (c *Call) real(name string) string {
	p, err := filepath.EvalSymlinks(c.Env.FS.Path(name))
	if err != nil {
		return name
	}
	if root := c.Env.FS.Path("/"); root != "/" {
		p = "/" + strings.TrimPrefix(strings.TrimPrefix(p, root), "/")
	}
	return p
}

// maxSymlinks is how many symlinks are followed on the way to a mount point: as
// many as the kernel follows, path_resolution(7).
const maxSymlinks = 40

// place resolves the symlinks of a mount point as real does, but never asks
// for anything that is mounted: that is a folder, and may not answer.
func (c *Call) place(name string, mounts []Mount) string {
	root := strings.TrimSuffix(c.Env.FS.Path("/"), "/")
	done, links := "/", 0
	for rest := path.Clean(name); rest != ""; {
		var elem string
		elem, rest, _ = strings.Cut(rest, "/")
		if elem == "" || elem == "." {
			continue
		}
		next := path.Join(done, elem) // ".." is the folder above, because done has no links
		if elem == ".." || at(mounts, next) != nil {
			done = next
			continue
		}
		target, err := c.Env.FS.Readlink(next)
		if err != nil { // no symlink, or not there
			done = next
			continue
		}
		if links++; links > maxSymlinks {
			return name
		}
		if path.IsAbs(target) {
			done = "/"
			if below, ok := strings.CutPrefix(target, root+"/"); ok {
				target = below
			}
		}
		rest = target + "/" + rest
	}
	return done
}

// sameDevice reports whether a mount's source is the device: by name, or by
// the number that the kernel has for it.
func (c *Call) sameDevice(m *Mount, device string) bool {
	if !strings.HasPrefix(m.Source, "/") {
		return false
	}
	if m.Source == device || c.real(m.Source) == device {
		return true
	}
	number, err := c.Env.FS.ReadFile("/sys/class/block/" + path.Base(device) + "/dev")
	return err == nil && strings.TrimSpace(string(number)) == m.Device
}

// User is a process that keeps a file system busy.
type User struct {
	Process
	// What it has there: "cwd", "root", "exe", "fd 3", "mapped".
	What string
	// Path of it.
	Path string
}

// Users lists the processes that keep a mount busy, as fuser -m does: by their
// folders, program, open and mapped files. This process and process 1 are left
// out: neither is to be killed.
func Users(c *Call, m *Mount, self int) []User {
	var out []User
	for _, p := range Processes(c) {
		if p.PID == 1 || p.PID == self {
			continue
		}
		if what, where, ok := c.uses(p.PID, m); ok {
			out = append(out, User{p, what, where})
		}
	}
	return out
}

// uses looks at one process. It reads names and tables only: a look at the
// files themselves could hang.
func (c *Call) uses(pid int, m *Mount) (what, where string, ok bool) {
	dir := "/proc/" + strconv.Itoa(pid) + "/"
	inside := func(p string) bool { return p == m.Point || strings.HasPrefix(p, strings.TrimSuffix(m.Point, "/")+"/") }
	for _, what := range [...]string{"cwd", "root", "exe"} {
		if p, err := c.Env.FS.Readlink(dir + what); err == nil && inside(p) {
			return what, p, true
		}
	}
	if fds, err := c.Env.FS.ReadDir(dir + "fd"); err == nil {
		for _, fd := range fds {
			p, err := c.Env.FS.Readlink(dir + "fd/" + fd.Name())
			if err != nil || !strings.HasPrefix(p, "/") {
				continue
			}
			if inside(p) || c.mountID(dir+"fdinfo/"+fd.Name()) == m.ID {
				return "fd " + fd.Name(), p, true
			}
		}
	}
	// address perms offset dev inode path
	maps, err := c.Env.FS.ReadFile(dir + "maps")
	if err != nil {
		return "", "", false
	}
	for line := range strings.Lines(string(maps)) {
		f := strings.Fields(line)
		if len(f) >= 6 && strings.HasPrefix(f[5], "/") && inside(strings.Join(f[5:], " ")) {
			return "mapped", f[5], true
		}
	}
	return "", "", false
}

// mountID reads "mnt_id:" of a file in /proc/PID/fdinfo, or -1.
func (c *Call) mountID(file string) int {
	text, err := c.Env.FS.ReadFile(file)
	if err != nil {
		return -1
	}
	for line := range strings.Lines(string(text)) {
		if v, ok := strings.CutPrefix(line, "mnt_id:"); ok {
			if n, err := strconv.Atoi(strings.TrimSpace(v)); err == nil {
				return n
			}
		}
	}
	return -1
}
