package zvmsim

import (
	"encoding/json"
	"errors"
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
		"14:38:36 VSMWORK1 *8 14:38:36 GRAF L0003 LOGOFF AS CNODE1 USERS = 59 FORCED BY VSMWORK1",
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

// cluster is an SSI of two members with CNODE1 on the first and CNODE2 on the
// second.
func cluster(change func(*System)) Config {
	cfg := Default("CNODE1", "CNODE2")
	s := &cfg.Systems[0]
	s.Name = "HAOSSI"
	s.Members = append(s.Members, Member{Name: "ZVM2", AuthList: []byte{}})
	s.Guests[1].Member = "ZVM2"
	if change != nil {
		change(s)
	}
	cfg.Authorize("CMANAGER", "SECRET")
	return cfg
}

func TestSSI_EachMemberSeesItsOwnGuests(t *testing.T) {
	t.Parallel()
	status, off, on := request(smapi.ImageStatusQuery, "CNODE2"), deactivate("CNODE2", "IMMED"), request(smapi.ImageActivate, "CNODE2")
	b := newBench(t, cluster(nil))
	b.want("status at home", b.askAt("ZVM2", "", status), "0/0")
	b.want("status elsewhere", b.askAt("ZVM1", "", status), "0/12")
	b.want("force elsewhere", b.askAt("ZVM1", "", off), "200/12")
	b.want("recycle elsewhere", b.askAt("ZVM1", "", request(smapi.ImageRecycle, "CNODE2")), "200/12")
	b.want("activate elsewhere", b.askAt("ZVM1", "", on), "200/8")
	b.want("force at home", b.askAt("ZVM2", "", off), "0/0")
	b.wait(2 * time.Second)
	b.want("activate on another member", b.askAt("ZVM1", "", on), "0/0")
	b.wait(2 * time.Second)
	b.want("status where it is now", b.askAt("ZVM1", "", status), "0/0")
	b.want("status where it was", b.askAt("ZVM2", "", status), "0/12")

	b = newBench(t, cluster(func(s *System) { s.Switches.ElsewhereVisible, s.Switches.ElsewhereActivate = true, 45 }))
	b.want("status elsewhere, switched", b.askAt("ZVM1", "", status), "0/0")
	b.want("force elsewhere, switched", b.askAt("ZVM1", "", off), "8/3006")
	b.want("activate elsewhere, switched", b.askAt("ZVM1", "", on), "8/45")
}

func TestSSI_MemberStates(t *testing.T) {
	t.Parallel()
	query := request(smapi.SSIQuery, "ALL")
	b := newBench(t, authorized("CNODE1"))
	b.want("without a cluster", b.ask(query), "4/3008")

	b = newBench(t, cluster(nil))
	states := func() string {
		var out []string
		for _, part := range strings.Split(string(b.response(query).Data), "\x00") {
			if f := strings.Fields(part); len(f) > 3 && strings.HasPrefix(f[1], "ZVM") {
				out = append(out, f[1]+"="+f[2])
			}
		}
		return strings.Join(out, " ")
	}
	b.want("members", states(), "ZVM1=Joined ZVM2=Joined")
	b.step(SetMember{Member: "zvm2", State: MemberIsolated})
	b.want("members", states(), "ZVM1=Joined ZVM2=Isolated")
	b.want("guest of an isolated member", b.state("CNODE2"), "ON")
	b.step(Die{Guest: "CNODE1"})
	b.want("activate on an isolated member", b.askAt("ZVM2", "", request(smapi.ImageActivate, "CNODE1")), "8/3006")
	b.step(SetMember{Member: "zvm2", State: MemberDown})
	b.want("members", states(), "ZVM1=Joined ZVM2=Down")
	b.want("guest of a member that is down", b.state("CNODE2"), "OFF")
	b.want("a member that is down", b.askAt("ZVM2", "", query), "none")

	b = newBench(t, cluster(func(s *System) { s.Switches.IsolatedLosesGuests = true }))
	b.step(SetMember{Member: "ZVM2", State: MemberIsolated})
	b.want("guest of an isolated member, switched", b.state("CNODE2"), "OFF")
}

func TestLists(t *testing.T) {
	t.Parallel()
	cfg := authorized("CNODE1", "CNODE2", "CNODE3")
	s := &cfg.Systems[0]
	s.Guests[1].On = false
	s.Users = append(s.Users, User{Name: "LIMITED", Password: "SECRET"})
	m := &s.Members[0]
	m.NameList = []byte(":nick.ALL_CLUSTER_NODES :list.CNODE1 CNODE2 CNODE9 :nick.SOME :list.CNODE1 CNODE3")
	m.AuthList = append(m.AuthList, record(1, "LIMITED", 66, "CNODE1", 131, "ALL")+"\n"...)
	b := newBench(t, cfg)

	resp := b.response(request(smapi.ImageActivate, "all_cluster_nodes"))
	got, err := smapi.DecodeImageCounts(resp.Data)
	want := smapi.ImageCounts{Done: 1, NotDone: 2, Failing: []smapi.Failing{{Name: "CNODE1", Return: 200, Reason: 8}, {Name: "CNODE9", Return: 200, Reason: 4}}}
	if diff := cmp.Diff(want, got); diff != "" || err != nil || resp.Return != 200 || resp.Reason != 28 {
		t.Errorf("%d/%d, %v (-want +got):\n%s", resp.Return, resp.Reason, err, diff)
	}
	b.wait(time.Second)
	b.want("state of the one that could", b.state("CNODE2"), "ON")
	b.want("force of a part", b.ask(deactivate("ALL_CLUSTER_NODES", "IMMED")), "200/32")
	b.want("status of a list", b.ask(request(smapi.ImageStatusQuery, "SOME")), "0/0")
	limited := request(smapi.ImageRecycle, "SOME")
	limited.User = "LIMITED"
	b.want("list with one image that is not authorised", b.ask(limited), "100/16")
	b.want("state after it", b.state("CNODE3"), "ON")
	b.want("recycle of all", b.ask(request(smapi.ImageRecycle, "SOME")), "200/36")
	names, err := smapi.DecodeNameArray(b.response(request(smapi.ImageStatusQuery, "*")).Data)
	if diff := cmp.Diff([]string{"CNODE1", "CNODE2", "CNODE3"}, names); diff != "" || err != nil {
		t.Errorf("all active images, %v (-want +got):\n%s", err, diff)
	}
}

func TestHook_LogoffIsNotVisibleBeforeIt(t *testing.T) {
	t.Parallel()
	cfg := authorized("CNODE1")
	cfg.Systems[0].Guests[0].LogoffHook, cfg.Systems[0].Guests[0].LogonHook = true, true
	b := newBench(t, cfg)
	b.want("recycle", b.ask(request(smapi.ImageRecycle, "CNODE1")), "0/0")
	b.wait(time.Hour)
	want := []Hook{{Ticket: 1, System: "ZVM1", Member: "ZVM1", Guest: "CNODE1", Event: Off}}
	if diff := cmp.Diff(want, b.hooks); diff != "" {
		t.Fatalf("hooks (-want +got):\n%s", diff)
	}
	b.want("while the hook runs", b.ask(request(smapi.ImageStatusQuery, "CNODE1")), "0/0")
	b.step(HookDone{Ticket: 1, Err: errTest})
	b.want("after it failed", b.ask(request(smapi.ImageStatusQuery, "CNODE1")), "0/0")
	if want := "guest CNODE1 is not reported as logged off, its hook failed: power switch does not answer; the next Image_Deactivate runs it again"; len(b.warnings) != 1 || b.warnings[0] != want {
		t.Errorf("warnings %q, want %q", b.warnings, want)
	}
	b.want("a new force", b.ask(deactivate("CNODE1", "IMMED")), "200/16")
	b.step(HookDone{Ticket: 1}) // late news of the first run
	b.want("after old news", b.state("CNODE1"), "STOPPING")
	b.step(HookDone{Ticket: 2})
	b.want("after it worked", b.state("CNODE1"), "STARTING")
	b.wait(time.Second)
	b.want("the logon does not wait for its hook", b.state("CNODE1"), "ON")
	if n := len(b.hooks); n != 3 || b.hooks[2].Event != On {
		t.Errorf("hooks %+v", b.hooks)
	}
}

func TestHook_CanBeIgnored(t *testing.T) {
	t.Parallel()
	cfg := authorized("CNODE1")
	cfg.Systems[0].Guests[0].LogoffHook = true
	cfg.Systems[0].Switches.IgnoreHooks = true
	b := newBench(t, cfg)
	b.ask(deactivate("CNODE1", "IMMED"))
	b.wait(2 * time.Second)
	b.want("state", b.state("CNODE1"), "OFF")
	if len(b.hooks) != 1 {
		t.Errorf("hooks %+v", b.hooks)
	}
}

var errTest = errors.New("power switch does not answer")

func TestWorkers(t *testing.T) {
	t.Parallel()
	answered := func(actions []Action) (out []string) {
		for _, a := range actions {
			if s, ok := a.(Send); ok && s.Body {
				out = append(out, fmt.Sprintf("%d=%d/%d", s.Conn, s.Response.Return, s.Response.Reason))
			}
		}
		return out
	}
	cfg := authorized("CNODE1")
	cfg.Systems[0].Delays.Answer = time.Second
	cfg.Systems[0].Members[0].Workers = 2
	for _, noQueue := range []bool{false, true} {
		cfg.Systems[0].Switches.NoQueue = noQueue
		b := newBench(t, cfg)
		var got [][]string
		for range 4 {
			got = append(got, answered(b.send("", "", request(smapi.ImageStatusQuery, "CNODE1"))))
		}
		got = append(got, answered(b.wait(time.Second)), answered(b.wait(time.Second)))
		want := [][]string{nil, nil, nil, nil, {"1=0/0", "2=0/0"}, {"3=0/0", "4=0/0"}}
		if noQueue {
			want = [][]string{nil, nil, {"3=900/8"}, {"4=900/8"}, {"1=0/0", "2=0/0"}, nil}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("no queue %v (-want +got):\n%s", noQueue, diff)
		}
	}
}

func TestAsynchronousOperation(t *testing.T) {
	t.Parallel()
	cfg := authorized("CNODE1")
	f, err := ParseFault("function=Image_Deactivate,do=async,delay=5s")
	if err != nil {
		t.Fatal(err)
	}
	cfg.Faults = []Fault{f}
	b := newBench(t, cfg)
	ask := func(id []byte) string {
		return b.ask(request(smapi.QueryAsynchronousOperationDM, "CMANAGER", id...))
	}
	good := b.response(deactivate("CNODE1", "IMMED"))
	bad := b.response(deactivate("CNODE9", "IMMED"))
	if good.Return != 592 || bad.Return != 592 {
		t.Fatalf("answers %d and %d", good.Return, bad.Return)
	}
	b.want("at first", ask(good.Data), "0/104")
	b.want("state", b.state("CNODE1"), "ON")
	b.wait(5 * time.Second)
	b.want("state", b.state("CNODE1"), "STOPPING")
	b.want("at last", ask(good.Data), "0/100")
	b.want("one that cannot be done", ask(bad.Data), "0/108")
	b.want("one that never was", ask([]byte{0, 0, 0, 1}), "4/4")
}

func TestResponseRecovery(t *testing.T) {
	t.Parallel()
	cfg := authorized("CNODE1")
	f, err := ParseFault("function=Image_Status_Query,do=truncate,at=3")
	if err != nil {
		t.Fatal(err)
	}
	cfg.Faults = []Fault{f}
	b := newBench(t, cfg)
	lost := b.response(request(smapi.ImageStatusQuery, "CNODE1"))
	got := b.response(request(smapi.ResponseRecovery, "MAINT", smapi.AppendInt4(nil, lost.RequestID)...))
	if diff := cmp.Diff(lost.Data, got.Data); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	b.want("one that never was", b.ask(request(smapi.ResponseRecovery, "MAINT", 0, 0, 0, 1)), "4/4")
	b.want("without an id", b.ask(request(smapi.ResponseRecovery, "MAINT")), "24/524")
}

func TestOtherFunctions(t *testing.T) {
	t.Parallel()
	b := newBench(t, authorized("CNODE1"))
	for _, tc := range []struct {
		req  smapi.Request
		code string
		data string
	}{
		{request(smapi.ImageQueryDM, "CNODE1"), "0/0", "USER CNODE1 "},
		{request(smapi.ImageQueryActivateTime, "CNODE1", 4), "0/0", "\x00\x00\x00\x06CNODE1\x00\x00\x00\x0a"},
		{request(smapi.ImageQueryActivateTime, "CNODE1", 6), "24/519", ""},
		{request(smapi.ImageActiveConfigurationQuery, "CNODE1"), "0/0", "\x00\x00\x00\x02\x03\x01\x00\x00\x00\x03100\x00\x00\x00\x02"},
		{request(smapi.ImageActiveConfigurationQuery, "CNODE9"), "200/4", ""},
		{request(smapi.SystemInformationQuery, "CMANAGER"), "0/0", "System: ZVM1\x00"},
		{request(smapi.QueryDirectoryManagerLevelDM, "CMANAGER"), "0/0", "simulated"},
		{request(smapi.AuthorizationListAdd, "NEW", smapi.AppendString(smapi.AppendString(nil, "ALL"), "image_recycle")...), "0/0", ""},
		{request(smapi.AuthorizationListAdd, "NEW", smapi.AppendString(smapi.AppendString(nil, "ALL"), "image_recycle")...), "108/0", ""},
		{request(smapi.AuthorizationListQuery, "NEW", smapi.AppendString(smapi.AppendString(nil, "ALL"), "ALL")...), "0/0", "\x00\x00\x00\x26\x00\x00\x00\x22\x00\x00\x00\x03NEW\x00\x00\x00\x00\x03ALL\x00\x00\x00\x00\x0dIMAGE_RECYCLE\x00"},
		{request(smapi.AuthorizationListRemove, "NEW", smapi.AppendString(smapi.AppendString(nil, "ALL"), "image_recycle")...), "0/0", ""},
		{request(smapi.AuthorizationListRemove, "NEW", smapi.AppendString(smapi.AppendString(nil, "ALL"), "image_recycle")...), "112/0", ""},
		{request(smapi.EventStreamAdd, "CMANAGER", 0, 0, 0, 9, 'x'), "0/0", ""},
		{request(smapi.EventUnsubscribe, "CMANAGER"), "none", ""},
	} {
		t.Run(tc.req.Function+" "+tc.code, func(t *testing.T) {
			if tc.code == "none" {
				b.want("answer", b.ask(tc.req), tc.code)
				return
			}
			resp := b.response(tc.req)
			b.want("answer", fmt.Sprintf("%d/%d", resp.Return, resp.Reason), tc.code)
			if !strings.Contains(string(resp.Data), tc.data) {
				t.Errorf("data %q has no %q", resp.Data, tc.data)
			}
		})
	}
	for _, f := range smapi.Functions() {
		if got := b.ask(smapi.Request{Function: f.Name, User: "CMANAGER", Password: "SECRET", Target: "CNODE1"}); got == "900/4" || got == "900/12" {
			t.Errorf("%s: %s", f.Name, got)
		}
	}
}

func TestErrorOutput(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		kind ErrorOutput
		want string
	}{
		{ErrorsCounted, "\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x16\x00\x00\x00\x12\x00\x00\x00\x06CNODE9\x00\x00\x00\xc8\x00\x00\x00\x04"},
		{ErrorsBare, ""},
		{ErrorsText, "\x00\x00\x00\x16there is no such image"},
	} {
		cfg := authorized("CNODE1")
		cfg.Systems[0].Switches.Errors = tc.kind
		if diff := cmp.Diff(tc.want, string(newBench(t, cfg).response(deactivate("CNODE9", "IMMED")).Data)); diff != "" {
			t.Errorf("%v (-want +got):\n%s", tc.kind, diff)
		}
	}
}

func TestAuditOfEveryRequest(t *testing.T) {
	t.Parallel()
	cfg := authorized("CNODE1")
	cfg.Systems[0].Delays.Answer = 20 * time.Millisecond
	f, err := ParseFault("function=Image_Activate,do=lost-answer")
	if err != nil {
		t.Fatal(err)
	}
	cfg.Faults = []Fault{f}
	b := newBench(t, cfg)
	b.conn++
	b.step(Connect{Conn: b.conn, Peer: "cnode7", Remote: "127.0.0.1:50000"})
	b.step(Request{Conn: b.conn, Request: request(smapi.ImageStatusQuery, "cnode1")})
	b.wait(20 * time.Millisecond)
	b.send("", "", request(smapi.ImageActivate, "CNODE1"))
	b.wait(time.Second)
	want := []Audit{
		{Time: figure21, Latency: 20 * time.Millisecond, Member: "ZVM1", Peer: "CNODE7", Remote: "127.0.0.1:50000", Worker: "VSMWORK1",
			RequestID: 10009, Function: "Image_Status_Query", User: "CMANAGER", Target: "CNODE1", Answered: true, Executed: true},
		{Time: figure21.Add(20 * time.Millisecond), Latency: 20 * time.Millisecond, Member: "ZVM1", Worker: "VSMWORK1",
			RequestID: 10010, Function: "Image_Activate", User: "CMANAGER", Target: "CNODE1", Return: 200, Reason: 8, Executed: true, Fault: 1},
	}
	if diff := cmp.Diff(want, b.audits); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestOperatorCommands(t *testing.T) {
	t.Parallel()
	b := newBench(t, authorized("CNODE1", "CNODE2"))
	b.step(LogOff{Guest: "cnode1"})
	b.wait(2 * time.Second)
	b.step(LogOn{Guest: "cnode1"})
	b.wait(2 * time.Second)
	b.step(Die{Guest: "CNODE2"})
	want := []string{
		"14:38:36 OPERATOR *3 GRAF L0003 LOGOFF AS CNODE1 USERS = 59 FORCED BY OPERATOR",
		"14:38:37 OPERATOR *3 AUTO LOGON *** CNODE1 USERS = 60 BY OPERATOR",
		"14:38:38 OPERATOR *3 GRAF L0004 LOGOFF AS CNODE2 USERS = 59",
	}
	if diff := cmp.Diff(want, b.lines); diff != "" {
		t.Errorf("operator's log (-want +got):\n%s", diff)
	}
	for _, tc := range []struct {
		ev   Event
		want error
	}{
		{LogOff{Guest: "CNODE9"}, ErrNoGuest},
		{LogOff{Guest: "CNODE2"}, ErrGuestState},
		{LogOn{Guest: "CNODE1"}, ErrGuestState},
		{LogOn{Guest: "CNODE2", Member: "ZVM9"}, ErrNoMember},
		{Die{Guest: "CNODE2"}, ErrGuestState},
		{SetGuest{Guest: "CNODE2", State: Stopping}, ErrGuestState},
		{SetMember{Member: "ZVM9"}, ErrNoMember},
		{SetAuthority{Member: "ZVM9"}, ErrNoMember},
		{RemoveFault{ID: 7}, ErrNoFault},
	} {
		actions := b.step(tc.ev)
		r, ok := Action(nil), false
		for _, a := range actions {
			if r, ok = a.(Refused); ok {
				break
			}
		}
		if !ok || !errors.Is(r.(Refused).Err, tc.want) {
			t.Errorf("%#v: %v, want %v", tc.ev, actions, tc.want)
		}
	}
}

func TestSnapshotGoesOnWhereItWas(t *testing.T) {
	t.Parallel()
	cfg := authorized("CNODE1", "CNODE2", "CNODE3", "CNODE4")
	b := newBench(t, cfg)
	b.ask(request(smapi.ImageRecycle, "CNODE1"))
	b.wait(time.Second)
	b.ask(deactivate("CNODE2", "IMMED"))
	b.step(Die{Guest: "CNODE3"})
	text, err := json.Marshal(b.c.Snapshot())
	if err != nil {
		t.Fatal(err)
	}
	var snap Snapshot
	if err := json.Unmarshal(text, &snap); err != nil {
		t.Fatal(err)
	}
	snap.Guests = append(snap.Guests, GuestSnapshot{Name: "GONE", State: "ON"})

	a := newBench(t, cfg)
	a.now = figure21.Add(time.Hour)
	if w := a.c.Restore(a.now, snap); len(w) != 1 || w[0].Text != `the kept state of guest "GONE" (ON) is skipped` {
		t.Errorf("warnings %v", w)
	}
	states := func() string {
		a.step(Tick{})
		var out []string
		for _, g := range a.c.Guests() {
			out = append(out, g.State.String())
		}
		return strings.Join(out, " ")
	}
	a.want("at once", states(), "STOPPING STOPPING OFF ON")
	a.now = a.now.Add(500 * time.Millisecond)
	a.want("after what was left of the first", states(), "STARTING STOPPING OFF ON")
	a.now = a.now.Add(time.Second)
	a.want("after what was left of the second", states(), "ON OFF OFF ON")
	if id := a.response(request(smapi.ImageStatusQuery, "CNODE1")).RequestID; id != 10011 {
		t.Errorf("the next request id is %d, want 10011", id)
	}
}
