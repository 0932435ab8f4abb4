//go:build linux

// Package ocf is the resource agent ocf.sh: an OCF agent.
package ocf

import (
	"context"

	"github.com/haobox/haobox/applets/applet"
	"github.com/haobox/haobox/internal/agents"
	"github.com/haobox/haobox/platform"
)

// Applet is the command.
var Applet = applet.Applet{
	Name: "ocf.sh", Section: 8, Class: applet.Agent,
	Summary: "resource agent: an OCF agent",
	Run:     run,
}

func run(ctx context.Context, env platform.Env, args []string) error {
	return applet.Exit(agents.OCFAgent().Main(ctx, env, args))
}
