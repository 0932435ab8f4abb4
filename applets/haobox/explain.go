package haobox

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/haobox/haobox/applets/applet"
	"github.com/haobox/haobox/internal/clusterconf"
	"github.com/haobox/haobox/internal/explain"
	"github.com/haobox/haobox/internal/restree"
)

// explain is "haobox explain FILE": what a cluster.conf does.
func (t tool) explain() *cli.Command {
	return &cli.Command{
		Name:      "explain",
		Usage:     "say what a cluster.conf does",
		ArgsUsage: "[FILE]",
		Description: "Nodes and votes, the arithmetic of quorum, who fences whom and how, each service in start order, and what\n" +
			"happens on each kind of failure. The default is " + clusterconf.Path + ". Passwords are left out.",
		Flags: []cli.Flag{&cli.StringFlag{Name: "format", Value: "text", Usage: "`FORMAT` of the page: text, json or svg (a picture)"}},
		Action: func(c *cli.Context) error {
			file := clusterconf.File(t.env.Getenv)
			switch c.NArg() {
			case 0:
			case 1:
				file = c.Args().First()
			default:
				return applet.Exitf(exitUsage, "haobox explain: one file at a time, not %d", c.NArg())
			}
			write, ok := map[string]func(*explain.Page) error{
				"text": func(p *explain.Page) error { return p.Text(t.env.Stdout) },
				"json": func(p *explain.Page) error { return p.JSON(t.env.Stdout) },
				"svg":  func(p *explain.Page) error { return p.SVG(t.env.Stdout) },
			}[c.String("format")]
			if !ok {
				return applet.Exitf(exitUsage, "haobox explain: unknown format '%s'; there are text, json and svg", c.String("format"))
			}
			text, err := clusterconf.Read(t.env.FS, file)
			if err != nil {
				return fail("haobox explain: read the configuration: %v", err)
			}
			doc, err := clusterconf.Parse(file, text)
			if err != nil {
				return fail("%v", err)
			}
			if doc.Root.Name != "cluster" {
				return fail("%v: /: the root element is <%s>, not <cluster>", doc.Root.Pos(), doc.Root.Name)
			}
			if err := write(explain.New(doc, restree.Builtin())); err != nil {
				return fmt.Errorf("haobox explain: write the page: %w", err)
			}
			return nil
		},
	}
}
