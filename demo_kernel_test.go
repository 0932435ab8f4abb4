//go:build linux

package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
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
		{"three nodes on corosync", []string{"--corosync", "--nodes", "3"}, []string{`engine +corosync`, `(?m)^ CNODE3 +3 Online, rgmanager$`}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			// Its own file, by which its processes are found.
			own := filepath.Join(t.TempDir(), "haobox")
			if err := os.Link(binary, own); err != nil {
				t.Fatal(err)
			}
			testStory(t, own, tc.args, tc.want)
		})
	}
}

func testStory(t *testing.T, binary string, args, want []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), demoPatience)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, append([]string{"demo", "service"}, args...)...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Run(); err != nil || errs.Len() > 0 {
		t.Fatalf("demo service: %v\n%s\n%s", err, out.String(), errs.String())
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
		if !regexp.MustCompile(want).Match(out.Bytes()) {
			t.Errorf("no match of %q in\n%s", want, out.String())
		}
	}
	if bytes.Contains(out.Bytes(), []byte("SECRET")) || bytes.Contains(out.Bytes(), []byte("left out")) {
		t.Errorf("a secret, or something was left out:\n%s", out.String())
	}
	for line := range strings.Lines(out.String()) {
		if len([]rune(line)) > 101 {
			t.Errorf("wider than 100 columns: %s", line)
		}
	}
	// Process 1 of each namespace is gone, so whatever it had is as well; what
	// could remain is outside.
	programs, err := filepath.Glob("/proc/[0-9]*/exe")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range programs {
		if exe, _ := os.Readlink(file); exe == binary { // it may have ended meanwhile
			t.Errorf("%s is left", file)
		}
	}
	if left, _ := filepath.Glob("/mnt/n[123]"); len(left) > 0 {
		t.Errorf("files are left: %v", left)
	}
}
