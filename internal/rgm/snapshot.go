package rgm

import (
	"fmt"
	"slices"

	"github.com/haobox/haobox/internal/cluster"
)

// snapshot writes the state. Equal states give equal bytes.
func (s *state) snapshot() []byte {
	w := &writer{b: []byte{'R', 'S', Version}}
	w.policy(s.policy)
	w.bool(s.locked)
	w.u64(s.ring)
	w.u64(s.serial)
	w.i64(s.began)
	w.u64(s.nextDec)
	w.u32(uint32(len(s.nodes)))
	for _, n := range s.nodes {
		w.node(n.ID)
		w.text(n.Name)
		w.u32(n.Instance)
		w.u32(n.Life)
		var bits uint8
		for i, b := range []bool{n.Member, n.Joined, n.Quorate, n.Leaving, n.Known, n.Safe} {
			if b {
				bits |= 1 << i
			}
		}
		w.u8(bits)
		w.u64(n.GoneRing)
		w.u8(uint8(n.Gone))
		w.u64(n.Config)
		w.u64(n.Sum)
	}
	w.u32(uint32(len(s.records)))
	for _, r := range s.ordered() {
		w.record(r)
	}
	h := s.kept()
	w.u32(uint32(len(h)))
	for i := range h {
		w.decision(&h[i])
	}
	return w.b
}

func (w *writer) member(m cluster.Member) {
	w.node(m.Node)
	w.u32(m.Instance)
}

func (r *reader) member() cluster.Member { return cluster.Member{Node: r.node(), Instance: r.u32()} }

func (w *writer) record(r *record) {
	w.text(r.Name)
	w.u8(uint8(r.State))
	w.node(r.Owner)
	w.node(r.LastOwner)
	w.u32(r.Restarts)
	w.i64(r.Transition)
	w.u32(uint32(r.Flags))
	w.u32(r.Instance)
	w.u64(r.Epoch)
	w.u8(uint8(r.Task))
	w.u8(uint8(r.Then))
	w.node(r.Target)
	w.node(r.Origin)
	var bits uint8
	for i, b := range []bool{r.Home, r.WasFailed, r.Removed, r.Known, r.Claims, r.Looked} {
		if b {
			bits |= 1 << i
		}
	}
	w.u8(bits)
	w.nodes(r.Tried)
	w.member(r.Asker)
	w.u64(r.Ask)
	w.u16(uint16(r.Kind))
	w.node(r.FailedOn)
	w.i64(r.RetryAt)
	w.u64(r.StartedAt)
	w.u32(uint32(len(r.RestartTimes)))
	for _, t := range r.RestartTimes {
		w.i64(t)
	}
	w.nodes(r.Look)
	w.node(r.LookFor)
	w.u32(uint32(len(r.Queue)))
	for _, q := range r.Queue {
		w.member(q.From)
		w.request(q.requestMsg)
	}
}

func (r *reader) record() *record {
	x := &record{Service: Service{Name: r.text(), State: State(r.u8()), Owner: r.node(), LastOwner: r.node(), Restarts: r.u32(),
		Transition: r.i64(), Flags: Flags(r.u32())}, Instance: r.u32(), Epoch: r.u64(), Task: task(r.u8()), Then: then(r.u8()),
		Target: r.node(), Origin: r.node()}
	bits := r.u8()
	for i, b := range []*bool{&x.Home, &x.WasFailed, &x.Removed, &x.Known, &x.Claims, &x.Looked} {
		*b = bits&(1<<i) != 0
	}
	x.Tried, x.Asker, x.Ask, x.Kind = r.nodes(), r.member(), r.u64(), Kind(r.u16())
	x.FailedOn, x.RetryAt, x.StartedAt = r.node(), r.i64(), r.u64()
	for range r.count(maxServices, 8) {
		x.RestartTimes = append(x.RestartTimes, r.i64())
	}
	x.Look, x.LookFor = r.nodes(), r.node()
	for range r.count(maxQueue, 25) {
		x.Queue = append(x.Queue, queued{r.member(), r.request()})
	}
	if r.err == nil && (x.Name == "" || x.State < Stopped || x.State > Migrating || x.Task >= taskLast || x.Then >= thenLast) {
		r.err = fmt.Errorf("service %q, state %d: %w", x.Name, x.State, ErrMessage)
	}
	return x
}

func (w *writer) decision(d *Decision) {
	w.u64(d.Serial)
	w.i64(d.At)
	w.text(d.Service)
	w.text(d.Cause)
	w.u8(uint8(d.From))
	w.u8(uint8(d.To))
	w.node(d.Node)
	w.text(d.Why)
	w.u32(uint32(len(d.Candidates)))
	for _, c := range d.Candidates {
		w.node(c.Node)
		w.u8(uint8(c.Score))
		w.u16(uint16(min(c.Running, 0xffff)))
		w.u8(uint8(c.Verdict))
	}
}

func (r *reader) decision() Decision {
	d := Decision{Serial: r.u64(), At: r.i64(), Service: r.text(), Cause: r.text(), From: State(r.u8()), To: State(r.u8()), Node: r.node(), Why: r.text()}
	for range r.count(maxNodes, 8) {
		d.Candidates = append(d.Candidates, Candidate{r.node(), int(r.u8()), int(r.u16()), Verdict(r.u8())})
	}
	return d
}

// restore reads a state. What is invalid gives an error and no state.
func restore(b []byte) (*state, error) {
	if len(b) < 3 || b[0] != 'R' || b[1] != 'S' {
		return nil, fmt.Errorf("a state of %d bytes: %w", len(b), ErrMessage)
	}
	if b[2] != Version {
		return nil, fmt.Errorf("a state of version %d, this is %d: %w", b[2], Version, ErrVersion)
	}
	r := &reader{b: b[3:]}
	s := newState()
	s.setPolicy(r.policy())
	s.locked, s.ring, s.serial, s.began, s.nextDec = r.bool(), r.u64(), r.u64(), r.i64(), r.u64()
	for range r.count(maxNodes, 39) {
		n := &node{ID: r.node(), Name: r.text(), Instance: r.u32(), Life: r.u32()}
		bits := r.u8()
		for i, b := range []*bool{&n.Member, &n.Joined, &n.Quorate, &n.Leaving, &n.Known, &n.Safe} {
			*b = bits&(1<<i) != 0
		}
		n.GoneRing, n.Gone, n.Config, n.Sum = r.u64(), cluster.Reason(r.u8()), r.u64(), r.u64()
		if r.err == nil && (n.ID == 0 || s.node(n.ID) != nil) {
			r.err = fmt.Errorf("node %d: %w", n.ID, ErrMessage)
		}
		s.nodes = append(s.nodes, n)
	}
	slices.SortFunc(s.nodes, func(a, b *node) int { return int(int64(a.ID) - int64(b.ID)) })
	for range r.count(maxServices, 100) {
		x := r.record()
		if r.err == nil && s.records[x.Name] != nil {
			r.err = fmt.Errorf("service %q twice: %w", x.Name, ErrMessage)
		}
		s.records[x.Name] = x
	}
	for range r.count(maxHistory, 36) {
		s.history = append(s.history, r.decision())
	}
	return s, r.end()
}
