// Package bus sends signals to the system's D-Bus.
package bus

import (
	"context"
	"fmt"
	"time"

	"github.com/godbus/dbus/v5"
)

// limit bounds a signal: ours. Nobody waits for it.
const limit = 2 * time.Second

// Emit sends a signal on the system bus. A bus that is not there is an error
// that most callers ignore.
func Emit(ctx context.Context, object, member string, args ...any) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	conn, err := dbus.ConnectSystemBus(dbus.WithContext(ctx))
	if err != nil {
		return fmt.Errorf("connect to the system bus: %w", err)
	}
	defer conn.Close()
	if err := conn.Emit(dbus.ObjectPath(object), member, args...); err != nil {
		return fmt.Errorf("send the signal %s: %w", member, err)
	}
	return nil
}
