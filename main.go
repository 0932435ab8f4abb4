// The run time would read the mount table and files of the control group to
// find out how many threads may run Go code; on a node with many mounts that
// takes longer than all that an agent does.
//
//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0

// Haobox keeps services on IBM Z, and anywhere Linux runs, available. It is
// one static binary; the name it is called by chooses the applet, so a
// symlink named fence_zvmip is the fence agent and one named clustat is the
// status command. "haobox NAME ..." works without a symlink.
package main

import (
	"os"

	"github.com/haobox/haobox/applets"
	"github.com/haobox/haobox/applets/applet"
	"github.com/haobox/haobox/platform/host"
)

func main() { os.Exit(run()) }

// run returns the exit status of the applet chosen by os.Args.
func run() int {
	env := host.Env()
	return applet.Status(applets.Main(host.Context(), env, os.Args), env.Stderr)
}
