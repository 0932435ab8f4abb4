//go:build linux

// Package agentmachine joins the resource agents that mount and deactivate to
// the operating system.
package agentmachine

import (
	"os"

	"github.com/haobox/haobox/internal/agents"
	"github.com/haobox/haobox/platform/power"
	"github.com/haobox/haobox/platform/proc"
)

// Machine is this machine, as this process may act on it.
func Machine() agents.Machine {
	return agents.Machine{Kill: proc.Kill, Reboot: power.Reboot, PID: os.Getpid(), Parent: os.Getppid()}
}
