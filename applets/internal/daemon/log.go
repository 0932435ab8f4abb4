//go:build linux

package daemon

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/haobox/haobox/internal/clusterconf"
	"github.com/haobox/haobox/platform"
)

const (
	// dumpSize is how much of the log a daemon keeps for "fence_tool dump" and
	// the like: 1 MiB, fenced(8).
	dumpSize = 1 << 20
	// defaultLineMax bounds a line where the daemon has no limit of its own.
	defaultLineMax = 4096
)

// LevelCritical is above slog.LevelError: what root must see at once.
const LevelCritical = slog.LevelError + 4

// Log writes the lines of a daemon to syslog or the journal, to its file in
// /var/log/cluster ("Mon DD HH:MM:SS NAME TEXT"), to a ring buffer, and in the
// foreground to standard error ("UNIXTIME TEXT"). Lines hold no secrets: there
// is no level that keeps them private. Safe for concurrent use.
type Log struct {
	env              platform.Env
	name, logName    string
	stderr           io.Writer
	debug            bool
	lineMax, dumpMax int

	mu          sync.Mutex
	how         clusterconf.Logging
	sys         *slog.Logger
	file        platform.File
	fileFailed  bool
	dump        []byte // of dumpSize, once it is full
	dumpAt      int
	syslogLevel slog.Level
	fileLevel   slog.Level
}

func newLog(env platform.Env, cfg Config) *Log {
	l := &Log{env: env, name: cfg.Name, logName: cfg.LogName, debug: cfg.Debug, lineMax: cfg.LineMax, dumpMax: cfg.DumpMax}
	if l.logName == "" {
		l.logName = cfg.Name
	}
	for _, n := range []*int{&l.lineMax, &l.dumpMax} {
		if *n == 0 {
			*n = defaultLineMax
		}
	}
	if cfg.Foreground {
		l.stderr = env.Stderr
	}
	l.setup(nil)
	return l
}

// setup takes what a configuration says; nil is the default.
func (l *Log) setup(c *clusterconf.Config) {
	how := clusterconf.Logging{ToSyslog: true, ToLogfile: true, Facility: "local4", SyslogPriority: "info", LogfilePriority: "info"}
	if c != nil {
		how = c.Logging(l.logName)
	}
	if how.Logfile == "" || how.Logfile == "/var/log/cluster/"+strings.ToLower(l.logName)+".log" {
		how.Logfile = "/var/log/cluster/" + l.name + ".log"
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file != nil && how.Logfile != l.how.Logfile {
		l.file.Close()
		l.file = nil
	}
	l.how, l.fileFailed = how, false
	l.syslogLevel, l.fileLevel = level(how.SyslogPriority), level(how.LogfilePriority)
	if l.debug {
		l.fileLevel = slog.LevelDebug
	}
	l.sys = l.env.Log.With(platform.AppletKey, l.name, platform.FacilityKey, how.Facility, platform.FieldsKey, true)
}

// level is the lowest level that a priority of cluster.conf(5) lets through.
func level(priority string) slog.Level {
	switch priority {
	case "emerg", "alert", "crit":
		return LevelCritical
	case "err", "error":
		return slog.LevelError
	case "warning", "warn":
		return slog.LevelWarn
	case "debug":
		return slog.LevelDebug
	}
	return slog.LevelInfo // "notice" is not told apart
}

// Debugf, Infof, Warnf and Errorf write a line.
func (l *Log) Debugf(format string, args ...any) {
	l.Line(slog.LevelDebug, fmt.Sprintf(format, args...))
}

// Infof writes a line of level info.
func (l *Log) Infof(format string, args ...any) { l.Line(slog.LevelInfo, fmt.Sprintf(format, args...)) }

// Warnf writes a line of level warning.
func (l *Log) Warnf(format string, args ...any) { l.Line(slog.LevelWarn, fmt.Sprintf(format, args...)) }

// Errorf writes a line of level error.
func (l *Log) Errorf(format string, args ...any) {
	l.Line(slog.LevelError, fmt.Sprintf(format, args...))
}

// Line writes a line. The attributes are fields of the journal and no part of
// the line. A log that can not be written never holds up or fails its caller.
func (l *Log) Line(level slog.Level, text string, attrs ...slog.Attr) {
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7F {
			return ' '
		}
		return r
	}, text)
	now := l.env.Clock.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	long := fmt.Sprintf("%d %s\n", now.Unix(), cut(text, l.dumpMax))
	l.keep(long)
	if l.stderr != nil {
		io.WriteString(l.stderr, long)
	}
	short := cut(text, l.lineMax)
	if l.how.ToSyslog && level >= l.syslogLevel {
		l.toSyslog(now, level, short, attrs)
	}
	if l.how.ToLogfile && level >= l.fileLevel {
		l.toFile(now.Local().Format(time.Stamp) + " " + l.name + " " + short + "\n")
	}
}

// toSyslog hands a record to the handler itself: its own level is not asked,
// and a line of debug gets through where the configuration wants it.
func (l *Log) toSyslog(now time.Time, level slog.Level, text string, attrs []slog.Attr) {
	r := slog.NewRecord(now, level, text, 0)
	r.AddAttrs(attrs...)
	_ = l.sys.Handler().Handle(context.Background(), r)
}

func (l *Log) toFile(line string) {
	if l.file == nil && !l.fileFailed {
		err := l.env.FS.MkdirAll(path.Dir(l.how.Logfile), 0o755)
		if err == nil {
			l.file, err = l.env.FS.OpenFile(l.how.Logfile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
		}
		if err != nil {
			l.fileFailed = true // said once, until the next Reopen or reload
			l.toSyslog(l.env.Clock.Now(), slog.LevelError, "open the log file: "+err.Error(), nil)
		}
	}
	if l.file != nil {
		io.WriteString(l.file, line)
	}
}

// cut is the first most bytes of s.
func cut(s string, most int) string {
	if len(s) > most {
		return s[:most]
	}
	return s
}

// keep puts a line into the ring.
func (l *Log) keep(line string) {
	if room := dumpSize - len(l.dump); room >= len(line) {
		l.dump = append(l.dump, line...)
		return
	} else if room > 0 {
		l.dump = append(l.dump, line[:room]...)
		line = line[room:]
	}
	for line != "" {
		n := copy(l.dump[l.dumpAt:], line)
		l.dumpAt, line = (l.dumpAt+n)%dumpSize, line[n:]
	}
}

// Dump returns the newest lines, up to 1 MiB, each with its time in seconds
// since 1970.
func (l *Log) Dump() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := append(append(make([]byte, 0, len(l.dump)), l.dump[l.dumpAt:]...), l.dump[:l.dumpAt]...)
	if len(l.dump) == dumpSize { // the oldest line is not whole
		for i, c := range out {
			if c == '\n' {
				return out[i+1:]
			}
		}
	}
	return out
}

// Reopen opens the log file anew: it was rotated.
func (l *Log) Reopen() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file != nil {
		l.file.Close()
	}
	l.file, l.fileFailed = nil, false
}

func (l *Log) close() { l.Reopen() }
