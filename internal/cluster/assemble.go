package cluster

import "slices"

// Change of a group as corosync's closed process groups report it: without a
// ring, and in several steps where a ring changes.
type GroupChange struct {
	Members      []Member
	Joined, Left []Change
}

// Assembler turns the events of a corosync group into views. corosync reports a
// change of the ring as one or two changes of the group, first those that are
// gone and then those that came back, and then the id of the new ring; a
// process that joins gets the view first and the ring after it. It is a core.
type Assembler struct {
	// Group and Self name this membership.
	Group string
	Self  Member

	ring RingID
	// held are views whose ring is not known yet, and what came after them.
	held []Event
}

// Change takes a change of the group.
func (a *Assembler) Change(c GroupChange) []Event {
	v := View{Group: a.Group, Ring: a.ring, Members: slices.Clone(c.Members), Joined: slices.Clone(c.Joined), Left: slices.Clone(c.Left)}
	slices.SortFunc(v.Members, Member.Compare)
	byMember := func(x, y Change) int { return x.Member.Compare(y.Member) }
	slices.SortFunc(v.Joined, byMember)
	slices.SortFunc(v.Left, byMember)
	ringChange := func(x Change) bool { return x.Reason == Failed || x.Reason == Merged }
	if len(a.held) > 0 || a.ring == (RingID{}) || slices.ContainsFunc(v.Joined, ringChange) || slices.ContainsFunc(v.Left, ringChange) {
		a.held = append(a.held, v)
		return nil
	}
	return []Event{v}
}

// Message takes a message.
func (a *Assembler) Message(from Member, payload []byte) []Event {
	m := Message{Group: a.Group, From: from, Payload: payload}
	if len(a.held) > 0 {
		a.held = append(a.held, m)
		return nil
	}
	return []Event{m}
}

// Ring takes the id of a new ring, and gives what waited for it.
func (a *Assembler) Ring(id RingID) []Event {
	a.ring = id
	out := a.held
	a.held = nil
	last := -1
	for i, ev := range out {
		if v, is := ev.(View); is {
			v.Ring = id
			v.Transitional = false
			out[i] = v
			if last >= 0 {
				prev := out[last].(View)
				prev.Transitional = true
				out[last] = prev
			}
			last = i
		}
	}
	return out
}
