// Package named is the resource agent named.sh: a BIND name server.
package named

import (
	"context"

	"github.com/haobox/haobox/applets/applet"
	"github.com/haobox/haobox/internal/agents"
	"github.com/haobox/haobox/platform"
	"github.com/haobox/haobox/platform/proc"
)

// Applet is the command.
var Applet = applet.Applet{
	Name: "named.sh", Section: 8, Class: applet.Agent,
	Summary: "resource agent: a BIND name server",
	Run:     run,
}

func run(ctx context.Context, env platform.Env, args []string) error {
	return applet.Exit(agents.BIND(proc.Kill).Main(ctx, env, args))
}
