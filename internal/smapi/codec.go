package smapi

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// The faults of a message. Those of a request have the return and reason code
// that a server answers with: see RequestFault.
var (
	// ErrLengthRange: the length of a request is too small or too large.
	ErrLengthRange = errors.New("length out of range")
	// ErrLengthMismatch: the lengths inside a request do not add up to its
	// total.
	ErrLengthMismatch = errors.New("total length and parameters disagree")
	// ErrTLSHello: a client starts TLS on a connection without TLS. It comes
	// with ErrLengthRange.
	ErrTLSHello = errors.New("the client speaks TLS")
	// ErrHTTP: the other side speaks HTTP. It comes with ErrLengthRange or
	// ErrProtocol.
	ErrHTTP = errors.New("the other side speaks HTTP")
	// ErrMalformed: a length inside a message goes beyond its container, or
	// bytes are left that make no field.
	ErrMalformed = errors.New("malformed data")
)

// Request is one call of a function.
type Request struct {
	Function string
	// User and Password are empty over IUCV, where z/VM itself vouches for
	// the name of the client.
	User     string
	Password Secret
	// Target is not sent for a function without one.
	Target string
	// Params are the encoded parameters after the target.
	Params []byte
}

// HasTarget reports whether the request carries a target. A function that is
// not in the table has one.
func (r Request) HasTarget() bool {
	f, ok := LookupFunction(r.Function)
	return !ok || f.Target != NoTarget
}

// AppendRequest appends the request in wire form. It checks nothing: see
// Request.Check.
func AppendRequest(dst []byte, r Request) []byte {
	start := len(dst)
	dst = AppendInt4(dst, 0)
	dst = AppendString(dst, r.Function)
	dst = AppendString(dst, r.User)
	dst = AppendString(dst, r.Password.Reveal())
	if r.HasTarget() {
		dst = AppendString(dst, r.Target)
	}
	dst = append(dst, r.Params...)
	binary.BigEndian.PutUint32(dst[start:], uint32(len(dst)-start-4))
	return dst
}

// passwordSpan is where the password's bytes are in the wire form.
func (r Request) passwordSpan() (from, to int) {
	from = 4 + 4 + len(r.Function) + 4 + len(r.User) + 4
	return from, from + len(r.Password)
}

// Limits bounds what a server reads.
type Limits struct {
	// MaxRequest is the largest total length accepted, in bytes; 0 means
	// DefaultMaxRequest.
	MaxRequest int
}

// DefaultMaxRequest is the largest request a server reads: ours, generous for
// requests whose longest parameter is a password of 200 bytes.
const DefaultMaxRequest = 64 << 10

// minRequest is the smallest total length: three empty strings.
const minRequest = 12

// ReadRequest reads one request. The error is io.EOF if the client closed
// before its first byte, io.ErrUnexpectedEOF if it closed in the middle, an
// ErrLengthRange or ErrLengthMismatch (see RequestFault), or that of the
// reader. A request with the wrong lengths is returned as far as it could be
// read, so that a log can name its function.
func ReadRequest(r io.Reader, limits Limits) (Request, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return Request{}, err
	}
	n := binary.BigEndian.Uint32(head[:])
	limit := limits.MaxRequest
	if limit == 0 {
		limit = DefaultMaxRequest
	}
	if n < minRequest || uint64(n) > uint64(limit) {
		err := fmt.Errorf("request length %d: %w", n, ErrLengthRange)
		switch {
		case looksLikeHello(head[:]):
			err = errors.Join(err, ErrTLSHello)
		case looksLikeHTTPRequest(head[:]):
			err = errors.Join(err, ErrHTTP)
		}
		return Request{}, err
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return Request{}, err
	}
	return DecodeRequest(body)
}

// DecodeRequest decodes a request without its total length. Params points
// into body.
func DecodeRequest(body []byte) (Request, error) {
	var req Request
	mismatch := func(field string) (Request, error) {
		return req, fmt.Errorf("%s of a request of %d bytes: %w", field, len(body), ErrLengthMismatch)
	}
	d := decoder{b: body}
	if req.Function = d.str(); d.err != nil {
		return mismatch("function name")
	}
	if req.User = d.str(); d.err != nil {
		return mismatch("user id")
	}
	if req.Password = Secret(d.str()); d.err != nil {
		return mismatch("password")
	}
	f, known := LookupFunction(req.Function)
	if !known || f.Target != NoTarget {
		rest := d.b
		req.Target = d.str()
		if d.err != nil && known {
			return mismatch("target")
		}
		if d.err != nil {
			// An unknown function may have any shape: the server answers
			// that it does not know it.
			req.Target, d.b = "", rest
		}
	}
	if len(d.b) > 0 {
		req.Params = d.b
	}
	return req, nil
}

// RequestFault returns the codes a server answers with when ReadRequest gave
// err; ok is false for an error that has no answer, as when the client is gone.
func RequestFault(err error) (ret, reason int, ok bool) {
	switch {
	case errors.Is(err, ErrLengthRange):
		return 900, 36, true
	case errors.Is(err, ErrLengthMismatch):
		return 900, 20, true
	}
	return 0, 0, false
}

// Response is the answer to a request.
type Response struct {
	// RequestID is the id the server gave the request, from the first part of
	// the reply.
	RequestID uint32
	// ResponseID is the id in the response itself. It should be the same;
	// ReadResponse does not insist.
	ResponseID     uint32
	Return, Reason int
	// Data is the output of the function, nil if there is none.
	Data []byte
}

// AppendRequestID appends the first part of a reply.
func AppendRequestID(dst []byte, id uint32) []byte { return AppendInt4(dst, id) }

// AppendResponse appends the second part of a reply: length, request id,
// return code, reason code and data. ResponseID is used if it is set, else
// RequestID.
func AppendResponse(dst []byte, r Response) []byte {
	id := r.ResponseID
	if id == 0 {
		id = r.RequestID
	}
	dst = AppendInt4(dst, uint32(minResponse+len(r.Data)))
	dst = AppendInt4(dst, id)
	dst = AppendInt4(dst, uint32(int32(r.Return)))
	dst = AppendInt4(dst, uint32(int32(r.Reason)))
	return append(dst, r.Data...)
}

// minResponse is the output length of a response without data.
const minResponse = 12

// ReadResponse reads both parts of a reply, however they are cut into
// segments. A response of more than maxOutput bytes is refused unread; memory
// is taken only for bytes that arrived. Errors wrap ErrProtocol if what
// arrived is no reply, else they are the reader's, with io.EOF turned into
// io.ErrUnexpectedEOF after the first byte.
func ReadResponse(r io.Reader, maxOutput int) (Response, error) {
	id, err := readRequestID(r)
	if err != nil {
		return Response{}, err
	}
	return readResponse(r, id, maxOutput)
}

// readRequestID reads the first part of a reply.
func readRequestID(r io.Reader) (uint32, error) {
	var b [4]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return 0, err
	}
	return binary.BigEndian.Uint32(b[:]), nil
}

// readResponse reads the second part of a reply to the request with that id.
func readResponse(r io.Reader, id uint32, maxOutput int) (Response, error) {
	resp := Response{RequestID: id}
	// What tells another protocol from a reply: the first four bytes can be
	// any number, so only a reply that then goes wrong is looked at again.
	var seen [8]byte
	binary.BigEndian.PutUint32(seen[:], id)
	n, err := io.ReadFull(r, seen[4:])
	if err != nil {
		return resp, foreign(seen[:4+n], unexpected(err))
	}
	length := binary.BigEndian.Uint32(seen[4:])
	switch {
	case length < minResponse:
		return resp, foreign(seen[:], fmt.Errorf("%w: output length %d is below %d", ErrProtocol, length, minResponse))
	case uint64(length) > uint64(maxOutput):
		return resp, foreign(seen[:], fmt.Errorf("%w: output length %d is above the limit of %d", ErrProtocol, length, maxOutput))
	}
	body, err := readN(r, int(length))
	if err != nil {
		return resp, foreign(seen[:], unexpected(err))
	}
	resp.ResponseID = binary.BigEndian.Uint32(body)
	resp.Return = int(int32(binary.BigEndian.Uint32(body[4:])))
	resp.Reason = int(int32(binary.BigEndian.Uint32(body[8:])))
	if len(body) > minResponse {
		resp.Data = body[minResponse:]
	}
	return resp, nil
}

// readN reads exactly n bytes, growing with what arrives.
func readN(r io.Reader, n int) ([]byte, error) {
	var buf bytes.Buffer
	if _, err := io.CopyN(&buf, r, int64(n)); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

// unexpected turns the end of the stream into one that came too early.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// foreign adds to err what the first bytes of a failed reply tell about the
// server: at most 8 bytes are in head.
func foreign(head []byte, err error) error {
	switch {
	case looksLikeAlert(head):
		return fmt.Errorf("%w: %w", ErrTLSServer, err)
	case bytes.HasPrefix(head, []byte("HTTP")):
		return fmt.Errorf("%w: %w: %w", ErrProtocol, ErrHTTP, err)
	case errors.Is(err, ErrProtocol):
		return fmt.Errorf("%w (the reply starts with %q)", err, head)
	}
	return err
}

// looksLikeAlert recognises the start of a TLS alert record: type 0x15,
// version 3.x, length 2. It fits a request id too, but one that 352 million
// requests went before.
func looksLikeAlert(b []byte) bool {
	return len(b) >= 4 && b[0] == 0x15 && b[1] == 3 && b[2] <= 4 && b[3] == 0
}

// looksLikeHello recognises the start of a TLS handshake record: type 0x16,
// version 3.x.
func looksLikeHello(b []byte) bool {
	return len(b) >= 3 && b[0] == 0x16 && b[1] == 3 && b[2] <= 4
}

// looksLikeHTTPRequest recognises the start of an HTTP request line.
func looksLikeHTTPRequest(b []byte) bool {
	for _, method := range [...]string{"GET ", "HEAD", "POST", "PUT ", "DELE", "CONN", "OPTI", "TRAC", "PATC", "PRI "} {
		if string(b) == method {
			return true
		}
	}
	return false
}

// AppendInt4 appends a four-byte integer.
func AppendInt4(dst []byte, v uint32) []byte { return binary.BigEndian.AppendUint32(dst, v) }

// AppendString appends a string with its length.
func AppendString(dst []byte, s string) []byte {
	return append(AppendInt4(dst, uint32(len(s))), s...)
}

// CutString takes a string with its length off the front of b.
func CutString(b []byte) (s string, rest []byte, err error) {
	d := decoder{b: b}
	s = d.str()
	return s, d.b, d.err
}

// CutInt4 takes a four-byte integer off the front of b.
func CutInt4(b []byte) (v uint32, rest []byte, err error) {
	d := decoder{b: b}
	v = d.int4()
	return v, d.b, d.err
}

// decoder takes fields off the front of b. After the first fault every field
// is zero and b stays.
type decoder struct {
	b   []byte
	err error
}

func (d *decoder) fail(format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
	}
}

// take returns the next n bytes.
func (d *decoder) take(n uint32) []byte {
	if d.err != nil {
		return nil
	}
	if uint64(n) > uint64(len(d.b)) {
		d.fail("%d bytes announced, %d left", n, len(d.b))
		return nil
	}
	v := d.b[:n:n]
	d.b = d.b[n:]
	return v
}

func (d *decoder) int1() int {
	if v := d.take(1); v != nil {
		return int(v[0])
	}
	return 0
}

func (d *decoder) int4() uint32 {
	if v := d.take(4); v != nil {
		return binary.BigEndian.Uint32(v)
	}
	return 0
}

// str takes a string with its length; on a fault nothing is taken.
func (d *decoder) str() string { return string(d.block()) }

// block takes a length and as many bytes; on a fault nothing is taken.
func (d *decoder) block() []byte {
	before := d.b
	n := d.int4()
	v := d.take(n)
	if d.err != nil {
		d.b = before
	}
	return v
}
