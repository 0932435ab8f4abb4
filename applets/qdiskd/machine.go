package qdiskd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"runtime/debug"
	"strings"
	"time"

	"github.com/haobox/haobox/internal/cluster"
	"github.com/haobox/haobox/platform"
	"github.com/haobox/haobox/platform/corosync"
	"github.com/haobox/haobox/platform/power"
	"github.com/haobox/haobox/platform/probe"
	"github.com/haobox/haobox/platform/rt"
	wd "github.com/haobox/haobox/platform/watchdog"
)

// errNoReboot: --no-reboot, or nodes that share this machine.
var errNoReboot = errors.New("reboot not wanted")

const (
	// rebootPause is the time for a person to read why (qdiskd(8)); leaveLimit
	// bounds the attempt before, ours.
	rebootPause = 5 * time.Second
	leaveLimit  = 10 * time.Second
)

// gcPercent lets the heap grow by a quarter between two collections. Ours.
const gcPercent = 25

// machine is the machine itself.
func (b *boot) machine(local bool, e cluster.Engine) machine {
	m := machine{reboot: power.Reboot, leave: leaveCorosync, run: func(ctx context.Context, program string) error { return heuristic(ctx, b.d.Env, program) }}
	switch {
	case local:
		// The nodes share this machine: what goes down is the node's engine.
		m.reboot = func() error { return errors.Join(errNoReboot, killNode(e)) }
		m.leave = func(context.Context) error { return killNode(e) }
		return m
	case b.noReboot:
		m.reboot = func() error { return errNoReboot }
	}
	locked := false
	m.harden = func(scheduler string, priority int) error {
		if !locked {
			locked = true
			// The heap stays small at some more processor time: it is locked.
			debug.SetGCPercent(gcPercent)
			if err := errors.Join(rt.Trim(), rt.LockMemory()); err != nil {
				b.d.Warnf("%v", err)
			}
		}
		policy := rt.RoundRobin
		switch scheduler {
		case "fifo":
			policy = rt.FIFO
		case "other":
			policy = rt.Other
		}
		return rt.Schedule(policy, priority)
	}
	return m
}

func killNode(e cluster.Engine) error {
	admin, is := e.(cluster.Admin)
	if !is {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), endLimit)
	defer cancel()
	return admin.Kill(ctx, e.Local().ID, "the quorum disk wants this node down")
}

// leave is "stop_cman": without its disk the node must not stay (qdiskd(8)).
func (b *boot) leave(ctx context.Context, m machine) error {
	b.d.Errorf("Telling CMAN to leave the cluster; qdisk is not available")
	limited, cancel := context.WithTimeout(ctx, leaveLimit)
	defer cancel()
	err := m.leave(limited)
	if err == nil {
		return nil
	}
	b.d.Errorf("Could not leave the cluster - rebooting: %v", err)
	if err := b.d.Env.Clock.Sleep(ctx, rebootPause); err != nil {
		return err // stopped by a person meanwhile
	}
	return errors.Join(err, m.reboot())
}

// leaveCorosync stops corosync on this node, whoever objects.
func leaveCorosync(ctx context.Context) error {
	c, err := corosync.DialCfg(ctx, corosync.Config{})
	if err != nil {
		return err
	}
	defer c.Close()
	return c.TryShutdown(ctx, corosync.ShutdownImmediate)
}

// openWatchdog starts a watchdog.
func openWatchdog(path string, limit time.Duration) (watchdog, error) {
	d, err := wd.Open(path, limit)
	if err != nil {
		return nil, err
	}
	if d.Timeout() > 2*limit {
		d.Stop()
		return nil, fmt.Errorf("the watchdog %s waits at least %v, and a node is evicted after %v", path, d.Timeout(), limit)
	}
	return d, nil
}

// heuristic looks itself where the program has one of our forms, and runs the
// program in a shell otherwise:
//
//	ping:ADDR  link:IFACE  tcp:ADDR:PORT  file:PATH
func heuristic(ctx context.Context, env platform.Env, program string) error {
	kind, value, _ := strings.Cut(program, ":")
	switch kind {
	case "ping":
		at, err := netip.ParseAddr(value)
		if err != nil {
			return err
		}
		return probe.Client{}.Ping(ctx, at)
	case "tcp":
		return probe.Client{}.Connect(ctx, value)
	case "link":
		return carrier(env, value)
	case "file":
		return within(ctx, func() error { _, err := env.FS.Stat(value); return err })
	}
	r, err := env.Runner.Run(ctx, platform.Cmd{Path: "/bin/sh", Args: []string{"sh", "-c", program}})
	switch {
	case err != nil:
		return err
	case r.TimedOut:
		return errors.New("took too long")
	case !r.OK():
		return fmt.Errorf("sh returned %d", r.ExitCode)
	}
	return nil
}

// carrier reports whether an interface has a link (sysfs-class-net).
func carrier(env platform.Env, iface string) error {
	if iface == "" || strings.ContainsAny(iface, "/\x00") || iface == "." || iface == ".." {
		return fmt.Errorf("interface '%s': %w", iface, fs.ErrInvalid)
	}
	b, err := env.FS.ReadFile("/sys/class/net/" + iface + "/carrier")
	if err != nil {
		return err // an interface that is down gives EINVAL
	}
	if strings.TrimSpace(string(b)) != "1" {
		return fmt.Errorf("%s has no carrier", iface)
	}
	return nil
}

// within runs what the kernel may never finish; it is then left behind.
func within(ctx context.Context, f func() error) error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}
