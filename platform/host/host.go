// Package host builds the platform.Env of the real machine.
package host

import (
	"log/slog"
	"os"

	"github.com/haobox/haobox/platform"
	"github.com/haobox/haobox/platform/proc"
	"github.com/haobox/haobox/platform/syslog"
)

// RootVariable relocates / for tests and for several nodes on one machine.
const RootVariable = "HAOBOX_ROOT"

// RunVariable relocates /run (and /var/run), which it takes out of the root.
const RunVariable = "HAOBOX_RUN"

// Env returns the surroundings of this process. Nothing is opened or
// connected before it is used. Call it once.
func Env() platform.Env {
	stderr := stream(os.Stderr, 2)
	return platform.Env{
		Stdin:    os.Stdin,
		Stdout:   stream(os.Stdout, 1),
		Stderr:   stderr,
		Getenv:   os.Getenv,
		Environ:  os.Environ,
		Hostname: os.Hostname,
		Clock:    platform.SystemClock{},
		Runner:   proc.Runner{},
		FS:       NewRunFS(os.Getenv(RootVariable), os.Getenv(RunVariable)),
		Log:      slog.New(syslog.NewHandler(stderr)),
	}
}
