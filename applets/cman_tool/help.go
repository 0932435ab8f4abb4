//go:build linux

package cmantool

import "strings"

// help is the text for each command.
var help = []struct{ command, text string }{
	{"join", `  join             make corosync's configuration from cluster.conf and start it
    -n NAME          the name of this node in cluster.conf
    -c NAME          the name of the cluster
    -N ID            the id of this node
    -v VOTES         the votes of this node
    -e VOTES         the expected votes of the cluster
    -2               one vote makes quorum in a cluster of two; needs -e 1
    -p PORT          the UDP port
    -k FILE          the key file
    -D MODE          attached: fail, warn or none on a bad cluster.conf
    -w               wait until the node is a member
    -q               wait until the cluster is quorate
    -t SECONDS       limit of the waiting
    -m ADDR          accepted; there is no multicast any more
    -C MODULE        accepted
    -o NAME          accepted
    -i ID            accepted
    -A               accepted
    -P               accepted
    -z               accepted
    -X               refused: corosync 3 needs a list of nodes
`},
	{"leave", `  leave            stop corosync in order
    remove           lower the quorum of the others
    force            go even if a client refuses
    -w               wait until it is gone
    -t SECONDS       limit of the waiting
`},
	{"kill", `  kill             make corosync of other nodes end at once
    -n NAME          the node; may be repeated
`},
	{"expected", `  expected         change the expected votes of the cluster
    -e VOTES         the new number
`},
	{"votes", `  votes            change the votes of a node
    -v VOTES         the new number
    -n NAME          the node; without it this one
`},
	{"version", `  version          show the version of the running configuration
    -r               attached value ignored: load the new cluster.conf
    -S               do not run ccs_sync before
    -D MODE          attached: fail, warn or none on a bad cluster.conf
`},
	{"wait", `  wait             wait until the node is a member
    -q               wait until the cluster is quorate
    -t SECONDS       limit of the waiting
`},
	{"status", `  status           show the cluster and this node
`},
	{"nodes", `  nodes            show all nodes
    -a               with their addresses
    -n NAME          only this node; may be repeated
    -F FIELDS        fields instead of the table: id,name,type,addr,votes,exp,state
`},
	{"services", `  services         run "group_tool ls"
`},
	{"debug", `  debug            switch corosync's debug messages
    -d MASK          attached: 0 for off
    -f               accepted
`},
}

// helpText is the help of one command, or of all.
func helpText(command string) string {
	var b strings.Builder
	b.WriteString("Usage:\n\ncman_tool COMMAND [options]\n\n")
	for _, h := range help {
		if command == "" || command == h.command {
			b.WriteString(h.text + "\n")
		}
	}
	b.WriteString("Options of all commands:\n    -h, -?           this help; also --help\n    -V               the version\n")
	return b.String()
}
