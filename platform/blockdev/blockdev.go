//go:build linux

// Package blockdev reads and writes block devices around all caches, one whole
// sector or more at a time, as a disk that several machines share needs it
// (open(2), O_DIRECT and O_SYNC). It finds devices through sysfs, sees what
// they are used for, and puts a limit on calls that the kernel may never
// finish.
package blockdev

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

var (
	// ErrNotBlock: the path is no block device. Options.File allows files.
	ErrNotBlock = errors.New("not a block device")
	// ErrReadOnly: the device is to be written, and the kernel lets nobody.
	ErrReadOnly = errors.New("the device is read-only")
	// ErrAlign: an offset or a length that is not whole sectors. A fault of
	// the caller.
	ErrAlign = errors.New("not whole sectors")
	// ErrTimeout: the device did not answer within the limit, and may still.
	ErrTimeout = errors.New("no answer of the device within the limit")
	// ErrStuck: an earlier call that ran into its limit is still under way.
	ErrStuck = errors.New("the device has not yet answered an earlier call")
)

// Options of Open.
type Options struct {
	// Write opens for writing too; without it WriteAt fails.
	Write bool
	// File allows a regular file with sectors of that many bytes, for tests
	// and images. O_DIRECT is left out where the file system does not have it.
	File int
}

// Device is an open block device. Safe for concurrent use; calls take turns.
type Device struct {
	path   string
	f      *os.File
	sector int
	size   int64

	mu  sync.Mutex
	buf []byte // page aligned, from mmap(2)
}

// Open opens a device. Other systems and other processes may have it open.
func Open(path string, o Options) (*Device, error) {
	// To open something else may wait for ever (a FIFO), or do something (a tape,
	// a watchdog).
	st, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, errors.Unwrap(err))
	}
	if _, block := number(st); !block && (o.File == 0 || !st.Mode().IsRegular()) {
		return nil, fmt.Errorf("open %s: %w", path, ErrNotBlock)
	}
	flags := unix.O_RDONLY
	if o.Write {
		flags = unix.O_RDWR
	}
	f, err := os.OpenFile(path, flags|unix.O_SYNC|unix.O_DIRECT|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.EINVAL) { // a file system without O_DIRECT: no device
		if o.File == 0 {
			return nil, fmt.Errorf("open %s: %w", path, ErrNotBlock)
		}
		f, err = os.OpenFile(path, flags|unix.O_SYNC|unix.O_CLOEXEC, 0)
	}
	if err != nil {
		return nil, err
	}
	d := &Device{path: path, f: f}
	if err := d.measure(o); err != nil {
		f.Close()
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return d, nil
}

// measure finds out the sizes.
func (d *Device) measure(o Options) error {
	st, err := d.f.Stat()
	if err != nil {
		return err
	}
	if st.Mode()&os.ModeDevice == 0 || st.Mode()&os.ModeCharDevice != 0 {
		if o.File == 0 || !st.Mode().IsRegular() {
			return ErrNotBlock
		}
		d.sector, d.size = o.File, st.Size()
		return nil
	}
	// The kernel writes an int of four bytes (BLKSSZGET of linux/fs.h), which
	// IoctlGetInt would look for in eight: wrong on a big-endian machine.
	sector, err := unix.IoctlGetUint32(int(d.f.Fd()), unix.BLKSSZGET)
	if err != nil {
		return fmt.Errorf("ask for its sector size: %w", err)
	}
	d.sector = int(sector)
	// Opening it for writing may succeed all the same.
	if ro, err := unix.IoctlGetUint32(int(d.f.Fd()), unix.BLKROGET); o.Write && err == nil && ro != 0 {
		return ErrReadOnly
	}
	if d.size, err = d.f.Seek(0, io.SeekEnd); err != nil {
		return fmt.Errorf("ask for its size: %w", err)
	}
	return nil
}

// Path is the path it was opened by.
func (d *Device) Path() string { return d.path }

// SectorSize is the logical sector size in bytes.
func (d *Device) SectorSize() int { return d.sector }

// Size is the device's size in bytes.
func (d *Device) Size() int64 { return d.size }

// ReadAt reads len(b) bytes at an offset: whole sectors. io.ErrUnexpectedEOF:
// the device ends before.
func (d *Device) ReadAt(b []byte, offset int64) error {
	err := d.io(len(b), offset, func(buf []byte) error {
		for done := 0; done < len(buf); {
			n, err := unix.Pread(int(d.f.Fd()), buf[done:], offset+int64(done))
			switch {
			case errors.Is(err, unix.EINTR):
			case err != nil:
				return err
			case n == 0:
				return io.ErrUnexpectedEOF
			default:
				done += n
			}
		}
		copy(b, buf)
		return nil
	})
	if err != nil {
		return fmt.Errorf("read %s at %d: %w", d.path, offset, err)
	}
	return nil
}

// WriteAt writes b at an offset: whole sectors. When it returns without error
// the device says that it has them.
func (d *Device) WriteAt(b []byte, offset int64) error {
	err := d.io(len(b), offset, func(buf []byte) error {
		copy(buf, b)
		for done := 0; done < len(buf); {
			n, err := unix.Pwrite(int(d.f.Fd()), buf[done:], offset+int64(done))
			switch {
			case errors.Is(err, unix.EINTR):
			case err != nil:
				return err
			case n == 0:
				return io.ErrShortWrite
			default:
				done += n
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("write %s at %d: %w", d.path, offset, err)
	}
	return nil
}

// io calls f with an aligned buffer.
func (d *Device) io(n int, offset int64, f func([]byte) error) error {
	if offset < 0 || offset%int64(d.sector) != 0 || n%d.sector != 0 {
		return ErrAlign
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.buf) < n {
		buf, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
		if err != nil {
			return fmt.Errorf("get an aligned buffer of %d bytes: %w", n, err)
		}
		d.free()
		d.buf = buf
	}
	return f(d.buf[:n])
}

func (d *Device) free() {
	if d.buf != nil {
		unix.Munmap(d.buf)
		d.buf = nil
	}
}

// Close closes the device. It waits for a call under way.
func (d *Device) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.free()
	return d.f.Close()
}

// Storage is what Limited puts a limit on.
type Storage interface {
	SectorSize() int
	ReadAt(b []byte, offset int64) error
	WriteAt(b []byte, offset int64) error
}

// Limited puts a limit on each call of a device. The kernel cannot be made to
// give up: a call that runs into the limit stays behind in a goroutine of its
// own with a buffer of its own, and until it ends all others fail at once with
// ErrStuck. Safe for concurrent use; calls take turns.
type Limited struct {
	d     Storage
	limit time.Duration
	mu    sync.Mutex
	late  chan error // of the call that stays behind
}

// Limit wraps a device. The caller closes the device itself, in the background
// if a call is stuck.
func Limit(d Storage, limit time.Duration) *Limited { return &Limited{d: d, limit: limit} }

// SectorSize is that of the device.
func (l *Limited) SectorSize() int { return l.d.SectorSize() }

// Stuck reports whether a call is still under way that ran into its limit.
func (l *Limited) Stuck() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stuck()
}

func (l *Limited) stuck() bool {
	if l.late == nil {
		return false
	}
	select {
	case <-l.late:
		l.late = nil
		return false
	default:
		return true
	}
}

// ReadAt is that of the device within the limit.
func (l *Limited) ReadAt(b []byte, offset int64) error {
	own := make([]byte, len(b))
	if err := l.do(func() error { return l.d.ReadAt(own, offset) }); err != nil {
		return err
	}
	copy(b, own)
	return nil
}

// WriteAt is that of the device within the limit. After ErrTimeout the bytes
// may or may not be written, now or later.
func (l *Limited) WriteAt(b []byte, offset int64) error {
	own := append([]byte(nil), b...)
	return l.do(func() error { return l.d.WriteAt(own, offset) })
}

func (l *Limited) do(f func() error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stuck() {
		return ErrStuck
	}
	done := make(chan error, 1)
	go func() { done <- f() }()
	t := time.NewTimer(l.limit)
	defer t.Stop()
	select {
	case err := <-done:
		return err
	case <-t.C:
		l.late = done
		return fmt.Errorf("%w (%v)", ErrTimeout, l.limit)
	}
}
