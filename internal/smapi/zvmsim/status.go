package zvmsim

import (
	"math"
	"slices"
	"time"
)

// GuestStatus is a guest as it is now.
type GuestStatus struct {
	System, Name string
	State        State
	// Member is where it is or was last logged on.
	Member string
	// Since is when it came on; zero if it has been on from the start.
	Since time.Time
	// Deadline is when Starting or Stopping ends, at the earliest.
	Deadline time.Time
	// Waiting says that a logoff waits for its hook, HookFailed that the hook
	// has failed and that it waits to be asked again.
	Waiting, HookFailed bool
	// Recycling says that it is logged on again afterwards.
	Recycling bool
}

// MemberStatus is a member as it is now.
type MemberStatus struct {
	System, Name string
	SSI          bool
	State        MemberState
	// Users is how many users are logged on.
	Users int
	// Busy workers of Workers, and requests that wait for one.
	Busy, Workers, Queued int
	// Entries is the number of AUTHLIST entries.
	Entries int
}

// FaultStatus is a rule with what it has done.
type FaultStatus struct {
	Fault
	// Hits is how often it applied, Left how often it still will; -1 is
	// without end.
	Hits, Left int
}

func (g *guest) status() GuestStatus {
	s := GuestStatus{
		System: g.sys.Name, Name: g.name, State: g.state, Member: g.member.name, Since: g.since,
		Waiting: g.ticket != 0, HookFailed: g.hookFailed, Recycling: g.recycle != nil,
	}
	if g.state == Starting || g.state == Stopping {
		s.Deadline = g.deadline
	}
	return s
}

// Now returns the time of the last step.
func (c *Core) Now() time.Time { return c.now }

// Guest returns a guest by name. System may be empty if the name is unique.
func (c *Core) Guest(system, name string) (GuestStatus, error) {
	g, err := c.guest(system, name)
	if err != nil {
		return GuestStatus{}, err
	}
	return g.status(), nil
}

// Guests returns all guests, by system and name.
func (c *Core) Guests() []GuestStatus {
	var out []GuestStatus
	for _, s := range c.systems {
		for _, g := range s.guests {
			out = append(out, g.status())
		}
	}
	return out
}

// Members returns all members, in the order of the configuration.
func (c *Core) Members() []MemberStatus {
	var out []MemberStatus
	for _, m := range c.members {
		st := MemberStatus{
			System: m.sys.Name, Name: m.name, SSI: m.sys.ssi(), State: m.state, Users: c.users(m),
			Workers: len(m.busy), Queued: len(m.queue), Entries: len(m.auth.entries),
		}
		for _, b := range m.busy {
			if b {
				st.Busy++
			}
		}
		out = append(out, st)
	}
	return out
}

// Faults returns the rules in their order.
func (c *Core) Faults() []FaultStatus {
	var out []FaultStatus
	for _, r := range c.faults {
		st := FaultStatus{Fault: r.Fault, Hits: r.hits, Left: -1}
		if r.Count > 0 {
			st.Left = r.left
		}
		out = append(out, st)
	}
	return out
}

// Snapshot is what a simulator has to remember to go on after a restart. Rules
// are not in it: they come from the configuration.
type Snapshot struct {
	// Version is 1.
	Version int `json:"version"`
	// Time is when it was taken.
	Time time.Time `json:"time"`
	// RequestID is the last that was given.
	RequestID uint32           `json:"request_id"`
	Guests    []GuestSnapshot  `json:"guests"`
	Members   []MemberSnapshot `json:"members"`
}

// GuestSnapshot is a guest in a Snapshot.
type GuestSnapshot struct {
	System   string    `json:"system"`
	Name     string    `json:"name"`
	Member   string    `json:"member"`
	State    string    `json:"state"`
	Since    time.Time `json:"since,omitzero"`
	Deadline time.Time `json:"deadline,omitzero"`
	// By and Cause name who asked for the pending change.
	By      string `json:"by,omitempty"`
	Cause   string `json:"cause,omitempty"`
	Recycle bool   `json:"recycle,omitempty"`
}

// MemberSnapshot is a member in a Snapshot.
type MemberSnapshot struct {
	Name  string `json:"name"`
	State string `json:"state"`
}

// Snapshot returns what is to be remembered.
func (c *Core) Snapshot() Snapshot {
	s := Snapshot{Version: 1, Time: c.now, RequestID: c.requestID}
	for _, m := range c.members {
		s.Members = append(s.Members, MemberSnapshot{m.name, m.state.String()})
	}
	for _, sys := range c.systems {
		for _, g := range sys.guests {
			st := g.status()
			gs := GuestSnapshot{
				System: st.System, Name: st.Name, Member: st.Member, State: st.State.String(),
				Since: st.Since, Deadline: st.Deadline, Recycle: st.Recycling,
			}
			if !st.Deadline.IsZero() {
				gs.By, gs.Cause = g.by, g.cause
			}
			s.Guests = append(s.Guests, gs)
		}
	}
	return s
}

// Restore puts guests and members into the states of a snapshot that was taken
// from a core of a similar configuration; call it before the first Step.
// Changes that were pending go on at now: they take as long as was left of them
// when the snapshot was taken. What the configuration does not know any more is
// skipped; what the snapshot does not know stays as it is.
func (c *Core) Restore(now time.Time, s Snapshot) []Warning {
	c.out = c.out[:0]
	c.now = now
	if s.RequestID <= math.MaxInt32 {
		c.requestID = max(c.requestID, s.RequestID)
	}
	for _, ms := range s.Members {
		state, err := ParseMemberState(ms.State)
		m := c.member(ms.Name)
		if err != nil || m == nil || ms.Name == "" {
			c.warn("the kept state of member %q (%s) is skipped", ms.Name, ms.State)
			continue
		}
		m.state = state
	}
	for _, gs := range s.Guests {
		g, err := c.guest(gs.System, gs.Name)
		i := slices.Index([]string{"OFF", "STARTING", "ON", "STOPPING"}, gs.State)
		if err != nil || i < 0 {
			c.warn("the kept state of guest %q (%s) is skipped", gs.Name, gs.State)
			continue
		}
		if m := g.sys.find(gs.Member); m != nil {
			g.member = m
		}
		g.state, g.since, g.by, g.cause = State(i), gs.Since, gs.By, gs.Cause
		if gs.Recycle {
			g.recycle = g.member
		}
		if g.state == Starting || g.state == Stopping {
			c.guestTimer(g, gs.Deadline.Sub(s.Time))
		}
	}
	var out []Warning
	for _, a := range c.take() {
		if w, ok := a.(Warning); ok {
			out = append(out, w)
		}
	}
	return out
}
