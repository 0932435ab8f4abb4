// Package conf holds the files that haobox ships as defaults: the metadata of
// the resource agents and the grammar of cluster.conf. They are part of the
// binary, and "haobox install" copies them out.
//
// The grammar follows from the metadata: after a change of agents/*.xml, go
// generate writes it and everything else that shows the metadata again.
package conf

//go:generate go test ../internal/restree ../internal/clusterconf ../internal/explain ../applets/rg_test -update

import (
	"embed"
	"io/fs"
	"strings"
)

//go:embed agents/*.xml
var agents embed.FS

// AgentNames returns the programs of the resource agents ("ip.sh"), sorted.
func AgentNames() []string {
	files, err := fs.ReadDir(agents, "agents")
	if err != nil {
		panic(err) // the folder is part of the program
	}
	names := make([]string, len(files))
	for i, f := range files {
		names[i] = strings.TrimSuffix(f.Name(), ".xml")
	}
	return names
}

// AgentMetadata returns the metadata of a resource agent by the name of its
// program, and false for an unknown one.
func AgentMetadata(program string) ([]byte, bool) {
	text, err := agents.ReadFile("agents/" + program + ".xml")
	return text, err == nil
}
