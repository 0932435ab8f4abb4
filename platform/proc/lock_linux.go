package proc

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// ErrLocked: another process holds the lock.
var ErrLocked = errors.New("another process holds the lock")

// PIDFile is a lock file with the process id of its holder, locked as the old
// daemons do (fcntl(2), F_SETLK), so that old tools and ours see each other.
type PIDFile struct{ f *os.File }

// LockPID locks path and writes this process's id and a newline into it. It
// does not wait: a lock of another process is ErrLocked. The lock ends with
// the process, and when any file of this name is closed in it (fcntl(2)).
func LockPID(path string) (*PIDFile, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	lock := syscall.Flock_t{Type: syscall.F_WRLCK, Whence: io.SeekStart}
	if err := syscall.FcntlFlock(f.Fd(), syscall.F_SETLK, &lock); err != nil {
		f.Close()
		if errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EACCES) {
			return nil, ErrLocked
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	if err := f.Truncate(0); err != nil {
		f.Close()
		return nil, err
	}
	if _, err := f.WriteString(strconv.Itoa(os.Getpid()) + "\n"); err != nil {
		f.Close()
		return nil, err
	}
	return &PIDFile{f}, nil
}

// Release removes the file and ends the lock.
func (p *PIDFile) Release() {
	_ = os.Remove(p.f.Name())
	p.f.Close()
}

// PIDHolder returns the process that holds the lock of a file made by LockPID
// or an old daemon; 0 if it is not locked. It must not be called by the holder.
func PIDHolder(path string) (int, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	lock := syscall.Flock_t{Type: syscall.F_WRLCK, Whence: io.SeekStart}
	if err := syscall.FcntlFlock(f.Fd(), syscall.F_GETLK, &lock); err != nil {
		return 0, fmt.Errorf("ask for the lock of %s: %w", path, err)
	}
	if lock.Type == syscall.F_UNLCK {
		return 0, nil
	}
	return int(lock.Pid), nil
}

// Flock locks path as flock(1) does, without waiting, and writes this
// process's id and a newline into it. If another process holds the lock it
// returns ErrLocked and the id it finds in the file (0 if there is none).
func Flock(path string) (release func(), holder int, err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, 0, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		defer f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			b, _ := io.ReadAll(io.LimitReader(f, 32))
			pid, _ := strconv.Atoi(strings.TrimSpace(string(b)))
			return nil, pid, ErrLocked
		}
		return nil, 0, fmt.Errorf("lock %s: %w", path, err)
	}
	if err = f.Truncate(0); err == nil {
		_, err = f.WriteString(strconv.Itoa(os.Getpid()) + "\n")
	}
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return func() { _ = os.Remove(path); f.Close() }, 0, nil
}

// FlockHolder returns the process id in a file that is locked by Flock or
// flock(1), and whether it is locked. A missing file is not.
func FlockHolder(path string) (pid int, locked bool) {
	f, err := os.Open(path)
	if err != nil {
		return 0, false
	}
	defer f.Close() // which ends a lock that was got
	if syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB) == nil {
		return 0, false
	}
	b, _ := io.ReadAll(io.LimitReader(f, 32))
	pid, _ = strconv.Atoi(strings.TrimSpace(string(b)))
	return pid, true
}
