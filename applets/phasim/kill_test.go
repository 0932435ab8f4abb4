package phasim_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
)

// killAll sends SIGKILL to every process of a simulation, again until none
// is left.
func killAll(t *testing.T, dir string) {
	t.Helper()
	mark := []byte("PHASIM_DIR=" + dir + "\x00")
	for found := true; found; {
		if t.Context().Err() != nil {
			t.Fatal("the simulation's processes do not end")
		}
		found = false
		files, _ := filepath.Glob("/proc/[0-9]*/environ")
		for _, f := range files {
			data, err := os.ReadFile(f)
			pid, perr := strconv.Atoi(filepath.Base(filepath.Dir(f)))
			if err != nil || perr != nil || !bytes.Contains(data, mark) {
				continue
			}
			found = true
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may be gone
		}
	}
}
