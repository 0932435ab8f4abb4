// Haobox keeps services on IBM Z, and anywhere Linux runs, available. It is
// one static binary; the name it is called by chooses the applet, so a
// symlink named fence_zvmip is the fence agent and one named clustat is the
// status command. "haobox NAME ..." works without a symlink.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/haobox/haobox/applets"
	"github.com/haobox/haobox/applets/applet"
	"github.com/haobox/haobox/platform/host"
)

func main() { os.Exit(run()) }

// run returns the exit status of the applet chosen by os.Args. It is the only
// place that turns an error into a status.
func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	// Taken and dropped, so that a reader who is gone is an error of the write
	// and never ends an agent; children still get the default.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	env := host.Env()
	err := applets.Main(ctx, env, os.Args)
	var exit *applet.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		if exit.Err != nil {
			fmt.Fprintln(env.Stderr, exit.Err)
		}
		return exit.Code
	}
	fmt.Fprintln(env.Stderr, err)
	return 1
}
