package restree

import (
	"iter"
	"slices"
	"strings"
	"time"
)

// Op is an operation on a tree.
type Op uint8

const (
	// Start starts a resource and what is below it.
	Start Op = iota
	// Stop stops what is below, then the resource.
	Stop
	// Status checks a resource and what is below it, as far as a check is due.
	Status
	// StatusInquiry checks the resource alone, at depth 0.
	StatusInquiry
	// CondStart starts what has NeedStart.
	CondStart
	// CondStop stops what has NeedStop.
	CondStop
	// Convalesce starts the non-critical subtrees that were left stopped.
	Convalesce
	// Migrate moves a top level resource to another node.
	Migrate
)

// Result is a set of bits; 0 is success.
type Result uint8

const (
	// Failure concerns the whole resource group.
	Failure Result = 1 << iota
	// Recoverable: an independent subtree failed; CondStop and CondStart repair it.
	Recoverable
	// Partial: a non-critical subtree is left stopped.
	Partial
)

// ExitNotInstalled is the agent's status 5. From rgmanager 3.2 on a resource
// whose program is missing counts as stopped.
const ExitNotInstalled = 5

// Call is one run of an agent.
type Call struct {
	Node *Node
	// Action is the word for the agent: "start", "stop", "status", "reconfig",
	// "recover", "migrate".
	Action string
	// Depth is the check level.
	Depth int
	// Timeout is the hint of the action table; Enforced says to end the agent
	// when it is over. 0 means no limit.
	Timeout  time.Duration
	Enforced bool
	// Target is the node to migrate to.
	Target string
}

// Shell is what an operation needs of its surroundings.
type Shell struct {
	// Run runs an agent and returns its exit status; anything but 0 is a
	// failure. A signal or a timeout is 1.
	Run func(Call) int
	// Now is the time that status intervals and counters are measured with.
	Now func() time.Time
	// Note gets the lines that are logged or printed between the calls, with
	// Warning for those that an operator must see. It may be nil.
	Note func(kind Kind, text string)
	// NoStatus holds back new checks (status_child_max is reached): the last
	// result counts. It may be nil.
	NoStatus func() bool
	// Target is the node to migrate to.
	Target string
}

// Operate applies op to every occurrence of target in the tree, and to what is
// below it; target nil means everything. It returns when all agents have run.
func (s *Set) Operate(op Op, target *Resource, sh Shell) Result {
	w := walk{sh: sh, target: target}
	if op == Migrate {
		return w.migrate(s.Tree)
	}
	return w.list(s.Tree, op)
}

// OperateNode is Operate for one resource group: it does not look for other
// occurrences of its resource.
func OperateNode(op Op, n *Node, sh Shell) Result {
	w := walk{sh: sh, target: n.Resource}
	if op == Migrate {
		return w.migrate([]*Node{n})
	}
	return w.node(n, op)
}

// Step is an agent call that waits for its exit status.
type Step struct {
	Call
	// Exit is to be set before the next step is asked for.
	Exit int
}

// Operation is an operation that is taken one agent call at a time, for
// callers with a time of their own:
//
//	o := set.Begin(restree.Start, rg, shell)
//	defer o.Close()
//	for step, ok := o.Next(); ok; step, ok = o.Next() {
//		step.Exit = run(step.Call)
//	}
//	result := o.Result()
type Operation struct {
	next   func() (*Step, bool)
	stop   func()
	result Result
}

// Begin begins an operation. Shell.Run is not used.
func (s *Set) Begin(op Op, target *Resource, sh Shell) *Operation {
	return begin(sh, func(sh Shell) Result { return s.Operate(op, target, sh) })
}

// begin turns the agent calls of operate into steps.
func begin(sh Shell, operate func(Shell) Result) *Operation {
	o := &Operation{}
	o.next, o.stop = iter.Pull(func(yield func(*Step) bool) {
		gone := false
		sh.Run = func(c Call) int {
			step := &Step{Call: c, Exit: 1}
			if gone || !yield(step) {
				gone = true
				return 1
			}
			return step.Exit
		}
		o.result = operate(sh)
	})
	return o
}

// Next returns the next agent call, or false at the end.
func (o *Operation) Next() (*Step, bool) { return o.next() }

// Result is valid after Next returned false.
func (o *Operation) Result() Result { return o.result }

// Close ends an operation early: the remaining calls count as failed.
func (o *Operation) Close() { o.stop() }

// walk is one operation on its way through the tree.
type walk struct {
	sh     Shell
	target *Resource
	inside int // how many nodes above and including the present one are meant
}

func (w *walk) note(kind Kind, text string) {
	if w.sh.Note != nil {
		w.sh.Note(kind, text)
	}
}

// list applies op to siblings: forward, for Stop backward.
func (w *walk) list(nodes []*Node, op Op) Result {
	return w.each(nodes, op, op == Stop, op != Stop)
}

// each applies op to the nodes; abort ends the list at the first Failure.
func (w *walk) each(nodes []*Node, op Op, backward, abort bool) Result {
	var res Result
	for i := range nodes {
		n := nodes[i]
		if backward {
			n = nodes[len(nodes)-1-i]
		}
		if res |= w.node(n, op); abort && res&Failure != 0 {
			break
		}
	}
	return res
}

// children applies op below n, in the order of its rule.
func (w *walk) children(n *Node, op Op) Result {
	if len(n.Children) == 0 {
		return 0
	}
	rule := n.Resource.Rule
	if len(rule.Children) == 0 {
		return w.list(n.Children, op)
	}
	var loose []*Node
	for _, c := range n.Children {
		if d := rule.Child(c.Resource.Rule.Type); d == nil || d.Start == 0 && d.Stop == 0 {
			loose = append(loose, c)
		}
	}
	var res Result
	switch op {
	case Start, Status, StatusInquiry:
		if res = w.levels(n, op); res&Failure != 0 {
			return res
		}
		return res | w.each(loose, op, false, true)
	case Stop:
		res = w.each(loose, op, true, false)
		return res | w.levels(n, op)
	}
	// Conditional operations take the loose children first and backward and do
	// not end at a failure there. [quirk]
	res = w.each(loose, op, true, false)
	return res | w.levels(n, op)
}

// levels applies op to the children that have a level: ascending by the start
// level, for Stop by the stop level; within a level by type in the order of
// declaration. A type without the level in question is left out. [quirk]
func (w *walk) levels(n *Node, op Op) Result {
	rule := n.Resource.Rule
	type entry struct {
		level int
		typ   string
	}
	var order []entry
	for _, c := range rule.Children {
		l := c.Start
		if op == Stop {
			l = c.Stop
		}
		if l > 0 && !c.Forbid {
			order = append(order, entry{l, c.Type})
		}
	}
	slices.SortStableFunc(order, func(a, b entry) int { return a.level - b.level })
	var res Result
	for i, e := range order {
		// For everything but Stop, a level that returned anything but success
		// is the last one.
		if op != Stop && res != 0 && e.level != order[i-1].level {
			break
		}
		same := make([]*Node, 0, len(n.Children))
		for _, c := range n.Children {
			if strings.EqualFold(c.Resource.Rule.Type, e.typ) {
				same = append(same, c)
			}
		}
		res |= w.list(same, op)
		if op != Stop && res&Failure != 0 {
			break
		}
	}
	return res
}

// node applies op to n if it is meant, and to what is below.
func (w *walk) node(n *Node, op Op) Result {
	if w.inside == 0 && w.target != nil && n.Resource != w.target {
		return w.children(n, op)
	}
	w.inside++
	defer func() { w.inside-- }()
	switch op {
	case Start:
		return w.start(n, Start, "start", true)
	case Stop:
		return w.stop(n)
	case Status:
		return w.status(n)
	case StatusInquiry:
		return w.inquire(n)
	case CondStop:
		if n.NeedStop {
			w.note(KindNote, "Node "+n.ID()+" - CONDSTOP")
			return w.stop(n)
		}
	case CondStart:
		if n.NeedStart {
			w.note(KindNote, "Node "+n.ID()+" - CONDSTART")
			if n.Reconfig {
				return w.start(n, CondStart, "reconfig", false)
			}
			return w.start(n, Start, "start", false)
		}
	case Convalesce:
		if n.State == Disabled {
			w.note(KindNote, "Node "+n.ID()+" - Convalesce")
			n.All(func(x *Node) { x.State, x.NeedStart = Stopped, true })
			return w.start(n, Start, "start", true)
		}
	}
	return w.children(n, op)
}

// start runs the action and, after success, op on the children. fresh clears
// the restart counter: a start that somebody asked for, not a recovery.
func (w *walk) start(n *Node, op Op, action string, fresh bool) Result {
	if n.State == Disabled {
		return 0
	}
	if fresh && n.Independent {
		n.restarts = nil
	}
	exit := w.run(n, action, 0)
	n.NeedStart, n.Reconfig = false, false
	if exit != 0 {
		if exit != ExitNotInstalled {
			n.State = Failed
		}
		return Failure
	}
	if n.State != Started {
		n.Resource.Incarnations++
	}
	n.State = Started
	now := w.now()
	for i := range n.checked {
		n.checked[i] = now
	}
	n.failures, n.hasLast = nil, false
	return w.children(n, op)
}

func (w *walk) now() time.Time {
	if w.sh.Now == nil {
		return time.Time{}
	}
	return w.sh.Now()
}

// run runs an agent if the table of the node has the action at that depth;
// without an entry it is a success.
func (w *walk) run(n *Node, action string, depth int) int {
	a := findAction(n.Actions, action, depth)
	if a == nil {
		return 0
	}
	return w.sh.Run(Call{Node: n, Action: action, Depth: depth, Timeout: time.Duration(a.Timeout) * time.Second,
		Enforced: n.EnforceTimeouts, Target: w.sh.Target})
}

// stop stops what is below, then the node, whatever fails.
func (w *walk) stop(n *Node) Result {
	res := w.children(n, Stop)
	exit := w.run(n, "stop", 0)
	if exit == ExitNotInstalled && n.State == Stopped {
		exit = 0
	}
	n.NeedStop = false
	if exit == 0 {
		if n.State == Started || n.State == Failed {
			n.Resource.Incarnations = max(n.Resource.Incarnations-1, 0)
		}
		n.State = Stopped
	}
	if exit != 0 || res&Failure != 0 {
		n.State = Failed
		if n.NonCritical && (n.NeedStart || n.Quiesce) {
			w.note(KindWarning, "Failed to stop subtree "+n.ID()+" during non-critical recovery operation")
			n.Quiesce = true
			res = res&^Failure | Partial
		} else {
			res |= Failure
		}
	}
	if n.Quiesce {
		n.All(func(x *Node) { x.State, x.NeedStart, x.Quiesce = Disabled, false, false })
	}
	return res
}

// status checks the node, then what is below.
func (w *walk) status(n *Node) Result {
	if n.State == Disabled {
		return w.children(n, Status)
	}
	if w.check(n) != 0 {
		return w.failed(n, true)
	}
	n.State, n.NeedStop = Started, false
	res := w.children(n, Status)
	if res&Failure != 0 {
		res = res&^Failure | w.failed(n, false)
	}
	return res
}

// failed is what a failure of the node itself (own) or below it means.
func (w *walk) failed(n *Node, own bool) Result {
	if !n.Independent {
		return Failure
	}
	now := w.now()
	counts := n.MaxRestarts > 0 && n.RestartWindow > 0
	n.restarts = recent(n.restarts, now, n.RestartWindow)
	reached := counts && len(n.restarts) >= n.MaxRestarts
	switch {
	case !n.NonCritical && reached:
		n.restarts = nil
		return Failure
	case n.NonCritical && (!counts || reached):
		if own { // after a failure below it the counter stays. [quirk]
			n.restarts = nil
		}
		n.All(func(x *Node) { x.State, x.NeedStop, x.Quiesce = Failed, true, true })
		return Recoverable | Partial
	}
	if counts {
		n.restarts = append(n.restarts, now)
	}
	n.All(func(x *Node) { x.State, x.NeedStop, x.NeedStart = Failed, true, true })
	return Recoverable
}

// recent drops what is older than the window.
func recent(times []time.Time, now time.Time, window time.Duration) []time.Time {
	return slices.DeleteFunc(times, func(t time.Time) bool { return now.Sub(t) >= window })
}

// check runs the deepest status check that is due, or returns the last result.
func (w *walk) check(n *Node) int {
	now := w.now()
	best := -1
	if w.sh.NoStatus == nil || !w.sh.NoStatus() {
		for i, a := range n.Actions {
			due := n.checked[i].IsZero() || now.Sub(n.checked[i]) >= time.Duration(a.Interval)*time.Second
			if a.Name == "status" && a.Interval > 0 && due && (best < 0 || a.Depth > n.Actions[best].Depth) {
				best = i
			}
		}
	}
	if best < 0 {
		if n.hasLast {
			return n.last
		}
		return 0
	}
	n.checked[best] = now
	exit := w.run(n, "status", n.Actions[best].Depth)
	if exit != 0 && n.MaxFailures > 0 && n.FailureWindow > 0 {
		n.failures = recent(n.failures, now, n.FailureWindow)
		if len(n.failures) < n.MaxFailures {
			n.failures = append(n.failures, now)
			exit = 0
		}
	}
	if exit != 0 && n.hasAction("recover") && w.run(n, "recover", 0) == 0 {
		exit = 0
	}
	n.last, n.hasLast = exit, true
	return exit
}

func (n *Node) hasAction(name string) bool { return findAction(n.Actions, name, 0) != nil }

// inquire checks the target alone.
func (w *walk) inquire(n *Node) Result {
	if w.run(n, "status", 0) != 0 {
		return Failure
	}
	return 0
}

// migrate moves a top level resource; others are left alone.
func (w *walk) migrate(tree []*Node) Result {
	for _, n := range tree {
		if n.Resource == w.target && w.run(n, "migrate", 0) != 0 {
			return Failure
		}
	}
	return 0
}

// Due returns how long to wait until a status check is due anywhere below n,
// and false if none ever is. Daemons sleep no longer than this.
func (n *Node) Due(now time.Time) (time.Duration, bool) {
	best, any := time.Duration(0), false
	n.All(func(x *Node) {
		for i, a := range x.Actions {
			if a.Name != "status" || a.Interval <= 0 {
				continue
			}
			var d time.Duration
			if !x.checked[i].IsZero() {
				d = max(x.checked[i].Add(time.Duration(a.Interval)*time.Second).Sub(now), 0)
			}
			if !any || d < best {
				best, any = d, true
			}
		}
	})
	return best, any
}

// Below reports whether n has children.
func (n *Node) Below() bool { return len(n.Children) > 0 }

// KeepOnDelete reports whether deleting n from the configuration leaves the
// resource running: a childless one with a migrate action whose rule says so.
func (n *Node) KeepOnDelete() bool {
	return !n.Below() && !n.Resource.Rule.DestroyOnDelete && n.Resource.Rule.HasAction("migrate")
}

// KeepOnAdd reports the same for a resource that is added.
func (n *Node) KeepOnAdd() bool {
	return !n.Below() && !n.Resource.Rule.InitOnAdd && n.Resource.Rule.HasAction("migrate")
}

// BeginNode is Begin for one resource group: it does not look for other
// occurrences of its resource.
func BeginNode(op Op, n *Node, sh Shell) *Operation {
	return begin(sh, func(sh Shell) Result { return OperateNode(op, n, sh) })
}

// Adopt counts what is found started below n, and n itself, as started here: a
// status check saw it, and another process started it.
func (n *Node) Adopt() {
	n.All(func(x *Node) {
		if x.State == Started {
			x.Resource.Incarnations++
		}
	})
}

// Recheck makes the shallowest status check of n due at once, because something
// was seen to change.
func (n *Node) Recheck() {
	best := -1
	for i, a := range n.Actions {
		if a.Name == "status" && a.Interval > 0 && (best < 0 || a.Depth < n.Actions[best].Depth) {
			best = i
		}
	}
	if best >= 0 {
		n.checked[best] = time.Time{}
	}
}
