//go:build linux

package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/haobox/haobox/applets/internal/confload"
	"github.com/haobox/haobox/applets/internal/engine"
	"github.com/haobox/haobox/internal/cluster"
	"github.com/haobox/haobox/internal/clusterconf"
	"github.com/haobox/haobox/internal/ctl"
	"github.com/haobox/haobox/platform"
	"github.com/haobox/haobox/platform/corosync"
)

const (
	// EngineVariable chooses the engine: "corosync", which is the default, or
	// "local:DIR", the embedded engine of one machine with its socket in DIR.
	EngineVariable = "HAOBOX_ENGINE"
	// NodeVariable is the name of the node that this process belongs to, on
	// the embedded engine; without it, the host name decides.
	NodeVariable = "HAOBOX_NODE"
)

// ErrConfig: there is no valid configuration.
var ErrConfig = errors.New("no valid configuration")

// SocketPath is the control socket of a daemon.
func SocketPath(name string) string { return RunDir + "/" + name + ".sock" }

// Client talks to a daemon of this node. When it is not running, the error of
// a call says how to start it, and is fs.ErrNotExist or syscall.ECONNREFUSED.
func Client(env platform.Env, name string) *ctl.Client {
	return &ctl.Client{Dial: func(ctx context.Context) (net.Conn, error) {
		socket := env.FS.Path(SocketPath(name))
		c, err := new(net.Dialer).DialContext(ctx, "unix", socket)
		for _, why := range []error{fs.ErrNotExist, syscall.ECONNREFUSED} {
			if errors.Is(err, why) {
				return nil, notRunning{name, socket, why}
			}
		}
		if errors.Is(err, fs.ErrPermission) {
			return nil, fmt.Errorf("only root may ask %s: %w", name, err)
		}
		return c, err
	}}
}

// notRunning is the error of a call to a daemon that is not there.
type notRunning struct {
	name, socket string
	why          error
}

func (e notRunning) Error() string {
	return fmt.Sprintf("%s is not running on this node: nobody listens at %s (start it: systemctl start haobox-%s)", e.name, e.socket, e.name)
}

func (e notRunning) Unwrap() error { return e.why }

// File is the configuration file of this machine.
func File(env platform.Env) string { return clusterconf.File(env.Getenv) }

// ReadConfig reads a configuration file. strict refuses one that is not valid;
// what runs already was let through by somebody, and daemons ignore what they
// do not know.
func ReadConfig(env platform.Env, file string, strict bool) (*clusterconf.Config, error) {
	b, err := env.FS.ReadFile(file)
	switch {
	case errors.Is(err, fs.ErrNotExist) && strict:
		return nil, fmt.Errorf("%w: %w; ccs_tool create begins one, cluster.conf(5) tells of it", ErrConfig, err)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	doc, err := clusterconf.Parse(file, b)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	if !strict {
		return clusterconf.Decode(doc), nil
	}
	report := clusterconf.Validate(doc, clusterconf.Options{Rules: confload.Rules(context.Background(), env, doc, nil)})
	if i := slices.IndexFunc(report.Issues, func(i clusterconf.Issue) bool { return i.Class != clusterconf.Warning }); i >= 0 {
		return nil, fmt.Errorf("%w: %v (ccs_config_validate prints all faults)", ErrConfig, report.Issues[i])
	}
	return clusterconf.Decode(doc), nil
}

// RunningConfig is the configuration that this node runs with, for tools: the
// one that daemons keep, or, where none runs, that of the file.
func RunningConfig(env platform.Env) (*clusterconf.Config, error) {
	c, err := ReadConfig(env, clusterconf.RunningPath, false)
	if errors.Is(err, fs.ErrNotExist) {
		return ReadConfig(env, File(env), false)
	}
	return c, err
}

// fileID tells versions of a file apart.
type fileID struct {
	size int64
	at   time.Time
}

// Conf is the running configuration: nil only with Config.NoConfig. It is
// read-only.
func (d *Daemon) Conf() *clusterconf.Config {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.conf
}

// OnReload is called in the loop with each new configuration.
func (d *Daemon) OnReload(f func(*clusterconf.Config)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.onReload = append(d.onReload, f)
}

// firstConfig finds the configuration at the start: that which runs already,
// or the file's if that is newer or nothing runs.
func (d *Daemon) firstConfig() error {
	running, runErr := ReadConfig(d.Env, clusterconf.RunningPath, false)
	file, err := ReadConfig(d.Env, File(d.Env), true)
	switch {
	case err == nil && (runErr != nil || file.Version > running.Version):
		return d.take(file, true)
	case runErr == nil:
		if err != nil {
			d.Log.Warnf("going on with the running configuration, version %d: %v", running.Version, err)
		} else if file.Version < running.Version || !bytes.Equal(file.Doc.Bytes(), running.Doc.Bytes()) {
			d.Log.Warnf("going on with the running configuration: %s %s", File(d.Env), notNewer(file.Version, running.Version))
		}
		return d.take(running, false)
	case d.cfg.NoConfig && errors.Is(err, fs.ErrNotExist):
		return nil
	}
	return err
}

// notNewer says what is to be done about a file that differs from the running
// configuration but has no higher version.
func notNewer(file, running int) string {
	if file == running {
		return fmt.Sprintf("was changed but still has version %d, which is the running one: raise its config_version to %d and reload", file, running+1)
	}
	return fmt.Sprintf("has version %d, older than the running one, %d: raise its config_version to %d and reload", file, running, running+1)
}

// take makes c the running configuration.
func (d *Daemon) take(c *clusterconf.Config, write bool) error {
	if write {
		if err := d.Env.FS.MkdirAll(path.Dir(clusterconf.RunningPath), 0o755); err != nil {
			return err
		}
		if err := d.Env.FS.WriteFile(clusterconf.RunningPath, c.Doc.Bytes(), 0o600); err != nil {
			return fmt.Errorf("keep the running configuration: %w", err)
		}
	}
	var id fileID
	if info, err := d.Env.FS.Stat(clusterconf.RunningPath); err == nil {
		id = fileID{info.Size(), info.ModTime()}
	}
	d.mu.Lock()
	d.conf, d.seen = c, id
	all := d.onReload
	d.mu.Unlock()
	d.Log.setup(c)
	for _, f := range all {
		d.Loop.Post(func() { f(c) })
	}
	return nil
}

// Reload reads the configuration file. A file that is bad or has no higher
// version changes nothing: the log and the error say so. An unchanged file is
// no error.
func (d *Daemon) Reload() error {
	err := d.reload()
	if err != nil {
		d.Log.Errorf("keeping the running configuration: %v", err)
	}
	return err
}

func (d *Daemon) reload() error {
	c, err := ReadConfig(d.Env, File(d.Env), true)
	if err != nil {
		return err
	}
	old := d.Conf()
	switch {
	case old != nil && bytes.Equal(old.Doc.Bytes(), c.Doc.Bytes()):
		d.Log.Infof("the configuration is unchanged, version %d", c.Version)
		return nil
	case old != nil && c.Version <= old.Version:
		return fmt.Errorf("%s %s", File(d.Env), notNewer(c.Version, old.Version))
	case old != nil && c.Name != old.Name:
		return fmt.Errorf("%s is of the cluster %s, this is %s", File(d.Env), c.Name, old.Name)
	}
	if err := d.take(c, true); err != nil {
		return err
	}
	d.Log.Infof("new configuration, version %d", c.Version)
	return nil
}

// Refresh takes over a running configuration that another daemon or cman_tool
// wrote. It costs one stat(2) if there is none; call it before decisions that
// depend on the configuration.
func (d *Daemon) Refresh() {
	info, err := d.Env.FS.Stat(clusterconf.RunningPath)
	d.mu.Lock()
	same := err != nil || d.seen == fileID{info.Size(), info.ModTime()}
	old := d.conf
	d.mu.Unlock()
	if same {
		return
	}
	c, err := ReadConfig(d.Env, clusterconf.RunningPath, false)
	// Whatever is in it, it is not read again until it changes: several times a
	// second that would be most of a daemon's work.
	d.mu.Lock()
	d.seen = fileID{info.Size(), info.ModTime()}
	d.mu.Unlock()
	switch {
	case err != nil:
		d.Log.Errorf("keeping the running configuration: %v", err)
	case old == nil || c.Version > old.Version:
		if d.take(c, false) == nil {
			d.Log.Infof("new configuration, version %d", c.Version)
		}
	}
}

// OpenEngine opens the engine and waits up to limit for it to run.
func (d *Daemon) OpenEngine(ctx context.Context, limit time.Duration) (cluster.Engine, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	e, err := engine.Wait(ctx, d.Env.Clock, func(ctx context.Context) (cluster.Engine, error) {
		return OpenEngine(ctx, d.Env, d.Conf(), corosync.Config{})
	})
	if which := d.Env.Getenv(EngineVariable); err == nil && (which == "" || which == "corosync") {
		d.hearOfConfigurations(e)
	}
	return e, err
}

// hearOfConfigurations lets "cman_tool version -r" of another member prepare
// this node: corosync.conf and the running configuration, which Refresh sees.
// Without it the command names this node, and nothing else is lost.
func (d *Daemon) hearOfConfigurations(e cluster.Engine) {
	ctx, cancel := context.WithCancel(context.Background())
	stop, err := confload.Listen(e, confload.Command(ctx, d.Env))
	if err != nil {
		cancel()
		d.Log.Warnf("new configurations of other members are not heard of: %v", err)
		return
	}
	d.OnStop(func() { cancel(); stop() })
}

// OnCorosync reports whether the engine is corosync.
func OnCorosync(env platform.Env) bool {
	which := env.Getenv(EngineVariable)
	return which == "" || which == "corosync"
}

// OpenEngine opens the engine that EngineVariable names, once. conf may be nil
// for corosync. Without a running engine the error is cluster.ErrNotRunning.
func OpenEngine(ctx context.Context, env platform.Env, conf *clusterconf.Config, config corosync.Config) (cluster.Engine, error) {
	return open(ctx, env, conf, config, false)
}

// Observe opens the engine to look at it: on the embedded one this node becomes
// no member by it, and without a running one there is none.
func Observe(ctx context.Context, env platform.Env, conf *clusterconf.Config, config corosync.Config) (cluster.Engine, error) {
	return open(ctx, env, conf, config, true)
}

func open(ctx context.Context, env platform.Env, conf *clusterconf.Config, config corosync.Config, observe bool) (cluster.Engine, error) {
	which := env.Getenv(EngineVariable)
	dir, local := strings.CutPrefix(which, "local:")
	switch {
	case OnCorosync(env):
		return engine.OpenCorosync(ctx, config)
	case !local || dir == "":
		return nil, fmt.Errorf("%s is %q: it is corosync or local:DIR", EngineVariable, which)
	case conf == nil:
		return nil, fmt.Errorf("open the local engine: %w", ErrConfig)
	}
	name, err := LocalName(env, conf)
	if err != nil {
		return nil, err
	}
	cfg := engine.LocalConfig{Dir: dir, Observe: observe, Cluster: conf.Name, Version: conf.Version, Node: cluster.NodeID(conf.Node(name).ID), TwoNode: conf.Cman.TwoNode, Token: conf.Totem.Token}
	if cfg.DeviceVotes = conf.DeviceVotes(); cfg.DeviceVotes > 0 {
		cfg.DeviceTimeout, cfg.Expected = conf.Cman.QuorumDevPoll, conf.Cman.ExpectedVotes
	}
	for _, n := range conf.Nodes {
		cfg.Nodes = append(cfg.Nodes, engine.LocalNode{Node: cluster.Node{ID: cluster.NodeID(n.ID), Name: n.Name}, Votes: n.Votes})
	}
	return engine.OpenLocal(ctx, cfg)
}

// LocalName is the name in cluster.conf of this node, without asking an engine.
func LocalName(env platform.Env, conf *clusterconf.Config) (string, error) {
	name := env.Getenv(NodeVariable)
	if name == "" {
		host, err := env.Hostname()
		if err != nil {
			return "", fmt.Errorf("ask for the host name: %w", err)
		}
		if name = conf.LocalNode(host); name == "" {
			return "", fmt.Errorf("no clusternode of %s has the host name %s; set %s", conf.Name, host, NodeVariable)
		}
		return name, nil
	}
	if conf.Node(name) == nil {
		return "", fmt.Errorf("%s is %s, which is no clusternode of %s", NodeVariable, name, conf.Name)
	}
	return name, nil
}
