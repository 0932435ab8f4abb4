package smapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/haobox/haobox/platform"
)

// The kinds of a *TransportError.
var (
	// ErrRequest: the request breaks a rule that every server has; nothing
	// was sent.
	ErrRequest = errors.New("the request is not valid")
	// ErrConnect: there is no connection; nothing was sent.
	ErrConnect = errors.New("cannot connect")
	// ErrLost: the request was sent, at least in part, and no complete answer
	// came. It may have been executed or not.
	ErrLost = errors.New("no complete answer")
	// ErrProtocol: what came is not an answer of SMAPI. The request may have
	// been executed or not.
	ErrProtocol = errors.New("the answer is not SMAPI's")
	// ErrTLSServer: the server expects TLS and the connection has none. It
	// comes with ErrLost or ErrProtocol.
	ErrTLSServer = errors.New("the server expects TLS; use it, for a fence agent with ssl=1")
	// ErrTimeout: a limit of the client passed. It comes with ErrConnect or
	// ErrLost.
	ErrTimeout = errors.New("time limit passed")
)

// TransportError says that there is no answer. errors.Is tells its Kind and
// its cause.
type TransportError struct {
	Function, Target string
	// Kind is ErrRequest, ErrConnect, ErrLost or ErrProtocol.
	Kind error
	Err  error
}

func (e *TransportError) Error() string {
	what := e.Function
	if e.Target != "" {
		what += " " + e.Target
	}
	if errors.Is(e.Err, e.Kind) {
		return fmt.Sprintf("%s: %v", what, e.Err)
	}
	return fmt.Sprintf("%s: %v: %v", what, e.Kind, e.Err)
}

// Unwrap returns the kind and the cause.
func (e *TransportError) Unwrap() []error { return []error{e.Kind, e.Err} }

// DefaultExchangeLimit bounds an exchange when the client has no limit of its
// own. Fenced of RHEL 6 sets none on an agent, so there must be one here.
const DefaultExchangeLimit = 60 * time.Second

// Client calls functions of one SMAPI server. Every call is a connection of
// its own. The fields are not changed by it; a Client whose fields stand still
// is safe for concurrent use; Trace is then called from several goroutines.
type Client struct {
	Dialer Dialer
	// User is folded to upper case. With User and Password empty the server
	// must know the client by its connection, as over IUCV.
	User     string
	Password Secret
	// Self is the user id that the server knows this client by when User is
	// empty; it is the target of functions that ask about no image. Empty
	// means "ALL" there.
	Self string
	// ConnectLimit bounds the connect, with the TLS handshake. 0: the
	// connect counts towards ExchangeLimit.
	ConnectLimit time.Duration
	// ExchangeLimit bounds the whole exchange, from the request's first byte
	// to the response's last. 0 means DefaultExchangeLimit.
	ExchangeLimit time.Duration
	// Clock measures the limits; nil means the machine's.
	Clock platform.Clock
	// Trace, if set, sees each message: direction '>' or '<' and its bytes,
	// those of the password replaced by '*'. A reply is two messages. data
	// is only valid during the call.
	Trace func(direction byte, data []byte)
	// Log, if set, gets warnings about servers that are not quite right.
	Log *slog.Logger
}

// Do sends one request and returns the response, whatever its codes are. User
// and Password are the client's if the request has no user. The error is nil
// or a *TransportError. Bytes after the response are not read.
func (c *Client) Do(ctx context.Context, req Request) (Response, error) {
	x, err := c.start(ctx, req)
	if err != nil {
		return Response{}, err
	}
	defer x.close()
	if x.req.Function == EventUnsubscribe {
		// The reply to this one ends with the request id.
		return Response{RequestID: x.id, ResponseID: x.id}, nil
	}
	var resp Response
	err = x.read(func(r io.Reader) (err error) {
		resp, err = readResponse(r, x.id, maxOutput(x.req))
		return err
	})
	if err != nil {
		return Response{}, err
	}
	if resp.ResponseID != resp.RequestID && c.Log != nil {
		c.Log.Warn("SMAPI response carries another request id than was announced", "function", x.req.Function,
			"announced", resp.RequestID, "got", resp.ResponseID)
	}
	return resp, nil
}

// maxOutput is the largest response the client reads for a request.
func maxOutput(req Request) int {
	f, ok := LookupFunction(req.Function)
	switch {
	case !ok:
		return largeOutput
	case f.Name == ImageStatusQuery && req.Target != "*":
		return smallOutput // fencing depends on this one
	}
	return f.MaxOutput
}

// exchange is one connection and what happens on it.
type exchange struct {
	client *Client
	req    Request
	conn   Conn
	// id is the request id of the reply's first part.
	id uint32
	// caller is the context of the call, ctx the one with the limit.
	caller, ctx context.Context
	limit       time.Duration
	cancel      context.CancelFunc
	// unguard takes back that ctx ends the connection's reads and writes.
	unguard func() bool
}

// start connects, sends the request and reads the request id.
func (c *Client) start(ctx context.Context, req Request) (*exchange, error) {
	if req.User == "" {
		req.User, req.Password = c.User, c.Password
	}
	req.User, req.Target = upper(req.User), upper(req.Target)
	x := &exchange{client: c, req: req, caller: ctx, limit: c.ExchangeLimit}
	if x.limit <= 0 {
		x.limit = DefaultExchangeLimit
	}
	if fault := req.Check(); fault != nil {
		return nil, x.fail(ErrRequest, fmt.Errorf("%s; nothing was sent", describeSyntax(fault.Reason)))
	}
	if err := x.connect(); err != nil {
		return nil, err
	}
	if err := x.send(); err != nil {
		x.close()
		return nil, err
	}
	return x, nil
}

// connect dials within its limit.
func (x *exchange) connect() error {
	c, limit := x.client, x.limit
	if c.ConnectLimit > 0 {
		limit = c.ConnectLimit
	}
	ctx, cancel := bound(x.caller, c.Clock, limit)
	conn, err := c.Dialer.Dial(ctx)
	if err != nil {
		defer cancel()
		if cause := expiry(ctx, limit); cause != nil {
			err = fmt.Errorf("%w (%w)", cause, err)
		}
		return x.fail(ErrConnect, err)
	}
	if c.ConnectLimit > 0 {
		cancel()
		ctx, cancel = bound(x.caller, c.Clock, x.limit)
	}
	x.conn, x.ctx, x.cancel = conn, ctx, cancel
	x.guard(ctx)
	return nil
}

// guard makes the end of ctx end what waits on the connection.
func (x *exchange) guard(ctx context.Context) {
	x.unguard = context.AfterFunc(ctx, func() { x.conn.SetDeadline(time.Unix(1, 0)) })
}

// unlimited takes the limit off; only the caller's context ends it now.
func (x *exchange) unlimited() {
	x.unguard()
	x.cancel()
	x.ctx, x.cancel = context.WithCancel(x.caller)
	x.guard(x.ctx)
}

func (x *exchange) close() {
	x.unguard()
	x.cancel()
	x.conn.Close()
}

// send writes the request and reads the first part of the reply.
func (x *exchange) send() error {
	msg := AppendRequest(nil, x.req)
	if x.client.Trace != nil {
		x.client.Trace('>', x.req.masked(msg))
	}
	if _, err := x.conn.Write(msg); err != nil {
		return x.fail(ErrLost, x.cause(fmt.Errorf("send the request: %w", err)))
	}
	return x.read(func(r io.Reader) error {
		id, err := readRequestID(r)
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("the server closed the connection without accepting the request%s: %w", x.hint(), err)
		}
		x.id = id
		return err
	})
}

// hint says why a server may close a connection at once: one that expects TLS
// need not send an alert. Only a TCP connection without TLS has SetNoDelay.
func (x *exchange) hint() string {
	if _, ok := x.conn.(interface{ SetNoDelay(bool) error }); ok {
		return ", as one does that expects TLS (ssl=1)"
	}
	return ""
}

// masked returns a copy of the request's wire form without the password.
func (r Request) masked(msg []byte) []byte {
	out := append([]byte(nil), msg...)
	from, to := r.passwordSpan()
	for i := from; i < to; i++ {
		out[i] = '*'
	}
	return out
}

// read lets f read one message and traces it, also one that breaks off.
func (x *exchange) read(f func(io.Reader) error) error {
	var err error
	if x.client.Trace == nil {
		err = f(x.conn)
	} else {
		rec := recorder{r: x.conn}
		err = f(&rec)
		if len(rec.seen) > 0 {
			x.client.Trace('<', rec.seen)
		}
	}
	if err == nil {
		return nil
	}
	if errors.Is(err, ErrProtocol) {
		return x.fail(ErrProtocol, err)
	}
	return x.fail(ErrLost, x.cause(err))
}

// recorder keeps what is read through it.
type recorder struct {
	r    io.Reader
	seen []byte
}

func (r *recorder) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	r.seen = append(r.seen, p[:n]...)
	return n, err
}

// cause puts the reason why ctx ended, if it did, in front of the error that
// the connection gave because of it.
func (x *exchange) cause(err error) error {
	if cause := expiry(x.ctx, x.limit); cause != nil {
		if errors.Is(err, ErrTLSServer) {
			return fmt.Errorf("%w: %w", ErrTLSServer, cause)
		}
		return cause
	}
	if errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, ErrTLSServer) {
		return fmt.Errorf("the server closed the connection in the middle of its answer: %w", err)
	}
	return err
}

// fail builds the error of the exchange.
func (x *exchange) fail(kind, err error) error {
	return &TransportError{Function: x.req.Function, Target: x.req.Target, Kind: kind, Err: err}
}

// expiry says why ctx ended: ErrTimeout with the limit that passed, or
// context.Canceled; nil if it has not ended.
func expiry(ctx context.Context, limit time.Duration) error {
	cause := context.Cause(ctx)
	switch {
	case cause == nil:
		return nil
	case errors.Is(cause, ErrTimeout):
		return fmt.Errorf("%w: %v", ErrTimeout, limit)
	case errors.Is(cause, context.DeadlineExceeded):
		return fmt.Errorf("%w: %w", ErrTimeout, cause)
	}
	return cause
}

// bound limits ctx to d by the clock. Its cause is then ErrTimeout. The
// context has a deadline also for a clock of a test, so that a dialer can
// divide the time among several addresses.
func bound(ctx context.Context, clock platform.Clock, d time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeoutCause(ctx, d, ErrTimeout)
	if clock == nil || clock == (platform.SystemClock{}) {
		return ctx, cancel
	}
	ctx, expire := context.WithCancelCause(ctx)
	c, stop := clock.After(d)
	go func() {
		defer stop()
		select {
		case <-c:
			expire(ErrTimeout)
		case <-ctx.Done():
		}
	}()
	return ctx, func() { expire(context.Canceled); cancel() }
}

// upper folds to upper case the way user ids are: ASCII only.
func upper(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' {
			return r - 'a' + 'A'
		}
		return r
	}, s)
}
