// Package apache is the resource agent apache.sh: an Apache HTTP server on the
// addresses of its service.
package apache

import (
	"context"

	"github.com/haobox/haobox/applets/applet"
	"github.com/haobox/haobox/internal/agents"
	"github.com/haobox/haobox/platform"
	"github.com/haobox/haobox/platform/probe"
	"github.com/haobox/haobox/platform/proc"
)

// Applet is the command.
var Applet = applet.Applet{
	Name: "apache.sh", Section: 8, Class: applet.Agent,
	Summary: "resource agent: an Apache HTTP server",
	Run:     run,
}

func run(ctx context.Context, env platform.Env, args []string) error {
	return applet.Exit(agents.Apache(proc.Kill, probe.Client{}).Main(ctx, env, args))
}
