package zvm

import (
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/haobox/haobox/internal/fenceagent"
	"github.com/haobox/haobox/internal/smapi"
	"github.com/haobox/haobox/platform"
)

// logger writes what an agent has to say: to standard error in the Python
// agents' form, to syslog, and to the debug file. It never writes a password:
// it is not given one.
type logger struct {
	clock  platform.Clock
	stderr io.Writer
	syslog *slog.Logger
	quiet  bool
	// level is verbose_level: 1 shows what is done, 2 every message.
	level int
	debug io.Writer // nil without a debug file
}

// line writes one line to the debug file, and to standard error if show.
func (l *logger) line(show bool, level, text string) {
	s := fenceagent.LogLine(l.clock.Now(), level, text)
	if show {
		_, _ = io.WriteString(l.stderr, s)
	}
	if l.debug != nil {
		_, _ = io.WriteString(l.debug, s)
	}
}

// fail says why the agent fails: the text that scripts know, and on a line
// of its own the detail.
func (l *logger) fail(text, detail string) {
	l.line(!l.quiet, "ERROR", text)
	if detail != "" {
		l.line(!l.quiet, "ERROR", detail)
	}
	l.syslog.Error(text, slog.String("detail", detail))
}

func (l *logger) warn(text string) {
	l.line(!l.quiet, "WARNING", text)
	l.syslog.Warn(text)
}

// hint is for the log of the system only: it is not about this action.
func (l *logger) hint(text string) {
	l.line(l.level > 0, "INFO", text)
	l.syslog.Info(text)
}

// done records a success.
func (l *logger) done(text string, attrs ...any) {
	l.syslog.Info(text, attrs...)
	l.line(l.level > 0, "INFO", text)
}

func (l *logger) note(text string) { l.line(l.level > 0, "DEBUG", text) }

// exchange records one request and what became of it.
func (l *logger) exchange(member string, req smapi.Request, a Answer, took time.Duration) {
	if l.level == 0 && l.debug == nil {
		return
	}
	what := fmt.Sprintf("%s: %s %s", member, req.Function, req.Target)
	if a.Err != nil {
		l.note(fmt.Sprintf("%s: %v (%v)", what, a.Err, took.Round(time.Millisecond)))
		return
	}
	name, meaning := smapi.Describe(req.Function, a.Return, a.Reason)
	l.note(fmt.Sprintf("%s: %d/%d %s: %s (%v)", what, a.Return, a.Reason, name, meaning, took.Round(time.Millisecond)))
}

// trace records the bytes of a message; the client has masked the password.
func (l *logger) trace(direction byte, data []byte) {
	if l.level > 1 || l.debug != nil {
		l.line(l.level > 1, "DEBUG", fmt.Sprintf("%c %x", direction, data))
	}
}
