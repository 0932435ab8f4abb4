// Package vm is the resource agent vm.sh: a guest of libvirt.
package vm

import (
	"context"
	"os"

	"github.com/haobox/haobox/applets/applet"
	"github.com/haobox/haobox/internal/agents"
	"github.com/haobox/haobox/platform"
)

// Applet is the command.
var Applet = applet.Applet{
	Name: "vm.sh", Section: 8, Class: applet.Agent,
	Summary: "resource agent: a virtual machine of libvirt",
	Run:     run,
}

func run(ctx context.Context, env platform.Env, args []string) error {
	return applet.Exit(agents.VM(os.Geteuid() == 0).Main(ctx, env, args))
}
