//go:build linux

// Package daemon is the shell that our daemons share: fenced, qdiskd and
// rgmanager are a core each, and this around it.
//
//	func run(ctx context.Context, env platform.Env, args []string) error {
//		return daemon.Run(ctx, env, daemon.Config{Name: "fenced", Args: args, Foreground: debug}, start)
//	}
//
//	func start(ctx context.Context, d *daemon.Daemon) error {
//		e, err := d.OpenEngine(ctx, 10*time.Second) // corosync, or the embedded engine
//		...
//		e.Watch(func(ev cluster.Event) { d.Loop.Post(func() { step(ev) }) })
//		d.Loop.After(time.Second, tick)
//		d.HandleFunc("GET /v1/nodes", func(w http.ResponseWriter, r *http.Request) {
//			d.Loop.Do(r.Context(), func() { ... })
//		})
//		d.OnReload(func(c *clusterconf.Config) { ... })
//		d.OnSignal(func(sig os.Signal) { d.Stop(nil) })
//		d.Ready("member of the fence domain")
//		return nil
//	}
//
// Everything that touches the core runs in Loop: events of the engine, timers,
// requests and signals, one at a time. The order of the end: functions given to
// OnStop (newest first; leave groups, close the engine), then the control
// socket (requests under way get 2 s), then the log, then the pid file.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"path"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	sd "github.com/coreos/go-systemd/v22/daemon"

	"github.com/haobox/haobox/applets/applet"
	"github.com/haobox/haobox/internal/clusterconf"
	"github.com/haobox/haobox/internal/ctl"
	"github.com/haobox/haobox/platform"
	"github.com/haobox/haobox/platform/proc"
	"github.com/haobox/haobox/platform/transport"
)

// RunDir holds the control sockets and the running configuration.
const RunDir = "/run/haobox"

// Config says what a daemon is.
type Config struct {
	// Name is the command's name: of the control socket, the log file, the
	// syslog tag.
	Name string
	// LogName is its name in <logging_daemon>; "" means Name.
	LogName string
	// Args is the command line, to start it again in the background.
	Args []string
	// Foreground stays there and writes all log lines to standard error, too.
	// A daemon whose starter waits for a message (NOTIFY_SOCKET, see
	// sd_notify(3)) stays in the foreground without that.
	Foreground bool
	// Debug writes debug lines to the log file whatever <logging> says.
	Debug bool
	// PIDFile is "/run/NAME.pid" if it is empty. It is locked as the old
	// daemons did, see proc.LockPID.
	PIDFile string
	// LineMax and DumpMax cut lines for the log file and syslog, and for the
	// dump, to this many bytes; 0 means 4096.
	LineMax, DumpMax int
	// NoConfig starts without cluster.conf as well; Daemon.Conf is then nil.
	NoConfig bool
	// OneProcessor has one thread at a time run Go code, unless GOMAXPROCS is
	// set. A daemon that is mostly at rest costs less so: with more, each
	// wake-up wakes a second thread that finds nothing to do. System calls and
	// children run beside each other all the same. Not with Signals.
	OneProcessor bool
	// Signals replaces the signals of the process, for tests.
	Signals <-chan os.Signal
}

// Daemon is what the core's shell works with. Its methods are safe for
// concurrent use, if they do not say otherwise.
type Daemon struct {
	Env platform.Env
	*Log
	Loop *Loop

	cfg     Config
	mux     *http.ServeMux
	ready   func()
	working atomic.Bool // Ready was called
	stop    context.CancelFunc

	mu       sync.Mutex
	conf     *clusterconf.Config
	seen     fileID
	onReload []func(*clusterconf.Config)
	onSignal func(os.Signal)
	onStop   []func()
	err      error
	stopped  bool
}

// Run runs a daemon until Stop is called. start is called in the loop. SIGHUP
// is Reload; SIGTERM and SIGINT are Stop unless OnSignal takes them; the end of
// ctx is not looked at, because main ends it by these very signals, except
// where Config.Signals is set.
func Run(ctx context.Context, env platform.Env, cfg Config, start func(ctx context.Context, d *Daemon) error) error {
	underSystemd := env.Getenv("NOTIFY_SOCKET") != ""
	detached, release := proc.Detached()
	ready := func() {
		var copies []*os.File
		for _, w := range []io.Writer{env.Stdout, env.Stderr} {
			if f, is := w.(*os.File); is {
				copies = append(copies, f)
			}
		}
		release(copies...)
	}
	if !cfg.Foreground && !underSystemd && !detached && cfg.Signals == nil {
		code, err := proc.Detach(cfg.Args)
		if err != nil {
			return applet.Exitf(1, "%s: %w", cfg.Name, err)
		}
		return applet.Exit(code)
	}
	if cfg.OneProcessor && cfg.Signals == nil && env.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(1)
	}
	d := &Daemon{Env: env, cfg: cfg, Loop: newLoop(env.Clock), mux: http.NewServeMux(), ready: ready}
	if err := d.run(ctx, start); err != nil {
		var exit *applet.ExitError
		if errors.As(err, &exit) {
			return err
		}
		return applet.Exitf(1, "%s: %w", cfg.Name, err)
	}
	return nil
}

func (d *Daemon) run(ctx context.Context, start func(context.Context, *Daemon) error) error {
	signals := d.cfg.Signals
	if signals == nil {
		ctx = context.WithoutCancel(ctx)
		c := make(chan os.Signal, 8)
		signal.Notify(c, syscall.SIGHUP, syscall.SIGTERM, syscall.SIGINT)
		defer signal.Stop(c)
		signals = c
	}
	ctx, d.stop = context.WithCancel(ctx)
	defer d.stop()

	pidFile := d.cfg.PIDFile
	if pidFile == "" {
		pidFile = "/run/" + d.cfg.Name + ".pid"
	}
	for _, dir := range []string{path.Dir(pidFile), RunDir} {
		if err := d.Env.FS.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("make the folder %s: %w", dir, err)
		}
	}
	pid, err := proc.LockPID(d.Env.FS.Path(pidFile))
	if errors.Is(err, proc.ErrLocked) {
		return errors.New("is already running")
	} else if err != nil {
		return fmt.Errorf("cannot open/create lock file %s: %w", pidFile, err)
	}
	defer pid.Release()

	d.Log = newLog(d.Env, d.cfg)
	defer d.Log.close()
	if err := d.firstConfig(); err != nil {
		return err
	}
	l, err := transport.Listen(ctx, transport.Endpoint{Scheme: transport.Unix, Host: d.Env.FS.Path(SocketPath(d.cfg.Name))}, nil)
	if err != nil {
		return fmt.Errorf("open the control socket: %w", err)
	}
	d.HandleFunc("GET /v1/dump", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Write(d.Log.Dump())
	})
	d.HandleFunc("POST /v1/reload", func(w http.ResponseWriter, _ *http.Request) {
		if err := d.Reload(); err != nil {
			ctl.Fail(w, http.StatusConflict, err)
			return
		}
		ctl.Reply(w, nil)
	})
	serve, endServe := context.WithCancel(context.WithoutCancel(ctx))
	served := make(chan error, 1)
	go func() { served <- ctl.Serve(serve, transport.OwnerOnly(l), d.mux) }()
	defer func() {
		endServe()
		<-served
	}()

	defer d.ends()
	go d.signals(ctx, signals)
	d.Loop.Post(func() {
		if err := start(ctx, d); err != nil {
			d.Stop(err)
		}
	})
	d.Loop.run(ctx)
	_, _ = sd.SdNotify(false, sd.SdNotifyStopping)
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.err
}

// ends runs what OnStop was given.
func (d *Daemon) ends() {
	d.mu.Lock()
	all := d.onStop
	d.mu.Unlock()
	for i := len(all) - 1; i >= 0; i-- {
		all[i]()
	}
}

func (d *Daemon) signals(ctx context.Context, c <-chan os.Signal) {
	for {
		select {
		case <-ctx.Done():
			return
		case s := <-c:
			d.mu.Lock()
			f := d.onSignal
			d.mu.Unlock()
			switch {
			case s == syscall.SIGHUP:
				d.Log.Reopen()
				// READY=1 ends the reload, but would end the start as well.
				working := d.working.Load()
				if working {
					_, _ = sd.SdNotify(false, sd.SdNotifyReloading)
				}
				_ = d.Reload() // which logs what is wrong
				if working {
					_, _ = sd.SdNotify(false, sd.SdNotifyReady)
				}
			case f != nil:
				d.Loop.Post(func() { f(s) })
			default:
				d.Stop(nil)
			}
		}
	}
}

// Ready tells systemd, or who started the daemon in the background, that it is
// a working member. status is shown by systemctl status. Later calls change
// the status.
func (d *Daemon) Ready(status string) {
	if !d.working.Swap(true) {
		_, _ = sd.SdNotify(false, sd.SdNotifyReady)
		d.ready()
	}
	d.Status(status)
}

// Status is a line for systemctl status.
func (d *Daemon) Status(text string) {
	_, _ = sd.SdNotify(false, "STATUS="+strings.ReplaceAll(text, "\n", " "))
}

// Started lets the one who started the daemon in the background go on,
// although it is not a working member yet; systemd goes on waiting for Ready.
func (d *Daemon) Started() { d.ready(); d.ready = func() {} }

// Stop ends the daemon; err is what Run returns. The first call counts.
func (d *Daemon) Stop(err error) {
	d.mu.Lock()
	if !d.stopped {
		d.stopped, d.err = true, err
	}
	d.mu.Unlock()
	d.stop()
}

// OnSignal gets SIGTERM and SIGINT in the loop, in the place of Stop.
func (d *Daemon) OnSignal(f func(os.Signal)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.onSignal = f
}

// OnStop is called at the end of the daemon, after the loop, newest first.
func (d *Daemon) OnStop(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.onStop = append(d.onStop, f)
}

// HandleFunc answers requests on the control socket, by a pattern of
// http.ServeMux ("GET /v1/nodes"). Handlers run in goroutines of their own:
// use Loop.Do in them.
func (d *Daemon) HandleFunc(pattern string, f func(http.ResponseWriter, *http.Request)) {
	d.mux.HandleFunc(pattern, f)
}
