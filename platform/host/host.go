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
// connected before it is used.
func Env() platform.Env {
	return platform.Env{
		Stdin:    os.Stdin,
		Stdout:   os.Stdout,
		Stderr:   os.Stderr,
		Getenv:   os.Getenv,
		Environ:  os.Environ,
		Hostname: os.Hostname,
		Clock:    platform.SystemClock{},
		Runner:   proc.Runner{},
		FS:       NewRunFS(os.Getenv(RootVariable), os.Getenv(RunVariable)),
		Log:      slog.New(syslog.NewHandler(os.Stderr)),
	}
}
