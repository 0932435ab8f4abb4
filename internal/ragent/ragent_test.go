package ragent

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/haobox/haobox/internal/agents"
	"github.com/haobox/haobox/internal/clusterconf"
	"github.com/haobox/haobox/internal/restree"
	"github.com/haobox/haobox/internal/xmldoc"
	"github.com/haobox/haobox/platform"
	"github.com/haobox/haobox/platform/platformtest"
	"github.com/haobox/haobox/platform/proc"
	"github.com/haobox/haobox/platform/testskip"
)

// journal collects what is logged. Safe for concurrent use.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (l *journal) log(level slog.Level, text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, level.String()+" "+text)
}

func (l *journal) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.lines, "\n")
}

// bench is a Runner for shell agents in a folder of its own.
type bench struct {
	*Runner
	dir string
	log *journal
	env *platformtest.Env
}

// newBench has the agent bad.sh with that text, or none for "".
func newBench(t *testing.T, text string) bench {
	t.Helper()
	env := platformtest.NewEnv(t)
	dir := filepath.Join(env.Root, "agents")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if text != "" {
		// A process that another test forks at this moment would hold the file
		// open for writing, and the kernel would not run it (ETXTBSY).
		syscall.ForkLock.RLock()
		err := os.WriteFile(filepath.Join(dir, "bad.sh"), []byte("#!/bin/sh\n"+text), 0o755)
		syscall.ForkLock.RUnlock()
		if err != nil {
			t.Fatal(err)
		}
	}
	log := &journal{}
	real := env.Env
	real.Runner = proc.Runner{}
	return bench{&Runner{Env: real, Dir: "/agents", Log: func(_ Job, l slog.Level, text string) { log.log(l, text) }}, dir, log, env}
}

func bad(action string) Job {
	return Job{Type: "bad", Name: "x", Program: "bad.sh", Action: action, Environ: []string{"OCF_RESKEY_name=x"}}
}

func TestRun_ShellAgents(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, script string
		job          Job
		want         Result
		log          string
	}{
		{"success", "exit 0", bad("start"), Result{}, ""},
		{"a failure is a notice with the status in words", "exit 5", bad("start"), Result{Exit: 5},
			`INFO+2 start on bad "x" returned 5 (program not installed)`},
		{"7 has no words", "exit 7", bad("status"), Result{Exit: 7}, `INFO+2 status on bad "x" returned 7 (unspecified)`},
		{"a check of what was not started is silent", "exit 7", func() Job { j := bad("status"); j.Silent = true; return j }(), Result{Exit: 7}, ""},
		{"a signal is a failure", "kill -9 $$", bad("stop"), Result{Exit: 1, Signal: 9},
			"ERROR stop on bad:x was ended by signal 9\nINFO+2 stop on bad \"x\" returned 1 (generic error)"},
		{"output becomes lines with the resource's name", `echo "one  "; echo two >&2; printf 'three\001\033[2Jx'`, bad("start"), Result{},
			"INFO [bad:x] one\nINFO [bad:x] two\nINFO [bad:x] three  [2Jx"},
		{"what it has logged itself is for debugging", `echo "<err> lost"; echo "<3> lost too"; echo "<b>bold"`, bad("start"), Result{},
			"DEBUG [bad:x] lost\nDEBUG [bad:x] lost too\nINFO [bad:x] <b>bold"},
		{"a daemon that keeps the output open holds nothing up", "sleep 300 & echo $! >pid; echo started", bad("start"), Result{}, "INFO [bad:x] started"},
		{"nothing is inherited, not even a PATH", `echo "[$PATH][$OCF_RESKEY_name][$HOME]"`, func() Job {
			j := bad("start")
			j.Environ = append(j.Environ, "PATH=")
			return j
		}(), Result{}, "INFO [bad:x] [][x][]"},
		{"the target of a migration is the second word", `echo "$# $1 $2"`, func() Job { j := bad("migrate"); j.Target = "n2"; return j }(), Result{}, "INFO [bad:x] 2 migrate n2"},
		{"there is no agent", "", bad("start"), Result{Exit: 5},
			"ERROR start of bad:x: there is no agent /agents/bad.sh\nINFO+2 start on bad \"x\" returned 5 (program not installed)"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, strings.ReplaceAll(tc.script, ">pid", ">${0%/*}/pid"))
			t.Cleanup(func() { b.end(t) })
			got := b.Run(t.Context(), tc.job)
			got.Elapsed = 0
			if got != tc.want {
				t.Errorf("got %+v, want %+v", got, tc.want)
			}
			if diff := cmp.Diff(tc.log, b.log.String()); diff != "" {
				t.Errorf("log (-want +got):\n%s", diff)
			}
		})
	}
}

// end kills the process whose number an agent left in the file pid.
func (b bench) end(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(b.dir, "pid"))
	if err != nil {
		return
	}
	var pid int
	if _, err := fmt.Sscan(string(text), &pid); err == nil && pid > 1 {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}

// TestRun_FloodOfOutput: an agent that prints without end within its time
// neither fills the log nor the memory.
func TestRun_FloodOfOutput(t *testing.T) {
	t.Parallel()
	b := newBench(t, `i=0; while [ $i -lt 3000 ]; do echo "line $i"; i=$((i+1)); done; head -c 100000 /dev/zero | tr '\0' x`)
	j := bad("start")
	j.Environ = []string{"PATH=/bin:/usr/bin"}
	if got := b.Run(t.Context(), j); got.Exit != 0 {
		t.Errorf("exit %d", got.Exit)
	}
	log := b.log.String()
	if n := strings.Count(log, "\n"); n != 1000 {
		t.Errorf("%d lines in the log", n)
	}
	if !strings.Contains(log, "WARN [bad] 2001 more lines of output were dropped") {
		t.Errorf("the log ends with %s", log[max(0, len(log)-200):])
	}
}

// TestRun_Hang: the whole process group goes, children included, and the
// message is rgmanager's.
func TestRun_Hang(t *testing.T) {
	t.Parallel()
	b := newBench(t, "trap '' TERM\n/bin/sh -c 'trap \"\" TERM; echo $$ >${0%/*}/pid; read x <${0%/*}/never' \"$0\" &\nread x <${0%/*}/gate\nread x <${0%/*}/never\n")
	for _, fifo := range []string{"gate", "never"} {
		if err := syscall.Mkfifo(filepath.Join(b.dir, fifo), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	j := bad("stop")
	j.Timeout, j.Enforced = 30*time.Second, true
	done := make(chan Result)
	go func() { done <- b.Run(t.Context(), j) }()
	// Opening the pipe for writing waits until the agent reads it: it runs.
	gate, err := os.OpenFile(filepath.Join(b.dir, "gate"), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer gate.Close()
	if _, err := fmt.Fprintln(gate, "go"); err != nil {
		t.Fatal(err)
	}
	b.env.Clock.Advance(30 * time.Second)
	if got := <-done; !got.TimedOut || got.Stuck || got.Exit != 1 || got.Signal != 9 {
		t.Errorf("got %+v", got)
	}
	want := "ERROR stop on bad:x timed out after 30 seconds\nINFO+2 stop on bad \"x\" returned 1 (generic error)"
	if diff := cmp.Diff(want, b.log.String()); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
	// The last one that holds "never" is gone when it can not be opened for
	// writing without waiting: nobody reads it.
	fd, err := syscall.Open(filepath.Join(b.dir, "never"), syscall.O_WRONLY|syscall.O_NONBLOCK, 0)
	if err == nil {
		syscall.Close(fd)
		t.Error("a child of the agent still runs")
	}
}

// TestRun_Stuck: a program in an uninterruptible wait holds nobody up.
func TestRun_Stuck(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, "exit 0")
		release := make(chan struct{})
		b.env.Runner.Programs = map[string]platformtest.Program{"bad.sh": {Do: func(context.Context, platform.Cmd) (platform.Result, error) {
			<-release
			return platform.Result{ExitCode: -1, Signal: 9}, nil
		}}}
		b.Env.Runner, b.Env.Clock = b.env.Runner, platform.SystemClock{}
		j := bad("stop")
		j.Timeout, j.Enforced = 30*time.Second, true
		got := b.Run(t.Context(), j)
		close(release)
		if want := (Result{Exit: 1, TimedOut: true, Stuck: true, Elapsed: 31 * time.Second}); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
		if want := "ERROR Task stop PID 4711 did not exit after SIGKILL"; !strings.Contains(b.log.String(), want) {
			t.Errorf("log:\n%s", b.log)
		}
	})
}

func TestRun_InProcess(t *testing.T) {
	t.Parallel()
	yes := func(*agents.Call) bool { return true }
	nothing := func(context.Context, *agents.Call) error { return nil }
	for _, tc := range []struct {
		name   string
		status agents.Action
		want   Result
		log    string
	}{
		{"success", nothing, Result{InProcess: true}, ""},
		{"messages have the agent's name in front", func(_ context.Context, c *agents.Call) error {
			c.Infof("Checking %s", c.Param("name"))
			return agents.Fail(7, "gone")
		}, Result{Exit: 7, InProcess: true}, "INFO [script] Checking x\nERROR [script] gone\nINFO+2 status on script \"x\" returned 7 (unspecified)"},
		{"a panic is a failure", func(context.Context, *agents.Call) error { panic("oops") }, Result{Exit: 1, InProcess: true},
			"ERROR [script] status of script:x: the agent broke off: oops\nINFO+2 status on script \"x\" returned 1 (generic error)"},
		{"one that heeds its context ends in time", func(ctx context.Context, _ *agents.Call) error { <-ctx.Done(); return ctx.Err() },
			Result{Exit: 1, InProcess: true, TimedOut: true, Elapsed: 10 * time.Second},
			"ERROR status on script:x timed out after 10 seconds\nERROR [script] context canceled\nINFO+2 status on script \"x\" returned 1 (generic error)"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, "")
				b.Env.Clock = platform.SystemClock{}
				a := &agents.Agent{Type: "script", Start: nothing, Stop: nothing, Status: tc.status, InProcess: yes}
				b.Native = func(string) *agents.Agent { return a }
				got := b.Run(t.Context(), Job{Type: "script", Name: "x", Program: "script.sh", Action: "status",
					Timeout: 10 * time.Second, Enforced: true, Params: []agents.Param{{Name: "name", Value: "x"}, {Name: "file", Value: "/y"}}})
				if got != tc.want {
					t.Errorf("got %+v, want %+v", got, tc.want)
				}
				if diff := cmp.Diff(tc.log, b.log.String()); diff != "" {
					t.Errorf("log (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestRun_InProcessThatIgnoresItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, "")
		b.Env.Clock = platform.SystemClock{}
		release := make(chan struct{})
		a := &agents.Agent{Type: "service", InProcess: func(*agents.Call) bool { return true },
			Start: func(context.Context, *agents.Call) error { <-release; return nil }}
		b.Native = func(string) *agents.Agent { return a }
		got := b.Run(t.Context(), Job{Type: "service", Name: "x", Program: "service.sh", Action: "start", Timeout: time.Second, Enforced: true,
			Params: []agents.Param{{Name: "name", Value: "x"}}})
		close(release)
		if !got.Stuck || got.Exit != 1 || got.Elapsed != 2*time.Second {
			t.Errorf("got %+v", got)
		}
	})
}

// TestRun_NativeChild: an agent that may hang is a child, and tells this
// process what to log.
func TestRun_NativeChild(t *testing.T) {
	t.Parallel()
	b := newBench(t, "")
	a := &agents.Agent{Type: "fs"}
	b.Native = func(string) *agents.Agent { return a }
	b.Self = filepath.Join(b.dir, "self")
	if err := os.WriteFile(b.Self, []byte("#!/bin/sh\necho \"<warning> $1 $HAOBOX_AGENT_LOG $OCF_RESKEY_name $COROSYNC_CLUSTER_CONFIG_FILE\"\nexit 6\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	// The words are only seen where the program is no script.
	b.env.Runner.Programs = map[string]platformtest.Program{"self": {Do: func(_ context.Context, cmd platform.Cmd) (platform.Result, error) {
		if !cmd.Contained {
			t.Error("what the agent starts can escape")
		}
		_, err := io.WriteString(cmd.Stdout, "<warning> w\n<notice> n\n")
		return platform.Result{ExitCode: 6}, err
	}}}
	b.Env.Runner = b.env.Runner
	got := b.Run(t.Context(), Job{Type: "fs", Name: "x", Program: "fs.sh", Action: "start", Environ: []string{"OCF_RESKEY_name=x"}})
	if got.Exit != 6 || got.InProcess {
		t.Errorf("got %+v", got)
	}
	if diff := cmp.Diff([][]string{{"fs.sh", "start"}}, b.env.Runner.Calls); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
	want := "WARN [fs] w\nINFO+2 [fs] n\nINFO+2 start on fs \"x\" returned 6 (program not configured)"
	if diff := cmp.Diff(want, b.log.String()); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
	b.Env.Runner = proc.Runner{}
	b.env.Vars[clusterconf.PathVariable] = "/other.conf" // of the same node
	b.Run(t.Context(), Job{Type: "fs", Name: "x", Program: "fs.sh", Action: "start", Environ: []string{"OCF_RESKEY_name=x"}})
	if want := "WARN [fs] start parent x /other.conf"; !strings.Contains(b.log.String(), want) {
		t.Errorf("no %q in the log:\n%s", want, b.log)
	}
}

// TestRun_ForeignAgentWins: an agent that an administrator installed replaces
// ours; a symlink to haobox is ours.
func TestRun_ForeignAgentWins(t *testing.T) {
	t.Parallel()
	b := newBench(t, "exit 3")
	ok := func(context.Context, *agents.Call) error { return nil }
	a := &agents.Agent{Type: "service", Start: ok, InProcess: func(*agents.Call) bool { return true }}
	b.Native = func(string) *agents.Agent { return a }
	j := Job{Type: "service", Name: "x", Program: "bad.sh", Action: "start", Params: []agents.Param{{Name: "name", Value: "x"}}}
	if got := b.Run(t.Context(), j); got.Exit != 3 || got.InProcess {
		t.Errorf("the foreign agent: %+v", got)
	}
	if err := os.WriteFile(filepath.Join(b.dir, "haobox"), nil, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("haobox", filepath.Join(b.dir, "service.sh")); err != nil {
		t.Fatal(err)
	}
	j.Program = "service.sh"
	if got := b.Run(t.Context(), j); got.Exit != 0 || !got.InProcess {
		t.Errorf("our own agent: %+v", got)
	}
}

// TestRun_Remember: a new agent of an administrator is found after that time at
// the latest, one that is in use is not forgotten.
func TestRun_Remember(t *testing.T) {
	t.Parallel()
	b := newBench(t, "")
	ok := func(context.Context, *agents.Call) error { return nil }
	a := &agents.Agent{Type: "service", Start: ok, InProcess: func(*agents.Call) bool { return true }}
	b.Native = func(string) *agents.Agent { return a }
	clock := platformtest.NewClock()
	b.Env.Clock, b.Remember = clock, time.Minute
	j := Job{Type: "service", Name: "x", Program: "service.sh", Action: "start", Params: []agents.Param{{Name: "name", Value: "x"}}}
	run := func(what string, foreign bool) {
		t.Helper()
		if got := b.Run(t.Context(), j); got.InProcess == foreign || (got.Exit == 3) != foreign {
			t.Errorf("%s: %+v", what, got)
		}
	}
	run("nothing is there", false)
	if err := os.WriteFile(filepath.Join(b.dir, "service.sh"), []byte("#!/bin/sh\nexit 3\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	run("it was looked at a moment ago", false)
	clock.Advance(time.Minute)
	run("a minute later", true)
	if err := os.Remove(filepath.Join(b.dir, "service.sh")); err != nil {
		t.Fatal(err)
	}
	run("it has gone", false)
}

func TestJob_Limit(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		job  Job
		want time.Duration
	}{
		{"enforced", Job{Action: "start", Timeout: 20 * time.Second, Enforced: true}, 20 * time.Second},
		{"enforced without a timeout", Job{Action: "start", Enforced: true}, ActionLimit},
		{"a hint", Job{Action: "start", Timeout: 20 * time.Second}, ActionLimit},
		{"a long hint", Job{Action: "start", Timeout: time.Hour}, 10 * time.Hour},
		{"a check", Job{Action: "status", Timeout: 10 * time.Second}, CheckLimit},
		{"no hint", Job{Action: "stop"}, ActionLimit},
	} {
		if got := tc.job.Limit(); got != tc.want {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
	}
}

// TestLoadRules_BadAgents: agents that print no usable metadata give no rule
// and hold nothing up.
func TestLoadRules_BadAgents(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, script string }{
		{"garbage", "echo '<resource-agent name=\"x\"'"},
		{"not XML", "echo hello"},
		{"nothing", "exit 0"},
		{"binary", `printf '\377\376\000\001'`},
		{"a signal in the middle", "echo '<resource-agent name=\"x\">'; kill -9 $$"},
		{"another document", "echo '<html/>'"},
		{"an entity bomb", `echo '<!DOCTYPE r [<!ENTITY a "aa"><!ENTITY b "&a;&a;">]><resource-agent name="&b;"/>'`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, tc.script)
			rules, err := restree.LoadRules(t.Context(), b.Env.FS, proc.Runner{}, "/agents", nil)
			if err != nil || len(rules) != 0 {
				t.Errorf("%d rules, %v", len(rules), err)
			}
		})
	}
}

// TestRun_BrokenOff: that we end an agent ourselves is no fault of anything. Of a
// check, which changes nothing, nobody needs to hear.
func TestRun_BrokenOff(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, action string
		inside       bool
		want         Result
		log          string
	}{
		{"a check in a child", "status", false, Result{Exit: 1, BrokenOff: true, Signal: 9}, "DEBUG status on bad:x was broken off"},
		{"a start in a child", "start", false, Result{Exit: 1, BrokenOff: true, Signal: 9}, "WARN start on bad:x was broken off"},
		{"a check in this process", "status", true, Result{Exit: 1, BrokenOff: true, InProcess: true},
			"DEBUG [script] context canceled\nDEBUG status on script:x was broken off"},
		{"a start in this process", "start", true, Result{Exit: 1, BrokenOff: true, InProcess: true},
			"ERROR [script] context canceled\nWARN start on script:x was broken off"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, "read x <${0%/*}/gate; read x <${0%/*}/never")
			for _, fifo := range []string{"gate", "never"} {
				if err := syscall.Mkfifo(filepath.Join(b.dir, fifo), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			j := bad(tc.action)
			if tc.inside {
				j = Job{Type: "script", Name: "x", Program: "script.sh", Action: tc.action,
					Params: []agents.Param{{Name: "name", Value: "x"}, {Name: "file", Value: "/y"}}}
				wait := func(ctx context.Context, _ *agents.Call) error { cancel(); <-ctx.Done(); return ctx.Err() }
				a := &agents.Agent{Type: "script", Start: wait, Stop: wait, Status: wait, InProcess: func(*agents.Call) bool { return true }}
				b.Native = func(string) *agents.Agent { return a }
			} else {
				go func() { // the agent runs when it reads the pipe
					_ = os.WriteFile(filepath.Join(b.dir, "gate"), []byte("go\n"), 0)
					cancel()
				}()
			}
			got := b.Run(ctx, j)
			got.Elapsed = 0
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("result (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.log, b.log.String()); diff != "" {
				t.Errorf("log (-want +got):\n%s", diff)
			}
		})
	}
}

// TestLoadRules_HangingAgent: an agent that never prints its metadata is ended
// with its children (here by the caller, else after restree.MetadataLimit),
// and the others are still asked.
func TestLoadRules_HangingAgent(t *testing.T) {
	t.Parallel()
	b := newBench(t, "read x <${0%/*}/gate; read x <${0%/*}/never")
	for _, fifo := range []string{"gate", "never"} {
		if err := syscall.Mkfifo(filepath.Join(b.dir, fifo), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(b.dir, "a_good.sh"), []byte("#!/bin/sh\necho '<resource-agent name=\"good\"/>'\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		gate, err := os.OpenFile(filepath.Join(b.dir, "gate"), os.O_WRONLY, 0)
		if err == nil {
			gate.Close()
		}
		cancel()
	}()
	rules, err := restree.LoadRules(ctx, b.Env.FS, proc.Runner{}, "/agents", nil)
	if err != nil || len(rules) != 1 || rules[0].Type != "good" {
		t.Errorf("rules %v, %v", rules, err)
	}
}

// TestFromCall: environment and parameters are those of the tree.
func TestFromCall(t *testing.T) {
	t.Parallel()
	doc, err := xmldoc.Parse("cluster.conf", []byte(`<cluster><rm><service name="web" nfslock="1">
		<ip address="192.0.2.1/24" __enforce_timeouts="1"/></service></rm></cluster>`))
	if err != nil {
		t.Fatal(err)
	}
	set := restree.Load(restree.Builtin(), doc.Root)
	var jobs []Job
	set.Operate(restree.Start, nil, restree.Shell{Now: time.Now, Run: func(c restree.Call) int {
		jobs = append(jobs, FromCall(c, "/usr/share/cluster"))
		return 0
	}})
	if len(jobs) != 2 {
		t.Fatalf("%d jobs", len(jobs))
	}
	got := jobs[1]
	want := Job{
		Type: "ip", Name: "192.0.2.1/24", Program: "ip.sh", Action: "start", Service: "service:web", Timeout: 20 * time.Second, Enforced: true,
		Params: []agents.Param{{Name: "address", Value: "192.0.2.1/24"}, {Name: "monitor_link", Value: "1"}, {Name: "nfslock", Value: "1"}},
		Environ: []string{"OCF_RESKEY_address=192.0.2.1/24", "OCF_RESKEY_monitor_link=1", "OCF_RESKEY_nfslock=1",
			"OCF_RESKEY_RGMANAGER_meta_refcnt=0", "OCF_RESKEY_RGMANAGER_meta_timeout=0", "OCF_RESOURCE_INSTANCE=ip:192.0.2.1/24",
			"OCF_RESOURCE_TYPE=ip", "OCF_RA_VERSION_MAJOR=1", "OCF_RA_VERSION_MINOR=0", "OCF_ROOT=/usr/share/cluster", "OCF_CHECK_LEVEL=0"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("job (-want +got):\n%s", diff)
	}
}

// TestRun_HangInOtherSessions: what the agent started in sessions and process
// groups of its own goes with it when it is killed.
func TestRun_HangInOtherSessions(t *testing.T) {
	t.Parallel()
	testskip.IfForeign(t, "needs setsid and timeout")
	b := newBench(t, "read x <${0%/*}/gate\n"+
		"timeout 600 sh -c 'setsid sh -c \"echo go >$1/ready; read x <$1/never\" sh $1 & wait' sh \"${0%/*}\"\n")
	for _, fifo := range []string{"gate", "ready", "never"} {
		if err := syscall.Mkfifo(filepath.Join(b.dir, fifo), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	j := bad("stop")
	j.Environ = append(j.Environ, "PATH="+agents.Path)
	j.Timeout, j.Enforced = 30*time.Second, true
	done := make(chan Result)
	go func() { done <- b.Run(t.Context(), j) }()
	if err := os.WriteFile(filepath.Join(b.dir, "gate"), []byte("go\n"), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := os.ReadFile(filepath.Join(b.dir, "ready")); err != nil {
		t.Fatal(err)
	}
	b.env.Clock.Advance(30 * time.Second)
	if got := <-done; !got.TimedOut || got.Stuck || got.Signal != 9 {
		t.Errorf("got %+v\n%s", got, b.log)
	}
	// Run returned because nobody holds the agent's output any more.
	fd, err := syscall.Open(filepath.Join(b.dir, "never"), syscall.O_WRONLY|syscall.O_NONBLOCK, 0)
	if err == nil {
		syscall.Close(fd)
		t.Error("a child of the agent still runs")
	}
}
