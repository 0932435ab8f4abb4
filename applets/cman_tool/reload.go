//go:build linux

package cmantool

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"time"

	"github.com/haobox/haobox/applets/internal/confload"
	"github.com/haobox/haobox/internal/cluster"
	"github.com/haobox/haobox/internal/clusterconf"
	"github.com/haobox/haobox/internal/cman"
	"github.com/haobox/haobox/internal/corosyncconf"
	"github.com/haobox/haobox/platform"
	"github.com/haobox/haobox/platform/corosync"
)

// version shows the running version of the configuration, or with -r loads a
// new one.
func (t *tool) version() error {
	s, err := t.status()
	if err != nil {
		return err
	}
	if !t.has("r") {
		fmt.Fprintf(t.env.Stdout, "%s config %d\n", cman.ProtocolVersion, s.ConfigVersion)
		return nil
	}
	if t.set["r"] != "" {
		fmt.Fprintln(t.env.Stderr, "Warning: specifying a version for the -r flag is deprecated and no longer used")
	}
	cfg, err := t.load()
	if err != nil {
		return err
	}
	if cfg.Version <= 0 {
		return t.die("Unable to retrive the new config version")
	}
	if clusterconf.CompareVersions(int(s.ConfigVersion), cfg.Version) != nil {
		return t.die("Not reloading, config version older or equal the running config")
	}
	if err := t.validate(cfg, "Not reloading, configuration is not valid"); err != nil {
		return err
	}
	local, _ := s.Node(s.Local)
	conf, err := t.translate(cfg, local.Name)
	if err != nil {
		return err
	}
	if !t.has("S") {
		res, err := t.env.Runner.Run(t.ctx, platform.Cmd{Path: "ccs_sync", Stdout: t.env.Stdout, Stderr: t.env.Stderr, Limit: syncLimit})
		if err != nil || !res.OK() {
			return t.die("ccs_sync failed.\nIf you have distributed the config file yourself, try re-running with -S")
		}
	}
	if err := t.install(conf); err != nil {
		return err
	}
	if err := t.keepRunning(cfg); err != nil {
		return err
	}
	if t.env.Getenv(confload.LocalVariable) != "" {
		return nil // the one who gave the order reloads all of corosync
	}
	if err := t.spread(s, cfg.Version); err != nil {
		return err
	}
	c, err := corosync.DialCfg(t.ctx, corosync.Config{Limit: callLimit})
	if err == nil {
		defer c.Close()
		err = c.Reload(t.ctx)
	}
	if err != nil {
		return t.die("Error loading configuration in corosync/cman: %v", err)
	}
	return nil
}

// spread has the other members prepare the new version, before all of corosync
// loads it, and names those where that did not happen.
func (t *tool) spread(s cluster.Status, version int) error {
	e, err := t.open()
	if err != nil {
		return err
	}
	defer e.Close()
	answers, err := confload.Spread(t.ctx, e, version)
	if err != nil {
		return t.die("Error loading configuration in corosync/cman: %v", err)
	}
	for _, n := range s.Nodes {
		if n.ID == s.Local || n.State != cluster.NodeMember {
			continue
		}
		switch err, told := answers[n.ID]; {
		case !told:
			fmt.Fprintf(t.env.Stderr, "%s: no daemon on node %s could be told of the new configuration: run \"cman_tool version -r -S\" there\n", t.name, n.Name)
		case err != nil:
			fmt.Fprintf(t.env.Stderr, "%s: node %s did not take the new configuration: %v\n", t.name, n.Name, err)
		}
	}
	return nil
}

// keepRunning writes what the daemons call the running configuration.
func (t *tool) keepRunning(cfg *clusterconf.Config) error {
	err := t.env.FS.MkdirAll(path.Dir(clusterconf.RunningPath), 0o755)
	if err == nil {
		err = t.env.FS.WriteFile(clusterconf.RunningPath, cfg.Doc.Bytes(), 0o600)
	}
	if err != nil {
		return t.die("keep the running configuration: %v", err)
	}
	return nil
}

// syncLimit bounds ccs_sync, which asks each node in turn.
const syncLimit = 2 * time.Minute

// install writes corosync.conf. A file that was not made here is kept beside
// it, once.
func (t *tool) install(conf []byte) error {
	const kept = corosyncconf.Path + ".before-haobox"
	old, err := t.env.FS.ReadFile(corosyncconf.Path)
	switch {
	case err == nil && !corosyncconf.Ours(old):
		if _, err := t.env.FS.Stat(kept); errors.Is(err, fs.ErrNotExist) {
			if err := t.env.FS.WriteFile(kept, old, 0o644); err != nil {
				return t.die("keep %s: %v", corosyncconf.Path, err)
			}
		}
	case err != nil && !errors.Is(err, os.ErrNotExist):
		return t.die("read %s: %v", corosyncconf.Path, err)
	}
	if err := t.env.FS.MkdirAll("/etc/corosync", 0o755); err != nil {
		return t.die("write %s: %v", corosyncconf.Path, err)
	}
	if err := t.env.FS.WriteFile(corosyncconf.Path, conf, 0o644); err != nil {
		return t.die("write %s: %v", corosyncconf.Path, err)
	}
	return nil
}
