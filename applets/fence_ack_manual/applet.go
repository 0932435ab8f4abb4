//go:build linux

// Package fenceackmanual is fence_ack_manual(8): a person vouches for a node
// being off that cannot be fenced.
package fenceackmanual

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/haobox/haobox/applets/applet"
	"github.com/haobox/haobox/applets/internal/daemon"
	"github.com/haobox/haobox/internal/clusterconf"
	"github.com/haobox/haobox/platform"
	"github.com/haobox/haobox/platform/proc"
)

// Applet is the command.
var Applet = applet.Applet{
	Name: "fence_ack_manual", Section: 8, Class: applet.Tool,
	Summary: "say that a node is off which cannot be fenced",
	Run:     run,
}

const (
	exitError = 1
	// pause between two looks for the pipe: fence_ack_manual(8). The wait has no
	// limit: fenced opens the pipe after a failed attempt, and a person sits here.
	pause = time.Second
)

const usage = `Usage:

fence_ack_manual NODE
fence_ack_manual -n NODE

Say that NODE is off. Do it only after having switched it off by hand: fenced
takes your word for it, and its services are started elsewhere.

  -n   accepted: how it was called before
  -h   this text
`

func run(ctx context.Context, env platform.Env, args []string) error {
	words := args[1:]
	if len(words) == 1 && words[0] == "--help" {
		_, err := io.WriteString(env.Stdout, usage)
		return err
	}
	if len(words) > 0 && words[0] == "-n" {
		words = words[1:]
	}
	if len(words) != 1 || words[0] == "" || strings.HasPrefix(words[0], "-") {
		io.WriteString(env.Stdout, usage)
		return applet.Exit(exitError)
	}
	node := words[0]
	pipe := clusterconf.DefaultOverridePath
	if conf, err := daemon.RunningConfig(env); err == nil {
		if conf.FenceDaemon.OverridePath != "" {
			pipe = conf.FenceDaemon.OverridePath
		}
		if !slices.ContainsFunc(conf.Nodes, func(n clusterconf.Node) bool { return strings.EqualFold(n.Name, node) }) {
			fmt.Fprintf(env.Stderr, "fence_ack_manual: warning: no clusternode of %s has the name %s: fenced will ignore it\n", conf.Name, node)
		}
	}
	fmt.Fprintf(env.Stdout, "About to override fencing for %s.\n"+
		"If %s is not off, file systems that both use will be destroyed.\n\n", node, node)
	if f, is := env.Stdin.(*os.File); is && proc.IsTerminal(f) {
		io.WriteString(env.Stderr, "Continue [NO/absolutely]? ")
	}
	answer, _ := bufio.NewReader(env.Stdin).ReadString('\n')
	if strings.TrimSuffix(answer, "\n") != "absolutely" {
		fmt.Fprintln(env.Stdout, "Aborted.")
		return applet.Exit(exitError)
	}
	for {
		done, err := write(env, pipe, node)
		if err != nil {
			return applet.Exitf(exitError, "fence_ack_manual: %w", err)
		}
		if done {
			fmt.Fprintln(env.Stdout, "Done")
			return nil
		}
		if env.Clock.Sleep(ctx, pause) != nil {
			return applet.Exitf(exitError, "fence_ack_manual: interrupted: fenced did not ask for %s, and was told nothing", node)
		}
	}
}

// write writes the node's name to the pipe, if fenced reads from it.
func write(env platform.Env, pipe, node string) (done bool, err error) {
	info, err := env.FS.Lstat(pipe)
	switch {
	case os.IsNotExist(err):
		return false, nil
	case err != nil:
		return false, err
	case info.Mode().Type() != fs.ModeNamedPipe:
		return false, fmt.Errorf("%s is no pipe", pipe)
	}
	f, err := env.FS.OpenFile(pipe, os.O_WRONLY|syscall.O_NONBLOCK, 0)
	switch {
	case os.IsNotExist(err), errors.Is(err, syscall.ENXIO): // ENXIO: nobody reads
		return false, nil // it is gone, or was left behind
	case err != nil:
		return false, err
	}
	defer f.Close()
	if _, err := io.WriteString(f, node+"\n"); err != nil {
		return false, err
	}
	return true, nil
}
