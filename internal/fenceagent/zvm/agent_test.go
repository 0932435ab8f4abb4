package zvm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/haobox/haobox/internal/smapi"
	"github.com/haobox/haobox/internal/smapi/zvmsim"
	"github.com/haobox/haobox/internal/smapi/zvmsim/zvmtest"
	"github.com/haobox/haobox/platform"
	"github.com/haobox/haobox/platform/platformtest"
)

// manualStdin is what fenced sends for the cluster.conf of the manual's
// figure 1, with our password.
const manualStdin = "port=CNODE1\nnodename=CNODE1\nagent=fence_zvmip\nipaddr=ZVM1\nlogin=CMANAGER\npasswd=SECRET\n"

// bench is an agent before a simulated z/VM, in a synctest bubble.
type bench struct {
	sim   *zvmtest.Sim
	env   *platformtest.Env
	agent Agent
}

// newBench must be called inside the bubble. The address that the agent is
// given names the member, "down" is nobody.
func newBench(t testing.TB, cfg zvmsim.Config) *bench {
	b := &bench{sim: zvmtest.Start(t, cfg), env: platformtest.NewEnv(t)}
	b.env.Env.Clock = platform.SystemClock{}
	b.agent = Agent{Name: IP, Version: "v0", Dial: func(e Endpoint) (smapi.Dialer, error) {
		scheme, rest, _ := strings.Cut(e.Text, ":")
		host, _, _ := strings.Cut(rest, ":")
		switch {
		case scheme == "iucv":
			return b.sim.Dialer("", "CNODE2"), nil
		case host == "down":
			return smapi.DialFunc(func(context.Context) (smapi.Conn, error) { return nil, errors.New("no route to host") }), nil
		case host == "bad":
			return nil, errors.New("not an endpoint")
		}
		return b.sim.Dialer(host, ""), nil
	}}
	return b
}

func (b *bench) stdin(text string) int {
	return b.agent.Run(context.Background(), b.env.WithStdin(text), []string{b.agent.Name})
}

func (b *bench) args(args ...string) int {
	env := b.env.Env
	env.Stdin = neverRead{}
	return b.agent.Run(context.Background(), env, append([]string{b.agent.Name}, args...))
}

// neverRead is the standard input of an agent that has arguments.
type neverRead struct{}

func (neverRead) Read([]byte) (int, error) {
	panic("standard input is read although there are arguments")
}

func zeroDelays(cfg zvmsim.Config) zvmsim.Config {
	cfg.Systems[0].Delays = zvmsim.Delays{}
	return cfg
}

func TestAgent_Actions(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		stdin  string
		before string // done first: "off" logs CNODE1 off
		status int
		stdout string
		stderr string // part of it, "" for none at all
		state  zvmsim.State
	}{
		{name: "no action is reboot", stdin: "", status: 0, stdout: "Success: Rebooted\n", state: zvmsim.On},
		{name: "off", stdin: "action=off", status: 0, stdout: "Success: Powered OFF\n", state: zvmsim.Off},
		{name: "off with blanks", stdin: " action = off ", status: 0, stdout: "Success: Powered OFF\n", state: zvmsim.Off},
		{name: "OFF in capitals", stdin: "ACTION=OFF", status: 0, stdout: "Success: Powered OFF\n", state: zvmsim.Off},
		{name: "off again", stdin: "action=off", before: "off", status: 0, stdout: "Success: Already OFF\n", state: zvmsim.Off},
		{name: "on", stdin: "action=on", before: "off", status: 0, stdout: "Success: Powered ON\n", state: zvmsim.On},
		{name: "on again", stdin: "action=on", status: 0, stdout: "Success: Already ON\n", state: zvmsim.On},
		{name: "reboot of a guest that is off", stdin: "action=reboot", before: "off", status: 0, stdout: "Success: Rebooted\n", state: zvmsim.On},
		{name: "reboot by cycle", stdin: "method=cycle", status: 0, stdout: "Success: Rebooted\n", state: zvmsim.On},
		{name: "status on", stdin: "action=status", status: 0, stdout: "Status: ON\n", state: zvmsim.On},
		{name: "status off", stdin: "action=status", before: "off", status: 2, stdout: "Status: OFF\n", state: zvmsim.Off},
		{name: "monitor", stdin: "action=monitor", status: 0, state: zvmsim.On},
		{name: "list", stdin: "action=list", status: 0, stdout: "CNODE1,\nCNODE2,\n", state: zvmsim.On},
		{name: "list-status", stdin: "action=list-status", before: "off", status: 0, stdout: "CNODE1,,off\nCNODE2,,on\n", state: zvmsim.Off},
		{name: "list with another separator", stdin: "action=list\nseparator=|", status: 0, stdout: "CNODE1|\nCNODE2|\n", state: zvmsim.On},
		{name: "a guest in lower case", stdin: "action=status\nplug=cnode1", status: 0, stdout: "Status: ON\n", state: zvmsim.On},
		{name: "two guests", stdin: "action=off\nplug=CNODE1,CNODE2", status: 0, stdout: "Success: Powered OFF\n", state: zvmsim.Off},
		{name: "a reboot of two guests", stdin: "plug=CNODE1,CNODE2", status: 0, stdout: "Success: Rebooted\n", state: zvmsim.On},
		{name: "validate-all with Pacemaker's dummies", stdin: "action=validate-all\nnodename=node1\nplug=node1\nip=down", status: 0, state: zvmsim.On},
		{name: "nodename_as_plug", stdin: "action=status\nplug=\nnodename=cnode1.example.com\nnodename_as_plug=1", status: 0, stdout: "Status: ON\n", state: zvmsim.On},
		{name: "a wrong password", stdin: "action=off\npasswd=WRONG", status: 1, stderr: "Unable to connect/login to fencing device", state: zvmsim.On},
		{name: "a wrong password and monitor", stdin: "action=monitor\npasswd=WRONG", status: 1, stderr: "SMAPI Check_Authentication returned 120/0", state: zvmsim.On},
		{name: "a wrong password and list", stdin: "action=list\npasswd=WRONG", status: 1, stderr: "Unable to connect/login", state: zvmsim.On},
		{name: "a user without authority", stdin: "action=off\nlogin=NOBODY\npasswd=X", status: 1, stderr: "Failed: The user does not have the correct privileges to do the requested action.", state: zvmsim.On},
		{name: "an unknown guest", stdin: "action=off\nplug=CNODE9", status: 1, stderr: "no guest CNODE9 in the directory: refusing to report it as fenced", state: zvmsim.On},
		{name: "an unknown guest and reboot", stdin: "plug=CNODE9", status: 1, stderr: "no guest CNODE9 in the directory", state: zvmsim.On},
		{name: "an unknown guest and status", stdin: "action=status\nplug=CNODE9", status: 1, stderr: "no guest CNODE9 in the directory", state: zvmsim.On},
		{name: "an unknown guest and missing_as_off=1", stdin: "action=off\nplug=CNODE9\nmissing_as_off=1", status: 0, stdout: "Success: Already OFF\n", state: zvmsim.On},
		{name: "nobody at the address", stdin: "action=off\nip=down", status: 1, stderr: "no route to host", state: zvmsim.On},
		{name: "an address that is none", stdin: "action=off\nip=bad", status: 1, stderr: "address 'bad': not an endpoint", state: zvmsim.On},
		{name: "both families", stdin: "action=off\ninet4_only=1\ninet6_only=1", status: 1, stderr: "exclude each other", state: zvmsim.On},
		{name: "an unknown key goes to the debug log", stdin: "action=off\nfrob=1", status: 0, stdout: "Success: Powered OFF\n", state: zvmsim.Off},
		{name: "force_time WITHIN warns", stdin: "action=off\nforce_time=WITHIN 5", status: 0, stdout: "Success: Powered OFF\n", stderr: "not IMMED", state: zvmsim.Off},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				cfg := zvmtest.Config("CNODE1", "CNODE2")
				cfg.Systems[0].Users = append(cfg.Systems[0].Users, zvmsim.User{Name: "NOBODY", Password: "X"})
				b := newBench(t, cfg)
				if tc.before == "off" {
					if s := b.stdin(manualStdin + "action=off\n"); s != 0 {
						t.Fatalf("preparation: status %d, %s", s, b.env.Stderr)
					}
					b.env = platformtest.NewEnv(t)
					b.env.Env.Clock = platform.SystemClock{}
				}
				status := b.stdin(manualStdin + tc.stdin + "\n")
				if status != tc.status {
					t.Errorf("exit status %d, want %d", status, tc.status)
				}
				if diff := cmp.Diff(tc.stdout, b.env.Stdout.String()); diff != "" {
					t.Errorf("standard output (-want +got):\n%s", diff)
				}
				if got := b.env.Stderr.String(); !strings.Contains(got, tc.stderr) || tc.stderr == "" && got != "" {
					t.Errorf("standard error %q, want %q", got, tc.stderr)
				}
				if got := b.sim.State("CNODE1"); got != tc.state {
					t.Errorf("CNODE1 is %v, want %v", got, tc.state)
				}
				b.noSecrets(t)
			})
		})
	}
}

// noSecrets looks for the password in everything the agent wrote.
func (b *bench) noSecrets(t testing.TB) {
	t.Helper()
	all := b.env.Stdout.String() + b.env.Stderr.String() + b.env.Log.String()
	if debug, err := os.ReadFile(filepath.Join(b.env.Root, "debug")); err == nil {
		all += string(debug)
	}
	for _, secret := range []string{"SECRET", fmt.Sprintf("%x", "SECRET"), "WRONG", fmt.Sprintf("%x", "WRONG")} {
		if strings.Contains(all, secret) {
			t.Errorf("the password %s stands in the output:\n%s", secret, all)
		}
	}
}

func TestAgent_IUCVNeedsNoCredentials(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		cfg := zvmtest.Config("CNODE1", "CNODE2")
		cfg.Authorize("CNODE2", "")
		b := newBench(t, cfg)
		b.agent.Name = IUCV
		if s := b.stdin("port=CNODE1\nnodename=CNODE1\nagent=fence_zvm\nipaddr=VSMREQIU\naction=off\n"); s != 0 {
			t.Errorf("off: status %d: %s", s, b.env.Stderr)
		}
		if got := b.sim.State("CNODE1"); got != zvmsim.Off {
			t.Errorf("CNODE1 is %v", got)
		}
		for _, action := range []string{"monitor", "list", "list-status", "on", "reboot"} {
			if s := b.args("-n", "CNODE1", "-o", action); s != 0 {
				t.Errorf("%s: status %d: %s", action, s, b.env.Stderr)
			}
		}
	})
}

func TestAgent_DebugFileAndVerboseHideThePassword(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, zvmtest.Config("CNODE1"))
		if s := b.stdin(manualStdin + "action=off\nverbose_level=3\ndebug_file=/debug\nsecretkey=SECRET\n"); s != 0 {
			t.Fatalf("status %d: %s", s, b.env.Stderr)
		}
		debug, err := os.ReadFile(filepath.Join(b.env.Root, "debug"))
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"Image_Deactivate CNODE1: 0/0", "> 0000003d00000010496d6167655f44656163746976617465", "unknown option 'secretkey'"} {
			if !strings.Contains(string(debug), want) {
				t.Errorf("the debug file lacks %q:\n%s", want, debug)
			}
		}
		if info, err := os.Stat(filepath.Join(b.env.Root, "debug")); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("debug file %v, %v", info.Mode(), err)
		}
		b.noSecrets(t)
	})
}

func TestAgent_PasswordSources(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, zvmtest.Config("CNODE1"))
		base := []string{"-a", "ZVM1", "-l", "cmanager", "-n", "CNODE1", "-o", "status"}
		if err := os.WriteFile(filepath.Join(b.env.Root, "pw"), []byte("SECRET\r\nrest\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		var asked platform.Cmd
		b.env.Runner.Programs = map[string]platformtest.Program{"sh": {
			Do: func(_ context.Context, cmd platform.Cmd) (platform.Result, error) {
				asked = cmd
				_, err := io.WriteString(cmd.Stdout, "SECRET\n\n")
				return platform.Result{}, err
			},
		}}
		for _, extra := range [][]string{
			{"-p", "SECRET"}, {"--password-file=/pw"}, {"-p", "WRONG", "--password-file=/pw"},
			{"-S", "get password"}, {"-p", "WRONG", "-S", "get password"},
		} {
			if s := b.args(append(slices.Clone(base), extra...)...); s != 0 {
				t.Errorf("%q: status %d: %s", extra, s, b.env.Stderr)
			}
		}
		if diff := cmp.Diff([]string{"sh", "-c", "get password"}, asked.Args); diff != "" || asked.Limit != passwordScriptLimit {
			t.Errorf("limit %v, arguments (-want +got):\n%s", asked.Limit, diff)
		}
		b.env.Runner.Programs["sh"] = platformtest.Program{Result: platform.Result{ExitCode: -1, Signal: 9, TimedOut: true}}
		if s := b.args(append(slices.Clone(base), "-S", "sleep 99")...); s != 1 || !strings.Contains(b.env.Stderr.String(), "gave no answer in 10s") {
			t.Errorf("a script that hangs: status %d: %s", s, b.env.Stderr)
		}
	})
}

func TestAgent_DefaultsFile(t *testing.T) {
	t.Parallel()
	b := Agent{Name: IP, Dial: func(e Endpoint) (smapi.Dialer, error) {
		return nil, errors.New("endpoint is " + e.Text)
	}}
	tests := []struct{ name, file, stdin, want string }{
		{"TLS is the default", "", "", "endpoint is tls:ZVM1:44444"},
		{"ssl=0 in the file", "ssl=0\n", "", "endpoint is tcp:ZVM1:44444"},
		{"the caller wins", "ssl=0\n", "ssl=1\n", "endpoint is tls:ZVM1:44444"},
		{"disable_ssl=0 is not disable_ssl", "", "disable_ssl=0\n", "endpoint is tls:ZVM1:44444"},
		{"disable_ssl=1", "", "disable_ssl=1\n", "endpoint is tcp:ZVM1:44444"},
		{"one family", "", "inet6_only=1\nipport=44445\n", "endpoint is tls6:ZVM1:44445"},
		{"an address with a port", "", "ip=host:1\n", "endpoint is tls:host:1"},
		{"an IPv6 address", "", "ip=fe80::1\n", "endpoint is tls:[fe80::1]:44444"},
		{"an IPv6 address with a port", "", "ip=[fe80::1]:1\n", "endpoint is tls:[fe80::1]:1"},
		{"vsock", "", "ip=vsock:2\n", "endpoint is vsock:2:44444"},
		{"vsock with a port", "", "ip=vsock:2:1\n", "endpoint is vsock:2:1"},
		{"a socket", "", "ip=unix:/run/x.sock\n", "endpoint is unix:/run/x.sock"},
		{"no action from the file", "action=off\nplug=CNODE9\nmissing_as_off=1\n", "", "endpoint is tls:ZVM1:44444"},
		{"a slip in the file", "delay=x\n", "", "/etc/haobox/smapi.conf: Failed: The value of delay"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			env := platformtest.NewEnv(t)
			if tc.file != "" {
				if err := os.MkdirAll(filepath.Join(env.Root, "etc/haobox"), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(env.Root, DefaultsFile), []byte(tc.file), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if s := b.Run(context.Background(), env.WithStdin(manualStdin+tc.stdin), []string{IP}); s != 1 {
				t.Errorf("status %d", s)
			}
			if got := env.Stderr.String(); !strings.Contains(got, tc.want) {
				t.Errorf("%q, want %q", got, tc.want)
			}
		})
	}
}

func TestAgent_DelayAndSignals(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, zeroDelays(zvmtest.Config("CNODE1")))
		start := time.Now()
		if s := b.stdin(manualStdin + "action=off\ndelay=2.5\n"); s != 0 || time.Since(start) < 2500*time.Millisecond || time.Since(start) > 2600*time.Millisecond {
			t.Errorf("off after a delay: status %d after %v", s, time.Since(start))
		}
		start = time.Now()
		if s := b.stdin(manualStdin + "action=status\ndelay=10\n"); s != 2 || time.Since(start) != 0 {
			t.Errorf("status has no delay: %d after %v", s, time.Since(start))
		}
		ctx, cancel := context.WithCancel(context.Background())
		time.AfterFunc(time.Second, cancel)
		if s := b.agent.Run(ctx, b.env.WithStdin(manualStdin+"action=on\ndelay=99\npower_timeout=99\nip=ZVM1\n"), []string{IP}); s != 0 {
			t.Errorf("on has no delay: %d", s)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		cfg := zvmtest.Config("CNODE1")
		cfg.Systems[0].Delays.Logoff = time.Hour
		b := newBench(t, cfg)
		for _, text := range []string{"action=off\ndelay=99\n", "action=off\npower_timeout=99\n"} {
			ctx, cancel := context.WithCancel(context.Background())
			time.AfterFunc(time.Second, cancel)
			start := time.Now()
			if s := b.agent.Run(ctx, b.env.WithStdin(manualStdin+text), []string{IP}); s != 1 || time.Since(start) != time.Second {
				t.Errorf("%q: status %d after %v", text, s, time.Since(start))
			}
		}
	})
}

// TestAgent_BrokenOutput: nobody reads what the agent says (fenced), or the
// pipe is gone: the result stands all the same.
func TestAgent_BrokenOutput(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, zvmtest.Config("CNODE1"))
		b.env.Stdout.Err, b.env.Stderr.Err = io.ErrClosedPipe, io.ErrClosedPipe
		for _, action := range []string{"off", "on", "reboot"} {
			if s := b.stdin(manualStdin + "verbose=1\naction=" + action + "\n"); s != 0 {
				t.Errorf("%s: status %d", action, s)
			}
		}
		if s := b.stdin(manualStdin + "action=metadata\n"); s != 1 {
			t.Errorf("metadata that cannot be written: status %d", s)
		}
	})
}

func TestAgent_Limits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		cfg := zvmtest.Config("CNODE1")
		f, err := zvmsim.ParseFault("do=silence")
		if err != nil {
			t.Fatal(err)
		}
		cfg.Faults = append(cfg.Faults, f)
		b := newBench(t, cfg)
		for _, tc := range []struct {
			name, stdin, service string
			least, most          time.Duration
		}{
			{"a silent server", "action=off\n", "", 10 * time.Second, 21 * time.Second},
			{"short limits", "action=off\nlogin_timeout=1\nshell_timeout=1\n", "", 2 * time.Second, 5 * time.Second},
			{"no limits under pacemaker-fenced are a minute", "action=off\n", "pacemaker-fenced", 60 * time.Second, 10 * time.Minute},
			{"the caller may want them there", "action=off\ndisable_timeout=0\n", "pacemaker-fenced", 10 * time.Second, 21 * time.Second},
			{"0 is no limit, which is one", "action=monitor\nshell_timeout=0\n", "", 60 * time.Second, 3 * time.Minute},
		} {
			b.env.Vars["PCMK_service"] = tc.service
			start := time.Now()
			if s := b.stdin(manualStdin + tc.stdin); s != 1 {
				t.Errorf("%s: status %d", tc.name, s)
			}
			if took := time.Since(start); took < tc.least || took > tc.most {
				t.Errorf("%s: %v, want %v to %v", tc.name, took, tc.least, tc.most)
			}
		}
	})
}

// TestAgent_NeverLies drives the whole agent, codec and client included,
// against the simulated z/VM under random schedules of all its faults. Exit
// status 0 for off or reboot means that the guest was off.
func TestAgent_NeverLies(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		members := rapid.IntRange(1, 2).Draw(rt, "members")
		faults := rapid.SliceOfN(rapid.Custom(drawSimFault), 0, 6).Draw(rt, "faults")
		action := rapid.SampledFrom([]string{"off", "reboot"}).Draw(rt, "action")
		method := rapid.SampledFrom([]string{"onoff", "cycle"}).Draw(rt, "method")
		home := rapid.IntRange(0, members-1).Draw(rt, "home")
		logoff := time.Duration(rapid.IntRange(0, 30_000).Draw(rt, "logoff")) * time.Millisecond
		seed := rapid.Uint64().Draw(rt, "seed")
		synctest.Test(t, func(t *testing.T) {
			cfg := zvmtest.Config("CNODE1", "CNODE2")
			cfg.Seed = seed
			s := &cfg.Systems[0]
			s.Delays.Logoff = logoff
			var addrs []string
			for i := range members {
				if i > 0 {
					m := s.Members[0]
					m.Name = fmt.Sprintf("ZVM%d", i+1)
					s.Members = append(s.Members, m)
				}
				addrs = append(addrs, s.Members[i].Name)
			}
			s.Guests[0].Member = s.Members[home].Name
			for _, text := range faults {
				f, err := zvmsim.ParseFault(text)
				if err != nil {
					t.Fatal(err)
				}
				cfg.Faults = append(cfg.Faults, f)
			}
			b := newBench(t, cfg)
			status := b.stdin(manualStdin + "ip=" + strings.Join(addrs, ",") + "\naction=" + action + "\nmethod=" + method + "\n")
			wentOff := false
			for _, a := range b.sim.Actions() {
				if c, ok := a.(zvmsim.Changed); ok && c.Guest == "CNODE1" && c.To == zvmsim.Off {
					wentOff = true
				}
			}
			state := b.sim.State("CNODE1")
			switch {
			case status != 0 && status != 1:
				rt.Errorf("exit status %d", status)
			case status == 0 && action == "off" && state != zvmsim.Off:
				rt.Errorf("off says success and CNODE1 is %v; faults %q", state, faults)
			case status == 0 && action == "reboot" && !wentOff:
				rt.Errorf("reboot says success and CNODE1 was never off; faults %q", faults)
			case status == 1 && b.env.Stderr.String() == "":
				rt.Errorf("a failure without a word; faults %q", faults)
			case len(faults) == 0 && status != 0 && logoff < 19*time.Second:
				rt.Errorf("without faults: status %d: %s", status, b.env.Stderr)
			}
			b.noSecrets(t)
		})
	})
}

// drawSimFault is the text of a fault. A server that forges "not active" for
// a status is left out: there is no telling.
func drawSimFault(t *rapid.T) string {
	do := rapid.SampledFrom([]string{
		"drop", "close-after-id", "lost-answer", "not-executed", "late,delay=2s", "truncate,at=7", "truncate,at=14",
		"silence", "silence-after-id", "silence-after-work", "reset", "refuse", "stall-id,delay=3s", "stall-response,delay=7s",
		"stall-bytes,delay=100ms", "one-byte", "one-write", "length,value=-1", "length,value=+4", "length,value=3",
		"length,value=2147483647", "array,value=+1000", "array,value=-1", "wrong-id", "garbage", "auth",
		"code,rc=900,rs=8", "code,rc=100,rs=16", "code,rc=396,rs=1", "code,rc=200,rs=16", "async",
	}).Draw(t, "do")
	text := "do=" + do
	if f := rapid.SampledFrom([]string{"", "Image_Deactivate", "Image_Status_Query", "Image_Activate", "Image_Recycle", "Image_Query_Activate_Time"}).Draw(t, "function"); f != "" && do != "refuse" {
		text += ",function=" + f
	}
	if do == "not-executed" && !strings.Contains(text, "function=") {
		text += ",function=Image_Deactivate"
	}
	if strings.Contains(text, "not-executed") {
		text = strings.ReplaceAll(text, "Image_Status_Query", "Image_Deactivate")
	}
	text += fmt.Sprintf(",skip=%d", rapid.IntRange(0, 3).Draw(t, "skip"))
	if n := rapid.IntRange(0, 4).Draw(t, "count"); n > 0 {
		text += fmt.Sprintf(",count=%d", n)
	}
	return text
}

// TestAgent_BadServers: every fault of the wire has its text, and none of them
// is a success while the guest is on.
func TestAgent_BadServers(t *testing.T) {
	t.Parallel()
	tests := []struct {
		fault  string
		status int
		stderr string
	}{
		{"do=drop", 1, "without accepting the request"},
		{"do=close-after-id", 1, "in the middle of its answer"},
		{"do=truncate,at=3", 1, "in the middle of its answer"},
		{"do=truncate,at=17", 1, "in the middle of its answer"},
		{"do=reset", 1, "ERROR: Connection lost"},
		{"do=refuse", 1, "ERROR: ZVM1: Image_Status_Query CNODE1: cannot connect: dial sim: connect: connection refused"},
		{"do=silence", 1, "ERROR: Connection timed out"},
		{"do=silence-after-id", 1, "time limit passed: 5s; login_timeout and shell_timeout set the limits"},
		{"do=length,value=3", 1, "output length 3 is below 12"},
		{"do=length,value=-1,function=Image_Status_Query", 1, "10 bytes announced, 9 left"},
		{"do=length,value=2147483647", 1, "output length 2147483647 is above the limit of 1048576"},
		{"do=length,value=-2147483648", 1, "is above the limit of 1048576"},
		{"do=array,value=+100,function=Image_Status_Query", 1, "110 bytes announced, 10 left"},
		{"do=garbage", 1, "the answer is not SMAPI's"},
		{"do=code,rc=900,rs=12", 1, "SMAPI Image_Status_Query returned 900/12 (FUNC_UNKNOWN: the server does not know the function)"},
		{"do=code,rc=128", 1, "Unable to connect/login to fencing device"},
		{"do=code,rc=24,rs=413", 1, "24/413 (SYNTAX: parameter 4 (target) is too long)"},
		{"do=code,rc=777,rs=1", 1, "777/1 (UNKNOWN"},
		{"do=stall-bytes,delay=1s", 1, "ERROR: Connection timed out"},
		{"do=one-byte", 0, ""},
		{"do=one-write", 0, ""},
		{"do=wrong-id", 0, ""},
		{"do=stall-id,delay=1s", 0, ""},
	}
	for _, tc := range tests {
		t.Run(tc.fault, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				cfg := zvmtest.Config("CNODE1")
				f, err := zvmsim.ParseFault(tc.fault)
				if err != nil {
					t.Fatal(err)
				}
				cfg.Faults = append(cfg.Faults, f)
				b := newBench(t, cfg)
				status := b.stdin(manualStdin + "action=off\n")
				if status != tc.status || !strings.Contains(b.env.Stderr.String(), tc.stderr) {
					t.Errorf("exit status %d, want %d; %q, want %q", status, tc.status, b.env.Stderr, tc.stderr)
				}
				if on := b.sim.State("CNODE1") != zvmsim.Off; on == (status == 0) {
					t.Errorf("exit status %d and CNODE1 is on: %v", status, on)
				}
			})
		})
	}
}
