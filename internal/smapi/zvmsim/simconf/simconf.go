// Package simconf reads the configuration file of smapid: YAML, in which a
// system of one member needs no more than
//
//	listen: tcp:127.0.0.1:44444
//	guests: [CNODE1, CNODE2]
//	authorize: CMANAGER:SECRET
//
// and an SSI cluster has members with listeners of their own:
//
//	name: HAOSSI
//	members:
//	  - {name: ZVM1, listen: "tcp:127.0.0.1:44444"}
//	  - {name: ZVM2, listen: "tcp:127.0.0.1:44445", authlist_file: zvm2.authlist}
//	guests: [{name: CNODE1, member: ZVM1}, {name: CNODE2, member: ZVM2}]
//
// The manual page smapid(8) has all keys. Every fault of a file is reported
// with its line and the path of the key, and nothing of a file with a fault is
// used.
package simconf

import (
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"github.com/haobox/haobox/internal/smapi"
	"github.com/haobox/haobox/internal/smapi/zvmsim"
	"github.com/haobox/haobox/internal/smapi/zvmsim/simd"
)

// reader reads one file.
type reader struct {
	document
	setup *simd.Setup
	// read reads a file that is named in this one.
	read func(name string) ([]byte, error)
}

// Parse reads the text of a configuration file called name. read opens the
// files that it names; their names are taken relative to its folder. All
// faults are in the error, which is an ErrFile.
func Parse(name string, text []byte, read func(name string) ([]byte, error)) (simd.Setup, error) {
	var setup simd.Setup
	r := &reader{document: document{name: name}, setup: &setup}
	r.read = func(file string) ([]byte, error) { return read(r.relative(file)) }
	root := r.parse(text)
	if len(r.errs) > 0 {
		return simd.Setup{}, errors.Join(r.errs...)
	}
	var wait *bool
	fields := r.globals(&wait)
	if r.has(root, "systems") {
		fields = append(fields, field{"systems", func(n ast.Node, path string) {
			r.list(n, path, func(n ast.Node, path string) {
				s := newSystem(&setup)
				r.mapping(n, path, s.fields(r))
				s.finish(r, n, path)
			})
		}})
		r.mapping(root, "", fields)
	} else {
		s := newSystem(&setup)
		r.mapping(root, "", append(fields, s.fields(r)...))
		s.finish(r, root, "")
	}
	if len(r.errs) > 0 {
		return simd.Setup{}, errors.Join(r.errs...)
	}
	if wait != nil {
		for i := range setup.Sim.Systems {
			setup.Sim.Systems[i].Switches.IgnoreHooks = !*wait
		}
	}
	if err := setup.Sim.Validate(); err != nil {
		return simd.Setup{}, fmt.Errorf("%s: %w", name, err)
	}
	return setup, nil
}

// relative is a file name as seen from the configuration file.
func (r *reader) relative(name string) string {
	if path.IsAbs(name) {
		return name
	}
	return path.Join(path.Dir(r.name), name)
}

// has reports whether the mapping n has a key.
func (r *reader) has(n ast.Node, key string) bool {
	m, ok := n.(*ast.MappingNode)
	if !ok {
		v, ok := n.(*ast.MappingValueNode)
		return ok && scalarText(v.Key) == key
	}
	for _, v := range m.Values {
		if scalarText(v.Key) == key {
			return true
		}
	}
	return false
}

// globals are the keys for the whole simulator.
func (r *reader) globals(wait **bool) []field {
	s := r.setup
	file := func(to *string) func(ast.Node, string) {
		return value(&r.document, to, func(name string) (string, error) { return r.relative(name), nil })
	}
	return []field{
		{"seed", value(&r.document, &s.Sim.Seed, parseSeed)},
		{"clock_rate", value(&r.document, &s.ClockRate, ParseRate)},
		{"control", file(&s.Control)},
		{"state", file(&s.StateFile)},
		{"audit", file(&s.AuditFile)},
		{"ready_file", file(&s.ReadyFile)},
		{"tls", func(n ast.Node, path string) {
			r.mapping(n, path, []field{
				{"cert", file(&s.Certificate.CertFile)},
				{"key", file(&s.Certificate.KeyFile)},
				{"names", r.strings(&s.Certificate.Names)},
				{"ca_out", file(&s.CAFile)},
			})
			if (s.Certificate.CertFile == "") != (s.Certificate.KeyFile == "") {
				r.bad(n, path, "cert and key go together")
			}
		}},
		{"hooks", func(n ast.Node, path string) {
			r.mapping(n, path, []field{
				{"on_logoff", r.command(&s.OnLogoff)},
				{"on_logon", r.command(&s.OnLogon)},
				{"limit", r.duration(&s.HookLimit)},
				{"wait", func(n ast.Node, path string) { *wait = new(bool); r.boolean(*wait)(n, path) }},
			})
		}},
		{"faults", func(n ast.Node, path string) {
			r.list(n, path, func(n ast.Node, path string) {
				var f zvmsim.Fault
				value(&r.document, &f, zvmsim.ParseFault)(n, path)
				s.Sim.Faults = append(s.Sim.Faults, f)
			})
		}},
	}
}

func parseSeed(s string) (uint64, error) {
	v, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is not a number of at most 64 bits", s)
	}
	return v, nil
}

// ParseRate reads how much faster than the machine's a clock runs.
func ParseRate(s string) (float64, error) {
	v, err := strconv.ParseFloat(s, 64)
	if err != nil || !(v > 0 && v <= simd.MaxRate) {
		return 0, fmt.Errorf("%q is not a number above 0 and at most %d", s, simd.MaxRate)
	}
	return v, nil
}

// command reads a hook: text, or a list of a program and its arguments.
func (r *reader) command(to *simd.Command) func(ast.Node, string) {
	return func(n ast.Node, path string) {
		if _, ok := r.plain(n, path).(*ast.SequenceNode); ok {
			r.strings(&to.Args)(n, path)
			return
		}
		value(&r.document, to, func(s string) (simd.Command, error) { return simd.ParseCommand(s), nil })(n, path)
	}
}

// system is a system while it is read.
type system struct {
	zvmsim.System
	setup *simd.Setup
	// authorize are users who may do everything.
	authorize []zvmsim.User
	// auth has what is common to members.
	auth   authority
	listen []simd.Endpoint
	guests []simd.GuestHooks
	// members has what was read of each member beside its zvmsim.Member.
	members []*member
}

// authority is where the AUTHLIST and NAMELIST come from.
type authority struct {
	authList, nameList []byte
	given, missing     bool
}

type member struct {
	zvmsim.Member
	auth   authority
	listen []simd.Endpoint
}

func newSystem(setup *simd.Setup) *system {
	s := &system{setup: setup}
	s.Name = "ZVM1"
	s.OtherUsers, s.Level, s.Delays = zvmsim.DefaultOtherUsers, zvmsim.DefaultLevel, zvmsim.DefaultDelays()
	return s
}

// fields are the keys of a system.
func (s *system) fields(r *reader) []field {
	fields := []field{
		{"name", r.str(&s.Name)},
		{"ssi", r.boolean(&s.SSI)},
		{"other_users", r.integer(&s.OtherUsers, 0, 1_000_000)},
		{"level", r.integer(&s.Level, 0, 9999)},
		{"delays", func(n ast.Node, path string) { r.mapping(n, path, delayFields(r, &s.Delays)) }},
		{"switches", func(n ast.Node, path string) { r.mapping(n, path, switchFields(r, &s.Switches)) }},
		{"directory_manager", func(n ast.Node, path string) {
			r.mapping(n, path, []field{{"down", r.boolean(&s.DirectoryDown)}, {"deny", r.strings(&s.DirectoryDenies)}})
		}},
		{"security_manager", func(n ast.Node, path string) {
			r.mapping(n, path, []field{{"deny", r.strings(&s.SecurityDenies)}})
		}},
		{"users", func(n ast.Node, path string) { r.list(n, path, s.user(r)) }},
		{"authorize", func(n ast.Node, path string) {
			r.list(n, path, func(n ast.Node, path string) {
				var u zvmsim.User
				value(&r.document, &u, ParseUser)(n, path)
				s.authorize = append(s.authorize, u)
			})
		}},
		{"guests", func(n ast.Node, path string) { r.list(n, path, s.guest(r)) }},
		{"members", func(n ast.Node, path string) { r.list(n, path, s.member(r)) }},
		{"listen", func(n ast.Node, path string) { r.list(n, path, r.endpoint(&s.listen)) }},
	}
	return append(fields, s.auth.fields(r)...)
}

// ParseUser reads NAME:PASSWORD.
func ParseUser(text string) (zvmsim.User, error) {
	name, password, ok := strings.Cut(text, ":")
	if !ok || name == "" {
		return zvmsim.User{}, errors.New("a user is NAME:PASSWORD")
	}
	return zvmsim.User{Name: name, Password: smapi.Secret(password)}, nil
}

// fields are the keys of AUTHLIST and NAMELIST.
func (a *authority) fields(r *reader) []field {
	text := func(to *[]byte, given *bool) func(ast.Node, string) {
		return value(&r.document, to, func(s string) ([]byte, error) { *given = true; return []byte(s), nil })
	}
	file := func(to *[]byte, given *bool) func(ast.Node, string) {
		return value(&r.document, to, func(name string) ([]byte, error) {
			*given = true
			b, err := r.read(name)
			if b == nil {
				b = []byte{}
			}
			return b, err
		})
	}
	var names bool
	return []field{
		{"authlist", text(&a.authList, &a.given)},
		{"authlist_file", file(&a.authList, &a.given)},
		{"no_authlist", r.boolean(&a.missing)},
		{"namelist", text(&a.nameList, &names)},
		{"namelist_file", file(&a.nameList, &names)},
	}
}

func delayFields(r *reader, d *zvmsim.Delays) []field {
	return []field{
		{"logoff", r.duration(&d.Logoff)},
		{"logoff_spread", r.duration(&d.LogoffSpread)},
		{"logon", r.duration(&d.Logon)},
		{"logon_spread", r.duration(&d.LogonSpread)},
		{"answer", r.duration(&d.Answer)},
		{"answer_spread", r.duration(&d.AnswerSpread)},
		{"signal", r.duration(&d.Signal)},
		{"max_force", r.duration(&d.MaxForce)},
	}
}

func switchFields(r *reader, s *zvmsim.Switches) []field {
	return []field{
		{"password_any_case", r.boolean(&s.PasswordAnyCase)},
		{"strict_case", r.boolean(&s.StrictCase)},
		{"strict_check", r.boolean(&s.StrictCheck)},
		{"no_comments", r.boolean(&s.NoComments)},
		{"no_builtin_lists", r.boolean(&s.NoBuiltinLists)},
		{"status_star_filters", r.boolean(&s.StatusStarFilters)},
		{"peer_wins", r.boolean(&s.PeerWins)},
		{"stopping_is_active", r.boolean(&s.StoppingIsActive)},
		{"starting_is_active", r.boolean(&s.StartingIsActive)},
		{"immediate_overrides", r.boolean(&s.ImmediateOverrides)},
		{"unknown_status", r.boolean(&s.UnknownStatus)},
		{"unknown_is_off", r.boolean(&s.UnknownIsOff)},
		{"elsewhere_visible", r.boolean(&s.ElsewhereVisible)},
		{"elsewhere_activate", r.integer(&s.ElsewhereActivate, 0, 1<<31-1)},
		{"isolated_loses_guests", r.boolean(&s.IsolatedLosesGuests)},
		{"no_queue", r.boolean(&s.NoQueue)},
		{"half_close_aborts", r.boolean(&s.HalfCloseAborts)},
		{"errors", value(&r.document, &s.Errors, func(t string) (zvmsim.ErrorOutput, error) {
			switch t {
			case "counted":
				return zvmsim.ErrorsCounted, nil
			case "bare":
				return zvmsim.ErrorsBare, nil
			case "text":
				return zvmsim.ErrorsText, nil
			}
			return 0, fmt.Errorf("%q is not counted, bare or text", t)
		})},
		{"inactive_array", r.boolean(&s.InactiveArray)},
		{"syntax_base", r.integer(&s.SyntaxBase, 0, 9)},
		{"ignore_hooks", r.boolean(&s.IgnoreHooks)},
	}
}

// user reads one user.
func (s *system) user(r *reader) func(ast.Node, string) {
	return func(n ast.Node, path string) {
		var u zvmsim.User
		var password string
		r.mapping(n, path, []field{
			{"name", r.str(&u.Name)},
			{"password", r.str(&password)},
			{"password_file", value(&r.document, &password, func(name string) (string, error) {
				b, err := r.read(name)
				return strings.TrimRight(string(b), "\r\n"), err
			})},
			{"expired", r.boolean(&u.Expired)},
		})
		if u.Name == "" {
			r.bad(n, path, "a user has a name")
		}
		u.Password = smapi.Secret(password)
		s.Users = append(s.Users, u)
	}
}

// guest reads one guest: its name, or keys.
func (s *system) guest(r *reader) func(ast.Node, string) {
	return func(n ast.Node, path string) {
		g := zvmsim.Guest{On: true}
		if !r.isMapping(n, path) {
			r.str(&g.Name)(n, path)
			s.Guests = append(s.Guests, g)
			return
		}
		defined := true
		hooks := simd.GuestHooks{}
		var logoff, logon time.Duration
		r.mapping(n, path, []field{
			{"name", r.str(&g.Name)},
			{"member", r.str(&g.Member)},
			{"on", r.boolean(&g.On)},
			{"defined", r.boolean(&defined)},
			{"directory", r.strings(&g.Directory)},
			{"logoff", func(n ast.Node, path string) { g.Logoff = &logoff; r.duration(&logoff)(n, path) }},
			{"logon", func(n ast.Node, path string) { g.Logon = &logon; r.duration(&logon)(n, path) }},
			{"on_logoff", r.command(&hooks.OnLogoff)},
			{"on_logon", r.command(&hooks.OnLogon)},
		})
		if g.Name == "" {
			r.bad(n, path, "a guest has a name")
		}
		g.Undefined = !defined
		s.Guests = append(s.Guests, g)
		if !hooks.OnLogoff.IsZero() || !hooks.OnLogon.IsZero() {
			hooks.Guest = g.Name
			s.guests = append(s.guests, hooks)
		}
	}
}

// member reads one member: its name, or keys.
func (s *system) member(r *reader) func(ast.Node, string) {
	return func(n ast.Node, path string) {
		m := &member{}
		if !r.isMapping(n, path) {
			r.str(&m.Name)(n, path)
		} else {
			r.mapping(n, path, append([]field{
				{"name", r.str(&m.Name)},
				{"listen", func(n ast.Node, path string) { r.list(n, path, r.endpoint(&m.listen)) }},
				{"workers", r.integer(&m.Workers, 1, 100)},
				{"state", value(&r.document, &m.State, zvmsim.ParseMemberState)},
			}, m.auth.fields(r)...))
			if m.Name == "" {
				r.bad(n, path, "a member has a name")
			}
		}
		s.members = append(s.members, m)
	}
}

// endpoint reads one endpoint: text as on the command line, or keys.
func (r *reader) endpoint(to *[]simd.Endpoint) func(ast.Node, string) {
	return func(n ast.Node, path string) {
		var e simd.Endpoint
		if !r.isMapping(n, path) {
			value(&r.document, &e, simd.ParseEndpoint)(n, path)
		} else {
			r.mapping(n, path, []field{
				{"at", r.str(&e.Text)},
				{"peer", r.str(&e.Peer)},
				{"tls", value(&r.document, &e.TLS, simd.ParseTLSFault)},
			})
			if e.Text == "" {
				r.bad(n, path, "an endpoint has at: tcp:HOST:PORT, tls:HOST:PORT, unix:PATH, vsock:PORT or iucv:PROGRAM")
			}
		}
		*to = append(*to, e)
	}
}

// finish puts together what was read of a system.
func (s *system) finish(r *reader, n ast.Node, path string) {
	if len(s.members) == 0 {
		s.members = []*member{{Member: zvmsim.Member{Name: s.Name}}}
	}
	for _, m := range s.members {
		if !m.auth.given && !m.auth.missing {
			m.auth.given, m.auth.missing, m.auth.authList = s.auth.given, s.auth.missing, s.auth.authList
		}
		if m.auth.nameList == nil {
			m.auth.nameList = s.auth.nameList
		}
		if m.auth.missing && m.auth.given {
			r.bad(n, path, "member %s has an AUTHLIST and no_authlist", m.Name)
		}
		m.NameList = m.auth.nameList
		if !m.auth.missing {
			// The text is shared by members; Authorize appends to it.
			m.AuthList = append([]byte{}, m.auth.authList...)
			if len(m.AuthList) > 0 && m.AuthList[len(m.AuthList)-1] != '\n' {
				m.AuthList = append(m.AuthList, '\n')
			}
		}
		s.Members = append(s.Members, m.Member)
		for _, e := range m.listen {
			if e.Member != "" && !strings.EqualFold(e.Member, m.Name) {
				r.bad(n, path, "member %s listens for member %s", m.Name, e.Member)
			}
			e.Member = m.Name
			s.setup.Endpoints = append(s.setup.Endpoints, e)
		}
	}
	for _, e := range s.listen {
		if e.Member == "" {
			e.Member = s.Members[0].Name
		}
		s.setup.Endpoints = append(s.setup.Endpoints, e)
	}
	for _, h := range s.guests {
		h.System = s.Name
		s.setup.Guests = append(s.setup.Guests, h)
	}
	one := zvmsim.Config{Systems: []zvmsim.System{s.System}}
	for _, u := range s.authorize {
		one.Authorize(u.Name, u.Password)
	}
	s.setup.Sim.Systems = append(s.setup.Sim.Systems, one.Systems[0])
}
