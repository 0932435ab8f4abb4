//go:build linux

package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/haobox/haobox/applets/applet"
	"github.com/haobox/haobox/internal/clusterconf"
	"github.com/haobox/haobox/internal/ctl"
	"github.com/haobox/haobox/platform"
	"github.com/haobox/haobox/platform/host"
	"github.com/haobox/haobox/platform/platformtest"
)

const sample = `<cluster name="ZCLUSTER" config_version="%d">
<cman two_node="1" expected_votes="1"/>
<logging>%s</logging>
<clusternodes><clusternode name="CNODE1" nodeid="1"/><clusternode name="CNODE2" nodeid="2"/></clusternodes>
</cluster>
`

func newEnv(t *testing.T, version int, logging string) *platformtest.Env {
	t.Helper()
	env := platformtest.NewEnv(t)
	env.Env.Clock = platform.SystemClock{}
	rootFS(env, platformtest.ShortDir(t))
	write(t, env, version, logging)
	return env
}

func write(t *testing.T, env *platformtest.Env, version int, logging string) {
	t.Helper()
	if err := env.FS.MkdirAll("/etc/cluster", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := env.FS.WriteFile(clusterconf.Path, fmt.Appendf(nil, sample, version, logging), 0o600); err != nil {
		t.Fatal(err)
	}
}

// launch runs a daemon in the test's process until the test ends.
func launch(t *testing.T, env *platformtest.Env, cfg Config, start func(context.Context, *Daemon) error) (signals chan os.Signal, ended chan error) {
	t.Helper()
	signals, ended = make(chan os.Signal), make(chan error, 1)
	cfg.Name, cfg.Signals, cfg.Foreground = "fenced", signals, true
	up := make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		ended <- Run(ctx, env.Env, cfg, func(ctx context.Context, d *Daemon) error {
			err := start(ctx, d)
			close(up)
			return err
		})
	}()
	t.Cleanup(cancel)
	select {
	case <-up:
	case err := <-ended:
		ended <- err
	}
	return signals, ended
}

func TestRun_LifeOfADaemon(t *testing.T) {
	t.Parallel()
	env := newEnv(t, 1, "")
	var steps []string
	reloaded := make(chan int, 1)
	signals, ended := launch(t, env, Config{LineMax: 20, DumpMax: 30}, func(_ context.Context, d *Daemon) error {
		d.HandleFunc("GET /v1/x", func(w http.ResponseWriter, r *http.Request) {
			n := 0
			if d.Loop.Do(r.Context(), func() { n = d.Conf().Version }) == nil {
				ctl.Reply(w, n)
			}
		})
		d.OnReload(func(c *clusterconf.Config) { reloaded <- c.Version })
		d.OnStop(func() { steps = append(steps, "first") })
		d.OnStop(func() { steps = append(steps, "second") })
		d.OnSignal(func(os.Signal) { d.Stop(nil) })
		d.Infof("12345678901234567890-34567890-23")
		d.Debugf("only for the dump\nand one line")
		d.Ready("ready")
		return nil
	})
	c := Client(env.Env, "fenced")
	version := func() (n int) {
		t.Helper()
		if err := c.Do(t.Context(), "GET", "/v1/x", nil, &n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	if version() != 1 {
		t.Error("the running configuration is not version 1")
	}
	if info, err := env.FS.Stat(SocketPath("fenced")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("control socket: %v, %v", info, err)
	}
	// A bad file changes nothing, a good one is taken and kept for others.
	for _, bad := range []struct {
		version int
		logging string
	}{{1, "<bogus/>"}, {2, "<bogus/>"}} {
		write(t, env, bad.version, bad.logging)
		err := c.Do(t.Context(), "POST", "/v1/reload", nil, nil)
		if err == nil || version() != 1 {
			t.Errorf("reload of a bad file: %v, version %d", err, version())
		}
	}
	write(t, env, 2, "")
	signals <- syscall.SIGHUP
	if n := <-reloaded; n != 2 || version() != 2 {
		t.Errorf("reloaded %d, now %d", n, version())
	}
	running, err := env.FS.ReadFile(clusterconf.RunningPath)
	if err != nil || !strings.Contains(string(running), `config_version="2"`) {
		t.Errorf("the running configuration: %v\n%s", err, running)
	}
	signals <- syscall.SIGTERM
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{"second", "first"}, steps); diff != "" {
		t.Errorf("order of the end (-want +got):\n%s", diff)
	}
	log, _ := os.ReadFile(env.FS.Path("/var/log/cluster/fenced.log"))
	first, _, _ := strings.Cut(string(log), "\n")
	if want := " fenced 12345678901234567890"; !strings.HasSuffix(first, want) || len(first) != len(time.Stamp)+len(want) {
		t.Errorf("log file begins %q, want a time and %q", first, want)
	}
	if strings.Contains(string(log), "dump") {
		t.Errorf("a line of debug in the log:\n%s", log)
	}
	for _, want := range []string{" 12345678901234567890-34567890-\n", " only for the dump and one line\n", " keeping the running configurat\n"} {
		if !strings.Contains(env.Stderr.String(), want) {
			t.Errorf("standard error lacks %q:\n%s", want, env.Stderr)
		}
	}
	if !strings.Contains(env.Log.String(), `msg=12345678901234567890 applet=fenced syslog_facility=local4`) {
		t.Errorf("syslog:\n%s", env.Log)
	}
	if _, err := env.FS.Stat("/run/fenced.pid"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("pid file after the end: %v", err)
	}
}

func TestRun_Refusals(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, conf, want string
		start            error
	}{
		{name: "no configuration", want: "no such file"},
		{name: "a bad configuration", conf: "<cluster name='x'/>", want: "no valid configuration"},
		{name: "no XML", conf: "<<", want: "no valid configuration"},
		{name: "the start fails", conf: fmt.Sprintf(sample, 1, ""), start: errors.New("no engine"), want: "fenced: no engine"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			env := newEnv(t, 1, "")
			if err := env.FS.Remove(clusterconf.Path); err != nil {
				t.Fatal(err)
			}
			if tc.conf != "" {
				if err := env.FS.WriteFile(clusterconf.Path, []byte(tc.conf), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			_, ended := launch(t, env, Config{}, func(context.Context, *Daemon) error { return tc.start })
			err := <-ended
			var exit *applet.ExitError
			if !errors.As(err, &exit) || exit.Code != 1 || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("Run gave %v, want exit status 1 and %q", err, tc.want)
			}
		})
	}
}

func TestDaemon_RunningConfigurationAtStart(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name          string
		file, running int
		logging       string // of the running one
		want          int
		log           string
	}{
		{"the file is newer", 3, 2, "", 3, ""},
		{"the running one is newer", 2, 3, "", 3,
			"going on with the running configuration: /etc/cluster/cluster.conf has version 2, older than the running one, 3: raise its config_version to 4 and reload"},
		{"the same", 2, 2, "", 2, ""},
		{"the same version of something else", 2, 2, "<!-- -->", 2,
			"going on with the running configuration: /etc/cluster/cluster.conf was changed but still has version 2, which is the running one: raise its config_version to 3 and reload"},
		{"nothing runs", 2, 0, "", 2, ""},
		{"the file is gone", 0, 2, "", 2, "going on with the running configuration, version 2: no valid configuration"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			env := newEnv(t, tc.file, "")
			if tc.file == 0 {
				if err := env.FS.Remove(clusterconf.Path); err != nil {
					t.Fatal(err)
				}
			}
			if tc.running > 0 {
				if err := env.FS.MkdirAll(RunDir, 0o755); err != nil {
					t.Fatal(err)
				}
				if err := env.FS.WriteFile(clusterconf.RunningPath, fmt.Appendf(nil, sample, tc.running, tc.logging), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			got := 0
			_, ended := launch(t, env, Config{}, func(_ context.Context, d *Daemon) error {
				got = d.Conf().Version
				d.Stop(nil)
				return nil
			})
			if err := <-ended; err != nil || got != tc.want {
				t.Errorf("version %d (%v), want %d", got, err, tc.want)
			}
			if log := env.Stderr.String(); tc.log == "" && strings.Contains(log, "running configuration") || !strings.Contains(log, tc.log) {
				t.Errorf("want %q in the log:\n%s", tc.log, log)
			}
		})
	}
}

func TestDaemon_RefreshTakesWhatAnotherDaemonWrote(t *testing.T) {
	t.Parallel()
	env := newEnv(t, 1, "")
	var got []int
	_, ended := launch(t, env, Config{}, func(_ context.Context, d *Daemon) error {
		for _, version := range []int{1, 3, 2} {
			text := fmt.Appendf(nil, sample, version, strings.Repeat(" ", version))
			if err := env.FS.WriteFile(clusterconf.RunningPath, text, 0o600); err != nil {
				return err
			}
			d.Refresh()
			got = append(got, d.Conf().Version)
			info, err := env.FS.Stat(clusterconf.RunningPath)
			if err != nil {
				return err
			}
			if (d.seen != fileID{info.Size(), info.ModTime()}) {
				t.Errorf("version %d would be read again, though nothing changes", version)
			}
		}
		d.Stop(nil)
		return nil
	})
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]int{1, 3, 3}, got); diff != "" {
		t.Errorf("versions (-want +got):\n%s", diff)
	}
}

func TestLoop_OrderAndTimers(t *testing.T) {
	t.Parallel()
	clock := platformtest.NewClock()
	l := newLoop(clock)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); l.run(ctx) }()
	var got []string
	note := func(s string) func() { return func() { got = append(got, s) } }
	l.Post(note("a"))
	l.Post(note("b"))
	var stop func()
	fired := make(chan struct{})
	if err := l.Do(ctx, func() {
		stop = l.After(time.Second, note("never"))
		l.After(2*time.Second, func() { note("timer")(); close(fired) })
		stop()
	}); err != nil {
		t.Fatal(err)
	}
	clock.Advance(3 * time.Second)
	<-fired
	cancel()
	<-done
	l.Post(note("after the end"))
	if err := l.Do(context.Background(), note("after the end")); !errors.Is(err, context.Canceled) {
		t.Errorf("Do after the end gave %v", err)
	}
	if diff := cmp.Diff([]string{"a", "b", "timer"}, got); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
}

func TestLog_DumpIsARing(t *testing.T) {
	t.Parallel()
	env := newEnv(t, 1, "")
	env.Env.Log = slog.New(slog.DiscardHandler)
	l := newLog(env.Env, Config{Name: "fenced"})
	t.Cleanup(l.close)
	const lines = 40000
	for i := range lines {
		l.Debugf("line %d of a log that is longer than the ring", i)
	}
	got := strings.Split(strings.TrimSuffix(string(l.Dump()), "\n"), "\n")
	if n := len(l.Dump()); n > dumpSize || n < dumpSize-100 {
		t.Errorf("dump has %d bytes", n)
	}
	for i, line := range got {
		_, text, _ := strings.Cut(line, " ")
		if want := fmt.Sprintf("line %d of a log that is longer than the ring", lines-len(got)+i); text != want {
			t.Fatalf("line %d of the dump is %q, want %q", i, line, want)
		}
	}
}

func TestLog_Levels(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, logging, want string }{
		{"default", "", "info warning error "},
		{"debug on", `<logging_daemon name="fenced" debug="on"/>`, "debug info warning error "},
		{"debug of another", `<logging_daemon name="qdiskd" debug="on"/>`, "info warning error "},
		{"errors", `<logging_daemon name="fenced" logfile_priority="error"/>`, "error "},
		{"no file", `<logging_daemon name="fenced" to_logfile="no"/>`, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			env := newEnv(t, 1, tc.logging)
			conf, err := ReadConfig(env.Env, clusterconf.Path, false)
			if err != nil {
				t.Fatal(err)
			}
			l := newLog(env.Env, Config{Name: "fenced"})
			l.setup(conf)
			l.Debugf("debug")
			l.Infof("info")
			l.Warnf("warning")
			l.Errorf("error")
			l.close()
			text, _ := os.ReadFile(filepath.Join(env.FS.Path("/var/log/cluster"), "fenced.log"))
			got := ""
			for _, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
				if line != "" {
					got += line[strings.LastIndex(line, " ")+1:] + " "
				}
			}
			if got != tc.want {
				t.Errorf("log file has %q, want %q", got, tc.want)
			}
		})
	}
}

func TestClient_Lines(t *testing.T) {
	t.Parallel()
	env := newEnv(t, 1, "")
	signals, ended := launch(t, env, Config{}, func(_ context.Context, d *Daemon) error {
		d.HandleFunc("GET /v1/events", func(w http.ResponseWriter, r *http.Request) {
			write := ctl.Stream(w)
			for i := 0; write(i) == nil && i < 2; i++ {
			}
			<-r.Context().Done()
		})
		return nil
	})
	var got []string
	err := Client(env.Env, "fenced").Lines(t.Context(), "/v1/events", func(line []byte) error {
		if got = append(got, string(line)); len(got) == 3 {
			return io.EOF
		}
		return nil
	})
	if diff := cmp.Diff([]string{"0", "1", "2"}, got); diff != "" || !errors.Is(err, io.EOF) {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	signals <- syscall.SIGTERM
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// rootFS moves the root folder of env.
func rootFS(env *platformtest.Env, root string) { env.Root, env.Env.FS = root, host.NewFS(root) }

// TestRun_HangupBeforeReady: systemd is not told that a start is over because
// somebody sent SIGHUP meanwhile. Not parallel: the socket's name is in the
// environment.
func TestRun_HangupBeforeReady(t *testing.T) {
	name := filepath.Join(platformtest.ShortDir(t), "notify")
	systemd, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer systemd.Close()
	t.Setenv("NOTIFY_SOCKET", name)
	env := newEnv(t, 1, "")
	reloaded := make(chan struct{}, 1)
	var daemon *Daemon
	signals, _ := launch(t, env, Config{}, func(_ context.Context, d *Daemon) error {
		d.OnReload(func(*clusterconf.Config) { reloaded <- struct{}{} })
		daemon = d
		return nil
	})
	hangup := func(version int) {
		write(t, env, version, "")
		signals <- syscall.SIGHUP
		<-reloaded
	}
	hangup(2)
	daemon.Status("waits")
	daemon.Ready("works")
	hangup(3)
	var got []string
	for len(got) < 5 {
		b := make([]byte, 100)
		if err := systemd.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		n, err := systemd.Read(b)
		if err != nil {
			t.Fatalf("%v after %q", err, got)
		}
		got = append(got, string(b[:n]))
	}
	if diff := cmp.Diff([]string{"STATUS=waits", "READY=1", "STATUS=works", "RELOADING=1", "READY=1"}, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}
