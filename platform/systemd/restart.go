//go:build linux

package systemd

import (
	"context"
	"fmt"

	"github.com/coreos/go-systemd/v22/dbus"
)

// Restarting reports whether a unit is being stopped only to be started again:
// its job is a restart.
func Restarting(ctx context.Context, unit string) (bool, error) {
	c, err := dbus.NewSystemConnectionContext(ctx)
	if err != nil {
		return false, fmt.Errorf("ask for the job of %s: connect to systemd: %w", unit, err)
	}
	defer c.Close()
	jobs, err := c.ListJobsContext(ctx)
	if err != nil {
		return false, fmt.Errorf("ask for the job of %s: %w", unit, err)
	}
	for _, j := range jobs {
		if j.Unit == unit {
			return j.JobType == "restart" || j.JobType == "try-restart", nil
		}
	}
	return false, nil
}
