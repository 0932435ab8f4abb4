// Package nfsexport is the resource agent nfsexport.sh: the place of an exported path.
package nfsexport

import (
	"context"

	"github.com/haobox/haobox/applets/applet"
	"github.com/haobox/haobox/internal/agents"
	"github.com/haobox/haobox/platform"
	"github.com/haobox/haobox/platform/proc"
)

// Applet is the command.
var Applet = applet.Applet{
	Name: "nfsexport.sh", Section: 8, Class: applet.Agent,
	Summary: "resource agent: the place of an exported path",
	Run:     run,
}

func run(ctx context.Context, env platform.Env, args []string) error {
	return applet.Exit(agents.NFSExport(proc.Kill).Main(ctx, env, args))
}
