//go:build linux

// Package confload tells the members of the cluster to load a new cluster.conf,
// as cman's daemons told each other its version: the daemons of haobox listen
// on every node, and "cman_tool version -r" on one of them speaks. Files are not
// sent: that is what ccs_sync is for.
package confload

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/haobox/haobox/internal/cluster"
	"github.com/haobox/haobox/platform"
)

// Group is where members hear of a new configuration.
const Group = "haobox:conf"

// LocalVariable makes "cman_tool version -r" prepare its own node only.
const LocalVariable = "HAOBOX_LOAD_LOCAL"

// Limit bounds what a member does with an order, and Spread's wait for its
// answer: reading and writing two small files, on a busy machine.
const Limit = 30 * time.Second

// format is the version of the messages. Others are ignored: a member that does
// not answer shows up as one that does not listen.
const format = 1

// message is an order or an answer.
type message struct {
	Format int `json:"format"`
	// Version of cluster.conf to load; answers repeat it.
	Version int `json:"version"`
	// Answer is set in answers, Error if the member could not do it.
	Answer bool   `json:"answer,omitempty"`
	Error  string `json:"error,omitempty"`
}

func (m message) bytes() []byte {
	m.Format = format
	b, _ := json.Marshal(m) // cannot fail: numbers and a string
	return b
}

// decode returns false for what is not of this format.
func decode(b []byte) (m message, ok bool) {
	const most = 64 << 10 // an error text is short
	if len(b) > most || json.Unmarshal(b, &m) != nil || m.Format != format || m.Version <= 0 {
		return message{}, false
	}
	return m, true
}

// Listen has load called for each order of another node, one at a time, until
// stop is called or the engine is gone. stop waits for a running load.
func Listen(e cluster.Engine, load func(version int) error) (stop func(), err error) {
	orders := make(chan int, 16)
	over := make(chan struct{})
	var once sync.Once
	end := func() { once.Do(func() { close(over) }) }
	g, err := e.Join(Group, func(ev cluster.Event) {
		switch ev := ev.(type) {
		case cluster.Lost:
			end()
		case cluster.Message:
			m, ok := decode(ev.Payload)
			if !ok || m.Answer || ev.From.Node == e.Local().ID {
				return
			}
			select {
			case orders <- m.Version:
			default: // somebody calls again and again; he hears nothing
			}
		}
	})
	if err != nil {
		return nil, err
	}
	var idle sync.WaitGroup
	idle.Go(func() {
		for {
			select {
			case v := <-orders:
				m := message{Version: v, Answer: true}
				if err := load(v); err != nil {
					m.Error = err.Error()
				}
				_ = g.Send(m.bytes()) // fails with the engine only
			case <-over:
				return
			}
		}
	})
	return func() {
		end()
		idle.Wait()
		_ = g.Leave()
	}, nil
}

// Command is a load that has the cman_tool of this program prepare the node:
// corosync.conf and the running configuration.
func Command(ctx context.Context, env platform.Env) func(int) error {
	return func(int) error {
		var out strings.Builder
		res, err := env.Runner.Run(ctx, platform.Cmd{Path: "/proc/self/exe", Args: []string{"cman_tool", "version", "-r", "-S"},
			Env: append(env.Environ(), LocalVariable+"=1"), Stdout: &out, Stderr: &out, Limit: Limit})
		if err != nil {
			return err
		}
		if !res.OK() {
			lines := strings.Split(strings.TrimSpace(out.String()), "\n")
			return errors.New(lines[len(lines)-1])
		}
		return nil
	}
}

// Spread orders the other members to load a version and waits for all that
// listen, at most Limit. The answers are by node: nil for done. Nodes that are
// missing do not listen.
func Spread(ctx context.Context, e cluster.Engine, version int) (map[cluster.NodeID]error, error) {
	ctx, cancel := context.WithTimeout(ctx, Limit)
	defer cancel()
	events := make(chan cluster.Event, 64)
	g, err := e.Join(Group, func(ev cluster.Event) {
		select {
		case events <- ev:
		case <-ctx.Done():
		}
	})
	if err != nil {
		return nil, fmt.Errorf("tell the other members: %w", err)
	}
	defer g.Leave()
	if err := g.Send(message{Version: version}.bytes()); err != nil {
		return nil, fmt.Errorf("tell the other members: %w", err)
	}
	answers, waiting, asked := map[cluster.NodeID]error{}, map[cluster.Member]bool{}, false
	for !asked || len(waiting) > 0 {
		select {
		case <-ctx.Done():
			for _, m := range slices.SortedFunc(maps.Keys(waiting), cluster.Member.Compare) {
				answers[m.Node] = fmt.Errorf("no answer within %v", Limit)
			}
			return answers, nil
		case ev := <-events:
			switch ev := ev.(type) {
			case cluster.Lost:
				return nil, ev.Err
			case cluster.View:
				if !asked {
					clear(waiting)
					for _, m := range ev.Members {
						if m.Node != g.Self().Node {
							waiting[m] = true
						}
					}
				}
				for _, c := range ev.Left {
					delete(waiting, c.Member)
				}
			case cluster.Message:
				m, ok := decode(ev.Payload)
				switch {
				case !ok || m.Version != version:
				case ev.From == g.Self():
					asked = true // all that are members at this point have it
				case m.Answer && waiting[ev.From]:
					delete(waiting, ev.From)
					// Of several daemons on a node one is enough.
					if old, has := answers[ev.From.Node]; !has || old != nil {
						answers[ev.From.Node] = nil
						if m.Error != "" {
							answers[ev.From.Node] = errors.New(m.Error)
						}
					}
				}
			}
		}
	}
	return answers, nil
}
