package src

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/haobox/haobox/platform"
	"github.com/haobox/haobox/platform/platformtest"
)

const header = "Subsystem         Group            PID          Status\n"

func line(name, group, pid, status string) string {
	return fmt.Sprintf(" %-16s %-16s %-12s %s\n", name, group, pid, status)
}

func TestParseSubsystem(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, text string
		want       Subsystem
		err        error
	}{
		{"active", header + line("IBM.VMR", "rsct_rm", "12845502", "active"),
			Subsystem{"IBM.VMR", "rsct_rm", 12845502, Active}, nil},
		{"as the paper prints it", "Subsystem      Group      PID      Status\nIBM.VMR        rsct_rm    15466956  active\n",
			Subsystem{"IBM.VMR", "rsct_rm", 15466956, Active}, nil},
		{"inoperative without a process", header + line("IBM.VMR", "rsct_rm", "", "inoperative"),
			Subsystem{"IBM.VMR", "rsct_rm", 0, Inoperative}, nil},
		{"stopping", header + line("IBM.VMR", "rsct_rm", "12845502", "stopping"),
			Subsystem{"IBM.VMR", "rsct_rm", 12845502, Stopping}, nil},
		{"warned to stop", header + line("IBM.VMR", "rsct_rm", "7", "warned to stop"),
			Subsystem{"IBM.VMR", "rsct_rm", 7, Stopping}, nil},
		{"empty group", header + line("IBM.VMR", "", "7", "active"),
			Subsystem{"IBM.VMR", "", 7, Active}, nil},
		{"two lines: the one with a process wins", header + line("IBM.VMR", "rsct_rm", "7", "active") + line("IBM.VMR", "rsct_rm", "", "inoperative"),
			Subsystem{"IBM.VMR", "rsct_rm", 7, Active}, nil},
		{"two lines, process in the second", header + line("IBM.VMR", "rsct_rm", "", "inoperative") + line("IBM.VMR", "rsct_rm", "9", "active"),
			Subsystem{"IBM.VMR", "rsct_rm", 9, Active}, nil},
		{"not on file", "0513-085 The IBM.VMR Subsystem is not on file.\n", Subsystem{Name: "IBM.VMR", State: Absent}, nil},
		{"another subsystem", header + line("IBM.VMRX", "rsct_rm", "9", "active"), Subsystem{}, ErrGarbled},
		{"unknown status", header + line("IBM.VMR", "rsct_rm", "9", "dancing"), Subsystem{}, ErrGarbled},
		{"name alone", "IBM.VMR\n", Subsystem{}, ErrGarbled},
		{"nothing", "", Subsystem{}, ErrGarbled},
		{"binary", "\x00\xff\xfe IBM", Subsystem{}, ErrGarbled},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got, err := ParseSubsystem(tc.text, "IBM.VMR")
			if !errors.Is(err, tc.err) {
				t.Fatalf("error %v, want %v", err, tc.err)
			}
			if d := cmp.Diff(tc.want, got); d != "" {
				t.Errorf("subsystem (-want +got):\n%s", d)
			}
		})
	}
}

func TestParseLeader(t *testing.T) {
	t.Parallel()
	both := "Subsystem         : IBM.ConfigRM\n" +
		"   GroupLeader: node03, 0x7903784ce20081d5, 2\n" +
		"   TieBreaker GroupLeader: node04, 0x1, 1\n"
	for _, tc := range []struct {
		name, text string
		want       Leader
		err        error
	}{
		{"both lines: the first counts", both, Leader{"node03", 0x7903784ce20081d5, 2}, nil},
		{"only the tie breaker line", "   TieBreaker GroupLeader: node04, 0x00000000000000a1, 1\n", Leader{"node04", 0xa1, 1}, nil},
		{"full name alone", "GroupLeader: ksys7001.ausprv.stglabs.ibm.com\n", Leader{Name: "ksys7001.ausprv.stglabs.ibm.com"}, nil},
		{"fields that do not parse are left out", "GroupLeader: n1, zz, -4\n", Leader{Name: "n1"}, nil},
		{"part of a word does not count", "MyGroupLeader: n1\nGroupLeader_x: n2\nSubsystem: IBM.ConfigRM\n", Leader{}, ErrNoLeader},
		{"empty name", "   GroupLeader: , 0x1, 1\n", Leader{}, ErrNoLeader},
		{"none", "   GroupLeader: <none>\n", Leader{}, ErrNoLeader},
		{"no colon", "   GroupLeader node03\n", Leader{}, ErrNoLeader},
		{"resource manager down", "0513-036 The request could not be passed to the IBM.ConfigRM subsystem.\n", Leader{}, ErrDaemonDown},
		{"garbage", "segmentation fault", Leader{}, ErrGarbled},
		{"nothing", "", Leader{}, ErrGarbled},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got, err := ParseLeader(tc.text)
			if !errors.Is(err, tc.err) {
				t.Fatalf("error %v, want %v", err, tc.err)
			}
			if d := cmp.Diff(tc.want, got); d != "" {
				t.Errorf("leader (-want +got):\n%s", d)
			}
		})
	}
}

func TestParseDomains(t *testing.T) {
	t.Parallel()
	text := "Name            OpState        RSCTActiveVersion MixedVersions TSPort GSPort\n" +
		"ksys810_cluster Online         3.2.4.0           No            12347  12348\n" +
		"other           Pending online 3.2.4.0           Yes           12347  12348\n" +
		"short Online\n"
	want := []Domain{{"ksys810_cluster", "Online"}, {"other", "Pending online"}}
	if d := cmp.Diff(want, ParseDomains(text)); d != "" {
		t.Errorf("domains (-want +got):\n%s", d)
	}
	if got := ParseDomains("no header here at all really\n"); got != nil {
		t.Errorf("garbage gave %v", got)
	}
}

// bin makes executable files of the given names, so that they are found.
func bin(t *testing.T, names ...string) string {
	t.Helper()
	d := t.TempDir()
	for _, n := range names {
		if err := os.WriteFile(filepath.Join(d, n), []byte("#!/bin/sh\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

func TestClient_Subsystem(t *testing.T) {
	t.Parallel()
	dir := bin(t, "lssrc")
	ok := header + line("IBM.VMR", "rsct_rm", "5", "active")
	for _, tc := range []struct {
		name  string
		prog  platformtest.Program
		dirs  []string
		state string
		err   error
	}{
		{"active", platformtest.Program{Stdout: ok}, []string{dir}, Active, nil},
		{"text counts, not the status", platformtest.Program{Stdout: ok, Result: platform.Result{ExitCode: 1}}, []string{dir}, Active, nil},
		{"absent on standard error", platformtest.Program{Stderr: "0513-085 The IBM.VMR Subsystem is not on file.\n", Result: platform.Result{ExitCode: 1}}, []string{dir}, Absent, nil},
		{"missing", platformtest.Program{}, []string{"/nowhere"}, "", fs.ErrNotExist},
		{"relative folders are not searched", platformtest.Program{}, []string{"."}, "", fs.ErrNotExist},
		{"not executable after all", platformtest.Program{Err: fs.ErrPermission}, []string{dir}, "", fs.ErrNotExist},
		{"too slow", platformtest.Program{Stdout: ok, Result: platform.Result{ExitCode: -1, Signal: 15, TimedOut: true}}, []string{dir}, "", context.DeadlineExceeded},
		{"killed", platformtest.Program{Result: platform.Result{ExitCode: -1, Signal: 9}}, []string{dir}, "", ErrSignal},
		{"garbage", platformtest.Program{Stdout: "\x01\x02"}, []string{dir}, "", ErrGarbled},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := &platformtest.Runner{Programs: map[string]platformtest.Program{"lssrc": tc.prog}}
			c := Client{Runner: r, Dirs: tc.dirs}
			state, _, err := c.Subsystem(t.Context(), "IBM.VMR", time.Second)
			if state != tc.state || !errors.Is(err, tc.err) {
				t.Errorf("got %q, %v; want %q, %v", state, err, tc.state, tc.err)
			}
		})
	}
}

func TestClient_StartAndStopRequests(t *testing.T) {
	t.Parallel()
	dir := bin(t, "startsrc", "stopsrc")
	refused := platform.Result{ExitCode: 1}
	for _, tc := range []struct {
		name, cmd, text string
		res             platform.Result
		level           string
		want            []string
		err             error
	}{
		{"started", "startsrc", "0513-059 The IBM.VMR Subsystem has been started. Subsystem PID is 7.\n", platform.Result{}, "", []string{"startsrc", "-s", "IBM.VMR"}, nil},
		{"runs already", "startsrc", "0513-029 The IBM.VMR Subsystem is already active.\n", refused, "", []string{"startsrc", "-s", "IBM.VMR"}, nil},
		{"not on file", "startsrc", "0513-085 The IBM.VMR Subsystem is not on file.\n", refused, "", []string{"startsrc", "-s", "IBM.VMR"}, ErrRefused},
		{"stopped", "stopsrc", "0513-044 The IBM.VMR Subsystem was requested to stop.\n", platform.Result{}, "", []string{"stopsrc", "-s", "IBM.VMR"}, nil},
		{"forced", "stopsrc", "0513-044\n", platform.Result{}, "-f", []string{"stopsrc", "-f", "-s", "IBM.VMR"}, nil},
		{"down already", "stopsrc", "0513-004 The Subsystem or Group, IBM.VMR, is currently inoperative.\n", refused, "-c", []string{"stopsrc", "-c", "-s", "IBM.VMR"}, nil},
		{"refused", "stopsrc", "0513-001 no\n", refused, "", []string{"stopsrc", "-s", "IBM.VMR"}, ErrRefused},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := &platformtest.Runner{Programs: map[string]platformtest.Program{tc.cmd: {Stdout: tc.text, Result: tc.res}}}
			c := Client{Runner: r, Dirs: []string{dir}}
			var err error
			if tc.cmd == "startsrc" {
				err = c.Start(t.Context(), "IBM.VMR", time.Second)
			} else {
				err = c.Stop(t.Context(), "IBM.VMR", tc.level, time.Second)
			}
			if !errors.Is(err, tc.err) {
				t.Errorf("error %v, want %v", err, tc.err)
			}
			tc.want[0] = filepath.Join(dir, tc.want[0])
			if d := cmp.Diff([][]string{tc.want}, r.Calls); d != "" {
				t.Errorf("calls (-want +got):\n%s", d)
			}
		})
	}
}

func TestClient_DomainOnline(t *testing.T) {
	t.Parallel()
	dir := bin(t, "lsrpdomain")
	head := "Name OpState RSCTActiveVersion MixedVersions TSPort GSPort\n"
	for _, tc := range []struct {
		name          string
		prog          platformtest.Program
		online, known bool
	}{
		{"online", platformtest.Program{Stdout: head + "a Online 3 No 1 2\n"}, true, true},
		{"pending", platformtest.Program{Stdout: head + "a Pending online 3 No 1 2\n"}, false, true},
		{"one of two", platformtest.Program{Stdout: head + "a Offline 3 No 1 2\nb Online 3 No 1 2\n"}, true, true},
		{"empty", platformtest.Program{}, false, false},
		{"failing", platformtest.Program{Stdout: head + "a Online 3 No 1 2\n", Result: platform.Result{ExitCode: 1}}, false, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c := Client{Runner: &platformtest.Runner{Programs: map[string]platformtest.Program{"lsrpdomain": tc.prog}}, Dirs: []string{dir}}
			online, known := c.DomainOnline(t.Context(), time.Second)
			if online != tc.online || known != tc.known {
				t.Errorf("online %v known %v, want %v %v", online, known, tc.online, tc.known)
			}
		})
	}
}

// A command that prints without end costs a bounded amount of memory, and
// what it gets is exactly what the caller allows.
func TestClient_BoundsOutputAndScalesLimits(t *testing.T) {
	t.Parallel()
	dir := bin(t, "lssrc")
	var seen platform.Cmd
	r := &platformtest.Runner{Programs: map[string]platformtest.Program{"lssrc": {Do: func(_ context.Context, c platform.Cmd) (platform.Result, error) {
		seen = c
		chunk := bytes.Repeat([]byte("x"), 1<<16)
		for range 40 {
			if n, err := c.Stdout.Write(chunk); n != len(chunk) || err != nil {
				return platform.Result{ExitCode: 1}, io.ErrShortWrite
			}
		}
		return platform.Result{}, nil
	}}}}
	c := Client{Runner: r, Dirs: []string{dir}, Env: []string{"LC_ALL=C"}, Scale: 10}
	o, err := c.Run(t.Context(), 10*time.Second, "lssrc", "-a")
	if err != nil || len(o.Stdout) != maxOutput || !o.Cut {
		t.Errorf("kept %d bytes, cut %v, error %v", len(o.Stdout), o.Cut, err)
	}
	if seen.Limit != time.Second || seen.Stdin != nil || seen.Dir != "/" {
		t.Errorf("limit %v stdin %v dir %q", seen.Limit, seen.Stdin, seen.Dir)
	}
	if d := cmp.Diff([]string{"LC_ALL=C"}, seen.Env); d != "" {
		t.Errorf("environment (-want +got):\n%s", d)
	}
}

func FuzzParsers(f *testing.F) {
	f.Add(header + line("IBM.VMR", "rsct_rm", "12845502", "active"))
	f.Add("   GroupLeader: node03, 0x7903784ce20081d5, 2\n")
	f.Add("Name OpState RSCTActiveVersion MixedVersions TSPort GSPort\na Pending online 3 No 1 2\n")
	f.Add("GroupLeader")
	f.Add("GroupLeader:,,,,")
	f.Add("IBM.VMR warned to stop")
	f.Fuzz(func(t *testing.T, text string) {
		if s, err := ParseSubsystem(text, "IBM.VMR"); err == nil && (s.State == "" || s.PID < 0) {
			t.Errorf("subsystem without a state: %+v", s)
		}
		if l, err := ParseLeader(text); err == nil && (l.Name == "" || strings.ContainsAny(l.Name, ",\n")) {
			t.Errorf("leader %+v", l)
		}
		for _, d := range ParseDomains(text) {
			if d.Name == "" || d.OpState == "" {
				t.Errorf("domain %+v", d)
			}
		}
	})
}
