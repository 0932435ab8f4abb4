//go:build linux

package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/haobox/haobox/internal/cmdtest"
	"github.com/haobox/haobox/platform/testskip"
)

// demoPatience bounds the demonstration on a busy machine; it takes 16 s.
const demoPatience = 5 * time.Minute

// TestDemoService runs the whole story of a moving service, in namespaces, with
// the web server that is installed, and looks for what it could have left.
func TestDemoService(t *testing.T) {
	t.Parallel()
	testskip.IfShort(t, "nodes with their daemons, a z/VM and a web server")
	if os.Geteuid() != 0 {
		t.Fatal("not root; namespaces need it")
	}
	binary := cmdtest.Build(t, ".", ".")
	for _, tc := range []struct {
		name string
		args []string
		want []string
	}{
		{"two nodes on the embedded engine", nil, []string{`engine +the embedded one`}},
		{"three nodes on corosync, kept", []string{"--corosync", "--nodes", "3", "--keep"}, []string{`engine +corosync`, `The end: everything is stopped`, `(?m)^ CNODE3 +3 Online, rgmanager$`}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			testStory(t, ownFile(t, binary), tc.args, tc.want)
		})
	}
}

// telling is a story while it is told.
type telling struct {
	cmd       *exec.Cmd
	out, errs watchedBuffer
}

// watchedBuffer may be read while it is written.
type watchedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (w *watchedBuffer) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(p)
}

func (w *watchedBuffer) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.String()
}

// tell starts a story whose files may be in room. Ending ctx interrupts it.
func tell(ctx context.Context, t *testing.T, binary, room string, args ...string) *telling {
	t.Helper()
	s := &telling{cmd: exec.CommandContext(ctx, binary, append([]string{"demo", "service"}, args...)...)}
	s.cmd.Env = append(os.Environ(), "TMPDIR="+room)
	s.cmd.Stdout, s.cmd.Stderr = &s.out, &s.errs
	s.cmd.Cancel = func() error { return s.cmd.Process.Signal(os.Interrupt) }
	s.cmd.WaitDelay = 20 * time.Second
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return s
}

// until waits until the story has told something.
func (s *telling) until(ctx context.Context, t *testing.T, what string) {
	t.Helper()
	for !strings.Contains(s.out.String(), what) {
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("no %q in\n%s\n%s", what, s.out.String(), s.errs.String())
		}
	}
}

// nothingLeft looks for what a story could leave. Process 1 of each namespace is
// gone, so whatever it had is as well; what could remain is outside.
func nothingLeft(t *testing.T, binary, room string) {
	t.Helper()
	if all := left(t, binary, room); len(all) > 0 {
		t.Errorf("left: %q", all)
	}
}

// left lists the processes of a program, and files of its story in room.
func left(t *testing.T, binary, room string) (all []string) {
	t.Helper()
	programs, err := filepath.Glob("/proc/[0-9]*/exe")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range programs {
		if exe, _ := os.Readlink(file); exe == binary { // it may have ended meanwhile
			all = append(all, file)
		}
	}
	for _, pattern := range []string{"/mnt/n[123]", room + "/*"} {
		files, _ := filepath.Glob(pattern) // both are good
		all = append(all, files...)
	}
	return all
}

// shortFolder is a folder for the story's files. Those of t.TempDir have names
// that are too long for that of a socket.
func shortFolder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// ownFile is the program as a file by which its processes are found.
func ownFile(t *testing.T, binary string) string {
	t.Helper()
	own := filepath.Join(t.TempDir(), "haobox")
	if err := os.Link(binary, own); err != nil {
		t.Fatal(err)
	}
	return own
}

// play types what a kept story says one can type, on its nodes.
func play(ctx context.Context, t *testing.T, s *telling) {
	t.Helper()
	s.until(ctx, t, "a shell there")
	_, rest, _ := strings.Cut(s.out.String(), `on="`)
	on, lines, _ := strings.Cut(rest, "\"\n")
	for _, tc := range []struct{ command, want string }{
		{"CNODE2 clustat", `(?m)^ CNODE2 +2 Online, Local, rgmanager$`},
		{"CNODE2 haobox why ZHA_WEBSERVICE", `service:ZHA_WEBSERVICE is started on CNODE1`},
		{"CNODE2 haobox plan kill CNODE1", `started on CNODE1  =>  started on CNODE2`},
		{"CNODE2 fence_history", `CNODE1 +off +agent`},
		{"CNODE2 cman_tool nodes", `3 +M +[0-9]+ .*CNODE3`},
		{"CNODE2 clusvcadm -r ZHA_WEBSERVICE -m CNODE2", `is now running on CNODE2`},
		{"CNODE1 freeze", ``},
	} {
		if name, _, _ := strings.Cut(tc.command, " -"); tc.command != "CNODE2 clustat" && !strings.Contains(lines, "$on "+name) {
			t.Errorf("the story does not tell of %q:\n%s", tc.command, lines)
		}
		out, err := exec.CommandContext(ctx, "sh", "-c", on+" "+tc.command).CombinedOutput()
		if err != nil || !regexp.MustCompile(tc.want).Match(out) {
			t.Errorf("%s: %v, no match of %q in\n%s", tc.command, err, tc.want, out)
		}
	}
	s.until(ctx, t, "CNODE1       was switched off, and boots")
}

// TestDemoService_Ended ends both stories while a node is frozen. The one on
// loopback addresses has no process 1 whose end would be that of all, so it is
// killed as well.
func TestDemoService_Ended(t *testing.T) {
	t.Parallel()
	testskip.IfShort(t, "nodes with their daemons, a z/VM and a web server")
	if os.Geteuid() != 0 {
		t.Fatal("not root; namespaces need it")
	}
	binary := cmdtest.Build(t, ".", ".")
	for _, tc := range []struct {
		name string
		args []string
		by   os.Signal
	}{
		{"in namespaces, interrupted", nil, os.Interrupt},
		{"on loopback, interrupted", []string{"--loopback"}, os.Interrupt},
		{"on loopback, killed", []string{"--loopback"}, os.Kill},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), demoPatience)
			defer cancel()
			own, room := ownFile(t, binary), shortFolder(t)
			s := tell(ctx, t, own, room, tc.args...)
			s.until(ctx, t, "CNODE1       is frozen")
			if tc.by == os.Kill && len(left(t, own, room)) < 6 { // the story, its guard, z/VM, and the three of a node, at least
				t.Errorf("there is but %q", left(t, own, room))
			}
			if err := s.cmd.Process.Signal(tc.by); err != nil {
				t.Fatal(err)
			}
			err := s.cmd.Wait()
			if tc.by == os.Kill {
				// Its guard is nobody's child that one could wait for.
				for len(left(t, own, room)) > 0 {
					select {
					case <-time.After(20 * time.Millisecond):
					case <-ctx.Done():
						t.Fatalf("left: %q", left(t, own, room))
					}
				}
				return
			}
			if err == nil || s.cmd.ProcessState.ExitCode() != 1 || s.errs.String() != "haobox demo service: interrupted\n" {
				t.Errorf("%v: %s", err, s.errs.String())
			}
			nothingLeft(t, own, room)
		})
	}
}

func testStory(t *testing.T, binary string, args, want []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), demoPatience)
	defer cancel()
	room := shortFolder(t)
	s := tell(ctx, t, binary, room, args...)
	if slices.Contains(args, "--keep") {
		play(ctx, t, s)
		if err := s.cmd.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
	}
	err := s.cmd.Wait()
	out, errs := s.out.String(), s.errs.String()
	if err != nil || errs != "" {
		t.Fatalf("demo service: %v\n%s\n%s", err, out, errs)
	}
	for _, want := range append(want,
		`apache2 at 172\.17\.16\.3/24, its pages on /dev/loop[0-9]+ \(ext4\)`,
		`(?m)^ service:ZHA_WEBSERVICE +CNODE1 +started`,
		`\[fs\] mounting /dev/loop`, `\[ip\] Adding IPv4 address 172\.17\.16\.3/24 to eth0`,
		`(?m)^  start of all nodes +- +- +\d+\.\d+ s +-$`,
		`(?m)^  relocate by clusvcadm +- +- +\d+\.\d+ s +[1-9]\d*$`,
		`(?m)^  web server killed +\d+\.\d+ s +- +\d+\.\d+ s +[1-9]\d*$`,
		`(?m)^  CNODE1 frozen +\d+\.\d+ s +\d+\.\d+ s +\d+\.\d+ s +[1-9]\d*$`,
		`client +lost no request; the service is on CNODE2|client +is answered again by CNODE2`,
		`(?m)^  CNODE1 back, nofailback="1" +- +- +(-|\d+\.\d+ s) +\d+$`, // a machine that is busy may be late with an answer
		`client +a host of its own, 172\.17\.16\.100`,
		`finds 172\.17\.16\.3 at 02:00:ac:11:10:01, CNODE1's eth0`, `finds 172\.17\.16\.3 at 02:00:ac:11:10:02, CNODE2's eth0`,
		`(?m)^  nofailback="0" +- +- +\d+\.\d+ s +[1-9]\d*$`,
	) {
		if !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("no match of %q in\n%s", want, out)
		}
	}
	if strings.Contains(out, "SECRET") || strings.Contains(out, "left out") {
		t.Errorf("a secret, or something was left out:\n%s", out)
	}
	for line := range strings.Lines(out) {
		if len([]rune(line)) > 101 {
			t.Errorf("wider than 100 columns: %s", line)
		}
	}
	nothingLeft(t, binary, room)
}
