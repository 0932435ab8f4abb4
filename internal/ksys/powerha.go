package ksys

import (
	"errors"
	"strings"
)

// Filesets are the filesets that the setup checks for a cluster type "ha" or
// "dr". The KSYS names are the paper's, those of PowerHA from public
// documentation.
func Filesets(clusterType string) []string {
	out := []string{"cluster.es.server.rte", "cluster.es.client.rte", "ksys.main.rte", "ksys.main.cmds"}
	if clusterType == "ha" {
		return append(out, "ksys.hautils.rte", "ksys.license", "ksys.ha.license")
	}
	return append(out, "ksys.license")
}

// NodeText is one node's part of the output of clcmd.
type NodeText struct{ Node, Text string }

// ParseClcmd splits the output of clcmd: a line of dashes, "NODE name",
// dashes, and what the node printed. It also reads the form that is left
// after the paper's egrep, without the dashes.
func ParseClcmd(text string) []NodeText {
	var out []NodeText
	for line := range strings.Lines(text) {
		trimmed := strings.TrimSpace(line)
		if len(trimmed) >= 3 && strings.Trim(trimmed, "-") == "" {
			continue
		}
		if name, ok := strings.CutPrefix(trimmed, "NODE "); ok && !strings.Contains(strings.TrimSpace(name), " ") {
			out = append(out, NodeText{Node: strings.TrimSpace(name)})
			continue
		}
		if len(out) > 0 {
			out[len(out)-1].Text += line
		}
	}
	return out
}

// GroupState is a resource group's state on one node.
type GroupState struct{ Group, State, Node string }

// ParseGroups reads clRGinfo: a line that starts with a non-blank opens a
// group, the last field is the node (without a site), and what is between is
// the state, which may contain blanks.
func ParseGroups(text string) []GroupState {
	var out []GroupState
	group := ""
	for line := range strings.Lines(text) {
		trimmed := strings.TrimSpace(line)
		if trimmed == "" || len(trimmed) >= 3 && strings.Trim(trimmed, "-") == "" || strings.HasPrefix(trimmed, "Group Name") {
			continue
		}
		f := strings.Fields(trimmed)
		if line[0] != ' ' && line[0] != '\t' {
			group, f = f[0], f[1:]
		}
		if group == "" || len(f) < 2 {
			continue
		}
		node, _, _ := strings.Cut(f[len(f)-1], "@")
		out = append(out, GroupState{group, strings.Join(f[:len(f)-1], " "), node})
	}
	return out
}

// ClusterManagerState returns what follows "Current state:" in the long
// status of clstrmgrES, "" if there is no such line.
func ClusterManagerState(text string) string {
	for line := range strings.Lines(text) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), "Current state:"); ok {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// Attribute is one ATTR="value" line of clmgr.
type Attribute struct{ Key, Value string }

// ParseAttributes reads ATTR="value" lines; lines of another form do not
// count.
func ParseAttributes(text string) []Attribute {
	var out []Attribute
	for line := range strings.Lines(text) {
		k, v, ok := strings.Cut(strings.TrimSpace(line), "=")
		if !ok || k == "" || strings.ContainsAny(k, " \t\"") || len(v) < 2 || v[0] != '"' || v[len(v)-1] != '"' {
			continue
		}
		out = append(out, Attribute{k, v[1 : len(v)-1]})
	}
	return out
}

// Attr returns the value of an attribute, without regard to case.
func Attr(attrs []Attribute, key string) (string, bool) {
	for _, a := range attrs {
		if strings.EqualFold(a.Key, key) {
			return a.Value, true
		}
	}
	return "", false
}

// KsysCluster is what "ksysmgr query cluster" says.
type KsysCluster struct{ Name, State, Type string }

// ErrNoKsysCluster: ksysmgr printed no cluster.
var ErrNoKsysCluster = errors.New("no KSYS cluster")

// ParseKsysmgr reads Name, State and Type, with any blanks after the colon.
func ParseKsysmgr(text string) (KsysCluster, error) {
	var c KsysCluster
	for line := range strings.Lines(text) {
		k, v, ok := strings.Cut(line, ":")
		if !ok {
			continue
		}
		v = strings.TrimSpace(v)
		switch strings.TrimSpace(k) {
		case "Name":
			c.Name = v
		case "State":
			c.State = v
		case "Type":
			c.Type = v
		}
	}
	if c.Name == "" {
		return c, ErrNoKsysCluster
	}
	return c, nil
}

// KsysNames returns the values of all "Name:" lines: the host groups.
func KsysNames(text string) []string {
	var out []string
	for line := range strings.Lines(text) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), "Name:"); ok {
			if v = strings.TrimSpace(v); v != "" {
				out = append(out, v)
			}
		}
	}
	return out
}

// Volume is one line of lspv.
type Volume struct{ Name, PVID, Group string }

// ParseVolumes reads lspv: disk, physical volume id or "none", volume group.
func ParseVolumes(text string) []Volume {
	var out []Volume
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) >= 3 {
			out = append(out, Volume{f[0], f[1], f[2]})
		}
	}
	return out
}

// Fileset is one fileset's line of "lslpp -lc".
type Fileset struct {
	Name, Level string
	Broken      bool
}

// FindFileset looks for a fileset in the output of "lslpp -lc NAME".
func FindFileset(text, name string) (Fileset, bool) {
	for line := range strings.Lines(text) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) < 3 || f[1] != name {
			continue
		}
		broken := false
		for _, v := range f {
			broken = broken || v == "BROKEN"
		}
		return Fileset{name, f[2], broken}, true
	}
	return Fileset{}, false
}
