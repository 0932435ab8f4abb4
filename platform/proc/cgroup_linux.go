package proc

import (
	"bytes"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/haobox/haobox/platform"
)

// cgroupRoots are where version 2 of control groups is mounted: alone, or
// beside version 1 (systemd.exec(5), "hybrid").
var cgroupRoots = [...]string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"}

const (
	// cgroupPrefix begins the name of a group; the number of the process that
	// made it follows.
	cgroupPrefix = "run."
	// nameTries bounds the search for a name that is free, and oldGroup is when
	// an empty group is nobody's who is about to use it.
	nameTries = 64
	oldGroup  = time.Hour
	// emptyRounds bounds how often the processes of a group are moved out of
	// it: each round meets those that the last one's processes started
	// meanwhile.
	emptyRounds = 16
	// killedWait is how long the killed processes of a group get to disappear,
	// and killedPause how often is looked.
	killedWait  = 500 * time.Millisecond
	killedPause = time.Millisecond
)

// cgroups numbers the groups of this process.
var cgroups atomic.Uint32

// cgroup is a control group that one program is started in. Nothing leaves it
// by itself: not by a session of its own, nor when its parent ends.
type cgroup struct {
	dir, parent string
	// rest is the folder of the group that gets what is left: parent, or one
	// below it that is made when it is needed.
	rest string
	fd   *os.File
}

// newCgroup makes a control group below this process's own, and notes the name of
// a platform.Cmd.Group for what is left behind. It returns nil where that is not
// possible: no version 2 (cgroups(7)), or no right to write.
func newCgroup(rest string) *cgroup {
	parent, ok := ownCgroup()
	if !ok {
		return nil
	}
	n := cgroups.Add(1)
	if n == 1 {
		sweep(parent)
	}
	// A process of another namespace may have the same number.
	var dir string
	for try := 0; ; try++ {
		dir = filepath.Join(parent, cgroupPrefix+strconv.Itoa(os.Getpid())+"."+strconv.Itoa(int(n)))
		err := os.Mkdir(dir, 0o755)
		if err == nil {
			break
		}
		if !errors.Is(err, os.ErrExist) || try == nameTries {
			return nil
		}
		n = cgroups.Add(1)
	}
	g := &cgroup{dir: dir, parent: parent, rest: parent}
	if rest != "" {
		g.rest = filepath.Join(parent, platform.GroupPrefix+url.PathEscape(rest))
	}
	fd, err := os.OpenFile(dir, unix.O_DIRECTORY|unix.O_PATH, 0)
	if err != nil {
		g.remove()
		return nil
	}
	g.fd = fd
	return g
}

// sweep removes what processes that are gone have left: one that was killed
// removes nothing. A group in which something runs stays.
func sweep(parent string) {
	old, _ := filepath.Glob(filepath.Join(parent, cgroupPrefix+"*")) // the pattern is good
	for _, dir := range old {
		pid, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), cgroupPrefix), ".")
		_, err := os.Stat("/proc/" + pid)
		info, age := os.Stat(dir)
		if errors.Is(err, os.ErrNotExist) || age == nil && time.Since(info.ModTime()) > oldGroup {
			_ = syscall.Rmdir(dir)
		}
	}
}

// ownCgroup is the folder of this process's group.
func ownCgroup() (string, bool) {
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", false
	}
	for line := range strings.Lines(string(text)) {
		name, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::")
		if !ok {
			continue
		}
		for _, root := range cgroupRoots {
			var st unix.Statfs_t
			if unix.Statfs(root, &st) == nil && st.Type == unix.CGROUP2_SUPER_MAGIC {
				return filepath.Join(root, name), true
			}
		}
	}
	return "", false
}

// join makes the program start in the group.
func (g *cgroup) join(a *syscall.SysProcAttr) { a.UseCgroupFD, a.CgroupFD = true, int(g.fd.Fd()) }

// kill ends everything in the group. Kernels before 5.14 have no cgroup.kill.
func (g *cgroup) kill() error {
	f, err := os.OpenFile(filepath.Join(g.dir, "cgroup.kill"), os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteString("1")
		f.Close()
	}
	return unlessGone(err)
}

// unlessGone is err, but nil when it says that the kernel is an older one, or
// that the group is not there any more: its program was waited for meanwhile. A
// file of a group that is opened before the group is removed answers ENODEV.
func unlessGone(err error) error {
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENODEV) {
		return nil
	}
	return err
}

// release gives up the group after its program has ended. What the program left
// behind, a daemon, goes on in this process's group or in the one with the name;
// what was killed gets a moment to disappear.
func (g *cgroup) release(killed bool) {
	defer g.fd.Close()
	if g.rest != g.parent {
		defer syscall.Rmdir(g.rest) // unless there is something in it
	}
	if killed {
		for end := time.Now().Add(killedWait); !g.remove() && time.Now().Before(end); {
			time.Sleep(killedPause)
		}
		return // with what can not be killed the empty folder stays
	}
	for range emptyRounds {
		if g.remove() {
			return
		}
		pids, err := os.ReadFile(filepath.Join(g.dir, "cgroup.procs"))
		if err != nil {
			return
		}
		if len(pids) > 0 && g.rest != g.parent && os.Mkdir(g.rest, 0o755) != nil {
			if _, err := os.Stat(g.rest); err != nil {
				g.rest = g.parent
			}
		}
		for pid := range bytes.FieldsSeq(pids) {
			// One that ended meanwhile is no fault.
			_ = os.WriteFile(filepath.Join(g.rest, "cgroup.procs"), pid, 0)
		}
	}
}

// remove deletes the group if nothing runs in it.
func (g *cgroup) remove() bool {
	err := syscall.Rmdir(g.dir)
	return err == nil || errors.Is(err, syscall.ENOENT)
}
