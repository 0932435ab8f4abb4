package host

import (
	"context"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// Context returns a context that is done at the first SIGINT, SIGTERM or
// SIGHUP. They are caught from the first time somebody asks whether it is
// done: until then there is nothing to end in order, and they end the process.
// To catch one costs the run time a thread and some ten changes between
// threads, more than all that a status check of an agent does.
func Context() context.Context { return &signals{Context: context.Background()} }

// signals is the context of Context. Safe for concurrent use.
type signals struct {
	context.Context
	once sync.Once
	// caught is the context that signals end, nil before the first question.
	caught atomic.Pointer[context.Context]
}

func (s *signals) catch() context.Context {
	s.once.Do(func() {
		ctx, _ := signal.NotifyContext(s.Context, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
		s.caught.Store(&ctx)
	})
	return *s.caught.Load()
}

func (s *signals) Done() <-chan struct{} { return s.catch().Done() }

func (s *signals) Err() error { return s.catch().Err() }

// Value has no value of its own; package context asks for the context that
// Done belongs to.
func (s *signals) Value(key any) any {
	if ctx := s.caught.Load(); ctx != nil {
		return (*ctx).Value(key)
	}
	return nil
}

// stream returns standard output or standard error under a descriptor of its
// own: the run time ends a process that writes to the descriptor 1 or 2 after
// the reader is gone (package os/signal, "SIGPIPE"), and for an agent that is
// an error of the write. f is returned if it is not open.
func stream(f *os.File, fd int) *os.File {
	own, err := unix.Dup(fd)
	if err != nil {
		return f
	}
	unix.CloseOnExec(own)
	return os.NewFile(uintptr(own), f.Name())
}
