// Package ksyscli runs the command line that the four scripts of PowerHA
// share: --help, --version and --explain, and anything else ignored, because
// a monitor that refuses to answer would fail the application.
package ksyscli

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/haobox/haobox/internal/ksys"
	"github.com/haobox/haobox/internal/ksys/phasim"
	"github.com/haobox/haobox/internal/version"
	"github.com/haobox/haobox/platform"
)

// Spec is one script.
type Spec struct {
	Name, Summary string
	Machine       ksys.Machine
	// Boot says that the script needs the boot id.
	Boot bool
	Core func(c ksys.Config, node string) ksys.Core
}

// Script runs one call and returns its exit status.
func Script(ctx context.Context, env platform.Env, args []string, s Spec) int {
	explain := false
	var ignored []string
	for _, a := range args[1:] {
		switch a {
		case "--help", "-h":
			fmt.Fprintf(env.Stdout, "%s - %s\n\nusage: %s [--explain | --version | --help]\n\n"+
				"  --explain  print what it would decide on, as JSON, and change nothing\n"+
				"  --version  print the version\n  --help     print this text\n", s.Name, s.Summary, s.Name)
			return ksys.ExitOK
		case "--version":
			fmt.Fprintf(env.Stdout, "%s (haobox) %s\n", s.Name, version.String())
			return ksys.ExitOK
		case "--explain":
			explain = true
		default:
			ignored = append(ignored, a)
		}
	}
	env, open, err := phasim.Surroundings(env, phasim.Opener(s.Machine.OpenStore))
	if err != nil {
		fmt.Fprintf(env.Stderr, "%s: %v\n", s.Name, err)
		return ksys.ExitStateDir
	}
	s.Machine.OpenStore = open
	r := ksys.NewRuntime(ctx, env, s.Machine, s.Name, s.Boot)
	if len(ignored) > 0 {
		r.Log(slog.LevelWarn, fmt.Sprintf("arguments ignored: %q", ignored))
	}
	if explain {
		return r.Explain(ctx)
	}
	return r.Run(ctx, s.Core(r.Config, r.Node()))
}
