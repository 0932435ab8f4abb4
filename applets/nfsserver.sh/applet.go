// Package nfsserver is the resource agent nfsserver.sh: the NFS server of the node with its state.
package nfsserver

import (
	"context"

	"github.com/haobox/haobox/applets/applet"
	"github.com/haobox/haobox/internal/agents"
	"github.com/haobox/haobox/platform"
	"github.com/haobox/haobox/platform/proc"
)

// Applet is the command.
var Applet = applet.Applet{
	Name: "nfsserver.sh", Section: 8, Class: applet.Agent,
	Summary: "resource agent: the NFS server of the node",
	Run:     run,
}

func run(ctx context.Context, env platform.Env, args []string) error {
	return applet.Exit(agents.NFSServer(proc.Kill).Main(ctx, env, args))
}
