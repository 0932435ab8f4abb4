package zvm

import (
	"fmt"
	"slices"
	"time"

	"github.com/haobox/haobox/internal/fenceagent"
	"github.com/haobox/haobox/internal/smapi"
)

// advanceOn drives the guest to "on": on the member where it was last seen,
// else on the first that answers. One member that says on is enough.
func (c *Core) advanceOn(now time.Time, acts *Actions) {
	if i := slices.IndexFunc(c.members, func(m member) bool { return m.view == on }); i >= 0 {
		c.finish(Outcome{On: true, Already: c.plan.Action == fenceagent.On && !c.activated})
		return
	}
	if !now.Before(c.deadline) {
		c.retryOn(now, acts)
		return
	}
	target := c.activateOn(now)
	waiting := false
	for i := range c.members {
		m := &c.members[i]
		if m.excused || m.busy.ID == 0 && c.lost(now, i) {
			continue
		}
		waiting = true
		switch {
		case m.busy.ID != 0 || m.next.After(now):
		case i == target && m.view == off && (m.changed.IsZero() || now.Sub(m.changed) >= resendAfter):
			c.activated = true
			c.call(now, i, acts, smapi.ImageActivate, "")
		case target < 0 || i == target || m.view != off:
			c.call(now, i, acts, smapi.ImageStatusQuery, "")
		}
	}
	if !waiting || target >= 0 && c.lost(now, target) && c.members[target].busy.ID == 0 {
		c.retryOn(now, acts)
	}
}

// activateOn returns the member to activate on, or -1 while it is not known:
// every member is asked once before a guest is started anywhere.
func (c *Core) activateOn(now time.Time) int {
	best := -1
	for i := range c.members {
		m := &c.members[i]
		switch {
		case m.excused:
		case m.view == off && (best < 0 || i == c.home):
			best = i
		case m.view == unknown && m.fault == nil && m.changed.IsZero(), m.view == goingOff:
			return -1
		}
		if !m.changed.IsZero() {
			return i
		}
	}
	return best
}

// retryOn begins a further attempt or gives up. A reboot succeeds all the
// same: the guest was off, and that is what fencing is for.
func (c *Core) retryOn(now time.Time, acts *Actions) {
	fault := c.onFault()
	c.attempts--
	hopeless := !slices.ContainsFunc(c.members, func(m member) bool { return !m.hopeless })
	if c.attempts > 0 && !hopeless {
		c.startOn(now)
		for i := range c.members {
			c.members[i].view = unknown
		}
		c.advanceOn(now, acts)
		return
	}
	if c.plan.Action == fenceagent.Reboot {
		c.warnf("%v: %s", fenceagent.WaitingOn, fault.Detail)
		c.finish(Outcome{})
		return
	}
	c.fail(fault)
}

// onFault says why the guest is not on.
func (c *Core) onFault() *fenceagent.FaultError {
	for i := range c.members {
		if f := c.members[i].fault; f != nil && (c.members[i].hopeless || len(c.members) == 1) {
			return f
		}
	}
	return &fenceagent.FaultError{Fault: fenceagent.WaitingOn,
		Detail: fmt.Sprintf("guest %s is not logged on after %v", c.plan.Guest, c.plan.PowerTimeout)}
}
