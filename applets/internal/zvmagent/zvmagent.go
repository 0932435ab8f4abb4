// Package zvmagent gives the z/VM fence agents their transports.
package zvmagent

import (
	"context"

	"github.com/haobox/haobox/applets/applet"
	"github.com/haobox/haobox/internal/fenceagent/zvm"
	"github.com/haobox/haobox/internal/smapi"
	"github.com/haobox/haobox/internal/version"
	"github.com/haobox/haobox/platform"
	"github.com/haobox/haobox/platform/transport"
)

// Run runs the agent of that name, zvm.IUCV or zvm.IP, as called.
func Run(ctx context.Context, env platform.Env, args []string, name string) error {
	agent := zvm.Agent{Name: name, Version: version.String(), Dial: dial}
	return applet.Exit(agent.Run(ctx, env, args))
}

func dial(e zvm.Endpoint) (smapi.Dialer, error) {
	d, err := transport.NewDialer(e.Text, transport.Defaults{Port: smapi.Port, Program: smapi.Program},
		transport.ClientTLS{CAFile: e.CAFile, Insecure: e.Insecure})
	if err != nil {
		return nil, err
	}
	return smapi.DialFunc(d.Dial), nil
}
