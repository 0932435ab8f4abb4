package smapictl

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/urfave/cli/v2"

	"github.com/haobox/haobox/applets/applet"
	"github.com/haobox/haobox/internal/smapi"
)

// commands are the subcommands, sorted by name.
func (t *tool) commands() []*cli.Command {
	return []*cli.Command{
		t.command("activate", "GUEST ...", "log guests on", t.activate),
		t.command("check", "", "ask whether the server accepts user and password", t.check),
		t.command("config", "GUEST ...", "print memory, processors and devices of active guests", t.config),
		t.command("deactivate", "GUEST ...", "log guests off, by default with a shutdown signal and the system's time for it", t.deactivate,
			&cli.BoolFlag{Name: "now", Usage: "force them off at once, as fencing does: the same as --force-time=IMMED"},
			&cli.StringFlag{Name: "force-time", Usage: "`WHEN` to force them off: IMMED, 'WITHIN n' seconds or 'BY hh:mm:ss'"}),
		t.command("directory", "GUEST ...", "print the user directory entries of guests", t.directory),
		t.command("events", "", "print events of guests until interrupted", t.events,
			&cli.StringFlag{Name: "key", Usage: "only events that match `KEY`"},
			&cli.IntFlag{Name: "count", Aliases: []string{"n"}, Usage: "end after `N` events"}),
		t.command("level", "", "print the functional level of the API", t.level),
		t.command("list", "", "list the guests of the user directory and whether they are active", t.list,
			&cli.BoolFlag{Name: "active", Usage: "list active guests only, without asking the directory manager"}),
		t.command("recycle", "GUEST ...", "log guests off and on again, as the RECYCLE EXEC does", t.recycle),
		t.command("ssi", "", "print the state of the single-system image cluster", t.ssi),
		t.command("status", "[GUEST ...]", "print whether guests are active; without GUEST all that are", t.status),
	}
}

// command builds a subcommand; operands is "", "GUEST ..." or "[GUEST ...]".
// do is called with the guests, and with what it must call after each answer.
func (t *tool) command(name, operands, usage string, do func(*cli.Context, call) error, flags ...cli.Flag) *cli.Command {
	return &cli.Command{
		Name: name, Usage: usage, ArgsUsage: operands, Flags: flags,
		Action: func(c *cli.Context) error {
			switch {
			case operands == "" && c.Args().Present():
				return applet.Exitf(exitUsage, "smapictl: %s takes no operand, got '%s'", name, c.Args().First())
			case operands == "GUEST ..." && !c.Args().Present():
				return applet.Exitf(exitUsage, "smapictl: %s needs a guest", name)
			}
			client, err := t.client(c)
			if err != nil {
				return err
			}
			err = t.finish(do(c, call{c.Context, client}))
			if cerr := t.log.end(); cerr != nil {
				fmt.Fprintf(t.env.Stderr, "smapictl: the trace is not complete: %v\n", cerr)
			}
			return err
		},
	}
}

// call is what every call of the client needs.
type call struct {
	ctx    context.Context
	client *smapi.Client
}

// each does f for every guest. A refusal is reported and the next guest comes;
// without an answer there is no use in going on.
func (t *tool) each(c *cli.Context, f func(guest string) error) error {
	refused := error(nil)
	for _, guest := range c.Args().Slice() {
		err := f(guest)
		var fault *smapi.ResultError
		if errors.As(err, &fault) {
			err = t.refuse(guest, fault)
		}
		var exit *applet.ExitError
		switch {
		case errors.As(err, &exit) && exit.Code == exitRefused:
			refused = err
		case err != nil:
			return err
		}
	}
	return refused
}

func (t *tool) check(_ *cli.Context, x call) error {
	if err := x.client.CheckAuthentication(x.ctx); err != nil {
		return err
	}
	return t.done(result{Function: smapi.CheckAuthentication})
}

func (t *tool) level(_ *cli.Context, x call) error {
	level, err := x.client.FunctionalLevel(x.ctx)
	if err != nil {
		return err
	}
	system := fmt.Sprintf("z/VM %d.%d", level/100, level/10%10)
	if level == 0 {
		system = "z/VM 5.3"
	}
	return t.done(result{Function: smapi.QueryAPIFunctionalLevel, Reason: level, System: system})
}

func (t *tool) activate(c *cli.Context, x call) error {
	return t.each(c, func(guest string) error {
		res, err := x.client.ImageActivate(x.ctx, guest)
		return t.image(smapi.ImageActivate, guest, res, err)
	})
}

func (t *tool) recycle(c *cli.Context, x call) error {
	return t.each(c, func(guest string) error {
		res, err := x.client.ImageRecycle(x.ctx, guest)
		return t.image(smapi.ImageRecycle, guest, res, err)
	})
}

func (t *tool) deactivate(c *cli.Context, x call) error {
	when := c.String("force-time")
	if c.Bool("now") {
		if c.IsSet("force-time") {
			return applet.Exitf(exitUsage, "smapictl: give --now or --force-time, not both")
		}
		when = smapi.Immediate
	}
	if _, err := smapi.ParseForceTime(when); err != nil {
		return applet.Exitf(exitUsage, "smapictl: --force-time: %v", err)
	}
	return t.each(c, func(guest string) error {
		res, err := x.client.ImageDeactivate(x.ctx, guest, when)
		return t.image(smapi.ImageDeactivate, guest, res, err)
	})
}

// image reports the answer of the three functions that change an image.
func (t *tool) image(function, guest string, res smapi.ImageResult, err error) error {
	r := result{Function: function, Guest: guest, Reason: res.Reason, RequestID: res.RequestID}
	for _, f := range res.Failing {
		r.Failing = append(r.Failing, result{Function: function, Guest: f.Name, Return: f.Return, Reason: f.Reason})
	}
	var fault *smapi.ResultError
	if errors.As(err, &fault) {
		r.Return = fault.Return
		return t.refuseResult(r)
	}
	if err != nil {
		return err
	}
	return t.done(r)
}

func (t *tool) status(c *cli.Context, x call) error {
	if !c.Args().Present() {
		return t.active(x)
	}
	return t.each(c, func(guest string) error {
		power, err := x.client.ImageStatus(x.ctx, guest)
		if err != nil {
			return err
		}
		r := result{Function: smapi.ImageStatusQuery, Guest: guest, State: power.String()}
		switch power {
		case smapi.PowerOff:
			r.Reason = 12
		case smapi.PowerGoingOff:
			r.Return, r.Reason = 200, 16
		}
		return t.done(r)
	})
}

// active lists the active guests.
func (t *tool) active(x call) error {
	names, err := x.client.ActiveImages(x.ctx)
	slices.Sort(names)
	t.states(names, names)
	return err
}

func (t *tool) list(c *cli.Context, x call) error {
	if c.Bool("active") {
		return t.active(x)
	}
	names, err := x.client.DirectoryNames(x.ctx)
	if err != nil {
		return err
	}
	active, err := x.client.ActiveImages(x.ctx)
	if err != nil {
		return err
	}
	names = slices.Concat(names, active)
	slices.Sort(names)
	t.states(slices.Compact(names), active)
	return nil
}

// states prints a line for each name.
func (t *tool) states(names, active []string) {
	for _, n := range names {
		state := smapi.PowerOff
		if slices.Contains(active, n) {
			state = smapi.PowerOn
		}
		t.out.print(fmt.Sprintf("%-8s  %s", n, state), guestState{n, state.String()})
	}
}

func (t *tool) config(c *cli.Context, x call) error {
	return t.each(c, func(guest string) error {
		config, err := x.client.ActiveConfiguration(x.ctx, guest)
		if err != nil {
			return err
		}
		t.out.print(configText(guest, config), configJSON(guest, config))
		return nil
	})
}

func (t *tool) directory(c *cli.Context, x call) error {
	return t.each(c, func(guest string) error {
		entry, err := x.client.DirectoryEntry(x.ctx, guest)
		if err != nil {
			return err
		}
		t.out.print(lines(entry), directoryEntry{guest, entry})
		return nil
	})
}

func (t *tool) ssi(_ *cli.Context, x call) error {
	ssi, err := x.client.SSI(x.ctx)
	if err != nil {
		return err
	}
	t.out.print(ssiText(ssi), ssiJSON(ssi))
	return nil
}

// errEnough ends a subscription after the number of events asked for.
var errEnough = errors.New("enough events")

func (t *tool) events(c *cli.Context, x call) error {
	if c.Int("count") < 0 {
		return applet.Exitf(exitUsage, "smapictl: --count: %s is no number of events", strconv.Itoa(c.Int("count")))
	}
	seen := 0
	err := x.client.Subscribe(x.ctx, c.String("key"), func(e smapi.Event) error {
		for _, v := range eventsOf(t.env.Clock.Now(), e) {
			t.out.print(v.text(), v)
			if seen++; seen == c.Int("count") {
				return errEnough
			}
		}
		return t.out.err
	})
	if errors.Is(err, errEnough) || errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}
