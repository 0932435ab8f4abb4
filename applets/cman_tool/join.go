//go:build linux

package cmantool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/haobox/haobox/applets/internal/confload"
	"github.com/haobox/haobox/internal/clusterconf"
	"github.com/haobox/haobox/internal/corosyncconf"
	"github.com/haobox/haobox/platform"
	"github.com/haobox/haobox/platform/corosync"
	"github.com/haobox/haobox/platform/systemd"
)

const (
	// startLimit is how long corosync may take to let clients in: it opens its
	// port at once, and the first synchronisation takes milliseconds.
	startLimit = 30 * time.Second
	// lookupLimit bounds each question to the resolver.
	lookupLimit = 5 * time.Second

	// corosyncUnit is the unit of Debian's, SUSE's and Red Hat's packages.
	corosyncUnit = "corosync.service"

	maxPort   = 65535
	maxNodeID = 4096 // cman_tool(8)
	maxName   = 65

	maxClusterName = 15 // cman(5)
)

// setting is an option of join, or its variable.
func (t *tool) setting(option, variable string) string {
	if t.has(option) {
		return t.set[option]
	}
	return t.env.Getenv(variable)
}

// number is a numeric one.
func (t *tool) number(option, variable string) (int, error) {
	v := t.setting(option, variable)
	if v == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(v, 10, 31)
	if err != nil && !t.has(option) {
		return 0, t.die("%s (%s) is not an integer", variable, v)
	} else if err != nil {
		return 0, t.die("argument to %s (%s) is not an integer", option, v)
	}
	return int(n), nil
}

// join makes corosync's configuration and starts it.
func (t *tool) join() error {
	if t.has("X") || t.env.Getenv("CMAN_NOCONFIG") != "" {
		return t.die("-X cannot work: corosync 3 needs a list of nodes; write %s", t.file())
	}
	if c, err := corosync.DialCfg(t.ctx, corosync.Config{Limit: callLimit}); err == nil {
		c.Close()
		return t.die("Node is already active")
	} else if !errors.Is(err, corosync.ErrNotRunning) {
		return t.cannotOpen(err)
	}
	cfg, err := t.load()
	if err != nil {
		return err
	}
	if err := t.validate(cfg, "Not joining, configuration is not valid"); err != nil {
		return err
	}
	local, err := t.local(cfg)
	if err != nil {
		return err
	}
	conf, err := t.translate(cfg, local)
	if err != nil {
		return err
	}
	if err := t.install(conf); err != nil {
		return err
	}
	if l := cfg.Logging("corosync"); l.ToLogfile {
		if err := t.env.FS.MkdirAll(path.Dir(l.Logfile), 0o755); err != nil {
			return t.die("make the folder of corosync's log: %v", err)
		}
	}
	if err := t.keepRunning(cfg); err != nil {
		return err
	}
	if err := t.start(); err != nil {
		return err
	}
	if t.has("w") || t.has("q") {
		return t.wait(startLimit)
	}
	return nil
}

func (t *tool) file() string { return clusterconf.File(t.env.Getenv) }

// load reads cluster.conf.
func (t *tool) load() (*clusterconf.Config, error) {
	b, err := t.env.FS.ReadFile(t.file())
	if err != nil {
		return nil, t.die("read the configuration: %v", err)
	}
	doc, err := clusterconf.Parse(t.file(), b)
	if err != nil {
		return nil, t.die("%v", err)
	}
	return clusterconf.Decode(doc), nil
}

// validate prints all that is wrong with the file. By -D it stops there (fail,
// the default), goes on (warn) or does not look (none).
func (t *tool) validate(cfg *clusterconf.Config, refusal string) error {
	mode := "f"
	if t.has("D") {
		mode = "n"
		if v := t.set["D"]; v != "" {
			mode = v[:1]
		}
	}
	if mode == "n" {
		return nil
	}
	report := clusterconf.Validate(cfg.Doc, clusterconf.Options{Rules: confload.Rules(t.ctx, t.env, cfg.Doc, nil)})
	if report.Valid() {
		return nil // what is legal but dangerous is for ccs_config_validate to say
	}
	for _, i := range report.Issues {
		fmt.Fprintln(t.env.Stderr, i)
	}
	if mode == "f" {
		return t.die("%s", refusal)
	}
	return nil
}

// translate makes corosync.conf and prints what there is to say.
func (t *tool) translate(cfg *clusterconf.Config, local string) ([]byte, error) {
	o := corosyncconf.Options{Local: local, ClusterName: t.setting("c", "CMAN_CLUSTER_NAME"), KeyFile: t.setting("k", "CMAN_KEYFILE"),
		TwoNode: t.has("2") || t.env.Getenv("CMAN_2NODE") != ""}
	var err error
	for _, n := range []struct {
		to               *int
		option, variable string
		most             int
	}{{&o.Votes, "v", "CMAN_VOTES", 255}, {&o.Expected, "e", "CMAN_EXPECTEDVOTES", 1 << 16}, {&o.Port, "p", "CMAN_IP_PORT", maxPort}, {&o.NodeID, "N", "CMAN_NODEID", maxNodeID}} {
		if *n.to, err = t.number(n.option, n.variable); err != nil {
			return nil, err
		}
		if *n.to > n.most {
			return nil, t.die("argument to %s (%d) must be between 1 and %d", n.option, *n.to, n.most)
		}
	}
	if len(o.ClusterName) > maxClusterName {
		return nil, t.die("Invalid cluster name. It must be %d characters or fewer", maxClusterName)
	}
	if o.TwoNode && o.Expected != 1 {
		return nil, t.die("expected_votes value (%d) invalid in two node mode", o.Expected)
	}
	if t.setting("m", "CMAN_MCAST_ADDR") != "" {
		fmt.Fprintf(t.env.Stderr, "%s: warning: no multicast address is used: knet sends to each node\n", t.name)
	}
	key, _ := corosyncconf.KeyFile(cfg, o)
	switch info, err := t.env.FS.Stat(key); {
	case err == nil:
		if err := corosyncconf.CheckKey(key, info); err != nil {
			return nil, t.die("%v", err)
		}
		o.HaveKey = true
	case !errors.Is(err, fs.ErrNotExist):
		return nil, t.die("look at the key: %v", err)
	}
	conf, notes := corosyncconf.Translate(cfg, o)
	fatal := false
	for _, n := range notes {
		fmt.Fprintln(t.env.Stderr, n)
		fatal = fatal || n.Fatal
	}
	if fatal {
		return nil, t.die("Not joining, corosync cannot run with this configuration")
	}
	return conf, nil
}

// start starts corosync, through systemd where that runs.
func (t *tool) start() error {
	ctx, cancel := context.WithTimeout(t.ctx, startLimit)
	defer cancel()
	if systemd.Running() {
		if err := systemd.Start(ctx, corosyncUnit); err != nil {
			return t.die("corosync died: %v", err)
		}
	} else {
		var out bytes.Buffer
		// Without -f it goes to the background by itself, when it is ready.
		res, err := t.env.Runner.Run(ctx, platform.Cmd{Path: "corosync", Args: []string{"corosync", "-c", t.env.FS.Path(corosyncconf.Path)},
			Stdout: &out, Stderr: &out, Limit: startLimit})
		switch {
		case err != nil:
			return t.die("corosync daemon didn't start: %v", err)
		case !res.OK() && strings.TrimSpace(out.String()) != "":
			return t.die("corosync died: %s", strings.ReplaceAll(strings.TrimSpace(out.String()), "\n", "; "))
		case !res.OK():
			return t.die("corosync died during startup; see its log")
		}
	}
	for {
		c, err := corosync.DialCfg(ctx, corosync.Config{Limit: startLimit})
		if err == nil {
			return c.Close()
		}
		if t.env.Clock.Sleep(ctx, pollEvery/10) != nil {
			return t.die("corosync daemon didn't start: %v", err)
		}
	}
}
