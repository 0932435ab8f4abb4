// Package haobox is the applet that looks after the others: it lists them,
// installs the symlinks and prints what the binary is. It is also the applet
// to read first when adding one.
package haobox

import (
	"context"

	"github.com/haobox/haobox/applets/applet"
	"github.com/haobox/haobox/platform"
)

// Name and Summary are its row in the table; the table itself is handed to Run.
const (
	Name    = "haobox"
	Summary = "list, install and try the applets of this binary"
)

// Run runs "haobox ARGS" over the table all.
func Run(ctx context.Context, env platform.Env, all []applet.Entry, args []string) error {
	return nil
}
