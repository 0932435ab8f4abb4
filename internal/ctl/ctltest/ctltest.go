// Package ctltest stands in for our daemons in tests of what talks to them.
package ctltest

import (
	"context"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/haobox/haobox/internal/ctl"
)

// Serve answers on the control socket of a daemon, "rgmanager", below the root
// folder root, until the test ends. The folder's path must be short, as
// platformtest.ShortDir makes them.
func Serve(t testing.TB, root, daemon string, h http.Handler) {
	t.Helper()
	dir := filepath.Join(root, "run/haobox") // daemon.RunDir of the applets
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(dir, daemon+".sock"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- ctl.Serve(ctx, l, h) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the stand-in for %s: %v", daemon, err)
		}
	})
}
