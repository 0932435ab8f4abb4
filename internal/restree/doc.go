// Package restree is the resource model of rgmanager: rules (the metadata of
// resource agents), resources, references, inheritance, the tree of services,
// the order in which a tree is started, stopped and checked, and what has to
// happen when a configuration replaces another.
//
//	rules, _ := restree.Builtin()
//	set := restree.Load(rules, doc.Root)
//	for _, m := range set.Messages { log(m) }
//	rg := set.Find("service", "web")
//	result := set.Operate(restree.Start, rg, restree.Shell{Now: clock.Now, Run: run})
//
// rgmanager and rg_test stand on the same tree. The package decides and runs
// nothing: agents are run by a function that is handed in, or by whoever steps
// an Operation. Behaviour is that of rgmanager 3.2 with its accidental parts,
// because rg_test's output is compared byte for byte; each of those has a
// comment that says so.
package restree
