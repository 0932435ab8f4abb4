package simconf

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/haobox/haobox/internal/smapi"
	"github.com/haobox/haobox/internal/smapi/zvmsim"
	"github.com/haobox/haobox/internal/smapi/zvmsim/simd"
)

// files is a folder in memory.
func files(pairs ...string) func(string) ([]byte, error) {
	return func(name string) ([]byte, error) {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return []byte(pairs[i+1]), nil
			}
		}
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
}

// plainCompare compares passwords as they are, not as they print.
var plainCompare = cmp.Comparer(func(a, b smapi.Secret) bool { return a.Reveal() == b.Reveal() })

func entry(requester, target, function string) string {
	return zvmsim.FormatEntry(zvmsim.Entry{Requester: requester, Target: target, Function: function}) + "\n"
}

func ptr[T any](v T) *T { return &v }

func TestParse_Shortest(t *testing.T) {
	t.Parallel()
	got, err := Parse("sim.yaml", []byte("listen: tcp:127.0.0.1:44444\nguests: [CNODE1, 0012]\nauthorize: CMANAGER:SEC:RET\n"), files())
	if err != nil {
		t.Fatal(err)
	}
	cfg := zvmsim.Default("CNODE1", "0012")
	cfg.Authorize("CMANAGER", "SEC:RET")
	want := simd.Setup{Sim: cfg, Endpoints: []simd.Endpoint{{Text: "tcp:127.0.0.1:44444", Member: "ZVM1"}}}
	if diff := cmp.Diff(want, got, plainCompare); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestParse_Everything(t *testing.T) {
	t.Parallel()
	text := `
seed: 7
clock_rate: 2.5
control: run/ctl
state: /var/lib/state
audit: audit.log
ready_file: ready
tls: {cert: c.pem, key: k.pem, names: [vm.example.com, 10.0.0.1], ca_out: ca.pem}
hooks: {on_logoff: ./off, on_logon: "echo $1 on", limit: 5s, wait: false}
faults:
  - function=Image_Deactivate,do=lost-answer,count=1
systems:
  - &first
    name: HAOSSI
    level: 640
    other_users: 3
    authlist_file: both.authlist
    namelist: |
      :nick.NODES
      :list.CNODE1 CNODE2
    delays: {logoff: 2s, logoff_spread: 1s, logon: 0s, answer: 5ms, answer_spread: 1ms, signal: 1m, max_force: 1h, logon_spread: 3s}
    switches: {strict_case: yes, errors: bare, elsewhere_activate: 45, syntax_base: 1}
    directory_manager: {down: true, deny: X1}
    security_manager: {deny: [X2, X3]}
    users:
      - {name: CMANAGER, password_file: pw}
      - {name: OLD, password: "1234", expired: true}
    members:
      - name: ZVM1
        workers: 5
        listen: [tcp:127.0.0.1:1, "tls:127.0.0.1:2,tls=expired"]
      - name: ZVM2
        state: isolated
        no_authlist: true
        listen: {at: "unix:/run/zvm2", peer: CNODE2}
    guests:
      - CNODE1
      - name: CNODE2
        member: ZVM2
        on: false
        defined: false
        directory: [USER CNODE2, "  IPL 150"]
        logoff: 0s
        logon: 10s
        on_logoff: [power, "off"]
  - name: OTHER
    listen: "vsock:5"
    guests: CNODE1
    authorize: [A:B]
`
	got, err := Parse("etc/sim.yaml", []byte(text), files("etc/both.authlist", entry("CMANAGER", "NODES", "ALL"), "etc/pw", "SECRET\n"))
	if err != nil {
		t.Fatal(err)
	}
	fault, err := zvmsim.ParseFault("function=Image_Deactivate,do=lost-answer,count=1")
	if err != nil {
		t.Fatal(err)
	}
	names := []byte(":nick.NODES\n:list.CNODE1 CNODE2\n")
	other := zvmsim.Default("CNODE1").Systems[0]
	other.Name, other.Members[0].Name, other.Switches.IgnoreHooks = "OTHER", "OTHER", true
	other.Users = []zvmsim.User{{Name: "A", Password: "B"}}
	other.Members[0].AuthList = []byte(entry("A", "ALL", "ALL"))
	want := simd.Setup{
		Sim: zvmsim.Config{Seed: 7, Faults: []zvmsim.Fault{fault}, Systems: []zvmsim.System{{
			Name: "HAOSSI", Level: 640, OtherUsers: 3,
			Delays: zvmsim.Delays{Logoff: 2 * time.Second, LogoffSpread: time.Second, LogonSpread: 3 * time.Second, Answer: 5 * time.Millisecond,
				AnswerSpread: time.Millisecond, Signal: time.Minute, MaxForce: time.Hour},
			Switches:      zvmsim.Switches{StrictCase: true, Errors: zvmsim.ErrorsBare, ElsewhereActivate: 45, SyntaxBase: 1, IgnoreHooks: true},
			DirectoryDown: true, DirectoryDenies: []string{"X1"}, SecurityDenies: []string{"X2", "X3"},
			Users: []zvmsim.User{{Name: "CMANAGER", Password: "SECRET"}, {Name: "OLD", Password: "1234", Expired: true}},
			Members: []zvmsim.Member{
				{Name: "ZVM1", Workers: 5, AuthList: []byte(entry("CMANAGER", "NODES", "ALL")), NameList: names},
				{Name: "ZVM2", State: zvmsim.MemberIsolated, NameList: names},
			},
			Guests: []zvmsim.Guest{
				{Name: "CNODE1", On: true},
				{Name: "CNODE2", Member: "ZVM2", Undefined: true, Directory: []string{"USER CNODE2", "  IPL 150"}, Logoff: ptr(time.Duration(0)), Logon: ptr(10 * time.Second)},
			},
		}, other}},
		Endpoints: []simd.Endpoint{
			{Text: "tcp:127.0.0.1:1", Member: "ZVM1"}, {Text: "tls:127.0.0.1:2", Member: "ZVM1", TLS: simd.TLSExpired},
			{Text: "unix:/run/zvm2", Member: "ZVM2", Peer: "CNODE2"}, {Text: "vsock:5", Member: "OTHER"},
		},
		OnLogoff: simd.Command{Args: []string{"./off"}}, OnLogon: simd.ParseCommand("echo $1 on"), HookLimit: 5 * time.Second,
		Guests:    []simd.GuestHooks{{System: "HAOSSI", Guest: "CNODE2", OnLogoff: simd.Command{Args: []string{"power", "off"}}}},
		ClockRate: 2.5, Control: "etc/run/ctl", StateFile: "/var/lib/state", AuditFile: "etc/audit.log", ReadyFile: "etc/ready", CAFile: "etc/ca.pem",
		Certificate: simd.Certificate{CertFile: "etc/c.pem", KeyFile: "etc/k.pem", Names: []string{"vm.example.com", "10.0.0.1"}},
	}
	if diff := cmp.Diff(want, got, plainCompare); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestParse_SaysAllThatIsWrong(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, text string
		want       []string
	}{
		{"values", "seed: -1\nclock_rate: 0\ntls:\n  cert: x\nhooks: 5\nfaults: [do=explode]\n", []string{
			`sim.yaml:1: bad configuration: seed: "-1" is not a number of at most 64 bits`,
			`sim.yaml:2: bad configuration: clock_rate: "0" is not a number above 0 and at most 10000`,
			`sim.yaml:4: bad configuration: tls: cert and key go together`,
			`sim.yaml:5: bad configuration: hooks: it is "5", not keys with values`,
			`sim.yaml:6: bad configuration: faults[0]: bad fault "do=explode"`,
		}},
		{"guests", "guests:\n- {name: A, on: maybe, logoff: 5}\n- [x]\n- {}\n- {name: {x: y}}\n", []string{
			`sim.yaml:2: bad configuration: guests[0].on: "maybe" is not true or false`,
			`sim.yaml:2: bad configuration: guests[0].logoff: "5" is not a duration such as 1.5s or 300ms`,
			`sim.yaml:3: bad configuration: guests[1]: it is a list, not a single value`,
			`sim.yaml:4: bad configuration: guests[2]: a guest has a name`,
			`sim.yaml:5: bad configuration: guests[3].name: it is a mapping, not a single value`,
		}},
		{"members", "members:\n- {name: A, workers: 0, state: sleepy, listen: 'tcp:x,member=B'}\n- {listen: {tls: odd}}\n- {name: C, authlist: x, no_authlist: true}\n", []string{
			`members[0].workers: "0" is not a number from 1 to 100`,
			`members[0].state: member state "sleepy" is not one of [up down`,
			`members[1].listen.tls: TLS fault "odd" is not one of none, expired`,
			`members[1].listen: an endpoint has at: tcp:HOST:PORT`,
			`members[1]: a member has a name`,
			`member C has an AUTHLIST and no_authlist`,
			`member A listens for member B`,
		}},
		{"files", "authlist_file: nosuch\nusers: [{name: A, password_file: nosuch}, {password: x}]\nauthorize: [nobody]\n", []string{
			`sim.yaml:1: bad configuration: authlist_file: open nosuch: file does not exist`,
			`users[0].password_file: open nosuch: file does not exist`,
			`users[1]: a user has a name`,
			`authorize[0]: a user is NAME:PASSWORD`,
		}},
		{"switches", "switches: {errors: loud, level: 3}\n", []string{
			`switches.errors: "loud" is not counted, bare or text`, `switches: unknown key "level"; known are password_any_case`,
		}},
		{"syntax", "guests: [A\nlisten: x\n", []string{"sim.yaml:2: bad configuration: "}},
		{"a key that is there twice", "seed: 1\nseed: 2\n", []string{"sim.yaml:2: bad configuration: "}},
		{"a second document", "seed: 1\n---\nseed: 2\n", []string{"there is a second document; only one is read"}},
		{"an alias of nothing", "guests: *nodes\n", []string{"nothing above is called &nodes"}},
		{"names that are no names", "guests: [TOOLONGNAME]\n", []string{`sim.yaml: bad configuration: guest "TOOLONGNAME"`}},
		{"not a mapping", "- a\n", []string{"it is a list, not keys with values"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			_, err := Parse("sim.yaml", []byte(tc.text), files())
			if err == nil {
				t.Fatal("no error")
			}
			if !errors.Is(err, ErrFile) && !errors.Is(err, zvmsim.ErrConfig) {
				t.Errorf("%v is no ErrFile", err)
			}
			for _, w := range tc.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%q is not in:\n%v", w, err)
				}
			}
		})
	}
}

func TestParse_PasswordIsInNoError(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"users: [{name: TOOLONGNAME, password: hunter2xyz}]",
		"users: [{name: A, passwort: hunter2xyz}]",
		"authorize: [':hunter2xyz']",
		"authorize: ['TOOLONGNAME:hunter2xyz']",
	} {
		if _, err := Parse("sim.yaml", []byte(text), files()); err == nil || strings.Contains(err.Error(), "hunter2xyz") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestFlags(t *testing.T) {
	t.Parallel()
	read := files("sim.yaml", "guests: [CNODE1]\nlisten: tcp:127.0.0.1:1\nseed: 1\n", "al", entry("CMANAGER", "ALL", "ALL"), "nl", ":nick.X :list.Y")
	f := Flags{
		Config: "sim.yaml", Listen: []string{"unix:/run/smapi,peer=cnode2"}, Guests: "CNODE2,CNODE3=off", Authorize: []string{"OP:pw"},
		Faults: []string{"do=drop"}, Switches: []string{"strict_case", "errors=text"}, AuthList: "al", NameList: "nl",
		OnLogoff: "./off", Logoff: ptr(time.Duration(0)), Answer: ptr(time.Second), Seed: "9", Rate: "10",
		Control: "ctl", CertNames: []string{"localhost"},
	}
	got, err := f.Setup(read)
	if err != nil {
		t.Fatal(err)
	}
	s := got.Sim.Systems[0]
	summary := fmt.Sprint(len(got.Endpoints), got.Endpoints[1].Peer, s.Guests, s.Switches.StrictCase, s.Switches.Errors, s.Delays.Logoff, s.Delays.Logon,
		s.Delays.Answer, got.Sim.Seed, got.ClockRate, got.Control, got.OnLogoff.Args, len(got.Sim.Faults), got.Certificate.Names)
	want := "2CNODE2[{CNODE1  true false [] <nil> <nil> false false} {CNODE2  true false [] <nil> <nil> false false} {CNODE3  false false [] <nil> <nil> false false}]" +
		" true 2 0s 500ms 1s 9 10ctl[./off] 1 [localhost]"
	if diff := cmp.Diff(want, summary); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	auth, faults := zvmsim.ParseAuthList(s.Members[0].AuthList, true)
	wantAuth := []zvmsim.Entry{{Requester: "CMANAGER", Target: "ALL", Function: "ALL"}, {Requester: "OP", Target: "ALL", Function: "ALL"}}
	if diff := cmp.Diff(wantAuth, auth); diff != "" || faults != nil {
		t.Errorf("AUTHLIST, %v (-want +got):\n%s", faults, diff)
	}
}

func TestFlags_SaysAllThatIsWrong(t *testing.T) {
	t.Parallel()
	f := Flags{
		Listen: []string{"tcp:x,tls=expired"}, Guests: "CNODE1=maybe", Authorize: []string{"x"}, Faults: []string{"x"}, Switches: []string{"x", "strict_case=x"},
		AuthList: "nosuch", Seed: "x", Rate: "x", CertFile: "x",
	}
	_, err := f.Setup(files())
	for _, want := range []string{
		"--listen: bad endpoint", "--guests: guest CNODE1 is \"maybe\"", "--authorize: a user is NAME:PASSWORD", "--fault: bad fault",
		`--switch: bad configuration: unknown switch "x"`, `--switch: bad configuration: strict_case: "x" is not true or false`,
		"--authlist: open nosuch", "--seed: ", "--clock-rate: ", "--tls-cert and --tls-key go together",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in:\n%v", want, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("listen: tcp:127.0.0.1:44444\nguests: [CNODE1, CNODE2]\nauthorize: CMANAGER:SECRET\n"))
	f.Add([]byte("systems: [&a {name: X, guests: [*a]}]\nfaults: do=drop\nusers: !!str x\n"))
	f.Add([]byte("a: &a *a\n<<: *a\n? x\n: |\n  y\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		setup, err := Parse("sim.yaml", text, files())
		if err != nil {
			return
		}
		if err := setup.Sim.Validate(); err != nil {
			t.Errorf("accepted, but %v", err)
		}
	})
}
