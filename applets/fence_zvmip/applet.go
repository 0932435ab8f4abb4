// Package fencezvmip is the fence agent fence_zvmip: z/VM guests switched off and on
// through SMAPI over TCP/IP. What it does is in internal/fenceagent/zvm.
package fencezvmip

import (
	"context"

	"github.com/haobox/haobox/applets/applet"
	"github.com/haobox/haobox/applets/internal/zvmagent"
	"github.com/haobox/haobox/internal/fenceagent/zvm"
	"github.com/haobox/haobox/platform"
)

// Applet is the command.
var Applet = applet.Applet{
	Name: "fence_zvmip", Section: 8, Class: applet.Agent,
	Summary: "fence z/VM guests through SMAPI over TCP/IP",
	Run:     run,
}

func run(ctx context.Context, env platform.Env, args []string) error {
	return zvmagent.Run(ctx, env, args, zvm.IP)
}
