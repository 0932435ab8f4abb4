// Package watch tells at once when something may have happened to a resource:
// an address or a link (rtnetlink(7)), a process (pidfd_open(2)), a mount
// (proc_pid_mountinfo(5), poll(2)), a unit of systemd (org.freedesktop.systemd1(5),
// PropertiesChanged). It never says what happened: whoever asked checks the
// resource then. Without events, or when some were lost, checks by time go on
// as ever.
//
//	w, err := watch.Open(watch.Config{})
//	w.Set("ip:10.0.0.1", []watch.Target{{Kind: watch.Address, Name: "10.0.0.1"}})
//	for range w.Changed() {
//		for _, key := range w.Take() { check(key) }
//	}
package watch

import (
	"slices"
	"sync"
)

// Kind is what a Target is.
type Kind uint8

const (
	// Address is an IP address of this machine: removed, found to be a
	// duplicate, or its link or any other changed its carrier.
	Address Kind = iota + 1
	// Process is a process id: it ended.
	Process
	// Mount is a mount point: it is no longer in the table.
	Mount
	// Unit is a unit of systemd: it is no longer active.
	Unit
)

// Target is something to be told about. Name is the address, mount point or
// unit; PID the process.
type Target struct {
	Kind Kind
	Name string
	PID  int
}

// MaxTargets bounds the targets of one Watcher. Ours: 1,000 services with a
// few resources each stay far below it; each process costs a descriptor.
const MaxTargets = 16384

// Watcher tells about targets. Safe for concurrent use.
type Watcher interface {
	// Set replaces the targets of key; none forgets it. A target that can not
	// be watched is an error, and the others are watched. A process that is
	// gone already counts as changed.
	Set(key string, targets []Target) error
	// Changed delivers after something happened that Take has not returned.
	Changed() <-chan struct{}
	// Take returns the keys for which something may have happened, sorted,
	// each once.
	Take() []string
	// Close ends it. Changed delivers nothing more.
	Close()
}

// pending collects keys until they are taken: however many events come, it
// holds each key once.
type pending struct {
	mu   sync.Mutex
	keys map[string]bool
	c    chan struct{}
}

func newPending() *pending { return &pending{keys: map[string]bool{}, c: make(chan struct{}, 1)} }

func (p *pending) add(keys ...string) {
	if len(keys) == 0 {
		return
	}
	p.mu.Lock()
	for _, k := range keys {
		p.keys[k] = true
	}
	p.mu.Unlock()
	select {
	case p.c <- struct{}{}:
	default:
	}
}

// Changed implements Watcher.
func (p *pending) Changed() <-chan struct{} { return p.c }

// Take implements Watcher.
func (p *pending) Take() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make([]string, 0, len(p.keys))
	for k := range p.keys {
		out = append(out, k)
	}
	clear(p.keys)
	slices.Sort(out)
	return out
}
