package clusterconf

import (
	"bytes"
	"strconv"
	"strings"

	"github.com/haobox/haobox/internal/xmldoc"
)

// Loaded returns the tree as the cluster manager has it after loading a file:
// with what it adds to <cman>, the name of the local node ("" if that is not
// in the file) and the id of the cluster.
func Loaded(doc *xmldoc.Document, nodename string) *xmldoc.Document {
	doc = doc.Clone()
	c := Decode(doc)
	cman := doc.Root.Child("cman")
	if cman == nil {
		cman = doc.Root.Append(xmldoc.NewElement("cman"))
	}
	if nodename != "" {
		cman.SetAttr("nodename", nodename)
	}
	if _, ok := cman.Attr("cluster_id"); !ok {
		cman.SetAttr("cluster_id", strconv.Itoa(c.Cman.ClusterID))
	}
	return doc
}

// LocalNode returns the name in the file that a machine of this host name has:
// exactly, without its domain, or by the short part of the names in the file;
// "" if there is none.
func (c *Config) LocalNode(hostname string) string {
	short, _, _ := strings.Cut(hostname, ".")
	for _, want := range []string{hostname, short} {
		if c.Node(want) != nil {
			return want
		}
	}
	for _, n := range c.Nodes {
		if s, _, _ := strings.Cut(n.Name, "."); s == short {
			return n.Name
		}
	}
	return ""
}

// Dump writes elements and attributes alone, one element a line, indented by
// tabs: the format of ccs_config_dump(8).
func Dump(doc *xmldoc.Document) []byte {
	var b bytes.Buffer
	b.WriteString("<?xml version=\"1.0\"?>\n")
	dump(&b, doc.Root, 0)
	return b.Bytes()
}

func dump(b *bytes.Buffer, e *xmldoc.Element, depth int) {
	indent := strings.Repeat("\t", depth)
	b.WriteString(indent + "<" + e.Name)
	for _, a := range e.Attrs {
		b.WriteString(" " + a.Name + `="` + xmldoc.Escape(a.Value) + `"`)
	}
	children := e.Elements()
	text := strings.TrimSpace(e.Text())
	if len(children) == 0 && text == "" {
		b.WriteString("/>\n")
		return
	}
	b.WriteByte('>')
	b.WriteString(xmldoc.Escape(text))
	if len(children) > 0 {
		b.WriteByte('\n')
		for _, c := range children {
			dump(b, c, depth+1)
		}
		b.WriteString(indent)
	}
	b.WriteString("</" + e.Name + ">\n")
}
