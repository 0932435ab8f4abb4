//go:build linux

// Package lvm is the resource agent lvm.sh: an LVM volume group.
package lvm

import (
	"context"

	"github.com/haobox/haobox/applets/applet"
	"github.com/haobox/haobox/applets/internal/agentmachine"
	"github.com/haobox/haobox/internal/agents"
	"github.com/haobox/haobox/platform"
)

// Applet is the command.
var Applet = applet.Applet{
	Name: "lvm.sh", Section: 8, Class: applet.Agent,
	Summary: "resource agent: an LVM volume group",
	Run:     run,
}

func run(ctx context.Context, env platform.Env, args []string) error {
	return applet.Exit(agents.LVM(agentmachine.Machine()).Main(ctx, env, args))
}
