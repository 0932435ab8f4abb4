package smapictl

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/haobox/haobox/applets/applet"
	"github.com/haobox/haobox/internal/smapi"
	"github.com/haobox/haobox/internal/smapi/zvmsim"
	"github.com/haobox/haobox/internal/smapi/zvmsim/zvmtest"
	"github.com/haobox/haobox/platform"
	"github.com/haobox/haobox/platform/platformtest"
	"github.com/haobox/haobox/platform/transport"
)

// bench is a simulated z/VM with CNODE1 and CNODE2, behind a real socket.
type bench struct {
	t   *testing.T
	sim *zvmtest.Sim
	env *platformtest.Env
	// endpoint is its address, ca the file of its certificate.
	endpoint, ca string
	// subscribed gets a value when a subscription has been accepted.
	subscribed chan struct{}
}

// newBench listens at an endpoint, "" for TCP.
func newBench(t *testing.T, listen string, change func(*zvmsim.Config)) *bench {
	t.Helper()
	if listen == "" {
		listen = "tcp:127.0.0.1:0"
	}
	b := &bench{t: t, env: platformtest.NewEnv(t), subscribed: make(chan struct{}, 10)}
	b.env.Env.FS = hostFS{b.env.FS}
	cfg := zvmtest.Config("CNODE1", "CNODE2")
	if change != nil {
		change(&cfg)
	}
	b.sim = zvmtest.StartWith(t, cfg, zvmsim.ServerConfig{Observe: func(a zvmsim.Action) {
		if a, ok := a.(zvmsim.Audit); ok && a.Function == smapi.EventSubscribe {
			b.subscribed <- struct{}{}
		}
	}})
	e, err := transport.ParseListen(listen, transport.Defaults{})
	if err != nil {
		t.Fatal(err)
	}
	config, pem, err := (transport.ServerTLS{}).Config(e)
	if err != nil {
		t.Fatal(err)
	}
	b.ca = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(b.ca, pem, 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := transport.Listen(t.Context(), e, config)
	if err != nil {
		t.Fatal(err)
	}
	b.endpoint = l.Endpoint.String()
	b.serve(l)
	return b
}

func (b *bench) serve(l net.Listener) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			name, _ := transport.PeerName(conn)
			wg.Go(func() { b.sim.ServeConn(ctx, conn, zvmsim.Client{Peer: name, Remote: "test"}) })
		}
	})
	b.t.Cleanup(func() { cancel(); l.Close(); wg.Wait() })
}

// hostFS sees the real file system, so that tests can name files by their
// paths, but not the machine's own identity.
type hostFS struct{ platform.FS }

func (hostFS) Path(name string) string { return name }
func (hostFS) Open(name string) (platform.File, error) {
	return os.Open(name)
}
func (hostFS) OpenFile(name string, flag int, perm os.FileMode) (platform.File, error) {
	return os.OpenFile(name, flag, perm)
}

// run runs smapictl and returns its exit status and what it printed.
func (b *bench) run(args ...string) (code int, stdout, stderr string) {
	return b.runContext(b.t.Context(), args...)
}

func (b *bench) runContext(ctx context.Context, args ...string) (code int, stdout, stderr string) {
	b.t.Helper()
	env := b.env.Env
	var out, errs platformtest.Buffer
	env.Stdout, env.Stderr = &out, &errs
	err := Applet.Run(ctx, env, append([]string{name}, args...))
	var exit *applet.ExitError
	if err != nil && !errors.As(err, &exit) {
		b.t.Fatalf("error %v has no exit status", err)
	}
	code = applet.Status(err, &errs)
	return code, out.String(), errs.String()
}

// login gives user and password by the environment.
func (b *bench) login() *bench {
	b.env.Vars["SMAPI_CONNECT"] = b.endpoint
	b.env.Vars["SMAPI_USER"] = zvmtest.User
	b.env.Vars["SMAPI_PASSWORD"] = zvmtest.Password.Reveal()
	return b
}

func TestCommands(t *testing.T) {
	t.Parallel()
	ssi := func(c *zvmsim.Config) { c.Systems[0].SSI = true }
	inactive := func(c *zvmsim.Config) { c.Systems[0].Guests[0].On = false }
	tests := []struct {
		name   string
		change func(*zvmsim.Config)
		args   string
		code   int
		// stdout and stderr are regular expressions for all of the output.
		stdout, stderr string
	}{
		{"check", nil, "check", 0, `Check_Authentication: return code 0, reason code 0 \(OK\): done or accepted\n`, ``},
		{"level", nil, "level", 0, `Query_API_Functional_Level: return code 0, reason code 630 \(OK_INFO\): the reason code is the functional level \(z/VM 6\.3\)\n`, ``},
		{"status of all", inactive, "status", 0, `CNODE2    on\n`, ``},
		{
			"status of two", inactive, "status cnode1 CNODE2", 0,
			`CNODE1    off        Image_Status_Query: return code 0, reason code 12 \(OK_INFO\): the image is not active\n` +
				`CNODE2    on         Image_Status_Query: return code 0, reason code 0 \(OK\): done or accepted\n`, ``,
		},
		{"status of all as JSON", nil, "status --json", 0, `\{"guest":"CNODE1","state":"on"\}\n\{"guest":"CNODE2","state":"on"\}\n`, ``},
		{
			"status of one as JSON", inactive, "--json status CNODE1", 0,
			`\{"function":"Image_Status_Query","guest":"CNODE1","state":"off","return":0,"reason":12,"name":"OK_INFO","meaning":"the image is not active"\}\n`, ``,
		},
		{"list", inactive, "list", 0, `CNODE1    off\nCNODE2    on\n`, ``},
		{"list of the active", inactive, "list --active", 0, `CNODE2    on\n`, ``},
		{"list without the directory manager", func(c *zvmsim.Config) { c.Systems[0].DirectoryDown = true }, "list", 1, ``,
			`smapictl: Image_Name_Query_DM: return code 500, reason code 8 \(DM_DOWN\): .*\n`},
		{"recycle", nil, "recycle CNODE1", 0, `CNODE1    Image_Recycle: return code 0, reason code 0 \(OK\): done or accepted\n`, ``},
		{
			"recycle of an inactive guest", inactive, "recycle CNODE1 CNODE2", 1,
			`CNODE2    Image_Recycle: return code 0, .*\n`,
			`smapictl: CNODE1    Image_Recycle: return code 200, reason code 12 \(IMG_NOT_ACTIVE\): the image is not active\n` +
				`  CNODE1    Image_Recycle: return code 200, reason code 12 .*\n`,
		},
		{
			"refusal as JSON", inactive, "recycle CNODE1 --json", 1,
			`\{"function":"Image_Recycle","guest":"CNODE1","return":200,"reason":12,"name":"IMG_NOT_ACTIVE","meaning":"the image is not active","request_id":\d+,"failing":\[\{.*"guest":"CNODE1".*\}\]\}\n`, ``,
		},
		{"activate of an active guest", nil, "activate CNODE1", 1, ``, `smapictl: CNODE1    Image_Activate: return code 200, reason code 8 \(IMG_ALREADY_ACTIVE\)(?s:.*)`},
		{"activate", inactive, "activate CNODE1", 0, `CNODE1    Image_Activate: return code 0, .*\n`, ``},
		{"activate of a guest that is not there", nil, "activate NOBODY", 1, ``, `smapictl: NOBODY    Image_Activate: return code 200, reason code 4 \(IMG_NOT_FOUND\)(?s:.*)`},
		{"deactivate with the system's time", nil, "deactivate CNODE1", 0, `CNODE1    Image_Deactivate: return code 0, reason code 30 \(OK_INFO\): accepted; .*seconds.*\n`, ``},
		{"deactivate now", nil, "deactivate --now CNODE1", 0, `CNODE1    Image_Deactivate: return code 0, reason code 0 \(OK\): accepted; .*\n`, ``},
		{"deactivate, the option last", nil, "deactivate CNODE1 --force-time=IMMED", 0, `CNODE1    Image_Deactivate: return code 0, reason code 0 .*\n`, ``},
		{"deactivate within", nil, "deactivate CNODE1 --force-time=within\u00a0", 2, ``, `smapictl: --force-time: malformed data.*\n`},
		{"deactivate with two times", nil, "deactivate CNODE1 --now --force-time=IMMED", 2, ``, `smapictl: give --now or --force-time, not both\n`},
		{"config", nil, "config CNODE1", 0, `CNODE1\n  memory     \d+[KMG]\n  share      relative 100\n(  processor  .*\n)+(  device     .*\n)+`, ``},
		{"config as JSON", nil, "config CNODE1 --json", 0, `\{"guest":"CNODE1","memory":"\d+[KMG]","share":"relative 100","processors":\[.+\],"devices":\[.+\]\}\n`, ``},
		{"config of an inactive guest", inactive, "config CNODE1", 1, ``, `smapictl: CNODE1    Image_Active_Configuration_Query: return code 200, reason code 12 .*\n`},
		{"directory", nil, "directory CNODE1", 0, `USER CNODE1 XXXXXXXX(?s:.*)\n`, ``},
		{"directory as JSON", nil, "directory --json CNODE1", 0, `\{"guest":"CNODE1","statements":\["USER CNODE1 .*"\]\}\n`, ``},
		{"ssi", ssi, "ssi", 0, `ZVM1  Stable, cross-system timeouts Enabled, PDR \S+\n  1  ZVM1      Joined     \S+  \S+\n`, ``},
		{"ssi as JSON", ssi, "ssi --json", 0, `\{"name":"ZVM1","mode":"Stable",.*"members":\[\{"slot":1,"system":"ZVM1","state":"Joined",.*\}\]\}\n`, ``},
		{"no ssi", nil, "ssi", 1, ``, `smapictl: SSI_Query: return code 4, reason code 3008 \(NOT_SSI_MEMBER\): .*\n`},
		{"wrong user", nil, "check -u NOBODY", 1, ``, `smapictl: Check_Authentication: return code 120, reason code 0 \(BAD_USER_PW\): .*\n`},
		{"no command", nil, "", 2, ``, `smapictl: the command is missing; .*\n`},
		{"unknown command", nil, "reboot CNODE1", 2, ``, `smapictl: no command is called 'reboot'; .*\n`},
		{"unknown option", nil, "status --foo", 2, ``, `smapictl: unknown option '--foo'; .*\n`},
		{"option of another command", nil, "status --now", 2, ``, `smapictl: flag provided but not defined: -now; .*\n`},
		{"no guest", nil, "recycle", 2, ``, `smapictl: recycle needs a guest\n`},
		{"operand too many", nil, "check CNODE1", 2, ``, `smapictl: check takes no operand, got 'CNODE1'\n`},
		{"guest too long", nil, "status " + strings.Repeat("A", 65), 2, ``, `smapictl: Image_Status_Query A+: the request is not valid: parameter 4 \(target\) is too long; nothing was sent\n`},
		{"bad endpoint", nil, "status -c zvm1", 2, ``, `smapictl: --connect: "zvm1": not an endpoint: .*\n`},
		{"bad limit", nil, "status -t 0", 2, ``, `smapictl: --timeout: '0' is no time above 0 in seconds or as 1m30s\n`},
		{"limit in seconds", nil, "check -t5", 0, `Check_Authentication.*\n`, ``},
		{"nobody listens", nil, "check --connect=tcp:127.0.0.1:1", 3, ``, `smapictl: tcp:127\.0\.0\.1:1: Check_Authentication: cannot connect: dial tcp .*refused\n`},
		{"bad count", nil, "events --count=-1", 2, ``, `smapictl: --count: .*\n`},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, "", tc.change).login()
			var args []string
			for _, a := range strings.Fields(strings.ReplaceAll(tc.args, "\u00a0", "\x00")) {
				args = append(args, strings.ReplaceAll(a, "\x00", "  "))
			}
			code, stdout, stderr := b.run(args...)
			if code != tc.code {
				t.Errorf("exit status %d, want %d", code, tc.code)
			}
			for _, x := range []struct{ what, got, want string }{{"output", stdout, tc.stdout}, {"error", stderr, tc.stderr}} {
				if !regexp.MustCompile(`^(?:` + x.want + `)$`).MatchString(x.got) {
					t.Errorf("standard %s:\n%s\nwant:\n%s", x.what, x.got, x.want)
				}
			}
			if strings.Contains(stdout+stderr+b.env.Log.String(), zvmtest.Password.Reveal()) {
				t.Error("the password is in the output")
			}
		})
	}
}

func TestJSON_IsValid(t *testing.T) {
	t.Parallel()
	b := newBench(t, "", func(c *zvmsim.Config) { c.Systems[0].SSI = true }).login()
	for _, args := range [][]string{
		{"check"}, {"level"}, {"status"}, {"status", "CNODE1"}, {"list"}, {"config", "CNODE1"}, {"directory", "CNODE1"}, {"ssi"},
		{"recycle", "CNODE1", "NOBODY"},
	} {
		_, stdout, _ := b.run(append([]string{"--json"}, args...)...)
		for line := range strings.Lines(stdout) {
			var v map[string]any
			if err := json.Unmarshal([]byte(line), &v); err != nil {
				t.Errorf("%v: line %q: %v", args, line, err)
			}
		}
		if stdout == "" {
			t.Errorf("%v prints nothing", args)
		}
	}
}

func TestTransports(t *testing.T) {
	t.Parallel()
	t.Run("unix socket, the name vouched for", func(t *testing.T) {
		t.Parallel()
		path := filepath.Join(t.TempDir(), "s")
		b := newBench(t, "unix:"+path, nil)
		code, stdout, stderr := b.run("-c", "unix:cmanager@"+path, "status", "CNODE1")
		if code != 0 || !strings.HasPrefix(stdout, "CNODE1    on ") {
			t.Errorf("exit status %d, output %s%s", code, stdout, stderr)
		}
		code, _, stderr = b.run("-c", "unix:stranger@"+path, "status", "CNODE1")
		if code != 1 || !strings.Contains(stderr, "NOT_AUTH_SERVER") {
			t.Errorf("stranger: exit status %d, %s", code, stderr)
		}
	})
	t.Run("TLS", func(t *testing.T) {
		t.Parallel()
		b := newBench(t, "tls:127.0.0.1:0", nil).login()
		for _, tc := range []struct {
			args []string
			code int
			text string
		}{
			{[]string{"--ca", b.ca}, 0, ""},
			{[]string{"--insecure"}, 0, ""},
			{nil, 3, "unknown authority"},
			{[]string{"--ca", b.ca, "--server-name", "zvm9"}, 3, "another host"},
			{[]string{"--ca", "/nonexistent"}, 3, "no such file"},
			{[]string{"-c", strings.Replace(b.endpoint, "tls:", "tcp:", 1)}, 3, "ssl=1"},
		} {
			code, _, stderr := b.run(append(tc.args, "check")...)
			if code != tc.code || !strings.Contains(stderr, tc.text) {
				t.Errorf("%v: exit status %d, %s; want %d, %s", tc.args, code, stderr, tc.code, tc.text)
			}
		}
	})
	t.Run("TLS to a plain server", func(t *testing.T) {
		t.Parallel()
		b := newBench(t, "", nil).login()
		code, _, stderr := b.run("-c", strings.Replace(b.endpoint, "tcp:", "tls:", 1), "check")
		if code != 3 || !strings.Contains(stderr, "disable_ssl=1") {
			t.Errorf("exit status %d, %s", code, stderr)
		}
	})
}

func TestPassword(t *testing.T) {
	t.Parallel()
	word := zvmtest.Password.Reveal()
	file := func(t *testing.T, text string, mode os.FileMode) string {
		p := filepath.Join(t.TempDir(), "pw")
		if err := os.WriteFile(p, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return p
	}
	good := file(t, word+"\nnot this\n", 0o600)
	dos := file(t, word+"\r\n", 0o600)
	open := file(t, word, 0o644)
	empty := file(t, "\n", 0o600)
	tests := []struct {
		name   string
		args   []string
		env    string
		code   int
		stderr string
	}{
		{"file", []string{"--password-file", good}, "", 0, ``},
		{"file wins over the environment", []string{"--password-file", good}, "wrong", 0, ``},
		{"file with a DOS line", []string{"--password-file=" + dos}, "", 0, ``},
		{"file that others can read", []string{"--password-file", open}, "", 0, `smapictl: warning: others can read .*; run 'chmod 600 .*\n`},
		{"empty file", []string{"--password-file", empty}, "", 2, `smapictl: --password-file: the first line of .* is empty\n`},
		{"no file", []string{"--password-file", "/nonexistent"}, "", 2, `smapictl: --password-file: open /nonexistent: .*\n`},
		{"script", []string{"-S", "good"}, "", 0, ``},
		{"script that fails", []string{"-S", "bad"}, "", 2, `smapictl: --password-script: it ended with exit status 3\n`},
		{"script that hangs", []string{"-S", "slow"}, "", 2, `smapictl: --password-script: no answer within 10s\n`},
		{"script without output", []string{"-S", "silent"}, "", 2, `smapictl: --password-script: it printed no password\n`},
		{"script that cannot start", []string{"-S", "missing"}, "", 2, `smapictl: --password-script: .*\n`},
		{"argument", []string{"-p" + word}, "", 0, `smapictl: warning: every user of this machine can read a password on the command line; .*\n`},
		{"two sources", []string{"-p" + word, "-S", "good"}, "", 2, `smapictl: give one of .*\n`},
		{"environment", nil, word, 0, ``},
		{"none", nil, "", 1, `smapictl: Check_Authentication: return code \d+, .*\n`},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, "", nil).login()
			b.env.Vars["SMAPI_PASSWORD"] = tc.env
			b.env.Runner.Programs = map[string]platformtest.Program{"sh": {Do: shell(word)}}
			code, _, stderr := b.run(append(tc.args, "check")...)
			if code != tc.code || !regexp.MustCompile(`^(?:`+tc.stderr+`)$`).MatchString(stderr) {
				t.Errorf("exit status %d, standard error:\n%s\nwant %d:\n%s", code, stderr, tc.code, tc.stderr)
			}
			if strings.Contains(stderr, word) {
				t.Errorf("the password is in %q", stderr)
			}
		})
	}
}

// shell stands for sh -c.
func shell(word string) func(context.Context, platform.Cmd) (platform.Result, error) {
	return func(_ context.Context, cmd platform.Cmd) (platform.Result, error) {
		switch cmd.Args[2] {
		case "good":
			io.WriteString(cmd.Stdout, word+"\n"+strings.Repeat("x", 1<<20))
		case "bad":
			return platform.Result{ExitCode: 3}, nil
		case "slow":
			return platform.Result{ExitCode: -1, TimedOut: true}, nil
		case "missing":
			return platform.Result{ExitCode: -1}, os.ErrNotExist
		}
		return platform.Result{}, nil
	}
}

func TestTrace(t *testing.T) {
	t.Parallel()
	b := newBench(t, "", nil).login()
	log := filepath.Join(t.TempDir(), "RECYCLE.LOG")
	if err := os.WriteFile(log, []byte("the log of the last run"), 0o600); err != nil {
		t.Fatal(err)
	}
	want := `20131231 14:38:18.000000 > 0
+0000  000000310000000D496D6167655F52656379636C6500000008434D414E414745     *...1....Image_Recycle....CMANAGE*
+0032  52000000062A2A2A2A2A2A00000006434E4F444531                           *R....******....CNODE1*
20131231 14:38:18.000000 < 0
+0000  XXXXXXXX                                                             *....*
20131231 14:38:18.000000 < 0
+0000  00000018XXXXXXXX0000000000000000000000010000000000000000             *............................*
20131231 14:38:18.000000 L 0
CNODE1    Image_Recycle: return code 0, reason code 0 (OK): done or accepted
`
	if code, _, stderr := b.run("--trace", log, "recycle", "cnode1"); code != 0 {
		t.Fatalf("exit status %d: %s", code, stderr)
	}
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	// The request id differs from run to run.
	got := string(text)
	if m := regexp.MustCompile(`< 0\n\+0000  ([0-9A-F]{8}) `).FindStringSubmatch(got); m != nil {
		got = strings.ReplaceAll(got, m[1], "XXXXXXXX")
	}
	got = regexp.MustCompile(`(XXXXXXXX +)\*.{4}\*`).ReplaceAllString(got, "$1*....*")
	got = regexp.MustCompile(`(\+0000  00000018XXXXXXXX.*)\*.{28}\*`).ReplaceAllString(got, "$1*"+strings.Repeat(".", 28)+"*")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	code, stdout, _ := b.run("--trace", "-", "recycle", "NOBODY")
	if code != 1 || !strings.Contains(stdout, " L 200\nNOBODY    Image_Recycle: return code 200,") || strings.Contains(stdout, zvmtest.Password.Reveal()) {
		t.Errorf("exit status %d, trace on standard output:\n%s", code, stdout)
	}
	if code, _, stderr := b.run("--trace", t.TempDir(), "check"); code != 2 || !strings.Contains(stderr, "--trace: ") {
		t.Errorf("trace to a folder: exit status %d, %s", code, stderr)
	}
}

func TestEvents(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		args []string
		want string
	}{
		{nil, `2013-12-31T14:38:18.000Z  CNODE1    logoff\n2013-12-31T14:38:18.000Z  CNODE1    logon\n2013-12-31T14:38:18.000Z  CNODE1    runnable\n`},
		{[]string{"--json"}, `\{"time":"2013-12-31T14:38:18.000Z","guest":"CNODE1","event":"logoff","type":0\}\n(.*\n){2}`},
	} {
		t.Run(strings.Join(tc.args, " "), func(t *testing.T) {
			t.Parallel()
			b := newBench(t, "", func(c *zvmsim.Config) { c.Systems[0].Delays = zvmsim.Delays{} }).login()
			var wg sync.WaitGroup
			wg.Go(func() {
				<-b.subscribed
				if code, _, stderr := b.run("recycle", "CNODE1"); code != 0 {
					t.Errorf("recycle: exit status %d, %s", code, stderr)
				}
			})
			code, stdout, stderr := b.run(append(tc.args, "events", "-n3")...)
			wg.Wait()
			if code != 0 || !regexp.MustCompile(`^(?:`+tc.want+`)$`).MatchString(stdout) {
				t.Errorf("exit status %d, output:\n%s%s", code, stdout, stderr)
			}
		})
	}
	t.Run("an interrupt ends it well", func(t *testing.T) {
		t.Parallel()
		b := newBench(t, "", nil).login()
		ctx, cancel := context.WithCancel(t.Context())
		go func() { <-b.subscribed; cancel() }()
		if code, _, stderr := b.runContext(ctx, "events"); code != 0 || stderr != "" {
			t.Errorf("exit status %d, %s", code, stderr)
		}
	})
	t.Run("an event of a program", func(t *testing.T) {
		t.Parallel()
		got := eventsOf(platformtest.Epoch, smapi.Event{Type: 77, Data: []byte{1, 0xff}})
		if len(got) != 1 || got[0].text() != "2013-12-31T14:38:18.000Z  type 77  01ff" {
			t.Errorf("got %+v", got)
		}
	})
}

func TestOutput_FullDisk(t *testing.T) {
	t.Parallel()
	b := newBench(t, "", nil).login()
	env := b.env.Env
	out := &platformtest.Buffer{Err: errors.New("no space left on device")}
	env.Stdout = out
	err := Applet.Run(t.Context(), env, []string{name, "status"})
	var exit *applet.ExitError
	if !errors.As(err, &exit) || exit.Code == 0 || !strings.Contains(err.Error(), "no space left") {
		t.Errorf("error %v", err)
	}
}

func TestTimeout(t *testing.T) {
	t.Parallel()
	b := newBench(t, "", func(c *zvmsim.Config) {
		f, err := zvmsim.ParseFault("do=silence")
		if err != nil {
			t.Fatal(err)
		}
		c.Faults = append(c.Faults, f)
	}).login()
	code, _, stderr := b.run("check", "--timeout", "1s")
	want := "smapictl: " + b.endpoint + ": Check_Authentication: no complete answer: time limit passed: 1s; --timeout sets the limit\n"
	if code != exitTransport || stderr != want {
		t.Errorf("exit status %d, %q; want %q", code, stderr, want)
	}
}

func TestPrintable(t *testing.T) {
	t.Parallel()
	if got, want := printable("A\x1b[2J\u009b\x00\xffB\n\u00e9"), "A.[2J...B\n\u00e9"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestSelf(t *testing.T) {
	t.Parallel()
	env := platformtest.NewEnv(t)
	tool := tool{env: env.Env}
	if got := tool.self(transport.Endpoint{}); got != "" {
		t.Errorf("without /proc/sysinfo: %q", got)
	}
	env.FS.MkdirAll("/proc", 0o755)
	env.FS.WriteFile("/proc/sysinfo", []byte("VM00 Name: CNODE1\nVM00 Control Program: z/VM 7.3.0\n"), 0o644)
	if got := tool.self(transport.Endpoint{}); got != "CNODE1" {
		t.Errorf("on z/VM: %q", got)
	}
	if got := tool.self(transport.Endpoint{Name: "OTHER"}); got != "OTHER" {
		t.Errorf("with a name of its own: %q", got)
	}
}
