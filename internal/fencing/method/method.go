// Package method is the core of one attempt to fence a node: it turns the node
// of a cluster.conf(5) into runs of fence agents, one after the other, and their
// exit statuses into a result (fenced(8); the manual 5.5).
//
//	run, actions := method.Fence(now, conf, "CNODE1", method.Options{Local: "CNODE2"})
//	for {
//		switch a := actions[0].(type) {
//		case method.Start: // run a.Agent with a.Stdin for at most a.Limit
//			actions = run.Step(now, method.Ended{ID: a.ID, Exit: 0})
//		case method.Done:
//			return a.Result
//		}
//	}
//
// Methods are tried in the order of the file until one succeeds; in a method
// all devices must succeed, in order. Both shapes of an SSI cluster follow from
// it: a method for each server means that any one's word is enough, several
// devices in one method that every server must confirm.
//
// Three things go beyond fenced(8), docs/adr/0009:
//
// A reboot by several devices of one method switches all off before it switches
// any on: with a power supply on each device the node would otherwise never be
// without power, and with an SSI server on each the second would shoot what the
// first has just started. It is done where every device has action="reboot", or
// none and an agent of ours. When all confirmed "off" the method has
// succeeded, whatever becomes of "on".
//
// verify="1" of a device or fence device asks the agent for the status
// afterwards and believes in nothing but "off" (exit status 2); a reboot becomes
// off, status, on. Without an action it becomes off and status, and on only for
// agents of ours.
//
// agent_limit="SECONDS" bounds a run of the agent.
//
// verify and agent_limit are not passed to agents.
package method

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/haobox/haobox/internal/clusterconf"
	"github.com/haobox/haobox/internal/fencing"
)

// Limits of fenced(8).
const (
	// MaxMethods and MaxDevices are how many are used of a node and of a
	// method.
	MaxMethods = 8
	MaxDevices = 8
	// MaxEntries are kept of an attempt.
	MaxEntries = 32
)

// DefaultAgentLimit bounds a run of an agent. The original waits for ever. Ours:
// our agents end by themselves within 2 minutes, old ones may need power_timeout
// for off and for on.
const DefaultAgentLimit = 5 * time.Minute

// maxAgentLimit is the most that agent_limit may say.
const maxAgentLimit = time.Hour

// ErrSelf: a node must not fence itself: nobody would be left to see the end.
var ErrSelf = errors.New("a node does not fence itself")

// Mode says what to run.
type Mode uint8

// The modes.
const (
	ModeFence   Mode = iota // methods until one succeeds
	ModeUnfence             // all unfence devices
	ModeStatus              // the status of all devices of all methods, or of one
)

// Options of a run. The zero value is fine.
type Options struct {
	// Local is the node that this runs on; fencing it is refused.
	Local string
	// AgentLimit bounds runs of agents without an agent_limit; 0 means
	// DefaultAgentLimit.
	AgentLimit time.Duration
	// Method is the only one to ask in ModeStatus, from 1; 0 means all.
	Method int
}

// Secret is text that no log may show. Its String is redacted.
type Secret []byte

// String says only how long it is.
func (s Secret) String() string { return fmt.Sprintf("(%d bytes)", len(s)) }

// LogValue is String, for slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// Action is what the shell does: Start or Done.
type Action interface{ action() }

// Start runs an agent. It is answered by Ended with the same ID.
type Start struct {
	ID int
	// Agent is a name to be looked up in PATH, or a path.
	Agent string
	// Stdin is written to the agent; it holds passwords.
	Stdin Secret
	// Hide are the values in Stdin that must not be shown.
	Hide []string
	// Limit is when the agent is to be killed; never 0.
	Limit time.Duration
}

// Done ends the run.
type Done struct {
	Result fencing.Result
	// Undefined says that there was nothing to run: no such node, or it has no
	// method or unfence device.
	Undefined bool
	// Off says of ModeStatus that all devices are off.
	Off bool
	// Overflow is how many entries are not in the result: only MaxEntries are.
	Overflow int
}

func (Start) action() {}
func (Done) action()  {}

// Failure is why an agent has no exit status.
type Failure uint8

// Failures of agents. Those after ExitedItself have no exit status.
const (
	ExitedItself Failure = iota
	CannotFork           // no process could be made: the machine is out of something
	CannotExec           // no such program, or it may not be run
	Killed               // by a signal
	TimedOut             // by Limit
)

// Ended is the end of an agent.
type Ended struct {
	ID      int
	Exit    int
	Failure Failure
	// Detail is a line on what went wrong, without secrets; "" is fine.
	Detail string
}

// Args is an attempt's text for one device as -vv shows it: with newlines as
// blanks, and without the values of secrets.
type Args struct {
	Method, Device int
	Text           string
}

// op is a run of an agent.
type op struct {
	method, device int // as in log lines
	dev            clusterconf.Device
	// action overrides that of the configuration; "" leaves it alone.
	action string
	// check says what an exit status means.
	check check
	// code is why it cannot be run.
	code fencing.Code
}

type check uint8

const (
	mustSucceed  check = iota
	mustBeOff          // the status after mustSucceed of the same device
	maySucceed         // "on" after all are off
	reportStatus       // ModeStatus
)

// Run is one attempt. It is a core: it has no clock and starts nothing. Not safe
// for concurrent use.
type Run struct {
	conf   *clusterconf.Config
	opt    Options
	mode   Mode
	victim string
	// groups are the methods; next is the index of the op under way.
	groups [][]op
	group  int
	next   int
	id     int
	begun  time.Time
	failed bool // one unfence device, or the method under way
	// seen and allOff sum up the answers of ModeStatus.
	seen, allOff bool
	done         Done
	over         bool
	args         []Args
}

// Find returns the node of a configuration that a name means: exactly, up to
// its first dot, or by the short name of the node's second ring, whatever its
// case (fenced(8)). It is nil if there is none.
func Find(conf *clusterconf.Config, name string) *clusterconf.Node {
	short, _, _ := strings.Cut(name, ".")
	for _, want := range []string{name, short} {
		if n := conf.Node(want); n != nil {
			return n
		}
	}
	for i := range conf.Nodes {
		if alt := conf.Nodes[i].AltName; alt != nil {
			if s, _, _ := strings.Cut(alt.Name, "."); strings.EqualFold(s, short) {
				return &conf.Nodes[i]
			}
		}
	}
	return nil
}

// New begins a run at a time. victim is the node's name, or what Find makes of
// it. The error is ErrSelf.
func New(now time.Time, mode Mode, conf *clusterconf.Config, victim string, opt Options) (*Run, []Action, error) {
	if opt.AgentLimit <= 0 {
		opt.AgentLimit = DefaultAgentLimit
	}
	r := &Run{conf: conf, opt: opt, mode: mode, victim: victim, allOff: true}
	n := Find(conf, victim)
	if n != nil {
		r.victim = n.Name
	}
	if mode == ModeFence && opt.Local != "" && r.victim == opt.Local {
		return nil, nil, fmt.Errorf("fence %s: %w", victim, ErrSelf)
	}
	r.plan(n)
	return r, r.proceed(now), nil
}

// Fence is New with ModeFence.
func Fence(now time.Time, conf *clusterconf.Config, victim string, opt Options) (*Run, []Action, error) {
	return New(now, ModeFence, conf, victim, opt)
}

// Victim is the node's name in the configuration, or what was asked for.
func (r *Run) Victim() string { return r.victim }

// Args are the arguments of the agents that were started so far.
func (r *Run) Args() []Args { return r.args }

// plan makes the list of what to run.
func (r *Run) plan(n *clusterconf.Node) {
	fault := func(m int, code fencing.Code) []op { return []op{{method: m, code: code}} }
	switch {
	case r.mode == ModeUnfence && n != nil:
		all := n.Unfence[:min(len(n.Unfence), MaxDevices)]
		for i, d := range all {
			r.groups = append(r.groups, []op{{device: i, dev: d, code: r.fault(d)}})
		}
		if len(all) == 0 {
			r.done.Undefined = true
			r.groups = append(r.groups, fault(0, fencing.CodeNoDevice))
		}
		return
	case n == nil, len(n.Methods) == 0:
		r.done.Undefined = true
		r.groups = append(r.groups, fault(0, fencing.CodeNoMethod))
		return
	}
	methods := n.Methods[:min(len(n.Methods), MaxMethods)]
	if r.opt.Method > len(methods) {
		r.groups = append(r.groups, fault(r.opt.Method-1, fencing.CodeMethodNumber))
		return
	}
	for m := range methods {
		if r.opt.Method > 0 && m != r.opt.Method-1 {
			continue
		}
		devices := first(methods, methods[m].Name).Devices
		devices = devices[:min(len(devices), MaxDevices)]
		switch {
		case len(devices) == 0:
			r.groups = append(r.groups, fault(m, fencing.CodeNoDevice))
		case r.mode == ModeStatus:
			var g []op
			for i, d := range devices {
				g = append(g, op{method: m, device: i, dev: d, action: "status", check: reportStatus, code: r.fault(d)})
			}
			r.groups = append(r.groups, g)
		default:
			r.groups = append(r.groups, r.sequence(m, devices))
		}
	}
}

// first is the first method of a name: methods are looked up by it. [quirk]
func first(methods []clusterconf.Method, name string) clusterconf.Method {
	for _, m := range methods {
		if m.Name == name {
			return m
		}
	}
	return clusterconf.Method{}
}

// sequence is the runs of one method.
func (r *Run) sequence(m int, devices []clusterconf.Device) []op {
	split := len(devices) > 1 // off all, then on all
	for _, d := range devices {
		split = split && r.reboots(d)
	}
	var off, on []op
	for i, d := range devices {
		o := op{method: m, device: i, dev: d, code: r.fault(d)}
		verify := r.attr(d, "verify") == "1" && !turnsOn(r.action(d))
		switch {
		case split, verify && r.reboots(d):
			o.action = "off"
			on = append(on, op{method: m, device: i, dev: d, action: "on", check: maySucceed, code: o.code})
		case verify && r.action(d) == "":
			o.action = "off"
		}
		off = append(off, o)
		if verify {
			off = append(off, op{method: m, device: i, dev: d, action: "status", check: mustBeOff, code: o.code})
		}
	}
	return append(off, on...)
}

// turnsOn reports whether an action lets a node in again.
func turnsOn(action string) bool { return action == "on" || action == "enable" }

// reboots reports whether a device means to switch off and on: by its action,
// or without one by our own agents' default. That of others may be to cut
// off for good, and must not be undone.
func (r *Run) reboots(d clusterconf.Device) bool {
	switch r.action(d) {
	case "reboot", "cycle":
		return true
	case "":
		fd := r.conf.FenceDevice(d.Name)
		return fd != nil && Ours(fd.Agent)
	}
	return false
}

// Ours reports whether a fence agent is an applet of this binary, by its name.
func Ours(agent string) bool {
	switch path.Base(agent) {
	case "fence_zvm", "fence_zvmip":
		return true
	}
	return false
}

// action is the configured action in effect: agents take the last of several.
func (r *Run) action(d clusterconf.Device) string {
	last := ""
	take := func(args []clusterconf.Arg) {
		for _, a := range args {
			if a.Name == "action" || a.Name == "option" {
				last = strings.ToLower(strings.TrimSpace(a.Value))
			}
		}
	}
	take(d.Args)
	if fd := r.conf.FenceDevice(d.Name); fd != nil {
		take(fd.Args)
	}
	return last
}

// attr is an attribute of ours: of the device, else of the fence device.
func (r *Run) attr(d clusterconf.Device, name string) string {
	lists := [][]clusterconf.Arg{d.Args}
	if fd := r.conf.FenceDevice(d.Name); fd != nil {
		lists = append(lists, fd.Args)
	}
	for _, l := range lists {
		for _, a := range l {
			if a.Name == name {
				return a.Value
			}
		}
	}
	return ""
}

// fault is why a device cannot be used, or 0.
func (r *Run) fault(d clusterconf.Device) fencing.Code {
	fd := r.conf.FenceDevice(d.Name)
	switch {
	case fd == nil, fd.Agent == "":
		return fencing.CodeConfigAgent
	case len(text(d, *fd, r.victim, "")) > clusterconf.MaxFenceArgs,
		broken(r.victim), slices.ContainsFunc(d.Args, brokenArg), slices.ContainsFunc(fd.Args, brokenArg):
		return fencing.CodeConfigArgs
	}
	return 0
}

// broken says that an agent would take a part of s for another argument.
func broken(s string) bool { return strings.ContainsAny(s, "\r\n") }

func brokenArg(a clusterconf.Arg) bool { return broken(a.Value) }

// text is what the agent reads: clusterconf.FenceArgs without what is ours. An
// action given here takes the place of the configured ones, in the device's and
// in the fence device's attributes: agents take the last, and a status that
// reboots the node would be a nasty surprise.
func text(d clusterconf.Device, fd clusterconf.FenceDevice, victim, action string) []byte {
	d.Args, fd.Args = passed(d.Args, action), passed(fd.Args, action)
	out := clusterconf.FenceArgs(d, fd, victim)
	if action == "" {
		return out
	}
	// After the nodename, or what stands for it.
	i := bytes.Index(out, []byte("nodename="))
	end := i + bytes.IndexByte(out[i:], '\n') + 1
	return append(append(bytes.Clone(out[:end]), "action="+action+"\n"...), out[end:]...)
}

func passed(args []clusterconf.Arg, action string) (out []clusterconf.Arg) {
	for _, a := range args {
		switch {
		case a.Name == "verify", a.Name == "agent_limit":
		case action != "" && (a.Name == "action" || a.Name == "option"):
		default:
			out = append(out, a)
		}
	}
	return out
}

// Step takes the end of the agent under way. An Ended of another ID is ignored.
func (r *Run) Step(now time.Time, ev Ended) []Action {
	if r.over || ev.ID != r.id {
		return nil
	}
	o := r.groups[r.group][r.next]
	good := ev.Failure == ExitedItself && ev.Exit == 0
	code := fencing.CodeSuccess
	switch o.check {
	case mustSucceed, maySucceed:
		if !good {
			code = fencing.CodeAgent
			if ev.Failure == CannotFork {
				code = fencing.CodeFork
			}
		}
	case mustBeOff, reportStatus:
		switch {
		case good:
			code = fencing.CodeStatusOn
		case ev.Failure == ExitedItself && ev.Exit == 2: // the agents' API, action status
			code = fencing.CodeStatusOff
		default:
			code = fencing.CodeStatusError
		}
	}
	detail := ev.Detail
	if detail == "" && !good && o.check != mustBeOff && o.check != reportStatus {
		detail = describe(ev)
	}
	return r.judge(now, o, code, detail)
}

func describe(ev Ended) string {
	switch ev.Failure {
	case CannotFork:
		return "no process could be started"
	case CannotExec:
		return "the agent could not be started"
	case Killed:
		return "the agent was killed"
	case TimedOut:
		return "the agent was ended by its limit"
	}
	return "exit status " + strconv.Itoa(ev.Exit)
}

// judge takes the code of an op and goes on.
func (r *Run) judge(now time.Time, o op, code fencing.Code, detail string) []Action {
	e := fencing.Entry{Method: o.method, Device: o.device, Code: code, Start: r.begun, End: now, Detail: detail}
	if fd := r.conf.FenceDevice(o.dev.Name); fd != nil {
		e.Agent = fd.Agent
	}
	g := r.groups[r.group]
	verified := r.next+1 < len(g) && g[r.next+1].check == mustBeOff && g[r.next+1].device == o.device
	switch o.check {
	case mustSucceed:
		if code != fencing.CodeSuccess {
			r.note(e)
			return r.fail(now)
		}
		if verified {
			r.next++ // the status decides what the entry says
			return r.proceed(now)
		}
		r.note(e)
	case mustBeOff:
		if code != fencing.CodeStatusOff {
			if e.Detail == "" {
				e.Detail = "the agent reported success, its status says otherwise"
			}
			r.note(e)
			return r.fail(now)
		}
		e.Code = fencing.CodeSuccess
		r.note(e)
	case maySucceed:
		if code != fencing.CodeSuccess {
			e.Detail = strings.TrimSuffix("the node is off, but was not switched on: "+e.Detail, ": ")
			r.note(e)
		}
	case reportStatus:
		r.note(e)
		r.seen = true
		switch code {
		case fencing.CodeStatusOn:
			r.allOff = false
		case fencing.CodeStatusOff:
		default:
			return r.finish(false)
		}
	}
	r.next++
	return r.proceed(now)
}

// fail ends a method.
func (r *Run) fail(now time.Time) []Action {
	r.failed = true
	r.group, r.next = r.group+1, 0
	return r.proceed(now)
}

// proceed starts what comes next.
func (r *Run) proceed(now time.Time) []Action {
	for r.group < len(r.groups) {
		g := r.groups[r.group]
		if r.next == len(g) { // all of it succeeded
			if r.mode == ModeFence {
				return r.finish(true)
			}
			r.group, r.next = r.group+1, 0
			continue
		}
		o := g[r.next]
		if o.check != mustBeOff {
			r.begun = now
		}
		if o.code != 0 {
			return r.unusable(now, o)
		}
		fd := *r.conf.FenceDevice(o.dev.Name)
		r.id++
		s := Start{ID: r.id, Agent: fd.Agent, Stdin: text(o.dev, fd, r.victim, o.action), Limit: r.limit(o.dev)}
		s.Hide = hide(o.dev.Args, fd.Args)
		r.args = append(r.args, Args{Method: o.method, Device: o.device, Text: shown(o.dev, fd, r.victim, o.action)})
		return []Action{s}
	}
	switch r.mode {
	case ModeUnfence:
		return r.finish(!r.failed)
	case ModeStatus:
		return r.finish(r.seen && !r.failed)
	}
	return r.finish(false)
}

// unusable is an op that cannot be run.
func (r *Run) unusable(now time.Time, o op) []Action {
	e := fencing.Entry{Method: o.method, Device: o.device, Code: o.code, Start: now, End: now}
	if fd := r.conf.FenceDevice(o.dev.Name); fd != nil && o.dev.Name != "" {
		e.Agent = fd.Agent
	}
	r.note(e)
	if r.mode == ModeStatus {
		return r.finish(false)
	}
	return r.fail(now)
}

func (r *Run) limit(d clusterconf.Device) time.Duration {
	if n, err := strconv.Atoi(r.attr(d, "agent_limit")); err == nil && n > 0 {
		return min(time.Duration(n)*time.Second, maxAgentLimit)
	}
	return r.opt.AgentLimit
}

// note keeps an entry.
func (r *Run) note(e fencing.Entry) {
	if len(r.done.Result.Entries) == MaxEntries {
		r.done.Overflow++
		return
	}
	r.done.Result.Entries = append(r.done.Result.Entries, e)
}

func (r *Run) finish(ok bool) []Action {
	r.over = true
	r.done.Result.OK = ok && !r.done.Undefined
	r.done.Off = r.mode == ModeStatus && r.done.Result.OK && r.allOff
	return []Action{r.done}
}

// hide lists the secrets among arguments, the longest first: one may be the
// beginning of another.
func hide(lists ...[]clusterconf.Arg) (out []string) {
	for _, l := range lists {
		for _, a := range l {
			if a.String() != a.Name+"="+a.Value && a.Value != "" {
				out = append(out, a.Value)
			}
		}
	}
	slices.SortStableFunc(out, func(a, b string) int { return len(b) - len(a) })
	return out
}

// shown is text with newlines as blanks and without secrets.
func shown(d clusterconf.Device, fd clusterconf.FenceDevice, victim, action string) string {
	redact := func(args []clusterconf.Arg) (out []clusterconf.Arg) {
		for _, a := range args {
			_, v, _ := strings.Cut(a.String(), "=")
			out = append(out, clusterconf.Arg{Name: a.Name, Value: v})
		}
		return out
	}
	d.Args, fd.Args = redact(d.Args), redact(fd.Args)
	return strings.ReplaceAll(string(text(d, fd, victim, action)), "\n", " ")
}
