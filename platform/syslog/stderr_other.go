//go:build !linux

package syslog

import "os"

// stderrIsJournal is false where there is no systemd.
func stderrIsJournal(*os.File) bool { return false }
