package phasim

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/haobox/haobox/internal/ksys"
)

// The times of the story in seconds.
const (
	storyVMCrash   = 300
	storyNodeCrash = 330
	storyReboot    = 240 // how long the node is away
	storyEnd       = 1200
	// vmWork is how long the daemon works on one virtual machine.
	vmWork = 90
)

// errStory: the simulated cluster did not do what the paper tells.
var errStory = errors.New("the story went another way")

// story tells the paper's four steps while a Sim runs.
type story struct {
	w   io.Writer
	err error
	sim *Sim
	// told is how much of the trace was printed.
	told int
	vm   virtualMachine
}

// virtualMachine is the machine that KSYS recovers: the daemon that holds the
// resource group works on it, and one that was restarted goes on.
type virtualMachine struct {
	state string
	// by is the daemon at work, left what it has to do in milliseconds.
	by    int
	left  int64
	since int64
}

// TellStory prints the paper's "VM failure scenario" as a timeline: a managed
// virtual machine crashes, the KSYS node that recovers it crashes too, the
// group leader and the resource group move, and the restart of the daemon
// there resumes the work. The scripts decide with the same code as under
// PowerHA; everything around them is simulated, so the times are virtual and
// the same at every run.
func TellStory(w io.Writer) error {
	world, err := New(Options{Nodes: []string{n1, n2}, Seed: 7001})
	if err != nil {
		return err
	}
	world.Define()
	// The process ids of the paper's figures 5 and 7.
	world.Node(n2).VMR().PID = 15466956
	world.PIDs = []int{13238600, 20840732, 7799180}
	t := &story{w: w, sim: NewSim(world, DefaultSettings(), ksys.DefaultConfig())}
	t.vm.state = "running"
	t.sim.Watch = func(*Sim) { t.work(); t.flush() }
	t.tell()
	return t.err
}

func (t *story) print(format string, args ...any) {
	if t.err == nil {
		_, t.err = fmt.Fprintf(t.w, format, args...)
	}
}

// until runs the simulation until cond holds.
func (t *story) until(what string, cond func(w *World) bool) {
	if t.err != nil {
		return
	}
	met := false
	t.sim.RunUntil(storyEnd*1000, func() bool { met = cond(t.sim.World); return met })
	t.flush()
	if !met {
		t.err = fmt.Errorf("%w: never %s", errStory, what)
	}
}

// flush prints what happened.
func (t *story) flush() {
	for ; t.told < len(t.sim.Trace); t.told++ {
		t.print("%s\n", t.sim.Trace[t.told])
	}
}

func (t *story) say(format string, args ...any) {
	t.print("T+%06d %s\n", t.sim.World.Now/1000, fmt.Sprintf(format, args...))
}

// show prints a command as typed on a node, and what it prints.
func (t *story) show(node, line string, argv ...string) {
	a := t.sim.World.Exec(Call{Node: node, Argv: argv})
	out := strings.TrimLeft(a.Stdout, "\n")
	if _, filter, ok := strings.Cut(line, "| "); ok {
		var kept strings.Builder
		for l := range strings.Lines(out) {
			switch {
			case strings.HasPrefix(filter, "egrep") && (strings.Contains(l, "NODE") || strings.Contains(l, "state")):
				kept.WriteString(l)
			case strings.HasPrefix(filter, "grep -w") && strings.Contains(l, " GroupLeader: ") && kept.Len() == 0:
				_, name, _ := strings.Cut(l, ": ")
				name, _, _ = strings.Cut(name, ",")
				kept.WriteString(name + "\n")
			}
		}
		out = kept.String()
	}
	t.print("\n    (0) root @ %s: /\n    # %s\n", node, line)
	for l := range strings.Lines(out) {
		t.print("    %s", l)
	}
	t.print("\n")
}

const (
	leaderLine  = "lssrc -ls IBM.ConfigRM | grep -w GroupLeader | head -1 | cut -f1 -d',' | cut -f2 -d':'"
	managerLine = `clcmd lssrc -ls clstrmgrES | egrep "NODE|state"`
)

func (t *story) leader(node string) { t.show(node, leaderLine, "lssrc", "-ls", "IBM.ConfigRM") }

// table prints the paper's table of daemon and leader as it is now.
func (t *story) table(title string) {
	w := t.sim.World
	t.print("\n    KSYS node   KSYS daemon   Group leader\n")
	for _, n := range w.Nodes {
		// Stopping is not yet and no more active: the paper's tables know
		// only two words.
		daemon, leader := "Inoperative", "No"
		if n.VMR().State == stateActive {
			daemon = "Active"
		}
		if n.Up && w.LeaderOf(n) == n.Name {
			leader = "Yes"
		}
		t.print("    KSYS %-6s %-13s %s\n", strings.TrimPrefix(n.Name, "ksys"), daemon, leader)
	}
	t.print("    %s\n\n", title)
}

// work lets the daemon that carries the group recover the virtual machine.
func (t *story) work() {
	w := t.sim.World
	owner, online, _ := t.sim.Manager.Group()
	var pid int
	if n := w.Node(owner); online && n != nil && n.Up && n.VMR().State == stateActive {
		pid = n.VMR().PID
	}
	v := &t.vm
	if v.by != 0 && v.state == "recovering" {
		v.left -= w.Now - v.since
	}
	v.since = w.Now
	switch {
	case v.state == "crashed" && pid != 0:
		v.state, v.by, v.left = "recovering", pid, vmWork*1000
		t.say("vm1 restart and cleanup begins: IBM.VMR %d on %s", pid, owner)
	case v.state == "recovering" && v.by != 0 && pid != v.by:
		t.say("vm1 left in the middle of its recovery: %d s are to do", (v.left+999)/1000)
		v.by = 0
		if pid != 0 {
			v.by = pid
			t.say("vm1 restart and cleanup resumes: IBM.VMR %d on %s", pid, owner)
		}
	case v.state == "recovering" && v.by == 0 && pid != 0:
		v.by = pid
		t.say("vm1 restart and cleanup resumes: IBM.VMR %d on %s", pid, owner)
	case v.state == "recovering" && v.by != 0 && v.left <= 0:
		v.state = "running"
		t.say("vm1 running on the next host of its host group")
	}
}

func (t *story) tell() {
	s, w := t.sim, t.sim.World
	t.print("A PowerHA cluster of two KSYS nodes, simulated. Times are virtual; the scripts\ndecide with the code that PowerHA would call.\n\nStep 1: the cluster comes up on the group leader\n\n")
	s.Online()
	t.until("stable with a checked group", func(w *World) bool {
		return strings.Contains(strings.Join(s.Calls, "\n"), n1+" longrunmonksys 0")
	})
	t.show(n1, "clcmd lssrc -s IBM.VMR", "clcmd", "lssrc", "-s", "IBM.VMR")
	t.show(n1, managerLine, "clcmd", "lssrc", "-ls", "clstrmgrES")
	t.leader(n1)
	t.show(n1, "clRGinfo", "clRGinfo")
	t.table("Table 1. Daemon status and group leader identification")

	t.print("Step 2: a virtual machine crashes, then the KSYS node that recovers it\n\n")
	s.at(storyVMCrash*1000, func() {
		t.say("vm1 crashes (kernel debugger on its console)")
		t.vm.state, t.vm.since = "crashed", w.Now
	})
	s.at(storyNodeCrash*1000, func() {
		t.say("HMC: chsysstate -r lpar -o shutdown --immed --restart -n %s", n1)
		w.Inject(Injection{At: w.Now, Node: n1, What: "node reboot", Value: fmt.Sprint(storyReboot)})
		s.notice()
	})
	for at := storyNodeCrash; at < storyEnd; at += 5 {
		s.at(int64(at)*1000, func() {}) // the daemon works without events too
	}
	t.until("the node crashed", func(w *World) bool { return !w.Node(n1).Up })

	t.print("\nStep 3: the group leader and the resource group move\n\n")
	t.until("the leader moved", func(w *World) bool { return w.LeaderOf(w.Node(n2)) == n2 })
	t.table("Table 2. New status of the KSYS daemon and the group leader node")
	t.until("the group is acquired", func(w *World) bool { return w.Placed(ksys.ResourceGroup, n2) == "ACQUIRING" })
	t.show(n2, "clRGinfo", "clRGinfo")
	t.leader(n2)

	t.print("Step 4: the start script restarts the daemon, which resumes the work\n\n")
	t.until("the daemon is stopping", func(w *World) bool { return w.Node(n2).VMR().State == stateStopping })
	t.show(n2, "lssrc -s IBM.VMR", "lssrc", "-s", "IBM.VMR")
	t.table("Table 3. The start script toggles the KSYS daemon on the next group leader")
	t.until("the daemon is active again", func(w *World) bool { return w.Node(n2).VMR().State == stateActive })
	t.show(n2, "lssrc -s IBM.VMR", "lssrc", "-s", "IBM.VMR")
	t.table("Table 3, after the restart")
	t.until("the group is online", func(w *World) bool { return w.Placed(ksys.ResourceGroup, n2) == "ONLINE" })
	t.show(n2, "clRGinfo", "clRGinfo")
	t.until("the virtual machine runs", func(*World) bool { return t.vm.state == "running" })
	t.until("the node is back", func(w *World) bool { return w.Node(n1).Up && w.Node(n1).Manager == "ST_STABLE" })
	t.show(n2, "clcmd lssrc -s IBM.VMR", "clcmd", "lssrc", "-s", "IBM.VMR")
	t.until("the group is checked", func(w *World) bool { return w.Now > 700_000 })
	t.print("\nThe end, as ksysstatus says it\n\n%s", s.Status().Table())
}
