//go:build linux

package engine

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/haobox/haobox/internal/cluster"
)

// stub is an engine that only has a status.
type stub struct {
	cluster.Engine
	status func(context.Context) (cluster.Status, error)
	closed chan struct{}
}

func (s stub) Status(ctx context.Context) (cluster.Status, error) { return s.status(ctx) }
func (s stub) Close() error                                       { close(s.closed); return nil }

// TestAsk: what the engine says, and why it says nothing.
func TestAsk(t *testing.T) {
	t.Parallel()
	hang := make(chan struct{})
	t.Cleanup(func() { close(hang) })
	for _, tc := range []struct {
		name   string
		open   error
		status func(context.Context) (cluster.Status, error)
		want   cluster.Absence
	}{
		{"not running", fmt.Errorf("x: %w", cluster.ErrNotRunning), nil, cluster.NotRunning},
		{"another user", cluster.ErrDenied, nil, cluster.Denied},
		{"ends while asked", nil, func(context.Context) (cluster.Status, error) { return cluster.Status{}, lostf(errors.New("x")) }, cluster.Gone},
		{"waits for the limit", nil, func(ctx context.Context) (cluster.Status, error) { <-ctx.Done(); return cluster.Status{}, ctx.Err() }, cluster.Silent},
		{"knows no limit", nil, func(context.Context) (cluster.Status, error) { <-hang; return cluster.Status{}, nil }, cluster.Silent},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			limit := time.Minute
			if tc.want == cluster.Silent {
				limit = 20 * time.Millisecond
			}
			_, err := Ask(t.Context(), limit, func(context.Context) (cluster.Engine, error) {
				if tc.open != nil {
					return nil, tc.open
				}
				return stub{status: tc.status, closed: make(chan struct{})}, nil
			})
			var u *cluster.Unavailable
			if !errors.As(err, &u) || u.Why != tc.want {
				t.Errorf("got %v, want %v", err, tc.want)
			}
		})
	}
	closed := make(chan struct{})
	st, err := Ask(t.Context(), AskLimit, func(context.Context) (cluster.Engine, error) {
		return stub{status: func(context.Context) (cluster.Status, error) { return cluster.Status{Cluster: "c"}, nil }, closed: closed}, nil
	})
	if err != nil || st.Cluster != "c" {
		t.Errorf("%+v, %v", st, err)
	}
	<-closed
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Ask(ctx, AskLimit, func(ctx context.Context) (cluster.Engine, error) { <-ctx.Done(); return nil, ctx.Err() }); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// TestAsk_Local: on the embedded engine.
func TestAsk_Local(t *testing.T) {
	t.Parallel()
	cfg := LocalConfig{Dir: t.TempDir(), Cluster: "small", Node: 1, Nodes: []LocalNode{{Node: cluster.Node{ID: 1, Name: "a"}}, {Node: cluster.Node{ID: 2, Name: "b"}}}}
	st, err := Ask(t.Context(), AskLimit, func(ctx context.Context) (cluster.Engine, error) { return OpenLocal(ctx, cfg) })
	if err != nil || st.Cluster != "small" || st.Quorate || fmt.Sprint(st.Members()) != "[1]" {
		t.Errorf("%+v, %v", st, err)
	}
}
