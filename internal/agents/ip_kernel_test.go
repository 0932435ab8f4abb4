package agents

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"

	"github.com/haobox/haobox/platform"
	"github.com/haobox/haobox/platform/netif"
	"github.com/haobox/haobox/platform/netif/netlabtest"
	"github.com/haobox/haobox/platform/platformtest"
)

// node runs the ip agent in a node of a lab.
type node struct {
	t    *testing.T
	lab  *netlabtest.Lab
	name string
	env  *platformtest.Env
}

func newNode(t *testing.T, lab *netlabtest.Lab, name string) node {
	env := platformtest.NewEnv(t)
	// The repetition of announcements; here it is called by hand.
	env.Runner.Programs = map[string]platformtest.Program{"exe": {}}
	return node{t, lab, name, env}
}

// run runs an action; params are "name=value".
func (n node) run(action string, params ...string) int {
	n.t.Helper()
	code := -1
	n.lab.In(n.name, func() {
		net, err := netif.Open(false)
		if err != nil {
			n.t.Fatal(err)
		}
		defer net.Close()
		n.env.Env.Clock = platform.SystemClock{}
		clear(n.env.Vars)
		for _, p := range params {
			k, v, _ := strings.Cut(p, "=")
			if k == "depth" {
				n.env.Vars["OCF_CHECK_LEVEL"] = v
				continue
			}
			n.env.Vars["OCF_RESKEY_"+k] = v
		}
		code = IP(func() (Net, error) { return net, nil }, func(int, int) error { return nil }).Main(n.t.Context(), n.env.Env, []string{"ip.sh", action})
	})
	return code
}

// want runs an action and demands its status.
func (n node) want(code int, action string, params ...string) {
	n.t.Helper()
	if got := n.run(action, params...); got != code {
		n.t.Errorf("%s: %s %v: %d, want %d\n%s", n.name, action, params, got, code, n.env.Stdout)
	}
}

// eventually polls, because frames pass through the kernel on their own time.
func eventually(t *testing.T, what string, get func() string, want string) {
	t.Helper()
	end := time.Now().Add(10 * time.Second)
	got := get()
	for got != want && time.Now().Before(end) {
		time.Sleep(10 * time.Millisecond)
		got = get()
	}
	if got != want {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

// TestIP_Takeover moves an address from one node to the other and back while a
// third machine has it in its ARP cache: the cache follows.
func TestIP_Takeover(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, addr, text string }{
		{"IPv4 with a prefix length", "192.0.2.50/24", "192.0.2.50"},
		{"IPv4 without one", "192.0.2.51", "192.0.2.51"},
		{"IPv6", "2001:db8::50/64", "2001:db8::50"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			lab := netlabtest.New(t, "n1", "n2")
			one, two := newNode(t, lab, "n1"), newNode(t, lab, "n2")
			addr := "address=" + tc.addr
			one.want(NotRunning, "status", addr)
			one.want(OK, "start", addr)
			one.want(OK, "start", addr)
			one.want(OK, "status", addr)
			one.want(OK, "status", addr, "depth=10")
			lab.Learn(tc.text, lab.HW("n1", "eth0"))

			// The second node does not take it while the first has it.
			two.want(Generic, "start", addr)
			if !strings.Contains(two.env.Stdout.String(), "address collision "+tc.text+": "+lab.HW("n1", "eth0")) {
				t.Errorf("no collision in:\n%s", two.env.Stdout)
			}
			two.want(NotRunning, "status", addr)

			one.want(OK, "stop", addr)
			one.want(OK, "stop", addr)
			one.want(NotRunning, "status", addr)
			two.want(OK, "start", addr)
			eventually(t, "the neighbour's cache after the takeover", func() string { return lab.Neighbour(tc.text) }, lab.HW("n2", "eth0"))

			// A frame from the old node that comes late is put right again by
			// the repetition.
			lab.Learn(tc.text, lab.HW("n1", "eth0"))
			two.want(OK, "announce", addr)
			eventually(t, "the neighbour's cache after the repetition", func() string { return lab.Neighbour(tc.text) }, lab.HW("n2", "eth0"))
			// So does a check with arp_refresh.
			lab.Learn(tc.text, lab.HW("n1", "eth0"))
			two.want(OK, "monitor", addr, "arp_refresh=1")
			eventually(t, "the neighbour's cache after a check", func() string { return lab.Neighbour(tc.text) }, lab.HW("n2", "eth0"))
			if calls := two.env.Runner.Started(); len(calls) != 1 || strings.Join(calls[0], " ") != "ip.sh announce" {
				t.Errorf("started %v", calls)
			}
			two.want(OK, "stop", addr)
		})
	}
}

// TestIP_LateCollision: who turns up as the owner after the start keeps the
// address.
func TestIP_LateCollision(t *testing.T) {
	t.Parallel()
	for _, prefix := range []string{"192.0.2.55/24", "2001:db8::55/64"} {
		lab := netlabtest.New(t, "n1", "n2")
		one := newNode(t, lab, "n1")
		addr := "address=" + prefix
		one.want(OK, "start", addr)
		lab.Address("n2", "eth0", prefix)
		one.want(OK, "announce", addr, "check_duplicate=0")
		one.want(OK, "status", addr)
		one.want(OK, "announce", addr)
		if out := one.env.Stdout.String(); !strings.Contains(out, lab.HW("n2", "eth0")+" has it, too; removing it here") {
			t.Errorf("no late collision in:\n%s", out)
		}
		one.want(NotRunning, "status", addr)
	}
}

func TestIP_Link(t *testing.T) {
	t.Parallel()
	lab := netlabtest.New(t, "n1")
	one := newNode(t, lab, "n1")
	addr := "address=192.0.2.60/24"
	one.want(OK, "start", addr)
	lab.Down(netlabtest.Hub, "p1") // the other end of eth0
	one.want(NotRunning, "status", addr)
	if out := one.env.Stdout.String(); !strings.Contains(out, "<warning> Link for eth0: Not detected\n<warning> No link on eth0...\n") {
		t.Errorf("output:\n%s", out)
	}
	one.want(OK, "status", addr, "monitor_link=0")
	one.want(OK, "status", addr, "monitor_link=no")
	lab.Up(netlabtest.Hub, "p1")
	eventually(t, "the check with the link back", func() string { return fmt.Sprint(one.run("status", addr)) }, "0")
	lab.Down("n1", "eth0")
	one.want(BadArguments, "status", addr)
	one.want(OK, "stop", addr)
	one.want(Generic, "start", addr)
	if out := one.env.Stdout.String(); !strings.Contains(out, "eth0: it is down") {
		t.Errorf("output:\n%s", out)
	}
}

// TestIP_LowerLinks: what has no link below it has none, whatever it says.
func TestIP_LowerLinks(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		// build makes the interface "top" in n1 above the cable p2 of the hub.
		build func(l *netlabtest.Lab)
	}{
		{"bridge", func(l *netlabtest.Lab) {
			l.Add("n1", &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "top"}})
			enslave(l, "n1", "low", "top")
		}},
		{"VLAN", func(l *netlabtest.Lab) {
			l.Add("n1", &netlink.Vlan{LinkAttrs: netlink.LinkAttrs{Name: "top", ParentIndex: index(l, "n1", "low")}, VlanId: 7})
		}},
		{"bond that does not watch its ports", func(l *netlabtest.Lab) {
			b := netlink.NewLinkBond(netlink.LinkAttrs{Name: "top"})
			b.Mode, b.Miimon = netlink.BOND_MODE_ACTIVE_BACKUP, 0
			l.Add("n1", b)
			l.Down("n1", "low")
			enslave(l, "n1", "low", "top")
			l.Up("n1", "low")
		}},
		{"macvlan", func(l *netlabtest.Lab) {
			l.Add("n1", &netlink.Macvlan{LinkAttrs: netlink.LinkAttrs{Name: "top", ParentIndex: index(l, "n1", "low")}, Mode: netlink.MACVLAN_MODE_BRIDGE})
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			lab := netlabtest.New(t, "n1")
			lab.Cable("n1", "low", netlabtest.Hub, "q1")
			tc.build(lab)
			lab.Address("n1", "top", "198.51.100.1/24")
			one := newNode(t, lab, "n1")
			addr := "address=198.51.100.9/24"
			eventually(t, "the start", func() string { return fmt.Sprint(one.run("start", addr)) }, "0")
			if got := lab.Addresses("n1", "top"); got != "198.51.100.1/24 198.51.100.9/24" {
				t.Errorf("addresses %s", got)
			}
			one.want(OK, "status", addr)
			lab.Down(netlabtest.Hub, "q1")
			eventually(t, "the check without a link", func() string { return fmt.Sprint(one.run("status", addr)) }, "7")
			lab.Up(netlabtest.Hub, "q1")
			eventually(t, "the check with the link back", func() string { return fmt.Sprint(one.run("status", addr)) }, "0")
			one.want(OK, "stop", addr)
		})
	}
}

func index(l *netlabtest.Lab, node, name string) int {
	link, err := l.Handle(node).LinkByName(name)
	if err != nil {
		return 0
	}
	return link.Attrs().Index
}

func enslave(l *netlabtest.Lab, node, port, master string) {
	h := l.Handle(node)
	p, _ := h.LinkByName(port)
	m, _ := h.LinkByName(master)
	_ = h.LinkSetMaster(p, m)
}

// TestIP_KeepsWhatIsNotIts removes an address that is the first of its network:
// the others of the network and the routes stay.
func TestIP_KeepsWhatIsNotIts(t *testing.T) {
	t.Parallel()
	lab := netlabtest.New(t, "n1")
	one := newNode(t, lab, "n1")
	h := lab.Handle("n1")
	eth0, err := h.LinkByName("eth0")
	if err != nil {
		t.Fatal(err)
	}
	vip := "address=203.0.113.9/24"
	lab.Address("n1", "eth0", "203.0.113.9/24", "203.0.113.1/24", "203.0.113.2/24")
	for _, r := range []string{"198.51.100.0/24 via 203.0.113.254", "10.9.0.0/16 via 203.0.113.254 src 203.0.113.9"} {
		f := strings.Fields(r)
		dst, err := netlink.ParseIPNet(f[0])
		if err != nil {
			t.Fatal(err)
		}
		route := &netlink.Route{LinkIndex: eth0.Attrs().Index, Dst: dst, Gw: ip4(f[2])}
		if len(f) > 4 {
			route.Src = ip4(f[4])
		}
		if err := h.RouteAdd(route); err != nil {
			t.Fatal(err)
		}
	}
	one.want(OK, "status", vip)
	one.want(OK, "stop", vip)
	if got, want := lab.Addresses("n1", "eth0"), "192.0.2.1/24 203.0.113.1/24 203.0.113.2/24 2001:db8::1/64"; got != want {
		t.Errorf("addresses %s, want %s", got, want)
	}
	routes, err := h.RouteList(eth0, netlink.FAMILY_V4)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range routes {
		got = append(got, fmt.Sprintf("%v via %v src %v", r.Dst, r.Gw, r.Src))
	}
	slices.Sort(got)
	want := []string{
		"10.9.0.0/16 via 203.0.113.254 src <nil>", "192.0.2.0/24 via <nil> src 192.0.2.1",
		"198.51.100.0/24 via 203.0.113.254 src <nil>", "203.0.113.0/24 via <nil> src 203.0.113.1",
	}
	if !slices.Equal(got, want) {
		t.Errorf("routes:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func ip4(s string) []byte {
	a, _ := netlink.ParseAddr(s + "/32")
	return a.IP.To4()
}

// TestIP_UpdateSource: what the node sends comes from the service's address
// while it is there.
func TestIP_UpdateSource(t *testing.T) {
	t.Parallel()
	lab := netlabtest.New(t, "n1")
	one := newNode(t, lab, "n1")
	source := func() string {
		routes, err := lab.Handle("n1").RouteGet(ip4("192.0.2.254"))
		if err != nil || len(routes) == 0 {
			t.Fatalf("no route: %v", err)
		}
		return routes[0].Src.String()
	}
	one.want(OK, "start", "address=192.0.2.70/24", "update_source=1")
	if got := source(); got != "192.0.2.70" {
		t.Errorf("source %s while the address is there", got)
	}
	one.want(OK, "stop", "address=192.0.2.70/24", "update_source=1")
	if got := source(); got != "192.0.2.1" {
		t.Errorf("source %s after it went", got)
	}
}

// TestIP_Hundreds: several hundred addresses on one interface.
func TestIP_Hundreds(t *testing.T) {
	t.Parallel()
	lab := netlabtest.New(t, "n1")
	one := newNode(t, lab, "n1")
	lab.Address("n1", "eth0", "10.1.0.1/16")
	const count = 300
	addr := func(i int) string { return fmt.Sprintf("address=10.1.%d.%d/16", 1+i/200, 1+i%200) }
	for i := range count {
		one.want(OK, "start", addr(i), "check_duplicate=0")
	}
	for i := range count {
		one.want(OK, "status", addr(i))
	}
	for i := range count {
		one.want(OK, "stop", addr(i))
	}
	if got, want := lab.Addresses("n1", "eth0"), "192.0.2.1/24 10.1.0.1/16 2001:db8::1/64"; got != want {
		t.Errorf("addresses %s, want %s", got, want)
	}
}

// TestNetif_Watch: with events, a listing is reused until something changes.
func TestNetif_Watch(t *testing.T) {
	t.Parallel()
	lab := netlabtest.New(t, "n1")
	lab.In("n1", func() {
		net, err := netif.Open(true)
		if err != nil {
			t.Fatal(err)
		}
		defer net.Close()
		state := func() *platform.Network {
			s, err := net.State()
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		state()
		first := state()
		if state() != first {
			t.Error("listed again without a change")
		}
		lab.Address("n1", "eth0", "192.0.2.80/24")
		second := state()
		if second == first || len(second.Addrs) != len(first.Addrs)+1 {
			t.Error("a new address is not seen")
		}
		lab.Down(netlabtest.Hub, "p1")
		eventually(t, "the link", func() string { s := state(); return fmt.Sprint(s.HasLink(index(lab, "n1", "eth0"))) }, "false")
	})
}

// TestNetif_HardwareAddresses: what the announcements of an address carry is the
// interface's own hardware address, with many interfaces and addresses, whose
// listings take several reads.
func TestNetif_HardwareAddresses(t *testing.T) {
	t.Parallel()
	lab := netlabtest.New(t, "n1", "n2", "n3", "n4")
	for i := range 100 {
		lab.Address(netlabtest.Hub, "br0", fmt.Sprintf("10.2.%d.1/24", i))
	}
	lab.In(netlabtest.Hub, func() {
		n, err := netif.Open(false)
		if err != nil {
			t.Fatal(err)
		}
		defer n.Close()
		state, err := n.State()
		if err != nil {
			t.Fatal(err)
		}
		all, err := net.Interfaces()
		if err != nil {
			t.Fatal(err)
		}
		got, want := map[string]string{}, map[string]string{}
		for _, l := range state.Links {
			if !l.Loopback {
				got[l.Name] = net.HardwareAddr(l.HW).String()
			}
		}
		for _, l := range all {
			if l.Flags&net.FlagLoopback == 0 {
				want[l.Name] = l.HardwareAddr.String()
			}
		}
		if diff := cmp.Diff(want, got); diff != "" || len(want) < 5 {
			t.Errorf("hardware addresses (-want +got):\n%s", diff)
		}
	})
}

// TestIP_Loopback: an address beside 127.0.0.1, for a service of this node alone.
func TestIP_Loopback(t *testing.T) {
	t.Parallel()
	n := newNode(t, netlabtest.New(t, "n1"), "n1")
	n.want(OK, "start", "address=127.0.0.5")
	n.want(OK, "status", "address=127.0.0.5", "depth=10")
	n.want(OK, "stop", "address=127.0.0.5")
	n.want(NotRunning, "status", "address=127.0.0.5")
}
