package phasim

import (
	"slices"
	"time"
)

// Settings are the parameters of the application monitors, as phaksyssetup
// configures them.
type Settings struct {
	Interval      time.Duration
	Stabilization time.Duration
	RestartCount  int
	// Background: the event does not wait for the start script, and its exit
	// status does not count.
	Background bool
	// Repeat is the pause between two calls of the startup monitor within the
	// stabilization interval. An assumption.
	Repeat time.Duration
	// Detect is how long a dead node goes unnoticed. An assumption.
	Detect time.Duration
}

// DefaultSettings are the ones that give the paper's restart interval of
// 198 s.
func DefaultSettings() Settings {
	return Settings{Interval: 60 * time.Second, Stabilization: 120 * time.Second, RestartCount: 1, Repeat: 10 * time.Second, Detect: 12 * time.Second}
}

// RestartInterval is the time of stability that resets the restart counter.
func (s Settings) RestartInterval() time.Duration {
	return time.Duration(s.RestartCount) * (s.Stabilization + s.Interval) * 11 / 10
}

// Manager is the part of PowerHA that carries one resource group: a core that
// is told what happens and says what to run. It follows the table of events
// and states in PowerHA's public documentation; where that is silent it is an
// assumption: the startup monitor is not repeated for a restart that the
// long-running monitor ordered, a group that no node could start stays in
// ERROR until a node joins or an operator acts, and a failed stop is ERROR for
// good.
type Manager struct {
	Settings Settings
	// Nodes in the order of the resource group's list.
	Nodes []string
	// Epoch counts the group's placements.
	Epoch int

	state    groupState
	node     string
	run      int // id of the script that counts
	ids      int
	timer    int
	deadline time.Time // end of the stabilization interval
	restarts int
	failedAt time.Time
	tried    []string
	up       []string
	stuck    bool   // a stop failed
	errorOn  string // node that shows ERROR
}

type groupState int

const (
	groupOffline groupState = iota
	groupStartup            // startup monitor before the start script
	groupStarting
	groupConfirm // startup monitor after the start script
	groupOnline  // between two calls of the long-running monitor
	groupMonitor // during one
	groupCleanup
	groupRestart
	groupReleasing
	groupStopping // clmgr offline
	groupError
)

// The events of the Manager.
type (
	// ClusterOnline starts the cluster services; Operator brings a group in
	// ERROR online again; ClusterOffline stops all.
	ClusterOnline  struct{ Up []string }
	Operator       struct{}
	ClusterOffline struct{}
	// MoveGroup is an operator who moves the group to the next node; events
	// that wait for a script are not interrupted.
	MoveGroup struct{}
	// NodeJoined and NodeLost come when PowerHA has noticed.
	NodeJoined struct{ Node string }
	NodeLost   struct{ Node string }
	// ScriptDone is the result of RunScript. Hung: it was killed.
	ScriptDone struct {
		ID, Code int
		Hung     bool
	}
	// TimerDue is a timer that was set.
	TimerDue struct{ ID int }
)

// The actions of the Manager.
type (
	// RunScript runs a script on a node; Limit is when it is killed.
	RunScript struct {
		ID     int
		Node   string
		Script string
		Limit  time.Duration
	}
	// SetTimer asks for TimerDue.
	SetTimer struct {
		ID int
		At time.Time
	}
	// SetState is the group's state on a node as clRGinfo shows it.
	SetState struct{ Node, State string }
)

// Group is the group's node ("" if it is nowhere) and whether it is online
// there, or in ERROR.
func (m *Manager) Group() (node string, online, failed bool) {
	switch m.state {
	case groupOnline, groupMonitor, groupCleanup, groupRestart:
		return m.node, true, false
	}
	return m.node, false, m.state == groupError
}

// Step handles one event.
func (m *Manager) Step(now time.Time, ev any) []any {
	switch ev := ev.(type) {
	case ClusterOnline:
		m.up = slices.Clone(ev.Up)
		m.tried = nil
		return m.next(now)
	case Operator:
		if m.state != groupError {
			return nil
		}
		m.stuck, m.tried = false, nil
		return m.next(now)
	case ClusterOffline:
		if m.node == "" || m.state == groupError {
			m.state = groupOffline
			return nil
		}
		m.state = groupStopping
		return []any{SetState{m.node, "RELEASING"}, m.script("stopksys", 0)}
	case MoveGroup:
		if m.state != groupOnline && m.state != groupConfirm {
			return nil
		}
		return m.release()
	case NodeJoined:
		if !slices.Contains(m.up, ev.Node) {
			m.up = append(m.up, ev.Node)
		}
		if m.state == groupError && !m.stuck {
			m.tried = nil
			return m.acquire(now, ev.Node)
		}
		return nil
	case NodeLost:
		m.up = slices.DeleteFunc(m.up, func(n string) bool { return n == ev.Node })
		if ev.Node != m.node {
			return nil
		}
		// Nothing can be run there any more; its group goes to the next.
		out := []any{SetState{m.node, "OFFLINE"}}
		m.tried, m.stuck = nil, false
		return append(out, m.next(now)...)
	case TimerDue:
		if ev.ID == m.timer {
			m.timer = 0
			return m.due(now)
		}
	case ScriptDone:
		if ev.ID == m.run {
			m.run = 0
			code := ev.Code
			if ev.Hung {
				code = codeDown
			}
			return m.done(now, code)
		}
	}
	return nil
}

func (m *Manager) script(name string, limit time.Duration) RunScript {
	m.ids++
	m.run = m.ids
	return RunScript{ID: m.ids, Node: m.node, Script: name, Limit: limit}
}

func (m *Manager) wait(at time.Time) SetTimer {
	m.ids++
	m.timer = m.ids
	return SetTimer{m.ids, at}
}

// next acquires the group on the next node of the list that is up and was
// not tried since the group was online, or leaves it in ERROR.
func (m *Manager) next(now time.Time) []any {
	start := slices.Index(m.Nodes, m.node) + 1
	for i := range m.Nodes {
		n := m.Nodes[(start+i)%len(m.Nodes)]
		if slices.Contains(m.up, n) && !slices.Contains(m.tried, n) {
			return m.acquire(now, n)
		}
	}
	last := m.node
	m.state, m.node, m.run, m.timer = groupError, "", 0, 0
	if last != "" && slices.Contains(m.up, last) {
		m.errorOn = last
		return []any{SetState{last, "ERROR"}}
	}
	return nil
}

func (m *Manager) acquire(now time.Time, node string) []any {
	m.Epoch++
	m.state, m.node, m.restarts, m.timer = groupStartup, node, 0, 0
	m.deadline = now.Add(m.Settings.Stabilization)
	var out []any
	if m.errorOn != "" && m.errorOn != node {
		out = append(out, SetState{m.errorOn, "OFFLINE"})
	}
	m.errorOn = ""
	return append(out, SetState{node, "ACQUIRING"}, m.script("startupmonksys", m.Settings.Stabilization))
}

// release runs the stop script and moves on.
func (m *Manager) release() []any {
	m.state, m.timer = groupReleasing, 0
	m.tried = append(m.tried, m.node)
	return []any{SetState{m.node, "RELEASING"}, m.script("stopksys", 0)}
}

func (m *Manager) online(now time.Time) []any {
	m.state, m.tried = groupOnline, nil
	m.failedAt = now
	return []any{SetState{m.node, "ONLINE"}, m.wait(now.Add(m.Settings.Stabilization))}
}

// done handles the end of the script that counts.
func (m *Manager) done(now time.Time, code int) []any {
	switch m.state {
	case groupStartup:
		if code == 0 {
			return m.online(now) // the start script is skipped
		}
		m.state = groupStarting
		m.deadline = now.Add(m.Settings.Stabilization)
		out := []any{m.script("startksys", 0)}
		if m.Settings.Background {
			m.state = groupConfirm
			m.run = 0
			out = append(out, m.wait(now.Add(m.Settings.Repeat)))
		}
		return out
	case groupStarting:
		if code != 0 {
			return m.release()
		}
		m.state = groupConfirm
		return []any{m.script("startupmonksys", m.Settings.Stabilization)}
	case groupConfirm:
		if code == 0 {
			return m.online(now)
		}
		if at := now.Add(m.Settings.Repeat); at.Before(m.deadline) {
			return []any{m.wait(at)}
		}
		return m.release()
	case groupMonitor:
		m.state = groupOnline
		if code == 0 {
			if now.Sub(m.failedAt) > m.Settings.RestartInterval() {
				m.restarts = 0
			}
			return []any{m.wait(now.Add(m.Settings.Interval))}
		}
		m.failedAt = now
		if m.restarts < m.Settings.RestartCount {
			m.restarts++
			m.state = groupCleanup
			return []any{m.script("stopksys", 0)}
		}
		return m.release()
	case groupCleanup:
		if code != 0 {
			return m.failed()
		}
		m.state = groupRestart
		return []any{m.script("startksys", 0)}
	case groupRestart:
		// Its status does not count: the monitor decides.
		m.state = groupOnline
		return []any{m.wait(now.Add(m.Settings.Stabilization))}
	case groupReleasing:
		if code != 0 {
			return m.failed()
		}
		out := []any{SetState{m.node, "OFFLINE"}}
		return append(out, m.next(now)...)
	case groupStopping:
		if code != 0 {
			return m.failed()
		}
		node := m.node
		m.state, m.node = groupOffline, ""
		return []any{SetState{node, "OFFLINE"}}
	}
	return nil
}

// failed: a stop that failed leaves the group in ERROR for an operator.
func (m *Manager) failed() []any {
	m.state, m.stuck, m.timer, m.errorOn = groupError, true, 0, m.node
	return []any{SetState{m.node, "ERROR"}}
}

// due handles the timer.
func (m *Manager) due(time.Time) []any {
	switch m.state {
	case groupConfirm:
		return []any{m.script("startupmonksys", m.Settings.Stabilization)}
	case groupOnline:
		m.state = groupMonitor
		return []any{m.script("longrunmonksys", m.Settings.Interval)}
	}
	return nil
}
