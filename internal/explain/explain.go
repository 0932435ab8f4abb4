// Package explain turns a cluster.conf into a page that says what it does:
// who is in the cluster and how many votes that takes, who fences whom and
// how, what each service consists of, and what happens on each kind of
// failure. The same page is text, JSON or a picture (SVG).
//
//	page := explain.New(doc, restree.Builtin())
//	page.Text(os.Stdout)
//
// It describes; it does not judge. What is wrong with a file is found by
// package clusterconf, and the page repeats it at the end. Secrets are left out.
package explain

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/haobox/haobox/internal/clusterconf"
	"github.com/haobox/haobox/internal/restree"
	"github.com/haobox/haobox/internal/xmldoc"
)

// Page is the explanation of one file.
type Page struct {
	Cluster   string `json:"cluster"`
	Version   int    `json:"configVersion"`
	ClusterID int    `json:"clusterId"`
	Multicast string `json:"multicast"`

	Nodes    []Node    `json:"nodes"`
	Quorum   Quorum    `json:"quorum"`
	Disk     *Disk     `json:"quorumDisk,omitempty"`
	Devices  []Device  `json:"fenceDevices"`
	Failure  Detection `json:"nodeFailure"`
	Domains  []Domain  `json:"failoverDomains"`
	Services []Service `json:"services"`
	// Findings are what is wrong or dangerous, one line each.
	Findings []string `json:"findings"`
}

// Node is a member of the cluster.
type Node struct {
	Name    string   `json:"name"`
	ID      int      `json:"nodeid"`
	Votes   int      `json:"votes"`
	AltName string   `json:"altname,omitempty"`
	Methods []Method `json:"fenceMethods"`
	Unfence []Use    `json:"unfence"`
}

// Method is a way to fence a node; all its devices must succeed.
type Method struct {
	Name    string `json:"name"`
	Devices []Use  `json:"devices"`
}

// Use is a use of a fence device.
type Use struct {
	Device string   `json:"device"`
	Agent  string   `json:"agent"`
	Args   []string `json:"args"`
}

// Device is a fence device.
type Device struct {
	Name  string   `json:"name"`
	Agent string   `json:"agent"`
	Args  []string `json:"args"`
	// Fences are the nodes that use it.
	Fences []string `json:"fences"`
}

// Quorum is the arithmetic of votes.
type Quorum struct {
	Expected    int    `json:"expectedVotes"`
	ExpectedWhy string `json:"expectedVotesSource"`
	NodeVotes   int    `json:"nodeVotes"`
	DiskVotes   int    `json:"diskVotes"`
	Quorum      int    `json:"quorum"`
	TwoNode     bool   `json:"twoNode"`
	Cases       []Case `json:"cases"`
}

// Case is what a number of failed nodes means.
type Case struct {
	Down    int  `json:"nodesDown"`
	Disk    bool `json:"disk"` // the quorum disk, if there is one, counts
	Votes   int  `json:"votes"`
	Quorate bool `json:"quorate"`
}

// Disk is the quorum disk.
type Disk struct {
	Where      string   `json:"where"`
	Votes      int      `json:"votes"`
	VotesAuto  bool     `json:"votesAutomatic"`
	Interval   string   `json:"interval"`
	TKO        int      `json:"tko"`
	Evicts     string   `json:"evictsAfter"`
	Recovery   string   `json:"newMasterAfter"`
	MasterWins bool     `json:"masterWins"`
	MinScore   int      `json:"minScore"`
	MaxScore   int      `json:"maxScore"`
	Heuristics []string `json:"heuristics"`
}

// Detection is how the failure of a node is noticed and answered.
type Detection struct {
	Token        string `json:"token"`
	Consensus    string `json:"consensus"`
	FailDelay    string `json:"postFailDelay"`
	JoinDelay    string `json:"postJoinDelay"`
	Override     string `json:"overridePath"`
	OverrideTime string `json:"overrideTime"`
}

// Domain is a failover domain.
type Domain struct {
	Name       string   `json:"name"`
	Ordered    bool     `json:"ordered"`
	Restricted bool     `json:"restricted"`
	NoFailback bool     `json:"noFailback"`
	Nodes      []string `json:"nodes"` // best first, "name:priority" if ordered
}

// Service is a resource group.
type Service struct {
	ID        string   `json:"id"`
	Domain    string   `json:"domain,omitempty"`
	RunsOn    []string `json:"runsOn"` // best first
	Elsewhere bool     `json:"elsewhere"`
	Autostart bool     `json:"autostart"`
	Exclusive bool     `json:"exclusive"`
	Recovery  string   `json:"recovery"`
	Depends   string   `json:"depends,omitempty"`
	Tree      Resource `json:"tree"`
	Addresses []string `json:"addresses"`
	// StopOrder is the order of the agents' stop actions.
	StopOrder []string  `json:"stopOrder"`
	Failures  []Outcome `json:"failures"`
}

// Resource is a node of a service's tree; children are in start order.
type Resource struct {
	ID       string     `json:"id"`
	What     string     `json:"what,omitempty"`
	Checks   []string   `json:"checks,omitempty"`
	Mark     string     `json:"mark,omitempty"`
	Shared   bool       `json:"shared,omitempty"`
	Children []Resource `json:"children,omitempty"`
}

// Outcome is what happens on a kind of failure.
type Outcome struct {
	When string `json:"when"`
	Then string `json:"then"`
}

// New explains a document with these resource types.
func New(doc *xmldoc.Document, rules restree.Rules) *Page {
	c := clusterconf.Decode(doc)
	set := c.Set(rules.Clone())
	p := &Page{Cluster: c.Name, Version: c.Version, ClusterID: c.Cman.ClusterID, Multicast: c.Cman.Multicast,
		Domains: []Domain{}, Services: []Service{}, Devices: []Device{}, Nodes: []Node{}, Findings: []string{}}
	for _, n := range c.Nodes {
		p.Nodes = append(p.Nodes, node(c, n))
	}
	for _, fd := range c.FenceDevices {
		p.Devices = append(p.Devices, device(c, fd))
	}
	p.Quorum = quorum(c)
	p.Disk = disk(c)
	p.Failure = Detection{Token: span(c.Totem.Token), Consensus: span(c.Totem.Consensus), FailDelay: span(c.FenceDaemon.PostFailDelay),
		JoinDelay: span(c.FenceDaemon.PostJoinDelay), Override: c.FenceDaemon.OverridePath, OverrideTime: span(c.FenceDaemon.OverrideTime)}
	for _, d := range set.Domains {
		p.Domains = append(p.Domains, domain(d))
	}
	for _, n := range set.Tree {
		p.Services = append(p.Services, service(c, set, n))
	}
	for _, i := range clusterconf.Validate(doc, clusterconf.Options{Rules: rules}).Issues {
		p.Findings = append(p.Findings, i.String())
	}
	return p
}

// span writes a duration as people say it: "10 s", "200 ms", "1 min 30 s".
func span(d time.Duration) string {
	switch {
	case d < 0:
		return "for ever"
	case d == 0:
		return "0 s"
	case d%time.Second != 0:
		return strconv.FormatInt(d.Milliseconds(), 10) + " ms"
	case d < 2*time.Minute:
		return strconv.Itoa(int(d/time.Second)) + " s"
	case d%time.Minute == 0:
		return strconv.Itoa(int(d/time.Minute)) + " min"
	}
	return strconv.Itoa(int(d/time.Minute)) + " min " + strconv.Itoa(int(d%time.Minute/time.Second)) + " s"
}

func plural(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + one + "s"
}

func node(c *clusterconf.Config, n clusterconf.Node) Node {
	out := Node{Name: n.Name, ID: n.ID, Votes: n.Votes, Methods: []Method{}, Unfence: uses(c, n.Unfence)}
	if n.AltName != nil {
		out.AltName = n.AltName.Name
	}
	for _, m := range n.Methods {
		out.Methods = append(out.Methods, Method{Name: m.Name, Devices: uses(c, m.Devices)})
	}
	return out
}

func uses(c *clusterconf.Config, list []clusterconf.Device) []Use {
	out := []Use{}
	for _, d := range list {
		u := Use{Device: d.Name, Agent: "none", Args: shown(d.Args)}
		if fd := c.FenceDevice(d.Name); fd != nil {
			u.Agent = fd.Agent
		}
		out = append(out, u)
	}
	return out
}

// shown are arguments without secrets and without the agent.
func shown(args []clusterconf.Arg) []string {
	out := []string{}
	for _, a := range args {
		if a.Name != "agent" {
			out = append(out, a.String())
		}
	}
	return out
}

func device(c *clusterconf.Config, fd clusterconf.FenceDevice) Device {
	d := Device{Name: fd.Name, Agent: fd.Agent, Args: shown(fd.Args), Fences: []string{}}
	for _, n := range c.Nodes {
		for _, m := range n.Methods {
			if slices.ContainsFunc(m.Devices, func(u clusterconf.Device) bool { return u.Name == fd.Name }) && !slices.Contains(d.Fences, n.Name) {
				d.Fences = append(d.Fences, n.Name)
			}
		}
	}
	return d
}

// quorum works out the votes with the nodes of most votes failing first: the
// worst case.
func quorum(c *clusterconf.Config) Quorum {
	q := Quorum{Expected: c.ExpectedVotes(), ExpectedWhy: "the votes of all nodes", NodeVotes: c.NodeVotes(), DiskVotes: c.DeviceVotes(),
		Quorum: c.Quorum(c.NodeVotes() + c.DeviceVotes()), TwoNode: c.Cman.TwoNode, Cases: []Case{}}
	if c.Cman.ExpectedVotes > 0 {
		q.ExpectedWhy = "expected_votes of cman"
	}
	votes := make([]int, len(c.Nodes))
	for i, n := range c.Nodes {
		votes[i] = n.Votes
	}
	slices.Sort(votes)
	slices.Reverse(votes)
	const most = 16 // more lines help nobody
	left := c.NodeVotes()
	for down := 0; down < len(votes) && down < most; down++ {
		// Quorum never falls while members leave, so the one of the whole
		// cluster counts.
		add := func(disk bool, total int) {
			q.Cases = append(q.Cases, Case{Down: down, Disk: disk, Votes: total, Quorate: total >= q.Quorum})
		}
		if c.Quorumd != nil {
			add(true, left+c.DeviceVotes())
		}
		add(false, left)
		left -= votes[down]
	}
	return q
}

func disk(c *clusterconf.Config) *Disk {
	q := c.Quorumd
	if q == nil {
		return nil
	}
	d := &Disk{Where: "label " + q.Label, Votes: q.Votes, VotesAuto: q.VotesAuto, Interval: span(q.Interval), TKO: q.TKO,
		Evicts: span(q.Interval * time.Duration(q.TKO+1)), Recovery: span(q.MasterRecovery()), MasterWins: q.MasterWins, MinScore: q.MinScore, Heuristics: []string{}}
	if q.Label == "" {
		d.Where = "device " + q.Device
	}
	for _, h := range q.Heuristics {
		d.MaxScore += h.Score
		d.Heuristics = append(d.Heuristics, fmt.Sprintf("%s: every %s, down after %s in a row, score %d", h.Program, span(h.Interval), plural(h.TKO, "failure"), h.Score))
	}
	d.MaxScore = max(d.MaxScore, 1)
	if d.MinScore == 0 {
		d.MinScore = d.MaxScore/2 + 1
	}
	return d
}

// ranked are the members of a domain, best first: by priority if it is ordered.
func ranked(d restree.Domain) []restree.DomainNode {
	nodes := slices.Clone(d.Nodes)
	if d.Ordered {
		slices.SortStableFunc(nodes, func(a, b restree.DomainNode) int { return a.Priority - b.Priority })
	}
	return nodes
}

func domain(d restree.Domain) Domain {
	out := Domain{Name: d.Name, Ordered: d.Ordered, Restricted: d.Restricted, NoFailback: d.NoFailback, Nodes: []string{}}
	for _, n := range ranked(d) {
		s := n.Name
		if d.Ordered {
			s += ":" + strconv.Itoa(n.Priority)
		}
		out.Nodes = append(out.Nodes, s)
	}
	return out
}
