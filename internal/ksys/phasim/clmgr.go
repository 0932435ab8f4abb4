package phasim

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The times of the long commands. Ours: of the order of the paper's
// transcripts, so that progress has something to show.
const (
	addClusterTime = 40 * time.Second
	syncTime       = 60 * time.Second
	verifyTime     = 30 * time.Second
	onlineTime     = 90 * time.Second
	offlineTime    = 30 * time.Second
	deleteTime     = 30 * time.Second
)

// actions and classes of clmgr that are simulated; abbreviations count when
// they are unambiguous, in any case.
var (
	clmgrActions = []string{"query", "add", "modify", "delete", "sync", "verify", "online", "offline"}
	clmgrClasses = []string{"cluster", "site", "node", "repository", "application_controller", "application_monitor", "resource_group", "file_collection"}
)

// expand returns the only word that s begins.
func expand(s string, words []string) string {
	s = strings.ToLower(s)
	switch s {
	case "q":
		return "query"
	case "cl":
		return "cluster"
	case "rg":
		return "resource_group"
	}
	found := ""
	for _, w := range words {
		if w == s {
			return w
		}
		if strings.HasPrefix(w, s) {
			if found != "" {
				return ""
			}
			found = w
		}
	}
	return found
}

func clmgrError(format string, args ...any) Answer {
	return Answer{Stderr: "ERROR: " + fmt.Sprintf(format, args...) + "\n", Code: 1}
}

func (w *World) clmgr(c Call, n *Node, args []string) Answer {
	if len(args) < 2 {
		return clmgrError("missing action or class.")
	}
	action, class := expand(args[0], clmgrActions), expand(args[1], clmgrClasses)
	if action == "" || class == "" {
		return clmgrError("\"%s %s\" is not a known operation.", args[0], args[1])
	}
	if _, ok := w.faultOf(n, "clmgr fail", action+" "+class); ok {
		return clmgrError("simulated failure of \"%s %s\".", action, class)
	}
	name := ""
	rest := args[2:]
	if len(rest) > 0 && !strings.Contains(rest[0], "=") {
		name, rest = rest[0], rest[1:]
	}
	var attrs []Attr
	for _, a := range rest {
		k, v, ok := strings.Cut(a, "=")
		if !ok || k == "" {
			return clmgrError("\"%s\" is not ATTRIBUTE=value.", a)
		}
		attrs = append(attrs, Attr{strings.ToUpper(k), v})
	}
	if w.Cluster == nil && !(action == "add" && class == "cluster") {
		return Answer{Stderr: "ERROR: no cluster is defined.\n", Code: 1}
	}
	if class == "cluster" {
		return w.clmgrCluster(c, n, action, name, attrs)
	}
	return w.clmgrObject(n, action, class, name, attrs)
}

func get(attrs []Attr, key string) string {
	for _, a := range attrs {
		if a.Key == key {
			return a.Value
		}
	}
	return ""
}

func (w *World) clmgrCluster(c Call, n *Node, action, name string, attrs []Attr) Answer {
	switch action {
	case "query":
		state := "OFFLINE"
		if w.Cluster.Online {
			state = "STABLE"
		}
		return Answer{Stdout: quoted([]Attr{{"CLUSTER_NAME", w.Cluster.Name}, {"TYPE", w.Cluster.Type}, {"STATE", state},
			{"HEARTBEAT_TYPE", w.Cluster.Heartbeat}, {"NODES", strings.Join(w.Cluster.Nodes, " ")},
			{"UNSYNCED_CHANGES", strconv.FormatBool(!w.Cluster.Synced)}})}
	case "add":
		return w.addCluster(n, name, attrs)
	case "modify":
		w.Cluster.Synced = false
		return Answer{}
	case "sync":
		return w.syncCluster(c, n)
	case "verify":
		return Answer{Stdout: verifyText(w.Cluster.Nodes) + "Verification has completed normally.\n", Took: verifyTime}
	case "online":
		return w.online(attrs)
	case "offline":
		if !w.Cluster.Online {
			return clmgrError("the cluster is already offline.")
		}
		w.Cluster.Online = false
		for _, m := range w.Nodes {
			if m.Up {
				m.Manager, m.JoinAt = "NOT_CONFIGURED", 0
			}
		}
		for _, g := range w.Groups {
			for _, p := range g.Nodes {
				w.Place(g.Name, p.Node, "OFFLINE")
			}
		}
		w.Peer.Online = false
		return Answer{Stdout: "The cluster is now offline.\n", Took: offlineTime}
	case "delete":
		if w.Cluster.Online {
			return clmgrError("the cluster \"%s\" is online.", w.Cluster.Name)
		}
		w.Cluster, w.Objects, w.Groups, w.Peer = nil, nil, nil, Peer{}
		for _, m := range w.Nodes {
			if m.Up {
				m.Manager, m.Last = "NOT_CONFIGURED", ""
			}
		}
		return Answer{Took: deleteTime}
	}
	return clmgrError("\"%s cluster\" is not simulated.", action)
}

func quoted(attrs []Attr) string {
	out := ""
	for _, a := range attrs {
		out += a.Key + "=\"" + a.Value + "\"\n"
	}
	return out
}

// addCluster prints what the paper prints after "Creating PHA cluster".
func (w *World) addCluster(n *Node, name string, attrs []Attr) Answer {
	typ := get(attrs, "TYPE")
	nodes := strings.Split(get(attrs, "NODES"), ",")
	disk := get(attrs, "REPOSITORIES")
	switch {
	case w.Cluster != nil:
		return clmgrError("cluster \"%s\" is already defined.", w.Cluster.Name)
	case name == "":
		return clmgrError("a cluster name is required.")
	case typ != "NSC" && typ != "LC":
		return clmgrError("TYPE \"%s\" is not known.", typ)
	case typ == "NSC" && disk == "":
		return clmgrError("REPOSITORIES is required.")
	}
	for _, m := range nodes {
		node := w.Node(m)
		if node == nil || !node.Up || node.subsystem("clcomd").State != stateActive {
			return clmgrError("cannot communicate with node \"%s\" through clcomd.", m)
		}
		if disk != "" && node.vg(disk) != "None" {
			return clmgrError("disk \"%s\" on node \"%s\" cannot be used as a repository.", disk, m)
		}
	}
	kind, heartbeat := "Standard", strings.ToLower(get(attrs, "HEARTBEAT_TYPE"))
	if typ == "LC" {
		kind = "Linked"
	}
	w.Cluster = &Cluster{Name: name, Type: typ, Nodes: nodes, Heartbeat: or(heartbeat, "multicast")}
	w.Peer = Peer{Name: name, Online: true}
	var b strings.Builder
	b.WriteString("Initializing..\nGathering cluster information, which may take a few minutes...\nProcessing...\n\n" +
		"Storing the following information in file\n/usr/es/sbin/cluster/etc/config/clvg_config\n")
	for _, m := range nodes {
		node := w.Node(m)
		b.WriteString("\n" + m + ":\n\n")
		for _, d := range node.Disks {
			major, active := "0", "No"
			if d.VG == "rootvg" {
				major, active = "10", "Yes"
			}
			fmt.Fprintf(&b, "    Hdisk:          %s\n    PVID:           %s\n    VGname:         %s\n    VGmajor:        %s\n"+
				"    Conc-capable:   No\n    VGactive:       %s\n    Quorum-required:%s\n", d.Name, d.PVID, d.VG, major, active, active)
		}
		b.WriteString("    FREEMAJORS:     39...\n")
	}
	if heartbeat == "" {
		b.WriteString("\nWarning: since no heartbeating type was specified, and unicast is not available\n" +
			"on all nodes, a default heartbeating style of multicast will be used.\n" +
			"Default Multicast IP address will be assigned during synchronization\n")
	}
	repository := "None"
	if disk != "" {
		repository = disk + " (" + w.Node(nodes[0]).pvid(disk) + ")"
		b.WriteString("\nSuccessfully added a primary repository disk.\nTo view the complete configuration of repository disks use:\n" +
			"\"clmgr query repository\" or \"clmgr view report repository\"\n")
	}
	fmt.Fprintf(&b, "\nCluster Name:    %s\nCluster Type:    %s\nHeartbeat Type:  %s\nRepository Disk: %s\nCluster IP Address: None\n\n"+
		"There are %d node(s) and 1 network(s) defined\n", name, kind, title(w.Cluster.Heartbeat), repository, len(nodes))
	for i, m := range nodes {
		fmt.Fprintf(&b, "\nNODE %s:\n    Network net_ether_01\n    %s 10.40.0.%d\n", m, m, 57+i)
	}
	b.WriteString("\nNo resource groups defined\n\n*** The initial cluster configuration information has been saved. You can now\n" +
		"define repository disks, along with other configuration information. When the\ncluster configuration is fully defined, verify and synchronize the cluster to\n" +
		"deploy the configuration to all defined nodes.\n\n")
	for _, m := range nodes {
		fmt.Fprintf(&b, "Communication path %s discovered a new node. Hostname is %s. Adding it to the configuration with Nodename %s.\n", m, w.FQDN(w.Node(m)), m)
	}
	b.WriteString("Discovering IP Network Connectivity\n" + collection(nodes))
	for p := 10; p <= 100; p += 10 {
		fmt.Fprintf(&b, "Completed %d percent of the verification checks\n", p)
		if p == 60 {
			fmt.Fprintf(&b, "Discovered [%d] interfaces\n", len(nodes))
		}
	}
	b.WriteString("IP Network Discovery completed normally\nDiscovering Volume Group Configuration\n")
	return Answer{Stdout: b.String(), Took: addClusterTime}
}

func title(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

func (n *Node) vg(disk string) string {
	for _, d := range n.Disks {
		if d.Name == disk {
			return d.VG
		}
	}
	return ""
}

func (n *Node) pvid(disk string) string {
	for _, d := range n.Disks {
		if d.Name == disk {
			return d.PVID
		}
	}
	return ""
}

func collection(nodes []string) string {
	out := "Retrieving data from available cluster nodes. This could take a few minutes.\n"
	for _, m := range nodes {
		out += "Start data collection on node " + m + "\n"
	}
	for _, m := range slices.Backward(nodes) {
		out += "Collector on node " + m + " completed\n"
	}
	return out + "Data collection complete\n"
}

func verifyText(nodes []string) string {
	out := "Verification to be performed on the following:\nCluster Topology\nCluster Resources\n" + collection(nodes) +
		"WARNING: File 'netmon.cf' is missing or empty on the following nodes:\n" + strings.Join(nodes, "\n") + "\n"
	for p := 10; p <= 100; p += 10 {
		out += fmt.Sprintf("Completed %d percent of the verification checks\n", p)
	}
	return out
}

// propagationTime is what clfileprop sets on the copies: the paper's value.
const propagationTime = 1556175617

// syncCluster copies the file collections, as the paper's transcript shows.
func (w *World) syncCluster(c Call, n *Node) Answer {
	var b strings.Builder
	var names []string
	for _, o := range w.Objects {
		if o.Class == "file_collection" {
			names = append(names, o.Name)
		}
	}
	if len(names) > 0 {
		b.WriteString("The following file collections will be processed:\n" + strings.Join(names, "\n") + "\n")
	}
	for _, m := range w.Cluster.Nodes {
		node := w.Node(m)
		if node == nil || node == n {
			continue
		}
		if !node.Up || node.subsystem("clcomd").State != stateActive {
			return Answer{Stdout: b.String(), Stderr: "ERROR: cannot reach node " + m + " through clcomd.\n", Code: 1}
		}
		if len(names) == 0 {
			continue
		}
		fmt.Fprintf(&b, "Starting file propagation to remote node %s.\n", m)
		total := 0
		for _, o := range w.Objects {
			if o.Class != "file_collection" {
				continue
			}
			for _, f := range strings.Split(get(o.Attrs, "FILES"), ",") {
				data, err := c.Files.Read(n.Name, f)
				if err == nil {
					err = c.Files.Write(m, f, data)
				}
				if err != nil {
					return Answer{Stdout: b.String(), Stderr: fmt.Sprintf("ERROR: cannot propagate %s to node %s: %v\n", f, m, err), Code: 1}
				}
				fmt.Fprintf(&b, "clfileprop[1649]: Fetching file modification time for name=%s on node %s\n"+
					"clfileprop[1669]: Updating file modification time for %s on node %s to %d\n"+
					"Successfully propagated file %s to node %s.\n", f, m, f, m, propagationTime, f, m)
				total++
			}
		}
		fmt.Fprintf(&b, "Total number of files propagated to node %s: %d\n", m, total)
	}
	b.WriteString("Committing any changes, as required, to all available nodes...\n" + verifyText(w.Cluster.Nodes) + "Verification has completed normally.\n")
	w.Cluster.Synced = true
	return Answer{Stdout: b.String(), Took: syncTime}
}

func (w *World) online(attrs []Attr) Answer {
	var b strings.Builder
	if get(attrs, "WHEN") == "" {
		b.WriteString("Warning: \"WHEN\" must be specified. Since it was not, a default of \"now\" will be used.\n")
	}
	if get(attrs, "MANAGE") == "" {
		b.WriteString("Warning: \"MANAGE\" must be specified. Since it was not, a default of \"auto\" will be used.\n")
	}
	if !w.Cluster.Synced {
		return Answer{Stdout: b.String(), Stderr: "ERROR: the cluster is not synchronized.\n", Code: 1}
	}
	b.WriteString("Verifying Cluster Configuration Prior to Starting Cluster Services.\n")
	w.Cluster.Online = true
	w.Peer.Online = true
	last := ""
	for _, m := range w.Cluster.Nodes {
		node := w.Node(m)
		fmt.Fprintf(&b, "%s: start_cluster: Starting PowerHA SystemMirror\n", m)
		if node.Up {
			node.Manager = "ST_STABLE"
			last = strconv.Itoa(node.Number)
		}
	}
	w.event("JOIN_NODE_CO on node " + last)
	b.WriteString("The cluster is now online.\n")
	// In the simulation PowerHA brings the group online by itself only in the
	// event loop; without one it is online on the leader at once.
	for _, g := range w.Groups {
		placed := false
		for _, p := range g.Nodes {
			placed = placed || p.State == "ONLINE"
		}
		if !placed {
			w.Place(g.Name, w.Parts[0].Leader, "ONLINE")
		}
	}
	return Answer{Stdout: b.String(), Took: onlineTime}
}

// restartInterval is clmgr's default for a custom monitor: 1.1 x restart
// count x (stabilization + monitor interval). The paper prints 198.
func restartInterval(attrs []Attr) int {
	number := func(key string, def int) int {
		if v, err := strconv.Atoi(get(attrs, key)); err == nil {
			return v
		}
		return def
	}
	return number("RESTARTCOUNT", 3) * (number("STABILIZATION", 0) + number("MONITORINTERVAL", 0)) * 11 / 10
}

func (w *World) find(class, name string) int {
	return slices.IndexFunc(w.Objects, func(o Object) bool { return o.Class == class && o.Name == name })
}

func (w *World) clmgrObject(n *Node, action, class, name string, attrs []Attr) Answer {
	at := w.find(class, name)
	if action == "query" && name == "" {
		out := ""
		for _, o := range w.Objects {
			if o.Class == class {
				out += o.Name + "\n"
			}
		}
		return Answer{Stdout: out}
	}
	if name == "" {
		return clmgrError("a name is required.")
	}
	switch action {
	case "query":
		if at < 0 {
			return clmgrError("\"%s\" does not exist.", name)
		}
		return Answer{Stdout: quoted(append([]Attr{{"NAME", name}}, w.Objects[at].Attrs...))}
	case "modify":
		if at < 0 {
			return clmgrError("\"%s\" does not exist.", name)
		}
		for _, a := range attrs {
			o := &w.Objects[at]
			if i := slices.IndexFunc(o.Attrs, func(b Attr) bool { return b.Key == a.Key }); i >= 0 {
				o.Attrs[i].Value = a.Value
			} else {
				o.Attrs = append(o.Attrs, a)
			}
		}
		w.Cluster.Synced = false
		return Answer{}
	case "delete":
		if at < 0 {
			return clmgrError("\"%s\" does not exist.", name)
		}
		w.Objects = slices.Delete(w.Objects, at, at+1)
		w.Groups = slices.DeleteFunc(w.Groups, func(g RG) bool { return class == "resource_group" && g.Name == name })
		w.Cluster.Synced = false
		return Answer{}
	case "add":
		if at >= 0 {
			return clmgrError("\"%s\" already exists.", name)
		}
		return w.addObject(n, class, name, attrs)
	}
	return clmgrError("\"%s %s\" is not simulated.", action, class)
}

func (w *World) addObject(n *Node, class, name string, attrs []Attr) Answer {
	var a Answer
	switch class {
	case "application_controller":
		if get(attrs, "STARTSCRIPT") == "" || get(attrs, "STOPSCRIPT") == "" {
			return clmgrError("STARTSCRIPT and STOPSCRIPT are required.")
		}
	case "application_monitor":
		if w.find("application_controller", get(attrs, "APPLICATIONS")) < 0 {
			return clmgrError("application controller \"%s\" does not exist.", get(attrs, "APPLICATIONS"))
		}
		if get(attrs, "HUNGSIGNAL") == "" {
			a.Stderr += "claddappmon warning: The parameter \"HUNG_MONITOR_SIGNAL\" was not specified. Will use 9.\n"
		}
		if get(attrs, "RESTARTINTERVAL") == "" {
			a.Stderr += fmt.Sprintf("claddappmon warning: The parameter \"RESTART_INTERVAL\" was not specified. Will use %d.\n", restartInterval(attrs))
		}
	case "resource_group":
		nodes := get(attrs, "NODES")
		if nodes == "" {
			for _, site := range []string{get(attrs, "PRIMARYNODES"), get(attrs, "SECONDARYNODES")} {
				if i := w.find("site", site); i >= 0 {
					site = get(w.Objects[i].Attrs, "NODES")
				}
				nodes = strings.Trim(nodes+","+site, ",")
			}
		}
		rg := RG{Name: name}
		for _, m := range strings.Split(nodes, ",") {
			node := w.Node(m)
			if node == nil {
				return clmgrError("node \"%s\" does not exist.", m)
			}
			rg.Nodes = append(rg.Nodes, Placement{node.Name, "OFFLINE"})
		}
		w.Groups = append(w.Groups, rg)
	case "site":
		for _, m := range strings.Split(get(attrs, "NODES"), ",") {
			if w.Node(m) == nil {
				return clmgrError("node \"%s\" does not exist.", m)
			}
		}
		a.Stdout = "Successfully added a primary repository disk.\n"
	case "file_collection":
		if len(strings.Split(get(attrs, "FILES"), ",")) == 0 || get(attrs, "FILES") == "" {
			return clmgrError("FILES is required.")
		}
	case "repository":
		if n.vg(name) != "None" {
			return clmgrError("disk \"%s\" cannot be used as a repository.", name)
		}
	}
	w.Objects = append(w.Objects, Object{class, name, attrs})
	w.Cluster.Synced = false
	return a
}
