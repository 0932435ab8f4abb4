// Package postgres8 is the resource agent postgres-8.sh: a PostgreSQL server.
package postgres8

import (
	"context"

	"github.com/haobox/haobox/applets/applet"
	"github.com/haobox/haobox/internal/agents"
	"github.com/haobox/haobox/platform"
	"github.com/haobox/haobox/platform/proc"
)

// Applet is the command.
var Applet = applet.Applet{
	Name: "postgres-8.sh", Section: 8, Class: applet.Agent,
	Summary: "resource agent: a PostgreSQL server",
	Run:     run,
}

func run(ctx context.Context, env platform.Env, args []string) error {
	return applet.Exit(agents.Postgres(proc.Kill).Main(ctx, env, args))
}
