package ksys

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/haobox/haobox/platform"
)

// Commands are the system's commands; platform/src has them. The error of a
// command that is not installed is fs.ErrNotExist, of one that did not answer
// in time context.DeadlineExceeded.
type Commands interface {
	Subsystem(ctx context.Context, name string, limit time.Duration) (state string, pid int, err error)
	GroupLeader(ctx context.Context, limit time.Duration) (name string, id uint64, number int, err error)
	DomainOnline(ctx context.Context, limit time.Duration) (online, known bool)
	Start(ctx context.Context, name string, limit time.Duration) error
	Stop(ctx context.Context, name, level string, limit time.Duration) error
	Answers(ctx context.Context, name string, limit time.Duration) error
	BootTime(ctx context.Context, limit time.Duration) (string, error)
	SendLog(ctx context.Context, priority, tag, text string, limit time.Duration) error
}

// Store is the state folder; platform/statedir has it. Errors may have the
// methods Unsafe and Locked.
type Store interface {
	Read(name string) (data []byte, changed time.Time, err error)
	Create(name string, data []byte) error
	Replace(name string, data []byte) error
	Remove(name string) error
	Lock(name, note string) (release func(), err error)
	Holder(name string) (note string, held bool, err error)
}

// Runtime carries out the actions of a Core on a machine. Use one per call.
type Runtime struct {
	Applet   string
	Config   Config
	Env      platform.Env
	Commands Commands
	// Store is nil when the state folder is unusable; StoreErr says why.
	Store    Store
	StoreErr error
	Local    Local
	// Boot is the boot id, "-" if unknown.
	Boot string
	PID  int
	// Serial asks for one thing at a time, so that a simulation repeats.
	Serial bool
	// Log takes one line for the log; it never fails.
	Log func(level slog.Level, text string)

	release, withdraw func()
}

// Node is the name that this node goes by in files and messages.
func (r *Runtime) Node() string {
	if len(r.Local.Names) == 0 {
		return "-"
	}
	return r.Local.Names[0]
}

// LocalNames are the names of this node: the configured one, the host name
// and its first label.
func LocalNames(configured, host string) []string {
	var out []string
	for _, n := range []string{configured, host, FirstLabel(host)} {
		if n != "" && (len(out) == 0 || out[len(out)-1] != n) {
			out = append(out, n)
		}
	}
	return out
}

// Exit statuses for a signal, as a shell reports them.
const (
	exitHangup    = 128 + 1
	exitInterrupt = 128 + 2
	exitTerminate = 128 + 15
	exitKilled    = 128 + 9
)

// Run drives core to its end, prints its line and returns the exit status.
// When ctx is done it stops waiting, drops the lock and returns the status of
// the signal.
func (r *Runtime) Run(ctx context.Context, core Core) int {
	defer r.unlock()
	actions := core.Step(r.Env.Clock.Now(), Begin{})
	for {
		var answer Event
		for _, a := range actions {
			if f, ok := a.(Finish); ok {
				return r.finish(f)
			}
			answer = r.do(ctx, a)
		}
		if ctx.Err() != nil {
			return signalStatus(ctx)
		}
		if answer == nil {
			return exitKilled
		}
		actions = core.Step(r.Env.Clock.Now(), answer)
	}
}

func signalStatus(ctx context.Context) int {
	cause := context.Cause(ctx)
	switch {
	case cause != nil && strings.HasPrefix(cause.Error(), "hangup"):
		return exitHangup
	case cause != nil && strings.HasPrefix(cause.Error(), "interrupt"):
		return exitInterrupt
	}
	return exitTerminate
}

func (r *Runtime) finish(f Finish) int {
	line := f.Verdict + " " + f.Details
	fmt.Fprintf(r.Env.Stdout, "%s: %s\n", r.Applet, line)
	switch {
	case f.Quiet:
	case f.Verdict == "FAIL":
		r.Log(slog.LevelError, fmt.Sprintf("%s rc=%d", line, f.Code))
	default:
		r.Log(slog.LevelInfo, fmt.Sprintf("%s rc=%d", line, f.Code))
	}
	return f.Code
}

// unlock drops the lock. A request to give up that came too late stays for
// its writer to remove.
func (r *Runtime) unlock() {
	if r.release != nil {
		r.release()
		r.release = nil
	}
}

// do carries out one action and returns its answer, nil if it has none.
func (r *Runtime) do(ctx context.Context, a Action) Event {
	switch a := a.(type) {
	case Note:
		r.Log(a.Level, a.Text)
		if a.Level >= LevelCrit && strings.Contains(a.Text, "unsafe") {
			fmt.Fprintf(r.Env.Stderr, "%s: %s\n", r.Applet, a.Text)
		}
	case ReadFlag:
		return r.readFlag()
	case CreateFlag:
		return r.createFlag(a.State)
	case MarkFlag:
		r.markFlag(a.State)
	case RemoveFlag:
		r.remove(FlagFile)
	case TryLock:
		return r.tryLock()
	case LookLock:
		return r.lookLock()
	case RequestCancel:
		r.requestCancel()
	case ClearCancel:
		r.remove(CancelFile)
		if r.withdraw != nil {
			r.withdraw()
			r.withdraw = nil
		}
	case QueryDaemon:
		return DaemonSeen(r.daemon(ctx, a.Limit))
	case QueryLeader:
		return LeaderSeen(r.leader(ctx, a.Limit))
	case QueryBoth:
		return r.both(ctx, a.Limit)
	case StartDaemon:
		return requestDone(r.Commands.Start(ctx, DaemonName, a.Limit))
	case StopDaemon:
		return requestDone(r.Commands.Stop(ctx, DaemonName, a.Level, a.Limit))
	case ProbeDaemon:
		return requestDone(r.Commands.Answers(ctx, DaemonName, a.Limit))
	case LoadCounter:
		return r.loadCounter()
	case SaveCounter:
		r.note(r.replace(CounterFile, a.Counter.Encode()))
	case RemoveCounter:
		r.remove(CounterFile)
	case Sleep:
		if err := r.Env.Clock.Sleep(ctx, a.For); err != nil && ctx.Err() == nil {
			// Only a simulated clock fails: the node is down.
			return nil
		}
		return Woke{Cancelled: a.Watch && r.cancelled()}
	}
	return nil
}

func requestDone(err error) RequestDone {
	return RequestDone{Missing: errors.Is(err, fs.ErrNotExist), Err: err}
}

func (r *Runtime) note(err error) {
	if err != nil {
		r.Log(slog.LevelWarn, err.Error())
	}
}

var errNoStore = errors.New("no state folder")

func (r *Runtime) storeErr() error {
	if r.StoreErr != nil {
		return r.StoreErr
	}
	return errNoStore
}

func (r *Runtime) replace(name string, data []byte) error {
	if r.Store == nil {
		return nil // said once, at the start
	}
	return r.Store.Replace(name, data)
}

// remove removes a state file; that it is not there is fine.
func (r *Runtime) remove(name string) {
	if r.Store == nil {
		return
	}
	if err := r.Store.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.note(err)
	}
}

func isUnsafe(err error) bool {
	var u interface{ Unsafe() bool }
	return errors.As(err, &u) && u.Unsafe()
}

func isLocked(err error) bool {
	var l interface{ Locked() bool }
	return errors.As(err, &l) && l.Locked()
}

func (r *Runtime) readFlag() FlagSeen {
	if r.Store == nil {
		return FlagSeen{Err: r.storeErr()}
	}
	data, changed, err := r.Store.Read(FlagFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return FlagSeen{Verdict: FlagAbsent}
	case isUnsafe(err):
		return FlagSeen{Verdict: FlagUnsafe, Why: err.Error()}
	case err != nil:
		return FlagSeen{Err: err}
	}
	v, s, why := JudgeFlag(data, changed, r.Node(), r.Boot, r.Env.Clock.Now(), r.Config.FlagMaxAge)
	return FlagSeen{Verdict: v, State: s, Why: why}
}

// FlagVerdict is what the startup monitor would make of the flag file now;
// known is false when the state folder cannot be read.
func (r *Runtime) FlagVerdict() (v FlagVerdict, known bool) {
	f := r.readFlag()
	return f.Verdict, f.Err == nil
}

func (r *Runtime) createFlag(s FlagState) FlagCreated {
	f := Flag{Node: r.Node(), State: s, Created: r.Env.Clock.Now(), Boot: r.Boot, PID: r.PID}
	err := r.Store.Create(FlagFile, f.Encode())
	if errors.Is(err, fs.ErrExist) {
		return FlagCreated{Exists: true}
	}
	return FlagCreated{Err: err}
}

// markFlag changes the state of the flag file if there is one that is ours
// and whole. The time of its creation stays: its age is that of the request.
func (r *Runtime) markFlag(s FlagState) {
	if r.Store == nil {
		return
	}
	data, changed, err := r.Store.Read(FlagFile)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil {
		r.note(err)
		return
	}
	f, ok := ParseFlag(data, changed)
	if !ok {
		return
	}
	if f.Node == "" {
		f.Node, f.Boot = r.Node(), r.Boot
	}
	f.State, f.PID = s, r.PID
	r.note(r.replace(FlagFile, f.Encode()))
}

func (r *Runtime) tryLock() LockTried {
	if r.Store == nil {
		return LockTried{Err: r.storeErr()}
	}
	text := fmt.Sprintf("applet=%s\npid=%d\ntime=%d\n", r.Applet, r.PID, r.Env.Clock.Now().Unix())
	release, err := r.Store.Lock(LockFile, text)
	if isLocked(err) {
		return LockTried{}
	}
	if err != nil {
		return LockTried{Err: err}
	}
	r.release = release
	return LockTried{OK: true}
}

// lookLock tells whether a start or stop script is at work that is not older
// than its budget; an older one hangs and does not excuse the daemon's state.
func (r *Runtime) lookLock() LockSeen {
	if r.Store == nil {
		r.Log(slog.LevelError, "state folder unusable: "+r.storeErr().Error())
		return LockSeen{}
	}
	text, held, err := r.Store.Holder(LockFile)
	r.note(err)
	if !held {
		return LockSeen{}
	}
	by, since := "unknown", time.Time{}
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch key {
		case "applet":
			by = value
		case "time":
			if n, err := strconv.ParseInt(value, 10, 64); err == nil {
				since = time.Unix(n, 0)
			}
		}
	}
	budget := StartBudget
	if by == "stopksys" {
		budget = StopBudget
	}
	age := r.Env.Clock.Now().Sub(since)
	return LockSeen{Busy: age < budget && age > -futureTolerance, By: by}
}

// requestCancel asks a running start script to give up. The request is a
// record lock and not the file: a process number can be used again, and a
// dead process whose parent does not wait for it keeps its own, but a lock
// goes with its process. Another stop script's request serves as well.
func (r *Runtime) requestCancel() {
	if r.Store == nil {
		return
	}
	withdraw, err := r.Store.Lock(CancelFile, fmt.Sprintf("pid=%d\nboot=%s\n", r.PID, r.Boot))
	if isLocked(err) {
		return
	}
	r.note(err)
	r.withdraw = withdraw
}

// cancelled reports whether a live stop script asks us to give up. What a
// dead one left is not locked and does not count.
func (r *Runtime) cancelled() bool {
	if r.Store == nil {
		return false
	}
	_, held, err := r.Store.Holder(CancelFile)
	r.note(err)
	return held
}

func (r *Runtime) loadCounter() CounterSeen {
	if r.Store == nil {
		return CounterSeen{}
	}
	data, _, err := r.Store.Read(CounterFile)
	if err != nil {
		return CounterSeen{}
	}
	return CounterSeen(ParseCounter(data))
}

// Look asks once for the daemon's state.
func (r *Runtime) Look(ctx context.Context) Daemon { return r.daemon(ctx, QueryLimit) }

func (r *Runtime) daemon(ctx context.Context, limit time.Duration) Daemon {
	state, pid, err := r.Commands.Subsystem(ctx, DaemonName, limit)
	if err != nil {
		return Daemon{Missing: errors.Is(err, fs.ErrNotExist), Why: err.Error()}
	}
	return Daemon{State: DaemonStateOf(state), PID: pid}
}

// leader asks for the leader, and when it is this node also whether the peer
// domain is online: in a split both halves name a leader, but only the one
// with quorum is online.
func (r *Runtime) leader(ctx context.Context, limit time.Duration) Leader {
	began := r.Env.Clock.Now()
	name, id, _, err := r.Commands.GroupLeader(ctx, limit)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Leader{Missing: true, Why: "missing"}
	case errors.Is(err, context.DeadlineExceeded):
		return Leader{Why: "timeout"}
	case err != nil:
		return Leader{Why: oneWord(err)}
	case !r.Local.Is(name, id):
		return Leader{Where: LeaderRemote, Name: name}
	}
	left := limit - r.Env.Clock.Now().Sub(began)
	if online, known := r.Commands.DomainOnline(ctx, max(left, time.Second)); known && !online {
		return Leader{Name: name, Why: "domain-not-online"}
	}
	return Leader{Where: LeaderLocal, Name: name}
}

// oneWord is the last part of an error without blanks.
func oneWord(err error) string {
	text := err.Error()
	if i := strings.LastIndex(text, ": "); i >= 0 {
		text = text[i+2:]
	}
	return strings.ReplaceAll(text, " ", "-")
}

func (r *Runtime) both(ctx context.Context, limit time.Duration) BothSeen {
	var seen BothSeen
	var wg sync.WaitGroup
	if r.Serial {
		seen.Daemon = r.daemon(ctx, limit)
	} else {
		wg.Go(func() { seen.Daemon = r.daemon(ctx, limit) })
	}
	seen.Leader = r.leader(ctx, limit)
	wg.Wait()
	return seen
}

// Explain prints, as one JSON document, everything the scripts decide on. It
// changes nothing.
func (r *Runtime) Explain(ctx context.Context) int {
	type object = map[string]any
	seen := BothSeen{Daemon: r.daemon(ctx, QueryLimit), Leader: r.leader(ctx, QueryLimit)}
	out := object{
		"applet": r.Applet, "node": r.Node(), "names": r.Local.Names, "boot": r.Boot, "policy": r.Config.Policy,
		"statedir": r.Config.StateDir, "path": r.Config.Path, "stop_mode": r.Config.StopMode,
		"daemon": object{"state": seen.Daemon.State.String(), "pid": seen.Daemon.PID, "why": seen.Daemon.Why},
		"leader": object{"local": seen.Leader.Where == LeaderLocal, "known": seen.Leader.Where != LeaderUnknown, "name": seen.Leader.Name, "why": seen.Leader.Why},
	}
	flag := r.readFlag()
	f := object{"verdict": flag.Verdict.String(), "state": flag.State, "why": flag.Why}
	if flag.Err != nil {
		f["verdict"], f["why"] = "unreadable", flag.Err.Error()
	}
	out["flag"] = f
	if r.Store != nil {
		text, held, _ := r.Store.Holder(LockFile)
		out["lock"] = object{"held": held, "by": strings.Join(strings.Fields(text), " ")}
	}
	out["unknown_results"] = r.loadCounter().Unknown
	e := json.NewEncoder(r.Env.Stdout)
	e.SetIndent("", "  ")
	if err := e.Encode(out); err != nil && !errors.Is(err, os.ErrClosed) {
		return 1
	}
	return ExitOK
}
