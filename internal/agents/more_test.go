package agents

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/haobox/haobox/platform"
	"github.com/haobox/haobox/platform/platformtest"
	"github.com/haobox/haobox/platform/proc"
	"github.com/haobox/haobox/platform/testskip"
)

// units is a systemd with one unit.
type units struct {
	absent             bool
	load, active, sub  string
	afterStart, startE string
	calls              []string
}

func (u *units) Running() bool { return !u.absent }

func (u *units) Start(_ context.Context, unit string) error {
	u.calls = append(u.calls, "start "+unit)
	if u.startE != "" {
		return errors.New(u.startE)
	}
	u.active = u.afterStart
	return nil
}

func (u *units) Stop(_ context.Context, unit string) error {
	u.calls = append(u.calls, "stop "+unit)
	u.active, u.sub = "inactive", "dead"
	return nil
}

func (u *units) Reload(_ context.Context, unit string) error {
	u.calls = append(u.calls, "reload "+unit)
	return nil
}

func (u *units) State(context.Context, string) (string, string, string, error) {
	return u.load, u.active, u.sub, nil
}

func TestSystemd_Actions(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name    string
		u       units
		unit    string
		action  string
		dialect Dialect
		want    int
		calls   []string
	}{
		{"start", units{load: "loaded", active: "inactive", afterStart: "active"}, "nginx", "start", RGManager, OK, []string{"start nginx.service"}},
		{"a type of unit is kept", units{load: "loaded", active: "inactive", afterStart: "active"}, "a.socket", "start", RGManager, OK, []string{"start a.socket"}},
		{"start of what is active", units{load: "loaded", active: "active"}, "nginx", "start", RGManager, OK, nil},
		{"a job that fails", units{load: "loaded", active: "inactive", startE: "the job ended as failed"}, "nginx", "start", RGManager, Generic, []string{"start nginx.service"}},
		{"a unit that does not stay", units{load: "loaded", active: "inactive", afterStart: "failed"}, "nginx", "start", RGManager, Generic, []string{"start nginx.service"}},
		{"no such unit", units{load: "not-found", active: "inactive"}, "nginx", "start", RGManager, NotInstalled, nil},
		{"a masked unit", units{load: "masked", active: "inactive"}, "nginx", "start", RGManager, NotConfigured, nil},
		{"no systemd", units{absent: true}, "nginx", "start", RGManager, NotInstalled, nil},
		{"stop", units{load: "loaded", active: "active"}, "nginx", "stop", RGManager, OK, []string{"stop nginx.service"}},
		{"stop of what is inactive", units{load: "loaded", active: "inactive"}, "nginx", "stop", RGManager, OK, nil},
		{"stop of what has failed", units{load: "loaded", active: "failed"}, "nginx", "stop", RGManager, OK, nil},
		{"stop without the unit for Pacemaker", units{load: "not-found", active: "inactive"}, "nginx", "stop", OCF, OK, nil},
		{"status active", units{load: "loaded", active: "active"}, "nginx", "status", RGManager, OK, nil},
		{"status inactive", units{load: "loaded", active: "inactive"}, "nginx", "status", RGManager, NotRunning, nil},
		{"status failed", units{load: "loaded", active: "failed"}, "nginx", "monitor", OCF, NotRunning, nil},
		{"status of what systemd restarts again and again", units{load: "loaded", active: "activating", sub: "auto-restart"}, "nginx", "status", RGManager, Generic, nil},
		{"reload", units{load: "loaded", active: "active"}, "nginx", "reload", RGManager, OK, []string{"reload nginx.service"}},
		{"a name with a path", units{}, "../x", "start", RGManager, BadArguments, nil},
		{"an option for a name", units{}, "--now", "start", OCF, NotConfigured, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			env := platformtest.NewEnv(t)
			if got := do(t, env, Systemd(&tc.u), tc.dialect, tc.action, 0, "unit="+tc.unit); got != tc.want {
				t.Errorf("%d, want %d\n%s%s", got, tc.want, env.Stdout, env.Stderr)
			}
			if diff := cmp.Diff(tc.calls, tc.u.calls); diff != "" {
				t.Errorf("calls (-want +got):\n%s", diff)
			}
		})
	}
}

func TestOCF_Actions(t *testing.T) {
	t.Parallel()
	const agent = "usr/lib/ocf/resource.d/acme/thing"
	for _, tc := range []struct {
		name, script, action string
		agent                string
		want                 int
		out                  string
	}{
		{"start with the environment of the API", `echo "$1 $OCF_ROOT $OCF_RESOURCE_INSTANCE $OCF_RESOURCE_PROVIDER:$OCF_RESOURCE_TYPE $OCF_RESKEY_port [$OCF_RESKEY_agent]"`, "start", "acme:thing", OK,
			"<info> start /usr/lib/ocf x acme:thing 80 []\n"},
		{"with ocf in front", "exit 0", "start", "ocf:acme:thing", OK, ""},
		{"levels of messages", `echo "ERROR: a"; echo "WARNING: b: c" >&2; exit 1`, "stop", "acme:thing", Generic,
			"<err> a\n<warning> b: c\n<err> ocf:x: stop of thing returned 1\n"},
		{"status is monitor", `[ "$1" = monitor ]; exit $?`, "status", "acme:thing", OK, ""},
		{"not running", "exit 7", "status", "acme:thing", NotRunning, "<err> ocf:x: thing is not running\n"},
		{"promoted", "exit 8", "status", "acme:thing", OK, ""},
		{"failed while promoted", "exit 9", "status", "acme:thing", Generic, "<err> ocf:x: thing has failed while promoted (9)\n"},
		{"degraded", "exit 190", "status", "acme:thing", OK, "<warning> ocf:x: thing runs, but says that it is degraded (190)\n"},
		{"stop of what is not running", "exit 7", "stop", "acme:thing", OK, ""},
		{"a signal", "kill -9 $$", "start", "acme:thing", Generic, "<err> ocf:x: start of thing: ended by signal 9\n"},
		{"reload that is not there", "exit 3", "reload", "acme:thing", OK, ""},
		{"validate-all goes to the agent", `[ "$1" = validate-all ] && exit 6`, "validate-all", "acme:thing", NotConfigured, "<err> ocf:x: validate-all of thing returned 6\n"},
		{"no such agent", "exit 0", "start", "acme:other", NotInstalled, "<err> ocf:x: there is no agent /usr/lib/ocf/resource.d/acme/other\n"},
		{"a path in the place of a name", "exit 0", "start", "acme:../../x", BadArguments,
			"<err> parameter agent of ocf:x is \"acme:../../x\"; it must be PROVIDER:TYPE, the name of a file /usr/lib/ocf/resource.d/PROVIDER/TYPE\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			env := platformtest.NewEnv(t)
			env.Env.Runner = proc.Runner{}
			write(t, env, agent, "#!/bin/sh\n"+tc.script+"\n")
			if got := do(t, env, OCFAgent(), RGManager, tc.action, 0, "agent="+tc.agent, "port=80"); got != tc.want {
				t.Errorf("%d, want %d", got, tc.want)
			}
			if diff := cmp.Diff(tc.out, env.Stdout.String()); diff != "" {
				t.Errorf("output (-want +got):\n%s", diff)
			}
		})
	}
}

// TestOCF_OpenParameters: attributes that no metadata names reach the agent.
func TestOCF_OpenParameters(t *testing.T) {
	t.Parallel()
	env := platformtest.NewEnv(t)
	env.Vars = map[string]string{"OCF_RESKEY_agent": "acme:thing", "OCF_RESKEY_port": "80", "OCF_RESKEY_CRM_meta_timeout": "5", "OCF_RESKEY_RGMANAGER_meta_refcnt": "0"}
	c, err := OCFAgent().NewCall(env.Env, RGManager, "start")
	if err != nil {
		t.Fatal(err)
	}
	if want := []Param{{"agent", "acme:thing"}, {"port", "80"}}; !slices.Equal(want, c.Params) {
		t.Errorf("parameters (-want +got):\n%s", cmp.Diff(want, c.Params))
	}
}

// lvmMachine is a fake LVM with one volume group "vg" with the volume "lv".
type lvmMachine struct {
	attr, lockType, tags string
	active               bool
	volumeList, clustat  string
	stuck                bool
}

func (m *lvmMachine) run(_ context.Context, cmd platform.Cmd) (platform.Result, error) {
	out := ""
	fail := platform.Result{ExitCode: 5}
	switch w := strings.Join(cmd.Args, " "); {
	case cmd.Args[0] == "vgs":
		if m.attr == "" {
			io.WriteString(cmd.Stdout, "  Volume group \"vg\" not found\n")
			return fail, nil
		}
		out = "  " + m.attr + "|" + m.tags + "|" + m.lockType + "\n"
	case cmd.Args[0] == "lvs":
		attr := "-wi-------"
		if m.active {
			attr = "-wi-a-----"
		}
		out = "  lv|" + attr + "|\n"
	case strings.HasPrefix(w, "vgchange -ay"), strings.HasPrefix(w, "vgchange -aey"):
		m.active = true
	case strings.HasPrefix(w, "vgchange -an"):
		m.active = m.stuck
		if m.stuck {
			return fail, nil
		}
	case strings.HasPrefix(w, "vgchange --addtag"):
		m.tags = strings.TrimPrefix(m.tags+","+cmd.Args[2], ",")
	case strings.HasPrefix(w, "vgchange --deltag"):
		m.tags = strings.Join(slices.DeleteFunc(strings.Split(m.tags, ","), func(t string) bool { return t == cmd.Args[2] }), ",")
	case cmd.Args[0] == "lvmconfig":
		if m.volumeList == "" {
			return fail, nil
		}
		out = m.volumeList + "\n"
	case cmd.Args[0] == "clustat":
		if m.clustat == "" {
			return platform.Result{ExitCode: 1}, nil
		}
		out = m.clustat
	}
	io.WriteString(cmd.Stdout, out)
	return platform.Result{}, nil
}

func TestLVM_Ownership(t *testing.T) {
	t.Parallel()
	const listed = `volume_list=["root","@cnode2"]`
	const members = `<clustat><nodes><node name="cnode1" state="0"/><node name="cnode2" state="1"/><node name="cnode3" state="1"/></nodes></clustat>`
	for _, tc := range []struct {
		name    string
		m       lvmMachine
		action  string
		fence   string
		want    int
		tags    string
		active  bool
		reboots int
		call    string
	}{
		{name: "a free group is claimed", m: lvmMachine{attr: "wz--n-", volumeList: listed}, action: "start", tags: "cnode2", active: true},
		{name: "a dead node's is taken", m: lvmMachine{attr: "wz--n-", tags: "cnode1", volumeList: listed, clustat: members}, action: "start", tags: "cnode2", active: true},
		{name: "a live node's is not", m: lvmMachine{attr: "wz--n-", tags: "cnode3", volumeList: listed, clustat: members}, action: "start", want: Generic, tags: "cnode3"},
		{name: "not to know is no yes", m: lvmMachine{attr: "wz--n-", tags: "cnode1", volumeList: listed}, action: "start", want: Generic, tags: "cnode1"},
		{name: "no volume_list", m: lvmMachine{attr: "wz--n-"}, action: "start", want: Generic},
		{name: "volume_list without this node", m: lvmMachine{attr: "wz--n-", volumeList: `volume_list="root"`}, action: "start", want: Generic},
		{name: "volume_list with the group", m: lvmMachine{attr: "wz--n-", volumeList: `volume_list=["vg","@cnode2"]`}, action: "start", want: Generic},
		{name: "no such group", m: lvmMachine{}, action: "start", want: NotInstalled},
		{name: "lvmlockd locks a shared group", m: lvmMachine{attr: "wz--ns", lockType: "dlm"}, action: "start", active: true, call: "vgchange --lockstart vg\nvgchange -aey vg"},
		{name: "a clustered group without clvmd", m: lvmMachine{attr: "wz--nc"}, action: "start", want: Generic},
		{name: "stop", m: lvmMachine{attr: "wz--n-", tags: "cnode2", active: true, volumeList: listed}, action: "stop"},
		{name: "stop again", m: lvmMachine{attr: "wz--n-", volumeList: listed}, action: "stop"},
		{name: "stop leaves another node's tag", m: lvmMachine{attr: "wz--n-", tags: "cnode3", volumeList: listed}, action: "stop", tags: "cnode3"},
		{name: "stop without volume_list only warns", m: lvmMachine{attr: "wz--n-", tags: "cnode2", active: true}, action: "stop"},
		{name: "what does not stop", m: lvmMachine{attr: "wz--n-", tags: "cnode2", active: true, stuck: true}, action: "stop", want: Generic, tags: "cnode2", active: true},
		{name: "what does not stop and must", m: lvmMachine{attr: "wz--n-", tags: "cnode2", active: true, stuck: true}, action: "stop", fence: "1", want: Generic, tags: "cnode2", active: true, reboots: 1},
		{name: "status", m: lvmMachine{attr: "wz--n-", tags: "cnode2", active: true}, action: "status", tags: "cnode2", active: true},
		{name: "status of what is off", m: lvmMachine{attr: "wz--n-", tags: "cnode2"}, action: "status", want: NotRunning, tags: "cnode2"},
		{name: "another's tag on what is active", m: lvmMachine{attr: "wz--n-", tags: "cnode3", active: true}, action: "status", want: Generic, tags: "cnode3"},
		{name: "status without the group", m: lvmMachine{}, action: "status", want: NotRunning},
		{name: "a clustered group is always well", m: lvmMachine{attr: "wz--nc"}, action: "status"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			programs := []string{"vgs", "lvs", "vgchange", "lvchange", "lvmconfig", "clustat", "sync"}
			env := table(t, "", programs...)
			for _, p := range programs {
				env.Runner.Programs[p] = platformtest.Program{Do: tc.m.run}
			}
			write(t, env, "dev/vg/lv", "")
			write(t, env, "etc/cluster/cluster.conf", `<cluster><clusternodes><clusternode name="cnode2"/></clusternodes></cluster>`)
			reboots := 0
			a := LVM(Machine{Reboot: func() error { reboots++; return nil }})
			if got := do(t, env, a, RGManager, tc.action, 0, "vg_name=vg", "self_fence="+tc.fence); got != tc.want {
				t.Errorf("%d, want %d\n%s", got, tc.want, env.Stdout)
			}
			if tc.m.tags != tc.tags || tc.m.active != tc.active || reboots != tc.reboots {
				t.Errorf("tags %q, active %v, %d reboots; want %q, %v, %d", tc.m.tags, tc.m.active, reboots, tc.tags, tc.active, tc.reboots)
			}
			if calls := words(env.Runner.Calls); !strings.Contains(calls, tc.call) {
				t.Errorf("calls:\n%s", calls)
			}
		})
	}
}

// TestLVM_Device: a real volume group on a loop device.
func TestLVM_Device(t *testing.T) {
	testskip.IfNoGuestProgram(t, "vgcreate", "losetup")
	if text, err := os.ReadFile("/proc/devices"); err != nil || !strings.Contains(string(text), " device-mapper\n") {
		testskip.Kernel(t, "dm_mod", "no device-mapper in /proc/devices")
	}
	device := loopDevice(t, 64*mib)
	conf := t.TempDir()
	env := realEnv(t)
	host, err := env.Env.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	// Without udev rules LVM makes the devices itself, also where no udev runs.
	text := "activation {\nvolume_list = [\"@" + host + "\"]\nudev_sync = 0\nudev_rules = 0\n}\n"
	if err := os.WriteFile(filepath.Join(conf, "lvm.conf"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv("LVM_SYSTEM_DIR", conf) // for the programs of the test itself
	runTool(t, "vgcreate", "haoboxvg", device)
	t.Cleanup(func() { _ = exec.Command("vgremove", "-ff", "-y", "haoboxvg").Run() })
	runTool(t, "lvcreate", "-an", "-Zn", "-L", "8M", "-n", "lv", "haoboxvg")
	env.Env.Runner = withEnv{env.Env.Runner, "LVM_SYSTEM_DIR=" + conf}
	for _, step := range []struct {
		action string
		want   int
	}{{"status", NotRunning}, {"start", OK}, {"status", OK}, {"stop", OK}, {"stop", OK}} {
		if got := do(t, env, LVM(here()), RGManager, step.action, 0, "vg_name=haoboxvg"); got != step.want {
			t.Errorf("%s: %d, want %d\n%s", step.action, got, step.want, env.Stdout)
		}
	}
}

// withEnv adds a variable to every program.
type withEnv struct {
	platform.Runner
	kv string
}

func (w withEnv) Start(ctx context.Context, cmd platform.Cmd) (platform.Process, error) {
	cmd.Env = append(slices.Clone(cmd.Env), w.kv)
	return w.Runner.Start(ctx, cmd)
}
