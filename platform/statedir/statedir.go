//go:build unix

// Package statedir keeps small state files in a folder that nobody else can
// touch: reads that follow no link and wait for no FIFO, creation that exactly
// one of several callers wins, replacement by one rename, and record locks
// that vanish with their process. It uses only what AIX and Linux share.
//
//	d, err := statedir.Open("/var/ksys/run")
//	err = d.Create("ksysmon.start", data) // fs.ErrExist for all but one
//
// It does not protect against root, who may change everything anyway.
package statedir

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// MaxFile is the largest state file that is read, in bytes. Ours: the largest
// one written is under 300.
const MaxFile = 4096

const (
	dirMode  = 0o700
	fileMode = 0o600
	// maxTries bounds the search for a free temporary name.
	maxTries = 100
)

// fault is an error with a kind that callers in other packages ask for by
// method, because they do not import this one.
type fault struct {
	text           string
	unsafe, locked bool
}

func (f *fault) Error() string { return f.text }

// Unsafe reports whether a file or folder is not what only this user could
// have made.
func (f *fault) Unsafe() bool { return f.unsafe }

// Locked reports whether another process holds the lock.
func (f *fault) Locked() bool { return f.locked }

func unsafef(format string, args ...any) error {
	return &fault{text: fmt.Sprintf(format, args...), unsafe: true}
}

// Dir is an open state folder. Safe for concurrent use, except that record
// locks belong to the process and not to the Dir.
type Dir struct {
	f    *os.File
	path string
	uid  uint32
}

// Open opens the folder, making it with mode 0700 if it is missing. It is
// refused when it is a symbolic link, belongs to another user, is writable by
// others, or when others could replace one of its parents.
func Open(path string) (*Dir, error) {
	if !filepath.IsAbs(path) {
		return nil, unsafef("state folder %s: the path is not absolute", path)
	}
	path = filepath.Clean(path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	if err := os.Mkdir(path, dirMode); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	fd, err := retry(func() (int, error) {
		return unix.Open(path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	})
	if errors.Is(err, unix.ELOOP) {
		return nil, unsafef("state folder %s: is a symbolic link", path)
	}
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	d := &Dir{f: os.NewFile(uintptr(fd), path), path: path, uid: uint32(os.Geteuid())}
	if err := d.check(fd); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

func (d *Dir) check(fd int) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return &fs.PathError{Op: "stat", Path: d.path, Err: err}
	}
	switch {
	case uint32(st.Mode)&unix.S_IFMT != unix.S_IFDIR:
		return unsafef("state folder %s: is not a folder", d.path)
	case uint32(st.Uid) != d.uid:
		return unsafef("state folder %s: belongs to user %d, not %d", d.path, st.Uid, d.uid)
	case st.Mode&0o022 != 0:
		return unsafef("state folder %s: writable by others, mode %o", d.path, st.Mode&0o777)
	}
	for p := filepath.Dir(d.path); ; p = filepath.Dir(p) {
		if err := unix.Stat(p, &st); err != nil {
			return &fs.PathError{Op: "stat", Path: p, Err: err}
		}
		if st.Mode&0o002 != 0 && st.Mode&unix.S_ISVTX == 0 {
			return unsafef("state folder %s: anybody can write to its parent %s", d.path, p)
		}
		if p == "/" {
			return nil
		}
	}
}

// Close closes the folder.
func (d *Dir) Close() error { return d.f.Close() }

// Path is the path of a file in the folder, for messages.
func (d *Dir) Path(name string) string { return filepath.Join(d.path, name) }

// Read returns the content and the time of the last change. A file that is a
// link, not regular, not ours, linked twice, writable by others or larger
// than MaxFile gives an error whose method Unsafe returns true; a missing one
// gives fs.ErrNotExist.
func (d *Dir) Read(name string) ([]byte, time.Time, error) {
	f, err := d.open(name, unix.O_RDONLY)
	if err != nil {
		return nil, time.Time{}, err
	}
	defer f.Close()
	st, err := d.checkFile(f)
	if err != nil {
		return nil, time.Time{}, err
	}
	data, err := io.ReadAll(io.LimitReader(f, MaxFile+1))
	if err == nil && len(data) > MaxFile {
		return nil, time.Time{}, unsafef("state file %s: larger than %d bytes", f.Name(), MaxFile)
	}
	return data, st.ModTime(), err
}

func (d *Dir) checkFile(f *os.File) (fs.FileInfo, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return nil, &fs.PathError{Op: "stat", Path: f.Name(), Err: err}
	}
	switch {
	case !info.Mode().IsRegular():
		return nil, unsafef("state file %s: is not a regular file", f.Name())
	case uint32(st.Uid) != d.uid:
		return nil, unsafef("state file %s: belongs to user %d, not %d", f.Name(), st.Uid, d.uid)
	case st.Nlink != 1:
		return nil, unsafef("state file %s: has %d links", f.Name(), st.Nlink)
	case st.Mode&0o022 != 0:
		return nil, unsafef("state file %s: writable by others, mode %o", f.Name(), st.Mode&0o777)
	case info.Size() > MaxFile:
		return nil, unsafef("state file %s: larger than %d bytes", f.Name(), MaxFile)
	}
	return info, nil
}

// Create makes a new file with mode 0600. If there is anything of that name,
// also a link to nowhere, the error is fs.ErrExist: of several callers exactly
// one succeeds. A crash in between leaves an empty file.
func (d *Dir) Create(name string, data []byte) error {
	f, err := d.open(name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL)
	if err != nil {
		return err
	}
	if err := d.fill(f, data); err != nil {
		d.Remove(name)
		return err
	}
	return nil
}

// Replace gives a file new content by one rename, whatever was there.
func (d *Dir) Replace(name string, data []byte) error {
	var f *os.File
	var err error
	tmp := ""
	for i := range maxTries {
		tmp = "." + name + "." + strconv.Itoa(os.Getpid()) + "." + strconv.Itoa(i)
		if f, err = d.open(tmp, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL); !errors.Is(err, fs.ErrExist) {
			break
		}
		// A file of a process that had our number and was killed.
		d.Remove(tmp)
	}
	if err != nil {
		return err
	}
	if err := d.fill(f, data); err != nil {
		d.Remove(tmp)
		return err
	}
	if err := unix.Renameat(d.fd(), tmp, d.fd(), name); err != nil {
		d.Remove(tmp)
		return &os.LinkError{Op: "rename", Old: d.Path(tmp), New: d.Path(name), Err: err}
	}
	return d.f.Sync()
}

// fill writes, syncs and closes f.
func (d *Dir) fill(f *os.File, data []byte) error {
	_, err := f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// Remove removes a file, a link or a FIFO without looking at what it is or
// points to. A folder in its place is an error.
func (d *Dir) Remove(name string) error {
	if err := unix.Unlinkat(d.fd(), name, 0); err != nil {
		return &fs.PathError{Op: "remove", Path: d.Path(name), Err: err}
	}
	return nil
}

// Lock takes the record lock of a lock file and writes note into it. If
// another process holds it, the error's method Locked returns true. The file
// stays; only the lock goes with release or the end of the process.
func (d *Dir) Lock(name, note string) (release func(), err error) {
	f, err := d.open(name, unix.O_RDWR|unix.O_CREAT)
	if err != nil {
		return nil, err
	}
	if _, err := d.checkFile(f); err != nil {
		f.Close()
		return nil, err
	}
	lk := unix.Flock_t{Type: unix.F_WRLCK}
	if err := unix.FcntlFlock(f.Fd(), unix.F_SETLK, &lk); err != nil {
		f.Close()
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
			return nil, &fault{text: "lock " + d.Path(name) + ": held by another process", locked: true}
		}
		return nil, &fs.PathError{Op: "lock", Path: d.Path(name), Err: err}
	}
	// The note serves people and the monitor's age limit; a full disk must
	// not keep the holder from its work.
	if f.Truncate(0) == nil {
		_, _ = f.WriteAt([]byte(note), 0)
	}
	return func() { f.Close() }, nil
}

// Holder reports whether another process holds the lock, and its note.
// Closing any descriptor of the file drops a process's own record locks, so
// it must not be called by a process that holds the lock itself.
func (d *Dir) Holder(name string) (note string, held bool, err error) {
	f, err := d.open(name, unix.O_RDWR)
	if errors.Is(err, fs.ErrNotExist) {
		return "", false, nil
	}
	if err != nil {
		return "", false, err
	}
	defer f.Close()
	if _, err := d.checkFile(f); err != nil {
		return "", false, err
	}
	lk := unix.Flock_t{Type: unix.F_WRLCK}
	if err := unix.FcntlFlock(f.Fd(), unix.F_GETLK, &lk); err != nil {
		return "", false, &fs.PathError{Op: "lock", Path: d.Path(name), Err: err}
	}
	if lk.Type == unix.F_UNLCK {
		return "", false, nil
	}
	data, err := io.ReadAll(io.LimitReader(f, MaxFile))
	return string(data), true, err
}

func (d *Dir) fd() int { return int(d.f.Fd()) }

// open opens a file of the folder without following a link and without
// waiting for the other end of a FIFO.
func (d *Dir) open(name string, flag int) (*os.File, error) {
	if name == "" || strings.ContainsRune(name, '/') {
		return nil, &fs.PathError{Op: "open", Path: d.Path(name), Err: fs.ErrInvalid}
	}
	fd, err := retry(func() (int, error) {
		return unix.Openat(d.fd(), name, flag|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, fileMode)
	})
	switch {
	case errors.Is(err, unix.ELOOP):
		return nil, unsafef("state file %s: is a symbolic link", d.Path(name))
	case errors.Is(err, unix.ENXIO), errors.Is(err, unix.EISDIR):
		return nil, unsafef("state file %s: is not a regular file", d.Path(name))
	case err != nil:
		return nil, &fs.PathError{Op: "open", Path: d.Path(name), Err: err}
	}
	return os.NewFile(uintptr(fd), d.Path(name)), nil
}

// retry repeats a call that a signal interrupted, as package os does.
func retry(open func() (int, error)) (int, error) {
	for {
		fd, err := open()
		if !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
}

// AppendRotated appends a line to a log file that is no link, with mode 0640.
// A file that has reached limit bytes is renamed to path.1 first, path.1 to
// path.2 and so on; keep old ones stay.
func AppendRotated(path, line string, limit int64, keep int) error {
	if st, err := os.Lstat(path); err == nil && st.Mode().IsRegular() && st.Size() >= limit {
		for i := keep; i > 0; i-- {
			from := path
			if i > 1 {
				from = path + "." + strconv.Itoa(i-1)
			}
			if err := os.Rename(from, path+"."+strconv.Itoa(i)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	fd, err := retry(func() (int, error) {
		return unix.Open(path, unix.O_WRONLY|unix.O_APPEND|unix.O_CREAT|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0o640)
	})
	if err != nil {
		return &fs.PathError{Op: "open", Path: path, Err: err}
	}
	f := os.NewFile(uintptr(fd), path)
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = unsafef("log file %s: is not a regular file", path)
	}
	if err == nil {
		_, err = f.WriteString(line)
	}
	return errors.Join(err, f.Close())
}

// ReadTrusted reads a configuration file that decides what root's programs
// do: it must be a regular file of root or of this user, and nobody else may
// be able to write to it.
func ReadTrusted(path string) ([]byte, error) {
	fd, err := retry(func() (int, error) {
		return unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	switch {
	case uint32(st.Mode)&unix.S_IFMT != unix.S_IFREG:
		return nil, unsafef("configuration %s: is not a regular file", path)
	case st.Uid != 0 && int(st.Uid) != os.Geteuid():
		return nil, unsafef("configuration %s: belongs to user %d", path, st.Uid)
	case st.Mode&0o022 != 0:
		return nil, unsafef("configuration %s: writable by others, mode %o", path, st.Mode&0o777)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	if err == nil && len(data) > maxConfig {
		return nil, unsafef("configuration %s: larger than %d bytes", path, maxConfig)
	}
	return data, err
}

// maxConfig is the largest configuration file that is read, in bytes. Ours.
const maxConfig = 64 << 10
