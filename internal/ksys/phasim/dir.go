package phasim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/haobox/haobox/internal/ksys"
	"github.com/haobox/haobox/platform"
)

// The environment of a process below the simulator.
const (
	EnvDir   = ksys.EnvSimulation
	EnvNode  = "PHASIM_NODE"
	EnvRoot  = "PHASIM_ROOT"
	EnvSpeed = "PHASIM_SPEED"
)

const (
	stateFile = "state.json"
	stateLock = "state.lock"
	// lockPatience bounds the wait for the World of another process. Ours.
	lockPatience = 30 * time.Second
	lockPause    = time.Millisecond
)

// ErrNodeDown ends the processes of a node that crashed.
var ErrNodeDown = errors.New("the simulated node is down")

// Opener opens a state folder: platform/statedir's Open.
type Opener func(path string) (ksys.Store, error)

// Dir is a World in a folder, shared by processes. Safe for concurrent use.
type Dir struct {
	Path string
	// FS and Clock are the real ones.
	FS    platform.FS
	Clock platform.Clock
	// Speed is how many virtual seconds a real one has; 0 means that the time
	// moves only by what the commands need and the scripts sleep.
	Speed float64

	mu    sync.Mutex
	store ksys.Store
}

// OpenDir returns the World's folder.
func OpenDir(env platform.Env, open Opener, dir string, speed float64) (*Dir, error) {
	store, err := open(env.FS.Path(dir))
	if err != nil {
		return nil, fmt.Errorf("open the simulation in %s: %w", dir, err)
	}
	return &Dir{Path: dir, FS: env.FS, Clock: env.Clock, Speed: speed, store: store}, nil
}

// With calls f with the World, alone among all processes, and stores what f
// made of it.
func (d *Dir) With(f func(w *World) error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	release, err := d.lock()
	if err != nil {
		return err
	}
	defer release()
	w := &World{}
	data, err := d.FS.ReadFile(path.Join(d.Path, stateFile))
	if err == nil {
		err = json.Unmarshal(data, w)
	}
	if err != nil {
		return fmt.Errorf("read the simulation in %s (phasim init makes one): %w", d.Path, err)
	}
	if real := d.Clock.Now().UnixMilli(); d.Speed > 0 {
		w.AdvanceTo(w.Now + int64(float64(max(real-w.Real, 0))*d.Speed))
		w.Real = real
	}
	ferr := f(w)
	if len(w.Trace) > 0 {
		if err := d.append("log/events.log", strings.Join(w.Trace, "\n")+"\n"); err != nil {
			return err
		}
	}
	return errors.Join(ferr, d.save(w))
}

// save replaces the World's file by one rename. It is not synced: a
// simulation need not survive a power cut.
func (d *Dir) save(w *World) error {
	data, err := json.MarshalIndent(w, "", " ")
	if err != nil {
		return err
	}
	tmp := path.Join(d.Path, stateFile+".new")
	f, err := d.FS.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return d.FS.Rename(tmp, path.Join(d.Path, stateFile))
}

func (d *Dir) lock() (func(), error) {
	for began := d.Clock.Now(); ; {
		release, err := d.store.Lock(stateLock, "")
		if err == nil {
			return release, nil
		}
		var l interface{ Locked() bool }
		if !errors.As(err, &l) || !l.Locked() || d.Clock.Now().Sub(began) > lockPatience {
			return nil, err
		}
		if err := d.Clock.Sleep(context.Background(), lockPause); err != nil {
			return nil, err
		}
	}
}

// append adds a line to a file of the simulation.
func (d *Dir) append(name, line string) error {
	f, err := d.FS.OpenFile(path.Join(d.Path, name), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	_, err = io.WriteString(f, line)
	return errors.Join(err, f.Close())
}

// Root is the folder that is / of a node.
func (d *Dir) Root(node string) string { return path.Join(d.Path, "node", node) }

// Read implements Files.
func (d *Dir) Read(node, name string) ([]byte, error) {
	return d.FS.ReadFile(path.Join(d.Root(node), path.Clean("/"+name)))
}

// Write implements Files.
func (d *Dir) Write(node, name string, data []byte) error {
	p := path.Join(d.Root(node), path.Clean("/"+name))
	if err := d.FS.MkdirAll(path.Dir(p), 0o755); err != nil {
		return err
	}
	perm := fs.FileMode(0o644)
	if strings.HasPrefix(name, ksys.ScriptDir) {
		perm = 0o755
	}
	return d.FS.WriteFile(p, data, perm)
}

// Init makes a new simulation: the World, the nodes' roots with the scripts,
// and links by the commands' names to the program haobox.
func Init(env platform.Env, open Opener, dir, haobox string, o Options) error {
	w, err := New(o)
	if err != nil {
		return err
	}
	for _, sub := range []string{"bin", "log", "node"} {
		if err := env.FS.MkdirAll(path.Join(dir, sub), 0o700); err != nil {
			return err
		}
	}
	if _, err := env.FS.Stat(path.Join(dir, stateFile)); err == nil {
		return fmt.Errorf("make a simulation in %s: there is one already", dir)
	}
	d, err := OpenDir(env, open, dir, 0)
	if err != nil {
		return err
	}
	for _, name := range append(Names(), "haobox") {
		if err := env.FS.Symlink(haobox, path.Join(dir, "bin", name)); err != nil {
			return err
		}
	}
	for _, n := range w.Nodes {
		if err := d.Write(n.Name, "/etc/ct_node_id", fmt.Appendf(nil, "%016x\n", n.ID)); err != nil {
			return err
		}
		if err := d.Write(n.Name, "/etc/cluster/rhosts", nil); err != nil {
			return err
		}
		for _, s := range []string{"startupmonksys", "longrunmonksys", "startksys", "stopksys"} {
			text := "#!/bin/sh\nexec " + path.Join(dir, "bin/haobox") + " " + s + " \"$@\"\n"
			if err := d.Write(n.Name, path.Join(ksys.ScriptDir, s), []byte(text)); err != nil {
				return err
			}
		}
	}
	w.Real = env.Clock.Now().UnixMilli()
	return d.save(w)
}

// NodeEnv is the environment of a process on a node.
func (d *Dir) NodeEnv(w *World, n *Node) []string {
	out := []string{
		"PATH=" + path.Join(d.Path, "bin") + ":/usr/bin:/bin", "LC_ALL=C", "HOME=/",
		EnvDir + "=" + d.Path, EnvNode + "=" + n.Name, EnvRoot + "=" + d.Root(n.Name),
		ksys.EnvPath + "=" + path.Join(d.Path, "bin"), ksys.EnvNode + "=" + n.Name, ksys.EnvBootID + "=" + n.BootID(),
	}
	if d.Speed > 0 {
		speed := strconv.FormatFloat(d.Speed, 'g', -1, 64)
		out = append(out, ksys.EnvTimescale+"="+speed, EnvSpeed+"="+speed)
	}
	return out
}

// Surroundings returns env and open as they are, or, below the simulator
// (PHASIM_DIR is set), with the World's clock, the node's files and the
// simulated commands' faults.
func Surroundings(env platform.Env, open Opener) (platform.Env, Opener, error) {
	dir := env.Getenv(EnvDir)
	if dir == "" {
		return env, open, nil
	}
	scale := env.Getenv(ksys.EnvTimescale)
	if scale == "" {
		scale = env.Getenv(EnvSpeed)
	}
	speed, _ := strconv.ParseFloat(scale, 64)
	d, err := OpenDir(env, open, dir, speed)
	if err != nil {
		return env, open, err
	}
	c := &clock{dir: d, node: env.Getenv(EnvNode)}
	real := env
	env.Getenv = func(key string) string {
		if key == EnvSpeed {
			return scale
		}
		return real.Getenv(key)
	}
	env.Hostname = func() (string, error) { return c.node, nil }
	env.Clock = c
	env.Runner = &runner{Runner: real.Runner, clock: c}
	root := env.Getenv(EnvRoot)
	if root != "" {
		env.FS = Below(real.FS, root)
	}
	return env, func(p string) (ksys.Store, error) {
		s, err := open(p)
		if err != nil {
			return nil, err
		}
		return &faultyStore{Store: s, clock: c}, nil
	}, nil
}

// clock is the World's time.
type clock struct {
	dir  *Dir
	node string
	// jump is fixed at the first look: a process measures intervals with a
	// clock that does not jump.
	once sync.Once
	jump time.Duration
}

func (c *clock) Now() time.Time {
	var now time.Time
	err := c.dir.With(func(w *World) error {
		c.once.Do(func() { c.jump = time.Duration(w.Jump) * time.Millisecond })
		now = w.Clock().Add(c.jump - time.Duration(w.Jump)*time.Millisecond)
		return nil
	})
	if err != nil {
		return c.dir.Clock.Now()
	}
	return now
}

func (c *clock) Sleep(ctx context.Context, d time.Duration) error {
	if c.dir.Speed > 0 {
		if err := c.dir.Clock.Sleep(ctx, time.Duration(float64(d)/c.dir.Speed)); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return c.dir.With(func(w *World) error {
		if c.dir.Speed == 0 {
			w.AdvanceTo(w.Now + d.Milliseconds())
		}
		if n := w.Node(c.node); n != nil && !n.Up {
			return ErrNodeDown
		}
		return nil
	})
}

func (c *clock) After(d time.Duration) (<-chan time.Time, func()) {
	ch := make(chan time.Time, 1)
	if c.Sleep(context.Background(), d) == nil {
		ch <- c.Now()
	}
	return ch, func() {}
}

// hangCode is the exit status by which a simulated command says that it
// hangs, when the time is virtual.
const hangCode = 213

// runner turns the statuses of simulated commands into what they stand for.
type runner struct {
	platform.Runner
	clock *clock
}

func (r *runner) Run(ctx context.Context, cmd platform.Cmd) (platform.Result, error) {
	res, err := r.Runner.Run(ctx, cmd)
	if err != nil {
		return res, err
	}
	switch res.ExitCode {
	case codeMissing:
		return platform.Result{ExitCode: -1}, fmt.Errorf("start %s: %w", cmd.Path, fs.ErrNotExist)
	case codeDown:
		return platform.Result{ExitCode: -1, Signal: 9}, nil
	case hangCode:
		return platform.Result{ExitCode: -1, Signal: 15, TimedOut: true}, r.clock.Sleep(ctx, cmd.Limit)
	}
	return res, nil
}

// faultyStore is a state folder on a disk with faults.
type faultyStore struct {
	ksys.Store
	clock *clock
}

var (
	errReadOnly = errors.New("read-only file system (simulated)")
	errNoSpace  = errors.New("no space left on device (simulated)")
)

func (s *faultyStore) fault() error {
	var out error
	err := s.clock.dir.With(func(w *World) error {
		n := w.Node(s.clock.node)
		switch {
		case n == nil:
		case w.has(n, "fs readonly"):
			out = errReadOnly
		case w.has(n, "fs full"):
			out = errNoSpace
		}
		return nil
	})
	return errors.Join(err, out)
}

func (s *faultyStore) Create(name string, data []byte) error {
	if err := s.fault(); err != nil {
		return err
	}
	return s.Store.Create(name, data)
}

func (s *faultyStore) Replace(name string, data []byte) error {
	if err := s.fault(); err != nil {
		return err
	}
	return s.Store.Replace(name, data)
}

func (s *faultyStore) Remove(name string) error {
	if err := s.fault(); errors.Is(err, errReadOnly) {
		return err
	}
	return s.Store.Remove(name)
}

// Command runs one simulated command as a program and returns its status.
func Command(ctx context.Context, env platform.Env, open Opener, args []string) int {
	dir := env.Getenv(EnvDir)
	if dir == "" {
		fmt.Fprintf(env.Stderr, "%s: simulated; it works only below phasim (PHASIM_DIR is not set)\n", args[0])
		return codeMissing
	}
	speed, _ := strconv.ParseFloat(env.Getenv(EnvSpeed), 64)
	d, err := OpenDir(env, open, dir, speed)
	if err != nil {
		fmt.Fprintln(env.Stderr, err)
		return codeMissing
	}
	var a Answer
	node := env.Getenv(EnvNode)
	err = d.With(func(w *World) error {
		a = w.Exec(Call{Node: node, Argv: args, Scope: env.Getenv("CT_MANAGEMENT_SCOPE"), Files: d})
		at := w.Now
		if speed == 0 {
			w.AdvanceTo(w.Now + a.Took.Milliseconds())
		}
		if n := w.Node(node); n != nil && !n.Up {
			a = Answer{Code: codeDown}
		}
		code := strconv.Itoa(a.Code)
		if a.Hang {
			code = "hang"
		}
		return d.append("log/calls.log", fmt.Sprintf("T+%06d %s %s rc=%s %q\n", at/1000, node, strings.Join(args, " "), code, firstLine(a.Stdout+a.Stderr)))
	})
	if err != nil {
		fmt.Fprintln(env.Stderr, err)
		return codeMissing
	}
	if a.Hang {
		if speed == 0 {
			return hangCode
		}
		// For ever; the caller's limit ends the process.
		<-ctx.Done()
		return codeDown
	}
	if speed > 0 {
		_ = env.Clock.Sleep(ctx, time.Duration(float64(a.Took)/speed))
	}
	io.WriteString(env.Stdout, a.Stdout)
	io.WriteString(env.Stderr, a.Stderr)
	return a.Code
}

func firstLine(s string) string {
	for l := range strings.Lines(s) {
		if l = strings.TrimSpace(l); l != "" {
			return l
		}
	}
	return ""
}

// Below returns the files below root as if root were /.
func Below(files platform.FS, root string) platform.FS { return below{files, root} }

type below struct {
	fs   platform.FS
	root string
}

func (b below) at(name string) string { return path.Join(b.root, path.Clean("/"+name)) }

func (b below) Path(name string) string                    { return b.fs.Path(b.at(name)) }
func (b below) Open(name string) (platform.File, error)    { return b.fs.Open(b.at(name)) }
func (b below) ReadFile(name string) ([]byte, error)       { return b.fs.ReadFile(b.at(name)) }
func (b below) Stat(name string) (fs.FileInfo, error)      { return b.fs.Stat(b.at(name)) }
func (b below) Lstat(name string) (fs.FileInfo, error)     { return b.fs.Lstat(b.at(name)) }
func (b below) ReadDir(name string) ([]fs.DirEntry, error) { return b.fs.ReadDir(b.at(name)) }
func (b below) Readlink(name string) (string, error)       { return b.fs.Readlink(b.at(name)) }
func (b below) Symlink(target, name string) error          { return b.fs.Symlink(target, b.at(name)) }
func (b below) Rename(from, to string) error               { return b.fs.Rename(b.at(from), b.at(to)) }
func (b below) Remove(name string) error                   { return b.fs.Remove(b.at(name)) }
func (b below) MkdirAll(name string, perm fs.FileMode) error {
	return b.fs.MkdirAll(b.at(name), perm)
}
func (b below) OpenFile(name string, flag int, perm fs.FileMode) (platform.File, error) {
	return b.fs.OpenFile(b.at(name), flag, perm)
}
func (b below) WriteFile(name string, data []byte, perm fs.FileMode) error {
	return b.fs.WriteFile(b.at(name), data, perm)
}

// Resolve gives every name the address that the paper's nodes would have.
func Resolve(_ context.Context, name string) ([]string, error) {
	sum := 0
	for i := range len(name) {
		sum = (sum*31 + int(name[i])) % 250
	}
	return []string{fmt.Sprintf("10.40.0.%d", 1+sum)}, nil
}
