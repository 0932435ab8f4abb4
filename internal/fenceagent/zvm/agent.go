// Package zvm is the two z/VM fence agents: their options, how they decide
// (Core), and how they talk to SMAPI. fence_zvm and fence_zvmip differ only
// in the transport and in what they need of it.
//
// Sources: the manual chapters 5.3 to 5.6 and 8; IBM's "Systems Management
// Application Programming" for the functions and codes.
package zvm

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/haobox/haobox/internal/fenceagent"
	"github.com/haobox/haobox/internal/smapi"
	"github.com/haobox/haobox/platform"
)

// Named limits and files.
const (
	// DefaultsFile has key=value lines that stand for options not given, as
	// ssl=0 for systems without TLS.
	DefaultsFile = "/etc/haobox/smapi.conf"
	// passwordScriptLimit bounds password_script.
	passwordScriptLimit = 10 * time.Second
	// maxPassword is the longest password SMAPI takes.
	maxPassword = 200
	// unlimitedExchange and unlimitedPower take the place of the limits when
	// disable_timeout leaves them to the caller: an exchange that makes no
	// progress, and a guest that does not go off, end all the same.
	unlimitedExchange = 60 * time.Second
	unlimitedPower    = 10 * time.Minute
)

// Agent is one run of fence_zvm or fence_zvmip.
type Agent struct {
	// Name is IUCV or IP.
	Name string
	// Version is what the version action prints.
	Version string
	// Dial returns the way to an endpoint; nothing is connected yet. The
	// error is about the endpoint or the CA file.
	Dial func(Endpoint) (smapi.Dialer, error)
}

// Run runs the agent as called: with options in args[1:] or, if there are
// none, on standard input. It returns the exit status and has written all
// texts.
func (a *Agent) Run(ctx context.Context, env platform.Env, args []string) int {
	log := &logger{clock: env.Clock, stderr: env.Stderr, syslog: env.Log}
	options := Options(a.Name)
	if n := len(args); n > 1 && args[n-1] == fenceagent.CompletionFlag {
		_, _ = io.WriteString(env.Stdout, fenceagent.Completion(options))
		return fenceagent.ExitOK
	}
	values, err := read(env, options, args)
	if err != nil {
		return usage(log, err)
	}
	return a.run(ctx, env, log, options, values)
}

// read returns the options as the caller gave them.
func read(env platform.Env, options []fenceagent.Option, args []string) (*fenceagent.Values, error) {
	if len(args) > 1 {
		return fenceagent.FromArgs(options, args[1:])
	}
	return fenceagent.FromStdin(options, env.Stdin, env.Clock)
}

// usage reports a fault of the options.
func usage(log *logger, err error) int {
	log.fail(err.Error(), "Please use '-h' for usage")
	return fenceagent.ExitFailed
}

func (a *Agent) run(ctx context.Context, env platform.Env, log *logger, options []fenceagent.Option, v *fenceagent.Values) int {
	action, err := fenceagent.ParseAction(v.Text("action"))
	if err != nil {
		return usage(log, err)
	}
	d := fenceagent.Description{Name: a.Name, Short: short(a.Name), Long: longText(a.Name), URL: "https://github.com/haobox/haobox", Options: options}
	switch {
	case v.Bool("help") || action == fenceagent.Help:
		return print(env, d.Usage())
	case v.Bool("version") || action == fenceagent.Version:
		return print(env, a.Version+"\n")
	case action == fenceagent.Metadata || action == fenceagent.Manpage:
		return print(env, d.XML(action == fenceagent.Manpage))
	}
	if err := defaults(env, options, v); err != nil {
		return usage(log, err)
	}
	closeLog, err := log.configure(env, v)
	if err != nil {
		return usage(log, err)
	}
	defer closeLog()
	for _, n := range v.Notes {
		log.note(n)
	}
	r := request{agent: a, action: action, values: v}
	if err := r.check(ctx, env); err != nil {
		return usage(log, err)
	}
	if action == fenceagent.ValidateAll {
		return fenceagent.ExitOK
	}
	return r.execute(ctx, env, log)
}

// print writes text for the caller; one that does not read it is its own
// fault.
func print(env platform.Env, text string) int {
	if _, err := io.WriteString(env.Stdout, text); err != nil {
		return fenceagent.ExitFailed
	}
	return fenceagent.ExitOK
}

// defaults reads the defaults file into the options that were not given. What
// decides whom to fence is not taken from there.
func defaults(env platform.Env, options []fenceagent.Option, v *fenceagent.Values) error {
	text, err := env.FS.ReadFile(DefaultsFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return usagef("Failed: cannot read the defaults: %v", err)
	}
	d, err := fenceagent.FromText(options, text)
	if err != nil {
		return usagef("Failed: %s: %v", DefaultsFile, err)
	}
	for _, o := range options {
		switch o.Name {
		case "action", "plug", "nodename", "password", "help", "version", "missing_as_off":
			continue
		}
		if value, ok := d.Given(o.Name); ok {
			v.Default(o.Name, value)
		}
	}
	return nil
}

// configure sets up verbosity and the debug file.
func (l *logger) configure(env platform.Env, v *fenceagent.Values) (func(), error) {
	l.quiet = v.Bool("quiet")
	l.level = v.Int("verbose_level")
	if _, given := v.Given("verbose_level"); !given && v.Bool("verbose") {
		l.level = 1
	}
	name := v.Text("debug_file")
	if name == "" {
		return func() {}, nil
	}
	f, err := env.FS.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, usagef("Failed: cannot open the debug file: %v", err)
	}
	l.debug = f
	return func() { _ = f.Close() }, nil
}

// request is what a run was asked for, checked.
type request struct {
	agent    *Agent
	action   string
	values   *fenceagent.Values
	plugs    []string
	dialers  []smapi.Dialer
	names    []string
	user     string
	password smapi.Secret
}

// check looks at all options before anything is done. The order and the
// first words of the texts are the Python agent's.
func (r *request) check(ctx context.Context, env platform.Env) error {
	v := r.values
	for _, name := range []string{"tls1.0", "notls"} {
		if v.Bool(name) {
			return usagef("Failed: %s is refused: TLS 1.2 is the least that is spoken; disable_ssl=1 is plain TCP", name)
		}
	}
	if v.Bool("inet4_only") && v.Bool("inet6_only") {
		return usagef("Failed: inet4_only and inet6_only exclude each other; leave out one of them")
	}
	if _, err := smapi.ParseForceTime(v.Text("force_time")); err != nil {
		return usagef("Failed: force_time: %v", err)
	}
	if err := r.checkUser(); err != nil {
		return err
	}
	if err := r.checkAddress(); err != nil {
		return err
	}
	if fenceagent.NeedsPlug(r.action) {
		if err := r.checkPlugs(); err != nil {
			return err
		}
	}
	if r.agent.Name == IP {
		return r.checkPassword(ctx, env)
	}
	return nil
}

func (r *request) checkUser() error {
	if r.agent.Name != IP {
		return nil
	}
	r.user = strings.ToUpper(r.values.Text("username"))
	switch {
	case r.user == "":
		return usagef("Failed: You have to set login name")
	case !smapi.ValidUserID(r.user):
		return usagef("Failed: login name '%s' is no z/VM user id: 1 to 8 characters of A-Z, 0-9, @#$+-:", r.user)
	}
	return nil
}

func (r *request) checkAddress() error {
	for _, addr := range strings.Split(r.values.Text("ip"), ",") {
		addr = strings.TrimSpace(addr)
		if addr == "" {
			continue
		}
		e, err := endpoint(r.agent.Name, addr, r.values)
		if err != nil {
			return err
		}
		if slices.Contains(r.names, addr) {
			return usagef("Failed: address '%s' is given twice in ip", addr)
		}
		d, err := r.agent.Dial(e)
		if err != nil {
			return usagef("Failed: address '%s': %v", addr, err)
		}
		r.dialers, r.names = append(r.dialers, d), append(r.names, addr)
	}
	if len(r.dialers) == 0 {
		return usagef("Failed: You have to enter fence address")
	}
	return nil
}

func (r *request) checkPlugs() error {
	v := r.values
	text := v.Text("plug")
	if text == "" && v.Bool("nodename_as_plug") {
		text, _, _ = strings.Cut(v.Text("nodename"), ".")
	}
	if text == "" {
		return usagef("Failed: You have to enter plug number or machine identification")
	}
	parts := []string{text}
	if sep := v.Text("plug_separator"); sep != "" {
		parts = strings.Split(text, sep)
	}
	for _, p := range parts {
		p = strings.ToUpper(strings.TrimSpace(p))
		switch {
		case p == "":
			return usagef("Failed: plug '%s' has an empty name in its list", text)
		case len(p) > smapi.MaxNameLength:
			return usagef("Failed: Name of image can not be longer than 8 characters, as '%s' is", p)
		case !smapi.ValidUserID(p):
			return usagef("Failed: plug '%s' is no z/VM user id: 1 to 8 characters of A-Z, 0-9, @#$+-:", p)
		}
		if !slices.Contains(r.plugs, p) {
			r.plugs = append(r.plugs, p)
		}
	}
	return nil
}

// checkPassword finds the password: from a script, a file, or as given. It
// stands in no message.
func (r *request) checkPassword(ctx context.Context, env platform.Env) error {
	v := r.values
	script, file := v.Text("password_script"), v.Text("password_file")
	password, _ := v.Given("password")
	switch {
	case script != "":
		if r.action == fenceagent.ValidateAll {
			return nil // nothing is run to validate
		}
		var out, errs strings.Builder
		res, err := env.Runner.Run(ctx, platform.Cmd{
			Path: "/bin/sh", Args: []string{"sh", "-c", script},
			Stdout: &limitedWriter{w: &out, left: 64 << 10}, Stderr: &limitedWriter{w: &errs, left: 1 << 10}, Limit: passwordScriptLimit,
		})
		switch {
		case err != nil:
			return usagef("Failed: password_script could not be run: %v", err)
		case res.TimedOut:
			return usagef("Failed: password_script gave no answer in %v and was stopped", passwordScriptLimit)
		case !res.OK():
			return usagef("Failed: password_script ended with exit status %d; run it by hand to see why", res.ExitCode)
		}
		password = strings.TrimRight(out.String(), " \t\r\n")
	case file != "":
		text, err := env.FS.ReadFile(file)
		if err != nil {
			return usagef("Failed: cannot read password_file: %v", err)
		}
		first, _, _ := strings.Cut(string(text), "\n")
		password = strings.TrimRight(first, "\r")
	}
	switch {
	case password == "" && script == "" && file == "":
		return usagef("Failed: You have to enter password or password script")
	case password == "":
		return usagef("Failed: You have to set login password: the password script or file gave an empty one")
	case len(password) > maxPassword:
		return usagef("Failed: the password is longer than the %d bytes that SMAPI takes", maxPassword)
	}
	r.password = smapi.Secret(password)
	return nil
}

// limitedWriter drops what goes beyond a limit.
type limitedWriter struct {
	w    io.Writer
	left int
}

func (l *limitedWriter) Write(p []byte) (int, error) {
	n := min(len(p), l.left)
	l.left -= n
	if _, err := l.w.Write(p[:n]); err != nil {
		return 0, err
	}
	return len(p), nil
}

// limits returns the limits of one connect, one exchange and one change of
// state.
func (r *request) limits(env platform.Env) (login, shell, power time.Duration) {
	v := r.values
	login, shell, power = v.Duration("login_timeout"), v.Duration("shell_timeout"), v.Duration("power_timeout")
	unlimited := env.Getenv("PCMK_service") == "pacemaker-fenced"
	if _, given := v.Given("disable_timeout"); given {
		unlimited = v.Bool("disable_timeout")
	}
	// 0 is without a limit, as in the Python agent; an agent of ours has one.
	for _, l := range []struct {
		limit *time.Duration
		cap   time.Duration
	}{{&login, unlimitedExchange}, {&shell, unlimitedExchange}, {&power, unlimitedPower}} {
		if unlimited || *l.limit == 0 {
			*l.limit = l.cap
		}
	}
	return login, shell, power
}

// execute does what was asked for and returns the exit status.
func (r *request) execute(ctx context.Context, env platform.Env, log *logger) int {
	v := r.values
	login, shell, power := r.limits(env)
	d := &device{names: r.names, clock: env.Clock, log: log, self: r.user}
	if d.self == "" {
		d.self = "ALL"
	}
	for _, dialer := range r.dialers {
		d.clients = append(d.clients, &smapi.Client{
			Dialer: dialer, User: r.user, Password: r.password, ConnectLimit: login, ExchangeLimit: shell,
			Clock: env.Clock, Trace: log.trace,
		})
	}
	ignoreSilent := v.Text("ssi_unreachable") == "ignore"
	switch r.action {
	case fenceagent.Monitor:
		return r.conclude(log, d.monitor(ctx, ignoreSilent))
	case fenceagent.List, fenceagent.ListStatus:
		guests, err := d.list(ctx, ignoreSilent)
		if err != nil {
			return r.conclude(log, err)
		}
		return print(env, r.listing(guests))
	}
	if delay := v.Duration("delay"); delay > 0 && (r.action == fenceagent.Off || r.action == fenceagent.Reboot) {
		log.note("waiting for the delay of " + delay.String())
		if err := env.Clock.Sleep(ctx, delay); err != nil {
			return r.conclude(log, &fenceagent.FaultError{Fault: fenceagent.GenericError, Detail: "interrupted during the delay; nothing was done"})
		}
	}
	return r.power(ctx, env, log, d, r.plan(login, shell, power))
}

// plan is the plan for a guest still to be named.
func (r *request) plan(login, shell, power time.Duration) Plan {
	v := r.values
	p := Plan{
		Action: r.action, Members: r.names, Cycle: v.Text("method") == "cycle",
		ForceTime: strings.ToUpper(v.Text("force_time")), MissingAsOff: v.Bool("missing_as_off"),
		// A refused connection is tried again for as long as an exchange may
		// take, also when the caller has taken over the limits: it has other
		// devices to try.
		LookLimit: v.Duration("login_timeout") + v.Duration("shell_timeout"),
		CallLimit: login + shell, PowerTimeout: power,
		PowerWait: v.Duration("power_wait"), PollInterval: v.Duration("stonith_status_sleep"),
		OnAttempts: v.Int("retry_on"),
	}
	_, p.MissingExplicit = v.Given("missing_as_off")
	if r.action == fenceagent.On {
		p.OnAttempts++ // the first one and retry_on more
	}
	switch v.Text("verify_plug") {
	case "1":
		p.Verify = VerifyAlways
	case "0":
		p.Verify = VerifyNever
	}
	switch v.Text("ssi_unreachable") {
	case "ignore":
		p.Unreachable = UnreachableIgnored
	case "down":
		p.Unreachable = UnreachableDown
	}
	return p
}

// power runs on, off, reboot or status over the plugs. Several plugs are one
// machine with several parts: off and reboot succeed only if all are off, a
// reboot switches off all before it switches any on, and status is on if one
// is.
func (r *request) power(ctx context.Context, env platform.Env, log *logger, d *device, p Plan) int {
	if p.ForceTime != smapi.Immediate && r.action != fenceagent.On && r.action != fenceagent.Status {
		log.warn("force_time is '" + p.ForceTime + "', not IMMED: the guest goes on running for a time, which is not what fencing is for")
	}
	steps := []string{r.action}
	if r.action == fenceagent.Reboot && len(r.plugs) > 1 {
		steps = []string{fenceagent.Off, fenceagent.On}
	}
	started := env.Clock.Now()
	all := Outcome{Already: true}
	for _, step := range steps {
		for _, plug := range r.plugs {
			p.Guest, p.Action = plug, step
			o := d.fence(ctx, p)
			if o.Err != nil && step == fenceagent.On && r.action == fenceagent.Reboot {
				log.warn(fenceagent.WaitingOn.String() + ": " + o.Err.Detail)
				continue // all are off: the reboot has fenced
			}
			if o.Err != nil {
				return r.conclude(log, o.Err)
			}
			all.On = all.On || o.On
			all.Already = all.Already && o.Already
		}
	}
	return r.report(env, log, all, env.Clock.Now().Sub(started))
}

// report prints the result of a power action. The text goes out last: it
// changes nothing if nobody reads it.
func (r *request) report(env platform.Env, log *logger, o Outcome, took time.Duration) int {
	text, status := "", fenceagent.ExitOK
	switch r.action {
	case fenceagent.Status:
		text = "Status: ON"
		if !o.On {
			text, status = "Status: OFF", fenceagent.ExitOff
		}
	case fenceagent.Reboot:
		text = "Success: Rebooted"
	default:
		text = "Success: Powered " + strings.ToUpper(r.action)
		if o.Already {
			text = "Success: Already " + strings.ToUpper(r.action)
		}
	}
	if r.action != fenceagent.Status {
		log.done(text, "guest", strings.Join(r.plugs, ","), "elapsed", took.Round(time.Millisecond).String())
	}
	_, _ = io.WriteString(env.Stdout, text+"\n")
	return status
}

// conclude turns the error of an action into texts and the exit status.
func (r *request) conclude(log *logger, err error) int {
	if err == nil {
		return fenceagent.ExitOK
	}
	var fault *fenceagent.FaultError
	if !errors.As(err, &fault) {
		fault = &fenceagent.FaultError{Detail: err.Error()}
	}
	detail := fault.Detail
	if len(r.plugs) > 0 && !strings.Contains(detail, r.plugs[0]) {
		detail = r.action + " of " + strings.Join(r.plugs, ",") + ": " + detail
	}
	log.fail(fault.Fault.String(), detail)
	return fenceagent.ExitFailed
}

// listing is the output of list and list-status: name, separator, alias, and
// for list-status one more separator and the state. There is no alias:
// Pacemaker would take it for another guest.
func (r *request) listing(guests []guest) string {
	var b strings.Builder
	sep := r.values.Text("separator")
	for _, g := range guests {
		b.WriteString(g.name + sep)
		if r.action == fenceagent.ListStatus {
			state := "off"
			if g.on {
				state = "on"
			}
			b.WriteString(sep + state)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// trimName makes a name of an answer comparable.
func trimName(n string) string { return strings.ToUpper(strings.TrimSpace(n)) }
