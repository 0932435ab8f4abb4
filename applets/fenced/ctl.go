//go:build linux

package fenced

import (
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/haobox/haobox/internal/cluster"
	"github.com/haobox/haobox/internal/ctl"
	"github.com/haobox/haobox/internal/fencing"
)

// maxQueue is how many objects may wait for one reader of a stream; a reader
// that is slower is let go, and begins anew.
const maxQueue = 4096

// watcher is a reader of /v1/events or /v1/history. Its channel is closed in
// the loop when the reader is too slow.
type watcher struct {
	history bool
	last    []fencing.Op // what it knows of the history
	c       chan any
}

// tell queues an object, in the loop.
func (s *shell) tell(w *watcher, v any) {
	if !s.watchers[w] {
		return
	}
	select {
	case w.c <- v:
	default:
		delete(s.watchers, w)
		close(w.c)
	}
}

// publish tells the readers of streams what changed.
func (s *shell) publish() {
	nodes := s.core.Nodes()
	for _, n := range nodes {
		if slices.Contains(s.nodes, n) {
			continue
		}
		for w := range s.watchers {
			if !w.history {
				s.tell(w, n)
			}
		}
	}
	s.nodes = nodes
	for w := range s.watchers {
		if !w.history {
			continue
		}
		all := s.core.History()
		for _, op := range all {
			if !slices.Contains(w.last, op) {
				s.tell(w, op)
			}
		}
		w.last = all
	}
}

// serve answers requests on the control socket.
func (s *shell) serve() {
	reply := func(pattern string, f func() any) {
		s.d.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			var v any
			if err := s.d.Loop.Do(r.Context(), func() { v = f() }); err != nil {
				ctl.Fail(w, http.StatusServiceUnavailable, errors.New("fenced is ending"))
				return
			}
			ctl.Reply(w, v)
		})
	}
	reply("GET /v1/nodes", func() any { return s.core.Nodes() })
	reply("GET /v1/domain", func() any { return s.core.Info() })
	reply("POST /v1/join", func() any {
		s.step(fencing.Join{})
		return nil
	})
	s.d.HandleFunc("GET /v1/events", s.events)
	s.d.HandleFunc("GET /v1/history", s.historyOf)
	s.d.HandleFunc("POST /v1/leave", func(w http.ResponseWriter, r *http.Request) {
		if busy(r.Context(), s.d) {
			ctl.Fail(w, http.StatusConflict, errors.New("rgmanager runs services on this node"))
			return
		}
		if s.d.Loop.Do(r.Context(), func() { s.step(fencing.Leave{}) }) == nil {
			ctl.Reply(w, nil)
		}
	})
	s.d.HandleFunc("POST /v1/external", func(w http.ResponseWriter, r *http.Request) {
		var in struct {
			Node cluster.NodeID `json:"node"`
			Ring uint64         `json:"ring"`
		}
		if err := ctl.Read(r, &in); err != nil {
			ctl.Fail(w, http.StatusBadRequest, err)
			return
		}
		if s.d.Loop.Do(r.Context(), func() { s.step(fencing.External{Node: in.Node, Ring: in.Ring}) }) == nil {
			ctl.Reply(w, nil)
		}
	})
	s.d.HandleFunc("POST /v1/ack", func(w http.ResponseWriter, r *http.Request) {
		var in struct {
			Name string `json:"name"`
		}
		if err := ctl.Read(r, &in); err != nil {
			ctl.Fail(w, http.StatusBadRequest, err)
			return
		}
		known := false
		if s.d.Loop.Do(r.Context(), func() { known = s.ack(in.Name) }) != nil {
			return
		}
		if !known {
			ctl.Fail(w, http.StatusNotFound, fmt.Errorf("%.64q is not to be fenced", in.Name))
			return
		}
		ctl.Reply(w, nil)
	})
}

// events is the stream of the nodes' states: first all, then those that change.
func (s *shell) events(w http.ResponseWriter, r *http.Request) {
	s.stream(w, r, &watcher{})
}

// historyOf is the history; with ?follow=1 a stream that goes on with new
// operations.
func (s *shell) historyOf(w http.ResponseWriter, r *http.Request) {
	if r.URL.Query().Get("follow") != "" {
		s.stream(w, r, &watcher{history: true})
		return
	}
	var all []fencing.Op
	if s.d.Loop.Do(r.Context(), func() { all = s.core.History() }) == nil {
		ctl.Reply(w, append([]fencing.Op{}, all...))
	}
}

// stream writes the present state and then each change, until the reader goes.
func (s *shell) stream(w http.ResponseWriter, r *http.Request, wa *watcher) {
	wa.c = make(chan any, maxQueue)
	if s.d.Loop.Do(r.Context(), func() {
		s.watchers[wa] = true
		if wa.history {
			wa.last = s.core.History()
			for _, op := range wa.last {
				s.tell(wa, op)
			}
			return
		}
		for _, n := range s.core.Nodes() {
			s.tell(wa, n)
		}
	}) != nil {
		return
	}
	defer s.d.Loop.Post(func() { delete(s.watchers, wa) })
	write := ctl.Stream(w)
	for {
		select {
		case <-r.Context().Done():
			return
		case v, open := <-wa.c:
			if !open || write(v) != nil {
				return
			}
		}
	}
}
