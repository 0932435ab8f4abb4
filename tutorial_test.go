package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/haobox/haobox/applets"
	"github.com/haobox/haobox/applets/applet"
	"github.com/haobox/haobox/internal/clusterconf"
	"github.com/haobox/haobox/platform/host"
)

// tutorial is docs/tutorial.md: its examples, without their indentation.
func tutorial(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("docs/tutorial.md")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for line := range strings.Lines(string(text)) {
		if example, ok := strings.CutPrefix(line, "    "); ok {
			out = append(out, strings.TrimRight(example, "\n"))
		}
	}
	return out
}

// between are the lines from the one that is first to the next one that is last.
func between(t *testing.T, lines []string, first, last string) []string {
	t.Helper()
	from := slices.Index(lines, first)
	if from < 0 {
		t.Fatalf("docs/tutorial.md has no example %q", first)
	}
	to := slices.Index(lines[from:], last)
	if to < 0 {
		t.Fatalf("docs/tutorial.md has no %q after %q", last, first)
	}
	return lines[from : from+to+1]
}

// onNobody runs an applet on a machine where nothing runs.
func onNobody(t *testing.T, root string, args ...string) (out string, status int) {
	t.Helper()
	alone(t)
	var all bytes.Buffer
	env := host.Env()
	env.FS, env.Stdout, env.Stderr = host.NewFS(root), &all, &all
	env.Getenv = func(name string) string {
		if name == "HAOBOX_ENGINE" {
			return "local:" + root
		}
		return ""
	}
	err := applets.Main(t.Context(), env, args)
	status = applet.Status(err, &all)
	return all.String(), status
}

// TestTutorial_Configuration: the cluster.conf of the tutorial has no fault, and
// starts in the order that the tutorial shows.
func TestTutorial_Configuration(t *testing.T) {
	lines := tutorial(t)
	root := t.TempDir()
	for _, d := range []string{"etc/cluster", "usr/sbin"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	// The agent as installed; it is only looked for.
	if err := os.WriteFile(filepath.Join(root, "usr/sbin/fence_zvmip"), nil, 0o755); err != nil {
		t.Fatal(err)
	}
	conf := strings.Join(between(t, lines, `<cluster name="ZCLUSTER" config_version="1">`, "</cluster>"), "\n")
	if err := os.WriteFile(filepath.Join(root, clusterconf.Path), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	out, status := onNobody(t, root, "ccs_config_validate")
	if status != 0 || out != "Configuration validates\n" {
		t.Errorf("ccs_config_validate: status %d: %s", status, out)
	}
	if out, status = onNobody(t, root, "haobox", "explain"); status != 0 || !strings.Contains(out, "Service service:ZHA_WEBSERVICE") {
		t.Errorf("haobox explain: status %d: %s", status, out)
	}
	want := strings.Join(between(t, lines, "Starting ZHA_WEBSERVICE...", "Start of ZHA_WEBSERVICE complete"), "\n")
	out, status = onNobody(t, root, "rg_test", "noop", clusterconf.Path, "start", "service", "ZHA_WEBSERVICE")
	if status != 0 || !strings.Contains(out, want) {
		t.Errorf("rg_test noop: status %d, want\n%s\ngot\n%s", status, want, out)
	}
}

// TestTutorial_Commands: every command of the tutorial is one of ours or known to
// be of somebody else, and those that only ask take their options.
func TestTutorial_Commands(t *testing.T) {
	foreign := []string{"chccwdev", "vgchange", "mkfs.ext4", "apt-get", "systemctl", "echo"}
	// These would start something, or answer for a file that is not there.
	started := []string{"smapid", "cman_tool", "ccs_config_validate", "rg_test"}
	asked := 0
	for _, line := range tutorial(t) {
		command, _, _ := strings.Cut(strings.TrimPrefix(line, "$ "), "#")
		words := strings.Fields(command)
		if len(words) == 0 || strings.HasPrefix(line, " ") || strings.ContainsAny(words[0], "<[:") || strings.Contains(command, "..") ||
			!strings.Contains(line, "#") && !slices.ContainsFunc(applets.All(), func(e applet.Entry) bool { return e.Answers(words[0]) }) {
			continue // what a command prints, or a part of cluster.conf
		}
		switch {
		case slices.Contains(foreign, words[0]):
			continue
		case !slices.ContainsFunc(applets.All(), func(e applet.Entry) bool { return e.Answers(words[0]) }):
			t.Errorf("%q: there is no %s", line, words[0])
			continue
		case slices.Contains(started, words[0]), slices.Contains(words, "explain"):
			continue
		}
		asked++
		out, status := onNobody(t, t.TempDir(), words...)
		for _, fault := range []string{"sage:", "not defined", "invalid option", "no command", "Incorrect"} {
			if status == 0 && words[0] != "clustat" || strings.Contains(out, fault) {
				t.Errorf("%q: status %d: %s", line, status, out)
				break
			}
		}
	}
	if asked < 6 {
		t.Errorf("the tutorial has only %d commands that ask; it had more", asked)
	}
}

// TestTutorial_Log: the log of a killed web server is the one that the test with
// real corosync daemons sees.
func TestTutorial_Log(t *testing.T) {
	t.Parallel()
	golden, err := os.ReadFile("applets/rgmanager/testdata/manual_6_10.golden")
	if err != nil {
		t.Fatal(err)
	}
	seen := strings.Split(strings.ReplaceAll(string(golden), "10.77.0.100/24", "172.17.16.3/24"), "\n")
	lines := tutorial(t)
	for _, ends := range [][2]string{
		{"[apache] Monitoring Service apache:ZHA-WEB > Service Is Not Running", "Service service:ZHA_WEBSERVICE is recovering"},
		{"Recovering failed service service:ZHA_WEBSERVICE", "Service service:ZHA_WEBSERVICE started"},
	} {
		for _, line := range between(t, lines, ends[0], ends[1]) {
			i := slices.Index(seen, line)
			if i < 0 {
				t.Fatalf("nobody logs %q, or not in this order:\n%s", line, golden)
			}
			seen = seen[i+1:]
		}
	}
}
