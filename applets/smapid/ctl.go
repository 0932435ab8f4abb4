package smapid

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/haobox/haobox/applets/applet"
	"github.com/haobox/haobox/internal/ctl"
	"github.com/haobox/haobox/internal/smapi/zvmsim"
	"github.com/haobox/haobox/internal/smapi/zvmsim/simd"
	"github.com/haobox/haobox/platform"
)

// waitStep is how long one request waits for news; commands ask again.
const waitStep = 20 * time.Second

// retryPause is the time between attempts to connect with --patience.
const retryPause = 20 * time.Millisecond

// control is "smapid ctl".
type control struct {
	ctx  context.Context
	env  platform.Env
	path string
	json bool
	// patience is how long to wait for the simulator to come up.
	patience time.Duration
}

func ctlCommand(ctx context.Context, env platform.Env) *cli.Command {
	t := &control{ctx: ctx, env: env}
	command := func(name, args, usage string, least, most int, f func(c *cli.Context) error, flags ...cli.Flag) *cli.Command {
		return &cli.Command{Name: name, ArgsUsage: args, Usage: usage, Flags: flags, OnUsageError: usageError, HideHelpCommand: true,
			Action: func(c *cli.Context) error {
				if n := c.NArg(); n < least || n > most {
					return applet.Exitf(exitUsage, "smapid ctl %s: %d arguments; it is 'smapid ctl %s %s'", name, n, name, args)
				}
				return t.failed(name, f(c))
			}}
	}
	guest := func(do string) func(c *cli.Context) error {
		return func(c *cli.Context) error { return t.guest(c, do, c.Args().Get(1)) }
	}
	system := &cli.StringFlag{Name: "system", Usage: "the guest of the system `NAME`"}
	return &cli.Command{
		Name: "ctl", Usage: "look at a running simulator and change it", ArgsUsage: "COMMAND [argument ...]",
		OnUsageError: usageError, HideHelpCommand: true,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "control", Usage: "the simulator's control socket `PATH` (SMAPID_CONTROL)", Destination: &t.path},
			&cli.BoolFlag{Name: "json", Usage: "print the simulator's answer as JSON", Destination: &t.json},
			&cli.DurationFlag{Name: "patience", Usage: "wait up to `TIME` for the simulator to come up", Destination: &t.patience},
		},
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return applet.Exitf(exitUsage, "smapid ctl: no command is called '%s'; see 'smapid ctl --help'", c.Args().First())
			}
			return cli.ShowSubcommandHelp(c)
		},
		Subcommands: []*cli.Command{
			command("status", "", "show members, guests, endpoints and faults", 0, 0, t.status),
			command("guest", "NAME [on|off]", "show a guest, or put it into a state at once, without hooks", 1, 2, func(c *cli.Context) error {
				return t.guest(c, c.Args().Get(1), "")
			}, system),
			command("logoff", "NAME", "force a guest off as an operator does", 1, 1, guest("logoff"), system),
			command("logon", "NAME [MEMBER]", "log a guest on as an operator does", 1, 2, guest("logon"), system),
			command("die", "NAME", "end a guest as if by itself", 1, 1, guest("die"), system),
			command("wait", "NAME STATE", "wait until a guest is OFF, STARTING, ON or STOPPING", 2, 2, t.wait, system,
				&cli.DurationFlag{Name: "limit", Value: time.Minute, Usage: "give up after `TIME`"}),
			command("member", "NAME STATE", "make a member "+strings.Join(zvmsim.MemberStates(), ", "), 2, 2, func(c *cli.Context) error {
				return t.call("POST", "/v1/members/"+url.PathEscape(c.Args().First()), simd.MemberRequest{State: c.Args().Get(1)}, nil)
			}),
			command("authority", "MEMBER", "replace the AUTHLIST and NAMELIST of a member", 1, 1, t.authority,
				&cli.StringFlag{Name: "authlist", Usage: "by the AUTHLIST in `FILE`; without it, the member has none"},
				&cli.StringFlag{Name: "namelist", Usage: "and the NAMELIST in `FILE`"}),
			command("faults", "", "show the faults", 0, 0, func(*cli.Context) error {
				var out []simd.FaultReply
				return t.get("/v1/faults", &out, func(w io.Writer) { printFaults(w, out) })
			}),
			command("fault", "FAULT", "add a fault, and print its number", 1, 1, func(c *cli.Context) error {
				var out simd.FaultReply
				return t.show("POST", "/v1/faults", simd.FaultRequest{Fault: c.Args().First()}, &out, func(w io.Writer) { fmt.Fprintln(w, out.ID) })
			}),
			command("unfault", "[NUMBER]", "remove a fault, or all", 0, 1, func(c *cli.Context) error {
				return t.call("DELETE", strings.TrimSuffix("/v1/faults/"+url.PathEscape(c.Args().First()), "/"), nil, nil)
			}),
			command("verbs", "", "list what a fault can do", 0, 0, func(*cli.Context) error { return t.verbs() }),
			command("tls", "FAULT [ENDPOINT]", "give the TLS of an endpoint, or of all, a fault: "+strings.Join(simd.TLSFaults(), ", "), 1, 2, func(c *cli.Context) error {
				return t.call("POST", "/v1/tls", simd.TLSRequest{Fault: c.Args().First(), Endpoint: c.Args().Get(1)}, nil)
			}),
			command("clock", "[advance TIME | rate FACTOR]", "show the clock, move it forward, or change its speed", 0, 2, t.clock),
			command("log", "", "show the operator's log", 0, 0, t.log,
				&cli.BoolFlag{Name: "follow", Usage: "go on with new lines until interrupted"}),
			command("stop", "", "end the simulator", 0, 0, func(*cli.Context) error { return t.call("POST", "/v1/stop", nil, nil) }),
		},
	}
}

// failed gives an error its exit status.
func (t *control) failed(name string, err error) error {
	var exit *applet.ExitError
	if err == nil || errors.As(err, &exit) {
		return err
	}
	return applet.Exitf(exitFailed, "smapid ctl %s: %w", name, err)
}

// client connects to the control socket.
func (t *control) client() (*ctl.Client, error) {
	path := t.path
	if path == "" {
		path = t.env.Getenv(controlVariable)
	}
	if path == "" {
		return nil, applet.Exitf(exitUsage, "smapid ctl: no control socket; give --control PATH as to the simulator, or set %s", controlVariable)
	}
	real := t.env.FS.Path(path)
	return &ctl.Client{Dial: func(ctx context.Context) (net.Conn, error) {
		for end := t.env.Clock.Now().Add(t.patience); ; {
			conn, err := new(net.Dialer).DialContext(ctx, "unix", real)
			switch {
			case err == nil:
				return conn, nil
			case !t.env.Clock.Now().Before(end) || t.env.Clock.Sleep(ctx, retryPause) != nil:
				return nil, fmt.Errorf("%w: is the simulator running with --control %s?", err, path)
			}
		}
	}, Limit: t.patience + ctl.DefaultLimit}, nil
}

// call makes a request.
func (t *control) call(method, path string, in, out any) error {
	c, err := t.client()
	if err != nil {
		return err
	}
	return c.Do(t.ctx, method, path, in, out)
}

// show makes a request and prints its answer, as JSON or with text.
func (t *control) show(method, path string, in, out any, text func(w io.Writer)) error {
	if err := t.call(method, path, in, out); err != nil {
		return err
	}
	if t.json {
		b, err := json.MarshalIndent(out, "", "  ")
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(t.env.Stdout, "%s\n", b)
		return err
	}
	w := tabwriter.NewWriter(t.env.Stdout, 0, 8, 2, ' ', 0)
	text(w)
	return w.Flush()
}

func (t *control) get(path string, out any, text func(w io.Writer)) error {
	return t.show("GET", path, nil, out, text)
}

func (t *control) status(*cli.Context) error {
	var s simd.StatusReply
	return t.get("/v1/status", &s, func(w io.Writer) {
		fmt.Fprintf(w, "time %s, rate %v, up %s\n\n", s.Time.Format("2006-01-02 15:04:05.000"), s.Rate, s.Up)
		fmt.Fprintln(w, "MEMBER\tSYSTEM\tSTATE\tUSERS\tWORKERS\tAUTHLIST")
		for _, m := range s.Members {
			fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d of %d busy\t%d entries\n", m.Name, m.System, m.State, m.Users, m.Busy, m.Workers, m.Entries)
		}
		fmt.Fprintln(w, "\nGUEST\tSTATE\tMEMBER\t")
		for _, g := range s.Guests {
			printGuest(w, g)
		}
		fmt.Fprintln(w, "\nENDPOINT\tMEMBER\tPEER\tTLS")
		for _, e := range s.Endpoints {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", e.Endpoint, e.Member, e.Peer, e.TLS)
		}
		if len(s.Faults) > 0 {
			fmt.Fprintln(w)
			printFaults(w, s.Faults)
		}
	})
}

func printGuest(w io.Writer, g simd.GuestReply) {
	var notes []string
	if g.Waiting {
		notes = append(notes, "its logoff hook runs")
	}
	if g.HookFailed {
		notes = append(notes, "its logoff hook failed")
	}
	if g.Recycling {
		notes = append(notes, "to be logged on again")
	}
	fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", g.Name, g.State, g.Member, strings.Join(notes, ", "))
}

func printFaults(w io.Writer, faults []simd.FaultReply) {
	fmt.Fprintln(w, "NUMBER\tHITS\tLEFT\tFAULT")
	for _, f := range faults {
		left := "no end"
		if f.Left >= 0 {
			left = strconv.Itoa(f.Left)
		}
		fmt.Fprintf(w, "%d\t%d\t%s\t%s\n", f.ID, f.Hits, left, f.Fault)
	}
}

// guest shows a guest or does something to it.
func (t *control) guest(c *cli.Context, do, member string) error {
	path := "/v1/guests/" + url.PathEscape(c.Args().First())
	var g simd.GuestReply
	text := func(w io.Writer) { printGuest(w, g) }
	if do == "" {
		return t.get(path+"?system="+url.QueryEscape(c.String("system")), &g, text)
	}
	return t.show("POST", path, simd.GuestRequest{Do: do, System: c.String("system"), Member: member}, &g, text)
}

// wait waits for the state of a guest.
func (t *control) wait(c *cli.Context) error {
	name, state, limit := c.Args().First(), strings.ToUpper(c.Args().Get(1)), c.Duration("limit")
	q := url.Values{"system": {c.String("system")}, "state": {state}}
	for end := t.env.Clock.Now().Add(limit); ; {
		left := end.Sub(t.env.Clock.Now())
		q.Set("wait", max(min(left, waitStep), 0).String())
		var g simd.GuestReply
		if err := t.call("GET", "/v1/guests/"+url.PathEscape(name)+"?"+q.Encode(), nil, &g); err != nil {
			return err
		}
		if g.State == state {
			return nil
		}
		if left <= 0 || c.Context.Err() != nil {
			return fmt.Errorf("guest %s is %s after %v, not %s", g.Name, g.State, limit, state)
		}
	}
}

// authority sends the files of a member.
func (t *control) authority(c *cli.Context) error {
	var in simd.AuthorityRequest
	if name := c.String("authlist"); name != "" {
		text, err := t.env.FS.ReadFile(name)
		if err != nil {
			return err
		}
		s := string(text)
		in.AuthList = &s
	}
	if name := c.String("namelist"); name != "" {
		text, err := t.env.FS.ReadFile(name)
		if err != nil {
			return err
		}
		in.NameList = string(text)
	}
	var out struct{ Warnings []string }
	if err := t.call("PUT", "/v1/members/"+url.PathEscape(c.Args().First())+"/authority", in, &out); err != nil {
		return err
	}
	for _, w := range out.Warnings {
		fmt.Fprintf(t.env.Stderr, "smapid ctl authority: %s\n", w)
	}
	return nil
}

func (t *control) verbs() error {
	w := tabwriter.NewWriter(t.env.Stdout, 0, 8, 2, ' ', 0)
	for _, v := range zvmsim.Verbs() {
		fmt.Fprintf(w, "%s\t%s\n", v.Name, v.Meaning)
	}
	return w.Flush()
}

// clock shows and changes the clock.
func (t *control) clock(c *cli.Context) error {
	var in simd.ClockRequest
	switch what, arg := c.Args().First(), c.Args().Get(1); {
	case c.NArg() == 0:
	case c.NArg() == 2 && what == "advance":
		in.Advance = arg
	case c.NArg() == 2 && what == "rate":
		rate, err := strconv.ParseFloat(arg, 64)
		if err != nil || rate == 0 {
			return applet.Exitf(exitUsage, "smapid ctl clock: rate '%s' is not a number above 0", arg)
		}
		in.Rate = rate
	default:
		return applet.Exitf(exitUsage, "smapid ctl clock: it is 'clock', 'clock advance TIME' or 'clock rate FACTOR'")
	}
	var out struct {
		Time time.Time `json:"time"`
		Rate float64   `json:"rate"`
	}
	return t.show("POST", "/v1/clock", in, &out, func(w io.Writer) {
		fmt.Fprintf(w, "%s, rate %v\n", out.Time.Format("2006-01-02 15:04:05.000"), out.Rate)
	})
}

// log prints the operator's log.
func (t *control) log(c *cli.Context) error {
	prefix := false
	var s simd.StatusReply
	if err := t.call("GET", "/v1/status", nil, &s); err != nil {
		return err
	}
	prefix = len(s.Members) > 1
	for after := 0; ; {
		q := url.Values{"after": {strconv.Itoa(after)}}
		if c.Bool("follow") {
			q.Set("wait", waitStep.String())
		}
		var out simd.LogReply
		if err := t.call("GET", "/v1/log?"+q.Encode(), nil, &out); err != nil {
			return err
		}
		for _, l := range out.Lines {
			after = l.N
			var err error
			switch {
			case t.json:
				err = json.NewEncoder(t.env.Stdout).Encode(l)
			case prefix:
				_, err = fmt.Fprintf(t.env.Stdout, "%s | %s\n", l.Member, l.Line)
			default:
				_, err = fmt.Fprintln(t.env.Stdout, l.Line)
			}
			if err != nil {
				return err
			}
		}
		if !c.Bool("follow") || c.Context.Err() != nil {
			return nil
		}
	}
}
