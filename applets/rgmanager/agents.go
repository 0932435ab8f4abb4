//go:build linux

package rgmanager

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"github.com/haobox/haobox/applets/internal/agentmachine"
	"github.com/haobox/haobox/internal/agents"
	"github.com/haobox/haobox/internal/ragent"
	"github.com/haobox/haobox/internal/restree"
	"github.com/haobox/haobox/internal/rgm"
	"github.com/haobox/haobox/platform/netif"
	"github.com/haobox/haobox/platform/probe"
	"github.com/haobox/haobox/platform/proc"
	units "github.com/haobox/haobox/platform/systemd"
)

// How many agents run at a time. Ours: enough for a node that takes over 200
// services, and few enough that their programs do not make the machine slow.
// Checks have a limit of their own, so that hanging ones hold up no start.
const (
	maxActions = 64
	maxChecks  = 32
)

// agentsEvery is how long after it was put into the agent directory an agent of
// an administrator may wait until it is used in the place of ours. Ours: the
// checks of a moment look for it once.
const agentsEvery = time.Second

// native are our own agents, made once.
type native struct {
	byType map[string]*agents.Agent
	mu     sync.Mutex
	net    *netif.Net
}

func newNative() *native {
	n := &native{byType: map[string]*agents.Agent{}}
	m := agentmachine.Machine()
	for _, a := range []*agents.Agent{
		agents.Apache(proc.Kill, probe.Client{}), agents.ClusterFS(m), agents.FS(m), agents.IP(n.open, proc.Kill),
		agents.LVM(m), agents.MySQL(proc.Kill, probe.Client{}), agents.BIND(proc.Kill), agents.NetFS(m),
		agents.NFSClient(net.DefaultResolver), agents.NFSExport(proc.Kill), agents.NFSServer(proc.Kill), agents.OCFAgent(),
		agents.Postgres(proc.Kill), agents.Samba(proc.Kill), agents.Script(), agents.Service(proc.Kill),
		agents.Systemd(units.Manager{}), agents.VM(os.Geteuid() == 0),
	} {
		n.byType[a.Type] = a
	}
	return n
}

// open is the netlink connection that all addresses share: it lists again only
// after a change.
func (n *native) open() (agents.Net, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.net == nil {
		var err error
		if n.net, err = netif.Open(true); err != nil {
			n.net = nil
			return nil, err
		}
	}
	return n.net, nil
}

func (n *native) close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.net != nil {
		n.net.Close()
	}
}

// agentRun is an agent that runs or waits for its turn.
type agentRun struct {
	rgm.RunAgent
	job    ragent.Job
	check  bool
	cancel context.CancelFunc // nil while it waits
	killed bool
	over   bool
}

// free agents may run in doubt: they start nothing.
func (r *agentRun) free() bool { return r.check || r.Call.Action == "stop" }

// pool runs agents, within the limits. It belongs to the loop.
type pool struct {
	s       *shell
	ctx     context.Context
	runner  ragent.Runner
	all     map[uint64]*agentRun
	waiting []*agentRun
	checks  int
	actions int
	pause   time.Duration
	wg      sync.WaitGroup
}

func isCheck(action string) bool { return action == "status" || action == "monitor" }

// begin takes an agent. The job is made now: the tree is the core's, and must
// not be read while it steps.
func (p *pool) begin(a rgm.RunAgent) {
	j := ragent.FromCall(a.Call, restree.AgentDir)
	j.Silent = j.Silent || a.Silent
	r := &agentRun{RunAgent: a, job: j, check: isCheck(a.Call.Action)}
	p.all[a.ID] = r
	p.waiting = append(p.waiting, r) // until the end of the step
}

// next starts what may run now. It is called between steps: what a step killed
// must not begin in the middle of it.
func (p *pool) next() {
	may := p.s.core.MayAct()
	kept := p.waiting[:0]
	for _, r := range p.waiting {
		switch {
		case r.over:
			continue
		case !may && !r.free(), r.check && p.checks >= maxChecks, !r.check && p.actions >= maxActions:
			kept = append(kept, r)
			continue
		}
		p.start(r)
	}
	clear(p.waiting[len(kept):])
	p.waiting = kept
}

func (p *pool) start(r *agentRun) {
	ctx, cancel := context.WithCancel(p.ctx)
	r.cancel = cancel
	if r.check {
		p.checks++
	} else {
		p.actions++
	}
	p.wg.Add(1)
	go func() {
		defer p.wg.Done()
		defer cancel()
		// A process that was paused between its decision and this line may
		// belong to a cluster that went on without it.
		if now := p.s.d.Env.Clock.Now(); !r.free() && now.Sub(p.s.stepped()) > p.pause {
			p.s.d.Loop.Post(func() { p.again(r) })
			return
		}
		res := p.runner.Run(ctx, r.job)
		p.s.d.Loop.Post(func() { p.ended(r, res) })
	}()
}

func (p *pool) ended(r *agentRun, res ragent.Result) {
	if r.check {
		p.checks--
	} else {
		p.actions--
	}
	if !r.over {
		r.over = true
		delete(p.all, r.ID)
		p.s.metrics.agent(r.job.Type, r.job.Action, res)
		p.s.step(rgm.AgentEnded{ID: r.ID, Exit: res.Exit})
		if r.job.Action == "start" && res.Exit == 0 {
			p.s.watch.began(r.Service)
		}
		return
	}
	p.next()
}

// again puts an agent back that was not begun after a pause: it begins when the
// core has proved that this node still belongs to the cluster, or is killed. A
// start that failed instead would leave the service stopped for a while, for
// nothing but a busy machine.
func (p *pool) again(r *agentRun) {
	p.actions--
	if r.killed {
		r.over = true
		delete(p.all, r.ID)
		p.s.step(rgm.AgentEnded{ID: r.ID, Exit: agents.Generic})
		return
	}
	r.cancel = nil
	p.waiting = append([]*agentRun{r}, p.waiting...)
	p.s.agentLine(r.job, slog.LevelDebug, fmt.Sprintf("%s on %s:%s waits: this process was paused", r.job.Action, r.job.Type, r.job.Name))
	p.s.step(rgm.Tick{}) // the core notices the pause, too
}

// kill ends an agent; its end is reported as ever.
func (p *pool) kill(id uint64) {
	r := p.all[id]
	switch {
	case r == nil:
	case r.cancel != nil:
		r.killed = true
		r.cancel()
	default: // it has not begun
		r.over = true
		delete(p.all, id)
		p.s.d.Loop.Post(func() { p.s.step(rgm.AgentEnded{ID: id, Exit: agents.Generic}) })
	}
}

// close ends what still runs and waits for it, but not for what does not even
// go when killed.
func (p *pool) close(cancel context.CancelFunc) {
	cancel()
	done := make(chan struct{})
	go func() { p.wg.Wait(); close(done) }()
	c, stop := p.s.d.Env.Clock.After(closeLimit)
	defer stop()
	select {
	case <-done:
	case <-c:
	}
}

// closeLimit is how long the end of agents is waited for at the end of the
// daemon: somewhat more than package ragent waits after its SIGKILL.
const closeLimit = 3 * time.Second
