package agents

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/haobox/haobox/platform"
)

// LevelNotice and LevelAlert are the levels between and above slog's own that
// rgmanager's agents use.
const (
	LevelNotice = slog.LevelInfo + 2
	LevelAlert  = slog.LevelError + 8
)

// LogVariable is "parent" in the environment of an agent whose output its
// manager puts into the log itself.
const LogVariable = "HAOBOX_AGENT_LOG"

// Debugf logs what a person looking for a fault wants to see.
func (c *Call) Debugf(format string, args ...any) { c.logf(slog.LevelDebug, format, args...) }

// Infof logs a step of an action.
func (c *Call) Infof(format string, args ...any) { c.logf(slog.LevelInfo, format, args...) }

// Noticef logs what rgmanager's agents log at that level.
func (c *Call) Noticef(format string, args ...any) { c.logf(LevelNotice, format, args...) }

// Warnf logs what is not right but no failure of the action.
func (c *Call) Warnf(format string, args ...any) { c.logf(slog.LevelWarn, format, args...) }

// Errorf logs a failure. Return Quiet after it, or the error instead of it.
func (c *Call) Errorf(format string, args ...any) { c.logf(slog.LevelError, format, args...) }

// Alertf logs what somebody must look at now.
func (c *Call) Alertf(format string, args ...any) { c.logf(LevelAlert, format, args...) }

// failure logs the error of an action. That a resource does not run is no
// fault if Pacemaker only asks.
func (c *Call) failure(err error) {
	var e *Error
	if c.Probe() && errors.As(err, &e) && (e.Code == NotRunning || e.Code == NotInstalled) {
		c.Debugf("%v", err)
		return
	}
	c.Errorf("%v", err)
}

// priority is the word of clulog(8) for a level.
func priority(l slog.Level) string {
	switch {
	case l >= LevelAlert:
		return "alert"
	case l >= slog.LevelError:
		return "err"
	case l >= slog.LevelWarn:
		return "warning"
	case l >= LevelNotice:
		return "notice"
	case l >= slog.LevelInfo:
		return "info"
	}
	return "debug"
}

// Level is the level of a word of clulog(8), as it stands in front of lines
// that agents print; ok is false for other words.
func Level(word string) (l slog.Level, ok bool) {
	switch strings.ToLower(word) {
	case "emerg", "alert":
		return LevelAlert, true
	case "crit":
		return slog.LevelError + 4, true
	case "err", "error":
		return slog.LevelError, true
	case "warning", "warn":
		return slog.LevelWarn, true
	case "notice", "note":
		return LevelNotice, true
	case "info":
		return slog.LevelInfo, true
	case "debug":
		return slog.LevelDebug, true
	}
	return 0, false
}

func (c *Call) logf(level slog.Level, format string, args ...any) {
	// One line each, whatever a program printed.
	text := strings.Join(strings.Fields(fmt.Sprintf(format, args...)), " ")
	if c.Log != nil {
		c.Log(level, text)
		return
	}
	switch c.Dialect {
	case RGManager:
		// As rgmanager's shell agents: to the log in the daemon's name, and
		// on standard output with the level in front.
		if c.Env.Getenv(LogVariable) != "parent" {
			c.send("rgmanager", level, "["+c.Type+"] "+text)
		}
		io.WriteString(c.Env.Stdout, "<"+priority(level)+"> "+text+"\n")
	case OCF:
		// Pacemaker logs standard error; it wants no debug text there.
		c.send(c.Type+"("+c.Name+")", level, text)
		if level > slog.LevelDebug {
			io.WriteString(c.Env.Stderr, strings.ToUpper(priority(level))+": "+c.Type+"("+c.Name+"): "+text+"\n")
		}
	default:
		c.send("rgmanager", level, "["+c.Type+"] "+text)
	}
}

func (c *Call) send(tag string, level slog.Level, text string) {
	log := c.Env.Log
	if log == nil || !log.Enabled(context.Background(), level) {
		return
	}
	log.With(slog.String(platform.AppletKey, tag)).Log(context.Background(), level, text)
}
