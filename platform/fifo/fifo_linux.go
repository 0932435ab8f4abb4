// Package fifo makes a named pipe that root may write lines to, as the manual
// override of fenced(8) wants it.
package fifo

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"
)

const (
	// maxWord is the longest word: what fenced(8) reads.
	maxWord = 127
	// maxRead is what is read at once: all that a pipe holds, see pipe(7), so
	// that who floods it keeps nobody's word out.
	maxRead = 64 << 10
	// maxWords bounds what one read gives: ours, the newest count.
	maxWords = 64
)

// ErrNotOurs: there is something of that name which is no pipe of this user.
var ErrNotOurs = errors.New("is no pipe of this user")

// FIFO is a named pipe, open for reading.
type FIFO struct {
	f    *os.File
	path string
}

// Make makes the pipe with mode 0600. A pipe that this user left behind is
// replaced; anything else of that name, also a symbolic link, is ErrNotOurs.
func Make(path string) (*FIFO, error) {
	if info, err := os.Lstat(path); err == nil {
		if !ours(info) {
			return nil, fmt.Errorf("%s %w", path, ErrNotOurs)
		}
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	old := syscall.Umask(0o077)
	err := syscall.Mkfifo(path, 0o600)
	syscall.Umask(old)
	if err != nil {
		return nil, &os.PathError{Op: "mkfifo", Path: path, Err: err}
	}
	// Open for writing as well, so that the last writer's close is no end.
	f, err := os.OpenFile(path, os.O_RDWR|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0)
	if err != nil {
		os.Remove(path)
		return nil, err
	}
	if info, err := f.Stat(); err != nil || !ours(info) || info.Mode().Perm() != 0o600 {
		f.Close()
		return nil, fmt.Errorf("%s %w", path, ErrNotOurs)
	}
	return &FIFO{f, path}, nil
}

func ours(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && info.Mode().Type() == fs.ModeNamedPipe && int(st.Uid) == os.Geteuid()
}

// Next waits for something to be written and returns its words: what stands
// between control characters, at most 127 bytes each. It ends with an error when
// Close is called.
func (f *FIFO) Next() ([]string, error) {
	b := make([]byte, maxRead)
	n, err := f.f.Read(b)
	if err != nil {
		return nil, err
	}
	words := strings.FieldsFunc(string(b[:n]), func(r rune) bool { return r < ' ' || r == 0x7F })
	words = slices.DeleteFunc(words, func(w string) bool { return len(w) > maxWord })
	return words[max(0, len(words)-maxWords):], nil
}

// Close removes the pipe.
func (f *FIFO) Close() error {
	err := os.Remove(f.path)
	f.f.Close()
	return err
}
