package ksysstatus

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"time"

	"github.com/haobox/haobox/internal/ksys"
	"github.com/haobox/haobox/platform/src"
)

// gatherer asks the system's commands for an observation.
type gatherer struct {
	client  *src.Client
	runtime *ksys.Runtime
	local   bool
	limit   time.Duration
	ends    time.Time
	views   []*ksys.NodeView
}

// left is what a command may take: the query limit, and no more than is left
// of the whole.
func (g *gatherer) left() time.Duration {
	return max(min(ksys.QueryLimit, g.ends.Sub(g.runtime.Env.Clock.Now())), 100*time.Millisecond)
}

func (g *gatherer) ask(ctx context.Context, argv ...string) (src.Output, error) {
	return g.client.Run(ctx, g.left(), argv...)
}

// view is the entry for a node.
func (g *gatherer) view(node string) *ksys.NodeView {
	for _, v := range g.views {
		if ksys.SameHost(v.Name, node) {
			return v
		}
	}
	g.views = append(g.views, &ksys.NodeView{Name: node})
	return g.views[len(g.views)-1]
}

// report gathers and judges. installed says that PowerHA is there at all.
func (g *gatherer) report(ctx context.Context, preconfig bool) (r ksys.Report, installed bool) {
	now := g.runtime.Env.Clock.Now()
	g.ends, g.views = now.Add(g.limit), nil
	o := ksys.Observation{Time: now, Local: g.runtime.Node()}
	o.Flag, o.FlagKnown = g.runtime.FlagVerdict()
	installed = g.cluster(ctx, &o)
	o.Reached = !g.local && g.everywhere(ctx)
	if !o.Reached {
		g.here(ctx)
	}
	for _, v := range g.views {
		o.Nodes = append(o.Nodes, *v)
	}
	return ksys.Judge(o, preconfig), installed
}

// cluster asks PowerHA and KSYS about the cluster.
func (g *gatherer) cluster(ctx context.Context, o *ksys.Observation) bool {
	installed := false
	if out, err := g.ask(ctx, "clmgr", "query", "cluster"); !errors.Is(err, fs.ErrNotExist) {
		installed = true
		if err == nil && out.Code == 0 {
			attrs := ksys.ParseAttributes(out.Stdout)
			o.ClusterName, _ = ksys.Attr(attrs, "CLUSTER_NAME")
			o.ClusterType, _ = ksys.Attr(attrs, "TYPE")
			if nodes, ok := ksys.Attr(attrs, "NODES"); ok && !g.local {
				o.Defined = strings.FieldsFunc(nodes, func(r rune) bool { return r == ' ' || r == ',' })
			}
		}
	}
	if out, err := g.ask(ctx, "clRGinfo"); !errors.Is(err, fs.ErrNotExist) {
		installed = true
		if err == nil && out.Code == 0 {
			o.Groups, o.GroupsKnown = ksys.ParseGroups(out.Stdout), true
		}
	}
	out, err := g.ask(ctx, "ksysmgr", "query", "cluster")
	switch {
	case err != nil:
		o.KsysWhy = err.Error()
	case out.Code == 2: // ksysmgr's "not found"
		o.KsysWhy = "no cluster"
	case out.Code != 0:
		o.KsysWhy = src.FirstLine(out.Text())
		if o.KsysWhy == "" {
			o.KsysWhy = "failed"
		}
	default:
		if o.Ksys, err = ksys.ParseKsysmgr(out.Stdout); err != nil {
			o.KsysWhy = "no cluster"
		}
	}
	return installed
}

// everywhere asks all nodes through clcmd; false if that does not work.
func (g *gatherer) everywhere(ctx context.Context) bool {
	good := false
	for _, q := range []struct {
		argv []string
		take func(v *ksys.NodeView, text string)
	}{
		{[]string{"lssrc", "-ls", "clstrmgrES"}, manager},
		{[]string{"lssrc", "-ls", "IBM.ConfigRM"}, leader},
		{[]string{"lssrc", "-s", ksys.DaemonName}, daemon},
	} {
		out, err := g.ask(ctx, append([]string{"clcmd"}, q.argv...)...)
		if err != nil {
			continue
		}
		for _, n := range ksys.ParseClcmd(out.Stdout) {
			good = true
			q.take(g.view(n.Node), n.Text)
		}
	}
	return good
}

// here asks this node alone.
func (g *gatherer) here(ctx context.Context) {
	v := g.view(g.runtime.Node())
	for _, q := range []struct {
		argv []string
		take func(v *ksys.NodeView, text string)
	}{
		{[]string{"lssrc", "-ls", "clstrmgrES"}, manager},
		{[]string{"lssrc", "-ls", "IBM.ConfigRM"}, leader},
		{[]string{"lssrc", "-s", ksys.DaemonName}, daemon},
	} {
		if out, err := g.ask(ctx, q.argv...); err == nil {
			q.take(v, out.Text())
		}
	}
}

func manager(v *ksys.NodeView, text string) { v.Manager = ksys.ClusterManagerState(text) }

func leader(v *ksys.NodeView, text string) {
	if l, err := src.ParseLeader(text); err == nil {
		v.Leader = l.Name
	}
}

func daemon(v *ksys.NodeView, text string) {
	if s, err := src.ParseSubsystem(text, ksys.DaemonName); err == nil {
		v.Daemon = ksys.Daemon{State: ksys.DaemonStateOf(s.State), PID: s.PID}
	}
}
