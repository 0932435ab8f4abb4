//go:build linux

package watchdog_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/haobox/haobox/platform/testskip"
	"github.com/haobox/haobox/platform/watchdog"
)

// patience is the time of the watchdog in these tests: within it they must have
// disarmed it again.
const patience = 60 * time.Second

// needWatchdog skips the test where the machine has none, or shall not go down.
func needWatchdog(t *testing.T) {
	t.Helper()
	testskip.IfEmulated(t, "the emulator does not translate the ioctls of watchdogs")
	if _, err := os.Stat(watchdog.DefaultPath); errors.Is(err, os.ErrNotExist) {
		testskip.Kernel(t, "softdog", err.Error())
	}
	if os.Getenv(testskip.GuestVariable) != "1" {
		testskip.Kernel(t, "softdog", "not in a virtual machine of tools/vm: this one shall not go down")
	}
}

// state is what the kernel says of the first watchdog: "active" or "inactive"
// (sysfs-class-watchdog).
func state(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("/sys/class/watchdog/watchdog0/state")
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

// TestDevice_LivesWhileFed: if Stop did not disarm it, the machine would go down
// under the tests that follow.
func TestDevice_LivesWhileFed(t *testing.T) {
	needWatchdog(t)
	d, err := watchdog.Open(watchdog.DefaultPath, patience)
	if err != nil {
		t.Fatal(err)
	}
	if d.Timeout() != patience {
		t.Errorf("its time is %v", d.Timeout())
	}
	if err := d.Feed(); err != nil {
		t.Error(err)
	}
	if s := state(t); s != "active" {
		t.Errorf("open, it is %s", s)
	}
	if err := d.Stop(); err != nil {
		t.Error(err)
	}
	if s := state(t); s != "inactive" {
		t.Errorf("after Stop it is %s", s)
	}
	if _, err := watchdog.Open(t.TempDir()+"/none", time.Second); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no device: %v", err)
	}
	if _, err := watchdog.Open("/dev/null", time.Second); err == nil {
		t.Error("/dev/null is taken for a watchdog")
	}
}

// TestDevice_OutlivesItsOwner: a process that is killed, or that abandons the
// watchdog, leaves it armed, so that the machine goes down; who opens it next may
// disarm it, which keeps this one up.
func TestDevice_OutlivesItsOwner(t *testing.T) {
	needWatchdog(t)
	for _, end := range []string{"killed", "abandoned"} {
		t.Run(end, func(t *testing.T) {
			if s := state(t); s != "inactive" {
				t.Fatalf("at the start it is %s", s)
			}
			t.Cleanup(func() {
				d, err := watchdog.Open(watchdog.DefaultPath, patience)
				if err != nil {
					t.Fatal(err)
				}
				if err := d.Stop(); err != nil {
					t.Error(err)
				}
				if s := state(t); s != "inactive" {
					t.Errorf("disarmed by its next owner it is %s", s)
				}
			})
			self, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			child := exec.Command(self)
			child.Env = append(os.Environ(), ownerVariable+"=1")
			child.Stderr = os.Stderr
			in, err := child.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			out, err := child.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := child.Start(); err != nil {
				t.Fatal(err)
			}
			line, err := bufio.NewReader(out).ReadString('\n')
			if err != nil || line != "fed\n" {
				t.Errorf("its owner says %q, %v", line, err)
			}
			if end == "killed" {
				if err := child.Process.Kill(); err != nil {
					t.Error(err)
				}
			}
			in.Close()
			_ = child.Wait() // a process that is killed has no status
			if s := state(t); s != "active" {
				t.Errorf("its owner is gone, and it is %s", s)
			}
		})
	}
}

// ownerVariable makes a process of the tests the owner of the watchdog.
const ownerVariable = "WATCHDOG_OWNER"

func TestMain(m *testing.M) {
	if os.Getenv(ownerVariable) != "" {
		if err := own(); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// own is what the owner does: it feeds the watchdog, and abandons it at the end
// of its input if it is not killed before.
func own() error {
	d, err := watchdog.Open(watchdog.DefaultPath, patience)
	if err != nil {
		return err
	}
	if err := d.Feed(); err != nil {
		return err
	}
	fmt.Println("fed")
	io.Copy(io.Discard, os.Stdin)
	d.Abandon()
	return nil
}
