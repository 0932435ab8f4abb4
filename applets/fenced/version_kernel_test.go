//go:build linux

package fenced_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/haobox/haobox/applets/internal/daemon"
	"github.com/haobox/haobox/internal/cluster/enginetest"
	"github.com/haobox/haobox/internal/cmdtest"
	"github.com/haobox/haobox/internal/fencing"
	"github.com/haobox/haobox/platform/corosync"
	"github.com/haobox/haobox/platform/host"
	"github.com/haobox/haobox/platform/platformtest"
	"github.com/haobox/haobox/platform/testskip"
)

const versionConf = `<cluster name="lab" config_version="1"><cman two_node="1" expected_votes="1"/><logging to_syslog="no"/>
<clusternodes><clusternode name="n1" nodeid="1"/><clusternode name="n2" nodeid="2"/></clusternodes>
<fence_daemon clean_start="1"/></cluster>
`

// TestKernel_AnotherVersion: a fenced of a version that is to come joins one that
// runs and is not heard, and the domain goes on when it leaves; then it is there
// first, and this version ends. Each says why, once.
func TestKernel_AnotherVersion(t *testing.T) {
	t.Parallel()
	testskip.IfForeign(t, "a second program")
	bin, dir := cmdtest.Build(t, "../..", "."), platformtest.ShortDir(t)
	vars := map[string]string{daemon.EngineVariable: "local:" + dir + "/bus", "HAOBOX_RUN": dir + "/run", "HAOBOX_ROOT": dir}
	if err := os.MkdirAll(dir+"/etc/cluster", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/etc/cluster/cluster.conf", []byte(versionConf), 0o600); err != nil {
		t.Fatal(err)
	}
	var out []*bytes.Buffer
	start := func() (ended chan error) {
		t.Helper()
		cmd := exec.Command(bin, "fenced", "-D", "-q", "--join")
		cmd.Env = append(os.Environ(), daemon.NodeVariable+"=n1", "PATH=/nowhere")
		for k, v := range vars {
			cmd.Env = append(cmd.Env, k+"="+v)
		}
		out = append(out, &bytes.Buffer{})
		cmd.Stderr = out[len(out)-1]
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended = make(chan error, 1)
		done := make(chan bool)
		go func() { ended <- cmd.Wait(); close(done) }()
		t.Cleanup(func() { _ = cmd.Process.Kill(); <-done })
		return ended
	}
	eventually := func(what string, f func() error) {
		t.Helper()
		err := errors.New("not looked")
		for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
			if err = f(); err == nil {
				return
			}
		}
		t.Fatalf("%s: %v", what, err)
	}

	env := platformtest.NewEnv(t)
	env.Env.FS = host.NewFS(dir)
	env.Env.Getenv = func(name string) string {
		if name == daemon.NodeVariable {
			return "n2"
		}
		return vars[name]
	}
	var in fencing.Info
	domain := func(want int) {
		t.Helper()
		eventually(fmt.Sprintf("the fence domain has %d members", want), func() error {
			c := daemon.Client(env.Env, "fenced")
			if err := c.Do(t.Context(), "GET", "/v1/domain", nil, &in); err != nil {
				return err
			}
			if !in.Joined || len(in.Members) != want || in.Wait != fencing.WaitNone {
				return fmt.Errorf("it is %+v", in)
			}
			return nil
		})
	}
	ended := start()
	domain(1)

	conf, err := daemon.ReadConfig(env.Env, "/etc/cluster/cluster.conf", true)
	if err != nil {
		t.Fatal(err)
	}
	const future = 2
	join := func() *enginetest.Stranger {
		t.Helper()
		engine, err := daemon.OpenEngine(t.Context(), env.Env, conf, corosync.Config{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { engine.Close() })
		return enginetest.NewStranger(t, engine, fencing.Group, []byte{future, 1, 2, 3})
	}
	stranger := join()
	group := func(n int) {
		t.Helper()
		eventually(fmt.Sprintf("the group has %d members", n), func() error {
			if got := stranger.Members(); got != n {
				return fmt.Errorf("there are %d", got)
			}
			return nil
		})
	}
	lines := func() (found []string) {
		text, err := os.ReadFile(filepath.Join(dir, "var/log/cluster/fenced.log"))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if _, said, ok := strings.Cut(strings.TrimSpace(line), " fenced "); ok && strings.Contains(said, "another version") {
				found = append(found, said)
			}
		}
		return found
	}
	group(2)
	for i := range byte(3) {
		stranger.Say([]byte{future, i})
	}
	eventually("fenced says that it does not hear it", func() error {
		if len(lines()) == 0 {
			return errors.New("it does not")
		}
		return nil
	})
	stranger.Leave()
	domain(1)
	want := []string{"node 2 is not heard: another version of fenced: it speaks version 2, this one 1: install the same haobox"}
	if diff := cmp.Diff(want, lines()); diff != "" {
		t.Errorf("the log (-want +got)\n%s", diff)
	}
	select {
	case err := <-ended:
		t.Fatalf("fenced has ended: %v\n%s", err, out[0])
	default:
	}

	// The other way round.
	stranger = join()
	group(2)
	if err := exec.Command("sh", "-c", "kill -KILL $(cat "+dir+"/run/fenced.pid)").Run(); err != nil {
		t.Fatal(err)
	}
	<-ended
	group(1)
	if err := <-start(); err != nil { // the exit status of fenced is 0 whatever ended it
		t.Errorf("fenced ended with %v\n%s", err, out[1])
	}
	want = append(want, "fenced ends: another version of fenced: it is of version 2, this one speaks 1: install the others' haobox")
	if diff := cmp.Diff(want, lines()); diff != "" {
		t.Errorf("the log (-want +got)\n%s", diff)
	}
}
