package setup

import (
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/haobox/haobox/internal/ksys"
)

// Options are the answers and switches of one run.
type Options struct {
	// Type is "ha", "dr" or "" to be asked.
	Type  string
	Nodes []string
	Disk  string
	Site1 Site
	Site2 Site
	// ClusterName is "" for <first node>_cluster.
	ClusterName string
	Startup     string // OFAN or OHN
	StartMode   string // "", background or foreground
	Interval    int    // seconds
	Stabilize   int    // seconds
	Restarts    int
	Heartbeat   string // "", unicast or multicast
	Existing    string // reuse, update or abort
	Rhosts      string // write or keep
	Layout      string // wrapper, hardlink or copy
	NoOnline    bool
	Wait        time.Duration
	DryRun      bool
	Probe       bool
	Resume      bool
	Rollback    bool
	PaperOutput bool
	Yes         bool
	ForceXML    bool

	// What the shell knows of the machine.
	LocalNode  string
	Root       bool // effective user 0, and not by setuid
	HavePHA    bool // clmgr is there
	HaveLspv   bool
	HaveLslpp  bool
	HaveRemote bool // cl_rsh is there
}

// Site is one site of a linked cluster.
type Site struct {
	Name  string
	Nodes []string
	Disk  string
}

// DefaultOptions are those of the command line without flags. The monitor's
// values give the restart interval that the paper prints: 1.1 x 1 x (60 +
// 120) = 198 s; the factors are ours.
func DefaultOptions() Options {
	return Options{
		Site1: Site{Name: "site1"}, Site2: Site{Name: "site2"}, Startup: "OFAN", Interval: 60, Stabilize: 120, Restarts: 1,
		Existing: "reuse", Rhosts: "write", Layout: "wrapper", Wait: 600 * time.Second,
	}
}

// SplitNodes reads a list separated by commas; blanks do not count.
func SplitNodes(text string) []string {
	var out []string
	for _, n := range strings.Split(text, ",") {
		if n = strings.TrimSpace(n); n != "" {
			out = append(out, n)
		}
	}
	return out
}

// all are the nodes of the cluster.
func (o *Options) all() []string {
	if o.Type == "dr" {
		return append(append([]string(nil), o.Site1.Nodes...), o.Site2.Nodes...)
	}
	return o.Nodes
}

func (o *Options) clusterName() string {
	if o.ClusterName != "" {
		return o.ClusterName
	}
	nodes := o.all()
	if len(nodes) == 0 {
		return ""
	}
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' {
			return r
		}
		return '_'
	}, ksys.FirstLabel(nodes[0]))
	return name + "_cluster"
}

const maxNodes = 16

// badNode says what is wrong with a node name, "" if nothing.
func badNode(n string) string {
	const rest = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	if n == "" || len(n) > 64 || strings.Trim(n, rest+"._-") != "" || !strings.ContainsRune(rest, rune(n[0])) {
		return fmt.Sprintf("node name %q: letters, digits, dots, dashes and underscores, beginning with a letter or digit, at most 64", n)
	}
	return ""
}

// checkNodes returns the faults of a list of nodes, low to high of them.
func checkNodes(nodes []string, low int) []string {
	var faults []string
	seen := map[string]bool{}
	for _, n := range nodes {
		if f := badNode(n); f != "" {
			faults = append(faults, f)
			continue
		}
		label := strings.ToLower(ksys.FirstLabel(n))
		if seen[label] {
			faults = append(faults, fmt.Sprintf("node %s is named twice", n))
		}
		seen[label] = true
	}
	if len(nodes) < low || len(nodes) > maxNodes {
		faults = append(faults, fmt.Sprintf("%d node(s) given; %d to %d are needed", len(nodes), low, maxNodes))
	}
	return faults
}

// badDisk says what is wrong with a disk's name.
func badDisk(d string) string {
	digits, ok := strings.CutPrefix(d, "hdisk")
	if !ok || digits == "" || len(digits) > 6 || strings.Trim(digits, "0123456789") != "" {
		return fmt.Sprintf("disk %q: the name of a hard disk is hdisk and a number", d)
	}
	return ""
}

func badCluster(n string) string {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	if n == "" || len(n) > 64 || !strings.ContainsRune(letters, rune(n[0])) || strings.Trim(n, letters+"0123456789_") != "" {
		return fmt.Sprintf("cluster name %q: letters, digits and underscores, beginning with a letter, at most 64", n)
	}
	return ""
}

// static returns the faults that can be seen without asking anything.
func (o *Options) static() []string {
	var out []string
	if o.Type == "dr" {
		out = append(append(out, checkNodes(o.Site1.Nodes, 1)...), checkNodes(o.Site2.Nodes, 1)...)
		if len(out) == 0 {
			out = checkNodes(o.all(), 2)
		}
		for _, d := range []string{o.Site1.Disk, o.Site2.Disk} {
			if f := badDisk(d); f != "" {
				out = append(out, f)
			}
		}
		if o.Site1.Name == o.Site2.Name {
			out = append(out, fmt.Sprintf("both sites are named %q", o.Site1.Name))
		}
		for _, s := range []string{o.Site1.Name, o.Site2.Name} {
			if badCluster(s) != "" {
				out = append(out, fmt.Sprintf("site name %q: letters, digits and underscores, beginning with a letter", s))
			}
		}
	} else {
		out = checkNodes(o.Nodes, 2)
		if f := badDisk(o.Disk); f != "" {
			out = append(out, f)
		}
	}
	if f := badCluster(o.clusterName()); f != "" {
		out = append(out, f)
	}
	oneOf := func(what, v string, words ...string) {
		for _, w := range words {
			if v == w {
				return
			}
		}
		out = append(out, fmt.Sprintf("%s %q: it is one of %s", what, v, strings.Trim(strings.Join(words, ", "), ", ")))
	}
	oneOf("--startup", o.Startup, "OFAN", "OHN")
	oneOf("--start-mode", o.StartMode, "", "background", "foreground")
	oneOf("--heartbeat", o.Heartbeat, "", "unicast", "multicast")
	oneOf("--existing", o.Existing, "reuse", "update", "abort")
	oneOf("--rhosts", o.Rhosts, "write", "keep")
	oneOf("--layout", o.Layout, "wrapper", "hardlink", "copy")
	if o.Interval < 46 || o.Interval > 3600 {
		out = append(out, fmt.Sprintf("--monitor-interval %d: a call of the monitor takes up to 45 s; 46 to 3600 is possible", o.Interval))
	}
	if o.Stabilize < 120 && !o.Yes || o.Stabilize < 10 || o.Stabilize > 3600 {
		out = append(out, fmt.Sprintf("--stabilization %d: the start script takes up to 110 s; 120 to 3600 is possible, less only with --yes", o.Stabilize))
	}
	if o.Restarts < 0 || o.Restarts > 10 {
		out = append(out, fmt.Sprintf("--restart-count %d: 0 to 10 is possible", o.Restarts))
	}
	return out
}

// scripts are the four programs that PowerHA calls, in the order of the file
// collection.
func scripts() []string {
	return []string{"longrunmonksys", "startupmonksys", "startksys", "stopksys"}
}

func scriptPath(name string) string { return path.Join(ksys.ScriptDir, name) }

// WrapperText is the content of a wrapper: a regular file, because members of
// a file collection are copied to the other nodes.
func WrapperText(name string) []byte {
	return []byte("#!/bin/sh\nexec /opt/haobox/bin/haobox " + name + " \"$@\"\n")
}

// Quote is a command line that a shell reads back as argv.
func Quote(argv []string) string {
	out := make([]string, 0, len(argv))
	for _, a := range argv {
		if a == "" || strings.Trim(a, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./=,:@+%") != "" {
			a = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
		}
		out = append(out, a)
	}
	return strings.Join(out, " ")
}
