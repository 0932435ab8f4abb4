package phasim

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Injection is a fault that is due at a time.
type Injection struct {
	At   int64  `json:"at_ms"`
	Node string `json:"node"`
	// What is the kind and Value its parameters, as on phasim's command line.
	What  string `json:"what"`
	Value string `json:"value"`
	// For is how long it lasts in milliseconds, 0 for ever.
	For int64 `json:"for_ms"`
}

// Fault is one that is in force.
type Fault struct {
	Node  string `json:"node"`
	What  string `json:"what"`
	Value string `json:"value"`
	// Until is its end in milliseconds, 0 for none.
	Until int64 `json:"until_ms"`
}

// kinds are the injections: the words, and what may follow.
var kinds = []struct{ what, value string }{
	{"node crash", ""}, {"node reboot", "seconds"},
	{"vmr crash", ""}, {"vmr stuck-stopping", "[seconds]"}, {"vmr fail-start", "count"}, {"vmr flap", ""}, {"vmr hang", ""},
	{"leader move", "node"}, {"leader unknown", ""}, {"split", "a,b|c"}, {"heal", ""},
	{"cmd", "NAME missing|timeout|garbage|slow SECONDS|rc N"},
	{"configrm down", ""}, {"domain offline", ""}, {"domain pending", ""}, {"clcomd down", ""},
	{"clmgr fail", "ACTION CLASS"}, {"fileset missing", "name"}, {"disk busy", "name"},
	{"flag stale", ""}, {"flag symlink", ""}, {"flag foreign-owner", ""}, {"flag fifo", ""}, {"flag empty", ""},
	{"fs readonly", ""}, {"fs full", ""}, {"clock jump", "seconds"},
}

// ParseInjection reads "WHAT [VALUE...]" for a node.
func (w *World) ParseInjection(node string, words []string, after, lasting time.Duration) (Injection, error) {
	text := strings.Join(words, " ")
	if node != "*" && w.Node(node) == nil {
		return Injection{}, fmt.Errorf("inject %s on %s: no such node", text, node)
	}
	for _, k := range kinds {
		value, ok := strings.CutPrefix(text, k.what)
		if !ok || value != "" && value[0] != ' ' {
			continue
		}
		value = strings.TrimSpace(value)
		i := Injection{At: w.Now + after.Milliseconds(), Node: node, What: k.what, Value: value, For: lasting.Milliseconds()}
		switch {
		case k.value == "" && value != "", k.value != "" && k.value[0] != '[' && value == "":
			return i, fmt.Errorf("inject %q: the form is %s %s", text, k.what, k.value)
		case strings.Contains(k.value, "seconds") && value != "", k.value == "count":
			if _, err := strconv.ParseFloat(value, 64); err != nil {
				return i, fmt.Errorf("inject %q: %q is not a number", text, value)
			}
		case k.value == "node" && w.Node(value) == nil:
			return i, fmt.Errorf("inject %q: no node %s", text, value)
		}
		return i, nil
	}
	list := make([]string, 0, len(kinds))
	for _, k := range kinds {
		list = append(list, strings.TrimSpace(k.what+" "+k.value))
	}
	return Injection{}, fmt.Errorf("inject %q: unknown; there are: %s", text, strings.Join(list, "; "))
}

// Inject applies an injection now or later.
func (w *World) Inject(i Injection) {
	if i.At > w.Now {
		w.Due = append(w.Due, i)
		return
	}
	w.apply(i)
}

// seconds is a value in milliseconds; def without one.
func seconds(value string, def int64) int64 {
	f, err := strconv.ParseFloat(value, 64)
	if err != nil {
		return def
	}
	return int64(f * 1000)
}

// forever is later than any simulation.
const forever = int64(1) << 50

// apply carries out an injection.
func (w *World) apply(i Injection) {
	w.trace("inject %s %s", i.Node, strings.TrimSpace(i.What+" "+i.Value))
	for _, n := range w.Nodes {
		if i.Node != "*" && w.Node(i.Node) != n {
			continue
		}
		v := n.VMR()
		switch i.What {
		case "node crash":
			w.crash(n)
		case "node reboot":
			w.crash(n)
			n.RebootAt = w.Now + seconds(i.Value, 60000)
		case "vmr crash":
			if n.Up {
				v.At = 0
				w.become(v, stateDown)
			}
		case "vmr stuck-stopping":
			v.StuckUntil = w.Now + seconds(i.Value, forever)
		case "vmr fail-start":
			v.FailStarts, _ = strconv.Atoi(i.Value)
		case "vmr flap":
			v.Flap = true
			if i.For > 0 {
				w.Due = append(w.Due, Injection{At: w.Now + i.For, Node: n.Name, What: "vmr calm"})
			}
		case "vmr calm":
			v.Flap = false
		case "leader move":
			w.loseLeader(n.Part, w.Node(i.Value).Name)
		case "split":
			w.split(i.Value)
			return
		case "heal":
			w.heal()
			return
		case "clock jump":
			w.Jump += seconds(i.Value, 0)
			return
		case "disk busy":
			for d := range n.Disks {
				if n.Disks[d].Name == i.Value {
					n.Disks[d].VG = "othervg"
				}
			}
		case "fileset missing":
			n.Filesets = slices.DeleteFunc(n.Filesets, func(f string) bool { return f == i.Value })
		case "clcomd down":
			s := n.subsystem("clcomd")
			s.State, s.PID = stateDown, 0
			w.fault(n.Name, i)
		default:
			w.fault(n.Name, i)
		}
	}
}

func (w *World) fault(node string, i Injection) {
	until := int64(0)
	if i.For > 0 {
		until = w.Now + i.For
	}
	w.Faults = append(w.Faults, Fault{Node: node, What: i.What, Value: i.Value, Until: until})
}

// has reports whether a fault is in force on the node.
func (w *World) has(n *Node, what string) bool {
	_, ok := w.faultOf(n, what, "")
	return ok
}

// faultOf returns the rest of the value of a fault whose value begins with
// the given words.
func (w *World) faultOf(n *Node, what, begin string) (string, bool) {
	for _, f := range w.Faults {
		rest, ok := strings.CutPrefix(f.Value, begin)
		if f.Node == n.Name && f.What == what && ok {
			return strings.TrimSpace(rest), true
		}
	}
	return "", false
}

// split cuts the peer domain: "a,b|c" leaves a and b in one half.
func (w *World) split(value string) {
	w.Parts = w.Parts[:1]
	for i, names := range strings.Split(value, "|") {
		if i > 0 {
			w.Parts = append(w.Parts, Part{})
		}
		for _, name := range strings.Split(names, ",") {
			if n := w.Node(strings.TrimSpace(name)); n != nil {
				n.Part = i
			}
		}
	}
	for i := range w.Parts {
		if l := w.Node(w.Parts[i].Leader); l == nil || l.Part != i {
			w.loseLeader(i, "")
		}
	}
}

// heal joins the halves again; the first one's leader stays.
func (w *World) heal() {
	w.Parts = w.Parts[:1]
	for _, n := range w.Nodes {
		n.Part = 0
	}
	if l := w.Node(w.Parts[0].Leader); l == nil || !l.Up {
		w.loseLeader(0, "")
	}
}
