package ctl_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/haobox/haobox/internal/ctl"
)

func TestClientAndServer(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "ctl")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/double", func(w http.ResponseWriter, r *http.Request) {
		var in struct{ N int }
		if err := ctl.Read(r, &in); err != nil {
			ctl.Fail(w, http.StatusBadRequest, err)
			return
		}
		ctl.Reply(w, map[string]int{"n": 2 * in.N})
	})
	mux.HandleFunc("GET /v1/nothing", func(w http.ResponseWriter, r *http.Request) { ctl.Reply(w, nil) })
	mux.HandleFunc("GET /v1/wrong", func(w http.ResponseWriter, r *http.Request) {
		ctl.Fail(w, http.StatusNotFound, errors.New("there is no such thing"))
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- ctl.Serve(ctx, l, mux) }()
	c := &ctl.Client{Dial: func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}

	var out struct{ N int }
	if err := c.Do(t.Context(), "POST", "/v1/double", map[string]int{"n": 21}, &out); err != nil || out.N != 42 {
		t.Errorf("double: %d, %v", out.N, err)
	}
	if err := c.Do(t.Context(), "GET", "/v1/nothing", nil, nil); err != nil {
		t.Errorf("nothing: %v", err)
	}
	for _, tc := range []struct {
		method, path string
		in           any
		status       int
		text         string
	}{
		{"GET", "/v1/wrong", nil, 404, "there is no such thing"},
		{"GET", "/v1/unknown", nil, 404, "GET /v1/unknown: 404 page not found"},
		{"GET", "/v1/double", nil, 405, "GET /v1/double: Method Not Allowed"},
		{"POST", "/v1/double", map[string]int{"m": 1}, 400, `read the request's JSON: json: unknown field "m"`},
		{"POST", "/v1/double", "text", 400, "cannot unmarshal string"},
	} {
		err := c.Do(t.Context(), tc.method, tc.path, tc.in, nil)
		var e *ctl.Error
		if !errors.As(err, &e) || e.Status != tc.status || !strings.Contains(e.Text, tc.text) {
			t.Errorf("%s %s: %v, want %d %s", tc.method, tc.path, err, tc.status, tc.text)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("serve: %v", err)
	}
	if err := c.Do(t.Context(), "GET", "/v1/nothing", nil, nil); err == nil {
		t.Error("an answer from a server that has ended")
	}
}
