package syslog

import (
	"log/slog"
	"net"
	"os"
	"strconv"
	"time"
)

// sendLimit bounds one write to the syslog socket; a stuck daemon then costs
// this much once, and the connection is dropped.
const sendLimit = 50 * time.Millisecond

// facilityDaemon is LOG_DAEMON of syslog(3).
const facilityDaemon = 3

// facility is the number that syslog(3) gives a facility; daemon if it knows
// no such name.
func facility(name string) int {
	names := [...]string{"kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
		"", "", "", "", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7"}
	for n, s := range names {
		if s == name && name != "" {
			return n
		}
	}
	return facilityDaemon
}

// devLog is the local syslog socket of syslog(3).
const devLog = "/dev/log"

// dial connects to the local syslog daemon; nil if there is none.
func dial() writer {
	for _, network := range []string{"unixgram", "unix"} {
		if c, err := net.DialTimeout(network, devLog, sendLimit); err == nil {
			return &local{conn: c, stream: network == "unix"}
		}
	}
	return nil
}

type local struct {
	conn   net.Conn
	stream bool
}

// write sends a line in the format of the local syslog socket (RFC 3164
// without the host name, as syslog(3) does).
func (w *local) write(tag string, facility int, l slog.Level, text string) error {
	if w.conn == nil {
		return net.ErrClosed
	}
	line := "<" + strconv.Itoa(facility<<3|severity(l)) + ">" + time.Now().Format(time.Stamp) +
		" " + tag + "[" + strconv.Itoa(os.Getpid()) + "]: " + text
	if w.stream {
		line += "\n"
	}
	_ = w.conn.SetWriteDeadline(time.Now().Add(sendLimit))
	if _, err := w.conn.Write([]byte(line)); err != nil {
		w.conn.Close()
		w.conn = nil
		return err
	}
	return nil
}

// severity maps a level to the numbers of syslog(3).
func severity(l slog.Level) int {
	switch {
	case l >= slog.LevelError+4: // what root must see at once
		return 2
	case l >= slog.LevelError:
		return 3
	case l >= slog.LevelWarn:
		return 4
	case l >= slog.LevelInfo:
		return 6
	}
	return 7
}
