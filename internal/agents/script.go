package agents

import (
	"context"
	"errors"
	"io/fs"

	"github.com/haobox/haobox/platform"
)

// Script runs a script of the kind found in /etc/init.d for start, stop and
// status. Any status but 0 is a failure, also of a stop. Pacemaker needs to
// know what is cleanly stopped; for it, and for it alone, 3 is that, the status
// that the Linux Standard Base, section 22.2, gives a stopped service.
func Script() *Agent {
	return &Agent{
		Type:     "script",
		Start:    func(ctx context.Context, c *Call) error { return runScript(ctx, c, "start") },
		Stop:     func(ctx context.Context, c *Call) error { return runScript(ctx, c, "stop") },
		Status:   func(ctx context.Context, c *Call) error { return runScript(ctx, c, "status") },
		Validate: func(_ context.Context, c *Call) error { return checkScript(c, c.Param("file")) },
		// It waits for a program that can be killed, nothing else.
		InProcess: func(*Call) bool { return true },
	}
}

// lsbStopped is "program is not running" of an init script's status.
const lsbStopped = 3

func runScript(ctx context.Context, c *Call, word string) error {
	file := c.Param("file")
	if err := checkScript(c, file); err != nil {
		return err
	}
	c.Infof("Executing %s %s", file, word)
	o, err := c.Stream(ctx, platform.Cmd{Path: file, Args: []string{file, word}, Env: c.Environ()}, func(line string) {
		if word == "status" {
			c.Debugf("%s", line)
			return
		}
		c.Infof("%s", line)
	})
	if err != nil {
		return err
	}
	switch {
	case o.OK():
		return nil
	case word == "status" && c.Dialect == OCF && o.ExitCode == lsbStopped && !o.TimedOut:
		return Fail(NotRunning, "%s: %s is not running", c.Instance(), file)
	case o.Signal != 0 || o.TimedOut:
		return Fail(Generic, "%s: %s of %s failed (%s)", c.Instance(), word, file, o.Ended())
	}
	return Fail(Generic, "%s: %s of %s failed (returned %d)", c.Instance(), word, file, o.ExitCode)
}

// checkScript tells why file can not be run. The statuses are those of the
// script agent of resource-agents 3.9.
func checkScript(c *Call, file string) error {
	if file == "" {
		return Fail(BadArguments, "%s: no file given", c.Instance())
	}
	info, err := c.Env.FS.Stat(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Fail(NotInstalled, "%s: there is no %s", c.Instance(), file)
	case err != nil:
		return Fail(Generic, "%s: look at %s: %w", c.Instance(), file, err)
	case !info.Mode().IsRegular():
		return Fail(BadArguments, "%s: %s is no file but a %v; it must be a script or program", c.Instance(), file, info.Mode().Type())
	case info.Size() == 0:
		return Fail(Generic, "%s: %s is empty", c.Instance(), file)
	case info.Mode().Perm()&0o111 == 0:
		return Fail(Permission, "%s: %s is not executable; chmod +x it", c.Instance(), file)
	}
	return nil
}

// Environ is the environment for programs that are agents themselves: what
// rgmanager's agents pass on, that is the resource's parameters and a PATH.
func (c *Call) Environ() []string {
	env := []string{"PATH=" + Path, "LC_ALL=C", "HOME=/"}
	for _, p := range c.Params {
		env = append(env, "OCF_RESKEY_"+p.Name+"="+p.Value)
	}
	return append(env, "OCF_RESOURCE_INSTANCE="+c.Instance(), "OCF_RESOURCE_TYPE="+c.Type)
}
