package haobox

import (
	"errors"

	"github.com/urfave/cli/v2"
)

// errNoCluster: the daemons of the story are for Linux.
var errNoCluster = errors.New("there is no rgmanager for this system")

// serviceOptions are those of "haobox demo service".
type serviceOptions struct {
	// keep leaves the cluster running until the command is ended.
	keep bool
	// loopback is the reduced story.
	loopback bool
}

func (t tool) demoService() *cli.Command {
	return &cli.Command{
		Name:  "service",
		Usage: "move a web service between two nodes, through everything that happens to it",
		Description: "Two nodes in namespaces of their own run the web service of the manual's figure 1; a client asks it every 10 ms.\n" +
			"It needs root; without, a smaller story is told on loopback addresses.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "keep", Usage: "go on running at the end, to play with, until interrupted"},
			&cli.BoolFlag{Name: "loopback", Usage: "tell the smaller story that needs no root"},
		},
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return usageError(c, errors.New("it takes no arguments"), true)
			}
			if err := t.tellService(c.Context, serviceOptions{keep: c.Bool("keep"), loopback: c.Bool("loopback")}); err != nil {
				return fail("haobox demo service: %v", err)
			}
			return nil
		},
	}
}
