// Package zvmsim is a simulated z/VM: guests that are logged on and off,
// SSI members with SMAPI servers of their own, AUTHLIST and NAMELIST, and
// faults as data. It is what the applet smapid serves, and what tests of fence
// agents and simulations of whole clusters put in z/VM's place.
//
// Core decides. It has no clock, no goroutine and no socket: Step takes the
// time and an event and returns what to do, and the same events with the same
// seed give the same actions. Server drives a Core with a clock and speaks the
// wire protocol on connections that are handed to it.
//
// The protocol follows IBM's "Systems Management Application Programming"; the
// columns of AUTHLIST, the name of the worker server and the form of the
// operator's log are those of the manual (4.4.3, figure 21). Where no source
// says what z/VM does, Switches has the choice.
//
// It is no z/VM: nothing runs inside its guests. A Hook lets each stand for
// something that does.
package zvmsim

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"github.com/haobox/haobox/internal/smapi"
)

// State is what a guest does.
type State int

const (
	// Off: not logged on.
	Off State = iota
	// Starting: Image_Activate was accepted, the guest is not on yet.
	Starting
	// On: logged on.
	On
	// Stopping: a logoff is pending; the guest still runs.
	Stopping
)

// String returns the state in upper case, as operators write it.
func (s State) String() string {
	switch s {
	case Starting:
		return "STARTING"
	case On:
		return "ON"
	case Stopping:
		return "STOPPING"
	}
	return "OFF"
}

// MemberState is what a member and its SMAPI servers do.
type MemberState int

const (
	// MemberUp: everything works.
	MemberUp MemberState = iota
	// MemberDown: the system is not there. Connections are refused and its
	// guests are gone.
	MemberDown
	// MemberNoService: only the SMAPI servers are not there; guests run.
	MemberNoService
	// MemberHung: connections are accepted and nothing is ever answered;
	// guests run.
	MemberHung
	// MemberFull: connections are not even accepted; guests run.
	MemberFull
	// MemberIsolated: the member works, but is not joined to the SSI cluster.
	MemberIsolated
)

// memberStates are the names of the states, in their order.
var memberStates = []string{"up", "down", "noservice", "hung", "full", "isolated"}

// MemberStates returns the names of the states.
func MemberStates() []string { return memberStates }

// String returns the name of the state.
func (s MemberState) String() string {
	if s < 0 || int(s) >= len(memberStates) {
		return strconv.Itoa(int(s))
	}
	return memberStates[s]
}

// ParseMemberState is the reverse of String.
func ParseMemberState(name string) (MemberState, error) {
	if i := slices.Index(memberStates, name); i >= 0 {
		return MemberState(i), nil
	}
	return 0, fmt.Errorf("member state %q is not one of %v", name, memberStates)
}

// Why an event is Refused.
var (
	ErrNoGuest    = errors.New("no such guest")
	ErrAmbiguous  = errors.New("several systems have a guest of this name")
	ErrNoMember   = errors.New("no such member")
	ErrNoFault    = errors.New("no such fault")
	ErrGuestState = errors.New("the guest is not in a state for this")
)

// Core is the simulated installation. Not safe for concurrent use.
type Core struct {
	systems []*system
	members []*member
	faults  []*ruleState
	rng     *rand.Rand

	now    time.Time
	timers []timer
	seq    uint64
	out    []Action

	conns map[ConnID]*conn
	// subscribers are the connections with an Event_Subscribe, by age.
	subscribers []*conn
	// requestID is the last one given; it is shared by all members.
	requestID uint32
	faultID   int
	ticket    uint64
	saved     []savedResponse
	ops       []operation
}

type system struct {
	System
	members []*member
	// guests are sorted by name.
	guests []*guest
	byName map[string]*guest
	users  map[string]*User
}

type member struct {
	name  string
	slot  int
	sys   *system
	state MemberState
	auth  authority
	// busy has an entry for each worker server.
	busy  []bool
	queue []*job
}

type guest struct {
	name     string
	sys      *system
	def      Guest
	terminal string

	state State
	// member is where it is or was last logged on.
	member *member
	since  time.Time
	// deadline is when Starting or Stopping ends; gen makes older timers void.
	deadline time.Time
	gen      uint64
	// by is the server that caused the pending change, cause that with the
	// user who asked for it.
	by, cause string
	// immediate says that Stopping was asked for at once.
	immediate bool
	// recycle is where it is logged on again after Stopping.
	recycle *member
	// ticket is that of the logoff hook that is under way.
	ticket     uint64
	hookFailed bool
}

type conn struct {
	id           ConnID
	member       *member
	peer, remote string
	// asked says that its request was read; a second one is ignored.
	asked      bool
	subscribed bool
	matchKey   string
	// requester is who subscribed.
	requester string
}

type timerKind int

const (
	timerGuest timerKind = iota
	timerAccept
	timerFinish
	timerLate
)

type timer struct {
	at    time.Time
	seq   uint64
	kind  timerKind
	guest *guest
	gen   uint64
	job   *job
}

type savedResponse struct {
	id   uint32
	resp smapi.Response
}

type operation struct {
	id           uint32
	done, failed bool
}

// keptResponses is how many responses Response_Recovery can find, and how many
// asynchronous operations are remembered: ours.
const keptResponses = 64

// firstRequestID is the id of the first request: any number will do, and one
// that is neither small nor round shows in a dump.
const firstRequestID = 10009

// New returns an installation in its first state. The AUTHLIST and NAMELIST
// lines that match nothing are reported as warnings.
func New(cfg Config) (*Core, []Warning, error) {
	if err := cfg.Validate(); err != nil {
		return nil, nil, err
	}
	c := &Core{
		// The second half of the seed only has to be the same each time.
		rng:       rand.New(rand.NewPCG(cfg.Seed, 0x7a766d73696d)),
		conns:     map[ConnID]*conn{},
		requestID: firstRequestID - 1,
	}
	for i := range cfg.Systems {
		c.addSystem(cfg.Systems[i])
	}
	for _, f := range cfg.Faults {
		c.addFault(f)
	}
	var warnings []Warning
	for _, a := range c.take() {
		if w, ok := a.(Warning); ok {
			warnings = append(warnings, w)
		}
	}
	return c, warnings, nil
}

func (c *Core) addSystem(cfg System) {
	s := &system{System: cfg, byName: map[string]*guest{}, users: map[string]*User{}}
	s.Name = upper(s.Name)
	for i, mc := range cfg.Members {
		m := &member{name: upper(mc.Name), slot: i + 1, sys: s, state: mc.State}
		m.busy = make([]bool, max(mc.Workers, 0))
		if mc.Workers == 0 {
			m.busy = make([]bool, DefaultWorkers)
		}
		c.setAuthority(m, mc.AuthList, mc.NameList)
		s.members = append(s.members, m)
		c.members = append(c.members, m)
	}
	for i, gc := range cfg.Guests {
		g := &guest{name: upper(gc.Name), sys: s, def: gc, member: s.members[0]}
		// The first guest sits at L0003, as CNODE1 does in figure 21.
		g.terminal = fmt.Sprintf("L%04X", i+3)
		if m := s.find(gc.Member); m != nil {
			g.member = m
		}
		if gc.On && g.member.state != MemberDown {
			g.state = On
		}
		s.guests = append(s.guests, g)
		s.byName[g.name] = g
	}
	slices.SortFunc(s.guests, func(a, b *guest) int { return cmpString(a.name, b.name) })
	for i := range s.Users {
		u := &s.Users[i]
		s.users[upper(u.Name)] = u
	}
	c.systems = append(c.systems, s)
}

func cmpString(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// ssi reports whether the system is an SSI cluster.
func (s *system) ssi() bool { return s.SSI || len(s.members) > 1 }

// find returns the member of that name or nil.
func (s *system) find(name string) *member {
	for _, m := range s.members {
		if m.name == upper(name) {
			return m
		}
	}
	return nil
}

// setAuthority reads the files of a member and warns of lines that match
// nothing.
func (c *Core) setAuthority(m *member, authList, nameList []byte) {
	sw := &m.sys.Switches
	a := authority{missing: authList == nil, builtin: !sw.NoBuiltinLists}
	var faults []LineFault
	a.entries, faults = ParseAuthList(authList, !sw.NoComments)
	for _, f := range faults {
		c.warn("AUTHLIST of %s, %v: this line authorises nobody", m.name, f)
	}
	a.lists, faults = ParseNameList(nameList, !sw.NoComments)
	for _, f := range faults {
		c.warn("NAMELIST of %s, %v", m.name, f)
	}
	m.auth = a
}

// Step brings the installation to now and lets ev happen. The actions are to
// be carried out in their order; the slice is valid until the next Step. A now
// before that of the last step counts as that.
func (c *Core) Step(now time.Time, ev Event) []Action {
	c.out = c.out[:0]
	if now.Before(c.now) {
		now = c.now
	}
	c.runTimers(now)
	c.now = now
	c.handle(ev)
	c.runTimers(now)
	return c.out
}

// Next returns the time at which the core has to be stepped at the latest; ok
// is false if it waits for nothing but events.
func (c *Core) Next() (at time.Time, ok bool) {
	if len(c.timers) == 0 {
		return time.Time{}, false
	}
	return c.timers[0].at, true
}

// take returns the actions so far, for code outside Step.
func (c *Core) take() []Action {
	out := slices.Clone(c.out)
	c.out = c.out[:0]
	return out
}

func (c *Core) emit(a Action) { c.out = append(c.out, a) }

func (c *Core) warn(format string, args ...any) {
	c.emit(Warning{Time: c.now, Text: fmt.Sprintf(format, args...)})
}

// schedule adds a timer at now+d, behind those of the same time.
func (c *Core) schedule(d time.Duration, t timer) {
	t.at = c.now.Add(max(d, 0))
	c.seq++
	t.seq = c.seq
	i, _ := slices.BinarySearchFunc(c.timers, t, func(a, b timer) int {
		if n := a.at.Compare(b.at); n != 0 {
			return n
		}
		if a.seq < b.seq {
			return -1
		}
		return 1
	})
	c.timers = slices.Insert(c.timers, i, t)
}

// runTimers carries out what was due at its own time, up to now.
func (c *Core) runTimers(now time.Time) {
	for len(c.timers) > 0 && !c.timers[0].at.After(now) {
		t := c.timers[0]
		c.timers = slices.Delete(c.timers, 0, 1)
		if t.at.After(c.now) {
			c.now = t.at
		}
		switch t.kind {
		case timerGuest:
			if t.gen == t.guest.gen {
				c.guestDue(t.guest)
			}
		case timerAccept:
			c.accept(t.job)
		case timerFinish:
			c.finish(t.job)
		case timerLate:
			c.late(t.job)
		}
	}
}

// spread returns d and a random part of up to s.
func (c *Core) spread(d, s time.Duration) time.Duration {
	if s > 0 {
		d += time.Duration(c.rng.Int64N(int64(s) + 1))
	}
	return d
}

func (c *Core) handle(ev Event) {
	switch ev := ev.(type) {
	case Tick:
	case Connect:
		c.connect(ev)
	case Request:
		c.request(ev)
	case Hangup:
		c.drop(ev.Conn)
	case HalfClose:
		if cn := c.conns[ev.Conn]; cn != nil && (cn.subscribed || cn.member.sys.Switches.HalfCloseAborts) {
			c.closeConn(ev.Conn, EndClose)
		}
	case HookDone:
		c.hookDone(ev)
	case LogOff, LogOn, Die, SetGuest:
		c.operate(ev)
	case SetMember:
		m := c.member(ev.Member)
		if m == nil {
			c.refuse(fmt.Errorf("%w: %q", ErrNoMember, ev.Member))
			return
		}
		c.setMember(m, ev.State)
	case AddFault:
		c.emit(FaultAdded{c.addFault(ev.Fault)})
	case RemoveFault:
		n := len(c.faults)
		c.faults = slices.DeleteFunc(c.faults, func(r *ruleState) bool { return ev.ID == 0 || r.ID == ev.ID })
		if len(c.faults) == n && ev.ID != 0 {
			c.refuse(fmt.Errorf("%w: %d", ErrNoFault, ev.ID))
		}
	case SetAuthority:
		m := c.member(ev.Member)
		if m == nil {
			c.refuse(fmt.Errorf("%w: %q", ErrNoMember, ev.Member))
			return
		}
		c.setAuthority(m, ev.AuthList, ev.NameList)
	}
}

func (c *Core) refuse(err error) { c.emit(Refused{err}) }

func (c *Core) addFault(f Fault) int {
	c.faultID++
	f.ID = c.faultID
	c.faults = append(c.faults, &ruleState{Fault: f, left: f.Count})
	return f.ID
}

// member returns the member of that name, the first of all for "", or nil.
func (c *Core) member(name string) *member {
	if name == "" {
		return c.members[0]
	}
	for _, m := range c.members {
		if m.name == upper(name) {
			return m
		}
	}
	return nil
}

func (c *Core) connect(ev Connect) {
	m := c.member(ev.Member)
	turnAway := func(how End) { c.emit(Close{Conn: ev.Conn, How: how, Refused: true}) }
	switch {
	case m == nil, m.state == MemberDown, m.state == MemberNoService:
		turnAway(EndReset)
		return
	case m.state == MemberFull:
		turnAway(EndSilence)
		return
	}
	if r := c.pickFault(true, "", "", m.name, ""); r != nil {
		turnAway(EndReset)
		return
	}
	c.conns[ev.Conn] = &conn{id: ev.Conn, member: m, peer: upper(ev.Peer), remote: ev.Remote}
}

// drop forgets a connection.
func (c *Core) drop(id ConnID) {
	if cn := c.conns[id]; cn != nil {
		delete(c.conns, id)
		c.subscribers = slices.DeleteFunc(c.subscribers, func(x *conn) bool { return x == cn })
	}
}

// closeConn ends a connection from our side.
func (c *Core) closeConn(id ConnID, how End) {
	if c.conns[id] == nil {
		return
	}
	if how != EndSilence {
		c.drop(id)
		c.emit(Close{Conn: id, How: how})
	}
}

// setMember changes the state of a member and of what depends on it.
func (c *Core) setMember(m *member, state MemberState) {
	if m.state == state {
		return
	}
	m.state = state
	c.emit(MemberChanged{Time: c.now, Member: m.name, State: state})
	// Whoever is connected loses the connection, except to a member that
	// hangs: its connections stay open and silent. The ids are sorted so that
	// the order of a map does not show.
	if state != MemberHung && state != MemberFull {
		var ids []ConnID
		for id, cn := range c.conns {
			if cn.member == m && (cn.asked || state == MemberDown || state == MemberNoService) {
				ids = append(ids, id)
			}
		}
		slices.Sort(ids)
		for _, id := range ids {
			c.closeConn(id, EndReset)
		}
	}
	if state == MemberDown {
		m.queue = nil
	}
	if state == MemberDown || state == MemberIsolated && m.sys.Switches.IsolatedLosesGuests {
		for _, g := range m.sys.guests {
			if g.member == m && g.state != Off {
				g.recycle = nil
				c.wentOff(g, m.name+" "+state.String())
			}
		}
	}
}
