package haobox

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"github.com/haobox/haobox/applets/applet"
	"github.com/haobox/haobox/platform"
	"github.com/haobox/haobox/platform/proc"
)

const (
	// storyVariable is in the environment of all processes of a story; its value
	// is the folder of its files.
	storyVariable = "HAOBOX_STORY"
	// storyFile in a folder says that it is one of a story, which may be removed.
	storyFile = ".story"
)

// marked is the variable that tells the processes of the story in dir.
func marked(dir string) string { return storyVariable + "=" + dir }

// guarded has a process watch this one, and take away what the story in dir
// leaves even if this process is killed: processes, frozen or not, and the
// folder. tidy, called at the end, removes the folder and ends the guard.
func (t tool) guarded(ctx context.Context, self, dir string) (tidy func(), err error) {
	if err := os.WriteFile(filepath.Join(dir, storyFile), nil, 0o600); err != nil {
		return nil, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	// It has a process group of its own, where no Ctrl-C finds it.
	guard, err := t.env.Runner.Start(context.WithoutCancel(ctx), platform.Cmd{
		Path: self, Args: []string{Name, "demo", "guard", dir}, Stdin: r, Env: t.env.Environ(),
	})
	if err != nil {
		w.Close()
		return nil, fmt.Errorf("start the guard of the story: %w", err)
	}
	return func() {
		_ = os.RemoveAll(dir) // the guard tries it, too
		w.Close()
		_, _ = guard.Wait()
	}, nil
}

func (t tool) demoGuard() *cli.Command {
	return &cli.Command{Name: "guard", Hidden: true, Usage: "a process of the others", Action: func(c *cli.Context) error {
		return t.guard(c.Args().First())
	}}
}

// guard is that process: when its standard input ends, nobody tells the story any
// more. A process between fork and exec still holds the other end of that pipe.
func (t tool) guard(dir string) error {
	if _, err := os.Stat(filepath.Join(dir, storyFile)); err != nil {
		return applet.Exitf(exitUsage, "haobox demo guard: only a story starts it: %v", err)
	}
	if _, err := io.Copy(io.Discard, t.env.Stdin); err != nil {
		return fail("haobox demo guard: %v", err)
	}
	proc.KillMarked(marked(dir))
	if err := os.RemoveAll(dir); err != nil {
		return fail("haobox demo guard: %v", err)
	}
	return nil
}
