//go:build linux

package sandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/haobox/haobox/platform"
	"github.com/haobox/haobox/platform/proc"
	"github.com/haobox/haobox/platform/testskip"
)

// patience bounds every wait of these tests, on a machine that is busy.
const patience = 60 * time.Second

// TestMain is also the programs of the tests: process 1 of the stage, that of a
// node, and a web server on it. They fail with a line on standard error.
func TestMain(m *testing.M) {
	if len(os.Args) < 3 || !strings.HasPrefix(os.Args[1], "sandbox-") {
		os.Exit(m.Run())
	}
	var err error
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	switch dir := os.Args[2]; os.Args[1] {
	case "sandbox-stage":
		err = stagePart(ctx, dir)
	case "sandbox-node":
		err = nodePart(ctx, dir, os.Args[3])
	case "sandbox-web":
		err = http.ListenAndServe(":80", http.FileServer(http.Dir(dir)))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

const (
	stageAt = "10.9.8.254/24"
	nodeAt  = "10.9.8.1/24"
	hostAt  = "10.9.8.100/24"
)

// absent is a folder that no machine has, so that a node gets an overlay for it.
const absent = "/etc/haobox-sandbox-test"

// TestSandbox puts a stage, a node and a host together, and sees that the machine
// outside has nothing of it.
func TestSandbox(t *testing.T) {
	t.Parallel()
	testskip.IfForeign(t, "an overlay file system, and starting this test as a second program")
	if os.Geteuid() != 0 {
		t.Fatal("not root; namespaces need it")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var out bytes.Buffer
	runner := proc.Runner{}
	res, err := runner.Run(t.Context(), platform.Cmd{
		Path: self, Args: []string{self, "sandbox-stage", dir}, Stdout: &out, Stderr: &out, Private: true, Limit: patience,
	})
	if err != nil || !res.OK() {
		t.Fatalf("stage: %+v, %v:\n%s", res, err, out.String())
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("outside, the stage's folder has %v", left)
	}
	if _, err := os.Lstat(absent); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("outside, there is %s: %v", absent, err)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(mounts, []byte(dir)) {
		t.Errorf("a mount is left:\n%s", mounts)
	}
	backings, _ := filepath.Glob("/sys/block/loop*/loop/backing_file")
	for _, f := range backings {
		if text, _ := os.ReadFile(f); bytes.Contains(text, []byte(dir)) {
			t.Errorf("a loop device is left: %s: %s", f, text)
		}
	}
}

// stagePart is the test, from inside.
func stagePart(ctx context.Context, dir string) error {
	if err := Stage(dir, netip.MustParsePrefix(stageAt)); err != nil {
		return err
	}
	if _, err := os.Lstat("/proc/1/exe"); err != nil || os.Getpid() != 1 {
		return fmt.Errorf("/proc is not that of this process namespace: pid %d, %v", os.Getpid(), err)
	}
	for _, d := range []string{"/etc", "/web"} {
		if err := os.MkdirAll(dir+d, 0o755); err != nil {
			return err
		}
	}
	if err := os.WriteFile(dir+"/web/index.html", []byte("of the node"), 0o644); err != nil {
		return err
	}
	if err := fitsPart(dir); err != nil {
		return err
	}
	if err := loopPart(dir + "/disk"); err != nil {
		return err
	}
	node, errs, err := startNode(ctx, dir)
	if err != nil {
		return err
	}
	host, err := NewHost("c1", netip.MustParsePrefix(hostAt))
	if err != nil {
		return err
	}
	defer host.Close()
	before, err := os.Readlink(threadNet)
	if err != nil {
		return err
	}
	address := netip.MustParsePrefix(nodeAt).Addr()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: host.DialContext}, Timeout: time.Second}
	get := func() (string, error) {
		answer, err := client.Get("http://" + address.String() + "/index.html")
		if err != nil {
			return "", err
		}
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		return string(text), err
	}
	for text := ""; text != "of the node"; {
		if text, err = get(); err != nil && ctx.Err() != nil {
			return fmt.Errorf("the web server of the node: %w\n%s", err, errs)
		}
	}
	if mac, err := host.Neighbour(address); err != nil || mac.String() != "02:00:0a:09:08:01" {
		return fmt.Errorf("the host finds the node at %v, %v, and not 02:00:0a:09:08:01", mac, err)
	}
	if mac, err := host.Neighbour(netip.MustParseAddr("10.9.8.77")); err != nil || mac != nil {
		return fmt.Errorf("the host finds nobody's address at %v, %v", mac, err)
	}
	if _, err := host.DialContext(ctx, "tcp", "localhost:80"); err == nil || !strings.Contains(err.Error(), "sandbox") {
		return fmt.Errorf("a name was looked up: %v", err)
	}
	if now, err := os.Readlink(threadNet); err != nil || now != before {
		return fmt.Errorf("the stage's thread was in %s, and is in %s, %v", before, now, err)
	}
	// What the node has in the place of the machine's folders is on the stage.
	if text, err := os.ReadFile(dir + "/etc/from-node"); err != nil || string(text) != "hello" {
		return fmt.Errorf("what the node wrote below %s: %q, %v", absent, text, err)
	}
	if err := Unplug("v1"); err != nil {
		return err
	}
	// A bridge without an address of its own has that of a port.
	if br, err := net.InterfaceByName(bridge); err != nil || br.HardwareAddr.String() != "02:00:0a:09:08:fe" {
		return fmt.Errorf("the bridge is %+v, %v", br, err)
	}
	if text, err := get(); err == nil {
		return fmt.Errorf("the node answers %q without a cable", text)
	}
	if err := Unplug("v1"); err == nil {
		return errors.New("a cable could be unplugged twice")
	}
	host.Close()
	if _, err := host.DialContext(ctx, "tcp", address.String()+":80"); !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("a connection from a host that is closed: %v", err)
	}
	if err := node.Signal(os.Interrupt); err != nil {
		return err
	}
	_, err = node.Wait()
	return err
}

// startNode starts the node, and plugs it in.
func startNode(ctx context.Context, dir string) (platform.Process, *bytes.Buffer, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, nil, err
	}
	var errs bytes.Buffer
	runner := proc.Runner{}
	node, err := runner.Start(ctx, platform.Cmd{Path: self, Args: []string{self, "sandbox-node", dir, self}, Stdout: &errs, Stderr: &errs, Private: true})
	if err != nil {
		return nil, nil, err
	}
	return node, &errs, Plug("v1", netip.MustParsePrefix(nodeAt).Addr(), node.PID())
}

// nodePart is process 1 of the node.
func nodePart(ctx context.Context, dir, self string) error {
	if err := Node(ctx, netip.MustParsePrefix(nodeAt), []Bind{{From: dir + "/etc", At: absent}}); err != nil {
		return err
	}
	if err := os.WriteFile(absent+"/from-node", []byte("hello"), 0o644); err != nil {
		return err
	}
	// One that ends is told, with its status, and what it left is buried.
	err := Init(ctx, []Program{{Path: "/bin/sh", Args: []string{"sh", "-c", "(exit 7) & (exit 8) & exit 3"}, Output: dir + "/sh.out"}})
	if err == nil || err.Error() != "sh has ended: exit status 3, signal 0" {
		return fmt.Errorf("init of a program that ends: %v", err)
	}
	if err := Init(ctx, []Program{{Path: "/nowhere", Args: []string{"nowhere"}, Output: dir + "/sh.out"}}); !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("init of no program: %v", err)
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if err := Init(ended, nil); err != nil {
		return fmt.Errorf("init that is to end: %w", err)
	}
	return Init(ctx, []Program{{Path: self, Args: []string{self, "sandbox-web", dir + "/web"}, Output: dir + "/web.out"}})
}

// fitsPart looks at folders that are too small, and that run nothing.
func fitsPart(dir string) error {
	if err := Fits(dir, 1); err != nil {
		return err
	}
	if err := Fits(dir+"/none", 1); !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("no folder: %v", err)
	}
	small := dir + "/small"
	if err := os.Mkdir(small, 0o755); err != nil {
		return err
	}
	if err := unix.Mount("small", small, "tmpfs", 0, "size=64k"); err != nil {
		return err
	}
	if err := Fits(small, 1<<20); !errors.Is(err, unix.ENOSPC) {
		return fmt.Errorf("a folder that is too small: %v", err)
	}
	if err := unix.Mount("small", small, "tmpfs", unix.MS_NOEXEC, "size=64k"); err != nil {
		return err
	}
	if err := Fits(small, 1); err == nil || !strings.Contains(err.Error(), "noexec") {
		return fmt.Errorf("a folder without programs: %v", err)
	}
	return nil
}

// loopPart makes a file a device, and has it go again.
func loopPart(file string) error {
	if _, err := Loop(file); !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("a loop device of no file: %v", err)
	}
	if err := os.WriteFile(file, bytes.Repeat([]byte("haobox\n.."), 1<<17), 0o600); err != nil {
		return err
	}
	dev, err := Loop(file)
	if err != nil {
		return err
	}
	start := make([]byte, 6)
	if _, err := dev.ReadAt(start, 0); err != nil || string(start) != "haobox" {
		return fmt.Errorf("the loop device %s starts with %q, %v", dev.Name(), start, err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(dev.Fd()), &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFBLK {
		return fmt.Errorf("%s is no block device: mode %o, %v", dev.Name(), st.Mode, err)
	}
	return dev.Close()
}

// TestOutside: a process without namespaces of its own is refused, and nothing
// of the machine is touched.
func TestOutside(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	err := Stage(dir, netip.MustParsePrefix(stageAt))
	if err == nil || !strings.Contains(err.Error(), "has none of its own") {
		t.Errorf("Stage: %v", err)
	}
	err = Node(t.Context(), netip.MustParsePrefix(nodeAt), nil)
	if err == nil || !strings.Contains(err.Error(), "has none of its own") {
		t.Errorf("Node: %v", err)
	}
	if err := Unplug("haobox-no-port"); err == nil {
		t.Error("a cable that there is not could be unplugged")
	}
}
