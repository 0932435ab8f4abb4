//go:build linux

package watchdog_test

import (
	"errors"
	"os"
	"testing"
	"time"

	"github.com/haobox/haobox/platform/testskip"
	"github.com/haobox/haobox/platform/watchdog"
)

// TestDevice_LivesWhileFed: if Stop did not disarm it, the machine would go down
// under the tests that follow.
func TestDevice_LivesWhileFed(t *testing.T) {
	testskip.IfEmulated(t, "the emulator does not translate the ioctls of watchdogs")
	if _, err := os.Stat(watchdog.DefaultPath); errors.Is(err, os.ErrNotExist) {
		testskip.Kernel(t, "softdog", err.Error())
	}
	if os.Getenv(testskip.GuestVariable) != "1" {
		testskip.Kernel(t, "softdog", "not in a virtual machine of tools/vm: this one shall not go down")
	}
	d, err := watchdog.Open(watchdog.DefaultPath, 20*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if d.Timeout() != 20*time.Second {
		t.Errorf("its time is %v", d.Timeout())
	}
	if err := d.Feed(); err != nil {
		t.Error(err)
	}
	if err := d.Stop(); err != nil {
		t.Error(err)
	}
	if _, err := watchdog.Open(t.TempDir()+"/none", time.Second); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no device: %v", err)
	}
	if _, err := watchdog.Open("/dev/null", time.Second); err == nil {
		t.Error("/dev/null is taken for a watchdog")
	}
}
