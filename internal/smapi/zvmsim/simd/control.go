package simd

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/haobox/haobox/internal/ctl"
	"github.com/haobox/haobox/internal/smapi/zvmsim"
)

// The JSON of the control socket. Durations are text as in "1.5s".

// StatusReply is the answer to GET /v1/status.
type StatusReply struct {
	Version string `json:"version"`
	// Time is that of the simulated systems, Rate how much faster than the
	// machine's their clock runs.
	Time time.Time `json:"time"`
	Rate float64   `json:"rate"`
	// Up is how long the simulator has run.
	Up        string          `json:"up"`
	Endpoints []EndpointReply `json:"endpoints"`
	Members   []MemberReply   `json:"members"`
	Guests    []GuestReply    `json:"guests"`
	Faults    []FaultReply    `json:"faults"`
}

// EndpointReply is one endpoint.
type EndpointReply struct {
	Member   string `json:"member"`
	Endpoint string `json:"endpoint"`
	Peer     string `json:"peer,omitempty"`
	TLS      string `json:"tls,omitempty"`
}

// MemberReply is one member.
type MemberReply struct {
	System  string `json:"system"`
	Name    string `json:"name"`
	SSI     bool   `json:"ssi"`
	State   string `json:"state"`
	Users   int    `json:"users"`
	Workers int    `json:"workers"`
	Busy    int    `json:"busy"`
	Queued  int    `json:"queued"`
	Entries int    `json:"authlist_entries"`
}

// GuestReply is one guest.
type GuestReply struct {
	System     string    `json:"system"`
	Name       string    `json:"name"`
	State      string    `json:"state"`
	Member     string    `json:"member"`
	Since      time.Time `json:"since,omitzero"`
	Deadline   time.Time `json:"deadline,omitzero"`
	Waiting    bool      `json:"waiting_for_hook,omitempty"`
	HookFailed bool      `json:"hook_failed,omitempty"`
	Recycling  bool      `json:"recycling,omitempty"`
}

// GuestRequest is the body of POST /v1/guests/NAME.
type GuestRequest struct {
	// Do is logoff, logon, die, off or on.
	Do string `json:"do"`
	// System and Member are as in zvmsim.LogOn.
	System string `json:"system,omitempty"`
	Member string `json:"member,omitempty"`
}

// MemberRequest is the body of POST /v1/members/NAME.
type MemberRequest struct {
	State string `json:"state"`
}

// AuthorityRequest is the body of PUT /v1/members/NAME/authority: the text of
// both files; a missing AUTHLIST is null.
type AuthorityRequest struct {
	AuthList *string `json:"authlist"`
	NameList string  `json:"namelist,omitempty"`
}

// FaultReply is one rule.
type FaultReply struct {
	ID    int    `json:"id"`
	Fault string `json:"fault"`
	Hits  int    `json:"hits"`
	// Left is how often it will still apply, -1 without end.
	Left int `json:"left"`
}

// FaultRequest is the body of POST /v1/faults.
type FaultRequest struct {
	Fault string `json:"fault"`
}

// TLSRequest is the body of POST /v1/tls.
type TLSRequest struct {
	// Endpoint is as in EndpointReply; "" means all with TLS.
	Endpoint string `json:"endpoint,omitempty"`
	Fault    string `json:"fault"`
}

// ClockRequest is the body of POST /v1/clock.
type ClockRequest struct {
	// Advance lets that much time pass at once; Rate changes the speed.
	Advance string  `json:"advance,omitempty"`
	Rate    float64 `json:"rate,omitempty"`
}

// LogLine is one line of an operator's log.
type LogLine struct {
	// N counts all lines from 1.
	N      int       `json:"n"`
	Time   time.Time `json:"time"`
	Member string    `json:"member"`
	Line   string    `json:"line"`
}

// LogReply is the answer to GET /v1/log?after=N&wait=DURATION: the lines that
// are kept after line N. With wait, an empty answer is held back that long.
type LogReply struct {
	Lines []LogLine `json:"lines"`
}

// maxLogLines is how many lines of the log are kept, and maxWait how long a
// request for more may wait: ours.
const (
	maxLogLines = 10000
	maxWait     = time.Minute
)

// journal keeps the last lines of the operators' logs. Its zero value is
// ready; safe for concurrent use.
type journal struct {
	mu    sync.Mutex
	n     int
	lines []LogLine
	more  chan struct{}
}

func (j *journal) add(t time.Time, member, line string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.n++
	j.lines = append(j.lines, LogLine{j.n, t, member, line})
	if len(j.lines) > maxLogLines {
		j.lines = j.lines[len(j.lines)-maxLogLines:]
	}
	if j.more != nil {
		close(j.more)
		j.more = nil
	}
}

// after returns the lines behind line n, and what tells of the next one.
func (j *journal) after(n int) ([]LogLine, <-chan struct{}) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.more == nil {
		j.more = make(chan struct{})
	}
	i := 0
	for i < len(j.lines) && j.lines[i].N <= n {
		i++
	}
	return append([]LogLine{}, j.lines[i:]...), j.more
}

// serveControl answers on the control socket once everything is open: who has
// an answer can connect to the simulated systems.
func (d *Daemon) serveControl(ctx context.Context) {
	select {
	case <-d.opened:
	case <-ctx.Done():
		return
	}
	if d.cfg.Control == nil {
		<-ctx.Done()
		return
	}
	if err := ctl.Serve(ctx, d.cfg.Control, d.handler()); err != nil {
		d.warn("control socket: %v", err)
	}
}

// handler is the control socket's.
func (d *Daemon) handler() http.Handler {
	mux := http.NewServeMux()
	// do answers with what f returns.
	do := func(pattern string, f func(r *http.Request) (any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			v, err := f(r)
			if err != nil {
				ctl.Fail(w, statusOf(err), err)
				return
			}
			ctl.Reply(w, v)
		})
	}
	do("GET /v1/status", func(*http.Request) (any, error) { return d.status(), nil })
	do("GET /v1/guests", func(*http.Request) (any, error) { return d.status().Guests, nil })
	do("GET /v1/guests/{name}", d.getGuest)
	do("POST /v1/guests/{name}", d.postGuest)
	do("GET /v1/members", func(*http.Request) (any, error) { return d.status().Members, nil })
	do("POST /v1/members/{name}", d.postMember)
	do("PUT /v1/members/{name}/authority", d.putAuthority)
	do("GET /v1/faults", func(*http.Request) (any, error) { return d.status().Faults, nil })
	do("POST /v1/faults", d.postFault)
	do("DELETE /v1/faults", func(*http.Request) (any, error) { return nil, d.event(zvmsim.RemoveFault{}) })
	do("DELETE /v1/faults/{id}", func(r *http.Request) (any, error) {
		id, err := strconv.Atoi(r.PathValue("id"))
		if err != nil || id < 1 {
			return nil, fmt.Errorf("%w: %q", zvmsim.ErrNoFault, r.PathValue("id"))
		}
		return nil, d.event(zvmsim.RemoveFault{ID: id})
	})
	do("POST /v1/tls", d.postTLS)
	do("POST /v1/clock", d.postClock)
	do("GET /v1/log", d.getLog)
	do("POST /v1/stop", func(*http.Request) (any, error) {
		d.stop()
		return nil, nil
	})
	return mux
}

// statusOf is the HTTP status for an error.
func statusOf(err error) int {
	switch {
	case errors.Is(err, zvmsim.ErrNoGuest), errors.Is(err, zvmsim.ErrNoMember), errors.Is(err, zvmsim.ErrNoFault):
		return http.StatusNotFound
	case errors.Is(err, zvmsim.ErrGuestState), errors.Is(err, zvmsim.ErrAmbiguous):
		return http.StatusConflict
	}
	return http.StatusBadRequest
}

// event lets an event happen and returns why it could not.
func (d *Daemon) event(ev zvmsim.Event) error {
	for _, a := range d.server.Do(ev) {
		if r, ok := a.(zvmsim.Refused); ok {
			return r.Err
		}
	}
	return nil
}

func (d *Daemon) status() StatusReply {
	s := StatusReply{
		Version: d.cfg.Version, Rate: d.clock.Rate(), Up: d.cfg.Clock.Now().Sub(d.started).Round(time.Millisecond).String(),
		Endpoints: []EndpointReply{}, Members: []MemberReply{}, Guests: []GuestReply{}, Faults: []FaultReply{},
	}
	for _, e := range d.endpoints {
		r := EndpointReply{Member: e.member, Endpoint: e.text(), Peer: e.Peer}
		if isTLS(e.Text) {
			f, _ := e.faultNow()
			r.TLS = f.String()
		}
		s.Endpoints = append(s.Endpoints, r)
	}
	d.server.View(func(c *zvmsim.Core) {
		s.Time = c.Now()
		for _, m := range c.Members() {
			s.Members = append(s.Members, MemberReply{m.System, m.Name, m.SSI, m.State.String(), m.Users, m.Workers, m.Busy, m.Queued, m.Entries})
		}
		for _, g := range c.Guests() {
			s.Guests = append(s.Guests, guestReply(g))
		}
		for _, f := range c.Faults() {
			s.Faults = append(s.Faults, FaultReply{f.ID, f.Text, f.Hits, f.Left})
		}
	})
	return s
}

func guestReply(g zvmsim.GuestStatus) GuestReply {
	return GuestReply{g.System, g.Name, g.State.String(), g.Member, g.Since, g.Deadline, g.Waiting, g.HookFailed, g.Recycling}
}

// getGuest is GET /v1/guests/NAME?system=NAME&state=STATE&wait=DURATION: with
// a state the answer is held back until the guest is in it, at most that long.
func (d *Daemon) getGuest(r *http.Request) (any, error) {
	q := r.URL.Query()
	wait, err := waitTime(q.Get("wait"))
	if err != nil {
		return nil, err
	}
	due, stop := d.cfg.Clock.After(wait)
	defer stop()
	for {
		d.mu.Lock()
		changed := d.guests
		d.mu.Unlock()
		g, err := d.guest(q.Get("system"), r)
		if err != nil || q.Get("state") == "" || strings.EqualFold(g.State, q.Get("state")) {
			return g, err
		}
		select {
		case <-changed:
		case <-due:
			return g, nil
		case <-r.Context().Done():
			return g, nil
		}
	}
}

// waitTime reads how long an answer may be held back.
func waitTime(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("wait=%q is not a duration such as 30s", text)
	}
	return min(d, maxWait), nil
}

func (d *Daemon) guest(system string, r *http.Request) (GuestReply, error) {
	var g zvmsim.GuestStatus
	var err error
	d.server.View(func(c *zvmsim.Core) { g, err = c.Guest(system, r.PathValue("name")) })
	return guestReply(g), err
}

func (d *Daemon) postGuest(r *http.Request) (any, error) {
	var in GuestRequest
	if err := ctl.Read(r, &in); err != nil {
		return nil, err
	}
	name := r.PathValue("name")
	var ev zvmsim.Event
	switch in.Do {
	case "logoff":
		ev = zvmsim.LogOff{System: in.System, Guest: name}
	case "logon":
		ev = zvmsim.LogOn{System: in.System, Guest: name, Member: in.Member}
	case "die":
		ev = zvmsim.Die{System: in.System, Guest: name}
	case "off":
		ev = zvmsim.SetGuest{System: in.System, Guest: name, State: zvmsim.Off}
	case "on":
		ev = zvmsim.SetGuest{System: in.System, Guest: name, Member: in.Member, State: zvmsim.On}
	default:
		return nil, fmt.Errorf("%q is not one of logoff, logon, die, off and on", in.Do)
	}
	if err := d.event(ev); err != nil {
		return nil, err
	}
	return d.guest(in.System, r)
}

func (d *Daemon) postMember(r *http.Request) (any, error) {
	var in MemberRequest
	if err := ctl.Read(r, &in); err != nil {
		return nil, err
	}
	state, err := zvmsim.ParseMemberState(in.State)
	if err != nil {
		return nil, err
	}
	if err := d.event(zvmsim.SetMember{Member: r.PathValue("name"), State: state}); err != nil {
		return nil, err
	}
	return nil, d.settle(r.Context())
}

func (d *Daemon) putAuthority(r *http.Request) (any, error) {
	var in AuthorityRequest
	if err := ctl.Read(r, &in); err != nil {
		return nil, err
	}
	ev := zvmsim.SetAuthority{Member: r.PathValue("name"), NameList: []byte(in.NameList)}
	if in.AuthList != nil {
		ev.AuthList = []byte(*in.AuthList)
	}
	// Lines that match nothing are told to who sent them.
	reply := struct {
		Warnings []string `json:"warnings"`
	}{[]string{}}
	for _, a := range d.server.Do(ev) {
		switch a := a.(type) {
		case zvmsim.Refused:
			return nil, a.Err
		case zvmsim.Warning:
			reply.Warnings = append(reply.Warnings, a.Text)
		}
	}
	return reply, nil
}

func (d *Daemon) postFault(r *http.Request) (any, error) {
	var in FaultRequest
	if err := ctl.Read(r, &in); err != nil {
		return nil, err
	}
	f, err := zvmsim.ParseFault(in.Fault)
	if err != nil {
		return nil, err
	}
	reply := FaultReply{Fault: in.Fault, Left: f.Count}
	if f.Count == 0 {
		reply.Left = -1
	}
	for _, a := range d.server.Do(zvmsim.AddFault{Fault: f}) {
		if a, ok := a.(zvmsim.FaultAdded); ok {
			reply.ID = a.ID
		}
	}
	return reply, nil
}

func (d *Daemon) postTLS(r *http.Request) (any, error) {
	var in TLSRequest
	if err := ctl.Read(r, &in); err != nil {
		return nil, err
	}
	f, err := ParseTLSFault(in.Fault)
	if err != nil {
		return nil, err
	}
	n := 0
	for _, e := range d.endpoints {
		if isTLS(e.Text) && (in.Endpoint == "" || in.Endpoint == e.text() || in.Endpoint == e.Text) {
			e.setFault(f)
			n++
		}
	}
	if n == 0 {
		return nil, fmt.Errorf("there is no endpoint %q with TLS", in.Endpoint)
	}
	return nil, d.settle(r.Context())
}

func (d *Daemon) postClock(r *http.Request) (any, error) {
	var in ClockRequest
	if err := ctl.Read(r, &in); err != nil {
		return nil, err
	}
	if in.Rate != 0 {
		if err := d.clock.SetRate(in.Rate); err != nil {
			return nil, err
		}
	}
	if in.Advance != "" {
		by, err := time.ParseDuration(in.Advance)
		if err != nil {
			return nil, fmt.Errorf("advance %q is not a duration such as 30s or 5m", in.Advance)
		}
		if err := d.clock.Advance(by); err != nil {
			return nil, err
		}
	}
	d.server.Do(zvmsim.Tick{})
	return struct {
		Time time.Time `json:"time"`
		Rate float64   `json:"rate"`
	}{d.clock.Now(), d.clock.Rate()}, nil
}

func (d *Daemon) getLog(r *http.Request) (any, error) {
	q := r.URL.Query()
	var after int
	wait, err := waitTime(q.Get("wait"))
	if err != nil {
		return nil, err
	}
	if q.Get("after") != "" {
		if after, err = strconv.Atoi(q.Get("after")); err != nil {
			return nil, fmt.Errorf("after=%q is not a number", q.Get("after"))
		}
	}
	lines, more := d.log.after(after)
	if len(lines) == 0 && wait > 0 {
		due, stop := d.cfg.Clock.After(wait)
		defer stop()
		select {
		case <-more:
		case <-due:
		case <-r.Context().Done():
		}
		lines, _ = d.log.after(after)
	}
	return LogReply{lines}, nil
}
