//go:build linux

package mkqdisk

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/haobox/haobox/applets/applet"
	"github.com/haobox/haobox/internal/quorumdisk"
	"github.com/haobox/haobox/platform"
	"github.com/haobox/haobox/platform/blockdev"
	"github.com/haobox/haobox/platform/blockdev/looptest"
	"github.com/haobox/haobox/platform/host"
	"github.com/haobox/haobox/platform/platformtest"
)

// call runs mkqdisk on the machine's own devices.
func call(t *testing.T, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	return callWhile(t, nil, stdin, args...)
}

// callWhile runs mkqdisk; whenever it waits, meanwhile is what happens.
func callWhile(t *testing.T, meanwhile func(), stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	env := platformtest.NewEnv(t)
	env.Env.FS, env.Env.Clock = host.NewFS(""), still{meanwhile: meanwhile}
	err := Applet.Run(t.Context(), env.WithStdin(stdin), append([]string{"mkqdisk"}, args...))
	code = applet.Status(err, env.Stderr)
	return code, env.Stdout.String(), env.Stderr.String()
}

// still is a clock that shows one moment.
type still struct {
	platform.SystemClock
	meanwhile func()
}

func (still) Now() time.Time { return platformtest.Epoch }

func (c still) Sleep(context.Context, time.Duration) error {
	if c.meanwhile != nil {
		c.meanwhile()
	}
	return nil
}

const banner = "mkqdisk vunknown\n\n"

func initialized() string {
	var b strings.Builder
	for n := 1; n <= 16; n++ {
		fmt.Fprintf(&b, "Initializing status block for node %d...\n", n)
	}
	return b.String()
}

// TestCreate_ManualOutput is the example of the manual, 7.1.5, and what comes of
// it on disks of both sector sizes.
func TestCreate_ManualOutput(t *testing.T) {
	t.Parallel()
	for _, sector := range []int{512, 4096} {
		dev, file := looptest.New(t, 73728, sector)
		label := fmt.Sprint("QDISK", sector, os.Getpid())
		prompt := fmt.Sprintf(banner+"Writing new quorum disk label '%s' to %s.\nWARNING: About to destroy all data on %s; proceed [N/y] ? ", label, dev, dev)
		for _, no := range []string{"", "n\n", "Y\n"} {
			code, out, errs := call(t, no, "-c", dev, "-l", label)
			if code != 0 || out != prompt+"Good thinking.\n" || errs != "" {
				t.Errorf("answer %q: %d %q %q", no, code, out, errs)
			}
		}
		if b, _ := os.ReadFile(file); slices.ContainsFunc(b, func(c byte) bool { return c != 0 }) {
			t.Error("written without consent")
		}
		code, out, errs := call(t, "yes\n", "-c", dev, "-l", label)
		if diff := cmp.Diff(prompt+initialized(), out); diff != "" || code != 0 || errs != "" {
			t.Errorf("%d %q (-want +got):\n%s", code, errs, diff)
		}
		code, out, _ = call(t, "", "-y", "-c", dev, "-l", label)
		if want := prompt + "Warning: Initializing previously initialized partition\n" + initialized(); out != want || code != 0 {
			t.Errorf("again: %d\n%s", code, cmp.Diff(want, out))
		}
		d, err := blockdev.Open(dev, blockdev.Options{Write: true})
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		h, err := quorumdisk.Probe(d)
		created := uint64(platformtest.Epoch.Unix())
		if diff := cmp.Diff(quorumdisk.Header{Created: created, Host: "cnode2", Label: label, Version2: true, SectorSize: uint32(sector)}, h); diff != "" || err != nil {
			t.Errorf("header: %v (-want +got):\n%s", err, diff)
		}
		for id := 1; id <= 16; id++ {
			s, err := quorumdisk.ReadStatus(d, id)
			if diff := cmp.Diff(quorumdisk.Status{Timestamp: created, Node: uint32(id)}, s); diff != "" || err != nil {
				t.Errorf("node %d: %v (-want +got):\n%s", id, err, diff)
			}
		}

		list := fmt.Sprintf("\tMagic:                eb7a62c2\n\tLabel:                %s\n\tCreated:              %s\n\tHost:                 cnode2\n"+
			"\tKernel Sector Size:   %d\n\tRecorded Sector Size: %d\n\n", label, ctime(created), sector, sector)
		if code, out, errs = call(t, "", "-f", label); code != 0 || out != banner+dev+":\n"+list || errs != "" {
			t.Errorf("-f: %d %q %q", code, out, errs)
		}
		if code, out, _ = call(t, "", "-f", "other", "-L"); code != 0 || !strings.Contains(out, dev+":\n"+list) {
			t.Errorf("-L: %d %q", code, out)
		}
		if code, out, _ = call(t, "", "-f", label+"x"); code != 255 || out != banner {
			t.Errorf("another label: %d %q", code, out)
		}

		// Blocks of nodes are shown from five -d on, those in state None never.
		s := quorumdisk.Status{Updater: 1, Node: 1, Timestamp: created, State: quorumdisk.StateMaster, AverageWrite: quorumdisk.Elapsed{Micros: 1500},
			Incarnation: 0x6b0282906b028290}
		if err := quorumdisk.WriteStatus(d, 1, s); err != nil {
			t.Fatal(err)
		}
		block := "Status block for node 1\n\tLast updated by node 1\n\tLast updated on " + ctime(created) + "\n\tState: Master\n\tFlags: 0000\n\tScore: 0/0\n" +
			"\tAverage Cycle speed: 0.001500 seconds\n\tLast Cycle speed: 0.000000 seconds\n\tIncarnation: 9082026b9082026b\n"
		if _, _, errs = call(t, "", "-f", label, "-dddd"); strings.Contains(errs, "Status block") {
			t.Errorf("four -d: %q", errs)
		}
		if _, _, errs = call(t, "", "-f", label, "-ddddd"); !strings.Contains(errs, block) || strings.Contains(errs, "node 2") {
			t.Errorf("five -d: %q", errs)
		}
	}
}

func TestCreate_Refused(t *testing.T) {
	t.Parallel()
	small, _ := looptest.New(t, 73216, 512)
	used, _ := looptest.New(t, 1<<20, 512)
	good, _ := looptest.New(t, 1<<20, 512)
	held, err := os.OpenFile(used, os.O_RDONLY|os.O_EXCL, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	plain := t.TempDir() + "/plain"
	if err := os.WriteFile(plain, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	live, _ := looptest.New(t, 1<<20, 512)
	if code, _, errs := call(t, "", "-y", "-c", live, "-l", "live"); code != 0 {
		t.Fatalf("%d %q", code, errs)
	}
	at := uint64(0)
	disk, err := blockdev.Open(live, blockdev.Options{Write: true})
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	heartbeat := func() {
		at++
		if err := quorumdisk.WriteStatus(disk, 3, quorumdisk.Status{Updater: 3, Node: 3, Timestamp: at, State: quorumdisk.StateRunning}); err != nil {
			t.Error(err)
		}
	}
	heartbeat()
	for _, tc := range []struct {
		name   string
		args   []string
		stderr string
	}{
		{"a running cluster's", []string{"-c", live, "-l", "a"}, live + " is the quorum disk of a running cluster, node 3 writes to it: stop qdiskd there, or say --force"},
		{"too small", []string{"-c", small, "-l", "a"}, "is too small: it has 73216 bytes and a quorum disk needs 73728"},
		{"in use", []string{"-c", used, "-l", "a"}, "is claimed by the kernel, or one of its partitions is: choose another device, or say --force"},
		{"no block device", []string{"-c", plain, "-l", "a"}, "not a block device"},
		{"no device", []string{"-c", plain + "x", "-l", "a"}, "no such file or directory"},
		{"a character device", []string{"-c", "/dev/zero", "-l", "a", "--force"}, "/dev/zero"},
		{"119 characters", []string{"-c", good, "-l", strings.Repeat("x", 119)}, "the label has 119 characters: use at most 118"},
	} {
		// Nobody is asked about a device that can not be used anyhow.
		for _, yes := range []string{"-y", "-d"} {
			code, out, errs := callWhile(t, heartbeat, "", append([]string{yes}, tc.args...)...)
			if code != 255 || out != banner || !strings.Contains(errs, tc.stderr) || strings.Count(errs, "\n") != 1 {
				t.Errorf("%s: %d %q %q, want %q", tc.name, code, out, errs, tc.stderr)
			}
		}
	}
	if code, _, errs := call(t, "", "-y", "-c", good, "-l", strings.Repeat("x", 118)); code != 0 {
		t.Errorf("118 characters: %d %q", code, errs)
	}
	if code, _, errs := call(t, "", "-y", "--force", "-c", used, "-l", "forced"); code != 0 {
		t.Errorf("forced: %d %q", code, errs)
	}
	// A node that is marked as running and is silent does not use it any more.
	if code, _, errs := call(t, "", "-y", "-c", live, "-l", "again"); code != 0 {
		t.Errorf("after a crash: %d %q", code, errs)
	}
	if code, _, errs := call(t, "", "-y", "--force", "-c", plain, "-l", "file"); code != 0 {
		t.Errorf("a file: %d %q", code, errs)
	}
}

// TestList_OtherSectors: a disk that was made for other sectors is not listed.
func TestList_OtherSectors(t *testing.T) {
	t.Parallel()
	dev, _ := looptest.New(t, 1<<20, 4096)
	d, err := blockdev.Open(dev, blockdev.Options{Write: true})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	label := fmt.Sprint("other", os.Getpid())
	if err := quorumdisk.WriteHeader(d, quorumdisk.Header{Label: label, Version2: true, SectorSize: 512}, 1); err != nil {
		t.Fatal(err)
	}
	code, _, errs := call(t, "", "-dd", "-f", label)
	if code != 255 || !strings.Contains(errs, dev+": the sector size recorded on the disk is not that of the device: 512, not 4096") {
		t.Errorf("%d %q", code, errs)
	}
	if err := quorumdisk.WriteHeader(d, quorumdisk.Header{Label: label}, 1); err != nil {
		t.Fatal(err)
	}
	code, out, _ := call(t, "", "-f", label)
	if code != 0 || !strings.HasSuffix(out, "\tKernel Sector Size:   4096\n") {
		t.Errorf("version 1: %d %q", code, out)
	}
}

// TestCreate_UnknownUse: where nobody can say what is mounted, a device is not
// taken for unused.
func TestCreate_UnknownUse(t *testing.T) {
	t.Parallel()
	dev, file := looptest.New(t, 73728, 512)
	root := t.TempDir()
	if err := os.Symlink(dev, filepath.Join(root, "disk")); err != nil {
		t.Fatal(err)
	}
	for _, force := range []bool{false, true} {
		env := platformtest.NewEnv(t)
		env.Env.FS = host.NewFS(root) // without /proc
		args := []string{"mkqdisk", "-y", "-c", "/disk", "-l", "x"}
		if force {
			args = append(args, "--force")
		}
		code := applet.Status(Applet.Run(t.Context(), env.Env, args), env.Stderr)
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		written := slices.ContainsFunc(b, func(c byte) bool { return c != 0 })
		if (code == 0) != force || written != force || !force && !strings.Contains(env.Stderr.String(), "look whether /disk is in use: find out what is mounted: ") {
			t.Errorf("forced %v: %d, written %v, %q", force, code, written, env.Stderr)
		}
	}
}

// ownVariable makes this program mkqdisk, for users other than root.
const ownVariable = "MKQDISK_OWN"

func TestMain(m *testing.M) {
	if os.Getenv(ownVariable) != "" {
		env := platform.Env{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv, Hostname: os.Hostname, Clock: platform.SystemClock{}, FS: host.NewFS("")}
		os.Exit(applet.Status(Applet.Run(context.Background(), env, os.Args), os.Stderr))
	}
	os.Exit(m.Run())
}

// TestShow_NotRoot: who may open no device is told so, and not that there is no
// quorum disk.
func TestShow_NotRoot(t *testing.T) {
	t.Parallel()
	looptest.New(t, 73728, 512)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "mkqdisk")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(dir, "mkqdisk")
	if err := os.WriteFile(copied, program, 0o755); err != nil {
		t.Fatal(err)
	}
	const nobody = 65534
	var out, errs strings.Builder
	cmd := exec.Command(copied, "-L")
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = "/", append(os.Environ(), ownVariable+"=1"), &out, &errs
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	err = cmd.Run()
	if cmd.ProcessState.ExitCode() != 255 || out.String() != banner || !strings.HasSuffix(errs.String(), ": permission denied: root may look at all devices\n") {
		t.Errorf("%v\n%s%s", err, &out, &errs)
	}
}
