//go:build linux

package systemd

import (
	"context"
	"errors"
	"fmt"

	"github.com/coreos/go-systemd/v22/dbus"
)

// watchQueue is how many changes may wait. Ours: a boot changes hundreds of
// units at once; what is lost is told.
const watchQueue = 1024

// Watch calls changed with the name of each unit that is no longer "active",
// and with "" when changes may have been missed, also at the beginning. It
// returns when ctx is done or the bus is gone.
func Watch(ctx context.Context, changed func(unit string)) error {
	c, err := dbus.NewSystemConnectionContext(ctx)
	if err != nil {
		return fmt.Errorf("watch units: connect to systemd: %w", err)
	}
	defer c.Close()
	updates := make(chan *dbus.PropertiesUpdate, watchQueue)
	lost := make(chan error, 1)
	c.SetPropertiesSubscriber(updates, lost)
	if err := c.Subscribe(); err != nil {
		return fmt.Errorf("watch units: %w", err)
	}
	changed("")
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-lost:
			changed("")
		case u, ok := <-updates:
			if !ok || u == nil {
				return errors.New("watch units: the connection to systemd is gone")
			}
			v, has := u.Changed["ActiveState"]
			if state, word := v.Value().(string); has && word && state != "active" {
				changed(u.UnitName)
			}
		}
	}
}
