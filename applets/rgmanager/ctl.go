//go:build linux

package rgmanager

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
	"unicode"

	"github.com/haobox/haobox/internal/cluster"
	"github.com/haobox/haobox/internal/ctl"
	"github.com/haobox/haobox/internal/rgm"
	"github.com/haobox/haobox/internal/rgmctl"
)

// engineAnswer bounds a question to the engine for a status. Ours: clustat
// waits 10 s.
const engineAnswer = 5 * time.Second

var (
	errStarting = errors.New("rgmanager has not joined the cluster yet")
	errAction   = errors.New("no such action")
)

// routes are the requests of the control socket.
func (s *shell) routes() {
	s.d.HandleFunc("GET /v1/status", atMost(func() int { return s.d.Conf().RM.StatusMax }, func(w http.ResponseWriter, r *http.Request) {
		st, err := s.status(r.Context())
		if err != nil {
			ctl.Fail(w, http.StatusServiceUnavailable, err)
			return
		}
		ctl.Reply(w, st)
	}))
	s.d.HandleFunc("POST /v1/request", s.request)
	s.d.HandleFunc("POST /v1/lock", s.lock)
	s.d.HandleFunc("POST /v1/idle", s.idle)
	s.d.HandleFunc("GET /v1/weight", s.weight)
	s.d.HandleFunc("GET /v1/why", func(w http.ResponseWriter, r *http.Request) {
		out, err := s.why(r.Context(), rgmctl.FullName(r.URL.Query().Get("service")))
		if err != nil {
			ctl.Fail(w, http.StatusNotFound, err)
			return
		}
		ctl.Reply(w, out)
	})
	s.d.HandleFunc("POST /v1/plan", s.plan)
	s.d.HandleFunc("POST /v1/shutdown", func(w http.ResponseWriter, r *http.Request) {
		var in struct {
			Keep bool `json:"keep"`
		}
		err := ctl.Read(r, &in)
		if err == nil {
			err = s.in(r.Context(), func() error { s.step(rgm.Shutdown{Keep: in.Keep}); return nil })
		}
		if err != nil {
			ctl.Fail(w, http.StatusBadRequest, err)
			return
		}
		ctl.Reply(w, nil)
	})
	s.d.HandleFunc("GET /v1/metrics", s.serveMetrics)
}

// atMost lets so many clients at a time get an answer of h, 0 for any number, and
// tells the others to try again, as rgmanager's attribute statusmax does.
func atMost(limit func() int, h http.HandlerFunc) http.HandlerFunc {
	var now atomic.Int64
	return func(w http.ResponseWriter, r *http.Request) {
		n := now.Add(1)
		defer now.Add(-1)
		if most := limit(); most > 0 && n > int64(most) {
			ctl.Fail(w, http.StatusServiceUnavailable, errors.New(rgm.Again.String()))
			return
		}
		h(w, r)
	}
}

// in runs f in the loop, once there is a core.
func (s *shell) in(ctx context.Context, f func() error) error {
	var err error
	if e := s.d.Loop.Do(ctx, func() {
		if s.core == nil {
			err = errStarting
			return
		}
		err = f()
	}); e != nil {
		return e
	}
	return err
}

// status is everything that clustat shows.
func (s *shell) status(ctx context.Context) (*rgmctl.Status, error) {
	var st rgm.Status
	var e cluster.Engine
	if err := s.in(ctx, func() error { st, e = s.core.Status(), s.engine; return nil }); err != nil {
		return nil, err
	}
	limit, cancel := context.WithTimeout(ctx, engineAnswer)
	defer cancel()
	es, err := e.Status(limit)
	if err != nil {
		return nil, fmt.Errorf("ask the cluster engine: %w", err)
	}
	conf := s.d.Conf()
	out := rgmctl.FromCluster(es, conf)
	out.GroupMember, out.Locked, out.ConfigVersion = true, st.Locked, st.ConfigVersion
	for _, n := range st.Nodes {
		for i := range out.Nodes {
			if out.Nodes[i].ID == uint32(n.ID) && !out.Nodes[i].QDisk {
				out.Nodes[i].RGManager = n.RGManager
				out.Nodes[i].Worker = n.RGManager && conf.RM.CentralProcessing
			}
		}
	}
	if conf.RM.CentralProcessing {
		for i := range out.Nodes { // decisions are everybody's; the lowest one speaks for all
			if out.Nodes[i].RGManager {
				out.Nodes[i].Master, out.Nodes[i].Worker = true, false
				break
			}
		}
	}
	for _, g := range st.Services {
		out.Services = append(out.Services, service(g))
	}
	return out, nil
}

func service(g rgm.ServiceStatus) rgmctl.Service {
	x := rgmctl.Service{Name: g.Name, State: int(g.State), StateName: g.State.String(), Flags: uint32(g.Flags),
		Owner: uint32(g.Owner), LastOwner: uint32(g.LastOwner), OwnerName: g.OwnerName, LastOwnerName: g.LastOwnerName, Restarts: g.Restarts}
	if g.Transition != 0 {
		x.Transition = time.Unix(g.Transition, 0).UTC()
	}
	return x
}

func kind(action string) (rgm.Kind, error) {
	switch action {
	case "enable":
		return rgm.Enable, nil
	case "disable":
		return rgm.Disable, nil
	case "stop":
		return rgm.UserStop, nil
	case "restart":
		return rgm.Restart, nil
	case "relocate":
		return rgm.Relocate, nil
	case "migrate":
		return rgm.Migrate, nil
	case "freeze":
		return rgm.Freeze, nil
	case "unfreeze":
		return rgm.Unfreeze, nil
	case "convalesce":
		return rgm.Convalesce, nil
	}
	return 0, fmt.Errorf("%w: %q", errAction, action)
}

// maxName bounds the name in a request: restree.RGNameMax with room.
const maxName = 256

func (s *shell) request(w http.ResponseWriter, r *http.Request) {
	var in rgmctl.Request
	err := ctl.Read(r, &in)
	var k rgm.Kind
	if err == nil {
		k, err = kind(in.Action)
	}
	if err == nil && (in.Service == "" || len(in.Service) > maxName) {
		err = fmt.Errorf("a service's name has 1 to %d bytes", maxName)
	}
	if err != nil {
		ctl.Fail(w, http.StatusBadRequest, err)
		return
	}
	a, err := s.ask(r.Context(), rgm.Request{Kind: k, Service: rgmctl.FullName(in.Service), Target: cluster.NodeID(in.Target), Best: in.ByDomain})
	if err != nil {
		ctl.Fail(w, http.StatusServiceUnavailable, err)
		return
	}
	ctl.Reply(w, rgmctl.Answer{Code: int(a.Result), Text: a.Result.String(), Owner: uint32(a.Owner)})
}

// ask gives the core a request and waits for its answer, as long as the client
// does.
func (s *shell) ask(ctx context.Context, req rgm.Request) (rgm.Reply, error) {
	c := make(chan rgm.Reply, 1)
	var id uint64
	if err := s.in(ctx, func() error {
		s.nextAsk++
		id = s.nextAsk
		s.asked[id] = c
		s.step(rgm.Client{ID: id, Request: req})
		return nil
	}); err != nil {
		return rgm.Reply{}, err
	}
	select {
	case a := <-c:
		return a, nil
	case <-ctx.Done():
		s.d.Loop.Post(func() { delete(s.asked, id) })
		return rgm.Reply{}, ctx.Err()
	}
}

func (s *shell) lock(w http.ResponseWriter, r *http.Request) {
	var in rgmctl.Lock
	if err := ctl.Read(r, &in); err != nil {
		ctl.Fail(w, http.StatusBadRequest, err)
		return
	}
	req := rgm.Request{Kind: rgm.QueryLock}
	if in.Lock != nil {
		req.Kind = rgm.Unlock
		if *in.Lock {
			req.Kind = rgm.Lock
		}
	}
	a, err := s.ask(r.Context(), req)
	if err == nil && a.Result < 0 {
		err = errors.New(a.Result.String())
	}
	if err != nil {
		ctl.Fail(w, http.StatusServiceUnavailable, err)
		return
	}
	ctl.Reply(w, rgmctl.Lock{Locked: req.Kind == rgm.Lock || req.Kind == rgm.QueryLock && a.Result == rgm.Yes})
}

// idle takes a person's word about a node.
func (s *shell) idle(w http.ResponseWriter, r *http.Request) {
	var in rgmctl.Idle
	err := ctl.Read(r, &in)
	if err == nil && (len(in.By) > maxName || strings.ContainsFunc(in.By, unicode.IsControl)) {
		err = fmt.Errorf("who says so has up to %d characters that can be printed", maxName)
	}
	if err != nil {
		ctl.Fail(w, http.StatusBadRequest, err)
		return
	}
	a, err := s.ask(r.Context(), rgm.Request{Kind: rgm.AssumeIdleRequest, Service: in.By, Target: cluster.NodeID(in.Node)})
	if err != nil {
		ctl.Fail(w, http.StatusServiceUnavailable, err)
		return
	}
	ctl.Reply(w, rgmctl.Answer{Code: int(a.Result), Text: a.Result.String()})
}

// why is the history of a service.
func (s *shell) why(ctx context.Context, name string) (*rgmctl.Why, error) {
	var out rgmctl.Why
	err := s.in(ctx, func() error {
		names := map[cluster.NodeID]string{}
		st := s.core.Status()
		for _, n := range st.Nodes {
			names[n.ID] = n.Name
		}
		found := false
		for _, g := range st.Services {
			if g.Name == name {
				out.Service, found = service(g), true
			}
		}
		if !found {
			return fmt.Errorf("there is no service %s", name)
		}
		out.Decisions = decisions(s.core.Why(name), names)
		return nil
	})
	return &out, err
}

func decisions(all []rgm.Decision, names map[cluster.NodeID]string) (out []rgmctl.Decision) {
	for _, d := range all {
		if d.To == 0 { // nothing was decided yet
			d.To = d.From
		}
		x := rgmctl.Decision{Serial: d.Serial, Service: d.Service, Time: time.Unix(d.At, 0).UTC(), Cause: d.Cause, Why: d.Why,
			From: d.From.String(), To: d.To.String(), Node: names[d.Node]}
		if d.Heard != 0 {
			x.Time = time.UnixMilli(d.Heard).UTC()
		}
		for _, c := range d.Candidates {
			x.Candidates = append(x.Candidates, rgmctl.Candidate{Node: names[c.Node], Score: c.Score, Running: c.Running, Verdict: d.Verdict(c)})
		}
		out = append(out, x)
	}
	return out
}

// plan is what would happen after an event.
func (s *shell) plan(w http.ResponseWriter, r *http.Request) {
	var in rgmctl.PlanRequest
	if err := ctl.Read(r, &in); err != nil {
		ctl.Fail(w, http.StatusBadRequest, err)
		return
	}
	var out rgmctl.Plan
	err := s.in(r.Context(), func() error {
		p, err := s.core.Plan(in.Event, s.d.Env.Clock.Now())
		if err != nil {
			return err
		}
		names := map[cluster.NodeID]string{}
		for _, n := range s.core.Status().Nodes {
			names[n.ID] = n.Name
		}
		out = rgmctl.Plan{Event: p.Event, Assumed: p.Assumed, Result: p.Result, Decisions: decisions(p.Decisions, names)}
		for _, g := range p.Before {
			out.Before = append(out.Before, service(g))
		}
		for _, g := range p.After {
			out.After = append(out.After, service(g))
		}
		return nil
	})
	if err != nil {
		ctl.Fail(w, http.StatusBadRequest, err)
		return
	}
	ctl.Reply(w, out)
}
