package host

import (
	"context"
	"os"
	"syscall"
	"testing"
)

// TestContext_Signal: the context is one that package context knows how to
// derive from, and ends with a signal that came after the first question.
func TestContext_Signal(t *testing.T) {
	ctx := Context()
	if v := ctx.Value("key"); v != nil {
		t.Errorf("value %v", v)
	}
	child, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := ctx.Err(); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	<-child.Done()
	if ctx.Err() != context.Canceled {
		t.Errorf("the context says %v", ctx.Err())
	}
}
