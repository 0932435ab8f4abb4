package zvmsim

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/haobox/haobox/internal/smapi"
)

// figure21 is when the manual's figure 21 shows CNODE1 being forced, less the
// delay of the logoff.
var figure21 = time.Date(2013, 12, 31, 14, 38, 34, 500_000_000, time.UTC)

// bench drives a core in virtual time.
type bench struct {
	t    *testing.T
	c    *Core
	now  time.Time
	conn ConnID
	// lines collects the operator's log, warnings what was warned of.
	lines    []string
	warnings []string
	hooks    []Hook
	audits   []Audit
}

func newBench(t *testing.T, cfg Config) *bench {
	t.Helper()
	c, warnings, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, c: c, now: figure21}
	for _, w := range warnings {
		b.warnings = append(b.warnings, w.Text)
	}
	return b
}

// authorized is a configuration in which CMANAGER may do everything.
func authorized(guests ...string) Config {
	cfg := Default(guests...)
	cfg.Authorize("CMANAGER", "SECRET")
	return cfg
}

func (b *bench) step(ev Event) []Action {
	b.t.Helper()
	var out []Action
	for _, a := range b.c.Step(b.now, ev) {
		out = append(out, a)
		switch a := a.(type) {
		case Operator:
			b.lines = append(b.lines, a.Line)
		case Warning:
			b.warnings = append(b.warnings, a.Text)
		case Hook:
			b.hooks = append(b.hooks, a)
		case Audit:
			b.audits = append(b.audits, a)
		}
	}
	return out
}

// wait lets d pass.
func (b *bench) wait(d time.Duration) []Action {
	b.t.Helper()
	b.now = b.now.Add(d)
	return b.step(Tick{})
}

// request is a request of CMANAGER.
func request(function, target string, params ...byte) smapi.Request {
	return smapi.Request{Function: function, User: "CMANAGER", Password: "SECRET", Target: target, Params: params}
}

func deactivate(target, force string) smapi.Request {
	return request(smapi.ImageDeactivate, target, smapi.AppendString(nil, force)...)
}

// send sends a request on a connection of its own and returns what came of
// it at once.
func (b *bench) send(member, peer string, req smapi.Request) []Action {
	b.t.Helper()
	b.conn++
	out := b.step(Connect{Conn: b.conn, Member: member, Peer: peer})
	return append(out, b.step(Request{Conn: b.conn, Request: req})...)
}

// ask sends a request that is answered at once and returns its codes as
// "rc/rs".
func (b *bench) ask(req smapi.Request) string {
	b.t.Helper()
	return b.askAt("", "", req)
}

func (b *bench) askAt(member, peer string, req smapi.Request) string {
	b.t.Helper()
	for _, a := range b.send(member, peer, req) {
		if s, ok := a.(Send); ok && s.Body {
			return fmt.Sprintf("%d/%d", s.Response.Return, s.Response.Reason)
		}
	}
	return "none"
}

func (b *bench) response(req smapi.Request) smapi.Response {
	b.t.Helper()
	for _, a := range b.send("", "", req) {
		if s, ok := a.(Send); ok && s.Body {
			return s.Response
		}
	}
	b.t.Fatalf("no response to %s", req.Function)
	return smapi.Response{}
}

// want fails the test unless the answers are as given.
func (b *bench) want(what, got, want string) {
	b.t.Helper()
	if got != want {
		b.t.Errorf("%s: %s, want %s", what, got, want)
	}
}

func (b *bench) state(guest string) string {
	b.t.Helper()
	g, err := b.c.Guest("", guest)
	if err != nil {
		b.t.Fatal(err)
	}
	return g.State.String()
}

func TestForcedLogoffTakesItsTime(t *testing.T) {
	t.Parallel()
	b := newBench(t, authorized("CNODE1", "CNODE2"))
	status, off, on := request(smapi.ImageStatusQuery, "CNODE1"), deactivate("CNODE1", "IMMED"), request(smapi.ImageActivate, "CNODE1")
	b.want("status at first", b.ask(status), "0/0")
	b.want("force", b.ask(off), "0/0")
	b.want("status while stopping", b.ask(status), "0/0")
	b.want("second force", b.ask(off), "200/16")
	b.want("activate while stopping", b.ask(on), "200/16")
	b.wait(1499 * time.Millisecond)
	b.want("just before", b.ask(status), "0/0")
	b.wait(time.Millisecond)
	b.want("after the delay", b.ask(status), "0/12")
	b.want("third force", b.ask(off), "200/12")
	b.want("activate", b.ask(on), "0/0")
	b.want("status while starting", b.ask(status), "0/12")
	b.want("activate again", b.ask(on), "200/8")
	b.wait(500 * time.Millisecond)
	b.want("status at last", b.ask(status), "0/0")
	b.want("activate when on", b.ask(on), "200/8")

	// The lines of the manual's figure 21; its guest takes half a second more.
	want := []string{
		"14:38:36 OPERATOR *3 GRAF L0003 LOGOFF AS CNODE1 USERS = 59 FORCED BY VSMWORK1",
		"14:38:36 OPERATOR *3 AUTO LOGON *** CNODE1 USERS = 60 BY VSMWORK1",
	}
	if diff := cmp.Diff(want, b.lines); diff != "" {
		t.Errorf("operator's log (-want +got):\n%s", diff)
	}
}

func TestForceDuringLogonEndsIt(t *testing.T) {
	t.Parallel()
	cfg := authorized("CNODE1")
	cfg.Systems[0].Guests[0].On = false
	b := newBench(t, cfg)
	b.want("activate", b.ask(request(smapi.ImageActivate, "CNODE1")), "0/0")
	b.want("force", b.ask(deactivate("CNODE1", "IMMED")), "0/0")
	b.wait(time.Minute)
	b.want("state", b.state("CNODE1"), "OFF")
}

func TestForceTimes(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		force, want string
		after       time.Duration
	}{
		{"", "0/30", 30 * time.Second},
		{"WITHIN 300", "0/300", 300 * time.Second},
		{"within 1", "0/1", time.Second},
		{"BY 14:40", "0/86", 85500 * time.Millisecond},
		{"BY 14:38:40", "0/6", 5500 * time.Millisecond},
		{"BY 14:38", "0/86366", 24*time.Hour - 34500*time.Millisecond},
		{"WITHIN 0", "24/519", -1},
		{"SOON", "24/519", -1},
		{"WITHIN 655366", "24/513", -1},
	} {
		t.Run(tc.force, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, authorized("CNODE1"))
			b.want("force", b.ask(deactivate("CNODE1", tc.force)), tc.want)
			if tc.after < 0 {
				b.wait(48 * time.Hour)
				b.want("state", b.state("CNODE1"), "ON")
				return
			}
			b.wait(tc.after - 1)
			b.want("state before", b.state("CNODE1"), "STOPPING")
			b.wait(1)
			b.want("state after", b.state("CNODE1"), "OFF")
		})
	}
}

func TestForceTimeBeyondTheLimit(t *testing.T) {
	t.Parallel()
	cfg := authorized("CNODE1")
	cfg.Systems[0].Delays.MaxForce = time.Minute
	b := newBench(t, cfg)
	b.want("too long", b.ask(deactivate("CNODE1", "WITHIN 61")), "200/36")
	b.want("state", b.state("CNODE1"), "ON")
	b.want("as long as allowed", b.ask(deactivate("CNODE1", "WITHIN 60")), "0/60")
	b.want("immediate while one is pending", b.ask(deactivate("CNODE1", "IMMED")), "200/16")
}

func TestRecycle(t *testing.T) {
	t.Parallel()
	b := newBench(t, authorized("CNODE1"))
	recycle := request(smapi.ImageRecycle, "CNODE1")
	b.want("recycle", b.ask(recycle), "0/0")
	b.want("while stopping", b.ask(recycle), "200/16")
	b.wait(1500 * time.Millisecond)
	b.want("between", b.state("CNODE1"), "STARTING")
	b.wait(500 * time.Millisecond)
	b.want("at last", b.state("CNODE1"), "ON")
	b.step(SetGuest{Guest: "CNODE1", State: Off})
	b.want("of a guest that is off", b.ask(recycle), "200/12")
	b.want("of no guest", b.ask(request(smapi.ImageRecycle, "CNODE9")), "200/4")
}

func TestUnknownGuest(t *testing.T) {
	t.Parallel()
	b := newBench(t, authorized("CNODE1"))
	b.want("status looks inactive", b.ask(request(smapi.ImageStatusQuery, "CNODE9")), "0/12")
	b.want("force", b.ask(deactivate("CNODE9", "IMMED")), "200/4")
	b.want("activate", b.ask(request(smapi.ImageActivate, "CNODE9")), "200/4")
	b.want("directory", b.ask(request(smapi.ImageQueryDM, "CNODE9")), "400/4")
	b.want("list", b.ask(request(smapi.ImageActivate, "ALL_NODES")), "200/24")

	cfg := authorized("CNODE1")
	cfg.Systems[0].Switches = Switches{UnknownStatus: true, UnknownIsOff: true}
	b = newBench(t, cfg)
	b.want("status, switched", b.ask(request(smapi.ImageStatusQuery, "CNODE9")), "200/4")
	b.want("force, switched", b.ask(deactivate("CNODE9", "IMMED")), "200/12")
}

func TestChecksComeInTheirOrder(t *testing.T) {
	t.Parallel()
	cfg := Default("CNODE1", "CNODE2")
	s := &cfg.Systems[0]
	s.Users = []User{{Name: "CMANAGER", Password: "SECRET"}, {Name: "OLD", Password: "SECRET", Expired: true}}
	s.SecurityDenies = []string{"ESMNO"}
	s.DirectoryDenies = []string{"DMNO"}
	s.Members[0].AuthList = []byte(strings.Join([]string{
		record(1, "CMANAGER", 66, "CNODE1", 131, "IMAGE_OPERATIONS"),
		record(1, "DMNO", 66, "ALL", 131, "ALL"),
		record(1, "ESMNO", 66, "ALL", 131, "ALL"),
		record(1, "CNODE2 ", 40, "ALL", 80, "ALL"),
	}, "\n"))
	b := newBench(t, cfg)
	if want := "AUTHLIST of ZVM1, line 4: misaligned: the target \"ALL\" starts in column 40, not in 66: this line authorises nobody"; len(b.warnings) != 1 || b.warnings[0] != want {
		t.Errorf("warnings %q, want %q", b.warnings, want)
	}
	with := func(f func(*smapi.Request)) smapi.Request {
		r := request(smapi.ImageStatusQuery, "CNODE1")
		f(&r)
		return r
	}
	for _, tc := range []struct {
		name, peer string
		req        smapi.Request
		want       string
	}{
		{"authorised", "", with(func(r *smapi.Request) {}), "0/0"},
		{"unknown function before bad user", "", with(func(r *smapi.Request) { r.Function, r.User = "Image_Explode", "much too long" }), "900/12"},
		{"syntax before authentication", "", with(func(r *smapi.Request) { r.Target, r.Password = "CNODE 1", "x" }), "24/443"},
		{"user id too long", "", with(func(r *smapi.Request) { r.User = "CMANAGERX" }), "24/213"},
		{"password too long", "", with(func(r *smapi.Request) { r.Password = smapi.Secret(strings.Repeat("x", 201)) }), "24/313"},
		{"no target", "", with(func(r *smapi.Request) { r.Target = "" }), "24/414"},
		{"one parameter too many", "", with(func(r *smapi.Request) { r.Params = []byte{0, 0, 0, 0} }), "24/525"},
		{"a parameter that is missing", "", with(func(r *smapi.Request) { r.Function = smapi.ImageDeactivate }), "24/524"},
		{"a parameter that is cut off", "", with(func(r *smapi.Request) { r.Function, r.Params = smapi.ImageDeactivate, []byte{0, 0, 0, 9, 'I'} }), "24/588"},
		{"wrong password", "", with(func(r *smapi.Request) { r.Password = "secret" }), "120/0"},
		{"unknown user", "", with(func(r *smapi.Request) { r.User = "NOBODY" }), "120/0"},
		{"no user over TCP", "", with(func(r *smapi.Request) { r.User, r.Password = "", "" }), "120/0"},
		{"expired password", "", with(func(r *smapi.Request) { r.User = "OLD" }), "128/0"},
		{"user id in lower case", "", with(func(r *smapi.Request) { r.User, r.Target = "cmanager", "cnode1" }), "0/0"},
		{"peer that CP vouches for", "CMANAGER", with(func(r *smapi.Request) { r.User, r.Password = "", "" }), "0/0"},
		{"peer without an entry", "CNODE2", with(func(r *smapi.Request) { r.User, r.Password = "", "" }), "100/16"},
		{"user id over IUCV counts like over TCP", "CMANAGER", with(func(r *smapi.Request) { r.Password = "wrong" }), "120/0"},
		{"security manager before AUTHLIST", "ESMNO", with(func(r *smapi.Request) { r.User, r.Password = "", "" }), "100/8"},
		{"another target", "", with(func(r *smapi.Request) { r.Target = "CNODE2" }), "100/16"},
		{"all active images", "", with(func(r *smapi.Request) { r.Target = "*" }), "100/16"},
		{"a function outside the list", "", with(func(r *smapi.Request) { r.Function, r.Target = smapi.ImageNameQueryDM, "CMANAGER" }), "100/16"},
		{"directory manager refuses", "DMNO", smapi.Request{Function: smapi.ImageNameQueryDM, Target: "DMNO"}, "100/12"},
		{"authentication alone", "", with(func(r *smapi.Request) { r.Function = smapi.CheckAuthentication }), "0/0"},
		{"functional level", "", with(func(r *smapi.Request) { r.Function = smapi.QueryAPIFunctionalLevel }), "0/630"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b.want(tc.req.Function, b.askAt("", tc.peer, tc.req), tc.want)
		})
	}
	b.step(SetAuthority{Member: "ZVM1"})
	b.want("without an AUTHLIST", b.ask(request(smapi.ImageStatusQuery, "CNODE1")), "104/0")
}

func TestSwitchesOfTheChecks(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		set  func(*System)
		req  smapi.Request
		want string
	}{
		{"strict check needs an entry", func(s *System) { s.Switches.StrictCheck = true; s.Members[0].AuthList = []byte{} },
			request(smapi.CheckAuthentication, ""), "100/16"},
		{"passwords in any case", func(s *System) { s.Switches.PasswordAnyCase = true },
			smapi.Request{Function: smapi.CheckAuthentication, User: "CMANAGER", Password: "secret"}, "0/0"},
		{"strict case", func(s *System) { s.Switches.StrictCase = true }, request(smapi.ImageStatusQuery, "cnode1"), "24/443"},
		{"parameters counted from 2", func(s *System) { s.Switches.SyntaxBase = 2 },
			request(smapi.ImageStatusQuery, "c:\x01"), "24/543"},
		{"directory manager down", func(s *System) { s.DirectoryDown = true }, request(smapi.ImageNameQueryDM, "CMANAGER"), "500/8"},
		{"directory manager down does not block a force", func(s *System) { s.DirectoryDown = true }, deactivate("CNODE1", "IMMED"), "0/0"},
		{"peer wins", func(s *System) { s.Switches.PeerWins = true },
			smapi.Request{Function: smapi.ImageStatusQuery, Target: "CNODE1", User: "CMANAGER", Password: "wrong"}, "120/0"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			cfg := authorized("CNODE1")
			tc.set(&cfg.Systems[0])
			b := newBench(t, cfg)
			b.want(tc.req.Function, b.ask(tc.req), tc.want)
			if tc.name == "peer wins" {
				b.want("from the peer", b.askAt("", "CMANAGER", tc.req), "0/0")
			}
		})
	}
}
