//go:build linux

// Package systemd starts and stops units over D-Bus.
package systemd

import (
	"context"
	"fmt"
	"os"

	"github.com/coreos/go-systemd/v22/dbus"
)

// Running reports whether systemd is the init system (sd_booted(3)).
func Running() bool {
	st, err := os.Lstat("/run/systemd/system")
	return err == nil && st.IsDir()
}

// Start starts a unit and waits for the end of the job, until ctx ends. A job
// that did not come to "done" is an error.
func Start(ctx context.Context, unit string) error {
	return job(ctx, "start", unit, func(c *dbus.Conn, done chan string) error {
		_, err := c.StartUnitContext(ctx, unit, "replace", done)
		return err
	})
}

// Stop stops a unit in the same way.
func Stop(ctx context.Context, unit string) error {
	return job(ctx, "stop", unit, func(c *dbus.Conn, done chan string) error {
		_, err := c.StopUnitContext(ctx, unit, "replace", done)
		return err
	})
}

func job(ctx context.Context, what, unit string, run func(*dbus.Conn, chan string) error) error {
	c, err := dbus.NewSystemConnectionContext(ctx)
	if err != nil {
		return fmt.Errorf("%s %s: connect to systemd: %w", what, unit, err)
	}
	defer c.Close()
	done := make(chan string, 1)
	if err := run(c, done); err != nil {
		return fmt.Errorf("%s %s: %w", what, unit, err)
	}
	select {
	case result := <-done:
		if result != "done" {
			return fmt.Errorf("%s %s: the job ended as %q; see systemctl status %s", what, unit, result, unit)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%s %s: %w", what, unit, ctx.Err())
	}
}
