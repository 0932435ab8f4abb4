package clusterconf

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/haobox/haobox/internal/restree"
	"github.com/haobox/haobox/internal/xmldoc"
)

// EditError is a change that can not be made. Its text says why, in the words
// of the old ccs_tool where it had any.
type EditError string

func (e EditError) Error() string { return string(e) }

func refuse(format string, args ...any) error { return EditError(fmt.Sprintf(format, args...)) }

// ensure returns the child of the name, made if it is missing.
func ensure(parent *xmldoc.Element, name string) *xmldoc.Element {
	if c := parent.Child(name); c != nil {
		return c
	}
	return parent.Append(xmldoc.NewElement(name))
}

// named returns the element with the name attribute among the children of
// root/PATH, or nil, and its parent.
func named(root *xmldoc.Element, elem, attr, value string, path ...string) (e, parent *xmldoc.Element) {
	parent = root
	for _, p := range path {
		if parent = parent.Child(p); parent == nil {
			return nil, nil
		}
	}
	for _, c := range parent.ChildrenNamed(elem) {
		if c.Get(attr) == value {
			return c, parent
		}
	}
	return nil, parent
}

func setAll(e *xmldoc.Element, more []Arg) {
	for _, a := range more {
		e.SetAttr(a.Name, a.Value)
	}
}

// NewNode is a node to add.
type NewNode struct {
	Name, ID, Votes, AltName string
	// Fence is the fence device of its method "single", "" for none.
	Fence string
	// FenceArgs are attributes of its use.
	FenceArgs []Arg
}

// AddNode adds a clusternode with a method "single". file is for messages.
func AddNode(doc *xmldoc.Document, file string, n NewNode) error {
	if n.ID == "" {
		return refuse("nodeid not specified")
	}
	if e, _ := named(doc.Root, "clusternode", "name", n.Name, "clusternodes"); e != nil {
		return refuse("node %s already exists in %s", n.Name, file)
	}
	if e, _ := named(doc.Root, "clusternode", "nodeid", n.ID, "clusternodes"); e != nil {
		return refuse("nodeid %s already in use", n.ID)
	}
	if n.Fence != "" {
		if e, _ := named(doc.Root, "fencedevice", "name", n.Fence, "fencedevices"); e == nil {
			return refuse("fence type '%s' not known", n.Fence)
		}
	}
	if n.Votes == "" {
		n.Votes = strconv.Itoa(defaultVotes)
	}
	e := ensure(doc.Root, "clusternodes").Append(xmldoc.NewElement("clusternode", "name", n.Name, "votes", n.Votes, "nodeid", n.ID))
	if n.AltName != "" {
		e.Append(xmldoc.NewElement("altname", "name", n.AltName))
	}
	if n.Fence != "" {
		method := e.Append(xmldoc.NewElement("fence")).Append(xmldoc.NewElement("method", "name", "single"))
		setAll(method.Append(xmldoc.NewElement("device", "name", n.Fence)), n.FenceArgs)
	}
	return nil
}

// AddFence adds a fence device.
func AddFence(doc *xmldoc.Document, file, name, agent string, more []Arg) error {
	if e, _ := named(doc.Root, "fencedevice", "name", name, "fencedevices"); e != nil {
		return refuse("fence device %s already exists in %s", name, file)
	}
	setAll(ensure(doc.Root, "fencedevices").Append(xmldoc.NewElement("fencedevice", "name", name, "agent", agent)), more)
	return nil
}

// Kind is a sort of thing that ccs_tool adds and deletes.
type Kind struct {
	// Word is what ccs_tool calls it: "node", "fence", "service", ...
	Word string
	// What is its name in messages.
	What string
	elem string
	attr string
	path []string
}

// Kinds are the things with a delete command.
func Kinds() []Kind {
	return []Kind{
		{"node", "node", "clusternode", "name", []string{"clusternodes"}},
		{"fence", "fence device", "fencedevice", "name", []string{"fencedevices"}},
		{"service", "service", "service", "name", []string{"rm"}},
		{"script", "script", "script", "name", []string{"rm", "resources"}},
		{"ip", "ip", "ip", "address", []string{"rm", "resources"}},
		{"fs", "file system", "fs", "name", []string{"rm", "resources"}},
		{"fdomain", "failover domain", "failoverdomain", "name", []string{"rm", "failoverdomains"}},
	}
}

// List returns the elements of a kind in the file.
func (k Kind) List(doc *xmldoc.Document) []*xmldoc.Element {
	parent := doc.Root
	for _, p := range k.path {
		if parent = parent.Child(p); parent == nil {
			return nil
		}
	}
	return parent.ChildrenNamed(k.elem)
}

// Name returns what identifies an element of the kind.
func (k Kind) Name(e *xmldoc.Element) string { return e.Get(k.attr) }

// Add adds an element of the kind below <rm>.
func (k Kind) Add(doc *xmldoc.Document, file, name string, more []Arg) (*xmldoc.Element, error) {
	if e, _ := named(doc.Root, k.elem, k.attr, name, k.path...); e != nil {
		return nil, refuse("%s %s already exists in %s", k.What, name, file)
	}
	parent := doc.Root
	for _, p := range k.path {
		parent = ensure(parent, p)
	}
	e := parent.Append(xmldoc.NewElement(k.elem, k.attr, name))
	setAll(e, more)
	return e, nil
}

// Delete removes an element of the kind.
func (k Kind) Delete(doc *xmldoc.Document, file, name string) error {
	e, parent := named(doc.Root, k.elem, k.attr, name, k.path...)
	if e == nil {
		return refuse("%s %s does not exist in %s", k.What, name, file)
	}
	parent.Remove(e)
	return nil
}

// Create returns the skeleton of a file, version 1. nodes is how many nodes
// it gets, names to be changed; twoNode sets two_node and expected_votes.
func Create(file, name string, nodes int, twoNode bool, agent string) *xmldoc.Document {
	root := xmldoc.NewElement("cluster", "name", name, "config_version", "1")
	doc := xmldoc.New(file, root)
	if twoNode {
		root.Append(xmldoc.NewElement("cman", "two_node", "1", "expected_votes", "1"))
		nodes = 2
	}
	list := root.Append(xmldoc.NewElement("clusternodes"))
	for i := 1; i <= nodes; i++ {
		n := list.Append(xmldoc.NewElement("clusternode", "name", fmt.Sprintf("node%d", i), "votes", "1", "nodeid", strconv.Itoa(i)))
		if agent != "" {
			n.Append(xmldoc.NewElement("fence")).Append(xmldoc.NewElement("method", "name", "single")).
				Append(xmldoc.NewElement("device", "name", "fence1"))
		}
	}
	devices := root.Append(xmldoc.NewElement("fencedevices"))
	if agent != "" {
		devices.Append(xmldoc.NewElement("fencedevice", "name", "fence1", "agent", agent))
	}
	rm := root.Append(xmldoc.NewElement("rm"))
	rm.Append(xmldoc.NewElement("failoverdomains"))
	rm.Append(xmldoc.NewElement("resources"))
	return doc
}

// AddNodeIDs gives an id to every node without one, counting from start and
// leaving out those in use. It calls given for each.
func AddNodeIDs(doc *xmldoc.Document, start int, given func(name string, id int)) {
	nodes := doc.Root.Child("clusternodes")
	if nodes == nil {
		return
	}
	list := nodes.ChildrenNamed("clusternode")
	var used []int
	for _, n := range list {
		if id := restree.Atoi(n.Get("nodeid")); id > 0 {
			used = append(used, id)
		}
	}
	next := max(start, 1)
	for _, n := range list {
		if restree.Atoi(n.Get("nodeid")) > 0 {
			continue
		}
		for slices.Contains(used, next) {
			next++
		}
		n.SetAttr("nodeid", strconv.Itoa(next))
		used = append(used, next)
		given(n.Get("name"), next)
	}
}

// ParseArgs reads words of the form name=value.
func ParseArgs(words []string) ([]Arg, error) {
	var out []Arg
	for _, w := range words {
		name, value, ok := strings.Cut(w, "=")
		if !ok || !isNCName(strings.ReplaceAll(name, ":", "_")) {
			return nil, refuse("'%s' is not of the form name=value", w)
		}
		out = append(out, Arg{name, value})
	}
	return out, nil
}

// AddDomainNode adds a member to a failover domain, given as NAME or
// NAME:PRIORITY.
func AddDomainNode(domain *xmldoc.Element, word string) {
	name, priority, has := strings.Cut(word, ":")
	e := domain.Append(xmldoc.NewElement("failoverdomainnode", "name", name))
	if has {
		e.SetAttr("priority", priority)
	}
}

// SetMulticast sets the multicast address if addr is not "", and reports
// whether the file has one.
func SetMulticast(doc *xmldoc.Document, addr string) bool {
	if addr != "" {
		ensure(ensure(doc.Root, "cman"), "multicast").SetAttr("addr", addr)
		return true
	}
	m := doc.Root.Child("cman").Child("multicast")
	return m != nil && m.Get("addr") != ""
}
