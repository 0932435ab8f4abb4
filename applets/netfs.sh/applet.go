//go:build linux

// Package netfs is the resource agent netfs.sh: a network file system.
package netfs

import (
	"context"

	"github.com/haobox/haobox/applets/applet"
	"github.com/haobox/haobox/applets/internal/agentmachine"
	"github.com/haobox/haobox/internal/agents"
	"github.com/haobox/haobox/platform"
)

// Applet is the command.
var Applet = applet.Applet{
	Name: "netfs.sh", Section: 8, Class: applet.Agent,
	Summary: "resource agent: a network file system",
	Run:     run,
}

func run(ctx context.Context, env platform.Env, args []string) error {
	return applet.Exit(agents.NetFS(agentmachine.Machine()).Main(ctx, env, args))
}
