package rgm

import (
	"hash/fnv"
	"strings"

	"github.com/haobox/haobox/internal/cluster"
	"github.com/haobox/haobox/internal/clusterconf"
	"github.com/haobox/haobox/internal/restree"
)

// recovery is what follows a failure of a service.
type recovery uint8

const (
	recoverRestart recovery = iota
	recoverRelocate
	recoverDisable
	recoverRestartDisable
)

func (r recovery) String() string {
	return [...]string{"restart", "relocate", "disable", "restart-disable"}[r&3]
}

func parseRecovery(s string) recovery {
	switch strings.ToLower(s) {
	case "relocate":
		return recoverRelocate
	case "disable":
		return recoverDisable
	case "restart-disable":
		return recoverRestartDisable
	}
	return recoverRestart
}

// svcPolicy is what decisions need to know of a service.
type svcPolicy struct {
	Name      string
	Autostart bool
	// Exclusive is 0 for a service that is not; the number counts with central
	// processing only.
	Exclusive int
	// Migratory: without children and with a migrate action.
	Migratory bool
	Recovery  recovery
	// Depend is "type:name", "" for none.
	Depend     string
	DependSoft bool
	// MaxRestarts within RestartExpire seconds; 0 for no limit, and for never.
	MaxRestarts   int
	RestartExpire int
	Priority      int
	// Domain is "" for none.
	Domain string
}

type domainNode struct {
	ID       cluster.NodeID
	Priority int
}

type domain struct {
	Name                            string
	Ordered, Restricted, NoFailback bool
	Nodes                           []domainNode
}

func (d *domain) priority(id cluster.NodeID) (int, bool) {
	for _, n := range d.Nodes {
		if n.ID == id {
			return n.Priority, true
		}
	}
	return 0, false
}

type nodeName struct {
	ID   cluster.NodeID
	Name string
}

// policy is the part of a configuration on which decisions are made. It is
// replicated: members whose configuration is another one get nothing to start.
type policy struct {
	Version uint64
	// Sum tells files of one version apart.
	Sum      uint64
	Central  bool
	Nodes    []nodeName
	Domains  []domain
	Services []svcPolicy
	Triggers []trigger
}

func (p *policy) domain(name string) *domain {
	for i := range p.Domains {
		if strings.EqualFold(p.Domains[i].Name, name) {
			return &p.Domains[i]
		}
	}
	return nil
}

// truth reads a boolean of a service: "yes" or a number other than 0
// (rgmanager(8)); "no" and 0 are false.
func truth(s string, def bool) bool {
	switch {
	case s == "":
		return def
	case strings.EqualFold(s, "yes"), strings.EqualFold(s, "true"), strings.EqualFold(s, "on"):
		return true
	}
	return restree.Atoi(s) != 0
}

// newPolicy reads a configuration.
func newPolicy(cfg *clusterconf.Config, set *restree.Set) *policy {
	p := &policy{Version: uint64(max(cfg.Version, 0)), Central: cfg.RM.CentralProcessing}
	if cfg.Doc != nil {
		h := fnv.New64a()
		h.Write(clusterconf.Dump(cfg.Doc))
		p.Sum = h.Sum64()
	}
	for _, n := range cfg.Nodes {
		if n.ID > 0 {
			p.Nodes = append(p.Nodes, nodeName{cluster.NodeID(n.ID), n.Name})
		}
	}
	for _, d := range set.Domains {
		x := domain{Name: d.Name, Ordered: d.Ordered, Restricted: d.Restricted, NoFailback: d.NoFailback}
		for _, n := range d.Nodes {
			if n.ID > 0 {
				x.Nodes = append(x.Nodes, domainNode{cluster.NodeID(n.ID), n.Priority})
			}
		}
		p.Domains = append(p.Domains, x)
	}
	for _, n := range set.Tree {
		get := func(name string) string { v, _ := n.Value(name); return v }
		s := svcPolicy{
			Name: n.ID(), Autostart: truth(get("autostart"), true), Recovery: parseRecovery(get("recovery")),
			Depend: get("depend"), DependSoft: strings.EqualFold(get("depend_mode"), "soft"),
			MaxRestarts: max(restree.Atoi(get("max_restarts")), 0), RestartExpire: restree.ParseTime(get("restart_expire_time")),
			Priority: restree.Atoi(get("priority")), Domain: get("domain"),
			Migratory: !n.Below() && n.Resource.Rule.HasAction("migrate"),
		}
		switch x := get("exclusive"); {
		case strings.EqualFold(x, "yes"):
			s.Exclusive = 1
		default:
			s.Exclusive = max(restree.Atoi(x), 0)
		}
		if s.Depend != "" && !strings.Contains(s.Depend, ":") {
			s.Depend = "service:" + s.Depend
		}
		p.Services = append(p.Services, s)
	}
	p.Triggers = newTriggers(set, p)
	return p
}

func (w *writer) policy(p *policy) {
	w.U64(p.Version)
	w.U64(p.Sum)
	w.Bool(p.Central)
	w.Count(len(p.Nodes))
	for _, n := range p.Nodes {
		w.Node(n.ID)
		w.Text(n.Name)
	}
	w.Count(len(p.Domains))
	for _, d := range p.Domains {
		w.Text(d.Name)
		w.Bool(d.Ordered)
		w.Bool(d.Restricted)
		w.Bool(d.NoFailback)
		w.Count(len(d.Nodes))
		for _, n := range d.Nodes {
			w.Node(n.ID)
			w.U8(uint8(n.Priority))
		}
	}
	w.Count(len(p.Services))
	for _, s := range p.Services {
		w.Text(s.Name)
		w.Bool(s.Autostart)
		w.U32(uint32(s.Exclusive))
		w.Bool(s.Migratory)
		w.U8(uint8(s.Recovery))
		w.Text(s.Depend)
		w.Bool(s.DependSoft)
		w.U32(uint32(s.MaxRestarts))
		w.U32(uint32(s.RestartExpire))
		w.U32(uint32(int32(s.Priority)))
		w.Text(s.Domain)
	}
	w.triggers(p.Triggers)
}

func (r *reader) policy() *policy {
	p := &policy{Version: r.U64(), Sum: r.U64(), Central: r.Bool()}
	for range r.Count(maxNodes, 6) {
		p.Nodes = append(p.Nodes, nodeName{r.Node(), r.Text()})
	}
	for range r.Count(maxServices, 9) {
		d := domain{Name: r.Text(), Ordered: r.Bool(), Restricted: r.Bool(), NoFailback: r.Bool()}
		for range r.Count(maxNodes, 5) {
			d.Nodes = append(d.Nodes, domainNode{r.Node(), int(r.U8())})
		}
		p.Domains = append(p.Domains, d)
	}
	seen := map[string]bool{}
	for range r.Count(maxServices, 26) {
		s := svcPolicy{
			Name: r.Text(), Autostart: r.Bool(), Exclusive: int(r.U32()), Migratory: r.Bool(), Recovery: recovery(r.U8()),
			Depend: r.Text(), DependSoft: r.Bool(), MaxRestarts: int(r.U32()), RestartExpire: int(r.U32()),
			Priority: int(int32(r.U32())), Domain: r.Text(),
		}
		if s.Name == "" || seen[s.Name] || s.Recovery > recoverRestartDisable {
			r.Fail("service %q", s.Name)
		}
		seen[s.Name] = true
		p.Services = append(p.Services, s)
	}
	p.Triggers = r.triggers()
	return p
}

func configMsg(now int64, p *policy) []byte {
	w := newWriter(cmdConfig, now)
	w.policy(p)
	return w.Bytes()
}

func decodeConfig(r *reader) (*policy, error) {
	p := r.policy()
	return p, r.End()
}
