//go:build linux

package fenceexec

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/haobox/haobox/internal/fencing/method"
	"github.com/haobox/haobox/platform/platformtest"
	"github.com/haobox/haobox/platform/proc"
)

// TestRunner runs shell scripts as agents: real processes, on any machine with
// a shell.
func TestRunner(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, tc := range []struct {
		name, script, stdin string
		mode                os.FileMode
		limit               time.Duration
		want                method.Ended
		detail              string
		shown               []string
	}{
		{name: "standard input is exact and ends", script: `cat >"$0.in"; test "$#" = 0 || exit 9`, stdin: "port=A\nnodename=B\n", mode: 0o755},
		{name: "input that is not read", script: `exit 0`, stdin: strings.Repeat("x", 4095), mode: 0o755},
		{name: "failure with a reason", script: `echo begin; echo "no such guest" >&2; exit 3`, mode: 0o755, want: method.Ended{Exit: 3}, detail: "exit status 3: no such guest", shown: []string{"agent: begin", "agent: no such guest"}},
		{name: "a password that is printed", script: `echo "login with SECRET failed"; exit 1`, mode: 0o755, want: method.Ended{Exit: 1}, detail: "exit status 1: login with *** failed", shown: []string{"agent: login with *** failed"}},
		{name: "not executable", script: `exit 0`, mode: 0o644, want: method.Ended{Exit: -1, Failure: method.CannotExec}, detail: "permission denied"},
		{name: "a signal", script: `kill -9 $$`, mode: 0o755, want: method.Ended{Exit: -1, Failure: method.Killed}, detail: "killed by signal 9"},
		{name: "megabytes of output", script: `head -c 3000000 /dev/zero | tr '\0' x; echo; yes | head -n 2000; exit 0`, mode: 0o755, shown: []string{strings.Repeat("x", 900), "bytes of output not shown"}},
		{name: "a hang, also of what it started", script: `sleep 1000 & sleep 1000`, mode: 0o755, limit: 200 * time.Millisecond, want: method.Ended{Exit: -1, Failure: method.TimedOut}, detail: "ended after 200ms"},
		{name: "a child that keeps the output open", script: `sleep 3 & exit 0`, mode: 0o755},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(dir, strings.ReplaceAll(tc.name, " ", "_"), "agent")
			if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte("#!/bin/sh\n"+tc.script+"\n"), tc.mode); err != nil {
				t.Fatal(err)
			}
			env := platformtest.NewEnv(t)
			env.Env.Runner = proc.Runner{}
			var shown []string
			r := Runner{Env: env.Env, Debugf: func(f string, a ...any) { shown = append(shown, fmt.Sprintf(f, a...)) }}
			limit := time.Minute
			if tc.limit > 0 {
				limit = tc.limit
			}
			got := r.Run(t.Context(), method.Start{ID: 7, Agent: file, Stdin: []byte(tc.stdin), Hide: []string{"SECRET"}, Limit: limit})
			if got.ID != 7 || got.Exit != tc.want.Exit || got.Failure != tc.want.Failure || !strings.Contains(got.Detail, tc.detail) {
				t.Errorf("got %+v, want %+v and detail %q", got, tc.want, tc.detail)
			}
			all := strings.Join(shown, "\n")
			for _, want := range tc.shown {
				if !strings.Contains(all, want) {
					t.Errorf("shown lacks %.40q:\n%.300s", want, all)
				}
			}
			if len(shown) > maxLines+1 || strings.Contains(all, "SECRET") {
				t.Errorf("%d lines shown, or a secret", len(shown))
			}
			if in, err := os.ReadFile(file + ".in"); err == nil && string(in) != tc.stdin {
				t.Errorf("standard input was %q, want %q", in, tc.stdin)
			}
		})
	}
}

func TestRunner_Find(t *testing.T) {
	t.Parallel()
	env := platformtest.NewEnv(t)
	one, two := t.TempDir(), t.TempDir()
	env.Vars["PATH"] = "relative::" + one + ":" + two
	for name, mode := range map[string]os.FileMode{one + "/fence_a": 0o644, two + "/fence_a": 0o755, one + "/fence_b": 0o644, one + "/fence_zvm": 0o644, two + "/fence_zvmip": 0o755} {
		if err := os.WriteFile(name, nil, mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := env.FS.MkdirAll("/usr/sbin", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := env.FS.WriteFile("/usr/sbin/fence_c", nil, 0o755); err != nil {
		t.Fatal(err)
	}
	r := Runner{Env: env.Env}
	for _, tc := range []struct{ agent, want, err string }{
		{"fence_a", two + "/fence_a", ""},
		{"fence_b", "", "permission denied"},
		{"fence_c", env.FS.Path("/usr/sbin/fence_c"), ""},
		{"fence_none", "", "does not exist in PATH and /usr/sbin"},
		{"fence_zvmip", two + "/fence_zvmip", ""},
		{"fence_zvm", "", "permission denied"}, // somebody switched it off
		{two + "/fence_a", two + "/fence_a", ""},
		{two, two, "is a directory"},
		{"/none/fence_zvm", "/none/fence_zvm", "no such file"},
	} {
		got, err := r.Find(tc.agent)
		if got != tc.want || (err == nil) != (tc.err == "") || err != nil && !strings.Contains(err.Error(), tc.err) {
			t.Errorf("Find(%q) = %q, %v; want %q, %q", tc.agent, got, err, tc.want, tc.err)
		}
	}
	env.Vars["PATH"] = ""
	if got, err := r.Find("fence_zvm"); got != "/proc/self/exe" || err != nil {
		t.Errorf("without a file our own agent is %q, %v", got, err)
	}
}
