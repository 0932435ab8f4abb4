// Package script is the resource agent script.sh: an init script as a part of
// a service.
package script

import (
	"context"

	"github.com/haobox/haobox/applets/applet"
	"github.com/haobox/haobox/internal/agents"
	"github.com/haobox/haobox/platform"
)

// Applet is the command.
var Applet = applet.Applet{
	Name: "script.sh", Section: 8, Class: applet.Agent,
	Summary: "resource agent: run an init script",
	Run:     run,
}

func run(ctx context.Context, env platform.Env, args []string) error {
	return applet.Exit(agents.Script().Main(ctx, env, args))
}
