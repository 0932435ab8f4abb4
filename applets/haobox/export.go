package haobox

import (
	"errors"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/haobox/haobox/applets/applet"
	"github.com/haobox/haobox/internal/clusterconf"
	"github.com/haobox/haobox/internal/fenceexport"
)

// export writes the fencing of a cluster.conf for others.
func (t tool) export() *cli.Command {
	return &cli.Command{
		Name:      "export",
		Usage:     "write the fencing of a cluster.conf for Pacemaker or dlm_controld",
		ArgsUsage: "[FILE]",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "to", Usage: "the `FORMAT`: " + strings.Join(fenceexport.Formats(), ", ")},
			&cli.BoolFlag{Name: "secrets", Usage: "with the passwords; without, they are variables"},
		},
		Action: func(c *cli.Context) error {
			if c.String("to") == "" {
				return applet.Exitf(exitUsage, "haobox export: --to is missing: %w", fenceexport.ErrFormat)
			}
			if c.NArg() > 1 {
				return applet.Exitf(exitUsage, "haobox export: unexpected argument '%s'; see 'haobox export --help'", c.Args().Get(1))
			}
			file := c.Args().First()
			if file == "" {
				file = clusterconf.File(t.env.Getenv)
			}
			b, err := clusterconf.Read(t.env.FS, file)
			if err != nil {
				return fail("haobox export: %v", err)
			}
			doc, err := clusterconf.Parse(file, b)
			if err != nil {
				return fail("haobox export: %v", err)
			}
			text, err := fenceexport.Export(clusterconf.Decode(doc), c.String("to"), c.Bool("secrets"))
			switch {
			case errors.Is(err, fenceexport.ErrFormat):
				return applet.Exitf(exitUsage, "haobox export: %w", err)
			case err != nil:
				return fail("haobox export: %v", err)
			}
			return t.print(text)
		},
	}
}
