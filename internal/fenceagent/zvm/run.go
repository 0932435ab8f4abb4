package zvm

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/haobox/haobox/internal/fenceagent"
	"github.com/haobox/haobox/internal/smapi"
	"github.com/haobox/haobox/platform"
)

// device is the z/VM systems that an agent was pointed at.
type device struct {
	// names are the addresses as given, for messages.
	names   []string
	clients []*smapi.Client
	// self is the target of functions that are about no guest.
	self  string
	clock platform.Clock
	log   *logger
}

// errInterrupted ends an operation when the agent is told to stop.
var errInterrupted = errors.New("interrupted by a signal before the result was known")

// fence runs the core for one plan against the device: it sends the calls
// that the core asks for, each in a goroutine, and feeds back the answers. It
// returns when the core is done or ctx is, and no goroutine is left then.
func (d *device) fence(ctx context.Context, p Plan) Outcome {
	ctx, cancel := context.WithCancel(ctx)
	var calls sync.WaitGroup
	defer calls.Wait()
	defer cancel()
	// Room for one call per member and one of the operation's own, so that
	// no goroutine waits for a reader that is gone.
	answers := make(chan Answer, len(d.clients)+1)
	core := NewCore(p)
	var answer *Answer
	for {
		acts := core.Step(d.clock.Now(), answer)
		for _, w := range acts.Warnings {
			d.log.warn(w)
		}
		if acts.Done != nil {
			return *acts.Done
		}
		for _, call := range acts.Calls {
			calls.Go(func() { answers <- d.send(ctx, call) })
		}
		wake, stop := d.clock.After(acts.Wake.Sub(d.clock.Now()))
		select {
		case a := <-answers:
			answer = &a
		case <-wake:
			answer = nil
		case <-ctx.Done():
			stop()
			return Outcome{Err: &fenceagent.FaultError{Fault: fenceagent.GenericError, Detail: errInterrupted.Error()}}
		}
		stop()
	}
}

// send makes one call and reports what became of it.
func (d *device) send(ctx context.Context, call Call) Answer {
	ctx, cancel := context.WithTimeout(ctx, call.Limit)
	defer cancel()
	req := smapi.Request{Function: call.Function, Target: call.Target}
	switch call.Function {
	case smapi.ImageDeactivate:
		req.Params = smapi.AppendString(nil, call.Param)
	case smapi.ImageNameQueryDM:
		req.Target = d.self
	case smapi.ImageQueryActivateTime:
		req.Params = []byte{byte(smapi.DateYYYYMMDD)} // any would do: they are only compared
	}
	return d.do(ctx, call.ID, call.Member, req)
}

// do sends a request to a member and reads from the answer what the core
// needs. An answer that says success and cannot be read is no answer.
func (d *device) do(ctx context.Context, id, member int, req smapi.Request) Answer {
	started := d.clock.Now()
	resp, err := d.clients[member].Do(ctx, req)
	a := Answer{ID: id, Return: resp.Return, Reason: resp.Reason, Err: err}
	if err == nil && resp.Return == 0 {
		switch req.Function {
		case smapi.ImageStatusQuery, smapi.ImageNameQueryDM:
			a.Names, err = smapi.DecodeNameArray(resp.Data)
		case smapi.ImageQueryActivateTime:
			var t smapi.ActivateTime
			if t, err = smapi.DecodeActivateTime(resp.Data); err == nil {
				a.Names = []string{t.Date, t.Time}
			}
		case smapi.SSIQuery:
			var ssi smapi.SSI
			ssi, err = smapi.DecodeSSI(resp.Data)
			for _, m := range ssi.Members {
				a.Names = append(a.Names, m.State)
			}
		}
		if err != nil {
			a.Err = &smapi.TransportError{Function: req.Function, Target: req.Target, Kind: smapi.ErrProtocol, Err: err}
		}
	}
	d.log.exchange(d.names[member], req, a, d.clock.Now().Sub(started))
	return a
}

// monitor asks every member whether the credentials are good.
func (d *device) monitor(ctx context.Context, ignoreSilent bool) error {
	heard := 0
	for i := range d.clients {
		a := d.do(ctx, 0, i, smapi.Request{Function: smapi.CheckAuthentication})
		if r := (result{smapi.CheckAuthentication, a.Return, a.Reason}); a.Err == nil && (r.is(900, 12) || a.Return == 24) {
			// A server that does not know it, or not without a user id.
			a = d.do(ctx, 0, i, smapi.Request{Function: smapi.QueryAPIFunctionalLevel, Target: d.self})
		}
		switch {
		case a.Err != nil && ignoreSilent && len(d.clients) > 1 && errors.Is(a.Err, smapi.ErrConnect):
			d.log.warn(transportFault(d.names[i], a.Err).Detail)
			continue
		case a.Err != nil:
			return transportFault(d.names[i], a.Err)
		case a.Return != 0:
			f := result{smapi.CheckAuthentication, a.Return, a.Reason}.fault(d.where(i))
			return f
		}
		heard++
	}
	if heard == 0 {
		return &fenceagent.FaultError{Fault: fenceagent.LoginDenied, Detail: "no member of the SSI cluster answers"}
	}
	if len(d.clients) == 1 {
		d.hintSSI(ctx)
	}
	return nil
}

// hintSSI puts a line into the log if a device with one address turns out to
// be a member of an SSI cluster: its "off" does not say that the guest is not
// running on another member.
func (d *device) hintSSI(ctx context.Context) {
	a := d.do(ctx, 0, 0, smapi.Request{Function: smapi.SSIQuery, Target: "ALL"})
	if a.Err == nil && a.Return == 0 && len(a.Names) > 1 {
		d.log.hint("this z/VM system is a member of an SSI cluster; name the addresses of all members in ip, separated by commas, so that off is proven on every one")
	}
}

func (d *device) where(i int) string {
	if len(d.names) == 1 {
		return ""
	}
	return "member " + d.names[i] + ": "
}

// guest is one line of list and list-status.
type guest struct {
	name string
	on   bool
}

// listBusy is how often list asks again after a while when the directory
// manager is busy (592), and the pause in between.
const (
	listBusyTries = 10
	listBusyPause = time.Second
)

// list returns all guests of the directory and those that are active, sorted
// by name. Any member that does not answer fully is an error: a list with
// holes looks like guests that do not exist.
func (d *device) list(ctx context.Context, ignoreSilent bool) ([]guest, error) {
	var guests []guest
	add := func(name string, on bool) {
		i, found := slices.BinarySearchFunc(guests, name, func(g guest, n string) int {
			switch {
			case g.name < n:
				return -1
			case g.name > n:
				return 1
			}
			return 0
		})
		if !found {
			guests = slices.Insert(guests, i, guest{name: name})
		}
		guests[i].on = guests[i].on || on
	}
	heard := 0
	for i := range d.clients {
		for _, req := range []smapi.Request{
			{Function: smapi.ImageStatusQuery, Target: "*"},
			{Function: smapi.ImageNameQueryDM, Target: d.self},
		} {
			a, err := d.patient(ctx, i, req)
			if err != nil && ignoreSilent && len(d.clients) > 1 && errors.Is(a.Err, smapi.ErrConnect) {
				d.log.warn(err.Error())
				break
			}
			if err != nil {
				return nil, err
			}
			heard++
			for _, n := range a.Names {
				add(trimName(n), req.Target == "*")
			}
		}
	}
	if heard == 0 {
		return nil, &fenceagent.FaultError{Fault: fenceagent.LoginDenied, Detail: "no member of the SSI cluster answers"}
	}
	return guests, nil
}

// patient makes a list call, again while the answer is that the work goes on.
func (d *device) patient(ctx context.Context, i int, req smapi.Request) (Answer, error) {
	for try := 1; ; try++ {
		a := d.do(ctx, 0, i, req)
		r := result{req.Function, a.Return, a.Reason}
		switch {
		case a.Err != nil:
			return a, transportFault(d.names[i], a.Err)
		case a.Return == 0:
			return a, nil
		case smapi.Classify(r.function, r.ret, r.reason) == smapi.Started && try < listBusyTries:
			if err := d.clock.Sleep(ctx, listBusyPause); err != nil {
				return a, &fenceagent.FaultError{Fault: fenceagent.GenericError, Detail: errInterrupted.Error()}
			}
		default:
			return a, r.fault(d.where(i))
		}
	}
}
