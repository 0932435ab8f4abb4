// Package boot runs commands as root on a real Linux kernel of another
// machine: it takes Debian's kernel package for that machine, builds an initial
// file system out of the given files and a small init program, boots it under
// an emulator and returns what the commands printed and how they ended. A boot
// takes a few seconds. Nothing of the host is touched but a cache folder.
//
// It is the thorough way beside user-mode emulation: the kernel's own system
// calls, modules (af_iucv, vsock_loopback, softdog, sch_netem, gfs2, dlm) and
// byte order. There is no z/VM below it, so IUCV has nobody to talk to.
package boot

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/cavaliergopher/cpio"

	"github.com/haobox/haobox/tools/vm/wire"
)

const (
	// bootTries is how often the guest is booted at most: emulators of other
	// machines have faults of their own, and a guest that dies before its
	// first command says nothing about the tests.
	bootTries = 3
	// kernelLine is what every kernel is told. One processor alone loads the
	// modules, the guest's init program adds the others: under qemu's
	// multi-threaded emulation a second one may run the init code of an
	// earlier module once more, from translations of an address that was
	// given anew (qemu 7.2, s390x: one boot in ten). An oops ends the guest
	// at once.
	kernelLine = "quiet maxcpus=1 oops=panic panic=-1 rdinit=/init"
	// bootLimit bounds the time from the emulator's start to the guest's
	// first word. It takes about 3 s on an idle machine; the rest is for a
	// busy one and a large initial file system.
	bootLimit = 120 * time.Second
	// offLimit bounds the time from the last command's end to power off.
	offLimit = 30 * time.Second
	// slackLimit is added to a command's own limit, which the guest enforces.
	slackLimit = 30 * time.Second
	// memoryBase is the guest's memory in MiB for kernel and programs;
	// the initial file system comes on top twice, packed and unpacked.
	memoryBase = 1024
)

// File is a file of the guest.
type File struct {
	// Name is its absolute path in the guest.
	Name string
	// Source is the host's file or folder tree to copy; if it is "", Data is
	// the content.
	Source string
	Data   []byte
	// Mode are its permissions; 0 means those of Source.
	Mode fs.FileMode
}

// Config is a guest and what it does.
type Config struct {
	Arch Arch
	// Kernel is what it boots.
	Kernel *Kernel
	// Init is the host's file of the program in tools/vm/guest, built for Arch.
	Init string
	// Modules are loaded before the commands, with all they depend on.
	Modules []string
	Files   []File
	// Commands run one after the other. Each starts without the processes
	// that the one before left behind.
	Commands []wire.Command
	// CPUs is the number of processors; 0 means 1.
	CPUs int
	// Output is called with what a command prints, as it comes; nil means
	// that Result has it. kind is wire.Stdout or wire.Stderr.
	Output func(command int, kind string, data []byte)
	// Again is called with the reason when the guest is booted once more, nil
	// means that nobody needs to know.
	Again func(error)
	// Ended is called at the end of each command.
	Ended func(command int, r Result)
}

// Result is how a command ended.
type Result struct {
	// Stdout and Stderr are what it printed, if Config.Output is nil.
	Stdout, Stderr []byte
	// Code is the exit status, 128 + number for a signal, 127 if it could not
	// be started.
	Code     int
	TimedOut bool
	// Elapsed is its run time in the guest.
	Elapsed time.Duration
	// Fault says why it could not be started.
	Fault string
}

// Report is the result of a whole run.
type Report struct {
	Results []Result
	// Release is the guest's kernel.
	Release string
	// Boot is the time to the first command, Total that to power off.
	Boot, Total time.Duration
}

// Run boots the guest and runs its commands. The error is nil when every
// command was run, however it ended; otherwise it has the end of the guest's
// console. A guest that dies before its first command is booted again, at most
// bootTries times in all; Config.Again hears of it.
func Run(ctx context.Context, cfg Config) (*Report, error) {
	return retry(ctx, bootTries, cfg.Again, func() (*Report, error) { return run(ctx, cfg) })
}

// retry calls boot until a guest was ready, at most tries times.
func retry(ctx context.Context, tries int, again func(error), boot func() (*Report, error)) (*Report, error) {
	for try := 1; ; try++ {
		report, err := boot()
		if err == nil || report == nil || report.Boot > 0 || try == tries || ctx.Err() != nil {
			return report, err
		}
		if again != nil {
			again(err)
		}
	}
}

// run is one boot. The report is nil if the emulator was not started, and its
// Boot 0 if the guest did not get as far as its first command.
func run(ctx context.Context, cfg Config) (*Report, error) {
	dir, err := os.MkdirTemp("", "haobox-vm-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	initrd := filepath.Join(dir, "initrd")
	if err := writeInitrd(initrd, cfg); err != nil {
		return nil, fmt.Errorf("build the guest's files: %w", err)
	}
	info, err := os.Stat(initrd)
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("unix", filepath.Join(dir, "port"))
	if err != nil {
		return nil, err
	}
	defer listener.Close()

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	console := &tail{}
	args := append([]string{}, cfg.Arch.args...)
	args = append(args,
		"-m", strconv.FormatInt(memoryBase+2*(info.Size()>>20), 10), "-smp", strconv.Itoa(max(cfg.CPUs, 1)),
		"-display", "none", "-monitor", "none", "-no-reboot", "-nodefaults", "-serial", "file:"+filepath.Join(dir, "console"),
		"-kernel", cfg.Kernel.Image, "-initrd", initrd, "-append", "console="+cfg.Arch.console+" "+kernelLine,
		"-device", cfg.Arch.serial,
		"-chardev", "socket,id=port,path="+filepath.Join(dir, "port"),
		"-device", "virtserialport,chardev=port,name="+wire.Port)
	cmd := exec.CommandContext(ctx, cfg.Arch.qemu, args...)
	cmd.Stdout, cmd.Stderr = console, console
	cmd.WaitDelay = offLimit
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the emulator: %w", err)
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait(); listener.Close() }()

	s := &session{cfg: cfg, report: &Report{Results: make([]Result, len(cfg.Commands))}, start: start}
	runErr := s.follow(listener)
	if runErr != nil {
		cancel()
	}
	select {
	case <-exited:
	case <-time.After(offLimit):
		cancel()
		<-exited
		if runErr == nil {
			runErr = fmt.Errorf("the guest did not power off within %v", offLimit)
		}
	}
	s.report.Total = time.Since(start)
	if runErr != nil {
		text, _ := os.ReadFile(filepath.Join(dir, "console"))
		console.Write(text)
		return s.report, fmt.Errorf("%s guest: %w; the end of its console:\n%s", cfg.Arch.Name, runErr, console)
	}
	return s.report, nil
}

// session reads the guest's frames.
type session struct {
	cfg    Config
	report *Report
	start  time.Time
}

// follow reads frames to the end of the run.
func (s *session) follow(l net.Listener) error {
	if err := l.(*net.UnixListener).SetDeadline(time.Now().Add(bootLimit)); err != nil {
		return err
	}
	conn, err := l.Accept()
	if err != nil {
		return fmt.Errorf("the emulator did not open its port: %w", err)
	}
	defer conn.Close()
	r := bufio.NewReader(conn)
	ready, next := false, 0
	limit := bootLimit
	deadline := time.Now().Add(limit)
	for {
		if err := conn.SetReadDeadline(deadline); err != nil {
			return err
		}
		line, err := r.ReadBytes('\n')
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded) && !ready:
			return fmt.Errorf("not ready within %v", limit)
		case errors.Is(err, os.ErrDeadlineExceeded):
			return fmt.Errorf("command %d of %d gave no answer within %v", next+1, len(s.cfg.Commands), limit)
		case errors.Is(err, io.EOF):
			return fmt.Errorf("ended before command %d of %d did", next+1, len(s.cfg.Commands))
		case err != nil:
			return err
		}
		var f wire.Frame
		if err := json.Unmarshal(line, &f); err != nil {
			return fmt.Errorf("read a frame %.80q: %w", line, err)
		}
		if f.Command < 0 || f.Command >= len(s.cfg.Commands) && f.Kind != wire.Ready && f.Kind != wire.Done && f.Kind != wire.Fault {
			return fmt.Errorf("frame of unknown command %d", f.Command)
		}
		switch f.Kind {
		case wire.Fault:
			return errors.New(f.Text)
		case wire.Ready:
			ready = true
			s.report.Release, s.report.Boot = f.Text, time.Since(s.start)
		case wire.Stdout, wire.Stderr:
			s.output(f)
			continue
		case wire.Exit:
			res := &s.report.Results[f.Command]
			res.Code, res.TimedOut, res.Elapsed, res.Fault = f.Code, f.TimedOut, f.Elapsed, f.Text
			if s.cfg.Ended != nil {
				s.cfg.Ended(f.Command, *res)
			}
			next = f.Command + 1
		case wire.Done:
			return nil
		default:
			return fmt.Errorf("frame of unknown kind %q", f.Kind)
		}
		limit = offLimit
		if next < len(s.cfg.Commands) {
			limit = s.cfg.Commands[next].Limit + slackLimit
		}
		deadline = time.Now().Add(limit)
	}
}

func (s *session) output(f wire.Frame) {
	res := &s.report.Results[f.Command]
	switch {
	case s.cfg.Output != nil:
		s.cfg.Output(f.Command, f.Kind, f.Data)
	case f.Kind == wire.Stdout:
		res.Stdout = append(res.Stdout, f.Data...)
	default:
		res.Stderr = append(res.Stderr, f.Data...)
	}
}

// tail keeps the last of what is written to it.
type tail struct{ buf bytes.Buffer }

const tailSize = 4096

func (t *tail) Write(p []byte) (int, error) {
	t.buf.Write(p)
	if extra := t.buf.Len() - tailSize; extra > 0 {
		t.buf.Next(extra)
	}
	return len(p), nil
}

func (t *tail) String() string { return strings.TrimSpace(t.buf.String()) }

// writeInitrd writes the guest's initial file system: a cpio archive, not
// compressed, because unpacking costs an emulated processor more than reading.
func writeInitrd(name string, cfg Config) error {
	out, err := os.Create(name)
	if err != nil {
		return err
	}
	defer out.Close()
	buf := bufio.NewWriterSize(out, 1<<20)
	w := &archive{w: cpio.NewWriter(buf), dirs: map[string]bool{"/": true}}
	modules, err := cfg.Kernel.Resolve(append(append([]string{}, cfg.Arch.transport...), append([]string{"virtio_console"}, cfg.Modules...)...))
	if err != nil {
		return err
	}
	plan := wire.Plan{Commands: cfg.Commands}
	for _, m := range modules {
		data, err := readModule(m)
		if err != nil {
			return err
		}
		at := "/lib/modules/" + cfg.Kernel.Release + "/" + moduleName(m) + ".ko"
		plan.Modules = append(plan.Modules, at)
		if err := w.data(at, data, 0o644); err != nil {
			return err
		}
	}
	data, err := json.Marshal(plan)
	if err != nil {
		return err
	}
	files := append([]File{
		{Name: "/init", Source: cfg.Init, Mode: 0o755},
		{Name: wire.PlanFile, Data: data, Mode: 0o600},
		{Name: "/etc/passwd", Data: []byte("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"), Mode: 0o644},
		{Name: "/etc/group", Data: []byte("root:x:0:\nnogroup:x:65534:\n"), Mode: 0o644},
		{Name: "/etc/hosts", Data: []byte("127.0.0.1 localhost guest\n::1 localhost\n"), Mode: 0o644},
		{Name: "/root/.keep", Mode: 0o600},
	}, cfg.Files...)
	for _, f := range files {
		if err := w.file(f); err != nil {
			return err
		}
	}
	if err := w.w.Close(); err != nil {
		return err
	}
	return errors.Join(buf.Flush(), out.Close())
}

// archive writes a cpio archive with the folders that its files need.
type archive struct {
	w    *cpio.Writer
	dirs map[string]bool
}

func (a *archive) file(f File) error {
	if f.Source == "" {
		return a.data(f.Name, f.Data, f.Mode)
	}
	return filepath.WalkDir(f.Source, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(f.Source, path)
		if err != nil {
			return err
		}
		info, err := os.Lstat(path)
		if path == f.Source {
			info, err = os.Stat(path)
		}
		if err != nil {
			return err
		}
		name := filepath.Join(f.Name, rel)
		mode := info.Mode().Perm()
		if f.Mode != 0 && !info.IsDir() {
			mode = f.Mode
		}
		switch {
		case info.IsDir():
			return a.dir(name)
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			return a.entry(name, cpio.TypeSymlink|0o777, strings.NewReader(target), int64(len(target)))
		case info.Mode().IsRegular():
			in, err := os.Open(path)
			if err != nil {
				return err
			}
			defer in.Close()
			return a.entry(name, cpio.TypeReg|cpio.FileMode(mode), in, info.Size())
		}
		return nil
	})
}

func (a *archive) data(name string, data []byte, mode fs.FileMode) error {
	return a.entry(name, cpio.TypeReg|cpio.FileMode(mode.Perm()), bytes.NewReader(data), int64(len(data)))
}

// dir writes a folder and those above it, once.
func (a *archive) dir(name string) error {
	if a.dirs[name] {
		return nil
	}
	if err := a.dir(filepath.Dir(name)); err != nil {
		return err
	}
	a.dirs[name] = true
	return a.w.WriteHeader(&cpio.Header{Name: strings.TrimPrefix(name, "/"), Mode: cpio.TypeDir | 0o755, Links: 2})
}

func (a *archive) entry(name string, mode cpio.FileMode, content io.Reader, size int64) error {
	if err := a.dir(filepath.Dir(name)); err != nil {
		return err
	}
	if err := a.w.WriteHeader(&cpio.Header{Name: strings.TrimPrefix(name, "/"), Mode: mode, Size: size, Links: 1}); err != nil {
		return fmt.Errorf("add %s: %w", name, err)
	}
	if _, err := io.Copy(a.w, content); err != nil {
		return fmt.Errorf("add %s: %w", name, err)
	}
	return nil
}
