//go:build linux

// Package systemd is the resource agent systemd.sh: a unit of systemd.
package systemd

import (
	"context"

	"github.com/haobox/haobox/applets/applet"
	"github.com/haobox/haobox/internal/agents"
	"github.com/haobox/haobox/platform"
	units "github.com/haobox/haobox/platform/systemd"
)

// Applet is the command.
var Applet = applet.Applet{
	Name: "systemd.sh", Section: 8, Class: applet.Agent,
	Summary: "resource agent: a unit of systemd",
	Run:     run,
}

func run(ctx context.Context, env platform.Env, args []string) error {
	return applet.Exit(agents.Systemd(units.Manager{}).Main(ctx, env, args))
}
