package rgm

import (
	"maps"
	"slices"
	"time"

	"github.com/haobox/haobox/internal/restree"
)

// purpose is why a job is done.
type purpose uint8

const (
	forTask     purpose = iota // the state says so
	forStatus                  // a check
	forRepair                  // inline recovery: condstop, condstart
	forInit                    // nothing should run here
	forAdopt                   // check of what a former process left
	forDisowned                // it is not ours to run any more
	forUpdate                  // condstop, condstart of a new configuration
	forLook                    // does a guest run here, which is another node's or nobody's
)

// local is a service on this node.
type local struct {
	name string
	// node is its place in the tree: the one it was started from.
	node *restree.Node
	// hands: something of it may run here. started: all of it does.
	hands, started bool
	// stuck: its stop failed here.
	stuck bool
	// epoch is what the state said when the last task began here.
	epoch uint64
	job   *job
	// report is the command about what came of a task or a check, until it
	// came through.
	report    command
	message   doneMsg
	reportOut bool
	// failed: a check failed, and the state does not show it yet. failedAt is when.
	failed   bool
	failedAt time.Time
	// update is the node of a new configuration that waits.
	update *restree.Node
	// initDone: it was stopped once, checked is when the last check began.
	initDone bool
	// looked is the life in which a guest was looked for, sick that it did not
	// look well then. left: it was taken in hand to be stopped in an emergency.
	looked     uint32
	sick, left bool
	// lookEpoch is what was looked for last, lookSince when that began.
	lookEpoch uint64
	lookSince time.Time
	check     bool
	due       time.Time // of the next check; zero if it has to be found out
	partial   restree.Result
}

// job is an operation on the tree of a service, on its way.
type job struct {
	l     *local
	op    restree.Op
	why   purpose
	task  task
	o     *restree.Operation
	step  *restree.Step
	id    uint64 // of the agent that runs, 0 if the step waits
	exit  int    // of the last agent
	kill  bool
	epoch uint64
}

func (c *Core) local(name string) *local {
	l := c.locals[name]
	if l == nil {
		l = &local{name: name}
		c.locals[name] = l
		c.names = nil
	}
	return l
}

// localNames are those of all local services, sorted.
func (c *Core) localNames() []string {
	if c.names == nil {
		c.names = slices.Sorted(maps.Keys(c.locals))
	}
	return c.names
}

// reported: the report came through or is void; it is sent again if the state
// still wants it.
func (l *local) reported(cmd command) {
	if l.report == cmd {
		l.reportOut = false
	}
}

// save keeps what is in this node's hands, if it changed.
func (c *Core) save() {
	var kept []Kept
	for _, name := range c.localNames() {
		if l := c.locals[name]; l.hands {
			kept = append(kept, Kept{Name: name, Started: l.started, Epoch: l.epoch})
		}
	}
	if !slices.Equal(kept, c.saved) {
		c.saved = kept
		c.do(Save{Kept: slices.Clone(kept)})
	}
}

// begin starts a job on a service that has none.
func (c *Core) begin(l *local, op restree.Op, why purpose, t task, target string) {
	j := &job{l: l, op: op, why: why, task: t, epoch: l.epoch}
	l.job = j
	if l.node == nil {
		// Not in this node's configuration: there is nothing to run.
		c.jobDone(j, 0)
		return
	}
	if op == restree.Start || op == restree.Convalesce || op == restree.CondStart {
		l.hands = true
		c.save()
	}
	if why == forAdopt {
		l.node.All((*restree.Node).Recheck)
	}
	if op == restree.Stop {
		// All of it: no part is left out of the next start.
		l.node.All(func(n *restree.Node) { n.Quiesce, n.NeedStart = false, false })
	}
	sh := restree.Shell{Now: func() time.Time { return c.now }, Target: target, Note: func(kind restree.Kind, text string) {
		if kind == restree.KindWarning {
			c.log(LevelWarning, l.name, "%s", text)
		} else {
			c.log(LevelDebug, l.name, "%s", text)
		}
	}}
	if op == restree.Status && c.config.Config.RM.StatusChildMax > 0 {
		sh.NoStatus = func() bool { return c.statusRunning() >= c.config.Config.RM.StatusChildMax }
	}
	j.o = restree.BeginNode(op, l.node, sh)
	c.advance(j)
}

func (c *Core) statusRunning() int {
	n := 0
	for _, j := range c.jobs {
		if j.op == restree.Status && j.id != 0 {
			n++
		}
	}
	return n
}

// advance takes a job to its next agent or to its end.
func (c *Core) advance(j *job) {
	step, ok := j.o.Next()
	if !ok {
		j.step = nil
		c.jobDone(j, j.o.Result())
		return
	}
	j.step = step
	c.issue(j)
}

// issue runs the agent that a job waits for, if it may.
func (c *Core) issue(j *job) {
	if !c.permitted(j) {
		if !slices.Contains(c.held, j) {
			c.held = append(c.held, j)
		}
		return
	}
	c.nextJob++
	j.id = c.nextJob
	c.jobs[j.id] = j
	silent := j.why == forInit || j.step.Action == "status" && j.step.Node.State != restree.Started
	c.do(RunAgent{ID: j.id, Service: j.l.name, Call: j.step.Call, Silent: silent})
}

// permitted: a node that was paused, that is not of the cluster's mind or has
// no quorum runs nothing but the stops of an emergency.
func (c *Core) permitted(j *job) bool {
	if c.emergency != "" {
		return j.op == restree.Stop
	}
	if c.suspect {
		return false
	}
	switch j.why {
	case forInit, forAdopt, forDisowned:
		return c.current()
	}
	return c.mayAct()
}

func (c *Core) agentEnded(ev AgentEnded) {
	j := c.jobs[ev.ID]
	if j == nil {
		return
	}
	delete(c.jobs, ev.ID)
	j.id, j.exit = 0, ev.Exit
	if j.kill {
		j.o.Close()
		c.jobDone(j, restree.Failure)
		return
	}
	j.step.Exit = ev.Exit
	c.advance(j)
}

// abandon ends a job that makes no sense any more: at once, or when its agent
// ends.
func (c *Core) abandon(j *job) {
	if j.kill {
		return
	}
	j.kill = true
	if j.id != 0 {
		c.do(KillAgent{ID: j.id})
		return
	}
	j.o.Close()
	c.jobDone(j, restree.Failure)
}

// jobDone is the end of a job.
func (c *Core) jobDone(j *job, res restree.Result) {
	l := j.l
	l.job, l.due = nil, time.Time{}
	if j.op == restree.Status && l.node != nil {
		// What is still due waits for a moment: a walk may leave something out.
		d, any := l.node.Due(c.now)
		if !any {
			d = 24 * time.Hour
		}
		least := time.Second
		if rm := c.config.Config.RM; rm.StatusPollSet {
			least = max(least, rm.StatusPollInterval)
		}
		l.due = c.now.Add(max(d, least))
	}
	c.touched = append(c.touched, l)
	before := Kept{Started: l.started, Epoch: l.epoch}
	had := l.hands
	defer func() {
		if had != l.hands || before != (Kept{Started: l.started, Epoch: l.epoch}) {
			c.save()
		}
	}()
	ok := res&restree.Failure == 0
	if j.why == forLook {
		c.reportLook(l, l.lookEpoch, ok && !j.kill)
		return
	}
	if j.op == restree.Stop {
		if ok {
			l.hands, l.started, l.stuck = false, false, false
		} else {
			l.stuck, l.started = true, false
		}
	}
	if j.kill && j.op != restree.Stop {
		// Something of it may run.
		l.started = l.started && j.op == restree.Status
		return
	}
	switch j.why {
	case forTask:
		switch j.task {
		case taskStart:
			l.started = ok
		case taskMigrate:
			if ok {
				l.hands, l.started = false, false
				l.node.State = restree.Stopped
			}
		case taskConvalesce:
			if ok {
				c.log(LevelInfo, l.name, "Repair of %s was successful", l.name)
			} else {
				c.log(LevelWarning, l.name, "Failed to repair %s", l.name)
			}
		}
		c.report(l, cmdDone, j.epoch, ok, j.exit)
	case forStatus:
		switch {
		case !ok:
			c.failure(l)
		case res&restree.Recoverable != 0:
			c.log(LevelWarning, l.name, "Some independent resources in %s failed; Attempting inline recovery", l.name)
			l.partial = res & restree.Partial
			c.begin(l, restree.CondStop, forRepair, noTask, "")
		}
	case forRepair:
		l.partial |= res & restree.Partial
		switch {
		case j.op == restree.CondStop && !ok:
			c.log(LevelWarning, l.name, "Inline recovery of %s failed", l.name)
			c.failure(l)
		case j.op == restree.CondStop:
			c.begin(l, restree.CondStart, forRepair, noTask, "")
		default:
			// Whether it came up is seen by the next check.
			c.log(LevelNotice, l.name, "Inline recovery of %s complete", l.name)
			if l.partial != 0 {
				c.log(LevelNotice, l.name, "Note: Some non-critical resources were stopped during recovery.")
				c.log(LevelNotice, l.name, "Run 'clusvcadm -c %s' to restore them to operation.", l.name)
				c.report(l, cmdPartial, l.epoch, true, 0)
			}
		}
	case forInit:
		l.initDone = true
		if l.stuck && !l.hands {
			l.stuck = false // nothing of it was known to run
		}
	case forAdopt:
		l.initDone = true
		if ok {
			// What is optional and failed is repaired by the next check.
			l.hands, l.started, l.check = true, true, true
			l.node.Adopt()
		} else {
			l.started = false // what was in hand is stopped next
			l.sick = !l.hands && !c.opt.SkipInit
		}
	case forDisowned:
		if !ok && c.emergency == "" {
			c.disownedStuck(l)
		}
	case forUpdate:
		switch {
		case j.op == restree.CondStop:
			l.node, l.update = l.update, nil
			if ok {
				c.begin(l, restree.CondStart, forUpdate, noTask, "")
			} else {
				c.failure(l)
			}
		case !ok:
			c.failure(l)
		}
	}
}

// disownedStuck: it runs something that belongs to somebody else and can not
// stop it.
func (c *Core) disownedStuck(l *local) {
	if r := c.st.records[l.name]; r == nil || r.State == Failed || r.State == Disabled || r.Owner == c.self.Node {
		return
	}
	c.hardDown("service " + l.name + " runs here, belongs to another node and could not be stopped")
}

func (c *Core) hardDown(why string) {
	c.log(LevelEmerg, "", "%s; this node goes down", why)
	c.do(HardDown{Reason: why})
	c.exited = true
}

// failure tells the cluster that a check failed.
func (c *Core) failure(l *local) {
	l.failed, l.failedAt = true, c.now
	c.report(l, cmdFail, l.epoch, false, 0)
}

func (c *Core) report(l *local, cmd command, epoch uint64, ok bool, code int) {
	l.report, l.reportOut = cmd, false
	l.message = doneMsg{service: l.name, epoch: epoch, ok: ok, code: int32(code)}
}

// check: a watcher saw something.
func (c *Core) check(ev Check) {
	l := c.locals[ev.Service]
	if l == nil || !l.started || l.node == nil {
		return
	}
	l.node.All(func(n *restree.Node) {
		if ev.Resource == "" || n.ID() == ev.Resource {
			n.Recheck()
			l.check = true
		}
	})
	c.touched = append(c.touched, l)
}

// stopAll stops everything that runs here, whatever the state says.
func (c *Core) stopAll() {
	busy := false
	for _, r := range c.st.records {
		// A guest may have come by a migration that nobody here took notice of.
		if l := c.locals[r.Name]; l != nil && !l.hands && l.node != nil && l.node.KeepOnAdd() && l.job == nil && !l.left &&
			r.Owner == c.self.Node && r.Instance == c.self.Instance && r.State == Started {
			l.hands, l.started, l.left = true, true, true
		}
	}
	for _, name := range c.localNames() {
		l := c.locals[name]
		l.report, l.failed = 0, false
		if l.job != nil && l.job.op != restree.Stop {
			c.abandon(l.job)
		}
		if l.job != nil {
			if l.job.id == 0 && l.job.step != nil {
				c.issue(l.job) // it waited for leave to go on
			}
			busy = busy || l.job != nil
			continue
		}
		if l.hands && l.stuck {
			c.hardDown("service " + name + " could not be stopped after " + c.emergency)
			return
		}
		if l.hands {
			c.log(LevelWarning, name, "#69: Unclean stop of %s", name)
			c.begin(l, restree.Stop, forDisowned, noTask, "")
			busy = busy || l.job != nil
			if l.job == nil && l.stuck {
				c.hardDown("service " + name + " could not be stopped after " + c.emergency)
				return
			}
		}
	}
	switch {
	case busy && c.now.Sub(c.emergencySince) > StopLimit:
		c.hardDown("services could not be stopped in time after " + c.emergency)
	case !busy:
		c.emergency = ""
		if c.lost {
			c.finish(1)
		}
	}
}

// enter brings this node to where it may work: it stops what it should not run,
// and says what it does run.
func (c *Core) enter() {
	me := c.me()
	if c.phase == phaseWait {
		if c.emergency != "" || c.suspect || c.config == nil || !c.quorate() || me == nil || !me.Member || !me.Quorate || c.shutdown != nil && (c.shutdown.Keep || !c.inited) ||
			len(c.st.policy.Nodes) == 0 {
			return
		}
		if !c.inited {
			c.log(LevelInfo, "", "Initializing Services")
			if c.opt.SkipInit {
				c.log(LevelInfo, "", "Skipping stop-before-start: overridden by administrator")
			}
		}
		for _, name := range c.localNames() {
			if j := c.locals[name].job; j != nil && j.op != restree.Stop {
				c.abandon(j) // it is of a time before
			}
		}
		c.phase = phaseInit
		c.life++
	}
	if c.phase != phaseInit {
		return
	}
	busy := false
	m := joinMsg{life: c.life, leaving: c.shutdown != nil, config: c.pol.Version, sum: c.pol.Sum}
	for _, name := range c.localNames() {
		l := c.locals[name]
		if l.job == nil && !c.suspect {
			c.sort(l)
		}
		switch {
		case l.job != nil:
			busy = true
		case l.started && !l.stuck:
			m.running = append(m.running, name)
			if l.node != nil {
				partial := false
				l.node.All(func(n *restree.Node) { partial = partial || n.State == restree.Disabled })
				if partial {
					m.partial = append(m.partial, name)
				}
			}
		case l.hands:
			m.failed = append(m.failed, name)
			if r := c.st.records[name]; r != nil && r.Known {
				c.disownedStuck(l)
			}
		}
	}
	if busy || c.exited {
		return
	}
	if !c.inited {
		c.inited = true
		c.log(LevelInfo, "", "Services Initialized")
	}
	c.phase = phaseJoining
	for _, l := range c.locals {
		// What the state wants from now on is counted anew.
		l.report, l.failed, l.epoch, l.lookEpoch, l.left = 0, false, 0, 0, false
	}
	c.command("join", m.encode(unix(c.now)))
}

// sort decides what becomes of a service before this node joins.
func (c *Core) sort(l *local) {
	r := c.st.records[l.name]
	mine := r == nil || r.Owner == c.self.Node || r.Owner == 0 && !r.Known
	switch {
	case l.stuck:
	case !c.inited && l.hands && l.started && !l.initDone && mine && l.node != nil:
		c.begin(l, restree.Status, forAdopt, noTask, "")
	case l.hands && (!l.started || !mine):
		// It was being started or stopped when this process or its part of the
		// cluster ended, or others have it.
		l.started = false
		c.begin(l, restree.Stop, forDisowned, noTask, "")
	case !l.hands && l.node != nil && l.node.KeepOnAdd() && l.looked != c.life:
		// A guest that runs is left alone; it may have come by a migration.
		l.looked = c.life
		if r != nil && r.Owner == c.self.Node {
			// It came, and nobody here took notice yet. If it is not well it has
			// to be stopped before anybody hears that it does not run here.
			l.hands, l.started = true, true
			c.save()
		}
		c.begin(l, restree.Status, forAdopt, noTask, "")
	case !l.hands && l.node != nil && l.node.KeepOnAdd() && l.sick:
		// Something of it may run all the same.
		l.sick = false
		c.begin(l, restree.Stop, forInit, noTask, "")
	case !c.inited && !l.hands && !l.initDone:
		l.initDone = true
		if l.node != nil && !c.opt.SkipInit && !l.node.KeepOnAdd() {
			c.begin(l, restree.Stop, forInit, noTask, "")
		}
	}
}

// work runs the jobs of this node's services.
func (c *Core) work() {
	held := c.held
	c.held = nil
	for _, j := range held {
		if j.l.job == j && j.id == 0 && j.step != nil {
			c.issue(j)
		}
	}
	may := c.mayAct() && c.phase == phaseReady
	if may != c.could {
		c.could, c.scan = may, true
	}
	if !may {
		return
	}
	c.update()
	c.lookLate()
	if c.scan || !c.now.Before(c.dueAt) {
		c.scan, c.dueAt, c.touched = false, c.now.Add(24*time.Hour), nil
		for _, name := range c.workList() {
			c.workOn(c.local(name))
		}
	}
	// Those whose jobs ended, also some that began a moment ago.
	for len(c.touched) > 0 {
		touched := c.touched
		c.touched = nil
		for _, l := range touched {
			c.workOn(l)
		}
	}
}

// workList are the services that this node may have to do something about.
func (c *Core) workList() []string {
	var out []string
	for _, r := range c.st.ordered() {
		l := c.locals[r.Name]
		if r.Owner == c.self.Node || l != nil && (l.hands || l.report != 0) || slices.Contains(r.Look, c.self.Node) {
			out = append(out, r.Name)
		}
	}
	for _, name := range c.localNames() {
		if c.locals[name].hands && c.st.records[name] == nil {
			out = append(out, name)
		}
	}
	return out
}

// wanted: the state still waits for what there is to report.
func (c *Core) wanted(l *local, r *record) bool {
	if r == nil || r.Epoch != l.message.epoch {
		return false
	}
	if l.report == cmdLooked {
		return slices.Contains(r.Look, c.self.Node)
	}
	if r.Owner != c.self.Node || r.Instance != c.self.Instance {
		return false
	}
	if l.report == cmdDone {
		return r.Task != noTask
	}
	if r.Task != noTask || r.State != Started {
		return false
	}
	switch l.report {
	case cmdFail:
		return r.Flags&Frozen == 0
	case cmdPartial:
		return r.Flags&Partial == 0
	}
	return true
}

func (c *Core) workOn(l *local) {
	r := c.st.records[l.name]
	mine := r != nil && r.Owner == c.self.Node && r.Instance == c.self.Instance
	if l.report != 0 {
		switch {
		case !c.wanted(l, r):
			l.report, l.failed = 0, false
		case l.report == cmdFail && c.waitsForLookers(l, r):
		case !l.reportOut:
			l.reportOut = true
			c.command("", l.message.encode(l.report, unix(c.now)))
		}
	}
	if l.job != nil {
		switch j := l.job; {
		case !mine && j.why == forTask && j.op != restree.Stop, mine && j.why == forStatus && r.Task != noTask:
			c.abandon(j)
		}
		return
	}
	if r != nil && slices.Contains(r.Look, c.self.Node) {
		c.lookOn(l, r)
		return
	}
	if !mine {
		if r != nil && r.State == Failed && r.FailedOn == c.self.Node {
			l.started = false // a person looks after it
			return
		}
		if l.hands && !l.stuck && !c.updating {
			c.log(LevelWarning, l.name, "Stopping service %s: it is not this node's any more", l.name)
			l.started = false
			c.begin(l, restree.Stop, forDisowned, noTask, "")
		}
		return
	}
	if c.holding || c.updating && l.update == nil || c.shutdown != nil && c.shutdown.Keep {
		return
	}
	if r.Task != noTask {
		if l.epoch == r.Epoch {
			return // done; the report is on its way
		}
		l.epoch, l.failed, l.stuck = r.Epoch, false, false
		switch r.Task {
		case taskStart:
			if n := c.tree[l.name]; n != nil {
				l.node = n
			}
			if silent := c.cannotLook(r); len(silent) > 0 {
				c.log(LevelNotice, l.name, "Nobody looked whether %s runs on %s, where rgmanager does not run", l.name, c.st.names(silent))
			}
			c.begin(l, restree.Start, forTask, r.Task, "")
		case taskStop:
			if r.Then == thenRemove && l.node != nil && l.node.KeepOnDelete() {
				c.letGo(l)
			}
			c.begin(l, restree.Stop, forTask, r.Task, "")
		case taskMigrate:
			c.begin(l, restree.Migrate, forTask, r.Task, c.st.nodeName(r.Target))
		case taskConvalesce:
			c.log(LevelInfo, l.name, "Repairing %s", l.name)
			c.begin(l, restree.Convalesce, forTask, r.Task, "")
		}
		return
	}
	if r.State != Started {
		return
	}
	if !l.hands {
		// It came by a migration.
		l.hands, l.started = true, true
		l.epoch = r.Epoch
		if l.node != nil {
			l.node.State = restree.Started
			l.node.Adopt()
		}
		c.save()
	}
	l.epoch = r.Epoch
	if l.update != nil {
		c.begin(l, restree.CondStop, forUpdate, noTask, "")
		return
	}
	if r.Flags&Frozen != 0 || l.failed || l.node == nil {
		return
	}
	if l.due.IsZero() {
		if d, any := l.node.Due(c.now); any {
			l.due = c.now.Add(d)
		} else {
			l.due = c.now.Add(24 * time.Hour)
		}
	}
	if l.check || !c.now.Before(l.due) {
		l.check = false
		c.begin(l, restree.Status, forStatus, noTask, "")
		return
	}
	if l.due.Before(c.dueAt) {
		c.dueAt = l.due
	}
}

// update changes over to a new configuration that the cluster has agreed on:
// when no job runs, the changed resources are stopped and started.
func (c *Core) update() {
	if c.updating {
		for _, name := range c.localNames() {
			l := c.locals[name]
			if l.update != nil && l.job == nil {
				r := c.st.records[name]
				if r == nil || r.Owner != c.self.Node || r.State != Started || r.Task != noTask {
					// It is stopped meanwhile, or about to be, with the old tree.
					if !l.hands {
						l.node = l.update
					}
					l.update = nil
				}
			}
			if l.update != nil || l.job != nil && (l.job.why == forUpdate || l.job.why == forInit) {
				return
			}
		}
		c.log(LevelInfo, "", "Starting changed resources.")
		c.updating, c.scan = false, true
		return
	}
	if c.next == nil {
		return
	}
	if p := c.st.policy; p.Version != c.nextPol.Version || p.Sum != c.nextPol.Sum {
		if p.Version >= c.nextPol.Version {
			c.log(LevelErr, "", "configuration %d is not taken: the cluster runs another %d", c.nextPol.Version, p.Version)
			c.next, c.nextPol = nil, nil
		}
		return
	}
	c.holding = true
	for _, l := range c.locals {
		if l.job != nil {
			return
		}
	}
	c.holding, c.scan = false, true
	c.changeOver()
}

// letGo leaves a guest running that is not in the configuration any more.
func (c *Core) letGo(l *local) {
	if l.hands {
		c.log(LevelNotice, l.name, "%s removed from the config, but I am not stopping it.", l.name)
	}
	l.hands, l.started, l.node = false, false, nil
	c.save()
}

func (c *Core) changeOver() {
	old, now := c.config, c.next
	c.log(LevelInfo, "", "Stopping changed resources.")
	restree.Delta(old.Set, now.Set)
	fresh := map[string]*restree.Node{}
	for _, n := range now.Set.Tree {
		fresh[n.ID()] = n
	}
	c.config, c.pol, c.next, c.nextPol = now, c.nextPol, nil, nil
	c.setTree(now.Set)
	c.updating = true
	c.log(LevelInfo, "", "Restarting changed resources.")
	for _, name := range c.localNames() {
		l := c.locals[name]
		n := fresh[name]
		delete(fresh, name)
		r := c.st.records[name]
		switch {
		case n == nil:
			// Gone from the file: the state has it stopped if it is ours.
			if l.node != nil && l.node.KeepOnDelete() {
				c.letGo(l)
			}
		case !l.hands:
			l.node = n
		case l.node != nil && l.node.Resource.NeedStop || l.node == nil || r == nil || r.State != Started:
			// All of it has to be stopped with the old tree first.
			if r != nil && r.State == Started && l.node != nil {
				l.update = nil
				c.report(l, cmdChanged, r.Epoch, true, 0)
			}
		default:
			l.update = n
		}
	}
	// New ones are stopped once, before anybody starts them.
	for _, n := range now.Set.Tree {
		name := n.ID()
		if fresh[name] == nil {
			continue
		}
		l := c.local(name)
		l.node, l.initDone = n, true
		if n.KeepOnAdd() {
			c.log(LevelInfo, name, "%s was added to the config, but I am not initializing it.", name)
			continue
		}
		c.log(LevelNotice, name, "Initializing %s", name)
		c.begin(l, restree.Stop, forInit, noTask, "")
	}
}

// end carries out a shutdown.
func (c *Core) end() {
	if c.shutdown == nil || c.exited || c.left {
		return
	}
	busy := false
	for _, l := range c.locals {
		busy = busy || l.job != nil && l.job.id != 0
	}
	me := c.me()
	switch {
	case c.shutdown.Keep:
		if busy {
			return
		}
	case me != nil && me.Joined && c.current():
		if !c.leaving {
			c.leaving = true
			c.command("leaving", newWriter(cmdLeaving, unix(c.now)).Bytes())
			return
		}
		if !me.Leaving {
			c.command("leaving", newWriter(cmdLeaving, unix(c.now)).Bytes())
			return
		}
		for _, r := range c.st.ordered() {
			if r.Owner == c.self.Node && !(r.Flags&Frozen != 0 && r.Task == noTask) {
				return
			}
		}
	case c.inited && !c.lost && c.quorum.Quorate:
		return // it joins first, or the state is about to be current
	default:
		if c.emergency == "" {
			for _, l := range c.locals {
				if l.hands {
					c.alarm("shutdown without quorum")
					c.stopAll()
					return
				}
			}
		}
		if c.emergency != "" || busy {
			return
		}
	}
	if busy {
		return
	}
	c.log(LevelNotice, "", "Disconnecting from CMAN")
	c.left = true
	c.do(Leave{})
	if c.lost {
		c.finish(0)
	}
}
