//go:build linux

package systemd

import (
	"context"
	"fmt"

	"github.com/coreos/go-systemd/v22/dbus"
)

// Manager is systemd of this machine, as a value for those who take an
// interface.
type Manager struct{}

// Running is the function Running.
func (Manager) Running() bool { return Running() }

// Start is the function Start.
func (Manager) Start(ctx context.Context, unit string) error { return Start(ctx, unit) }

// Stop is the function Stop.
func (Manager) Stop(ctx context.Context, unit string) error { return Stop(ctx, unit) }

// Reload makes a unit read its configuration again, or restarts it if it can
// not.
func (Manager) Reload(ctx context.Context, unit string) error {
	return job(ctx, "reload", unit, func(c *dbus.Conn, done chan string) error {
		_, err := c.ReloadOrTryRestartUnitContext(ctx, unit, "replace", done)
		return err
	})
}

// State returns the words that "systemctl status" shows: LoadState ("loaded",
// "not-found", "masked"), ActiveState ("active", "inactive", "failed",
// "activating", ...) and SubState ("running", "exited", "auto-restart", ...).
func (Manager) State(ctx context.Context, unit string) (load, active, sub string, err error) {
	c, err := dbus.NewSystemConnectionContext(ctx)
	if err != nil {
		return "", "", "", fmt.Errorf("state of %s: connect to systemd: %w", unit, err)
	}
	defer c.Close()
	p, err := c.GetUnitPropertiesContext(ctx, unit)
	if err != nil {
		return "", "", "", fmt.Errorf("state of %s: %w", unit, err)
	}
	for name, to := range map[string]*string{"LoadState": &load, "ActiveState": &active, "SubState": &sub} {
		s, ok := p[name].(string)
		if !ok {
			return "", "", "", fmt.Errorf("state of %s: systemd's answer has no %s", unit, name)
		}
		*to = s
	}
	return load, active, sub, nil
}
