//go:build linux

package qdiskd

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/haobox/haobox/internal/cmdtest"
	"github.com/haobox/haobox/platform/blockdev/looptest"
	"github.com/haobox/haobox/platform/corosync/corotest"
)

// maxLocked is the goal for what the daemon holds in memory, in KiB.
const maxLocked = 12 << 10

// TestManual is chapter 7.1 of the manual, as docs/quorum-disk.md goes through
// it: every command of the page runs in a node with a real corosync, and must
// print what the page says.
func TestManual(t *testing.T) {
	t.Parallel()
	corotest.Need(t)
	page, err := os.ReadFile("../../docs/quorum-disk.md")
	if err != nil {
		t.Fatal(err)
	}
	commands := consoleOf(string(page))
	if len(commands) < 25 {
		t.Fatalf("the page has %d commands", len(commands))
	}
	// All tests on this machine share its loop devices and labels.
	dev, _ := looptest.New(t, 1<<20, 4096)
	dir := t.TempDir()
	mine := strings.NewReplacer("/dev/loop0", dev, "QDISK", fmt.Sprint("QD", os.Getpid()), "/var/tmp/qdisk.img", filepath.Join(dir, "image"))
	theirs := strings.NewReplacer(dev, "/dev/loop0", fmt.Sprint("QD", os.Getpid()), "QDISK")
	n := corotest.Start(t, corotest.Options{Idle: true}).Nodes[0]
	binary := cmdtest.Build(t, "../..", ".")
	sh := func(script string) string {
		// The exit status is not looked at: corosync-quorumtool has 2 without
		// quorum, and what a command prints tells whether it failed.
		out, _ := n.Command("sh", "-c", "export PATH=/run/bin:$PATH TZ=UTC\n"+script).CombinedOutput()
		return string(out)
	}
	// Nothing of the machine is changed: /etc is an overlay, /var/log another
	// mount.
	if out := sh("mount -t tmpfs -o mode=755 tmpfs /var/log && mkdir -p /run/up /run/work /run/bin &&\n" +
		"mount -t overlay overlay -o lowerdir=/etc,upperdir=/run/up,workdir=/run/work /etc &&\n" +
		"rm -rf /etc/corosync /etc/cluster && mkdir /etc/corosync && echo '127.0.0.1 localhost' >/etc/hosts\n" +
		"for a in haobox ccs_config_validate clustat cman_tool mkqdisk qdiskd; do ln -s " + binary + " /run/bin/$a; done"); out != "" {
		t.Fatalf("prepare the node: %s", out)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log:\n%s", sh("cat /var/log/cluster/qdiskd.log"))
		}
		n.Command("sh", "-c", "kill -9 $(cat /run/qdiskd.pid /run/corosync.pid 2>/dev/null) 2>/dev/null").Run()
	})
	for _, c := range commands {
		var got string
		switch {
		case strings.HasPrefix(c.line, "losetup --find"):
			got = "/dev/loop0\n" // made above
		case strings.HasPrefix(c.line, "losetup -d"): // at the end of the test
		default:
			got = theirs.Replace(sh(mine.Replace(c.line)))
		}
		if !printed(c.want, got) {
			t.Fatalf("$ %s\nprints\n%s\nThe page has\n%s", c.line, got, c.want)
		}
		if strings.HasPrefix(c.line, "cman_tool wait -q") {
			daemonIsHardened(t, strings.TrimSpace(sh("cat /run/qdiskd.pid")))
		}
	}
}

// daemonIsHardened: its memory is locked and small, and it has real-time
// priority.
func daemonIsHardened(t *testing.T, pid string) {
	t.Helper()
	n, err := strconv.Atoi(pid)
	if err != nil {
		t.Fatal(err)
	}
	locked, resident := memory(t, n)
	t.Logf("resident %d KiB; address space under lock-on-fault %d KiB", resident, locked)
	if locked == 0 {
		t.Error("its memory is not locked")
	}
	if resident > maxLocked {
		t.Errorf("%d KiB resident, the goal is %d", resident, maxLocked)
	}
	if policy, err := unix.SchedGetAttr(n, 0); err != nil || policy.Policy != unix.SCHED_RR {
		t.Errorf("scheduling: %+v, %v", policy, err)
	}
}

// memory is VmLck and VmRSS of a process, in KiB.
func memory(t testing.TB, pid int) (locked, resident int) {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		f := strings.Fields(line)
		switch {
		case strings.HasPrefix(line, "VmLck:"):
			locked, _ = strconv.Atoi(f[1])
		case strings.HasPrefix(line, "VmRSS:"):
			resident, _ = strconv.Atoi(f[1])
		}
	}
	return locked, resident
}

// console is a command of a page and what it prints.
type console struct{ line, want string }

// consoleOf returns the commands of a Markdown text: in its indented blocks they
// follow "$ ", and a here-document belongs to its command.
func consoleOf(text string) (out []console) {
	here := false
	for line := range strings.Lines(text) {
		code, is := strings.CutPrefix(line, "    ")
		last := len(out) - 1
		command, begins := strings.CutPrefix(code, "$ ")
		switch {
		case !is && strings.TrimSpace(line) != "":
			if last >= 0 && !strings.HasSuffix(out[last].want, "\f") {
				out[last].want += "\f" // text follows: the output is over
			}
		case here:
			out[last].line += code
			here = strings.TrimSpace(code) != "EOF"
		case is && begins:
			out = append(out, console{line: command})
			here = strings.Contains(command, "<<'EOF'")
		case last >= 0 && !strings.HasSuffix(out[last].want, "\f"):
			out[last].want += strings.TrimPrefix(line, "    ")
		}
	}
	for i := range out {
		out[i].want = strings.TrimSuffix(out[i].want, "\f")
	}
	return out
}

// printed reports whether got is what the page has, but for what differs with
// time and machine, spaces at the end of lines, and "...", which is any lines.
func printed(want, got string) bool {
	clean := func(text string) string {
		for _, r := range [][2]string{
			{`\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}`, "CTIME"},
			{`(?m)^\w{3} [ \d]\d \d\d:\d\d:\d\d`, "TIME"},
			{`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d`, "TIME"},
			{`(?m)^mkqdisk v.*$`, "mkqdisk VERSION"},
			{`Host: +\S+`, "HOST"},
			{`made on \S+`, "made on HOST"},
			{`Ring ID: +\S+`, "RING"},
			{`(?m)^( +1   M +)\d+`, "${1}INC"},
			{`\d+ +\d+ +[.\d]+ [0-9a-f]{16}`, "SEQ ARG WRITE INCARNATION"},
			{`(?m)[ \t]+$`, ""},
		} {
			text = regexp.MustCompile(r[0]).ReplaceAllString(text, r[1])
		}
		return strings.Trim(text, "\n") + "\n"
	}
	pattern := ""
	for line := range strings.Lines(clean(want)) {
		if line == "...\n" {
			pattern += `(?:.*\n)*`
		} else {
			pattern += regexp.QuoteMeta(line)
		}
	}
	return regexp.MustCompile(`\A` + pattern + `\z`).MatchString(clean(got))
}

// TestPrinted: what TestManual compares with.
func TestPrinted(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		want, got string
		same      bool
	}{
		{"", "", true},
		{"", "x\n", false},
		{"a\n...\nd\n", "a\nb\nc\nd\n", true},
		{"a\n...\nd\n", "a\nb\nc\n", false},
		{"...\nb  \n...\n", "a\nb\n", true},
		{"...\nb\n", "a\nb\nc\n", false},
		{"Nov 22 14:34:43 qdiskd x", "Dec  1 00:00:00 qdiskd x", true},
		{"Total votes: 2", "Total votes: 1", false},
	} {
		if printed(tc.want, tc.got) != tc.same {
			t.Errorf("%q and %q: want %v", tc.want, tc.got, tc.same)
		}
	}
	got := consoleOf("text\n\n    $ a\n    1\n\n    2\n\ntext\n\n    no output\n    $ cat <<'EOF'\n    x\n    EOF\n    $ b\n")
	want := []console{{"a\n", "1\n\n2\n\n"}, {"cat <<'EOF'\nx\nEOF\n", ""}, {"b\n", ""}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(console{})); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}
