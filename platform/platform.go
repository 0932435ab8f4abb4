// Package platform holds the seam types between haobox and the machine. The
// packages below it are the only ones with system calls; everything else sees
// the machine through the values here, so that tests can hand in their own.
// Package platformtest has the fakes, platform/host the real ones.
package platform

import (
	"context"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"time"
)

// Env is what an applet gets of its surroundings. It is passed by value; no
// package keeps a copy. Sockets and devices are not in it: they are handed in
// where they are needed.
type Env struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// Getenv returns an environment variable, "" if it is not set.
	Getenv func(key string) string
	// Environ returns the whole environment as KEY=value, for the few who
	// must pass on variables whose names they do not know.
	Environ func() []string
	// Hostname is the kernel's host name, not a resolved one.
	Hostname func() (string, error)
	Clock    Clock
	Runner   Runner
	FS       FS
	// Log goes to the journal or syslog, never to Stderr unless the applet
	// itself says so. A logger with the attribute AppletKey is tagged with
	// that name.
	Log *slog.Logger
}

// AppletKey is the log attribute that holds the applet's name: the syslog tag.
const AppletKey = "applet"

// FacilityKey is the log attribute that holds the name of the syslog facility
// ("daemon", "local4"); it is no part of the text.
const FacilityKey = "syslog_facility"

// FieldsKey is a log attribute that says, with any value, that attributes of
// records are fields of the journal and no part of the text.
const FieldsKey = "fields_only"

// Clock is the only source of time for code that waits. Intervals are taken
// between two Now values, which carry the monotonic reading. Safe for
// concurrent use.
type Clock interface {
	Now() time.Time
	// Sleep waits for d or until ctx is done; then it returns ctx.Err().
	Sleep(ctx context.Context, d time.Duration) error
	// After returns a channel that delivers one time after d, and a function
	// that releases it early.
	After(d time.Duration) (c <-chan time.Time, stop func())
}

// Cmd is a program to start. It runs in a process group of its own.
type Cmd struct {
	// Path is absolute, or a name looked up in PATH.
	Path string
	// Args is the whole argv, with argv[0]; nil means just Path.
	Args []string
	// Env is the whole environment as KEY=value; nil means this process's own.
	Env []string
	// Dir is the working directory; "" means this process's own.
	Dir string
	// Stdin is copied to the program; nil means /dev/null.
	Stdin io.Reader
	// Stdout and Stderr receive its output; nil means it is thrown away.
	Stdout, Stderr io.Writer
	// Limit bounds the run; 0 means only the context does.
	Limit time.Duration
	// Grace is the time between SIGTERM and SIGKILL to the process group when
	// the limit or the context ends it; 0 means SIGKILL at once.
	Grace time.Duration
	// Contained puts the program into a control group of its own where the
	// machine lets us make one (cgroups(7), version 2), so that SIGKILL also
	// finds what has left the process group and the session and has lost its
	// parent. Elsewhere it does nothing. What the program leaves behind when it
	// ends by itself goes on.
	Contained bool
	// Private gives the program mount, network and process namespaces of its
	// own, in which it is process 1 (namespaces(7)), and ends it with this
	// process: what it starts, mounts and configures is gone when it ends.
	// Linux only, and it needs CAP_SYS_ADMIN.
	Private bool
	// Group is Contained, and names the control group below this process's own
	// that gets what the program leaves behind, so that this can be told later,
	// whatever it does to its environment. "" means this process's own group.
	Group string
}

// GroupPrefix begins the name of the folder of a Cmd.Group; the escaped name
// (url.PathEscape) follows.
const GroupPrefix = "haobox:"

// Result is how a program ended.
type Result struct {
	// ExitCode is 0 to 255, or -1 if a signal ended it.
	ExitCode int
	// Signal is the number of the signal that ended it, or 0.
	Signal int
	// TimedOut says that Cmd.Limit or the context ended it.
	TimedOut bool
	// Elapsed is the time from start to exit.
	Elapsed time.Duration
}

// OK reports whether the program ended by itself with exit status 0.
func (r Result) OK() bool { return r.ExitCode == 0 && r.Signal == 0 && !r.TimedOut }

// Runner starts programs. Safe for concurrent use.
type Runner interface {
	// Run starts cmd and waits for its end. The error is nil whenever the
	// program was started, however it ended. A background process that keeps
	// the output open does not hold Run back.
	Run(ctx context.Context, cmd Cmd) (Result, error)
	// Start starts cmd and returns at once; the caller must call Wait.
	Start(ctx context.Context, cmd Cmd) (Process, error)
}

// Process is a program that was started by Runner.Start.
type Process interface {
	PID() int
	// Signal sends sig to the program's process group. SIGKILL also goes to
	// its descendants in groups and sessions of their own, and, with
	// Cmd.Contained, to all that it has started.
	Signal(sig os.Signal) error
	// Wait returns when the program has ended. Call it once.
	Wait() (Result, error)
}

// FS is the file system as an applet sees it: names are absolute and looked
// up below a root folder, / or HAOBOX_ROOT. Errors are *fs.PathError with the
// name as given. Safe for concurrent use.
type FS interface {
	// Path is the real path of name, for what must be handed to the kernel
	// or a child: sockets, devices, programs.
	Path(name string) string
	Open(name string) (File, error)
	OpenFile(name string, flag int, perm fs.FileMode) (File, error)
	ReadFile(name string) ([]byte, error)
	// WriteFile replaces name atomically: a reader sees the old or the new
	// content, also after a power cut (write, fsync, rename, fsync of the
	// folder). The mode is exactly perm, whatever the umask.
	WriteFile(name string, data []byte, perm fs.FileMode) error
	Stat(name string) (fs.FileInfo, error)
	Lstat(name string) (fs.FileInfo, error)
	ReadDir(name string) ([]fs.DirEntry, error)
	Readlink(name string) (string, error)
	Symlink(target, name string) error
	MkdirAll(name string, perm fs.FileMode) error
	Rename(from, to string) error
	Remove(name string) error
}

// File is an open file of an FS.
type File interface {
	io.Reader
	io.Writer
	io.Closer
	Name() string
	Stat() (fs.FileInfo, error)
	Sync() error
}
