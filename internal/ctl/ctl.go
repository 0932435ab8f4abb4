// Package ctl is how our commands talk to our daemons: HTTP with JSON over a
// unix socket that only root and the daemon's own user may open, so that
// "curl --unix-socket" works as well. Paths carry a version, "/v1/guests".
//
// A handler answers with Reply and Fail; an error is the object
// {"error": "text"} with a status of 400 or above. Client reads both. The
// socket itself, with its access rights, is the business of the applet.
package ctl

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// maxBody bounds a request and a response: ours. The largest are lists of
// guests and pages of a log.
const maxBody = 4 << 20

// The limits of a server, ours: its clients are on the same machine.
const (
	// headerLimit is for a request's header, closeLimit for requests under
	// way when the server ends.
	headerLimit = 10 * time.Second
	closeLimit  = 2 * time.Second
)

// DefaultLimit bounds a call of a Client without a limit of its own.
const DefaultLimit = 30 * time.Second

// Error is an answer with a status of 400 or above.
type Error struct {
	// Status is the HTTP status.
	Status int
	Text   string
}

func (e *Error) Error() string { return e.Text }

// Reply answers with v as JSON; nil is an empty object.
func Reply(w http.ResponseWriter, v any) {
	if v == nil {
		v = struct{}{}
	}
	body, err := json.Marshal(v)
	if err != nil {
		Fail(w, http.StatusInternalServerError, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(append(body, '\n'))
}

// errorBody is the JSON of an Error.
type errorBody struct {
	Error string `json:"error"`
}

// Fail answers with an error.
func Fail(w http.ResponseWriter, status int, err error) {
	body, _ := json.Marshal(errorBody{err.Error()}) // a string always marshals
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(append(body, '\n'))
}

// Read decodes the JSON object of a request into v. A field that v does not
// have is an error: a misspelt one must not be taken for its default.
func Read(r *http.Request, v any) error {
	d := json.NewDecoder(http.MaxBytesReader(nil, r.Body, maxBody))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("read the request's JSON: %w", err)
	}
	if d.More() {
		return errors.New("read the request's JSON: something follows the object")
	}
	return nil
}

// Serve answers requests from l until ctx is done, and closes l.
func Serve(ctx context.Context, l net.Listener, h http.Handler) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s := &http.Server{
		Handler: h, ReadHeaderTimeout: headerLimit,
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	closed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(closed)
		limit, cancel := context.WithTimeout(context.Background(), closeLimit)
		defer cancel()
		if s.Shutdown(limit) != nil {
			s.Close()
		}
	})
	err := s.Serve(l)
	if !stop() {
		<-closed
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// Client calls one daemon. Safe for concurrent use.
type Client struct {
	// Dial connects to the daemon's socket.
	Dial func(ctx context.Context) (net.Conn, error)
	// Limit bounds a call; 0 means DefaultLimit.
	Limit time.Duration
}

func (c *Client) limit() time.Duration { return cmp.Or(c.Limit, DefaultLimit) }

// refusal is an answer with a status of 400 or above, in the words of the daemon
// or, if they are none of Fail, of the server.
func refusal(method, path string, status int, text []byte) *Error {
	var e errorBody
	if json.Unmarshal(text, &e) != nil || e.Error == "" {
		e.Error = fmt.Sprintf("%s %s: %s", method, path, strings.TrimSpace(string(text)))
	}
	return &Error{Status: status, Text: e.Error}
}

// Do sends in as JSON, if it is not nil, and decodes the answer into out, if
// that is not nil. An answer of the daemon that is an error is an *Error.
func (c *Client) Do(ctx context.Context, method, path string, in, out any) error {
	ctx, cancel := context.WithTimeout(ctx, c.limit())
	defer cancel()
	var body io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(text)
	}
	// The host is not used: Dial knows where to.
	req, err := http.NewRequestWithContext(ctx, method, "http://daemon"+path, body)
	if err != nil {
		return err
	}
	req.Close = true
	conn, err := c.Dial(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	// The end of ctx ends reads and writes that wait.
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	// One request on a connection of its own needs no http.Transport, which
	// would bring 260 KiB of proxies, pools and host names along.
	fail := func(what string, err error) error {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return fmt.Errorf("%s: %w", what, err)
	}
	if err := req.Write(conn); err != nil {
		return fail("send the request to the daemon", err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), req)
	if err != nil {
		return fail("read the daemon's answer", err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	if err != nil {
		return fail("read the daemon's answer", err)
	}
	if len(text) > maxBody {
		return fmt.Errorf("read the daemon's answer: more than %d bytes", maxBody)
	}
	if resp.StatusCode >= 400 {
		return refusal(method, path, resp.StatusCode, text)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(text, out); err != nil {
		return fmt.Errorf("read the daemon's answer: %w", err)
	}
	return nil
}

// maxLine bounds a line of a stream: ours.
const maxLine = 1 << 20

// Lines requests path, whose answer is a stream of JSON objects, one a line,
// and calls each with every line until the daemon ends the stream, each gives
// an error, or ctx is done. Limit bounds only the time until the answer
// begins: a stream may be silent for days.
func (c *Client) Lines(ctx context.Context, path string, each func(line []byte) error) error {
	begin, cancel := context.WithTimeout(ctx, c.limit())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", "http://daemon"+path, nil)
	if err != nil {
		return err
	}
	req.Close = true
	conn, err := c.Dial(begin)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	begun := context.AfterFunc(begin, func() { conn.Close() })
	defer begun()
	fail := func(what string, err error) error {
		switch {
		case ctx.Err() != nil:
			err = ctx.Err()
		case begin.Err() != nil:
			err = begin.Err()
		}
		return fmt.Errorf("%s: %w", what, err)
	}
	if err := req.Write(conn); err != nil {
		return fail("send the request to the daemon", err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), req)
	if err != nil {
		return fail("read the daemon's answer", err)
	}
	// The body is not closed: that reads it to its end, which may never come.
	if !begun() {
		return fail("read the daemon's answer", context.DeadlineExceeded)
	}
	if resp.StatusCode >= 400 {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, maxBody))
		return refusal("GET", path, resp.StatusCode, text)
	}
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		if err := each(lines.Bytes()); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		if ctx.Err() == nil {
			return fmt.Errorf("read the daemon's answer: %w", err)
		}
		return fail("read the daemon's answer", err)
	}
	return nil
}

// Stream begins an answer that is a stream of lines for Client.Lines, and
// returns what writes one. The error of a write means that the client is gone.
func Stream(w http.ResponseWriter) (write func(v any) error) {
	w.Header().Set("Content-Type", "application/jsonl")
	w.WriteHeader(http.StatusOK)
	c := http.NewResponseController(w)
	_ = c.Flush()
	return func(v any) error {
		b, err := json.Marshal(v)
		if err != nil {
			return err
		}
		if _, err := w.Write(append(b, '\n')); err != nil {
			return err
		}
		return c.Flush()
	}
}
