package watch

import (
	"bytes"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/haobox/haobox/platform"
)

// instanceVariable is in the environment of what agents start: "type:name"
// (OCF resource agent API 1.0).
const instanceVariable = "OCF_RESOURCE_INSTANCE="

// maxEnviron bounds what is read of a process's environment. Ours: agents get
// a few KiB.
const maxEnviron = 64 << 10

// Processes finds the processes that agents left running, by their control group
// (platform.Cmd.Group) or by the variable OCF_RESOURCE_INSTANCE in their
// environment, which some servers write over (nginx): for each instance those whose
// parent does not belong to it as well, so leaders and not their workers.
// Descendants of this process are agents at work and are left out. proc is
// "/proc".
func Processes(proc string) (map[string][]int, error) {
	entries, err := os.ReadDir(proc)
	if err != nil {
		return nil, err
	}
	type info struct {
		parent   int
		instance string
	}
	all := make(map[int]info, len(entries))
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		all[pid] = info{parent: parentOf(proc, pid), instance: instanceOf(proc, pid)}
	}
	self := os.Getpid()
	out := map[string][]int{}
	for pid, p := range all {
		if p.instance == "" || all[p.parent].instance == p.instance {
			continue
		}
		mine := false
		for up, depth := pid, 0; up > 1 && depth < 64 && !mine; up, depth = all[up].parent, depth+1 {
			mine = up == self
		}
		if !mine {
			out[p.instance] = append(out[p.instance], pid)
		}
	}
	for _, pids := range out {
		slices.Sort(pids)
	}
	return out, nil
}

func instanceOf(proc string, pid int) string {
	if text, err := os.ReadFile(filepath.Join(proc, strconv.Itoa(pid), "cgroup")); err == nil {
		if s := groupInstance(string(text)); s != "" {
			return s
		}
	}
	f, err := os.Open(filepath.Join(proc, strconv.Itoa(pid), "environ"))
	if err != nil {
		return ""
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxEnviron))
	if err != nil {
		return ""
	}
	for v := range bytes.SplitSeq(text, []byte{0}) {
		if s, ok := strings.CutPrefix(string(v), instanceVariable); ok {
			return s
		}
	}
	return ""
}

// groupInstance is the name of the innermost platform.Cmd.Group in the text of
// /proc/PID/cgroup (cgroups(7)), or "".
func groupInstance(text string) string {
	for line := range strings.Lines(text) {
		path, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::")
		if !ok {
			continue
		}
		if escaped, ok := strings.CutPrefix(path[strings.LastIndexByte(path, '/')+1:], platform.GroupPrefix); ok {
			if name, err := url.PathUnescape(escaped); err == nil {
				return name
			}
		}
	}
	return ""
}

func parentOf(proc string, pid int) int {
	text, err := os.ReadFile(filepath.Join(proc, strconv.Itoa(pid), "stat"))
	if err != nil {
		return 0
	}
	// "PID (name) STATE PARENT ..."; the name may hold blanks and parentheses.
	f := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(f) < 2 {
		return 0
	}
	n, _ := strconv.Atoi(f[1]) // 0: no parent
	return n
}
