//go:build linux

package rgmanager

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/haobox/haobox/internal/cluster"
	"github.com/haobox/haobox/internal/ctl"
	"github.com/haobox/haobox/internal/ragent"
	"github.com/haobox/haobox/internal/rgm"
	"github.com/haobox/haobox/internal/version"
)

// buckets are the upper bounds of histograms in seconds. Ours: from a check in
// process to a file system check.
var buckets = [...]float64{0.001, 0.005, 0.025, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 300}

// histogram is one of Prometheus (its exposition formats, text version 0.0.4).
type histogram struct {
	counts [len(buckets)]uint64
	n      uint64
	sum    float64
}

func (h *histogram) add(d time.Duration) {
	x := max(d, 0).Seconds()
	h.n++
	h.sum += x
	for i, b := range buckets {
		if x <= b {
			h.counts[i]++
		}
	}
}

// seenFor is how long after an event a failure is put down to it: ours.
const seenFor = 30 * time.Second

// metrics counts. It belongs to the loop.
type metrics struct {
	transitions map[[2]string]uint64 // service, state
	failures    map[[2]string]uint64 // type, action
	agents      map[[2]string]*histogram
	phases      map[string]*histogram // start, stop, detect, fence
	since       map[string]time.Time  // service: in its state
	seenAt      map[string]time.Time
	gone        map[cluster.NodeID]time.Time
	members     int
	quorate     bool
	ring        uint64
}

func newMetrics() *metrics {
	return &metrics{transitions: map[[2]string]uint64{}, failures: map[[2]string]uint64{}, agents: map[[2]string]*histogram{},
		phases: map[string]*histogram{}, since: map[string]time.Time{}, seenAt: map[string]time.Time{}, gone: map[cluster.NodeID]time.Time{}}
}

func (m *metrics) phase(name string, d time.Duration) {
	h := m.phases[name]
	if h == nil {
		h = &histogram{}
		m.phases[name] = h
	}
	h.add(d)
}

// engine counts members.
func (m *metrics) engine(now time.Time, ev cluster.Event) {
	switch ev := ev.(type) {
	case cluster.Membership:
		m.members, m.ring = len(ev.Members), ev.Ring.Seq
		for _, id := range ev.Left {
			m.gone[id] = now
		}
		for _, id := range ev.Joined {
			delete(m.gone, id)
		}
	case cluster.Quorum:
		m.quorate = ev.Quorate
	}
}

// safe: fenced knows a node to be off, or to have left in order.
func (m *metrics) safe(now time.Time, id cluster.NodeID, left bool) {
	if at, ok := m.gone[id]; ok && !left {
		m.phase("fence", now.Sub(at))
	}
	delete(m.gone, id)
}

// seen: a watcher saw something of a service.
func (m *metrics) seen(now time.Time, service string) { m.seenAt[service] = now }

func (m *metrics) agent(typ, action string, r ragent.Result) {
	key := [2]string{typ, action}
	h := m.agents[key]
	if h == nil {
		h = &histogram{}
		m.agents[key] = h
	}
	h.add(r.Elapsed)
	if r.Exit != 0 && !r.BrokenOff {
		m.failures[key]++
	}
}

// changed counts a transition and what it says of times.
func (m *metrics) changed(now time.Time, a rgm.Changed) {
	name := a.New.Name
	if name == "" {
		delete(m.since, a.Old.Name)
		return
	}
	if a.Old.State == a.New.State {
		return
	}
	m.transitions[[2]string{name, a.New.State.String()}]++
	at, known := m.since[name]
	m.since[name] = now
	switch {
	case a.New.State == rgm.Error:
		if seen, ok := m.seenAt[name]; ok && now.Sub(seen) < seenFor {
			m.phase("detect", now.Sub(seen))
		}
		delete(m.seenAt, name)
	case !known:
	case a.Old.State == rgm.Starting && a.New.State == rgm.Started:
		m.phase("start", now.Sub(at))
	case a.Old.State == rgm.Stopping || a.Old.State == rgm.Error:
		m.phase("stop", now.Sub(at))
	}
}

// label is the text of a label's value.
func label(s string) string { return strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(s) }

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}

// text is the page.
func (m *metrics) text(st rgm.Status) []byte {
	var b bytes.Buffer
	head := func(name, kind, help string) { fmt.Fprintf(&b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind) }
	head("haobox_build_info", "gauge", "The version.")
	fmt.Fprintf(&b, "haobox_build_info{version=\"%s\"} 1\n", label(version.String()))
	for _, g := range []struct {
		name, help string
		value      uint64
	}{
		{"haobox_quorate", "Whether this node's part of the cluster has quorum.", uint64(bit(m.quorate))},
		{"haobox_members", "Members of the cluster.", uint64(m.members)},
		{"haobox_ring", "Sequence of the ring.", m.ring},
		{"haobox_locked", "Whether services are locked (clusvcadm -l).", uint64(bit(st.Locked))},
		{"haobox_config_version", "Version of the configuration in use.", uint64(max(st.ConfigVersion, 0))},
	} {
		head(g.name, "gauge", g.help)
		fmt.Fprintf(&b, "%s %d\n", g.name, g.value)
	}
	head("haobox_node_waiting", "gauge", "A node that is gone and not known to be off: its services wait.")
	for _, n := range st.Nodes {
		fmt.Fprintf(&b, "haobox_node_waiting{node=\"%s\"} %d\n", label(n.Name), bit(n.Waiting))
	}
	head("haobox_service_state", "gauge", "The state of a service: clustat's number.")
	for _, g := range st.Services {
		fmt.Fprintf(&b, "haobox_service_state{service=\"%s\",state=\"%s\",owner=\"%s\"} %d\n", label(g.Name), g.State, label(g.OwnerName), g.State)
	}
	head("haobox_service_started", "gauge", "Whether a service is started somewhere.")
	for _, g := range st.Services {
		fmt.Fprintf(&b, "haobox_service_started{service=\"%s\"} %d\n", label(g.Name), bit(g.State == rgm.Started))
	}
	head("haobox_service_local", "gauge", "Whether a service is started on this node.")
	for _, g := range st.Services {
		fmt.Fprintf(&b, "haobox_service_local{service=\"%s\"} %d\n", label(g.Name), bit(g.State == rgm.Started && g.Owner == st.Self))
	}
	head("haobox_service_frozen", "gauge", "Whether a service is frozen.")
	for _, g := range st.Services {
		fmt.Fprintf(&b, "haobox_service_frozen{service=\"%s\"} %d\n", label(g.Name), bit(g.Flags&rgm.Frozen != 0))
	}
	head("haobox_service_restarts", "gauge", "Restarts of a service in a row.")
	for _, g := range st.Services {
		fmt.Fprintf(&b, "haobox_service_restarts{service=\"%s\"} %d\n", label(g.Name), g.Restarts)
	}
	head("haobox_service_transitions_total", "counter", "Transitions of a service into a state, as this node saw them.")
	for _, k := range keys(m.transitions) {
		fmt.Fprintf(&b, "haobox_service_transitions_total{service=\"%s\",state=\"%s\"} %d\n", label(k[0]), label(k[1]), m.transitions[k])
	}
	head("haobox_agent_failures_total", "counter", "Runs of resource agents on this node that failed.")
	for _, k := range keys(m.failures) {
		fmt.Fprintf(&b, "haobox_agent_failures_total{type=\"%s\",action=\"%s\"} %d\n", label(k[0]), label(k[1]), m.failures[k])
	}
	head("haobox_agent_seconds", "histogram", "How long resource agents on this node took.")
	for _, k := range keys(m.agents) {
		m.agents[k].write(&b, "haobox_agent_seconds", fmt.Sprintf("type=\"%s\",action=\"%s\"", label(k[0]), label(k[1])))
	}
	head("haobox_phase_seconds", "histogram", "detect: from an event to the failure of a service; fence: from the loss of a node until it is known to be off; stop, start: of services.")
	for _, p := range []string{"detect", "fence", "stop", "start"} {
		if h := m.phases[p]; h != nil {
			h.write(&b, "haobox_phase_seconds", "phase=\""+p+"\"")
		}
	}
	return b.Bytes()
}

func keys[V any](m map[[2]string]V) [][2]string {
	out := make([][2]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.SortFunc(out, func(a, b [2]string) int { return strings.Compare(a[0]+"\x00"+a[1], b[0]+"\x00"+b[1]) })
	return out
}

func (h *histogram) write(b *bytes.Buffer, name, labels string) {
	for i, le := range buckets {
		fmt.Fprintf(b, "%s_bucket{%s,le=\"%s\"} %d\n", name, labels, strconv.FormatFloat(le, 'g', -1, 64), h.counts[i])
	}
	fmt.Fprintf(b, "%s_bucket{%s,le=\"+Inf\"} %d\n%s_sum{%s} %g\n%s_count{%s} %d\n", name, labels, h.n, name, labels, h.sum, name, labels, h.n)
}

// serveMetrics answers GET /v1/metrics.
func (s *shell) serveMetrics(w http.ResponseWriter, r *http.Request) {
	var text []byte
	err := s.in(r.Context(), func() error { text = s.metrics.text(s.core.Status()); return nil })
	if err != nil {
		ctl.Fail(w, http.StatusServiceUnavailable, err)
		return
	}
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	w.Write(text)
}

// listenMetrics answers the same on a TCP address, for everybody: it holds
// names of services and nodes, and nothing can be changed there.
func (s *shell) listenMetrics() error {
	l, err := new(net.ListenConfig).Listen(s.ctx, "tcp", s.o.metrics)
	if err != nil {
		return fmt.Errorf("open the address for metrics: %w", err)
	}
	s.d.Infof("metrics: http://%s/v1/metrics", l.Addr())
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/metrics", s.serveMetrics)
	go func() {
		if err := ctl.Serve(s.ctx, l, mux); err != nil && !errors.Is(err, context.Canceled) {
			s.d.Errorf("metrics: %v", err)
		}
	}()
	return nil
}
