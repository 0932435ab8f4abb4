//go:build linux

// Package systemdtest boots a real systemd for tests: as process 1 of
// namespaces of its own, on an overlay of this machine's root folder, so that
// every installed program and unit is there and nothing of the machine is
// changed. It needs neither a container manager nor an image. What the machine
// has enabled is not started.
//
//	m := systemdtest.Start(t, systemdtest.Options{})
//	out, err := m.Command("systemctl", "start", "corosync").CombinedOutput()
//
// Everything goes when the test process ends, even if it is killed.
//
// The border: kernel settings (/proc/sys outside the network namespace), udev,
// module loading and sysrq stay out of reach, and control groups other than
// systemd's own do not limit anything.
package systemdtest

import (
	"bufio"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/haobox/haobox/platform/testskip"
)

// Patience bounds the boot; it takes two seconds on an idle machine.
const Patience = 60 * time.Second

const pollPause = 50 * time.Millisecond

//go:embed boot.sh
var bootScript string

// Options describe a machine. The zero value has a loopback interface only.
type Options struct {
	// Files are written before the boot, by absolute path, mode 0644.
	Files map[string]string
	// Binds mounts files and folders of this machine, read-only: inside by
	// outside.
	Binds map[string]string
	// Setup is a shell script run as root in the namespaces before the boot,
	// with the machine's root folder in $ROOT.
	Setup string
}

// Machine is a running systemd.
type Machine struct {
	// PID is that of systemd outside.
	PID int
	t   testing.TB
}

// Need ends t where no systemd can be booted: skipped on foreign machines and
// with -short, failed where a program or root is missing.
func Need(t testing.TB) {
	t.Helper()
	testskip.IfForeign(t, "systemd of this machine")
	testskip.IfShort(t, "a boot takes some seconds")
	if os.Geteuid() != 0 {
		t.Fatal("namespaces need root")
	}
	for _, p := range []string{"/lib/systemd/systemd", "/usr/bin/systemctl", "/lib/systemd/system/dbus.service"} {
		if _, err := os.Stat(p); err != nil {
			t.Fatalf("%s is missing: tools/setup installs systemd and dbus", p)
		}
	}
}

// Start boots a machine and waits until all of it is up. It is switched off at
// the end of the test. The caller has called Need.
func Start(t testing.TB, o Options) *Machine {
	t.Helper()
	dir := t.TempDir()
	for _, d := range []string{"root", "over", "cg", "files"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range o.Files {
		f := filepath.Join(dir, "files", filepath.Clean("/"+name))
		if err := os.MkdirAll(filepath.Dir(f), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(f, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var binds strings.Builder
	for inside, outside := range o.Binds {
		fmt.Fprintf(&binds, "%s %s\n", outside, filepath.Clean("/"+inside))
	}
	for name, text := range map[string]string{"binds": binds.String(), "setup": o.Setup, "boot.sh": bootScript} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("unshare", "-m", "--propagation", "private", "sh", filepath.Join(dir, "boot.sh"), "keep", dir)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	m := &Machine{t: t}
	t.Cleanup(func() {
		if t.Failed() {
			m.tell(log.Name())
		}
		in.Close()
		cmd.Wait()
		log.Close()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	keeper, aerr := strconv.Atoi(strings.TrimSpace(line))
	if err != nil || aerr != nil {
		m.end(log.Name(), fmt.Sprintf("the namespaces were not made: %q, %v", line, err))
	}
	go io.Copy(io.Discard, out)
	var last error
	for deadline := time.Now().Add(Patience); ; time.Sleep(pollPause) {
		if last = m.up(keeper); last == nil {
			return m
		}
		if errors.Is(last, os.ErrNotExist) || time.Now().After(deadline) {
			m.end(log.Name(), fmt.Sprintf("systemd is not up: %v", last))
		}
	}
}

// up looks whether the boot is over.
func (m *Machine) up(keeper int) error {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", keeper, keeper))
	if err != nil {
		return err // the boot has failed
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return fmt.Errorf("no process 1: %w", err)
	}
	// Before the last exec the same process is a shell on another root.
	comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil || string(comm) != "systemd\n" {
		return fmt.Errorf("process 1 is %q, %v", comm, err)
	}
	m.PID = pid
	state, err := m.Command("systemctl", "is-system-running").CombinedOutput()
	switch strings.TrimSpace(string(state)) {
	case "running", "degraded": // what a test needs, it looks at itself
		return nil
	}
	return fmt.Errorf("%s (%v)", strings.TrimSpace(string(state)), err)
}

// Command is a program that runs in the machine, as root.
func (m *Machine) Command(name string, args ...string) *exec.Cmd {
	all := []string{"-t", strconv.Itoa(m.PID), "-m", "-u", "-i", "-n", "-p", "-C", "-r", "-w", "--", name}
	return exec.Command("nsenter", append(all, args...)...)
}

// Path is where a file of the machine is seen from outside.
func (m *Machine) Path(name string) string {
	return filepath.Join("/proc", strconv.Itoa(m.PID), "root", name)
}

// Bus is the address of the machine's system bus, for DBUS_SYSTEM_BUS_ADDRESS.
func (m *Machine) Bus() string { return "unix:path=" + m.Path("/run/dbus/system_bus_socket") }

// tell prints what is known of a failure.
func (m *Machine) tell(log string) {
	if m.PID > 0 {
		out, _ := m.Command("journalctl", "-b", "--no-pager", "-n", "60").CombinedOutput()
		m.t.Logf("journal:\n%s", out)
	}
	text, _ := os.ReadFile(log)
	m.t.Logf("boot:\n%s", text[max(0, len(text)-4000):])
}

// end fails the test.
func (m *Machine) end(log, why string) {
	m.t.Helper()
	m.t.Fatalf("%s", why)
}
