// Package ksysmachine joins the KSYS scripts to the operating system.
package ksysmachine

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

// Machine is the node.
func Machine() ksys.Machine {
	return ksys.Machine{
		Commands: func(run platform.Runner, dirs, env []string, scale float64) ksys.Commands {
			return &src.Client{Runner: run, Dirs: dirs, Env: env, Scale: scale}
		},
		OpenStore:   OpenStore,
		ReadTrusted: statedir.ReadTrusted, AppendLog: statedir.AppendRotated, PID: os.Getpid(),
	}
}

// OpenStore opens the folder that a node keeps its state in.
func OpenStore(path string) (ksys.Store, error) {
	d, err := statedir.Open(path)
	if err != nil {
		return nil, err // not a typed nil inside the interface
	}
	return d, nil
}

// Script runs a script of PowerHA on this node.
func Script(ctx context.Context, env platform.Env, args []string, s ksyscli.Spec) error {
	s.Machine = Machine()
	return applet.Exit(ksyscli.Script(ctx, env, args, s))
}
