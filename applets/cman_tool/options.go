//go:build linux

package cmantool

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/haobox/haobox/applets/internal/oldcli"
	"github.com/haobox/haobox/internal/argv"
	"github.com/haobox/haobox/internal/cman"
	"github.com/haobox/haobox/internal/version"
)

// options is getopt's m:n:v:e:2p:c:i:N:t:o:k:F:C:VAPwfqazh?XD::Sd::r:: of the
// original.
func options() []argv.Option {
	var out []argv.Option
	for _, c := range "mnveipcNtokFC" {
		out = append(out, argv.Option{Name: string(c), Short: string(c), Arity: argv.Required})
	}
	for _, c := range "2VAPwfqazXS" {
		out = append(out, argv.Option{Name: string(c), Short: string(c)})
	}
	for _, c := range "Ddr" {
		out = append(out, argv.Option{Name: string(c), Short: string(c), Arity: argv.Optional})
	}
	return append(out, argv.Option{Name: "help", Short: "h?"})
}

// commands of cman_tool(8).
var commands = []string{"join", "leave", "kill", "expected", "votes", "version", "wait", "status", "nodes", "services", "debug"}

// parse reads the command line. done means that all is said.
func (t *tool) parse(args []string) (done bool, err error) {
	settings, words, err := argv.Parse(options(), args)
	if err != nil {
		return true, oldcli.Fault(t.name, err)
	}
	help := false
	for _, s := range settings {
		switch s.Name {
		case "V":
			fmt.Fprintf(t.env.Stdout, "cman_tool %s (haobox %s)\n", cman.ProtocolVersion, version.String())
			return true, nil
		case "help":
			help = true
		case "n":
			t.names = append(t.names, s.Value)
		case "F":
			t.format = append(t.format, strings.Split(s.Value, ",")...)
		case "v", "e", "p", "N", "t", "i":
			n, err := strconv.ParseInt(s.Value, 10, 32) // an int of the original
			if err != nil {
				return true, t.die("argument to %s (%s) is not an integer", s.Name, s.Value)
			}
			if n < 0 {
				return true, t.die("argument to %s cannot be negative", s.Name)
			}
			t.numbers[s.Name] = int(n)
		}
		t.set[s.Name] = s.Value
	}
	for _, w := range words {
		switch {
		case slices.Contains(commands, w) && t.command != "":
			return true, t.die("can't specify two operations")
		case slices.Contains(commands, w):
			t.command = w
		case w == "remove" && t.command == "leave":
			t.remove = true
		case w == "force" && t.command == "leave":
			t.force = true
		default:
			return true, t.die("unknown option %s", w)
		}
	}
	if help {
		io.WriteString(t.env.Stdout, helpText(t.command))
		return true, nil
	}
	switch {
	case t.command == "":
		return true, t.die("no operation specified")
	case len(t.names) > maxList || len(t.format) > maxList:
		return true, t.die("at most %d nodes and fields can be given", maxList)
	case t.has("t") && t.command == "join" && !t.has("w") && !t.has("q"):
		return true, t.die("timeout is only appropriate with wait")
	}
	return false, nil
}
