//go:build linux

package cmantool

import (
	"context"
	"net"
	"net/netip"

	"github.com/haobox/haobox/internal/clusterconf"
	"github.com/haobox/haobox/internal/cman"
)

// local finds this node in the configuration, and checks that its name stands
// for an address of this machine.
func (t *tool) local(cfg *clusterconf.Config) (string, error) {
	host, err := t.env.Hostname()
	if err != nil {
		return "", t.die("ask for the host name: %v", err)
	}
	wanted := t.setting("n", "CMAN_NODENAME")
	if len(wanted) > maxName {
		return "", t.die("node name %s is longer than %d characters", wanted, maxName)
	}
	n := cman.Names{Wanted: wanted, Host: host, Local: localAddresses(), Reverse: t.reverse, Lookup: t.lookup}
	var all []string
	for _, node := range cfg.Nodes {
		all = append(all, node.Name)
	}
	name, found := cman.FindLocal(all, n)
	if !found {
		return "", t.die("Cannot find node name in cluster.conf")
	}
	if !cman.Resolves(name, n) {
		return "", t.die("node name %s does not stand for an address of this machine; correct /etc/hosts or the interfaces", name)
	}
	return name, nil
}

func localAddresses() (out []netip.Addr) {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	for _, a := range all {
		if p, err := netip.ParsePrefix(a.String()); err == nil && !p.Addr().IsLoopback() {
			out = append(out, p.Addr().Unmap())
		}
	}
	return out
}

func (t *tool) reverse(a netip.Addr) []string {
	ctx, cancel := context.WithTimeout(t.ctx, lookupLimit)
	defer cancel()
	names, err := net.DefaultResolver.LookupAddr(ctx, a.String())
	if err != nil {
		return nil
	}
	return names
}

func (t *tool) lookup(name string) []netip.Addr {
	ctx, cancel := context.WithTimeout(t.ctx, lookupLimit)
	defer cancel()
	all, err := net.DefaultResolver.LookupNetIP(ctx, "ip", name)
	if err != nil {
		return nil
	}
	return all
}
