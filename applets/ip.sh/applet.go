//go:build linux

// Package ip is the resource agent ip.sh: a virtual IP address.
package ip

import (
	"context"

	"github.com/haobox/haobox/applets/applet"
	"github.com/haobox/haobox/internal/agents"
	"github.com/haobox/haobox/platform"
	"github.com/haobox/haobox/platform/netif"
	"github.com/haobox/haobox/platform/proc"
)

// Applet is the command.
var Applet = applet.Applet{
	Name: "ip.sh", Section: 8, Class: applet.Agent,
	Summary: "resource agent: a virtual IP address",
	Run:     run,
}

func run(ctx context.Context, env platform.Env, args []string) error {
	var net *netif.Net
	open := func() (agents.Net, error) {
		var err error
		if net == nil {
			net, err = netif.Open(false)
		}
		return net, err
	}
	defer func() {
		if net != nil {
			net.Close()
		}
	}()
	return applet.Exit(agents.IP(open, proc.Kill).Main(ctx, env, args))
}
