// Package service is the resource agent service.sh: a resource group itself.
package service

import (
	"context"

	"github.com/haobox/haobox/applets/applet"
	"github.com/haobox/haobox/internal/agents"
	"github.com/haobox/haobox/platform"
	"github.com/haobox/haobox/platform/proc"
)

// Applet is the command.
var Applet = applet.Applet{
	Name: "service.sh", Section: 8, Class: applet.Agent,
	Summary: "resource agent: a group of resources",
	Run:     run,
}

func run(ctx context.Context, env platform.Env, args []string) error {
	return applet.Exit(agents.Service(proc.Kill).Main(ctx, env, args))
}
