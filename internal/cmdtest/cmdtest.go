// Package cmdtest runs the applets in tests, as commands: a test binary
// answers to every applet's name, so that scripts in testdata/*.txtar call
// fence_zvm, clustat, ... as if they were installed (testscript of
// github.com/rogpeppe/go-internal). It knows no applet itself; the table is
// handed in by the root package.
//
// Under user-mode emulation a program cannot start another one of the foreign
// kind. With EmulatorVariable set, each command is a small shell script that
// runs the test binary under the emulator by the applet's name.
//
// For tests that need no process of their own, call the applet's Run with a
// platformtest.Env.
package cmdtest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/haobox/haobox/platform/testskip"
)

// EmulatorVariable holds the path of the emulator (qemu-s390x-static) when
// the tests run under it; it goes with testskip.EmulatedVariable.
const EmulatorVariable = "HAOBOX_EMULATOR"

// Main is the body of a TestMain: called by the name of one of the commands,
// the process is that command and run gives its exit status (os.Args is the
// command line); otherwise it runs the tests. It does not return.
func Main(m *testing.M, names []string, run func() int) {
	commands := make(map[string]func(), len(names))
	for _, n := range names {
		commands[n] = func() { os.Exit(run()) }
	}
	testscript.Main(m, commands)
}

// Scripts runs every testscript of the folder dir (*.txtar) as a subtest, with
// the commands of Main in PATH and the folder packaging as $PACKAGING. update
// rewrites what "cmp" compares with.
//
// Beside the standard conditions there are [emulated], true under user-mode
// emulation, and [kernel:NAME], true if the kernel has the module NAME, loaded
// or built in. A script may skip only in the forms of package testskip:
//
//	[!kernel:vsock_loopback] skip 'kernel lacks vsock_loopback: no such module'
//
// Beside the standard commands there is "status N COMMAND [ARG]", which is
// exec for a command that must end with that exit status.
func Scripts(t *testing.T, dir string, names []string, update bool) {
	t.Helper()
	wrappers := emulate(t, names)
	packaging, err := filepath.Abs("packaging")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                dir,
		UpdateScripts:      update,
		RequireUniqueNames: true,
		Condition:          condition,
		Cmds:               map[string]func(*testscript.TestScript, bool, []string){"status": status},
		Setup: func(e *testscript.Env) error {
			if wrappers != "" {
				e.Setenv("PATH", wrappers+string(os.PathListSeparator)+e.Getenv("PATH"))
			}
			e.Setenv("PACKAGING", packaging)
			e.Setenv("LC_ALL", "C.UTF-8")
			e.Setenv("TZ", "UTC")
			return nil
		},
	})
}

// status is the script command of that name.
func status(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status N COMMAND [ARG ...]")
	}
	want, err := strconv.Atoi(args[0])
	if err != nil {
		ts.Fatalf("status %s: not a number", args[0])
	}
	got := 0
	var exit *exec.ExitError
	switch err := ts.Exec(args[1], args[2:]...); {
	case errors.As(err, &exit):
		got = exit.ExitCode()
	case err != nil:
		ts.Fatalf("%s: %v", args[1], err)
	}
	if got != want {
		ts.Fatalf("%s ended with exit status %d, want %d", args[1], got, want)
	}
}

// condition is the truth of the conditions that Scripts adds.
func condition(cond string) (bool, error) {
	if cond == "emulated" {
		return testskip.Emulated(), nil
	}
	if name, ok := strings.CutPrefix(cond, "kernel:"); ok && name != "" {
		_, err := os.Stat(filepath.Join("/sys/module", name))
		return err == nil, nil
	}
	return false, fmt.Errorf("unknown condition %q; there are emulated and kernel:NAME", cond)
}

// emulate writes one wrapper per command into a folder that it returns, or
// returns "" if the commands can be started as they are.
func emulate(t *testing.T, names []string) string {
	emulator := os.Getenv(EmulatorVariable)
	if emulator == "" {
		return ""
	}
	binary, err := os.Executable()
	if err != nil {
		t.Fatalf("find the test binary: %v", err)
	}
	dir := t.TempDir()
	for _, n := range names {
		script := fmt.Sprintf("#!/bin/sh\nexec '%s' -0 '%s' '%s' \"$@\"\n", emulator, n, binary)
		if err := os.WriteFile(filepath.Join(dir, n), []byte(script), 0o755); err != nil {
			t.Fatalf("write the wrapper of %s: %v", n, err)
		}
	}
	return dir
}

// Build builds the command of package path (".", "./tools/x" from the module's
// root) for this machine as it is shipped, static and with the product's tags,
// and returns the program's path. It needs the go command.
func Build(t testing.TB, root, path string) string {
	t.Helper()
	testskip.IfForeign(t, "needs the go command")
	out := filepath.Join(t.TempDir(), "haobox")
	cmd := exec.Command("go", "build", "-trimpath", "-tags=urfave_cli_no_docs,nethttpomithttp2", "-ldflags=-s -w", "-o", out, path)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", path, err, text)
	}
	return out
}
