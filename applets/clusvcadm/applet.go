// Package clusvcadm is clusvcadm: it starts, stops, moves and freezes the
// services of rgmanager. Options, texts and exit statuses are those of
// rgmanager 3.2.
package clusvcadm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/haobox/haobox/applets/applet"
	"github.com/haobox/haobox/applets/internal/daemon"
	"github.com/haobox/haobox/internal/argv"
	"github.com/haobox/haobox/internal/ctl"
	"github.com/haobox/haobox/internal/rgmctl"
	"github.com/haobox/haobox/internal/version"
	"github.com/haobox/haobox/platform"
)

// Applet is the table's row.
var Applet = applet.Applet{
	Name: "clusvcadm", Section: 8, Class: applet.Tool,
	Summary: "start, stop, move and freeze services of rgmanager",
	Run:     Run,
}

const (
	exitError = 1
	// statusLimit bounds a question that rgmanager answers from memory.
	statusLimit = 30 * time.Second
	// requestLimit bounds what is asked for. Ours, longer than the longest
	// start of an agent with a few tries; the original waited for ever.
	requestLimit = 12 * time.Hour
)

// verb is an option that does something to a service.
type verb struct {
	option, action, text string
}

func verbs() []verb {
	return []verb{
		{"e", "enable", "trying to enable"}, {"d", "disable", "disabling"}, {"s", "stop", "stopping"},
		{"R", "restart", "trying to restart"}, {"Z", "freeze", "freezing"}, {"U", "unfreeze", "unfreezing"},
		{"c", "convalesce", "convalescing"}, {"r", "relocate", "relocate"}, {"M", "migrate", "migrate"},
	}
}

func options() []argv.Option {
	out := []argv.Option{{Name: "help", Short: "h?"}, {Name: "n", Short: "mn", Arity: argv.Required}}
	for _, v := range verbs() {
		out = append(out, argv.Option{Name: v.option, Short: v.option, Arity: argv.Required})
	}
	for _, c := range "lSuFqv" {
		out = append(out, argv.Option{Name: string(c), Short: string(c)})
	}
	return out
}

// tool is one call.
type tool struct {
	ctx context.Context
	env platform.Env
	out io.Writer

	do       verb
	service  string
	member   string
	byDomain bool
	lock     string // "l", "u" or "S"
}

// Run runs the command line args.
func Run(ctx context.Context, env platform.Env, args []string) error {
	t := &tool{ctx: ctx, env: env, out: env.Stdout}
	done, err := t.parse(args)
	switch {
	case done || err != nil:
		return err
	case t.lock != "":
		return t.locking()
	}
	return t.request()
}

// parse reads the command line; done means that all is said. The last action
// wins, -l, -S, -u and -v act where they stand.
func (t *tool) parse(args []string) (done bool, err error) {
	settings, _, err := argv.Parse(options(), args[1:])
	if err != nil {
		var s *argv.SyntaxError
		if errors.As(err, &s) {
			fmt.Fprintf(t.env.Stderr, "%s: %v\n", args[0], err)
		}
		return true, t.usage(exitError)
	}
	if len(args) == 2 && args[1] == "--help" {
		return true, t.usage(0)
	}
	for _, s := range settings {
		switch s.Name {
		case "help":
			return true, t.usage(exitError)
		case "v":
			fmt.Fprintln(t.out, version.String())
			return true, nil
		case "l", "u", "S":
			t.lock = s.Name
			return false, nil
		case "q":
			t.out = io.Discard
		case "F", "n":
			if s.Name == "F" {
				t.byDomain = true
			} else {
				t.member = s.Value
			}
			if t.byDomain && t.member != "" {
				fmt.Fprintln(t.env.Stderr, "Cannot use '-F' with '-n' or '-m'")
				return true, applet.Exit(exitError)
			}
		default:
			for _, v := range verbs() {
				if v.option == s.Name {
					t.do, t.service = v, rgmctl.FullName(s.Value)
				}
			}
		}
	}
	if t.service == "" {
		switch {
		case t.do.option != "":
			fmt.Fprintf(t.env.Stderr, "%s: the name of the group is empty\n", args[0])
		case len(args) > 1:
			fmt.Fprintf(t.env.Stderr, "%s: there is nothing to do: no option names a request\n", args[0])
		}
		return true, t.usage(exitError)
	}
	return false, nil
}

func (t *tool) usage(code int) error {
	io.WriteString(t.env.Stdout, usage)
	return applet.Exit(code)
}

// client calls rgmanager.
func (t *tool) client(limit time.Duration) *ctl.Client {
	c := daemon.Client(t.env, "rgmanager")
	c.Limit = limit
	return c
}

// locking is -l, -u and -S.
func (t *tool) locking() error {
	words := [...]string{"Resource groups unlocked", "Resource groups locked"}
	in, fault := rgmctl.Lock{}, "Query operation failed"
	if yes := t.lock == "l"; t.lock != "S" {
		in.Lock = &yes
		fault = "Unlock operation failed"
		if yes {
			fault = "Lock operation failed"
		}
	}
	var out rgmctl.Lock
	if err := t.client(statusLimit).Do(t.ctx, "POST", "/v1/lock", in, &out); err != nil {
		fmt.Fprintln(t.out, fault)
		return t.why(err)
	}
	text := words[0]
	if out.Locked {
		text = words[1]
	}
	fmt.Fprintln(t.out, text)
	return nil
}

// why puts a cause that the original did not tell on standard error.
func (t *tool) why(err error) error {
	return applet.Exitf(exitError, "clusvcadm: %v", err)
}

// request is everything that has a service.
func (t *tool) request() error {
	if t.do.action == "migrate" && t.member == "" {
		fmt.Fprintln(t.out, "Migration requires a target cluster member")
		return applet.Exit(exitError)
	}
	var st rgmctl.Status
	if err := t.client(statusLimit).Do(t.ctx, "GET", "/v1/status", nil, &st); err != nil {
		t.announce()
		fmt.Fprintln(t.out, "Could not connect to resource group manager")
		return t.why(err)
	}
	target, err := t.target(&st)
	if err != nil {
		return err
	}
	t.announce()
	var a rgmctl.Answer
	in := rgmctl.Request{Service: t.service, Action: t.do.action, Target: target, ByDomain: t.byDomain}
	if err := t.client(requestLimit).Do(t.ctx, "POST", "/v1/request", in, &a); err != nil {
		var refused *ctl.Error
		if !errors.As(err, &refused) {
			fmt.Fprintln(t.env.Stderr, "Error receiving reply!")
		}
		return t.why(err)
	}
	fmt.Fprintln(t.out, rgmctl.ResultText(a.Code))
	switch {
	case a.Code == rgmctl.CodeRunning:
		return nil
	case a.Code != rgmctl.CodeSuccess:
		return applet.Exit(a.Code & 0xff)
	}
	if t.do.action == "enable" || t.do.action == "relocate" {
		warning := ""
		if target != 0 && a.Owner != target {
			warning = "Warning: "
		}
		fmt.Fprintf(t.out, "%s%s is now running on %s\n", warning, t.service, st.NodeName(a.Owner))
	}
	return nil
}

// target finds the node of -m: by name, else by the longest common beginning.
func (t *tool) target(st *rgmctl.Status) (uint32, error) {
	if t.member == "" {
		return 0, nil
	}
	n := st.Node(t.member)
	if n == nil {
		fmt.Fprintf(t.out, "'%s' not in membership list\n", t.member)
		switch close := st.Closest(t.member); len(close) {
		case 0:
			fmt.Fprintf(t.out, "No matches for '%s' found\n", t.member)
			return 0, applet.Exit(exitError)
		case 1:
			fmt.Fprintf(t.out, "Closest match: '%s'\n", close[0])
			t.member = close[0]
			n = st.Node(close[0])
		default:
			fmt.Fprintf(t.out, "More than one possible match for '%s' found\n", t.member)
			return 0, applet.Exit(exitError)
		}
	}
	if t.do.action == "migrate" && !n.Online {
		fmt.Fprintf(t.out, "'%s' is offline\n", t.member)
		return 0, applet.Exit(exitError)
	}
	return n.ID, nil
}

// announce says what is tried; the result follows on the same line.
func (t *tool) announce() {
	switch {
	case t.do.action == "relocate" || t.do.action == "migrate":
		fmt.Fprintf(t.out, "Trying to %s %s", t.do.text, t.service)
		if t.member != "" {
			fmt.Fprintf(t.out, " to %s", t.member)
		}
		io.WriteString(t.out, "...")
	case t.member != "":
		fmt.Fprintf(t.out, "Member %s %s %s...", t.member, t.do.text, t.service)
	default:
		fmt.Fprintf(t.out, "Local machine %s %s...", t.do.text, t.service)
	}
}
