package ksys

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func leaderIs(name string) func(time.Duration) (string, uint64, error) {
	return func(time.Duration) (string, uint64, error) { return name, 0, nil }
}

func leaderFails(err error) func(time.Duration) (string, uint64, error) {
	return func(time.Duration) (string, uint64, error) { return "", 0, err }
}

var errNoLine = errors.New("leader: no group leader")

func TestStartup_Table(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name          string
		prepare       func(g *rig)
		paper, strict int
		// left is the state of the flag file afterwards.
		left FlagState
	}{
		{"absent", func(*rig) {}, StartupCreated, StartupCreated, FlagRequested},
		{"requested", func(g *rig) { g.flag(FlagRequested) }, ExitOK, StartupNotStarted, FlagRequested},
		{"empty file of a shell script", func(g *rig) { _ = g.mem.Replace(FlagFile, nil) }, ExitOK, StartupNotStarted, FlagRequested},
		{"started", func(g *rig) { g.flag(FlagStarted) }, ExitOK, ExitOK, FlagStarted},
		{"rejected", func(g *rig) { g.flag(FlagRejected) }, ExitOK, StartupNotStarted, FlagRejected},
		{"failed", func(g *rig) { g.flag(FlagFailed) }, ExitOK, StartupNotStarted, FlagFailed},
		{"of another boot", func(g *rig) { g.flag(FlagStarted); g.Boot = "boot-2" }, StartupReplaced, StartupReplaced, FlagRequested},
		{"of another node", func(g *rig) { g.flag(FlagStarted); g.Local.Names = []string{"n9"} }, StartupReplaced, StartupReplaced, FlagRequested},
		{"899 s old", func(g *rig) { g.flag(FlagStarted); g.env.Clock.Advance(899 * time.Second) }, ExitOK, ExitOK, FlagStarted},
		{"901 s old", func(g *rig) { g.flag(FlagStarted); g.env.Clock.Advance(901 * time.Second) }, StartupReplaced, StartupReplaced, FlagRequested},
		{"empty and 901 s old", func(g *rig) { _ = g.mem.Replace(FlagFile, nil); g.env.Clock.Advance(901 * time.Second) }, StartupReplaced, StartupReplaced, FlagRequested},
		{"of the future", func(g *rig) { g.flag(FlagStarted); g.env.Clock.Advance(-61 * time.Second) }, StartupReplaced, StartupReplaced, FlagRequested},
		{"cut off", func(g *rig) { g.flag(FlagStarted); g.mem.files[FlagFile] = g.mem.files[FlagFile][:40] }, StartupReplaced, StartupReplaced, FlagRequested},
		{"unsafe", func(g *rig) { g.mem.unsafe[FlagFile] = true }, StartupReplaced, StartupReplaced, FlagRequested},
		{"disk full", func(g *rig) { g.mem.full = true }, ExitStateDir, ExitStateDir, ""},
		{"no state folder", func(g *rig) { g.Store = nil; g.StoreErr = kindError{unsafe: true} }, ExitStateDir, ExitStateDir, ""},
	} {
		for _, policy := range []Policy{PolicyPaper, PolicyStrict} {
			t.Run(tc.name+"/"+string(policy), func(t *testing.T) {
				t.Parallel()
				g := newRig(t)
				tc.prepare(g)
				want := tc.paper
				if policy == PolicyStrict {
					want = tc.strict
				}
				if got := g.Run(t.Context(), &Startup{Policy: policy}); got != want {
					t.Errorf("exit status %d, want %d", got, want)
				}
				if got := g.flagState(); got != tc.left {
					t.Errorf("flag file says %q, want %q", got, tc.left)
				}
				if len(g.sys.calls) != 0 {
					t.Errorf("external commands: %v", g.sys.calls)
				}
				if out := g.env.Stdout.String(); strings.Count(out, "\n") != 1 || !strings.HasPrefix(out, "script: ") {
					t.Errorf("output %q is not one line", out)
				}
			})
		}
	}
}

func TestStart_Sequences(t *testing.T) {
	t.Parallel()
	down := func(g *rig) { g.sys.state, g.sys.pid = "inoperative", 0 }
	for _, tc := range []struct {
		name    string
		prepare func(g *rig)
		want    int
		calls   string
		flag    FlagState
		check   func(t *testing.T, g *rig)
	}{
		{"active daemon on the leader is restarted", func(g *rig) {}, ExitOK,
			"leader domain status stop status status start status status status status leader domain", FlagStarted,
			func(t *testing.T, g *rig) {
				if g.sys.pid == 100 || g.sys.state != "active" {
					t.Errorf("daemon %s %d", g.sys.state, g.sys.pid)
				}
				if !strings.Contains(g.env.Stdout.String(), "pid=100->") {
					t.Errorf("output %q", g.env.Stdout)
				}
			}},
		{"inoperative daemon is started", down, ExitOK,
			"leader domain status start status status status status leader domain", FlagStarted, nil},
		{"stuck stopping sees normal, -f, -c in this order", func(g *rig) { g.sys.stuck = true }, StartNotActive, "", FlagFailed,
			func(t *testing.T, g *rig) {
				var stops []string
				for _, c := range g.sys.calls {
					if strings.HasPrefix(c, "stop") {
						stops = append(stops, c)
					}
				}
				if d := cmp.Diff([]string{"stop", "stop -f", "stop -c"}, stops); d != "" {
					t.Errorf("stops (-want +got):\n%s", d)
				}
			}},
		{"stopping already: no second normal request", func(g *rig) {
			g.sys.state, g.sys.until, g.sys.next = "stopping", g.env.Clock.Now().Add(3*time.Second), "inoperative"
		}, ExitOK, "leader domain status status status status start status status status status leader domain", FlagStarted, nil},
		{"not leader, daemon active", func(g *rig) { g.sys.leader = leaderIs("n2") }, StartNotLeader,
			"leader leader status", FlagRejected, nil},
		{"not leader, daemon down is started", func(g *rig) { g.sys.leader = leaderIs("n2"); down(g) }, StartNotLeader,
			"leader leader status start", FlagRejected, func(t *testing.T, g *rig) {
				if g.sys.state != "active" {
					t.Errorf("daemon is %s", g.sys.state)
				}
			}},
		{"not leader, the paper's single look", func(g *rig) { g.sys.leader = leaderIs("n2"); g.Config.LeaderConfirm = 0 }, StartNotLeader,
			"leader status", FlagRejected, nil},
		{"dead leader, then this node 3 s later", func(g *rig) {
			g.sys.leader = func(since time.Duration) (string, uint64, error) {
				if since < 3*time.Second {
					return "n2", 0, nil
				}
				return "n1", 0, nil
			}
		}, ExitOK, "", FlagStarted, nil},
		{"leader unknown for a while", func(g *rig) {
			g.sys.leader = func(since time.Duration) (string, uint64, error) {
				if since < 9*time.Second {
					return "", 0, errNoLine
				}
				return "n1", 0, nil
			}
		}, ExitOK, "", FlagStarted, nil},
		{"leader unknown for good", func(g *rig) { g.sys.leader = leaderFails(errNoLine); down(g) }, StartLeaderUnknown, "", FlagFailed,
			func(t *testing.T, g *rig) {
				if g.sys.state != "active" || g.took() > 20*time.Second {
					t.Errorf("daemon %s after %v", g.sys.state, g.took())
				}
			}},
		{"leader unknown, assume local", func(g *rig) { g.sys.leader = leaderFails(errNoLine); g.Config.AssumeLocal = true }, ExitOK, "", FlagStarted, nil},
		{"leader query hangs within the budget", func(g *rig) {
			g.sys.leader = leaderFails(context.DeadlineExceeded)
			g.sys.queryTook = QueryLimit
		}, StartLeaderUnknown, "", FlagFailed, nil},
		{"domain not online", func(g *rig) { g.sys.offline = true }, StartLeaderUnknown, "", FlagFailed, nil},
		{"starts fail twice", func(g *rig) { down(g); g.sys.failStarts = 2 }, StartNotActive, "", FlagFailed,
			func(t *testing.T, g *rig) {
				if g.count("start") != 2 {
					t.Errorf("%d starts", g.count("start"))
				}
			}},
		{"first start fails", func(g *rig) { down(g); g.sys.failStarts = 1 }, ExitOK, "", FlagStarted, nil},
		{"slow start", func(g *rig) { down(g); g.sys.startTakes = 2 * time.Second }, ExitOK, "", FlagStarted,
			func(t *testing.T, g *rig) {
				if g.count("start") != 1 {
					t.Errorf("%d starts", g.count("start"))
				}
			}},
		{"RMC restarts it by itself", func(g *rig) { g.sys.respawn = true }, ExitOK, "", FlagStarted,
			func(t *testing.T, g *rig) {
				if g.count("start") != 0 || g.sys.pid != 102 {
					t.Errorf("%d starts, process %d", g.count("start"), g.sys.pid)
				}
			}},
		{"leader moves during the start", func(g *rig) {
			g.sys.onCall = func(c string) {
				if c == "start" {
					g.sys.leader = leaderIs("n2")
				}
			}
		}, StartLeaderMoved, "", FlagRejected, nil},
		{"leader unknown at the end", func(g *rig) {
			g.sys.onCall = func(c string) {
				if c == "start" {
					g.sys.offline = true
				}
			}
		}, StartLeaderUnknown, "", FlagFailed, nil},
		{"subsystem not defined", func(g *rig) { g.sys.state = "absent" }, StartAbsent, "leader domain status", FlagFailed, nil},
		{"state unknown", func(g *rig) { g.sys.statusErr = errNoLine }, StartNotActive, "leader domain status status status status", FlagFailed, nil},
		{"lssrc missing", func(g *rig) { g.sys.leader = leaderFails(fs.ErrNotExist) }, ExitMissing, "leader", FlagFailed, nil},
		{"startsrc missing", func(g *rig) { down(g); g.sys.startErr = fs.ErrNotExist }, ExitMissing, "", FlagFailed, nil},
		{"lock held", func(g *rig) { g.mem.holder = "applet=startksys\n" }, ExitLocked, "", FlagRequested,
			func(t *testing.T, g *rig) {
				if g.took() != startLockWait {
					t.Errorf("waited %v", g.took())
				}
			}},
		{"state folder unusable", func(g *rig) { g.Store = nil }, ExitStateDir, "", FlagRequested, nil},
		{"stop during start", func(g *rig) {
			g.sys.onCall = func(c string) {
				if c == "stop" {
					g.mem.canceller = true
				}
			}
		}, StartCancelled, "leader domain status stop", FlagRequested, nil},
		{"request to give up of a dead process is ignored", func(g *rig) {
			_ = g.mem.Replace(CancelFile, []byte("pid=4713\nboot=boot-1\n"))
		}, ExitOK, "", FlagStarted, nil},
		{"without a flag file none is made", func(g *rig) { delete(g.mem.files, FlagFile) }, ExitOK, "", "", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			g := newRig(t)
			g.flag(FlagRequested)
			tc.prepare(g)
			got := g.Run(t.Context(), &Start{Config: g.Config, Node: "n1"})
			if got != tc.want {
				t.Errorf("exit status %d, want %d: %s\nlog %q", got, tc.want, g.env.Stdout, g.log)
			}
			if calls := strings.Join(g.sys.calls, " "); tc.calls != "" && calls != tc.calls {
				t.Errorf("calls\n%s\nwant\n%s", calls, tc.calls)
			}
			if s := g.flagState(); s != tc.flag {
				t.Errorf("flag file says %q, want %q", s, tc.flag)
			}
			if g.took() > StartBudget+QueryLimit {
				t.Errorf("took %v", g.took())
			}
			if tc.check != nil {
				tc.check(t, g)
			}
		})
	}
}

// Running the start script twice gives one more restart and the same end.
func TestStart_Twice(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	for range 2 {
		if got := g.Run(t.Context(), &Start{Config: g.Config, Node: "n1"}); got != ExitOK {
			t.Fatalf("exit status %d", got)
		}
	}
	if g.sys.state != "active" || g.count("start") != 2 || g.count("stop") != 2 {
		t.Errorf("daemon %s after %d starts and %d stops", g.sys.state, g.count("start"), g.count("stop"))
	}
}

func TestStop_Sequences(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name    string
		prepare func(g *rig)
		want    int
		calls   string
	}{
		{"active", func(*rig) {}, ExitOK, "status stop status status"},
		{"down", func(g *rig) { g.sys.state, g.sys.pid = "inoperative", 0 }, ExitOK, "status"},
		{"not defined", func(g *rig) { g.sys.state = "absent" }, ExitOK, "status"},
		{"stuck", func(g *rig) { g.sys.stuck = true }, StopStuck, ""},
		{"unknown", func(g *rig) { g.sys.statusErr = errNoLine }, StopUnknown, "status status status status"},
		{"lssrc missing", func(g *rig) { g.sys.statusErr = fs.ErrNotExist }, ExitMissing, "status status status status"},
		{"mode none", func(g *rig) { g.Config.StopMode = StopModeNone }, ExitOK, ""},
		{"mode restart", func(g *rig) { g.Config.StopMode = StopModeRestart }, ExitOK, "status stop status status start"},
		{"mode restart, start fails", func(g *rig) { g.Config.StopMode = StopModeRestart; g.sys.startErr = errNoLine }, ExitOK, "status stop status status start"},
		{"RMC keeps starting it", func(g *rig) { g.sys.respawn = true }, ExitOK, ""},
		{"lock held", func(g *rig) { g.mem.holder = "applet=startksys\n" }, ExitLocked, ""},
		{"start script gives up while we wait", func(g *rig) {
			g.mem.holder = "applet=startksys\n"
			g.mem.onLock = func() {
				if g.took() >= 3*time.Second {
					g.mem.holder = ""
				}
			}
		}, ExitOK, "status stop status status"},
		{"state folder unusable: the work goes on", func(g *rig) { g.Store = nil }, ExitOK, "status stop status status"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			g := newRig(t)
			g.flag(FlagStarted)
			_ = g.mem.Replace(CounterFile, Counter{Unknown: 1}.Encode())
			tc.prepare(g)
			got := g.Run(t.Context(), &Stop{Config: g.Config, Node: "n1"})
			if got != tc.want {
				t.Errorf("exit status %d, want %d: %s\nlog %q", got, tc.want, g.env.Stdout, g.log)
			}
			if calls := strings.Join(g.sys.calls, " "); tc.calls != "" && calls != tc.calls {
				t.Errorf("calls\n%s\nwant\n%s", calls, tc.calls)
			}
			if slices.Contains(g.sys.calls, "leader") {
				t.Error("the stop script asked for the leader")
			}
			if _, ok := g.mem.files[CancelFile]; ok {
				t.Error("the request to give up is still there")
			}
			if g.Store != nil && tc.want != ExitLocked && len(g.mem.files) != 0 {
				t.Errorf("files left: %v", g.mem.files)
			}
			if g.took() > StopBudget {
				t.Errorf("took %v", g.took())
			}
		})
	}
}

func TestLongrun_Table(t *testing.T) {
	t.Parallel()
	unknown := leaderFails(errNoLine)
	daemon := func(state string) func(g *rig) { return func(g *rig) { g.sys.state = state } }
	with := func(l func(time.Duration) (string, uint64, error), f func(g *rig)) func(*rig) {
		return func(g *rig) {
			g.sys.leader = l
			if f != nil {
				f(g)
			}
		}
	}
	garbled := func(g *rig) { g.sys.statusErr = errNoLine }
	for _, tc := range []struct {
		name          string
		prepare       func(g *rig)
		first, second int
	}{
		{"local and active", func(*rig) {}, ExitOK, ExitOK},
		{"remote and active", with(leaderIs("n2"), nil), LongrunNotLeader, LongrunNotLeader},
		{"remote and down", with(leaderIs("n2"), daemon("inoperative")), LongrunNotLeader, LongrunNotLeader},
		{"remote and unknown", with(leaderIs("n2"), garbled), LongrunNotLeader, LongrunNotLeader},
		{"local and down", daemon("inoperative"), LongrunNotActive, LongrunNotActive},
		{"local and stopping", daemon("stopping"), LongrunNotActive, LongrunNotActive},
		{"local and absent", daemon("absent"), LongrunNotActive, LongrunNotActive},
		{"unknown and down", with(unknown, daemon("inoperative")), LongrunNotActive, LongrunNotActive},
		{"unknown and active", with(unknown, nil), ExitOK, LongrunUnknown},
		{"unknown and unknown", with(unknown, garbled), ExitOK, LongrunUnknown},
		{"local and unknown", garbled, ExitOK, LongrunUnknown},
		{"commands missing", with(leaderFails(fs.ErrNotExist), func(g *rig) { g.sys.statusErr = fs.ErrNotExist }), ExitOK, ExitMissing},
		{"domain not online", func(g *rig) { g.sys.offline = true }, ExitOK, LongrunUnknown},
		{"no tolerance", with(unknown, func(g *rig) { g.Config.UnknownTolerance = 0 }), LongrunUnknown, LongrunUnknown},
		{"lssrc hangs", with(leaderFails(context.DeadlineExceeded), func(g *rig) {
			g.sys.statusErr, g.sys.queryTook = context.DeadlineExceeded, QueryLimit/2
		}), ExitOK, LongrunUnknown},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			g := newRig(t)
			g.flag(FlagStarted)
			tc.prepare(g)
			for i, want := range []int{tc.first, tc.second} {
				began := g.env.Clock.Now()
				if got := g.Run(t.Context(), &Longrun{Config: g.Config, Node: "n1"}); got != want {
					t.Errorf("call %d: exit status %d, want %d: %s", i+1, got, want, g.env.Stdout)
				}
				if took := g.env.Clock.Now().Sub(began); took >= LongrunBudget {
					t.Errorf("call %d took %v", i+1, took)
				}
			}
			if s := g.flagState(); s != "" {
				t.Errorf("flag file still says %q", s)
			}
		})
	}
}

func TestLongrun_SuccessResetsTheCounter(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	run := func() int { return g.Run(t.Context(), &Longrun{Config: g.Config, Node: "n1"}) }
	good := g.sys.leader
	for i, unknown := range []bool{true, false, true, true} {
		g.sys.leader = good
		if unknown {
			g.sys.leader = leaderFails(errNoLine)
		}
		want := ExitOK
		if i == 3 {
			want = LongrunUnknown
		}
		if got := run(); got != want {
			t.Errorf("call %d: exit status %d, want %d", i+1, got, want)
		}
	}
}

func TestLongrun_LockAndProbe(t *testing.T) {
	t.Parallel()
	slow := context.DeadlineExceeded
	at := func(g *rig, ago time.Duration, by string) {
		g.mem.holder = "applet=" + by + "\npid=1\ntime=" + timeText(g.env.Clock.Now().Add(-ago)) + "\n"
	}
	for _, tc := range []struct {
		name    string
		prepare func(g *rig)
		want    int
		verdict string
	}{
		{"restart in progress", func(g *rig) { at(g, 30*time.Second, "startksys"); g.sys.state = "stopping" }, ExitOK, "SKIP"},
		{"a start script older than its budget does not excuse", func(g *rig) { at(g, 111*time.Second, "startksys"); g.sys.state = "stopping" }, LongrunNotActive, "FAIL"},
		{"a stop script older than its budget does not excuse", func(g *rig) { at(g, 91*time.Second, "stopksys"); g.sys.state = "stopping" }, LongrunNotActive, "FAIL"},
		{"a note that says nothing does not excuse", func(g *rig) { g.mem.holder = "x"; g.sys.state = "stopping" }, LongrunNotActive, "FAIL"},
		{"probe answers", func(g *rig) { g.Config.DeepProbe = true }, ExitOK, "OK"},
		{"probe answers the second time", func(g *rig) { g.Config.DeepProbe = true; g.sys.probes = []error{slow} }, ExitOK, "OK"},
		{"probe hangs twice", func(g *rig) { g.Config.DeepProbe = true; g.sys.probes = []error{slow, slow} }, LongrunProbe, "FAIL"},
		{"no state folder", func(g *rig) { g.Store = nil }, ExitOK, "OK"},
		{"disk full", func(g *rig) { g.mem.full = true }, ExitOK, "OK"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			g := newRig(t)
			tc.prepare(g)
			if got := g.Run(t.Context(), &Longrun{Config: g.Config, Node: "n1"}); got != tc.want {
				t.Errorf("exit status %d, want %d", got, tc.want)
			}
			if out := g.env.Stdout.String(); !strings.HasPrefix(out, "script: "+tc.verdict+" ") {
				t.Errorf("output %q, want verdict %s", out, tc.verdict)
			}
		})
	}
}

// Each call runs at most one command more than the two it cannot do without,
// and repeated successes are logged once an hour.
func TestLongrun_CommandsAndLog(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	for range 61 {
		g.sys.calls = nil
		if got := g.Run(t.Context(), &Longrun{Config: g.Config, Node: "n1"}); got != ExitOK {
			t.Fatalf("exit status %d", got)
		}
		if d := cmp.Diff([]string{"status", "leader", "domain"}, g.sys.calls); d != "" {
			t.Fatalf("commands (-want +got):\n%s", d)
		}
		g.env.Clock.Advance(time.Minute)
	}
	if len(g.log) != 2 {
		t.Errorf("%d log lines in an hour: %q", len(g.log), g.log)
	}
}

// A done context ends every wait, and the status says which signal it was.
func TestRun_Signals(t *testing.T) {
	t.Parallel()
	for signal, want := range map[string]int{"hangup signal received": 129, "terminated signal received": 143, "interrupt signal received": 130} {
		g := newRig(t)
		ctx, cancel := context.WithCancelCause(t.Context())
		g.sys.onCall = func(c string) {
			if c == "stop" {
				cancel(errors.New(signal))
			}
		}
		if got := g.Run(ctx, &Start{Config: g.Config, Node: "n1"}); got != want {
			t.Errorf("%s: exit status %d, want %d", signal, got, want)
		}
		if g.release != nil {
			t.Errorf("%s: the lock is still held", signal)
		}
	}
}
