package zvmsim

import (
	"fmt"
	"strings"
	"time"

	"github.com/haobox/haobox/internal/smapi"
)

// operatorName is the user id of z/VM's primary system operator.
const operatorName = "OPERATOR"

// stop lets a guest that is On or Starting go off after d.
func (c *Core) stop(g *guest, d time.Duration, by, cause string) {
	g.by, g.cause, g.hookFailed = by, cause, false
	c.setState(g, Stopping)
	c.guestTimer(g, d)
}

// start lets a guest that is Off come up on m.
func (c *Core) start(g *guest, m *member, by, cause string) {
	g.by, g.cause, g.member = by, cause, m
	c.setState(g, Starting)
	c.guestTimer(g, c.spread(delay(g.def.Logon, g.sys.Delays.Logon), g.sys.Delays.LogonSpread))
}

// logoffTime is how long a forced logoff of g takes this time.
func (c *Core) logoffTime(g *guest) time.Duration {
	return c.spread(delay(g.def.Logoff, g.sys.Delays.Logoff), g.sys.Delays.LogoffSpread)
}

func delay(own *time.Duration, common time.Duration) time.Duration {
	if own != nil {
		return *own
	}
	return common
}

// guestTimer makes the pending change due after d; timers before are void.
func (c *Core) guestTimer(g *guest, d time.Duration) {
	g.gen++
	g.deadline = c.now.Add(max(d, 0))
	c.schedule(d, timer{kind: timerGuest, guest: g, gen: g.gen})
}

func (c *Core) setState(g *guest, to State) {
	from := g.state
	g.state = to
	c.emit(Changed{Time: c.now, System: g.sys.Name, Member: g.member.name, Guest: g.name, From: from, To: to, By: g.cause})
}

// guestDue ends Starting or Stopping.
func (c *Core) guestDue(g *guest) {
	switch g.state {
	case Starting:
		c.cameOn(g)
	case Stopping:
		if !g.def.LogoffHook {
			c.loggedOff(g)
			return
		}
		c.ticket++
		if g.sys.Switches.IgnoreHooks {
			c.emit(Hook{Ticket: c.ticket, System: g.sys.Name, Member: g.member.name, Guest: g.name, Event: Off})
			c.loggedOff(g)
			return
		}
		g.ticket = c.ticket
		c.emit(Hook{Ticket: g.ticket, System: g.sys.Name, Member: g.member.name, Guest: g.name, Event: Off})
	}
}

// cameOn completes a logon.
func (c *Core) cameOn(g *guest) {
	g.since = c.now
	c.setState(g, On)
	c.operatorLine(g.member, "AUTO LOGON *** %s USERS = %d BY %s", g.name, c.users(g.member), g.by)
	c.push(g, smapi.GuestLogon, smapi.GuestRunnable)
	if g.def.LogonHook {
		c.ticket++
		c.emit(Hook{Ticket: c.ticket, System: g.sys.Name, Member: g.member.name, Guest: g.name, Event: On})
	}
}

// loggedOff completes a logoff that was asked for, and goes on with the second
// half of a recycle.
func (c *Core) loggedOff(g *guest) {
	again := g.recycle
	g.recycle = nil
	g.gen++
	g.ticket = 0
	c.setState(g, Off)
	forced := fmt.Sprintf("GRAF %s LOGOFF AS %s USERS = %d FORCED BY %s", g.terminal, g.name, c.users(g.member), g.by)
	c.operatorLine(g.member, "%s", forced)
	if g.by != operatorName {
		// CP tells the one who forced, and the log has that console too.
		at := c.now.Format("15:04:05")
		c.emit(Operator{Time: c.now, Member: g.member.name, Line: at + " " + g.by + " *8 " + at + " " + forced})
	}
	c.push(g, smapi.GuestLogoff)
	if again != nil {
		c.start(g, again, g.by, g.cause)
	}
}

// wentOff ends a guest by itself or with its member.
func (c *Core) wentOff(g *guest, cause string) {
	wasOn := g.state == On || g.state == Stopping
	g.cause = cause
	g.gen++
	g.ticket, g.hookFailed = 0, false
	again := g.recycle
	g.recycle = nil
	c.setState(g, Off)
	if wasOn {
		if g.member.state != MemberDown {
			c.operatorLine(g.member, "GRAF %s LOGOFF AS %s USERS = %d", g.terminal, g.name, c.users(g.member))
		}
		c.push(g, smapi.GuestLogoff)
	}
	if again != nil {
		c.start(g, again, g.by, g.cause)
	}
}

// hookDone takes the result of a hook. Only a logoff waits for it: a hook that
// failed leaves the guest Stopping, because what it stands for may be alive.
func (c *Core) hookDone(ev HookDone) {
	for _, s := range c.systems {
		for _, g := range s.guests {
			if g.ticket == 0 || g.ticket != ev.Ticket {
				continue
			}
			g.ticket = 0
			if ev.Err == nil {
				c.loggedOff(g)
				return
			}
			g.hookFailed = true
			c.warn("guest %s is not reported as logged off, its hook failed: %v; the next Image_Deactivate runs it again", g.name, ev.Err)
			return
		}
	}
}

// retryHook runs the hook of a logoff again after it failed.
func (c *Core) retryHook(g *guest) {
	if g.hookFailed {
		g.hookFailed = false
		c.guestDue(g)
	}
}

// users counts who is logged on to a member.
func (c *Core) users(m *member) int {
	n := m.sys.OtherUsers
	for _, g := range m.sys.guests {
		if g.member == m && (g.state == On || g.state == Stopping) {
			n++
		}
	}
	return n
}

// operatorLine writes to the operator's log in the form of the manual's figure
// 21: the time, whose console it is, the class of the line, and the text.
func (c *Core) operatorLine(m *member, format string, args ...any) {
	c.emit(Operator{Time: c.now, Member: m.name, Line: c.now.Format("15:04:05") + " " + operatorName + " *3 " + fmt.Sprintf(format, args...)})
}

// push tells the subscribers of the guest's member; the key of a subscription
// is compared with the start of the guest's name.
func (c *Core) push(g *guest, kinds ...smapi.GuestEventKind) {
	list := make([]smapi.GuestEvent, 0, len(kinds))
	for _, k := range kinds {
		list = append(list, smapi.GuestEvent{Kind: k, Guest: g.name})
	}
	c.publish(g.member, smapi.EncodeGuestEvents(list...), g.name)
}

func (c *Core) publish(m *member, e smapi.Event, key string) {
	for _, cn := range c.subscribers {
		if cn.member == m && m.state != MemberHung && strings.HasPrefix(key, cn.matchKey) {
			c.emit(Push{Conn: cn.id, Event: e})
		}
	}
}

// guest finds a guest by name, in all systems if system is empty.
func (c *Core) guest(sys, name string) (*guest, error) {
	var found *guest
	for _, s := range c.systems {
		if sys != "" && s.Name != upper(sys) {
			continue
		}
		if g := s.byName[upper(name)]; g != nil {
			if found != nil {
				return nil, fmt.Errorf("%w: %s", ErrAmbiguous, upper(name))
			}
			found = g
		}
	}
	if found == nil {
		return nil, fmt.Errorf("%w: %q", ErrNoGuest, name)
	}
	return found, nil
}

// operate carries out what is done to a guest from outside SMAPI.
func (c *Core) operate(ev Event) {
	var sys, name, where string
	switch ev := ev.(type) {
	case LogOff:
		sys, name = ev.System, ev.Guest
	case LogOn:
		sys, name, where = ev.System, ev.Guest, ev.Member
	case Die:
		sys, name = ev.System, ev.Guest
	case SetGuest:
		sys, name, where = ev.System, ev.Guest, ev.Member
	}
	g, err := c.guest(sys, name)
	if err != nil {
		c.refuse(err)
		return
	}
	m := g.member
	if where != "" {
		if m = g.sys.find(where); m == nil {
			c.refuse(fmt.Errorf("%w: %q in system %s", ErrNoMember, where, g.sys.Name))
			return
		}
	}
	state := func(want string) { c.refuse(fmt.Errorf("%w: %s is %v, not %s", ErrGuestState, g.name, g.state, want)) }
	switch ev := ev.(type) {
	case LogOff:
		by := operatorOr(ev.By)
		switch g.state {
		case On, Starting:
			g.immediate = true
			c.stop(g, c.logoffTime(g), by, by)
		case Stopping:
			c.retryHook(g)
		default:
			state("ON")
		}
	case LogOn:
		by := operatorOr(ev.By)
		switch {
		case g.state != Off:
			state("OFF")
		case m.state == MemberDown:
			c.refuse(fmt.Errorf("%w: member %s is down", ErrGuestState, m.name))
		default:
			c.start(g, m, by, by)
		}
	case Die:
		if g.state == Off {
			state("ON")
			return
		}
		c.wentOff(g, g.name)
	case SetGuest:
		switch {
		case ev.State != On && ev.State != Off:
			c.refuse(fmt.Errorf("%w: a guest can be set to ON and OFF, not to %v", ErrGuestState, ev.State))
		case ev.State == On && m.state == MemberDown:
			c.refuse(fmt.Errorf("%w: member %s is down", ErrGuestState, m.name))
		default:
			c.setGuest(g, m, ev.State)
		}
	}
}

// setGuest puts a guest into a state at once.
func (c *Core) setGuest(g *guest, m *member, to State) {
	g.gen++
	g.ticket, g.hookFailed, g.recycle = 0, false, nil
	g.cause = operatorName
	was := g.state
	if to == On {
		g.member, g.since = m, c.now
	}
	if was == to {
		return
	}
	c.setState(g, to)
	switch {
	case to == On:
		c.push(g, smapi.GuestLogon, smapi.GuestRunnable)
	case was != Starting:
		c.push(g, smapi.GuestLogoff)
	}
}

func operatorOr(by string) string {
	if by == "" {
		return operatorName
	}
	return upper(by)
}

// deactivate is Image_Deactivate for one guest.
func (c *Core) deactivate(j *job, g *guest, ft smapi.ForceTime, pretend bool) (ret, reason int) {
	sw := &g.sys.Switches
	if g.state == Off {
		return 200, 12
	}
	if g.member != j.conn.member {
		if sw.ElsewhereVisible {
			return 8, 3006
		}
		return 200, 12
	}
	wait, seconds := c.forceDelay(g, ft)
	if maxForce := g.sys.Delays.MaxForce; maxForce > 0 && ft.Kind != smapi.ForceNow && wait > maxForce {
		return 200, 36
	}
	immediate := ft.Kind == smapi.ForceNow
	if g.state == Stopping {
		if !pretend {
			c.retryHook(g)
		}
		if !immediate || g.immediate || !sw.ImmediateOverrides {
			return 200, 16
		}
	}
	if pretend {
		return 0, seconds
	}
	g.recycle = nil
	g.immediate = immediate
	if g.state == Stopping {
		g.by, g.cause = j.worker(), j.cause()
		c.guestTimer(g, wait)
	} else {
		c.stop(g, wait, j.worker(), j.cause())
	}
	return 0, seconds
}

// forceDelay is the time until a guest is off for a force_time, and the reason
// code that tells it.
func (c *Core) forceDelay(g *guest, ft smapi.ForceTime) (time.Duration, int) {
	var d time.Duration
	switch ft.Kind {
	case smapi.ForceNow:
		return c.logoffTime(g), 0
	case smapi.ForceSignal:
		d = g.sys.Delays.Signal
	case smapi.ForceWithin:
		d = ft.Interval
	case smapi.ForceAt:
		y, mo, day := c.now.Date()
		at := time.Date(y, mo, day, 0, 0, 0, 0, c.now.Location()).Add(ft.Of)
		if !at.After(c.now) {
			at = at.Add(24 * time.Hour)
		}
		d = at.Sub(c.now)
	}
	return d, int((d + time.Second - 1) / time.Second)
}

// activate is Image_Activate for one guest.
func (c *Core) activate(j *job, g *guest, pretend bool) (ret, reason int) {
	sw := &g.sys.Switches
	m := j.conn.member
	if g.state != Off && g.member != m {
		if sw.ElsewhereActivate != 0 {
			return 8, sw.ElsewhereActivate
		}
		return 200, 8
	}
	switch {
	case g.state == Stopping && !sw.StoppingIsActive:
		return 200, 16
	case g.state != Off:
		return 200, 8
	case g.def.Undefined:
		return 200, 4
	case m.state == MemberIsolated && m.sys.ssi():
		return 8, 3006
	}
	if !pretend {
		c.start(g, m, j.worker(), j.cause())
	}
	return 0, 0
}

// recycle is Image_Recycle for one guest.
func (c *Core) recycle(j *job, g *guest, pretend bool) (ret, reason int) {
	switch {
	case g.state == Off:
		return 200, 12
	case g.member != j.conn.member && g.sys.Switches.ElsewhereVisible:
		return 8, 3006
	case g.member != j.conn.member:
		return 200, 12
	case g.state == Stopping:
		if !pretend {
			c.retryHook(g)
		}
		return 200, 16
	}
	if !pretend {
		g.recycle, g.immediate = g.member, true
		c.stop(g, c.logoffTime(g), j.worker(), j.cause())
	}
	return 0, 0
}
