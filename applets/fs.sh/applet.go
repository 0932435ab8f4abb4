//go:build linux

// Package fs is the resource agent fs.sh: a file system.
package fs

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
	Name: "fs.sh", Section: 8, Class: applet.Agent,
	Summary: "resource agent: a file system",
	Run:     run,
}

func run(ctx context.Context, env platform.Env, args []string) error {
	agent := agents.FS(agents.Machine{Kill: proc.Kill, Reboot: power.Reboot, PID: os.Getpid(), Parent: os.Getppid()})
	if status := agent.Main(ctx, env, args); status != agents.OK {
		return applet.Exit(status)
	}
	return nil
}
