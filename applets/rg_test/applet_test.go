package rgtest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/haobox/haobox/applets/applet"
	"github.com/haobox/haobox/conf"
	"github.com/haobox/haobox/internal/goldentest"
	"github.com/haobox/haobox/platform"
	"github.com/haobox/haobox/platform/platformtest"
)

// machine has the built-in agents in its agent folder. fail names calls
// ("status script s") with their exit status.
func machine(t *testing.T, fail map[string]int) *platformtest.Env {
	t.Helper()
	env := platformtest.NewEnv(t)
	dir := filepath.Join(env.Root, "usr/share/cluster")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	env.Runner.Programs = map[string]platformtest.Program{}
	for _, name := range conf.AgentNames() {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o755); err != nil {
			t.Fatal(err)
		}
		text, _ := conf.AgentMetadata(name)
		env.Runner.Programs[name] = platformtest.Program{Do: func(_ context.Context, cmd platform.Cmd) (platform.Result, error) {
			if cmd.Args[1] == "meta-data" {
				cmd.Stdout.Write(text)
				return platform.Result{}, nil
			}
			var id string
			for _, v := range cmd.Env {
				if s, ok := strings.CutPrefix(v, "OCF_RESOURCE_INSTANCE="); ok {
					id = s
				}
			}
			call := strings.Join(cmd.Args[1:], " ") + " " + id
			fmt.Fprintf(cmd.Stdout, "<info> %s\n", call)
			return platform.Result{ExitCode: fail[call]}, nil
		}}
	}
	return env
}

const before = `<cluster name="c" config_version="1">
<clusternodes><clusternode name="A" nodeid="1"/></clusternodes>
<rm>
 <failoverdomains><failoverdomain name="d" ordered="1" restricted="1"><failoverdomainnode name="A" priority="1"/></failoverdomain></failoverdomains>
 <resource-defaults><script service_name="none"/></resource-defaults>
 <resources><script name="s" file="/s"/><ip address="10.0.0.1"/><ip address="10.0.0.1"/></resources>
 <service name="web" domain="d" autostart="0">
  <fs name="f" device="/dev/f" mountpoint="/f"/><ip ref="10.0.0.1"/>
  <script ref="s" __independent_subtree="2"/><script ref="gone"/><apache name="a"/>
 </service>
 <service name="old"/>
 <vm name="guest"/>
 <vm name="leaving"/>
</rm></cluster>`

const after = `<cluster name="c" config_version="2">
<rm>
 <resource-defaults><script service_name="none"/><ip monitor_link="0"/></resource-defaults>
 <resources><script name="s" file="/s"/><ip address="10.0.0.1"/></resources>
 <service name="web" autostart="1" domain="d">
  <fs name="f" device="/dev/g" mountpoint="/f"/><ip ref="10.0.0.1"/>
  <script ref="s"/><apache name="a"/>
 </service>
 <vm name="guest"/>
 <vm name="coming"/>
 <service name="new"><lvm name="l" vg_name="v"/></service>
</rm></cluster>`

// The command line library writes package variables: tests of Run are not parallel.

// TestOutput compares standard output, without the Loading lines, and the exit
// status of each mode with the golden files.
func TestOutput(t *testing.T) {
	for _, tc := range []struct {
		name string
		args string
		fail map[string]int
		exit int
	}{
		{name: "test", args: "test /before.conf"},
		{name: "noop_start", args: "noop /before.conf start service web"},
		{name: "noop_status", args: "noop /before.conf status service web"},
		{name: "noop_stop", args: "noop /before.conf stop service web"},
		{name: "noop_one_resource", args: "noop /before.conf start ip 10.0.0.1"},
		{name: "noop_migrate", args: "noop /before.conf migrate vm guest B"},
		{name: "noop_migrate_service", args: "noop /before.conf migrate service web B"},
		{name: "test_migrate_fails", args: "test /before.conf migrate vm guest B", fail: map[string]int{"migrate B vm:guest": 150}, exit: 255},
		{name: "test_start_fails", args: "test /before.conf start service web", fail: map[string]int{"start ip:10.0.0.1": 1}, exit: 255},
		{name: "test_status_noncritical", args: "test /before.conf status service web", fail: map[string]int{"status script:s": 1}, exit: 6},
		{name: "test_status_fails", args: "test /before.conf status service web", fail: map[string]int{"status fs:f": 7}, exit: 1},
		{name: "test_stop_not_installed", args: "test /before.conf stop service web", fail: map[string]int{"stop apache:a": 5}},
		{name: "test_stop_fails", args: "test /before.conf stop service web", fail: map[string]int{"stop apache:a": 1}, exit: 255},
		{name: "other_word", args: "noop /before.conf dance service web"},
		{name: "delta", args: "delta /before.conf /after.conf"},
		{name: "delta_same", args: "delta /before.conf /before.conf"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			env := machine(t, tc.fail)
			for name, text := range map[string]string{"before.conf": before, "after.conf": after} {
				if err := os.WriteFile(filepath.Join(env.Root, name), []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			err := Run(t.Context(), env.Env, append([]string{"rg_test"}, strings.Fields(tc.args)...))
			if exit := applet.Status(err, env.Stderr); exit != tc.exit {
				t.Errorf("exit status %d, want %d", exit, tc.exit)
			}
			var got strings.Builder
			for line := range strings.Lines(env.Stdout.String()) {
				if !strings.HasPrefix(line, "Loading resource rule") {
					got.WriteString(line)
				}
			}
			goldentest.Compare(t, filepath.Join("testdata", tc.name+".golden"), got.String())
		})
	}
}

// TestOwnAgents: ours need not be installed, unless a folder is named.
func TestOwnAgents(t *testing.T) {
	env := platformtest.NewEnv(t)
	const conf = `<cluster name="c" config_version="1"><rm><service name="web"><script name="s" file="/s"/></service></rm></cluster>`
	for name, text := range map[string]string{"x.conf": conf, "empty/x": ""} {
		file := filepath.Join(env.Root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	env.Runner.Programs = map[string]platformtest.Program{"exe": {Stdout: "started\n"}}
	for _, tc := range []struct{ args, want string }{
		{"test /x.conf start service web", "Starting web...\nstarted\nstarted\nStart of web complete\n"},
		{"/empty test /x.conf start service web", "No resource web of type service found\n"},
	} {
		before := len(env.Stdout.String())
		if err := Run(t.Context(), env.Env, append([]string{"rg_test"}, strings.Fields(tc.args)...)); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tc.want, env.Stdout.String()[before:]); diff != "" {
			t.Errorf("%s (-want +got)\n%s", tc.args, diff)
		}
	}
	if diff := cmp.Diff([][]string{{"/usr/share/cluster/service.sh", "start"}, {"/usr/share/cluster/script.sh", "start"}}, env.Runner.Calls); diff != "" {
		t.Errorf("calls (-want +got)\n%s", diff)
	}
}
