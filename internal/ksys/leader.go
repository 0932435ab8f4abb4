package ksys

import (
	"strconv"
	"strings"
)

// Local is what this node is called.
type Local struct {
	// Names are the node's names: configured, host name, its first label.
	Names []string
	// ID is the node's RSCT id, 0 if it cannot be read.
	ID uint64
}

// Is reports whether the name and RSCT id are this node's. When both ids are
// known they alone decide; names change, ids do not.
func (l Local) Is(name string, id uint64) bool {
	if id != 0 && l.ID != 0 {
		return id == l.ID
	}
	for _, n := range l.Names {
		if SameHost(n, name) {
			return true
		}
	}
	return false
}

// SameHost reports whether two host names can mean one host: equal without
// regard to case, or, when one of them has no domain part, equal first
// labels. Two full names of different domains are different.
func SameHost(a, b string) bool {
	if a == "" || b == "" {
		return false
	}
	if strings.EqualFold(a, b) {
		return true
	}
	la, da, _ := strings.Cut(a, ".")
	lb, db, _ := strings.Cut(b, ".")
	return (da == "" || db == "") && strings.EqualFold(la, lb)
}

// FirstLabel is a host name without its domain.
func FirstLabel(name string) string {
	l, _, _ := strings.Cut(name, ".")
	return l
}

// ParseNodeID reads /etc/ct_node_id: the RSCT node id in hexadecimal on the
// first line. It returns 0 for anything else.
func ParseNodeID(text string) uint64 {
	line, _, _ := strings.Cut(text, "\n")
	id, err := strconv.ParseUint(strings.TrimPrefix(strings.ToLower(strings.TrimSpace(line)), "0x"), 16, 64)
	if err != nil {
		return 0
	}
	return id
}
