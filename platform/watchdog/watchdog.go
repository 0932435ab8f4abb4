//go:build linux

// Package watchdog feeds a hardware watchdog, which takes the machine down when
// nobody feeds it for its time (Documentation/watchdog/watchdog-api.rst of the
// kernel). On z/VM it is the module diag288_wdt, elsewhere softdog will do.
package watchdog

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// DefaultPath is the first watchdog of the machine.
const DefaultPath = "/dev/watchdog"

// Device is an open watchdog. From Open on the machine goes down unless it is
// fed. Not safe for concurrent use.
type Device struct {
	f       *os.File
	timeout time.Duration
}

// Open starts a watchdog with a time in whole seconds, at least one; the device
// may round it, see Timeout.
func Open(path string, timeout time.Duration) (*Device, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open the watchdog: %w", err)
	}
	d := &Device{f: f}
	seconds := int(max(timeout, time.Second).Round(time.Second) / time.Second)
	// The kernel reads and writes an int of 32 bits (WDIOC_SETTIMEOUT).
	if err := unix.IoctlSetPointerInt(int(f.Fd()), unix.WDIOC_SETTIMEOUT, seconds); err != nil {
		// The device has a fixed time; it counts.
		if n, err := unix.IoctlGetUint32(int(f.Fd()), unix.WDIOC_GETTIMEOUT); err == nil {
			d.timeout = time.Duration(n) * time.Second
			return d, nil
		}
		d.Stop()
		return nil, fmt.Errorf("set the time of the watchdog %s to %d s: %w", path, seconds, err)
	}
	d.timeout = time.Duration(seconds) * time.Second
	if n, err := unix.IoctlGetUint32(int(f.Fd()), unix.WDIOC_GETTIMEOUT); err == nil && n > 0 {
		d.timeout = time.Duration(n) * time.Second
	}
	return d, nil
}

// Timeout is how long the machine lives without being fed.
func (d *Device) Timeout() time.Duration { return d.timeout }

// Feed starts its time anew.
func (d *Device) Feed() error {
	if _, err := d.f.Write([]byte{0}); err != nil {
		return fmt.Errorf("feed the watchdog: %w", err)
	}
	return nil
}

// Stop disarms the watchdog ("magic close") and closes it. A kernel that was
// built without that takes the machine down later.
func (d *Device) Stop() error {
	_, err := d.f.Write([]byte("V"))
	if cerr := d.f.Close(); err == nil {
		err = cerr
	}
	return err
}

// Abandon closes the watchdog without disarming it: the machine goes down when
// its time is over.
func (d *Device) Abandon() { d.f.Close() }
