//go:build linux

package systemd_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/haobox/haobox/platform/systemd"
	"github.com/haobox/haobox/platform/systemd/systemdtest"
)

// TestRealSystemd starts and stops units of a real systemd. It sets the
// process's bus, so it is not parallel.
func TestRealSystemd(t *testing.T) {
	systemdtest.Need(t)
	m := systemdtest.Start(t, systemdtest.Options{Files: map[string]string{
		"/etc/systemd/system/good.service": "[Service]\nExecStart=/bin/sleep infinity\n",
		"/etc/systemd/system/bad.service":  "[Service]\nType=oneshot\nExecStart=/bin/false\n",
	}})
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", m.Bus())
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	active := func(want string) {
		t.Helper()
		out, _ := m.Command("systemctl", "is-active", "good.service").CombinedOutput()
		if got := strings.TrimSpace(string(out)); got != want {
			t.Errorf("good.service is %q, want %q", got, want)
		}
	}
	active("inactive")
	if err := systemd.Start(ctx, "good.service"); err != nil {
		t.Error(err)
	}
	active("active")
	if err := systemd.Stop(ctx, "good.service"); err != nil {
		t.Error(err)
	}
	active("inactive")
	if err := systemd.Start(ctx, "bad.service"); err == nil || !strings.Contains(err.Error(), `the job ended as "failed"`) {
		t.Errorf("a unit that fails: %v", err)
	}
	if err := systemd.Start(ctx, "missing.service"); err == nil {
		t.Error("a unit that does not exist was started")
	}
}
