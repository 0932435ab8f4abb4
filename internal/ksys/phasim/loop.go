package phasim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/haobox/haobox/internal/ksys"
	"github.com/haobox/haobox/platform"
)

// Loop is the event loop over programs: it calls the scripts of a Dir's nodes
// as PowerHA would. One script runs at a time; what is due meanwhile happens
// when the script lets the time pass.
type Loop struct {
	Dir      *Dir
	Env      platform.Env
	Settings Settings
	// Out gets the event log.
	Out io.Writer
	// Normalize leaves the times out of the log.
	Normalize bool
	// Calls has a line per script that ended, as Sim.Calls.
	Calls []string

	manager Manager
	timers  []SetTimer
	known   map[string]bool
	lost    []lostNode
}

type lostNode struct {
	name string
	at   int64
}

// scriptPatience bounds one script in real time. Ours: with virtual time a
// script takes well under a second.
const scriptPatience = 5 * time.Minute

// Run runs until virtual second until, or until stop says so after an event.
func (l *Loop) Run(ctx context.Context, until int, stop func(w *World) bool) error {
	l.known = map[string]bool{}
	var up []string
	start := int64(0)
	err := l.Dir.With(func(w *World) error {
		if w.Cluster == nil {
			w.Define()
		}
		w.Cluster.Online = true
		start = w.Now
		for _, n := range w.Nodes {
			l.manager.Nodes = append(l.manager.Nodes, n.Name)
			l.known[n.Name] = n.Up
			if n.Up {
				up = append(up, n.Name)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	l.manager.Settings = l.Settings
	if err := l.tell(ctx, ClusterOnline{Up: up}); err != nil {
		return err
	}
	end := start + int64(until)*1000
	for {
		next, done := end, false
		err := l.Dir.With(func(w *World) error {
			for _, t := range l.timers {
				next = min(next, l.ms(w, t.At))
			}
			for _, n := range l.lost {
				next = min(next, n.at)
			}
			if due, ok := w.nextDue(); ok {
				next = min(next, max(due, w.Now))
			}
			if l.Dir.Speed == 0 {
				w.AdvanceTo(next)
			}
			done = w.Now >= end || stop != nil && stop(w)
			return nil
		})
		if err != nil || done {
			return err
		}
		if err := l.happen(ctx); err != nil {
			return err
		}
		if l.Dir.Speed > 0 {
			if err := l.Dir.Clock.Sleep(ctx, lockPause*10); err != nil {
				return err
			}
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// ms is a time of the World's clock in its milliseconds.
func (l *Loop) ms(w *World, t time.Time) int64 { return w.Now + t.Sub(w.Clock()).Milliseconds() }

// happen tells the manager what became due.
func (l *Loop) happen(ctx context.Context) error {
	var events []any
	err := l.Dir.With(func(w *World) error {
		for _, n := range w.Nodes {
			joined := n.Up && n.Manager == "ST_STABLE"
			if l.known[n.Name] == joined {
				continue
			}
			l.known[n.Name] = joined
			if joined {
				events = append(events, NodeJoined{n.Name})
			} else if !n.Up {
				l.lost = append(l.lost, lostNode{n.Name, w.Now + l.Settings.Detect.Milliseconds()})
			}
		}
		l.lost = slices.DeleteFunc(l.lost, func(n lostNode) bool {
			if n.at <= w.Now {
				w.event("NODE_DOWN_COMPLETE on node " + fmt.Sprint(w.Node(n.name).Number))
				events = append(events, NodeLost{n.name})
			}
			return n.at <= w.Now
		})
		var due []SetTimer
		l.timers = slices.DeleteFunc(l.timers, func(t SetTimer) bool {
			if l.ms(w, t.At) <= w.Now {
				due = append(due, t)
				return true
			}
			return false
		})
		for _, t := range due {
			events = append(events, TimerDue{t.ID})
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, ev := range events {
		if err := l.tell(ctx, ev); err != nil {
			return err
		}
	}
	return nil
}

// tell gives the manager an event and carries out what it wants, a script's
// result included.
func (l *Loop) tell(ctx context.Context, ev any) error {
	queue := []any{ev}
	for len(queue) > 0 {
		var now time.Time
		if err := l.Dir.With(func(w *World) error { now = w.Clock(); return nil }); err != nil {
			return err
		}
		actions := l.manager.Step(now, queue[0])
		queue = queue[1:]
		for _, a := range actions {
			switch a := a.(type) {
			case SetTimer:
				l.timers = append(l.timers, a)
			case SetState:
				err := l.Dir.With(func(w *World) error {
					w.Place(ksys.ResourceGroup, a.Node, a.State)
					return l.log(w, "group %s on %s", a.State, a.Node)
				})
				if err != nil {
					return err
				}
			case RunScript:
				done, ended, err := l.script(ctx, a)
				if err != nil {
					return err
				}
				if ended {
					queue = append(queue, done)
				}
			}
		}
	}
	return nil
}

func (l *Loop) log(w *World, format string, args ...any) error {
	text := fmt.Sprintf(format, args...) + "\n"
	if !l.Normalize {
		text = fmt.Sprintf("T+%06d ", w.Now/1000) + text
	}
	_, err := io.WriteString(l.Out, text)
	return err
}

// script runs a node's script as a program. ended is false when its node
// died, because then no answer comes.
func (l *Loop) script(ctx context.Context, r RunScript) (done ScriptDone, ended bool, err error) {
	var env []string
	var began int64
	err = l.Dir.With(func(w *World) error {
		n := w.Node(r.Node)
		ended = n.Up
		env, began = l.Dir.NodeEnv(w, n), w.Now
		return nil
	})
	if err != nil || !ended {
		return done, false, err
	}
	var out strings.Builder
	script := path.Join(l.Dir.Root(r.Node), ksys.ScriptDir, r.Script)
	res, err := l.Env.Runner.Run(ctx, platform.Cmd{Path: script, Env: env, Dir: "/", Stdout: &out, Stderr: &out, Limit: scriptPatience})
	if err != nil {
		return done, false, fmt.Errorf("run %s on %s: %w", r.Script, r.Node, err)
	}
	if res.TimedOut {
		return done, false, errors.Join(ctx.Err(), fmt.Errorf("run %s on %s: it does not end", r.Script, r.Node))
	}
	done = ScriptDone{ID: r.ID, Code: res.ExitCode}
	err = l.Dir.With(func(w *World) error {
		n := w.Node(r.Node)
		if !n.Up {
			ended = false
			return l.log(w, "%s %s gone with its node", r.Node, r.Script)
		}
		if took := time.Duration(w.Now-began) * time.Millisecond; r.Limit > 0 && took > r.Limit {
			done.Hung = true
		}
		l.Calls = append(l.Calls, fmt.Sprintf("%s %s %d", r.Node, r.Script, done.Code))
		text := firstLine(out.String())
		if l.Normalize {
			// Process numbers and the like are in the details.
			return l.log(w, "%s %s rc=%d", r.Node, r.Script, done.Code)
		}
		return l.log(w, "%s %s rc=%d %q", r.Node, r.Script, done.Code, text)
	})
	return done, ended, err
}
