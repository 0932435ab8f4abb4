package proc

import (
	"bytes"
	"errors"
	"os"
	"strconv"
	"syscall"
	"time"
)

// treeRounds bounds how often killTree looks for new descendants: one that is
// stopped makes none, so each round goes one generation further.
const treeRounds = 64

// Tree lists a process and all its descendants, also those in groups and
// sessions of their own. It may be old when it returns; see StopTree.
func Tree(leader int) []int { return append([]int{leader}, descendants(leader)...) }

// StopTree stops a process and all its descendants (SIGSTOP), and returns them.
// None of them can start another one any more.
func StopTree(leader int) []int {
	found := []int{leader}
	for range treeRounds {
		for _, pid := range found {
			_ = syscall.Kill(pid, syscall.SIGSTOP) // it may have ended meanwhile
		}
		more := descendants(leader)
		if len(more)+1 <= len(found) {
			break
		}
		found = append([]int{leader}, more...)
	}
	return found
}

// killTree kills a process group and all descendants of its leader, also those
// in groups and sessions of their own (setsid, timeout, su). They are stopped
// first: a process whose parent is gone could not be found any more. What was
// a daemon before, with init as its parent, is none of the program's
// descendants and stays.
func killTree(leader int) error {
	found := StopTree(leader)
	err := syscall.Kill(-leader, syscall.SIGKILL)
	for _, pid := range found[1:] {
		if e := syscall.Kill(pid, syscall.SIGKILL); e != nil && !errors.Is(e, syscall.ESRCH) && err == nil {
			err = e
		}
	}
	return err
}

// descendants lists the processes below one, by their parents in
// /proc/PID/stat (proc(5)).
func descendants(leader int) []int {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil
	}
	children := map[int][]int{}
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		if parent, ok := parentOf(name); ok {
			children[parent] = append(children[parent], pid)
		}
	}
	out := children[leader]
	for i := 0; i < len(out); i++ {
		out = append(out, children[out[i]]...)
	}
	return out
}

// KillMarked kills all processes that were started with the variable mark
// (KEY=value) in their environment, stopped or not, with all their descendants.
// It leaves this process alone, and those of other users.
func KillMarked(mark string) {
	for range treeRounds {
		found := marked(mark)
		if len(found) == 0 {
			return
		}
		for _, pid := range found {
			for _, p := range StopTree(pid) {
				_ = syscall.Kill(p, syscall.SIGKILL) // it may have ended meanwhile
			}
		}
		time.Sleep(killedPause) // what is killed is there for a moment
	}
}

// marked lists the processes with a variable in the environment that they were
// started with (proc(5)), but this one. Those that have ended have none.
func marked(mark string) (out []int) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil
	}
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil || pid == os.Getpid() {
			continue
		}
		text, err := os.ReadFile("/proc/" + name + "/environ")
		if err != nil {
			continue
		}
		for kv := range bytes.SplitSeq(text, []byte{0}) {
			if string(kv) == mark {
				out = append(out, pid)
				break
			}
		}
	}
	return out
}

// KillTree kills a process that leads its group, stopped or not, and all its
// descendants.
func KillTree(leader int) error { return killTree(leader) }

// parentOf reads the fourth field; the second, in parentheses, may hold
// anything.
func parentOf(pid string) (int, bool) {
	text, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return 0, false
	}
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	if len(fields) < 2 {
		return 0, false
	}
	parent, err := strconv.Atoi(string(fields[1]))
	return parent, err == nil
}
