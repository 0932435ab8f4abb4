package smapictl

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/haobox/haobox/applets/applet"
	"github.com/haobox/haobox/internal/smapi"
	"github.com/haobox/haobox/platform"
)

// printer prints results as text or as JSON.
type printer struct {
	w    io.Writer
	json bool
	// err is the first fault of w.
	err error
}

// print prints one result: lines of text, or value as one line of JSON. What
// the server sent cannot write to a terminal's controls.
func (p *printer) print(text string, value any) {
	if p.json {
		b, err := json.Marshal(value)
		p.err = errors.Join(p.err, err)
		text = string(b)
	} else {
		text = printable(text)
	}
	if _, err := io.WriteString(p.w, text+"\n"); p.err == nil {
		p.err = err
	}
}

// printable replaces controls, and bytes that are no UTF-8, by dots.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r != '\n' && unicode.IsControl(r) || r == utf8.RuneError {
			return '.'
		}
		return r
	}, text)
}

// result is an answer of the server.
type result struct {
	Function  string   `json:"function"`
	Guest     string   `json:"guest,omitempty"`
	State     string   `json:"state,omitempty"`
	Return    int      `json:"return"`
	Reason    int      `json:"reason"`
	Name      string   `json:"name"`
	Meaning   string   `json:"meaning"`
	System    string   `json:"system,omitempty"`
	RequestID uint32   `json:"request_id,omitempty"`
	Failing   []result `json:"failing,omitempty"`
}

// explain fills the name and the meaning.
func (r *result) explain() {
	r.Guest = strings.ToUpper(r.Guest)
	r.Name, r.Meaning = smapi.Describe(r.Function, r.Return, r.Reason)
	for i := range r.Failing {
		r.Failing[i].explain()
	}
}

// text is one line, and one for each guest of a list that failed.
func (r result) text() string {
	var b strings.Builder
	if r.Guest != "" {
		fmt.Fprintf(&b, "%-8s  ", r.Guest)
	}
	if r.State != "" {
		fmt.Fprintf(&b, "%-9s  ", r.State)
	}
	b.WriteString((&smapi.ResultError{Function: r.Function, Return: r.Return, Reason: r.Reason}).Error())
	if r.System != "" {
		fmt.Fprintf(&b, " (%s)", r.System)
	}
	for _, f := range r.Failing {
		b.WriteString("\n  " + f.text())
	}
	return b.String()
}

// done reports a success.
func (t *tool) done(r result) error {
	r.explain()
	t.log.result(r)
	t.out.print(r.text(), r)
	return nil
}

// refuse reports an answer that is no success and returns its exit status.
func (t *tool) refuse(guest string, fault *smapi.ResultError) error {
	return t.refuseResult(result{Function: fault.Function, Guest: guest, Return: fault.Return, Reason: fault.Reason})
}

func (t *tool) refuseResult(r result) error {
	r.explain()
	t.log.result(r)
	if t.out.json {
		t.out.print("", r)
	} else {
		fmt.Fprintf(t.env.Stderr, "smapictl: %s\n", printable(r.text()))
	}
	return applet.Exit(exitRefused)
}

// finish turns the error of a command into an exit status.
func (t *tool) finish(err error) error {
	var fault *smapi.ResultError
	var exit *applet.ExitError
	switch {
	case errors.As(err, &exit):
		return err
	case errors.As(err, &fault):
		return t.refuse("", fault)
	case errors.Is(err, smapi.ErrRequest):
		return applet.Exitf(exitUsage, "smapictl: %v", err)
	case errors.Is(err, smapi.ErrTimeout):
		return applet.Exitf(exitTransport, "smapictl: %s: %v; --timeout sets the limit", t.server, err)
	case err != nil:
		return applet.Exitf(exitTransport, "smapictl: %s: %v", t.server, err)
	case t.out.err != nil:
		return applet.Exitf(exitTransport, "smapictl: write the output: %v", t.out.err)
	}
	return nil
}

type guestState struct {
	Guest string `json:"guest"`
	State string `json:"state"`
}

type directoryEntry struct {
	Guest      string   `json:"guest"`
	Statements []string `json:"statements"`
}

func lines(l []string) string { return strings.Join(l, "\n") }

type configuration struct {
	Guest      string   `json:"guest"`
	Memory     string   `json:"memory"`
	Share      string   `json:"share"`
	Processors []string `json:"processors"`
	Devices    []string `json:"devices"`
}

func configJSON(guest string, c smapi.ImageConfiguration) configuration {
	out := configuration{
		Guest: strings.ToUpper(guest), Memory: fmt.Sprintf("%d%v", c.Memory, c.MemoryUnit), Share: fmt.Sprintf("%v %s", c.ShareType, c.Share),
		Processors: []string{}, Devices: []string{},
	}
	for _, p := range c.CPUs {
		out.Processors = append(out.Processors, fmt.Sprintf("%d %s %v", p.Number, p.ID, p.State))
	}
	for _, d := range c.Devices {
		out.Devices = append(out.Devices, fmt.Sprintf("%s %v", d.Address, d.Type))
	}
	return out
}

func configText(guest string, c smapi.ImageConfiguration) string {
	v := configJSON(guest, c)
	out := []string{v.Guest, "  memory     " + v.Memory, "  share      " + v.Share}
	for _, p := range v.Processors {
		out = append(out, "  processor  "+p)
	}
	for _, d := range v.Devices {
		out = append(out, "  device     "+d)
	}
	return lines(out)
}

type ssiMember struct {
	Slot              int    `json:"slot"`
	System            string `json:"system"`
	State             string `json:"state"`
	PDRHeartbeat      string `json:"pdr_heartbeat,omitempty"`
	ReceivedHeartbeat string `json:"received_heartbeat,omitempty"`
}

type ssiState struct {
	Name                string      `json:"name"`
	Mode                string      `json:"mode"`
	CrossSystemTimeouts string      `json:"cross_system_timeouts"`
	PDR                 string      `json:"pdr"`
	Members             []ssiMember `json:"members"`
}

func ssiJSON(s smapi.SSI) ssiState {
	out := ssiState{s.Name, s.Mode, s.CrossSystemTimeouts, s.PDR, []ssiMember{}}
	for _, m := range s.Members {
		out.Members = append(out.Members, ssiMember(m))
	}
	return out
}

func ssiText(s smapi.SSI) string {
	out := []string{fmt.Sprintf("%s  %s, cross-system timeouts %s, PDR %s", s.Name, s.Mode, s.CrossSystemTimeouts, s.PDR)}
	for _, m := range s.Members {
		out = append(out, strings.TrimRight(fmt.Sprintf("  %d  %-8s  %-9s  %s  %s", m.Slot, m.System, m.State, m.PDRHeartbeat, m.ReceivedHeartbeat), " "))
	}
	return lines(out)
}

// event is one event as it is printed.
type event struct {
	Time  string `json:"time"`
	Guest string `json:"guest,omitempty"`
	Event string `json:"event,omitempty"`
	Type  int    `json:"type"`
	Data  string `json:"data,omitempty"`
}

// eventsOf takes a message apart: several events of guests, or one that some
// program sent.
func eventsOf(at time.Time, e smapi.Event) []event {
	when := at.Format("2006-01-02T15:04:05.000Z07:00")
	guests, err := smapi.DecodeGuestEvents(e)
	if err != nil {
		return []event{{Time: when, Type: e.Type, Data: hex.EncodeToString(e.Data)}}
	}
	out := make([]event, 0, len(guests))
	for _, g := range guests {
		out = append(out, event{Time: when, Type: e.Type, Guest: g.Guest, Event: g.Kind.String(), Data: hex.EncodeToString(g.Extra)})
	}
	return out
}

func (e event) text() string {
	if e.Guest != "" {
		return strings.TrimRight(fmt.Sprintf("%s  %-8s  %s  %s", e.Time, e.Guest, e.Event, e.Data), " ")
	}
	return fmt.Sprintf("%s  type %d  %s", e.Time, e.Type, e.Data)
}

// traceLog is the log of the RECYCLE EXEC. A nil one logs nothing.
type traceLog struct {
	w     io.Writer
	file  io.Closer // nil for standard output
	clock platform.Clock
	err   error
}

// openTrace starts a log; like the EXEC it replaces the one of the last run.
func openTrace(env platform.Env, name string) (*traceLog, error) {
	if name == "-" {
		return &traceLog{w: env.Stdout, clock: env.Clock}, nil
	}
	f, err := env.FS.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	return &traceLog{w: f, clock: env.Clock, file: f}, nil
}

func (l *traceLog) write(b []byte) {
	if _, err := l.w.Write(b); l.err == nil {
		l.err = err
	}
}

// message logs one message. The client has masked the password.
func (l *traceLog) message(direction byte, data []byte) {
	l.write(smapi.AppendDump(nil, l.clock.Now(), direction, 0, data))
}

// result logs what came of it: the EXEC's line with the two codes.
func (l *traceLog) result(r result) {
	if l != nil {
		l.write(append(smapi.AppendDump(nil, l.clock.Now(), 'L', r.Return, nil), r.text()+"\n"...))
	}
}

// end closes the log and returns its first fault.
func (l *traceLog) end() error {
	if l == nil {
		return nil
	}
	if l.file != nil {
		l.err = errors.Join(l.err, l.file.Close())
	}
	return l.err
}
