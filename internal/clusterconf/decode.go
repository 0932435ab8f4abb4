package clusterconf

import (
	"strconv"
	"strings"
	"time"

	"github.com/haobox/haobox/internal/restree"
	"github.com/haobox/haobox/internal/xmldoc"
)

// The defaults of cman(5), qdisk(5), fenced(8), dlm_controld(8) and
// rgmanager(8), all of them. A time of a file is milliseconds where the name
// has no other unit.
const (
	defaultVotes           = 1
	defaultPort            = 5405
	broadcastAltPort       = 5407 // port of the second ring with broadcast
	defaultTTL             = 1
	defaultQuorumDevPoll   = 10000 * time.Millisecond
	defaultShutdownTimeout = 5000 * time.Millisecond
	defaultCCSDPoll        = 1000 * time.Millisecond
	defaultToken           = 10000 * time.Millisecond
	defaultJoin            = 60 * time.Millisecond
	// consensus of up to two nodes is a fifth of the token within limits, of
	// more the token and two seconds.
	minConsensus   = 200 * time.Millisecond
	maxConsensus   = 2000 * time.Millisecond
	extraConsensus = 2000 * time.Millisecond

	defaultQuorumdInterval = 1 * time.Second
	defaultUpgradeWait     = 2
	minTKOUp               = 2
	// maxHeuristics is how many heuristics qdiskd reads.
	maxHeuristics = 10

	defaultPostJoinDelay = 6 * time.Second
	defaultPostFailDelay = 0 * time.Second
	defaultOverrideTime  = 3 * time.Second
	defaultCheckDelay    = 5 * time.Second
	// DefaultOverridePath is the FIFO of fence_ack_manual(8).
	DefaultOverridePath = "/var/run/cluster/fenced_override"

	defaultStatusPoll    = 10 * time.Second
	defaultThrottling    = 5 * time.Second
	minThrottling        = 1 * time.Second
	minStatusMax         = 3
	defaultDropTime      = 10000
	defaultDropCount     = 10
	defaultDropAge       = 10000
	defaultTransport     = "udp"
	broadcastTransport   = "udpb"
	broadcastAddress     = "255.255.255.255"
	defaultDLMProtocol   = "detect"
	defaultSchedulerName = "rr"
)

// reader takes values from an element that may be nil. Numbers are read as
// atoi(3) does.
type reader struct{ e *xmldoc.Element }

func (r reader) has(name string) bool {
	if r.e == nil {
		return false
	}
	_, ok := r.e.Attr(name)
	return ok
}

func (r reader) str(name, def string) string {
	if r.has(name) {
		return r.e.Get(name)
	}
	return def
}

func (r reader) num(name string, def int) int {
	if r.has(name) {
		return restree.Atoi(r.e.Get(name))
	}
	return def
}

func (r reader) flag(name string, def bool) bool {
	if r.has(name) {
		return restree.Atoi(r.e.Get(name)) != 0
	}
	return def
}

// word is a flag that is written as yes or on.
func (r reader) word(name string) bool {
	v := r.str(name, "")
	return v == "yes" || v == "on" || v == "1"
}

func (r reader) ms(name string, def time.Duration) time.Duration {
	if r.has(name) {
		return time.Duration(max(r.num(name, 0), 0)) * time.Millisecond
	}
	return def
}

// sec reads seconds; a negative number is ignored, as fenced does.
func (r reader) sec(name string, def time.Duration) time.Duration {
	if n := r.num(name, -1); n >= 0 {
		return time.Duration(n) * time.Second
	}
	return def
}

// Decode reads the values of a file and applies every default. It never fails:
// what is not there or makes no sense has its default or is 0, as with the old
// daemons. Validate says what is wrong.
func Decode(doc *xmldoc.Document) *Config {
	root := doc.Root
	top := reader{root}
	c := &Config{Name: top.str("name", ""), Version: top.num("config_version", 0), Doc: doc}
	decodeNodes(c, root)
	decodeFenceDevices(c, root)
	decodeCman(c, root)
	decodeTotem(c, root)
	decodeQuorumd(c, root)
	fd := reader{root.Child("fence_daemon")}
	c.FenceDaemon = FenceDaemon{
		PostJoinDelay: fd.sec("post_join_delay", defaultPostJoinDelay), PostFailDelay: fd.sec("post_fail_delay", defaultPostFailDelay),
		OverrideTime: fd.sec("override_time", defaultOverrideTime), OverridePath: fd.str("override_path", DefaultOverridePath),
		CleanStart: fd.flag("clean_start", false), SkipUndefined: fd.flag("skip_undefined", false),
		CheckDelay: fd.sec("fence_check_delay", defaultCheckDelay),
		Race:       fd.str("fence_race", defaultRace(c)), RaceDelay: fd.sec("fence_race_delay", 0), RetryMax: fd.sec("retry_max", 0),
	}
	decodeDLM(c, root)
	c.GroupdCompat = reader{root.Child("group")}.num("groupd_compat", 0)
	decodeRM(c, root)
	return c
}

// defaultRace is on where both halves of a split are quorate.
func defaultRace(c *Config) string {
	if c.Cman.TwoNode && len(c.Nodes) == 2 {
		return "services"
	}
	return "none"
}

func decodeNodes(c *Config, root *xmldoc.Element) {
	nodes := root.Child("clusternodes")
	if nodes == nil {
		return
	}
	altPort := defaultPort
	if cman := (reader{root.Child("cman")}); cman.word("broadcast") || cman.str("transport", "") == broadcastTransport {
		altPort = broadcastAltPort
	}
	for _, e := range nodes.ChildrenNamed("clusternode") {
		r := reader{e}
		n := Node{Name: r.str("name", ""), ID: r.num("nodeid", 0), Votes: r.num("votes", defaultVotes), Weight: r.num("weight", -1), Elem: e}
		if a := e.Child("altname"); a != nil {
			ar := reader{a}
			n.AltName = &AltName{Name: ar.str("name", ""), Mcast: ar.str("mcast", ""), Port: ar.num("port", altPort), TTL: ar.num("ttl", defaultTTL), Elem: a}
		}
		if f := e.Child("fence"); f != nil {
			n.FenceDelay = reader{f}.sec("delay", 0)
			for _, m := range f.ChildrenNamed("method") {
				n.Methods = append(n.Methods, Method{Name: m.Get("name"), Devices: decodeDevices(m), Elem: m})
			}
		}
		if u := e.Child("unfence"); u != nil {
			n.Unfence = decodeDevices(u)
		}
		c.Nodes = append(c.Nodes, n)
	}
}

func decodeDevices(outer *xmldoc.Element) []Device {
	var out []Device
	for _, e := range outer.ChildrenNamed("device") {
		out = append(out, Device{Name: e.Get("name"), Args: args(e), Elem: e})
	}
	return out
}

// args are all attributes but the name.
func args(e *xmldoc.Element) []Arg {
	var out []Arg
	for _, a := range e.Attrs {
		if a.Name != "name" {
			out = append(out, Arg{a.Name, a.Value})
		}
	}
	return out
}

func decodeFenceDevices(c *Config, root *xmldoc.Element) {
	if outer := root.Child("fencedevices"); outer != nil {
		for _, e := range outer.ChildrenNamed("fencedevice") {
			c.FenceDevices = append(c.FenceDevices, FenceDevice{Name: e.Get("name"), Agent: e.Get("agent"), Args: args(e), Elem: e})
		}
	}
}

func decodeCman(c *Config, root *xmldoc.Element) {
	e := root.Child("cman")
	r := reader{e}
	id := ClusterID(c.Name)
	if r.word("hash_cluster_id") {
		id = HashClusterID(c.Name)
	}
	id = r.num("cluster_id", id)
	c.Cman = Cman{
		TwoNode: r.flag("two_node", false), ExpectedVotes: max(r.num("expected_votes", 0), 0),
		QuorumDevPoll: r.ms("quorum_dev_poll", defaultQuorumDevPoll), ShutdownTimeout: r.ms("shutdown_timeout", defaultShutdownTimeout),
		CCSDPoll: r.ms("ccsd_poll", defaultCCSDPoll), Port: r.num("port", defaultPort), ClusterID: id,
		Transport: r.str("transport", defaultTransport), Broadcast: r.word("broadcast"), KeyFile: r.str("keyfile", ""),
		Disallowed: r.num("disallowed", 0) >= 1,
		Multicast:  reader{e.Child("multicast")}.str("addr", MulticastAddress(id)), TTL: reader{e.Child("multicast")}.num("ttl", defaultTTL),
		AltMulticast: reader{e.Child("altmulticast")}.str("addr", MulticastAddress(id+1)),
	}
	if c.Cman.Broadcast {
		c.Cman.Transport = broadcastTransport
	}
	if c.Cman.Transport == broadcastTransport {
		c.Cman.Broadcast = true
		c.Cman.Multicast, c.Cman.AltMulticast = broadcastAddress, broadcastAddress
	}
}

func decodeTotem(c *Config, root *xmldoc.Element) {
	r := reader{root.Child("totem")}
	t := Totem{Token: r.ms("token", defaultToken), TokenSet: r.has("token"), Join: r.ms("join", defaultJoin), RRPMode: r.str("rrp_mode", "none")}
	t.SecAuth = r.str("secauth", "on") == "on" || r.str("secauth", "on") == "1"
	if !r.has("rrp_mode") && c.rings() > 1 {
		t.RRPMode = "passive"
	}
	t.Consensus = t.Token + extraConsensus
	if len(c.Nodes) <= 2 {
		t.Consensus = min(max(t.Token/5, minConsensus), maxConsensus)
	}
	t.Consensus = r.ms("consensus", t.Consensus)
	c.Totem = t
}

// rings is 2 if some node has a second name.
func (c *Config) rings() int {
	for _, n := range c.Nodes {
		if n.AltName != nil {
			return 2
		}
	}
	return 1
}

func decodeQuorumd(c *Config, root *xmldoc.Element) {
	e := root.Child("quorumd")
	if e == nil {
		return
	}
	r := reader{e}
	q := &Quorumd{Elem: e, Interval: defaultQuorumdInterval}
	if r.has("interval") {
		q.Interval = time.Duration(max(r.num("interval", 1), 1)) * time.Second
	}
	seconds := int(q.Interval / time.Second)
	q.TKO = max(r.num("tko", (int(c.Totem.Token/time.Second)-seconds)/2), 1)
	q.TKOUp = max(r.num("tko_up", q.TKO/3), minTKOUp)
	q.UpgradeWait = max(r.num("upgrade_wait", defaultUpgradeWait), 1)
	if q.MasterWait = r.num("master_wait", q.TKO/2); q.MasterWait <= q.TKOUp {
		q.MasterWait = q.TKOUp + 1
	}
	q.VotesAuto = !r.has("votes")
	q.Votes = max(r.num("votes", len(c.Nodes)-1), 0)
	q.MinScore = max(r.num("min_score", 0), 0)
	q.Device, q.Label = r.str("device", ""), r.str("label", "")
	q.CmanLabel, q.StatusFile = r.str("cman_label", q.Device), r.str("status_file", "")
	q.Scheduler, q.Priority = schedulerName(r.str("scheduler", "")), r.num("priority", 1)
	q.Reboot, q.StopCman, q.IOTimeout = r.flag("reboot", true), r.flag("stop_cman", false), r.flag("io_timeout", false)
	q.Paranoid, q.AllowKill, q.UseUptime = r.flag("paranoid", false), r.flag("allow_kill", true), r.flag("use_uptime", true)
	q.MaxErrorCycles = max(r.num("max_error_cycles", 0), 0)
	if !(reader{root.Child("cman")}).has("quorum_dev_poll") {
		// A device that is silent must not be given up before its node, which the
		// original left to the one who raised the token.
		c.Cman.QuorumDevPoll = max(c.Cman.QuorumDevPoll, c.Totem.Token)
	}
	q.MasterWinsSet = r.has("master_wins")
	decodeHeuristics(q, e, seconds)
	// Automatic in the two-node cluster whose votes are automatic too.
	q.MasterWins = r.flag("master_wins", q.VotesAuto && q.Votes == 1)
	if len(q.Heuristics) > 0 || len(c.Nodes) > 2 {
		q.MasterWins = false
	}
	c.Quorumd = q
}

// schedulerName reads the first letter, in any case.
func schedulerName(s string) string {
	switch {
	case strings.HasPrefix(s, "f"), strings.HasPrefix(s, "F"):
		return "fifo"
	case strings.HasPrefix(s, "o"), strings.HasPrefix(s, "O"):
		return "other"
	}
	return defaultSchedulerName
}

func decodeHeuristics(q *Quorumd, e *xmldoc.Element, seconds int) {
	// The daemon's own patience decides how often and how often in vain a
	// program is run (qdisk(5)).
	patience := seconds * (q.TKO - 1)
	interval := 5
	for i, limit := range [...]int{4, 22, 39, 50} {
		if patience <= limit {
			interval = i + 1
			break
		}
	}
	for _, h := range e.ChildrenNamed("heuristic") {
		if len(q.Heuristics) == maxHeuristics {
			return
		}
		r := reader{h}
		every := r.num("interval", interval)
		if every <= 0 {
			every = 2
		}
		q.Heuristics = append(q.Heuristics, Heuristic{Program: r.str("program", ""), Score: max(r.num("score", 1), 1),
			Interval: time.Duration(every) * time.Second, TKO: max(r.num("tko", patience/every), 1), Elem: h})
	}
}

func decodeDLM(c *Config, root *xmldoc.Element) {
	r, g := reader{root.Child("dlm")}, reader{root.Child("gfs_controld")}
	// dlm_controld takes the plock values from gfs_controld if it has none.
	num := func(name string, def int) int { return r.num(name, g.num(name, def)) }
	c.DLM = DLM{
		Protocol: protocolName(r.str("protocol", defaultDLMProtocol)), LogDebug: r.flag("log_debug", false), TimeWarn: r.num("timewarn", 0),
		EnableFencing: r.flag("enable_fencing", true), EnableQuorum: r.flag("enable_quorum", false),
		EnableDeadlk: r.flag("enable_deadlk", false), EnablePlock: num("enable_plock", 1) != 0,
		PlockDebug: num("plock_debug", 0) != 0, PlockRateLimit: num("plock_rate_limit", 0), PlockOwnership: num("plock_ownership", 1) != 0,
		DropResourcesTime: num("drop_resources_time", defaultDropTime), DropResourcesCount: num("drop_resources_count", defaultDropCount),
		DropResourcesAge: num("drop_resources_age", defaultDropAge),
	}
}

func protocolName(s string) string {
	switch s {
	case "0":
		return "tcp"
	case "1":
		return "sctp"
	case "2":
		return "detect"
	}
	return s
}

func decodeRM(c *Config, root *xmldoc.Element) {
	e := root.Child("rm")
	r := reader{e}
	c.RM = RM{
		Present: e != nil, StatusPollInterval: defaultStatusPoll, StatusChildMax: max(r.num("status_child_max", 0), 0),
		TransitionThrottling: max(r.sec("transition_throttling", defaultThrottling), minThrottling),
		CentralProcessing:    r.flag("central_processing", false), Disabled: r.num("disabled", 0) == 1,
		LogLevel: r.num("log_level", -1), LogFacility: r.str("log_facility", ""),
	}
	if n := r.num("status_poll_interval", 0); n >= 1 {
		c.RM.StatusPollInterval, c.RM.StatusPollSet = time.Duration(n)*time.Second, true
	}
	if n := r.num("statusmax", 0); n != 0 {
		c.RM.StatusMax = max(n, minStatusMax)
	}
}

// Logging is how one daemon logs.
type Logging struct {
	ToSyslog, ToLogfile bool
	Facility            string
	SyslogPriority      string
	Logfile             string
	LogfilePriority     string
	Debug               bool
}

// Logging returns how the daemon of this name logs: its own defaults, what
// <logging> says, and what its <logging_daemon> says, the later the stronger.
// The names are corosync (with a subsystem), fenced, dlm_controld, gfs_controld,
// QDISKD and rgmanager.
func (c *Config) Logging(daemon string) Logging {
	l := Logging{ToSyslog: true, ToLogfile: true, Facility: "local4", SyslogPriority: "info", LogfilePriority: "info",
		Logfile: "/var/log/cluster/" + strings.ToLower(daemon) + ".log"}
	outer := c.Doc.Root.Child("logging")
	if outer == nil {
		return l
	}
	l.apply(outer)
	for _, e := range outer.ChildrenNamed("logging_daemon") {
		if _, sub := e.Attr("subsys"); e.Get("name") == daemon && !sub {
			l.apply(e)
		}
	}
	if l.Debug {
		l.LogfilePriority = "debug"
	}
	return l
}

func (l *Logging) apply(e *xmldoc.Element) {
	yesNo := func(name string, v *bool) {
		switch e.Get(name) {
		case "yes":
			*v = true
		case "no":
			*v = false
		}
	}
	yesNo("to_syslog", &l.ToSyslog)
	yesNo("to_logfile", &l.ToLogfile)
	word := func(name string, v *string, known []string) {
		x, ok := e.Attr(name)
		for _, k := range known {
			if ok && x == k {
				*v = x // unknown names are ignored
			}
		}
	}
	word("syslog_facility", &l.Facility, facilities())
	word("syslog_priority", &l.SyslogPriority, priorities())
	word("logfile_priority", &l.LogfilePriority, priorities())
	if f := e.Get("logfile"); f != "" {
		l.Logfile = f
	}
	switch e.Get("debug") {
	case "on":
		l.Debug = true
	case "off":
		l.Debug = false
	}
}

// Bump adds one to config_version and returns the new number.
func Bump(doc *xmldoc.Document) int {
	n := restree.Atoi(doc.Root.Get("config_version")) + 1
	doc.Root.SetAttr("config_version", strconv.Itoa(n))
	return n
}
