package simd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/haobox/haobox/internal/smapi"
	"github.com/haobox/haobox/internal/smapi/zvmsim"
)

// maxConns is how many connections an endpoint serves at a time; more are
// closed at once. Ours: agents of a large cluster come nowhere near.
const maxConns = 512

// reopenPause is the time between attempts to open a listener again, ours.
const reopenPause = 200 * time.Millisecond

// Endpoint is where a member can be reached.
type Endpoint struct {
	// Text is the endpoint as for a listener: tcp:HOST:PORT, tls:HOST:PORT,
	// unix:PATH, vsock:PORT, iucv:PROGRAM.
	Text string
	// Member is whose server it is; "" means the first.
	Member string
	// Peer is the user id that CP vouches for on all its connections: what
	// makes a unix or vsock socket stand for IUCV.
	Peer string
	TLS  TLSFault
}

// ErrEndpoint: the text is no endpoint with its options.
var ErrEndpoint = errors.New("bad endpoint")

// ParseEndpoint reads an endpoint with its options, in the form
// ENDPOINT[,member=NAME][,peer=USERID][,tls=FAULT].
func ParseEndpoint(text string) (Endpoint, error) {
	parts := strings.Split(text, ",")
	e := Endpoint{Text: parts[0]}
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("%w %q: %s", ErrEndpoint, text, fmt.Sprintf(format, args...)))
	}
	if e.Text == "" {
		bad("it is empty; it is tcp:HOST:PORT, tls:HOST:PORT, unix:PATH, vsock:PORT or iucv:PROGRAM")
	}
	for _, p := range parts[1:] {
		key, value, _ := strings.Cut(p, "=")
		var err error
		switch {
		case value == "":
			bad("%q is not key=value", p)
		case key == "member":
			e.Member = value
		case key == "peer":
			if !smapi.ValidUserID(strings.ToUpper(value)) {
				bad("peer %q is not a user id", value)
			}
			e.Peer = strings.ToUpper(value)
		case key == "tls":
			if e.TLS, err = ParseTLSFault(value); err != nil {
				bad("%v", err)
			}
		default:
			bad("unknown option %q; known are member, peer and tls", key)
		}
	}
	if e.TLS != TLSGood && !isTLS(e.Text) {
		bad("tls= is for an endpoint with tls:")
	}
	return e, errors.Join(errs...)
}

func isTLS(endpoint string) bool { return strings.HasPrefix(endpoint, "tls") }

// endpoint is an Endpoint that is served.
type endpoint struct {
	d *Daemon
	Endpoint
	member string

	mu sync.Mutex
	// actual is the text with the real port, once that is known.
	actual string
	fault  TLSFault
	// certificate is what clients have to trust.
	certificate []byte
	// changed is closed when fault changes.
	changed chan struct{}
	// open says that connections are taken, with the fault openFault;
	// settled is closed when one of them changes.
	open      bool
	openFault TLSFault
	settled   chan struct{}
	// first is the listener that was opened at the start.
	first net.Listener
}

func (e *endpoint) text() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.actual
}

// open opens all endpoints; those of members that are down as well, so that
// their ports are known.
func (d *Daemon) open(ctx context.Context) error {
	for _, cfg := range d.cfg.Endpoints {
		e := &endpoint{d: d, Endpoint: cfg, actual: cfg.Text, fault: cfg.TLS, changed: make(chan struct{}), settled: make(chan struct{})}
		for i, m := range d.members {
			if strings.EqualFold(m.name, cfg.Member) || cfg.Member == "" && i == 0 {
				e.member = m.name
			}
		}
		if e.member == "" {
			d.closeFirst()
			return fmt.Errorf("listen at %s: there is no member %q", cfg.Text, cfg.Member)
		}
		l, _, err := e.listen(ctx)
		if err != nil {
			d.closeFirst()
			return fmt.Errorf("listen at %s: %w", cfg.Text, err)
		}
		e.first = l
		d.endpoints = append(d.endpoints, e)
	}
	return d.writeCA()
}

// closeFirst closes what was opened before something else could not be.
func (d *Daemon) closeFirst() {
	for _, e := range d.endpoints {
		e.first.Close()
	}
}

// listen opens the listener and says with which fault.
func (e *endpoint) listen(ctx context.Context) (l net.Listener, fault TLSFault, err error) {
	e.mu.Lock()
	text, fault := e.actual, e.fault
	e.mu.Unlock()
	l, actual, certificate, err := e.d.cfg.Network.Listen(ctx, text, e.d.cfg.Certificate, fault)
	if err != nil {
		return nil, fault, err
	}
	e.mu.Lock()
	e.actual = actual
	if certificate != nil && fault != TLSUnknownCA {
		e.certificate = certificate
	}
	e.mu.Unlock()
	return l, fault, nil
}

// writeCA writes the certificates of all endpoints.
func (d *Daemon) writeCA() error {
	if d.cfg.CAFile == "" {
		return nil
	}
	var all bytes.Buffer
	for _, e := range d.endpoints {
		e.mu.Lock()
		all.Write(e.certificate)
		e.mu.Unlock()
	}
	if err := d.cfg.FS.WriteFile(d.cfg.CAFile, all.Bytes(), 0o644); err != nil {
		return fmt.Errorf("write the certificates: %w", err)
	}
	return nil
}

// setFault changes what is wrong with the TLS of an endpoint.
func (e *endpoint) setFault(f TLSFault) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.fault = f
	close(e.changed)
	e.changed = make(chan struct{})
}

func (e *endpoint) faultNow() (TLSFault, <-chan struct{}) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.fault, e.changed
}

// isOpen notes whether connections are taken.
func (e *endpoint) isOpen(open bool, fault TLSFault) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.open != open || e.openFault != fault {
		e.open, e.openFault = open, fault
		close(e.settled)
		e.settled = make(chan struct{})
	}
}

// settleLimit bounds the wait for listeners to be opened and closed: ours.
const settleLimit = 5 * time.Second

// settle waits until the endpoints are as their members and faults say, so
// that who asked for a change sees it.
func (d *Daemon) settle(ctx context.Context) error {
	due, stop := d.cfg.Clock.After(settleLimit)
	defer stop()
	for _, e := range d.endpoints {
		for {
			state, _ := d.memberNow(e.member)
			e.mu.Lock()
			done := e.open == !closed(state) && (!e.open || e.openFault == e.fault)
			settled := e.settled
			e.mu.Unlock()
			if done {
				break
			}
			select {
			case <-settled:
			case <-due:
				return fmt.Errorf("the listener at %s did not change within %v", e.text(), settleLimit)
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	return nil
}

// closed reports whether nobody listens for a member in that state.
func closed(s zvmsim.MemberState) bool {
	return s == zvmsim.MemberDown || s == zvmsim.MemberNoService
}

// serve accepts connections while the member is there, until ctx is done.
func (e *endpoint) serve(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	l, fault := e.first, e.TLS
	for ctx.Err() == nil {
		state, changed := e.d.memberNow(e.member)
		if closed(state) {
			if l != nil {
				l.Close()
				l = nil
			}
			e.isOpen(false, TLSGood)
			select {
			case <-changed:
			case <-ctx.Done():
			}
			continue
		}
		if l == nil {
			var err error
			if l, fault, err = e.listen(ctx); err != nil {
				e.d.warn("listen at %s again: %v", e.text(), err)
				e.d.cfg.Clock.Sleep(ctx, reopenPause)
				l = nil
				continue
			}
			if err := e.d.writeCA(); err != nil {
				e.d.warn("%v", err)
			}
		}
		e.accept(ctx, l, fault, &wg)
		l.Close()
		l = nil
	}
	if l != nil {
		l.Close()
	}
}

// accept serves the connections of one listener, which was opened with a fault
// of its TLS, until that has to be closed:
// the member goes, the fault of its TLS changes, or ctx is done.
func (e *endpoint) accept(ctx context.Context, l net.Listener, opened TLSFault, wg *sync.WaitGroup) {
	fault, tlsChanged := e.faultNow()
	if fault != opened {
		return
	}
	e.isOpen(true, fault)
	over := make(chan struct{})
	var closing atomic.Bool
	watcher := e.d.background(ctx, func(ctx context.Context) {
		for {
			state, changed := e.d.memberNow(e.member)
			full := state == zvmsim.MemberFull
			if full {
				e.d.cfg.Network.Backlog(l, 0)
			}
			if closed(state) {
				break
			}
			select {
			case <-changed:
				if full {
					e.d.cfg.Network.Backlog(l, defaultBacklog)
				}
				continue
			case <-tlsChanged:
			case <-over:
			case <-ctx.Done():
			}
			break
		}
		closing.Store(true)
		l.Close()
	})
	defer watcher()
	defer close(over)
	slots := make(chan struct{}, maxConns)
	for {
		conn, err := l.Accept()
		if err != nil {
			if !closing.Load() {
				// As with too many open files: it may pass.
				e.d.warn("accept at %s: %v", e.text(), err)
				e.d.cfg.Clock.Sleep(ctx, reopenPause)
			}
			return
		}
		select {
		case slots <- struct{}{}:
		default:
			conn.Close()
			continue
		}
		session, ok := e.admit(ctx, conn)
		if !ok {
			<-slots
			continue
		}
		wg.Go(func() {
			defer func() { <-slots }()
			// Why a connection was no use, the audit and the client know.
			_ = session.Serve(ctx, resettable{conn, e.d.cfg.Network})
		})
	}
}

// defaultBacklog is what a listener of Go has on Linux: net.core.somaxconn.
const defaultBacklog = 4096

// admit asks the core about a connection. While the member takes no more, the
// connection and all after it wait.
func (e *endpoint) admit(ctx context.Context, conn net.Conn) (*zvmsim.Session, bool) {
	client := zvmsim.Client{Member: e.member, Peer: e.Peer, Remote: remoteName(conn)}
	if client.Peer == "" {
		if name, ok := e.d.cfg.Network.PeerName(conn); ok {
			client.Peer = name
		}
	}
	for {
		_, changed := e.d.memberNow(e.member)
		session, err := e.d.server.Accept(client)
		if err == nil {
			return session, true
		}
		if !errors.Is(err, zvmsim.ErrFull) {
			e.d.cfg.Network.Reset(conn)
			conn.Close()
			return nil, false
		}
		select {
		case <-changed:
		case <-ctx.Done():
			conn.Close()
			return nil, false
		}
	}
}

func remoteName(conn net.Conn) string {
	if a := conn.RemoteAddr(); a != nil {
		return a.Network() + ":" + a.String()
	}
	return ""
}

// resettable gives a connection the method that zvmsim asks for.
type resettable struct {
	net.Conn
	network Network
}

// Reset prepares an end without an orderly close.
func (r resettable) Reset() error {
	r.network.Reset(r.Conn)
	return nil
}
