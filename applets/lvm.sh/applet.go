//go:build linux

// Package lvm is the resource agent lvm.sh: an LVM volume group.
package lvm

import (
	"context"
	"os"

	"github.com/haobox/haobox/applets/applet"
	"github.com/haobox/haobox/internal/agents"
	"github.com/haobox/haobox/platform"
	"github.com/haobox/haobox/platform/power"
	"github.com/haobox/haobox/platform/proc"
)

// Applet is the command.
var Applet = applet.Applet{
	Name: "lvm.sh", Section: 8, Class: applet.Agent,
	Summary: "resource agent: an LVM volume group",
	Run:     run,
}

func run(ctx context.Context, env platform.Env, args []string) error {
	if status := agents.LVM(agents.Machine{Kill: proc.Kill, Reboot: power.Reboot, PID: os.Getpid(), Parent: os.Getppid()}).Main(ctx, env, args); status != agents.OK {
		return applet.Exit(status)
	}
	return nil
}
