// Package corosyncconf translates the parts of a cluster.conf that cman gave to
// its corosync into a corosync.conf(5) for corosync 3. The rest of cluster.conf
// (fencing, resources, the quorum disk's own values) stays where it is and is
// read by haobox's daemons.
//
// What differs from cman, because corosync 3 has nothing else: all transports
// become knet, encryption needs a key file that exists, multicast is gone. Each
// difference that a file asks for is a Note with its place.
package corosyncconf

import (
	"bytes"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/haobox/haobox/internal/clusterconf"
	"github.com/haobox/haobox/internal/xmldoc"
)

const (
	// Path is corosync's configuration.
	Path = "/etc/corosync/corosync.conf"
	// KeyPath is corosync's default key (corosync.conf(5), "keyfile").
	KeyPath = "/etc/corosync/authkey"
	// Marker is the first line of a file made by this package.
	Marker = "# Made from cluster.conf by cman_tool join. Changes in this file are lost."

	// Key sizes that knet takes, in bytes (corosync-keygen(8)).
	minKey = 128
	maxKey = 4096
	// maxLinks is how many links knet has (corosync.conf(5), "linknumber").
	maxLinks = 8
	// defaultPort is that of cman(5) and corosync.conf(5).
	defaultPort = 5405
	// minSync is the least sync_timeout: below it a loaded node would lose its
	// disk's vote at every membership change. Ours.
	minSync = 2 * time.Second
)

// Ours reports whether a corosync.conf was made by Translate.
func Ours(conf []byte) bool { return bytes.HasPrefix(conf, []byte(Marker)) }

// Options are what the file does not say.
type Options struct {
	// KeyFile names the key to use; "" means the one of the file or KeyPath.
	KeyFile string
	// HaveKey says that the key exists.
	HaveKey bool
	// Overrides of cman_tool join; zero values change nothing.
	ClusterName string
	Expected    int
	Port        int
	TwoNode     bool
	// Local is the node that Votes and NodeID are for.
	Local         string
	Votes, NodeID int
}

// Note is something a person should know.
type Note struct {
	Pos  xmldoc.Pos
	Text string
	// Fatal: corosync would not start, or not do what is asked.
	Fatal bool
}

func (n Note) String() string {
	kind := "warning"
	if n.Fatal {
		kind = "error"
	}
	return fmt.Sprintf("%v: %s: %s", n.Pos, kind, n.Text)
}

// translator is one call.
type translator struct {
	c     *clusterconf.Config
	o     Options
	b     strings.Builder
	notes []Note
	depth int
}

// KeyFile is the key that the translation uses, and whether the file names it.
func KeyFile(c *clusterconf.Config, o Options) (name string, named bool) {
	switch {
	case o.KeyFile != "":
		return o.KeyFile, true
	case c.Doc.Root.Child("totem") != nil && c.Doc.Root.Child("totem").Get("keyfile") != "":
		return c.Doc.Root.Child("totem").Get("keyfile"), true
	case c.Cman.KeyFile != "":
		return c.Cman.KeyFile, true
	}
	return KeyPath, false
}

// CheckKey judges a key file by its size and mode: nobody but its owner may
// read it.
func CheckKey(name string, info fs.FileInfo) error {
	switch {
	case !info.Mode().IsRegular():
		return fmt.Errorf("key %s is no regular file", name)
	case info.Mode().Perm()&0o077 != 0:
		return fmt.Errorf("key %s can be read or changed by others (mode %04o); run chmod 0400 %s", name, info.Mode().Perm(), name)
	case info.Size() < minKey || info.Size() > maxKey:
		return fmt.Errorf("key %s has %d bytes, corosync takes %d to %d; make one with corosync-keygen", name, info.Size(), minKey, maxKey)
	}
	return nil
}

// Translate returns a corosync.conf and what is to be said about it. With a
// fatal note the text is not to be used.
func Translate(c *clusterconf.Config, o Options) ([]byte, []Note) {
	t := &translator{c: c, o: o}
	t.b.WriteString(Marker + "\n")
	t.totem()
	t.nodelist()
	t.quorum()
	t.logging()
	for _, e := range c.Doc.Root.ChildrenNamed("uidgid") {
		t.section("uidgid", func() {
			for _, k := range []string{"uid", "gid"} {
				if v := e.Get(k); v != "" {
					t.key(k, v)
				}
			}
		})
	}
	return []byte(t.b.String()), t.notes
}

func (t *translator) section(name string, body func()) {
	t.line(name + " {")
	t.depth++
	body()
	t.depth--
	t.line("}")
}

func (t *translator) line(text string) {
	t.b.WriteString(strings.Repeat("    ", t.depth) + text + "\n")
}

// key writes one value. A line end in it would begin another key.
func (t *translator) key(name string, value any) {
	v := fmt.Sprint(value)
	if strings.ContainsAny(v, "\n\r{}") {
		t.fatal(t.c.Doc.Root.Pos(), "%s %q has characters that corosync.conf cannot hold", name, v)
		return
	}
	t.line(name + ": " + v)
}

func (t *translator) note(pos xmldoc.Pos, format string, args ...any) {
	t.add(pos, false, fmt.Sprintf(format, args...))
}

func (t *translator) fatal(pos xmldoc.Pos, format string, args ...any) {
	t.add(pos, true, fmt.Sprintf(format, args...))
}

// add keeps a note; one on something that is not in the file is on its root.
func (t *translator) add(pos xmldoc.Pos, fatal bool, text string) {
	if pos == (xmldoc.Pos{}) {
		pos = t.c.Doc.Root.Pos()
	}
	t.notes = append(t.notes, Note{Pos: pos, Text: text, Fatal: fatal})
}

// child is an element of the root, or one without attributes at the root's
// place.
func (t *translator) child(name string) *xmldoc.Element {
	if e := t.c.Doc.Root.Child(name); e != nil {
		return e
	}
	return xmldoc.NewElement(name)
}

// passed are the values of totem that corosync still has under the same name
// (corosync.conf(5)); cman's own defaults are those of cman(5).
var passed = []string{"token_retransmits_before_loss_const", "hold", "merge", "downcheck", "send_join", "seqno_unchanged_const",
	"window_size", "max_messages", "miss_count_const", "netmtu"}

func (t *translator) totem() {
	root, cman, totem := t.c.Doc.Root, t.child("cman"), t.child("totem")
	name := t.c.Name
	if t.o.ClusterName != "" {
		name = t.o.ClusterName
	}
	switch tr := t.c.Cman.Transport; {
	case tr == "rdma":
		t.fatal(cman.AttrPos("transport"), "transport rdma does not exist in corosync 3; remove it")
	case tr != "" && tr != "udp" || cman.Get("transport") != "":
		t.note(cman.AttrPos("transport"), "transport %s becomes knet", tr)
	}
	for _, e := range []*xmldoc.Element{cman.Child("multicast"), cman.Child("altmulticast")} {
		if e != nil {
			t.note(e.Pos(), "%s is not used: knet sends to each node", strings.TrimPrefix(e.Path(), "/cluster/cman/"))
		}
	}
	for _, a := range []string{"disable_openais", "upgrading", "debug_mask", "disallowed", "broadcast"} {
		if cman.Get(a) != "" {
			t.note(cman.AttrPos(a), "%s means nothing to corosync 3", a)
		}
	}
	for _, e := range totem.ChildrenNamed("interface") {
		t.note(e.Pos(), "interface is not used: addresses come from the node names, as with cman")
	}
	t.section("totem", func() {
		t.key("version", 2)
		t.key("cluster_name", name)
		t.key("config_version", t.c.Version)
		t.key("transport", "knet")
		t.key("token", t.c.Totem.Token.Milliseconds())
		// The token of the file is the one in use, whatever the number of nodes.
		t.key("token_coefficient", 0)
		t.key("consensus", t.c.Totem.Consensus.Milliseconds())
		t.key("join", t.c.Totem.Join.Milliseconds())
		if v := totem.Get("fail_recv_const"); v != "" {
			t.number(totem, "fail_recv_const")
		} else {
			t.key("fail_recv_const", 2500) // cman(5)
		}
		for _, a := range passed {
			if totem.Get(a) != "" {
				t.number(totem, a)
			}
		}
		links := t.links()
		if links > 1 {
			mode := "passive"
			switch m := t.c.Totem.RRPMode; m {
			case "active":
				mode = m
			case "", "none", "passive":
			default:
				t.note(totem.AttrPos("rrp_mode"), "rrp_mode %s becomes passive", m)
			}
			t.key("link_mode", mode)
		}
		t.crypto(root, totem)
		port := t.c.Cman.Port
		if t.o.Port > 0 {
			port = t.o.Port
		}
		for i := range links {
			p := 0
			if i == 0 && port != 0 && port != defaultPort {
				p = port
			}
			if i > 0 {
				p = t.altPort(i)
			}
			if p == 0 && links == 1 {
				continue
			}
			t.section("interface", func() {
				t.key("linknumber", i)
				if p != 0 {
					t.key("mcastport", p)
				}
				if links > 1 {
					t.pings()
				}
			})
		}
	})
}

// pings sets after what time knet gives a silent link up and sends on another:
// a fifth of the token, asked for at twice that rate. Its own value is half the
// token, in which the token is lost together with the link when it has to be
// sent again a few times: with corosync 3.1.7 and a token of 5 s a cut link was
// given up after 2.5 to 3.5 s. Not below what corosync has for a token of a
// second. A link that has just come up gets more time from knet itself.
func (t *translator) pings() {
	const least = 500 * time.Millisecond
	token := t.c.Totem.Token
	timeout := max(token/5, min(token/2, least))
	t.key("knet_ping_interval", (timeout / 2).Milliseconds())
	t.key("knet_ping_timeout", timeout.Milliseconds())
}

// number passes an unsigned number on.
func (t *translator) number(e *xmldoc.Element, attr string) {
	v := e.Get(attr)
	if n, err := strconv.ParseUint(v, 10, 32); err == nil {
		t.key(attr, n)
		return
	}
	t.note(e.AttrPos(attr), "%s %q is no number and left out", attr, v)
}

func (t *translator) crypto(root, totem *xmldoc.Element) {
	file, named := KeyFile(t.c, t.o)
	switch {
	case !t.c.Totem.SecAuth:
		t.key("crypto_cipher", "none")
		t.key("crypto_hash", "none")
	case t.o.HaveKey:
		t.key("crypto_cipher", "aes256")
		t.key("crypto_hash", "sha256")
		if file != KeyPath {
			t.key("keyfile", file)
		}
	case named || totem.Get("secauth") != "":
		t.fatal(totem.Pos(), "there is no key %s: make one with corosync-keygen and copy it to all nodes, or set secauth=\"off\"", file)
	default:
		// cman made a key of the cluster's name, which protected nothing.
		t.note(root.Pos(), "no key %s: what the nodes send is neither encrypted nor authenticated; corosync-keygen makes a key", file)
		t.key("crypto_cipher", "none")
		t.key("crypto_hash", "none")
	}
}

// altnames are the further names of a node.
func altnames(n clusterconf.Node) []*xmldoc.Element { return n.Elem.ChildrenNamed("altname") }

// links is how many links all nodes have.
func (t *translator) links() int {
	if len(t.c.Nodes) == 0 {
		return 1
	}
	first := t.c.Nodes[0]
	links := 1 + len(altnames(first))
	for _, n := range t.c.Nodes[1:] {
		if k := 1 + len(altnames(n)); k != links {
			t.fatal(n.Elem.Pos(), "every node needs the same number of altname elements: %s has %d, %s has %d", first.Name, links-1, n.Name, k-1)
			break
		}
	}
	if links > maxLinks {
		t.note(first.Elem.Pos(), "at most %d links are used", maxLinks)
	}
	return min(links, maxLinks)
}

func (t *translator) altPort(link int) int {
	for _, n := range t.c.Nodes {
		if all := altnames(n); len(all) >= link {
			if p, err := strconv.Atoi(all[link-1].Get("port")); err == nil && p != defaultPort {
				return p
			}
		}
	}
	return 0
}

func (t *translator) nodelist() {
	links := t.links1()
	seen := map[int]bool{}
	t.section("nodelist", func() {
		for _, n := range t.c.Nodes {
			id, votes := n.ID, n.Votes
			if n.Name == t.o.Local {
				if t.o.NodeID > 0 {
					id = t.o.NodeID
				}
				if t.o.Votes > 0 {
					votes = t.o.Votes
				}
			}
			switch {
			case id <= 0:
				t.fatal(n.Elem.Pos(), "node %s has no nodeid in cluster.conf", n.Name)
				continue
			case seen[id]:
				t.fatal(n.Elem.AttrPos("nodeid"), "nodeid %d is used twice", id)
			case t.c.Quorumd != nil && id > clusterconf.MaxDiskNode:
				t.fatal(n.Elem.AttrPos("nodeid"), "nodeid %d: with a quorum disk ids are 1 to %d", id, clusterconf.MaxDiskNode)
			}
			seen[id] = true
			t.section("node", func() {
				t.key("ring0_addr", n.Name)
				for i, alt := range altnames(n) {
					if i+1 < links {
						t.key(fmt.Sprintf("ring%d_addr", i+1), alt.Get("name"))
					}
				}
				t.key("name", n.Name)
				t.key("nodeid", id)
				if votes != 1 {
					t.key("quorum_votes", votes)
				}
			})
		}
	})
}

// links1 is links without saying again what is wrong.
func (t *translator) links1() int {
	notes := t.notes
	n := t.links()
	t.notes = notes
	return n
}

func (t *translator) quorum() {
	cman := t.child("cman")
	two := t.c.Cman.TwoNode || t.o.TwoNode
	expected := t.c.Cman.ExpectedVotes
	if t.o.Expected > 0 {
		expected = t.o.Expected
	}
	t.section("quorum", func() {
		t.key("provider", "corosync_votequorum")
		switch {
		case two && t.c.Quorumd != nil:
			t.fatal(cman.AttrPos("two_node"), "two_node and a quorum disk exclude each other: remove two_node")
		case two && len(t.c.Nodes) != 2:
			t.fatal(cman.AttrPos("two_node"), "two_node is set but there are not 2 nodes in cluster.conf")
		case two && slices.ContainsFunc(t.c.Nodes, func(n clusterconf.Node) bool { return n.Votes != 1 }):
			t.fatal(cman.AttrPos("two_node"), "two_node set but votes not set to 1")
		case two:
			t.key("two_node", 1)
			// corosync would let neither node start alone; cman did.
			t.key("wait_for_all", 0)
		case expected > 0:
			t.key("expected_votes", expected)
		}
		if q := t.c.Quorumd; q != nil {
			votes := t.c.DeviceVotes()
			if votes <= 0 {
				t.note(q.Elem.Pos(), "the quorum disk has no votes")
			}
			cycle := q.Interval * time.Duration(q.TKO)
			if t.c.Cman.QuorumDevPoll <= cycle {
				t.note(cman.Pos(), "quorum_dev_poll %v must be longer than interval x tko of quorumd, %v", t.c.Cman.QuorumDevPoll, cycle)
			}
			t.section("device", func() {
				t.key("model", "haobox-qdiskd")
				t.key("votes", votes)
				t.key("timeout", t.c.Cman.QuorumDevPoll.Milliseconds())
				t.key("sync_timeout", max(2*q.Interval, minSync).Milliseconds())
			})
		}
	})
}

func (t *translator) logging() {
	l := t.c.Logging("corosync")
	yes := func(v bool, no, yes string) string {
		if v {
			return yes
		}
		return no
	}
	t.section("logging", func() {
		t.key("to_stderr", "no")
		t.key("to_syslog", yes(l.ToSyslog, "no", "yes"))
		t.key("to_logfile", yes(l.ToLogfile, "no", "yes"))
		if l.ToLogfile {
			t.key("logfile", l.Logfile)
			t.key("logfile_priority", l.LogfilePriority)
		}
		t.key("syslog_facility", l.Facility)
		t.key("syslog_priority", l.SyslogPriority)
		t.key("debug", yes(l.Debug, "off", "on"))
		t.key("timestamp", "on")
		for _, e := range t.child("logging").ChildrenNamed("logging_daemon") {
			if e.Get("name") != "corosync" || e.Get("subsys") == "" {
				continue
			}
			t.section("logger_subsys", func() {
				for _, a := range []string{"subsys", "debug", "to_syslog", "to_logfile", "logfile", "syslog_facility", "syslog_priority", "logfile_priority"} {
					if v := e.Get(a); v != "" {
						t.key(a, v)
					}
				}
			})
		}
	})
}
