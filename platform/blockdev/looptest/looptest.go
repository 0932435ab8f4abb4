//go:build linux

// Package looptest makes loop devices for tests, with the sector size of one's
// choice. It needs root and the kernel's loop driver, and no programs.
package looptest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/haobox/haobox/platform/testskip"
)

// attempts bounds the race for a free device with others: ours.
const attempts = 100

// New returns the path of a loop device of size bytes, all zero, and that of
// the file behind it. Both go at the end of the test.
func New(t testing.TB, size int64, sector int) (device, file string) {
	t.Helper()
	testskip.IfEmulated(t, "the emulator does not translate the ioctls of loop devices")
	if os.Geteuid() != 0 {
		t.Fatal("loop devices need root")
	}
	file = filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, size); err != nil {
		t.Fatal(err)
	}
	backing, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer backing.Close()
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		testskip.Kernel(t, "loop", fmt.Sprintf("open /dev/loop-control: %v", err))
	}
	defer control.Close()
	for range attempts {
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			t.Fatalf("get a free loop device: %v", err)
		}
		device = fmt.Sprintf("/dev/loop%d", n)
		if err := node(device, n); err != nil {
			t.Fatal(err)
		}
		loop, err := os.OpenFile(device, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		err = unix.IoctlLoopConfigure(int(loop.Fd()), &unix.LoopConfig{Fd: uint32(backing.Fd()), Size: uint32(sector)})
		loop.Close()
		switch {
		case errors.Is(err, unix.EBUSY):
			continue // somebody was faster
		case err != nil:
			t.Fatalf("set up %s with sectors of %d: %v", device, sector, err)
		}
		t.Cleanup(func() { Detach(t, device) })
		return device, file
	}
	t.Fatalf("no free loop device in %d attempts", attempts)
	return "", ""
}

// node makes the device's node where no udev does.
func node(device string, minor int) error {
	if _, err := os.Stat(device); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	const loopMajor = 7 // Documentation/admin-guide/devices.txt
	err := unix.Mknod(device, unix.S_IFBLK|0o600, int(unix.Mkdev(loopMajor, uint32(minor))))
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	return err
}

// Detach takes the file from below a loop device. While others have it open
// the device vanishes when they close it.
func Detach(t testing.TB, device string) {
	t.Helper()
	loop, err := os.OpenFile(device, os.O_RDWR, 0)
	if err != nil {
		return
	}
	defer loop.Close()
	if err := unix.IoctlSetInt(int(loop.Fd()), unix.LOOP_CLR_FD, 0); err != nil && !errors.Is(err, unix.ENXIO) {
		t.Errorf("detach %s: %v", device, err)
	}
}
