//go:build linux

package rgmanager

import (
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/haobox/haobox/internal/restree"
	"github.com/haobox/haobox/internal/rgm"
	"github.com/haobox/haobox/platform/systemd"
	"github.com/haobox/haobox/platform/watch"
)

// calm is the least time between two checks that events ask for, for one
// resource. Ours: a link that flaps must not keep a core busy.
const calm = 100 * time.Millisecond

// again is when a resource is checked once more after an event. Ours: a process
// that has ended exists for scripts until init has taken notice of it.
const again = 500 * time.Millisecond

// scans are how long after a start the processes of services are looked for:
// servers go into the background in their own time.
func scans() []time.Duration {
	return []time.Duration{0, time.Second, 5 * time.Second}
}

// watching turns what happens on the machine into checks. It belongs to the
// loop.
type watching struct {
	s *shell
	w watch.Watcher
	// services are those that run here: their nodes by key.
	services map[string]map[string]*restree.Node
	byKey    map[string]string // key to service
	checked  map[string]time.Time
	delayed  map[string]bool
	planned  map[time.Duration]bool
	// processes are those that are watched, by key.
	processes map[string][]watch.Target
	scanning  bool
}

func newWatching(s *shell) (*watching, error) {
	cfg := watch.Config{}
	if systemd.Running() {
		cfg.Units = systemd.Watch
	}
	w, err := watch.Open(cfg)
	if err != nil {
		return nil, err
	}
	x := &watching{s: s, w: w, services: map[string]map[string]*restree.Node{}, byKey: map[string]string{},
		checked: map[string]time.Time{}, delayed: map[string]bool{}, planned: map[time.Duration]bool{}, processes: map[string][]watch.Target{}}
	go func() {
		for {
			select {
			case <-w.Changed():
				s.d.Loop.Post(func() {
					for _, key := range w.Take() {
						x.fired(key)
					}
				})
			case <-s.ctx.Done():
				return
			}
		}
	}()
	return x, nil
}

func (x *watching) close() { x.w.Close() }

// changed follows the services of this node.
func (x *watching) changed(a rgm.Changed) {
	name := a.New.Name
	if name == "" {
		name = a.Old.Name
	}
	switch {
	case a.New.State != rgm.Started || a.New.Owner != x.s.group.Self().Node:
		x.forget(name)
	case len(x.services[name]) == 0:
		x.follow(name)
	}
}

// began follows what was started in a service that goes on: a resource that a new
// configuration has, or that was repaired.
func (x *watching) began(service string) {
	if len(x.services[service]) > 0 {
		x.follow(service)
	}
}

func (x *watching) forget(service string) {
	for key := range x.services[service] {
		x.forgetKey(key)
	}
	delete(x.services, service)
}

func (x *watching) forgetKey(key string) {
	_ = x.w.Set(key, nil)
	delete(x.byKey, key)
	delete(x.checked, key)
	delete(x.processes, key)
}

// follow watches the resources of a service, as the configuration has it now.
func (x *watching) follow(service string) {
	if x.s.set == nil {
		return
	}
	nodes := map[string]*restree.Node{}
	for _, top := range x.s.set.Tree {
		if top.ID() == service {
			top.All(func(n *restree.Node) { nodes[service+"\n"+n.ID()] = n })
		}
	}
	old := x.services[service]
	for key := range old {
		if nodes[key] == nil {
			x.forgetKey(key)
		}
	}
	x.services[service] = nodes
	for key, n := range nodes {
		x.byKey[key] = service
		t, ok := target(n)
		if !ok {
			continue
		}
		if n := old[key]; n != nil {
			if was, _ := target(n); was == t {
				continue // it is watched
			}
		}
		x.set(key, []watch.Target{t})
		if t.Kind == watch.Address {
			x.checkOnce(key)
		}
	}
	for _, after := range scans() {
		x.scanAfter(after)
	}
}

// checkOnce checks what is watched from now on: the late part of ip's question
// to the network may have given the address up before.
func (x *watching) checkOnce(key string) {
	service, resource, _ := strings.Cut(key, "\n")
	x.s.d.Loop.Post(func() {
		if x.byKey[key] == service {
			x.s.step(rgm.Check{Service: service, Resource: resource})
		}
	})
}

func (x *watching) set(key string, t []watch.Target) {
	if err := x.w.Set(key, t); err != nil {
		_, resource, _ := strings.Cut(key, "\n")
		x.s.line(slog.LevelDebug, x.byKey[key], resource, err.Error())
	}
}

// target is what there is to watch for a resource besides its processes.
func target(n *restree.Node) (watch.Target, bool) {
	value := func(name string) string { v, _ := n.Value(name); return v }
	switch n.Resource.Rule.Type {
	case "ip":
		a, _, _ := strings.Cut(value("address"), "/")
		if _, err := netip.ParseAddr(a); err == nil {
			return watch.Target{Kind: watch.Address, Name: a}, true
		}
	case "fs", "clusterfs", "netfs":
		if p := value("mountpoint"); p != "" {
			if len(p) > 1 {
				p = strings.TrimRight(p, "/")
			}
			return watch.Target{Kind: watch.Mount, Name: p}, true
		}
	case "systemd":
		unit := value("unit")
		if unit == "" {
			unit = n.Resource.Name()
		}
		if !strings.Contains(unit, ".") {
			unit += ".service"
		}
		return watch.Target{Kind: watch.Unit, Name: unit}, true
	}
	return watch.Target{}, false
}

// scanAfter looks for processes after a time, once for all that ask meanwhile.
func (x *watching) scanAfter(d time.Duration) {
	if x.planned[d] {
		return
	}
	x.planned[d] = true
	x.s.d.Loop.After(d, func() {
		delete(x.planned, d)
		x.scan()
	})
}

func (x *watching) scan() {
	if x.scanning || len(x.services) == 0 {
		return
	}
	x.scanning = true
	go func() {
		all, err := watch.Processes("/proc")
		x.s.d.Loop.Post(func() {
			x.scanning = false
			if err != nil {
				x.s.d.Debugf("look for the processes of services: %v", err)
				return
			}
			x.found(all)
		})
	}()
}

// found watches the processes of each resource that has no other target.
func (x *watching) found(all map[string][]int) {
	for _, nodes := range x.services {
		for key, n := range nodes {
			if _, other := target(n); other {
				continue
			}
			var t []watch.Target
			for _, pid := range all[n.ID()] {
				t = append(t, watch.Target{Kind: watch.Process, PID: pid})
			}
			if len(t) > 0 && !slices.Equal(t, x.processes[key]) {
				x.processes[key] = t
				x.set(key, t)
				x.s.line(slog.LevelDebug, x.byKey[key], n.ID(), fmt.Sprintf("watching the processes of %s: %v", n.ID(), all[n.ID()]))
			}
		}
	}
}

// fired asks for a check at once.
func (x *watching) fired(key string) {
	service, ok := x.byKey[key]
	if !ok {
		return
	}
	now := x.s.d.Env.Clock.Now()
	if wait := x.checked[key].Add(calm).Sub(now); wait > 0 {
		if !x.delayed[key] {
			x.delayed[key] = true
			x.s.d.Loop.After(wait, func() {
				delete(x.delayed, key)
				x.fired(key)
			})
		}
		return
	}
	x.checked[key] = now
	delete(x.processes, key)
	_, resource, _ := strings.Cut(key, "\n")
	x.s.metrics.seen(now, service)
	x.s.line(slog.LevelDebug, service, resource, fmt.Sprintf("something happened to %s of %s; checking it", resource, service))
	x.s.step(rgm.Check{Service: service, Resource: resource})
	x.s.d.Loop.After(again, func() {
		if x.byKey[key] == service {
			x.s.step(rgm.Check{Service: service, Resource: resource})
		}
	})
	for _, after := range scans() {
		x.scanAfter(after)
	}
}
