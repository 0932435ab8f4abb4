// Package ksys is the resource agent that carries the KSYS daemon under our
// own rgmanager, or any manager that speaks OCF: the same monitors and scripts
// as under PowerHA, by the actions start, stop, status and monitor.
package ksys

import (
	"context"

	"github.com/haobox/haobox/applets/applet"
	"github.com/haobox/haobox/applets/internal/ksysmachine"
	"github.com/haobox/haobox/internal/ksys/ksyscli"
	"github.com/haobox/haobox/platform"
)

const (
	name    = "ksys"
	summary = "resource agent for the KSYS daemon under rgmanager"
)

// Applet is the row in the table.
var Applet = applet.Applet{Name: name, Section: 8, Class: applet.Agent, Summary: summary, Run: run}

func run(ctx context.Context, env platform.Env, args []string) error {
	return applet.Exit(ksyscli.Agent(ctx, env, args, ksysmachine.Machine()))
}
