package agents

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/haobox/haobox/platform"
	"github.com/haobox/haobox/platform/platformtest"
)

func TestParseMount(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		line string
		want Mount
	}{
		{"36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue",
			Mount{ID: 36, Parent: 35, Device: "98:0", Point: "/mnt2", Source: "/dev/root", Type: "ext3"}},
		{`40 35 0:50 / /with\040blank\134 ro shared:2 master:1 - nfs4 srv:/a\040b rw`,
			Mount{ID: 40, Parent: 35, Device: "0:50", Point: `/with blank\`, Source: "srv:/a b", Type: "nfs4", ReadOnly: true}},
		{"41 35 0:51 / /x rw - tmpfs tmpfs ro", Mount{ID: 41, Parent: 35, Device: "0:51", Point: "/x", Source: "tmpfs", Type: "tmpfs", ReadOnly: true}},
	} {
		got, err := parseMount(tc.line)
		if err != nil || got != tc.want {
			t.Errorf("%s: %v (-want +got):\n%s", tc.line, err, cmp.Diff(tc.want, got))
		}
	}
	for _, bad := range []string{"", "36", "36 35 98:0 / /x rw", "a b c d e f - g h", "1 2 3 4 5 6 -", "- - -"} {
		if m, err := parseMount(bad); err == nil {
			t.Errorf("%q is read as %+v", bad, m)
		}
	}
}

func FuzzParseMount(f *testing.F) {
	f.Add("36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue")
	f.Add(`1 2 3:4 / \0 rw - a \777`)
	f.Fuzz(func(t *testing.T, line string) {
		if m, err := parseMount(line); err == nil && len(m.Point) > len(line) {
			t.Errorf("%q grows to %+v", line, m)
		}
	})
}

// table is a machine with that mount table and programs that say what they
// were asked.
func table(t *testing.T, mountinfo string, programs ...string) *platformtest.Env {
	t.Helper()
	env := platformtest.NewEnv(t)
	write(t, env, "proc/self/mountinfo", mountinfo)
	env.Runner.Programs = map[string]platformtest.Program{"exe": {}}
	for _, p := range append(programs, "mount", "umount") {
		env.Runner.Programs[p] = platformtest.Program{}
		write(t, env, "sbin/"+p, "x")
	}
	return env
}

func write(t *testing.T, env *platformtest.Env, name, text string) {
	t.Helper()
	file := filepath.Join(env.Root, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}

// do runs an action of an agent with parameters "name=value".
func do(t *testing.T, env *platformtest.Env, a *Agent, d Dialect, action string, depth int, params ...string) int {
	t.Helper()
	var list []Param
	for _, p := range params {
		k, v, _ := strings.Cut(p, "=")
		list = append(list, Param{k, v})
	}
	c, err := a.NewCallFor(env.Env, action, depth, "x", list)
	if err != nil {
		t.Fatal(err)
	}
	c.Dialect = d
	return a.Do(t.Context(), c)
}

func words(calls [][]string) string {
	var out []string
	for _, c := range calls {
		out = append(out, strings.Join(c, " "))
	}
	return strings.Join(out, "\n")
}

func TestMounters_WhatIsRun(t *testing.T) {
	t.Parallel()
	const nfs = "50 1 0:44 / /mnt/nfs rw - nfs4 srv:/export/ rw\n"
	const gfs = "51 1 253:6 / /var/www/html rw - gfs2 /dev/dm-6 rw\n"
	machine := Machine{Kill: func(int, int) error { return nil }, Reboot: func() error { return nil }}
	for _, tc := range []struct {
		name      string
		agent     *Agent
		dialect   Dialect
		mounts    string
		action    string
		params    []string
		others    int
		want      int
		calls     string
		afterward string
	}{
		{name: "NFS gets rgmanager's options", agent: NetFS(machine), action: "start",
			params: []string{"mountpoint=/mnt/nfs", "host=srv", "export=/export"}, calls: "mount -t nfs -o sync,soft,noac srv:/export /mnt/nfs"},
		{name: "NFS version 4 over IPv6", agent: NetFS(machine), action: "start",
			params: []string{"mountpoint=/mnt/nfs", "host=2001:db8::1", "export=/", "fstype=nfs4", "options=ro"}, calls: "mount -t nfs4 -o ro [2001:db8::1]:/ /mnt/nfs"},
		{name: "CIFS", agent: NetFS(machine), action: "start",
			params: []string{"mountpoint=/mnt/c", "host=srv", "export=data", "fstype=cifs"}, calls: "mount -t cifs -o guest //srv/data /mnt/c"},
		{name: "NFS that is mounted", agent: NetFS(machine), mounts: nfs, action: "start",
			params: []string{"mountpoint=/mnt/nfs", "host=srv", "export=/export"}},
		{name: "a mount point in use", agent: NetFS(machine), mounts: nfs, action: "start",
			params: []string{"mountpoint=/mnt/nfs", "host=other", "export=/export"}, want: BadArguments},
		{name: "no_unmount", agent: NetFS(machine), mounts: nfs, action: "stop",
			params: []string{"mountpoint=/mnt/nfs", "host=srv", "export=/export", "no_unmount=1"}},
		{name: "an option in the place of a host", agent: NetFS(machine), action: "start",
			params: []string{"mountpoint=/mnt/nfs", "host=-o", "export=/export"}, want: BadArguments},
		{name: "an option in the place of a mount point", agent: NetFS(machine), action: "stop",
			params: []string{"mountpoint=-a", "host=srv", "export=/export"}, want: BadArguments},
		{name: "a file system of another agent", agent: FS(machine), action: "start",
			params: []string{"mountpoint=/m", "device=/dev/x", "fstype=nfs"}, want: BadArguments},
		{name: "options with a blank", agent: FS(machine), action: "start",
			params: []string{"mountpoint=/m", "device=/dev/x", "options=ro -o rw"}, want: BadArguments},
		{name: "a device that is not there", agent: FS(machine), action: "start", params: []string{"mountpoint=/m", "device=/dev/none"}, want: BadArguments},
		{name: "a device that is a file", agent: FS(machine), action: "start", params: []string{"mountpoint=/m", "device=/sbin/mount"}, want: BadArguments},
		{name: "stop without the device", agent: FS(machine), action: "stop", params: []string{"mountpoint=/m", "device=/dev/none"}, want: NotInstalled},
		{name: "stop without the device for Pacemaker", agent: FS(machine), dialect: OCF, action: "stop", params: []string{"mountpoint=/m", "device=/dev/none"}},
		{name: "status without the device", agent: FS(machine), action: "status", params: []string{"mountpoint=/m", "device=/dev/none"}, want: NotRunning},
		{name: "a cluster file system stays mounted", agent: ClusterFS(machine), mounts: gfs, action: "stop",
			params: []string{"mountpoint=/var/www/html", "device=/dev/dm-6"}},
		{name: "a cluster file system that another service uses", agent: ClusterFS(machine), mounts: gfs, action: "stop", others: 1,
			params: []string{"mountpoint=/var/www/html", "device=/dev/dm-6", "force_unmount=1"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			env := table(t, tc.mounts)
			var list []Param
			for _, p := range tc.params {
				k, v, _ := strings.Cut(p, "=")
				list = append(list, Param{k, v})
			}
			c, err := tc.agent.NewCallFor(env.Env, tc.action, 0, "x", list)
			if err != nil {
				t.Fatal(err)
			}
			c.Dialect, c.Others = tc.dialect, tc.others
			if got := tc.agent.Do(t.Context(), c); got != tc.want {
				t.Errorf("%d, want %d\n%s%s", got, tc.want, env.Stdout, env.Stderr)
			}
			if diff := cmp.Diff(tc.calls, words(env.Runner.Calls)); diff != "" {
				t.Errorf("programs (-want +got):\n%s", diff)
			}
		})
	}
}

// TestMounters_LogOfTheManual: the lines of the manual, section 6.10.
func TestMounters_LogOfTheManual(t *testing.T) {
	t.Parallel()
	env := table(t, "51 1 253:6 / /var/www/html rw - gfs2 /dev/dm-6 rw\n")
	env.Env.FS = blockFS{env.Env.FS}
	do(t, env, ClusterFS(Machine{}), RGManager, "status", 0, "name=ZHA-GFS", "mountpoint=/var/www/html", "device=/dev/dm-6")
	write(t, env, "proc/self/mountinfo", "")
	do(t, env, ClusterFS(Machine{}), RGManager, "start", 0, "name=ZHA-GFS", "mountpoint=/var/www/html", "device=/dev/dm-6", "fstype=gfs2")
	want := "<debug> Checking fs \"x\", level 0\n<info> creating mount point /var/www/html for device /dev/dm-6\n" +
		"<info> mounting /dev/dm-6 on /var/www/html\n<debug> mount -t gfs2 /dev/dm-6 /var/www/html\n"
	if diff := cmp.Diff(want, env.Stdout.String()); diff != "" {
		t.Errorf("output (-want +got):\n%s", diff)
	}
}

// blockFS says that everything in /dev is a block device.
type blockFS struct{ platform.FS }

func (b blockFS) Stat(name string) (os.FileInfo, error) {
	if strings.HasPrefix(name, "/dev/") {
		return blockInfo{}, nil
	}
	return b.FS.Stat(name)
}

type blockInfo struct{ os.FileInfo }

func (blockInfo) Mode() os.FileMode { return os.ModeDevice }

// deadFS is a file system with a mount point at which every look hangs.
type deadFS struct {
	platform.FS
	t     *testing.T
	point string
	gone  *atomic.Bool
}

func (d deadFS) look(name string) {
	if !d.gone.Load() && (name == d.point || strings.HasPrefix(name, d.point+"/")) {
		d.t.Errorf("%s is looked at: while its server is gone, that hangs", name)
	}
}

func (d deadFS) Path(name string) string { d.look(name); return d.FS.Path(name) }

func (d deadFS) Stat(name string) (os.FileInfo, error) { d.look(name); return d.FS.Stat(name) }

func (d deadFS) Lstat(name string) (os.FileInfo, error) { d.look(name); return d.FS.Lstat(name) }

func (d deadFS) Readlink(name string) (string, error) { d.look(name); return d.FS.Readlink(name) }

// TestMounters_DeadServer: no action looks at what does not answer, but for the
// program of the check, which is killed; the stop gets as far as umount, and
// has that not look either.
func TestMounters_DeadServer(t *testing.T) {
	t.Parallel()
	const mounted = "50 1 0:44 / /mnt/nfs rw - nfs4 srv:/export rw\n"
	for _, tc := range []struct{ name, action, point, calls string }{
		{"a start", "start", "/mnt/nfs", ""},
		{"a check", "status", "/mnt/nfs", "netfs.sh access"},
		{"a check through a symlink", "status", "/srv/a/../data/", "netfs.sh access"},
		{"a stop", "stop", "/mnt/nfs", "umount -c /mnt/nfs\numount -f -c /mnt/nfs"},
		{"a stop through a symlink", "stop", "/srv/data", "umount -c /mnt/nfs\numount -f -c /mnt/nfs"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			env := table(t, mounted)
			var gone atomic.Bool
			env.Env.FS = deadFS{env.Env.FS, t, "/mnt/nfs", &gone}
			env.Runner.Programs["umount"] = platformtest.Program{Do: func(_ context.Context, cmd platform.Cmd) (platform.Result, error) {
				if cmd.Args[1] != "-f" {
					return platform.Result{ExitCode: 32}, nil
				}
				write(t, env, "proc/self/mountinfo", "")
				gone.Store(true)
				return platform.Result{}, nil
			}}
			if err := os.MkdirAll(filepath.Join(env.Root, "srv/a"), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink("../mnt/./nfs", filepath.Join(env.Root, "srv/data")); err != nil {
				t.Fatal(err)
			}
			a := NetFS(Machine{Kill: func(int, int) error { return nil }})
			if got := do(t, env, a, RGManager, tc.action, 0, "mountpoint="+tc.point, "host=srv", "export=/export", "force_unmount=1"); got != OK {
				t.Errorf("status %d\n%s", got, env.Stdout)
			}
			if diff := cmp.Diff(tc.calls, words(env.Runner.Calls)); diff != "" {
				t.Errorf("programs (-want +got):\n%s", diff)
			}
		})
	}
}

// TestPlace: as the kernel resolves a path, as far as nothing is mounted there.
func TestPlace(t *testing.T) {
	t.Parallel()
	env := platformtest.NewEnv(t)
	for name, target := range map[string]string{"abs": "/x/y", "rel": "x/../x/./y", "up": "x/up", "x/up": "../../..", "loop": "loop", "host": filepath.Join(env.Root, "x")} {
		if err := os.MkdirAll(filepath.Join(env.Root, "x/y"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, filepath.Join(env.Root, name)); err != nil {
			t.Fatal(err)
		}
	}
	c := &Call{Env: env.Env}
	for name, want := range map[string]string{"/": "/", "/x//y/": "/x/y", "/abs/z": "/x/y/z", "/rel": "/x/y", "/up": "/", "/loop": "/loop", "/host/y": "/x/y", "/none/x": "/none/x"} {
		if got := c.place(name, nil); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	if got := c.place("/abs/z", []Mount{{Point: "/abs"}}); got != "/abs/z" {
		t.Errorf("with a mount on it /abs is %s", got)
	}
}

// TestMounters_SelfFence: what can not be unmounted takes the node down, and
// only if that is asked for.
func TestMounters_SelfFence(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, fence string
		reboots     int
	}{{"asked for", "1", 1}, {"not asked for", "0", 0}} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			env := table(t, "51 1 8:1 / /m rw - ext4 /dev/sdz1 rw\n", "sync")
			env.Env.FS = blockFS{env.Env.FS}
			env.Runner.Programs["umount"] = platformtest.Program{Stdout: "umount: /m: target is busy.\n", Result: platform.Result{ExitCode: 32}}
			write(t, env, "proc/77/comm", "db\n")
			if err := os.Symlink("/m/data", filepath.Join(env.Root, "proc/77/cwd")); err != nil {
				t.Fatal(err)
			}
			write(t, env, "proc/78/comm", "sh\n")
			reboots, signals := 0, []int{}
			a := FS(Machine{Kill: func(pid, sig int) error { signals = append(signals, pid, sig); return nil },
				Reboot: func() error { reboots++; return nil }})
			got := do(t, env, a, RGManager, "stop", 0, "mountpoint=/m", "device=/dev/sdz1", "force_unmount=1", "self_fence="+tc.fence)
			if got != Generic || reboots != tc.reboots {
				t.Errorf("status %d, %d reboots", got, reboots)
			}
			if want := []int{77, SIGTERM, 77, SIGKILL}; !cmp.Equal(want, signals) {
				t.Errorf("signals (-want +got):\n%s", cmp.Diff(want, signals))
			}
			out := env.Stdout.String()
			for _, want := range []string{"<warning> Sending SIGTERM to processes on /m\n<warning> SIGTERM to process 77 (db): cwd /m/data\n",
				"<warning> Sending SIGKILL to processes on /m\n", "<err> 'umount /m' failed, error=32\n"} {
				if !strings.Contains(out, want) {
					t.Errorf("no %q in:\n%s", want, out)
				}
			}
			if strings.Contains(out, "<alert> umount failed - REBOOTING") != (tc.reboots > 0) {
				t.Errorf("output:\n%s", out)
			}
		})
	}
}

// TestMounters_BusyForAMoment: the process that held the file system is gone
// from /proc, but the kernel has not let go yet. Each umount fails until it has.
func TestMounters_BusyForAMoment(t *testing.T) {
	t.Parallel()
	env := table(t, "51 1 8:1 / /m rw - ext4 /dev/sdz1 rw\n")
	env.Env.FS = blockFS{env.Env.FS}
	calls := 0
	env.Runner.Programs["umount"] = platformtest.Program{Do: func(context.Context, platform.Cmd) (platform.Result, error) {
		if calls++; calls < 10 {
			return platform.Result{ExitCode: 32}, nil
		}
		write(t, env, "proc/self/mountinfo", "")
		return platform.Result{}, nil
	}}
	write(t, env, "proc/77/comm", "db\n")
	if err := os.Symlink("/m/data", filepath.Join(env.Root, "proc/77/cwd")); err != nil {
		t.Fatal(err)
	}
	a := FS(Machine{Kill: func(int, int) error { return os.RemoveAll(filepath.Join(env.Root, "proc/77")) }})
	if got := do(t, env, a, RGManager, "stop", 0, "mountpoint=/m", "device=/dev/sdz1", "force_unmount=1"); got != OK || calls != 10 {
		t.Errorf("status %d after %d calls of umount:\n%s", got, calls, env.Stdout)
	}
}

// TestGuard_Stuck: a program in an uninterruptible wait does not hold an agent.
func TestGuard_Stuck(t *testing.T) {
	t.Parallel()
	env := table(t, "51 1 8:1 / /m rw - ext4 /dev/sdz1 rw\n")
	env.Env.FS = blockFS{env.Env.FS}
	env.Env.Clock = platform.SystemClock{}
	release := make(chan struct{})
	defer close(release)
	env.Runner.Programs["exe"] = platformtest.Program{Do: func(context.Context, platform.Cmd) (platform.Result, error) {
		<-release
		return platform.Result{}, nil
	}}
	c, err := FS(Machine{}).NewCallFor(env.Env, "monitor", 20, "x", []Param{{"mountpoint", "/m"}, {"device", "/dev/sdz1"}})
	if err != nil {
		t.Fatal(err)
	}
	c.Dialect, c.Timeout = OCF, 100_000_000
	if got := FS(Machine{}).Do(t.Context(), c); got != Generic {
		t.Errorf("status %d", got)
	}
	if !strings.Contains(env.Stderr.String(), "does not go, even when killed") || !strings.Contains(env.Stderr.String(), "does not answer within") {
		t.Errorf("messages:\n%s", env.Stderr)
	}
}
