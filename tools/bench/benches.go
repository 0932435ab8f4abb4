package main

import "path/filepath"

// The user of the simulated z/VM.
const (
	user     = "CMANAGER"
	password = "SECRET"
)

// theirs is the Python agent of Debian's fence-agents.
const theirs = "/usr/sbin/fence_zvmip"

// theirIP is the shell agent of Debian's resource-agents.
const theirIP = "/usr/lib/ocf/resource.d/heartbeat/IPaddr2"

// benches are the pairs, for the folder of our commands and the ports of a
// simulated z/VM that acts at once and of one with the delays of a real one,
// where much of the wall time is z/VM's own. A new pair is a new element.
func benches(links, quick, slow string) []bench {
	ours := filepath.Join(links, "fence_zvmip")
	agent := func(name, port, action string) bench {
		args := func(program, action string) []string {
			return []string{program, "-a", "127.0.0.1", "-u", port, "-l", user, "-p", password, "--disable-ssl", "-n", "CNODE1", "-o", action}
		}
		return bench{name: name, before: args(ours, "on"), ours: args(ours, action), other: args(theirs, action)}
	}
	// The address is on v0 of a network namespace; ours asks there whether
	// somebody has it, for 0.06 s, in which it uses no processor.
	const address, instance = "192.0.2.9", "OCF_RESOURCE_INSTANCE=vip"
	ipAgent := func(name, action string, before ...string) bench {
		return bench{name: name, before: before, net: true,
			ours: []string{filepath.Join(links, "ip"), action}, other: []string{theirIP, action},
			env: []string{instance, "OCF_ROOT=/usr/lib/ocf", "OCF_RESKEY_address=" + address + "/24",
				"OCF_RESKEY_ip=" + address, "OCF_RESKEY_cidr_netmask=24", "OCF_RESKEY_nic=v0", "OCF_RESKEY_CRM_meta_interval=10000"}}
	}
	return []bench{
		{name: "metadata", ours: []string{ours, "-o", "metadata"}, other: []string{theirs, "-o", "metadata"}},
		agent("status", quick, "status"),
		agent("list", quick, "list"),
		agent("off", quick, "off"),
		agent("reboot", quick, "reboot"),
		agent("off_slow_zvm", slow, "off"),
		agent("reboot_slow_zvm", slow, "reboot"),
		ipAgent("ip_metadata", "meta-data"),
		ipAgent("ip_status", "monitor", "ip", "address", "replace", address+"/24", "dev", "v0"),
		ipAgent("ip_start", "start", "ip", "address", "flush", "dev", "v0", "to", address),
	}
}
