package ksys

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"time"

	"github.com/haobox/haobox/platform"
)

// LogFile is the scripts' own log.
const LogFile = "/var/ksys/log/haobox-ksys.log"

const (
	logLimit = 1 << 20 // bytes; then it is rotated. Ours.
	logKeep  = 3
	// loggerLimit bounds one run of logger(1). Ours.
	loggerLimit = 2 * time.Second
)

// Machine is what the scripts need of the operating system beside
// platform.Env: the applets fill it with platform/src and platform/statedir.
type Machine struct {
	// Commands returns the system's commands: looked up in dirs, run with
	// env, every limit divided by scale.
	Commands    func(run platform.Runner, dirs, env []string, scale float64) Commands
	OpenStore   func(path string) (Store, error)
	ReadTrusted func(path string) ([]byte, error)
	AppendLog   func(path, line string, limit int64, keep int) error
	PID         int
}

// NewRuntime gathers what a script decides on: the configuration, this
// node's names, the state folder and, with boot, the boot id.
func NewRuntime(ctx context.Context, env platform.Env, m Machine, applet string, boot bool) *Runtime {
	r := &Runtime{Applet: applet, Env: env, PID: m.PID, Boot: "-", Serial: env.Getenv(EnvSimulation) != ""}
	var early []string
	text, err := m.ReadTrusted(env.FS.Path(ConfigFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		early = append(early, "configuration ignored: "+err.Error())
	}
	r.Config, err = LoadConfig(string(text), env.Getenv)
	if err != nil {
		early = append(early, strings.Split(err.Error(), "\n")...)
	}
	r.Commands = m.Commands(env.Runner, r.Config.Path, ChildEnv(env.Getenv, r.Config.Path), r.Config.Timescale)
	r.Log = r.logTo(m.AppendLog)
	for _, line := range early {
		r.Log(slog.LevelWarn, line)
	}
	host, err := env.Hostname()
	if err != nil {
		r.Log(slog.LevelError, "host name unknown: "+err.Error())
	}
	r.Local = Local{Names: LocalNames(r.Config.Node, host), ID: nodeID(env.FS)}
	if boot {
		r.Boot = r.bootID(ctx)
	}
	store, err := m.OpenStore(env.FS.Path(r.Config.StateDir))
	if err != nil {
		r.StoreErr = err
		r.Log(slog.LevelError, err.Error())
		if isUnsafe(err) {
			fmt.Fprintf(env.Stderr, "%s: %v\n", applet, err)
		}
		return r
	}
	r.Store = store
	return r
}

// nodeID reads the RSCT node id from where rsct keeps it.
func nodeID(files platform.FS) uint64 {
	for _, p := range [...]string{"/etc/ct_node_id", "/var/ct/cfg/ct_node_id"} {
		if data, err := files.ReadFile(p); err == nil {
			if id := ParseNodeID(string(data)); id != 0 {
				return id
			}
		}
	}
	return 0
}

// bootID names the current boot: Linux has an id, AIX the time of the boot.
func (r *Runtime) bootID(ctx context.Context) string {
	if r.Config.BootID != "" {
		return r.Config.BootID
	}
	if data, err := r.Env.FS.ReadFile("/proc/sys/kernel/random/boot_id"); err == nil {
		if id := strings.TrimSpace(string(data)); id != "" && !strings.ContainsAny(id, " =\n") {
			return id
		}
	}
	if when, err := r.Commands.BootTime(ctx, BootLimit); err == nil {
		return when
	}
	return "-"
}

// ChildEnv is the whole environment of the commands that are run.
func ChildEnv(getenv func(string) string, dirs []string) []string {
	env := []string{"LC_ALL=C", "LANG=C", "PATH=" + strings.Join(dirs, ":"), "HOME=/"}
	for _, k := range [...]string{"ODMDIR", EnvSimulation, "PHASIM_NODE", "PHASIM_ROOT", "PHASIM_SPEED"} {
		if v := getenv(k); v != "" {
			env = append(env, k+"="+v)
		}
	}
	return env
}

// logTo returns the function that writes one line to syslog and to LogFile.
// That it cannot be written never changes the result of a script.
func (r *Runtime) logTo(appendLine func(string, string, int64, int) error) func(slog.Level, string) {
	log := r.Env.Log.With(platform.AppletKey, r.Applet)
	_, err := r.Env.FS.Stat("/dev/log")
	noSocket := errors.Is(err, fs.ErrNotExist)
	return func(level slog.Level, text string) {
		log.Log(context.Background(), level, text)
		if noSocket && level >= slog.LevelWarn {
			// Without a socket, logger(1) knows how this system logs.
			_ = r.Commands.SendLog(context.Background(), "daemon."+priority(level), r.Applet, text, loggerLimit)
		}
		when := r.Env.Clock.Now().UTC().Format(time.RFC3339)
		line := fmt.Sprintf("%s %s[%d] %s: %s\n", when, r.Applet, r.PID, priority(level), strings.ReplaceAll(text, "\n", " "))
		if appendLine(r.Env.FS.Path(LogFile), line, logLimit, logKeep) != nil {
			if r.Env.FS.MkdirAll("/var/ksys/log", 0o755) == nil {
				_ = appendLine(r.Env.FS.Path(LogFile), line, logLimit, logKeep)
			}
		}
	}
}

// priority is the syslog word for a level.
func priority(l slog.Level) string {
	switch {
	case l >= LevelCrit:
		return "crit"
	case l >= slog.LevelError:
		return "err"
	case l >= slog.LevelWarn:
		return "warning"
	}
	return "info"
}
