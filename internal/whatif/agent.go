package whatif

import (
	"time"

	"github.com/haobox/haobox/internal/fenceagent"
	"github.com/haobox/haobox/internal/fenceagent/zvm"
	"github.com/haobox/haobox/internal/smapi"
)

// agent is a process of fence_zvmip on a machine: the core of the agent, asking
// the simulated z/VM. It goes on when the daemon that started it is killed.
type agent struct {
	m    *Machine
	core *zvm.Core
	open map[int]func()
	done func(*fenceagent.FaultError)
	over bool
	wake time.Duration
}

// startAgent starts an agent for a guest. done is called when it has ended, on
// the machine, if that still runs. The function that is returned kills it.
func startAgent(m *Machine, guest, action string, done func(*fenceagent.FaultError)) (kill func()) {
	a := &agent{m: m, open: map[int]func(){}, done: done, core: zvm.NewCore(zvm.Plan{
		// What fence_zvmip has for defaults.
		Action: action, Guest: guest, Members: m.World.HV.Members, ForceTime: smapi.Immediate, MissingAsOff: true,
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
		a.done(acts.Done.Err)
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
	hangup := a.m.World.HV.Call(a.m.World.HV.Members[c.Member], req, func(r smapi.Response, err error) {
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
