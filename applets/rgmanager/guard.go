//go:build linux

package rgmanager

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/haobox/haobox/applets/applet"
	"github.com/haobox/haobox/platform"
	"github.com/haobox/haobox/platform/power"
)

// guardedVariable tells a process that another one watches it.
const guardedVariable = "HAOBOX_RGMANAGER_GUARDED"

// killallWait is how long the watchdog waits after a SIGKILL of its child, so
// that an administrator's killall reaches it, too (rgmanager 3.0.12).
const killallWait = 3 * time.Second

// guard is --strict-exit's watchdog: it runs the daemon as its child, and when
// that is ended by a signal, this machine is rebooted.
func guard(ctx context.Context, env platform.Env, args []string, o options) error {
	ctx = context.WithoutCancel(ctx)
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGTERM, syscall.SIGINT)
	defer signal.Stop(signals)
	words := slices.Clone(args)
	// Under systemd it stays in the foreground without that, and logs once.
	if !o.foreground && env.Getenv("NOTIFY_SOCKET") == "" {
		words = append(words, "-f")
	}
	p, err := env.Runner.Start(ctx, platform.Cmd{Path: "/proc/self/exe", Args: words,
		Env: append(env.Environ(), guardedVariable+"=1"), Stdout: env.Stdout, Stderr: env.Stderr})
	if err != nil {
		return applet.Exitf(1, "rgmanager: start the daemon: %w", err)
	}
	done := make(chan struct{})
	go func() {
		for {
			select {
			case s := <-signals:
				if err := p.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
					env.Log.Error("pass on a signal: " + err.Error())
				}
			case <-done:
				return
			}
		}
	}()
	res, err := p.Wait()
	close(done)
	switch {
	case err != nil:
		return applet.Exitf(1, "rgmanager: wait for the daemon: %w", err)
	case res.Signal == 0:
		return applet.Exit(res.ExitCode)
	}
	if res.Signal == int(syscall.SIGKILL) {
		_ = env.Clock.Sleep(ctx, killallWait)
	}
	env.Log.With(platform.AppletKey, Name).Error("Watchdog: Daemon died, rebooting...")
	return takeDown(env, "Daemon died", power.Reboot)
}
