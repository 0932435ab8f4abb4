// Package qdiskd is qdiskd, the daemon of the quorum disk: it writes this
// node's heartbeat on a disk that all nodes share, finds out who is there, and
// gives the disk's votes to the part of the cluster that has the master.
//
// The order of its end: the votes are taken back, the slot on the disk is
// released, then the watchdog is disarmed, the engine closed, and the log
// written. A disk that hangs is left behind.
package qdiskd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/haobox/haobox/applets/applet"
	"github.com/haobox/haobox/applets/internal/daemon"
	"github.com/haobox/haobox/applets/internal/qdiskdev"
	"github.com/haobox/haobox/internal/argv"
	"github.com/haobox/haobox/internal/cluster"
	"github.com/haobox/haobox/internal/quorumdisk"
	"github.com/haobox/haobox/platform"
	"github.com/haobox/haobox/platform/blockdev"
	"github.com/haobox/haobox/platform/corosync"
	"github.com/haobox/haobox/platform/proc"
)

// Applet is the command.
var Applet = applet.Applet{
	Name: name, Section: 8, Class: applet.Daemon,
	Summary: summary,
	Run:     run,
}

const (
	name    = "qdiskd"
	summary = "daemon of the quorum disk"
	pidFile = "/run/qdiskd.pid"
	// exitFailed is the status after any failure to start or to go on.
	exitFailed = 255
	// waitPause is the pause of the wait for the cluster manager (qdiskd(8)).
	waitPause = time.Second
)

// options are the flags.
type options struct {
	foreground, debug, noReboot bool
	watchdog                    string
}

func run(ctx context.Context, env platform.Env, args []string) error {
	canonical, err := argv.Canonical([]argv.Option{{Name: "foreground", Short: "f"}, {Name: "debug", Short: "d"}, {Name: "quiet", Short: "Q"}, {Name: "help", Short: "h"},
		{Name: "watchdog", Short: "w", Arity: argv.Required}, {Name: "no-reboot"}}, args[1:])
	if err != nil {
		return applet.Exitf(exitFailed, "%s: %w", name, err)
	}
	app := &cli.App{
		Name: name, Usage: summary, UsageText: name + " [options]",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "foreground", Aliases: []string{"f"}, Usage: "stay in the foreground and log to standard error as well"},
			&cli.BoolFlag{Name: "debug", Aliases: []string{"d"}, Usage: "log debug lines; SIGUSR1 switches them"},
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"Q"}, Usage: "accepted for old scripts"},
			&cli.StringFlag{Name: "watchdog", Aliases: []string{"w"}, Usage: "feed the hardware watchdog `DEVICE` with each heartbeat"},
			&cli.BoolFlag{Name: "no-reboot", Usage: "for trials: end where the node would have to go down at once"},
		},
		Action: func(c *cli.Context) error {
			o := options{foreground: c.Bool("foreground"), debug: c.Bool("debug"), noReboot: c.Bool("no-reboot"), watchdog: c.String("watchdog")}
			return serve(ctx, env, args, o)
		},
		Writer: env.Stdout, ErrWriter: env.Stderr, ExitErrHandler: func(*cli.Context, error) {},
		OnUsageError: func(_ *cli.Context, err error, _ bool) error { return applet.Exitf(exitFailed, "%s: %w", name, err) },
		HideVersion:  true, HideHelpCommand: true, EnableBashCompletion: true,
	}
	return app.RunContext(ctx, append([]string{name}, canonical...))
}

// serve is the daemon.
func serve(ctx context.Context, env platform.Env, args []string, o options) error {
	if pid, err := proc.PIDHolder(env.FS.Path(pidFile)); err == nil && pid != 0 {
		fmt.Fprintln(env.Stdout, "QDisk services already running")
		return nil
	}
	toggle := make(chan os.Signal, 1)
	signal.Notify(toggle, syscall.SIGUSR1)
	defer signal.Stop(toggle)
	cfg := daemon.Config{Name: name, LogName: "QDISKD", Args: args, Foreground: o.foreground, Debug: o.debug, PIDFile: pidFile}
	err := daemon.Run(ctx, env, cfg, func(ctx context.Context, d *daemon.Daemon) error {
		if d.Conf().Quorumd == nil {
			return applet.Exitf(exitFailed, "%s: there is no quorumd in cluster.conf", name)
		}
		d.Started()
		b := &boot{d: d, options: o, toggle: toggle}
		go b.run(ctx)
		return nil
	})
	var exit *applet.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.Code == 1) {
		return applet.Exitf(exitFailed, "%w", err)
	}
	return err
}

// boot is the time before there is a shell: it waits for the cluster manager and
// looks for the disk, in a goroutine of its own.
type boot struct {
	options
	d      *daemon.Daemon
	toggle <-chan os.Signal
}

func (b *boot) run(ctx context.Context) {
	if err := b.begin(ctx); err != nil && ctx.Err() == nil {
		b.d.Errorf("%v", err)
		b.d.Stop(applet.Exitf(exitFailed, "%s: %w", name, err))
	}
}

func (b *boot) begin(ctx context.Context) error {
	e, err := b.wait(ctx)
	if err != nil {
		return err
	}
	closing := true
	defer func() {
		if closing {
			e.Close()
		}
	}()
	conf := b.d.Conf()
	setup, logs, err := quorumdisk.Prepare(conf, int(e.Local().ID))
	for _, l := range logs {
		b.d.Line(logLevel(l.Level), l.Text)
	}
	if err != nil {
		return words("Configuration failed: %v", err)
	}
	b.d.Debugf("Run Flags: %08x", setup.RunFlags)
	setup.Incarnation = quorumdisk.Incarnation(b.d.Env.Clock.Now().Unix())
	local := b.local()
	if !local {
		b.compare(ctx, &setup)
	}
	m := b.machine(local, e)
	disk, err := b.disk(&setup, local)
	if err != nil {
		if setup.StopCman {
			err = errors.Join(err, b.leave(ctx, m))
		}
		return err
	}
	closing = false
	b.d.Loop.Post(func() {
		if b.watchdog != "" {
			// Not before: a daemon that was stopped meanwhile never comes here, and
			// nobody would disarm it.
			if m.watchdog, err = openWatchdog(b.watchdog, setup.Interval*time.Duration(setup.TKO)); err != nil {
				e.Close()
				b.d.Errorf("%v", err)
				b.d.Stop(applet.Exitf(exitFailed, "%s: %w", name, err))
				return
			}
		}
		s, err := newShell(ctx, b.d, e, setup, disk, m)
		if err != nil {
			b.d.Stop(applet.Exitf(exitFailed, "%s: %w", name, err))
			return
		}
		s.debug = b.debug
		if now := b.d.Conf(); now != conf {
			s.reload(now)
		}
		go func() {
			for {
				select {
				case <-ctx.Done():
					return
				case <-b.toggle:
					b.d.Loop.Post(func() { s.debug = !s.debug })
				}
			}
		}()
	})
	return nil
}

// wait opens the engine as soon as there is one.
func (b *boot) wait(ctx context.Context) (cluster.Engine, error) {
	told := false
	for {
		e, err := daemon.OpenEngine(ctx, b.d.Env, b.d.Conf(), corosync.Config{})
		if !errors.Is(err, cluster.ErrNotRunning) {
			return e, err
		}
		if !told {
			told = true
			b.d.Infof("Waiting for CMAN to start")
		}
		if err := b.d.Env.Clock.Sleep(ctx, waitPause); err != nil {
			return nil, err
		}
	}
}

// local reports whether the engine is the embedded one.
func (b *boot) local() bool {
	v := b.d.Env.Getenv(daemon.EngineVariable)
	return v != "" && v != "corosync"
}

// compare looks at what corosync runs with, which need not come of cluster.conf.
func (b *boot) compare(ctx context.Context, setup *quorumdisk.Setup) {
	c, err := corosync.DialCMap(ctx, corosync.Config{})
	if err != nil {
		b.d.Warnf("look at the configuration of corosync: %v", err)
		return
	}
	defer c.Close()
	for _, key := range []string{"quorum.device.timeout", "quorum.device.sync_timeout"} {
		if ms, err := c.Uint(ctx, key); err == nil {
			setup.VoteTimeout = max(setup.VoteTimeout, time.Duration(ms)*time.Millisecond)
		}
	}
	if v, err := c.Uint(ctx, "quorum.device.votes"); err == nil && int(v) != setup.Votes {
		b.d.Warnf("corosync counts %d votes for the disk, cluster.conf has %d: run cman_tool join, or change quorum.device.votes", v, setup.Votes)
	}
	recovery := setup.Interval * time.Duration(setup.TKO+setup.MasterWait+setup.UpgradeWait)
	if ms, err := c.Uint(ctx, "runtime.config.totem.token"); err == nil && time.Duration(ms)*time.Millisecond <= recovery {
		b.d.Warnf("the token of corosync is %d ms, and a new master takes up to %d ms: a part may lose quorum meanwhile", ms, recovery.Milliseconds())
	}
}

// disk finds and opens the disk.
func (b *boot) disk(setup *quorumdisk.Setup, local bool) (quorumdisk.Disk, error) {
	env := b.d.Env
	o := blockdev.Options{Write: true}
	path := env.FS.Path(setup.Device)
	if setup.Label != "" {
		var unread []string
		found, err := qdiskdev.Labelled(blockdev.SystemRoots(env.FS.Path), setup.Label, func(path string, err error) {
			if !qdiskdev.NotQuorumDisk(err) {
				unread = append(unread, fmt.Sprintf("%s: %v", path, err))
			}
		})
		switch {
		case err != nil:
			return nil, err
		case len(found) == 0:
			for _, line := range unread { // it may be one of these
				b.d.Warnf("%s", line)
			}
			return nil, words("Unable to match label '%s' to any device", setup.Label)
		case len(found) > 1:
			b.d.Warnf("%d matches found for label '%s'; please use 'device=' instead!", len(found), setup.Label)
		}
		path, setup.Device = found[0].Path(), found[0].Path()
		b.d.Infof("Quorum Partition: %s Label: %s", setup.Device, setup.Label)
	} else if local {
		// All nodes are on this machine, so a file is as good as a disk.
		o.File = 512
	}
	d, err := blockdev.Open(path, o)
	if err != nil {
		return nil, err
	}
	h, err := quorumdisk.Probe(blockdev.Limit(d, qdiskdev.ProbeLimit))
	switch {
	case qdiskdev.NotQuorumDisk(err):
		err = words("Specified partition %s does not have a qdisk label", setup.Device)
	case err != nil:
	case h.Check(d.SectorSize()) != nil:
		err = words("Specified device %s does not match kernel's reported sector size (%d != %d)", setup.Device, h.SectorSize, d.SectorSize())
	case d.Size() < quorumdisk.MinSize(d.SectorSize()):
		err = fmt.Errorf("%s is too small for a quorum disk", setup.Device)
	}
	if err != nil {
		go d.Close()
		return nil, err
	}
	if setup.Name == "" {
		setup.Name = setup.Device
	}
	return d, nil
}

// text is an error in the words of the original.
type text string

func (t text) Error() string { return string(t) }

func words(format string, args ...any) error { return text(fmt.Sprintf(format, args...)) }
