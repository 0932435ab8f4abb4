//go:build linux

package clustat

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"github.com/haobox/haobox/applets/internal/daemon"
	"github.com/haobox/haobox/applets/internal/engine"
	"github.com/haobox/haobox/internal/cluster"
	"github.com/haobox/haobox/internal/rgmctl"
	"github.com/haobox/haobox/platform/corosync/corotest"
	"github.com/haobox/haobox/platform/testskip"
)

// limit bounds each wait for something that must come.
const limit = time.Minute

// screen is a terminal as far as clustat uses it.
type screen struct {
	mu    sync.Mutex
	lines []string
	row   int
	col   int
	lost  int // lines that scrolled out
	bad   string
	rest  []byte // of a sequence that is not whole yet
	size  pty.Winsize
}

// Write draws.
func (s *screen) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(b)
	b = append(s.rest, b...)
	s.rest = nil
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case c == '\n':
			if s.row++; s.row >= int(s.size.Rows) {
				s.row--
				s.lost++
				s.lines = append(s.lines[1:], "")
			}
		case c == '\r':
			s.col = 0
		case c == 0x1b && i+2 >= len(b):
			s.rest = bytes.Clone(b[i:])
			i = len(b)
		case c == 0x1b && b[i+1] == '[':
			i += 2
			switch b[i] {
			case 'H':
				s.row, s.col = 0, 0
			case 'K':
				s.lines[s.row] = cutTo(s.lines[s.row], s.col)
			case 'J':
				s.lines[s.row] = cutTo(s.lines[s.row], s.col)
				clear(s.lines[s.row+1:])
			default:
				s.bad = string(b[i-2 : i+1])
			}
		case c < ' ' && c != 0x03:
			s.bad = string(c)
		default:
			if s.col >= int(s.size.Cols) {
				s.bad = "a line wraps"
			}
			l := []byte(s.lines[s.row] + strings.Repeat(" ", max(0, s.col+1-len(s.lines[s.row]))))
			l[s.col] = c
			s.lines[s.row] = string(l)
			s.col++
		}
	}
	return n, nil
}

func cutTo(s string, n int) string { return s[:min(n, len(s))] }

// check looks whether something wrapped or scrolled since the last time.
func (s *screen) check(t *testing.T, mayBe bool) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !mayBe && (s.lost > 0 || s.bad != "") {
		t.Errorf("%d lines scrolled out; %q", s.lost, s.bad)
	}
	s.lost, s.bad = 0, ""
}

// resize is what terminals do with their content: here, nothing.
func (s *screen) resize(size pty.Winsize) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.size = size
	for len(s.lines) < int(size.Rows) {
		s.lines = append(s.lines, "")
	}
	s.lines = s.lines[:size.Rows]
	for i, l := range s.lines {
		s.lines[i] = cutTo(l, int(size.Cols))
	}
	s.row, s.col = min(s.row, int(size.Rows)-1), min(s.col, int(size.Cols)-1)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var b strings.Builder
	for _, l := range s.lines {
		b.WriteString(strings.TrimRight(l, " ") + "\n")
	}
	return strings.TrimRight(b.String(), "\n")
}

// until waits for a picture.
func (s *screen) until(t *testing.T, what string, f func(picture string) bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if f(s.String()) {
			return
		}
	}
	t.Fatalf("%s: the terminal shows\n%s", what, s)
}

// TestTerminal runs clustat -i on a terminal: it redraws in place, follows the
// terminal's size at once, and leaves everything as it was.
func TestTerminal(t *testing.T) {
	t.Parallel()
	testskip.IfForeign(t, "terminals and programs of this machine")
	var state, services atomic.Int64
	state.Store(rgmctl.StateStarted)
	root := serve(t, func() *rgmctl.Status {
		s := picture()
		s.Services[0].State = int(state.Load())
		for i := range services.Load() {
			s.Services = append(s.Services, rgmctl.Service{Name: "service:more" + string(rune('a'+i)), State: rgmctl.StateStopped})
		}
		return s
	})
	master, slave, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	defer slave.Close()
	s := &screen{}
	resize := func(columns, lines uint16) {
		t.Helper()
		s.resize(pty.Winsize{Cols: columns, Rows: lines})
		if err := pty.Setsize(master, &s.size); err != nil {
			t.Fatal(err)
		}
	}
	resize(80, 24)
	before, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	start := func(args ...string) (*exec.Cmd, chan error) {
		cmd := exec.Command("/proc/self/exe", args...)
		cmd.Env = append(os.Environ(), toolVariable+"=1", "HAOBOX_ROOT="+root, "TZ=UTC")
		cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
		cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true, Setctty: true}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- cmd.Wait() }()
		t.Cleanup(func() { _ = cmd.Process.Kill() })
		return cmd, done
	}
	go io.Copy(s, master)

	_, done := start("-i", "1")
	has := func(words ...string) func(string) bool {
		return func(p string) bool {
			for _, w := range words {
				if !strings.Contains(p, w) {
					return false
				}
			}
			return true
		}
	}
	s.until(t, "the first picture", has("Cluster Status for ZCLUSTER @ ", "service:ZHA_WEBSERVICE         CNODE2                         started"))
	state.Store(rgmctl.StateStopping)
	s.until(t, "the next picture", has("service:ZHA_WEBSERVICE         CNODE2                         stopping"))
	first := s.String()
	if strings.Count(first, "Cluster Status") != 1 || strings.Contains(first, "stoppinged") || !strings.HasPrefix(first, "Cluster Status") {
		t.Errorf("it is not drawn over the one before:\n%s", first)
	}
	services.Store(12) // more than fit
	s.until(t, "a picture that is too high", has("more lines)"))
	services.Store(0)
	s.until(t, "a picture that fits again", func(p string) bool { return !strings.Contains(p, "more") })

	s.check(t, false)
	resize(120, 30)
	s.until(t, "a wider terminal", has("service:ZHA_WEBSERVICE                             CNODE2"))
	resize(44, 15)
	s.until(t, "a smaller terminal", has("service:ZHA_ CNODE2", "more lines)"))
	// A picture for the size before may have come after the change.
	s.check(t, true)
	state.Store(rgmctl.StateStarted)
	s.until(t, "the next picture", has("service:ZHA_ CNODE2       started"))
	s.check(t, false)

	// A control character from the keyboard, as the terminal turns it into a signal.
	if _, err := master.Write([]byte{3}); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("Ctrl-C: %v", err)
		}
	case <-time.After(limit):
		t.Fatal("Ctrl-C does not end it")
	}
	after, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	if *before != *after {
		t.Errorf("the terminal's modes were %+v and are %+v", before, after)
	}
	if picture := s.String(); !strings.HasSuffix(picture, "\n^C") && !strings.HasSuffix(picture, "more lines)") {
		t.Errorf("what comes next would not stand on a line of its own:\n%s", picture)
	}

	// One picture on a terminal is text and nothing else.
	resize(80, 24)
	s.Write([]byte(home + below))
	_, done = start("-Q")
	if err := <-done; err != nil {
		t.Errorf("-Q: %v", err)
	}
	if p := s.String(); p != "" {
		t.Errorf("-Q printed %q", p)
	}
}

// TestMembersOnly: without rgmanager, with one that hangs, and for people who
// are not root.
func TestMembersOnly(t *testing.T) {
	corotest.Need(t)
	t.Parallel()
	hangs := serve(t, func() *rgmctl.Status { return nil })
	c := corotest.Start(t, corotest.Options{Nodes: 1})
	dir, err := os.MkdirTemp("", "cs")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	// A copy that everybody may run.
	text, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	tool := filepath.Join(dir, "clustat")
	if err := os.WriteFile(tool, text, 0o755); err != nil {
		t.Fatal(err)
	}
	// The embedded engine, of root.
	embedded := filepath.Join(dir, "embedded")
	if err := os.MkdirAll(filepath.Join(embedded, "etc/cluster"), 0o755); err != nil {
		t.Fatal(err)
	}
	conf := `<cluster name="Z" config_version="1"><clusternodes><clusternode name="n1" nodeid="1"/></clusternodes></cluster>`
	if err := os.WriteFile(filepath.Join(embedded, "etc/cluster/cluster.conf"), []byte(conf), 0o644); err != nil {
		t.Fatal(err)
	}
	e, err := engine.OpenLocal(t.Context(), engine.LocalConfig{Dir: filepath.Join(embedded, "bus"), Node: 1,
		Nodes: []engine.LocalNode{{Node: cluster.Node{ID: 1, Name: "n1"}}}})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	const members = " n1                                          1 Online, Local\n"
	for _, tc := range []struct {
		name, root, limit string
		nobody, frozen    bool
		args              []string
		exit              int
		out, err          string
	}{
		{name: "no rgmanager", root: dir, out: members},
		{name: "no rgmanager, a service", root: dir, args: []string{"-s", "web"}, exit: 255},
		{name: "no rgmanager, quorum", root: dir, args: []string{"-Q"}},
		{name: "no rgmanager, XML", root: dir, args: []string{"-x"}, out: `<node name="n1" state="1" local="1" estranged="0" rgmanager="0"`},
		{name: "rgmanager hangs", root: hangs, limit: "3s", out: members, err: "Timed out waiting for a response from Resource Group Manager\n"},
		{name: "rgmanager hangs, a service", root: hangs, limit: "3s", args: []string{"-s", "web"}, exit: 255, err: "Timed out waiting for a response from Resource Group Manager\n"},
		{name: "corosync hangs", root: dir, limit: "200ms", frozen: true, exit: 1, err: "Could not connect to CMAN: Connection timed out\nclustat: corosync did not answer within 200ms\n"},
		{name: "not root", root: dir, nobody: true, exit: 1, err: "Could not connect to CMAN: Permission denied\nclustat: only root may ask rgmanager and the cluster engine\n"},
		{name: "the embedded engine", root: embedded, out: members},
		{name: "the embedded engine, not root", root: embedded, nobody: true, exit: 1,
			err: "Could not connect to CMAN: Permission denied\nclustat: only root may ask rgmanager and the cluster engine\n"},
	} {
		words := append([]string{tool}, tc.args...)
		if tc.nobody {
			words = append([]string{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"}, words...)
		}
		if tc.frozen {
			c.Nodes[0].Freeze()
		}
		cmd := c.Nodes[0].Command(words[0], words[1:]...)
		cmd.Env = append(os.Environ(), toolVariable+"=1", toolVariable+"_LIMIT="+tc.limit, "HAOBOX_ROOT="+tc.root)
		if tc.root == embedded {
			cmd.Env = append(cmd.Env, daemon.EngineVariable+"=local:"+embedded+"/bus", daemon.NodeVariable+"=n1")
		}
		var out, said bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &said
		exit := 0
		var status *exec.ExitError
		if err := cmd.Run(); errors.As(err, &status) {
			exit = status.ExitCode()
		} else if err != nil {
			t.Fatal(err)
		}
		if tc.frozen {
			c.Nodes[0].Thaw()
		}
		if exit != tc.exit || said.String() != tc.err || !strings.Contains(out.String(), tc.out) {
			t.Errorf("%s: exit status %d, want %d\n%s%s", tc.name, exit, tc.exit, out.String(), said.String())
		}
	}
}
