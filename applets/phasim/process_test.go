package phasim_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/google/go-cmp/cmp"

	"github.com/haobox/haobox/internal/ksys"
	"github.com/haobox/haobox/internal/ksys/phasim"
	"github.com/haobox/haobox/platform/testskip"
)

// built is the program that the tests of this package start: one for all,
// and built as it is shipped, because a test binary with the race detector
// sleeps for a second at the end of every process.
var built struct {
	sync.Once
	path string
}

// program builds haobox at the first call.
func program(t *testing.T) string {
	t.Helper()
	testskip.IfForeign(t, startsPrograms)
	built.Do(func() {
		// Not the first test's own folder: the others need it longer.
		dir, err := os.MkdirTemp("", "haobox-phasim-test-")
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, "haobox")
		cmd := exec.Command("go", "build", "-trimpath", "-tags=urfave_cli_no_docs", "-o", path, ".")
		cmd.Dir = "../.."
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("build: %v\n%s", err, out)
		}
		built.path = path
	})
	if built.path == "" {
		t.Fatal("haobox was not built")
	}
	return built.path
}

func TestMain(m *testing.M) {
	code := m.Run()
	if built.path != "" {
		os.RemoveAll(filepath.Dir(built.path))
	}
	os.Exit(code)
}

const startsPrograms = "a simulated node starts programs of its own, which the go command built"

// lab is a simulation in a folder.
type lab struct {
	t   *testing.T
	dir string
	bin string
}

func newLab(t *testing.T, args ...string) *lab {
	t.Helper()
	l := &lab{t: t, dir: filepath.Join(t.TempDir(), "sim"), bin: program(t)}
	l.ok(append(append([]string{"phasim", "init"}, args...), l.dir)...)
	return l
}

func (l *lab) command(ctx context.Context, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, l.bin, args...)
	c.Env = append(os.Environ(), "PHASIM_DIR="+l.dir)
	return c
}

// run runs haobox and returns both streams and the exit status.
func (l *lab) run(args ...string) (string, int) {
	l.t.Helper()
	out, err := l.command(l.t.Context(), args...).CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		l.t.Fatalf("%v: %v", args, err)
	}
	if exit != nil {
		return string(out), exit.ExitCode()
	}
	return string(out), 0
}

func (l *lab) ok(args ...string) string {
	l.t.Helper()
	out, code := l.run(args...)
	if code != 0 {
		l.t.Fatalf("%v: exit status %d\n%s", args, code, out)
	}
	return out
}

// on runs a command on a node.
func (l *lab) on(node string, args ...string) (string, int) {
	l.t.Helper()
	return l.run(append([]string{"phasim", "exec", node}, args...)...)
}

func (l *lab) inject(args ...string) {
	l.t.Helper()
	l.ok(append([]string{"phasim", "inject"}, args...)...)
}

// state is the path of a file of a node's state folder.
func (l *lab) state(node, name string) string {
	return filepath.Join(l.dir, "node", node, "var/ksys/run", name)
}

// TestScenariosAsPrograms runs every built-in story with the real scripts as
// programs; the calls must be those of the in-process simulation, which
// internal/ksys/phasim repeats with fifty seeds.
func TestScenariosAsPrograms(t *testing.T) {
	t.Parallel()
	for _, sc := range phasim.Scenarios() {
		t.Run(sc.Name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, "--defined", "--seed", "11")
			out := l.ok("phasim", "run", "--scenario", sc.Name)
			if !strings.Contains(out, "startksys rc=") {
				t.Errorf("log:\n%s", out)
			}
			up := "ksys7002"
			if sc.Owner != "" {
				up = sc.Owner
				l.ok("phasim", "assert", "group="+sc.Owner)
			}
			if _, code := l.on(up, "ksysstatus"); code != []int{0, 3, 1, 2}[sc.Result] {
				out, _ := l.on(up, "ksysstatus")
				t.Errorf("ksysstatus exits with %d\n%s", code, out)
			}
		})
	}
}

// TestSetupScenarios are the stories of the setup: a standard cluster, a
// linked one, one that exists, and the removal.
func TestSetupScenarios(t *testing.T) {
	t.Parallel()
	l := newLab(t, "--nodes", "ksys810,ksys811")
	ha := []string{"phaksyssetup", "--type", "ha", "--nodes", "ksys810,ksys811", "--disk", "hdisk5", "--yes"}
	for _, run := range []string{"setup-ha", "setup-existing"} {
		if out, code := l.on("ksys810", ha...); code != 0 {
			t.Fatalf("%s: exit status %d\n%s", run, code, out)
		}
		if out, code := l.on("ksys811", "ksysstatus"); code != 0 {
			t.Errorf("%s: status %d\n%s", run, code, out)
		}
	}
	if out, code := l.on("ksys810", "phaksyssetup", "remove", "--yes", "--cluster-name", "ksys810_cluster"); code != 0 {
		t.Fatalf("remove: exit status %d\n%s", code, out)
	}
	if out, code := l.on("ksys810", "clmgr", "query", "cluster"); code != 1 || !strings.Contains(out, "no cluster is defined") {
		t.Errorf("after the removal: %d %s", code, out)
	}
	d := newLab(t, "--nodes", "ksys803p,ksys804p", "--type", "dr")
	if out, code := d.on("ksys803p", "phaksyssetup", "--type", "dr", "--site1-nodes", "ksys803p", "--site1-disk", "hdisk4",
		"--site2-nodes", "ksys804p", "--site2-disk", "hdisk4", "--yes"); code != 0 {
		t.Fatalf("setup-dr: exit status %d\n%s", code, out)
	}
	if out, code := d.on("ksys803p", "ksysstatus"); code != 0 || !strings.Contains(out, "TYPE DR") {
		t.Errorf("setup-dr: status %d\n%s", code, out)
	}
	// The journal has every command that changed something.
	journal, err := os.ReadFile(filepath.Join(d.dir, "node/ksys803p/var/ksys/log/phaksyssetup.journal"))
	if err != nil || strings.Count(string(journal), `"rc":0`) < 10 {
		t.Errorf("journal %s, %v", journal, err)
	}
}

// TestTerminal types the answers of the paper's figures 3 and 4 at a
// pseudo-terminal and compares the screen with the golden file.
func TestTerminal(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, node   string
		init         []string
		pid          int
		conversation [][2]string
	}{
		{"figure3", "ksys810", []string{"--nodes", "ksys810,ksys811"}, 6226308, [][2]string{
			{"Enter your selection: ", "1"}, {"separated by ',' : ", "ksys810,ksys811"}, {"shared disk: ", "hdisk5"}}},
		{"figure4", "ksys803p", []string{"--nodes", "ksys803p,ksys804p", "--type", "dr"}, 10289596, [][2]string{
			{"Enter your selection: ", "2"}, {"for site1: ", "ksys803p"}, {"for Site1: ", "hdisk4"}, {"for site2: ", "ksys804p"}, {"for Site2: ", "hdisk4"}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, tc.init...)
			l.setPID(tc.pid)
			cmd := l.command(t.Context(), "phasim", "exec", tc.node, "phaksyssetup", "--paper-output", "--progress", "none")
			tty, err := pty.Start(cmd)
			if err != nil {
				t.Fatal(err)
			}
			defer tty.Close()
			screen := &bytes.Buffer{}
			for _, c := range tc.conversation {
				if err := readUntil(tty, screen, c[0]); err != nil {
					t.Fatalf("waiting for %q: %v\n%s", c[0], err, screen)
				}
				if _, err := io.WriteString(tty, c[1]+"\n"); err != nil {
					t.Fatal(err)
				}
			}
			// A terminal whose last user has gone ends with EIO.
			if _, err := io.Copy(screen, tty); err != nil && !errors.Is(err, syscall.EIO) {
				t.Fatal(err)
			}
			if err := cmd.Wait(); err != nil {
				t.Fatalf("%v\n%s", err, screen)
			}
			want, err := os.ReadFile(filepath.Join("..", "..", "internal", "ksys", "setup", "testdata", tc.name+".golden"))
			if err != nil {
				t.Fatal(err)
			}
			got := strings.ReplaceAll(screen.String(), "\r\n", "\n")
			if d := cmp.Diff(paper(string(want)), paper(got)); d != "" {
				t.Errorf("screen (-want +got):\n%s", d)
			}
		})
	}
}

// paper is a screen up to the line where the paper's figure ends.
func paper(screen string) string {
	const end = "_cluster.\n"
	i := strings.Index(screen, end)
	if i < 0 {
		return screen
	}
	return screen[:i+len(end)]
}

// readUntil copies from the terminal until the screen ends with text.
func readUntil(tty *os.File, screen *bytes.Buffer, text string) error {
	buf := make([]byte, 1)
	for !bytes.HasSuffix(screen.Bytes(), []byte(text)) {
		if _, err := tty.Read(buf); err != nil {
			return err
		}
		screen.Write(buf)
	}
	return nil
}

// setPID gives the simulation its next process id.
func (l *lab) setPID(pid int) {
	l.t.Helper()
	p := filepath.Join(l.dir, "state.json")
	data, err := os.ReadFile(p)
	if err == nil {
		err = os.WriteFile(p, bytes.Replace(data, []byte(`"pids": null`), fmt.Appendf(nil, `"pids": [%d]`, pid), 1), 0o600)
	}
	if err != nil {
		l.t.Fatal(err)
	}
}

// Of twenty first calls of the startup monitor at once exactly one creates
// the flag file.
func TestConcurrentStartupMonitors(t *testing.T) {
	t.Parallel()
	l := newLab(t, "--defined")
	codes := l.atOnce(20, func(int) []string { return []string{"phasim", "exec", "ksys7001", "startupmonksys"} })
	created := 0
	for _, c := range codes {
		switch c {
		case ksys.StartupCreated:
			created++
		case ksys.ExitOK:
		default:
			t.Errorf("exit status %d", c)
		}
	}
	if created != 1 {
		t.Errorf("%d calls created the flag: %v", created, codes)
	}
	st, err := os.Lstat(l.state("ksys7001", ksys.FlagFile))
	if err != nil || st.Mode() != 0o600 {
		t.Errorf("flag file %v, %v", st, err)
	}
	list, _ := os.ReadDir(l.state("ksys7001", ""))
	if len(list) != 1 {
		t.Errorf("files: %v", list)
	}
}

// atOnce runs commands at the same time and returns their exit statuses.
func (l *lab) atOnce(n int, args func(i int) []string) []int {
	l.t.Helper()
	codes := make([]int, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { _, codes[i] = l.run(args(i)...) })
	}
	wg.Wait()
	return codes
}

// speed is the time scale of tests with scripts that really run at the same
// time: fast, and slow enough that a busy machine does not reach their
// limits.
const speed = "8"

// Two start scripts at once: one works, the other waits for the lock; the
// daemon is active at the end and the waiting one has done the same once more
// or given up.
func TestTwoStartScriptsAtOnce(t *testing.T) {
	t.Parallel()
	l := newLab(t, "--defined")
	codes := l.atOnce(2, func(int) []string { return []string{"phasim", "exec", "--speed", speed, "ksys7001", "startksys"} })
	slices.Sort(codes)
	if codes[0] != ksys.ExitOK || codes[1] != ksys.ExitOK && codes[1] != ksys.ExitLocked {
		t.Errorf("exit statuses %v", codes)
	}
	l.ok("phasim", "assert", "vmr:ksys7001=active")
}

// A stop script during a start: the start gives up with 6, and the daemon is
// down at the end.
func TestStopDuringStart(t *testing.T) {
	t.Parallel()
	l := newLab(t, "--defined")
	// The daemon takes long to stop, so the start script is at work for sure
	// when the stop script comes.
	l.inject("ksys7001", "vmr", "stuck-stopping", "25")
	type result struct {
		out  string
		code int
	}
	start := make(chan result, 1)
	go func() {
		out, code := l.run("phasim", "exec", "--speed", speed, "ksys7001", "startksys")
		start <- result{out, code}
	}()
	for {
		if _, code := l.run("phasim", "assert", "vmr:ksys7001=stopping"); code == 0 {
			break
		}
		if t.Context().Err() != nil {
			t.Fatal("the start script does not stop the daemon")
		}
	}
	out, code := l.run("phasim", "exec", "--speed", speed, "ksys7001", "stopksys")
	if code != ksys.ExitOK {
		t.Errorf("stop: exit status %d: %s", code, out)
	}
	if r := <-start; r.code != ksys.StartCancelled {
		t.Errorf("start: exit status %d, want %d: %s", r.code, ksys.StartCancelled, r.out)
	}
	l.ok("phasim", "assert", "vmr:ksys7001=inoperative")
}

// The scripts' answer to each attack on the flag file.
func TestFlagAttacks(t *testing.T) {
	t.Parallel()
	passwd, err := os.ReadFile("/etc/passwd")
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		kind string
		want int
	}{{"symlink", ksys.StartupReplaced}, {"fifo", ksys.StartupReplaced}, {"stale", ksys.StartupReplaced}, {"empty", ksys.ExitOK}, {"foreign-owner", ksys.StartupReplaced}} {
		t.Run(tc.kind, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, "--defined")
			if tc.kind == "foreign-owner" && os.Geteuid() != 0 {
				t.Log("only root can give a file away; the check itself is tested in platform/statedir")
				return
			}
			l.inject("ksys7001", "flag", tc.kind)
			out, code := l.on("ksys7001", "startupmonksys")
			if code != tc.want {
				t.Errorf("exit status %d, want %d: %s", code, tc.want, out)
			}
			st, err := os.Lstat(l.state("ksys7001", ksys.FlagFile))
			if err != nil || !st.Mode().IsRegular() || st.Mode().Perm() != 0o600 {
				t.Errorf("flag file %v, %v", st, err)
			}
		})
	}
	t.Cleanup(func() {
		if now, err := os.ReadFile("/etc/passwd"); err != nil || !bytes.Equal(now, passwd) {
			t.Error("the target of the link was changed")
		}
	})
}

// A disk that is full or read-only: the start script runs, nothing hangs.
func TestDiskFaults(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"full", "readonly"} {
		l := newLab(t, "--defined")
		l.inject("ksys7001", "fs", kind)
		if out, code := l.on("ksys7001", "startupmonksys"); code != ksys.ExitStateDir {
			t.Errorf("%s: startup monitor: %d %s", kind, code, out)
		}
		if out, code := l.on("ksys7001", "longrunmonksys"); code != ksys.ExitOK {
			t.Errorf("%s: long-running monitor: %d %s", kind, code, out)
		}
		if out, code := l.on("ksys7001", "stopksys"); code != ksys.ExitOK {
			t.Errorf("%s: stop: %d %s", kind, code, out)
		}
	}
}

// kill -9 at any time: the next call works, no half-written file is left in
// the way, and the lock is free.
func TestKilledAnywhere(t *testing.T) {
	t.Parallel()
	l := newLab(t, "--defined")
	for i := range 24 {
		script := []string{"startupmonksys", "startksys", "longrunmonksys", "stopksys"}[i%4]
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(3+i*2)*time.Millisecond)
		// CommandContext kills with SIGKILL; what it started gets it too.
		cmd := l.command(ctx, "phasim", "exec", "ksys7001", script)
		_ = cmd.Run() // killed, or done before
		cancel()
		killAll(t, l.dir)
	}
	if out, code := l.on("ksys7001", "startupmonksys"); code > ksys.StartupReplaced {
		t.Errorf("startup monitor: %d %s", code, out)
	}
	if out, code := l.on("ksys7001", "startksys"); code != ksys.ExitOK {
		t.Errorf("start: %d %s", code, out)
	}
	if out, code := l.on("ksys7001", "longrunmonksys"); code != ksys.ExitOK {
		t.Errorf("monitor: %d %s", code, out)
	}
	if out, code := l.on("ksys7001", "stopksys"); code != ksys.ExitOK {
		t.Errorf("stop: %d %s", code, out)
	}
}

// The names of the simulated commands are nothing without a simulation.
func TestNamesWithoutSimulation(t *testing.T) {
	t.Parallel()
	self := program(t)
	dir := t.TempDir()
	for _, n := range phasim.Names() {
		link := filepath.Join(dir, n)
		if err := os.Symlink(self, link); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(link, "query", "cluster").CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != ksys.ExitMissing || !strings.Contains(string(out), "PHASIM_DIR") {
			t.Errorf("%s: %v %s", n, err, out)
		}
	}
}

// Each script runs no more than one external command beyond what it needs:
// the call log has every one.
func TestExternalCommands(t *testing.T) {
	t.Parallel()
	l := newLab(t, "--defined")
	for _, tc := range []struct {
		script string
		most   int
	}{{"startupmonksys", 0}, {"longrunmonksys", 3}} {
		before := l.calls()
		if out, code := l.on("ksys7001", tc.script); code > 1 {
			t.Fatalf("%s: %d %s", tc.script, code, out)
		}
		if n := l.calls() - before; n > tc.most {
			t.Errorf("%s ran %d commands, at most %d are allowed", tc.script, n, tc.most)
		}
	}
}

func (l *lab) calls() int {
	data, err := os.ReadFile(filepath.Join(l.dir, "log/calls.log"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		l.t.Fatal(err)
	}
	return bytes.Count(data, []byte("\n"))
}

// TestPPC64LE runs the scripts built for linux/ppc64le under the emulator:
// the KSYS nodes' processors.
func TestPPC64LE(t *testing.T) {
	t.Parallel()
	testskip.IfForeign(t, "an emulator in an emulator")
	qemu, err := exec.LookPath("qemu-ppc64le-static")
	if err != nil {
		t.Fatalf("%v: install qemu-user-static (tools/packages)", err)
	}
	bin := filepath.Join(t.TempDir(), "haobox")
	build := exec.Command("go", "build", "-trimpath", "-tags=urfave_cli_no_docs", "-o", bin, ".")
	build.Dir = "../.."
	build.Env = append(os.Environ(), "GOARCH=ppc64le", "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	root, path := t.TempDir(), t.TempDir()
	lssrc := "#!/bin/sh\ncase \"$*\" in\n\"-s IBM.VMR\") echo ' IBM.VMR          rsct_rm          13238600     active';;\n*) echo '   GroupLeader: ksys7001, 0x1, 1';;\nesac\n"
	if err := os.WriteFile(filepath.Join(path, "lssrc"), []byte(lssrc), 0o755); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) (string, int) {
		cmd := exec.Command(qemu, append([]string{bin}, args...)...)
		cmd.Env = []string{"HAOBOX_ROOT=" + root, "HAOBOX_KSYS_PATH=" + path, "HAOBOX_KSYS_NODE=ksys7001"}
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			return string(out), exit.ExitCode()
		}
		if err != nil {
			t.Fatalf("%v: %v", args, err)
		}
		return string(out), 0
	}
	for _, step := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"startupmonksys"}, 1, "REQUEST flag=created"},
		{[]string{"startupmonksys"}, 0, "OK flag=requested"},
		{[]string{"longrunmonksys"}, 0, "OK node=ksys7001 leader=ksys7001 vmr=active"},
		{[]string{"startupmonksys"}, 1, "REQUEST flag=created"},
		{[]string{"startksys", "--explain"}, 0, `"local": true`},
		{[]string{"phaksyssetup", "--type", "ha", "--nodes", "a,b", "--disk", "hdisk1", "--yes", "--dry-run"}, 0, "+ clmgr add cluster a_cluster"},
	} {
		if out, code := run(step.args...); code != step.code || !strings.Contains(out, step.want) {
			t.Errorf("%v: exit status %d, want %d, and %q in\n%s", step.args, code, step.code, step.want, out)
		}
	}
}

// The packages of the KSYS applets reach nothing that is only for Linux.
func TestKsysBuildsForAIX(t *testing.T) {
	t.Parallel()
	testskip.IfForeign(t, "needs the go command")
	packages := []string{"./platform/src", "./platform/statedir", "./internal/ksys/..."}
	for _, a := range []string{"startupmonksys", "startksys", "stopksys", "longrunmonksys", "phaksyssetup", "ksysstatus", "phasim", "ksys"} {
		packages = append(packages, "./applets/"+a)
	}
	for _, target := range []string{"aix/ppc64", "linux/ppc64le", "linux/amd64"} {
		goos, arch, _ := strings.Cut(target, "/")
		env := append(os.Environ(), "GOOS="+goos, "GOARCH="+arch, "CGO_ENABLED=0")
		build := exec.Command("go", append([]string{"build", "-tags=urfave_cli_no_docs"}, packages...)...)
		build.Dir, build.Env = "../..", env
		if out, err := build.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", target, err, out)
		}
		list := exec.Command("go", append([]string{"list", "-deps", "-tags=urfave_cli_no_docs"}, packages...)...)
		list.Dir, list.Env = "../..", env
		out, err := list.Output()
		if err != nil {
			t.Fatalf("%s: %v", target, err)
		}
		for _, p := range strings.Fields(string(out)) {
			for _, bad := range []string{"netlink", "godbus", "go-systemd", "vsock", "mdlayher", "iucv", "corosync", "systemd", "watchdog"} {
				if strings.Contains(p, bad) {
					t.Errorf("%s: the KSYS applets reach %s", target, p)
				}
			}
		}
	}
}
