// Package zvmtest puts a simulated z/VM into a test, without sockets:
//
//	sim := zvmtest.Start(t, zvmtest.Config("CNODE1", "CNODE2"))
//	client := smapi.Client{Dialer: sim.Dialer("", ""), User: zvmtest.User, Password: zvmtest.Password}
//
// With testing/synctest around it the delays of the simulated system cost no
// time.
package zvmtest

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"

	"github.com/haobox/haobox/internal/smapi"
	"github.com/haobox/haobox/internal/smapi/zvmsim"
)

// User and Password may do everything in the systems of Config.
const (
	User                  = "CMANAGER"
	Password smapi.Secret = "SECRET"
)

// Config returns one system with these guests logged on, which User may
// control.
func Config(guests ...string) zvmsim.Config {
	c := zvmsim.Default(guests...)
	c.Authorize(User, Password)
	return c
}

// Sim is a running simulator.
type Sim struct {
	*zvmsim.Server
	ctx context.Context
	wg  sync.WaitGroup

	mu      sync.Mutex
	actions []zvmsim.Action
}

// Start starts a simulator that ends with the test. Its clock is the
// machine's, or that of the synctest bubble.
func Start(t testing.TB, cfg zvmsim.Config) *Sim {
	t.Helper()
	return StartWith(t, cfg, zvmsim.ServerConfig{})
}

// StartWith is Start with a configuration of the server. Its Observe is
// called as well.
func StartWith(t testing.TB, cfg zvmsim.Config, sc zvmsim.ServerConfig) *Sim {
	t.Helper()
	core, _, err := zvmsim.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &Sim{ctx: ctx}
	observe := sc.Observe
	sc.Observe = func(a zvmsim.Action) {
		s.mu.Lock()
		s.actions = append(s.actions, a)
		s.mu.Unlock()
		if observe != nil {
			observe(a)
		}
	}
	s.Server = zvmsim.NewServer(core, sc)
	t.Cleanup(func() {
		cancel()
		s.wg.Wait()
		s.Close()
	})
	return s
}

// Actions returns all that the core wanted done so far.
func (s *Sim) Actions() []zvmsim.Action {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]zvmsim.Action(nil), s.actions...)
}

// State returns the state of a guest.
func (s *Sim) State(guest string) zvmsim.State {
	state := zvmsim.State(-1)
	s.View(func(c *zvmsim.Core) {
		if g, err := c.Guest("", guest); err == nil {
			state = g.State
		}
	})
	return state
}

// Dialer returns a dialer to the servers of a member, "" for the first. peer
// is the user id that CP vouches for, as over IUCV; "" as over TCP.
func (s *Sim) Dialer(member, peer string) smapi.Dialer { return dialer{s, member, peer} }

type dialer struct {
	sim          *Sim
	member, peer string
}

// Dial connects. The errors are those that a dial over TCP gives.
func (d dialer) Dial(ctx context.Context) (smapi.Conn, error) {
	fail := func(err error) error {
		return &net.OpError{Op: "dial", Net: "sim", Err: os.NewSyscallError("connect", err)}
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	session, err := d.sim.Accept(zvmsim.Client{Member: d.member, Peer: d.peer, Remote: "sim"})
	switch {
	case errors.Is(err, zvmsim.ErrFull):
		<-ctx.Done()
		return nil, fail(syscall.ETIMEDOUT)
	case err != nil:
		return nil, fail(syscall.ECONNREFUSED)
	}
	client, server := net.Pipe()
	d.sim.wg.Go(func() { _ = session.Serve(d.sim.ctx, server) })
	return client, nil
}
