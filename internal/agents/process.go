package agents

import (
	"strconv"
	"strings"
)

// Signals that agents send; the numbers are the same on every Linux.
const (
	SIGHUP  = 1
	SIGQUIT = 3
	SIGKILL = 9
	SIGUSR1 = 10
	SIGTERM = 15
)

// Kill sends a signal to a process, or to a group if pid is negative. Signal 0
// only asks whether it exists.
type Kill func(pid, signal int) error

// Process is an entry of /proc.
type Process struct {
	PID int
	// Command is the name in /proc/PID/comm, 15 bytes at most.
	Command string
}

// Processes lists /proc. Those that end meanwhile are left out.
func Processes(c *Call) []Process {
	entries, err := c.Env.FS.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var out []Process
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		comm, err := c.Env.FS.ReadFile("/proc/" + e.Name() + "/comm")
		if err != nil {
			continue
		}
		out = append(out, Process{PID: pid, Command: strings.TrimRight(string(comm), "\n")})
	}
	return out
}

// Alive reports whether a process exists and is more than a zombie. One whose
// first thread has ended is alive until the last has: they share its files and
// ports.
func Alive(c *Call, pid int) bool {
	if pid <= 0 {
		return false
	}
	dir := "/proc/" + strconv.Itoa(pid)
	if !ended(c, dir) {
		return true
	}
	threads, err := c.Env.FS.ReadDir(dir + "/task")
	if err != nil {
		return false
	}
	for _, t := range threads {
		if !ended(c, dir+"/task/"+t.Name()) {
			return true
		}
	}
	return false
}

// ended reports whether a process or thread is gone or a zombie.
func ended(c *Call, dir string) bool {
	stat, err := c.Env.FS.ReadFile(dir + "/stat")
	if err != nil {
		return true
	}
	// "PID (name) STATE ..."; the name may hold blanks and parentheses.
	f := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	return len(f) > 0 && (f[0] == "Z" || f[0] == "X")
}
