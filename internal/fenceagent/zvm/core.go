package zvm

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/haobox/haobox/internal/fenceagent"
	"github.com/haobox/haobox/internal/smapi"
)

// Pacing of the calls. SMAPI gives no event when a guest goes off, so the
// core asks: at first quickly, because most guests are gone within a fraction
// of a second, then less and less often up to Plan.PollInterval. A pause is an
// eighth longer than the one before it, so that it is about an eighth of the
// time waited so far: that is how much later than z/VM the agent knows.
const (
	firstPause  = 20 * time.Millisecond
	pauseGrowth = 8
	// resendAfter is when a Deactivate or Activate that was accepted, but
	// shows no effect, is sent once more. Both are idempotent.
	resendAfter = 5 * time.Second
	// cyclePause is the longest pause while a Recycle is to be proven: the
	// guest may be off for a moment only.
	cyclePause = 200 * time.Millisecond
)

// Verify says when an "off" of a guest that was never seen on is believed.
// z/VM answers "not active" for a misspelt name as well.
type Verify int

const (
	// VerifyAuto asks the directory and believes it; if it cannot be asked,
	// Plan.MissingAsOff decides.
	VerifyAuto Verify = iota
	// VerifyAlways fails if the directory cannot be asked.
	VerifyAlways
	// VerifyNever does not ask.
	VerifyNever
)

// Unreachable says what a member of an SSI cluster means that does not
// answer.
type Unreachable int

const (
	// UnreachableFails: the guest could be running there, so off is not
	// proven.
	UnreachableFails Unreachable = iota
	// UnreachableIgnored: the members that answer decide. A guest that runs
	// on the silent member is then reported as off.
	UnreachableIgnored
	// UnreachableDown: the members that answer decide if SSI_Query says that
	// as many members are down as are silent. Which one it is cannot be told
	// by its address, and the layout of the answer is an assumption.
	UnreachableDown
)

// Plan is what is to be done to one guest.
type Plan struct {
	// Action is one of fenceagent.On, Off, Reboot and Status.
	Action string
	Guest  string
	// Members name the z/VM systems in messages; calls use their index. More
	// than one are the members of an SSI cluster: the guest may run on any.
	Members []string
	// Cycle reboots by Image_Recycle.
	Cycle bool
	// ForceTime is the force_time of Image_Deactivate; "IMMED" forces.
	ForceTime    string
	Verify       Verify
	MissingAsOff bool
	// MissingExplicit says that MissingAsOff was asked for, not a default.
	MissingExplicit bool
	Unreachable     Unreachable
	// LookLimit is how long a member is asked again that has not answered yet;
	// the last call may take CallLimit more.
	LookLimit time.Duration
	// CallLimit bounds one call.
	CallLimit time.Duration
	// PowerTimeout bounds the time until the guest is off, and again until
	// it is on.
	PowerTimeout time.Duration
	// PowerWait is a pause after each accepted Deactivate and Activate.
	PowerWait time.Duration
	// PollInterval is the longest pause between two status calls.
	PollInterval time.Duration
	// OnAttempts is how often the way to "on" is tried, at least 1.
	OnAttempts int
}

// Call is a request that the core wants sent. Its answer, whatever it is,
// comes back in an Answer with the same ID.
type Call struct {
	ID       int
	Member   int
	Function string
	Target   string
	// Param is the force_time of Image_Deactivate.
	Param string
	// Limit bounds the call; it ends before the core's own deadline does.
	Limit time.Duration
}

// Answer is what became of a Call.
type Answer struct {
	ID             int
	Return, Reason int
	// Names is the content of a name array, the states of the members by
	// SSI_Query, or date and time of Image_Query_Activate_Time.
	Names []string
	// Err is set if there is no return code: no connection, lost, garbled.
	Err error
}

// Actions are what the shell does after a Step.
type Actions struct {
	Calls []Call
	// Wake is when to call Step again without an answer; zero for never.
	Wake time.Time
	// Warnings are for the log, one line each.
	Warnings []string
	// Done ends the operation; no call is outstanding that matters.
	Done *Outcome
}

// Outcome is the end of an operation.
type Outcome struct {
	// Err is nil if the action succeeded.
	Err *fenceagent.FaultError
	// On is the guest's state as it was last seen.
	On bool
	// Already says that nothing had to be done.
	Already bool
}

// view is what a member says of the guest.
type view int

const (
	unknown view = iota
	on
	goingOff // logoff or force pending: still on
	off
)

// member is the state of one z/VM system.
type member struct {
	view view
	// asked is when the call was sent that gave the view.
	asked time.Time
	// busy is the call in flight, sent its time.
	busy Call
	sent time.Time
	// next is when it may be called again; pause grows from call to call.
	next  time.Time
	pause time.Duration
	// fault is why the last call gave no view; hopeless says that repeating
	// is no use.
	fault    *fenceagent.FaultError
	hopeless bool
	// heard says that it has answered at least once.
	heard bool
	// missing says that it does not know the guest (200/4).
	missing bool
	// changed is when it last accepted a Deactivate, Recycle or Activate.
	changed time.Time
	// seenOn says that the guest was seen on here.
	seenOn bool
	// stamp is the activation time before a Recycle; stamped says that it was
	// asked for, compared that it was asked for again since the last status.
	// recycled says that a Recycle was accepted, cycled that it is proven: the
	// guest was off in between and may be on again. noCycle says that it is to
	// be forced off and on instead.
	stamp    string
	stamped  bool
	compared bool
	recycled bool
	cycled   bool
	noCycle  bool
	// excused is an unreachable member that need not answer.
	excused bool
}

// stage is how far the operation has come.
type stage int

const (
	stageOff stage = iota // get every member to off, or look
	stageVerify
	stageOn
)

// Core decides how one guest is fenced. It is driven by Step and has no
// clock, no randomness and no connection. Not safe for concurrent use.
//
// Its promise: Done without an error for off and reboot means that every
// member said "not active" after the last sign of the guest being on, or
// that the plan excused the member, or that a Recycle is proven.
type Core struct {
	plan    Plan
	members []member
	stage   stage
	ids     int
	// deadline ends the stage.
	deadline time.Time
	started  time.Time
	// seenOn says that the guest was seen on; lastOn is when last.
	seenOn bool
	lastOn time.Time
	// home is the member to activate on; activated says that it was asked to.
	home      int
	activated bool
	attempts  int
	// query is the directory or SSI call in flight, 0 for none.
	query     Call
	directory directory
	ssiAsked  bool
	warnings  []string
	done      *Outcome
}

// directory is how far the search for the guest in the directory has come.
type directory int

const (
	askNames directory = iota
	askEntry
	cannotAsk
	guestKnown
	guestUnknown
)

// NewCore returns the core for a plan. Its first Step starts the work.
func NewCore(p Plan) *Core {
	p.PollInterval = max(p.PollInterval, firstPause)
	c := &Core{plan: p, members: make([]member, len(p.Members)), attempts: max(p.OnAttempts, 1)}
	if p.Action == fenceagent.On {
		c.stage = stageOn
	}
	return c
}

// Step takes the answer to an earlier call, or nil if the time has come, and
// returns what to do next. After Done it returns nothing.
func (c *Core) Step(now time.Time, a *Answer) Actions {
	if c.done != nil {
		return Actions{}
	}
	if c.started.IsZero() {
		c.started = now
		c.deadline = c.stageEnd(now)
	}
	if a != nil {
		c.answer(now, a)
	}
	var acts Actions
	if c.done == nil {
		acts = c.advance(now)
	}
	acts.Warnings, c.warnings = c.warnings, nil
	acts.Done = c.done
	return acts
}

// stageEnd is when a stage that starts now must be over.
func (c *Core) stageEnd(now time.Time) time.Time {
	if c.plan.Action == fenceagent.Status {
		return now.Add(c.plan.LookLimit + c.plan.CallLimit)
	}
	return now.Add(c.plan.LookLimit + c.plan.PowerTimeout)
}

// finish ends the operation.
func (c *Core) finish(o Outcome) { c.done = &o }

// fail ends the operation with a fault.
func (c *Core) fail(f *fenceagent.FaultError) { c.finish(Outcome{Err: f, On: c.anyOn()}) }

func (c *Core) warnf(format string, args ...any) {
	c.warnings = append(c.warnings, fmt.Sprintf(format, args...))
}

func (c *Core) anyOn() bool {
	return slices.ContainsFunc(c.members, func(m member) bool { return m.view == on || m.view == goingOff })
}

// name is how messages call a member: nothing if there is only one.
func (c *Core) name(i int) string {
	if len(c.members) == 1 {
		return ""
	}
	return "member " + c.plan.Members[i] + ": "
}

// answer takes in the answer to a call.
func (c *Core) answer(now time.Time, a *Answer) {
	if c.query.ID == a.ID && a.ID != 0 {
		q := c.query
		c.query = Call{}
		if q.Function == smapi.SSIQuery {
			c.answerSSI(a)
		} else {
			c.answerDirectory(q, a)
		}
		return
	}
	for i := range c.members {
		if m := &c.members[i]; m.busy.ID == a.ID && a.ID != 0 {
			call := m.busy
			m.busy = Call{}
			c.answerMember(now, i, call, a)
			return
		}
	}
}

// answerMember takes in the answer of one member.
func (c *Core) answerMember(now time.Time, i int, call Call, a *Answer) {
	m := &c.members[i]
	longest := c.plan.PollInterval
	if m.recycled {
		longest = min(longest, cyclePause)
	}
	m.next, m.pause = now.Add(m.pause), min(m.pause+m.pause/pauseGrowth, longest)
	if a.Err != nil {
		m.fault = transportFault(c.plan.Members[i], a.Err)
		m.hopeless = permanent(a.Err)
		if !m.hopeless && call.Function != smapi.ImageStatusQuery {
			// What was asked for may have been done all the same: look first.
			m.view = unknown
		}
		return
	}
	m.heard = true
	res := result{call.Function, a.Return, a.Reason}
	switch call.Function {
	case smapi.ImageStatusQuery:
		c.answerStatus(now, i, res, a.Names)
	case smapi.ImageQueryActivateTime:
		c.answerStamp(now, i, res, a.Names)
	default:
		c.answerChange(now, i, call.Function, res)
	}
}

// answerStatus takes in the answer to Image_Status_Query.
func (c *Core) answerStatus(now time.Time, i int, res result, names []string) {
	m := &c.members[i]
	m.fault, m.missing, m.compared = nil, false, false
	switch {
	case res.is(0, 12) && contains(names, c.plan.Guest):
		m.view = unknown // it contradicts itself: ask again
		m.fault = res.fault(c.name(i))
		return
	case res.is(0, 12), res.is(200, 12):
		m.view, m.asked = off, m.sent
		return
	case res.is(200, 4):
		m.view, m.asked, m.missing = off, m.sent, true
		return
	case res.is(0, 0):
		m.view = on
		if m.changed.IsZero() {
			m.next = now // what is next is not a poll
		}
	case res.is(200, 16):
		m.view = goingOff
	default:
		m.view = unknown
		c.refused(i, res)
		return
	}
	m.seenOn, m.asked = true, m.sent
	c.seenOn, c.home = true, i
	if m.sent.After(c.lastOn) {
		c.lastOn = m.sent
	}
}

// contains reports whether a name array has the guest.
func contains(names []string, guest string) bool {
	return slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(strings.TrimSpace(n), guest) })
}

// refused takes in a return code that gives no view.
func (c *Core) refused(i int, res result) {
	m := &c.members[i]
	m.fault = res.fault(c.name(i))
	m.hopeless = res.permanent()
}

// answerChange takes in the answer to Deactivate, Recycle or Activate. None
// of them is a proof: what counts is the next status.
func (c *Core) answerChange(now time.Time, i int, function string, res result) {
	m := &c.members[i]
	m.fault, m.view = nil, unknown
	accepted := res.ret == 0 || res.is(200, 16)
	if function == smapi.ImageActivate {
		accepted = res.ret == 0 || res.is(200, 8)
	}
	switch {
	case accepted:
		if res.is(200, 8) {
			c.lookElsewhere(i)
		}
		m.changed, m.pause, m.next = now, firstPause, now.Add(c.plan.PowerWait)
		m.recycled = m.recycled || function == smapi.ImageRecycle
	case res.is(200, 12), res.is(200, 4) && function != smapi.ImageActivate:
		// Not active, says the system that was asked to log it off.
	case function == smapi.ImageRecycle && res.permanent():
		m.noCycle = true
		c.warnf("%s; forcing the guest off and on instead", res.fault(c.name(i)).Detail)
	default:
		c.refused(i, res)
		m.hopeless = m.hopeless || res.is(200, 4)
	}
}

// lookElsewhere makes the other members be asked again: one of them has the
// guest, says member i.
func (c *Core) lookElsewhere(i int) {
	for j := range c.members {
		if j != i {
			c.members[j].view = unknown
		}
	}
}

// answerStamp takes in an activation time: the one before a Recycle, or the
// one after, which proves it if it differs.
func (c *Core) answerStamp(now time.Time, i int, res result, names []string) {
	m := &c.members[i]
	stamp := ""
	if res.ret == 0 {
		stamp = strings.Join(names, " ")
	}
	switch {
	case !m.recycled:
		m.stamp, m.stamped, m.next = stamp, true, now // the Recycle is next
	case stamp != "" && m.stamp != "" && stamp != m.stamp:
		m.view, m.asked, m.cycled = off, now, true
	case res.ret == 0:
		m.compared, m.next = true, now // the same activation as before
	default:
		m.view = unknown
	}
}

// advance decides what to send and when to wake, or ends the operation.
func (c *Core) advance(now time.Time) Actions {
	var acts Actions
	for {
		before := c.stage
		switch c.stage {
		case stageOff:
			c.advanceOff(now, &acts)
		case stageVerify:
			c.advanceVerify(now, &acts)
		case stageOn:
			c.advanceOn(now, &acts)
		}
		if c.done != nil || c.stage == before {
			break
		}
	}
	if c.done != nil {
		return Actions{Calls: acts.Calls}
	}
	acts.Wake = c.wake(now)
	return acts
}

// wake is the earliest time at which something is due without an answer.
func (c *Core) wake(now time.Time) time.Time {
	at := c.deadline
	for i := range c.members {
		m := &c.members[i]
		if m.busy.ID == 0 && !m.hopeless && !c.settled(i) && m.next.After(now) && m.next.Before(at) {
			at = m.next
		}
		if look := c.started.Add(c.plan.LookLimit); !m.heard && look.After(now) && look.Before(at) {
			at = look
		}
	}
	return at
}

// call sends a function to a member.
func (c *Core) call(now time.Time, i int, acts *Actions, function, param string) {
	m := &c.members[i]
	if m.pause == 0 {
		m.pause = min(firstPause, c.plan.PollInterval)
	}
	m.busy, m.sent = c.newCall(now, i, function, c.plan.Guest, param), now
	acts.Calls = append(acts.Calls, m.busy)
}

func (c *Core) newCall(now time.Time, i int, function, target, param string) Call {
	c.ids++
	return Call{
		ID: c.ids, Member: i, Function: function, Target: target, Param: param,
		Limit: max(min(c.plan.CallLimit, c.deadline.Sub(now)), time.Millisecond),
	}
}

// settled reports whether a member's "off" still stands: it was asked after
// the last sign of life. A guest may move between the members of an SSI
// cluster, so an older "off" proves nothing.
func (c *Core) settled(i int) bool {
	m := &c.members[i]
	switch {
	case m.excused, m.cycled:
		return true
	case c.stage == stageOn:
		return false
	}
	return m.view == off && (!c.seenOn || m.asked.After(c.lastOn))
}

// lost reports whether a member will not answer any more: a refusal that
// stays, or silence for LookLimit since the start.
func (c *Core) lost(now time.Time, i int) bool {
	m := &c.members[i]
	return m.hopeless || !m.heard && m.fault != nil && !now.Before(c.started.Add(c.plan.LookLimit))
}

// advanceOff drives every member to "off", or only looks for status.
func (c *Core) advanceOff(now time.Time, acts *Actions) {
	open, lost := 0, 0
	for i := range c.members {
		m := &c.members[i]
		switch {
		case c.settled(i):
		case c.lost(now, i), !now.Before(c.deadline):
			lost++
		default:
			open++
			if m.busy.ID == 0 && !m.next.After(now) && !c.early(i) {
				c.drive(now, i, acts)
			}
		}
	}
	if c.plan.Action == fenceagent.Status {
		c.concludeStatus(open)
		return
	}
	switch {
	case open > 0:
	case lost == 0:
		if c.seenOn {
			c.offProven(now)
		} else {
			c.startVerify()
		}
	case c.excuse(now, acts):
	default:
		c.fail(c.offFault())
	}
}

// early reports whether it is too early to ask a member again that said off
// before the guest was seen on elsewhere: first the others have to be off.
func (c *Core) early(i int) bool {
	return c.members[i].view == off && slices.ContainsFunc(c.members, func(m member) bool { return m.view == on || m.view == goingOff })
}

// drive sends the next call to a member that is not known to be off.
func (c *Core) drive(now time.Time, i int, acts *Actions) {
	m := &c.members[i]
	since := now.Sub(m.changed)
	if m.recycled && !m.noCycle && since >= c.plan.PowerTimeout/2 {
		// Accepted, but not proven in half of the time.
		m.noCycle, m.changed = true, time.Time{}
		c.warnf("%sImage_Recycle of guest %s cannot be proven; forcing it off and on instead", c.name(i), c.plan.Guest)
	}
	function, param := smapi.ImageStatusQuery, ""
	switch cycle := c.plan.Cycle && c.plan.Action == fenceagent.Reboot && !m.noCycle; {
	case c.plan.Action == fenceagent.Status || m.view != on:
	case cycle && !m.stamped, m.recycled && m.stamp != "" && !m.compared:
		function = smapi.ImageQueryActivateTime
	case cycle && !m.recycled:
		function = smapi.ImageRecycle
	case cycle:
	case m.changed.IsZero(), since >= resendAfter && c.plan.ForceTime == smapi.Immediate:
		function, param = smapi.ImageDeactivate, c.plan.ForceTime
	}
	c.call(now, i, acts, function, param)
}

// concludeStatus ends the status action when all members have answered or
// one says on.
func (c *Core) concludeStatus(open int) {
	if c.anyOn() {
		c.finish(Outcome{On: true})
		return
	}
	if open > 0 {
		return
	}
	for i := range c.members {
		if !c.settled(i) && c.plan.Unreachable != UnreachableIgnored {
			c.fail(c.offFault())
			return
		}
	}
	if !slices.ContainsFunc(c.members, func(m member) bool { return m.view == off }) {
		c.fail(c.offFault())
		return
	}
	c.startVerify()
}

// excuse decides on members that do not answer while the others say off. It
// returns true if the operation goes on.
func (c *Core) excuse(now time.Time, acts *Actions) bool {
	first := slices.IndexFunc(c.members, func(m member) bool { return m.view == off || m.cycled })
	if first < 0 {
		return false
	}
	for i := range c.members {
		m := &c.members[i]
		if !c.settled(i) && (m.seenOn || m.fault == nil || m.heard && m.hopeless) {
			return false // it answered, or the guest was seen on there
		}
	}
	switch c.plan.Unreachable {
	case UnreachableIgnored:
		for i := range c.members {
			if !c.settled(i) {
				c.warnf("%sdoes not answer and is ignored, as ssi_unreachable=ignore says; a guest %s running there is not noticed", c.name(i), c.plan.Guest)
				c.members[i].excused = true
			}
		}
		c.advanceOff(now, acts)
		return true
	case UnreachableDown:
		if !c.ssiAsked {
			c.ssiAsked = true
			c.deadline = now.Add(c.plan.CallLimit) // one more call, off or not
			c.query = c.newCall(now, first, smapi.SSIQuery, "ALL", "")
			acts.Calls = append(acts.Calls, c.query)
		}
		return c.query.ID != 0
	}
	return false
}

// answerSSI excuses the silent members if SSI_Query calls as many down.
func (c *Core) answerSSI(a *Answer) {
	if a.Err != nil || a.Return != 0 || len(a.Names) != len(c.members) {
		return
	}
	down, silent := 0, 0
	for _, state := range a.Names {
		if strings.EqualFold(state, "down") {
			down++
		}
	}
	for i := range c.members {
		if !c.settled(i) {
			silent++
		}
	}
	if silent != down {
		c.warnf("%d members do not answer, but SSI_Query says that %d are down", silent, down)
		return
	}
	for i := range c.members {
		if !c.settled(i) {
			c.warnf("%sdoes not answer; SSI_Query says that it is down", c.name(i))
			c.members[i].excused = true
		}
	}
}

// offFault says why off is not proven: the guest is on, or the worst member
// is not known.
func (c *Core) offFault() *fenceagent.FaultError {
	var fault *fenceagent.FaultError
	for i := range c.members {
		m := &c.members[i]
		if m.hopeless && m.fault != nil {
			return m.fault
		}
		if c.settled(i) {
			continue
		}
		switch {
		case m.fault != nil:
			fault = m.fault
		case fault == nil && (m.view == on || m.view == goingOff || c.seenOn):
			fault = &fenceagent.FaultError{Fault: fenceagent.WaitingOff,
				Detail: fmt.Sprintf("%sguest %s is still logged on after %v", c.name(i), c.plan.Guest, c.plan.PowerTimeout)}
		case fault == nil:
			fault = &fenceagent.FaultError{Fault: fenceagent.TimedOut,
				Detail: fmt.Sprintf("%sno answer on guest %s", c.name(i), c.plan.Guest)}
		}
	}
	if fault == nil {
		fault = &fenceagent.FaultError{Fault: fenceagent.StatusUnknown, Detail: "no member says whether guest " + c.plan.Guest + " is on"}
	}
	if c.anyOn() && !slices.ContainsFunc(c.members, func(m member) bool { return m.hopeless }) {
		fault = &fenceagent.FaultError{Fault: fenceagent.WaitingOff, Detail: fault.Detail}
	}
	return fault
}

// offProven goes on after the guest is known to be off.
func (c *Core) offProven(now time.Time) {
	if c.plan.Action == fenceagent.Reboot {
		c.startOn(now)
		return
	}
	c.finish(Outcome{Already: !c.seenOn})
}

// startOn begins the way to on, or begins it anew.
func (c *Core) startOn(now time.Time) {
	c.stage = stageOn
	c.deadline = c.stageEnd(now)
	for i := range c.members {
		m := &c.members[i]
		m.fault, m.hopeless, m.changed, m.pause, m.next = nil, false, time.Time{}, firstPause, now
		if m.cycled {
			m.view, m.cycled = unknown, false // it logs on by itself: look first
		}
	}
}
