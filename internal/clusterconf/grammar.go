package clusterconf

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/haobox/haobox/internal/restree"
)

// valueType is the type of an attribute's value.
type valueType uint8

const (
	anyText   valueType = iota
	nonEmpty            // at least one character
	integer             // a decimal number, with an optional sign
	natural             // 0 or more
	positive            // 1 or more
	oneOf               // one of attrDef.values
	shortText           // at most attrDef.max characters
	ranged              // 1 to attrDef.max
	idName              // the name that an idRef means; unique in the file
	idRef               // refers to an idName
	scheduler           // begins with r, f or o in either case
)

// attrDef is an attribute that an element may have.
type attrDef struct {
	name     string
	typ      valueType
	required bool
	values   []string // for oneOf
	max      int      // for shortText and ranged
}

// childDef is a child that an element may have.
type childDef struct {
	def      string // key of the definition; the element's name is its own
	required bool
	many     bool
}

// elemDef defines an element at one place of the file.
type elemDef struct {
	name     string
	attrs    []attrDef
	children []childDef
	// open: any further attribute is allowed.
	open bool
	// text: character data is allowed.
	text bool
	// rule: the element is a resource of this type. With use, it stands in a
	// service, where it is either a reference or a definition; without, in
	// <resources>, where it is a definition.
	rule *restree.Rule
	use  bool
}

func (d *elemDef) attr(name string) *attrDef {
	for i := range d.attrs {
		if d.attrs[i].name == name {
			return &d.attrs[i]
		}
	}
	return nil
}

// The limits of names and votes.
const (
	// maxClusterName is the longest cluster name in characters (cman(5)).
	maxClusterName = 15
	// maxAltNames is how many further links a node can have: knet has eight
	// (corosync.conf(5), linknumber).
	maxAltNames = 7
	// maxNodeName is the longest node name in characters.
	maxNodeName = 255
	// maxVotes is the greatest number of votes of one node.
	maxVotes = 255
)

// grammar is the definitions by key.
type grammar struct {
	defs  map[string]*elemDef
	order []string // keys in the order of definition
	rules restree.Rules
	// inside is what may stand in a resource of a service.
	inside []childDef
}

func (g *grammar) add(key string, d *elemDef) {
	if d.name == "" {
		d.name = key
	}
	g.defs[key] = d
	g.order = append(g.order, key)
}

func text(names ...string) []attrDef { return attrsOf(anyText, names) }
func ints(names ...string) []attrDef { return attrsOf(integer, names) }
func nats(names ...string) []attrDef { return attrsOf(natural, names) }

func attrsOf(t valueType, names []string) []attrDef {
	out := make([]attrDef, len(names))
	for i, n := range names {
		out[i] = attrDef{name: n, typ: t}
	}
	return out
}

func choice(name string, values ...string) attrDef {
	return attrDef{name: name, typ: oneOf, values: values}
}

func flags(names ...string) []attrDef {
	out := make([]attrDef, len(names))
	for i, n := range names {
		out[i] = choice(n, "0", "1")
	}
	return out
}

func join(lists ...[]attrDef) []attrDef {
	var out []attrDef
	for _, l := range lists {
		out = append(out, l...)
	}
	return out
}

func one(defs ...string) []childDef {
	out := make([]childDef, len(defs))
	for i, d := range defs {
		out[i] = childDef{def: d}
	}
	return out
}

func many(defs ...string) []childDef {
	out := one(defs...)
	for i := range out {
		out[i].many = true
	}
	return out
}

func requiredName() attrDef { return attrDef{name: "name", typ: nonEmpty, required: true} }

// newGrammar builds the grammar for a set of resource types.
func newGrammar(rules restree.Rules) *grammar {
	g := &grammar{defs: map[string]*elemDef{}, rules: rules}
	g.add("cluster", &elemDef{
		attrs: []attrDef{
			{name: "name", typ: shortText, max: maxClusterName, required: true},
			{name: "config_version", typ: natural, required: true},
		},
		children: append(append(append(
			one("cman", "totem", "quorumd", "fence_daemon", "fence_xvmd", "dlm", "gfs_controld", "group", "logging"),
			many("uidgid")...), childDef{def: "clusternodes", required: true}), one("fencedevices", "rm", "clvmd")...),
	})
	g.addCore()
	g.addFencing()
	g.addLocking()
	g.addResources()
	return g
}

func (g *grammar) addCore() {
	yesOn := []string{"yes", "no", "on", "off"}
	g.add("cman", &elemDef{
		attrs: join(flags("two_node"),
			[]attrDef{{name: "expected_votes", typ: positive}},
			nats("quorum_dev_poll", "shutdown_timeout", "ccsd_poll", "cluster_id"),
			[]attrDef{{name: "port", typ: ranged, max: 65535}, choice("hash_cluster_id", yesOn...)},
			text("nodename"),
			[]attrDef{choice("broadcast", "yes", "no"), choice("transport", "udp", "udpb", "udpu", "rdma")},
			text("keyfile"), nats("disallowed"),
			[]attrDef{choice("upgrading", yesOn...)}, flags("disable_openais"), text("debug_mask")),
		children: one("multicast", "altmulticast"),
	})
	for _, name := range []string{"multicast", "altmulticast"} {
		g.add(name, &elemDef{attrs: join([]attrDef{{name: "addr", typ: nonEmpty}}, nats("ttl"), []attrDef{{name: "port", typ: ranged, max: 65535}})})
	}
	g.add("uidgid", &elemDef{attrs: text("uid", "gid")})
	g.add("totem", &elemDef{
		attrs: join(nats("token", "join", "consensus", "fail_recv_const"),
			[]attrDef{choice("rrp_mode", "none", "active", "passive")}, nats("rrp_problem_count_threshold"),
			[]attrDef{choice("secauth", "on", "off", "1", "0")}, text("keyfile"),
			nats("netmtu", "window_size", "max_messages", "seqno_unchanged_const", "miss_count_const", "token_retransmits_before_loss_const")),
		children: many("interface"),
	})
	g.add("interface", &elemDef{attrs: join(nats("ringnumber"), text("bindnetaddr", "mcastaddr"),
		[]attrDef{{name: "mcastport", typ: ranged, max: 65535}, choice("broadcast", "yes", "no")})})
	g.add("quorumd", &elemDef{
		attrs: join(ints("interval", "tko", "tko_up", "upgrade_wait", "master_wait", "votes", "min_score"),
			text("device", "label", "cman_label", "status_file"), []attrDef{{name: "scheduler", typ: scheduler}}, ints("priority"),
			flags("reboot", "stop_cman", "io_timeout", "paranoid", "allow_kill"), ints("max_error_cycles"), flags("use_uptime", "master_wins")),
		children: many("heuristic"),
	})
	g.add("heuristic", &elemDef{attrs: join([]attrDef{{name: "program", typ: nonEmpty, required: true}}, ints("score", "interval", "tko"))})
	g.add("group", &elemDef{attrs: []attrDef{choice("groupd_compat", "0", "1", "2")}})
	logging := []attrDef{choice("to_syslog", "yes", "no"), choice("to_logfile", "yes", "no"),
		{name: "syslog_facility", typ: oneOf, values: facilities()},
		{name: "syslog_priority", typ: oneOf, values: priorities()}, {name: "logfile", typ: nonEmpty},
		{name: "logfile_priority", typ: oneOf, values: priorities()}, choice("debug", "on", "off")}
	g.add("logging", &elemDef{attrs: logging, children: many("logging_daemon")})
	g.add("logging_daemon", &elemDef{attrs: join([]attrDef{requiredName()}, text("subsys"), logging)})
	g.add("clvmd", &elemDef{attrs: []attrDef{choice("interface", "cman", "corosync", "openais")}})
}

// facilities are the names of syslog(3).
func facilities() []string {
	return []string{"auth", "authpriv", "cron", "daemon", "ftp", "kern", "lpr", "mail", "news", "syslog", "user", "uucp",
		"local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7"}
}

func priorities() []string {
	return []string{"emerg", "alert", "crit", "err", "error", "warn", "warning", "notice", "info", "debug"}
}

func (g *grammar) addFencing() {
	g.add("fence_daemon", &elemDef{attrs: join(ints("post_join_delay", "post_fail_delay"), text("override_path"), ints("override_time"),
		flags("clean_start", "skip_undefined"), []attrDef{choice("fence_race", "none", "services", "lowest", "qdisk")},
		nats("fence_race_delay", "retry_max"))})
	g.add("fence_xvmd", &elemDef{attrs: text("debug", "port", "use_uuid", "multicast_address", "auth", "hash", "uri", "key_file", "multicast_interface")})
	g.add("clusternodes", &elemDef{children: many("clusternode")})
	g.add("clusternode", &elemDef{
		attrs: []attrDef{{name: "name", typ: shortText, max: maxNodeName, required: true}, {name: "nodeid", typ: positive, required: true},
			{name: "votes", typ: ranged, max: maxVotes}, {name: "weight", typ: natural}},
		// Differs from cman, which had two rings: corosync 3 has eight links.
		children: append(many("altname"), one("fence", "unfence")...),
	})
	g.add("altname", &elemDef{attrs: []attrDef{requiredName(), {name: "port", typ: ranged, max: 65535}, {name: "mcast"}, {name: "ttl", typ: natural}}})
	g.add("fence", &elemDef{attrs: nats("delay"), children: many("method")})
	g.add("unfence", &elemDef{children: many("device")})
	g.add("method", &elemDef{attrs: []attrDef{requiredName()}, children: many("device")})
	g.add("device", &elemDef{attrs: []attrDef{{name: "name", typ: idRef, required: true}}, open: true})
	g.add("fencedevices", &elemDef{children: many("fencedevice")})
	g.add("fencedevice", &elemDef{attrs: []attrDef{{name: "name", typ: idName, required: true}, {name: "agent", typ: nonEmpty, required: true}}, open: true})
}

func (g *grammar) addLocking() {
	g.add("dlm", &elemDef{
		attrs: join(flags("log_debug"), nats("timewarn"), []attrDef{choice("protocol", "tcp", "sctp", "detect", "0", "1", "2")},
			flags("enable_fencing", "enable_quorum", "enable_deadlk", "enable_plock"), flags("plock_debug"), nats("plock_rate_limit"), flags("plock_ownership"),
			nats("drop_resources_time", "drop_resources_count", "drop_resources_age")),
		children: many("lockspace"),
	})
	g.add("lockspace", &elemDef{attrs: join([]attrDef{requiredName()}, flags("nodir")), children: many("master")})
	g.add("master", &elemDef{attrs: join([]attrDef{requiredName()}, nats("weight"))})
	g.add("gfs_controld", &elemDef{attrs: join(flags("enable_withdraw", "enable_plock", "plock_debug"), nats("plock_rate_limit"), flags("plock_ownership"),
		nats("drop_resources_time", "drop_resources_count", "drop_resources_age"))})
}

func (g *grammar) addResources() {
	g.add("rm", &elemDef{
		attrs: join(ints("log_level"), []attrDef{{name: "log_facility", typ: oneOf, values: facilities()}},
			ints("status_child_max", "status_poll_interval", "statusmax", "transition_throttling", "central_processing", "disabled")),
		children: append(one("failoverdomains", "events", "resources", "resource-defaults"), many(g.topLevel()...)...),
	})
	g.add("failoverdomains", &elemDef{children: many("failoverdomain")})
	g.add("failoverdomain", &elemDef{attrs: join([]attrDef{requiredName()}, flags("ordered", "restricted", "nofailback")), children: many("failoverdomainnode")})
	g.add("failoverdomainnode", &elemDef{attrs: []attrDef{requiredName(), {name: "priority", typ: ranged, max: 100}}})
	g.add("events", &elemDef{children: many("event")})
	g.add("event", &elemDef{text: true, attrs: join(
		[]attrDef{requiredName(), choice("class", "node", "service", "resource", "rg", "config", "reconfig"), {name: "priority", typ: ranged, max: 100}},
		text("file", "node", "node_id", "node_state", "node_clean", "node_local", "service", "service_state", "service_owner"))})
	g.add("action", &elemDef{attrs: join([]attrDef{requiredName()}, text("depth", "timeout", "interval"))})

	var shared, defaults, inner []childDef
	for _, r := range g.rules {
		shared = append(shared, childDef{def: "resource:" + r.Type, many: true})
		defaults = append(defaults, childDef{def: "default:" + r.Type})
		if r.Type != "service" {
			inner = append(inner, childDef{def: "use:" + r.Type, many: true})
		}
	}
	inner = append(inner, childDef{def: "action", many: true})
	g.inside = inner
	g.add("resources", &elemDef{children: shared})
	g.add("resource-defaults", &elemDef{children: defaults})
	for _, r := range g.rules {
		params := make([]attrDef, 0, len(r.Params))
		var plain []attrDef
		for _, p := range r.Params {
			params = append(params, attrDef{name: p.Name, required: p.Primary || p.Required && !p.HasDefault})
			if !p.Primary && !p.Unique {
				plain = append(plain, attrDef{name: p.Name})
			}
		}
		g.add("resource:"+r.Type, &elemDef{name: r.Type, rule: r, attrs: join(params, occurrence()), open: r.OpenParams, children: many("action")})
		g.add("use:"+r.Type, &elemDef{name: r.Type, rule: r, use: true, attrs: join(params, occurrence()), open: r.OpenParams, children: inner})
		g.add("default:"+r.Type, &elemDef{name: r.Type, attrs: plain})
	}
}

// occurrence are the attributes of a place in the tree (rgmanager(8)).
func occurrence() []attrDef {
	return text("__independent_subtree", "__enforce_timeouts", "__max_failures", "__failure_expire_time", "__max_restarts", "__restart_expire_time")
}

// topLevel are the types that stand directly below <rm>.
func (g *grammar) topLevel() []string {
	var out []string
	for _, t := range []string{"service", "vm"} {
		if g.rules.Find(t) != nil {
			out = append(out, "use:"+t)
		}
	}
	return out
}

// allowed says in words which values a type allows.
func (a *attrDef) allowed() string {
	switch a.typ {
	case nonEmpty:
		return "any text but none"
	case integer:
		return "a number"
	case natural:
		return "a number from 0"
	case positive:
		return "a number from 1"
	case oneOf:
		return strings.Join(a.values, ", ")
	case shortText:
		return "1 to " + strconv.Itoa(a.max) + " characters"
	case ranged:
		return "1 to " + strconv.Itoa(a.max)
	case idName:
		return "a name that begins with a letter, used once"
	case idRef:
		return "the name of a fencedevice"
	case scheduler:
		return "rr, fifo, other"
	}
	return "any text"
}

// accepts reports whether a value has the type. References between elements
// are checked elsewhere.
func (a *attrDef) accepts(v string) bool {
	switch a.typ {
	case nonEmpty:
		return v != ""
	case integer, natural, positive, ranged:
		return a.acceptsNumber(v)
	case oneOf:
		for _, x := range a.values {
			if v == x {
				return true
			}
		}
		return false
	case shortText:
		n := utf8.RuneCountInString(v)
		return n >= 1 && n <= a.max
	case idName, idRef:
		return isNCName(v)
	case scheduler:
		return v != "" && strings.ContainsRune("rRfFoO", rune(v[0]))
	}
	return true
}

// acceptsNumber reads a number as XML Schema's integer types do: white space
// around it, an optional sign, digits.
func (a *attrDef) acceptsNumber(v string) bool {
	v = strings.Trim(v, " \t\r\n")
	digits := strings.TrimLeft(v, "+-")
	if len(v)-len(digits) > 1 || digits == "" || strings.Trim(digits, "0123456789") != "" {
		return false
	}
	n, err := strconv.ParseInt(strings.TrimPrefix(v, "+"), 10, 32)
	if err != nil {
		return false // more than the daemons' int holds
	}
	switch a.typ {
	case natural:
		return n >= 0
	case positive:
		return n >= 1
	case ranged:
		return n >= 1 && n <= int64(a.max)
	}
	return true // integer
}

// isNCName reports whether v is a name without a colon, as XML IDs are.
func isNCName(v string) bool {
	for i, r := range v {
		switch {
		case r == '_' || unicode.IsLetter(r):
		case i > 0 && (r == '-' || r == '.' || unicode.IsDigit(r)):
		default:
			return false
		}
	}
	return v != ""
}
