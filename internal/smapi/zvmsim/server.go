package zvmsim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/haobox/haobox/internal/smapi"
	"github.com/haobox/haobox/platform"
)

// DefaultRequestLimit is how long a client may take to send its request: ours.
// Agents send it in one write, and a server has to get rid of those that send
// a byte now and then.
const DefaultRequestLimit = 30 * time.Second

// DefaultWriteLimit is how long one write may take: ours. The replies fit into
// any socket buffer, so a write that waits has a client that does not read.
const DefaultWriteLimit = 30 * time.Second

// ServerConfig is what a Server needs beside its core.
type ServerConfig struct {
	// Clock is the time of the simulated system; nil means the machine's.
	Clock platform.Clock
	// RequestLimit and WriteLimit bound what a client can hold up, on the
	// clock Wall; 0 means the defaults, nil the machine's clock.
	RequestLimit, WriteLimit time.Duration
	Wall                     platform.Clock
	// Observe, if set, sees every action in order. It is called with the core
	// locked and must not call the Server; the value is its own.
	Observe func(Action)
}

// Server drives a Core with a clock and serves connections. Safe for
// concurrent use. A goroutine of its own steps the core when something is due;
// Close ends it.
//
//	srv := zvmsim.NewServer(core, zvmsim.ServerConfig{})
//	defer srv.Close()
//	go srv.ServeConn(ctx, conn, zvmsim.Client{})
type Server struct {
	cfg ServerConfig

	mu    sync.Mutex
	core  *Core
	conns map[ConnID]*outbox
	last  ConnID

	// wake tells the goroutine that the time of the next step has changed.
	wake   chan struct{}
	cancel context.CancelFunc
	done   chan struct{}
}

// NewServer starts a server for core, which belongs to it from then on.
func NewServer(core *Core, cfg ServerConfig) *Server {
	if cfg.Clock == nil {
		cfg.Clock = platform.SystemClock{}
	}
	if cfg.Wall == nil {
		cfg.Wall = platform.SystemClock{}
	}
	if cfg.RequestLimit == 0 {
		cfg.RequestLimit = DefaultRequestLimit
	}
	if cfg.WriteLimit == 0 {
		cfg.WriteLimit = DefaultWriteLimit
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &Server{
		cfg: cfg, core: core, conns: map[ConnID]*outbox{},
		wake: make(chan struct{}, 1), cancel: cancel, done: make(chan struct{}),
	}
	go s.run(ctx)
	return s
}

// Close ends the server's goroutine. Connections end with their own context.
func (s *Server) Close() {
	s.cancel()
	<-s.done
}

// run steps the core whenever something is due.
func (s *Server) run(ctx context.Context) {
	defer close(s.done)
	for {
		s.mu.Lock()
		at, ok := s.core.Next()
		s.mu.Unlock()
		var due <-chan time.Time
		stop := func() {}
		if ok {
			due, stop = s.cfg.Clock.After(at.Sub(s.cfg.Clock.Now()))
		}
		select {
		case <-due:
			s.Do(Tick{})
		case <-s.wake:
		case <-ctx.Done():
			stop()
			return
		}
		stop()
	}
}

// Wake makes the server look at its clock again, after the clock was moved.
func (s *Server) Wake() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Do lets an event happen now and returns the actions. Those for connections
// have been passed on.
func (s *Server) Do(ev Event) []Action {
	s.mu.Lock()
	defer s.mu.Unlock()
	before, _ := s.core.Next()
	actions := s.core.Step(s.cfg.Clock.Now(), ev)
	out := make([]Action, len(actions))
	copy(out, actions)
	for _, a := range out {
		switch a := a.(type) {
		case Send:
			s.pass(a.Conn, a)
		case Push:
			s.pass(a.Conn, a)
		case Close:
			s.pass(a.Conn, a)
		}
		if s.cfg.Observe != nil {
			s.cfg.Observe(a)
		}
	}
	if after, ok := s.core.Next(); ok && !after.Equal(before) {
		s.Wake()
	}
	return out
}

// View calls f with the core, brought up to the present. f must not keep it.
func (s *Server) View(f func(*Core)) {
	s.Do(Tick{})
	s.mu.Lock()
	defer s.mu.Unlock()
	f(s.core)
}

// pass hands an action to the connection it is for. Called with mu held.
func (s *Server) pass(id ConnID, a Action) {
	if o := s.conns[id]; o != nil {
		o.put(a)
	}
}

// Client is what a transport knows of the other side of a connection.
type Client struct {
	// Member is whose server was called; "" means the first.
	Member string
	// Peer is the user id that CP vouches for, over IUCV or its substitutes.
	Peer string
	// Remote is an address for the audit.
	Remote string
}

// Why Accept turns a client away.
var (
	// ErrRefused: as if nobody listened.
	ErrRefused = errors.New("connection refused")
	// ErrFull: as if the queue of connections were full, so that a client
	// waits for ever.
	ErrFull = errors.New("connection not accepted")
)

// Session is a connection that was let in and is to be served.
type Session struct {
	s   *Server
	id  ConnID
	box *outbox
}

// Accept decides whether a client is let in.
func (s *Server) Accept(client Client) (*Session, error) {
	box := &outbox{ready: make(chan struct{}, 1)}
	s.mu.Lock()
	s.last++
	id := s.last
	s.conns[id] = box
	s.mu.Unlock()
	for _, a := range s.Do(Connect{Conn: id, Member: client.Member, Peer: client.Peer, Remote: client.Remote}) {
		if c, ok := a.(Close); ok && c.Conn == id {
			s.forget(id)
			if c.How == EndSilence {
				return nil, ErrFull
			}
			return nil, ErrRefused
		}
	}
	return &Session{s, id, box}, nil
}

// forget ends what is known of a connection.
func (s *Server) forget(id ConnID) {
	s.mu.Lock()
	delete(s.conns, id)
	s.mu.Unlock()
	s.Do(Hangup{Conn: id})
}

// ServeConn is Accept and Serve. A client that is turned away gets a reset.
func (s *Server) ServeConn(ctx context.Context, conn smapi.Conn, client Client) error {
	session, err := s.Accept(client)
	if err != nil {
		end(conn, EndReset)
		return err
	}
	return session.Serve(ctx, conn)
}

// Serve reads the request and sends the reply. It closes the connection when
// the reply is sent, the client is gone or ctx is done. The error says why
// there was no reply; it is nil after one, right or bent, and after a fault
// that ends the connection. Call it once.
func (x *Session) Serve(ctx context.Context, conn smapi.Conn) error {
	s, id, box := x.s, x.id, x.box
	defer conn.Close()
	defer s.forget(id)
	// The end of ctx closes the connection, which ends reads and writes that
	// wait.
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	var req smapi.Request
	err := s.limited(conn, s.cfg.RequestLimit, func() (err error) {
		req, err = smapi.ReadRequest(conn, smapi.Limits{})
		return err
	})
	if err != nil {
		if _, _, answer := smapi.RequestFault(err); !answer {
			return err
		}
	}
	s.Do(Request{Conn: id, Request: req, Err: err})

	// The reader notices that the client goes while the answer is pending.
	input := make(chan struct{})
	go func() {
		defer close(input)
		// Nothing is to come; what does is read up to a limit, so that a
		// client that goes on and on does not keep us busy.
		io.CopyN(io.Discard, conn, smapi.DefaultMaxRequest)
	}()
	err = s.reply(ctx, conn, id, box, input)
	conn.Close()
	<-input
	return err
}

// ErrSlow is why a connection is closed whose client takes too long.
var ErrSlow = errors.New("the client took too long")

// limited calls f, which reads from or writes to conn, and closes conn if that
// takes longer than d.
func (s *Server) limited(conn smapi.Conn, d time.Duration, f func() error) error {
	due, stop := s.cfg.Wall.After(d)
	defer stop()
	over, watched := make(chan struct{}), make(chan bool)
	go func() {
		select {
		case <-due:
			conn.Close()
			watched <- true
		case <-over:
			watched <- false
		}
	}()
	err := f()
	close(over)
	if slow := <-watched; slow && err != nil {
		return fmt.Errorf("%w: more than %v: %w", ErrSlow, d, err)
	}
	return err
}

// errGone says that a client went before its answer.
var errGone = errors.New("the client closed the connection before its answer")

// reply carries out the actions for a connection. input is closed when the
// client sends no more: it may have shut down its sending side alone and still
// read, or be gone.
func (s *Server) reply(ctx context.Context, conn smapi.Conn, id ConnID, box *outbox, input <-chan struct{}) error {
	var linger <-chan time.Time
	for {
		a, ok := box.take()
		if !ok {
			select {
			case <-box.ready:
			case <-input:
				s.Do(HalfClose{Conn: id})
				// One that is gone is noticed when something is written to
				// it, or, if nothing ever is, after a while.
				input = nil
				due, stop := s.cfg.Wall.After(s.cfg.WriteLimit)
				defer stop()
				linger = due
			case <-linger:
				return errGone
			case <-ctx.Done():
				return ctx.Err()
			}
			continue
		}
		var err error
		switch a := a.(type) {
		case Send:
			err = s.write(ctx, conn, a.Bytes(), a.Wire)
		case Push:
			err = s.write(ctx, conn, smapi.AppendEvent(nil, a.Event), Wire{})
		case Close:
			end(conn, a.How)
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// write sends b, in one write or byte by byte.
func (s *Server) write(ctx context.Context, conn smapi.Conn, b []byte, w Wire) error {
	step := len(b)
	if w.OneByte {
		step = 1
	}
	for len(b) > 0 {
		err := s.limited(conn, s.cfg.WriteLimit, func() error {
			_, err := conn.Write(b[:step])
			return err
		})
		if err != nil {
			return err
		}
		b = b[step:]
		if w.Pause > 0 && len(b) > 0 {
			if err := s.cfg.Clock.Sleep(ctx, w.Pause); err != nil {
				return err
			}
		}
	}
	return nil
}

// end closes conn in the way that the core chose. A reset is made by a method
// of the connection if it has one: Reset, or SetLinger as TCP's has.
func end(conn smapi.Conn, how End) {
	if how == EndReset {
		switch c := conn.(type) {
		case interface{ Reset() error }:
			c.Reset()
		case interface{ SetLinger(seconds int) error }:
			c.SetLinger(0)
		}
	}
	conn.Close()
}

// outbox queues the actions for one connection.
type outbox struct {
	mu    sync.Mutex
	queue []Action
	ready chan struct{}
}

func (o *outbox) put(a Action) {
	o.mu.Lock()
	o.queue = append(o.queue, a)
	o.mu.Unlock()
	select {
	case o.ready <- struct{}{}:
	default:
	}
}

func (o *outbox) take() (Action, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.queue) == 0 {
		return nil, false
	}
	a := o.queue[0]
	o.queue = o.queue[1:]
	return a, true
}
