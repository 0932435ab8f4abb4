package agents

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/haobox/haobox/platform"
	"github.com/haobox/haobox/platform/host"
	"github.com/haobox/haobox/platform/proc"
	"github.com/haobox/haobox/platform/testskip"
)

// TestMain lets the test binary be what agents start of themselves.
func TestMain(m *testing.M) {
	me := Machine{Kill: proc.Kill, PID: os.Getpid(), Parent: os.Getppid(), Reboot: func() error { return os.ErrPermission }}
	for _, a := range []*Agent{FS(me), ClusterFS(me), NetFS(me)} {
		if filepath.Base(os.Args[0]) == a.Program() {
			os.Exit(a.Main(context.Background(), host.Env(), os.Args))
		}
	}
	privateMounts()
	os.Exit(m.Run())
}

// mountsVariable is set in the process that has a mount namespace of its own.
const mountsVariable = "HAOBOX_PRIVATE_MOUNTS"

// privateMounts starts this process again in a mount namespace of its own:
// what the tests mount is then not kept busy by namespaces that others make
// meanwhile. Where that does not work the tests run as they are.
func privateMounts() {
	unshare, err := exec.LookPath("unshare")
	if err != nil || os.Geteuid() != 0 || os.Getenv(mountsVariable) != "" || testskip.Emulated() {
		return
	}
	exe, err := os.Executable()
	if err != nil {
		return
	}
	args := append([]string{"unshare", "--mount", "--", exe}, os.Args[1:]...)
	_ = syscall.Exec(unshare, args, append(os.Environ(), mountsVariable+"=1"))
}

// hostFS is the file system of the machine itself.
func hostFS() platform.FS { return host.NewFS("") }
