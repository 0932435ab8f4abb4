//go:build linux

// Package power takes this machine down.
package power

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Reboot reboots at once: nothing is stopped, nothing is written back. It
// returns only if the kernel does not do it. It asks by sysrq first
// (Documentation/admin-guide/sysrq.rst, "b"), because reboot(2) may wait for
// devices.
func Reboot() error {
	sysrqErr := os.WriteFile("/proc/sysrq-trigger", []byte("b"), 0)
	// Reached if sysrq is switched off, or not for us to use.
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART); err != nil {
		return fmt.Errorf("reboot this machine: %w (and by sysrq: %v)", err, sysrqErr)
	}
	return nil
}
