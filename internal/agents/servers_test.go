package agents

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/haobox/haobox/internal/clusterconf"
	"github.com/haobox/haobox/platform"
	"github.com/haobox/haobox/platform/platformtest"
)

// machine is a root folder in which a server "runs" when its folder of /proc is
// there.
type machine struct {
	t   *testing.T
	env *platformtest.Env
}

func newMachine(t *testing.T) machine {
	t.Helper()
	return machine{t, platformtest.NewEnv(t)}
}

func (m machine) file(name, text string) {
	m.t.Helper()
	name = filepath.Join(m.env.Root, name)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o755); err != nil {
		m.t.Fatal(err)
	}
}

func (m machine) read(name string) string {
	m.t.Helper()
	text, err := os.ReadFile(filepath.Join(m.env.Root, name))
	if err != nil {
		m.t.Fatal(err)
	}
	return string(text)
}

// process makes a process; state is that of proc_pid_stat(5).
func (m machine) process(pid int, exe, state string, group int) {
	m.t.Helper()
	m.file(procFile(pid, "stat"), fmt.Sprintf("%d (x) y) %s 1 %d %d 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 4711 0\n", pid, state, group, group))
	m.file(procFile(pid, "comm"), "x\n")
	if err := os.Symlink(exe, filepath.Join(m.env.Root, procFile(pid, "exe"))); err != nil {
		m.t.Fatal(err)
	}
}

func (m machine) gone(pid int) {
	m.t.Helper()
	if err := os.RemoveAll(filepath.Join(m.env.Root, "proc", strconv.Itoa(pid))); err != nil {
		m.t.Fatal(err)
	}
}

// kill is a Kill after which the process is gone if the signal ends it.
func (m machine) kill(obeys ...int) Kill {
	return func(pid, signal int) error {
		if slices.Contains(obeys, signal) {
			m.gone(pid)
		}
		return nil
	}
}

// run runs an agent's program and returns its status and what it printed.
func (m machine) run(a *Agent, action string, params ...string) (int, string) {
	m.t.Helper()
	var out platformtest.Buffer
	vars := map[string]string{"OCF_RESOURCE_INSTANCE": a.Type + ":ZHA-WEB", "OCF_RESKEY_name": "ZHA-WEB"}
	for _, p := range params {
		k, v, _ := strings.Cut(p, "=")
		vars["OCF_RESKEY_"+k] = v
	}
	env := m.env.Env
	env.Getenv = func(k string) string { return vars[k] }
	env.Stdout, env.Stderr = &out, &out
	code := a.Main(m.t.Context(), env, []string{a.Program(), action})
	return code, out.String()
}

func diff(t *testing.T, what, want, got string) {
	t.Helper()
	if d := cmp.Diff(strings.Split(want, "\n"), strings.Split(got, "\n")); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

const manualConf = `<cluster name="c" config_version="1"><rm><resources>
<ip address="172.17.16.3/24" sleep_time="10"/>
<apache config_file="conf/httpd.conf" name="ZHA-WEB" server_root="/etc/httpd" shutdown_wait="0"/></resources>
<service domain="ZHA_FAILOVER" name="ZHA_WEBSERVICE"><ip ref="172.17.16.3/24"/><apache ref="ZHA-WEB"/></service>
</rm></cluster>`

// TestApache_ManualLog has the lines of the manual, section 6.10, in their order:
// the server dies, is stopped, and starts on another node.
func TestApache_ManualLog(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.file("/etc/cluster/cluster.conf", manualConf)
	m.file("/etc/httpd/conf/httpd.conf", "Listen 80\nPidFile run/httpd.pid\n")
	m.file("/usr/sbin/httpd", "")
	const pid = "/var/run/cluster/apache/apache:ZHA-WEB.pid"
	m.env.Runner.Programs = map[string]platformtest.Program{"httpd": {Do: func(_ context.Context, cmd platform.Cmd) (platform.Result, error) {
		if slices.Contains(cmd.Args, "start") {
			m.process(4711, "/usr/sbin/httpd", "S", 4711)
			m.file(pid, "4711\n")
		}
		return platform.Result{}, nil
	}}}
	agent := Apache(m.kill(sigWINCH), nil)
	params := []string{"service_name=ZHA_WEBSERVICE", "shutdown_wait=0"}
	check := `<debug> Verifying Configuration Of apache:ZHA-WEB
<debug> Checking Syntax Of The File /etc/httpd/conf/httpd.conf
<debug> Checking Syntax Of The File /etc/httpd/conf/httpd.conf > Succeed
`
	step := func(action string, want int, log string) {
		t.Helper()
		code, out := m.run(agent, action, params...)
		if code != want {
			t.Errorf("%s: status %d, want %d", action, code, want)
		}
		diff(t, action, check+log, out)
	}
	step("status", NotRunning, `<debug> Monitoring Service apache:ZHA-WEB
<err> Checking Existence Of File `+pid+` [apache:ZHA-WEB] > Failed
<err> Monitoring Service apache:ZHA-WEB > Service Is Not Running
`)
	step("stop", OK, `<info> Stopping Service apache:ZHA-WEB
<err> Checking Existence Of File `+pid+` [apache:ZHA-WEB] > Failed - File Doesn't Exist
<info> Stopping Service apache:ZHA-WEB > Succeed
`)
	const conf = "/etc/cluster/apache/apache:ZHA-WEB/httpd.conf"
	step("start", OK, `<debug> Monitoring Service apache:ZHA-WEB
<debug> Checking Existence Of File `+pid+` [apache:ZHA-WEB] > Failed
<debug> Monitoring Service apache:ZHA-WEB > Service Is Not Running
<info> Starting Service apache:ZHA-WEB
<debug> Looking For IP Addresses
<debug> 1 IP addresses found for ZHA_WEBSERVICE/ZHA-WEB
<debug> Looking For IP Addresses > Succeed - IP Addresses Found
<debug> Checking: SHA1 checksum of config file `+conf+`
<debug> Checking: SHA1 checksum > succeed
<debug> Generating New Config File `+conf+` From /etc/httpd/conf/httpd.conf
<debug> Generating New Config File `+conf+` From /etc/httpd/conf/httpd.conf > Succeed
<info> Starting Service apache:ZHA-WEB > Succeed
`)
	diff(t, "generated configuration", `# Made from /etc/httpd/conf/httpd.conf for apache:ZHA-WEB. A file that is edited is left alone from then on.
PidFile "`+pid+`"
Listen 172.17.16.3:80
# rgmanager-sha1 `+sum(strings.Split(m.read(conf), sumMark)[0])+"\n", m.read(conf))
	step("status", OK, `<debug> Monitoring Service apache:ZHA-WEB
<debug> Monitoring Service apache:ZHA-WEB > Service Is Running
`)
	step("stop", OK, `<info> Stopping Service apache:ZHA-WEB
<info> Stopping Service apache:ZHA-WEB > Succeed
`)
	want := []string{"/usr/sbin/httpd", "-DZHA-WEB", "-d", "/etc/httpd", "-f", conf, "-k", "start"}
	if !slices.ContainsFunc(m.env.Runner.Calls, func(c []string) bool { return slices.Equal(c, want) }) {
		t.Errorf("the server was not started as %q but as %q", want, m.env.Runner.Calls)
	}
}

func TestServer_Processes(t *testing.T) {
	t.Parallel()
	const pid = "/var/run/cluster/x.pid"
	for _, tc := range []struct {
		name  string
		setup func(m machine)
		state pidState
		fails bool
	}{
		{"no file", func(machine) {}, pidNone, false},
		{"an empty file", func(m machine) { m.file(pid, " \n") }, pidNone, false},
		{"a process that runs", func(m machine) { m.file(pid, "77\n"); m.process(77, "/usr/sbin/httpd", "S", 77) }, pidAlive, false},
		{"no such process", func(m machine) { m.file(pid, "77\n") }, pidStale, false},
		{"a zombie", func(m machine) { m.file(pid, "77\n"); m.process(77, "/usr/sbin/httpd", "Z", 77) }, pidStale, false},
		{"a zombie with a thread that still runs", func(m machine) {
			m.file(pid, "77\n")
			m.process(77, "/usr/sbin/httpd", "Z", 77)
			m.file("/proc/77/task/77/stat", "77 (httpd) Z 1\n")
			m.file("/proc/77/task/78/stat", "78 (httpd) R 1\n")
		}, pidAlive, false},
		{"a number that went to a program that started long after", func(m machine) {
			m.file(pid, "77\n")
			m.process(77, "/usr/bin/sleep", "S", 77)
			m.file("/proc/stat", fmt.Sprintf("cpu 1\nbtime %d\n", time.Now().Add(time.Hour).Unix()))
		}, pidStale, false},
		{"another name, but as old as the file: a wrapper", func(m machine) {
			m.file(pid, "77\n")
			m.process(77, "/opt/web/daemon", "S", 77)
			m.file("/proc/stat", fmt.Sprintf("cpu 1\nbtime %d\n", time.Now().Add(-time.Hour).Unix()))
		}, pidAlive, false},
		{"a later start of the right program", func(m machine) {
			m.file(pid, "77\n")
			m.process(77, "/usr/sbin/httpd (deleted)", "S", 77)
			m.file("/proc/stat", fmt.Sprintf("cpu 1\nbtime %d\n", time.Now().Add(time.Hour).Unix()))
		}, pidAlive, false},
		{"garbage", func(m machine) { m.file(pid, "httpd\n") }, pidNone, true},
		{"all processes", func(m machine) { m.file(pid, "-1\n") }, pidNone, true},
		{"init", func(m machine) { m.file(pid, "1\n") }, pidNone, true},
		{"too long", func(m machine) { m.file(pid, strings.Repeat("7", 5000)) }, pidNone, true},
		{"a folder", func(m machine) { m.file(pid+"/x", "") }, pidNone, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			tc.setup(m)
			s := &server{pid: pid, programs: []string{"httpd"}}
			_, state, err := s.look(&Call{Env: m.env.Env})
			if state != tc.state || (err != nil) != tc.fails {
				t.Errorf("state %d, error %v; want state %d, failure %v", state, err, tc.state, tc.fails)
			}
		})
	}
}

func TestServer_Stop(t *testing.T) {
	t.Parallel()
	const pid = "/var/run/cluster/x.pid"
	for _, tc := range []struct {
		name  string
		obeys []int
		want  int
		says  string
	}{
		{"obeys the first signal", []int{SIGTERM}, OK, "> Succeed"},
		{"obeys the second one", []int{SIGQUIT}, OK, "goes on 20s after signal 15"},
		{"obeys none", nil, Generic, "> Failed - Timeout Error"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			m.file(pid, "77\n")
			m.process(77, "/usr/sbin/httpd", "S", 77)
			c := &Call{Env: m.env.Env, Type: "x", Name: "y"}
			s := &server{kill: m.kill(tc.obeys...), pid: pid, programs: []string{"httpd"}}
			err := s.end(t.Context(), c, step{SIGTERM, 20 * time.Second}, step{SIGQUIT, lastWait})
			if Code(err) != tc.want || !strings.Contains(m.env.Stdout.String(), tc.says) {
				t.Errorf("%v; want status %d and %q in\n%s", err, tc.want, tc.says, m.env.Stdout)
			}
			if _, err := os.Stat(filepath.Join(m.env.Root, pid)); (err != nil) != (tc.want == OK) {
				t.Errorf("pid file after stop: %v", err)
			}
		})
	}
}

func TestServer_StopEndsLeftovers(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.file("/run/x.pid", "77\n")
	m.process(78, "/usr/sbin/httpd", "S", 77) // a child
	m.process(79, "/usr/bin/psql", "S", 77)   // something else in its group
	m.process(80, "/usr/sbin/httpd", "S", 80) // another server
	c := &Call{Env: m.env.Env, Type: "x", Name: "y"}
	s := &server{kill: m.kill(SIGKILL), pid: "/run/x.pid", programs: []string{"httpd"}}
	if err := s.end(t.Context(), c, step{SIGTERM, time.Second}); err != nil {
		t.Fatal(err)
	}
	if Alive(c, 78) || !Alive(c, 79) || !Alive(c, 80) {
		t.Errorf("alive after stop: child %v, other program %v, other server %v", Alive(c, 78), Alive(c, 79), Alive(c, 80))
	}
}

// TestPostgres_Leftovers: children of a killed postmaster lead process groups of
// their own; what works in the data folder is the server's.
func TestPostgres_Leftovers(t *testing.T) {
	t.Parallel()
	for name, params := range map[string][]Param{
		"by option": {{"config_file", "/etc/pg.conf"}, {"postmaster_options", "-D /data"}},
		"by file":   {{"config_file", "/data/postgresql.conf"}},
	} {
		m := newMachine(t)
		m.file("/etc/pg.conf", "port = 1\n")
		m.file("/data/postgresql.conf", "data_directory = '/other'\n#data_directory = '/none'\n data_directory='/data'\t# isn't it\n")
		m.file("/other/x", "")
		m.file("/run/x.pid", "77\n")
		for pid, dir := range map[int]string{78: "/data", 79: "/other", 80: "/data"} {
			exe := "/usr/lib/postgresql/15/bin/postgres"
			if pid == 80 {
				exe = "/usr/bin/psql"
			}
			m.process(pid, exe, "S", pid)
			if err := os.Symlink(filepath.Join(m.env.Root, dir), filepath.Join(m.env.Root, procFile(pid, "cwd"))); err != nil {
				t.Fatal(err)
			}
		}
		c := &Call{Env: m.env.Env, Type: "postgres-8", Name: "p", Params: params}
		s, err := postgres{m.kill(SIGKILL)}.server(c)
		if err != nil {
			t.Fatal(err)
		}
		s.pid = "/run/x.pid"
		if err := s.end(t.Context(), c, step{SIGTERM, time.Second}); err != nil {
			t.Fatal(err)
		}
		if Alive(c, 78) || !Alive(c, 79) || !Alive(c, 80) {
			t.Errorf("%s: alive after stop: child %v, other server %v, client %v", name, Alive(c, 78), Alive(c, 79), Alive(c, 80))
		}
	}
}

func TestInstanceFile(t *testing.T) {
	t.Parallel()
	for name, ok := range map[string]bool{
		"web": true, "ZHA-WEB": true, "a b": true, "a;b": true, "web:0": true, "w\u00e9b": true,
		"": false, "../x": false, "a/b": false, `a"b`: false, "a'b": false, `a\b`: false, "a%b": false, "${x}": false,
		"a\nb": false, "a\x00b": false, "a\xffb": false, strings.Repeat("x", 201): false,
	} {
		_, err := instanceFile(&Call{Type: "apache", Name: name})
		if (err == nil) != ok {
			t.Errorf("name %q: %v", name, err)
		}
	}
}

func TestServiceAddresses(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	c := &Call{Env: m.env.Env, Type: "apache", Name: "a"}
	if _, err := serviceAddresses(c, "web"); err == nil {
		t.Error("no cluster.conf, no error")
	}
	m.file(clusterconf.Path, `<cluster><rm><resources><ip address="10.0.0.1/24"/><service name="no"/></resources>
<service name="web"><fs name="f"><ip ref="10.0.0.1/24"><ip address="2001:db8::1"/></ip></fs><ip address="10.0.0.2"/></service>
<service name="bad"><ip address="10.0.0.1
Include /etc/shadow"/></service></rm></cluster>`)
	got, err := serviceAddresses(c, "web")
	want := []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("10.0.0.2")}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("addresses %v, %v; want %v", got, err, want)
	}
	if got, err := serviceAddresses(c, "none"); len(got) != 0 || err != nil {
		t.Errorf("addresses of no service: %v, %v", got, err)
	}
	if _, err := serviceAddresses(c, "bad"); err == nil || !strings.Contains(err.Error(), "is no IP address") {
		t.Errorf("a line end in an address: %v", err)
	}
	// As the tools: another file by the variable, and what runs before any file.
	m.env.Vars[clusterconf.PathVariable] = "/other.conf"
	for _, file := range []string{"/other.conf", clusterconf.RunningPath} {
		address := netip.MustParseAddr("10.0.1." + strconv.Itoa(len(file)))
		m.file(file, `<cluster><rm><service name="web"><ip address="`+address.String()+`"/></service></rm></cluster>`)
		if got, err := serviceAddresses(c, "web"); err != nil || !slices.Equal(got, []netip.Addr{address}) {
			t.Errorf("addresses with %s: %v, %v; want %v", file, got, err, address)
		}
	}
}

func TestGenerate_EditedFileStays(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	c := &Call{Env: m.env.Env, Type: "apache", Name: "a"}
	f := generated(c, "x.conf")
	for i, step := range []struct{ name, before, want string }{
		{"first", "", "one\n" + sumMark + sum("one\n") + "\n"},
		{"our own file", "one\n" + sumMark + sum("one\n") + "\n", "one\n" + sumMark + sum("one\n") + "\n"},
		{"an edited one", "two\n" + sumMark + sum("one\n") + "\n", "two\n" + sumMark + sum("one\n") + "\n"},
		{"one with a line after the sum", "one\n" + sumMark + sum("one\n") + "\nmore\n", "one\n" + sumMark + sum("one\n") + "\nmore\n"},
		{"one without a sum", "three\n", "three\n"},
		{"one that a crash left empty", "\n", "one\n" + sumMark + sum("one\n") + "\n"},
	} {
		if step.before != "" {
			m.file(f, step.before)
		}
		if err := generate(c, f, "/etc/x.conf", "one", 0o640); err != nil {
			t.Fatal(err)
		}
		diff(t, fmt.Sprint(i, " ", step.name), step.want, m.read(f))
	}
}

func TestApache_Rewrite(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.file("/etc/apache2-x/envvars", "unset HOME\nif [ 1 ]; then\n\tSUFFIX=\nfi\nexport APACHE_RUN_DIR=/run/apache2$SUFFIX\nexport EVIL=$(touch evil)\nexport PORT=8080\n")
	m.file("/etc/apache2-x/apache2.conf", `ServerName x
pidfile ${APACHE_RUN_DIR}/a.pid
LISTEN 80
Listen 127.0.0.1:80
Listen \
  ${PORT} http
Include ports.conf
IncludeOptional mods/*.conf
IncludeOptional none/*.conf
<VirtualHost *:80>
# Listen 99
</VirtualHost>
`)
	m.file("/etc/apache2-x/ports.conf", "<IfModule ssl>\n\tListen 443\n\tListen [::]:443\n\tListen 80\n</IfModule>\n<IfModule gnutls>\n\tListen 443\n</IfModule>\n")
	m.file("/etc/apache2-x/mods/a.conf", "Alias /x /y\n")
	c := &Call{Env: m.env.Env, Type: "apache", Name: "a", Params: []Param{{"server_root", "/etc/apache2-x"}}}
	ips := []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("2001:db8::1")}
	got, err := apache{}.rewrite(c, "/etc/apache2-x/apache2.conf", ips, "/run/p.pid")
	if err != nil {
		t.Fatal(err)
	}
	diff(t, "configuration", `# Made from /etc/apache2-x/apache2.conf for apache:a. A file that is edited is left alone from then on.
PidFile "/run/p.pid"
ServerName x
Listen 10.0.0.1:80
Listen [2001:db8::1]:80
Listen 10.0.0.1:8080 http
Listen [2001:db8::1]:8080 http
# from /etc/apache2-x/ports.conf
<IfModule ssl>
Listen 10.0.0.1:443
Listen [2001:db8::1]:443
</IfModule>
<IfModule gnutls>
Listen 10.0.0.1:443
Listen [2001:db8::1]:443
</IfModule>
IncludeOptional mods/*.conf
IncludeOptional none/*.conf
<VirtualHost *:80>
# Listen 99
</VirtualHost>
`, got)
	sure, perhaps := listens(got, nil)
	if fmt.Sprint(sure) != "[10.0.0.1:80 [2001:db8::1]:80 10.0.0.1:8080 [2001:db8::1]:8080]" || len(perhaps) != 4 {
		t.Errorf("addresses to ask: %v, %v", sure, perhaps)
	}
	vars, err := envvars(c, "/etc/apache2-x")
	if err != nil || expand("${APACHE_RUN_DIR} $PORT ${none} $", vars) != "/run/apache2-x 8080  $" || expand("${EVIL}", vars) != "" {
		t.Errorf("variables: %v, %v", vars, err)
	}
	m.file("/etc/apache2-x/apache2.conf", "Listen x\n")
	if _, err := (apache{}).rewrite(c, "/etc/apache2-x/apache2.conf", ips, "/run/p.pid"); Code(err) != BadArguments {
		t.Errorf("a Listen without a port: %v", err)
	}
}

func TestNamed_Conf(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	c := &Call{Env: m.env.Env, Type: "named", Name: "d", Params: []Param{{"named_working_dir", "/var/named"}}}
	ips := []netip.Addr{netip.MustParseAddr("10.0.0.1")}
	for _, tc := range []struct{ name, in, want string }{
		{"options with what is replaced", `// listen-on { any; };
options { /* } */ directory "/v;ar"; listen-on port 5353 { any; }; pid-file "/x"; listen-on-v6 { ::1; };
  # }
};
zone "." { type hint; file "x"; };
`, `// listen-on { any; };
options { /* } */ directory "/v;ar";   
  # }

	listen-on port 5353 { 10.0.0.1; };
	listen-on-v6 port 5353 { none; };
	listen-on { 10.0.0.1; };
	listen-on-v6 { none; };
	pid-file "/run/p";
};
zone "." { type hint; file "x"; };
`},
		{"no options", "zone \"a\" { type primary; };\n", `zone "a" { type primary; };

options {
	directory "/var/named";
	listen-on { 10.0.0.1; };
	listen-on-v6 { none; };
	pid-file "/run/p";
};
`},
		{"options in an included file", "include \"o\";\ninclude \"/none\";\n", `# from /var/named/o
options { recursion no; 
	listen-on { 10.0.0.1; };
	listen-on-v6 { none; };
	pid-file "/run/p";
};


include "/none";
`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m.file("/var/named/o", "options { recursion no; };\n")
			m.file("/etc/named.conf", tc.in)
			got, err := namedConf(c, "/etc/named.conf", ips, "/run/p")
			if err != nil {
				t.Fatal(err)
			}
			_, got, _ = strings.Cut(got, "\n")
			diff(t, "configuration", tc.want, got)
		})
	}
	for _, bad := range []string{"options {", "options { directory \"x; };", "/* x", "options { }; };", `"\`} {
		m.file("/etc/named.conf", bad)
		if got, err := namedConf(c, "/etc/named.conf", ips, "/run/p"); Code(err) != BadArguments {
			t.Errorf("%q: %q, %v", bad, got, err)
		}
	}
}

func TestSamba_Conf(t *testing.T) {
	t.Parallel()
	c := &Call{Type: "samba", Name: "s", Params: []Param{{"config_file", "/etc/samba/smb.conf"}}}
	got := sambaConf(c, "workgroup = X\n[Global]\n Inter faces = lo \\\n eth0\nBIND INTERFACES ONLY = no\n; pid directory = /x\npid  directory=/y\n[share]\ninterfaces = kept\n",
		[]netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("2001:db8::1")}, "/run/d")
	diff(t, "configuration", `# Made from /etc/samba/smb.conf for samba:s. A file that is edited is left alone from then on.
workgroup = X
[Global]
; pid directory = /x
[share]
interfaces = kept
[global]
	interfaces = 10.0.0.1 2001:db8::1
	bind interfaces only = yes
	pid directory = /run/d
`, got)
	for text, want := range map[string]bool{
		"[global]\ndisable netbios = yes\n": true, "[GLOBAL]\nDisableNetBios=True\n": true, "[x]\ndisable netbios = yes\n": false,
		"disable netbios = no\n": false, "[global]\n#disable netbios = yes\n": false,
	} {
		if noNetBIOS(text) != want {
			t.Errorf("no NetBIOS in %q: %v", text, !want)
		}
	}
}

func TestPostgres_Conf(t *testing.T) {
	t.Parallel()
	c := &Call{Env: newMachine(t).env.Env, Type: "postgres-8", Name: "p", Params: []Param{{"config_file", "/a'b/postgresql.conf"}}}
	got := postgresConf(c, []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("::1")}, "/run/p")
	for _, want := range []string{"/a''b/postgresql.conf'\n", "\nlisten_addresses = '10.0.0.1,::1'\n", "/run/p'\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	for words, want := range map[string]string{"-D /x -p 1": "/x", "-p 1 -D/y": "/y", "-D": "", "": ""} {
		if got := dataFolder(strings.Fields(words)); got != want {
			t.Errorf("data folder of %q: %q", words, got)
		}
	}
}

func TestWords(t *testing.T) {
	t.Parallel()
	for in, want := range map[string][]string{
		"": nil, "  ": nil, "a b": {"a", "b"}, " a\t'b c' ": {"a", "b c"}, `"a \"b" c\ d`: {`a "b`, "c d"}, `''`: {""},
		`'$(x)' "$y" ` + "`z`": {"$(x)", "$y", "`z`"}, `a"b"'c'`: {"abc"}, `"\n"`: {`\n`},
	} {
		if got, err := Words(in); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %q, %v; want %q", in, got, err, want)
		}
	}
	for _, in := range []string{`"`, `'a`, `a\`} {
		if got, err := Words(in); err == nil {
			t.Errorf("%q: %q and no error", in, got)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.SliceOf(rapid.String()).Draw(t, "words")
		text := ""
		for _, w := range want {
			text += " '" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
		if got, err := Words(text); err != nil || !slices.Equal(got, want) && len(want) > 0 {
			t.Fatalf("%q: %q, %v", text, got, err)
		}
	})
}

// TestExports reads what exportfs of nfs-utils 2.6 prints, and a wrapped line.
func TestExports(t *testing.T) {
	t.Parallel()
	got := parseExports("/srv/a    \t192.0.2.0/24(sync,wdelay,hide,no_subtree_check,fsid=7,sec=sys,rw,root_squash,no_all_squash)\n" +
		"/srv/a    \t<world>(ro)\n/srv/a long path, with a comma\n\t\t2001:db8::1(rw)\n/srv/b\\040c\thost(rw)\nnoise\n\thost2(rw)\n")
	want := []export{{"/srv/a", "192.0.2.0/24"}, {"/srv/a", "*"}, {"/srv/a long path, with a comma", "2001:db8::1"}, {"/srv/b c", "host"}}
	if d := cmp.Diff(want, got, cmp.AllowUnexported(export{})); d != "" {
		t.Errorf("exports (-want +got):\n%s", d)
	}
	for _, tc := range [][2]string{
		{"192.0.2.7/255.255.255.0", "192.0.2.0/24"}, {"[2001:DB8::0:1]", "2001:db8::1"}, {"Host.Example.", "host.example"},
		{"192.0.2.0/99", "invalid Prefix"}, {"*.x", "*.x"}, {"@g", "@g"},
	} {
		if got := canonical(tc[0]); got != tc[1] {
			t.Errorf("%q is compared as %q, want %q", tc[0], got, tc[1])
		}
	}
}

// resolver is a name service.
type resolver map[string][]string

func (r resolver) LookupAddr(_ context.Context, a string) ([]string, error) { return r[a], nil }
func (r resolver) LookupHost(_ context.Context, n string) ([]string, error) { return r[n], nil }

func TestNFSClient_ExportedAs(t *testing.T) {
	t.Parallel()
	find := resolver{"192.0.2.7": {"client.example."}, "client": {"192.0.2.7"}, "other": {"192.0.2.8"}}
	for _, tc := range []struct{ name, target, client, want string }{
		{"as it is", "192.0.2.7", "192.0.2.7", "192.0.2.7"},
		{"an address that the table has as a name", "192.0.2.7", "client.example", "client.example"},
		{"a name that the table has as an address", "client", "192.0.2.7", "192.0.2.7"},
		{"a short name that the table has as a long one", "client", "client.example", "client.example"},
		{"another", "other", "client.example", ""},
		{"a wildcard is no name", "*.example", "client.example", ""},
	} {
		c := &Call{Type: "nfsclient", Params: []Param{{"target", tc.target}, {"path", "/srv/"}}}
		got := nfsClient{find}.exportedAs(t.Context(), c, []export{{"/other", tc.target}, {"/srv", tc.client}})
		if got != tc.want {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
}

func TestExportOptions(t *testing.T) {
	t.Parallel()
	for o, want := range map[string]bool{
		"rw": true, "fsid=0": true, "fsid=root": true, "anonuid=65534": true, "sec=krb5:krb5i": true, "mp": true, "mountpoint=/x": true,
		"fsid": false, "fsid=": false, "rw=1": false, "bogus": false, "": false, "RW": false,
	} {
		if knownOption(o) != want {
			t.Errorf("option %q: %v", o, !want)
		}
	}
}

func TestProcAddress(t *testing.T) {
	t.Parallel()
	if _, ok := procAddress("0100007F:0035"); !ok {
		t.Error("an address as the kernel prints it is not read")
	}
	for _, bad := range []string{"", "0100007F", "0100007F:", "0100007:0035", "0100007G:0035", "0100007F:10000", strings.Repeat("0", 31) + ":0035"} {
		if a, ok := procAddress(bad); ok {
			t.Errorf("%q is read as %v", bad, a)
		}
	}
}

// hungWeb answers as it is told.
type hungWeb map[string]int

func (w hungWeb) Get(_ context.Context, at netip.AddrPort, page string) (int, error) {
	if s, ok := w[at.String()+page]; ok {
		return s, nil
	}
	return 0, context.DeadlineExceeded
}

func TestApache_Request(t *testing.T) {
	t.Parallel()
	const a, b = "10.0.0.1:80", "[2001:db8::1]:80"
	status, root := "/server-status?auto", "/"
	for _, tc := range []struct {
		name string
		web  hungWeb
		ok   bool
	}{
		{"the status page at both addresses", hungWeb{a + status: 200, b + status: 200}, true},
		{"closed status page, open front page", hungWeb{a + status: 403, a + root: 200, b + status: 200}, true},
		{"everything forbidden is an answer", hungWeb{a + status: 403, a + root: 403, b + status: 404, b + root: 404}, true},
		{"one address hangs", hungWeb{a + status: 200}, false},
		{"an error of the server", hungWeb{a + status: 404, a + root: 503, b + status: 200}, false},
		{"no answer at all", nil, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			c := &Call{Env: m.env.Env, Type: "apache", Name: "a", Params: []Param{{"server_root", "/x"}}}
			m.file(generated(c, "httpd.conf"), "Listen "+a+"\nListen "+b+"\n<IfModule x>\nListen 10.0.0.1:443\n</IfModule>\n")
			if err := (apache{web: tc.web}).request(t.Context(), c); (err == nil) != tc.ok {
				t.Errorf("%v", err)
			}
		})
	}
}

func FuzzNamedTokens(f *testing.F) {
	f.Add("options { directory \"/x\"; }; // c\n# d\n/* e */ zone \"a\\\"b\" {};")
	f.Add("a//b/*c")
	f.Fuzz(func(t *testing.T, text string) {
		tokens, err := namedTokens(text)
		if err != nil {
			return
		}
		if got := joinTokens(tokens); got != text {
			t.Errorf("%q becomes %q", text, got)
		}
		list, err := statements(tokens, 0, len(tokens))
		for _, s := range list {
			if err == nil && (s.from < 0 || s.to > len(tokens) || s.open > 0 && s.close <= s.open) {
				t.Errorf("statement %+v of %d tokens", s, len(tokens))
			}
		}
	})
}

func FuzzServerText(f *testing.F) {
	f.Add("/srv\t*(rw)\n/long\n\thost(ro)\n")
	f.Add("Listen 80\n<IfModule x>\nListen [::]:443 https\n</IfModule>\nexport A='b'\\\n")
	f.Add("[global]\nsmb ports = 445 139\ninterfaces = \\\n")
	f.Add("\\040\\999 ${A}$B${")
	f.Fuzz(func(t *testing.T, text string) {
		for _, e := range parseExports(text) {
			_ = canonical(e.client)
		}
		listens(text, []Param{{"A", "80"}})
		noNetBIOS(text)
		sambaConf(&Call{}, text, nil, "/x")
		if len(unescape(text)) > len(text) {
			t.Errorf("%q grows", text)
		}
		expand(text, []Param{{"A", "b"}})
		procAddress(text)
		_ = edited(text)
		if words, err := Words(text); err == nil && len(strings.Join(words, "")) > len(text) {
			t.Errorf("%q grows", text)
		}
	})
}
