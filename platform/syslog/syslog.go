// Package syslog is the slog handler of haobox: records go to the journal
// when standard error is connected to it, else to syslog. Nothing is opened
// before the first record, and a logging daemon that is missing or stuck
// never holds up the caller.
package syslog

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/coreos/go-systemd/v22/journal"

	"github.com/haobox/haobox/platform"
)

// Handler sends records to the journal or syslog. Safe for concurrent use;
// copies made by WithAttrs share one connection.
type Handler struct {
	sink     *sink
	tag      string
	facility string
	attrs    []slog.Attr
	prefix   string
	fields   bool
}

// NewHandler returns a handler; stderr decides between journal and syslog.
func NewHandler(stderr *os.File) *Handler {
	return &Handler{sink: &sink{stderr: stderr}, tag: "haobox"}
}

// Enabled reports true from slog.LevelInfo on.
func (h *Handler) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelInfo }

// WithAttrs adds attributes; platform.AppletKey sets the tag,
// platform.FacilityKey the facility, which is daemon without it, and
// platform.FieldsKey keeps the attributes out of the text.
func (h *Handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	n := *h
	n.attrs = append([]slog.Attr(nil), h.attrs...)
	for _, a := range attrs {
		switch a.Key {
		case platform.AppletKey:
			n.tag = a.Value.String()
			continue
		case platform.FacilityKey:
			n.facility = a.Value.String()
			continue
		case platform.FieldsKey:
			n.fields = true
			continue
		}
		a.Key = h.prefix + a.Key
		n.attrs = append(n.attrs, a)
	}
	return &n
}

// WithGroup prefixes the keys that follow with name and a full stop.
func (h *Handler) WithGroup(name string) slog.Handler {
	n := *h
	n.prefix = h.prefix + name + "."
	return &n
}

// Handle sends one record. A record that cannot be delivered is dropped:
// logging must never change the result of what is logged.
func (h *Handler) Handle(_ context.Context, r slog.Record) error {
	attrs := append([]slog.Attr(nil), h.attrs...)
	r.Attrs(func(a slog.Attr) bool {
		a.Key = h.prefix + a.Key
		attrs = append(attrs, a)
		return true
	})
	text := r.Message
	if !h.fields {
		text = Text(text, attrs)
	}
	h.sink.send(h.tag, facility(h.facility), r.Level, text, attrs)
	return nil
}

// Text is the message with its attributes as key=value, as it stands in a
// syslog line; values with blanks or quotes are quoted.
func Text(msg string, attrs []slog.Attr) string {
	var b strings.Builder
	b.WriteString(msg)
	for _, a := range attrs {
		v := a.Value.Resolve().String()
		if v == "" || strings.ContainsAny(v, " \t\n\r\"=") {
			v = strconv.Quote(v)
		}
		fmt.Fprintf(&b, " %s=%s", a.Key, v)
	}
	return b.String()
}

// sink is the shared connection.
type sink struct {
	stderr *os.File
	mu     sync.Mutex
	opened bool
	out    writer
}

// writer sends one line with a level.
type writer interface {
	write(tag string, facility int, l slog.Level, text string) error
}

func (s *sink) send(tag string, facility int, l slog.Level, text string, attrs []slog.Attr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stderr != nil && stderrIsJournal(s.stderr) {
		fields := map[string]string{"SYSLOG_IDENTIFIER": tag, "SYSLOG_FACILITY": strconv.Itoa(facility)}
		for _, a := range attrs {
			fields[fieldName(a.Key)] = a.Value.Resolve().String()
		}
		if journal.Send(text, journalPriority(l), fields) == nil {
			return
		}
	}
	if !s.opened {
		s.out, s.opened = dial(), true
	}
	if s.out != nil {
		_ = s.out.write(tag, facility, l, text)
	}
}

// fieldName turns an attribute key into a journal field: upper case letters,
// digits and underscores, not starting with an underscore or digit.
func fieldName(key string) string {
	b := []byte(strings.ToUpper(key))
	for i, c := range b {
		if (c < 'A' || c > 'Z') && (c < '0' || c > '9') {
			b[i] = '_'
		}
	}
	name := strings.TrimLeft(string(b), "_0123456789")
	if name == "" {
		return "FIELD"
	}
	return name
}

func journalPriority(l slog.Level) journal.Priority {
	switch {
	case l >= slog.LevelError+4:
		return journal.PriCrit
	case l >= slog.LevelError:
		return journal.PriErr
	case l >= slog.LevelWarn:
		return journal.PriWarning
	case l >= slog.LevelInfo:
		return journal.PriInfo
	}
	return journal.PriDebug
}
