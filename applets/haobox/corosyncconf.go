package haobox

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"

	"github.com/urfave/cli/v2"

	"github.com/haobox/haobox/internal/clusterconf"
	"github.com/haobox/haobox/internal/corosyncconf"
)

// corosyncConf is "haobox corosync-conf": the corosync.conf that cman_tool join
// makes of a cluster.conf, printed or compared with the one that is there.
func (t tool) corosyncConf() *cli.Command {
	return &cli.Command{
		Name:      "corosync-conf",
		Usage:     "print or check corosync's configuration made from cluster.conf",
		UsageText: "haobox corosync-conf [--check] [--config FILE]",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "check", Usage: "print nothing; fail if " + corosyncconf.Path + " differs or cannot work"},
			&cli.StringFlag{Name: "config", Usage: "the `FILE` to read instead of " + clusterconf.Path},
		},
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return usageError(c, errors.New("corosync-conf takes no arguments"), true)
			}
			return t.runCorosyncConf(c.Bool("check"), c.String("config"))
		},
	}
}

func (t tool) runCorosyncConf(check bool, file string) error {
	if file == "" {
		file = clusterconf.File(t.env.Getenv)
	}
	b, err := clusterconf.Read(t.env.FS, file)
	if err != nil {
		return fail("haobox: read the configuration: %v", err)
	}
	doc, err := clusterconf.Parse(file, b)
	if err != nil {
		return fail("%v", err)
	}
	cfg := clusterconf.Decode(doc)
	var o corosyncconf.Options
	key, _ := corosyncconf.KeyFile(cfg, o)
	var faults []error
	switch info, err := t.env.FS.Stat(key); {
	case err == nil:
		o.HaveKey = true
		faults = append(faults, corosyncconf.CheckKey(key, info))
	case !errors.Is(err, fs.ErrNotExist):
		faults = append(faults, fmt.Errorf("look at the key: %w", err))
	}
	conf, notes := corosyncconf.Translate(cfg, o)
	for _, n := range notes {
		if n.Fatal {
			faults = append(faults, errors.New(n.String()))
		} else {
			fmt.Fprintln(t.env.Stderr, n)
		}
	}
	if err := joined(faults); err != nil {
		return err
	}
	if !check {
		return t.print(string(conf))
	}
	switch have, err := t.env.FS.ReadFile(corosyncconf.Path); {
	case err != nil:
		return fail("haobox: read corosync's configuration: %v", err)
	case !bytes.Equal(have, conf):
		return fail("haobox: %s is not what %s gives; 'cman_tool join' or 'cman_tool version -r' writes it", corosyncconf.Path, file)
	}
	return nil
}
