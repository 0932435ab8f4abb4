// Package mysql is the resource agent mysql.sh: a MySQL or MariaDB server.
package mysql

import (
	"context"

	"github.com/haobox/haobox/applets/applet"
	"github.com/haobox/haobox/internal/agents"
	"github.com/haobox/haobox/platform"
	"github.com/haobox/haobox/platform/probe"
	"github.com/haobox/haobox/platform/proc"
)

// Applet is the command.
var Applet = applet.Applet{
	Name: "mysql.sh", Section: 8, Class: applet.Agent,
	Summary: "resource agent: a MySQL or MariaDB server",
	Run:     run,
}

func run(ctx context.Context, env platform.Env, args []string) error {
	return applet.Exit(agents.MySQL(proc.Kill, probe.Client{}).Main(ctx, env, args))
}
