package main

import (
	"bytes"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/haobox/haobox/internal/cmdtest"
)

// The start budget, for everything that an agent's process does before Run.
// Time in it is only reported: it is noise on a busy machine.
const (
	// The libraries alone come to 96 packages and 80 KB.
	maxInitPackages = 106
	maxInitBytes    = 96 << 10
	// maxFaults bounds the pages that an agent touches until its end, most of
	// its processor time. A Go program that does nothing takes 200, the
	// libraries bring it to 400, metadata to 420.
	maxFaults = 500
)

// TestStartCost reads the run time's own trace of package initialisation of
// the shipped binary: no package of ours is in it, and the others stay within
// the budget.
func TestStartCost(t *testing.T) {
	t.Parallel()
	binary := cmdtest.Build(t, ".", ".")
	t.Run("pages of an agent", func(t *testing.T) { pages(t, binary) })
	cmd := exec.Command(binary, "--version")
	cmd.Env = append(os.Environ(), "GODEBUG=inittrace=1")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("haobox --version: %v\n%s", err, stderr.String())
	}
	entries := initTrace(t, stderr.String())
	if len(entries) == 0 {
		t.Fatalf("no trace of package initialisation in:\n%s", stderr.String())
	}
	var ms float64
	var size int
	for _, e := range entries {
		ms, size = ms+e.ms, size+e.bytes
		if ours(e.pkg) || e.pkg == "main" {
			t.Errorf("%s has a package variable that needs code at start (%d bytes): make it a slice of structs, a switch or a function", e.pkg, e.bytes)
		}
	}
	t.Logf("%d packages, %d bytes, %.2f ms", len(entries), size, ms)
	if len(entries) > maxInitPackages || size > maxInitBytes {
		t.Errorf("%d packages and %d bytes of initialisation; the budget is %d and %d", len(entries), size, maxInitPackages, maxInitBytes)
	}
}

// pages counts the page faults of an agent that prints its metadata.
func pages(t *testing.T, binary string) {
	cmd := exec.Command(binary, "ip", "meta-data")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		t.Fatalf("no usage of resources: %T", cmd.ProcessState.SysUsage())
	}
	t.Logf("%d page faults", usage.Minflt)
	if usage.Minflt > maxFaults {
		t.Errorf("%d page faults; the budget is %d. What is done at the start that is not needed for this?", usage.Minflt, maxFaults)
	}
}

type initEntry struct {
	pkg   string
	ms    float64
	bytes int
}

var initLine = regexp.MustCompile(`^init (\S+) @\S+ ms, (\S+) ms clock, (\d+) bytes, \d+ allocs$`)

// initTrace reads the lines of GODEBUG=inittrace=1; see package runtime.
func initTrace(t *testing.T, text string) []initEntry {
	t.Helper()
	var out []initEntry
	for line := range strings.Lines(text) {
		m := initLine.FindStringSubmatch(strings.TrimSpace(line))
		if m == nil {
			continue
		}
		ms, err := strconv.ParseFloat(m[2], 64)
		if err != nil {
			t.Fatal(err)
		}
		n, err := strconv.Atoi(m[3])
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, initEntry{pkg: m[1], ms: ms, bytes: n})
	}
	return out
}
