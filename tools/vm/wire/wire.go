// Package wire is what the host and the init program of a guest say to each
// other: the guest finds a Plan in its initial file system and answers with
// Frames, one JSON object a line, on the virtio port named Port.
package wire

import "time"

// PlanFile is where the guest finds its Plan.
const PlanFile = "/vm-plan.json"

// Port is the name of the virtio serial port that carries the Frames.
const Port = "haobox.vm"

// Plan is what a guest does between its start and its power off.
type Plan struct {
	// Modules are the kernel modules to load, files in the guest, in order.
	Modules []string
	// Commands run one after the other.
	Commands []Command
}

// Command is a program to run in the guest as root.
type Command struct {
	// Args is the argument vector; Args[0] is a path in the guest, or a name
	// found in its PATH.
	Args []string
	// Dir is the working directory; "" is /.
	Dir string
	// Env is added to the guest's environment as KEY=value.
	Env []string
	// Limit ends the command; it has to be above zero.
	Limit time.Duration
}

// Frame is one message from the guest.
type Frame struct {
	// Kind is one of the constants below.
	Kind string
	// Command is the index of the command that it is about.
	Command int `json:",omitempty"`
	// Data is what the command printed.
	Data []byte `json:",omitempty"`
	// Code is the exit status, or 128 + the number of the signal that ended it.
	Code int `json:",omitempty"`
	// TimedOut says that Command.Limit ended it.
	TimedOut bool `json:",omitempty"`
	// Elapsed is the run time as the guest saw it.
	Elapsed time.Duration `json:",omitempty"`
	// Text explains a fault.
	Text string `json:",omitempty"`
}

// The kinds of Frame.
const (
	// Ready: the modules are loaded, the commands follow. Text is the
	// kernel's release.
	Ready = "ready"
	// Stdout and Stderr carry Data.
	Stdout, Stderr = "stdout", "stderr"
	// Exit ends a command.
	Exit = "exit"
	// Fault: the guest cannot go on, Text says why.
	Fault = "fault"
	// Done: the guest powers off.
	Done = "done"
)
