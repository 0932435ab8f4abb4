package explain

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/haobox/haobox/internal/xmldoc"
)

// The picture is a grid of boxes in three bands: fence devices above, nodes
// with the quorum disk in the middle, services with their addresses below.
// Sizes are in SVG user units, which a browser shows as pixels.
const (
	boxWidth  = 210
	boxHeight = 64
	gapX      = 30
	gapY      = 110 // room for the lines between the bands
	margin    = 24
	perRow    = 5
	titleRoom = 44
	lineRoom  = 16 // height of a line of text
	textRoom  = boxWidth - 14
	titleMax  = 80 // characters of the title
	// maxBoxes is how many boxes of a band are drawn: a picture of more shows
	// nothing. The text has them all.
	maxBoxes = 60
)

type box struct {
	x, y, h int
	lines   []string
}

func (b box) top() (int, int)    { return b.x + boxWidth/2, b.y }
func (b box) bottom() (int, int) { return b.x + boxWidth/2, b.y + b.h }

// SVG draws the cluster: nodes, fence devices, the quorum disk, services and
// addresses. Lines say who fences whom and what runs where, as long as each band
// is one row; between more they would run behind boxes in a tangle, and words in
// the boxes say it. The same page gives the same bytes.
func (p *Page) SVG(w io.Writer) error {
	devices := make([][]string, 0, len(p.Devices))
	for _, d := range p.Devices {
		devices = append(devices, []string{d.Name, d.Agent, firstOf(d.Args, "ipaddr=", "ip=", "device=")})
	}
	nodes := make([][]string, 0, len(p.Nodes)+1)
	disk := 0
	if p.Disk != nil {
		disk = 1
	}
	nodeRow := len(p.Nodes)+disk <= perRow
	fenceLines, runLines := nodeRow && len(p.Devices) <= perRow, nodeRow && len(p.Services) <= perRow
	for _, n := range p.Nodes {
		lines := []string{n.Name, fmt.Sprintf("node %d, %s", n.ID, plural(n.Votes, "vote"))}
		if !fenceLines {
			lines = append(lines, p.fencedBy(n.Name))
		}
		nodes = append(nodes, lines)
	}
	if p.Disk != nil {
		nodes = append(nodes, []string{"quorum disk", p.Disk.Where, plural(p.Disk.Votes, "vote")})
	}
	services := make([][]string, 0, len(p.Services))
	for _, s := range p.Services {
		lines := []string{s.ID, "recovery: " + s.Recovery}
		if !runLines {
			lines = append(lines, p.runsOn(s))
		}
		lines = append(lines, s.Addresses...)
		for i := range s.Tree.Children {
			lines = flat(lines, &s.Tree.Children[i], 0)
		}
		services = append(services, lines)
	}
	y := margin + titleRoom
	deviceBoxes, y := place(devices, y)
	nodeBoxes, y := place(nodes, y)
	serviceBoxes, y := place(services, y)
	width := 0
	for _, b := range slices.Concat(deviceBoxes, nodeBoxes, serviceBoxes) {
		width = max(width, b.x+boxWidth+margin)
	}
	d := drawing{bufio.NewWriter(w)}
	d.begin(max(width, 2*margin+2*boxWidth), y-gapY+2*margin+lineRoom, p)
	for i, dev := range p.Devices {
		for j, n := range p.Nodes {
			if fenceLines && slices.Contains(dev.Fences, n.Name) {
				d.link(deviceBoxes[i], nodeBoxes[j], "fences")
			}
		}
	}
	for i, s := range p.Services {
		for j, n := range p.Nodes {
			if runLines && slices.Contains(s.RunsOn, n.Name) {
				d.link(nodeBoxes[j], serviceBoxes[i], "runs")
			}
		}
	}
	for _, b := range deviceBoxes {
		d.box(b, "device")
	}
	for i, b := range nodeBoxes {
		class := "node"
		if i >= len(p.Nodes) {
			class = "disk"
		}
		d.box(b, class)
	}
	for _, b := range serviceBoxes {
		d.box(b, "service")
	}
	legend := ""
	if fenceLines {
		legend += " Red, dashed: fences."
	}
	if runLines {
		legend += " Green: can run."
	}
	d.end(p, y-gapY+margin+lineRoom, legend)
	return d.b.Flush()
}

// fencedBy names the devices that fence a node.
func (p *Page) fencedBy(node string) string {
	var names []string
	for _, d := range p.Devices {
		if slices.Contains(d.Fences, node) {
			names = append(names, d.Name)
		}
	}
	if len(names) == 0 {
		return "fenced by nothing"
	}
	return "fenced by " + strings.Join(names, ", ")
}

// runsOn gives the ids of the nodes that a service can run on.
func (p *Page) runsOn(s Service) string {
	var ids []string
	for _, n := range p.Nodes {
		if slices.Contains(s.RunsOn, n.Name) {
			ids = append(ids, strconv.Itoa(n.ID))
		}
	}
	switch {
	case len(ids) == 0:
		return "runs nowhere"
	case len(ids) == len(p.Nodes):
		return "runs on every node"
	case len(ids) == 1:
		return "runs on node " + ids[0]
	}
	return "runs on nodes " + strings.Join(ids, ", ")
}

// firstOf returns the first argument that begins with one of the names.
func firstOf(args []string, names ...string) string {
	for _, n := range names {
		for _, a := range args {
			if v, ok := strings.CutPrefix(a, n); ok {
				return v
			}
		}
	}
	return ""
}

// flat lists resources below each other, in start order. Addresses are there
// already.
func flat(lines []string, r *Resource, depth int) []string {
	if !strings.HasPrefix(r.ID, "ip:") {
		lines = append(lines, strings.Repeat("\u00a0\u00a0", depth)+r.ID)
	}
	for i := range r.Children {
		lines = flat(lines, &r.Children[i], depth+1)
	}
	return lines
}

// place lays out a band and returns where the next begins.
func place(texts [][]string, y int) ([]box, int) {
	if len(texts) == 0 {
		return nil, y
	}
	if len(texts) > maxBoxes {
		texts = texts[:maxBoxes]
	}
	boxes := make([]box, len(texts))
	for row := 0; row < len(texts); row += perRow {
		height := boxHeight
		for i := row; i < min(row+perRow, len(texts)); i++ {
			lines := slices.DeleteFunc(slices.Clone(texts[i]), func(s string) bool { return s == "" })
			boxes[i] = box{x: margin + (i-row)*(boxWidth+gapX), y: y, h: max(boxHeight, (len(lines)+1)*lineRoom), lines: lines}
			height = max(height, boxes[i].h)
		}
		y += height + gapX
	}
	return boxes, y - gapX + gapY
}

type drawing struct{ b *bufio.Writer }

func (d drawing) begin(width, height int, p *Page) {
	title := fmt.Sprintf("Cluster %s, version %d", cut(p.Cluster, titleMax), p.Version)
	fmt.Fprintf(d.b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" role="img">
<title>%s</title>
<style>
text { font: 13px sans-serif; fill: #222 }
.head { font-weight: bold }
.title { font-size: 18px; font-weight: bold }
rect { stroke: #444; rx: 6 }
.node { fill: #cfe3f7 } .disk { fill: #e8e0c8 } .device { fill: #f6d2cd } .service { fill: #d5ecd0 }
line { stroke-width: 1.5 }
.fences { stroke: #b5493b; stroke-dasharray: 5 4 } .runs { stroke: #4d8a43 }
</style>
<rect width="%d" height="%d" style="fill: #fff; stroke: none"/>
<text class="title" x="%d" y="%d">%s</text>
`, width, height, width, height, xmldoc.Escape(title), width, height, margin, margin+14, xmldoc.Escape(title))
}

func (d drawing) link(from, to box, class string) {
	x1, y1 := from.bottom()
	x2, y2 := to.top()
	fmt.Fprintf(d.b, `<line class="%s" x1="%d" y1="%d" x2="%d" y2="%d"/>`+"\n", class, x1, y1, x2, y2)
}

func (d drawing) box(b box, class string) {
	fmt.Fprintf(d.b, `<rect class="%s" x="%d" y="%d" width="%d" height="%d"/>`+"\n", class, b.x, b.y, boxWidth, b.h)
	for i, l := range b.lines {
		style := ""
		if i == 0 {
			style = ` class="head"`
		}
		whole := ""
		if short := fit(l, i == 0); short != l {
			// What a browser shows for the mouse above it.
			whole, l = "<title>"+xmldoc.Escape(cut(l, hoverMax))+"</title>", short
		}
		fmt.Fprintf(d.b, `<text%s x="%d" y="%d">%s%s</text>`+"\n", style, b.x+10, b.y+(i+1)*lineRoom+2, whole, xmldoc.Escape(l))
	}
}

// hoverMax is how many characters of a name that does not fit are kept.
const hoverMax = 300

// cut is a text of not more than most characters.
func cut(s string, most int) string {
	if r := []rune(s); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return s
}

// fit cuts a text where a box ends.
func fit(s string, bold bool) string {
	room, dots := textRoom*10, width('…', bold)
	used, end := 0, 0 // end: where the last rune ends that leaves room for the dots
	for i, r := range s {
		if used+dots <= room {
			end = i
		}
		if used += width(r, bold); used > room {
			return s[:end] + "…"
		}
	}
	return s
}

// width is about how wide a character is, in tenths of a pixel: that of DejaVu
// Sans and Verdana at 13 pixels, the widest of the common fonts.
func width(r rune, bold bool) int {
	w := 79
	switch {
	case strings.ContainsRune("iljI.,:;'|! \u00a0", r):
		w = 42
	case strings.ContainsRune("tfr_()[]/\\-", r):
		w = 54
	case strings.ContainsRune("mwMW@%…", r):
		w = 130
	case strings.ContainsRune("BCEFJKLPRSTVXYZ", r):
		w = 85
	case r >= 'A' && r <= 'Z':
		w = 100
	case r >= 0x2e80: // Chinese, Japanese, Korean and what is as wide
		w = 130
	}
	if bold {
		w += w / 8
	}
	return w
}

func (d drawing) end(p *Page, y int, legend string) {
	mode := fmt.Sprintf("Quorum %d of %s", p.Quorum.Quorum, plural(p.Quorum.Expected, "expected vote"))
	if p.Quorum.TwoNode {
		mode = "Two-node mode: one vote is quorum"
	}
	fmt.Fprintf(d.b, `<text x="%d" y="%d">%s.%s</text>`+"\n</svg>\n", margin, y, mode, legend)
}
