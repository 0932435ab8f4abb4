package ksys

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Observation is everything that the status is judged on. What could not be
// asked stays unknown; unknown is never taken for well.
type Observation struct {
	Time time.Time
	// Cluster is PowerHA's; Name is "" when unknown. Type is NSC or LC.
	ClusterName, ClusterType string
	// Defined are the cluster's nodes, nil when unknown.
	Defined []string
	// Reached says that clcmd worked: then a node without an answer is not
	// there, instead of unknown.
	Reached bool
	Nodes   []NodeView
	// Groups is the answer of clRGinfo; GroupsKnown says that there was one.
	Groups      []GroupState
	GroupsKnown bool
	// Ksys is the answer of ksysmgr; KsysWhy says why there is none.
	Ksys    KsysCluster
	KsysWhy string
	// Local is this node; Flag its flag file.
	Local     string
	Flag      FlagVerdict
	FlagKnown bool
}

// NodeView is one node's own answer.
type NodeView struct {
	// Name is the full name, as clcmd prints it.
	Name string
	// Manager is the state of the cluster manager, "" when unknown.
	Manager string
	Daemon  Daemon
	// Leader is the group leader that the node names, "" when unknown.
	Leader string
}

// Health is the result of a check.
type Health int

// The results.
const (
	HealthOK Health = iota
	HealthUnknown
	HealthWarn
	HealthFail
)

// String returns the word used in the table and in JSON.
func (h Health) String() string { return [...]string{"ok", "unknown", "warn", "fail"}[h] }

// MarshalText implements encoding.TextMarshaler.
func (h Health) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// The exit statuses of ksysstatus.
const (
	StatusWarn    = 1
	StatusFail    = 2
	StatusUnknown = 3
)

// Check is the result of one check.
type Check struct {
	ID     string `json:"id"`
	Result Health `json:"result"`
	Detail string `json:"detail"`
}

// Report is the judged status.
type Report struct {
	Version int           `json:"version"`
	Time    time.Time     `json:"time"`
	Cluster ReportCluster `json:"cluster"`
	Nodes   []ReportNode  `json:"nodes"`
	Checks  []Check       `json:"checks"`
	Result  Health        `json:"result"`
}

// ReportCluster is the cluster in a Report; nil is unknown.
type ReportCluster struct {
	Name   *string     `json:"name"`
	Type   *string     `json:"type"`
	Leader *string     `json:"leader"`
	RG     ReportGroup `json:"rg"`
}

// ReportGroup is the resource group in a Report; nil is unknown.
type ReportGroup struct {
	Name  string  `json:"name"`
	Node  *string `json:"node"`
	State *string `json:"state"`
}

// ReportNode is one node in a Report; nil is unknown.
type ReportNode struct {
	Name    string  `json:"name"`
	FQDN    *string `json:"fqdn"`
	Manager *string `json:"clstrmgr"`
	VMR     *string `json:"vmr"`
	PID     *int    `json:"pid"`
	Leader  *bool   `json:"leader"`
	RG      *string `json:"rg"`
}

// ExitCode is the exit status for a report.
func (r Report) ExitCode() int {
	switch r.Result {
	case HealthWarn:
		return StatusWarn
	case HealthFail:
		return StatusFail
	case HealthUnknown:
		return StatusUnknown
	}
	return ExitOK
}

// judge holds what several checks need.
type judge struct {
	o         Observation
	names     []string // first labels, sorted
	views     map[string]NodeView
	states    map[string]string // of the resource group
	leader    string
	owner     string // where the group is ONLINE, if on one node
	preconfig bool
}

// Judge makes a report of an observation. With preconfig a standby node
// without an active daemon is a failure: KSYS must not be configured then.
func Judge(o Observation, preconfig bool) Report {
	j := judge{o: o, views: map[string]NodeView{}, states: map[string]string{}, preconfig: preconfig}
	add := func(name string) string {
		name = strings.ToLower(FirstLabel(name))
		if name != "" && !slices.Contains(j.names, name) {
			j.names = append(j.names, name)
		}
		return name
	}
	for _, n := range o.Defined {
		add(n)
	}
	for _, v := range o.Nodes {
		j.views[add(v.Name)] = v
	}
	for _, g := range o.Groups {
		if g.Group == ResourceGroup {
			j.states[add(g.Node)] = g.State
		}
	}
	slices.Sort(j.names)
	r := Report{Version: 1, Time: o.Time.UTC()}
	r.Checks = []Check{j.managers(), j.leaders(), j.group(), j.agreement(), j.daemons(), j.ksys(), j.flag()}
	for _, c := range r.Checks {
		r.Result = max(r.Result, c.Result)
	}
	r.Cluster = j.cluster()
	for _, n := range j.names {
		r.Nodes = append(r.Nodes, j.node(n))
	}
	return r
}

func known(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func (j *judge) cluster() ReportCluster {
	c := ReportCluster{Name: known(j.o.ClusterName), Type: known(kind(j.o.ClusterType)), Leader: known(j.leader), RG: ReportGroup{Name: ResourceGroup}}
	for _, n := range j.names {
		if s := j.states[n]; s != "" && s != "OFFLINE" {
			c.RG.Node, c.RG.State = known(n), known(s)
			if s == "ONLINE" {
				break
			}
		}
	}
	if c.RG.State == nil && len(j.states) > 0 {
		c.RG.State = known("OFFLINE")
	}
	return c
}

// kind is KSYS's word for PowerHA's cluster type.
func kind(t string) string {
	switch strings.ToUpper(t) {
	case "NSC", "STANDARD", "HA":
		return "HA"
	case "LC", "LINKED", "SC", "STRETCHED", "DR":
		return "DR"
	}
	return t
}

func (j *judge) node(name string) ReportNode {
	v, ok := j.views[name]
	n := ReportNode{Name: name, RG: known(j.states[name])}
	if !ok {
		return n
	}
	n.FQDN, n.Manager = known(v.Name), known(v.Manager)
	if v.Daemon.State != DaemonUnknown {
		n.VMR = known(v.Daemon.State.String())
		n.PID = &v.Daemon.PID
	}
	if v.Leader != "" {
		is := SameHost(v.Leader, v.Name)
		n.Leader = &is
	}
	return n
}

// managers is C1: every cluster manager is stable.
func (j *judge) managers() Check {
	c := Check{ID: "C1"}
	worse := func(h Health, format string, args ...any) {
		c.Result = max(c.Result, h)
		if c.Detail != "" {
			c.Detail += "; "
		}
		c.Detail += fmt.Sprintf(format, args...)
	}
	if len(j.names) == 0 {
		worse(HealthUnknown, "no node is known")
	}
	for _, n := range j.names {
		v, ok := j.views[n]
		switch {
		case !ok && j.o.Reached:
			worse(HealthFail, "%s does not answer", n)
		case !ok || v.Manager == "":
			worse(HealthUnknown, "%s unknown", n)
		case v.Manager == "ST_STABLE":
		case v.Manager == "ST_RP_RUNNING", v.Manager == "ST_BARRIER", v.Manager == "ST_CBARRIER":
			worse(HealthWarn, "%s is %s", n, v.Manager)
		default:
			worse(HealthFail, "%s is %s", n, v.Manager)
		}
	}
	return c
}

// leaders is C2: all nodes name one group leader.
func (j *judge) leaders() Check {
	unknown := ""
	for _, n := range j.names {
		v, ok := j.views[n]
		switch {
		case !ok && j.o.Reached:
			// It is not there; C1 says so.
		case v.Leader == "":
			unknown = n
		case j.leader == "":
			j.leader = v.Leader
		case !SameHost(j.leader, v.Leader):
			other := j.leader
			j.leader = ""
			return Check{"C2", HealthFail, fmt.Sprintf("leaders %s and %s: the domain is split", other, v.Leader)}
		}
	}
	switch {
	case j.leader == "":
		return Check{"C2", HealthUnknown, "no node names a group leader"}
	case unknown != "":
		return Check{"C2", HealthUnknown, unknown + " names no group leader"}
	}
	return Check{ID: "C2"}
}

// group is C3: the resource group is online on exactly one node.
func (j *judge) group() Check {
	if !j.o.GroupsKnown {
		return Check{"C3", HealthUnknown, "clRGinfo gives no answer"}
	}
	if len(j.states) == 0 {
		return Check{"C3", HealthFail, ResourceGroup + " is not defined"}
	}
	var online, moving []string
	for _, n := range j.names {
		switch s := j.states[n]; {
		case s == "ONLINE":
			online = append(online, n)
		case strings.Contains(s, "ERROR"):
			return Check{"C3", HealthFail, s + " on " + n}
		case s == "ACQUIRING", s == "RELEASING":
			moving = append(moving, s+" on "+n)
		}
	}
	switch {
	case len(online) > 1:
		return Check{"C3", HealthFail, "ONLINE on " + strings.Join(online, " and ")}
	case len(moving) > 0:
		return Check{"C3", HealthWarn, strings.Join(moving, "; ")}
	case len(online) == 0:
		return Check{"C3", HealthFail, "ONLINE on no node"}
	}
	j.owner = online[0]
	return Check{ID: "C3"}
}

// agreement is C4: the group is where the leader is.
func (j *judge) agreement() Check {
	switch {
	case j.leader == "" || j.owner == "":
		return Check{"C4", HealthUnknown, "group leader or owner of " + ResourceGroup + " unknown"}
	case !SameHost(j.leader, j.owner):
		return Check{"C4", HealthFail, fmt.Sprintf("%s is on %s, the group leader is %s", ResourceGroup, j.owner, FirstLabel(j.leader))}
	}
	return Check{ID: "C4"}
}

// daemons is C5: the daemon is active everywhere.
func (j *judge) daemons() Check {
	c := Check{ID: "C5"}
	if len(j.names) == 0 {
		return Check{"C5", HealthUnknown, "no node is known"}
	}
	for _, n := range j.names {
		v, ok := j.views[n]
		h := HealthWarn
		text := v.Daemon.State.String()
		switch {
		case ok && v.Daemon.State == DaemonActive:
			continue
		case !ok && j.o.Reached:
			text = "not there"
			if n == j.owner || j.preconfig {
				h = HealthFail
			}
		case v.Daemon.State == DaemonUnknown:
			h = HealthUnknown
		case n == j.owner, j.preconfig:
			h = HealthFail
		}
		c.Result = max(c.Result, h)
		if c.Detail != "" {
			c.Detail += "; "
		}
		c.Detail += n + " " + text
	}
	return c
}

// ksys is C6: ksysmgr knows the cluster by its name and type.
func (j *judge) ksys() Check {
	hint := ", see " + ConfigXML
	switch k := j.o.Ksys; {
	case j.o.KsysWhy == "no cluster":
		return Check{"C6", HealthFail, "ksysmgr knows no cluster" + hint}
	case j.o.KsysWhy != "":
		return Check{"C6", HealthUnknown, "ksysmgr: " + j.o.KsysWhy}
	case j.o.ClusterName == "":
		return Check{"C6", HealthUnknown, "name of the PowerHA cluster unknown"}
	case k.Name != j.o.ClusterName:
		return Check{"C6", HealthFail, fmt.Sprintf("ksysmgr says %s, PowerHA %s%s", k.Name, j.o.ClusterName, hint)}
	case !strings.EqualFold(k.Type, kind(j.o.ClusterType)):
		return Check{"C6", HealthFail, fmt.Sprintf("ksysmgr says type %s, PowerHA %s%s", k.Type, kind(j.o.ClusterType), hint)}
	}
	return Check{ID: "C6"}
}

// flag is C7: there is no flag file on this node, unless it is acquiring.
func (j *judge) flag() Check {
	state := j.states[strings.ToLower(FirstLabel(j.o.Local))]
	switch {
	case !j.o.FlagKnown:
		return Check{"C7", HealthUnknown, "state folder cannot be read"}
	case j.o.Flag == FlagAbsent, j.o.Flag == FlagFresh && state == "ACQUIRING":
		return Check{ID: "C7"}
	}
	return Check{"C7", HealthWarn, j.o.Flag.String() + " flag file on " + FirstLabel(j.o.Local)}
}

// JSON is the report as one document with a line end.
func (r Report) JSON() []byte {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		panic(err) // plain data
	}
	return append(b, '\n')
}

// Table is the report for people.
func (r Report) Table() string {
	text := func(s *string) string {
		if s == nil {
			return "-"
		}
		return *s
	}
	leader := "-"
	if r.Cluster.Leader != nil {
		leader = FirstLabel(*r.Cluster.Leader)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "CLUSTER %s  TYPE %s  LEADER %s  RG %s\n", text(r.Cluster.Name), text(r.Cluster.Type), leader, r.Cluster.RG.Name)
	width := 10
	for _, n := range r.Nodes {
		width = max(width, len(n.Name)+2)
	}
	row := func(f ...string) {
		line := fmt.Sprintf("%-*s %-13s %-12s %-10s %-7s %s", width, f[0], f[1], f[2], f[3], f[4], f[5])
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	row("NODE", "CLUSTER-MGR", "IBM.VMR", "PID", "LEADER", "RG")
	for _, n := range r.Nodes {
		pid, is := "-", "-"
		if n.PID != nil && *n.PID > 0 {
			pid = fmt.Sprint(*n.PID)
		}
		if n.Leader != nil {
			is = "no"
			if *n.Leader {
				is = "yes"
			}
		}
		row(n.Name, text(n.Manager), text(n.VMR), pid, is, text(n.RG))
	}
	b.WriteString("CHECKS")
	for i, c := range r.Checks {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(" " + c.ID + " " + c.Result.String())
	}
	b.WriteString("     RESULT " + r.Result.String() + "\n")
	for _, c := range r.Checks {
		if c.Result != HealthOK {
			fmt.Fprintf(&b, "%s %s: %s\n", c.ID, c.Result, c.Detail)
		}
	}
	return b.String()
}
