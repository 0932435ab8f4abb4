// Package vmsim is z/VM in virtual time: the simulated systems of package
// zvmsim on the clock of a clustersim, and the core of fence_zvmip as a process
// of a simulated machine. Packages whatif and rgmsim have it below their nodes.
package vmsim

import (
	"bytes"
	"errors"
	"slices"
	"time"

	"github.com/haobox/haobox/internal/cluster/clustersim"
	"github.com/haobox/haobox/internal/smapi"
	"github.com/haobox/haobox/internal/smapi/zvmsim"
)

// Hypervisor is the simulated z/VM on which machines are guests.
type Hypervisor struct {
	sim     *clustersim.Sim
	epoch   time.Time
	changed func(zvmsim.Changed)
	core    *zvmsim.Core
	conns   []*conn // those that are open
	last    zvmsim.ConnID
	due     time.Duration
	// Members are the names of its systems.
	Members []string
}

// conn is a call of an agent under way.
type conn struct {
	id   zvmsim.ConnID
	got  []byte
	done func(smapi.Response, error)
}

const (
	smapiUser                  = "CMANAGER"
	smapiPassword smapi.Secret = "SECRET"
)

// Guest is a guest and the member of the z/VM cluster that it runs on.
type Guest struct{ Name, Member string }

// New returns a z/VM cluster with all guests off. epoch is the time of day at
// which sim begins; changed is told of what happens to guests.
func New(sim *clustersim.Sim, epoch time.Time, seed uint64, members []string, guests []Guest, delays zvmsim.Delays, changed func(zvmsim.Changed)) (*Hypervisor, error) {
	cfg := zvmsim.Config{Seed: seed, Systems: []zvmsim.System{{Name: "SSI", Delays: delays}}}
	s := &cfg.Systems[0]
	for _, m := range members {
		s.Members = append(s.Members, zvmsim.Member{Name: m})
	}
	for _, g := range guests {
		s.Guests = append(s.Guests, zvmsim.Guest{Name: g.Name, Member: g.Member})
	}
	cfg.Authorize(smapiUser, smapiPassword)
	core, _, err := zvmsim.New(cfg)
	if err != nil {
		return nil, err
	}
	return &Hypervisor{sim: sim, epoch: epoch, changed: changed, core: core, Members: members, due: -1}, nil
}

func (h *Hypervisor) now() time.Time { return h.epoch.Add(h.sim.Now()) }

// Do makes something happen to z/VM.
func (h *Hypervisor) Do(ev zvmsim.Event) {
	for _, a := range slices.Clone(h.core.Step(h.now(), ev)) {
		switch a := a.(type) {
		case zvmsim.Changed:
			h.changed(a)
		case zvmsim.Send:
			if c := h.conn(a.Conn); c != nil {
				c.got = append(c.got, a.Bytes()...)
			}
		case zvmsim.Close:
			if c := h.conn(a.Conn); c != nil && a.How != zvmsim.EndSilence {
				h.end(c, a.Refused)
			}
		}
	}
	if at, ok := h.core.Next(); ok {
		if d := at.Sub(h.epoch); h.due < 0 || d < h.due {
			h.due = max(d, h.sim.Now())
			h.sim.At(h.due, func() {
				if h.due == h.sim.Now() {
					h.due = -1
				}
				h.Do(zvmsim.Tick{})
			})
		}
	}
}

func (h *Hypervisor) conn(id zvmsim.ConnID) *conn {
	for _, c := range h.conns {
		if c.id == id {
			return c
		}
	}
	return nil
}

var errRefused = errors.New("connection refused")

func (h *Hypervisor) end(c *conn, refused bool) {
	h.conns = slices.DeleteFunc(h.conns, func(o *conn) bool { return o == c })
	if refused {
		c.done(smapi.Response{}, &smapi.TransportError{Kind: smapi.ErrConnect, Err: errRefused})
		return
	}
	r, err := smapi.ReadResponse(bytes.NewReader(c.got), 1<<16)
	if err != nil {
		err = &smapi.TransportError{Kind: smapi.ErrLost, Err: err}
	}
	c.done(r, err)
}

// Call sends a request to a member; done is called once with what came back,
// or never. The way there and back takes a moment. The function that is returned
// hangs up.
func (h *Hypervisor) Call(member string, req smapi.Request, done func(smapi.Response, error)) (hangup func()) {
	h.last++
	c := &conn{id: h.last, done: done}
	h.conns = append(h.conns, c)
	h.sim.After(time.Millisecond, func() {
		h.Do(zvmsim.Connect{Conn: c.id, Member: member})
		if h.conn(c.id) != nil {
			req.User, req.Password = smapiUser, smapiPassword
			h.Do(zvmsim.Request{Conn: c.id, Request: req})
		}
	})
	return func() {
		if h.conn(c.id) != nil {
			h.conns = slices.DeleteFunc(h.conns, func(o *conn) bool { return o == c })
			h.Do(zvmsim.Hangup{Conn: c.id})
		}
	}
}

// State is what a guest does.
func (h *Hypervisor) State(guest string) zvmsim.State {
	g, err := h.core.Guest("", guest)
	if err != nil {
		return -1
	}
	return g.State
}
