//go:build linux

// Package clusterfs is the resource agent clusterfs.sh: a cluster file system.
package clusterfs

import (
	"context"

	"github.com/haobox/haobox/applets/applet"
	"github.com/haobox/haobox/applets/internal/agentmachine"
	"github.com/haobox/haobox/internal/agents"
	"github.com/haobox/haobox/platform"
)

// Applet is the command.
var Applet = applet.Applet{
	Name: "clusterfs.sh", Section: 8, Class: applet.Agent,
	Summary: "resource agent: a cluster file system",
	Run:     run,
}

func run(ctx context.Context, env platform.Env, args []string) error {
	return applet.Exit(agents.ClusterFS(agentmachine.Machine()).Main(ctx, env, args))
}
