package ccstool

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/haobox/haobox/internal/clusterconf"
	"github.com/haobox/haobox/internal/restree"
	"github.com/haobox/haobox/internal/xmldoc"
)

// header prints what all lists but that of fence devices begin with.
func (t *tool) header(c *clusterconf.Config) {
	fmt.Fprintf(t.env.Stdout, "\nCluster name: %s, config_version: %d\n\n", c.Name, c.Version)
}

// properties prints attributes of an element but the named ones, without
// secrets.
func (t *tool) properties(e *xmldoc.Element, but ...string) {
	b := strings.Builder{}
attrs:
	for _, a := range e.Attrs {
		for _, skip := range but {
			if a.Name == skip {
				continue attrs
			}
		}
		b.WriteString(" " + clusterconf.Arg{Name: a.Name, Value: a.Value}.String())
	}
	fmt.Fprintf(t.env.Stdout, "  Properties: %s\n", b.String())
}

func (t *tool) lsNode(c *cli.Context) error {
	doc, err := t.input(c)
	if err != nil {
		return err
	}
	cfg := clusterconf.Decode(doc)
	t.header(cfg)
	if m := doc.Root.Child("cman").Child("multicast"); m != nil && m.Get("addr") != "" {
		fmt.Fprintf(t.env.Stdout, "Multicast address for cluster: %s\n\n", m.Get("addr"))
	}
	fmt.Fprintln(t.env.Stdout, "Nodename                        Votes Nodeid Fencetype")
	for _, n := range cfg.Nodes {
		fence := ""
		if len(n.Methods) > 0 && len(n.Methods[0].Devices) > 0 {
			fence = n.Methods[0].Devices[0].Name
		}
		fmt.Fprintf(t.env.Stdout, "%-32s %3d  %3d    %s\n", n.Name, n.Votes, n.ID, fence)
		if c.Bool("verbose") {
			t.properties(n.Elem, "name", "votes", "nodeid")
			for _, m := range n.Methods {
				for _, d := range m.Devices {
					t.properties(d.Elem)
				}
			}
		}
	}
	return nil
}

func (t *tool) lsFence(c *cli.Context) error {
	doc, err := t.input(c)
	if err != nil {
		return err
	}
	fmt.Fprintln(t.env.Stdout, "Name             Agent")
	for _, fd := range clusterconf.Decode(doc).FenceDevices {
		fmt.Fprintf(t.env.Stdout, "%-16s %s\n", fd.Name, fd.Agent)
		if c.Bool("verbose") {
			t.properties(fd.Elem, "name", "agent")
		}
	}
	return nil
}

func (t *tool) lsService(c *cli.Context) error {
	doc, err := t.input(c)
	if err != nil {
		return err
	}
	t.header(clusterconf.Decode(doc))
	fmt.Fprintln(t.env.Stdout, "Name                             Autostart Exclusive Recovery")
	for _, e := range kind("service").List(doc) {
		autostart, recovery := 1, "restart"
		if v, ok := e.Attr("autostart"); ok {
			autostart = restree.Atoi(v)
		}
		if v, ok := e.Attr("recovery"); ok {
			recovery = v
		}
		fmt.Fprintf(t.env.Stdout, "%-32s       %3d       %3d %s\n", e.Get("name"), autostart, restree.Atoi(e.Get("exclusive")), recovery)
		if c.Bool("verbose") {
			t.properties(e, "name", "autostart", "exclusive", "recovery")
		}
	}
	return nil
}

// lsResource lists shared resources with one attribute beside the name.
func (t *tool) lsResource(word, first, second, attr string) cli.ActionFunc {
	return func(c *cli.Context) error {
		doc, err := t.input(c)
		if err != nil {
			return err
		}
		t.header(clusterconf.Decode(doc))
		fmt.Fprintf(t.env.Stdout, "%-32s %s\n", first, second)
		for _, e := range kind(word).List(doc) {
			fmt.Fprintf(t.env.Stdout, "%-32s %s\n", kind(word).Name(e), e.Get(attr))
			if c.Bool("verbose") {
				t.properties(e, "name", "address", attr)
			}
		}
		return nil
	}
}

func (t *tool) lsDomains(c *cli.Context) error {
	doc, err := t.input(c)
	if err != nil {
		return err
	}
	t.header(clusterconf.Decode(doc))
	fmt.Fprintln(t.env.Stdout, "Name                             Ordered Restricted Nofailback Nodes")
	for _, e := range kind("fdomain").List(doc) {
		var nodes []string
		for _, n := range e.ChildrenNamed("failoverdomainnode") {
			s := n.Get("name")
			if p := n.Get("priority"); p != "" {
				s += ":" + p
			}
			nodes = append(nodes, s)
		}
		fmt.Fprintf(t.env.Stdout, "%-32s     %3d        %3d        %3d %s\n", e.Get("name"), restree.Atoi(e.Get("ordered")),
			restree.Atoi(e.Get("restricted")), restree.Atoi(e.Get("nofailback")), strings.Join(nodes, " "))
	}
	return nil
}
