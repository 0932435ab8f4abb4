package rgtest

import (
	"fmt"

	"github.com/haobox/haobox/applets/applet"
	"github.com/haobox/haobox/internal/restree"
)

// delta shows what replacing one configuration by another would do.
func (t *tool) delta(args []string) error {
	rules := t.rules()
	doc := t.parse(args, 0)
	if doc == nil {
		return applet.Exit(exitUsage)
	}
	old := restree.Load(rules, doc.Root)
	t.sayAll(old.Messages)
	rules2 := t.rules()
	if doc = t.parse(args, 1); doc == nil {
		return applet.Exit(exitUsage)
	}
	now := restree.LoadDelta(rules, rules2, doc.Root)
	t.sayAll(now.Messages)
	restree.Delta(old, now)
	t.b.WriteString("=== Old Resource List ===\n")
	restree.PrintResources(t.b, old.Resources)
	t.b.WriteString("=== New Resource List ===\n")
	restree.PrintResources(t.b, now.Resources)
	t.b.WriteString("=== Old Resource Tree ===\n")
	restree.PrintTree(t.b, old.Tree)
	t.b.WriteString("=== New Resource Tree ===\n")
	restree.PrintTree(t.b, now.Tree)
	sh := t.shell(true)
	t.b.WriteString("=== Operations (down-phase) ===\n")
	for _, n := range old.Tree {
		if n.Resource.NeedStop {
			t.b.WriteString("[kill] ")
			if n.KeepOnDelete() {
				fmt.Fprintf(t.b, "[no-op] %s was removed from the config, but I am not stopping it.\n", n.ID())
				continue
			}
		}
		restree.OperateNode(restree.CondStop, n, sh)
	}
	t.b.WriteString("=== Operations (up-phase) ===\n")
	for _, n := range now.Tree {
		switch {
		case !n.Resource.NeedStart || n.Resource.Reconfig:
			restree.OperateNode(restree.CondStart, n, sh)
		case n.KeepOnAdd():
			fmt.Fprintf(t.b, "[init] [noop] %s was added, but I am not initializing it\n", n.ID())
		default:
			t.b.WriteString("[init] ")
			restree.OperateNode(restree.Stop, n, sh)
		}
	}
	return nil
}
