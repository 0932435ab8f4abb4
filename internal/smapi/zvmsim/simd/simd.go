// Package simd is the simulator of z/VM as a running service: what is between
// the applet smapid and the simulated systems of package zvmsim. It keeps the
// listeners of every member, runs the hooks of guests, remembers the state in a
// file, writes the audit, and answers on the control socket.
//
// It opens nothing itself: listeners come from a Network, programs are started
// by a platform.Runner, files are those of a platform.FS.
//
// When it ends, it ends in this order: listeners and connections, hooks, the
// control socket, the last state.
package simd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/haobox/haobox/internal/smapi/zvmsim"
	"github.com/haobox/haobox/platform"
)

// Setup is everything that the configuration says.
type Setup struct {
	Sim       zvmsim.Config
	Endpoints []Endpoint

	// OnLogoff and OnLogon are the hooks of guests without an entry in Guests.
	OnLogoff, OnLogon Command
	Guests            []GuestHooks
	// HookLimit bounds each hook; 0 means DefaultHookLimit.
	HookLimit time.Duration

	// ClockRate is how much faster than the machine's the clock runs; 0 means 1.
	ClockRate float64

	// Control is the path of the control socket; "" for none.
	Control string
	// StateFile remembers guests and members, AuditFile gets a JSON line per
	// request, ReadyFile the lines that are printed at the start, CAFile the
	// certificates that clients have to trust. "" for none.
	StateFile, AuditFile, ReadyFile, CAFile string
	// Certificate is for the endpoints with TLS.
	Certificate Certificate
}

// Certificate says which certificate endpoints with TLS show.
type Certificate struct {
	// CertFile and KeyFile are PEM files; without them one is made.
	CertFile, KeyFile string
	// Names are the names in one that is made; none means this machine's.
	Names []string
}

// TLSFault is what is wrong with the TLS of an endpoint.
type TLSFault int

const (
	// TLSGood: nothing.
	TLSGood TLSFault = iota
	// TLSExpired: the certificate is out of its time.
	TLSExpired
	// TLSWrongHost: the certificate is for another host.
	TLSWrongHost
	// TLSUnknownCA: the certificate is not among those of Setup.CAFile.
	TLSUnknownCA
	// TLSOld: only TLS 1.1 is spoken.
	TLSOld
	// TLSPlain: no TLS is spoken.
	TLSPlain
)

var tlsFaults = []string{"none", "expired", "wrong-host", "unknown-ca", "tls1.1", "plain"}

// TLSFaults returns the names of the faults.
func TLSFaults() []string { return tlsFaults }

// String returns the name.
func (f TLSFault) String() string { return tlsFaults[f] }

// ParseTLSFault is the reverse of String.
func ParseTLSFault(name string) (TLSFault, error) {
	if i := slices.Index(tlsFaults, name); i >= 0 {
		return TLSFault(i), nil
	}
	return 0, fmt.Errorf("TLS fault %q is not one of %s", name, strings.Join(tlsFaults, ", "))
}

// Network opens listeners and knows its connections.
type Network interface {
	// Listen listens at an endpoint. actual is its text with the port it
	// really has; certificate is what clients have to trust, in PEM form, nil
	// without TLS.
	Listen(ctx context.Context, endpoint string, cert Certificate, fault TLSFault) (l net.Listener, actual string, certificate []byte, err error)
	// PeerName is the user id that the transport vouches for.
	PeerName(conn net.Conn) (name string, ok bool)
	// Reset ends a connection without an orderly close, where it can.
	Reset(conn net.Conn)
	// Backlog limits how many connections wait to be accepted, where it can.
	Backlog(l net.Listener, n int)
}

// Config is what a Daemon stands on.
type Config struct {
	Setup
	Network Network
	Runner  platform.Runner
	FS      platform.FS
	// Clock is the machine's.
	Clock platform.Clock
	// Environ is the environment of hooks, without their own variables.
	Environ []string
	// Control is the listener of the control socket, nil for none.
	Control net.Listener
	// Out gets what was opened, Log the operators' logs, Err warnings.
	Out, Log, Err io.Writer
	// Version is told on the control socket.
	Version string
	// Ready is called when everything is open.
	Ready func()
}

// Daemon is a running simulator.
type Daemon struct {
	cfg    Config
	clock  *Clock
	server *zvmsim.Server
	hooks  hooks
	log    journal
	// started is when it was started, by the machine's clock.
	started time.Time

	endpoints []*endpoint

	audit platform.File
	dirty chan struct{}
	stop  context.CancelFunc

	mu sync.Mutex
	// members are the states as told by the core, for the endpoints.
	members []memberState
	// opened is closed when all endpoints are open.
	opened chan struct{}
	// guests is closed when a guest changes its state.
	guests chan struct{}
	// hookCtx ends the hooks.
	hookCtx context.Context
	// outMu keeps lines whole.
	outMu sync.Mutex
}

// memberState is what the endpoints of a member have to know.
type memberState struct {
	name  string
	state zvmsim.MemberState
	// changed is closed when state changes.
	changed chan struct{}
}

// Run runs a simulator until ctx is done or it is told to stop on its control
// socket. The error says why it could not start or go on.
func Run(ctx context.Context, cfg Config) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	d := &Daemon{cfg: cfg, dirty: make(chan struct{}, 1), guests: make(chan struct{}), opened: make(chan struct{}), stop: cancel, started: cfg.Clock.Now()}
	if d.clock, err = NewClock(cfg.Clock, cfg.ClockRate); err != nil {
		return fmt.Errorf("clock rate %v: %w", cfg.ClockRate, err)
	}
	if err := d.prepareHooks(); err != nil {
		return err
	}
	core, warnings, err := zvmsim.New(d.cfg.Sim)
	if err != nil {
		return err
	}
	kept, err := d.restore(core)
	if err != nil {
		return err
	}
	for _, w := range append(warnings, kept...) {
		d.warn("%s", w.Text)
	}
	for _, m := range core.Members() {
		d.members = append(d.members, memberState{m.Name, m.State, make(chan struct{})})
	}
	if cfg.AuditFile != "" {
		d.audit, err = cfg.FS.OpenFile(cfg.AuditFile, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
		if err != nil {
			return fmt.Errorf("open the audit: %w", err)
		}
		defer d.audit.Close()
	}

	hookCtx, endHooks := context.WithCancel(context.Background())
	defer endHooks()
	d.hookCtx = hookCtx
	d.server = zvmsim.NewServer(core, zvmsim.ServerConfig{Clock: d.clock, Wall: cfg.Clock, Observe: d.observe})
	defer d.server.Close()
	d.server.Do(zvmsim.Tick{})

	// What is started last is ended first.
	save := d.background(context.Background(), d.saveStates)
	defer save()
	control := d.background(context.Background(), d.serveControl)
	defer control()
	defer func() {
		endHooks()
		d.hooks.wg.Wait()
	}()
	netCtx, endNet := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer endNet()
	if err := d.open(netCtx); err != nil {
		return err
	}
	for _, e := range d.endpoints {
		wg.Go(func() { e.serve(netCtx) })
	}
	if err := d.ready(); err != nil {
		return err
	}
	close(d.opened)
	<-ctx.Done()
	if cfg.ReadyFile != "" {
		cfg.FS.Remove(cfg.ReadyFile)
	}
	return nil
}

// background starts f and returns what ends it and waits for that.
func (d *Daemon) background(ctx context.Context, f func(context.Context)) (end func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		f(ctx)
	}()
	return func() {
		cancel()
		<-done
	}
}

// print writes a line to Out.
func (d *Daemon) print(format string, args ...any) {
	d.outMu.Lock()
	defer d.outMu.Unlock()
	fmt.Fprintf(d.cfg.Out, format+"\n", args...)
}

// warn writes a warning to Err.
func (d *Daemon) warn(format string, args ...any) {
	d.outMu.Lock()
	defer d.outMu.Unlock()
	fmt.Fprintf(d.cfg.Err, "smapid: "+format+"\n", args...)
}

// prepareHooks tells the core which guests have hooks.
func (d *Daemon) prepareHooks() error {
	s := &d.cfg.Setup
	for _, h := range s.Guests {
		n := 0
		for _, sys := range s.Sim.Systems {
			for _, g := range sys.Guests {
				if matchesGuest(h, sys.Name, g.Name) {
					n++
				}
			}
		}
		if n != 1 {
			return fmt.Errorf("hooks of guest %q: there are %d guests of this name; name the system of one", h.Guest, n)
		}
	}
	s.Sim.Systems = slices.Clone(s.Sim.Systems)
	for i := range s.Sim.Systems {
		sys := &s.Sim.Systems[i]
		sys.Guests = slices.Clone(sys.Guests)
		for j := range sys.Guests {
			g := &sys.Guests[j]
			g.LogoffHook = !d.command(zvmsim.Hook{System: sys.Name, Guest: g.Name, Event: zvmsim.Off}).IsZero()
			g.LogonHook = !d.command(zvmsim.Hook{System: sys.Name, Guest: g.Name, Event: zvmsim.On}).IsZero()
		}
	}
	d.hooks = hooks{
		runner: d.cfg.Runner, limit: s.HookLimit, environ: d.cfg.Environ, command: d.command,
		done:   func(ev zvmsim.HookDone) { d.server.Do(ev) },
		log:    d.warn,
		queues: map[string][]zvmsim.Hook{},
	}
	if d.hooks.limit == 0 {
		d.hooks.limit = DefaultHookLimit
	}
	return nil
}

func matchesGuest(h GuestHooks, system, guest string) bool {
	return strings.EqualFold(h.Guest, guest) && (h.System == "" || strings.EqualFold(h.System, system))
}

// command is the command for a hook.
func (d *Daemon) command(h zvmsim.Hook) Command {
	off, on := d.cfg.OnLogoff, d.cfg.OnLogon
	for _, g := range d.cfg.Guests {
		if matchesGuest(g, h.System, h.Guest) {
			if !g.OnLogoff.IsZero() {
				off = g.OnLogoff
			}
			if !g.OnLogon.IsZero() {
				on = g.OnLogon
			}
		}
	}
	if h.Event == zvmsim.Off {
		return off
	}
	return on
}

// observe sees every action of the core, with the core locked.
func (d *Daemon) observe(a zvmsim.Action) {
	switch a := a.(type) {
	case zvmsim.Operator:
		d.log.add(a.Time, a.Member, a.Line)
		d.outMu.Lock()
		fmt.Fprintf(d.cfg.Log, "%s%s\n", d.logPrefix(a.Member), a.Line)
		d.outMu.Unlock()
	case zvmsim.Warning:
		d.warn("%s", a.Text)
	case zvmsim.Audit:
		d.writeAudit(a)
	case zvmsim.Hook:
		d.hooks.add(d.hookCtx, a)
	case zvmsim.Changed:
		d.touch()
		d.guestChanged()
	case zvmsim.MemberChanged:
		d.setMember(a.Member, a.State)
		d.touch()
	}
}

// logPrefix names the member in front of a log line if there are several.
func (d *Daemon) logPrefix(member string) string {
	if len(d.members) > 1 {
		return member + " | "
	}
	return ""
}

func (d *Daemon) setMember(name string, state zvmsim.MemberState) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range d.members {
		if m := &d.members[i]; m.name == name {
			m.state = state
			close(m.changed)
			m.changed = make(chan struct{})
		}
	}
}

// guestChanged wakes those who wait for a guest.
func (d *Daemon) guestChanged() {
	d.mu.Lock()
	defer d.mu.Unlock()
	close(d.guests)
	d.guests = make(chan struct{})
}

// memberNow returns the state of a member and what tells of a change.
func (d *Daemon) memberNow(name string) (zvmsim.MemberState, <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range d.members {
		if m := &d.members[i]; strings.EqualFold(m.name, name) || name == "" && i == 0 {
			return m.state, m.changed
		}
	}
	return zvmsim.MemberDown, nil
}

// auditLine is one line of the audit.
type auditLine struct {
	Time      time.Time `json:"time"`
	Member    string    `json:"member"`
	Peer      string    `json:"peer,omitempty"`
	Remote    string    `json:"remote,omitempty"`
	Worker    string    `json:"worker,omitempty"`
	RequestID uint32    `json:"request_id,omitempty"`
	Function  string    `json:"function"`
	User      string    `json:"user"`
	Target    string    `json:"target,omitempty"`
	Return    int       `json:"rc"`
	Reason    int       `json:"rs"`
	LatencyMS float64   `json:"latency_ms"`
	Answered  bool      `json:"answered"`
	Executed  bool      `json:"executed"`
	Fault     int       `json:"fault,omitempty"`
}

// writeAudit writes before the answer is sent, so that who has the answer
// finds the line.
func (d *Daemon) writeAudit(a zvmsim.Audit) {
	if d.audit == nil {
		return
	}
	line, err := json.Marshal(auditLine{
		Time: a.Time, Member: a.Member, Peer: a.Peer, Remote: a.Remote, Worker: a.Worker, RequestID: a.RequestID,
		Function: a.Function, User: a.User, Target: a.Target, Return: a.Return, Reason: a.Reason,
		LatencyMS: float64(a.Latency) / float64(time.Millisecond), Answered: a.Answered, Executed: a.Executed, Fault: a.Fault,
	})
	if err == nil {
		_, err = d.audit.Write(append(line, '\n'))
	}
	if err != nil {
		d.warn("write the audit: %v", err)
	}
}

// restore brings the core to the state that was kept, if there is one.
func (d *Daemon) restore(core *zvmsim.Core) ([]zvmsim.Warning, error) {
	if d.cfg.StateFile == "" {
		return nil, nil
	}
	text, err := d.cfg.FS.ReadFile(d.cfg.StateFile)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the kept state: %w", err)
	}
	var snap zvmsim.Snapshot
	if err := json.Unmarshal(text, &snap); err != nil {
		return nil, fmt.Errorf("read the kept state %s: %w; remove the file to start anew", d.cfg.StateFile, err)
	}
	if snap.Version != 1 {
		return nil, fmt.Errorf("read the kept state %s: version %d is not 1; remove the file to start anew", d.cfg.StateFile, snap.Version)
	}
	return core.Restore(d.clock.Now(), snap), nil
}

// touch asks for the state to be kept.
func (d *Daemon) touch() {
	select {
	case d.dirty <- struct{}{}:
	default:
	}
}

// saveStates keeps the state whenever it has changed, and at the end.
func (d *Daemon) saveStates(ctx context.Context) {
	if d.cfg.StateFile == "" {
		<-ctx.Done()
		return
	}
	for ctx.Err() == nil {
		select {
		case <-d.dirty:
		case <-ctx.Done():
		}
		var snap zvmsim.Snapshot
		d.server.View(func(c *zvmsim.Core) { snap = c.Snapshot() })
		text, err := json.MarshalIndent(snap, "", "  ")
		if err == nil {
			err = d.cfg.FS.WriteFile(d.cfg.StateFile, append(text, '\n'), 0o600)
		}
		if err != nil {
			d.warn("keep the state: %v", err)
		}
	}
}

// ready says what is open, in the ready file and on Out.
func (d *Daemon) ready() error {
	var b strings.Builder
	for _, e := range d.endpoints {
		fmt.Fprintf(&b, "listen %s %s\n", e.member, e.text())
	}
	if d.cfg.Control != nil {
		fmt.Fprintf(&b, "control unix:%s\n", d.cfg.Setup.Control)
	}
	d.print("%sready", b.String())
	if d.cfg.ReadyFile != "" {
		if err := d.cfg.FS.WriteFile(d.cfg.ReadyFile, []byte(b.String()), 0o644); err != nil {
			return fmt.Errorf("write the ready file: %w", err)
		}
	}
	if d.cfg.Ready != nil {
		d.cfg.Ready()
	}
	return nil
}
