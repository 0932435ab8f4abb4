package phasim

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/haobox/haobox/internal/ksys"
)

// Names are the commands that are simulated.
func Names() []string {
	return []string{"chrsrc", "clRGinfo", "cl_rsh", "clcmd", "clmgr", "ksysmgr", "lslpp", "lspv", "lsrpdomain", "lssrc", "startrpdomain", "startsrc", "stoprpdomain", "stopsrc"}
}

// Files are the nodes' files, by absolute name.
type Files interface {
	Read(node, name string) ([]byte, error)
	Write(node, name string, data []byte) error
}

// Answer is what a command printed, and how it ended.
type Answer struct {
	Stdout, Stderr string
	Code           int
	// Hang says that the command never answers.
	Hang bool
	// Took is the virtual time that it needs.
	Took time.Duration
}

// Exit statuses of the simulation itself.
const (
	codeMissing = 127 // no such command
	codeDown    = 137 // the node is down: its processes are gone
)

// Call is one command on one node.
type Call struct {
	Node string
	Argv []string
	// Scope is CT_MANAGEMENT_SCOPE of its environment.
	Scope string
	Files Files
}

// Exec runs a simulated command. It does not move the time: the caller adds
// Answer.Took.
func (w *World) Exec(c Call) Answer {
	n := w.Node(c.Node)
	if n == nil {
		return Answer{Stderr: fmt.Sprintf("phasim: no node %s\n", c.Node), Code: codeMissing}
	}
	if !n.Up {
		return Answer{Code: codeDown}
	}
	if len(c.Argv) == 0 {
		return Answer{Code: codeMissing}
	}
	name := path.Base(c.Argv[0])
	slow := time.Duration(0)
	if v, ok := w.faultOf(n, "cmd", name+" slow"); ok {
		slow = time.Duration(seconds(v, 5000)) * time.Millisecond
	} else if v, ok := w.faultOf(n, "cmd", name); ok {
		switch {
		case v == "missing":
			return Answer{Stderr: name + ": not found\n", Code: codeMissing}
		case v == "timeout":
			return Answer{Hang: true}
		case v == "garbage":
			return Answer{Stdout: "\x00\xff 0513 ??? \x1b[2J\nSubsystem\n", Took: commandTime}
		case strings.HasPrefix(v, "rc "):
			code, _ := strconv.Atoi(v[3:])
			return Answer{Code: code, Took: commandTime}
		}
	}
	args := c.Argv[1:]
	var a Answer
	switch name {
	case "lssrc":
		a = w.lssrc(n, args)
	case "startsrc", "stopsrc":
		a = w.startstop(n, name, args)
	case "clcmd":
		a = w.clcmd(c, n, args)
	case "clRGinfo":
		a = w.clRGinfo(n, args)
	case "clmgr":
		a = w.clmgr(c, n, args)
	case "lsrpdomain", "startrpdomain", "stoprpdomain":
		a = w.rpdomain(n, name, args)
	case "ksysmgr":
		a = w.ksysmgr(c, n, args)
	case "chrsrc":
		a = w.chrsrc(c, n, args)
	case "lslpp":
		a = lslpp(n, args)
	case "lspv":
		var b strings.Builder
		for _, d := range n.Disks {
			state := ""
			if d.VG == "rootvg" {
				state = "active"
			}
			fmt.Fprintf(&b, "%-15s %-35s %-15s %s\n", d.Name, d.PVID, d.VG, state)
		}
		a = Answer{Stdout: b.String()}
	case "cl_rsh":
		a = w.clrsh(c, n, args)
	case "haobox":
		a = Answer{Stdout: "haobox (simulated)\n"}
	default:
		return Answer{Stderr: name + ": not found\n", Code: codeMissing}
	}
	if a.Took == 0 {
		a.Took = commandTime
	}
	a.Took += slow
	return a
}

const srcHeader = "Subsystem         Group            PID          Status\n"

func srcLine(s *Subsystem) string {
	pid := ""
	if s.PID != 0 {
		pid = strconv.Itoa(s.PID)
	}
	return fmt.Sprintf(" %-16s %-16s %-12s %s\n", s.Name, s.Group, pid, s.State)
}

func notOnFile(name string) Answer {
	return Answer{Stderr: fmt.Sprintf("0513-085 The %s Subsystem is not on file.\n", name), Code: 1}
}

// option returns the word after one of the given options.
func option(args []string, names ...string) (string, bool) {
	for i, a := range args {
		if slices.Contains(names, a) && i+1 < len(args) {
			return args[i+1], true
		}
	}
	return "", false
}

func (w *World) lssrc(n *Node, args []string) Answer {
	if name, ok := option(args, "-ls"); ok {
		return w.longStatus(n, name)
	}
	if name, ok := option(args, "-s"); ok {
		if s := n.subsystem(name); s != nil {
			return Answer{Stdout: srcHeader + srcLine(s)}
		}
		return notOnFile(name)
	}
	group, grouped := option(args, "-g")
	if !grouped && !slices.Contains(args, "-a") {
		return Answer{Stderr: "usage: lssrc -a | -g group | [-l] -s subsystem\n", Code: 1}
	}
	out := srcHeader
	for _, s := range n.Subsys {
		if !grouped || s.Group == group {
			out += srcLine(s)
		}
	}
	return Answer{Stdout: out}
}

func (w *World) longStatus(n *Node, name string) Answer {
	s := n.subsystem(name)
	if s == nil {
		return notOnFile(name)
	}
	down := Answer{Stderr: fmt.Sprintf("0513-036 The request could not be passed to the %s subsystem.\nStart the subsystem and try your command again.\n", name), Code: 1}
	switch name {
	case "clstrmgrES":
		out := "Current state: " + n.Manager + "\nCLversion: 17\nlocal node vrmf is 7221\ncluster fix level is \"1\"\n"
		if n.Last != "" {
			out += "Last event run was " + n.Last + "\n"
		}
		return Answer{Stdout: out}
	case "IBM.ConfigRM":
		if s.State != stateActive || w.has(n, "configrm down") {
			return down
		}
		out := fmt.Sprintf("Subsystem         : IBM.ConfigRM\nPID               : %d\nCluster Name      : %s\nNode Number       : %d\n\nConfigRM specific information\n",
			s.PID, or(w.Peer.Name, "IW"), n.Number)
		leader := w.Node(w.LeaderOf(n))
		if leader != nil && !w.has(n, "leader unknown") {
			line := fmt.Sprintf("GroupLeader: %s, 0x%016x, %d\n", w.FQDN(leader), leader.ID, leader.Number)
			out += "   " + line + "   TieBreaker " + line
		}
		return Answer{Stdout: out}
	}
	if s.State != stateActive {
		return down
	}
	if name == ksys.DaemonName && w.has(n, "vmr hang") {
		return Answer{Hang: true}
	}
	return Answer{Stdout: fmt.Sprintf("Subsystem         : %s\nPID               : %d\n", name, s.PID)}
}

func (w *World) startstop(n *Node, verb string, args []string) Answer {
	name, ok := option(args, "-s")
	if !ok {
		return Answer{Stderr: "usage: " + verb + " -s subsystem\n", Code: 1}
	}
	s := n.subsystem(name)
	if s == nil {
		return notOnFile(name)
	}
	if verb == "startsrc" {
		if name == "clcomd" && w.has(n, "clcomd down") {
			return Answer{Stderr: "0513-017 The clcomd Subsystem could not be started.\n", Code: 1}
		}
		out, errText, code := w.startSubsystem(s)
		return Answer{Stdout: out, Stderr: errText, Code: code}
	}
	level := ""
	for _, l := range []string{"-f", "-c"} {
		if slices.Contains(args, l) {
			level = l
		}
	}
	text, code := w.stopSubsystem(s, level)
	if code != 0 {
		return Answer{Stderr: text, Code: code}
	}
	return Answer{Stdout: text}
}

// dashes31 is the line of dashes around a node's name in clcmd's output.
const dashes31 = "-------------------------------\n"

// clcmd runs a command on every node of the cluster that is up and can be
// reached, the last node first as in the paper's figures. It goes through
// CAA, which a split of the RSCT domain need not cut.
func (w *World) clcmd(c Call, n *Node, args []string) Answer {
	if len(args) == 0 {
		return Answer{Stderr: "usage: clcmd command\n", Code: 1}
	}
	if w.Cluster == nil {
		return Answer{Stderr: "clcmd: This node is not part of a cluster.\n", Code: 1}
	}
	var a Answer
	for _, m := range slices.Backward(w.Nodes) {
		if !m.Up || m != n && m.subsystem("clcomd").State != stateActive {
			continue
		}
		one := w.Exec(Call{Node: m.Name, Argv: args, Scope: c.Scope, Files: c.Files})
		if one.Hang {
			return Answer{Hang: true}
		}
		a.Stdout += "\n" + dashes31 + "NODE " + w.FQDN(m) + "\n" + dashes31 + one.Stdout + one.Stderr
		a.Code = max(a.Code, one.Code)
	}
	return a
}

// clrsh runs a command on another node through clcomd.
func (w *World) clrsh(c Call, n *Node, args []string) Answer {
	if len(args) < 2 {
		return Answer{Stderr: "usage: cl_rsh node command\n", Code: 1}
	}
	m := w.Node(args[0])
	if m == nil || !m.Up || m.subsystem("clcomd").State != stateActive || n.subsystem("clcomd").State != stateActive {
		return Answer{Code: 1}
	}
	return w.Exec(Call{Node: m.Name, Argv: args[1:], Scope: c.Scope, Files: c.Files})
}

// dashes77 is the line of dashes of clRGinfo; its length is an assumption.
const dashes77 = "-----------------------------------------------------------------------------\n"

func (w *World) clRGinfo(n *Node, args []string) Answer {
	if w.Cluster == nil || !strings.HasPrefix(n.Manager, "ST_") {
		return Answer{Stderr: "Cluster IPC error: The cluster manager on node " + n.Name + " is in ST_INIT or NOT_CONFIGURED state and cannot process the IPC request.\n", Code: 1}
	}
	var b strings.Builder
	if slices.Contains(args, "-s") {
		for _, g := range w.Groups {
			for _, p := range g.Nodes {
				fmt.Fprintf(&b, "%s:%s:%s\n", g.Name, p.State, p.Node)
			}
		}
		return Answer{Stdout: b.String()}
	}
	row := func(group, state, node string) {
		b.WriteString(strings.TrimRight(fmt.Sprintf("%-28s %-16s %-14s", group, state, node), " ") + "\n")
	}
	b.WriteString(dashes77)
	row("Group Name", "State", "Node")
	b.WriteString(dashes77)
	for _, g := range w.Groups {
		name := g.Name
		for _, p := range g.Nodes {
			row(name, p.State, p.Node)
			name = ""
		}
	}
	return Answer{Stdout: b.String()}
}

func (w *World) rpdomain(n *Node, verb string, args []string) Answer {
	if verb == "lsrpdomain" {
		if w.Peer.Name == "" {
			return Answer{}
		}
		state := "Offline"
		switch {
		case w.has(n, "domain pending"):
			state = "Pending online"
		case w.Peer.Online && !w.has(n, "domain offline"):
			state = "Online"
		}
		width := max(len(w.Peer.Name), 4)
		return Answer{Stdout: fmt.Sprintf("%-*s %-14s %-17s %-13s %-6s %s\n", width, "Name", "OpState", "RSCTActiveVersion", "MixedVersions", "TSPort", "GSPort") +
			fmt.Sprintf("%-*s %-14s %-17s %-13s %-6s %s\n", width, w.Peer.Name, state, "3.2.4.0", "No", "12347", "12348")}
	}
	if len(args) == 0 || args[len(args)-1] != w.Peer.Name || w.Peer.Name == "" {
		return Answer{Stderr: verb + ": 2632-047 The peer domain does not exist.\n", Code: 2}
	}
	if verb == "startrpdomain" {
		w.Peer.Online = true
		w.Faults = slices.DeleteFunc(w.Faults, func(f Fault) bool { return strings.HasPrefix(f.What, "domain ") })
		return Answer{Took: 5 * time.Second}
	}
	// On a domain that CAA made, stoprpdomain does nothing while the PowerHA
	// cluster exists.
	if w.Cluster == nil {
		w.Peer.Online = false
	}
	return Answer{Took: 2 * time.Second}
}

// ksysmgrRow prints a value at column 22.
func ksysmgrRow(key, value string) string { return fmt.Sprintf("%-20s %s\n", key+":", value) }

func (w *World) ksysmgr(c Call, n *Node, args []string) Answer {
	var words []string
	for _, a := range args {
		if !strings.HasPrefix(a, "-") {
			words = append(words, a)
		}
	}
	if len(words) < 2 {
		return Answer{Stderr: "ERROR: Missing input\n", Code: 3}
	}
	verb, class := words[0], words[1]
	cluster := class == "cl" || class == "cluster" || class == "ksyscluster"
	hosts := class == "hg" || class == "host_group"
	switch {
	case (verb == "q" || verb == "query") && cluster:
		data, err := c.Files.Read(n.Name, ksys.ConfigXML)
		x, perr := ksys.ParseConfigXML(data)
		if err != nil || perr != nil {
			return Answer{Stderr: "ERROR: No ksyscluster found\n", Code: 2}
		}
		out := ksysmgrRow("Name", x.Name) + ksysmgrRow("State", x.State) + ksysmgrRow("Type", x.Type)
		for i, m := range w.Nodes {
			state := "Offline"
			if m.Up {
				state = "Online"
			}
			key := "Ksysnodes:"
			if i > 0 {
				key = ""
			}
			out += fmt.Sprintf("%-20s %s:%d:%s\n", key, m.Name, m.Number, state)
		}
		return Answer{Stdout: out + ksysmgrRow("KsysState", w.FQDN(n)+":Online")}
	case (verb == "q" || verb == "query") && hosts:
		if len(w.Hosts) == 0 {
			return Answer{Stderr: "ERROR: No host group found\n", Code: 2}
		}
		out := ""
		for _, h := range w.Hosts {
			out += ksysmgrRow("Name", h) + "\n"
		}
		return Answer{Stdout: out}
	case verb == "delete" && hosts && len(words) > 2:
		if _, ok := w.faultOf(n, "clmgr fail", "delete host_group"); ok {
			return Answer{Stderr: "ERROR: the host group is in use\n", Code: 1}
		}
		if !slices.Contains(w.Hosts, words[2]) {
			return Answer{Stderr: "ERROR: No host group " + words[2] + "\n", Code: 2}
		}
		w.Hosts = slices.DeleteFunc(w.Hosts, func(h string) bool { return h == words[2] })
		return Answer{Stdout: "Host group " + words[2] + " was removed\n", Took: 10 * time.Second}
	}
	return Answer{Stderr: "ERROR: Bad input\n", Code: 4}
}

func (w *World) chrsrc(c Call, n *Node, args []string) Answer {
	switch {
	case !slices.Equal(args, []string{"-c", "IBM.VMR_SITE", "ClusterType=HA"}):
		return Answer{Stderr: "chrsrc: 2612-001 bad arguments\n", Code: 1}
	case c.Scope != "2":
		return Answer{Stderr: "chrsrc: 2612-024 Could not authenticate user.\n", Code: 1}
	case w.LeaderOf(n) != n.Name:
		return Answer{Stderr: "chrsrc: 2645-300 the change is accepted on the group leader only\n", Code: 1}
	}
	w.KsysHA = true
	return Answer{}
}

func lslpp(n *Node, args []string) Answer {
	if len(args) == 0 {
		return Answer{Code: 1}
	}
	name := args[len(args)-1]
	if !slices.Contains(n.Filesets, name) {
		return Answer{Stderr: "lslpp: 0504-132  Fileset " + name + " not installed.\n", Code: 1}
	}
	version := "1.3.0.2"
	if strings.HasPrefix(name, "cluster.") {
		version = "7.2.2.1"
	}
	return Answer{Stdout: "#Fileset:Level:PTF Id:State:Type:Description:EFIX Locked\n" +
		"/usr/lib/objrepos:" + name + ":" + version + "::COMMITTED:I:simulated fileset:\n"}
}
