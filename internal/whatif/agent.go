package whatif

import (
	"strings"
	"time"

	"github.com/haobox/haobox/internal/fenceagent"
	"github.com/haobox/haobox/internal/fenceagent/zvm"
	"github.com/haobox/haobox/internal/fencing"
	"github.com/haobox/haobox/internal/fencing/method"
	"github.com/haobox/haobox/internal/smapi"
)

// agent is a process of fence_zvmip on a machine: the core of the agent, asking
// the simulated z/VM. It goes on when the daemon that started it is killed.
type agent struct {
	m       *Machine
	core    *zvm.Core
	open    map[int]func()
	done    func(zvm.Outcome)
	members []string
	over    bool
	wake    time.Duration
}

// startAgent starts fence_zvmip for a guest at some members. done is called when
// it has ended, on the machine, if that still runs. The function that is returned
// kills it.
func startAgent(m *Machine, members []string, guest, action string, done func(zvm.Outcome)) (kill func()) {
	a := &agent{m: m, members: members, open: map[int]func(){}, done: done, core: zvm.NewCore(zvm.Plan{
		// What fence_zvmip has for defaults.
		Action: action, Guest: guest, Members: members, ForceTime: smapi.Immediate, MissingAsOff: true,
		LookLimit: 10 * time.Second, CallLimit: 10 * time.Second, PowerTimeout: 20 * time.Second, PollInterval: time.Second, OnAttempts: 1,
	})}
	// The start of a process takes a moment.
	m.after(5*time.Millisecond, func() { a.step(nil) })
	return a.end
}

func (a *agent) end() {
	if a.over {
		return
	}
	a.over = true
	for id := 1; len(a.open) > 0; id++ { // in order: the story must not depend on the map's
		if hangup := a.open[id]; hangup != nil {
			delete(a.open, id)
			hangup()
		}
	}
}

func (a *agent) step(answer *zvm.Answer) {
	if a.over {
		return
	}
	w := a.m.World
	acts := a.core.Step(w.Now(), answer)
	if acts.Done != nil {
		a.end()
		a.done(*acts.Done)
		return
	}
	for _, c := range acts.Calls {
		a.call(c)
	}
	if acts.Wake.IsZero() {
		return
	}
	at := acts.Wake.Sub(epoch)
	a.wake = at
	a.m.after(max(at-w.Sim.Now(), 0), func() {
		if a.wake == at {
			a.step(nil)
		}
	})
}

func (a *agent) call(c zvm.Call) {
	req := smapi.Request{Function: c.Function, Target: c.Target}
	switch c.Function {
	case smapi.ImageDeactivate:
		req.Params = smapi.AppendString(nil, c.Param)
	case smapi.ImageNameQueryDM:
		req.Target = smapiUser
	case smapi.ImageQueryActivateTime:
		req.Params = []byte{byte(smapi.DateYYYYMMDD)}
	}
	answered := false
	answer := func(resp smapi.Response, err error) {
		if answered || a.over {
			return
		}
		answered = true
		delete(a.open, c.ID)
		ans := zvm.Answer{ID: c.ID, Return: resp.Return, Reason: resp.Reason, Err: err}
		if err == nil && resp.Return == 0 {
			switch c.Function {
			case smapi.ImageStatusQuery, smapi.ImageNameQueryDM:
				ans.Names, err = smapi.DecodeNameArray(resp.Data)
			case smapi.ImageQueryActivateTime:
				var t smapi.ActivateTime
				if t, err = smapi.DecodeActivateTime(resp.Data); err == nil {
					ans.Names = []string{t.Date, t.Time}
				}
			}
			if err != nil {
				ans.Err = &smapi.TransportError{Function: c.Function, Kind: smapi.ErrProtocol, Err: err}
			}
		}
		a.step(&ans)
	}
	hangup := a.m.World.HV.Call(a.members[c.Member], req, func(r smapi.Response, err error) {
		a.m.after(time.Millisecond, func() { answer(r, err) })
	})
	a.open[c.ID] = hangup
	a.m.after(c.Limit, func() {
		if !answered && !a.over {
			if h := a.open[c.ID]; h != nil {
				h()
			}
			answer(smapi.Response{}, &smapi.TransportError{Function: c.Function, Kind: smapi.ErrLost, Err: smapi.ErrTimeout})
		}
	})
}

// program runs an agent by its name with what it reads on standard input. The
// second one is a bad one, as they are found: it may say that a guest is off
// without having done anything, but its status is right.
func program(m *Machine, name, stdin string, done func(method.Ended)) (kill func()) {
	w := m.World
	port, action, members := "", fenceagent.Reboot, []string(nil)
	for line := range strings.Lines(stdin) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		switch key {
		case "port":
			port = value
		case "action":
			action = value
		case "ipaddr":
			members = strings.Split(value, ",")
		}
	}
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
	return startAgent(m, members, port, action, func(o zvm.Outcome) {
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
	run, actions, err := method.Fence(m.World.Now(), m.World.conf, victim.Name, method.Options{Local: m.Name})
	if err != nil {
		m.World.Violate("%s: %v", m.Name, err)
		return func() {}
	}
	killed, end := false, func() {}
	var do func([]method.Action)
	do = func(actions []method.Action) {
		for _, a := range actions {
			switch a := a.(type) {
			case method.Done:
				done(a.Result)
			case method.Start:
				ended := false
				step := func(e method.Ended) {
					if ended || killed {
						return
					}
					ended = true
					end()
					e.ID = a.ID
					do(run.Step(m.World.Now(), e))
				}
				end = program(m, a.Agent, string(a.Stdin), step)
				m.after(a.Limit, func() { step(method.Ended{Failure: method.TimedOut}) })
			}
		}
	}
	do(actions)
	return func() {
		killed = true
		end()
	}
}
