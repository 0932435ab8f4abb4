package clulog

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/haobox/haobox/internal/clusterconf"
	"github.com/haobox/haobox/platform/platformtest"
)

const quiet = `<cluster name="c" config_version="1"><logging><logging_daemon name="rgmanager" to_syslog="no" logfile="/log/rg" logfile_priority="err"/></logging></cluster>`

func TestRun(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, conf     string
		named          string // by the environment, relative to the root
		args           []string
		errOut, syslog string
		file, want     string
	}{
		{name: "first word only", args: []string{"-s", "5", "hello   there", "lost"},
			errOut: "hello there\n", syslog: `level=INFO+2 msg="hello there" applet=rgmanager`, file: "var/log/cluster/rgmanager.log", want: "rgmanager hello there\n"},
		{name: "named", args: []string{"-m", "ip", "-l", "3", "gone"},
			errOut: "[ip] gone\n", syslog: `level=ERROR msg="[ip] gone" applet=rgmanager`, file: "var/log/cluster/rgmanager.log", want: "rgmanager [ip] gone\n"},
		{name: "own name", args: []string{"-m", "rgmanager", "x"}, errOut: "x\n", syslog: `level=INFO msg=x applet=rgmanager`, file: "var/log/cluster/rgmanager.log", want: "rgmanager x\n"},
		{name: "below the configured level", conf: quiet, args: []string{"-s4", "x"}, errOut: "x\n", file: "log/rg"},
		{name: "configured file", conf: quiet, args: []string{"-s3", "x"}, errOut: "x\n", file: "log/rg", want: "rgmanager x\n"},
		{name: "configured file, of another configuration", named: "other.conf", conf: quiet, args: []string{"-s3", "x"}, errOut: "x\n", file: "log/rg", want: "rgmanager x\n"},
		{name: "broken configuration", conf: "<cluster", args: []string{"x"}, errOut: "x\n", syslog: "msg=x", file: "var/log/cluster/rgmanager.log", want: "rgmanager x\n"},
		{name: "no text", args: []string{"-s", "3"}, errOut: usageText},
		{name: "unknown option", args: []string{"-p", "3", "x"}, errOut: usageText},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			env := platformtest.NewEnv(t)
			for _, d := range []string{"log", "var/log/cluster", "etc/cluster"} {
				if err := os.MkdirAll(filepath.Join(env.Root, d), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			if tc.conf != "" {
				file := "etc/cluster/cluster.conf"
				if tc.named != "" {
					file, env.Vars[clusterconf.PathVariable] = tc.named, "/"+tc.named
				}
				if err := os.WriteFile(filepath.Join(env.Root, file), []byte(tc.conf), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if err := Run(t.Context(), env.Env, append([]string{"clulog"}, tc.args...)); err != nil {
				t.Errorf("%v: every end is status 0", err)
			}
			if got := env.Stderr.String(); got != tc.errOut {
				t.Errorf("standard error %q, want %q", got, tc.errOut)
			}
			log := env.Log.String()
			if tc.syslog == "" && log != "" || !strings.Contains(log, tc.syslog) {
				t.Errorf("syslog %q, want %q", log, tc.syslog)
			}
			got, _ := os.ReadFile(filepath.Join(env.Root, tc.file)) // none: empty
			if tc.want == "" && len(got) > 0 || !strings.HasSuffix(string(got), tc.want) {
				t.Errorf("file %q, want %q", got, tc.want)
			}
		})
	}
}

const usageText = "clulog [-m logname] -s severity \"message text\"\n\n" +
	"   -m name      what logs: \"[name] \" goes in front of the text\n" +
	"   -s, -l number  severity, 0 (emerg) to 7 (debug); 6 without it\n" +
	"   -h, --help   this text\n"
