package simd

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/haobox/haobox/internal/ctl"
	"github.com/haobox/haobox/internal/smapi"
	"github.com/haobox/haobox/internal/smapi/zvmsim"
	"github.com/haobox/haobox/platform"
	"github.com/haobox/haobox/platform/host"
	"github.com/haobox/haobox/platform/platformtest"
)

// memNet is a network in memory: listeners by their text.
type memNet struct {
	mu        sync.Mutex
	listeners map[string]*memListener
	// log has what was opened, with the fault of its TLS, and each change of
	// a queue.
	log []string
	// fail makes Listen fail that often.
	fail int
}

type memListener struct {
	net    *memNet
	text   string
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (n *memNet) Listen(_ context.Context, text string, _ Certificate, fault TLSFault) (net.Listener, string, []byte, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.fail > 0 {
		n.fail--
		return nil, "", nil, syscall.EADDRINUSE
	}
	if n.listeners[text] != nil {
		return nil, "", nil, syscall.EADDRINUSE
	}
	l := &memListener{net: n, text: text, conns: make(chan net.Conn), closed: make(chan struct{})}
	n.listeners[text] = l
	n.log = append(n.log, fmt.Sprintf("open %s %v", text, fault))
	var certificate []byte
	if isTLS(text) {
		certificate = []byte(fmt.Sprintf("certificate of %s, %v\n", text, fault))
	}
	return l, text, certificate, nil
}

func (n *memNet) PeerName(net.Conn) (string, bool) { return "", false }
func (n *memNet) Reset(conn net.Conn)              { conn.Close() }
func (n *memNet) Backlog(l net.Listener, size int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.log = append(n.log, fmt.Sprintf("backlog %s %d", l.(*memListener).text, size))
}

func (n *memNet) lines() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return strings.Join(n.log, "\n")
}

func (l *memListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *memListener) Close() error {
	l.once.Do(func() {
		l.net.mu.Lock()
		delete(l.net.listeners, l.text)
		l.net.mu.Unlock()
		close(l.closed)
	})
	return nil
}

func (l *memListener) Addr() net.Addr { return &net.UnixAddr{Name: l.text, Net: "mem"} }

// dial connects to a listener.
func (n *memNet) dial(ctx context.Context, text string) (net.Conn, error) {
	n.mu.Lock()
	l := n.listeners[text]
	n.mu.Unlock()
	if l == nil {
		return nil, syscall.ECONNREFUSED
	}
	client, server := net.Pipe()
	select {
	case l.conns <- server:
		return client, nil
	case <-l.closed:
		return nil, syscall.ECONNREFUSED
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// memDialer is a smapi.Dialer.
type memDialer struct {
	net  *memNet
	text string
}

func (d memDialer) Dial(ctx context.Context) (smapi.Conn, error) { return d.net.dial(ctx, d.text) }

// rig is a daemon that runs in a synctest bubble.
type rig struct {
	t        *testing.T
	net      *memNet
	out, err *platformtest.Buffer
	dir      string
	cancel   context.CancelFunc
	done     chan error
}

// start starts a daemon with CNODE1 and CNODE2 that ends with the test.
func start(t *testing.T, runner platform.Runner, change func(*Setup)) *rig {
	t.Helper()
	r := &rig{
		t: t, net: &memNet{listeners: map[string]*memListener{}}, out: &platformtest.Buffer{}, err: &platformtest.Buffer{},
		dir: t.TempDir(), done: make(chan error, 1),
	}
	r.run(runner, change)
	t.Cleanup(r.stop)
	return r
}

func (r *rig) run(runner platform.Runner, change func(*Setup)) {
	r.t.Helper()
	sim := zvmsim.Default("CNODE1", "CNODE2")
	sim.Authorize("CMANAGER", "SECRET")
	setup := Setup{Sim: sim, Endpoints: []Endpoint{{Text: "tcp:one"}}, Control: "/ctl"}
	if change != nil {
		change(&setup)
	}
	control, _, _, err := r.net.Listen(r.t.Context(), "control", Certificate{}, TLSGood)
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	ready := make(chan struct{})
	go func() {
		r.done <- Run(ctx, Config{
			Setup: setup, Network: r.net, Runner: runner, FS: host.NewFS(r.dir), Clock: platform.SystemClock{}, Environ: []string{"PATH=/bin"},
			Control: control, Out: r.out, Log: r.out, Err: r.err, Version: "test", Ready: func() { close(ready) },
		})
	}()
	select {
	case <-ready:
	case err := <-r.done:
		r.done <- err
		r.t.Fatalf("the simulator ended: %v", err)
	}
}

// stop ends the daemon and checks how it ended.
func (r *rig) stop() {
	r.cancel()
	if err := <-r.done; err != nil {
		r.t.Errorf("the simulator ended with %v", err)
	}
	r.done <- nil
}

func (r *rig) client(text string) *smapi.Client {
	return &smapi.Client{Dialer: memDialer{r.net, text}, User: "CMANAGER", Password: "SECRET", ExchangeLimit: 5 * time.Second}
}

// ctl makes a control request and returns the answer as compact JSON, or the
// error.
func (r *rig) ctl(method, path, body string) string {
	r.t.Helper()
	c := ctl.Client{Dial: func(ctx context.Context) (net.Conn, error) { return r.net.dial(ctx, "control") }, Limit: 2 * time.Minute}
	var in, out any
	if body != "" {
		in = json.RawMessage(body)
	}
	if err := c.Do(r.t.Context(), method, path, in, &out); err != nil {
		return "error: " + err.Error()
	}
	text, err := json.Marshal(out)
	if err != nil {
		r.t.Fatal(err)
	}
	return string(text)
}

func (r *rig) want(what, got, want string) {
	r.t.Helper()
	if got != want {
		r.t.Errorf("%s:\n got %s\nwant %s", what, got, want)
	}
}

func (r *rig) state(guest string) string {
	r.t.Helper()
	var g GuestReply
	if err := json.Unmarshal([]byte(r.ctl("GET", "/v1/guests/"+guest, "")), &g); err != nil {
		r.t.Fatal(err)
	}
	return g.State
}

func TestDaemon_Files(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := start(t, &platformtest.Runner{}, func(s *Setup) {
			s.Endpoints = append(s.Endpoints, Endpoint{Text: "tls:two"}, Endpoint{Text: "tls:three", TLS: TLSUnknownCA})
			s.StateFile, s.AuditFile, s.ReadyFile, s.CAFile = "/state", "/audit", "/ready", "/ca"
		})
		file := func(name string) string {
			text, err := os.ReadFile(filepath.Join(r.dir, name))
			if err != nil {
				return "error"
			}
			return string(text)
		}
		ready := "listen ZVM1 tcp:one\nlisten ZVM1 tls:two\nlisten ZVM1 tls:three\ncontrol unix:/ctl\n"
		r.want("ready file", file("ready"), ready)
		r.want("output", r.out.String(), ready+"ready\n")
		r.want("certificates", file("ca"), "certificate of tls:two, none\n")
		if _, err := r.client("tcp:one").ImageDeactivate(t.Context(), "CNODE1", smapi.Immediate); err != nil {
			t.Error(err)
		}
		audit := file("audit")
		for _, want := range []string{`"function":"Image_Deactivate"`, `"user":"CMANAGER"`, `"rc":0`, `"answered":true`, `"executed":true`} {
			if !strings.Contains(audit, want) {
				t.Errorf("%s is not in %s", want, audit)
			}
		}
		if strings.Contains(audit, "SECRET") {
			t.Errorf("the audit has a password: %s", audit)
		}
		synctest.Wait()
		if s := file("state"); !strings.Contains(s, `"state": "STOPPING"`) {
			t.Errorf("state after the force:\n%s", s)
		}

		// A restart in the middle of the logoff goes on with it.
		time.Sleep(time.Second)
		r.stop()
		<-r.done
		r.want("ready file afterwards", file("ready"), "error")
		r.run(&platformtest.Runner{}, func(s *Setup) { s.StateFile = "/state" })
		r.want("state after the restart", r.state("CNODE1"), "STOPPING")
		time.Sleep(1500 * time.Millisecond)
		r.want("state later", r.state("CNODE1"), "OFF")
		if !strings.Contains(r.out.String(), "OPERATOR *3 GRAF L0003 LOGOFF AS CNODE1 USERS = 59 FORCED BY VSMWORK1\n") {
			t.Errorf("output:\n%s", r.out.String())
		}
	})
}

func TestDaemon_BadFiles(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, state, want string }{
		{"not JSON", "{", "read the kept state /state: unexpected end of JSON input; remove the file to start anew"},
		{"another version", `{"version": 2}`, "read the kept state /state: version 2 is not 1; remove the file to start anew"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "state"), []byte(tc.state), 0o600); err != nil {
				t.Fatal(err)
			}
			err := Run(t.Context(), Config{
				Setup: Setup{Sim: zvmsim.Default("CNODE1"), StateFile: "/state"}, Network: &memNet{listeners: map[string]*memListener{}},
				FS: host.NewFS(dir), Clock: platform.SystemClock{}, Out: &bytes.Buffer{}, Log: &bytes.Buffer{}, Err: &bytes.Buffer{},
			})
			if err == nil || err.Error() != tc.want {
				t.Errorf("got %v\nwant %s", err, tc.want)
			}
		})
	}
}

func TestDaemon_CannotListen(t *testing.T) {
	t.Parallel()
	n := &memNet{listeners: map[string]*memListener{}}
	err := Run(t.Context(), Config{
		Setup: Setup{Sim: zvmsim.Default("CNODE1"), Endpoints: []Endpoint{{Text: "tcp:one"}, {Text: "tcp:one"}}}, Network: n,
		FS: host.NewFS(t.TempDir()), Clock: platform.SystemClock{}, Out: &bytes.Buffer{}, Log: &bytes.Buffer{}, Err: &bytes.Buffer{},
	})
	if !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("got %v", err)
	}
	if len(n.listeners) != 0 {
		t.Errorf("still open: %v", n.listeners)
	}
}

// runs records the hooks that a fake Runner ran.
type runs struct {
	mu  sync.Mutex
	log []string
}

func (r *runs) add(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.log = append(r.log, fmt.Sprintf(format, args...))
}

func (r *runs) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.log, "\n")
}

func TestDaemon_HooksOfAGuestRunInOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log runs
		hook := platformtest.Program{Do: func(ctx context.Context, cmd platform.Cmd) (platform.Result, error) {
			log.add("start %s %s", strings.Join(cmd.Args, " "), strings.Join(cmd.Env, " "))
			time.Sleep(3 * time.Second)
			log.add("end %s %s", cmd.Args[1], cmd.Args[2])
			return platform.Result{}, nil
		}}
		r := start(t, &platformtest.Runner{Programs: map[string]platformtest.Program{"power": hook}}, func(s *Setup) {
			s.OnLogoff, s.OnLogon = Command{Args: []string{"power"}}, Command{Args: []string{"power"}}
			s.Guests = []GuestHooks{{Guest: "cnode2", OnLogoff: Command{Args: []string{"nosuch"}}}}
		})
		c := r.client("tcp:one")
		if _, err := c.ImageRecycle(t.Context(), "CNODE1"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(4400 * time.Millisecond)
		// 1.5 s for the logoff, 3 s for its hook: not over yet.
		if power, err := c.ImageStatus(t.Context(), "CNODE1"); power != smapi.PowerOn || err != nil {
			t.Errorf("while the hook runs: %v, %v", power, err)
		}
		time.Sleep(time.Second)
		// On again, and forced off while the hook of the logon runs.
		if _, err := c.ImageDeactivate(t.Context(), "CNODE1", smapi.Immediate); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		env := func(event string) string {
			return "PATH=/bin SMAPID_GUEST=CNODE1 SMAPID_EVENT=" + event + " SMAPID_MEMBER=ZVM1 SMAPID_SYSTEM=ZVM1"
		}
		want := strings.Join([]string{
			"start power CNODE1 logoff ZVM1 " + env("logoff"), "end CNODE1 logoff",
			"start power CNODE1 logon ZVM1 " + env("logon"), "end CNODE1 logon",
			"start power CNODE1 logoff ZVM1 " + env("logoff"), "end CNODE1 logoff",
		}, "\n")
		if diff := cmp.Diff(want, log.String()); diff != "" {
			t.Errorf("hooks (-want +got):\n%s", diff)
		}
		r.want("state", r.state("CNODE1"), "OFF")

		// A hook that cannot be started leaves the guest as it is.
		if _, err := c.ImageDeactivate(t.Context(), "CNODE2", smapi.Immediate); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		r.want("state of CNODE2", r.state("CNODE2"), "STOPPING")
		if !strings.Contains(r.err.String(), "smapid: logoff hook of guest CNODE2 (nosuch): start nosuch: file does not exist\n") {
			t.Errorf("warnings:\n%s", r.err.String())
		}
	})
}

func TestDaemon_HookFailures(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		prog platformtest.Program
		want string
	}{
		{"exit status", platformtest.Program{Stderr: "no such\nmachine\n", Result: platform.Result{ExitCode: 3}}, "exit status 3: no such machine"},
		{"too slow", platformtest.Program{Result: platform.Result{TimedOut: true, ExitCode: -1}}, "not done after 30s"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := start(t, &platformtest.Runner{Programs: map[string]platformtest.Program{"power": tc.prog}}, func(s *Setup) {
					s.OnLogoff = Command{Args: []string{"power"}}
				})
				r.ctl("POST", "/v1/guests/CNODE1", `{"do":"logoff"}`)
				time.Sleep(time.Minute)
				r.want("state", r.state("CNODE1"), "STOPPING")
				if want := "smapid: logoff hook of guest CNODE1 (power): " + tc.want + "\n"; !strings.Contains(r.err.String(), want) {
					t.Errorf("%q is not in:\n%s", want, r.err.String())
				}
			})
		})
	}
}

func TestDaemon_HooksOfNobody(t *testing.T) {
	t.Parallel()
	err := Run(t.Context(), Config{Setup: Setup{Sim: zvmsim.Default("CNODE1"), Guests: []GuestHooks{{Guest: "CNODE9"}}}, Clock: platform.SystemClock{}})
	if err == nil || err.Error() != `hooks of guest "CNODE9": there are 0 guests of this name; name the system of one` {
		t.Errorf("got %v", err)
	}
}

func TestDaemon_MembersOpenAndClose(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := start(t, &platformtest.Runner{}, func(s *Setup) {
			m := s.Sim.Systems[0].Members[0]
			m.Name = "ZVM2"
			s.Sim.Systems[0].Members = append(s.Sim.Systems[0].Members, m)
			s.Endpoints = append(s.Endpoints, Endpoint{Text: "tcp:two", Member: "zvm2"})
		})
		one, two := r.client("tcp:one"), r.client("tcp:two")
		ask := func(c *smapi.Client) error { return c.CheckAuthentication(t.Context()) }
		check := func(what string, c *smapi.Client, want error) {
			t.Helper()
			if err := ask(c); !errors.Is(err, want) || (err != nil) != (want != nil) {
				t.Errorf("%s: %v, want %v", what, err, want)
			}
		}
		set := func(member, state string) {
			t.Helper()
			r.want("set "+state, r.ctl("POST", "/v1/members/"+member, `{"state":"`+state+`"}`), "{}")
		}
		check("up", two, nil)
		set("ZVM2", "noservice")
		check("without service", two, syscall.ECONNREFUSED)
		check("the other one", one, nil)
		set("ZVM2", "hung")
		check("hung", two, smapi.ErrTimeout)
		set("ZVM2", "full")
		check("full, the first", two, smapi.ErrTimeout)
		check("full, the second", two, smapi.ErrTimeout)
		set("ZVM2", "up")
		check("up again", two, nil)
		set("ZVM2", "down")
		check("down", two, syscall.ECONNREFUSED)
		r.net.mu.Lock()
		r.net.fail = 3
		r.net.mu.Unlock()
		set("ZVM2", "up")
		check("up in the end", two, nil)
		if n := strings.Count(r.err.String(), "smapid: listen at tcp:two again: address already in use"); n != 3 {
			t.Errorf("%d warnings in:\n%s", n, r.err.String())
		}
		want := "open control none\nopen tcp:one none\nopen tcp:two none\nopen tcp:two none\nbacklog tcp:two 0\nbacklog tcp:two 4096\nopen tcp:two none"
		if diff := cmp.Diff(want, r.net.lines()); diff != "" {
			t.Errorf("network (-want +got):\n%s", diff)
		}
		r.want("no such member", r.ctl("POST", "/v1/members/ZVM9", `{"state":"up"}`), `error: no such member: "ZVM9"`)
		r.want("no such state", r.ctl("POST", "/v1/members/ZVM1", `{"state":"x"}`), `error: member state "x" is not one of [up down noservice hung full isolated]`)
	})
}

func TestDaemon_TLSFaults(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := start(t, &platformtest.Runner{}, func(s *Setup) {
			s.Endpoints = append(s.Endpoints, Endpoint{Text: "tls:two"})
			s.CAFile = "/ca"
		})
		ca := func() string {
			text, err := os.ReadFile(filepath.Join(r.dir, "ca"))
			if err != nil {
				t.Fatal(err)
			}
			return string(text)
		}
		for _, f := range TLSFaults() {
			r.want(f, r.ctl("POST", "/v1/tls", `{"fault":"`+f+`"}`), "{}")
			want := "certificate of tls:two, " + f + "\n"
			if f == "unknown-ca" {
				want = "certificate of tls:two, wrong-host\n" // the one before
			}
			r.want("certificates with "+f, ca(), want)
		}
		r.want("an endpoint without TLS", r.ctl("POST", "/v1/tls", `{"fault":"plain","endpoint":"tcp:one"}`), `error: there is no endpoint "tcp:one" with TLS`)
		r.want("no such fault", r.ctl("POST", "/v1/tls", `{"fault":"x"}`), `error: TLS fault "x" is not one of none, expired, wrong-host, unknown-ca, tls1.1, plain`)
	})
}

func TestDaemon_Control(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := start(t, &platformtest.Runner{}, nil)
		var s StatusReply
		if err := json.Unmarshal([]byte(r.ctl("GET", "/v1/status", "")), &s); err != nil {
			t.Fatal(err)
		}
		if s.Version != "test" || len(s.Members) != 1 || len(s.Guests) != 2 || s.Endpoints[0].Endpoint != "tcp:one" {
			t.Errorf("status %+v", s)
		}
		guest := func(name, state string) string {
			return `{"member":"ZVM1","name":"` + name + `","state":"` + state + `","system":"ZVM1"}`
		}
		r.want("guest", r.ctl("GET", "/v1/guests/cnode1", ""), guest("CNODE1", "ON"))
		r.want("guests", r.ctl("GET", "/v1/guests", ""), "["+guest("CNODE1", "ON")+","+guest("CNODE2", "ON")+"]")
		r.want("set off", r.ctl("POST", "/v1/guests/CNODE2", `{"do":"off"}`), guest("CNODE2", "OFF"))
		r.want("die when off", r.ctl("POST", "/v1/guests/CNODE2", `{"do":"die"}`), "error: the guest is not in a state for this: CNODE2 is OFF, not ON")
		r.want("no such guest", r.ctl("GET", "/v1/guests/CNODE9", ""), `error: no such guest: "CNODE9"`)
		r.want("no such verb", r.ctl("POST", "/v1/guests/CNODE1", `{"do":"explode"}`), `error: "explode" is not one of logoff, logon, die, off and on`)
		r.want("a misspelt field", r.ctl("POST", "/v1/guests/CNODE1", `{"od":"off"}`), `error: read the request's JSON: json: unknown field "od"`)

		// Waiting for a state ends when it comes, or when the time is over.
		r.ctl("POST", "/v1/guests/CNODE1", `{"do":"logoff"}`)
		begin := time.Now()
		r.ctl("GET", "/v1/guests/CNODE1?state=off&wait=30s", "")
		if d := time.Since(begin); d != 1500*time.Millisecond {
			t.Errorf("waited %v for the logoff", d)
		}
		begin = time.Now()
		r.ctl("GET", "/v1/guests/CNODE1?state=on&wait=30s", "")
		if d := time.Since(begin); d != 30*time.Second {
			t.Errorf("waited %v for nothing", d)
		}
		r.want("a wait that is none", r.ctl("GET", "/v1/guests/CNODE1?wait=x", ""), `error: wait="x" is not a duration such as 30s`)

		// The log, from a line on and with patience.
		line := "OPERATOR *3 GRAF L0003 LOGOFF AS CNODE1 USERS = 58 FORCED BY OPERATOR"
		if got := r.ctl("GET", "/v1/log", ""); !strings.Contains(got, line) || !strings.Contains(got, `"n":1`) {
			t.Errorf("log %s", got)
		}
		time.AfterFunc(2*time.Second, func() { r.ctl("POST", "/v1/guests/CNODE1", `{"do":"logon"}`) })
		begin = time.Now()
		if got := r.ctl("GET", "/v1/log?after=1&wait=30s", ""); !strings.Contains(got, "AUTO LOGON *** CNODE1 USERS = 59 BY OPERATOR") || strings.Contains(got, line) {
			t.Errorf("log after line 1: %s", got)
		}
		if d := time.Since(begin); d != 2500*time.Millisecond {
			t.Errorf("waited %v for the log", d)
		}

		// Faults.
		r.want("fault", r.ctl("POST", "/v1/faults", `{"fault":"do=auth,count=2"}`), `{"fault":"do=auth,count=2","hits":0,"id":1,"left":2}`)
		if err := r.client("tcp:one").CheckAuthentication(t.Context()); !errors.Is(err, &smapi.ResultError{Return: 120}) {
			t.Errorf("with the fault: %v", err)
		}
		r.want("faults", r.ctl("GET", "/v1/faults", ""), `[{"fault":"do=auth,count=2","hits":1,"id":1,"left":1}]`)
		r.want("remove", r.ctl("DELETE", "/v1/faults/1", ""), "{}")
		r.want("remove again", r.ctl("DELETE", "/v1/faults/1", ""), "error: no such fault: 1")
		r.want("remove nothing", r.ctl("DELETE", "/v1/faults/x", ""), `error: no such fault: "x"`)
		r.want("remove all", r.ctl("DELETE", "/v1/faults", ""), "{}")

		// AUTHLIST.
		r.want("authority", r.ctl("PUT", "/v1/members/ZVM1/authority", `{"authlist":" X"}`),
			`{"warnings":["AUTHLIST of ZVM1, line 1: misaligned: the requester \"X\" starts in column 2, not in 1: this line authorises nobody"]}`)
		if _, err := r.client("tcp:one").ImageStatus(t.Context(), "CNODE1"); !errors.Is(err, &smapi.ResultError{Return: 100, Reason: 16}) {
			t.Errorf("without authority: %v", err)
		}

		// Stop.
		r.want("stop", r.ctl("POST", "/v1/stop", ""), "{}")
		if err := <-r.done; err != nil {
			t.Error(err)
		}
		r.done <- nil
	})
}

func TestDaemon_ClockOnTheSocket(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := start(t, &platformtest.Runner{}, func(s *Setup) { s.ClockRate = 2 })
		begin := time.Now()
		r.ctl("POST", "/v1/guests/CNODE1", `{"do":"logoff"}`)
		r.ctl("GET", "/v1/guests/CNODE1?state=OFF&wait=30s", "")
		if d := time.Since(begin); d != 750*time.Millisecond {
			t.Errorf("a logoff of 1.5 s at twice the speed took %v", d)
		}
		r.ctl("POST", "/v1/guests/CNODE2", `{"do":"logoff"}`)
		r.ctl("POST", "/v1/clock", `{"advance":"1h"}`)
		r.want("after an hour", r.state("CNODE2"), "OFF")
		r.want("a step back", r.ctl("POST", "/v1/clock", `{"advance":"-1h"}`), "error: "+ErrClock.Error())
		r.want("a wrong rate", r.ctl("POST", "/v1/clock", `{"rate":-1}`), "error: "+ErrClock.Error())
		r.want("a wrong time", r.ctl("POST", "/v1/clock", `{"advance":"x"}`), `error: advance "x" is not a duration such as 30s or 5m`)
	})
}

func TestClock(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, err := NewClock(platform.SystemClock{}, 10)
		if err != nil {
			t.Fatal(err)
		}
		begin, at := time.Now(), c.Now()
		if err := c.Sleep(t.Context(), 10*time.Second); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(begin); d != time.Second {
			t.Errorf("10 s at ten times the speed took %v", d)
		}
		if d := c.Now().Sub(at); d != 10*time.Second {
			t.Errorf("%v passed on the clock", d)
		}

		// A sleeper notices that the clock was changed.
		begin = time.Now()
		time.AfterFunc(time.Second, func() { c.SetRate(1) }) // 10 of 100 s passed
		time.AfterFunc(2*time.Second, func() { c.Advance(80 * time.Second) })
		due, stop := c.After(100 * time.Second)
		defer stop()
		<-due
		if d := time.Since(begin); d != 11*time.Second {
			t.Errorf("took %v", d)
		}

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := c.Sleep(ctx, time.Hour); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("interrupted sleep: %v", err)
		}
		for _, rate := range []float64{-1, MaxRate + 1} {
			if _, err := NewClock(platform.SystemClock{}, rate); !errors.Is(err, ErrClock) {
				t.Errorf("rate %v: %v", rate, err)
			}
		}
	})
}

func TestParseEndpoint(t *testing.T) {
	t.Parallel()
	got, err := ParseEndpoint("tls:127.0.0.1:0,member=ZVM2,peer=cnode1,tls=wrong-host")
	want := Endpoint{Text: "tls:127.0.0.1:0", Member: "ZVM2", Peer: "CNODE1", TLS: TLSWrongHost}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	for _, tc := range []struct{ text, want string }{
		{"", "it is empty"},
		{"tcp:x,tls=expired", "tls= is for an endpoint with tls:"},
		{"tcp:x,peer=TOOLONGNAME", `peer "TOOLONGNAME" is not a user id`},
		{"tcp:x,member", `"member" is not key=value`},
		{"tcp:x,a=b", `unknown option "a"`},
		{"tls:x,tls=odd", `TLS fault "odd" is not one of`},
	} {
		if _, err := ParseEndpoint(tc.text); !errors.Is(err, ErrEndpoint) || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%q: %v, want %s", tc.text, err, tc.want)
		}
	}
}

func TestParseCommand(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		text string
		want []string
	}{
		{"", nil}, {"  ", nil},
		{"/usr/local/bin/power", []string{"/usr/local/bin/power"}},
		{"./power.sh", []string{"./power.sh"}},
		{`kill -9 "$PID"`, []string{"/bin/sh", "-c", `kill -9 "$PID"`, "smapid"}},
		{"A=1", []string{"/bin/sh", "-c", "A=1", "smapid"}},
	} {
		if diff := cmp.Diff(tc.want, ParseCommand(tc.text).Args); diff != "" {
			t.Errorf("%q (-want +got):\n%s", tc.text, diff)
		}
	}
}

// The lines on the output are whole lines, whoever writes them.
func TestDaemon_LinesOfSeveralMembers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := start(t, &platformtest.Runner{}, func(s *Setup) {
			m := s.Sim.Systems[0].Members[0]
			m.Name = "ZVM2"
			s.Sim.Systems[0].Members = append(s.Sim.Systems[0].Members, m)
		})
		r.ctl("POST", "/v1/guests/CNODE1", `{"do":"die"}`)
		last := ""
		for sc := bufio.NewScanner(strings.NewReader(r.out.String())); sc.Scan(); {
			last = sc.Text()
		}
		if !strings.HasPrefix(last, "ZVM1 | ") || !strings.HasSuffix(last, " OPERATOR *3 GRAF L0003 LOGOFF AS CNODE1 USERS = 59") {
			t.Errorf("the last line is %q", last)
		}
	})
}
