// Package testskip has the only reasons for which a test of haobox may skip.
// Each prints a line of an agreed form, which tools/testgate reads: with
// HAOBOX_CI=1 every other skip is a failure, and a test that skipped in one
// stage (race, s390x, kernel) must have passed in another, unless
// tools/testgate/absent says why no stage can run it.
package testskip

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// EmulatedVariable is "1" in the environment of tests that run under
// user-mode emulation: foreign instructions, but this machine's kernel behind
// an imperfect translation of system calls, and no way to start a second
// program of the foreign kind.
const EmulatedVariable = "HAOBOX_EMULATED"

// GuestVariable is "1" in the environment of tests that run in a virtual
// machine of tools/vm: a real kernel and root, but no programs beside busybox.
const GuestVariable = "HAOBOX_GUEST"

// Emulated reports whether this process runs under user-mode emulation.
func Emulated() bool { return os.Getenv(EmulatedVariable) == "1" }

// IfEmulated skips t under user-mode emulation. why says what the emulator
// cannot do.
func IfEmulated(t testing.TB, why string) {
	t.Helper()
	if Emulated() {
		t.Skipf("emulated: %s", why)
	}
}

// IfForeign skips t where the programs of the build machine cannot be had:
// under user-mode emulation and in a virtual machine. why says which ones.
func IfForeign(t testing.TB, why string) {
	t.Helper()
	IfEmulated(t, why)
	if os.Getenv(GuestVariable) == "1" {
		t.Skipf("guest: %s", why)
	}
}

// IfShort skips t under go test -short, which the stages on foreign machines use. why
// says what takes so long.
func IfShort(t testing.TB, why string) {
	t.Helper()
	if testing.Short() {
		t.Skipf("short: %s", why)
	}
}

// Kernel skips t because the running kernel lacks a feature. feature is its
// module's name, or the lower-case name of its configuration option
// ("af_iucv", "vsock_loopback", "softdog", "sch_netem"); why is what was seen,
// with the error. Call it only after having tried.
func Kernel(t testing.TB, feature, why string) {
	t.Helper()
	t.Skipf("kernel lacks %s: %s", feature, why)
}

// IfNoGuestProgram skips t under user-mode emulation, and in a virtual machine
// that was made without a program; the build machine has all of tools/packages,
// where a missing one is a failure of the test.
func IfNoGuestProgram(t testing.TB, programs ...string) {
	t.Helper()
	IfEmulated(t, "needs "+strings.Join(programs, ", "))
	if os.Getenv(GuestVariable) != "1" {
		return
	}
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("guest: no %s", p)
		}
	}
}
