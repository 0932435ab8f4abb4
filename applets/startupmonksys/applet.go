// Package startupmonksys is the startup monitor ksysmonstartup of the paper:
// 0 when the start script was asked for on this node, else it asks for it.
package startupmonksys

import (
	"context"

	"github.com/haobox/haobox/applets/applet"
	"github.com/haobox/haobox/applets/internal/ksysmachine"
	"github.com/haobox/haobox/internal/ksys"
	"github.com/haobox/haobox/internal/ksys/ksyscli"
	"github.com/haobox/haobox/platform"
)

const (
	name    = "startupmonksys"
	summary = "tell PowerHA whether the KSYS start script has to run"
)

// Applet is the row in the table.
var Applet = applet.Applet{
	Name: name, Section: 8, Class: applet.Agent, Summary: summary, Run: run,
}

func run(ctx context.Context, env platform.Env, args []string) error {
	return ksysmachine.Script(ctx, env, args, ksyscli.Spec{
		Name: name, Summary: summary, Boot: true,
		Core: func(c ksys.Config, _ string) ksys.Core { return &ksys.Startup{Policy: c.Policy} },
	})
}
