package vmsim

import (
	"strings"
	"time"

	"github.com/haobox/haobox/internal/clusterconf"
	"github.com/haobox/haobox/internal/fenceagent"
	"github.com/haobox/haobox/internal/fenceagent/zvm"
	"github.com/haobox/haobox/internal/fencing"
	"github.com/haobox/haobox/internal/fencing/method"
	"github.com/haobox/haobox/internal/smapi"
)

// Machine is where agents run. After has do called in d, if the machine still
// runs by then; while it is frozen it waits.
type Machine interface {
	After(d time.Duration, do func())
}

// agent is a process of fence_zvmip on a machine: the core of the agent, asking
// the simulated z/VM. It goes on when the daemon that started it is killed.
type agent struct {
	m       Machine
	hv      *Hypervisor
	core    *zvm.Core
	open    map[int]func()
	done    func(zvm.Outcome)
	members []string
	over    bool
	wake    time.Duration
}

// StartAgent starts fence_zvmip on a machine for a guest at some members. done
// is called when it has ended, on the machine, if that still runs. The function
// that is returned kills it.
func (h *Hypervisor) StartAgent(m Machine, members []string, guest, action string, done func(zvm.Outcome)) (kill func()) {
	a := &agent{m: m, hv: h, members: members, open: map[int]func(){}, done: done, core: zvm.NewCore(zvm.Plan{
		// What fence_zvmip has for defaults.
		Action: action, Guest: guest, Members: members, ForceTime: smapi.Immediate, MissingAsOff: true,
		LookLimit: 10 * time.Second, CallLimit: 10 * time.Second, PowerTimeout: 20 * time.Second, PollInterval: time.Second, OnAttempts: 1,
	})}
	// The start of a process takes a moment.
	m.After(5*time.Millisecond, func() { a.step(nil) })
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
	acts := a.core.Step(a.hv.now(), answer)
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
	at := acts.Wake.Sub(a.hv.epoch)
	a.wake = at
	a.m.After(max(at-a.hv.sim.Now(), 0), func() {
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
	hangup := a.hv.Call(a.members[c.Member], req, func(r smapi.Response, err error) {
		a.m.After(time.Millisecond, func() { answer(r, err) })
	})
	a.open[c.ID] = hangup
	a.m.After(c.Limit, func() {
		if !answered && !a.over {
			if h := a.open[c.ID]; h != nil {
				h()
			}
			answer(smapi.Response{}, &smapi.TransportError{Function: c.Function, Kind: smapi.ErrLost, Err: smapi.ErrTimeout})
		}
	})
}

// Input is what an agent reads on standard input, as far as it matters here.
type Input struct {
	Port, Action string
	Members      []string
}

// ReadInput reads it.
func ReadInput(stdin string) Input {
	in := Input{Action: fenceagent.Reboot}
	for line := range strings.Lines(stdin) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		switch key {
		case "port", "plug", "target":
			in.Port = value
		case "action", "option":
			in.Action = value
		case "ipaddr", "ip", "members":
			in.Members = strings.Split(value, ",")
		}
	}
	return in
}

// RunMethods runs the methods that a configuration has for a victim, on a
// machine. program runs an agent and returns what kills it; it calls ended at
// most once. done gets the result; the function that is returned ends all.
func RunMethods(m Machine, now func() time.Time, conf *clusterconf.Config, victim, local string,
	program func(a method.Start, ended func(method.Ended)) (kill func()), done func(fencing.Result)) (kill func(), err error) {
	run, actions, err := method.Fence(now(), conf, victim, method.Options{Local: local})
	if err != nil {
		return nil, err
	}
	killed, end := false, func() {}
	var do func([]method.Action)
	do = func(actions []method.Action) {
		for _, a := range actions {
			switch a := a.(type) {
			case method.Done:
				done(a.Result)
			case method.Start:
				over := false
				step := func(e method.Ended) {
					if over || killed {
						return
					}
					over = true
					end()
					e.ID = a.ID
					do(run.Step(now(), e))
				}
				end = program(a, step)
				m.After(a.Limit, func() { step(method.Ended{Failure: method.TimedOut}) })
			}
		}
	}
	do(actions)
	return func() {
		killed = true
		end()
	}, nil
}
