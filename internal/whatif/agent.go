package whatif

import (
	"time"

	"github.com/haobox/haobox/internal/fenceagent"
	"github.com/haobox/haobox/internal/fenceagent/zvm"
	"github.com/haobox/haobox/internal/fencing"
	"github.com/haobox/haobox/internal/fencing/method"
	"github.com/haobox/haobox/internal/whatif/vmsim"
)

// program runs an agent by its name with what it reads on standard input. The
// second one is a bad one, as they are found: it may say that a guest is off
// without having done anything, but its status is right.
func program(m *Machine, name, stdin string, done func(method.Ended)) (kill func()) {
	w := m.World
	in := vmsim.ReadInput(stdin)
	action := in.Action
	fail := func(e method.Ended) func() {
		m.after(5*time.Millisecond, func() { done(e) })
		return func() {}
	}
	if !w.Mended && !w.Scn.Split {
		switch w.Rand.IntN(20) {
		case 0:
			return fail(method.Ended{Failure: method.CannotExec, Detail: "no such file"})
		case 1:
			return fail(method.Ended{Failure: method.Killed})
		case 2:
			return func() {} // hangs
		}
	}
	if name == badAgent && action != fenceagent.Status && w.Rand.IntN(2) == 0 {
		return fail(method.Ended{})
	}
	return w.HV.StartAgent(m, in.Members, in.Port, action, func(o zvm.Outcome) {
		e := method.Ended{}
		switch {
		case o.Err != nil:
			e.Exit, e.Detail = 1, o.Err.Error()
		case action == fenceagent.Status && !o.On:
			e.Exit = 2
		}
		done(e)
	})
}

const badAgent = "fence_old"

// runMethods runs the methods of a victim on a machine.
func runMethods(m, victim *Machine, done func(fencing.Result)) (kill func()) {
	kill, err := vmsim.RunMethods(m, m.World.Now, m.World.conf, victim.Name, m.Name, func(a method.Start, ended func(method.Ended)) func() {
		return program(m, a.Agent, string(a.Stdin), ended)
	}, done)
	if err != nil {
		m.World.Violate("%s: %v", m.Name, err)
		return func() {}
	}
	return kill
}
