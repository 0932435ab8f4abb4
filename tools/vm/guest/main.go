//go:build linux

// Guest is the init program of the virtual machines that tests run in: it
// mounts what a Linux system has, loads the kernel modules of its plan, starts
// the other processors, runs the commands of its plan one after the other as
// root, and powers off.
//
// As process 1 it only starts itself a second time and collects the dead; the
// second process does the work, so that waiting for a command and collecting
// orphans do not meet.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/haobox/haobox/tools/vm/wire"
)

// outputGrace is how long a command's output is read after its end: a process
// that it left behind may hold the pipe open, until it is killed.
const outputGrace = 2 * time.Second

// portLimit bounds the wait for the virtio port to appear. Its driver has just
// been loaded; under emulation that takes some tenths of a second.
const portLimit = 30 * time.Second

func main() {
	if os.Getpid() == 1 {
		first()
	}
	if err := work(); err != nil {
		fmt.Fprintln(os.Stderr, "guest:", err)
		os.Exit(1)
	}
}

// first is process 1. It never returns.
func first() {
	if err := second(); err != nil {
		fmt.Fprintln(os.Stderr, "guest:", err)
	}
	unix.Sync()
	err := unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	fmt.Fprintln(os.Stderr, "guest: power off:", err)
	select {}
}

// second prepares the file systems, starts the second process and collects
// the dead until that one is among them.
func second() error {
	if err := mounts(); err != nil {
		return err
	}
	env := append(os.Environ(), "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "TMPDIR=/tmp")
	p, err := os.StartProcess("/proc/self/exe", os.Args[:1], &os.ProcAttr{Env: env, Files: []*os.File{os.Stdin, os.Stdout, os.Stderr}})
	if err != nil {
		return err
	}
	for {
		pid, err := unix.Wait4(-1, nil, 0, nil)
		if pid == p.Pid {
			return nil
		}
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("wait: %w", err)
		}
	}
}

// mounts makes the file systems that programs expect.
func mounts() error {
	for _, m := range []struct {
		kind, at, data string
		flags          uintptr
		optional       bool
	}{
		{kind: "proc", at: "/proc"},
		{kind: "sysfs", at: "/sys"},
		{kind: "devtmpfs", at: "/dev"},
		{kind: "devpts", at: "/dev/pts", data: "ptmxmode=0666"},
		{kind: "tmpfs", at: "/dev/shm"},
		{kind: "tmpfs", at: "/run", data: "mode=755"},
		{kind: "cgroup2", at: "/sys/fs/cgroup", optional: true},
	} {
		if err := os.MkdirAll(m.at, 0o755); err != nil && !m.optional {
			return err
		}
		if err := unix.Mount(m.kind, m.at, m.kind, m.flags, m.data); err != nil && !m.optional {
			return fmt.Errorf("mount %s: %w", m.at, err)
		}
	}
	for name, target := range map[string]string{"/dev/fd": "/proc/self/fd", "/dev/stdin": "fd/0", "/dev/stdout": "fd/1", "/dev/stderr": "fd/2"} {
		if err := os.Symlink(target, name); err != nil {
			return err
		}
	}
	// /tmp stays in the root file system, a tmpfs itself: tests link their
	// binary into it instead of copying it for each command.
	if err := errors.Join(os.MkdirAll("/tmp", 0o755), os.Chmod("/tmp", 0o777|os.ModeSticky)); err != nil {
		return err
	}
	return unix.Sethostname([]byte("guest"))
}

// work is the second process: the plan.
func work() error {
	data, err := os.ReadFile(wire.PlanFile)
	if err != nil {
		return err
	}
	var plan wire.Plan
	if err := json.Unmarshal(data, &plan); err != nil {
		return fmt.Errorf("read %s: %w", wire.PlanFile, err)
	}
	// Modules come first: one of them drives the port to the host.
	fault := load(plan.Modules)
	if fault == nil {
		fault = online("/sys/devices/system/cpu")
	}
	port, err := openPort()
	if err != nil {
		return err
	}
	out := &sender{w: json.NewEncoder(port)}
	if fault == nil {
		fault = prepare()
	}
	if fault != nil {
		out.send(wire.Frame{Kind: wire.Fault, Text: fault.Error()})
		return fault
	}
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return err
	}
	out.send(wire.Frame{Kind: wire.Ready, Text: unix.ByteSliceToString(uts.Release[:])})
	for i, c := range plan.Commands {
		out.send(run(out, i, c))
		// What the command left behind must not meet the next one. This
		// reaches every process but the first and this one.
		_ = unix.Kill(-1, unix.SIGKILL)
	}
	out.send(wire.Frame{Kind: wire.Done})
	return port.Close()
}

// load loads modules; one that is there already is fine.
func load(names []string) error {
	for _, name := range names {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		err = unix.FinitModule(int(f.Fd()), "", 0)
		f.Close()
		if err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("load %s: %w", name, err)
		}
	}
	return nil
}

// online starts the processors that the kernel left off; dir is its folder of
// processors. The first one has no file to switch it with on some machines.
func online(dir string) error {
	switches, err := filepath.Glob(filepath.Join(dir, "cpu[0-9]*", "online"))
	if err != nil {
		return err
	}
	for _, name := range switches {
		state, err := os.ReadFile(name)
		if err == nil && strings.TrimSpace(string(state)) == "0" {
			err = os.WriteFile(name, []byte("1"), 0)
		}
		if err != nil {
			return fmt.Errorf("start a processor: %w", err)
		}
	}
	return nil
}

// prepare brings the loopback interface up and installs the names of busybox
// if the guest has one.
func prepare() error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(s, unix.SIOCGIFFLAGS, ifr); err != nil {
		return fmt.Errorf("read the flags of lo: %w", err)
	}
	ifr.SetUint16(ifr.Uint16() | unix.IFF_UP)
	if err := unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, ifr); err != nil {
		return fmt.Errorf("bring lo up: %w", err)
	}
	if _, err := os.Stat("/bin/busybox"); err == nil {
		if text, err := exec.Command("/bin/busybox", "--install", "-s", "/bin").CombinedOutput(); err != nil {
			return fmt.Errorf("install busybox: %w: %s", err, text)
		}
	}
	return nil
}

// openPort finds the virtio port by its name.
func openPort() (*os.File, error) {
	for deadline := time.Now().Add(portLimit); ; time.Sleep(10 * time.Millisecond) {
		names, _ := filepath.Glob("/sys/class/virtio-ports/*/name")
		for _, n := range names {
			if data, err := os.ReadFile(n); err == nil && strings.TrimSpace(string(data)) == wire.Port {
				return os.OpenFile("/dev/"+filepath.Base(filepath.Dir(n)), os.O_WRONLY, 0)
			}
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("no virtio port named %s within %v", wire.Port, portLimit)
		}
	}
}

// sender sends frames; safe for concurrent use.
type sender struct {
	mu sync.Mutex
	w  *json.Encoder
}

func (s *sender) send(f wire.Frame) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.w.Encode(f); err != nil {
		fmt.Fprintln(os.Stderr, "guest: send:", err)
	}
}

// stream is an io.Writer that sends what is written to it.
type stream struct {
	out     *sender
	kind    string
	command int
}

func (s stream) Write(p []byte) (int, error) {
	s.out.send(wire.Frame{Kind: s.kind, Command: s.command, Data: p})
	return len(p), nil
}

var _ io.Writer = stream{}

// run runs one command and returns its closing frame.
func run(out *sender, i int, c wire.Command) wire.Frame {
	end := wire.Frame{Kind: wire.Exit, Command: i, Code: 127}
	if len(c.Args) == 0 {
		end.Text = "empty command"
		return end
	}
	cmd := exec.Command(c.Args[0], c.Args[1:]...)
	cmd.Dir = c.Dir
	if cmd.Dir == "" {
		cmd.Dir = "/"
	}
	cmd.Env = append(os.Environ(), c.Env...)
	cmd.Stdout = stream{out, wire.Stdout, i}
	cmd.Stderr = stream{out, wire.Stderr, i}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = outputGrace
	start := time.Now()
	if err := cmd.Start(); err != nil {
		end.Text = err.Error()
		return end
	}
	var mu sync.Mutex
	timer := time.AfterFunc(c.Limit, func() {
		mu.Lock()
		end.TimedOut = true
		mu.Unlock()
		_ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL)
	})
	err := cmd.Wait()
	timer.Stop()
	mu.Lock()
	defer mu.Unlock()
	end.Elapsed = time.Since(start)
	if cmd.ProcessState == nil {
		end.Text = err.Error()
		return end
	}
	ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
	switch {
	case ok && ws.Signaled():
		end.Code = 128 + int(ws.Signal())
	default:
		end.Code = cmd.ProcessState.ExitCode()
	}
	return end
}
