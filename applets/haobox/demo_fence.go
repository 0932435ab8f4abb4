package haobox

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/haobox/haobox/internal/ctl"
	"github.com/haobox/haobox/internal/smapi/zvmsim/simd"
	"github.com/haobox/haobox/platform"
)

// Limits of the demonstration: a machine that is busy may be slow, but not
// that slow.
const (
	demoLimit  = 2 * time.Minute
	readyLimit = 20 * time.Second
	stopGrace  = 5 * time.Second
	// demoLogoff is how long the guest takes to log off: as smapid's default,
	// a quick real one.
	demoLogoff = 1500 * time.Millisecond
)

// demoStdin is what fenced sends for CNODE1 of the manual's figure 1: the
// device's line of the node, the node's name, the device's attributes.
const demoStdin = "port=CNODE1\nnodename=CNODE1\nagent=fence_zvmip\nipaddr=127.0.0.1\nlogin=CMANAGER\npasswd=SECRET\n"

func (t tool) demoFence() *cli.Command {
	return &cli.Command{
		Name:  "fence",
		Usage: "fence a z/VM guest through fence_zvmip and a simulated z/VM",
		Flags: []cli.Flag{
			&cli.DurationFlag{Name: "logoff-delay", Value: demoLogoff, Usage: "how long the guest takes to log off"},
		},
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return usageError(c, errNoArguments, true)
			}
			return t.tellFence(c.Context, c.Duration("logoff-delay"))
		},
	}
}

func (t tool) tellFence(ctx context.Context, logoff time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, demoLimit)
	defer cancel()
	if err := t.fenceStory(ctx, logoff); err != nil {
		return fail("haobox demo: %v", err)
	}
	return nil
}

// fenceStory runs smapid and the agent as processes of this binary, as they
// would run on their own, and tells what happens.
func (t tool) fenceStory(ctx context.Context, logoff time.Duration) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find the running binary: %w", err)
	}
	dir, err := os.MkdirTemp("", "haobox-demo-")
	if err != nil {
		return fmt.Errorf("make a folder for the simulator's socket: %w", err)
	}
	tidy, err := t.guarded(ctx, self, dir)
	if err != nil {
		return err
	}
	defer tidy()
	s := &story{out: t.env.Stdout, now: t.env.Clock.Now, start: t.env.Clock.Now()}
	s.heading("haobox demo: fencing a z/VM guest, with the real agent and a simulated z/VM")

	z, err := t.startZVM(ctx, self, dir, "127.0.0.1", "CNODE1,CNODE2", logoff)
	if err != nil {
		return err
	}
	defer z.stop()
	s.tell("smapid", "a simulated z/VM answers SMAPI at 127.0.0.1:%s; CNODE1 and CNODE2 are logged on", z.port)

	agent := func(lines string) (string, platform.Result, error) {
		var out, errs bytes.Buffer
		res, err := t.env.Runner.Run(ctx, platform.Cmd{
			Path: self, Args: []string{"fence_zvmip"}, Stdin: strings.NewReader(lines + "ipport=" + z.port + "\ndisable_ssl=1\n"),
			Stdout: &out, Stderr: &errs,
		})
		return out.String() + errs.String(), res, err
	}
	list := func() error {
		text, res, err := agent(demoStdin + "action=list-status\n")
		if err != nil || !res.OK() {
			return fmt.Errorf("fence_zvmip list-status: exit status %d, %v: %s", res.ExitCode, err, text)
		}
		s.tell("fence_zvmip", "action=list-status says")
		for _, l := range strings.Split(strings.TrimSpace(text), "\n") {
			s.show(l)
		}
		return nil
	}
	if err := list(); err != nil {
		return err
	}

	s.heading("CNODE2 finds that CNODE1 does not answer, and fences it")
	s.tell("fenced", "starts fence_zvmip and writes to its standard input")
	for _, l := range strings.Split(strings.TrimSpace(demoStdin), "\n") {
		if strings.HasPrefix(l, "passwd=") {
			l = "passwd=********"
		}
		s.show(l)
	}
	began := t.env.Clock.Now()
	text, res, err := agent(demoStdin)
	ended := t.env.Clock.Now()
	if err != nil || !res.OK() {
		return fmt.Errorf("fence_zvmip: exit status %d, %v: %s", res.ExitCode, err, text)
	}
	lines, err := z.log(ctx)
	if err != nil {
		return err
	}
	for _, l := range lines {
		switch {
		case strings.Contains(l.Line, "LOGOFF AS CNODE1") && strings.Contains(l.Line, "OPERATOR"):
			s.at(l.Time, "z/VM", "CNODE1 is off: forced %.3f s after the agent was started", l.Time.Sub(began).Seconds())
		case strings.Contains(l.Line, "LOGON *** CNODE1"):
			s.at(l.Time, "z/VM", "CNODE1 is on again: the agent has seen it off and activated it")
		}
	}
	s.at(ended, "fence_zvmip", "%s, exit status %d, after %.3f s", strings.TrimSpace(text), res.ExitCode, ended.Sub(began).Seconds())
	if err := list(); err != nil {
		return err
	}

	s.heading("The operator's log of the simulated z/VM")
	for _, l := range lines {
		fmt.Fprintln(t.env.Stdout, l.Line)
	}
	fmt.Fprintln(t.env.Stdout)
	return nil
}

// zvm is smapid as a child.
type zvm struct {
	port   string
	proc   platform.Process
	ended  chan platform.Result
	client ctl.Client
}

// startZVM starts smapid with guests, which listens on a port of the address at,
// and waits until it is ready.
func (t tool) startZVM(ctx context.Context, self, dir, at, guests string, logoff time.Duration, more ...string) (*zvm, error) {
	socket := filepath.Join(dir, "smapid.sock")
	ready := filepath.Join(dir, "ready")
	var errs bytes.Buffer
	proc, err := t.env.Runner.Start(ctx, platform.Cmd{
		Path: self, Grace: stopGrace, Stderr: &errs, Env: append(t.env.Environ(), marked(dir)),
		Args: append([]string{"smapid", "--listen", "tcp:" + at + ":0", "--guests", guests, "--authorize", "CMANAGER:SECRET",
			"--control", socket, "--ready-file", ready, "--logoff-delay", logoff.String()}, more...),
	})
	if err != nil {
		return nil, err
	}
	z := &zvm{proc: proc, ended: make(chan platform.Result, 1)}
	z.client.Dial = func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}
	go func() {
		res, _ := proc.Wait()
		z.ended <- res
	}()
	limit, stop := t.env.Clock.After(readyLimit)
	defer stop()
	for {
		text, err := os.ReadFile(ready)
		if _, addr, ok := strings.Cut(string(text), at+":"); err == nil && ok {
			z.port, _, _ = strings.Cut(strings.Fields(addr)[0], ",")
			return z, nil
		}
		tick, stopTick := t.env.Clock.After(10 * time.Millisecond)
		select {
		case <-tick:
		case res := <-z.ended:
			stopTick()
			return nil, fmt.Errorf("smapid ended with exit status %d: %s", res.ExitCode, strings.TrimSpace(errs.String()))
		case <-limit:
			stopTick()
			z.stop()
			return nil, fmt.Errorf("smapid was not ready after %v", readyLimit)
		case <-ctx.Done():
			stopTick()
			z.stop()
			return nil, ctx.Err()
		}
	}
}

// log is the operator's log so far.
func (z *zvm) log(ctx context.Context) ([]simd.LogLine, error) {
	var reply simd.LogReply
	if err := z.client.Do(ctx, "GET", "/v1/log", nil, &reply); err != nil {
		return nil, fmt.Errorf("read the operator's log from smapid: %w", err)
	}
	return reply.Lines, nil
}

// stop ends smapid.
func (z *zvm) stop() {
	_ = z.proc.Signal(os.Interrupt)
	<-z.ended
}
