// Package agents holds haobox's own resource agents: what start, stop and
// status of an address, a file system or a web server are. An agent is a
// value of type Agent; the same value serves three dialects:
//
//   - rgmanager runs it as /usr/share/cluster/NAME.sh, with the parameters in
//     OCF_RESKEY_*, the check level in OCF_CHECK_LEVEL and an otherwise empty
//     environment; the metadata is that of rgmanager.
//   - Pacemaker runs it as /usr/lib/ocf/resource.d/haobox/NAME, an OCF agent
//     (OCF resource agent API 1.0): monitor of a resource that is not running
//     gives 7, and the metadata has what OCF asks for.
//   - rgmanager's own process calls it, without any program, if the action
//     can not block (Agent.InProcess).
//
// An agent sees the machine through its Call: parameters, files, programs with
// a limit, time, and messages for the log. What needs system calls (netlink,
// D-Bus, reboot) is an interface that the agent's constructor takes; the
// applet hands in the leaf of package platform.
//
// To add an agent: its metadata is conf/agents/NAME.sh.xml; write NAME.go here
// with a function that returns the *Agent; an applet folder applets/NAME.sh
// calls Main with it.
package agents
