//go:build linux

package fenced

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/haobox/haobox/applets/internal/daemon"
	"github.com/haobox/haobox/internal/clusterconf"
	"github.com/haobox/haobox/internal/ctl"
	"github.com/haobox/haobox/internal/ctl/ctltest"
	"github.com/haobox/haobox/platform"
	"github.com/haobox/haobox/platform/host"
	"github.com/haobox/haobox/platform/platformtest"
)

const feedsConf = `<cluster name="feeds" config_version="%d">
  <cman two_node="1" expected_votes="1"/>
  <clusternodes><clusternode name="cnode1" nodeid="1"/><clusternode name="cnode2" nodeid="2"/></clusternodes>
  <fence_daemon fence_race="%s"/>
</cluster>
`

// TestPoll_AsksWhatDecides: of the other daemons those are asked whose word
// decides a fence race by the policy of the configuration, also when that
// changes; at rest nobody is.
func TestPoll_AsksWhatDecides(t *testing.T) {
	t.Parallel()
	env := platformtest.NewEnv(t)
	env.Root = platformtest.ShortDir(t)
	env.Env.FS, env.Env.Clock = host.NewFS(env.Root), platform.SystemClock{}
	env.Vars[daemon.EngineVariable] = "local:" + filepath.Join(env.Root, "bus")
	version := 0
	conf := func(race string) {
		t.Helper()
		version++
		if err := env.FS.WriteFile(clusterconf.Path, fmt.Appendf(nil, feedsConf, version, race), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := env.FS.MkdirAll(filepath.Dir(clusterconf.Path), 0o755); err != nil {
		t.Fatal(err)
	}
	var weights, masters, held, released atomic.Int32
	var hold atomic.Bool
	for _, x := range []struct {
		daemon, pattern string
		asked           *atomic.Int32
	}{{"rgmanager", "GET /v1/weight", &weights}, {"qdiskd", "GET /v1/status", &masters}} {
		mux := http.NewServeMux()
		mux.HandleFunc(x.pattern, func(w http.ResponseWriter, r *http.Request) {
			x.asked.Add(1)
			if hold.Load() && r.URL.RawQuery == "not=5&wait=10" {
				held.Add(1)
				<-r.Context().Done()
				released.Add(1)
				return
			}
			ctl.Reply(w, map[string]int{"weight": 5, "master": 2})
		})
		ctltest.Serve(t, env.Root, x.daemon, mux)
	}
	conf("none")
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- daemon.Run(ctx, env.Env, daemon.Config{Name: name, Foreground: true, Signals: make(chan os.Signal)},
			func(ctx context.Context, d *daemon.Daemon) error {
				return start(ctx, d, options{foreground: true, quiet: true, clean: true, join: true})
			})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("fenced ends with %v\n%s", err, env.Log)
		}
	})
	fenced := daemon.Client(env.Env, name)
	wait := func(what string, done func() bool) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); !done(); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("still not: %s; rgmanager was asked %d times, qdiskd %d times\n%s", what, weights.Load(), masters.Load(), env.Stderr)
			}
		}
	}
	wait("a member of the domain", func() bool {
		var in struct {
			Complete bool `json:"complete"`
		}
		return fenced.Do(ctx, "GET", "/v1/domain", nil, &in) == nil && in.Complete
	})
	reload := func(race string) {
		t.Helper()
		conf(race)
		if err := fenced.Do(ctx, "POST", "/v1/reload", nil, nil); err != nil {
			t.Fatal(err)
		}
	}
	if w, m := weights.Load(), masters.Load(); w+m > 0 {
		t.Errorf("without a race rgmanager is asked %d times and qdiskd %d times", w, m)
	}
	reload("qdisk")
	wait("qdiskd is asked again and again", func() bool { return masters.Load() >= 2 })
	if n := weights.Load(); n > 0 {
		t.Errorf("where the quorum disk decides rgmanager is asked %d times", n)
	}
	reload("services")
	wait("rgmanager is asked", func() bool { return weights.Load() >= 1 })
	before, asked := masters.Load(), weights.Load()
	wait("rgmanager is asked again and again", func() bool { return weights.Load() >= asked+3 })
	if n := masters.Load() - before; n > 1 { // one may have been under way
		t.Errorf("where services decide qdiskd is asked %d times", n)
	}
	// It may wait with an answer that says nothing new, until something else
	// decides.
	hold.Store(true)
	wait("rgmanager need not answer", func() bool { return held.Load() >= 1 })
	before = masters.Load()
	reload("qdisk")
	wait("its answer is not waited for any more", func() bool { return released.Load() >= 1 })
	wait("qdiskd is asked", func() bool { return masters.Load() > before })
}
