// Package samba is the resource agent samba.sh: a Samba file server.
package samba

import (
	"context"

	"github.com/haobox/haobox/applets/applet"
	"github.com/haobox/haobox/internal/agents"
	"github.com/haobox/haobox/platform"
	"github.com/haobox/haobox/platform/proc"
)

// Applet is the command.
var Applet = applet.Applet{
	Name: "samba.sh", Section: 8, Class: applet.Agent,
	Summary: "resource agent: a Samba file server",
	Run:     run,
}

func run(ctx context.Context, env platform.Env, args []string) error {
	return applet.Exit(agents.Samba(proc.Kill).Main(ctx, env, args))
}
