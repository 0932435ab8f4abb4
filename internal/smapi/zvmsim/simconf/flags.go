package simconf

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/haobox/haobox/internal/smapi/zvmsim"
	"github.com/haobox/haobox/internal/smapi/zvmsim/simd"
)

// Flags are the options of the command line, which go on top of a file.
type Flags struct {
	// Config is the configuration file, "" for none.
	Config string
	// Listen are endpoints with their options.
	Listen []string
	// Guests are names with commas between them; NAME=off is not logged on.
	Guests string
	// Authorize are NAME:PASSWORD of users who may do everything.
	Authorize []string
	Faults    []string
	// Switches are NAME or NAME=VALUE, by their names in the file.
	Switches []string
	// AuthList and NameList are files for all members.
	AuthList, NameList string
	OnLogoff, OnLogon  string
	HookLimit          time.Duration
	// Logoff, LogoffSpread, Logon and Answer are delays of all systems; nil
	// leaves them.
	Logoff, LogoffSpread, Logon, Answer *time.Duration
	// Seed and Rate are text; "" leaves them.
	Seed, Rate string

	Control, State, Audit, ReadyFile string
	CertFile, KeyFile, CAFile        string
	CertNames                        []string
}

// Setup makes the setup of a simulator. All faults are in the error.
func (f Flags) Setup(read func(name string) ([]byte, error)) (simd.Setup, error) {
	setup := simd.Setup{Sim: zvmsim.Default()}
	if f.Config != "" {
		text, err := read(f.Config)
		if err != nil {
			return simd.Setup{}, fmt.Errorf("read the configuration: %w", err)
		}
		if setup, err = Parse(f.Config, text, read); err != nil {
			return simd.Setup{}, err
		}
	}
	var errs []error
	note := func(flag string, err error) bool {
		if err != nil {
			errs = append(errs, fmt.Errorf("--%s: %w", flag, err))
		}
		return err == nil
	}
	f.apply(&setup, read, note)
	if len(errs) == 0 {
		note("guests, --authorize", setup.Sim.Validate())
	}
	if len(setup.Endpoints) == 0 && setup.Control == "" {
		errs = append(errs, errors.New("nothing to listen at: give --listen tcp:HOST:PORT or another endpoint"))
	}
	if len(errs) > 0 {
		return simd.Setup{}, errors.Join(errs...)
	}
	return setup, nil
}

// apply puts the options on top of setup.
func (f Flags) apply(setup *simd.Setup, read func(name string) ([]byte, error), note func(string, error) bool) {
	for _, text := range f.Listen {
		if e, err := simd.ParseEndpoint(text); note("listen", err) {
			setup.Endpoints = append(setup.Endpoints, e)
		}
	}
	systems := setup.Sim.Systems
	for _, name := range strings.FieldsFunc(f.Guests, func(r rune) bool { return r == ',' || r == ' ' }) {
		name, state, given := strings.Cut(name, "=")
		if given && state != "off" && state != "on" {
			note("guests", fmt.Errorf("guest %s is %q; a guest is NAME, NAME=on or NAME=off", name, state))
		}
		systems[0].Guests = append(systems[0].Guests, zvmsim.Guest{Name: name, On: state != "off"})
	}
	for i := range systems {
		s := &systems[i]
		for _, text := range f.Switches {
			note("switch", SetSwitch(&s.Switches, text))
		}
		for _, d := range []struct {
			from *time.Duration
			to   *time.Duration
		}{{f.Logoff, &s.Delays.Logoff}, {f.LogoffSpread, &s.Delays.LogoffSpread}, {f.Logon, &s.Delays.Logon}, {f.Answer, &s.Delays.Answer}} {
			if d.from != nil {
				*d.to = *d.from
			}
		}
		for j := range s.Members {
			if f.AuthList != "" {
				text, err := read(f.AuthList)
				note("authlist", err)
				s.Members[j].AuthList = append(append([]byte{}, text...), '\n')
			}
			if f.NameList != "" {
				text, err := read(f.NameList)
				note("namelist", err)
				s.Members[j].NameList = text
			}
		}
	}
	for _, text := range f.Authorize {
		if u, err := ParseUser(text); note("authorize", err) {
			setup.Sim.Authorize(u.Name, u.Password)
		}
	}
	for _, text := range f.Faults {
		if fault, err := zvmsim.ParseFault(text); note("fault", err) {
			setup.Sim.Faults = append(setup.Sim.Faults, fault)
		}
	}
	if f.OnLogoff != "" {
		setup.OnLogoff = simd.ParseCommand(f.OnLogoff)
	}
	if f.OnLogon != "" {
		setup.OnLogon = simd.ParseCommand(f.OnLogon)
	}
	if f.HookLimit > 0 {
		setup.HookLimit = f.HookLimit
	}
	if f.Seed != "" {
		seed, err := parseSeed(f.Seed)
		note("seed", err)
		setup.Sim.Seed = seed
	}
	if f.Rate != "" {
		rate, err := ParseRate(f.Rate)
		note("clock-rate", err)
		setup.ClockRate = rate
	}
	for _, p := range []struct{ from, to *string }{
		{&f.Control, &setup.Control}, {&f.State, &setup.StateFile}, {&f.Audit, &setup.AuditFile}, {&f.ReadyFile, &setup.ReadyFile},
		{&f.CertFile, &setup.Certificate.CertFile}, {&f.KeyFile, &setup.Certificate.KeyFile}, {&f.CAFile, &setup.CAFile},
	} {
		if *p.from != "" {
			*p.to = *p.from
		}
	}
	if (setup.Certificate.CertFile == "") != (setup.Certificate.KeyFile == "") {
		note("tls-cert", errors.New("--tls-cert and --tls-key go together"))
	}
	setup.Certificate.Names = append(setup.Certificate.Names, f.CertNames...)
}

// SetSwitch sets one switch by its name in the file: NAME for one that is true
// or false, or NAME=VALUE.
func SetSwitch(s *zvmsim.Switches, text string) error {
	name, value, given := strings.Cut(text, "=")
	if !given {
		value = "true"
	}
	r := &reader{document: document{name: "switch"}}
	for _, f := range switchFields(r, s) {
		if f.key == name {
			f.set(textNode(value), name)
			for i, err := range r.errs {
				// Without the place in a file that there is not.
				_, what, _ := strings.Cut(err.Error(), ErrFile.Error()+": ")
				r.errs[i] = fmt.Errorf("%w: %s", ErrFile, what)
			}
			return errors.Join(r.errs...)
		}
	}
	return fmt.Errorf("%w: unknown switch %q; see switches in smapid(8)", ErrFile, name)
}
