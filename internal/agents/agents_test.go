package agents

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/haobox/haobox/internal/restree"
	"github.com/haobox/haobox/platform"
	"github.com/haobox/haobox/platform/platformtest"
)

// all are the agents with whatever they need from outside faked.
func all() []*Agent {
	kill := func(int, int) error { return nil }
	return []*Agent{
		Script(), Service(kill), Apache(kill, nil), MySQL(kill, nil), Postgres(kill), BIND(kill), Samba(kill),
		NFSServer(kill), NFSExport(kill), NFSClient(nil), VM(true),
	}
}

func TestAgents_Metadata(t *testing.T) {
	t.Parallel()
	for _, a := range all() {
		t.Run(a.Type, func(t *testing.T) {
			t.Parallel()
			own, err := a.Metadata(RGManager)
			if err != nil {
				t.Fatal(err)
			}
			rule, err := a.Rule()
			if err != nil {
				t.Fatal(err)
			}
			for _, act := range rule.Actions {
				if act.Name != "meta-data" && a.action(act.Name) == nil {
					t.Errorf("the metadata has the action %s, the agent does not", act.Name)
				}
			}
			ocf, err := a.Metadata(OCF)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Contains(own, []byte(`tag="rgmanager"`)) || bytes.Contains(ocf, []byte(`tag="rgmanager"`)) {
				t.Error("the special part is rgmanager's alone")
			}
			if _, _, err := restree.ParseRule(a.Program(), ocf); err != nil {
				t.Errorf("metadata for Pacemaker: %v", err)
			}
		})
	}
}

// probe is an agent whose status is what the test says.
func probe(err error, stopped int) *Agent {
	return &Agent{Type: "script", Stopped: stopped,
		Start: func(context.Context, *Call) error { return nil }, Stop: func(context.Context, *Call) error { return nil },
		Status: func(context.Context, *Call) error { return err }}
}

func TestMain_Statuses(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name    string
		err     error
		stopped int
		args    string
		vars    map[string]string
		want    int
	}{
		{"success", nil, 0, "script.sh status", nil, 0},
		{"a plain error is generic", errors.New("x"), 0, "script.sh status", nil, 1},
		{"a code goes through", Fail(5, "x"), 0, "script.sh status", nil, 5},
		{"stopped for rgmanager", Fail(7, "x"), 0, "script.sh status", nil, 7},
		{"stopped for rgmanager where the old agent says 1", Fail(7, "x"), 1, "script.sh status", nil, 1},
		{"stopped for Pacemaker whatever the old agent says", Fail(7, "x"), 1, "script monitor", nil, 7},
		{"an unknown word", nil, 0, "script.sh dance", nil, 3},
		{"no word for rgmanager", nil, 0, "script.sh", nil, 3},
		{"no word for Pacemaker", nil, 0, "script", nil, 2},
		{"a check level that is no number", nil, 0, "script.sh status", map[string]string{"OCF_CHECK_LEVEL": "deep"}, 2},
		{"a timeout out of range", nil, 0, "script monitor", map[string]string{"OCF_RESKEY_CRM_meta_timeout": "99999999999"}, 2},
		{"a required parameter is missing", nil, 0, "script.sh start", map[string]string{"OCF_RESKEY_file": ""}, 2},
		{"a required parameter is missing for Pacemaker", nil, 0, "script start", map[string]string{"OCF_RESKEY_file": ""}, 6},
		{"stop goes on without it", nil, 0, "script.sh stop", map[string]string{"OCF_RESKEY_file": ""}, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			env := platformtest.NewEnv(t)
			env.Vars["OCF_RESKEY_file"] = "/etc/init.d/x"
			for k, v := range tc.vars {
				env.Vars[k] = v
			}
			if got := probe(tc.err, tc.stopped).Main(t.Context(), env.Env, strings.Fields(tc.args)); got != tc.want {
				t.Errorf("%s: %d, want %d\n%s%s", tc.args, got, tc.want, env.Stdout, env.Stderr)
			}
		})
	}
}

func TestNewCall_ReadsTheEnvironment(t *testing.T) {
	t.Parallel()
	env := platformtest.NewEnv(t)
	env.Vars = map[string]string{
		"OCF_RESKEY_name": "web", "OCF_RESKEY_file": "/x", "OCF_RESKEY_stranger": "no",
		"OCF_RESOURCE_INSTANCE": "script:web", "OCF_CHECK_LEVEL": "10",
		"OCF_RESKEY_RGMANAGER_meta_refcnt": "2", "OCF_RESKEY_RGMANAGER_meta_timeout": "30",
	}
	c, err := Script().NewCall(env.Env, RGManager, "status")
	if err != nil {
		t.Fatal(err)
	}
	if want := []Param{{"name", "web"}, {"file", "/x"}}; !cmp.Equal(want, c.Params) {
		t.Errorf("parameters (-want +got):\n%s", cmp.Diff(want, c.Params))
	}
	if c.Name != "web" || c.Instance() != "script:web" || c.Depth != 10 || c.Others != 2 || c.Timeout != 30*time.Second {
		t.Errorf("got %+v", c)
	}
	env.Vars["OCF_RESOURCE_INSTANCE"] = "p_web"
	env.Vars["OCF_RESKEY_name"] = ""
	env.Vars["OCF_RESKEY_CRM_meta_timeout"] = "20000"
	if c, err = Script().NewCall(env.Env, OCF, "monitor"); err != nil {
		t.Fatal(err)
	}
	if c.Name != "p_web" || c.Param("name") != "p_web" || c.Timeout != 20*time.Second || !c.Probe() {
		t.Errorf("got %+v", c)
	}
}

func TestYes(t *testing.T) {
	t.Parallel()
	for v, want := range map[string]bool{
		"1": true, "yes": true, "YES": true, "true": true, "on": true, "2": true,
		"0": false, "no": false, "": false, "off": false, "maybe": false,
	} {
		if Yes(v) != want {
			t.Errorf("Yes(%q) is %v", v, !want)
		}
	}
}

func TestLog_Dialects(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name           string
		d              Dialect
		parent         bool
		out, err, text string
	}{
		{"rgmanager", RGManager, false, "<warning> a b\n", "", `level=WARN msg="[ip] a b" applet=rgmanager`},
		{"rgmanager's own daemon reads the output", RGManager, true, "<warning> a b\n", "", ""},
		{"Pacemaker", OCF, false, "", "WARNING: ip(vip): a b\n", `level=WARN msg="a b" applet=ip(vip)`},
		{"in process", InProcess, false, "", "", `level=WARN msg="[ip] a b" applet=rgmanager`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			env := platformtest.NewEnv(t)
			if tc.parent {
				env.Vars[LogVariable] = "parent"
			}
			c := &Call{Env: env.Env, Dialect: tc.d, Type: "ip", Name: "vip"}
			c.Warnf("a\n%s", "b")
			if env.Stdout.String() != tc.out || env.Stderr.String() != tc.err {
				t.Errorf("stdout %q, stderr %q", env.Stdout, env.Stderr)
			}
			if log := env.Log.String(); !strings.Contains(log, tc.text) || tc.text == "" && log != "" {
				t.Errorf("log %q", log)
			}
		})
	}
	for _, l := range []slog.Level{slog.LevelDebug, slog.LevelInfo, LevelNotice, slog.LevelWarn, slog.LevelError, LevelAlert} {
		if got, ok := Level(priority(l)); !ok || got != l {
			t.Errorf("level %v is written %s and read %v", l, priority(l), got)
		}
	}
}

func TestScript_Checks(t *testing.T) {
	t.Parallel()
	env := platformtest.NewEnv(t)
	for name, mode := range map[string]os.FileMode{"plain": 0o644, "empty": 0o755, "good": 0o755} {
		text := "#!/bin/sh\n"
		if name == "empty" {
			text = ""
		}
		if err := os.WriteFile(filepath.Join(env.Root, name), []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(env.Root, "dir"), 0o755); err != nil {
		t.Fatal(err)
	}
	results := map[string]platform.Result{"good": {ExitCode: 0}}
	env.Runner.Programs = map[string]platformtest.Program{"good": {Do: func(_ context.Context, cmd platform.Cmd) (platform.Result, error) {
		return results["good"], nil
	}}}
	for _, tc := range []struct {
		name, file string
		res        platform.Result
		dialect    Dialect
		want       int
	}{
		{"runs", "/good", platform.Result{}, RGManager, 0},
		{"fails", "/good", platform.Result{ExitCode: 3}, RGManager, 1},
		{"is stopped, for Pacemaker", "/good", platform.Result{ExitCode: 3}, OCF, 7},
		{"is dead, for Pacemaker", "/good", platform.Result{ExitCode: 1}, OCF, 1},
		{"killed by a signal", "/good", platform.Result{ExitCode: -1, Signal: 9}, RGManager, 1},
		{"not executable", "/plain", platform.Result{}, RGManager, 4},
		{"empty", "/empty", platform.Result{}, RGManager, 1},
		{"a folder", "/dir", platform.Result{}, RGManager, 2},
		{"missing", "/none", platform.Result{}, RGManager, 5},
	} {
		results["good"] = tc.res
		c := &Call{Env: env.Env, Dialect: tc.dialect, Type: "script", Name: "s", Action: "status",
			Params: []Param{{"name", "s"}, {"file", tc.file}}}
		if got := Script().Do(t.Context(), c); got != tc.want {
			t.Errorf("%s: %d, want %d", tc.name, got, tc.want)
		}
	}
}

func TestService_DropsLocks(t *testing.T) {
	t.Parallel()
	env := platformtest.NewEnv(t)
	for pid, comm := range map[string]string{"17": "lockd", "18": "bash"} {
		if err := os.MkdirAll(filepath.Join(env.Root, "proc", pid), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(env.Root, "proc", pid, "comm"), []byte(comm+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var killed []int
	a := Service(func(pid, sig int) error { killed = append(killed, pid, sig); return nil })
	for _, lock := range []string{"0", "1"} {
		c, err := a.NewCallFor(env.Env, "start", 0, "web", []Param{{"name", "web"}, {"nfslock", lock}})
		if err != nil {
			t.Fatal(err)
		}
		if got := a.Do(t.Context(), c); got != 0 {
			t.Errorf("start: %d", got)
		}
	}
	if want := []int{17, SIGKILL}; !cmp.Equal(want, killed) {
		t.Errorf("killed (-want +got):\n%s", cmp.Diff(want, killed))
	}
}
