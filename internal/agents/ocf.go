package agents

import (
	"context"
	"errors"
	"io/fs"
	"strconv"
	"strings"

	"github.com/haobox/haobox/platform"
)

const (
	// ocfRoot is where OCF agents are, by the resource agent API.
	ocfRoot = "/usr/lib/ocf"
	// Statuses of monitor that only OCF has: promoted, failed while promoted,
	// running or promoted but degraded (Pacemaker Administration, "OCF return
	// codes").
	ocfPromoted         = 8
	ocfFailedPromoted   = 9
	ocfDegraded         = 190
	ocfDegradedPromoted = 191
)

// OCFAgent runs any OCF agent inside a service of rgmanager.
func OCFAgent() *Agent {
	return &Agent{
		Type:     "ocf",
		Start:    func(ctx context.Context, c *Call) error { return runOCF(ctx, c, "start") },
		Stop:     func(ctx context.Context, c *Call) error { return runOCF(ctx, c, "stop") },
		Status:   func(ctx context.Context, c *Call) error { return runOCF(ctx, c, "monitor") },
		Reload:   func(ctx context.Context, c *Call) error { return runOCF(ctx, c, "reload") },
		Validate: validateOCF,
		// It waits for a program that can be killed, nothing else.
		InProcess: func(*Call) bool { return true },
	}
}

// ocfFile takes "provider:type", with or without "ocf:" in front, apart.
func ocfFile(c *Call) (provider, typ, file string, err error) {
	name := strings.TrimPrefix(c.Param("agent"), "ocf:")
	provider, typ, ok := strings.Cut(name, ":")
	wrong := func(s string) bool {
		return s == "" || strings.HasPrefix(s, ".") || strings.ContainsFunc(s, func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-_.", r)
		})
	}
	if !ok || wrong(provider) || wrong(typ) {
		bad := BadArguments
		if c.Dialect == OCF {
			bad = NotConfigured
		}
		return "", "", "", Fail(bad, "parameter agent of %s is %q; it must be PROVIDER:TYPE, the name of a file %s/resource.d/PROVIDER/TYPE", c.Instance(), c.Param("agent"), ocfRoot)
	}
	return provider, typ, ocfRoot + "/resource.d/" + provider + "/" + typ, nil
}

func validateOCF(ctx context.Context, c *Call) error {
	_, _, file, err := ocfFile(c)
	if err != nil {
		return err
	}
	info, err := c.Env.FS.Stat(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Fail(NotInstalled, "%s: there is no agent %s", c.Instance(), file)
	case err != nil:
		return err
	case !info.Mode().IsRegular() || info.Mode().Perm()&0o111 == 0:
		return Fail(NotInstalled, "%s: %s is no executable file", c.Instance(), file)
	}
	if c.Action == "validate-all" {
		return runOCF(ctx, c, "validate-all")
	}
	return nil
}

// runOCF runs the agent with the environment of the API.
func runOCF(ctx context.Context, c *Call, word string) error {
	provider, typ, file, err := ocfFile(c)
	if err != nil {
		return err
	}
	if _, err := c.Env.FS.Stat(file); errors.Is(err, fs.ErrNotExist) {
		return Fail(NotInstalled, "%s: there is no agent %s", c.Instance(), file)
	}
	level := c.Param("check_level")
	if level == "" || c.Depth > 0 {
		level = strconv.Itoa(c.Depth)
	}
	interval := 0
	if word == "monitor" && !c.Probe() {
		interval = 1 // anything but 0: this is no probe
	}
	env := []string{
		"PATH=" + Path, "LC_ALL=C", "HOME=/",
		"OCF_ROOT=" + ocfRoot, "OCF_RA_VERSION_MAJOR=1", "OCF_RA_VERSION_MINOR=0",
		"OCF_RESOURCE_INSTANCE=" + c.Name, "OCF_RESOURCE_TYPE=" + typ, "OCF_RESOURCE_PROVIDER=" + provider,
		"OCF_CHECK_LEVEL=" + level,
		"OCF_RESKEY_CRM_meta_name=" + word, "OCF_RESKEY_CRM_meta_interval=" + strconv.Itoa(interval*1000),
	}
	if c.Timeout > 0 {
		env = append(env, "OCF_RESKEY_CRM_meta_timeout="+strconv.FormatInt(c.Timeout.Milliseconds(), 10))
	}
	for _, p := range c.Params {
		if c.rule == nil || c.rule.Param(p.Name) == nil {
			env = append(env, "OCF_RESKEY_"+p.Name+"="+p.Value)
		}
	}
	o, err := c.Stream(ctx, platform.Cmd{Path: file, Args: []string{file, word}, Env: env}, func(line string) { c.ocfLine(word, line) })
	if err != nil {
		return err
	}
	return c.ocfResult(word, typ, o)
}

// ocfLine logs a line of an OCF agent; "ERROR: text" has its level in front.
func (c *Call) ocfLine(word, line string) {
	head, text, ok := strings.Cut(line, ": ")
	if level, known := Level(head); ok && known {
		c.logf(level, "%s", text)
		return
	}
	if word == "monitor" {
		c.Debugf("%s", line)
		return
	}
	c.Infof("%s", line)
}

// ocfResult is what the status of an OCF agent means.
func (c *Call) ocfResult(word, typ string, o Output) error {
	switch {
	case o.TimedOut || o.Signal != 0:
		return Fail(Generic, "%s: %s of %s: %s", c.Instance(), word, typ, o.Ended())
	case o.ExitCode == OK:
		return nil
	case word == "monitor" && o.ExitCode == ocfPromoted:
		return nil
	case word == "monitor" && (o.ExitCode == ocfDegraded || o.ExitCode == ocfDegradedPromoted):
		c.Warnf("%s: %s runs, but says that it is degraded (%d)", c.Instance(), typ, o.ExitCode)
		return nil
	case word == "monitor" && o.ExitCode == ocfFailedPromoted:
		return Fail(Generic, "%s: %s has failed while promoted (%d)", c.Instance(), typ, o.ExitCode)
	case word == "stop" && o.ExitCode == NotRunning:
		return nil
	case word == "reload" && o.ExitCode == Unimplemented:
		return nil
	case word == "monitor" && o.ExitCode == NotRunning:
		return Fail(NotRunning, "%s: %s is not running", c.Instance(), typ)
	}
	return Fail(o.ExitCode, "%s: %s of %s returned %d", c.Instance(), word, typ, o.ExitCode)
}
