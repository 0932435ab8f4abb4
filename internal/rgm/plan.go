package rgm

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/haobox/haobox/internal/cluster"
)

// ErrPlan: an event that can not be planned.
var ErrPlan = errors.New("not an event that can be planned")

// Plan is what would happen.
type Plan struct {
	// Event is the event in other words.
	Event string `json:"event"`
	// Decisions are those that would be made, in order.
	Decisions []Decision `json:"decisions"`
	// Services are those whose state or owner would be another one, as they
	// are and as they would be.
	Before []ServiceStatus `json:"before"`
	After  []ServiceStatus `json:"after"`
	// Assumed is on what conditions.
	Assumed string `json:"assumed"`
	// Result is the answer to a request.
	Result string `json:"result,omitempty"`
}

// PlanUsage lists the events of Plan.
const PlanUsage = "kill NODE, leave NODE, fail SERVICE, enable SERVICE [NODE], disable SERVICE, stop SERVICE, restart SERVICE, relocate SERVICE [NODE], migrate SERVICE NODE"

// planSteps bounds a plan; each service takes a few.
const planSteps = 100000

// Plan works out what would happen after an event, from the state of the
// moment and by the code that would decide, without doing it. Every start and
// stop is taken to succeed, and fencing too.
func (c *Core) Plan(event string, now time.Time) (*Plan, error) {
	st, err := restore(c.st.snapshot())
	if err != nil {
		return nil, err
	}
	st.self = c.self.Node
	before := c.Status()
	word, what, _ := strings.Cut(strings.TrimSpace(event), " ")
	if what = strings.TrimSpace(what); what == "" {
		return nil, fmt.Errorf("%q: %w; there are: %s", event, ErrPlan, PlanUsage)
	}
	p := &Plan{Assumed: "every start and stop succeeds"}
	from := st.nextDec
	asker := st.node(c.self.Node)
	if !asker.alive() {
		asker = st.node(st.lowest())
	}
	if asker == nil {
		return nil, fmt.Errorf("%q: no rgmanager is a working member: %w", event, ErrPlan)
	}
	run := planner{st: st, now: unix(now), view: cluster.View{Ring: cluster.RingID{Seq: st.ring}}}
	for _, n := range st.nodes {
		if n.Member {
			run.view.Members = append(run.view.Members, cluster.Member{Node: n.ID, Instance: n.Instance})
		}
	}
	switch word {
	case "kill", "leave":
		n := st.named(what)
		if n == nil || !n.alive() {
			return nil, fmt.Errorf("%q: rgmanager does not run on a node %q: %w", event, what, ErrPlan)
		}
		if word == "leave" {
			p.Event = n.Name + " shuts down in order"
			run.send(n, newWriter(cmdLeaving, run.now).Bytes())
			break
		}
		p.Event, p.Assumed = n.Name+" fails", "the other nodes stay quorate, "+n.Name+" is fenced, and every start and stop succeeds"
		run.lose(n)
	case "fail":
		r := st.records[full(what)]
		if r == nil || r.State != Started || st.ownerLost(r) {
			return nil, fmt.Errorf("%q: no service %q is started: %w", event, what, ErrPlan)
		}
		p.Event = "a status check of " + r.Name + " fails"
		run.send(st.node(r.Owner), doneMsg{service: r.Name, epoch: r.Epoch}.encode(cmdFail, run.now))
	default:
		kind := orderKind(word)
		if word == "migrate" {
			kind = Migrate
		}
		if kind == 0 {
			return nil, fmt.Errorf("%q: %w; there are: %s", event, ErrPlan, PlanUsage)
		}
		q := Request{Kind: kind, Service: full(what)}
		p.Event = "somebody asks to " + word + " " + q.Service
		// Names of services may hold blanks, those of nodes do not.
		if at := strings.LastIndexByte(what, ' '); at >= 0 && st.records[q.Service] == nil {
			n := st.named(what[at+1:])
			if n == nil {
				return nil, fmt.Errorf("%q: there is no node %q: %w", event, what[at+1:], ErrPlan)
			}
			q.Service, q.Target = full(strings.TrimSpace(what[:at])), n.ID
			p.Event = "somebody asks to " + word + " " + q.Service + st.where(q)
		}
		run.send(asker, requestMsg{1, q}.encode(run.now))
	}
	run.finish()
	if run.err != nil {
		return nil, run.err
	}
	for _, r := range run.replies {
		p.Result = r.result.String()
	}
	for _, d := range st.kept() {
		if d.Serial > from {
			p.Decisions = append(p.Decisions, d)
		}
	}
	other := &Core{st: st, self: c.self, rep: c.rep}
	for _, a := range other.Status().Services {
		i := slices.IndexFunc(before.Services, func(b ServiceStatus) bool { return b.Name == a.Name })
		if i >= 0 && (before.Services[i].State != a.State || before.Services[i].Owner != a.Owner) {
			p.Before, p.After = append(p.Before, before.Services[i]), append(p.After, a)
		}
	}
	return p, nil
}

func full(name string) string {
	if strings.Contains(name, ":") {
		return name
	}
	return "service:" + name
}

// named finds a node by its name or number.
func (s *state) named(name string) *node {
	for _, n := range s.nodes {
		if n.Name == name || fmt.Sprint(n.ID) == name {
			return n
		}
	}
	return nil
}

// planner applies commands to a copy of the state.
type planner struct {
	st      *state
	now     int64
	view    cluster.View
	replies []reply
	err     error
}

func (p *planner) send(n *node, b []byte) {
	if err := p.st.apply(cluster.Member{Node: n.ID, Instance: n.Instance}, p.view, b); err != nil && p.err == nil {
		p.err = err
	}
	p.replies = append(p.replies, p.st.replies...)
	p.st.notes, p.st.replies, p.st.changes, p.st.fresh = nil, nil, nil, 0
}

// lose makes a node fail and be fenced.
func (p *planner) lose(n *node) {
	gone := cluster.Member{Node: n.ID, Instance: n.Instance}
	p.view.Ring.Seq += 4
	p.view.Members = remove(slices.Clone(p.view.Members), gone)
	by := p.st.node(p.st.lowest())
	for _, o := range p.st.nodes {
		if o.alive() && o != n {
			by = o
			break
		}
	}
	if by == n || by == nil {
		p.err = fmt.Errorf("%s is the only node with a rgmanager: %w", n.Name, ErrPlan)
		return
	}
	p.send(by, viewMsg{ring: p.view.Ring.Seq, quorate: true, members: p.view.Members, gone: []cluster.Change{{Member: gone, Reason: cluster.Failed}}}.encode(p.now))
	p.send(by, safeMsg{node: n.ID, ring: p.view.Ring.Seq}.encode(p.now))
}

// finish lets every owner do what it is told, until nothing is left to do.
func (p *planner) finish() {
	for range planSteps {
		var next *record
		var looker *node
		for _, r := range p.st.ordered() {
			if r.Task == noTask || p.st.ownerLost(r) {
				continue
			}
			if r.Task == taskLook {
				i := slices.IndexFunc(r.Look, func(id cluster.NodeID) bool { return p.st.node(id).alive() })
				if i < 0 {
					continue // it waits for nodes that failed
				}
				looker = p.st.node(r.Look[i])
			}
			next = r
			break
		}
		if next == nil || p.err != nil {
			return
		}
		if next.Task == taskLook {
			p.send(looker, doneMsg{service: next.Name, epoch: next.Epoch}.encode(cmdLooked, p.now))
			continue
		}
		p.send(p.st.node(next.Owner), doneMsg{service: next.Name, epoch: next.Epoch, ok: true}.encode(cmdDone, p.now))
	}
	p.err = fmt.Errorf("no end after %d steps: %w", planSteps, ErrPlan)
}
