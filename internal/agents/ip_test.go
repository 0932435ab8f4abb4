package agents

import (
	"context"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/haobox/haobox/platform"
	"github.com/haobox/haobox/platform/platformtest"
)

// wire is a network with one interface that counts how often the neighbours are
// asked before an address is added.
type wire struct {
	state   platform.Network
	asked   int
	deadNet bool // nothing can be removed
}

func (w *wire) State() (*platform.Network, error) {
	n := w.state
	n.Addrs = slices.Clone(n.Addrs)
	return &n, nil
}

func (w *wire) Add(link int, p netip.Prefix) error {
	w.state.Addrs = append(w.state.Addrs, platform.LinkAddr{Link: link, Prefix: p})
	return nil
}

func (w *wire) Remove(link int, p netip.Prefix) error {
	if !w.deadNet {
		w.state.Addrs = slices.DeleteFunc(w.state.Addrs, func(a platform.LinkAddr) bool { return a.Link == link && a.Prefix == p })
	}
	return nil
}

func (w *wire) PreferSource(int, netip.Prefix) error { return nil }

func (w *wire) Probe(context.Context, *platform.Link, netip.Addr) (string, error) {
	w.asked++
	return "", nil
}

func (w *wire) Claimed(context.Context, *platform.Link, netip.Addr, time.Duration) (string, error) {
	return "", nil
}

func (w *wire) Announce(*platform.Link, netip.Addr) error { return nil }

func (w *wire) Ping(context.Context, netip.Addr, time.Duration) error { return nil }

// TestIP_RestartInPlace: the neighbours are not asked for an address that this
// process removed from the same interface a moment ago.
func TestIP_RestartInPlace(t *testing.T) {
	t.Parallel()
	const vip = "192.0.2.50/24"
	env := platformtest.NewEnv(t)
	w := &wire{state: platform.Network{
		Links: []platform.Link{{Index: 2, Name: "eth0", Up: true, Carrier: true}, {Index: 3, Name: "eth1", Up: true, Carrier: true}},
		Addrs: []platform.LinkAddr{{Link: 2, Prefix: netip.MustParsePrefix("192.0.2.1/24")}},
	}}
	ip := IP(func() (Net, error) { return w, nil }, nil)
	call := &Call{Env: env.Env, Dialect: InProcess, Type: "ip", Name: vip, Params: []Param{{Name: "address", Value: vip}}}
	run := func(action func(context.Context, *Call) error) {
		t.Helper()
		if err := action(t.Context(), call); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		name  string
		asked int
		do    func()
	}{
		{"the first start", 1, func() { run(ip.Start) }},
		{"a restart", 0, func() { run(ip.Stop); run(ip.Start) }},
		{"as late as is allowed", 0, func() { run(ip.Stop); env.Clock.Advance(heldLimit); run(ip.Start) }},
		{"later", 1, func() { run(ip.Stop); env.Clock.Advance(heldLimit + 1); run(ip.Start) }},
		{"somebody else removed it", 1, func() { w.state.Addrs = w.state.Addrs[:1]; run(ip.Stop); run(ip.Start) }},
		{"to another interface", 1, func() {
			run(ip.Stop)
			w.state.Addrs[0].Link = 3
			run(ip.Start)
		}},
		{"a word is good once", 1, func() {
			run(ip.Stop)
			run(ip.Start)
			w.state.Addrs = w.state.Addrs[:1]
			run(ip.Start)
		}},
		{"duplicate address detection had failed", 1, func() {
			w.state.Addrs[1].Failed = true
			run(ip.Stop)
			run(ip.Start)
		}},
		{"it could not be removed", 1, func() {
			w.deadNet = true
			if ip.Stop(t.Context(), call) == nil {
				t.Error("stopped")
			}
			w.state.Addrs = w.state.Addrs[:1]
			run(ip.Start)
		}},
	} {
		w.asked = 0
		if tc.do(); w.asked != tc.asked || len(w.state.Addrs) != 2 {
			t.Errorf("%s: asked %d times, want %d; %v", tc.name, w.asked, tc.asked, w.state.Addrs)
		}
	}
}

// TestIP_StopRemovesAll: an address that somebody added elsewhere, or with
// another prefix length, is gone after one stop as well.
func TestIP_StopRemovesAll(t *testing.T) {
	t.Parallel()
	env := platformtest.NewEnv(t)
	w := &wire{state: platform.Network{Links: []platform.Link{{Index: 2, Name: "eth0", Up: true, Carrier: true}, {Index: 3, Name: "eth1", Up: true}}}}
	for link, list := range map[int][]string{2: {"192.0.2.1/24", "192.0.2.50/24", "192.0.2.50/32"}, 3: {"192.0.2.50/32", "192.0.2.51/32"}} {
		for _, p := range list {
			w.state.Addrs = append(w.state.Addrs, platform.LinkAddr{Link: link, Prefix: netip.MustParsePrefix(p)})
		}
	}
	a := IP(func() (Net, error) { return w, nil }, nil)
	if got := do(t, env, a, RGManager, "stop", 0, "address=192.0.2.50/24"); got != OK {
		t.Errorf("status %d\n%s", got, env.Stdout)
	}
	if w.state.Find(netip.MustParseAddr("192.0.2.50")) != nil || len(w.state.Addrs) != 2 {
		t.Errorf("left: %v", w.state.Addrs)
	}
}
