// Package fencezvm is the fence agent fence_zvm: z/VM guests switched off and on
// through SMAPI over IUCV. What it does is in internal/fenceagent/zvm; here it is
// given its transports.
package fencezvm

import (
	"context"

	"github.com/haobox/haobox/applets/applet"
	"github.com/haobox/haobox/internal/fenceagent/zvm"
	"github.com/haobox/haobox/internal/smapi"
	"github.com/haobox/haobox/internal/version"
	"github.com/haobox/haobox/platform"
	"github.com/haobox/haobox/platform/transport"
)

// Applet is the command.
var Applet = applet.Applet{
	Name: "fence_zvm", Section: 8, Class: applet.Agent,
	Summary: "fence z/VM guests through SMAPI over IUCV",
	Run:     run,
}

func run(ctx context.Context, env platform.Env, args []string) error {
	agent := zvm.Agent{Name: zvm.IUCV, Version: version.String(), Dial: dial}
	if status := agent.Run(ctx, env, args); status != 0 {
		return applet.Exit(status)
	}
	return nil
}

func dial(e zvm.Endpoint) (smapi.Dialer, error) {
	d, err := transport.NewDialer(e.Text, transport.Defaults{Port: smapi.Port, Program: smapi.Program},
		transport.ClientTLS{CAFile: e.CAFile, Insecure: e.Insecure})
	if err != nil {
		return nil, err
	}
	return smapi.DialFunc(d.Dial), nil
}
