//go:build linux

// Package fs is the resource agent fs.sh: a file system.
package fs

import (
	"context"

	"github.com/haobox/haobox/applets/applet"
	"github.com/haobox/haobox/applets/internal/agentmachine"
	"github.com/haobox/haobox/internal/agents"
	"github.com/haobox/haobox/platform"
)

// Applet is the command.
var Applet = applet.Applet{
	Name: "fs.sh", Section: 8, Class: applet.Agent,
	Summary: "resource agent: a file system",
	Run:     run,
}

func run(ctx context.Context, env platform.Env, args []string) error {
	return applet.Exit(agents.FS(agentmachine.Machine()).Main(ctx, env, args))
}
