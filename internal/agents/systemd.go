package agents

import (
	"context"
	"strings"
	"time"
)

// Units is what the systemd agent needs of the machine; platform/systemd has
// it.
type Units interface {
	// Running reports whether the machine runs systemd.
	Running() bool
	// Start, Stop and Reload wait for the end of the job.
	Start(ctx context.Context, unit string) error
	Stop(ctx context.Context, unit string) error
	Reload(ctx context.Context, unit string) error
	// State returns LoadState, ActiveState and SubState.
	State(ctx context.Context, unit string) (load, active, sub string, err error)
}

const (
	// unitTimeout is systemd's own DefaultTimeoutStartSec,
	// systemd-system.conf(5).
	unitTimeout = 90 * time.Second
	// stateLimit bounds a question to systemd; the timeout of the check in
	// the metadata.
	stateLimit = 10 * time.Second
)

// Systemd is any unit of systemd.
func Systemd(u Units) *Agent {
	a := systemdAgent{u}
	return &Agent{
		Type:  "systemd",
		Start: a.start, Stop: a.stop, Status: a.status, Reload: a.reload, Validate: a.validate,
		// It talks to systemd only, with a limit.
		InProcess: func(*Call) bool { return true },
	}
}

type systemdAgent struct{ u Units }

// unitSuffixes are the types of units that can be started, systemd.unit(5).
var unitSuffixes = [...]string{".service", ".socket", ".target", ".mount", ".automount", ".timer", ".path", ".slice", ".scope", ".swap", ".device"}

func (s systemdAgent) unit(c *Call) (string, error) {
	name := c.Param("unit")
	bad := BadArguments
	if c.Dialect == OCF {
		bad = NotConfigured
	}
	// systemd.unit(5): letters, digits and ":-_.\@", at most 255 characters.
	wrong := func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune(`:-_.\@`, r)
	}
	if name == "" || len(name) > 240 || strings.HasPrefix(name, "-") || strings.ContainsFunc(name, wrong) {
		return "", Fail(bad, "parameter unit of %s is %q; it must be the name of a unit of systemd", c.Instance(), name)
	}
	for _, suffix := range unitSuffixes {
		if strings.HasSuffix(name, suffix) {
			return name, nil
		}
	}
	return name + ".service", nil
}

func (s systemdAgent) validate(_ context.Context, c *Call) error {
	if _, err := s.unit(c); err != nil {
		return err
	}
	for _, p := range [...]string{"start_timeout", "stop_timeout"} {
		if _, err := c.Seconds(p, unitTimeout); err != nil {
			return err
		}
	}
	return nil
}

// present finds the unit, and says what is wrong if there is none.
func (s systemdAgent) present(ctx context.Context, c *Call) (unit, active, sub string, err error) {
	if unit, err = s.unit(c); err != nil {
		return "", "", "", err
	}
	if !s.u.Running() {
		return "", "", "", Fail(NotInstalled, "%s: this machine does not run systemd (there is no /run/systemd/system); use a script resource instead", c.Instance())
	}
	ctx, cancel := context.WithTimeout(ctx, stateLimit)
	defer cancel()
	load, active, sub, err := s.u.State(ctx, unit)
	switch {
	case err != nil:
		return "", "", "", err
	case active == "active":
	case load == "not-found":
		return "", "", "", Fail(NotInstalled, "%s: systemd knows no unit %s", c.Instance(), unit)
	case load == "masked" || load == "error" || load == "bad-setting":
		if c.Action == "start" {
			return "", "", "", Fail(NotConfigured, "%s: unit %s is %s; see systemctl status %s", c.Instance(), unit, load, unit)
		}
	}
	return unit, active, sub, nil
}

func (s systemdAgent) start(ctx context.Context, c *Call) error {
	unit, active, _, err := s.present(ctx, c)
	if err != nil {
		return err
	}
	if active == "active" {
		c.Debugf("%s is active already", unit)
		return nil
	}
	c.Infof("Starting %s", unit)
	if err := s.job(ctx, c, "start_timeout", unit, s.u.Start); err != nil {
		return err
	}
	_, active, sub, err := s.present(ctx, c)
	if err != nil {
		return err
	}
	if active != "active" && active != "reloading" {
		return Fail(Generic, "%s: %s was started, but it is %s (%s); see systemctl status %s", c.Instance(), unit, active, sub, unit)
	}
	return nil
}

func (s systemdAgent) job(ctx context.Context, c *Call, param, unit string, do func(context.Context, string) error) error {
	limit, err := c.Seconds(param, unitTimeout)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return do(ctx, unit)
}

func (s systemdAgent) stop(ctx context.Context, c *Call) error {
	unit, active, _, err := s.present(ctx, c)
	if Code(err) == NotInstalled && c.Dialect == OCF {
		return nil // what is not there does not run
	}
	if err != nil {
		return err
	}
	if active == "inactive" || active == "failed" {
		c.Debugf("%s is %s already", unit, active)
		return nil
	}
	c.Infof("Stopping %s", unit)
	if err := s.job(ctx, c, "stop_timeout", unit, s.u.Stop); err != nil {
		return err
	}
	_, active, sub, err := s.present(ctx, c)
	if err != nil && Code(err) != NotInstalled {
		return err
	}
	if err == nil && active != "inactive" && active != "failed" {
		return Fail(Generic, "%s: %s was stopped, but it is %s (%s)", c.Instance(), unit, active, sub)
	}
	return nil
}

func (s systemdAgent) status(ctx context.Context, c *Call) error {
	unit, active, sub, err := s.present(ctx, c)
	if err != nil {
		return err
	}
	switch active {
	case "active", "reloading", "refreshing":
		c.Debugf("%s is %s (%s)", unit, active, sub)
		return nil
	case "inactive", "failed":
		return Fail(NotRunning, "%s: %s is %s (%s)", c.Instance(), unit, active, sub)
	}
	// Activating (again), deactivating, maintenance: it does not work now.
	return Fail(Generic, "%s: %s is %s (%s)", c.Instance(), unit, active, sub)
}

func (s systemdAgent) reload(ctx context.Context, c *Call) error {
	unit, _, _, err := s.present(ctx, c)
	if err != nil {
		return err
	}
	return s.job(ctx, c, "start_timeout", unit, s.u.Reload)
}
