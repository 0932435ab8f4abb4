package rgm

import (
	"fmt"
	"slices"

	"github.com/haobox/haobox/internal/cluster"
	"github.com/haobox/haobox/internal/wire"
)

// snapshot writes the state. Equal states give equal bytes.
func (s *state) snapshot() []byte {
	w := &writer{wire.NewWriter([]byte{'R', 'S', Version}, maxName)}
	w.policy(s.policy)
	w.Bool(s.locked)
	w.U64(s.ring)
	w.U64(s.serial)
	w.I64(s.began)
	w.U64(s.nextDec)
	w.Count(len(s.nodes))
	for _, n := range s.nodes {
		w.Node(n.ID)
		w.Text(n.Name)
		w.U32(n.Instance)
		w.U32(n.Life)
		var bits uint8
		for i, b := range []bool{n.Member, n.Joined, n.Quorate, n.Leaving, n.Known, n.Safe} {
			if b {
				bits |= 1 << i
			}
		}
		w.U8(bits)
		w.U64(n.GoneRing)
		w.U8(uint8(n.Gone))
		w.U64(n.Config)
		w.U64(n.Sum)
	}
	w.Count(len(s.records))
	for _, r := range s.ordered() {
		w.record(r)
	}
	h := s.kept()
	w.Count(len(h))
	for i := range h {
		w.decision(&h[i])
	}
	return w.Bytes()
}

func (w *writer) member(m cluster.Member) {
	w.Node(m.Node)
	w.U32(m.Instance)
}

func (r *reader) member() cluster.Member { return cluster.Member{Node: r.Node(), Instance: r.U32()} }

func (w *writer) record(r *record) {
	w.Text(r.Name)
	w.U8(uint8(r.State))
	w.Node(r.Owner)
	w.Node(r.LastOwner)
	w.U32(r.Restarts)
	w.I64(r.Transition)
	w.U32(uint32(r.Flags))
	w.U32(r.Instance)
	w.U64(r.Epoch)
	w.U8(uint8(r.Task))
	w.U8(uint8(r.Then))
	w.Text(r.Cause)
	w.Node(r.Target)
	w.Node(r.Origin)
	var bits uint8
	for i, b := range []bool{r.Home, r.WasFailed, r.Removed, r.Known, r.Claims, r.Looked} {
		if b {
			bits |= 1 << i
		}
	}
	w.U8(bits)
	w.nodes(r.Tried)
	w.member(r.Asker)
	w.U64(r.Ask)
	w.U16(uint16(r.Kind))
	w.Node(r.FailedOn)
	w.I64(r.RetryAt)
	w.U64(r.StartedAt)
	w.Count(len(r.RestartTimes))
	for _, t := range r.RestartTimes {
		w.I64(t)
	}
	w.nodes(r.Look)
	w.Node(r.LookFor)
	w.Count(len(r.Queue))
	for _, q := range r.Queue {
		w.member(q.From)
		w.request(q.requestMsg)
	}
}

func (r *reader) record() *record {
	x := &record{Service: Service{Name: r.Text(), State: State(r.U8()), Owner: r.Node(), LastOwner: r.Node(), Restarts: r.U32(),
		Transition: r.I64(), Flags: Flags(r.U32())}, Instance: r.U32(), Epoch: r.U64(), Task: task(r.U8()), Then: then(r.U8()),
		Cause: r.Text(), Target: r.Node(), Origin: r.Node()}
	bits := r.U8()
	for i, b := range []*bool{&x.Home, &x.WasFailed, &x.Removed, &x.Known, &x.Claims, &x.Looked} {
		*b = bits&(1<<i) != 0
	}
	x.Tried, x.Asker, x.Ask, x.Kind = r.nodes(), r.member(), r.U64(), Kind(r.U16())
	x.FailedOn, x.RetryAt, x.StartedAt = r.Node(), r.I64(), r.U64()
	for range r.Count(maxServices, 8) {
		x.RestartTimes = append(x.RestartTimes, r.I64())
	}
	x.Look, x.LookFor = r.nodes(), r.Node()
	for range r.Count(maxQueue, 25) {
		x.Queue = append(x.Queue, queued{r.member(), r.request()})
	}
	if x.Name == "" || x.State < Stopped || x.State > Migrating || x.Task >= taskLast || x.Then >= thenLast {
		r.Fail("service %q, state %d", x.Name, x.State)
	}
	return x
}

func (w *writer) decision(d *Decision) {
	w.U64(d.Serial)
	w.I64(d.At)
	w.Text(d.Service)
	w.Text(d.Cause)
	w.U8(uint8(d.From))
	w.U8(uint8(d.To))
	w.Node(d.Node)
	w.Text(d.Why)
	w.Count(len(d.Candidates))
	for _, c := range d.Candidates {
		w.Node(c.Node)
		w.U8(uint8(c.Score))
		w.U16(uint16(min(c.Running, 0xffff)))
		w.U8(uint8(c.Verdict))
	}
}

func (r *reader) decision() Decision {
	d := Decision{Serial: r.U64(), At: r.I64(), Service: r.Text(), Cause: r.Text(), From: State(r.U8()), To: State(r.U8()), Node: r.Node(), Why: r.Text()}
	for range r.Count(maxNodes, 8) {
		d.Candidates = append(d.Candidates, Candidate{r.Node(), int(r.U8()), int(r.U16()), Verdict(r.U8())})
	}
	return d
}

// restore reads a state. What is invalid gives an error and no state.
func restore(b []byte) (*state, error) {
	if len(b) < 3 || b[0] != 'R' || b[1] != 'S' {
		return nil, fmt.Errorf("a state of %d bytes: %w", len(b), ErrMessage)
	}
	if b[2] != Version {
		return nil, fmt.Errorf("%w: it is of version %d, this one speaks %d", ErrVersion, b[2], Version)
	}
	r := newReader(b[3:])
	s := newState()
	s.setPolicy(r.policy())
	s.locked, s.ring, s.serial, s.began, s.nextDec = r.Bool(), r.U64(), r.U64(), r.I64(), r.U64()
	for range r.Count(maxNodes, 39) {
		n := &node{ID: r.Node(), Name: r.Text(), Instance: r.U32(), Life: r.U32()}
		bits := r.U8()
		for i, b := range []*bool{&n.Member, &n.Joined, &n.Quorate, &n.Leaving, &n.Known, &n.Safe} {
			*b = bits&(1<<i) != 0
		}
		n.GoneRing, n.Gone, n.Config, n.Sum = r.U64(), cluster.Reason(r.U8()), r.U64(), r.U64()
		if n.ID == 0 || s.node(n.ID) != nil {
			r.Fail("node %d", n.ID)
		}
		s.nodes = append(s.nodes, n)
	}
	slices.SortFunc(s.nodes, func(a, b *node) int { return int(int64(a.ID) - int64(b.ID)) })
	for range r.Count(maxServices, 102) {
		x := r.record()
		if s.records[x.Name] != nil {
			r.Fail("service %q twice", x.Name)
		}
		s.records[x.Name] = x
	}
	for range r.Count(maxHistory, 36) {
		s.history = append(s.history, r.decision())
	}
	return s, r.End()
}
