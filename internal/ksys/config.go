package ksys

import (
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"
	"time"
)

// ConfigFile is the configuration of the KSYS applets.
const ConfigFile = "/etc/haobox/ksys.conf"

// Policy is how the startup monitor reads the flag file.
type Policy string

const (
	// PolicyPaper: any fresh flag file is a success, as the paper says.
	PolicyPaper Policy = "paper"
	// PolicyStrict: only a flag file that a successful start script marked.
	PolicyStrict Policy = "strict"
)

// The ways a stop script leaves the daemon.
const (
	StopModeStop    = "stop"
	StopModeRestart = "restart"
	StopModeNone    = "none"
)

// The environment variables.
const (
	EnvStateDir  = "HAOBOX_KSYS_STATEDIR"
	EnvPath      = "HAOBOX_KSYS_PATH"
	EnvNode      = "HAOBOX_KSYS_NODE"
	EnvPolicy    = "HAOBOX_KSYS_POLICY"
	EnvTimescale = "HAOBOX_KSYS_TIMESCALE"
	EnvBootID    = "HAOBOX_KSYS_BOOTID"
	// EnvSimulation is set only below the simulator; the two before it count
	// only together with it.
	EnvSimulation = "PHASIM_DIR"
)

// defaultPath is the only place commands are looked up in; an inherited PATH
// is never used by programs that PowerHA starts as root.
const defaultPath = "/usr/bin:/usr/sbin:/usr/es/sbin/cluster/utilities:/usr/es/sbin/cluster/sbin:/opt/rsct/bin:/usr/sbin/rsct/bin:/opt/IBM/ksys"

// Config is the configuration of the four scripts and the status command.
type Config struct {
	// StateDir holds the flag file, the lock and the counter.
	StateDir string
	// Path are the folders with the system's commands.
	Path []string
	// Node overrides the host name; "" means the host name.
	Node   string
	Policy Policy
	// FlagMaxAge is the age from which a flag file is stale.
	FlagMaxAge time.Duration
	// StopMode is stop, restart or none.
	StopMode string
	// AssumeLocal goes on as the leader when the leader is unknown. It gives
	// up the protection against two leaders.
	AssumeLocal bool
	// LeaderConfirm is the time between the two looks that the start script
	// needs for "not the leader"; 0 is the paper's single look.
	LeaderConfirm time.Duration
	// UnknownTolerance is how many consecutive unknown results the
	// long-running monitor forgives.
	UnknownTolerance int
	// DeepProbe also asks the daemon itself.
	DeepProbe bool
	// Timescale divides waits and limits in a simulation; else 1.
	Timescale float64
	// BootID replaces the system's boot id in a simulation; else "".
	BootID string
}

// DefaultConfig returns the built-in values.
func DefaultConfig() Config {
	return Config{
		StateDir: "/var/ksys/run", Path: strings.Split(defaultPath, ":"), Policy: PolicyPaper,
		FlagMaxAge: 900 * time.Second, StopMode: StopModeStop, LeaderConfirm: 5 * time.Second,
		UnknownTolerance: 1, Timescale: 1,
	}
}

// ErrConfig is the kind of every fault of the configuration.
var ErrConfig = errors.New("bad configuration")

// LoadConfig returns the built-in values, changed by the text of the
// configuration file and then by the environment. A faulty line keeps the
// value that stood before it; all faults are returned together and the Config
// is usable in any case, because a monitor must give an answer.
func LoadConfig(text string, getenv func(string) string) (Config, error) {
	c := DefaultConfig()
	var faults []error
	set := func(where, key, value string) {
		if err := c.set(key, value); err != nil {
			faults = append(faults, fmt.Errorf("%s: %w: %s = %q: %v", where, ErrConfig, key, value, err))
		}
	}
	n := 0
	for line := range strings.Lines(text) {
		n++
		line, _, _ = strings.Cut(line, "#")
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		where := ConfigFile + ":" + strconv.Itoa(n)
		if !ok {
			faults = append(faults, fmt.Errorf("%s: %w: %q is not key = value", where, ErrConfig, line))
			continue
		}
		set(where, strings.TrimSpace(key), strings.TrimSpace(value))
	}
	for _, v := range [...]struct{ env, key string }{{EnvStateDir, "statedir"}, {EnvPath, "path"}, {EnvNode, "node"}, {EnvPolicy, "policy"}} {
		if value := getenv(v.env); value != "" {
			set("environment "+v.env, v.key, value)
		}
	}
	if getenv(EnvSimulation) != "" {
		c.BootID = getenv(EnvBootID)
		if value := getenv(EnvTimescale); value != "" {
			f, err := strconv.ParseFloat(value, 64)
			if err != nil || !(f > 0 && f <= 10000) {
				faults = append(faults, fmt.Errorf("environment %s: %w: %q is not a number above 0 and up to 10000", EnvTimescale, ErrConfig, value))
			} else {
				c.Timescale = f
			}
		}
	}
	return c, errors.Join(faults...)
}

func (c *Config) set(key, value string) error {
	switch key {
	case "statedir":
		if !path.IsAbs(value) {
			return errors.New("must be an absolute path")
		}
		c.StateDir = path.Clean(value)
	case "path":
		dirs := strings.Split(value, ":")
		for _, d := range dirs {
			if !path.IsAbs(d) {
				return errors.New("must be absolute paths joined by colons")
			}
		}
		c.Path = dirs
	case "node":
		if value == "" || strings.ContainsAny(value, " \t=") {
			return errors.New("must be a host name")
		}
		c.Node = value
	case "policy":
		if p := Policy(value); p != PolicyPaper && p != PolicyStrict {
			return errors.New("must be paper or strict")
		}
		c.Policy = Policy(value)
	case "flag_max_age":
		return c.seconds(&c.FlagMaxAge, value, 1, 86400)
	case "leader_confirm":
		return c.seconds(&c.LeaderConfirm, value, 0, 15)
	case "stop_mode":
		if value != StopModeStop && value != StopModeRestart && value != StopModeNone {
			return errors.New("must be stop, restart or none")
		}
		c.StopMode = value
	case "leader_unknown":
		if value != "fail" && value != "assume-local" {
			return errors.New("must be fail or assume-local")
		}
		c.AssumeLocal = value == "assume-local"
	case "unknown_tolerance":
		n, err := strconv.Atoi(value)
		if err != nil || n < 0 || n > 100 {
			return errors.New("must be a number from 0 to 100")
		}
		c.UnknownTolerance = n
	case "deep_probe":
		if value != "yes" && value != "no" {
			return errors.New("must be yes or no")
		}
		c.DeepProbe = value == "yes"
	default:
		return errors.New("no such key")
	}
	return nil
}

func (*Config) seconds(to *time.Duration, value string, low, high int) error {
	n, err := strconv.Atoi(value)
	if err != nil || n < low || n > high {
		return fmt.Errorf("must be a number of seconds from %d to %d", low, high)
	}
	*to = time.Duration(n) * time.Second
	return nil
}
