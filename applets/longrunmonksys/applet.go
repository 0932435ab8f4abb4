// Package longrunmonksys is the long-running monitor ksysmonlongrun of the paper.
package longrunmonksys

import (
	"context"

	"github.com/haobox/haobox/applets/applet"
	"github.com/haobox/haobox/applets/internal/ksysmachine"
	"github.com/haobox/haobox/internal/ksys"
	"github.com/haobox/haobox/internal/ksys/ksyscli"
	"github.com/haobox/haobox/platform"
)

const (
	name    = "longrunmonksys"
	summary = "tell PowerHA whether KSYS is healthy on this node"
)

// Applet is the row in the table.
var Applet = applet.Applet{
	Name: name, Section: 8, Class: applet.Agent, Summary: summary, Run: run,
}

func run(ctx context.Context, env platform.Env, args []string) error {
	return ksysmachine.Script(ctx, env, args, ksyscli.Spec{
		Name: name, Summary: summary, Boot: false,
		Core: func(c ksys.Config, node string) ksys.Core { return &ksys.Longrun{Config: c, Node: node} },
	})
}
