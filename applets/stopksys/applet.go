// Package stopksys is the stop script of the application controller ksysctrler.
package stopksys

import (
	"context"

	"github.com/haobox/haobox/applets/applet"
	"github.com/haobox/haobox/applets/internal/ksysmachine"
	"github.com/haobox/haobox/internal/ksys"
	"github.com/haobox/haobox/internal/ksys/ksyscli"
	"github.com/haobox/haobox/platform"
)

const (
	name    = "stopksys"
	summary = "stop the KSYS daemon on a node that loses the resource group"
)

// Applet is the row in the table.
var Applet = applet.Applet{
	Name: name, Section: 8, Class: applet.Agent, Summary: summary, Run: run,
}

func run(ctx context.Context, env platform.Env, args []string) error {
	return ksysmachine.Script(ctx, env, args, ksyscli.Spec{
		Name: name, Summary: summary, Boot: true,
		Core: func(c ksys.Config, node string) ksys.Core { return &ksys.Stop{Config: c, Node: node} },
	})
}
