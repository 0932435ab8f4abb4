// Package clufindhostname is clufindhostname: it prints the canonical name of
// an address or of a name, for resource agents (rgmanager 3.2).
package clufindhostname

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/haobox/haobox/applets/applet"
	"github.com/haobox/haobox/platform"
)

// Applet is the table's row.
var Applet = applet.Applet{
	Name: "clufindhostname", Section: 8, Class: applet.Tool,
	Summary: summary,
	Run:     Run,
}

const summary = "print the canonical name of an address or a host"

// Exit statuses of the original.
const (
	exitUsage    = 1
	exitNotFound = 2
)

// lookupLimit bounds the search. Ours: name servers that do not answer must
// not hold an agent up for longer than its other steps.
const lookupLimit = 10 * time.Second

// resolver is what is used of *net.Resolver.
type resolver interface {
	LookupAddr(ctx context.Context, addr string) ([]string, error)
	LookupCNAME(ctx context.Context, host string) (string, error)
}

// Run runs the command line args.
func Run(ctx context.Context, env platform.Env, args []string) error {
	return run(ctx, env, args, net.DefaultResolver)
}

func run(ctx context.Context, env platform.Env, args []string, r resolver) error {
	if len(args) == 2 && (args[1] == "--help" || args[1] == "-h") {
		return help(ctx, env, args)
	}
	// Exactly these two words, as ever: the option, then what to look for.
	if len(args) != 3 || args[1] != "-i" && args[1] != "-n" {
		fmt.Fprintf(env.Stderr, "Usage: %s [-i ip_addr] [-n ip_name]\n", args[0])
		return applet.Exit(exitUsage)
	}
	ctx, cancel := context.WithTimeout(ctx, lookupLimit)
	defer cancel()
	var name string
	if args[1] == "-i" {
		a, err := netip.ParseAddr(args[2])
		if err != nil {
			return applet.Exit(exitNotFound)
		}
		names, err := r.LookupAddr(ctx, a.String())
		if err != nil || len(names) == 0 {
			return applet.Exit(exitNotFound)
		}
		name = names[0]
	} else {
		var err error
		if name, err = r.LookupCNAME(ctx, args[2]); err != nil || name == "" {
			return applet.Exit(exitNotFound)
		}
	}
	fmt.Fprintln(env.Stdout, strings.TrimSuffix(name, "."))
	return nil
}

func help(ctx context.Context, env platform.Env, args []string) error {
	app := &cli.App{
		Name: args[0], Usage: summary, UsageText: args[0] + " -i ADDRESS\n" + args[0] + " -n NAME",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "i", Usage: "the address, of IPv4 or IPv6"},
			&cli.StringFlag{Name: "n", Usage: "the name"},
		},
		Writer: env.Stdout, ErrWriter: env.Stderr, ExitErrHandler: func(*cli.Context, error) {},
		HideVersion: true, HideHelpCommand: true, EnableBashCompletion: true,
	}
	return app.RunContext(ctx, []string{args[0], "--help"})
}
