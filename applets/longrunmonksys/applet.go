// Package longrunmonksys is the long-running monitor ksysmonlongrun of the paper.
package longrunmonksys

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
	name    = "longrunmonksys"
	summary = "tell PowerHA whether KSYS is healthy on this node"
)

// Applet is the row in the table.
var Applet = applet.Applet{
	Name: name, Section: 8, Class: applet.Agent, Summary: summary, Run: run,
}

func run(ctx context.Context, env platform.Env, args []string) error {
	code := ksyscli.Script(ctx, env, args, ksyscli.Spec{
		Name: name, Summary: summary, Machine: machine(), Boot: false,
		Core: func(c ksys.Config, node string) ksys.Core { return &ksys.Longrun{Config: c, Node: node} },
	})
	if code != ksys.ExitOK {
		return applet.Exit(code)
	}
	return nil
}

// machine joins the script to the operating system.
func machine() ksys.Machine {
	return ksys.Machine{
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
	}
}
