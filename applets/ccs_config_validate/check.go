package ccsconfigvalidate

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/haobox/haobox/applets/applet"
	"github.com/haobox/haobox/applets/internal/confload"
	"github.com/haobox/haobox/internal/clusterconf"
	"github.com/haobox/haobox/internal/restree"
	"github.com/haobox/haobox/internal/xmldoc"
)

// validate prints every finding and the verdict.
func (t *tool) validate(c *cli.Context, doc *xmldoc.Document) error {
	rules := restree.Builtin()
	if !c.Bool("no-update") {
		rules = confload.Rules(c.Context, t.env, doc, func(unknown []string) {
			t.say(c, "Asking the agents in "+restree.AgentDir+" for "+strings.Join(unknown, ", "))
		})
	}
	report := clusterconf.Validate(doc, clusterconf.Options{Rules: rules, HasAgent: t.hasAgent})
	for _, i := range report.Issues {
		if i.Class != clusterconf.Warning || !c.Bool("quiet") {
			fmt.Fprintln(t.env.Stderr, i)
		}
	}
	if !c.Bool("quiet") {
		t.readable(doc)
	}
	if !report.Valid() {
		fmt.Fprintln(t.env.Stdout, "Configuration fails to validate")
		return applet.Exit(exitInvalid)
	}
	if !c.Bool("quiet") {
		fmt.Fprintln(t.env.Stdout, "Configuration validates")
	}
	return nil
}

// hasAgent looks for a fence agent as fenced does: a path, or a name in PATH.
func (t *tool) hasAgent(agent string) bool {
	dirs := append(strings.Split(t.env.Getenv("PATH"), ":"), "/usr/sbin", "/sbin")
	if strings.Contains(agent, "/") {
		dirs = []string{""}
	}
	return slices.ContainsFunc(dirs, func(dir string) bool {
		info, err := t.env.FS.Stat(path.Join(dir, agent))
		return err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0
	})
}

// readable warns of a file with passwords that everybody may read.
func (t *tool) readable(doc *xmldoc.Document) {
	info, err := t.env.FS.Stat(doc.Name)
	if err != nil || info.Mode().Perm()&0o004 == 0 {
		return
	}
	for _, fd := range clusterconf.Decode(doc).FenceDevices {
		for _, a := range fd.Args {
			if clusterconf.Secret(a.Name) {
				fmt.Fprintf(t.env.Stderr, "%v: %s/@%s: warning: everybody may read this file with its passwords: chmod o-r %s\n",
					fd.Elem.AttrPos(a.Name), fd.Elem.Path(), a.Name, doc.Name)
				return
			}
		}
	}
}
