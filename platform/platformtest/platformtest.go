// Package platformtest has the fakes of package platform. A fault is data: an
// error or a result that a fake is told to give at a certain call.
package platformtest

import (
	"bytes"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/haobox/haobox/platform"
	"github.com/haobox/haobox/platform/host"
)

// Env is a platform.Env with everything captured.
type Env struct {
	platform.Env
	Stdout, Stderr, Log *Buffer
	// Vars are the environment variables; change them before the call.
	Vars   map[string]string
	Clock  *Clock
	Runner *Runner
	// Root is the folder that stands for /.
	Root string
}

// NewEnv returns surroundings with empty standard input, an empty temporary
// root folder, a clock that starts at Epoch and a runner without programs.
// The context deadline of the code under test still runs on the real clock.
func NewEnv(t testing.TB) *Env {
	t.Helper()
	e := &Env{
		Stdout: &Buffer{}, Stderr: &Buffer{}, Log: &Buffer{},
		Vars: map[string]string{}, Clock: NewClock(), Runner: &Runner{}, Root: t.TempDir(),
	}
	e.Env = platform.Env{
		Stdin: strings.NewReader(""), Stdout: e.Stdout, Stderr: e.Stderr,
		Getenv:   func(k string) string { return e.Vars[k] },
		Environ:  e.environ,
		Hostname: func() (string, error) { return "cnode2", nil },
		Clock:    e.Clock, Runner: e.Runner, FS: host.NewFS(e.Root),
		Log: slog.New(slog.NewTextHandler(e.Log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	return e
}

// WithStdin returns the Env with text as standard input.
func (e *Env) WithStdin(text string) platform.Env {
	env := e.Env
	env.Stdin = strings.NewReader(text)
	return env
}

// environ is Vars as KEY=value, sorted.
func (e *Env) environ() []string {
	out := make([]string, 0, len(e.Vars))
	for k, v := range e.Vars {
		out = append(out, k+"="+v)
	}
	slices.Sort(out)
	return out
}

// Epoch is where the fake clock starts: the day of the manual's figure 20.
var Epoch = time.Date(2013, 12, 31, 14, 38, 18, 0, time.UTC)

// Buffer is a bytes.Buffer for several goroutines, with an optional fault.
type Buffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
	// Err is returned by every Write from now on.
	Err error
}

// Write appends p or returns Err.
func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.Err != nil {
		return 0, b.Err
	}
	return b.buf.Write(p)
}

// String is all that was written.
func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

var _ io.Writer = (*Buffer)(nil)

// ShortDir is a folder for the length of the test whose path is short: a
// socket's has 107 bytes at the most (unix(7)), and t.TempDir takes the test's
// name into it.
func ShortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "t")
	if err != nil {
		t.Fatal(err)
	}
	// What a process of the test that still ends writes there is no fault.
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}
