package zvm

import (
	"slices"
	"time"

	"github.com/haobox/haobox/internal/fenceagent"
	"github.com/haobox/haobox/internal/smapi"
)

// startVerify asks the directory whether a guest exists that every member
// calls off and that was never seen on. For a misspelt name z/VM gives the
// same answer as for a guest that is off: without this, fencing a typing
// error would succeed.
func (c *Core) startVerify() {
	c.stage = stageVerify
	missing := slices.ContainsFunc(c.members, func(m member) bool { return m.missing })
	switch {
	case c.plan.Verify == VerifyAuto && c.plan.MissingExplicit && c.plan.MissingAsOff,
		c.plan.Verify == VerifyNever && !missing:
		c.directory = guestKnown
	case c.plan.Verify == VerifyNever:
		c.directory = cannotAsk
	}
}

// advanceVerify goes on when the directory has answered, or asks it.
func (c *Core) advanceVerify(now time.Time, acts *Actions) {
	switch c.directory {
	case guestKnown:
		c.verified(now)
	case guestUnknown:
		c.fail(&fenceagent.FaultError{Fault: fenceagent.StatusUnknown,
			Detail: "no guest " + c.plan.Guest + " in the directory: refusing to report it as fenced"})
	case cannotAsk:
		switch {
		case c.plan.Verify == VerifyAlways:
			c.fail(&fenceagent.FaultError{Fault: fenceagent.StatusUnknown,
				Detail: "guest " + c.plan.Guest + " is not active, and the directory cannot be asked whether it exists, as verify_plug=1 demands"})
		case !c.plan.MissingAsOff:
			c.fail(&fenceagent.FaultError{Fault: fenceagent.StatusUnknown,
				Detail: "guest " + c.plan.Guest + " is not active, and it is not known whether it exists; missing_as_off=1 would accept that"})
		default:
			if c.plan.Verify != VerifyNever {
				c.warnf("guest %s is not active; the directory could not be asked whether it exists (a misspelt name looks the same)", c.plan.Guest)
			}
			c.verified(now)
		}
	default:
		switch {
		case !now.Before(c.deadline):
			c.directory, c.query = cannotAsk, Call{}
			c.advanceVerify(now, acts)
		case c.query.ID == 0:
			function, target := smapi.ImageNameQueryDM, ""
			if c.directory == askEntry {
				function, target = smapi.ImageQueryDM, c.plan.Guest
			}
			first := slices.IndexFunc(c.members, func(m member) bool { return m.view == off })
			c.deadline = now.Add(c.plan.CallLimit)
			c.query = c.newCall(now, first, function, target, "")
			acts.Calls = append(acts.Calls, c.query)
		}
	}
}

// verified goes on with a guest that is off and exists, as far as can be
// known.
func (c *Core) verified(now time.Time) {
	if c.plan.Action == fenceagent.Status {
		c.finish(Outcome{})
		return
	}
	c.offProven(now)
}

// answerDirectory takes in the answer to Image_Name_Query_DM, the list of
// all entries, or Image_Query_DM, the guest's own. The list comes first: an
// entry holds the guest's logon password.
func (c *Core) answerDirectory(q Call, a *Answer) {
	res := result{q.Function, a.Return, a.Reason}
	listed := contains(a.Names, c.plan.Guest)
	switch names := q.Function == smapi.ImageNameQueryDM; {
	case names && a.Err == nil && res.is(0, 0) && listed:
		c.directory = guestKnown
	case names && a.Err == nil && res.is(0, 0) && len(a.Names) > 0:
		c.directory = guestUnknown
	case names:
		c.directory = askEntry
	case a.Err == nil && res.ret == 0:
		c.directory = guestKnown
	case a.Err == nil && (res.is(400, 4) || res.is(200, 4)):
		c.directory = guestUnknown
	default:
		c.directory = cannotAsk
	}
}
