package confload

import (
	"context"
	"slices"

	"github.com/haobox/haobox/internal/clusterconf"
	"github.com/haobox/haobox/internal/restree"
	"github.com/haobox/haobox/internal/xmldoc"
	"github.com/haobox/haobox/platform"
)

// Rules returns the resource types that a configuration may use: ours, and of
// those that it has besides, the ones that agents of this machine know. Agents
// are asked only if there are such; asking is called with their names before.
func Rules(ctx context.Context, env platform.Env, doc *xmldoc.Document, asking func(unknown []string)) restree.Rules {
	rules := restree.Builtin()
	unknown := clusterconf.UnknownTypes(doc, rules)
	if len(unknown) == 0 {
		return rules
	}
	if asking != nil {
		asking(unknown)
	}
	more, err := restree.LoadRules(ctx, env.FS, env.Runner, restree.AgentDir, nil)
	if err != nil {
		return rules // the grammar says what it does not know
	}
	for _, r := range more {
		if slices.Contains(unknown, r.Type) {
			rules.Add(r)
		}
	}
	return rules
}
