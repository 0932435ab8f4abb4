package syslog

import (
	"os"
	"strconv"
	"strings"
	"syscall"
)

// stderrIsJournal reports whether f is the stream that systemd connected to
// the journal: JOURNAL_STREAM holds its device and inode number
// (systemd.exec(5)). Without the comparison a child with a redirected
// standard error would be mistaken for a service.
func stderrIsJournal(f *os.File) bool {
	dev, ino, ok := strings.Cut(os.Getenv("JOURNAL_STREAM"), ":")
	if !ok {
		return false
	}
	var st syscall.Stat_t
	if syscall.Fstat(int(f.Fd()), &st) != nil {
		return false
	}
	return dev == strconv.FormatUint(uint64(st.Dev), 10) && ino == strconv.FormatUint(st.Ino, 10)
}
