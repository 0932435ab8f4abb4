// Package nfsclient is the resource agent nfsclient.sh: a path exported to a
// host, network or netgroup.
package nfsclient

import (
	"context"
	"net"

	"github.com/haobox/haobox/applets/applet"
	"github.com/haobox/haobox/internal/agents"
	"github.com/haobox/haobox/platform"
)

// Applet is the command.
var Applet = applet.Applet{
	Name: "nfsclient.sh", Section: 8, Class: applet.Agent,
	Summary: "resource agent: a path exported to NFS clients",
	Run:     run,
}

func run(ctx context.Context, env platform.Env, args []string) error {
	return applet.Exit(agents.NFSClient(net.DefaultResolver).Main(ctx, env, args))
}
