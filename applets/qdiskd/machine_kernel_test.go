//go:build linux

package qdiskd

import (
	"context"
	"net"
	"os"
	"testing"
	"time"

	"github.com/haobox/haobox/platform"
	"github.com/haobox/haobox/platform/platformtest"
	"github.com/haobox/haobox/platform/testskip"
)

// TestHeuristic: the forms that start no program, and one that does.
func TestHeuristic(t *testing.T) {
	t.Parallel()
	env := platformtest.NewEnv(t)
	write := func(name, text string) {
		t.Helper()
		if err := env.FS.MkdirAll("/sys/class/net/"+name, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := env.FS.WriteFile("/sys/class/net/"+name+"/carrier", []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("eth0", "1\n")
	write("eth1", "0\n")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	t.Cleanup(func() { l.Close() })
	env.Runner.Programs = map[string]platformtest.Program{"sh": {Do: func(_ context.Context, c platform.Cmd) (platform.Result, error) {
		if c.Args[2] == "true" {
			return platform.Result{}, nil
		}
		return platform.Result{ExitCode: 3}, nil
	}}}
	for _, tc := range []struct {
		program string
		ok      bool
	}{
		{"link:eth0", true}, {"link:eth1", false}, {"link:eth9", false}, {"link:", false}, {"link:../eth0", false},
		{"tcp:" + l.Addr().String(), true}, {"tcp:" + closed.Addr().String(), false}, {"tcp:", false},
		{"file:/sys/class/net/eth0/carrier", true}, {"file:/none", false},
		{"ping:nobody", false}, {"ping:", false},
		{"true", true}, {"exit 3", false},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		if err := heuristic(ctx, env.Env, tc.program); (err == nil) != tc.ok {
			t.Errorf("%s: %v", tc.program, err)
		}
		cancel()
	}
	if calls := env.Runner.Started(); len(calls) != 2 {
		t.Errorf("programs were started for looks of our own: %v", calls)
	}
}

func TestHeuristic_Ping(t *testing.T) {
	t.Parallel()
	testskip.IfEmulated(t, "the emulator has no raw sockets")
	if os.Geteuid() != 0 {
		t.Fatal("raw sockets need root")
	}
	env := platformtest.NewEnv(t)
	for _, to := range []string{"127.0.0.1", "::1"} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		if err := heuristic(ctx, env.Env, "ping:"+to); err != nil {
			t.Errorf("%s: %v", to, err)
		}
		cancel()
	}
	// Nobody answers there (RFC 6666, the discard prefix), or there is no way.
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := heuristic(ctx, env.Env, "ping:100::1"); err == nil {
		t.Error("an address that nobody has answers")
	}
}
