package rgtest

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/haobox/haobox/applets/applet"
	"github.com/haobox/haobox/internal/restree"
	"github.com/haobox/haobox/platform"
)

// operation is a word of "test FILE OP TYPE NAME".
type operation struct {
	op                restree.Op
	begin, done, fail string // %s is the name
}

func operations(op string) (operation, bool) {
	switch op {
	case "start":
		return operation{restree.Start, "Starting %s...\n", "Start of %s complete\n", "Failed to start %s\n"}, true
	case "stop":
		return operation{restree.Stop, "Stopping %s...\n", "Stop of %s complete\n", "Failed to stop %s\n"}, true
	case "status":
		return operation{restree.Status, "Checking status of %s...\n", "Status of %s is good\n", "Status check of %s failed\n"}, true
	case "migrate":
		return operation{restree.Migrate, "", "Migration of %s complete\n", "Failed to migrate %s\n"}, true
	}
	return operation{}, false
}

// operate runs OP TYPE NAME [NODE]. Words that are no operation do nothing.
func (t *tool) operate(set *restree.Set, args []string, noop bool) error {
	op, known := operations(args[0])
	if !known || len(args) < 3 {
		return nil
	}
	typ, name := args[1], args[2]
	target := set.Find(typ, name)
	if target == nil {
		fmt.Fprintf(t.b, "No resource %s of type %s found\n", name, typ)
		return nil
	}
	sh := t.shell(noop)
	if op.op == restree.Migrate {
		if len(args) < 4 || set.TopLevel(target.Rule.Type, target.Name()) == nil {
			return nil
		}
		sh.Target = args[3]
		fmt.Fprintf(t.b, "Migrating %s to %s...\n", name, sh.Target)
	} else {
		fmt.Fprintf(t.b, op.begin, name)
	}
	res := set.Operate(op.op, target, sh)
	if res == 0 {
		fmt.Fprintf(t.b, op.done, name)
		return nil
	}
	fmt.Fprintf(t.b, op.fail, name)
	if op.op == restree.Status {
		return applet.Exit(int(res))
	}
	return applet.Exit(exitFailed)
}

// shell runs agents, or with noop prints what would be run.
func (t *tool) shell(noop bool) restree.Shell {
	return restree.Shell{
		Now:  t.env.Clock.Now,
		Note: func(_ restree.Kind, text string) { fmt.Fprintln(t.b, text) },
		Run: func(c restree.Call) int {
			if noop {
				fmt.Fprintf(t.b, "[%s] %s\n", c.Action, c.Node.ID())
				return 0
			}
			t.flush()
			return t.agent(c)
		},
	}
}

// agent runs an agent with its output on ours. Without enforced timeouts it
// may take as long as it wants: whoever tests an agent can interrupt it. One
// of ours that is not installed is this program.
func (t *tool) agent(c restree.Call) int {
	program := strings.TrimSuffix(t.agents(), "/") + "/" + c.Node.Resource.Rule.Agent
	cmd := platform.Cmd{
		Path: t.env.FS.Path(program), Args: []string{program, c.Action},
		Env:    c.Node.Environ(t.agents(), c.Action, c.Depth),
		Stdout: t.env.Stdout, Stderr: t.env.Stderr,
	}
	if _, err := t.env.FS.Stat(program); t.dir == "" && errors.Is(err, fs.ErrNotExist) {
		cmd.Path = "/proc/self/exe"
	}
	if c.Target != "" {
		cmd.Args = append(cmd.Args, c.Target)
	}
	if c.Enforced {
		cmd.Limit = c.Timeout
	}
	res, err := t.env.Runner.Run(t.ctx, cmd)
	switch {
	case err != nil:
		t.progress(fmt.Sprintf("rg_test: %s of %s: %v", c.Action, c.Node.ID(), err))
		return 1
	case res.TimedOut:
		t.progress(fmt.Sprintf("%s on %s timed out after %d seconds", c.Action, c.Node.ID(), int(c.Timeout.Seconds())))
		return 1
	case res.Signal != 0:
		t.progress(fmt.Sprintf("rg_test: %s of %s was ended by signal %d", c.Action, c.Node.ID(), res.Signal))
		return 1
	}
	return res.ExitCode
}
