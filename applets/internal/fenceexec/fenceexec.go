//go:build linux

// Package fenceexec runs fence agents as processes: for fenced, fence_node and
// fence_check. What to run, package internal/fencing/method decides.
package fenceexec

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/haobox/haobox/internal/fencing/method"
	"github.com/haobox/haobox/platform"
)

const (
	// grace is the time from SIGTERM to SIGKILL of an agent beyond its limit:
	// ours, enough to log out of a device.
	grace = 2 * time.Second
	// maxLines and maxLine bound what is shown of an agent's output; the rest is
	// read and thrown away, so that no agent ever waits for a reader.
	maxLines = 100
	maxLine  = 1000
	// maxDetail bounds the line of an agent's output in the history.
	maxDetail = 200
)

// Runner runs agents.
type Runner struct {
	Env platform.Env
	// Debugf gets the lines that agents print, without secrets; nil throws them
	// away.
	Debugf func(format string, args ...any)
}

// Find returns the program of an agent: a path as it is, a name in PATH and
// then where distributions keep fence agents. An agent of this binary that has
// no file is the running program by that name. why says what is wrong, if err
// is not nil.
func (r Runner) Find(agent string) (file string, err error) {
	if strings.Contains(agent, "/") {
		return agent, executable(agent)
	}
	dirs := append(filepath.SplitList(r.Env.Getenv("PATH")), r.Env.FS.Path("/usr/sbin"), r.Env.FS.Path("/sbin"))
	err = fmt.Errorf("%w in PATH and /usr/sbin", os.ErrNotExist)
	for _, d := range dirs {
		if d == "" {
			continue // never the working directory
		}
		file := filepath.Join(d, agent)
		switch e := executable(file); {
		case e == nil:
			return file, nil
		case !errors.Is(e, os.ErrNotExist):
			err = e
		}
	}
	if method.Ours(agent) && errors.Is(err, os.ErrNotExist) {
		return "/proc/self/exe", nil
	}
	return "", err
}

func executable(file string) error {
	info, err := os.Stat(file)
	switch {
	case err != nil:
		return err
	case info.IsDir():
		return &os.PathError{Op: "run", Path: file, Err: syscall.EISDIR}
	case info.Mode()&0o111 == 0:
		return &os.PathError{Op: "run", Path: file, Err: os.ErrPermission}
	}
	return nil
}

// Run runs an agent to its end: argv holds only its name, standard input its
// arguments, and its output is read to the end whatever it prints. The end of
// ctx ends it.
func (r Runner) Run(ctx context.Context, s method.Start) method.Ended {
	ev := method.Ended{ID: s.ID, Exit: -1}
	file, err := r.Find(s.Agent)
	if err != nil {
		ev.Failure, ev.Detail = method.CannotExec, fmt.Sprintf("%s: %v", s.Agent, err)
		return ev
	}
	out := &output{hide: s.Hide, name: path.Base(s.Agent), debugf: r.Debugf}
	res, err := r.Env.Runner.Run(ctx, platform.Cmd{Path: file, Args: []string{s.Agent}, Stdin: bytes.NewReader(s.Stdin),
		Stdout: out, Stderr: out, Limit: s.Limit, Grace: grace, Contained: true})
	out.end()
	switch {
	case errors.Is(err, syscall.EAGAIN), errors.Is(err, syscall.ENOMEM), errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		ev.Failure, ev.Detail = method.CannotFork, err.Error()
	case err != nil:
		ev.Failure, ev.Detail = method.CannotExec, err.Error()
	case res.TimedOut:
		ev.Failure, ev.Detail = method.TimedOut, fmt.Sprintf("ended after %v", s.Limit)
		if ctx.Err() != nil {
			ev.Failure, ev.Detail = method.Killed, "ended with this program"
		}
	case res.Signal != 0:
		ev.Failure, ev.Detail = method.Killed, fmt.Sprintf("killed by signal %d", res.Signal)
	default:
		if ev.Exit = res.ExitCode; ev.Exit != 0 && out.last != "" {
			ev.Detail = fmt.Sprintf("exit status %d: %s", res.ExitCode, cut(out.last, maxDetail))
		}
	}
	return ev
}

// All runs a run of method to its end.
func (r Runner) All(ctx context.Context, run *method.Run, actions []method.Action) method.Done {
	for {
		for _, a := range actions {
			switch a := a.(type) {
			case method.Done:
				return a
			case method.Start:
				ev := r.Run(ctx, a)
				actions = run.Step(r.Env.Clock.Now(), ev)
			}
		}
	}
}

// output takes what an agent prints. It is written to by one goroutine.
type output struct {
	hide    []string
	name    string
	debugf  func(string, ...any)
	line    []byte
	long    bool // the rest of the line is dropped
	lines   int
	dropped int
	last    string // the last line that is not empty
}

func (o *output) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		part, after, ended := bytes.Cut(rest, []byte("\n"))
		if room := maxLine - len(o.line); len(part) > room {
			o.dropped += len(part) - room
			part, o.long = part[:room], true
		}
		o.line = append(o.line, part...)
		rest = after
		if ended {
			o.flush()
		}
	}
	return len(p), nil
}

func (o *output) flush() {
	text := string(o.line)
	longest := 0
	for _, h := range o.hide {
		text = strings.ReplaceAll(text, h, "***")
		longest = max(longest, len(h))
	}
	if o.long { // a secret may have been cut in two
		text = text[:max(0, len(text)-longest)]
	}
	o.line, o.long = o.line[:0], false
	if text = strings.TrimSpace(text); text == "" {
		return
	}
	o.last = text
	if o.lines++; o.lines > maxLines {
		o.dropped += len(text)
	} else if o.debugf != nil {
		o.debugf("%s: %s", o.name, text)
	}
}

func (o *output) end() {
	o.flush()
	if o.dropped > 0 && o.debugf != nil {
		o.debugf("%s: %d bytes of output not shown", o.name, o.dropped)
	}
}

func cut(s string, most int) string {
	if len(s) > most {
		return s[:most]
	}
	return s
}
