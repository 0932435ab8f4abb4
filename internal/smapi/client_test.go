package smapi

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/haobox/haobox/platform/platformtest"
)

// pipe is a Dialer whose connections are served by a function.
type pipe struct {
	serve func(conn net.Conn)
	// err is what Dial returns instead, hang makes it wait for its context.
	err  error
	hang bool
	wg   sync.WaitGroup
}

func (p *pipe) Dial(ctx context.Context) (Conn, error) {
	if p.hang {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if p.err != nil {
		return nil, p.err
	}
	client, server := net.Pipe()
	p.wg.Go(func() {
		defer server.Close()
		p.serve(server)
	})
	return client, nil
}

// answer serves one request with a fixed response.
func answer(ret, reason int, data []byte) func(net.Conn) {
	return func(conn net.Conn) {
		if _, err := ReadRequest(conn, Limits{}); err != nil {
			return
		}
		conn.Write(AppendRequestID(nil, 7))
		conn.Write(AppendResponse(nil, Response{RequestID: 7, Return: ret, Reason: reason, Data: data}))
	}
}

// raw reads the request, writes bytes and closes.
func raw(b []byte) func(net.Conn) {
	return func(conn net.Conn) {
		ReadRequest(conn, Limits{})
		conn.Write(b)
	}
}

func testClient(p *pipe) *Client {
	return &Client{Dialer: p, User: "cmanager", Password: "SecreT"}
}

func TestClient_SendsWhatTheServerExpects(t *testing.T) {
	t.Parallel()
	var got []Request
	p := &pipe{serve: func(conn net.Conn) {
		req, err := ReadRequest(conn, Limits{})
		if err != nil {
			return
		}
		got = append(got, req)
		conn.Write(AppendResponse(AppendRequestID(nil, 7), Response{RequestID: 7}))
	}}
	c := testClient(p)
	ctx := t.Context()
	c.ImageActivate(ctx, "cnode1")
	p.wg.Wait()
	c.ImageDeactivate(ctx, "cnode1", Immediate)
	p.wg.Wait()
	c.ImageRecycle(ctx, "CNODE1")
	p.wg.Wait()
	c.ImageStatus(ctx, "cnode1")
	p.wg.Wait()
	c.ActiveImages(ctx)
	p.wg.Wait()
	c.DirectoryNames(ctx)
	p.wg.Wait()
	c.CheckAuthentication(ctx)
	p.wg.Wait()
	c.FunctionalLevel(ctx)
	p.wg.Wait()
	c.User, c.Password, c.Self = "", "", "linux1"
	c.DirectoryNames(ctx)
	p.wg.Wait()
	c.Self = ""
	c.FunctionalLevel(ctx)
	p.wg.Wait()
	const u, pw = "CMANAGER", "SecreT"
	want := []Request{
		{Function: "Image_Activate", User: u, Password: pw, Target: "CNODE1"},
		{Function: "Image_Deactivate", User: u, Password: pw, Target: "CNODE1", Params: []byte("\x00\x00\x00\x05IMMED")},
		{Function: "Image_Recycle", User: u, Password: pw, Target: "CNODE1"},
		{Function: "Image_Status_Query", User: u, Password: pw, Target: "CNODE1"},
		{Function: "Image_Status_Query", User: u, Password: pw, Target: "*"},
		{Function: "Image_Name_Query_DM", User: u, Password: pw, Target: "CMANAGER"},
		{Function: "Check_Authentication", User: u, Password: pw},
		{Function: "Query_API_Functional_Level", User: u, Password: pw, Target: "CMANAGER"},
		{Function: "Image_Name_Query_DM", Target: "LINUX1"},
		{Function: "Query_API_Functional_Level", Target: "ALL"},
	}
	if diff := cmp.Diff(want, got, revealed()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestClient_ImageStatus(t *testing.T) {
	t.Parallel()
	one := EncodeNameArray([]string{"CNODE1"})
	tests := []struct {
		name        string
		ret, reason int
		data        []byte
		want        Power
		err         error
	}{
		{"active", 0, 0, one, PowerOn, nil},
		{"active, name padded with blanks", 0, 0, EncodeNameArray([]string{"CNODE1  "}), PowerOn, nil},
		{"active, no array", 0, 0, nil, PowerOn, nil},
		{"inactive, empty array", 0, 12, EncodeNameArray(nil), PowerOff, nil},
		{"inactive, no array", 0, 12, nil, PowerOff, nil},
		{"logoff pending", 200, 16, nil, PowerGoingOff, nil},
		{"inactive but listed", 0, 12, one, PowerUnknown, ErrProtocol},
		{"active but others listed", 0, 0, EncodeNameArray([]string{"CNODE2"}), PowerUnknown, ErrProtocol},
		{"another reason code", 0, 28, nil, PowerUnknown, ErrProtocol},
		{"inactive, array lies", 0, 12, []byte{0, 0, 0, 9}, PowerUnknown, ErrProtocol},
		{"not authorised", 100, 16, nil, PowerUnknown, &ResultError{Return: 100, Reason: 16}},
		{"not found", 200, 4, nil, PowerUnknown, &ResultError{Return: 200, Reason: 4}},
		{"error with a text", 396, 99, []byte("\x00\x00\x00\x04oops"), PowerUnknown, &ResultError{Function: ImageStatusQuery, Return: 396, Reason: 99}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			p := &pipe{serve: answer(tc.ret, tc.reason, tc.data)}
			got, err := testClient(p).ImageStatus(t.Context(), "cnode1")
			if got != tc.want || (err == nil) != (tc.err == nil) || !errors.Is(err, tc.err) {
				t.Errorf("got %v, %v; want %v, %v", got, err, tc.want, tc.err)
			}
			p.wg.Wait()
		})
	}
}

func TestClient_TransportFaults(t *testing.T) {
	t.Parallel()
	cut := AppendResponse(AppendRequestID(nil, 7), Response{RequestID: 7, Data: EncodeImageCounts(1, 0, nil)})
	refused := errors.New("connection refused")
	tests := []struct {
		name string
		pipe *pipe
		want []error
		text string
	}{
		{"refused", &pipe{err: refused}, []error{ErrConnect, refused}, "Image_Deactivate CNODE1: cannot connect: connection refused"},
		{"closed at once", &pipe{serve: func(net.Conn) {}}, []error{ErrLost}, ""},
		{"closed before the request id", &pipe{serve: raw(nil)}, []error{ErrLost, io.EOF}, "without accepting the request"},
		{"closed in the request id", &pipe{serve: raw(cut[:2])}, []error{ErrLost, io.ErrUnexpectedEOF}, "in the middle of its answer"},
		{"closed after the request id", &pipe{serve: raw(cut[:4])}, []error{ErrLost, io.ErrUnexpectedEOF}, "in the middle of its answer"},
		{"closed in the response", &pipe{serve: raw(cut[:22])}, []error{ErrLost, io.ErrUnexpectedEOF}, "in the middle of its answer"},
		{"output length too short", &pipe{serve: raw([]byte{0, 0, 0, 7, 0, 0, 0, 3, 1, 2, 3})}, []error{ErrProtocol}, "output length 3 is below 12"},
		{"output length giant", &pipe{serve: raw([]byte{0, 0, 0, 7, 0x7f, 0xff, 0xff, 0xff})}, []error{ErrProtocol}, "above the limit"},
		{"array lies", &pipe{serve: answer(0, 0, []byte{0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9})}, []error{ErrProtocol, ErrMalformed}, "failing array"},
		{"TLS server", &pipe{serve: raw([]byte{0x15, 3, 3, 0, 2, 2, 0x46})}, []error{ErrLost, ErrTLSServer}, "ssl=1"},
		{"web server", &pipe{serve: raw([]byte("HTTP/1.1 400 Bad Request\r\n"))}, []error{ErrProtocol, ErrHTTP}, "HTTP"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			_, err := testClient(tc.pipe).ImageDeactivate(t.Context(), "CNODE1", Immediate)
			for _, want := range tc.want {
				if !errors.Is(err, want) {
					t.Errorf("error %v, want one that is %v", err, want)
				}
			}
			var te *TransportError
			if !errors.As(err, &te) || te.Function != ImageDeactivate || te.Target != "CNODE1" {
				t.Fatalf("error %#v", err)
			}
			if !strings.Contains(err.Error(), tc.text) || strings.Contains(err.Error(), "\n") {
				t.Errorf("text %q, want one line with %q", err, tc.text)
			}
			tc.pipe.wg.Wait()
		})
	}
}

func TestClient_Limits(t *testing.T) {
	t.Parallel()
	silent := func(conn net.Conn) { io.Copy(io.Discard, conn) }
	drip := func(conn net.Conn) {
		ReadRequest(conn, Limits{})
		for _, b := range AppendResponse(AppendRequestID(nil, 7), Response{RequestID: 7}) {
			time.Sleep(time.Second)
			if _, err := conn.Write([]byte{b}); err != nil {
				return
			}
		}
	}
	tests := []struct {
		name              string
		pipe              *pipe
		connect, exchange time.Duration
		want              error
		after             time.Duration
	}{
		{"connect hangs, own limit", &pipe{hang: true}, 5 * time.Second, 30 * time.Second, ErrConnect, 5 * time.Second},
		{"connect hangs, common limit", &pipe{hang: true}, 0, 30 * time.Second, ErrConnect, 30 * time.Second},
		{"connect hangs, no limit set", &pipe{hang: true}, 0, 0, ErrConnect, DefaultExchangeLimit},
		{"silence", &pipe{serve: silent}, 5 * time.Second, 7 * time.Second, ErrLost, 7 * time.Second},
		{"silence, no limit set", &pipe{serve: silent}, 0, 0, ErrLost, DefaultExchangeLimit},
		{"a byte each second does not stretch the limit", &pipe{serve: drip}, 0, 10 * time.Second, ErrLost, 10 * time.Second},
		{"a byte each second within the limit", &pipe{serve: drip}, 0, 30 * time.Second, nil, 20 * time.Second},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := testClient(tc.pipe)
				c.ConnectLimit, c.ExchangeLimit = tc.connect, tc.exchange
				start := time.Now()
				_, err := c.ImageDeactivate(t.Context(), "CNODE1", Immediate)
				if !errors.Is(err, tc.want) || tc.want != nil && !errors.Is(err, ErrTimeout) {
					t.Errorf("error %v, want %v and %v", err, tc.want, ErrTimeout)
				}
				if got := time.Since(start); got != tc.after {
					t.Errorf("after %v, want %v", got, tc.after)
				}
				tc.pipe.wg.Wait()
			})
		})
	}
}

func TestClient_CancelAndClock(t *testing.T) {
	t.Parallel()
	silent := func(conn net.Conn) { io.Copy(io.Discard, conn) }
	t.Run("the caller's context ends the exchange", func(t *testing.T) {
		t.Parallel()
		p := &pipe{serve: silent}
		ctx, cancel := context.WithCancel(t.Context())
		c := testClient(p)
		c.Trace = func(byte, []byte) { cancel() }
		err := c.CheckAuthentication(ctx)
		if !errors.Is(err, context.Canceled) || !errors.Is(err, ErrLost) || errors.Is(err, ErrTimeout) {
			t.Errorf("error %v", err)
		}
		p.wg.Wait()
	})
	t.Run("the given clock ends the exchange", func(t *testing.T) {
		t.Parallel()
		clock := platformtest.NewClock()
		p := &pipe{serve: silent}
		c := testClient(p)
		c.Clock, c.ExchangeLimit = clock, time.Hour
		c.Trace = func(byte, []byte) { clock.Advance(time.Hour) }
		err := c.CheckAuthentication(t.Context())
		if !errors.Is(err, ErrTimeout) || !errors.Is(err, ErrLost) || !strings.Contains(err.Error(), "1h0m0s") {
			t.Errorf("error %v", err)
		}
		p.wg.Wait()
	})
}

func TestClient_RefusesBadRequests(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		c    Client
		call func(*Client) error
		text string
	}{
		{
			"target too long", Client{User: "U"},
			func(c *Client) error { _, err := c.ImageStatus(t.Context(), strings.Repeat("A", 65)); return err },
			"parameter 4 (target) is too long; nothing was sent",
		},
		{
			"empty target", Client{User: "U"},
			func(c *Client) error { _, err := c.ImageStatus(t.Context(), ""); return err },
			"parameter 4 (target) is too short; nothing was sent",
		},
		{
			"user too long", Client{User: "CMANAGER1"},
			func(c *Client) error { return c.CheckAuthentication(t.Context()) },
			"parameter 2 (user id) is too long; nothing was sent",
		},
		{
			"password too long", Client{User: "U", Password: Secret(strings.Repeat("x", 201))},
			func(c *Client) error { return c.CheckAuthentication(t.Context()) },
			"parameter 3 (password) is too long; nothing was sent",
		},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			err := tc.call(&tc.c) // no Dialer: a call of it would panic
			if !errors.Is(err, ErrRequest) || !strings.Contains(err.Error(), tc.text) {
				t.Errorf("error %v, want %q", err, tc.text)
			}
		})
	}
}

func TestClient_TraceHasNoPassword(t *testing.T) {
	t.Parallel()
	var log, warnings bytes.Buffer
	p := &pipe{serve: func(conn net.Conn) {
		ReadRequest(conn, Limits{})
		conn.Write(AppendResponse(AppendRequestID(nil, 7), Response{RequestID: 8, Reason: 12}))
	}}
	c := testClient(p)
	c.Log = slog.New(slog.NewTextHandler(&warnings, nil))
	c.Trace = func(d byte, b []byte) { log.WriteByte(d); log.Write(b) }
	if _, err := c.ImageStatus(t.Context(), "CNODE1"); err != nil {
		t.Fatal(err)
	}
	req := AppendRequest(nil, Request{Function: ImageStatusQuery, User: "CMANAGER", Password: "******", Target: "CNODE1"})
	want := ">" + string(req) + "<\x00\x00\x00\x07<" + string(AppendResponse(nil, Response{RequestID: 8, Reason: 12}))
	if diff := cmp.Diff(want, log.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if !strings.Contains(warnings.String(), "announced=7 got=8") {
		t.Errorf("no warning about the request ids: %s", warnings.String())
	}
	p.wg.Wait()
}

func TestClient_AsynchronousOperation(t *testing.T) {
	t.Parallel()
	for name, serve := range map[string]func(net.Conn){
		"id in the output":      answer(592, 0, binary.BigEndian.AppendUint32(nil, 4711)),
		"id in the reason code": answer(592, 4711, nil),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := &pipe{serve: serve}
			_, err := testClient(p).DirectoryNames(t.Context())
			var fault *ResultError
			if !errors.As(err, &fault) || fault.Operation != 4711 || fault.Class() != Started {
				t.Errorf("error %#v", err)
			}
			p.wg.Wait()
		})
	}
}

func TestClient_Subscribe(t *testing.T) {
	t.Parallel()
	stop := errors.New("enough")
	tests := []struct {
		name   string
		serve  func(net.Conn)
		want   []Event
		err    error
		within time.Duration
	}{
		{
			name: "events far apart",
			serve: func(conn net.Conn) {
				ReadRequest(conn, Limits{})
				conn.Write(AppendRequestID(nil, 7))
				for i := range 3 {
					time.Sleep(time.Hour)
					conn.Write(AppendEvent(nil, Event{Type: i + 1, Data: []byte("CNODE1")}))
				}
				io.Copy(io.Discard, conn)
			},
			want: []Event{{1, []byte("CNODE1")}, {2, []byte("CNODE1")}, {3, []byte("CNODE1")}},
			err:  stop,
		},
		{name: "refused", serve: answer(900, 12, nil), err: &ResultError{Function: EventSubscribe, Return: 900, Reason: 12}},
		{name: "server ends it", serve: raw(AppendEvent(AppendRequestID(nil, 7), Event{Type: 1})), want: []Event{{Type: 1}}, err: ErrLost},
		{name: "length below the smallest", serve: raw([]byte{0, 0, 0, 7, 0, 0, 0, 3}), err: ErrProtocol},
		{name: "giant length", serve: raw([]byte{0, 0, 0, 7, 0x7f, 0, 0, 0}), err: ErrProtocol},
		{name: "not accepted in time", serve: func(conn net.Conn) { io.Copy(io.Discard, conn) }, err: ErrTimeout},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := &pipe{serve: tc.serve}
				var got []Event
				err := testClient(p).Subscribe(t.Context(), "", func(e Event) error {
					got = append(got, Event{e.Type, bytes.Clone(e.Data)})
					if len(got) == 3 {
						return stop
					}
					return nil
				})
				if !errors.Is(err, tc.err) {
					t.Errorf("error %v, want %v", err, tc.err)
				}
				if diff := cmp.Diff(tc.want, got, revealed()); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
				p.wg.Wait()
			})
		})
	}
}
