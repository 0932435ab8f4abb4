package setup

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/haobox/haobox/internal/ksys"
	"github.com/haobox/haobox/platform"
)

// Journal is where every command of a run is recorded.
const Journal = "/var/ksys/log/phaksyssetup.journal"

// stillEvery is how often a long command is said to be running. Ours.
const stillEvery = 15 * time.Second

// Runner runs a command and hands out its output as it comes; platform/src
// has it. A command that is not installed is fs.ErrNotExist.
type Runner func(ctx context.Context, limit time.Duration, see func(p []byte), argv []string) (stdout, stderr string, code int, err error)

// Host carries a sequence out on a machine.
type Host struct {
	Env platform.Env
	Run Runner
	// Resolve returns a host's addresses.
	Resolve func(ctx context.Context, name string) ([]string, error)
	// Link makes a hard link to this program, Self reads it.
	Link func(to string) error
	Self func() ([]byte, error)
	// Progress is plain, json or none.
	Progress string
	// Quiet keeps the "still running" lines away: in a simulation the clock
	// moves by being looked at.
	Quiet bool
	// NoJournal keeps the journal away: a dry run changes nothing.
	NoJournal bool

	in    *bufio.Reader
	out   sync.Mutex
	began time.Time
}

// Drive runs core to its end and returns the exit status.
func (h *Host) Drive(ctx context.Context, core *Core) int {
	defer core.Stop()
	h.in = bufio.NewReader(h.Env.Stdin)
	var ev Event = Begin{}
	for {
		a := core.Step(h.Env.Clock.Now(), ev)
		if f, ok := a.(Finish); ok {
			return f.Code
		}
		ev = h.do(ctx, a)
		if ctx.Err() != nil {
			h.err("interrupted: " + context.Cause(ctx).Error() + "; run it again with --resume")
			return ExitStep
		}
	}
}

func (h *Host) err(text string) {
	h.out.Lock()
	defer h.out.Unlock()
	fmt.Fprintln(h.Env.Stderr, text)
}

func (h *Host) do(ctx context.Context, a Action) Event {
	switch a := a.(type) {
	case Print:
		h.write([]byte(a.Text))
	case Tell:
		h.err(a.Text)
	case Ask:
		h.write([]byte(a.Prompt))
		line, err := h.in.ReadString('\n')
		return Answer{Text: line, EOF: err != nil}
	case Exec:
		return h.exec(ctx, a)
	case Read:
		data, err := h.Env.FS.ReadFile(a.Path)
		if errors.Is(err, fs.ErrNotExist) {
			return Content{}
		}
		return Content{Data: data, Exists: err == nil, Err: err}
	case Save:
		return Done{h.save(a)}
	case Script:
		return Done{h.script(a)}
	case Remove:
		err := h.Env.FS.Remove(a.Path)
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return Done{err}
	case Resolve:
		list, err := h.Resolve(ctx, a.Name)
		return Addresses{list, err}
	case Pause:
		_ = h.Env.Clock.Sleep(ctx, a.For)
		return Done{}
	case Report:
		h.report(a)
	}
	return Done{}
}

func (h *Host) write(p []byte) {
	h.out.Lock()
	defer h.out.Unlock()
	_, _ = h.Env.Stdout.Write(p)
}

func (h *Host) exec(ctx context.Context, a Exec) Ran {
	var see func([]byte)
	if a.Pass {
		see = h.write
	}
	began := h.Env.Clock.Now()
	stop := h.still(ctx, a)
	stdout, stderr, code, err := h.Run(ctx, a.Limit, see, a.Argv)
	stop()
	if !h.NoJournal && a.Pass {
		h.journal(a.Argv, began, code, err)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return Ran{Missing: true, Code: ksys.ExitMissing}
	}
	return Ran{Stdout: stdout, Stderr: stderr, Code: code, Err: err}
}

// still says now and then that a long command runs.
func (h *Host) still(ctx context.Context, a Exec) (stop func()) {
	if h.Quiet || h.Progress != "plain" || a.Limit <= queryLimit {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		began := h.Env.Clock.Now()
		for h.Env.Clock.Sleep(ctx, stillEvery) == nil {
			h.err(fmt.Sprintf("        %s: still running (%.0fs)", strings.Join(a.Argv[:min(3, len(a.Argv))], " "), h.Env.Clock.Now().Sub(began).Seconds()))
		}
	})
	return func() { cancel(); wg.Wait() }
}

// journal records a command that changed something.
func (h *Host) journal(argv []string, began time.Time, code int, err error) {
	entry := struct {
		Argv  []string  `json:"argv"`
		Start time.Time `json:"start"`
		End   time.Time `json:"end"`
		Code  int       `json:"rc"`
		Error string    `json:"error,omitempty"`
	}{Argv: argv, Start: began.UTC(), End: h.Env.Clock.Now().UTC(), Code: code}
	if err != nil {
		entry.Error = err.Error()
	}
	line, jerr := json.Marshal(entry)
	if jerr == nil {
		jerr = h.Env.FS.MkdirAll(path.Dir(Journal), 0o755)
	}
	var f platform.File
	if jerr == nil {
		f, jerr = h.Env.FS.OpenFile(Journal, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o640)
	}
	if jerr == nil {
		_, werr := f.Write(append(line, '\n'))
		jerr = errors.Join(werr, f.Close())
	}
	if jerr != nil {
		h.err("warning: the journal is not written: " + jerr.Error())
	}
}

// save replaces a file, keeping its mode if it exists.
func (h *Host) save(a Save) error {
	mode := fs.FileMode(a.Mode)
	if st, err := h.Env.FS.Stat(a.Path); err == nil {
		mode = st.Mode().Perm()
		if a.Backup {
			old, err := h.Env.FS.ReadFile(a.Path)
			if err != nil {
				return err
			}
			name := a.Path + "." + h.Env.Clock.Now().UTC().Format("20060102T150405Z") + ".bak"
			if err := h.Env.FS.WriteFile(name, old, mode); err != nil {
				return err
			}
		}
	}
	if err := h.Env.FS.MkdirAll(path.Dir(a.Path), 0o755); err != nil {
		return err
	}
	return h.Env.FS.WriteFile(a.Path, a.Data, mode)
}

// script installs one of the programs that PowerHA calls. One that is there
// is kept.
func (h *Host) script(a Script) error {
	p := scriptPath(a.Name)
	if st, err := h.Env.FS.Stat(p); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
		return nil
	}
	if err := h.Env.FS.MkdirAll(path.Dir(p), 0o755); err != nil {
		return err
	}
	switch a.Layout {
	case "hardlink":
		return h.Link(h.Env.FS.Path(p))
	case "copy":
		data, err := h.Self()
		if err != nil {
			return err
		}
		return h.Env.FS.WriteFile(p, data, 0o755)
	}
	return h.Env.FS.WriteFile(p, WrapperText(a.Name), 0o755)
}

// report shows the progress on standard error.
func (h *Host) report(a Report) {
	now := h.Env.Clock.Now()
	if a.Result == "" {
		h.began = now
	}
	took := now.Sub(h.began)
	switch h.Progress {
	case "json":
		state := a.Result
		if state == "" {
			state = "running"
		}
		line, err := json.Marshal(struct {
			Step    int     `json:"step"`
			Of      int     `json:"of"`
			Name    string  `json:"name"`
			State   string  `json:"state"`
			Seconds float64 `json:"seconds"`
		}{a.Number, a.Of, a.Name, state, took.Seconds()})
		if err == nil {
			h.err(string(line))
		}
	case "plain":
		if a.Result != "" {
			h.err(fmt.Sprintf("[%2d/%d] %s ... %s (%.0fs)", a.Number, a.Of, a.Name, a.Result, took.Seconds()))
		}
	}
}
