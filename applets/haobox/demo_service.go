package haobox

import (
	"errors"
	"fmt"

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
	// corosync takes real corosync daemons in the place of the embedded engine.
	corosync bool
	// nodes is how many there are, 2 or 3.
	nodes int
}

// valid finds what does not go together.
func (o serviceOptions) valid() error {
	switch {
	case o.nodes < 2 || o.nodes > 3:
		return fmt.Errorf("--nodes %d: it is for 2 or 3", o.nodes)
	case o.corosync && o.loopback:
		return errors.New("--corosync and --loopback: corosync needs nodes with a network of their own")
	}
	return nil
}

func (t tool) demoService() *cli.Command {
	return &cli.Command{
		Name:  "service",
		Usage: "move a web service between two nodes, through everything that happens to it",
		Description: "Nodes in namespaces of their own run the web service of the manual's figure 1; a client asks it every 10 ms.\n" +
			"It needs root; without, a smaller story is told on loopback addresses.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "keep", Usage: "go on running at the end, to play with, until interrupted"},
			&cli.BoolFlag{Name: "loopback", Usage: "tell the smaller story that needs no root"},
			&cli.BoolFlag{Name: "corosync", Usage: "let real corosync daemons keep the nodes together"},
			&cli.IntFlag{Name: "nodes", Value: 2, Usage: "how many nodes: 2 or `3`"},
		},
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return usageError(c, errNoArguments, true)
			}
			o := serviceOptions{keep: c.Bool("keep"), loopback: c.Bool("loopback"), corosync: c.Bool("corosync"), nodes: c.Int("nodes")}
			if err := o.valid(); err != nil {
				return usageError(c, err, true)
			}
			if err := t.tellService(c.Context, o); err != nil {
				return fail("haobox demo service: %v", err)
			}
			return nil
		},
	}
}
