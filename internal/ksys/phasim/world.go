// Package phasim simulates what the KSYS scripts see of AIX, RSCT and
// PowerHA: the commands lssrc, startsrc, stopsrc, clmgr, clcmd, clRGinfo,
// lslpp, lspv, lsrpdomain, startrpdomain, stoprpdomain, ksysmgr and chrsrc
// over one shared World, faults to inject, and the event loop by which
// PowerHA calls the scripts.
//
// A World is data with a virtual time. It lives in memory for tests that run
// thousands of failures, or in a folder (Dir) for commands that run as
// programs. The same seed and the same calls give the same answers.
//
// It simulates what the paper and public documentation say, with the same
// assumptions as the scripts; it proves nothing about a real AIX.
package phasim

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/haobox/haobox/internal/ksys"
)

// epochSeconds is virtual time zero, 2019-04-25 02:02:17 UTC: the day of the
// paper's transcripts.
const epochSeconds = 1556157737

// The durations of the simulated system. Ours: of the order that the paper's
// transcripts and public documentation suggest.
const (
	commandTime   = 60 * time.Millisecond
	stopDelayMin  = 2 * time.Second
	stopDelayMax  = 4 * time.Second
	electDelayMin = 3 * time.Second
	electDelayMax = 8 * time.Second
	flapDelay     = time.Second
	joinTime      = 20 * time.Second
)

// World is the whole simulated environment.
type World struct {
	Seed uint64 `json:"seed"`
	// Rand is the state of the generator.
	Rand uint64 `json:"rand"`
	// Now is the virtual time in milliseconds.
	Now int64 `json:"now_ms"`
	// Real is the wall clock in milliseconds at the last use, when virtual
	// time follows the wall clock.
	Real int64 `json:"real_ms"`
	// Jump is added to what the nodes' clocks show, in milliseconds.
	Jump int64 `json:"jump_ms"`
	// Type is ha or dr, Suffix the nodes' domain.
	Type   string  `json:"type"`
	Suffix string  `json:"suffix"`
	Nodes  []*Node `json:"nodes"`
	// Parts are the halves of the peer domain; without a split there is one.
	Parts   []Part      `json:"parts"`
	Cluster *Cluster    `json:"cluster"`
	Objects []Object    `json:"objects"`
	Groups  []RG        `json:"groups"`
	Peer    Peer        `json:"peer"`
	Hosts   []string    `json:"host_groups"`
	KsysHA  bool        `json:"ksys_ha"`
	Due     []Injection `json:"due"`
	Faults  []Fault     `json:"faults"`
	// PIDs are the next process ids, to repeat a transcript.
	PIDs []int `json:"pids"`
	// Trace has a line per event since it was last taken.
	Trace []string `json:"-"`
}

// Node is one KSYS node.
type Node struct {
	Name   string `json:"name"`
	Number int    `json:"number"`
	// ID is the RSCT node id.
	ID       uint64       `json:"id"`
	Up       bool         `json:"up"`
	Boots    int          `json:"boots"`
	RebootAt int64        `json:"reboot_at_ms"`
	Part     int          `json:"part"`
	Manager  string       `json:"clstrmgr"`
	JoinAt   int64        `json:"join_at_ms"`
	Last     string       `json:"last_event"`
	Subsys   []*Subsystem `json:"subsystems"`
	Filesets []string     `json:"filesets"`
	Disks    []Disk       `json:"disks"`
}

// Subsystem is one row of a node's SRC.
type Subsystem struct {
	Name  string `json:"name"`
	Group string `json:"group"`
	PID   int    `json:"pid"`
	State string `json:"state"`
	// At is when Next begins, in milliseconds; 0 means nothing is due.
	At   int64  `json:"at_ms"`
	Next string `json:"next"`
	// FailStarts is how many starts still end inoperative; Flap lets RMC
	// start it again; Stuck never leaves stopping before StuckUntil.
	FailStarts int   `json:"fail_starts"`
	Flap       bool  `json:"flap"`
	StuckUntil int64 `json:"stuck_until_ms"`
}

// Part is one half of a split peer domain.
type Part struct {
	Leader string `json:"leader"`
	// ElectAt is when a new leader is known; Next is who, "" for the lowest.
	ElectAt int64  `json:"elect_at_ms"`
	Next    string `json:"next"`
}

// Cluster is the PowerHA cluster definition.
type Cluster struct {
	Name      string   `json:"name"`
	Type      string   `json:"type"`
	Nodes     []string `json:"nodes"`
	Heartbeat string   `json:"heartbeat"`
	Synced    bool     `json:"synced"`
	Online    bool     `json:"online"`
}

// Object is a controller, monitor, group, collection, repository or site.
type Object struct {
	Class string `json:"class"`
	Name  string `json:"name"`
	Attrs []Attr `json:"attrs"`
}

// Attr is one attribute.
type Attr struct{ Key, Value string }

// RG is where a resource group is.
type RG struct {
	Name  string      `json:"name"`
	Nodes []Placement `json:"nodes"`
}

// Placement is a group's state on a node.
type Placement struct{ Node, State string }

// Peer is the RSCT peer domain.
type Peer struct {
	Name   string `json:"name"`
	Online bool   `json:"online"`
}

// Disk is one row of lspv.
type Disk struct{ Name, PVID, VG string }

// Options describe a new World.
type Options struct {
	Nodes  []string
	Type   string
	Suffix string
	Seed   uint64
}

// DefaultSuffix is the domain of the paper's nodes.
const DefaultSuffix = "ausprv.stglabs.ibm.com"

// New returns a World with the nodes up, RSCT and the KSYS daemon running,
// and no PowerHA cluster.
func New(o Options) (*World, error) {
	if o.Type == "" {
		o.Type = "ha"
	}
	if o.Type != "ha" && o.Type != "dr" {
		return nil, fmt.Errorf("simulate a cluster of type %q: it is ha or dr", o.Type)
	}
	if len(o.Nodes) < 1 || len(o.Nodes) > 16 {
		return nil, fmt.Errorf("simulate %d nodes: 1 to 16 are possible", len(o.Nodes))
	}
	if o.Suffix == "" {
		o.Suffix = DefaultSuffix
	}
	w := &World{Seed: o.Seed, Rand: o.Seed*0x9e3779b97f4a7c15 + 1, Type: o.Type, Suffix: o.Suffix, Parts: []Part{{}}}
	seen := map[string]bool{}
	for i, name := range o.Nodes {
		name = ksys.FirstLabel(strings.TrimSpace(name))
		if name == "" || seen[name] {
			return nil, fmt.Errorf("simulate node %q: empty or named twice", name)
		}
		seen[name] = true
		n := &Node{Name: name, Number: i + 1, Up: true, Manager: "NOT_CONFIGURED", ID: w.random() | 1}
		for _, s := range [...][2]string{{"IBM.VMR", "rsct_rm"}, {"IBM.ConfigRM", "rsct_rm"}, {"ctrmc", "rsct"}, {"clcomd", "caa"}, {"clstrmgrES", "cluster"}} {
			n.Subsys = append(n.Subsys, &Subsystem{Name: s[0], Group: s[1], PID: w.newPID(), State: stateActive})
		}
		n.Filesets = append(n.Filesets, ksys.Filesets("dr")...)
		n.Filesets = append(n.Filesets, "ksys.hautils.rte", "ksys.ha.license", "ksys.main.msg.en_US.cmds")
		slices.Sort(n.Filesets)
		n.Filesets = slices.Compact(n.Filesets)
		n.Disks = append(n.Disks, Disk{"hdisk0", fmt.Sprintf("00f8309c%08x", uint32(w.random())), "rootvg"})
		for d, pvid := range [...]string{"00f8309c0695258b", "00f8309c0695cc72", "00f8309c0695ccb3", "00f8309c0695ccf0", "00f8309c0695cd39"} {
			n.Disks = append(n.Disks, Disk{fmt.Sprintf("hdisk%d", d+1), pvid, "None"})
		}
		w.Nodes = append(w.Nodes, n)
	}
	w.Parts[0].Leader = w.Nodes[0].Name
	return w, nil
}

// The states of a subsystem as lssrc prints them.
const (
	stateActive   = "active"
	stateDown     = "inoperative"
	stateStopping = "stopping"
)

// random is splitmix64: the next number of the World's own sequence.
func (w *World) random() uint64 {
	w.Rand += 0x9e3779b97f4a7c15
	z := w.Rand
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// between returns a duration from low to high, in milliseconds.
func (w *World) between(low, high time.Duration) int64 {
	l, h := low.Milliseconds(), high.Milliseconds()
	return l + int64(w.random()%uint64(h-l+1))
}

// newPID returns an even number of the size that AIX gives.
func (w *World) newPID() int {
	if len(w.PIDs) > 0 {
		pid := w.PIDs[0]
		w.PIDs = w.PIDs[1:]
		return pid
	}
	return int(4000000+w.random()%16000000) &^ 1
}

// Clock is the virtual time as the nodes' clocks show it.
func (w *World) Clock() time.Time {
	return time.Unix(epochSeconds, 0).Add(time.Duration(w.Now+w.Jump) * time.Millisecond).UTC()
}

// Node returns the node of that name, nil if there is none.
func (w *World) Node(name string) *Node {
	for _, n := range w.Nodes {
		if ksys.SameHost(n.Name, name) {
			return n
		}
	}
	return nil
}

// FQDN is the node's full name.
func (w *World) FQDN(n *Node) string { return n.Name + "." + w.Suffix }

// BootID names the node's current boot.
func (n *Node) BootID() string { return fmt.Sprintf("boot-%s-%d", n.Name, n.Boots) }

// subsystem returns a row of the node's SRC, nil if there is none.
func (n *Node) subsystem(name string) *Subsystem {
	for _, s := range n.Subsys {
		if s.Name == name {
			return s
		}
	}
	return nil
}

// VMR is the node's KSYS daemon.
func (n *Node) VMR() *Subsystem { return n.subsystem(ksys.DaemonName) }

// LeaderOf is the leader that the node sees, "" while there is none.
func (w *World) LeaderOf(n *Node) string {
	if n.Part >= len(w.Parts) {
		return ""
	}
	return w.Parts[n.Part].Leader
}

// nextDue is the earliest time at which something happens by itself.
func (w *World) nextDue() (int64, bool) {
	due, found := int64(0), false
	see := func(t int64) {
		if t > 0 && (!found || t < due) {
			due, found = t, true
		}
	}
	for i := range w.Due {
		see(max(w.Due[i].At, 1))
	}
	for _, p := range w.Parts {
		see(p.ElectAt)
	}
	for _, n := range w.Nodes {
		see(n.RebootAt)
		see(n.JoinAt)
		for _, s := range n.Subsys {
			see(s.At)
		}
	}
	for _, f := range w.Faults {
		see(f.Until)
	}
	return due, found
}

// AdvanceTo moves virtual time to t (milliseconds), with everything that
// happens on the way, in order of time.
func (w *World) AdvanceTo(t int64) {
	for {
		due, found := w.nextDue()
		if !found || due > t {
			break
		}
		w.Now = max(w.Now, due)
		w.happen()
	}
	w.Now = max(w.Now, t)
}

// happen does what is due now.
func (w *World) happen() {
	var run []Injection
	w.Due = slices.DeleteFunc(w.Due, func(i Injection) bool {
		if i.At <= w.Now {
			run = append(run, i)
		}
		return i.At <= w.Now
	})
	for _, i := range run {
		w.apply(i)
	}
	w.Faults = slices.DeleteFunc(w.Faults, func(f Fault) bool { return f.Until > 0 && f.Until <= w.Now })
	for _, n := range w.Nodes {
		if n.RebootAt > 0 && n.RebootAt <= w.Now {
			w.boot(n)
		}
		if n.JoinAt > 0 && n.JoinAt <= w.Now {
			n.JoinAt = 0
			n.Manager = "ST_STABLE"
			w.event(fmt.Sprintf("JOIN_NODE_CO on node %d", n.Number))
		}
		for _, s := range n.Subsys {
			if s.At > 0 && s.At <= w.Now {
				s.At = 0
				w.become(s, s.Next)
			}
		}
	}
	for i := range w.Parts {
		if p := &w.Parts[i]; p.ElectAt > 0 && p.ElectAt <= w.Now {
			p.ElectAt = 0
			w.elect(i)
		}
	}
}

// become gives a subsystem a new state.
func (w *World) become(s *Subsystem, state string) {
	switch state {
	case stateActive:
		if s.FailStarts > 0 {
			s.FailStarts--
			s.State, s.PID = stateDown, 0
			return
		}
		s.State, s.PID = stateActive, w.newPID()
	case stateDown:
		s.State, s.PID = stateDown, 0
		if s.Flap {
			s.At, s.Next = w.Now+flapDelay.Milliseconds(), stateActive
		}
	}
}

// event is what every cluster manager remembers as the last one.
func (w *World) event(text string) {
	for _, n := range w.Nodes {
		if n.Up && n.Manager == "ST_STABLE" {
			n.Last = text
		}
	}
	w.trace("event %s", text)
}

func (w *World) trace(format string, args ...any) {
	w.Trace = append(w.Trace, fmt.Sprintf("T+%06d ", w.Now/1000)+fmt.Sprintf(format, args...))
}

// elect makes the lowest node of a part its leader, or the injected one.
func (w *World) elect(part int) {
	p := &w.Parts[part]
	p.Leader = ""
	for _, n := range w.Nodes {
		if !n.Up || n.Part != part || n.subsystem("IBM.ConfigRM").State != stateActive {
			continue
		}
		if p.Leader == "" || n.Name == p.Next {
			p.Leader = n.Name
		}
	}
	p.Next = ""
	w.trace("leader %s", or(p.Leader, "none"))
}

// loseLeader starts an election.
func (w *World) loseLeader(part int, next string) {
	p := &w.Parts[part]
	p.Leader, p.Next = "", next
	p.ElectAt = w.Now + w.between(electDelayMin, electDelayMax)
}

// crash stops a node; what was on its disks stays.
func (w *World) crash(n *Node) {
	if !n.Up {
		return
	}
	n.Up, n.Manager, n.JoinAt = false, "", 0
	for _, s := range n.Subsys {
		s.State, s.PID, s.At, s.StuckUntil, s.FailStarts = stateDown, 0, 0, 0, 0
	}
	w.trace("crash %s", n.Name)
	if w.LeaderOf(n) == n.Name {
		w.loseLeader(n.Part, "")
	}
}

// boot starts a node: RSCT starts its resource managers, so the KSYS daemon
// is active, as the paper's figure 7 shows it.
func (w *World) boot(n *Node) {
	n.Up, n.RebootAt, n.Part = true, 0, 0
	n.Boots++
	n.Manager = "NOT_CONFIGURED"
	for _, s := range n.Subsys {
		s.State, s.PID, s.At = stateActive, w.newPID(), 0
	}
	if w.Cluster != nil && w.Cluster.Online {
		n.Manager, n.JoinAt = "ST_JOINING", w.Now+joinTime.Milliseconds()
	}
	w.trace("boot %s", n.Name)
	if w.Parts[0].Leader == "" && w.Parts[0].ElectAt == 0 {
		w.loseLeader(0, "")
	}
}

// StopVMR, StartVMR are what stopsrc and startsrc do to the daemon; they
// return the message and the exit status.
func (w *World) stopSubsystem(s *Subsystem, level string) (string, int) {
	switch s.State {
	case stateDown:
		return fmt.Sprintf("0513-004 The Subsystem or Group, %s, is currently inoperative.\n", s.Name), 1
	case stateActive:
		s.State, s.Next = stateStopping, stateDown
		s.At = w.Now + w.between(stopDelayMin, stopDelayMax)
	}
	if s.StuckUntil > w.Now {
		// A process in the kernel: no signal reaches it.
		s.At = s.StuckUntil
	} else if level != "" && s.At == 0 {
		s.At = w.Now + time.Second.Milliseconds()
	}
	return fmt.Sprintf("0513-044 The %s Subsystem was requested to stop.\n", s.Name), 0
}

func (w *World) startSubsystem(s *Subsystem) (string, string, int) {
	switch s.State {
	case stateActive:
		return "", fmt.Sprintf("0513-029 The %s Subsystem is already active.\nMultiple instances are not supported.\n", s.Name), 1
	case stateStopping:
		return "", fmt.Sprintf("0513-015 The %s Subsystem could not be started.\nPlease check subsystem resources and try again later.\n", s.Name), 1
	}
	s.At = 0
	pid := w.newPID()
	if s.FailStarts > 0 {
		s.FailStarts--
	} else {
		s.State, s.PID = stateActive, pid
	}
	return fmt.Sprintf("0513-059 The %s Subsystem has been started. Subsystem PID is %d.\n", s.Name, pid), "", 0
}

// Place sets a resource group's state on a node.
func (w *World) Place(group, node, state string) {
	for i := range w.Groups {
		if w.Groups[i].Name != group {
			continue
		}
		for j := range w.Groups[i].Nodes {
			if w.Groups[i].Nodes[j].Node == node {
				w.Groups[i].Nodes[j].State = state
			}
		}
	}
}

// Placed is a resource group's state on a node, "" if there is no such group.
func (w *World) Placed(group, node string) string {
	for _, g := range w.Groups {
		if g.Name == group {
			for _, p := range g.Nodes {
				if p.Node == node {
					return p.State
				}
			}
		}
	}
	return ""
}

// Define makes the cluster of the paper's setup at once, online, for
// simulations that begin after the setup.
func (w *World) Define() {
	names := make([]string, 0, len(w.Nodes))
	rg := RG{Name: ksys.ResourceGroup}
	for _, n := range w.Nodes {
		names = append(names, n.Name)
		rg.Nodes = append(rg.Nodes, Placement{n.Name, "OFFLINE"})
		n.Manager = "ST_STABLE"
		n.Last = fmt.Sprintf("JOIN_NODE_CO on node %d", w.Nodes[len(w.Nodes)-1].Number)
	}
	typ := "NSC"
	if w.Type == "dr" {
		typ = "LC"
	}
	w.Cluster = &Cluster{Name: names[0] + "_cluster", Type: typ, Nodes: names, Heartbeat: "unicast", Synced: true, Online: true}
	w.Peer = Peer{Name: w.Cluster.Name, Online: true}
	w.Groups = []RG{rg}
	w.Objects = []Object{{"resource_group", ksys.ResourceGroup, []Attr{{"NODES", strings.Join(names, " ")}, {"APPLICATIONS", ksys.Controller}}}}
}

func or(a, b string) string {
	if a == "" {
		return b
	}
	return a
}
