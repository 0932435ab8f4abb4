package ccstool

import (
	"fmt"
	"strconv"

	"github.com/urfave/cli/v2"

	"github.com/haobox/haobox/applets/applet"
	"github.com/haobox/haobox/internal/clusterconf"
	"github.com/haobox/haobox/internal/xmldoc"
)

func inFlag() cli.Flag {
	return &cli.StringFlag{Name: "config", Aliases: []string{"c"}, Usage: "read `FILE` instead of " + clusterconf.Path}
}

func editFlags(more ...cli.Flag) []cli.Flag {
	return append([]cli.Flag{inFlag(),
		&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "write to `FILE`, - for standard output"}}, more...)
}

func str(long, short, usage string) cli.Flag {
	return &cli.StringFlag{Name: long, Aliases: []string{short}, Usage: usage}
}

func boolean(long, short, usage string) cli.Flag {
	return &cli.BoolFlag{Name: long, Aliases: []string{short}, Usage: usage}
}

func (t *tool) commands() []*cli.Command {
	verbose := boolean("verbose", "v", "print the attributes too")
	list := []*cli.Command{
		{Name: "help", Usage: "print the commands", Action: cli.ShowAppHelp},
		{Name: "query", Usage: "print what an XPath says in the configuration", ArgsUsage: "XPATH", Action: t.query,
			Flags: []cli.Flag{boolean("lite", "n", "use the reduced path language")}},
		{Name: "addnode", Usage: "add a node", ArgsUsage: "NAME [name=value...]", Action: t.addNode,
			Flags: editFlags(str("nodeid", "n", "the node's `ID`"), str("votes", "v", "its `VOTES` (1)"),
				str("altname", "a", "its `NAME` on the second ring"), str("fence", "f", "the `DEVICE` that fences it"))},
		{Name: "addfence", Usage: "add a fence device", ArgsUsage: "NAME AGENT [name=value...]", Action: t.addFence, Flags: editFlags()},
		{Name: "addservice", Usage: "add a service", ArgsUsage: "NAME [name=value...]", Action: t.addPlain("service"),
			Flags: editFlags(str("domain", "d", "its failover `DOMAIN`"), str("autostart", "a", "0 or 1"), str("exclusive", "x", "0 or 1"), str("recovery", "r", "its `POLICY`"))},
		{Name: "addscript", Usage: "add a shared script", ArgsUsage: "NAME FILE [name=value...]", Action: t.addPlain("script", "file"), Flags: editFlags()},
		{Name: "addip", Usage: "add a shared address", ArgsUsage: "ADDRESS [name=value...]", Action: t.addPlain("ip"), Flags: editFlags()},
		{Name: "addfs", Usage: "add a shared file system", ArgsUsage: "NAME DEVICE MOUNTPOINT [name=value...]",
			Action: t.addPlain("fs", "device", "mountpoint"), Flags: editFlags()},
		{Name: "addfdomain", Usage: "add a failover domain", ArgsUsage: "NAME NODE[:PRIORITY]...", Action: t.addDomain,
			Flags: editFlags(boolean("restricted", "r", "the service runs on these nodes alone"), boolean("ordered", "p", "the nodes have priorities"),
				boolean("nofailback", "f", "no move to a better node"))},
		{Name: "lsnode", Usage: "list the nodes", Action: t.lsNode, Flags: []cli.Flag{inFlag(), verbose}},
		{Name: "lsfence", Usage: "list the fence devices", Action: t.lsFence, Flags: []cli.Flag{inFlag(), verbose}},
		{Name: "lsservice", Usage: "list the services", Action: t.lsService, Flags: []cli.Flag{inFlag(), verbose}},
		{Name: "lsscript", Usage: "list the shared scripts", Action: t.lsResource("script", "Name", "Path", "file"), Flags: []cli.Flag{inFlag(), verbose}},
		{Name: "lsip", Usage: "list the shared addresses", Action: t.lsResource("ip", "IP Address", "Monitor Link", "monitor_link"), Flags: []cli.Flag{inFlag(), verbose}},
		{Name: "lsfs", Usage: "list the shared file systems", Action: t.lsResource("fs", "Name", "Mountpoint", "mountpoint"), Flags: []cli.Flag{inFlag(), verbose}},
		{Name: "lsfdomains", Usage: "list the failover domains", Action: t.lsDomains, Flags: []cli.Flag{inFlag(), verbose}},
		{Name: "create", Usage: "make a new configuration", ArgsUsage: "NAME", Action: t.create,
			Flags: []cli.Flag{boolean("two-node", "2", "a cluster of two nodes without a quorum disk"), str("nodes", "n", "with `N` nodes"),
				str("fence", "f", "with a fence device of `AGENT`"), inFlag()}},
		{Name: "addnodeids", Usage: "give an id to every node without one", Action: t.addNodeIDs,
			Flags: editFlags(str("start", "n", "count from `START` (1)"), str("multicast", "m", "also set the multicast `ADDRESS`"), boolean("verbose", "v", "print the ids"))},
	}
	for _, k := range clusterconf.Kinds() {
		list = append(list, &cli.Command{Name: "del" + k.Word, Usage: "delete a " + k.What, ArgsUsage: "NAME", Action: t.remove(k), Flags: editFlags()})
	}
	for _, c := range list {
		c.OnUsageError = usageError
	}
	return list
}

func usage(c *cli.Context) error {
	return applet.Exitf(exitFailed, "usage: ccs_tool %s [options] %s", c.Command.Name, c.Command.ArgsUsage)
}

func (t *tool) addNode(c *cli.Context) error {
	if !c.Args().Present() {
		return usage(c)
	}
	more, err := clusterconf.ParseArgs(c.Args().Tail())
	if err != nil {
		return applet.Exitf(exitFailed, "%v", err)
	}
	return t.edit(c, func(doc *xmldoc.Document) error {
		return clusterconf.AddNode(doc, doc.Name, clusterconf.NewNode{Name: c.Args().First(), ID: c.String("nodeid"), Votes: c.String("votes"),
			AltName: c.String("altname"), Fence: c.String("fence"), FenceArgs: more})
	})
}

func (t *tool) addFence(c *cli.Context) error {
	if c.NArg() < 2 {
		return usage(c)
	}
	more, err := clusterconf.ParseArgs(c.Args().Slice()[2:])
	if err != nil {
		return applet.Exitf(exitFailed, "%v", err)
	}
	return t.edit(c, func(doc *xmldoc.Document) error {
		return clusterconf.AddFence(doc, doc.Name, c.Args().Get(0), c.Args().Get(1), more)
	})
}

func kind(word string) clusterconf.Kind {
	for _, k := range clusterconf.Kinds() {
		if k.Word == word {
			return k
		}
	}
	return clusterconf.Kind{}
}

// addPlain adds a thing whose first words are its name and these attributes;
// options of the command are attributes too.
func (t *tool) addPlain(word string, attrs ...string) cli.ActionFunc {
	return func(c *cli.Context) error {
		if c.NArg() < 1+len(attrs) {
			return usage(c)
		}
		words := c.Args().Slice()
		var args []clusterconf.Arg
		for i, a := range attrs {
			args = append(args, clusterconf.Arg{Name: a, Value: words[1+i]})
		}
		for _, opt := range []string{"domain", "autostart", "exclusive", "recovery"} {
			if c.IsSet(opt) {
				args = append(args, clusterconf.Arg{Name: opt, Value: c.String(opt)})
			}
		}
		more, err := clusterconf.ParseArgs(words[1+len(attrs):])
		if err != nil {
			return applet.Exitf(exitFailed, "%v", err)
		}
		return t.edit(c, func(doc *xmldoc.Document) error {
			_, err := kind(word).Add(doc, doc.Name, words[0], append(args, more...))
			return err
		})
	}
}

func (t *tool) addDomain(c *cli.Context) error {
	if c.NArg() < 2 {
		return usage(c)
	}
	return t.edit(c, func(doc *xmldoc.Document) error {
		var flags []clusterconf.Arg
		for _, f := range []string{"ordered", "restricted", "nofailback"} {
			if c.Bool(f) {
				flags = append(flags, clusterconf.Arg{Name: f, Value: "1"})
			}
		}
		e, err := kind("fdomain").Add(doc, doc.Name, c.Args().First(), flags)
		if err != nil {
			return err
		}
		for _, word := range c.Args().Tail() {
			clusterconf.AddDomainNode(e, word)
		}
		return nil
	})
}

func (t *tool) remove(k clusterconf.Kind) cli.ActionFunc {
	return func(c *cli.Context) error {
		if c.NArg() != 1 {
			return usage(c)
		}
		return t.edit(c, func(doc *xmldoc.Document) error { return k.Delete(doc, doc.Name, c.Args().First()) })
	}
}

func (t *tool) create(c *cli.Context) error {
	if c.NArg() != 1 {
		return usage(c)
	}
	file := c.String("config")
	if file == "" {
		file = t.defaultFile()
	}
	if _, err := t.env.FS.Lstat(file); err == nil {
		return applet.Exitf(exitFailed, "%s already exists", file)
	}
	nodes := 0
	if n := c.String("nodes"); n != "" {
		var err error
		if nodes, err = strconv.Atoi(n); err != nil || nodes < 0 || nodes > 255 {
			return applet.Exitf(exitFailed, "ccs_tool create: -n needs a number of nodes from 0 to 255, not '%s'", n)
		}
	}
	doc := clusterconf.Create(file, c.Args().First(), nodes, c.Bool("two-node"), c.String("fence"))
	for _, i := range clusterconf.Validate(doc, clusterconf.Options{}).Issues {
		if i.Class == clusterconf.Schema {
			return applet.Exitf(exitFailed, "ccs_tool create: %s: %s", i.Path, i.Text)
		}
	}
	return t.output(c, doc)
}

func (t *tool) addNodeIDs(c *cli.Context) error {
	start := 1
	if s := c.String("start"); s != "" {
		var err error
		if start, err = strconv.Atoi(s); err != nil || start < 1 {
			return applet.Exitf(exitFailed, "ccs_tool addnodeids: -n needs a number from 1, not '%s'", s)
		}
	}
	return t.edit(c, func(doc *xmldoc.Document) error {
		clusterconf.AddNodeIDs(doc, start, func(node string, id int) {
			if c.Bool("verbose") {
				fmt.Fprintf(t.env.Stdout, "Node %s now has id %d\n", node, id)
			}
		})
		if !clusterconf.SetMulticast(doc, c.String("multicast")) {
			fmt.Fprintln(t.env.Stderr, "WARNING: this configuration has no multicast address: it follows from the name of the cluster.")
			fmt.Fprintln(t.env.Stderr, "WARNING: use -m to set one if another cluster of that name is on the network.")
		}
		return nil
	})
}
