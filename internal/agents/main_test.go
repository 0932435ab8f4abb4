package agents

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/haobox/haobox/platform"
	"github.com/haobox/haobox/platform/host"
	"github.com/haobox/haobox/platform/proc"
)

// TestMain lets the test binary be what agents start of themselves.
func TestMain(m *testing.M) {
	me := Machine{Kill: proc.Kill, PID: os.Getpid(), Parent: os.Getppid(), Reboot: func() error { return os.ErrPermission }}
	for _, a := range []*Agent{FS(me), ClusterFS(me), NetFS(me)} {
		if filepath.Base(os.Args[0]) == a.Program() {
			os.Exit(a.Main(context.Background(), host.Env(), os.Args))
		}
	}
	os.Exit(m.Run())
}

// hostFS is the file system of the machine itself.
func hostFS() platform.FS { return host.NewFS("") }
