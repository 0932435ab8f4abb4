package agents

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/haobox/haobox/platform"
)

// Net is what the ip agent needs of the machine; platform/netif has it.
type Net interface {
	// State lists interfaces and addresses. The result is not changed.
	State() (*platform.Network, error)
	// Add adds an address; one that is there is no error.
	Add(link int, p netip.Prefix) error
	// Remove removes an address and leaves other addresses and the routes as
	// they are.
	Remove(link int, p netip.Prefix) error
	// PreferSource makes an address the source of the routes of its network.
	PreferSource(link int, p netip.Prefix) error
	// Probe returns the link-layer address of a neighbour that has the
	// address already, or "".
	Probe(ctx context.Context, l *platform.Link, a netip.Addr) (string, error)
	// Claimed asks once more when the address is here, and waits.
	Claimed(ctx context.Context, l *platform.Link, a netip.Addr, wait time.Duration) (string, error)
	// Announce tells the neighbours once where the address is.
	Announce(l *platform.Link, a netip.Addr) error
	// Ping sends an echo request from the address to itself.
	Ping(ctx context.Context, a netip.Addr, limit time.Duration) error
}

const (
	// announceCount and announceInterval: 5 times in 0.8 s, as rgmanager's
	// agent does for IPv6 (it sends two for IPv4, a second apart). The first
	// goes out before start ends, the others behind its back.
	announceCount    = 5
	announceInterval = 200 * time.Millisecond
	// heldLimit is how long after its removal here an address is still ours: who
	// took it in so short a time is found by what follows the start.
	heldLimit = time.Second
	// pingLimit bounds the local echo request; rgmanager's agent: ping -w 2.
	pingLimit = 2 * time.Second
	// nfsDrain is the pause after an address of a service with NFS locks is
	// removed, for nfsd and lockd to finish; rgmanager's agent pauses for every
	// address.
	nfsDrain = 10 * time.Second
	// announceWord is the action that repeats announcements.
	announceWord = "announce"
)

// IP is a virtual address. open gives the network, per call; the agent does
// not close it.
func IP(open func() (Net, error), kill Kill) *Agent {
	a := ipAgent{open, kill, &held{}}
	return &Agent{
		Type:  "ip",
		Start: a.start, Stop: a.stop, Status: a.status, Validate: a.validate,
		More: []Named{{announceWord, a.announce}, {"verify-all", a.validate}},
		// Every wait is a timer of its own; the few programs have limits.
		InProcess: func(*Call) bool { return true },
	}
}

type ipAgent struct {
	open func() (Net, error)
	kill Kill
	held *held
}

// held are the addresses that were removed here a moment ago, as in the restart
// of a service in its place. Only who runs the agent in its own process has any.
// Safe for concurrent use.
type held struct {
	mu  sync.Mutex
	all []heldAddress
}

type heldAddress struct {
	addr netip.Addr
	link int
	till time.Time
}

// add notes an address that was here until now.
func (h *held) add(a netip.Addr, link int, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all = slices.DeleteFunc(h.all, func(x heldAddress) bool { return x.addr == a || now.After(x.till) })
	h.all = append(h.all, heldAddress{a, link, now.Add(heldLimit)})
}

// take says whether the address was on this interface a moment ago, once.
func (h *held) take(a netip.Addr, link int, now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	i := slices.IndexFunc(h.all, func(x heldAddress) bool { return x.addr == a })
	if i < 0 {
		return false
	}
	x := h.all[i]
	h.all = slices.Delete(h.all, i, i+1)
	return x.link == link && !now.After(x.till)
}

// address is the parameter "address" taken apart.
type address struct {
	netip.Addr
	bits int // -1 if it states none
}

// Text is the address as rgmanager's log has it.
func (a address) Text() string {
	if a.bits < 0 {
		return a.Addr.String()
	}
	return fmt.Sprintf("%v/%d", a.Addr, a.bits)
}

func (a address) family() string {
	if a.Is6() {
		return "IPv6"
	}
	return "IPv4"
}

func parseAddress(c *Call) (address, error) {
	code := BadArguments
	if c.Dialect == OCF {
		code = NotConfigured
	}
	text := strings.TrimSpace(c.Param("address"))
	if text == "" {
		return address{}, Fail(code, "%s: no parameter \"address\": an IPv4 or IPv6 address, with or without /bits", c.Instance())
	}
	a := address{bits: -1}
	var err error
	if strings.Contains(text, "/") {
		var p netip.Prefix
		p, err = netip.ParsePrefix(text)
		a.Addr, a.bits = p.Addr(), p.Bits()
	} else {
		a.Addr, err = netip.ParseAddr(text)
	}
	if err != nil || a.Zone() != "" || a.Is4In6() || a.IsUnspecified() || a.IsMulticast() {
		return address{}, Fail(code, "parameter address of %s is %q; it must be an IPv4 or IPv6 address of one host, with or without /bits", c.Instance(), text)
	}
	switch family := c.Param("family"); {
	case family == "" || family == "inet" && a.Is4() || family == "inet6" && a.Is6():
	case family == "inet" || family == "inet6":
		return address{}, Fail(code, "parameter family of %s is %s, but %v is %s", c.Instance(), family, a.Addr, a.family())
	default:
		return address{}, Fail(code, "parameter family of %s is %q; it must be inet or inet6", c.Instance(), family)
	}
	return a, nil
}

// monitorLink: everything but "no" and 0 means yes.
func monitorLink(c *Call) bool {
	v := strings.ToLower(c.Param("monitor_link"))
	return v != "no" && v != "0"
}

func (ip ipAgent) validate(_ context.Context, c *Call) error {
	if _, err := parseAddress(c); err != nil {
		return err
	}
	_, err := sleepTime(c)
	return err
}

// sleepTime is the pause after a stop. Differs from rgmanager: without the
// parameter there is one only for NFS.
func sleepTime(c *Call) (time.Duration, error) {
	def := time.Duration(0)
	if c.Bool("nfslock") {
		def = nfsDrain
	}
	d, err := c.Seconds("sleep_time", def)
	if err == nil && c.Param("sleep_time") == "" {
		d, err = c.Seconds("sleeptime", def)
	}
	return d, err
}

// choose finds the interface for an address: the first whose own address is in
// the same network, in the kernel's order. The error says what was wrong with
// each that came close.
func choose(n *platform.Network, a address, monitor bool, prefer string) (*platform.Link, netip.Prefix, error) {
	var near []string
	for i := range n.Addrs {
		have := n.Addrs[i]
		l := n.Link(have.Link)
		if l == nil || n.Slave(l) || have.Prefix.Addr().Is4() != a.Is4() || !have.Prefix.Masked().Contains(a.Addr) {
			continue
		}
		why := unfit(n, l, monitor, prefer)
		if why == "" && a.bits >= 0 && a.bits != have.Prefix.Bits() {
			why = fmt.Sprintf("its address %v has another prefix length", have.Prefix)
		}
		if why == "" {
			return l, netip.PrefixFrom(a.Addr, have.Prefix.Bits()), nil
		}
		near = append(near, l.Name+": "+why)
	}
	// Differs from rgmanager: an interface that is named needs no address of
	// the network if the prefix length is stated.
	for i := range n.Links {
		if l := &n.Links[i]; prefer != "" && l.Name == prefer && a.bits >= 0 {
			if why := unfit(n, l, monitor, prefer); why != "" {
				near = append(near, l.Name+": "+why)
				break
			}
			return l, netip.PrefixFrom(a.Addr, a.bits), nil
		}
	}
	switch {
	case prefer != "" && !slices.ContainsFunc(n.Links, func(l platform.Link) bool { return l.Name == prefer }):
		near = []string{"prefer_interface is " + prefer + ", which is not here"}
	case len(near) == 0:
		near = []string{"no interface has an address in its network"}
	}
	return nil, netip.Prefix{}, Fail(Generic, "no interface for %s: %s", a.Text(), strings.Join(near, "; "))
}

// unfit says why an interface can not be used, or "".
func unfit(n *platform.Network, l *platform.Link, monitor bool, prefer string) string {
	switch {
	case prefer != "" && l.Name != prefer:
		return "prefer_interface is " + prefer
	case !l.Up:
		return "it is down"
	case monitor && !n.HasLink(l.Index):
		return "it has no link"
	}
	return ""
}

func (ip ipAgent) start(ctx context.Context, c *Call) error {
	a, err := parseAddress(c)
	if err != nil {
		return err
	}
	net, err := ip.open()
	if err != nil {
		return err
	}
	state, err := net.State()
	if err != nil {
		return err
	}
	if have := state.Find(a.Addr); have != nil {
		if have.Failed {
			return Fail(Generic, "%s address %v is configured, but another node has it (duplicate address detection)", a.family(), a.Addr)
		}
		c.Debugf("%s already configured", a.Text())
		return nil
	}
	monitor := monitorLink(c)
	l, p, err := choose(state, a, monitor, c.Param("prefer_interface"))
	if err != nil {
		return err
	}
	if monitor {
		c.Debugf("Link for %s: Detected", l.Name)
	}
	c.Infof("Adding %s address %v to %s", a.family(), p, l.Name)
	if checkDuplicate(c) && !ip.held.take(a.Addr, l.Index, c.Env.Clock.Now()) {
		c.Debugf("Ping addr %v from dev %s", a.Addr, l.Name)
		owner, err := net.Probe(ctx, l, a.Addr)
		if err != nil {
			return fmt.Errorf("look for %v on other nodes: %w", a.Addr, err)
		}
		if owner != "" {
			return Fail(Generic, "%s address collision %v: %s has it", a.family(), a.Addr, owner)
		}
	}
	if err := net.Add(l.Index, p); err != nil {
		return err
	}
	if err := ip.tell(ctx, c, net, l, a, p); err != nil {
		c.Warnf("%v", err)
	}
	if c.Bool("update_source") {
		if err := net.PreferSource(l.Index, p); err != nil {
			c.Warnf("%v", err)
		}
	}
	ip.rdisc(ctx, c, a)
	if c.Bool("nfslock") {
		ip.notify(ctx, c, a)
	}
	return nil
}

func checkDuplicate(c *Call) bool {
	v, ok := c.Lookup("check_duplicate")
	return !ok || v == "" || Yes(v)
}

// tell announces the address, now and, without waiting for it, again.
func (ip ipAgent) tell(ctx context.Context, c *Call, net Net, l *platform.Link, a address, p netip.Prefix) error {
	c.Debugf("Sending gratuitous ARP: %v %s brd ff:ff:ff:ff:ff:ff", a.Addr, hex(l.HW))
	if err := net.Announce(l, a.Addr); err != nil {
		return err
	}
	if len(l.HW) == 0 || l.Loopback || l.NoARP {
		return nil
	}
	if c.Dialect == InProcess {
		go func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), announceCount*announceInterval)
			defer cancel()
			_ = repeat(ctx, c, net, l, p)
		}()
		return nil
	}
	// A process of its own goes on after this one has ended.
	_, err := c.Env.Runner.Start(context.WithoutCancel(ctx), platform.Cmd{
		Path: c.self(), Args: []string{"ip.sh", announceWord}, Limit: announceCount * announceInterval * 2,
		Env: []string{"OCF_RESKEY_address=" + c.Param("address"), "OCF_RESKEY_check_duplicate=" + c.Param("check_duplicate"),
			"OCF_RESOURCE_INSTANCE=" + c.Instance()},
	})
	if err != nil {
		return fmt.Errorf("repeat the announcement of %v: %w", a.Addr, err)
	}
	return nil
}

// repeat is what follows a start that has ended already: the announcements until
// the count is full, and between them the longer part of the duplicate address
// check. An owner who turns up in it keeps the address; the next check here
// finds that it is gone.
func repeat(ctx context.Context, c *Call, net Net, l *platform.Link, p netip.Prefix) error {
	for range announceCount - 1 {
		owner := ""
		var err error
		if checkDuplicate(c) {
			owner, err = net.Claimed(ctx, l, p.Addr(), announceInterval)
		} else {
			err = c.Sleep(ctx, announceInterval)
		}
		if err != nil {
			return err
		}
		// Gone, or moved on: somebody else may announce it by now.
		state, err := net.State()
		if err != nil {
			return err
		}
		if have := state.Find(p.Addr()); have == nil || have.Link != l.Index {
			return nil
		}
		if owner != "" {
			c.Errorf("address collision %v: %s has it, too; removing it here", p.Addr(), owner)
			return net.Remove(l.Index, p)
		}
		if err := net.Announce(l, p.Addr()); err != nil {
			return err
		}
	}
	return nil
}

// announce is the action of the process that tell starts.
func (ip ipAgent) announce(ctx context.Context, c *Call) error {
	a, err := parseAddress(c)
	if err != nil {
		return err
	}
	net, l, state, err := ip.where(a)
	if err != nil || l == nil {
		return err
	}
	return repeat(ctx, c, net, l, state.Find(a.Addr).Prefix)
}

// where finds the address on this machine. l is nil if it is not there.
func (ip ipAgent) where(a address) (net Net, l *platform.Link, state *platform.Network, err error) {
	if net, err = ip.open(); err != nil {
		return nil, nil, nil, err
	}
	if state, err = net.State(); err != nil {
		return nil, nil, nil, err
	}
	if have := state.Find(a.Addr); have != nil {
		l = state.Link(have.Link)
	}
	return net, l, state, nil
}

func hex(hw []byte) string {
	parts := make([]string, len(hw))
	for i, b := range hw {
		parts[i] = fmt.Sprintf("%02x", b)
	}
	return strings.Join(parts, ":")
}

func (ip ipAgent) stop(ctx context.Context, c *Call) error {
	a, err := parseAddress(c)
	if err != nil {
		return err
	}
	pause, err := sleepTime(c)
	if err != nil {
		return err
	}
	net, l, state, err := ip.where(a)
	if err != nil {
		return err
	}
	if l == nil {
		c.Debugf("%s is not configured", a.Text())
		return nil
	}
	// It may be there more than once: on several interfaces, or with several
	// prefix lengths.
	for have := state.Find(a.Addr); have != nil; have = state.Find(a.Addr) {
		name := fmt.Sprintf("interface %d", have.Link)
		if l := state.Link(have.Link); l != nil {
			name = l.Name
		}
		c.Infof("Removing %s address %v from %s", a.family(), have.Prefix, name)
		fault := net.Remove(have.Link, have.Prefix)
		after, err := net.State()
		if err != nil {
			return errors.Join(fault, err)
		}
		if slices.ContainsFunc(after.Addrs, func(x platform.LinkAddr) bool { return x.Link == have.Link && x.Prefix == have.Prefix }) {
			if fault == nil {
				fault = errors.New("the kernel still has it")
			}
			return Fail(Generic, "Failed to remove %v: %w", a.Addr, fault)
		}
		if fault != nil {
			c.Warnf("%v", fault)
		} else if !have.Failed {
			ip.held.add(a.Addr, have.Link, c.Env.Clock.Now())
		}
		state = after
	}
	if pause > 0 {
		c.Debugf("Waiting %v after the removal of %v", pause, a.Addr)
		return c.Sleep(ctx, pause)
	}
	return nil
}

func (ip ipAgent) status(ctx context.Context, c *Call) error {
	a, err := parseAddress(c)
	if err != nil {
		return err
	}
	c.Debugf("Checking %s, Level %d", a.Text(), c.Depth)
	net, l, state, err := ip.where(a)
	if err != nil {
		return err
	}
	if l == nil {
		if !c.Probe() {
			c.Warnf("%s is not configured", a.Text())
		}
		return Quiet(NotRunning)
	}
	c.Debugf("%s present on %s", a.Text(), l.Name)
	// rgmanager's agent gives 7 for what follows, and 2 for an interface that
	// is down. For Pacemaker 7 would mean that the address is not here.
	broken, down := NotRunning, BadArguments
	if c.Dialect == OCF {
		broken, down = Generic, Generic
	}
	if have := state.Find(a.Addr); have.Failed {
		return Fail(broken, "%v on %s: another node has it (duplicate address detection)", a.Addr, l.Name)
	}
	if !l.Up {
		return Fail(down, "%s, the interface of %v, is down", l.Name, a.Addr)
	}
	if monitorLink(c) {
		if !state.HasLink(l.Index) {
			c.Warnf("Link for %s: Not detected", l.Name)
			c.Warnf("No link on %s...", l.Name)
			return Quiet(broken)
		}
		c.Debugf("Link for %s: Detected", l.Name)
		c.Debugf("Link detected on %s", l.Name)
	}
	if c.Depth >= 10 {
		if err := net.Ping(ctx, a.Addr, pingLimit); err != nil {
			c.Warnf("Failed to ping %v: %v", a.Addr, err)
			return Quiet(broken)
		}
		c.Debugf("Local ping to %v succeeded", a.Addr)
	}
	if c.Bool("arp_refresh") {
		if err := net.Announce(l, a.Addr); err != nil {
			c.Warnf("%v", err)
		}
	}
	return nil
}

// rdisc wakes the router discovery daemon, or starts it, where there is one.
func (ip ipAgent) rdisc(ctx context.Context, c *Call, a address) {
	if c.Bool("disable_rdisc") || a.Is6() {
		return
	}
	if _, err := c.Find("rdisc"); err != nil {
		return
	}
	for _, p := range Processes(c) {
		if p.Command == "rdisc" {
			if err := ip.kill(p.PID, SIGHUP); err != nil {
				c.Warnf("wake rdisc (process %d): %v", p.PID, err)
			}
			return
		}
	}
	if o, err := c.Exec(ctx, QueryLimit, "rdisc", "-fs"); err != nil || !o.OK() {
		c.Debugf("rdisc -fs: %v %s", err, o.Ended())
	}
}

// notify tells NFS clients to claim their locks again from this address.
func (ip ipAgent) notify(ctx context.Context, c *Call, a address) {
	if _, err := c.Env.FS.Stat("/var/lib/nfs/statd"); err != nil {
		if _, err := c.Env.FS.Stat("/var/lib/nfs/sm"); err != nil {
			return
		}
	}
	o, err := c.Exec(ctx, QueryLimit, "sm-notify", "-f", "-v", a.Addr.String())
	switch {
	case err != nil:
		c.Warnf("NFS clients of %v are not told to claim their locks: %v", a.Addr, err)
	case !o.OK():
		c.Warnf("sm-notify for %v: %s: %s", a.Addr, o.Ended(), o.Last())
	}
}
