// Package ksys is the resource agent that carries the KSYS daemon under our
// own rgmanager, or any manager that speaks OCF: the same monitors and scripts
// as under PowerHA, by the actions start, stop, status and monitor.
package ksys

import (
	"context"
	"os"

	"github.com/haobox/haobox/applets/applet"
	"github.com/haobox/haobox/internal/ksys"
	"github.com/haobox/haobox/internal/ksys/ksyscli"
	"github.com/haobox/haobox/platform"
	"github.com/haobox/haobox/platform/src"
	"github.com/haobox/haobox/platform/statedir"
)

const (
	name    = "ksys"
	summary = "resource agent for the KSYS daemon under rgmanager"
)

// Applet is the row in the table.
var Applet = applet.Applet{Name: name, Section: 8, Class: applet.Agent, Summary: summary, Run: run}

func run(ctx context.Context, env platform.Env, args []string) error {
	code := ksyscli.Agent(ctx, env, args, ksys.Machine{
		Commands: func(run platform.Runner, dirs, env []string, scale float64) ksys.Commands {
			return &src.Client{Runner: run, Dirs: dirs, Env: env, Scale: scale}
		},
		OpenStore: func(path string) (ksys.Store, error) {
			d, err := statedir.Open(path)
			if err != nil {
				return nil, err
			}
			return d, nil
		},
		ReadTrusted: statedir.ReadTrusted, AppendLog: statedir.AppendRotated, PID: os.Getpid(),
	})
	if code != ksys.ExitOK {
		return applet.Exit(code)
	}
	return nil
}
