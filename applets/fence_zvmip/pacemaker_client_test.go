//go:build linux

package fencezvmip_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/haobox/haobox/internal/smapi"
	"github.com/haobox/haobox/platform/testskip"
)

// binaryVariable hands the product's binary to the test inside the namespaces;
// insideVariable says that it is there.
const (
	binaryVariable = "HAOBOX_CLIENT_BINARY"
	insideVariable = "HAOBOX_CLIENT_INSIDE"
)

// TestPacemaker runs pacemaker-fenced alone, with our binary as
// /usr/sbin/fence_zvmip, and drives it with stonith_admin. All of it happens
// in mount, network and process namespaces of its own: the machine's
// /usr/sbin, sockets and shared memory stay as they are, and nothing is left.
func TestPacemaker(t *testing.T) {
	testskip.IfForeign(t, "runs the product's binary")
	if os.Getenv(insideVariable) == "" {
		t.Parallel()
		enterNamespaces(t)
		return
	}
	prepare(t)
	s := startSmapid(t)
	faulty := startSmapid(t, "--fault", "function=Image_Deactivate,target=CNODE1,count=1,do=code,rc=100,rs=16",
		"--fault", "function=Image_Deactivate,target=CNODE2,do=silence")
	startPacemaker(t)

	if out := stonith(t, 0, "--metadata", "-a", "fence_zvmip"); !strings.Contains(out, `name="verify_plug"`) {
		t.Errorf("the metadata is not ours:\n%s", out)
	}
	login := []string{"-o", "ip=127.0.0.1", "-o", "username=CMANAGER", "-o", "password=SECRET"}
	plain := append([]string{"-a", "fence_zvmip", "-o", "disable_ssl=1", "-o", "ipport=" + port(s.tcp)}, login...)
	secure := append([]string{"-a", "fence_zvmip", "-o", "ssl_ca=" + s.cert, "-o", "ipport=" + port(s.tls)}, login...)
	stonith(t, 0, append([]string{"--validate"}, plain...)...)
	stonith(t, 1, append([]string{"--validate", "-o", "delay=soon"}, plain...)...)

	for _, mode := range []struct {
		name    string
		options []string
	}{{"plain", plain}, {"secure", secure}} {
		stonith(t, 0, append([]string{"-R", mode.name}, mode.options...)...)
		if out := stonith(t, 0, "-l", "CNODE1"); !strings.Contains(out, mode.name) {
			t.Errorf("%s: nobody can fence CNODE1:\n%s", mode.name, out)
		}
		if out := stonith(t, 0, "-s", mode.name); !strings.Contains(out, "CNODE1") || !strings.Contains(out, "CNODE2") {
			t.Errorf("%s: targets:\n%s", mode.name, out)
		}
		stonith(t, 0, "-Q", mode.name)
		for _, step := range []struct {
			option string
			power  smapi.Power
		}{
			{"-F", smapi.PowerOff}, {"-U", smapi.PowerOn}, {"-B", smapi.PowerOn}, {"-F", smapi.PowerOff}, {"-B", smapi.PowerOn},
		} {
			stonith(t, 0, step.option, "CNODE1", "-t", "30")
			if p := s.power(t, "CNODE1"); p != step.power {
				t.Errorf("%s: after stonith_admin %s CNODE1 is %v, want %v", mode.name, step.option, p, step.power)
			}
		}
		stonith(t, 0, "-D", mode.name)
	}

	t.Log("a node name that is not the guest's, by pcmk_host_map")
	stonith(t, 0, append([]string{"-R", "mapped", "-o", "pcmk_host_map=node-2:CNODE2"}, plain...)...)
	stonith(t, 0, "-F", "node-2", "-t", "30")
	if p := s.power(t, "CNODE2"); p != smapi.PowerOff {
		t.Errorf("CNODE2 is %v", p)
	}
	stonith(t, 0, "-D", "mapped")

	t.Log("targets and devices that fail")
	stonith(t, 0, append([]string{"-R", "typo", "-o", "pcmk_host_list=CNODE9"}, plain...)...)
	stonith(t, 1, "-F", "CNODE9", "-t", "20")
	stonith(t, 0, "-D", "typo")
	stonith(t, 0, "-R", "wrong", "-a", "fence_zvmip", "-o", "pcmk_host_list=CNODE1", "-o", "disable_ssl=1",
		"-o", "ipport="+port(s.tcp), "-o", "ip=127.0.0.1", "-o", "username=CMANAGER", "-o", "password=WRONG")
	stonith(t, 1, "-F", "CNODE1", "-t", "20")
	if p := s.power(t, "CNODE1"); p != smapi.PowerOn {
		t.Errorf("CNODE1 is %v after a failed fence", p)
	}
	stonith(t, 0, "-D", "wrong")

	t.Log("a first attempt that fails, and the second one that Pacemaker makes")
	bad := append([]string{"-a", "fence_zvmip", "-o", "disable_ssl=1", "-o", "ipport=" + port(faulty.tcp), "-o", "pcmk_host_list=CNODE1 CNODE2"}, login...)
	stonith(t, 0, append([]string{"-R", "faulty"}, bad...)...)
	stonith(t, 0, "-F", "CNODE1", "-t", "30")
	if p := faulty.power(t, "CNODE1"); p != smapi.PowerOff {
		t.Errorf("CNODE1 is %v after the second attempt", p)
	}

	t.Log("a silent server: Pacemaker's limit ends the agent with SIGKILL")
	stonith(t, 124, "-F", "CNODE2", "-t", "4")
	if out, err := exec.Command("pgrep", "-x", "fence_zvmip").Output(); err == nil {
		t.Errorf("an agent is left: %s", out)
	}
	log, err := os.ReadFile(pacemakerLog)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"no guest CNODE9 in the directory: refusing to report it as fenced",
		"Unable to connect/login to fencing device", "SMAPI Image_Deactivate returned 100/16",
	} {
		if !strings.Contains(string(log), want) {
			t.Errorf("Pacemaker's log lacks %q", want)
		}
	}
	if strings.Contains(string(log), "SECRET") || strings.Contains(string(log), "WRONG") {
		t.Error("Pacemaker's log holds a password")
	}
	if t.Failed() {
		t.Logf("Pacemaker's log:\n%s", log)
	}
}

// pacemakerLimit bounds the whole test inside the namespaces.
const pacemakerLimit = 4 * time.Minute

// enterNamespaces runs this test again inside.
func enterNamespaces(t *testing.T) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), pacemakerLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "unshare", "--mount", "--net", "--pid", "--ipc", "--fork", "--kill-child",
		"--mount-proc", "--propagation", "private", self, "-test.run=^TestPacemaker$", "-test.v")
	cmd.Env = append(os.Environ(), insideVariable+"=1", binaryVariable+"="+binary(t))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("inside the namespaces: %v\n%s", err, out)
	}
	if !strings.Contains(string(out), "--- PASS: TestPacemaker") {
		t.Fatalf("inside the namespaces the test did not run:\n%s", out)
	}
}

// prepare makes the namespaces' own /run and /dev/shm, their loopback, and
// puts our binary where Pacemaker looks for agents.
func prepare(t *testing.T) {
	t.Helper()
	for _, dir := range []string{"/run", "/dev/shm", "/var/lib/pacemaker", "/var/log"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "mode=755"); err != nil {
			t.Fatalf("mount a tmpfs at %s (as root?): %v", dir, err)
		}
	}
	for _, dir := range []string{"/run/crm", "/var/lib/pacemaker/cores", "/var/log/pacemaker"} {
		if err := os.MkdirAll(dir, 0o750); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mount(binary(t), pythonAgent, "", syscall.MS_BIND, ""); err != nil {
		t.Fatalf("bind our binary over %s: %v", pythonAgent, err)
	}
	if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
		t.Fatalf("loopback: %v: %s", err, out)
	}
}

// pacemakerLog is where pacemaker-fenced logs.
const pacemakerLog = "/run/pacemaker-fenced.log"

// startPacemaker starts pacemaker-fenced and waits until it answers.
func startPacemaker(t *testing.T) {
	t.Helper()
	daemon := "/usr/lib/pacemaker/pacemaker-fenced"
	if found, _ := filepath.Glob("/usr/lib*/pacemaker/pacemaker-fenced"); len(found) > 0 {
		daemon = found[0]
	}
	cmd := exec.Command(daemon, "-s", "-l", pacemakerLog)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	})
	deadline := time.Now().Add(startLimit)
	for {
		out, err := exec.Command("stonith_admin", "-L").CombinedOutput()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("pacemaker-fenced does not answer: %v: %s", err, out)
		}
		time.Sleep(50 * time.Millisecond) // between two looks; how long it takes does not matter
	}
}

// stonith runs stonith_admin and wants its exit status.
func stonith(t *testing.T, want int, args ...string) string {
	t.Helper()
	out, err := exec.Command("stonith_admin", args...).CombinedOutput()
	status := 0
	if exit, ok := err.(*exec.ExitError); ok {
		status = exit.ExitCode()
	} else if err != nil {
		t.Fatal(err)
	}
	if status != want {
		t.Errorf("stonith_admin %q: exit status %d, want %d:\n%s", args, status, want, out)
	}
	return string(out)
}
