package main

import "path/filepath"

// The user of the simulated z/VM.
const (
	user     = "CMANAGER"
	password = "SECRET"
)

// theirs is the Python agent of Debian's fence-agents.
const theirs = "/usr/sbin/fence_zvmip"

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
	return []bench{
		{name: "metadata", ours: []string{ours, "-o", "metadata"}, other: []string{theirs, "-o", "metadata"}},
		agent("status", quick, "status"),
		agent("list", quick, "list"),
		agent("off", quick, "off"),
		agent("reboot", quick, "reboot"),
		agent("off_slow_zvm", slow, "off"),
		agent("reboot_slow_zvm", slow, "reboot"),
	}
}
